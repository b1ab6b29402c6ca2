//! Bundles: a transaction is done wholly or not at all, a batch entry by entry (FHIR R4 §3.1.0.11).

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::check::{KINDS, Sketch};
use super::reply::Refusal;
use super::store::{Inner, Store};
use crate::clock::Timestamp;

/// What may be asked of the whole.
pub(super) struct Rules<'r> {
    pub(super) max_entries: usize,
    pub(super) update_create: bool,
    pub(super) check_references: bool,
    /// Else only batches, none of whose entries can refer to another.
    pub(super) transactions: bool,
    /// Whether `ifNoneExist` is heeded.
    pub(super) conditional_create: bool,
    /// Every n-th entry gets this status, the rest is committed.
    pub(super) half: Option<(usize, u16)>,
    /// Whether the client may write this type.
    pub(super) may_write: &'r dyn Fn(&str) -> bool,
}

#[derive(Deserialize)]
struct Bundle<'a> {
    #[serde(rename = "resourceType", default)]
    kind: String,
    #[serde(rename = "type", default)]
    bundle_type: String,
    #[serde(borrow, default)]
    entry: Vec<Entry<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    #[serde(borrow, default)]
    full_url: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    resource: Option<&'a RawValue>,
    #[serde(borrow, default)]
    request: Option<Request<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    #[serde(borrow, default)]
    method: Cow<'a, str>,
    #[serde(borrow, default)]
    url: Cow<'a, str>,
    #[serde(borrow, default)]
    if_none_exist: Option<Cow<'a, str>>,
}

/// What one entry comes to before anything is written.
struct Plan {
    key: String,
    /// None: a match exists and stays as it is.
    json: Option<String>,
}

/// Does a Bundle; the answer is the response Bundle.
pub(super) fn run(store: &Store, body: &[u8], rules: &Rules<'_>, now: Timestamp) -> Result<Value, Refusal> {
    let bundle: Bundle<'_> = serde_json::from_slice(body)
        .map_err(|fault| Refusal::new(400, "structure", format!("the body is not a Bundle: {fault}")))?;
    let atomic = match (bundle.kind.as_str(), bundle.bundle_type.as_str()) {
        ("Bundle", "transaction") if rules.transactions => rules.half.is_none(),
        ("Bundle", "batch") => false,
        _ => return Err(Refusal::new(400, "invalid", "the body is neither a transaction nor a batch")),
    };
    if bundle.entry.len() > rules.max_entries {
        let words = format!("{} entries are too many; {} are taken", bundle.entry.len(), rules.max_entries);
        return Err(Refusal::new(413, "too-costly", words));
    }
    let mut inner = store.lock();
    let plans = plan_all(&inner, &bundle.entry, rules, atomic)?;
    let mut entries = Vec::with_capacity(plans.len());
    for plan in plans {
        entries.push(match plan {
            Ok(plan) => carry_out(&mut inner, &plan, now, store.max_resources())?,
            Err(refusal) => {
                json!({ "response": { "status": refusal.status.to_string(), "outcome": refusal.outcome() } })
            }
        });
    }
    let answer_type = format!("{}-response", bundle.bundle_type);
    Ok(json!({ "resourceType": "Bundle", "type": answer_type, "entry": entries }))
}

/// In a transaction the first refusal is that of the whole; else each entry has its own.
fn plan_all(
    inner: &Inner,
    entries: &[Entry<'_>],
    rules: &Rules<'_>,
    atomic: bool,
) -> Result<Vec<Result<Plan, Refusal>>, Refusal> {
    let mut plans: Vec<Result<Plan, Refusal>> = Vec::with_capacity(entries.len());
    let mut seen = HashSet::new();
    for (at, entry) in entries.iter().enumerate() {
        let mut plan = match rules.half {
            Some((every, status)) if at % every.max(1) == every.max(1) - 1 => {
                Err(Refusal::new(status, "processing", "refused on purpose"))
            }
            _ => plan(inner, entry, rules),
        };
        if let Ok(planned) = &plan
            && !seen.insert(planned.key.clone())
        {
            plan = Err(Refusal::new(400, "duplicate", format!("{} is in the Bundle twice", planned.key)));
        }
        if let (true, Err(refusal)) = (atomic, &plan) {
            return Err(Refusal {
                words: format!("Bundle.entry[{at}]: {}", refusal.words),
                ..refusal.clone()
            });
        }
        plans.push(plan);
    }
    let places: HashMap<&str, &str> = entries
        .iter()
        .zip(&plans)
        .filter_map(|(entry, plan)| Some((entry.full_url.as_deref()?, plan.as_ref().ok()?.key.as_str())))
        .filter(|(url, _)| url.starts_with("urn:") && rules.transactions)
        .collect();
    let new: HashSet<&str> = plans
        .iter()
        .filter_map(|plan| plan.as_ref().ok())
        .filter(|_| rules.transactions)
        .map(|plan| plan.key.as_str())
        .collect();
    let mut refusals = Vec::new();
    let mut finished = Vec::new();
    for (at, plan) in plans.iter().enumerate() {
        let Ok(Plan { json: Some(json), .. }) = plan else { continue };
        match resolve(inner, json, &places, &new, rules) {
            Ok(json) => finished.push((at, json)),
            Err(refusal) if atomic => {
                return Err(Refusal { words: format!("Bundle.entry[{at}]: {}", refusal.words), ..refusal });
            }
            Err(refusal) => refusals.push((at, refusal)),
        }
    }
    for (at, json) in finished {
        if let Some(Ok(plan)) = plans.get_mut(at) {
            plan.json = Some(json);
        }
    }
    for (at, refusal) in refusals {
        if let Some(plan) = plans.get_mut(at) {
            *plan = Err(refusal);
        }
    }
    Ok(plans)
}

/// Where one entry goes, and whether it may.
fn plan(inner: &Inner, entry: &Entry<'_>, rules: &Rules<'_>) -> Result<Plan, Refusal> {
    let request =
        entry.request.as_ref().ok_or_else(|| Refusal::new(400, "required", "request is missing"))?;
    let json = entry.resource.ok_or_else(|| Refusal::new(400, "required", "resource is missing"))?.get();
    let (path, query) = match request.url.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (request.url.as_ref(), None),
    };
    let sketch = Sketch::read(json)?;
    let kind = path.split('/').next().unwrap_or_default();
    if kind != sketch.resource_type || !KINDS.contains(&kind) {
        return Err(Refusal::new(400, "invalid", "request.url is not of the resource's type"));
    }
    if !(rules.may_write)(kind) {
        return Err(Refusal::new(403, "forbidden", format!("the token does not allow writing {kind}")));
    }
    let key = match (request.method.as_ref(), path.split_once('/'), query, &request.if_none_exist) {
        ("PUT", Some((_, id)), None, _) => return put(inner, kind, id, &sketch, json, rules),
        ("PUT", None, Some(query), _) => matching(inner, kind, query)?,
        ("POST", None, None, Some(query)) if rules.conditional_create => {
            match matching(inner, kind, query)? {
                Some(key) => return Ok(Plan { key, json: None }),
                None => None,
            }
        }
        ("POST", None, None, _) => None,
        _ => return Err(Refusal::new(400, "not-supported", "request is neither a create nor an update")),
    };
    let key = key.unwrap_or_else(|| format!("{kind}/{}", uuid::Uuid::new_v4()));
    Ok(Plan { key, json: Some(json.to_owned()) })
}

/// PUT Type/id; also the single request.
fn put(
    inner: &Inner,
    kind: &str,
    id: &str,
    sketch: &Sketch<'_>,
    json: &str,
    rules: &Rules<'_>,
) -> Result<Plan, Refusal> {
    let key = format!("{kind}/{id}");
    if sketch.id.as_deref() != Some(id) {
        return Err(Refusal::new(400, "invalid", "the id of the resource is not that of request.url"));
    }
    // FHIR R4 §2.24.0.1
    if id.is_empty()
        || id.len() > 64
        || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte))
    {
        return Err(Refusal::new(400, "invalid", "the id has characters that no id may have"));
    }
    if !rules.update_create && !inner.contains(&key) {
        return Err(Refusal::new(405, "not-supported", "ids are chosen by this server"));
    }
    Ok(Plan { key, json: Some(json.to_owned()) })
}

/// One PUT outside of a Bundle.
pub(super) fn put_one(
    store: &Store,
    kind: &str,
    id: &str,
    body: &[u8],
    rules: &Rules<'_>,
    now: Timestamp,
) -> Result<Value, Refusal> {
    let json =
        std::str::from_utf8(body).map_err(|_| Refusal::new(400, "structure", "the body is not UTF-8"))?;
    let sketch = Sketch::read(json)?;
    if !(rules.may_write)(kind) {
        return Err(Refusal::new(403, "forbidden", format!("the token does not allow writing {kind}")));
    }
    let mut inner = store.lock();
    let mut plan = put(&inner, kind, id, &sketch, json, rules)?;
    plan.json = Some(resolve(&inner, json, &HashMap::new(), &HashSet::new(), rules)?);
    carry_out(&mut inner, &plan, now, store.max_resources())
}

/// The one match of a conditional request; more than one is refused.
fn matching(inner: &Inner, kind: &str, query: &str) -> Result<Option<String>, Refusal> {
    let query = super::route::parse_form(query);
    let named = query.iter().find(|(name, _)| name == "identifier");
    let Some((_, token)) = named else {
        return Err(Refusal::new(412, "not-supported", "only identifier can be matched"));
    };
    let mut found = inner.matches(kind, token);
    match found.len() {
        0 | 1 => Ok(found.pop()),
        count => Err(Refusal::new(412, "multiple-matches", format!("{count} resources match"))),
    }
}

/// Replaces urn and conditional references by what they stand for, and refuses those that stand for nothing.
fn resolve(
    inner: &Inner,
    json: &str,
    places: &HashMap<&str, &str>,
    new: &HashSet<&str>,
    rules: &Rules<'_>,
) -> Result<String, Refusal> {
    let sketch = Sketch::read(json)?;
    let mut out = Cow::Borrowed(json);
    for reference in sketch.references() {
        let missing = || {
            Refusal::new(400, "not-found", format!("{} is referred to but is not here", public(reference)))
        };
        let target = if let Some(place) = places.get(reference) {
            (*place).to_owned()
        } else if let Some((kind, query)) = reference.split_once('?') {
            matching(inner, kind, query)?.ok_or_else(missing)?
        } else {
            reference.to_owned()
        };
        let local = !target.starts_with("urn:") && !target.contains("://");
        if rules.check_references && local && !inner.contains(&target) && !new.contains(target.as_str()) {
            return Err(missing());
        }
        if target != reference {
            out = Cow::Owned(
                out.replace(&Value::from(reference).to_string(), &Value::from(target).to_string()),
            );
        }
    }
    Ok(out.into_owned())
}

/// A conditional reference holds an identifier: only its type is told.
fn public(reference: &str) -> &str {
    reference.split('?').next().unwrap_or_default()
}

fn carry_out(inner: &mut Inner, plan: &Plan, now: Timestamp, limit: usize) -> Result<Value, Refusal> {
    let Some(json) = &plan.json else {
        return Ok(json!({ "response": { "status": "200 OK", "location": plan.key } }));
    };
    let sketch = Sketch::read(json)?;
    let written = inner.write(&plan.key, json, &sketch, now, limit);
    let status = if written.created { "201 Created" } else { "200 OK" };
    let location = format!("{}/_history/{}", plan.key, written.version);
    let etag = format!("W/\"{}\"", written.version);
    Ok(
        json!({ "response": { "status": status, "location": location, "etag": etag, "lastModified": now.rfc3339() } }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(0, true);

    fn rules() -> Rules<'static> {
        Rules {
            max_entries: 10,
            update_create: true,
            check_references: true,
            transactions: true,
            conditional_create: true,
            half: None,
            may_write: &|_| true,
        }
    }

    fn observation(id: &str, subject: &str) -> Value {
        json!({ "resourceType": "Observation", "id": id, "status": "final", "code": { "text": "x" }, "subject": { "reference": subject } })
    }

    fn post(store: &Store, entries: Value, rules: &Rules<'_>) -> Result<Vec<String>, u16> {
        let body = json!({ "resourceType": "Bundle", "type": "transaction", "entry": entries }).to_string();
        let answer = run(store, body.as_bytes(), rules, NOW).map_err(|refusal| refusal.status)?;
        let statuses = answer["entry"].as_array().unwrap().iter();
        Ok(statuses.map(|entry| entry["response"]["status"].as_str().unwrap()[..3].to_owned()).collect())
    }

    fn put_entry(resource: Value) -> Value {
        let url =
            format!("{}/{}", resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap());
        json!({ "resource": resource, "request": { "method": "PUT", "url": url } })
    }

    #[test]
    fn a_transaction_is_all_or_nothing() {
        let store = Store::new(100);
        let patient = json!({ "resourceType": "Patient", "id": "p" });
        let good = put_entry(observation("1", "Patient/p"));
        let bad = put_entry(json!({ "resourceType": "Observation", "id": "2", "code": { "text": "x" } }));
        assert_eq!(post(&store, json!([put_entry(patient.clone()), good, bad]), &rules()), Err(422));
        assert_eq!(store.count(), 0);
        assert_eq!(post(&store, json!([good, put_entry(patient)]), &rules()).unwrap(), ["201", "201"]);
    }

    #[test]
    fn a_reference_to_nothing_is_refused() {
        let store = Store::new(100);
        assert_eq!(post(&store, json!([put_entry(observation("1", "Patient/p"))]), &rules()), Err(400));
    }

    #[test]
    fn conditional_create_matches_and_urns_are_resolved() {
        let store = Store::new(100);
        let patient =
            json!({ "resourceType": "Patient", "identifier": [{ "system": "urn:s", "value": "1" }] });
        let entries = json!([
            { "fullUrl": "urn:uuid:a", "resource": patient, "request": { "method": "POST", "url": "Patient", "ifNoneExist": "identifier=urn%3As%7C1" } },
            { "fullUrl": "urn:uuid:b", "resource": observation("x", "urn:uuid:a"), "request": { "method": "POST", "url": "Observation" } },
        ]);
        assert_eq!(post(&store, entries.clone(), &rules()).unwrap(), ["201", "201"]);
        assert_eq!(post(&store, entries, &rules()).unwrap(), ["200", "201"]);
        let place = format!("Patient/{}", store.ids("Patient")[0]);
        let first = store.resource("Observation", &store.ids("Observation")[0]).unwrap();
        assert_eq!(first["subject"]["reference"], place);
    }

    #[test]
    fn one_key_twice_and_two_matches_are_refused() {
        let store = Store::new(100);
        let patient = |id: &str| json!({ "resourceType": "Patient", "id": id, "identifier": [{ "system": "s", "value": "1" }] });
        assert_eq!(
            post(&store, json!([put_entry(patient("p")), put_entry(patient("p"))]), &rules()),
            Err(400)
        );
        post(&store, json!([put_entry(patient("p")), put_entry(patient("q"))]), &rules()).unwrap();
        let create = json!({ "resource": patient("x"), "request": { "method": "POST", "url": "Patient", "ifNoneExist": "identifier=s|1" } });
        assert_eq!(post(&store, json!([create]), &rules()), Err(412));
    }

    #[test]
    fn half_of_a_bundle_can_be_accepted_on_purpose() {
        let store = Store::new(100);
        let rules = Rules { half: Some((2, 422)), check_references: false, ..rules() };
        let entries: Vec<Value> =
            (0..4).map(|n| put_entry(observation(&n.to_string(), "Patient/p"))).collect();
        assert_eq!(post(&store, json!(entries), &rules).unwrap(), ["201", "422", "201", "422"]);
        assert_eq!(store.ids("Observation"), ["0", "2"]);
    }

    #[test]
    fn ids_chosen_by_the_client_can_be_refused_and_too_many_entries_are() {
        let store = Store::new(100);
        let own = Rules { update_create: false, ..rules() };
        assert_eq!(
            post(&store, json!([put_entry(json!({ "resourceType": "Patient", "id": "p" }))]), &own),
            Err(405)
        );
        let few = Rules { max_entries: 1, ..rules() };
        assert_eq!(post(&store, json!([{}, {}]), &few), Err(413));
    }
}
