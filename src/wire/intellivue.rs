//! Philips IntelliVue Data Export (MP, MX and X2 monitors) over the serial MIB/RS232 interface and over the LAN.
//!
//! The framer speaks as the client of the Data Export Interface Programming Guide: it associates, polls and keeps
//! the association; everything it can say is in `request.rs` and reads only. With `passive = true` it says nothing
//! and reads what another client asked for. What came within `gather_ms` is one frame to keep; see `kept.rs` for
//! its shape.

pub(crate) mod alert;
mod kept;
mod known;
pub(crate) mod message;
pub(crate) mod request;
pub(crate) mod rs232;
mod session;

pub(crate) use kept::{Piece, facts, pieces};

use std::collections::VecDeque;
use std::time::Duration;

use serde::Deserialize;

use super::gather::Gather;
use super::{Answer, Framer, Step, Ticket, Warning};
use known::Known;
use message::{ABORT, LINKED, Message, REFUSE};
use rs232::{Deframer, Found};
use session::{Deed, Session};

/// How to speak with a monitor and what to ask it for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// A UDP link always speaks as the LAN does, whatever is written here.
    pub transport: Transport,
    /// Only listens; another client associates and polls.
    pub passive: bool,
    /// What comes within so long is kept as one frame; 0 keeps each message by itself.
    pub gather_ms: u64,
    /// How often numerics and alarms are asked for, where the monitor does not send them by itself every second.
    pub poll_ms: u64,
    /// How often the patient's demographics are asked for. A patient is believed for three times as long.
    pub patient_ms: u64,
    /// What is asked for.
    pub poll: Vec<Kind>,
    /// Labels of the waves to export, at most three ECG leads and eight others; empty: what the monitor shows.
    pub waves: Vec<u32>,
}

/// The two ways to a monitor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    #[default]
    Rs232,
    Lan,
}

/// Kinds of objects a monitor can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Patient,
    Numerics,
    Alarms,
    Waves,
    Enumerations,
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Self::Patient => "patient",
            Self::Numerics => "numerics",
            Self::Alarms => "alarms",
            Self::Waves => "waves",
            Self::Enumerations => "enumerations",
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            transport: Transport::default(),
            passive: false,
            gather_ms: 1000,
            poll_ms: 1000,
            patient_ms: 2000,
            poll: vec![Kind::Patient, Kind::Numerics, Kind::Alarms],
            waves: Vec::new(),
        }
    }
}

impl Settings {
    /// The same over datagrams.
    pub(crate) fn on_lan(self) -> Self {
        Self { transport: Transport::Lan, ..self }
    }
}

/// The client's side of one connection to a monitor.
#[derive(Debug)]
pub struct IntellivueFramer {
    settings: Settings,
    line: Line,
    session: Option<Session>,
    known: Known,
    gather: Gather,
    /// The parts of a linked result that is not at its end; they stay together.
    linked: Vec<u8>,
    steps: VecDeque<Step>,
    tickets: u64,
}

/// Takes messages out of what arrives.
#[derive(Debug)]
enum Line {
    Rs232(Deframer),
    Lan { bytes: Vec<u8>, since: Duration, noise: usize },
}

/// Half a datagram that is older than this never becomes whole.
const HALF_MAX: Duration = Duration::from_millis(500);
const LINKED_MAX: usize = 256 << 10;

impl IntellivueFramer {
    /// A client that says its first word at the first tick.
    pub fn new(settings: Settings) -> Self {
        let line = match settings.transport {
            Transport::Rs232 => Line::Rs232(Deframer::default()),
            Transport::Lan => Line::Lan { bytes: Vec::new(), since: Duration::ZERO, noise: 0 },
        };
        Self {
            session: (!settings.passive).then(|| Session::new(settings.clone())),
            gather: Gather::new(Duration::from_millis(settings.gather_ms)),
            settings,
            line,
            known: Known::default(),
            linked: Vec::new(),
            steps: VecDeque::new(),
            tickets: 0,
        }
    }

    fn frame(&mut self, bytes: Option<Vec<u8>>) {
        if let Some(bytes) = bytes {
            self.tickets += 1;
            self.steps.push_back(Step::Frame { ticket: Ticket(self.tickets), bytes, warnings: Vec::new() });
        }
    }

    fn flush(&mut self, now: Duration) {
        let linked = std::mem::take(&mut self.linked);
        self.push(&linked, now);
        let rest = self.gather.take();
        self.frame(rest);
    }

    fn push(&mut self, kept: &[u8], now: Duration) {
        if !kept.is_empty() {
            let whole = self.gather.push(kept, now);
            self.frame(whole);
        }
    }

    /// One message as it came and as it is kept.
    fn heard(&mut self, raw: &[u8], bytes: &[u8], now: Duration) {
        let Some(message) = Message::parse(bytes) else {
            let text = format!("A message of {} bytes that is not of the Data Export protocol.", bytes.len());
            return self.steps.push_back(Step::Note(Warning::new("unknown-message", text)));
        };
        if self.known.is_overturned_by(&message) {
            self.flush(now);
        }
        if let Some(session) = &mut self.session {
            session.hear(&message, now);
        }
        if !matches!(message, Message::Session(REFUSE | ABORT, _)) {
            self.keep(raw, &message, now);
        }
        self.known.learn(&message, now);
        self.deeds();
    }

    fn keep(&mut self, raw: &[u8], message: &Message<'_>, now: Duration) {
        if self.gather.due().is_none() && self.linked.is_empty() {
            let believed = Duration::from_millis(self.settings.patient_ms.saturating_mul(3));
            let facts = self.known.facts(now, believed);
            if !facts.is_empty() {
                self.linked.extend(kept::known(&facts).unwrap_or_default());
            }
        }
        self.linked.extend_from_slice(raw);
        let is_part = matches!(message, Message::Operation(operation) if operation.kind == LINKED);
        if !is_part || self.linked.len() > LINKED_MAX {
            let linked = std::mem::take(&mut self.linked);
            self.push(&linked, now);
        }
    }

    fn deeds(&mut self) {
        let Some(session) = &mut self.session else { return };
        while let Some(deed) = session.deed() {
            match deed {
                Deed::Note(warning) => self.steps.push_back(Step::Note(warning)),
                Deed::Say(message) => {
                    let bytes = match self.settings.transport {
                        Transport::Rs232 => rs232::frame(&message),
                        Transport::Lan => Some(message),
                    };
                    self.steps.extend(bytes.map(Step::Send));
                }
            }
        }
    }

    fn serial(&mut self, mut bytes: &[u8], now: Duration) {
        loop {
            let Line::Rs232(deframer) = &mut self.line else { return };
            let (found, rest) = deframer.take(bytes);
            bytes = rest;
            match found {
                Some(Found::Frame { raw, message }) => self.heard(&raw, &message, now),
                Some(Found::Trouble(warning)) => self.steps.push_back(Step::Note(warning)),
                None => return,
            }
        }
    }

    fn datagrams(&mut self, arrived: &[u8], now: Duration) {
        let Line::Lan { bytes, since, noise } = &mut self.line else { return };
        let mut troubles = Vec::new();
        if !bytes.is_empty() && now.saturating_sub(*since) > HALF_MAX {
            troubles.push(half(bytes.len()));
            bytes.clear();
        }
        *since = now;
        let mut all = std::mem::take(bytes);
        all.extend_from_slice(arrived);
        let mut noisy = std::mem::take(noise);
        let (mut rest, mut whole) = (all.as_slice(), Vec::new());
        loop {
            match message::length(rest) {
                Ok(Some(length)) if length <= rest.len() => {
                    let (one, after) = rest.split_at(length);
                    let lost = std::mem::take(&mut noisy);
                    whole.push((lost, one));
                    rest = after;
                }
                Ok(_) => break,
                Err(()) => {
                    noisy += 1;
                    rest = rest.get(1..).unwrap_or_default();
                }
            }
        }
        *bytes = rest.to_vec();
        *noise = noisy;
        self.steps.extend(troubles.into_iter().map(Step::Note));
        for (lost, message) in whole {
            if lost > 0 {
                self.steps.push_back(Step::Note(stray(lost)));
            }
            if let Some(raw) = kept::datagram(message) {
                self.heard(&raw, message, now);
            }
        }
    }
}

fn half(lost: usize) -> Warning {
    Warning::new("half-frame", format!("{lost} bytes of a message without its end."))
}

fn stray(lost: usize) -> Warning {
    Warning::new("noise", format!("{lost} bytes that begin no message."))
}

impl Framer for IntellivueFramer {
    fn feed(&mut self, bytes: &[u8], now: Duration) {
        match self.line {
            Line::Rs232(_) => self.serial(bytes, now),
            Line::Lan { .. } => self.datagrams(bytes, now),
        }
    }

    fn step(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    fn answer(&mut self, _ticket: Ticket, _answer: Answer, _now: Duration) {}

    fn deadline(&self) -> Option<Duration> {
        let session = self.session.as_ref().and_then(Session::deadline);
        [session, self.gather.due()].into_iter().flatten().min()
    }

    fn tick(&mut self, now: Duration) {
        if self.gather.due().is_some_and(|due| now >= due) {
            // A linked result that is on its way goes with the next frame.
            let whole = self.gather.take();
            self.frame(whole);
        }
        if let Some(session) = &mut self.session {
            session.tick(now);
        }
        self.deeds();
    }

    fn end(&mut self, now: Duration) {
        self.flush(now);
        let trouble = match &mut self.line {
            Line::Rs232(deframer) => match deframer.end() {
                Some(Found::Trouble(warning)) => Some(warning),
                _ => None,
            },
            Line::Lan { bytes, noise, .. } => {
                let (lost, noisy) = (std::mem::take(bytes).len(), std::mem::take(noise));
                if lost > 0 { Some(half(lost)) } else { (noisy > 0).then(|| stray(noisy)) }
            }
        };
        self.steps.extend(trouble.map(Step::Note));
    }
}

/// Fuzz body: the first byte chooses serial or LAN, active or passive. The cut must not matter; more may come out
/// than went in, as each kept frame begins with what was said before.
pub fn fuzz(bytes: &[u8]) {
    let Some((choice, bytes)) = bytes.split_first() else { return };
    let transport = if choice & 1 == 0 { Transport::Rs232 } else { Transport::Lan };
    let settings = Settings { transport, passive: choice & 2 != 0, ..Settings::default() };
    let framed = |size: usize| {
        let framer = Box::new(IntellivueFramer::new(settings.clone()));
        super::frames_of(framer, &mut bytes.chunks(size.max(1)))
    };
    let whole = framed(bytes.len());
    assert!(whole == framed(usize::from(*choice) + 1), "pieces changed the frames");
    assert!(whole == framed(1), "single bytes changed the frames");
    for frame in &whole {
        let readable = pieces(frame).all(|piece| !matches!(piece, Piece::Unreadable(_)));
        assert!(readable, "what is kept cannot be taken apart");
    }
}

#[cfg(test)]
#[path = "intellivue/tests.rs"]
mod tests;
