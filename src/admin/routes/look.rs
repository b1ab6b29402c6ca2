//! Looking: overview, devices, entries, upstream. Nothing here changes anything.

use std::sync::Arc;

use serde::Serialize;
use serde_json::json as object;
use warp::reply::Response as Answer;

use super::call::Call;
use crate::admin::answer::{Problem, json};
use crate::admin::desk::Desk;
use crate::admin::explain::{Explained, StoredFrame};
use crate::admin::raw::Raw;
use crate::admin::segments::Segments;
use crate::admin::store::{
    EntryDetail, EntryFilter, EntryRow, EntryState, Happened, PAGE_MAX, UpstreamAnswer,
};

/// Entries of a page when nobody says how many.
const PAGE: u32 = 50;
/// Minutes of a trend when nobody says how many, and at most: a day.
const TREND_MINUTES: u32 = 60;
const TREND_MINUTES_MAX: u32 = 24 * 60;

/// `GET /api/v1/overview`
pub(super) async fn overview(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let sight = desk.sight(call.presence()?).await?;
    Ok(json(&desk.overview(&sight).await?))
}

/// `GET /api/v1/devices/{key}`
pub(super) async fn device(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    desk.sight(call.presence()?).await?.check(Some(call.parameter()?))?;
    desk.services.live.device(call.parameter()?).map(|device| json(&device)).ok_or_else(Problem::not_found)
}

/// `GET /api/v1/devices/{key}/trend?code=C&minutes=60`
pub(super) async fn trend(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    desk.sight(call.presence()?).await?.check(Some(call.parameter()?))?;
    let code = call.asked("code").ok_or_else(|| Problem::bad("say which metric: ?code="))?;
    let minutes = call.number("minutes", 1..=TREND_MINUTES_MAX)?.unwrap_or(TREND_MINUTES);
    let trend = desk.services.live.trend(call.parameter()?, code, minutes);
    trend.map(|trend| json(&trend)).ok_or_else(Problem::not_found)
}

/// `GET /api/v1/entries?state=&link=&device=&before=&limit=`
pub(super) async fn entries(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let state = match call.asked("state") {
        None => None,
        Some(word) => {
            let unknown = || Problem::bad("\"state\" is waiting, sent, accepted or held");
            Some(EntryState::parse(word).ok_or_else(unknown)?)
        }
    };
    let filter = EntryFilter {
        state,
        link: call.asked("link").map(Into::into),
        device: call.asked("device").map(Into::into),
        before: call.number("before", 1..=i64::MAX)?,
        limit: call.number("limit", 1..=PAGE_MAX)?.unwrap_or(PAGE),
    };
    let store = &desk.services.store;
    let sight = desk.sight(call.presence()?).await?;
    let mut page = store.entries(filter).await?;
    // What is out of sight leaves the page shorter; asking on goes on behind it.
    page.entries.retain(|entry| sight.check(entry.device.as_deref()).is_ok());
    let counts = store.backlog().await?.counts;
    Ok(json(&object!({ "entries": page.entries, "next": page.next, "counts": counts })))
}

/// One entry: raw bytes → measurements → FHIR → what the server said.
#[derive(Serialize)]
struct EntryPage {
    #[serde(flatten)]
    row: EntryRow,
    raw: Raw,
    intact: bool,
    warnings: Vec<String>,
    #[serde(flatten)]
    explained: Explained,
    answer: Option<UpstreamAnswer>,
    timeline: Vec<Happened>,
}

/// `GET /api/v1/entries/{id}`
pub(super) async fn entry(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let id = call.id()?;
    let detail = desk.services.store.entry(id).await?.ok_or_else(Problem::not_found)?;
    desk.sight(call.presence()?).await?.check(detail.row.device.as_deref())?;
    let EntryDetail { row, frame, intact, topic, sha256, warnings, answer, timeline } = detail;
    let stored = StoredFrame {
        id,
        link: row.link.clone(),
        peer: row.peer.clone(),
        received: row.received,
        bytes: frame.clone(),
        topic,
    };
    let explain = desk.services.explain.clone();
    let explained = match intact {
        true => tokio::task::spawn_blocking(move || explain.explain(&stored))
            .await
            .map_err(Problem::unavailable)?,
        // Values out of bytes that changed on the disk would be nobody's.
        false => Explained::default(),
    };
    let raw = Raw::of(&frame, sha256);
    Ok(json(&EntryPage { row, raw, intact, warnings, explained, answer, timeline }))
}

/// `GET /api/v1/entries/{id}/hl7`
pub(super) async fn hl7(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let detail = desk.services.store.entry(call.id()?).await?.ok_or_else(Problem::not_found)?;
    desk.sight(call.presence()?).await?.check(detail.row.device.as_deref())?;
    if !detail.intact {
        return Err(Problem::not_found());
    }
    let charset = desk.services.explain.charset(&detail.row.link);
    let apart = tokio::task::spawn_blocking(move || Segments::of(&detail.frame, charset));
    let segments = apart.await.map_err(Problem::unavailable)?.ok_or_else(Problem::not_found)?;
    Ok(json(&segments))
}

/// `GET /api/v1/upstream`
pub(super) async fn upstream(desk: Arc<Desk>, _: Call) -> Result<Answer, Problem> {
    let (view, standing) = desk.services.live.upstream();
    let counts = desk.services.store.backlog().await?.counts;
    let standing = standing.as_ref();
    let jwks = standing.map(|s| &s.jwks).filter(|jwks| jwks.is_object()).cloned();
    Ok(json(&object!({
        "configured": standing.is_some(),
        "name": view.name,
        "base": view.base,
        "state": view.state,
        "since": view.since.rfc3339(),
        "last_success": view.last_success.map(|at| at.rfc3339()),
        "detail": view.detail,
        "auth": standing.map_or("none", |s| s.auth),
        "client_id": standing.and_then(|s| s.client_id.as_ref()),
        "scopes": standing.and_then(|s| s.scopes.as_ref()),
        "granted": standing.and_then(|s| s.granted.as_ref()),
        "kid": standing.and_then(|s| s.kid.as_ref()),
        "algorithm": standing.and_then(|s| s.algorithm),
        "jwks": jwks.unwrap_or_else(|| object!({ "keys": [] })),
        "queue": { "waiting": counts.waiting, "sent": counts.sent, "held": counts.held },
        "mode": standing.and_then(|s| s.mode),
    })))
}
