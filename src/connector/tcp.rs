//! Analysers and serial servers over TCP: any codec on a port of ours, or on one of theirs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::call::{self, Dial, MakeFramer};
pub use super::call::{Side, SideError};
use super::door::{Door, Network};
use super::mllp::{acknowledger, idle_timeout_s, max_connections};
use super::stream::Connection;
use super::{Intake, Stop};
use crate::clock::SharedClock;
use crate::wire::Speech;

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

impl TryFrom<Written> for Config {
    type Error = SideError;

    fn try_from(written: Written) -> Result<Self, SideError> {
        let side = Side::of("tcp", written.listen, written.connect)?;
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
    let acknowledger = acknowledger(&speech.codec, &clock);
    let connection = Connection { acknowledger, ..Connection::new(&link, &intake, &clock) };
    match config.side {
        Side::Listen(address) => {
            let idle = (config.idle_timeout_s > 0).then(|| Duration::from_secs(config.idle_timeout_s));
            let (max_connections, allow) = (config.max_connections, config.allow);
            let door = Door { link, address, max_connections, allow, intake, encrypted: "" };
            let serve = |socket, peer, mut stop: Stop| {
                let connection = Connection { peer, idle, ..connection.clone() };
                let speech = speech.clone();
                async move {
                    drop(call::serve(&connection, socket, None, speech.framer(), &mut stop).await);
                }
            };
            door.run(serve, stop).await;
        }
        Side::Connect(address) => {
            let framer: MakeFramer = Arc::new(move || speech.framer());
            let quiet_s = config.quiet_timeout_s;
            Dial { connection, address, quiet_s, framer, tls: None, encrypted: "" }.run(stop).await;
        }
    }
}

#[cfg(test)]
#[path = "tcp_tests.rs"]
mod tests;
