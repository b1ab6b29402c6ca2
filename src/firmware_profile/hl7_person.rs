//! PID, PV1, ORC, SPM and the coded types of HL7 v2.

use std::sync::Arc;

use super::flat;
use super::hl7::Here;
use super::metric::canonical_system;
use super::person::{NO_AUTHORITY, birth_date, gender, names_nobody};
use super::{FirmwareProfile, finding};
use crate::device::{Coding, Domain, Finding, Identifier, Person, Place, Specimen};
use crate::hl7v2::{Element, Segment};

/// PID. `None` when it names nobody: an unknown patient has no identity to confuse with another.
pub(super) fn person(
    profile: &FirmwareProfile,
    patient: &Segment<'_>,
    findings: &mut Vec<Finding>,
) -> Option<Person> {
    // PID-31, identity unknown (2.5 §3.4.2.31).
    if patient.field(31).raw().trim() == "Y" {
        findings.push(finding(
            "unknown-patient",
            "PID-31",
            "The sender says that it does not know the patient.",
        ));
        return None;
    }
    let mut identifiers: Vec<Identifier> =
        patient.field(3).repetitions().filter_map(|one| identifier(profile, &one, findings)).collect();
    if identifiers.is_empty() {
        // PID-2 held the identifier before 2.3.1, and does so still in some senders.
        identifiers.extend(identifier(profile, &patient.field(2).repetition(1), findings));
    }
    let name = patient.field(5).repetition(1);
    let part =
        |number| name.component(number).subcomponent(1).value().map(|text| Arc::<str>::from(text.trim()));
    let born = patient.field(7).component(1);
    let person = Person {
        family: part(1),
        given: [part(2), part(3)].into_iter().flatten().collect(),
        birth_date: born.value().and_then(|text| birth_date(text.trim(), findings)),
        gender: patient.field(8).component(1).value().and_then(|text| gender(&text)).map(Into::into),
        identifiers,
    };
    (!person.identifiers.is_empty() || person.family.is_some() || !person.given.is_empty()).then_some(person)
}

impl FirmwareProfile {
    /// Whom a PID names, with the number first that a template would know the person by; `None` when it names nobody.
    pub(crate) fn patient(&self, pid: &Segment<'_>) -> Option<Person> {
        let mut person = person(self, pid, &mut Vec::new())?;
        let leads =
            |kind: Option<&str>| ["MR", "PI", "PT", "MRN"].iter().position(|wanted| kind == Some(*wanted));
        person.identifiers.sort_by_key(|one| leads(one.kind.as_deref()).unwrap_or(usize::MAX));
        Some(person)
    }

    /// Whether its results are of specimens.
    pub(crate) fn measures_specimens(&self) -> bool {
        self.answers_queries()
            || self
                .plan
                .table
                .metrics
                .iter()
                .take(self.plan.table.listed)
                .any(|one| one.domain == Domain::Laboratory)
    }

    /// Where a PV1 says the patient is.
    pub(crate) fn place(&self, visit: &Segment<'_>) -> Option<Place> {
        place(visit)
    }
}

/// CX: id ^ check ^ scheme ^ authority ^ kind (2.5 §2.A.14).
fn identifier(
    profile: &FirmwareProfile,
    one: &Element<'_>,
    findings: &mut Vec<Finding>,
) -> Option<Identifier> {
    let value = one.component(1).value()?;
    let value = value.trim();
    let subject = &profile.plan.subject;
    let kind = one.component(5).value().map(|text| text.trim().to_owned());
    if names_nobody(subject, value, findings) {
        return None;
    }
    let system = authority(&one.component(4)).or_else(|| subject.system.clone());
    Some(Identifier {
        system: system.unwrap_or_else(|| NO_AUTHORITY.into()),
        value: value.into(),
        kind: kind.map(Into::into).or_else(|| subject.kind.clone()),
    })
}

/// HD (2.5 §2.A.33): namespace & universal id & its type, as a URI; a bare name under `urn:bedside:authority:`.
pub fn authority(hd: &Element<'_>) -> Option<Arc<str>> {
    let part = |number| hd.subcomponent(number).value().map(|text| text.trim().to_owned());
    named_system(part(1), part(2), part(3))
}

fn named_system(namespace: Option<String>, id: Option<String>, kind: Option<String>) -> Option<Arc<str>> {
    match (id, kind.as_deref()) {
        (Some(oid), Some("ISO")) => Some(format!("urn:oid:{oid}").into()),
        (Some(uuid), Some("UUID" | "GUID")) => Some(format!("urn:uuid:{}", uuid.to_ascii_lowercase()).into()),
        (Some(uri), Some("URI")) => Some(uri.into()),
        (id, _) => namespace.or(id).map(|name| format!("urn:bedside:authority:{name}").into()),
    }
}

/// PV1-3: point of care ^ room ^ bed ^ facility.
pub(super) fn place(visit: &Segment<'_>) -> Option<Place> {
    let location = visit.field(3).repetition(1);
    let part = |number| location.component(number).subcomponent(1).value().map(|text| Arc::from(text.trim()));
    let place = Place { point_of_care: part(1), room: part(2), bed: part(3), facility: part(4) };
    (place != Place::default()).then_some(place)
}

/// Placer and filler order numbers: OBR-2 and OBR-3, or ORC-2 and ORC-3.
pub(super) fn orders(here: &Here<'_>) -> Vec<Identifier> {
    let number = |field: u16, kind: &str| {
        let segments = [here.order, here.common].into_iter().flatten();
        let ei = segments
            .map(|segment| segment.field(field).repetition(1))
            .find(|ei| ei.component(1).value().is_some())?;
        let part = |number| ei.component(number).value().map(|text| text.trim().to_owned());
        let system = named_system(part(2), part(3), part(4)).unwrap_or_else(|| NO_AUTHORITY.into());
        Some(Identifier { system, value: part(1)?.into(), kind: Some(kind.into()) })
    };
    // HL7 table 0203: PLAC, FILL.
    [number(2, "PLAC"), number(3, "FILL")].into_iter().flatten().collect()
}

/// The specimen where the profile says it is, else SPM-2 and SPM-4, else OBR-15.
pub(super) fn specimen(
    profile: &FirmwareProfile,
    here: &Here<'_>,
    findings: &mut Vec<Finding>,
) -> Option<Specimen> {
    let own = flat::specimen(profile, here, findings);
    let mut specimen = own.unwrap_or_default();
    if let Some(spm) = here.specimen {
        let id = spm.field(2);
        let id = [id.component(1), id.component(2)]
            .into_iter()
            .find_map(|part| part.subcomponent(1).value().map(|text| Arc::<str>::from(text.trim())));
        specimen.identifier = specimen.identifier.or(id);
        let kind = spm.field(4);
        specimen.kind = specimen.kind.or_else(|| kind.component(1).value().map(|_| coding(&kind, 1)));
    }
    if specimen.kind.is_none()
        && let Some(source) = here.order.map(|order| order.field(15).component(1))
    {
        specimen.kind = source.subcomponent(1).value().map(|code| {
            let part = |number| source.subcomponent(number).text();
            Coding::new(
                &system_uri(part(3).trim()),
                code.trim(),
                Some(part(2).trim()).filter(|t| !t.is_empty()),
            )
        });
    }
    (specimen != Specimen::default()).then_some(specimen)
}

/// The coding that begins at component `first` of a CE or CWE.
pub(super) fn coding(element: &Element<'_>, first: u16) -> Coding {
    let part = |number| element.component(number).text();
    let display = part(first + 1);
    Coding::new(
        &system_uri(part(first + 2).trim()),
        part(first).trim(),
        Some(display.trim()).filter(|text| !text.is_empty()),
    )
}

/// The codings of a CE or CWE; a text alone is none.
pub(super) fn codings(element: &Element<'_>) -> Vec<Coding> {
    let said = |first: &u16| {
        let (code, system) = (element.component(*first).raw(), element.component(first + 2).raw());
        !code.trim().is_empty() && !system.trim().is_empty()
    };
    [1, 4].iter().filter(|first| said(first)).map(|first| coding(element, *first)).collect()
}

/// HL7 table 0396 → URI where FHIR names one; other systems stay as they came.
fn system_uri(name: &str) -> String {
    if let Some(table) =
        name.strip_prefix("HL7").filter(|t| t.len() == 4 && t.bytes().all(|b| b.is_ascii_digit()))
    {
        return format!("http://terminology.hl7.org/CodeSystem/v2-{table}");
    }
    canonical_system(name).to_owned()
}
