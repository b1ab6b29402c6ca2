//! Real sockets against an intake that the test holds in its hand.

use std::io::ErrorKind;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch::Sender;
use tokio::task::JoinHandle;

use super::super::rig::FakeIntake;
use super::*;
use crate::clock::TestClock;
use crate::wire::mllp::wrap;

const ORU: &str =
    "MSH|^~\\&|MON|WARD|||20261122120000+0000||ORU^R01^ORU_R01|ID7|P|2.6\rPID|||X1\rOBX|1|NM|a||98\r";

fn config(text: &str) -> Config {
    toml::from_str(&format!("listen = \"127.0.0.1:0\"\n{text}")).unwrap()
}

struct Ward {
    intake: Arc<FakeIntake>,
    address: SocketAddr,
    stop: Sender<bool>,
    task: JoinHandle<()>,
}

async fn ward(intake: Arc<FakeIntake>, settings: &str) -> Ward {
    let (switch, stop) = Stop::pair();
    let clock = TestClock::at(1_800_000_000_000_000);
    let task = tokio::spawn(run("mllp".into(), config(settings), intake.clone(), clock, stop));
    let address = intake.address().await;
    Ward { intake, address, stop: switch, task }
}

impl Ward {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
}

/// Reads until `count` end blocks came.
async fn answers(socket: &mut TcpStream, count: usize) -> Vec<String> {
    let mut bytes = Vec::new();
    while bytes.iter().filter(|byte| **byte == 0x1C).count() < count {
        let read = tokio::time::timeout(Duration::from_secs(5), socket.read_buf(&mut bytes)).await;
        assert_ne!(read.expect("no answer within 5 s").unwrap(), 0, "closed after {}", bytes.len());
    }
    let text = String::from_utf8(bytes).unwrap();
    text.split_terminator("\x1c\r").map(|block| block.strip_prefix('\x0b').unwrap().to_owned()).collect()
}

async fn silent(socket: &mut TcpStream) -> bool {
    let mut byte = [0];
    tokio::time::timeout(Duration::from_millis(100), socket.read(&mut byte)).await.is_err()
}

async fn closed(socket: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(5), socket.read_to_end(&mut rest)).await;
    let read = read.expect("still open after 5 s");
    rest.is_empty() && read.is_ok_or_reset()
}

trait OkOrReset {
    fn is_ok_or_reset(&self) -> bool;
}

impl OkOrReset for std::io::Result<usize> {
    fn is_ok_or_reset(&self) -> bool {
        self.as_ref().err().is_none_or(|error| error.kind() == ErrorKind::ConnectionReset)
    }
}

#[test]
fn the_config_is_strict_and_names_what_it_does_not_know() {
    assert_eq!(config("").max_connections, 1024);
    assert_eq!(config("").max_message_bytes, 16 * 1024 * 1024);
    let error =
        toml::from_str::<Config>("listen = \"0.0.0.0:1\"\nmax_conections = 1").unwrap_err().to_string();
    assert!(error.contains("max_conections"), "{error}");
    assert!(toml::from_str::<Config>("listen = \"everywhere\"").is_err());
    assert!(toml::from_str::<Config>("listen = \"0.0.0.0:1\"\nallow = [\"ward\"]").is_err());
}

#[tokio::test]
async fn the_answer_leaves_only_after_the_message_is_kept() {
    let ward = ward(FakeIntake::shut(), "").await;
    let mut sender = ward.connect().await;
    sender.write_all(&wrap(ORU.as_bytes())).await.unwrap();
    ward.intake.until("a frame", |intake| intake.messages() == [ORU]).await;
    assert!(silent(&mut sender).await);
    ward.intake.let_through(1);
    let answer = answers(&mut sender, 1).await.remove(0);
    assert!(answer.contains("\rMSA|AA|ID7"), "{answer}");
    assert!(answer.contains("ACK^R01"), "{answer}");
    let frame = ward.intake.frames.lock().unwrap()[0].clone();
    assert_eq!((&*frame.link, frame.received.micros), ("mllp", 1_800_000_000_000_000));
    assert_eq!(&*frame.peer, sender.local_addr().unwrap().to_string());
}

#[tokio::test]
async fn a_refused_message_is_answered_ar_when_full_and_ae_for_a_fault() {
    for (full, code) in [(true, "AR"), (false, "AE")] {
        let ward = ward(FakeIntake::refusing(1, full), "").await;
        let mut sender = ward.connect().await;
        for expected in [code, "AA"] {
            sender.write_all(&wrap(ORU.as_bytes())).await.unwrap();
            let answer = answers(&mut sender, 1).await.remove(0);
            assert!(answer.contains(&format!("\rMSA|{expected}|ID7")), "{answer}");
        }
    }
}

#[tokio::test]
async fn bytes_that_are_no_hl7_are_kept_and_answered_ar_without_a_control_id() {
    let ward = ward(FakeIntake::open(), "").await;
    let mut sender = ward.connect().await;
    sender.write_all(&wrap(b"HELLO")).await.unwrap();
    let answer = answers(&mut sender, 1).await.remove(0);
    assert!(answer.starts_with("MSH|") && answer.contains("\rMSA|AR||"), "{answer}");
    assert_eq!(ward.intake.messages(), ["HELLO"]);
}

#[tokio::test]
async fn pipelined_messages_are_kept_together_and_answered_in_order_each_with_its_own_id() {
    let ward = ward(FakeIntake::shut(), "").await;
    let mut sender = ward.connect().await;
    let all: Vec<u8> = (0..200).flat_map(|n| wrap(ORU.replace("ID7", &format!("N{n}")).as_bytes())).collect();
    sender.write_all(&all).await.unwrap();
    ward.intake.until("64 in flight", |intake| intake.messages().len() == 64).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(ward.intake.messages().len(), 64, "the number in flight is bounded");
    ward.intake.let_through(200);
    let answers = answers(&mut sender, 200).await;
    for (n, answer) in answers.iter().enumerate() {
        assert!(answer.contains(&format!("\rMSA|AA|N{n}\r")), "{n}: {answer}");
    }
}

#[tokio::test]
async fn a_message_over_the_limit_is_answered_ar_and_the_connection_goes_on() {
    let ward = ward(FakeIntake::open(), "max_message_bytes = 1000").await;
    let mut sender = ward.connect().await;
    sender.write_all(&wrap(&[ORU.as_bytes(), &[b'x'; 2000]].concat())).await.unwrap();
    sender.write_all(&wrap(ORU.as_bytes())).await.unwrap();
    let answers = answers(&mut sender, 2).await;
    assert!(
        answers[0].contains("\rMSA|AR|ID7") && answers[0].contains("limit of 1000 bytes"),
        "{}",
        answers[0]
    );
    assert!(answers[1].contains("\rMSA|AA|ID7"));
    assert_eq!((ward.intake.codes(), ward.intake.messages().len()), (vec!["oversize"], 1));
}

#[tokio::test]
async fn an_endless_message_closes_its_connection_and_no_other() {
    let ward = ward(FakeIntake::open(), "max_message_bytes = 1000").await;
    let (mut endless, mut other) = (ward.connect().await, ward.connect().await);
    drop(endless.write_all(&[b"\x0bMSH|".as_slice(), &[b'x'; 6000]].concat()).await);
    assert!(closed(&mut endless).await);
    other.write_all(&wrap(ORU.as_bytes())).await.unwrap();
    assert_eq!(answers(&mut other, 1).await.len(), 1);
}

#[tokio::test]
async fn one_connection_more_than_the_limit_is_closed_and_named() {
    let ward = ward(FakeIntake::open(), "max_connections = 64").await;
    let mut senders = Vec::new();
    for _ in 0..64 {
        senders.push(ward.connect().await);
    }
    let full =
        |intake: &FakeIntake| matches!(intake.last_state(), Some(LinkState::Up { connections: 64, .. }));
    ward.intake.until("64 connections", full).await;
    let mut one_more = ward.connect().await;
    assert!(closed(&mut one_more).await);
    assert!(ward.intake.notes.lock().unwrap()[0].1.contains("limit of 64 connections"));
    senders.pop();
    ward.intake.until("a free place", |intake| !full(intake)).await;
    let mut sender = ward.connect().await;
    sender.write_all(&wrap(ORU.as_bytes())).await.unwrap();
    assert_eq!(answers(&mut sender, 1).await.len(), 1);
}

#[tokio::test]
async fn a_half_message_before_the_close_is_noted_and_not_kept() {
    let ward = ward(FakeIntake::open(), "").await;
    let mut sender = ward.connect().await;
    sender.write_all(b"\x0bMSH|^~\\&|half").await.unwrap();
    drop(sender);
    ward.intake.until("a note", |intake| intake.codes() == ["half-message"]).await;
    assert_eq!(ward.intake.messages().len(), 0);
}

#[tokio::test]
async fn a_sender_that_closed_its_half_still_gets_its_answers() {
    let ward = ward(FakeIntake::shut(), "").await;
    let mut sender = ward.connect().await;
    sender.write_all(&wrap(ORU.as_bytes())).await.unwrap();
    sender.shutdown().await.unwrap();
    ward.intake.until("a frame", |intake| intake.messages().len() == 1).await;
    ward.intake.let_through(1);
    assert!(answers(&mut sender, 1).await[0].contains("MSA|AA|ID7"));
}

#[tokio::test]
async fn who_is_not_allowed_is_closed_and_named() {
    let ward = ward(FakeIntake::open(), "allow = [\"10.0.0.0/8\"]").await;
    assert!(closed(&mut ward.connect().await).await);
    assert_eq!(ward.intake.codes(), ["peer-not-allowed"]);
}

#[tokio::test]
async fn a_silent_connection_is_closed_after_the_idle_timeout() {
    let ward = ward(FakeIntake::open(), "idle_timeout_s = 1").await;
    let mut sender = ward.connect().await;
    sender.write_all(&wrap(ORU.as_bytes())).await.unwrap();
    answers(&mut sender, 1).await;
    assert!(closed(&mut sender).await);
    assert_eq!(ward.intake.codes(), ["idle-timeout"]);
}

#[tokio::test]
async fn stopping_answers_what_was_taken_and_then_closes() {
    let ward = ward(FakeIntake::shut(), "").await;
    let (mut sender, mut idle) = (ward.connect().await, ward.connect().await);
    sender.write_all(&wrap(ORU.as_bytes())).await.unwrap();
    ward.intake.until("a frame", |intake| intake.messages().len() == 1).await;
    ward.stop.send(true).unwrap();
    assert!(closed(&mut idle).await);
    assert!(silent(&mut sender).await);
    ward.intake.let_through(1);
    assert!(answers(&mut sender, 1).await[0].contains("MSA|AA|ID7"));
    ward.task.await.unwrap();
    assert_eq!(ward.intake.last_state(), Some(LinkState::Stopped));
}

#[tokio::test]
async fn a_port_in_use_is_tried_again_until_it_is_free() {
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = other.local_addr().unwrap();
    let intake = FakeIntake::open();
    let (_switch, stop) = Stop::pair();
    let config = Config { side: Side::Listen(address), ..config("") };
    tokio::spawn(run("mllp".into(), config, intake.clone(), TestClock::at(0), stop));
    let retrying = |intake: &FakeIntake| matches!(intake.last_state(), Some(LinkState::Retrying { detail }) if detail.contains("another program"));
    intake.until("the reason", retrying).await;
    drop(other);
    assert_eq!(intake.address().await, address);
}

#[tokio::test]
async fn a_message_cut_at_any_byte_is_one_message() {
    let ward = ward(FakeIntake::open(), "").await;
    let mut sender = ward.connect().await;
    sender.set_nodelay(true).unwrap();
    let block = wrap(ORU.as_bytes());
    for at in 0..block.len() {
        sender.write_all(&block[..at]).await.unwrap();
        tokio::task::yield_now().await;
        sender.write_all(&block[at..]).await.unwrap();
        assert!(answers(&mut sender, 1).await[0].contains("MSA|AA|ID7"), "cut at {at}");
    }
    assert!(ward.intake.messages().iter().all(|message| message == ORU));
    assert!(ward.intake.codes().is_empty());
}

/// A device that listens, as Nihon Kohden monitors do; the box is the one that calls.
#[tokio::test]
async fn a_device_that_is_the_server_is_called_again_and_answered_on_the_same_connection() {
    let device = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let intake = FakeIntake::open();
    let text = format!("connect = \"{}\"", device.local_addr().unwrap());
    let config: Config = toml::from_str(&text).unwrap();
    let (switch, stop) = Stop::pair();
    let clock = TestClock::at(1_800_000_000_000_000);
    let task = tokio::spawn(run("nk".into(), config, intake.clone(), clock, stop));
    for _ in 0..2 {
        let (mut socket, _) =
            tokio::time::timeout(Duration::from_secs(10), device.accept()).await.expect("a call").unwrap();
        socket.write_all(&wrap(ORU.as_bytes())).await.unwrap();
        assert!(answers(&mut socket, 1).await[0].contains("\rMSA|AA|ID7\r"));
        // The device hangs up; the box calls again.
        drop(socket);
    }
    switch.send(true).unwrap();
    tokio::time::timeout(Duration::from_secs(10), task).await.expect("it stops").unwrap();
}

#[tokio::test]
async fn a_link_answers_as_its_policy_says() {
    for (policy, conditions, answered) in [
        ("always", "NE|NE", "AA"),
        ("always", "AL|NE", "CA"),
        ("original", "AL|NE", "AA"),
        ("enhanced", "|", "CA"),
        ("never", "AL|AL", ""),
        ("msh", "NE|NE", ""),
        ("msh", "AL|NE", "CA"),
        ("msh", "|", "AA"),
        // Analysers that put another number there still wait.
        ("msh", "|0", "AA"),
    ] {
        let ward = ward(FakeIntake::open(), &format!("acknowledge = \"{policy}\"")).await;
        let mut socket = ward.connect().await;
        let message = ORU.replace("|P|2.6", &format!("|P|2.6|||{conditions}"));
        socket.write_all(&wrap(message.as_bytes())).await.unwrap();
        if answered.is_empty() {
            assert!(silent(&mut socket).await, "{policy} {conditions}");
        } else {
            let said = answers(&mut socket, 1).await.remove(0);
            assert!(said.contains(&format!("MSA|{answered}|ID7")), "{policy} {conditions}: {said}");
        }
        ward.stop.send(true).unwrap();
        ward.task.await.unwrap();
    }
}

#[tokio::test]
async fn a_query_gets_its_own_acknowledgement_then_its_answer_and_what_became_of_it_is_told() {
    use crate::connector::Reply;

    let intake = FakeIntake::open();
    let ward = ward(intake.clone(), "").await;
    let mut socket = ward.connect().await;
    let reply = Reply {
        acknowledgement: Some(b"MSH|^~\\&|||||1||QCK^Q02|1|P|2.3.1\rMSA|AA|Q1\r".to_vec()),
        message: b"MSH|^~\\&|||||1||DSR^Q03|D1|P|2.3.1\r".to_vec(),
        reference: "7".into(),
    };
    *intake.reply.lock().unwrap() = Some(reply);
    socket.write_all(&wrap(b"MSH|^~\\&|A||||1||QRY^Q02|Q1|P|2.3.1\rQRD|1\r")).await.unwrap();
    let said = answers(&mut socket, 2).await;
    assert!(said[0].contains("QCK^Q02") && said[1].contains("DSR^Q03"), "{said:?}");
    socket.write_all(&wrap(b"MSH|^~\\&|A||||1||ACK^Q03|Q2|P|2.3.1\rMSA|AA|D1\r")).await.unwrap();
    intake.until("told", |intake| !intake.replied.lock().unwrap().is_empty()).await;
    assert_eq!(*intake.replied.lock().unwrap(), [(Arc::from("7"), Ok(()))]);
    assert!(silent(&mut socket).await, "an acknowledgement is not acknowledged");
    assert_eq!(intake.messages().len(), 1, "nor kept");
    ward.stop.send(true).unwrap();
    ward.task.await.unwrap();
}

#[tokio::test]
async fn a_late_acknowledgement_is_kept_and_not_answered() {
    let intake = FakeIntake::open();
    let ward = ward(intake.clone(), "").await;
    let mut socket = ward.connect().await;
    socket.write_all(&wrap(b"MSH|^~\\&|A||||1||ACK^Q03|Q2|P|2.3.1\rMSA|AA|D1\r")).await.unwrap();
    intake.until("kept", |intake| intake.messages().len() == 1).await;
    assert!(silent(&mut socket).await);
    ward.stop.send(true).unwrap();
    ward.task.await.unwrap();
}
