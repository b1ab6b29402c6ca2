//! Tables in text (RFC 4180, and what programs make of it): fields known by their number, or by the header above
//! them. With `preamble`, what stands above the header as `Key,Value`, `Key: Value` or `* Key = Value` is read as
//! `@Key`; a column without a name is `#3`.

use std::borrow::Cow;

use regex::Regex;

use super::FirmwareProfile;
use super::layout::{self, Layout};
use super::locate::Locator;

/// More fields than this in one line are not looked at.
const FIELDS_MAX: usize = 1_000;
/// A field in quotes goes on over no more lines than this.
const FIELD_LINES_MAX: usize = 20;

/// A field: its name and its text.
pub(super) type Field<'l> = (Cow<'l, str>, Cow<'l, str>);

/// Why a line is not read: the code of the finding and its words.
pub(super) type Refused = (&'static str, &'static str);

/// `[record] grammar = "csv"`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Csv {
    /// Between fields; when not said the one of tab, `;` and `,` that the header has most of.
    pub(super) separator: Option<char>,
    /// The line that names the columns.
    pub(super) header: Option<Regex>,
    /// Lines above the header are read as `@Key`; else they are told.
    pub(super) preamble: bool,
    pub(super) layouts: Vec<Layout>,
    /// A row of fewer fields than this is cut: as many as the header has when not said.
    pub(super) least: Option<usize>,
    /// Columns with the device's code and its value, where rows name what they are.
    pub(super) code: Vec<Locator>,
    pub(super) value: Vec<Locator>,
}

/// What a line of a table is.
pub(super) enum Said<'l> {
    /// The header, or blank: nothing to read.
    Nothing,
    /// What stands above the header, by its keys.
    Above(Option<Field<'l>>),
    Row(Vec<Field<'l>>),
    Refused(Refused),
}

/// Reading one table after another in a frame.
pub(super) struct Table<'g, 'l> {
    grammar: &'g Csv,
    separator: char,
    /// Column names of the header in force.
    header: Vec<Cow<'l, str>>,
    /// A row was read under it.
    rows: bool,
    /// A blank line ended a table: what follows is not of it.
    ended: bool,
    /// The codes the page has conditions for.
    listed: Vec<&'g str>,
}

impl<'g, 'l> Table<'g, 'l> {
    pub(super) fn new(profile: &'g FirmwareProfile, grammar: &'g Csv, text: &str) -> Self {
        let table = &profile.plan.table;
        let conditions = table.metrics.iter().take(table.listed).flat_map(|metric| &metric.when);
        let of_code = conditions.filter(|(at, _)| grammar.code.contains(at));
        Self {
            grammar,
            separator: separator(grammar, text),
            header: Vec::new(),
            rows: false,
            ended: false,
            listed: of_code.flat_map(|(_, texts)| texts.iter().map(String::as_str)).collect(),
        }
    }

    /// The lines of a frame with their numbers from 0; a field in quotes may hold line ends.
    pub(super) fn lines(&self, text: &'l str) -> Vec<(usize, &'l str)> {
        let ends = text.match_indices(['\n', '\r']).map(|(at, _)| at).chain([text.len()]);
        let mut spans: Vec<(usize, usize)> = Vec::new();
        let mut from = 0;
        for end in ends {
            spans.push((from, end));
            from = end.saturating_add(1);
        }
        let mut lines = Vec::new();
        let mut spans = spans.into_iter().enumerate().peekable();
        while let Some((number, (from, end))) = spans.next() {
            let whole = |end: usize| text.get(from..end).unwrap_or_default();
            let mut line = whole(end);
            if self.open(line) {
                let ahead = spans.clone().take(FIELD_LINES_MAX).map(|(_, (_, end))| end).enumerate();
                let closed = ahead.into_iter().find(|(_, end)| !self.open(whole(*end)));
                if let Some((more, end)) = closed {
                    line = whole(end);
                    spans.by_ref().take(more + 1).for_each(drop);
                }
            }
            lines.push((number, line));
        }
        lines
    }

    /// A field began with a quote that does not end.
    fn open(&self, line: &str) -> bool {
        let raw = |part: &Cow<'_, str>| matches!(part, Cow::Borrowed(t) if t.trim_start().starts_with('"'));
        line.contains('"') && layout::split(line, self.separator, FIELDS_MAX).iter().any(raw)
    }

    /// Takes what is no letter of a field from both ends.
    pub(super) fn trim<'t>(&self, line: &'t str) -> &'t str {
        line.trim_matches(|c: char| (c.is_control() || c == ' ') && c != self.separator)
    }

    /// What a line is.
    pub(super) fn line(&mut self, line: &'l str) -> Said<'l> {
        let Some(header) = &self.grammar.header else {
            return self.numbered(line);
        };
        let mut parts = layout::split(line, self.separator, FIELDS_MAX);
        for part in &mut parts {
            *part = trimmed(part);
        }
        if header.is_match(line) {
            while parts.last().is_some_and(|name| name.is_empty()) {
                parts.pop();
            }
            let name = |(number, name): (usize, Cow<'l, str>)| match name.is_empty() {
                true => Cow::Owned(format!("#{}", number + 1)),
                false => name,
            };
            self.header = parts.into_iter().enumerate().map(name).collect();
            (self.rows, self.ended) = (false, false);
            return Said::Nothing;
        }
        if parts.iter().all(|part| part.is_empty()) {
            self.blank();
            return Said::Nothing;
        }
        match (self.header.is_empty(), self.ended, self.grammar.preamble) {
            (true, true, _) => {
                let text = "Lines after the blank line that ends the table are not read.";
                return Said::Refused(("after-table", text));
            }
            (true, false, true) => return Said::Above(above(&parts)),
            (true, false, false) => {
                return Said::Refused(("no-header", "No header line has named the columns yet."));
            }
            (false, ..) => self.rows = true,
        }
        let width = self.header.len();
        let least = self.grammar.least.unwrap_or(width);
        let more = parts.iter().skip(width).any(|part| !part.is_empty());
        if parts.len() < least || more || self.open(line) {
            let text =
                "The row has not as many fields as the header, or a quote does not end; it is not decoded.";
            return Said::Refused(("cut-line", text));
        }
        Said::Row(self.header.iter().cloned().zip(parts).collect())
    }

    pub(super) fn values(&self) -> &'g [Locator] {
        &self.grammar.value
    }

    /// A blank line: the table has ended.
    pub(super) fn blank(&mut self) {
        if self.rows {
            self.header.clear();
            (self.rows, self.ended) = (false, true);
        }
    }

    fn numbered(&self, line: &'l str) -> Said<'l> {
        let parts = layout::split(line, self.separator, FIELDS_MAX);
        let Some(layout) = self.grammar.layouts.iter().find(|layout| layout.fits_line(line)) else {
            return Said::Refused(("no-match", "No layout of the profile fits this line."));
        };
        match layout.numbered(&parts) {
            Some(fields) => Said::Row(fields),
            None => Said::Refused((
                "cut-line",
                "The line has fewer fields than the profile wants; it is not decoded.",
            )),
        }
    }

    /// What a row says under a code the page has no metric for.
    pub(super) fn beyond(&self, fields: &[Field<'_>]) -> Option<(String, String)> {
        let said = |at: &[Locator]| {
            let text = at.iter().find_map(|at| match at {
                Locator::Name(name) => fields.iter().find(|(key, text)| **key == **name && !text.is_empty()),
                _ => None,
            });
            text.map(|(_, text)| text.trim().to_owned()).unwrap_or_default()
        };
        let (code, value) = (said(&self.grammar.code), said(&self.grammar.value));
        (!code.is_empty() && !self.listed.contains(&code.as_str())).then_some((code, value))
    }
}

fn separator(grammar: &Csv, text: &str) -> char {
    let Some(header) = grammar.header.as_ref().filter(|_| grammar.separator.is_none()) else {
        return grammar.separator.unwrap_or(',');
    };
    let line = text.lines().find(|line| header.is_match(line)).unwrap_or_default();
    // Of equals the last wins, and a comma is the usual one.
    ['\t', ';', ','].into_iter().max_by_key(|sign| line.matches(*sign).count()).unwrap_or(',')
}

fn trimmed<'l>(text: &Cow<'l, str>) -> Cow<'l, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
        Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
    }
}

/// `Key,Value`, `Key: Value` or `* Key = Value`, as `@Key`.
fn above<'l>(parts: &[Cow<'l, str>]) -> Option<Field<'l>> {
    let (one, more) = parts.split_first()?;
    let bare = one.trim_start_matches(['*', '#', ' ']);
    let (key, value) = match more.first() {
        Some(value) if !one.starts_with('*') && !more.iter().all(|part| part.is_empty()) => {
            (&**one, &**value)
        }
        _ => bare.split_once('=').or_else(|| bare.split_once(':'))?,
    };
    let key = key.trim().trim_end_matches(':');
    Some((Cow::Owned(format!("@{key}")), Cow::Owned(value.trim().to_owned())))
}

#[cfg(test)]
#[path = "csv_tests.rs"]
mod tests;
