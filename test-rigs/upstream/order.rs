//! What a device said later waits while the server does not take what it said before.

use bedside::demo::fhir_server::{Fault, On};
use bedside::fhir::Resource;

use crate::upstream::{device, letters, observation, patient};
use crate::{deliver_all, usual};

#[tokio::test]
async fn what_a_device_said_later_does_not_go_before_what_the_server_did_not_take() {
    let away = || Fault::HalfAccept { every: 1, status: 503 };
    let (server, up) = usual().await;
    let (one, patient) = (device("SN-1"), patient("4711"));
    up.deliver(&[vec![one.clone(), patient.clone()]]).await;
    for (run, second) in [
        ("each", away()),
        ("whole", Fault::Status(409)),
        ("sick", Fault::Status(500)),
        ("none", Fault::Status(412)),
    ] {
        let entries: Vec<Vec<Resource>> =
            (0..4).map(|n| vec![observation(&format!("{run} {n}"), &patient, &one)]).collect();
        server.faults.once(On::Transaction, Fault::Status(409)); // in halves
        server.faults.once(On::Transaction, second.clone());
        if run != "each" {
            server.faults.once(On::Transaction, second); // the first of the first half
        }
        let told = up.deliver(&entries).await;
        assert_eq!(letters(&told), "TTTT", "{run}: {told:?}");
        let told = deliver_all(&up, &entries, 4).await;
        assert_eq!(letters(&told), "AAAA", "{run}: {told:?}");
        let first = |entry: &Vec<Resource>| server.store.writes("Observation", &entry[0].id)[0].at.micros;
        assert!(entries.iter().map(first).is_sorted(), "{run}");
    }
}

#[tokio::test]
async fn another_device_does_not_wait_for_one_whose_results_are_not_taken() {
    let (server, up) = usual().await;
    let (a, b, patient) = (device("SN-1"), device("SN-2"), patient("4711"));
    up.deliver(&[vec![a.clone(), b.clone(), patient.clone()]]).await;
    let of = |text: &str, device: &Resource| vec![observation(text, &patient, device)];
    let entries = [of("a1", &a), of("a2", &a), of("b1", &b), of("b2", &b)];
    server.faults.once(On::Transaction, Fault::Status(409));
    server.faults.once(On::Transaction, Fault::HalfAccept { every: 1, status: 503 });
    assert_eq!(letters(&up.deliver(&entries).await), "TTAA");
}

#[tokio::test]
async fn a_refusal_that_may_be_a_mistake_is_for_a_person_when_it_comes_again_while_others_pass() {
    for (status, rounds) in [(403, 3), (404, 3), (410, 3), (409, 8), (412, 8), (422, 1)] {
        let (server, up) = usual().await;
        let (one, other, patient) = (device("SN-1"), device("SN-2"), patient("4711"));
        up.deliver(&[vec![one.clone(), other.clone(), patient.clone()]]).await;
        for round in 1..=rounds {
            let new = vec![observation(&format!("{round}"), &patient, &other)];
            let entries = [vec![observation("stubborn", &patient, &one)], new];
            server.faults.once(On::Transaction, Fault::Status(status));
            server.faults.once(On::Transaction, Fault::Status(status));
            let told = up.deliver(&entries).await;
            let expected = if round == rounds { "RA" } else { "TA" };
            assert_eq!(letters(&told), expected, "{status}, round {round}: {told:?}");
        }
    }
}
