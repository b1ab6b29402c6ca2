use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;

use super::*;
use crate::admin::live::{Live, ProfileView, Sighting};
use crate::clock::{Clock, TestClock};
use crate::demo::actor::speaker;
use crate::demo::fault::Faults;
use crate::device::ClockSource;
use crate::firmware_profile::{Library, LinkContext};
use crate::wire::mllp;

const EVERY: Duration = Duration::from_secs(4);

/// A device without a line that writes down what it is to say.
#[derive(Default)]
struct Diary {
    said: Arc<Mutex<Vec<Message>>>,
    out: VecDeque<Said>,
}

impl Speaker for Diary {
    fn open(&mut self, _now: Duration) {}

    fn say(&mut self, message: &Message, _now: Duration) {
        self.said.lock().unwrap().push(message.clone());
    }

    fn hear(&mut self, _bytes: &[u8], _now: Duration) {}

    fn tick(&mut self, _now: Duration) {}

    fn next(&mut self) -> Option<Said> {
        self.out.pop_front()
    }

    fn is_free(&self) -> bool {
        true
    }
}

fn numbered(count: u32) -> Script {
    let messages = (1..=count).map(|n| Message::of(n.to_string().into_bytes())).collect();
    Script::of_messages(messages, false).unwrap()
}

/// What is said with these faults, when each message begins, and the device's clock then.
fn told_with(faults: &str, count: u64) -> Vec<(String, Duration, i64)> {
    let diary = Diary::default();
    let said = diary.said.clone();
    let faults = FaultyLine::new(faults.parse().unwrap(), 1);
    let mut play =
        Play { speaker: Box::new(diary), script: numbered(100), faults, every: EVERY, count: Some(count) };
    let zero = Duration::ZERO;
    let mut progress =
        Progress { told: 0, message: None, due: zero, again: false, open: false, jumped: zero };
    let clock: SharedClock = TestClock::at(0);
    let mut all = Vec::new();
    for _ in 0..count {
        let now = progress.due;
        play.begin(&mut progress, &clock, now);
        play.told(&mut progress, &Told::Sent, now);
        let message = said.lock().unwrap().last().cloned().unwrap();
        let text = String::from_utf8(message.bytes).unwrap();
        all.push((text, now, message.at.unwrap().micros / 1_000_000));
    }
    all
}

#[test]
fn without_faults_each_message_is_said_once_in_its_time() {
    let all = told_with("", 12);
    let expected: Vec<_> = (0..12_u32).map(|n| ((n + 1).to_string(), EVERY * n, 0)).collect();
    assert_eq!(all, expected);
}

#[test]
fn duplicate_says_every_third_message_twice_with_the_same_content() {
    let said: Vec<String> = told_with("duplicate", 9).into_iter().map(|(text, ..)| text).collect();
    assert_eq!(said, ["1", "1", "2", "3", "3", "4", "5", "5", "6"]);
}

#[test]
fn burst_says_ten_messages_at_once_and_then_waits_as_long_as_they_would_have_taken() {
    let times: Vec<Duration> = told_with("burst", 21).into_iter().map(|(_, at, _)| at).collect();
    let expected: Vec<Duration> = (0..21).map(|n| EVERY * 10 * (n / 10)).collect();
    assert_eq!(times, expected);
}

#[test]
fn the_clock_of_the_device_jumps_after_every_tenth_message_and_stays_there() {
    let clocks: Vec<i64> = told_with("clock-jump=2h", 25).into_iter().map(|(.., clock)| clock).collect();
    let expected: Vec<i64> = (0..25).map(|n| 7200 * (n / 10)).collect();
    assert_eq!(clocks, expected);
}

/// A play of so many messages by the device of a profile, and what it was told of them.
fn playing(
    profile: &str,
    script: Script,
    count: u64,
    place: Place,
) -> (tokio::task::JoinHandle<()>, mpsc::Receiver<(u64, Told)>) {
    let library = Library::embedded().unwrap();
    let speaker = speaker(&library.find(profile).unwrap(), &[]).unwrap();
    let faults = FaultyLine::new(Faults::default(), 1);
    let play = Play { speaker, script, faults, every: Duration::ZERO, count: Some(count) };
    let (teller, told) = mpsc::channel(64);
    let task = tokio::spawn(async move {
        let (_switch, stop) = Stop::pair();
        let heard = move |number, told: &Told| teller.try_send((number, told.clone())).unwrap();
        play.run(place, TestClock::at(0), stop, heard).await;
    });
    (task, told)
}

fn oru(id: u32) -> Message {
    Message::of(format!("MSH|^~\\&|A||||20260314083000||ORU^R01|{id}|P|2.6\r").into_bytes())
}

async fn block(socket: &mut TcpStream) -> String {
    let mut heard = Vec::new();
    while !heard.ends_with(&[0x1c, 0x0d]) {
        assert_ne!(socket.read_buf(&mut heard).await.unwrap(), 0, "closed");
    }
    String::from_utf8(heard).unwrap()
}

#[tokio::test]
async fn a_device_that_listens_keeps_its_port_and_says_again_what_was_lost_with_a_connection() {
    let script = Script::of_messages(vec![oru(1), oru(2)], false).unwrap();
    let address = {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        free.local_addr().unwrap()
    };
    let (task, mut told) = playing("nihon-kohden/monitor", script, 2, Place::Listen(address));
    let call = async || loop {
        if let Ok(socket) = TcpStream::connect(address).await {
            return socket;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let mut socket = call().await;
    assert!(block(&mut socket).await.contains("|ORU^R01|1|"));
    drop(socket);
    let mut socket = call().await;
    for id in 1..=2 {
        assert!(block(&mut socket).await.contains(&format!("|ORU^R01|{id}|")));
        let ack = format!("MSH|^~\\&|B||||20260314083000||ACK|9|P|2.6\rMSA|AA|{id}\r");
        socket.write_all(&mllp::wrap(ack.as_bytes())).await.unwrap();
    }
    task.await.unwrap();
    let mut all = Vec::new();
    while let Ok(one) = told.try_recv() {
        all.push(one);
    }
    let whys = |told: &Told| matches!(told, Told::Away(_) | Told::Again(_));
    assert!(
        all.len() >= 3 && all[..all.len() - 2].iter().all(|(id, told)| *id == 1 && whys(told)),
        "{all:?}"
    );
    assert_eq!(all[all.len() - 2..], [(1, Told::Acknowledged), (2, Told::Acknowledged)]);
}

#[tokio::test]
async fn on_a_port_that_nobody_reads_a_message_waits_and_then_each_is_read_once() {
    let dir = tempfile::tempdir().unwrap();
    let port = dir.path().join("port");
    let (task, mut told) = playing("masimo/ascii1", numbered(3), 3, Place::Pty(port.clone()));
    assert_eq!(told.recv().await.unwrap(), (1, Told::Away("nobody reads the port".into())));
    let reading = tokio::task::spawn_blocking(move || {
        let mut port = std::fs::File::open(port).unwrap();
        let mut heard = String::new();
        while heard.matches('3').count() == 0 {
            let mut bytes = [0; 64];
            let count = std::io::Read::read(&mut port, &mut bytes).unwrap();
            heard.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
        }
        heard
    });
    let heard = reading.await.unwrap();
    assert_eq!(heard.split_whitespace().collect::<Vec<_>>(), ["1", "2", "3"]);
    task.await.unwrap();
    let sent = std::iter::from_fn(|| told.try_recv().ok()).filter(|(_, told)| *told == Told::Sent);
    assert_eq!(sent.map(|(number, _)| number).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(!dir.path().join("port").exists());
}

#[tokio::test]
async fn a_link_of_before_is_replaced_and_a_file_never() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("port");
    std::os::unix::fs::symlink("/nowhere", &path).unwrap();
    drop(Stage::new(Place::Pty(path.clone())).open().await.unwrap());
    std::fs::write(&path, "mine").unwrap();
    let refused = Stage::new(Place::Pty(path.clone())).open().await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(std::fs::read(&path).unwrap(), b"mine");
}

#[tokio::test]
async fn over_udp_nothing_is_sent_before_somebody_asked_and_then_to_whoever_asked_last() {
    let mut line = Stage::new(Place::Udp("127.0.0.1:0".parse().unwrap())).open().await.unwrap();
    let Line::Udp { socket, .. } = &line else { panic!("no datagrams") };
    let address = socket.local_addr().unwrap();
    assert!(line.write(b"early").await.unwrap());
    for name in [b"a", b"b"] {
        let asker = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        asker.send_to(name, address).await.unwrap();
        assert_eq!(line.read().await.unwrap(), name);
        line.write(b"answer").await.unwrap();
        let mut answer = [0; 16];
        assert_eq!(asker.recv(&mut answer).await.unwrap(), 6);
    }
}

/// Takes so many messages of a device and acknowledges each.
async fn acknowledging(listener: TcpListener, count: usize) -> Vec<String> {
    let mut socket = listener.accept().await.unwrap().0;
    let mut messages = Vec::new();
    while messages.len() < count {
        let message = block(&mut socket).await.trim_matches(['\x0b', '\x1c', '\r']).to_owned() + "\r";
        let id = crate::hl7v2::header(message.as_bytes()).unwrap().control_id.to_string();
        messages.push(message);
        let ack = format!("MSH|^~\\&|B||||20260314083000||ACK|9|P|2.6\rMSA|AA|{id}\r");
        socket.write_all(&mllp::wrap(ack.as_bytes())).await.unwrap();
    }
    messages
}

const NOW: i64 = 1_773_477_000_000_000;

/// What a box makes of twelve messages of a monitor whose clock jumps after the tenth: how many carry the device's time,
/// what was found, and whether the desk says that the clock is wrong after the tenth and after the last.
async fn jumped(faults: &str) -> (usize, Vec<&'static str>, [bool; 2]) {
    let library = Library::embedded().unwrap();
    let profile = library.find("ihe/pcd01-monitor").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = Place::Dial(listener.local_addr().unwrap().to_string());
    let play = Play {
        speaker: speaker(&profile, &[]).unwrap(),
        script: Script::of(&library, &profile.id, 1).unwrap(),
        faults: FaultyLine::new(faults.parse().unwrap(), 1),
        every: Duration::ZERO,
        count: Some(12),
    };
    let clock = TestClock::at(NOW);
    let (_switch, stop) = Stop::pair();
    let (_, messages) =
        tokio::join!(play.run(place, clock.clone(), stop, |_, _| ()), acknowledging(listener, 12));
    let live = Live::with_clock_limit(clock.clone(), 120);
    let page = ProfileView::default();
    let received = clock.now();
    let context = LinkContext::new("bed", "UTC", received).unwrap();
    let (mut own, mut found, mut wrong) = (0, Vec::new(), Vec::new());
    for (number, message) in messages.iter().enumerate() {
        let decoded = profile.decode(message.as_bytes(), None, &context);
        assert_eq!(decoded.held, None);
        found.extend(decoded.findings.iter().map(|finding| finding.code));
        let distrusted = decoded.findings.iter().any(|finding| finding.code == "future-time");
        for report in &decoded.reports {
            own += usize::from(report.measurements.iter().all(|m| m.taken.source == ClockSource::Device));
            live.report(
                report,
                &Sighting { link: "bed", profile: &page, received, bound_patient: None, distrusted },
            );
        }
        if number == 9 || number == 11 {
            wrong.push(live.clocks().iter().any(|(.., clock)| clock.wrong));
        }
    }
    found.sort_unstable();
    found.dedup();
    (own, found, wrong.try_into().unwrap())
}

#[tokio::test]
async fn a_clock_that_jumped_is_told_and_one_that_jumped_far_is_not_believed() {
    assert_eq!(jumped("").await, (12, Vec::new(), [false, false]));
    assert_eq!(jumped("clock-jump=1h").await, (12, Vec::new(), [false, true]));
    assert_eq!(jumped("clock-jump=2d").await, (10, vec!["future-time", "no-time"], [false, true]));
}
