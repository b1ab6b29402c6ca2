//! Second factors over the wire: made at set-up, asked for at log-in, proven again where it matters.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::client::{Client, token_of};
use super::{PASSWORD, Rig};
use crate::access::passkey_rig::Authenticator;
use crate::access::{self, Role, Totp};
use crate::buffer::AccountChange;
use crate::federation::Federation;

/// The telephone of somebody who scanned the code.
struct Phone(Totp);

impl Phone {
    fn scanned(begun: &Value) -> Self {
        let secret = begun["secret"].as_str().unwrap();
        let uri = begun["uri"].as_str().unwrap();
        assert!(uri.contains(&format!("secret={secret}")) && begun["svg"].as_str().unwrap().contains("<svg"));
        let mut bits = 0_u32;
        let mut count = 0;
        let mut bytes = Vec::new();
        for symbol in secret.bytes() {
            let value = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".iter().position(|b| *b == symbol).unwrap();
            bits = (bits << 5) | u32::try_from(value).unwrap();
            count += 5;
            if count >= 8 {
                count -= 8;
                bytes.push(u8::try_from((bits >> count) & 0xff).unwrap());
            }
        }
        Self(Totp::from_bytes(bytes).unwrap())
    }

    fn code(&self, rig: &Rig) -> String {
        use crate::clock::Clock;
        self.0.now(rig.clock.now())
    }
}

async fn strict() -> Rig {
    Rig::ruled(access::Config::default(), Federation::default()).await
}

async fn login(rig: &Rig, name: &str) -> (Client, Value) {
    let form = json!({ "username": name, "password": PASSWORD }).to_string();
    let reply = rig.client.post("/api/v1/login", &form).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    (rig.client.with_token(&token_of(&reply)), reply.json())
}

/// Sets an app up; the client that is in, the phone, and the recovery codes.
async fn enrolled(rig: &Rig, client: &Client) -> (Client, Phone, Vec<String>) {
    let begun = client.post("/api/v1/account/totp/begin", "").await;
    assert_eq!(begun.status, 200, "{}", begun.body);
    let phone = Phone::scanned(&begun.json());
    let form = json!({ "code": phone.code(rig), "label": "My phone" }).to_string();
    let done = client.post("/api/v1/account/totp", &form).await;
    assert_eq!(done.status, 200, "{}", done.body);
    let codes = done.json()["recovery"].as_array().unwrap().clone();
    let codes = codes.iter().map(|code| code.as_str().unwrap().to_string()).collect();
    let client =
        done.header("set-cookie").map_or_else(|| client.clone(), |_| client.with_token(&token_of(&done)));
    (client, phone, codes)
}

fn totp(code: &str) -> String {
    json!({ "totp": code }).to_string()
}

#[tokio::test]
async fn the_first_user_is_in_only_with_a_second_factor_and_can_go_on_where_they_stopped() {
    let rig = strict().await;
    let form = json!({ "code": rig.code(), "username": "anna", "password": PASSWORD }).to_string();
    let done = rig.client.post("/api/v1/setup", &form).await;
    assert_eq!((done.status, &done.json()["stage"]), (200, &json!("enrol")));
    let half = rig.client.with_token(&token_of(&done));
    let shut = half.get("/api/v1/overview").await;
    assert_eq!((shut.status, shut.code()), (403, "second-factor".into()));
    assert_eq!(half.post("/api/v1/users", "{}").await.status, 403);
    assert_eq!(half.get("/api/v1/session").await.json()["stage"], "enrol");
    // The browser was closed: the next log-in goes on there.
    let (half, answer) = login(&rig, "anna").await;
    assert_eq!(answer["stage"], "enrol");
    let (client, phone, codes) = enrolled(&rig, &half).await;
    assert_eq!(codes.len(), 10);
    assert_eq!(client.get("/api/v1/overview").await.status, 200);
    assert_eq!(half.get("/api/v1/session").await.status, 401, "the half session is over");
    rig.clock.advance(Duration::from_secs(30));
    let (entering, answer) = login(&rig, "anna").await;
    assert_eq!((&answer["stage"], &answer["factors"]), (&json!("factor"), &json!(["totp", "recovery"])));
    let shut = entering.get("/api/v1/overview").await;
    assert_eq!((shut.status, shut.code()), (403, "second-factor".into()));
    let proven = entering.post("/api/v1/factor/prove", &totp(&phone.code(&rig))).await;
    assert_eq!((proven.status, &proven.json()["stage"]), (200, &json!("in")));
    let client = rig.client.with_token(&token_of(&proven));
    assert_eq!(client.get("/api/v1/overview").await.status, 200);
    assert_eq!(entering.get("/api/v1/session").await.status, 401, "a new token with each step");
}

#[tokio::test]
async fn a_code_lets_in_once_and_guessing_it_is_slowed_down_apart_from_the_password() {
    let rig = strict().await;
    rig.add_user("anna", Role::Admin);
    let (half, _) = login(&rig, "anna").await;
    let (_, phone, codes) = enrolled(&rig, &half).await;
    rig.clock.advance(Duration::from_secs(60));
    let code = phone.code(&rig);
    let (one, _) = login(&rig, "anna").await;
    let (other, _) = login(&rig, "anna").await;
    assert_eq!(one.post("/api/v1/factor/prove", &totp(&code)).await.status, 200);
    let again = other.post("/api/v1/factor/prove", &totp(&code)).await;
    assert_eq!((again.status, again.code()), (401, "wrong-factor".into()), "the same code a second time");
    for _ in 0..10 {
        // A right password each time makes no room for more codes.
        let (guessing, _) = login(&rig, "anna").await;
        guessing.post("/api/v1/factor/prove", &totp("000000")).await;
    }
    let (late, _) = login(&rig, "anna").await;
    let braked = late.post("/api/v1/factor/prove", &totp(&phone.code(&rig))).await;
    assert_eq!(braked.status, 429);
    rig.clock.advance(Duration::from_secs(20 * 60));
    let (late, _) = login(&rig, "anna").await;
    let spend = json!({ "recovery": codes[3] }).to_string();
    let first = late.post("/api/v1/factor/prove", &spend).await;
    assert_eq!(first.status, 200, "{}", first.body);
    let (late, answer) = login(&rig, "anna").await;
    assert_eq!(answer["stage"], "factor");
    assert_eq!(late.post("/api/v1/factor/prove", &spend).await.status, 401, "a recovery code counts once");
    let trail = rig.store.trail();
    assert!(trail.contains(&"anna login.factor recovery done".to_string()), "{trail:?}");
    assert!(trail.contains(&"anna login.factor totp refused".to_string()));
}

#[tokio::test]
async fn somebody_with_the_password_alone_cannot_make_a_factor_of_their_own() {
    let rig = strict().await;
    rig.add_user("anna", Role::Admin);
    let (half, _) = login(&rig, "anna").await;
    enrolled(&rig, &half).await;
    let (half, answer) = login(&rig, "anna").await;
    assert_eq!(answer["stage"], "factor");
    for path in [
        "/api/v1/account/totp/begin",
        "/api/v1/account/totp",
        "/api/v1/account/passkey/begin",
        "/api/v1/account/passkey",
        "/api/v1/account/recovery",
        "/api/v1/account/password",
        "/api/v1/account/factors/1/remove",
        "/api/v1/account/tokens",
        "/api/v1/break-glass",
    ] {
        let shut = half.post(path, "{}").await;
        assert_eq!((shut.status, shut.code()), (403, "second-factor".into()), "{path}");
    }
    let none = half.post("/api/v1/factor/prove", &json!({ "password": PASSWORD }).to_string()).await;
    assert_eq!(none.status, 409, "the password is no second factor");
    for body in ["{}", "{\"totp\":\"1\",\"recovery\":\"2\"}", "[]", "{\"totp\":7}"] {
        assert_eq!(half.post("/api/v1/factor/prove", body).await.status, 400, "{body}");
    }
}

#[tokio::test]
async fn a_passkey_is_made_lets_in_and_betrays_its_copy() {
    let rig = strict().await;
    rig.add_user("anna", Role::Admin);
    let (half, _) = login(&rig, "anna").await;
    let origin = format!("https://{}", rig.client.host());
    let mut key = Authenticator::new("localhost", &origin);
    let bytes = |text: &Value| URL_SAFE_NO_PAD.decode(text.as_str().unwrap()).unwrap();
    let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let begun = half.post("/api/v1/account/passkey/begin", "").await.json();
    assert_eq!(begun["rp"]["id"], "localhost");
    let (client_data, attestation) = key.register(&bytes(&begun["challenge"]));
    let form =
        json!({ "label": "Key", "client_data": text(&client_data), "attestation": text(&attestation) });
    let made = half.post("/api/v1/account/passkey", &form.to_string()).await;
    assert_eq!(made.status, 200, "{}", made.body);
    let client = rig.client.with_token(&token_of(&made));
    let again = client.post("/api/v1/account/passkey", &form.to_string()).await;
    assert_eq!(again.status, 409, "a challenge counts once");

    let (entering, answer) = login(&rig, "anna").await;
    assert_eq!(answer["factors"], json!(["passkey", "recovery"]));
    let asked = entering.post("/api/v1/factor/challenge", "").await.json();
    assert_eq!(asked["credentials"], json!([text(&key.credential)]));
    let answer = key.assert(&bytes(&asked["challenge"]));
    let proof = |id: &[u8], answer: &access::passkey_rig::Assertion| {
        json!({ "passkey": {
            "id": text(id), "client_data": text(&answer.client_data),
            "authenticator_data": text(&answer.data), "signature": text(&answer.signature),
        }})
        .to_string()
    };
    let proven = entering.post("/api/v1/factor/prove", &proof(&key.credential, &answer)).await;
    assert_eq!(proven.status, 200, "{}", proven.body);

    let (entering, _) = login(&rig, "anna").await;
    let unasked = entering.post("/api/v1/factor/prove", &proof(&key.credential, &answer)).await;
    assert_eq!(unasked.status, 409, "an answer to nothing");
    let asked = entering.post("/api/v1/factor/challenge", "").await.json();
    key.counter = 0;
    let copied = key.assert(&bytes(&asked["challenge"]));
    let refused = entering.post("/api/v1/factor/prove", &proof(&key.credential, &copied)).await;
    assert_eq!((refused.status, refused.code()), (401, "wrong-factor".into()), "the counter went back");
    let asked = entering.post("/api/v1/factor/challenge", "").await.json();
    key.counter = 40;
    let answer = key.assert(&bytes(&asked["challenge"]));
    assert_eq!(entering.post("/api/v1/factor/prove", &proof(b"other", &answer)).await.status, 401);
    let asked = entering.post("/api/v1/factor/challenge", "").await.json();
    key.origin = "https://evil.example".into();
    let phished = key.assert(&bytes(&asked["challenge"]));
    assert_eq!(entering.post("/api/v1/factor/prove", &proof(&key.credential, &phished)).await.status, 401);
}

#[tokio::test]
async fn the_last_factor_stays_where_one_is_required_and_codes_can_be_made_anew() {
    let rig = strict().await;
    rig.add_user("anna", Role::Admin);
    let (half, _) = login(&rig, "anna").await;
    let (client, phone, old) = enrolled(&rig, &half).await;
    let account = client.get("/api/v1/account").await.json();
    assert_eq!((&account["recovery_left"], &account["required"]), (&json!(10), &json!(true)));
    assert_eq!(account["factors"][0]["label"], "My phone");
    assert!(!account.to_string().contains("secret"));
    let id = account["factors"][0]["id"].as_i64().unwrap();
    let kept = client.post(&format!("/api/v1/account/factors/{id}/remove"), "").await;
    assert_eq!((kept.status, kept.code()), (409, "account".into()));
    assert_eq!(client.post("/api/v1/account/factors/999/remove", "").await.status, 404);
    let fresh = client.post("/api/v1/account/recovery", "").await.json();
    assert_eq!(fresh["recovery"].as_array().unwrap().len(), 10);
    let (entering, _) = login(&rig, "anna").await;
    let spend = json!({ "recovery": old[0] }).to_string();
    assert_eq!(entering.post("/api/v1/factor/prove", &spend).await.status, 401, "the old codes are gone");
    rig.clock.advance(Duration::from_secs(60));
    assert_eq!(entering.post("/api/v1/factor/prove", &totp(&phone.code(&rig))).await.status, 200);
    // From the console, when everything is lost.
    rig.store.change(AccountChange::ResetFactors { user: "anna".into() });
    assert_eq!(client.get("/api/v1/session").await.status, 401);
    assert_eq!(login(&rig, "anna").await.1["stage"], "enrol");
}

#[tokio::test]
async fn a_risky_action_asks_again_after_a_while_and_is_done_when_it_was_proven() {
    let rig = strict().await;
    rig.add_user("anna", Role::Admin);
    let (half, _) = login(&rig, "anna").await;
    let (client, phone, _) = enrolled(&rig, &half).await;
    let form = json!({ "username": "bob", "role": "clinician" }).to_string();
    rig.clock.advance(Duration::from_secs(15 * 60));
    let asked = client.post("/api/v1/users", &form).await;
    assert_eq!((asked.status, asked.code()), (403, "step-up-required".into()));
    assert_eq!(client.get("/api/v1/overview").await.status, 200, "looking goes on");
    let proven = client.post("/api/v1/factor/prove", &totp(&phone.code(&rig))).await;
    assert_eq!(proven.status, 200, "{}", proven.body);
    let fresh = rig.client.with_token(&token_of(&proven));
    assert_eq!(fresh.post("/api/v1/users", &form).await.status, 201);
    assert_eq!(client.get("/api/v1/session").await.status, 401, "a new token with a new proof");
    assert!(rig.store.trail().contains(&"anna step-up totp done".to_string()));
}

#[tokio::test]
async fn another_browser_or_network_asks_again_and_a_password_does_for_those_without_a_factor() {
    let rig = Rig::with_anna().await;
    let agent = [("User-Agent", "Another/1.0")];
    let asked = rig.client.ask("GET", "/api/v1/overview", &agent, "").await;
    assert_eq!((asked.status, asked.code()), (403, "step-up-required".into()));
    assert_eq!(
        rig.client.ask("GET", "/api/v1/session", &agent, "").await.status,
        200,
        "one learns who one is"
    );
    let origin = format!("https://{}", rig.client.host());
    let own = [("x-bedside-csrf", "1"), ("Origin", origin.as_str()), agent[0]];
    let wrong = json!({ "password": "not the password" }).to_string();
    assert_eq!(rig.client.ask("POST", "/api/v1/factor/prove", &own, &wrong).await.status, 401);
    let right = json!({ "password": PASSWORD }).to_string();
    let proven = rig.client.ask("POST", "/api/v1/factor/prove", &own, &right).await;
    assert_eq!(proven.status, 200, "{}", proven.body);
    let moved = rig.client.with_token(&token_of(&proven));
    assert_eq!(moved.ask("GET", "/api/v1/overview", &agent, "").await.status, 200);
    assert_eq!(
        moved.get("/api/v1/overview").await.code(),
        "step-up-required",
        "the old browser is another one now"
    );
}

/// Logs in with the password from a browser that has this cookie; the stage, and the session.
async fn login_with(rig: &Rig, name: &str, browser: &str) -> (Client, Value) {
    let origin = format!("https://{}", rig.client.host());
    let headers = [("x-bedside-csrf", "1"), ("Origin", origin.as_str()), ("Cookie", browser)];
    let form = json!({ "username": name, "password": PASSWORD }).to_string();
    let reply = rig.client.fresh().ask("POST", "/api/v1/login", &headers, &form).await;
    (rig.client.with_token(&token_of(&reply)), reply.json()["stage"].clone())
}

#[tokio::test]
async fn a_remembered_browser_is_not_asked_at_log_in_and_still_asked_before_risky_actions() {
    let step_up = access::StepUp { remember_days: 7, ..access::StepUp::default() };
    let rules = access::Config { step_up, ..access::Config::default() };
    let rig = Rig::ruled(rules, Federation::default()).await;
    rig.add_user("anna", Role::Admin);
    rig.add_user("bob", Role::Admin);
    let (half, _) = login(&rig, "anna").await;
    let (_, phone, _) = enrolled(&rig, &half).await;
    let (half, _) = login(&rig, "bob").await;
    enrolled(&rig, &half).await;
    rig.clock.advance(Duration::from_secs(60));
    let (entering, _) = login(&rig, "anna").await;
    assert_eq!(entering.get("/api/v1/session").await.json()["remember_days"], 7);
    let form = json!({ "totp": phone.code(&rig), "remember": true }).to_string();
    let proven = entering.post("/api/v1/factor/prove", &form).await;
    let cookie =
        proven.headers("set-cookie").into_iter().find(|one| one.starts_with("__Host-bedside-browser="));
    let cookie = cookie.expect("a cookie that remembers");
    assert!(cookie.ends_with("; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=604800"), "{cookie}");
    let browser = cookie.split(';').next().unwrap().to_string();

    let (anna, stage) = login_with(&rig, "anna", &browser).await;
    assert_eq!(stage, "in", "the factor was proven here");
    assert_eq!(anna.get("/api/v1/overview").await.status, 200);
    let new = json!({ "username": "carl", "role": "clinician" }).to_string();
    assert_eq!(anna.post("/api/v1/users", &new).await.code(), "step-up-required", "remembered is not proven");
    assert_eq!(anna.post("/api/v1/account/totp/begin", "").await.code(), "step-up-required");
    let password = json!({ "old": PASSWORD, "new": "kettle orbit lamp" }).to_string();
    assert_eq!(anna.post("/api/v1/account/password", &password).await.code(), "step-up-required");

    assert_eq!(login_with(&rig, "bob", &browser).await.1, "factor", "it is remembered for her, not for him");
    let twice = format!("{browser}; {browser}");
    assert_eq!(login_with(&rig, "anna", &twice).await.1, "factor", "two of them are none");
    rig.clock.advance(Duration::from_secs(7 * 86_400));
    assert_eq!(login_with(&rig, "anna", &browser).await.1, "factor", "it was long ago");
}

#[tokio::test]
async fn where_the_rules_remember_no_browser_none_is_remembered() {
    let rig = strict().await;
    rig.add_user("anna", Role::Admin);
    let (half, _) = login(&rig, "anna").await;
    let (_, phone, _) = enrolled(&rig, &half).await;
    rig.clock.advance(Duration::from_secs(60));
    let (entering, _) = login(&rig, "anna").await;
    let form = json!({ "totp": phone.code(&rig), "remember": true }).to_string();
    let proven = entering.post("/api/v1/factor/prove", &form).await;
    assert_eq!((proven.status, proven.headers("set-cookie").len()), (200, 1));
}
