//! The device's side of every link layer, without I/O: what a device of a firmware profile says, what it does with the
//! answers, and when it believes that it was heard.

mod agent;
mod asked;
pub mod intellivue;
pub mod kit;
mod laboratory;
pub mod medibus;
mod messages;
pub mod nonin;
mod poct1a;
mod script;

use std::time::Duration;

pub use script::{Message, Script};

use crate::firmware_profile::FirmwareProfile;
use crate::wire::Codec;

/// The device's side of one line. `now` never goes back.
pub trait Speaker: Send {
    /// The line was opened, for the first time or again: whatever was under way begins anew.
    fn open(&mut self, now: Duration);
    /// Takes the next message to get across; asked only when [`Speaker::is_free`].
    fn say(&mut self, message: &Message, now: Duration);
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

/// What became of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// The box said that it is kept.
    Acknowledged,
    /// Sent on a link that has no acknowledgements.
    Sent,
    /// Refused or not answered; it is said again. Why, in words.
    Again(String),
    /// The line is away; it is opened again. Why, in words.
    Away(String),
}

/// The device of a profile, for a byte stream; the error says why there is none.
///
/// # Errors
/// A sentence: messages over MQTT are said by [`kit::Kit`].
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
        Codec::Poct1a(_) => Box::new(poct1a::PointOfCare::default()),
        Codec::Intellivue(_) => Box::new(intellivue::Bed::default()),
        Codec::Medibus(_) => Box::new(medibus::Ventilator::of_capture(&[])),
        Codec::Nonin(settings) => Box::new(nonin::Probe::new(settings.acknowledge)),
        Codec::Dri(_) => Box::new(asked::Asked::monitor()),
        Codec::Ieee11073(_) => Box::new(agent::Agent::default()),
        Codec::Message(_) => return Err("its messages travel over MQTT: use --mqtt".into()),
    })
}

#[cfg(test)]
#[path = "walk_tests.rs"]
mod tests;
