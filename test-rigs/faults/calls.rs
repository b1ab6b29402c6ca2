//! Every system call of the write path: the process is killed at it, or it fails.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

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

/// strace in the background: the process that was started becomes Bedside's. (With `--seccomp-bpf` it would be faster,
/// and injects nothing into further threads.)
fn strace(call: &str, injection: &str) -> Vec<String> {
    let words = [&*tool("strace"), "-D", "-f", "-qq", "-o", "/dev/null"];
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
enum Since {
    /// The process began: opening the folder is part of it.
    Start,
    /// Its ports are open: what follows is the path of the messages.
    Ready,
}

/// One life under an injection, until it ends, is done, or `patience` is over.
async fn live(clinic: &Clinic, since: Since, call: &str, injection: &str, patience: Duration) -> End {
    let list = clinic.dir.path().join("calls");
    let (mut running, mut watcher) = match since {
        Since::Start => {
            clinic.allow(NUMBERS);
            let words = strace(call, injection);
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
            && std::fs::read(&list).is_ok_and(|list| memchr::memmem::find(&list, b"(INJECTED)").is_some())
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
const ERRORS: [(&str, &str, bool); 16] = [
    ("pwrite64", "EIO", true),
    ("pwrite64", "ENOSPC", true),
    ("pwrite64", "EINTR", false),
    ("fsync", "EIO", true),
    ("fsync", "ENOSPC", true),
    ("fsync", "EINTR", false),
    ("pread64", "EIO", true),
    ("openat", "EMFILE", true),
    ("openat", "EIO", true),
    ("mmap", "ENOMEM", true),
    ("ftruncate", "EIO", true),
    ("fallocate", "ENOSPC", true),
    ("unlink", "EIO", true),
    ("sendto", "ECONNRESET", true),
    ("recvfrom", "ECONNRESET", true),
    ("accept4", "EMFILE", true),
];
/// At which of its calls.
const AT: [u32; 8] = [1, 2, 3, 4, 7, 12, 20, 33];

/// Each error once and for good at each place. What fails once is over: it must go on without being started again.
async fn failing(errors: &[(&str, &str, bool)], at: &[u32]) -> Vec<Wrong> {
    let clinic = Clinic::open(plan("errors")).await;
    let began = Instant::now();
    let (mut lives, mut ended, mut wrong) = (0, 0, Vec::new());
    for (call, error, for_good) in errors {
        for n in at {
            let once = live(&clinic, Since::Ready, call, &format!("error={error}:when={n}"), LIFE).await;
            lives += 1;
            ended += u32::from(once == End::Died);
            if once == End::Stuck {
                let text = format!("one {error} at {call} {n}, and it does not go on:\n{}", log_of(&clinic));
                wrong.push(Wrong::of("I10", text));
            }
            if *for_good {
                // Without memory for its threads a process ends before it is a box.
                let since = if n % 2 == 0 || *call == "mmap" { Since::Ready } else { Since::Start };
                let from = if since == Since::Start { n + loading(&clinic, call) } else { *n };
                live(
                    &clinic,
                    since,
                    call,
                    &format!("error={error}:when={from}+"),
                    Duration::from_millis(400),
                )
                .await;
                lives += 1;
            }
        }
    }
    let (more, told) = clinic.close().await;
    wrong.extend(more);
    println!("{lives} lives with errors in {:.1?}, {ended} ended by one error; {told}", began.elapsed());
    wrong
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_call_of_the_disk_fails_nothing_acknowledged_is_lost() {
    let more: Vec<u32> = (1..rounds() * 90).collect();
    let at = if rounds() > 1 { &*more } else { &AT };
    nothing_is(&failing(&ERRORS[..7], at).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_other_call_fails_nothing_acknowledged_is_lost() {
    let more: Vec<u32> = (1..rounds() * 90).collect();
    let at = if rounds() > 1 { &*more } else { &AT };
    nothing_is(&failing(&ERRORS[7..], at).await);
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

/// A few errors of the disk, each once.
pub(crate) async fn disk_errors(sabotage: Sabotage) -> Vec<Wrong> {
    let clinic = Clinic::open(plan("few-errors").sabotaged(sabotage)).await;
    let mut wrong = Vec::new();
    for n in [2, 5, 8] {
        let patience = Duration::from_secs(if sabotage.is_some() { 5 } else { 20 });
        if live(&clinic, Since::Ready, "fsync", &format!("error=EIO:when={n}"), patience).await == End::Stuck
        {
            wrong.push(Wrong::of("I10", format!("one EIO at fsync {n}, and it does not go on")));
        }
    }
    let (more, told) = clinic.close().await;
    println!("{told}");
    wrong.extend(more);
    wrong
}
