//! Recording at the desk: who may, what is asked of the gateway, what leaves, and what the trail says.

use serde_json::json;

use super::Rig;
use super::seconds_after_noon;
use crate::access::Role;
use crate::admin::command::Refusal;
use crate::admin::recording::{Recording, RecordingWanted, TapeView};
use crate::connector::Later;

/// Has one tape of the link `bed-1`, begun masked.
pub(super) struct Shelf;

fn answered<T: Send + 'static>(answer: T) -> Later<'static, T> {
    Box::pin(std::future::ready(answer))
}

impl Recording for Shelf {
    fn list(&self) -> Later<'_, Vec<TapeView>> {
        answered(vec![TapeView {
            name: "bed-1-x".into(),
            link: "bed-1".into(),
            profile: Some("masimo/ascii1".into()),
            masked: true,
            started: seconds_after_noon(0),
            ended: None,
            bytes: 120,
            chunks: 2,
        }])
    }

    fn start(&self, wanted: RecordingWanted) -> Later<'_, Result<String, Refusal>> {
        answered(if wanted.link == "bed-1" && wanted.masked {
            Ok("bed-1-x".into())
        } else {
            Err(Refusal::Unknown)
        })
    }

    fn stop(&self, name: String) -> Later<'_, Result<(), Refusal>> {
        answered(if name == "bed-1-x" { Ok(()) } else { Err(Refusal::Unknown) })
    }

    fn export(&self, _name: String, unmasked: bool) -> Later<'_, Result<Vec<u8>, Refusal>> {
        answered(if unmasked { Err(Refusal::Conflict("only masked".into())) } else { Ok(b"{}\n".to_vec()) })
    }

    fn remove(&self, _name: String) -> Later<'_, Result<(), Refusal>> {
        answered(Ok(()))
    }
}

#[tokio::test]
async fn a_tape_is_begun_ended_taken_out_and_removed_each_with_a_line_in_the_trail() {
    let rig = Rig::with_anna().await;
    let wanted = |link: &str| json!({ "link": link, "masked": true, "minutes": 5 }).to_string();
    let made = rig.client.post("/api/v1/recordings", &wanted("bed-1")).await;
    assert_eq!((made.status, made.json()), (201, json!({ "name": "bed-1-x" })));
    assert_eq!(rig.client.post("/api/v1/recordings", &wanted("bed-9")).await.status, 404);
    assert_eq!(rig.client.post("/api/v1/recordings", r#"{"link":"bed-1"}"#).await.status, 400);
    let listed = rig.client.get("/api/v1/recordings").await.json();
    assert_eq!(listed["recordings"][0]["ended"], json!(null));
    assert_eq!(listed["recordings"][0]["chunks"], 2);
    assert_eq!(rig.client.post("/api/v1/recordings/bed-1-x/stop", "").await.status, 204);
    let file = rig.client.get("/api/v1/recordings/bed-1-x").await;
    assert_eq!(
        (file.status, file.header("content-disposition")),
        (200, Some("attachment; filename=\"bed-1-x.tape\""))
    );
    assert_eq!(rig.client.get("/api/v1/recordings/bed-1-x?unmasked=yes").await.status, 409);
    assert_eq!(rig.client.post("/api/v1/recordings/bed-1-x/remove", "").await.status, 204);
    let expected = [
        "anna recording.start bed-1, 5 min, masked done",
        "anna recording.start bed-9, 5 min, masked done",
        "anna recording.start bed-9, 5 min, masked failed",
        "anna recording.stop bed-1-x done",
        "anna recording.export bed-1-x, masked done",
        "anna recording.export bed-1-x, unmasked done",
        "anna recording.export bed-1-x, unmasked failed",
        "anna recording.remove bed-1-x done",
    ];
    assert_eq!(rig.store.trail(), expected);
}

#[tokio::test]
async fn a_clinician_and_an_auditor_record_nothing() {
    for role in [Role::Clinician, Role::Auditor] {
        let mut rig = Rig::fresh().await;
        rig.add_user("cleo", role);
        rig.client = rig.logged_in("cleo").await;
        assert_eq!(rig.client.get("/api/v1/recordings").await.status, 403);
        assert_eq!(rig.client.get("/api/v1/recordings/bed-1-x").await.status, 403);
    }
}
