//! For machines: is it alive, is it ready, what does it count.

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;
use warp::http::StatusCode;
use warp::reply::Response as Answer;

use super::call::Call;
use super::says::{PROBES, Says, says};
use crate::admin::answer::{Problem, json, with_type};
use crate::admin::desk::Desk;

/// That the process answers.
#[derive(Serialize, ToSchema)]
struct Health<'a> {
    status: &'static str,
    version: &'static str,
    /// Names the embedded pages; null when they are not built.
    ui: Option<&'a str>,
}

/// Whether frames can be taken.
#[derive(Serialize, ToSchema)]
struct Ready {
    ready: bool,
    ports: bool,
    buffer: bool,
}

pub(super) const HEALTHZ: Says =
    says("healthz", PROBES, "Whether the process answers").gives::<Health<'static>>(200, "It does");

/// `GET /healthz`: the process answers. `ui` names the embedded pages, null when they are not built.
pub(super) async fn healthz(desk: Arc<Desk>, _: Call) -> Result<Answer, Problem> {
    Ok(json(&Health { status: "ok", version: desk.services.about.version, ui: desk.pages.tag() }))
}

pub(super) const READYZ: Says =
    says("readyz", PROBES, "Whether ports are open and the buffer answers; upstream may be away")
        .gives::<Ready>(200, "Ready")
        .or::<Ready>(503, "Not ready");

/// `GET /readyz`: ports are open and the buffer answers. Upstream may be away: that is what the buffer is for.
pub(super) async fn readyz(desk: Arc<Desk>, _: Call) -> Result<Answer, Problem> {
    let ports = desk.services.live.is_ready();
    let buffer = desk.services.store.backlog().await.is_ok_and(|backlog| backlog.writing);
    let mut answer = json(&Ready { ready: ports && buffer, ports, buffer });
    if !(ports && buffer) {
        *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    Ok(answer)
}

/// OpenMetrics 1.0.
const OPENMETRICS: &str = "application/openmetrics-text";

pub(super) const METRICS: Says =
    says("metrics", PROBES, "What the box counts, for Prometheus; never a patient")
        .sends(OPENMETRICS, "OpenMetrics text");

/// `GET /metrics`: Prometheus text (OpenMetrics 1.0).
pub(super) async fn metrics(desk: Arc<Desk>, _: Call) -> Result<Answer, Problem> {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &desk.services.metrics)
        .map_err(Problem::unavailable)?;
    Ok(with_type("application/openmetrics-text; version=1.0.0; charset=utf-8", text))
}
