//! What the desk asks about tapes: what crossed a link, with its timing. The gateway answers.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::command::Refusal;
use super::json::rfc3339;
use crate::clock::Timestamp;
use crate::connector::Later;

/// Recording as the desk sees it.
pub trait Recording: Send + Sync {
    /// Every tape there is, the newest first.
    fn list(&self) -> Later<'_, Vec<TapeView>>;
    /// Begins a tape; returns its name.
    fn start(&self, wanted: RecordingWanted) -> Later<'_, Result<String, Refusal>>;
    /// Ends a tape that is being written.
    fn stop(&self, name: String) -> Later<'_, Result<(), Refusal>>;
    /// The capture file. Masked unless `unmasked`, which only a tape that was begun unmasked allows.
    fn export(&self, name: String, unmasked: bool) -> Later<'_, Result<Vec<u8>, Refusal>>;
    /// Removes a tape that has ended.
    fn remove(&self, name: String) -> Later<'_, Result<(), Refusal>>;
}

/// A tape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Recording)]
pub struct TapeView {
    pub name: String,
    pub link: String,
    pub profile: Option<String>,
    /// Whether it leaves the box only without persons.
    pub masked: bool,
    #[serde(serialize_with = "rfc3339")]
    pub started: Timestamp,
    /// RFC 3339; `null` while it is being written.
    pub ended: Option<String>,
    /// Size of the file.
    pub bytes: u64,
    pub chunks: u64,
}

/// What to record.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordingWanted {
    pub link: String,
    /// Whether persons are masked whenever the tape leaves the box.
    #[serde(default = "masked")]
    pub masked: bool,
    pub minutes: u32,
}

const fn masked() -> bool {
    true
}
