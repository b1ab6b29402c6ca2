//! For what the writer does while nobody is waiting: the log, the purge, the counted repetitions, the end.

use std::time::{Duration, Instant};

use super::super::checkpoint::Progress;
use super::super::folder::with_suffix;
use super::super::health::Shared;
use super::super::job::Job;
use super::super::retention::{Purged, Which};
use super::super::store::Store;
use super::super::{checkpoint, people, store, worklist};
use super::{COMMIT_BYTES, Open, Writer};

/// Bytes of log after which it is copied while frames arrive, and when nobody is there.
const LOG_BUSY_BYTES: u64 = 16 << 20;
const LOG_IDLE_BYTES: u64 = 1 << 20;
/// A log that could not be copied as a whole for so long, and is as long as this, is not only being read.
const LOG_STUCK_BYTES: u64 = 512 << 20;
const LOG_STUCK_FOR: Duration = Duration::from_secs(1_800);
/// How often accepted entries are looked through for age.
const PURGE_EVERY: Duration = Duration::from_secs(600);
/// Purged beside each new frame where senders leave no idle moment; and how many at most with one group.
const BESIDE_ONE: usize = 2;
const BESIDE_GROUP: usize = 256;
/// How long nothing is looked for beside new frames where nothing was found, and how long an idle moment is waited for.
const RIDE_PAUSE: Duration = Duration::from_secs(30);
/// Rows of `seen` read into a filter after a group, and in an idle moment.
const SIFT_BESIDE: u32 = 1_024;
const SIFT_IDLE: u32 = 8_192;
/// How often what was refused is written down.
const LEDGER_EVERY: Duration = Duration::from_secs(60);

/// What is purged together with these jobs: as the database comes near its quota or entries come of age, each new frame
/// takes some with it. They ride in its transaction, so that it costs no sync, and nobody ever waits for a great purge.
pub(super) fn beside(
    store: &Store,
    shared: &Shared,
    jobs: &[Job],
    (purge_at, ride_at): (Instant, Instant),
    keep_accepted: Duration,
) -> Option<(Which, usize)> {
    let frames = jobs.iter().filter(|job| job.is_frame()).count();
    if frames == 0 || store.counts.accepted == 0 {
        return None;
    }
    let now = Instant::now();
    if now < ride_at {
        return None;
    }
    let limit = (frames * BESIDE_ONE).min(BESIDE_GROUP);
    if shared.bytes() > crowded_from(shared) {
        return Some((Which::Oldest, limit));
    }
    // An idle moment does it better; this is for when there was none.
    let (due, clock) = (now >= purge_at + RIDE_PAUSE, shared.clock.now());
    (due && clock.synchronised).then(|| (Which::Before(old_before(clock.micros, keep_accepted)), limit))
}

/// Nine tenths of the quota.
const fn crowded_from(shared: &Shared) -> u64 {
    shared.max_bytes / 10 * 9
}

fn old_before(now: i64, keep_accepted: Duration) -> i64 {
    now.saturating_sub(i64::try_from(keep_accepted.as_micros()).unwrap_or(i64::MAX))
}

impl Writer {
    /// Has the log copied when it is long. Under load the thread is always a little behind; the writer copies
    /// what is left after it, so that the log begins anew.
    pub(super) fn copy_log_when_due(&mut self) {
        let Some(Open { store, checkpointer }) = &self.open else { return };
        match self.log_asked {
            Some((asked, runs)) if checkpointer.done() > runs => {
                self.log_asked = None;
                self.shared.figure(|figures| figures.checkpoints += 1);
                let all = checkpointer.last().is_some_and(Progress::all) && asked == self.log_bytes;
                if all {
                    self.log_bytes = 0;
                    self.log_stuck = None;
                } else if self.log_bytes >= LOG_BUSY_BYTES {
                    match checkpoint::copy_log(&store.conn) {
                        Ok(progress) => self.copied(progress),
                        Err(error) if store::no_room(&error) => self.log_bytes = 0,
                        Err(error) => self.fault("copying the log", Some(&error)),
                    }
                }
            }
            Some(_) => {}
            None if self.log_bytes >= LOG_BUSY_BYTES => {
                self.log_asked = Some((self.log_bytes, checkpointer.done()));
                checkpointer.ask();
            }
            None => {}
        }
    }

    /// What is left of the log is begun anew by the next commit, unless somebody keeps it from being copied: a backup
    /// does for its time. A lock that nobody has any more goes only when every connection is closed.
    fn copied(&mut self, progress: Progress) {
        self.log_bytes = 0;
        if progress.all() {
            self.log_stuck = None;
            return;
        }
        let since = *self.log_stuck.get_or_insert_with(Instant::now);
        let log = std::fs::metadata(with_suffix(&self.folder.database(), "-wal")).map_or(0, |log| log.len());
        if log >= LOG_STUCK_BYTES && since.elapsed() >= LOG_STUCK_FOR {
            self.log_stuck = None;
            self.fault("copying the log, which somebody has kept from being copied for too long", None);
        }
    }

    /// Looks after the store while nobody is waiting; whether there is more to do at once.
    pub(super) fn idle(&mut self) -> bool {
        if self.open.is_none() {
            self.reopen();
            return false;
        }
        let worked = self.tidy();
        let more = match worked {
            Ok(more) => more,
            Err(error) if store::no_room(&error) => false,
            Err(error) => {
                self.fault("tidying", Some(&error));
                false
            }
        };
        if !self.full {
            self.folder.reserve_ballast();
        } else if self.try_again() {
            self.no_longer_full();
        }
        more
    }

    fn tidy(&mut self) -> rusqlite::Result<bool> {
        let Some(Open { store, checkpointer }) = &mut self.open else { return Ok(false) };
        if !store.repeats.is_empty() {
            let tx = store.conn.unchecked_transaction()?;
            store.write_repeats()?;
            tx.commit()?;
            store.repeats.clear();
            self.log_bytes += COMMIT_BYTES;
        }
        if checkpointer.failed() {
            self.fault("copying the log", None);
            return Ok(false);
        }
        if Instant::now() >= self.ledger_at {
            self.ledger_at = Instant::now() + LEDGER_EVERY;
            self.shared.since.write(&store.conn)?;
        }
        let more = self.purge()?;
        self.copy_log_when_due();
        let Some(Open { checkpointer, .. }) = &self.open else { return Ok(false) };
        if self.log_asked.is_none() && self.log_bytes >= LOG_IDLE_BYTES && !checkpointer.busy() {
            self.log_asked = Some((self.log_bytes, checkpointer.done()));
            checkpointer.ask();
        }
        Ok(more)
    }

    /// Goes on with the filters of the repetitions, a little after each group.
    pub(super) fn sift(&mut self) {
        let Some(Open { store, .. }) = &mut self.open else { return };
        if let Err(error) = store.repetitions.sift(&store.conn, SIFT_BESIDE) {
            self.fault("reading what was seen", Some(&error));
        }
    }

    /// What was purged beside a group: where it was nothing, it is not looked for again at once.
    pub(super) fn rode(&mut self, purged: Purged) {
        self.shared.figure(|figures| figures.purged += purged.gone);
        if purged.gone == 0 && !purged.more {
            self.ride_at = Instant::now() + RIDE_PAUSE;
        }
    }

    /// Purges one batch of what is too old or too much, and gives pages back; whether there is more.
    fn purge(&mut self) -> rusqlite::Result<bool> {
        let Some(Open { store, .. }) = &mut self.open else { return Ok(false) };
        let used = store.pages()?.used_bytes();
        let crowded = used > crowded_from(&self.shared) && store.counts.accepted > 0;
        let now = self.shared.clock.now();
        // A clock that nobody vouches for must not age anything: a box that wakes up in 2038 would purge all.
        let by_age = Instant::now() >= self.purge_at && now.synchronised;
        let purged = if crowded {
            store.purge(Which::Oldest)?
        } else if by_age {
            store.purge(Which::Before(old_before(now.micros, self.keep_accepted)))?
        } else {
            Purged::default()
        };
        if by_age && !crowded && !purged.more {
            worklist::forget(&store.conn, now)?;
            people::forget(&store.conn, now)?;
            self.purge_at = Instant::now() + PURGE_EVERY;
        }
        if purged.gone > 0 {
            self.log_bytes += purged.gone * 4_096;
            self.shared.figure(|figures| figures.purged += purged.gone);
        }
        let more = store.repetitions.drop_outlived(&store.conn)? | store.give_back()?;
        let sifting = store.repetitions.sift(&store.conn, SIFT_IDLE)?;
        if used < crowded_from(&self.shared) {
            self.quota_fits();
        }
        if purged.gone > 0 || more {
            self.publish();
        }
        Ok(more || purged.more || sifting)
    }

    /// The last caller is gone: write what is counted in memory, copy the log, close.
    pub(super) fn finish(&mut self) {
        self.ledger_at = Instant::now();
        let finished = self.tidy();
        if let Some(Open { store, checkpointer }) = self.open.take() {
            drop(checkpointer);
            if let Err(error) = finished.and_then(|_| checkpoint::copy_log(&store.conn)) {
                tracing::warn!(%error, "The log could not be copied at the end; the next start does it.");
            }
        }
        self.shared.set_writing(false);
        self.shared.next_generation();
    }
}
