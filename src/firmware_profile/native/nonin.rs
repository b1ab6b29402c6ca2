//! Nonin data formats 2, 7, 8 and 13 (Nonin OEM III and Xpod specifications, Onyx II 9560 Bluetooth specification).
//!
//! Values are named as Nonin names them: `SpO2`, `HR` (averages of four beats), `SpO2-D`, `HR-D` (for a display),
//! `E-SpO2`, `E-HR` (eight beats), `SpO2-Fast`, `SpO2-BB`, and `pleth`. Of the packets of one frame the last gives the
//! values and all give the plethysmogram. 511 and 127 stand for no value; what a pulse oximeter cannot measure is none
//! either.

use super::{Said, Silent, Spoken, Statement, absent};
use crate::device::{
    AbsentReason, Decimal, Finding, MeasurementStatus, MetricClass, Moment, Precision, Unit, Value,
};
use crate::firmware_profile::{FirmwareProfile, LinkContext, finding, time};
use crate::hl7v2::Time;
use crate::wire::Codec;
use crate::wire::nonin::{FRAME, Format, PACKET, PACKET_8, Settings, is_frame, record, status_of};

const NO_PULSE: u16 = 511;
const NO_SATURATION: u8 = 127;
/// What the devices measure ("Specifications"): anything else is no pulse rate and no saturation.
const PULSE: std::ops::RangeInclusive<u16> = 18..=321;
const SATURATION: std::ops::RangeInclusive<u8> = 1..=100;
/// 75 samples a second, in milliseconds.
const PERIOD_MS: Decimal = Decimal::new(133_333_333_333, -10);

pub(super) fn read(
    bytes: &[u8],
    profile: &FirmwareProfile,
    context: &LinkContext,
    findings: &mut Vec<Finding>,
) -> Result<Vec<Said>, Silent> {
    let format = match &profile.codec {
        Codec::Nonin(Settings { format, .. }) => *format,
        _ => return Err(Silent::Held("the page's link is not `codec = \"nonin\"`".into())),
    };
    let said = match format {
        Format::Two | Format::Seven => packets(format, bytes, context, findings).map(|said| vec![said]),
        Format::Eight => seconds(bytes, findings).map(|said| vec![said]),
        Format::Thirteen => records(bytes, profile, context, findings),
    };
    said.ok_or_else(|| Silent::Held("these bytes are no packets of the page's data format".into()))
}

/// Signs that a value is not to be trusted, in the order they are told.
#[derive(Clone, Copy, Default)]
struct Signs {
    sensor_off: bool,
    sensor_unusable: bool,
    out_of_track: bool,
    artifact: bool,
    low_perfusion: bool,
    not_smart_point: bool,
}

impl Signs {
    fn status(self) -> MeasurementStatus {
        MeasurementStatus {
            not_available: self.sensor_off,
            invalid: self.sensor_unusable,
            questionable: self.out_of_track || self.artifact || self.low_perfusion || self.not_smart_point,
            ..MeasurementStatus::default()
        }
    }

    fn note(self) -> Option<String> {
        let words: Vec<&str> = [
            (self.sensor_off, "sensor disconnected or off the patient"),
            (self.sensor_unusable, "sensor signal unusable"),
            (self.out_of_track, "no consecutive good pulses"),
            (self.artifact, "artifact"),
            (self.low_perfusion, "low perfusion"),
            (self.not_smart_point, "not of SmartPoint quality"),
        ]
        .into_iter()
        .filter_map(|(set, words)| set.then_some(words))
        .collect();
        (!words.is_empty()).then(|| format!("Oximeter: {}", words.join(", ")))
    }

    /// With a sensor that is off or unusable there is no value, whatever is written.
    fn withheld(self) -> Option<AbsentReason> {
        match (self.sensor_off, self.sensor_unusable) {
            (true, _) => Some(AbsentReason::TempUnknown),
            (_, true) => Some(AbsentReason::Error),
            _ => None,
        }
    }

    fn statement(self, code: &'static str, spoken: Spoken) -> Statement {
        let spoken = self.withheld().map_or(spoken, absent);
        Statement {
            status: self.status(),
            note: self.note(),
            place: code.to_owned(),
            ..Statement::new(code, "", spoken)
        }
    }

    fn pulse(self, code: &'static str, value: Option<u16>, findings: &mut Vec<Finding>) -> Statement {
        let value = value.map(|value| (value, value == NO_PULSE, PULSE.contains(&value)));
        self.number(code, value.map(|(value, no, fits)| (i128::from(value), no, fits)), findings)
    }

    fn saturation(self, code: &'static str, value: Option<u8>, findings: &mut Vec<Finding>) -> Statement {
        let value = value.map(|value| (value, value == NO_SATURATION, SATURATION.contains(&value)));
        self.number(code, value.map(|(value, no, fits)| (i128::from(value), no, fits)), findings)
    }

    fn number(
        self,
        code: &'static str,
        value: Option<(i128, bool, bool)>,
        findings: &mut Vec<Finding>,
    ) -> Statement {
        let spoken = match value {
            None => {
                findings.push(finding("bad-checksum", code, "The frame with this value is corrupt."));
                absent(AbsentReason::Error)
            }
            Some((_, true, _)) => absent(AbsentReason::TempUnknown),
            Some((_, _, false)) => {
                findings.push(finding("out-of-range", code, "No oximeter measures such a value."));
                absent(AbsentReason::Error)
            }
            Some((value, ..)) => Spoken::Number(Decimal::new(value, 0)),
        };
        self.statement(code, spoken)
    }
}

/// Formats 2 and 7: the value stands in the frame with its number, from 1 on ("Packet Description").
fn packets(format: Format, bytes: &[u8], context: &LinkContext, findings: &mut Vec<Finding>) -> Option<Said> {
    let last = bytes.chunks_exact(PACKET).last()?;
    let slot = |number: usize| {
        let frame = last.chunks_exact(FRAME).nth(number.checked_sub(1)?)?;
        is_frame(format, frame).then(|| frame.get(3).copied()).flatten()
    };
    let two = |number: usize| {
        let (high, low) = (slot(number)?, slot(number + 1)?);
        Some(u16::from(high & 0x03) << 7 | u16::from(low & 0x7f))
    };
    let one = |number: usize| slot(number).map(|value| value & 0x7f);
    let signs = signs_of(format, last);
    let mut said = Said::default();
    said.device.firmware = slot(4).filter(|revision| *revision > 0).map(|revision| revision.to_string());
    for (code, number) in [("HR", 1), ("E-HR", 14), ("HR-D", 20), ("E-HR-D", 22)] {
        said.statements.push(signs.pulse(code, two(number), findings));
    }
    for (code, number) in
        [("SpO2", 3), ("SpO2-D", 9), ("SpO2-Fast", 10), ("SpO2-BB", 11), ("E-SpO2", 16), ("E-SpO2-D", 17)]
    {
        said.statements.push(signs.saturation(code, one(number), findings));
    }
    if slot(8).is_some_and(|status| status & 0x01 != 0) {
        findings.push(low_battery());
    }
    said.statements.push(pleth(format, bytes, context));
    Some(said)
}

fn low_battery() -> Finding {
    finding("low-battery", "status", "The oximeter says that its battery is low.")
}

/// The status bits of all frames of a packet that can be read ("Status Byte Description").
fn signs_of(format: Format, packet: &[u8]) -> Signs {
    let mut signs = Signs::default();
    for frame in packet.chunks_exact(FRAME).filter(|frame| is_frame(format, frame)) {
        let status = status_of(format, frame);
        signs.sensor_off |= status & 0x40 != 0;
        signs.artifact |= status & 0x20 != 0;
        signs.out_of_track |= status & 0x10 != 0;
        signs.sensor_unusable |= status & 0x08 != 0;
        // Red perfusion is its bit alone; together with green it is yellow, which is enough.
        signs.low_perfusion |= status & 0x06 == 0x04;
    }
    signs
}

/// The samples of all packets, up to now; a frame that cannot be read is a gap.
fn pleth(format: Format, bytes: &[u8], context: &LinkContext) -> Statement {
    let sample = |frame: &[u8]| match (format, frame) {
        _ if !is_frame(format, frame) => None,
        (Format::Two, &[_, _, sample, ..]) => Some(i32::from(sample)),
        (_, &[_, high, low, ..]) => Some(i32::from(u16::from_be_bytes([high, low]))),
        _ => None,
    };
    let samples: Vec<Option<i32>> = bytes.chunks_exact(FRAME).map(sample).collect();
    let now = time::received(context);
    let lasts_us = i64::try_from(samples.len()).unwrap_or(0).saturating_mul(1_000_000) / 75;
    let unit = Some(Unit { ucum: "1".into(), display: "1".into() });
    let (origin, factor) = (Decimal::new(0, 0), Decimal::new(1, 0));
    let value = Value::SampleArray { origin, factor, period_ms: PERIOD_MS, unit: unit.clone(), samples };
    let mut signs = Signs::default();
    for packet in bytes.chunks_exact(PACKET) {
        let own = signs_of(format, packet);
        signs.sensor_off |= own.sensor_off;
        signs.sensor_unusable |= own.sensor_unusable;
        signs.artifact |= own.artifact;
    }
    Statement {
        unit,
        class: Some(MetricClass::Waveform),
        taken: Some(Moment { micros: now.micros.saturating_sub(lasts_us), ..now.clone() }),
        until: Some(now),
        ..signs.statement("pleth", Spoken::Value(value))
    }
}

/// Format 8: status, low bits of the pulse rate, saturation, second status; the last second counts.
fn seconds(bytes: &[u8], findings: &mut Vec<Finding>) -> Option<Said> {
    let &[status, pulse, saturation, second] = bytes.chunks_exact(PACKET_8).last()? else { return None };
    let signs = Signs {
        sensor_off: status & 0x40 != 0,
        out_of_track: status & 0x20 != 0,
        low_perfusion: status & 0x10 != 0,
        artifact: status & 0x04 != 0,
        sensor_unusable: second & 0x08 != 0,
        not_smart_point: false,
    };
    let pulse = u16::from(status & 0x03) << 7 | u16::from(pulse & 0x7f);
    let mut said = Said::default();
    said.statements.push(signs.pulse("HR", Some(pulse), findings));
    said.statements.push(signs.saturation("SpO2", Some(saturation & 0x7f), findings));
    if second & 0x01 != 0 {
        findings.push(low_battery());
    }
    Some(said)
}

/// Format 13: each record is one measurement, taken now or from the device's memory.
fn records(
    mut bytes: &[u8],
    profile: &FirmwareProfile,
    context: &LinkContext,
    findings: &mut Vec<Finding>,
) -> Option<Vec<Said>> {
    let mut all = Vec::new();
    while let Ok((data, length)) = record(bytes) {
        let taken = match clock(data) {
            Some(time) => profile.plan.time.believed(&time, &|| "clock".into(), context, findings),
            None => {
                let text = "The device's clock cannot be read; the time of receipt is taken.";
                profile.plan.time.receipt("bad-time", "clock", text, context, findings)
            }
        };
        all.extend(spot_check(data, taken, findings));
        bytes = bytes.get(length..).unwrap_or_default();
    }
    (!all.is_empty()).then_some(all)
}

fn spot_check(data: &[u8], taken: Moment, findings: &mut Vec<Finding>) -> Option<Said> {
    let &[_, _, _, _, _, _, _, _, high, low, pulse_high, pulse_low, _, saturation, ..] = data else {
        return None;
    };
    let (no_measurement, from_memory) = (high & 0x01 != 0, low & 0x10 != 0);
    let signs = Signs { not_smart_point: high & 0x02 == 0, ..Signs::default() };
    let pulse = if no_measurement { NO_PULSE } else { u16::from_be_bytes([pulse_high, pulse_low]) };
    let saturation = if no_measurement { NO_SATURATION } else { saturation };
    let mut said = Said::default();
    said.statements.push(signs.pulse("HR", Some(pulse), findings));
    said.statements.push(signs.saturation("SpO2", Some(saturation), findings));
    for statement in &mut said.statements {
        statement.taken = Some(taken.clone());
        if from_memory {
            let note = statement.note.take().map_or_else(String::new, |note| note + "\n");
            statement.note = Some(note + "From the device's memory");
        }
    }
    let serial = data.get(14..23).and_then(|serial| std::str::from_utf8(serial).ok());
    let serial = serial.map(|serial| serial.trim_matches(['\0', ' '])).filter(|serial| !serial.is_empty());
    said.device.serial = serial.filter(|serial| serial.chars().all(|c| c.is_ascii_graphic())).map(Into::into);
    if low & 0x01 != 0 {
        findings.push(low_battery());
    }
    Some(said)
}

/// Century, year, month, day, hour, minute, second, hundredths. Some devices count in BCD: their century is `20` hex.
fn clock(data: &[u8]) -> Option<Time> {
    let bytes: [u8; 8] = data.get(..8)?.try_into().ok()?;
    let number = |byte: u8| match bytes.first() {
        Some(0x20) => {
            let (tens, ones) = (byte >> 4, byte & 0x0f);
            (tens < 10 && ones < 10).then_some(tens * 10 + ones)
        }
        _ => Some(byte),
    };
    let mut parts = [0i16; 8];
    for (part, byte) in parts.iter_mut().zip(bytes) {
        *part = i16::from(number(byte)?);
    }
    let [century, year, month, day, hour, minute, second, hundredths] = parts;
    let small = |part: i16| i8::try_from(part).ok();
    let civil = jiff::civil::DateTime::new(
        century.checked_mul(100)?.checked_add(year)?,
        small(month)?,
        small(day)?,
        small(hour)?,
        small(minute)?,
        small(second)?,
        i32::from(hundredths).checked_mul(10_000_000)?,
    );
    let precision = if hundredths == 0 { Precision::Second } else { Precision::Fraction };
    Some(Time { civil: civil.ok()?, precision, offset_minutes: None })
}

#[cfg(test)]
mod tests;
