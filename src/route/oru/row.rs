//! Measurements as OBX segments with their notes.

use std::collections::HashSet;
use std::sync::Arc;

use crate::device::{
    AbsentReason, Coding, Comparator, Component, Containment, Decimal, LOINC, MDC, Measurement,
    MeasurementStatus, Metric, ResultStatus, Unit, Value,
};
use crate::nomenclature;

use super::er7::{Segment, coded, escaped, stamp, system};

/// The rows of one message.
pub(super) struct Rows {
    laboratory: bool,
    count: u32,
    /// OBX-4 has to tell rows of one code apart.
    places: HashSet<Containment>,
}

/// What rows of one measurement share.
struct Shared<'m> {
    measurement: &'m Measurement,
    equipment: &'m str,
}

impl Rows {
    pub(super) fn new(laboratory: bool) -> Self {
        Self { laboratory, count: 0, places: HashSet::new() }
    }

    fn next(&mut self) -> Segment {
        self.count += 1;
        let mut obx = Segment::new("OBX");
        obx.set(1, self.count.to_string());
        obx
    }

    /// The row of the device itself: no value.
    pub(super) fn device(&mut self, kind: &str, equipment: &str) -> String {
        let mut obx = self.next();
        obx.set(3, kind.to_owned());
        obx.set(4, "1.0.0.0".into());
        obx.set(11, "X".into());
        obx.set(18, equipment.to_owned());
        obx.written()
    }

    /// One row, or one for each member of a compound value, and the note.
    pub(super) fn measurement(&mut self, measurement: &Measurement, equipment: &str, text: &mut String) {
        let shared = Shared { measurement, equipment };
        match &measurement.value {
            Value::Compound(members) => {
                for Component { metric, value, status } in members {
                    text.push_str(&self.row(&shared, metric, value, *status));
                }
            }
            value => text.push_str(&self.row(&shared, &measurement.metric, value, measurement.status)),
        }
        if let Some(note) = &measurement.note {
            let mut nte = Segment::new("NTE");
            nte.set(1, "1".into());
            nte.set(3, escaped(note));
            text.push_str(&nte.written());
        }
    }

    fn row(
        &mut self,
        shared: &Shared<'_>,
        metric: &Metric,
        value: &Value,
        status: MeasurementStatus,
    ) -> String {
        let measurement = shared.measurement;
        let place = self.place(measurement.containment, metric);
        let mut obx = self.next();
        let (kind, text, unit) = written(value);
        obx.set(2, kind.into());
        obx.set(3, code(metric, self.laboratory));
        if let Some(place) = place {
            obx.set(4, place);
        }
        obx.set(5, text);
        obx.set(6, unit.map(|unit| units(unit, self.laboratory)).unwrap_or_default());
        obx.set(7, measurement.reference_range.as_deref().map(escaped).unwrap_or_default());
        obx.set(8, flags(&measurement.interpretation, status, value).join("~"));
        obx.set(11, result_status(measurement.result_status, value, self.laboratory).into());
        obx.set(14, stamp(&measurement.taken));
        obx.set(18, shared.equipment.to_owned());
        let site = metric.site.as_ref().map(|site| {
            coded(&site.code, site.display.as_deref().unwrap_or_default(), &system(&site.system))
        });
        obx.set(20, site.unwrap_or_default());
        obx.written()
    }

    /// OBX-4. Devices say where a metric sits; what they leave open is filled so that no two rows share a place.
    fn place(&mut self, stated: Option<Containment>, metric: &Metric) -> Option<String> {
        if self.laboratory && stated.is_none() {
            return None;
        }
        let stated = stated.unwrap_or_default();
        let own = metric.code_in(MDC).and_then(|code| code.parse().ok()).unwrap_or(self.count + 1);
        let level = |number: u32| if number == 0 { 1 } else { number };
        let mut place =
            Containment { mds: 1, metric: if stated.metric == 0 { own } else { stated.metric }, ..stated };
        // A metric in the device itself keeps its zeros; below a channel all levels are stated.
        if stated.channel > 0 {
            place.vmd = level(stated.vmd);
        }
        while !self.places.insert(place) {
            // Members of a compound share what the device said of the whole.
            if place.metric == own { place.channel += 1 } else { place.metric = own }
        }
        let Containment { mds, vmd, channel, metric, facet } = place;
        let four = format!("{mds}.{vmd}.{channel}.{metric}");
        Some(if facet == 0 { four } else { format!("{four}.{facet}") })
    }
}

/// OBX-3: MDC first for devices, LOINC first for laboratories; the device's own code where there is neither.
fn code(metric: &Metric, laboratory: bool) -> String {
    let of = |wanted: &str| metric.codings.iter().find(|coding| &*coding.system == wanted);
    let first = if laboratory { of(LOINC).or_else(|| of(MDC)) } else { of(MDC).or_else(|| of(LOINC)) };
    let first = first.or_else(|| metric.codings.first());
    let Some(first) = first else { return format!("^{}", escaped(&metric.label)) };
    let own = |coding: &&Coding| !matches!(&*coding.system, LOINC | MDC) && *coding != first;
    // A laboratory's receiver knows the analyser's own code best; a monitor's is known by its LOINC.
    let second = match laboratory {
        true => metric.codings.iter().find(own),
        false => of(LOINC).filter(|coding| *coding != first).or_else(|| metric.codings.iter().find(own)),
    };
    let name = |coding: &Coding| {
        let number = (&*coding.system == MDC).then(|| coding.code.parse().ok()).flatten();
        let text =
            number.and_then(nomenclature::refid).or(coding.display.as_deref()).unwrap_or(&metric.label);
        format!("{}^{}^{}", escaped(&coding.code), escaped(text), escaped(&system(&coding.system)))
    };
    match second {
        Some(second) => format!("{}^{}", name(first), name(second)),
        None => name(first),
    }
}

/// OBX-2, OBX-5 and the unit of OBX-6.
fn written(value: &Value) -> (&'static str, String, Option<&Unit>) {
    match value {
        Value::Numeric { value, comparator: None, unit } => ("NM", value.to_string(), unit.as_ref()),
        Value::Numeric { value, comparator: Some(comparator), unit } => {
            ("SN", structured(*comparator, *value), unit.as_ref())
        }
        Value::Text(text) => match ratio(text) {
            Some((first, second)) => ("SN", format!("^{first}^:^{second}"), None),
            None => ("ST", escaped(text), None),
        },
        Value::Coded { codings, text } => ("CWE", choice(codings, text.as_ref()), None),
        Value::Bits(bits) => {
            let set = bits.iter().filter(|(_, set)| *set);
            let set: Vec<String> =
                set.map(|(coding, _)| choice(std::slice::from_ref(coding), None)).collect();
            // Empty would say that nobody knows.
            ("CWE", if set.is_empty() { "^none set".into() } else { set.join("~") }, None)
        }
        Value::Absent(_) | Value::Compound(_) | Value::SampleArray { .. } | Value::Alarm(_) => {
            ("", String::new(), None)
        }
    }
}

/// `1:2.5`, as a structured number has a place for it.
fn ratio(text: &str) -> Option<(Decimal, Decimal)> {
    let (first, second) = text.trim().split_once(':')?;
    // `02:15` is a time.
    if first != "1" && second != "1" {
        return None;
    }
    let (one, other): (Decimal, Decimal) = (first.parse().ok()?, second.parse().ok()?);
    (one.to_string() == first && other.to_string() == second).then_some((one, other))
}

/// SN: comparator ^ number (HL7 2.5 §2.A.71).
fn structured(comparator: Comparator, value: Decimal) -> String {
    let sign = match comparator {
        Comparator::Less => "<",
        Comparator::LessOrEqual => "<=",
        Comparator::GreaterOrEqual => ">=",
        Comparator::Greater => ">",
    };
    format!("{sign}^{value}")
}

fn choice(codings: &[Coding], text: Option<&Arc<str>>) -> String {
    let Some(first) = codings.first() else {
        return text.map(|text| format!("^{}", escaped(text))).unwrap_or_default();
    };
    let display = text.map(|text| &**text).or(first.display.as_deref()).unwrap_or_default();
    coded(&first.code, display, &system(&first.system))
}

/// OBX-6: the MDC dimension for devices, with UCUM beside it; UCUM alone for laboratories.
fn units(unit: &Unit, laboratory: bool) -> String {
    let ucum = if unit.ucum.is_empty() { String::new() } else { coded(&unit.ucum, &unit.display, "UCUM") };
    if ucum.is_empty() {
        return format!("^{}", escaped(&unit.display));
    }
    if laboratory {
        return ucum;
    }
    let same = || nomenclature::UNITS.iter().filter(|known| known.ucum == &*unit.ucum);
    match same().find(|known| known.display == &*unit.display).or_else(|| same().next()) {
        Some(known) => format!("{}^{}^MDC^{ucum}", known.code, known.refid),
        None => ucum,
    }
}

/// OBX-8: interpretations, then the state of the measurement as IHE PCD TF-2 table B.8 writes it.
fn flags(interpretation: &[Arc<str>], status: MeasurementStatus, value: &Value) -> Vec<String> {
    let mut flags: Vec<String> = interpretation.iter().map(|code| escaped(code)).collect();
    let absent = match value {
        Value::Absent(AbsentReason::NotPerformed) => Some("OFF"),
        Value::Absent(AbsentReason::TempUnknown) => Some("NAV"),
        Value::Absent(AbsentReason::Error) => Some("INV"),
        Value::Absent(_) => Some("NI"),
        _ => None,
    };
    let words = [
        (status.invalid, "INV"),
        (status.questionable, "QUES"),
        (status.not_available, "NAV"),
        (status.calibration_ongoing, "CAL"),
        (status.test_data, "TEST"),
        (status.demo_data, "DEMO"),
        (status.validated, "VAL"),
        (status.early_indication, "EARLY"),
        (status.msmt_ongoing, "BUSY"),
        (status.off, "OFF"),
        (status.in_alarm, "ALACT"),
        (status.alarm_inhibited, "ALINH"),
    ];
    flags.extend(words.into_iter().filter(|(set, _)| *set).map(|(_, word)| word.to_owned()));
    if let Some(word) = absent
        && !flags.iter().any(|flag| ["INV", "NAV", "OFF", "CAL", "BUSY"].contains(&flag.as_str()))
    {
        flags.push(word.to_owned());
    }
    flags
}

/// OBX-11 (HL7 table 0085): of devices R is a valid value and X is none (IHE PCD TF-2).
fn result_status(status: ResultStatus, value: &Value, laboratory: bool) -> &'static str {
    match (status, value) {
        (ResultStatus::EnteredInError, _) => "W",
        (ResultStatus::Cancelled, _) => "X",
        (ResultStatus::Final, Value::Absent(AbsentReason::NotPerformed)) if laboratory => "N",
        (ResultStatus::Final | ResultStatus::Preliminary, Value::Absent(_)) if !laboratory => "X",
        (ResultStatus::Preliminary, _) => "P",
        (ResultStatus::Corrected, _) => "C",
        (ResultStatus::Final, _) if laboratory => "F",
        (ResultStatus::Final, _) => "R",
    }
}

/// OBR-25 of all results together.
pub(super) fn report_status(measurements: &[Measurement]) -> &'static str {
    let any = |status: ResultStatus| measurements.iter().any(|one| one.result_status == status);
    if any(ResultStatus::Corrected) || any(ResultStatus::EnteredInError) {
        "C"
    } else if any(ResultStatus::Preliminary) {
        "P"
    } else {
        "F"
    }
}
