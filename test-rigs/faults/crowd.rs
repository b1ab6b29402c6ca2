//! Hundreds of senders that begin great messages and do not end them, beside two monitors that do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::nothing_is;
use crate::proof::clinic::{Clinic, Plan};
use crate::proof::oracle::Wrong;

const HOGS: usize = 300;
/// What each of them says before it falls silent: 600 MiB in all.
const BYTES: usize = 2 << 20;
/// The box's bound, and what its vectors may take beyond it while they grow.
const BOUND_MIB: u64 = 64;
const GROWTH_MIB: u64 = 3 * BOUND_MIB;
/// Longest wait of a monitor for an answer while it goes on.
const ANSWERED_WITHIN: Duration = Duration::from_secs(3);

/// Begins a message, falls silent until it is thrown out, and comes again.
async fn hog(port: u16, thrown_out: Arc<AtomicU64>) {
    let block = vec![b'A'; 64 << 10];
    loop {
        if let Ok(mut line) = TcpStream::connect(("127.0.0.1", port)).await {
            let _ended = line.write_all(b"\x0bMSH|^~\\&|").await;
            for _ in 0..BYTES / block.len() {
                if line.write_all(&block).await.is_err() {
                    break;
                }
            }
            // Answered or not: what comes now is the end.
            let mut end = [0; 64];
            while matches!(line.read(&mut end).await, Ok(1..)) {}
            thrown_out.fetch_add(1, Ordering::Relaxed);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_never_end_fill_no_memory_and_delay_nobody() {
    let clinic = Clinic::open(Plan::of("crowd")).await;
    clinic.allow(20);
    // As systemd/bedside.service has it: what was let go is given back to the system.
    let mut running = clinic.start_under(&["env", "MALLOC_MMAP_THRESHOLD_=131072"]);
    clinic.wait_for_ports(&mut running);
    assert!(clinic.told_within(Duration::from_secs(20)).await);
    let before = running.resident_bytes() >> 20;
    let thrown_out = Arc::new(AtomicU64::new(0));
    let port = clinic.ports[0];
    let hogs: Vec<_> = (0..HOGS).map(|_| tokio::spawn(hog(port, thrown_out.clone()))).collect();
    let (mut most, mut slowest, began) = (0, Duration::ZERO, Instant::now());
    while began.elapsed() < Duration::from_secs(10) {
        let asked = Instant::now();
        clinic.allow(5);
        while !clinic.all_told() && asked.elapsed() < Duration::from_secs(20) {
            most = most.max(running.resident_bytes() >> 20);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        slowest = slowest.max(asked.elapsed());
    }
    hogs.iter().for_each(tokio::task::JoinHandle::abort);
    let thrown_out = thrown_out.load(Ordering::Relaxed);
    println!(
        "{before} MiB before, {most} at most; {thrown_out} thrown out; five numbers took {slowest:.2?} at most"
    );
    let (mut wrong, told) = clinic.finish(running).await;
    println!("{told}");
    if most > before + GROWTH_MIB {
        wrong.push(Wrong::of("I9", format!("{most} MiB, {before} before: the bound is {BOUND_MIB}")));
    }
    if thrown_out == 0 {
        wrong.push(Wrong::of("I9", "nobody was thrown out: the rig does not fill the bound"));
    }
    if slowest > 5 * ANSWERED_WITHIN {
        wrong.push(Wrong::of("I10", format!("five numbers of a good sender took {slowest:?}")));
    }
    nothing_is(&wrong);
}
