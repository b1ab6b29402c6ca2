//! The device's clock: `hh:mm:ss` and `dd-MON-yy`, with the month in German or English and no zone.

use jiff::civil::DateTime;

use crate::device::Precision;
use crate::hl7v2::Time;

/// By their first three letters, as German and English devices write them.
const MONTHS: [&[&str]; 12] = [
    &["JAN"],
    &["FEB"],
    &["MAR", "MRZ", "MAE"],
    &["APR"],
    &["MAI", "MAY"],
    &["JUN"],
    &["JUL"],
    &["AUG"],
    &["SEP"],
    &["OKT", "OCT"],
    &["NOV"],
    &["DEZ", "DEC"],
];
/// Two digits from here on are of the last century: MEDIBUS began in 1993.
const CENTURY: i16 = 90;

/// `11:11:1911-NOV-93`; some devices put blanks between and some leave the seconds out.
pub(super) fn read(text: &str) -> Option<Time> {
    let (front, rest) = text.trim().split_once('-')?;
    let (month, year) = rest.split_once('-')?;
    let mut parts = front.splitn(3, ':').map(str::trim);
    let (hour, minute) = (parts.next()?, parts.next()?);
    let last = parts.next();
    let (minute, seconds_and_day) = match last {
        Some(last) => (minute, last),
        // Without seconds the day stands right behind the minutes.
        None => (minute.get(..2)?, minute.get(2..)?),
    };
    let (second, day) = match (last, seconds_and_day.split_once(' ')) {
        (Some(_), Some((second, day))) => (Some(second), day),
        (Some(_), None) if seconds_and_day.len() > 2 => (seconds_and_day.get(..2), seconds_and_day.get(2..)?),
        _ => (None, seconds_and_day),
    };
    let second = second.filter(|second| !second.is_empty());
    let month = month_of(month)?;
    let year: i16 = digits(year.trim())?;
    let year = match year {
        0..CENTURY => 2000 + year,
        CENTURY..100 => 1900 + year,
        year => year,
    };
    let seconds = second.map_or(Some(0), digits)?;
    let civil =
        DateTime::new(year, month, digits(day.trim())?, digits(hour)?, digits(minute)?, seconds, 0).ok()?;
    let precision = if second.is_some() { Precision::Second } else { Precision::Minute };
    Some(Time { civil, precision, offset_minutes: None })
}

fn month_of(text: &str) -> Option<i8> {
    let text = text.trim().to_ascii_uppercase();
    let found = MONTHS.iter().position(|names| names.contains(&text.as_str()))?;
    i8::try_from(found + 1).ok()
}

fn digits<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn german_and_english_months_with_and_without_blanks_are_read() {
        for (text, at) in [
            ("11:11:1911-NOV-93", "1993-11-11T11:11:19"),
            ("08:00:0014-MAR-26", "2026-03-14T08:00:00"),
            (" 8:05:09 14-MRZ-26", "2026-03-14T08:05:09"),
            ("23:59:59 01-OKT-2026", "2026-10-01T23:59:59"),
            ("23:59:5931-DEZ-25", "2025-12-31T23:59:59"),
            ("12:00:00 1-MAI-24", "2024-05-01T12:00:00"),
            ("12:00:00 1-dec-24", "2024-12-01T12:00:00"),
        ] {
            let time = read(text).unwrap();
            assert_eq!((time.civil.to_string(), time.precision), (at.into(), Precision::Second), "{text}");
            assert_eq!(time.offset_minutes, None, "a zone is never invented");
        }
    }

    #[test]
    fn without_seconds_the_time_is_of_the_minute() {
        for text in ["08:05: 14-MAR-26", "08:05 14-MAR-26", "08:0514-MAR-26"] {
            let time = read(text).unwrap();
            assert_eq!(time.civil.to_string(), "2026-03-14T08:05:00", "{text}");
            assert_eq!(time.precision, Precision::Minute, "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in
            ["", "--:--:------------", "25:00:0014-MAR-26", "08:00:0031-FEB-26", "08:00:0014-XXX-26", "8"]
        {
            assert!(read(text).is_none(), "{text}");
        }
    }
}
