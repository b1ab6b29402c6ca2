//! The ways a box is used other than as fast as it goes: a slow disk, a monitor a second, a server far away, a backlog,
//! MQTT.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::common::{self, Bedside, FhirServer};
use crate::floor::Floor;
use crate::message::{Figures, control_id, load, message};
use crate::report::{Aim, Report};
use crate::{median, used};

const SPAN: Duration = Duration::from_secs(4);

/// A program in `dir` that runs another with every sync delayed by ten milliseconds, as on an SD card.
fn on_slow_flash(dir: &Path, program: &Path) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let slow = dir.join("slow");
    let text = format!(
        "#!/bin/sh\nexec strace -D -f -qq --seccomp-bpf -e trace=fsync,fdatasync -e inject=fsync,fdatasync:delay_exit=10000 \
         -o /dev/null '{}' \"$@\"\n",
        program.display()
    );
    std::fs::write(&slow, text).unwrap();
    std::fs::set_permissions(&slow, std::fs::Permissions::from_mode(0o755)).unwrap();
    slow
}

/// Every sync takes ten milliseconds more.
pub(crate) async fn slow_flash(report: &mut Report, numbers: &Arc<AtomicU64>) {
    println!("\nSlow flash: every sync takes 10 ms more");
    for (connections, aim) in [(1, 80.0), (8, 600.0), (64, 2_400.0)] {
        let dir = common::scratch("bench");
        let floor =
            Floor::start_as(&on_slow_flash(dir.path(), &std::env::current_exe().unwrap()), dir.path(), None);
        let floor = load(floor.port, connections, SPAN, numbers).await;
        let (dir, port) = (common::scratch("bench"), common::free_port());
        let program = on_slow_flash(dir.path(), &common::binary());
        let config = common::mllp_config(dir.path(), port);
        let mut gateway = Bedside::start_binary(&program, dir.path(), &config, port);
        let ours = load(port, connections, SPAN, numbers).await;
        gateway.stop();
        println!(
            "  {connections:>3} connection(s): floor {:.0}, bedside {:.0} msg/s, p99 {:.1} ms",
            floor.per_second, ours.per_second, ours.p99_ms
        );
        let figures = (Some(floor.per_second), ours.per_second);
        report.add(format!("slow flash, {connections} connection(s)"), "msg/s", figures, Aim::AtLeast(aim));
    }
}

/// 64 monitors that each say something once a second, delivered to a server.
pub(crate) async fn open_loop(report: &mut Report, numbers: &Arc<AtomicU64>) {
    let dir = common::scratch("bench");
    let server = FhirServer::start().await;
    let gateway = Bedside::start_with_upstream(dir.path(), &server).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (process, before, began) = (gateway.child.id(), used(gateway.child.id()), Instant::now());
    let figures = every_second(gateway.mllp, Duration::from_secs(20), numbers).await;
    let cores = (used(process).cpu_us - before.cpu_us) / 1e6 / began.elapsed().as_secs_f64();
    println!(
        "\nOpen loop, 64 monitors, one message a second each, delivered: p50 {:.2} ms, p99 {:.2} ms, {cores:.3} cores",
        figures.p50_ms, figures.p99_ms
    );
    report.add("open loop, 64 a second, p99", "ms", (None, figures.p99_ms), Aim::AtMost(10.0));
    report.add("open loop, 64 a second", "cores", (None, cores), Aim::None);
}

/// Answers to messages sent by the clock, whether or not the one before was answered.
async fn every_second(port: u16, span: Duration, numbers: &Arc<AtomicU64>) -> Figures {
    let began = Instant::now();
    let monitors: Vec<_> = (0..64_u32)
        .map(|monitor| {
            let numbers = Arc::clone(numbers);
            tokio::spawn(async move {
                let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                stream.set_nodelay(true).unwrap();
                let first = Duration::from_millis(u64::from(monitor) * 1_000 / 64);
                let mut every = tokio::time::interval_at((began + first).into(), Duration::from_secs(1));
                let mut took = Vec::new();
                while began.elapsed() < span {
                    let due = every.tick().await;
                    let number = numbers.fetch_add(1, Ordering::Relaxed);
                    stream.write_all(&message(number)).await.unwrap();
                    let mut answer = Vec::new();
                    while !answer.ends_with(b"\x1c\r") {
                        assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "closed without an answer");
                    }
                    assert!(String::from_utf8_lossy(&answer).contains(&control_id(number)));
                    took.push(due.elapsed());
                }
                took
            })
        })
        .collect();
    let mut took = Vec::new();
    for monitor in monitors {
        took.extend(monitor.await.unwrap());
    }
    Figures::of(took, began.elapsed())
}

/// A server to which every request takes 100 ms.
pub(crate) async fn far_away(report: &mut Report, numbers: &Arc<AtomicU64>) {
    let dir = common::scratch("bench");
    let server = FhirServer::start_with(|config| config.latency = Duration::from_millis(100)).await;
    let gateway = Bedside::start_with_upstream(dir.path(), &server).await;
    let began = Instant::now();
    let figures = load(gateway.mllp, 64, SPAN, numbers).await;
    let accepted = gateway.wait_until_drained(Duration::from_secs(300)).await;
    assert_eq!(accepted, figures.answered, "answered and not accepted upstream");
    let rate = accepted as f64 / began.elapsed().as_secs_f64();
    println!(
        "\nA server 100 ms away: {accepted} messages in {:.1} s, {rate:.0} msg/s, {} requests",
        began.elapsed().as_secs_f64(),
        server.running.requests()
    );
    report.add("server 100 ms away", "msg/s", (None, rate), Aim::AtLeast(2_000.0));
}

/// A backlog is delivered while monitors go on.
pub(crate) async fn backlog(report: &mut Report, numbers: &Arc<AtomicU64>, end_to_end: Option<f64>) {
    let (dir, port) = (common::scratch("bench"), common::free_port());
    let config = common::mllp_config(dir.path(), port);
    let idle = {
        let mut gateway = Bedside::start(dir.path(), &config, port);
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(8) {
            load(port, 64, Duration::from_secs(4), numbers).await;
        }
        let idle = every_second(port, Duration::from_secs(8), numbers).await;
        gateway.stop();
        idle
    };
    let server = FhirServer::start().await;
    let gateway =
        Bedside::start(dir.path(), &format!("{config}{}", server.upstream_section(dir.path())), port);
    let accepted = |status: &serde_json::Value| status["counts"]["accepted"].as_u64().unwrap_or(0);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (first, began) = (accepted(&gateway.status()), Instant::now());
    let beside = every_second(port, Duration::from_secs(15), numbers).await;
    let last = gateway.status();
    let rate = (accepted(&last) - first) as f64 / began.elapsed().as_secs_f64();
    println!(
        "\nA backlog of {} while 64 monitors go on: {rate:.0} msg/s delivered; intake p99 {:.2} ms (without: {:.2} ms); {:.0} MB resident",
        last["counts"]["waiting"].as_u64().unwrap_or(0) + accepted(&last),
        beside.p99_ms,
        idle.p99_ms,
        gateway.resident_bytes() as f64 / 1e6,
    );
    let left = last["counts"]["waiting"].as_u64().unwrap_or(0);
    assert!(left > 0, "the backlog was too short to measure");
    if let Some(end_to_end) = end_to_end {
        report.add(
            "backlog drained beside intake (floor: end to end)",
            "msg/s",
            (Some(end_to_end), rate),
            Aim::Share(0.8),
        );
    }
    report.add(
        "intake p99 beside a backlog (floor: without)",
        "ms",
        (Some(idle.p99_ms), beside.p99_ms),
        Aim::AtMost(2.0 * idle.p99_ms),
    );
    report.add(
        "resident under a backlog",
        "MB",
        (None, gateway.resident_bytes() as f64 / 1e6),
        Aim::AtMost(40.0),
    );
}

const KIT: &str = r#"{"device":"bench","time":"2026-09-12T10:00:00Z","n":"#;

/// MQTT 3.1.1, QoS 1: so many publishers that each wait for their PUBACK.
pub(crate) async fn mqtt(report: &mut Report) {
    let mut rates = Vec::new();
    for _ in 0..3 {
        let (dir, port, broker) = (common::scratch("bench"), common::free_port(), common::free_port());
        let config = format!(
            "{}[[link]]\nname = \"kits\"\nprofile = \"ble-gateway/vital-kit\"\nbroker = {{ topics = [\"kits/#\"] }}\n\
             [broker]\nlisten = \"127.0.0.1:{broker}\"\nanonymous = true\n",
            common::mllp_config(dir.path(), port)
        );
        let _gateway = Bedside::start(dir.path(), &config, port);
        let mut streams = Vec::new();
        for number in 0..64 {
            streams.push(connected(broker, number).await);
        }
        let began = Instant::now();
        let publishers: Vec<_> = streams
            .into_iter()
            .map(|(stream, topic)| tokio::spawn(publisher(stream, topic, began)))
            .collect();
        let mut acknowledged = 0;
        for publisher in publishers {
            acknowledged += publisher.await.unwrap();
        }
        rates.push(f64::from(acknowledged) / began.elapsed().as_secs_f64());
    }
    let rate = median(rates);
    println!("\nMQTT, QoS 1, 64 publishers: {rate:.0} durable PUBACK a second");
    report.add("MQTT durable PUBACK, 64 publishers", "msg/s", (None, rate), Aim::AtLeast(15_000.0));
}

/// MQTT 3.1.1 §3.1. One after the other: the broker greets only some strangers at a time.
async fn connected(port: u16, number: u32) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let client = format!("bench-{number:04}");
    let mut connect = vec![0x10, 12 + client.len() as u8, 0, 4];
    connect.extend(b"MQTT\x04\x02\x00\x3c\x00");
    connect.push(client.len() as u8);
    connect.extend(client.as_bytes());
    stream.write_all(&connect).await.unwrap();
    let mut four = [0; 4];
    stream.read_exact(&mut four).await.unwrap();
    assert_eq!(four, [0x20, 2, 0, 0], "not connected");
    (stream, format!("kits/{client}"))
}

/// MQTT 3.1.1 §3.3, §3.4; how many were acknowledged.
async fn publisher(mut stream: TcpStream, topic: String, began: Instant) -> u32 {
    let (mut four, mut acknowledged) = ([0; 4], 0_u32);
    while began.elapsed() < SPAN {
        let id = (acknowledged % 60_000 + 1) as u16;
        let said = format!("{KIT}{acknowledged}}}");
        let length = 4 + topic.len() + said.len();
        let mut publish = vec![0x32, (length % 128) as u8 | if length > 127 { 0x80 } else { 0 }];
        if length > 127 {
            publish.push((length / 128) as u8);
        }
        publish.extend((topic.len() as u16).to_be_bytes());
        publish.extend(topic.as_bytes());
        publish.extend(id.to_be_bytes());
        publish.extend(said.as_bytes());
        stream.write_all(&publish).await.unwrap();
        stream.read_exact(&mut four).await.unwrap();
        assert_eq!(four[..2], [0x40, 2], "not acknowledged");
        assert_eq!(four[2..], id.to_be_bytes());
        acknowledged += 1;
    }
    acknowledged
}
