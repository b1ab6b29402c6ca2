//! When it was measured, as FHIR writes it: with the device's own offset and no more precision than was stated.

use std::fmt::Write;

use crate::device::{ClockSource, Moment, Offset, Precision};
use crate::fhir::{Coding, Effective, Period};

use super::{Context, TAGS};

/// A device may run ahead of this box by this much before its time is called into question.
const AHEAD_MAX_MICROS: i64 = 5 * 60 * 1_000_000;
/// FHIR's pattern ends at ±14:00.
const OFFSET_MINUTES_MAX: i16 = 14 * 60;

/// `effective[x]`: a period when an end was stated that is not before the start (per-1), else one point in time.
/// `None` when the time lies outside the years FHIR can write.
pub(super) fn effective(taken: &Moment, until: Option<&Moment>) -> Option<Effective> {
    let start = date_time(taken)?;
    match until.filter(|until| until.micros >= taken.micros).and_then(date_time) {
        Some(end) => Some(Effective::Period(Period { start, end })),
        None => Some(Effective::DateTime(start)),
    }
}

/// A FHIR `dateTime`. A time of the day always has an offset and seconds (R4 2.24.0.1 asks for both).
pub(crate) fn date_time(moment: &Moment) -> Option<String> {
    let offset = if moment.offset_minutes.abs() <= OFFSET_MINUTES_MAX { moment.offset_minutes } else { 0 };
    let shown = moment.micros.checked_add(i64::from(offset) * 60_000_000)?;
    let at = jiff::tz::Offset::UTC.to_datetime(jiff::Timestamp::from_microsecond(shown).ok()?);
    if at.year() < 1 {
        return None;
    }
    let mut text = String::with_capacity(32);
    write!(text, "{:04}", at.year()).ok()?;
    if moment.precision >= Precision::Month {
        write!(text, "-{:02}", at.month()).ok()?;
    }
    if moment.precision >= Precision::Day {
        write!(text, "-{:02}", at.day()).ok()?;
    }
    if moment.precision >= Precision::Minute {
        let second = if moment.precision >= Precision::Second { at.second() } else { 0 };
        write!(text, "T{:02}:{:02}:{second:02}", at.hour(), at.minute()).ok()?;
        if moment.precision == Precision::Fraction {
            match (at.subsec_nanosecond() / 1_000) % 1_000 {
                0 => write!(text, ".{:03}", at.subsec_nanosecond() / 1_000_000).ok()?,
                _ => write!(text, ".{:06}", at.subsec_nanosecond() / 1_000).ok()?,
            }
        }
        let sign = if offset < 0 { '-' } else { '+' };
        write!(text, "{sign}{:02}:{:02}", offset.abs() / 60, offset.abs() % 60).ok()?;
    }
    Some(text)
}

/// What a reader must know of this time, as tags of the Observation: a zone or a clock that was not the device's own,
/// and a device whose clock runs ahead of a synchronised gateway.
pub(super) fn tags(taken: &Moment, context: &Context) -> Vec<Coding<'static>> {
    let tag = |code: &'static str, display: String| Coding {
        system: Some(TAGS.into()),
        code: Some(code.into()),
        display: Some(display.into()),
    };
    let mut tags = Vec::new();
    if taken.source == ClockSource::Receipt {
        // The instant is this gateway's own and certain; the zone is only how it is written.
        tags.push(tag(
            "time-of-receipt",
            "The device stated no time: this is when the gateway received it".into(),
        ));
        return tags;
    }
    if context.received.synchronised
        && taken.micros.saturating_sub(context.received.micros) > AHEAD_MAX_MICROS
    {
        tags.push(tag("clock-ahead", "The device's time lies after the gateway received it".into()));
    }
    if let (Offset::Assumed(zone), true) = (&taken.offset, taken.precision >= Precision::Minute) {
        tags.push(tag("zone-assumed", format!("The device stated no time zone: {zone} was assumed")));
    }
    tags
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(micros: i64, offset_minutes: i16, precision: Precision) -> Moment {
        Moment { micros, offset_minutes, precision, offset: Offset::Stated, source: ClockSource::Device }
    }

    #[test]
    fn a_time_keeps_its_offset_and_its_precision() {
        let micros = 1_714_552_496_120_000; // 2024-05-01T08:34:56.12Z
        for (offset, precision, expected) in [
            (120, Precision::Fraction, "2024-05-01T10:34:56.120+02:00"),
            (120, Precision::Second, "2024-05-01T10:34:56+02:00"),
            (120, Precision::Minute, "2024-05-01T10:34:00+02:00"),
            (-570, Precision::Second, "2024-04-30T23:04:56-09:30"),
            (-570, Precision::Day, "2024-04-30"),
            (0, Precision::Second, "2024-05-01T08:34:56+00:00"),
            (0, Precision::Month, "2024-05"),
            (0, Precision::Year, "2024"),
            (900, Precision::Second, "2024-05-01T08:34:56+00:00"),
        ] {
            assert_eq!(date_time(&moment(micros, offset, precision)).unwrap(), expected);
        }
        let fine = moment(1_714_552_496_120_001, 0, Precision::Fraction);
        assert_eq!(date_time(&fine).unwrap(), "2024-05-01T08:34:56.120001+00:00");
        let old = moment(-1, 0, Precision::Fraction);
        assert_eq!(date_time(&old).unwrap(), "1969-12-31T23:59:59.999999+00:00");
    }

    #[test]
    fn a_time_no_calendar_has_is_none() {
        for micros in [i64::MIN, i64::MAX, -70_000_000_000_000_000] {
            assert_eq!(date_time(&moment(micros, 60, Precision::Second)), None);
        }
    }

    #[test]
    fn a_period_never_ends_before_it_starts() {
        let (early, late) = (moment(0, 0, Precision::Second), moment(60_000_000, 0, Precision::Second));
        let Effective::Period(period) = effective(&early, Some(&late)).unwrap() else { panic!("no period") };
        assert_eq!(
            (period.start.as_str(), period.end.as_str()),
            ("1970-01-01T00:00:00+00:00", "1970-01-01T00:01:00+00:00")
        );
        assert!(matches!(effective(&late, Some(&early)).unwrap(), Effective::DateTime(_)));
    }
}
