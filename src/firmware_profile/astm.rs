//! ASTM E1394 / CLSI LIS02-A2: header, patient, order, result and comment records, nested by their order.
//!
//! Field numbers are those of the standard (§6 to §14): the record type is field 1. Delimiters are whatever the
//! header says. A message of queries alone carries nothing to deliver.

use std::borrow::Cow;
use std::sync::Arc;

use super::compose::Composer;
use super::flat::{self, Fields, Read, UnitSaid};
use super::locate::{AstmPath, Locator};
use super::metric::{MetricDef, ValueKind};
use super::outcome::{self, About, Row};
use super::text::to_text;
use super::value::{Effect, Marks, StatusWord};
use super::{Decoded, FirmwareProfile, LinkContext, finding, person};
use crate::device::{
    AbsentReason, Coding, Comparator, Domain, Finding, Moment, ResultStatus, Specimen, Unit, Value,
};
use crate::hl7v2;

/// More records than this in one message are not looked at.
const RECORDS_MAX: usize = 100_000;
/// More fields than this in one record are not looked at.
const FIELDS_MAX: usize = 100;

/// What LIS02 leaves to the device.
#[derive(Clone, Debug, Default)]
pub(crate) struct AstmGrammar {
    /// Where the code of the test stands, each of one place or of several that are joined by blanks; the usual
    /// places when empty.
    pub(super) test: Vec<Vec<Locator>>,
    /// The code ends before this text: `5/1/not` with `/` is 5.
    pub(super) test_cut: Option<Box<str>>,
    /// Where the value stands; R-4 when empty.
    pub(super) value: Vec<Locator>,
    /// Where the time of a result stands, in order of trust; the usual places when empty.
    pub(super) taken: Vec<AstmPath>,
    /// Parts several flags in R-7 beside the repeat and component signs: `B/X` with `/`.
    pub(super) flag_separator: Option<Box<str>>,
}

/// The signs between parts (§5.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Delimiters {
    pub(super) field: char,
    pub(super) repeat: char,
    pub(super) component: char,
    pub(super) escape: char,
}

pub(super) const USUAL: Delimiters = Delimiters { field: '|', repeat: '\\', component: '^', escape: '&' };

pub(super) fn decode(
    profile: &FirmwareProfile,
    grammar: &AstmGrammar,
    bytes: &[u8],
    context: &LinkContext,
) -> Decoded {
    let text = to_text(bytes, context);
    let mut decoded = Decoded::default();
    let records = records(&text, &mut decoded.findings);
    let mut walk = Walk {
        profile,
        grammar,
        context,
        here: Here::default(),
        specimen_kind: None,
        control: false,
        order_notes: Vec::new(),
        composer: Composer::default(),
        decoded,
    };
    let mut after_result = false;
    for (at, record) in records.iter().enumerate() {
        match record.kind {
            'C' if after_result => {}
            'C' => walk.order_notes.extend(comment(record)),
            'R' => {
                let following = records.iter().skip(at + 1).take_while(|next| matches!(next.kind, 'C' | 'M'));
                let comments = following.filter(|next| next.kind == 'C').filter_map(comment).collect();
                walk.result(record, comments);
            }
            'H' | 'P' | 'O' => walk.enter(record),
            _ => {}
        }
        after_result = record.kind == 'R' || (after_result && matches!(record.kind, 'C' | 'M'));
    }
    walk.close_order();
    finish(walk.decoded, &records)
}

/// What became of a message in which nothing was measured.
fn finish(mut decoded: Decoded, records: &[Record<'_>]) -> Decoded {
    if !decoded.reports.is_empty() {
        return decoded;
    }
    let has = |kind| records.iter().any(|record| record.kind == kind);
    if has('R') {
        decoded.held = Some("no result of the message can be read".into());
    } else if has('Q') {
        decoded.ignored = Some("a query for orders: it carries no results".into());
    } else if has('O') {
        decoded.held = Some("the message carries orders and no results".into());
    } else if has('H') {
        decoded.ignored = Some("a message without results".into());
    } else {
        decoded.held = Some("not ASTM: no header record".into());
    }
    decoded
}

/// Takes the text apart; what is no record is told and left out.
pub(super) fn records<'t>(text: &'t str, findings: &mut Vec<Finding>) -> Vec<Record<'t>> {
    let mut delimiters = USUAL;
    let mut records: Vec<Record<'t>> = Vec::new();
    let lines = text.split(['\r', '\n']).map(|line| line.trim_matches(|c: char| c.is_control()));
    for (at, line) in lines.filter(|line| !line.is_empty()).take(RECORDS_MAX).enumerate() {
        let number = at + 1;
        let mut letters = line.chars();
        let (kind, sign) = (letters.next().unwrap_or_default(), letters.next());
        let place = || format!("record {number}");
        if kind == 'H' {
            match read_delimiters(line) {
                Some(read) => delimiters = read,
                None => {
                    let text = "The header states no delimiters; the usual ones are taken.";
                    findings.push(finding("bad-header", place(), text));
                    delimiters = USUAL;
                }
            }
        } else if !"PORCMQSL".contains(kind) || sign.is_some_and(|sign| sign != delimiters.field) {
            findings.push(finding("not-a-record", place(), "A line is no record of LIS02; it is not read."));
            continue;
        }
        if records.is_empty() && kind != 'H' {
            let text = "The message has no header in front; the usual delimiters are taken.";
            findings.push(finding("no-header", place(), text));
        }
        let fields = line.split(delimiters.field).take(FIELDS_MAX).collect();
        records.push(Record { kind, fields, delimiters, number });
    }
    records
}

/// C-4, its parts joined.
fn comment(record: &Record<'_>) -> Option<String> {
    let signs = [record.delimiters.component, record.delimiters.repeat];
    let parts = record.field(4).split(signs).map(str::trim).filter(|part| !part.is_empty());
    let text = parts.collect::<Vec<_>>().join(" ");
    (!text.is_empty()).then_some(text)
}

/// One record with the delimiters that hold for it.
#[derive(Clone)]
pub(super) struct Record<'t> {
    pub(super) kind: char,
    pub(super) fields: Vec<&'t str>,
    pub(super) delimiters: Delimiters,
    number: usize,
}

impl<'t> Record<'t> {
    pub(super) fn field(&self, number: usize) -> &'t str {
        number.checked_sub(1).and_then(|at| self.fields.get(at)).copied().unwrap_or_default().trim()
    }

    fn component(&self, field: usize, component: usize) -> &'t str {
        let skipped = component.saturating_sub(1);
        let part = self.field(field).split(self.delimiters.component).nth(skipped).unwrap_or_default();
        // One of several: the first is what the record is about (two codes on one tube).
        part.split(self.delimiters.repeat).map(str::trim).find(|one| !one.is_empty()).unwrap_or_default()
    }

    /// The text at a path; of a field without a component named, its first.
    fn text(&self, path: &AstmPath) -> Cow<'t, str> {
        let raw = match path.component {
            Some(component) => self.component(path.field, component),
            None => self.field(path.field),
        };
        self.unescaped(raw)
    }

    /// `&F&` and its kin (§5.4.7); other escapes stay as they are.
    pub(super) fn unescaped(&self, raw: &'t str) -> Cow<'t, str> {
        let escape = self.delimiters.escape;
        if !raw.contains(escape) {
            return Cow::Borrowed(raw);
        }
        let signs = [
            ('F', self.delimiters.field),
            ('S', self.delimiters.component),
            ('R', self.delimiters.repeat),
            ('E', escape),
        ];
        let mut text = raw.to_owned();
        for (letter, sign) in signs {
            text = text.replace(&format!("{escape}{letter}{escape}"), &sign.to_string());
        }
        Cow::Owned(text)
    }

    fn place(&self, field: usize) -> String {
        format!("record {} {}-{field}", self.number, self.kind)
    }
}

/// The records that hold at a point of the message.
#[derive(Clone, Copy, Default)]
struct Here<'r, 't> {
    header: Option<&'r Record<'t>>,
    patient: Option<&'r Record<'t>>,
    order: Option<&'r Record<'t>>,
    result: Option<&'r Record<'t>>,
}

impl<'r, 't> Here<'r, 't> {
    const fn of(&self, record: u8) -> Option<&'r Record<'t>> {
        match record {
            b'H' => self.header,
            b'P' => self.patient,
            b'O' => self.order,
            b'R' => self.result,
            _ => None,
        }
    }
}

impl Fields for Here<'_, '_> {
    fn text(&self, at: &Locator) -> Option<Cow<'_, str>> {
        let Locator::Astm(path) = at else { return None };
        self.of(path.record).map(|record| record.text(path))
    }

    fn place(&self, at: &Locator) -> String {
        at.own_code()
    }

    fn whole(&self) -> Cow<'_, str> {
        Cow::Borrowed(self.header.and_then(|header| header.fields.first()).copied().unwrap_or_default())
    }

    fn beyond(&self) -> Vec<(String, String)> {
        Vec::new()
    }
}

struct Walk<'p, 'r, 't> {
    profile: &'p FirmwareProfile,
    grammar: &'p AstmGrammar,
    context: &'p LinkContext,
    here: Here<'r, 't>,
    /// Kind of the order's specimen, by which LOINC codes may differ.
    specimen_kind: Option<Arc<str>>,
    control: bool,
    /// Comments of the order; they hold for each of its results.
    order_notes: Vec<String>,
    composer: Composer,
    decoded: Decoded,
}

impl<'p, 'r, 't> Walk<'p, 'r, 't> {
    /// A record that opens a level closes what was below it.
    fn enter(&mut self, record: &'r Record<'t>) {
        self.close_order();
        let record = Some(record);
        self.here = match record.map(|record| record.kind) {
            Some('H') => Here { header: record, ..Here::default() },
            Some('P') => Here { patient: record, order: None, ..self.here },
            _ => Here { order: record, ..self.here },
        };
        let specimen = specimen(self.profile, &self.here, &mut Vec::new());
        self.specimen_kind = specimen.and_then(|specimen| specimen.kind).map(|kind| kind.code);
        self.control = self.is_control();
    }

    fn close_order(&mut self) {
        let composer = std::mem::take(&mut self.composer);
        self.order_notes.clear();
        if composer.measurements.is_empty() {
            return;
        }
        let (profile, control) = (self.profile, self.control);
        let findings = &mut self.decoded.findings;
        let person = person::from_fields(&profile.plan.subject, &self.here, findings).filter(|_| !control);
        let about = About {
            device: flat::device(profile, &self.here, findings),
            person,
            place: person::place(&profile.plan.subject, &self.here),
            specimen: specimen(profile, &self.here, findings),
            orders: Vec::new(),
        };
        outcome::close(&mut self.decoded.reports, about, composer);
    }

    /// O-12 or H-12 `Q` (§9.4.12, §6.12), or what the profile says marks a control.
    fn is_control(&self) -> bool {
        let marked = |record: Option<&Record<'_>>| record.is_some_and(|record| record.field(12) == "Q");
        marked(self.here.order)
            || marked(self.here.header)
            || outcome::is_control(&self.profile.plan.quality_control, &self.here)
    }

    fn result(&mut self, record: &'r Record<'t>, comments: Vec<String>) {
        self.here.result = Some(record);
        if let Some(row) = self.row(record, comments) {
            let (measurement, group) = row.measurement(self.profile, self.specimen_kind.as_deref());
            let groups = &self.profile.plan.table.groups;
            let group = group.and_then(|number| groups.get(number).map(|group| (number, group)));
            self.composer.push(measurement, group);
        }
        self.here.result = None;
    }

    fn row(&mut self, record: &'r Record<'t>, comments: Vec<String>) -> Option<Row<'p>> {
        let profile = self.profile;
        let code = self.test_code(record);
        let metric = profile.plan.table.find(&code, "");
        if metric.is_some_and(|(def, _)| def.kind == ValueKind::Ignore) {
            return None;
        }
        if metric.is_none() {
            let text = "The test is not in the profile; its value is kept under the code as it came.";
            self.decoded.findings.push(finding("unknown-code", record.place(3), text));
        }
        let (mut marks, mut note) = (Marks::default(), None);
        self.flags(record, &mut marks, &mut note);
        let findings = &mut self.decoded.findings;
        let timed = self.grammar.taken.iter().any(|path| (path.record, path.field) == (b'R', 9));
        let result_status =
            if timed { ResultStatus::Final } else { result_status(record, &mut marks, findings) };
        let (text, rest) = self.value_text(record);
        if let Some(rest) = rest {
            outcome::add_note(&mut note, &format!("The device wrote: {rest}"));
        }
        for comment in self.order_notes.iter().chain(&comments) {
            outcome::add_note(&mut note, comment);
        }
        let findings = &mut self.decoded.findings;
        let unit = stated_unit(metric, record);
        let mut read = value(profile, metric, record, &text, &mut marks, findings);
        off_scale(&mut read.value, &marks);
        flat::withhold(&mut read.value, &marks, &|| record.place(4), findings);
        if self.here.header.is_some_and(|header| matches!(header.field(12), "T" | "D")) {
            marks.apply(&Effect::Status(StatusWord::Test));
        }
        let taken = self.taken(record);
        let range = record.field(6).split(record.delimiters.component).next().unwrap_or_default().trim();
        Some(Row {
            code: Cow::Owned(code),
            text: Cow::Borrowed(""),
            system: Cow::Borrowed(""),
            metric,
            unit,
            read,
            marks,
            result_status,
            taken,
            containment: None,
            range: (!range.is_empty()).then(|| range.into()),
            site: None,
            note,
            quality_control: self.control || self.is_control(),
            domain: Domain::Laboratory,
        })
    }

    /// a sign the page lists, else several parted by the repeat and component signs.
    fn flags(&mut self, record: &Record<'t>, marks: &mut Marks, note: &mut Option<String>) {
        let (profile, text) = (self.profile, record.field(7));
        let signs = [record.delimiters.repeat, record.delimiters.component];
        let whole = profile.plan.value.flag(text).is_some();
        let separator = self.grammar.flag_separator.as_deref();
        let parts = text.split(|sign: char| !whole && signs.contains(&sign));
        let parts = parts.flat_map(|part| match separator {
            Some(separator) if !whole => part.split(separator).collect(),
            _ => vec![part],
        });
        for flag in parts {
            let findings = &mut self.decoded.findings;
            outcome::flag(profile, flag, &|| record.place(7), marks, note, findings);
        }
        // Markers that say nothing of the value (before or after a meal) are still for a person to see.
        if separator.is_some() && !text.is_empty() {
            outcome::add_note(note, &format!("Markers of the device: {text}"));
        }
    }

    /// The test's code where the profile says, else the maker's part of R-3 (§9.4.5: component 4), else the first
    /// part that says anything.
    fn test_code(&self, record: &Record<'t>) -> String {
        let joined = |parts: &Vec<Locator>| {
            let parts = parts.iter().filter_map(|at| self.here.text(at));
            let parts: Vec<String> =
                parts.map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect();
            parts.join(" ")
        };
        let own = self.grammar.test.iter().map(joined).find(|text| !text.is_empty()).map(Cow::Owned);
        let usual = || {
            let parts = [4, 5, 1, 2, 3].into_iter().map(|number| record.component(3, number));
            Cow::Borrowed(parts.into_iter().find(|part| !part.is_empty()).unwrap_or_default())
        };
        let code = own.unwrap_or_else(usual);
        match &self.grammar.test_cut {
            Some(cut) => code.split(&**cut).next().unwrap_or_default().trim().to_owned(),
            None => code.trim().to_owned(),
        }
    }

    /// The text of the value, and all of R-4 when it says more than that.
    fn value_text(&self, record: &Record<'t>) -> (String, Option<String>) {
        let whole = record.field(4);
        let parts: Vec<&str> =
            whole.split(record.delimiters.component).map(str::trim).filter(|part| !part.is_empty()).collect();
        let own = self
            .grammar
            .value
            .iter()
            .filter_map(|at| self.here.text(at))
            .find(|text| !text.trim().is_empty());
        let more = (parts.len() > 1).then(|| whole.to_owned());
        match (own, parts.as_slice()) {
            (Some(own), _) => (own.trim().to_owned(), more),
            (None, []) => (String::new(), None),
            (None, [only]) => (record.unescaped(only).into_owned(), None),
            // Several parts and no word on which is the value: the text as a whole, and no number.
            (None, _) => (whole.to_owned(), None),
        }
    }

    /// O-8, O-7, H-14, else the receipt.
    fn taken(&mut self, record: &Record<'t>) -> Moment {
        let (order, header) = (self.here.order, self.here.header);
        let usual = [(Some(record), 13), (Some(record), 12), (order, 8), (order, 7), (header, 14)];
        let own = self.grammar.taken.iter().map(|path| (self.here.of(path.record), path.field));
        let own: Vec<_> = own.collect();
        for (record, field) in own.into_iter().chain(usual) {
            let Some(record) = record else { continue };
            let text = record.component(field, 1);
            if text.is_empty() {
                continue;
            }
            let findings = &mut self.decoded.findings;
            let place = || record.place(field);
            match hl7v2::parse_time(text) {
                Some(time) => return self.profile.plan.time.believed(&time, &place, self.context, findings),
                None => {
                    let text = "The time cannot be read; another is taken.";
                    findings.push(finding("bad-time", place(), text));
                }
            }
        }
        let text = "The message says no time; the time of receipt is taken.";
        self.profile.plan.time.receipt("no-time", "time", text, self.context, &mut self.decoded.findings)
    }
}

fn value(
    profile: &FirmwareProfile,
    metric: Option<(&MetricDef, usize)>,
    record: &Record<'_>,
    text: &str,
    marks: &mut Marks,
    findings: &mut Vec<Finding>,
) -> Read {
    if text.trim().is_empty() {
        return outcome::absent_with(marks, AbsentReason::Unknown);
    }
    let unit_text = record.component(5, 1);
    match metric {
        Some((def, _)) => {
            let place = || record.place(4);
            flat::read_value(profile, def, text, UnitSaid::Text(Some(unit_text)), &place, marks, findings)
        }
        None => {
            let unit = (!unit_text.is_empty()).then(|| unit_of_unlisted(unit_text));
            outcome::unlisted_value(profile, text, unit, marks)
        }
    }
}

/// A flag `<` or `>` says that the value is beyond what the device measures (HL7 table 0078).
fn off_scale(value: &mut Value, marks: &Marks) {
    let Value::Numeric { comparator, .. } = value else { return };
    let has = |sign: &str| marks.interpretation.iter().any(|code| &**code == sign);
    let said = match (has("<"), has(">")) {
        (true, false) => Some(Comparator::Less),
        (false, true) => Some(Comparator::Greater),
        _ => None,
    };
    *comparator = comparator.or(said);
}

/// R-5 of a test the page does not list. A lone `C` or `F` is a temperature where one is measured; here it would be
/// a guess (an agglutination of `40|C` is none).
fn unit_of_unlisted(text: &str) -> Unit {
    match text.trim() {
        letter @ ("C" | "F") => Unit { ucum: "".into(), display: letter.into() },
        text => flat::unit_of_text(text),
    }
}

/// R-5, for a result whose value is absent or a word: its code may depend on it.
fn stated_unit(metric: Option<(&MetricDef, usize)>, record: &Record<'_>) -> Option<Unit> {
    let text = record.component(5, 1);
    let own = metric.and_then(|(def, _)| def.units.get(text)).map(|rule| rule.unit.clone());
    own.or_else(|| (!text.is_empty()).then(|| flat::unit_of_text(text)))
}

/// R-9 (§9.4.11).
fn result_status(record: &Record<'_>, marks: &mut Marks, findings: &mut Vec<Finding>) -> ResultStatus {
    let empty = record.field(4).trim_matches(record.delimiters.component).is_empty();
    match record.field(9) {
        "" | "F" | "R" | "V" | "Q" | "N" | "M" => ResultStatus::Final,
        "P" | "S" => ResultStatus::Preliminary,
        "C" => ResultStatus::Corrected,
        // The instrument doubts its own result.
        "W" => {
            marks.set(StatusWord::Questionable);
            ResultStatus::Final
        }
        "I" => {
            if empty {
                marks.absent.get_or_insert(AbsentReason::TempUnknown);
            }
            ResultStatus::Preliminary
        }
        "X" => {
            if empty {
                marks.absent.get_or_insert(AbsentReason::Error);
                ResultStatus::Cancelled
            } else {
                ResultStatus::Final
            }
        }
        _ => {
            let text = "The result status is not in LIS02; the result is taken as final.";
            findings.push(finding("unknown-status", record.place(9), text));
            ResultStatus::Final
        }
    }
}

/// Where the profile says, else O-3 or O-4, first component; the kind from O-16.
fn specimen(profile: &FirmwareProfile, here: &Here<'_, '_>, findings: &mut Vec<Finding>) -> Option<Specimen> {
    let subject = &profile.plan.subject;
    let mut specimen = flat::specimen(profile, here, findings).unwrap_or_default();
    let Some(order) = here.order else {
        return (specimen != Specimen::default()).then_some(specimen);
    };
    if subject.specimen_id.is_empty() {
        let usual = [order.component(3, 1), order.component(4, 1)].into_iter().find(|id| !id.is_empty());
        specimen.identifier = specimen.identifier.or_else(|| usual.map(Into::into));
    }
    if subject.specimen_kind.is_empty() {
        let kind = order.component(16, 1);
        let system = || Arc::clone(&profile.plan.table.own_system);
        specimen.kind =
            (!kind.is_empty()).then(|| Coding { system: system(), code: kind.into(), display: None });
    }
    (specimen != Specimen::default()).then_some(specimen)
}

/// `H|\^&`: the four signs after H. A doubled repeat sign is a slip of senders that escape it.
fn read_delimiters(line: &str) -> Option<Delimiters> {
    let mut signs = line.chars().skip(1);
    let field = signs.next()?;
    let mut rest: Vec<char> = signs.take_while(|sign| *sign != field).collect();
    if let [first, second, ..] = rest.as_slice()
        && first == second
    {
        rest.remove(0);
    }
    let [repeat, component, escape] = *rest.as_slice() else { return None };
    let all = [field, repeat, component, escape];
    let sound = all.iter().all(|sign| !sign.is_alphanumeric() && !sign.is_whitespace());
    sound.then_some(Delimiters { field, repeat, component, escape })
}

#[cfg(test)]
#[path = "astm_tests.rs"]
mod tests;
