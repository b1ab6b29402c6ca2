//! For the connections of everybody who reads: lent one by one, and all taken back before the database is opened anew.
//!
//! SQLite keeps the locks of a log once for the whole process, with the file of its index. A lock that could not be let
//! go (the system call failed) stays in that list until the *last* connection of the process is closed; until then
//! whoever wants it is told "database is locked", also on a connection that was opened since. So after a fault it is
//! not enough to open the writer's connection again: nobody may keep one.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use rusqlite::{Connection, InterruptHandle, ffi};

use super::health::Shared;
use super::schema;

/// How long a recall waits for those who are reading, and how often it interrupts them meanwhile.
const RECALL_LIMIT: Duration = Duration::from_secs(5);
const RECALL_EVERY: Duration = Duration::from_millis(50);
/// How long a reader waits for the end of a recall.
const READER_WAITS: Duration = Duration::from_secs(10);

/// Who reads, and which pools there are.
#[derive(Default)]
pub(super) struct Lending {
    out: Mutex<Out>,
    moved: Condvar,
}

#[derive(Default)]
struct Out {
    recalled: bool,
    next: u64,
    /// Those who read, with what interrupts them once they have their connection.
    lent: BTreeMap<u64, Option<InterruptHandle>>,
    pools: Vec<Weak<Pool>>,
}

/// Connections of one reader that nobody uses, each with the generation of the file it was opened on.
#[derive(Default)]
pub(super) struct Pool {
    idle: Mutex<Vec<(u64, Connection)>>,
}

fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Lending {
    /// A pool whose connections a recall reaches.
    pub(super) fn pool(&self) -> Arc<Pool> {
        let pool = Arc::new(Pool::default());
        let mut out = locked(&self.out);
        out.pools.retain(|known| known.strong_count() > 0);
        out.pools.push(Arc::downgrade(&pool));
        pool
    }

    /// Closes every connection of every reader: the idle ones at once, the others as soon as their question is
    /// interrupted. Whether all are closed. Nobody gets another one until the [`Recall`] ends.
    pub(super) fn recall(&self) -> (Recall<'_>, bool) {
        let began = Instant::now();
        let mut out = locked(&self.out);
        out.recalled = true;
        let idle: Vec<_> = out.pools.iter().filter_map(Weak::upgrade).map(|pool| pool.take_all()).collect();
        drop(idle);
        while !out.lent.is_empty() && began.elapsed() < RECALL_LIMIT {
            out.lent.values().flatten().for_each(InterruptHandle::interrupt);
            let waited = self.moved.wait_timeout(out, RECALL_EVERY);
            out = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let all = out.lent.is_empty();
        (Recall { lending: self }, all)
    }

    /// The place of one who reads, when nothing is being taken back.
    fn enter(&self) -> rusqlite::Result<Place<'_>> {
        let began = Instant::now();
        let mut out = locked(&self.out);
        while out.recalled {
            let Some(left) = READER_WAITS.checked_sub(began.elapsed()) else {
                let why = Some("the database is being opened anew".into());
                return Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_INTERRUPT), why));
            };
            out = self.moved.wait_timeout(out, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        out.next += 1;
        let key = out.next;
        out.lent.insert(key, None);
        Ok(Place { lending: self, key })
    }
}

/// While it lives nobody reads.
pub(super) struct Recall<'a> {
    lending: &'a Lending,
}

impl Drop for Recall<'_> {
    fn drop(&mut self) {
        locked(&self.lending.out).recalled = false;
        self.lending.moved.notify_all();
    }
}

/// One who reads.
struct Place<'a> {
    lending: &'a Lending,
    key: u64,
}

impl Place<'_> {
    fn uses(&self, conn: &Connection) {
        locked(&self.lending.out).lent.insert(self.key, Some(conn.get_interrupt_handle()));
    }

    /// Puts a connection back, unless it is wanted back.
    fn give(self, pool: &Pool, generation: u64, conn: Connection) {
        let out = locked(&self.lending.out);
        if !out.recalled {
            return locked(&pool.idle).push((generation, conn));
        }
        drop(out);
        drop(conn);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        locked(&self.lending.out).lent.remove(&self.key);
        self.lending.moved.notify_all();
    }
}

impl Pool {
    fn take_all(&self) -> Vec<(u64, Connection)> {
        std::mem::take(&mut *locked(&self.idle))
    }

    /// Asks on a connection of this pool. One that met a fault is not used again.
    pub(super) fn ask<T>(
        &self,
        shared: &Shared,
        ask: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let place = shared.lending.enter()?;
        let generation = shared.generation();
        let conn = loop {
            let idle = locked(&self.idle).pop();
            match idle {
                Some((opened, conn)) if opened == generation => break conn,
                // Opened on a file that was exchanged since.
                Some(_) => {}
                None => break schema::connect_querying(&shared.database)?,
            }
        };
        place.uses(&conn);
        let answer = ask(&conn);
        match answer {
            Ok(_) => place.give(self, generation, conn),
            // Closed before its place is free.
            Err(_) => drop(conn),
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;
    use crate::clock::TestClock;

    fn shared(dir: &std::path::Path) -> Arc<Shared> {
        let config = Config { dir: dir.to_path_buf(), ..Config::default() };
        let shared = Shared::new(&config, TestClock::at(0));
        std::fs::write(&shared.database, b"").unwrap();
        schema::migrate(&mut schema::connect_writing(&shared.database).unwrap()).unwrap();
        Arc::new(shared)
    }

    fn ones(conn: &Connection) -> rusqlite::Result<i64> {
        conn.query_row("SELECT 1", [], |row| row.get(0))
    }

    /// Counts without end.
    fn for_ever(conn: &Connection) -> rusqlite::Result<i64> {
        let endless =
            "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n";
        conn.query_row(endless, [], |row| row.get(0))
    }

    #[test]
    fn a_recall_closes_what_lies_idle_and_interrupts_who_reads() {
        let dir = tempfile::tempdir().unwrap();
        let shared = shared(dir.path());
        let (one, two) = (shared.lending.pool(), shared.lending.pool());
        assert_eq!((one.ask(&shared, ones), two.ask(&shared, ones)), (Ok(1), Ok(1)));
        let reading = std::thread::spawn({
            let (shared, pool) = (shared.clone(), shared.lending.pool());
            move || pool.ask(&shared, for_ever)
        });
        while locked(&shared.lending.out).lent.values().flatten().count() == 0 {
            std::thread::yield_now();
        }
        let (recall, all) = shared.lending.recall();
        assert!(all, "everybody gave theirs back");
        assert_eq!(locked(&one.idle).len() + locked(&two.idle).len(), 0);
        let waiting = std::thread::spawn({
            let (shared, pool) = (shared.clone(), one.clone());
            move || pool.ask(&shared, ones)
        });
        assert!(reading.join().unwrap().is_err(), "its question was cut short");
        assert!(!waiting.is_finished(), "nobody gets a connection meanwhile");
        drop(recall);
        assert_eq!(waiting.join().unwrap(), Ok(1));
    }

    #[test]
    fn a_connection_that_met_a_fault_is_not_lent_again() {
        let dir = tempfile::tempdir().unwrap();
        let shared = shared(dir.path());
        let pool = shared.lending.pool();
        assert!(pool.ask(&shared, |conn| conn.execute_batch("SELECT nothing FROM nowhere")).is_err());
        assert!(locked(&pool.idle).is_empty());
        assert!(locked(&shared.lending.out).lent.is_empty());
    }
}
