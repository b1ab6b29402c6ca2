//! One MQTT connection as a stream of packets, with limits.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use super::packet::{Malformed, Packet, QoS, Version};
use crate::connector::unfinished::{Place, Unfinished};

/// Whoever does not take our bytes for this long is gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(20);
/// Of a message that is too large, only what tells its topic is looked at.
const HEAD_BYTES: usize = 2048;

/// Why there are no more packets.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    #[error("the connection was closed by the other side")]
    Closed,
    #[error("connection lost: {0}")]
    Io(#[from] std::io::Error),
    #[error("the other side does not take our answers")]
    WriteTimeout,
    #[error("malformed packet: {0}")]
    Malformed(#[from] Malformed),
    #[error("a packet of {bytes} bytes is larger than the limit of {limit} bytes")]
    TooLarge { bytes: usize, limit: usize },
    #[error("too many unfinished messages at once: this connection was closed")]
    Crowded,
}

/// What arrived.
#[derive(Debug)]
pub(crate) enum Arrival {
    Packet(Packet),
    /// A PUBLISH beyond the limit: its bytes are being passed over.
    Oversize {
        topic: String,
        qos: QoS,
        pkid: u16,
        bytes: usize,
    },
}

/// A connection that speaks MQTT.
pub(crate) struct Wire<S> {
    stream: S,
    inbox: BytesMut,
    outbox: BytesMut,
    /// Bytes of an oversize message that are still to be passed over.
    passing: usize,
    pub(crate) version: Version,
    /// Largest packet that is read, in bytes.
    pub(crate) limit_bytes: usize,
    /// Protocol level the first packet named; 4 and 5 are spoken here.
    pub(crate) level: u8,
    /// Pass over an oversize PUBLISH instead of giving up the connection.
    pub(crate) pass_over: bool,
    /// What it holds of the bound of the whole box.
    place: Option<Place>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(crate) fn new(stream: S, version: Version, limit_bytes: usize) -> Self {
        Self {
            stream,
            inbox: BytesMut::with_capacity(4096),
            outbox: BytesMut::new(),
            passing: 0,
            version,
            limit_bytes,
            level: 0,
            pass_over: false,
            place: None,
        }
    }

    /// Counts what has not become a packet against the bound of the whole box.
    pub(crate) fn within(&mut self, bound: &Arc<Unfinished>) {
        self.place = Some(bound.place());
    }

    /// The next packet. May be dropped at any point without losing bytes.
    pub(crate) async fn next(&mut self) -> Result<Arrival, WireError> {
        loop {
            if let Some(arrival) = self.take()? {
                return Ok(arrival);
            }
            self.more().await?;
        }
    }

    /// The first packet of a client, which also says the version: CONNECT or nothing.
    pub(crate) async fn first(&mut self) -> Result<Packet, WireError> {
        loop {
            if let Some(level) = protocol_level(&self.inbox)? {
                self.level = level;
                self.version = if level == 5 { Version::V5 } else { Version::V3 };
                if let Some(Arrival::Packet(packet)) = self.take()? {
                    return Ok(packet);
                }
            }
            // Whoever sends this much and no protocol name is not an MQTT client.
            if self.inbox.len() > self.limit_bytes {
                return Err(WireError::TooLarge { bytes: self.inbox.len(), limit: self.limit_bytes });
            }
            self.more().await?;
        }
    }

    async fn more(&mut self) -> Result<(), WireError> {
        // A burst of large packets must not hold its memory for ever.
        if self.inbox.is_empty() && self.inbox.capacity() > 256 * 1024 {
            self.inbox = BytesMut::with_capacity(4096);
        }
        self.inbox.reserve(4096);
        let Self { place, stream, inbox, .. } = self;
        // What became a packet since the last time is not counted any more.
        let fits = place.as_mut().is_none_or(|place| place.holds(inbox.len(), Instant::now()));
        if !fits {
            return Err(WireError::Crowded);
        }
        let read = match place.as_ref().filter(|place| place.is_great()) {
            None => stream.read_buf(inbox).await?,
            Some(place) => tokio::select! {
                () = place.has_to_go() => return Err(WireError::Crowded),
                read = stream.read_buf(inbox) => read?,
            },
        };
        let fits = self.place.as_mut().is_none_or(|place| place.holds(self.inbox.len(), Instant::now()));
        match read {
            0 => Err(WireError::Closed),
            _ if !fits => Err(WireError::Crowded),
            _ => Ok(()),
        }
    }

    fn take(&mut self) -> Result<Option<Arrival>, WireError> {
        if self.passing > 0 {
            let passed = self.passing.min(self.inbox.len());
            self.inbox.advance(passed);
            self.passing -= passed;
            if self.passing > 0 {
                return Ok(None);
            }
        }
        let Some(length) = packet_length(&self.inbox)? else { return Ok(None) };
        if length > self.limit_bytes {
            return self.take_oversize(length);
        }
        if self.inbox.len() < length {
            return Ok(None);
        }
        let mut whole = self.inbox.split_to(length);
        Ok(Some(Arrival::Packet(Packet::read(&mut whole, self.version)?)))
    }

    fn take_oversize(&mut self, length: usize) -> Result<Option<Arrival>, WireError> {
        let too_large = WireError::TooLarge { bytes: length, limit: self.limit_bytes };
        let is_publish = self.inbox.first().is_some_and(|first| first >> 4 == 3);
        if !self.pass_over || !is_publish {
            return Err(too_large);
        }
        let Some((topic, qos, pkid)) = publish_head(&self.inbox)? else {
            return if self.inbox.len() > HEAD_BYTES { Err(too_large) } else { Ok(None) };
        };
        self.passing = length;
        Ok(Some(Arrival::Oversize { topic, qos, pkid, bytes: length }))
    }

    /// Puts a packet into the outbox; [`Wire::flush`] sends it.
    pub(crate) fn put(&mut self, packet: &Packet) -> Result<(), WireError> {
        Ok(packet.write(&mut self.outbox, self.version)?)
    }

    /// Sends what is in the outbox.
    pub(crate) async fn flush(&mut self) -> Result<(), WireError> {
        if self.outbox.is_empty() {
            return Ok(());
        }
        let stream = &mut self.stream;
        let outbox = &mut self.outbox;
        let sent = tokio::time::timeout(WRITE_TIMEOUT, async {
            stream.write_all_buf(outbox).await?;
            stream.flush().await
        });
        sent.await.map_err(|_| WireError::WriteTimeout)??;
        Ok(())
    }

    /// Puts and sends one packet.
    pub(crate) async fn send(&mut self, packet: &Packet) -> Result<(), WireError> {
        self.put(packet)?;
        self.flush().await
    }

    /// Ends the connection in order: what was sent arrives before the end does.
    pub(crate) async fn close(&mut self) {
        // The other side may be gone already; there is nobody to tell.
        drop(tokio::time::timeout(Duration::from_secs(1), self.stream.shutdown()).await);
    }

    /// Ends the connection after a goodbye and waits until the other side has taken everything: it closes then.
    pub(crate) async fn finish(&mut self) {
        self.close().await;
        let gone = tokio::time::timeout(Duration::from_secs(2), async {
            while self.more().await.is_ok() {
                self.inbox.clear();
            }
        });
        // Whoever does not close in time has had its chance.
        gone.await.ok();
    }
}

/// Length of the packet at the start of `bytes` with its fixed header, once enough is there to know
/// (MQTT 5 §2.1.4: at most four bytes of seven bits).
fn packet_length(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    let mut remaining = 0usize;
    for (at, byte) in bytes.iter().skip(1).take(4).enumerate() {
        remaining |= usize::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(Some(2 + at + remaining));
        }
        if at == 3 {
            return Err(Malformed("the remaining length is longer than four bytes".into()));
        }
    }
    Ok(None)
}

/// Where the variable header begins.
fn header_length(bytes: &[u8]) -> usize {
    1 + bytes.iter().skip(1).take(4).take_while(|byte| *byte & 0x80 != 0).count() + 1
}

/// The protocol level of a CONNECT, once it is there.
fn protocol_level(bytes: &[u8]) -> Result<Option<u8>, WireError> {
    match bytes.first() {
        None => return Ok(None),
        Some(first) if first >> 4 != 1 => {
            return Err(Malformed("the first packet is not CONNECT".into()).into());
        }
        Some(_) => {}
    }
    if packet_length(bytes)?.is_none() {
        return Ok(None);
    }
    let name = bytes.get(header_length(bytes)..).unwrap_or_default();
    let [high, low, rest @ ..] = name else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    // `MQTT`, or `MQIsdp` of MQTT 3.1, which the codec refuses in its own words.
    if length > 8 {
        return Err(Malformed("the protocol name is not MQTT".into()).into());
    }
    Ok(rest.get(length).copied())
}

/// Topic, QoS and packet id of a PUBLISH of which only the beginning is there.
fn publish_head(bytes: &[u8]) -> Result<Option<(String, QoS, u16)>, Malformed> {
    let qos = match bytes.first().map_or(0, |first| first >> 1 & 3) {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        2 => QoS::ExactlyOnce,
        _ => return Err(Malformed("QoS 3 does not exist".into())),
    };
    let rest = bytes.get(header_length(bytes)..).unwrap_or_default();
    let [high, low, rest @ ..] = rest else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    let Some((topic, rest)) = rest.split_at_checked(length) else { return Ok(None) };
    let topic = String::from_utf8_lossy(topic).into_owned();
    match (qos, rest) {
        (QoS::AtMostOnce, _) => Ok(Some((topic, qos, 0))),
        (_, [high, low, ..]) => Ok(Some((topic, qos, u16::from_be_bytes([*high, *low])))),
        _ => Ok(None),
    }
}

/// Fuzz body: bytes of a stranger, as a client's first packets and as a broker's answers.
pub(crate) fn fuzz(bytes: &[u8]) {
    for version in [Version::V3, Version::V5] {
        let mut wire = Wire::new(tokio::io::empty(), version, 4096);
        wire.pass_over = bytes.len().is_multiple_of(2);
        wire.inbox.extend_from_slice(bytes);
        drop(protocol_level(bytes));
        while let Ok(Some(arrival)) = wire.take() {
            let Arrival::Packet(packet) = arrival else { continue };
            let mut written = BytesMut::new();
            if packet.write(&mut written, version).is_ok() {
                assert_eq!(packet_length(&written), Ok(Some(written.len())));
                assert!(Packet::read(&mut written, version).is_ok(), "{packet:?}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::packet::{Connect, Publish, reason};
    use super::*;

    fn publish(qos: QoS, size: usize) -> Packet {
        Packet::Publish(Publish {
            dup: false,
            qos,
            retain: false,
            topic: "a/b".into(),
            pkid: if qos == QoS::AtMostOnce { 0 } else { 9 },
            bytes: vec![b'x'; size].into(),
            aliased: false,
        })
    }

    #[tokio::test]
    async fn any_cut_of_the_bytes_yields_the_same_packets() {
        for version in [Version::V3, Version::V5] {
            let packets = [publish(QoS::AtLeastOnce, 300), Packet::PingReq, publish(QoS::AtMostOnce, 0)];
            let mut bytes = BytesMut::new();
            for packet in &packets {
                packet.write(&mut bytes, version).unwrap();
            }
            for cut in [1, 2, 3, 7, 64] {
                let (mut far, near) = tokio::io::duplex(64);
                let mut wire = Wire::new(near, version, 1024);
                let pieces: Vec<Vec<u8>> = bytes.chunks(cut).map(<[u8]>::to_vec).collect();
                let sender = tokio::spawn(async move {
                    for piece in pieces {
                        far.write_all(&piece).await.unwrap();
                    }
                });
                for packet in &packets {
                    assert!(matches!(wire.next().await.unwrap(), Arrival::Packet(read) if read == *packet));
                }
                sender.await.unwrap();
                assert!(matches!(wire.next().await, Err(WireError::Closed)));
            }
        }
    }

    #[tokio::test]
    async fn an_oversize_message_is_passed_over_and_the_next_is_read() {
        let (mut far, near) = tokio::io::duplex(1 << 16);
        let mut bytes = BytesMut::new();
        publish(QoS::AtLeastOnce, 5000).write(&mut bytes, Version::V3).unwrap();
        Packet::PingResp.write(&mut bytes, Version::V3).unwrap();
        far.write_all(&bytes).await.unwrap();
        let mut wire = Wire::new(near, Version::V3, 1000);
        wire.pass_over = true;
        let Arrival::Oversize { topic, qos, pkid, bytes } = wire.next().await.unwrap() else { panic!() };
        assert_eq!((topic.as_str(), qos, pkid, bytes), ("a/b", QoS::AtLeastOnce, 9, 5010));
        assert!(matches!(wire.next().await.unwrap(), Arrival::Packet(Packet::PingResp)));
    }

    #[tokio::test]
    async fn too_much_is_refused_before_it_is_read() {
        let (mut far, near) = tokio::io::duplex(64);
        far.write_all(&[0x82, 0xFF, 0xFF, 0xFF, 0x7F]).await.unwrap();
        let error = Wire::new(near, Version::V5, 1000).next().await.unwrap_err();
        assert!(matches!(error, WireError::TooLarge { bytes: 268_435_460, limit: 1000 }), "{error}");
        let (mut far, near) = tokio::io::duplex(64);
        far.write_all(&[0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x01]).await.unwrap();
        let error = Wire::new(near, Version::V5, 1000).next().await.unwrap_err();
        assert!(matches!(error, WireError::Malformed(_)), "{error}");
    }

    #[tokio::test]
    async fn the_first_packet_says_the_version() {
        for version in [Version::V3, Version::V5] {
            let (mut far, near) = tokio::io::duplex(256);
            let mut bytes = BytesMut::new();
            let connect = Connect { client_id: "c".into(), clean: true, ..Connect::default() };
            Packet::Connect(Box::new(connect)).write(&mut bytes, version).unwrap();
            far.write_all(&bytes).await.unwrap();
            let mut wire = Wire::new(near, Version::V3, 1000);
            assert!(matches!(wire.first().await.unwrap(), Packet::Connect(_)));
            assert_eq!(wire.version, version);
        }
        for stranger in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            b"\x16\x03\x01\x02\x00",
            b"\x10\x0c\x00\x06MQIsdp\x03\x02\0\0\0\0",
        ] {
            let (mut far, near) = tokio::io::duplex(256);
            far.write_all(stranger).await.unwrap();
            drop(far);
            assert!(Wire::new(near, Version::V3, 1000).first().await.is_err());
        }
    }

    #[test]
    fn no_bytes_break_the_codec() {
        let mut seeds = Vec::new();
        for version in [Version::V3, Version::V5] {
            let packets = [
                Packet::Connect(Box::new(Connect {
                    client_id: "c".into(),
                    user: Some("u".into()),
                    ..Connect::default()
                })),
                publish(QoS::ExactlyOnce, 3),
                Packet::Subscribe { pkid: 1, filters: vec![("a/#".into(), QoS::AtLeastOnce)] },
                Packet::Unsubscribe { pkid: 1, filters: vec!["a/#".into()] },
                Packet::SubAck { pkid: 1, codes: vec![0, 0x80] },
                Packet::UnsubAck { pkid: 1, existed: vec![true] },
                Packet::ConnAck(Box::default()),
                Packet::PubAck { pkid: 1, reason: reason::QUOTA_EXCEEDED },
                Packet::PubRel { pkid: 1 },
                Packet::Disconnect { reason: reason::MALFORMED },
            ];
            for packet in packets {
                let mut bytes = BytesMut::new();
                packet.write(&mut bytes, version).unwrap();
                seeds.push(bytes.to_vec());
            }
        }
        let mut state = 0x2545_F491_4F6C_DD1Du64;
        let mut next = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % below.max(1) as u64).unwrap()
        };
        for round in 0..60_000 {
            let mut bytes = seeds[round % seeds.len()].clone();
            for _ in 0..next(5) {
                let at = next(bytes.len());
                match next(5) {
                    0 => bytes[at] = u8::try_from(next(256)).unwrap(),
                    1 => bytes.truncate(at.max(1)),
                    2 => bytes.insert(at, [0, 0xFF, 0x26, 0x7F][next(4)]),
                    3 => bytes.extend_from_slice(&seeds[next(seeds.len())]),
                    // Keep the length right, so that the inside is reached.
                    _ if bytes.len() < 128 => {
                        bytes[1.min(at)] = u8::try_from(bytes.len().saturating_sub(2)).unwrap()
                    }
                    _ => {}
                }
            }
            fuzz(&bytes);
        }
    }
}
