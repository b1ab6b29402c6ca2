//! Set-up, log-in, log-out, and everyone who should not get in.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;

use super::client::token_of;
use super::{PASSWORD, Rig};
use crate::access::Role;
use crate::buffer::AccountChange;

fn form(code: &str, username: &str, password: &str) -> String {
    json!({ "code": code, "username": username, "password": password }).to_string()
}

fn login(username: &str, password: &str) -> String {
    json!({ "username": username, "password": password }).to_string()
}

#[tokio::test]
async fn from_the_code_on_the_console_to_the_overview_and_out_again() {
    let rig = Rig::fresh().await;
    let setup = rig.client.get("/api/v1/setup").await.json();
    assert_eq!((&setup["needed"], &setup["site"]), (&json!(true), &json!("Ward 3")));
    assert_eq!(setup["fingerprint"].as_str().unwrap().len(), 95);
    assert_eq!(rig.client.get("/api/v1/overview").await.status, 401);

    let done = rig.client.post("/api/v1/setup", &form(&rig.code(), "Anna", PASSWORD)).await;
    assert_eq!((done.status, &done.json()["username"]), (200, &json!("anna")));
    let client = rig.client.with_token(&token_of(&done));
    let who = client.get("/api/v1/session").await.json();
    assert_eq!((&who["username"], &who["role"]), (&json!("anna"), &json!("admin")));
    let overview = client.get("/api/v1/overview").await.json();
    assert_eq!(overview["verdict"], "No link is set up yet; 0 waiting; no upstream is set up");
    assert_eq!(overview["now"], "2026-11-22T12:00:00.000Z");

    assert_eq!(rig.client.get("/api/v1/setup").await.json()["needed"], false);
    let again = rig.client.post("/api/v1/setup", &form(&rig.code(), "eve", PASSWORD)).await;
    assert_eq!((again.status, again.code()), (410, "already-set-up".into()));

    let out = client.post("/api/v1/logout", "").await;
    assert_eq!(out.status, 204);
    assert!(out.header("set-cookie").unwrap().contains("Max-Age=0"));
    assert_eq!(
        client.get("/api/v1/session").await.status,
        401,
        "the session is over on the box, not only in the browser"
    );

    let back = rig.client.post("/api/v1/login", &login("ANNA", PASSWORD)).await;
    assert_eq!(back.status, 200);
    let looked = "anna live.view values of all devices done";
    assert_eq!(rig.store.trail(), ["anna setup - done", looked, "anna logout - done", "anna login - done"]);
}

#[tokio::test]
async fn five_wrong_codes_bring_a_new_code_and_a_wait() {
    let rig = Rig::fresh().await;
    let first = rig.code();
    for left in ["4 tries are", "3 tries are", "2 tries are", "1 try is", "shows a new code"] {
        let wrong = rig.client.post("/api/v1/setup", &form("AAAAA-AAAAA-AAAAA", "anna", PASSWORD)).await;
        assert_eq!(wrong.status, 403);
        assert!(wrong.body.contains(left), "{}", wrong.body);
    }
    let second = rig.code();
    assert_ne!(first, second);
    let braked = rig.client.post("/api/v1/setup", &form(&second, "anna", PASSWORD)).await;
    assert_eq!((braked.status, braked.header("retry-after")), (429, Some("1")));
    rig.clock.advance(Duration::from_secs(1));
    let spent = rig.client.post("/api/v1/setup", &form(&first, "anna", PASSWORD)).await;
    assert_eq!(spent.code(), "wrong-code", "the first code is spent");
    rig.clock.advance(Duration::from_secs(2));
    assert_eq!(rig.client.post("/api/v1/setup", &form(&second, "anna", PASSWORD)).await.status, 200);
}

#[tokio::test]
async fn an_old_code_is_replaced_and_a_weak_password_does_not_cost_the_code() {
    let rig = Rig::fresh().await;
    let old = rig.code();
    rig.clock.advance(Duration::from_secs(31 * 60));
    let late = rig.client.post("/api/v1/setup", &form(&old, "anna", PASSWORD)).await;
    assert!(late.body.contains("too old"), "{}", late.body);
    for (username, password) in
        [("anna", "short"), ("anna", "password12345"), ("anna long name", "Anna Long Name"), ("", PASSWORD)]
    {
        let weak = rig.client.post("/api/v1/setup", &form(&rig.code(), username, password)).await;
        assert_eq!((weak.status, weak.code()), (422, "rule".into()));
    }
    assert_eq!(rig.client.post("/api/v1/setup", &form(&rig.code(), "anna", PASSWORD)).await.status, 200);
}

#[tokio::test]
async fn guessing_is_slowed_down_even_with_the_right_password_and_forgiven_after_it() {
    let rig = Rig::fresh().await;
    rig.add_user("anna", Role::Admin);
    for _ in 0..5 {
        let wrong = rig.client.post("/api/v1/login", &login("anna", "wrong password")).await;
        assert_eq!((wrong.status, wrong.code()), (401, "wrong-login".into()));
    }
    let braked = rig.client.post("/api/v1/login", &login("anna", PASSWORD)).await;
    assert_eq!((braked.status, braked.code()), (429, "too-many-tries".into()));
    rig.clock.advance(Duration::from_secs(1));
    assert_eq!(rig.client.post("/api/v1/login", &login("anna", PASSWORD)).await.status, 200);
    let trail = rig.store.trail();
    assert_eq!(trail.iter().filter(|line| *line == "- login anna refused").count(), 5);
    assert_eq!(trail.iter().filter(|line| *line == "- login - refused").count(), 1, "the braked one");
}

#[tokio::test]
async fn an_unknown_user_gets_the_same_answer_and_its_name_is_not_written_down() {
    let rig = Rig::fresh().await;
    rig.add_user("anna", Role::Admin);
    let unknown = rig.client.post("/api/v1/login", &login("my secret password", "x")).await;
    let wrong = rig.client.post("/api/v1/login", &login("anna", "x")).await;
    assert_eq!((unknown.status, unknown.body), (wrong.status, wrong.body));
    assert_eq!(rig.store.trail(), ["- login - refused", "- login anna refused"]);
}

#[tokio::test]
async fn a_session_ends_by_idleness_and_by_age_and_when_its_user_is_gone() {
    let rig = Rig::with_anna().await;
    for _ in 0..25 {
        assert_eq!(rig.client.get("/api/v1/session").await.status, 200);
        rig.clock.advance(Duration::from_secs(29 * 60));
    }
    assert_eq!(
        rig.client.get("/api/v1/session").await.status,
        401,
        "used all the time, but twelve hours old"
    );
    let idle = rig.logged_in("anna").await;
    rig.clock.advance(Duration::from_secs(30 * 60));
    assert_eq!(idle.get("/api/v1/session").await.status, 401);
    let gone = rig.logged_in("anna").await;
    rig.add_user("boss", Role::Admin);
    rig.store.change(AccountChange::Remove { name: "anna".into() });
    assert_eq!(gone.get("/api/v1/session").await.status, 401);
}

#[tokio::test]
async fn a_new_log_in_ends_the_session_the_browser_came_with() {
    let rig = Rig::with_anna().await;
    assert_eq!(rig.store.sessions(), 1);
    let fresh = rig.client.post("/api/v1/login", &login("anna", PASSWORD)).await;
    assert_ne!(Some(token_of(&fresh)), rig.client.token);
    assert_eq!(rig.store.sessions(), 1);
    assert_eq!(rig.client.get("/api/v1/session").await.status, 401);
}

#[tokio::test]
async fn nobody_gets_in_when_it_cannot_be_written_down() {
    let rig = Rig::fresh().await;
    rig.store.audit_broken.store(true, Ordering::SeqCst);
    let setup = rig.client.post("/api/v1/setup", &form(&rig.code(), "anna", PASSWORD)).await;
    assert_eq!(setup.status, 503);
    assert_eq!(rig.client.get("/api/v1/setup").await.json()["needed"], true, "no user was made");
    rig.add_user("anna", Role::Admin);
    assert_eq!(rig.client.post("/api/v1/login", &login("anna", PASSWORD)).await.status, 503);
    assert_eq!(rig.store.sessions(), 0);
}

#[tokio::test]
async fn a_body_that_is_not_the_form_is_refused_without_being_quoted() {
    let rig = Rig::fresh().await;
    for body in
        ["", "{}", "[]", "{\"username\":\"s3cret-canary\",\"password\":1}", "\u{0}", &"[".repeat(2000)]
    {
        let refused = rig.client.post("/api/v1/login", body).await;
        assert_eq!(refused.status, 400, "{body}");
        assert!(!refused.body.contains("canary"));
    }
}

#[tokio::test]
async fn of_two_first_users_at_once_one_is_made() {
    let rig = Rig::fresh().await;
    let forms = [form(&rig.code(), "anna", PASSWORD), form(&rig.code(), "eve", PASSWORD)];
    let both = [rig.client.post("/api/v1/setup", &forms[0]), rig.client.post("/api/v1/setup", &forms[1])];
    let mut statuses: Vec<u16> =
        futures_util::future::join_all(both).await.iter().map(|reply| reply.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 410]);
    assert_eq!(rig.store.trail().len(), 1, "one user, one line");
}

#[tokio::test]
async fn forty_tries_at_once_are_five_tries() {
    let rig = Rig::fresh().await;
    rig.add_user("anna", Role::Admin);
    let form = login("anna", "wrong password");
    let tries = (0..40).map(|_| rig.client.post("/api/v1/login", &form));
    let statuses: Vec<u16> =
        futures_util::future::join_all(tries).await.iter().map(|reply| reply.status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 5);
    assert_eq!(statuses.iter().filter(|status| **status == 429).count(), 35);
    assert_eq!(rig.store.trail().len(), 40, "each try has its line");
}

#[tokio::test]
async fn a_problem_says_what_it_is_to_people_and_to_programs() {
    let rig = Rig::fresh().await;
    let problem = rig.client.get("/api/v1/session").await;
    assert_eq!(problem.header("www-authenticate"), Some("Session"));
    let expected = json!({
        "type": "about:blank", "title": "Unauthorized", "status": 401, "detail": "log in first", "code": "log-in-first"
    });
    assert_eq!(problem.json(), expected);
}
