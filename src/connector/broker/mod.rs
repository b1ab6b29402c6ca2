//! The broker a clinic without one switches on: devices publish, and what they publish is kept before it is
//! acknowledged.
//!
//! It is an intake, not a message bus. A ready-made broker (rumqttd) was tried and refused: it acknowledges
//! from memory, so a power cut between its PUBACK and our commit loses a message that the device has already
//! forgotten. Here PUBACK (QoS 1) and PUBREC (QoS 2) leave when the [`Intake`] has said *kept*. What follows
//! from that is deliberate: no retained messages (CONNACK says so to those who speak 5; the flag is ignored),
//! no queue for absent subscribers, and subscribers are served at QoS 0, for watching.
//!
//! | what became of a PUBLISH | MQTT 5 | MQTT 3.1.1 |
//! |---|---|---|
//! | kept | PUBACK/PUBREC 0x00 | PUBACK/PUBREC |
//! | not kept | PUBACK/PUBREC 0x97 quota exceeded | the connection is closed: the device sends again |
//! | no link claims the topic | PUBACK/PUBREC 0x10 no matching subscribers | PUBACK/PUBREC |
//!
//! Invariants: nobody publishes without a user and a password unless `anonymous = true` is written;
//! acknowledgements leave in the order of the PUBLISH packets (MQTT 5 §4.6); connections, packets, topics,
//! subscriptions, sessions and what waits for the disk have limits.

mod client;
mod hub;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use serde::Deserialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use self::hub::Hub;
use super::backoff::Backoff;
use super::mqtt::packet::{self, Publish};
use super::mqtt::tls;
use super::unfinished::Unfinished;
use super::{Frame, Intake, LinkState, Receipt, Stop};
use crate::clock::SharedClock;
use crate::secret::{Secret, SecretStore};
use crate::wire::tape::Way;

/// Under this name the broker notes what belongs to no link.
pub const NAME: &str = "broker";
/// Strangers who have connected and not yet shown a password.
const GREETING_MAX: usize = 16;
/// How long connections get to finish when the gateway stops.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(6);

/// The embedded broker.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// e.g. `0.0.0.0:1883`
    pub listen: SocketAddr,
    #[serde(default)]
    pub users: Vec<User>,
    /// Let devices publish without a password. Anyone on the network can then send values.
    #[serde(default)]
    pub anonymous: bool,
    /// Serve TLS with these files; without it everything travels in the clear.
    pub tls: Option<Tls>,
    /// Where the names of device sessions are kept, so that they go on after a power cut; the gateway puts it
    /// into its data folder. Without it sessions end with the process.
    pub session_file: Option<PathBuf>,
    #[serde(default = "defaults::max_connections")]
    pub max_connections: u16,
    #[serde(default = "defaults::max_packet_bytes")]
    pub max_packet_bytes: u32,
    /// Messages of one connection that wait for the disk at one time.
    #[serde(default = "defaults::max_inflight")]
    pub max_inflight: u16,
}

/// Who may connect.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    pub name: String,
    /// Name of the secret that holds the password.
    pub password_secret: String,
    /// May watch what others publish.
    #[serde(default)]
    pub subscribe: bool,
}

/// Certificate chain and private key, PEM.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
}

/// The topics whose messages are frames of a link.
#[derive(Clone, Debug)]
pub struct Claim {
    pub link: Arc<str>,
    pub topics: Vec<String>,
    /// Takes only what no other link claims.
    pub last: bool,
}

/// All claims on the broker; links come and go while it runs. Where filters of several links match, the first
/// wins.
#[derive(Clone, Debug, Default)]
pub struct Claims(Arc<RwLock<Vec<Claim>>>);

impl Claims {
    pub fn add(&self, claim: Claim) {
        let mut claims = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let at = claims.iter().position(|other| other.last && !claim.last).unwrap_or(claims.len());
        claims.insert(at, claim);
    }

    /// Takes back what a link claimed.
    pub fn remove(&self, link: &str) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).retain(|claim| &*claim.link != link);
    }

    fn links(&self) -> Vec<Arc<str>> {
        self.read().iter().map(|claim| claim.link.clone()).collect()
    }

    fn link_of(&self, topic: &str) -> Option<Arc<str>> {
        let claims = self.read();
        let fits = |claim: &&Claim| claim.topics.iter().any(|filter| packet::matches(topic, filter));
        claims.iter().find(fits).map(|claim| claim.link.clone())
    }

    fn read(&self) -> RwLockReadGuard<'_, Vec<Claim>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

mod defaults {
    pub(super) const fn max_connections() -> u16 {
        64
    }
    pub(super) const fn max_packet_bytes() -> u32 {
        1 << 20
    }
    pub(super) const fn max_inflight() -> u16 {
        32
    }
}

impl Config {
    /// What is wrong with this configuration, as a sentence.
    pub fn check(&self) -> Result<(), String> {
        if self.users.is_empty() && !self.anonymous {
            return Err("the broker has no users: add [[broker.users]], or write anonymous = true".into());
        }
        let mut names: Vec<&str> = self.users.iter().map(|user| user.name.as_str()).collect();
        names.sort_unstable();
        if names.iter().any(|name| name.is_empty())
            || names.windows(2).any(|pair| pair.first() == pair.last())
        {
            return Err("each user of the broker needs a name of its own".into());
        }
        if !(1024..=16 << 20).contains(&self.max_packet_bytes) {
            return Err("max_packet_bytes of the broker must lie between 1024 and 16777216".into());
        }
        if self.max_connections == 0 || self.max_inflight == 0 {
            return Err("max_connections and max_inflight of the broker must be above 0".into());
        }
        Ok(())
    }
}

/// Runs the broker for all links that claim topics on it, until `stop`. Faults are told and tried again.
pub async fn run(
    config: Config,
    claims: Claims,
    secrets: SecretStore,
    intake: Arc<dyn Intake>,
    clock: SharedClock,
    mut stop: Stop,
) {
    let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
    let tell = |state: &LinkState| {
        claims.links().iter().for_each(|link| intake.state(link, state.clone()));
    };
    tell(&LinkState::Starting);
    let started = loop {
        match Broker::start(&config, &claims, &secrets, &intake, &clock).await {
            Ok(started) => break started,
            Err(detail) => {
                tracing::error!(detail, "The MQTT broker cannot start; it is tried again.");
                tell(&LinkState::Retrying { detail });
            }
        }
        tokio::select! {
            () = tokio::time::sleep(backoff.pause()) => {}
            () = stop.wait() => return tell(&LinkState::Stopped),
        }
    };
    let (broker, listener, acceptor) = started;
    broker.show();
    broker.accept(listener, acceptor, stop).await;
    tell(&LinkState::Stopped);
}

/// A user as the broker checks it.
#[derive(Clone, Debug)]
struct Account {
    name: Arc<str>,
    password: Secret,
    subscribe: bool,
}

/// What all connections share.
struct Broker {
    config: Config,
    accounts: Vec<Account>,
    claims: Claims,
    intake: Arc<dyn Intake>,
    clock: SharedClock,
    hub: Hub,
    /// The bound of what all connections of the box hold.
    unfinished: Arc<Unfinished>,
    detail: String,
    connections: AtomicU32,
}

/// What became of one PUBLISH.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Kept,
    Refused(String),
    Nobody,
}

type Started = (Arc<Broker>, TcpListener, Option<tokio_rustls::TlsAcceptor>);

impl Broker {
    async fn start(
        config: &Config,
        claims: &Claims,
        secrets: &SecretStore,
        intake: &Arc<dyn Intake>,
        clock: &SharedClock,
    ) -> Result<Started, String> {
        config.check()?;
        let mut accounts = Vec::with_capacity(config.users.len());
        for user in &config.users {
            let password = secrets.load(&user.password_secret).map_err(|error| error.to_string())?;
            if password.expose_text().is_ok_and(str::is_empty) {
                return Err(format!("the password of broker user \"{}\" is empty", user.name));
            }
            accounts.push(Account { name: user.name.as_str().into(), password, subscribe: user.subscribe });
        }
        let acceptor = match &config.tls {
            Some(files) => Some(tls::server(&files.cert_file, &files.key_file)?.into()),
            None => None,
        };
        let hub = Self::sessions(config, intake);
        let listener = TcpListener::bind(config.listen).await;
        let listener = listener.map_err(|error| format!("cannot listen on {}: {error}", config.listen))?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        let secured = if acceptor.is_some() { "TLS" } else { "not encrypted" };
        let broker = Self {
            config: config.clone(),
            accounts,
            claims: claims.clone(),
            intake: Arc::clone(intake),
            clock: Arc::clone(clock),
            hub,
            unfinished: intake.unfinished(),
            detail: format!("embedded broker on {address} ({secured})"),
            connections: AtomicU32::new(0),
        };
        Ok((Arc::new(broker), listener, acceptor))
    }

    /// A session file that cannot be used must not keep devices out: it is moved aside and told.
    fn sessions(config: &Config, intake: &Arc<dyn Intake>) -> Hub {
        let now = tokio::time::Instant::now();
        Hub::open(config.session_file.as_deref(), now).unwrap_or_else(|detail| {
            tracing::error!(detail, "The MQTT broker begins without its sessions.");
            intake.note(NAME, "sessions-lost", &detail);
            if let Some(file) = &config.session_file {
                std::fs::rename(file, file.with_extension("damaged")).ok();
            }
            Hub::open(config.session_file.as_deref(), now).unwrap_or_default()
        })
    }

    /// Tells every link how many devices are connected.
    fn show(&self) {
        let connections = self.connections.load(Ordering::SeqCst);
        for link in self.claims.links() {
            self.intake.state(&link, LinkState::Up { detail: self.detail.clone(), connections });
        }
    }

    async fn accept(
        self: Arc<Self>,
        listener: TcpListener,
        acceptor: Option<tokio_rustls::TlsAcceptor>,
        mut stop: Stop,
    ) {
        let greeting = Arc::new(Semaphore::new(GREETING_MAX));
        let mut clients = JoinSet::new();
        let leaving = stop.clone();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                // Finished connections are taken away as they end.
                Some(_) = clients.join_next() => continue,
                () = stop.wait() => break,
            };
            let (tcp, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, most likely: leave the others time to end.
                    tracing::warn!(%error, "The MQTT broker cannot accept a connection.");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    continue;
                }
            };
            let permit = Arc::clone(&greeting).try_acquire_owned();
            let (Ok(permit), true) = (permit, clients.len() < usize::from(self.config.max_connections))
            else {
                self.intake.note(
                    NAME,
                    "too-many-connections",
                    "A connection was refused: too many are open.",
                );
                continue;
            };
            clients.spawn(Arc::clone(&self).welcome(tcp, peer, acceptor.clone(), permit, leaving.clone()));
        }
        drop(listener);
        drop(
            tokio::time::timeout(LEAVE_TIMEOUT, async { while clients.join_next().await.is_some() {} }).await,
        );
    }

    async fn welcome(
        self: Arc<Self>,
        tcp: TcpStream,
        peer: SocketAddr,
        acceptor: Option<tokio_rustls::TlsAcceptor>,
        permit: tokio::sync::OwnedSemaphorePermit,
        stop: Stop,
    ) {
        // An acknowledgement is small and must not wait for another one.
        drop(tcp.set_nodelay(true));
        let ended = match acceptor {
            None => client::serve(&self, tcp, permit, stop).await,
            Some(acceptor) => {
                match tokio::time::timeout(client::GREETING_TIMEOUT, acceptor.accept(tcp)).await {
                    Ok(Ok(stream)) => client::serve(&self, stream, permit, stop).await,
                    Ok(Err(error)) => Err(client::Trouble::Tls(error)),
                    Err(_) => Err(client::Trouble::TooSlow),
                }
            }
        };
        if let Err(trouble) = ended {
            tracing::info!(%peer, %trouble, "An MQTT client was disconnected.");
            self.intake.note(NAME, trouble.code(), &format!("{}: {trouble}", peer.ip()));
        }
    }

    /// Hands a message to the link that claims its topic, and shows it to those who watch.
    async fn keep(&self, publish: Arc<Publish>) -> Outcome {
        let outcome = match self.claims.link_of(&publish.topic) {
            None => {
                let topic: String = publish.topic.chars().take(128).collect();
                self.intake.note(NAME, "unclaimed-topic", &format!("No link reads the topic \"{topic}\"."));
                Outcome::Nobody
            }
            Some(link) => {
                let frame = self.frame(link, &publish);
                let topic = frame.topic.as_deref();
                self.intake.crossed(&frame.link, &frame.peer, Way::In, topic, &frame.bytes);
                match self.intake.keep(frame).await {
                    Receipt::Kept { .. } => Outcome::Kept,
                    Receipt::Refused { reason, .. } => Outcome::Refused(reason),
                }
            }
        };
        // A refused message comes again; those who watch see it then.
        if !matches!(outcome, Outcome::Refused(_)) {
            self.hub.show(&publish);
        }
        outcome
    }

    fn frame(&self, link: Arc<str>, publish: &Publish) -> Frame {
        let topic: Arc<str> = publish.topic.as_str().into();
        let mut warnings = Vec::new();
        if publish.retain {
            warnings.push((
                "retain-ignored",
                "The device asked to retain this message; this broker does not.".into(),
            ));
        }
        Frame {
            link,
            peer: Arc::clone(&topic),
            received: self.clock.now(),
            bytes: publish.bytes.clone(),
            topic: Some(topic),
            redelivered: publish.dup,
            warnings,
        }
    }

    /// The account of a user who knows the password. Takes the same time for a wrong name and a wrong password.
    fn account(&self, user: Option<&str>, password: Option<&[u8]>) -> Option<Account> {
        if user.is_none() && password.is_none() {
            let anyone = Account { name: "".into(), password: Secret::new(Vec::new()), subscribe: false };
            return self.config.anonymous.then_some(anyone);
        }
        let digest = |bytes: &[u8]| aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
        let shown = digest(password.unwrap_or_default());
        let mut found = None;
        for account in &self.accounts {
            let known = digest(account.password.expose_text().unwrap_or_default().as_bytes());
            // Digests have one length, so the comparison does not tell that of the password.
            let same =
                aws_lc_rs::constant_time::verify_slices_are_equal(shown.as_ref(), known.as_ref()).is_ok();
            if same && password.is_some() && user == Some(&*account.name) {
                found = Some(account.clone());
            }
        }
        found
    }
}

#[cfg(test)]
#[path = "broker_tests.rs"]
mod tests;
