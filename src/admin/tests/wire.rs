//! Below HTTP: TLS, HTTP/2, silence, garbage, scrapers.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use warp::Reply as _;

use super::Rig;
use super::client::{Client, Reply, parsed};
use crate::admin::desk::{Arrival, Desk};
use crate::admin::listener::Patience;
use crate::admin::pages::Pages;
use crate::admin::routes;

/// Sends text over TLS and takes what comes back.
pub(super) async fn raw(client: &Client, text: &str) -> Reply {
    let mut connection = client.connect(&[b"http/1.1"]).await;
    connection.write_all(text.as_bytes()).await.ok();
    let mut bytes = Vec::new();
    timeout(Duration::from_secs(20), connection.read_to_end(&mut bytes)).await.expect("no end").ok();
    parsed(&bytes)
}

async fn plain(rig: &Rig, bytes: &[u8]) -> String {
    let port: u16 = rig.client.host().split(':').nth(1).unwrap().parse().unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = String::new();
    timeout(Duration::from_secs(20), stream.read_to_string(&mut answer)).await.expect("no end").ok();
    answer
}

#[tokio::test]
async fn a_browser_that_came_without_tls_is_told_to_come_with_it() {
    let rig = Rig::fresh().await;
    let answer = plain(&rig, b"GET / HTTP/1.1\r\nHost: box\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("put https:// before the address"));
    assert_eq!(plain(&rig, b"\x00garbage").await, "");
    assert_eq!(rig.client.get("/healthz").await.status, 200, "the desk goes on");
}

#[tokio::test]
async fn http_2_is_spoken_to_those_who_ask_for_it() {
    let rig = Rig::with_anna().await;
    let connection = rig.client.connect(&[b"h2", b"http/1.1"]).await;
    assert_eq!(connection.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, driver) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(connection)).await.unwrap();
    tokio::spawn(driver);
    let ask = |method: &str, path: &str, origin: &str| {
        hyper::Request::builder()
            .method(method)
            .uri(format!("https://{}{path}", rig.client.host()))
            .header(
                "cookie",
                format!("{}={}", crate::admin::guard::COOKIE_NAME, rig.client.token.as_ref().unwrap()),
            )
            .header("x-bedside-csrf", "1")
            .header("origin", origin)
            .body(Empty::<Bytes>::new())
            .unwrap()
    };
    let own = format!("https://{}", rig.client.host());
    let overview = sender.send_request(ask("GET", "/api/v1/overview", &own)).await.unwrap();
    assert_eq!(overview.status(), 200);
    assert!(overview.headers().contains_key("strict-transport-security"));
    let head = sender.send_request(ask("HEAD", "/healthz", &own)).await.unwrap();
    assert_eq!(head.status(), 200);
    assert!(head.into_body().collect().await.unwrap().to_bytes().is_empty());
    let foreign = sender.send_request(ask("POST", "/api/v1/logout", "https://evil.example")).await.unwrap();
    assert_eq!(foreign.status(), 403);
    let own = sender.send_request(ask("POST", "/api/v1/logout", &own)).await.unwrap();
    assert_eq!(own.status(), 204, "the authority of HTTP/2 is the host");
}

#[tokio::test]
async fn only_modern_tls_is_spoken() {
    let rig = Rig::fresh().await;
    let connection = rig.client.connect(&[]).await;
    assert_eq!(connection.get_ref().1.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    // A TLS 1.0 ClientHello: record 3.1, version 3.1, one old cipher, no extensions.
    let mut hello = b"\x16\x03\x01\x00\x2d\x01\x00\x00\x29\x03\x01".to_vec();
    hello.extend([7; 32]);
    hello.extend(b"\x00\x00\x02\x00\x2f\x01\x00");
    let port: u16 = rig.client.host().split(':').nth(1).unwrap().parse().unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(&hello).await.unwrap();
    let mut answer = Vec::new();
    timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await.unwrap().ok();
    assert_eq!(answer.first(), Some(&0x15), "an alert, not a handshake");
}

#[tokio::test]
async fn malformed_requests_are_refused_and_the_desk_goes_on() {
    let rig = Rig::fresh().await;
    let host = rig.client.host();
    let many_headers: String = (0..200).map(|n| format!("X-{n}: y\r\n")).collect();
    for request in [
        "GARBAGE\r\n\r\n".to_string(),
        format!("GET / HTTP/1.1\r\nHost: {host}\r\n{many_headers}\r\n"),
        format!("GET / HTTP/1.1\r\nHost: {host}\r\nX: {}\r\n\r\n", "y".repeat(200_000)),
        format!(
            "POST /api/v1/login HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"
        ),
        format!("GET /api/v1/devices/%00 HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"),
    ] {
        let reply = raw(&rig.client, &request).await;
        assert!((400..=431).contains(&reply.status) || reply.status == 0, "{}", reply.status);
    }
    assert_eq!(rig.client.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn whoever_says_nothing_or_speaks_slowly_is_let_go() {
    let brief = Duration::from_millis(400);
    let rig = Rig::with(Pages::of([]), Patience { handshake: brief, header: brief }).await;
    let port: u16 = rig.client.host().split(':').nth(1).unwrap().parse().unwrap();
    let mut taken = Vec::new();
    let mut silent = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    timeout(Duration::from_secs(20), silent.read_to_end(&mut taken)).await.expect("silence before TLS").ok();
    for alpn in [&b"h2"[..], b"http/1.1"] {
        let mut mute = rig.client.connect(&[alpn]).await;
        timeout(Duration::from_secs(20), mute.read_to_end(&mut taken)).await.expect("silence after TLS").ok();
    }
    let mut slow = rig.client.connect(&[b"http/1.1"]).await;
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if slow.write_all(b"X").await.is_err() || slow.flush().await.is_err() {
            return;
        }
    }
    panic!("a header that never ends is read for ever");
}

#[tokio::test]
async fn a_probe_needs_no_session_and_tells_nothing_of_patients() {
    let rig = Rig::fresh().await;
    let health = rig.client.get("/healthz").await.json();
    assert_eq!((&health["status"], &health["version"]), (&"ok".into(), &"0.1.0".into()));
    assert!(health["ui"].is_string());
    assert_eq!(rig.client.get("/readyz").await.status, 503);
    rig.live.ready(true);
    assert_eq!(rig.client.get("/readyz").await.status, 200);
    let metrics = rig.client.get("/metrics").await;
    assert!(metrics.body.contains("bedside_frames_total 0"), "{}", metrics.body);
    assert!(metrics.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    let none = Rig::with(Pages::of([]), Patience::default()).await;
    assert_eq!(none.client.get("/healthz").await.json()["ui"], serde_json::Value::Null);
    assert!(none.client.get("/").await.body.contains("npm ci --prefix web"));
}

#[tokio::test]
async fn metrics_are_read_from_afar_only_with_the_token_or_a_session() {
    let rig = Rig::with_anna().await;
    let (_stopping, stopped) = watch::channel(false);
    let desk = std::sync::Arc::new(Desk::new(rig.services.clone(), Pages::of([]), stopped));
    let service = hyper_util::service::TowerToHyperService::new(warp::service(routes::filter(desk)));
    let cookie = format!("{}={}", crate::admin::guard::COOKIE_NAME, rig.client.token.as_ref().unwrap());
    for (peer, header, status) in [
        ("127.0.0.1:1", None, 200),
        ("[::ffff:127.0.0.1]:1", None, 200),
        ("10.0.0.5:1", None, 401),
        ("10.0.0.5:1", Some(("authorization", "Bearer scrape-me")), 200),
        ("10.0.0.5:1", Some(("authorization", "Bearer scrape")), 401),
        ("10.0.0.5:1", Some(("authorization", "Bearer ")), 401),
        ("10.0.0.5:1", Some(("cookie", cookie.as_str())), 200),
    ] {
        let mut request = hyper::Request::get("/metrics");
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let arrival = Arrival { peer: peer.parse().unwrap(), authority: None };
        let request = request.extension(arrival).body(Empty::<Bytes>::new()).unwrap();
        let answer = hyper::service::Service::call(&service, request).await.unwrap().into_response();
        assert_eq!(answer.status(), status, "{peer} {header:?}");
    }
}
