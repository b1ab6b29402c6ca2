//! Several servers at once: each gets everything that is for it exactly once, in the order of the devices, and none waits
//! for another; a stick carries whole files or none.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Duration;

use bedside::demo::fhir_server::{Fault, On, Store};
use serde_json::{Value, json};

use crate::clinic::{Clinic, PATIENCE, Plan};
use crate::common::{self, FhirServer};
use crate::speak::{Line, oru};

fn link(port: u16) -> String {
    format!(
        "[[link]]\nname = \"monitors\"\nprofile = \"ihe/pcd01-monitor\"\nmllp = {{ listen = \"127.0.0.1:{port}\" }}\n"
    )
}

/// Value → the statuses of the Observations that have it.
fn values(store: &Store) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for id in store.ids("Observation") {
        let tree = store.resource("Observation", &id).unwrap();
        let value = tree["valueQuantity"]["value"].to_string();
        found.entry(value).or_default().push(tree["status"].as_str().unwrap().to_owned());
    }
    found.values_mut().for_each(|statuses| statuses.sort());
    found
}

fn each_once(numbers: std::ops::Range<u32>) -> BTreeMap<String, Vec<String>> {
    numbers.map(|n| (n.to_string(), vec!["final".to_owned()])).collect()
}

async fn destination(clinic: &Clinic, name: &str) -> Value {
    let all = clinic.desk.get("/api/v1/destinations").await.json();
    let own = all["destinations"].as_array().unwrap().iter().find(|one| one["name"] == name);
    own.unwrap_or_else(|| panic!("{name} in {all:#}")).clone()
}

/// Waits until nothing of a destination is open, and checks that what was queued is what became of it.
async fn drained(clinic: &Clinic, name: &str) -> Value {
    let mut seen = Value::Null;
    common::until(PATIENCE, &format!("{name} gets everything"), async || {
        seen = destination(clinic, name).await;
        let kept = clinic.bedside.status()["counts"]
            .as_object()
            .unwrap()
            .values()
            .filter_map(Value::as_u64)
            .sum::<u64>();
        seen["waiting"] == 0 && seen["sent"] == 0 && seen["queued"].as_u64().unwrap() >= kept
    })
    .await;
    conserved(&seen);
    seen
}

fn conserved(seen: &Value) {
    let number = |name: &str| seen[name].as_u64().unwrap();
    let known = ["waiting", "sent", "held", "done", "gone"].map(number);
    assert_eq!(number("queued"), known.iter().sum::<u64>(), "{seen:#}");
}

/// Entry → how many finished files hold it; every file must be what its manifest says.
fn carried(folder: &Path) -> HashMap<i64, usize> {
    let mut found = HashMap::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(!name.starts_with('.'), "{name} is half a file");
        if !name.ends_with(".manifest.json") {
            continue;
        }
        let said: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let text = std::fs::read_to_string(folder.join(said["file"].as_str().unwrap())).unwrap();
        assert_eq!(
            (said["bytes"].as_u64(), said["lines"].as_u64()),
            (Some(text.len() as u64), Some(text.lines().count() as u64))
        );
        for entry in said["entries"].as_array().unwrap() {
            *found.entry(entry["id"].as_i64().unwrap()).or_insert(0) += 1;
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_server_and_a_missing_stick_hold_up_nobody_and_get_everything_once_later() {
    let port = common::free_port();
    let second = FhirServer::start().await;
    let keys = common::scratch("doors-servers-keys");
    let section = second.destination_section(keys.path(), "research");
    let links = format!(
        "{section}[[destination]]\nname = \"stick\"\nndjson = {{ folder = \"{{dir}}/stick\" }}\ndelivery = {{ pause_max_s = 1 }}\n{}",
        link(port)
    );
    let mut plan = Plan::of("doors-servers", links);
    plan.secrets = Some(keys.path().join("secrets"));
    let mut clinic = Clinic::planned(plan).await;
    second.running.faults.always(On::Transaction, Fault::Status(503));
    let mut line = Line::to(port).await;
    for n in 1..=20 {
        assert_eq!(line.say(&oru(&format!("S{n}"), "P-1", &n.to_string(), "")).await.code, "AA");
    }
    clinic.settled(20, 0).await;
    assert_eq!(values(&clinic.server.running.store), each_once(1..21));
    common::until(PATIENCE, "both say what is wrong", async || {
        let (research, stick) = (destination(&clinic, "research").await, destination(&clinic, "stick").await);
        [&research, &stick].into_iter().for_each(conserved);
        research["state"] == "retrying" && stick["trouble"].to_string().contains("plug the stick in")
    })
    .await;
    assert_ne!(destination(&clinic, "research").await["delivery"]["breaker"], "closed");
    let (before, began) = (second.running.requests(), std::time::Instant::now());
    tokio::time::sleep(Duration::from_secs(4)).await;
    let asked = second.running.requests() - before;
    assert!(
        asked <= began.elapsed().as_secs() + 1,
        "{asked} requests in {:?} to a server that is down",
        began.elapsed()
    );
    assert!(!clinic.dir.path().join("stick").exists(), "Bedside never makes the folder");

    clinic.kill_and_restart();
    second.running.faults.clear();
    clinic.bedside.wait_for_port(port);
    std::fs::create_dir(clinic.dir.path().join("stick")).unwrap();
    let seen = drained(&clinic, "research").await;
    assert_eq!((seen["state"].as_str(), seen["delivery"]["breaker"].as_str()), (Some("up"), Some("closed")));
    assert_eq!(seen["delivery"]["capability"]["mode"], "put");
    drained(&clinic, "stick").await;
    assert_eq!(values(&second.running.store), each_once(1..21));
    let folder = clinic.dir.path().join("stick");
    assert_eq!(carried(&folder), (1..=20).map(|id| (id, 1)).collect());

    // A crash in the middle of work, again and again: nothing is carried twice, nothing is missing.
    for round in 1..=3_u32 {
        let mut line = Line::to(port).await;
        for n in 0..10 {
            let value = 20 + (round - 1) * 10 + n + 1;
            assert_eq!(line.say(&oru(&format!("K{value}"), "P-1", &value.to_string(), "")).await.code, "AA");
        }
        tokio::time::sleep(Duration::from_millis(50 * u64::from(round))).await;
        clinic.kill_and_restart();
        clinic.bedside.wait_for_port(port);
    }
    drained(&clinic, "research").await;
    drained(&clinic, "stick").await;
    clinic.settled(50, 0).await;
    assert_eq!(values(&second.running.store), each_once(1..51));
    assert_eq!(carried(&folder), (1..=50).map(|id| (id, 1)).collect());
    assert_eq!(clinic.metric("bedside_delivery_breaker_open", "research").await, 0);
    let status = clinic.bedside.status();
    let said =
        status["destinations"].as_array().unwrap().iter().find(|one| one["name"] == "research").unwrap();
    assert_eq!((said["queued"].as_u64(), said["done"].as_u64()), (Some(50), Some(50)), "{status:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_correction_reaches_every_server_that_had_the_result_and_a_filter_is_kept() {
    let port = common::free_port();
    let (second, third) = (FhirServer::start().await, FhirServer::start().await);
    let keys = common::scratch("doors-servers-keys");
    let links = format!(
        "{}{}only = {{ codes = [\"2339-0\"] }}\n{}",
        second.destination_section(keys.path(), "research"),
        third.destination_section(keys.path(), "laboratory"),
        link(port)
    );
    let mut plan = Plan::of("doors-servers-correction", links);
    plan.secrets = Some(keys.path().join("secrets"));
    let clinic = Clinic::planned(plan).await;
    let mut line = Line::to(port).await;
    assert_eq!(line.say(&oru("C1", "", "71", "")).await.code, "AA");
    clinic.settled(0, 1).await;
    common::until(PATIENCE, "held there too", async || destination(&clinic, "research").await["held"] == 1)
        .await;
    let standing = clinic.desk.get("/api/v1/associations").await.json();
    let device = standing["devices"][0]["key"].as_str().unwrap().to_owned();
    let patient = |id: &str| json!({ "system": "urn:oid:1.2.3", "id": id, "family": "Test" });
    let wrong = json!({ "device": device, "patient": patient("M-1"), "from": "2026-03-14T08:00:00Z" });
    let made = clinic.desk.post("/api/v1/associations", &wrong.to_string()).await.json();
    drained(&clinic, "research").await;
    assert_eq!(values(&second.running.store), BTreeMap::from([("71".into(), vec!["final".into()])]));

    let right = json!({ "reason": "the other room", "patient": patient("M-2") });
    let path = format!("/api/v1/associations/{}/correct", made["id"]);
    assert_eq!(clinic.desk.post(&path, &right.to_string()).await.status, 200);
    let both = BTreeMap::from([("71".to_owned(), vec!["entered-in-error".to_owned(), "final".into()])]);
    for store in [&clinic.server.running.store, &second.running.store] {
        common::until(PATIENCE, "old and new", async || values(store) == both).await;
        assert_eq!(store.count_of("Provenance"), 1);
    }
    drained(&clinic, "laboratory").await;
    assert_eq!(third.running.store.count(), 0, "there was no glucose");
    assert_eq!(destination(&clinic, "laboratory").await["held"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_pauses_a_server_goes_on_and_sends_a_span_of_time_again() {
    let port = common::free_port();
    let second = FhirServer::start().await;
    let keys = common::scratch("doors-servers-keys");
    let mut plan = Plan::of(
        "doors-servers-pause",
        format!("{}{}", second.destination_section(keys.path(), "research"), link(port)),
    );
    plan.secrets = Some(keys.path().join("secrets"));
    let clinic = Clinic::planned(plan).await;
    for name in ["research", "Rig%20server"] {
        let answer = clinic.desk.post(&format!("/api/v1/destinations/{name}/pause"), "").await;
        assert_eq!(answer.status, 204, "{name}: {}", answer.text);
    }
    let mut line = Line::to(port).await;
    for n in 1..=5 {
        assert_eq!(line.say(&oru(&format!("P{n}"), "P-1", &n.to_string(), "")).await.code, "AA");
    }
    common::until(PATIENCE, "it is queued", async || destination(&clinic, "research").await["waiting"] == 5)
        .await;
    assert_eq!(clinic.bedside.status()["counts"]["waiting"], 5);
    let all = clinic.desk.get("/api/v1/destinations").await.json();
    assert_eq!((&all["main"]["paused"], &all["main"]["name"]), (&json!(true), &json!("Rig server")));
    assert_eq!((second.running.store.count(), clinic.server.running.store.count()), (0, 0));
    for name in ["research", "Rig%20server"] {
        clinic.desk.post(&format!("/api/v1/destinations/{name}/resume"), "").await;
    }
    drained(&clinic, "research").await;
    clinic.settled(5, 0).await;

    // Both servers lost what they had: a restore from last night's copy.
    second.running.store.clear();
    clinic.server.running.store.clear();
    let span = json!({ "from": "2020-01-01T00:00:00Z", "until": "2100-01-01T00:00:00Z" }).to_string();
    for name in ["research", "Rig%20server"] {
        let answer = clinic.desk.post(&format!("/api/v1/destinations/{name}/replay"), &span).await;
        assert_eq!((answer.status, answer.json()["replayed"].as_u64()), (200, Some(5)), "{}", answer.text);
    }
    for store in [&second.running.store, &clinic.server.running.store] {
        common::until(PATIENCE, "everything again", async || values(store) == each_once(1..6)).await;
    }
    drained(&clinic, "research").await;
    clinic.settled(5, 0).await;
    let answer = clinic.desk.post("/api/v1/destinations/nobody/replay", &span).await;
    assert_eq!(answer.status, 404);

    by_command(clinic).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_was_away_is_tried_with_one_request_and_the_figures_say_how_much_goes() {
    let port = common::free_port();
    let mut clinic = Clinic::open("doors-servers-tried", link(port)).await;
    delivering(&mut clinic, &[port], "entries_max = 16\nage_ms = 0\n");
    let main = async || clinic.desk.get("/api/v1/destinations").await.json()["main"].clone();
    let figure = async |what: &str| clinic.metric(&format!("bedside_delivery_{what}"), "Rig server").await;
    let faults = &clinic.server.running.faults;
    faults.always(On::Transaction, Fault::Status(503));
    let mut line = Line::to(port).await;
    for n in 1..=20 {
        assert_eq!(line.say(&oru(&format!("T{n}"), "P-1", &n.to_string(), "")).await.code, "AA");
    }
    common::until(PATIENCE, "it is left alone", async || main().await["delivery"]["breaker"] == "open").await;
    common::until(PATIENCE, "the figures say so", async || figure("breaker_open").await == 1).await;
    common::until(PATIENCE, "next to nothing goes", async || figure("batch_entries").await == 1).await;
    assert_eq!(figure("in_flight").await, 1);
    // It takes its time with the one that tries.
    faults.clear();
    faults.always(On::Transaction, Fault::Late(Duration::from_secs(2)));
    common::until(PATIENCE, "one is on its way", async || main().await["delivery"]["breaker"] == "half-open")
        .await;
    assert_eq!(figure("breaker_open").await, 1, "it has not answered yet");
    faults.clear();
    clinic.settled(20, 0).await;
    assert_eq!(values(&clinic.server.running.store), each_once(1..21));
    common::until(PATIENCE, "more goes again", async || figure("batch_entries").await > 1).await;
    let delivery = main().await["delivery"].clone();
    assert_eq!(delivery["breaker"], "closed");
    common::until(PATIENCE, "every byte is counted", async || {
        figure("bytes_sent").await == main().await["delivery"]["bytes_sent"].as_u64().unwrap()
    })
    .await;
    assert!(figure("bytes_sent").await > 1_000 && figure("breaker_open").await == 0, "{delivery:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_had_to_be_sent_again_is_not_the_last_one_there() {
    let port = common::free_port();
    let mut clinic = Clinic::open("doors-servers-versions", link(port)).await;
    delivering(&mut clinic, &[port], "entries_max = 16\nage_ms = 0\n");
    let store = clinic.server.running.store.clone();
    let mut line = Line::to(port).await;
    for round in 0..4_u32 {
        assert_eq!(clinic.desk.post("/api/v1/destinations/Rig%20server/pause", "").await.status, 204);
        // One and the same minute: versions of one Observation.
        for n in 0..12 {
            let message =
                oru(&format!("V{round}-{n}"), "P-1", &(1_000 + (round * 12 + n) * 60).to_string(), "");
            assert_eq!(line.say(&message).await.code, "AA");
        }
        let some = vec![(On::Transaction, Fault::Status(409)), (On::Transaction, Fault::Status(500))];
        clinic.server.running.faults.random(u64::from(round) + 1, 500, some);
        clinic.desk.post("/api/v1/destinations/Rig%20server/resume", "").await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        clinic.server.running.faults.clear();
        clinic.settled(u64::from(round + 1) * 12, 0).await;
        let last = (1_000 + (round * 12 + 11) * 60).to_string();
        assert_eq!(values(&store), BTreeMap::from([(last, vec!["final".to_owned()])]), "round {round}");
    }
}

/// The same on the command line, of a box that stands still.
async fn by_command(clinic: Clinic) {
    let command = |words: &[&str]| {
        let mut all = vec!["destinations"];
        all.extend(words);
        let said = std::process::Command::new(common::binary())
            .args(all)
            .arg("--config")
            .arg(&clinic.bedside.config)
            .output();
        let said = said.unwrap();
        (
            said.status.code(),
            String::from_utf8(said.stdout).unwrap() + &String::from_utf8(said.stderr).unwrap(),
        )
    };
    let replay = ["replay", "research", "--from", "2020-01-01T00:00:00Z", "--until", "2100-01-01T00:00:00Z"];
    assert_eq!(command(&replay).0, Some(75), "a running box has its desk for that");
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&clinic.bedside.child),
        rustix::process::Signal::TERM,
    )
    .unwrap();
    common::until(PATIENCE, "it stops", async || command(&["pause", "research"]).0 == Some(0)).await;
    let (code, said) = command(&replay);
    assert_eq!((code, said.trim()), (Some(0), "5 entries go again with the next start"));
    assert_eq!(
        command(&[
            "replay",
            "Rig server",
            "--from",
            "2020-01-01T00:00:00Z",
            "--until",
            "2100-01-01T00:00:00Z"
        ])
        .0,
        Some(0)
    );
    let (_, listed) = command(&["list"]);
    assert!(listed.contains("research: paused; 5 to go, 0 held, 0 done"), "{listed}");
    assert_eq!(common::status_of(&clinic.bedside.config)["counts"]["waiting"], 5);
    let (code, said) =
        command(&["replay", "nobody", "--from", "2020-01-01T00:00:00Z", "--until", "2100-01-01T00:00:00Z"]);
    assert_eq!(code, Some(1), "{said}");
}

/// The same box with other lines of `[delivery]`.
fn delivering(clinic: &mut Clinic, ports: &[u16], more: &str) {
    let more = format!("pause_max_s = 1\n{more}");
    clinic.restart_with(|config| config.replacen("pause_max_s = 1\n", &more, 1));
    ports.iter().for_each(|port| clinic.bedside.wait_for_port(*port));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_without_a_backlog_does_not_wait_behind_one_that_has_one() {
    let ports = [common::free_port(), common::free_port()];
    let links = format!("{}{}", link(ports[0]), link(ports[1]).replace("\"monitors\"", "\"theatre\""));
    let mut clinic = Clinic::open("doors-servers-live", links).await;
    delivering(&mut clinic, &ports, "entries_max = 2\nlive_s = 1\nage_ms = 0\n");
    let store = clinic.server.running.store.clone();
    clinic.server.running.faults.always(On::Transaction, Fault::Status(503));
    let mut line = Line::to(ports[0]).await;
    for n in 0..200 {
        // One and the same minute: the last version of one Observation tells the order.
        let message = oru(&format!("L{n}"), "P-1", &(1_000 + n * 60).to_string(), "");
        assert_eq!(line.say(&message).await.code, "AA");
    }
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    clinic.server.running.faults.clear();
    clinic.server.running.faults.always(On::Transaction, Fault::Late(Duration::from_millis(40)));
    common::until(PATIENCE, "the backlog moves", async || !store.ids("Observation").is_empty()).await;
    let other = oru("T1", "P-2", "61", "").replace("0123456789ABCDEF", "0123456789ABCDEE");
    assert_eq!(Line::to(ports[1]).await.say(&other).await.code, "AA");
    common::until(PATIENCE, "the live one arrives", async || values(&store).contains_key("61")).await;
    let waiting = clinic.bedside.status()["counts"]["waiting"].as_u64().unwrap();
    assert!(waiting > 20, "the backlog was not done before: {waiting}");
    clinic.settled(201, 0).await;
    assert!(
        values(&store).contains_key(&(1_000 + 199 * 60).to_string()),
        "the last of the device is the last there"
    );
    assert_eq!(store.count_of("Observation"), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_hours_that_cost_only_alarms_go_and_the_rest_follows_later() {
    let ports = [common::free_port(), common::free_port()];
    let alarms = format!(
        "[[link]]\nname = \"alarms\"\nprofile = \"drager/gateway\"\nmllp = {{ listen = \"127.0.0.1:{}\" }}\n",
        ports[1]
    );
    let mut clinic = Clinic::open("doors-servers-hours", format!("{}{alarms}", link(ports[0]))).await;
    let always = |send: &str| {
        format!(
            "hours = [{{ from = \"00:00\", to = \"12:00\", send = \"{send}\" }}, {{ from = \"12:00\", to = \"00:00\", send = \"{send}\" }}]\n"
        )
    };
    delivering(&mut clinic, &ports, &always("alarms"));
    let mut line = Line::to(ports[0]).await;
    for n in 1..=5 {
        assert_eq!(line.say(&oru(&format!("H{n}"), "P-1", &n.to_string(), "")).await.code, "AA");
    }
    let alarm = crate::alarms::telling("A1", "RIG-ALARM-0000000001", 1, "start", "active");
    assert_eq!(Line::to(ports[1]).await.say(&alarm).await.code, "AA");
    common::until(PATIENCE, "the alarm arrives", async || clinic.bedside.status()["counts"]["accepted"] == 1)
        .await;
    assert_eq!(clinic.observations("MDC_ATTR_EVENT_PHASE").len(), 1);
    assert_eq!(
        (clinic.observations("").len(), clinic.bedside.status()["counts"]["waiting"].as_u64()),
        (1, Some(5))
    );
    let main = clinic.desk.get("/api/v1/destinations").await.json()["main"].clone();
    assert_eq!(main["delivery"]["sends"], "alarms", "{main:#}");
    clinic.restart_with(|config| config.replace(&always("alarms"), ""));
    clinic.settled(6, 0).await;
    assert_eq!(clinic.observations("").len(), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_capped_line_carries_no_more_than_its_cap() {
    const CAP: u64 = 20_000;
    let port = common::free_port();
    let second = FhirServer::start().await;
    let keys = common::scratch("doors-servers-keys");
    let section = second
        .destination_section(keys.path(), "satellite")
        .replace("pause_max_s = 1", &format!("pause_max_s = 1, entries_max = 2, max_bytes_per_s = {CAP}"));
    let mut plan = Plan::of("doors-servers-cap", format!("{section}{}", link(port)));
    plan.secrets = Some(keys.path().join("secrets"));
    let clinic = Clinic::planned(plan).await;
    let began = std::time::Instant::now();
    let mut line = Line::to(port).await;
    for n in 1..=30 {
        assert_eq!(line.say(&oru(&format!("S{n}"), "P-1", &n.to_string(), "")).await.code, "AA");
    }
    let seen = drained(&clinic, "satellite").await;
    let sent = seen["delivery"]["bytes_sent"].as_u64().unwrap();
    let allowed = began.elapsed().as_millis() as u64 * CAP / 1_000 + 20_000;
    assert!(sent <= allowed, "{sent} bytes where {allowed} were allowed");
    assert_eq!(values(&second.running.store), each_once(1..31));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_version_that_is_let_go_does_not_stand_over_a_newer_one() {
    let port = common::free_port();
    let second = FhirServer::start().await;
    let keys = common::scratch("doors-servers-keys");
    let links = format!("{}{}", second.destination_section(keys.path(), "research"), link(port));
    let mut plan = Plan::of("doors-servers-late", links);
    plan.secrets = Some(keys.path().join("secrets"));
    let clinic = Clinic::planned(plan).await;
    let servers = [&clinic.server.running, &second.running];
    let mut line = Line::to(port).await;
    // One after the other of the same minute each: 5 before 65, 71 before 131.
    assert_eq!(line.say(&oru("L1", "P-1", "5", "")).await.code, "AA");
    clinic.settled(1, 0).await;
    drained(&clinic, "research").await;
    servers.iter().for_each(|server| server.faults.always(On::Transaction, Fault::Status(422)));
    for (id, rate) in [("L2", "65"), ("L3", "71")] {
        assert_eq!(line.say(&oru(id, "P-1", rate, "")).await.code, "AA");
    }
    clinic.settled(1, 2).await;
    common::until(PATIENCE, "held there too", async || destination(&clinic, "research").await["held"] == 2)
        .await;
    servers.iter().for_each(|server| server.faults.clear());
    assert_eq!(line.say(&oru("L4", "P-1", "131", "")).await.code, "AA");
    clinic.settled(2, 2).await;
    drained(&clinic, "research").await;

    for id in [2, 3] {
        let answer = clinic.desk.post(&format!("/api/v1/entries/{id}/release"), "").await;
        assert_eq!(answer.status, 202, "{}", answer.text);
    }
    clinic.settled(4, 0).await;
    drained(&clinic, "research").await;
    let newest = ["65", "131"].map(|value| (value.to_owned(), vec!["final".to_owned()]));
    for server in servers {
        assert_eq!(values(&server.store), BTreeMap::from(newest.clone()));
    }
    let told = clinic.desk.get("/api/v1/entries/3").await.json();
    assert!(told["reason"].as_str().unwrap().contains("newer version"), "{told:#}");

    // Sending the old one once more by hand changes nothing either.
    assert_eq!(clinic.desk.post("/api/v1/entries/1/replay", "").await.status, 202);
    clinic.settled(4, 0).await;
    assert_eq!(values(&clinic.server.running.store), BTreeMap::from(newest));
}
