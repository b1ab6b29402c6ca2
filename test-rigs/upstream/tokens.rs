//! Who may: tokens, keys, clocks and scopes, and where a token never goes.

use std::time::Duration;

use bedside::clock::TestClock;
use bedside::demo::fhir_server::{self, Fault, On};
use bedside::upstream::keys::Algorithm;
use bedside::upstream::{Auth, State};
use serde_json::json;

use super::upstream::{CLIENT, Keys, clock, connect, device, entries, letters, reason};
use super::{assert_there_once, deliver_all, pair, usual};

#[tokio::test]
async fn a_token_is_replaced_once_when_it_is_refused() {
    let (server, up) = usual().await;
    assert_eq!(letters(&up.deliver(&entries("one", 1)).await), "A");
    server.revoke_tokens();
    assert_eq!(letters(&up.deliver(&entries("two", 1)).await), "A");
    assert_eq!(server.tokens_given(), 2);
    server.faults.always(On::Transaction, Fault::PlainStatus(401));
    let verdicts = up.deliver(&entries("three", 3)).await;
    assert_eq!(letters(&verdicts), "TTT");
    assert_eq!((server.tokens_given(), up.state().state), (3, State::Refusing));
    assert!(reason(&verdicts).contains("access token"), "{}", reason(&verdicts));
}

#[tokio::test]
async fn a_token_of_one_second_is_renewed_without_a_storm() {
    let (server, up) = pair(Algorithm::Es384, |config| config.token_life_s = 1, |_| ()).await;
    for run in ["a", "b", "c"] {
        assert_eq!(letters(&up.deliver(&entries(run, 2)).await), "AA");
        tokio::time::sleep(Duration::from_millis(600)).await;
    }
    assert!((3..=6).contains(&server.tokens_given()), "{}", server.tokens_given());
}

#[tokio::test]
async fn one_token_request_serves_many_deliveries_at_once() {
    let (server, up) = usual().await;
    let runs: Vec<_> = (0..8).map(|n| entries(&format!("many {n}"), 2)).collect();
    let verdicts = futures_util::future::join_all(runs.iter().map(|run| up.deliver(run))).await;
    for (run, verdicts) in runs.iter().zip(&verdicts) {
        assert_eq!(letters(verdicts), "AA", "{verdicts:?}");
        assert_there_once(&server.store, run, verdicts);
    }
    assert_eq!((server.tokens_given(), server.store.count()), (1, 34));
    let device = &runs[0][0][0];
    assert_eq!(
        server.store.writes("Device", &device.id).len(),
        1,
        "what is on its way is not sent by another"
    );
}

#[tokio::test]
async fn a_rotated_key_is_told_and_the_new_one_works() {
    let keys = Keys::new(Algorithm::Es384);
    let successor = keys.put("next-key", Algorithm::Rs384);
    let mut config = fhir_server::Config::new(clock());
    config.register(CLIENT, json!({ "keys": [successor] }));
    let server = fhir_server::start(config).await.unwrap();
    let old =
        connect(&server.base_url, &keys, clock(), |config| config.next_key_secret = Some("next-key".into()));
    let verdicts = old.deliver(&entries("old key", 1)).await;
    assert_eq!((letters(&verdicts).as_str(), old.state().state), ("T", State::Refusing));
    let kid = old.state().kid.unwrap();
    assert!(
        reason(&verdicts).contains(&kid) && reason(&verdicts).contains("not registered"),
        "{}",
        reason(&verdicts)
    );
    assert_eq!(old.jwks()["keys"].as_array().unwrap().len(), 2, "current and successor are published");
    server.register_keys(CLIENT, old.jwks());
    assert_eq!(letters(&old.deliver(&entries("both keys", 1)).await), "A");
    let new = connect(&server.base_url, &keys, clock(), |config| config.key_secret = "next-key".into());
    assert_eq!(letters(&new.deliver(&entries("new key", 1)).await), "A");
}

#[tokio::test]
async fn a_wrong_clock_is_allowed_for_and_told() {
    let now = clock().now().micros;
    for minutes in [-6_i64, 6, -60 * 24 * 365 * 30] {
        let keys = Keys::new(Algorithm::Es384);
        let mut config = fhir_server::Config::new(clock());
        config.register(CLIENT, keys.jwks());
        let server = fhir_server::start(config).await.unwrap();
        let up = connect(&server.base_url, &keys, TestClock::at(now + minutes * 60_000_000), |_| ());
        let verdicts = up.deliver(&entries("clock", 1)).await;
        assert_eq!(letters(&verdicts), "A", "{minutes}: {verdicts:?}");
        let side = if minutes < 0 { "behind" } else { "ahead" };
        assert!(
            up.state().detail.contains("clock of this box") && up.state().detail.contains(side),
            "{}",
            up.state().detail
        );
        let step = up.test().await.into_iter().find(|step| step.name == "clock").unwrap();
        assert!(!step.ok && step.detail.contains(side), "{step:?}");
    }
}

#[tokio::test]
async fn the_token_never_follows_a_redirect() {
    let (other, _) = usual().await;
    for on in [On::Token, On::Discovery, On::Metadata, On::Read] {
        let (server, up) = usual().await;
        server.faults.always(on, Fault::Redirect(other.base_url.clone()));
        let _whatever = up.deliver(&entries("redirect", 1)).await;
    }
    let (server, up) = usual().await;
    server.faults.always(On::Transaction, Fault::Redirect(other.base_url.clone()));
    let verdicts = up.deliver(&entries("redirected", 2)).await;
    assert_eq!((letters(&verdicts).as_str(), up.state().state), ("TT", State::Refusing));
    assert!(reason(&verdicts).contains("sends us on to"), "{}", reason(&verdicts));
    assert_eq!((other.store.count(), other.requests()), (0, 0), "nothing reached the other host");
}

#[tokio::test]
async fn the_token_endpoint_may_move() {
    let (server, up) = pair(Algorithm::Es384, |config| config.token_life_s = 1, |_| ()).await;
    assert_eq!(letters(&up.deliver(&entries("before", 1)).await), "A");
    server.move_token_endpoint("/auth/v2/token");
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let verdicts = deliver_all(&up, &entries("after", 1), 2).await;
    assert_eq!(letters(&verdicts), "A", "{verdicts:?}");
}

#[tokio::test]
async fn a_server_without_authorization_is_delivered_to_when_that_is_written() {
    let server = fhir_server::start(fhir_server::Config::new(clock())).await.unwrap();
    let keys = Keys::new(Algorithm::Es384);
    let up = connect(&server.base_url, &keys, clock(), |config| config.auth = Auth::None);
    assert_eq!(letters(&up.deliver(&entries("open", 2)).await), "AA");
    assert_eq!((up.state().auth, up.state().kid), ("none", None));
    assert!(up.test().await.iter().all(|step| step.ok));
}

#[tokio::test]
async fn a_written_token_endpoint_needs_no_discovery() {
    let (server, _) = usual().await;
    server.faults.always(On::Discovery, Fault::Status(404));
    let keys = Keys::new(Algorithm::Es384);
    server.register_keys(CLIENT, keys.jwks());
    let without = connect(&server.base_url, &keys, clock(), |_| ());
    let verdicts = without.deliver(&entries("without", 1)).await;
    assert!(reason(&verdicts).contains("write token_endpoint"), "{}", reason(&verdicts));
    let endpoint = server.base_url.replace("/fhir", "/auth/token");
    let with = connect(&server.base_url, &keys, clock(), |config| config.token_endpoint = Some(endpoint));
    assert_eq!(letters(&with.deliver(&entries("with", 1)).await), "A");
}

#[tokio::test]
async fn a_server_that_knows_only_smart_1_scopes_is_asked_in_those() {
    let (server, up) = pair(Algorithm::Es384, |config| config.v1_scopes_only = true, |_| ()).await;
    let verdicts = up.deliver(&entries("v1", 1)).await;
    assert_eq!(letters(&verdicts), "A", "{verdicts:?}");
    assert!(up.state().scopes.unwrap().contains("system/Observation.write"));
    assert_eq!(server.tokens_given(), 1);
}

#[tokio::test]
async fn forbidden_for_everything_is_told_and_retried_but_forbidden_for_one_is_held() {
    let keys = Keys::new(Algorithm::Es384);
    let mut config = fhir_server::Config::new(clock());
    config.register(CLIENT, keys.jwks());
    config.clients[0].scopes = vec!["system/Observation.cruds".into(), "system/Device.cruds".into()];
    let server = fhir_server::start(config).await.unwrap();
    let up = connect(&server.base_url, &keys, clock(), |_| ());
    let before = server.requests();
    let verdicts = up.deliver(&entries("forbidden", 8)).await;
    assert_eq!((letters(&verdicts).as_str(), up.state().state), ("TTTTTTTT", State::Refusing));
    assert!(reason(&verdicts).contains("Patient"), "{}", reason(&verdicts));
    assert!(server.requests() - before < 16, "a client that is shut out does not hammer");
    for (round, expected) in ["ATA", "ATA", "ARA"].into_iter().enumerate() {
        let device = device(&format!("SN-{}", round + 2));
        let mut mixed = entries("mixed", 3);
        for at in [0, 2] {
            mixed[at] = vec![device.clone()];
        }
        let verdicts = up.deliver(&mixed).await;
        assert_eq!(letters(&verdicts), expected, "{verdicts:?}");
    }
    let token = up.test().await.into_iter().find(|step| step.name == "token").unwrap();
    assert!(!token.ok && token.detail.contains("Patient"), "{token:?}");
}
