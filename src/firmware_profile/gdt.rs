//! xDT files of the Qualitätsring Medizinische Software: GDT 2.1 and 3.0 of measuring devices, LDT 2 of laboratories.
//!
//! A line is three digits of length (of the whole line with CR LF, in bytes), four digits of field, and text. 8000
//! begins a record; 8410 begins a test, to which the fields behind it belong. A wrong length is told and the line
//! still read: writers that count letters for bytes are common.

use std::borrow::Cow;
use std::sync::Arc;

use super::charset::{CP437, Charset};
use super::compose::Composer;
use super::flat::{self, UnitSaid};
use super::metric::ValueKind;
use super::outcome::{self, About, Row, add_note};
use super::person::{birth_date, gender, names_nobody};
use super::value::{Effect, Marks};
use super::{Decoded, FirmwareProfile, LinkContext, finding};
use crate::device::{
    AbsentReason, Domain, Finding, Identifier, Moment, Person, ResultStatus, Specimen, Value,
};
use crate::hl7v2;

/// More lines than this in one file are not looked at.
const LINES_MAX: usize = 100_000;

/// `[record] grammar = "gdt"`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct GdtGrammar {
    /// Where the file does not say (9206, 9106).
    pub(super) charset: Option<Charset>,
}

struct Line<'t> {
    field: &'t str,
    text: &'t str,
}

/// A test: the lines from its 8410 on, or a value of the record itself.
type Lines<'a, 't> = &'a [Line<'t>];

pub(super) fn decode(
    profile: &FirmwareProfile,
    grammar: &GdtGrammar,
    bytes: &[u8],
    context: &LinkContext,
) -> Decoded {
    let mut decoded = Decoded::default();
    check_lengths(bytes, &mut decoded.findings);
    let text = charset(grammar, bytes).decode(bytes);
    let lines = lines(&text, &mut decoded.findings);
    if !lines.first().is_some_and(|line| line.field == "8000") {
        decoded.held = Some("not a GDT or LDT file: it does not begin with field 8000".into());
        return decoded;
    }
    let mut request = false;
    for record in lines.chunk_by(|_, next| next.field != "8000") {
        match first(record, "8000") {
            "6300" | "6301" | "6302" | "6303" | "8215" | "8218" | "8219" => request = true,
            // Beginnings and ends of files and media.
            "0020" | "0021" | "8220" | "8221" | "8230" | "8231" => {}
            _ => report(profile, record, context, &mut decoded),
        }
    }
    if decoded.reports.is_empty() {
        if request {
            decoded.ignored = Some("a request for a test: it carries no results".into());
        } else {
            decoded.held = Some("no result of the file can be read".into());
        }
    }
    decoded
}

/// 9206 (GDT) or 9106 (LDT): 2 is code page 437, 3 is ISO 8859-1, 4 is ISO 8859-15; GDT 2.1 takes 437 when it is not said.
fn charset(grammar: &GdtGrammar, bytes: &[u8]) -> Charset {
    let said = bytes.split(|byte| *byte == b'\n').take(100).find_map(|line| match line.get(3..8) {
        Some([b'9', b'2' | b'1', b'0', b'6', sign]) => Some(*sign),
        _ => None,
    });
    match said {
        Some(b'3') => Charset::Known(encoding_rs::WINDOWS_1252),
        Some(b'4') => Charset::Known(encoding_rs::ISO_8859_15),
        _ if std::str::from_utf8(bytes).is_ok() => Charset::Known(encoding_rs::UTF_8),
        Some(b'2') => Charset::Dos(CP437),
        _ => grammar.charset.unwrap_or(Charset::Dos(CP437)),
    }
}

fn check_lengths(bytes: &[u8], findings: &mut Vec<Finding>) {
    for (at, line) in bytes.split_inclusive(|byte| *byte == b'\n').take(LINES_MAX).enumerate() {
        let bare = line.strip_suffix(b"\n").unwrap_or(line);
        let bare = bare.strip_suffix(b"\r").unwrap_or(bare);
        let stated =
            bare.get(0..3).and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<usize>().ok());
        // CR LF count as two although some writers end lines with one of them.
        if stated.is_some_and(|stated| stated != bare.len() + 2)
            && !findings.iter().any(|f| f.code == "bad-length")
        {
            let text = "A line is not as long as it says; it is read to its end. It may be cut.";
            findings.push(finding("bad-length", format!("line {}", at + 1), text));
        }
    }
}

fn lines<'t>(text: &'t str, findings: &mut Vec<Finding>) -> Vec<Line<'t>> {
    let mut lines = Vec::new();
    for (at, line) in
        text.split(['\n', '\r']).filter(|line| !line.trim().is_empty()).take(LINES_MAX).enumerate()
    {
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        match (line.get(0..3), line.get(3..7), line.get(7..)) {
            (Some(length), Some(field), Some(text)) if digits(length) && digits(field) => {
                lines.push(Line { field, text: text.trim() });
            }
            _ => {
                let text = "A line has no length and field in front; it is not read.";
                findings.push(finding("not-a-field", format!("line {}", at + 1), text));
            }
        }
    }
    lines
}

fn first<'t>(lines: Lines<'_, 't>, field: &str) -> &'t str {
    lines.iter().find(|line| line.field == field).map(|line| line.text).unwrap_or_default()
}

fn all<'t>(lines: Lines<'_, 't>, field: &str) -> String {
    let texts: Vec<&'t str> = lines
        .iter()
        .filter(|line| line.field == field && !line.text.is_empty())
        .map(|line| line.text)
        .collect();
    texts.join("\n")
}

/// Fields of the record that are values by themselves: height, weight, and the findings in words.
const OF_RECORD: [(&str, &str); 5] =
    [("3622", "cm"), ("3623", "kg"), ("6220", ""), ("6227", ""), ("6228", "")];

fn report(profile: &FirmwareProfile, record: Lines<'_, '_>, context: &LinkContext, decoded: &mut Decoded) {
    let mut parts = record.chunk_by(|_, next| next.field != "8410");
    let head = parts.next().unwrap_or_default();
    let mut composer = Composer::default();
    let mut push = |row: Option<Row<'_>>| {
        if let Some(row) = row {
            let (measurement, group) = row.measurement(profile, None);
            let group =
                group.and_then(|number| profile.plan.table.groups.get(number).map(|def| (number, def)));
            composer.push(measurement, group);
        }
    };
    let findings = &mut decoded.findings;
    for (field, unit) in OF_RECORD {
        let text = all(record, field);
        if !text.is_empty() {
            let test = Test { code: field, name: "", value: &text, unit, lines: &[], head, control: false };
            push(row(profile, &test, context, findings));
        }
    }
    let control = first(head, "8402").starts_with("QC");
    for lines in parts {
        let (value, words) = (first(lines, "8420"), all(lines, "8480"));
        let value = if value.is_empty() { words.as_str() } else { value };
        let (code, name, unit) = (first(lines, "8410"), first(lines, "8411"), first(lines, "8421"));
        push(row(profile, &Test { code, name, value, unit, lines, head, control }, context, findings));
        if lines.iter().any(|line| line.field == "8438") {
            let text = "A data stream of a test is not read.";
            findings.push(finding("unused", format!("test {code} 8438"), text));
        }
    }
    let specimen = Some(first(record, "8428")).filter(|id| !id.is_empty()).map(Arc::from);
    let order = Some(first(head, "8310")).filter(|id| !id.is_empty());
    let about = About {
        device: profile.device(),
        person: person(profile, head, findings),
        place: None,
        specimen: specimen.map(|identifier| Specimen { identifier: Some(identifier), kind: None }),
        orders: order.map(|value| order_number(profile, value)).into_iter().collect(),
    };
    outcome::close(&mut decoded.reports, about, composer);
}

fn order_number(profile: &FirmwareProfile, value: &str) -> Identifier {
    let system = format!("urn:bedside:order:{}", profile.id);
    Identifier { system: system.into(), value: value.into(), kind: None }
}

struct Test<'a, 't> {
    code: &'t str,
    name: &'t str,
    value: &'a str,
    unit: &'t str,
    lines: Lines<'a, 't>,
    head: Lines<'a, 't>,
    control: bool,
}

fn row<'p>(
    profile: &'p FirmwareProfile,
    test: &Test<'_, '_>,
    context: &LinkContext,
    findings: &mut Vec<Finding>,
) -> Option<Row<'p>> {
    let metric = profile.plan.table.find(test.code, "");
    if metric.is_some_and(|(def, _)| def.kind == ValueKind::Ignore) {
        return None;
    }
    let place = || format!("test {}", test.code);
    if metric.is_none() {
        let text = "The test is not in the profile; its value is kept under the code as it came.";
        findings.push(finding("unknown-code", place(), text));
    }
    let (mut marks, mut note) = (Marks::default(), None);
    limit_sign(profile, first(test.lines, "8422"), &place, &mut marks, &mut note, findings);
    for field in ["8470", "8480"] {
        let words = all(test.lines, field);
        if !words.is_empty() && words != test.value {
            add_note(&mut note, &words);
        }
    }
    let result_status = status(test, &mut marks);
    let unit = (!test.unit.is_empty()).then(|| flat::unit_of_text(test.unit));
    let mut read = match metric {
        _ if test.value.is_empty() => outcome::absent_with(&marks, AbsentReason::Unknown),
        // Words over several lines are words, whatever their first sign.
        None if test.value.contains('\n') => Value::Text(test.value.into()).into(),
        Some((def, _)) => {
            let unit = UnitSaid::Text(Some(test.unit));
            flat::read_value(profile, def, test.value, unit, &place, &mut marks, findings)
        }
        None => outcome::unlisted_value(profile, test.value, unit.clone(), &mut marks),
    };
    flat::withhold(&mut read.value, &marks, &place, findings);
    let limits = match (first(test.lines, "8461"), first(test.lines, "8462"), first(test.lines, "8460")) {
        (low, high, _) if !low.is_empty() && !high.is_empty() => format!("{low}-{high}").replace(',', "."),
        (_, _, words) => words.to_owned(),
    };
    Some(Row {
        code: Cow::Owned(test.code.to_owned()),
        text: Cow::Owned(test.name.to_owned()),
        system: Cow::Borrowed(""),
        metric,
        unit,
        read,
        marks,
        result_status,
        taken: taken(profile, test, context, findings),
        containment: None,
        range: (!limits.is_empty()).then(|| limits.into()),
        site: None,
        note,
        quality_control: test.control,
        domain: Domain::Laboratory,
    })
}

/// 8422: `+` and `-`, doubled when far out, `!` for any deviation.
fn limit_sign(
    profile: &FirmwareProfile,
    sign: &str,
    place: &dyn Fn() -> String,
    marks: &mut Marks,
    note: &mut Option<String>,
    findings: &mut Vec<Finding>,
) {
    let code = match sign {
        "+" => "H",
        "++" => "HH",
        "-" => "L",
        "--" => "LL",
        "!" | "!+" | "!-" => "A",
        other => return outcome::flag(profile, other, place, marks, note, findings),
    };
    marks.apply(&Effect::Interpretation(code.into()));
}

/// 8418: K corrected, F still to come; 8401: T a part of the findings.
fn status(test: &Test<'_, '_>, marks: &mut Marks) -> ResultStatus {
    match (first(test.lines, "8418"), first(test.head, "8401")) {
        ("K", _) => ResultStatus::Corrected,
        ("F", _) => {
            marks.absent.get_or_insert(AbsentReason::TempUnknown);
            ResultStatus::Preliminary
        }
        (_, "T") => ResultStatus::Preliminary,
        _ => ResultStatus::Final,
    }
}

/// 8432 and 8439 of the test, else 6200 and 6201 of the record, else 8302 of the report; the day alone when there is
/// no time.
fn taken(
    profile: &FirmwareProfile,
    test: &Test<'_, '_>,
    context: &LinkContext,
    findings: &mut Vec<Finding>,
) -> Moment {
    let places = [
        (test.lines, "8432", "8439"),
        (test.head, "8432", "8439"),
        (test.head, "6200", "6201"),
        (test.head, "7278", "7279"),
        (test.head, "8302", "8303"),
    ];
    for (lines, day, time) in places {
        let text = first(lines, day);
        let Some((day_text, year)) = turned(text) else { continue };
        let clock = first(lines, time).replace(':', "");
        let clock = if clock.len() == 4 || clock.len() == 6 { clock } else { String::new() };
        if let Some(time) = hl7v2::parse_time(&format!("{year}{day_text}{clock}")) {
            return profile.plan.time.believed(&time, &|| day.to_owned(), context, findings);
        }
        findings.push(finding("bad-time", day, "The time cannot be read; another is taken."));
    }
    let text = "The file says no time; the time of receipt is taken.";
    profile.plan.time.receipt("no-time", "time", text, context, findings)
}

/// `DDMMYYYY`, or `YYYYMMDD` of newer writers, → (`MMDD`, `YYYY`).
fn turned(text: &str) -> Option<(String, &str)> {
    let is_year = |text: &str| text.parse().is_ok_and(|year| (1850..=2150).contains(&year));
    if text.len() != 8 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (first, last) = (text.get(0..4)?, text.get(4..8)?);
    if is_year(last) || !is_year(first) {
        return Some((format!("{}{}", text.get(2..4)?, text.get(0..2)?), last));
    }
    Some((last.to_owned(), first))
}

fn person(profile: &FirmwareProfile, head: Lines<'_, '_>, findings: &mut Vec<Finding>) -> Option<Person> {
    let subject = &profile.plan.subject;
    let said = |field| Some(first(head, field)).filter(|text: &&str| !text.is_empty());
    let id = said("3000").filter(|id| !names_nobody(subject, id, findings));
    let system = || subject.system.clone().unwrap_or_else(|| super::person::NO_AUTHORITY.into());
    let born = said("3103")
        .map(|text| turned(text).map_or_else(|| text.to_owned(), |(day, year)| format!("{year}{day}")));
    let sex = said("3110").map(|text| if text.eq_ignore_ascii_case("w") { "f" } else { text });
    let person = Person {
        identifiers: id
            .map(|value| Identifier { system: system(), value: value.into(), kind: subject.kind.clone() })
            .into_iter()
            .collect(),
        family: said("3101").map(Arc::from),
        given: said("3102").map(Arc::from).into_iter().collect(),
        birth_date: born.and_then(|text| birth_date(&text, findings)),
        gender: sex.and_then(gender).map(Into::into),
    };
    (!person.identifiers.is_empty() || person.family.is_some()).then_some(person)
}

#[cfg(test)]
#[path = "gdt_tests.rs"]
mod tests;
