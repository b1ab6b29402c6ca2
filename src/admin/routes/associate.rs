//! Devices and patients: who is on which device. Each change goes into the audit trail with it, by number and device,
//! never by the patient.

use std::sync::Arc;

use warp::http::StatusCode;
use warp::reply::Response as Answer;

use super::call::Call;
use crate::admin::admission::Sight;
use crate::admin::answer::{Problem, json};
use crate::admin::association::{
    AssociationWanted, CorrectionWanted, DoubtsWanted, EndWanted, HomeWanted, Scanned,
};
use crate::admin::command::Refusal;
use crate::admin::desk::Desk;
use crate::buffer::NewAudit;

/// `GET /api/v1/associations`
pub(super) async fn standing(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let sight = desk.sight(call.presence()?).await?;
    let mut standing = desk.services.associations.standing().await.map_err(problem)?;
    standing.devices.retain(|device| sight.covers(&device.key));
    Ok(json(&standing))
}

/// `GET /api/v1/associations/devices/{key}`
pub(super) async fn timeline(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let device = call.parameter()?.to_owned();
    desk.sight(call.presence()?).await?.check(Some(&device))?;
    Ok(json(&desk.services.associations.timeline(device).await.map_err(problem)?))
}

/// `GET /api/v1/associations/doubts?state=&device=&after=`
pub(super) async fn doubts(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let state = call.asked("state");
    if state.is_some_and(|state| !matches!(state, "orphan" | "conflict" | "review")) {
        return Err(Problem::bad("\"state\" is orphan, conflict or review"));
    }
    let wanted = DoubtsWanted {
        device: call.asked("device").map(ToOwned::to_owned),
        state: state.map(ToOwned::to_owned),
        after: call.number("after", 0..=i64::MAX)?.unwrap_or(0),
    };
    Ok(json(&desk.services.associations.doubts(wanted).await.map_err(problem)?))
}

/// `POST /api/v1/associations/find`: what was scanned may be a wristband, which no address may hold.
pub(super) async fn find(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let Scanned { code } = call.json()?;
    let found = desk.services.associations.find(code).await.map_err(problem)?;
    desk.sight(call.presence()?).await?.check(Some(&found.key))?;
    Ok(json(&found))
}

/// `POST /api/v1/associations`
pub(super) async fn associate(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let wanted: AssociationWanted = call.json()?;
    seen(&desk, &call, &wanted.device).await?;
    let how = if wanted.scanned { "scanned" } else { "typed" };
    let audit = line(&call, "association.make", format!("{how}{}", because(wanted.reason.as_deref())))?;
    let done = desk.services.associations.associate(wanted, audit).await.map_err(problem)?;
    let mut made = json(&done);
    *made.status_mut() = StatusCode::CREATED;
    Ok(made)
}

/// `POST /api/v1/associations/{id}/end`
pub(super) async fn end(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let id = call.id()?;
    let wanted: EndWanted = if call.body.is_empty() { EndWanted::default() } else { call.json()? };
    held(&desk, &call, id).await?;
    let detail = format!("association {id}{}", because(wanted.reason.as_deref()));
    let audit = line(&call, "association.end", detail)?;
    Ok(json(&desk.services.associations.end(id, wanted, audit).await.map_err(problem)?))
}

/// `POST /api/v1/associations/{id}/correct`
pub(super) async fn correct(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let id = call.id()?;
    let wanted: CorrectionWanted = call.json()?;
    held(&desk, &call, id).await?;
    let detail = format!("association {id}{}", because(Some(&wanted.reason)));
    let audit = line(&call, "association.correct", detail)?;
    Ok(json(&desk.services.associations.correct(id, wanted, audit).await.map_err(problem)?))
}

/// `POST /api/v1/associations/home`
pub(super) async fn home(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let wanted: HomeWanted = call.json()?;
    // Who may use only some places does not say which devices stand in them.
    if !matches!(desk.sight(call.presence()?).await?, Sight::All) {
        return Err(Problem::new(StatusCode::FORBIDDEN, "place", "you may not say where devices stand"));
    }
    let what = if wanted.place.is_some() { "given a place" } else { "without a place" };
    let audit = line(&call, "association.home", what.into())?;
    Ok(json(&desk.services.associations.home(wanted, audit).await.map_err(problem)?))
}

/// Whether the device a key or a code stands for is in sight of whoever asks.
async fn seen(desk: &Desk, call: &Call, device: &str) -> Result<(), Problem> {
    let sight = desk.sight(call.presence()?).await?;
    if matches!(sight, Sight::All) {
        return Ok(());
    }
    let found = desk.services.associations.find(device.to_owned()).await.map_err(problem)?;
    sight.check(Some(&found.key))
}

/// Whether the association is one of a device in sight of whoever asks.
async fn held(desk: &Desk, call: &Call, id: i64) -> Result<(), Problem> {
    let sight = desk.sight(call.presence()?).await?;
    let Sight::Only(keys) = sight else { return Ok(()) };
    for key in keys {
        // A device that is named in somebody's limits and was never heard of has no time.
        let Ok(time) = desk.services.associations.timeline(key).await else { continue };
        if time.associations.iter().any(|one| one.id == id) {
            return Ok(());
        }
    }
    Err(Problem::not_found())
}

/// That there is a reason; its words stay with the association, for they may name somebody.
fn because(reason: Option<&str>) -> &'static str {
    if reason.is_some_and(|reason| !reason.trim().is_empty()) { ", with a reason" } else { "" }
}

fn line(call: &Call, what: &str, detail: String) -> Result<NewAudit, Problem> {
    let who = call.presence()?.user.clone();
    Ok(NewAudit { who, what: what.into(), detail: format!("done {detail} from {}", call.peer) })
}

fn problem(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::Conflict(why) => Problem::new(StatusCode::CONFLICT, "association", why),
        Refusal::Asks { code, why } => Problem::new(StatusCode::CONFLICT, code, why),
        Refusal::Unknown => Problem::not_found(),
        Refusal::Failed(why) => Problem::unavailable(why),
    }
}
