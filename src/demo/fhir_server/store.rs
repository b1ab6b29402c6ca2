//! What the demo server holds: the current version of each resource, and how often it was written.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use super::check::Sketch;
use crate::clock::Timestamp;

/// Writes remembered per resource.
const MOST_WRITES: usize = 16;

/// The resources of the server. Every method looks at one moment.
#[derive(Debug)]
pub struct Store {
    inner: Mutex<Inner>,
    max_resources: usize,
}

/// One write of one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The version it led to; the same again if nothing changed.
    pub version: u64,
    pub at: Timestamp,
}

#[derive(Debug, Default)]
pub(super) struct Inner {
    /// `Type/id` → what is held.
    held: HashMap<String, Held>,
    /// `Type system|value` → `Type/id` of each.
    by_identifier: HashMap<String, Vec<String>>,
    /// Observations in the order they came, the first to go.
    age: VecDeque<String>,
    writes: u64,
}

#[derive(Debug)]
pub(super) struct Held {
    json: Box<str>,
    version: u64,
    updated: Timestamp,
    identifiers: Vec<String>,
    codes: Vec<String>,
    subject: Option<String>,
    writes: Vec<Write>,
}

/// How a write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) created: bool,
    pub(super) version: u64,
}

impl Store {
    pub(super) fn new(max_resources: usize) -> Self {
        Self { inner: Mutex::default(), max_resources }
    }

    /// How many resources are held.
    pub fn count(&self) -> usize {
        self.lock().held.len()
    }

    /// How many resources of a type are held.
    pub fn count_of(&self, kind: &str) -> usize {
        self.lock().held.keys().filter(|key| is_kind(key, kind)).count()
    }

    /// The ids of a type, sorted.
    pub fn ids(&self, kind: &str) -> Vec<String> {
        let inner = self.lock();
        let keys = inner.held.keys().filter(|key| is_kind(key, kind));
        let mut ids: Vec<String> =
            keys.filter_map(|key| key.split_once('/')).map(|(_, id)| id.to_owned()).collect();
        ids.sort();
        ids
    }

    /// A resource as the server would answer it.
    pub fn resource(&self, kind: &str, id: &str) -> Option<Value> {
        self.lock().read(&format!("{kind}/{id}"))
    }

    /// How many versions a resource had: 1 if it was written once or always the same.
    pub fn versions(&self, kind: &str, id: &str) -> u64 {
        self.lock().held.get(&format!("{kind}/{id}")).map_or(0, |held| held.version)
    }

    /// The latest writes of a resource, oldest first, those that changed nothing included.
    pub fn writes(&self, kind: &str, id: &str) -> Vec<Write> {
        self.lock().held.get(&format!("{kind}/{id}")).map(|held| held.writes.clone()).unwrap_or_default()
    }

    /// The ids of a type that carry this identifier.
    pub fn with_identifier(&self, kind: &str, system: &str, value: &str) -> Vec<String> {
        let places =
            self.lock().by_identifier.get(&format!("{kind} {system}|{value}")).cloned().unwrap_or_default();
        places.iter().filter_map(|place| place.split_once('/')).map(|(_, id)| id.to_owned()).collect()
    }

    /// Every write since the start, those that changed nothing included.
    pub fn writes_total(&self) -> u64 {
        self.lock().writes
    }

    /// Puts a resource there as if the server's own people had made it.
    pub fn plant(&self, json: &Value, at: Timestamp) {
        let (kind, id) =
            (json["resourceType"].as_str().unwrap_or_default(), json["id"].as_str().unwrap_or_default());
        let text = json.to_string();
        if let Ok(sketch) = Sketch::read(&text) {
            self.lock().write(&format!("{kind}/{id}"), &text, &sketch, at, self.max_resources);
        }
    }

    /// Loses a resource.
    pub fn remove(&self, kind: &str, id: &str) {
        self.lock().remove(&format!("{kind}/{id}"));
    }

    /// Loses everything, as a server restored from an old backup.
    pub fn clear(&self) {
        *self.lock() = Inner::default();
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn max_resources(&self) -> usize {
        self.max_resources
    }
}

impl Inner {
    pub(super) fn contains(&self, key: &str) -> bool {
        self.held.contains_key(key)
    }

    /// `Type/id` of everything of `kind` with this `system|value`.
    pub(super) fn matches(&self, kind: &str, token: &str) -> Vec<String> {
        self.by_identifier.get(&format!("{kind} {token}")).cloned().unwrap_or_default()
    }

    pub(super) fn read(&self, key: &str) -> Option<Value> {
        let held = self.held.get(key)?;
        let mut json: Value = serde_json::from_str(&held.json).ok()?;
        let (_, id) = key.split_once('/')?;
        let fields = json.as_object_mut()?;
        fields.insert("id".into(), id.into());
        let meta = fields.entry("meta").or_insert_with(|| json!({})).as_object_mut()?;
        meta.insert("versionId".into(), held.version.to_string().into());
        meta.insert("lastUpdated".into(), held.updated.rfc3339().into());
        Some(json)
    }

    pub(super) fn write(
        &mut self,
        key: &str,
        json: &str,
        sketch: &Sketch<'_>,
        at: Timestamp,
        limit: usize,
    ) -> Written {
        self.writes += 1;
        let mut write = Write { version: 1, at };
        if let Some(held) = self.held.get_mut(key) {
            let changed = *held.json != *json;
            held.version += u64::from(changed);
            write.version = held.version;
            if held.writes.len() == MOST_WRITES {
                held.writes.remove(0);
            }
            held.writes.push(write.clone());
            if !changed {
                return Written { created: false, version: write.version };
            }
        }
        let kind = key.split_once('/').map_or(key, |(kind, _)| kind).to_owned();
        let before = self.held.remove(key);
        self.unlist(&kind, key, before.as_ref());
        let identifiers = sketch.identifiers();
        for token in &identifiers {
            self.by_identifier.entry(format!("{kind} {token}")).or_default().push(key.to_owned());
        }
        let created = before.is_none();
        let (version, writes) = before.map_or((1, vec![write]), |held| (held.version, held.writes));
        let subject =
            sketch.subject.as_ref().and_then(|subject| subject.reference.as_deref()).map(str::to_owned);
        let held = Held {
            json: json.into(),
            version,
            updated: at,
            identifiers,
            codes: sketch.codes(),
            subject,
            writes,
        };
        self.held.insert(key.to_owned(), held);
        if created && kind == "Observation" {
            self.age.push_back(key.to_owned());
        }
        while self.held.len() > limit {
            let Some(oldest) = self.age.pop_front() else { break };
            self.remove(&oldest);
        }
        Written { created, version }
    }

    fn remove(&mut self, key: &str) {
        let held = self.held.remove(key);
        let kind = key.split_once('/').map_or(key, |(kind, _)| kind).to_owned();
        self.unlist(&kind, key, held.as_ref());
    }

    fn unlist(&mut self, kind: &str, key: &str, held: Option<&Held>) {
        for token in held.iter().flat_map(|held| &held.identifiers) {
            let listed = format!("{kind} {token}");
            if let Some(places) = self.by_identifier.get_mut(&listed) {
                places.retain(|place| place != key);
                if places.is_empty() {
                    self.by_identifier.remove(&listed);
                }
            }
        }
    }

    /// A search: every parameter must fit. Unknown parameters are ignored, as FHIR's lenient default has it.
    pub(super) fn search(&self, kind: &str, query: &[(String, String)]) -> Vec<String> {
        let token_fits = |have: &[String], wanted: &str| {
            wanted.split(',').any(|wanted| {
                have.iter().any(|token| token == wanted || token.ends_with(&format!("|{wanted}")))
            })
        };
        let fits = |key: &str, held: &Held| {
            query.iter().all(|(name, wanted)| match name.as_str() {
                "_id" => wanted
                    .split(',')
                    .any(|id| key.strip_prefix(kind).is_some_and(|rest| rest.strip_prefix('/') == Some(id))),
                "identifier" => token_fits(&held.identifiers, wanted),
                "code" => token_fits(&held.codes, wanted),
                "status" => {
                    let json: Option<Value> = serde_json::from_str(&held.json).ok();
                    let status = json.as_ref().and_then(|json| json["status"].as_str()).unwrap_or_default();
                    wanted.split(',').any(|wanted| wanted == status)
                }
                "_lastUpdated" => match wanted.split_at_checked(2) {
                    Some(("gt", at)) => held.updated.rfc3339().as_str() > at,
                    Some(("ge", at)) => held.updated.rfc3339().as_str() >= at,
                    _ => true,
                },
                "subject" | "patient" => {
                    let subject = held.subject.as_deref().unwrap_or_default();
                    wanted
                        .split(',')
                        .any(|wanted| subject == wanted || subject == format!("Patient/{wanted}"))
                }
                _ => true,
            })
        };
        let by_id = query.iter().find(|(name, _)| name == "_id");
        let by_identifier = query.iter().find(|(name, wanted)| name == "identifier" && !wanted.contains(','));
        // The two searches every delivery may need must not walk through everything.
        let candidates: Vec<String> = match (by_id, by_identifier) {
            (Some((_, ids)), _) => ids.split(',').map(|id| format!("{kind}/{id}")).collect(),
            (None, Some((_, token))) if token.contains('|') => self.matches(kind, token),
            _ => self.held.keys().filter(|key| is_kind(key, kind)).cloned().collect(),
        };
        let mut found: Vec<String> = candidates
            .into_iter()
            .filter(|key| self.held.get(key).is_some_and(|held| fits(key, held)))
            .collect();
        found.sort();
        found.dedup();
        found
    }
}

fn is_kind(key: &str, kind: &str) -> bool {
    key.strip_prefix(kind).is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp::from_micros(0, true);

    fn observation(id: &str, value: &str) -> Value {
        json!({ "resourceType": "Observation", "id": id, "status": "final", "code": { "text": "x" }, "valueString": value,
            "identifier": [{ "system": "urn:s", "value": id }], "subject": { "reference": "Patient/p" } })
    }

    #[test]
    fn the_same_again_is_a_write_but_not_a_version() {
        let store = Store::new(10);
        for value in ["a", "a", "b"] {
            store.plant(&observation("1", value), AT);
        }
        assert_eq!(
            (store.count(), store.versions("Observation", "1"), store.writes("Observation", "1").len()),
            (1, 2, 3)
        );
        assert_eq!(store.resource("Observation", "1").unwrap()["meta"]["versionId"], "2");
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_observations_go() {
        let store = Store::new(3);
        store.plant(&json!({ "resourceType": "Patient", "id": "p" }), AT);
        (0..10).for_each(|n| store.plant(&observation(&format!("{n}"), "a"), AT));
        assert_eq!(store.ids("Observation"), ["8", "9"]);
        assert_eq!(store.count_of("Patient"), 1);
        assert!(store.with_identifier("Observation", "urn:s", "1").is_empty());
    }

    #[test]
    fn searches_find_by_id_identifier_code_and_subject() {
        let store = Store::new(10);
        (0..3).for_each(|n| store.plant(&observation(&format!("{n}"), "a"), AT));
        let found = |name: &str, value: &str| {
            store.lock().search("Observation", &[(name.into(), value.into())]).len()
        };
        assert_eq!(found("_id", "1,2,7"), 2);
        assert_eq!(found("identifier", "urn:s|1"), 1);
        assert_eq!(found("identifier", "1"), 1);
        assert_eq!(found("patient", "p"), 3);
        assert_eq!(found("code", "nope"), 0);
        assert_eq!(found("_summary", "count"), 3);
    }
}
