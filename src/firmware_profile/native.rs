//! Grammars that code reads because no page could: binary protocols with a sense of their own. Each makes a
//! [`Said`] of a frame; here the page's metrics and the nomenclature give it meaning.

mod dri;
mod ieee11073;
mod intellivue;
mod medibus;
mod nonin;
mod sparkplug;

use std::borrow::Cow;
use std::sync::Arc;

use super::compose::Composer;
use super::flat::{self, Read, UnitSaid};
use super::metric::ValueKind;
use super::outcome::{self, About, Row};
use super::value::Marks;
use super::{Decoded, FirmwareProfile, LinkContext, finding, time};
use crate::device::{
    AbsentReason, Coding, Containment, Decimal, Domain, Finding, Identifier, LOINC, Measurement,
    MeasurementStatus, MetricClass, Moment, Person, Place, ResultStatus, Unit, Value,
};

/// Which of them reads the frames of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Native {
    Intellivue,
    Medibus,
    Nonin,
    Dri,
    Ieee11073,
    Sparkplug,
}

/// What one frame said of one device.
#[derive(Default)]
struct Said {
    device: Facts,
    person: Option<Person>,
    place: Option<Place>,
    statements: Vec<Statement>,
}

/// What the device said of itself; the page fills what it did not.
#[derive(Default)]
struct Facts {
    manufacturer: Option<String>,
    model: Option<String>,
    serial: Option<String>,
    firmware: Option<String>,
    identifiers: Vec<Identifier>,
    kind: Option<Coding>,
    /// What time its clock shows.
    clock: Option<Moment>,
}

/// One fact in the device's own words.
struct Statement {
    /// The device's code, e.g. an MDC number in decimal, and its system (`""`: the device's own).
    code: Cow<'static, str>,
    system: Cow<'static, str>,
    /// What the device calls it, when it does.
    text: String,
    value: Spoken,
    unit: Option<Unit>,
    status: MeasurementStatus,
    /// `None`: the device stated no time.
    taken: Option<Moment>,
    until: Option<Moment>,
    containment: Option<Containment>,
    /// `None`: as the page or the nomenclature has it.
    class: Option<MetricClass>,
    /// HL7 table 0078 codes.
    interpretation: Vec<Arc<str>>,
    reference_range: Option<String>,
    note: Option<String>,
    /// Where in the frame, for findings: `poll result 3`.
    place: String,
}

impl Statement {
    fn new(code: impl Into<Cow<'static, str>>, system: impl Into<Cow<'static, str>>, value: Spoken) -> Self {
        Self {
            code: code.into(),
            system: system.into(),
            text: String::new(),
            value,
            unit: None,
            status: MeasurementStatus::default(),
            taken: None,
            until: None,
            containment: None,
            class: None,
            interpretation: Vec::new(),
            reference_range: None,
            note: None,
            place: String::new(),
        }
    }
}

/// A value before the page has scaled it or named its codes.
enum Spoken {
    Number(Decimal),
    Text(String),
    /// Already in its final shape: samples, bits, coded values, absences.
    Value(Value),
}

/// Why a frame made no measurement.
enum Silent {
    /// A person must look.
    Held(String),
    /// Nothing in it to deliver, and nothing wrong.
    Ignored(String),
}

/// What a frame says; findings go to the list.
type Reader = fn(&[u8], &FirmwareProfile, &LinkContext, &mut Vec<Finding>) -> Result<Vec<Said>, Silent>;

impl Native {
    const fn reader(self) -> Reader {
        match self {
            Self::Intellivue => intellivue::read,
            Self::Medibus => medibus::read,
            Self::Nonin => nonin::read,
            Self::Dri => dri::read,
            Self::Ieee11073 => ieee11073::read,
            // Needs the topic, see `decode`.
            Self::Sparkplug => {
                |bytes, profile, context, findings| sparkplug::read(bytes, None, profile, context, findings)
            }
        }
    }
}

pub(super) fn decode(
    profile: &FirmwareProfile,
    native: Native,
    bytes: &[u8],
    topic: Option<&str>,
    context: &LinkContext,
) -> Decoded {
    let mut decoded = Decoded::default();
    let said = match native {
        Native::Sparkplug => sparkplug::read(bytes, topic, profile, context, &mut decoded.findings),
        other => other.reader()(bytes, profile, context, &mut decoded.findings),
    };
    let said = match said {
        Ok(said) => said,
        Err(Silent::Held(reason)) => {
            decoded.held = Some(reason);
            return decoded;
        }
        Err(Silent::Ignored(reason)) => {
            decoded.ignored = Some(reason);
            return decoded;
        }
    };
    for said in said {
        let about = About {
            device: said.device.on(profile),
            person: said.person,
            place: said.place,
            ..About::default()
        };
        let mut composer = Composer::default();
        for statement in said.statements {
            let Some((measurement, group)) = measurement(profile, statement, context, &mut decoded.findings)
            else {
                continue;
            };
            let group =
                group.and_then(|number| profile.plan.table.groups.get(number).map(|def| (number, def)));
            composer.push(measurement, group);
        }
        outcome::close(&mut decoded.reports, about, composer);
    }
    if decoded.reports.is_empty() {
        decoded.ignored = Some("nothing was measured".into());
    }
    decoded
}

impl Facts {
    /// The device as its page has it, with what it said of itself.
    fn on(self, profile: &FirmwareProfile) -> crate::device::Device {
        let mut device = profile.device();
        let said = |own: Option<String>, usual: Arc<str>| own.map_or(usual, Into::into);
        device.manufacturer = said(self.manufacturer, device.manufacturer);
        device.model = said(self.model, device.model);
        device.serial = self.serial.map(Into::into).or(device.serial);
        device.firmware = self.firmware.map(Into::into).or(device.firmware);
        device.kind = self.kind.or(device.kind);
        device.identifiers.extend(self.identifiers);
        device.clock = self.clock;
        device
    }
}

fn measurement(
    profile: &FirmwareProfile,
    statement: Statement,
    context: &LinkContext,
    findings: &mut Vec<Finding>,
) -> Option<(Measurement, Option<usize>)> {
    let metric = profile.plan.table.find(&statement.code, &statement.system);
    if metric.is_some_and(|(def, _)| def.kind == ValueKind::Ignore) {
        return None;
    }
    let place = || statement.place.clone();
    // Alarms, limits and settings that the grammar can name need no line in the page.
    let named = matches!(statement.class, Some(MetricClass::Alarm | MetricClass::Setting))
        && !statement.text.is_empty();
    if metric.is_none() && !named {
        let text = "The code is not known; its value is kept under the code as it came.";
        findings.push(finding("unknown-code", place(), text));
    }
    let mut marks =
        Marks { status: statement.status, interpretation: statement.interpretation, ..Marks::default() };
    let mut read: Read = match statement.value {
        Spoken::Value(value) => value.into(),
        Spoken::Number(number) => words(
            profile,
            metric.map(|(def, _)| def),
            &number.to_string(),
            statement.unit.clone(),
            &place,
            &mut marks,
            findings,
        ),
        Spoken::Text(text) => words(
            profile,
            metric.map(|(def, _)| def),
            &text,
            statement.unit.clone(),
            &place,
            &mut marks,
            findings,
        ),
    };
    flat::withhold(&mut read.value, &marks, &place, findings);
    let row = Row {
        code: statement.code,
        text: statement.text.into(),
        system: statement.system,
        metric,
        unit: statement.unit,
        read,
        marks,
        result_status: ResultStatus::Final,
        taken: statement.taken.unwrap_or_else(|| time::received(context)),
        containment: statement.containment,
        range: statement.reference_range.map(Into::into),
        site: None,
        note: statement.note,
        quality_control: false,
        domain: Domain::Device,
    };
    let (mut measurement, group) = row.measurement(profile, None);
    measurement.until = statement.until;
    if let Some(class) = statement.class.filter(|class| *class != measurement.metric.class) {
        let mut own = crate::device::Metric::clone(&measurement.metric);
        own.class = class;
        if class == MetricClass::Waveform {
            // The LOINC code of a pressure is that of its figures, not of its curve.
            own.codings.retain(|coding| &*coding.system != LOINC);
        }
        measurement.metric = Arc::new(own);
    }
    Some((measurement, group))
}

/// A number or text as its metric wants it: scaled, with the page's unit and codes.
fn words(
    profile: &FirmwareProfile,
    def: Option<&super::metric::MetricDef>,
    text: &str,
    unit: Option<Unit>,
    place: &dyn Fn() -> String,
    marks: &mut Marks,
    findings: &mut Vec<Finding>,
) -> Read {
    match def {
        Some(def) => {
            let rule = unit.as_ref().and_then(|unit| def.units.get(&*unit.display));
            let unit = match rule {
                Some(rule) => Some(rule.unit.clone()),
                None => unit.or_else(|| def.unit.as_ref().map(|rule| rule.unit.clone())),
            };
            flat::read_value(profile, def, text, UnitSaid::Known(unit, rule), place, marks, findings)
        }
        None => outcome::unlisted_value(profile, text, unit, marks),
    }
}

/// For a value the device marks as not there.
fn absent(reason: AbsentReason) -> Spoken {
    Spoken::Value(Value::Absent(reason))
}

#[cfg(test)]
mod tests {
    /// For captures an encoder of our own makes: the files are what it makes. `BLESS=1` writes them.
    pub(super) fn compare_captures(captures: &[(&str, Vec<u8>)]) {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("firmware-profiles");
        for (name, bytes) in captures {
            let lines: Vec<String> = bytes
                .chunks(24)
                .map(|line| line.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(" "))
                .collect();
            let text = lines.join("\n") + "\n";
            let path = folder.join(name);
            if std::env::var_os("BLESS").is_some() {
                std::fs::write(&path, &text).unwrap();
            }
            assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), text, "{name}");
        }
    }
}
