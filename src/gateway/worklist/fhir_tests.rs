use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::buffer::{Buffer, Config, OrderRow, WorkFilter};
use crate::clock::{Clock, TestClock};
use crate::demo::fhir_server::{self, Fault, On, Running};
use crate::gateway::understand::Understanding;
use crate::secret::SecretStore;
use crate::translate::Gateway;

const NOW: i64 = 1_773_477_000_000_000;
const BASE: &str = "https://ehr.example.org/fhir";

fn request(id: &str, status: &str, specimen: &str) -> Value {
    json!({
        "resourceType": "ServiceRequest", "id": id, "status": status, "intent": "order", "priority": "stat",
        "identifier": [{ "system": "urn:placer", "value": format!("N-{id}") }],
        "code": { "coding": [{ "system": "http://snomed.info/sct", "code": "33747003" }, { "system": "http://loinc.org", "code": "2345-7", "display": "Glucose" }] },
        "subject": { "reference": "Patient/p1" }, "specimen": [{ "reference": format!("Specimen/{specimen}") }],
        "meta": { "lastUpdated": "2026-03-14T08:00:00.000Z" },
    })
}

fn specimen(id: &str) -> Value {
    json!({ "resourceType": "Specimen", "id": id, "accessionIdentifier": { "value": format!("ACC-{id}") },
        "type": { "coding": [{ "code": "SER" }] }, "collection": { "collectedDateTime": "2026-03-14T09:15:00+01:00" } })
}

fn patient() -> Value {
    json!({ "resourceType": "Patient", "id": "p1", "birthDate": "1980-02-03", "gender": "female",
        "identifier": [{ "system": "urn:mrn", "value": "M7" }],
        "name": [{ "use": "old", "family": "BEFORE" }, { "family": "TEST", "given": ["PATIENT"] }] })
}

fn placed(resources: &[Value]) -> (Vec<NewOrder>, Vec<String>) {
    let mut others = HashMap::new();
    keep(resources, &mut others);
    let (changes, left_out, _) = read(resources, &others, BASE);
    let orders = changes.into_iter().filter_map(|change| match change {
        WorkChange::Place { order, .. } => Some(order),
        _ => None,
    });
    (orders.collect(), left_out)
}

#[test]
fn a_request_becomes_an_order_of_its_tube_and_patient() {
    let (orders, left_out) = placed(&[request("r1", "active", "s1"), specimen("s1"), patient()]);
    assert_eq!(left_out, [""; 0]);
    let order = &orders[0];
    assert_eq!(
        (&*order.specimen, &*order.number, &*order.kind, order.urgent),
        ("ACC-s1", "N-r1", "SER", true)
    );
    assert_eq!(order.tests[0].loinc.as_deref(), Some("2345-7"));
    assert_eq!(order.tests[0].own, None, "a SNOMED CT code is no analyser's own");
    assert_eq!(order.collected.unwrap().rfc3339(), "2026-03-14T08:15:00.000Z");
    let person = order.person.as_ref().unwrap();
    assert_eq!((person.family.as_deref(), &*person.identifiers[0].value), (Some("TEST"), "M7"));
    assert_eq!(order.key, "fhir:https://ehr.example.org/fhir:r1");
}

#[test]
fn contained_and_logical_specimens_are_found_too() {
    let mut contained = request("r1", "active", "x");
    contained["specimen"] = json!([{ "reference": "#t" }]);
    contained["contained"] =
        json!([{ "resourceType": "Specimen", "id": "t", "identifier": [{ "value": "T-1" }] }]);
    let mut logical = request("r2", "active", "x");
    logical["specimen"] = json!([{ "identifier": { "value": "T-2" } }]);
    logical["subject"] = json!({ "identifier": { "system": "urn:mrn", "value": "M8" } });
    let mut absolute = request("r3", "active", "x");
    absolute["specimen"] = json!([{ "reference": "https://ehr.example.org/fhir/Specimen/s1/_history/2" }]);
    let (orders, _) = placed(&[contained, logical, absolute, specimen("s1")]);
    assert_eq!(orders.iter().map(|o| &*o.specimen).collect::<Vec<_>>(), ["T-1", "T-2", "ACC-s1"]);
    assert_eq!(&*orders[1].person.as_ref().unwrap().identifiers[0].value, "M8");
    assert_eq!(orders[0].person, None);
}

#[test]
fn what_cannot_be_an_order_is_told_or_left() {
    let mut no_tube = request("r1", "active", "s1");
    no_tube["specimen"] = json!([]);
    let mut two = request("r2", "active", "s1");
    two["specimen"] = json!([{ "reference": "Specimen/s1" }, { "reference": "Specimen/s2" }]);
    let mut snomed = request("r3", "active", "s1");
    snomed["code"] = json!({ "coding": [{ "system": "http://snomed.info/sct", "code": "1" }] });
    let mut plan = request("r4", "active", "s1");
    plan["intent"] = json!("plan");
    let nameless = request("r5", "active", "gone");
    let mut never = request("r6", "active", "s1");
    never["doNotPerform"] = json!(true);
    let (orders, left_out) =
        placed(&[no_tube, two, snomed, plan, nameless, never, request("r7", "draft", "s1"), specimen("s1")]);
    assert!(orders.is_empty());
    assert_eq!(
        left_out,
        [
            "ServiceRequest/r1: it names no specimen",
            "ServiceRequest/r2: it names several specimens: one order is for one tube",
            "ServiceRequest/r3: its code is neither LOINC nor a local one",
            "ServiceRequest/r5: its specimen has no accession number and no identifier",
        ]
    );
}

#[test]
fn the_search_names_no_patient_and_takes_what_the_configuration_adds() {
    let search = search(NOW, "&performer=Organization/lab");
    assert!(search.starts_with("ServiceRequest?status=active,"), "{search}");
    assert!(search.contains("&_lastUpdated=gt2026-03-14T08:30:00.000Z&"), "{search}");
    assert!(search.ends_with("&_count=100&performer=Organization/lab"), "{search}");
}

struct Ward {
    server: Running,
    upstream: Upstream,
    worklist: Worklist,
    clock: Arc<TestClock>,
    _dir: tempfile::TempDir,
}

impl Ward {
    async fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = TestClock::at(NOW);
        let (server, upstream) = with_token(dir.path(), &clock).await;
        let config = Config { dir: dir.path().join("data"), ..Config::default() };
        let buffer = Buffer::open(&config, clock.clone()).unwrap();
        let me = Gateway {
            id: Identifier { system: "urn:x".into(), value: "box".into(), kind: None },
            name: "Rig".into(),
            version: "1".into(),
            patient_system: None,
        };
        let understanding = Arc::new(Understanding::new(Vec::new(), me, true));
        let worklist = Worklist::new(buffer, understanding, clock.clone());
        Self { server, upstream, worklist, clock, _dir: dir }
    }

    fn plant(&self, json: &Value) {
        self.server.store.plant(json, self.clock.now());
    }

    async fn orders(&self) -> Vec<OrderRow> {
        self.worklist.reader.orders(WorkFilter { limit: 1000, ..WorkFilter::default() }).await.unwrap()
    }

    async fn look(&self) -> Result<usize, String> {
        self.worklist.look(&self.upstream, "").await
    }
}

/// A server that asks for a token, and an upstream that has a key for it.
async fn with_token(dir: &std::path::Path, clock: &Arc<TestClock>) -> (Running, Upstream) {
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let secret = upstream::keys::generate(upstream::keys::Algorithm::Es384).unwrap();
    let key = upstream::keys::SigningKey::from_pem(secret.expose()).unwrap();
    let mut config = fhir_server::Config::new(clock.clone());
    config.register("rig", json!({ "keys": [key.public_jwk()] }));
    let server = fhir_server::start(config).await.unwrap();
    crate::secret::write_new(&dir.join("upstream-key"), &secret).unwrap();
    let mut config = upstream::Config::new(&server.base_url);
    config.client_id = "rig".into();
    config.timeout_s = 2;
    widen(&mut config);
    let secrets = SecretStore::new(None, Some(dir.to_path_buf()));
    let upstream = Upstream::new(config, &secrets, clock.clone()).unwrap();
    (server, upstream)
}

#[tokio::test]
async fn all_pages_are_read_and_a_second_look_changes_nothing() {
    let ward = Ward::open().await;
    ward.plant(&patient());
    for n in 0..230 {
        ward.plant(&specimen(&format!("s{n}")));
        ward.plant(&request(&format!("r{n}"), "active", &format!("s{n}")));
    }
    assert_eq!(ward.look().await.unwrap(), 230);
    assert_eq!(ward.orders().await.len(), 230);
    assert!(ward.server.targets().iter().any(|target| target.contains("_offset=200")), "three pages");
    assert!(
        ward.orders().await.iter().all(|order| order.person.is_some() && order.specimen.starts_with("ACC-"))
    );
    ward.look().await.unwrap();
    assert_eq!(ward.orders().await.len(), 230);
    let granted = ward.upstream.state().scopes.unwrap();
    assert!(granted.contains("system/ServiceRequest.rs"), "{granted}");
}

#[tokio::test]
async fn what_the_server_revokes_or_completes_is_ended_here() {
    let ward = Ward::open().await;
    for n in ["1", "2", "3"] {
        ward.plant(&specimen(n));
        ward.plant(&request(n, "active", n));
    }
    ward.look().await.unwrap();
    ward.clock.advance(Duration::from_secs(600));
    ward.plant(&request("1", "revoked", "1"));
    ward.plant(&request("2", "completed", "2"));
    ward.look().await.unwrap();
    assert_eq!(ward.look().await.unwrap(), 2, "only what changed is asked for");
    let states: Vec<_> = ward.orders().await.into_iter().map(|order| (order.number, order.state)).collect();
    assert_eq!(
        states,
        [
            ("N-3".into(), WorkState::Open),
            ("N-2".into(), WorkState::Done),
            ("N-1".into(), WorkState::Cancelled)
        ]
    );
}

#[tokio::test]
async fn a_token_that_was_taken_back_is_replaced_and_a_server_that_is_down_costs_nothing() {
    let ward = Ward::open().await;
    ward.plant(&specimen("1"));
    ward.plant(&request("1", "active", "1"));
    ward.server.faults.once(On::Read, Fault::Drop);
    assert!(ward.look().await.is_err());
    ward.server.faults.once(On::Read, Fault::Status(503));
    let said = ward.look().await.unwrap_err();
    assert!(said.contains("503"), "{said}");
    assert_eq!(ward.look().await.unwrap(), 1);
    ward.server.revoke_tokens();
    assert_eq!(ward.look().await.unwrap(), 1, "401 once, then with a new token");
    ward.server.faults.once(On::Read, Fault::Status(403));
    let said = ward.look().await.unwrap_err();
    assert!(said.contains("system/ServiceRequest.rs"), "{said}");
    assert_eq!(ward.orders().await.len(), 1);
}
