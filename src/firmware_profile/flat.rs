//! What the generic grammars share: a record is a set of named texts, and each metric of the profile says under
//! which name its value stands.

use std::borrow::Cow;
use std::sync::Arc;

use super::compose::Composer;
use super::locate::Locator;
use super::metric::{MetricDef, UnitRule, ValueKind, ucum_unit, unlisted};
use super::schema::{IdKind, IgnoreRule};
use super::value::{Marks, Number};
use super::{Decoded, FirmwareProfile, LinkContext, MEASUREMENTS_MAX, finding, outcome, person};
use crate::device::{
    AbsentReason, Coding, Decimal, Device, Domain, Finding, Identifier, Measurement, MetricClass, Moment,
    Report, ResultStatus, Specimen, Unit, Value,
};
use crate::nomenclature;

/// EUI-64 as FHIR names it (PoCD MdsDevice).
pub(super) const EUI_64: &str = "urn:oid:1.2.840.10004.1.1.1.0.0.1.0.0.1.2680";
const BLUETOOTH: &str = "http://hl7.org/fhir/sid/eui-48/bluetooth";

/// A record of a generic grammar.
pub(super) trait Fields {
    /// The text at `at`; `None` when the record has no such place, an empty text when it says nothing.
    fn text(&self, at: &Locator) -> Option<Cow<'_, str>>;
    /// The place in words, for findings.
    fn place(&self, at: &Locator) -> String;
    /// The whole record, for patterns.
    fn whole(&self) -> Cow<'_, str>;
    /// What the record holds beyond what the profile speaks of: the device's code and the text.
    fn beyond(&self) -> Vec<(String, String)>;
    /// Whether `beyond` tells what stands here.
    fn is_beyond(&self, _at: &Locator) -> bool {
        false
    }
}

/// The first text that says something.
pub(super) fn first<'f>(fields: &'f impl Fields, at: &[Locator]) -> Option<Cow<'f, str>> {
    at.iter().filter_map(|at| fields.text(at)).find(|text| !text.trim().is_empty())
}

/// Decoding one frame of a generic grammar.
pub(super) struct Run<'p> {
    pub(super) profile: &'p FirmwareProfile,
    pub(super) context: &'p LinkContext,
    pub(super) decoded: Decoded,
    ignored: Option<String>,
}

impl<'p> Run<'p> {
    pub(super) fn new(profile: &'p FirmwareProfile, context: &'p LinkContext) -> Self {
        Self { profile, context, decoded: Decoded::default(), ignored: None }
    }

    pub(super) fn finding(&mut self, code: &'static str, place: impl Into<String>, text: impl Into<String>) {
        if self.decoded.findings.len() < super::FINDINGS_MAX {
            self.decoded.findings.push(finding(code, place, text));
        }
    }

    /// Decodes one record into a report.
    pub(super) fn record(&mut self, fields: &impl Fields) {
        if let Some(rule) = self.profile.plan.ignore.iter().find(|rule| applies(rule, fields)) {
            self.ignored = Some(rule.reason.clone());
            return;
        }
        let subject = &self.profile.plan.subject;
        let control = outcome::is_control(&self.profile.plan.quality_control, fields);
        let person = person::from_fields(subject, fields, &mut self.decoded.findings).filter(|_| !control);
        let specimen = specimen(self.profile, fields, &mut self.decoded.findings);
        let specimen_kind =
            specimen.as_ref().and_then(|s| s.kind.as_ref()).map(|kind| Arc::clone(&kind.code));
        let mut composer = Composer::default();
        let mut taken = None;
        let table = &self.profile.plan.table;
        let mut used: Vec<&Locator> = Vec::new();
        let mut passed_over: Vec<&Locator> = Vec::new();
        for metric in table.metrics.iter().take(table.listed) {
            // A place speaks once: the first metric whose conditions hold reads it.
            let Some(matched) = self.found(fields, metric, &used, &mut passed_over) else { continue };
            used.extend(metric.from.get(matched));
            if metric.kind != ValueKind::Ignore {
                self.metric(fields, metric, matched, specimen_kind.as_deref(), &mut taken, &mut composer);
            }
        }
        for at in passed_over.into_iter().filter(|at| !used.contains(at) && !fields.is_beyond(at)) {
            let text = "No condition of the profile holds for this value; it is not read.";
            self.finding("no-condition", fields.place(at), text);
        }
        for (code, text) in fields.beyond() {
            self.unlisted(fields, &code, &text, &mut taken, &mut composer);
        }
        if composer.measurements.is_empty() {
            return;
        }
        for measurement in composer.measurements.iter_mut().filter(|_| control) {
            Arc::make_mut(&mut measurement.metric).class = MetricClass::QualityControl;
        }
        let report = Report {
            device: device(self.profile, fields, &mut self.decoded.findings),
            person,
            place: person::place(subject, fields),
            specimen,
            orders: Vec::new(),
            measurements: composer.measurements,
        };
        if self.decoded.measurements() + report.measurements.len() <= MEASUREMENTS_MAX {
            self.decoded.reports.push(report);
        }
    }

    /// Which of its places a metric is read from, when its conditions hold.
    fn found<'m>(
        &mut self,
        fields: &impl Fields,
        metric: &'m MetricDef,
        used: &[&Locator],
        passed_over: &mut Vec<&'m Locator>,
    ) -> Option<usize> {
        let says = |at: &Locator| fields.text(at).is_some_and(|text| !text.trim().is_empty());
        let matched = metric.from.iter().position(|at| !used.contains(&at) && fields.text(at).is_some())?;
        let own = metric.from.get(matched)?;
        let listed = |(at, texts): &(Locator, Vec<String>)| {
            fields.text(at).is_some_and(|text| texts.iter().any(|wanted| wanted == text.trim()))
        };
        let mut holds = metric.when.iter().all(listed);
        if let Some(condition) = metric.condition.as_ref().filter(|_| holds) {
            holds = condition.holds(fields, own, &self.profile.plan.value).unwrap_or_else(|why| {
                let text = format!("The condition `{}` cannot be told: {why}.", condition.text);
                self.finding("condition-unclear", fields.place(own), text);
                false
            });
        }
        if !holds && says(own) && !passed_over.contains(&own) {
            passed_over.push(own);
        }
        holds.then_some(matched)
    }

    /// The record's own time, worked out when the first measurement needs it.
    fn taken(
        &mut self,
        fields: &impl Fields,
        metric: Option<&MetricDef>,
        common: &mut Option<Moment>,
    ) -> Moment {
        let own = metric.and_then(|metric| metric.time.as_ref());
        if own.is_none()
            && let Some(taken) = common
        {
            return taken.clone();
        }
        let rules = own.unwrap_or(&self.profile.plan.time);
        let joined = |parts: &Vec<Locator>| {
            let texts: Option<Vec<Cow<'_, str>>> = parts.iter().map(|at| fields.text(at)).collect();
            texts.map(|texts| texts.join(" ")).filter(|text| !text.trim().is_empty())
        };
        let said = rules.from.iter().find_map(|parts| joined(parts).zip(parts.first()));
        let (text, place) = match said {
            Some((text, at)) => (text, fields.place(at)),
            None => (String::new(), "time".to_owned()),
        };
        let moment = rules.moment(&text, &place, self.context, &mut self.decoded.findings);
        if own.is_none() {
            *common = Some(moment.clone());
        }
        moment
    }

    fn metric(
        &mut self,
        fields: &impl Fields,
        metric: &MetricDef,
        matched: usize,
        specimen: Option<&str>,
        taken: &mut Option<Moment>,
        composer: &mut Composer,
    ) {
        let Some((at, text)) = metric.from.get(matched).and_then(|at| Some((at, fields.text(at)?))) else {
            return;
        };
        let place = fields.place(at);
        let picked =
            metric.pick.as_ref().and_then(|pick| pick.captures(&text)?.get(1).map(|part| part.range()));
        let text = match picked {
            Some(range) => Cow::Owned(text.get(range).unwrap_or_default().to_owned()),
            None => text,
        };
        let mut marks = Marks::default();
        self.marks(fields, metric, &place, &mut marks);
        let unit_text = metric.unit_from.as_ref().and_then(|at| fields.text(at));
        let mut read = self.read(metric, &text, unit_text.as_deref(), &place, &mut marks);
        let unit = match &read.value {
            Value::Numeric { unit: Some(unit), .. } => Some(Arc::clone(&unit.ucum)),
            _ => metric.unit.as_ref().map(|rule| Arc::clone(&rule.unit.ucum)),
        };
        withhold(&mut read.value, &marks, &|| place.clone(), &mut self.decoded.findings);
        let table = &self.profile.plan.table;
        let group = metric.group.and_then(|number| table.groups.get(number).map(|group| (number, group)));
        let range =
            metric.range_from.as_ref().and_then(|at| fields.text(at)).filter(|text| !text.trim().is_empty());
        let measurement = Measurement {
            metric: metric.metric(matched, unit.as_deref(), specimen, &table.own_system),
            value: read.value,
            status: marks.status,
            result_status: ResultStatus::Final,
            taken: self.taken(fields, Some(metric), taken),
            until: None,
            containment: None,
            interpretation: marks.interpretation,
            reference_range: range.map(|text| text.trim().into()),
            note: read.note.map(Into::into),
        };
        composer.push(measurement, group);
    }

    /// Flags of the metric's flag field and the bits of the device's status words.
    fn marks(&mut self, fields: &impl Fields, metric: &MetricDef, place: &str, marks: &mut Marks) {
        let rules = &self.profile.plan.value;
        if let Some(text) = metric.flags_from.as_ref().and_then(|at| fields.text(at)) {
            let text = text.trim();
            // Several flags stand side by side: "MO SL       AS".
            let words = match rules.flag(text) {
                Some(_) => vec![text],
                None => text.split_whitespace().collect(),
            };
            for word in words {
                match rules.flag(word) {
                    Some(effect) => marks.apply(effect),
                    None => self.finding("unknown-flag", place, "A flag is not in the profile's list."),
                }
            }
        }
        for field in &self.profile.plan.value.bit_fields {
            let concerned = |code: &str| field.only.is_empty() || field.only.iter().any(|one| one == code);
            if !metric.matches.iter().any(|own| concerned(&own.code)) {
                continue;
            }
            let Some(text) = fields.text(&field.from) else { continue };
            match u64::from_str_radix(text.trim(), field.radix) {
                Ok(word) => {
                    let set = field.bits.iter().filter(|(bit, _)| word >> bit & 1 == 1);
                    set.for_each(|(_, effect)| marks.apply(effect));
                }
                Err(_) => {
                    let at = fields.place(&field.from);
                    self.finding("bad-flags", at, "The status word of the device is not a number.");
                }
            }
        }
    }

    /// Reads a text as its metric wants it.
    fn read(
        &mut self,
        metric: &MetricDef,
        text: &str,
        unit_text: Option<&str>,
        place: &str,
        marks: &mut Marks,
    ) -> Read {
        let place = || place.to_owned();
        let unit = UnitSaid::Text(unit_text);
        read_value(self.profile, metric, text, unit, &place, marks, &mut self.decoded.findings)
    }

    /// What the device said under a name the profile does not list: kept under that name, and told.
    fn unlisted(
        &mut self,
        fields: &impl Fields,
        code: &str,
        text: &str,
        taken: &mut Option<Moment>,
        composer: &mut Composer,
    ) {
        self.finding(
            "unknown-code",
            code,
            format!("The profile does not list `{code}`; it is kept as it came."),
        );
        let system = &self.profile.plan.table.own_system;
        let codings = vec![Coding { system: Arc::clone(system), code: code.into(), display: None }];
        let mut marks = Marks::default();
        let value = match self.profile.plan.value.number(text, &mut marks) {
            Number::Value { value, comparator, unit } => {
                let unit = unit.map(unit_of_text);
                Value::Numeric { value, comparator, unit }
            }
            Number::Absent(reason) => Value::Absent(reason),
            Number::Words => Value::Text(text.into()),
        };
        let taken = self.taken(fields, None, taken);
        composer.measurements.push(Measurement {
            metric: Arc::new(unlisted(codings, code, Domain::Device)),
            value,
            status: marks.status,
            result_status: ResultStatus::Final,
            taken,
            until: None,
            containment: None,
            interpretation: marks.interpretation,
            reference_range: None,
            note: None,
        });
    }

    /// What became of the whole frame. `nothing` is why it is held when no record said anything.
    pub(super) fn finish(mut self, nothing: &str) -> Decoded {
        if self.decoded.reports.is_empty() && self.decoded.held.is_none() {
            match self.ignored {
                Some(reason) => self.decoded.ignored = Some(reason),
                None => self.decoded.held = Some(nothing.to_owned()),
            }
        }
        self.decoded
    }
}

pub(super) fn applies(rule: &IgnoreRule, fields: &impl Fields) -> bool {
    let place_fits = rule.at.as_ref().is_none_or(|(at, texts)| {
        let text = fields.text(at);
        let said =
            text.as_ref().is_some_and(|text| texts.is_empty() || texts.iter().any(|t| t == text.trim()));
        said != rule.absent
    });
    place_fits && rule.matches.as_ref().is_none_or(|pattern| pattern.is_match(&fields.whole()))
}

/// A value as read, and what a person should know of it.
pub(super) struct Read {
    pub(super) value: Value,
    pub(super) note: Option<String>,
}

impl From<Value> for Read {
    fn from(value: Value) -> Self {
        Self { value, note: None }
    }
}

/// What is known of a value's unit before the value is read.
pub(super) enum UnitSaid<'u> {
    /// As the device wrote it, if it did.
    Text(Option<&'u str>),
    /// Looked up already.
    Known(Option<Unit>, Option<&'u UnitRule>),
}

/// Reads `text` as its metric wants it. A text that is no number where one is wanted never becomes one.
pub(super) fn read_value(
    profile: &FirmwareProfile,
    metric: &MetricDef,
    text: &str,
    unit: UnitSaid<'_>,
    place: &dyn Fn() -> String,
    marks: &mut Marks,
    findings: &mut Vec<Finding>,
) -> Read {
    let rules = &profile.plan.value;
    let text = text.trim();
    if let Some(codings) = metric.values.get(text) {
        return Value::Coded { codings: codings.clone(), text: Some(text.into()) }.into();
    }
    if let Some((_, reason)) = metric.missing.iter().find(|(token, _)| token == text) {
        return Value::Absent(*reason).into();
    }
    match metric.kind {
        ValueKind::Quantity => {}
        ValueKind::Text | ValueKind::Coded => return read_words(profile, metric, text, place, findings),
        ValueKind::Ignore => return Value::Absent(AbsentReason::Unsupported).into(),
    }
    let (value, comparator, own_unit) = match rules.number(text, marks) {
        Number::Absent(reason) => return Value::Absent(reason).into(),
        Number::Words => return no_number(metric, text, place, findings),
        Number::Value { value, comparator, unit } => (value, comparator, unit),
    };
    let (unit, rule) = match (own_unit, unit) {
        (Some(own), _) => unit_for(metric, Some(own), place, findings),
        (None, UnitSaid::Text(text)) => {
            unit_for(metric, text.map(str::trim).filter(|text| !text.is_empty()), place, findings)
        }
        (None, UnitSaid::Known(unit, rule)) => (unit, rule),
    };
    let (scale, offset) = rule.map(|rule| (rule.scale, rule.offset)).unwrap_or_default();
    let scaled = convert(value, metric.scale, metric.offset).and_then(|value| convert(value, scale, offset));
    match scaled {
        Some(value) => without_noise(metric, value, text, |value| Value::Numeric { value, comparator, unit }),
        None => no_number(metric, text, place, findings),
    }
}

/// Takes off the digits the device does not have. What it wrote is then a note, so that nothing is lost.
fn without_noise(
    metric: &MetricDef,
    value: Decimal,
    text: &str,
    made: impl FnOnce(Decimal) -> Value,
) -> Read {
    let short = metric.decimals.map_or(value, |places| value.rounded(places));
    let rest = value.plus(Decimal::new(-short.mantissa, short.exponent));
    let same = rest.is_some_and(|rest| rest.mantissa == 0);
    Read { value: made(short), note: (!same).then(|| format!("The device wrote: {text}")) }
}

fn read_words(
    profile: &FirmwareProfile,
    metric: &MetricDef,
    text: &str,
    place: &dyn Fn() -> String,
    findings: &mut Vec<Finding>,
) -> Read {
    if let Some(reason) = profile.plan.value.absent(text) {
        return Value::Absent(reason).into();
    }
    if metric.kind == ValueKind::Text {
        return Value::Text(text.into()).into();
    }
    findings.push(finding(
        "unknown-answer",
        place(),
        "The answer is not in the profile's list; its text is kept.",
    ));
    Value::Coded { codings: Vec::new(), text: Some(text.into()) }.into()
}

fn convert(value: Decimal, scale: Option<Decimal>, offset: Option<Decimal>) -> Option<Decimal> {
    let value = match scale {
        Some(scale) => value.times(scale)?,
        None => value,
    };
    match offset {
        Some(offset) => value.plus(offset),
        None => Some(value),
    }
}

/// A laboratory answers in words; a vital sign that is no number is absent, and the words are its note.
fn no_number(
    metric: &MetricDef,
    text: &str,
    place: &dyn Fn() -> String,
    findings: &mut Vec<Finding>,
) -> Read {
    findings.push(finding("bad-number", place(), "A number was expected; the text is kept as text."));
    if metric.domain == Domain::Laboratory {
        return Value::Text(text.into()).into();
    }
    Read { value: Value::Absent(AbsentReason::AsText), note: Some(format!("The device wrote: {text}")) }
}

/// The unit a device wrote, as UCUM; the metric's own when it wrote none.
fn unit_for<'m>(
    metric: &'m MetricDef,
    text: Option<&str>,
    place: &dyn Fn() -> String,
    findings: &mut Vec<Finding>,
) -> (Option<Unit>, Option<&'m UnitRule>) {
    let Some(text) = text else {
        let rule = metric.unit.as_ref();
        return (rule.map(|rule| rule.unit.clone()), rule);
    };
    if let Some(rule) = metric.units.get(text) {
        return (Some(rule.unit.clone()), Some(rule));
    }
    let unit = unit_of_text(text);
    if unit.ucum.is_empty() {
        findings.push(finding(
            "unknown-unit",
            place(),
            "The unit is not known; it is kept as text, without a code.",
        ));
    }
    (Some(unit), None)
}

/// A unit as a device spells it. One we do not know keeps its text and has no UCUM code.
pub(super) fn unit_of_text(text: &str) -> Unit {
    let text = text.trim();
    if let Some(ucum) = nomenclature::spelled_unit(text) {
        return Unit { ucum: ucum.into(), display: text.into() };
    }
    if nomenclature::is_ucum(text) { ucum_unit(text) } else { Unit { ucum: "".into(), display: text.into() } }
}

/// A status that says there is no value outweighs a value that is written all the same.
pub(super) fn withhold(
    value: &mut Value,
    marks: &Marks,
    place: &dyn Fn() -> String,
    findings: &mut Vec<Finding>,
) {
    let Some(reason) = marks.absent else { return };
    let Value::Absent(told) = value else {
        findings.push(finding(
            "value-withheld",
            place(),
            "The device marks this value as not usable; it is taken as absent.",
        ));
        *value = Value::Absent(reason);
        return;
    };
    if matches!(told, AbsentReason::Unknown | AbsentReason::AsText) {
        *told = reason;
    }
}

pub(super) fn specimen(
    profile: &FirmwareProfile,
    fields: &impl Fields,
    findings: &mut Vec<Finding>,
) -> Option<Specimen> {
    let subject = &profile.plan.subject;
    let identifier = first(fields, &subject.specimen_id).map(|text| text.trim().to_owned());
    let readable = |text: &String| !subject.specimen_unreadable.contains(text);
    if identifier.as_ref().is_some_and(|text| !readable(text)) {
        findings.push(finding(
            "unreadable-specimen",
            "specimen",
            "The device could not read the specimen's code.",
        ));
    }
    let kind = first(fields, &subject.specimen_kind).map(|text| {
        let system = Arc::clone(&profile.plan.table.own_system);
        Coding { system, code: text.trim().into(), display: None }
    });
    let identifier = identifier.filter(readable).map(Into::into);
    (identifier.is_some() || kind.is_some()).then_some(Specimen { identifier, kind })
}

/// The device as the profile and this record describe it.
pub(super) fn device(profile: &FirmwareProfile, fields: &impl Fields, findings: &mut Vec<Finding>) -> Device {
    let identify = &profile.plan.identify;
    let said = |at: &[Locator]| first(fields, at).map(|text| Arc::from(text.trim()));
    let mut device = profile.device();
    device.manufacturer = said(&identify.manufacturer).unwrap_or(device.manufacturer);
    device.model = said(&identify.model).unwrap_or(device.model);
    device.firmware = said(&identify.firmware);
    device.serial = said(&identify.serial).filter(|serial| serial.chars().any(char::is_alphanumeric));
    if let Some(id) = said(&identify.id) {
        match identifier(identify.id_kind, &id, &profile.id) {
            Some(identifier) => device.identifiers.push(identifier),
            None => findings.push(finding(
                "bad-device-id",
                "device",
                "The device's identifier is not of its kind.",
            )),
        }
    }
    device
}

fn identifier(kind: IdKind, text: &str, profile: &str) -> Option<Identifier> {
    let (system, value) = match kind {
        IdKind::Local => (format!("urn:bedside:device:{profile}"), text.to_owned()),
        IdKind::Eui64 => (EUI_64.to_owned(), eui_64(text)?),
        IdKind::BluetoothMac => {
            let digits = hex_digits(text, 12)?;
            let pairs: Vec<&str> = (0..6).filter_map(|at| digits.get(at * 2..at * 2 + 2)).collect();
            (BLUETOOTH.to_owned(), pairs.join("-"))
        }
    };
    Some(Identifier { system: system.into(), value: value.into(), kind: None })
}

/// 16 hex digits, whatever stands between them.
pub(super) fn eui_64(text: &str) -> Option<String> {
    hex_digits(text, 16)
}

fn hex_digits(text: &str, count: usize) -> Option<String> {
    let digits: String = text.chars().filter(|c| !matches!(c, ':' | '-' | '.' | ' ')).collect();
    (digits.len() == count && digits.bytes().all(|b| b.is_ascii_hexdigit()))
        .then(|| digits.to_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_address_however_it_is_written() {
        for text in ["e4:5f:01:ed:82:59", "E45F01ED8259", "E4-5F-01-ED-82-59"] {
            let identifier = identifier(IdKind::BluetoothMac, text, "x").unwrap();
            assert_eq!(&*identifier.value, "E4-5F-01-ED-82-59");
        }
        assert!(identifier(IdKind::BluetoothMac, "E45F01ED82", "x").is_none());
        assert_eq!(eui_64("ACDE4823-4567abcd").as_deref(), Some("ACDE48234567ABCD"));
        assert_eq!(eui_64("not hex at all!!"), None);
    }

    #[test]
    fn a_unit_nobody_knows_keeps_its_text_and_gets_no_code() {
        assert_eq!(&*unit_of_text("mmHg").ucum, "mm[Hg]");
        assert_eq!(&*unit_of_text("10*9/L").ucum, "10*9/L");
        let odd = unit_of_text("furlongs");
        assert_eq!((&*odd.ucum, &*odd.display), ("", "furlongs"));
    }
}
