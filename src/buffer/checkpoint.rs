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

/// Copies as much of the log as nobody is reading, and syncs it.
pub(super) fn copy_log(conn: &Connection) -> rusqlite::Result<Progress> {
    conn.prepare_cached("PRAGMA wal_checkpoint(PASSIVE)")?
        .query_row([], |row| Ok(Progress { log: row.get(1)?, copied: row.get(2)? }))
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
        assert_eq!(last.copied, last.log);
        assert!(last.log > 0 && !checkpointer.failed());
    }
}
