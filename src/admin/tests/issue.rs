//! The certificate by ACME at the desk: who may, what is refused, what is written down.

use std::sync::Mutex;

use serde_json::json;

use super::Rig;
use crate::access::Role;
use crate::acme::Config;
use crate::admin::command::Refusal;
use crate::admin::issuance::{Issuance, Origin, State};
use crate::connector::Later;

/// Keeps the settings and asks nobody.
#[derive(Default)]
pub(super) struct Authority(Mutex<Option<Config>>);

impl Authority {
    fn put(&self, settings: Option<Config>) -> Later<'_, Result<State, Refusal>> {
        *self.0.lock().unwrap() = settings;
        Box::pin(std::future::ready(Ok(self.state())))
    }
}

impl Issuance for Authority {
    fn state(&self) -> State {
        let settings = self.0.lock().unwrap().clone();
        let origin = if settings.is_some() { Origin::Desk } else { Origin::None };
        State { origin, settings, ..State::default() }
    }

    fn holds(&self) -> Option<String> {
        self.0.lock().unwrap().as_ref().map(|_| "it comes by ACME".into())
    }

    fn save(&self, settings: Config) -> Later<'_, Result<State, Refusal>> {
        self.put(Some(settings))
    }

    fn try_now(&self) -> Later<'_, Result<State, Refusal>> {
        let asked = match self.holds() {
            Some(_) => Ok(self.state()),
            None => Err(Refusal::Conflict("it is not set up".into())),
        };
        Box::pin(std::future::ready(asked))
    }

    fn end(&self) -> Later<'_, Result<State, Refusal>> {
        self.put(None)
    }
}

const ROUTE: &str = "/api/v1/certificate/acme";

#[tokio::test]
async fn an_administrator_has_it_come_by_acme_and_ends_it_and_all_of_it_stands_in_the_trail() {
    let rig = Rig::with_anna().await;
    let folder = tempfile::tempdir().unwrap();
    rig.services.identity.keep_in(folder.path());
    let good = json!({ "directory": "https://ca.clinic/d", "hosts": ["desk.clinic"], "terms_agreed": true });
    assert_eq!(rig.client.post(&format!("{ROUTE}/try"), "").await.status, 409);
    let saved = rig.client.post(ROUTE, &good.to_string()).await;
    assert_eq!(saved.status, 200, "{}", saved.body);
    let state = rig.client.get(ROUTE).await.json();
    assert_eq!(
        (state["origin"].as_str(), state["settings"]["hosts"][0].as_str()),
        (Some("desk"), Some("desk.clinic"))
    );
    let shown = rig.client.get("/api/v1/certificate").await.json();
    assert_eq!(
        (shown["fixed"].as_str(), shown["urgency"].as_str()),
        (Some("it comes by ACME"), Some("fine"))
    );
    assert_eq!(rig.client.post("/api/v1/certificate/own", "").await.status, 409, "end it first");
    assert_eq!(rig.client.post(&format!("{ROUTE}/try"), "").await.status, 200);
    assert_eq!(rig.client.post(&format!("{ROUTE}/end"), "").await.status, 200);
    let trail = rig.store.trail();
    for line in [
        "acme-save https://ca.clinic/d for desk.clinic done",
        "acme-try  failed",
        "acme-try  done",
        "acme-end  done",
    ] {
        assert!(trail.contains(&format!("anna certificate.{line}")), "{line}: {trail:?}");
    }
}

#[tokio::test]
async fn settings_that_cannot_be_are_refused_in_words_and_only_who_may_change_settings_changes_them() {
    let rig = Rig::with_anna().await;
    let with = |more: serde_json::Value| {
        let mut page = json!({ "directory": "https://ca/d", "hosts": ["desk"], "terms_agreed": true });
        page.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        page
    };
    for (page, word) in [
        (with(json!({ "terms_agreed": false })), "accept the terms"),
        (with(json!({ "hosts": ["*.clinic"] })), "dns-01"),
        (with(json!({ "ca_file": "/etc/passwd" })), "as text"),
        (with(json!({ "ca_pem": "hello" })), "no certificate"),
        (with(json!({ "directory": "http://ca/d" })), "https://"),
    ] {
        let refused = rig.client.post(ROUTE, &page.to_string()).await;
        assert_eq!(refused.status, 422, "{page}");
        assert!(refused.body.contains(word), "{}", refused.body);
    }
    assert_eq!(rig.client.get(ROUTE).await.json()["origin"], "none");
    rig.add_user("clara", Role::Clinician);
    let clara = rig.logged_in("clara").await;
    assert_eq!(clara.get(ROUTE).await.status, 403);
    assert_eq!(clara.post(ROUTE, &with(json!({})).to_string()).await.status, 403);
}
