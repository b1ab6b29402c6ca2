//! Dates and times (2.5 §2.A.22 DTM, §2.A.77 TS): read with the precision and the zone that were written.

use std::sync::Arc;

use jiff::civil::DateTime;
use jiff::tz::{Offset as Zone, TimeZone};

use crate::device::{ClockSource, Moment, Offset, Precision};

/// A time as a device wrote it: what was not written is at its lowest and named by `precision`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time {
    /// Wall time, without a zone.
    pub civil: DateTime,
    pub precision: Precision,
    /// Minutes east of UTC, only when the device wrote them. A zone is never invented.
    pub offset_minutes: Option<i16>,
}

/// Reads `YYYY[MM[DD[HH[MM[SS[.S…]]]]]][±ZZZZ]`. Also read, because devices write it: a blank before the zone,
/// `Z`, `±ZZ:ZZ`, `±ZZ`, and 17 digits with the milliseconds glued on. `None` for anything else, and for days
/// that do not exist. A leap second is taken as second 59.
pub fn parse_time(text: &str) -> Option<Time> {
    let text = text.trim();
    let (wall, zone) = split_zone(text);
    let offset_minutes = match zone {
        Some(zone) => Some(offset(zone)?),
        None => None,
    };
    let (digits, fraction) = match wall.trim_end().split_once('.') {
        Some((digits, fraction)) => (digits, Some(fraction)),
        None if wall.trim_end().len() == 17 => {
            let (digits, glued) = wall.split_at_checked(14)?;
            (digits, Some(glued.trim_end()))
        }
        None => (wall.trim_end(), None),
    };
    if !digits.bytes().all(|b| b.is_ascii_digit()) || (fraction.is_some() && digits.len() != 14) {
        return None;
    }
    let nanos = match fraction {
        Some(fraction) => Some(nanoseconds(fraction)?),
        None => None,
    };
    let part = |from: usize, to: usize, absent: i8| match digits.get(from..to) {
        Some(part) => part.parse().ok(),
        None => Some(absent),
    };
    let precision = match digits.len() {
        4 => Precision::Year,
        6 => Precision::Month,
        8 => Precision::Day,
        10 | 12 => Precision::Minute,
        14 if nanos.is_some() => Precision::Fraction,
        14 => Precision::Second,
        _ => return None,
    };
    let year = digits.get(..4)?.parse().ok().filter(|year| *year > 0)?;
    let second = part(12, 14, 0)?;
    let second = if second == 60 { 59 } else { second };
    let civil = DateTime::new(
        year,
        part(4, 6, 1)?,
        part(6, 8, 1)?,
        part(8, 10, 0)?,
        part(10, 12, 0)?,
        second,
        nanos.unwrap_or(0),
    );
    Some(Time { civil: civil.ok()?, precision, offset_minutes })
}

fn split_zone(text: &str) -> (&str, Option<&str>) {
    match text.find(['+', '-', 'Z']) {
        Some(at) => (text.get(..at).unwrap_or_default(), text.get(at..)),
        None => (text, None),
    }
}

/// `+0530`, `-03`, `+05:30`, `Z` → minutes.
fn offset(zone: &str) -> Option<i16> {
    if zone == "Z" {
        return Some(0);
    }
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let digits = zone.get(1..)?;
    let (hours, minutes) = match digits.len() {
        2 => (digits, "00"),
        4 => digits.split_at_checked(2)?,
        5 => digits.split_once(':')?,
        _ => return None,
    };
    if !hours.bytes().chain(minutes.bytes()).all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes): (i16, i16) = (hours.parse().ok()?, minutes.parse().ok()?);
    // Zones in use lie between -12:00 and +14:00 (IANA); more is a mistake, not a place.
    let total = hours * 60 + minutes;
    (minutes < 60 && total <= 14 * 60).then_some(sign * total)
}

fn nanoseconds(fraction: &str) -> Option<i32> {
    if fraction.is_empty() || fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    format!("{fraction:0<9}").parse().ok()
}

impl Time {
    /// The instant. A stated offset is used as it is; else the wall time is taken in `zone`, the IANA zone of
    /// the link, which the moment then names. `None` beyond the years jiff can count.
    pub fn to_moment(&self, zone: &TimeZone, zone_name: &str) -> Option<Moment> {
        let stated = self.offset_minutes.map(|minutes| i32::from(minutes) * 60);
        let (zone, offset) = match stated {
            Some(seconds) => (Zone::from_seconds(seconds).ok()?.to_time_zone(), Offset::Stated),
            None => (zone.clone(), Offset::Assumed(Arc::from(zone_name))),
        };
        let zoned = zone.to_ambiguous_zoned(self.civil).compatible().ok()?;
        Some(Moment {
            micros: zoned.timestamp().as_microsecond(),
            offset_minutes: i16::try_from(zoned.offset().seconds().div_euclid(60)).ok()?,
            precision: self.precision,
            offset,
            source: ClockSource::Device,
        })
    }

    /// Without a stated offset, whether this wall time happens twice or not at all in `zone` (a clock change).
    pub fn is_ambiguous(&self, zone: &TimeZone) -> bool {
        self.offset_minutes.is_none() && zone.to_ambiguous_timestamp(self.civil).is_ambiguous()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_written_precision_is_read_and_kept() {
        for (text, civil, precision) in [
            ("2026", "2026-01-01T00:00:00", Precision::Year),
            ("202609", "2026-09-01T00:00:00", Precision::Month),
            ("20260912", "2026-09-12T00:00:00", Precision::Day),
            ("2026091207", "2026-09-12T07:00:00", Precision::Minute),
            ("202609120730", "2026-09-12T07:30:00", Precision::Minute),
            ("20260912073059", "2026-09-12T07:30:59", Precision::Second),
            ("20260912073059.1", "2026-09-12T07:30:59.1", Precision::Fraction),
            ("20260912073059.1234", "2026-09-12T07:30:59.1234", Precision::Fraction),
            ("20260912073059123", "2026-09-12T07:30:59.123", Precision::Fraction),
            (" 20260912073060 ", "2026-09-12T07:30:59", Precision::Second),
        ] {
            let time = parse_time(text).unwrap();
            assert_eq!(time.civil, civil.parse().unwrap(), "{text}");
            assert_eq!((time.precision, time.offset_minutes), (precision, None), "{text}");
        }
    }

    #[test]
    fn every_written_zone_is_read_and_none_is_invented() {
        for (text, minutes) in [
            ("20260912120000.0000+0530", 330),
            ("20260912120000 -0300", -180),
            ("202609121200+0545", 345),
            ("20260912120000123+0100", 60),
            ("20260912120000Z", 0),
            ("20260912120000+05:30", 330),
            ("20260912120000-0000", 0),
            ("20260912-03", -180),
            ("2026+1400", 840),
        ] {
            assert_eq!(parse_time(text).unwrap().offset_minutes, Some(minutes), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_time_is_not_read() {
        for text in [
            "",
            " ",
            "\"\"",
            "0",
            "202",
            "20261",
            "20260230",
            "20261301",
            "00000000",
            "2026091224",
            "202609126x",
            "20260912073061",
            "20260912073059.",
            "20260912073059.1234567890",
            "202609.5",
            "2026-09-12",
            "+0100",
            "20260912120000+0560",
            "20260912120000+1500",
            "20260912120000+1",
            "20260912120000++100",
            "20260912120000+01x0",
            "٢٠٢٦",
            "202609120730591",
            "20260912T073059",
            "2026091207305912é",
        ] {
            assert_eq!(parse_time(text), None, "{text}");
        }
    }

    #[test]
    fn a_stated_offset_wins_and_a_missing_one_takes_the_zone_of_the_link() {
        let kolkata = TimeZone::get("Asia/Kolkata").unwrap();
        let stated = parse_time("20260912120000+0100").unwrap().to_moment(&kolkata, "Asia/Kolkata").unwrap();
        assert_eq!((stated.micros, stated.offset_minutes), (1_789_210_800_000_000, 60));
        assert_eq!(stated.offset, Offset::Stated);
        let assumed = parse_time("20260912120000").unwrap().to_moment(&kolkata, "Asia/Kolkata").unwrap();
        assert_eq!((assumed.micros, assumed.offset_minutes), (1_789_194_600_000_000, 330));
        assert_eq!(assumed.offset, Offset::Assumed("Asia/Kolkata".into()));
    }

    #[test]
    fn the_hour_that_comes_twice_is_told() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        assert!(parse_time("20261025023000").unwrap().is_ambiguous(&berlin));
        assert!(!parse_time("20261025023000+0100").unwrap().is_ambiguous(&berlin));
        assert!(!parse_time("20261025043000").unwrap().is_ambiguous(&berlin));
    }
}
