//! The box as a whole: backups, settings, what version it is, starting anew.

use std::sync::Arc;

use futures_util::stream;
use serde::Serialize;
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use warp::Reply;
use warp::http::StatusCode;
use warp::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use warp::reply::Response as Answer;

use super::call::Call;
use super::pair::{audited, problem};
use super::profiles::attached;
use super::says::{BOX, Says, number, says, word};
use crate::admin::answer::{Problem, empty, json};
use crate::admin::desk::Desk;
use crate::admin::system::{Backups, Job, Settings};

/// Read and sent at once.
const PIECE: usize = 256 << 10;
const CHANGELOG: &str = include_str!("../../../CHANGELOG.md");

pub(super) const BACKUPS: Says = says("backups", BOX, "Every backup on this box")
    .gives::<Backups>(200, "The backups")
    .refuses(&[(404, "There is no such thing"), (409, "It cannot be so; the detail says why")]);

/// `GET /api/v1/backups`
pub(super) async fn backups(desk: Arc<Desk>, _call: Call) -> Result<Answer, Problem> {
    Ok(json(&desk.services.system.backups().await.map_err(problem)?))
}

pub(super) const MAKE: Says = says("makeBackup", BOX, "Begins to make a backup")
    .gives::<Job>(202, "It has begun")
    .refuses(&[(404, "There is no such thing"), (409, "It cannot be so; the detail says why")]);

/// `POST /api/v1/backups`
pub(super) async fn make(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let who = call.presence()?.user.clone();
    let doing = desk.services.system.make_backup(who);
    begun(audited(&desk, &call, "backup.make", String::new(), doing).await?)
}

fn begun(job: Job) -> Result<Answer, Problem> {
    let mut answer = json(&job);
    *answer.status_mut() = StatusCode::ACCEPTED;
    Ok(answer)
}

pub(super) const CHECK: Says = says("checkBackup", BOX, "Begins to verify a backup")
    .gives::<Job>(202, "It has begun")
    .refuses(&[(409, "It cannot be so; the detail says why")]);

/// `POST /api/v1/backups/{name}/check`
pub(super) async fn check(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let (who, name) = (call.presence()?.user.clone(), call.parameter()?.to_owned());
    let doing = desk.services.system.check_backup(who, name.clone());
    begun(audited(&desk, &call, "backup.check", name, doing).await?)
}

pub(super) const REMOVE: Says =
    says("removeBackup", BOX, "Removes a backup").refuses(&[(409, "It cannot be so; the detail says why")]);

/// `POST /api/v1/backups/{name}/remove`
pub(super) async fn remove(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let name = call.parameter()?.to_owned();
    let doing = desk.services.system.remove_backup(name.clone());
    audited(&desk, &call, "backup.remove", name, doing).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

pub(super) const RESTORE: Says = says("restoreBackup", BOX, "Puts a backup in place of all the box has")
    .gives::<Job>(202, "It has begun")
    .refuses(&[(409, "It cannot be so; the detail says why")]);

/// `POST /api/v1/backups/{name}/restore`
pub(super) async fn restore(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let (who, name) = (call.presence()?.user.clone(), call.parameter()?.to_owned());
    let doing = desk.services.system.restore(who, name.clone());
    begun(audited(&desk, &call, "backup.restore", name, doing).await?)
}

pub(super) const DOWNLOAD: Says = says("downloadBackup", BOX, "The file of a backup")
    .asks(&[word("manifest", &["yes"], "its manifest instead")])
    .sends("application/octet-stream", "The file")
    .refuses(&[(409, "It cannot be so; the detail says why")]);

/// `GET /api/v1/backups/{name}?manifest=yes`: the file, as long as it is.
pub(super) async fn download(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let name = call.parameter()?.to_owned();
    let manifest = call.query.get("manifest").is_some_and(|word| word == "yes");
    let doing = desk.services.system.backup_file(name.clone(), manifest);
    let path = audited(&desk, &call, "backup.download", name.clone(), doing).await?;
    let file = File::open(&path).await.map_err(Problem::unavailable)?;
    let length = file.metadata().await.map_err(Problem::unavailable)?.len();
    let pieces = stream::unfold(Some(file), |file| async move {
        let mut file = file?;
        let mut piece = vec![0; PIECE];
        match file.read(&mut piece).await {
            Ok(0) => None,
            Ok(read) => {
                piece.truncate(read);
                Some((Ok(piece), Some(file)))
            }
            // The connection breaks off: what is half a backup must not look whole.
            Err(fault) => Some((Err(fault), None)),
        }
    });
    let mut answer = warp::reply::stream(pieces).into_response();
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(CONTENT_LENGTH, length.into());
    let ending = if manifest { ".manifest" } else { "" };
    Ok(attached(answer, &format!("{name}{ending}")))
}

#[derive(Serialize, utoipa::ToSchema)]
struct Uploaded {
    /// As much of the file as there is.
    bytes: u64,
}

pub(super) const UPLOAD: Says = says("uploadBackup", BOX, "Brings a backup in, piece by piece")
    .asks(&[
        number("at", 0, i64::MAX, "where the piece belongs"),
        word("manifest", &["yes"], "of its manifest"),
    ])
    .gives::<Uploaded>(200, "How much there is")
    .refuses(&[(409, "It cannot be so; the detail says why")]);

/// `POST /api/v1/backups/{name}/upload?at=N&manifest=yes`: one piece; the first is written down.
pub(super) async fn upload(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let name = call.parameter()?.to_owned();
    let at = call.number("at", 0..=u64::MAX)?.unwrap_or(0);
    let manifest = call.query.get("manifest").is_some_and(|word| word == "yes");
    let doing = desk.services.system.upload(name.clone(), manifest, at, call.body.clone());
    let there = match at {
        0 => audited(&desk, &call, "backup.upload", name, doing).await?,
        _ => doing.await.map_err(problem)?,
    };
    Ok(json(&Uploaded { bytes: there }))
}

pub(super) const SETTINGS: Says = says("settings", BOX, "Every setting with its source")
    .gives::<Settings>(200, "The settings")
    .refuses(&[(404, "There is no such thing"), (409, "It cannot be so; the detail says why")]);

/// `GET /api/v1/settings`
pub(super) async fn settings(desk: Arc<Desk>, _call: Call) -> Result<Answer, Problem> {
    Ok(json(&desk.services.system.settings().await.map_err(problem)?))
}

pub(super) const RESTART: Says = says("restart", BOX, "Ends everything in order and starts anew")
    .does(202, "It will")
    .refuses(&[(404, "There is no such thing"), (409, "It cannot be so; the detail says why")]);

/// `POST /api/v1/restart`
pub(super) async fn restart(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    audited(&desk, &call, "box.restart", String::new(), desk.services.system.restart()).await?;
    Ok(empty(StatusCode::ACCEPTED))
}

#[derive(Serialize, utoipa::ToSchema)]
struct Updates {
    version: &'static str,
    /// Where updates come from; there is none to ask.
    source: Option<String>,
    /// Markdown.
    changelog: &'static str,
}

pub(super) const UPDATES: Says = says("updates", BOX, "What runs here, and what changed in it")
    .gives::<Updates>(200, "Version and changes");

/// `GET /api/v1/updates`: what runs here, and what changed in it. There is no source of updates to ask.
pub(super) async fn updates(desk: Arc<Desk>, _call: Call) -> Result<Answer, Problem> {
    let version = desk.services.about.version;
    Ok(json(&Updates { version, source: None, changelog: CHANGELOG }))
}
