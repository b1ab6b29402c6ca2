//! What is done to a process: it is stopped and goes on, gets no more files, no more memory, or no more power while it
//! brings an older folder up to date.

use std::time::{Duration, Instant};

use bedside::demo::template::Dice;
use rusqlite::params;
use rustix::process::{Pid, Signal, kill_process};
use sha2_of::sha256;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::common;
use crate::disk::Group;
use crate::proof::clinic::{Clinic, Plan};
use crate::proof::oracle::Wrong;
use crate::tools::tool;
use crate::{nothing_is, rounds, seed};

/// The rig's own hash.
mod sha2_of {
    pub(super) fn sha256(bytes: &[u8]) -> Vec<u8> {
        aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref().to_vec()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_and_continued_it_goes_on_where_it_was() {
    let mut clinic = Clinic::open(Plan::all("stopped")).await;
    let running = clinic.started();
    let signal = |signal| kill_process(Pid::from_child(&running.child), signal).unwrap();
    for pause in [200, 1_500, 4_000 * u64::from(rounds())] {
        tokio::time::sleep(Duration::from_millis(700)).await;
        signal(Signal::STOP);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        signal(Signal::CONT);
    }
    tokio::time::sleep(Duration::from_millis(700)).await;
    let (wrong, told) = clinic.finish(running).await;
    println!("{told}");
    nothing_is(&wrong);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_file_left_to_open_it_keeps_what_it_has_and_recovers() {
    let clinic = Clinic::open(Plan::of("no-files")).await;
    clinic.allow(20);
    let mut running = clinic.start_under(&["bash", "-c", "ulimit -n 64; exec \"$0\" \"$@\""]);
    clinic.wait_for_ports(&mut running);
    assert!(clinic.told_within(Duration::from_secs(20)).await);
    for _ in 0..3 {
        let mut flood = Vec::new();
        for _ in 0..150 {
            let line = tokio::time::timeout(
                Duration::from_millis(20),
                TcpStream::connect(("127.0.0.1", clinic.ports[0])),
            );
            flood.extend(line.await.into_iter().flatten());
        }
        println!("{} connections, {} files open", flood.len(), running.open_files());
        clinic.allow(20);
        tokio::time::sleep(Duration::from_millis(1_000)).await;
        drop(flood);
        assert!(running.child.try_wait().unwrap().is_none(), "it ended:\n{}", running.log());
        assert!(clinic.told_within(Duration::from_secs(20)).await, "it does not recover:\n{}", running.log());
    }
    // What could not be attributed for want of a file is held, and let go by the next start: nobody has to come.
    assert!(running.stop().success(), "{}", running.log());
    clinic.dark().await;
    let (wrong, told) = clinic.close().await;
    println!("{told}");
    nothing_is(&wrong);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_of_memory_it_may_be_ended_and_loses_nothing() {
    let clinic = Clinic::open(Plan::of("no-memory")).await;
    let (mut ended, mut least) = (0, None::<u64>);
    for limit in [96 << 20, 64 << 20, 48 << 20, 40 << 20_u64] {
        let group = Group::new("memory", &[("memory.limit_in_bytes", limit.to_string())]);
        let enter = format!("echo $$ > {}/cgroup.procs; exec \"$0\" \"$@\"", group.path().display());
        let mut running = clinic.start_under(&["bash", "-c", &enter]);
        if clinic.ports_open(&mut running, Duration::from_secs(10)) {
            // Messages that never end, from many senders, beside the traffic.
            let port = clinic.ports[0];
            let hogs: Vec<_> = (0..40).map(|_| tokio::spawn(hog(port))).collect();
            tokio::time::sleep(Duration::from_millis(2_500)).await;
            hogs.iter().for_each(tokio::task::JoinHandle::abort);
        }
        match running.child.try_wait().unwrap() {
            Some(_) => ended += 1,
            None => least = Some(least.map_or(limit, |least| least.min(limit))),
        }
        clinic.kill(&mut running).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("ended {ended} times of 4; the least it lived with: {:?} MiB", least.map(|least| least >> 20));
    let (wrong, told) = clinic.close().await;
    println!("{told}");
    nothing_is(&wrong);
}

/// A sender that begins a message and has no end.
async fn hog(port: u16) {
    let Ok(mut line) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    let block = [b'A'; 64 << 10];
    let _ended = line.write_all(b"\x0bMSH|^~\\&|").await;
    while line.write_all(&block).await.is_ok() {}
}

/// The folder of the first schema, with twenty messages that wait.
fn old_folder(clinic: &Clinic) {
    use crate::proof::devices::Monitor;
    let dir = clinic.data();
    let _none = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    let database = rusqlite::Connection::open(clinic.database()).unwrap();
    database.execute_batch(include_str!("schema-1.sql")).unwrap();
    for n in 1..=10_u8 {
        for own in [1, 2_u8] {
            let bytes = Monitor::message(own, n.into()).into_bytes();
            let (id, sum) = (i64::from(2 * (n - 1) + own), sha256(&bytes));
            let prefix = i64::from_be_bytes(sum[..8].try_into().unwrap());
            database
                .execute(
                    "INSERT INTO frame VALUES (?1, 1, 1773477000000000, 1, ?2, 'old', NULL, NULL, ?3)",
                    params![id, sum, bytes],
                )
                .unwrap();
            database
                .execute(
                    "INSERT INTO entry (id, state, link, prefix) VALUES (?1, 0, 1, ?2)",
                    params![id, prefix],
                )
                .unwrap();
        }
    }
}

/// The calls of a migration.
pub(crate) const MIGRATING_CALLS: [&str; 10] =
    ["pwrite64", "fsync", "openat", "ftruncate", "unlink", "pread64", "fcntl", "close", "fallocate", "statx"];

/// Killed at the `n`th of this call while the folder is brought up to date; whether it was up before that.
async fn killed_at(clinic: &Clinic, call: &str, n: u32, again: bool) -> (bool, Vec<Wrong>) {
    old_folder(clinic);
    let injection = format!("inject={call}:signal=SIGKILL:when={n}");
    let (strace, trace) = (tool("strace"), format!("trace={call}"));
    let words = [&*strace, "-D", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &injection];
    let mut running = clinic.start_under(&words);
    let opened = clinic.ports_open(&mut running, Duration::from_secs(20));
    clinic.kill(&mut running).await;
    let of = |text: String| Wrong::of("I12", format!("killed at {call} {n}: {text}"));
    let mut wrong = Vec::new();
    if again || opened {
        let mut again = clinic.start();
        if !clinic.ports_open(&mut again, Duration::from_secs(20)) || !again.stop().success() {
            wrong.push(of(again.log()));
        }
    }
    let database = rusqlite::Connection::open(clinic.database()).unwrap();
    let sound: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    if sound != "ok" {
        wrong.push(of(sound));
    }
    wrong.extend(crate::proof::oracle::frames_of_ten(&database));
    (opened, wrong)
}

/// Kills at points of one call from `n` on: how many, where to go on, what was wrong.
pub(crate) async fn killed_migrating(call: &str, n: u32, most: u32) -> (u32, Option<u32>, Vec<Wrong>) {
    let clinic = Clinic::open(Plan { upstream: false, ..Plan::of("older") }).await;
    clinic.allow(0);
    for at in n..n + most {
        let (opened, wrong) = killed_at(&clinic, call, at, at % 5 == 0).await;
        if opened || !wrong.is_empty() {
            return (at - n, if opened { None } else { Some(at + 1) }, wrong);
        }
    }
    (most, Some(n + most), Vec::new())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_it_brings_an_older_folder_up_to_date_it_does_so_the_next_time() {
    let mut dice = Dice(seed());
    let stride = if rounds() > 1 { 1 } else { 4 };
    let began = Instant::now();
    let mut points = 0;
    let clinic = Clinic::open(Plan { upstream: false, ..Plan::of("older") }).await;
    clinic.allow(0);
    for call in &MIGRATING_CALLS[..5] {
        let mut n = 1 + dice.below(stride) as u32;
        loop {
            let (opened, wrong) = killed_at(&clinic, call, n, points % 5 == 0).await;
            nothing_is(&wrong);
            if opened {
                break;
            }
            points += 1;
            n += stride as u32;
        }
    }
    println!("killed at {points} points of the migration in {:.1?}", began.elapsed());
    // What waited in the last of the old folders is delivered as if it had come today.
    let mut clinic = Clinic::open(Plan::of("older-delivered")).await;
    old_folder(&clinic);
    clinic.allow(10);
    let running = clinic.started();
    common::until(Duration::from_secs(30), "the old ones arrive", async || {
        clinic.server.running.store.count_of("Observation") >= 40
    })
    .await;
    // The senders say them once more, each until it is acknowledged: what came with the old folder is known.
    assert!(clinic.told_within(Duration::from_secs(30)).await, "{:?}", clinic.acknowledged());
    let (wrong, told) = clinic.finish(running).await;
    println!("{told}");
    nothing_is(&wrong);
}
