//! Answers of the desk: JSON, or a problem in the words of RFC 9457.

use bytes::Bytes;
use serde::Serialize;
use utoipa::ToSchema;
use warp::Reply;
use warp::http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use warp::http::{Response, StatusCode};
use warp::reply::Response as Answer;

use super::store::StoreError;

/// Why a request was not answered as asked; becomes `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    /// Stable, for programs.
    pub(super) code: &'static str,
    /// For people: what to do. Never patient data.
    pub(super) detail: String,
    pub(super) retry_after_s: Option<u64>,
}

/// Why a request was not answered as asked (RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct ProblemJson<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    /// For people: what to do. Never patient data.
    detail: &'a str,
    /// For programs: it stays as it is.
    code: &'static str,
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), retry_after_s: None }
    }

    pub(super) fn bad(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", detail)
    }

    pub(super) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "there is nothing here")
    }

    pub(super) fn unauthenticated() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "log-in-first", "log in first")
    }

    /// Something of the box itself failed. The cause goes to the log, not to the browser.
    pub(super) fn unavailable(cause: impl std::fmt::Display) -> Self {
        tracing::warn!(%cause, "the desk could not answer");
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "the box could not do that now; see its log",
        )
    }

    pub(super) fn wait(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds.max(1));
        self
    }

    pub(super) fn into_answer(self) -> Answer {
        let title = self.status.canonical_reason().unwrap_or("Problem");
        let status = self.status.as_u16();
        let problem =
            ProblemJson { r#type: "about:blank", title, status, detail: &self.detail, code: self.code };
        let mut answer = json(&problem);
        *answer.status_mut() = self.status;
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            // RFC 9110 §11.6.1 wants one. A scheme no browser knows: no pop-up of its own.
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Session"));
        }
        answer
    }
}

impl From<StoreError> for Problem {
    fn from(fault: StoreError) -> Self {
        Self::unavailable(fault)
    }
}

/// 200 with a JSON body.
pub(super) fn json(value: &impl Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(body) => with_type("application/json", body),
        Err(fault) => {
            // Only a map with keys that are not text could do that, and we have none.
            tracing::error!(%fault, "an answer could not be written as JSON");
            empty(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}

/// 200 with a body of this type.
pub(super) fn with_type(kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(body.into().into());
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

/// No body.
pub(super) fn empty(status: StatusCode) -> Answer {
    status.into_response()
}

/// The answer with one more header; a value that cannot be one is left out.
pub(super) fn with_header(mut answer: Answer, name: HeaderName, value: &str) -> Answer {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().append(name, value);
    }
    answer
}
