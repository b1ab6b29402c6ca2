//! Patients at the desk: who may, what is written down, and that no name stands in an address.

use std::sync::{Arc, Mutex};

use serde_json::json;

use super::Rig;
use crate::access::Role;
use crate::admin::command::Refusal;
use crate::admin::people::{Known, People, PersonDetail, PersonView, Places, Search, Unmerged};
use crate::admin::samples::seconds_after_noon;
use crate::buffer::NewAudit;
use crate::connector::Later;

/// Knows one patient, whose one merge can be taken back once.
#[derive(Default)]
pub(super) struct Index {
    undone: Mutex<Vec<String>>,
}

fn known() -> Known {
    Known { persons: 1, occupied: 0, sources: Vec::new() }
}

fn jane() -> PersonView {
    PersonView {
        id: 7,
        family: Some("TEST".into()),
        given: None,
        birth_date: None,
        gender: None,
        identifiers: Vec::new(),
        place: None,
        told: seconds_after_noon(0),
        removed: false,
    }
}

impl People for Index {
    fn search(&self, text: String, limit: u32) -> Later<'_, Result<Search, Refusal>> {
        let people = if text == "test" && limit > 0 { vec![jane()] } else { Vec::new() };
        Box::pin(std::future::ready(Ok(Search { people, known: known() })))
    }

    fn person(&self, id: i64) -> Later<'_, Result<PersonDetail, Refusal>> {
        let detail =
            PersonDetail { person: jane(), stays: Vec::new(), merges: Vec::new(), sources: Vec::new() };
        Box::pin(std::future::ready(if id == 7 { Ok(detail) } else { Err(Refusal::Unknown) }))
    }

    fn places(&self) -> Later<'_, Result<Places, Refusal>> {
        Box::pin(std::future::ready(Ok(Places { places: Vec::new(), known: known() })))
    }

    fn unmerge(&self, merge: i64, audit: NewAudit) -> Later<'_, Result<Unmerged, Refusal>> {
        let mut undone = self.undone.lock().unwrap();
        let done = undone.is_empty();
        undone.push(format!("{} {} merge {merge}", audit.who, audit.what));
        let why = "this merge was taken back already".into();
        Box::pin(std::future::ready(if done {
            Ok(Unmerged { beyond: 0 })
        } else {
            Err(Refusal::Conflict(why))
        }))
    }
}

#[tokio::test]
async fn whoever_looks_at_a_patient_is_written_down_and_the_patient_is_not() {
    let rig = Rig::with_anna().await;
    let found = rig.client.post("/api/v1/people", r#"{"text":"test"}"#).await;
    assert_eq!((found.status, &found.json()["people"][0]["id"]), (200, &json!(7)));
    assert_eq!(rig.client.get("/api/v1/people/7").await.json()["family"], "TEST");
    assert_eq!(rig.client.get("/api/v1/people/8").await.status, 404);
    assert_eq!(rig.client.get("/api/v1/people/x").await.status, 404);
    assert_eq!(rig.client.get("/api/v1/places").await.json()["known"]["persons"], 1);
    let trail: Vec<String> =
        rig.store.trail().into_iter().filter(|line| line.contains(" patient.")).collect();
    assert_eq!(
        trail,
        [
            "anna patient.search 1 found done",
            "anna patient.view patient 7 done",
            "anna patient.places 0 places done"
        ]
    );
}

#[tokio::test]
async fn a_search_is_bounded_and_an_unmerge_is_done_once() {
    let rig = Rig::with_anna().await;
    let long = json!({ "text": "x".repeat(201) }).to_string();
    assert_eq!(rig.client.post("/api/v1/people", &long).await.status, 400);
    assert_eq!(rig.client.post("/api/v1/people", r#"{"name":"x"}"#).await.status, 400);
    for limit in [0, 201] {
        let wanted = json!({ "text": "x", "limit": limit }).to_string();
        assert_eq!(rig.client.post("/api/v1/people", &wanted).await.status, 400);
    }
    let undone = rig.client.post("/api/v1/people/merges/3/undo", "").await;
    assert_eq!((undone.status, undone.json()["beyond"].as_u64()), (200, Some(0)));
    let again = rig.client.post("/api/v1/people/merges/3/undo", "").await;
    assert_eq!((again.status, &again.json()["detail"]), (409, &json!("this merge was taken back already")));
}

#[tokio::test]
async fn clinicians_look_and_do_not_unmerge_and_auditors_do_neither() {
    let mut rig = Rig::fresh().await;
    rig.add_user("cleo", Role::Clinician);
    rig.add_user("otto", Role::Auditor);
    rig.client = rig.logged_in("cleo").await;
    assert_eq!(rig.client.get("/api/v1/people/7").await.status, 200);
    assert_eq!(rig.client.post("/api/v1/people/merges/3/undo", "").await.status, 403);
    rig.client = rig.logged_in("otto").await;
    assert_eq!(rig.client.get("/api/v1/people/7").await.status, 403);
    assert_eq!(rig.client.get("/api/v1/places").await.status, 403);
}

pub(super) fn index() -> Arc<Index> {
    Arc::default()
}
