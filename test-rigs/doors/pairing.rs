//! Devices nobody has paired yet: what they say is kept, and a person at the desk lets them in.

use serde_json::{Value, json};

use crate::clinic::{Clinic, PATIENCE};
use crate::common;
use crate::speak::{Line, oru};

async fn standing(clinic: &Clinic) -> Value {
    clinic.desk.get("/api/v1/pairing").await.json()
}

async fn post(clinic: &Clinic, path: &str, body: &Value) -> (u16, Value) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let reply = clinic.desk.post(&format!("/api/v1/pairing/{path}"), &body).await;
    (reply.status, serde_json::from_str(&reply.text).unwrap_or(Value::Null))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_is_kept_and_held_until_somebody_accepts_it_and_stays_accepted() {
    let port = common::free_port();
    let link = format!(
        "[[link]]\nname = \"new-devices\"\nprofile = \"by-sender\"\nmllp = {{ listen = \"127.0.0.1:{port}\" }}\n"
    );
    let mut clinic = Clinic::open("doors-pairing", link).await;
    let other = |text: String| text.replacen("|RIG^01", "|OTHER^02", 1);
    let mut line = Line::to(port).await;
    assert_eq!(line.say(&oru("A1", "P-1", "61", "")).await.code, "AA", "kept, so acknowledged");
    assert_eq!(line.say(&oru("A2", "P-1", "62", "")).await.code, "AA");
    assert_eq!(line.say(&other(oru("B1", "P-2", "71", ""))).await.code, "AA");
    let reasons = clinic.settled(0, 3).await;
    assert!(reasons[0].contains("nobody has accepted the sender"), "{}", reasons[0]);

    let candidates = standing(&clinic).await["candidates"].clone();
    assert_eq!(candidates.as_array().unwrap().len(), 2, "{candidates:#}");
    let first = candidates.as_array().unwrap().iter().find(|c| c["frames"] == 2).unwrap();
    let guess = first["guesses"][0]["profile"].as_str().unwrap();
    assert!(first["guesses"][0]["measurements"].as_u64().unwrap() > 0, "{first:#}");
    assert_eq!(guess, "ihe/pcd01-monitor", "{first:#}");
    let choice = json!({ "link": "new-devices", "sender": first["sender"], "profile": "ihe/pcd01-monitor" });
    let (status, preview) = post(&clinic, "preview", &choice).await;
    assert_eq!(status, 200, "{preview}");
    assert_eq!(preview["measurements"][0]["value"], "62", "the latest message is shown");

    let (status, done) = post(&clinic, "accept", &choice).await;
    assert_eq!((status, &done), (200, &json!({ "released": 2, "still_held": 0 })));
    clinic.settled(2, 1).await;
    assert_eq!((clinic.valued("61"), clinic.valued("62"), clinic.valued("71")), (1, 1, 0));

    // The decision outlives the process; the other sender is still a stranger, found again from what is held.
    clinic.restart_with(str::to_owned);
    common::until(PATIENCE, "the link after the restart", async || {
        clinic.link("new-devices").await.0 == "up"
    })
    .await;
    let mut line = Line::to(port).await;
    assert_eq!(line.say(&oru("A3", "P-1", "63", "")).await.code, "AA");
    clinic.settled(3, 1).await;
    let standing = standing(&clinic).await;
    assert_eq!(standing["senders"][0]["profile"], "ihe/pcd01-monitor");
    assert_eq!(standing["candidates"].as_array().unwrap().len(), 1, "{standing:#}");

    // Forgotten, it is a stranger again, and its new messages wait.
    let who = json!({ "link": "new-devices", "sender": first["sender"] });
    assert_eq!(post(&clinic, "forget", &who).await.0, 204);
    assert_eq!(line.say(&oru("A4", "P-1", "64", "")).await.code, "AA");
    clinic.settled(3, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_is_made_at_the_desk_outlives_a_restart_and_is_removed() {
    let mut clinic = Clinic::open("doors-made-links", String::new()).await;
    let port = common::free_port();
    let link = |listen: &str| json!({ "name": "monitors", "profile": "ihe/pcd01-monitor", "zone": "Asia/Kolkata", "mllp": { "listen": listen } });
    let (status, refused) = post(&clinic, "links", &link("everywhere")).await;
    assert_eq!(status, 409);
    assert!(refused["detail"].as_str().unwrap().starts_with("the link:"), "line and caret: {refused}");
    let (status, made) = post(&clinic, "links", &link(&format!("127.0.0.1:{port}"))).await;
    assert_eq!((status, &made["name"]), (201, &json!("monitors")));
    let again = post(&clinic, "links", &link(&format!("127.0.0.1:{port}"))).await;
    assert_eq!(again.0, 409, "the name is taken");

    common::until(PATIENCE, "the link to listen", async || clinic.link("monitors").await.0 == "up").await;
    let mut line = Line::to(port).await;
    assert_eq!(line.say(&oru("L1", "P-1", "81", "")).await.code, "AA");
    clinic.settled(1, 0).await;

    clinic.restart_with(str::to_owned);
    common::until(PATIENCE, "the link after the restart", async || clinic.link("monitors").await.0 == "up")
        .await;
    let mut line = Line::to(port).await;
    assert_eq!(line.say(&oru("L2", "P-1", "82", "")).await.code, "AA");
    clinic.settled(2, 0).await;
    assert_eq!(standing(&clinic).await["links"][0]["desk"], true);

    assert_eq!(post(&clinic, "links/monitors/remove", &Value::Null).await.0, 204);
    assert!(tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err(), "nobody listens any more");
    assert_eq!(post(&clinic, "links/monitors/remove", &Value::Null).await.0, 404);
    assert_eq!((clinic.valued("81"), clinic.valued("82")), (1, 1));
}
