//! For the bytes nobody has read for long: their SHA-256 is verified again, a little at a time while the box is idle, so
//! that a dying disk is found out before the day the result is asked for. Where the pass stands is in the database, so
//! that a box that is restarted every day comes to the end all the same.

use rusqlite::{Connection, params};

use super::entry::State;
use super::reader::Reader;
use super::{BufferError, compact, sha256};
use crate::clock::Timestamp;
use crate::sabotage::{Sabotage, commits};

/// Frames verified in one question, whatever their size.
const AT_ONCE: u32 = 1_024;

/// How far the verification has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scrub {
    /// The entry that was verified last in the pass that runs; 0 between passes.
    pub through: i64,
    /// When this pass began; 0 between passes. Microseconds since 1970, as the others.
    pub began: i64,
    /// Frames of this pass whose bytes changed.
    pub found: u64,
    /// When the last whole pass ended, and what it found; 0 before the first.
    pub passed: i64,
    pub passed_found: u64,
}

impl Scrub {
    /// The pass goes on: verified up to there.
    pub(crate) fn advanced(&mut self, verified: &Verified, now: Timestamp) {
        if self.began == 0 {
            self.began = now.micros;
            self.found = 0;
        }
        self.through = verified.through;
        self.found += verified.changed.len() as u64;
        if verified.end {
            *self = Self { passed: now.micros, passed_found: self.found, ..Self::default() };
        }
    }
}

/// What one step verified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    pub through: i64,
    pub frames: u64,
    /// Bytes as they lie on the disk.
    pub bytes: usize,
    /// Entries whose bytes are not what they were, and whether each is accepted: delivered while it was sound.
    pub changed: Vec<(i64, bool)>,
    /// There is nothing after it.
    pub end: bool,
}

pub(super) const NEXT: &str =
    "SELECT frame.id, bytes, packed, sha256, state FROM frame LEFT JOIN entry ON entry.id = frame.id
    WHERE frame.id > ?1 ORDER BY frame.id LIMIT ?2";

pub(super) fn verify(conn: &Connection, after: i64, max_bytes: usize) -> rusqlite::Result<Verified> {
    let mut done = Verified { through: after, ..Verified::default() };
    let mut next = conn.prepare_cached(NEXT)?;
    let mut rows = next.query(params![after, AT_ONCE])?;
    while let Some(row) = rows.next()? {
        let stored = row.get_ref(1)?.as_blob()?;
        let sound = row.get_ref(3)?.as_blob()? == sha256(&compact::frame(stored, row.get(2)?))
            || commits(Sabotage::SkipHash);
        done.through = row.get(0)?;
        done.frames += 1;
        done.bytes += stored.len();
        if !sound {
            let state = row.get::<_, Option<i64>>(4)?.map(State::of);
            done.changed.push((done.through, state == Some(State::Accepted)));
        }
        if done.bytes >= max_bytes {
            return Ok(done);
        }
    }
    done.end = done.frames < u64::from(AT_ONCE);
    Ok(done)
}

const NAMES: [&str; 5] =
    ["scrub_through", "scrub_began", "scrub_found", "scrub_passed", "scrub_passed_found"];

pub(super) fn read(conn: &Connection) -> rusqlite::Result<Scrub> {
    let mut one = conn.prepare_cached("SELECT value FROM tally WHERE name = ?1")?;
    let mut number = |name: &str| one.query_row([name], |row| row.get::<_, i64>(0));
    let [through, began, found, passed, passed_found] = NAMES;
    Ok(Scrub {
        through: number(through)?,
        began: number(began)?,
        found: number(found)?.unsigned_abs(),
        passed: number(passed)?,
        passed_found: number(passed_found)?.unsigned_abs(),
    })
}

/// Writes down how far it has come, in the open transaction.
pub(super) fn write(conn: &Connection, scrub: &Scrub) -> rusqlite::Result<()> {
    let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let values = [scrub.through, scrub.began, count(scrub.found), scrub.passed, count(scrub.passed_found)];
    let mut update = conn.prepare_cached("UPDATE tally SET value = ?2 WHERE name = ?1")?;
    for (name, value) in NAMES.into_iter().zip(values) {
        update.execute(params![name, value])?;
    }
    Ok(())
}

impl Reader {
    /// How far the verification has come, as it was last written down.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn scrubbed(&self) -> Result<Scrub, BufferError> {
        self.read("reading how far the verification is", read).await
    }

    /// Verifies the frames after `after`, about `max_bytes` of them (one is always taken). Those that changed are held;
    /// an alarm names them.
    ///
    /// # Errors
    /// [`BufferError::Storage`]; damage is dealt with by the writer.
    pub async fn verify(&self, after: i64, max_bytes: usize) -> Result<Verified, BufferError> {
        let verified =
            self.read("verifying what is kept", move |conn| verify(conn, after, max_bytes)).await?;
        for (id, accepted) in &verified.changed {
            if *accepted {
                self.raise_copy_changed(*id);
            } else {
                self.quarantine(*id);
            }
        }
        Ok(verified)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros, true)
    }

    #[test]
    fn a_pass_remembers_when_it_began_and_the_last_whole_one_what_it_found() {
        let mut scrub = Scrub::default();
        let step = Verified { through: 7, frames: 7, changed: vec![(3, false)], ..Verified::default() };
        scrub.advanced(&step, at(100));
        scrub.advanced(&Verified { through: 9, ..step.clone() }, at(200));
        assert_eq!(scrub, Scrub { through: 9, began: 100, found: 2, ..Scrub::default() });
        scrub.advanced(&Verified { through: 12, end: true, changed: Vec::new(), ..step }, at(300));
        assert_eq!(scrub, Scrub { passed: 300, passed_found: 2, ..Scrub::default() });
    }
}
