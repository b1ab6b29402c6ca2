//! Looking: overview, devices, entries, upstream. Nothing here changes anything.

use std::collections::HashSet;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value as Json, json as object};
use utoipa::ToSchema;
use utoipa::openapi::Object;
use warp::reply::Response as Answer;

use super::call::Call;
use super::says::{self, DEVICES, MESSAGES, Says, number, says, text, word};
use crate::admin::admission::Sight;
use crate::admin::answer::{Problem, json};
use crate::admin::desk::Desk;
use crate::admin::explain::{Explained, StoredFrame};
use crate::admin::json::{words, words_or_null};
use crate::admin::live::{DeviceDetail, Overview, Trend, UpstreamView, WAVE_SECONDS, Wave};
use crate::admin::raw::Raw;
use crate::admin::segments::Segments;
use crate::admin::store::{
    Counts, Day, EntryDetail, EntryFilter, EntryRow, EntryState, Happened, KnownDevice, PAGE_MAX,
    UpstreamAnswer,
};

/// Entries of a page when nobody says how many.
const PAGE: u32 = 50;
/// Minutes of a trend when nobody says how many, and at most: a day.
const TREND_MINUTES: u32 = 60;
const TREND_MINUTES_MAX: u32 = 24 * 60;

/// A page of entries.
#[derive(Serialize, ToSchema)]
#[schema(as = EntryPage)]
pub(super) struct Entries {
    /// The latest first.
    pub(super) entries: Vec<EntryRow>,
    /// Ask on with `before`.
    pub(super) next: Option<i64>,
    pub(super) counts: Counts,
}

/// How it stands with the FHIR server, and the public key it knows the box by.
#[derive(Serialize, ToSchema)]
#[schema(as = Upstream)]
struct UpstreamPage {
    configured: bool,
    #[serde(flatten)]
    view: UpstreamView,
    #[schema(schema_with = auth)]
    auth: &'static str,
    client_id: Option<String>,
    /// Scopes asked for, and granted when the server said.
    scopes: Option<String>,
    granted: Option<String>,
    kid: Option<String>,
    algorithm: Option<&'static str>,
    /// RFC 7517.
    #[schema(value_type = Object)]
    jwks: Json,
    queue: Queue,
    #[schema(schema_with = mode)]
    mode: Option<&'static str>,
}

fn auth() -> Object {
    words(&["smart", "none"])
}

fn mode() -> Object {
    words_or_null(&["put", "conditional"])
}

/// What is not on the server yet.
#[derive(Serialize, ToSchema)]
#[schema(as = UpstreamQueue)]
struct Queue {
    waiting: u64,
    sent: u64,
    held: u64,
}

pub(super) const OVERVIEW: Says =
    says("overview", says::OVERVIEW, "Everything on the first page").gives::<Overview>(200, "How it stands");

/// `GET /api/v1/overview`
pub(super) async fn overview(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let sight = desk.sight(call.presence()?).await?;
    Ok(json(&desk.overview(&sight).await?))
}

pub(super) const DAY: Says =
    says("day", says::OVERVIEW, "Entries of each quarter of an hour of the last day")
        .gives::<Day>(200, "By link; for a picture");

/// `GET /api/v1/day`
pub(super) async fn day(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let sight = desk.sight(call.presence()?).await?;
    let mut day = desk.services.store.day().await?;
    if let Sight::Only(_) = &sight {
        let links = links_in(&desk, &sight).await?;
        for quarter in &mut day.quarters {
            quarter.held.retain(|link, _| links.contains(&**link));
            if let Some(entries) = &mut quarter.entries {
                entries.retain(|link, _| links.contains(&**link));
            }
        }
    }
    Ok(json(&day))
}

/// Links on which a device was heard that is in sight.
async fn links_in(desk: &Desk, sight: &Sight) -> Result<HashSet<String>, Problem> {
    let known = desk.services.store.devices().await?;
    let known = known.into_iter().filter(|device| sight.covers(&device.key)).map(|device| device.link);
    let now = desk.overview(sight).await?.devices;
    Ok(known.chain(now.iter().map(|device| device.link.to_string())).collect())
}

/// Devices by their keys.
#[derive(Serialize, ToSchema)]
struct KnownDevices {
    devices: Vec<KnownDevice>,
}

pub(super) const KNOWN: Says = says("devices", DEVICES, "Every device this box has heard of, and since when")
    .gives::<KnownDevices>(200, "Also those that are silent now");

/// `GET /api/v1/devices`
pub(super) async fn devices(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let sight = desk.sight(call.presence()?).await?;
    let mut devices = desk.services.store.devices().await?;
    devices.retain(|device| sight.covers(&device.key));
    Ok(json(&KnownDevices { devices }))
}

pub(super) const DEVICE: Says =
    says("device", DEVICES, "One device with its last values").gives::<DeviceDetail>(200, "The device");

/// `GET /api/v1/devices/{key}`
pub(super) async fn device(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    desk.sight(call.presence()?).await?.check(Some(call.parameter()?))?;
    desk.services.live.device(call.parameter()?).map(|device| json(&device)).ok_or_else(Problem::not_found)
}

pub(super) const TREND: Says = says("deviceTrend", DEVICES, "The last minutes of one metric of a device")
    .asks(&[
        text("code", "the metric: `code` of a value").needed(),
        number("minutes", 1, 24 * 60, "how far back; 60 when it is not said"),
    ])
    .gives::<Trend>(200, "The points; for a chart, not for a record");

/// `GET /api/v1/devices/{key}/trend?code=C&minutes=60`
pub(super) async fn trend(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    desk.sight(call.presence()?).await?.check(Some(call.parameter()?))?;
    let code = call.asked("code").unwrap_or_default();
    let minutes = call.number("minutes", 1..=TREND_MINUTES_MAX)?.unwrap_or(TREND_MINUTES);
    let trend = desk.services.live.trend(call.parameter()?, code, minutes);
    trend.map(|trend| json(&trend)).ok_or_else(Problem::not_found)
}

/// The waves of a device.
#[derive(Serialize, ToSchema)]
#[schema(as = DeviceWaves)]
struct Waves {
    waves: Vec<Wave>,
}

pub(super) const WAVES: Says = says("deviceWaves", DEVICES, "The last seconds of each wave of a device")
    .asks(&[number("seconds", 1, WAVE_SECONDS as i64, "how far back; 20 when it is not said")])
    .gives::<Waves>(200, "The waves; for a look, not for a record");

/// `GET /api/v1/devices/{key}/waves?seconds=20`
pub(super) async fn waves(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    desk.sight(call.presence()?).await?.check(Some(call.parameter()?))?;
    let seconds = call.number("seconds", 1..=WAVE_SECONDS)?.unwrap_or(WAVE_SECONDS);
    let waves = desk.services.live.waves(call.parameter()?, seconds).ok_or_else(Problem::not_found)?;
    Ok(json(&Waves { waves }))
}

const STATES: &[&str] = &["waiting", "sent", "accepted", "held"];

pub(super) const ENTRIES: Says = says("entries", MESSAGES, "Messages, the latest first")
    .asks(&[
        word("state", STATES, "only those in this state"),
        text("link", "only those of this link"),
        text("device", "only those of the device with this key"),
        text("from", "only those received at or after this time (RFC 3339)"),
        text("until", "only those received before this time (RFC 3339)"),
        text("type", "only messages of this kind: `ORU`, `ORU^R01`, `ASTM`, `JSON`, `XML`"),
        text("message", "only the one with this number: of its sender (MSH-10), or the entry's"),
        text("reason", "only those of the group of held entries with this key"),
        number("before", 1, i64::MAX, "only entries before this one: `next` of the page before"),
        number("limit", 1, 200, "how many at most; 50 when it is not said"),
    ])
    .gives::<Entries>(200, "A page");

/// `GET /api/v1/entries?state=&link=&device=&from=&until=&type=&message=&reason=&before=&limit=`
pub(super) async fn entries(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let filter = EntryFilter {
        state: call.asked("state").and_then(EntryState::parse),
        link: call.asked("link").map(Into::into),
        device: call.asked("device").map(Into::into),
        before: call.number("before", 1..=i64::MAX)?,
        from: call.asked("from").map(|text| super::sets::time("from", text)).transpose()?,
        until: call.asked("until").map(|text| super::sets::time("until", text)).transpose()?,
        kind: call.asked("type").map(Into::into),
        message: call.asked("message").map(Into::into),
        reason: call.asked("reason").map(Into::into),
        text: None,
        limit: call.number("limit", 1..=PAGE_MAX)?.unwrap_or(PAGE),
    };
    let store = &desk.services.store;
    let sight = desk.sight(call.presence()?).await?;
    let mut page = store.entries(filter).await?;
    // What is out of sight leaves the page shorter; asking on goes on behind it.
    page.entries.retain(|entry| sight.check(entry.device.as_deref()).is_ok());
    let counts = store.backlog().await?.counts;
    Ok(json(&Entries { entries: page.entries, next: page.next, counts }))
}

/// One entry: raw bytes → measurements → FHIR → what the server said.
#[derive(Serialize, ToSchema)]
#[schema(as = EntryDetail)]
struct EntryPage {
    #[serde(flatten)]
    row: EntryRow,
    raw: Raw,
    intact: bool,
    warnings: Vec<String>,
    #[serde(flatten)]
    explained: Explained,
    answer: Option<UpstreamAnswer>,
    timeline: Vec<Happened>,
}

pub(super) const ENTRY: Says =
    says("entry", MESSAGES, "One message: its bytes, what they say, its FHIR, what the server answered")
        .gives::<EntryPage>(200, "The message");

/// `GET /api/v1/entries/{id}`
pub(super) async fn entry(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let id = call.id()?;
    let detail = desk.services.store.entry(id).await?.ok_or_else(Problem::not_found)?;
    desk.sight(call.presence()?).await?.check(detail.row.device.as_deref())?;
    let EntryDetail { row, frame, intact, topic, sha256, warnings, answer, timeline } = detail;
    let stored = StoredFrame {
        id,
        link: row.link.clone(),
        peer: row.peer.clone(),
        received: row.received,
        bytes: frame.clone(),
        topic,
    };
    let explain = desk.services.explain.clone();
    let explained = match intact {
        true => tokio::task::spawn_blocking(move || explain.explain(&stored))
            .await
            .map_err(Problem::unavailable)?,
        // Values out of bytes that changed on the disk would be nobody's.
        false => Explained::default(),
    };
    let raw = Raw::of(&frame, sha256);
    Ok(json(&EntryPage { row, raw, intact, warnings, explained, answer, timeline }))
}

pub(super) const HL7: Says = says("entryHl7", MESSAGES, "An HL7 v2 message segment by segment")
    .gives::<Segments>(200, "The segments; empty fields are left out")
    .refuses(&[(404, "No such message, or it is no HL7 v2 message")]);

/// `GET /api/v1/entries/{id}/hl7`
pub(super) async fn hl7(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let detail = desk.services.store.entry(call.id()?).await?.ok_or_else(Problem::not_found)?;
    desk.sight(call.presence()?).await?.check(detail.row.device.as_deref())?;
    if !detail.intact {
        return Err(Problem::not_found());
    }
    let charset = desk.services.explain.charset(&detail.row.link);
    let apart = tokio::task::spawn_blocking(move || Segments::of(&detail.frame, charset));
    let segments = apart.await.map_err(Problem::unavailable)?.ok_or_else(Problem::not_found)?;
    Ok(json(&segments))
}

pub(super) const UPSTREAM: Says =
    says("upstream", says::UPSTREAM, "How it stands with the FHIR server, and the box's public key")
        .gives::<UpstreamPage>(200, "How it stands");

/// `GET /api/v1/upstream`
pub(super) async fn upstream(desk: Arc<Desk>, _: Call) -> Result<Answer, Problem> {
    let (view, standing) = desk.services.live.upstream();
    let counts = desk.services.store.backlog().await?.counts;
    let standing = standing.as_ref();
    let jwks = standing.map(|s| &s.jwks).filter(|jwks| jwks.is_object()).cloned();
    Ok(json(&UpstreamPage {
        configured: standing.is_some(),
        view,
        auth: standing.map_or("none", |s| s.auth),
        client_id: standing.and_then(|s| s.client_id.clone()),
        scopes: standing.and_then(|s| s.scopes.clone()),
        granted: standing.and_then(|s| s.granted.clone()),
        kid: standing.and_then(|s| s.kid.clone()),
        algorithm: standing.and_then(|s| s.algorithm),
        jwks: jwks.unwrap_or_else(|| object!({ "keys": [] })),
        queue: Queue { waiting: counts.waiting, sent: counts.sent, held: counts.held },
        mode: standing.and_then(|s| s.mode),
    }))
}
