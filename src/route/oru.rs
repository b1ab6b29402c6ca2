//! Measurements as an ORU^R01: IHE PCD-01 (version 2.6) of bedside devices, a laboratory report (2.5.1) of analysers; an
//! alarm as an ORU^R40, IHE PCD-04.
//!
//! What a route does not ask for is left out and counted: waves and alarms. An absent value is an empty OBX-5 with its
//! reason in OBX-8, never a number. Source: IHE PCD TF-2 §3.1, §3.4 and appendix B; HL7 2.5.1 chapter 7.

mod alarm;
mod er7;
mod letters;
mod row;
mod tree;

use std::borrow::Cow;

use crate::clock::Timestamp;
use crate::device::{Domain, Identifier, MDC, Measurement, Moment, Person, Place, Report, Specimen, Value};
use crate::hl7v2::{Charset, Writer};
use crate::nomenclature;
use er7::{Segment, coded, escaped, stamp, system};
pub use letters::Unwritable;
use row::Rows;

/// MDC_DEV_MON_PHYSIO_MULTI_PARAM_MDS, for devices that do not say what they are.
const MONITOR: u32 = 69_965;
/// Who gave order numbers that this box made.
pub const OWN_NUMBERS: &str = "urn:bedside:authority:BEDSIDE";
pub(super) const EUI_64: &str = "urn:oid:1.2.840.10004.1.1.1.0.0.1.0.0.1.2680";

/// What kind of message is built: MSH-9, MSH-12 and MSH-21.
type Kind = [&'static str; 3];
const LABORATORY: Kind = ["ORU^R01^ORU_R01", "2.5.1", ""];
const PCD_01: Kind = ["ORU^R01^ORU_R01", "2.6", "IHE_PCD_001^IHE PCD^1.3.6.1.4.1.19376.1.6.1.1.1^ISO"];
const PCD_04: Kind = ["ORU^R40^ORU_R40", "2.6", "IHE_PCD_004^IHE PCD^1.3.6.1.4.1.19376.1.6.1.4.1^ISO"];

/// What stands in the header of a message that is built.
#[derive(Clone, Copy, Debug)]
pub struct Header<'a> {
    /// MSH-3 and MSH-4.
    pub sender: (&'a str, &'a str),
    /// MSH-5 and MSH-6.
    pub receiver: (&'a str, &'a str),
    /// MSH-10; at most 20 characters for receivers before 2.7.
    pub control_id: &'a str,
    /// MSH-7.
    pub made: Timestamp,
    /// MSH-11 is T: nothing of it is a patient's.
    pub test: bool,
    /// The receiver answers in enhanced mode: MSH-15 asks for a commit, MSH-16 for nothing more.
    pub enhanced: bool,
    /// MSH-18, and what the message is written in.
    pub charset: Charset,
}

/// What a route asks for beside values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Also {
    /// Waves of bedside devices, as NA.
    pub waveforms: bool,
    /// Alarms, each as a message of its own.
    pub alarms: bool,
}

/// What no message says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    pub waveforms: u64,
    pub alarms: u64,
}

/// Who a message is about, where the report does not say it.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    pub report: &'a Report,
    /// The patient the link is bound to.
    pub bound: Option<&'a Identifier>,
}

/// Whether a message of values says something of a report.
pub fn has_values(report: &Report, also: Also) -> bool {
    values(report, also).next().is_some()
}

/// The alarms of a report that are messages of their own.
pub fn alarms(report: &Report, also: Also) -> impl Iterator<Item = &Measurement> {
    report.measurements.iter().filter(move |one| also.alarms && matches!(one.value, Value::Alarm(_)))
}

/// What of a report no message says.
pub fn left_out(report: &Report, also: Also) -> LeftOut {
    let waves = report.measurements.iter().filter(|one| matches!(one.value, Value::SampleArray { .. }));
    let alarms = report.measurements.iter().filter(|one| matches!(one.value, Value::Alarm(_)));
    let said = values(report, also).filter(|one| matches!(one.value, Value::SampleArray { .. })).count();
    LeftOut {
        waveforms: u64::try_from(waves.count() - said).unwrap_or(u64::MAX),
        alarms: if also.alarms { 0 } else { u64::try_from(alarms.count()).unwrap_or(u64::MAX) },
    }
}

fn is_laboratory(report: &Report) -> bool {
    report.measurements.iter().any(|one| one.metric.domain == Domain::Laboratory)
}

/// A laboratory's report has no place for waves.
fn values(report: &Report, also: Also) -> impl Iterator<Item = &Measurement> {
    let waves = also.waveforms && !is_laboratory(report);
    report.measurements.iter().filter(move |one| match one.value {
        Value::SampleArray { .. } => waves,
        Value::Alarm(_) => false,
        _ => true,
    })
}

/// The message of a report's values, its segments ended by CR.
///
/// # Errors
/// [`Unwritable`]: the receiver's charset has not all letters.
pub fn build(about: &About<'_>, header: &Header<'_>, also: Also) -> Result<Vec<u8>, Unwritable> {
    let report = about.report;
    let laboratory = is_laboratory(report);
    let said: Vec<&Measurement> = values(report, also).collect();
    let mut text = msh(header, if laboratory { LABORATORY } else { PCD_01 });
    text.push_str(&pid(about));
    text.push_str(&pv1(report.place.as_ref()));
    let taken = said.iter().map(|one| &one.taken).min_by_key(|taken| taken.micros);
    text.push_str(&obr(report, header, laboratory, taken).written());
    let equipment = equipment(report);
    match laboratory {
        true => text.push_str(&Rows::of(&said, true, &equipment).written()),
        false => text.push_str(&Rows::of(&said, false, "").tree(&mds(report), &equipment)),
    }
    if let Some(specimen) = report.specimen.as_ref().filter(|_| laboratory) {
        text.push_str(&spm(specimen));
    }
    letters::written(&text, header.charset)
}

/// The message of one alarm, its segments ended by CR.
///
/// # Errors
/// [`Unwritable`]: the receiver's charset has not all letters.
pub fn build_alarm(
    about: &About<'_>,
    measurement: &Measurement,
    header: &Header<'_>,
) -> Result<Vec<u8>, Unwritable> {
    let report = about.report;
    let mut text = msh(header, PCD_04);
    text.push_str(&pid(about));
    text.push_str(&pv1(report.place.as_ref()));
    let mut obr = obr(report, header, false, Some(&measurement.taken));
    // The filler's number is this telling's own, or that of the telling it takes back; its start is named in OBR-29.
    let earlier = report.orders.iter().find(|order| &*order.system == OWN_NUMBERS);
    let number = earlier.map_or(header.control_id, |order| &order.value);
    obr.set(3, format!("{}^BEDSIDE", escaped(number)));
    obr.set(4, "196616^MDC_EVT_ALARM^MDC".into());
    if let Value::Alarm(alarm) = &measurement.value {
        obr.set(29, alarm::parent(alarm));
        text.push_str(&obr.written());
        text.push_str(&alarm::rows(measurement, alarm, &equipment(report)));
    }
    letters::written(&text, header.charset)
}

fn msh(header: &Header<'_>, [kind, version, profile]: Kind) -> String {
    let mut msh = Segment::new("MSH|^~\\&");
    for (field, text) in
        [(3, header.sender.0), (4, header.sender.1), (5, header.receiver.0), (6, header.receiver.1)]
    {
        msh.set(field - 1, escaped(text));
    }
    msh.set(6, er7::utc(header.made));
    msh.set(8, kind.into());
    msh.set(9, escaped(header.control_id));
    msh.set(10, if header.test { "T".into() } else { "P".into() });
    msh.set(11, version.into());
    if header.enhanced {
        msh.set(14, "AL".into());
        msh.set(15, "NE".into());
    }
    msh.set(17, header.charset.table_0211().into_owned());
    msh.set(19, header.charset.scheme().into());
    msh.set(20, profile.into());
    msh.written()
}

fn pid(about: &About<'_>) -> String {
    let mut pid = Segment::new("PID");
    let person = about.report.person.as_ref().filter(|person| !person.identifiers.is_empty());
    match (person, about.bound) {
        (Some(person), _) => named(&mut pid, person),
        // A name without a number may be somebody else's: only the binding speaks.
        (None, Some(bound)) => pid.set(3, cx(bound)),
        (None, None) => {
            if let Some(person) = &about.report.person {
                named(&mut pid, person);
            }
        }
    }
    pid.written()
}

fn named(pid: &mut Segment, person: &Person) {
    let ids: Vec<String> = person.identifiers.iter().map(cx).collect();
    pid.set(3, ids.join("~"));
    let mut given = person.given.iter().map(|name| escaped(name));
    let (first, rest) = (given.next().unwrap_or_default(), given.collect::<Vec<_>>().join(" "));
    let family = person.family.as_deref().map(escaped).unwrap_or_default();
    if !(family.is_empty() && first.is_empty()) {
        pid.set(5, Writer::default().components(&[family, first, rest]));
    }
    pid.set(7, person.birth_date.as_deref().unwrap_or_default().replace('-', ""));
    // HL7 table 0001.
    let sex = match person.gender.as_deref() {
        Some("male") => "M",
        Some("female") => "F",
        Some("other") => "O",
        Some("unknown") => "U",
        _ => "",
    };
    pid.set(8, sex.into());
}

/// CX: id ^^^ authority ^ kind.
fn cx(id: &Identifier) -> String {
    let kind = id.kind.as_deref().map(escaped).unwrap_or_default();
    Writer::default().components(&[escaped(&id.value), String::new(), String::new(), hd(&id.system), kind])
}

/// HD of an issuer: namespace & universal id & its kind.
fn hd(system: &str) -> String {
    let part = |prefix: &str| system.strip_prefix(prefix);
    if let Some(name) = part("urn:bedside:authority:") {
        return if name == "unstated" { String::new() } else { escaped(name) };
    }
    match (part("urn:oid:"), part("urn:uuid:")) {
        (Some(oid), _) => format!("&{}&ISO", escaped(oid)),
        (_, Some(uuid)) => format!("&{}&UUID", escaped(uuid)),
        _ if system.contains(':') => format!("&{}&URI", escaped(system)),
        _ => escaped(system),
    }
}

fn pv1(place: Option<&Place>) -> String {
    let Some(place) = place else { return String::new() };
    let mut pv1 = Segment::new("PV1");
    // HL7 table 0004: unknown.
    pv1.set(2, "U".into());
    let part = |text: &Option<std::sync::Arc<str>>| text.as_deref().map(escaped).unwrap_or_default();
    let location = [&place.point_of_care, &place.room, &place.bed, &place.facility].map(part);
    pv1.set(3, Writer::default().components(&location));
    pv1.written()
}

fn obr(report: &Report, header: &Header<'_>, laboratory: bool, taken: Option<&Moment>) -> Segment {
    let mut obr = Segment::new("OBR");
    obr.set(1, "1".into());
    let number = |kind: &str| report.orders.iter().find(|order| order.kind.as_deref() == Some(kind)).map(ei);
    obr.set(2, number("PLAC").unwrap_or_default());
    obr.set(3, number("FILL").unwrap_or_else(|| format!("{}^BEDSIDE", escaped(header.control_id))));
    let service = match laboratory {
        true => "26436-6^Laboratory studies (set)^LN",
        false => "182777000^monitoring of patient^SCT",
    };
    obr.set(4, service.into());
    obr.set(7, taken.map(stamp).unwrap_or_default());
    if laboratory {
        obr.set(22, er7::utc(header.made));
        obr.set(25, row::report_status(&report.measurements).into());
    }
    obr
}

/// EI of an order number.
fn ei(order: &Identifier) -> String {
    let assigner = hd(&order.system).replace('&', "^");
    let whole = if assigner.starts_with('^') || assigner.is_empty() { assigner } else { assigner + "^^" };
    format!("{}^{}", escaped(&order.value), whole.trim_start_matches('&')).trim_end_matches('^').to_owned()
}

/// OBX-3 of the device itself.
fn mds(report: &Report) -> String {
    let stated = report.device.kind.as_ref().filter(|kind| &*kind.system == MDC);
    let number = stated.and_then(|kind| kind.code.parse().ok()).unwrap_or(MONITOR);
    let name = stated.and_then(|kind| kind.display.as_deref()).or_else(|| nomenclature::refid(number));
    format!("{number}^{}^MDC", escaped(name.unwrap_or_default()))
}

/// OBX-18: the EUI-64, else the serial number or whatever the device is called by.
fn equipment(report: &Report) -> String {
    let device = &report.device;
    if let Some(eui) = device.identifiers.iter().find(|id| &*id.system == EUI_64) {
        let eui = escaped(&eui.value);
        return format!("{eui}^^{eui}^EUI-64");
    }
    let own = device.serial.as_deref().or_else(|| device.identifiers.first().map(|id| &*id.value));
    let model: Cow<'_, str> = format!("{} {}", device.manufacturer, device.model).into();
    format!("{}^{}", escaped(own.unwrap_or_default()), escaped(model.trim())).trim_end_matches('^').to_owned()
}

fn spm(specimen: &Specimen) -> String {
    let mut spm = Segment::new("SPM");
    spm.set(1, "1".into());
    spm.set(2, specimen.identifier.as_deref().map(escaped).unwrap_or_default());
    let kind = specimen
        .kind
        .as_ref()
        .map(|kind| coded(&kind.code, kind.display.as_deref().unwrap_or_default(), &system(&kind.system)));
    spm.set(4, kind.unwrap_or_default());
    spm.written()
}

#[cfg(test)]
#[path = "oru_tests.rs"]
mod tests;
