//! The box as a whole: backups, settings, what version it is, starting anew.

use std::sync::Arc;

use futures_util::stream;
use serde::{Deserialize, Serialize};
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
use crate::admin::About;
use crate::admin::answer::{Problem, empty, json};
use crate::admin::desk::Desk;
use crate::admin::system::{Backups, Job, Settings, UpdateState};
use crate::sbom as bill;

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
    /// Signed updates may be installed: `[update]` says who publishes them.
    signed: bool,
    #[serde(flatten)]
    state: UpdateState,
    /// Markdown.
    changelog: &'static str,
}

pub(super) const UPDATES: Says = says("updates", BOX, "What runs here, and what changed in it")
    .gives::<Updates>(200, "Version and changes");

/// `GET /api/v1/updates`: what runs here, and what changed in it.
pub(super) async fn updates(desk: Arc<Desk>, _call: Call) -> Result<Answer, Problem> {
    let About { version, updates: signed, .. } = desk.services.about;
    let state = desk.services.system.update().await.map_err(problem)?;
    Ok(json(&Updates { version, signed, state, changelog: CHANGELOG }))
}

pub(super) const UPLOAD_UPDATE: Says = says("uploadUpdate", BOX, "Brings an update file in, piece by piece")
    .asks(&[number("at", 0, i64::MAX, "where the piece belongs; 0 begins anew")])
    .gives::<Uploaded>(200, "How much there is")
    .refuses(&[(409, "It cannot be so; the detail says why")]);

/// `POST /api/v1/updates/upload?at=N`: one piece; the first is written down.
pub(super) async fn upload_update(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let at = call.number("at", 0..=u64::MAX)?.unwrap_or(0);
    let doing = desk.services.system.upload_update(at, call.body.clone());
    let there = match at {
        0 => audited(&desk, &call, "update.upload", String::new(), doing).await?,
        _ => doing.await.map_err(problem)?,
    };
    Ok(json(&Uploaded { bytes: there }))
}

/// What is to be done with the update that was brought in.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct InstallUpdate {
    /// Start it as soon as it is installed; links are away for some seconds. Else it is started at the next start.
    start: bool,
}

pub(super) const INSTALL_UPDATE: Says =
    says("installUpdate", BOX, "Installs the update that was brought in, beside the program that runs")
        .takes::<InstallUpdate>()
        .gives::<Job>(202, "It has begun")
        .refuses(&[(409, "It cannot be so; the detail says why")]);

/// `POST /api/v1/updates/install`
pub(super) async fn install_update(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let wanted: InstallUpdate = call.json()?;
    let who = call.presence()?.user.clone();
    let doing = desk.services.system.install_update(who, wanted.start);
    let when = if wanted.start { "start at once" } else { "for the next start" };
    begun(audited(&desk, &call, "update.begin", when.into(), doing).await?)
}

pub(super) const SBOM: Says = says("sbom", BOX, "What this program is made of, a bill of materials")
    .sends("application/vnd.cyclonedx+json", "A CycloneDX document");

/// `GET /api/v1/sbom`
pub(super) async fn sbom(_desk: Arc<Desk>, _call: Call) -> Result<Answer, Problem> {
    let mut answer = json(&bill::cyclonedx());
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(bill::MEDIA_TYPE));
    Ok(attached(answer, concat!("bedside-", env!("CARGO_PKG_VERSION"), ".cdx.json")))
}

pub(super) const LICENCES: Says =
    says("licences", BOX, "The notices of everything in this program").sends("text/plain", "One text");

/// `GET /api/v1/licences`: those of the desk's pages stand in `/licences.txt`.
pub(super) async fn licences(_desk: Arc<Desk>, _call: Call) -> Result<Answer, Problem> {
    let mut answer = bill::notices().into_response();
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    Ok(answer)
}
