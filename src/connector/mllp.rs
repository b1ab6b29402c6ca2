//! HL7 v2 senders over TCP: a port that takes MLLP, or a device that is called, and an answer to each message when it is
//! on disk.

mod acknowledge;
mod settings;

use std::sync::Arc;
use std::time::Duration;

pub use acknowledge::{Acknowledger, acknowledger};
pub use settings::{Config, ConfigError};
pub(super) use settings::{idle_timeout_s, max_connections};

use super::backoff::Backoff;
use super::call::{self, Dial, MakeFramer};
pub use super::call::{Side, SideError};
use super::door::Door;
pub use super::door::{Network, NetworkError};
use super::stream::Connection;
use super::{Intake, LinkState, Stop};
use crate::clock::SharedClock;
use crate::tls;
use crate::wire::mllp::MllpFramer;

/// Listens or calls until it is time to stop. Whatever fails is tried again; the link's state says why.
pub async fn run(link: Arc<str>, config: Config, intake: Arc<dyn Intake>, clock: SharedClock, stop: Stop) {
    let framing = config.framing();
    let policy = config.acknowledge.unwrap_or_default();
    let acknowledger = Some(acknowledge::of_policy(policy, clock.clone()));
    let connection = Connection { acknowledger, ..Connection::new(&link, &intake, &clock) };
    let encrypted = config.encrypted();
    let address = match config.side {
        Side::Listen(address) => address,
        Side::Connect(address) => {
            let framer: MakeFramer = Arc::new(move || Box::new(MllpFramer::new(framing.clone())));
            let (quiet_s, tls) = (config.quiet_timeout_s, config.tls);
            return Dial { connection, address, quiet_s, framer, tls, encrypted }.run(stop).await;
        }
    };
    let idle = (config.idle_timeout_s > 0).then(|| Duration::from_secs(config.idle_timeout_s));
    let (max_connections, allow) = (config.max_connections, config.allow);
    let tls = match config.tls {
        Some(settings) => match acceptor(&link, &intake, settings, stop.clone()).await {
            Some(acceptor) => Some(Arc::new(acceptor)),
            None => return intake.state(&link, LinkState::Stopped),
        },
        None => None,
    };
    let door = Door { link, address, max_connections, allow, intake, encrypted };
    let serve = |socket: tokio::net::TcpStream, peer: Arc<str>, mut stop: Stop| {
        let connection = Connection { peer, idle, ..connection.clone() };
        let framer = Box::new(MllpFramer::new(framing.clone()));
        let tls = tls.clone();
        async move {
            drop(call::serve(&connection, socket, tls.as_deref(), framer, &mut stop).await);
        }
    };
    door.run(serve, stop).await;
}

/// Reads the files of a `tls` section, again and again until they can be used: a port that should be encrypted is
/// never opened plain. `None` when it is time to stop.
async fn acceptor(
    link: &Arc<str>,
    intake: &Arc<dyn Intake>,
    settings: tls::Settings,
    mut stop: Stop,
) -> Option<tls::Acceptor> {
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(15));
    loop {
        match tls::Acceptor::new(settings.clone()) {
            Ok(acceptor) => return Some(acceptor),
            Err(fault) => {
                let detail = format!("TLS cannot be set up: {fault}");
                intake.state(link, LinkState::Retrying { detail });
            }
        }
        tokio::select! {
            () = tokio::time::sleep(backoff.pause()) => {}
            () = stop.wait() => return None,
        }
    }
}

#[cfg(test)]
#[path = "mllp_tests.rs"]
mod tests;
#[cfg(test)]
#[path = "mllp/tls_tests.rs"]
mod tls_tests;
