//! Finishing the set-up: what of it is done, what is open, and who and where the box is.

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::Object;
use warp::http::StatusCode;
use warp::reply::Response as Answer;

use super::call::Call;
use super::pair::{audited, problem};
use super::says::{BOX, Says, says};
use crate::admin::answer::{Problem, empty, json};
use crate::admin::command::Refusal;
use crate::admin::desk::Desk;
use crate::admin::json::words;
use crate::admin::site::{PutOff, SitePage, SiteView, Step};
use crate::admin::upstreams::Applied;

/// How far the set-up has come, read from what the box really has.
#[derive(Serialize, ToSchema)]
pub(super) struct FirstSteps {
    steps: Vec<StepView>,
    /// Steps that are neither done nor put off.
    pub(super) open: usize,
    /// Nobody has done or put off any of it at the desk.
    pub(super) untouched: bool,
    site: SiteView,
}

impl FirstSteps {
    /// Somebody wants to hear no more of it.
    pub(super) const fn away(&self) -> bool {
        self.site.put_off.away
    }
}

/// One step.
#[derive(Serialize, ToSchema)]
#[schema(as = SetupStepView)]
struct StepView {
    step: Step,
    /// `done`, `open` or `later`.
    #[schema(schema_with = states)]
    state: &'static str,
    /// Where it stands: a server's name, a link's; nothing where it does not.
    what: Vec<String>,
}

fn states() -> Object {
    words(&["done", "open", "later"])
}

/// What the box has of each step, and by what name.
async fn had(desk: &Desk, site: &SiteView, step: Step) -> Result<(bool, Vec<String>), Refusal> {
    Ok(match step {
        Step::Site => {
            let said = [&site.name, &site.zone];
            let names = said.iter().filter(|said| said.source != "default");
            let names: Vec<String> = names.map(|said| said.value.clone()).collect();
            (names.len() == said.len(), names)
        }
        Step::Time => (site.clock.state == "synchronised", site.clock.servers.clone()),
        Step::Upstream => {
            let server = desk.services.upstreams.set_up().await?;
            let name = server.page.as_ref().and_then(|page| page.get("name")?.as_str().map(str::to_owned));
            (server.source != "none" && server.trouble.is_none(), name.into_iter().collect())
        }
        Step::Device => {
            let standing = desk.services.pairing.standing().await;
            let one = |profile: &str| !MANY.contains(&profile);
            let links = standing.links.iter().filter(|link| one(&link.profile));
            let names: Vec<String> = links.map(|link| link.name.to_string()).take(NAMED_MAX).collect();
            (!names.is_empty() || !standing.senders.is_empty(), names)
        }
    })
}

/// What a link's profile says where it is for whoever sends: no device by itself.
const MANY: [&str; 2] = ["by-sender", "hl7-system"];
/// Links that are named beside the step.
const NAMED_MAX: usize = 5;

/// How far it has come.
pub(super) async fn first_steps(desk: &Desk) -> Result<FirstSteps, Refusal> {
    let site = desk.services.site.told().await?;
    let mut steps = Vec::with_capacity(Step::ALL.len());
    for step in Step::ALL {
        let (done, what) = had(desk, &site, step).await?;
        let state = match done {
            true => "done",
            false if site.put_off.later.contains(&step) => "later",
            false => "open",
        };
        steps.push(StepView { step, state, what });
    }
    let by_desk = [&site.name, &site.gateway, &site.zone].iter().any(|said| said.source == "desk");
    let made =
        steps.iter().any(|one| one.state == "done" && matches!(one.step, Step::Upstream | Step::Device));
    Ok(FirstSteps {
        open: steps.iter().filter(|one| one.state == "open").count(),
        untouched: !by_desk && !made && site.put_off == PutOff::default(),
        steps,
        site,
    })
}

pub(super) const STEPS: Says =
    says("firstSteps", BOX, "How far the set-up has come").gives::<FirstSteps>(200, "Steps and names");

/// `GET /api/v1/first-steps`
pub(super) async fn steps(desk: Arc<Desk>, _call: Call) -> Result<Answer, Problem> {
    Ok(json(&first_steps(&desk).await.map_err(problem)?))
}

pub(super) const PUT_OFF: Says =
    says("putOffSteps", BOX, "Puts off steps of the set-up, or takes them up again").takes::<PutOff>();

/// `POST /api/v1/first-steps`
pub(super) async fn put_off(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let off: PutOff = call.json()?;
    if off.later.len() > Step::ALL.len() {
        return Err(Problem::bad("each step once"));
    }
    let words: Vec<String> = off.later.iter().map(|step| format!("{step:?}").to_lowercase()).collect();
    let away = if off.away { "away; " } else { "" };
    let target = format!("{away}later: {}", words.join(", "));
    audited(&desk, &call, "setup.put-off", target, desk.services.site.put_off(off)).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

pub(super) const SAVE: Says = says("saveSite", BOX, "Says who and where the box is")
    .takes::<SitePage>()
    .gives::<Applied>(200, "The box starts anew, where `back_in_s` is not 0")
    .refuses(&[(409, "It cannot be so; the detail says why. `zone-from`: say from when the zone counts")]);

/// `POST /api/v1/site`
pub(super) async fn save(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let page: SitePage = call.json()?;
    let mut said = Vec::new();
    said.extend(page.name.as_ref().map(|name| format!("name {name}")));
    said.extend(page.gateway.as_ref().map(|name| format!("box {name}")));
    said.extend(page.zone.as_ref().map(|zone| match page.zone_from {
        Some(from) => format!("zone {zone} ({})", format!("{from:?}").to_lowercase()),
        None => format!("zone {zone}"),
    }));
    said.extend(page.time_server.as_ref().map(|server| format!("time server {server}")));
    let doing = desk.services.site.save(page);
    Ok(json(&audited(&desk, &call, "site.save", said.join(", "), doing).await?))
}
