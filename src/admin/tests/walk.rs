//! Every route of the table, with every method, with and without a session, from our own page and from another.

use super::Rig;
use super::client::{Client, Reply};
use crate::access::Role;
use crate::admin::guard::CSRF_HEADER;
use crate::admin::routes::table::{self, Row};

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
    rig.add_user("anna", Role::Admin);
    let rows = table::rows();
    assert!(rows.len() >= 18);
    for row in &rows {
        for method in METHODS {
            let what = format!("{method} {}", row.path);
            let reply = ask(&rig.client, method, &row.path, true).await;
            assert_dressed(&reply, &what);
            match on_path(&rows, &row.path, method) {
                None => {
                    assert_eq!(reply.status, 405, "{what}");
                    assert!(reply.header("allow").unwrap().contains(row.method.as_str()), "{what}");
                }
                Some(Row { permission: Some(_), .. }) => {
                    assert_eq!(reply.status, 401, "{what}");
                    assert!(!reply.body.contains("Ward"), "{what}");
                }
                Some(_) => assert_ne!(reply.status, 401, "{what}"),
            }
        }
    }
}

/// The row that answers this method on this path.
fn on_path<'a>(rows: &'a [Row], path: &str, method: &str) -> Option<&'a Row> {
    let method = if method == "HEAD" { "GET" } else { method };
    rows.iter().find(|row| row.path == path && row.method == method)
}

#[tokio::test]
async fn every_role_gets_exactly_what_it_may_on_every_route_with_every_method() {
    let rows = table::rows();
    let (mut open, mut shut) = (0, 0);
    for role in Role::ALL {
        // A box for each: all roles together ask faster than one address may.
        let rig = Rig::fresh().await;
        rig.add_user(role.as_str(), role);
        for row in rows.iter().filter(|row| row.id != "live") {
            for method in METHODS {
                let what = format!("{} {method} {}", role.as_str(), row.path);
                // Each with a session of its own: one of the routes ends it.
                let client = rig.logged_in(role.as_str()).await;
                let reply = ask(&client, method, &row.path, true).await;
                let Some(answering) = on_path(&rows, &row.path, method) else {
                    assert_eq!(reply.status, 405, "{what}");
                    continue;
                };
                if answering.permission.is_none_or(|permission| role.may(permission)) {
                    assert!(!matches!(reply.status, 0 | 401 | 405), "{what}: {}", reply.status);
                    assert!(reply.status != 403 || answering.permission.is_none(), "{what}");
                    open += 1;
                } else {
                    assert_eq!(reply.status, 403, "{what}");
                    assert!(method == "HEAD" || reply.code() == "role", "{what}");
                    assert!(!reply.body.contains("Ward"), "{what}");
                    shut += 1;
                }
            }
        }
    }
    assert!(open > 100 && shut > 50, "{open} open, {shut} shut");
}

#[tokio::test]
async fn no_change_is_taken_from_another_page_or_without_our_header() {
    let rig = Rig::with_anna().await;
    let elsewhere = "https://evil.example";
    let own = format!("https://{}", rig.client.host());
    for row in table::rows().iter().filter(|row| row.method != "GET") {
        let (client, method, path) = (&rig.client, row.method.as_str(), &row.path);
        for headers in [
            &[(CSRF_HEADER, "1"), ("Origin", elsewhere)][..],
            &[(CSRF_HEADER, "1"), ("Origin", own.as_str()), ("Sec-Fetch-Site", "cross-site")],
            &[(CSRF_HEADER, "1"), ("Sec-Fetch-Site", "same-site")],
            &[(CSRF_HEADER, "1"), ("Origin", "null")],
            &[(CSRF_HEADER, "1")],
            &[("Origin", own.as_str())],
        ] {
            let reply = client.ask(method, path, headers, "").await;
            assert_eq!((reply.status, reply.code()), (403, "foreign-origin".into()), "{path} {headers:?}");
        }
        assert_eq!(client.get("/api/v1/session").await.status, 200, "{path}: nothing was done");
    }
}

#[tokio::test]
async fn every_route_opens_with_a_session() {
    let rig = Rig::with_anna().await;
    for row in table::rows() {
        if row.permission.is_none() || row.id == "live" {
            continue;
        }
        let client = rig.logged_in("anna").await;
        let reply = ask(&client, row.method.as_str(), &row.path, true).await;
        let status = reply.status;
        assert!(!matches!(status, 0 | 401 | 403 | 405 | 500..), "{} {}: {status}", row.method, row.path);
        assert_dressed(&reply, &row.path);
        if status < 300 {
            assert_eq!(reply.header("cache-control"), Some("no-store"), "{}", row.path);
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
async fn a_body_is_taken_up_to_what_its_route_says_whatever_it_says_of_its_length() {
    let rig = Rig::with_anna().await;
    for row in table::rows().into_iter().filter(|row| row.id != "live") {
        let client = rig.logged_in("anna").await;
        let (method, path) = (row.method.as_str(), &row.path);
        let origin = format!("https://{}", client.host());
        let headers = [(CSRF_HEADER, "1"), ("Origin", origin.as_str())];
        let over = client.ask(method, path, &headers, &"x".repeat(row.body_max + 1)).await;
        assert_eq!((over.status, over.code()), (413, "too-large".into()), "{method} {path}");
        let most = client.ask(method, path, &headers, &"x".repeat(row.body_max)).await;
        assert_ne!(most.status, 413, "{method} {path}");
    }
    let large = "x".repeat(100_000);
    let origin = format!("https://{}", rig.client.host());
    let chunked = [(CSRF_HEADER, "1"), ("Origin", origin.as_str()), ("Transfer-Encoding", "chunked")];
    let mut body = rig.client.request("POST", "/api/v1/login", &chunked, "");
    body.push_str(&format!("{:x}\r\n{large}\r\n0\r\n\r\n", large.len()));
    assert_eq!(super::wire::raw(&rig.client, &body).await.status, 413);
}
