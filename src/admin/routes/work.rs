//! The worklist: what analysers are to measure. Each change goes into the audit trail with it, by number, never by the
//! specimen's code or the patient.

use std::sync::Arc;

use serde_json::json as object;
use warp::http::StatusCode;
use warp::reply::Response as Answer;

use super::call::Call;
use crate::admin::answer::{Problem, empty, json};
use crate::admin::command::Refusal;
use crate::admin::desk::Desk;
use crate::admin::worklist::OrderWanted;
use crate::buffer::{NewAudit, WorkState};

/// `GET /api/v1/worklist?state=&q=`
pub(super) async fn orders(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let state = call.asked("state");
    if state.is_some_and(|state| WorkState::parse(state).is_none()) {
        return Err(Problem::bad("\"state\" is open, sent, done or cancelled"));
    }
    let (state, text) = (state.map(ToOwned::to_owned), call.asked("q").map(ToOwned::to_owned));
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
