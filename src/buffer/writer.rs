//! For the order of things that durability stands on: take what is there, write it in one transaction, commit,
//! and only then answer.
//!
//! A group is what arrived while the group before it was being synced. When the groups before had several jobs, the
//! next one waits a fraction of a sync for as many again: eight senders who wait for their answers then share one
//! sync instead of taking turns of one and seven. A lone sender's groups have one job, and nothing waits.
//!
//! A fault of the disk ends the connection: everybody in the group is refused, the database is opened anew and
//! verified, and only then is another frame taken. A full disk ends nothing: frames are refused, marks go on in
//! the room that was kept for them, and when there is room again frames are taken again.

mod trouble;
mod upkeep;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::checkpoint::Checkpointer;
use super::folder::Folder;
use super::health::Shared;
use super::job::{Done, Job, Suspicion};
use super::retention::{Pages, Purged, Which};
use super::store::{self, Store, Why};
use super::{BufferError, Config, Kept, Refused, registry};
use crate::sabotage::{Sabotage, commits};

/// The largest group.
const GROUP_JOBS: usize = 1_024;
const GROUP_BYTES: usize = 16 << 20;
/// A group waits for as many jobs as came before, at most this part of the last commit's time, and never longer
/// than the limit.
const WINDOW_PART: u32 = 4;
const WINDOW_LIMIT: Duration = Duration::from_millis(4);
/// What a commit writes to the log besides its frames: the ends of the tables and indices, in pages.
const COMMIT_BYTES: u64 = 5 * 4_096;
/// How long nothing must have arrived before the writer looks after its own affairs; and how often it then does.
const IDLE: Duration = Duration::from_millis(20);
const IDLE_LONG: Duration = Duration::from_secs(1);

/// Opens the database and starts the thread; errors of the opening are the caller's.
pub(super) fn start(
    config: &Config,
    shared: Arc<Shared>,
    queue: Receiver<Job>,
) -> Result<std::thread::JoinHandle<()>, BufferError> {
    let thread_failed = |source| BufferError::Folder { path: config.dir.clone(), source };
    let folder = Folder::open(&config.dir)?;
    let store = Store::open(&folder, &shared, Why::Start)?;
    shared
        .since
        .begin(&store.conn)
        .map_err(|source| BufferError::Storage { doing: "reading the ledger", source })?;
    let reserved = folder.reserve_ballast();
    let checkpointer = Checkpointer::start(folder.database()).map_err(thread_failed)?;
    let now = Instant::now();
    let mut writer = Writer {
        keep_accepted: Duration::from_secs(u64::from(config.keep_accepted_days) * 86_400),
        acknowledged: store.last_id,
        open: Some(Open { store, checkpointer }),
        folder,
        shared,
        corrupt: false,
        full: false,
        full_try: now,
        reopen_at: now,
        reopen_pause: trouble::REOPEN_PAUSE,
        suspected_at: None,
        unlocked_at: None,
        last_sizes: [1, 1],
        last_commit: Duration::ZERO,
        log_bytes: 0,
        log_asked: None,
        log_stuck: None,
        purge_at: now,
        ride_at: now,
        ledger_at: now,
    };
    writer.publish();
    if !reserved {
        // What room there is belongs to marks and purges.
        writer.enter_full();
    }
    std::thread::Builder::new().name("buffer".into()).spawn(move || writer.run(&queue)).map_err(thread_failed)
}

/// What is there only while the database is open. The checkpointer's connection goes first.
struct Open {
    checkpointer: Checkpointer,
    store: Store,
}

struct Writer {
    folder: Folder,
    shared: Arc<Shared>,
    keep_accepted: Duration,
    /// `None` after a fault, until the database could be opened anew.
    open: Option<Open>,
    /// The highest id that was ever answered; it must be there after a fault.
    acknowledged: i64,
    corrupt: bool,
    full: bool,
    full_try: Instant,
    reopen_at: Instant,
    reopen_pause: Duration,
    /// When a reader last said that the database looks damaged.
    suspected_at: Option<Instant>,
    /// When the database was last opened because a reader met a lock.
    unlocked_at: Option<Instant>,
    last_sizes: [usize; 2],
    last_commit: Duration,
    /// Estimate of what is in the log and not in the database.
    log_bytes: u64,
    /// `log_bytes` and the checkpointer's count of runs when it was last asked.
    log_asked: Option<(u64, u64)>,
    /// Since when the log could not be copied as a whole.
    log_stuck: Option<Instant>,
    purge_at: Instant,
    /// When the search for what may go beside new frames is worth while again, and when the ledger is next written.
    ride_at: Instant,
    ledger_at: Instant,
}

impl Writer {
    fn run(&mut self, queue: &Receiver<Job>) {
        let mut pause = IDLE;
        loop {
            match queue.recv_timeout(pause) {
                Ok(first) => {
                    let jobs = self.gather(first, queue);
                    self.serve(jobs);
                    pause = IDLE;
                }
                Err(RecvTimeoutError::Timeout) => {
                    pause = if self.idle() { Duration::ZERO } else { IDLE_LONG }
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.finish();
    }

    /// Everything that is there, and a moment for those who were in the groups before.
    fn gather(&mut self, first: Job, queue: &Receiver<Job>) -> Vec<Job> {
        let expected = self.last_sizes.into_iter().max().unwrap_or(1);
        let until = Instant::now() + (self.last_commit / WINDOW_PART).min(WINDOW_LIMIT);
        let mut bytes = first.bytes();
        let mut jobs = vec![first];
        while jobs.len() < GROUP_JOBS && bytes < GROUP_BYTES {
            let next = match queue.try_recv() {
                Ok(job) => job,
                Err(_) if jobs.len() >= expected => break,
                Err(_) => match queue.recv_timeout(until.saturating_duration_since(Instant::now())) {
                    Ok(job) => job,
                    Err(_) => break,
                },
            };
            bytes += next.bytes();
            jobs.push(next);
        }
        let [_, last] = self.last_sizes;
        self.last_sizes = [last, jobs.len()];
        jobs
    }

    /// Writes a group and answers it, one way or another.
    fn serve(&mut self, mut jobs: Vec<Job>) {
        let suspected = jobs.extract_if(.., |job| matches!(job, Job::Suspect(_)));
        for what in suspected.collect::<Vec<_>>() {
            match what {
                Job::Suspect(Suspicion::Damage) => self.suspect(),
                _ => self.lock_is_left(),
            }
        }
        if self.open.as_ref().is_some_and(|open| open.checkpointer.failed()) {
            self.fault("copying the log", None);
        }
        if self.open.is_none() && !self.reopen() {
            let why = Refused {
                full: false,
                reason: String::from("the database cannot be written after a fault of the disk"),
            };
            return self.refuse(jobs, &why);
        }
        let mut jobs = self.refuse_for_room(jobs);
        if jobs.is_empty() {
            return;
        }
        let frames = jobs.iter().any(Job::is_frame);
        match self.write(&mut jobs) {
            Ok(done) => {
                if frames && self.full {
                    self.no_longer_full();
                }
                for (job, done) in jobs.into_iter().zip(done) {
                    job.answer(done);
                }
                self.copy_log_when_due();
                self.sift();
            }
            Err(error) if store::no_room(&error) => self.disk_is_full(jobs),
            Err(error) => {
                self.fault("writing", Some(&error));
                if commits(Sabotage::AnswerOnError) {
                    return jobs.into_iter().for_each(Job::answer_all_the_same);
                }
                let why = Refused { full: false, reason: format!("the disk could not be written: {error}") };
                self.refuse(jobs, &why);
            }
        }
    }

    /// One transaction. When it fails nothing of it happened, in memory neither.
    fn write(&mut self, jobs: &mut Vec<Job>) -> rusqlite::Result<Vec<Done>> {
        let Some(Open { store, .. }) = &mut self.open else { return Ok(Vec::new()) };
        #[cfg(test)]
        for meddle in jobs.extract_if(.., |job| matches!(job, Job::Meddle(_))) {
            if let Job::Meddle(meddle) = meddle {
                meddle(store);
            }
        }
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        let counts = store.counts;
        let began = Instant::now();
        let bytes: usize = jobs.iter().map(Job::bytes).sum();
        let beside =
            upkeep::beside(store, &self.shared, jobs, (self.purge_at, self.ride_at), self.keep_accepted);
        let written = transaction(store, jobs, beside);
        let Written { done, swept, changed, used_bytes, purged } = match written {
            Ok(written) => written,
            Err(error) => {
                store.counts = counts;
                // Where even this fails the connection is given up by the caller; a full disk can be read.
                drop(store.conn.execute_batch("ROLLBACK"));
                store.reload()?;
                return Err(error);
            }
        };
        store.repetitions.swept(swept);
        self.last_commit = began.elapsed();
        self.log_bytes += if changed { COMMIT_BYTES + (bytes as u64) * 9 / 8 } else { 0 };
        self.acknowledged = store.last_id;
        let (mut frames, mut repetitions) = (0, 0);
        for done in &done {
            match done {
                Done::Keep(Kept { duplicate: true, .. }) => repetitions += 1,
                Done::Keep(_) => frames += 1,
                // It came in pieces, none of which was counted as a frame.
                Done::Break(Some(_)) => self.shared.since.received(),
                _ => {}
            }
        }
        let took = u64::try_from(self.last_commit.as_micros()).unwrap_or(u64::MAX);
        self.shared.figure(|figures| {
            figures.commits += u64::from(changed);
            figures.frames += frames;
            figures.repetitions += repetitions;
            figures.last_commit_us = took;
        });
        self.shared.since.repeated(repetitions);
        if beside.is_some() {
            self.rode(purged);
        }
        self.publish_with(used_bytes);
        Ok(done)
    }

    /// Tells readers and waiters what is true now.
    fn publish(&self) {
        let pages = self.open.as_ref().and_then(|open| open.store.pages().ok());
        self.publish_with(pages.map_or_else(|| self.shared.bytes(), Pages::used_bytes));
    }

    /// The same where the bytes in use are known.
    fn publish_with(&self, used_bytes: u64) {
        let Some(Open { store, .. }) = &self.open else { return self.shared.set_writing(false) };
        self.shared.set_writing(true);
        self.shared.set_counts(store.counts);
        self.shared.set_bytes(used_bytes);
        self.shared.changed.send_modify(|commits| *commits += 1);
    }

    fn refuse(&self, jobs: Vec<Job>, why: &Refused) {
        let frames = jobs.iter().filter(|job| job.is_frame()).count() as u64;
        self.shared.figure(|figures| figures.refused += frames);
        let kept = jobs.iter().filter(|job| matches!(job, Job::Keep { .. })).count() as u64;
        self.shared.since.refused(kept);
        for job in jobs {
            job.refuse(why);
        }
    }
}

/// What a transaction that is committed did.
struct Written {
    done: Vec<Done>,
    /// Hashes that went into `seen`.
    swept: usize,
    /// Whether there was anything to sync.
    changed: bool,
    used_bytes: u64,
    /// What went to make room, beside what came.
    purged: Purged,
}

/// Begins, applies every job, and commits. What is returned is durable.
fn transaction(
    store: &mut Store,
    jobs: &mut Vec<Job>,
    beside: Option<(Which, usize)>,
) -> rusqlite::Result<Written> {
    store.conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    let before = store.conn.total_changes();
    let mut done = Vec::with_capacity(jobs.len());
    for job in jobs.iter_mut() {
        done.push(apply(store, job)?);
    }
    let purged = match beside {
        Some((which, limit)) => store.purge_within(which, limit)?,
        None => Purged::default(),
    };
    let swept = store.repetitions.sweep(&store.conn)?;
    // Counted repetitions ride along, but do not make a commit of a group that needs none.
    let changed = store.conn.total_changes() > before;
    if changed {
        store.write_repeats()?;
    }
    if commits(Sabotage::AnswerBeforeCommit) {
        // As wrong as it gets: the sender is told, then the disk is asked. The pause is a slow disk's commit.
        jobs.drain(..).zip(done.drain(..)).for_each(|(job, done)| job.answer(done));
        std::thread::sleep(Duration::from_millis(5));
    }
    // Asked inside the transaction: outside, each question would be one of its own, with its locks.
    let used_bytes = store.pages()?.used_bytes();
    store.conn.prepare_cached("COMMIT")?.execute([])?;
    if changed {
        store.repeats.clear();
    }
    Ok(Written { done, swept, changed, used_bytes, purged })
}

fn apply(store: &mut Store, job: &mut Job) -> rusqlite::Result<Done> {
    Ok(match job {
        Job::Keep { frame, .. } => Done::Keep(store.keep(frame)?),
        Job::Part { part, .. } => Done::Part(store.keep_part(part)?),
        Job::Break { link, peer, reason, .. } => Done::Break(store.break_parts(link, peer, reason)?),
        Job::Mark { marks, .. } => {
            let mut illegal = Vec::new();
            for mark in marks.iter() {
                illegal.extend(store.mark(mark)?.err());
            }
            Done::Mark(illegal)
        }
        Job::Change { changes, .. } => Done::Change(registry::apply(&store.conn, changes, store.now())?),
        Job::Quarantine { id } => {
            store.hold_changed(*id)?;
            Done::Nothing
        }
        #[cfg(test)]
        Job::Meddle(_) => Done::Nothing,
        Job::Suspect(_) => Done::Nothing,
    })
}
