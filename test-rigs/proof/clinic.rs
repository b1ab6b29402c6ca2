//! A server, its devices, and a box to which anything may happen.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bedside::demo::pty::Pty;
use bedside::secret::Secret;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;

use super::devices::{
    Actor, Analyser, BRIDGE, Device, Kit, Monitor, Orders, Reader, SENDERS, observation, speak, weighing,
};
use super::oracle::{Oracle, Wrong};
use crate::common::{self, Bedside, FhirServer};

/// Between two messages of one sender.
const PACE: Duration = Duration::from_millis(8);
/// Between two files: each costs the box several steps on the disk.
const FILE_PACE: Duration = Duration::from_millis(40);
const DRAINED_WITHIN: Duration = Duration::from_secs(120);
/// The same for a build that may never get there.
const SABOTAGED_WITHIN: Duration = Duration::from_secs(30);

/// All senders, and those that need nothing but a connection.
pub(crate) const ALL: [usize; 7] = [0, 1, 2, 3, 4, 5, 6];
pub(crate) const MONITORS: [usize; 2] = [0, 1];
/// The monitors, and a kit that speaks to a broker which the box reads.
pub(crate) const BRIDGED: [usize; 3] = [0, 1, BRIDGE];

/// How a clinic differs from most.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) name: &'static str,
    pub(crate) binary: PathBuf,
    /// What a sabotaged binary does wrong.
    pub(crate) sabotage: Option<&'static str>,
    /// Which of [`SENDERS`] there are.
    pub(crate) ways: &'static [usize],
    pub(crate) pace: Duration,
    /// Where the buffer lies, if not in the clinic's folder.
    pub(crate) data: Option<PathBuf>,
    /// Further lines of `[buffer]`, and further sections.
    pub(crate) buffer: String,
    pub(crate) more: String,
    /// Lines of `[delivery]`.
    pub(crate) delivery: &'static str,
    /// Without a server upstream nothing is delivered.
    pub(crate) upstream: bool,
    /// Whether whole messages may wait for a person.
    pub(crate) may_hold: bool,
    /// The port of a broker that the box reads, where there is one.
    pub(crate) bridge: u16,
}

impl Plan {
    pub(crate) fn of(name: &'static str) -> Self {
        Self {
            name,
            binary: common::binary(),
            sabotage: None,
            ways: &MONITORS,
            pace: PACE,
            data: None,
            buffer: String::new(),
            more: String::new(),
            delivery: "pause_max_s = 1",
            upstream: true,
            may_hold: false,
            bridge: 0,
        }
    }

    pub(crate) fn all(name: &'static str) -> Self {
        Self { ways: &ALL, ..Self::of(name) }
    }

    /// The same with the build that commits this fault.
    pub(crate) fn sabotaged(self, fault: Option<&'static str>) -> Self {
        if fault.is_none() {
            return self;
        }
        let binary = common::binary().with_file_name("bedside-sabotaged");
        assert!(
            binary.is_file(),
            "{} is missing: `make rust-tests` builds it before it runs this",
            binary.display()
        );
        Self { binary, sabotage: fault, ..self }
    }
}

/// The clinic of a rig.
pub(crate) struct Clinic {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) plan: Plan,
    pub(crate) config: String,
    pub(crate) ports: [u16; 4],
    pub(crate) server: FhirServer,
    pub(crate) line: Arc<Mutex<Pty>>,
    power: watch::Sender<bool>,
    pub(crate) orders: watch::Sender<Orders>,
    sessions: watch::Receiver<(u32, u32)>,
    senders: Vec<(usize, JoinHandle<u64>)>,
    told: [Arc<AtomicU64>; SENDERS.len()],
    /// What the rig damages on the disk itself.
    pub(crate) damaged: BTreeSet<(usize, u64)>,
    /// The longest a start took until the ports were open.
    pub(crate) slowest_start: Duration,
}

impl Clinic {
    pub(crate) async fn open(plan: Plan) -> Self {
        let dir = common::scratch(plan.name);
        let server = FhirServer::start().await;
        let ports = [(); 4].map(|()| common::free_port());
        let drop_dir = dir.path().join("reader");
        std::fs::create_dir_all(&drop_dir).unwrap();
        let password = uuid::Uuid::new_v4().to_string();
        common::write_secret(dir.path(), "kit-password", &Secret::new(password.clone().into_bytes()));
        let config = configuration(dir.path(), ports, &server, &plan);
        let line = Arc::new(Mutex::new(Pty::open(Some(&dir.path().join("analyser"))).unwrap()));
        let (power, powered) = watch::channel(false);
        let (orders, _) = watch::channel(Orders { allowed: u64::MAX, ..Orders::default() });
        let (counter, sessions) = watch::channel((0, 0));
        let mut clinic = Self {
            dir,
            config,
            ports,
            server,
            line: Arc::clone(&line),
            power,
            orders,
            sessions,
            senders: Vec::new(),
            told: std::array::from_fn(|_| Arc::default()),
            damaged: BTreeSet::new(),
            slowest_start: Duration::ZERO,
            plan,
        };
        let pace = clinic.plan.pace;
        for way in clinic.plan.ways {
            match way {
                0 => clinic.says(0, Monitor { number: 1, port: ports[0], line: None }, pace),
                1 => clinic.says(1, Monitor { number: 2, port: ports[0], line: None }, pace),
                2 => {
                    let (line, power) = (Arc::clone(&line), powered.clone());
                    clinic.says(2, Analyser { line, power, began: Instant::now() }, pace);
                }
                3 => {
                    let kit = Kit::new(SENDERS[3].patient, ports[1], password.clone(), counter.clone());
                    clinic.says(3, kit, pace);
                }
                &BRIDGE => {
                    let (port, sessions) = (clinic.plan.bridge, watch::Sender::default());
                    let kit = Kit::new(SENDERS[BRIDGE].patient, port, password.clone(), sessions);
                    clinic.says(BRIDGE, kit, pace);
                }
                4 => clinic.says(4, Actor::new("poct1a/device", ports[2], observation), pace),
                5 => clinic.says(5, Reader { dir: drop_dir.clone() }, FILE_PACE),
                _ => clinic.says(6, Actor::new("ieee11073/weighing-scale", ports[3], weighing), pace),
            }
        }
        clinic
    }

    fn says(&mut self, way: usize, device: impl Device + 'static, pace: Duration) {
        let task = speak(device, pace, self.orders.subscribe(), Arc::clone(&self.told[way]));
        self.senders.push((way, tokio::spawn(task)));
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.plan.data.clone().unwrap_or_else(|| self.dir.path().join("data"))
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.data().join("bedside.db")
    }

    /// The last number each sender was acknowledged.
    pub(crate) fn acknowledged(&self) -> [u64; SENDERS.len()] {
        std::array::from_fn(|way| self.told[way].load(Ordering::SeqCst))
    }

    /// The senders may say so many more numbers each.
    pub(crate) fn allow(&self, more: u64) {
        let least = self.plan.ways.iter().map(|way| self.told[*way].load(Ordering::SeqCst)).min();
        self.orders.send_modify(|orders| orders.allowed = least.unwrap_or(0) + more);
    }

    /// Whether everything that was allowed is acknowledged.
    pub(crate) fn all_told(&self) -> bool {
        let allowed = self.orders.borrow().allowed;
        self.plan.ways.iter().all(|way| self.told[*way].load(Ordering::SeqCst) >= allowed)
    }

    /// Waits until everything that was allowed is acknowledged; whether that came in time.
    pub(crate) async fn told_within(&self, limit: Duration) -> bool {
        let began = Instant::now();
        while !self.all_told() {
            if began.elapsed() > limit {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        true
    }

    /// The box, as a command; `before` is put before the binary, as in `strace … bedside run`.
    pub(crate) fn command(&self, before: &[&str]) -> Command {
        let mut words: Vec<OsString> = before.iter().map(OsString::from).collect();
        words.push(self.plan.binary.clone().into());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        if let Some(fault) = self.plan.sabotage {
            command.env("BEDSIDE_SABOTAGE", fault);
        }
        command
    }

    pub(crate) fn start(&self) -> Bedside {
        self.start_under(&[])
    }

    pub(crate) fn start_under(&self, before: &[&str]) -> Bedside {
        Bedside::spawn_command(self.command(before), self.dir.path(), &self.config, self.ports[0])
    }

    /// Starts it and waits for its ports.
    pub(crate) fn started(&mut self) -> Bedside {
        let began = Instant::now();
        let mut running = self.start();
        self.wait_for_ports(&mut running);
        self.slowest_start = self.slowest_start.max(began.elapsed());
        running
    }

    pub(crate) fn wait_for_ports(&self, running: &mut Bedside) {
        for port in self.open_ports() {
            running.wait_for_port(port);
        }
        self.power.send_replace(true);
    }

    /// Whether all ports open before it ends.
    pub(crate) fn ports_open(&self, running: &mut Bedside, limit: Duration) -> bool {
        let began = Instant::now();
        for port in self.open_ports() {
            while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
                if running.child.try_wait().unwrap().is_some() || began.elapsed() > limit {
                    return false;
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        self.power.send_replace(true);
        true
    }

    fn open_ports(&self) -> Vec<u16> {
        let [mllp, broker, poct, scale] = self.ports;
        let of = |way: usize, port: u16| self.plan.ways.contains(&way).then_some(port);
        [Some(mllp), of(3, broker), of(4, poct), of(6, scale)].into_iter().flatten().collect()
    }

    /// The serial line's device hears that the box has power.
    pub(crate) fn power_on(&self) {
        self.power.send_replace(true);
    }

    /// What is left to do when the box has lost its power.
    pub(crate) async fn dark(&self) {
        self.power.send_replace(false);
        self.line.lock().await.last_close().unwrap();
    }

    pub(crate) async fn kill(&self, running: &mut Bedside) {
        running.kill();
        self.dark().await;
    }

    /// Answers are believed, or not any more: the disk is about to lose what it has not synced.
    pub(crate) fn believe(&self, believe: bool) {
        self.orders.send_modify(|orders| orders.deaf = !believe);
    }

    /// Power for good: the senders come to an end, the box drains and is stopped in order. Returns what the oracle
    /// finds wrong, and what happened in one line.
    pub(crate) async fn close(mut self) -> (Vec<Wrong>, String) {
        let running = self.started();
        self.finish(running).await
    }

    /// The same for a box that runs.
    pub(crate) async fn finish(mut self, mut running: Bedside) -> (Vec<Wrong>, String) {
        self.server.running.faults.clear();
        self.orders.send_modify(|orders| (orders.stop, orders.deaf) = (true, false));
        let mut wrong = Vec::new();
        let mut acknowledged = [0; SENDERS.len()];
        for (way, mut sender) in std::mem::take(&mut self.senders) {
            match tokio::time::timeout(self.patience(), &mut sender).await {
                Ok(last) => acknowledged[way] = last.unwrap(),
                Err(_) => {
                    sender.abort();
                    acknowledged[way] = self.told[way].load(Ordering::SeqCst);
                    wrong.push(Wrong::of("I10", format!("{} is not answered any more", SENDERS[way].way)));
                }
            }
        }
        wrong.extend(wait_for_files(&self.dir.path().join("reader")).await);
        if self.plan.upstream && !self.drained(&running).await {
            wrong.push(Wrong::of("I10", format!("not drained: {}", self.status()["counts"])));
        }
        let ended = running.stop();
        if ended.code() != Some(0) {
            wrong.push(Wrong::of("I12", format!("it ended with {ended}")));
        }
        let (store, status) = (&self.server.running.store, self.status());
        let (known, forgotten) = *self.sessions.borrow();
        let counted: Vec<String> = self
            .plan
            .ways
            .iter()
            .map(|way| format!("{} {}", SENDERS[*way].way, acknowledged[*way]))
            .collect();
        let told = format!(
            "acknowledged: {}; {} Observations on the server after {} writes and {} faults, {} held, slowest start {:.1?}",
            counted.join(", "),
            store.count_of("Observation"),
            store.writes_total(),
            self.server.running.faults.played(),
            status["counts"]["held"],
            self.slowest_start,
        );
        let (data, log) = (self.data(), running.log());
        let (upstream, may_hold, damaged) = (self.plan.upstream, self.plan.may_hold, &self.damaged);
        wrong.extend(
            Oracle { acknowledged, store, data: &data, log: &log, status, upstream, may_hold, damaged }
                .wrong(),
        );
        if forgotten > 1 || (forgotten == 0 && acknowledged[3] > 0) {
            let text = format!("the broker forgot the kit's session: {forgotten} were new, {known} were not");
            wrong.push(Wrong::of("I1", text));
        }
        (wrong, told)
    }

    const fn patience(&self) -> Duration {
        if self.plan.sabotage.is_some() { SABOTAGED_WITHIN } else { DRAINED_WITHIN }
    }

    async fn drained(&self, running: &Bedside) -> bool {
        let began = Instant::now();
        loop {
            let counts = self.status()["counts"].clone();
            if counts["waiting"] == 0 && counts["sent"] == 0 {
                return true;
            }
            if began.elapsed() > self.patience() {
                println!("{}", running.log());
                return false;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// `bedside status --json`, by the binary under test.
    pub(crate) fn status(&self) -> serde_json::Value {
        let said = self
            .command(&[])
            .args(["status", "--json", "--config"])
            .arg(self.dir.path().join("bedside.toml"))
            .output()
            .unwrap();
        assert!(said.status.success(), "status failed: {}", String::from_utf8_lossy(&said.stderr));
        serde_json::from_slice(&said.stdout).unwrap()
    }
}

/// Until every file that was left is in the archive.
async fn wait_for_files(dir: &Path) -> Option<Wrong> {
    let began = Instant::now();
    let left = |dir: &Path| {
        let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
        files.filter(|entry| entry.path().is_file()).count()
    };
    while left(dir) + left(&dir.join(".claimed")) > 0 {
        if began.elapsed() > DRAINED_WITHIN {
            return Some(Wrong::of("I10", "files are left in the folder"));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    None
}

fn configuration(
    dir: &Path,
    [mllp, broker, poct, scale]: [u16; 4],
    server: &FhirServer,
    plan: &Plan,
) -> String {
    let data = plan.data.clone().unwrap_or_else(|| dir.join("data"));
    let upstream = server.upstream_section(dir);
    let of = |way: usize, section: String| if plan.ways.contains(&way) { section } else { String::new() };
    let dir = dir.display();
    [
        format!(
            "secrets = \"{dir}/secrets\"\n[site]\nname = \"Rig\"\n[buffer]\ndir = \"{}\"\n{}\n[log]\nformat = \"human\"\nfilter = \"warn\"\n\
             [[link]]\nname = \"monitors\"\nprofile = \"ihe/pcd01-monitor\"\nmllp = {{ listen = \"127.0.0.1:{mllp}\" }}\n",
            data.display(),
            plan.buffer
        ),
        if plan.upstream { format!("{upstream}[delivery]\n{}\n", plan.delivery) } else { String::new() },
        of(2, format!("[[link]]\nname = \"analyser\"\nprofile = \"generic/astm-analyser\"\nserial = {{ port = \"{dir}/analyser\" }}\n")),
        of(3, format!(
            "[broker]\nlisten = \"127.0.0.1:{broker}\"\n[[broker.users]]\nname = \"kit\"\npassword_secret = \"kit-password\"\n\
             [[link]]\nname = \"kit\"\nprofile = \"ble-gateway/vital-kit\"\nbroker = {{ topics = [\"kits/#\"] }}\n"
        )),
        of(4, format!("[[link]]\nname = \"poct\"\nprofile = \"poct1a/device\"\ntcp = {{ listen = \"127.0.0.1:{poct}\" }}\n")),
        of(6, format!(
            "[[link]]\nname = \"scale\"\nprofile = \"ieee11073/weighing-scale\"\ntcp = {{ listen = \"127.0.0.1:{scale}\" }}\n\
             patient = {{ system = \"urn:oid:2.999.1\", value = \"RIG-SCALE\" }}\n"
        )),
        of(5, format!(
            "[[link]]\nname = \"reader\"\nprofile = \"wondfo/finecare-csv\"\n\
             folder = {{ dir = \"{dir}/reader\", files = \"*.csv\", settle_s = 0, poll_s = 1 }}\n"
        )),
        plan.more.replace("{dir}", &dir.to_string()),
    ]
    .concat()
}
