//! For point-of-care devices that speak CLSI POCT1-A (POCT01-A2, annex B: Device Messaging Layer): the host's side
//! of the conversation. Messages are XML documents without framing.
//!
//! The device says hello (HEL) and its status (DST); the host asks for observations (REQ) and acknowledges each
//! (OBS) only when it is kept, for a device forgets what was acknowledged. A kept frame is the device's hello and
//! the observation, both without their header objects: so it can be read alone, and the same result sent again
//! after a lost acknowledgement is the same frame.

mod say;
mod scan;

use std::collections::VecDeque;
use std::time::Duration;

use serde::Deserialize;

use super::{Answer, Framer, Step, Ticket, Warning};
use crate::clock::Timestamp;
use say::Message;
use scan::{Document, Found, Scanner};

/// `[link] codec = "poct1a"`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// A longer message is refused.
    pub max_message_bytes: usize,
    /// A device that is silent for so long while something is expected of it is gone.
    pub application_timeout_s: u64,
    /// Asks a device that supports it to stay and send what it observes from now on; else the conversation ends
    /// when everything was sent.
    pub continuous: bool,
    /// Asks again when a device stops after a single observation although it said it has more.
    pub ask_again_s: u64,
    /// Whether the device's end of topic wants an acknowledgement. The DCA Vantage gets none.
    pub acknowledge_end_of_topic: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_message_bytes: 1 << 20,
            application_timeout_s: 60,
            continuous: true,
            ask_again_s: 5,
            acknowledge_end_of_topic: false,
        }
    }
}

/// Bytes that may wait while a frame is being kept.
const INBOX_MAX: usize = 8 << 20;
/// A longer hello is not repeated in front of every observation.
const HELLO_MAX: usize = 64 << 10;
/// A device's clock that is further off than this is told.
const CLOCK_OFF_S: i64 = 3600;
const NOT_STORED: &str = "The message could not be stored. Send it again later.";
const NOT_SERVED: &str = "This host only receives results.";

/// Where a conversation stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Introduction,
    /// Observations were asked for.
    Requested,
    Continuous,
    Ended,
}

/// The host's side of one connection.
#[derive(Debug)]
pub struct Poct1aFramer {
    settings: Settings,
    scanner: Scanner,
    /// Bytes that came while an answer was awaited.
    inbox: VecDeque<u8>,
    steps: VecDeque<Step>,
    phase: Phase,
    /// The device's hello without its header.
    hello: Vec<u8>,
    can_continue: bool,
    /// Observations the device still has, as far as it said.
    expected: u64,
    /// The frame that is being kept, and the control id to acknowledge.
    waiting: Option<(Ticket, String)>,
    tickets: u64,
    control_id: u64,
    clock: Option<Timestamp>,
    /// The device's own time, as it last wrote it.
    device_stamp: Option<String>,
    clock_told: bool,
    heard: Duration,
    /// When to ask for the next observation.
    ask_at: Option<Duration>,
    closed: bool,
}

impl Poct1aFramer {
    /// A host at the start of a connection.
    pub fn new(settings: Settings) -> Self {
        Self {
            scanner: Scanner::new(settings.max_message_bytes),
            settings,
            inbox: VecDeque::new(),
            steps: VecDeque::new(),
            phase: Phase::Introduction,
            hello: Vec::new(),
            can_continue: false,
            expected: 0,
            waiting: None,
            tickets: 0,
            control_id: 0,
            clock: None,
            device_stamp: None,
            clock_told: false,
            heard: Duration::ZERO,
            ask_at: None,
            closed: false,
        }
    }

    fn note(&mut self, code: &'static str, text: impl Into<String>) {
        self.steps.push_back(Step::Note(Warning::new(code, text)));
    }

    fn close(&mut self, code: &'static str, text: impl Into<String>) {
        self.closed = true;
        self.steps.push_back(Step::Close(Warning::new(code, text)));
    }

    fn say(&mut self, message: Message<'_>) {
        self.control_id += 1;
        let known = self.clock.filter(|clock| clock.synchronised).and_then(stamp);
        let stamp = known.as_deref().or(self.device_stamp.as_deref());
        self.steps.push_back(Step::Send(message.document(self.control_id, stamp)));
    }

    fn accept(&mut self, document: &Document) {
        let control_id = control_id(document);
        self.say(Message::Accept { control_id: &control_id });
    }

    /// Works through what came, as far as no answer is awaited.
    fn advance(&mut self, now: Duration) {
        while self.waiting.is_none() && !self.closed {
            let Some(byte) = self.inbox.pop_front() else { return };
            match self.scanner.push(byte) {
                Some(Found::Whole(document)) => self.hear(document, now),
                Some(Found::Cut(why)) => {
                    self.note(
                        "cut-message",
                        format!("A message broke off: {why}. The device sends it again."),
                    );
                }
                Some(Found::Garbage) => {
                    self.note("garbage", "Bytes between messages are no XML; they are skipped.")
                }
                None => {}
            }
        }
    }

    fn hear(&mut self, document: Document, now: Duration) {
        if let Some(at) = document.fact("HDR.creation_dttm") {
            self.device_stamp = Some(at.to_owned());
            self.compare_clocks();
        }
        self.ask_at = None;
        if document.oversize {
            self.refuse_oversize(&document);
            return;
        }
        let topic = document.root.split('.').next().unwrap_or_default();
        match topic {
            "HEL" => self.hello(&document),
            "DST" => self.status(&document),
            "KPA" => self.accept(&document),
            "EOT" => self.end_of_topic(&document),
            "ACK" => self.acknowledged(&document),
            "ESC" => self.escaped(&document),
            "END" => {
                self.accept(&document);
                self.phase = Phase::Ended;
            }
            "REQ" => {
                let control_id = control_id(&document);
                self.say(Message::Refuse { control_id: &control_id, note: NOT_SERVED });
                self.note("device-request", "The device asked for a list; this box sends none.");
            }
            // Observations, events, and what makers added: acknowledged things are kept, whatever they are.
            _ => self.keep(&document, now),
        }
    }

    fn hello(&mut self, document: &Document) {
        self.phase = Phase::Introduction;
        self.can_continue =
            document.facts_of("DSC.directives_supported_cd").any(|word| word == "START_CONTINUOUS");
        self.hello = document.without_header();
        if self.hello.len() > HELLO_MAX {
            self.hello.clear();
            self.note("long-hello", "The device's hello is too long to be kept with each observation.");
        }
        self.accept(document);
    }

    fn status(&mut self, document: &Document) {
        self.accept(document);
        let quantity = document.fact("DST.new_observations_qty").and_then(|text| text.trim().parse().ok());
        match (self.phase, quantity) {
            // In continuous mode the device sends by itself.
            (Phase::Continuous | Phase::Ended, _) => {}
            (_, Some(0)) => self.nothing_left(),
            (_, quantity) => {
                self.expected = quantity.unwrap_or(1);
                self.request();
            }
        }
    }

    fn request(&mut self) {
        self.phase = Phase::Requested;
        self.say(Message::RequestObservations);
    }

    fn nothing_left(&mut self) {
        self.expected = 0;
        if self.settings.continuous && self.can_continue {
            self.phase = Phase::Continuous;
            self.say(Message::StartContinuous);
        } else {
            self.phase = Phase::Ended;
            self.say(Message::End);
        }
    }

    fn end_of_topic(&mut self, document: &Document) {
        if self.settings.acknowledge_end_of_topic {
            self.accept(document);
        }
        let observations = document.fact("EOT.topic_cd").is_none_or(|topic| topic == "OBS");
        if self.phase == Phase::Requested && observations {
            self.nothing_left();
        }
    }

    fn acknowledged(&mut self, document: &Document) {
        if document.fact("ACK.type_cd").is_some_and(|kind| kind != "AA") {
            let detail = code(document.fact("ACK.error_detail_cd"));
            self.note(
                "device-refused",
                format!("The device refused a message of this box (detail {detail})."),
            );
            if self.phase == Phase::Continuous {
                self.phase = Phase::Introduction;
            }
        }
    }

    fn escaped(&mut self, document: &Document) {
        let detail = code(document.fact("ESC.detail_cd"));
        self.note("device-escape", format!("The device broke off what it was asked for (detail {detail})."));
        if self.phase != Phase::Ended {
            self.phase = Phase::Introduction;
        }
    }

    fn keep(&mut self, document: &Document, now: Duration) {
        let mut warnings = Vec::new();
        let mut bytes = Vec::with_capacity(self.hello.len() + document.bytes.len() + 1);
        if self.hello.is_empty() {
            warnings
                .push(Warning::new("no-hello", "The device did not say who it is before its first message."));
        } else {
            bytes.extend_from_slice(&self.hello);
            bytes.push(b'\n');
        }
        bytes.extend(document.without_header());
        if document.root.starts_with("OBS.") {
            self.expected = self.expected.saturating_sub(1);
        }
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.waiting = Some((ticket, control_id(document)));
        self.heard = now;
        self.steps.push_back(Step::Frame { ticket, bytes, warnings });
    }

    fn refuse_oversize(&mut self, document: &Document) {
        let text =
            format!("A message is longer than {} bytes; it is refused.", self.settings.max_message_bytes);
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.waiting = Some((ticket, control_id(document)));
        let warning = Warning::new("oversize", text);
        self.steps.push_back(Step::Refuse { ticket, head: document.bytes.clone(), warning });
    }

    fn compare_clocks(&mut self) {
        let Some(here) = self.clock.filter(|clock| clock.synchronised && !self.clock_told) else { return };
        let said = self.device_stamp.as_deref().and_then(|text| text.trim().parse::<jiff::Timestamp>().ok());
        let Some(said) = said else { return };
        let off_s = said.as_microsecond().saturating_sub(here.micros) / 1_000_000;
        if off_s.abs() > CLOCK_OFF_S {
            self.clock_told = true;
            let days = off_s.abs() / 86_400;
            self.note(
                "device-clock",
                format!(
                    "The device's clock is {days} days and {} h off; set it at the device.",
                    off_s.abs() % 86_400 / 3600
                ),
            );
        }
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs(self.settings.application_timeout_s.max(1))
    }

    /// Something is expected of the device.
    fn expects(&self) -> bool {
        self.scanner.is_amid() || self.phase == Phase::Requested
    }
}

impl Framer for Poct1aFramer {
    fn wall_clock(&mut self, at: Timestamp) {
        self.clock = Some(at);
    }

    fn feed(&mut self, bytes: &[u8], now: Duration) {
        if self.closed {
            return;
        }
        self.heard = now;
        self.inbox.extend(bytes);
        self.advance(now);
        if self.inbox.len() > INBOX_MAX && !self.closed {
            self.close("flood", "The device sends without waiting for its acknowledgements.");
        }
    }

    fn step(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    fn answer(&mut self, ticket: Ticket, answer: Answer, now: Duration) {
        let Some((_, control_id)) = self.waiting.take_if(|(open, _)| *open == ticket) else { return };
        match answer {
            Answer::Kept { .. } => self.say(Message::Accept { control_id: &control_id }),
            Answer::Refused { .. } => self.say(Message::Refuse { control_id: &control_id, note: NOT_STORED }),
        }
        if self.phase == Phase::Requested && self.settings.ask_again_s > 0 {
            self.ask_at = Some(now + Duration::from_secs(self.settings.ask_again_s));
        }
        self.advance(now);
    }

    fn deadline(&self) -> Option<Duration> {
        if self.closed || self.waiting.is_some() {
            return None;
        }
        let silent = self.expects().then(|| self.heard + self.timeout());
        self.ask_at.into_iter().chain(silent).min()
    }

    fn tick(&mut self, now: Duration) {
        if self.closed || self.waiting.is_some() {
            return;
        }
        if self.ask_at.is_some_and(|at| at <= now) && !self.scanner.is_amid() {
            self.ask_at = None;
            self.heard = now;
            if self.expected > 0 {
                self.request()
            } else {
                self.nothing_left()
            }
            return;
        }
        if self.expects() && now >= self.heard + self.timeout() {
            if self.scanner.is_amid() {
                self.note("cut-message", "A message broke off in silence. The device sends it again.");
                self.scanner.reset();
                self.heard = now;
            } else {
                let seconds = self.settings.application_timeout_s;
                self.close(
                    "no-answer",
                    format!("The device said nothing for {seconds} s although it was asked."),
                );
            }
        }
    }

    fn end(&mut self, _now: Duration) {
        if self.scanner.is_amid() && !self.closed {
            self.note("cut-message", "The connection ended within a message. The device sends it again.");
        }
        self.closed = true;
    }
}

/// The id to acknowledge, at most as long as any device writes one.
fn control_id(document: &Document) -> String {
    document.fact("HDR.control_id").unwrap_or_default().chars().take(64).collect()
}

/// A code for a note: never free text, which may name a person.
fn code(text: Option<&str>) -> String {
    let plain = |text: &&str| text.len() <= 8 && text.chars().all(|c| c.is_ascii_alphanumeric());
    text.filter(plain).unwrap_or("not stated").to_owned()
}

/// `2026-03-14T08:30:00+00:00`, as POCT1-A writes time.
fn stamp(at: Timestamp) -> Option<String> {
    let at = jiff::Timestamp::from_microsecond(at.micros).ok()?;
    Some(at.strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string())
}

/// Fuzz body: the cut does not matter, and only messages of a reading host are ever sent.
pub fn fuzz(bytes: &[u8]) {
    let settings = Settings { max_message_bytes: 4096, ..Settings::default() };
    let make = || Box::new(Poct1aFramer::new(settings.clone())) as Box<dyn Framer>;
    let whole = super::frames_of(make(), &mut std::iter::once(bytes));
    let size = usize::from(bytes.first().copied().unwrap_or(0)) + 1;
    assert!(
        whole == super::frames_of(make(), &mut bytes.chunks(size)),
        "pieces of {size} bytes changed the frames"
    );
    assert!(whole == super::frames_of(make(), &mut bytes.chunks(1)), "single bytes changed the frames");
    assert!(whole.iter().all(|frame| frame.len() <= 2 * 4096 + 1), "a frame is longer than its limit");
}

#[cfg(test)]
mod tests;
