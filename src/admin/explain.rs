//! How the desk learns what a frame says: measurements and FHIR are derived on demand, never stored.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::json::rfc3339;
use crate::clock::Timestamp;
use crate::device::{
    Coding, Comparator, Containment, Finding, Measurement, MeasurementStatus, Moment, ResultStatus, Value,
};
use crate::hl7v2::Charset;

/// Derives what a kept frame says. The gateway implements it with the firmware profiles and the translation.
pub trait Explain: Send + Sync {
    /// Pure and total: what cannot be decoded comes back as findings. Called off the async threads.
    fn explain(&self, frame: &StoredFrame) -> Explained;
    /// What HL7 messages of a link are written in that do not say it.
    fn charset(&self, link: &str) -> Charset;
}

/// A frame as it was kept.
#[derive(Clone)]
pub struct StoredFrame {
    pub id: i64,
    pub link: Arc<str>,
    pub peer: Arc<str>,
    pub received: Timestamp,
    pub bytes: Bytes,
    pub topic: Option<Arc<str>>,
}

impl std::fmt::Debug for StoredFrame {
    /// Sizes only: frames hold patient data.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StoredFrame({} bytes from link {})", self.bytes.len(), self.link)
    }
}

/// What a frame says, as the desk shows it.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct Explained {
    /// Id of the firmware profile used.
    pub profile: Option<String>,
    pub measurements: Vec<MeasurementView>,
    pub findings: Vec<Finding>,
    /// The FHIR resources exactly as they go upstream: their element order, their digits.
    #[schema(value_type = Vec<Object>)]
    pub fhir: Vec<Box<RawValue>>,
}

/// One measured value in words.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = Measurement)]
pub struct MeasurementView {
    pub label: Arc<str>,
    pub codes: Vec<Coding>,
    pub value: Option<String>,
    pub unit: Option<Arc<str>>,
    /// FHIR data-absent-reason code when there is no value.
    pub absent: Option<&'static str>,
    #[serde(serialize_with = "rfc3339")]
    pub taken: Timestamp,
    /// Status words that are not the usual ones: `test-data`, `in-alarm`, `preliminary` …
    pub status: Vec<&'static str>,
    /// Body site, else the place in the device (`MDS.VMD.CHAN.METRIC.FACET`).
    pub place: Option<String>,
}

impl MeasurementView {
    /// A measurement as rows for people: one, or one for each member of a compound value.
    pub fn of(measurement: &Measurement) -> Vec<Self> {
        parts(measurement)
            .into_iter()
            .map(|part| Self {
                label: part.metric.label.clone(),
                codes: part.metric.codings.clone(),
                value: part.value.text(),
                unit: part.value.unit(),
                absent: part.value.absent(),
                taken: when(&measurement.taken),
                status: status_words(part.status, measurement.result_status),
                place: part
                    .metric
                    .site
                    .as_ref()
                    .map(|site| site.display.as_deref().unwrap_or(&site.code).to_string())
                    .or_else(|| measurement.containment.map(dotted)),
            })
            .collect()
    }
}

/// One value with its metric: a measurement, or a member of a compound one.
pub(super) struct Part<'a> {
    pub(super) metric: &'a Arc<crate::device::Metric>,
    pub(super) value: Shown<'a>,
    pub(super) status: &'a MeasurementStatus,
}

/// A value on its way to a screen.
pub(super) struct Shown<'a>(pub(super) &'a Value);

/// The values of a measurement, compound ones taken apart. A compound of compounds stays text.
pub(super) fn parts(measurement: &Measurement) -> Vec<Part<'_>> {
    match &measurement.value {
        Value::Compound(components) => components
            .iter()
            .map(|c| Part { metric: &c.metric, value: Shown(&c.value), status: &c.status })
            .collect(),
        value => vec![Part { metric: &measurement.metric, value: Shown(value), status: &measurement.status }],
    }
}

/// When a moment was, as a time of this box.
pub(super) fn when(moment: &Moment) -> Timestamp {
    Timestamp::from_micros(moment.micros, true)
}

impl Shown<'_> {
    /// The value in words; `None` when there is none.
    pub(super) fn text(&self) -> Option<String> {
        match self.0 {
            Value::Numeric { value, comparator, .. } => {
                let sign = match comparator {
                    None => "",
                    Some(Comparator::Less) => "< ",
                    Some(Comparator::LessOrEqual) => "≤ ",
                    Some(Comparator::GreaterOrEqual) => "≥ ",
                    Some(Comparator::Greater) => "> ",
                };
                Some(format!("{sign}{value}"))
            }
            Value::Coded { codings, text } => {
                let first = codings.first().map(|c| c.display.as_deref().unwrap_or(&c.code));
                Some(text.as_deref().or(first)?.to_string())
            }
            Value::Bits(bits) => {
                let set: Vec<&str> = bits
                    .iter()
                    .filter(|(_, set)| *set)
                    .map(|(bit, _)| bit.display.as_deref().unwrap_or(&bit.code))
                    .collect();
                Some(if set.is_empty() { "none set".into() } else { set.join(", ") })
            }
            Value::SampleArray { samples, .. } => Some(format!("{} samples", samples.len())),
            Value::Compound(members) => Some(format!("{} values", members.len())),
            Value::Text(text) => Some(text.to_string()),
            Value::Alarm(alarm) => {
                let state = alarm.state.map(crate::device::AlarmState::code);
                let words = [state, alarm.text.as_deref()];
                Some(words.into_iter().flatten().collect::<Vec<_>>().join(": "))
            }
            Value::Absent(_) => None,
        }
    }

    /// The unit as people write it.
    pub(super) fn unit(&self) -> Option<Arc<str>> {
        match self.0 {
            Value::Numeric { unit, .. } | Value::SampleArray { unit, .. } => {
                unit.as_ref().map(|unit| unit.display.clone())
            }
            _ => None,
        }
    }

    /// The data-absent-reason code.
    pub(super) const fn absent(&self) -> Option<&'static str> {
        match self.0 {
            Value::Absent(reason) => Some(reason.code()),
            _ => None,
        }
    }
}

fn status_words(status: &MeasurementStatus, result: ResultStatus) -> Vec<&'static str> {
    let bits = [
        (status.invalid, "invalid"),
        (status.questionable, "questionable"),
        (status.not_available, "not-available"),
        (status.calibration_ongoing, "calibration-ongoing"),
        (status.test_data, "test-data"),
        (status.demo_data, "demo-data"),
        (status.validated, "validated"),
        (status.early_indication, "early-indication"),
        (status.msmt_ongoing, "msmt-ongoing"),
        (status.off, "off"),
        (status.in_alarm, "in-alarm"),
        (status.alarm_inhibited, "alarm-inhibited"),
    ];
    let result = match result {
        ResultStatus::Final => None,
        ResultStatus::Preliminary => Some("preliminary"),
        ResultStatus::Corrected => Some("corrected"),
        ResultStatus::Cancelled => Some("cancelled"),
        ResultStatus::EnteredInError => Some("entered-in-error"),
    };
    bits.into_iter().filter(|(set, _)| *set).map(|(_, word)| word).chain(result).collect()
}

fn dotted(place: Containment) -> String {
    let Containment { mds, vmd, channel, metric, facet } = place;
    format!("{mds}.{vmd}.{channel}.{metric}.{facet}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::samples;
    use crate::device::AbsentReason;

    #[test]
    fn a_compound_value_is_shown_as_its_members() {
        let views = MeasurementView::of(&samples::blood_pressure("120", "80"));
        let shown: Vec<_> =
            views.iter().map(|v| (&*v.label, v.value.as_deref(), v.unit.as_deref())).collect();
        assert_eq!(shown, [("Systolic", Some("120"), Some("mmHg")), ("Diastolic", Some("80"), Some("mmHg"))]);
    }

    #[test]
    fn a_missing_value_says_why_and_shows_no_number() {
        let mut measurement = samples::heart_rate("72", 0);
        measurement.value = Value::Absent(AbsentReason::TempUnknown);
        measurement.status.test_data = true;
        measurement.result_status = ResultStatus::Preliminary;
        let view = MeasurementView::of(&measurement).remove(0);
        assert_eq!((view.value, view.absent), (None, Some("temp-unknown")));
        assert_eq!(view.status, ["test-data", "preliminary"]);
    }

    #[test]
    fn a_number_keeps_its_digits_and_its_comparator() {
        let value =
            Value::Numeric { value: "2.0".parse().unwrap(), comparator: Some(Comparator::Less), unit: None };
        assert_eq!(Shown(&value).text().as_deref(), Some("< 2.0"));
    }
}
