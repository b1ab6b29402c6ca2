//! What somebody tries who means harm: each attempt is refused within bounds, and the desk goes on.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::time::timeout;

use super::Rig;
use super::client::Client;
use super::wire::raw;
use crate::access::{Role, SelfMade};
use crate::admin::routes::table;
use crate::clock::Clock;
use crate::tls::rig::Authority;

fn port(rig: &Rig) -> u16 {
    rig.client.host().rsplit(':').next().unwrap().parse().unwrap()
}

/// All that comes back on a connection that is left open by the client.
async fn everything(rig: &Rig, request: &str) -> String {
    let mut connection = rig.client.connect(&[b"http/1.1"]).await;
    connection.write_all(request.as_bytes()).await.ok();
    let mut bytes = Vec::new();
    timeout(Duration::from_secs(3), connection.read_to_end(&mut bytes)).await.ok();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn no_shape_of_a_request_hides_a_second_one_in_its_body() {
    let rig = Rig::with_anna().await;
    let host = rig.client.host();
    let hidden = format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let length = hidden.len();
    let post = format!("POST /api/v1/login HTTP/1.1\r\nHost: {host}\r\n");
    let shapes = [
        format!("{post}Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"),
        format!("{post}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n{hidden}"),
        format!("{post}Content-Length: 0\r\nContent-Length: {length}\r\n\r\n{hidden}"),
        format!("{post}Content-Length: 0, {length}\r\n\r\n{hidden}"),
        format!("{post}Content-Length: +0\r\n\r\n{hidden}"),
        format!("{post}Content-Length : {length}\r\n\r\n{hidden}"),
        format!("{post}Transfer-Encoding: identity\r\nContent-Length: {length}\r\n\r\n{hidden}"),
        format!("{post}Transfer-Encoding: xchunked\r\n\r\n{hidden}"),
        format!("{post}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n{hidden}"),
        format!("{post}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n{hidden}"),
        format!("{post}Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n{hidden}"),
        format!("{post}X: y\r\n Transfer-Encoding: chunked\r\n\r\n{hidden}"),
        format!("{post}Transfer-Encoding: chunked\r\n\r\n-1\r\n{hidden}"),
        format!("{post}Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n{hidden}"),
    ];
    for shape in shapes {
        let said = everything(&rig, &shape).await;
        let head = shape.lines().nth(2).unwrap();
        assert!(!said.contains("bedside_frames_total"), "{head} let the hidden request through:\n{said}");
    }
    assert_eq!(rig.client.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn what_is_no_http_is_refused_with_all_headers() {
    let rig = Rig::fresh().await;
    let host = rig.client.host();
    let long = "y".repeat(100_000);
    let many: String = (0..100).map(|n| format!("X-{n}: y\r\n")).collect();
    for request in [
        "GARBAGE\r\n\r\n".to_string(),
        "GET / HTTP/9.9\r\n\r\n".to_string(),
        format!("GET / HTTP/1.1\r\nHost: {host}\r\nbad header\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: {host}\r\n{many}\r\n"),
        format!("GET / HTTP/1.1\r\nHost: {host}\r\nX: {long}\r\n\r\n"),
        format!("GET /{long} HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: {host}\r\nContent-Length: x\r\n\r\n"),
    ] {
        let reply = raw(&rig.client, &request).await;
        assert!(
            (400..=431).contains(&reply.status),
            "{}: {}",
            &request[..30.min(request.len())],
            reply.status
        );
        super::walk::assert_dressed(&reply, &request[..30.min(request.len())]);
    }
}

#[tokio::test]
async fn no_address_leads_out_of_the_pages() {
    let rig = Rig::fresh().await;
    for path in [
        "/../../etc/passwd",
        "/..%2f..%2f..%2fetc%2fpasswd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/%252e%252e%252fetc%252fpasswd",
        "/assets/..%5c..%5cwindows%5cwin.ini",
        "//etc/passwd",
        "/%00index.html",
        "/index.html%00.js",
        "/file:///etc/passwd",
        "/C:/windows/win.ini",
        "/.%2e/.git/config",
        "/assets/%c0%ae%c0%ae/etc/passwd",
        "/api/v1/recordings/..%2f..%2fbedside.db",
    ] {
        let reply = rig.client.get(path).await;
        assert!(matches!(reply.status, 200 | 400 | 401 | 404), "{path}: {}", reply.status);
        assert!(reply.status != 200 || reply.body == "<!doctype html>", "{path}: {}", reply.body);
        assert!(!reply.body.contains("root:") && !reply.body.contains("[core]"), "{path}");
    }
}

#[tokio::test]
async fn json_a_hundred_thousand_deep_is_refused_at_once_by_every_route() {
    let rig = Rig::with_anna().await;
    // A piece of a backup is no JSON, and never read as any.
    let takes_json = |row: &table::Row| row.method == "POST" && !row.path.ends_with("/upload");
    for table::Row { path, permission, .. } in table::rows().into_iter().filter(takes_json) {
        let client = if permission.is_some() { rig.logged_in("anna").await } else { rig.client.clone() };
        for depth in [2_000, 8_000, 100_000] {
            for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
                let began = Instant::now();
                let reply =
                    client.post(&path, &format!("{}{}", open.repeat(depth), close.repeat(depth))).await;
                let known = matches!(reply.status, 400 | 409 | 410 | 413 | 422 | 429);
                assert!(known, "{path}, {depth} deep: {} {}", reply.status, reply.body);
                assert!(began.elapsed() < Duration::from_secs(10), "{path}");
            }
        }
    }
}

#[tokio::test]
async fn five_hundred_who_say_nothing_do_not_keep_one_who_asks_waiting() {
    let rig = Rig::fresh().await;
    let to: SocketAddr = ([127, 0, 0, 1], port(&rig)).into();
    let mut mute = Vec::new();
    for n in 0..500_u32 {
        let from = SocketAddr::from(([127, 0, 1, u8::try_from(n % 8).unwrap() + 1], 0));
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(from).unwrap();
        if let Ok(Ok(mut stream)) = timeout(Duration::from_secs(5), socket.connect(to)).await {
            // The beginning of a ClientHello that never ends.
            stream.write_all(b"\x16\x03\x01\x02").await.ok();
            mute.push(stream);
        }
        if n % 100 == 99 {
            let asked = timeout(Duration::from_secs(5), rig.client.get("/healthz")).await;
            assert_eq!(asked.expect("nobody was let in").status, 200, "beside {} mute connections", n + 1);
        }
    }
    assert!(mute.len() >= 490, "{}", mute.len());
}

#[tokio::test]
async fn streams_opened_and_reset_again_and_again_end_their_own_connection_only() {
    let rig = Rig::fresh().await;
    let connection = rig.client.connect(&[b"h2"]).await;
    let (mut sender, driver) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(connection)).await.unwrap();
    tokio::spawn(driver);
    for _ in 0..2_000 {
        let request = hyper::Request::get(format!("https://{}/healthz", rig.client.host()))
            .body(Empty::<Bytes>::new())
            .unwrap();
        if sender.ready().await.is_err() {
            break;
        }
        // Dropped before it is answered: the client resets the stream.
        drop(timeout(Duration::ZERO, sender.send_request(request)).await);
    }
    let asked = timeout(Duration::from_secs(10), rig.client.get("/healthz")).await.unwrap();
    assert_eq!(asked.status, 200);
}

#[tokio::test]
async fn an_address_that_asks_without_end_is_told_to_wait() {
    let rig = Rig::fresh().await;
    let mut connection = rig.client.connect(&[b"http/1.1"]).await;
    let one = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", rig.client.host());
    let (mut told, mut text) = (false, String::new());
    for _ in 0..200 {
        connection.write_all(one.repeat(50).as_bytes()).await.unwrap();
        let mut bytes = vec![0; 1 << 20];
        let mut answers = 0;
        text.clear();
        while answers < 50 {
            let read = timeout(Duration::from_secs(10), connection.read(&mut bytes)).await.unwrap().unwrap();
            assert!(read > 0);
            text.push_str(&String::from_utf8_lossy(&bytes[..read]));
            answers = text.matches("HTTP/1.1 ").count();
        }
        if text.contains("HTTP/1.1 429 ") {
            told = true;
            break;
        }
    }
    assert!(told, "nobody was told to wait");
    assert!(text.contains("retry-after: 1"), "{}", &text[text.len() - 600..]);
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert_eq!(rig.client.get("/healthz").await.status, 200, "after a moment it may ask again");
}

#[tokio::test]
async fn a_certificate_given_at_the_desk_is_checked_and_shown_to_the_next_who_comes() {
    let rig = Rig::with_anna().await;
    let dir = tempfile::tempdir().unwrap();
    rig.services.identity.keep_in(dir.path());
    let before = rig.client.get("/api/v1/certificate").await.json();
    assert_eq!((&before["source"], &before["fixed"]), (&json!("own"), &json!(null)));
    let authority = Authority::new("Clinic CA");
    let (issued, other) = (authority.issue("localhost", 2090), authority.issue("localhost", 2090));
    let read = |path: &std::path::Path| std::fs::read_to_string(path).unwrap();
    let form = |certificate: &std::path::Path, key: &std::path::Path| {
        json!({ "certificate": read(certificate), "key": read(key) }).to_string()
    };
    let wrong = rig.client.post("/api/v1/certificate", &form(&issued.cert_file, &other.key_file)).await;
    assert_eq!((wrong.status, wrong.code()), (422, "certificate".into()));
    assert!(wrong.body.contains("does not belong") && !wrong.body.contains("BEGIN"), "{}", wrong.body);
    assert_eq!(rig.client.get("/healthz").await.status, 200, "the old one is still shown");
    let kept = rig.client.connect(&[b"http/1.1"]).await;
    let right = rig.client.post("/api/v1/certificate", &form(&issued.cert_file, &issued.key_file)).await;
    assert_eq!(right.status, 200, "{}", right.body);
    assert_eq!(
        (&right.json()["source"], right.json()["days_left"].as_i64().unwrap() > 20_000),
        (&json!("uploaded"), true)
    );
    let ca = CertificateDer::from_pem_slice(read(&authority.ca_file().unwrap()).as_bytes()).unwrap();
    let token = rig.client.token.clone().unwrap();
    let after = Client::new(([127, 0, 0, 1], port(&rig)).into(), ca).with_token(&token);
    assert_eq!(after.get("/api/v1/session").await.status, 200, "the next connection sees the new one");
    drop(kept);
    let trail = rig.store.trail();
    let lines: Vec<_> = trail.iter().filter(|line| line.contains("certificate.")).collect();
    let done = "anna certificate.upload - done";
    assert_eq!(lines, [done, "anna certificate.upload - failed", done]);
    let own = after.post("/api/v1/certificate/own", "").await;
    assert_eq!((own.status, &own.json()["source"]), (200, &json!("own")));
    assert!(!dir.path().join("desk-uploaded.pem").exists());
}

#[tokio::test]
async fn only_those_who_set_the_box_see_and_change_its_certificate() {
    let rig = Rig::fresh().await;
    let made = SelfMade::make("x", &[], rig.clock.now()).unwrap();
    let key = String::from_utf8(made.key_pem.expose().to_vec()).unwrap();
    let form = json!({ "certificate": made.certificate_pem, "key": key }).to_string();
    for (name, role, allowed) in [
        ("emil", Role::Engineer, true),
        ("clara", Role::Clinician, false),
        ("aude", Role::Auditor, false),
        ("ines", Role::Integrator, false),
    ] {
        rig.add_user(name, role);
        let client = rig.logged_in(name).await;
        assert_eq!(client.get("/api/v1/certificate").await.status, if allowed { 200 } else { 403 }, "{name}");
        let asked = client.post("/api/v1/certificate", &form).await.status;
        // This desk keeps its certificate nowhere: who may is told so.
        assert_eq!(asked, if allowed { 409 } else { 403 }, "{name}");
    }
}
