//! Grammars of text lines: `KEY=VALUE`, patterns with named groups, and columns.

use std::borrow::Cow;
use std::sync::Arc;

use regex::Regex;

use super::flat::{Fields, Run};
use super::locate::Locator;
use super::{Decoded, FirmwareProfile, LinkContext};

/// More lines than this in one frame are not looked at.
const LINES_MAX: usize = 10_000;
/// More words than this in one line are not looked at.
const WORDS_MAX: usize = 1_000;

/// How a line is taken apart.
#[derive(Clone, Debug)]
pub(crate) struct TextGrammar {
    pub(super) shape: Shape,
    /// A line that does not fit is cut or garbled: it is told and not decoded.
    pub(super) accept: Option<Regex>,
    /// The whole frame is one record.
    pub(super) whole: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Shape {
    /// `KEY=VALUE` between separators (blanks when none is named). Words without a key are `@1`, `@2` …
    KeyValue { assign: Arc<str>, separator: Option<Arc<str>> },
    /// The first pattern that fits; its named groups.
    Regex(Vec<Regex>),
    /// Names in order, between separators or by widths in characters.
    Columns { names: Vec<Arc<str>>, separator: Option<Arc<str>>, widths: Vec<usize> },
}

pub(super) fn decode(
    profile: &FirmwareProfile,
    grammar: &TextGrammar,
    bytes: &[u8],
    topic: Option<&str>,
    context: &LinkContext,
) -> Decoded {
    let mut run = Run::new(profile, context);
    let text = to_text(bytes, context);
    let lines: Vec<&str> = if grammar.whole { vec![&text] } else { text.lines().take(LINES_MAX).collect() };
    let mut seen = 0;
    for (number, line) in lines.into_iter().enumerate() {
        let line = line.trim_matches(|c: char| c.is_control() || c == ' ');
        if line.is_empty() {
            continue;
        }
        seen += 1;
        let place = format!("line {}", number + 1);
        if grammar.accept.as_ref().is_some_and(|accept| !accept.is_match(line)) {
            run.finding(
                "cut-line",
                place,
                "The line does not have the form the profile accepts; it is not decoded.",
            );
            continue;
        }
        match fields(&grammar.shape, line) {
            Some(fields) => {
                let claimed = &profile.plan.claimed;
                let known = matches!(grammar.shape, Shape::KeyValue { .. });
                run.record(&Line { line, fields, topic, place, claimed: known.then_some(claimed) });
            }
            None => run.finding("no-match", place, "No pattern of the profile fits this line."),
        }
    }
    let nothing = if seen == 0 { "the frame is empty" } else { "nothing in the frame fits the profile" };
    run.finish(nothing)
}

/// UTF-8 where it is UTF-8, else the charset of the link.
pub(super) fn to_text<'b>(bytes: &'b [u8], context: &LinkContext) -> Cow<'b, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => {
            let encoding = encoding_rs::Encoding::for_label(context.charset.name().as_bytes());
            let encoding = encoding.filter(|e| *e != encoding_rs::UTF_8).unwrap_or(encoding_rs::WINDOWS_1252);
            encoding.decode_without_bom_handling(bytes).0
        }
    }
}

fn fields<'l>(shape: &Shape, line: &'l str) -> Option<Vec<(Cow<'l, str>, &'l str)>> {
    match shape {
        Shape::KeyValue { assign, separator } => Some(key_values(line, assign, separator.as_deref())),
        Shape::Regex(patterns) => patterns.iter().find_map(|pattern| {
            let captures = pattern.captures(line)?;
            let names = pattern.capture_names().flatten();
            let group = |name: &str| captures.name(name).map(|m| (Cow::Owned(name.to_owned()), m.as_str()));
            Some(names.filter_map(group).collect())
        }),
        Shape::Columns { names, separator, widths } => {
            let parts: Vec<&str> = match separator {
                Some(separator) => line.split(&**separator).take(WORDS_MAX).collect(),
                None => by_width(line, widths),
            };
            Some(names.iter().map(|name| Cow::Owned(name.to_string())).zip(parts).collect())
        }
    }
}

fn key_values<'l>(line: &'l str, assign: &str, separator: Option<&str>) -> Vec<(Cow<'l, str>, &'l str)> {
    let words: Vec<&str> = match separator {
        Some(separator) => line.split(separator).take(WORDS_MAX).collect(),
        None => line.split_whitespace().take(WORDS_MAX).collect(),
    };
    let mut position = 0;
    let mut fields = Vec::with_capacity(words.len());
    for word in words.into_iter().map(str::trim).filter(|word| !word.is_empty()) {
        match word.split_once(assign) {
            Some((key, value)) => fields.push((Cow::Borrowed(key.trim()), value.trim())),
            None => {
                position += 1;
                fields.push((Cow::Owned(format!("@{position}")), word));
            }
        }
    }
    fields
}

fn by_width<'l>(line: &'l str, widths: &[usize]) -> Vec<&'l str> {
    let mut rest = line;
    let mut parts = Vec::with_capacity(widths.len());
    for width in widths {
        let cut = rest.char_indices().nth(*width).map_or(rest.len(), |(at, _)| at);
        let (part, after) = rest.split_at_checked(cut).unwrap_or((rest, ""));
        parts.push(part);
        rest = after;
    }
    parts
}

struct Line<'l> {
    line: &'l str,
    fields: Vec<(Cow<'l, str>, &'l str)>,
    topic: Option<&'l str>,
    place: String,
    /// Names the profile speaks of, when the others are to be kept too.
    claimed: Option<&'l std::collections::HashSet<String>>,
}

impl Fields for Line<'_> {
    fn text(&self, at: &Locator) -> Option<Cow<'_, str>> {
        match at {
            Locator::Name(name) => {
                self.fields.iter().find(|(key, _)| **key == **name).map(|(_, value)| Cow::Borrowed(*value))
            }
            Locator::Topic(level) => {
                self.topic.and_then(|topic| topic.split('/').nth(*level)).map(Cow::Borrowed)
            }
            _ => None,
        }
    }

    fn place(&self, at: &Locator) -> String {
        format!("{} {}", self.place, at.own_code())
    }

    fn whole(&self) -> Cow<'_, str> {
        Cow::Borrowed(self.line)
    }

    fn beyond(&self) -> Vec<(String, String)> {
        let Some(claimed) = self.claimed else { return Vec::new() };
        let unknown =
            self.fields.iter().filter(|(key, _)| !key.starts_with('@') && !claimed.contains(&**key));
        unknown.map(|(key, value)| (key.to_string(), (*value).to_owned())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_with_and_without_a_key_are_told_apart() {
        let read = key_values("05/15/26 14:32:10 SN=0000093112 SPO2=098%  BPM=---", "=", None);
        let read: Vec<(String, &str)> = read.into_iter().map(|(k, v)| (k.into_owned(), v)).collect();
        assert_eq!(
            read,
            [
                ("@1".into(), "05/15/26"),
                ("@2".into(), "14:32:10"),
                ("SN".into(), "0000093112"),
                ("SPO2".into(), "098%"),
                ("BPM".into(), "---")
            ]
        );
    }

    #[test]
    fn columns_by_width_count_characters_and_survive_a_short_line() {
        assert_eq!(by_width("ab°cde", &[2, 2, 5]), ["ab", "°c", "de"]);
        assert_eq!(by_width("a", &[2, 2]), ["a", ""]);
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_read_in_the_charset_of_the_link() {
        let context = LinkContext::new("x", "UTC", crate::clock::Timestamp::from_micros(0, true)).unwrap();
        assert_eq!(to_text(b"37.2 \xB0C", &context), "37.2 °C");
        assert_eq!(to_text("37.2 °C".as_bytes(), &context), "37.2 °C");
    }
}
