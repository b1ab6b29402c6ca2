//! A broker between the devices and the box (Mosquitto): it is stopped in order, killed and started again while messages
//! of QoS 1 flow, and so is the box. What the broker acknowledged to the device and did not lose itself arrives.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bedside::demo::template::Dice;
use rusqlite::{Connection, OpenFlags};
use rustix::process::{Pid, Signal, kill_process};

use crate::common;
use crate::proof::clinic::{BRIDGED, Clinic, Plan};
use crate::proof::devices::{BRIDGE, Kit, SENDERS};
use crate::tools::tool;
use crate::{nothing_is, rounds, seed};

const PATIENCE: Duration = Duration::from_secs(30);

struct Mosquitto {
    dir: tempfile::TempDir,
    port: u16,
    child: Child,
}

impl Mosquitto {
    fn start() -> Self {
        let (dir, port) = (common::scratch("mosquitto"), common::free_port());
        let text = format!(
            "user root\nallow_anonymous true\npersistence true\npersistence_location {}/\nautosave_interval 1\n\
             autosave_on_changes true\nmax_queued_messages 0\nlistener {port} 127.0.0.1\n",
            dir.path().display()
        );
        std::fs::write(dir.path().join("mosquitto.conf"), text).unwrap();
        let child = Self::run(dir.path(), port);
        Self { dir, port, child }
    }

    fn run(dir: &Path, port: u16) -> Child {
        let child = Command::new(tool("mosquitto"))
            .arg("-c")
            .arg(dir.join("mosquitto.conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        common::until_blocking(PATIENCE, "Mosquitto listens", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        child
    }

    /// Ends it with a signal and starts it again.
    fn again(&mut self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        self.child.wait().unwrap();
        self.child = Self::run(self.dir.path(), self.port);
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _gone = (self.child.kill(), self.child.wait());
    }
}

/// How many frames of the broker's link are kept, and whether the message of number `n` is among them.
fn kept(clinic: &Clinic, n: u64) -> (u64, bool) {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let looked = || -> rusqlite::Result<(u64, bool)> {
        let database = Connection::open_with_flags(clinic.database(), flags)?;
        let of = "FROM frame JOIN link ON link.id = frame.link WHERE link.name = 'bridge'";
        let count: i64 = database.query_row(&format!("SELECT count(*) {of}"), [], |row| row.get(0))?;
        let message = Kit::message(SENDERS[BRIDGE].patient, n).into_bytes();
        let has = format!("SELECT count(*) {of} AND frame.bytes = ?1");
        let has: i64 = database.query_row(&has, [message], |row| row.get(0))?;
        Ok((count.unsigned_abs(), has > 0))
    };
    looked().unwrap_or_default()
}

/// Nobody is believed until a message has come all the way from the kit into the box: only then does the broker know
/// again for whom it keeps messages.
async fn through(clinic: &Clinic, running: &common::Bedside) {
    let before = kept(clinic, 0).0;
    let began = Instant::now();
    while kept(clinic, 0).0 <= before {
        assert!(began.elapsed() < PATIENCE, "nothing comes through the broker:\n{}", running.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    clinic.believe(true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_stopped_killed_and_started_again_costs_nothing() {
    let mut dice = Dice(seed());
    let mut broker = Mosquitto::start();
    let more = format!(
        "[[link]]\nname = \"bridge\"\nprofile = \"ble-gateway/vital-kit\"\n\
         mqtt = {{ broker = \"127.0.0.1\", port = {}, tls = false, version = {}, client_id = \"rig-box\", topics = [\"kits/#\"], \
         keep_alive_s = 5 }}\n",
        broker.port,
        if dice.below(2) == 0 { 3 } else { 5 },
    );
    let mut clinic =
        Clinic::open(Plan { ways: &BRIDGED, more, bridge: broker.port, ..Plan::of("bridge") }).await;
    clinic.believe(false);
    let mut running = clinic.started();
    through(&clinic, &running).await;
    let began = Instant::now();
    for round in 0..3 * rounds() {
        // In order: it writes down what it holds for us.
        tokio::time::sleep(Duration::from_millis(300 + dice.below(700))).await;
        broker.again(Signal::TERM);
        // The box loses its power, and what comes meanwhile waits with the broker.
        tokio::time::sleep(Duration::from_millis(300 + dice.below(700))).await;
        clinic.kill(&mut running).await;
        if round % 2 == 1 {
            broker.again(Signal::TERM);
        }
        tokio::time::sleep(Duration::from_millis(dice.below(500))).await;
        running = clinic.started();
        tokio::time::sleep(Duration::from_millis(300 + dice.below(700))).await;
        // Killed: a broker that acknowledges before it writes may lose what it has not passed on, so what it took is
        // passed on first, and what is said meanwhile is said again.
        clinic.believe(false);
        let told = clinic.acknowledged()[BRIDGE];
        let waited = Instant::now();
        while !kept(&clinic, told).1 {
            assert!(waited.elapsed() < PATIENCE, "number {told} does not arrive:\n{}", running.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        broker.again(Signal::KILL);
        through(&clinic, &running).await;
    }
    println!("{} rounds in {:.1?}", 3 * rounds(), began.elapsed());
    let (wrong, told) = clinic.finish(running).await;
    println!("{told}");
    nothing_is(&wrong);
}
