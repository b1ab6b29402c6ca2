//! The worklist: what analysers are to measure. Each change goes into the audit trail with it, by number, never by the
//! specimen's code or the patient.

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;
use warp::http::StatusCode;
use warp::reply::Response as Answer;

use super::call::Call;
use super::says::{Says, WORKLIST, says, word};
use crate::admin::answer::{Problem, empty, json};
use crate::admin::command::Refusal;
use crate::admin::desk::Desk;
use crate::admin::worklist::{OrderWanted, Orders, OrdersWanted};
use crate::buffer::NewAudit;

/// Longest text that is looked for.
const TEXT_MAX: usize = 200;

/// Which order was made.
#[derive(Serialize, ToSchema)]
#[schema(as = OrderMade)]
struct Made {
    id: i64,
}

const STATES: &[&str] = &["open", "sent", "done", "cancelled"];

pub(super) const ORDERS: Says = says("orders", WORKLIST, "Orders in a state, the latest first")
    .asks(&[word("state", STATES, "only those in this state")])
    .gives::<Orders>(200, "The orders, and how many there are in each state");

/// `GET /api/v1/worklist?state=`
pub(super) async fn orders(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let state = call.asked("state").map(ToOwned::to_owned);
    Ok(json(&desk.services.worklist.orders(state, None).await.map_err(problem)?))
}

pub(super) const FIND: Says =
    says("findOrders", WORKLIST, "Orders by specimen, number or patient, the latest first")
        .takes::<OrdersWanted>()
        .gives::<Orders>(200, "The orders, and how many there are in each state");

/// `POST /api/v1/worklist/find`: what is looked for may be a patient's name, which no address may hold.
pub(super) async fn find(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let OrdersWanted { state, text } = call.json()?;
    if text.chars().count() > TEXT_MAX || text.chars().any(char::is_control) {
        return Err(Problem::bad(format!("\"text\" has at most {TEXT_MAX} printable characters")));
    }
    let state = state.map(|state| state.word().to_owned());
    Ok(json(&desk.services.worklist.orders(state, Some(text)).await.map_err(problem)?))
}

pub(super) const ADD: Says = says("addOrder", WORKLIST, "Puts an order on the list")
    .takes::<OrderWanted>()
    .gives::<Made>(201, "It is on the list")
    .refuses(&[
        (409, "The specimen has an open order for the same tests"),
        (422, "What is wrong, field by field"),
    ]);

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
    let mut made = json(&Made { id });
    *made.status_mut() = StatusCode::CREATED;
    Ok(made)
}

pub(super) const CANCEL: Says =
    says("cancelOrder", WORKLIST, "Takes back an order that no result has come for")
        .refuses(&[(409, "The state does not allow it")]);

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
