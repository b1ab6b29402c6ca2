//! Every route of the table, with every method, with and without a session, from our own page and from another.

use super::Rig;
use super::client::{Client, Reply};
use crate::admin::guard::CSRF_HEADER;
use crate::admin::routes::table;

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

pub(super) fn assert_dressed(reply: &Reply, of: &str) {
    let expected = [
        ("strict-transport-security", "max-age=31536000"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("x-frame-options", "DENY"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
    ];
    for (name, value) in expected {
        assert_eq!(reply.header(name), Some(value), "{of}: {name}");
    }
    let csp = reply.header("content-security-policy").unwrap();
    assert!(csp.starts_with("default-src 'none'; ") && !csp.contains("unsafe"), "{of}: {csp}");
    assert_eq!(reply.header("server"), None, "{of}");
    assert!(reply.header("cache-control").is_some(), "{of}");
}

/// Our own page's headers, or those of a page elsewhere.
async fn ask(client: &Client, method: &str, path: &str, own: bool) -> Reply {
    let origin = if own { format!("https://{}", client.host()) } else { "https://evil.example".into() };
    client.ask(method, path, &[(CSRF_HEADER, "1"), ("Origin", &origin)], "").await
}

#[tokio::test]
async fn every_route_is_shut_without_a_session_and_dressed_whatever_it_answers() {
    let rig = Rig::fresh().await;
    rig.add_user("anna", crate::access::Role::Admin);
    let rows = table::rows();
    assert!(rows.len() >= 18);
    for (own_method, path, needs_session, _) in &rows {
        let on_path: Vec<_> = rows.iter().filter(|row| row.1 == *path).map(|row| row.0.as_str()).collect();
        for method in METHODS {
            let what = format!("{method} {path}");
            let known = on_path.contains(&method) || (method == "HEAD" && on_path.contains(&"GET"));
            let reply = ask(&rig.client, method, path, true).await;
            assert_dressed(&reply, &what);
            if !known {
                assert_eq!(reply.status, 405, "{what}");
                assert!(reply.header("allow").unwrap().contains(own_method.as_str()), "{what}");
            } else if *needs_session {
                assert_eq!(reply.status, 401, "{what}");
                assert!(!reply.body.contains("Ward"), "{what}");
            } else {
                assert_ne!(reply.status, 401, "{what}");
            }
            if method == "POST" && known {
                assert_eq!(
                    ask(&rig.client, method, path, false).await.status,
                    403,
                    "{what} from another page"
                );
            }
        }
    }
}

#[tokio::test]
async fn every_route_opens_with_a_session_and_no_change_is_taken_from_another_page() {
    let rig = Rig::with_anna().await;
    for (method, path, needs_session, _) in table::rows() {
        if !needs_session || path == "/api/v1/live" {
            continue;
        }
        // Each with a session of its own: one of the routes ends it.
        let client = rig.logged_in("anna").await;
        if method == "POST" {
            let foreign = ask(&client, "POST", &path, false).await;
            assert_eq!((foreign.status, foreign.code()), (403, "foreign-origin".into()), "{path}");
            let bare =
                client.ask("POST", &path, &[("Origin", &format!("https://{}", client.host()))], "").await;
            assert_eq!(bare.status, 403, "{path} without our header");
            assert_eq!(client.get("/api/v1/session").await.status, 200, "nothing was done");
        }
        let reply = ask(&client, method.as_str(), &path, true).await;
        assert!(!matches!(reply.status, 0 | 401 | 403 | 405 | 500..), "{method} {path}: {}", reply.status);
        assert_dressed(&reply, &path);
        if reply.status < 300 {
            assert_eq!(reply.header("cache-control"), Some("no-store"), "{path}");
        }
    }
}

#[tokio::test]
async fn what_is_not_there_is_404_without_a_word_and_pages_are_pages() {
    let rig = Rig::fresh().await;
    for path in [
        "/api",
        "/api/",
        "/api/v1",
        "/api/v1/secret",
        "/api/v2/setup",
        "/api/v1/setup/",
        "/x.js",
        "/.git/config",
    ] {
        let reply = rig.client.get(path).await;
        assert_eq!((reply.status, reply.code()), (404, "not-found".into()), "{path}");
        assert_dressed(&reply, path);
    }
    for path in ["/", "/entries", "/devices/ACME%2F1"] {
        let page = rig.client.get(path).await;
        assert_eq!((page.status, page.body.as_str()), (200, "<!doctype html>"), "{path}");
        assert_eq!(page.header("cache-control"), Some("no-cache"));
        assert_dressed(&page, path);
    }
    assert_eq!(rig.client.post("/", "").await.status, 405);
}

#[tokio::test]
async fn a_large_body_is_refused_whatever_it_says_of_its_length() {
    let rig = Rig::with_anna().await;
    let large = "x".repeat(100_000);
    for (method, path, _, _) in table::rows().into_iter().filter(|row| row.0 == "POST") {
        let client = rig.logged_in("anna").await;
        let reply = client.post(&path, &large).await;
        assert_eq!((reply.status, reply.code()), (413, "too-large".into()), "{method} {path}");
    }
    let origin = format!("https://{}", rig.client.host());
    let chunked = [(CSRF_HEADER, "1"), ("Origin", origin.as_str()), ("Transfer-Encoding", "chunked")];
    let mut body = rig.client.request("POST", "/api/v1/login", &chunked, "");
    body.push_str(&format!("{:x}\r\n{large}\r\n0\r\n\r\n", large.len()));
    assert_eq!(super::wire::raw(&rig.client, &body).await.status, 413);
    assert_eq!(rig.client.ask("GET", "/api/v1/overview", &[], "body").await.status, 413);
}
