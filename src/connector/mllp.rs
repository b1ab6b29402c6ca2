//! HL7 v2 senders over TCP: a port that takes MLLP and answers each message when it is on disk.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Deserialize;

use super::door::Door;
pub use super::door::{Network, NetworkError};
use super::stream::{Connection, Ended};
use super::{Intake, Receipt, Stop};
use crate::clock::SharedClock;
use crate::hl7v2::{AckCode, acknowledge};
use crate::wire::mllp::{MllpFramer, Settings};

/// One port for any number of senders.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Address and port, e.g. `0.0.0.0:2575`.
    pub listen: SocketAddr,
    /// A longer message is answered AR and not kept.
    #[serde(default = "max_message_bytes")]
    pub max_message_bytes: usize,
    /// One more sender is let in and closed at once.
    #[serde(default = "max_connections")]
    pub max_connections: u32,
    /// Closes a connection that was silent for so long; 0 never does. Senders keep connections open over night.
    #[serde(default = "idle_timeout_s")]
    pub idle_timeout_s: u64,
    /// How long one message may take to arrive.
    #[serde(default = "message_timeout_s")]
    pub message_timeout_s: u64,
    /// For senders of bare HL7 without MLLP: see [`Settings::unframed_quiet_ms`].
    #[serde(default)]
    pub unframed_quiet_ms: Option<u64>,
    /// Who may connect; empty: everybody who reaches the port.
    #[serde(default)]
    pub allow: Vec<Network>,
}

fn max_message_bytes() -> usize {
    Settings::default().max_message_bytes
}

pub(super) fn max_connections() -> u32 {
    64
}

pub(super) fn idle_timeout_s() -> u64 {
    24 * 60 * 60
}

fn message_timeout_s() -> u64 {
    Settings::default().message_timeout_s
}

impl Config {
    fn framing(&self) -> Settings {
        Settings {
            max_message_bytes: self.max_message_bytes,
            message_timeout_s: self.message_timeout_s,
            unframed_quiet_ms: self.unframed_quiet_ms,
        }
    }
}

/// Writes the answer to a message whose receipt is known; `None` sends nothing.
pub type Acknowledger = Arc<dyn Fn(&[u8], &Receipt) -> Option<Vec<u8>> + Send + Sync>;

/// The answers of HL7's original mode: AA for what is kept, also when it was kept before; AR when the box is
/// full or the message too long; AE for a fault of the box. What has no MSH is kept for a person and answered
/// AR without MSA-2: there is nothing to name.
pub fn acknowledger(clock: SharedClock) -> Acknowledger {
    // Unique over restarts, and within the 20 characters that MSH-10 has in old versions.
    let control_id = AtomicU64::new(u64::try_from(clock.now().micros).unwrap_or(0));
    Arc::new(move |message, receipt| {
        let control_id = format!("{:X}", control_id.fetch_add(1, Ordering::Relaxed));
        let (code, text) = match receipt {
            Receipt::Kept { .. } => (AckCode::AA, ""),
            Receipt::Refused { full: true, reason } => (AckCode::AR, reason.as_str()),
            Receipt::Refused { full: false, reason } => (AckCode::AE, reason.as_str()),
        };
        let now = clock.now();
        acknowledge(message, code, text, &control_id, now)
            .or_else(|| acknowledge(HEADLESS, AckCode::AR, "no MSH segment", &control_id, now))
    })
}

/// The header a message without one would have had.
const HEADLESS: &[u8] = b"MSH|^~\\&|||||||ACK||P|2.3.1\r";

/// Listens until it is time to stop. A port that cannot be opened is tried again; the link's state says why.
pub async fn run(link: Arc<str>, config: Config, intake: Arc<dyn Intake>, clock: SharedClock, stop: Stop) {
    let acknowledger = acknowledger(clock.clone());
    run_with(link, config, acknowledger, intake, clock, stop).await;
}

/// [`run`] with answers of one's own.
pub async fn run_with(
    link: Arc<str>,
    config: Config,
    acknowledger: Acknowledger,
    intake: Arc<dyn Intake>,
    clock: SharedClock,
    stop: Stop,
) {
    let framing = config.framing();
    let idle = (config.idle_timeout_s > 0).then(|| Duration::from_secs(config.idle_timeout_s));
    let door = Door {
        link: link.clone(),
        address: config.listen,
        max_connections: config.max_connections,
        allow: config.allow,
        intake: intake.clone(),
    };
    let serve = |socket: tokio::net::TcpStream, peer: Arc<str>, mut stop: Stop| {
        let connection = Connection {
            peer,
            acknowledger: Some(acknowledger.clone()),
            idle,
            ..Connection::new(&link, &intake, &clock)
        };
        let framer = Box::new(MllpFramer::new(framing.clone()));
        async move {
            // An answer is one small packet: waiting for more to send would add 40 ms to each.
            drop(socket.set_nodelay(true));
            if let Ended::Failed(reason) = connection.drive(socket, framer, &mut stop).await {
                let text = format!("A connection was lost: {reason}.");
                connection.intake.note(&connection.link, "connection-lost", &text);
            }
        }
    };
    door.run(serve, stop).await;
}

#[cfg(test)]
#[path = "mllp_tests.rs"]
mod tests;
