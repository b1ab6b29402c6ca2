//! Orders from the FHIR server: `ServiceRequest`s that changed since the last look, with their specimens and patients.
//!
//! A look follows the server's pages to the last one, and takes the orders of each page before it asks for the next.
//! Only when the last page was read is the latest `meta.lastUpdated` among them written down as the time up to which
//! everything was seen; a look that broke off, or a power cut, repeats. So the server need not sort. Each look goes back
//! a little further than the last one ended: servers index late, and an order that is told twice is one order. What a
//! server shifts from one page to another while it is read (paging by offset) is only seen when it changes again.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;

use super::Worklist;
use crate::buffer::{BufferError, Change, NewOrder, WorkChange, WorkSource, WorkState};
use crate::clock::Timestamp;
use crate::connector::Stop;
use crate::device::{Identifier, Person};
use crate::firmware_profile::OrderedTest;
use crate::upstream::{self, Upstream};

/// Where the box remembers up to when it has seen the server's orders.
const SEEN: &str = "worklist-fhir-seen";
/// How far back the first look goes: an older request has no fresh specimen.
const FIRST_LOOK: Duration = Duration::from_secs(14 * 86_400);
/// How far each look goes back behind the last one.
const OVERLAP_MICROS: i64 = 60_000_000;
/// Longest pause after looks that failed.
const PAUSE_MAX: Duration = Duration::from_secs(600);
/// Specimens and patients remembered from one page to the next.
const OTHERS_MAX: usize = 20_000;

/// What the server is asked for beside the time.
pub(in crate::gateway) struct Looks {
    pub(in crate::gateway) every: Duration,
    /// Further parameters of the search, such as `performer=Organization/lab`.
    pub(in crate::gateway) query: String,
}

impl Worklist {
    /// Looks again and again until told to stop.
    pub(in crate::gateway) async fn follow(
        self: std::sync::Arc<Self>,
        upstream: std::sync::Arc<Upstream>,
        looks: Looks,
        mut stop: Stop,
    ) {
        let mut failures = 0_u32;
        loop {
            match self.look(&upstream, &looks.query).await {
                Ok(count) => {
                    if count > 0 {
                        tracing::info!(count, "Orders of the FHIR server were taken onto the worklist.");
                    }
                    failures = 0;
                }
                Err(why) => {
                    failures = failures.saturating_add(1);
                    tracing::warn!(why, "The FHIR server's orders could not be read; it is tried again.");
                }
            }
            let pause = looks.every.saturating_mul(1 << failures.min(6)).min(PAUSE_MAX.max(looks.every));
            tokio::select! {
                () = stop.wait() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// One look; how many orders were told.
    pub(super) async fn look(&self, upstream: &Upstream, query: &str) -> Result<usize, String> {
        let seen = self.reader.setting(SEEN).await.map_err(|fault| fault.to_string())?;
        let seen = seen.and_then(|text| text.parse::<jiff::Timestamp>().ok()).map(|at| at.as_microsecond());
        let back = i64::try_from(FIRST_LOOK.as_micros()).unwrap_or(i64::MAX);
        let since =
            seen.map_or(self.now().micros.saturating_sub(back), |at| at.saturating_sub(OVERLAP_MICROS));
        let mut walk = upstream.walk(&search(since, query));
        let (mut count, mut latest, mut others) = (0, None, HashMap::new());
        while let Some(page) = walk.page().await? {
            keep(&page, &mut others);
            let (changes, left_out, last) = read(&page, &others, &upstream.state().base);
            latest = latest.max(last);
            for why in &left_out {
                tracing::warn!(why, "A ServiceRequest of the FHIR server cannot be used.");
            }
            count += changes.len();
            self.take(changes).await?;
        }
        if let Some(latest) = latest.filter(|latest| seen.is_none_or(|seen| *latest > seen)) {
            let text = Timestamp::from_micros(latest, true).rfc3339();
            self.buffer.put_setting(SEEN, &text).await.map_err(|fault| fault.to_string())?;
        }
        Ok(count)
    }

    async fn take(&self, changes: Vec<WorkChange>) -> Result<(), String> {
        for change in changes {
            match self.buffer.change(vec![Change::Work(change)]).await {
                Ok(()) => {}
                // One that is not allowed must not keep the others back.
                Err(BufferError::NotAllowed(why)) => {
                    tracing::warn!(why, "A ServiceRequest of the FHIR server was not taken.");
                }
                Err(other) => return Err(other.to_string()),
            }
        }
        Ok(())
    }
}

/// Remembers what requests refer to: a server may include it on an earlier page only.
fn keep(page: &[Value], others: &mut HashMap<String, Value>) {
    if others.len() > OTHERS_MAX {
        others.clear();
    }
    for resource in page {
        if let (Some(kind), Some(id)) = (text(resource, "/resourceType"), text(resource, "/id"))
            && kind != "ServiceRequest"
        {
            others.insert(format!("{kind}/{id}"), resource.clone());
        }
    }
}

/// The search for what changed since `micros`.
fn search(micros: i64, query: &str) -> String {
    let since = Timestamp::from_micros(micros, true).rfc3339();
    let mut search = format!(
        "ServiceRequest?status=active,completed,revoked,entered-in-error&_lastUpdated=gt{since}&_sort=_lastUpdated\
         &_include=ServiceRequest:specimen&_include=ServiceRequest:patient&_count=100"
    );
    let query = query.trim().trim_start_matches(['?', '&']);
    if !query.is_empty() {
        search.push('&');
        search.push_str(query);
    }
    search
}

/// What the requests of a page mean: changes, what cannot be used and why, and the latest change among them.
fn read(
    resources: &[Value],
    others: &HashMap<String, Value>,
    base: &str,
) -> (Vec<WorkChange>, Vec<String>, Option<i64>) {
    let (mut changes, mut left_out, mut latest) = (Vec::new(), Vec::new(), None);
    for request in resources.iter().filter(|one| text(one, "/resourceType") == Some("ServiceRequest")) {
        let Some(id) = text(request, "/id") else { continue };
        let updated = text(request, "/meta/lastUpdated").and_then(|at| at.parse::<jiff::Timestamp>().ok());
        latest = latest.max(updated.map(|at| at.as_microsecond()));
        match change(request, id, base, others) {
            Ok(Some(change)) => changes.push(change),
            Ok(None) => {}
            Err(why) => left_out.push(format!("ServiceRequest/{id}: {why}")),
        }
    }
    (changes, left_out, latest)
}

fn change(
    request: &Value,
    id: &str,
    base: &str,
    others: &HashMap<String, Value>,
) -> Result<Option<WorkChange>, &'static str> {
    let key = format!("fhir:{base}:{id}");
    let ended = |state| Ok(Some(WorkChange::End { key: key.clone(), state, tests: Vec::new() }));
    match text(request, "/status") {
        Some("active") => {}
        Some("completed") => return ended(WorkState::Done),
        Some("revoked" | "entered-in-error") => return ended(WorkState::Cancelled),
        _ => return Ok(None),
    }
    // A plan or a proposal is nobody's order (R4 request-intent); a filler's own is no order to this box either.
    let intent = text(request, "/intent").unwrap_or("order");
    if !matches!(intent, "order" | "original-order" | "reflex-order" | "instance-order") {
        return Ok(None);
    }
    if request.get("doNotPerform").and_then(Value::as_bool) == Some(true) {
        return Ok(None);
    }
    let tests = tests(request);
    if tests.is_empty() {
        return Err("its code is neither LOINC nor a local one");
    }
    let (specimen, kind, collected) = specimen(request, others)?;
    let number = text(request, "/identifier/0/value").or_else(|| text(request, "/requisition/value"));
    let order = NewOrder {
        specimen,
        tests,
        urgent: matches!(text(request, "/priority"), Some("stat" | "asap" | "urgent")),
        person: person(request, others),
        kind,
        collected,
        number: number.unwrap_or(id).to_owned(),
        source: WorkSource::Fhir,
        key,
        author: base.to_owned(),
    };
    Ok(Some(WorkChange::Place { order, replace: true }))
}

fn text<'j>(json: &'j Value, pointer: &str) -> Option<&'j str> {
    json.pointer(pointer).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty())
}

/// `code` with all its codings is one test; each `orderDetail` beside a panel is one more.
fn tests(request: &Value) -> Vec<OrderedTest> {
    let details = request.get("orderDetail").and_then(Value::as_array).into_iter().flatten();
    request.get("code").into_iter().chain(details).filter_map(test).collect()
}

/// SNOMED CT and the like name what is wanted, but no analyser's test.
fn test(concept: &Value) -> Option<OrderedTest> {
    let mut test =
        OrderedTest { text: text(concept, "/text").map(ToOwned::to_owned), ..OrderedTest::default() };
    for coding in concept.get("coding").and_then(Value::as_array).into_iter().flatten() {
        let Some(code) = text(coding, "/code") else { continue };
        match text(coding, "/system") {
            Some("http://loinc.org") => drop(test.loinc.get_or_insert_with(|| code.into())),
            Some("http://snomed.info/sct" | "http://hl7.org/fhir/sid/icd-10") => {}
            Some(system) if system.starts_with("http://terminology.hl7.org") => {}
            _ => drop(test.own.get_or_insert_with(|| code.into())),
        }
        if test.text.is_none() {
            test.text = text(coding, "/display").map(ToOwned::to_owned);
        }
    }
    (test.own.is_some() || test.loinc.is_some()).then_some(test)
}

/// The barcode: the accession of the specimen, else its identifier, else the identifier the reference itself carries.
fn specimen(
    request: &Value,
    others: &HashMap<String, Value>,
) -> Result<(String, String, Option<Timestamp>), &'static str> {
    let references = request.get("specimen").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let reference = match references {
        [] => return Err("it names no specimen"),
        [one] => one,
        _ => return Err("it names several specimens: one order is for one tube"),
    };
    let held = text(reference, "/reference").and_then(|at| resolve(at, request, others));
    let code = held.and_then(|held| {
        text(held, "/accessionIdentifier/value").or_else(|| text(held, "/identifier/0/value"))
    });
    let code = code
        .or_else(|| text(reference, "/identifier/value"))
        .ok_or("its specimen has no accession number and no identifier")?;
    let kind = held.and_then(|held| text(held, "/type/coding/0/code").or_else(|| text(held, "/type/text")));
    let taken = held.and_then(|held| text(held, "/collection/collectedDateTime"));
    let taken = taken.and_then(|at| at.parse::<jiff::Timestamp>().ok());
    let taken = taken.map(|at| Timestamp::from_micros(at.as_microsecond(), true));
    Ok((code.to_owned(), kind.unwrap_or_default().to_owned(), taken))
}

/// A contained resource (`#id`), or one of the same search.
fn resolve<'j>(at: &str, request: &'j Value, others: &'j HashMap<String, Value>) -> Option<&'j Value> {
    if let Some(id) = at.strip_prefix('#') {
        let mut contained = request.get("contained").and_then(Value::as_array)?.iter();
        return contained.find(|one| text(one, "/id") == Some(id));
    }
    let mut parts = at.split("/_history/").next()?.rsplit('/');
    let (id, kind) = (parts.next()?, parts.next()?);
    others.get(&format!("{kind}/{id}"))
}

fn person(request: &Value, others: &HashMap<String, Value>) -> Option<Person> {
    let subject = request.get("subject")?;
    let held = text(subject, "/reference").and_then(|at| resolve(at, request, others));
    let held = held.filter(|held| text(held, "/resourceType") == Some("Patient"));
    let identifier = |one: &Value| {
        let value = text(one, "/value")?;
        let system = text(one, "/system").unwrap_or("urn:bedside:authority:unstated");
        Some(Identifier { system: system.into(), value: value.into(), kind: None })
    };
    let Some(patient) = held else {
        let identifiers: Vec<Identifier> =
            subject.get("identifier").and_then(identifier).into_iter().collect();
        return (!identifiers.is_empty()).then(|| Person { identifiers, ..Person::default() });
    };
    let identifiers = patient.get("identifier").and_then(Value::as_array).into_iter().flatten();
    let old = |name: &&Value| text(name, "/use") != Some("old");
    let names = patient.get("name").and_then(Value::as_array).into_iter().flatten();
    let name =
        names.clone().find(|name| text(name, "/use") == Some("official")).or_else(|| names.clone().find(old));
    let given = name.and_then(|name| name.get("given")).and_then(Value::as_array).into_iter().flatten();
    Some(Person {
        identifiers: identifiers.filter_map(identifier).collect(),
        family: name.and_then(|name| text(name, "/family")).map(Into::into),
        given: given.filter_map(Value::as_str).map(Into::into).collect(),
        birth_date: text(patient, "/birthDate").map(Into::into),
        gender: text(patient, "/gender").map(Into::into),
    })
}

/// Fuzz body: see [`crate::gateway::fuzz_fhir`].
pub(in crate::gateway) fn fuzz(bytes: &[u8]) {
    let Ok(Value::Array(page)) = serde_json::from_slice(bytes) else { return };
    let (mut others, issuers) = (HashMap::new(), crate::identity::Issuers::default());
    keep(&page, &mut others);
    let (changes, _, _) = read(&page, &others, "https://x.example");
    for change in changes {
        if let WorkChange::Place { order, .. } = change {
            assert!(!order.specimen.is_empty() && !order.tests.is_empty());
        }
    }
    drop(crate::identity::fhir::missing(&page, &others));
    for one in &page {
        drop(crate::identity::fhir::merges(one, &others, &issuers));
        if let Ok(Some((_, crate::identity::Fact::VisitSeen { person, .. }))) =
            crate::identity::fhir::encounter(one, &others, "https://x.example", &issuers)
        {
            assert!(!person.identifiers.is_empty());
        }
    }
}

/// Lets the token read orders, where the configuration names no scopes of its own.
pub(in crate::gateway) fn widen(config: &mut upstream::Config) {
    config.reads.push("ServiceRequest");
}

#[cfg(test)]
#[path = "fhir_tests.rs"]
mod tests;
