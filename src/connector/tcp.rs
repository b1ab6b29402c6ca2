//! Analysers and serial servers over TCP: any codec on a port of ours, or on one of theirs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::net::TcpStream;

use super::backoff::Backoff;
use super::door::{Door, Network, in_words};
use super::mllp::{acknowledger, idle_timeout_s, max_connections};
use super::stream::{Connection, Ended, Quiet};
use super::{Intake, LinkState, Stop};
use crate::clock::SharedClock;
use crate::wire::{Codec, Speech};

/// One device or several: exactly one of `listen` and `connect`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct Config {
    pub side: Side,
    /// Most connections at once, when listening.
    pub max_connections: u32,
    /// Closes a connection that was silent for so long, when listening; 0 never does.
    pub idle_timeout_s: u64,
    /// Says that the link is quiet when nothing came for so long, when connecting; 0 never does.
    pub quiet_timeout_s: u64,
    /// Who may connect, when listening; empty: everybody who reaches the port.
    pub allow: Vec<Network>,
}

/// Who calls whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Side {
    /// The device connects to this address of the box.
    Listen(SocketAddr),
    /// The box connects to the device: `host:port`.
    Connect(String),
}

/// The section as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    listen: Option<SocketAddr>,
    connect: Option<String>,
    #[serde(default = "max_connections")]
    max_connections: u32,
    #[serde(default = "idle_timeout_s")]
    idle_timeout_s: u64,
    #[serde(default)]
    quiet_timeout_s: u64,
    #[serde(default)]
    allow: Vec<Network>,
}

/// Why a section is no TCP link.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("a tcp link needs either `listen = \"0.0.0.0:PORT\"` or `connect = \"HOST:PORT\"`, and not both")]
    Side,
    #[error("`connect = \"{0}\"` is not HOST:PORT")]
    Connect(String),
}

impl TryFrom<Written> for Config {
    type Error = ConfigError;

    fn try_from(written: Written) -> Result<Self, ConfigError> {
        let side = match (written.listen, written.connect) {
            (Some(address), None) => Side::Listen(address),
            (None, Some(address)) => {
                let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty());
                if port.and_then(|(_, port)| port.parse::<u16>().ok()).is_none() {
                    return Err(ConfigError::Connect(address));
                }
                Side::Connect(address)
            }
            _ => return Err(ConfigError::Side),
        };
        Ok(Self {
            side,
            max_connections: written.max_connections,
            idle_timeout_s: written.idle_timeout_s,
            quiet_timeout_s: written.quiet_timeout_s,
            allow: written.allow,
        })
    }
}

/// Runs until it is time to stop; whatever fails is tried again, and the link's state says why.
pub async fn run(
    link: Arc<str>,
    config: Config,
    speech: Speech,
    intake: Arc<dyn Intake>,
    clock: SharedClock,
    stop: Stop,
) {
    let acknowledger = matches!(speech.codec, Codec::Mllp(_)).then(|| acknowledger(clock.clone()));
    let connection = Connection { acknowledger, ..Connection::new(&link, &intake, &clock) };
    match config.side {
        Side::Listen(address) => {
            let idle = (config.idle_timeout_s > 0).then(|| Duration::from_secs(config.idle_timeout_s));
            let (max_connections, allow) = (config.max_connections, config.allow);
            let door = Door { link, address, max_connections, allow, intake };
            let serve = |socket, peer, mut stop: Stop| {
                let connection = Connection { peer, idle, ..connection.clone() };
                let speech = speech.clone();
                async move {
                    drop(serve(&connection, socket, &speech, &mut stop).await);
                }
            };
            door.run(serve, stop).await;
        }
        Side::Connect(address) => call(connection, &address, config.quiet_timeout_s, &speech, stop).await,
    }
}

async fn serve(connection: &Connection, socket: TcpStream, speech: &Speech, stop: &mut Stop) -> Ended {
    drop(socket.set_nodelay(true));
    let ended = connection.drive(socket, speech.framer(), stop).await;
    if let Ended::Failed(reason) = &ended {
        let text = format!("A connection was lost: {reason}.");
        connection.intake.note(&connection.link, "connection-lost", &text);
    }
    ended
}

/// Connects, and connects again.
async fn call(connection: Connection, address: &str, quiet_s: u64, speech: &Speech, mut stop: Stop) {
    let (link, intake) = (connection.link.clone(), connection.intake.clone());
    let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
    intake.state(&link, LinkState::Starting);
    loop {
        let connected = tokio::select! {
            connected = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)) => connected,
            () = stop.wait() => break,
        };
        let detail = match connected {
            Ok(Ok(socket)) => {
                let up = LinkState::Up { detail: format!("connected to {address}"), connections: 1 };
                intake.state(&link, up.clone());
                let after = Duration::from_secs(quiet_s);
                let quiet = (quiet_s > 0).then(|| Quiet { after, up, gone: Arc::new(|| false) });
                let connection = Connection { peer: address.into(), quiet, ..connection.clone() };
                let since = tokio::time::Instant::now();
                let ended = serve(&connection, socket, speech, &mut stop).await;
                if since.elapsed() > LASTED {
                    backoff.reset();
                }
                match ended {
                    Ended::Stopped => break,
                    Ended::Closed => format!("{address} closed the connection"),
                    Ended::Failed(reason) => format!("the connection to {address} was lost: {reason}"),
                    Ended::GivenUp => format!("the connection to {address} was given up"),
                }
            }
            Ok(Err(error)) => format!("cannot connect to {address}: {}", in_words(&error)),
            Err(_) => format!("{address} does not answer"),
        };
        intake.state(&link, LinkState::Retrying { detail });
        tokio::select! {
            () = tokio::time::sleep(backoff.pause()) => {}
            () = stop.wait() => break,
        }
    }
    intake.state(&link, LinkState::Stopped);
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection that held this long was a good one.
const LASTED: Duration = Duration::from_secs(5);

#[cfg(test)]
#[path = "tcp_tests.rs"]
mod tests;
