//! Pairing: what is unknown, and what a person decides about it. Each decision is written into the audit trail
//! before it is done.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};
use warp::http::StatusCode;
use warp::reply::Response as Answer;

use super::call::Call;
use super::says::{PAIRING, Says, says};
use crate::admin::answer::{Problem, empty, json};
use crate::admin::command::Refusal;
use crate::admin::desk::Desk;
use crate::admin::explain::Explained;
use crate::admin::pairing::{Accepted, PortView, ScanView, ScanWanted, Sender, Standing};
use crate::admin::store::{AuditRow, Outcome};

/// A sender and the profile somebody chose for it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SenderChoice)]
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

/// What was made, by its name.
#[derive(Serialize, ToSchema)]
pub(super) struct Named {
    pub(super) name: String,
}

/// The serial ports of this box.
#[derive(Serialize, ToSchema)]
#[schema(as = SerialPorts)]
struct Ports {
    ports: Vec<PortView>,
}

/// The keys of a `[[link]]` section; what each means stands in `bedside config example`.
enum LinkSection {}

impl PartialSchema for LinkSection {
    fn schema() -> RefOr<Schema> {
        let text = || ObjectBuilder::new().schema_type(Type::String);
        ObjectBuilder::new()
            .schema_type(Type::Object)
            .description(Some("The keys of a `[[link]]` section, as `bedside config example` explains them."))
            .property("name", text())
            .required("name")
            .property("profile", text())
            .required("profile")
            .into()
    }
}

impl ToSchema for LinkSection {
    fn name() -> Cow<'static, str> {
        "LinkWanted".into()
    }
}

/// Nothing of what was asked could be done.
pub(super) const NOT_SO: &[(u16, &str)] = &[(409, "It cannot be so; the detail says why")];
const NONE_SUCH: &[(u16, &str)] =
    &[(404, "No such sender or profile"), (409, "It cannot be so; the detail says why")];

pub(super) const STANDING: Says =
    says("pairing", PAIRING, "Unknown senders, links and profiles to choose from")
        .gives::<Standing>(200, "How it stands");

/// `GET /api/v1/pairing`
pub(super) async fn standing(desk: Arc<Desk>, _call: Call) -> Result<Answer, Problem> {
    Ok(json(&desk.services.pairing.standing().await))
}

pub(super) const PREVIEW: Says =
    says("previewPairing", PAIRING, "What a sender's latest message says when it is read with a profile")
        .takes::<Choice>()
        .gives::<Explained>(200, "What it says")
        .refuses(NONE_SUCH);

/// `POST /api/v1/pairing/preview`: what a candidate's latest message would say.
pub(super) async fn preview(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let choice: Choice = call.json()?;
    let explained = desk.services.pairing.preview(choice.who(), choice.profile).await.map_err(problem)?;
    Ok(json(&explained))
}

pub(super) const ACCEPT: Says =
    says("acceptSender", PAIRING, "Reads a sender with a profile from now on, and what was held of it")
        .takes::<Choice>()
        .gives::<Accepted>(200, "What became of what was held")
        .refuses(NONE_SUCH);

/// `POST /api/v1/pairing/accept`
pub(super) async fn accept(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let choice: Choice = call.json()?;
    let target = format!("{} of {} as {}", choice.sender, choice.link, choice.profile);
    let done = desk.services.pairing.accept(choice.who(), choice.profile);
    let accepted = audited(&desk, &call, "pairing.accept", target, done).await?;
    Ok(json(&accepted))
}

pub(super) const FORGET: Says =
    says("forgetSender", PAIRING, "The sender is unknown again").takes::<Sender>().refuses(NONE_SUCH);

/// `POST /api/v1/pairing/forget`
pub(super) async fn forget(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let who: Sender = call.json()?;
    let target = format!("{} of {}", who.sender, who.link);
    audited(&desk, &call, "pairing.forget", target, desk.services.pairing.forget(who)).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

pub(super) const ADD_LINK: Says = says("addLink", PAIRING, "Makes and starts a link")
    .takes::<LinkSection>()
    .gives::<Named>(201, "It runs")
    .refuses(&[(409, "The link is not right, or the name is taken; the detail says where and why")]);

/// `POST /api/v1/pairing/links`: the keys of a `[[link]]` section.
pub(super) async fn add_link(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let link: serde_json::Value = call.json()?;
    let target = link.get("name").and_then(|name| name.as_str()).unwrap_or_default().to_owned();
    let name = audited(&desk, &call, "link.add", target, desk.services.pairing.add_link(link)).await?;
    let mut made = json(&Named { name });
    *made.status_mut() = StatusCode::CREATED;
    Ok(made)
}

pub(super) const REMOVE_LINK: Says =
    says("removeLink", PAIRING, "Stops and removes a link made at the desk").refuses(NOT_SO);

/// `POST /api/v1/pairing/links/{name}/remove`
pub(super) async fn remove_link(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let name = call.parameter()?.to_owned();
    let done = desk.services.pairing.remove_link(name.clone());
    audited(&desk, &call, "link.remove", name, done).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

pub(super) const PORTS: Says =
    says("serialPorts", PAIRING, "The serial ports of this box").gives::<Ports>(200, "The ports");

/// `GET /api/v1/pairing/ports`
pub(super) async fn ports(desk: Arc<Desk>, _call: Call) -> Result<Answer, Problem> {
    Ok(json(&Ports { ports: desk.services.pairing.ports().await }))
}

pub(super) const SCAN: Says =
    says("startScan", PAIRING, "Begins to listen on a serial port and to try the known profiles")
        .takes::<ScanWanted>()
        .does(202, "It has begun; ask how it goes")
        .refuses(NONE_SUCH);

/// `POST /api/v1/pairing/scan`
pub(super) async fn scan(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let wanted: ScanWanted = call.json()?;
    let target = format!("{}{}", wanted.port, if wanted.ask { ", asking" } else { "" });
    audited(&desk, &call, "pairing.scan", target, desk.services.pairing.scan(wanted)).await?;
    Ok(empty(StatusCode::ACCEPTED))
}

pub(super) const SCANNING: Says = says("scan", PAIRING, "How the scan stands")
    .gives::<ScanView>(200, "How far it has come")
    .or_nothing(204, "There was none yet");

/// `GET /api/v1/pairing/scan`
pub(super) async fn scanning(desk: Arc<Desk>, _call: Call) -> Result<Answer, Problem> {
    Ok(desk.services.pairing.scanning().map_or_else(|| empty(StatusCode::NO_CONTENT), |scan| json(&scan)))
}

pub(super) const STOP_SCAN: Says = says("stopScan", PAIRING, "Ends the scan");

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
