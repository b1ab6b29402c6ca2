//! One connection to a broker, from its first byte to its end.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::stream::{FuturesOrdered, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::packet::{ConnAck, Connect, Packet, Publish, QoS, Version, matches, reason};
use super::wire::{Arrival, Wire, WireError};
use super::{Config, INFLIGHT_BYTES, tls, words};
use crate::clock::SharedClock;
use crate::connector::{Frame, Intake, LinkState, Receipt, Stop};
use crate::secret::{SecretError, SecretStore};
use crate::wire::tape::Way;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// How long what is being kept may take when the gateway stops.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);
const SUBSCRIBE_PKID: u16 = 1;

/// Why a connection ended, in words for the desk.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("{0}")]
    Config(String),
    #[error("cannot reach {0}: {1}")]
    Unreachable(String, std::io::Error),
    #[error("{0} does not answer")]
    Timeout(String),
    #[error("{0}")]
    Tls(String),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Disconnected(String),
    #[error("no topic was granted: {0}")]
    NotGranted(String),
    #[error("the broker has been silent for {0} s")]
    Silent(u64),
    #[error("messages cannot be kept ({0}); the broker keeps them")]
    NotKept(String),
    /// Brokers that speak 3.1.1, and Mosquitto 2.0 in any version, close without a word when a session is taken.
    #[error(
        "the broker closed the connection (if this happens again and again, another client uses our client id \"{0}\")"
    )]
    Closed(String),
    #[error(transparent)]
    Wire(#[from] WireError),
}

/// What outlives a connection within one run of the process.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Our filters are in the session the broker keeps.
    subscribed: bool,
    /// Kept QoS 2 messages whose PUBREL has not come yet: a repetition of them is not a new message.
    unreleased: HashSet<u16>,
    /// The last connection was of use; the pause before the next one is short.
    pub(super) kept_something: bool,
}

/// What became of one PUBLISH.
struct Done {
    qos: QoS,
    pkid: u16,
    size: usize,
    receipt: Receipt,
}

pub(super) struct Session<'a> {
    link: &'a Arc<str>,
    config: &'a Config,
    client_id: &'a str,
    intake: &'a Arc<dyn Intake>,
    clock: &'a SharedClock,
    place: String,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl<'a> Session<'a> {
    pub(super) fn new(
        link: &'a Arc<str>,
        config: &'a Config,
        client_id: &'a str,
        intake: &'a Arc<dyn Intake>,
        clock: &'a SharedClock,
    ) -> Self {
        let place = format!("{}:{}", config.broker, config.port());
        Self { link, config, client_id, intake, clock, place }
    }

    /// Connects and serves until `stop` (then `Ok`) or trouble.
    pub(super) async fn run(
        self,
        secrets: &SecretStore,
        memory: &mut Memory,
        stop: &mut Stop,
    ) -> Result<(), Trouble> {
        let connecting = timeout(CONNECT_TIMEOUT, self.connect(secrets));
        let (wire, granted) = tokio::select! {
            connected = connecting => connected.map_err(|_| Trouble::Timeout(self.place.clone()))??,
            () = stop.wait() => return Ok(()),
        };
        if !granted.session_present {
            memory.subscribed = false;
            memory.unreleased.clear();
        }
        let keep_alive_s = granted.limits.keep_alive_s.unwrap_or(self.config.keep_alive_s).max(1);
        if self.config.version == Version::V5 && granted.limits.session_expiry_s == Some(0) {
            let text = "The broker keeps no session: what devices send while the gateway is away is lost.";
            self.intake.note(self.link, "no-session", text);
        }
        let now = Instant::now();
        let mut open = Open {
            keep_alive: Duration::from_secs(keep_alive_s.into()),
            keeping: FuturesOrdered::new(),
            keeping_bytes: 0,
            heard: now,
            sent: now,
            last_message: now,
            quiet: false,
            refused_topics: Vec::new(),
            session: &self,
            memory,
            wire,
        };
        open.subscribe().await?;
        open.show();
        match open.serve(stop).await {
            Err(Trouble::Wire(WireError::Closed)) => Err(Trouble::Closed(self.client_id.into())),
            ended => ended,
        }
    }

    async fn connect(&self, secrets: &SecretStore) -> Result<(Wire<Box<dyn Stream>>, ConnAck), Trouble> {
        let password = match &self.config.password_secret {
            Some(name) => Some(secrets.load(name)?),
            None => None,
        };
        let password = match &password {
            Some(secret) => Some(bytes::Bytes::copy_from_slice(secret.expose_text()?.as_bytes())),
            None => None,
        };
        let address = (self.config.broker.as_str(), self.config.port());
        let tcp = TcpStream::connect(address).await;
        let tcp = tcp.map_err(|error| Trouble::Unreachable(self.place.clone(), error))?;
        // An acknowledgement is small and must not wait for another one.
        drop(tcp.set_nodelay(true));
        let stream: Box<dyn Stream> =
            if self.config.tls { Box::new(self.secure(tcp).await?) } else { Box::new(tcp) };
        let mut wire = Wire::new(stream, self.config.version, self.config.max_packet_bytes as usize);
        wire.pass_over = true;
        wire.within(&self.intake.unfinished());
        let connect = Connect {
            client_id: self.client_id.into(),
            clean: false,
            keep_alive_s: self.config.keep_alive_s,
            user: self.config.username.clone(),
            password,
            session_expiry_s: self.config.session_expiry_s,
            receive_maximum: Some(self.config.max_inflight),
            max_packet_bytes: Some(self.config.max_packet_bytes),
            ..Connect::default()
        };
        wire.send(&Packet::Connect(Box::new(connect))).await?;
        match wire.next().await? {
            Arrival::Packet(Packet::ConnAck(ack)) if ack.reason == reason::SUCCESS => Ok((wire, *ack)),
            Arrival::Packet(Packet::ConnAck(ack)) => Err(Trouble::Refused(words::refused(ack.reason))),
            _ => Err(Trouble::Refused("what answers there is not an MQTT broker of this version".into())),
        }
    }

    async fn secure(&self, tcp: TcpStream) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Trouble> {
        let config = tls::client(self.config.ca_file.as_deref()).map_err(Trouble::Tls)?;
        let name = self.config.server_name.as_deref().unwrap_or(&self.config.broker);
        let server = rustls::pki_types::ServerName::try_from(name.to_owned())
            .map_err(|_| Trouble::Tls(format!("\"{name}\" is not a name a certificate can hold")))?;
        let connected = tokio_rustls::TlsConnector::from(config).connect(server, tcp).await;
        connected.map_err(|error| Trouble::Tls(tls::explain(&error, name)))
    }
}

type Keeping = std::pin::Pin<Box<dyn Future<Output = Done> + Send>>;

/// A connection whose CONNECT was accepted.
struct Open<'s, 'a> {
    session: &'s Session<'a>,
    memory: &'s mut Memory,
    wire: Wire<Box<dyn Stream>>,
    keep_alive: Duration,
    /// In the order of arrival: acknowledgements leave in it.
    keeping: FuturesOrdered<Keeping>,
    keeping_bytes: usize,
    heard: Instant,
    sent: Instant,
    last_message: Instant,
    quiet: bool,
    refused_topics: Vec<String>,
}

impl Open<'_, '_> {
    async fn serve(&mut self, stop: &mut Stop) -> Result<(), Trouble> {
        let mut beat = tokio::time::interval(self.keep_alive / 3);
        loop {
            let room = self.has_room();
            tokio::select! {
                () = stop.wait() => return self.leave().await,
                Some(done) = self.keeping.next(), if !self.keeping.is_empty() => self.answer(done).await?,
                arrival = self.wire.next(), if room => self.arrived(arrival?).await?,
                _ = beat.tick() => self.beat(room).await?,
            }
        }
    }

    fn has_room(&self) -> bool {
        self.keeping.len() < usize::from(self.session.config.max_inflight)
            && self.keeping_bytes < INFLIGHT_BYTES
    }

    /// Subscribes when the broker's session does not hold our filters yet. They may differ from those of an
    /// earlier run, so the first connection of a run always subscribes.
    async fn subscribe(&mut self) -> Result<(), Trouble> {
        if self.memory.subscribed {
            return Ok(());
        }
        let filters =
            self.session.config.topics.iter().map(|topic| (topic.clone(), QoS::AtLeastOnce)).collect();
        self.send(&Packet::Subscribe { pkid: SUBSCRIBE_PKID, filters }).await
    }

    fn granted(&mut self, codes: &[u8]) -> Result<(), Trouble> {
        let session = self.session;
        for (topic, code) in session.config.topics.iter().zip(codes) {
            if *code >= 0x80 {
                let told = format!("\"{topic}\": {}", words::not_granted(*code));
                session.intake.note(session.link, "topic-refused", &told);
                self.refused_topics.push(told);
            } else if *code == 0 {
                let told =
                    format!("\"{topic}\" was granted at QoS 0 only: messages on it can be lost on the way.");
                session.intake.note(session.link, "qos-lowered", &told);
            }
        }
        if self.refused_topics.len() >= session.config.topics.len() {
            return Err(Trouble::NotGranted(self.refused_topics.join("; ")));
        }
        self.memory.subscribed = true;
        self.show();
        Ok(())
    }

    fn show(&self) {
        let session = self.session;
        let secured = if session.config.tls { "TLS" } else { "not encrypted" };
        let mut detail = format!("{} ({}, {secured})", session.place, session.config.version);
        if !self.refused_topics.is_empty() {
            detail += &format!("; not granted: {}", self.refused_topics.join("; "));
        }
        let state =
            if self.quiet { LinkState::Quiet { detail } } else { LinkState::Up { detail, connections: 1 } };
        session.intake.state(session.link, state);
    }

    async fn send(&mut self, packet: &Packet) -> Result<(), Trouble> {
        self.sent = Instant::now();
        Ok(self.wire.send(packet).await?)
    }

    async fn arrived(&mut self, arrival: Arrival) -> Result<(), Trouble> {
        self.heard = Instant::now();
        match arrival {
            Arrival::Packet(Packet::Publish(publish)) => self.published(publish).await,
            Arrival::Packet(Packet::PubRel { pkid }) => {
                let known = self.memory.unreleased.remove(&pkid);
                self.send(&Packet::PubComp { pkid, known }).await
            }
            Arrival::Packet(Packet::SubAck { codes, .. }) => self.granted(&codes),
            Arrival::Packet(Packet::PingResp) => Ok(()),
            Arrival::Packet(Packet::Disconnect { reason }) => {
                Err(Trouble::Disconnected(words::disconnected(reason, self.session.client_id)))
            }
            Arrival::Packet(_) => {
                Err(Trouble::Disconnected("the broker sent a packet that makes no sense here".into()))
            }
            Arrival::Oversize { topic, qos, pkid, bytes } => self.oversize(&topic, qos, pkid, bytes).await,
        }
    }

    async fn published(&mut self, publish: Publish) -> Result<(), Trouble> {
        if publish.aliased || publish.topic.is_empty() {
            return Err(Trouble::Disconnected(
                "the broker used a topic alias, which we did not offer".into(),
            ));
        }
        self.last_message = Instant::now();
        if std::mem::take(&mut self.quiet) {
            self.show();
        }
        if publish.qos == QoS::ExactlyOnce && self.memory.unreleased.contains(&publish.pkid) {
            return self.send(&Packet::PubRec { pkid: publish.pkid, reason: reason::SUCCESS }).await;
        }
        let (qos, pkid, size) = (publish.qos, publish.pkid, publish.bytes.len());
        let frame = self.frame(publish);
        let intake = Arc::clone(self.session.intake);
        intake.crossed(&frame.link, &frame.peer, Way::In, frame.topic.as_deref(), &frame.bytes);
        self.keeping_bytes += size;
        self.keeping.push_back(Box::pin(async move {
            let receipt = intake.keep(frame).await;
            Done { qos, pkid, size, receipt }
        }));
        Ok(())
    }

    fn frame(&self, publish: Publish) -> Frame {
        let mut warnings = Vec::new();
        if publish.retain {
            let text = "The broker had stored this message: it may be old, and it may have been read before.";
            warnings.push(("retained", text.into()));
        }
        if !self.session.config.topics.iter().any(|filter| matches(&publish.topic, filter)) {
            let text = "The topic is not one of this link any more; the broker's session still holds it.";
            warnings.push(("unexpected-topic", text.into()));
        }
        let topic: Arc<str> = publish.topic.into();
        Frame {
            link: Arc::clone(self.session.link),
            peer: Arc::clone(&topic),
            received: self.session.clock.now(),
            bytes: publish.bytes,
            topic: Some(topic),
            // A stored message comes again with every new subscription.
            redelivered: publish.dup || publish.retain,
            warnings,
        }
    }

    /// Acknowledges what was kept, and what has been kept in the meantime, with one write.
    async fn answer(&mut self, first: Done) -> Result<(), Trouble> {
        let mut refused = None;
        let mut next = Some(first);
        while let Some(done) = next {
            self.keeping_bytes = self.keeping_bytes.saturating_sub(done.size);
            match done.receipt {
                Receipt::Kept { .. } => self.acknowledge(done.qos, done.pkid)?,
                Receipt::Refused { reason, .. } if done.qos == QoS::AtMostOnce => {
                    let text = format!("A message sent at QoS 0 could not be kept and is lost: {reason}");
                    self.session.intake.note(self.session.link, "lost-at-qos-0", &text);
                }
                Receipt::Refused { reason, .. } => {
                    refused = Some(reason);
                    break;
                }
            }
            next = self.keeping.next().now_or_never().flatten();
        }
        self.sent = Instant::now();
        self.wire.flush().await?;
        refused.map_or(Ok(()), |reason| Err(Trouble::NotKept(reason)))
    }

    fn acknowledge(&mut self, qos: QoS, pkid: u16) -> Result<(), Trouble> {
        self.memory.kept_something = true;
        let packet = match qos {
            QoS::AtMostOnce => return Ok(()),
            QoS::AtLeastOnce => Packet::PubAck { pkid, reason: reason::SUCCESS },
            QoS::ExactlyOnce => {
                self.memory.unreleased.insert(pkid);
                Packet::PubRec { pkid, reason: reason::SUCCESS }
            }
        };
        Ok(self.wire.put(&packet)?)
    }

    /// A broker that speaks 5 never sends what is larger than we said. From one that speaks 3.1.1 it is taken
    /// and told, because it would come first again after every reconnect and stop all that is behind it.
    async fn oversize(&mut self, topic: &str, qos: QoS, pkid: u16, bytes: usize) -> Result<(), Trouble> {
        let limit = self.session.config.max_packet_bytes;
        let text = format!(
            "A message of {bytes} bytes on \"{topic}\" is larger than max_packet_bytes = {limit} and was not read."
        );
        tracing::error!(link = %self.session.link, bytes, limit, "An MQTT message is too large and was not read.");
        self.session.intake.note(self.session.link, "oversize", &text);
        let receipt = Receipt::Kept { duplicate: true };
        self.keeping.push_back(Box::pin(async move { Done { qos, pkid, size: 0, receipt } }));
        Ok(())
    }

    async fn beat(&mut self, room: bool) -> Result<(), Trouble> {
        let now = Instant::now();
        if !room {
            // We are not listening, so silence says nothing about the broker.
            self.heard = now;
        }
        if now - self.heard > self.keep_alive * 3 / 2 {
            return Err(Trouble::Silent((now - self.heard).as_secs()));
        }
        if let Some(after) = self.session.config.quiet_timeout_s
            && !self.quiet
            && now - self.last_message > Duration::from_secs(after)
        {
            self.quiet = true;
            self.show();
        }
        // Asking early enough that the answer is here before the silence is too long.
        if now - self.heard > self.keep_alive / 2 || now - self.sent > self.keep_alive / 2 {
            return self.send(&Packet::PingReq).await;
        }
        Ok(())
    }

    /// Acknowledges what is still being kept, then says goodbye; the broker keeps the session.
    async fn leave(&mut self) -> Result<(), Trouble> {
        let finished = timeout(LEAVE_TIMEOUT, async {
            while let Some(done) = self.keeping.next().await {
                self.answer(done).await?;
            }
            self.send(&Packet::Disconnect { reason: reason::SUCCESS }).await
        });
        if let Ok(Err(trouble)) = finished.await {
            tracing::warn!(link = %self.session.link, %trouble, "MQTT link lost while stopping.");
        }
        // A broker that has not read our last acknowledgements before we are back would send those messages again.
        self.wire.finish().await;
        Ok(())
    }
}
