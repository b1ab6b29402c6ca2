//! The MQTT doors against the real Mosquitto: its broker for our client, its clients for our broker.
//!
//! Faults are real ones: the broker is killed, the gateway's side is cut off between keeping and acknowledging,
//! certificates and passwords are wrong. What was acknowledged must be kept; what was not must come again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "mqtt_peers/mosquitto.rs"]
mod mosquitto;
#[path = "mqtt_peers/shelf.rs"]
mod shelf;

use std::fs;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bedside::clock::{SharedClock, SystemClock};
use bedside::connector::{Stop, broker, mqtt};
use bedside::secret::SecretStore;
use tokio::sync::watch;

use mosquitto::{Mosquitto, certificates, free_port, run, tool};
use shelf::Shelf;

const VERSIONS: [(&str, u8); 2] = [("mqttv311", 3), ("mqttv5", 5)];
const PATIENCE: Duration = Duration::from_secs(20);

/// A running link; dropping it is pulling the plug.
struct Link {
    shelf: Arc<Shelf>,
    switch: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Link {
    fn start(config: mqtt::Config, secrets: SecretStore) -> Self {
        Self::onto(Shelf::new(), config, secrets)
    }

    fn onto(shelf: Arc<Shelf>, config: mqtt::Config, secrets: SecretStore) -> Self {
        let (switch, stop) = Stop::pair();
        let clock: SharedClock = Arc::new(SystemClock::default());
        let task = tokio::spawn(mqtt::run("vitals".into(), config, secrets, shelf.clone(), clock, stop));
        Self { shelf, switch, task }
    }

    async fn stop(self) {
        self.switch.send_replace(true);
        tokio::time::timeout(PATIENCE, self.task).await.expect("the link stops when told").unwrap();
    }

    /// The process is gone: no goodbye, no acknowledgement.
    async fn cut(self) {
        self.task.abort();
        assert!(self.task.await.is_err_and(|ended| ended.is_cancelled()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_arrive_over_tls_with_a_password_at_every_qos() {
    let mosquitto = Mosquitto::start("");
    for (protocol, version) in VERSIONS {
        let link = Link::start(mosquitto.tls_config(version), mosquitto.secrets());
        link.shelf.until_up().await;
        for qos in 0..3 {
            let text = format!("{protocol} {qos}");
            assert!(mosquitto.publish(protocol, qos, "ward/7/vitals", &text));
            link.shelf.until_kept(&text).await;
        }
        let frame = link.shelf.frames.lock().unwrap()[0].clone();
        assert_eq!((&*frame.link, frame.topic.as_deref()), ("vitals", Some("ward/7/vitals")));
        assert!(!frame.redelivered && frame.warnings.is_empty());
        link.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_told_in_words() {
    let mosquitto = Mosquitto::start("");
    for (_, version) in VERSIONS {
        let good = || mosquitto.tls_config(version);
        let stranger = mosquitto.dir.path().join("stranger.pem");
        for (config, word) in [
            (mqtt::Config { password_secret: Some("secret-wrong".into()), ..good() }, "the broker refused"),
            (mqtt::Config { password_secret: Some("secret-none".into()), ..good() }, "secret-none"),
            (mqtt::Config { ca_file: Some(stranger), ..good() }, "set ca_file"),
            (mqtt::Config { ca_file: None, ..good() }, "set ca_file"),
            (mqtt::Config { broker: "127.0.0.1".into(), ..good() }, "not for \"127.0.0.1\""),
            (mqtt::Config { port: Some(mosquitto.port), ..good() }, "TLS"),
            (mqtt::Config { port: Some(free_port()), ..good() }, "cannot reach"),
            (mqtt::Config { broker: "no-such-host.invalid".into(), ..good() }, "cannot reach"),
        ] {
            let link = Link::start(config, mosquitto.secrets());
            link.shelf.until_told(word).await;
            let states = format!("{:?}", link.shelf.states.lock().unwrap());
            assert!(!states.contains("s3cret") && !states.contains("other"), "{states}");
            link.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_broker_is_found_again_and_nothing_is_lost() {
    for (protocol, version) in VERSIONS {
        let mut mosquitto = Mosquitto::start("");
        let link = Link::start(mosquitto.config(version, ""), mosquitto.secrets());
        link.shelf.until_up().await;
        for number in 0..30 {
            if number == 10 {
                // Mosquitto acknowledges before it writes, so a SIGKILL may cost it what it has not passed on.
                link.shelf.until_kept("9").await;
                mosquitto.kill();
                link.shelf.until_told("").await;
                mosquitto.restart();
            }
            if number == 20 {
                mosquitto.end();
                mosquitto.restart();
            }
            let start = Instant::now();
            while !mosquitto.publish(protocol, 1, "ward/7", &number.to_string()) {
                assert!(start.elapsed() < PATIENCE, "the broker does not take messages");
            }
        }
        for number in 0..30 {
            link.shelf.until_kept(&number.to_string()).await;
        }
        link.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_cut_between_keeping_and_acknowledging_brings_the_message_again() {
    let mosquitto = Mosquitto::start("");
    for (protocol, version) in VERSIONS {
        let link = Link::start(mosquitto.config(version, ""), mosquitto.secrets());
        link.shelf.until_up().await;
        link.shelf.telling.send_replace(false);
        for qos in [1, 2] {
            assert!(mosquitto.publish(protocol, qos, "ward/7", &format!("{protocol} at {qos}")));
        }
        link.shelf.until_kept(&format!("{protocol} at 2")).await;
        link.cut().await;
        assert!(mosquitto.publish(protocol, 1, "ward/7", "while away"));

        let link = Link::start(mosquitto.config(version, ""), mosquitto.secrets());
        for text in [format!("{protocol} at 1"), format!("{protocol} at 2"), "while away".into()] {
            link.shelf.until_kept(&text).await;
        }
        let frames = link.shelf.frames.lock().unwrap().clone();
        let again: Vec<bool> = frames.iter().map(|frame| frame.redelivered).collect();
        assert!(
            again.starts_with(&[true, true]),
            "what had been sent before says so: {again:?} {:?}",
            link.shelf.texts()
        );
        link.stop().await;

        // What was acknowledged does not come a third time.
        let link = Link::start(mosquitto.config(version, ""), mosquitto.secrets());
        link.shelf.until_up().await;
        assert!(mosquitto.publish(protocol, 1, "ward/7", "last"));
        link.shelf.until_kept("last").await;
        assert_eq!(link.shelf.texts(), ["last"]);
        link.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_gateway_leaves_the_message_with_the_broker() {
    let mosquitto = Mosquitto::start("");
    for (protocol, version) in VERSIONS {
        let link = Link::start(mosquitto.config(version, ""), mosquitto.secrets());
        link.shelf.until_up().await;
        link.shelf.refusing.send_replace(true);
        assert!(mosquitto.publish(protocol, 1, "ward/7", "patience"));
        link.shelf.until_told("the buffer is full").await;
        assert!(link.shelf.texts().is_empty());
        link.shelf.refusing.send_replace(false);
        link.shelf.until_kept("patience").await;
        link.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stored_message_is_kept_and_flagged() {
    let mosquitto = Mosquitto::start("");
    let mut command = Command::new(tool("mosquitto_pub"));
    command.args(["-h", "127.0.0.1", "-p", &mosquitto.port.to_string(), "-u", "gateway", "-P", "s3cret"]);
    run(command.args(["-r", "-q", "1", "-t", "ward/lwt", "-m", "online"]));
    for (_, version) in VERSIONS {
        let link = Link::start(mosquitto.config(version, ""), mosquitto.secrets());
        link.shelf.until_kept("online").await;
        let frame = link.shelf.frames.lock().unwrap()[0].clone();
        assert_eq!(frame.warnings[0].0, "retained");
        assert!(frame.redelivered);
        link.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_beyond_the_limit_does_not_stop_the_link() {
    let mosquitto = Mosquitto::start("");
    for (protocol, version) in VERSIONS {
        let link = Link::start(mosquitto.config(version, "max_packet_bytes = 4096"), mosquitto.secrets());
        link.shelf.until_up().await;
        let large = mosquitto.dir.path().join("large");
        fs::write(&large, vec![b'x'; 5 << 20]).unwrap();
        let mut command = Command::new(tool("mosquitto_pub"));
        command.args(["-h", "127.0.0.1", "-p", &mosquitto.port.to_string(), "-u", "gateway", "-P", "s3cret"]);
        run(command.args(["-V", protocol, "-q", "1", "-t", "ward/7", "-f"]).arg(&large));
        assert!(mosquitto.publish(protocol, 1, "ward/7", "small"));
        link.shelf.until_kept("small").await;
        // MQTT 5 tells the broker the limit, and the broker holds the message back.
        assert_eq!(link.shelf.noted("oversize"), version == 3);
        link.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_client_with_our_id_is_told_and_the_link_comes_back() {
    let mosquitto = Mosquitto::start("");
    let link = Link::start(mosquitto.config(5, ""), mosquitto.secrets());
    link.shelf.until_up().await;
    let mut command = Command::new(tool("mosquitto_sub"));
    command.args(["-h", "127.0.0.1", "-p", &mosquitto.port.to_string(), "-u", "gateway", "-P", "s3cret"]);
    command.args(["-V", "mqttv5", "-i", "gateway-5", "-t", "x", "-W", "1"]);
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    link.shelf.until_told("our client id \"gateway-5\"").await;
    link.shelf.until_up().await;
    assert!(mosquitto.publish("mqttv5", 1, "ward/7", "after"));
    link.shelf.until_kept("after").await;
    link.stop().await;
}

// ── our broker, Mosquitto's clients ──

struct OwnBroker {
    dir: tempfile::TempDir,
    port: u16,
    tls: bool,
    shelf: Arc<Shelf>,
    switch: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl OwnBroker {
    async fn start(tls: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        certificates(dir.path());
        fs::write(dir.path().join("device-password"), "d3vice").unwrap();
        fs::write(dir.path().join("desk-password"), "d3sk").unwrap();
        let port = free_port();
        let at = |name: &str| dir.path().join(name).display().to_string();
        let files = format!(
            "tls = {{ cert_file = \"{}\", key_file = \"{}\" }}\n",
            at("server.pem"),
            at("server.key")
        );
        let config: broker::Config = toml::from_str(&format!(
            "listen = \"127.0.0.1:{port}\"\n{}[[users]]\nname = \"device\"\npassword_secret = \"device-password\"\n\
             [[users]]\nname = \"desk\"\npassword_secret = \"desk-password\"\nsubscribe = true\n",
            if tls { files.as_str() } else { "" }
        ))
        .unwrap();
        let claims = broker::Claims::default();
        claims.add(broker::Claim { link: "kit".into(), topics: vec!["ward/+/kit".into()], last: false });
        let shelf = Shelf::new();
        let (switch, stop) = Stop::pair();
        let secrets = SecretStore::new(Some(dir.path().into()), None);
        let clock: SharedClock = Arc::new(SystemClock::default());
        let task = tokio::spawn(broker::run(config, claims, secrets, shelf.clone(), clock, stop));
        shelf.until_up().await;
        Self { dir, port, tls, shelf, switch, task }
    }

    fn client(&self, name: &str, protocol: &str, user: &str, password: &str) -> Command {
        let mut command = Command::new(tool(name));
        command.args([
            "-h",
            "localhost",
            "-p",
            &self.port.to_string(),
            "-V",
            protocol,
            "-u",
            user,
            "-P",
            password,
        ]);
        if self.tls {
            command.arg("--cafile").arg(self.dir.path().join("ca.pem"));
        }
        command
    }

    fn publish(&self, protocol: &str, qos: u8, topic: &str, text: &str) -> Output {
        let mut command = self.client("mosquitto_pub", protocol, "device", "d3vice");
        command.args(["-q", &qos.to_string(), "-t", topic, "-m", text]).output().unwrap()
    }

    async fn stop(self) {
        self.switch.send_replace(true);
        tokio::time::timeout(PATIENCE, self.task).await.expect("the broker stops when told").unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_publish_to_our_broker_at_every_qos_plain_and_encrypted() {
    for tls in [false, true] {
        let own = OwnBroker::start(tls).await;
        for (protocol, _) in VERSIONS {
            for qos in 0..3 {
                let text = format!("{protocol} {qos}");
                assert!(own.publish(protocol, qos, "ward/7/kit", &text).status.success());
                own.shelf.until_kept(&text).await;
            }
        }
        let frame = own.shelf.frames.lock().unwrap()[0].clone();
        assert_eq!((&*frame.link, frame.topic.as_deref()), ("kit", Some("ward/7/kit")));
        own.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_broker_acknowledges_nothing_that_is_not_kept() {
    let own = OwnBroker::start(false).await;
    for (protocol, _) in VERSIONS {
        for qos in [1, 2] {
            own.shelf.telling.send_replace(false);
            let mut device = own.client("mosquitto_pub", protocol, "device", "d3vice");
            device.args(["-q", &qos.to_string(), "-t", "ward/7/kit", "-m", "wait"]);
            let mut device = device.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            tokio::time::sleep(Duration::from_millis(500)).await;
            assert!(device.try_wait().unwrap().is_none(), "{protocol} {qos}: it went before it was told");
            own.shelf.telling.send_replace(true);
            let start = Instant::now();
            while device.try_wait().unwrap().is_none() {
                assert!(start.elapsed() < PATIENCE);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
    own.shelf.refusing.send_replace(true);
    let refused = own.publish("mqttv5", 1, "ward/7/kit", "no room");
    let said =
        String::from_utf8_lossy(&refused.stderr).into_owned() + &String::from_utf8_lossy(&refused.stdout);
    assert!(said.to_lowercase().contains("quota"), "{said}");
    // 3.1.1 has no such word: the connection is closed, and whatever the device does then, it was not told "kept".
    let refused = own.publish("mqttv311", 1, "ward/8/kit", "no room either");
    assert!(!refused.status.success());
    assert!(!own.shelf.texts().iter().any(|text| text.starts_with("no room")));
    own.shelf.refusing.send_replace(false);
    assert!(own.publish("mqttv311", 1, "ward/8/kit", "again").status.success());
    own.shelf.until_kept("again").await;
    own.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_broker_lets_nobody_in_without_the_password() {
    let own = OwnBroker::start(false).await;
    for (protocol, _) in VERSIONS {
        for (user, password) in [("device", "wrong"), ("nobody", "d3vice")] {
            let mut command = own.client("mosquitto_pub", protocol, user, password);
            let output = command.args(["-q", "1", "-t", "ward/7/kit", "-m", "x"]).output().unwrap();
            assert!(!output.status.success());
        }
        let mut command = Command::new(tool("mosquitto_pub"));
        command.args(["-h", "localhost", "-p", &own.port.to_string(), "-V", protocol, "-q", "1"]);
        assert!(!command.args(["-t", "ward/7/kit", "-m", "x"]).output().unwrap().status.success());
    }
    assert!(own.shelf.texts().is_empty() && own.shelf.noted("wrong-password"));
    own.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_watch_sees_what_devices_publish() {
    let own = OwnBroker::start(false).await;
    for (protocol, _) in VERSIONS {
        let mut command = own.client("mosquitto_sub", protocol, "desk", "d3sk");
        command.args(["-t", "ward/#", "-C", "1", "-W", "10"]).stdout(Stdio::piped()).stderr(Stdio::null());
        let watcher = command.spawn().unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(own.publish(protocol, 1, "ward/9/kit", "seen").status.success());
        let seen = tokio::task::spawn_blocking(|| watcher.wait_with_output().unwrap()).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&seen.stdout).trim(), "seen");

        let mut command = own.client("mosquitto_sub", protocol, "device", "d3vice");
        let denied = command.args(["-t", "ward/#", "-C", "1", "-W", "3"]).output().unwrap();
        let said = String::from_utf8_lossy(&denied.stderr).into_owned();
        assert!(said.contains("denied"), "a device may not watch others: {said}");
    }
    own.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_client_and_our_broker_understand_each_other() {
    let own = OwnBroker::start(true).await;
    fs::write(own.dir.path().join("secret"), "d3sk").unwrap();
    for (protocol, version) in VERSIONS {
        let config: mqtt::Config = toml::from_str(&format!(
            "broker = \"localhost\"\nport = {}\nca_file = \"{}\"\nversion = {version}\nusername = \"desk\"\n\
             password_secret = \"secret\"\ntopics = [\"ward/#\"]",
            own.port,
            own.dir.path().join("ca.pem").display()
        ))
        .unwrap();
        let link = Link::start(config, SecretStore::new(Some(own.dir.path().into()), None));
        link.shelf.until_up().await;
        assert!(own.publish(protocol, 1, "ward/9/kit", protocol).status.success());
        link.shelf.until_kept(protocol).await;
        assert!(link.shelf.noted("qos-lowered"));
        link.stop().await;
    }
    own.stop().await;
}
