//! ORU^R40, an alarm (IHE PCD-04): the rows of one event make one alarm, whatever else the message measures.
//!
//! IHE PCD TF-2 numbers the rows by the fifth level of OBX-4: 1 the event, 2 its source, 3 phase, 4 state, 5
//! inactivation, 6 priority, 7 type. Senders leave rows out, repeat numbers and write other levels, so rows are known by
//! their codes. The same attributes come under two sets of numbers.

use std::borrow::Cow;
use std::sync::Arc;

use super::hl7::Here;
use super::hl7_obx::Obx;
use super::hl7_person::coding;
use super::{FirmwareProfile, finding};
use crate::device::{
    Alarm, AlarmInactivation, AlarmPhase, AlarmPriority, AlarmState, AlertKind, Coding, Containment, Domain,
    Finding, MDC, Measurement, MeasurementStatus, Metric, MetricClass, Moment, ResultStatus, Value,
};
use crate::hl7v2::Element;
use crate::nomenclature;

/// MDC_EVT_ALARM: an event whose own code is the value.
const EVT_ALARM: u32 = 196_616;
/// MDC_EVT_ACTIVE: a sign of life and no alarm.
const EVT_ACTIVE: u32 = 196_614;
/// Partition 3 of the nomenclature: events.
const PARTITION_EVENTS: u32 = 3;
/// An alarm number shorter than this is a counter that starts again: it names an alarm for a day, not for ever.
const LASTING_NUMBER: usize = 10;

/// What a row is to an alarm.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Event,
    Source,
    Phase,
    State,
    Inactivation,
    Priority,
    Kind,
    Text,
}

/// By number, in both sets; 68166 is called MDC_ATTR_ALARM_STATE or MDC_ATTR_ALERT_STATE.
fn part(row: &Obx<'_>) -> Option<Part> {
    let code = row.mdc();
    Some(match code {
        Some(68_164 | 68_480) => Part::Source,
        Some(68_165 | 68_481) => Part::Phase,
        Some(68_166 | 68_482) => Part::State,
        Some(68_167 | 68_483) => Part::Inactivation,
        Some(68_168 | 68_484) => Part::Priority,
        Some(68_485) => Part::Kind,
        Some(68_546) => Part::Text,
        Some(code) if code >> 16 == PARTITION_EVENTS => Part::Event,
        // Code 0 is no code: only the reference id says what the row is.
        Some(0) | None if is_event_name(&row.text()) => Part::Event,
        _ => return None,
    })
}

fn is_event_name(text: &str) -> bool {
    let text = text.trim();
    text.starts_with("MDC_EVT_") || text.starts_with("MDCX_EVT_")
}

/// Whether the row belongs to an alarm, so that it is no measurement.
pub(super) fn consumes(row: &Obx<'_>) -> bool {
    part(row).is_some()
}

/// Whether the message only says that the sender is alive.
pub(super) fn is_sign_of_life(rows: &[Obx<'_>]) -> bool {
    let mut events = rows.iter().filter(|row| part(row) == Some(Part::Event)).peekable();
    events.peek().is_some() && events.all(|row| row.mdc() == Some(EVT_ACTIVE))
}

/// A row that its page calls an alarm: what it shows becomes the alarm, and its code the code. Stars before the text
/// are its priority (IEC 60601-1-8 as patient monitors write it: `***` high, `**` medium, `*` low).
pub(super) fn simple(profile: &FirmwareProfile, measurement: &mut Measurement) {
    if measurement.metric.class != MetricClass::Alarm {
        return;
    }
    let (coding, text) = match &measurement.value {
        Value::Coded { codings, text } => (codings.first().cloned(), text.clone()),
        Value::Text(text) => (None, Some(Arc::clone(text))),
        _ => return,
    };
    let stars = text.as_deref().map_or(0, |text| text.len() - text.trim_start_matches('*').len());
    let priority = match stars {
        0 => None,
        1 => Some(AlarmPriority::Low),
        2 => Some(AlarmPriority::Medium),
        _ => Some(AlarmPriority::High),
    };
    let mut metric = Metric::clone(&measurement.metric);
    if let Some(coding) = coding {
        let system = if coding.system.is_empty() { &profile.plan.table.own_system } else { &coding.system };
        metric.codings = vec![Coding { system: Arc::clone(system), ..coding }];
    }
    metric.label = text.clone().unwrap_or(metric.label);
    let alarm = Alarm { text, priority, phase: Some(AlarmPhase::Present), ..Alarm::default() };
    measurement.metric = Arc::new(metric);
    measurement.value = Value::Alarm(Box::new(alarm));
}

/// What is needed of the message around the rows.
pub(super) struct Around<'a> {
    pub(super) profile: &'a FirmwareProfile,
    pub(super) here: &'a Here<'a>,
    /// The time of rows that state none.
    pub(super) fallback: &'a Moment,
    pub(super) test: bool,
}

/// An alarm while its rows are read.
struct Making {
    alarm: Alarm,
    code: Coding,
    containment: Option<Containment>,
    taken: Moment,
    interpretation: Vec<Arc<str>>,
    range: Option<Arc<str>>,
}

/// The alarms of one order. `time` reads OBX-14.
pub(super) fn alarms(
    around: &Around<'_>,
    rows: &[Obx<'_>],
    time: &dyn Fn(&Obx<'_>, &mut Vec<Finding>) -> Option<Moment>,
    findings: &mut Vec<Finding>,
) -> Vec<Measurement> {
    let mut made: Vec<Making> = Vec::new();
    for row in rows {
        let Some(part) = part(row) else {
            // The value that raised it, where it comes as a row of its own.
            if let Some(open) = made.last_mut()
                && open.alarm.source.is_none()
                && row.has_value()
                && row.mdc().is_some_and(|code| code >> 16 == nomenclature::PARTITION_METRICS)
            {
                open.alarm.source = Some(own_coding(around.profile, row));
                open.range =
                    open.range.take().or_else(|| row.field(7).value().map(|text| text.trim().into()));
                flags(row, open);
            }
            continue;
        };
        if part == Part::Event || made.is_empty() {
            if row.mdc() == Some(EVT_ACTIVE) {
                continue;
            }
            let taken = time(row, findings).unwrap_or_else(|| around.fallback.clone());
            made.push(begin(around, row, part, taken));
        }
        if let Some(open) = made.last_mut() {
            attribute(around.profile, row, part, open, findings);
            flags(row, open);
        }
    }
    made.into_iter().map(|making| making.measurement(around)).collect()
}

fn begin(around: &Around<'_>, row: &Obx<'_>, part: Part, taken: Moment) -> Making {
    let value = row.field(5).repetition(1);
    let coded_value = value.component(3).value().is_some();
    let code = match (part, row.mdc()) {
        (Part::Event, Some(EVT_ALARM)) if coded_value => coding(&value, 1),
        (Part::Event, _) => own_coding(around.profile, row),
        // Attributes without an event: an alarm of which only this is known.
        _ => Coding::new(MDC, "196616", Some("MDC_EVT_ALARM")),
    };
    let containment = row.containment.map(|at| Containment { facet: 0, ..at });
    let alarm = Alarm { episode: episode(around.here, &taken), ..Alarm::default() };
    Making { alarm, code, containment, taken, interpretation: Vec::new(), range: None }
}

/// The code of OBX-3; where the number is 0 the reference id, under the device's own system.
fn own_coding(profile: &FirmwareProfile, row: &Obx<'_>) -> Coding {
    let text = row.text();
    let text = text.trim();
    if row.code == "0" && row.system == MDC {
        return Coding::new(&profile.plan.table.own_system, text, Some(text));
    }
    let system: &str = if row.system.is_empty() { &profile.plan.table.own_system } else { &row.system };
    let display = row.mdc().and_then(nomenclature::refid).or(Some(text)).filter(|text| !text.is_empty());
    Coding::new(system, &row.code, display)
}

/// Takes the value of one row into the alarm.
fn attribute(
    profile: &FirmwareProfile,
    row: &Obx<'_>,
    part: Part,
    open: &mut Making,
    findings: &mut Vec<Finding>,
) {
    let field = row.field(5);
    let Some(text) = said(&field) else { return };
    let alarm = &mut open.alarm;
    let known = match part {
        Part::Event => {
            let coded = field.component(3).value().is_some();
            // CWE.9 is the text the device shows (2.6 §2.A.13).
            let shown = field.component(9).value().or_else(|| (!coded).then(|| text.clone()));
            alarm.text = alarm.text.take().or_else(|| shown.map(|text| text.trim().into()));
            true
        }
        Part::Text => {
            alarm.text = Some(text.trim().into());
            true
        }
        Part::Source => {
            let coded = field.component(3).value().is_some();
            let own = || Coding::new(&profile.plan.table.own_system, text.trim(), None);
            alarm.source = Some(if coded { coding(&field, 1) } else { own() });
            true
        }
        Part::Phase => set(&mut alarm.phase, AlarmPhase::parse(&text)),
        Part::State => set(&mut alarm.state, AlarmState::parse(&text)),
        Part::Priority => set(&mut alarm.priority, AlarmPriority::parse(&text)),
        Part::Kind => set(&mut alarm.kind, AlertKind::parse(&text)),
        Part::Inactivation => {
            let words: Vec<_> = field.repetitions().filter_map(|one| said(&one)).collect();
            let read: Vec<_> = words.iter().filter_map(|word| AlarmInactivation::parse(word)).collect();
            let all = read.len() == words.len();
            alarm.inactivation.extend(read);
            all
        }
    };
    if !known {
        let text = "The word for this attribute of an alarm is not in IHE PCD-04; it is left out.";
        findings.push(finding("unknown-alarm-word", row.place(5), text));
    }
}

fn set<T>(slot: &mut Option<T>, read: Option<T>) -> bool {
    let known = read.is_some();
    *slot = read.or(slot.take());
    known
}

/// The word in OBX-5: of a coded value its text, else its code.
fn said<'m>(field: &Element<'m>) -> Option<Cow<'m, str>> {
    field.component(1).value().or_else(|| field.component(2).value())
}

/// OBX-8 of any row of the alarm: its priority, its type, and on which side of the limit the value is.
fn flags(row: &Obx<'_>, open: &mut Making) {
    const LIMITS: [&str; 7] = ["H", "HH", "L", "LL", "A", ">", "<"];
    for flag in row.field(8).repetitions() {
        let flag = flag.component(1).text();
        let flag = flag.trim();
        // Only the letters of OBX-8: `high` is a word of another field.
        if flag.len() == 2 {
            open.alarm.priority = open.alarm.priority.or(AlarmPriority::parse(flag));
            open.alarm.kind = open.alarm.kind.or(AlertKind::parse(flag));
        }
        if LIMITS.contains(&flag) && !open.interpretation.iter().any(|known| **known == *flag) {
            open.interpretation.push(flag.into());
        }
    }
}

/// The number that an alarm keeps from its start to its end: OBR-29, which names the start, else OBR-3, which is the
/// start's own (IHE PCD TF-2, ACM: OBR-29).
fn episode(here: &Here<'_>, taken: &Moment) -> Option<Arc<str>> {
    let order = here.order?;
    let parent = order.field(29).repetition(1);
    let own = order.field(3).repetition(1);
    let number = [parent.component(2), parent.component(1), own.component(1)]
        .into_iter()
        .find_map(|ei| ei.subcomponent(1).value().map(|text| text.trim().to_owned()))
        .filter(|number| number.chars().any(|c| c != '0'))?;
    if number.len() >= LASTING_NUMBER {
        return Some(number.into());
    }
    Some(format!("{number}@{}", taken.micros.div_euclid(86_400_000_000)).into())
}

impl Making {
    fn measurement(self, around: &Around<'_>) -> Measurement {
        let source = self.alarm.source.as_ref().filter(|source| &*source.system == MDC);
        let of_metric = source
            .and_then(|source| source.code.parse::<u32>().ok())
            .is_some_and(|code| code >> 16 == nomenclature::PARTITION_METRICS);
        // What warns of the patient waits for a patient; what warns of the device does not.
        let domain = match self.alarm.kind {
            Some(AlertKind::Physiological) => Domain::VitalSigns,
            None if of_metric => Domain::VitalSigns,
            _ => Domain::Device,
        };
        let label = self.alarm.text.clone().or_else(|| self.code.display.clone());
        let label = label.unwrap_or_else(|| self.code.code.clone());
        let metric =
            Metric { codings: vec![self.code], label, domain, class: MetricClass::Alarm, site: None };
        Measurement {
            metric: Arc::new(metric),
            value: Value::Alarm(Box::new(self.alarm)),
            status: MeasurementStatus { test_data: around.test, ..MeasurementStatus::default() },
            result_status: ResultStatus::Final,
            taken: self.taken,
            until: None,
            containment: self.containment,
            interpretation: self.interpretation,
            reference_range: self.range,
            note: None,
        }
    }
}

#[cfg(test)]
#[path = "hl7_alarm_tests.rs"]
mod tests;
