//! Pulls the plug: the real binary is killed at random moments under paced traffic on its connectors that
//! acknowledge (MLLP, ASTM, MQTT, POCT1-A, IEEE 11073-20601) and a folder that files are left in, while the server it delivers to is slow, loses answers and refuses. Afterwards everything that was
//! acknowledged is on the server exactly once. A binary that answers before it commits must be caught by the same rig.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::print_stdout, reason = "a rig says its seed and its numbers")]

#[path = "common/mod.rs"]
mod common;
#[path = "power_cut/devices.rs"]
mod devices;
#[path = "power_cut/oracle.rs"]
mod oracle;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bedside::demo::fhir_server::{Fault, On};
use bedside::demo::pty::Pty;
use bedside::demo::template::Dice;
use bedside::secret::Secret;
use common::{Bedside, FhirServer};
use devices::{Actor, Analyser, Kit, Monitor, Reader, SENDERS, observation, speak, weighing};
use oracle::{LOST, Oracle};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;

/// `BEDSIDE_KILLS` says another number, for a long run.
const KILLS: u32 = 200;
/// Kills of the sabotaged binary: it loses something at about every third.
const KILLS_OF_CONTROL: u32 = 40;
/// Between two messages of one sender.
const PACE: Duration = Duration::from_millis(8);
/// Between two files: each costs the box several steps on the disk.
const FILE_PACE: Duration = Duration::from_millis(40);
/// Longest time between the ports' opening and the kill.
const LIFE_MAX_MS: u64 = 500;
/// One in so many is killed while it starts.
const KILLED_EARLY: u64 = 8;
const DRAINED_WITHIN: Duration = Duration::from_secs(120);

/// The clinic of this rig: a server, its devices, and a box whose power fails.
struct Clinic {
    dir: tempfile::TempDir,
    binary: PathBuf,
    config: String,
    ports: [u16; 4],
    server: FhirServer,
    line: Arc<Mutex<Pty>>,
    power: watch::Sender<bool>,
    stop: watch::Sender<bool>,
    sessions: watch::Receiver<(u32, u32)>,
    senders: Vec<JoinHandle<u64>>,
}

impl Clinic {
    async fn open(binary: PathBuf) -> Self {
        let dir = common::scratch("power-cut");
        let server = FhirServer::start().await;
        let ports = [(); 4].map(|()| common::free_port());
        let drop_dir = dir.path().join("reader");
        std::fs::create_dir_all(&drop_dir).unwrap();
        let password = uuid::Uuid::new_v4().to_string();
        common::write_secret(dir.path(), "kit-password", &Secret::new(password.clone().into_bytes()));
        let config = configuration(dir.path(), ports, &server);
        let line = Arc::new(Mutex::new(Pty::open(Some(&dir.path().join("analyser"))).unwrap()));
        let (power, powered) = watch::channel(false);
        let (stop, stopped) = watch::channel(false);
        let (counter, sessions) = watch::channel((0, 0));
        let monitor = |number| Monitor { number, port: ports[0], line: None };
        let analyser = Analyser { line: Arc::clone(&line), power: powered, began: Instant::now() };
        let kit = Kit { port: ports[1], password, line: None, unanswered: None, sessions: counter };
        let poct = Actor::new("poct1a/device", ports[2], observation);
        let scale = Actor::new("ieee11073/weighing-scale", ports[3], weighing);
        let senders = vec![
            tokio::spawn(speak(monitor(1), PACE, stopped.clone())),
            tokio::spawn(speak(monitor(2), PACE, stopped.clone())),
            tokio::spawn(speak(analyser, PACE, stopped.clone())),
            tokio::spawn(speak(kit, PACE, stopped.clone())),
            tokio::spawn(speak(poct, PACE, stopped.clone())),
            tokio::spawn(speak(Reader { dir: drop_dir }, FILE_PACE, stopped.clone())),
            tokio::spawn(speak(scale, PACE, stopped)),
        ];
        Self { dir, binary, config, ports, server, line, power, stop, sessions, senders }
    }

    fn start(&self) -> Bedside {
        Bedside::spawn(&self.binary, self.dir.path(), &self.config, self.ports[0])
    }

    fn wait_for_ports(&self, running: &mut Bedside) {
        for port in self.ports {
            running.wait_for_port(port);
        }
        self.power.send_replace(true);
    }

    /// Power for a while, then none.
    async fn cut(&self, dice: &mut Dice) {
        let mut running = self.start();
        if dice.below(KILLED_EARLY) > 0 {
            self.wait_for_ports(&mut running);
            tokio::time::sleep(Duration::from_millis(dice.below(LIFE_MAX_MS))).await;
        } else {
            tokio::time::sleep(Duration::from_millis(dice.below(150))).await;
        }
        running.kill();
        self.power.send_replace(false);
        self.line.lock().await.last_close().unwrap();
    }

    /// Power for good: the senders come to an end, the box drains and is stopped in order. Returns what the oracle
    /// finds wrong, and what happened in one line.
    async fn close(self) -> (Vec<String>, String) {
        let mut running = self.start();
        self.wait_for_ports(&mut running);
        self.server.running.faults.clear();
        self.stop.send_replace(true);
        let mut acknowledged = [0; SENDERS.len()];
        for (last, sender) in acknowledged.iter_mut().zip(self.senders) {
            *last = sender.await.unwrap();
        }
        wait_for_files(&self.dir.path().join("reader")).await;
        running.wait_until_drained(DRAINED_WITHIN).await;
        assert_eq!(running.stop().code(), Some(0), "{}", running.log());
        let (store, status) = (&self.server.running.store, running.status());
        let (known, forgotten) = *self.sessions.borrow();
        let counted: Vec<String> =
            SENDERS.iter().zip(acknowledged).map(|(sender, last)| format!("{} {last}", sender.way)).collect();
        let told = format!(
            "acknowledged: {}; {} Observations on the server after {} writes and {} faults, {} beginnings held",
            counted.join(", "),
            store.count_of("Observation"),
            store.writes_total(),
            self.server.running.faults.played(),
            status["counts"]["held"],
        );
        let (data, log) = (self.dir.path().join("data"), running.log());
        let oracle = Oracle { acknowledged, store, data: &data, log: &log, status };
        let mut faults = oracle.faults();
        if forgotten != 1 {
            faults
                .push(format!("the broker forgot the kit's session: {forgotten} were new, {known} were not"));
        }
        (faults, told)
    }
}

/// Until every file that was left is in the archive.
async fn wait_for_files(dir: &Path) {
    let began = Instant::now();
    let left = |dir: &Path| {
        let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
        files.filter(|entry| entry.path().is_file()).count()
    };
    while left(dir) + left(&dir.join(".claimed")) > 0 {
        assert!(began.elapsed() < DRAINED_WITHIN, "files are left in the folder");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn configuration(dir: &Path, [mllp, broker, poct, scale]: [u16; 4], server: &FhirServer) -> String {
    format!(
        "{monitor}{upstream}[delivery]\npause_max_s = 1\n\
         [broker]\nlisten = \"127.0.0.1:{broker}\"\n[[broker.users]]\nname = \"kit\"\npassword_secret = \"kit-password\"\n\
         [[link]]\nname = \"analyser\"\nprofile = \"generic/astm-analyser\"\nserial = {{ port = \"{dir}/analyser\" }}\n\
         [[link]]\nname = \"kit\"\nprofile = \"ble-gateway/vital-kit\"\nbroker = {{ topics = [\"kits/#\"] }}\n\
         [[link]]\nname = \"poct\"\nprofile = \"poct1a/device\"\ntcp = {{ listen = \"127.0.0.1:{poct}\" }}\n\
         [[link]]\nname = \"scale\"\nprofile = \"ieee11073/weighing-scale\"\ntcp = {{ listen = \"127.0.0.1:{scale}\" }}\n\
         patient = {{ system = \"urn:oid:2.999.1\", value = \"RIG-SCALE\" }}\n\
         [[link]]\nname = \"reader\"\nprofile = \"wondfo/finecare-csv\"\n\
         folder = {{ dir = \"{dir}/reader\", files = \"*.csv\", settle_s = 0, poll_s = 1 }}\n",
        monitor = common::mllp_config(dir, mllp),
        upstream = server.upstream_section(dir),
        dir = dir.display(),
    )
}

/// The seed of the times of the kills and of the server's faults: that of `BEDSIDE_SEED`, or a new one.
fn seed() -> u64 {
    let given = std::env::var("BEDSIDE_SEED").ok();
    given.map_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0, |seed| seed.parse().unwrap())
}

/// Cuts the power so many times; returns what is wrong afterwards.
async fn cuts(binary: PathBuf, kills: u32) -> Vec<String> {
    let seed = seed();
    println!("BEDSIDE_SEED={seed}");
    let began = Instant::now();
    let mut dice = Dice(seed);
    let clinic = Clinic::open(binary).await;
    let late = |millis| Fault::Late(Duration::from_millis(millis));
    let faults = vec![
        (On::Transaction, Fault::CommitThenDrop),
        (On::Transaction, Fault::Drop),
        (On::Transaction, Fault::Status(503)),
        (On::Transaction, late(150)),
        (On::Any, late(40)),
    ];
    clinic.server.running.faults.random(dice.below(u64::MAX), 150, faults);
    for _ in 0..kills {
        clinic.cut(&mut dice).await;
    }
    let cut = began.elapsed();
    let (faults, told) = clinic.close().await;
    println!(
        "{kills} kills in {cut:.1?}, all in {:.1?}; {told}; {} things wrong",
        began.elapsed(),
        faults.len()
    );
    faults
}

/// As many faults as a person reads.
fn first(faults: &[String]) -> String {
    faults[..faults.len().min(40)].join("\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_or_doubled_by_two_hundred_power_cuts() {
    let kills = std::env::var("BEDSIDE_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let faults = cuts(common::binary(), kills).await;
    assert!(faults.is_empty(), "{} things are wrong:\n{}", faults.len(), first(&faults));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_binary_that_answers_before_it_commits_is_caught() {
    let sabotaged = common::binary().with_file_name("bedside-sabotaged");
    assert!(
        sabotaged.is_file(),
        "{} is missing: `make rust-tests` builds it before it runs this",
        sabotaged.display()
    );
    let faults = cuts(sabotaged, KILLS_OF_CONTROL).await;
    let lost = |sender: &devices::Sender| {
        let of = format!("{} number", sender.patient);
        faults.iter().filter(|fault| fault.starts_with(&of) && fault.ends_with(LOST)).count()
    };
    let by_way: Vec<(&str, usize)> = SENDERS.iter().map(|sender| (sender.way, lost(sender))).collect();
    println!("measurements {LOST}: {by_way:?}");
    let caught = |way: &str| by_way.iter().any(|(known, lost)| *known == way && *lost > 0);
    let any = by_way.iter().any(|(_, lost)| *lost > 0);
    assert!(any, "the rig did not see that answers came before commits:\n{}", first(&faults));
    assert!(caught("poct1a"), "nothing was lost over POCT1-A:\n{}", first(&faults));
}

#[tokio::test]
async fn a_second_instance_on_the_same_folder_ends_at_once_and_says_why() {
    let dir = common::scratch("second");
    let first = Bedside::start_mllp_only(dir.path()).await;
    let began = Instant::now();
    let second = std::process::Command::new(common::binary())
        .args(["run", "--config"])
        .arg(&first.config)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(75), "{said}");
    assert!(began.elapsed() < Duration::from_secs(5), "it took {:?}", began.elapsed());
    let process = format!("in use by another Bedside (process {})", first.child.id());
    assert!(said.contains(&process) && said.contains("stop that one first"), "{said}");
    assert_eq!(first.status()["running"], true, "the first one goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_box_that_is_asked_to_stop_under_traffic_does_so_in_order_and_loses_nothing() {
    let clinic = Clinic::open(common::binary()).await;
    for _ in 0..3 {
        let mut running = clinic.start();
        clinic.wait_for_ports(&mut running);
        tokio::time::sleep(Duration::from_millis(400)).await;
        let began = Instant::now();
        assert_eq!(running.stop().code(), Some(0), "{}", running.log());
        assert!(began.elapsed() < Duration::from_secs(5), "it took {:?}", began.elapsed());
        clinic.power.send_replace(false);
        clinic.line.lock().await.last_close().unwrap();
    }
    let (faults, told) = clinic.close().await;
    println!("{told}");
    assert!(faults.is_empty(), "{told}:\n{}", first(&faults));
}
