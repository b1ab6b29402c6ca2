//! No patient and no secret in what people other than the treating ones can read: the log at its most talkative, the
//! metrics, the process' environment and command line, and the addresses the server upstream was asked for. Every
//! door is used, rightly and wrongly, with names, numbers, values and passwords that occur nowhere else.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

#[path = "doors/clinic.rs"]
mod clinic;
#[path = "common/mod.rs"]
mod common;
#[path = "doors/desk.rs"]
mod desk;
#[path = "doors/speak.rs"]
mod speak;

use bedside::demo::fhir_server::{Fault, On};
use bedside::demo::pty::Pty;
use bedside::secret::Secret;
use bedside::wire::astm::frame;
use bedside::wire::mllp::wrap;
use clinic::{Clinic, PATIENCE, Plan};
use serde_json::json;
use speak::{ACK, Line, Mqtt, Way};

/// Each is said at least once on some door, and must be found nowhere.
const CANARIES: [&str; 17] = [
    "CANARYMRN",
    "Canaryfamily",
    "Canarygiven",
    "19310217",
    "1931-02-17",
    "CANARYSPECIMEN",
    "CANARYTEXT",
    "7357.31",
    "7358.42",
    "735964",
    "CANARYKITPASSWORD",
    "CANARYDESKPASSWORD",
    "CANARYWRONG",
    "CANARYSTRANGER",
    "CANARYNOISE",
    "CANARYORDER",
    "CANARYBED",
];

/// Said only by those who stay outside, or in a form of its own.
const NEVER_KEPT: [&str; 3] = ["1931-02-17", "CANARYWRONG", "CANARYSTRANGER"];

fn links(ports: [u16; 3]) -> String {
    format!(
        "[[link]]\nname = \"monitors\"\nprofile = \"ihe/pcd01-monitor\"\n\
         mllp = {{ listen = \"127.0.0.1:{}\", max_message_bytes = 20000 }}\n\
         [[link]]\nname = \"lab\"\nprofile = \"generic/astm-analyser\"\ntcp = {{ listen = \"127.0.0.1:{}\" }}\n\
         [broker]\nlisten = \"127.0.0.1:{}\"\nmax_packet_bytes = 20000\n[[broker.users]]\nname = \"kit\"\n\
         password_secret = \"kit-password\"\n\
         [[link]]\nname = \"kits\"\nprofile = \"ble-gateway/vital-kit\"\nbroker = {{ topics = [\"kits/#\"] }}\n\
         [[link]]\nname = \"oximeter\"\nprofile = \"masimo/ascii1\"\nserial = {{ port = \"{{dir}}/oximeter\" }}\n\
         patient = {{ system = \"urn:oid:1.2.3\", value = \"CANARYMRN-4\" }}\n",
        ports[0], ports[1], ports[2]
    )
}

fn oru(control_id: &str, more: &str) -> String {
    format!(
        "MSH|^~\\&|RIG^0123456789ABCDEF^EUI-64|W|||20260314083000+0000||ORU^R01^ORU_R01|{control_id}|P|2.6\r\
         PID|||CANARYMRN-1^^^Rig^MR||Canaryfamily^Canarygiven||19310217|F\rPV1||I|ICU^^CANARYBED\r\
         OBR|1|CANARYORDER|CANARYORDER|182777000^monitoring^SCT|||20260314083000+0000\r\
         OBX|1|NM|147842^MDC_ECG_HEART_RATE^MDC|1.1.1.1|7357.31|264864^MDC_DIM_BEAT_PER_MIN^MDC|||||F\r\
         OBX|2|ST|4711^Glow^99RIG|1.1.1.2|CANARYTEXT||||||F\r{more}"
    )
}

async fn over_mllp(port: u16) {
    let mut line = Line::to(port).await;
    assert_eq!(line.say(&oru("C1", "")).await.code, "AA");
    assert_eq!(line.say(&oru("C1", "")).await.code, "AA", "a repetition");
    for bad in [
        "CANARYNOISE Canaryfamily 7357.31".to_owned(),
        oru("C2", "").replacen("MSH|", "PSH|", 1),
        oru("C3", "").replacen("MSH|^~\\&|", "MSH||", 1),
        oru("C4", "").replace("ORU^R01^ORU_R01", "ADT^A01"),
        oru("C5", "").replace("20260314083000+0000", "CANARYNOISE"),
        oru("C6", "").replace("|7357.31|", "|CANARYTEXT 7357.31|"),
        oru("C7", "").replace("CANARYMRN-1", ""),
        oru("C8", &format!("NTE|1||{}\r", "CANARYTEXT ".repeat(4000))),
        oru("C9", "CANARYNOISE no segment\rOBX|Canaryfamily\r"),
    ] {
        line.say(&bad).await;
    }
    line.send(b"CANARYNOISE Canaryfamily outside a frame\r\n").await;
    let half = wrap(oru("C10", "").as_bytes());
    line.send(&half[..half.len() - 10]).await;
}

async fn over_astm(port: u16) {
    let records = |value: &str| {
        format!(
            "H|\\^&|||CHEM^1.0^0007|||||host||P|1|20260314083000\rP|1||CANARYMRN-2||Canaryfamily^Canarygiven||19310217|F\r\
             O|1|CANARYSPECIMEN||^^^GLU|R\rC|1|I|CANARYTEXT\rR|1|^^^GLU|{value}|mg/dL||N||F||||20260314083000\rL|1|N\r"
        )
    };
    let good = records("7358.42");
    let mut way = Way::Tcp(Line::to(port).await);
    assert_eq!(way.session(good.as_bytes()).await, Some(ACK));
    way.session(records("CANARYTEXT?").as_bytes()).await;
    way.session(b"H|CANARYNOISE\rCanaryfamily\rL|1\r").await;
    way.enquire().await;
    let mut damaged = frame(1, good.as_bytes(), true);
    damaged[30] ^= 1;
    way.send(&damaged).await;
    way.byte().await;
    way.send(&frame(1, &good.as_bytes()[..120], false)).await;
    way.byte().await;
}

fn reading(person: &str, value: &str) -> String {
    json!({
        "from": "BLE", "to": "CLOUD", "time": 1_773_477_000, "mac": "08:F9:E0:00:11:22", "type": "reportAttribute",
        "citiz": person, "nameEN": "Canarygiven Canaryfamily", "brith": "19310217",
        "data": { "attribute": "KIT", "mac": "08:F9:E0:00:11:22", "value": { "device_list": [
            { "scan_time": 1_773_477_000, "ble_addr": "c12488000001", "spo2": value, "note": "CANARYTEXT" },
        ] } },
    })
    .to_string()
}

async fn over_mqtt(port: u16) {
    for (client, user, password) in
        [("CANARYSTRANGER", "kit", "CANARYWRONG"), ("x", "CANARYSTRANGER", "CANARYWRONG"), ("y", "kit", "")]
    {
        assert!(Mqtt::connect(port, client, user, password).await.is_err());
    }
    let mut kit = Mqtt::connect(port, "kit-1", "kit", "CANARYKITPASSWORD").await.unwrap();
    for payload in [
        reading("CANARYMRN-3", "735964"),
        reading("", "735964"),
        reading("CANARYMRN-3", "CANARYTEXT"),
        reading("CANARYMRN-3", "735964").replacen('}', "", 1),
        "CANARYNOISE Canaryfamily".to_owned(),
    ] {
        assert!(kit.publish("kits/1", payload.as_bytes()).await);
    }
    assert!(kit.publish("elsewhere/1", reading("CANARYMRN-3", "735964").as_bytes()).await);
    assert!(!kit.publish("kits/1", "CANARYNOISE ".repeat(5000).as_bytes()).await);
    // Not a packet at all.
    let mut stranger = Line::to(port).await;
    stranger.send(b"CANARYNOISE Canaryfamily CANARYMRN").await;
}

async fn over_serial(pty: &Pty) {
    let good =
        "03/14/26 13:55:01 SN=0000093112 SPO2=097% BPM=072 PI=7357.31% PVI=014% ALARM=0000 EXC=000800\r\n";
    pty.write_all(good.as_bytes()).await.unwrap();
    pty.write_all(b"CANARYNOISE\xff Canaryfamily=CANARYTEXT\r\n").await.unwrap();
    pty.write_all(&b"CANARYNOISE".repeat(8000)).await.unwrap();
    pty.write_all(b"\r\nSPO2=CANARYTEXT BPM=735964").await.unwrap();
}

async fn at_the_desk(clinic: &Clinic) {
    let login = |user: &str, password: &str| json!({ "username": user, "password": password }).to_string();
    for (user, password) in [(desk::USER, "CANARYWRONG"), ("CANARYSTRANGER", "CANARYDESKPASSWORD")] {
        assert_eq!(clinic.desk.post("/api/v1/login", &login(user, password)).await.status, 401);
    }
    clinic.desk.post("/api/v1/setup", &json!({ "code": "CANARYWRONG", "username": "CANARYSTRANGER", "password": "CANARYDESKPASSWORD 2" }).to_string()).await;
    clinic.desk.post("/api/v1/login", "{\"username\":\"CANARYSTRANGER").await;
    for state in ["held", "accepted", "waiting"] {
        for entry in clinic.entries(state).await {
            assert_eq!(clinic.desk.get(&format!("/api/v1/entries/{}", entry["id"])).await.status, 200);
        }
    }
    let overview = clinic.desk.get("/api/v1/overview").await;
    assert!(
        overview.text.contains("735964") || overview.text.contains("7357"),
        "the treating ones do see values"
    );
    assert_eq!(clinic.desk.post("/api/v1/upstream/test", "").await.status, 200);
    clinic.release_all().await;
}

/// Waits until the box has nothing more to do at the moment.
async fn quiet(clinic: &Clinic) {
    common::until(PATIENCE, "everything is accepted or held", async || {
        let counts = clinic.bedside.status()["counts"].clone();
        counts["waiting"] == 0 && counts["sent"] == 0
    })
    .await;
}

/// A clinic at its most talkative, all of whose doors were used.
async fn busy_clinic(takes_ids: bool) -> Clinic {
    let ports = [common::free_port(), common::free_port(), common::free_port()];
    let plan = Plan {
        log: "trace",
        password: "CANARYDESKPASSWORD 1",
        takes_ids,
        ..Plan::of("canary", links(ports))
    };
    let clinic = Clinic::planned(plan).await;
    let pty = Pty::open(Some(&clinic.dir.path().join("oximeter"))).unwrap();
    common::write_secret(clinic.dir.path(), "kit-password", &Secret::new("CANARYKITPASSWORD".into()));
    for link in ["kits", "oximeter"] {
        common::until(PATIENCE, "the links come up", async || clinic.link(link).await.0 == "up").await;
    }
    // The server upstream misbehaves while it is delivered to.
    let faults = &clinic.server.running.faults;
    for fault in [
        Fault::Status(422),
        Fault::Status(503),
        Fault::HtmlStatus(502),
        Fault::CommitThenDrop,
        Fault::CommitThenTruncated,
        Fault::HalfAccept { every: 2, status: 422 },
    ] {
        faults.once(On::Transaction, fault);
    }
    faults.once(On::Token, Fault::InvalidClient);
    over_mllp(ports[0]).await;
    over_astm(ports[1]).await;
    over_mqtt(ports[2]).await;
    over_serial(&pty).await;
    common::until(PATIENCE, "the faults upstream were met", async || faults.played() >= 7).await;
    quiet(&clinic).await;
    clinic.server.running.revoke_tokens();
    at_the_desk(&clinic).await;
    quiet(&clinic).await;
    assert!(clinic.observations("7357.31").len() >= 2, "the values did arrive");
    clinic
}

/// What others may read, by name; stops the box, so that its log is whole.
async fn readable(clinic: &mut Clinic) -> [(&'static str, String); 5] {
    let process = format!("/proc/{}", clinic.bedside.child.id());
    let read = |name: &str| {
        String::from_utf8_lossy(&std::fs::read(format!("{process}/{name}")).unwrap()).into_owned()
    };
    let (environment, command) = (read("environ"), read("cmdline"));
    let metrics = clinic.desk.get("/metrics").await.text;
    assert!(clinic.bedside.stop().success());
    [
        ("environment", environment),
        ("command line", command),
        ("metrics", metrics),
        ("addresses upstream", clinic.server.running.targets().join("\n")),
        ("log", clinic.bedside.log()),
    ]
}

async fn leaks(takes_ids: bool) -> Vec<String> {
    let mut clinic = busy_clinic(takes_ids).await;
    let places = readable(&mut clinic).await;
    let [.., (_, addresses), (_, log)] = &places;
    println!(
        "takes ids {takes_ids}: {}, {} lines of log, {} requests upstream",
        clinic.bedside.status()["counts"],
        log.lines().count(),
        addresses.lines().count()
    );
    // The search itself is tried where they must be: among what was kept.
    let kept = kept(&clinic);
    for said in CANARIES.iter().filter(|canary| !canary.contains("PASSWORD") && !NEVER_KEPT.contains(canary))
    {
        assert!(kept.contains(said), "{said} never reached the box");
    }
    // The libraries beneath are not asked: what they would write of a header or a body is theirs to decide.
    let chatter =
        |line: &&str| line.contains("log.target") && !line.contains("\"INFO\"") && !line.contains("\"WARN\"");
    let mut leaks: Vec<String> =
        log.lines().filter(chatter).map(|line| format!("a library's words: {line}")).collect();
    assert!(log.contains("\"DEBUG\""), "our own words are at their most talkative");
    let mut wanted: Vec<String> = CANARIES.map(String::from).into();
    wanted.extend(secrets(&clinic));
    for (place, text) in &places {
        for line in text.lines() {
            let shown: String = line.chars().take(400).collect();
            let found = wanted.iter().filter(|canary| line.contains(canary.as_str()));
            leaks.extend(found.map(|canary| format!("{place}: \"{canary}\" in: {shown}")));
        }
    }
    leaks
}

/// All that lies in the data folder, as text.
fn kept(clinic: &Clinic) -> String {
    let files = std::fs::read_dir(clinic.dir.path().join("data")).unwrap();
    let bytes = files.map(|file| std::fs::read(file.unwrap().path()).unwrap_or_default());
    bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).collect()
}

/// What the box's own secrets look like: lines of private keys, the desk's session, access tokens and assertions.
fn secrets(clinic: &Clinic) -> Vec<String> {
    let mut secrets = vec!["Bearer ".into(), "eyJ".into(), "PRIVATE KEY".into()];
    secrets.extend(clinic.desk.session().map(String::from));
    for file in std::fs::read_dir(clinic.dir.path().join("secrets")).unwrap() {
        let Ok(text) = std::fs::read_to_string(file.unwrap().path()) else { continue };
        secrets.extend(
            text.lines()
                .filter(|line| line.len() >= 40 && !line.contains(' '))
                .map(|line| line[..40].to_owned()),
        );
    }
    secrets
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_patient_and_no_secret_leaves_by_a_side_door() {
    for takes_ids in [true, false] {
        let leaks = leaks(takes_ids).await;
        assert!(leaks.is_empty(), "{} leaks:\n{}", leaks.len(), leaks.join("\n"));
    }
}
