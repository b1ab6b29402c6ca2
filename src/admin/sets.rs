//! What the desk asks when many entries are looked at, released or sent again at once. The gateway answers.
//!
//! A set is frozen before it is confirmed: exactly these entries, told with their number and span of time, and what arrives
//! meanwhile is not among them. Done twice, a set is done once.

use serde::{Deserialize, Serialize};
use utoipa::openapi::{Array, Object};
use utoipa::{PartialSchema, ToSchema};

use super::command::Refusal;
use super::json::{pairs, rfc3339, rfc3339_or_null, words};
use super::store::EntryFilter;
use crate::clock::Timestamp;
use crate::connector::Later;

/// Sets of entries as the desk sees them.
pub trait Sets: Send + Sync {
    /// What is held, by reason.
    fn held(&self) -> Later<'_, Result<HeldView, Refusal>>;
    /// Finds the entries of a set now and keeps their ids for a quarter of an hour. `who`: the user, who alone can use it.
    fn freeze(&self, who: String, wanted: SetWanted) -> Later<'_, Result<SetView, Refusal>>;
    /// A set and how far it has come.
    fn set(&self, who: &str, token: &str) -> Option<SetView>;
    /// Begins to do a set; doing one that was begun changes nothing.
    fn run(&self, who: String, token: String) -> Later<'_, Result<SetView, Refusal>>;
    /// What would be sent of an entry now beside what the server holds.
    fn compare(&self, id: i64) -> Later<'_, Result<Comparison, Refusal>>;
    /// The saved views of a user: name and terms.
    fn views(&self, who: String) -> Later<'_, Result<Vec<SavedView>, Refusal>>;
    /// Keeps a view; one of that name is replaced.
    fn save_view(&self, who: String, view: SavedView) -> Later<'_, Result<(), Refusal>>;
    /// Forgets a view.
    fn remove_view(&self, who: String, name: String) -> Later<'_, Result<(), Refusal>>;
}

/// A list of entries that a user comes back to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SavedView {
    pub name: String,
    /// The query of the page: states, links, devices, kinds; never a patient.
    pub terms: String,
}

/// What is held.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[schema(as = Held)]
pub struct HeldView {
    /// The largest first.
    pub groups: Vec<HeldGroup>,
    /// All that is held.
    pub held: u64,
    /// Entries that were looked at; older ones are not in the groups.
    pub looked_at: u64,
}

/// Entries held for the same reason.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct HeldGroup {
    /// The reason without its numbers; names the group.
    pub key: String,
    /// The reason of its newest entry, as written.
    pub reason: String,
    pub step: Step,
    pub count: u64,
    #[serde(serialize_with = "rfc3339")]
    pub first: Timestamp,
    #[serde(serialize_with = "rfc3339")]
    pub last: Timestamp,
    /// Links and how their frames are read.
    pub links: Vec<LinkShare>,
    pub devices: Vec<String>,
    /// The newest, at most five.
    pub newest: Vec<i64>,
}

/// How many entries of a group came on a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct LinkShare {
    pub name: String,
    /// Id of its firmware profile, `by-sender` or `hl7-system`; `None` when the link is gone.
    pub profile: Option<String>,
    pub count: u64,
}

/// What takes away the cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = HeldStep)]
pub enum Step {
    /// Accept the sender.
    Pairing,
    /// Say whose it is.
    Association,
    /// Put the link back.
    Link,
    /// The server refused it: mend it there, or what is sent.
    Server,
    /// A template reads it.
    Template,
    /// The firmware profile cannot read it.
    Profile,
    /// The bytes changed on the disk.
    Disk,
}

/// What is to be done with a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Deed {
    /// Held entries go.
    Release,
    /// Accepted and held entries are sent again, as the same resources.
    Replay,
}

impl Deed {
    /// The word in the audit trail.
    pub const fn action(self) -> &'static str {
        match self {
            Self::Release => "entries.release",
            Self::Replay => "entries.replay",
        }
    }
}

/// Which entries, and what to do with them.
#[derive(Clone, Debug)]
pub struct SetWanted {
    pub deed: Deed,
    pub filter: EntryFilter,
}

/// A frozen set.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Set)]
pub struct SetView {
    pub token: String,
    pub deed: Deed,
    pub count: u64,
    #[serde(serialize_with = "rfc3339_or_null")]
    pub first: Option<Timestamp>,
    #[serde(serialize_with = "rfc3339_or_null")]
    pub last: Option<Timestamp>,
    /// Device (or `?` where none is known) and its entries, most first, at most twenty.
    #[schema(schema_with = counted)]
    pub devices: Vec<(String, u64)>,
    /// How many devices there are.
    pub devices_all: u64,
    /// Where they go.
    pub targets: Vec<String>,
    /// Entries that fit and are not in it, because there is nothing to do with them.
    pub left_out: u64,
    /// The number must be typed.
    pub confirm: bool,
    #[serde(serialize_with = "rfc3339")]
    pub until: Timestamp,
    #[schema(schema_with = set_state)]
    pub state: &'static str,
    pub done: u64,
    /// Entries that were somewhere else by then.
    pub skipped: u64,
    /// Why it failed.
    pub detail: String,
}

fn set_state() -> Object {
    words(&["frozen", "running", "done", "failed"])
}

fn counted() -> Array {
    pairs(u64::schema())
}

/// Sets of more entries than this want their number typed.
pub const TYPED_ABOVE: u64 = 50;

/// What would be sent now beside what the server has.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct Comparison {
    /// The server was asked.
    pub asked: bool,
    /// Why not, or why nothing would be sent.
    pub detail: Option<String>,
    pub resources: Vec<Compared>,
}

/// One resource on both sides, as JSON with sorted members.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Compared {
    pub kind: String,
    pub id: String,
    pub now: Option<String>,
    pub there: Option<String>,
    pub same: bool,
}
