//! A device that calls, and a device that is called.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::super::LinkState;
use super::super::rig::FakeIntake;
use super::*;
use crate::clock::TestClock;
use crate::wire::Codec;
use crate::wire::astm::{AstmSender, Sending, Sent};

const RESULT: &[u8] = b"H|\\^&|||Lab\rR|1|^^^GLU|5.4|mmol/L\rL|1|N\r";

fn config(text: &str) -> Result<Config, toml::de::Error> {
    toml::from_str(text)
}

fn astm() -> Speech {
    toml::from_str::<Codec>("codec = \"astm\"").unwrap().into()
}

/// Plays an analyser to its end.
async fn send(socket: &mut TcpStream) {
    let mut sender = AstmSender::new(&[RESULT], &Sending::default(), Duration::ZERO);
    loop {
        match sender.step() {
            Some(Sent::Send(bytes)) => socket.write_all(&bytes).await.unwrap(),
            Some(Sent::Done) => return,
            Some(Sent::Failed(warning)) => panic!("{}", warning.text),
            None => {
                let byte = tokio::time::timeout(Duration::from_secs(5), socket.read_u8()).await;
                sender.feed(&[byte.expect("no answer").unwrap()], Duration::ZERO);
            }
        }
    }
}

#[test]
fn a_link_listens_or_connects_and_never_both() {
    let listen = config("listen = \"0.0.0.0:4001\"").unwrap();
    assert_eq!(listen.side, Side::Listen("0.0.0.0:4001".parse().unwrap()));
    let connect = config("connect = \"analyser.lab:4001\"\nquiet_timeout_s = 60").unwrap();
    assert_eq!((connect.side, connect.quiet_timeout_s), (Side::Connect("analyser.lab:4001".into()), 60));
    for (text, reason) in [
        ("", "either `listen"),
        ("listen = \"0.0.0.0:1\"\nconnect = \"a:1\"", "not both"),
        ("connect = \"analyser\"", "HOST:PORT"),
        ("connect = \":4001\"", "HOST:PORT"),
        ("listen = \"0.0.0.0:1\"\nhost = \"a\"", "host"),
    ] {
        let error = config(text).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
}

#[tokio::test]
async fn an_analyser_that_connects_delivers_its_message() {
    let intake = FakeIntake::open();
    let (_switch, stop) = Stop::pair();
    let listen = config("listen = \"127.0.0.1:0\"").unwrap();
    tokio::spawn(run("lab".into(), listen, astm(), intake.clone(), TestClock::at(0), stop));
    let address = intake.address().await;
    let (mut one, mut two) =
        (TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap());
    tokio::join!(send(&mut one), send(&mut two));
    assert_eq!(intake.messages(), [String::from_utf8_lossy(RESULT), String::from_utf8_lossy(RESULT)]);
}

#[tokio::test]
async fn a_device_that_is_called_is_called_again_after_it_hung_up() {
    let device = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let intake = FakeIntake::open();
    let (switch, stop) = Stop::pair();
    let connect = config(&format!("connect = \"{}\"", device.local_addr().unwrap())).unwrap();
    let task = tokio::spawn(run("lab".into(), connect, astm(), intake.clone(), TestClock::at(0), stop));
    for round in 1..=2 {
        let (mut socket, _) = device.accept().await.unwrap();
        send(&mut socket).await;
        drop(socket);
        intake.until("the hang-up", |intake| {
            let lost = |state: &&LinkState| matches!(state, LinkState::Retrying { detail } if detail.contains("closed"));
            intake.states.lock().unwrap().iter().filter(lost).count() == round
        }).await;
    }
    assert_eq!(intake.messages().len(), 2);
    drop(device);
    intake.until("a refusal", |intake| {
        matches!(intake.last_state(), Some(LinkState::Retrying { detail }) if detail.contains("cannot connect"))
    }).await;
    switch.send(true).unwrap();
    task.await.unwrap();
    assert_eq!(intake.last_state(), Some(LinkState::Stopped));
}

#[tokio::test]
async fn hl7_over_a_tcp_link_is_answered_like_on_an_mllp_port() {
    let intake = FakeIntake::open();
    let (_switch, stop) = Stop::pair();
    let listen = config("listen = \"127.0.0.1:0\"").unwrap();
    let codec = toml::from_str::<Codec>("codec = \"mllp\"").unwrap().into();
    tokio::spawn(run("hl7".into(), listen, codec, intake.clone(), TestClock::at(0), stop));
    let mut sender = TcpStream::connect(intake.address().await).await.unwrap();
    sender.write_all(b"\x0bMSH|^~\\&|A||||||ORU^R01|42|P|2.3.1\r\x1c\r").await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\x1c\r") {
        sender.read_buf(&mut answer).await.unwrap();
    }
    assert!(String::from_utf8(answer).unwrap().contains("MSA|AA|42"));
}
