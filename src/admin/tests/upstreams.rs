//! Setting up the FHIR server at the desk: who may, what is written down.

use std::sync::Mutex;

use serde_json::{Value, json};

use super::Rig;
use super::seconds_after_noon;
use crate::access::Role;
use crate::admin::command::{Refusal, TestStep};
use crate::admin::upstreams::*;
use crate::connector::Later;
use crate::upstream::Discovered;

/// Has no server until one is saved.
#[derive(Default)]
pub(super) struct Socket {
    page: Mutex<Option<Value>>,
}

fn answered<T: Send + 'static>(answer: T) -> Later<'static, T> {
    Box::pin(std::future::ready(answer))
}

fn applied() -> Result<Applied, Refusal> {
    Ok(Applied { at: seconds_after_noon(0), back_in_s: 5 })
}

impl Upstreams for Socket {
    fn set_up(&self) -> Later<'_, Result<SetUp, Refusal>> {
        let page = self.page.lock().unwrap().clone();
        let source = if page.is_some() { "desk" } else { "none" };
        answered(Ok(SetUp { source, page, jwks: json!({ "keys": [] }), ..SetUp::default() }))
    }

    fn discover(&self, page: Value) -> Later<'_, Result<Discovered, Refusal>> {
        let base = page["base"].as_str().unwrap_or_default().to_owned();
        answered(match base.is_empty() {
            true => Err(Refusal::Conflict("base is not an address".into())),
            false => Ok(Discovered { base, ..Discovered::default() }),
        })
    }

    fn test(&self, _page: Value) -> Later<'_, Result<Vec<TestStep>, Refusal>> {
        answered(Ok(vec![TestStep {
            name: "port".into(),
            ok: false,
            detail: "nothing listens".into(),
            ms: 1,
        }]))
    }

    fn new_key(&self, who: String, algorithm: String) -> Later<'_, Result<KeyView, Refusal>> {
        answered(match algorithm.as_str() {
            "ES384" => Ok(KeyView {
                kid: "k".into(),
                algorithm: "ES384",
                state: "current",
                by: who,
                made: seconds_after_noon(0),
            }),
            _ => Err(Refusal::Conflict("use ES384 or RS384".into())),
        })
    }

    fn rotate(&self) -> Later<'_, Result<Applied, Refusal>> {
        answered(Err(Refusal::Conflict("there is no successor".into())))
    }

    fn drop_next(&self) -> Later<'_, Result<(), Refusal>> {
        answered(Err(Refusal::Unknown))
    }

    fn save(&self, _who: String, page: Value) -> Later<'_, Result<Applied, Refusal>> {
        *self.page.lock().unwrap() = Some(page);
        answered(applied())
    }

    fn remove(&self) -> Later<'_, Result<Applied, Refusal>> {
        *self.page.lock().unwrap() = None;
        answered(applied())
    }
}

#[tokio::test]
async fn a_server_is_found_out_about_tried_and_set_up_with_lines_in_the_trail() {
    let rig = Rig::with_anna().await;
    let page = r#"{"base":"https://fhir.example/r4","client_id":"box"}"#;
    assert_eq!(rig.client.get("/api/v1/upstream/setup").await.json()["source"], "none");
    let found = rig.client.post("/api/v1/upstream/discover", page).await;
    assert_eq!((found.status, &found.json()["base"]), (200, &json!("https://fhir.example/r4")));
    assert_eq!(rig.client.post("/api/v1/upstream/discover", "{}").await.status, 409);
    assert_eq!(rig.client.post("/api/v1/upstream/discover", "[]").await.status, 400);
    let steps = rig.client.post("/api/v1/upstream/try", page).await.json();
    assert_eq!(steps["steps"][0]["detail"], "nothing listens");
    let key = rig.client.post("/api/v1/upstream/keys", r#"{"algorithm":"ES384"}"#).await;
    assert_eq!((key.status, &key.json()["by"]), (201, &json!("anna")));
    assert_eq!(rig.client.post("/api/v1/upstream/keys", r#"{"algorithm":"HS256"}"#).await.status, 409);
    assert_eq!(rig.client.post("/api/v1/upstream/keys/rotate", "").await.status, 409);
    assert_eq!(rig.client.post("/api/v1/upstream/keys/drop", "").await.status, 404);
    assert_eq!(rig.client.post("/api/v1/upstream/save", page).await.json()["back_in_s"], 5);
    assert_eq!(rig.client.get("/api/v1/upstream/setup").await.json()["page"]["client_id"], "box");
    assert_eq!(rig.client.post("/api/v1/upstream/remove", "").await.status, 200);
    let trail = rig.store.trail();
    assert!(trail.contains(&"anna upstream.save https://fhir.example/r4 done".to_owned()), "{trail:?}");
    assert!(trail.contains(&"anna upstream.key HS256 failed".to_owned()), "{trail:?}");
}

#[tokio::test]
async fn a_clinician_and_an_auditor_set_up_no_server() {
    for role in [Role::Clinician, Role::Auditor] {
        let mut rig = Rig::fresh().await;
        rig.add_user("cleo", role);
        rig.client = rig.logged_in("cleo").await;
        assert_eq!(rig.client.get("/api/v1/upstream/setup").await.status, 403);
        assert_eq!(rig.client.post("/api/v1/upstream/save", "{}").await.status, 403);
    }
}
