//! For FHIR servers and folders beside the main server: the queue of each, by entry.
//!
//! Every entry has one row in every such queue (`outgoing`, part 0, route [`ROUTE`]); what of it goes there, if anything,
//! is told when it is read. A row is in the lane of its device and is read in the order of the entries. Under whom an entry
//! went there is written beside it, as for the main server.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};

use super::BufferError;
use super::entry::State;
use super::outgoing::{self, Step, number_of};
use super::reader::{Candidate, Reader, Waiting, gather};
use crate::buffer::AttributedRow;
use crate::clock::Timestamp;

/// What stands in the column `route` of these rows.
pub(super) const ROUTE: &str = "*";
/// Entries taken into a queue in one go.
const TAKEN_AT_ONCE: i64 = 2_000;

/// The schema step of these queues. `destination.made` and `gone`: rows ever made, and rows deleted with their entry:
/// at every moment made = waiting + sent + held + done + gone.
pub(super) const TABLES: &str = "
ALTER TABLE destination ADD COLUMN made INTEGER NOT NULL DEFAULT 0;
ALTER TABLE destination ADD COLUMN gone INTEGER NOT NULL DEFAULT 0;
UPDATE destination SET made = (SELECT count(*) FROM outgoing WHERE outgoing.destination = destination.id);
CREATE INDEX outgoing_waiting ON outgoing (destination, entry, lane) WHERE state = 0;
CREATE TABLE outgoing_attributed (
  destination INTEGER NOT NULL, entry INTEGER NOT NULL, attribution INTEGER NOT NULL, decided INTEGER NOT NULL,
  withdrawn INTEGER, who TEXT, why TEXT, caused INTEGER, PRIMARY KEY (entry, destination, attribution)) STRICT, WITHOUT ROWID;
";

/// A change of one queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedChange {
    /// Queues the entries that had their first look: those of a known device, and the others up to `seen`.
    Take { seen: i64 },
    /// What was on its way when the process ended waits again.
    Restart,
    /// Moves the row of an entry along its states.
    Mark { entry: i64, to: Step },
    /// Every entry of this span that is there goes again; those that were never queued are queued.
    Replay { first: i64, last: i64 },
    /// The entry goes there under this.
    Attributed { entry: i64, parts: String },
    /// What it went there under is wrong, and is to be taken back when it goes again.
    Withdraw { entry: i64, parts: String, who: String, why: String },
    /// It was taken back.
    Withdrawn { entry: i64, parts: Vec<String> },
}

/// Writes one change into the open transaction; the inner error says why it is not allowed.
pub(super) fn apply(
    conn: &Connection,
    destination: &str,
    change: &FeedChange,
    now: Timestamp,
) -> rusqlite::Result<Result<(), String>> {
    let number = match number_of(conn, destination)? {
        Ok(number) => number,
        Err(unknown) => return Ok(Err(unknown)),
    };
    match change {
        FeedChange::Take { seen } => take(conn, number, *seen, now)?,
        FeedChange::Restart => {
            conn.prepare_cached(
                "UPDATE outgoing SET state = 0 WHERE destination = ?1 AND state < 3 AND state = 1",
            )?
            .execute([number])?;
        }
        FeedChange::Mark { entry, to } => {
            let id = conn
                .prepare_cached("SELECT id FROM outgoing WHERE destination = ?1 AND entry = ?2 AND part = 0")?
                .query_row([number, *entry], |row| row.get(0))
                .optional()?;
            let Some(id) = id else { return Ok(Err(format!("entry {entry} is not queued there"))) };
            return outgoing::take_step(conn, id, to, now);
        }
        FeedChange::Replay { first, last } => replay(conn, number, (*first, *last), now)?,
        FeedChange::Attributed { entry, parts } => {
            name(conn, parts)?;
            conn.prepare_cached(
                "INSERT INTO outgoing_attributed (destination, entry, attribution, decided)
                 SELECT ?1, ?2, id, ?4 FROM attribution WHERE parts = ?3
                 ON CONFLICT DO UPDATE SET withdrawn = NULL, decided = excluded.decided, who = NULL, why = NULL, caused = NULL",
            )?
            .execute(params![number, entry, parts, now.micros])?;
        }
        FeedChange::Withdraw { entry, parts, who, why } => {
            name(conn, parts)?;
            conn.prepare_cached(
                "INSERT INTO outgoing_attributed (destination, entry, attribution, decided, who, why, caused)
                 SELECT ?1, ?2, id, ?4, ?5, ?6, ?4 FROM attribution WHERE parts = ?3
                 ON CONFLICT DO UPDATE SET who = excluded.who, why = excluded.why, caused = excluded.caused",
            )?
            .execute(params![number, entry, parts, now.micros, who, why])?;
        }
        FeedChange::Withdrawn { entry, parts } => {
            for part in parts {
                conn.prepare_cached(
                    "UPDATE outgoing_attributed SET withdrawn = ?4 WHERE destination = ?1 AND entry = ?2 AND withdrawn IS NULL
                       AND attribution = (SELECT id FROM attribution WHERE parts = ?3)",
                )?
                .execute(params![number, entry, part, now.micros])?;
            }
        }
    }
    Ok(Ok(()))
}

/// A text of the parts is kept once.
fn name(conn: &Connection, parts: &str) -> rusqlite::Result<usize> {
    conn.prepare_cached("INSERT OR IGNORE INTO attribution (parts) VALUES (?1)")?.execute([parts])
}

/// The lane of a device, or of the link where no device is known.
const ROWS: &str = "INSERT OR IGNORE INTO outgoing (destination, entry, part, route, lane, state, queued)
    SELECT ?1, id, 0, ?4, coalesce(device * 2, link * 2 + 1), 0, ?5 FROM entry WHERE id BETWEEN ?2 AND ?3 ORDER BY id";

fn queue(conn: &Connection, number: i64, span: (i64, i64), now: Timestamp) -> rusqlite::Result<()> {
    let made = conn.prepare_cached(ROWS)?.execute(params![number, span.0, span.1, ROUTE, now.micros])?;
    conn.prepare_cached("UPDATE destination SET made = made + ?2 WHERE id = ?1")?
        .execute(params![number, made as i64])
        .map(drop)
}

fn take(conn: &Connection, number: i64, seen: i64, now: Timestamp) -> rusqlite::Result<()> {
    let (through, last): (i64, i64) = conn
        .prepare_cached(
            "SELECT through, (SELECT coalesce(max(id), 0) FROM entry) FROM destination WHERE id = ?1",
        )?
        .query_row([number], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let upto = last.min(through.saturating_add(TAKEN_AT_ONCE));
    let unseen: Option<i64> = conn
        .prepare_cached(
            "SELECT min(id) FROM entry WHERE id > ?1 AND id <= ?2 AND id > ?3 AND state = 0 AND device IS NULL",
        )?
        .query_row([through, upto, seen], |row| row.get(0))?;
    let upto = unseen.map_or(upto, |first| first - 1);
    if upto <= through {
        return Ok(());
    }
    queue(conn, number, (through + 1, upto), now)?;
    conn.prepare_cached("UPDATE destination SET through = ?2 WHERE id = ?1")?
        .execute([number, upto])
        .map(drop)
}

fn replay(conn: &Connection, number: i64, span: (i64, i64), now: Timestamp) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "UPDATE outgoing SET state = 0, next_try = NULL, reason = NULL
         WHERE destination = ?1 AND entry BETWEEN ?2 AND ?3 AND state = 3",
    )?
    .execute(params![number, span.0, span.1])?;
    let through: i64 = conn
        .prepare_cached("SELECT through FROM destination WHERE id = ?1")?
        .query_row([number], |row| row.get(0))?;
    queue(conn, number, (span.0, span.1.min(through)), now)
}

/// Deletes what the queues hold of an entry that is purged; to be called for an entry that no destination needs any more
/// ([`outgoing::needs`]), in the transaction that deletes it.
pub(super) fn forget_entry(conn: &Connection, entry: i64) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "UPDATE destination SET gone = gone
           + (SELECT count(*) FROM outgoing WHERE entry = ?1 AND outgoing.destination = destination.id)
         WHERE id IN (SELECT destination FROM outgoing WHERE entry = ?1)",
    )?
    .execute([entry])?;
    conn.prepare_cached("DELETE FROM outgoing WHERE entry = ?1")?.execute([entry]).map(drop)
}

/// Who has something waiting that is older: lanes of a queue, or devices of the main one.
pub type Behind = Arc<HashSet<i64>>;

const WAITING: &str =
    "SELECT entry, lane, attempts, late FROM outgoing JOIN destination ON destination.id = outgoing.destination
    WHERE outgoing.destination = (SELECT id FROM destination WHERE name = ?1) AND destination.paused = 0
      AND outgoing.state = 0 AND entry > ?2 ORDER BY entry";
const DELAYED: &str = "SELECT entry, lane, next_try FROM outgoing
    WHERE destination = (SELECT id FROM destination WHERE name = ?1) AND next_try IS NOT NULL AND next_try > ?2";
const LANES_BEHIND: &str = "SELECT DISTINCT lane FROM outgoing
    WHERE destination = (SELECT id FROM destination WHERE name = ?1) AND state = 0 AND entry <= ?2";
const DEVICES_BEHIND: &str =
    "SELECT DISTINCT coalesce(device, 0) FROM entry WHERE state < 3 AND state = 0 AND id <= ?1";

/// What is asked of a queue.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Entries after this one.
    pub after: i64,
    pub limit: usize,
    pub max_bytes: usize,
    /// Not of these.
    pub behind: Option<Behind>,
}

fn waiting(
    conn: &Connection,
    destination: &str,
    wanted: &Wanted,
    now: Timestamp,
) -> rusqlite::Result<(Waiting, Vec<i64>)> {
    let conn = conn.unchecked_transaction()?;
    let mut found = Waiting { through: wanted.after, lead: wanted.after, ..Waiting::default() };
    let mut delayed: HashMap<i64, i64> = HashMap::new();
    let mut late = conn.prepare_cached(DELAYED)?;
    let mut rows = late.query(params![destination, now.micros])?;
    while let Some(row) = rows.next()? {
        let (entry, lane, at): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        delayed.entry(lane).and_modify(|first| *first = entry.min(*first)).or_insert(entry);
        let at = Timestamp::from_micros(at, now.synchronised);
        found.next_try = Some(found.next_try.map_or(at, |earliest| earliest.min(at)));
    }
    let mut next = conn.prepare_cached(WAITING)?;
    let mut rows = next.query(params![destination, wanted.after])?;
    let candidates = || {
        let Some(row) = rows.next()? else { return Ok(None) };
        let (id, lane, attempts): (i64, i64, u32) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let late = row.get::<_, Option<bool>>(3)?.unwrap_or(false);
        Ok(Some(Candidate {
            id,
            behind: wanted.behind.as_ref().is_some_and(|behind| behind.contains(&lane)),
            stopped: delayed.get(&lane).is_some_and(|first| *first <= id),
            own: Some((attempts, late)),
        }))
    };
    let changed = gather(&conn, wanted, &mut found, candidates)?;
    Ok((found, changed))
}

/// The last frame that was received before a time; 0 when there is none.
pub(super) fn last_received_before(conn: &Connection, at: i64) -> rusqlite::Result<i64> {
    let ends = "SELECT coalesce(min(id), 1) - 1, coalesce(max(id), 0) + 1 FROM frame";
    let (mut low, mut high): (i64, i64) = conn.query_row(ends, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        // An id may be gone: the next one that is there tells.
        let received: Option<i64> = conn
            .prepare_cached("SELECT received FROM frame WHERE id >= ?1 ORDER BY id LIMIT 1")?
            .query_row([middle], |row| row.get(0))
            .optional()?;
        if received.is_some_and(|received| received < at) { low = middle } else { high = middle }
    }
    Ok(low)
}

impl Reader {
    /// What can go to a destination now, in the order of the entries: nothing behind one of its device that has to wait;
    /// nothing at all while a person has paused it.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn waiting_at(&self, destination: &str, wanted: Wanted) -> Result<Waiting, BufferError> {
        let (destination, now) = (destination.to_owned(), self.now());
        let find = move |conn: &Connection| waiting(conn, &destination, &wanted, now);
        let (waiting, changed) = self.read("reading what waits for a destination", find).await?;
        for id in changed {
            self.quarantine(id);
        }
        Ok(waiting)
    }

    /// Who has something waiting among the entries up to `through`: lanes of a destination, or devices of the main queue (0
    /// for an unknown one).
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn behind(&self, destination: Option<&str>, through: i64) -> Result<Behind, BufferError> {
        let destination = destination.map(ToOwned::to_owned);
        let find = move |conn: &Connection| {
            let number = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
            match destination {
                Some(name) => {
                    conn.prepare_cached(LANES_BEHIND)?.query_map(params![name, through], number)?.collect()
                }
                None => conn.prepare_cached(DEVICES_BEHIND)?.query_map([through], number)?.collect(),
            }
        };
        self.read("reading who has a backlog", find).await.map(Arc::new)
    }

    /// Under whom an entry went to a destination and was not taken back since.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub fn attributed_at_now(
        &self,
        destination: &str,
        entry: i64,
    ) -> Result<Vec<AttributedRow>, BufferError> {
        const ROWS: &str =
            "SELECT entry, parts, decided, withdrawn, who, why, caused FROM outgoing_attributed
            JOIN attribution ON attribution.id = outgoing_attributed.attribution
            WHERE entry = ?2 AND destination = (SELECT id FROM destination WHERE name = ?1) ORDER BY decided";
        self.read_now("reading attributions", |conn| {
            conn.prepare_cached(ROWS)?
                .query_map(params![destination, entry], super::association::attributed_row)?
                .collect()
        })
    }

    /// The last id of all entries that were received before `at`, clocks that were set back aside; when there is none, the one
    /// before the first that is kept.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn last_received_before(&self, at: i64) -> Result<i64, BufferError> {
        self.read("finding when entries were received", move |conn| last_received_before(conn, at)).await
    }

    /// Accepted entries of the main queue after `after` and up to `last` that were sent once, the oldest first.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn sent_between(&self, after: i64, last: i64, limit: u32) -> Result<Vec<i64>, BufferError> {
        const ROWS: &str = "SELECT id FROM entry WHERE id > ?1 AND id <= ?2 AND state = 3 AND attempts > 0 ORDER BY id LIMIT ?3";
        self.read("reading what was sent", move |conn| {
            conn.prepare_cached(ROWS)?.query_map(params![after, last, limit], |row| row.get(0))?.collect()
        })
        .await
    }

    /// The destinations that had this entry before, all its rows being of this room.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub fn sent_to_now(&self, entry: i64) -> Result<Vec<(String, State)>, BufferError> {
        const ROWS: &str = "SELECT destination.name, outgoing.state FROM outgoing
            JOIN destination ON destination.id = outgoing.destination
            WHERE entry = ?1 AND route = ?2 AND attempts > 0 AND wanted = 1 ORDER BY destination.name";
        self.read_now("reading where an entry went", |conn| {
            let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, State::of(row.get(1)?)));
            conn.prepare_cached(ROWS)?.query_map(params![entry, ROUTE], read)?.collect()
        })
    }
}

#[cfg(test)]
#[path = "feed_tests.rs"]
mod tests;
