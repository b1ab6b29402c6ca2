//! Doing: release, replay, test. Each is written into the audit trail before it is done.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::oneshot;
use utoipa::ToSchema;
use warp::http::StatusCode;
use warp::reply::Response as Answer;

use super::call::Call;
use super::says::{MESSAGES, Says, UPSTREAM, says};
use crate::admin::admission::Sight;
use crate::admin::answer::{Problem, empty, json};
use crate::admin::command::{Command, Refusal, TestStep};
use crate::admin::desk::Desk;
use crate::admin::store::{AuditRow, EntryState, Outcome};

/// A command that changes a row must be answered by then.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);
/// The upstream test waits for DNS, TLS, a token and an answer, each with a limit of its own.
const TEST_TIMEOUT: Duration = Duration::from_secs(90);

pub(super) const RELEASE: Says =
    says("releaseEntry", MESSAGES, "Lets a held message go: it waits to be sent")
        .does(202, "It waits")
        .refuses(&[(409, "It is not held, or the state does not allow it")]);

/// `POST /api/v1/entries/{id}/release`: held → waiting.
pub(super) async fn release(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let id = call.id()?;
    seen(&desk, &call, id).await?;
    match state(&desk, id).await? {
        EntryState::Held => {}
        _ => return Err(conflict("only a held entry can be released; this one is not held")),
    }
    resend(&desk, &call, "entry.release", id, |reply| Command::Release { id, reply }).await
}

pub(super) const REPLAY: Says = says("replayEntry", MESSAGES, "Sends a message again, as the same resources")
    .does(202, "It waits")
    .refuses(&[(409, "It is waiting already, or the state does not allow it")]);

/// `POST /api/v1/entries/{id}/replay`: sent again, as the same resources.
pub(super) async fn replay(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let id = call.id()?;
    seen(&desk, &call, id).await?;
    if state(&desk, id).await? == EntryState::Waiting {
        return Err(conflict("this entry is waiting to be sent already"));
    }
    resend(&desk, &call, "entry.replay", id, |reply| Command::Replay { id, reply }).await
}

/// What an upstream test found.
#[derive(Serialize, ToSchema)]
#[schema(as = UpstreamTest)]
pub(super) struct Tested {
    /// In the order in which they were tried; the first that is not ok is where it ends.
    pub(super) steps: Vec<TestStep>,
}

pub(super) const TEST: Says =
    says("testUpstream", UPSTREAM, "Tries the connection to the FHIR server step by step")
        .gives::<Tested>(200, "What each step found; steps that failed too");

/// `POST /api/v1/upstream/test`
pub(super) async fn test_upstream(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let presence = call.presence()?;
    desk.audit(desk.line(Some(&presence.user), "upstream.test", Outcome::Done, call.peer)).await?;
    let steps = ask(&desk, TEST_TIMEOUT, |reply| Command::TestUpstream { reply }).await?;
    Ok(json(&Tested { steps }))
}

/// Whether the entry is in sight of whoever asks; only for those who do not see everything is it read.
async fn seen(desk: &Desk, call: &Call, id: i64) -> Result<(), Problem> {
    let sight = desk.sight(call.presence()?).await?;
    if matches!(sight, Sight::All) {
        return Ok(());
    }
    let detail = desk.services.store.entry(id).await?.ok_or_else(Problem::not_found)?;
    sight.check(detail.row.device.as_deref())
}

async fn state(desk: &Desk, id: i64) -> Result<EntryState, Problem> {
    desk.services.store.entry_state(id).await?.ok_or_else(Problem::not_found)
}

async fn resend(
    desk: &Arc<Desk>,
    call: &Call,
    action: &'static str,
    id: i64,
    command: impl FnOnce(oneshot::Sender<Result<(), Refusal>>) -> Command,
) -> Result<Answer, Problem> {
    let presence = call.presence()?;
    let line = |outcome| {
        let target = Some(id.to_string());
        AuditRow { target, ..desk.line(Some(&presence.user), action, outcome, call.peer) }
    };
    desk.audit(line(Outcome::Done)).await?;
    let done = match ask(desk, COMMAND_TIMEOUT, command).await {
        Ok(Ok(())) => return Ok(empty(StatusCode::ACCEPTED)),
        Ok(Err(Refusal::Conflict(why) | Refusal::Asks { why, .. })) => conflict(why),
        Ok(Err(Refusal::Unknown)) => Problem::not_found(),
        Ok(Err(Refusal::Failed(why))) => Problem::unavailable(why),
        Err(problem) => problem,
    };
    desk.audit(line(Outcome::Failed)).await?;
    Err(done)
}

/// Sends a command and waits for its answer.
async fn ask<T>(
    desk: &Desk,
    limit: Duration,
    command: impl FnOnce(oneshot::Sender<T>) -> Command,
) -> Result<T, Problem> {
    let (reply, answer) = oneshot::channel();
    let busy = |_| Problem::unavailable("the gateway takes no commands");
    desk.services.commands.try_send(command(reply)).map_err(busy)?;
    match tokio::time::timeout(limit, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) => Err(Problem::unavailable("the gateway dropped a command")),
        Err(_) => Err(Problem::unavailable("the gateway did not answer a command in time")),
    }
}

fn conflict(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::CONFLICT, "state", detail)
}
