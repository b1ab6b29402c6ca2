//! HL7 v2 going on to other systems at the desk: who may, what is taken, and what the trail says.

use std::sync::Mutex;

use super::Rig;
use crate::access::Role;
use crate::admin::command::Refusal;
use crate::admin::outgoing::{Act, DestinationView, MainView, MessageBytes, MessageView, Outgoing};
use crate::buffer::{NewAudit, OutgoingFilter};
use crate::clock::Timestamp;
use crate::connector::Later;

/// One destination with the messages 9, 8 and 7; what was asked of it.
#[derive(Default)]
pub(super) struct Rack(Mutex<Vec<String>>);

fn message(id: i64) -> MessageView {
    MessageView {
        id,
        destination: "ehr".into(),
        entry: id,
        part: 0,
        route: "all".into(),
        state: "held",
        attempts: 1,
        revision: 0,
        queued: Timestamp::from_micros(0, true),
        next_try: None,
        sent_at: None,
        committed: None,
        answered_at: None,
        reason: Some("AE".into()),
        control_id: Some("M1".into()),
        answer: Some("AE".into()),
    }
}

impl Outgoing for Rack {
    fn main(&self) -> Option<MainView> {
        None
    }

    fn destinations(&self) -> Later<'_, Result<Vec<DestinationView>, Refusal>> {
        let done = self.0.lock().unwrap().join(", ");
        let view = DestinationView {
            name: "ehr".into(),
            trouble: Some(done),
            state: "up",
            ..DestinationView::default()
        };
        Box::pin(std::future::ready(Ok(vec![view])))
    }

    fn messages(&self, filter: OutgoingFilter) -> Later<'_, Result<Vec<MessageView>, Refusal>> {
        let before = filter.before.unwrap_or(i64::MAX);
        let limit = usize::try_from(filter.limit).unwrap();
        let found = [9, 8, 7].into_iter().filter(|id| *id < before).take(limit).map(message).collect();
        Box::pin(std::future::ready(Ok(found)))
    }

    fn message(&self, id: i64) -> Later<'_, Result<MessageBytes, Refusal>> {
        let found = MessageBytes { message: message(id), bytes: Some("MSH|".into()), why: None };
        Box::pin(std::future::ready(if id > 9 { Err(Refusal::Unknown) } else { Ok(found) }))
    }

    fn act(&self, wanted: Act, audit: NewAudit) -> Later<'_, Result<u64, Refusal>> {
        if wanted == Act::Release(8) {
            return Box::pin(std::future::ready(Err(Refusal::Conflict("the message is accepted".into()))));
        }
        let detail = audit.detail.split(" from ").next().unwrap_or_default().to_owned();
        self.0.lock().unwrap().push(format!("{} {detail}", audit.what));
        Box::pin(std::future::ready(Ok(3)))
    }
}

#[tokio::test]
async fn messages_are_paged_and_shown() {
    let rig = Rig::with_anna().await;
    let page = rig.client.get("/api/v1/destinations/ehr/messages?limit=2&state=held").await.json();
    assert_eq!((page["messages"].as_array().unwrap().len(), page["next"].as_i64()), (2, Some(8)));
    let page = rig.client.get("/api/v1/destinations/ehr/messages?limit=2&before=8").await.json();
    assert_eq!((page["messages"][0]["id"].as_i64(), page["next"].is_null()), (Some(7), true));
    assert_eq!(rig.client.get("/api/v1/destinations/ehr/messages?state=lost").await.status, 400);
    assert_eq!(rig.client.get("/api/v1/outgoing/7").await.json()["bytes"], "MSH|");
    assert_eq!(rig.client.get("/api/v1/outgoing/77").await.status, 404);
}

#[tokio::test]
async fn what_a_person_decides_is_done_with_its_line_of_the_trail() {
    let rig = Rig::with_anna().await;
    for path in
        ["outgoing/7/release", "outgoing/7/rebuild", "destinations/ehr/pause", "destinations/ehr/resume"]
    {
        assert_eq!(rig.client.post(&format!("/api/v1/{path}"), "").await.status, 204, "{path}");
    }
    assert_eq!(rig.client.post("/api/v1/outgoing/8/release", "").await.status, 409);
    let all = rig.client.post("/api/v1/destinations/ehr/release", "").await.json();
    assert_eq!(all["released"], 3);
    assert_eq!(rig.client.post("/api/v1/outgoing/7/drop", "{\"reason\": \" \"}").await.status, 422);
    assert_eq!(rig.client.post("/api/v1/outgoing/7/drop", "{\"reason\": \"wrong ward\"}").await.status, 204);
    let span = r#"{"from": "2026-11-22T08:00:00Z", "until": "2026-11-22T09:00:00+01:00"}"#;
    assert_eq!(
        rig.client.post("/api/v1/destinations/ehr/replay", span).await.status,
        422,
        "it ends as it begins"
    );
    let span = r#"{"from": "2026-11-22T08:00:00Z", "until": "2026-11-22T09:00:00Z"}"#;
    assert_eq!(rig.client.post("/api/v1/destinations/ehr/replay", span).await.json()["replayed"], 3);
    let done = rig.client.get("/api/v1/destinations").await.json();
    assert_eq!(
        done["destinations"][0]["trouble"],
        "outgoing.release done outgoing message 7, outgoing.rebuild done outgoing message 7, \
         destination.pause done destination ehr, destination.resume done destination ehr, \
         destination.release done destination ehr, outgoing.drop done outgoing message 7, \
         destination.replay done destination ehr, 2026-11-22T08:00:00Z to 2026-11-22T09:00:00Z,"
    );
}

#[tokio::test]
async fn a_clinician_looks_and_changes_nothing() {
    let rig = Rig::fresh().await;
    rig.add_user("cleo", Role::Clinician);
    let cleo = rig.logged_in("cleo").await;
    assert_eq!(cleo.get("/api/v1/destinations").await.status, 200);
    assert_eq!(cleo.post("/api/v1/destinations/ehr/pause", "").await.status, 403);
    assert_eq!(cleo.post("/api/v1/outgoing/7/release", "").await.status, 403);
}
