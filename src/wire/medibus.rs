//! Dräger MEDIBUS (RS 232 MEDIBUS Protocol Definition, revisions 4.03 and 6.00; MEDIBUS.X): ventilators, anaesthesia
//! machines, incubators.
//!
//! Both sides may ask. `ESC code [argument] sum CR` is a command, `SOH echo [data] sum CR` its reply; bytes from 80H on
//! are realtime data and stand anywhere, also inside a reply. One request is open at a time; whoever has nothing to say
//! says NOP every 2 s, and 3 s of silence end the link.
//!
//! The kept frame is what one round of questions brought: the replies as they stand on the wire, and between them the
//! realtime bytes in their own order, never half a record. In front stands, when realtime data were asked for, the host's
//! own `ESC T` command that says which streams there are. Each round asks for identification and clock again, so that a
//! frame is understood by itself.
//!
//! What can be sent is the table in `words.rs`: questions and empty answers. Nothing in it sets anything of the patient's
//! therapy.

mod split;
mod words;

use std::collections::VecDeque;
use std::time::Duration;

use serde::Deserialize;

pub use split::{Kind, Message, Piece, pieces};
pub use words::Page;

use super::gather::Gather;
use super::{Answer, Framer, Step, Ticket, Warning};
use split::Splitter;

/// Nothing said for this long ends the link ("Time-Out").
const SILENCE: Duration = Duration::from_secs(3);
/// NOP is due when nothing else was sent for this long ("Time-Out").
const NOP_AFTER: Duration = Duration::from_secs(2);
/// A reply is due within this time ("Responding to Data Request Commands").
const REPLY_WITHIN: Duration = Duration::from_secs(10);
/// Between two attempts to open the link.
const ICC_EVERY: Duration = Duration::from_secs(3);
/// A question the device could not read is asked so often.
const ATTEMPTS: u8 = 3;
/// A realtime record is a sync byte, two sync commands and twelve values; longer ones are handed on in pieces.
const RECORD_MAX: usize = 64;

/// Whether this box asks or only listens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    #[default]
    Active,
    /// Another host asks; nothing is ever sent.
    Passive,
}

/// What is asked, and how often.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    pub mode: Mode,
    /// Asked in every round, in this order.
    pub pages: Vec<Page>,
    /// Asked in the first round and then in every `rare_every`th.
    pub rare_pages: Vec<Page>,
    pub rare_every: u32,
    /// From the beginning of one round to that of the next; at least 1000.
    pub poll_ms: u64,
    /// Realtime streams by their code in two hex digits, at most 12; an empty list asks for none.
    pub realtime: Vec<words::Stream>,
    /// When only listening: replies of this time make one frame.
    pub gather_ms: u64,
    /// The longest message.
    pub max_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mode: Mode::Active,
            pages: vec![Page::Data1, Page::Alarms1],
            rare_pages: vec![Page::LowLimits1, Page::HighLimits1, Page::Settings, Page::Text],
            rare_every: 12,
            poll_ms: 5000,
            realtime: Vec::new(),
            gather_ms: 1000,
            max_bytes: 8192,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    /// The link is not open; when to try next.
    Down(Duration),
    Up,
}

/// The question that is open.
#[derive(Clone, Copy, Debug)]
struct Asked {
    code: u8,
    since: Duration,
    attempts: u8,
}

/// The host's side of one connection.
#[derive(Debug)]
pub struct MedibusFramer {
    settings: Settings,
    split: Splitter,
    kept: Gather,
    /// Realtime bytes since the last sync byte.
    record: Vec<u8>,
    link: Link,
    queue: VecDeque<u8>,
    asked: Option<Asked>,
    rounds: u32,
    next_round: Duration,
    /// The device took our choice of realtime streams.
    streaming: bool,
    suspended: Option<Duration>,
    sent: Duration,
    /// Since when something of ours waits for any sign of life.
    unanswered: Option<Duration>,
    /// When the last byte of an open message came.
    touched: Duration,
    steps: VecDeque<Step>,
    tickets: u64,
}

impl MedibusFramer {
    /// At the start of a connection. An active one wants to be ticked at once.
    pub fn new(mut settings: Settings) -> Self {
        settings.poll_ms = settings.poll_ms.max(1000);
        settings.realtime.truncate(words::STREAMS_MAX);
        // A round may take longer than its period; the gatherer's own period only bounds listening.
        let period = match settings.mode {
            Mode::Active => Duration::MAX,
            Mode::Passive => Duration::from_millis(settings.gather_ms),
        };
        Self {
            split: Splitter::new(settings.max_bytes),
            settings,
            kept: Gather::new(period),
            record: Vec::new(),
            link: Link::Down(Duration::ZERO),
            queue: VecDeque::new(),
            asked: None,
            rounds: 0,
            next_round: Duration::ZERO,
            streaming: false,
            suspended: None,
            sent: Duration::ZERO,
            unanswered: None,
            touched: Duration::ZERO,
            steps: VecDeque::new(),
            tickets: 0,
        }
    }

    fn is_active(&self) -> bool {
        self.settings.mode == Mode::Active
    }

    fn note(&mut self, code: &'static str, text: impl Into<String>) {
        self.steps.push_back(Step::Note(Warning::new(code, text)));
    }

    fn send(&mut self, bytes: Vec<u8>, now: Duration) {
        if self.is_active() {
            self.sent = now;
            self.steps.push_back(Step::Send(bytes));
        }
    }

    fn ask(&mut self, code: u8, argument: Vec<u8>, now: Duration) {
        self.unanswered.get_or_insert(now);
        self.send(Message { kind: Kind::Command, code, text: argument }.wire(), now);
    }

    fn reply(&mut self, code: u8, now: Duration) {
        self.send(Message { kind: Kind::Reply, code, text: Vec::new() }.wire(), now);
    }

    fn frame(&mut self, bytes: Vec<u8>) {
        let head = if self.streaming { self.choice().wire() } else { Vec::new() };
        self.tickets += 1;
        let bytes = [head, bytes].concat();
        self.steps.push_back(Step::Frame { ticket: Ticket(self.tickets), bytes, warnings: Vec::new() });
    }

    /// The command that chooses the realtime streams: code and multiple of the shortest interval, for each.
    fn choice(&self) -> Message {
        let streams = self.settings.realtime.iter().flat_map(words::Stream::argument);
        Message { kind: Kind::Command, code: words::CHOOSE_STREAMS, text: streams.collect() }
    }

    fn keep(&mut self, bytes: &[u8], now: Duration) {
        if let Some(frame) = self.kept.push(bytes, now) {
            self.frame(frame);
        }
    }

    fn flush(&mut self) {
        if let Some(frame) = self.kept.take() {
            self.frame(frame);
        }
    }

    fn realtime(&mut self, byte: u8, now: Duration) {
        let begins = byte & 0xf0 == words::SYNC;
        if (begins && !self.record.is_empty()) || self.record.len() >= RECORD_MAX {
            let record = std::mem::take(&mut self.record);
            self.keep(&record, now);
        }
        self.record.push(byte);
    }

    fn heard(&mut self, piece: Piece, now: Duration) {
        match piece {
            Piece::Realtime(byte) => self.realtime(byte, now),
            Piece::Control(split::DC3) => self.suspended = Some(now),
            Piece::Control(_) => self.suspended = None,
            Piece::Fault(code, text) => self.note(code, text),
            Piece::CorruptCommand => self.reply(words::CORRUPT, now),
            Piece::Message(message) if message.kind == Kind::Command => self.command(message.code, now),
            Piece::Message(message) => self.replied(&message, now),
        }
    }

    fn command(&mut self, code: u8, now: Duration) {
        if !words::ANSWERED.contains(&code) {
            return self.note("unknown-command", format!("The device's command {code:02X} is not answered."));
        }
        self.reply(code, now);
        match code {
            words::ICC => self.opened(now),
            words::STOP => self.lost(now + ICC_EVERY),
            // The device changed its streams: they are chosen anew in the next round.
            words::STREAMS_CHANGED => self.streaming = false,
            _ => {}
        }
    }

    fn replied(&mut self, message: &Message, now: Duration) {
        if words::is_kept(message.code) {
            self.keep(&message.wire(), now);
        }
        if message.code == words::ICC {
            if matches!(self.link, Link::Down(_)) {
                self.opened(now);
            }
            return;
        }
        let Some(asked) = self.asked else { return };
        if message.code == words::CORRUPT {
            if asked.attempts >= ATTEMPTS {
                self.note("refused", format!("The device could not read question {:02X}.", asked.code));
                return self.go_on(now);
            }
            self.asked = Some(Asked { since: now, attempts: asked.attempts + 1, ..asked });
            return self.put(asked.code, now);
        }
        if message.code != asked.code {
            return;
        }
        if asked.code == words::CHOOSE_STREAMS {
            self.streaming = true;
            let switch = words::switch_on(self.settings.realtime.len());
            self.send(switch, now);
        }
        self.go_on(now);
    }

    /// Sends the question of `code`.
    fn put(&mut self, code: u8, now: Duration) {
        let argument = if code == words::CHOOSE_STREAMS { self.choice().text } else { Vec::new() };
        self.ask(code, argument, now);
    }

    /// The next question of the round, or its end.
    fn go_on(&mut self, now: Duration) {
        self.asked = None;
        if !self.is_active() || self.suspended.is_some() {
            return;
        }
        match self.queue.pop_front() {
            Some(code) => {
                self.asked = Some(Asked { code, since: now, attempts: 1 });
                self.put(code, now);
            }
            None => self.flush(),
        }
    }

    /// Both sides know each other: the first round begins.
    fn opened(&mut self, now: Duration) {
        self.flush();
        self.link = Link::Up;
        (self.rounds, self.streaming) = (0, false);
        self.begin_round(now);
    }

    fn begin_round(&mut self, now: Duration) {
        self.next_round = now + Duration::from_millis(self.settings.poll_ms);
        self.queue = [words::IDENTIFICATION, words::CLOCK].into();
        self.queue.extend(self.settings.pages.iter().map(|page| page.code()));
        if self.rounds.checked_rem(self.settings.rare_every).unwrap_or(0) == 0 {
            self.queue.extend(self.settings.rare_pages.iter().map(|page| page.code()));
        }
        if !self.settings.realtime.is_empty() {
            self.queue.push_back(words::STREAMS);
            if !self.streaming {
                self.queue.push_back(words::CHOOSE_STREAMS);
            }
        }
        self.rounds = self.rounds.wrapping_add(1);
        self.go_on(now);
    }

    fn lost(&mut self, again: Duration) {
        self.flush();
        self.link = Link::Down(again);
        self.queue.clear();
        (self.asked, self.unanswered, self.suspended) = (None, None, None);
        self.streaming = false;
    }

    fn tick_open(&mut self, now: Duration) {
        let patience = if self.asked.is_some() { REPLY_WITHIN } else { SILENCE };
        if self.unanswered.is_some_and(|since| now.saturating_sub(since) >= patience) {
            self.note("silent", "The device says nothing any more; the link is opened again.");
            self.lost(now);
            return self.tick_down(now);
        }
        if self.suspended.is_some_and(|since| now.saturating_sub(since) >= REPLY_WITHIN) {
            self.suspended = None;
            self.note("suspended", "The device asked for a pause and did not end it.");
        }
        if let Some(asked) = self.asked.filter(|asked| now.saturating_sub(asked.since) >= REPLY_WITHIN) {
            self.note("no-reply", format!("Question {:02X} was not answered within 10 s.", asked.code));
            self.go_on(now);
        }
        if self.asked.is_none() && self.suspended.is_none() {
            if !self.queue.is_empty() {
                self.go_on(now);
            } else if now >= self.next_round {
                self.begin_round(now);
            }
        }
        if now.saturating_sub(self.sent) >= NOP_AFTER {
            self.ask(words::NOP, Vec::new(), now);
        }
    }

    fn tick_down(&mut self, now: Duration) {
        if let Link::Down(at) = self.link
            && now >= at
        {
            self.link = Link::Down(now + ICC_EVERY);
            self.send(Message { kind: Kind::Command, code: words::ICC, text: Vec::new() }.wire(), now);
        }
    }

    fn drain(&mut self, now: Duration) {
        for piece in std::mem::take(&mut self.split.found) {
            self.heard(piece, now);
        }
    }

    /// When the open link wants attention.
    fn open_deadline(&self) -> Duration {
        let patience = if self.asked.is_some() { REPLY_WITHIN } else { SILENCE };
        let mut due = self.sent + NOP_AFTER;
        due = self.unanswered.map_or(due, |since| due.min(since + patience));
        due = self.asked.map_or(due, |asked| due.min(asked.since + REPLY_WITHIN));
        match (self.suspended, self.asked) {
            (Some(since), _) => due.min(since + REPLY_WITHIN),
            (None, None) if !self.queue.is_empty() => Duration::ZERO,
            (None, None) => due.min(self.next_round),
            (None, Some(_)) => due,
        }
    }
}

impl Framer for MedibusFramer {
    fn feed(&mut self, bytes: &[u8], now: Duration) {
        for byte in bytes {
            self.touched = now;
            self.unanswered = None;
            self.split.byte(*byte);
            if !self.split.found.is_empty() {
                self.drain(now);
            }
        }
    }

    fn step(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    /// MEDIBUS has no acknowledgement of what was said.
    fn answer(&mut self, _ticket: Ticket, _answer: Answer, _now: Duration) {}

    fn deadline(&self) -> Option<Duration> {
        let half = self.split.is_open().then(|| self.touched + REPLY_WITHIN);
        let own = match (self.settings.mode, self.link) {
            (Mode::Passive, _) => self.kept.due(),
            (Mode::Active, Link::Down(at)) => Some(at),
            (Mode::Active, Link::Up) => Some(self.open_deadline()),
        };
        own.into_iter().chain(half).min()
    }

    fn tick(&mut self, now: Duration) {
        if self.split.is_open() && now.saturating_sub(self.touched) >= REPLY_WITHIN {
            self.split.drop_open("half-message");
            self.drain(now);
        }
        match (self.settings.mode, self.link) {
            (Mode::Passive, _) => {
                if self.kept.due().is_some_and(|due| now >= due) {
                    self.flush();
                }
            }
            (Mode::Active, Link::Down(_)) => self.tick_down(now),
            (Mode::Active, Link::Up) => self.tick_open(now),
        }
    }

    fn end(&mut self, now: Duration) {
        self.split.drop_open("half-message");
        self.drain(now);
        let record = std::mem::take(&mut self.record);
        if !record.is_empty() {
            self.keep(&record, now);
        }
        self.lost(now + ICC_EVERY);
    }
}

/// Fuzz body: whatever a device says, the cut does not matter and nothing panics.
pub fn fuzz(bytes: &[u8]) {
    let settings = || Settings { max_bytes: 512, ..Settings::default() };
    super::fuzz_framer(|| Box::new(MedibusFramer::new(settings())), bytes);
    let passive = || Settings { mode: Mode::Passive, ..settings() };
    super::fuzz_framer(|| Box::new(MedibusFramer::new(passive())), bytes);
    // The frame of a frame is the frame: it delimits itself.
    for piece in pieces(bytes) {
        if let Piece::Message(message) = piece {
            assert!(pieces(&message.wire()) == [Piece::Message(message)], "a message does not read back");
        }
    }
}

#[cfg(test)]
mod tests;
