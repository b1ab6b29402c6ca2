//! Finishing the set-up at the desk: who may, what it says, what is written down.

use std::sync::Mutex;

use serde_json::json;

use super::{Rig, seconds_after_noon};
use crate::access::Role;
use crate::admin::command::Refusal;
use crate::admin::site::*;
use crate::admin::upstreams::Applied;
use crate::connector::Later;

/// The plate beside the door: what the box is called.
#[derive(Default)]
pub(super) struct Plate {
    page: Mutex<SitePage>,
    off: Mutex<PutOff>,
}

fn answered<T: Send + 'static>(answer: T) -> Later<'static, T> {
    Box::pin(std::future::ready(answer))
}

fn said(of: Option<&String>) -> Said {
    match of {
        Some(value) => Said { value: value.clone(), source: "desk" },
        None => Said { value: "-".into(), source: "default" },
    }
}

impl Site for Plate {
    fn told(&self) -> Later<'_, Result<SiteView, Refusal>> {
        let page = self.page.lock().unwrap().clone();
        let clock = ClockKeeper { service: "unknown", state: "unknown", ..ClockKeeper::default() };
        answered(Ok(SiteView {
            name: said(page.name.as_ref()),
            gateway: said(page.gateway.as_ref()),
            zone: said(page.zone.as_ref()),
            clock,
            put_off: self.off.lock().unwrap().clone(),
            ..SiteView::default()
        }))
    }

    fn save(&self, page: SitePage) -> Later<'_, Result<Applied, Refusal>> {
        if page.zone.is_some() && page.zone_from.is_none() {
            let why = "say from when".to_owned();
            return answered(Err(Refusal::Asks { code: "zone-from", why }));
        }
        *self.page.lock().unwrap() = page;
        answered(Ok(Applied { at: seconds_after_noon(0), back_in_s: 5 }))
    }

    fn put_off(&self, off: PutOff) -> Later<'_, Result<(), Refusal>> {
        *self.off.lock().unwrap() = off;
        answered(Ok(()))
    }
}

async fn states(rig: &Rig) -> Vec<String> {
    let steps = rig.client.get("/api/v1/first-steps").await.json();
    let all = steps["steps"].as_array().unwrap();
    all.iter().map(|one| format!("{}:{}", one["step"], one["state"]).replace('"', "")).collect()
}

#[tokio::test]
async fn each_step_is_told_by_what_the_box_has_and_not_by_what_was_clicked() {
    let rig = Rig::with_anna().await;
    let fresh = rig.client.get("/api/v1/first-steps").await.json();
    assert_eq!(fresh["untouched"], true);
    assert_eq!(states(&rig).await[..2], ["site:open", "time:open"]);
    let page = json!({ "name": "Clinic", "zone": "Europe/Berlin", "zone_from": "now" });
    let saved = rig.client.post("/api/v1/site", &page.to_string()).await;
    assert_eq!((saved.status, saved.json()["back_in_s"].as_u64()), (200, Some(5)));
    let off = json!({ "later": ["time", "site"], "away": false });
    assert_eq!(rig.client.post("/api/v1/first-steps", &off.to_string()).await.status, 204);
    let now = states(&rig).await;
    assert_eq!(now[..2], ["site:done", "time:later"], "what is done is done, put off or not");
    assert_eq!(rig.client.get("/api/v1/first-steps").await.json()["untouched"], false);
    rig.stop().await;
}

#[tokio::test]
async fn a_zone_that_needs_a_word_more_asks_for_it_by_a_code() {
    let rig = Rig::with_anna().await;
    let asked = rig.client.post("/api/v1/site", &json!({ "zone": "Europe/Berlin" }).to_string()).await;
    assert_eq!((asked.status, asked.json()["code"].as_str()), (409, Some("zone-from")));
    for wrong in [json!({ "nmae": "x" }), json!({ "zone_from": "yesterday" })] {
        assert_eq!(rig.client.post("/api/v1/site", &wrong.to_string()).await.status, 400);
    }
    for wrong in
        [json!({ "later": ["tea"], "away": false }), json!({ "later": vec!["time"; 6], "away": false })]
    {
        assert_eq!(rig.client.post("/api/v1/first-steps", &wrong.to_string()).await.status, 400);
    }
    rig.stop().await;
}

#[tokio::test]
async fn only_an_administrator_changes_it_and_the_trail_says_what() {
    let rig = Rig::with_anna().await;
    for role in [Role::Engineer, Role::Integrator, Role::Clinician, Role::Auditor] {
        rig.add_user(role.as_str(), role);
        let client = rig.logged_in(role.as_str()).await;
        assert_eq!(client.post("/api/v1/site", &json!({ "name": "x" }).to_string()).await.status, 403);
        assert_eq!(client.get("/api/v1/first-steps").await.status, 403);
    }
    let page =
        json!({ "name": "Clinic", "zone": "Asia/Kolkata", "zone_from": "always", "time_server": "ntp.x" });
    assert_eq!(rig.client.post("/api/v1/site", &page.to_string()).await.status, 200);
    let wanted = "anna site.save name Clinic, zone Asia/Kolkata (always), time server ntp.x done";
    let trail = rig.store.trail();
    assert!(trail.contains(&wanted.to_owned()), "{trail:?}");
    rig.stop().await;
}
