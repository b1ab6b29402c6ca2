//! The worklist at the desk: who may, what is taken, and what the trail says.

use std::sync::{Arc, Mutex};

use serde_json::json;

use super::Rig;
use super::memory::Memory;
use crate::access::Role;
use crate::admin::command::Refusal;
use crate::admin::worklist::{OrderWanted, Orders, Worklist};
use crate::buffer::NewAudit;
use crate::connector::Later;

/// Knows one order; refuses a second one for the same tube.
pub(super) struct Bench {
    added: Mutex<Vec<(String, usize)>>,
    trail: Mutex<Vec<String>>,
}

impl Bench {
    pub(super) fn new(_store: Arc<Memory>) -> Self {
        Self { added: Mutex::default(), trail: Mutex::default() }
    }

    fn line(&self, audit: NewAudit) {
        let detail = audit.detail.split(" from ").next().unwrap_or_default().to_owned();
        self.trail.lock().unwrap().push(format!("{} {} {detail}", audit.who, audit.what));
    }
}

impl Worklist for Bench {
    fn orders(&self, state: Option<String>, text: Option<String>) -> Later<'_, Result<Orders, Refusal>> {
        let mut orders = Orders::default();
        orders.counts.open =
            u64::from(state.as_deref() == Some("open")) + u64::from(text.as_deref() == Some("S-1"));
        orders.counts.done = self.trail.lock().unwrap().len() as u64;
        Box::pin(std::future::ready(Ok(orders)))
    }

    fn add(&self, wanted: OrderWanted, audit: NewAudit) -> Later<'_, Result<i64, Refusal>> {
        let mut added = self.added.lock().unwrap();
        if added.iter().any(|(specimen, _)| *specimen == wanted.specimen) {
            let why = "that specimen has an open order for the same tests".into();
            return Box::pin(std::future::ready(Err(Refusal::Conflict(why))));
        }
        added.push((wanted.specimen, wanted.tests.len()));
        self.line(audit);
        Box::pin(std::future::ready(Ok(7)))
    }

    fn cancel(&self, id: i64, audit: NewAudit) -> Later<'_, Result<(), Refusal>> {
        if id != 7 {
            return Box::pin(std::future::ready(Err(Refusal::Unknown)));
        }
        self.line(audit);
        Box::pin(std::future::ready(Ok(())))
    }
}

#[tokio::test]
async fn an_order_is_put_on_the_list_once_and_taken_back() {
    let rig = Rig::with_anna().await;
    let order = json!({ "specimen": " S-1 ", "tests": ["GLU", " GLU ", "K"], "priority": "stat",
        "patient": { "id": "M1", "family": "TEST", "birth_date": "1980-02-03", "gender": "female" },
        "collected": "2026-03-14T08:15:00+01:00" });
    let made = rig.client.post("/api/v1/worklist", &order.to_string()).await;
    assert_eq!((made.status, made.json()), (201, json!({ "id": 7 })));
    let again = rig.client.post("/api/v1/worklist", &order.to_string()).await;
    assert_eq!(again.status, 409);
    assert_eq!(again.json()["detail"], "that specimen has an open order for the same tests");
    assert_eq!(rig.client.post("/api/v1/worklist/7/cancel", "").await.status, 204);
    assert_eq!(rig.client.post("/api/v1/worklist/8/cancel", "").await.status, 404);
    assert_eq!(rig.client.post("/api/v1/worklist/x/cancel", "").await.status, 404);
    let wanted = json!({ "state": "open", "text": "S-1" }).to_string();
    let page = rig.client.post("/api/v1/worklist/find", &wanted).await.json();
    assert_eq!(
        page["counts"],
        json!({ "open": 2, "sent": 0, "done": 2, "cancelled": 0 }),
        "two lines of the trail"
    );
    assert_eq!(rig.client.get("/api/v1/worklist?state=open").await.json()["counts"]["open"], 1);
    assert_eq!(rig.client.get("/api/v1/worklist?state=lost").await.status, 400);
    for body in [json!({ "state": "lost", "text": "" }), json!({ "text": "x".repeat(201) }), json!({})] {
        assert_eq!(rig.client.post("/api/v1/worklist/find", &body.to_string()).await.status, 400, "{body}");
    }
}

#[tokio::test]
async fn a_wrong_order_is_told_field_by_field() {
    let rig = Rig::with_anna().await;
    let order = json!({ "specimen": "", "tests": [], "patient": { "id": "", "birth_date": "3.2.1980", "gender": "f" },
        "collected": "yesterday", "specimen_kind": "a\u{1}b" });
    let refused = rig.client.post("/api/v1/worklist", &order.to_string()).await;
    assert_eq!(refused.status, 422);
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    for field in [
        "specimen:",
        "tests:",
        "specimen_kind:",
        "collected:",
        "patient.id:",
        "patient.birth_date:",
        "patient.gender:",
    ] {
        assert!(detail.contains(field), "{field} is missing: {detail}");
    }
    assert_eq!(
        rig.client
            .post("/api/v1/worklist", r#"{"specimen":"S","tests":["A"],"pririty":"stat"}"#)
            .await
            .status,
        400
    );
}

#[tokio::test]
async fn clinicians_order_and_auditors_do_not() {
    let mut rig = Rig::fresh().await;
    rig.add_user("cleo", Role::Clinician);
    rig.add_user("otto", Role::Auditor);
    rig.client = rig.logged_in("cleo").await;
    assert_eq!(rig.client.post("/api/v1/worklist", r#"{"specimen":"S","tests":["A"]}"#).await.status, 201);
    rig.client = rig.logged_in("otto").await;
    assert_eq!(rig.client.get("/api/v1/worklist").await.status, 403);
    assert_eq!(rig.client.post("/api/v1/worklist/7/cancel", "").await.status, 403);
}
