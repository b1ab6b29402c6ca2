//! Answers of the demo server.

use bytes::Bytes;
use hyper::Response;
use hyper::header::{CONTENT_TYPE, DATE, HeaderValue};
use serde_json::{Value, json};

use super::{Body, full};
use crate::clock::Timestamp;

/// An answer before it becomes bytes.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) kind: &'static str,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Bytes,
}

/// A refusal: HTTP status, issue code (FHIR R4 IssueType) and words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: &'static str,
    pub(super) words: String,
}

impl Refusal {
    pub(super) fn new(status: u16, code: &'static str, words: impl Into<String>) -> Self {
        Self { status, code, words: words.into() }
    }

    pub(super) fn outcome(&self) -> Value {
        let issue = json!({ "severity": "error", "code": self.code, "diagnostics": self.words });
        json!({ "resourceType": "OperationOutcome", "issue": [issue] })
    }
}

impl Reply {
    pub(super) fn fhir(status: u16, body: impl Into<Bytes>) -> Self {
        Self { status, kind: "application/fhir+json", headers: Vec::new(), body: body.into() }
    }

    pub(super) fn json(status: u16, body: &Value) -> Self {
        Self { status, kind: "application/json", headers: Vec::new(), body: body.to_string().into() }
    }

    pub(super) fn html(status: u16) -> Self {
        let page = "<!doctype html><html><body><h1>Something in between</h1></body></html>";
        Self { status, kind: "text/html; charset=utf-8", headers: Vec::new(), body: page.into() }
    }

    pub(super) fn plain(status: u16, text: &'static str) -> Self {
        Self { status, kind: "text/plain", headers: Vec::new(), body: text.into() }
    }

    pub(super) fn with(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(super) fn into_response(self, now: Timestamp) -> Response<Body> {
        let mut response = Response::new(full(self.body));
        *response.status_mut() =
            hyper::StatusCode::from_u16(self.status).unwrap_or(hyper::StatusCode::INTERNAL_SERVER_ERROR);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(self.kind));
        let date = ("date", http_date(now));
        for (name, value) in self.headers.into_iter().chain([date]) {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().insert(name, value);
            }
        }
        debug_assert!(response.headers().contains_key(DATE));
        response
    }
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Self {
        Self::fhir(refusal.status, refusal.outcome().to_string())
    }
}

/// IMF-fixdate (RFC 9110 §5.6.7).
pub(super) fn http_date(at: Timestamp) -> String {
    let printer = jiff::fmt::rfc2822::DateTimePrinter::new();
    let at = jiff::Timestamp::from_microsecond(at.micros).unwrap_or_default();
    printer.timestamp_to_rfc9110_string(&at).unwrap_or_default()
}
