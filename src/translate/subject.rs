//! Whose result it is: the Patient a frame names or a link is bound to, and the Specimen of a laboratory result.
//!
//! A Patient is known by one identifier and holds what the frame said, nothing else. Two identifiers are never taken for
//! one person, and a number without an issuer counts only within its gateway unless the site's issuer is configured.

use std::borrow::Cow;

use crate::device::{Domain, Identifier, Measurement, MetricClass, Person, Report};
use crate::fhir::{self, CodeableConcept, Coding, HumanName, Reference, Resource};
use crate::identity::{Attribution, has_issuer, same_identifier};
use crate::sabotage::{Sabotage, commits};

use super::list::{List, key};
use super::{Context, Gateway, Held, QualityControl, Unidentified, clean};

const IDENTIFIER_TYPE: &str = "http://terminology.hl7.org/CodeSystem/v2-0203";

/// The patient of a report, by the identifier that stands for the person.
#[derive(Clone, Debug)]
pub(super) struct Subject<'a> {
    /// System and value.
    pub(super) identifier: (Cow<'a, str>, Cow<'a, str>),
    /// The id of the Patient resource.
    pub(super) id: String,
    /// All that the frame says of the person; `None` when only the link knows whom it is bound to.
    person: Option<&'a Person>,
}

impl<'a> Subject<'a> {
    fn new(raw: &'a Identifier, person: Option<&'a Person>, context: &Context<'a>) -> Option<Self> {
        let mut identifier = identifier(raw, context)?;
        if commits(Sabotage::WrongPatient) && identifier.1.ends_with('1') {
            let other = identifier.1.replace('1', "2");
            identifier.1 = other.into();
        }
        Some(Self { id: fhir::id("Patient", &identifier.0, &identifier.1), identifier, person })
    }
}

/// Who a measurement is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    Patient,
    /// Nobody's: a setting of the device, a quality control, or a result delivered without a patient on purpose.
    Device,
    /// The person is found through the specimen's number upstream.
    Specimen,
}

/// The patient of `report`, or the reason why it cannot be told.
pub(super) fn find<'a>(
    report: &'a Report,
    attribution: Option<&'a Attribution>,
    context: &Context<'a>,
) -> Result<Option<Subject<'a>>, Held> {
    match attribution {
        None => stated(report, context),
        Some(Attribution::Matched { whom, .. }) => Ok(whom.person().and_then(|person| {
            let own = chosen(&person.identifiers)?;
            Subject::new(own, Some(&**person), context)
        })),
        Some(Attribution::Orphan) => Ok(None),
        Some(Attribution::Conflict { why }) => Err(Held::Conflict { why: why.clone() }),
        Some(Attribution::Review { why }) => Err(Held::Review { why: why.clone() }),
    }
}

/// The patient as the frame and the link alone say it.
fn stated<'a>(report: &'a Report, context: &Context<'a>) -> Result<Option<Subject<'a>>, Held> {
    let person = report.person.as_ref();
    let named = person.and_then(|person| chosen(&person.identifiers));
    match (named, context.bound_patient) {
        (Some(_), Some(bound))
            if !person.is_some_and(|p| p.identifiers.iter().any(|own| same_identifier(own, bound))) =>
        {
            Err(Held::OtherPatient { link: context.link.into() })
        }
        (Some(own), _) => Ok(Subject::new(own, person, context)),
        // A name without a number may be somebody else's: only the binding speaks.
        (None, Some(bound)) => Ok(Subject::new(bound, None, context)),
        (None, None) => Ok(None),
    }
}

/// Who `measurement` is about, or why it must wait.
pub(super) fn about(
    measurement: &Measurement,
    report: &Report,
    subject: Option<&Subject>,
    context: &Context,
) -> Result<About, Held> {
    if measurement.metric.class == MetricClass::QualityControl {
        return match context.quality_control {
            QualityControl::Hold => Err(Held::QualityControl),
            QualityControl::Deliver => Ok(About::Device),
        };
    }
    if subject.is_some() {
        return Ok(About::Patient);
    }
    match measurement.metric.domain {
        Domain::Device => Ok(About::Device),
        Domain::Laboratory if accession(report).is_some() => Ok(About::Specimen),
        Domain::VitalSigns | Domain::Laboratory => match context.unidentified {
            Unidentified::Hold => Err(Held::NoPatient { link: context.link.into() }),
            Unidentified::Deliver => Ok(About::Device),
        },
    }
}

/// The identifier that stands for a person: the medical record number, else the issuer's internal one, else the first.
fn chosen(identifiers: &[Identifier]) -> Option<&Identifier> {
    let usable = || identifiers.iter().filter(|i| clean::text(&i.value).is_some());
    let of = |kind: &str| usable().find(|i| i.kind.as_deref() == Some(kind));
    of("MR").or_else(|| of("PI")).or_else(|| usable().next())
}

/// The number a person is known by upstream.
pub(crate) fn leading(person: &Person) -> Option<&Identifier> {
    chosen(&person.identifiers)
}

/// The Patient of a person, as a report of theirs would bring it; `None` without a usable number.
pub(crate) fn patient(person: &Person, gateway: &Gateway, simulated: bool) -> Option<Resource> {
    let context = Context {
        gateway,
        link: "",
        received: crate::clock::Timestamp::from_micros(0, false),
        simulated,
        unidentified: Unidentified::Hold,
        quality_control: QualityControl::Hold,
        bound_patient: None,
        waveforms: false,
        sequence: "",
        attributions: &[],
        withdrawn: false,
    };
    let subject = Subject::new(chosen(&person.identifiers)?, Some(person), &context)?;
    let mut list = List::new(&context);
    add_patient(&subject, &mut list).ok()?;
    list.finish().into_iter().next()
}

fn identifier<'a>(raw: &'a Identifier, context: &Context<'a>) -> Option<(Cow<'a, str>, Cow<'a, str>)> {
    let value = clean::text(&raw.value)?;
    let issuer = if has_issuer(&raw.system) { clean::system(&raw.system) } else { None };
    let system = issuer.unwrap_or_else(|| own_patient_system(context.gateway).into());
    Some((system, value))
}

/// The system of patient numbers that come without an issuer: the site's, else one that counts within this gateway.
pub(crate) fn own_patient_system(gateway: &Gateway) -> String {
    let site = gateway.patient_system.as_deref().and_then(clean::system);
    site.map_or_else(
        || format!("urn:bedside:patient:{}", fhir::query_value(gateway.id.value.trim())),
        Cow::into_owned,
    )
}

/// Adds the Patient of `subject` and says its id.
pub(super) fn add_patient(subject: &Subject, list: &mut List) -> Result<String, Held> {
    let id = subject.id.clone();
    let context = list.context();
    let mut identifiers = vec![fhir::Identifier {
        kind: None,
        system: Some(subject.identifier.0.clone()),
        value: subject.identifier.1.clone(),
    }];
    for raw in subject.person.iter().flat_map(|person| &person.identifiers) {
        let Some((system, value)) = identifier(raw, context) else { continue };
        let kind = raw.kind.as_deref().and_then(clean::code).map(|code| {
            CodeableConcept::of(Coding {
                system: Some(IDENTIFIER_TYPE.into()),
                code: Some(code),
                display: None,
            })
        });
        match identifiers.iter_mut().find(|i| i.system.as_ref() == Some(&system) && i.value == value) {
            Some(known) => known.kind = known.kind.take().or(kind),
            None => identifiers.push(fhir::Identifier { kind, system: Some(system), value }),
        }
    }
    let patient = fhir::Patient {
        id: &id,
        meta: list.meta(),
        identifier: identifiers,
        name: subject.person.and_then(name).into_iter().collect(),
        gender: subject.person.and_then(|person| gender(person.gender.as_deref()?)),
        birth_date: subject
            .person
            .and_then(|person| birth_date(person.birth_date.as_deref()?))
            .map(Cow::Borrowed),
    };
    let identity = (subject.identifier.0.to_string(), subject.identifier.1.to_string());
    list.add("Patient", id.clone(), identity, false, &patient)?;
    Ok(id)
}

fn name(person: &Person) -> Option<HumanName<'_>> {
    let family = person.family.as_deref().and_then(clean::text);
    let given: Vec<_> = person.given.iter().filter_map(|given| clean::text(given)).collect();
    (family.is_some() || !given.is_empty()).then_some(HumanName { family, given })
}

fn gender(code: &str) -> Option<&'static str> {
    ["male", "female", "other", "unknown"].into_iter().find(|known| *known == code)
}

/// A FHIR `date`; anything else would make a server refuse the person.
fn birth_date(text: &str) -> Option<&str> {
    let shape = |shape: &str| {
        text.len() == shape.len()
            && text
                .bytes()
                .zip(shape.bytes())
                .all(|(b, s)| if s == b'0' { b.is_ascii_digit() } else { b == s })
    };
    let day = match text.len() {
        10 if shape("0000-00-00") => text.to_owned(),
        7 if shape("0000-00") => format!("{text}-01"),
        4 if shape("0000") => format!("{text}-01-01"),
        _ => return None,
    };
    (day.parse::<jiff::civil::Date>().is_ok() && !day.starts_with("0000")).then_some(text)
}

/// The specimen's number as the device read it.
pub(super) fn accession(report: &Report) -> Option<Cow<'_, str>> {
    clean::text(report.specimen.as_ref()?.identifier.as_deref()?)
}

/// Adds the Specimen of a laboratory report, when it says anything of one, and says its id.
///
/// A tube's number is used again next year and a tube is somebody's: the resource is known by number, device, patient
/// and the day of the result, so that two persons' results never meet in one Specimen.
pub(super) fn add_specimen(
    report: &Report,
    device: &str,
    subject: Option<&Subject>,
    list: &mut List,
) -> Result<Option<String>, Held> {
    let Some(specimen) = report.specimen.as_ref() else { return Ok(None) };
    let accession = accession(report);
    let kind = specimen.kind.as_ref().and_then(clean::concept);
    if accession.is_none() && kind.is_none() {
        return Ok(None);
    }
    const DAY_MICROS: i64 = 86_400_000_000;
    let day =
        report.measurements.iter().map(|m| m.taken.micros.div_euclid(DAY_MICROS)).min().unwrap_or_default();
    let who = subject.map(|s| format!("{}|{}", s.identifier.0, s.identifier.1)).unwrap_or_default();
    let kind_key = kind.as_ref().and_then(|k| k.coding.first()?.code.clone()).unwrap_or_default();
    let value = key(
        "Specimen",
        &[device, accession.as_deref().unwrap_or_default(), &kind_key, &who, &day.to_string()],
    );
    let id = fhir::id("Specimen", super::list::URI, &value);
    let resource = fhir::Specimen {
        id: &id,
        meta: list.meta(),
        identifier: [fhir::Identifier {
            kind: None,
            system: Some(super::list::URI.into()),
            value: value.as_str().into(),
        }],
        accession_identifier: accession.map(|value| fhir::Identifier { kind: None, system: None, value }),
        kind,
        subject: subject.map(|subject| Reference::to("Patient", &subject.id)),
    };
    list.add("Specimen", id.clone(), (super::list::URI.into(), value.clone()), false, &resource)?;
    Ok(Some(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identifier(system: &str, value: &str, kind: Option<&str>) -> Identifier {
        Identifier { system: system.into(), value: value.into(), kind: kind.map(Into::into) }
    }

    #[test]
    fn the_medical_record_number_stands_for_the_person() {
        let all = [
            identifier("urn:x", "visit", Some("VN")),
            identifier("urn:x", "internal", Some("PI")),
            identifier("urn:x", " ", Some("MR")),
            identifier("urn:x", "record", Some("MR")),
        ];
        assert_eq!(&*chosen(&all).unwrap().value, "record");
        assert_eq!(&*chosen(&all[..3]).unwrap().value, "internal");
        assert_eq!(&*chosen(&all[..1]).unwrap().value, "visit");
        assert!(chosen(&all[2..3]).is_none());
    }

    #[test]
    fn a_bound_patient_matches_by_value_and_by_issuer_where_both_have_one() {
        let bound = identifier("urn:oid:1.2", "7", None);
        assert!(same_identifier(&identifier("urn:oid:1.2", "7 ", None), &bound));
        assert!(same_identifier(&identifier("urn:bedside:authority:", "7", None), &bound));
        assert!(same_identifier(&identifier("urn:bedside:authority:unstated", "7", None), &bound));
        assert!(!same_identifier(&identifier("urn:bedside:authority:HOSPITAL", "7", None), &bound));
        assert!(!same_identifier(&identifier("urn:oid:1.3", "7", None), &bound));
        assert!(!same_identifier(&identifier("urn:oid:1.2", "07", None), &bound));
    }

    #[test]
    fn only_a_real_date_is_a_birth_date() {
        for good in ["1971-02-28", "1971-02", "1971"] {
            assert_eq!(birth_date(good), Some(good));
        }
        for bad in ["1971-02-30", "19710228", "1971-13", "", "0000", "71", "1971-2-8", "+197-01-01"] {
            assert_eq!(birth_date(bad), None, "{bad}");
        }
    }
}
