//! The desk of a box whose disk cannot be used: one page for every address, that says why and goes away by itself. There
//! are no users without the buffer, so it tells nothing but what anyone at the box may know.

use tokio::net::TcpListener;
use tokio::sync::watch;
use warp::Filter;
use warp::http::StatusCode;
use warp::http::header::RETRY_AFTER;
use warp::path::FullPath;
use warp::reply::Response as Answer;

use super::answer::{json, with_header, with_type};
use super::guard;
use super::identity::Identity;
use super::listener::{self, Patience};

/// A browser asks again after so many seconds.
const AGAIN_S: &str = "5";

/// Answers until `stop` with what `why` says.
pub async fn serve_why_not(
    listener: TcpListener,
    identity: &Identity,
    why: watch::Receiver<String>,
    stop: impl Future<Output = ()>,
) {
    let answer = move |path: FullPath| {
        let mut answer = page(path.as_str(), &why.borrow());
        guard::dress(answer.headers_mut());
        answer
    };
    let filter = warp::path::full().map(answer);
    listener::accept(listener, identity, Patience::default(), filter, stop).await;
}

fn page(path: &str, why: &str) -> Answer {
    let mut answer = match path {
        "/healthz" => return json(&serde_json::json!({ "status": "waiting for its disk", "detail": why })),
        "/readyz" => {
            json(&serde_json::json!({ "ready": false, "ports": false, "buffer": false, "detail": why }))
        }
        path if path.starts_with("/api/") => {
            let problem = serde_json::json!({ "title": "The disk of this box cannot be used", "status": 503, "detail": why });
            with_type("application/problem+json", problem.to_string())
        }
        _ => with_type("text/html; charset=utf-8", html(why)),
    };
    *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    with_header(answer, RETRY_AFTER, AGAIN_S)
}

fn html(why: &str) -> String {
    let escaped = why.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <meta http-equiv=\"refresh\" content=\"{AGAIN_S}\"><title>Bedside waits for its disk</title></head>\
         <body><h1>Bedside waits for its disk</h1><p>{escaped}</p><p>This page looks again by itself.</p></body></html>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_says_why_and_none_says_that_all_is_well() {
        for path in ["/", "/entries/7", "/api/v1/overview", "/readyz", "/metrics"] {
            let answer = page(path, "the disk is <full>");
            assert_eq!(answer.status(), 503, "{path}");
            assert_eq!(answer.headers()["retry-after"], AGAIN_S);
        }
        assert_eq!(page("/healthz", "x").status(), 200, "the process lives; a supervisor must not kill it");
        assert!(html("the disk is <full>").contains("the disk is &lt;full&gt;"));
    }
}
