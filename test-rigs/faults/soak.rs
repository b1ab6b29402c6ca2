//! Hours of ordinary traffic, 50 messages a second, with a fault every half minute. `make soak HOURS=8`.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bedside::demo::fhir_server::{Fault, On};
use bedside::demo::template::Dice;
use rustix::process::{Pid, Signal, kill_process};

use crate::common::Bedside;
use crate::proof::clinic::{Clinic, Plan};
use crate::tools::{Disk, tool};
use crate::{nothing_is, seed};

/// As long as a push allows.
const HOURS: f64 = 0.02;
const EVERY: Duration = Duration::from_secs(30);

/// What is done to a box that runs; it goes on, or is started again.
const FAULTS: [&str; 8] = [
    "killed",
    "stopped in order",
    "SIGSTOP",
    "server away",
    "server confused",
    "power cut",
    "EIO at fsync",
    "ENOSPC at pwrite64",
];

/// At one moment: seconds since the start, resident bytes, open files.
type Seen = (f64, f64, f64);

/// What was seen of one life, and when it began in the whole run.
#[derive(Default)]
struct Life {
    began: f64,
    seen: Vec<Seen>,
}

impl Life {
    /// The first ten seconds of a life are its start.
    fn settled(&self) -> impl Iterator<Item = Seen> + '_ {
        self.seen.iter().copied().filter(|(at, ..)| *at > 10.0)
    }
}

/// Slopes by least squares, an hour: MiB and files.
fn slopes(seen: &[Seen]) -> Option<(f64, f64)> {
    if seen.len() < 5 {
        return None;
    }
    let count = seen.len() as f64;
    let mean = |of: &dyn Fn(&Seen) -> f64| seen.iter().map(of).sum::<f64>() / count;
    let (time, memory, files) = (mean(&|one| one.0), mean(&|one| one.1), mean(&|one| one.2));
    let spread: f64 = seen.iter().map(|one| (one.0 - time).powi(2)).sum();
    let slope = |of: &dyn Fn(&Seen) -> f64, middle: f64| {
        seen.iter().map(|one| (one.0 - time) * (of(one) - middle)).sum::<f64>() / spread * 3_600.0
    };
    Some((slope(&|one| one.1, memory) / f64::from(1 << 20), slope(&|one| one.2, files)))
}

/// Each life at the same age, over the whole run: what grows from life to life lies on the disk.
fn from_life_to_life(lives: &[Life]) -> Option<(f64, f64)> {
    let at_the_same_age = |life: &Life| {
        let (at, memory, files) = life.settled().find(|(at, ..)| *at > 15.0)?;
        Some((life.began + at, memory, files))
    };
    slopes(&lives.iter().filter_map(at_the_same_age).collect::<Vec<_>>())
}

struct Soak {
    clinic: Clinic,
    disk: Disk,
    running: Bedside,
    /// This life, and the whole run.
    began: Instant,
    since: Instant,
    lives: Vec<Life>,
}

impl Soak {
    fn start(&mut self) {
        self.running = self.clinic.started();
        self.began = Instant::now();
        self.lives.push(Life { began: self.since.elapsed().as_secs_f64(), ..Life::default() });
    }

    async fn watch(&mut self, span: Duration) {
        let until = Instant::now() + span;
        while Instant::now() < until {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let seen = (
                self.began.elapsed().as_secs_f64(),
                self.running.resident_bytes() as f64,
                self.running.open_files() as f64,
            );
            self.lives.last_mut().unwrap().seen.push(seen);
        }
    }

    async fn suffer(&mut self, fault: &str) {
        let faults = self.clinic.server.running.faults.clone();
        match fault {
            "killed" => {
                self.clinic.kill(&mut self.running).await;
                self.start();
            }
            "stopped in order" => {
                assert!(self.running.stop().success(), "{}", self.running.log());
                self.clinic.dark().await;
                self.start();
            }
            "SIGSTOP" => {
                let process = Pid::from_child(&self.running.child);
                kill_process(process, Signal::STOP).unwrap();
                tokio::time::sleep(Duration::from_secs(5)).await;
                kill_process(process, Signal::CONT).unwrap();
            }
            "server away" => {
                faults.always(On::Any, Fault::Drop);
                self.watch(Duration::from_secs(10)).await;
                faults.clear();
            }
            "server confused" => {
                // None that accepts half of a Bundle: such a server breaks the order by itself.
                let some = vec![
                    (On::Transaction, Fault::CommitThenDrop),
                    (On::Transaction, Fault::CommitThenTruncated),
                    (On::Transaction, Fault::RetryAfterSeconds(429, 1)),
                    (On::Any, Fault::Late(Duration::from_millis(300))),
                ];
                faults.random(self.began.elapsed().as_nanos() as u64, 500, some);
                self.watch(Duration::from_secs(10)).await;
                faults.clear();
            }
            "power cut" => {
                self.clinic.believe(false);
                self.disk.cut();
                self.clinic.kill(&mut self.running).await;
                self.disk.unmount();
                self.disk.mount();
                self.clinic.believe(true);
                self.start();
            }
            at => {
                let (error, call) = at.split_once(" at ").unwrap();
                let mut strace = Command::new(tool("strace"))
                    .args(["-f", "-qq", "-o", "/dev/null", "-p", &self.running.child.id().to_string()])
                    .args([
                        "-e",
                        &format!("trace={call}"),
                        "-e",
                        &format!("inject={call}:error={error}:when=3..9"),
                    ])
                    .stderr(Stdio::null())
                    .spawn()
                    .unwrap();
                tokio::time::sleep(Duration::from_secs(3)).await;
                rustix::process::kill_process(Pid::from_child(&strace), Signal::INT).unwrap();
                strace.wait().unwrap();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hours_of_traffic_with_a_fault_every_half_minute() {
    let hours = std::env::var("BEDSIDE_SOAK_HOURS").map_or(HOURS, |hours| hours.parse().unwrap());
    let mut dice = Dice(seed());
    let whole = Duration::from_secs_f64(hours * 3_600.0);
    // A short run has several faults too.
    let every = EVERY.min(whole / 5);
    let disk = Disk::new(2_048);
    let plan =
        Plan { data: Some(disk.at().join("data")), pace: Duration::from_millis(39), ..Plan::of("soak") };
    let mut clinic = Clinic::open(plan).await;
    let (running, began) = (clinic.started(), Instant::now());
    let mut soak = Soak { clinic, disk, running, began, since: began, lives: vec![Life::default()] };
    // The longest stretch without being started again shows slopes best: the first.
    while began.elapsed() < whole {
        soak.watch(every).await;
        let fault = FAULTS[dice.below(FAULTS.len() as u64) as usize];
        println!("{:>7.0?} {:?} {fault}", began.elapsed(), soak.clinic.acknowledged());
        soak.suffer(fault).await;
    }
    let longest = soak.lives.iter().max_by_key(|life| life.seen.len()).unwrap();
    let (watched, within) = (longest.seen.len(), slopes(&longest.settled().collect::<Vec<_>>()));
    let across = from_life_to_life(&soak.lives);
    let most = soak.lives.iter().flat_map(|life| &life.seen).fold(0.0, |most: f64, seen| most.max(seen.1));
    println!(
        "{} lives, most resident {:.0} MiB; slopes an hour (MiB resident, open files): within the longest, {watched} s, \
         {within:.2?}; from life to life {across:.2?}",
        soak.lives.len(),
        most / f64::from(1 << 20)
    );
    let (wrong, told) = soak.clinic.finish(soak.running).await;
    println!("{told}");
    drop(soak.disk);
    nothing_is(&wrong);
    // Only a long life has a slope.
    if let Some((memory, files)) = within.filter(|_| watched > 3_600) {
        assert!(memory < 1.0 && files < 1.0, "it grows: {memory} MiB and {files} files an hour");
    }
    if let Some((memory, files)) = across.filter(|_| hours >= 1.0) {
        assert!(
            memory < 4.0 && files < 1.0,
            "it grows from life to life: {memory} MiB and {files} files an hour"
        );
    }
}
