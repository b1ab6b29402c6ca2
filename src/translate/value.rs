//! `code` and `value[x]`: one kind of value after the other.

use std::borrow::Cow;
use std::fmt::Write;

use crate::device::{
    self, AbsentReason, Comparator, Decimal, LOINC, Measurement, MeasurementStatus, Metric, UCUM, Unit, Value,
};
use crate::fhir::{CodeableConcept, Coding, Component, ObservationValue, Quantity, SampledData};
use crate::nomenclature;

use super::{clean, status, vital_signs};

/// The code that stands for a metric in identifiers: the device's own, which is the last of its codings. A repaired
/// mapping gives the same fact other standard codes and must find the resource it repairs.
pub(super) fn own_code(metric: &Metric) -> (Cow<'_, str>, Cow<'_, str>) {
    match metric.codings.last() {
        Some(own) => {
            (clean::text(&own.system).unwrap_or_default(), clean::text(&own.code).unwrap_or_default())
        }
        None => ("".into(), clean::text(&metric.label).unwrap_or_default()),
    }
}

/// `code`: the base vital-signs LOINC where it is missing, then every code of the metric, and its label.
pub(super) fn code(metric: &Metric) -> CodeableConcept<'_> {
    let base = vital_signs::missing_base(metric).map(loinc);
    let coding: Vec<Coding> =
        base.into_iter().chain(metric.codings.iter().filter_map(clean::coding)).collect();
    let text = clean::text(&metric.label);
    // Observation.code may not be empty: a metric without a code or a name is still something measured.
    let text = text.or_else(|| coding.is_empty().then_some("Unnamed".into()));
    CodeableConcept { coding, text }
}

fn loinc(code: &'static str) -> Coding<'static> {
    Coding {
        system: Some(LOINC.into()),
        code: Some(code.into()),
        display: nomenclature::loinc_display(code).map(Into::into),
    }
}

/// Why `value` is not shown: because of its status or because there is none; `None` when it stands.
pub(super) fn absent(value: &Value, status: MeasurementStatus, point_of_care: bool) -> Option<AbsentReason> {
    let by_status = status::absent(status, point_of_care);
    match value {
        // What the value says of its absence is more exact than a status bit, unless it says nothing.
        Value::Absent(AbsentReason::Unknown) => by_status.or(Some(AbsentReason::Unknown)),
        Value::Absent(reason) => Some(*reason),
        _ if by_status.is_some() => by_status,
        Value::Compound(parts) if parts.is_empty() => Some(AbsentReason::Unknown),
        Value::Bits(bits) if bits.is_empty() => Some(AbsentReason::Unknown),
        Value::SampleArray { samples, .. } if samples.is_empty() => Some(AbsentReason::Unknown),
        Value::Text(text) => clean::text(text).is_none().then_some(AbsentReason::Unknown),
        Value::Coded { .. } => coded(value).is_none().then_some(AbsentReason::Unknown),
        _ => None,
    }
}

/// `value[x]` or `dataAbsentReason`, and the components. A panel keeps its members when the whole of it is absent: each
/// says so itself, and vs-2 asks for no more.
pub(super) fn elements(
    measurement: &Measurement,
    said: Option<AbsentReason>,
    point_of_care: bool,
) -> (Option<ObservationValue<'_>>, Vec<Component<'_>>) {
    let metric = &measurement.metric;
    match (&measurement.value, said) {
        (Value::Compound(parts), _) if !parts.is_empty() => {
            let mut components = Vec::with_capacity(parts.len());
            push_members(parts, said, point_of_care, &mut components);
            components.extend(vital_signs::missing_members(metric, parts).map(|member| Component {
                code: CodeableConcept::of(loinc(member)),
                value: missing(said.unwrap_or(AbsentReason::Unknown)),
                interpretation: Vec::new(),
            }));
            (None, components)
        }
        (_, Some(reason)) => (Some(missing(reason)), Vec::new()),
        (Value::Bits(bits), None) => (None, bits.iter().map(bit).collect()),
        (value, None) => (simple(value, metric), Vec::new()),
    }
}

/// Adds the members of a panel. FHIR components do not nest: the members of a member stand beside it.
fn push_members<'a>(
    parts: &'a [device::Component],
    whole: Option<AbsentReason>,
    point_of_care: bool,
    components: &mut Vec<Component<'a>>,
) {
    for part in parts {
        let said = whole.or_else(|| absent(&part.value, part.status, point_of_care));
        match (&part.value, said) {
            (Value::Compound(inner), _) if !inner.is_empty() => {
                push_members(inner, said, point_of_care, components)
            }
            (Value::Bits(bits), None) => components.extend(bits.iter().map(bit)),
            (value, _) => components.push(Component {
                code: code(&part.metric),
                value: match said {
                    None => simple(value, &part.metric).unwrap_or_else(|| missing(AbsentReason::Unknown)),
                    Some(reason) => missing(reason),
                },
                interpretation: status::interpretations(part.status).collect(),
            }),
        }
    }
}

fn missing(reason: AbsentReason) -> ObservationValue<'static> {
    ObservationValue::Absent(status::absent_concept(reason))
}

/// One named bit (PHD guide, PhdBitsEnumerationObservation: a component with a boolean).
fn bit((name, set): &(device::Coding, bool)) -> Component<'_> {
    let code = clean::concept(name).unwrap_or_else(|| CodeableConcept::text("Unnamed"));
    Component { code, value: ObservationValue::Boolean(*set), interpretation: Vec::new() }
}

/// A value that is one FHIR element; `None` for the kinds that are several or none.
fn simple<'a>(value: &'a Value, metric: &Metric) -> Option<ObservationValue<'a>> {
    let base = vital_signs::base_code(metric);
    match value {
        Value::Numeric { value, comparator, unit } => {
            Some(ObservationValue::Quantity(quantity(*value, *comparator, unit.as_ref(), base)))
        }
        Value::Coded { .. } => coded(value).map(ObservationValue::CodeableConcept),
        Value::Text(text) => clean::text(text).map(ObservationValue::String),
        Value::SampleArray { origin, factor, period_ms, unit, samples } => {
            Some(ObservationValue::SampledData(SampledData {
                origin: quantity(*origin, None, unit.as_ref(), base),
                period: *period_ms,
                factor: *factor,
                dimensions: 1,
                data: samples_text(samples),
            }))
        }
        Value::Compound(_) | Value::Bits(_) | Value::Alarm(_) | Value::Absent(_) => None,
    }
}

fn coded(value: &Value) -> Option<CodeableConcept<'_>> {
    let Value::Coded { codings, text } = value else { return None };
    let concept = CodeableConcept {
        coding: codings.iter().filter_map(clean::coding).collect(),
        text: text.as_deref().and_then(clean::text),
    };
    (!concept.coding.is_empty() || concept.text.is_some()).then_some(concept)
}

/// SampledData.data: integers by single spaces, `E` for a gap (R4 2.24.0.14).
fn samples_text(samples: &[Option<i32>]) -> String {
    let mut text = String::with_capacity(samples.len() * 5);
    for (at, sample) in samples.iter().enumerate() {
        if at > 0 {
            text.push(' ');
        }
        match sample {
            Some(sample) => {
                // Writing to a String does not fail.
                let _unfailing: std::fmt::Result = write!(text, "{sample}");
            }
            None => text.push('E'),
        }
    }
    text
}

/// A Quantity with the device's digits. What is no UCUM is shown as the unit and not coded.
pub(super) fn quantity<'a>(
    value: Decimal,
    comparator: Option<Comparator>,
    unit: Option<&'a Unit>,
    loinc: Option<&str>,
) -> Quantity<'a> {
    let code = unit.map(|unit| vital_signs::ucum(unit, loinc)).filter(|code| nomenclature::is_ucum(code));
    let display = unit.and_then(|unit| clean::text(&unit.display).or_else(|| clean::text(&unit.ucum)));
    Quantity {
        value: Some(value),
        comparator: comparator.map(|comparator| match comparator {
            Comparator::Less => "<",
            Comparator::LessOrEqual => "<=",
            Comparator::GreaterOrEqual => ">=",
            Comparator::Greater => ">",
        }),
        unit: display,
        system: code.map(|_| UCUM),
        code: code.map(Into::into),
    }
}
