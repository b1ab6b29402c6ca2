use serde_json::json;

use super::*;
use crate::buffer::{Buffer, Config};
use crate::clock::{Clock, TestClock};
use crate::demo::fhir_server::{self, Fault, On, Running};
use crate::device::Identifier;
use crate::gateway::understand::Understanding;
use crate::identity::Place;
use crate::secret::SecretStore;
use crate::translate::Gateway;

const NOW: i64 = 1_773_477_000_000_000;

struct House {
    server: Running,
    upstream: Upstream,
    people: People,
    clock: Arc<TestClock>,
    _dir: tempfile::TempDir,
}

impl House {
    async fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = TestClock::at(NOW);
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let secret = upstream::keys::generate(upstream::keys::Algorithm::Es384).unwrap();
        let key = upstream::keys::SigningKey::from_pem(secret.expose()).unwrap();
        let mut config = fhir_server::Config::new(clock.clone());
        config.register("rig", json!({ "keys": [key.public_jwk()] }));
        let server = fhir_server::start(config).await.unwrap();
        crate::secret::write_new(&dir.path().join("upstream-key"), &secret).unwrap();
        let mut config = upstream::Config::new(&server.base_url);
        config.client_id = "rig".into();
        config.timeout_s = 2;
        widen(&mut config);
        let secrets = SecretStore::new(None, Some(dir.path().to_path_buf()));
        let upstream = Upstream::new(config, &secrets, clock.clone()).unwrap();
        let kept = Config { dir: dir.path().join("data"), ..Config::default() };
        let buffer = Buffer::open(&kept, clock.clone()).unwrap();
        let me = Gateway {
            id: Identifier { system: "urn:x".into(), value: "box".into(), kind: None },
            name: "Rig".into(),
            version: "1".into(),
            patient_system: None,
        };
        let understanding = Arc::new(Understanding::new(Vec::new(), me, true));
        Self { server, upstream, people: People::new(buffer, understanding, 50, 72), clock, _dir: dir }
    }

    fn plant(&self, json: &Value) {
        self.server.store.plant(json, self.clock.now());
    }

    fn furnish(&self, beds: usize) {
        self.plant(&json!({ "resourceType": "Location", "id": "ward", "name": "ICU", "physicalType": { "coding": [{ "code": "wa" }] } }));
        for n in 0..beds {
            self.plant(&json!({ "resourceType": "Location", "id": format!("bed{n}"), "name": n.to_string(),
                "physicalType": { "coding": [{ "code": "bd" }] }, "partOf": { "reference": "Location/ward" } }));
            self.plant(&json!({ "resourceType": "Patient", "id": format!("p{n}"), "identifier": [{ "system": "urn:mrn", "value": format!("M{n}") }],
                "name": [{ "family": "TEST" }] }));
        }
    }

    fn lies(&self, n: usize, status: &str) {
        let mut one = json!({ "resourceType": "Encounter", "id": format!("e{n}"), "status": status, "class": { "code": "IMP" },
            "subject": { "reference": format!("Patient/p{n}") }, "period": { "start": "2026-03-14T08:00:00Z" },
            "location": [{ "location": { "reference": format!("Location/bed{n}") } }] });
        if status == "finished" {
            one["period"]["end"] = json!("2026-03-14T08:40:00Z");
        }
        self.plant(&one);
    }

    async fn bed(&self, n: usize) -> Vec<String> {
        let place = Place::new("", "ICU", "", &n.to_string()).unwrap();
        let found = self.people.reader.in_bed(place, self.clock.now().micros).await.unwrap();
        found.iter().map(|row| row.person.identifiers[0].value.to_string()).collect()
    }
}

#[tokio::test]
async fn who_lies_where_is_read_page_by_page_and_then_only_what_changed() {
    let house = House::open().await;
    house.furnish(130);
    for n in 0..130 {
        house.lies(n, "in-progress");
    }
    assert_eq!(house.people.look(&house.upstream, "").await.unwrap(), 130);
    assert_eq!((house.bed(0).await, house.bed(129).await), (vec!["M0".into()], vec!["M129".to_owned()]));
    house.clock.advance(Duration::from_secs(900));
    house.lies(7, "finished");
    house.people.look(&house.upstream, "").await.unwrap();
    assert_eq!((house.bed(7).await, house.bed(8).await), (vec![], vec!["M8".to_owned()]));
    let owed = house.people.reader.looks_now().unwrap().len();
    assert_eq!(owed, 131, "results since are looked at again");
    assert_eq!(
        house.people.look(&house.upstream, "").await.unwrap(),
        1,
        "only what changed last is read again"
    );
    assert_eq!(house.people.reader.looks_now().unwrap().len(), owed, "and is no news");
    let counts = house.people.reader.people_counts().await.unwrap();
    assert_eq!((counts.persons, counts.occupied, counts.heard.len()), (130, 129, 1));
    let granted = house.upstream.state().scopes.unwrap();
    assert!(granted.contains("system/Encounter.rs") && granted.contains("system/Location.rs"), "{granted}");
}

#[tokio::test]
async fn a_look_that_breaks_off_repeats_and_what_is_known_stays() {
    let house = House::open().await;
    house.furnish(3);
    house.lies(0, "in-progress");
    house.people.look(&house.upstream, "").await.unwrap();
    house.clock.advance(Duration::from_secs(900));
    house.lies(1, "in-progress");
    house.server.faults.once(On::Read, Fault::Status(503));
    assert!(house.people.look(&house.upstream, "").await.is_err());
    assert_eq!(house.bed(0).await, ["M0"], "offline, the index says what it knows");
    let heard = house.people.reader.people_counts().await.unwrap().heard;
    assert_eq!(heard[0].1.micros, NOW, "and how old it is");
    house.people.look(&house.upstream, "").await.unwrap();
    assert_eq!(house.bed(1).await, ["M1"]);
}

#[tokio::test]
async fn a_patient_of_the_index_that_is_replaced_is_merged() {
    let house = House::open().await;
    house.furnish(2);
    house.lies(0, "in-progress");
    house.people.look(&house.upstream, "").await.unwrap();
    house.clock.advance(Duration::from_secs(900));
    house.plant(&json!({ "resourceType": "Patient", "id": "p0", "identifier": [{ "system": "urn:mrn", "value": "M0" }],
        "link": [{ "type": "replaced-by", "other": { "reference": "Patient/p1" } }] }));
    house.people.look(&house.upstream, "").await.unwrap();
    assert_eq!(house.bed(0).await, ["M1"]);
}
