//! Records whose fields are known by their place alone: numbered fields between separators (CSV), and bytes at
//! offsets. A layout says which field is which, and how many there must be before any of them is believed.

use std::borrow::Cow;
use std::sync::Arc;

use regex::Regex;

use super::flat::{Fields, Run};
use super::locate::Locator;
use super::section::{At, Section};
use super::sections::regex;
use super::{Decoded, FirmwareProfile, LinkContext};
use crate::wire::notation::bytes_of;

/// What stands where in one kind of record.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// Which records it is for: all when `None`.
    matches: Option<Regex>,
    starts: Vec<u8>,
    /// Fewer fields, or bytes, than this: the record is cut, and every place in it may be another.
    least: usize,
    fields: Vec<(Arc<str>, Cell)>,
}

/// Where a field stands and how it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cell {
    /// Number of the field from 1, or of the byte from 0.
    at: usize,
    form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Text,
    Unsigned { width: usize, little: bool },
    Signed { width: usize, little: bool },
    Ascii { width: usize },
}

impl Layout {
    /// `[[record.layout]]`. `numbered`: fields are counted, else they are bytes.
    pub(super) fn read(section: Section<'_>, numbered: bool) -> Option<Self> {
        let matches = section.text("matches").and_then(|text| regex(&section, "matches", &text));
        let starts = section.text("starts").map(|text| {
            bytes_of(&text.value).map_err(|error| section.fault(text.span, error)).unwrap_or_default()
        });
        let least = section.integer("least", 1..=100_000).and_then(|at| usize::try_from(at.value).ok());
        let mut fields = Vec::new();
        for (name, value) in section.entries("fields") {
            let said = value.get_ref().as_integer().map(|integer| integer.as_str().to_owned());
            let said = said.or_else(|| value.get_ref().as_str().map(str::to_owned)).unwrap_or_default();
            match Cell::parse(&said, numbered) {
                Some(cell) => fields.push((name.value.into(), cell)),
                None => {
                    let wanted = if numbered {
                        "a field's number from 1"
                    } else {
                        "such as \"4 u8\", \"2 i16-be\" or \"0 ascii 6\""
                    };
                    section.fault(value.span(), format!("an entry of `fields` is {wanted}"));
                }
            }
        }
        if least.is_none() {
            let what = if numbered { "fields" } else { "bytes" };
            section.fault(
                section.span.clone(),
                format!("{} needs `least`: with fewer {what} a record is cut", section.name),
            );
        }
        section.finish();
        Some(Self { matches, starts: starts.unwrap_or_default(), least: least?, fields })
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|(name, _)| &**name)
    }

    pub(super) fn fits_line(&self, line: &str) -> bool {
        self.matches.as_ref().is_none_or(|pattern| pattern.is_match(line))
            && line.as_bytes().starts_with(&self.starts)
    }

    /// The named fields of a record of numbered ones; `None` when it is cut.
    pub(super) fn numbered<'l>(&self, parts: &[Cow<'l, str>]) -> Option<Vec<(Cow<'l, str>, Cow<'l, str>)>> {
        if parts.len() < self.least {
            return None;
        }
        let part = |(name, cell): &(Arc<str>, Cell)| {
            let text = parts.get(cell.at.checked_sub(1)?)?;
            let text = text.trim_matches(|c: char| c.is_control() || c == ' ');
            Some((Cow::Owned(name.to_string()), Cow::Owned(text.to_owned())))
        };
        Some(self.fields.iter().filter_map(part).collect())
    }
}

impl Cell {
    fn parse(text: &str, numbered: bool) -> Option<Self> {
        let mut words = text.split_whitespace();
        let at = words.next()?.parse::<usize>().ok().filter(|at| *at <= 100_000)?;
        let form = match (numbered, words.next(), words.next()) {
            (true, None, None) if at > 0 => Form::Text,
            (false, Some("ascii"), Some(width)) => {
                Form::Ascii { width: width.parse().ok().filter(|n| *n <= 1000)? }
            }
            (false, Some(kind), None) => {
                let (kind, little) = match kind.split_once('-') {
                    Some((kind, "le")) => (kind, true),
                    Some((kind, "be")) => (kind, false),
                    None if matches!(kind, "u8" | "i8") => (kind, false),
                    _ => return None,
                };
                match kind {
                    "u8" => Form::Unsigned { width: 1, little },
                    "u16" => Form::Unsigned { width: 2, little },
                    "u32" => Form::Unsigned { width: 4, little },
                    "i8" => Form::Signed { width: 1, little },
                    "i16" => Form::Signed { width: 2, little },
                    "i32" => Form::Signed { width: 4, little },
                    _ => return None,
                }
            }
            _ => return None,
        };
        words.next().is_none().then_some(Self { at, form })
    }

    /// The field as text: a number in decimal.
    fn text(self, bytes: &[u8]) -> Option<String> {
        let number = |width: usize, little: bool| {
            let part = bytes.get(self.at..self.at.checked_add(width)?)?;
            let push = |sum: i64, byte: &u8| sum << 8 | i64::from(*byte);
            Some(if little { part.iter().rev().fold(0, push) } else { part.iter().fold(0, push) })
        };
        match self.form {
            Form::Text => None,
            Form::Unsigned { width, little } => number(width, little).map(|number| number.to_string()),
            Form::Signed { width, little } => {
                let full = 1_i64 << (8 * width);
                number(width, little).map(|n| if n >= full / 2 { n - full } else { n }.to_string())
            }
            Form::Ascii { width } => {
                let part = bytes.get(self.at..self.at.checked_add(width)?)?;
                let text: String = part
                    .iter()
                    .filter(|b| b.is_ascii_graphic() || **b == b' ')
                    .map(|b| char::from(*b))
                    .collect();
                Some(text.trim().to_owned())
            }
        }
    }
}

/// The fields of a line between separators; a field in double quotes may hold separators, and `""` is a quote.
pub(super) fn split<'l>(line: &'l str, separator: char, most: usize) -> Vec<Cow<'l, str>> {
    let mut parts = Vec::new();
    let mut rest = line;
    while parts.len() < most {
        let lead = rest.trim_start_matches(' ');
        if let Some((text, after)) = lead.strip_prefix('"').and_then(|inner| quoted(inner, separator)) {
            parts.push(Cow::Owned(text));
            match after {
                Some(after) => rest = after,
                None => return parts,
            }
            continue;
        }
        match rest.split_once(separator) {
            Some((part, after)) => {
                parts.push(Cow::Borrowed(part));
                rest = after;
            }
            None => {
                parts.push(Cow::Borrowed(rest));
                return parts;
            }
        }
    }
    parts
}

/// A quoted field and what follows its separator; `None` when the quote does not end, or not at a separator.
fn quoted(inner: &str, separator: char) -> Option<(String, Option<&str>)> {
    let mut text = String::new();
    let mut rest = inner;
    loop {
        let (part, after) = rest.split_once('"')?;
        text.push_str(part);
        match after.strip_prefix('"') {
            Some(more) => {
                text.push('"');
                rest = more;
            }
            None => {
                let after = after.trim_start_matches(' ');
                return match after.strip_prefix(separator) {
                    Some(after) => Some((text, Some(after))),
                    None => after.is_empty().then_some((text, None)),
                };
            }
        }
    }
}

/// Decodes one binary frame.
pub(super) fn decode_bytes(
    profile: &FirmwareProfile,
    layouts: &[Layout],
    bytes: &[u8],
    topic: Option<&str>,
    context: &LinkContext,
) -> Decoded {
    let mut run = Run::new(profile, context);
    let layout = layouts.iter().find(|layout| bytes.starts_with(&layout.starts));
    match layout {
        None => run.finding("no-match", "frame", "No layout of the profile fits this frame."),
        Some(layout) if bytes.len() < layout.least => {
            let text =
                format!("The frame has {} bytes; the profile wants at least {}.", bytes.len(), layout.least);
            run.finding("cut-frame", "frame", text);
        }
        Some(layout) => {
            let field = |(name, cell): &(Arc<str>, Cell)| Some((name.to_string(), cell.text(bytes)?));
            let fields = layout.fields.iter().filter_map(field).collect();
            run.record(&Binary { bytes, fields, topic });
        }
    }
    run.finish("nothing in the frame fits the profile")
}

struct Binary<'b> {
    bytes: &'b [u8],
    fields: Vec<(String, String)>,
    topic: Option<&'b str>,
}

impl Fields for Binary<'_> {
    fn text(&self, at: &Locator) -> Option<Cow<'_, str>> {
        match at {
            Locator::Name(name) => self
                .fields
                .iter()
                .find(|(key, _)| **key == **name)
                .map(|(_, text)| Cow::Borrowed(text.as_str())),
            Locator::Topic(level) => {
                self.topic.and_then(|topic| topic.split('/').nth(*level)).map(Cow::Borrowed)
            }
            _ => None,
        }
    }

    fn place(&self, at: &Locator) -> String {
        at.own_code()
    }

    /// The bytes in hex, for the patterns of `[[record.ignore]]`.
    fn whole(&self) -> Cow<'_, str> {
        let hex: Vec<String> = self.bytes.iter().take(256).map(|byte| format!("{byte:02x}")).collect();
        Cow::Owned(hex.join(" "))
    }

    fn beyond(&self) -> Vec<(String, String)> {
        Vec::new()
    }
}

/// A `match` must be a text such as `fields` names it.
pub(super) fn separator(section: &Section<'_>, text: &At<String>) -> Option<char> {
    let mut letters = text.value.chars();
    match (letters.next(), letters.next()) {
        (Some(letter), None) => Some(letter),
        _ => {
            section.fault(text.span.clone(), "`separator` of the csv grammar is one character");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_fields_hold_separators_and_quotes() {
        let parts = split("a, \"b,\"\"c\"\"\" ,,\"d", ',', 10);
        assert_eq!(parts, ["a", "b,\"c\"", "", "\"d"]);
        assert_eq!(split("1;2;3", ';', 2), ["1", "2"]);
        assert_eq!(split("", ',', 5), [""]);
    }

    #[test]
    fn numbers_stand_where_the_layout_says() {
        let bytes = [0x01, 0xFF, 0xFE, b' ', b'A', b'1', 0];
        for (cell, text) in [
            ("0 u8", Some("1")),
            ("1 i8", Some("-1")),
            ("1 u16-be", Some("65534")),
            ("1 i16-be", Some("-2")),
            ("1 u16-le", Some("65279")),
            ("3 ascii 4", Some("A1")),
            ("4 u32-be", None),
        ] {
            assert_eq!(Cell::parse(cell, false).unwrap().text(&bytes).as_deref(), text, "{cell}");
        }
        for wrong in ["", "x", "1", "1 u16", "1 u8-me", "1 u8 2", "0 ascii"] {
            assert_eq!(Cell::parse(wrong, false), None, "{wrong}");
        }
        assert_eq!(Cell::parse("0", true), None);
    }
}
