//! Users, roles, places, tokens and emergencies over the wire.

use std::time::Duration;

use serde_json::{Value, json};

use super::client::{Client, token_of};
use super::{PASSWORD, Rig};
use crate::access::{Grants, Role};
use crate::buffer::AccountChange;

fn login(username: &str, password: &str) -> String {
    json!({ "username": username, "password": password }).to_string()
}

async fn user(rig: &Rig, name: &str) -> Value {
    let all = rig.client.get("/api/v1/users").await.json();
    all["users"].as_array().unwrap().iter().find(|user| user["name"] == name).unwrap().clone()
}

#[tokio::test]
async fn a_user_is_made_with_a_one_time_password_and_chooses_their_own() {
    let rig = Rig::with_anna().await;
    let form = json!({ "username": "Bob", "role": "clinician" }).to_string();
    let made = rig.client.post("/api/v1/users", &form).await;
    assert_eq!((made.status, &made.json()["username"]), (201, &json!("bob")));
    let first = made.json()["password"].as_str().unwrap().to_string();
    let taken = rig.client.post("/api/v1/users", &form).await;
    assert_eq!((taken.status, taken.code()), (409, "taken".into()));
    let entering = rig.client.fresh().post("/api/v1/login", &login("bob", &first)).await;
    assert_eq!(entering.json()["stage"], "password");
    let half = rig.client.with_token(&token_of(&entering));
    assert_eq!(half.get("/api/v1/overview").await.code(), "password-change");
    let weak = json!({ "old": first, "new": "short" }).to_string();
    assert_eq!(half.post("/api/v1/account/password", &weak).await.status, 422);
    let wrong = json!({ "old": "x", "new": "kettle orbit lamp" }).to_string();
    assert_eq!(half.post("/api/v1/account/password", &wrong).await.code(), "wrong-password");
    let good = json!({ "old": first, "new": "kettle orbit lamp" }).to_string();
    let done = half.post("/api/v1/account/password", &good).await;
    assert_eq!((done.status, &done.json()["stage"]), (200, &json!("in")));
    let bob = rig.client.with_token(&token_of(&done));
    assert_eq!(bob.get("/api/v1/overview").await.status, 200);
    assert_eq!(rig.client.fresh().post("/api/v1/login", &login("bob", &first)).await.status, 401);
    let shown = user(&rig, "bob").await;
    assert_eq!((&shown["must_change"], &shown["sessions"]), (&json!(false), &json!(1)));
    assert!(!shown.to_string().contains("argon2"));
}

#[tokio::test]
async fn changes_of_a_user_end_their_sessions_and_the_last_admin_stays() {
    let rig = Rig::with_anna().await;
    rig.add_user("bob", Role::Clinician);
    for change in [
        json!({ "role": "auditor" }),
        json!({ "disabled": true }),
        json!({ "disabled": false, "places": ["ICU"] }),
        json!({ "places": null }),
    ] {
        let bob = rig.logged_in("bob").await;
        let done = rig.client.post("/api/v1/users/bob/change", &change.to_string()).await;
        assert_eq!(done.status, 204, "{change}: {}", done.body);
        assert_eq!(bob.get("/api/v1/session").await.status, 401, "{change}");
    }
    assert_eq!(user(&rig, "bob").await["places"], Value::Null);
    let bob = rig.logged_in("bob").await;
    let reset = rig.client.post("/api/v1/users/bob/password", "").await.json();
    assert_eq!(bob.get("/api/v1/session").await.status, 401);
    let password = reset["password"].as_str().unwrap();
    let entering = rig.client.fresh().post("/api/v1/login", &login("bob", password)).await;
    assert_eq!(entering.json()["stage"], "password");
    for (path, body) in [
        ("/api/v1/users/anna/change", json!({ "role": "engineer" }).to_string()),
        ("/api/v1/users/anna/change", json!({ "disabled": true }).to_string()),
        ("/api/v1/users/anna/remove", String::new()),
    ] {
        let kept = rig.client.post(path, &body).await;
        assert_eq!((kept.status, kept.code()), (409, "last-admin".into()), "{path}");
    }
    assert_eq!(rig.client.post("/api/v1/users/bob/remove", "").await.status, 204);
    assert_eq!(rig.client.post("/api/v1/users/bob/remove", "").await.status, 404);
    for body in ["{}", "{\"role\":\"root\"}", "{\"permissions\":[\"*\"]}"] {
        let refused = rig.client.post("/api/v1/users/anna/change", body).await;
        assert!(matches!(refused.status, 400 | 422), "{body}: {}", refused.status);
    }
}

#[tokio::test]
async fn a_disabled_user_gets_the_answer_of_a_wrong_password() {
    let rig = Rig::with_anna().await;
    rig.add_user("bob", Role::Clinician);
    let off = AccountChange::Edit { name: "bob".into(), role: None, disabled: Some(true), grants: None };
    rig.store.change(off);
    let reply = rig.client.fresh().post("/api/v1/login", &login("bob", PASSWORD)).await;
    assert_eq!((reply.status, reply.code()), (401, "wrong-login".into()));
}

#[tokio::test]
async fn sessions_are_listed_and_ended_ones_own_and_others() {
    let rig = Rig::with_anna().await;
    rig.add_user("bob", Role::Clinician);
    let (bob, bobs_other) = (rig.logged_in("bob").await, rig.logged_in("bob").await);
    let own = bob.get("/api/v1/account/sessions").await.json();
    let own = own["sessions"].as_array().unwrap();
    assert_eq!(own.len(), 2, "only his");
    let current: Vec<_> = own.iter().map(|one| one["current"] == true).collect();
    assert_eq!(current, [false, true], "the latest first");
    let other = own[0]["id"].as_i64().unwrap();
    let annas =
        rig.client.get("/api/v1/account/sessions").await.json()["sessions"][0]["id"].as_i64().unwrap();
    assert_eq!(bob.post(&format!("/api/v1/account/sessions/{annas}/end"), "").await.status, 404, "not his");
    assert_eq!(bob.post(&format!("/api/v1/account/sessions/{other}/end"), "").await.status, 204);
    assert_eq!(bobs_other.get("/api/v1/session").await.status, 401);
    let third = rig.logged_in("bob").await;
    assert_eq!(bob.post("/api/v1/account/sessions/end-others", "").await.json()["ended"], 1);
    assert_eq!(third.get("/api/v1/session").await.status, 401);
    assert_eq!(bob.get("/api/v1/session").await.status, 200);
    assert_eq!(rig.client.get("/api/v1/users/bob/sessions").await.json()["sessions"][0]["user"], "bob");
    assert_eq!(rig.client.post("/api/v1/users/bob/sessions/end", "").await.json()["ended"], 1);
    assert_eq!(bob.get("/api/v1/session").await.status, 401);
}

#[tokio::test]
async fn an_api_token_may_what_it_was_given_and_never_more_than_its_owner() {
    let rig = Rig::with_anna().await;
    rig.add_user("eng", Role::Engineer);
    let eng = rig.logged_in("eng").await;
    let ask = |permissions: Value, days: u32| json!({ "name": "scraper", "permissions": permissions, "days": days });
    for (permissions, days) in [
        (json!(["users.change"]), 30),
        (json!(["backup.make"]), 30),
        (json!(["*"]), 30),
        (json!([]), 30),
        (json!(["devices.see"]), 0),
        (json!(["devices.see"]), 366),
    ] {
        let refused = eng.post("/api/v1/account/tokens", &ask(permissions, days).to_string()).await;
        assert_eq!(refused.status, 422);
    }
    let made = eng
        .post("/api/v1/account/tokens", &ask(json!(["devices.see", "messages.resend"]), 30).to_string())
        .await;
    assert_eq!(made.status, 201);
    let token = made.json()["token"].as_str().unwrap().to_string();
    assert!(token.starts_with("bds_"));
    let listed = eng.get("/api/v1/account/tokens").await.body;
    assert!(!listed.contains(&token), "shown once");
    let bearer = format!("Bearer {token}");
    let headers = [("Authorization", bearer.as_str())];
    let by = async |method: &str, path: &str| rig.client.with_token("").ask(method, path, &headers, "").await;
    assert_eq!(by("GET", "/api/v1/overview").await.status, 200);
    assert_eq!(by("GET", "/api/v1/entries").await.code(), "role", "it was not given messages");
    assert_eq!(
        by("POST", "/api/v1/entries/1/release").await.status,
        404,
        "no page's proof is asked of a token"
    );
    assert_eq!(by("POST", "/api/v1/account/tokens").await.code(), "in-person");
    assert_eq!(by("POST", "/api/v1/pairing/scan").await.code(), "role");
    let id = made.json()["id"].as_i64().unwrap();
    assert!(rig.client.get("/api/v1/users").await.body.contains("scraper"));
    // Who loses a permission loses it for their tokens too.
    let narrowed = json!({ "role": "auditor" }).to_string();
    assert_eq!(rig.client.post("/api/v1/users/eng/change", &narrowed).await.status, 204);
    assert_eq!(by("GET", "/api/v1/overview").await.code(), "role");
    assert_eq!(
        rig.client.post("/api/v1/users/eng/change", &json!({ "role": "engineer" }).to_string()).await.status,
        204
    );
    assert_eq!(by("GET", "/api/v1/overview").await.status, 200);
    assert_eq!(
        rig.client.post("/api/v1/users/eng/change", &json!({ "disabled": true }).to_string()).await.status,
        204
    );
    assert_eq!(by("GET", "/api/v1/overview").await.status, 401);
    assert_eq!(
        rig.client.post("/api/v1/users/eng/change", &json!({ "disabled": false }).to_string()).await.status,
        204
    );
    rig.clock.advance(Duration::from_secs(31 * 86_400));
    assert_eq!(by("GET", "/api/v1/overview").await.status, 401, "expired");
    let anna = rig.logged_in("anna").await;
    assert_eq!(
        anna.post(&format!("/api/v1/account/tokens/{id}/revoke"), "").await.status,
        204,
        "an admin may"
    );
    assert_eq!(anna.post(&format!("/api/v1/account/tokens/{id}/revoke"), "").await.status, 404);
}

#[tokio::test]
async fn a_made_up_bearer_is_nobody_even_with_a_cookie_beside_it() {
    let rig = Rig::with_anna().await;
    let made_up = format!("Bearer bds_{}", "A".repeat(43));
    for value in [made_up.as_str(), "Bearer bds_", "Bearer bds_short"] {
        let reply = rig.client.ask("GET", "/api/v1/session", &[("Authorization", value)], "").await;
        assert_eq!(reply.status, 401, "{value}");
        let change = rig.client.ask("POST", "/api/v1/logout", &[("Authorization", value)], "").await;
        assert_eq!(change.status, 401, "{value}");
    }
    assert_eq!(rig.client.get("/api/v1/session").await.status, 200, "nothing was done");
}

/// A user who may see what stands in the ICU, and nothing else.
async fn limited(rig: &Rig) -> Client {
    rig.add_user("nina", Role::Engineer);
    let grants = Grants { places: Some(vec!["ICU".into()]), ..Grants::default() };
    let edit = AccountChange::Edit {
        name: "nina".into(),
        role: None,
        disabled: None,
        grants: Some(grants.written()),
    };
    rig.store.change(edit);
    rig.logged_in("nina").await
}

#[tokio::test]
async fn the_picture_of_the_day_shows_who_is_limited_the_links_of_their_own_devices_only() {
    let rig = Rig::with_anna().await;
    rig.store.keep(1, crate::admin::store::EntryState::Held, b"MSH|");
    let now = |day: &Value| day["quarters"].as_array().unwrap().last().unwrap().clone();
    let all = now(&rig.client.get("/api/v1/day").await.json());
    assert_eq!((&all["entries"]["ward"], &all["held"]["ward"]), (&json!(1), &json!(1)));
    let nina = limited(&rig).await;
    let none = now(&nina.get("/api/v1/day").await.json());
    assert_eq!((&none["entries"], &none["held"]), (&json!({}), &json!({})));
    let devices = Some(vec!["ACME/Mon 1/42".into()]);
    let grants = Grants { places: Some(vec!["ICU".into()]), devices, ..Grants::default() };
    let (name, grants) = ("nina".into(), Some(grants.written()));
    rig.store.change(AccountChange::Edit { name, role: None, disabled: None, grants });
    let nina = rig.logged_in("nina").await;
    assert_eq!(now(&nina.get("/api/v1/day").await.json()), all, "her device speaks on it");
}

#[tokio::test]
async fn what_is_of_another_place_is_not_there_whatever_id_is_asked_for() {
    let rig = Rig::with_anna().await;
    rig.store.keep(1, crate::admin::store::EntryState::Held, b"MSH|");
    let nina = limited(&rig).await;
    assert_eq!(rig.client.get("/api/v1/entries/1").await.status, 200);
    for (method, path) in [
        ("GET", "/api/v1/entries/1"),
        ("GET", "/api/v1/entries/1/hl7"),
        ("POST", "/api/v1/entries/1/release"),
        ("POST", "/api/v1/entries/1/replay"),
        ("GET", "/api/v1/devices/ACME%2FMon%201%2F42"),
        ("GET", "/api/v1/devices/ACME%2FMon%201%2F42/trend?code=8867-4"),
        ("GET", "/api/v1/devices/ACME%2FMon%201%2F42/waves"),
        ("GET", "/api/v1/associations/devices/ACME%2FMon%201%2F42"),
        ("POST", "/api/v1/associations/1/end"),
    ] {
        let reply = if method == "GET" { nina.get(path).await } else { nina.post(path, "").await };
        assert_eq!((reply.status, reply.code()), (404, "not-found".into()), "{path}");
    }
    assert_eq!(nina.get("/api/v1/entries").await.json()["entries"], json!([]));
    assert_eq!(nina.get("/api/v1/overview").await.json()["devices"], json!([]));
    // What has no place is refused: a new route is shut until somebody says how it is limited.
    for path in ["/api/v1/worklist", "/api/v1/upstream", "/api/v1/destinations", "/api/v1/places"] {
        let reply = nina.get(path).await;
        assert_eq!((reply.status, reply.code()), (403, "place".into()), "{path}");
    }
}

#[tokio::test]
async fn in_an_emergency_a_clinician_sees_everything_for_a_while_and_loudly() {
    let rig = Rig::with_anna().await;
    rig.store.keep(1, crate::admin::store::EntryState::Held, b"MSH|");
    let nina = limited(&rig).await;
    let ask = |reason: &str| json!({ "reason": reason, "minutes": 30 }).to_string();
    assert_eq!(
        nina.post("/api/v1/break-glass", &ask("  urgent ")).await.status,
        422,
        "a reason is mandatory"
    );
    let opened = nina.post("/api/v1/break-glass", &ask("resuscitation in bay 4")).await;
    assert_eq!(opened.status, 200, "{}", opened.body);
    assert_eq!(nina.get("/api/v1/entries/1").await.status, 200);
    assert!(nina.get("/api/v1/session").await.json()["break_glass"]["until"].is_string());
    let alarms = rig.client.get("/api/v1/overview").await.json()["alarms"].clone();
    assert_eq!(alarms[0]["code"], "break-glass");
    let trail = rig.store.trail();
    assert!(trail.contains(&"nina break-glass.begin 30 minutes done".to_string()), "{trail:?}");
    assert!(trail.contains(&"nina break-glass.use /api/v1/entries/{id} done".to_string()), "{trail:?}");
    let uses = rig.client.get("/api/v1/break-glass").await.json();
    assert_eq!(uses["uses"][0]["reason"], "resuscitation in bay 4");
    assert_eq!(nina.get("/api/v1/break-glass").await.status, 403, "who looked is for the auditor");
    assert_eq!(nina.post("/api/v1/break-glass/end", "").await.status, 204);
    assert_eq!(nina.get("/api/v1/entries/1").await.status, 404);
    assert_eq!(rig.client.get("/api/v1/overview").await.json()["alarms"], json!([]));
    nina.post("/api/v1/break-glass", &ask("resuscitation in bay 4")).await;
    rig.clock.advance(Duration::from_secs(29 * 60));
    assert_eq!(nina.get("/api/v1/entries/1").await.status, 200);
    rig.clock.advance(Duration::from_secs(60));
    assert_eq!(nina.get("/api/v1/entries/1").await.status, 404, "it ends by itself");
    rig.add_user("otto", Role::Auditor);
    let otto = rig.logged_in("otto").await;
    assert_eq!(otto.post("/api/v1/break-glass", &ask("resuscitation in bay 4")).await.code(), "role");
}

/// A4: the brake, its answers and its lines.
#[tokio::test]
async fn of_two_hundred_tries_five_are_looked_at_each_has_its_line_and_the_box_itself_is_not_locked_out() {
    let rig = Rig::fresh().await;
    rig.add_user("anna", Role::Admin);
    let wrong = login("anna", "not her password");
    let mut statuses = Vec::new();
    for _ in 0..200 {
        statuses.push(rig.client.fresh().post("/api/v1/login", &wrong).await.status);
    }
    let braked = statuses.iter().filter(|status| **status == 429).count();
    assert!(braked >= 195, "{braked}");
    let right = rig.client.fresh().post("/api/v1/login", &login("anna", PASSWORD)).await;
    assert_eq!(right.status, 429, "the right password waits too");
    assert_eq!(rig.store.trail().len(), 201);
}

#[tokio::test]
async fn who_is_refused_for_their_role_leaves_a_line_and_a_hundred_tries_leave_no_more() {
    let rig = Rig::with_anna().await;
    rig.add_user("otto", Role::Auditor);
    let otto = rig.logged_in("otto").await;
    for _ in 0..100 {
        assert_eq!(otto.get("/api/v1/entries").await.code(), "role");
    }
    otto.post("/api/v1/users", "{}").await;
    let nina = limited(&rig).await;
    assert_eq!(nina.get("/api/v1/worklist").await.code(), "place");
    let refusals: Vec<_> =
        rig.store.trail().into_iter().filter(|line| line.contains("access.refused")).collect();
    assert_eq!(
        refusals,
        [
            "otto access.refused /api/v1/entries refused",
            "otto access.refused /api/v1/users refused",
            "nina access.refused /api/v1/worklist refused",
        ]
    );
}

#[tokio::test]
async fn a_role_of_the_clinics_own_stands_in_place_of_the_boxs() {
    let text = "second_factor = []\n[roles.watcher]\npermissions = [\"devices.see\"]\nplaces = [\"ICU\"]";
    let rules: crate::access::Config = toml::from_str(text).unwrap();
    let mut rig = Rig::ruled(rules, crate::federation::Federation::default()).await;
    rig.add_user("anna", Role::Admin);
    rig.client = rig.logged_in("anna").await;
    rig.add_user("nina", Role::Engineer);
    let all = rig.client.get("/api/v1/users").await.json();
    assert_eq!(all["own_roles"][0]["name"], "watcher");
    let give = |role: Value| json!({ "own_role": role }).to_string();
    assert_eq!(rig.client.post("/api/v1/users/nina/change", &give(json!("porter"))).await.status, 422);
    assert_eq!(rig.client.post("/api/v1/users/nina/change", &give(json!("watcher"))).await.status, 204);
    assert_eq!(user(&rig, "nina").await["own_role"], "watcher");
    let nina = rig.logged_in("nina").await;
    let session = nina.get("/api/v1/session").await.json();
    assert_eq!(session["permissions"], json!(["session.use", "devices.see"]));
    assert_eq!((&session["own_role"], &session["places"]), (&json!("watcher"), &json!(["ICU"])));
    assert_eq!(nina.get("/api/v1/overview").await.json()["devices"], json!([]));
    assert_eq!(nina.get("/api/v1/entries").await.code(), "role", "an engineer may, a watcher may not");
    assert_eq!(nina.get("/api/v1/upstream").await.code(), "place");
    assert_eq!(rig.client.post("/api/v1/users/nina/change", &give(Value::Null)).await.status, 204);
    assert_eq!(rig.logged_in("nina").await.get("/api/v1/entries").await.status, 200);
}
