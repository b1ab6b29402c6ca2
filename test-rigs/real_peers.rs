//! The upstream against servers written by others: the OpenID-certified `oidc-provider` for tokens, Medplum's FHIR
//! router with its validator, and node-fhir-server-core, which takes batches only (`test-rigs/peers/`, Node 20 or later).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a rig that cannot go on stops"
)]

mod upstream;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::time::Duration;

use bedside::fhir::Resource;
use bedside::upstream::keys::Algorithm;
use bedside::upstream::{Config, Gzip, State, Upstream, Verdict};
use serde_json::{Value, json};
use upstream::{
    CLIENT, Keys, clock, connect, device, entries, letters, observation, patient, reason, spoiled,
};

/// Both servers, and a client of our own to look into them.
struct Peers {
    issuer: String,
    base: String,
    origin: String,
    keys: Keys,
    http: reqwest::Client,
    _processes: [Process; 2],
}

/// A Node process that ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ended = self.0.kill().and_then(|()| self.0.wait());
    }
}

const ALGORITHMS: [Algorithm; 2] = [Algorithm::Es384, Algorithm::Rs384];

impl Peers {
    async fn start(says_update_create: Option<bool>) -> Self {
        install();
        let keys = Keys::new(Algorithm::Es384);
        let rsa = keys.put("rsa-key", Algorithm::Rs384);
        let registered = json!({ "keys": [keys.jwks()["keys"][0], rsa] });
        let (auth, fhir) = (free_port(), free_port());
        let issuer = format!("http://127.0.0.1:{auth}");
        let base = format!("http://127.0.0.1:{fhir}/fhir");
        let tokens = run(
            "auth.mjs",
            &json!({ "port": auth, "audience": base, "clientId": CLIENT, "jwks": registered }),
        );
        let store = run("fhir.mjs", &json!({ "port": fhir, "issuer": issuer, "says": says_update_create }));
        let http = reqwest::Client::builder().tls_backend_preconfigured(no_tls()).no_proxy().build().unwrap();
        let origin = format!("http://127.0.0.1:{fhir}");
        Self { issuer, base, origin, keys, http, _processes: [tokens, store] }
    }

    fn upstream(&self, algorithm: Algorithm, change: impl FnOnce(&mut Config)) -> Upstream {
        connect(&self.base, &self.keys, clock(), |config| {
            config.client_id = format!("{CLIENT}-{}", algorithm.name());
            config.key_secret = if algorithm == Algorithm::Es384 { "upstream-key" } else { "rsa-key" }.into();
            config.timeout_s = 5;
            change(config);
        })
    }

    /// The next transactions meet these faults.
    async fn play(&self, faults: Value) {
        let url = format!("{}/control", self.origin);
        self.http.post(url).body(faults.to_string()).send().await.unwrap().error_for_status().unwrap();
    }

    /// Posts an assertion of our own making; the status and the answer.
    async fn token(&self, assertion: &str) -> (u16, Value) {
        let form = [
            ("grant_type", "client_credentials"),
            ("scope", "system/Observation.crus system/Device.crus system/Patient.crus"),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", assertion),
        ];
        let form =
            form.map(|(name, value)| format!("{name}={}", bedside::fhir::query_value(value))).join("&");
        let request = self.http.post(format!("{}/token", self.issuer));
        let answer = request
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form)
            .send()
            .await
            .unwrap();
        (answer.status().as_u16(), serde_json::from_str(&answer.text().await.unwrap()).unwrap())
    }

    /// An assertion that ends `life` seconds from now.
    fn assertion(&self, life: i64, audience: &str, jti: &str) -> String {
        let client = format!("{CLIENT}-ES384");
        let now = clock().now().micros / 1_000_000;
        let claims = json!({ "iss": client, "sub": client, "aud": audience, "exp": now + life, "jti": jti });
        let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES384);
        header.kid = self.keys.jwks()["keys"][0]["kid"].as_str().map(str::to_owned);
        let pem = self.keys.store.load("upstream-key").unwrap();
        jsonwebtoken::encode(&header, &claims, &jsonwebtoken::EncodingKey::from_ec_pem(pem.expose()).unwrap())
            .unwrap()
    }

    /// What the server says it holds under an identifier.
    async fn held(&self, resource: &Resource) -> Vec<Value> {
        let jti = uuid::Uuid::new_v4().to_string();
        let (status, token) = self.token(&self.assertion(120, &format!("{}/token", self.issuer), &jti)).await;
        assert_eq!(status, 200, "{token}");
        let url = format!(
            "{}/{}?{}",
            self.base,
            resource.kind,
            bedside::fhir::identifier_query(&resource.identifier.0, &resource.identifier.1)
        );
        let answer =
            self.http.get(url).bearer_auth(token["access_token"].as_str().unwrap()).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let bundle: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        bundle["entry"].as_array().into_iter().flatten().map(|entry| entry["resource"].clone()).collect()
    }

    /// Every resource is there once, with its value, its unit and its patient.
    async fn assert_there_once(&self, entries: &[Vec<Resource>]) {
        for resource in entries.iter().flatten() {
            let held = self.held(resource).await;
            assert_eq!(held.len(), 1, "{} {}", resource.kind, resource.identifier.1);
            let sent = resource.value();
            let number = |json: &Value| json["valueQuantity"]["value"].to_string().parse::<f64>().ok();
            assert_eq!(number(&held[0]), number(&sent));
            assert_eq!(held[0]["valueQuantity"]["code"], sent["valueQuantity"]["code"]);
            assert_eq!(held[0]["effectiveDateTime"], sent["effectiveDateTime"]);
        }
    }
}

#[tokio::test]
async fn both_algorithms_deliver_exactly_once_and_again_without_a_copy() {
    let peers = Peers::start(Some(true)).await;
    for algorithm in ALGORITHMS {
        let up = peers.upstream(algorithm, |_| ());
        let entries = entries(algorithm.name(), 3);
        for _ in 0..2 {
            let verdicts = up.deliver(&entries).await;
            assert_eq!(letters(&verdicts), "AAA", "{verdicts:?}");
            peers.assert_there_once(&entries).await;
        }
        let observation = &entries[0][2];
        let held = peers.held(observation).await;
        assert_eq!((held[0]["id"].as_str(), up.state().mode), (Some(observation.id.as_str()), Some("put")));
        let steps = up.test().await;
        let done: Vec<&str> = steps.iter().filter(|step| step.ok).map(|step| step.name).collect();
        let all = "name port connection clock discovery token capability read validate";
        assert_eq!(done.join(" "), all, "{steps:?}");
    }
}

#[tokio::test]
async fn faults_end_as_retry_and_then_exactly_once() {
    let peers = Peers::start(Some(true)).await;
    let up = peers.upstream(Algorithm::Es384, |config| config.timeout_s = 2);
    let faults = [
        (json!({ "kind": "status", "status": 429, "after": "17" }), Some(17)),
        (json!({ "kind": "status", "status": 503, "after": "Fri, 31 Dec 2100 23:59:59 GMT" }), Some(3_600)),
        (json!({ "kind": "hang" }), None),
        (json!({ "kind": "commit-then-reset" }), None),
    ];
    for (at, (fault, pause)) in faults.into_iter().enumerate() {
        peers.play(json!([fault])).await;
        let entries = entries(&format!("fault {at}"), 2);
        match &up.deliver(&entries).await[0] {
            Verdict::Retry { after, .. } => assert_eq!(after.map(|after| after.as_secs()), pause, "{fault}"),
            other => panic!("{fault}: {other:?}"),
        }
        let verdicts = up.deliver(&entries).await;
        assert_eq!(letters(&verdicts), "AA", "{fault}: {verdicts:?}");
        peers.assert_there_once(&entries).await;
    }
}

#[tokio::test]
async fn what_the_validator_refuses_is_held_with_its_words_and_the_others_pass() {
    let peers = Peers::start(Some(true)).await;
    let up = peers.upstream(Algorithm::Es384, |_| ());
    let mut entries = entries("bad", 5);
    let bad = bedside::fhir::Resource {
        json: serde_json::value::RawValue::from_string(
            entries[2][3].json.get().replace(r#""status":"final""#, r#""status":7"#),
        )
        .unwrap(),
        ..spoiled(&entries[2][3])
    };
    entries[2][3] = bad;
    let verdicts = up.deliver(&entries).await;
    assert_eq!(letters(&verdicts), "AARAA", "{verdicts:?}");
    assert!(reason(&verdicts).contains("Observation.status"), "{}", reason(&verdicts));
    entries.remove(2);
    peers.assert_there_once(&entries).await;
}

#[tokio::test]
async fn a_message_larger_than_the_servers_ceiling_goes_in_parts() {
    let peers = Peers::start(Some(true)).await;
    let up = peers.upstream(Algorithm::Es384, |_| ());
    let (device, patient) = (device("SN-9"), patient("99"));
    let mut entry = vec![device.clone(), patient.clone()];
    entry.extend((0..70).map(|n| observation(&format!("big {n}"), &patient, &device)));
    let verdicts = up.deliver(std::slice::from_ref(&entry)).await;
    assert_eq!(letters(&verdicts), "A", "{verdicts:?}");
    let sample = [vec![entry[0].clone(), entry[1].clone(), entry[2].clone(), entry[71].clone()]];
    peers.assert_there_once(&sample).await;
}

#[tokio::test]
async fn conditional_mode_makes_no_copy_even_after_a_lost_answer() {
    let peers = Peers::start(Some(false)).await;
    let up = peers.upstream(Algorithm::Es384, |_| ());
    let entries = entries("conditional", 3);
    assert_eq!(letters(&up.deliver(&entries).await), "AAA");
    assert_eq!(up.state().mode, Some("conditional"));
    assert_eq!(letters(&up.deliver(&entries).await), "AAA");
    peers.assert_there_once(&entries).await;
    let lost = upstream::entries("lost", 2);
    peers.play(json!([{ "kind": "commit-then-reset" }])).await;
    assert_eq!(letters(&up.deliver(&lost).await), "TT");
    assert_eq!(letters(&up.deliver(&lost).await), "AA");
    peers.assert_there_once(&lost).await;
    let held = peers.held(&lost[0][2]).await;
    let patient = peers.held(&lost[0][1]).await;
    assert_eq!(held[0]["subject"]["reference"], format!("Patient/{}", patient[0]["id"].as_str().unwrap()));
}

#[tokio::test]
async fn the_same_entries_eight_times_at_once_are_there_once() {
    for says in [Some(true), Some(false)] {
        let peers = Peers::start(says).await;
        let up = peers.upstream(Algorithm::Es384, |config| config.timeout_s = 20);
        let entries = entries("at once", 3);
        let eight = futures_util::future::join_all((0..8).map(|_| up.deliver(&entries))).await;
        for verdicts in eight {
            assert_eq!(letters(&verdicts), "AAA", "{verdicts:?}");
        }
        peers.assert_there_once(&entries).await;
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_is_tried_and_compression_is_asked_for() {
    let peers = Peers::start(None).await;
    let up = peers.upstream(Algorithm::Rs384, |config| config.gzip = Some(Gzip::Probe));
    let entries = entries("probe", 2);
    let verdicts = up.deliver(&entries).await;
    assert_eq!((letters(&verdicts).as_str(), up.state().mode), ("AA", Some("put")), "{verdicts:?}");
    peers.assert_there_once(&entries).await;
}

#[tokio::test]
async fn a_key_the_server_does_not_know_is_told_in_words() {
    let peers = Peers::start(Some(true)).await;
    peers.keys.put("stray-key", Algorithm::Es384);
    let up = peers.upstream(Algorithm::Es384, |config| config.key_secret = "stray-key".into());
    let verdicts = up.deliver(&entries("stray", 1)).await;
    assert_eq!((letters(&verdicts).as_str(), up.state().state), ("T", State::Refusing));
    let kid = up.state().kid.unwrap();
    assert!(
        reason(&verdicts).contains("invalid_client") && reason(&verdicts).contains(&kid),
        "{}",
        reason(&verdicts)
    );
    let steps = up.test().await;
    let last = steps.last().unwrap();
    assert!(last.name == "token" && !last.ok && last.detail.contains("public key"), "{steps:?}");
}

#[tokio::test]
async fn the_peer_refuses_what_bedside_never_sends() {
    let peers = Peers::start(Some(true)).await;
    let audience = format!("{}/token", peers.issuer);
    let good = peers.assertion(120, &audience, "once");
    assert_eq!(peers.token(&good).await.0, 200);
    let replayed = peers.token(&good).await;
    let expired = peers.token(&peers.assertion(-60, &audience, "expired")).await;
    let elsewhere = peers.token(&peers.assertion(120, "https://elsewhere.example/token", "elsewhere")).await;
    for (status, said) in [replayed, expired, elsewhere] {
        assert_eq!((status, said["error"].as_str()), (401, Some("invalid_client")), "{said}");
    }
}

/// The other FHIR server: no tokens, batches only, each entry by itself and side by side, bodies up to 100 kB, answers that
/// are named as the request was, numbers for statuses, no places.
struct Batches {
    base: String,
    origin: String,
    http: reqwest::Client,
    _process: Process,
}

impl Batches {
    fn start() -> Self {
        install();
        let port = free_port();
        let process = run("batches.mjs", &json!({ "port": port }));
        let origin = format!("http://127.0.0.1:{port}");
        let http = reqwest::Client::builder().tls_backend_preconfigured(no_tls()).no_proxy().build().unwrap();
        Self { base: format!("{origin}/4_0_1"), origin, http, _process: process }
    }

    fn upstream(&self, change: impl FnOnce(&mut Config)) -> Upstream {
        let keys = Keys::new(Algorithm::Es384);
        connect(&self.base, &keys, clock(), |config| {
            config.auth = bedside::upstream::Auth::None;
            config.mode = bedside::upstream::ModeWish::Put;
            config.bundles = bedside::upstream::Bundles::Batch;
            config.timeout_s = 10;
            change(config);
        })
    }

    async fn play(&self, faults: Value) {
        let url = format!("{}/control", self.origin);
        self.http.post(url).body(faults.to_string()).send().await.unwrap().error_for_status().unwrap();
    }

    /// What it says it holds under an id.
    async fn held(&self, resource: &Resource) -> Option<Value> {
        let url = format!("{}/{}/{}", self.base, resource.kind, resource.id);
        let answer = self.http.get(url).send().await.unwrap();
        (answer.status() == 200).then_some(serde_json::from_str(&answer.text().await.unwrap()).unwrap())
    }

    /// How many resources of a kind have this identifier.
    async fn count(&self, resource: &Resource) -> u64 {
        let url = format!("{}/{}/_search", self.base, resource.kind);
        let form = bedside::fhir::identifier_query(&resource.identifier.0, &resource.identifier.1);
        let request =
            self.http.post(url).header("content-type", "application/x-www-form-urlencoded").body(form);
        let bundle: Value =
            serde_json::from_str(&request.send().await.unwrap().text().await.unwrap()).unwrap();
        bundle["total"].as_u64().unwrap()
    }

    async fn assert_there_once(&self, entries: &[Vec<Resource>]) {
        for resource in entries.iter().flatten() {
            let held =
                self.held(resource).await.unwrap_or_else(|| panic!("{} is missing", resource.identifier.1));
            assert_eq!(self.count(resource).await, 1, "{}", resource.identifier.1);
            let sent = resource.value();
            for element in ["subject", "device", "effectiveDateTime", "status"] {
                assert_eq!(held[element], sent[element], "{element}");
            }
            assert_eq!(held["valueQuantity"]["code"], sent["valueQuantity"]["code"]);
        }
    }
}

#[tokio::test]
async fn a_server_of_batches_gets_everything_once_and_keeps_its_references_whole() {
    let server = Batches::start();
    let up = server.upstream(|_| ());
    let mut all = entries("batches", 6);
    all[3][3] = Resource { json: all[3][3].json.clone(), ..spoiled(&all[3][3]) };
    let text = all[3][3].json.get().replace(r#""status":"final""#, r#""status":7"#);
    all[3][3].json = serde_json::value::RawValue::from_string(text).unwrap();
    for _ in 0..2 {
        let verdicts = up.deliver(&all).await;
        assert_eq!(letters(&verdicts), "AAARAA", "{verdicts:?}");
        assert!(reason(&verdicts).contains("422"), "{}", reason(&verdicts));
    }
    all.remove(3);
    server.assert_there_once(&all).await;
    let lost = upstream::entries("batches and lost", 3);
    server.play(json!([{ "kind": "commit-then-reset" }])).await;
    assert_eq!(letters(&up.deliver(&lost).await), "TTT");
    assert_eq!(letters(&up.deliver(&lost).await), "AAA");
    server.play(json!([{ "kind": "status", "status": 502 }])).await;
    let busy = upstream::entries("batches and busy", 2);
    assert_eq!(letters(&up.deliver(&busy).await), "TT");
    assert_eq!(letters(&up.deliver(&busy).await), "AA");
    server.assert_there_once(&lost).await;
    server.assert_there_once(&busy).await;
}

#[tokio::test]
async fn a_server_that_takes_a_hundred_kilobytes_gets_smaller_batches() {
    let server = Batches::start();
    let up = server.upstream(|_| ());
    let entries = entries("many", 120);
    // It answers and closes before it has read the whole body: what comes back is a reset as often as a 413.
    let mut verdicts = up.deliver(&entries).await;
    for _ in 0..4 {
        if letters(&verdicts) == "A".repeat(120) {
            break;
        }
        verdicts = up.deliver(&entries).await;
    }
    assert_eq!(letters(&verdicts), "A".repeat(120), "{}", reason(&verdicts));
    assert!(up.capability()["max_bundle_bytes"].as_u64().unwrap() < 110_000, "{}", up.capability());
    server.assert_there_once(&[entries[0].clone(), entries[119].clone()]).await;
}

/// The peers as package-lock.json pins them; `make test` has usually done this.
fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("test-rigs/peers");
        if !folder.join("node_modules/@asymmetrik").exists() {
            let npm =
                Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(folder).status();
            assert!(npm.expect("npm is needed for the real peers").success(), "npm ci failed");
        }
    });
}

fn run(script: &str, settings: &Value) -> Process {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("test-rigs/peers");
    let mut command = Command::new("node");
    command.arg(folder.join(script)).arg(settings.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::null()).spawn().expect("node is needed for the real peers");
    let output = child.stdout.take().unwrap();
    let process = Process(child);
    let (ready, told) = std::sync::mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let lines = BufReader::new(output).lines().map_while(Result::ok);
        let line = lines.into_iter().find(|line| line.contains("\"ready\":true"));
        drop(ready.send(line));
    });
    let line = told.recv_timeout(Duration::from_secs(60)).expect("the peer starts within a minute");
    assert!(line.is_some(), "{script} did not start");
    process
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Loopback speaks plain http; reqwest wants to know a provider all the same.
fn no_tls() -> rustls::ClientConfig {
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config =
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    config.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth()
}
