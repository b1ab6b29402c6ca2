//! Whose a result is: held while nobody says so, delivered on the right patient once somebody does, taken back and
//! delivered again where it was wrong.

use serde_json::{Value, json};

use crate::clinic::{Clinic, Plan};
use crate::common;
use crate::desk::USER;
use crate::speak::{Line, oru};

async fn open(name: &str, more: &str) -> (Clinic, Line) {
    let port = common::free_port();
    let links = format!(
        "{more}[[link]]\nname = \"monitors\"\nprofile = \"ihe/pcd01-monitor\"\nmllp = {{ listen = \"127.0.0.1:{port}\" }}\n"
    );
    let clinic = Clinic::planned(Plan::of(name, links)).await;
    (clinic, Line::to(port).await)
}

async fn post(clinic: &Clinic, path: &str, body: &Value) -> (u16, Value) {
    let reply = clinic.desk.post(&format!("/api/v1/associations{path}"), &body.to_string()).await;
    (reply.status, serde_json::from_str(&reply.text).unwrap_or(Value::Null))
}

async fn standing(clinic: &Clinic) -> Value {
    clinic.desk.get("/api/v1/associations").await.json()
}

fn patient(id: &str) -> Value {
    json!({ "system": "urn:oid:1.2.3", "id": id, "family": "Test" })
}

/// The Observations with this value: status and the number of the patient.
fn upstream(clinic: &Clinic, value: &str) -> Vec<(String, String)> {
    let store = &clinic.server.running.store;
    let written: Value = serde_json::from_str(value).unwrap();
    let mut found: Vec<(String, String)> = clinic
        .observations("")
        .iter()
        .filter(|tree| tree["valueQuantity"]["value"] == written)
        .map(|tree| {
            let reference = tree["subject"]["reference"].as_str().unwrap_or_default();
            let number = reference.strip_prefix("Patient/").and_then(|id| store.resource("Patient", id));
            let number = number.map(|p| p["identifier"][0]["value"].as_str().unwrap_or_default().to_owned());
            (tree["status"].as_str().unwrap_or_default().to_owned(), number.unwrap_or_default())
        })
        .collect();
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_orphan_waits_until_somebody_says_whose_it_is_and_two_answers_that_differ_wait_too() {
    let (clinic, mut line) = open("doors-association", "").await;
    assert_eq!(line.say(&oru("A1", "", "61", "")).await.code, "AA", "kept, so acknowledged");
    let reasons = clinic.settled(0, 1).await;
    assert!(reasons[0].starts_with("no patient"), "{}", reasons[0]);
    let seen = standing(&clinic).await;
    assert_eq!(seen["waiting"], json!({ "orphan": 1, "conflict": 0, "review": 0 }));
    let device = seen["devices"].as_array().unwrap().iter().find(|d| d["waiting"]["orphan"] == 1).unwrap();
    let key = device["key"].as_str().unwrap().to_owned();
    let serial = key.rsplit('/').next().unwrap();
    let (_, found) = post(&clinic, "/find", &json!({ "code": serial })).await;
    assert_eq!(found["key"], key.as_str(), "what is printed on the device stands for it");

    // From before the measurement: it goes out, on the patient.
    let wanted = json!({ "device": serial, "patient": patient("M-1"), "from": "2026-03-14T08:00:00Z", "scanned": true });
    let (status, done) = post(&clinic, "", &wanted).await;
    assert_eq!((status, &done["released"]), (201, &json!(1)), "{done}");
    clinic.settled(1, 0).await;
    assert_eq!(upstream(&clinic, "61"), [("final".into(), "M-1".into())]);
    assert_eq!(post(&clinic, "", &wanted).await.0, 409, "it is with a patient");

    // The device names another patient: nobody guesses.
    assert_eq!(line.say(&oru("A2", "P-2", "62", "")).await.code, "AA");
    let reasons = clinic.settled(1, 1).await;
    assert!(reasons[0].starts_with("conflict"), "{}", reasons[0]);
    let doubts = clinic.desk.get("/api/v1/associations/doubts?state=conflict").await.json();
    assert_eq!(doubts["doubts"][0]["device"], key.as_str());
    assert!(upstream(&clinic, "62").is_empty());
    // What is said without a patient goes on.
    assert_eq!(line.say(&oru("A3", "", "63", "")).await.code, "AA");
    clinic.settled(2, 1).await;
    assert_eq!(upstream(&clinic, "63"), [("final".into(), "M-1".into())]);

    // A ruling with a reason decides; without one nothing is overruled.
    let id = done["id"].as_i64().unwrap();
    let ruling = json!({ "device": key, "patient": patient("M-1"), "from": "2026-03-14T08:00:00Z", "overrules": true });
    assert_eq!(post(&clinic, "", &ruling).await.0, 409);
    let mut reasoned = ruling.clone();
    reasoned["reason"] = "the monitor still had the last patient".into();
    reasoned["until"] = "2026-03-14T08:30:00Z".into();
    let (status, ruled) = post(&clinic, "", &reasoned).await;
    assert_eq!((status, &ruled["released"]), (201, &json!(1)), "{ruled}");
    clinic.settled(3, 0).await;
    assert_eq!(upstream(&clinic, "62"), [("final".into(), "M-1".into())]);
    assert_eq!(post(&clinic, &format!("/{id}/end"), &json!({})).await.0, 200);
    assert_eq!(post(&clinic, &format!("/{id}/end"), &json!({})).await.0, 409, "it has ended");
    let path: String = key.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let timeline = clinic.desk.get(&format!("/api/v1/associations/devices/{path}")).await.json();
    assert_eq!(timeline["associations"].as_array().unwrap().len(), 2, "{timeline:#}");
}

fn provenances(clinic: &Clinic) -> Vec<Value> {
    let store = &clinic.server.running.store;
    let ids = store.ids("Provenance");
    ids.into_iter().filter_map(|id| store.resource("Provenance", &id)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_went_out_under_the_wrong_patient_is_taken_back_and_goes_out_under_the_right_one() {
    let (mut clinic, mut line) = open("doors-correction", "").await;
    assert_eq!(line.say(&oru("C1", "", "71", "")).await.code, "AA");
    clinic.settled(0, 1).await;
    let device = standing(&clinic).await["devices"][0]["key"].as_str().unwrap().to_owned();
    let wrong = json!({ "device": device, "patient": patient("M-1"), "from": "2026-03-14T08:00:00Z" });
    let (_, made) = post(&clinic, "", &wrong).await;
    clinic.settled(1, 0).await;
    assert_eq!(line.say(&oru("C2", "", "72", "")).await.code, "AA");
    clinic.settled(2, 0).await;

    // Corrected with a reason: new on the right patient, the old ones withdrawn, and who, when and why beside them.
    let id = made["id"].as_i64().unwrap();
    let right = json!({ "reason": "the monitor stood in the other room", "patient": patient("M-2") });
    let none = json!({ "reason": " ", "patient": patient("M-2") });
    assert_eq!(post(&clinic, &format!("/{id}/correct"), &none).await.0, 409, "not without a reason");
    let (status, done) = post(&clinic, &format!("/{id}/correct"), &right).await;
    assert_eq!((status, &done["corrected"]), (200, &json!(2)), "{done}");
    let moved = [("entered-in-error".to_owned(), "M-1".to_owned()), ("final".into(), "M-2".into())];
    common::until(crate::clinic::PATIENCE, "the right patient", async || {
        upstream(&clinic, "71") == moved && upstream(&clinic, "72") == moved
    })
    .await;
    clinic.settled(2, 0).await;
    let all = provenances(&clinic);
    assert_eq!(all.len(), 2, "{all:#?}");
    assert_eq!(all[0]["target"].as_array().unwrap().len(), 2, "{all:#?}");
    assert_eq!(all[0]["agent"][0]["who"]["display"], USER);
    assert_eq!(all[0]["reason"][0]["text"], "the monitor stood in the other room");

    // Sent again nothing changes; after a restart neither.
    clinic.restart_with(str::to_owned);
    for entry in clinic.entries("accepted").await {
        clinic.desk.post(&format!("/api/v1/entries/{}/replay", entry["id"]), "").await;
    }
    clinic.settled(2, 0).await;
    assert_eq!((upstream(&clinic, "71"), upstream(&clinic, "72")), (moved.to_vec(), moved.to_vec()));
    assert_eq!(provenances(&clinic).len(), 2);

    // It was with nobody: taken back, and held until somebody knows.
    let id = done["id"].as_i64().unwrap();
    let nobody = json!({ "reason": "a test by the engineer", "nobody": true });
    let (status, done) = post(&clinic, &format!("/{id}/correct"), &nobody).await;
    assert_eq!((status, &done["held"]), (200, &json!(2)), "{done}");
    let reasons = clinic.settled(0, 2).await;
    assert!(reasons[0].starts_with("no patient"), "{}", reasons[0]);
    let gone = [("entered-in-error".to_owned(), "M-1".to_owned()), ("entered-in-error".into(), "M-2".into())];
    assert_eq!((upstream(&clinic, "71"), upstream(&clinic, "72")), (gone.to_vec(), gone.to_vec()));
    assert_eq!(standing(&clinic).await["waiting"]["orphan"], 2);
    // And back to the first one: what was withdrawn stands again.
    let again = json!({ "device": device, "patient": patient("M-1"), "from": "2026-03-14T08:00:00Z" });
    assert_eq!(post(&clinic, "", &again).await.1["released"], 2);
    clinic.settled(2, 0).await;
    let back = [("entered-in-error".to_owned(), "M-2".to_owned()), ("final".into(), "M-1".into())];
    assert_eq!((upstream(&clinic, "71"), upstream(&clinic, "72")), (back.to_vec(), back.to_vec()));
    let log = clinic.bedside.log();
    assert!(!log.contains("M-1") && !log.contains("other room"), "nothing of a patient in the log");
}
