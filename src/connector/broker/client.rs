//! One client of the broker, from its greeting to its will.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::stream::{FuturesOrdered, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout};

use super::hub::Hold;
use super::{Account, Broker, Outcome};
use crate::connector::Stop;
use crate::connector::mqtt::INFLIGHT_BYTES;
use crate::connector::mqtt::packet::{
    ConnAck, Connect, Limits, Packet, Publish, QoS, Version, Will, reason, valid_filter,
};
use crate::connector::mqtt::wire::{Arrival, Wire, WireError};

pub(super) const GREETING_TIMEOUT: Duration = Duration::from_secs(10);
/// A stranger's CONNECT, with its will.
const GREETING_BYTES: usize = 64 << 10;
/// Whoever guesses passwords waits for each answer.
const WRONG_PASSWORD_PAUSE: Duration = Duration::from_secs(1);
const CLIENT_ID_BYTES: usize = 256;
const TOPIC_BYTES: usize = 1024;
const SUBSCRIPTIONS_MAX: usize = 32;
/// A week: a device that is away for longer begins anew.
const SESSION_EXPIRY_MAX_S: u32 = 7 * 24 * 3600;
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a connection ended otherwise than by DISCONNECT.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("TLS handshake failed: {0}")]
    Tls(std::io::Error),
    #[error("did not say CONNECT in time")]
    TooSlow,
    #[error("wrong user name or password")]
    WrongPassword,
    #[error("{0}")]
    Refused(&'static str),
    #[error("sent nothing for longer than its keep-alive")]
    Silent,
    #[error("another connection took over the session")]
    TakenOver,
    #[error("a message could not be kept: {0}")]
    NotKept(String),
    #[error("the topic is longer than 1024 bytes")]
    LongTopic,
    #[error("{0}")]
    Protocol(&'static str),
    #[error(transparent)]
    Wire(#[from] WireError),
}

impl Trouble {
    /// Stable code for counting.
    pub(super) const fn code(&self) -> &'static str {
        match self {
            Self::Tls(_) => "tls-failed",
            Self::TooSlow => "slow-greeting",
            Self::WrongPassword => "wrong-password",
            Self::Refused(_) => "refused",
            Self::Silent => "keep-alive",
            Self::TakenOver => "taken-over",
            Self::NotKept(_) => "not-kept",
            Self::LongTopic => "long-topic",
            Self::Protocol(_) | Self::Wire(WireError::Malformed(_)) => "malformed",
            Self::Wire(WireError::TooLarge { .. }) => "oversize",
            Self::Wire(WireError::Crowded) => "unfinished",
            Self::Wire(_) => "connection-lost",
        }
    }

    /// What DISCONNECT says of it (5 only).
    const fn reason(&self) -> u8 {
        match self {
            Self::Silent => reason::KEEP_ALIVE_TIMEOUT,
            Self::TakenOver => reason::SESSION_TAKEN_OVER,
            Self::NotKept(_) | Self::Wire(WireError::Crowded) => reason::QUOTA_EXCEEDED,
            Self::LongTopic => reason::TOPIC_NAME_INVALID,
            Self::Wire(WireError::TooLarge { .. }) => reason::PACKET_TOO_LARGE,
            Self::Wire(WireError::Malformed(_)) => reason::MALFORMED,
            _ => reason::PROTOCOL_ERROR,
        }
    }
}

/// How a connection ended in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// DISCONNECT. `will`: the client wants its will published all the same (5 only).
    Goodbye {
        will: bool,
    },
    Stopped,
}

/// Serves one client until it goes, and publishes its will when it was lost.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    broker: &Arc<Broker>,
    stream: S,
    permit: OwnedSemaphorePermit,
    mut stop: Stop,
) -> Result<(), Trouble> {
    let mut wire =
        Wire::new(stream, Version::V3, GREETING_BYTES.min(broker.config.max_packet_bytes as usize));
    wire.within(&broker.unfinished);
    let greeted = tokio::select! {
        greeted = greet(broker, &mut wire) => greeted,
        () = stop.wait() => return Ok(()),
    };
    let (connect, account) = match greeted {
        Ok(greeted) => greeted,
        Err(trouble) => {
            wire.close().await;
            return Err(trouble);
        }
    };
    drop(permit);
    wire.limit_bytes = broker.config.max_packet_bytes as usize;
    let expiry_s = connect.session_expiry_s.min(SESSION_EXPIRY_MAX_S);
    let client_id = if connect.client_id.is_empty() {
        format!("anonymous-{}", uuid::Uuid::new_v4().simple())
    } else {
        connect.client_id.clone()
    };
    let durable = expiry_s > 0 && !connect.client_id.is_empty() && !account.subscribe;
    let hold =
        broker.hub.hold((Arc::clone(&account.name), client_id), connect.clean, durable, Instant::now());
    if hold.to_save
        && let Err(error) = broker.hub.save().await
    {
        tracing::warn!(%error, "The MQTT broker cannot write its session file; sessions end with this process.");
    }
    broker.connections.fetch_add(1, Ordering::SeqCst);
    broker.show();
    let mut client = Client {
        broker,
        wire,
        account,
        hold,
        takes_bytes: connect.max_packet_bytes.map_or(usize::MAX, |limit| limit as usize),
        keep_alive: (connect.keep_alive_s > 0)
            .then(|| Duration::from_secs(connect.keep_alive_s.into()) * 3 / 2),
        keeping: FuturesOrdered::new(),
        keeping_bytes: 0,
        heard: Instant::now(),
    };
    let ended = match client.welcome(&connect, expiry_s).await {
        Ok(()) => client.run(&mut stop).await,
        Err(trouble) => Err(trouble),
    };
    client.end(&ended).await;
    broker.hub.release(&client.hold, expiry_s, Instant::now());
    broker.connections.fetch_sub(1, Ordering::SeqCst);
    broker.show();
    let lost = matches!(ended, Err(_) | Ok(End::Goodbye { will: true }));
    if let (true, Some(will)) = (lost, connect.will) {
        publish_will(broker, will).await;
    }
    match ended {
        // Closing without a word is how most devices leave.
        Ok(_) | Err(Trouble::Wire(WireError::Closed)) => Ok(()),
        Err(trouble) => Err(trouble),
    }
}

async fn publish_will(broker: &Broker, will: Will) {
    let publish = Publish {
        dup: false,
        qos: QoS::AtLeastOnce,
        retain: false,
        topic: will.topic,
        pkid: 0,
        bytes: will.bytes,
        aliased: false,
    };
    if let Outcome::Refused(words) = broker.keep(Arc::new(publish)).await {
        // Nobody is left to send it again.
        broker.intake.note(
            super::NAME,
            "will-lost",
            &format!("A will could not be kept and is lost: {words}"),
        );
    }
}

/// Reads CONNECT and checks who it is. Refusals are told to the client.
async fn greet<S: AsyncRead + AsyncWrite + Unpin>(
    broker: &Broker,
    wire: &mut Wire<S>,
) -> Result<(Connect, Account), Trouble> {
    let first = timeout(GREETING_TIMEOUT, wire.first()).await.map_err(|_| Trouble::TooSlow)?;
    let connect = match first {
        Ok(Packet::Connect(connect)) => *connect,
        Ok(_) => return Err(Trouble::Protocol("the first packet is not CONNECT")),
        Err(trouble) => {
            if let (WireError::Malformed(_), Some(code)) = (&trouble, told_of_malformed(wire.level)) {
                // Best effort: it is told why, and the connection ends in any case.
                wire.send(&refusal(code)).await.ok();
            }
            return Err(trouble.into());
        }
    };
    let refused = if connect.extended_authentication {
        Some((reason::BAD_AUTHENTICATION_METHOD, "asked for an extended authentication"))
    } else if connect.client_id.len() > CLIENT_ID_BYTES || connect.client_id.contains(char::is_control) {
        Some((
            reason::CLIENT_ID_NOT_VALID,
            "its client id is longer than 256 bytes or holds control characters",
        ))
    } else if connect.client_id.is_empty() && wire.version == Version::V3 && !connect.clean {
        // 3.1.1 §3.1.3.1: without a name there is no session to keep.
        Some((reason::CLIENT_ID_NOT_VALID, "has no client id and wants its session kept"))
    } else {
        None
    };
    if let Some((code, words)) = refused {
        wire.send(&refusal(code)).await?;
        return Err(Trouble::Refused(words));
    }
    match broker.account(connect.user.as_deref(), connect.password.as_deref()) {
        Some(account) => Ok((connect, account)),
        None => {
            tokio::time::sleep(WRONG_PASSWORD_PAUSE).await;
            let code =
                if connect.user.is_none() { reason::NOT_AUTHORIZED } else { reason::BAD_USER_OR_PASSWORD };
            wire.send(&refusal(code)).await?;
            Err(Trouble::WrongPassword)
        }
    }
}

/// What a client is told whose CONNECT cannot be read; nothing to who does not speak MQTT.
fn told_of_malformed(level: u8) -> Option<u8> {
    match level {
        // 3.1.1 has no word for it (§4.8): the connection is closed.
        0 | 4 => None,
        5 => Some(reason::MALFORMED),
        // 3.1.1 §3.1.2.2: whoever speaks another version is told so.
        _ => Some(reason::UNSUPPORTED_VERSION),
    }
}

fn refusal(code: u8) -> Packet {
    Packet::ConnAck(Box::new(ConnAck { reason: code, ..ConnAck::default() }))
}

type Keeping<'b> = std::pin::Pin<Box<dyn Future<Output = Done> + Send + 'b>>;

struct Done {
    qos: QoS,
    pkid: u16,
    size: usize,
    outcome: Outcome,
}

struct Client<'b, S> {
    broker: &'b Arc<Broker>,
    wire: Wire<S>,
    account: Account,
    hold: Hold,
    /// Largest packet the client takes (MQTT 5 §3.1.2.11.4).
    takes_bytes: usize,
    /// One and a half times what the client said (MQTT 5 §3.1.2.10).
    keep_alive: Option<Duration>,
    /// In the order of arrival: acknowledgements leave in it.
    keeping: FuturesOrdered<Keeping<'b>>,
    keeping_bytes: usize,
    heard: Instant,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<'_, S> {
    async fn welcome(&mut self, connect: &Connect, expiry_s: u32) -> Result<(), Trouble> {
        let config = &self.broker.config;
        let limits = Limits {
            session_expiry_s: (expiry_s != connect.session_expiry_s).then_some(expiry_s),
            receive_maximum: Some(config.max_inflight),
            max_packet_bytes: Some(config.max_packet_bytes),
            assigned_client_id: connect.client_id.is_empty().then(|| self.hold.key.1.clone()),
            keep_alive_s: None,
            retain_available: Some(false),
            shared_subscriptions: Some(false),
            subscription_ids: Some(false),
            reason_text: None,
        };
        let ack = ConnAck { session_present: self.hold.present, reason: reason::SUCCESS, limits };
        Ok(self.wire.send(&Packet::ConnAck(Box::new(ack))).await?)
    }

    async fn run(&mut self, stop: &mut Stop) -> Result<End, Trouble> {
        loop {
            let room = self.has_room();
            if !room {
                // We are not listening, so silence says nothing about the client.
                self.heard = Instant::now();
            }
            let silent = self.keep_alive.map(|keep_alive| self.heard + keep_alive);
            tokio::select! {
                () = stop.wait() => return Ok(End::Stopped),
                _ = &mut self.hold.ejected => return Err(Trouble::TakenOver),
                Some(done) = self.keeping.next(), if !self.keeping.is_empty() => self.answer(done).await?,
                Some(publish) = self.hold.watched.recv() => self.forward(&publish).await?,
                arrival = self.wire.next(), if room => {
                    if let Some(end) = self.arrived(arrival?).await? {
                        return Ok(end);
                    }
                }
                () = tokio::time::sleep_until(silent.unwrap_or_else(Instant::now)), if silent.is_some() && room => {
                    return Err(Trouble::Silent);
                }
            }
        }
    }

    fn has_room(&self) -> bool {
        self.keeping.len() < usize::from(self.broker.config.max_inflight)
            && self.keeping_bytes < INFLIGHT_BYTES
    }

    async fn arrived(&mut self, arrival: Arrival) -> Result<Option<End>, Trouble> {
        self.heard = Instant::now();
        let Arrival::Packet(packet) = arrival else { return Err(Trouble::Protocol("oversize")) };
        match packet {
            Packet::Publish(publish) => self.published(publish)?,
            Packet::PubRel { pkid } => {
                let known = self.broker.hub.released(&self.hold, pkid);
                self.wire.put(&Packet::PubComp { pkid, known })?;
            }
            Packet::Subscribe { pkid, filters } => {
                let codes = filters.into_iter().map(|(filter, _)| self.subscribe(filter)).collect();
                self.wire.put(&Packet::SubAck { pkid, codes })?;
            }
            Packet::Unsubscribe { pkid, filters } => {
                let existed =
                    filters.iter().map(|filter| self.broker.hub.unwatch(&self.hold, filter)).collect();
                self.wire.put(&Packet::UnsubAck { pkid, existed })?;
            }
            Packet::PingReq => self.wire.put(&Packet::PingResp)?,
            Packet::Disconnect { reason } => {
                return Ok(Some(End::Goodbye { will: reason == reason::DISCONNECT_WITH_WILL }));
            }
            _ => return Err(Trouble::Protocol("a packet that makes no sense here")),
        }
        self.wire.flush().await?;
        Ok(None)
    }

    fn subscribe(&self, filter: String) -> u8 {
        if !self.account.subscribe {
            return reason::NOT_AUTHORIZED;
        }
        if filter.starts_with("$share/") || filter.len() > TOPIC_BYTES || !valid_filter(&filter) {
            return reason::TOPIC_FILTER_INVALID;
        }
        match self.broker.hub.watch(&self.hold, filter, SUBSCRIPTIONS_MAX) {
            // Granted at QoS 0, whatever was asked: watching is not delivering.
            true => QoS::AtMostOnce as u8,
            false => reason::QUOTA_EXCEEDED,
        }
    }

    fn published(&mut self, publish: Publish) -> Result<(), Trouble> {
        if publish.aliased || publish.topic.is_empty() {
            return Err(Trouble::Protocol("used a topic alias, which was not offered"));
        }
        if publish.topic.len() > TOPIC_BYTES {
            return Err(Trouble::LongTopic);
        }
        let (qos, pkid, size) = (publish.qos, publish.pkid, publish.bytes.len());
        if qos == QoS::ExactlyOnce && self.broker.hub.is_kept(&self.hold, pkid) {
            self.wire.put(&Packet::PubRec { pkid, reason: reason::SUCCESS })?;
            return Ok(());
        }
        let broker = self.broker;
        self.keeping_bytes += size;
        self.keeping.push_back(Box::pin(async move {
            let outcome = broker.keep(Arc::new(publish)).await;
            Done { qos, pkid, size, outcome }
        }));
        Ok(())
    }

    /// Acknowledges what was kept, and what has been kept in the meantime, with one write.
    async fn answer(&mut self, first: Done) -> Result<(), Trouble> {
        let mut refused = None;
        let mut next = Some(first);
        while let Some(done) = next {
            self.keeping_bytes = self.keeping_bytes.saturating_sub(done.size);
            if let Err(trouble) = self.acknowledge(&done) {
                refused = Some(trouble);
                break;
            }
            next = self.keeping.next().now_or_never().flatten();
        }
        self.wire.flush().await?;
        refused.map_or(Ok(()), Err)
    }

    fn acknowledge(&mut self, done: &Done) -> Result<(), Trouble> {
        let pkid = done.pkid;
        let reason = match &done.outcome {
            Outcome::Kept => reason::SUCCESS,
            Outcome::Nobody => reason::NO_MATCHING_SUBSCRIBERS,
            Outcome::Refused(words) if done.qos == QoS::AtMostOnce => {
                let text = format!("A message sent at QoS 0 could not be kept and is lost: {words}");
                self.broker.intake.note(super::NAME, "lost-at-qos-0", &text);
                return Ok(());
            }
            // 3.1.1 has no negative acknowledgement; a closed connection makes the device send again.
            Outcome::Refused(words) if self.wire.version == Version::V3 => {
                return Err(Trouble::NotKept(words.clone()));
            }
            Outcome::Refused(_) => reason::QUOTA_EXCEEDED,
        };
        match done.qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => self.wire.put(&Packet::PubAck { pkid, reason })?,
            QoS::ExactlyOnce => {
                // A reason of 0x80 and above ends the exchange (MQTT 5 §4.3.3); else PUBREL follows.
                if reason < 0x80 {
                    self.broker.hub.kept(&self.hold, pkid);
                }
                self.wire.put(&Packet::PubRec { pkid, reason })?;
            }
        }
        Ok(())
    }

    async fn forward(&mut self, publish: &Publish) -> Result<(), Trouble> {
        // Fixed header, lengths and an empty list of properties take 8 bytes at most.
        if publish.topic.len() + publish.bytes.len() + 8 > self.takes_bytes {
            return Ok(());
        }
        let shown = Publish { dup: false, qos: QoS::AtMostOnce, retain: false, pkid: 0, ..publish.clone() };
        Ok(self.wire.send(&Packet::Publish(shown)).await?)
    }

    /// Acknowledges what is still being kept where that makes sense, and says why we go (5 only).
    async fn end(&mut self, ended: &Result<End, Trouble>) {
        let goodbye = match ended {
            Ok(End::Goodbye { .. }) | Err(Trouble::Wire(WireError::Closed | WireError::Io(_))) => {
                // It does not wait for answers, but what it sent must still be kept.
                drop(timeout(LEAVE_TIMEOUT, async { while self.keeping.next().await.is_some() {} }).await);
                None
            }
            Ok(End::Stopped) => {
                let answered = timeout(LEAVE_TIMEOUT, async {
                    while let Some(done) = self.keeping.next().await {
                        self.answer(done).await?;
                    }
                    Ok::<(), Trouble>(())
                });
                drop(answered.await);
                Some(reason::SERVER_SHUTTING_DOWN)
            }
            Err(trouble) => Some(trouble.reason()),
        };
        if let (Some(reason), Version::V5) = (goodbye, self.wire.version) {
            // The client may be gone already; there is nobody to tell.
            self.wire.send(&Packet::Disconnect { reason }).await.ok();
        }
        self.wire.close().await;
    }
}
