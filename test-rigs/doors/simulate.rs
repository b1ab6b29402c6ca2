//! Simulated devices, as the command line plays them: the box keeps and reads what they say, a tape of it says the same
//! again, and what goes wrong on their lines loses nothing and doubles nothing.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bedside::clock::SystemClock;
use bedside::connector::Stop;
use bedside::demo::actor::kit::{Broker, Kit};
use bedside::demo::actor::{Message, Script, Speaker, Told, speaker};
use bedside::demo::fault::FaultyLine;
use bedside::demo::stage::{Place, Play};
use bedside::firmware_profile::Library;
use bedside::secret::Secret;
use rusqlite::{Connection, OpenFlags};
use serde_json::json;

use crate::clinic::{Clinic, PATIENCE};
use crate::common;
use crate::speak::{oru, records};

const PASSWORD: &str = "kit password of the rig";

fn broker(port: u16) -> String {
    format!(
        "[broker]\nlisten = \"127.0.0.1:{port}\"\n[[broker.users]]\nname = \"kit\"\npassword_secret = \"kit-password\"\n\
         [[link]]\nname = \"kits\"\nprofile = \"ble-gateway/vital-kit\"\nbroker = {{ topics = [\"kits/#\"] }}\n"
    )
}

async fn start_broker(clinic: &Clinic) {
    common::write_secret(clinic.dir.path(), "kit-password", &Secret::new(PASSWORD.into()));
    common::until(PATIENCE, "the broker starts", async || clinic.link("kits").await.0 == "up").await;
}

/// Runs `bedside` to its end; what it said.
async fn bedside(arguments: &[&str]) -> String {
    let mut command = Command::new(common::binary());
    command.args(arguments).stdin(Stdio::null());
    let done = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let said = [done.stderr, done.stdout].concat();
    let said = String::from_utf8(said).unwrap();
    assert!(done.status.success(), "{arguments:?}: {said}");
    said
}

/// Frames of a link as they are kept, oldest first.
fn frames(clinic: &Clinic, link: &str) -> Vec<Vec<u8>> {
    let path = clinic.dir.path().join("data/bedside.db");
    let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let mut wanted = database
        .prepare(
            "SELECT frame.bytes FROM frame JOIN link ON link.id = frame.link WHERE name = ?1 ORDER BY frame.id",
        )
        .unwrap();
    wanted.query_map([link], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

/// Where the devices of the first rig speak.
struct Ways {
    dir: String,
    monitors: String,
    broker: String,
}

impl Ways {
    /// Arguments of the way of each link.
    fn of(&self, link: &str) -> Vec<String> {
        let secrets = format!("{}/secrets", self.dir);
        let words: Vec<&str> = match link {
            "monitors" => vec!["--tcp", &self.monitors],
            "kits" => {
                let user = ["--user", "kit", "--password-secret", "kit-password", "--folder", &secrets];
                [&["--mqtt", &self.broker][..], &user].concat()
            }
            _ => return vec!["--pty".into(), format!("{}/oximeter", self.dir)],
        };
        words.into_iter().map(String::from).collect()
    }

    /// Each device says five messages.
    async fn simulate(&self, seed: &str) {
        let one = async |profile: &str, link: &str, more: &[&str], last: &str| {
            let way = self.of(link);
            let mut arguments = vec!["simulate", profile, "--every", "0.05", "--count", "5", "--seed", seed];
            arguments.extend(way.iter().map(String::as_str));
            arguments.extend(more);
            let said = bedside(&arguments).await;
            assert!(said.contains(&format!("5: {last}")), "{profile}: {said}");
        };
        tokio::join!(
            one("ihe/pcd01-monitor", "monitors", &[], "acknowledged"),
            one("masimo/ascii1", "oximeter", &[], "sent"),
            one("ble-gateway/vital-kit", "kits", &["--topic", "kits/7"], "acknowledged"),
        );
    }

    async fn replay(&self, link: &str, tape: &str, pace: &str) {
        let way = self.of(link);
        let mut arguments = vec!["replay", tape, "--pace", pace];
        arguments.extend(way.iter().map(String::as_str));
        bedside(&arguments).await;
    }
}

const LINKS: [&str; 3] = ["monitors", "oximeter", "kits"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_simulated_devices_say_is_read_and_a_tape_of_it_says_the_same_again() {
    let (mllp, mqtt) = (common::free_port(), common::free_port());
    let links = format!(
        "{}[[link]]\nname = \"monitors\"\nprofile = \"ihe/pcd01-monitor\"\nmllp = {{ listen = \"127.0.0.1:{mllp}\" }}\n\
         [[link]]\nname = \"oximeter\"\nprofile = \"masimo/ascii1\"\nserial = {{ port = \"{{dir}}/oximeter\" }}\n\
         patient = {{ system = \"urn:oid:1.2.3\", value = \"P-9\" }}\n",
        broker(mqtt)
    );
    let clinic = Clinic::open("doors-simulate", links).await;
    start_broker(&clinic).await;
    let dir = clinic.dir.path().display().to_string();
    let (monitors, broker) = (format!("127.0.0.1:{mllp}"), format!("127.0.0.1:{mqtt}"));
    let ways = Ways { dir: dir.clone(), monitors, broker };

    ways.simulate("1").await;
    clinic.settled(15, 0).await;
    for (link, code) in [("monitors", "8867-4"), ("oximeter", "59408-5"), ("kits", "8310-5")] {
        assert_eq!(frames(&clinic, link).len(), 5, "{link}");
        assert!(!clinic.observations(code).is_empty(), "{link}: no {code}");
    }

    let mut tapes = Vec::new();
    for link in LINKS {
        let wanted = json!({ "link": link, "masked": false, "minutes": 5 });
        let made = clinic.desk.post("/api/v1/recordings", &wanted.to_string()).await;
        assert_eq!(made.status, 201, "{}", made.text);
        tapes.push(made.json()["name"].as_str().unwrap().to_owned());
    }
    ways.simulate("2").await;
    clinic.settled(30, 0).await;
    let observations = clinic.observations("").len();
    for (link, name) in LINKS.into_iter().zip(&tapes) {
        clinic.desk.post(&format!("/api/v1/recordings/{name}/stop"), "").await;
        let tape = clinic.desk.get(&format!("/api/v1/recordings/{name}?unmasked=yes")).await;
        assert_eq!(tape.status, 200, "{}", tape.text);
        std::fs::write(format!("{dir}/{link}.tape"), tape.text).unwrap();
    }
    for (link, pace) in LINKS.into_iter().zip(["max", "20", "max"]) {
        ways.replay(link, &format!("{dir}/{link}.tape"), pace).await;
    }
    // A message that is told again to the letter is the same message over MLLP; lines and MQTT packets are new ones.
    clinic.settled(40, 0).await;
    assert_eq!(clinic.metric("bedside_frames_repeated_total", "monitors").await, 5);
    for link in ["oximeter", "kits"] {
        let all = frames(&clinic, link);
        assert_eq!(all[10..], all[5..10], "{link}");
    }
    assert_eq!(clinic.observations("").len(), observations, "the same frames are the same Observations");
    recorded_by_hand(&clinic, &ways).await;
}

/// A port that no link uses is recorded on the command line, and played to the box.
async fn recorded_by_hand(clinic: &Clinic, ways: &Ways) {
    let (free, tape) = (format!("{}/free", ways.dir), format!("{}/free.tape", ways.dir));
    let device = ["simulate", "masimo/ascii1", "--pty", &free, "--every", "0.02", "--count", "4"];
    let recording = async {
        common::until(PATIENCE, "the device is plugged in", async || Path::new(&free).exists()).await;
        let mut command = Command::new(common::binary());
        command.args(["record", "--port", &free, "--profile", "masimo/ascii1", &tape]);
        command.stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap()
    };
    let (said, mut recorder) = tokio::join!(bedside(&device), recording);
    assert!(said.contains("4: sent"), "{said}");
    let ended = tokio::task::spawn_blocking(move || {
        // The port is gone when the device is; a tape that goes on is ended as a person would.
        let pid = rustix::process::Pid::from_child(&recorder);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).ok();
        recorder.wait().unwrap()
    });
    ended.await.unwrap();
    let read = bedside(&["profile", "run", &tape]).await;
    assert!(read.contains("4 frames") && read.contains("0 held"), "{read}");
    ways.replay("oximeter", &tape, "max").await;
    // A port that opens while a line is on it may be told that line again.
    common::until(PATIENCE, "the tape is told", async || frames(clinic, "oximeter").len() >= 19).await;
    let all = frames(clinic, "oximeter");
    assert!(all.len() <= 20, "{} frames", all.len());
    assert!(all[15..].iter().all(|frame| read_of(frame, &tape)), "the frames of the tape");
}

/// Whether a frame is on the tape.
fn read_of(frame: &[u8], tape: &str) -> bool {
    let tape = bedside::wire::tape::Tape::read(&std::fs::read(tape).unwrap()).unwrap();
    let all: Vec<u8> = tape.chunks.into_iter().flat_map(|chunk| chunk.bytes).collect();
    all.windows(frame.len()).any(|part| part == frame)
}

/// A device with its faults.
struct Faulty {
    link: &'static str,
    profile: &'static str,
    faults: &'static str,
    every_ms: u64,
    count: u64,
    /// Whether a person must see that something went wrong.
    strikes: bool,
}

const fn faulty(link: &'static str, profile: &'static str, faults: &'static str) -> Faulty {
    Faulty { link, profile, faults, every_ms: 20, count: MESSAGES, strikes: true }
}

/// Each device has so many messages to say.
const MESSAGES: u64 = 20;
/// With it a fault that strikes once in twenty times strikes at the seventh.
const SEED: u64 = 3;
const MONITOR: &str = "ihe/pcd01-monitor";
const ANALYSER: &str = "generic/astm-analyser";
const KIT: &str = "ble-gateway/vital-kit";

const DEVICES: [Faulty; 10] = [
    // Ten of thirty are said twice.
    Faulty { count: 30, strikes: false, ..faulty("duplicate", MONITOR, "duplicate") },
    Faulty { strikes: false, ..faulty("burst", MONITOR, "burst") },
    Faulty { strikes: false, ..faulty("slow", MONITOR, "slow") },
    faulty("nak", MONITOR, "nak"),
    faulty("drop-ack", MONITOR, "drop-ack"),
    faulty("half-frames", MONITOR, "half-frames"),
    Faulty { every_ms: 150, ..faulty("unplug", MONITOR, "unplug=1s") },
    Faulty { strikes: false, ..faulty("noise", ANALYSER, "noise=0.0005") },
    Faulty { strikes: false, ..faulty("astm-nak", ANALYSER, "nak") },
    faulty("kits", KIT, "drop-ack"),
];

/// Message `n` of a device: its value is found nowhere else.
fn message(device: &Faulty, value: u64) -> Message {
    let patient = format!("P-{}", device.link);
    match device.profile {
        MONITOR => Message::of(oru(&format!("C{value}"), &patient, &value.to_string(), "").into_bytes()),
        ANALYSER => Message::of(records(&format!("{patient}-{value}"), &value.to_string())),
        _ => {
            let time = 1_773_470_000 + value;
            let text = format!(
                r#"{{"from":"BLE","to":"CLOUD","time":{time},"mac":"08:F9:E0:00:11:22","type":"reportAttribute","citiz":"{patient}","data":{{"attribute":"KIT","mac":"08:F9:E0:00:11:22","value":{{"device_list":[{{"scan_time":{time},"ble_addr":"c12488000001","pulse":{value}}}]}}}}}}"#
            );
            Message { topic: Some("kits/1".into()), ..Message::of(text.into_bytes()) }
        }
    }
}

/// The values a device says.
fn values(place: usize) -> std::ops::Range<u64> {
    let first = 100 * (place as u64 + 1);
    first..first + MESSAGES
}

/// Lets a device say all it has; how often it had to say something again, or its line was away.
async fn play(device: &'static Faulty, place: usize, port: u16) -> usize {
    let library = Library::embedded().unwrap();
    let profile = library.find(device.profile).unwrap();
    let speaker: Box<dyn Speaker> = if device.profile == KIT {
        let password = Secret::new(PASSWORD.into());
        let (client_id, user) = ("rig-kit".into(), "kit".into());
        Box::new(Kit::new(Broker { client_id, user, password, topic: None }))
    } else {
        speaker(&profile, &[]).unwrap()
    };
    let messages = values(place).map(|value| message(device, value)).collect();
    let play = Play {
        speaker,
        script: Script::of_messages(messages, false).unwrap(),
        faults: FaultyLine::new(device.faults.parse().unwrap(), SEED),
        every: Duration::from_millis(device.every_ms),
        count: Some(device.count),
    };
    let (_switch, stop) = Stop::pair();
    let mut struck = 0;
    let heard = |_: u64, told: &Told| struck += usize::from(matches!(told, Told::Again(_) | Told::Away(_)));
    let place = Place::Dial(format!("127.0.0.1:{port}"));
    play.run(place, Arc::new(SystemClock::default()), stop, heard).await;
    struck
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_wrong_on_the_lines_loses_nothing_and_doubles_nothing() {
    let ports = [(); DEVICES.len()].map(|()| common::free_port());
    let mut links = String::new();
    for (device, port) in DEVICES.iter().zip(ports) {
        let transport = if device.profile == MONITOR { "mllp" } else { "tcp" };
        if device.profile == KIT {
            links.insert_str(0, &broker(port));
        } else {
            links.push_str(&format!(
                "[[link]]\nname = \"{}\"\nprofile = \"{}\"\n{transport} = {{ listen = \"127.0.0.1:{port}\" }}\n",
                device.link, device.profile
            ));
        }
    }
    let clinic = Clinic::open("doors-faults", links).await;
    start_broker(&clinic).await;
    let mut playing = tokio::task::JoinSet::new();
    for (place, (device, port)) in DEVICES.iter().zip(ports).enumerate() {
        playing.spawn(async move { (device, play(device, place, port).await) });
    }
    while let Some(done) = playing.join_next().await {
        let (device, struck) = done.unwrap();
        println!("{}: {struck} times something went wrong", device.link);
        assert!(!device.strikes || struck > 0, "{}: the fault never struck", device.link);
    }
    clinic.settled(MESSAGES * DEVICES.len() as u64, 0).await;
    for (place, device) in DEVICES.iter().enumerate() {
        for value in values(place) {
            assert_eq!(clinic.valued(&value.to_string()), 1, "{}: {value}", device.link);
        }
    }
    assert_eq!(clinic.metric("bedside_frames_repeated_total", "link=\"duplicate\"").await, 10);
}
