//! Whatever the desk answers in these tests is held against the description of its API: status, media type, every field.

use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::{Value as Json, json};
use warp::http::Method;

use super::client::Reply;
use crate::admin::routes::{document, table};

static DOCUMENT: LazyLock<Json> = LazyLock::new(document);
static PROBLEM: LazyLock<Validator> = LazyLock::new(|| validator("#/components/schemas/Problem"));

fn validator(reference: &str) -> Validator {
    let schema = json!({ "$ref": reference, "components": DOCUMENT["components"] });
    jsonschema::options().should_validate_formats(true).build(&schema).unwrap()
}

/// Panics when the description does not say that this request may be answered so.
pub(super) fn hold(method: &str, path: &str, reply: &Reply) {
    let what = format!("{method} {path}: {}", reply.status);
    let path = path.split('?').next().unwrap();
    let head = method == "HEAD";
    let Ok(method) = if head { "GET" } else { method }.parse::<Method>() else { return };
    let media = reply.header("content-type").unwrap_or_default();
    let media = media.split(';').next().unwrap();
    let problem = media == "application/problem+json";
    if problem && !head {
        assert_valid(&PROBLEM, reply, &what);
    }
    // What hyper refuses by itself never reaches a route and has no type.
    let Some(pattern) = table::pattern(&method, path).filter(|_| reply.status != 0 && reply.status != 431)
    else {
        return;
    };
    let operation = &DOCUMENT["paths"][pattern][method.as_str().to_ascii_lowercase()];
    // A row that nobody has described is found by the test of the description itself.
    if operation["operationId"] == "" {
        return;
    }
    let told = &operation["responses"][reply.status.to_string()];
    assert!(told.is_object(), "{what} is not described");
    let told = match told["$ref"].as_str() {
        Some(reference) => DOCUMENT.pointer(reference.trim_start_matches('#')).unwrap(),
        None => told,
    };
    let content = &told["content"];
    if content.is_null() {
        assert_eq!((media, reply.body.as_str()), ("", ""), "{what} has a body");
        return;
    }
    let schema = &content[media]["schema"];
    assert!(schema.is_object(), "{what} as {media:?} is not described: {content}");
    if media == "application/json" && !head {
        assert_valid(&validator(schema["$ref"].as_str().unwrap()), reply, &what);
    }
}

fn assert_valid(validator: &Validator, reply: &Reply, what: &str) {
    let body = reply.json();
    let faults: Vec<String> =
        validator.iter_errors(&body).map(|fault| format!("{}: {fault}", fault.instance_path())).collect();
    assert!(faults.is_empty(), "{what} is not as described: {}\n{body}", faults.join("; "));
}

#[test]
fn an_answer_that_is_not_as_described_is_found() {
    let reply = |status, media: &str, body: &str| Reply::of(status, media, body);
    let held =
        |reply: Reply| std::panic::catch_unwind(move || hold("GET", "/api/v1/entries/7", &reply)).is_ok();
    assert!(held(reply(
        404,
        "application/problem+json",
        r#"{"type":"about:blank","title":"Not Found","status":404,"detail":"x","code":"not-found"}"#
    )));
    for wrong in [
        reply(404, "application/problem+json", r#"{"title":"Not Found"}"#),
        reply(404, "application/json", "{}"),
        reply(200, "application/json", "{}"),
        reply(418, "application/problem+json", "{}"),
        reply(200, "text/html", "<p>"),
    ] {
        let (status, body) = (wrong.status, wrong.body.clone());
        assert!(!held(wrong), "{status} {body}");
    }
}
