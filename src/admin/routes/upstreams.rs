//! Setting up the main FHIR server: what it is, the keys of this box, whether it works.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use warp::http::StatusCode;
use warp::reply::Response as Answer;

use super::act::Tested;
use super::call::Call;
use super::pair::{audited, problem};
use super::says::{Says, UPSTREAM, says};
use crate::admin::answer::{Problem, empty, json};
use crate::admin::desk::Desk;
use crate::admin::upstreams::{Applied, KeyView, Page, SetUp};
use crate::upstream::Discovered;

/// A server may take its time to answer each step.
const PATIENCE: Duration = Duration::from_secs(100);

/// The keys of `[upstream]`.
fn page(call: &Call) -> Result<Value, Problem> {
    let page: Value = call.json()?;
    if page.is_object() { Ok(page) } else { Err(Problem::bad("the keys of an [upstream] section as JSON")) }
}

fn base(page: &Value) -> String {
    page.get("base").and_then(Value::as_str).unwrap_or_default().to_owned()
}

async fn in_time<T>(doing: impl Future<Output = T>) -> Result<T, Problem> {
    let slow = |_| Problem::unavailable("a server did not answer in time");
    tokio::time::timeout(PATIENCE, doing).await.map_err(slow)
}

pub(super) const SET_UP: Says =
    says("upstreamSetUp", UPSTREAM, "How the server is set up, and the keys of this box")
        .gives::<SetUp>(200, "How it is set up")
        .refuses(&[(404, "There is no such thing"), (409, "It cannot be so; the detail says why")]);

/// `GET /api/v1/upstream/setup`
pub(super) async fn set_up(desk: Arc<Desk>, _call: Call) -> Result<Answer, Problem> {
    Ok(json(&desk.services.upstreams.set_up().await.map_err(problem)?))
}

pub(super) const DISCOVER: Says = says("discoverUpstream", UPSTREAM, "What a server says of itself")
    .takes::<Page>()
    .gives::<Discovered>(200, "SMART configuration and capabilities")
    .refuses(&[(404, "There is no such thing"), (409, "It cannot be so; the detail says why")]);

/// `POST /api/v1/upstream/discover`
pub(super) async fn discover(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let page = page(&call)?;
    let target = base(&page);
    let asking = audited(&desk, &call, "upstream.discover", target, desk.services.upstreams.discover(page));
    Ok(json(&in_time(asking).await??))
}

pub(super) const TRY_OUT: Says =
    says("tryUpstream", UPSTREAM, "Tests each step with a page that is not in force")
        .takes::<Page>()
        .gives::<Tested>(200, "The steps")
        .refuses(&[(404, "There is no such thing"), (409, "It cannot be so; the detail says why")]);

/// `POST /api/v1/upstream/try`: as the test, with a page that is not in force.
pub(super) async fn try_out(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let page = page(&call)?;
    let target = base(&page);
    let asking = audited(&desk, &call, "upstream.try", target, desk.services.upstreams.test(page));
    Ok(json(&Tested { steps: in_time(asking).await?? }))
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct NewKey {
    algorithm: String,
}

pub(super) const NEW_KEY: Says = says("makeUpstreamKey", UPSTREAM, "Makes a key pair on the box")
    .takes::<NewKey>()
    .gives::<KeyView>(201, "Its public half")
    .refuses(&[(404, "There is no such thing"), (409, "It cannot be so; the detail says why")]);

/// `POST /api/v1/upstream/keys`
pub(super) async fn new_key(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let NewKey { algorithm } = call.json()?;
    let who = call.presence()?.user.clone();
    let doing = desk.services.upstreams.new_key(who, algorithm.clone());
    let mut made = json(&audited(&desk, &call, "upstream.key", algorithm, doing).await?);
    *made.status_mut() = StatusCode::CREATED;
    Ok(made)
}

pub(super) const ROTATE: Says = says("rotateUpstreamKey", UPSTREAM, "The successor becomes the key in use")
    .gives::<Applied>(200, "The box starts anew")
    .refuses(&[(404, "There is no such thing"), (409, "It cannot be so; the detail says why")]);

/// `POST /api/v1/upstream/keys/rotate`
pub(super) async fn rotate(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let doing = desk.services.upstreams.rotate();
    Ok(json(&audited(&desk, &call, "upstream.rotate", String::new(), doing).await?))
}

pub(super) const DROP_NEXT: Says = says("dropUpstreamKey", UPSTREAM, "Forgets the successor")
    .refuses(&[(404, "There is no such thing"), (409, "It cannot be so; the detail says why")]);

/// `POST /api/v1/upstream/keys/drop`
pub(super) async fn drop_next(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let doing = desk.services.upstreams.drop_next();
    audited(&desk, &call, "upstream.key-drop", String::new(), doing).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

pub(super) const SAVE: Says = says("saveUpstream", UPSTREAM, "Puts a server in force")
    .takes::<Page>()
    .gives::<Applied>(200, "The box starts anew")
    .refuses(&[(404, "There is no such thing"), (409, "It cannot be so; the detail says why")]);

/// `POST /api/v1/upstream/save`
pub(super) async fn save(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let page = page(&call)?;
    let (target, who) = (base(&page), call.presence()?.user.clone());
    let doing = desk.services.upstreams.save(who, page);
    Ok(json(&audited(&desk, &call, "upstream.save", target, doing).await?))
}

pub(super) const REMOVE: Says = says("removeUpstream", UPSTREAM, "There is no server any more")
    .gives::<Applied>(200, "The box starts anew")
    .refuses(&[(404, "There is no such thing"), (409, "It cannot be so; the detail says why")]);

/// `POST /api/v1/upstream/remove`
pub(super) async fn remove(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let doing = desk.services.upstreams.remove();
    Ok(json(&audited(&desk, &call, "upstream.remove", String::new(), doing).await?))
}
