//! For HL7 v2 over TCP: the Minimal Lower Layer Protocol, `0x0B message 0x1C 0x0D` (HL7 MLLP Release 1; IHE ITI
//! TF-2 C.2), read as devices really write it.
//!
//! What departs from the standard is taken where that is safe, and noted. What is cut short is never taken for
//! a message: it gets no answer, so its sender keeps it.

use std::collections::VecDeque;
use std::time::Duration;

use memchr::memchr2;
use serde::Deserialize;

use super::{Answer, Framer, Step, Ticket, Warning};

/// Start block, a vertical tab.
pub const START: u8 = 0x0B;
/// End block, a file separator; a carriage return follows it.
pub const END: u8 = 0x1C;

/// Limits of one connection.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The longest message that is taken, without its frame. A longer one is refused with an AR.
    pub max_message_bytes: usize,
    /// How long one message may take to arrive, so that a sender who drips bytes does not hold a connection.
    pub message_timeout_s: u64,
    /// For senders that write bare HL7 without start and end block: a message counts as whole when its last
    /// segment is ended and nothing more came for this long. Off unless set: silence is a weak sign.
    pub unframed_quiet_ms: Option<u64>,
    /// MLLP Release 2: a block with one ACK or NAK byte says that the content block before it was kept or not.
    pub commit_characters: bool,
    /// How messages are answered where the link's `mllp` section does not say it.
    pub acknowledge: Acknowledge,
}

/// Which messages are answered, and in which mode. A message is kept before it is answered, and kept also when it
/// is not answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Acknowledge {
    /// As MSH-15 and MSH-16 ask (HL7 table 0155): CA/CE/CR, then AA/AE/AR; without them AA/AE/AR. A message that
    /// asks for nothing is answered all the same: senders write `NE` from a template and wait, and an answer nobody
    /// asked for is dropped by those who do not.
    #[default]
    Always,
    /// None: for devices that take an answer for an error.
    Never,
    /// As MSH-15 and MSH-16 ask, to the letter: silence where they ask for silence.
    Msh,
    /// One AA/AE/AR, whatever MSH-15 and MSH-16 say: for senders that write `AL` and know no CA.
    Original,
    /// As `msh`, and a message that leaves MSH-15 empty is answered CA/CE/CR.
    Enhanced,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_message_bytes: 16 * 1024 * 1024,
            message_timeout_s: 300,
            unframed_quiet_ms: None,
            commit_characters: false,
            acknowledge: Acknowledge::Always,
        }
    }
}

/// The byte of a commit acknowledgement block, and that of a negative one (MLLP Release 2, §2.2).
pub const COMMIT: u8 = 0x06;
pub const NO_COMMIT: u8 = 0x15;

/// Several messages as the body of one answer: they leave together, each in a block of its own.
pub fn join(messages: &[Vec<u8>]) -> Vec<u8> {
    messages.join(&[END, b'\r', START][..])
}

/// Puts `message` between start and end block.
pub fn wrap(message: &[u8]) -> Vec<u8> {
    let mut block = Vec::with_capacity(message.len() + 3);
    wrap_onto(&mut block, message);
    block
}

/// Takes the first whole block out of what a caller has read, for a caller that waits for answers: no more is looked
/// for than start block, content, end block and carriage return. Bytes before the start block are let go.
pub fn take_block(buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    let Some(start) = memchr::memchr(START, buffer) else {
        buffer.clear();
        return None;
    };
    buffer.drain(..start);
    let end = memchr::memmem::find(buffer, &[END, b'\r'])?;
    let rest = buffer.split_off(end + 2);
    let mut block = std::mem::replace(buffer, rest);
    block.truncate(end);
    block.remove(0);
    Some(block)
}

fn wrap_onto(block: &mut Vec<u8>, message: &[u8]) {
    block.push(START);
    block.extend_from_slice(message);
    block.extend_from_slice(&[END, b'\r']);
}

/// Receiver of one connection. Any number of frames may wait for their answer; answers leave in the order of
/// the frames.
#[derive(Debug)]
pub struct MllpFramer {
    settings: Settings,
    place: Place,
    /// The message so far; of one over the limit only its beginning.
    body: Vec<u8>,
    warnings: Vec<Warning>,
    /// Where in `body` an end block stands that was not followed by a carriage return.
    stray: Option<usize>,
    /// Bytes of the message over the limit that were let go.
    skipped: usize,
    steps: VecDeque<Step>,
    /// Frames in order of arrival with their answers, as far as given.
    open: VecDeque<(Ticket, Option<Answer>)>,
    tickets: u64,
    /// Messages sent to the device that it has not acknowledged, by their control id, and until when it may.
    sent: VecDeque<(Ticket, Vec<u8>, Duration)>,
    /// When the message began, and when its last byte came.
    began: Duration,
    touched: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Between,
    /// Inside a message; `framed` when a start block opened it.
    Body {
        framed: bool,
    },
    /// An end block came; the next byte says whether it is one.
    AfterEnd {
        framed: bool,
    },
    /// Inside a message over the limit.
    Skipping,
    Closed,
}

impl MllpFramer {
    /// A receiver at the start of a connection.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            place: Place::Between,
            body: Vec::new(),
            warnings: Vec::new(),
            stray: None,
            skipped: 0,
            steps: VecDeque::new(),
            open: VecDeque::new(),
            tickets: 0,
            sent: VecDeque::new(),
            began: Duration::ZERO,
            touched: Duration::ZERO,
        }
    }

    fn note(&mut self, code: &'static str, text: String) {
        self.steps.push_back(Step::Note(Warning { code, text }));
    }

    fn close(&mut self, code: &'static str, text: String) {
        self.steps.push_back(Step::Close(Warning { code, text }));
        self.body = Vec::new();
        self.place = Place::Closed;
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.open.push_back((ticket, None));
        ticket
    }

    /// Takes what stands between messages; gives back the rest, which begins one.
    fn between<'a>(&mut self, bytes: &'a [u8], now: Duration) -> &'a [u8] {
        let blank = |byte: &u8| matches!(byte, b'\r' | b'\n' | b' ' | b'\t' | 0);
        let begin = bytes.iter().position(|byte| !blank(byte)).unwrap_or(bytes.len());
        let rest = bytes.get(begin..).unwrap_or_default();
        match rest.split_first() {
            None => rest,
            Some((&START, rest)) => {
                self.begin(true, now);
                rest
            }
            Some(_) => {
                self.begin(false, now);
                rest
            }
        }
    }

    fn begin(&mut self, framed: bool, now: Duration) {
        self.body.clear();
        self.warnings.clear();
        self.stray = None;
        self.skipped = 0;
        self.began = now;
        self.place = Place::Body { framed };
    }

    /// Takes message bytes up to the next block character; gives back the rest.
    fn body<'a>(&mut self, bytes: &'a [u8], framed: bool, now: Duration) -> &'a [u8] {
        // After an end block that may be a stray one, first look whether a message header follows.
        let window =
            self.stray.map_or(bytes.len(), |at| (at + 1 + HEADER.len()).saturating_sub(self.body.len()));
        let found = memchr2(START, END, bytes.get(..window).unwrap_or(bytes));
        let (text, rest) = bytes.split_at(found.unwrap_or(window.min(bytes.len())));
        if self.body.len() + text.len() > self.settings.max_message_bytes {
            self.skipped = self.body.len();
            self.body.truncate(HEAD_BYTES);
            self.place = Place::Skipping;
            return bytes;
        }
        self.body.extend_from_slice(text);
        self.split_at_stray(now);
        if found.is_none() {
            return rest;
        }
        match rest.split_first() {
            None => {}
            Some((&START, _)) => self.start_inside(framed, now),
            Some(_) => self.place = Place::AfterEnd { framed },
        }
        rest.get(1..).unwrap_or_default()
    }

    /// An end block without its carriage return, followed by a new message header, did end a message: two
    /// messages in one would give one patient the results of another.
    fn split_at_stray(&mut self, now: Duration) {
        let Some(at) = self.stray else { return };
        let Some(after) = self.body.get(at + 1..).filter(|after| after.len() >= HEADER.len()) else { return };
        self.stray = None;
        if after.starts_with(HEADER) {
            let next = after.to_vec();
            self.body.truncate(at);
            self.warnings.retain(|warning| warning.code != "stray-end-block");
            self.complete(Some(no_carriage_return()));
            self.begin(false, now);
            self.warn_once(no_start_block());
            self.body = next;
        }
    }

    fn warn_once(&mut self, warning: Warning) {
        if self.warnings.iter().all(|known| known.code != warning.code) {
            self.warnings.push(warning);
        }
    }

    /// A start block where the end block of the message before it should have been.
    fn start_inside(&mut self, framed: bool, now: Duration) {
        self.give_up(framed, "a new message began");
        self.begin(true, now);
    }

    /// Lets a half message go, visibly. It was not answered, so the sender still has it.
    fn give_up(&mut self, framed: bool, reason: &str) {
        let length = self.body.len();
        if framed && length == 0 {
            self.note("double-start-block", format!("Start block without a message: {reason}."));
        } else if framed || self.body.starts_with(HEADER) {
            self.note("half-message", format!("{length} bytes of a message without an end: {reason}."));
        } else {
            self.note("noise", format!("{length} bytes that are no message: {reason}."));
        }
        self.body.clear();
    }

    /// The byte after an end block decides whether it was one.
    fn after_end<'a>(&mut self, bytes: &'a [u8], framed: bool) -> &'a [u8] {
        match bytes.split_first() {
            Some((b'\r', rest)) => {
                self.finish(framed, None);
                rest
            }
            Some((&(b'\n' | START), _)) => {
                self.finish(framed, Some(no_carriage_return()));
                bytes
            }
            Some((&END, rest)) => {
                self.warn_once(Warning::new("double-end-block", "More than one end block."));
                rest
            }
            _ => {
                self.stray = Some(self.body.len());
                self.body.push(END);
                self.warn_once(Warning::new("stray-end-block", "End block character inside the message."));
                self.place = Place::Body { framed };
                bytes
            }
        }
    }

    fn finish(&mut self, framed: bool, warning: Option<Warning>) {
        if !framed {
            self.warn_once(no_start_block());
        }
        self.complete(warning);
    }

    fn complete(&mut self, warning: Option<Warning>) {
        self.place = Place::Between;
        if self.body.is_empty() {
            return self.note("empty-message", String::from("Start and end block with nothing between."));
        }
        if let Some(warning) = warning {
            self.warn_once(warning);
        }
        if let [sign @ (COMMIT | NO_COMMIT)] = *self.body {
            self.body.clear();
            self.warnings.clear();
            if sign == NO_COMMIT {
                self.note(
                    "not-committed",
                    String::from("The other side did not keep a message of ours (NAK)."),
                );
            }
            return;
        }
        if let Some(step) = self.acknowledged() {
            self.body.clear();
            self.warnings.clear();
            return self.steps.push_back(step);
        }
        let ticket = self.ticket();
        let bytes = std::mem::take(&mut self.body);
        let warnings = std::mem::take(&mut self.warnings);
        self.steps.push_back(Step::Frame { ticket, bytes, warnings });
    }

    /// What the message in `body` says of one that was sent: no frame to keep, and not to be acknowledged itself.
    fn acknowledged(&mut self) -> Option<Step> {
        if self.sent.is_empty() {
            return None;
        }
        let (code, id) = acknowledges(&self.body)?;
        let at = self.sent.iter().position(|(_, known, _)| *known == id)?;
        let (ticket, ..) = self.sent.remove(at)?;
        Some(match code.last() {
            Some(b'A') => Step::Sent { ticket },
            _ => {
                let text = "The device did not take the message (MSA-1).";
                Step::Unsent { ticket, warning: Warning::new("not-taken", text) }
            }
        })
    }

    /// Messages whose acknowledgement did not come in time, or will not come any more.
    fn give_up_sent(&mut self, now: Option<Duration>) {
        while let Some((ticket, _, until)) = self.sent.front() {
            if now.is_some_and(|now| now < *until) {
                return;
            }
            let warning = Warning::new("not-acknowledged", "The device did not acknowledge the message.");
            self.steps.push_back(Step::Unsent { ticket: *ticket, warning });
            self.sent.pop_front();
        }
    }

    fn place_deadline(&self) -> Option<Duration> {
        let slow = self.began + Duration::from_secs(self.settings.message_timeout_s);
        match self.place {
            Place::Between | Place::Closed => None,
            Place::AfterEnd { .. } => Some(self.touched + END_QUIET),
            Place::Body { framed: false } if self.may_be_unframed() => {
                let quiet = Duration::from_millis(self.settings.unframed_quiet_ms.unwrap_or_default());
                Some(slow.min(self.touched + quiet))
            }
            Place::Body { .. } | Place::Skipping => Some(slow),
        }
    }

    /// Lets a message over the limit pass by, so that its refusal can be read by a sender who still writes.
    fn skip<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let found = bytes.iter().position(|byte| matches!(*byte, START | END));
        let (text, rest) = bytes.split_at(found.unwrap_or(bytes.len()));
        let room = HEAD_BYTES.saturating_sub(self.body.len()).min(text.len());
        self.body.extend_from_slice(text.get(..room).unwrap_or_default());
        self.skipped = self.skipped.saturating_add(text.len());
        let limit = self.settings.max_message_bytes;
        if self.skipped > limit.saturating_mul(SKIP_LIMITS) {
            let text =
                format!("A message without an end: past {SKIP_LIMITS} times the limit of {limit} bytes.");
            self.close("oversize", text);
            return &[];
        }
        let Some((&end, after)) = rest.split_first() else { return &[] };
        let head = std::mem::take(&mut self.body);
        let text = format!("A message of {} bytes is over the limit of {limit} bytes.", self.skipped);
        let ticket = self.ticket();
        self.steps.push_back(Step::Refuse { ticket, head, warning: Warning::new("oversize", text) });
        self.place = Place::Between;
        if end == START { rest } else { after }
    }

    /// Bare HL7 counts as whole when its sender is known for it and the last segment is ended.
    fn may_be_unframed(&self) -> bool {
        self.settings.unframed_quiet_ms.is_some()
            && self.body.starts_with(HEADER)
            && matches!(self.body.last(), Some(b'\r' | b'\n'))
    }

    fn complete_unframed(&mut self) {
        self.complete(Some(Warning::new("unframed", "Message without start and end block.")));
    }
}

impl Framer for MllpFramer {
    fn feed(&mut self, bytes: &[u8], now: Duration) {
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = match self.place {
                Place::Between => self.between(rest, now),
                Place::Body { framed } => self.body(rest, framed, now),
                Place::AfterEnd { framed } => self.after_end(rest, framed),
                Place::Skipping => self.skip(rest),
                Place::Closed => &[],
            };
        }
        self.touched = now;
    }

    fn step(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    fn answer(&mut self, ticket: Ticket, answer: Answer, _now: Duration) {
        if let Some((_, slot)) = self.open.iter_mut().find(|(open, _)| *open == ticket) {
            *slot = Some(answer);
        }
        let mut blocks = Vec::new();
        while let Some((_, Some(_))) = self.open.front() {
            let Some((_, Some(answer))) = self.open.pop_front() else { break };
            let (sign, body) = match answer {
                Answer::Kept { body } => (COMMIT, body),
                Answer::Refused { body } => (NO_COMMIT, body),
            };
            if self.settings.commit_characters {
                wrap_onto(&mut blocks, &[sign]);
            }
            if let Some(body) = body {
                wrap_onto(&mut blocks, &body);
            }
        }
        if !blocks.is_empty() {
            self.steps.push_back(Step::Send(blocks));
        }
    }

    fn deadline(&self) -> Option<Duration> {
        let sent = self.sent.front().map(|(_, _, until)| *until);
        self.place_deadline().into_iter().chain(sent).min()
    }

    fn holds(&self) -> usize {
        self.body.len()
    }

    fn sends(&self) -> bool {
        true
    }

    fn send(&mut self, message: Vec<u8>, now: Duration) -> Result<Ticket, Warning> {
        let Some(id) = field(&message, HEADER, 10) else {
            return Err(Warning::new(
                "no-control-id",
                "A message without a control id cannot be acknowledged.",
            ));
        };
        if matches!(self.place, Place::Closed) || self.sent.len() >= SENT_MAX {
            return Err(Warning::new("cannot-send", "The device has not acknowledged the messages before."));
        }
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.sent.push_back((ticket, id.to_vec(), now + ACKNOWLEDGE_WITHIN));
        self.steps.push_back(Step::Send(wrap(&message)));
        Ok(ticket)
    }

    fn tick(&mut self, now: Duration) {
        self.give_up_sent(Some(now));
        if self.place_deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        let limit = self.settings.message_timeout_s;
        match self.place {
            Place::AfterEnd { framed } => self.finish(framed, Some(no_carriage_return())),
            Place::Body { framed: false } if self.may_be_unframed() => self.complete_unframed(),
            Place::Body { framed: false } if !self.body.starts_with(HEADER) => {
                self.give_up(false, "nothing followed");
                self.place = Place::Between;
            }
            _ => self.close("slow-message", format!("A message took longer than {limit} s to arrive.")),
        }
    }

    fn end(&mut self, _now: Duration) {
        match self.place {
            Place::Between | Place::Closed => {}
            Place::AfterEnd { framed } => self.finish(framed, Some(no_carriage_return())),
            Place::Body { framed: false } if self.may_be_unframed() => self.complete_unframed(),
            Place::Body { framed } => self.give_up(framed, "the connection ended"),
            Place::Skipping => self.note(
                "oversize",
                format!(
                    "The connection ended in a message over the limit of {} bytes.",
                    self.settings.max_message_bytes
                ),
            ),
        }
        self.place = Place::Closed;
        self.give_up_sent(None);
    }
}

/// A field of the first segment called `name`, as written; MSH-1 is the separator itself.
fn field<'m>(message: &'m [u8], name: &[u8], number: usize) -> Option<&'m [u8]> {
    let sign = *message.strip_prefix(HEADER)?.first()?;
    let nth = if name == HEADER { number.checked_sub(1)? } else { number };
    let mut lines = message.split(|byte| matches!(byte, b'\r' | b'\n'));
    let line = lines.find(|line| line.strip_prefix(name).is_some_and(|rest| rest.first() == Some(&sign)))?;
    line.split(|byte| *byte == sign).nth(nth).filter(|field| !field.is_empty())
}

/// MSA-1 and MSA-2 of an acknowledgement (HL7 2.5 §2.15.1); a query (QRY, QBP) that carries an MSA is none.
fn acknowledges(message: &[u8]) -> Option<(&[u8], Vec<u8>)> {
    let kind = field(message, HEADER, 9)?;
    let answers = [&b"ACK"[..], b"ORL", b"ORR", b"MCF"].iter().any(|known| kind.starts_with(known));
    let code = field(message, b"MSA", 1).filter(|_| answers)?;
    Some((code, field(message, b"MSA", 2)?.to_vec()))
}

fn no_start_block() -> Warning {
    Warning::new("no-start-block", "Message without a start block.")
}

fn no_carriage_return() -> Warning {
    Warning::new("no-carriage-return", "End block without a carriage return after it.")
}

/// How long a device may take to acknowledge what answered its query, and how many answers may wait for that.
const ACKNOWLEDGE_WITHIN: Duration = Duration::from_secs(30);
const SENT_MAX: usize = 16;
/// What every HL7 v2 message begins with.
const HEADER: &[u8] = b"MSH";
/// How much of a message over the limit is kept for its refusal: more than any message header needs.
const HEAD_BYTES: usize = 4096;
/// How many times the limit a message may be long before its end is not waited for any more.
const SKIP_LIMITS: usize = 4;
/// How long an end block may wait for its carriage return.
const END_QUIET: Duration = Duration::from_millis(250);

/// Any bytes, cut anyhow, give the same frames and never a panic.
pub fn fuzz(bytes: &[u8]) {
    let settings = Settings { max_message_bytes: 300, ..Settings::default() };
    super::fuzz_framer(|| Box::new(MllpFramer::new(settings.clone())), bytes);
}

#[cfg(test)]
#[path = "mllp_tests.rs"]
mod tests;
