//! A message as one text and the offsets of its segments; everything below is split when asked for.

use std::borrow::Cow;

use super::charset::Charset;
use super::escape;
use super::lines::{Lines, is_envelope, is_header};
use super::path::Path;
use super::separators::Separators;
use super::{LENGTH_MAX, SEGMENTS_MAX};
use crate::device::Finding;

/// More findings than this about one message say nothing new.
const FINDINGS_MAX: usize = 32;

/// What came of reading bytes as a message.
#[derive(Debug)]
pub struct Parsed<'a> {
    /// `None` when no line begins with `MSH` and a separator.
    pub message: Option<Message<'a>>,
    pub findings: Vec<Finding>,
    /// A second message in the same bytes, from its MSH on; mostly empty. It is never mixed into the first:
    /// it may speak of another patient.
    pub rest: &'a [u8],
}

/// One message. Borrows the bytes it was read from where the encoding allows.
pub struct Message<'a> {
    text: Cow<'a, str>,
    /// Start and end of each segment in `text`.
    segments: Vec<(usize, usize)>,
    syntax: Syntax,
    /// What was to be taken where MSH-18 says nothing.
    default: Charset,
}

/// What is needed to take text apart.
#[derive(Clone, Copy, Debug)]
struct Syntax {
    separators: Separators,
    charset: Charset,
}

impl std::fmt::Debug for Message<'_> {
    /// Sizes only: messages hold patient data.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Message({} bytes, {} segments)", self.text.len(), self.segments.len())
    }
}

impl<'a> Message<'a> {
    /// Reads the first message in `bytes`. `default` is used when MSH-18 leaves the charset open. Headers and trailers
    /// of batches are no part of it. Never fails; the findings use the codes `no-msh`, `before-msh`,
    /// `odd-separators`, `unknown-charset`, `bad-bytes`, `byte-order-mark`, `not-a-segment`, `line-break`,
    /// `second-message`, `too-long` and `too-many-segments`.
    pub fn parse(bytes: &'a [u8], default: Charset) -> Parsed<'a> {
        let bytes = unframed(bytes);
        let mut findings = Vec::new();
        let (text, charset) = decode(bytes, default, &mut findings);
        let mut lines = Lines::new(text.as_bytes());
        let mut before = false;
        let header = lines.by_ref().find(|(start, end)| {
            let line = slice(&text, *start, *end).as_bytes();
            before |= !is_header(line) && !is_envelope(line);
            is_header(line)
        });
        let read = header.and_then(|header| {
            Separators::read(slice(&text, header.0, header.1).as_bytes()).map(|read| (header, read))
        });
        let Some((header, (separators, odd))) = read else {
            note(&mut findings, "no-msh", "line 1", "No line begins with MSH and a field separator.");
            return Parsed { message: None, findings, rest: &[] };
        };
        if before {
            note(&mut findings, "before-msh", "line 1", "There is something before MSH; it is left out.");
        }
        if let Some(odd) = odd {
            note(&mut findings, "odd-separators", "MSH-2", odd);
        }
        lines.separated_by(separators.field);
        let (segments, second) = collect(&text, header, lines, separators.field, &mut findings);
        let rest = match second {
            Some(_) if !charset.is_wide() => second_message(bytes),
            // Each letter beyond U+FFFF was two units, and a broken unit became one letter of one.
            Some(at) => {
                let mark = Charset::wide(bytes).map_or(0, |(_, mark)| mark);
                let units = text.get(..at).map_or(0, |before| before.encode_utf16().count());
                bytes.get(mark + 2 * units..).unwrap_or_default()
            }
            None => &[],
        };
        let message = Self { text, segments, syntax: Syntax { separators, charset }, default };
        Parsed { message: Some(message), findings, rest }
    }

    /// The message in its own charset, segments ended by CR: parsed with the same default it is the same message.
    /// A message with letters its charset cannot write becomes UTF-8 with a byte order mark.
    pub fn encode(&self) -> Vec<u8> {
        let mut text = String::with_capacity(self.text.len() + 1);
        for (start, end) in &self.segments {
            text.push_str(slice(&self.text, *start, *end));
            text.push('\r');
        }
        let charset = self.syntax.charset;
        let faithful = |bytes: &Vec<u8>| {
            let read = decode(bytes, self.default, &mut Vec::new());
            (read.0.as_ref(), read.1) == (text.as_str(), charset)
        };
        match charset.encode(&text).filter(faithful) {
            Some(bytes) => bytes,
            None => [b"\xEF\xBB\xBF", text.as_bytes()].concat(),
        }
    }

    /// The delimiters of this message.
    pub const fn separators(&self) -> Separators {
        self.syntax.separators
    }

    /// The encoding its text was read in.
    pub const fn charset(&self) -> Charset {
        self.syntax.charset
    }

    /// All segments in the order they came.
    pub fn segments(&self) -> impl Iterator<Item = Segment<'_>> + Clone {
        let syntax = self.syntax;
        self.segments
            .iter()
            .map(move |(start, end)| Segment { text: slice(&self.text, *start, *end), syntax })
    }

    /// The `occurrence`-th segment called `name`, from 1.
    pub fn segment(&self, name: &str, occurrence: u16) -> Option<Segment<'_>> {
        let before = usize::from(occurrence).checked_sub(1)?;
        self.segments().filter(|segment| segment.name() == name).nth(before)
    }

    /// What stands at `path`; empty when there is nothing.
    pub fn get(&self, path: &Path) -> Element<'_> {
        let segment = match &path.group {
            None => self.segment(&path.segment, path.occurrence),
            Some((head, occurrence)) => self
                .group(head, *occurrence)
                .filter(|segment| segment.name() == &*path.segment)
                .nth(at(path.occurrence)),
        };
        segment.map_or(Element::empty(self.syntax), |segment| segment.get(path))
    }

    /// The `occurrence`-th segment called `head`, from 1, and what follows it up to the next of that name.
    pub fn group(&self, head: &str, occurrence: u16) -> impl Iterator<Item = Segment<'_>> + use<'_> {
        let mut count = 0;
        let head = head.to_owned();
        let nth = usize::from(occurrence);
        self.segments()
            .map(move |segment| {
                count += usize::from(segment.name() == head);
                (count, segment)
            })
            .skip_while(move |(count, _)| *count < nth || nth == 0)
            .take_while(move |(count, _)| *count == nth)
            .map(|(_, segment)| segment)
    }
}

fn slice(text: &str, start: usize, end: usize) -> &str {
    text.get(start..end).unwrap_or_default()
}

fn note(findings: &mut Vec<Finding>, code: &'static str, place: &str, text: &str) {
    if findings.len() < FINDINGS_MAX {
        findings.push(Finding { code, place: place.into(), text: text.into() });
    }
}

/// The offsets of all segments of this message, and where another message follows.
fn collect(
    text: &str,
    header: (usize, usize),
    mut lines: Lines<'_>,
    field: u8,
    findings: &mut Vec<Finding>,
) -> (Vec<(usize, usize)>, Option<usize>) {
    // A result segment is rarely shorter than 64 bytes: one allocation for most messages.
    let mut segments = Vec::with_capacity(4 + text.len() / 64);
    segments.push(header);
    let mut outside = false;
    while let Some((start, end)) = lines.next() {
        let line = slice(text, start, end);
        if is_header(line.as_bytes()) {
            note(findings, "second-message", "MSH[2]", "A second message follows; it is read by itself.");
            return (segments, Some(start));
        }
        if is_envelope(line.as_bytes()) {
            outside = true;
            continue;
        }
        if outside && !lines.begins_segment(line.as_bytes()) {
            note(
                findings,
                "not-a-segment",
                "after the batch",
                "What follows a batch is no segment; it is left out.",
            );
            continue;
        }
        outside = false;
        if segments.len() >= SEGMENTS_MAX {
            let text = format!("More than {SEGMENTS_MAX} segments; the rest is left out.");
            note(findings, "too-many-segments", "", &text);
            break;
        }
        let place = || format!("segment {}", segments.len() + 1);
        if !named(line, field) {
            note(findings, "not-a-segment", &place(), "A line does not begin with a segment name.");
        } else if memchr::memchr2(b'\r', b'\n', line.as_bytes()).is_some() {
            let text = "A line break stands in a field without an escape; it was taken for text.";
            note(findings, "line-break", &place(), text);
        }
        segments.push((start, end));
    }
    (segments, None)
}

fn named(line: &str, field: u8) -> bool {
    let (name, after) = line.as_bytes().split_at_checked(3).unwrap_or((line.as_bytes(), &[]));
    name.len() == 3 && name.iter().all(u8::is_ascii_alphanumeric) && after.first().is_none_or(|b| *b == field)
}

/// Turns bytes into text: UTF-16 by its look, else by MSH-18, else by `default`.
fn decode<'a>(bytes: &'a [u8], default: Charset, findings: &mut Vec<Finding>) -> (Cow<'a, str>, Charset) {
    let mut bytes = bytes;
    if bytes.len() > LENGTH_MAX {
        let whole = bytes.get(..LENGTH_MAX).unwrap_or_default();
        // What ends in the middle of a segment could show half a number: only whole segments are read.
        let end = whole.iter().rposition(|b| matches!(b, b'\r' | b'\n')).unwrap_or(0);
        bytes = whole.get(..end).unwrap_or_default();
        note(findings, "too-long", "", &format!("Longer than {LENGTH_MAX} bytes; the rest is left out."));
    }
    let (charset, bytes) = match Charset::wide(bytes) {
        Some((wide, mark)) => (wide, bytes.get(mark..).unwrap_or_default()),
        None => match bytes.strip_prefix(b"\xEF\xBB\xBF") {
            Some(rest) => {
                // The mark is in the bytes; MSH-18 is often left over from a template.
                note(findings, "byte-order-mark", "", "Begins with a UTF-8 byte order mark.");
                (Charset::default(), rest)
            }
            None => (stated(bytes, default, findings), bytes),
        },
    };
    let (text, replaced) = charset.decode(bytes);
    if replaced {
        let text = format!("Some bytes are not {}; each became the sign U+FFFD.", charset.name());
        note(findings, "bad-bytes", "MSH-18", &text);
    }
    (text, charset)
}

/// The charset MSH-18 states, else `default`. The header itself is read in the default charset: in GB18030 a
/// byte that looks like a separator may be half of a letter.
fn stated(bytes: &[u8], default: Charset, findings: &mut Vec<Finding>) -> Charset {
    let header =
        Lines::new(bytes).find_map(|(start, end)| bytes.get(start..end).filter(|line| is_header(line)));
    let Some(header) = header else { return default };
    let Some((separators, _)) = Separators::read(header) else { return default };
    let (header, _) = default.decode(header);
    // MSH-1 is the separator itself, so MSH-18 is the 18th part counted from zero, less one.
    let field = header.split(char::from(separators.field)).nth(17).unwrap_or_default();
    match Charset::stated(field, char::from(separators.repetition)) {
        Ok(Some(wide)) if wide.is_wide() => {
            let text = format!(
                "{} is stated, but each letter is one byte; {} is taken.",
                wide.name(),
                default.name()
            );
            note(findings, "unknown-charset", "MSH-18", &text);
            default
        }
        Ok(charset) => charset.unwrap_or(default),
        Err(unknown) => {
            let text = format!("{unknown}; the link's default {} is taken.", default.name());
            note(findings, "unknown-charset", "MSH-18", &text);
            default
        }
    }
}

/// The bytes from the second header on.
fn second_message(bytes: &[u8]) -> &[u8] {
    let headers =
        Lines::new(bytes).filter(|(start, end)| bytes.get(*start..*end).is_some_and(is_marked_header));
    headers.skip(1).find_map(|(start, _)| bytes.get(start..)).unwrap_or_default()
}

/// A message as it lies in captures: in its MLLP block (MLLP release 1 §2: VT, message, FS CR).
fn unframed(bytes: &[u8]) -> &[u8] {
    let Some(bytes) = bytes.strip_prefix(b"\x0b") else { return bytes };
    let ended = bytes.strip_suffix(b"\x1c\r").or_else(|| bytes.strip_suffix(b"\x1c"));
    ended.unwrap_or(bytes)
}

fn is_marked_header(line: &[u8]) -> bool {
    is_header(line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line))
}

/// One segment.
#[derive(Clone, Copy)]
pub struct Segment<'m> {
    text: &'m str,
    syntax: Syntax,
}

impl std::fmt::Debug for Segment<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Segment({}, {} bytes)", self.name(), self.text.len())
    }
}

impl<'m> Segment<'m> {
    /// Its name as written, e.g. `OBX`.
    pub fn name(&self) -> &'m str {
        self.text.split(char::from(self.syntax.separators.field)).next().unwrap_or_default()
    }

    /// The whole segment as written, without its terminator.
    pub const fn raw(&self) -> &'m str {
        self.text
    }

    fn is_header(&self) -> bool {
        matches!(self.name(), "MSH" | "BHS" | "FHS")
    }

    /// Field `number` from 1; empty when the segment ends before it. In MSH, field 1 is the separator.
    pub fn field(&self, number: u16) -> Element<'m> {
        let (skipped, syntax) = (usize::from(number), self.syntax);
        let sign = char::from(syntax.separators.field);
        if !self.is_header() {
            let raw = if number == 0 { "" } else { self.text.split(sign).nth(skipped).unwrap_or_default() };
            return Element { raw, level: Level::Field, syntax };
        }
        match number {
            0 => Element::empty(syntax),
            1 => Element { raw: self.text.get(3..4).unwrap_or_default(), level: Level::Literal, syntax },
            _ => {
                let raw = self.text.split(sign).nth(skipped - 1).unwrap_or_default();
                Element { raw, level: if number == 2 { Level::Literal } else { Level::Field }, syntax }
            }
        }
    }

    /// All fields from 1 on.
    pub fn fields(&self) -> impl Iterator<Item = Element<'m>> + use<'m> {
        let syntax = self.syntax;
        let sign = char::from(syntax.separators.field);
        let header = self.is_header();
        let first = header.then(|| self.field(1));
        let rest = self.text.split(sign).skip(1).enumerate().map(move |(at, raw)| {
            let level = if header && at == 0 { Level::Literal } else { Level::Field };
            Element { raw, level, syntax }
        });
        first.into_iter().chain(rest)
    }

    /// What stands at `path` in this segment; the segment named in the path is not looked at.
    pub fn get(&self, path: &Path) -> Element<'m> {
        let mut element = self.field(path.field);
        if let Some(number) = path.repetition {
            element = element.repetition(number);
        }
        if let Some(number) = path.component {
            element = element.component(number);
        }
        if let Some(number) = path.subcomponent {
            element = element.subcomponent(number);
        }
        element
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Field,
    Repetition,
    Component,
    Subcomponent,
    /// MSH-1 and MSH-2: never split, never unescaped.
    Literal,
}

/// A field or a part of one. Asking a part for what is at or above its own level gives the part itself as
/// number 1, because HL7 lets a simple value stand where a structured one is meant.
#[derive(Clone, Copy)]
pub struct Element<'m> {
    raw: &'m str,
    level: Level,
    syntax: Syntax,
}

impl std::fmt::Debug for Element<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}({} bytes)", self.level, self.raw.len())
    }
}

impl<'m> Element<'m> {
    fn empty(syntax: Syntax) -> Self {
        Self { raw: "", level: Level::Subcomponent, syntax }
    }

    /// As written, with escapes and delimiters.
    pub const fn raw(&self) -> &'m str {
        self.raw
    }

    /// As meant: escapes resolved. Of an element with parts, the whole with its delimiters.
    pub fn text(&self) -> Cow<'m, str> {
        if self.level == Level::Literal {
            return Cow::Borrowed(self.raw);
        }
        escape::unescape(self.raw, &self.syntax.separators, self.syntax.charset)
    }

    /// The text, when there is one: neither nothing, nor blanks, nor HL7's null.
    pub fn value(&self) -> Option<Cow<'m, str>> {
        (!self.is_null() && !self.raw.trim().is_empty()).then(|| self.text())
    }

    /// Nothing was sent.
    pub const fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// `""`: the sender says that there is no value (2.5 §2.5.3); not the same as sending nothing.
    pub fn is_null(&self) -> bool {
        self.raw == "\"\""
    }

    /// Repetitions of a field; a field always has one, be it empty.
    pub fn repetitions(&self) -> impl Iterator<Item = Self> + use<'m> {
        self.parts(&[Level::Field], self.syntax.separators.repetition, Level::Repetition)
    }

    /// Components of a repetition (of a field with one repetition: its components).
    pub fn components(&self) -> impl Iterator<Item = Self> + use<'m> {
        let whole = if self.level == Level::Field { self.repetition(1) } else { *self };
        whole.parts(&[Level::Repetition], whole.syntax.separators.component, Level::Component)
    }

    /// Subcomponents of a component.
    pub fn subcomponents(&self) -> impl Iterator<Item = Self> + use<'m> {
        let component = match self.level {
            Level::Field | Level::Repetition => self.component(1),
            _ => *self,
        };
        component.parts(&[Level::Component], component.syntax.separators.subcomponent, Level::Subcomponent)
    }

    /// Repetition `number` from 1; empty when there is none.
    pub fn repetition(&self, number: u16) -> Self {
        self.repetitions().nth(at(number)).unwrap_or(Self::empty(self.syntax))
    }

    /// Component `number` from 1, of the first repetition if this is a field.
    pub fn component(&self, number: u16) -> Self {
        self.components().nth(at(number)).unwrap_or(Self::empty(self.syntax))
    }

    /// Subcomponent `number` from 1, of the first component if this is a field or a repetition.
    pub fn subcomponent(&self, number: u16) -> Self {
        self.subcomponents().nth(at(number)).unwrap_or(Self::empty(self.syntax))
    }

    fn parts(
        &self,
        splits: &'static [Level],
        sign: u8,
        level: Level,
    ) -> impl Iterator<Item = Self> + use<'m> {
        let (raw, syntax, own) = (self.raw, self.syntax, self.level);
        let split = splits.contains(&own);
        let whole = (!split).then_some(Self { raw, level: own, syntax });
        let split = split.then(|| raw.split(char::from(sign)).map(move |raw| Self { raw, level, syntax }));
        whole.into_iter().chain(split.into_iter().flatten())
    }
}

/// Number from 1 → how many to skip; 0 finds nothing.
fn at(number: u16) -> usize {
    usize::from(number).checked_sub(1).unwrap_or(usize::MAX)
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
