//! Encounters, Patients and Locations of a FHIR server (R4) → [`Fact`]s.
//!
//! A Location is a bed, a room, a ward or a site by its `physicalType`, and what is above it by `partOf`. Its name in
//! the index is its first identifier, else its name: what a device's place must be called to be the same bed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::Value;

use super::{Fact, Issuers, NO_AUTHORITY, Place, Said, Told, Visit, rank};
use crate::device::Identifier;

/// Steps from a bed up to its site.
const LEVELS_MAX: usize = 8;
/// Places of one encounter.
const PLACES_MAX: usize = 500;

/// What the server sent besides, by `Kind/id`.
pub type Others = HashMap<String, Value>;

/// What an Encounter makes known; `None` for one that is only planned.
///
/// # Errors
/// Why it cannot be used, without patient data.
pub fn encounter(
    encounter: &Value,
    others: &Others,
    base: &str,
    issuers: &Issuers,
) -> Result<Option<(i64, Fact)>, &'static str> {
    let told = updated(encounter).ok_or("it does not say when it was changed (meta.lastUpdated)")?;
    let status = text(encounter, "/status").unwrap_or_default();
    let over = matches!(status, "finished" | "cancelled" | "entered-in-error");
    let never = matches!(status, "cancelled" | "entered-in-error");
    if matches!(status, "planned" | "unknown" | "") {
        return Ok(None);
    }
    let patient = text(encounter, "/subject/reference").and_then(|at| others.get(&key(at)));
    let patient = patient.filter(|one| text(one, "/resourceType") == Some("Patient"));
    let person = said(patient.ok_or("its patient could not be read")?, issuers)
        .ok_or("its patient has no identifier")?;
    let visit = visit(encounter, base, issuers).ok_or("it has neither identifier nor id")?;
    let began = instant(encounter, "/period/start");
    let ended = instant(encounter, "/period/end");
    let mut places = Vec::new();
    let all = encounter.get("location").and_then(Value::as_array).into_iter().flatten();
    for one in all.take(PLACES_MAX).filter(|_| !never) {
        let status = text(one, "/status").unwrap_or("active");
        if matches!(status, "planned" | "reserved") {
            continue;
        }
        let at = text(one, "/location/reference").map(key);
        let Some(place) = at.and_then(|at| place(&at, others)) else { continue };
        let since = instant(one, "/period/start").or(began).unwrap_or(told);
        let until = instant(one, "/period/end").or(if over { ended } else { None });
        let until = until.or_else(|| (status == "completed" || over).then_some(told));
        places.push((place, since, until));
    }
    places.sort_by_key(|(_, since, _)| *since);
    Ok(Some((told, Fact::VisitSeen { person, visit, places, over })))
}

/// What a Patient makes known of two being one: `replaced-by` and `replaces` (R4 §8.1.10).
pub fn merges(patient: &Value, others: &Others, issuers: &Issuers) -> Vec<(i64, Fact)> {
    let (Some(told), Some(own)) = (updated(patient), said(patient, issuers)) else { return Vec::new() };
    let links = patient.get("link").and_then(Value::as_array).into_iter().flatten();
    let facts = links.filter_map(|link| {
        let other = said(others.get(&key(text(link, "/other/reference")?))?, issuers)?;
        let (person, old) = match text(link, "/type")? {
            "replaced-by" => (other, own.clone()),
            "replaces" => (own.clone(), other),
            _ => return None,
        };
        let old: Vec<Identifier> = old
            .identifiers
            .into_iter()
            .filter(|old| {
                !person.identifiers.iter().any(|one| one.system == old.system && one.value == old.value)
            })
            .collect();
        (!old.is_empty()).then_some((told, Fact::Merged { person, old }))
    });
    facts.collect()
}

/// Patients that a Patient is linked with.
pub fn linked(patient: &Value) -> Vec<String> {
    let links = patient.get("link").and_then(Value::as_array).into_iter().flatten();
    links
        .filter(|link| matches!(text(link, "/type"), Some("replaced-by" | "replaces")))
        .filter_map(|link| text(link, "/other/reference").map(key))
        .collect()
}

/// What resources refer to and was not sent with them.
pub fn missing(resources: &[Value], others: &Others) -> Vec<String> {
    let mut wanted = HashSet::new();
    for one in resources {
        wanted.extend(text(one, "/subject/reference").map(key).filter(|at| at.starts_with("Patient/")));
        let places = one.get("location").and_then(Value::as_array).into_iter().flatten();
        wanted.extend(places.filter_map(|one| text(one, "/location/reference").map(key)));
        wanted.extend(linked(one));
    }
    let above = others.values().filter_map(|one| text(one, "/partOf/reference").map(key));
    wanted.extend(above.filter(|at| at.starts_with("Location/")));
    let mut missing: Vec<String> = wanted.into_iter().filter(|at| !others.contains_key(at)).collect();
    missing.sort();
    missing
}

/// `Kind/id`, whatever stands before and behind it.
fn key(reference: &str) -> String {
    let mut parts = reference.split("/_history/").next().unwrap_or_default().rsplit('/');
    match (parts.next(), parts.next()) {
        (Some(id), Some(kind)) => format!("{kind}/{id}"),
        _ => reference.to_owned(),
    }
}

fn text<'j>(json: &'j Value, pointer: &str) -> Option<&'j str> {
    json.pointer(pointer).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty())
}

fn instant(json: &Value, pointer: &str) -> Option<i64> {
    text(json, pointer)?.parse::<jiff::Timestamp>().ok().map(|at| at.as_microsecond())
}

/// `meta.lastUpdated`, microseconds since 1970.
pub fn updated(resource: &Value) -> Option<i64> {
    instant(resource, "/meta/lastUpdated")
}

fn identifier(one: &Value, issuers: &Issuers) -> Option<Identifier> {
    if text(one, "/use") == Some("old") {
        return None;
    }
    let identifier = Identifier {
        system: text(one, "/system").unwrap_or(NO_AUTHORITY).into(),
        value: text(one, "/value")?.into(),
        kind: text(one, "/type/coding/0/code").map(Into::into),
    };
    Some(issuers.canonical(&identifier))
}

/// A Patient as the index takes it; `None` without an identifier.
pub fn said(patient: &Value, issuers: &Issuers) -> Option<Said> {
    let all = patient.get("identifier").and_then(Value::as_array).into_iter().flatten();
    let mut identifiers: Vec<Identifier> = all.filter_map(|one| identifier(one, issuers)).collect();
    identifiers.sort_by_key(|one| rank(one.kind.as_deref()));
    if identifiers.is_empty() {
        return None;
    }
    let names = || patient.get("name").and_then(Value::as_array).into_iter().flatten();
    let used = |wanted: &str| names().find(|name| text(name, "/use") == Some(wanted));
    let name = used("official").or_else(|| names().find(|name| text(name, "/use") != Some("old")));
    let part = |text: Option<&str>| text.map_or(Told::Unsaid, |text| Told::Said(Arc::from(text)));
    let given = name.and_then(|name| name.get("given")).and_then(Value::as_array);
    let given = given.map(|all| all.iter().filter_map(Value::as_str).map(Arc::from).collect());
    Some(Said {
        identifiers,
        family: part(name.and_then(|name| text(name, "/family"))),
        given: given.map_or(Told::Unsaid, Told::Said),
        birth_date: part(text(patient, "/birthDate")),
        gender: part(text(patient, "/gender")),
    })
}

fn visit(encounter: &Value, base: &str, issuers: &Issuers) -> Option<Visit> {
    let numbers = || encounter.get("identifier").and_then(Value::as_array).into_iter().flatten();
    let number =
        numbers().find(|one| text(one, "/type/coding/0/code") == Some("VN")).or_else(|| numbers().next());
    match number.and_then(|number| identifier(number, issuers)) {
        Some(number) => {
            Some(Visit { system: number.system.to_string(), number: number.value.to_uppercase() })
        }
        None => Some(Visit { system: base.to_owned(), number: text(encounter, "/id")?.to_owned() }),
    }
}

/// A Location and what it is part of.
fn place(at: &str, others: &Others) -> Option<Place> {
    let mut parts: [Option<&str>; 4] = [None; 4];
    let (mut at, mut leaf) = (Some(at.to_owned()), true);
    for _ in 0..LEVELS_MAX {
        let Some(location) = at.take().and_then(|at| others.get(&at)) else { break };
        let above = text(location, "/partOf/reference").map(key);
        let name = text(location, "/identifier/0/value").or_else(|| text(location, "/name"));
        // CodeSystem location-physical-type; a leaf that does not say what it is, is a bed where it is part of something.
        let level = match text(location, "/physicalType/coding/0/code") {
            Some("bd") => Some(3),
            Some("ro") => Some(2),
            Some("wa" | "area" | "lvl" | "wi") => Some(1),
            Some("si" | "bu") => Some(0),
            None if leaf && above.is_some() => Some(3),
            None if leaf => Some(1),
            _ => None,
        };
        if let Some(slot) = level.and_then(|level| parts.get_mut(level)) {
            *slot = slot.or(name);
        }
        (at, leaf) = (above, false);
    }
    let [facility, ward, room, bed] = parts.map(Option::unwrap_or_default);
    Place::new(facility, ward, room, bed)
}

#[cfg(test)]
#[path = "fhir_tests.rs"]
mod tests;
