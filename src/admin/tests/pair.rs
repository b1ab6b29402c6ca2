//! Pairing at the desk: who may, what is asked of the gateway, and what the trail says.

use std::sync::Mutex;

use serde_json::json;

use super::Rig;
use crate::access::Role;
use crate::admin::command::Refusal;
use crate::admin::explain::Explained;
use crate::admin::pairing::{Accepted, Pairing, PortView, ScanView, ScanWanted, Sender, Standing};
use crate::connector::Later;

/// Writes down what it was asked; knows one candidate and refuses the rest.
#[derive(Default)]
pub(super) struct Ward(Mutex<Vec<String>>);

impl Ward {
    fn asked<T>(&self, what: String, answer: T) -> Later<'_, T>
    where
        T: Send + 'static,
    {
        self.0.lock().unwrap().push(what);
        Box::pin(std::future::ready(answer))
    }
}

impl Pairing for Ward {
    fn standing(&self) -> Later<'_, Standing> {
        self.asked("standing".into(), Standing { zone: "Asia/Kolkata".into(), ..Standing::default() })
    }

    fn preview(&self, who: Sender, profile: String) -> Later<'_, Result<Explained, Refusal>> {
        self.asked(format!("preview {} {profile}", who.sender), Ok(Explained::default()))
    }

    fn accept(&self, who: Sender, profile: String) -> Later<'_, Result<Accepted, Refusal>> {
        let answer = match &*who.sender {
            "MON|W" => Ok(Accepted { released: 2, still_held: 1 }),
            _ => Err(Refusal::Unknown),
        };
        self.asked(format!("accept {} {profile}", who.sender), answer)
    }

    fn forget(&self, who: Sender) -> Later<'_, Result<(), Refusal>> {
        self.asked(format!("forget {}", who.sender), Ok(()))
    }

    fn add_link(&self, link: serde_json::Value) -> Later<'_, Result<String, Refusal>> {
        let answer = match link["profile"].as_str() {
            Some("masimo/ascii1") => Ok("oximeter".to_owned()),
            _ => Err(Refusal::Conflict("the link:1:11: no firmware profile".into())),
        };
        self.asked("add".into(), answer)
    }

    fn remove_link(&self, name: String) -> Later<'_, Result<(), Refusal>> {
        self.asked(format!("remove {name}"), Ok(()))
    }

    fn ports(&self) -> Later<'_, Vec<PortView>> {
        self.asked("ports".into(), vec![PortView { path: "/dev/ttyUSB0".into(), ..PortView::default() }])
    }

    fn scan(&self, wanted: ScanWanted) -> Later<'_, Result<(), Refusal>> {
        self.asked(format!("scan {}", wanted.port), Ok(()))
    }

    fn scanning(&self) -> Option<ScanView> {
        None
    }

    fn stop_scan(&self) {}
}

#[tokio::test]
async fn a_candidate_is_accepted_with_a_line_in_the_trail() {
    let rig = Rig::with_anna().await;
    assert_eq!(rig.client.get("/api/v1/pairing").await.json()["zone"], "Asia/Kolkata");
    let body = |sender: &str| json!({ "link": "door", "sender": sender, "profile": "a/b" }).to_string();
    let done = rig.client.post("/api/v1/pairing/accept", &body("MON|W")).await;
    assert_eq!(done.json(), json!({ "released": 2, "still_held": 1 }));
    assert_eq!(rig.client.post("/api/v1/pairing/accept", &body("other")).await.status, 404);
    assert_eq!(rig.client.post("/api/v1/pairing/preview", &body("MON|W")).await.status, 200);
    let trail = rig.store.trail();
    assert_eq!(
        trail,
        [
            "anna pairing.accept MON|W of door as a/b done",
            "anna pairing.accept other of door as a/b done",
            "anna pairing.accept other of door as a/b failed",
            "anna pairing.preview a message of an unknown sender done",
        ]
    );
}

#[tokio::test]
async fn links_are_made_scanned_and_removed_and_a_wrong_one_is_told_in_words() {
    let rig = Rig::with_anna().await;
    let made =
        rig.client.post("/api/v1/pairing/links", r#"{"name":"oximeter","profile":"masimo/ascii1"}"#).await;
    assert_eq!((made.status, made.json()), (201, json!({ "name": "oximeter" })));
    let wrong = rig.client.post("/api/v1/pairing/links", r#"{"name":"x","profile":"no/such"}"#).await;
    assert_eq!(wrong.status, 409);
    assert_eq!(wrong.json()["detail"], "the link:1:11: no firmware profile");
    assert_eq!(rig.client.post("/api/v1/pairing/links/oximeter/remove", "").await.status, 204);
    assert_eq!(rig.client.get("/api/v1/pairing/ports").await.json()["ports"][0]["path"], "/dev/ttyUSB0");
    assert_eq!(rig.client.get("/api/v1/pairing/scan").await.status, 204);
    assert_eq!(rig.client.post("/api/v1/pairing/scan", r#"{"port":"/dev/ttyUSB0"}"#).await.status, 202);
    assert_eq!(rig.client.post("/api/v1/pairing/scan", r#"{"prt":1}"#).await.status, 400);
}

#[tokio::test]
async fn a_clinician_pairs_nothing() {
    let mut rig = Rig::fresh().await;
    rig.add_user("cleo", Role::Clinician);
    rig.client = rig.logged_in("cleo").await;
    assert_eq!(rig.client.get("/api/v1/pairing").await.status, 403);
    assert_eq!(rig.client.post("/api/v1/pairing/forget", r#"{"link":"a","sender":"b"}"#).await.status, 403);
}
