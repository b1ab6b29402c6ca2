//! The upstream against a FHIR server that misbehaves: every row of the fault table ends as it should, and every
//! accepted entry is on the server exactly once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a rig that cannot go on stops"
)]
mod upstream;

use bedside::upstream::keys::Algorithm;
use upstream::{entries, letters, pair};

#[tokio::test]
async fn both_algorithms_get_a_token_and_deliver() {
    for algorithm in [Algorithm::Es384, Algorithm::Rs384] {
        let (server, up) = pair(algorithm, |_| (), |_| ()).await;
        let entries = entries("first", 3);
        let verdicts = up.deliver(&entries).await;
        assert_eq!(letters(&verdicts), "AAA", "{verdicts:?}");
        assert_eq!((server.store.count_of("Observation"), server.store.count()), (6, 8));
        let sent = &entries[0][2];
        let held = server.store.resource("Observation", &sent.id).unwrap();
        assert_eq!(held["valueQuantity"], sent.json["valueQuantity"]);
        assert_eq!(server.tokens_given(), 1);
    }
}
