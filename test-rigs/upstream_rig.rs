//! The upstream against a FHIR server that misbehaves: every row of the fault table ends as it should, and every
//! accepted entry is on the server exactly once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a rig that cannot go on stops"
)]

#[path = "upstream/order.rs"]
mod order;
#[path = "upstream/tls.rs"]
mod tls;
#[path = "upstream/tokens.rs"]
mod tokens;
mod upstream;
#[path = "upstream/ways.rs"]
mod ways;

use std::time::Duration;

use bedside::demo::fhir_server::{self, Fault, On, Running, Store};
use bedside::fhir::Resource;
use bedside::upstream::keys::Algorithm;
use bedside::upstream::{Config, Gzip, ModeWish, Patients, State, Upstream, Verdict};
use serde_json::json;
use upstream::{
    CLIENT, Keys, MRN, clock, connect, device, entries, letters, observation, patient, reason, spoiled,
};

/// A running server that knows the key, and a box that knows the server.
async fn pair(
    algorithm: Algorithm,
    server: impl FnOnce(&mut fhir_server::Config),
    upstream: impl FnOnce(&mut Config),
) -> (Running, Upstream) {
    let keys = Keys::new(algorithm);
    let mut config = fhir_server::Config::new(clock());
    config.register(CLIENT, keys.jwks());
    server(&mut config);
    let running = fhir_server::start(config).await.unwrap();
    let up = connect(&running.base_url, &keys, clock(), upstream);
    (running, up)
}

async fn usual() -> (Running, Upstream) {
    pair(Algorithm::Es384, |_| (), |_| ()).await
}

/// Every resource of the accepted entries is there once, with its value.
fn assert_there_once(store: &Store, entries: &[Vec<Resource>], verdicts: &[Verdict]) {
    for resource in entries
        .iter()
        .zip(verdicts)
        .filter(|(_, verdict)| matches!(verdict, Verdict::Accepted { .. }))
        .flat_map(|(entry, _)| entry)
    {
        let (system, value) = &resource.identifier;
        let places = store.with_identifier(resource.kind, system, value);
        assert_eq!(places.len(), 1, "{} {value}", resource.kind);
        let held = store.resource(resource.kind, &places[0]).unwrap();
        assert_eq!(held["valueQuantity"], resource.value()["valueQuantity"]);
    }
}

/// Delivers what is not yet accepted until all is, as the gateway does; at most `rounds` times.
async fn deliver_all(up: &Upstream, entries: &[Vec<Resource>], rounds: usize) -> Vec<Verdict> {
    let mut verdicts = up.deliver(entries).await;
    for _ in 1..rounds {
        let left: Vec<usize> = (0..entries.len()).filter(|at| letters(&verdicts[*at..=*at]) == "T").collect();
        if left.is_empty() {
            break;
        }
        let again: Vec<Vec<Resource>> = left.iter().map(|at| entries[*at].clone()).collect();
        for (at, verdict) in left.into_iter().zip(up.deliver(&again).await) {
            verdicts[at] = verdict;
        }
    }
    verdicts
}

#[tokio::test]
async fn both_algorithms_get_a_token_and_deliver() {
    for algorithm in [Algorithm::Es384, Algorithm::Rs384] {
        let (server, up) = pair(algorithm, |_| (), |_| ()).await;
        let entries = entries("first", 3);
        let verdicts = up.deliver(&entries).await;
        assert_eq!(letters(&verdicts), "AAA", "{verdicts:?}");
        assert_eq!((server.store.count_of("Observation"), server.store.count()), (6, 8));
        assert_there_once(&server.store, &entries, &verdicts);
        let standing = up.state();
        assert_eq!(
            (standing.state, standing.mode, standing.algorithm),
            (State::Up, Some("put"), Some(algorithm.name()))
        );
        assert!(standing.last_success.is_some() && standing.granted.is_some());
        assert_eq!(server.tokens_given(), 1);
    }
}

#[tokio::test]
async fn a_repeated_delivery_changes_nothing() {
    let (server, up) = usual().await;
    let entries = entries("again", 2);
    for _ in 0..3 {
        assert_eq!(letters(&up.deliver(&entries).await), "AA");
    }
    assert_eq!(server.store.count(), 6);
    assert_eq!(server.connections(), (1, 0), "the connection is used again");
    let first = &entries[0][2];
    assert_eq!(server.store.versions("Observation", &first.id), 1);
    assert_eq!(
        server.store.writes("Device", &entries[0][0].id).len(),
        1,
        "an unchanged device is not sent again"
    );
}

#[tokio::test]
async fn faults_that_pass_end_as_retry_and_then_exactly_once() {
    let second = Duration::from_secs(4);
    let faults = [
        (On::Transaction, Fault::Drop),
        (On::Transaction, Fault::CommitThenDrop),
        (On::Transaction, Fault::Stall(second)),
        (On::Transaction, Fault::CommitThenStall(second)),
        (On::Transaction, Fault::CommitThenStallInBody(second)),
        (On::Transaction, Fault::Status(409)),
        (On::Transaction, Fault::HtmlStatus(400)),
        (On::Transaction, Fault::HtmlStatus(404)),
        (On::Transaction, Fault::Status(408)),
        (On::Transaction, Fault::RetryAfterSeconds(429, 7)),
        (On::Transaction, Fault::Status(500)),
        (On::Transaction, Fault::HtmlStatus(502)),
        (On::Transaction, Fault::PlainStatus(503)),
        (On::Transaction, Fault::Status(504)),
        (On::Transaction, Fault::Html),
        (On::Transaction, Fault::Bomb(64)),
        (On::Token, Fault::Status(503)),
        (On::Token, Fault::Drop),
        (On::Token, Fault::InvalidClient),
        (On::Token, Fault::Html),
        (On::Discovery, Fault::Status(500)),
        (On::Discovery, Fault::Html),
        (On::Metadata, Fault::Status(503)),
        (On::Metadata, Fault::Drop),
        (On::Read, Fault::Status(503)),
    ];
    for (on, fault) in faults {
        let (server, up) = pair(Algorithm::Es384, |_| (), |config| config.max_answer_bytes = 1 << 20).await;
        server.faults.once(on, fault.clone());
        let entries = entries("fault", 1);
        let verdicts = up.deliver(&entries).await;
        assert_eq!(letters(&verdicts), "T", "{fault:?}: {verdicts:?}");
        assert_ne!(up.state().state, State::Up, "{fault:?}");
        let verdicts = up.deliver(&entries).await;
        assert_eq!(letters(&verdicts), "A", "{fault:?}: {verdicts:?}");
        assert_eq!(up.state().state, State::Up, "{fault:?}");
        assert_there_once(&server.store, &entries, &verdicts);
        assert_eq!(server.store.count(), 4, "{fault:?}");
        assert_eq!(server.faults.played(), 1, "{fault:?}");
    }
}

#[tokio::test]
async fn retry_after_is_passed_on_as_seconds_and_as_a_date() {
    let (server, up) = usual().await;
    for (fault, least) in [(Fault::RetryAfterSeconds(503, 90), 90), (Fault::RetryAfterDate(429, 90), 89)] {
        server.faults.once(On::Transaction, fault);
        match &up.deliver(&entries("pause", 2)).await[1] {
            Verdict::Retry { after: Some(after), .. } => {
                assert!((least..=90).contains(&after.as_secs()), "{after:?}")
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn an_answer_that_tells_nothing_is_looked_up_before_it_is_believed() {
    for fault in [Fault::CommitThenHtml, Fault::CommitThenTruncated, Fault::FewerEntries(3)] {
        for mode in [ModeWish::Put, ModeWish::Conditional] {
            let (server, up) = pair(Algorithm::Es384, |_| (), |config| config.mode = mode).await;
            server.faults.once(On::Transaction, fault.clone());
            let entries = entries("unclear", 2);
            let verdicts = up.deliver(&entries).await;
            assert_eq!(letters(&verdicts), "AA", "{fault:?} {mode:?}: {verdicts:?}");
            assert_there_once(&server.store, &entries, &verdicts);
        }
    }
}

#[tokio::test]
async fn a_bad_entry_does_not_hold_the_others() {
    for mode in [ModeWish::Put, ModeWish::Conditional] {
        let (server, up) = pair(Algorithm::Es384, |_| (), |config| config.mode = mode).await;
        let mut entries = entries("bad", 9);
        entries[4][3] = spoiled(&entries[4][3]);
        let verdicts = up.deliver(&entries).await;
        assert_eq!(letters(&verdicts), "AAAARAAAA", "{mode:?}: {verdicts:?}");
        assert!(reason(&verdicts).contains("ObservationStatus"), "{}", reason(&verdicts));
        assert_there_once(&server.store, &entries, &verdicts);
        assert_eq!(server.store.count_of("Observation"), 16, "{mode:?}");
        assert_eq!(up.state().state, State::Up);
    }
}

#[tokio::test]
async fn half_accepted_bundles_give_each_entry_its_own_verdict() {
    let (server, up) = usual().await;
    up.deliver(&entries("before", 1)).await;
    for (status, letter) in
        [(422, 'R'), (404, 'R'), (410, 'R'), (412, 'R'), (409, 'T'), (429, 'T'), (503, 'T')]
    {
        let run = format!("half {status}");
        let entries: Vec<Vec<Resource>> =
            entries(&run, 4).into_iter().map(|entry| entry[..3].to_vec()).collect();
        server.faults.once(On::Transaction, Fault::HalfAccept { every: 2, status });
        // A refusal may mean that something left out is missing: the entry is sent once more with everything.
        server.faults.once(On::Transaction, Fault::HalfAccept { every: 1, status });
        let verdicts = up.deliver(&entries).await;
        let expected: String = ['A', letter, 'A', letter].iter().collect();
        assert_eq!(letters(&verdicts), expected, "{status}: {verdicts:?}");
        assert_there_once(&server.store, &entries, &verdicts);
        server.faults.clear();
        let again = deliver_all(&up, &entries, 2).await;
        assert_eq!(letters(&again), "AAAA");
        assert_there_once(&server.store, &entries, &again);
    }
}

#[tokio::test]
async fn an_entry_the_server_fails_on_again_and_again_is_held_only_while_others_pass() {
    let (server, up) = usual().await;
    up.deliver(&entries("before", 1)).await;
    server.faults.always(On::Transaction, Fault::HalfAccept { every: 2, status: 500 });
    let mut told = String::new();
    for _ in 0..8 {
        let two: Vec<_> = entries("stubborn", 2).into_iter().map(|entry| entry[..3].to_vec()).collect();
        told += &letters(&up.deliver(&two).await)[1..];
    }
    assert_eq!(told, "TTTTTTTR");
    server.faults.clear();
    server.faults.always(On::Transaction, Fault::Status(500));
    for _ in 0..10 {
        assert_eq!(letters(&up.deliver(&entries("sick server", 2)).await), "TT");
    }
}

#[tokio::test]
async fn too_large_is_split_and_remembered() {
    let (server, up) = pair(Algorithm::Es384, |config| config.max_entries = 7, |_| ()).await;
    let entries = entries("large", 12);
    let verdicts = up.deliver(&entries).await;
    assert_eq!(letters(&verdicts), "A".repeat(12), "{verdicts:?}");
    assert_there_once(&server.store, &entries, &verdicts);
    let before = server.requests();
    up.deliver(&upstream::entries("large again", 3)).await;
    assert!(server.requests() - before <= 3, "the limit is remembered");
}

#[tokio::test]
async fn an_entry_larger_than_the_server_takes_goes_in_parts() {
    let (server, up) = pair(Algorithm::Es384, |config| config.max_entries = 5, |_| ()).await;
    let (device, patient) = (device("SN-2"), patient("0815"));
    let mut entry = vec![device.clone(), patient.clone()];
    entry.extend((0..23).map(|n| observation(&format!("part {n}"), &patient, &device)));
    let entries = [entry];
    let verdicts = up.deliver(&entries).await;
    assert_eq!(letters(&verdicts), "A", "{verdicts:?}");
    assert_there_once(&server.store, &entries, &verdicts);
    assert_eq!(server.store.count(), 25);
}

#[tokio::test]
async fn one_resource_that_is_too_large_is_held_and_the_others_pass() {
    let (server, up) = pair(
        Algorithm::Es384,
        |config| config.max_body_bytes = 6_000,
        |config| config.gzip = Some(Gzip::Off),
    )
    .await;
    let mut entries = entries("huge", 3);
    let (device, patient) = (device("SN-1"), patient("4711"));
    entries[1] = vec![device.clone(), patient.clone(), observation(&"x".repeat(9_000), &patient, &device)];
    let verdicts = up.deliver(&entries).await;
    assert_eq!(letters(&verdicts), "ARA", "{verdicts:?}");
    assert!(reason(&verdicts).contains("too large"), "{}", reason(&verdicts));
    assert_there_once(&server.store, &entries, &verdicts);
}

#[tokio::test]
async fn a_server_that_lost_a_device_gets_it_again() {
    let (server, up) = usual().await;
    assert_eq!(letters(&up.deliver(&entries("before", 1)).await), "A");
    server.store.clear();
    let entries = entries("after", 3);
    let verdicts = up.deliver(&entries).await;
    assert_eq!(letters(&verdicts), "AAA", "{verdicts:?}");
    assert_there_once(&server.store, &entries, &verdicts);
    assert_eq!(server.store.count(), 8);
}

#[tokio::test]
async fn a_server_that_chooses_ids_gets_conditional_requests_and_no_copies() {
    for says in [Some(false), None] {
        let (server, up) = pair(
            Algorithm::Es384,
            |config| {
                config.takes_ids = false;
                config.says_update_create = says;
            },
            |_| (),
        )
        .await;
        let entries = entries("conditional", 4);
        for _ in 0..3 {
            let verdicts = up.deliver(&entries).await;
            assert_eq!(letters(&verdicts), "AAAA", "{verdicts:?}");
            assert_there_once(&server.store, &entries, &verdicts);
        }
        assert_eq!((up.state().mode, server.store.count()), (Some("conditional"), 10));
    }
}

#[tokio::test]
async fn a_server_that_takes_only_batches_gets_what_is_referred_to_first() {
    for takes_ids in [true, false] {
        let batches = |config: &mut fhir_server::Config| {
            config.transactions = false;
            config.takes_ids = takes_ids;
            config.says_update_create = Some(takes_ids);
        };
        let (server, up) = pair(Algorithm::Es384, batches, |_| ()).await;
        let mut all = entries("batches", 4);
        all[2][3] = spoiled(&all[2][3]);
        let verdicts = up.deliver(&all).await;
        assert_eq!(letters(&verdicts), "AARA", "{takes_ids}: {verdicts:?}");
        assert_there_once(&server.store, &all, &verdicts);
        assert_eq!(up.capability()["bundles"], "batch");
        let more = upstream::entries("more batches", 2);
        let before = server.requests();
        let verdicts = up.deliver(&more).await;
        assert_eq!(letters(&verdicts), "AA", "{verdicts:?}");
        assert_eq!(server.requests() - before, 1, "what is there is not sent first again");
        let held =
            &server.store.with_identifier("Observation", "urn:bedside:observation", &more[0][2].identifier.1)
                [0];
        let held = server.store.resource("Observation", held).unwrap();
        let patient = &server.store.with_identifier("Patient", MRN, "4711")[0];
        assert_eq!(held["subject"]["reference"], format!("Patient/{patient}"));
    }
}

#[tokio::test]
async fn a_server_that_does_not_heed_conditions_is_asked_before_it_is_written_to() {
    let heedless = |config: &mut fhir_server::Config| {
        config.takes_ids = false;
        config.says_update_create = Some(false);
        config.conditional_create = false;
    };
    let (server, up) = pair(Algorithm::Es384, heedless, |_| ()).await;
    let entries = entries("heedless", 3);
    for _ in 0..3 {
        let verdicts = up.deliver(&entries).await;
        assert_eq!(letters(&verdicts), "AAA", "{verdicts:?}");
        assert_there_once(&server.store, &entries, &verdicts);
    }
    server.faults.once(On::Transaction, Fault::CommitThenDrop);
    let lost = upstream::entries("heedless and lost", 2);
    assert_eq!(letters(&deliver_all(&up, &lost, 3).await), "AA");
    assert_eq!(server.store.count_of("Observation"), 10);
    assert_eq!(up.capability()["looks_before_writing"], true);
}

#[tokio::test]
async fn a_clock_that_differs_is_told_in_words_also_where_nobody_asks_for_a_token() {
    let ahead = bedside::clock::TestClock::at(clock().now().micros + 3_600_000_000);
    let server = fhir_server::start(fhir_server::Config::new(clock())).await.unwrap();
    let keys = Keys::new(Algorithm::Es384);
    let up = connect(&server.base_url, &keys, ahead, |config| config.auth = bedside::upstream::Auth::None);
    assert_eq!(letters(&up.deliver(&entries("late", 1)).await), "A");
    assert!(up.state().detail.contains("ahead of the server"), "{}", up.state().detail);
    assert!(up.clock_skew_s().unwrap() < -3_590);
}

#[tokio::test]
async fn a_server_that_only_claims_to_take_ids_is_found_out() {
    let claims = |config: &mut fhir_server::Config| {
        config.takes_ids = false;
        config.says_update_create = Some(true);
    };
    let (server, up) = pair(Algorithm::Es384, claims, |_| ()).await;
    let entries = entries("claims", 3);
    let verdicts = up.deliver(&entries).await;
    assert_eq!(letters(&verdicts), "AAA", "{verdicts:?}");
    assert_eq!(up.state().mode, Some("conditional"));
    assert_there_once(&server.store, &entries, &verdicts);
}

#[tokio::test]
async fn a_lost_answer_in_conditional_mode_makes_no_copy() {
    let (server, up) = pair(Algorithm::Es384, |_| (), |config| config.mode = ModeWish::Conditional).await;
    for fault in [Fault::CommitThenDrop, Fault::CommitThenStall(Duration::from_secs(4))] {
        let entries = entries(&format!("lost {fault:?}"), 2);
        server.faults.once(On::Transaction, fault);
        assert_eq!(letters(&up.deliver(&entries).await), "TT");
        let verdicts = up.deliver(&entries).await;
        assert_eq!(letters(&verdicts), "AA", "{verdicts:?}");
        assert_there_once(&server.store, &entries, &verdicts);
    }
    assert_eq!(server.store.count_of("Observation"), 8);
}

#[tokio::test]
async fn copies_made_by_others_are_repaired_or_told() {
    let (server, up) = pair(Algorithm::Es384, |_| (), |config| config.mode = ModeWish::Conditional).await;
    let entries = entries("copies", 2);
    let copy = |resource: &Resource, id: &str| {
        let mut json = resource.value();
        json["id"] = json!(id);
        json.as_object_mut().unwrap().remove("subject");
        json.as_object_mut().unwrap().remove("device");
        server.store.plant(&json, clock().now());
    };
    copy(&entries[0][2], "copy-1");
    copy(&entries[0][2], "copy-2");
    let verdicts = up.deliver(&entries).await;
    assert_eq!(letters(&verdicts), "AA", "{verdicts:?}");
    assert_eq!(server.store.count_of("Observation"), 5, "no third copy");
    copy(&entries[0][1], "patient-1");
    copy(&entries[0][1], "patient-2");
    let verdicts =
        connect_again(&server, ModeWish::Conditional).deliver(&upstream::entries("two patients", 1)).await;
    assert_eq!(letters(&verdicts), "R", "{verdicts:?}");
    assert!(reason(&verdicts).contains("patients with the same identifier"), "{}", reason(&verdicts));
}

/// Another box with its own key at the same server.
fn connect_again(server: &Running, mode: ModeWish) -> Upstream {
    let keys = Keys::new(Algorithm::Es384);
    server.register_keys(CLIENT, keys.jwks());
    connect(&server.base_url, &keys, clock(), |config| config.mode = mode)
}

#[tokio::test]
async fn results_go_to_the_patient_the_server_already_has() {
    let (server, up) = usual().await;
    let theirs = json!({ "resourceType": "Patient", "id": "ehr-77", "identifier": [{ "system": MRN, "value": "4711" }],
        "name": [{ "family": "Kept" }] });
    server.store.plant(&theirs, clock().now());
    let entries = entries("match", 2);
    for _ in 0..2 {
        assert_eq!(letters(&up.deliver(&entries).await), "AA");
    }
    assert_eq!(server.store.ids("Patient"), ["ehr-77"]);
    let held = server.store.resource("Observation", &entries[0][2].id).unwrap();
    assert_eq!(held["subject"]["reference"], "Patient/ehr-77");
    assert_eq!(server.store.resource("Patient", "ehr-77").unwrap()["name"][0]["family"], "Kept");

    server.store.plant(
        &json!({ "resourceType": "Patient", "id": "ehr-78", "identifier": theirs["identifier"] }),
        clock().now(),
    );
    let other = connect_again(&server, ModeWish::Auto);
    let verdicts = other.deliver(&upstream::entries("ambiguous", 2)).await;
    assert_eq!(letters(&verdicts), "RR");
    assert!(reason(&verdicts).contains("2 patients"), "{}", reason(&verdicts));

    let keys = Keys::new(Algorithm::Es384);
    server.register_keys(CLIENT, keys.jwks());
    let own = connect(&server.base_url, &keys, clock(), |config| config.patients = Patients::Own);
    assert_eq!(letters(&own.deliver(&upstream::entries("own", 1)).await), "A");
    assert_eq!(server.store.count_of("Patient"), 3);
}

#[tokio::test]
async fn gzip_is_used_where_it_is_read_and_left_where_it_is_not() {
    for (reads, wish) in [(true, Gzip::Probe), (true, Gzip::On), (false, Gzip::Probe), (false, Gzip::On)] {
        let (server, up) =
            pair(Algorithm::Es384, |config| config.reads_gzip = reads, |config| config.gzip = Some(wish))
                .await;
        for run in ["a", "b"] {
            let entries = entries(&format!("gzip {run}"), 3);
            let verdicts = up.deliver(&entries).await;
            assert_eq!(letters(&verdicts), "AAA", "{reads} {wish:?}: {verdicts:?}");
            assert_there_once(&server.store, &entries, &verdicts);
        }
        assert_eq!(server.gzip_read() > 0, reads, "{wish:?}");
    }
}

#[tokio::test]
async fn random_faults_lose_nothing_and_double_nothing() {
    for (seed, mode) in [(1, ModeWish::Put), (2, ModeWish::Put), (3, ModeWish::Conditional)] {
        let (server, up) = pair(Algorithm::Es384, |_| (), |config| config.mode = mode).await;
        let faults = vec![
            (On::Transaction, Fault::Drop),
            (On::Transaction, Fault::CommitThenDrop),
            (On::Transaction, Fault::CommitThenTruncated),
            (On::Transaction, Fault::FewerEntries(2)),
            (On::Transaction, Fault::Status(503)),
            (On::Transaction, Fault::Status(413)),
            (On::Transaction, Fault::PlainStatus(401)),
            (On::Transaction, Fault::HalfAccept { every: 3, status: 503 }),
            (On::Read, Fault::Status(503)),
            (On::Token, Fault::Status(500)),
        ];
        server.faults.random(seed, 400, faults);
        let mut all = Vec::new();
        for batch in 0..12 {
            let entries = entries(&format!("random {seed} {batch}"), 5);
            let verdicts = deliver_all(&up, &entries, 60).await;
            assert_eq!(letters(&verdicts), "AAAAA", "seed {seed}: {verdicts:?}");
            all.push((entries, verdicts));
        }
        for (entries, verdicts) in &all {
            assert_there_once(&server.store, entries, verdicts);
        }
        assert_eq!(server.store.count(), 12 * 10 + 2, "seed {seed}");
        assert!(server.faults.played() > 10);
    }
}

#[tokio::test]
async fn nobody_there_is_told_in_words() {
    let keys = Keys::new(Algorithm::Es384);
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let up = connect(&format!("http://127.0.0.1:{closed}/fhir"), &keys, clock(), |_| ());
    let verdicts = up.deliver(&entries("nobody", 2)).await;
    assert_eq!((letters(&verdicts).as_str(), up.state().state), ("TT", State::Down));
    assert!(reason(&verdicts).contains("no connection to 127.0.0.1"), "{}", reason(&verdicts));
    let unknown = connect("https://no-such-host.invalid/fhir", &keys, clock(), |_| ());
    let verdicts = unknown.deliver(&entries("unknown", 1)).await;
    assert!(reason(&verdicts).contains("DNS"), "{}", reason(&verdicts));
    let steps = unknown.test().await;
    assert!(steps.len() == 1 && !steps[0].ok && steps[0].detail.contains("DNS"), "{steps:?}");
}

#[tokio::test]
async fn the_test_walks_to_a_read() {
    let (_server, up) = usual().await;
    let steps = up.test().await;
    let names: Vec<&str> = steps.iter().map(|step| step.name).collect();
    assert_eq!(
        names,
        ["name", "port", "connection", "clock", "discovery", "token", "capability", "read", "validate"],
        "{steps:?}"
    );
    assert!(steps.iter().all(|step| step.ok), "{steps:?}");
}
