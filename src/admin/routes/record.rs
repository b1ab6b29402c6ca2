//! Tapes of links. Beginning, ending, taking out and removing one is written into the audit trail first.

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;
use warp::http::StatusCode;
use warp::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderValue};
use warp::reply::Response as Answer;

use super::call::Call;
use super::pair::{NOT_SO, Named, audited};
use super::says::{RECORDINGS, Says, says, word};
use crate::admin::answer::{Problem, empty, json};
use crate::admin::desk::Desk;
use crate::admin::recording::{RecordingWanted, TapeView};

/// Every tape there is.
#[derive(Serialize, ToSchema)]
struct Recordings {
    /// The newest first.
    recordings: Vec<TapeView>,
}

pub(super) const LIST: Says =
    says("recordings", RECORDINGS, "Every tape there is").gives::<Recordings>(200, "The tapes");

/// `GET /api/v1/recordings`
pub(super) async fn list(desk: Arc<Desk>, _call: Call) -> Result<Answer, Problem> {
    Ok(json(&Recordings { recordings: desk.services.recording.list().await }))
}

pub(super) const START: Says = says("startRecording", RECORDINGS, "Begins a tape of a link")
    .takes::<RecordingWanted>()
    .gives::<Named>(201, "It runs")
    .refuses(&[(404, "No such link"), (409, "It cannot be so; the detail says why")]);

/// `POST /api/v1/recordings`
pub(super) async fn start(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let wanted: RecordingWanted = call.json()?;
    let kept = if wanted.masked { "masked" } else { "unmasked" };
    let target = format!("{}, {} min, {kept}", wanted.link, wanted.minutes);
    let name =
        audited(&desk, &call, "recording.start", target, desk.services.recording.start(wanted)).await?;
    let mut made = json(&Named { name });
    *made.status_mut() = StatusCode::CREATED;
    Ok(made)
}

pub(super) const STOP: Says = says("stopRecording", RECORDINGS, "Ends a tape").refuses(NOT_SO);

/// `POST /api/v1/recordings/{name}/stop`
pub(super) async fn stop(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let name = call.parameter()?.to_owned();
    let done = desk.services.recording.stop(name.clone());
    audited(&desk, &call, "recording.stop", name, done).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// JSON, one object a line.
const TAPE: &str = "application/jsonl";

pub(super) const EXPORT: Says =
    says("recording", RECORDINGS, "The capture file, without persons unless it is asked otherwise")
        .asks(&[word("unmasked", &["yes", "no"], "`yes`: as it is, which only a tape begun so allows")])
        .sends(TAPE, "The capture file")
        .refuses(NOT_SO);

/// `GET /api/v1/recordings/{name}`: the capture file without persons; as it is with `?unmasked=yes`.
pub(super) async fn export(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let name = call.parameter()?.to_owned();
    let unmasked = call.query.get("unmasked").is_some_and(|word| word == "yes");
    let target = format!("{name}, {}", if unmasked { "unmasked" } else { "masked" });
    let done = desk.services.recording.export(name.clone(), unmasked);
    let file = audited(&desk, &call, "recording.export", target, done).await?;
    let mut answer = Answer::new(file.into());
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(TAPE));
    let plain: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).collect();
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{plain}.tape\"")) {
        headers.insert(CONTENT_DISPOSITION, value);
    }
    Ok(answer)
}

pub(super) const REMOVE: Says =
    says("removeRecording", RECORDINGS, "Removes a tape that has ended").refuses(NOT_SO);

/// `POST /api/v1/recordings/{name}/remove`
pub(super) async fn remove(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let name = call.parameter()?.to_owned();
    let done = desk.services.recording.remove(name.clone());
    audited(&desk, &call, "recording.remove", name, done).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}
