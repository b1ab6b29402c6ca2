//! For those who look without taking part: the first look at new entries, the desk after a restart, and
//! `bedside status` beside a running box.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rusqlite::Connection;

use super::folder::{DATABASE, LOCK};
use super::health::{self, Counts};
use super::ledger::{self, Ledger};
use super::reader::{Reader, Stored, read_stored};
use super::{BufferError, schema};

pub(super) const FRESH: &str =
    "SELECT id FROM entry WHERE state < 3 AND state = 0 AND id > ?1 ORDER BY id LIMIT ?2";
const RECENT: &str = "SELECT id FROM entry ORDER BY id DESC LIMIT ?1";

impl Reader {
    /// Waiting entries after `after` whether or not their time has come, oldest first, about `max_bytes` of them
    /// (one is always given). Bytes are verified; changed ones are held and left out.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn fresh(&self, after: i64, limit: u32, max_bytes: usize) -> Result<Vec<Stored>, BufferError> {
        let gather = move |conn: &Connection| gather(conn, FRESH, [after, i64::from(limit)], max_bytes);
        Ok(self.whole(self.read("reading new entries", gather).await?))
    }

    /// The latest entries in any state, oldest first, about `max_bytes` of them.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn recent(&self, limit: u32, max_bytes: usize) -> Result<Vec<Stored>, BufferError> {
        let gather = move |conn: &Connection| gather(conn, RECENT, [i64::from(limit)], max_bytes);
        let mut found = self.whole(self.read("reading the latest entries", gather).await?);
        found.reverse();
        Ok(found)
    }

    fn whole(&self, (found, changed): (Vec<Stored>, Vec<i64>)) -> Vec<Stored> {
        for id in changed {
            self.quarantine(id);
        }
        found
    }
}

/// The entries that `ids` names, and the ids of those whose bytes changed.
fn gather<const N: usize>(
    conn: &Connection,
    ids: &str,
    given: [i64; N],
    max_bytes: usize,
) -> rusqlite::Result<(Vec<Stored>, Vec<i64>)> {
    let snapshot = conn.unchecked_transaction()?;
    let mut statement = snapshot.prepare_cached(ids)?;
    let mut rows = statement.query(rusqlite::params_from_iter(given))?;
    let (mut found, mut changed) = (Vec::new(), Vec::new());
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        let id = row.get(0)?;
        let Some(stored) = read_stored(&snapshot, id)? else {
            changed.push(id);
            continue;
        };
        bytes += stored.bytes.len();
        if bytes > max_bytes && !found.is_empty() {
            break;
        }
        found.push(stored);
    }
    Ok((found, changed))
}

/// What can be said of a buffer from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glance {
    pub counts: Counts,
    /// Where everything went that came; what was refused and noise as of a minute ago.
    pub ledger: Ledger,
    /// Bytes of the database with its log.
    pub bytes: u64,
    /// A process has the folder.
    pub running: bool,
}

/// Looks at the buffer in `dir` without locking or changing it.
///
/// # Errors
/// [`BufferError::Folder`] when there is none, [`BufferError::Newer`], [`BufferError::Storage`].
pub fn glance(dir: &Path) -> Result<Glance, BufferError> {
    let path = dir.join(DATABASE);
    let size = |name: &str| std::fs::metadata(dir.join(name)).map(|file| file.len());
    let bytes = size(DATABASE).map_err(|source| BufferError::Folder { path: path.clone(), source })?
        + size("bedside.db-wal").unwrap_or(0);
    schema::refuse_what_is_not_ours(&path)?;
    let looked = schema::connect_querying(&path).and_then(|conn| {
        // One snapshot for both, beside a running box.
        let snapshot = conn.unchecked_transaction()?;
        Ok((health::count(&snapshot)?, ledger::by_sql(&snapshot)?))
    });
    let (counts, ledger) =
        looked.map_err(|source| BufferError::Storage { doing: "looking at the buffer", source })?;
    Ok(Glance { counts, ledger, bytes, running: is_running(dir) })
}

/// Whether a process holds the lock, as the kernel lists it. Trying the lock would tell as well, but for that
/// moment it would be ours, and a Bedside starting just then would be turned away.
fn is_running(dir: &Path) -> bool {
    let Ok(lock) = std::fs::metadata(dir.join(LOCK)) else { return false };
    let Ok(locks) = std::fs::read_to_string("/proc/locks") else { return false };
    let inode = format!(":{}", lock.ino());
    locks.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.get(1) == Some(&"FLOCK") && words.get(5).is_some_and(|place| place.ends_with(&inode))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::{Buffer, Config, Mark, NewFrame, Transition};
    use crate::clock::{Clock, TestClock};

    fn frame(n: u8, clock: &dyn Clock) -> NewFrame {
        NewFrame {
            link: "l".into(),
            peer: "p".into(),
            received: clock.now(),
            bytes: bytes::Bytes::from(vec![n; 10]),
            topic: None,
            dedupe: false,
            warnings: Vec::new(),
            held: None,
        }
    }

    #[tokio::test]
    async fn new_entries_are_seen_even_when_an_older_one_waits_for_its_time() {
        let dir = tempfile::tempdir().unwrap();
        let clock = TestClock::at(1_000_000_000);
        let config = Config { dir: dir.path().into(), ..Config::default() };
        let buffer = Buffer::open(&config, clock.clone()).unwrap();
        let first = buffer.keep(frame(1, &*clock)).await.unwrap().id;
        let later = Transition::Waiting {
            retry_after: Some(clock.now().plus(std::time::Duration::from_secs(60))),
            reason: None,
        };
        buffer.mark(vec![Mark { id: first, to: later }]).await.unwrap();
        let second = buffer.keep(frame(2, &*clock)).await.unwrap().id;
        let reader = buffer.reader();
        let ids = |found: Vec<Stored>| found.iter().map(|s| s.id).collect::<Vec<_>>();
        assert_eq!(ids(reader.fresh(first, 10, 1000).await.unwrap()), [second]);
        assert_eq!(ids(reader.recent(10, 1000).await.unwrap()), [first, second]);
        assert_eq!(ids(reader.recent(10, 10).await.unwrap()), [second], "the byte limit keeps the latest");
        let seen = glance(dir.path()).unwrap();
        assert!(seen.running);
        assert_eq!(seen.counts.waiting, 2);
        buffer.close().await;
        drop((reader, buffer));
        assert!(!glance(dir.path()).unwrap().running);
    }

    #[test]
    fn a_folder_without_a_buffer_is_said_to_have_none() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(glance(dir.path()), Err(BufferError::Folder { .. })));
    }
}
