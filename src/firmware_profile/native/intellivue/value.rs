//! The data types of the Data Export protocol: numbers, states, times, texts, units and names of what is measured.

use std::borrow::Cow;

use jiff::civil::DateTime;

use crate::device::{AbsentReason, Decimal, Identifier, MDC, MeasurementStatus, Unit};
use crate::firmware_profile::flat::EUI_64;
use crate::hl7v2::Time;
use crate::nomenclature;
use crate::wire::intellivue::message::Cursor;

/// What Philips calls its own codes in HL7 messages; kept for all that IEEE 11073-10101 does not number.
pub(super) const PRIVATE: &str = "MDIL";
/// Partitions of the nomenclature.
pub(super) const PARTITION_OBJECTS: u16 = 1;
pub(super) const PARTITION_METRICS: u16 = 2;
pub(super) const PARTITION_EVENTS: u16 = 3;
const PARTITION_DIMENSIONS: u32 = 4;
/// Codes from here on are private in every partition.
const PRIVATE_FROM: u16 = 0xF000;
/// Not further specified: the label says what it is.
pub(super) const METRIC_NOS: u16 = 0xEFFF;
/// Powers of ten beyond this are no measurement.
const EXPONENT_MAX: i8 = 30;

/// FLOAT-Type: exponent in 8 bits, mantissa in 24, and four mantissas that are no numbers.
pub(super) fn float(bits: u32) -> Result<Decimal, AbsentReason> {
    let [exponent, ..] = bits.to_be_bytes();
    let exponent = i8::from_be_bytes([exponent]);
    match bits & 0x00FF_FFFF {
        0x7F_FFFF => return Err(AbsentReason::NotANumber),
        0x7F_FFFE => return Err(AbsentReason::PositiveInfinity),
        0x80_0002 => return Err(AbsentReason::NegativeInfinity),
        // Not at this resolution, and a reserved one.
        0x80_0000 => return Err(AbsentReason::Unsupported),
        0x80_0001 => return Err(AbsentReason::Unknown),
        _ => {}
    }
    if exponent.unsigned_abs() > EXPONENT_MAX.unsigned_abs() {
        return Err(AbsentReason::Error);
    }
    let mantissa = i32::from_be_bytes((bits << 8).to_be_bytes()) >> 8;
    Ok(Decimal::new(mantissa.into(), exponent.into()))
}

/// MeasurementState, and why there is no value when there is none: a measurement that is invalid, not available or
/// being calibrated has none, whatever number stands beside it.
pub(super) fn state(bits: u16) -> (MeasurementStatus, Option<AbsentReason>) {
    let is = |bit: u16| bits & bit != 0;
    let status = MeasurementStatus {
        invalid: is(0x8000),
        questionable: is(0x4000),
        not_available: is(0x2000),
        calibration_ongoing: is(0x1000),
        test_data: is(0x0800),
        demo_data: is(0x0400),
        validated: is(0x0080),
        early_indication: is(0x0040),
        msmt_ongoing: is(0x0020),
        off: false,
        in_alarm: is(0x0002),
        alarm_inhibited: is(0x0001),
    };
    let absent = if status.invalid {
        Some(AbsentReason::Error)
    } else if status.not_available || status.calibration_ongoing {
        Some(AbsentReason::TempUnknown)
    } else {
        None
    };
    (status, absent)
}

/// AbsoluteTime in BCD: century, year, month, day, hour, minute, second, hundredths. FF is no time.
pub(super) fn time(bcd: [u8; 8]) -> Option<Time> {
    let two = |byte: u8| (byte >> 4 < 10 && byte & 15 < 10).then_some((byte >> 4) * 10 + (byte & 15));
    let [century, year, month, day, hour, minute, second, hundredths] = bcd.map(two);
    let year = i16::from(century?) * 100 + i16::from(year?);
    let part = |byte: Option<u8>| i8::try_from(byte?).ok();
    let nanos = i32::from(hundredths?) * 10_000_000;
    let civil =
        DateTime::new(year, part(month)?, part(day)?, part(hour)?, part(minute)?, part(second)?, nanos)
            .ok()?;
    let precision =
        if nanos == 0 { crate::device::Precision::Second } else { crate::device::Precision::Fraction };
    Some(Time { civil, precision, offset_minutes: None })
}

/// A text of 16-bit characters with its length before it; `None` when nothing is written.
pub(super) fn text(value: &[u8]) -> Option<String> {
    let bytes = Cursor(value).sized()?;
    let units = bytes.as_chunks::<2>().0.iter().map(|pair| u16::from_be_bytes(*pair));
    let text: String = char::decode_utf16(units.take_while(|unit| *unit != 0))
        .map(|read| read.unwrap_or(char::REPLACEMENT_CHARACTER))
        .filter(|c| !c.is_control())
        .collect();
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// A text of 8-bit characters with its length before it.
pub(super) fn plain_text(cursor: &mut Cursor<'_>) -> Option<String> {
    let bytes = cursor.sized()?;
    let text: String = bytes
        .iter()
        .take_while(|byte| **byte != 0)
        .map(|byte| char::from(*byte))
        .filter(|c| !c.is_control())
        .collect();
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// Code and system of a name: its number in IEEE 11073-10101, or Philips' own.
pub(super) fn code(partition: u16, code: u16) -> (Cow<'static, str>, Cow<'static, str>) {
    if code >= PRIVATE_FROM || code == METRIC_NOS {
        return (format!("{partition:04x}-{code:04x}").into(), PRIVATE.into());
    }
    (((u32::from(partition) << 16) + u32::from(code)).to_string().into(), MDC.into())
}

/// Who the monitor is: six bytes are the MAC address of its LAN interface (all known monitors send that), eight an
/// EUI-64.
pub(super) fn system_id(id: &[u8]) -> Identifier {
    let pairs: Vec<String> = id.iter().map(|byte| format!("{byte:02X}")).collect();
    let (system, value) = match id.len() {
        6 => (ETHERNET, pairs.join("-")),
        8 => (EUI_64, pairs.concat()),
        _ => (SYSTEM_ID, pairs.concat()),
    };
    Identifier { system: system.into(), value: value.into(), kind: None }
}

const ETHERNET: &str = "http://hl7.org/fhir/sid/eui-48/ethernet";
const SYSTEM_ID: &str = "urn:bedside:system-id";

/// The unit of a dimension code; `None` where the metric has none.
pub(super) fn unit(code: u16) -> Option<Unit> {
    if code == 0 {
        return None;
    }
    let own = |ucum: &str| Unit { ucum: ucum.into(), display: ucum.into() };
    if let Some((_, ucum)) = PRIVATE_UNITS.iter().find(|(own, _)| *own == code) {
        return Some(own(ucum));
    }
    let known = nomenclature::mdc_unit((PARTITION_DIMENSIONS << 16) + u32::from(code));
    Some(match known {
        Some(unit) => Unit { ucum: unit.ucum.into(), display: unit.display.into() },
        // A unit that is not known must not be taken for the usual one.
        None => Unit { ucum: "".into(), display: format!("dimension {code}").into() },
    })
}

/// Private dimensions that are published with the protocol.
const PRIVATE_UNITS: &[(u16, &str)] = &[
    (61_441, "{count}"),
    (61_444, "uV"),
    (61_449, "mm[Hg]/s"),
    (61_450, "mL/s"),
    (61_571, "kcal"),
    (61_603, "kcal/d"),
    (62_066, "mL/min/kg"),
    (62_226, "mL"),
];

/// Numbers are never divided in binary: at most 15 more digits than the dividend has.
pub(super) fn quotient(dividend: Decimal, divisor: i128) -> Option<Decimal> {
    const MORE: i16 = 15;
    let scaled = dividend.mantissa.checked_mul(10i128.pow(15))?;
    let half = divisor.abs() / 2;
    let rounded = if (scaled < 0) == (divisor < 0) {
        scaled.checked_add(half.checked_mul(divisor.signum())?)?
    } else {
        scaled.checked_sub(half.checked_mul(divisor.signum())?)?
    };
    Some(trimmed(Decimal::new(rounded.checked_div(divisor)?, dividend.exponent.checked_sub(MORE)?)))
}

/// Without zeros at the end: for what was calculated and not written.
pub(super) fn trimmed(mut number: Decimal) -> Decimal {
    if number.mantissa == 0 {
        return Decimal::new(0, 0);
    }
    while number.exponent < 0 && number.mantissa % 10 == 0 {
        number.mantissa /= 10;
        number.exponent += 1;
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_float_keeps_its_digits_and_its_special_values_are_no_numbers() {
        for (bits, said) in [
            (0x0000_003C_u32, Ok("60")),
            (0xFF00_0172, Ok("37.0")),
            (0xFE00_0E8A, Ok("37.22")),
            (0xFEFF_F000, Ok("-40.96")),
            (0xFD00_9FFB, Ok("40.955")),
            (0x0000_0000, Ok("0")),
            (0x0200_0005, Ok("5E2")),
            (0x007F_FFFF, Err(AbsentReason::NotANumber)),
            (0xFF7F_FFFF, Err(AbsentReason::NotANumber)),
            (0x0080_0000, Err(AbsentReason::Unsupported)),
            (0x007F_FFFE, Err(AbsentReason::PositiveInfinity)),
            (0x0080_0002, Err(AbsentReason::NegativeInfinity)),
            (0x7F00_0001, Err(AbsentReason::Error)),
            (0x8000_0001, Err(AbsentReason::Error)),
        ] {
            let read = float(bits).map(|number| number.to_string());
            assert_eq!(read.as_deref(), said.as_ref().map(|text| *text), "{bits:08x}");
        }
    }

    #[test]
    fn a_state_says_why_there_is_no_value() {
        assert_eq!(state(0x8000).1, Some(AbsentReason::Error));
        assert_eq!(state(0x2000).1, Some(AbsentReason::TempUnknown));
        assert_eq!(state(0x1000).1, Some(AbsentReason::TempUnknown));
        for kept in [0x0000, 0x4000, 0x0800, 0x0400, 0x0080, 0x0040, 0x0020, 0x0002, 0x0001] {
            assert_eq!(state(kept).1, None, "{kept:04x}");
        }
        let (status, _) = state(0x4402);
        assert!(status.questionable && status.demo_data && status.in_alarm && !status.invalid);
    }

    #[test]
    fn times_are_read_as_they_are_written_and_never_made_up() {
        let read = time([0x20, 0x21, 0x04, 0x22, 0x11, 0x47, 0x26, 0x25]).unwrap();
        assert_eq!((read.civil.to_string().as_str(), read.offset_minutes), ("2021-04-22T11:47:26.25", None));
        for none in [[0xFF; 8], [0x20, 0x21, 0x13, 0x01, 0, 0, 0, 0], [0x20, 0x2A, 0x01, 0x01, 0, 0, 0, 0]] {
            assert!(time(none).is_none());
        }
    }

    #[test]
    fn names_are_numbers_of_the_standard_or_philips_own() {
        assert_eq!(code(2, 0x4BB8), ("150456".into(), MDC.into()));
        assert_eq!(code(2, 0xF0E5), ("0002-f0e5".into(), "MDIL".into()));
        assert_eq!(unit(0).map(|unit| unit.ucum), None);
        assert_eq!(unit(2720).map(|unit| unit.ucum.to_string()), Some("/min".into()));
        assert_eq!(unit(61_450).map(|unit| unit.ucum.to_string()), Some("mL/s".into()));
        assert_eq!(unit(65_000).map(|unit| unit.ucum.to_string()), Some(String::new()));
        for (_, ucum) in PRIVATE_UNITS {
            assert!(nomenclature::is_ucum(ucum), "{ucum}");
        }
    }

    #[test]
    fn a_monitor_is_known_by_its_address() {
        let said = |id: &[u8]| {
            let id = system_id(id);
            (id.system.to_string(), id.value.to_string())
        };
        assert_eq!(said(&[0, 9, 0xFB, 0, 0, 1]), (ETHERNET.into(), "00-09-FB-00-00-01".into()));
        assert_eq!(said(&[0, 9, 0xFB, 0, 0, 1, 2, 3]), (EUI_64.into(), "0009FB0000010203".into()));
        assert_eq!(said(&[1, 2]), (SYSTEM_ID.into(), "0102".into()));
    }

    #[test]
    fn texts_end_at_their_first_nul_and_calculated_numbers_have_no_zeros_at_the_end() {
        assert_eq!(text(b"\0\x0e\0S\0p\0O \x82\0 \0 \0\0"), Some("SpO\u{2082}".into()));
        assert_eq!(text(b"\0\x02\0\0"), None);
        assert_eq!(text(b"\0\x09\0S"), None);
        assert_eq!(plain_text(&mut Cursor(b"\0\x06M8000\0")), Some("M8000".into()));
        let said = |dividend, divisor| quotient(dividend, divisor).map(|number| number.to_string());
        assert_eq!(said(Decimal::new(81_915, -3), 16_383), Some("0.005".into()));
        assert_eq!(said(Decimal::new(-2, 0), 3), Some("-0.666666666666667".into()));
        assert_eq!(said(Decimal::new(2, 0), -3), Some("-0.666666666666667".into()));
        assert_eq!(said(Decimal::new(1, 0), 0), None);
    }
}
