//! Devices and patients: who is on which device. Each change goes into the audit trail with it, by number and device,
//! never by the patient.

use std::sync::Arc;

use warp::http::StatusCode;
use warp::reply::Response as Answer;

use super::call::Call;
use super::says::{ASSOCIATIONS, Says, number, says, text, word};
use crate::admin::admission::Sight;
use crate::admin::answer::{Problem, json};
use crate::admin::association::{
    AssociationWanted, CorrectionWanted, DeviceView, Done, Doubts, DoubtsWanted, EndWanted, HomeWanted,
    Scanned, Standing, Timeline,
};
use crate::admin::command::Refusal;
use crate::admin::desk::Desk;
use crate::buffer::NewAudit;

pub(super) const STANDING: Says = says("associations", ASSOCIATIONS, "Every device and who is on it now")
    .gives::<Standing>(200, "Devices, what waits, and the rules of the site");

/// `GET /api/v1/associations`
pub(super) async fn standing(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let sight = desk.sight(call.presence()?).await?;
    let mut standing = desk.services.associations.standing().await.map_err(problem)?;
    standing.devices.retain(|device| sight.covers(&device.key));
    Ok(json(&standing))
}

pub(super) const TIMELINE: Says =
    says("deviceTimeline", ASSOCIATIONS, "All that is known of one device's time")
        .gives::<Timeline>(200, "Associations and places, the latest first, void ones too");

/// `GET /api/v1/associations/devices/{key}`
pub(super) async fn timeline(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let device = call.parameter()?.to_owned();
    desk.sight(call.presence()?).await?.check(Some(&device))?;
    Ok(json(&desk.services.associations.timeline(device).await.map_err(problem)?))
}

const DOUBTFUL: &[&str] = &["orphan", "conflict", "review"];

pub(super) const DOUBTS: Says =
    says("associationDoubts", ASSOCIATIONS, "Held messages that wait for somebody to say whose they are")
        .asks(&[
            word("state", DOUBTFUL, "only those in this state"),
            text("device", "only those of the device with this key"),
            number("after", 0, i64::MAX, "only entries after this one: `next` of the page before"),
        ])
        .gives::<Doubts>(200, "Oldest first, 200 at most");

/// `GET /api/v1/associations/doubts?state=&device=&after=`
pub(super) async fn doubts(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let wanted = DoubtsWanted {
        device: call.asked("device").map(ToOwned::to_owned),
        state: call.asked("state").map(ToOwned::to_owned),
        after: call.number("after", 0..=i64::MAX)?.unwrap_or(0),
    };
    Ok(json(&desk.services.associations.doubts(wanted).await.map_err(problem)?))
}

pub(super) const FIND: Says =
    says("findDevice", ASSOCIATIONS, "The device a scanned or typed code stands for")
        .takes::<Scanned>()
        .gives::<DeviceView>(200, "The device")
        .refuses(&[
            (404, "No device has this code"),
            (409, "Several have it (`association-several-devices`)"),
        ]);

/// `POST /api/v1/associations/find`: what was scanned may be a wristband, which no address may hold.
pub(super) async fn find(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let Scanned { code } = call.json()?;
    let found = desk.services.associations.find(code).await.map_err(problem)?;
    desk.sight(call.presence()?).await?.check(Some(&found.key))?;
    Ok(json(&found))
}

pub(super) const ASSOCIATE: Says = says("associate", ASSOCIATIONS, "Says that a device is with a patient")
    .takes::<AssociationWanted>()
    .gives::<Done>(201, "It is, and messages went out or were corrected accordingly")
    .refuses(&[
        (404, "No such device"),
        (
            409,
            "It cannot be, or it is asked back whether it is meant: `association-taken` (send `replace`), \
             `association-unknown-person` (send `unknown`), `association-several-people` (say `patient.system`), \
             `association-several-devices`",
        ),
    ]);

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

pub(super) const END: Says = says("endAssociation", ASSOCIATIONS, "The device is with the patient no more")
    .may_take::<EndWanted>()
    .gives::<Done>(200, "It has ended")
    .refuses(&[(409, "It cannot end so")]);

/// `POST /api/v1/associations/{id}/end`
pub(super) async fn end(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let id = call.id()?;
    let wanted: EndWanted = if call.body.is_empty() { EndWanted::default() } else { call.json()? };
    held(&desk, &call, id).await?;
    let detail = format!("association {id}{}", because(wanted.reason.as_deref()));
    let audit = line(&call, "association.end", detail)?;
    Ok(json(&desk.services.associations.end(id, wanted, audit).await.map_err(problem)?))
}

pub(super) const CORRECT: Says =
    says("correctAssociation", ASSOCIATIONS, "It never was, or otherwise than it was said")
        .takes::<CorrectionWanted>()
        .gives::<Done>(200, "It is put right; `id` is what stands in its place")
        .refuses(&[(409, "It cannot be so, or it is asked back as for `associate`")]);

/// `POST /api/v1/associations/{id}/correct`
pub(super) async fn correct(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let id = call.id()?;
    let wanted: CorrectionWanted = call.json()?;
    held(&desk, &call, id).await?;
    let detail = format!("association {id}{}", because(Some(&wanted.reason)));
    let audit = line(&call, "association.correct", detail)?;
    Ok(json(&desk.services.associations.correct(id, wanted, audit).await.map_err(problem)?))
}

pub(super) const HOME: Says = says("setDeviceHome", ASSOCIATIONS, "Says where a device stands")
    .takes::<HomeWanted>()
    .gives::<Done>(200, "It stands there")
    .refuses(&[(404, "No such device"), (409, "It cannot be so")]);

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
