//! Patients from the FHIR server: Encounters with their Patients and Locations.
//!
//! The first look takes the encounters that are open; each later one those that changed since, and the Patients that
//! were replaced by others. The time up to which everything was seen is written down when a look came to its end, so one
//! that broke off repeats. While the server is not to be reached, the index keeps what it knows and says how old it is.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use serde_json::Value;

use super::People;
use crate::buffer::{BufferError, Change, Lookup, PeopleChange};
use crate::clock::Timestamp;
use crate::connector::Stop;
use crate::identity::Fact;
use crate::identity::adt::Adt;
use crate::identity::fhir::{self, Others};
use crate::upstream::{self, Upstream};

/// Where the box remembers up to when it has seen the server's patients.
const SEEN: &str = "patients-fhir-seen";
/// The name of this source in the index.
const SOURCE: &str = "fhir";
/// How far each look goes back behind the last one: servers index late.
const OVERLAP_MICROS: i64 = 60_000_000;
/// Longest pause after looks that failed.
const PAUSE_MAX: Duration = Duration::from_secs(600);
/// Resources remembered beside the page that is read.
const OTHERS_MAX: usize = 20_000;
/// Ids asked for in one search.
const IDS_AT_ONCE: usize = 50;
/// From a bed up to its site.
const LEVELS_MAX: usize = 6;

/// What the server is asked for beside the time.
pub(in crate::gateway) struct Looks {
    pub(in crate::gateway) every: Duration,
    /// Further parameters of the search for Encounters.
    pub(in crate::gateway) query: String,
}

impl People {
    /// Looks again and again until told to stop.
    pub(in crate::gateway) async fn follow(
        self: Arc<Self>,
        upstream: Arc<Upstream>,
        looks: Looks,
        mut stop: Stop,
    ) {
        let mut failures = 0_u32;
        loop {
            match self.look(&upstream, &looks.query).await {
                Ok(_) => failures = 0,
                Err(why) => {
                    failures = failures.saturating_add(1);
                    tracing::warn!(why, "The FHIR server's patients could not be read; it is tried again.");
                }
            }
            let pause = looks.every.saturating_mul(1 << failures.min(6)).min(PAUSE_MAX.max(looks.every));
            tokio::select! {
                () = stop.wait() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// One look; how many facts were told.
    pub(super) async fn look(&self, upstream: &Upstream, query: &str) -> Result<usize, String> {
        let words = |fault: BufferError| fault.to_string();
        let seen = self.reader.setting(SEEN).await.map_err(words)?;
        let seen = seen.and_then(|text| text.parse::<jiff::Timestamp>().ok()).map(|at| at.as_microsecond());
        let (mut count, mut latest, mut others) = (0, seen, Others::new());
        let mut walk = upstream.walk(&encounters(seen, query));
        while let Some(page) = walk.page().await? {
            latest = latest.max(self.page(upstream, page, &mut others, &mut count).await?);
        }
        if let Some(seen) = seen {
            let mut walk = upstream.walk(&patients(seen));
            while let Some(page) = walk.page().await? {
                latest = latest.max(self.page(upstream, page, &mut others, &mut count).await?);
            }
        }
        let mut changes = vec![Change::People(PeopleChange::Heard { source: SOURCE.into() })];
        if let Some(latest) = latest.filter(|latest| seen.is_none_or(|seen| *latest > seen)) {
            let value = Timestamp::from_micros(latest, true).rfc3339();
            changes.push(Change::Setting { key: SEEN.into(), value });
        }
        self.buffer.change(changes).await.map_err(words)?;
        Ok(count)
    }

    /// Takes one page; the latest change in it.
    async fn page(
        &self,
        upstream: &Upstream,
        page: Vec<Value>,
        others: &mut Others,
        count: &mut usize,
    ) -> Result<Option<i64>, String> {
        if others.len() > OTHERS_MAX {
            others.clear();
        }
        let kind =
            |one: &Value| one.get("resourceType").and_then(Value::as_str).unwrap_or_default().to_owned();
        remember(&page, others);
        complete(upstream, &page, others).await?;
        let (issuers, base) = (self.understanding.issuers(), upstream.state().base);
        let mut latest = None;
        for one in &page {
            let facts = match kind(one).as_str() {
                "Encounter" => match fhir::encounter(one, others, &base, issuers) {
                    Ok(fact) => fact.into_iter().collect(),
                    Err(why) => {
                        tracing::warn!(why, "An Encounter of the FHIR server cannot be used.");
                        Vec::new()
                    }
                },
                // Everybody in the house is changed now and then; only those of the index are news.
                "Patient" if !fhir::linked(one).is_empty() && self.knows(one, others).await? => {
                    fhir::merges(one, others, issuers)
                }
                _ => continue,
            };
            let updated = fhir::updated(one);
            latest = latest.max(updated);
            *count += facts.len();
            // Each look goes back a little behind the last one; what it reads again would have every result since
            // looked at again.
            let id = one.get("id").and_then(Value::as_str).unwrap_or_default();
            let address = format!("{}/{id}", kind(one));
            if updated.is_some() && updated == self.heard_at(&address) {
                continue;
            }
            self.say(facts).await?;
            if let Some(updated) = updated {
                self.hears(address, updated);
            }
        }
        Ok(latest)
    }

    /// Whether the index has the Patient or one they are linked with.
    async fn knows(&self, patient: &Value, others: &Others) -> Result<bool, String> {
        let linked = fhir::linked(patient);
        let all = std::iter::once(patient).chain(linked.iter().filter_map(|at| others.get(at)));
        for said in all.filter_map(|one| fhir::said(one, self.understanding.issuers())) {
            let found = self.reader.person_by(said.identifiers).await.map_err(|fault| fault.to_string())?;
            if found != Lookup::None {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn heard_at(&self, address: &str) -> Option<i64> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).get(address).copied()
    }

    fn hears(&self, address: String, updated: i64) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.len() >= OTHERS_MAX {
            heard.clear();
        }
        heard.insert(address, updated);
    }

    async fn say(&self, facts: Vec<(i64, Fact)>) -> Result<(), String> {
        for (told, fact) in facts {
            let said =
                Adt { event: "FHIR".into(), told, facts: vec![fact], done: "read", left_out: Vec::new() };
            let change = PeopleChange::Tell { entry: None, source: SOURCE.into(), said: vec![said] };
            match self.buffer.change(vec![Change::People(change)]).await {
                Ok(()) => {}
                // One that is not allowed must not keep the others back.
                Err(BufferError::NotAllowed(why)) => {
                    tracing::warn!(why, "What the FHIR server says of a patient was not taken.");
                }
                Err(other) => return Err(other.to_string()),
            }
        }
        Ok(())
    }
}

fn remember(page: &[Value], others: &mut Others) {
    for one in page {
        let part = |name: &str| one.get(name).and_then(Value::as_str);
        if let (Some(kind @ ("Patient" | "Location")), Some(id)) = (part("resourceType"), part("id")) {
            others.insert(format!("{kind}/{id}"), one.clone());
        }
    }
}

/// Reads what the page refers to and the server did not send with it.
async fn complete(upstream: &Upstream, page: &[Value], others: &mut Others) -> Result<(), String> {
    for _ in 0..LEVELS_MAX {
        let missing = fhir::missing(page, others);
        let before = others.len();
        for kind in ["Patient", "Location"] {
            let ids: Vec<&str> =
                missing.iter().filter_map(|at| at.strip_prefix(kind)?.strip_prefix('/')).collect();
            for some in ids.chunks(IDS_AT_ONCE) {
                let mut walk = upstream.walk(&format!("{kind}?_id={}&_count={IDS_AT_ONCE}", some.join(",")));
                while let Some(found) = walk.page().await? {
                    remember(&found, others);
                }
            }
        }
        if others.len() == before {
            break;
        }
    }
    Ok(())
}

/// The search for open encounters, or for those that changed since.
fn encounters(seen: Option<i64>, query: &str) -> String {
    let which = match seen {
        None => "status=arrived,triaged,in-progress,onleave".to_owned(),
        Some(seen) => format!("_lastUpdated=gt{}&_sort=_lastUpdated", since(seen)),
    };
    let mut search =
        format!("Encounter?{which}&_include=Encounter:patient&_include=Encounter:location&_count=100");
    let query = query.trim().trim_start_matches(['?', '&']);
    if !query.is_empty() {
        search.push('&');
        search.push_str(query);
    }
    search
}

fn patients(seen: i64) -> String {
    format!("Patient?_lastUpdated=gt{}&_sort=_lastUpdated&_count=100", since(seen))
}

fn since(seen: i64) -> String {
    Timestamp::from_micros(seen.saturating_sub(OVERLAP_MICROS), true).rfc3339()
}

/// Lets the token read patients and where they are, where the configuration names no scopes of its own.
pub(in crate::gateway) fn widen(config: &mut upstream::Config) {
    config.reads.extend(["Encounter", "Location"]);
}

#[cfg(test)]
#[path = "fhir_tests.rs"]
mod tests;
