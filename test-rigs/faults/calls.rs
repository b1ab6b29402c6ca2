//! Every system call of the write path: the process is killed at it, or it fails.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bedside::demo::template::Dice;
use rusqlite::{Connection, OpenFlags};
use rustix::process::{Pid, Signal, kill_process};

use crate::common::Bedside;
use crate::proof::clinic::{Clinic, Plan};
use crate::proof::oracle::Wrong;
use crate::tools::tool;
use crate::{Sabotage, nothing_is, rounds};

/// Numbers of each of two monitors in one life: a scenario of twelve messages.
const NUMBERS: u64 = 6;
/// Longest life of a box to which nothing happened.
const LIFE: Duration = Duration::from_secs(20);

fn plan(name: &'static str) -> Plan {
    Plan { delivery: "pause_max_s = 1\nage_ms = 20", pace: Duration::from_millis(2), ..Plan::of(name) }
}

/// strace in the background, with a list of the calls: the process that was started becomes Bedside's. (With
/// `--seccomp-bpf` it would be faster, and injects nothing into further threads.)
fn strace(list: &Path, call: &str, injection: &str) -> Vec<String> {
    let words = [&*tool("strace"), "-D", "-f", "-qq", "-o", list.to_str().unwrap()];
    let mut words: Vec<String> = words.map(String::from).into();
    words.extend(["-e".into(), format!("trace={call}"), "-e".into(), format!("inject={call}:{injection}")]);
    words
}

/// The same for a box that runs, with a list of the calls; returns when every thread of it is under its eyes.
fn attached(running: &Bedside, list: &Path, call: &str, injection: &str) -> Child {
    let mut strace = Command::new(tool("strace"))
        .args(["-f", "-o", list.to_str().unwrap(), "-p", &running.child.id().to_string()])
        .args(["-e", &format!("trace={call}"), "-e", &format!("inject={call}:{injection}")])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(strace.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("attached") && said.read_line(&mut line).unwrap() > 0 {}
    assert!(line.contains("attached"), "strace does not attach: {line}");
    // It may say more, and must not die of it.
    std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
    strace
}

/// What became of a life.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// It ended by itself.
    Died,
    /// All twelve are acknowledged, and on the server.
    Done,
    /// Neither, when the time was over.
    Stuck,
}

/// Since when calls are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Since {
    /// The process began: opening the folder is part of it.
    Start,
    /// Its ports are open: what follows is the path of the messages.
    Ready,
}

/// One life under an injection, until it ends, is done, or `patience` is over.
async fn live(clinic: &Clinic, since: Since, call: &str, injection: &str, patience: Duration) -> End {
    let list = list_of(clinic);
    let (mut running, mut watcher) = match since {
        Since::Start => {
            clinic.allow(NUMBERS);
            let words = strace(&list, call, injection);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            (clinic.start_under(&words), None)
        }
        Since::Ready => {
            let mut running = clinic.start();
            clinic.wait_for_ports(&mut running);
            // What the life before left is none of this one's business, and would grow from life to life.
            settled(clinic).await;
            let watcher = attached(&running, &list, call, injection);
            clinic.allow(NUMBERS);
            (running, Some(watcher))
        }
    };
    let began = Instant::now();
    clinic.power_on();
    let end = loop {
        if running.child.try_wait().unwrap().is_some() {
            break End::Died;
        }
        if clinic.all_told() && delivered(clinic) {
            break End::Done;
        }
        // Each thread has its own count, and after a fault there are new threads: once is once.
        if !injection.ends_with('+')
            && let Some(watcher) = &watcher
            && injected(clinic)
        {
            let _gone = kill_process(Pid::from_child(watcher), Signal::INT);
        }
        if began.elapsed() > patience {
            break End::Stuck;
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    };
    clinic.kill(&mut running).await;
    if let Some(watcher) = &mut watcher {
        watcher.wait().unwrap();
    }
    end
}

fn list_of(clinic: &Clinic) -> PathBuf {
    clinic.dir.path().join("calls")
}

/// Whether the life before had what was to happen to it.
fn injected(clinic: &Clinic) -> bool {
    std::fs::read(list_of(clinic)).is_ok_and(|list| memchr::memmem::find(&list, b"(INJECTED)").is_some())
}

/// So many of these calls are made before the program itself begins: the system loads its libraries.
fn loading(clinic: &Clinic, call: &str) -> u32 {
    let list = clinic.dir.path().join("loading");
    let done = Command::new(tool("strace"))
        .args(["-f", "-qq", "-o", list.to_str().unwrap(), "-e", &format!("trace={call}")])
        .arg(&clinic.plan.binary)
        .arg("--version")
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
    let calls = std::fs::read_to_string(list).unwrap();
    calls.lines().filter(|line| line.contains(&format!(" {call}("))).count() as u32
}

async fn settled(clinic: &Clinic) {
    let began = Instant::now();
    let database = Connection::open_with_flags(clinic.database(), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let open =
        || database.query_row("SELECT count(*) FROM entry WHERE state < 2", [], |row| row.get::<_, i64>(0));
    while open().unwrap_or(0) > 0 && began.elapsed() < LIFE {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn delivered(clinic: &Clinic) -> bool {
    let said: u64 = clinic.acknowledged().iter().sum();
    clinic.server.running.store.count_of("Observation") as u64 >= 2 * said
}

/// Every call of a life, from its start and from when its ports are open, for a long run.
pub(crate) const EVERY_CALL: [(Since, &str); 26] = [
    (Since::Start, "pwrite64"),
    (Since::Start, "fsync"),
    (Since::Start, "openat"),
    (Since::Start, "pread64"),
    (Since::Start, "fcntl"),
    (Since::Start, "close"),
    (Since::Start, "write"),
    (Since::Start, "ftruncate"),
    (Since::Start, "fallocate"),
    (Since::Start, "mmap"),
    (Since::Start, "munmap"),
    (Since::Start, "socket"),
    (Since::Start, "bind"),
    (Since::Start, "clone3"),
    (Since::Ready, "pwrite64"),
    (Since::Ready, "fsync"),
    (Since::Ready, "pread64"),
    (Since::Ready, "fcntl"),
    (Since::Ready, "sendto"),
    (Since::Ready, "recvfrom"),
    (Since::Ready, "write"),
    (Since::Ready, "writev"),
    (Since::Ready, "close"),
    (Since::Ready, "epoll_ctl"),
    (Since::Ready, "accept4"),
    (Since::Ready, "connect"),
];

/// Kills at the points of one call from the `n`th on: how many, where to go on, what was wrong.
pub(crate) async fn killed_from(
    since: Since,
    call: &str,
    n: u32,
    most: u32,
) -> (u32, Option<u32>, Vec<Wrong>) {
    let clinic = Clinic::open(plan("every-call")).await;
    let (mut next, mut points, mut stuck) = (Some(n), 0, None);
    while let Some(at) = next.filter(|_| points < most) {
        next = Some(at + 1);
        match live(&clinic, since, call, &format!("signal=SIGKILL:when={at}"), LIFE).await {
            End::Died => points += 1,
            End::Done => next = None,
            End::Stuck => {
                stuck = Some(Wrong::of("I10", format!("stuck at {call} {at}:\n{}", log_of(&clinic))));
                break;
            }
        }
    }
    let (mut wrong, told) = clinic.close().await;
    wrong.extend(stuck);
    println!("{call} from {n}: {points} points; {told}");
    (points, next, wrong)
}

/// Kills at the first, second, third … of each of these calls, until a life comes to its end.
async fn killed_at_every(since: Since, calls: &[&str], stride: u32) -> Vec<Wrong> {
    let clinic = Clinic::open(plan("every-call")).await;
    let began = Instant::now();
    let (mut points, mut stuck) = (0, Vec::new());
    for call in calls {
        for n in (1_u32..).step_by(stride as usize) {
            match live(&clinic, since, call, &format!("signal=SIGKILL:when={n}"), LIFE).await {
                End::Died => points += 1,
                End::Done => {
                    println!("{call}: {} of them", n.saturating_sub(stride));
                    break;
                }
                End::Stuck => {
                    stuck.push(Wrong::of("I10", format!("stuck at {call} {n}:\n{}", log_of(&clinic))));
                    break;
                }
            }
        }
    }
    let (mut wrong, told) = clinic.close().await;
    wrong.extend(stuck);
    println!("killed at {points} points in {:.1?}; {told}", began.elapsed());
    wrong
}

/// What a life that is stuck says of itself: its last words, and why entries are held.
fn log_of(clinic: &Clinic) -> String {
    let held = held_of(clinic).unwrap_or_else(|fault| vec![fault.to_string()]).join("; ");
    let log = std::fs::read_to_string(clinic.dir.path().join("bedside.log")).unwrap_or_default();
    let lines: Vec<&str> = log.lines().rev().take(12).collect();
    format!("held: {held}\n{}", lines.into_iter().rev().collect::<Vec<_>>().join("\n"))
}

fn held_of(clinic: &Clinic) -> rusqlite::Result<Vec<String>> {
    let database = Connection::open_with_flags(clinic.database(), OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut held =
        database.prepare("SELECT id || ': ' || coalesce(reason, '') FROM entry WHERE state = 2 LIMIT 5")?;
    held.query_map([], |row| row.get(0))?.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_every_call_that_changes_the_disk_it_loses_nothing() {
    let calls = ["pwrite64", "fsync", "fdatasync", "ftruncate", "fallocate", "unlink", "rename", "renameat2"];
    nothing_is(&killed_at_every(Since::Ready, &calls, 1).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_every_call_that_tells_somebody_it_loses_nothing() {
    nothing_is(&killed_at_every(Since::Ready, &["sendto", "write", "writev", "recvfrom"], 1).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_call_of_its_start_it_starts_the_next_time() {
    // At every one of them in a long run; a push takes some.
    let stride = if rounds() > 1 { 1 } else { 9 };
    nothing_is(&killed_at_every(Since::Start, &["pwrite64", "fsync", "openat"], stride).await);
}

/// What fails: the call, how, and whether it may fail for good.
type Error = (&'static str, &'static str, bool);

const OF_THE_DISK: [Error; 12] = [
    ("pwrite64", "EIO", true),
    ("pwrite64", "ENOSPC", true),
    ("pwrite64", "EINTR", false),
    ("fsync", "EIO", true),
    ("fsync", "ENOSPC", true),
    ("fsync", "EINTR", false),
    ("pread64", "EIO", true),
    ("pread64", "EINTR", false),
    // SQLite's locks: one that cannot be let go stays until the last connection of the process is closed.
    ("fcntl", "EIO", true),
    ("fcntl", "EINTR", false),
    ("ftruncate", "EIO", true),
    ("fallocate", "ENOSPC", true),
];
const OTHERS: [Error; 12] = [
    ("openat", "EMFILE", true),
    ("openat", "EIO", true),
    ("openat", "ENOMEM", true),
    ("openat", "EINTR", false),
    ("mmap", "ENOMEM", true),
    ("unlink", "EIO", true),
    ("sendto", "ECONNRESET", true),
    ("recvfrom", "ECONNRESET", true),
    ("recvfrom", "EINTR", false),
    ("accept4", "EMFILE", true),
    ("socket", "EMFILE", true),
    ("connect", "ECONNREFUSED", true),
];
/// At which of its calls.
const AT: [u32; 8] = [1, 2, 3, 4, 7, 12, 20, 33];

/// One life with an error that happens once. What fails once is over: it must go on without being started again.
async fn once(clinic: &Clinic, (call, error, _): Error, n: u32) -> (End, Option<Wrong>) {
    // SQLite itself tries a lock for ten seconds before it gives up, a reader and the writer one after the other.
    let patience = if call == "fcntl" { 2 * LIFE } else { LIFE };
    let end = live(clinic, Since::Ready, call, &format!("error={error}:when={n}"), patience).await;
    let stuck = (end == End::Stuck).then(|| {
        let text = format!("one {error} at {call} {n}, and it does not go on:\n{}", log_of(clinic));
        Wrong::of("I10", text)
    });
    (end, stuck)
}

/// One life with an error that stays; `loading`: of such calls before the program begins.
async fn for_good(clinic: &Clinic, (call, error, _): Error, n: u32, loading: u32) {
    // Without memory for its threads a process ends before it is a box.
    let since = if n.is_multiple_of(2) || call == "mmap" { Since::Ready } else { Since::Start };
    let from = if since == Since::Start { n + loading } else { n };
    let injection = format!("error={error}:when={from}+");
    live(clinic, since, call, &injection, Duration::from_millis(400)).await;
}

/// Each error once and for good at each place.
async fn failing(errors: &[Error], at: &[u32]) -> Vec<Wrong> {
    let clinic = Clinic::open(plan("errors")).await;
    let began = Instant::now();
    let (mut lives, mut ended, mut wrong) = (0, 0, Vec::new());
    for error in errors {
        let loading = loading(&clinic, error.0);
        for n in at {
            let (end, stuck) = once(&clinic, *error, *n).await;
            lives += 1;
            ended += u32::from(end == End::Died);
            wrong.extend(stuck);
            if error.2 {
                for_good(&clinic, *error, *n, loading).await;
                lives += 1;
            }
        }
    }
    let (more, told) = clinic.close().await;
    wrong.extend(more);
    println!("{lives} lives with errors in {:.1?}, {ended} ended by one error; {told}", began.elapsed());
    wrong
}

/// How many of each call a life makes at most in one of its threads, by which strace counts.
pub(crate) async fn most_of_each() -> BTreeMap<&'static str, u32> {
    let clinic = Clinic::open(plan("counted")).await;
    let mut most = BTreeMap::new();
    for (call, ..) in OF_THE_DISK.iter().chain(&OTHERS) {
        if most.contains_key(call) {
            continue;
        }
        live(&clinic, Since::Ready, call, "error=EIO:when=60000", LIFE).await;
        let list = std::fs::read_to_string(list_of(&clinic)).unwrap_or_default();
        let mut threads: BTreeMap<&str, u32> = BTreeMap::new();
        for line in list.lines().filter(|line| line.contains(&format!(" {call}("))) {
            *threads.entry(line.split_whitespace().next().unwrap_or_default()).or_default() += 1;
        }
        most.insert(*call, threads.into_values().max().unwrap_or(0));
    }
    drop(clinic.close().await);
    most
}

/// So many lives, each with an error drawn by the seed; how many of them had it, and what was wrong.
pub(crate) async fn failing_at_random(
    seed: u64,
    lives: u32,
    most: &BTreeMap<&'static str, u32>,
) -> (u32, Vec<Wrong>) {
    let mut dice = Dice(seed);
    let clinic = Clinic::open(plan("errors")).await;
    let made: Vec<Error> =
        OF_THE_DISK.into_iter().chain(OTHERS).filter(|(call, ..)| most.get(call) > Some(&0)).collect();
    let (mut happened, mut wrong) = (0, Vec::new());
    for _ in 0..lives {
        let error = made[dice.below(made.len() as u64) as usize];
        let n = 1 + dice.below(u64::from(most[error.0])) as u32;
        if error.2 && dice.below(2) == 0 {
            for_good(&clinic, error, n, loading(&clinic, error.0)).await;
        } else {
            wrong.extend(once(&clinic, error, n).await.1);
        }
        happened += u32::from(injected(&clinic));
    }
    let (more, told) = clinic.close().await;
    wrong.extend(more);
    println!("{happened} errors in {lives} lives; {told}");
    (happened, wrong)
}

#[test]
fn a_push_has_three_hundred_errors_at_least() {
    let lives =
        |errors: &[Error]| errors.iter().map(|error| if error.2 { 2 } else { 1 }).sum::<usize>() * AT.len();
    assert!(lives(&OF_THE_DISK) + lives(&OTHERS) >= 300);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_call_of_the_disk_fails_nothing_acknowledged_is_lost() {
    nothing_is(&failing(&OF_THE_DISK, &AT).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_other_call_fails_nothing_acknowledged_is_lost() {
    nothing_is(&failing(&OTHERS, &AT).await);
}

/// Kills at the first of the calls that answer: what they were to acknowledge is kept, and said again.
pub(crate) async fn answers_cut_off(sabotage: Sabotage) -> Vec<Wrong> {
    let clinic = Clinic::open(plan("answers").sabotaged(sabotage)).await;
    for n in 1..=6 {
        let kill = format!("signal=SIGKILL:when={n}");
        live(&clinic, Since::Ready, "sendto", &kill, Duration::from_secs(3)).await;
    }
    let (wrong, told) = clinic.close().await;
    println!("{told}");
    wrong
}

/// A few errors of one call of the disk, each once. (What only a sync did not confirm is in the log all the same when
/// it is read anew; what could not be written is not.)
pub(crate) async fn disk_errors(call: &str, sabotage: Sabotage) -> Vec<Wrong> {
    let clinic = Clinic::open(plan("few-errors").sabotaged(sabotage)).await;
    let mut wrong = Vec::new();
    for n in [2, 5, 8] {
        let patience = Duration::from_secs(if sabotage.is_some() { 5 } else { 20 });
        if live(&clinic, Since::Ready, call, &format!("error=EIO:when={n}"), patience).await == End::Stuck {
            wrong.push(Wrong::of("I10", format!("one EIO at {call} {n}, and it does not go on")));
        }
    }
    let (more, told) = clinic.close().await;
    println!("{told}");
    wrong.extend(more);
    wrong
}
