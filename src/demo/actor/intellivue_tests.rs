use super::*;
use crate::clock::TestClock;
use crate::connector::{self, Frame, Intake, Later, LinkState, Receipt, Stop};
use crate::demo::actor::Script;
use crate::demo::fault::{Faults, FaultyLine};
use crate::demo::stage::{Place, Play};
use crate::device::{AlarmPhase, Value};
use crate::firmware_profile::{Library, LinkContext};
use crate::wire::intellivue::message::ACCEPT;
use crate::wire::intellivue::{IntellivueFramer, Piece, Settings, pieces};
use crate::wire::{Answer, Codec, Framer, Speech, Step};
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

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
        assert!(kept.iter().skip(1).all(|frame| profile.fits(frame)), "each is known by its fingerprint");
        let mut told = Vec::new();
        for (number, frame) in kept.iter().enumerate().skip(2) {
            let decoded = profile.decode(frame, None, &LinkContext::golden());
            let [report] = decoded.reports.as_slice() else { panic!("{:?}", decoded.findings) };
            assert_eq!(report.person.as_ref().unwrap().identifiers[0].value.as_ref(), "SIM-0007");
            assert_eq!(report.place.as_ref().unwrap().bed.as_deref(), Some("BED 7"));
            assert_eq!(report.device.identifiers[0].value.as_ref(), "00-09-FB-00-00-01");
            let device_clock =
                |m: &&crate::device::Measurement| m.taken.source == crate::device::ClockSource::Device;
            assert!(report.measurements.iter().all(|m| device_clock(&m)), "frame {number}");
            let temp =
                report.measurements.iter().find(|m| m.metric.code_in(crate::device::MDC) == Some("150344"));
            assert!(temp.is_none_or(|m| matches!(m.value, Value::Absent(_)) && m.status.invalid));
            for alarm in report.measurements.iter().filter_map(|m| match &m.value {
                Value::Alarm(alarm) => Some(alarm),
                _ => None,
            }) {
                told.push((alarm.phase.unwrap(), alarm.episode.clone().unwrap(), number));
            }
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
        let [(AlarmPhase::Present, begun, _), (AlarmPhase::End, ended, end)] = told.as_slice() else {
            panic!("the alarm is told at first and at its end: {told:?}")
        };
        assert_eq!(begun, ended, "one alarm has one episode");
        if serial && std::env::var_os("BLESS").is_some() {
            let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("firmware-profiles/philips/intellivue/captures");
            for (name, at) in
                [("association", 0), ("announcement", 1), ("waves-and-alarm", 3), ("alarm-ends", *end)]
            {
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

/// An intake that keeps in memory.
#[derive(Default)]
struct Kept {
    frames: Mutex<Vec<Vec<u8>>>,
    notes: Mutex<Vec<&'static str>>,
    states: Mutex<Vec<LinkState>>,
}

impl Intake for Kept {
    fn keep(&self, frame: Frame) -> Later<'_, Receipt> {
        self.frames.lock().unwrap().push(frame.bytes.to_vec());
        Box::pin(std::future::ready(Receipt::Kept { duplicate: false }))
    }

    fn keep_part(&self, _frame: Frame) -> Later<'_, Receipt> {
        panic!("a monitor's frames have no parts")
    }

    fn parts_broken(&self, _link: Arc<str>, _peer: Arc<str>, reason: String) -> Later<'_, ()> {
        panic!("{reason}")
    }

    fn note(&self, _link: &str, code: &'static str, _text: &str) {
        self.notes.lock().unwrap().push(code);
    }

    fn state(&self, _link: &str, state: LinkState) {
        self.states.lock().unwrap().push(state);
    }
}

impl Kept {
    async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let since = Instant::now();
        while !holds(self) {
            assert!(
                since.elapsed() < Duration::from_secs(60),
                "in vain: {what}; {:?}, {:?}, {} frames",
                self.states.lock().unwrap(),
                self.notes.lock().unwrap(),
                self.frames.lock().unwrap().len()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn was(&self, state: impl Fn(&LinkState) -> bool) -> bool {
        self.states.lock().unwrap().iter().any(state)
    }

    /// How many associations were accepted, and numerics and waves that came after the last of them.
    fn heard(&self) -> (usize, usize, usize) {
        let library = Library::embedded().unwrap();
        let profile = library.find("philips/intellivue").unwrap();
        let (mut associations, mut numerics, mut waves) = (0, 0, 0);
        for frame in self.frames.lock().unwrap().iter() {
            let accepted =
                |piece: &Piece<'_>| matches!(piece, Piece::Message(m) if m.first() == Some(&ACCEPT));
            if pieces(frame).any(|piece| accepted(&piece)) {
                associations += 1;
                (numerics, waves) = (0, 0);
            }
            let decoded = profile.decode(frame, None, &LinkContext::golden());
            assert!(decoded.held.is_none());
            for measurement in decoded.reports.iter().flat_map(|report| &report.measurements) {
                match &measurement.value {
                    Value::Numeric { .. } | Value::Compound(_) => numerics += 1,
                    Value::SampleArray { .. } => waves += 1,
                    _ => {}
                }
            }
        }
        (associations, numerics, waves)
    }

    async fn until_read(&self, associations: usize) {
        self.until("numerics and waves", |kept| {
            let heard = kept.heard();
            heard.0 >= associations && heard.1 >= 6 && heard.2 >= 8
        })
        .await;
    }
}

/// Switches a monitor on.
fn switched_on(place: Place, stop: Stop) -> JoinHandle<()> {
    let script = Script::of(&Library::embedded().unwrap(), "philips/intellivue", 1).unwrap();
    let faults = FaultyLine::new(Faults::default(), 1);
    let every = Duration::from_secs(1);
    let play = Play { speaker: Box::new(Bed::default()), script, faults, every, count: None };
    tokio::spawn(play.run(place, TestClock::at(1_773_477_000_000_000), stop, |_, _| ()))
}

#[tokio::test]
async fn over_udp_a_monitor_is_read_and_read_again_after_its_restart() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    drop(socket);
    let (off, stop) = Stop::pair();
    let monitor = switched_on(Place::Udp(address), stop);
    let kept = Arc::new(Kept::default());
    let config = toml::from_str(&format!("connect = \"{address}\"")).unwrap();
    let (switch, stop) = Stop::pair();
    let speech = Speech::from(Codec::Intellivue(settings()));
    let link =
        tokio::spawn(connector::udp::run("bed".into(), config, speech, kept.clone(), TestClock::at(0), stop));
    kept.until_read(1).await;
    off.send(true).unwrap();
    monitor.await.unwrap();
    kept.until("nobody there", |kept| kept.was(|state| matches!(state, LinkState::Retrying { .. }))).await;
    let (_off, stop) = Stop::pair();
    let _monitor = switched_on(Place::Udp(address), stop);
    kept.until_read(2).await;
    switch.send(true).unwrap();
    link.await.unwrap();
    assert!(matches!(kept.states.lock().unwrap().last(), Some(LinkState::Stopped)));
}

#[tokio::test]
async fn over_udp_a_monitor_that_says_nothing_makes_the_link_quiet_and_is_asked_again() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let kept = Arc::new(Kept::default());
    let config = toml::from_str(&format!("connect = \"{address}\"\nquiet_timeout_s = 1")).unwrap();
    let (_switch, stop) = Stop::pair();
    let speech = Speech::from(Codec::Intellivue(settings()));
    let _link =
        tokio::spawn(connector::udp::run("bed".into(), config, speech, kept.clone(), TestClock::at(0), stop));
    let mut buffer = [0; 2048];
    for _ in 0..2 {
        let (read, _) = silent.recv_from(&mut buffer).await.unwrap();
        assert!(read > 100 && buffer[0] == CONNECT);
    }
    assert!(kept.was(|state| matches!(state, LinkState::Quiet { .. })));
    let notes = kept.notes.lock().unwrap().clone();
    assert!(notes.contains(&"quiet") && notes.contains(&"no-association"), "{notes:?}");
    assert!(kept.frames.lock().unwrap().is_empty());
}

#[tokio::test]
async fn over_a_serial_port_a_monitor_is_read_and_read_again_after_it_was_unplugged() {
    let folder = tempfile::tempdir().unwrap();
    let port = folder.path().join("usb-adapter");
    let (off, stop) = Stop::pair();
    let monitor = switched_on(Place::Pty(port.clone()), stop);
    let kept = Arc::new(Kept::default());
    let config = toml::from_str(&format!("port = {:?}\nbaud = 115200", port.to_str().unwrap())).unwrap();
    let (_switch, stop) = Stop::pair();
    let speech = Speech::from(Codec::Intellivue(settings()));
    let _link = tokio::spawn(connector::serial::run(
        "bed".into(),
        config,
        speech,
        kept.clone(),
        TestClock::at(0),
        stop,
    ));
    kept.until_read(1).await;
    off.send(true).unwrap();
    monitor.await.unwrap();
    kept.until("unplugged", |kept| kept.was(|state| matches!(state, LinkState::Retrying { .. }))).await;
    let (_off, stop) = Stop::pair();
    let _monitor = switched_on(Place::Pty(port), stop);
    kept.until_read(2).await;
}

#[test]
fn a_monitor_switched_off_and_on_behind_a_quiet_line_is_associated_anew() {
    for serial in [true, false] {
        let settings = if serial { settings() } else { settings().on_lan() };
        let mut framer = IntellivueFramer::new(settings);
        let mut monitor = Some(Monitor::new(serial));
        let (mut accepted, mut notes) = (Vec::new(), Vec::new());
        for at in (0..40_000).step_by(32) {
            let now = Duration::from_millis(at);
            match at / 32 {
                125 => monitor = None,
                700 => monitor = Some(Monitor::new(serial)),
                _ => {}
            }
            for frame in monitor.iter_mut().flat_map(|monitor| monitor.tick(now)).collect::<Vec<_>>() {
                framer.feed(&frame, now);
            }
            if framer.deadline().is_some_and(|deadline| deadline <= now) {
                framer.tick(now);
            }
            while let Some(step) = framer.step() {
                match step {
                    Step::Send(bytes) => {
                        for frame in monitor.iter_mut().flat_map(|m| m.hear(&bytes, now)).collect::<Vec<_>>()
                        {
                            framer.feed(&frame, now);
                        }
                    }
                    Step::Frame { ticket, bytes, .. } => {
                        let is_accept =
                            |piece| matches!(piece, Piece::Message(m) if m.first() == Some(&ACCEPT));
                        if pieces(&bytes).any(is_accept) {
                            accepted.push(at);
                        }
                        framer.answer(ticket, Answer::Kept { body: None }, now);
                    }
                    Step::Note(warning) => notes.push(warning.code),
                    _ => {}
                }
            }
        }
        assert_eq!(accepted.len(), 2, "{accepted:?} {notes:?}");
        assert_eq!(notes.first(), Some(&"association-timeout"), "{notes:?}");
    }
}
