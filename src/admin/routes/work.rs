//! The worklist: what analysers are to measure. Each change goes into the audit trail with it, by number, never by the
//! specimen's code or the patient.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::json as object;
use warp::http::StatusCode;
use warp::reply::Response as Answer;

use super::call::Call;
use crate::admin::answer::{Problem, empty, json};
use crate::admin::command::Refusal;
use crate::admin::desk::Desk;
use crate::admin::worklist::OrderWanted;
use crate::buffer::{NewAudit, WorkState};

/// What is looked for; it may name a patient, so it comes in the body and never in an address.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sought {
    state: Option<String>,
    /// Part of a specimen, a test or a patient's name or number.
    text: Option<String>,
}

/// Longest text that is looked for.
const TEXT_MAX: usize = 200;

/// `GET /api/v1/worklist?state=`
pub(super) async fn orders(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let state = call.asked("state").map(ToOwned::to_owned);
    list(&desk, state, None).await
}

/// `POST /api/v1/worklist/find`
pub(super) async fn find(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let Sought { state, text } = call.json()?;
    if text.as_ref().is_some_and(|text| text.chars().count() > TEXT_MAX) {
        return Err(Problem::bad(format!("\"text\" has at most {TEXT_MAX} characters")));
    }
    list(&desk, state, text.filter(|text| !text.is_empty())).await
}

async fn list(desk: &Desk, state: Option<String>, text: Option<String>) -> Result<Answer, Problem> {
    if state.as_deref().is_some_and(|state| WorkState::parse(state).is_none()) {
        return Err(Problem::bad("\"state\" is open, sent, done or cancelled"));
    }
    Ok(json(&desk.services.worklist.orders(state, text).await.map_err(problem)?))
}

/// `POST /api/v1/worklist`
pub(super) async fn add(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let wanted: OrderWanted = call.json()?;
    let wanted = wanted
        .checked()
        .map_err(|faults| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "worklist", faults.join("; ")))?;
    let tests = wanted.tests.len();
    let detail = format!("an order of {tests} test{}", if tests == 1 { "" } else { "s" });
    let audit = line(&call, "worklist.add", detail)?;
    let id = desk.services.worklist.add(wanted, audit).await.map_err(problem)?;
    let mut made = json(&object!({ "id": id }));
    *made.status_mut() = StatusCode::CREATED;
    Ok(made)
}

/// `POST /api/v1/worklist/{id}/cancel`
pub(super) async fn cancel(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let id = call.id()?;
    let audit = line(&call, "worklist.cancel", format!("order {id}"))?;
    desk.services.worklist.cancel(id, audit).await.map_err(problem)?;
    Ok(empty(StatusCode::NO_CONTENT))
}

fn line(call: &Call, what: &str, target: String) -> Result<NewAudit, Problem> {
    let who = call.presence()?.user.clone();
    Ok(NewAudit { who, what: what.into(), detail: format!("done {target} from {}", call.peer) })
}

fn problem(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::Conflict(why) => Problem::new(StatusCode::CONFLICT, "worklist", why),
        Refusal::Asks { code, why } => Problem::new(StatusCode::CONFLICT, code, why),
        Refusal::Unknown => Problem::not_found(),
        Refusal::Failed(why) => Problem::unavailable(why),
    }
}
