//! HL7 v2 senders over TCP: a port that takes MLLP, or a device that is called, and an answer to each message when it is
//! on disk.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Deserialize;

use super::call::{self, Dial, MakeFramer};
pub use super::call::{Side, SideError};
use super::door::Door;
pub use super::door::{Network, NetworkError};
use super::stream::Connection;
use super::{Intake, Receipt, Stop};
use crate::clock::SharedClock;
use crate::hl7v2::{AckCode, acknowledge, header};
use crate::wire::mllp::{MllpFramer, Settings};

/// One port for any number of senders, or one device that the box calls: exactly one of `listen` and `connect`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct Config {
    pub side: Side,
    /// A longer message is answered AR and not kept.
    pub max_message_bytes: usize,
    /// One more sender is let in and closed at once, when listening.
    pub max_connections: u32,
    /// Closes a connection that was silent for so long, when listening; 0 never does. Senders keep connections open over
    /// night.
    pub idle_timeout_s: u64,
    /// Says that the link is quiet when nothing came for so long, when connecting; 0 never does.
    pub quiet_timeout_s: u64,
    /// How long one message may take to arrive.
    pub message_timeout_s: u64,
    /// For senders of bare HL7 without MLLP: see [`Settings::unframed_quiet_ms`].
    pub unframed_quiet_ms: Option<u64>,
    /// Who may connect, when listening; empty: everybody who reaches the port.
    pub allow: Vec<Network>,
    pub acknowledge: Acknowledge,
}

/// Which messages are answered. A message is kept before it is answered, and kept also when it is not answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Acknowledge {
    /// Every one. Senders write `NE` from a template and wait all the same.
    #[default]
    Always,
    /// None: for devices that take an answer for an error.
    Never,
    /// As MSH-15 and MSH-16 of the message ask for (HL7 table 0155); other words there ask for an answer.
    Msh,
}

/// The section as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    listen: Option<SocketAddr>,
    connect: Option<String>,
    #[serde(default = "max_message_bytes")]
    max_message_bytes: usize,
    #[serde(default = "max_connections")]
    max_connections: u32,
    #[serde(default = "idle_timeout_s")]
    idle_timeout_s: u64,
    #[serde(default)]
    quiet_timeout_s: u64,
    #[serde(default = "message_timeout_s")]
    message_timeout_s: u64,
    #[serde(default)]
    unframed_quiet_ms: Option<u64>,
    #[serde(default)]
    allow: Vec<Network>,
    #[serde(default)]
    acknowledge: Acknowledge,
}

impl TryFrom<Written> for Config {
    type Error = SideError;

    fn try_from(written: Written) -> Result<Self, SideError> {
        Ok(Self {
            side: Side::of("mllp", written.listen, written.connect)?,
            max_message_bytes: written.max_message_bytes,
            max_connections: written.max_connections,
            idle_timeout_s: written.idle_timeout_s,
            quiet_timeout_s: written.quiet_timeout_s,
            message_timeout_s: written.message_timeout_s,
            unframed_quiet_ms: written.unframed_quiet_ms,
            allow: written.allow,
            acknowledge: written.acknowledge,
        })
    }
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

impl Acknowledge {
    /// [`acknowledger`] that answers only where this policy wants it.
    fn acknowledger(self, clock: SharedClock) -> Acknowledger {
        let write = acknowledger(clock);
        Arc::new(move |message, receipt| {
            let code = match receipt {
                Receipt::Kept { .. } => AckCode::AA,
                Receipt::Refused { full: true, .. } => AckCode::AR,
                Receipt::Refused { full: false, .. } => AckCode::AE,
            };
            // HL7 2.5 §2.9: an acknowledgement is not acknowledged.
            if header(message).is_some_and(|header| header.message_type == "ACK") {
                return None;
            }
            let wanted = match self {
                Self::Always => true,
                Self::Never => false,
                Self::Msh => header(message).is_none_or(|header| header.answer_wanted(code)),
            };
            if wanted { write(message, receipt) } else { None }
        })
    }
}

/// Listens or calls until it is time to stop. Whatever fails is tried again; the link's state says why.
pub async fn run(link: Arc<str>, config: Config, intake: Arc<dyn Intake>, clock: SharedClock, stop: Stop) {
    let framing = config.framing();
    let acknowledger = Some(config.acknowledge.acknowledger(clock.clone()));
    let connection = Connection { acknowledger, ..Connection::new(&link, &intake, &clock) };
    let address = match config.side {
        Side::Listen(address) => address,
        Side::Connect(address) => {
            let framer: MakeFramer = Arc::new(move || Box::new(MllpFramer::new(framing.clone())));
            return Dial { connection, address, quiet_s: config.quiet_timeout_s, framer }.run(stop).await;
        }
    };
    let idle = (config.idle_timeout_s > 0).then(|| Duration::from_secs(config.idle_timeout_s));
    let (max_connections, allow) = (config.max_connections, config.allow);
    let door = Door { link, address, max_connections, allow, intake };
    let serve = |socket: tokio::net::TcpStream, peer: Arc<str>, mut stop: Stop| {
        let connection = Connection { peer, idle, ..connection.clone() };
        let framer = Box::new(MllpFramer::new(framing.clone()));
        async move {
            drop(call::serve(&connection, socket, framer, &mut stop).await);
        }
    };
    door.run(serve, stop).await;
}

#[cfg(test)]
#[path = "mllp_tests.rs"]
mod tests;
