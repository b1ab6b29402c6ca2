//! A ward of monitors on one box. The monitors are simulated Datex-Ohmeda S/5 on TCP, each with every wave that its
//! record interface has: 16 waves of 1750 samples a second in all and displayed values every second. That is no less
//! than the 1625 samples of three ECG at 500 Hz and a pleth at 125 Hz. Each second of a bed is framed, gathered,
//! committed, decoded and translated; with a server, also delivered.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bedside::clock::{Clock, SystemClock};
use bedside::firmware_profile::Library;
use bedside::wire::dri::record;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::common::{self, Bedside, FhirServer};

const BEDS: usize = 32;
const SPAN: Duration = Duration::from_secs(20);
/// Subrecord type and samples a second (Datex-Ohmeda Record specification).
const WAVES: [(u8, usize); 16] = [
    (1, 300),
    (2, 300),
    (3, 300),
    (4, 100),
    (5, 100),
    (6, 100),
    (7, 100),
    (8, 100),
    (16, 100),
    (17, 100),
    (9, 25),
    (10, 25),
    (11, 25),
    (12, 25),
    (13, 25),
    (15, 25),
];
/// A record has at most 1490 bytes.
const BODY_MAX: usize = 1_440;

/// One second of a monitor as it comes over the line.
fn second(bed: usize, number: u64, displayed: &[u8]) -> Vec<u8> {
    let time = u32::try_from(SystemClock::default().now().micros / 1_000_000).unwrap();
    let mut line = Vec::new();
    let (mut subrecords, mut body) = (Vec::new(), Vec::new());
    let mut flush = |subrecords: &mut Vec<(u16, u8)>, body: &mut Vec<u8>| {
        if !body.is_empty() {
            line.extend(record::framed(&record::encode(0, time, record::MAIN_WAVE, subrecords, body)));
        }
        subrecords.clear();
        body.clear();
    };
    for (kind, rate) in WAVES {
        if body.len() + 6 + 2 * rate > BODY_MAX || subrecords.len() == 8 {
            flush(&mut subrecords, &mut body);
        }
        subrecords.push((body.len() as u16, kind));
        body.extend((rate as u16).to_le_bytes());
        body.extend([0; 4]);
        for at in 0..rate {
            body.extend(sample(bed, number, kind, at, rate).to_le_bytes());
        }
    }
    flush(&mut subrecords, &mut body);
    let mut values = displayed.to_vec();
    values[6..10].copy_from_slice(&time.to_le_bytes());
    line.extend(record::framed(&values));
    line
}

/// A heartbeat with the noise of an amplifier, so that neither bed nor second is like another.
fn sample(bed: usize, number: u64, kind: u8, at: usize, rate: usize) -> i16 {
    let phase = (number as f64 + at as f64 / rate as f64) * 1.2 + bed as f64 / 7.0 + f64::from(kind) / 5.0;
    let beat = (phase.fract() - 0.3) * 12.0;
    let wave = 900.0 * (-beat * beat).exp() + 120.0 * (phase * std::f64::consts::TAU).sin();
    let mut noise = (bed as u64) << 48 ^ number << 24 ^ (u64::from(kind) << 16) ^ at as u64;
    noise = (noise ^ noise >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    noise = (noise ^ noise >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    (wave + ((noise >> 60) as f64 - 8.0)) as i16
}

/// Speaks as a monitor to whoever connects, one second after the other, late ones at once.
async fn monitor(bed: usize, listener: TcpListener, displayed: Arc<Vec<u8>>, said: Arc<AtomicU64>) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut every = tokio::time::interval(Duration::from_secs(1));
        for number in 0.. {
            every.tick().await;
            let line = second(bed, number, &displayed);
            said.fetch_add(line.len() as u64, Ordering::Relaxed);
            if stream.write_all(&line).await.is_err() {
                break;
            }
        }
    }
}

/// Displayed values as a monitor says them, from a capture.
fn displayed() -> Vec<u8> {
    let library = Library::embedded().unwrap();
    let captures = library.captures("ge/datex-s5");
    let resting = captures.iter().find(|(name, _)| name.starts_with("resting")).unwrap();
    record::records(&resting.1).next().unwrap().unwrap()
}

pub(crate) async fn run() {
    println!(
        "\n{BEDS} beds for {} s: S/5 monitors, {} samples/s in {} waves each, displayed values each second",
        SPAN.as_secs(),
        WAVES.iter().map(|(_, rate)| rate).sum::<usize>(),
        WAVES.len()
    );
    let bound = "[link.patient]\nsystem = \"urn:oid:1.2.3\"\nvalue = \"BENCH-";
    for (name, upstream, waveforms) in [
        ("no server", false, "{}"),
        ("numerics delivered", true, "{}"),
        ("waves delivered, 5 s each", true, "{ deliver = \"all\", period_s = 5 }"),
    ] {
        let dir = common::scratch("bench");
        let server = FhirServer::start().await;
        let (displayed, said) = (Arc::new(displayed()), Arc::new(AtomicU64::new(0)));
        let mut config = common::mllp_config(dir.path(), common::free_port());
        let port = config.rsplit_once("127.0.0.1:").unwrap().1.split('"').next().unwrap().parse().unwrap();
        let mut monitors = Vec::new();
        for bed in 0..BEDS {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let at = listener.local_addr().unwrap();
            config.push_str(&format!(
                "[[link]]\nname = \"bed-{bed}\"\nprofile = \"ge/datex-s5\"\nwaveforms = {waveforms}\n\
                 tcp = {{ connect = \"{at}\" }}\n{bound}{bed}\"\n"
            ));
            monitors.push(tokio::spawn(monitor(bed, listener, Arc::clone(&displayed), Arc::clone(&said))));
        }
        if upstream {
            config.push_str(&server.upstream_section(dir.path()));
        }
        let gateway = Bedside::start(dir.path(), &config, port);
        tokio::time::sleep(Duration::from_secs(4)).await;
        measured(name, &gateway, dir.path(), &said).await;
        monitors.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

async fn measured(name: &str, gateway: &Bedside, dir: &Path, said: &AtomicU64) {
    let process = gateway.child.id();
    let count = |status: &serde_json::Value, state: &str| status["counts"][state].as_u64().unwrap_or(0);
    let all = |status: &serde_json::Value| {
        ["waiting", "sent", "accepted", "held"].iter().map(|state| count(status, state)).sum::<u64>()
    };
    let (before, first, said_before) = (super::used(process), gateway.status(), said.load(Ordering::Relaxed));
    let room = |dir: &Path| std::fs::metadata(dir.join("data/bedside.db")).map_or(0, |file| file.len());
    let (began, size) = (Instant::now(), room(dir));
    tokio::time::sleep(SPAN).await;
    let (after, last, seconds) = (super::used(process), gateway.status(), began.elapsed().as_secs_f64());
    let share = (after.cpu_us - before.cpu_us) / 1e6 / seconds;
    let kept = all(&last) - all(&first);
    println!(
        "  {name:<26} {:>5.1} % of a core ({:.0} beds to a core)   {:.1} frames/s kept, {} wait, {} held   {:.0} kB/s said, {:.0} kB/s of database, {:.0} kB/s written   {:.0} MB resident",
        share * 100.0,
        BEDS as f64 / share,
        kept as f64 / seconds,
        count(&last, "waiting") + count(&last, "sent"),
        count(&last, "held"),
        (said.load(Ordering::Relaxed) - said_before) as f64 / seconds / 1e3,
        room(dir).saturating_sub(size) as f64 / seconds / 1e3,
        (after.written - before.written) / seconds / 1e3,
        gateway.resident_bytes() as f64 / 1e6,
    );
}
