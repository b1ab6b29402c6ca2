//! The objects of an agent, as its configuration tells them, and the values their attributes hold.

use jiff::civil::DateTime;

use crate::device::{AbsentReason, Decimal, MeasurementStatus};
use crate::hl7v2::Time;
use crate::wire::ieee11073::apdu::Octets;

pub(super) const CLASS_ENUMERATION: u16 = 5;
pub(super) const CLASS_NUMERIC: u16 = 6;
pub(super) const CLASS_SAMPLES: u16 = 9;

/// More objects than any agent has.
const OBJECTS_MAX: usize = 512;

/// An attribute map: attribute ids with the octets of each, in order.
pub(super) type ValueMap = Vec<(u16, usize)>;

/// A metric object or a scanner.
#[derive(Clone, Debug, Default)]
pub(super) struct Object {
    pub(super) class: u16,
    pub(super) handle: u16,
    pub(super) attributes: Vec<(u16, Vec<u8>)>,
}

impl Object {
    /// The value of an attribute told last.
    pub(super) fn attribute(&self, id: u16) -> Option<&[u8]> {
        self.attributes.iter().rev().find(|(known, _)| *known == id).map(|(_, value)| value.as_slice())
    }

    pub(super) fn word(&self, id: u16) -> Option<u16> {
        Octets(self.attribute(id)?).u16()
    }

    /// Type: partition and code as one context-free code.
    pub(super) fn kind(&self) -> Option<u32> {
        // MDC_ATTR_ID_TYPE
        let mut octets = Octets(self.attribute(2351)?);
        Some((u32::from(octets.u16()?) << 16) | u32::from(octets.u16()?))
    }

    /// Attribute-Value-Map.
    pub(super) fn map(&self) -> Option<ValueMap> {
        value_map(&mut Octets(self.attribute(2645)?))
    }
}

/// All objects, by handle.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    objects: Vec<Object>,
}

impl Model {
    /// Takes the objects of a ConfigObjectList; one that is told again replaces itself.
    pub(super) fn objects(&mut self, list: &[u8]) {
        let Some((_, mut octets)) = Octets(list).sequence() else { return };
        while let (Some(class), Some(handle)) = (octets.u16(), octets.u16()) {
            let attributes = attributes(&mut octets).into_iter().map(|(id, value)| (id, value.to_vec()));
            let object = Object { class, handle, attributes: attributes.collect() };
            self.objects.retain(|known| known.handle != handle);
            if self.objects.len() < OBJECTS_MAX {
                self.objects.push(object);
            }
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    pub(super) fn object(&self, handle: u16) -> Option<&Object> {
        self.objects.iter().find(|object| object.handle == handle)
    }

    /// Scan-Handle-Attr-Val-Map of a scanner: which attributes of which objects its groups hold.
    pub(super) fn groups(&self, scanner: u16) -> Option<Vec<(u16, ValueMap)>> {
        let mut octets = Octets(self.object(scanner)?.attribute(2643)?);
        let (_, mut entries) = octets.sequence()?;
        let mut groups = Vec::new();
        while let Some(handle) = entries.u16() {
            groups.push((handle, value_map(&mut entries)?));
        }
        Some(groups)
    }
}

/// AttributeList: ids and values, as far as they are whole.
pub(super) fn attributes<'a>(octets: &mut Octets<'a>) -> Vec<(u16, &'a [u8])> {
    let mut list = Vec::new();
    let Some((_, mut entries)) = octets.sequence() else { return list };
    while let (Some(id), Some(value)) = (entries.u16(), entries.counted()) {
        list.push((id, value));
    }
    list
}

fn value_map(octets: &mut Octets<'_>) -> Option<ValueMap> {
    let (_, mut entries) = octets.sequence()?;
    let mut map = Vec::new();
    while let (Some(id), Some(length)) = (entries.u16(), entries.u16()) {
        map.push((id, usize::from(length)));
    }
    Some(map)
}

/// FLOAT-Type: exponent in 8 bits, mantissa in 24 (Annex F.7).
pub(super) fn float(raw: u32) -> Result<Decimal, AbsentReason> {
    let [exponent, mantissa @ ..] = raw.to_be_bytes();
    let [a, b, c] = mantissa;
    special(
        u32::from_be_bytes([0, a, b, c]),
        [0x007F_FFFF, 0x0080_0000, 0x007F_FFFE, 0x0080_0002, 0x0080_0001],
    )?;
    // The sign of the mantissa fills the octet above it.
    let fill = if a & 0x80 == 0 { 0 } else { 0xFF };
    let mantissa = i32::from_be_bytes([fill, a, b, c]);
    Ok(Decimal::new(i128::from(mantissa), i16::from(exponent.cast_signed())))
}

/// SFLOAT-Type: exponent in 4 bits, mantissa in 12 (Annex F.8).
pub(super) fn sfloat(raw: u16) -> Result<Decimal, AbsentReason> {
    special(u32::from(raw & 0x0FFF), [0x07FF, 0x0800, 0x07FE, 0x0802, 0x0801])?;
    let exponent = i16::try_from(raw >> 12).map_or(0, |bits| if bits > 7 { bits - 16 } else { bits });
    let mantissa = i32::from(raw & 0x0FFF);
    let mantissa = if mantissa > 0x07FF { mantissa - 0x1000 } else { mantissa };
    Ok(Decimal::new(i128::from(mantissa), exponent))
}

/// Mantissas that are no number: NaN, NRes, +INFINITY, −INFINITY, reserved.
fn special(mantissa: u32, marks: [u32; 5]) -> Result<(), AbsentReason> {
    let [nan, not_at_this_resolution, plus, minus, reserved] = marks;
    Err(match mantissa {
        mark if mark == nan || mark == not_at_this_resolution => AbsentReason::NotANumber,
        mark if mark == plus => AbsentReason::PositiveInfinity,
        mark if mark == minus => AbsentReason::NegativeInfinity,
        mark if mark == reserved => AbsentReason::Error,
        _ => return Ok(()),
    })
}

/// MeasurementStatus (§A.3.6).
pub(super) const fn status(bits: u16) -> MeasurementStatus {
    MeasurementStatus {
        invalid: bits & 0x8000 != 0,
        questionable: bits & 0x4000 != 0,
        not_available: bits & 0x2000 != 0,
        calibration_ongoing: bits & 0x1000 != 0,
        test_data: bits & 0x0800 != 0,
        demo_data: bits & 0x0400 != 0,
        validated: bits & 0x0080 != 0,
        early_indication: bits & 0x0040 != 0,
        msmt_ongoing: bits & 0x0020 != 0,
        off: false,
        in_alarm: false,
        alarm_inhibited: false,
    }
}

/// AbsoluteTime: century, year, month, day, hour, minute, second, 1/100 s, each two BCD digits.
pub(super) fn bcd_time(octets: &[u8; 8]) -> Option<Time> {
    let digits = |octet: u8| {
        let (high, low) = (octet >> 4, octet & 0x0F);
        (high < 10 && low < 10).then(|| i16::from(high) * 10 + i16::from(low))
    };
    let mut numbers = [0i16; 8];
    for (number, octet) in numbers.iter_mut().zip(octets) {
        *number = digits(*octet)?;
    }
    let [century, year, month, day, hour, minute, second, hundredths] = numbers;
    let small = |number: i16| i8::try_from(number).ok();
    let civil = DateTime::new(
        century * 100 + year,
        small(month)?,
        small(day)?,
        small(hour)?,
        small(minute)?,
        small(second)?,
        i32::from(hundredths) * 10_000_000,
    );
    civil.ok().map(|civil| super::civil(civil, hundredths != 0))
}

/// BaseOffsetTime: seconds since 1900-01-01 UTC, 1/65536 s, and the offset in minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BaseOffset {
    pub(super) micros: i64,
    pub(super) offset_minutes: i16,
}

pub(super) fn base_offset(mut octets: Octets<'_>) -> Option<BaseOffset> {
    /// Seconds from 1900-01-01 to 1970-01-01.
    const TO_UNIX: i64 = 2_208_988_800;
    let (seconds, fraction, offset) = (octets.u32()?, octets.u16()?, octets.u16()?);
    let micros = (i64::from(seconds) - TO_UNIX) * 1_000_000 + i64::from(fraction) * 1_000_000 / 65_536;
    Some(BaseOffset { micros, offset_minutes: offset.cast_signed() })
}
