//! Pairing: what is unknown, and what a person decides about it. Each decision is written into the audit trail
//! before it is done.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::json as object;
use warp::http::StatusCode;
use warp::reply::Response as Answer;

use super::call::Call;
use crate::admin::answer::{Problem, empty, json};
use crate::admin::command::Refusal;
use crate::admin::desk::Desk;
use crate::admin::pairing::{ScanWanted, Sender};
use crate::admin::store::{AuditRow, Outcome};

/// A sender and the profile somebody chose for it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Choice {
    link: Arc<str>,
    sender: Arc<str>,
    profile: String,
}

impl Choice {
    fn who(&self) -> Sender {
        Sender { link: self.link.clone(), sender: self.sender.clone() }
    }
}

/// `GET /api/v1/pairing`
pub(super) async fn standing(desk: Arc<Desk>, _call: Call) -> Result<Answer, Problem> {
    Ok(json(&desk.services.pairing.standing().await))
}

/// `POST /api/v1/pairing/preview`: what a candidate's latest message would say.
pub(super) async fn preview(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let choice: Choice = call.json()?;
    let explained = desk.services.pairing.preview(choice.who(), choice.profile).await.map_err(problem)?;
    Ok(json(&explained))
}

/// `POST /api/v1/pairing/accept`
pub(super) async fn accept(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let choice: Choice = call.json()?;
    let target = format!("{} of {} as {}", choice.sender, choice.link, choice.profile);
    let done = desk.services.pairing.accept(choice.who(), choice.profile);
    let accepted = audited(&desk, &call, "pairing.accept", target, done).await?;
    Ok(json(&accepted))
}

/// `POST /api/v1/pairing/forget`
pub(super) async fn forget(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let who: Sender = call.json()?;
    let target = format!("{} of {}", who.sender, who.link);
    audited(&desk, &call, "pairing.forget", target, desk.services.pairing.forget(who)).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// `POST /api/v1/pairing/links`: the keys of a `[[link]]` section.
pub(super) async fn add_link(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let link: serde_json::Value = call.json()?;
    let target = link.get("name").and_then(|name| name.as_str()).unwrap_or_default().to_owned();
    let name = audited(&desk, &call, "link.add", target, desk.services.pairing.add_link(link)).await?;
    let mut made = json(&object!({ "name": name }));
    *made.status_mut() = StatusCode::CREATED;
    Ok(made)
}

/// `POST /api/v1/pairing/links/{name}/remove`
pub(super) async fn remove_link(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let name = call.parameter()?.to_owned();
    let done = desk.services.pairing.remove_link(name.clone());
    audited(&desk, &call, "link.remove", name, done).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// `GET /api/v1/pairing/ports`
pub(super) async fn ports(desk: Arc<Desk>, _call: Call) -> Result<Answer, Problem> {
    Ok(json(&object!({ "ports": desk.services.pairing.ports().await })))
}

/// `POST /api/v1/pairing/scan`
pub(super) async fn scan(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let wanted: ScanWanted = call.json()?;
    let target = format!("{}{}", wanted.port, if wanted.ask { ", asking" } else { "" });
    audited(&desk, &call, "pairing.scan", target, desk.services.pairing.scan(wanted)).await?;
    Ok(empty(StatusCode::ACCEPTED))
}

/// `GET /api/v1/pairing/scan`
pub(super) async fn scanning(desk: Arc<Desk>, _call: Call) -> Result<Answer, Problem> {
    Ok(desk.services.pairing.scanning().map_or_else(|| empty(StatusCode::NO_CONTENT), |scan| json(&scan)))
}

/// `POST /api/v1/pairing/scan/stop`
pub(super) async fn stop_scan(desk: Arc<Desk>, _call: Call) -> Result<Answer, Problem> {
    desk.services.pairing.stop_scan();
    Ok(empty(StatusCode::NO_CONTENT))
}

/// Does what was asked between its lines in the trail: one before, and one more when it failed.
pub(super) async fn audited<T>(
    desk: &Desk,
    call: &Call,
    action: &'static str,
    target: String,
    doing: impl Future<Output = Result<T, Refusal>>,
) -> Result<T, Problem> {
    let presence = call.presence()?;
    let target: String = target.chars().filter(|c| !c.is_control()).take(TARGET_MAX).collect();
    let line = |outcome| {
        let target = Some(target.clone());
        AuditRow { target, ..desk.line(Some(&presence.user), action, outcome, call.peer) }
    };
    desk.audit(line(Outcome::Done)).await?;
    match doing.await {
        Ok(done) => Ok(done),
        Err(refusal) => {
            desk.audit(line(Outcome::Failed)).await?;
            Err(problem(refusal))
        }
    }
}

pub(super) fn problem(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::Conflict(why) => Problem::new(StatusCode::CONFLICT, "pairing", why),
        Refusal::Asks { code, why } => Problem::new(StatusCode::CONFLICT, code, why),
        Refusal::Unknown => Problem::not_found(),
        Refusal::Failed(why) => Problem::unavailable(why),
    }
}

/// What of a target goes into the trail.
const TARGET_MAX: usize = 300;
