//! What the desk asks of the box's memory. The buffer answers; the desk knows no SQL.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use utoipa::ToSchema;

use super::json::rfc3339;
use super::live::AlarmView;
use crate::access::{Grants, Role, Stage, TokenHash};
use crate::buffer::{Change, Ledger, Reader, Scrub, SessionRow, UserRow};
use crate::clock::Timestamp;
use crate::connector::Later;

/// The store could not answer. The text is for the log and the desk: no patient data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StoreError(pub String);

/// What an asked store answers, later.
pub type Answered<'a, T> = Later<'a, Result<T, StoreError>>;

/// Where entries, users, sessions and the audit trail are kept.
///
/// A change that comes with an audit row is written with it in one transaction: both or none.
pub trait Store: Send + Sync {
    /// Counts by state and the space taken. Asked once a second while someone looks: must be cheap.
    fn backlog(&self) -> Answered<'_, Backlog>;
    /// One page of entries, newest first.
    fn entries(&self, filter: EntryFilter) -> Answered<'_, Page>;
    /// One entry with its frame.
    fn entry(&self, id: i64) -> Answered<'_, Option<EntryDetail>>;
    /// Where one entry stands, without its frame.
    fn entry_state(&self, id: i64) -> Answered<'_, Option<EntryState>>;

    /// How many entries each link kept in the quarters of an hour of the last day.
    fn day(&self) -> Answered<'_, Day>;
    /// Every device this box has heard of.
    fn devices(&self) -> Answered<'_, Vec<KnownDevice>>;

    /// Whether any user exists.
    fn has_users(&self) -> Answered<'_, bool>;
    /// The user with this name (lower case).
    fn user(&self, name: String) -> Answered<'_, Option<User>>;
    /// Adds the very first user together with its audit row; `false` (and nothing written) when one exists already.
    fn add_first_user(&self, user: User, audit: AuditRow) -> Answered<'_, bool>;

    /// The session behind a token.
    fn session(&self, token: TokenHash) -> Answered<'_, Option<Session>>;
    /// Adds a session together with what goes with it; the inner error says why that is not allowed, and then nothing
    /// is written.
    fn begin_session(
        &self,
        session: Session,
        with: Vec<Change>,
        audit: Option<AuditRow>,
    ) -> Answered<'_, Result<(), String>>;
    /// The session was used just now. Nothing happens when it is gone.
    fn use_session(&self, token: TokenHash, at: Timestamp) -> Answered<'_, ()>;
    /// Ends a session together with its audit row, when there is one to write; ending one that is gone is fine.
    fn end_session(&self, token: TokenHash, audit: Option<AuditRow>) -> Answered<'_, ()>;
    /// Forgets sessions that are past their end.
    fn purge_sessions(&self, now: Timestamp) -> Answered<'_, ()>;

    /// For reading what else is kept of accounts: factors, tokens, sessions, emergencies.
    fn accounts(&self) -> &Reader;
    /// Changes accounts; the inner error says why that is not allowed, and then nothing is written.
    fn change_accounts(
        &self,
        changes: Vec<Change>,
        audit: Option<AuditRow>,
    ) -> Answered<'_, Result<(), String>>;

    /// Appends to the audit trail and returns when it is durable. An error refuses the action it tells of.
    fn audit(&self, row: AuditRow) -> Answered<'_, ()>;
}

pub use super::uptime::{Off, Uptime};

/// The last 24 hours, for a picture.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Day {
    /// The quarters of an hour, the oldest first; the last one is not over.
    pub quarters: Vec<QuarterView>,
    /// When the box was off in them, the oldest first; after a power cut it is known to five minutes.
    pub off: Vec<Off>,
}

/// A quarter of an hour.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Quarter)]
pub struct QuarterView {
    #[serde(serialize_with = "rfc3339")]
    pub begins: Timestamp,
    /// Entries kept, by link; a link that is not there kept none. Null where it is not known: no longer kept, or not counted yet.
    pub entries: Option<BTreeMap<Arc<str>, u64>>,
    /// Those of them that are held now.
    pub held: BTreeMap<Arc<str>, u64>,
}

/// A device this box has heard of, also when it is silent now.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct KnownDevice {
    pub key: String,
    pub label: String,
    pub manufacturer: String,
    pub model: String,
    /// The link it was heard on when it was last described.
    pub link: String,
    #[serde(serialize_with = "rfc3339")]
    pub first_seen: Timestamp,
}

/// Where an entry of the outbox stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum EntryState {
    Waiting,
    Sent,
    Accepted,
    Held,
}

impl EntryState {
    /// The state behind the word in a query.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "waiting" => Some(Self::Waiting),
            "sent" => Some(Self::Sent),
            "accepted" => Some(Self::Accepted),
            "held" => Some(Self::Held),
            _ => None,
        }
    }
}

/// Entries by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = EntryCounts)]
pub struct Counts {
    pub waiting: u64,
    pub sent: u64,
    pub accepted: u64,
    pub held: u64,
}

/// What is in the buffer and how full it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    pub counts: Counts,
    /// Where everything went that came.
    pub ledger: Ledger,
    /// How far the verification of what is kept has come.
    pub scrub: Scrub,
    /// When the oldest waiting entry was received.
    pub oldest_waiting: Option<Timestamp>,
    pub bytes: u64,
    pub quota_bytes: u64,
    /// Frames can be kept now.
    pub writing: bool,
    /// What the store itself wants a person to know.
    pub alarms: Vec<AlarmView>,
}

/// Which entries to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntryFilter {
    pub state: Option<EntryState>,
    pub link: Option<String>,
    /// Device key.
    pub device: Option<String>,
    /// Only entries with a smaller id.
    pub before: Option<i64>,
    /// Received at or after this time, and before that one.
    pub from: Option<Timestamp>,
    pub until: Option<Timestamp>,
    /// Kind of message: `ORU`, `ORU^R01`, `ASTM`, `JSON`.
    pub kind: Option<String>,
    /// The sender's number of the message (MSH-10), or the entry's.
    pub message: Option<String>,
    /// The reason of a group of held entries.
    pub reason: Option<String>,
    /// A patient's number or another text in the message. Never in an address.
    pub text: Option<String>,
    /// 1 to [`PAGE_MAX`].
    pub limit: u32,
}

/// Most entries of one page.
pub const PAGE_MAX: u32 = 200;

/// One page of entries.
#[derive(Clone, Debug, Default)]
pub struct Page {
    pub entries: Vec<EntryRow>,
    /// Ask again with `before` = this for the next page; `None` at the end.
    pub next: Option<i64>,
}

/// One row of the outbox.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Entry)]
pub struct EntryRow {
    pub id: i64,
    #[serde(serialize_with = "rfc3339")]
    pub received: Timestamp,
    pub link: Arc<str>,
    pub peer: Arc<str>,
    /// Device key, once the frame was decoded.
    pub device: Option<String>,
    pub state: EntryState,
    /// Why it is held or waits longer.
    pub reason: Option<String>,
    /// Size of the frame.
    pub bytes: u64,
    /// What is in it in a few words, e.g. `6 measurements`.
    pub summary: Option<String>,
    /// How often it was sent.
    pub attempts: u32,
    /// How often the same frame arrived again.
    pub repeats: u32,
    /// What kind of message it is, e.g. `ORU^R01`, as far as its beginning tells.
    pub kind: Option<String>,
    /// The sender's number of it (MSH-10).
    pub message: Option<String>,
}

/// One entry with everything that is kept of it.
#[derive(Clone, Debug)]
pub struct EntryDetail {
    pub row: EntryRow,
    pub frame: Bytes,
    /// The frame still matches `sha256`. If not, it is shown and nothing is derived from it.
    pub intact: bool,
    pub topic: Option<Arc<str>>,
    /// Hex.
    pub sha256: String,
    pub warnings: Vec<String>,
    pub answer: Option<UpstreamAnswer>,
    pub timeline: Vec<Happened>,
}

/// What the server said to an entry.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct UpstreamAnswer {
    #[serde(serialize_with = "rfc3339")]
    pub at: Timestamp,
    /// HTTP status, when there was an answer.
    pub status: Option<u16>,
    pub body: String,
}

/// One step in the life of an entry.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Happened {
    #[serde(serialize_with = "rfc3339")]
    pub at: Timestamp,
    pub what: String,
}

/// A user of the desk.
#[derive(Clone)]
pub struct User {
    /// Lower case; see [`crate::access::check_username`].
    pub name: String,
    pub role: Role,
    /// Argon2id PHC string; empty for somebody another system vouches for.
    pub password_hash: String,
    pub created: Timestamp,
    pub disabled: bool,
    /// `local`, `ldap` or `oidc`.
    pub source: String,
    pub grants: Grants,
    /// The password was given by somebody else and is to be changed.
    pub must_change: bool,
}

impl User {
    /// A user of the box itself, without limits.
    pub fn local(name: &str, role: Role, password_hash: String, created: Timestamp) -> Self {
        Self {
            name: name.into(),
            role,
            password_hash,
            created,
            disabled: false,
            source: LOCAL.into(),
            grants: Grants::default(),
            must_change: false,
        }
    }

    /// Whether the box itself keeps the password.
    pub fn is_local(&self) -> bool {
        self.source == LOCAL
    }

    /// As it is kept; `None` for a role of a newer program, which may nothing here.
    pub fn read(row: UserRow) -> Option<Self> {
        Some(Self {
            role: Role::parse(&row.role)?,
            grants: Grants::read(&row.grants),
            name: row.name,
            password_hash: row.password,
            created: row.created,
            disabled: row.disabled,
            source: row.source,
            must_change: row.must_change,
        })
    }
}

const LOCAL: &str = "local";

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "User({})", self.role.as_str())
    }
}

/// A session as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Given by the store.
    pub id: i64,
    pub token: TokenHash,
    pub user: String,
    pub stage: Stage,
    pub created: Timestamp,
    pub last_seen: Timestamp,
    /// When it is over in any case.
    pub expires: Timestamp,
    /// When its user last proved who they are, …
    pub proven: Timestamp,
    /// … from where, …
    pub peer: String,
    /// … and with what browser.
    pub agent: String,
}

impl Session {
    /// As it is kept; a hash that is none of ours finds nothing.
    pub fn read(row: SessionRow) -> Option<Self> {
        Some(Self {
            id: row.id,
            token: TokenHash(row.id_hash.try_into().ok()?),
            user: row.user,
            stage: Stage::parse(&row.stage),
            created: row.created,
            last_seen: row.last_used,
            expires: row.expires,
            proven: row.proven,
            peer: row.peer,
            agent: row.agent,
        })
    }

    /// For the buffer.
    pub fn written(self) -> SessionRow {
        SessionRow {
            id: self.id,
            id_hash: self.token.0.to_vec(),
            user: self.user,
            stage: self.stage.as_str().into(),
            created: self.created,
            last_used: self.last_seen,
            expires: self.expires,
            proven: self.proven,
            peer: self.peer,
            agent: self.agent,
        }
    }
}

/// One line of the audit trail: who did what to what, from where, and whether it went well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    pub at: Timestamp,
    /// User name; `None` for someone who is not known.
    pub actor: Option<String>,
    /// `login`, `entry.release`, …
    pub action: &'static str,
    /// What it was done to, e.g. an entry's id.
    pub target: Option<String>,
    pub outcome: Outcome,
    /// Address the request came from.
    pub from: String,
    /// A few words more, without patient data.
    pub note: Option<String>,
}

/// How an audited action went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Done,
    Refused,
    Failed,
}

impl Outcome {
    /// The word stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}
