//! Whose a result is: held while nobody says so, delivered on the right patient once somebody does, taken back and
//! delivered again where it was wrong.

use serde_json::{Value, json};

use crate::clinic::{Clinic, Plan};
use crate::common;
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
    let found = clinic.desk.get(&format!("/api/v1/associations/find?code={serial}")).await.json();
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
