//! `make bench`: how many messages a second the box answers durably, beside a floor measured in the same run, and
//! what it costs. The floor (bench/floor.rs) is the least any such program can do. Same messages, same client,
//! same disk, both as processes of their own, rounds in turn. Nothing here passes or fails by time: the figures
//! are for people to compare. What can fail is honesty: a wrong answer, a lost message, an answer before its sync.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

#[path = "common/mod.rs"]
mod common;
#[path = "bench/beds.rs"]
mod beds;
#[path = "bench/decode.rs"]
mod decode;
#[path = "bench/fill.rs"]
mod fill;
#[path = "bench/floor.rs"]
mod floor;
#[path = "bench/message.rs"]
mod message;
#[path = "bench/parse.rs"]
mod parse;
#[path = "bench/report.rs"]
mod report;
#[path = "bench/size.rs"]
mod size;
#[path = "bench/templates.rs"]
mod templates;
#[path = "bench/trace.rs"]
mod trace;
#[path = "bench/ways.rs"]
mod ways;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use common::{Bedside, FhirServer};
use floor::Floor;
use message::{Figures, load};
use report::{Aim, Report};

const ROUNDS: usize = 3;
const SPAN: Duration = Duration::from_secs(4);
const CONNECTIONS: [usize; 4] = [1, 8, 64, 256];

fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// What a process used so far.
#[derive(Clone, Copy)]
struct Used {
    cpu_us: f64,
    written: f64,
}

fn used(process: u32) -> Used {
    let file = |name: &str| std::fs::read_to_string(format!("/proc/{process}/{name}")).unwrap();
    let stat = file("stat");
    let after_name: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks = after_name[11].parse::<f64>().unwrap() + after_name[12].parse::<f64>().unwrap();
    let io = file("io");
    let written = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).unwrap();
    Used {
        // Linux counts in hundredths of a second (proc(5), USER_HZ).
        cpu_us: ticks * 1e4,
        written: written.parse().unwrap(),
    }
}

/// One round: what was measured, and what each message cost the process.
struct Round {
    figures: Figures,
    cpu_us: f64,
    written: f64,
}

async fn round(process: u32, port: u16, connections: usize, numbers: &Arc<AtomicU64>) -> Round {
    let before = used(process);
    let figures = load(port, connections, SPAN, numbers).await;
    let after = used(process);
    let per_message = |before: f64, after: f64| (after - before) / figures.answered as f64;
    Round {
        cpu_us: per_message(before.cpu_us, after.cpu_us),
        written: per_message(before.written, after.written),
        figures,
    }
}

fn row(name: &str, rounds: &[Round]) -> f64 {
    let middle = |of: fn(&Round) -> f64| median(rounds.iter().map(of));
    let rate = middle(|r| r.figures.per_second);
    let (slowest, fastest) = rounds
        .iter()
        .map(|r| r.figures.per_second)
        .fold((f64::MAX, 0_f64), |(low, high), rate| (low.min(rate), high.max(rate)));
    println!(
        "  {name:<8} {rate:>8.0} msg/s ({slowest:.0}-{fastest:.0})   p50 {:>6.2} ms   p99 {:>6.2} ms   {:>4.0} µs CPU/msg   {:>6.0} bytes written/msg",
        middle(|r| r.figures.p50_ms),
        middle(|r| r.figures.p99_ms),
        middle(|r| r.cpu_us),
        middle(|r| r.written),
    );
    rate
}

async fn durable_answers(report: &mut Report, numbers: &Arc<AtomicU64>, connections: &[usize]) {
    println!("\nDurable answers: closed loop, {ROUNDS} rounds of {} s in turn, medians", SPAN.as_secs());
    for &connections in connections {
        let (mut floors, mut ours) = (Vec::new(), Vec::new());
        for turn in 0..2 * ROUNDS {
            let dir = common::scratch("bench");
            // floor, box, box, floor, …: neither always goes first.
            if turn % 4 == 0 || turn % 4 == 3 {
                let floor = Floor::start(dir.path());
                floors.push(round(floor.process(), floor.port, connections, numbers).await);
            } else {
                let gateway = Bedside::start_mllp_only(dir.path()).await;
                ours.push(round(gateway.child.id(), gateway.mllp, connections, numbers).await);
            }
        }
        println!("{connections} connection(s)");
        let (floor, own) = (row("floor", &floors), row("bedside", &ours));
        println!("  share    {:>7.0} %", own / floor * 100.0);
        let aim = if matches!(connections, 8 | 64) { Aim::Share(0.85) } else { Aim::None };
        report.add(format!("durable answers, {connections} connection(s)"), "msg/s", (Some(floor), own), aim);
        if connections == 64 {
            let written = |rounds: &[Round]| median(rounds.iter().map(|r| r.written));
            let figures = (Some(written(&floors)), written(&ours));
            report.add("written to disk, 64 connections", "bytes/msg", figures, Aim::AtMost(8192.0));
        }
    }
}

/// Time from the start of the process until its port is open, and memory after two quiet seconds.
async fn at_rest(report: &mut Report) {
    let (mut first, mut again, mut bare, mut full) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let server = FhirServer::start().await;
    let open_and_rest = async |dir: &Path, config: &str, port: u16| {
        let began = Instant::now();
        let gateway = Bedside::start(dir, config, port);
        let opened = began.elapsed().as_secs_f64() * 1000.0;
        tokio::time::sleep(Duration::from_secs(2)).await;
        (opened, gateway.resident_bytes() as f64 / 1e6)
    };
    for _ in 0..ROUNDS {
        let (dir, port) = (common::scratch("bench"), common::free_port());
        let config = common::mllp_config(dir.path(), port);
        let (opened, resident) = open_and_rest(dir.path(), &config, port).await;
        first.push(opened);
        bare.push(resident);
        let desk = format!("[desk]\nlisten = \"127.0.0.1:{}\"\n", common::free_port());
        let config = format!("{config}{desk}{}", server.upstream_section(dir.path()));
        again.push(open_and_rest(dir.path(), &config, port).await.0);
        let (opened, resident) = open_and_rest(dir.path(), &config, port).await;
        again.push(opened);
        full.push(resident);
    }
    let (first, again, bare, full) = (median(first), median(again), median(bare), median(full));
    println!("\nAt rest (medians of {ROUNDS})");
    println!("  port open after {first:.0} ms in a new folder, {again:.0} ms in a used one");
    println!("  resident when idle: {bare:.1} MB with one MLLP link, {full:.1} MB with desk and upstream");
    let size = std::fs::metadata(common::binary()).unwrap().len() as f64 / 1e6;
    report.add("port open, used folder", "ms", (None, again), Aim::AtMost(200.0));
    report.add("resident when idle, one link", "MB", (None, bare), Aim::AtMost(15.0));
    report.add("resident when idle, desk and upstream", "MB", (None, full), Aim::None);
    report.add("binary of this profile, not stripped", "MB", (None, size), Aim::None);
}

/// Stored, translated, and on the FHIR + SMART server of this process; beside the floor, which posts to one like it.
async fn end_to_end(report: &mut Report) -> f64 {
    println!(
        "\nEnd to end at 8 connections ({ROUNDS} rounds of {} s and until all is delivered)",
        SPAN.as_secs()
    );
    let (mut floors, mut rates, mut costs) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        floors.push(floor_end_to_end().await);
        let (dir, numbers) = (common::scratch("bench"), Arc::new(AtomicU64::new(0)));
        let server = FhirServer::start().await;
        let gateway = Bedside::start_with_upstream(dir.path(), &server).await;
        let before = used(gateway.child.id());
        let began = Instant::now();
        let figures = load(gateway.mllp, 8, SPAN, &numbers).await;
        let accepted = gateway.wait_until_drained(Duration::from_secs(300)).await;
        let seconds = began.elapsed().as_secs_f64();
        let cpu = (used(gateway.child.id()).cpu_us - before.cpu_us) / figures.answered as f64;
        assert_eq!(accepted, figures.answered, "answered and not accepted upstream");
        rates.push(accepted as f64 / seconds);
        costs.push(cpu);
        println!(
            "  {:>6.0} msg/s answered meanwhile, p99 {:.1} ms; {accepted} on the server after {seconds:.1} s in {} requests: {:>5.0} msg/s, {cpu:.0} µs CPU/msg",
            figures.per_second,
            figures.p99_ms,
            server.running.requests(),
            accepted as f64 / seconds,
        );
    }
    let (floor, rate, cost) = (median(floors), median(rates), median(costs));
    println!("  median {rate:.0} messages (each 10 measurements) a second; floor {floor:.0}");
    report.add("end to end, 8 connections", "msg/s", (Some(floor), rate), Aim::Share(0.6));
    report.add("end to end, processor", "µs/msg", (None, cost), Aim::AtMost(250.0));
    rate
}

async fn floor_end_to_end() -> f64 {
    let (dir, numbers) = (common::scratch("bench"), Arc::new(AtomicU64::new(0)));
    let server = FhirServer::start_with(|config| config.clients.clear()).await;
    let me = std::env::current_exe().unwrap();
    let floor = Floor::start_as(&me, dir.path(), Some(&server.running.base_url));
    let began = Instant::now();
    let figures = load(floor.port, 8, SPAN, &numbers).await;
    let all = || async {
        server.running.store.count_of("Observation") as u64 >= figures.answered * message::ROWS.len() as u64
    };
    common::until(Duration::from_secs(300), "the floor did not deliver", all).await;
    figures.answered as f64 / began.elapsed().as_secs_f64()
}

/// Traces the real binary: no answer without a sync after its message came; how many syncs an answer costs.
async fn proof(report: &mut Report, numbers: &Arc<AtomicU64>) {
    println!("\nSystem-call trace");
    if std::process::Command::new("strace").arg("-V").output().is_err() {
        println!("  NOT DONE: strace is not installed");
        return;
    }
    for connections in [1, 8] {
        let (trace, _) = traced_load(trace::CALLS, connections, numbers).await;
        let proven = trace::check(&trace).unwrap_or_else(|fault| panic!("{fault}"));
        assert!(proven >= 50, "only {proven} answers were traced");
        assert!(
            trace::check(&trace::without_syncs(&trace)).is_err(),
            "the check does not see a missing sync"
        );
        println!(
            "  {connections} connection(s): a whole sync of the log lies between message and answer for all {proven} answers"
        );
    }
    let (trace, figures) = traced_load("fsync,fdatasync", 64, numbers).await;
    let syncs = trace::syncs(&trace) as f64;
    println!(
        "  64 connections: {:.3} syncs of the log per answer ({:.0} answers/s while syncs are traced)",
        syncs / figures.answered as f64,
        figures.per_second
    );
    let each = syncs / figures.answered as f64;
    report.add("syncs an answer, 64 connections", "syncs", (None, each), Aim::AtMost(0.05));
}

async fn traced_load(calls: &str, connections: usize, numbers: &Arc<AtomicU64>) -> (String, Figures) {
    let (dir, port) = (common::scratch("bench"), common::free_port());
    let trace = dir.path().join("trace");
    let program = trace::traced(dir.path(), &common::binary(), calls, &trace);
    let config = common::mllp_config(dir.path(), port);
    let mut gateway = Bedside::start_binary(&program, dir.path(), &config, port);
    let figures = load(port, connections, Duration::from_secs(2), numbers).await;
    gateway.stop();
    (std::fs::read_to_string(trace).unwrap(), figures)
}

fn main() {
    floor::serve_if_asked();
    if size::measure_if_asked() {
        return;
    }
    rustls::crypto::aws_lc_rs::default_provider().install_default().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let numbers = Arc::new(AtomicU64::new(0));
        let parts: Vec<String> = std::env::args().skip(1).filter(|part| !part.starts_with("--")).collect();
        let wanted = |part: &str| parts.is_empty() || parts.iter().any(|named| named == part);
        let mut report = Report::default();
        if wanted("rest") {
            at_rest(&mut report).await;
        }
        if wanted("answers") {
            let named: Vec<usize> = parts.iter().filter_map(|part| part.parse().ok()).collect();
            let connections = if named.is_empty() { CONNECTIONS.to_vec() } else { named };
            durable_answers(&mut report, &numbers, &connections).await;
        }
        if wanted("flash") {
            ways::slow_flash(&mut report, &numbers).await;
        }
        if wanted("open") {
            ways::open_loop(&mut report, &numbers).await;
        }
        let mut rate = None;
        if wanted("delivery") {
            rate = Some(end_to_end(&mut report).await);
        }
        if wanted("far") {
            ways::far_away(&mut report, &numbers).await;
        }
        if wanted("backlog") {
            ways::backlog(&mut report, &numbers, rate).await;
        }
        if wanted("mqtt") {
            ways::mqtt(&mut report).await;
        }
        if wanted("decode") {
            decode::run();
        }
        if wanted("parse") {
            parse::run();
        }
        if wanted("templates") {
            templates::run();
        }
        if wanted("beds") {
            beds::run().await;
        }
        // Takes minutes and gigabytes: only where it is named.
        if parts.iter().any(|part| part == "size") {
            size::run(&parts).await;
        }
        if wanted("trace") {
            proof(&mut report, &numbers).await;
        }
        report.write();
    });
}
