//! The live stream and the device pages.

use std::time::Duration;

use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::Rig;
use super::client::Connection;
use crate::admin::live::ProfileView;
use crate::admin::samples::{heart_rate, pleth, report, sighting};

/// Reads a stream of server-sent events as it comes.
struct Listener(Connection, String);

impl Listener {
    async fn open(rig: &Rig) -> Self {
        let mut connection = rig.client.connect(&[b"http/1.1"]).await;
        connection.write_all(rig.client.request("GET", "/api/v1/live", &[], "").as_bytes()).await.unwrap();
        Self(connection, String::new())
    }

    /// Reads until `wanted` has come; `false` when the stream ended first.
    async fn hears(&mut self, wanted: &str) -> bool {
        self.hears_that(|said| said.contains(wanted)).await
    }

    async fn hears_that(&mut self, wanted: impl Fn(&str) -> bool) -> bool {
        let listening = async {
            let mut bytes = [0; 4096];
            while !wanted(&self.1) {
                match self.0.read(&mut bytes).await {
                    Ok(count) if count > 0 => self.1.push_str(&String::from_utf8_lossy(&bytes[..count])),
                    _ => return false,
                }
            }
            true
        };
        timeout(Duration::from_secs(20), listening).await.expect("it neither came nor ended")
    }

    /// As soon as its line is whole: what comes before it may come by itself.
    async fn first_overview(&mut self) -> Json {
        fn line(said: &str) -> Option<&str> {
            Some(said.split_once("event:overview\ndata:")?.1.split_once('\n')?.0)
        }
        assert!(self.hears_that(|said| line(said).is_some()).await);
        serde_json::from_str(line(&self.1).unwrap()).unwrap()
    }
}

#[tokio::test]
async fn the_stream_brings_the_overview_at_once_and_points_as_they_come() {
    let rig = Rig::with_anna().await;
    let mut listener = Listener::open(&rig).await;
    let overview = listener.first_overview().await;
    assert!(listener.1.contains("content-type: text/event-stream"), "{}", listener.1);
    assert!(listener.1.contains("cache-control: no-store"), "{}", listener.1);
    assert_eq!(overview["site"], "Ward 3");
    let profile = ProfileView::default();
    rig.live.report(&report("42", vec![heart_rate("72.0", 1)]), &sighting(&profile, 1));
    assert!(listener.hears("event:point").await);
    assert!(listener.hears(r#""value":72.0}"#).await);
    assert!(
        listener
            .1
            .contains(r#"{"device":"ACME/Mon 1/42","code":"8867-4","taken":"2026-11-22T12:00:01.000Z""#)
    );
    assert!(
        listener.hears(r#""last_seen":"2026-11-22T12:00:01.000Z""#).await,
        "the next overview has the device"
    );
}

#[tokio::test]
async fn the_stream_ends_with_the_session() {
    let rig = Rig::with_anna().await;
    let mut listener = Listener::open(&rig).await;
    assert!(listener.hears("event:overview").await);
    assert_eq!(rig.client.post("/api/v1/logout", "").await.status, 204);
    assert!(!listener.hears("never said").await);
}

#[tokio::test]
async fn an_open_stream_is_no_use_of_the_session() {
    let rig = Rig::with_anna().await;
    let mut listener = Listener::open(&rig).await;
    assert!(listener.hears("event:overview").await);
    rig.clock.advance(Duration::from_secs(30 * 60));
    assert!(!listener.hears("never said").await, "idle for half an hour, though the stream was open");
}

#[tokio::test]
async fn a_desk_that_closes_ends_its_streams() {
    let rig = Rig::with_anna().await;
    let mut listener = Listener::open(&rig).await;
    assert!(listener.hears("event:overview").await);
    timeout(Duration::from_secs(4), rig.stop()).await.expect("the desk closes without waiting for streams");
    assert!(!listener.hears("never said").await);
}

#[tokio::test]
async fn streams_are_limited_and_a_place_comes_back_when_one_leaves() {
    let rig = Rig::with_anna().await;
    let mut listeners = Vec::new();
    for _ in 0..32 {
        let mut listener = Listener::open(&rig).await;
        assert!(listener.hears("event:overview").await);
        listeners.push(listener);
    }
    assert_eq!(rig.client.get("/api/v1/live").await.code(), "too-many-streams");
    drop(listeners.pop());
    for _ in 0..100 {
        let mut listener = Listener::open(&rig).await;
        if listener.hears("event:overview").await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the place of one who left is never given again");
}

#[tokio::test]
async fn a_device_has_a_page_a_trend_and_waves_under_its_own_key() {
    let rig = Rig::with_anna().await;
    let profile = ProfileView { verified: "simulator".into(), ..ProfileView::default() };
    for second in 0..3 {
        rig.live.report(&report("42", vec![heart_rate("72.0", second)]), &sighting(&profile, second));
    }
    rig.clock.advance(Duration::from_secs(10));
    let device = rig.client.get("/api/v1/devices/ACME%2FMon%201%2F42").await.json();
    assert_eq!((&device["key"], &device["verified"]), (&json!("ACME/Mon 1/42"), &json!("simulator")));
    assert_eq!(device["metrics"], json!([{ "code": "8867-4", "label": "Heart rate", "unit": "/min" }]));
    let trend =
        rig.client.get("/api/v1/devices/ACME%2FMon%201%2F42/trend?code=8867-4&minutes=5").await.json();
    assert_eq!(trend["points"].as_array().unwrap().len(), 3);
    assert_eq!(trend["points"][0][0], 1_795_348_800_000_i64);
    let waves = rig.client.get("/api/v1/devices/ACME%2FMon%201%2F42/waves").await.json();
    assert_eq!(waves, json!({ "waves": [] }), "it says none yet");
    rig.live.report(&report("42", vec![pleth(3)]), &sighting(&profile, 3));
    let waves = rig.client.get("/api/v1/devices/ACME%2FMon%201%2F42/waves?seconds=5").await.json();
    let piece = json!({ "from_us": 1_795_348_803_000_000_i64, "period_ns": 20_000_000, "origin": 0.0, "factor": 0.1, "samples": [10, null, 20] });
    assert_eq!(
        waves["waves"],
        json!([{ "code": "150452", "label": "Pleth", "unit": null, "pieces": [piece] }])
    );
    for (path, status) in [
        ("/api/v1/devices/nobody", 404),
        ("/api/v1/devices/nobody/waves", 404),
        ("/api/v1/devices/ACME%2FMon%201%2F42/waves?seconds=21", 400),
        ("/api/v1/devices/ACME%2FMon%201%2F42/trend", 400),
        ("/api/v1/devices/ACME%2FMon%201%2F42/trend?code=x", 404),
        ("/api/v1/devices/ACME%2FMon%201%2F42/trend?code=8867-4&minutes=0", 400),
        ("/api/v1/devices/ACME%2FMon%201%2F42/trend?code=8867-4&minutes=100000", 400),
    ] {
        assert_eq!(rig.client.get(path).await.status, status, "{path}");
    }
}
