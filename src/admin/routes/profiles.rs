//! Firmware profiles and templates: reading, trying and changing the pages by which frames are read.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use warp::http::header::{CONTENT_DISPOSITION, HeaderValue};
use warp::reply::Response as Answer;

use super::call::Call;
use super::pair::{audited, problem};
use super::says::{JsonSchema, PROFILES, Says, says};
use crate::admin::answer::{Problem, json, with_type};
use crate::admin::desk::Desk;
use crate::admin::profiles::{Applied, Checked, ProfilePage, ProfileRow, Ran, TemplateRan, Templates, Tried};
use crate::admin::store::{AuditRow, Outcome};
use crate::template::Report;

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PageText)]
struct Text {
    text: String,
}

/// A text and what it is tried on: a capture or an entry.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ProfileTrial)]
struct Trial {
    text: String,
    #[serde(default)]
    capture: Option<String>,
    #[serde(default)]
    entry: Option<i64>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Profiles)]
struct List {
    profiles: Vec<ProfileRow>,
}

pub(super) const LIST: Says = says("profiles", PROFILES, "Every firmware profile")
    .gives::<List>(200, "The profiles")
    .refuses(&[(404, "There is no such thing"), (409, "It cannot be so; the detail says why")]);

/// `GET /api/v1/profiles`
pub(super) async fn list(desk: Arc<Desk>, _call: Call) -> Result<Answer, Problem> {
    let profiles = desk.services.profiles.list().await.map_err(problem)?;
    Ok(json(&List { profiles }))
}

pub(super) const SCHEMA: Says = says("profileSchema", PROFILES, "The JSON Schema of a page")
    .gives::<JsonSchema>(200, "A JSON Schema (2020-12)");

/// `GET /api/v1/profiles/schema`: the JSON Schema of a page.
pub(super) async fn schema(_desk: Arc<Desk>, _call: Call) -> Result<Answer, Problem> {
    Ok(json(&crate::firmware_profile::page_schema()))
}

pub(super) const PAGE: Says = says("profile", PROFILES, "A page with its captures and what came lately")
    .gives::<ProfilePage>(200, "The page")
    .refuses(&[(409, "It cannot be so; the detail says why")]);

/// `GET /api/v1/profiles/{id}`
pub(super) async fn page(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let id = call.parameter()?.to_owned();
    Ok(json(&desk.services.profiles.page(id).await.map_err(problem)?))
}

pub(super) const CHECK: Says = says("checkProfile", PROFILES, "The faults of a text")
    .takes::<Text>()
    .gives::<Checked>(200, "Its faults, or what it describes");

/// `POST /api/v1/profiles/{id}/check`
pub(super) async fn check(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let Text { text } = call.json()?;
    Ok(json(&desk.services.profiles.check(call.parameter()?.to_owned(), text).await))
}

pub(super) const RUN: Says = says("runProfile", PROFILES, "What a capture or an entry says through a text")
    .takes::<Trial>()
    .gives::<Ran>(200, "What it says")
    .refuses(&[(409, "It cannot be so; the detail says why")]);

/// `POST /api/v1/profiles/{id}/run`
pub(super) async fn run(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let Trial { text, capture, entry } = call.json()?;
    let id = call.parameter()?.to_owned();
    let tried = match (capture, entry) {
        (Some(capture), None) => Tried::Capture(capture),
        (None, Some(entry)) => {
            // What an entry says is a patient's.
            looked(&desk, &call, "profile.run", format!("{id} on entry {entry}")).await?;
            Tried::Entry(entry)
        }
        _ => return Err(Problem::bad("say on what: \"capture\" or \"entry\"")),
    };
    Ok(json(&desk.services.profiles.run(id, text, tried).await.map_err(problem)?))
}

async fn looked(desk: &Desk, call: &Call, action: &'static str, target: String) -> Result<(), Problem> {
    let line = desk.line(Some(&call.presence()?.user), action, Outcome::Done, call.peer);
    desk.audit(AuditRow { target: Some(target), ..line }).await
}

pub(super) const SAVE: Says = says("saveProfile", PROFILES, "Puts a page in force")
    .takes::<Text>()
    .gives::<Applied>(200, "It is in force")
    .refuses(&[(409, "It cannot be so; the detail says why")]);

/// `POST /api/v1/profiles/{id}/save`
pub(super) async fn save(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let Text { text } = call.json()?;
    let id = call.parameter()?.to_owned();
    let who = call.presence()?.user.clone();
    let done = desk.services.profiles.save(who, id.clone(), text);
    Ok(json(&audited(&desk, &call, "profile.save", id, done).await?))
}

pub(super) const REVERT: Says = says("revertProfile", PROFILES, "Takes back what was saved at the desk")
    .gives::<Applied>(200, "It is as it was")
    .refuses(&[(409, "It cannot be so; the detail says why")]);

/// `POST /api/v1/profiles/{id}/revert`
pub(super) async fn revert(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let id = call.parameter()?.to_owned();
    let done = desk.services.profiles.revert(id.clone());
    Ok(json(&audited(&desk, &call, "profile.revert", id, done).await?))
}

pub(super) const EXPORT: Says = says("exportProfile", PROFILES, "The folder of a profile")
    .sends("application/gzip", "A tar archive")
    .refuses(&[(409, "It cannot be so; the detail says why")]);

/// `GET /api/v1/profiles/{id}/export`: the folder, packed.
pub(super) async fn export(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let id = call.parameter()?.to_owned();
    let packed = desk.services.profiles.export(id.clone()).await.map_err(problem)?;
    let plain: String =
        id.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' }).collect();
    Ok(attached(with_type("application/gzip", packed), &format!("{plain}.tar.gz")))
}

/// With the name under which the browser keeps it.
pub(super) fn attached(mut answer: Answer, name: &str) -> Answer {
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")) {
        answer.headers_mut().insert(CONTENT_DISPOSITION, value);
    }
    answer
}

pub(super) const TEMPLATES: Says =
    says("templates", PROFILES, "Every page of templates, and the messages they translate")
        .gives::<Templates>(200, "The pages")
        .refuses(&[(404, "There is no such thing"), (409, "It cannot be so; the detail says why")]);

/// `GET /api/v1/templates`
pub(super) async fn templates(desk: Arc<Desk>, _call: Call) -> Result<Answer, Problem> {
    Ok(json(&desk.services.profiles.templates().await.map_err(problem)?))
}

#[derive(Serialize, utoipa::ToSchema)]
struct TemplateText {
    name: String,
    text: String,
}

pub(super) const TEMPLATE: Says = says("template", PROFILES, "The text of a page of templates")
    .gives::<TemplateText>(200, "The text")
    .refuses(&[(409, "It cannot be so; the detail says why")]);

/// `GET /api/v1/templates/{name}`
pub(super) async fn template(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let name = call.parameter()?.to_owned();
    let text = desk.services.profiles.template(name.clone()).await.map_err(problem)?;
    Ok(json(&TemplateText { name, text }))
}

pub(super) const CHECK_TEMPLATE: Says = says("checkTemplate", PROFILES, "The faults of a page of templates")
    .takes::<Text>()
    .gives::<Report>(200, "Its faults");

/// `POST /api/v1/templates/{name}/check`
pub(super) async fn check_template(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let Text { text } = call.json()?;
    Ok(json(&desk.services.profiles.check_template(call.parameter()?.to_owned(), text).await))
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct TemplateTrial {
    entry: i64,
    #[serde(default)]
    text: Option<String>,
}

pub(super) const RUN_TEMPLATE: Says = says("runTemplate", PROFILES, "What an entry becomes by templates")
    .takes::<TemplateTrial>()
    .gives::<TemplateRan>(200, "What it becomes")
    .refuses(&[(409, "It cannot be so; the detail says why")]);

/// `POST /api/v1/templates/{name}/run`
pub(super) async fn run_template(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let TemplateTrial { entry, text } = call.json()?;
    let name = call.parameter()?.to_owned();
    looked(&desk, &call, "template.run", format!("{name} on entry {entry}")).await?;
    Ok(json(&desk.services.profiles.run_template(entry, name, text).await.map_err(problem)?))
}
