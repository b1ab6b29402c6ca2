//! For opening the database so that it can be trusted: checked, migrated, made durable, salvaged where it is
//! damaged. What is opened is the writer's [`Store`]: the connection and what is kept in memory beside it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, ffi};

use super::entry::{Mark, Transition};
use super::health::{Counts, Severity, Shared};
use super::outbox::Sender;
use super::repetition::Repetitions;
use super::{
    BufferError, checkpoint, copy, folder::Folder, header, health, ledger, registry, salvage, schema,
};
use crate::clock::Timestamp;
use crate::identity::UNREADABLE;

/// A database up to this size is checked page by page at every start (about 0.1 s); a larger one only after a
/// fault, and by the hash of each frame as it is read.
const CHECK_AT_START_BYTES: u64 = 16 << 20;
/// Frames whose bytes are verified at every opening: the ones a crash could have cut.
const TAIL: u32 = 64;
/// How long to wait before a database that seems damaged is tried again.
const AGAIN: [Duration; 2] = [Duration::from_millis(200), Duration::from_millis(800)];
/// How long a restoration is told of, in microseconds: 30 days.
const TOLD_FOR: i64 = 30 * 86_400 * 1_000_000;
/// A disk with less than this left is a full one, whatever the error was.
const LEAST_FREE_BYTES: u64 = 1 << 20;
/// How long opening waits for readers to let the log be copied.
const HARDEN_TRIES: u32 = 50;
const HARDEN_PAUSE: Duration = Duration::from_millis(100);

/// Why the database is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// The program starts.
    Start,
    /// A connection failed. Everything up to this id was acknowledged and must be there.
    Fault { acknowledged: i64, corrupt: bool },
}

/// The writing connection, and what would be asked of it too often.
pub(super) struct Store {
    pub(super) conn: Connection,
    pub(super) clock: crate::clock::SharedClock,
    pub(super) last_id: i64,
    pub(super) counts: Counts,
    pub(super) links: HashMap<Arc<str>, i64>,
    pub(super) devices: HashMap<String, i64>,
    pub(super) repetitions: Repetitions,
    /// Link and peer → bytes of the pieces kept of an unfinished transmission.
    pub(super) parts: HashMap<Sender, u64>,
    /// Repetitions counted but not written yet.
    pub(super) repeats: BTreeMap<i64, u32>,
    /// Where the search for what can be purged goes on.
    pub(super) purge_from: i64,
}

impl Store {
    /// Opens the database, whatever state it was left in. What cannot be used is moved aside and salvaged.
    pub(super) fn open(folder: &Folder, shared: &Shared, why: Why) -> Result<Self, BufferError> {
        folder.finish_replacing()?;
        match header::mend(&folder.database()) {
            Ok(0) => {}
            Ok(bytes) => {
                tracing::error!(bytes, "The disk changed the header of the database; it is put right.")
            }
            // There is none yet, or opening it meets the same.
            Err(error) => tracing::debug!(%error, "The header of the database was not looked at."),
        }
        schema::refuse_what_is_not_ours(&folder.database())?;
        let mut opened = Self::open_with_room(folder, shared, why);
        // A cable or a controller can have a bad moment; nothing is moved because of one.
        for pause in AGAIN {
            let Err(BufferError::Storage { source, .. }) = &opened else { break };
            if damaged(source) || unreadable(source) {
                tracing::warn!(error = %source, "The database could not be read; trying again.");
                std::thread::sleep(pause);
                opened = Self::open_with_room(folder, shared, why);
            }
        }
        let mut store = match opened {
            Err(BufferError::Storage { source, .. })
                if damaged(&source) || (why == Why::Start && unreadable(&source)) =>
            {
                tracing::error!(error = %source, "The database is damaged.");
                let salvaged = salvage::replace(folder, shared)?;
                if why != Why::Start {
                    shared.since.lost(salvaged.lost);
                }
                Self::try_open(folder, shared, Why::Start)?
            }
            opened => opened?,
        };
        tell_of_databases_set_aside(folder, shared);
        store.tell_of_restoration(shared);
        if let Why::Fault { acknowledged, .. } = why
            && store.last_id < acknowledged
        {
            let missing = acknowledged - store.last_id;
            shared.since.lost(missing.unsigned_abs());
            store
                .skip_missing(acknowledged)
                .map_err(|source| BufferError::Storage { doing: "counting", source })?;
            shared.raise(
                "acknowledged-missing",
                Severity::Critical,
                format!("{missing} acknowledged frames are missing after a fault of the disk"),
                "Replace the disk. The senders were told that these frames were kept: ask for them again.",
            );
        }
        Ok(store)
    }

    fn open_with_room(folder: &Folder, shared: &Shared, why: Why) -> Result<Self, BufferError> {
        match Self::try_open(folder, shared, why) {
            // SQLite has other words for a full disk where it needs a file of its own beside the database.
            Err(BufferError::Storage { source, .. })
                if (no_room(&source) || folder.free_bytes() < LEAST_FREE_BYTES)
                    && folder.release_ballast() =>
            {
                tracing::warn!("The disk is full; the room reserved for this is used to open the database.");
                Self::try_open(folder, shared, why)
            }
            opened => opened,
        }
    }

    fn try_open(folder: &Folder, shared: &Shared, why: Why) -> Result<Self, BufferError> {
        folder.prepare_database()?;
        let path = folder.database();
        let storage = |doing| move |source| BufferError::Storage { doing, source };
        let mut conn = schema::connect_writing(&path).map_err(storage("opening the database"))?;
        schema::mend_header(&conn).map_err(storage("reading the database's header"))?;
        schema::migrate(&mut conn).map_err(storage("migrating the database"))?;
        let suspect = matches!(why, Why::Fault { corrupt: true, .. });
        if suspect || std::fs::metadata(&path).is_ok_and(|file| file.len() <= CHECK_AT_START_BYTES) {
            check(&conn).map_err(storage("checking the database"))?;
        }
        harden(&conn, folder, why).map_err(storage("making the log durable"))?;
        let mut store = Self::load(conn, shared.clock.clone()).map_err(storage("reading the database"))?;
        store.settle(why, shared).map_err(storage("settling the entries"))?;
        folder.sync()?;
        Ok(store)
    }

    fn load(conn: Connection, clock: crate::clock::SharedClock) -> rusqlite::Result<Self> {
        let mut store = Self {
            conn,
            clock,
            last_id: 0,
            counts: Counts::default(),
            links: HashMap::new(),
            devices: HashMap::new(),
            repetitions: Repetitions::default(),
            parts: HashMap::new(),
            repeats: BTreeMap::new(),
            purge_from: 0,
        };
        store.reload()?;
        store.counts = health::count(&store.conn)?;
        Ok(store)
    }

    /// Forgets what a transaction that failed may have put into memory. The counts are the caller's: it had a
    /// copy of them from before.
    pub(super) fn reload(&mut self) -> rusqlite::Result<()> {
        self.purge_from = 0;
        self.links.clear();
        self.devices.clear();
        self.last_id = health::last_id(&self.conn)?;
        self.repetitions.reload(&self.conn)?;
        self.parts = self.unfinished()?;
        Ok(())
    }

    /// After the opening: nothing is on its way any more, nothing unfinished will be finished, and the frames a
    /// crash could have cut are verified.
    fn settle(&mut self, why: Why, shared: &Shared) -> rusqlite::Result<()> {
        self.conn.execute_batch("BEGIN IMMEDIATE")?;
        if why == Why::Start {
            self.conn.execute("UPDATE entry SET state = 0 WHERE state < 3 AND state = 1", [])?;
            self.counts.waiting += std::mem::take(&mut self.counts.sent);
            for (link, peer) in self.parts.keys().cloned().collect::<HashSet<_>>() {
                self.break_parts(&link, &peer, "Bedside stopped in the middle of this transmission")?;
            }
        }
        // Held only because the disk could not be read: that needs nobody to come.
        let mut again = Vec::new();
        {
            let like = format!("%{UNREADABLE}%");
            let mut held =
                self.conn.prepare("SELECT id FROM entry WHERE state < 3 AND state = 2 AND reason LIKE ?1")?;
            for id in held.query_map([like], |row| row.get::<_, i64>(0))? {
                again.push(id?);
            }
        }
        for id in again {
            let reason = Some(String::from("the disk was opened again"));
            // An illegal mark is not possible for what was just found held.
            drop(self.mark(&Mark { id, to: Transition::Waiting { retry_after: None, reason } })?);
        }
        let mut tail = Vec::new();
        {
            let mut last = self.conn.prepare("SELECT id FROM frame ORDER BY id DESC LIMIT ?1")?;
            for id in last.query_map([TAIL], |row| row.get::<_, i64>(0))? {
                tail.push(id?);
            }
        }
        for id in tail {
            if self.hold_if_changed(id)? {
                shared.raise_changed(id);
            }
        }
        self.conn.execute_batch("COMMIT")
    }

    /// For a month, whoever looks at the desk must know that something may be missing.
    fn tell_of_restoration(&self, shared: &Shared) {
        let told = registry::read_setting(&self.conn, copy::RESTORED).ok().flatten();
        let told = told.and_then(|json| serde_json::from_str::<copy::Restoration>(&json).ok());
        let Some(copy::Restoration { at, micros, made }) = told else { return };
        if self.now().micros.saturating_sub(micros) > TOLD_FOR {
            return;
        }
        shared.raise(
            "restored",
            Severity::Warning,
            format!("This box was restored on {at} from a backup made {made}"),
            "What devices said between the two is not here: where it matters, ask them for it again.",
        );
    }

    /// Counts ids that were acknowledged and are not here any more, so that none of them is given twice.
    fn skip_missing(&mut self, acknowledged: i64) -> rusqlite::Result<()> {
        let missing = acknowledged - self.last_id;
        ledger::add_lost(&self.conn, missing.unsigned_abs())?;
        self.conn.execute(
            "UPDATE tally SET value = CASE name WHEN 'gone' THEN value + ?1 ELSE ?2 END WHERE name IN ('gone', 'last_id')",
            [missing, acknowledged],
        )?;
        self.last_id = acknowledged;
        self.counts = health::count(&self.conn)?;
        Ok(())
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// SQLite's own check of the pages. It tells of pages it cannot read in the same words as of pages that are
/// wrong; the first may be better in a moment.
fn check(conn: &Connection) -> rusqlite::Result<()> {
    let found: String = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if found == "ok" {
        return Ok(());
    }
    let code = found.rsplit("error code=").next().and_then(|code| code.parse::<i32>().ok());
    let extended = match code {
        Some(code) if code & 0xFF == ffi::SQLITE_IOERR => ffi::SQLITE_IOERR_READ,
        _ => ffi::SQLITE_CORRUPT,
    };
    Err(rusqlite::Error::SqliteFailure(ffi::Error::new(extended), Some(found)))
}

/// Makes what the log holds durable before anything is answered from it. A process that was killed between
/// writing and syncing leaves a commit that can be read and is not on the disk: a repetition of that frame must
/// not be answered on its strength. After a failed sync the kernel may call pages clean that it never wrote, so
/// then only a copy into the database, synced anew, will do.
fn harden(conn: &Connection, folder: &Folder, why: Why) -> rusqlite::Result<()> {
    let mut log = folder.database().into_os_string();
    log.push("-wal");
    if let Ok(log) = File::open(log)
        && let Err(error) = log.sync_all()
    {
        tracing::error!(%error, "The log could not be synced.");
        return Err(io_failure());
    }
    for _ in 0..HARDEN_TRIES {
        match checkpoint::copy_log(conn) {
            Ok(progress) if progress.all() => return Ok(()),
            Ok(_) => std::thread::sleep(HARDEN_PAUSE),
            Err(error) if no_room(&error) && why == Why::Start => {
                tracing::warn!(
                    "There is no room to copy the log into the database; the log itself is synced."
                );
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
    if why == Why::Start { Ok(()) } else { Err(io_failure()) }
}

fn io_failure() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_IOERR), None)
}

/// The disk, or the number of pages, is at its end.
pub(super) fn no_room(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}

/// The file is not what it should be.
pub(super) fn damaged(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
        || error.sqlite_extended_error_code() == Some(ffi::SQLITE_IOERR_SHORT_READ)
        || matches!(error, rusqlite::Error::SqlInputError { .. } | rusqlite::Error::InvalidColumnType(..))
}

/// A lock was not to be had for as long as SQLite tries: seconds, where nobody of this process holds one for longer than
/// a commit takes.
pub(super) fn locked(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::FileLockingProtocolFailed))
}

/// The disk does not give the file back.
fn unreadable(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_extended_error_code(), Some(ffi::SQLITE_IOERR_READ | ffi::SQLITE_IOERR_CORRUPTFS))
}

fn tell_of_databases_set_aside(folder: &Folder, shared: &Shared) {
    let names = folder.set_aside_before();
    if let Some(first) = names.first() {
        shared.raise(
            "database-set-aside",
            Severity::Warning,
            format!("{} damaged database(s) lie in the data folder, the first is {first}", names.len()),
            "What could be read was copied over. Give the file to service, then move it out of the folder.",
        );
    }
}
