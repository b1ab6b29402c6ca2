//! `cargo bench --bench gateway -- size [ENTRIES[:WAITING]…]`: does a full buffer behave as an empty one? For each size a
//! database is made, opened by a process of its own, and asked for all that a desk and a deliverer ask; then frames are
//! kept and delivered beside all that is there. Nothing passes or fails by time.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use bedside::buffer::{Buffer, Config, EntryFilter, Mark, NewFrame, Reader, State, Transition};
use bedside::clock::{Clock, SystemClock};
use serde_json::json;

use crate::common::{self, Bedside};
use crate::fill;

const ARGUMENT: &str = "--measure-size";
const SENDERS: usize = 64;
const SPAN: Duration = Duration::from_secs(4);
const ROUNDS: usize = 5;
const ASKED: usize = 7;
const SIZES: [(i64, i64); 4] = [(0, 0), (1_000_000, 0), (1_000_000, 1_000_000), (10_000_000, 1_000_000)];

/// Measures one database, if this process was started to.
pub(crate) fn measure_if_asked() -> bool {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, asked, dir] = arguments.as_slice()
        && asked == ARGUMENT
    {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        println!("{}", runtime.block_on(measure(Path::new(dir))));
        return true;
    }
    false
}

/// `VmRSS` or `VmHWM` of this process, in MB.
fn memory(which: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(which)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

fn frame(id: i64) -> NewFrame {
    NewFrame {
        link: format!("link-{}", id % fill::LINKS + 1).into(),
        peer: "10.0.0.7".into(),
        received: SystemClock::default().now(),
        bytes: fill::said(id).into(),
        topic: None,
        dedupe: true,
        warnings: Vec::new(),
        held: None,
    }
}

async fn measure(dir: &Path) -> serde_json::Value {
    let config = Config { dir: dir.into(), max_bytes: 1 << 40, ..Config::default() };
    let began = Instant::now();
    let buffer = Buffer::open(&config, Arc::new(SystemClock::default())).unwrap();
    let open_ms = began.elapsed().as_secs_f64() * 1e3;
    let resident = memory("VmRSS");
    let reader = buffer.reader();
    let pages = pages(&reader).await;
    let next = Arc::new(AtomicI64::new(1 << 40));
    let (mut rates, mut slowest) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (rate, p99) = ingest(&buffer, &next).await;
        rates.push(rate);
        slowest.push(p99);
    }
    let drained = drain(&buffer, &reader).await;
    let with_all = memory("VmHWM");
    let began = Instant::now();
    buffer.close().await;
    json!({
        "open_ms": open_ms, "resident_mb": resident, "most_resident_mb": with_all, "pages_ms": pages,
        "ingest": crate::median(rates), "ingest_p99_ms": crate::median(slowest), "drain": drained,
        "close_ms": began.elapsed().as_secs_f64() * 1e3,
    })
}

/// Median time in milliseconds of one question.
async fn asked(mut question: impl AsyncFnMut()) -> f64 {
    let mut times = Vec::new();
    for _ in 0..ASKED {
        let began = Instant::now();
        question().await;
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    crate::median(times)
}

async fn pages(reader: &Reader) -> serde_json::Value {
    let all = EntryFilter::default();
    let middle =
        EntryFilter { before: Some(i64::try_from(reader.counts().kept / 2).unwrap().max(1)), ..all.clone() };
    let held = EntryFilter { state: Some(State::Held), ..all.clone() };
    let waiting = EntryFilter { state: Some(State::Waiting), ..all.clone() };
    let accepted = EntryFilter { state: Some(State::Accepted), ..all.clone() };
    let device = EntryFilter { device: Some("Rig/Monitor/7".into()), ..all.clone() };
    let device_held = EntryFilter { state: Some(State::Held), ..device.clone() };
    let mut found = serde_json::Map::new();
    for (name, filter) in [
        ("newest", all),
        ("middle", middle),
        ("held", held),
        ("waiting", waiting),
        ("accepted", accepted),
        ("of a device", device),
        ("held of a device", device_held),
    ] {
        let ms = asked(async || drop(reader.entries(filter.clone()).await.unwrap())).await;
        found.insert(name.into(), json!(ms));
    }
    let mut put = |name: &str, ms: f64| {
        found.insert(name.into(), json!(ms));
    };
    put("one entry", asked(async || drop(reader.entry(1).await.unwrap())).await);
    put("devices", asked(async || drop(reader.devices().await.unwrap())).await);
    put("oldest waiting", asked(async || assert!(reader.oldest_waiting().await.is_ok())).await);
    put("destinations", asked(async || drop(reader.destinations().await.unwrap())).await);
    put("next to deliver", asked(async || drop(reader.waiting(0, 256, 4 << 20).await.unwrap())).await);
    put("recent", asked(async || drop(reader.recent(300, 4 << 20).await.unwrap())).await);
    serde_json::Value::Object(found)
}

/// Frames kept a second by so many senders who wait for their answers, and the 99th percentile of the wait.
async fn ingest(buffer: &Buffer, next: &Arc<AtomicI64>) -> (f64, f64) {
    let began = Instant::now();
    let senders: Vec<_> = (0..SENDERS)
        .map(|_| {
            let (buffer, next) = (buffer.clone(), Arc::clone(next));
            tokio::spawn(async move {
                let mut waits = Vec::new();
                while began.elapsed() < SPAN {
                    let frame = frame(next.fetch_add(1, Ordering::Relaxed));
                    let asked = Instant::now();
                    buffer.keep(frame).await.unwrap();
                    waits.push(asked.elapsed().as_secs_f64() * 1e3);
                }
                waits
            })
        })
        .collect();
    let mut waits = Vec::new();
    for sender in senders {
        waits.extend(sender.await.unwrap());
    }
    waits.sort_by(f64::total_cmp);
    (waits.len() as f64 / began.elapsed().as_secs_f64(), waits[waits.len() * 99 / 100])
}

/// Entries a second that are read, marked sent and marked accepted, in batches as the deliverer has them.
async fn drain(buffer: &Buffer, reader: &Reader) -> f64 {
    let (began, mut done, mut after) = (Instant::now(), 0_usize, 0);
    while began.elapsed() < 2 * SPAN {
        let batch = reader.waiting(after, 256, 4 << 20).await.unwrap();
        if batch.entries.is_empty() {
            break;
        }
        let marks = |to: &Transition| {
            batch.entries.iter().map(|stored| Mark { id: stored.id, to: to.clone() }).collect::<Vec<_>>()
        };
        buffer.mark(marks(&Transition::Sent)).await.unwrap();
        buffer.mark(marks(&Transition::Accepted { answer: "{\"status\":201}".into() })).await.unwrap();
        done += batch.entries.len();
        after = batch.through;
    }
    done as f64 / began.elapsed().as_secs_f64()
}

/// Start of the real binary on the database: until its port is open, and its memory after three seconds.
async fn started(dir: &Path) -> (f64, f64) {
    let port = common::free_port();
    let config =
        common::mllp_config(dir, port).replace("[buffer]\n", "[buffer]\nmax_bytes = 1000000000000\n");
    let began = Instant::now();
    let gateway = Bedside::start(dir, &config, port);
    let opened = began.elapsed().as_secs_f64() * 1e3;
    tokio::time::sleep(Duration::from_secs(3)).await;
    (opened, gateway.resident_bytes() as f64 / 1e6)
}

fn one(sizes: &str) -> (i64, i64) {
    let (entries, waiting) = sizes.split_once(':').unwrap_or((sizes, "0"));
    (entries.parse().unwrap(), waiting.parse().unwrap())
}

pub(crate) async fn run(asked: &[String]) {
    let named: Vec<(i64, i64)> = asked
        .iter()
        .filter(|size| size.starts_with(|c: char| c.is_ascii_digit()))
        .map(|size| one(size))
        .collect();
    let sizes = if named.is_empty() { SIZES.to_vec() } else { named };
    println!("\nSize: {SENDERS} senders, {ROUNDS} rounds of {} s, medians", SPAN.as_secs());
    for (entries, waiting) in sizes {
        let dir = common::scratch("size");
        let data = dir.path().join("data");
        let began = Instant::now();
        fill::fill(&data, entries, waiting).await;
        let bytes = std::fs::metadata(data.join("bedside.db")).unwrap().len();
        println!(
            "{entries} entries, {waiting} of them waiting: {:.2} GB, made in {:.0} s",
            bytes as f64 / 1e9,
            began.elapsed().as_secs_f64()
        );
        let (opened, resident) = started(dir.path()).await;
        println!("  the binary's port is open after {opened:.0} ms, {resident:.1} MB resident after 3 s");
        let me = std::env::current_exe().unwrap();
        let said = Command::new(me).arg(ARGUMENT).arg(&data).output().unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        let found: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap();
        println!("{}", serde_json::to_string_pretty(&found).unwrap());
    }
}
