//! `[patients]` and `[worklist]`: what is known of patients and orders beside what hospital systems send on their links.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::identity::Unknown;

/// Orders for analysers beside those of the desk and of HL7 links.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Worklist {
    /// Takes the ServiceRequests of `[upstream]`.
    pub fhir: bool,
    /// Seconds between two looks.
    pub every_s: u64,
    /// Further parameters of the search, e.g. `performer=Organization/lab`.
    pub query: String,
}

impl Default for Worklist {
    fn default() -> Self {
        Self { fhir: false, every_s: 30, query: String::new() }
    }
}

/// Who is who, and in which bed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Patients {
    /// Takes the Encounters of `[upstream]` with their Patients and Locations.
    pub fhir: bool,
    /// Seconds between two looks.
    pub every_s: u64,
    /// Further parameters of the search for Encounters, e.g. `location=Location/ward-3`.
    pub query: String,
    /// Assigning authorities as messages name them → the URI that stands for them here.
    pub systems: BTreeMap<String, String>,
    /// Patients in one answer to a query, whatever the asker would take.
    pub answers_max: u32,
    /// What becomes of results under a number the index does not know, once it knows anybody.
    pub unknown: Unknown,
}

impl Default for Patients {
    fn default() -> Self {
        Self {
            fhir: false,
            every_s: 60,
            query: String::new(),
            systems: BTreeMap::new(),
            answers_max: 50,
            unknown: Unknown::default(),
        }
    }
}

impl Patients {
    /// What is wrong with it: the key and a sentence.
    pub(super) fn check(&self, upstream: bool) -> Result<(), (&'static str, String)> {
        if self.fhir && !upstream {
            return Err(("fhir", "the patients come from [upstream], and there is none".into()));
        }
        if !(5..=86_400).contains(&self.every_s) {
            return Err(("every_s", "every_s is 5 to 86400 seconds".into()));
        }
        if !(1..=1_000).contains(&self.answers_max) {
            return Err(("answers_max", "answers_max is 1 to 1000 patients".into()));
        }
        if let Some((name, _)) = self.systems.iter().find(|(_, uri)| !uri.contains(':')) {
            return Err(("systems", format!("systems: \"{name}\" needs a URI, such as \"urn:oid:1.2.3\"")));
        }
        Ok(())
    }
}
