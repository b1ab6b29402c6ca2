//! Tables in text files: a header names the columns, each row is a record. What stands above the header as
//! `Key,Value`, `Key: Value` or `* Key = Value` is read too, as `@Key`; a column without a name is `#3`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use super::charset::Charset;
use super::flat::{Fields, Run, first};
use super::locate::Locator;
use super::text::to_text;
use super::{Decoded, FirmwareProfile, LinkContext};

/// More rows and columns than this are not looked at.
const ROWS_MAX: usize = 100_000;
const COLUMNS_MAX: usize = 1_000;

/// `[record] grammar = "csv"`.
#[derive(Clone, Debug, Default)]
pub(crate) struct CsvGrammar {
    /// A cell of the header: the first row with it is the header. The first row when not said.
    pub(super) header: Option<Arc<str>>,
    /// Between cells; when not said the one of tab, `;` and `,` that the header has most of.
    pub(super) separator: Option<u8>,
    pub(super) charset: Option<Charset>,
    /// Columns with the device's code and its value, where rows name what they are.
    pub(super) code: Vec<Locator>,
    pub(super) value: Vec<Locator>,
}

pub(super) fn decode(
    profile: &FirmwareProfile,
    grammar: &CsvGrammar,
    bytes: &[u8],
    context: &LinkContext,
) -> Decoded {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let text = match grammar.charset {
        Some(charset) if std::str::from_utf8(bytes).is_err() => charset.decode(bytes),
        // UTF-16, as spreadsheets save it, says so in front.
        _ if bytes.starts_with(b"\xFF\xFE") || bytes.starts_with(b"\xFE\xFF") => {
            encoding_rs::UTF_16LE.decode(bytes).0
        }
        _ => to_text(bytes, context),
    };
    let rows = rows(grammar, &text);
    let is_header = |row: &Vec<String>| match &grammar.header {
        Some(wanted) => row.iter().any(|cell| **cell == **wanted),
        None => row.iter().any(|cell| !cell.is_empty()),
    };
    let Some(at) = rows.iter().position(|(_, row)| is_header(row)) else {
        return Decoded::held("the file has no header as the profile describes it");
    };
    let (above, table) = rows.split_at(at);
    let above = preamble(above);
    let Some(((_, header), table)) = table.split_first() else { return Decoded::held("the file is empty") };
    let mut columns: HashMap<&str, usize> = HashMap::new();
    for (number, name) in header.iter().enumerate() {
        columns.entry(name.as_str()).or_insert(number);
    }
    let listed = listed(profile, grammar);
    let mut run = Run::new(profile, context);
    for (line, cells) in table {
        // A blank row ends the table; what follows is another.
        if cells.iter().all(String::is_empty) {
            break;
        }
        if cells.len() != header.len() && cells.len() + 1 != header.len() {
            let text = "The row has not as many cells as the header; it is not read.";
            run.finding("cut-line", format!("line {line}"), text);
            continue;
        }
        run.record(&Row { line: *line, cells, columns: &columns, above: &above, grammar, listed: &listed });
    }
    run.finish("no row of the file says anything the profile describes")
}

fn separator(grammar: &CsvGrammar, text: &str) -> u8 {
    if let Some(own) = grammar.separator {
        return own;
    }
    let header = match &grammar.header {
        Some(wanted) => text.lines().find(|line| line.contains(&**wanted)),
        None => text.lines().find(|line| !line.trim().is_empty()),
    };
    let count = |sign: &u8| header.unwrap_or_default().bytes().filter(|byte| byte == sign).count();
    // Of equals the last wins, and a comma is the usual one.
    [b'\t', b';', b','].into_iter().max_by_key(count).unwrap_or(b',')
}

/// Rows with their lines; a blank line is a row without cells.
fn rows(grammar: &CsvGrammar, text: &str) -> Vec<(u64, Vec<String>)> {
    let sign = separator(grammar, text);
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let mut rows: Vec<(u64, Vec<String>)> = Vec::new();
    let mut number = 1;
    for part in lines.chunk_by(|a, b| a.trim().is_empty() == b.trim().is_empty()) {
        if part.iter().all(|line| line.trim().is_empty()) {
            rows.push((number, Vec::new()));
        } else {
            let part = part.concat();
            let mut reader = csv::ReaderBuilder::new();
            let reader = reader.has_headers(false).flexible(true).delimiter(sign);
            for record in reader.from_reader(part.as_bytes()).records().take(ROWS_MAX).flatten() {
                let line = record.position().map_or(0, |at| at.line().saturating_sub(1));
                let cells = record.iter().take(COLUMNS_MAX).map(|cell| cell.trim().to_owned()).collect();
                rows.push((number + line, cells));
            }
        }
        number += u64::try_from(part.len()).unwrap_or(0);
    }
    rows
}

/// `Key,Value`, `Key: Value` and `* Key = Value` above the header.
fn preamble(rows: &[(u64, Vec<String>)]) -> HashMap<String, String> {
    let mut above = HashMap::new();
    for (_, row) in rows {
        let pair = match row.as_slice() {
            [one] | [one, ..] if one.starts_with('*') || row.iter().skip(1).all(String::is_empty) => {
                let one = one.trim_start_matches(['*', '#', ' ']);
                one.split_once('=').or_else(|| one.split_once(':'))
            }
            [key, value, ..] => Some((key.as_str(), value.as_str())),
            _ => None,
        };
        if let Some((key, value)) = pair {
            let key = key.trim().trim_end_matches(':').to_owned();
            above.entry(key).or_insert_with(|| value.trim().to_owned());
        }
    }
    above
}

/// The codes the page has conditions for.
fn listed<'p>(profile: &'p FirmwareProfile, grammar: &CsvGrammar) -> Vec<&'p str> {
    let table = &profile.plan.table;
    let conditions = table.metrics.iter().take(table.listed).flat_map(|metric| &metric.when);
    let of_code = conditions.filter(|(at, _)| grammar.code.contains(at));
    of_code.flat_map(|(_, texts)| texts.iter().map(String::as_str)).collect()
}

struct Row<'r> {
    line: u64,
    cells: &'r [String],
    columns: &'r HashMap<&'r str, usize>,
    above: &'r HashMap<String, String>,
    grammar: &'r CsvGrammar,
    listed: &'r [&'r str],
}

impl Fields for Row<'_> {
    fn text(&self, at: &Locator) -> Option<Cow<'_, str>> {
        let Locator::Name(name) = at else { return None };
        if let Some(key) = name.strip_prefix('@') {
            return self.above.get(key).map(|value| Cow::Borrowed(value.as_str()));
        }
        let number = name.strip_prefix('#').and_then(|number| number.parse::<usize>().ok()?.checked_sub(1));
        let number = self.columns.get(&**name).copied().or(number)?;
        self.cells.get(number).map(|cell| Cow::Borrowed(cell.as_str()))
    }

    fn place(&self, at: &Locator) -> String {
        format!("line {} {}", self.line, at.own_code())
    }

    fn whole(&self) -> Cow<'_, str> {
        Cow::Owned(self.cells.join(";"))
    }

    fn beyond(&self) -> Vec<(String, String)> {
        let said = |at: &[Locator]| first(self, at).unwrap_or_default().trim().to_owned();
        let (code, value) = (said(&self.grammar.code), said(&self.grammar.value));
        if code.is_empty() || self.listed.contains(&code.as_str()) { Vec::new() } else { vec![(code, value)] }
    }
}

#[cfg(test)]
#[path = "csv_tests.rs"]
mod tests;
