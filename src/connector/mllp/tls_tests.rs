//! Encrypted links and crowded ones, with real sockets.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch::Sender;

use super::super::rig::FakeIntake;
use super::*;
use crate::clock::TestClock;
use crate::tls::rig::{Authority, Issued};
use crate::tls::{Settings, Words};
use crate::wire::mllp::wrap;

const WORDS: Words<'static> = Words { other: "the box", plain: "no tls" };

fn message(id: &str) -> Vec<u8> {
    wrap(format!("MSH|^~\\&|MON|WARD|||20261122120000+0000||ORU^R01^ORU_R01|{id}|P|2.6\rOBX|1\r").as_bytes())
}

struct Ward {
    intake: Arc<FakeIntake>,
    address: SocketAddr,
    _stop: Sender<bool>,
}

async fn ward(settings: &str, tls: Option<Settings>) -> Ward {
    let (stop, listens) = Stop::pair();
    let intake = FakeIntake::open();
    let config: Config = toml::from_str(&format!("listen = \"127.0.0.1:0\"\n{settings}")).unwrap();
    let config = Config { tls, ..config };
    tokio::spawn(run("mllp".into(), config, intake.clone(), TestClock::at(0), listens));
    let address = intake.address().await;
    Ward { intake, address, _stop: stop }
}

/// Sends one message and reads until an end block came.
async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(io: &mut S, id: &str) -> std::io::Result<String> {
    io.write_all(&message(id)).await?;
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\x1c\r") {
        let read = tokio::time::timeout(Duration::from_secs(5), io.read_buf(&mut bytes)).await;
        if read.expect("no answer within 5 s")? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(String::from_utf8(bytes).unwrap())
}

/// A monitor that shows `shown` and trusts `authority`: its answer, or why there was none.
async fn monitor(ward: &Ward, authority: &Authority, shown: Option<&Issued>) -> Result<String, String> {
    let settings =
        Settings { ca_file: authority.ca_file(), ..shown.map(Issued::settings).unwrap_or_default() };
    let socket = TcpStream::connect(ward.address).await.unwrap();
    let mut stream = tls::call(&settings, "gateway.ward", socket, WORDS).await?;
    exchange(&mut stream, "ID7").await.map_err(|error| tls::explain(&error, "", WORDS))
}

#[tokio::test]
async fn a_link_with_certificates_takes_messages_only_from_whom_it_knows() {
    let (ours, other) = (Authority::new("Clinic"), Authority::new("Other"));
    let own = ours.issue("gateway.ward", 2090);
    let (right, revoked) = (ours.issue("monitor-7.ward", 2090), ours.issue("monitor-7.ward", 2090));
    let (stranger, expired) = (ours.issue("monitor-8.ward", 2090), ours.issue("monitor-7.ward", 2021));
    let foreign = other.issue("monitor-7.ward", 2090);
    let ward = ward(
        "",
        Some(Settings {
            ca_file: ours.ca_file(),
            crl_file: ours.revoke(&[&revoked]),
            peers: vec![right.fingerprint.clone(), expired.fingerprint.clone()],
            ..own.settings()
        }),
    )
    .await;
    let faults = [None, Some(&foreign), Some(&expired), Some(&revoked), Some(&stranger)];
    for shown in faults {
        monitor(&ward, &ours, shown).await.unwrap_err();
    }
    let mut plain = TcpStream::connect(ward.address).await.unwrap();
    assert!(exchange(&mut plain, "ID7").await.is_err(), "an encrypted link takes nothing plain");
    ward.intake.until("six notes", |intake| intake.codes().len() == faults.len() + 1).await;
    assert!(ward.intake.codes().iter().all(|code| *code == "tls-refused"), "{:?}", ward.intake.codes());
    assert_eq!(ward.intake.messages().len(), 0, "nothing of a stranger is kept");

    let answer = monitor(&ward, &ours, Some(&right)).await.unwrap();
    assert!(answer.contains("\rMSA|AA|ID7\r"), "{answer}");
    let said = ward
        .intake
        .states
        .lock()
        .unwrap()
        .iter()
        .any(|state| matches!(state, LinkState::Up { detail, .. } if detail.ends_with(", TLS")));
    assert!(said);
}

#[tokio::test]
async fn a_port_that_should_be_encrypted_is_never_opened_plain() {
    let ours = Authority::new("Clinic");
    let own = ours.issue("gateway.ward", 2090);
    let missing = Settings { cert_file: Some("/nowhere/cert.pem".into()), ..own.settings() };
    let (switch, stop) = Stop::pair();
    let intake = FakeIntake::open();
    let config: Config = toml::from_str("listen = \"127.0.0.1:0\"").unwrap();
    let config = Config { tls: Some(missing), ..config };
    let task = tokio::spawn(run("mllp".into(), config, intake.clone(), TestClock::at(0), stop));
    let told = |intake: &FakeIntake| matches!(intake.last_state(), Some(LinkState::Retrying { detail }) if detail.contains("/nowhere/cert.pem"));
    intake.until("the file's name", told).await;
    switch.send(true).unwrap();
    task.await.unwrap();
    assert_eq!(intake.last_state(), Some(LinkState::Stopped));
}

#[tokio::test]
async fn a_device_that_is_called_is_known_by_its_certificate() {
    let (ours, other) = (Authority::new("Clinic"), Authority::new("Other"));
    for (own, taken) in [
        (ours.issue("localhost", 2090), true),
        (ours.issue("elsewhere", 2090), false),
        (ours.issue("localhost", 2021), false),
        (other.issue("localhost", 2090), false),
    ] {
        let device = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = ours.issue("gateway.ward", 2090);
        let acceptor = tls::Acceptor::new(Settings { ca_file: ours.ca_file(), ..own.settings() }).unwrap();
        let port = device.local_addr().unwrap().port();
        let config: Config = toml::from_str(&format!("connect = \"localhost:{port}\"")).unwrap();
        let config =
            Config { tls: Some(Settings { ca_file: ours.ca_file(), ..client.settings() }), ..config };
        let (_switch, stop) = Stop::pair();
        let intake = FakeIntake::open();
        tokio::spawn(run("nk".into(), config, intake.clone(), TestClock::at(0), stop));
        let (socket, _) = device.accept().await.unwrap();
        let answered = match acceptor.accept(socket, WORDS).await.0 {
            Ok(mut stream) => {
                exchange(&mut stream, "ID7").await.is_ok_and(|said| said.contains("MSA|AA|ID7"))
            }
            Err(_) => false,
        };
        assert_eq!((answered, intake.messages().len()), (taken, usize::from(taken)));
        if !taken {
            intake
                .until("a reason", |intake| {
                    intake.codes() == ["connection-lost"] || intake.last_state().is_some_and(
                |state| matches!(state, LinkState::Retrying { detail } if detail.contains("certificate")))
                })
                .await;
        }
    }
}

#[tokio::test]
async fn a_plain_link_says_that_it_is_not_encrypted() {
    let ward = ward("", None).await;
    let Some(LinkState::Up { detail, .. }) = ward.intake.last_state() else { panic!("not up") };
    assert!(detail.ends_with(", not encrypted"), "{detail}");
    let tls = "[tls]\ncert_file = \"c\"\nkey_file = \"k\"\n";
    let config: Config = toml::from_str(&format!("listen = \"127.0.0.1:0\"\n{tls}")).unwrap();
    assert_eq!(config.encrypted(), "TLS, for everybody");
    let half = toml::from_str::<Config>("listen = \"127.0.0.1:0\"\n[tls]\nca_file = \"a\"").unwrap_err();
    assert!(half.to_string().contains("cert_file"), "{half}");
}

#[tokio::test]
async fn senders_that_speak_at_once_each_get_their_own_answers_and_no_other() {
    let ward = ward("", None).await;
    let senders = (0..16).map(|sender| {
        let address = ward.address;
        tokio::spawn(async move {
            let mut socket = TcpStream::connect(address).await.unwrap();
            for number in 0..50 {
                // All senders count alike, as monitors of one make do; the sender is in MSH-3 only of the answer.
                let id = format!("S{sender}N{number}");
                let answer = exchange(&mut socket, &id).await.unwrap();
                assert!(answer.contains(&format!("\rMSA|AA|{id}\r")), "{answer}");
                assert_eq!(answer.matches("MSA|").count(), 1, "{answer}");
            }
            // Nothing is left over for it.
            let mut byte = [0];
            let more = tokio::time::timeout(Duration::from_millis(50), socket.read(&mut byte)).await;
            assert!(more.is_err(), "an answer of somebody else");
        })
    });
    for sender in senders.collect::<Vec<_>>() {
        sender.await.unwrap();
    }
    assert_eq!(ward.intake.messages().len(), 16 * 50);
}

#[tokio::test]
async fn five_hundred_slow_connections_do_not_hold_up_a_good_one() {
    let ward = ward("", None).await;
    let mut slow = Vec::new();
    for number in 0..500 {
        let mut socket = TcpStream::connect(ward.address).await.unwrap();
        // Silent ones, ones in the middle of a message, and ones that never read their answers.
        match number % 3 {
            0 => {}
            1 => socket.write_all(b"\x0bMSH|^~\\&|half a mess").await.unwrap(),
            _ => socket.write_all(&message(&format!("SLOW{number}"))).await.unwrap(),
        }
        slow.push(socket);
    }
    let kept = slow.len() / 3;
    ward.intake.until("the slow ones' whole messages", |intake| intake.messages().len() >= kept).await;
    let mut good = TcpStream::connect(ward.address).await.unwrap();
    for number in 0..20 {
        let id = format!("GOOD{number}");
        assert!(exchange(&mut good, &id).await.unwrap().contains(&format!("MSA|AA|{id}\r")));
        // The others go on dripping meanwhile.
        for socket in slow.iter_mut().skip(1).step_by(3) {
            socket.write_all(b"x").await.unwrap();
        }
    }
    assert!(ward.intake.codes().is_empty(), "{:?}", ward.intake.codes());
}

#[tokio::test]
async fn release_2_commits_with_a_character_and_acknowledges_with_a_message() {
    let ward = ward("commit_characters = true", None).await;
    let mut socket = TcpStream::connect(ward.address).await.unwrap();
    socket.write_all(&message("ID7")).await.unwrap();
    let mut bytes = Vec::new();
    while bytes.iter().filter(|byte| **byte == 0x1C).count() < 2 {
        assert_ne!(socket.read_buf(&mut bytes).await.unwrap(), 0);
    }
    assert!(bytes.starts_with(&[0x0B, 0x06, 0x1C, 0x0D, 0x0B, b'M']), "{bytes:?}");
    socket.write_all(&[0x0B, 0x06, 0x1C, 0x0D]).await.unwrap();
    assert!(exchange(&mut socket, "ID8").await.is_ok());
    assert_eq!(ward.intake.messages().len(), 2, "the sender's own commit is no message");
}

#[tokio::test]
async fn unfinished_messages_of_many_senders_do_not_fill_the_memory() {
    let ward = ward("", None).await;
    let mut slow = Vec::new();
    // 15 MB each, and none of them ends: together more than a link holds.
    let body = vec![b'x'; 15 << 20];
    for _ in 0..10 {
        let mut socket = TcpStream::connect(ward.address).await.unwrap();
        socket.write_all(b"\x0bMSH|^~\\&|A").await.unwrap();
        // The one that goes too far is closed while it writes.
        drop(socket.write_all(&body).await);
        slow.push(socket);
    }
    ward.intake.until("one is closed", |intake| intake.codes().contains(&"unfinished")).await;
    let mut good = TcpStream::connect(ward.address).await.unwrap();
    assert!(exchange(&mut good, "GOOD").await.unwrap().contains("MSA|AA|GOOD\r"));
    drop(slow);
}
