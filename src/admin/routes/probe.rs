//! For machines: is it alive, is it ready, what does it count.

use std::sync::Arc;

use serde_json::json as object;
use warp::http::StatusCode;
use warp::reply::Response as Answer;

use super::call::Call;
use crate::admin::answer::{Problem, json, with_type};
use crate::admin::desk::Desk;

/// `GET /healthz`: the process answers. `ui` names the embedded pages, null when they are not built.
pub(super) async fn healthz(desk: Arc<Desk>, _: Call) -> Result<Answer, Problem> {
    Ok(json(&object!({ "status": "ok", "version": desk.services.about.version, "ui": desk.pages.tag() })))
}

/// `GET /readyz`: ports are open and the buffer answers. Upstream may be away: that is what the buffer is for.
pub(super) async fn readyz(desk: Arc<Desk>, _: Call) -> Result<Answer, Problem> {
    let ports = desk.services.live.is_ready();
    let buffer = desk.services.store.backlog().await.is_ok_and(|backlog| backlog.writing);
    let mut answer = json(&object!({ "ready": ports && buffer, "ports": ports, "buffer": buffer }));
    if !(ports && buffer) {
        *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    Ok(answer)
}

/// `GET /metrics`: Prometheus text (OpenMetrics 1.0).
pub(super) async fn metrics(desk: Arc<Desk>, _: Call) -> Result<Answer, Problem> {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &desk.services.metrics)
        .map_err(Problem::unavailable)?;
    Ok(with_type("application/openmetrics-text; version=1.0.0; charset=utf-8", text))
}
