use super::*;
use crate::device::Value;
use crate::firmware_profile::{Library, LinkContext};
use crate::wire::intellivue::{IntellivueFramer, Settings};
use crate::wire::{Answer, Codec, Framer, Step};

fn settings() -> Settings {
    let library = Library::embedded().unwrap();
    match library.find("philips/intellivue").unwrap().codec.clone() {
        Codec::Intellivue(settings) => settings,
        other => panic!("{other:?}"),
    }
}

/// Lets the framer and the monitor speak for so long; what was kept, and what the framer said.
fn spoken(settings: Settings, mut monitor: Monitor, millis: u64) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let mut framer = IntellivueFramer::new(settings);
    let (mut kept, mut sent) = (Vec::new(), Vec::new());
    for at in (0..millis).step_by(32) {
        let now = Duration::from_millis(at);
        if at == millis / 2 / 32 * 32 {
            monitor.alarm = false;
        }
        for frame in monitor.tick(now) {
            framer.feed(&frame, now);
        }
        if framer.deadline().is_some_and(|deadline| deadline <= now) {
            framer.tick(now);
        }
        while let Some(step) = framer.step() {
            match step {
                Step::Send(bytes) => {
                    for frame in monitor.hear(&bytes, now) {
                        framer.feed(&frame, now);
                    }
                    sent.push(bytes);
                }
                Step::Frame { ticket, bytes, .. } => {
                    kept.push(bytes);
                    framer.answer(ticket, Answer::Kept { body: None }, now);
                }
                Step::Note(warning) => panic!("{warning:?}"),
                _ => {}
            }
        }
    }
    (kept, sent)
}

fn hex(bytes: &[u8]) -> String {
    let lines: Vec<String> = bytes
        .chunks(24)
        .map(|line| line.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(" "))
        .collect();
    lines.join("\n") + "\n"
}

#[test]
fn a_session_on_either_way_gives_every_second_with_patient_place_time_and_waves() {
    let library = Library::embedded().unwrap();
    let profile = library.find("philips/intellivue").unwrap();
    for serial in [true, false] {
        let settings = if serial { settings() } else { settings().on_lan() };
        let (kept, _) = spoken(settings, Monitor::new(serial), 6000);
        assert!(kept.len() >= 5, "{} frames", kept.len());
        let mut ended = 0;
        for (number, frame) in kept.iter().enumerate().skip(2) {
            let decoded = profile.decode(frame, None, &LinkContext::golden());
            let [report] = decoded.reports.as_slice() else { panic!("{:?}", decoded.findings) };
            assert_eq!(report.person.as_ref().unwrap().identifiers[0].value.as_ref(), "SIM-0007");
            assert_eq!(report.place.as_ref().unwrap().bed.as_deref(), Some("BED 7"));
            assert_eq!(report.device.identifiers[0].value.as_ref(), "0009FB000001");
            let device_clock =
                |m: &&crate::device::Measurement| m.taken.source == crate::device::ClockSource::Device;
            assert!(report.measurements.iter().all(|m| device_clock(&m)), "frame {number}");
            let temp =
                report.measurements.iter().find(|m| m.metric.code_in(crate::device::MDC) == Some("150344"));
            assert!(temp.is_none_or(|m| matches!(m.value, Value::Absent(_)) && m.status.invalid));
            ended += report.measurements.iter().filter(|m| matches!(&m.value, Value::Alarm(alarm) if alarm.phase == Some(crate::device::AlarmPhase::End))).count();
            let runs: Vec<usize> = report
                .measurements
                .iter()
                .filter_map(|m| match &m.value {
                    Value::SampleArray { samples, .. } => Some(samples.len()),
                    _ => None,
                })
                .collect();
            assert!(runs.len() >= 4 && runs.iter().all(|run| *run >= 32), "frame {number}: {runs:?}");
        }
        assert_eq!(ended, 1, "the alarm ends once");
        if serial && std::env::var_os("BLESS").is_some() {
            let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("firmware-profiles/philips/intellivue/captures");
            for (name, at) in [("association", 0), ("first-second", 1), ("waves-and-alarm", 3)] {
                std::fs::write(folder.join(format!("{name}.hex")), hex(&kept[at])).unwrap();
            }
        }
    }
}

#[test]
fn nothing_is_ever_said_but_association_confirmation_polls_and_the_list_of_waves() {
    let waves = vec![0x0002_0102, 0x0002_4BB4];
    let (_, sent) = spoken(Settings { waves, ..settings() }.on_lan(), Monitor::new(false), 40_000);
    let (mut polls, mut sets) = (0, 0);
    for bytes in &sent {
        match Message::parse(bytes).unwrap() {
            Message::Session(first, _) => assert_eq!(first, CONNECT),
            Message::Operation(said) => match (said.kind, said.command) {
                (RESULT, CONFIRMED_EVENT) => assert_eq!(said.body[10..12], MDS_CREATE.to_be_bytes()),
                (INVOKE, CONFIRMED_ACTION) => {
                    polls += 1;
                    let action = u16::from_be_bytes([said.body[10], said.body[11]]);
                    assert!([POLL, POLL_EXTENDED].contains(&action));
                }
                (INVOKE, CONFIRMED_SET) => {
                    sets += 1;
                    assert_eq!(
                        said.body[10..18],
                        [0, 1, 0, 18, 0, 0, 0xF2, 0x3A],
                        "one change: the list of waves"
                    );
                }
                other => panic!("{other:?}"),
            },
        }
    }
    assert!(polls > 20 && sets == 1, "{polls} polls, {sets} sets");
}

#[tokio::test]
async fn a_monitor_is_read_over_udp_from_end_to_end() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let (_switch, stop) = Stop::pair();
    let monitor = tokio::spawn(Monitor::new(false).on_udp(socket, stop));
    let mut line = crate::connector::udp::dial(&address).await.unwrap();
    let mut framer = IntellivueFramer::new(settings().on_lan());
    let began = Instant::now();
    let mut kept = Vec::new();
    while kept.len() < 3 && began.elapsed() < Duration::from_secs(20) {
        framer.tick(began.elapsed());
        while let Some(step) = framer.step() {
            match step {
                Step::Send(bytes) => line.write_all(&bytes).await.unwrap(),
                Step::Frame { bytes, .. } => kept.push(bytes),
                _ => {}
            }
        }
        let mut buffer = vec![0; 4096];
        if let Ok(read) = tokio::time::timeout(Duration::from_millis(50), line.read(&mut buffer)).await {
            framer.feed(&buffer[..read.unwrap()], began.elapsed());
        }
    }
    monitor.abort();
    let library = Library::embedded().unwrap();
    let decoded = library.find("philips/intellivue").unwrap().decode(&kept[2], None, &LinkContext::golden());
    assert!(decoded.measurements() >= 8, "{} measurements", decoded.measurements());
}
