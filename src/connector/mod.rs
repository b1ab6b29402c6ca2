//! Connections to source systems: bytes in, frames out, and an answer only when told that the frame is kept.
//!
//! A connector knows one outside world and nothing of what a frame means. It hands each frame to the
//! [`Intake`] and waits for the [`Receipt`]; whatever acknowledges a frame leaves after that.

pub(crate) mod backoff;
pub mod broker;
mod call;
mod door;
pub mod folder;
pub mod mllp;
pub mod mqtt;
pub mod ports;
pub mod recorder;
#[cfg(test)]
mod rig;
pub mod serial;
mod stream;
pub mod tcp;
pub mod udp;
pub mod unfinished;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::wire::tape::Way;

/// The bytes of one message as they crossed the wire, and where they came from.
#[derive(Clone)]
pub struct Frame {
    /// Name of the configured link.
    pub link: Arc<str>,
    /// The other side: an address, a port path or a topic. No patient data.
    pub peer: Arc<str>,
    /// When the last byte arrived.
    pub received: Timestamp,
    pub bytes: Bytes,
    /// MQTT topic, when there is one.
    pub topic: Option<Arc<str>>,
    /// The transport said that this may be a repetition (MQTT DUP).
    pub redelivered: bool,
    /// Tolerated departures from the protocol: (code, sentence).
    pub warnings: Vec<(&'static str, String)>,
}

impl std::fmt::Debug for Frame {
    /// Sizes only: frames hold patient data.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Frame({} bytes from link {})", self.bytes.len(), self.link)
    }
}

/// What became of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// Committed to disk, or it already was.
    Kept { duplicate: bool },
    /// Not kept; the sender must keep it. `full`: the box has no room, else a fault of the box.
    Refused { full: bool, reason: String },
}

/// Boxed future, as a trait object needs it.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where frames go to be kept. The gateway implements it; a test may.
pub trait Intake: Send + Sync {
    /// Returns when the frame is committed or refused, never before.
    fn keep(&self, frame: Frame) -> Later<'_, Receipt>;
    /// Keeps a piece of an unfinished transmission durably, under its link. `keep` of a later frame of the same
    /// link and peer replaces the pieces in the same commit.
    fn keep_part(&self, frame: Frame) -> Later<'_, Receipt>;
    /// The transmission broke off: what was kept in parts is all there is, and is held for a person.
    fn parts_broken(&self, link: Arc<str>, peer: Arc<str>, reason: String) -> Later<'_, ()>;
    /// A frame refused before it was whole, a warning without a frame: counted and shown, not kept.
    fn note(&self, link: &str, code: &'static str, text: &str);
    /// The link's state changed.
    fn state(&self, link: &str, state: LinkState);
    /// Bytes crossed a link, or a connection of it began or ended: for those who record. `way` is seen from the box;
    /// over MQTT a message with its topic. Called often: does nothing where nobody records.
    fn crossed(&self, link: &Arc<str>, peer: &Arc<str>, way: Way, topic: Option<&str>, bytes: &[u8]) {
        let _ = (link, peer, way, topic, bytes);
    }
    /// The bound of what all connections hold at once; each asks once, when its link begins.
    fn unfinished(&self) -> Arc<unfinished::Unfinished> {
        Arc::default()
    }
    /// After a frame is kept, on links that carry messages to the device: what answers it, if it is a query.
    /// Asked for a repeated query too. Where a frame is acknowledged by a message of its own (HL7), asked before that.
    fn reply(&self, frame: Frame) -> Later<'_, Option<Reply>> {
        let _ = frame;
        Box::pin(std::future::ready(None))
    }
    /// What became of a [`Reply`]: taken by the device whole, or not, with the reason.
    fn replied(&self, link: Arc<str>, reference: Arc<str>, outcome: Result<(), String>) -> Later<'_, ()> {
        drop((link, reference, outcome));
        Box::pin(std::future::ready(()))
    }
}

/// A message for a device: the answer to its query.
#[derive(Clone, PartialEq, Eq)]
pub struct Reply {
    /// Stands in for the acknowledgement of the query, on links whose frames are acknowledged by messages.
    pub acknowledgement: Option<Vec<u8>>,
    /// As the device wants it, without framing. Empty: the acknowledgement is the whole answer.
    pub message: Vec<u8>,
    /// By which [`Intake::replied`] says what became of it. No patient data.
    pub reference: Arc<str>,
}

impl std::fmt::Debug for Reply {
    /// Sizes only: orders hold patient data.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reply({} bytes, {})", self.message.len(), self.reference)
    }
}

/// What a link is doing, as the desk shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkState {
    Starting,
    /// Listening with this many connections, or connected. `detail`: address, port, broker.
    Up {
        detail: String,
        connections: u32,
    },
    /// Not usable now; will be tried again by itself. `detail`: why, in words a person can act on.
    Retrying {
        detail: String,
    },
    /// Connected, but nothing arrived for longer than the link's quiet timeout.
    Quiet {
        detail: String,
    },
    Stopped,
}

/// Tells everything that runs to come to an end. Cheap to clone; every task holds one.
#[derive(Clone, Debug)]
pub struct Stop(tokio::sync::watch::Receiver<bool>);

impl Stop {
    /// The switch and what listens to it: send `true`, or drop the switch, to stop.
    pub fn pair() -> (tokio::sync::watch::Sender<bool>, Self) {
        let (switch, stop) = tokio::sync::watch::channel(false);
        (switch, Self(stop))
    }

    /// Returns when it is time to stop; at once if it already was.
    pub async fn wait(&mut self) {
        // An error means that the switch is gone, which also means stop.
        drop(self.0.wait_for(|stop| *stop).await);
    }

    /// Whether it is time to stop.
    pub fn is_told(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }
}
