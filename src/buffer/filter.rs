//! For not asking the disk about each of many millions of hashes: for every bucket of `seen` that is complete, a Bloom
//! filter in memory says of nearly every new frame that it is not there.
//!
//! A filter has 8 bits for each id of its bucket and four of them for each hash: 1 MiB for a million entries, wrong in 2.4
//! of 100 times, and then the table is asked. It is made again after each start, a little at a time; until it is there
//! the table is asked too.

use rusqlite::{Connection, params};

/// Bits of one filter, as a power of two: eight times the ids of a bucket.
const BITS: u32 = super::repetition::BUCKET_BITS + 3;
const PROBES: u32 = 4;
/// Filters at once; older buckets are asked at the table.
const FILTERS_MAX: usize = 32;

pub(super) const ROWS: &str =
    "SELECT prefix, id FROM seen WHERE bucket = ?1 AND (prefix, id) > (?2, ?3) ORDER BY prefix, id LIMIT ?4";

/// One bucket's filter.
struct Filter {
    bucket: i64,
    words: Vec<u64>,
}

impl Filter {
    fn new(bucket: i64) -> Self {
        Self { bucket, words: vec![0; 1 << (BITS - 6)] }
    }

    /// Word and bit of each probe. A prefix is a part of a SHA-256: as good as chance.
    fn places(prefix: i64) -> impl Iterator<Item = (usize, u64)> {
        let bits = prefix.cast_unsigned();
        let (first, step) = (bits & 0xFFFF_FFFF, (bits >> 32) | 1);
        (0..u64::from(PROBES)).map(move |probe| {
            let at = first.wrapping_add(probe.wrapping_mul(step)) & ((1 << BITS) - 1);
            // At most BITS - 6 bits, which any usize has.
            (usize::try_from(at >> 6).unwrap_or(0), 1 << (at & 63))
        })
    }

    fn add(&mut self, prefix: i64) {
        for (word, bit) in Self::places(prefix) {
            if let Some(word) = self.words.get_mut(word) {
                *word |= bit;
            }
        }
    }

    fn may_have(&self, prefix: i64) -> bool {
        Self::places(prefix).all(|(word, bit)| self.words.get(word).is_none_or(|word| word & bit != 0))
    }
}

/// The filters, and the one that is being made.
#[derive(Default)]
pub(super) struct Filters {
    whole: Vec<Filter>,
    making: Option<(Filter, (i64, i64))>,
}

impl std::fmt::Debug for Filters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Filters({} whole)", self.whole.len())
    }
}

impl Filters {
    /// Whether the table must be asked about this bucket.
    pub(super) fn may_have(&self, bucket: i64, prefix: i64) -> bool {
        self.whole.iter().find(|filter| filter.bucket == bucket).is_none_or(|filter| filter.may_have(prefix))
    }

    /// A row was committed to the table.
    pub(super) fn add(&mut self, bucket: i64, prefix: i64) {
        let making = self.making.as_mut().map(|(filter, _)| filter);
        if let Some(filter) = self.whole.iter_mut().chain(making).find(|filter| filter.bucket == bucket) {
            filter.add(prefix);
        }
    }

    /// Forgets a bucket whose rows go.
    pub(super) fn forget(&mut self, bucket: i64) {
        self.whole.retain(|filter| filter.bucket != bucket);
        self.making = self.making.take().filter(|(filter, _)| filter.bucket != bucket);
    }

    /// Reads some rows of the next bucket that has no filter; whether there is more to do. Rows that are committed
    /// meanwhile come by [`add`](Self::add). `buckets`: first and last.
    pub(super) fn make(
        &mut self,
        conn: &Connection,
        buckets: (i64, i64),
        rows: u32,
    ) -> rusqlite::Result<bool> {
        if self.making.is_none() {
            let has = |bucket: i64| self.whole.iter().any(|filter| filter.bucket == bucket);
            // The latest first: a repetition is mostly of what was just said.
            let Some(bucket) = (buckets.0..=buckets.1).rev().take(FILTERS_MAX).find(|bucket| !has(*bucket))
            else {
                return Ok(false);
            };
            if self.whole.len() >= FILTERS_MAX {
                let oldest = self.whole.iter().map(|filter| filter.bucket).min();
                self.whole.retain(|filter| Some(filter.bucket) != oldest);
            }
            self.making = Some((Filter::new(bucket), (i64::MIN, i64::MIN)));
        }
        let Some((mut filter, mut after)) = self.making.take() else { return Ok(false) };
        let mut next = conn.prepare_cached(ROWS)?;
        let mut read = 0;
        let mut found = next.query(params![filter.bucket, after.0, after.1, rows])?;
        while let Some(row) = found.next()? {
            after = (row.get(0)?, row.get(1)?);
            filter.add(after.0);
            read += 1;
        }
        if read < rows {
            self.whole.push(filter);
        } else {
            self.making = Some((filter, after));
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(n: i64) -> i64 {
        super::super::repetition::prefix(&super::super::sha256(&n.to_be_bytes()))
    }

    #[test]
    fn a_filter_never_denies_what_was_added_and_seldom_believes_what_was_not() {
        let mut filter = Filter::new(0);
        for n in 0..1 << 20 {
            filter.add(prefix(n));
        }
        assert!((0..1 << 20).step_by(997).all(|n| filter.may_have(prefix(n))));
        let wrong = (1 << 21..(1 << 21) + 20_000).filter(|n| filter.may_have(prefix(*n))).count();
        assert!((200..800).contains(&wrong), "{wrong} of 20000, expected about 480");
    }
}
