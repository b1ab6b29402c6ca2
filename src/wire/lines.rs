//! For devices that print text: lines ended by CR, LF or CR LF, one by one or gathered into blocks.
//!
//! Such links have no acknowledgement: what cannot be kept is lost, and said so. A line is never put together
//! from two halves that belong to different moments.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Deserialize;

use super::{Answer, Framer, Step, Ticket, Warning};

/// What makes a frame. Without `start` and `end` every line is one; blank lines separate and are not kept.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The longest line or block. A longer one is left out whole: half a number is a wrong number.
    pub max_bytes: usize,
    /// A block begins with a line that begins with this. Without `end` it reaches to the next such line.
    pub start: Option<String>,
    /// A block ends with a line that begins with this; `""` stands for a blank line.
    pub end: Option<String>,
    /// For devices that do not end their last line: after this much silence what is there is a frame.
    pub idle_ms: Option<u64>,
    /// For devices that print all the time: the first line after connecting is probably cut and is left out.
    pub drop_first_line: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { max_bytes: 65_536, start: None, end: None, idle_ms: None, drop_first_line: false }
    }
}

/// Receiver of one connection.
#[derive(Debug)]
pub struct LineFramer {
    settings: Settings,
    /// The line that is not ended yet.
    line: Vec<u8>,
    /// The lines of the block so far, each ended by LF.
    block: Vec<u8>,
    in_block: bool,
    /// The line is over the limit: nothing of it is kept until it ends.
    skipping: bool,
    /// The last line ended with CR: an LF that follows belongs to it.
    after_cr: bool,
    first: bool,
    touched: Duration,
    steps: VecDeque<Step>,
    tickets: u64,
}

impl LineFramer {
    /// A receiver at the start of a connection.
    pub fn new(settings: Settings) -> Self {
        Self {
            first: settings.drop_first_line,
            settings,
            line: Vec::new(),
            block: Vec::new(),
            in_block: false,
            skipping: false,
            after_cr: false,
            touched: Duration::ZERO,
            steps: VecDeque::new(),
            tickets: 0,
        }
    }

    fn note(&mut self, code: &'static str, text: impl Into<String>) {
        self.steps.push_back(Step::Note(Warning::new(code, text)));
    }

    fn frame(&mut self, bytes: Vec<u8>, warnings: Vec<Warning>) {
        self.tickets += 1;
        self.steps.push_back(Step::Frame { ticket: Ticket(self.tickets), bytes, warnings });
    }

    /// Takes bytes up to the next line end; gives back the rest.
    fn take<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        if std::mem::take(&mut self.after_cr)
            && let Some((b'\n', rest)) = bytes.split_first()
        {
            return rest;
        }
        let found = bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
        let (text, rest) = bytes.split_at(found.unwrap_or(bytes.len()));
        if self.line.len() + text.len() > self.settings.max_bytes {
            self.skipping = true;
            self.line = Vec::new();
        }
        if !self.skipping {
            self.line.extend_from_slice(text);
        }
        if let Some((end, rest)) = rest.split_first() {
            self.after_cr = *end == b'\r';
            self.line_ended();
            return rest;
        }
        rest
    }

    fn line_ended(&mut self) {
        let line = std::mem::take(&mut self.line);
        let cut = std::mem::take(&mut self.first);
        if std::mem::take(&mut self.skipping) {
            self.oversize("line");
        } else if cut && !is_blank(&line) {
            self.note("first-line", "The first line after connecting is left out: it may be cut.");
        } else if self.settings.start.is_none() && self.settings.end.is_none() {
            self.single(line);
        } else {
            self.gather(&line);
        }
    }

    fn oversize(&mut self, what: &str) {
        let limit = self.settings.max_bytes;
        self.block = Vec::new();
        self.in_block = false;
        self.note("oversize", format!("A {what} over the limit of {limit} bytes is left out."));
    }

    fn single(&mut self, line: Vec<u8>) {
        if is_blank(&line) {
            return;
        }
        if !line.iter().any(u8::is_ascii_graphic) {
            return self.note("noise", format!("A line of {} bytes without text.", line.len()));
        }
        self.frame(line, Vec::new());
    }

    fn gather(&mut self, line: &[u8]) {
        let starts = self.settings.start.as_ref().is_some_and(|start| line.starts_with(start.as_bytes()));
        if starts && self.in_block {
            if self.settings.end.is_some() {
                self.note("half-block", format!("{} bytes of a block without its end.", self.block.len()));
                self.block.clear();
            } else {
                self.block_ended(Vec::new());
            }
        }
        if !self.in_block {
            if self.settings.start.is_some() && !starts {
                if !is_blank(line) {
                    self.note("outside-block", format!("A line of {} bytes outside a block.", line.len()));
                }
                return;
            }
            if is_blank(line) {
                return;
            }
            self.in_block = true;
        }
        self.block.extend_from_slice(line);
        self.block.push(b'\n');
        if self.block.len() > self.settings.max_bytes {
            self.oversize("block");
        } else if self.settings.end.as_ref().is_some_and(|end| ends_block(line, end)) {
            self.block_ended(Vec::new());
        }
    }

    fn block_ended(&mut self, warnings: Vec<Warning>) {
        self.in_block = false;
        let mut block = std::mem::take(&mut self.block);
        let text = block.iter().rposition(|byte| *byte != b'\n').map_or(0, |last| last + 1);
        block.truncate(text);
        if !block.is_empty() {
            self.frame(block, warnings);
        }
    }

    /// Silence or the end of the connection: what is there counts only where the profile says so.
    fn flush(&mut self, reason: &str) {
        let unended = !self.line.is_empty() || self.skipping;
        if self.settings.idle_ms.is_none() {
            if unended {
                self.note(
                    "half-line",
                    format!("{} bytes of a line without an end: {reason}.", self.line.len()),
                );
                self.line.clear();
                self.skipping = false;
            }
            let whole = self.settings.end.is_none() && !unended;
            return if self.in_block && whole {
                self.block_ended(Vec::new())
            } else {
                self.drop_block(reason)
            };
        }
        let warning = Warning::new("no-line-end", "The last line has no line end; silence ended it.");
        if self.in_block {
            if unended && !self.skipping {
                self.block.append(&mut self.line);
            }
            let mut warnings = Vec::new();
            warnings.extend(unended.then_some(warning));
            if self.settings.end.is_some() {
                warnings.push(Warning::new("no-block-end", "The block has no end; silence ended it."));
            }
            self.block_ended(warnings);
        } else if unended && !self.skipping && !std::mem::take(&mut self.first) {
            let line = std::mem::take(&mut self.line);
            if self.settings.start.as_ref().is_none_or(|start| line.starts_with(start.as_bytes())) {
                self.frame(line, vec![warning]);
            }
        }
        self.line.clear();
        self.skipping = false;
    }

    fn drop_block(&mut self, reason: &str) {
        if std::mem::take(&mut self.in_block) {
            self.note(
                "half-block",
                format!("{} bytes of a block without its end: {reason}.", self.block.len()),
            );
            self.block.clear();
        }
    }
}

impl Framer for LineFramer {
    fn feed(&mut self, bytes: &[u8], now: Duration) {
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = self.take(rest);
        }
        self.touched = now;
    }

    fn step(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    fn answer(&mut self, _ticket: Ticket, answer: Answer, _now: Duration) {
        if matches!(answer, Answer::Refused { .. }) {
            self.note("not-kept", "A frame could not be kept, and this link has no way to tell its sender.");
        }
    }

    fn deadline(&self) -> Option<Duration> {
        let waiting = !self.line.is_empty() || self.skipping || self.in_block;
        let idle = self.settings.idle_ms.map_or(HALF_LINE, Duration::from_millis);
        waiting.then(|| self.touched + idle)
    }

    fn tick(&mut self, now: Duration) {
        if self.deadline().is_some_and(|deadline| now >= deadline) {
            self.flush("nothing followed");
        }
    }

    fn end(&mut self, _now: Duration) {
        self.flush("the connection ended");
    }
}

fn is_blank(line: &[u8]) -> bool {
    line.iter().all(u8::is_ascii_whitespace)
}

fn ends_block(line: &[u8], end: &str) -> bool {
    if end.is_empty() { is_blank(line) } else { line.starts_with(end.as_bytes()) }
}

/// A line or block that stopped in the middle for this long is not continued by what comes later.
const HALF_LINE: Duration = Duration::from_secs(10);

/// Any bytes, cut anyhow, give the same frames and never a panic.
pub fn fuzz(bytes: &[u8]) {
    let plain = Settings { max_bytes: 40, ..Settings::default() };
    let block = Settings { start: Some("S".into()), end: Some(String::new()), ..plain.clone() };
    let pages = Settings { start: Some("S".into()), idle_ms: Some(100), ..plain.clone() };
    for settings in [plain, block, pages] {
        super::fuzz_framer(|| Box::new(LineFramer::new(settings.clone())), bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::rig::{Bench, any_cut_gives_the_same};

    fn settings() -> Settings {
        Settings { max_bytes: 30, ..Settings::default() }
    }

    fn block(start: Option<&str>, end: Option<&str>) -> Settings {
        Settings { start: start.map(Into::into), end: end.map(Into::into), ..settings() }
    }

    fn framer(settings: &Settings) -> LineFramer {
        LineFramer::new(settings.clone())
    }

    #[test]
    fn any_cut_of_the_bytes_yields_the_same_frames() {
        let text = b"SpO2=98\r\nHR=60\rT=36.6\n\n\r\n \xff\x00\nlong long long long long long line\r\nlast=1\r\nhalf";
        let said = any_cut_gives_the_same(|| framer(&settings()), text);
        assert_eq!(said.messages(), ["SpO2=98", "HR=60", "T=36.6", "last=1"]);
        assert_eq!(said.notes, ["noise", "oversize", "half-line"]);
        assert_eq!(said.sent, b"");
    }

    #[test]
    fn a_block_reaches_from_its_start_to_its_end() {
        let text =
            b"tail\r\nBEGIN 1\r\na\r\n\r\nb\r\nEND\r\nnoise\r\nBEGIN 2\r\nEND.\r\nBEGIN 3\r\nBEGIN 4\rEND\r";
        let said = any_cut_gives_the_same(|| framer(&block(Some("BEGIN"), Some("END"))), text);
        assert_eq!(said.messages(), ["BEGIN 1\na\n\nb\nEND", "BEGIN 2\nEND.", "BEGIN 4\nEND"]);
        assert_eq!(said.notes, ["outside-block", "outside-block", "half-block"]);
    }

    #[test]
    fn a_blank_line_can_end_a_block() {
        let said = any_cut_gives_the_same(
            || framer(&block(None, Some(""))),
            b"\r\na\r\nb\r\n\r\n\r\nc\r\n\r\nd\r\n",
        );
        assert_eq!(said.messages(), ["a\nb", "c"]);
        assert_eq!(said.notes, ["half-block"]);
    }

    #[test]
    fn a_block_without_end_reaches_to_the_next_start() {
        let said = any_cut_gives_the_same(|| framer(&block(Some("#"), None)), b"x\n# 1\na\n# 2\nb\n");
        assert_eq!(said.messages(), ["# 1\na", "# 2\nb"]);
    }

    #[test]
    fn a_block_over_the_limit_is_left_out_and_the_next_one_taken() {
        let text = [b"#\n".as_slice(), b"0123456789\n".repeat(4).as_slice(), b"#\nok\n"].concat();
        let said = any_cut_gives_the_same(|| framer(&block(Some("#"), None)), &text);
        assert_eq!(said.messages(), ["#\nok"]);
        assert_eq!(said.notes, ["oversize", "outside-block"]);
    }

    #[test]
    fn the_first_line_after_a_hot_plug_can_be_left_out() {
        let settings = Settings { drop_first_line: true, ..settings() };
        let said = any_cut_gives_the_same(|| framer(&settings), b"8 HR=60\r\nSpO2=98 HR=60\r\n");
        assert_eq!((said.messages(), said.notes), (vec![String::from("SpO2=98 HR=60")], vec!["first-line"]));
    }

    #[test]
    fn two_halves_from_different_moments_are_not_one_line() {
        let mut bench = Bench::new(framer(&settings()));
        bench.feed(b"SpO2=9").wait(Duration::from_secs(60)).feed(b"SpO2=98\r\n");
        assert_eq!(
            (bench.said.messages(), &*bench.said.notes),
            (vec![String::from("SpO2=98")], &["half-line"][..])
        );
    }

    #[test]
    fn silence_ends_a_line_where_the_profile_says_so() {
        let mut bench = Bench::new(framer(&Settings { idle_ms: Some(200), ..settings() }));
        bench.feed(b"ST,+00").wait(Duration::from_millis(100)).feed(b"72.5kg").wait(Duration::from_secs(1));
        assert_eq!(bench.said.frames, [(b"ST,+0072.5kg".to_vec(), vec!["no-line-end"])]);
        let mut bench = Bench::new(framer(&Settings { idle_ms: Some(200), ..block(Some("#"), Some("END")) }));
        bench.feed(b"#1\r\nab").wait(Duration::from_secs(1));
        assert_eq!(bench.said.frames, [(b"#1\nab".to_vec(), vec!["no-line-end", "no-block-end"])]);
    }

    #[test]
    fn a_flood_without_line_end_stays_within_the_limit() {
        let mut framer = framer(&settings());
        for _ in 0..1000 {
            framer.feed(&[b'x'; 1000], Duration::ZERO);
            assert!(framer.line.capacity() <= 1000);
        }
        framer.feed(b"\nok\n", Duration::ZERO);
        let mut bench = Bench::new(framer);
        bench.feed(b"");
        assert_eq!(
            (bench.said.messages(), &*bench.said.notes),
            (vec![String::from("ok")], &["oversize"][..])
        );
    }

    #[test]
    fn a_frame_that_is_not_kept_is_said_to_be_lost() {
        let mut bench = Bench::new(framer(&settings()));
        bench.refuse = 1;
        bench.feed(b"a\nb\n");
        assert_eq!(bench.said.notes, ["not-kept"]);
    }

    #[test]
    fn the_fuzz_body_holds_on_all_short_strings_of_the_alphabet() {
        let alphabet = [b'\r', b'\n', b'S', b'x', b' '];
        for n in 0..alphabet.len().pow(6) {
            fuzz(
                &(0..6)
                    .map(|place| alphabet[n / alphabet.len().pow(place) % alphabet.len()])
                    .collect::<Vec<_>>(),
            );
        }
        fuzz(&[b'x'; 100]);
    }
}
