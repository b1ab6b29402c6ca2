//! For devices that set frames between marks: a start and an end, with escapes, a length field and a check field,
//! as the page says.
//!
//! What is kept of a frame is its body: unescaped, without start, end and check field. A frame whose check does not
//! fit is not kept at all, since nobody knows which of its digits is wrong; a device that was told so with `nak`
//! sends it again, any other says the next value soon.

mod checksum;
mod settings;

use std::collections::VecDeque;
use std::time::Duration;

pub use checksum::{Algorithm, Checksum, Over, Place, Render};
pub use settings::{Escape, Length, LengthForm, Settings};

use super::{Answer, Framer, Step, Ticket, Warning};

/// Receiver of one connection.
#[derive(Debug)]
pub struct DelimitedFramer {
    settings: Settings,
    /// Bytes not looked at yet: those that arrived, and those of a false start looked at again.
    pending: VecDeque<u8>,
    state: State,
    /// The frame as it came, to look at again when it was none.
    raw: Vec<u8>,
    /// Start mark and body so far, unescaped.
    body: Vec<u8>,
    /// Bytes of the body that were escaped do not end it: the end may begin here.
    plain_from: usize,
    /// An escape byte whose meaning is the next byte's.
    escape: Option<u8>,
    /// The body's length, once the frame said it.
    wanted: Option<usize>,
    /// Bytes between frames that belong to none.
    noise: usize,
    touched: Duration,
    steps: VecDeque<Step>,
    tickets: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Between frames; so many bytes of the start mark have come.
    Outside,
    Inside,
    /// Past the end mark: so many bytes of the check field are still to come.
    Check(usize),
    /// The frame is over the limit: nothing of it is kept until it ends or another begins.
    Skipping,
}

impl DelimitedFramer {
    /// A receiver at the start of a connection.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            pending: VecDeque::new(),
            state: State::Outside,
            raw: Vec::new(),
            body: Vec::new(),
            plain_from: 0,
            escape: None,
            wanted: None,
            noise: 0,
            touched: Duration::ZERO,
            steps: VecDeque::new(),
            tickets: 0,
        }
    }

    fn note(&mut self, code: &'static str, text: impl Into<String>) {
        self.steps.push_back(Step::Note(Warning::new(code, text)));
    }

    fn work(&mut self) {
        while let Some(byte) = self.pending.pop_front() {
            match self.state {
                State::Outside => self.outside(byte),
                State::Inside => self.inside(byte),
                State::Check(left) => self.check_byte(byte, left),
                State::Skipping => self.skip(byte),
            }
        }
    }

    fn outside(&mut self, byte: u8) {
        if self.settings.start.is_empty() {
            if self.settings.trailer.contains(&byte) {
                return;
            }
            self.begin();
            return self.inside(byte);
        }
        self.raw.push(byte);
        // What cannot be the beginning of a start mark is noise.
        while !self.raw.is_empty() && !self.settings.start.starts_with(&self.raw) {
            let byte = self.raw.remove(0);
            self.noise += usize::from(!self.settings.trailer.contains(&byte));
        }
        if self.raw == self.settings.start {
            self.said_noise();
            self.begin();
        }
    }

    fn begin(&mut self) {
        self.state = State::Inside;
        self.raw.clone_from(&self.settings.start);
        self.body.clone_from(&self.settings.start);
        self.plain_from = self.body.len();
        self.escape = None;
        self.wanted = None;
    }

    fn said_noise(&mut self) {
        let count = std::mem::take(&mut self.noise);
        if count > 0 {
            self.note("outside-frame", format!("{count} bytes between frames."));
        }
    }

    fn inside(&mut self, byte: u8) {
        self.raw.push(byte);
        if self.settings.restarts() && byte_ends(&self.raw, &self.settings.start, self.settings.start.len()) {
            let count = self.raw.len() - self.settings.start.len();
            self.note("half-frame", format!("{count} bytes of a frame without its end: another began."));
            return self.begin();
        }
        if self.raw.len() > self.settings.max_bytes.saturating_mul(2) + MARKS_MAX
            || self.body_len() > self.settings.max_bytes
        {
            return self.oversize();
        }
        match self.escape.take() {
            Some(escape) => {
                let meant = self.settings.escape.as_ref().and_then(|rule| rule.meant(escape, byte));
                match meant {
                    Some(meant) => {
                        self.body.push(meant);
                        self.plain_from = self.body.len();
                    }
                    // An escape of nothing the page knows stands for itself.
                    None => self.body.extend([escape, byte]),
                }
            }
            None if self.settings.escape.as_ref().is_some_and(|rule| rule.begins(byte)) => {
                self.escape = Some(byte);
                return;
            }
            None => self.body.push(byte),
        }
        self.grown();
    }

    /// The body without the start mark.
    fn body_len(&self) -> usize {
        self.body.len().saturating_sub(self.settings.start.len())
    }

    /// Looks whether the frame is whole now.
    fn grown(&mut self) {
        let Some(length) = self.settings.length.clone() else {
            let end = &self.settings.end;
            if !end.is_empty() && byte_ends(&self.body, end, self.plain_from) {
                let kept = self.body.len() - end.len();
                self.body.truncate(kept);
                self.past_end();
            }
            return;
        };
        let from = self.settings.start.len() + length.offset;
        let until = from + length.width;
        if self.wanted.is_none()
            && let Some(field) = self.body.get(from..until)
        {
            match length.read(field).map(|said| until.saturating_add(said)) {
                Some(wanted) if wanted - self.settings.start.len() <= self.settings.max_bytes => {
                    self.wanted = Some(wanted);
                }
                Some(_) => return self.fail("oversize", "A frame says a length over the limit"),
                None => return self.fail("bad-length", "A frame's length is no number"),
            }
        }
        let Some(wanted) = self.wanted else { return };
        let before_end = self.check_width(Place::BeforeEnd);
        if self.body.len() == wanted + before_end + self.settings.end.len() {
            let mark = self.body.split_off(wanted + before_end);
            if mark == self.settings.end {
                self.past_end();
            } else {
                self.fail("bad-end", "A frame does not end where its length says");
            }
        }
    }

    fn check_width(&self, place: Place) -> usize {
        self.settings
            .checksum
            .as_ref()
            .filter(|check| check.at == place)
            .map_or(0, |check| check.render.width() + check.gap)
    }

    fn past_end(&mut self) {
        match self.check_width(Place::AfterEnd) {
            0 => self.whole(),
            left => self.state = State::Check(left),
        }
    }

    fn check_byte(&mut self, byte: u8, left: usize) {
        self.raw.push(byte);
        self.body.push(byte);
        match left {
            0 | 1 => self.whole(),
            _ => self.state = State::Check(left - 1),
        }
    }

    /// The frame is there: its check decides.
    fn whole(&mut self) {
        let start = self.settings.start.len();
        let mut warnings = Vec::new();
        if let Some(check) = self.settings.checksum.clone() {
            let Some(at) = self.body.len().checked_sub(check.render.width()).filter(|at| *at >= start) else {
                return self.fail("bad-checksum", "A frame is too short for its check field");
            };
            let field = self.body.split_off(at);
            self.body.truncate(at.saturating_sub(check.gap).max(start));
            let sum = check.alg.of(self.span(check.over));
            if !check.render.says(&field, sum) {
                if !check.tolerate {
                    return self.fail("bad-checksum", "A frame's check does not fit; nothing of it is kept");
                }
                warnings.push(Warning::new(
                    "bad-checksum",
                    "The frame's check does not fit; the page tolerates it.",
                ));
            }
        }
        let frame = self.body.split_off(start);
        self.outside_again();
        if frame.is_empty() {
            return;
        }
        self.tickets += 1;
        self.steps.push_back(Step::Frame { ticket: Ticket(self.tickets), bytes: frame, warnings });
    }

    fn span(&self, over: Over) -> impl Iterator<Item = &u8> {
        let with_start = matches!(over, Over::StartAndBody | Over::StartBodyAndEnd);
        let with_end = matches!(over, Over::BodyAndEnd | Over::StartBodyAndEnd);
        let from = if with_start { 0 } else { self.settings.start.len() };
        let end: &[u8] = if with_end { &self.settings.end } else { &[] };
        self.body.get(from..).unwrap_or_default().iter().chain(end)
    }

    fn outside_again(&mut self) {
        self.state = State::Outside;
        self.raw = Vec::new();
        self.body = Vec::new();
        self.escape = None;
    }

    /// What began was no frame. Where a start mark may also stand inside a frame, the real one may have come since.
    fn fail(&mut self, code: &'static str, text: &str) {
        self.note(code, format!("{text} ({} bytes).", self.raw.len()));
        if !self.settings.nak.is_empty() {
            self.steps.push_back(Step::Send(self.settings.nak.clone()));
        }
        let raw = std::mem::take(&mut self.raw);
        self.outside_again();
        if self.settings.restarts() || self.settings.start.is_empty() {
            return;
        }
        let from = (1..raw.len()).find(|at| {
            raw.get(*at..).is_some_and(|rest| {
                rest.starts_with(&self.settings.start) || self.settings.start.starts_with(rest)
            })
        });
        for byte in from.and_then(|at| raw.get(at..)).unwrap_or_default().iter().rev() {
            self.pending.push_front(*byte);
        }
    }

    fn oversize(&mut self) {
        let limit = self.settings.max_bytes;
        self.outside_again();
        self.state = State::Skipping;
        self.note("oversize", format!("A frame over the limit of {limit} bytes is left out."));
    }

    /// Waits for the end of a frame that is left out, or the start of the next one.
    fn skip(&mut self, byte: u8) {
        self.raw.push(byte);
        let (start, end) = (&self.settings.start, &self.settings.end);
        if !start.is_empty() && self.raw.ends_with(start) {
            return self.begin();
        }
        if start.is_empty() && !end.is_empty() && self.raw.ends_with(end) {
            return self.outside_again();
        }
        if self.raw.len() > start.len().max(end.len()) {
            self.raw.remove(0);
        }
    }

    /// Silence or the end of the connection.
    fn flush(&mut self, reason: &str) {
        let by_silence = self.settings.end.is_empty() && self.settings.length.is_none();
        match self.state {
            State::Inside if by_silence && reason == SILENCE => self.whole(),
            State::Inside | State::Check(_) => {
                self.note(
                    "half-frame",
                    format!("{} bytes of a frame without its end: {reason}.", self.raw.len()),
                );
                self.outside_again();
            }
            State::Outside | State::Skipping => {
                self.noise += self.raw.iter().filter(|byte| !self.settings.trailer.contains(byte)).count();
                if self.state == State::Skipping {
                    self.noise = 0;
                }
                self.outside_again();
            }
        }
        self.said_noise();
    }
}

impl Settings {
    /// A start mark inside a frame can only be the next frame: bytes that look like it are escaped or do not occur.
    fn restarts(&self) -> bool {
        !self.start.is_empty() && (self.escape.is_some() || self.length.is_none())
    }
}

/// Whether `bytes` end with `mark`, all of it at or after `from`.
fn byte_ends(bytes: &[u8], mark: &[u8], from: usize) -> bool {
    bytes.len() >= from + mark.len() && bytes.ends_with(mark)
}

impl Framer for DelimitedFramer {
    fn feed(&mut self, bytes: &[u8], now: Duration) {
        self.pending.extend(bytes);
        self.work();
        self.touched = now;
    }

    fn step(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    fn answer(&mut self, _ticket: Ticket, answer: Answer, _now: Duration) {
        let (bytes, kept) = match answer {
            Answer::Kept { .. } => (&self.settings.ack, true),
            Answer::Refused { .. } => (&self.settings.nak, false),
        };
        if !bytes.is_empty() {
            self.steps.push_back(Step::Send(bytes.clone()));
        } else if !kept {
            self.note("not-kept", "A frame could not be kept, and this link has no way to tell its sender.");
        }
    }

    fn deadline(&self) -> Option<Duration> {
        let waiting = self.state != State::Outside || !self.raw.is_empty() || self.noise > 0;
        let idle = self.settings.idle_ms.map_or(HALF_FRAME, Duration::from_millis);
        waiting.then(|| self.touched + idle)
    }

    fn tick(&mut self, now: Duration) {
        if self.deadline().is_some_and(|deadline| now >= deadline) {
            self.flush(SILENCE);
        }
    }

    fn end(&mut self, _now: Duration) {
        self.flush("the connection ended");
    }
}

const SILENCE: &str = "nothing followed";
/// A frame that stopped in the middle for this long is not continued by what comes later.
const HALF_FRAME: Duration = Duration::from_secs(10);
/// Room for marks and check fields beside the body.
const MARKS_MAX: usize = 64;

/// A frame as a device with these settings sends it: for simulated devices and tests. The length field is part of
/// `body`, as it is of what a receiver keeps.
pub fn wrap(settings: &Settings, body: &[u8]) -> Vec<u8> {
    let mut inner = body.to_vec();
    let mut after = Vec::new();
    if let Some(check) = &settings.checksum {
        let mut framer = DelimitedFramer::new(settings.clone());
        framer.body = [settings.start.as_slice(), body].concat();
        let field = check.render.written(check.alg.of(framer.span(check.over)));
        match check.at {
            Place::BeforeEnd => {
                inner.extend(std::iter::repeat_n(b' ', check.gap));
                inner.extend(field);
            }
            Place::AfterEnd => after = field,
        }
    }
    if let Some(escape) = &settings.escape {
        let special = [settings.start.as_slice(), settings.end.as_slice()].concat();
        inner = escape.stuffed(&inner, &special);
    }
    [settings.start.as_slice(), &inner, &settings.end, &after, &settings.trailer].concat()
}

/// Any bytes, cut anyhow, give the same frames and never a panic.
pub fn fuzz(bytes: &[u8]) {
    for text in FUZZED {
        let settings: Settings = toml::from_str(text).unwrap_or_default();
        super::fuzz_framer(|| Box::new(DelimitedFramer::new(settings.clone())), bytes);
    }
}

/// One page of each kind.
const FUZZED: [&str; 5] = [
    "start = '\\x02'\nend = '\\x03'\nmax_bytes = 40\nchecksum = { alg = 'sum8' }\nnak = '\\x15'\nack = '\\x06'",
    "start = '\\x85'\nescape = { byte = '\\x80', xor = 128 }\nlength = { width = 1, as = 'big-endian' }\nchecksum = { alg = 'xor8', render = 'byte' }",
    "start = '\\x02'\nend = '\\r'\nlength = { offset = 1, width = 2, add = -1 }\nchecksum = { alg = 'crc16-x25', render = 'word-le', at = 'after-end', over = 'body-and-end' }\nmax_bytes = 60",
    "start = 'AB'\nend = '\\r\\n'\nescape = { pairs = { 'EX' = 'D', 'EE' = 'E' } }\nmax_bytes = 10\ntrailer = '\\n'",
    "idle_ms = 100\nmax_bytes = 20",
];

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
