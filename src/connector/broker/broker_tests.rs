use std::sync::Mutex;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

use super::*;
use crate::connector::Later;
use crate::connector::mqtt::packet::{ConnAck, Connect, Packet, QoS, Version, Will, reason};
use crate::connector::mqtt::wire::{Arrival, Wire, WireError};

fn config(text: &str) -> Config {
    toml::from_str(text).unwrap()
}

#[test]
fn nobody_gets_in_by_default() {
    let bare = config("listen = \"127.0.0.1:1883\"");
    assert!(bare.check().unwrap_err().contains("anonymous = true"));
    assert!(config("listen = \"127.0.0.1:1883\"\nanonymous = true").check().is_ok());
    let twice = "listen = \"127.0.0.1:1883\"\nusers = [{ name = \"a\", password_secret = \"s\" }, \
        { name = \"a\", password_secret = \"t\" }]";
    assert!(config(twice).check().unwrap_err().contains("name of its own"));
    assert!(toml::from_str::<Config>("listen = \"127.0.0.1:1883\"\nuser = []").is_err());
}

/// Keeps in memory what it is told to keep, when it is told.
struct Shelf {
    frames: Mutex<Vec<Frame>>,
    notes: Mutex<Vec<(&'static str, String)>>,
    /// Receipts wait while this is false.
    open: watch::Sender<bool>,
    full: Mutex<bool>,
}

impl Intake for Shelf {
    fn keep(&self, frame: Frame) -> Later<'_, Receipt> {
        Box::pin(async move {
            let mut open = self.open.subscribe();
            open.wait_for(|open| *open).await.unwrap();
            if *self.full.lock().unwrap() {
                return Receipt::Refused { full: true, reason: "the buffer is full".into() };
            }
            self.frames.lock().unwrap().push(frame);
            Receipt::Kept { duplicate: false }
        })
    }
    fn keep_part(&self, _: Frame) -> Later<'_, Receipt> {
        unreachable!("MQTT has no parts")
    }
    fn parts_broken(&self, _: Arc<str>, _: Arc<str>, _: String) -> Later<'_, ()> {
        unreachable!("MQTT has no parts")
    }
    fn note(&self, _: &str, code: &'static str, text: &str) {
        self.notes.lock().unwrap().push((code, text.into()));
    }
    fn state(&self, _: &str, _: LinkState) {}
}

struct House {
    shelf: Arc<Shelf>,
    broker: Arc<Broker>,
    address: SocketAddr,
    _stop: watch::Sender<bool>,
    _secrets: tempfile::TempDir,
}

async fn house() -> House {
    let secrets = tempfile::tempdir().unwrap();
    std::fs::write(secrets.path().join("ward"), "s3cret\n").unwrap();
    let store = SecretStore::new(Some(secrets.path().into()), None);
    let config = config(
        "listen = \"127.0.0.1:0\"\nmax_packet_bytes = 4096\nusers = [{ name = \"ward\", password_secret = \"ward\" }, \
         { name = \"desk\", password_secret = \"ward\", subscribe = true }]",
    );
    let claims = Claims::default();
    claims.add(Claim { link: "vitals".into(), topics: vec!["ward/#".into()], last: false });
    let shelf = Arc::new(Shelf {
        frames: Mutex::default(),
        notes: Mutex::default(),
        open: watch::channel(true).0,
        full: Mutex::new(false),
    });
    let intake: Arc<dyn Intake> = shelf.clone();
    let clock: SharedClock = crate::clock::TestClock::at(1);
    let (broker, listener, acceptor) =
        Broker::start(&config, &claims, &store, &intake, &clock).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (switch, stop) = Stop::pair();
    tokio::spawn(Arc::clone(&broker).accept(listener, acceptor, stop));
    House { shelf, broker, address, _stop: switch, _secrets: secrets }
}

fn greeting(user: &str) -> Connect {
    Connect {
        client_id: format!("{user}-1"),
        user: Some(user.into()),
        password: Some(Bytes::from_static(b"s3cret")),
        session_expiry_s: 600,
        ..Connect::default()
    }
}

struct Device(Wire<TcpStream>);

impl Device {
    async fn greet(house: &House, version: Version, connect: Connect) -> (Self, ConnAck) {
        let mut wire = Wire::new(TcpStream::connect(house.address).await.unwrap(), version, 1 << 16);
        wire.send(&Packet::Connect(Box::new(connect))).await.unwrap();
        let Arrival::Packet(Packet::ConnAck(ack)) = wire.next().await.unwrap() else { panic!("no CONNACK") };
        (Self(wire), *ack)
    }

    async fn new(house: &House, version: Version, user: &str) -> Self {
        let (device, ack) = Self::greet(house, version, greeting(user)).await;
        assert_eq!(ack.reason, reason::SUCCESS);
        device
    }

    async fn publish(&mut self, topic: &str, qos: QoS, pkid: u16, dup: bool) {
        let bytes = Bytes::from_static(b"{\"hr\":72}");
        let publish = Publish { dup, qos, retain: false, topic: topic.into(), pkid, bytes, aliased: false };
        self.0.send(&Packet::Publish(publish)).await.unwrap();
    }

    async fn next(&mut self) -> Packet {
        match self.try_next().await {
            Ok(Arrival::Packet(packet)) => packet,
            other => panic!("{other:?}"),
        }
    }

    async fn try_next(&mut self) -> Result<Arrival, WireError> {
        tokio::time::timeout(Duration::from_secs(5), self.0.next()).await.expect("the broker says nothing")
    }

    async fn is_silent(&mut self) -> bool {
        tokio::time::timeout(Duration::from_millis(150), self.0.next()).await.is_err()
    }
}

const BOTH: [Version; 2] = [Version::V3, Version::V5];

#[tokio::test]
async fn nothing_is_acknowledged_before_it_is_kept() {
    for version in BOTH {
        let house = house().await;
        let mut device = Device::new(&house, version, "ward").await;
        house.shelf.open.send_replace(false);
        device.publish("ward/7", QoS::AtLeastOnce, 1, false).await;
        device.publish("ward/7", QoS::ExactlyOnce, 2, false).await;
        assert!(device.is_silent().await);
        house.shelf.open.send_replace(true);
        assert_eq!(device.next().await, Packet::PubAck { pkid: 1, reason: 0 });
        assert_eq!(device.next().await, Packet::PubRec { pkid: 2, reason: 0 });
        let frames = house.shelf.frames.lock().unwrap();
        assert_eq!(frames.len(), 2);
        assert_eq!((&*frames[0].link, frames[0].topic.as_deref()), ("vitals", Some("ward/7")));
        assert_eq!(&frames[0].bytes[..], b"{\"hr\":72}");
    }
}

#[tokio::test]
async fn what_is_not_kept_is_refused_so_that_the_device_keeps_it() {
    let house = house().await;
    *house.shelf.full.lock().unwrap() = true;
    let mut device = Device::new(&house, Version::V5, "ward").await;
    device.publish("ward/7", QoS::AtLeastOnce, 1, false).await;
    assert_eq!(device.next().await, Packet::PubAck { pkid: 1, reason: reason::QUOTA_EXCEEDED });
    device.publish("ward/7", QoS::ExactlyOnce, 2, false).await;
    assert_eq!(device.next().await, Packet::PubRec { pkid: 2, reason: reason::QUOTA_EXCEEDED });
    let mut device = Device::new(&house, Version::V3, "ward").await;
    device.publish("ward/7", QoS::AtLeastOnce, 1, false).await;
    assert!(matches!(device.try_next().await, Err(WireError::Closed)));
    let mut device = Device::new(&house, Version::V3, "ward").await;
    device.publish("ward/7", QoS::AtMostOnce, 0, false).await;
    device.0.send(&Packet::PingReq).await.unwrap();
    assert_eq!(device.next().await, Packet::PingResp);
    assert!(house.shelf.notes.lock().unwrap().iter().any(|(code, _)| *code == "lost-at-qos-0"));
}

#[tokio::test]
async fn a_qos_2_message_is_kept_once_however_often_it_comes() {
    for version in BOTH {
        let house = house().await;
        let mut device = Device::new(&house, version, "ward").await;
        device.publish("ward/7", QoS::ExactlyOnce, 9, false).await;
        assert_eq!(device.next().await, Packet::PubRec { pkid: 9, reason: 0 });
        // The connection breaks before PUBREL; the device asks for its session and sends again.
        drop(device);
        let (mut device, ack) = Device::greet(&house, version, greeting("ward")).await;
        assert!(ack.session_present);
        device.publish("ward/7", QoS::ExactlyOnce, 9, true).await;
        assert_eq!(device.next().await, Packet::PubRec { pkid: 9, reason: 0 });
        device.0.send(&Packet::PubRel { pkid: 9 }).await.unwrap();
        assert_eq!(device.next().await, Packet::PubComp { pkid: 9, known: true });
        device.0.send(&Packet::PubRel { pkid: 9 }).await.unwrap();
        assert_eq!(device.next().await, Packet::PubComp { pkid: 9, known: version == Version::V3 });
        device.publish("ward/7", QoS::ExactlyOnce, 9, false).await;
        assert_eq!(device.next().await, Packet::PubRec { pkid: 9, reason: 0 });
        assert_eq!(house.shelf.frames.lock().unwrap().len(), 2, "a new exchange is a new message");
    }
}

#[tokio::test]
async fn a_topic_of_nobody_is_told_and_counted() {
    let house = house().await;
    let mut device = Device::new(&house, Version::V5, "ward").await;
    device.publish("kitchen/1", QoS::AtLeastOnce, 1, false).await;
    assert_eq!(device.next().await, Packet::PubAck { pkid: 1, reason: reason::NO_MATCHING_SUBSCRIBERS });
    let mut device = Device::new(&house, Version::V3, "ward").await;
    device.publish("kitchen/1", QoS::AtLeastOnce, 1, false).await;
    assert_eq!(device.next().await, Packet::PubAck { pkid: 1, reason: 0 });
    let notes = house.shelf.notes.lock().unwrap();
    assert_eq!(notes.iter().filter(|(code, _)| *code == "unclaimed-topic").count(), 2);
    assert!(house.shelf.frames.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_wrong_password_is_refused_in_the_words_of_each_version() {
    let house = house().await;
    let wrong = || Connect { password: Some(Bytes::from_static(b"s3cre")), ..greeting("ward") };
    let nameless = || Connect { user: None, password: None, ..greeting("ward") };
    let stranger = || Connect { user: Some("stranger".into()), ..greeting("ward") };
    let passwordless = || Connect { password: None, ..greeting("ward") };
    for version in BOTH {
        let (wrong, nameless, stranger, passwordless) = tokio::join!(
            Device::greet(&house, version, wrong()),
            Device::greet(&house, version, nameless()),
            Device::greet(&house, version, stranger()),
            Device::greet(&house, version, passwordless()),
        );
        assert_eq!(wrong.1.reason, reason::BAD_USER_OR_PASSWORD);
        assert_eq!(nameless.1.reason, reason::NOT_AUTHORIZED);
        assert_eq!(stranger.1.reason, reason::BAD_USER_OR_PASSWORD);
        assert_eq!(passwordless.1.reason, reason::BAD_USER_OR_PASSWORD);
    }
    assert_eq!(
        house.shelf.notes.lock().unwrap().iter().filter(|(code, _)| *code == "wrong-password").count(),
        8
    );
}

#[tokio::test]
async fn only_who_may_watch_can_watch() {
    let house = house().await;
    for version in BOTH {
        let mut device = Device::new(&house, version, "ward").await;
        let mut desk = Device::new(&house, version, "desk").await;
        let filters = || vec![("ward/#".into(), QoS::ExactlyOnce), ("$share/a/#".into(), QoS::AtMostOnce)];
        device.0.send(&Packet::Subscribe { pkid: 1, filters: filters() }).await.unwrap();
        let Packet::SubAck { codes, .. } = device.next().await else { panic!() };
        assert!(codes.iter().all(|code| *code >= 0x80), "{codes:?}");
        desk.0.send(&Packet::Subscribe { pkid: 1, filters: filters() }).await.unwrap();
        let Packet::SubAck { codes, .. } = desk.next().await else { panic!() };
        assert!(codes[0] == 0 && codes[1] >= 0x80, "{codes:?}");
        device.publish("ward/8", QoS::AtLeastOnce, 5, false).await;
        assert_eq!(device.next().await, Packet::PubAck { pkid: 5, reason: 0 });
        let Packet::Publish(shown) = desk.next().await else { panic!() };
        assert_eq!((shown.topic.as_str(), shown.qos), ("ward/8", QoS::AtMostOnce));
        desk.0.send(&Packet::Unsubscribe { pkid: 2, filters: vec!["ward/#".into()] }).await.unwrap();
        assert!(matches!(desk.next().await, Packet::UnsubAck { pkid: 2, .. }));
        device.publish("ward/8", QoS::AtMostOnce, 0, false).await;
        assert!(desk.is_silent().await);
    }
}

#[tokio::test]
async fn the_same_client_id_takes_over_and_a_lost_client_leaves_its_will() {
    let house = house().await;
    let will = Will { topic: "ward/lwt".into(), bytes: Bytes::from_static(b"offline") };
    let with_will = || Connect { will: Some(will.clone()), ..greeting("ward") };
    let (mut old, _) = Device::greet(&house, Version::V5, with_will()).await;
    let (new, ack) = Device::greet(&house, Version::V5, with_will()).await;
    assert!(ack.session_present);
    assert_eq!(old.next().await, Packet::Disconnect { reason: reason::SESSION_TAKEN_OVER });
    let frames = |expected: usize| {
        let shelf = Arc::clone(&house.shelf);
        async move {
            for _ in 0..100 {
                if shelf.frames.lock().unwrap().len() == expected {
                    return true;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            false
        }
    };
    assert!(frames(1).await, "the will of the connection that was taken over");
    drop(new);
    assert!(frames(2).await, "the will of the connection that broke");
    let (mut polite, _) = Device::greet(&house, Version::V5, with_will()).await;
    polite.0.send(&Packet::Disconnect { reason: 0 }).await.unwrap();
    assert!(matches!(polite.try_next().await, Err(WireError::Closed)));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(frames(2).await, "whoever says goodbye leaves no will");
    assert_eq!(house.broker.connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn silence_and_nonsense_end_the_connection() {
    let house = house().await;
    let (mut quiet, _) =
        Device::greet(&house, Version::V5, Connect { keep_alive_s: 1, ..greeting("ward") }).await;
    assert_eq!(quiet.next().await, Packet::Disconnect { reason: reason::KEEP_ALIVE_TIMEOUT });
    let mut large = Device::new(&house, Version::V5, "ward").await;
    let bytes = Bytes::from(vec![b'x'; 5000]);
    let publish = Publish {
        dup: false,
        qos: QoS::AtLeastOnce,
        retain: false,
        topic: "ward/1".into(),
        pkid: 1,
        bytes,
        aliased: false,
    };
    large.0.send(&Packet::Publish(publish)).await.unwrap();
    assert_eq!(large.next().await, Packet::Disconnect { reason: reason::PACKET_TOO_LARGE });
    let mut long = Device::new(&house, Version::V5, "ward").await;
    long.publish(&format!("ward/{}", "x".repeat(1100)), QoS::AtLeastOnce, 1, false).await;
    assert_eq!(long.next().await, Packet::Disconnect { reason: reason::TOPIC_NAME_INVALID });
    let mut odd = Device::new(&house, Version::V5, "ward").await;
    odd.0.send(&Packet::PingResp).await.unwrap();
    assert_eq!(odd.next().await, Packet::Disconnect { reason: reason::PROTOCOL_ERROR });
}

#[tokio::test]
async fn a_client_without_an_id_gets_one_or_is_told() {
    let house = house().await;
    let nameless = |clean| Connect { client_id: String::new(), clean, ..greeting("ward") };
    let (_, ack) = Device::greet(&house, Version::V5, nameless(false)).await;
    assert!(ack.limits.assigned_client_id.is_some() && ack.limits.retain_available == Some(false));
    // The codec does not write what is not allowed: protocol level, flags, keep-alive, an empty client id.
    for (connect, told) in
        [(&b"\x10\x0c\0\x04MQTT\x04\0\0\x1e\0\0"[..], 2), (b"\x10\x0e\0\x06MQIsdp\x03\x02\0\x1e\0\0", 1)]
    {
        let mut stream = TcpStream::connect(house.address).await.unwrap();
        stream.write_all(connect).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, [0x20, 2, 0, told]);
    }
    let (_, ack) = Device::greet(&house, Version::V3, nameless(true)).await;
    assert_eq!(ack.reason, reason::SUCCESS);
}

#[tokio::test]
async fn a_full_house_refuses_the_next_connection() {
    let house = house().await;
    let strangers: Vec<TcpStream> =
        futures_util::future::join_all((0..GREETING_MAX).map(|_| TcpStream::connect(house.address)))
            .await
            .into_iter()
            .map(Result::unwrap)
            .collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut wire = Wire::new(TcpStream::connect(house.address).await.unwrap(), Version::V5, 4096);
    assert!(wire.next().await.is_err());
    assert_eq!(house.shelf.notes.lock().unwrap()[0].0, "too-many-connections");
    drop(strangers);
}

#[tokio::test]
async fn a_damaged_session_file_keeps_no_device_out() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("sessions.json");
    std::fs::write(&file, "garbage").unwrap();
    let config = Config { session_file: Some(file.clone()), ..config("listen = \"127.0.0.1:0\"") };
    let house = house().await;
    let intake: Arc<dyn Intake> = house.shelf.clone();
    drop(Broker::sessions(&config, &intake));
    assert_eq!(house.shelf.notes.lock().unwrap()[0].0, "sessions-lost");
    assert!(!file.exists() && file.with_extension("damaged").exists());
}
