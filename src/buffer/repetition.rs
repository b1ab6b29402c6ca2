//! For the question "did we keep these bytes before?", asked for every frame and answered without making the
//! inserts dear.
//!
//! An index on the hash would dirty one random page for every frame, more than the frame itself. So new hashes
//! are gathered in memory and swept into the table `seen` in order of the hash, a stretch of it with every few
//! groups: neighbours share a page. Hashes that were not swept yet are read again from `entry` at the start
//! (`seen_through` tells from where). `seen` is cut into buckets of 2^20 ids: a page is then revisited often, and a
//! bucket whose entries are all purged goes as a whole. What is found is only a candidate; the caller compares
//! link and full SHA-256.

use std::collections::BTreeSet;

use rusqlite::{Connection, params};

use super::filter::Filters;

/// Hashes gathered before they are swept: about 0.5 MiB of memory, and what a start reads again.
const GATHER: usize = 16_384;
/// Hashes swept with one group, once this many new ones came. Twice as fast as they gather, so a sweep ends
/// before the next begins.
const STRETCH: usize = 256;
const DUE_EVERY: usize = STRETCH / 2;
/// Ids to a bucket, as a power of two.
pub(super) const BUCKET_BITS: u32 = 20;
/// Rows of an outlived bucket deleted at a time.
const DROP_AT_ONCE: u32 = 2_048;

/// Two questions, each answered by one end of the key; asked as one they would read the whole table.
pub(super) const BUCKETS: &str = "SELECT (SELECT min(bucket) FROM seen), (SELECT max(bucket) FROM seen)";
pub(super) const CANDIDATES: &str = "SELECT id FROM seen WHERE bucket = ?1 AND prefix = ?2";
pub(super) const LATE: &str = "SELECT prefix, id FROM entry WHERE id > ?1 ORDER BY id";
pub(super) const DROP: &str = "DELETE FROM seen WHERE (bucket, prefix, id) IN
    (SELECT bucket, prefix, id FROM seen WHERE bucket = ?1 LIMIT ?2)";

/// The first 8 bytes of a SHA-256 as SQLite's kind of integer.
pub(super) fn prefix(sha256: &[u8; 32]) -> i64 {
    let [a, b, c, d, e, f, g, h, ..] = *sha256;
    i64::from_be_bytes([a, b, c, d, e, f, g, h])
}

const fn bucket(id: i64) -> i64 {
    id >> BUCKET_BITS
}

/// The hashes in memory, and what of `seen` must be asked.
#[derive(Debug, Default)]
pub(super) struct Repetitions {
    /// Not on their way yet.
    gathering: BTreeSet<(i64, i64)>,
    /// Being swept; the stretch in a transaction leaves only when that is committed.
    sweeping: BTreeSet<(i64, i64)>,
    /// The highest id in `sweeping` when the sweep began.
    sweep_end: i64,
    due: usize,
    /// First and last bucket that `seen` may have.
    buckets: Option<(i64, i64)>,
    filters: Filters,
}

impl Repetitions {
    /// Reads what the last sweep did not finish.
    pub(super) fn load(conn: &Connection) -> rusqlite::Result<Self> {
        let through: i64 =
            conn.query_row("SELECT value FROM tally WHERE name = 'seen_through'", [], |row| row.get(0))?;
        let mut late = conn.prepare_cached(LATE)?;
        let gathering = late
            .query_map([through], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<_>>()?;
        let buckets = conn.query_row(BUCKETS, [], |row| {
            Ok(row.get::<_, Option<i64>>(0)?.zip(row.get::<_, Option<i64>>(1)?))
        })?;
        Ok(Self { gathering, buckets, ..Self::default() })
    }

    /// Ids of frames whose SHA-256 begins with `prefix`, the latest first.
    pub(super) fn candidates(&self, conn: &Connection, prefix: i64) -> rusqlite::Result<Vec<i64>> {
        let range = (prefix, 0)..=(prefix, i64::MAX);
        let mut ids: Vec<i64> =
            self.gathering.range(range.clone()).chain(self.sweeping.range(range)).map(|x| x.1).collect();
        if let Some((first, last)) = self.buckets {
            let mut seen = conn.prepare_cached(CANDIDATES)?;
            for bucket in (first..=last).filter(|bucket| self.filters.may_have(*bucket, prefix)) {
                for id in seen.query_map(params![bucket, prefix], |row| row.get(0))? {
                    ids.push(id?);
                }
            }
        }
        ids.sort_unstable_by(|a, b| b.cmp(a));
        ids.dedup();
        Ok(ids)
    }

    /// A frame was inserted, in the transaction that is open now.
    pub(super) fn add(&mut self, prefix: i64, id: i64) {
        self.gathering.insert((prefix, id));
        self.due += 1;
    }

    /// Writes the next stretch, if it is due, into the transaction that is open now. When that fails to commit,
    /// `load` must be called; when it succeeds, [`swept`](Self::swept) with what is returned.
    pub(super) fn sweep(&mut self, conn: &Connection) -> rusqlite::Result<usize> {
        if self.sweeping.is_empty() && self.gathering.len() >= GATHER {
            self.sweeping = std::mem::take(&mut self.gathering);
            self.sweep_end = self.sweeping.iter().map(|(_, id)| *id).max().unwrap_or(0);
            self.due = 0;
        }
        if self.sweeping.is_empty() || self.due < DUE_EVERY {
            return Ok(0);
        }
        let stretch = STRETCH * (self.due / DUE_EVERY);
        let mut insert =
            conn.prepare_cached("INSERT OR IGNORE INTO seen (bucket, prefix, id) VALUES (?1, ?2, ?3)")?;
        let mut written = 0;
        for (prefix, id) in self.sweeping.iter().take(stretch) {
            insert.execute(params![bucket(*id), prefix, id])?;
            written += 1;
        }
        if written == self.sweeping.len() {
            conn.prepare_cached("UPDATE tally SET value = ?1 WHERE name = 'seen_through'")?
                .execute([self.sweep_end])?;
        }
        Ok(written)
    }

    /// The stretch is committed.
    pub(super) fn swept(&mut self, written: usize) {
        if written == 0 {
            return;
        }
        self.due = 0;
        for _ in 0..written {
            let Some((prefix, id)) = self.sweeping.pop_first() else { break };
            let at = bucket(id);
            self.filters.add(at, prefix);
            self.buckets = Some(self.buckets.map_or((at, at), |(first, last)| (first.min(at), last.max(at))));
        }
    }

    /// Deletes some rows of the first bucket when no entry of it is left; whether there is more to do.
    pub(super) fn drop_outlived(&mut self, conn: &Connection) -> rusqlite::Result<bool> {
        let Some((first, last)) = self.buckets.filter(|(first, last)| first < last) else { return Ok(false) };
        let oldest: Option<i64> = conn.query_row("SELECT min(id) FROM entry", [], |row| row.get(0))?;
        if oldest.is_some_and(|id| bucket(id) <= first) {
            return Ok(false);
        }
        let gone = conn.execute(DROP, params![first, DROP_AT_ONCE])?;
        self.filters.forget(first);
        if gone == 0 {
            self.buckets = Some((first + 1, last));
        }
        Ok(true)
    }

    /// Reads some rows into the filters of the buckets; whether there is more to do. Not inside a transaction: what it
    /// reads must be committed.
    pub(super) fn sift(&mut self, conn: &Connection, rows: u32) -> rusqlite::Result<bool> {
        let Some(buckets) = self.buckets else { return Ok(false) };
        self.filters.make(conn, buckets, rows)
    }

    /// The same memory after a transaction that failed: complete buckets are what they were.
    pub(super) fn reload(&mut self, conn: &Connection) -> rusqlite::Result<()> {
        let filters = std::mem::take(&mut self.filters);
        *self = Self { filters, ..Self::load(conn)? };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::schema;
    use super::*;

    fn database() -> (tempfile::TempDir, Connection) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.db");
        std::fs::write(&path, b"").unwrap();
        let mut conn = schema::connect_writing(&path).unwrap();
        schema::migrate(&mut conn).unwrap();
        (dir, conn)
    }

    fn hash(id: i64) -> i64 {
        prefix(&super::super::sha256(&id.to_be_bytes()))
    }

    fn insert(conn: &Connection, repetitions: &mut Repetitions, ids: std::ops::RangeInclusive<i64>) {
        conn.execute_batch("BEGIN").unwrap();
        for id in ids {
            conn.prepare_cached("INSERT INTO entry (id, state, link, prefix) VALUES (?1, 0, 1, ?2)")
                .unwrap()
                .execute(params![id, hash(id)])
                .unwrap();
            repetitions.add(hash(id), id);
        }
        let written = repetitions.sweep(conn).unwrap();
        conn.execute_batch("COMMIT").unwrap();
        repetitions.swept(written);
    }

    #[test]
    fn a_hash_is_found_while_gathered_while_swept_and_after_a_restart() {
        let (_dir, conn) = database();
        let mut repetitions = Repetitions::default();
        let total = 3 * GATHER as i64;
        for from in (1..=total).step_by(100) {
            insert(&conn, &mut repetitions, from..=(from + 99).min(total));
        }
        let swept: i64 = conn.query_row("SELECT count(*) FROM seen", [], |row| row.get(0)).unwrap();
        assert!(swept >= GATHER as i64, "{swept}");
        assert!(repetitions.gathering.len() + repetitions.sweeping.len() <= 2 * GATHER);
        let restarted = Repetitions::load(&conn).unwrap();
        for id in (1..=total).step_by(61) {
            assert_eq!(repetitions.candidates(&conn, hash(id)).unwrap(), [id]);
            assert_eq!(restarted.candidates(&conn, hash(id)).unwrap(), [id]);
        }
        assert!(repetitions.candidates(&conn, hash(total + 1)).unwrap().is_empty());
    }

    #[test]
    fn what_is_in_a_bucket_with_a_filter_is_found_and_the_others_are_not_asked_for() {
        let (_dir, conn) = database();
        let end = 1 << BUCKET_BITS;
        for id in [1, 5, 9, end + 1] {
            conn.execute("INSERT INTO seen VALUES (?1, ?2, ?3)", params![bucket(id), hash(id), id]).unwrap();
        }
        conn.execute("UPDATE tally SET value = ?1 WHERE name = 'seen_through'", [end + 1]).unwrap();
        let mut repetitions = Repetitions::load(&conn).unwrap();
        while repetitions.sift(&conn, 2).unwrap() {}
        assert_eq!(format!("{:?}", repetitions.filters), "Filters(2 whole)");
        for id in [1, 5, 9, end + 1] {
            assert_eq!(repetitions.candidates(&conn, hash(id)).unwrap(), [id]);
        }
        assert!(!repetitions.filters.may_have(0, hash(7)) && !repetitions.filters.may_have(1, hash(7)));
        assert!(repetitions.filters.may_have(2, hash(7)), "of a bucket without a filter nothing is known");
        repetitions.reload(&conn).unwrap();
        assert!(!repetitions.filters.may_have(0, hash(7)));
    }

    #[test]
    fn what_comes_while_a_filter_is_made_and_after_is_found() {
        let (_dir, conn) = database();
        let mut repetitions = Repetitions::default();
        let mut last = 0;
        for batch in 0..6 {
            let first = last + 1;
            last += GATHER as i64;
            insert(&conn, &mut repetitions, first..=last);
            // Two rows at a time: the filter of the bucket is never done with what was there when it began.
            repetitions.sift(&conn, 2).unwrap();
            if batch == 4 {
                while repetitions.sift(&conn, 100_000).unwrap() {}
            }
        }
        assert_eq!(format!("{:?}", repetitions.filters), "Filters(1 whole)");
        for id in (1..=last).step_by(97) {
            assert_eq!(repetitions.candidates(&conn, hash(id)).unwrap(), [id]);
        }
        assert!(!repetitions.filters.may_have(0, hash(last + 1)));
    }

    #[test]
    fn a_bucket_goes_when_its_entries_are_gone_and_not_before() {
        let (_dir, conn) = database();
        let far = 5 << BUCKET_BITS;
        conn.execute_batch("INSERT INTO seen VALUES (0, 1, 1), (0, 2, 2)").unwrap();
        conn.execute("INSERT INTO seen VALUES (5, 3, ?1)", [far]).unwrap();
        conn.execute("INSERT INTO entry (id, state, link, prefix) VALUES (1, 2, 1, 1), (?1, 2, 1, 3)", [far])
            .unwrap();
        let mut repetitions = Repetitions::load(&conn).unwrap();
        assert!(!repetitions.drop_outlived(&conn).unwrap());
        conn.execute("DELETE FROM entry WHERE id = 1", []).unwrap();
        while repetitions.drop_outlived(&conn).unwrap() {}
        let left: i64 = conn.query_row("SELECT count(*) FROM seen", [], |row| row.get(0)).unwrap();
        assert_eq!((left, repetitions.buckets), (1, Some((5, 5))));
    }
}
