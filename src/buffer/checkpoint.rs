//! For keeping the write-ahead log short without making anyone wait: a thread of its own copies the log into the
//! database while the writer goes on.
//!
//! A passive checkpoint copies what is committed so far and never blocks a commit. Under load it is always a
//! little behind; the log starts from its beginning again only when all of it is copied. So after two passes of
//! this thread the writer copies the short rest itself.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;

use rusqlite::Connection;

use super::{schema, store};

/// Pages in the log, and how many of them are in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) log: i64,
    pub(super) copied: i64,
}

impl Progress {
    /// Somebody else is copying, or a lock of theirs is left: nothing is known of the log.
    const UNKNOWN: Self = Self { log: 1, copied: 0 };

    /// Whether the database has all of the log.
    pub(super) const fn all(self) -> bool {
        self.copied == self.log
    }
}

/// Copies as much of the log as nobody is reading, and syncs it.
pub(super) fn copy_log(conn: &Connection) -> rusqlite::Result<Progress> {
    conn.prepare_cached("PRAGMA wal_checkpoint(PASSIVE)")?.query_row([], |row| {
        let (busy, progress): (bool, _) = (row.get(0)?, Progress { log: row.get(1)?, copied: row.get(2)? });
        // Where it could not even begin, SQLite says minus one for both.
        Ok(if busy && progress.log < 0 { Progress::UNKNOWN } else { progress })
    })
}

/// The thread and what it says of its work.
pub(super) struct Checkpointer {
    ask: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
    said: Arc<Said>,
}

#[derive(Debug, Default)]
struct Said {
    done: AtomicU64,
    busy: AtomicBool,
    failed: AtomicBool,
    last: std::sync::Mutex<Option<Progress>>,
}

impl Checkpointer {
    pub(super) fn start(database: PathBuf) -> std::io::Result<Self> {
        let (ask, asked) = sync_channel(1);
        let said = Arc::new(Said::default());
        let saying = Arc::clone(&said);
        let thread = std::thread::Builder::new().name("checkpoint".into()).spawn(move || {
            let Ok(conn) = schema::connect_writing(&database) else {
                saying.failed.store(true, Ordering::Release);
                return;
            };
            while asked.recv().is_ok() {
                saying.run(&conn);
            }
        })?;
        Ok(Self { ask: Some(ask), thread: Some(thread), said })
    }

    /// Asks for a run; nothing happens when one is under way.
    pub(super) fn ask(&self) {
        if !self.said.busy.swap(true, Ordering::AcqRel)
            && self.ask.as_ref().is_none_or(|ask| ask.try_send(()).is_err())
        {
            self.said.busy.store(false, Ordering::Release);
        }
    }

    pub(super) fn busy(&self) -> bool {
        self.said.busy.load(Ordering::Acquire)
    }

    /// Runs that ended.
    pub(super) fn done(&self) -> u64 {
        self.said.done.load(Ordering::Acquire)
    }

    /// A run met an I/O error; the database must be opened anew.
    pub(super) fn failed(&self) -> bool {
        self.said.failed.load(Ordering::Acquire)
    }

    /// How far the last run came.
    pub(super) fn last(&self) -> Option<Progress> {
        *self.said.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Said {
    fn run(&self, conn: &Connection) {
        let copied = copy_log(conn).and_then(|_| copy_log(conn));
        match copied {
            Ok(progress) => *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(progress),
            // The log keeps what it has; there will be room, or the writer will meet the same.
            Err(error) if store::no_room(&error) => {}
            Err(error) => {
                tracing::error!(%error, "The log could not be copied into the database.");
                self.failed.store(true, Ordering::Release);
            }
        }
        self.done.fetch_add(1, Ordering::AcqRel);
        self.busy.store(false, Ordering::Release);
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        drop(self.ask.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("The checkpoint thread ended by a panic.");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn what_was_committed_reaches_the_database_while_the_writer_holds_its_connection() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.db");
        std::fs::write(&path, b"").unwrap();
        let mut conn = schema::connect_writing(&path).unwrap();
        schema::migrate(&mut conn).unwrap();
        let checkpointer = Checkpointer::start(path).unwrap();
        conn.execute("INSERT INTO setting VALUES ('a', 'b')", []).unwrap();
        checkpointer.ask();
        let began = Instant::now();
        while checkpointer.done() == 0 && began.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let last = checkpointer.last().unwrap();
        assert!(last.all() && last.log > 0 && !checkpointer.failed());
    }

    #[test]
    fn a_copy_that_could_not_begin_is_not_taken_for_a_whole_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.db");
        std::fs::write(&path, b"").unwrap();
        let mut conn = schema::connect_writing(&path).unwrap();
        schema::migrate(&mut conn).unwrap();
        let other = schema::connect_writing(&path).unwrap();
        other.execute_batch("PRAGMA busy_timeout = 0").unwrap();
        // A backup's reader is behind, so this one copies and waits for it, with the lock of all who copy.
        let reader = schema::connect_querying(&path).unwrap();
        reader.execute_batch("BEGIN; SELECT count(*) FROM setting").unwrap();
        conn.execute("INSERT INTO setting VALUES ('a', 'b')", []).unwrap();
        let waits = std::thread::spawn(move || {
            conn.query_row("PRAGMA wal_checkpoint(RESTART)", [], |row| row.get::<_, bool>(0)).unwrap()
        });
        std::thread::sleep(Duration::from_millis(300));
        assert!(!copy_log(&other).unwrap().all());
        drop(reader);
        waits.join().unwrap();
        assert!(copy_log(&other).unwrap().all());
    }
}
