//! HL7 v2 going on to other systems. Each change goes into the audit trail with it, by number and destination, never by
//! what a message says.

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;
use warp::http::StatusCode;
use warp::reply::Response as Answer;

use super::call::Call;
use super::says::{self, Says, number, says, word};
use crate::admin::answer::{Problem, empty, json};
use crate::admin::command::Refusal;
use crate::admin::desk::Desk;
use crate::admin::outgoing::{
    Act, DestinationView, DropWanted, MainView, MessageBytes, MessageView, ReplayWanted,
};
use crate::buffer::{NewAudit, OutgoingFilter, State};

/// Messages on a page when nothing is said.
const PAGE: u32 = 50;
const REASON_MAX: usize = 200;

/// Every destination, and the main server.
#[derive(Serialize, ToSchema)]
struct Destinations {
    destinations: Vec<DestinationView>,
    main: Option<MainView>,
}

/// A page of messages.
#[derive(Serialize, ToSchema)]
#[schema(as = OutgoingPage)]
struct Messages {
    /// The latest first.
    messages: Vec<MessageView>,
    /// Ask on with `before`.
    next: Option<i64>,
}

/// What was let go.
#[derive(Serialize, ToSchema)]
struct Released {
    released: u64,
}

/// What goes out again.
#[derive(Serialize, ToSchema)]
struct Replayed {
    replayed: u64,
}

/// A queue whose state does not allow it.
const NOT_SO: &[(u16, &str)] = &[(409, "The state does not allow it")];

pub(super) const DESTINATIONS: Says =
    says("destinations", says::DESTINATIONS, "All destinations this box has, or has had")
        .gives::<Destinations>(200, "The destinations");

/// `GET /api/v1/destinations`
pub(super) async fn destinations(desk: Arc<Desk>, _call: Call) -> Result<Answer, Problem> {
    let destinations = desk.services.outgoing.destinations().await.map_err(problem)?;
    Ok(json(&Destinations { destinations, main: desk.services.outgoing.main() }))
}

const STATES: &[&str] = &["waiting", "sent", "held", "accepted"];

pub(super) const MESSAGES: Says =
    says("outgoingMessages", says::DESTINATIONS, "Messages in the queue of a destination")
        .asks(&[
            word("state", STATES, "only those in this state"),
            number("entry", 1, i64::MAX, "only those made of this entry"),
            number("before", 1, i64::MAX, "only messages before this one: `next` of the page before"),
            number("limit", 1, 200, "how many at most; 50 when it is not said"),
        ])
        .gives::<Messages>(200, "A page");

/// `GET /api/v1/destinations/{name}/messages?state=&entry=&before=&limit=`
pub(super) async fn messages(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let limit = call.number("limit", 1..=200)?.unwrap_or(PAGE);
    let filter = OutgoingFilter {
        destination: Some(call.parameter()?.to_owned()),
        state: call.asked("state").and_then(State::parse),
        entry: call.number("entry", 1..=i64::MAX)?,
        before: call.number("before", 1..=i64::MAX)?,
        limit,
    };
    let messages = desk.services.outgoing.messages(filter).await.map_err(problem)?;
    let full = u32::try_from(messages.len()).unwrap_or(u32::MAX) >= limit;
    let next = messages.last().map(|last| last.id).filter(|_| full);
    Ok(json(&Messages { messages, next }))
}

pub(super) const MESSAGE: Says =
    says("outgoingMessage", says::DESTINATIONS, "One message with its bytes")
        .gives::<MessageBytes>(200, "The message, as sent or as it would be built now");

/// `GET /api/v1/outgoing/{id}`
pub(super) async fn message(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    Ok(json(&desk.services.outgoing.message(call.id()?).await.map_err(problem)?))
}

pub(super) const RELEASE: Says =
    says("releaseOutgoing", says::DESTINATIONS, "Lets a held message go: the same bytes").refuses(NOT_SO);

/// `POST /api/v1/outgoing/{id}/release`
pub(super) async fn release(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let id = call.id()?;
    act(desk, call, Act::Release(id), "outgoing.release", format!("outgoing message {id}")).await
}

pub(super) const REBUILD: Says =
    says("rebuildOutgoing", says::DESTINATIONS, "Builds a message anew from its entry and sends it")
        .refuses(NOT_SO);

/// `POST /api/v1/outgoing/{id}/rebuild`
pub(super) async fn rebuild(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let id = call.id()?;
    act(desk, call, Act::Rebuild(id), "outgoing.rebuild", format!("outgoing message {id}")).await
}

pub(super) const DISCARD: Says =
    says("dropOutgoing", says::DESTINATIONS, "A message is not sent any more").takes::<DropWanted>().refuses(
        &[(409, "The state does not allow it"), (422, "There must be a reason, of at most 200 characters")],
    );

/// `POST /api/v1/outgoing/{id}/drop`
pub(super) async fn discard(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let id = call.id()?;
    let DropWanted { reason } = call.json()?;
    let reason = reason.trim().to_owned();
    let right = (1..=REASON_MAX).contains(&reason.chars().count()) && !reason.chars().any(char::is_control);
    if !right {
        let detail = format!("reason: say why it is not to be sent, in at most {REASON_MAX} characters");
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "routes", detail));
    }
    act(desk, call, Act::Drop { id, reason }, "outgoing.drop", format!("outgoing message {id}")).await
}

pub(super) const PAUSE: Says =
    says("pauseDestination", says::DESTINATIONS, "Sends nothing there until told to go on").refuses(NOT_SO);

/// `POST /api/v1/destinations/{name}/pause`
pub(super) async fn pause(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let name = call.parameter()?.to_owned();
    act(desk, call, Act::Pause(name.clone()), "destination.pause", format!("destination {name}")).await
}

pub(super) const RESUME: Says =
    says("resumeDestination", says::DESTINATIONS, "Goes on sending").refuses(NOT_SO);

/// `POST /api/v1/destinations/{name}/resume`
pub(super) async fn resume(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let name = call.parameter()?.to_owned();
    act(desk, call, Act::Resume(name.clone()), "destination.resume", format!("destination {name}")).await
}

pub(super) const RELEASE_ALL: Says =
    says("releaseDestination", says::DESTINATIONS, "Lets every held message of a destination go")
        .gives::<Released>(200, "How many")
        .refuses(NOT_SO);

/// `POST /api/v1/destinations/{name}/release`
pub(super) async fn release_all(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let name = call.parameter()?.to_owned();
    let audit = line(&call, "destination.release", &format!("destination {name}"))?;
    let released = desk.services.outgoing.act(Act::ReleaseAll(name), audit).await.map_err(problem)?;
    Ok(json(&Released { released }))
}

pub(super) const REPLAY: Says =
    says("replayDestination", says::DESTINATIONS, "Sends what was received in a span of time again")
        .takes::<ReplayWanted>()
        .gives::<Replayed>(200, "How many entries")
        .refuses(&[(409, "The state does not allow it"), (422, "That is no span of time")]);

/// `POST /api/v1/destinations/{name}/replay`
pub(super) async fn replay(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let destination = call.parameter()?.to_owned();
    let span: ReplayWanted = call.json()?;
    span.span().map_err(|why| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "routes", why))?;
    let target = format!("destination {destination}, {} to {},", span.from.trim(), span.until.trim());
    let audit = line(&call, "destination.replay", &target)?;
    let wanted = Act::Replay { destination, span };
    let replayed = desk.services.outgoing.act(wanted, audit).await.map_err(problem)?;
    Ok(json(&Replayed { replayed }))
}

async fn act(
    desk: Arc<Desk>,
    call: Call,
    wanted: Act,
    what: &str,
    target: String,
) -> Result<Answer, Problem> {
    let audit = line(&call, what, &target)?;
    desk.services.outgoing.act(wanted, audit).await.map_err(problem)?;
    Ok(empty(StatusCode::NO_CONTENT))
}

fn line(call: &Call, what: &str, target: &str) -> Result<NewAudit, Problem> {
    let who = call.presence()?.user.clone();
    Ok(NewAudit { who, what: what.into(), detail: format!("done {target} from {}", call.peer) })
}

fn problem(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::Conflict(why) => Problem::new(StatusCode::CONFLICT, "routes", why),
        Refusal::Asks { code, why } => Problem::new(StatusCode::CONFLICT, code, why),
        Refusal::Unknown => Problem::not_found(),
        Refusal::Failed(why) => Problem::unavailable(why),
    }
}
