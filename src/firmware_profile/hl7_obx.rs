//! One OBX: a row that describes the device, or a measurement.

use std::borrow::Cow;
use std::sync::Arc;

use super::flat::{self, Read};
use super::hl7_device::Devices;
use super::hl7_person::{coding, codings};
use super::metric::{MetricDef, UnitRule, ValueKind, canonical_system};
use super::outcome::{self, Row};
use super::value::Marks;
use super::{FirmwareProfile, LinkContext, finding, hl7};
use crate::device::{
    AbsentReason, ClockSource, Coding, Containment, Decimal, Domain, Finding, LOINC, MDC, Measurement,
    Metric, MetricClass, Moment, ResultStatus, UCUM, Unit, Value,
};
use crate::hl7v2::{Element, Segment};
use crate::nomenclature;

/// More samples than this in one row are not looked at.
const SAMPLES_MAX: usize = 100_000;

/// OBX has 26 fields and more in later versions; those beyond are not needed.
const FIELDS: usize = 20;
/// Components of a coded element that are looked at.
const CODED: usize = 6;

/// A row with its fields split once.
pub(super) struct Obx<'m> {
    /// Its place among all OBX of the message, from 1.
    number: usize,
    fields: Vec<Element<'m>>,
    segment: Segment<'m>,
    /// OBX-3, its components split once.
    name: [Element<'m>; CODED],
    /// The leading code of OBX-3.
    pub(super) code: Cow<'m, str>,
    pub(super) system: Cow<'m, str>,
    pub(super) containment: Option<Containment>,
}

/// What is looked up once and needed throughout a row.
struct At<'r> {
    profile: &'r FirmwareProfile,
    metric: Option<(&'r MetricDef, usize)>,
    place: &'r dyn Fn(u8) -> String,
}

impl At<'_> {
    fn is_alarm(&self) -> bool {
        self.metric.is_some_and(|(def, _)| def.class == MetricClass::Alarm)
    }

    /// The code of a CE without a system, under the device's own.
    fn own_code(&self, field: &Element<'_>) -> Vec<Coding> {
        let system = &self.profile.plan.table.own_system;
        let code = field.component(1).value().filter(|_| field.component(2).value().is_some());
        code.map(|code| Coding::new(system, code.trim(), None)).into_iter().collect()
    }
}

impl<'m> Obx<'m> {
    pub(super) fn read(segment: Segment<'m>, number: usize) -> Self {
        let mut fields = Vec::with_capacity(FIELDS);
        fields.extend(segment.fields().take(FIELDS));
        let nothing = segment.field(0);
        let name = parts(fields.get(2).unwrap_or(&nothing), nothing);
        let (code, system) = codes(&name, 0);
        let containment = fields.get(3).and_then(|field| containment(field.raw().trim()));
        Self { number, fields, segment, name, code, system, containment }
    }

    pub(super) fn field(&self, number: usize) -> Element<'m> {
        match number.checked_sub(1).and_then(|at| self.fields.get(at)) {
            Some(element) => *element,
            // Field 0 of any segment is the empty element.
            None => self.segment.field(0),
        }
    }

    pub(super) fn place(&self, field: u8) -> String {
        format!("OBX[{}]-{field}", self.number)
    }

    /// The MDC number, when the code is one.
    pub(super) fn mdc(&self) -> Option<u32> {
        (self.system == MDC).then(|| self.code.parse().ok()).flatten()
    }

    pub(super) fn has_value(&self) -> bool {
        !self.field(5).raw().trim().is_empty()
    }

    /// A row that describes the device or opens a compound and measures nothing.
    pub(super) fn is_structure(&self) -> bool {
        let partition = self.mdc().map(|code| code >> 16);
        if matches!(partition, Some(nomenclature::PARTITION_OBJECTS)) {
            return !self.is_figure();
        }
        if self.has_value() || !self.field(2).raw().trim().is_empty() {
            return false;
        }
        // IHE PCD TF-2: OBX-2 and OBX-5 of a containment row are empty, and OBX-4 ends above the metric.
        matches!(partition, Some(nomenclature::PARTITION_INFRASTRUCTURE))
            || self.containment.is_none_or(|c| c.metric == 0)
    }

    /// An attribute that changes and is worth a measurement: a number such as the charge of a battery, or what a pump
    /// says of an event (MDC_ATTR_EVT_COND, MDC_ATTR_AL_COND), its power and its battery.
    fn is_figure(&self) -> bool {
        let telling = matches!(self.mdc(), Some(68_487 | 68_012 | 67_925 | 68_020));
        self.has_value() && (telling || self.field(2).raw().trim() == "NM")
    }

    /// The measurement this row is; `None` for what is none.
    pub(super) fn row<'r>(
        &'r self,
        profile: &'r FirmwareProfile,
        context: &LinkContext,
        devices: &Devices,
        (fallback, fallback_observed): (&Moment, bool),
        findings: &mut Vec<Finding>,
    ) -> Option<Row<'r>> {
        if self.is_structure() || devices.consumes(self) {
            return None;
        }
        let metric = self.find(profile, findings);
        if metric.is_some_and(|(def, _)| def.kind == ValueKind::Ignore) {
            return None;
        }
        let place = |field| self.place(field);
        let at = At { profile, metric, place: &place };
        let (mut marks, mut note) = (Marks::default(), None);
        for flag in self.field(8).repetitions() {
            outcome::flag(
                profile,
                &flag.component(1).text(),
                &|| self.place(8),
                &mut marks,
                &mut note,
                findings,
            );
        }
        // `H~N`: a second letter for normal takes nothing back.
        if marks.interpretation.len() > 1 {
            marks.interpretation.retain(|code| &**code != "N");
        }
        let (unit, rule) = self.unit(&at, findings);
        let result_status = self.result_status(profile, &mut marks, findings)?;
        let mut read = self.value(&at, unit.clone(), rule, devices, &mut marks, findings);
        flat::withhold(&mut read.value, &marks, &|| self.place(5), findings);
        let lacks_unit = matches!(&read.value, Value::Numeric { unit: None, .. });
        if lacks_unit && metric.is_some_and(|(def, _)| def.wants_unit()) {
            let text = "The value has no unit, and its code does not say which; it is kept without.";
            findings.push(finding("no-unit", self.place(6), text));
        }
        let taken = hl7::moment(profile, context, &self.field(14), &|| self.place(14), findings);
        // OBX-19, when it was analysed, comes after OBR-7 and before the time of sending (2.5 §7.4.2.19).
        let taken = taken.or_else(|| {
            let analysed = self.field(19);
            let unsaid = fallback.source == ClockSource::Receipt || !fallback_observed;
            unsaid.then(|| hl7::moment(profile, context, &analysed, &|| self.place(19), findings)).flatten()
        });
        let site = Some(self.field(20)).filter(|site| site.component(1).value().is_some());
        let site = site.map(|site| coding(&site, 1));
        Some(Row {
            code: Cow::Borrowed(&self.code),
            text: self.text(),
            system: Cow::Borrowed(&self.system),
            metric,
            unit,
            read,
            marks,
            result_status,
            taken: taken.unwrap_or_else(|| fallback_time(fallback, findings)),
            containment: self.containment,
            range: self.range(),
            site,
            note,
            quality_control: false,
            domain: self.domain(profile),
        })
    }

    /// OBX-7 as written; limits in two components (`90^160`) with a hyphen between them.
    fn range(&self) -> Option<Arc<str>> {
        let field = self.field(7);
        let (low, high) = (field.component(1), field.component(2));
        match (low.value(), high.value()) {
            (Some(low), Some(high)) if field.component(3).is_empty() => {
                Some(format!("{}-{}", low.trim(), high.trim()).into())
            }
            _ => field.value().map(|text| Arc::from(text.trim())),
        }
    }

    /// OBX-17: a setting that a person or the device chose is no measurement, though the code be the same (IHE PCD TF-2,
    /// observation method: ASET, MSET, RSET).
    pub(super) fn set_class(&self, measurement: &mut Measurement) {
        let is_set = self
            .field(17)
            .repetitions()
            .any(|method| matches!(method.component(1).raw().trim(), "ASET" | "MSET" | "RSET"));
        if is_set && measurement.metric.class == MetricClass::Measurement {
            let mut metric = Metric::clone(&measurement.metric);
            metric.class = MetricClass::Setting;
            measurement.metric = Arc::new(metric);
        }
    }

    /// What OBX-3 calls itself; where it has no name, what OBX-4 says in letters, as Mindray's and URIT's analysers do.
    pub(super) fn text(&self) -> Cow<'m, str> {
        let [_, text, ..] = &self.name;
        let own = text.text();
        let beside = self.field(4).text();
        if own.trim().is_empty() && beside.chars().any(char::is_alphabetic) { beside } else { own }
    }

    /// What an unlisted code is about, as far as its system and partition say.
    fn domain(&self, profile: &FirmwareProfile) -> Domain {
        match self.mdc().map(|code| code >> 16) {
            Some(nomenclature::PARTITION_METRICS) => Domain::VitalSigns,
            Some(_) => Domain::Device,
            None if profile.point_of_care => Domain::Device,
            None => Domain::Laboratory,
        }
    }

    /// Whether the page knows its code as nothing to deliver.
    pub(super) fn is_ignored(&self, profile: &FirmwareProfile) -> bool {
        let found = profile.plan.table.find(&self.code, &self.system);
        found.is_some_and(|(def, _)| def.kind == ValueKind::Ignore)
    }

    /// By number and system: the code, then the alternate code. Texts are only compared, never believed.
    fn find<'r>(
        &self,
        profile: &'r FirmwareProfile,
        findings: &mut Vec<Finding>,
    ) -> Option<(&'r MetricDef, usize)> {
        let table = &profile.plan.table;
        let found = table.find(&self.code, &self.system).or_else(|| {
            let (code, system) = codes(&self.name, 3);
            if code.is_empty() { None } else { table.find(&code, &system) }
        });
        let name = self.text();
        if found.is_some_and(|(def, _)| !def.is_called(&name)) {
            let text =
                "The page lists this number under another name; it is kept under its own number and name.";
            findings.push(finding("name-mismatch", self.place(3), text));
            return None;
        }
        // A LOINC code needs no list: it says itself what it is.
        if found.is_none() && self.system != LOINC {
            let text = "The code is not known; its value is kept under the code as it came.";
            findings.push(finding("unknown-code", self.place(3), text));
        }
        if let Some(mdc) = self.mdc() {
            let [_, written, ..] = &self.name;
            let written = written.text();
            let known = refid_of(found, &self.code);
            let differs = known.is_some_and(|known| known != written.trim());
            if differs && !written.trim().is_empty() && !nomenclature::is_alias(mdc, written.trim()) {
                let text = format!(
                    "MDC {mdc} is {}; the message names it otherwise. The number counts.",
                    known.unwrap_or_default()
                );
                findings.push(finding("refid-mismatch", self.place(3), text));
            }
        }
        found
    }

    /// OBX-6 as UCUM, and the profile's rule for it.
    fn unit<'r>(&self, at: &At<'r>, findings: &mut Vec<Finding>) -> (Option<Unit>, Option<&'r UnitRule>) {
        let field = self.field(6);
        let def = at.metric.map(|(def, _)| def);
        let usual = || (def.and_then(|def| def.unit.as_ref()).map(|rule| rule.unit.clone()), None);
        if field.raw().trim().is_empty() || field.is_null() {
            return usual();
        }
        let said = parts(&field, self.segment.field(0));
        let [code, text, ..] = &said;
        let (code, text) = (code.text(), text.text());
        let (code, text) = (code.trim(), text.trim());
        // `10^9/L` of senders who do not know that the caret parts components: the power must not be lost.
        let power =
            (code == "10" && text.starts_with(|c: char| c.is_ascii_digit())).then(|| format!("10*{text}"));
        if let Some(power) = power {
            return (Some(flat::unit_of_text(&power)), None);
        }
        let own = def.and_then(|def| def.units.get(code).or_else(|| def.units.get(text)));
        if let Some(rule) = own {
            return (Some(rule.unit.clone()), Some(rule));
        }
        if code.is_empty() && text.is_empty() {
            return usual();
        }
        let unit = [0, 3]
            .into_iter()
            .find_map(|first| {
                let (code, system) = codes(&said, first);
                match &*system {
                    MDC => at.profile.plan.table.mdc_unit(&code).cloned(),
                    "UCUM" | UCUM => Some(flat::unit_of_text(&code)).filter(|unit| !unit.ucum.is_empty()),
                    _ => None,
                }
            })
            .or_else(|| [code, text].into_iter().map(flat::unit_of_text).find(|unit| !unit.ucum.is_empty()));
        if unit.is_none() {
            let text = "The unit is not known; it is kept as text, without a code.";
            findings.push(finding("unknown-unit", (at.place)(6), text));
        }
        let shown = if text.is_empty() { code } else { text };
        (Some(unit.unwrap_or_else(|| Unit { ucum: "".into(), display: shown.into() })), None)
    }

    /// OBX-11 (HL7 table 0085) with the sense IHE PCD gives it: R is valid, X with a value is a value. `None` for
    /// a row that only orders something.
    fn result_status(
        &self,
        profile: &FirmwareProfile,
        marks: &mut Marks,
        findings: &mut Vec<Finding>,
    ) -> Option<ResultStatus> {
        let field = self.field(11);
        let laboratory = self.system != MDC && !profile.point_of_care;
        Some(match field.raw().trim() {
            "" | "F" | "R" | "U" | "V" => ResultStatus::Final,
            "P" | "S" => ResultStatus::Preliminary,
            "C" | "A" | "B" => ResultStatus::Corrected,
            "D" | "W" => ResultStatus::EnteredInError,
            "X" if self.has_value() || !laboratory => ResultStatus::Final,
            "X" => ResultStatus::Cancelled,
            "I" => {
                marks.absent.get_or_insert(AbsentReason::TempUnknown);
                ResultStatus::Preliminary
            }
            "N" => {
                marks.absent.get_or_insert(AbsentReason::NotPerformed);
                ResultStatus::Final
            }
            "O" if !self.has_value() => return None,
            "O" => ResultStatus::Final,
            _ => {
                let text = "OBX-11 is not in HL7 table 0085; the result is taken as final.";
                findings.push(finding("unknown-status", self.place(11), text));
                ResultStatus::Final
            }
        })
    }

    fn value(
        &self,
        at: &At<'_>,
        unit: Option<Unit>,
        rule: Option<&UnitRule>,
        devices: &Devices,
        marks: &mut Marks,
        findings: &mut Vec<Finding>,
    ) -> Read {
        let field = self.field(5);
        if field.is_null() || !self.has_value() {
            return outcome::absent_with(marks, AbsentReason::Unknown);
        }
        match self.field(2).raw().trim() {
            "SN" => self.structured(at, unit, rule, marks, findings),
            "CE" | "CWE" | "CF" | "CNE" => self.coded(at),
            "NA" => self.samples(unit, devices, findings),
            "ED" | "RP" => {
                let text = "An embedded document is kept in the message and not delivered.";
                findings.push(finding("document", self.place(5), text));
                Value::Absent(AbsentReason::Unsupported).into()
            }
            "TX" | "FT" => {
                let lines: Vec<Cow<'_, str>> = field.repetitions().map(|line| line.text()).collect();
                self.plain(at, &lines.join("\n"), false, unit, rule, marks, findings)
            }
            kind => {
                if field.repetitions().nth(1).is_some() {
                    let text = "The row holds several values; only the first is read.";
                    findings.push(finding("several-values", self.place(5), text));
                }
                let text = field.repetition(1).text();
                self.plain(at, &text, kind == "NM", unit, rule, marks, findings)
            }
        }
    }

    /// NM, ST and the other plain types.
    #[allow(clippy::too_many_arguments, reason = "one row's facts, handed down once")]
    fn plain(
        &self,
        at: &At<'_>,
        text: &str,
        numeric: bool,
        unit: Option<Unit>,
        rule: Option<&UnitRule>,
        marks: &mut Marks,
        findings: &mut Vec<Finding>,
    ) -> Read {
        let Some((def, _)) = at.metric else {
            // A text is a number only where the sender says so, by its type or by a unit.
            if numeric || unit.is_some() {
                let read = outcome::unlisted_value(at.profile, text, unit, marks);
                if numeric && matches!(read.value, Value::Text(_)) {
                    findings.push(finding(
                        "bad-number",
                        (at.place)(5),
                        "A number was expected; the text is kept as text.",
                    ));
                }
                return read;
            }
            let missing = at.profile.plan.value.missing.iter().find(|(token, _)| token == text.trim());
            return match missing {
                Some((_, reason)) => Value::Absent(*reason).into(),
                None => Value::Text(text.trim().into()).into(),
            };
        };
        let place = || (at.place)(5);
        let said = unit.as_ref().map(|unit| Arc::clone(&unit.display));
        let unit = flat::UnitSaid::Known(unit, rule);
        let read = flat::read_value(at.profile, def, text, unit, &place, marks, findings);
        outcome::with_unit(read, said.as_deref().filter(|_| !self.field(6).raw().trim().is_empty()))
    }

    /// SN: comparator ^ number ^ separator ^ number (2.5 §2.A.71). What is no single number stays a text.
    fn structured(
        &self,
        at: &At<'_>,
        unit: Option<Unit>,
        rule: Option<&UnitRule>,
        marks: &mut Marks,
        findings: &mut Vec<Finding>,
    ) -> Read {
        let field = self.field(5);
        let part = |number| field.component(number).text();
        let (comparator, first, separator, second) = (part(1), part(2), part(3), part(4));
        let comparator = comparator.trim();
        let single = separator.trim().is_empty() && second.trim().is_empty();
        if single && ["", "=", "<", ">", "<=", ">="].contains(&comparator) {
            let text = format!("{}{}", comparator.trim_start_matches('='), first.trim());
            return self.plain(at, &text, true, unit, rule, marks, findings);
        }
        let text = [comparator, first.trim(), separator.trim(), second.trim()].concat();
        Value::Text(text.into()).into()
    }

    fn coded(&self, at: &At<'_>) -> Read {
        let field = self.field(5).repetition(1);
        let shown = field
            .component(9)
            .value()
            .or_else(|| field.component(2).value())
            .or_else(|| field.component(1).value());
        let text = shown.map(|text| Arc::from(text.trim()));
        let own = at.metric.and_then(|(def, _)| {
            let code = field.component(1).text();
            def.values.get(code.trim()).or_else(|| def.values.get(&**text.as_ref()?))
        });
        let codings: Vec<Coding> = match own {
            Some(codings) => codings.clone(),
            None => match codings(&field) {
                // The number of an alarm without its system is the device's own.
                none if none.is_empty() && at.is_alarm() => at.own_code(&field),
                codings => codings,
            },
        };
        Value::Coded { codings, text }.into()
    }

    /// NA with the sampling rate its facets say (IHE PCD waveform content).
    fn samples(&self, unit: Option<Unit>, devices: &Devices, findings: &mut Vec<Finding>) -> Read {
        let period_ms = self.containment.and_then(|at| devices.period_ms(at));
        let field = self.field(5).repetition(1);
        let written: Option<Vec<Option<Decimal>>> = field
            .components()
            .take(SAMPLES_MAX)
            .map(|sample| match sample.raw().trim() {
                "" => Some(None),
                text => text.parse().ok().map(Some),
            })
            .collect();
        let made =
            period_ms.zip(written).and_then(|(period_ms, written)| sample_array(period_ms, unit, &written));
        made.map_or_else(
            || {
                let text = "The samples have no known rate, or one is no number; they are not delivered.";
                findings.push(finding("bad-samples", self.place(5), text));
                Value::Absent(AbsentReason::Unsupported).into()
            },
            Read::from,
        )
    }
}

/// The time of the order; that it is only the receipt is told once.
fn fallback_time(fallback: &Moment, findings: &mut Vec<Finding>) -> Moment {
    if fallback.source == ClockSource::Receipt && !findings.iter().any(|known| known.code == "no-time") {
        let text = "Neither row, order nor message says a time; the time of receipt is taken.";
        findings.push(finding("no-time", "OBR-7", text));
    }
    fallback.clone()
}

/// Splits a coded element into its six components: code, text, system, and the same of the alternate.
fn parts<'m>(element: &Element<'m>, nothing: Element<'m>) -> [Element<'m>; CODED] {
    let mut parts = [nothing; CODED];
    for (part, component) in parts.iter_mut().zip(element.components()) {
        *part = component;
    }
    parts
}

/// Code and canonical system, from `first` of the parts on: 0 the code, 3 the alternate.
fn codes<'m>(parts: &[Element<'m>; CODED], first: usize) -> (Cow<'m, str>, Cow<'m, str>) {
    let text = |at: usize| match parts.get(at).map(Element::text) {
        Some(Cow::Borrowed(text)) => Cow::Borrowed(text.trim()),
        Some(Cow::Owned(text)) => Cow::Owned(text.trim().to_owned()),
        None => Cow::Borrowed(""),
    };
    let system = match text(first + 2) {
        Cow::Borrowed(system) => Cow::Borrowed(canonical_system(system)),
        Cow::Owned(system) => Cow::Owned(canonical_system(&system).to_owned()),
    };
    (text(first), system)
}

/// The reference id that belongs to the number of a metric.
fn refid_of<'r>(found: Option<(&'r MetricDef, usize)>, code: &str) -> Option<&'r str> {
    let own = found?.0.codings.iter().find(|coding| &*coding.system == MDC && &*coding.code == code);
    own?.display.as_deref()
}

/// All samples with one exponent, as raw numbers and a factor.
fn sample_array(period_ms: Decimal, unit: Option<Unit>, written: &[Option<Decimal>]) -> Option<Value> {
    let finest = written.iter().flatten().map(|sample| sample.exponent).min().unwrap_or(0);
    let raw = |sample: Decimal| {
        let shift = u32::try_from(sample.exponent - finest).ok()?;
        i32::try_from(sample.mantissa.checked_mul(10i128.checked_pow(shift)?)?).ok()
    };
    let mut samples = Vec::with_capacity(written.len());
    for sample in written {
        samples.push(match sample {
            Some(sample) => Some(raw(*sample)?),
            None => None,
        });
    }
    let (origin, factor) = (Decimal::new(0, 0), Decimal::new(1, finest));
    Some(Value::SampleArray { origin, factor, period_ms, unit, samples })
}

/// OBX-4: `MDS.VMD.CHAN.METRIC[.FACET]`; fewer levels name a level above. Laboratories use OBX-4 otherwise: a text
/// without a dot is only a number of the row, unless it is alone an MDS.
pub(super) fn containment(text: &str) -> Option<Containment> {
    if text.is_empty() || text.len() > 60 {
        return None;
    }
    let mut levels = [0u32; 5];
    let mut count = 0;
    for (at, part) in text.split('.').enumerate() {
        *levels.get_mut(at)? = part.parse().ok()?;
        count = at + 1;
    }
    let [mds, vmd, channel, metric, facet] = levels;
    (count > 1).then_some(Containment { mds, vmd, channel, metric, facet })
}
