//! The audit trail for auditors: pages of it, whether it is whole, and all of it to take away. Looking is audited too.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::poll_fn;
use serde::Serialize;
use tokio::sync::mpsc;
use utoipa::ToSchema;
use warp::Reply;
use warp::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderValue};
use warp::reply::Response as Answer;

use super::call::Call;
use super::says::{AUDIT, Says, number, says, text, word};
use crate::admin::answer::{Problem, json};
use crate::admin::balp::audit_event;
use crate::admin::desk::Desk;
use crate::admin::store::{AuditRow, Outcome};
use crate::admin::trail::{RowView, Verified};
use crate::buffer::AuditFilter;

/// Rows of a page when nobody says how many, and at most.
const PAGE: u32 = 50;
const PAGE_MAX: u32 = 500;
/// Rows of an export read at once.
const EXPORT_ROWS: u32 = 500;
/// Pieces of an export on their way.
const QUEUE: usize = 4;

/// A page of the trail.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditPage)]
struct Rows {
    /// The newest first.
    rows: Vec<RowView>,
    /// Ask on with `before` this id.
    next: Option<i64>,
}

pub(super) const ROWS: Says = says("auditTrail", AUDIT, "Who did what, the latest first")
    .asks(&[
        text("who", "a user, `bedside` for the box itself, `unknown` for somebody it does not know"),
        text("what", "a word such as `entry.release`, or the part before its dot"),
        word("outcome", &["done", "refused", "failed"], "how it went"),
        text("from", "from this time on (RFC 3339)"),
        text("until", "until before this time (RFC 3339)"),
        number("before", 1, i64::MAX, "only rows with a smaller id"),
        number("limit", 1, PAGE_MAX as i64, "at most so many, 50 when it is not said"),
    ])
    .gives::<Rows>(200, "The rows");

/// `GET /api/v1/audit?who=&what=&outcome=&from=&until=&before=&limit=`
pub(super) async fn rows(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let outcome = call.asked("outcome").map(ToOwned::to_owned);
    if outcome.as_deref().is_some_and(|word| !matches!(word, "done" | "refused" | "failed")) {
        return Err(Problem::bad("\"outcome\" is done, refused or failed"));
    }
    let wanted = AuditFilter {
        before: call.number("before", 1..=i64::MAX)?,
        who: call.asked("who").map(ToOwned::to_owned),
        what: call.asked("what").map(ToOwned::to_owned),
        outcome,
        from: time(&call, "from")?,
        until: time(&call, "until")?,
        limit: call.number("limit", 1..=PAGE_MAX)?.unwrap_or(PAGE),
    };
    let (rows, next) = desk.services.trail.page(wanted).await?;
    desk.looked(&call, "audit.view", "the audit trail".into()).await?;
    let rows = rows.iter().map(RowView::from).collect();
    Ok(json(&Rows { rows, next }))
}

pub(super) const VERIFY: Says =
    says("verifyAudit", AUDIT, "Checks every row, its chain, its end and the seal")
        .gives::<Verified>(200, "What was found; `sound` is false when something is wrong");

/// `POST /api/v1/audit/verify`
pub(super) async fn verify(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let found = desk.services.trail.verify().await?;
    let said = if found.sound { "sound" } else { "NOT sound" };
    let line = desk.line(Some(&call.presence()?.user), "audit.verify", Outcome::Done, call.peer);
    let target = Some(format!("{} rows, {said}", found.rows));
    desk.audit(AuditRow { target, ..line }).await?;
    Ok(json(&found))
}

/// JSON, one resource a line.
const NDJSON: &str = "application/fhir+ndjson";

pub(super) const EXPORT: Says = says("exportAudit", AUDIT, "The trail as FHIR AuditEvents, the oldest first")
    .asks(&[text("from", "from this time on (RFC 3339)"), text("until", "until before this time (RFC 3339)")])
    .sends(NDJSON, "One AuditEvent a line");

/// `GET /api/v1/audit/export?from=&until=`: one FHIR AuditEvent a line, oldest first.
pub(super) async fn export(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let (from, until) = (time(&call, "from")?, time(&call, "until")?);
    let line = desk.line(Some(&call.presence()?.user), "audit.export", Outcome::Done, call.peer);
    desk.audit(AuditRow { target: Some("FHIR AuditEvent".into()), ..line }).await?;
    let (out, mut pieces) = mpsc::channel::<Bytes>(QUEUE);
    tokio::spawn(feed(desk, (from, until), out));
    let stream =
        poll_fn(move |context| pieces.poll_recv(context).map(|piece| piece.map(Ok::<_, Infallible>)));
    let mut answer = warp::reply::stream(stream).into_response();
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(NDJSON));
    headers.insert(
        CONTENT_DISPOSITION,
        HeaderValue::from_static("attachment; filename=\"bedside-audit.ndjson\""),
    );
    Ok(answer)
}

/// Reads the trail page by page for whoever takes it; ends when they no longer do.
async fn feed(desk: Arc<Desk>, (from, until): (Option<i64>, Option<i64>), out: mpsc::Sender<Bytes>) {
    let (trail, mut after) = (desk.services.trail.clone(), 0);
    let observer = trail.observer();
    loop {
        let rows = match trail.after(after, EXPORT_ROWS).await {
            Ok(rows) => rows,
            Err(fault) => return tracing::warn!(%fault, "an export of the audit trail broke off"),
        };
        let Some(last) = rows.last() else { return };
        after = last.id;
        let mut text = String::new();
        for row in &rows {
            let at = row.at.micros;
            if from.is_none_or(|from| at >= from) && until.is_none_or(|until| at < until) {
                text.push_str(audit_event(row, &observer).json.get());
                text.push('\n');
            }
        }
        if !text.is_empty() && out.send(text.into()).await.is_err() {
            return;
        }
    }
}

fn time(call: &Call, name: &str) -> Result<Option<i64>, Problem> {
    let Some(text) = call.asked(name) else { return Ok(None) };
    let at: Result<jiff::Timestamp, _> = text.parse();
    let wrong = |_| Problem::bad(format!("\"{name}\" is a time such as 2026-11-22T12:00:00Z"));
    at.map(|at| Some(at.as_microsecond())).map_err(wrong)
}
