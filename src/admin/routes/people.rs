//! The patient index. Whoever looks at a patient is written down, by the number the box gave them.

use std::sync::Arc;

use warp::http::StatusCode;
use warp::reply::Response as Answer;

use super::call::Call;
use super::says::{PATIENTS, Says, says};
use crate::admin::answer::{Problem, json};
use crate::admin::command::Refusal;
use crate::admin::desk::Desk;
use crate::admin::people::{PersonDetail, Places, Search, SearchWanted, Unmerged};
use crate::admin::store::{AuditRow, Outcome};
use crate::buffer::NewAudit;

/// Persons shown at once.
const SHOWN: u32 = 50;
const SHOWN_MAX: u32 = 200;
/// Longest text that is looked for.
const TEXT_MAX: usize = 200;

pub(super) const SEARCH: Says =
    says("findPeople", PATIENTS, "Persons by name, number or birth date; written into the audit trail")
        .takes::<SearchWanted>()
        .gives::<Search>(200, "Who was found, and how old the knowledge is");

/// `POST /api/v1/people`
pub(super) async fn search(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let wanted: SearchWanted = call.json()?;
    if wanted.text.chars().count() > TEXT_MAX || wanted.text.chars().any(char::is_control) {
        return Err(Problem::bad(format!("\"text\" has at most {TEXT_MAX} printable characters")));
    }
    let limit = wanted.limit.unwrap_or(SHOWN);
    if !(1..=SHOWN_MAX).contains(&limit) {
        return Err(Problem::bad(format!("\"limit\" is a whole number from 1 to {SHOWN_MAX}")));
    }
    let found = desk.services.people.search(wanted.text, limit).await.map_err(problem)?;
    seen(&desk, &call, "patient.search", format!("{} found", found.people.len())).await?;
    Ok(json(&found))
}

pub(super) const PERSON: Says =
    says("person", PATIENTS, "Everything about one person; written into the audit trail")
        .gives::<PersonDetail>(200, "The person, or who answers for them since a merge");

/// `GET /api/v1/people/{id}`
pub(super) async fn person(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let id = call.id()?;
    let person = desk.services.people.person(id).await.map_err(problem)?;
    seen(&desk, &call, "patient.view", format!("patient {id}")).await?;
    Ok(json(&person))
}

pub(super) const PLACES: Says = says("places", PATIENTS, "Who lies where; written into the audit trail")
    .gives::<Places>(200, "By facility, ward, room and bed");

/// `GET /api/v1/places`
pub(super) async fn places(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let places = desk.services.people.places().await.map_err(problem)?;
    seen(&desk, &call, "patient.places", format!("{} places", places.places.len())).await?;
    Ok(json(&places))
}

pub(super) const UNMERGE: Says = says("undoMerge", PATIENTS, "Takes a merge of two persons back")
    .gives::<Unmerged>(200, "It is taken back")
    .refuses(&[(409, "It was taken back already")]);

/// `POST /api/v1/people/merges/{id}/undo`
pub(super) async fn unmerge(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let id = call.id()?;
    let who = call.presence()?.user.clone();
    let detail = format!("done merge {id} from {}", call.peer);
    let audit = NewAudit { who, what: "patient.unmerge".into(), detail };
    Ok(json(&desk.services.people.unmerge(id, audit).await.map_err(problem)?))
}

/// Writes down that somebody looked, before they see it.
async fn seen(desk: &Desk, call: &Call, action: &'static str, target: String) -> Result<(), Problem> {
    let presence = call.presence()?;
    let line = desk.line(Some(&presence.user), action, Outcome::Done, call.peer);
    desk.audit(AuditRow { target: Some(target), ..line }).await
}

fn problem(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::Conflict(why) => Problem::new(StatusCode::CONFLICT, "patients", why),
        Refusal::Asks { code, why } => Problem::new(StatusCode::CONFLICT, code, why),
        Refusal::Unknown => Problem::not_found(),
        Refusal::Failed(why) => Problem::unavailable(why),
    }
}
