//! For the picture of the last day at the desk: how many entries each link kept in each quarter of an hour.
//!
//! Entries stand in the order they came, so that a quarter of an hour is a stretch of ids and needs no index of its own. A
//! quarter that has ended is counted once and remembered; what cannot be counted in one go is counted by the next to ask.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, params};

use super::feed::last_received_before;
use super::{BufferError, Reader};
use crate::clock::Timestamp;

/// Quarters of an hour in the picture.
const QUARTERS: i64 = 96;
/// Microseconds of one.
const QUARTER: i64 = 15 * 60 * 1_000_000;
/// Entries counted for one who asks; a single quarter is always counted.
const COUNTED_MAX: i64 = 1_000_000;
/// Held entries that are marked.
const HELD_MAX: i64 = 100_000;

/// The first id that is still kept, or the one to come.
const KEPT_FROM: &str = "SELECT coalesce((SELECT min(id) FROM frame),
    (SELECT value FROM tally WHERE name = 'last_id') + 1)";

/// One quarter of an hour.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quarter {
    /// Microseconds since 1970; the quarters of the clock's hours in UTC.
    pub begins: i64,
    /// Entries by the name of their link; `None` where that is not known: no longer kept, or not counted yet.
    pub entries: Option<BTreeMap<Arc<str>, u64>>,
    /// Those of them that are held now.
    pub held: BTreeMap<Arc<str>, u64>,
}

/// What was counted of quarters that have ended. Cheap to clone; all clones share it.
#[derive(Clone, Debug, Default)]
pub struct Day(Arc<Mutex<HashMap<i64, Ended>>>);

/// A quarter that gets no more entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stretch {
    /// The id before its first, and its last.
    after: i64,
    through: i64,
}

#[derive(Clone, Debug)]
struct Ended {
    stretch: Stretch,
    entries: BTreeMap<i64, u64>,
}

impl Reader {
    /// The last 96 quarters of an hour, the oldest first; the last one is not over.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn day(&self, day: &Day) -> Result<Vec<Quarter>, BufferError> {
        let (day, now) = (day.clone(), self.now());
        self.read("counting the entries of the day", move |conn| day.count(conn, now)).await
    }
}

impl Day {
    fn count(&self, conn: &Connection, now: Timestamp) -> rusqlite::Result<Vec<Quarter>> {
        let mut ended = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last = now.micros.div_euclid(QUARTER);
        let first = last - QUARTERS + 1;
        ended.retain(|at, _| (first..last).contains(at));
        let kept_from: i64 = conn.query_row(KEPT_FROM, [], |row| row.get(0))?;
        let mut quarters: BTreeMap<i64, (Stretch, Option<BTreeMap<i64, u64>>)> = BTreeMap::new();
        let mut left = COUNTED_MAX;
        let mut through = last_received_before(conn, i64::MAX)?;
        for at in (first..=last).rev() {
            let known = ended.get(&at).cloned();
            let stretch = match &known {
                Some(known) => known.stretch,
                None => Stretch { after: last_received_before(conn, at * QUARTER)?.min(through), through },
            };
            through = stretch.after;
            let entries = match known {
                Some(known) => Some(known.entries),
                // Before what is kept: it had entries, and nobody knows how many.
                None if kept_from > 1 && stretch.after < kept_from => None,
                None if left > 0 => Some(entries_of(conn, stretch)?),
                None => None,
            };
            left -= if ended.contains_key(&at) { 0 } else { stretch.through - stretch.after };
            if let (Some(entries), true) = (&entries, at < last) {
                ended.insert(at, Ended { stretch, entries: entries.clone() });
            }
            quarters.insert(at, (stretch, entries));
        }
        drop(ended);
        named(conn, quarters, through)
    }
}

/// Entries by the number of their link.
fn entries_of(conn: &Connection, stretch: Stretch) -> rusqlite::Result<BTreeMap<i64, u64>> {
    conn.prepare_cached("SELECT link, count(*) FROM entry WHERE id > ?1 AND id <= ?2 GROUP BY link")?
        .query_map(params![stretch.after, stretch.through], |row| {
            Ok((row.get(0)?, u64::try_from(row.get::<_, i64>(1)?).unwrap_or_default()))
        })?
        .collect()
}

/// Quarters with the names of links, and with what is held in them.
fn named(
    conn: &Connection,
    quarters: BTreeMap<i64, (Stretch, Option<BTreeMap<i64, u64>>)>,
    after: i64,
) -> rusqlite::Result<Vec<Quarter>> {
    let names: HashMap<i64, Arc<str>> = conn
        .prepare_cached("SELECT id, name FROM link")?
        .query_map([], |row| Ok((row.get(0)?, row.get::<_, String>(1)?.into())))?
        .collect::<rusqlite::Result<_>>()?;
    const HELD: &str = "SELECT id, link FROM entry WHERE state < 3 AND state = 2 AND id > ?1 LIMIT ?2";
    let held: Vec<(i64, i64)> = conn
        .prepare_cached(HELD)?
        .query_map(params![after, HELD_MAX], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let of = |link: &i64| names.get(link).cloned();
    let mut shown = Vec::with_capacity(quarters.len());
    for (at, (stretch, entries)) in quarters {
        let mut quarter = Quarter { begins: at * QUARTER, ..Quarter::default() };
        quarter.entries = entries
            .map(|entries| entries.iter().filter_map(|(link, n)| of(link).map(|name| (name, *n))).collect());
        for (_, link) in held.iter().filter(|(id, _)| *id > stretch.after && *id <= stretch.through) {
            if let Some(name) = of(link) {
                *quarter.held.entry(name).or_default() += 1;
            }
        }
        shown.push(quarter);
    }
    Ok(shown)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::buffer::{Buffer, Config, NewFrame};
    use crate::clock::{Clock, TestClock};

    /// Noon, at the beginning of a quarter.
    const NOON: i64 = 1_774_267_200_000_000;

    struct Rig {
        _dir: tempfile::TempDir,
        buffer: Buffer,
        clock: Arc<TestClock>,
        said: std::cell::Cell<u8>,
    }

    impl Rig {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let clock = TestClock::at(NOON);
            let config = Config { dir: dir.path().into(), ..Config::default() };
            let buffer = Buffer::open(&config, clock.clone()).unwrap();
            Self { _dir: dir, buffer, clock, said: 0.into() }
        }

        async fn keep(&self, link: &str, held: Option<&str>) {
            self.said.set(self.said.get() + 1);
            let frame = NewFrame {
                link: link.into(),
                peer: "p".into(),
                received: self.clock.now(),
                bytes: bytes::Bytes::from(vec![self.said.get(); 10]),
                topic: None,
                dedupe: false,
                warnings: Vec::new(),
                held: held.map(Into::into),
            };
            self.buffer.keep(frame).await.unwrap();
        }

        fn minutes(&self, minutes: u64) {
            self.clock.advance(Duration::from_secs(60 * minutes));
        }
    }

    fn of(quarter: &Quarter, link: &str) -> Option<u64> {
        quarter.entries.as_ref().map(|entries| entries.get(link).copied().unwrap_or(0))
    }

    #[tokio::test]
    async fn each_quarter_has_its_entries_by_link_and_a_silent_one_has_none() {
        let rig = Rig::new();
        let day = Day::default();
        rig.keep("a", None).await;
        rig.keep("a", None).await;
        rig.keep("b", Some("nobody can read it")).await;
        rig.minutes(30);
        rig.keep("a", None).await;
        let quarters = rig.buffer.reader().day(&day).await.unwrap();
        assert_eq!(quarters.len(), 96);
        let tail: Vec<_> = quarters[93..].iter().map(|q| (q.begins - NOON, of(q, "a"), of(q, "b"))).collect();
        let minutes = |n: i64| n * 60_000_000;
        let wanted = [
            (minutes(0), Some(2), Some(1)),
            (minutes(15), Some(0), Some(0)),
            (minutes(30), Some(1), Some(0)),
        ];
        assert_eq!(tail, wanted);
        assert_eq!(quarters[93].held.get("b"), Some(&1));
        assert!(quarters[94].held.is_empty());
        assert_eq!(of(&quarters[0], "a"), Some(0), "before the first entry there was none");
    }

    #[tokio::test]
    async fn what_was_counted_before_agrees_with_counting_anew_as_time_goes_on() {
        let rig = Rig::new();
        let day = Day::default();
        for step in 0..9_u8 {
            rig.keep(if step % 3 == 0 { "a" } else { "b" }, None).await;
            rig.minutes(7);
            let reader = rig.buffer.reader();
            assert_eq!(reader.day(&day).await.unwrap(), reader.day(&Day::default()).await.unwrap());
        }
        let quarters = rig.buffer.reader().day(&day).await.unwrap();
        let sum: u64 = quarters.iter().filter_map(|q| q.entries.as_ref()).flat_map(BTreeMap::values).sum();
        assert_eq!(sum, 9);
    }

    #[tokio::test]
    async fn an_entry_let_go_is_no_longer_marked_in_a_quarter_that_has_ended() {
        use crate::buffer::{Mark, Transition};
        let rig = Rig::new();
        let day = Day::default();
        rig.keep("a", Some("why")).await;
        rig.minutes(20);
        let reader = rig.buffer.reader();
        assert_eq!(reader.day(&day).await.unwrap()[94].held.get("a"), Some(&1));
        let free = Transition::Waiting { retry_after: None, reason: None };
        rig.buffer.mark(vec![Mark { id: 1, to: free }]).await.unwrap();
        let quarter = reader.day(&day).await.unwrap()[94].clone();
        assert_eq!((quarter.held.get("a"), of(&quarter, "a")), (None, Some(1)));
    }
}
