//! Who and where: persons, birth dates, sexes and places as devices write them.

use std::sync::Arc;

use super::finding;
use super::flat::{Fields, first};
use super::locate::Locator;
use super::schema::Subject;
use crate::device::{Finding, Identifier, Person, Place};

/// The issuer of an identifier that names none.
pub(super) const NO_AUTHORITY: &str = "urn:bedside:authority:unstated";

pub(super) fn from_fields(
    subject: &Subject,
    fields: &impl Fields,
    findings: &mut Vec<Finding>,
) -> Option<Person> {
    let said = |at: &[Locator]| first(fields, at).map(|text| Arc::<str>::from(text.trim()));
    let identifier = said(&subject.id).filter(|id| !names_nobody(subject, id, findings));
    let person = Person {
        identifiers: identifier
            .map(|value| Identifier {
                system: subject.system.clone().unwrap_or_else(|| NO_AUTHORITY.into()),
                value,
                kind: subject.kind.clone(),
            })
            .into_iter()
            .collect(),
        family: said(&subject.family),
        given: said(&subject.given).into_iter().collect(),
        birth_date: said(&subject.birth_date).and_then(|text| birth_date(&text, findings)),
        gender: said(&subject.gender).and_then(|text| gender(&text)).map(Into::into),
    };
    // A birth date or a sex alone names nobody.
    (!person.identifiers.is_empty() || person.family.is_some() || !person.given.is_empty()).then_some(person)
}

pub(super) fn place(subject: &Subject, fields: &impl Fields) -> Option<Place> {
    let said = |at: &[Locator]| first(fields, at).map(|text| Arc::<str>::from(text.trim()));
    let [point_of_care, room, bed, facility] = &subject.place;
    let place = Place {
        point_of_care: said(point_of_care),
        room: said(room),
        bed: said(bed),
        facility: said(facility),
    };
    (place != Place::default()).then_some(place)
}

/// Whether an identifier is only a filler: zeros, dashes, a word for nobody, or what the profile lists. Two people
/// with the same filler are not one person.
pub(super) fn names_nobody(subject: &Subject, id: &str, findings: &mut Vec<Finding>) -> bool {
    let filler = is_filler(id);
    let nobody = filler || subject.unknown.iter().any(|unknown| unknown == id);
    if nobody {
        findings.push(finding(
            "filler-id",
            "person",
            "The patient identifier is only a filler; it names nobody.",
        ));
    }
    nobody
}

/// Whether an identifier is zeros, dashes or a word for nobody.
pub fn is_filler(id: &str) -> bool {
    const WORDS: [&str; 8] = ["unknown", "none", "n/a", "na", "null", "nil", "anonymous", "test"];
    id.chars().all(|c| "0-?*.xX_ ".contains(c)) || WORDS.iter().any(|word| id.eq_ignore_ascii_case(word))
}

/// `YYYY[MM[DD…]]` or `YYYY-MM-DD` → FHIR date. Years of the Thai calendar are counted back, and that is told.
pub fn birth_date(text: &str, findings: &mut Vec<Finding>) -> Option<Arc<str>> {
    let digits: String =
        text.chars().take_while(|c| c.is_ascii_digit() || *c == '-').filter(|c| *c != '-').collect();
    let part = |from: usize, to: usize| digits.get(from..to).and_then(|part| part.parse::<i16>().ok());
    let mut year = part(0, 4)?;
    if year >= 2400 {
        // Buddhist Era = Gregorian + 543 (Thai calendar).
        year -= 543;
        findings.push(finding(
            "buddhist-year",
            "birth date",
            "The birth year is of the Thai calendar; 543 is taken off.",
        ));
    }
    let month = part(4, 6).and_then(|month| i8::try_from(month).ok()).filter(|month| *month > 0);
    let day = part(6, 8).and_then(|day| i8::try_from(day).ok()).filter(|day| *day > 0);
    let date = match (month, day) {
        (Some(month), Some(day)) => {
            jiff::civil::Date::new(year, month, day).ok().map(|date| date.to_string())
        }
        (Some(month @ 1..=12), None) => Some(format!("{year:04}-{month:02}")),
        (None, _) if year > 0 => Some(format!("{year:04}")),
        _ => None,
    };
    if date.is_none() {
        findings.push(finding("bad-birth-date", "birth date", "The birth date cannot be; it is left out."));
    }
    date.map(Into::into)
}

/// HL7 table 0001, ISO/IEC 5218 and words → FHIR administrative gender.
pub fn gender(text: &str) -> Option<&'static str> {
    Some(match text.trim().to_ascii_lowercase().as_str() {
        "m" | "male" | "1" => "male",
        "f" | "female" | "2" => "female",
        "o" | "other" | "a" | "9" => "other",
        "u" | "unknown" | "n" | "0" => "unknown",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn birth_dates_are_read_as_far_as_they_were_said() {
        let read = |text: &str| {
            let mut findings = Vec::new();
            let date = birth_date(text, &mut findings);
            (date.as_deref().map(str::to_owned), findings.first().map(|f| f.code))
        };
        assert_eq!(read("19770404"), (Some("1977-04-04".into()), None));
        assert_eq!(read("197704"), (Some("1977-04".into()), None));
        assert_eq!(read("1977"), (Some("1977".into()), None));
        assert_eq!(read("1977-04-04"), (Some("1977-04-04".into()), None));
        assert_eq!(read("19770404101500+0100"), (Some("1977-04-04".into()), None));
        assert_eq!(read("25220713"), (Some("1979-07-13".into()), Some("buddhist-year")));
        assert_eq!(read("19770231"), (None, Some("bad-birth-date")));
        assert_eq!(read("unknown"), (None, None));
    }

    #[test]
    fn a_filler_names_nobody() {
        let subject = Subject { unknown: vec!["9999".into()], ..Subject::default() };
        for id in ["0", "0000000000000", "---", "Unknown", "9999", "XXXX", "N/A"] {
            let mut findings = Vec::new();
            assert!(names_nobody(&subject, id, &mut findings), "{id}");
            assert_eq!(findings.len(), 1);
        }
        for id in ["100", "MRN-0", "0-1", "X1"] {
            assert!(!names_nobody(&subject, id, &mut Vec::new()), "{id}");
        }
    }

    #[test]
    fn sexes_are_read_from_codes_and_words() {
        assert_eq!(
            ["M", "female", "1", "U", "x"].map(gender),
            [Some("male"), Some("female"), Some("male"), Some("unknown"), None]
        );
    }
}
