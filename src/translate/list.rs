//! The resources of one frame, each id once.

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use crate::device::{Measurement, ResultStatus};
use crate::fhir::{self, Coding, Meta, Resource};

use super::{Context, Held, TAGS, status};

/// The system of identifiers that are URIs themselves (R4 2.24.0.11).
pub(super) const URI: &str = "urn:ietf:rfc:3986";

/// Says of every resource of a simulated device what it is, for people.
const SIMULATED: Coding<'static> =
    Coding::fixed(TAGS, "simulated", "Simulated: made by a test device, not measured on a patient");

/// A deterministic URI for what `parts` describe. It is opaque on purpose: it stands in URLs and server logs, and the
/// parts name a patient.
pub(crate) fn key(kind: &str, parts: &[&str]) -> String {
    const BETWEEN: char = '\u{1f}';
    let mut text = String::with_capacity(256);
    for part in parts {
        // No part may look like two.
        match part.contains(BETWEEN) {
            true => text.push_str(&part.replace(BETWEEN, " ")),
            false => text.push_str(part),
        }
        text.push(BETWEEN);
    }
    format!("urn:uuid:{}", fhir::id(kind, "urn:bedside:key", &text))
}

/// What every resource says of itself.
pub(super) fn meta(simulated: bool) -> Meta<'static> {
    match simulated {
        true => Meta { profile: Vec::new(), security: vec![status::HTEST], tag: vec![SIMULATED] },
        false => Meta::default(),
    }
}

/// The list in the making.
pub(super) struct List<'a> {
    context: &'a Context<'a>,
    resources: Vec<Resource>,
    places: HashMap<String, usize>,
    repeats: HashMap<String, Repeats<'a>>,
}

/// What was measured under one key.
struct Repeats<'a> {
    first: &'a Measurement,
    /// The contents seen, as JSON; empty until a second measurement comes.
    contents: HashSet<Vec<u8>>,
}

impl<'a> List<'a> {
    pub(super) fn new(context: &'a Context<'a>) -> Self {
        Self { context, resources: Vec::new(), places: HashMap::new(), repeats: HashMap::new() }
    }

    pub(super) fn context(&self) -> &'a Context<'a> {
        self.context
    }

    /// What every resource of this list says of itself.
    pub(super) fn meta(&self) -> Meta<'static> {
        meta(self.context.simulated)
    }

    /// Adds a resource; the same id again replaces it.
    pub(super) fn add(
        &mut self,
        kind: &'static str,
        id: String,
        identifier: (String, String),
        replaces: bool,
        body: &impl Serialize,
    ) -> Result<(), Held> {
        let mut resource =
            Resource::new(kind, id, identifier, body).map_err(|error| Held::Json(error.to_string()))?;
        resource.replaces = replaces;
        match self.places.get(&resource.id).and_then(|place| self.resources.get_mut(*place)) {
            Some(earlier) => *earlier = resource,
            None => {
                self.places.insert(resource.id.clone(), self.resources.len());
                self.resources.push(resource);
            }
        }
        Ok(())
    }

    /// Whether a resource with this id is in the list.
    pub(super) fn has(&self, id: &str) -> bool {
        self.places.contains_key(id)
    }

    /// Which of the measurements with one key this is: 0 for the first and for what corrects it, 1, 2 … for others
    /// with another content; `None` when it was said before, word for word.
    pub(super) fn ordinal(&mut self, key: &str, measurement: &'a Measurement) -> Result<Option<usize>, Held> {
        let json = |m: &Measurement| serde_json::to_vec(m).map_err(|error| Held::Json(error.to_string()));
        let Some(repeats) = self.repeats.get_mut(key) else {
            self.repeats.insert(key.into(), Repeats { first: measurement, contents: HashSet::new() });
            return Ok(Some(0));
        };
        if repeats.contents.is_empty() {
            repeats.contents.insert(json(repeats.first)?);
        }
        let ordinal = repeats.contents.len();
        let is_new = repeats.contents.insert(json(measurement)?);
        let corrects = replaces(measurement.result_status);
        Ok(is_new.then_some(if corrects { 0 } else { ordinal }))
    }

    /// What is referred to before what refers to it.
    pub(super) fn finish(mut self) -> Vec<Resource> {
        self.resources.sort_by_key(Resource::rank);
        self.resources
    }
}

/// Whether a result of this status takes back or overwrites an earlier one.
pub(super) fn replaces(status: ResultStatus) -> bool {
    matches!(status, ResultStatus::Corrected | ResultStatus::Cancelled | ResultStatus::EnteredInError)
}
