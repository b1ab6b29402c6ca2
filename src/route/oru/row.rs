//! Measurements as OBX segments with their notes.

use std::sync::Arc;

use crate::device::{
    AbsentReason, Coding, Comparator, Component, Containment, Decimal, LOINC, MDC, Measurement,
    MeasurementStatus, Metric, ResultStatus, Unit, Value,
};
use crate::nomenclature;

use super::er7::{Segment, coded, escaped, stamp, system};
use super::tree::{Tree, dotted};

/// The rows of one message.
pub(super) struct Rows {
    laboratory: bool,
    tree: Tree,
    rows: Vec<Row>,
}

/// A row with what is written below it.
struct Row {
    place: Option<Containment>,
    segment: Segment,
    /// Facets of the row, and notes.
    below: Vec<Segment>,
}

/// What rows of one measurement share.
struct Shared<'m> {
    measurement: &'m Measurement,
    equipment: &'m str,
}

impl Rows {
    /// Of these measurements; `equipment` is OBX-18 of each row.
    pub(super) fn of(measurements: &[&Measurement], laboratory: bool, equipment: &str) -> Self {
        let mut rows = Self { laboratory, tree: Tree::of(measurements), rows: Vec::new() };
        for measurement in measurements {
            rows.measurement(&Shared { measurement, equipment });
        }
        rows
    }

    /// The rows of a laboratory, in the order in which they were said.
    pub(super) fn written(self) -> String {
        let mut lines = Lines::default();
        self.rows.into_iter().for_each(|row| lines.row(row));
        lines.text
    }

    /// The rows of a device as the tree it is: a row for it, for each VMD and for each channel, without a value.
    pub(super) fn tree(mut self, kind: &str, equipment: &str) -> String {
        let mut lines = Lines::default();
        lines.part(kind, "1.0.0.0", equipment);
        // A stable sort: rows of one channel stay as they were said.
        self.rows.sort_by_key(|row| row.place.map(|place| (place.vmd, place.channel)));
        let (mut vmd, mut channel) = (0, 0);
        for row in self.rows {
            let place = row.place.unwrap_or_default();
            if place.vmd != vmd {
                (vmd, channel) = (place.vmd, 0);
                let (number, name) = self.tree.kind(vmd, 0);
                lines.part(&format!("{number}^{name}^MDC"), &format!("1.{vmd}.0.0"), "");
            }
            if place.channel != channel {
                channel = place.channel;
                let (number, name) = self.tree.kind(vmd, channel);
                lines.part(&format!("{number}^{name}^MDC"), &format!("1.{vmd}.{channel}.0"), "");
            }
            lines.row(row);
        }
        lines.text
    }

    /// One row, or one for each member of a compound value, and the note.
    fn measurement(&mut self, shared: &Shared<'_>) {
        let measurement = shared.measurement;
        match &measurement.value {
            Value::Compound(members) => {
                for Component { metric, value, status } in members {
                    self.row(shared, metric, value, *status);
                }
            }
            value => self.row(shared, &measurement.metric, value, measurement.status),
        }
        if let (Some(note), Some(last)) = (&measurement.note, self.rows.last_mut()) {
            let mut nte = Segment::new("NTE");
            nte.set(1, "1".into());
            nte.set(3, escaped(note));
            last.below.push(nte);
        }
    }

    fn row(&mut self, shared: &Shared<'_>, metric: &Metric, value: &Value, status: MeasurementStatus) {
        let measurement = shared.measurement;
        let number = u32::try_from(self.rows.len() + 1).unwrap_or(u32::MAX);
        let placed = !self.laboratory || measurement.containment.is_some();
        let place = placed.then(|| self.tree.place(measurement.containment, metric, number));
        let mut obx = Segment::new("OBX");
        let (kind, text, unit) = written(value);
        // A row without type and value is a part of a device and no result.
        let untyped = kind.is_empty() && self.laboratory;
        obx.set(2, if untyped { "ST" } else { kind }.into());
        obx.set(3, code(metric, self.laboratory));
        obx.set(4, place.map(dotted).unwrap_or_default());
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
        let below = match (value, place) {
            (Value::SampleArray { period_ms, .. }, Some(place)) => vec![period(*period_ms, place)],
            _ => Vec::new(),
        };
        self.rows.push(Row { place, segment: obx, below });
    }
}

/// Rows as they are written, numbered.
#[derive(Default)]
struct Lines {
    count: u32,
    text: String,
}

impl Lines {
    fn add(&mut self, mut segment: Segment) {
        if segment.is("OBX") {
            self.count += 1;
            segment.set(1, self.count.to_string());
        }
        self.text.push_str(&segment.written());
    }

    fn row(&mut self, row: Row) {
        self.add(row.segment);
        row.below.into_iter().for_each(|segment| self.add(segment));
    }

    fn part(&mut self, kind: &str, place: &str, equipment: &str) {
        let mut obx = Segment::new("OBX");
        obx.set(3, kind.to_owned());
        obx.set(4, place.to_owned());
        obx.set(11, "X".into());
        obx.set(18, equipment.to_owned());
        self.add(obx);
    }
}

/// The facet of a wave that says how far its samples are apart: MDC_ATTR_TIME_PD_SAMP in MDC_DIM_MILLI_SEC.
fn period(period_ms: Decimal, place: Containment) -> Segment {
    let mut obx = Segment::new("OBX");
    obx.set(2, "NM".into());
    obx.set(3, "67981^MDC_ATTR_TIME_PD_SAMP^MDC".into());
    obx.set(4, dotted(Containment { facet: 1, ..place }));
    obx.set(5, period_ms.to_string());
    obx.set(6, "264338^MDC_DIM_MILLI_SEC^MDC".into());
    obx.set(11, "R".into());
    obx
}

/// OBX-3: MDC first for devices, LOINC first for laboratories; the device's own code where there is neither.
pub(super) fn code(metric: &Metric, laboratory: bool) -> String {
    let of = |wanted: &str| metric.codings.iter().find(|coding| &*coding.system == wanted);
    let first = if laboratory { of(LOINC).or_else(|| of(MDC)) } else { of(MDC).or_else(|| of(LOINC)) };
    let first = first.or_else(|| metric.codings.first());
    let Some(first) = first else { return format!("^{}", escaped(&metric.label)) };
    let own = |coding: &&Coding| !matches!(&*coding.system, LOINC | MDC) && *coding != first;
    // A laboratory's receiver knows the analyser's own code best; a monitor's is known by its LOINC.
    let second = match laboratory {
        true => metric.codings.iter().find(own).or_else(|| of(MDC).filter(|coding| *coding != first)),
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
        Value::SampleArray { origin, factor, unit, samples, .. } => {
            let sample = |raw: &Option<i32>| raw.map(|raw| sample(*origin, *factor, raw)).unwrap_or_default();
            ("NA", samples.iter().map(sample).collect::<Vec<_>>().join("^"), unit.as_ref())
        }
        Value::Absent(_) | Value::Compound(_) | Value::Alarm(_) => ("", String::new(), None),
    }
}

/// origin + raw × factor, to a thousandth of a step at the coarsest; empty, a gap, where that is too long for a number.
fn sample(origin: Decimal, factor: Decimal, raw: i32) -> String {
    let digits = i64::try_from(factor.mantissa.unsigned_abs().to_string().len()).unwrap_or(i64::MAX);
    // The power of ten of the step's first digit, and three below it.
    let places = (4 - digits).saturating_sub(i64::from(factor.exponent)).clamp(0, 30);
    let scaled = factor.times(Decimal::new(i128::from(raw), 0));
    let sum = scaled.and_then(|scaled| origin.plus(scaled));
    let places = u8::try_from(places).unwrap_or(u8::MAX);
    sum.map(|sum| sum.rounded(places).to_string()).unwrap_or_default()
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

/// OBX-11 (HL7 table 0085): X is a result that cannot be had; of devices R is a valid value (IHE PCD TF-2).
fn result_status(status: ResultStatus, value: &Value, laboratory: bool) -> &'static str {
    match (status, value) {
        (ResultStatus::EnteredInError, _) => "W",
        (ResultStatus::Cancelled, _) => "X",
        (ResultStatus::Final, Value::Absent(AbsentReason::NotPerformed)) if laboratory => "N",
        (ResultStatus::Final, Value::Absent(_)) => "X",
        (ResultStatus::Preliminary, Value::Absent(_)) if !laboratory => "X",
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
