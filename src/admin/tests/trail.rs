//! The audit trail at the desk: auditors alone see it, looking leaves a line, and what is shown of patients is written down
//! first, once.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::json;

use super::Rig;
use super::memory::Memory;
use crate::access::Role;
use crate::admin::samples::seconds_after_noon;
use crate::admin::store::{Answered, EntryState};
use crate::admin::trail::{BrokenRow, Observer, Trail, Verified};
use crate::buffer::{AuditFilter, AuditRow};

/// The trail of the tests' store, as rows; broken when the store says that it cannot be written.
pub(super) struct Book(Arc<Memory>);

impl Book {
    pub(super) fn of(store: Arc<Memory>) -> Self {
        Self(store)
    }

    fn rows(&self) -> Vec<AuditRow> {
        let row = |(at, line): (usize, String)| {
            let mut words = line.splitn(4, ' ');
            let mut word = || words.next().unwrap_or_default().to_owned();
            let (who, what, rest) = (word(), word(), word() + " " + &word());
            let (target, outcome) = rest.rsplit_once(' ').unwrap();
            let detail = format!("{outcome} {target} from 10.0.0.7");
            let id = i64::try_from(at).unwrap() + 1;
            AuditRow { id, at: seconds_after_noon(id), who, what, detail, hash: vec![1; 32] }
        };
        self.0.trail().into_iter().enumerate().map(row).collect()
    }
}

impl Trail for Book {
    fn page(&self, wanted: AuditFilter) -> Answered<'_, (Vec<AuditRow>, Option<i64>)> {
        let fits = |row: &AuditRow| {
            wanted.before.is_none_or(|before| row.id < before)
                && wanted.who.as_deref().is_none_or(|who| row.who == who)
                && wanted.outcome.as_deref().is_none_or(|outcome| row.told().outcome == outcome)
                && wanted.from.is_none_or(|from| row.at.micros >= from)
        };
        let mut rows: Vec<_> = self.rows().into_iter().rev().filter(fits).collect();
        let more = rows.len() > wanted.limit as usize;
        rows.truncate(wanted.limit as usize);
        let next = rows.last().map(|row| row.id).filter(|_| more);
        Box::pin(async move { Ok((rows, next)) })
    }

    fn after(&self, after: i64, limit: u32) -> Answered<'_, Vec<AuditRow>> {
        let rows = self.rows().into_iter().filter(|row| row.id > after).take(limit as usize).collect();
        Box::pin(async move { Ok(rows) })
    }

    fn verify(&self) -> Answered<'_, Verified> {
        let (rows, broken) = (self.rows().len() as u64, self.0.audit_broken.load(Ordering::SeqCst));
        let broken = broken.then(|| BrokenRow { row: 2, why: "this row was changed".into() });
        let found = Verified { sound: broken.is_none(), rows, broken, ..Verified::default() };
        Box::pin(async move { Ok(found) })
    }

    fn observer(&self) -> Observer {
        Observer { identifier: "urn:uuid:1".into(), site: "Ward 3".into(), ..Observer::default() }
    }
}

#[tokio::test]
async fn only_those_who_may_audit_see_the_trail() {
    let rig = Rig::fresh().await;
    for (name, role) in [
        ("adam", Role::Admin),
        ("aude", Role::Auditor),
        ("emil", Role::Engineer),
        ("clara", Role::Clinician),
        ("ines", Role::Integrator),
    ] {
        rig.add_user(name, role);
        let client = rig.logged_in(name).await;
        let allowed = matches!(role, Role::Admin | Role::Auditor);
        for path in ["/api/v1/audit", "/api/v1/audit/export"] {
            assert_eq!(client.get(path).await.status, if allowed { 200 } else { 403 }, "{name} {path}");
        }
        let verified = client.post("/api/v1/audit/verify", "").await.status;
        assert_eq!(verified, if allowed { 200 } else { 403 }, "{name}");
    }
    let auditor = rig.logged_in("aude").await;
    for path in ["/api/v1/entries", "/api/v1/overview", "/api/v1/people/7", "/api/v1/live"] {
        assert_eq!(auditor.get(path).await.status, 403, "an auditor sees what was done, no values: {path}");
    }
}

#[tokio::test]
async fn rows_are_shown_page_by_page_and_by_who_and_outcome() {
    let rig = Rig::with_anna().await;
    for n in 1..=5 {
        rig.store.keep(n, EntryState::Held, b"MSH|");
        rig.client.get(&format!("/api/v1/entries/{n}")).await;
    }
    let first = rig.client.get("/api/v1/audit?limit=2").await.json();
    let targets = |page: &serde_json::Value| {
        let rows = page["rows"].as_array().unwrap();
        rows.iter().map(|row| row["target"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(targets(&first), ["entry 5", "entry 4"]);
    assert_eq!(first["rows"][0]["origin"], "10.0.0.7");
    assert_eq!(first["rows"][0]["outcome"], "done");
    let next = rig.client.get(&format!("/api/v1/audit?limit=2&before={}", first["next"])).await.json();
    assert_eq!(targets(&next), ["entry 3", "entry 2"]);
    let none = rig.client.get("/api/v1/audit?who=nobody").await.json();
    assert_eq!(none, json!({ "rows": [], "next": null }));
    for wrong in ["outcome=maybe", "from=yesterday", "until=1", "limit=0", "limit=501", "before=0"] {
        assert_eq!(rig.client.get(&format!("/api/v1/audit?{wrong}")).await.status, 400, "{wrong}");
    }
}

#[tokio::test]
async fn a_trail_that_is_not_whole_is_told_with_its_row() {
    let rig = Rig::with_anna().await;
    let sound = rig.client.post("/api/v1/audit/verify", "").await.json();
    assert_eq!((&sound["sound"], &sound["broken"]), (&json!(true), &json!(null)));
    assert_eq!(rig.store.trail(), ["anna audit.verify 0 rows, sound done"]);
    rig.store.audit_broken.store(true, Ordering::SeqCst);
    // What cannot be written down is not shown either.
    assert_eq!(rig.client.post("/api/v1/audit/verify", "").await.status, 503);
}

#[tokio::test]
async fn an_export_is_one_audit_event_a_line_and_leaves_its_own_line() {
    let rig = Rig::with_anna().await;
    rig.store.keep(1, EntryState::Held, b"MSH|");
    rig.client.get("/api/v1/entries/1").await;
    let export = rig.client.get("/api/v1/audit/export").await;
    assert_eq!(export.header("content-type"), Some("application/fhir+ndjson"));
    assert!(export.header("content-disposition").unwrap().starts_with("attachment"));
    let lines: Vec<_> = export.body.lines().filter(|line| line.starts_with('{')).collect();
    let words: Vec<String> = lines
        .iter()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|event| {
            let entities = event["entity"].as_array().unwrap();
            entities.last().unwrap()["detail"][0]["valueString"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(words, ["entry.view", "audit.export"]);
    let later = rig.client.get("/api/v1/audit/export?from=2030-01-01T00:00:00Z").await;
    assert!(!later.body.contains("AuditEvent"));
}

#[tokio::test]
async fn each_look_at_patients_data_is_one_line_before_it_is_shown() {
    let rig = Rig::with_anna().await;
    rig.store.keep(1, EntryState::Held, b"MSH|^~\\&|MON\r");
    let looks = [
        ("/api/v1/overview", "live.view values of all devices"),
        ("/api/v1/entries?state=held", "entry.list entries"),
        ("/api/v1/entries/1", "entry.view entry 1"),
        ("/api/v1/associations", "association.list associations"),
        ("/api/v1/people/7", "patient.view patient 7"),
        ("/api/v1/places", "patient.places 0 places"),
        ("/api/v1/worklist", "worklist.list orders"),
    ];
    for (path, line) in looks {
        let before = rig.store.trail().len();
        let seen = rig.client.get(path).await;
        assert_eq!(seen.status, 200, "{path}: {}", seen.body);
        assert_eq!(rig.store.trail()[before..], [format!("anna {line} done")], "{path}");
    }
    let before = rig.store.trail().len();
    rig.client.get("/api/v1/entries/1").await;
    rig.client.get("/api/v1/entries/1/hl7").await;
    assert_eq!(rig.store.trail().len(), before, "the same look a moment later, with its parts");
    rig.clock.advance(std::time::Duration::from_secs(301));
    rig.client.get("/api/v1/entries/1/hl7").await;
    assert_eq!(rig.store.trail().len(), before + 1);
    assert_eq!(rig.client.get("/api/v1/entries/99").await.status, 404);
    assert_eq!(rig.store.trail().len(), before + 1, "what is not there was not seen");
}

#[tokio::test]
async fn what_cannot_be_written_down_is_not_shown() {
    let rig = Rig::with_anna().await;
    rig.store.keep(1, EntryState::Held, b"CANARY");
    rig.store.audit_broken.store(true, Ordering::SeqCst);
    for path in ["/api/v1/entries/1", "/api/v1/overview", "/api/v1/live", "/api/v1/people/7", "/api/v1/audit"]
    {
        let refused = rig.client.get(path).await;
        assert_eq!(refused.status, 503, "{path}");
        assert!(!refused.body.contains("CANARY") && !refused.body.contains("TEST"), "{path}");
    }
    for path in ["/healthz", "/metrics", "/api/v1/session"] {
        assert_eq!(rig.client.get(path).await.status, 200, "{path} tells nothing of anybody");
    }
    rig.store.audit_broken.store(false, Ordering::SeqCst);
    assert_eq!(rig.client.get("/api/v1/entries/1").await.status, 200);
}
