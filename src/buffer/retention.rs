//! For the room frames take: what may be purged, when, and what is done when nothing may be.
//!
//! Only accepted entries are purged: the ones older than the configured days, and the oldest ones when the
//! database comes near its quota. What is waiting, sent or held stays, whatever its age, and so does what a destination
//! still needs.

use rusqlite::{OptionalExtension, params};

use super::association;
use super::entry::State;
use super::store::Store;
use super::{feed, outgoing};

/// Entries purged in one transaction: a few milliseconds at most.
const BATCH: usize = 256;
/// Entries looked at for one batch, and for each one wanted: a backlog that may not be purged must not be walked in one
/// go.
const EXAMINED: usize = 4_096;
const EXAMINED_FOR_ONE: usize = 16;
/// Batches purged at once when a sender is waiting for the room.
const BATCHES_FOR_ROOM: usize = 16;
/// Pages given back to the disk at a time, and how many free ones are kept for the frames to come.
const GIVE_BACK_PAGES: u32 = 256;
const KEEP_FREE_PAGES: u64 = 4_096;
/// What a frame takes besides its bytes: its row, its entry, its places in the indices.
const FRAME_COSTS: u64 = 512;
const PAGE: u64 = 4_096;

pub(super) const NEXT_TO_LOOK_AT: &str = "SELECT id, state FROM entry WHERE id > ?1 ORDER BY id LIMIT ?2";
/// What is kept because of an entry, each row found by an index.
pub(super) const GOES_WITH: [&str; 4] = [
    "DELETE FROM frame WHERE id = ?1",
    "DELETE FROM entry WHERE id = ?1",
    "DELETE FROM person_entry WHERE entry = ?1",
    "DELETE FROM unattributed WHERE entry = ?1",
];
/// Under whom it went out, and to whom; a text of the parts goes with the last that needs it.
pub(super) const ATTRIBUTIONS: &str = "SELECT attribution FROM attributed WHERE entry = ?1
    UNION SELECT attribution FROM onward WHERE entry = ?1 UNION SELECT attribution FROM outgoing_attributed WHERE entry = ?1";
pub(super) const FORGET_ATTRIBUTED: [&str; 2] =
    ["DELETE FROM attributed WHERE entry = ?1", "DELETE FROM onward WHERE entry = ?1"];
pub(super) const FORGET_ATTRIBUTION: &str = "DELETE FROM attribution WHERE id = ?1
    AND NOT EXISTS (SELECT 1 FROM attributed WHERE attribution = ?1)
    AND NOT EXISTS (SELECT 1 FROM onward WHERE attribution = ?1)
    AND NOT EXISTS (SELECT 1 FROM outgoing_attributed WHERE attribution = ?1)";

/// Pages of the database: all, and those nobody uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pages {
    all: u64,
    pub(super) free: u64,
}

impl Pages {
    pub(super) const fn used_bytes(self) -> u64 {
        self.all.saturating_sub(self.free) * PAGE
    }

    pub(super) const fn free_bytes(self) -> u64 {
        self.free * PAGE
    }
}

/// Which accepted entries may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// Received before this time.
    Before(i64),
    /// Any, the oldest first.
    Oldest,
}

/// What one batch did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Purged {
    pub(super) gone: u64,
    /// The search has not come to its end; another batch may find more.
    pub(super) more: bool,
}

impl Store {
    pub(super) fn pages(&self) -> rusqlite::Result<Pages> {
        let number = |sql| {
            self.conn.prepare_cached(sql)?.query_row([], |row| row.get::<_, i64>(0)).map(i64::unsigned_abs)
        };
        Ok(Pages { all: number("PRAGMA page_count")?, free: number("PRAGMA freelist_count")? })
    }

    /// Whether `frames` of `bytes` in all fit the quota, after purging what may be purged for them. `used`: the
    /// bytes in use after the last commit.
    pub(super) fn make_room(
        &mut self,
        frames: u64,
        bytes: u64,
        mut used: u64,
        max_bytes: u64,
    ) -> rusqlite::Result<bool> {
        let wanted = bytes + frames * FRAME_COSTS;
        for _ in 0..BATCHES_FOR_ROOM {
            if used + wanted <= max_bytes {
                return Ok(true);
            }
            if self.counts.accepted == 0 {
                return Ok(false);
            }
            self.purge(Which::Oldest)?;
            used = self.pages()?.used_bytes();
        }
        Ok(used + wanted <= max_bytes)
    }

    /// Purges one batch in a transaction of its own.
    pub(super) fn purge(&mut self, which: Which) -> rusqlite::Result<Purged> {
        let (counts, from) = (self.counts, self.purge_from);
        self.conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let purged = self
            .purge_within(which, BATCH)
            .and_then(|purged| self.conn.execute_batch("COMMIT").map(|()| purged));
        if purged.is_err() {
            (self.counts, self.purge_from) = (counts, from);
            // Where even this fails the caller gives the connection up.
            drop(self.conn.execute_batch("ROLLBACK"));
        }
        purged
    }

    /// The same in the transaction that is open now, at most `limit` entries. The counts are of that transaction.
    pub(super) fn purge_within(&mut self, which: Which, limit: usize) -> rusqlite::Result<Purged> {
        let (ids, next) = self.purgeable(which, limit)?;
        for id in &ids {
            self.take_out(*id)?;
        }
        if !ids.is_empty() {
            self.conn
                .prepare_cached(
                    "UPDATE tally SET value = CASE name WHEN 'gone' THEN value + ?1 ELSE ?2 END
                     WHERE name IN ('gone', 'last_id')",
                )?
                .execute(params![i64::try_from(ids.len()).unwrap_or(i64::MAX), self.last_id])?;
        }
        let gone = ids.len() as u64;
        self.counts.purged(gone);
        self.purge_from = next.unwrap_or(0);
        Ok(Purged { gone, more: next.is_some() })
    }

    /// Deletes an entry and all that is kept because of it.
    fn take_out(&self, id: i64) -> rusqlite::Result<()> {
        let conn = &self.conn;
        association::purging(conn, id)?;
        let mut under = conn.prepare_cached(ATTRIBUTIONS)?;
        let attributions: Vec<i64> =
            under.query_map([id], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        feed::forget_entry(conn, id)?;
        for sql in GOES_WITH.into_iter().chain(FORGET_ATTRIBUTED) {
            conn.prepare_cached(sql)?.execute([id])?;
        }
        for attribution in attributions {
            conn.prepare_cached(FORGET_ATTRIBUTION)?.execute([attribution])?;
        }
        Ok(())
    }

    /// Whether nobody needs this entry any more: it is accepted, and so is everything that other systems get of it.
    fn may_go(&self, id: i64, state: State) -> rusqlite::Result<bool> {
        Ok(state == State::Accepted && !outgoing::needs(&self.conn, id)?)
    }

    /// The next accepted entries that may go, and where to search on; `None` at the end. By age the end is the
    /// first one that is young enough: ids are in order of arrival, but for a clock that was set back, and what
    /// such a clock hides goes a little later.
    fn purgeable(&self, which: Which, limit: usize) -> rusqlite::Result<(Vec<i64>, Option<i64>)> {
        let mut next = self.conn.prepare_cached(NEXT_TO_LOOK_AT)?;
        let mut received = self.conn.prepare_cached("SELECT received FROM frame WHERE id = ?1")?;
        let examined = (limit * EXAMINED_FOR_ONE).min(EXAMINED);
        let mut rows = next.query(params![self.purge_from, i64::try_from(examined).unwrap_or(i64::MAX)])?;
        let (mut ids, mut at, mut seen) = (Vec::new(), None, 0);
        while let Some(row) = rows.next()? {
            let id: i64 = row.get(0)?;
            (at, seen) = (Some(id), seen + 1);
            if !self.may_go(id, State::of(row.get(1)?))? {
                continue;
            }
            if let Which::Before(limit) = which
                && received
                    .query_row([id], |row| row.get::<_, i64>(0))
                    .optional()?
                    .is_some_and(|at| at >= limit)
            {
                return Ok((ids, None));
            }
            ids.push(id);
            if ids.len() == limit {
                return Ok((ids, at));
            }
        }
        Ok((ids, at.filter(|_| seen == examined)))
    }

    /// Gives free pages back to the disk when there are many more than will soon be used; whether it did.
    pub(super) fn give_back(&self) -> rusqlite::Result<bool> {
        let pages = self.pages()?;
        if pages.free < KEEP_FREE_PAGES || pages.free * 4 < pages.all {
            return Ok(false);
        }
        let mut vacuum = self.conn.prepare(&format!("PRAGMA incremental_vacuum({GIVE_BACK_PAGES})"))?;
        let mut steps = vacuum.query([])?;
        while steps.next()?.is_some() {}
        Ok(true)
    }
}
