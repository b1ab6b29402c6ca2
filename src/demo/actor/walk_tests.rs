//! Every built-in profile is simulated: its device against the box's own framer, and what came is read with the profile.

use super::*;
use crate::clock::Timestamp;
use crate::demo::fault::{Faults, FaultyLine};
use crate::firmware_profile::{Library, LinkContext};
use crate::wire::{Answer, Framer, Step};

const STEP: Duration = Duration::from_millis(10);

/// The box's side: frames that were kept, each answered at once.
struct Host {
    framer: Box<dyn Framer>,
    frames: Vec<Vec<u8>>,
    closed: bool,
}

impl Host {
    fn new(profile: &FirmwareProfile) -> Self {
        Self { framer: profile.speech().framer(), frames: Vec::new(), closed: false }
    }

    /// Takes bytes and the time; returns what is said to the device.
    fn turn(&mut self, bytes: &[u8], now: Duration, mllp: bool) -> Vec<u8> {
        if !bytes.is_empty() {
            self.framer.feed(bytes, now);
        }
        if self.framer.deadline().is_some_and(|due| now >= due) {
            self.framer.tick(now);
        }
        let mut out = Vec::new();
        while let Some(step) = self.framer.step() {
            match step {
                Step::Send(bytes) => out.extend(bytes),
                Step::Frame { ticket, bytes, .. } => {
                    let body = mllp.then(|| acknowledged(&bytes));
                    self.frames.push(bytes);
                    self.framer.answer(ticket, Answer::Kept { body }, now);
                }
                Step::Part { ticket, .. } => self.framer.answer(ticket, Answer::Kept { body: None }, now),
                Step::Close(_) => self.closed = true,
                _ => {}
            }
        }
        out
    }
}

fn acknowledged(message: &[u8]) -> Vec<u8> {
    let id = crate::hl7v2::header(message).map(|header| header.control_id.to_string()).unwrap_or_default();
    format!("MSH|^~\\&|BOX||||20260314083000||ACK|1|P|2.6\rMSA|AA|{id}\r").into_bytes()
}

/// Runs until `count` messages were told of; returns the frames and how often one was said again.
fn played(library: &Library, profile: &FirmwareProfile, faults: Faults, count: u64) -> (Vec<Vec<u8>>, u64) {
    let captures: Vec<Vec<u8>> = library.captures(&profile.id).into_iter().map(|(_, bytes)| bytes).collect();
    let mut device = speaker(profile, &captures).unwrap();
    let mut script = Script::of(library, &profile.id, 1).unwrap();
    let mut host = Host::new(profile);
    let mut line = FaultyLine::new(faults, 3);
    let mllp = matches!(profile.codec, Codec::Mllp(_));
    let clock = Timestamp::from_micros(1_773_477_000_000_000, true);
    let (mut now, mut told, mut again) = (Duration::ZERO, 0, 0);
    let mut message = script.next(clock).unwrap();
    let mut to_box = Vec::new();
    device.open(now);
    device.say(&message, now);
    let mut ends = None;
    while ends.is_none_or(|end| now < end) {
        now += STEP;
        assert!(now < Duration::from_secs(36_000), "{}: told of {told} messages in ten hours", profile.id);
        device.tick(now);
        let answer = host.turn(&std::mem::take(&mut to_box), now, mllp);
        let answer = if answer.is_empty() { answer } else { line.heard(&answer) };
        if !answer.is_empty() {
            device.hear(&answer, now);
        }
        while let Some(said) = device.next() {
            match said {
                Said::Send(bytes) => to_box.extend(line.sent(bytes).into_iter().flat_map(|(piece, _)| piece)),
                Said::Told(Told::Again(_) | Told::Away(_)) => {
                    again += 1;
                    device.say(&message, now);
                }
                Said::Told(_) => {
                    told += 1;
                    if told < count {
                        message = script.next(clock.plus(now)).unwrap();
                        device.say(&message, now);
                    } else {
                        // Whatever gathers frames hands them on.
                        ends.get_or_insert(now + Duration::from_secs(20));
                    }
                }
            }
        }
    }
    host.framer.end(now);
    host.turn(&[], now, mllp);
    assert!(!host.closed, "{}: the box gave the line up", profile.id);
    (host.frames, again)
}

fn read(profile: &FirmwareProfile, frame: &[u8], topic: Option<&str>) -> usize {
    let decoded = profile.decode(frame, topic, &LinkContext::golden());
    assert_eq!(decoded.held, None, "{}: held: {}", profile.id, frame.escape_ascii());
    decoded.measurements()
}

#[test]
fn every_profile_is_spoken_and_what_is_said_is_read_without_being_held() {
    let library = Library::embedded().unwrap();
    for profile in library.profiles() {
        let frames: Vec<(Vec<u8>, Option<String>)> = if matches!(profile.codec, Codec::Message(_)) {
            let mut script = Script::of(&library, &profile.id, 1).unwrap();
            let clock = Timestamp::from_micros(1_773_477_000_000_000, true);
            let said = (0..4).filter_map(|_| script.next(clock));
            said.map(|message| (message.bytes, message.topic.or_else(|| Some("a/b/c".into())))).collect()
        } else {
            let (frames, again) = played(&library, profile, Faults::default(), 3);
            assert_eq!(again, 0, "{}: said again on a clean line", profile.id);
            frames.into_iter().map(|frame| (frame, None)).collect()
        };
        // A page of orders alone measures nothing; its frames are ignored with their reason.
        let orders = |frame: &[u8]| profile.arriving_orders(frame, &LinkContext::golden()).is_some();
        if frames.iter().all(|(frame, _)| orders(frame)) {
            continue;
        }
        let measurements: usize =
            frames.iter().map(|(frame, topic)| read(profile, frame, topic.as_deref())).sum();
        assert!(measurements > 0, "{}: {} frames say nothing", profile.id, frames.len());
    }
}

#[test]
fn on_a_bad_line_everything_that_is_acknowledged_arrives_and_reads_as_it_was() {
    let library = Library::embedded().unwrap();
    for id in ["ihe/pcd01-monitor", "sysmex/xn", "poct1a/device", "ieee11073/blood-pressure"] {
        let profile = library.find(id).unwrap();
        let mut again = 0;
        for faults in ["half-frames", "nak", "drop-ack", "slow", "half-frames,nak,drop-ack"] {
            let (frames, times) = played(&library, &profile, faults.parse().unwrap(), 12);
            again += times;
            // The beginning of a transmission that broke off is held; what was said again is whole.
            let whole = |frame: &&Vec<u8>| {
                !frames.iter().any(|other| other.len() > frame.len() && other.starts_with(frame))
            };
            let frames: Vec<&Vec<u8>> = frames.iter().filter(whole).collect();
            let measurements: usize = frames.iter().map(|frame| read(&profile, frame, None)).sum();
            assert!(frames.len() >= 12 && measurements > 0, "{id} with {faults}: {} frames", frames.len());
        }
        assert!(again > 0, "{id}: no fault ever struck");
    }
}

#[test]
fn noise_on_a_line_with_checksums_loses_frames_and_never_changes_one() {
    let library = Library::embedded().unwrap();
    let profile = library.find("nonin/xpod").unwrap();
    let clean = played(&library, &profile, Faults::default(), 40).0;
    let noisy = played(&library, &profile, "noise=0.002".parse().unwrap(), 40).0;
    assert!(noisy.len() <= clean.len() && !noisy.is_empty());
    let values = |frames: &[Vec<u8>]| {
        let read =
            frames.iter().flat_map(|frame| profile.decode(frame, None, &LinkContext::golden()).reports);
        let all = read.flat_map(|report| report.measurements);
        let said = all.map(|m| format!("{:?}", m.value)).filter(|value| !value.contains("SampleArray"));
        said.collect::<std::collections::BTreeSet<String>>()
    };
    let (clean, noisy) = (values(&clean), values(&noisy));
    let invented: Vec<_> = noisy.difference(&clean).collect();
    assert!(!noisy.is_empty() && invented.is_empty(), "{invented:?}");
}
