//! For the promise "what we acknowledged is on the disk": keeps frames in SQLite before they are answered, and
//! remembers for each one how far its delivery has come.
//!
//! # Invariants, told as absences
//!
//! - No answer leaves before `COMMIT` returned `Ok` on a connection that has had no I/O error since it was opened.
//! - No connection is used again after an I/O error: it is closed, the database is opened and verified anew.
//! - No frame that was answered is ever dropped to make room. Only *accepted* entries are purged; when nothing
//!   else is left, the next sender is refused and an alarm is raised.
//! - No bytes are handed out unverified: SHA-256 is checked on every read, a mismatch holds the entry.
//! - No state changes but along `waiting → sent → accepted | held`, and back to waiting for a retry, a release or a
//!   replay; what is not a legal step is an error.
//! - No id is given twice, and none is skipped: `kept = waiting + sent + accepted + held + gone`, always.
//! - No database newer than this program is written to; no corrupt one is deleted.
//! - No second process uses the folder.
//! - No lone sender waits on a timer: a group is what arrived while the last sync ran.
//! - No repetition is stored twice, and none is answered before its original is on the disk.
//! - No change of users or settings is written without the audit row handed over with it; no audit row is ever changed.
//! - No file here can be read by another user of the box.
//!
//! # How it is built
//!
//! One thread (`writer`) owns the only writing connection. Callers hash their frame, hand it over through a
//! bounded queue and wait; the thread takes all that is there, writes it in one transaction, and answers. Marks,
//! registry changes and audit rows ride in the same transactions. A second thread copies the write-ahead log
//! into the database (`checkpoint`), so that this never stands between a frame and its answer.
//! [`Reader`] has read-only connections of its own. `schema` tells what is on the disk and why.

mod account;
mod association;
mod audit;
mod browse;
mod carve;
mod checkpoint;
mod compact;
mod copy;
mod day;
mod entry;
mod examine;
mod filter;
mod feed;
mod folder;
mod glance;
mod header;
mod header_line;
mod health;
mod job;
mod ledger;
mod lending;
mod outbox;
mod outgoing;
mod queued;
mod people;
mod reader;
mod registry;
mod repetition;
mod retention;
mod sabotaged;
mod salvage;
mod schema;
mod scrub;
mod store;
#[cfg(test)]
mod tests;
mod work;
mod worklist;
mod writer;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;

use aws_lc_rs::digest;
use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::{Semaphore, oneshot};

use crate::clock::{SharedClock, Timestamp};

pub use account::{
    AccountChange, BreakGlassRow, FactorRow, SessionRow, TokenRow, UserRow, UserSummary, look_at_users,
};
pub(crate) use association::ADMINISTRATION;
pub(crate) use association::PersonText;
pub use association::{
    AssociationChange, AssociationRow, AttributedRow, Doubt, DoubtRow, HomeRow, LookRow, NewAssociation,
    OnwardRow,
};
pub use audit::{
    AuditCheck, AuditFilter, AuditRow, AuditSeal, NewAudit, SealError, Told, identity_of, verify_trail,
    walk_trail,
};
pub use browse::{EntryDetail, EntryFilter, EntryRow, Page, reason_key};
pub use copy::{Manifest, Restored, back_up, check_copy, restore};
pub use day::{Day, Quarter};
pub use entry::{IllegalMark, Mark, State, Transition};
pub use examine::{Examined, Progress, examine};
pub use feed::{Behind, FeedChange, Wanted};
pub use glance::{Glance, glance};
pub use header_line::Headline;
pub use health::{Alarm, Counts, Figures, Health, Severity};
pub use ledger::Ledger;
pub use outgoing::{NewOutgoing, OutgoingChange, Step as OutgoingStep};
pub use people::{
    Lookup, Matching, MergeRow, PeopleChange, PeopleCounts, PersonDetail, PersonRow, SourceRow, StayRow,
    look_at_people, look_at_person,
};
pub use queued::{DestinationRow, Due, OutgoingFilter, OutgoingRow, look_at_destinations};
pub use reader::{Reader, Stored, Waiting};
pub use registry::{Change, DeviceRow};
pub use scrub::{Scrub, Verified};

pub use work::{
    Asked, NewOrder, OrderRow, WorkChange, WorkCounts, WorkFilter, WorkSource, WorkState, WorkTest,
};
pub use worklist::look_at_orders;

use health::Shared;
use job::{Job, Sealed, Suspicion};

/// Where frames are kept, how much of it, and for how long.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Folder of the database; created with mode 0700.
    pub dir: PathBuf,
    /// Bytes the database may use. At the limit the oldest accepted entries go; after that senders are refused.
    pub max_bytes: u64,
    /// Days an accepted entry is kept for the desk and for a replay.
    pub keep_accepted_days: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { dir: PathBuf::from("/var/lib/bedside"), max_bytes: 8 << 30, keep_accepted_days: 30 }
    }
}

/// Smallest `max_bytes`: an empty database and one large frame must fit.
const LEAST_MAX_BYTES: u64 = 4 << 20;
/// Largest frame. Connectors stop at 16 MiB; this is the buffer's own limit, whoever calls.
const MAX_FRAME_BYTES: usize = 64 << 20;
/// Frames larger than this are hashed and packed on a thread that may block (about 1 ms).
const SEAL_ELSEWHERE_BYTES: usize = 64 << 10;
/// What may wait for the writer, in KiB of frames; every job counts [`JOB_COST`] besides.
const QUEUE_KIB: u32 = 16 << 10;
const JOB_COST: u32 = 8;

/// Why the buffer could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum BufferError {
    #[error(
        "the folder {} is in use by another Bedside ({}): stop that one first, or give this one a folder of its own",
        dir.display(), pid.map_or_else(|| String::from("process unknown"), |pid| format!("process {pid}"))
    )]
    InUse { dir: PathBuf, pid: Option<u32> },
    #[error(
        "the database {} has schema {found}, this program knows schemas up to {known}: it was written by a newer Bedside; \
         install that version again. Nothing was changed", path.display()
    )]
    Newer { path: PathBuf, found: i64, known: i64 },
    #[error("{} is an SQLite database of another program; nothing was changed", path.display())]
    Foreign { path: PathBuf },
    #[error("{}: {source}", path.display())]
    Folder { path: PathBuf, source: std::io::Error },
    #[error("{0}")]
    Config(String),
    #[error("{doing}: {source}")]
    Storage { doing: &'static str, source: rusqlite::Error },
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("{} of the marks are not legal: {}", .0.len(), .0.iter().take(4).map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    IllegalMarks(Vec<IllegalMark>),
    #[error("{0}")]
    NotAllowed(String),
}

impl BufferError {
    /// Whether it may be over without anybody changing the configuration: no room, a disk that cannot be written or read.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Folder { source, .. } => {
                use std::io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
                matches!(source.kind(), ReadOnlyFilesystem | StorageFull | QuotaExceeded)
                    || source.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
            }
            Self::Storage { source, .. } => {
                use rusqlite::ErrorCode::{CannotOpen, DiskFull, ReadOnly, SystemIoFailure};
                matches!(source.sqlite_error_code(), Some(CannotOpen | DiskFull | ReadOnly | SystemIoFailure))
            }
            _ => false,
        }
    }
}

/// The frame is not kept; the sender must keep it. `full`: there is no room, else a fault of the box.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refused {
    pub full: bool,
    pub reason: String,
}

impl Refused {
    fn closed() -> Self {
        Self { full: false, reason: String::from("the buffer is closed") }
    }
}

/// One frame to be kept.
#[derive(Clone)]
pub struct NewFrame {
    /// Name of the configured link.
    pub link: Arc<str>,
    /// The other side, without patient data.
    pub peer: Arc<str>,
    pub received: Timestamp,
    pub bytes: Bytes,
    /// MQTT topic, when there is one.
    pub topic: Option<Arc<str>>,
    /// The same bytes on the same link are a repetition: answered, counted, not stored twice.
    pub dedupe: bool,
    /// Tolerated departures from the protocol, as sentences.
    pub warnings: Vec<String>,
    /// Kept for a person instead of for delivery, and why.
    pub held: Option<String>,
}

impl std::fmt::Debug for NewFrame {
    /// Sizes only: frames hold patient data.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NewFrame({} bytes from link {})", self.bytes.len(), self.link)
    }
}

/// The frame is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    pub id: i64,
    /// These bytes were kept before, under `id`.
    pub duplicate: bool,
}

/// The writing side of the buffer. Clones share one writer; the last one dropped closes the database.
#[derive(Clone)]
pub struct Buffer {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    jobs: Mutex<Option<std::sync::mpsc::SyncSender<Job>>>,
    room: Arc<Semaphore>,
    writer: Mutex<Option<JoinHandle<()>>>,
    shared: Arc<Shared>,
}

impl Buffer {
    /// Opens the folder, creating what is missing, and starts the writer. Entries that were *sent* when the
    /// program stopped wait again; pieces of unfinished transmissions become held entries.
    ///
    /// # Errors
    /// [`BufferError::InUse`], [`BufferError::Newer`], [`BufferError::Foreign`]: nothing was changed.
    /// [`BufferError::Folder`], [`BufferError::Storage`]: the disk did not let us.
    pub fn open(config: &Config, clock: SharedClock) -> Result<Self, BufferError> {
        if config.max_bytes < LEAST_MAX_BYTES {
            return Err(BufferError::Config(format!(
                "max_bytes is {}, the least is {LEAST_MAX_BYTES} (4 MiB)",
                config.max_bytes
            )));
        }
        let shared = Arc::new(Shared::new(config, clock));
        // Every job costs at least JOB_COST permits, so a queue of this length is never full when a permit was had.
        let (jobs, queue) = std::sync::mpsc::sync_channel((QUEUE_KIB / JOB_COST) as usize);
        let writer = writer::start(config, Arc::clone(&shared), queue)?;
        Ok(Self {
            inner: Arc::new(Inner {
                jobs: Mutex::new(Some(jobs)),
                room: Arc::new(Semaphore::new(QUEUE_KIB as usize)),
                writer: Mutex::new(Some(writer)),
                shared,
            }),
        })
    }

    /// The reading side.
    pub fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.inner.shared), Arc::downgrade(&self.inner))
    }

    /// Keeps a frame. Returns when it is committed, found to be a repetition, or refused.
    ///
    /// # Errors
    /// [`Refused`]: it is not kept, and the sender must be told so.
    pub async fn keep(&self, frame: NewFrame) -> Result<Kept, Refused> {
        let since = &self.inner.shared.since;
        let turned_away = |why| {
            since.refused(1);
            why
        };
        let frame = match seal(frame, true).await {
            Ok(frame) => frame,
            Err(why) => {
                since.received();
                return Err(turned_away(why));
            }
        };
        let (cost, (reply, answer)) = (frame.cost(), oneshot::channel());
        let job = |permit| {
            since.received();
            Job::Keep { frame, reply, permit }
        };
        self.inner.hand_over(cost, job).await.map_err(turned_away)?;
        answer.await.unwrap_or_else(|_| Err(Refused::closed()))
    }

    /// Keeps a piece of an unfinished transmission. The next [`keep`](Self::keep) of the same link and peer
    /// replaces all pieces in its own commit.
    ///
    /// # Errors
    /// [`Refused`], as for `keep`.
    pub async fn keep_part(&self, part: NewFrame) -> Result<(), Refused> {
        let part = seal(part, false).await?;
        let (reply, answer) = oneshot::channel();
        self.inner.hand_over(part.cost(), |permit| Job::Part { part, reply, permit }).await?;
        answer.await.unwrap_or_else(|_| Err(Refused::closed()))
    }

    /// The transmission broke off: the pieces kept of it become one held entry, whose id is returned. `None`
    /// when there were none.
    ///
    /// # Errors
    /// [`Refused`]: the pieces stay as they are and become a held entry at the next start.
    pub async fn break_parts(
        &self,
        link: Arc<str>,
        peer: Arc<str>,
        reason: String,
    ) -> Result<Option<i64>, Refused> {
        let (reply, answer) = oneshot::channel();
        self.inner.hand_over(JOB_COST, |permit| Job::Break { link, peer, reason, reply, permit }).await?;
        answer.await.unwrap_or_else(|_| Err(Refused::closed()))
    }

    /// Something began on a link and never became a frame: counted, so that it is not missing from the ledger.
    pub fn noise(&self) {
        self.inner.shared.since.noise();
    }

    /// Moves entries along their states. Each mark stands by itself: the legal ones are written even when others
    /// are not.
    ///
    /// # Errors
    /// [`BufferError::IllegalMarks`] names those that were not applied; [`BufferError::Refused`]: none was written.
    pub async fn mark(&self, marks: Vec<Mark>) -> Result<(), BufferError> {
        let (reply, answer) = oneshot::channel();
        self.inner.hand_over(JOB_COST, |permit| Job::Mark { marks, reply, permit }).await?;
        answer.await.unwrap_or_else(|_| Err(Refused::closed().into()))
    }

    /// Writes changes of the registry, users, sessions, settings and audit: all of them or none.
    ///
    /// # Errors
    /// [`BufferError::NotAllowed`] when a change does not fit what is there; [`BufferError::Refused`] as above.
    pub async fn change(&self, changes: Vec<Change>) -> Result<(), BufferError> {
        let (reply, answer) = oneshot::channel();
        self.inner.hand_over(JOB_COST, |permit| Job::Change { changes, reply, permit }).await?;
        answer.await.unwrap_or_else(|_| Err(Refused::closed().into()))
    }

    /// Adds or renews what is known of a device; `first_seen` stays the earliest.
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub async fn upsert_device(&self, device: DeviceRow) -> Result<(), BufferError> {
        self.change(vec![Change::Device(device)]).await
    }

    /// Adds a user or replaces one of the same name.
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub async fn put_user(&self, user: UserRow) -> Result<(), BufferError> {
        self.change(vec![Change::User(user)]).await
    }

    /// Adds or renews a session.
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub async fn put_session(&self, session: SessionRow) -> Result<(), BufferError> {
        self.change(vec![Change::Session(session)]).await
    }

    /// Ends a session.
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub async fn delete_session(&self, id_hash: Vec<u8>) -> Result<(), BufferError> {
        self.change(vec![Change::EndSession { id_hash }]).await
    }

    /// Writes a setting.
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub async fn put_setting(&self, key: &str, value: &str) -> Result<(), BufferError> {
        self.change(vec![Change::Setting { key: key.into(), value: value.into() }]).await
    }

    /// Appends to the audit trail.
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub async fn audit(&self, row: NewAudit) -> Result<(), BufferError> {
        self.change(vec![Change::Audit(row)]).await
    }

    /// Writes what is queued, copies the log into the database and closes it. Later calls are refused.
    pub async fn close(&self) {
        let inner = Arc::clone(&self.inner);
        // A join error would mean that the closing thread panicked; there is nothing left to close then.
        drop(tokio::task::spawn_blocking(move || inner.stop()).await);
    }
}

impl Inner {
    /// Waits for room in the queue, then queues the job.
    async fn hand_over(
        &self,
        cost: u32,
        job: impl FnOnce(tokio::sync::OwnedSemaphorePermit) -> Job,
    ) -> Result<(), Refused> {
        let room = Arc::clone(&self.room)
            .acquire_many_owned(cost.min(QUEUE_KIB))
            .await
            .map_err(|_| Refused::closed())?;
        self.queue(job(room))
    }

    fn queue(&self, job: Job) -> Result<(), Refused> {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.as_ref().ok_or_else(Refused::closed)?.try_send(job).map_err(|_| Refused::closed())
    }

    /// Tells the writer that the kept bytes of an entry do not match their SHA-256. Dropped when the queue is
    /// full: the next read finds it again.
    fn quarantine(&self, id: i64) {
        drop(self.queue(Job::Quarantine { id }));
    }

    /// Tells the writer what reading met.
    fn suspect(&self, what: Suspicion) {
        drop(self.queue(Job::Suspect(what)));
    }

    /// Ends the writer and waits for it.
    fn stop(&self) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if writer.is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("The buffer's writer ended by a panic.");
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Lets a [`Reader`] report to the writer without keeping it alive.
type Writer = Weak<Inner>;

/// SHA-256 of a frame's bytes, as it is kept beside them.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut sum = [0; 32];
    sum.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    sum
}

/// Hashes the frame in the caller's task, so that the writer has less to do.
async fn seal(frame: NewFrame, pack: bool) -> Result<Sealed, Refused> {
    if frame.bytes.len() > MAX_FRAME_BYTES {
        let reason =
            format!("{} bytes are more than the {MAX_FRAME_BYTES} a frame may have", frame.bytes.len());
        return Err(Refused { full: false, reason });
    }
    let work = move |bytes: &[u8]| (sha256(bytes), pack.then(|| compact::packed(bytes)).flatten());
    let (sha256, packed) = if frame.bytes.len() > SEAL_ELSEWHERE_BYTES {
        let bytes = frame.bytes.clone();
        tokio::task::spawn_blocking(move || work(&bytes)).await.map_err(|_| Refused::closed())?
    } else {
        work(&frame.bytes)
    };
    Ok(Sealed { frame, sha256, packed })
}

/// For the fuzzing rig: what takes a damaged file apart.
pub fn fuzz(bytes: &[u8]) {
    carve::fuzz(bytes);
}
