//! What the desk asks about the box as a whole: backups, how it is set up, and starting anew. The gateway answers.

use std::path::PathBuf;

use bytes::Bytes;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::Object;

use super::command::Refusal;
use super::json::{rfc3339, rfc3339_or_null, words};
use crate::clock::Timestamp;
use crate::connector::Later;

/// The box as a whole.
pub trait System: Send + Sync {
    /// Every backup on this box, the newest first.
    fn backups(&self) -> Later<'_, Result<Backups, Refusal>>;
    /// Begins to make a backup; one job at a time.
    fn make_backup(&self, who: String) -> Later<'_, Result<Job, Refusal>>;
    /// Begins to verify a backup, every page and every frame.
    fn check_backup(&self, who: String, name: String) -> Later<'_, Result<Job, Refusal>>;
    /// Removes a backup and its manifest.
    fn remove_backup(&self, name: String) -> Later<'_, Result<(), Refusal>>;
    /// The file of a backup, or of its manifest.
    fn backup_file(&self, name: String, manifest: bool) -> Later<'_, Result<PathBuf, Refusal>>;
    /// Takes a piece of a backup that is brought from elsewhere; `at`: where it belongs. How much there is.
    fn upload(&self, name: String, manifest: bool, at: u64, piece: Bytes) -> Later<'_, Result<u64, Refusal>>;
    /// Ends the box, puts a backup in place of all it has, and starts it. What it has is kept beside.
    fn restore(&self, who: String, name: String) -> Later<'_, Result<Job, Refusal>>;
    /// Every setting with its value and where that stands.
    fn settings(&self) -> Later<'_, Result<Settings, Refusal>>;
    /// How it stands with the program of this box.
    fn update(&self) -> Later<'_, Result<UpdateState, Refusal>>;
    /// Takes a piece of an update file; `at`: where it belongs, 0 begins anew. How much there is.
    fn upload_update(&self, at: u64, piece: Bytes) -> Later<'_, Result<u64, Refusal>>;
    /// Begins to install what was brought in; `start`: and then to start it.
    fn install_update(&self, who: String, start: bool) -> Later<'_, Result<Job, Refusal>>;
    /// Ends everything in order and starts anew.
    fn restart(&self) -> Later<'_, Result<(), Refusal>>;
}

/// What is there of backups.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct Backups {
    pub backups: Vec<Backup>,
    /// The folder they lie in.
    pub folder: String,
    /// Bytes free there, and about how much one takes.
    pub free_bytes: u64,
    pub needs_bytes: u64,
    /// The job that runs, or the last one.
    pub job: Option<Job>,
}

/// How it stands with the program of this box.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct UpdateState {
    /// As much of an update file as was brought in.
    pub incoming_bytes: u64,
    /// Something starts the box again when it ends.
    pub starts_again: bool,
    /// The update that is started next; none: the package's own program.
    pub chosen: Option<Chosen>,
    /// The installation that runs, or the last one.
    pub job: Option<Job>,
}

/// A program that came by an update.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = ChosenUpdate)]
pub struct Chosen {
    /// None where it cannot be verified.
    pub release: Option<u64>,
    pub version: Option<String>,
    /// It ran well for long enough.
    pub proved: bool,
    /// How often it was started.
    pub tried: u32,
}

/// A backup on this box.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Backup {
    pub name: String,
    pub bytes: u64,
    /// RFC 3339; when the copy was begun, by its manifest.
    pub made: Option<String>,
    pub frames: Option<u64>,
    pub sha256: Option<String>,
    /// It is of this box.
    pub own: Option<bool>,
    /// When a check last found it sound, since the box was started.
    #[serde(serialize_with = "rfc3339_or_null")]
    pub checked: Option<Timestamp>,
}

/// Something that takes its time.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Job {
    #[schema(schema_with = job_kind)]
    pub kind: &'static str,
    pub name: String,
    #[schema(schema_with = job_state)]
    pub state: &'static str,
    /// What is being counted: `pages`, `frames` …
    pub what: String,
    pub done: u64,
    pub of: u64,
    /// What came of it, for people.
    pub detail: String,
    pub by: String,
    #[serde(serialize_with = "rfc3339")]
    pub began: Timestamp,
}

/// How the box is set up.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct Settings {
    /// The configuration file.
    pub file: String,
    pub settings: Vec<Setting>,
    /// Whether the kernel says that the clock is synchronised.
    pub clock_synchronised: bool,
    /// Time at the site, with its offset.
    pub local_time: String,
    pub host: Host,
}

/// The machine the box runs on; what it does not show is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Host {
    /// Of the disk with what is kept.
    pub disk_bytes: Option<u64>,
    pub disk_free_bytes: Option<u64>,
    /// Files that can still be made there.
    pub disk_free_files: Option<u64>,
    /// How much of its life the disk has used by its maker's estimate, in steps of ten; 110: more than all of it.
    pub disk_life_used_percent: Option<u8>,
    /// Whole °C at the warmest place that is measured.
    pub temperature_c: Option<i32>,
}

/// One setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Setting {
    /// As in the file, e.g. `site.zone`.
    pub key: &'static str,
    pub value: String,
    #[schema(schema_with = setting_source)]
    pub source: &'static str,
    /// What it is for.
    pub says: &'static str,
}

fn job_kind() -> Object {
    words(&["backup", "check", "restore", "update"])
}

fn job_state() -> Object {
    words(&["running", "done", "failed"])
}

fn setting_source() -> Object {
    words(&["file", "default", "desk"])
}
