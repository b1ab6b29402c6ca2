//! When something was measured: the device's own time in its own format, else the time of receipt, told as such.

use std::sync::Arc;

use jiff::civil::DateTime;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;

use super::LinkContext;
use super::locate::Locator;
use crate::device::{ClockSource, Finding, Moment, Offset, Precision};
use crate::hl7v2::{self, Time};

/// A stamp further ahead of this box than this is a clock that is wrong: nothing is measured tomorrow.
const AHEAD_MAX_S: i64 = 24 * 3600;
/// Digital devices begin here; an earlier stamp is a clock that was never set.
const YEAR_MIN: i16 = 1990;

/// How a time is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TimeFormat {
    /// Seconds since 1970-01-01T00:00:00Z, with or without a fraction.
    EpochSeconds,
    EpochMilliseconds,
    /// ISO 8601 as RFC 3339 profiles it, with or without an offset.
    Rfc3339,
    /// `YYYYMMDDHHMMSS±ZZZZ`, as HL7 v2 and ASTM write it.
    Hl7,
    /// A pattern of strptime.
    Pattern(Box<str>),
}

impl TimeFormat {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        Ok(match text {
            "epoch-s" => Self::EpochSeconds,
            "epoch-ms" => Self::EpochMilliseconds,
            "rfc3339" => Self::Rfc3339,
            "hl7" => Self::Hl7,
            pattern if pattern.contains('%') => {
                // A pattern is tried once on its own print: a directive that cannot be read back is a fault.
                let sample = DateTime::constant(2026, 3, 14, 15, 9, 26, 0);
                let printed =
                    strtime::format(pattern, sample).map_err(|error| format!("`{pattern}`: {error}"))?;
                strtime::parse(pattern, &printed).map_err(|error| format!("`{pattern}`: {error}"))?;
                Self::Pattern(pattern.into())
            }
            other => {
                return Err(format!(
                    "`{other}` is no time format: use epoch-s, epoch-ms, rfc3339, hl7, or a pattern such as %d/%m/%Y %H:%M:%S"
                ));
            }
        })
    }

    fn read(&self, text: &str) -> Option<Time> {
        match self {
            Self::EpochSeconds => epoch(text, 1_000_000),
            Self::EpochMilliseconds => epoch(text, 1_000),
            Self::Hl7 => hl7v2::parse_time(text),
            Self::Rfc3339 => rfc3339(text),
            Self::Pattern(pattern) => patterned(pattern, text),
        }
    }
}

fn epoch(text: &str, micros_per_unit: i128) -> Option<Time> {
    let number: crate::device::Decimal = text.parse().ok()?;
    let scaled = number.times(crate::device::Decimal::new(micros_per_unit, 0))?.rounded(0);
    let micros = scaled.mantissa.checked_mul(10i128.checked_pow(u32::try_from(scaled.exponent).ok()?)?)?;
    let at = jiff::Timestamp::from_microsecond(i64::try_from(micros).ok()?).ok()?;
    let precision = if at.subsec_microsecond() == 0 { Precision::Second } else { Precision::Fraction };
    // An epoch is an instant, so its offset is known; it is shown in UTC.
    Some(Time { civil: TimeZone::UTC.to_datetime(at), precision, offset_minutes: Some(0) })
}

/// An instant in milliseconds since 1970-01-01T00:00:00Z.
pub(super) fn at_milliseconds(milliseconds: u64) -> Option<Time> {
    epoch(&milliseconds.to_string(), 1_000)
}

fn rfc3339(text: &str) -> Option<Time> {
    let precision = if text.contains('.') { Precision::Fraction } else { Precision::Second };
    let pieces = jiff::fmt::temporal::Pieces::parse(text).ok()?;
    let civil = pieces.date().to_datetime(pieces.time()?);
    let offset_minutes = match pieces.to_numeric_offset() {
        Some(offset) => Some(i16::try_from(offset.seconds() / 60).ok()?),
        None => None,
    };
    Some(Time { civil, precision, offset_minutes })
}

fn patterned(pattern: &str, text: &str) -> Option<Time> {
    let broken = strtime::parse(pattern, text).ok()?;
    let (civil, precision) = match broken.to_datetime() {
        Ok(civil) => {
            let precision = if broken.second().is_some() { Precision::Second } else { Precision::Minute };
            (civil, precision)
        }
        Err(_) => (broken.to_date().ok()?.to_datetime(jiff::civil::Time::midnight()), Precision::Day),
    };
    let offset_minutes = broken.offset().and_then(|offset| i16::try_from(offset.seconds() / 60).ok());
    Some(Time { civil, precision, offset_minutes })
}

/// `[time]`.
#[derive(Clone, Debug, Default)]
pub(super) struct TimeRules {
    /// Places to look at in this order; the parts of one are joined by a blank.
    pub(super) from: Vec<Vec<Locator>>,
    pub(super) formats: Vec<TimeFormat>,
    /// The zone the device's clock is set to, when it is not the link's.
    pub(super) zone: Option<(TimeZone, Arc<str>)>,
    /// Beyond this difference to the receipt the device's clock is not believed.
    pub(super) max_skew_s: Option<i64>,
}

impl TimeRules {
    /// The moment a text says, or the receipt with a finding that says why.
    pub(super) fn moment(
        &self,
        text: &str,
        place: &str,
        context: &LinkContext,
        findings: &mut Vec<Finding>,
    ) -> Moment {
        let text = text.trim();
        if text.is_empty() {
            return self.receipt(
                "no-time",
                place,
                "The device said no time; the time of receipt is taken.",
                context,
                findings,
            );
        }
        match self.formats.iter().find_map(|format| format.read(text)) {
            Some(time) => self.believed(&time, &|| place.to_owned(), context, findings),
            None => self.receipt(
                "bad-time",
                place,
                "The time is not in a format of the profile; the time of receipt is taken.",
                context,
                findings,
            ),
        }
    }

    /// A time as it was said, believed or not; `None` when no calendar has it.
    pub(super) fn stated(&self, time: &Time, context: &LinkContext) -> Option<Moment> {
        let (zone, name) = self.zone_of(context);
        time.to_moment(zone, name).filter(|_| time.civil.year() >= YEAR_MIN)
    }

    fn zone_of<'a>(&'a self, context: &'a LinkContext) -> (&'a TimeZone, &'a Arc<str>) {
        match &self.zone {
            Some((zone, name)) => (zone, name),
            None => (&context.zone, &context.zone_name),
        }
    }

    /// Checks a time against the clock of this box.
    pub(super) fn believed(
        &self,
        time: &Time,
        place: &dyn Fn() -> String,
        context: &LinkContext,
        findings: &mut Vec<Finding>,
    ) -> Moment {
        let (zone, name) = self.zone_of(context);
        let Some(moment) = self.stated(time, context) else {
            return self.receipt(
                "impossible-time",
                &place(),
                "The time cannot be; the time of receipt is taken.",
                context,
                findings,
            );
        };
        let ahead_s = (moment.micros - context.received.micros) / 1_000_000;
        // A box that does not know the time itself judges nobody.
        if context.received.synchronised {
            if ahead_s > AHEAD_MAX_S {
                return self.receipt(
                    "future-time",
                    &place(),
                    "The time lies in the future; the time of receipt is taken.",
                    context,
                    findings,
                );
            }
            if self.max_skew_s.is_some_and(|max| ahead_s.abs() > max) {
                let text = "The device's clock is further off than the profile allows; the time of receipt is taken.";
                return self.receipt("clock-skew", &place(), text, context, findings);
            }
        }
        if time.offset_minutes.is_none() {
            let once = |finding: &Finding| finding.code == "no-zone";
            if !findings.iter().any(once) {
                findings.push(super::finding(
                    "no-zone",
                    place(),
                    format!("The time has no zone; {name} is taken."),
                ));
            }
            if time.is_ambiguous(zone) {
                findings.push(super::finding(
                    "ambiguous-time",
                    place(),
                    "The clock change makes this time unclear; the first is taken.",
                ));
            }
        }
        moment
    }

    pub(super) fn receipt(
        &self,
        code: &'static str,
        place: &str,
        text: &str,
        context: &LinkContext,
        findings: &mut Vec<Finding>,
    ) -> Moment {
        if !findings.iter().any(|finding| finding.code == code && finding.place == place) {
            findings.push(super::finding(code, place, text));
        }
        received(context)
    }
}

/// The time of receipt, shown in the zone of the link.
pub(crate) fn received(context: &LinkContext) -> Moment {
    let offset = jiff::Timestamp::from_microsecond(context.received.micros)
        .map_or(0, |at| context.zone.to_offset(at).seconds().div_euclid(60));
    Moment {
        micros: context.received.micros,
        offset_minutes: i16::try_from(offset).unwrap_or(0),
        precision: Precision::Fraction,
        offset: Offset::Assumed(Arc::clone(&context.zone_name)),
        source: ClockSource::Receipt,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    fn context(received: &str) -> LinkContext {
        let at: jiff::Timestamp = received.parse().unwrap();
        LinkContext::new("test", "Asia/Bangkok", Timestamp::from_micros(at.as_microsecond(), true)).unwrap()
    }

    fn rules(formats: &[&str]) -> TimeRules {
        let formats = formats.iter().map(|f| TimeFormat::parse(f).unwrap()).collect();
        TimeRules { formats, ..TimeRules::default() }
    }

    fn read(rules: &TimeRules, text: &str) -> (String, Vec<&'static str>) {
        let mut findings = Vec::new();
        let moment = rules.moment(text, "TIME", &context("2026-03-14T08:10:00Z"), &mut findings);
        let at = jiff::Timestamp::from_microsecond(moment.micros).unwrap();
        (format!("{at} {}", moment.offset_minutes), findings.into_iter().map(|f| f.code).collect())
    }

    #[test]
    fn each_format_is_read_with_its_offset() {
        let all = rules(&["epoch-s", "rfc3339", "hl7", "%d/%m/%Y %H:%M:%S", "%m-%d-%y %H:%M"]);
        for (text, at, findings) in [
            ("1773475200", "2026-03-14T08:00:00Z 0", vec![]),
            ("1773475200.5", "2026-03-14T08:00:00.5Z 0", vec![]),
            ("2026-03-14T15:00:00+07:00", "2026-03-14T08:00:00Z 420", vec![]),
            ("2026-03-14T15:00:00", "2026-03-14T08:00:00Z 420", vec!["no-zone"]),
            ("20260314100000+0200", "2026-03-14T08:00:00Z 120", vec![]),
            ("14/03/2026 15:00:00", "2026-03-14T08:00:00Z 420", vec!["no-zone"]),
            ("03-14-26 15:00", "2026-03-14T08:00:00Z 420", vec!["no-zone"]),
        ] {
            assert_eq!(read(&all, text), (at.into(), findings), "{text}");
        }
        let (at, _) = read(&rules(&["epoch-ms"]), "1773475200250");
        assert_eq!(at, "2026-03-14T08:00:00.25Z 0");
    }

    #[test]
    fn a_time_that_cannot_be_is_replaced_by_the_receipt_and_told() {
        let all = rules(&["epoch-s", "%d/%m/%Y %H:%M:%S"]);
        for (text, finding) in [
            ("", "no-time"),
            ("yesterday", "bad-time"),
            ("31/02/2026 10:00:00", "bad-time"),
            ("1836942771", "future-time"),
            ("0", "impossible-time"),
            ("99999999999999999999", "bad-time"),
        ] {
            let (at, findings) = read(&all, text);
            assert_eq!((at.as_str(), findings), ("2026-03-14T08:10:00Z 420", vec![finding]), "{text}");
        }
    }

    #[test]
    fn a_clock_that_is_off_is_believed_only_within_the_skew_of_the_profile() {
        let mut all = rules(&["epoch-s"]);
        assert_eq!(read(&all, "1773388800").1, Vec::<&str>::new());
        all.max_skew_s = Some(3600);
        assert_eq!(read(&all, "1773388800"), ("2026-03-14T08:10:00Z 420".into(), vec!["clock-skew"]));
    }

    #[test]
    fn a_format_that_cannot_be_read_is_a_fault() {
        for format in ["iso", "%Q", "%d/%m"] {
            // A pattern without a year can be printed and read, but never gives a time.
            if let Ok(format) = TimeFormat::parse(format) {
                assert_eq!(format.read("14/03"), None);
            }
        }
        assert!(TimeFormat::parse("iso").unwrap_err().contains("%d/%m/%Y"));
    }
}
