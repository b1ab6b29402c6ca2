//! What the two standard grammars share: flags and statuses of HL7 v2 and LIS02, and the making of a measurement.

use std::borrow::Cow;
use std::sync::Arc;

use super::compose::Composer;
use super::flat::{self, Fields, Read};
use super::metric::{MetricDef, unlisted};
use super::schema::ControlRule;
use super::value::{Effect, INTERPRETATIONS, Marks, Number, StatusWord};
use super::{FirmwareProfile, MEASUREMENTS_MAX, finding};
use crate::device::{
    AbsentReason, Coding, Containment, Decimal, Device, Domain, Finding, Identifier, MDC, Measurement,
    Metric, MetricClass, Moment, Person, Place, Report, ResultStatus, Specimen, Unit, Value,
};

/// OBX-8 words of IHE PCD-01 beside table 0078 (PoCD mappingv2).
const OBX_8: &[(&str, Option<StatusWord>)] = &[
    ("INV", Some(StatusWord::Invalid)),
    ("QUES", Some(StatusWord::Questionable)),
    ("NAV", Some(StatusWord::NotAvailable)),
    ("CAL", Some(StatusWord::Calibration)),
    ("TEST", Some(StatusWord::Test)),
    ("DEMO", Some(StatusWord::Demo)),
    ("VAL", Some(StatusWord::Validated)),
    ("EARLY", Some(StatusWord::Early)),
    ("BUSY", Some(StatusWord::Ongoing)),
    ("ALACT", Some(StatusWord::InAlarm)),
    ("ALINH", Some(StatusWord::AlarmInhibited)),
    ("NI", Some(StatusWord::NoInformation)),
    ("OFF", Some(StatusWord::Off)),
    // Alert priorities: they rank an alarm and say nothing of the value.
    ("PN", None),
    ("PL", None),
    ("PM", None),
    ("PH", None),
];

/// Applies one flag: the profile's own meaning first, then the standard's. An unknown one is told and kept as note.
pub(super) fn flag(
    profile: &FirmwareProfile,
    text: &str,
    place: &dyn Fn() -> String,
    marks: &mut Marks,
    note: &mut Option<String>,
    findings: &mut Vec<Finding>,
) {
    let text = text.trim();
    if text.is_empty() || text == "\"\"" {
        return;
    }
    if let Some(effect) = profile.plan.value.flag(text) {
        marks.apply(effect);
    } else if let Some((_, word)) = OBX_8.iter().find(|(known, _)| *known == text) {
        if let Some(word) = word {
            marks.set(*word);
        }
    } else if let Some(code) = INTERPRETATIONS.iter().find(|known| **known == text) {
        marks.apply(&Effect::Interpretation((*code).into()));
    } else {
        findings.push(finding(
            "unknown-flag",
            place(),
            "A flag is neither in the profile nor in the standard; it is kept as a note.",
        ));
        add_note(note, &format!("Device flag: {text}"));
    }
}

pub(super) fn add_note(note: &mut Option<String>, text: &str) {
    match note {
        Some(note) if note.lines().any(|line| line == text) => {}
        Some(note) => {
            note.push('\n');
            note.push_str(text);
        }
        None => *note = Some(text.to_owned()),
    }
}

/// A row of a result message, ready to become a measurement.
pub(super) struct Row<'r> {
    /// The device's own code: code, text, canonical system.
    pub(super) code: Cow<'r, str>,
    pub(super) text: Cow<'r, str>,
    pub(super) system: Cow<'r, str>,
    pub(super) metric: Option<(&'r MetricDef, usize)>,
    pub(super) unit: Option<Unit>,
    pub(super) read: Read,
    pub(super) marks: Marks,
    pub(super) result_status: ResultStatus,
    pub(super) taken: Moment,
    pub(super) containment: Option<Containment>,
    pub(super) range: Option<Arc<str>>,
    pub(super) site: Option<Coding>,
    pub(super) note: Option<String>,
    pub(super) quality_control: bool,
    /// What the rows of an unlisted code are about.
    pub(super) domain: Domain,
}

impl Row<'_> {
    /// Makes the measurement, with the group it is a member of.
    pub(super) fn measurement(
        self,
        profile: &FirmwareProfile,
        specimen: Option<&str>,
    ) -> (Measurement, Option<usize>) {
        let table = &profile.plan.table;
        let unit = match &self.read.value {
            Value::Numeric { unit, .. } => unit.as_ref(),
            _ => self.unit.as_ref(),
        };
        let unit = unit.map(|unit| &*unit.ucum);
        let metric = match self.metric {
            Some((def, matched)) => {
                let usual = def.unit.as_ref().map(|rule| &*rule.unit.ucum);
                def.metric(matched, unit.or(usual), specimen, &table.own_system)
            }
            None => Arc::new(self.unlisted(profile)),
        };
        let metric = adapted(metric, self.site, self.quality_control);
        let mut note = self.note;
        if let Some(own) = &self.read.note {
            add_note(&mut note, own);
        }
        // A control is never part of a patient's panel.
        let group = self.metric.and_then(|(def, _)| def.group).filter(|_| !self.quality_control);
        let measurement = Measurement {
            metric,
            value: self.read.value,
            status: self.marks.status,
            result_status: self.result_status,
            taken: self.taken,
            until: None,
            containment: self.containment,
            interpretation: self.marks.interpretation,
            reference_range: self.range,
            note: note.map(Into::into),
        };
        (measurement, group)
    }

    fn unlisted(&self, profile: &FirmwareProfile) -> Metric {
        let system: Arc<str> = if self.system.is_empty() {
            Arc::clone(&profile.plan.table.own_system)
        } else {
            Arc::from(&*self.system)
        };
        let text = self.text.trim();
        let display = (!text.is_empty()).then(|| Arc::from(text));
        // Code 0 of MDC is no code: what the row calls itself stands for it, in the device's own system.
        let codings = if self.code == "0" && &*self.system == MDC && !text.is_empty() {
            let own = Arc::clone(&profile.plan.table.own_system);
            vec![Coding { system: own, code: Arc::from(text), display: None }]
        } else if self.code.trim().is_empty() {
            Vec::new()
        } else {
            vec![Coding { system, code: Arc::from(self.code.trim()), display: display.clone() }]
        };
        let label = display.unwrap_or_else(|| Arc::from(self.code.trim()));
        unlisted(codings, &label, self.domain)
    }
}

/// The shared metric, or one of its own where this row says a site or is a control.
fn adapted(metric: Arc<Metric>, site: Option<Coding>, quality_control: bool) -> Arc<Metric> {
    let site = site.filter(|_| metric.site.is_none());
    if site.is_none() && !quality_control {
        return metric;
    }
    let mut own = Metric::clone(&metric);
    own.site = site.or(own.site);
    if quality_control {
        own.class = MetricClass::QualityControl;
    }
    Arc::new(own)
}

/// A number among graded words (`100` beside `NEG`) says nothing without its unit.
pub(super) fn with_unit(read: Read, unit: Option<&str>) -> Read {
    match (&read.value, unit) {
        (Value::Text(text), Some(unit)) if text.parse::<Decimal>().is_ok() => {
            Read { value: Value::Text(format!("{text} {unit}").into()), ..read }
        }
        _ => read,
    }
}

/// A number or text of a code nobody lists.
pub(super) fn unlisted_value(
    profile: &FirmwareProfile,
    text: &str,
    unit: Option<Unit>,
    marks: &mut Marks,
) -> Read {
    match profile.plan.value.number(text, marks) {
        Number::Value { value, comparator, unit: own } => {
            Value::Numeric { value, comparator, unit: own.map(flat::unit_of_text).or(unit) }.into()
        }
        Number::Absent(reason) => Value::Absent(reason).into(),
        Number::Words => Value::Text(text.trim().into()).into(),
    }
}

/// What a report is about besides its measurements.
#[derive(Clone, Default)]
pub(super) struct About {
    pub(super) device: Device,
    pub(super) person: Option<Person>,
    pub(super) place: Option<Place>,
    pub(super) specimen: Option<Specimen>,
    pub(super) orders: Vec<Identifier>,
}

/// Ends a report: with nothing measured there is none.
pub(super) fn close(reports: &mut Vec<Report>, about: About, composer: Composer) {
    let so_far: usize = reports.iter().map(|report| report.measurements.len()).sum();
    if composer.measurements.is_empty() || so_far + composer.measurements.len() > MEASUREMENTS_MAX {
        return;
    }
    reports.push(Report {
        device: about.device,
        person: about.person,
        place: about.place,
        specimen: about.specimen,
        orders: about.orders,
        measurements: composer.measurements,
    });
}

/// Whether the profile says that these fields are of a control and not of a patient.
pub(super) fn is_control(rules: &[ControlRule], fields: &impl Fields) -> bool {
    rules.iter().any(|rule| fields.text(&rule.at).is_some_and(|text| rule.holds(text.trim())))
}

/// A result that says it could not be got and shows nothing.
pub(super) fn absent_with(marks: &Marks, usual: AbsentReason) -> Read {
    Value::Absent(marks.absent.unwrap_or(usual)).into()
}
