//! Reads Datex-Ohmeda records: displayed values of the physiological database, waveforms, alarm status.
//!
//! Every number is a signed 16-bit value; from −32001 downwards it is no number but a reason. Source: the maker's
//! Datex-Ohmeda Record specification (8005313) as public readers of it agree; no capture of a monitor was at hand.

mod alarm;
mod groups;
mod wave;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::{Facts, Said, Silent, Spoken, Statement};
use crate::device::{AbsentReason, Containment, Decimal, Finding, MDC, Moment, Precision, Unit, Value};
use crate::firmware_profile::{FirmwareProfile, LinkContext, finding};
use crate::hl7v2::Time;
use crate::wire::dri::record::{self, MAIN_ALARM, MAIN_PHYSIOLOGICAL, MAIN_WAVE, Record, u16_at, u32_at};

/// Subrecord type of displayed values, and the two trends nobody asks for.
const DISPLAYED: u8 = 1;
const TREND_10_S: u8 = 2;
const TREND_60_S: u8 = 3;
/// Auxiliary information: when cuff pressure and cardiac output were measured.
const AUXILIARY: u8 = 4;
/// A class of the physiological database: its time, 270 octets of values, marker and class.
const VALUES: std::ops::Range<usize> = 4..274;
const CLASS_AT: usize = 276;

pub(super) fn read(
    bytes: &[u8],
    profile: &FirmwareProfile,
    context: &LinkContext,
    findings: &mut Vec<Finding>,
) -> Result<Vec<Said>, Silent> {
    let mut reading = Reading { profile, context, findings, statements: Vec::new(), cuff_time: None };
    let mut records = 0usize;
    let mut waves = wave::Waves::default();
    for (at, record) in record::records(bytes).enumerate() {
        let place = format!("record {}", at + 1);
        let record = record.ok();
        let Some(record) = record.as_deref().and_then(Record::parse) else {
            reading.tell("bad-record", &place, "A record is damaged and is left out.");
            continue;
        };
        records += 1;
        let sent = reading.moment(record.time, &place);
        match record.main {
            MAIN_PHYSIOLOGICAL => reading.physiological(&record, sent.as_ref(), &place),
            MAIN_WAVE => waves.take(&record, sent.as_ref(), &place, reading.findings),
            MAIN_ALARM => alarm::read(&record, sent.as_ref(), &place, &mut reading),
            other => {
                reading.tell("other-record", &place, &format!("Main type {other} is not read."));
            }
        }
    }
    let mut statements = reading.statements;
    statements.extend(waves.statements());
    if records == 0 {
        return Err(Silent::Held("there is no whole record in it".into()));
    }
    if statements.is_empty() {
        return Err(Silent::Ignored("the monitor measures nothing, or tells nothing new".into()));
    }
    Ok(vec![Said { device: Facts::default(), statements, ..Said::default() }])
}

struct Reading<'r> {
    profile: &'r FirmwareProfile,
    context: &'r LinkContext,
    findings: &'r mut Vec<Finding>,
    statements: Vec<Statement>,
    /// When the cuff pressure was measured, when the monitor tells.
    cuff_time: Option<Moment>,
}

impl Reading<'_> {
    fn tell(&mut self, code: &'static str, place: &str, text: &str) {
        if !self.findings.iter().any(|known| known.code == code && known.place == place) {
            self.findings.push(finding(code, place, text));
        }
    }

    /// A time of the monitor: seconds since 1970 of its own wall clock, which knows no zone.
    fn moment(&mut self, seconds: u32, place: &str) -> Option<Moment> {
        let at = jiff::Timestamp::from_second(i64::from(seconds)).ok().filter(|_| seconds != 0)?;
        let civil: DateTime = TimeZone::UTC.to_datetime(at);
        let time = Time { civil, precision: Precision::Second, offset_minutes: None };
        Some(self.profile.plan.time.believed(&time, &|| place.to_owned(), self.context, self.findings))
    }

    fn physiological(&mut self, record: &Record<'_>, sent: Option<&Moment>, place: &str) {
        self.cuff_time = None;
        for (kind, bytes) in record.subrecords() {
            if kind == AUXILIARY
                && let Some(seconds) = u32_at(bytes, 0)
            {
                self.cuff_time = self.moment(seconds, place);
            }
        }
        for (number, (kind, bytes)) in record.subrecords().enumerate() {
            let place = format!("{place}, subrecord {}", number + 1);
            match kind {
                DISPLAYED => self.displayed(bytes, sent, &place),
                TREND_10_S | TREND_60_S => {
                    self.tell(
                        "trend",
                        &place,
                        "A trend nobody asked for is left out; displayed values are read.",
                    );
                }
                AUXILIARY => {}
                other => {
                    self.tell("other-record", &place, &format!("Subrecord type {other} is not read."));
                }
            }
        }
    }

    fn displayed(&mut self, bytes: &[u8], sent: Option<&Moment>, place: &str) {
        let (Some(values), Some(class)) = (bytes.get(VALUES), u16_at(bytes, CLASS_AT)) else {
            return self.tell("cut-record", place, "A subrecord is shorter than its class; it is left out.");
        };
        let own = u32_at(bytes, 0).and_then(|seconds| self.moment(seconds, place));
        let taken = own.as_ref().or(sent).cloned();
        let class = (class >> 8) & 0x0F;
        let Some(groups) = groups::of_class(class) else {
            return self.tell("other-record", place, &format!("Class {class} is not read."));
        };
        for group in groups {
            let Some(octets) = values.get(group.at..) else { continue };
            groups::read(group, octets, &|| format!("{place}, {}", group.name), taken.as_ref(), self);
        }
    }
}

/// A value, or the reason that stands in its place; `None` for a number.
fn reason(raw: i16) -> Option<Special> {
    Some(match raw {
        -32000.. => return None,
        -32762 => Special::new(AbsentReason::Error, |status| status.invalid = true),
        -32763 => {
            Special { interpretation: Some(">"), ..Special::new(AbsentReason::PositiveInfinity, |_| ()) }
        }
        -32764 => {
            Special { interpretation: Some("<"), ..Special::new(AbsentReason::NegativeInfinity, |_| ()) }
        }
        -32765 => Special::new(AbsentReason::TempUnknown, |status| status.calibration_ongoing = true),
        -32766 | -32767 => Special::new(AbsentReason::TempUnknown, |status| status.not_available = true),
        _ => Special::new(AbsentReason::Unknown, |_| ()),
    })
}

/// What one of the values below −32000 says.
struct Special {
    absent: AbsentReason,
    mark: fn(&mut crate::device::MeasurementStatus),
    /// HL7 table 0078.
    interpretation: Option<&'static str>,
}

impl Special {
    const fn new(absent: AbsentReason, mark: fn(&mut crate::device::MeasurementStatus)) -> Self {
        Self { absent, mark, interpretation: None }
    }
}

/// A statement of a number in 10^`exponent`, or of why there is none.
fn statement(code: &str, raw: i16, exponent: i16, unit: &'static str, label: &str) -> Statement {
    let system = if code.bytes().all(|byte| byte.is_ascii_digit()) { MDC } else { "" };
    let special = reason(raw);
    let spoken = match &special {
        None => Spoken::Number(Decimal::new(i128::from(raw), exponent)),
        Some(special) => Spoken::Value(Value::Absent(special.absent)),
    };
    let mut statement = Statement::new(code.to_owned(), system, spoken);
    if let Some(special) = special {
        (special.mark)(&mut statement.status);
        statement.interpretation.extend(special.interpretation.map(Into::into));
    }
    statement.text = label.to_owned();
    statement.unit = (!unit.is_empty()).then(|| Unit { ucum: unit.into(), display: unit.into() });
    statement
}

/// Where a group stands in the monitor: each measuring module is a VMD, each of its channels a channel.
fn containment(vmd: u32, channel: u32) -> Containment {
    Containment { mds: 1, vmd, channel, ..Containment::default() }
}

#[cfg(test)]
#[path = "dri/tests.rs"]
mod tests;
