//! Looking at entries and acting on them.

use std::sync::atomic::Ordering;

use serde_json::json;

use super::Rig;
use crate::access::Role;
use crate::admin::live::{UpstreamStanding, UpstreamState};
use crate::admin::samples::standing;
use crate::admin::store::EntryState;

#[tokio::test]
async fn an_entry_is_shown_from_its_bytes_to_its_fhir() {
    let rig = Rig::with_anna().await;
    rig.store.keep(7, EntryState::Held, b"\x0bMSH|^~\\&\rOBX|1\x1c\r");
    let entry = rig.client.get("/api/v1/entries/7").await;
    assert!(entry.body.contains(r#""value":72.0"#), "digits of the device survive: {}", entry.body);
    let entry = entry.json();
    assert_eq!((&entry["id"], &entry["state"], &entry["link"]), (&json!(7), &json!("held"), &json!("ward")));
    assert_eq!(entry["raw"]["text"], "␋MSH|^~\\&␍\nOBX|1␜␍\n");
    assert_eq!(entry["raw"]["bytes"], 17);
    assert_eq!(entry["profile"], "ihe/pcd01-monitor");
    assert_eq!(entry["measurements"][0]["value"], "72.0");
    assert_eq!(entry["measurements"][0]["codes"][0]["code"], "8867-4");
    assert_eq!(entry["findings"][0]["text"], "of entry 7");
    assert_eq!(entry["fhir"][0]["resourceType"], "Observation");
    assert_eq!(entry["timeline"][0]["what"], "kept");
    assert_eq!(entry["answer"], json!(null));
    rig.store.keep(66, EntryState::Held, b"x");
    let changed = rig.client.get("/api/v1/entries/66").await.json();
    assert_eq!(
        (&changed["intact"], &changed["measurements"]),
        (&json!(false), &json!([])),
        "nothing is derived from changed bytes"
    );
    for path in [
        "/api/v1/entries/8",
        "/api/v1/entries/x",
        "/api/v1/entries/-1",
        "/api/v1/entries/99999999999999999999",
    ] {
        assert_eq!(rig.client.get(path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn an_hl7_message_is_shown_by_segment_and_field_name() {
    let rig = Rig::with_anna().await;
    rig.store.keep(7, EntryState::Held, b"\x0bMSH|^~\\&|A\rPID|||7^^^X\r\x1c\r");
    let shown = rig.client.get("/api/v1/entries/7/hl7").await.json();
    assert_eq!((&shown["segments"][1]["title"], &shown["whole"]), (&json!("Patient"), &json!(true)));
    assert_eq!(shown["segments"][1]["fields"][0]["path"], "PID-3");
    rig.store.keep(9, EntryState::Held, b"SpO2=97\r\n");
    rig.store.keep(66, EntryState::Held, b"MSH|^~\\&|A\r");
    for id in [8, 9, 66] {
        let path = format!("/api/v1/entries/{id}/hl7");
        assert_eq!(rig.client.get(&path).await.status, 404, "absent, no HL7, changed on the disk: {path}");
    }
}

#[tokio::test]
async fn entries_come_in_pages_and_by_state() {
    let rig = Rig::with_anna().await;
    for id in 1..=5 {
        rig.store.keep(id, if id == 3 { EntryState::Held } else { EntryState::Accepted }, b"x");
    }
    let ids = |page: &serde_json::Value| -> Vec<i64> {
        page["entries"].as_array().unwrap().iter().map(|entry| entry["id"].as_i64().unwrap()).collect()
    };
    let page = rig.client.get("/api/v1/entries?limit=2").await.json();
    assert_eq!((ids(&page), &page["next"]), (vec![5, 4], &json!(4)));
    assert_eq!(page["counts"], json!({ "waiting": 0, "sent": 0, "accepted": 4, "held": 1 }));
    let page = rig.client.get("/api/v1/entries?before=4&limit=200&link=&device=").await.json();
    assert_eq!((ids(&page), &page["next"]), (vec![3, 2, 1], &json!(null)));
    assert_eq!(ids(&rig.client.get("/api/v1/entries?state=held").await.json()), [3]);
    assert_eq!(ids(&rig.client.get("/api/v1/entries?device=ACME%2FMon+1%2F42&state=held").await.json()), [3]);
    for bad in ["state=lost", "limit=0", "limit=201", "before=x", "before=-1"] {
        assert_eq!(rig.client.get(&format!("/api/v1/entries?{bad}")).await.status, 400, "{bad}");
    }
}

#[tokio::test]
async fn a_held_entry_is_released_and_an_accepted_one_replayed_each_with_one_line_in_the_trail() {
    let rig = Rig::with_anna().await;
    rig.store.keep(7, EntryState::Held, b"x");
    rig.store.keep(8, EntryState::Accepted, b"x");
    assert_eq!(rig.client.post("/api/v1/entries/7/release", "").await.status, 202);
    assert_eq!(rig.client.post("/api/v1/entries/8/replay", "").await.status, 202);
    assert_eq!((rig.store.state(7), rig.store.state(8)), (EntryState::Waiting, EntryState::Waiting));
    for (path, status) in [("7/release", 409), ("8/replay", 409), ("9/release", 404)] {
        assert_eq!(rig.client.post(&format!("/api/v1/entries/{path}"), "").await.status, status, "{path}");
    }
    assert_eq!(rig.store.trail(), ["anna entry.release 7 done", "anna entry.replay 8 done"]);
}

#[tokio::test]
async fn what_the_gateway_refuses_is_said_and_written_down() {
    let rig = Rig::with_anna().await;
    rig.store.keep(13, EntryState::Held, b"x");
    let refused = rig.client.post("/api/v1/entries/13/release", "").await;
    assert_eq!((refused.status, &refused.json()["detail"]), (409, &json!("it was released a moment ago")));
    assert_eq!(rig.store.trail(), ["anna entry.release 13 done", "anna entry.release 13 failed"]);
}

#[tokio::test]
async fn a_gateway_that_does_not_answer_is_an_error_and_not_a_wait_for_ever() {
    let rig = Rig::with_anna().await;
    rig.store.keep(14, EntryState::Held, b"x");
    let dropped = rig.client.post("/api/v1/entries/14/release", "").await;
    assert_eq!((dropped.status, dropped.code()), (503, "unavailable".into()));
    assert_eq!(rig.store.trail(), ["anna entry.release 14 done", "anna entry.release 14 failed"]);
}

#[tokio::test]
async fn nothing_is_done_that_cannot_be_written_down() {
    let rig = Rig::with_anna().await;
    rig.store.keep(7, EntryState::Held, b"x");
    rig.store.audit_broken.store(true, Ordering::SeqCst);
    for path in
        ["/api/v1/entries/7/release", "/api/v1/entries/7/replay", "/api/v1/upstream/test", "/api/v1/logout"]
    {
        assert_eq!(rig.client.post(path, "").await.status, 503, "{path}");
    }
    assert_eq!(rig.store.state(7), EntryState::Held);
    assert_eq!(rig.client.get("/api/v1/session").await.status, 200, "looking still works");
}

#[tokio::test]
async fn a_role_sees_and_does_only_what_it_may() {
    let rig = Rig::with_anna().await;
    rig.store.keep(7, EntryState::Held, b"x");
    rig.add_user("nora", Role::Clinician);
    rig.add_user("otto", Role::Auditor);
    let (nora, otto) = (rig.logged_in("nora").await, rig.logged_in("otto").await);
    assert_eq!(nora.get("/api/v1/entries/7").await.status, 200);
    assert_eq!(nora.post("/api/v1/entries/7/release", "").await.code(), "role");
    assert_eq!(nora.post("/api/v1/upstream/test", "").await.status, 403);
    assert_eq!(otto.get("/api/v1/entries").await.status, 403);
    assert_eq!(otto.get("/api/v1/session").await.status, 200);
    assert_eq!(rig.store.state(7), EntryState::Held);
}

#[tokio::test]
async fn upstream_is_shown_with_its_public_key_and_tested_step_by_step() {
    let rig = Rig::with_anna().await;
    let none = rig.client.get("/api/v1/upstream").await.json();
    assert_eq!(
        (&none["configured"], &none["state"], &none["auth"]),
        (&json!(false), &json!("unconfigured"), &json!("none"))
    );
    assert_eq!(none["jwks"], json!({ "keys": [] }));
    rig.live.upstream_stands(Some(UpstreamStanding {
        jwks: json!({ "keys": [{ "kid": "a" }] }),
        mode: Some("put"),
        ..standing(UpstreamState::Up)
    }));
    let upstream = rig.client.get("/api/v1/upstream").await.json();
    assert_eq!((&upstream["jwks"]["keys"][0]["kid"], &upstream["mode"]), (&json!("a"), &json!("put")));
    let test = rig.client.post("/api/v1/upstream/test", "").await.json();
    assert_eq!(test["steps"], json!([{ "name": "DNS", "ok": true, "detail": "192.0.2.1", "ms": 3 }]));
    assert_eq!(rig.store.trail(), ["anna upstream.test - done"]);
}
