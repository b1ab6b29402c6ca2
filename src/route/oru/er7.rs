//! Segments, fields and times as they are written: the usual separators, UTF-8.

use jiff::tz::Offset;

use crate::clock::Timestamp;
use crate::device::{LOINC, MDC, Moment, Precision, UCUM};
use crate::hl7v2::Writer;

/// A segment that is filled field by field.
pub(super) struct Segment {
    name: &'static str,
    fields: Vec<String>,
}

impl Segment {
    /// `name` may hold the first fields.
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, fields: Vec::new() }
    }

    /// Whether it is called so.
    pub(super) fn is(&self, name: &str) -> bool {
        self.name == name
    }

    /// Sets the field behind the `number`-th separator. In MSH that is field `number` + 1; its MSH-2 is in the name.
    pub(super) fn set(&mut self, number: usize, text: String) {
        let at = if self.name.contains('|') { number.saturating_sub(2) } else { number.saturating_sub(1) };
        if self.fields.len() <= at {
            self.fields.resize(at + 1, String::new());
        }
        if let Some(field) = self.fields.get_mut(at) {
            *field = text;
        }
    }

    /// The segment with its end; empty fields at its end are left out.
    pub(super) fn written(self) -> String {
        let name = std::iter::once(self.name.to_owned());
        Writer::default().segment(&name.chain(self.fields).collect::<Vec<_>>())
    }
}

/// A plain text as it stands in a field (HL7 2.5 §2.7).
pub(super) fn escaped(text: &str) -> String {
    Writer::default().text(text)
}

/// A CWE: code ^ text ^ system.
pub(super) fn coded(code: &str, text: &str, system: &str) -> String {
    Writer::default().components(&[code, text, system].map(escaped))
}

/// The name of a code system in HL7 table 0396; others stay as they came.
pub(super) fn system(uri: &str) -> String {
    match uri {
        LOINC => "LN".into(),
        MDC => "MDC".into(),
        UCUM => "UCUM".into(),
        "http://snomed.info/sct" => "SCT".into(),
        other => match other.strip_prefix("http://terminology.hl7.org/CodeSystem/v2-") {
            Some(table) => format!("HL7{table}"),
            None => other.into(),
        },
    }
}

/// A time of this box: `YYYYMMDDHHMMSS+0000`.
pub(super) fn utc(at: Timestamp) -> String {
    let mut digits: String = at.rfc3339().chars().filter(char::is_ascii_digit).collect();
    digits.truncate(14);
    digits + "+0000"
}

/// A time with its offset and no more precision than was stated.
pub(super) fn stamp(moment: &Moment) -> String {
    let Ok(at) = jiff::Timestamp::from_microsecond(moment.micros) else { return String::new() };
    let seconds = i32::from(moment.offset_minutes).saturating_mul(60);
    let offset = Offset::from_seconds(seconds).unwrap_or(Offset::UTC);
    let local = at.to_zoned(offset.to_time_zone());
    let (digits, zoned) = match moment.precision {
        Precision::Year => ("%Y", false),
        Precision::Month => ("%Y%m", false),
        Precision::Day => ("%Y%m%d", false),
        Precision::Minute => ("%Y%m%d%H%M", true),
        Precision::Second => ("%Y%m%d%H%M%S", true),
        Precision::Fraction => ("%Y%m%d%H%M%S%.3f", true),
    };
    let digits = local.strftime(digits).to_string();
    if zoned { format!("{digits}{}", local.strftime("%z")) } else { digits }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{ClockSource, Offset as Stated};
    use crate::hl7v2::parse_time;

    #[test]
    fn a_time_reads_back_as_it_was() {
        for text in [
            "2026",
            "202603",
            "20260314",
            "202603140815+0100",
            "20260314081530-0330",
            "20260314081530.250+0530",
        ] {
            let time = parse_time(text).unwrap();
            let moment = time.to_moment(&jiff::tz::TimeZone::UTC, "UTC").unwrap();
            assert_eq!(stamp(&moment), text);
        }
        let odd = Moment {
            micros: 0,
            offset_minutes: i16::MAX,
            precision: Precision::Second,
            offset: Stated::Stated,
            source: ClockSource::Device,
        };
        assert_eq!(stamp(&odd), "19700101000000+0000");
    }

    #[test]
    fn a_text_is_safe_in_a_field() {
        assert_eq!(escaped(" a|b^c&d~e\\f\r\ngh\u{e9} "), "a\\F\\b\\S\\c\\T\\d\\R\\e\\E\\f\\.br\\ghé");
        assert_eq!(coded("8867-4", "", &system(LOINC)), "8867-4^^LN");
        assert_eq!(system("http://terminology.hl7.org/CodeSystem/v2-0487"), "HL70487");
    }
}
