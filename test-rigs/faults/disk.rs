//! A disk that is full, read-only, slow or rotten.

use std::time::{Duration, Instant};

use bedside::demo::fhir_server::{Fault, On};
use bedside::demo::template::Dice;

use crate::proof::clinic::{Clinic, Plan};
use crate::proof::devices::SENDERS;
use crate::proof::oracle::Wrong;
use crate::tools::{Disk, run, tool};
use crate::{Sabotage, nothing_is, seed};

/// More than fits, of each monitor.
const TOO_MANY: u64 = 5_000;
/// The least there can be: half of that fits, as it is packed today.
const QUOTA: i64 = 4 << 20;

/// Fills the box, with its server away, until it refuses; then the server comes back and everything arrives.
async fn filled(mut clinic: Clinic, quota: Option<i64>, relief: impl FnOnce()) -> Vec<Wrong> {
    clinic.server.running.faults.always(On::Transaction, Fault::Status(503));
    clinic.allow(TOO_MANY);
    let running = clinic.started();
    let mut last = (Instant::now(), 0);
    while last.0.elapsed() < Duration::from_secs(1) && !clinic.all_told() {
        let told = clinic.acknowledged().iter().sum();
        if told != last.1 {
            last = (Instant::now(), told);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let used = used_bytes(&clinic);
    println!("refused after {} messages, with {used} bytes in use", last.1);
    let mut wrong = Vec::new();
    if clinic.all_told() {
        wrong.push(Wrong::of("I9", format!("{} messages were taken, which do not fit", last.1)));
    }
    // The quota is for what devices say; how far its delivery has come is written down all the same.
    if quota.is_some_and(|quota| used > quota + quota / 10) {
        wrong.push(Wrong::of("I9", format!("{used} bytes are in use, more than the quota of {quota:?}")));
    }
    relief();
    let (more, told) = clinic.finish(running).await;
    println!("{told}");
    wrong.extend(more);
    wrong
}

/// What the database uses of its quota.
fn used_bytes(clinic: &Clinic) -> i64 {
    let database = rusqlite::Connection::open(clinic.database()).unwrap();
    let pages = |name: &str| database.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
    (pages("page_count") - pages("freelist_count")) * pages("page_size")
}

pub(crate) async fn full(sabotage: Sabotage) -> Vec<Wrong> {
    let plan = Plan {
        buffer: format!("max_bytes = {QUOTA}"),
        pace: Duration::ZERO,
        delivery: "pause_max_s = 1\nentries_max = 500",
        ..Plan::of("full")
    };
    filled(Clinic::open(plan.sabotaged(sabotage)).await, Some(QUOTA), || ()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_quota_refuses_and_drops_nothing() {
    nothing_is(&full(None).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_and_drops_nothing() {
    // Somebody else's file leaves little more than the room that is kept for this.
    let disk = Disk::new(64);
    let other = disk.at().join("other");
    run("fallocate", &["-l", "42M", other.to_str().unwrap()]);
    let plan = Plan {
        data: Some(disk.at().join("data")),
        pace: Duration::ZERO,
        delivery: "pause_max_s = 1\nentries_max = 500",
        ..Plan::of("full-disk")
    };
    nothing_is(&filled(Clinic::open(plan).await, None, || std::fs::remove_file(other).unwrap()).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_turns_read_only_makes_it_refuse_and_a_new_one_go_on() {
    let mut disk = Disk::new(64);
    let plan = Plan { data: Some(disk.at().join("data")), ..Plan::of("read-only") };
    let mut clinic = Clinic::open(plan).await;
    for _ in 0..4 {
        let mut running = clinic.started();
        tokio::time::sleep(Duration::from_millis(300)).await;
        clinic.believe(false);
        disk.abort();
        tokio::time::sleep(Duration::from_millis(50)).await;
        // Whatever is acknowledged from now on would have to be on a disk that takes nothing.
        clinic.believe(true);
        let before = clinic.acknowledged();
        tokio::time::sleep(Duration::from_millis(600)).await;
        // What it had kept before, and is said again, it may acknowledge: that is on the disk.
        let more = clinic.acknowledged().iter().zip(before).all(|(after, before)| *after <= before + 1);
        assert!(more, "it acknowledges on a disk that takes nothing");
        assert!(running.child.try_wait().unwrap().is_none(), "it ended: {}", running.log());
        clinic.believe(false);
        clinic.kill(&mut running).await;
        disk.unmount();
        disk.mount();
        clinic.believe(true);
    }
    let (wrong, told) = clinic.close().await;
    println!("{told}");
    nothing_is(&wrong);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_takes_long_for_every_sync_only_makes_it_slower() {
    let mut clinic = Clinic::open(Plan::of("slow-disk")).await;
    clinic.allow(40);
    let strace = tool("strace");
    let slow = [
        &*strace,
        "-D",
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        "trace=fsync",
        "-e",
        "inject=fsync:delay_enter=50ms",
    ];
    let mut running = clinic.start_under(&slow);
    clinic.wait_for_ports(&mut running);
    let began = Instant::now();
    assert!(clinic.told_within(Duration::from_secs(60)).await, "{:?}", clinic.acknowledged());
    println!("80 messages at 50 ms a sync: {:.1?}", began.elapsed());
    clinic.slowest_start = Duration::ZERO;
    let (wrong, told) = clinic.finish(running).await;
    println!("{told}");
    nothing_is(&wrong);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_of_200_kilobytes_a_second_only_makes_it_slower() {
    let disk = Disk::new(64);
    let plan = Plan { data: Some(disk.at().join("data")), ..Plan::of("slow-device") };
    let clinic = Clinic::open(plan).await;
    clinic.allow(60);
    let group =
        Group::new("blkio", &[("blkio.throttle.write_bps_device", format!("{} 200000", disk.device()))]);
    let mut running = clinic.start();
    group.take(running.child.id());
    clinic.wait_for_ports(&mut running);
    assert!(clinic.told_within(Duration::from_secs(60)).await, "{:?}", clinic.acknowledged());
    let (wrong, told) = clinic.finish(running).await;
    println!("{told}");
    nothing_is(&wrong);
}

/// A control group (version 1), removed at the end.
pub(crate) struct Group(std::path::PathBuf);

impl Group {
    pub(crate) fn new(kind: &str, settings: &[(&str, String)]) -> Self {
        let name = format!("bedside-rig-{}", uuid::Uuid::new_v4().simple());
        let at = std::path::Path::new("/sys/fs/cgroup").join(kind).join(name);
        std::fs::create_dir(&at).expect("control groups of version 1, and root");
        for (file, value) in settings {
            std::fs::write(at.join(file), value).unwrap();
        }
        Self(at)
    }

    pub(crate) fn path(&self) -> &std::path::Path {
        &self.0
    }

    pub(crate) fn take(&self, process: u32) {
        std::fs::write(self.0.join("cgroup.procs"), process.to_string()).unwrap();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _busy = std::fs::remove_dir(&self.0);
    }
}

/// The database with nothing left in its log: what is changed in it is what will be read.
fn whole_file(clinic: &Clinic) -> Vec<u8> {
    let database = rusqlite::Connection::open(clinic.database()).unwrap();
    database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    drop(database);
    std::fs::read(clinic.database()).unwrap()
}

/// Bits of kept messages turn over while the box is off.
pub(crate) async fn rotten(sabotage: Sabotage) -> Vec<Wrong> {
    let mut dice = Dice(seed());
    let mut clinic = Clinic::open(Plan::of("rotten").sabotaged(sabotage)).await;
    clinic.server.running.faults.always(On::Transaction, Fault::Status(503));
    clinic.allow(40);
    let mut running = clinic.started();
    clinic.told_within(Duration::from_secs(30)).await;
    assert!(running.stop().success());
    clinic.dark().await;
    let mut file = whole_file(&clinic);
    for _ in 0..8 {
        let (way, n) = (dice.below(2) as usize, 1 + dice.below(40));
        // The heart rate, its last digit.
        let seen = format!("|{n}|264864^MDC_DIM_BEAT_PER_MIN^MDC");
        let from = format!("{}^^^Rig&2.999.1", SENDERS[way].patient);
        let place = memchr::memmem::find_iter(&file, seen.as_bytes()).find(|at| {
            let before = &file[at.saturating_sub(600)..*at];
            let pid = memchr::memmem::rfind(before, b"RIG-MONITOR-");
            pid.is_some_and(|pid| before[pid..].starts_with(from.as_bytes()))
        });
        let Some(at) = place else { continue };
        let digit = at + seen.find("|264864").unwrap() - 1;
        file[digit] ^= 1;
        clinic.damaged.insert((way, n));
    }
    println!("damaged: {:?}", clinic.damaged);
    assert!(clinic.damaged.len() >= 3, "the messages are not found in the file");
    std::fs::write(clinic.database(), file).unwrap();
    let (wrong, told) = clinic.close().await;
    println!("{told}");
    wrong
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_rots_on_the_disk_is_held_and_never_sent() {
    nothing_is(&rotten(None).await);
}

/// Bits anywhere in the database turn over while the box is off: whatever happens, it starts, and never sends what
/// nobody said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wherever_a_bit_turns_over_nothing_false_is_sent() {
    let mut dice = Dice(seed());
    let mut salvaged = 0;
    for round in 0..6 {
        let mut clinic = Clinic::open(Plan::of("bits")).await;
        clinic.server.running.faults.always(On::Transaction, Fault::Status(503));
        clinic.allow(40);
        let mut running = clinic.started();
        assert!(clinic.told_within(Duration::from_secs(30)).await);
        assert!(running.stop().success());
        clinic.dark().await;
        let mut file = whole_file(&clinic);
        for _ in 0..1 << round {
            let at = dice.below(file.len() as u64) as usize;
            file[at] ^= 1 << dice.below(8);
        }
        std::fs::write(clinic.database(), file).unwrap();
        let (wrong, told) = clinic.close().await;
        println!("{} bits: {told}", 1 << round);
        salvaged += u32::from(wrong.iter().any(|one| one.text.contains("set aside")));
        let says_false: Vec<Wrong> = wrong
            .into_iter()
            .filter(|one| {
                one.promise == "I6" || one.promise == "I2" || one.promise == "I11" || one.promise == "I12"
            })
            .collect();
        nothing_is(&says_false);
    }
    println!("{salvaged} of 6 databases were salvaged");
}
