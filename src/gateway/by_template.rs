//! What hospital systems send, translated by templates: messages → FHIR resources under the right people.
//!
//! - A message of results (all that make an Observation or a DiagnosticReport, but for those below) is judged by the same
//!   claims as the report of a device: the number in PID, the bed, the desk, the order of the specimen and the index.
//!   What cannot be told is held, what was delivered under somebody else is taken back.
//! - Patient administration, orders, schedules, documents and bills (ADT, OR*, SIU, MDM, BAR …) are their system's own word
//!   and go by it. But a number that the index knows as merged into another is delivered as the one who remains.

mod stated;
mod under;

use std::ops::Range;
use std::sync::Arc;

use crate::config::Link;
use crate::device::{Finding, Identifier, Person, Report};
use crate::fhir::Resource;
use crate::firmware_profile::{Decoded, FirmwareProfile, LinkContext};
use crate::gateway::association::whose::{self, Attributed, Named, Whose};
use crate::gateway::understand::{Meaning, Said};
use crate::hl7v2::Message;
use crate::identity::{Attribution, Issuers, Whom, same_identifier};
use crate::template::{Context, Library};
use crate::translate::{self, Gateway, Held, Unidentified};
use under::{How, Placed, Under};

pub(in crate::gateway) use under::is_result;

/// Messages in one frame; a batch beyond this is not from an interface that speaks MLLP.
pub(super) const MESSAGES_MAX: usize = 1000;
/// Why a person must look where people cannot be told apart.
const UNCLEAR: &str = "the message holds results of several people and not each can be told to be one's";

/// What the messages of a frame became: one line for people, the findings and the meaning.
pub(super) struct Read {
    pub(super) summary: String,
    pub(super) findings: Vec<Finding>,
    pub(super) meaning: Meaning,
    /// Under whom, where there are results.
    pub(super) whose: Option<Attributed>,
}

/// What messages are translated with.
#[derive(Clone, Copy)]
pub(super) struct Translator<'a> {
    pub(super) library: &'a Library,
    pub(super) gateway: &'a Gateway,
    pub(super) issuers: &'a Issuers,
    pub(super) simulated: bool,
    pub(super) link: &'a Link,
    pub(super) context: &'a LinkContext,
    /// How PID is read.
    pub(super) page: &'a FirmwareProfile,
    pub(super) whose: Option<&'a Arc<dyn Whose>>,
}

/// All messages of a frame as their templates make them.
#[derive(Default)]
struct Told {
    messages: Vec<OfMessage>,
    /// What the results of all messages are judged by.
    reports: Vec<Report>,
    findings: Vec<Finding>,
}

struct OfMessage {
    resources: Vec<Resource>,
    /// Patients of a message of results; `None`: it is no such message.
    patients: Option<Vec<Patient>>,
}

/// A patient of a message: the Patient it made, and which reports are theirs.
struct Patient {
    made: Option<Resource>,
    reports: Range<usize>,
}

impl Translator<'_> {
    /// Translates every message of a frame, all or none: half a frame delivered is a result nobody will look for.
    pub(super) fn read(&self, messages: &[Message<'_>], said: &Said<'_>) -> Read {
        let mut told = Told::default();
        if let Err(why) = self.translate(messages, &mut told) {
            let (findings, meaning) = (told.findings, Meaning::Hold(why));
            return Read { summary: "no template".into(), findings, meaning, whose: None };
        }
        let summary = format!("{} message(s) by template", messages.len());
        let decoded = Decoded { reports: std::mem::take(&mut told.reports), ..Decoded::default() };
        let mut whose = Attributed::ask(self.whose, self.link, said, &decoded);
        whose.asked = decoded.reports;
        let mut findings = std::mem::take(&mut told.findings);
        let meaning = match self.judged(told, &mut whose, &mut findings) {
            Ok(resources) if resources.is_empty() => {
                Meaning::Hold("the template makes nothing of this message".into())
            }
            Ok(resources) => Meaning::Deliver { resources },
            Err(held) => {
                whose.doubt = whose::doubt(std::slice::from_ref(&held));
                Meaning::Hold(held.to_string())
            }
        };
        // The reports are cut where a device's are; a message is held then.
        whose.reports = None;
        let whose = Some(whose).filter(|whose| !whose.asked.is_empty());
        Read { summary, findings, meaning, whose }
    }

    /// What they give when they are delivered as was written down once; `withdrawn`: taken back. `None`: it cannot be told
    /// any more.
    pub(super) fn under(
        &self,
        messages: &[Message<'_>],
        text: &str,
        withdrawn: bool,
    ) -> Option<Vec<Resource>> {
        let mut told = Told::default();
        self.translate(messages, &mut told).ok()?;
        let written = Attributed::written(text, &told.reports)?;
        let how = if withdrawn { How::Withdrawn } else { How::Results };
        let mut all = Vec::new();
        for message in told.messages {
            let Some(patients) = message.patients else { continue };
            let placed = patients.iter().map(|patient| {
                let given = written.attributions.get(patient.reports.clone()).unwrap_or_default();
                let under = match given.iter().flatten().next() {
                    None => Under::Said,
                    Some(Attribution::Matched { whom, .. }) => {
                        self.patient(whom.person()?, self.named(patient, &told.reports))?
                    }
                    Some(_) => Under::Nobody,
                };
                Some(patient.placed(under))
            });
            let placed: Vec<Placed> = placed.collect::<Option<_>>()?;
            all.extend(under::put(message.resources, &placed, how).ok()?);
        }
        Some(distinct(all))
    }

    fn translate(&self, messages: &[Message<'_>], told: &mut Told) -> Result<(), String> {
        let context = Context { link: self.context, gateway: self.gateway, simulated: self.simulated };
        for message in messages {
            let made = self.library.convert(message, &context).map_err(|why| why.to_string())?;
            told.findings.extend(made.findings);
            // The header is about the message; a server keeps what the message is about.
            let kept = made.resources.into_iter().filter(|one| one.kind != "MessageHeader");
            let resources = under::rename(kept.collect(), self.issuers);
            let results = resources.iter().any(|one| matches!(one.kind, "Observation" | "DiagnosticReport"));
            let patients = match results && !is_word_of_its_system(message) {
                true => Some(self.patients(message, &resources, &mut told.reports)?),
                false => None,
            };
            told.messages.push(OfMessage { resources, patients });
        }
        Ok(())
    }

    /// The patients of a message, each with the Patient that was made of it.
    fn patients(
        &self,
        message: &Message<'_>,
        resources: &[Resource],
        reports: &mut Vec<Report>,
    ) -> Result<Vec<Patient>, String> {
        let mut groups = stated::groups(message, self.page, self.context);
        let made: Vec<&Resource> = resources.iter().filter(|one| one.kind == "Patient").collect();
        if groups.is_empty() {
            groups.push(stated::Group::default());
        }
        // The Patients stand in the order of the message. One too few, and whose is whose is a guess.
        if !(made.len() == groups.len() || groups.len() == 1 && made.is_empty()) {
            return Err(UNCLEAR.into());
        }
        let mut made = made.into_iter().cloned();
        let of = |group: stated::Group| {
            let first = reports.len();
            reports.extend(group.reports);
            Patient { made: made.next(), reports: first..reports.len() }
        };
        Ok(groups.into_iter().map(of).collect())
    }

    /// All resources under the people the results are attributed to.
    fn judged(
        &self,
        told: Told,
        whose: &mut Attributed,
        findings: &mut Vec<Finding>,
    ) -> Result<Vec<Resource>, Held> {
        let unclear = |why: &str| Held::Review { why: why.into() };
        if let Some(held) = whose.attributions.iter().flatten().find_map(doubtful) {
            return Err(held);
        }
        if whose.reports.is_some() {
            return Err(unclear(UNCLEAR));
        }
        let mut names = vec![Named::Said; whose.asked.len()];
        let mut all = Vec::new();
        for message in told.messages {
            let Some(patients) = message.patients else {
                all.extend(self.living(message.resources, findings));
                continue;
            };
            let mut placed = Vec::with_capacity(patients.len());
            for patient in &patients {
                let (under, name) = self.one(patient, whose)?;
                names
                    .get_mut(patient.reports.clone())
                    .into_iter()
                    .flatten()
                    .for_each(|own| *own = name.clone());
                placed.push(patient.placed(under));
            }
            all.extend(under::put(message.resources, &placed, How::Results).map_err(unclear)?);
        }
        whose.text = whose::write(&names);
        Ok(distinct(all))
    }

    /// Under whom the results of one patient of a message go.
    fn one(&self, patient: &Patient, whose: &Attributed) -> Result<(Under, Named), Held> {
        let reports = whose.asked.get(patient.reports.clone()).unwrap_or_default();
        let named = self.named(patient, &whose.asked);
        let judged = |report: usize| whose.attributions.get(report).and_then(Option::as_ref);
        let mut whoms = patient.reports.clone().map(|report| match judged(report) {
            Some(Attribution::Matched { whom, .. }) => Ok(Some(whom.clone())),
            Some(_) => Ok(None),
            None => self.as_said(named),
        });
        let first = whoms.next().unwrap_or_else(|| self.as_said(named))?;
        for other in whoms {
            let agree = match (&first, &other?) {
                (Some(first), Some(other)) => first.same(other),
                (None, None) => true,
                _ => false,
            };
            if !agree {
                return Err(Held::Review { why: UNCLEAR.into() });
            }
        }
        let Some(whom) = first else { return self.nobodys(reports).map(|()| (Under::Nobody, Named::Nobody)) };
        let person = whom.person().ok_or_else(|| Held::Review { why: UNCLEAR.into() })?;
        if self.is_as_said(patient, &whom, named) {
            return Ok((Under::Said, Named::Said));
        }
        let under = self.patient(person, named);
        let under = under.ok_or_else(|| Held::NoPatient { link: self.link.name.to_string() })?;
        Ok((under, Named::Is(Arc::clone(person))))
    }

    /// Whom the message and the link alone name.
    fn as_said(&self, named: Option<&Person>) -> Result<Option<Whom>, Held> {
        let bound = self.link.patient.as_ref();
        let stranger = |person: Person| Some(Whom::Stranger(Arc::new(person)));
        match (named, bound) {
            (Some(person), Some(bound))
                if !person.identifiers.iter().any(|own| same_identifier(own, bound)) =>
            {
                Err(Held::OtherPatient { link: self.link.name.to_string() })
            }
            (Some(person), _) => Ok(stranger(person.clone())),
            (None, Some(bound)) => {
                Ok(stranger(Person { identifiers: vec![bound.clone()], ..Person::default() }))
            }
            (None, None) => Ok(None),
        }
    }

    /// Results that name nobody wait, but where the site wants them so or the specimen's number finds the person.
    fn nobodys(&self, reports: &[Report]) -> Result<(), Held> {
        let specimen = |report: &Report| report.specimen.as_ref().is_some_and(|one| one.identifier.is_some());
        let found = !reports.is_empty() && reports.iter().all(specimen);
        match found || self.link.unidentified == Unidentified::Deliver {
            true => Ok(()),
            false => Err(Held::NoPatient { link: self.link.name.to_string() }),
        }
    }

    /// Whom PID names; a name without a number may be somebody else's.
    fn named<'r>(&self, patient: &Patient, reports: &'r [Report]) -> Option<&'r Person> {
        let person = reports.get(patient.reports.clone())?.first()?.person.as_ref()?;
        person.identifiers.iter().any(|id| !id.value.trim().is_empty()).then_some(person)
    }

    /// Whether the Patient the message makes is the one this person is known by upstream.
    fn is_as_said(&self, patient: &Patient, whom: &Whom, named: Option<&Person>) -> bool {
        let (Some(made), Some(named), Some(person)) = (&patient.made, named, whom.person()) else {
            return false;
        };
        if !self.is_same(named, whom) {
            return false;
        }
        let leads = translate::leading(person).is_some_and(|one| one.value.trim() == made.identifier.1);
        leads || matches!(whom, Whom::Stranger(_))
    }

    fn is_same(&self, named: &Person, whom: &Whom) -> bool {
        let own = self.whose.and_then(|whose| whose.known(named));
        own.unwrap_or_else(|| Whom::Stranger(Arc::new(named.clone()))).same(whom)
    }

    /// The Patient of a person as the index or the desk knows them.
    fn patient(&self, person: &Arc<Person>, named: Option<&Person>) -> Option<Under> {
        let resource = translate::patient(person, self.gateway, self.simulated)?;
        let whom = self.whose.and_then(|whose| whose.known(person));
        let whom = whom.unwrap_or_else(|| Whom::Stranger(Arc::clone(person)));
        let same = named.is_some_and(|named| self.is_same(named, &whom));
        Some(Under::Patient { resource, same })
    }

    /// The word of a system on its own patients; who was merged into another is delivered as the one who remains.
    fn living(&self, resources: Vec<Resource>, findings: &mut Vec<Finding>) -> Vec<Resource> {
        let gone: Vec<Placed> = resources.iter().filter_map(|one| self.survivor(one)).collect();
        if gone.is_empty() {
            return resources;
        }
        findings.push(Finding {
            code: "retired-number",
            place: "PID-3".into(),
            text: "The number was merged into another: what is said goes to the patient who remains.".into(),
        });
        let as_they_are = resources.clone();
        under::put(resources, &gone, How::Word).unwrap_or(as_they_are)
    }

    fn survivor(&self, resource: &Resource) -> Option<Placed> {
        // Whom a merge takes away is told so in the same message.
        if resource.kind != "Patient" || resource.value().get("active") == Some(&false.into()) {
            return None;
        }
        let (system, value) = &resource.identifier;
        let own = Identifier { system: system.as_str().into(), value: value.as_str().into(), kind: None };
        let said = Person { identifiers: vec![own], ..Person::default() };
        let Some(Whom::Known { person, .. }) = self.whose?.known(&said) else { return None };
        let living = person.identifiers.iter().any(|one| one.value.trim() == value);
        if living {
            return None;
        }
        let survivor = translate::patient(&person, self.gateway, self.simulated)?;
        Some((Some(resource.id.clone()), Under::Patient { resource: survivor, same: true }))
    }
}

impl Patient {
    fn placed(&self, under: Under) -> Placed {
        (self.made.as_ref().map(|made| made.id.clone()), under)
    }
}

/// Why a person must look, where that is so.
fn doubtful(attribution: &Attribution) -> Option<Held> {
    match attribution {
        Attribution::Conflict { why } => Some(Held::Conflict { why: why.clone() }),
        Attribution::Review { why } => Some(Held::Review { why: why.clone() }),
        Attribution::Matched { .. } | Attribution::Orphan => None,
    }
}

/// Messages (MSH-9.1) in which an observation is part of what a system says of its own patients, orders and bills.
fn is_word_of_its_system(message: &Message<'_>) -> bool {
    let kind = message.segment("MSH", 1).map(|msh| msh.field(9).component(1).text().trim().to_uppercase());
    let kind = kind.unwrap_or_default();
    let kind = kind.split('_').next().unwrap_or_default();
    kind.starts_with("OM")
        || matches!(
            kind,
            "ADT"
                | "BAR"
                | "DFT"
                | "MDM"
                | "SIU"
                | "SRM"
                | "ORM"
                | "ORN"
                | "ORS"
                | "RDE"
                | "RDS"
                | "RGV"
                | "RAS"
        )
}

/// The later of two resources with one id stays, as it would on a server: but what administration says of a patient or a
/// visit is not undone by a result behind it.
fn distinct(resources: Vec<Resource>) -> Vec<Resource> {
    let mut places = std::collections::HashMap::new();
    let mut kept: Vec<Resource> = Vec::with_capacity(resources.len());
    for resource in resources {
        match places.get(&resource.id).and_then(|place: &usize| kept.get_mut(*place)) {
            Some(earlier) if earlier.replaces && matches!(resource.kind, "Patient" | "Encounter") => {
                if resource.replaces {
                    *earlier = resource;
                }
            }
            Some(earlier) => *earlier = resource,
            None => {
                places.insert(resource.id.clone(), kept.len());
                kept.push(resource);
            }
        }
    }
    kept
}

#[cfg(test)]
#[path = "by_template/tests.rs"]
mod tests;
