//! What crossed a link, with its timing: the capture file that is recorded, replayed and promoted to a test.
//!
//! A text file of JSON lines. The first is the [`Head`]: `{"bedside_tape":1,"link":"ward-3","codec":"mllp","profile":
//! "ihe/pcd01-monitor","transport":"mllp 0.0.0.0:2575","started":"2026-03-14T08:30:00.000Z","masked":false}`. Each further
//! line is a [`Chunk`]: `ms` since the start, `way` (`in`: from the device, `out`: to it, `open` and `closed` of a
//! connection), `text` (ASCII) or `b64`, and where they say something `on` (the connection, from 0), `topic` (MQTT) and
//! `lost` (chunks before this one that could not be written). A chunk is what one read gave: over UDP one datagram, over
//! MQTT one message. A last line that was cut, by a kill or a full disk, is left out.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::{Answer, Framer, Step, Warning};

/// The version of this format.
pub const VERSION: u32 = 1;
/// A longer tape is not read.
pub const TAPE_MAX: usize = 256 << 20;
/// A longer chunk is cut into several when it is written.
pub const CHUNK_MAX: usize = 1 << 20;
/// More chunks than this are not read.
const CHUNKS_MAX: usize = 2_000_000;
/// Times further on than this are no times (a year).
const MS_MAX: u64 = 366 * 86_400_000;
/// Connections of one tape.
const CONNECTIONS_MAX: u32 = 4096;

/// What a tape says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    pub bedside_tape: u32,
    pub link: String,
    /// The codec's word, e.g. `mllp`; empty when nobody knows.
    #[serde(default)]
    pub codec: String,
    /// The firmware profile the link is read with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// How the link was connected, in words, e.g. `serial /dev/ttyUSB0 9600`.
    #[serde(default)]
    pub transport: String,
    /// RFC 3339.
    #[serde(default)]
    pub started: String,
    /// Whether identifiers, names and birth dates were masked.
    #[serde(default)]
    pub masked: bool,
}

/// Which way bytes went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// From the device.
    #[default]
    In,
    /// To the device.
    Out,
    /// A connection began.
    Open,
    Closed,
}

/// What one read or write carried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    /// Milliseconds since the start of the tape.
    pub ms: u64,
    pub way: Way,
    /// Which of several connections of the link.
    pub connection: u32,
    pub topic: Option<String>,
    pub bytes: Vec<u8>,
    /// So many chunks before this one are missing.
    pub lost: u64,
}

/// A chunk as a line has it.
#[derive(Serialize, Deserialize)]
struct Line<'a> {
    ms: u64,
    way: Way,
    #[serde(default, skip_serializing_if = "is_zero")]
    on: u32,
    #[serde(default, skip_serializing_if = "Option::is_none", borrow)]
    topic: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none", borrow)]
    text: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none", borrow)]
    b64: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "none_lost")]
    lost: u64,
}

const fn is_zero(number: &u32) -> bool {
    *number == 0
}

const fn none_lost(number: &u64) -> bool {
    *number == 0
}

/// Why a file is no tape. Names lines, never what stands in them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TapeError {
    #[error("this is no tape: the first line is not {{\"bedside_tape\":{VERSION},…}}")]
    NoHead,
    #[error("the tape has format version {0}; this program reads {VERSION}")]
    Version(u32),
    #[error("line {0} of the tape is damaged: {1}")]
    Line(usize, &'static str),
    #[error("the tape is longer than {} MiB", TAPE_MAX >> 20)]
    TooLong,
}

impl Head {
    /// The head as the first line of a file, with its line end.
    pub fn line(&self) -> String {
        let head = Self { bedside_tape: VERSION, ..self.clone() };
        serde_json::to_string(&head).unwrap_or_default() + "\n"
    }
}

impl Chunk {
    /// The chunk as lines of a file, each with its line end: more than one when it is longer than [`CHUNK_MAX`]. A message
    /// of MQTT or a datagram stays in one line.
    pub fn lines(&self) -> String {
        if self.topic.is_some() || self.bytes.len() <= CHUNK_MAX {
            return self.line(&self.bytes, self.lost);
        }
        let pieces = self.bytes.chunks(CHUNK_MAX).enumerate();
        pieces.map(|(at, piece)| self.line(piece, if at == 0 { self.lost } else { 0 })).collect()
    }

    fn line(&self, bytes: &[u8], lost: u64) -> String {
        let text = std::str::from_utf8(bytes).ok().filter(|text| text.is_ascii());
        let carries = !bytes.is_empty() || matches!(self.way, Way::In | Way::Out);
        let line = Line {
            ms: self.ms,
            way: self.way,
            on: self.connection,
            topic: self.topic.as_deref().map(Cow::Borrowed),
            text: text.filter(|_| carries).map(Cow::Borrowed),
            b64: text.is_none().then(|| STANDARD.encode(bytes).into()),
            lost,
        };
        serde_json::to_string(&line).unwrap_or_default() + "\n"
    }

    fn read(line: &[u8]) -> Result<Self, &'static str> {
        let line: Line<'_> = serde_json::from_slice(line).map_err(|_| "no chunk")?;
        let bytes = match (line.text, line.b64) {
            (Some(text), None) => text.into_owned().into_bytes(),
            (None, Some(text)) => STANDARD.decode(text.as_bytes()).map_err(|_| "b64 is no base64")?,
            (None, None) => Vec::new(),
            (Some(_), Some(_)) => return Err("both text and b64"),
        };
        if line.ms > MS_MAX || line.on >= CONNECTIONS_MAX {
            return Err("a number out of range");
        }
        let topic = line.topic.map(Cow::into_owned);
        Ok(Self { ms: line.ms, way: line.way, connection: line.on, topic, bytes, lost: line.lost })
    }
}

/// A whole tape.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tape {
    pub head: Head,
    pub chunks: Vec<Chunk>,
    /// The last line was cut and is left out.
    pub cut: bool,
}

impl Tape {
    /// Reads a file.
    ///
    /// # Errors
    /// When it is no tape, of another version, too long, or damaged anywhere but in its last line.
    pub fn read(bytes: &[u8]) -> Result<Self, TapeError> {
        if bytes.len() > TAPE_MAX {
            return Err(TapeError::TooLong);
        }
        let mut lines = bytes.split_inclusive(|byte| *byte == b'\n').enumerate();
        let head = lines.next().map(|(_, line)| line).unwrap_or_default();
        let head: Head = serde_json::from_slice(head).map_err(|_| TapeError::NoHead)?;
        if head.bedside_tape != VERSION {
            return Err(TapeError::Version(head.bedside_tape));
        }
        let mut tape = Self { head, ..Self::default() };
        let mut last_ms = 0;
        for (at, line) in lines {
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            if !line.ends_with(b"\n") {
                tape.cut = true;
                break;
            }
            let mut chunk = Chunk::read(line).map_err(|why| TapeError::Line(at + 1, why))?;
            // Time never goes back; a clock that was set while recording does not undo that.
            chunk.ms = chunk.ms.max(last_ms);
            last_ms = chunk.ms;
            tape.chunks.push(chunk);
            if tape.chunks.len() > CHUNKS_MAX {
                return Err(TapeError::TooLong);
            }
        }
        Ok(tape)
    }

    /// Whether a file begins as a tape does.
    pub fn is_tape(bytes: &[u8]) -> bool {
        let head = bytes.get(..bytes.len().min(4096)).unwrap_or_default();
        String::from_utf8_lossy(head).lines().next().is_some_and(|line| line.contains("\"bedside_tape\""))
    }

    /// The file.
    pub fn written(&self) -> Vec<u8> {
        let lines: String = self.chunks.iter().map(Chunk::lines).collect();
        (self.head.line() + &lines).into_bytes()
    }

    /// Runs `make`'s framers over the tape, one for each connection, as if every frame were kept at once. Timers run out
    /// as they did while it was recorded.
    pub fn frames(&self, make: &dyn Fn() -> Box<dyn Framer>) -> Heard {
        let mut heard = Heard::default();
        let mut lines: BTreeMap<u32, Box<dyn Framer>> = BTreeMap::new();
        for chunk in &self.chunks {
            let now = Duration::from_millis(chunk.ms);
            if chunk.topic.is_some() {
                heard.frame(chunk, chunk.bytes.clone(), Vec::new());
                continue;
            }
            if matches!(chunk.way, Way::Open | Way::Closed)
                && let Some(mut framer) = lines.remove(&chunk.connection)
            {
                framer.end(now);
                heard.drain(&mut *framer, chunk, now);
            }
            if chunk.way != Way::In {
                continue;
            }
            let framer = lines.entry(chunk.connection).or_insert_with(make);
            // A framer that wants to be called at once is; each further call must move its timer on.
            for _ in 0..TICKS_MAX {
                let Some(due) = framer.deadline().filter(|due| *due <= now) else { break };
                framer.tick(due.max(Duration::from_millis(1)));
                heard.drain(&mut **framer, chunk, now);
            }
            framer.feed(&chunk.bytes, now);
            heard.drain(&mut **framer, chunk, now);
        }
        let end = Chunk { ms: self.chunks.last().map_or(0, |chunk| chunk.ms), ..Chunk::default() };
        let now = Duration::from_millis(end.ms);
        for (connection, mut framer) in lines {
            framer.end(now);
            heard.drain(&mut *framer, &Chunk { connection, ..end.clone() }, now);
        }
        heard
    }
}

/// Timers that may run out between two chunks.
const TICKS_MAX: usize = 1000;

/// What a framer found on a tape.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    pub frames: Vec<HeardFrame>,
    /// What the framers noted, with the time.
    pub notes: Vec<(u64, Warning)>,
}

/// A frame and when its last byte came.
#[derive(Clone, Debug)]
pub struct HeardFrame {
    pub ms: u64,
    pub connection: u32,
    pub topic: Option<String>,
    pub bytes: Vec<u8>,
    pub warnings: Vec<Warning>,
}

impl Heard {
    fn frame(&mut self, chunk: &Chunk, bytes: Vec<u8>, warnings: Vec<Warning>) {
        let (ms, connection, topic) = (chunk.ms, chunk.connection, chunk.topic.clone());
        self.frames.push(HeardFrame { ms, connection, topic, bytes, warnings });
    }

    fn drain(&mut self, framer: &mut dyn Framer, chunk: &Chunk, now: Duration) {
        while let Some(step) = framer.step() {
            match step {
                Step::Frame { ticket, bytes, warnings } => {
                    self.frame(chunk, bytes, warnings);
                    framer.answer(ticket, Answer::Kept { body: None }, now);
                }
                Step::Part { ticket, .. } => framer.answer(ticket, Answer::Kept { body: None }, now),
                Step::Refuse { ticket, warning, .. } => {
                    self.notes.push((chunk.ms, warning));
                    framer.answer(ticket, Answer::Refused { body: None }, now);
                }
                Step::Broken { warning } | Step::Note(warning) | Step::Close(warning) => {
                    self.notes.push((chunk.ms, warning));
                }
                Step::Send(_) | Step::Sent { .. } | Step::Unsent { .. } => {}
            }
        }
    }
}

/// Fuzz body: any file is read or refused, and what was read is written and read again as it was.
pub fn fuzz(bytes: &[u8]) {
    let Ok(tape) = Tape::read(bytes) else { return };
    let again = Tape::read(&tape.written());
    assert!(again.is_ok_and(|again| again.chunks == tape.chunks), "a tape changed by being written");
    let lines = super::Codec::Lines(super::lines::Settings::default());
    drop(tape.frames(&|| super::framer(&lines)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Codec, framer, lines, mllp};

    fn chunk(ms: u64, way: Way, bytes: &[u8]) -> Chunk {
        Chunk { ms, way, bytes: bytes.to_vec(), ..Chunk::default() }
    }

    fn tape(chunks: Vec<Chunk>) -> Tape {
        let head = Head { bedside_tape: 1, link: "bed-1".into(), codec: "lines".into(), ..Head::default() };
        Tape { head, chunks, cut: false }
    }

    #[test]
    fn what_is_written_is_read_as_it_was_whatever_the_bytes() {
        let all: Vec<u8> = (0..=255).collect();
        let mut message = chunk(7, Way::In, "{\"grün\":1}".as_bytes());
        message.topic = Some("kits/ä/1".into());
        message.lost = 3;
        let tape = tape(vec![
            chunk(0, Way::Open, b""),
            chunk(1, Way::In, b"\x02abc\x03\r\n\"\\"),
            chunk(1, Way::Out, b"\x06"),
            chunk(5, Way::In, &all),
            chunk(6, Way::In, b""),
            message,
            Chunk { connection: 4, ..chunk(9, Way::Closed, b"") },
        ]);
        let file = tape.written();
        assert_eq!(Tape::read(&file), Ok(tape));
        let text = String::from_utf8(file).unwrap();
        assert!(text.lines().nth(2).unwrap().contains(r#""text":"\u0002abc\u0003\r\n\"\\""#), "{text}");
        assert!(Tape::is_tape(text.as_bytes()) && !Tape::is_tape(b"{\"SpO2\":98}"));
    }

    #[test]
    fn a_tape_cut_anywhere_gives_the_chunks_before_the_cut() {
        let tape = tape((0..5).map(|at| chunk(at, Way::In, b"SpO2=98\r\n")).collect());
        let file = tape.written();
        let head = tape.head.line().len();
        for cut in head..file.len() {
            let read = Tape::read(&file[..cut]).unwrap();
            let whole = file[head..cut].iter().filter(|byte| **byte == b'\n').count();
            assert_eq!((read.chunks.len(), read.cut), (whole, !file[..cut].ends_with(b"\n")), "cut at {cut}");
        }
    }

    #[test]
    fn what_is_no_tape_is_refused_with_its_line() {
        let head = Head::default().line();
        let read = |rest: &str| Tape::read(format!("{head}{rest}\n").as_bytes()).unwrap_err();
        assert_eq!(Tape::read(b"SpO2=98\r\n"), Err(TapeError::NoHead));
        assert_eq!(Tape::read(b""), Err(TapeError::NoHead));
        assert_eq!(Tape::read(br#"{"bedside_tape":9,"link":"x"}"#), Err(TapeError::Version(9)));
        assert_eq!(read("nonsense"), TapeError::Line(2, "no chunk"));
        assert_eq!(read(r#"{"ms":1,"way":"in","b64":"*"}"#), TapeError::Line(2, "b64 is no base64"));
        assert_eq!(
            read(r#"{"ms":1,"way":"in","text":"a","b64":"YQ=="}"#),
            TapeError::Line(2, "both text and b64")
        );
        assert_eq!(
            read(r#"{"ms":99999999999999,"way":"in","text":"a"}"#),
            TapeError::Line(2, "a number out of range")
        );
        assert!(read(r#"{"ms":1,"way":"up","text":"a"}"#).to_string().contains("line 2"));
    }

    #[test]
    fn a_long_chunk_is_written_in_pieces_and_a_message_in_one() {
        let long = chunk(1, Way::In, &vec![b'a'; 2 * CHUNK_MAX + 1]);
        assert_eq!(long.lines().lines().count(), 3);
        let message = Chunk { topic: Some("t".into()), ..long };
        assert_eq!(message.lines().lines().count(), 1);
    }

    #[test]
    fn frames_come_from_each_connection_by_itself_and_a_new_connection_begins_anew() {
        let on = |connection, chunk: Chunk| Chunk { connection, ..chunk };
        let tape = tape(vec![
            on(0, chunk(0, Way::In, b"SpO2=")),
            on(1, chunk(1, Way::In, b"HR=60\r")),
            on(0, chunk(2, Way::In, b"98\r\nhalf")),
            on(0, chunk(3, Way::Open, b"")),
            on(0, chunk(4, Way::In, b"SpO2=97\r\n")),
        ]);
        let codec = Codec::Lines(lines::Settings::default());
        let heard = tape.frames(&|| framer(&codec));
        let said: Vec<_> = heard.frames.iter().map(|f| (f.ms, f.connection, f.bytes.as_slice())).collect();
        assert_eq!(said, [(1, 1, &b"HR=60"[..]), (2, 0, b"SpO2=98"), (4, 0, b"SpO2=97")]);
        assert_eq!(heard.notes.len(), 1, "{:?}", heard.notes);
    }

    #[test]
    fn timers_run_out_as_they_did_when_it_was_recorded() {
        let codec = Codec::Lines(lines::Settings { idle_ms: Some(500), ..lines::Settings::default() });
        let tape =
            tape(vec![chunk(0, Way::In, b"A=1"), chunk(2000, Way::In, b"B=2"), chunk(2100, Way::In, b"2")]);
        let heard = tape.frames(&|| framer(&codec));
        let said: Vec<_> = heard.frames.iter().map(|f| f.bytes.as_slice()).collect();
        assert_eq!(said.first(), Some(&&b"A=1"[..]));
    }

    #[test]
    fn messages_of_mqtt_and_blocks_of_mllp_are_frames_as_they_stand() {
        let message = Chunk { topic: Some("a/b".into()), ..chunk(0, Way::In, b"{}") };
        let tape = tape(vec![message, chunk(1, Way::In, &mllp::wrap(b"MSH|^~\\&|A\r"))]);
        let codec = Codec::Mllp(mllp::Settings::default());
        let heard = tape.frames(&|| framer(&codec));
        assert_eq!(heard.frames[0].topic.as_deref(), Some("a/b"));
        assert_eq!(heard.frames[1].bytes, b"MSH|^~\\&|A\r");
    }
}
