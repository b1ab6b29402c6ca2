//! Resources of a message put under the person they are attributed to.
//!
//! - Results (Observation, DiagnosticReport …) have the person in their identity, as those of devices have: what was
//!   delivered under somebody else stays another resource, which can be taken back.
//! - Where the person is another than the message names, what it says of the named one (visit, order, allergies) is left
//!   out: it is not the other's.

use std::collections::{HashMap, HashSet};

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::device::Identifier;
use crate::fhir::{self, Resource};
use crate::identity::Issuers;
use crate::translate::key;

/// The system of identifiers that are URIs themselves (R4 2.24.0.11).
const URI: &str = "urn:ietf:rfc:3986";

/// Whether a resource of this kind is a result, which can be entered in error.
pub(in crate::gateway) fn is_result(kind: &str) -> bool {
    matches!(kind, "Observation" | "DiagnosticReport" | "DocumentReference" | "Media" | "ImagingStudy")
}

/// Under whom the results of one patient of a message go.
#[derive(Clone, Debug)]
pub(super) enum Under {
    /// Whom the message names, as it says it.
    Said,
    /// Nobody.
    Nobody,
    /// This Patient; `same`: the person the message names, by another number.
    Patient { resource: Resource, same: bool },
}

/// One patient of a message: the id of the Patient it made, and who it is.
pub(super) type Placed = (Option<String>, Under);

/// How resources are put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// A hospital system's own word on its patients: results in it are known as they were.
    Word,
    Results,
    /// The results are taken back.
    Withdrawn,
}

/// What becomes of references.
#[derive(Default)]
struct Changes {
    /// `Kind/id` → `Kind/id`.
    spelled: HashMap<String, String>,
    dropped: HashSet<String>,
}

/// The resources of a message under those people.
///
/// # Errors
/// A sentence: a result cannot be told to be of one of them.
pub(super) fn put(
    resources: Vec<Resource>,
    patients: &[Placed],
    how: How,
) -> Result<Vec<Resource>, &'static str> {
    let mut changes = Changes::default();
    let mut chosen = Vec::with_capacity(resources.len());
    for resource in resources {
        let owner = owner(&resource, patients, how)?;
        let own = format!("{}/{}", resource.kind, resource.id);
        let Some((_, under)) = owner else {
            chosen.push((resource, None));
            continue;
        };
        let another = matches!(under, Under::Nobody | Under::Patient { same: false, .. });
        let result = is_result(resource.kind) && how != How::Word;
        if resource.kind == "Patient" {
            match under {
                Under::Said => chosen.push((resource, None)),
                Under::Nobody => drop(changes.dropped.insert(own)),
                Under::Patient { resource: new, .. } => {
                    changes.spelled.insert(own, format!("Patient/{}", new.id));
                    chosen.push((new.clone(), None));
                }
            }
        } else if result || another && resource.kind == "Specimen" {
            let (id, identity) = identity(&resource, owner);
            changes.spelled.insert(own, format!("{}/{id}", resource.kind));
            chosen.push((resource, Some(Known { id, identity, subject: subject(owner) })));
        } else if another {
            changes.dropped.insert(own);
        } else {
            chosen.push((resource, None));
        }
    }
    // Whom the message does not name is not in it.
    for (_, under) in patients.iter().filter(|(named, _)| named.is_none()) {
        if let Under::Patient { resource, .. } = under {
            chosen.push((resource.clone(), None));
        }
    }
    let mut all: Vec<Resource> = Vec::with_capacity(chosen.len());
    for (resource, known) in chosen {
        let made = changes.made(resource, known, how).ok_or("a result cannot be written")?;
        all.push(made);
    }
    all.sort_by_key(Resource::rank);
    Ok(all)
}

/// Patients under the names their issuers have at this site, as the patient index and the results of devices know them.
pub(super) fn rename(resources: Vec<Resource>, issuers: &Issuers) -> Vec<Resource> {
    if issuers.named.is_empty() {
        return resources;
    }
    let mut changes = Changes::default();
    let mut renamed = Vec::with_capacity(resources.len());
    for resource in resources {
        let (system, value) = &resource.identifier;
        let known = issuers.canonical(&Identifier {
            system: system.as_str().into(),
            value: value.as_str().into(),
            kind: None,
        });
        if resource.kind != "Patient" || *known.system == **system {
            renamed.push(resource);
            continue;
        }
        let id = fhir::id("Patient", &known.system, value);
        changes.spelled.insert(format!("Patient/{}", resource.id), format!("Patient/{id}"));
        renamed.push(under_names(&resource, id, issuers).unwrap_or(resource));
    }
    let made = |resource: Resource| changes.made(resource.clone(), None, How::Word).unwrap_or(resource);
    renamed.into_iter().map(made).collect()
}

fn under_names(resource: &Resource, id: String, issuers: &Issuers) -> Option<Resource> {
    let mut body: Map<String, Value> = serde_json::from_str(resource.json.get()).ok()?;
    let of = |system: &str| {
        let one = Identifier { system: system.into(), value: "".into(), kind: None };
        issuers.canonical(&one).system.to_string()
    };
    for one in body.get_mut("identifier").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(system) = one.get("system").and_then(Value::as_str).map(of) {
            one.as_object_mut()?.insert("system".into(), system.into());
        }
    }
    body.insert("id".into(), id.clone().into());
    let identifier = (of(&resource.identifier.0), resource.identifier.1.clone());
    Some(Resource { id, identifier, json: written(body)?, ..resource.clone() })
}

/// Which of the patients a resource is about, if any.
fn owner<'p>(
    resource: &Resource,
    patients: &'p [Placed],
    how: How,
) -> Result<Option<&'p Placed>, &'static str> {
    let of = |(id, _): &&Placed| {
        id.as_deref().is_some_and(|id| match resource.kind {
            "Patient" => resource.id == id,
            _ => resource.json.get().contains(&format!(r#""reference":"Patient/{id}""#)),
        })
    };
    let mut found = patients.iter().filter(of);
    match (found.next(), found.next()) {
        (Some(_), Some(_)) if is_result(resource.kind) => Err("a result names two patients of the message"),
        (Some(one), _) => Ok(Some(one)),
        (None, _) if is_result(resource.kind) && how != How::Word => match patients {
            [one] => Ok(Some(one)),
            _ => Err("a result names none of the patients of the message"),
        },
        (None, _) => Ok(None),
    }
}

/// What a result is known by from now on.
struct Known {
    id: String,
    identity: (String, String),
    /// `Patient/id` of whom it is about.
    subject: Option<String>,
}

fn subject(owner: Option<&Placed>) -> Option<String> {
    let (named, under) = owner?;
    let id = match under {
        Under::Said => named.as_deref()?,
        Under::Nobody => return None,
        Under::Patient { resource, .. } => &resource.id,
    };
    Some(format!("Patient/{id}"))
}

/// Id and identity of a result under its person.
fn identity(resource: &Resource, owner: Option<&Placed>) -> (String, (String, String)) {
    let subject = subject(owner).unwrap_or_default();
    let (system, value) = &resource.identifier;
    let value = key(resource.kind, &[system, value, &subject]);
    (fhir::id(resource.kind, URI, &value), (URI.into(), value))
}

impl Changes {
    fn made(&self, resource: Resource, known: Option<Known>, how: How) -> Option<Resource> {
        let touched = known.is_some() || self.touches(resource.json.get());
        if !touched {
            return Some(resource);
        }
        let mut body: Map<String, Value> = serde_json::from_str(resource.json.get()).ok()?;
        body.retain(|_, part| self.mend(part));
        let Resource { kind, mut id, mut identifier, mut replaces, .. } = resource;
        if let Some(known) = known {
            if let Some(subject) = known.subject {
                body.entry("subject").or_insert_with(|| json!({ "reference": subject }));
            }
            identify(&mut body, &identifier, &known.identity);
            if how == How::Withdrawn && is_result(kind) {
                body.insert("status".into(), "entered-in-error".into());
                replaces = true;
            }
            (id, identifier) = (known.id, known.identity);
        }
        body.insert("id".into(), id.clone().into());
        Some(Resource { kind, id, identifier, json: written(body)?, replaces })
    }

    /// Whether a reference in it changes. It is compact JSON of our own making: inside a text a quote has a backslash
    /// before it.
    fn touches(&self, json: &str) -> bool {
        json.split(r#""reference":""#).skip(1).any(|rest| {
            let target = rest.split('"').next().unwrap_or_default();
            self.spelled.contains_key(target) || self.dropped.contains(target)
        })
    }

    /// Respells references; false: nothing of it is left.
    fn mend(&self, part: &mut Value) -> bool {
        match part {
            Value::Object(object) => {
                let target = object.get("reference").and_then(Value::as_str).map(ToOwned::to_owned);
                if target.as_ref().is_some_and(|target| self.dropped.contains(target)) {
                    return false;
                }
                if let Some(spelled) = target.and_then(|target| self.spelled.get(&target)) {
                    object.insert("reference".into(), spelled.clone().into());
                }
                object.retain(|_, inner| self.mend(inner));
                !object.is_empty()
            }
            Value::Array(items) => {
                items.retain_mut(|item| self.mend(item));
                !items.is_empty()
            }
            _ => true,
        }
    }
}

/// Gives a body its new identity: in place of the one made for it before, or beside the sender's.
fn identify(body: &mut Map<String, Value>, old: &(String, String), new: &(String, String)) {
    let identifiers = body.entry("identifier").or_insert_with(|| Value::Array(Vec::new()));
    let Some(identifiers) = identifiers.as_array_mut() else { return };
    let is_old = |one: &Value| {
        let is = |name: &str, text: &str| one.get(name).and_then(Value::as_str) == Some(text);
        old.0 == URI && is("system", &old.0) && is("value", &old.1)
    };
    let identifier = json!({ "system": new.0, "value": new.1 });
    match identifiers.iter_mut().find(|one| is_old(one)) {
        Some(own) => *own = identifier,
        None => identifiers.push(identifier),
    }
}

/// JSON with the kind and the id first, as people and Bundles look for them there.
fn written(mut body: Map<String, Value>) -> Option<Box<RawValue>> {
    let mut text = String::from("{");
    let first =
        ["resourceType", "id", "meta"].map(|name| body.remove(name).map(|part| (name.to_owned(), part)));
    for (name, part) in first.into_iter().flatten().chain(body) {
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(&serde_json::to_string(&name).ok()?);
        text.push(':');
        text.push_str(&serde_json::to_string(&part).ok()?);
    }
    text.push('}');
    RawValue::from_string(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(kind: &'static str, id: &str, body: &Value) -> Resource {
        let mut whole = json!({ "resourceType": kind, "id": id });
        whole.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        let key = ("urn:ietf:rfc:3986".to_owned(), format!("urn:{id}"));
        Resource::new(kind, id.into(), key, &whole).unwrap()
    }

    fn message() -> Vec<Resource> {
        let of = json!({ "reference": "Patient/p" });
        vec![
            resource("Organization", "o", &json!({ "name": "Lab" })),
            resource("Patient", "p", &json!({ "active": true })),
            resource("Encounter", "e", &json!({ "subject": of })),
            resource("Specimen", "s", &json!({ "subject": of })),
            resource(
                "Observation",
                "x",
                &json!({ "identifier": [{ "system": URI, "value": "urn:x" }], "status": "final", "subject": of,
                    "encounter": { "reference": "Encounter/e" }, "specimen": { "reference": "Specimen/s" },
                    "performer": [{ "reference": "Organization/o" }], "valueQuantity": { "value": 2 } }),
            ),
            resource(
                "DiagnosticReport",
                "r",
                &json!({ "identifier": [{ "value": "F-1" }], "status": "final", "subject": of,
                    "result": [{ "reference": "Observation/x" }], "encounter": { "reference": "Encounter/e" } }),
            ),
        ]
    }

    fn of<'a>(all: &'a [Resource], kind: &str) -> Vec<&'a Resource> {
        all.iter().filter(|one| one.kind == kind).collect()
    }

    fn put_one(under: Under, how: How) -> Vec<Resource> {
        put(message(), &[(Some("p".into()), under)], how).unwrap()
    }

    fn other(same: bool) -> Under {
        Under::Patient { resource: resource("Patient", "q", &json!({})), same }
    }

    #[test]
    fn a_result_is_known_by_its_person_and_the_rest_stays_as_the_message_says() {
        let all = put_one(Under::Said, How::Results);
        let (observation, report) = (of(&all, "Observation")[0], of(&all, "DiagnosticReport")[0]);
        assert_ne!(observation.id, "x");
        assert_eq!(report.value()["result"][0]["reference"], format!("Observation/{}", observation.id));
        assert_eq!(report.value()["identifier"][0]["value"], "F-1", "the sender's own number stays");
        assert_eq!(report.value()["identifier"][1]["value"], report.identifier.1);
        assert_eq!(observation.value()["identifier"].as_array().unwrap().len(), 1);
        assert_eq!(observation.value()["subject"]["reference"], "Patient/p");
        assert_eq!(observation.value()["encounter"]["reference"], "Encounter/e");
        assert!(observation.json.get().starts_with(r#"{"resourceType":"Observation","id":""#));
        assert_eq!(put_one(Under::Said, How::Results), all, "said twice, there once");
    }

    #[test]
    fn another_persons_visit_and_order_are_not_theirs() {
        let all = put_one(other(false), How::Results);
        assert!(of(&all, "Encounter").is_empty());
        assert_eq!(of(&all, "Patient")[0].id, "q");
        let observation = of(&all, "Observation")[0].value();
        assert_eq!(observation["subject"]["reference"], "Patient/q");
        assert!(observation.get("encounter").is_none());
        assert_eq!(observation["performer"][0]["reference"], "Organization/o");
        let specimen = of(&all, "Specimen")[0];
        assert_eq!(observation["specimen"]["reference"], format!("Specimen/{}", specimen.id));
        assert_eq!(specimen.value()["subject"]["reference"], "Patient/q");
        let said = put_one(Under::Said, How::Results);
        for kind in ["Observation", "DiagnosticReport", "Specimen"] {
            assert_ne!(of(&all, kind)[0].id, of(&said, kind)[0].id, "{kind} of another person");
        }
    }

    #[test]
    fn the_same_person_by_another_number_keeps_the_visit() {
        let all = put_one(other(true), How::Results);
        assert_eq!(of(&all, "Encounter")[0].value()["subject"]["reference"], "Patient/q");
        assert_eq!(of(&all, "Observation")[0].value()["encounter"]["reference"], "Encounter/e");
    }

    #[test]
    fn nobodys_result_names_nobody() {
        let all = put_one(Under::Nobody, How::Results);
        assert!(of(&all, "Patient").is_empty() && of(&all, "Encounter").is_empty());
        assert!(all.iter().all(|one| !one.json.get().contains("Patient/")), "{all:?}");
    }

    #[test]
    fn a_patient_goes_by_the_name_of_the_issuer_at_this_site() {
        let named = [("H".to_owned(), "urn:oid:1.2".to_owned())].into_iter().collect();
        let issuers = Issuers { site: None, named };
        let body = json!({ "identifier": [{ "system": "urn:bedside:authority:H", "value": "7" }] });
        let mut all = message();
        all[1] = resource("Patient", "p", &body);
        all[1].identifier = ("urn:bedside:authority:H".into(), "7".into());
        let all = rename(all, &issuers);
        let id = fhir::id("Patient", "urn:oid:1.2", "7");
        assert_eq!(all[1].id, id);
        assert_eq!(all[1].value()["identifier"][0]["system"], "urn:oid:1.2");
        assert_eq!(of(&all, "Observation")[0].value()["subject"]["reference"], format!("Patient/{id}"));
    }

    #[test]
    fn what_is_taken_back_is_what_was_delivered_in_error() {
        let delivered = put_one(other(false), How::Results);
        let back = put_one(other(false), How::Withdrawn);
        for kind in ["Observation", "DiagnosticReport"] {
            assert_eq!(of(&back, kind)[0].id, of(&delivered, kind)[0].id);
            assert_eq!(of(&back, kind)[0].value()["status"], "entered-in-error");
            assert!(of(&back, kind)[0].replaces);
        }
        assert!(!of(&back, "Patient")[0].replaces);
    }

    #[test]
    fn a_result_of_a_message_that_names_nobody_gets_its_subject() {
        let mut lone = message();
        lone.retain(|one| one.kind == "Observation");
        lone[0] = resource("Observation", "x", &json!({ "status": "final" }));
        let all = put(lone.clone(), &[(None, other(false))], How::Results).unwrap();
        assert_eq!(of(&all, "Patient").len(), 1);
        assert_eq!(of(&all, "Observation")[0].value()["subject"]["reference"], "Patient/q");
        let two = [(Some("a".into()), Under::Said), (Some("b".into()), Under::Said)];
        assert!(put(lone, &two, How::Results).is_err(), "of which of the two is it?");
    }
}
