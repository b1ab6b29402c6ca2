//! For everyone who asks how the buffer is, without asking the disk: counts, figures and alarms, shared by the
//! writer and all readers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;
use tokio::sync::watch;

use super::Config;
use super::entry::State;
use super::ledger::{Ledger, Since};
use super::lending::Lending;
use crate::clock::{SharedClock, Timestamp};
use crate::sabotage::{Sabotage, commits};

/// How many entries there are in each state. `kept = waiting + sent + accepted + held + gone`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub waiting: u64,
    pub sent: u64,
    pub accepted: u64,
    pub held: u64,
    /// Purged after acceptance, or lost with a database that could not be salvaged in full.
    pub gone: u64,
    /// Everything ever kept: the highest id.
    pub kept: u64,
}

impl Counts {
    fn of(&mut self, state: State) -> &mut u64 {
        match state {
            State::Waiting => &mut self.waiting,
            State::Sent => &mut self.sent,
            State::Accepted => &mut self.accepted,
            State::Held => &mut self.held,
        }
    }

    pub(super) fn born(&mut self, state: State) {
        self.kept += 1;
        *self.of(state) += 1;
    }

    pub(super) fn moved(&mut self, from: State, to: State) {
        let count = self.of(from);
        *count = count.saturating_sub(1);
        *self.of(to) += 1;
    }

    pub(super) fn purged(&mut self, accepted: u64) {
        self.accepted = self.accepted.saturating_sub(accepted);
        self.gone += accepted;
    }
}

pub(super) const OPEN_COUNTS: &str = "SELECT state, count(*) FROM entry WHERE state < 3 GROUP BY state";

/// Counts what is open; what is accepted follows from the ids, which have no gaps but the counted ones. So
/// opening does not read every entry.
pub(super) fn count(conn: &Connection) -> rusqlite::Result<Counts> {
    let mut counts = Counts::default();
    let mut open = conn.prepare(OPEN_COUNTS)?;
    let mut rows = open.query([])?;
    while let Some(row) = rows.next()? {
        *counts.of(State::of(row.get(0)?)) += row.get::<_, i64>(1)?.unsigned_abs();
    }
    counts.kept = last_id(conn)?.unsigned_abs();
    let gone: i64 = conn.query_row("SELECT value FROM tally WHERE name = 'gone'", [], |row| row.get(0))?;
    counts.gone = gone.unsigned_abs();
    let rest = counts.waiting + counts.sent + counts.held + counts.gone;
    counts.accepted = counts.kept.saturating_sub(rest);
    if commits(Sabotage::CountWrong) {
        counts.accepted += counts.kept / 8;
    }
    Ok(counts)
}

/// The highest id ever given; the tally remembers it when the row itself is purged.
pub(super) fn last_id(conn: &Connection) -> rusqlite::Result<i64> {
    conn.query_row(
        "SELECT max((SELECT value FROM tally WHERE name = 'last_id'), coalesce((SELECT max(id) FROM entry), 0))",
        [],
        |row| row.get(0),
    )
}

/// What the writer has done since the program started, for metrics and benches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    pub frames: u64,
    pub repetitions: u64,
    pub refused: u64,
    /// Commits; each is one sync of the log.
    pub commits: u64,
    /// How long the last commit took.
    pub last_commit_us: u64,
    pub checkpoints: u64,
    pub purged: u64,
    /// Times the database was closed and opened anew after a fault.
    pub reopened: u64,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Warning,
    Critical,
}

impl Severity {
    /// The word in the API.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// Something a person must know of, until it is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// Stable, e.g. `disk-full`.
    pub code: &'static str,
    pub severity: Severity,
    pub title: String,
    /// What to do now.
    pub next_step: String,
    pub since: Timestamp,
}

/// How the buffer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Senders are refused because there is no room.
    pub full: bool,
    /// The writer works; `false` while a fault is being dealt with, and after closing.
    pub writing: bool,
    /// Bytes in use in the database, and the most it may use.
    pub bytes: u64,
    pub max_bytes: u64,
    pub alarms: Vec<Alarm>,
}

/// What the writer tells and the readers read.
pub(super) struct Shared {
    pub(super) clock: SharedClock,
    pub(super) database: PathBuf,
    pub(super) max_bytes: u64,
    counts: Mutex<Counts>,
    figures: Mutex<Figures>,
    pub(super) since: Since,
    pub(super) lending: Lending,
    alarms: Mutex<BTreeMap<&'static str, Alarm>>,
    full: AtomicBool,
    writing: AtomicBool,
    bytes: AtomicU64,
    /// Grows when the database file was exchanged, so that readers open the new one.
    generation: AtomicU64,
    /// The number of commits; whoever waits for news watches it.
    pub(super) changed: watch::Sender<u64>,
}

fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(config: &Config, clock: SharedClock) -> Self {
        Self {
            clock,
            database: config.dir.join("bedside.db"),
            max_bytes: config.max_bytes,
            counts: Mutex::default(),
            figures: Mutex::default(),
            since: Since::default(),
            lending: Lending::default(),
            alarms: Mutex::default(),
            full: AtomicBool::new(false),
            writing: AtomicBool::new(false),
            bytes: AtomicU64::new(0),
            generation: AtomicU64::new(0),
            changed: watch::Sender::new(0),
        }
    }

    pub(super) fn counts(&self) -> Counts {
        *locked(&self.counts)
    }

    pub(super) fn set_counts(&self, counts: Counts) {
        *locked(&self.counts) = counts;
    }

    pub(super) fn ledger(&self) -> Ledger {
        self.since.ledger(self.counts())
    }

    pub(super) fn figures(&self) -> Figures {
        *locked(&self.figures)
    }

    pub(super) fn figure(&self, change: impl FnOnce(&mut Figures)) {
        change(&mut locked(&self.figures));
    }

    pub(super) fn set_full(&self, full: bool) {
        self.full.store(full, Ordering::Relaxed);
    }

    pub(super) fn set_writing(&self, writing: bool) {
        self.writing.store(writing, Ordering::Relaxed);
    }

    pub(super) fn set_bytes(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(super) fn next_generation(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// Raises an alarm and logs it, once; an alarm already raised keeps its `since`.
    pub(super) fn raise(&self, code: &'static str, severity: Severity, title: String, next_step: &str) {
        let mut alarms = locked(&self.alarms);
        let since = alarms.get(code).map_or_else(|| self.clock.now(), |alarm| alarm.since);
        let alarm = Alarm { code, severity, title, next_step: next_step.into(), since };
        if alarms.get(code) != Some(&alarm) {
            tracing::error!(code, title = %alarm.title, next_step, "The buffer raised an alarm.");
            alarms.insert(code, alarm);
        }
    }

    /// The disk changed the bytes of an entry.
    pub(super) fn raise_changed(&self, id: i64) {
        self.raise(
            "bytes-changed",
            Severity::Critical,
            format!("The disk changed what a device said (entry {id}); it is held and was not delivered"),
            "Replace the disk. Ask the device to send this result again.",
        );
    }

    /// The disk changed the bytes of an entry that was accepted before: what is left of it here is not what was sent.
    pub(super) fn raise_copy_changed(&self, id: i64) {
        self.raise(
            "kept-copy-changed",
            Severity::Warning,
            format!("The disk changed the kept copy of a result that was delivered before (entry {id})"),
            "Replace the disk. The server has what the device said; do not send this entry again.",
        );
    }

    /// Ends an alarm.
    pub(super) fn clear(&self, code: &'static str) {
        if locked(&self.alarms).remove(code).is_some() {
            tracing::info!(code, "An alarm of the buffer is over.");
        }
    }

    pub(super) fn health(&self) -> Health {
        Health {
            full: self.full.load(Ordering::Relaxed),
            writing: self.writing.load(Ordering::Relaxed),
            bytes: self.bytes(),
            max_bytes: self.max_bytes,
            alarms: locked(&self.alarms).values().cloned().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::TestClock;
    use std::time::Duration;

    #[test]
    fn nothing_kept_is_ever_uncounted() {
        let mut counts = Counts::default();
        for _ in 0..5 {
            counts.born(State::Waiting);
        }
        counts.moved(State::Waiting, State::Sent);
        counts.moved(State::Sent, State::Accepted);
        counts.moved(State::Waiting, State::Held);
        counts.purged(1);
        let Counts { waiting, sent, accepted, held, gone, kept } = counts;
        assert_eq!((waiting, sent, accepted, held, gone, kept), (3, 0, 0, 1, 1, 5));
    }

    #[test]
    fn an_alarm_raised_again_keeps_the_time_it_began() {
        let clock = TestClock::at(1_000_000);
        let shared = Shared::new(&Config::default(), clock.clone());
        shared.raise("disk-full", Severity::Critical, String::from("one"), "do this");
        clock.advance(Duration::from_secs(60));
        shared.raise("disk-full", Severity::Critical, String::from("two"), "do this");
        let alarms = shared.health().alarms;
        assert_eq!(alarms.len(), 1);
        assert_eq!((alarms[0].since.micros, alarms[0].title.as_str()), (1_000_000, "two"));
        shared.clear("disk-full");
        assert!(shared.health().alarms.is_empty());
    }
}
