//! Grammars of text lines: `KEY=VALUE`, patterns with named groups, and columns.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use regex::Regex;

use super::charset::{self, Charset};
use super::csv::{Csv, Field, Refused, Said, Table};
use super::flat::{Fields, Run};
use super::locate::Locator;
use super::{Decoded, FirmwareProfile, LinkContext};

/// More lines than this in one frame are not looked at.
const LINES_MAX: usize = 100_000;
/// More words than this in one line are not looked at.
const WORDS_MAX: usize = 1_000;
/// More records than this gathered from one frame are not believed to be one frame.
const RECORDS_MAX: usize = 200;

/// How a line is taken apart.
#[derive(Clone, Debug)]
pub(crate) struct TextGrammar {
    pub(super) shape: Shape,
    /// A line that does not fit is cut or garbled: it is told and not decoded.
    pub(super) accept: Option<Regex>,
    /// The whole frame is one record.
    pub(super) whole: bool,
    /// Lines that are no record: their named groups hold for the lines after them, until one says otherwise.
    pub(super) context: Vec<Regex>,
    /// What ends a line instead of CR and LF.
    pub(super) line_end: Option<Arc<str>>,
    pub(super) joined: Joined,
    /// How bytes become letters where they are not UTF-8; the link's charset when not said.
    pub(super) charset: Option<Charset>,
}

/// Whether lines are records by themselves.
#[derive(Clone, Debug, Default)]
pub(super) enum Joined {
    #[default]
    Lines,
    /// The lines of a frame make one record; a line that fits the pattern begins another.
    Frame(Option<Regex>),
    /// The lines whose field of this name says the same make one record.
    By(Arc<str>),
}

#[derive(Clone, Debug)]
pub(super) enum Shape {
    /// `KEY=VALUE` between separators (blanks when none is named), or a key of so many characters. Words without a
    /// key are `@1`, `@2` …
    KeyValue {
        assign: Arc<str>,
        separator: Option<Arc<str>>,
        key_width: Option<usize>,
    },
    /// The first pattern that fits; its named groups. Where it has a group `key`, its `value` stands under that key
    /// and its other groups under `KEY:group`.
    Regex(Vec<Regex>),
    /// Names in order, between separators or by widths in characters.
    Columns {
        names: Vec<Arc<str>>,
        separator: Option<Arc<str>>,
        widths: Vec<usize>,
    },
    Csv(Csv),
}

impl TextGrammar {
    /// The named groups of the page's own patterns: what a device does not say by itself.
    pub(super) fn group_names(&self) -> impl Iterator<Item = String> {
        let patterns: &[Regex] = match &self.shape {
            Shape::Regex(patterns) => patterns,
            _ => &[],
        };
        let all = patterns.iter().chain(&self.context).flat_map(|pattern| pattern.capture_names().flatten());
        all.map(str::to_owned)
    }
}

pub(super) fn decode(
    profile: &FirmwareProfile,
    grammar: &TextGrammar,
    bytes: &[u8],
    topic: Option<&str>,
    context: &LinkContext,
) -> Decoded {
    let mut run = Run::new(profile, context);
    let text = charset::text(grammar.charset, bytes, context);
    let text = if grammar.whole { text } else { Cow::Owned(text.replace("\r\n", "\n")) };
    let mut reader = Reader {
        grammar,
        topic,
        claimed: &profile.plan.claimed,
        carried: Vec::new(),
        table: match &grammar.shape {
            Shape::Csv(csv) => Some(Table::new(profile, csv, &text)),
            _ => None,
        },
        told: false,
        open: Vec::new(),
    };
    let lines: Vec<(usize, &str)> = match (&grammar.line_end, &reader.table) {
        _ if grammar.whole => vec![(0, &text)],
        (Some(end), _) => text.split(&**end).enumerate().collect(),
        (None, Some(table)) => table.lines(&text),
        (None, None) => text.split(['\n', '\r']).enumerate().collect(),
    };
    if let Some((number, _)) = lines.get(LINES_MAX) {
        let text = "The frame has too many lines; those from here on are not read.";
        run.finding("too-many", format!("line {}", number + 1), text);
    }
    let mut seen = 0;
    for (number, line) in lines.into_iter().take(LINES_MAX) {
        let line = match &mut reader.table {
            Some(table) => table.trim(line),
            None => line.trim_matches(|c: char| c.is_control() || c == ' '),
        };
        if !line.is_empty() {
            seen += 1;
            reader.line(line, number + 1, &mut run);
        } else if let Some(table) = &mut reader.table {
            table.blank();
        }
    }
    reader.flush(&mut run);
    let nothing = if seen == 0 { "the frame is empty" } else { "nothing in the frame fits the profile" };
    run.finish(nothing)
}

/// Reading the lines of one frame.
struct Reader<'g, 'l> {
    grammar: &'g TextGrammar,
    topic: Option<&'l str>,
    claimed: &'l HashSet<String>,
    /// What the context lines said.
    carried: Vec<Field<'l>>,
    table: Option<Table<'g, 'l>>,
    /// It was told that lines after a table are not read.
    told: bool,
    /// Records whose lines are still being gathered.
    open: Vec<(Cow<'l, str>, Line<'l>)>,
}

impl<'g: 'l, 'l> Reader<'g, 'l> {
    fn line(&mut self, line: &'l str, number: usize, run: &mut Run<'_>) {
        if let Some(captures) = self.grammar.context.iter().find_map(|pattern| named(pattern, line)) {
            for (name, value) in captures {
                self.carried.retain(|(key, _)| *key != name);
                self.carried.push((name, value));
            }
            return;
        }
        let place = format!("line {number}");
        if self.grammar.accept.as_ref().is_some_and(|accept| !accept.is_match(line)) {
            let text = "The line does not have the form the profile accepts; it is not decoded.";
            return run.finding("cut-line", place, text);
        }
        let (fields, keyed) = match self.fields(line) {
            Ok(Some(read)) => read,
            Ok(None) => return,
            Err(("after-table", _)) if std::mem::replace(&mut self.told, true) => return,
            Err((code, text)) => return run.finding(code, place, text),
        };
        let known = keyed || matches!(self.grammar.shape, Shape::KeyValue { .. });
        let read = Line {
            line: Cow::Borrowed(line),
            beyond: self.table.as_ref().and_then(|table| table.beyond(&fields)).into_iter().collect(),
            fields,
            topic: self.topic,
            values: self.table.as_ref().map(Table::values).unwrap_or_default(),
            place,
            claimed: known.then_some(self.claimed),
        };
        match &self.grammar.joined {
            Joined::Lines => {
                let mut read = read;
                read.carry(&self.carried);
                run.record(&read);
            }
            Joined::Frame(begins) => {
                if begins.as_ref().is_some_and(|begins| begins.is_match(line)) {
                    self.flush(run);
                }
                self.gather(Cow::Borrowed(""), read, run);
            }
            Joined::By(name) => {
                let by = read.fields.iter().find(|(key, _)| **key == **name);
                let by = by.map_or(Cow::Borrowed(""), |(_, value)| value.clone());
                self.gather(by, read, run);
            }
        }
    }

    /// The fields of a line, and whether they stand under keys of the device's own; `None` when it is no record.
    fn fields(&mut self, line: &'l str) -> Result<Option<(Vec<Field<'l>>, bool)>, Refused> {
        const NO_MATCH: Refused = ("no-match", "No pattern of the profile fits this line.");
        Ok(Some(match &self.grammar.shape {
            Shape::KeyValue { assign, separator, key_width } => {
                (key_values(line, assign, separator.as_deref(), *key_width), false)
            }
            Shape::Regex(patterns) => {
                let groups = patterns.iter().find_map(|pattern| named(pattern, line)).ok_or(NO_MATCH)?;
                let Some(key) =
                    groups.iter().find(|(name, _)| name == "key").map(|(_, key)| key.trim().to_owned())
                else {
                    return Ok(Some((groups, false)));
                };
                let keyed = |(name, value): Field<'l>| match &*name {
                    "key" => None,
                    "value" => Some((Cow::Owned(key.clone()), value)),
                    other => Some((Cow::Owned(format!("{key}:{other}")), value)),
                };
                // Groups without a key of their own are kept too: what lines are joined by.
                let plain: Vec<Field<'l>> =
                    groups.iter().filter(|(name, _)| name != "key" && name != "value").cloned().collect();
                (groups.into_iter().filter_map(keyed).chain(plain).collect(), true)
            }
            Shape::Columns { names, separator, widths } => {
                let parts: Vec<&str> = match separator {
                    Some(separator) => line.split(&**separator).take(WORDS_MAX).collect(),
                    None => by_width(line, widths),
                };
                let named = names.iter().map(|name| Cow::Owned(name.to_string()));
                (named.zip(parts.into_iter().map(Cow::Borrowed)).collect(), false)
            }
            Shape::Csv(_) => {
                let Some(table) = &mut self.table else { return Ok(None) };
                match table.line(line) {
                    Said::Row(fields) => (fields, false),
                    Said::Nothing => return Ok(None),
                    Said::Refused(why) => return Err(why),
                    Said::Above(field) => {
                        // What is said first holds.
                        let new = field.filter(|(key, _)| !self.carried.iter().any(|(name, _)| name == key));
                        self.carried.extend(new);
                        return Ok(None);
                    }
                }
            }
        }))
    }

    fn gather(&mut self, by: Cow<'l, str>, line: Line<'l>, run: &mut Run<'_>) {
        if let Some((_, open)) = self.open.iter_mut().find(|(key, _)| *key == by) {
            open.fields.extend(line.fields);
            open.line.to_mut().push('\n');
            open.line.to_mut().push_str(&line.line);
            open.claimed = open.claimed.or(line.claimed);
            open.beyond.extend(line.beyond);
        } else if self.open.len() < RECORDS_MAX {
            self.open.push((by, line));
        } else {
            run.finding(
                "too-many",
                line.place,
                "One frame speaks of too many records; this one is left out.",
            );
        }
    }

    /// Decodes what was gathered.
    fn flush(&mut self, run: &mut Run<'_>) {
        for (_, mut line) in std::mem::take(&mut self.open) {
            line.carry(&self.carried);
            run.record(&line);
        }
    }
}

/// The named groups of a pattern that fits.
fn named<'l>(pattern: &Regex, line: &'l str) -> Option<Vec<Field<'l>>> {
    let captures = pattern.captures(line)?;
    let group = |name: &str| {
        captures.name(name).map(|found| (Cow::Owned(name.to_owned()), Cow::Borrowed(found.as_str())))
    };
    Some(pattern.capture_names().flatten().filter_map(group).collect())
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

fn key_values<'l>(
    line: &'l str,
    assign: &str,
    separator: Option<&str>,
    key_width: Option<usize>,
) -> Vec<Field<'l>> {
    let words: Vec<&str> = match separator {
        Some(separator) => line.split(separator).take(WORDS_MAX).collect(),
        None => line.split_whitespace().take(WORDS_MAX).collect(),
    };
    let mut position = 0;
    let mut fields = Vec::with_capacity(words.len());
    for word in words.into_iter().map(str::trim).filter(|word| !word.is_empty()) {
        let cut = match key_width {
            Some(width) if word.chars().count() >= width => {
                let at = word.char_indices().nth(width).map_or(word.len(), |(at, _)| at);
                word.split_at_checked(at)
            }
            Some(_) => None,
            None => word.split_once(assign),
        };
        match cut {
            Some((key, value)) => fields.push((Cow::Borrowed(key.trim()), Cow::Borrowed(value.trim()))),
            None => {
                position += 1;
                fields.push((Cow::Owned(format!("@{position}")), Cow::Borrowed(word)));
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
    line: Cow<'l, str>,
    fields: Vec<Field<'l>>,
    topic: Option<&'l str>,
    place: String,
    /// Names the profile speaks of, when the others are to be kept too.
    claimed: Option<&'l HashSet<String>>,
    /// What rows of a table said under codes that are not listed.
    beyond: Vec<(String, String)>,
    /// Columns with the values of such rows.
    values: &'l [Locator],
}

impl<'l> Line<'l> {
    /// Adds what the context lines said; the line's own words go first.
    fn carry(&mut self, carried: &[Field<'l>]) {
        self.fields.extend(carried.iter().cloned());
    }
}

impl Fields for Line<'_> {
    fn text(&self, at: &Locator) -> Option<Cow<'_, str>> {
        match at {
            Locator::Name(name) => {
                self.fields.iter().find(|(key, _)| **key == **name).map(|(_, value)| Cow::Borrowed(&**value))
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
        Cow::Borrowed(&self.line)
    }

    fn is_beyond(&self, at: &Locator) -> bool {
        !self.beyond.is_empty() && self.values.contains(at)
    }

    fn beyond(&self) -> Vec<(String, String)> {
        let Some(claimed) = self.claimed else { return self.beyond.clone() };
        let known = |key: &str| key.starts_with('@') || key.contains(':') || claimed.contains(key);
        let unknown = self.fields.iter().filter(|(key, _)| !known(key));
        unknown.map(|(key, value)| (key.to_string(), value.to_string())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_with_and_without_a_key_are_told_apart() {
        let read = key_values("05/15/26 14:32:10 SN=0000093112 SPO2=098%  BPM=---", "=", None, None);
        let read: Vec<(String, &str)> = read.iter().map(|(k, v)| (k.to_string(), &**v)).collect();
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

    fn decoded(record: &str, metrics: &[&str], frame: &str) -> Decoded {
        let metrics: String = metrics
            .iter()
            .map(|name| format!("[[metric]]\nmatch = '{name}'\nlabel = '{name}'\nunit = '1'\n"))
            .collect();
        let page = format!(
            "[device]\nmanufacturer = 'A'\nmodel = 'B'\nverified = 'simulator'\n[link]\ncodec = 'lines'\n\
             [identify]\nserial = 'serial'\n[record]\n{record}\n{metrics}"
        );
        let profile = FirmwareProfile::parse("a/b", &page).unwrap_or_else(|faults| panic!("{}", faults[0]));
        profile.decode(frame.as_bytes(), None, &LinkContext::golden())
    }

    /// Serial number and values of each report.
    fn said(decoded: &Decoded) -> Vec<(Option<String>, Vec<String>)> {
        let value = |value: &crate::device::Value| match value {
            crate::device::Value::Numeric { value, .. } => value.to_string(),
            other => format!("{other:?}"),
        };
        let of = |report: &crate::device::Report| {
            let values =
                report.measurements.iter().map(|m| format!("{} {}", m.metric.label, value(&m.value)));
            (report.device.serial.as_ref().map(ToString::to_string), values.collect())
        };
        decoded.reports.iter().map(of).collect()
    }

    #[test]
    fn a_header_line_names_the_columns_again_on_every_page() {
        let record = "grammar = 'csv'\nseparator = ';'\nheader = '^NAME;'";
        let frame = "7;8\nNAME;X;\"Y\"\na;1;\"2\"\r\nNAME;Y;X\na;3;4\n";
        let decoded = decoded(record, &["X", "Y"], frame);
        assert_eq!(
            said(&decoded),
            [(None, vec!["X 1".into(), "Y 2".into()]), (None, vec!["X 4".into(), "Y 3".into()])]
        );
        assert_eq!(decoded.findings[0].code, "no-header");
    }

    #[test]
    fn numbered_fields_are_read_by_the_layout_of_their_record_and_a_cut_one_is_not() {
        let record = "grammar = 'csv'\n[[record.layout]]\nmatches = '^A,'\nleast = 3\nfields = { X = 2, Y = 3 }\n\
                      [[record.layout]]\nmatches = '^B,'\nleast = 2\nfields = { Y = 2 }";
        let decoded = decoded(record, &["X", "Y"], "A,1 ,\u{2}2\u{3}\nB,5\nA,1\nC,1");
        assert_eq!(said(&decoded), [(None, vec!["X 1".into(), "Y 2".into()]), (None, vec!["Y 5".into()])]);
        let codes: Vec<&str> = decoded.findings.iter().map(|finding| finding.code).collect();
        assert!(codes.contains(&"cut-line") && codes.contains(&"no-match"), "{codes:?}");
    }

    #[test]
    fn what_a_context_line_says_holds_for_the_lines_after_it() {
        let record = "grammar = 'regex'\npattern = '^X (?P<X>\\d+)$'\ncontext = '^SN (?P<serial>\\S+)$'";
        let decoded = decoded(record, &["X"], "X 1\nSN A7\nX 2\nSN B8\nX 3");
        let serials: Vec<_> = said(&decoded).into_iter().map(|(serial, _)| serial).collect();
        assert_eq!(serials, [None, Some("A7".into()), Some("B8".into())]);
    }

    #[test]
    fn joined_lines_are_one_record_and_another_begins_where_the_page_says() {
        let record = "grammar = 'regex'\npattern = ['^NO (?P<serial>\\d+)$', '^(?P<key>\\w+) (?P<value>\\d+)$']\n\
                      joined = true\nbegins = '^NO '";
        let both = decoded(record, &["X", "Y"], "NO 1\nX 1\nY 2\nNO 2\nX 3\nZ 9");
        let read = said(&both);
        assert_eq!(read[0], (Some("1".into()), vec!["X 1".into(), "Y 2".into()]));
        assert_eq!(read[1], (Some("2".into()), vec!["X 3".into(), "Z 9".into()]), "an unknown key is kept");
        let record = "grammar = 'regex'\npattern = '^(?P<pump>\\d),(?P<key>\\w+),(?P<value>\\w+)$'\njoined = 'pump'\nline_end = '|'";
        let read = said(&decoded(record, &["X", "Y"], "1,X,1|2,X,5|1,Y,2|1,serial,A|2,serial,B"));
        assert_eq!(read[0], (Some("A".into()), vec!["X 1".into(), "Y 2".into()]));
        assert_eq!(read[1], (Some("B".into()), vec!["X 5".into()]));
    }

    #[test]
    fn a_key_may_be_the_first_characters_of_a_word() {
        let read = key_values("P!24.0\u{b}PO\u{b}1", "=", Some("\u{b}"), Some(2));
        let read: Vec<(&str, &str)> = read.iter().map(|(key, value)| (&**key, &**value)).collect();
        assert_eq!(read, [("P!", "24.0"), ("PO", ""), ("@1", "1")]);
    }
}
