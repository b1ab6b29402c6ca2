//! Many entries at once: what must be said before a set is done, and what the trail says of it.

use std::sync::Mutex;

use serde_json::json;

use super::Rig;
use super::seconds_after_noon;
use crate::access::Role;
use crate::admin::command::Refusal;
use crate::admin::sets::{
    Comparison, Deed, HeldGroup, HeldView, SavedView, SetView, SetWanted, Sets, Step, TYPED_ABOVE,
};
use crate::connector::Later;

/// One set at a time: sixty entries, or two of a device.
#[derive(Default)]
pub(super) struct Drawer {
    set: Mutex<Option<(String, SetView)>>,
    views: Mutex<Vec<SavedView>>,
}

fn answered<T: Send + 'static>(answer: T) -> Later<'static, T> {
    Box::pin(std::future::ready(answer))
}

impl Sets for Drawer {
    fn held(&self) -> Later<'_, Result<HeldView, Refusal>> {
        let group = HeldGroup {
            key: "line #".into(),
            reason: "line 7".into(),
            step: Step::Profile,
            count: 2,
            first: seconds_after_noon(0),
            last: seconds_after_noon(9),
            links: Vec::new(),
            devices: Vec::new(),
            newest: vec![9, 1],
        };
        answered(Ok(HeldView { groups: vec![group], held: 2, looked_at: 2 }))
    }

    fn freeze(&self, who: String, wanted: SetWanted) -> Later<'_, Result<SetView, Refusal>> {
        let count = if wanted.filter.device.is_some() { 2 } else { 60 };
        let view = SetView {
            token: "0123456789abcdef".into(),
            deed: wanted.deed,
            count,
            first: Some(seconds_after_noon(0)),
            last: Some(seconds_after_noon(9)),
            devices: vec![("?".into(), count)],
            devices_all: 1,
            targets: vec!["EHR".into()],
            left_out: 0,
            confirm: count > TYPED_ABOVE,
            until: seconds_after_noon(900),
            state: "frozen",
            done: 0,
            skipped: 0,
            detail: String::new(),
        };
        *self.set.lock().unwrap() = Some((who, view.clone()));
        answered(Ok(view))
    }

    fn set(&self, who: &str, token: &str) -> Option<SetView> {
        let set = self.set.lock().unwrap().clone();
        set.filter(|(owner, view)| owner == who && view.token == token).map(|(_, view)| view)
    }

    fn run(&self, who: String, token: String) -> Later<'_, Result<SetView, Refusal>> {
        let mut view = self.set(&who, &token).unwrap();
        view.state = "done";
        view.done = view.count;
        *self.set.lock().unwrap() = Some((who, view.clone()));
        answered(Ok(view))
    }

    fn compare(&self, id: i64) -> Later<'_, Result<Comparison, Refusal>> {
        answered(if id == 7 { Ok(Comparison::default()) } else { Err(Refusal::Unknown) })
    }

    fn views(&self, _who: String) -> Later<'_, Result<Vec<SavedView>, Refusal>> {
        answered(Ok(self.views.lock().unwrap().clone()))
    }

    fn save_view(&self, _who: String, view: SavedView) -> Later<'_, Result<(), Refusal>> {
        self.views.lock().unwrap().push(view);
        answered(Ok(()))
    }

    fn remove_view(&self, _who: String, name: String) -> Later<'_, Result<(), Refusal>> {
        self.views.lock().unwrap().retain(|view| view.name != name);
        answered(Ok(()))
    }
}

#[tokio::test]
async fn a_large_set_is_done_only_when_its_number_is_typed_and_only_once() {
    let rig = Rig::with_anna().await;
    let made = rig.client.post("/api/v1/sets", r#"{"deed":"release","filter":{"state":"held"}}"#).await;
    assert_eq!((made.status, &made.json()["count"]), (201, &json!(60)));
    let run = "/api/v1/sets/0123456789abcdef/run";
    assert_eq!(rig.client.post(run, "").await.status, 409, "nobody said how many");
    let wrong = rig.client.post(run, r#"{"count":59}"#).await;
    assert_eq!((wrong.status, &wrong.json()["code"]), (409, &json!("set-count")));
    assert_eq!(rig.client.post(run, r#"{"count":60}"#).await.status, 202);
    let again = rig.client.post(run, r#"{"count":60}"#).await;
    assert_eq!((again.status, &again.json()["state"]), (200, &json!("done")));
    let expected = [concat!(
        "anna entries.release 60 entries received from 2026-11-22T12:00:00.000Z ",
        "to 2026-11-22T12:00:09.000Z, set 01234567 done"
    )];
    assert_eq!(rig.store.trail(), expected);
    assert_eq!(rig.client.get("/api/v1/sets/0123456789abcdef").await.json()["done"], 60);
    assert_eq!(rig.client.get("/api/v1/sets/other").await.status, 404);
}

#[tokio::test]
async fn a_small_set_is_done_without_typing_and_nobody_else_can_do_it() {
    let mut rig = Rig::with_anna().await;
    let wanted = r#"{"deed":"replay","filter":{"device":"ACME/Mon 1/42","from":"2026-11-22T11:00:00Z"}}"#;
    assert_eq!(rig.client.post("/api/v1/sets", wanted).await.json()["confirm"], false);
    rig.add_user("ben", Role::Engineer);
    let ben = rig.logged_in("ben").await;
    let run = "/api/v1/sets/0123456789abcdef/run";
    assert_eq!(ben.post(run, "").await.status, 404, "it is anna's");
    assert_eq!(rig.client.post(run, "").await.status, 202);
    rig.add_user("cleo", Role::Clinician);
    rig.client = rig.logged_in("cleo").await;
    assert_eq!(rig.client.post("/api/v1/sets", wanted).await.status, 403);
    assert_eq!(rig.client.get("/api/v1/held").await.status, 200);
}

#[tokio::test]
async fn a_filter_that_says_nothing_usable_is_refused() {
    let rig = Rig::with_anna().await;
    for wanted in [
        r#"{"deed":"drop"}"#.to_owned(),
        r#"{"deed":"release","filter":{"state":"lost"}}"#.into(),
        r#"{"deed":"release","filter":{"from":"yesterday"}}"#.into(),
        r#"{"deed":"release","filter":{"patient":"7"}}"#.into(),
        format!(r#"{{"deed":"release","filter":{{"text":"{}"}}}}"#, "7".repeat(201)),
    ] {
        assert_eq!(rig.client.post("/api/v1/sets", &wanted).await.status, 400, "{wanted}");
    }
    assert_eq!(rig.client.get("/api/v1/entries?from=yesterday").await.status, 400);
    assert_eq!(Deed::Release.action(), "entries.release");
}

#[tokio::test]
async fn a_patient_is_searched_for_in_a_body_and_the_trail_does_not_name_them() {
    let rig = Rig::with_anna().await;
    rig.store.keep(7, crate::admin::store::EntryState::Held, b"x");
    let found = rig.client.post("/api/v1/search", r#"{"text":"4711","state":"held"}"#).await;
    assert_eq!((found.status, &found.json()["entries"][0]["id"]), (200, &json!(7)));
    assert_eq!(rig.store.trail(), ["anna entries.search entries done"]);
    assert_eq!(rig.client.get("/api/v1/entries/7/compare").await.json()["asked"], false);
    assert_eq!(rig.client.get("/api/v1/entries/8/compare").await.status, 404);
}

#[tokio::test]
async fn views_are_kept_and_forgotten() {
    let rig = Rig::with_anna().await;
    let view = r#"{"name":"Ward 3, held","terms":"state=held"}"#;
    assert_eq!(rig.client.post("/api/v1/views", view).await.status, 204);
    assert_eq!(rig.client.get("/api/v1/views").await.json()["views"][0]["terms"], "state=held");
    assert_eq!(rig.client.post("/api/v1/views", r#"{"name":" ","terms":""}"#).await.status, 400);
    assert_eq!(rig.client.post("/api/v1/views/remove", r#"{"name":"Ward 3, held"}"#).await.status, 204);
    assert_eq!(rig.client.get("/api/v1/views").await.json()["views"], json!([]));
    assert_eq!(rig.client.get("/api/v1/held").await.json()["groups"][0]["step"], "profile");
}
