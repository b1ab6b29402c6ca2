//! For the question "is anything missing?": the conservation equation of the box, from counts that stand in the database.
//!
//! ```text
//! received     = acknowledged + refused + noise          (+ what is in the writer's hands this moment)
//! acknowledged = delivered + queued + held + repeated + lost
//! ```
//!
//! What is acknowledged is exact after every crash: it follows from the entries and is committed with them. What was
//! refused and what was noise is counted in memory and written down about once a minute, as nobody was promised anything.

use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::{Connection, params};
use serde::Serialize;
use utoipa::ToSchema;

use super::health::Counts;

/// Both sides of the equation, since this database was begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Ledger {
    /// Frames that came to the box whole, and transmissions that never became one.
    pub received: u64,
    /// Answered as kept; what was said again is counted each time.
    pub acknowledged: u64,
    /// Answered as not kept: the sender has them.
    pub refused: u64,
    /// Begun, and never whole: cut off, too long, or with a wrong checksum.
    pub noise: u64,
    /// Accepted upstream, or with nothing in them to deliver.
    pub delivered: u64,
    /// Waiting, or on their way.
    pub queued: u64,
    /// A person must look at them.
    pub held: u64,
    /// Of what was acknowledged: said again, and kept already.
    pub repeated: u64,
    /// Of what was acknowledged: not found again after a fault of the disk.
    pub lost: u64,
}

impl Ledger {
    /// Received, and neither answered nor refused nor noise: what the writer has in hand, and nothing when it is quiet.
    pub const fn in_hand(&self) -> u64 {
        self.received.saturating_sub(self.acknowledged + self.refused + self.noise)
    }

    /// Whether both sides agree.
    pub const fn balanced(&self) -> bool {
        self.acknowledged == self.delivered + self.queued + self.held + self.repeated + self.lost
            && self.received >= self.acknowledged + self.refused + self.noise
    }

    /// What follows from the entries and the tallies.
    fn of(counts: Counts, told: Told) -> Self {
        let Told { repeated, refused, noise, lost } = told;
        let acknowledged = counts.kept + repeated;
        Self {
            received: acknowledged + refused + noise,
            acknowledged,
            refused,
            noise,
            delivered: (counts.accepted + counts.gone).saturating_sub(lost),
            queued: counts.waiting + counts.sent,
            held: counts.held,
            repeated,
            lost,
        }
    }
}

/// What no entry tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) repeated: u64,
    pub(super) refused: u64,
    pub(super) noise: u64,
    pub(super) lost: u64,
}

fn told(conn: &Connection) -> rusqlite::Result<Told> {
    let mut one = conn.prepare_cached("SELECT value FROM tally WHERE name = ?1")?;
    let mut number = |name: &str| one.query_row([name], |row| row.get::<_, i64>(0)).map(i64::unsigned_abs);
    Ok(Told {
        repeated: number("repeated")?,
        refused: number("refused")?,
        noise: number("noise")?,
        lost: number("lost")?,
    })
}

/// The ledger as the database alone tells it.
pub(super) fn by_sql(conn: &Connection) -> rusqlite::Result<Ledger> {
    Ok(Ledger::of(super::health::count(conn)?, told(conn)?))
}

/// Adds to the repetitions counted so far, in the transaction that wrote them.
pub(super) fn add_repeated(conn: &Connection, more: u64) -> rusqlite::Result<()> {
    conn.prepare_cached("UPDATE tally SET value = value + ?1 WHERE name = 'repeated'")?
        .execute([i64::try_from(more).unwrap_or(i64::MAX)])?;
    Ok(())
}

/// Adds to what was lost, in the transaction that found it out.
pub(super) fn add_lost(conn: &Connection, more: u64) -> rusqlite::Result<()> {
    conn.execute(
        "UPDATE tally SET value = value + ?1 WHERE name = 'lost'",
        [i64::try_from(more).unwrap_or(i64::MAX)],
    )?;
    Ok(())
}

/// The counts of a running box: what the database told at the start, and what happened since.
#[derive(Debug, Default)]
pub(super) struct Since {
    base: std::sync::Mutex<(Told, u64)>,
    received: AtomicU64,
    repeated: AtomicU64,
    refused: AtomicU64,
    noise: AtomicU64,
    lost: AtomicU64,
    /// Refused and noise together when they were last written down.
    written: AtomicU64,
}

impl Since {
    /// Takes what the database tells at the start of the program; once.
    pub(super) fn begin(&self, conn: &Connection) -> rusqlite::Result<()> {
        let ledger = by_sql(conn)?;
        *self.base.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = (told(conn)?, ledger.received);
        Ok(())
    }

    pub(super) fn received(&self) {
        self.received.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn repeated(&self, more: u64) {
        self.repeated.fetch_add(more, Ordering::Relaxed);
    }

    pub(super) fn refused(&self, more: u64) {
        self.refused.fetch_add(more, Ordering::Relaxed);
    }

    pub(super) fn noise(&self) {
        self.received();
        self.noise.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn lost(&self, more: u64) {
        self.lost.fetch_add(more, Ordering::Relaxed);
    }

    fn told(&self) -> (Told, u64) {
        let (base, received) = *self.base.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let now = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let told = Told {
            repeated: base.repeated + now(&self.repeated),
            refused: base.refused + now(&self.refused),
            noise: base.noise + now(&self.noise),
            lost: base.lost + now(&self.lost),
        };
        (told, received + now(&self.received))
    }

    /// The ledger as of the last commit.
    pub(super) fn ledger(&self, counts: Counts) -> Ledger {
        let (told, received) = self.told();
        Ledger { received, ..Ledger::of(counts, told) }
    }

    /// Writes down what was refused and what was noise, where that is news.
    pub(super) fn write(&self, conn: &Connection) -> rusqlite::Result<bool> {
        let (told, _) = self.told();
        let sum = told.refused + told.noise;
        if self.written.swap(sum, Ordering::Relaxed) == sum {
            return Ok(false);
        }
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        conn.prepare_cached(
            "UPDATE tally SET value = CASE name WHEN 'refused' THEN ?1 ELSE ?2 END WHERE name IN ('refused', 'noise')",
        )?
        .execute(params![number(told.refused), number(told.noise)])?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_accounted_for_is_in_hand_and_what_is_missing_shows() {
        let counts = Counts { waiting: 3, sent: 1, accepted: 5, held: 2, gone: 4, kept: 15 };
        let told = Told { repeated: 2, refused: 7, noise: 1, lost: 3 };
        let ledger = Ledger::of(counts, told);
        assert!(ledger.balanced() && ledger.in_hand() == 0);
        assert_eq!((ledger.acknowledged, ledger.delivered, ledger.received), (17, 6, 25));
        let more = Ledger { received: 27, ..ledger };
        assert!(more.balanced() && more.in_hand() == 2);
        assert!(!Ledger { delivered: 5, ..ledger }.balanced(), "one acknowledged frame is nowhere");
        assert!(!Ledger { received: 24, ..ledger }.balanced(), "more answers than frames");
    }
}
