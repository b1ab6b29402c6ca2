//! For laboratory analysers: the link layer of ASTM E1381-95 and CLSI LIS01-A2, as a receiver that can send the
//! answer to an analyser's query, and a sender for simulators.
//!
//! An analyser deletes what was acknowledged. So an ACK leaves only when the text it acknowledges is kept: a
//! frame in the middle of a message as a [`Step::Part`], the frame that completes a message as a
//! [`Step::Frame`] with the whole message. Until the answer comes, what follows waits in a bounded queue; it
//! comes too late after 15 s, when the sender has given up and would take it for the answer to something else.

mod frame;
mod judge;
mod message;
mod outbox;
mod sender;
mod settings;

pub use sender::{AstmSender, Cut, Role, Sending, Sent, frame};
pub use settings::{ChecksumRule, NumberRule, Settings};

use std::collections::VecDeque;
use std::time::Duration;

use super::{Answer, Framer, Step, Ticket, Warning};
use frame::{ACK, ENQ, EOT, Lexer, NAK, QUIET_AROUND_ENQUIRY, RawFrame, Token, is_header};
use judge::Judged;
use message::{Assembly, Mark, Whole};
use outbox::Outbox;

/// Receiver of one line.
#[derive(Debug)]
pub struct AstmFramer {
    settings: Settings,
    lexer: Lexer,
    /// Bytes that came while an answer was awaited.
    inbox: VecDeque<u8>,
    tokens: VecDeque<Token>,
    session: Option<Session>,
    message: Assembly,
    /// Departures seen in the message so far.
    warnings: Vec<Warning>,
    /// This device has sent a right checksum, so a missing one is an error.
    checksums_seen: bool,
    waiting: Option<Waiting>,
    /// Until then a new session is turned away, because the last frame could not be kept.
    busy_until: Option<Duration>,
    /// Messages for the analyser, and the one that is being sent.
    outbox: Outbox,
    steps: VecDeque<Step>,
    tickets: u64,
    /// When the line last did something.
    touched: Duration,
    ended: bool,
    closed: bool,
}

/// Between ENQ and EOT.
#[derive(Debug)]
struct Session {
    expected: u8,
    /// The last accepted frame: its number and text, to know a repetition.
    last: Option<(u8, Vec<u8>)>,
    /// Whether frames carry numbers, from the first one on.
    numbered: Option<bool>,
    /// The last frame was refused: an EOT now means that the sender gives up.
    refused: bool,
    /// The last frame ended with ETB: the message goes on.
    unfinished: bool,
    /// An ENQ came, and nothing after it yet.
    asked: Option<Asked>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// Silence after it makes it a new session.
    Answer,
    /// Only a first frame after it makes it a new session.
    Doubtful,
}

impl Session {
    fn begin() -> Self {
        Self { expected: 1, last: None, numbered: None, refused: false, unfinished: false, asked: None }
    }
}

/// What was handed out and is not answered yet.
#[derive(Debug)]
struct Waiting {
    tickets: Vec<Ticket>,
    refused: bool,
    since: Duration,
    /// Where the assembly stood before, and how much of it is kept as whole messages afterwards.
    before: Mark,
    consumed: usize,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Frame {
        number: u8,
        text: Vec<u8>,
        last: bool,
    },
    Block,
    Unframed,
    /// The end of the session ended a message without L record; all of it was acknowledged before.
    End,
}

impl AstmFramer {
    /// A receiver at the start of a connection.
    pub fn new(settings: Settings) -> Self {
        let quiet = Duration::from_millis(settings.unframed_quiet_ms);
        Self {
            lexer: Lexer::new(settings.max_frame_bytes, quiet),
            settings,
            inbox: VecDeque::new(),
            tokens: VecDeque::new(),
            session: None,
            message: Assembly::default(),
            warnings: Vec::new(),
            checksums_seen: false,
            waiting: None,
            busy_until: None,
            outbox: Outbox::default(),
            steps: VecDeque::new(),
            tickets: 0,
            touched: Duration::ZERO,
            ended: false,
            closed: false,
        }
    }

    fn send(&mut self, byte: u8) {
        self.steps.push_back(Step::Send(vec![byte]));
    }

    /// This session's sender frames its records.
    fn in_frames(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.last.is_some() || session.refused)
    }

    fn asked(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.asked == Some(Asked::Answer))
    }

    fn note(&mut self, warning: Warning) {
        self.steps.push_back(Step::Note(warning));
    }

    fn refuse(&mut self, warning: Warning) {
        self.note(warning);
        if let Some(session) = &mut self.session {
            session.refused = true;
        }
        self.send(NAK);
    }

    fn warn_once(&mut self, warning: Warning) {
        if self.warnings.iter().all(|known| known.code != warning.code) {
            self.warnings.push(warning);
        }
    }

    /// Works through what came, as far as no answer is awaited.
    fn advance(&mut self, now: Duration) {
        while self.waiting.is_none() {
            if let Some(token) = self.tokens.pop_front() {
                self.hear(token, now);
            } else if let Some(byte) = self.inbox.pop_front() {
                if self.outbox.has_the_line() {
                    self.answered(byte, now);
                } else {
                    self.lexer.push(byte, now, &mut self.tokens);
                }
            } else if self.ended && !self.closed {
                self.closed = true;
                self.lexer.finish(&mut self.tokens);
            } else {
                if self.ended {
                    self.leave("the connection ended");
                }
                return;
            }
        }
    }

    fn hear(&mut self, token: Token, now: Duration) {
        match token {
            Token::Enquiry { alone } => self.enquiry(alone, now),
            Token::Restart => self.open_session(now),
            Token::End => self.end_of_session(now),
            Token::Frame(raw) => self.frame(raw, now),
            Token::Block(records) if self.in_frames() || !begins_message(&records) => {
                // Noise made the SOH; the EOT was the sender's.
                self.hear(Token::Noise(records.len()), now);
                self.end_of_session(now);
            }
            Token::Block(records) => self.loose(&records, Source::Block, now),
            // After frames, records without one are the rest of a frame that noise cut short.
            Token::Unframed(records) if self.in_frames() => self.hear(Token::Noise(records.len()), now),
            Token::Unframed(records) => self.loose(&records, Source::Unframed, now),
            Token::Half(length) => {
                self.note(Warning::new("half-frame", format!("{length} bytes of a frame without its end.")));
            }
            Token::Oversize(length) => {
                let limit = self.settings.max_frame_bytes;
                let text = format!("A frame of {length} bytes is over the limit of {limit} bytes.");
                let warning = Warning::new("oversize", text);
                if self.session.is_some() { self.refuse(warning) } else { self.note(warning) }
            }
            Token::Noise(length) => {
                self.note(Warning::new("noise", format!("{length} bytes that belong to no frame.")));
            }
        }
    }

    /// An ENQ within a session may be a byte that noise changed, and an ACK to it would be taken for that of the
    /// frame it stood in. A sender that really begins anew waits for the answer, so silence decides.
    fn enquiry(&mut self, alone: bool, now: Duration) {
        let between = self.message.is_empty();
        match &mut self.session {
            None => self.open_session(now),
            Some(session) => {
                let answer = alone || (between && !session.refused && session.last.is_some());
                session.asked = Some(if answer { Asked::Answer } else { Asked::Doubtful });
            }
        }
    }

    fn open_session(&mut self, now: Duration) {
        self.leave("the sender began anew");
        if self.busy_until.is_some_and(|until| now < until) {
            self.note(Warning::new(
                "busy",
                "An ENQ was answered with NAK: the last frame could not be kept.",
            ));
            return self.send(NAK);
        }
        self.session = Some(Session::begin());
        self.send(ACK);
    }

    fn end_of_session(&mut self, now: Duration) {
        let whole = self.session.as_ref().is_some_and(|session| !session.refused && !session.unfinished);
        if self.message.is_empty() || !whole {
            return self.leave("the sender ended the session");
        }
        let before = self.message.mark();
        let range = 0..self.message.len();
        let whole = vec![Whole { range, terminated: false }];
        self.hand_out(whole, before, Source::End, now);
    }

    /// Ends the session; what was acknowledged of an unfinished message stays for a person to see.
    fn leave(&mut self, reason: &str) {
        self.session = None;
        self.warnings.clear();
        if !self.message.is_empty() {
            let text = format!("{} bytes of a message without its end: {reason}.", self.message.len());
            self.steps.push_back(Step::Broken { warning: Warning::new("broken-transmission", text) });
            self.message.clear();
        }
    }

    fn frame(&mut self, raw: RawFrame, now: Duration) {
        let (last, length) = (raw.last, raw.text.len());
        let unnumbered = raw.text.get(usize::from(raw.text.first().is_some_and(u8::is_ascii_digit))..);
        let first = unnumbered.is_some_and(begins_message);
        let asked = self.session.as_mut().and_then(|session| session.asked.take());
        if asked.is_some() && first && !self.message.is_empty() {
            self.leave("the sender began anew");
            self.session = Some(Session::begin());
        }
        if self.session.is_none() {
            if !first {
                return self.refuse(Warning::new("no-enquiry", "A frame of a session that was not opened."));
            }
            self.session = Some(Session::begin());
            self.warn_once(Warning::new("no-enquiry", "The first frame came without an ENQ before it."));
        }
        match self.judge(raw) {
            Judged::Refused(warning) => self.refuse(warning),
            Judged::Repeated => {
                self.note(Warning::new("repeated-frame", "A frame came again and was acknowledged again."));
                self.send(ACK);
            }
            Judged::Next { number, text, warnings } => {
                let room = self.settings.max_message_bytes.saturating_sub(self.message.len());
                if text.len() > room {
                    let limit = self.settings.max_message_bytes;
                    let text = format!(
                        "A frame of {length} bytes makes the message longer than the limit of {limit} bytes."
                    );
                    return self.refuse(Warning::new("oversize", text));
                }
                for warning in warnings {
                    self.warn_once(warning);
                }
                let before = self.message.mark();
                let whole = self.message.push(&text, last);
                self.hand_out(whole, before, Source::Frame { number, text, last }, now);
            }
        }
    }

    /// Records that came without numbered frames: whole when they end.
    fn loose(&mut self, records: &[u8], source: Source, now: Duration) {
        self.leave("records without frames began");
        if matches!(source, Source::Unframed) {
            self.warn_once(Warning::new("unframed", "Records without frames and checksums."));
        }
        let before = self.message.mark();
        let mut whole = self.message.push(records, true);
        let end = whole.last().map_or(0, |whole| whole.range.end);
        if !self.message.bytes(end..self.message.len()).trim_ascii().is_empty() {
            whole.push(Whole { range: end..self.message.len(), terminated: false });
        }
        self.hand_out(whole, before, source, now);
    }

    /// Hands out the messages that are whole and, of a frame, the beginning of the next one.
    fn hand_out(&mut self, whole: Vec<Whole>, before: Mark, source: Source, now: Duration) {
        let consumed = whole.last().map_or(0, |whole| whole.range.end);
        let mut tickets = Vec::new();
        for Whole { range, terminated } in whole {
            let mut warnings = self.warnings.clone();
            if !terminated {
                warnings.push(Warning::new("no-terminator", "Message without an L record."));
            }
            let (ticket, bytes) = (self.ticket(), self.message.bytes(range));
            tickets.push(ticket);
            self.steps.push_back(Step::Frame { ticket, bytes, warnings });
        }
        // A kept message takes the place of all parts, so what is left over is handed out whole.
        let rest =
            self.message.bytes(if consumed > 0 { consumed } else { before.length }..self.message.len());
        if !rest.is_empty() && (consumed == 0 || !rest.trim_ascii().is_empty()) {
            let ticket = self.ticket();
            tickets.push(ticket);
            self.steps.push_back(Step::Part { ticket, bytes: rest });
        }
        let waiting = Waiting { tickets, refused: false, since: now, before, consumed, source };
        if waiting.tickets.is_empty() {
            self.settle(waiting, now);
        } else {
            self.waiting = Some(waiting);
        }
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    /// Everything that was handed out is answered: moves on or back, and says so to the sender.
    fn settle(&mut self, waiting: Waiting, now: Duration) {
        let Waiting { refused, since, before, consumed, source, .. } = waiting;
        self.touched = now;
        let late = self.late(since, now);
        if refused {
            self.busy_until = Some(now + BUSY);
            return self.settle_refused(&source, before, late);
        }
        self.busy_until = None;
        self.message.forget(consumed);
        if consumed > 0 {
            self.warnings.clear();
        }
        match source {
            Source::Frame { number, text, last } => {
                if let Some(session) = &mut self.session {
                    session.expected = (number + 1) % 8;
                    session.last = Some((number, text));
                    session.refused = false;
                    session.unfinished = !last;
                }
                self.reply(ACK, late);
            }
            Source::Block => self.reply(ACK, late),
            Source::Unframed => {}
            Source::End => self.session = None,
        }
    }

    fn settle_refused(&mut self, source: &Source, before: Mark, late: bool) {
        match source {
            Source::Frame { .. } => {
                self.message.go_back(before);
                if let Some(session) = &mut self.session {
                    session.refused = true;
                }
                self.reply(NAK, late);
            }
            Source::Block => {
                self.message.clear();
                self.reply(NAK, late);
            }
            Source::Unframed => {
                self.message.clear();
                let text = "Records without frames could not be kept, and their sender cannot be told.";
                self.note(Warning::new("not-kept", text));
            }
            Source::End => self.leave("its end could not be kept"),
        }
    }

    fn reply(&mut self, byte: u8, late: bool) {
        if late {
            let text = "The answer came after the sender had given up, and was not sent.";
            self.note(Warning::new("late-answer", text));
        } else {
            self.send(byte);
        }
    }

    /// The sender has given up on this answer: by its timer, or because it already said something new.
    fn late(&self, since: Duration, now: Duration) -> bool {
        let waited = now.saturating_sub(since);
        let moved_on = || self.inbox.iter().any(|byte| matches!(*byte, ENQ | EOT));
        waited >= REPLY_TIMEOUT || (waited >= IMPATIENCE && moved_on())
    }
}

impl Framer for AstmFramer {
    fn feed(&mut self, bytes: &[u8], now: Duration) {
        if self.closed {
            return;
        }
        self.touched = now;
        self.inbox.extend(bytes);
        self.advance(now);
        if self.inbox.len() > INBOX_BYTES {
            self.closed = true;
            self.inbox.clear();
            let text = format!("Over {INBOX_BYTES} bytes came while the answer to a frame was awaited.");
            self.steps.push_back(Step::Close(Warning::new("flood", text)));
        }
    }

    fn step(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    fn answer(&mut self, ticket: Ticket, answer: Answer, now: Duration) {
        let Some(waiting) = &mut self.waiting else { return };
        let Some(place) = waiting.tickets.iter().position(|open| *open == ticket) else { return };
        waiting.tickets.remove(place);
        waiting.refused |= matches!(answer, Answer::Refused { .. });
        if waiting.tickets.is_empty()
            && let Some(waiting) = self.waiting.take()
        {
            self.settle(waiting, now);
            self.advance(now);
        }
    }

    fn deadline(&self) -> Option<Duration> {
        if self.waiting.is_some() || self.closed {
            return None;
        }
        if let Some(at) = self.speaks_at() {
            return Some(self.lexer.deadline().map_or(at, |other| at.min(other)));
        }
        let silent = (self.session.is_some() || self.lexer.midway()).then(|| self.touched + RECEIVE_TIMEOUT);
        let asked = self.asked().then(|| self.touched + QUIET_AROUND_ENQUIRY);
        [silent, asked, self.lexer.deadline()].into_iter().flatten().min()
    }

    fn tick(&mut self, now: Duration) {
        if self.waiting.is_some() || self.closed {
            return;
        }
        self.lexer.tick(now, &mut self.tokens);
        self.advance(now);
        if self.speaks_at().is_some_and(|at| now >= at) {
            self.speak(now);
        }
        if self.waiting.is_none() && self.asked() && now >= self.touched + QUIET_AROUND_ENQUIRY {
            self.open_session(now);
            self.touched = now;
        }
        let open = self.session.is_some() || self.lexer.midway();
        if self.waiting.is_none() && open && now >= self.touched + RECEIVE_TIMEOUT {
            self.lexer.finish(&mut self.tokens);
            self.advance(now);
            if self.waiting.is_none() {
                self.leave("the sender fell silent");
            }
        }
    }

    fn end(&mut self, now: Duration) {
        self.ended = true;
        self.advance(now);
        self.fall_silent();
    }

    fn sends(&self) -> bool {
        true
    }

    fn send(&mut self, message: Vec<u8>, now: Duration) -> Result<Ticket, Warning> {
        self.take_to_send(message, now)
    }
}

fn begins_message(text: &[u8]) -> bool {
    is_header(text.get(..2).unwrap_or(text))
}

/// A receiver waits this long for the next frame or EOT (LIS01-A2 §6.5.2).
const RECEIVE_TIMEOUT: Duration = Duration::from_secs(30);
/// A sender waits this long for the answer to ENQ or a frame (LIS01-A2 §6.5.2).
const REPLY_TIMEOUT: Duration = Duration::from_secs(15);
/// Nobody waits less than this for an answer; who says something new after it has given up waiting.
const IMPATIENCE: Duration = Duration::from_secs(1);
/// A sender turned away waits at least this long before its next ENQ (LIS01-A2 §6.2.6).
const BUSY: Duration = Duration::from_secs(10);
/// How much may come while an answer is awaited. Nobody who waits for answers sends any of it.
const INBOX_BYTES: usize = 4 * 1024 * 1024;
/// Any bytes, cut anyhow, give the same messages and never a panic.
pub fn fuzz(bytes: &[u8]) {
    let tight = Settings { max_frame_bytes: 100, max_message_bytes: 200, ..Settings::default() };
    let loose = Settings {
        checksum: ChecksumRule::Ignored,
        frame_numbers: NumberRule::Ignored,
        ..Settings::default()
    };
    for settings in [tight, loose] {
        super::fuzz_framer(|| Box::new(AstmFramer::new(settings.clone())), bytes);
    }
    sender::fuzz(bytes);
    outbox::fuzz(bytes);
}

#[cfg(test)]
mod tests;
