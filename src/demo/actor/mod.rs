//! The device's side of every link layer, without I/O: what a device of a firmware profile says, what it does with the
//! answers, and when it believes that it was heard.

mod agent;
mod asked;
mod laboratory;
mod messages;
pub mod nonin;
mod script;

use std::time::Duration;

pub use script::{Message, Script};

use super::device::Told;
use super::device::medibus::Ventilator;
use crate::firmware_profile::FirmwareProfile;
use crate::wire::Codec;

/// The device's side of one line. `now` never goes back.
pub trait Speaker: Send {
    /// The line was opened, for the first time or again: whatever was under way begins anew.
    fn open(&mut self, now: Duration);
    /// Takes the next message to get across; asked only when [`Speaker::is_free`].
    fn say(&mut self, message: &[u8], now: Duration);
    /// Takes what the box said.
    fn hear(&mut self, bytes: &[u8], now: Duration);
    /// Time passed.
    fn tick(&mut self, now: Duration);
    /// The next thing to do, if any: call until `None` after each of the above.
    fn next(&mut self) -> Option<Said>;
    /// Nothing is under way.
    fn is_free(&self) -> bool;
}

/// What a device does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    Send(Vec<u8>),
    /// What became of the message.
    Told(Told),
}

/// The device of a profile, for a byte stream; the error says why there is none.
///
/// # Errors
/// A sentence: messages of MQTT need no device of this kind, and some protocols have none yet.
pub fn speaker(profile: &FirmwareProfile, captures: &[Vec<u8>]) -> Result<Box<dyn Speaker>, String> {
    Ok(match &profile.codec {
        Codec::Mllp(_) => Box::new(messages::Mllp::default()),
        Codec::Astm(_) => Box::new(laboratory::Analyser::default()),
        Codec::Lines(settings) => {
            let end = if settings.end.as_deref() == Some("") { "\r\n\r\n" } else { "\r\n" };
            let framing = asked::Framing::Lines { end: end.into() };
            Box::new(asked::Asked::new(framing, Vec::new(), &profile.session, captures))
        }
        Codec::Delimited(settings) => {
            let framing = asked::Framing::Delimited(Box::new(settings.clone()));
            Box::new(asked::Asked::new(framing, settings.ack.clone(), &profile.session, captures))
        }
        Codec::Poct1a(_) => Box::new(messages::PointOfCare::default()),
        Codec::Medibus(_) => Box::new(Ventilated {
            device: Ventilator::of_capture(&[]),
            said: None,
            open: false,
            out: Vec::new(),
        }),
        Codec::Nonin(settings) => Box::new(nonin::Probe::new(settings.acknowledge)),
        Codec::Dri(_) => Box::new(asked::Asked::monitor()),
        Codec::Ieee11073(_) => Box::new(agent::Agent::default()),
        Codec::Message(_) => return Err("its messages travel over MQTT: use --mqtt".into()),
        #[allow(unreachable_patterns, reason = "a codec that is added has no simulated device at first")]
        other => return Err(format!("there is no simulated device that speaks {}", other.word())),
    })
}

/// A ventilator: it is asked, and answers as its message says.
struct Ventilated {
    device: Ventilator,
    /// Bytes said since the message was given.
    said: Option<usize>,
    open: bool,
    out: Vec<Said>,
}

/// A round of questions and answers has at least so many bytes.
const ROUND: usize = 100;

impl Ventilated {
    fn push(&mut self, bytes: Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        if let Some(said) = &mut self.said {
            *said += bytes.len();
        }
        self.out.push(Said::Send(bytes));
        if self.device.is_open() && self.said.is_some_and(|said| said > ROUND) {
            self.said = None;
            self.out.push(Said::Told(Told::Sent));
        }
    }
}

impl Speaker for Ventilated {
    fn open(&mut self, _now: Duration) {
        self.open = true;
    }

    fn say(&mut self, message: &[u8], _now: Duration) {
        self.device.show(message);
        self.said = Some(0);
    }

    fn hear(&mut self, bytes: &[u8], now: Duration) {
        let answer = self.device.feed(bytes, now);
        self.push(answer);
    }

    fn tick(&mut self, now: Duration) {
        if self.open {
            let asked = self.device.tick(now);
            self.push(asked);
        }
    }

    fn next(&mut self) -> Option<Said> {
        (!self.out.is_empty()).then(|| self.out.remove(0))
    }

    fn is_free(&self) -> bool {
        self.said.is_none()
    }
}

#[cfg(test)]
#[path = "walk_tests.rs"]
mod tests;
