//! What decoding costs: the captures of all embedded profiles, grouped by codec, beside a floor that only looks for a
//! byte in them (memchr). Framing alone is measured where the kept frame is what came over the line.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bedside::clock::Timestamp;
use bedside::device::{Measurement, Value};
use bedside::firmware_profile::{FirmwareProfile, Library, LinkContext};
use bedside::wire;

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_millis(120);

struct Capture {
    profile: Arc<FirmwareProfile>,
    topic: Option<String>,
    frame: Vec<u8>,
}

impl Capture {
    /// As it came over the line, where that can be told from the frame.
    fn line(&self) -> Option<Vec<u8>> {
        match self.profile.codec.word() {
            "mllp" => Some([b"\x0b", self.frame.as_slice(), b"\x1c\r"].concat()),
            "lines" => Some([self.frame.as_slice(), b"\r\n"].concat()),
            "medibus" | "nonin" | "dri" | "poct1a" => Some(self.frame.clone()),
            _ => None,
        }
    }
}

/// `message` is whole messages of two kinds.
fn group(profile: &FirmwareProfile) -> String {
    match profile.codec.word() {
        "message" if profile.id.starts_with("sparkplug/") => "sparkplug".into(),
        "message" => "json".into(),
        word => word.to_owned(),
    }
}

/// Median over rounds of how often `work` runs in a second.
fn per_second(mut work: impl FnMut()) -> f64 {
    super::median((0..ROUNDS).map(|_| {
        let (began, mut runs) = (Instant::now(), 0_u32);
        while began.elapsed() < ROUND {
            work();
            runs += 1;
        }
        f64::from(runs) / began.elapsed().as_secs_f64()
    }))
}

fn values(measurement: &Measurement) -> (usize, usize) {
    match &measurement.value {
        Value::Compound(parts) => (parts.len(), 0),
        Value::SampleArray { samples, .. } => (0, samples.len()),
        _ => (1, 0),
    }
}

pub(crate) fn run() {
    let library = Library::embedded().unwrap();
    let received = Timestamp::from_micros(1_773_477_000_000_000, true);
    let link = LinkContext::new("bench", "Europe/Berlin", received).unwrap();
    let mut groups: BTreeMap<String, Vec<Capture>> = BTreeMap::new();
    for profile in library.profiles() {
        let topics = profile.transport.mqtt.as_ref().map(|mqtt| mqtt.topics.clone()).unwrap_or_default();
        for (name, frame) in library.captures(&profile.id) {
            let case = profile.tests.iter().find(|test| test.capture == name);
            let topic = case.and_then(|test| test.topic.clone()).or_else(|| topics.first().cloned());
            let capture = Capture { profile: Arc::clone(profile), topic, frame };
            groups.entry(group(profile)).or_default().push(capture);
        }
    }
    println!("\nDecoding the captures of {} profiles (medians of {ROUNDS} rounds)", library.ids().count());
    println!(
        "  codec             captures    bytes   floor MB/s  framing MB/s  decode MB/s     values/s    samples/s   µs/frame"
    );
    for (word, captures) in &groups {
        row(word, captures, &link);
    }
}

fn row(word: &str, captures: &[Capture], link: &LinkContext) {
    let bytes: usize = captures.iter().map(|capture| capture.frame.len()).sum();
    let megabytes = bytes as f64 / 1e6;
    let floor = per_second(|| {
        for capture in captures {
            black_box(memchr::memchr_iter(b'\r', black_box(&capture.frame)).count());
        }
    });
    let lines: Option<Vec<Vec<u8>>> = captures.iter().map(Capture::line).collect();
    let framing = lines.map(|lines| {
        let on_line: usize = lines.iter().map(Vec::len).sum();
        let rate = per_second(|| {
            for (capture, line) in captures.iter().zip(&lines) {
                black_box(wire::frames(&capture.profile.codec, black_box(line)));
            }
        });
        format!("{:.0}", rate * on_line as f64 / 1e6)
    });
    let (mut single, mut samples) = (0, 0);
    for capture in captures {
        let decoded = capture.profile.decode(&capture.frame, capture.topic.as_deref(), link);
        for measurement in decoded.reports.iter().flat_map(|report| &report.measurements) {
            let (one, many) = values(measurement);
            single += one;
            samples += many;
        }
    }
    let decode = per_second(|| {
        for capture in captures {
            black_box(capture.profile.decode(black_box(&capture.frame), capture.topic.as_deref(), link));
        }
    });
    println!(
        "  {word:<16} {:>9} {bytes:>8} {:>12.0} {:>13} {:>12.1} {:>12.0} {:>12.0} {:>10.1}",
        captures.len(),
        floor * megabytes,
        framing.unwrap_or_else(|| "-".into()),
        decode * megabytes,
        decode * single as f64,
        decode * samples as f64,
        1e6 / decode / captures.len() as f64,
    );
}
