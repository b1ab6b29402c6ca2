//! Dräger MEDIBUS: the replies of one round of questions → what they say (Protocol Definition, "Responding to Data
//! Request Commands"; MEDIBUS.X).
//!
//! Codes are named by their page: `cp1:D6` is measured value D6 of codepage 1, `low1:D6` and `high1:D6` its alarm limits,
//! `alarm1:0D` an alarm, `set:0B` a setting, `text:0A` a text message, `rt:00` a realtime stream. Blanks and dashes are no
//! value. A limit has the unit of the value it limits.

mod clock;
mod names;
mod realtime;

use super::{Said, Silent, Spoken, Statement, absent};
use crate::device::{
    AbsentReason, Alarm, AlarmPhase, AlarmState, Decimal, Finding, MetricClass, Moment, Value,
};
use crate::firmware_profile::{FirmwareProfile, LinkContext, finding, time};
use crate::wire::medibus::{Kind, Message, Piece, pieces};

/// Bytes of a record of measured values and limits, of alarms and of settings: code and fixed-width text.
const VALUE: usize = 6;
const ALARM: usize = 15;
const SETTING: usize = 7;

pub(super) fn read(
    bytes: &[u8],
    profile: &FirmwareProfile,
    context: &LinkContext,
    findings: &mut Vec<Finding>,
) -> Result<Vec<Said>, Silent> {
    let pieces = pieces(bytes);
    let mut reading = Frame { profile, said: Said::default(), findings };
    let (mut known, mut streams) = (false, realtime::Streams::default());
    for piece in &pieces {
        match piece {
            Piece::Message(message) => {
                known = true;
                streams.hear(message);
                reading.message(message);
            }
            Piece::Realtime(byte) => {
                known = true;
                streams.byte(*byte);
            }
            Piece::Fault(code, text) => reading.findings.push(finding(code, "frame", text.clone())),
            Piece::Control(_) | Piece::CorruptCommand => {}
        }
    }
    if !known {
        return Err(Silent::Held("these bytes are no MEDIBUS messages".into()));
    }
    let Frame { mut said, findings, .. } = reading;
    let taken = clock_of(&pieces, profile, context, findings);
    for statement in &mut said.statements {
        statement.taken.clone_from(&taken);
    }
    let now = taken.unwrap_or_else(|| time::received(context));
    said.statements.extend(streams.statements(&now, findings));
    Ok(vec![said])
}

/// What the device's clock says; `None` where it was not asked.
fn clock_of(
    pieces: &[Piece],
    profile: &FirmwareProfile,
    context: &LinkContext,
    findings: &mut Vec<Finding>,
) -> Option<Moment> {
    let is_clock = |message: &&Message| message.kind == Kind::Reply && message.code == b'(';
    let mut messages =
        pieces.iter().filter_map(|piece| if let Piece::Message(m) = piece { Some(m) } else { None });
    let text = text_of(&messages.rfind(is_clock)?.text);
    let rules = &profile.plan.time;
    match clock::read(&text) {
        Some(time) => Some(rules.believed(&time, &|| "clock".into(), context, findings)),
        None if text.trim().is_empty() => None,
        None => {
            let text = "The device's clock cannot be read; the time of receipt is taken.";
            Some(rules.receipt("bad-time", "clock", text, context, findings))
        }
    }
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

struct Frame<'f> {
    profile: &'f FirmwareProfile,
    said: Said,
    findings: &'f mut Vec<Finding>,
}

impl Frame<'_> {
    fn message(&mut self, message: &Message) {
        if message.kind == Kind::Command {
            return;
        }
        let text = &message.text;
        match message.code {
            b'R' => self.identification(&text_of(text)),
            b'$' => self.values("cp1", text),
            b'+' => self.values("cp2", text),
            b'%' => self.limits("low1", "cp1", "low alarm limit", text),
            b'&' => self.limits("high1", "cp1", "high alarm limit", text),
            b',' => self.limits("low2", "cp2", "low alarm limit", text),
            b'-' => self.limits("high2", "cp2", "high alarm limit", text),
            b'\'' => self.alarms("alarm1", text),
            b'.' => self.alarms("alarm2", text),
            b'#' => self.alarms("alarm3", text),
            b')' => self.settings(text),
            b'*' => self.texts(text),
            _ => {}
        }
    }

    /// Four characters of a number that names the kind of device, its name in apostrophes, `DD.DD:MM.MM` with the
    /// revisions of device and MEDIBUS.
    fn identification(&mut self, text: &str) {
        let mut parts = text.splitn(3, '\'').skip(1);
        let name = parts.next().map(str::trim).filter(|name| !name.is_empty());
        let revision = parts.next().and_then(|all| all.split(':').next()).map(str::trim);
        self.said.device.model = name.map(Into::into);
        self.said.device.firmware = revision.filter(|text| !text.is_empty()).map(Into::into);
    }

    /// Cuts a reply into records of `width`; what does not fit is told.
    fn records<'t>(&mut self, page: &str, text: &'t [u8], width: usize) -> Vec<(&'t [u8], String)> {
        let mut records = Vec::new();
        for record in text.chunks(width) {
            let code = record.get(..2).filter(|_| record.len() == width).and_then(code_of);
            match code {
                Some(code) => records.push((record.get(2..).unwrap_or_default(), code)),
                None => self.bad_record(page, record.len()),
            }
        }
        records
    }

    fn bad_record(&mut self, page: &str, length: usize) {
        let text = format!("{length} bytes that are no record of this page are left out.");
        self.findings.push(finding("bad-record", page, text));
    }

    fn values(&mut self, page: &'static str, text: &[u8]) {
        for (value, code) in self.records(page, text, VALUE) {
            let label = names::measured(page, &code).unwrap_or_default();
            let spoken = number(value).unwrap_or_else(|| absent(AbsentReason::TempUnknown));
            self.said.statements.push(statement(page, &code, label, spoken));
        }
    }

    fn limits(&mut self, page: &'static str, of: &str, which: &str, text: &[u8]) {
        for (value, code) in self.records(page, text, VALUE) {
            let limited = self.profile.plan.table.find(&format!("{of}:{code}"), "").map(|(def, _)| def);
            let label = limited.map(|def| &*def.label).or_else(|| names::measured(of, &code));
            let label = label.map(|label| format!("{label}, {which}")).unwrap_or_default();
            let unit = limited.and_then(|def| def.unit.as_ref()).map(|rule| rule.unit.clone());
            let spoken = number(value).unwrap_or_else(|| absent(AbsentReason::NotApplicable));
            let class = Some(MetricClass::Setting);
            self.said.statements.push(Statement { class, unit, ..statement(page, &code, &label, spoken) });
        }
    }

    /// Priority as one character above `0`, code, and twelve characters of the device's own words.
    fn alarms(&mut self, page: &'static str, text: &[u8]) {
        for record in text.chunks(ALARM) {
            let parts = record.split_first().filter(|_| record.len() == ALARM);
            let Some((priority, code, phrase)) = parts.and_then(|(priority, rest)| {
                let (code, phrase) = rest.split_at_checked(2)?;
                Some((priority.checked_sub(b'0')?, code_of(code)?, phrase))
            }) else {
                self.bad_record(page, record.len());
                continue;
            };
            let phrase = text_of(phrase).trim().to_owned();
            let words = if phrase.is_empty() { format!("{page}:{code}") } else { phrase };
            let alarm = Alarm {
                text: Some(words.as_str().into()),
                phase: Some(AlarmPhase::Present),
                state: Some(AlarmState::Active),
                ..Alarm::default()
            };
            let spoken = Spoken::Value(Value::Alarm(Box::new(alarm)));
            let note = Some(format!("MEDIBUS alarm priority {priority}"));
            let class = Some(MetricClass::Alarm);
            self.said.statements.push(Statement { class, note, ..statement(page, &code, &words, spoken) });
        }
    }

    fn settings(&mut self, text: &[u8]) {
        for (value, code) in self.records("set", text, SETTING) {
            let (label, unit) = names::setting(&code).unwrap_or_default();
            let own = self
                .profile
                .plan
                .table
                .find(&format!("set:{code}"), "")
                .and_then(|(def, _)| def.unit.as_ref());
            let unit = match own {
                Some(rule) => Some(rule.unit.clone()),
                None => names::unit(unit),
            };
            let spoken = number(value).unwrap_or_else(|| absent(AbsentReason::NotApplicable));
            let class = Some(MetricClass::Setting);
            self.said.statements.push(Statement { class, unit, ..statement("set", &code, label, spoken) });
        }
    }

    /// Code, length above `0`, so many characters, ETX.
    fn texts(&mut self, text: &[u8]) {
        let mut rest = text;
        while !rest.is_empty() {
            let Some((code, words, after)) = text_record(rest) else {
                return self.bad_record("text", rest.len());
            };
            let words = text_of(words).trim().to_owned();
            let label = names::message(&code).unwrap_or_default();
            let said = if words.is_empty() { label } else { &words };
            let spoken = match said {
                "" => absent(AbsentReason::Unknown),
                said => Spoken::Value(Value::Text(said.into())),
            };
            let class = Some(MetricClass::Setting);
            let shown = if label.is_empty() { "Text message" } else { label };
            self.said.statements.push(Statement { class, ..statement("text", &code, shown, spoken) });
            rest = after;
        }
    }
}

fn text_record(bytes: &[u8]) -> Option<(String, &[u8], &[u8])> {
    let (head, rest) = bytes.split_at_checked(3)?;
    let code = code_of(head.get(..2)?)?;
    let length = usize::from(head.get(2)?.checked_sub(b'0')?);
    let (words, rest) = rest.split_at_checked(length)?;
    Some((code, words, rest.strip_prefix(&[0x03]).unwrap_or(rest)))
}

fn statement(page: &'static str, code: &str, label: &str, spoken: Spoken) -> Statement {
    let own = format!("{page}:{code}");
    Statement { text: label.to_owned(), place: own.clone(), ..Statement::new(own, "", spoken) }
}

/// Two hex digits, in upper case.
fn code_of(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    u8::from_str_radix(text, 16).ok().map(|code| format!("{code:02X}"))
}

/// A number right or left in its field; a sign may stand at the front of it with blanks behind. `None` for blanks and
/// dashes.
fn number(field: &[u8]) -> Option<Spoken> {
    let text = text_of(field);
    let text = text.trim();
    if text.chars().all(|c| matches!(c, '-' | '.' | '_' | ' ')) {
        return None;
    }
    let joined = match text.strip_prefix('-') {
        Some(rest) => format!("-{}", rest.trim_start()),
        None => text.to_owned(),
    };
    Some(joined.parse::<Decimal>().map_or(Spoken::Text(joined), Spoken::Number))
}

#[cfg(test)]
mod tests;
