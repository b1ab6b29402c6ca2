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

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::checkpoint::Checkpointer;
use super::entry::{IllegalMark, Mark};
use super::folder::{BALLAST_BYTES, Folder};
use super::health::{Severity, Shared};
use super::registry::{self, Change};
use super::retention::Which;
use super::store::{self, Store, Why};
use super::{BufferError, Config, JOB_COST, Kept, NewFrame, Refused};

/// The largest group.
const GROUP_JOBS: usize = 1_024;
const GROUP_BYTES: usize = 16 << 20;
/// A group waits for as many jobs as came before, at most this part of the last commit's time, and never longer
/// than the limit.
const WINDOW_PART: u32 = 4;
const WINDOW_LIMIT: Duration = Duration::from_millis(4);
/// Bytes of log after which it is copied while frames arrive, and when nobody is there.
const LOG_BUSY_BYTES: u64 = 16 << 20;
const LOG_IDLE_BYTES: u64 = 1 << 20;
/// What a commit writes to the log besides its frames: the ends of the tables and indices, in pages.
const COMMIT_BYTES: u64 = 5 * 4_096;
/// How long nothing must have arrived before the writer looks after its own affairs; and how often it then does.
const IDLE: Duration = Duration::from_millis(20);
const IDLE_LONG: Duration = Duration::from_secs(1);
/// How often a full disk is tried again, and a broken one (doubling up to the limit).
const FULL_PAUSE: Duration = Duration::from_millis(250);
const REOPEN_PAUSE: Duration = Duration::from_millis(100);
const REOPEN_LIMIT: Duration = Duration::from_secs(5);
/// How often accepted entries are looked through for age.
const PURGE_EVERY: Duration = Duration::from_secs(600);

const DISK_FULL: &str = "disk-full";
const QUOTA_FULL: &str = "quota-full";
const DISK_FAULT: &str = "disk-fault";

/// A frame with its hash, ready to be written.
pub(super) struct Sealed {
    pub(super) frame: NewFrame,
    pub(super) sha256: [u8; 32],
}

impl Sealed {
    /// What it takes of the queue's room.
    pub(super) fn cost(&self) -> u32 {
        JOB_COST.saturating_add(u32::try_from(self.frame.bytes.len() >> 10).unwrap_or(u32::MAX))
    }
}

type Reply<T> = oneshot::Sender<T>;

/// What callers ask of the writer. The permit is their share of the queue; it goes back with the job.
pub(super) enum Job {
    Keep {
        frame: Sealed,
        reply: Reply<Result<Kept, Refused>>,
        permit: OwnedSemaphorePermit,
    },
    Part {
        part: Sealed,
        reply: Reply<Result<(), Refused>>,
        permit: OwnedSemaphorePermit,
    },
    Break {
        link: Arc<str>,
        peer: Arc<str>,
        reason: String,
        reply: Reply<Result<Option<i64>, Refused>>,
        permit: OwnedSemaphorePermit,
    },
    Mark {
        marks: Vec<Mark>,
        reply: Reply<Result<(), BufferError>>,
        permit: OwnedSemaphorePermit,
    },
    Change {
        changes: Vec<Change>,
        reply: Reply<Result<(), BufferError>>,
        permit: OwnedSemaphorePermit,
    },
    /// A reader found that the bytes of this entry changed.
    Quarantine {
        id: i64,
    },
    /// Lets a test do to the connection what a disk would do.
    #[cfg(test)]
    Meddle(Box<dyn FnOnce(&mut Store) + Send>),
}

/// What became of a job in a transaction that may yet fail.
enum Done {
    Keep(Kept),
    Part(Result<(), Refused>),
    Break(Option<i64>),
    Mark(Vec<IllegalMark>),
    Change(Result<(), String>),
    Nothing,
}

impl Job {
    /// Frames take room; marks and changes may use what was reserved.
    const fn is_frame(&self) -> bool {
        matches!(self, Self::Keep { .. } | Self::Part { .. })
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Keep { frame: sealed, .. } | Self::Part { part: sealed, .. } => sealed.frame.bytes.len(),
            Self::Mark { marks, .. } => marks.len() * 128,
            _ => 0,
        }
    }

    /// A caller that went away does not need its answer; the frame is kept all the same.
    fn answer(self, done: Done) {
        match (self, done) {
            (Self::Keep { reply, permit, .. }, Done::Keep(kept)) => drop((reply.send(Ok(kept)), permit)),
            (Self::Part { reply, permit, .. }, Done::Part(kept)) => drop((reply.send(kept), permit)),
            (Self::Break { reply, permit, .. }, Done::Break(id)) => drop((reply.send(Ok(id)), permit)),
            (Self::Mark { reply, permit, .. }, Done::Mark(illegal)) => {
                let answer =
                    if illegal.is_empty() { Ok(()) } else { Err(BufferError::IllegalMarks(illegal)) };
                drop((reply.send(answer), permit));
            }
            (Self::Change { reply, permit, .. }, Done::Change(done)) => {
                drop((reply.send(done.map_err(BufferError::NotAllowed)), permit));
            }
            (job, _) => {
                job.refuse(&Refused { full: false, reason: String::from("a fault of Bedside itself") })
            }
        }
    }

    fn refuse(self, why: &Refused) {
        let why = why.clone();
        match self {
            Self::Keep { reply, permit, .. } => drop((reply.send(Err(why)), permit)),
            Self::Part { reply, permit, .. } => drop((reply.send(Err(why)), permit)),
            Self::Break { reply, permit, .. } => drop((reply.send(Err(why)), permit)),
            Self::Mark { reply, permit, .. } => drop((reply.send(Err(why.into())), permit)),
            Self::Change { reply, permit, .. } => drop((reply.send(Err(why.into())), permit)),
            Self::Quarantine { .. } => {}
            #[cfg(test)]
            Self::Meddle(_) => {}
        }
    }
}

/// Opens the database and starts the thread; errors of the opening are the caller's.
pub(super) fn start(
    config: &Config,
    shared: Arc<Shared>,
    queue: Receiver<Job>,
) -> Result<std::thread::JoinHandle<()>, BufferError> {
    let thread_failed = |source| BufferError::Folder { path: config.dir.clone(), source };
    let folder = Folder::open(&config.dir)?;
    let store = Store::open(&folder, &shared, Why::Start)?;
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
        reopen_pause: REOPEN_PAUSE,
        last_sizes: [1, 1],
        last_commit: Duration::ZERO,
        log_bytes: 0,
        log_asked: None,
        purge_at: now,
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
    last_sizes: [usize; 2],
    last_commit: Duration,
    /// Estimate of what is in the log and not in the database.
    log_bytes: u64,
    /// `log_bytes` and the checkpointer's count of runs when it was last asked.
    log_asked: Option<(u64, u64)>,
    purge_at: Instant,
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
    fn serve(&mut self, jobs: Vec<Job>) {
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
            }
            Err(error) if store::no_room(&error) => self.disk_is_full(jobs),
            Err(error) => {
                self.fault("writing", Some(&error));
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
        let written = transaction(store, jobs, &self.shared);
        let Written { done, swept, changed } = match written {
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
        self.publish();
        Ok(done)
    }

    /// Tells readers and waiters what is true now.
    fn publish(&self) {
        let Some(Open { store, .. }) = &self.open else { return self.shared.set_writing(false) };
        self.shared.set_writing(true);
        self.shared.set_counts(store.counts);
        if let Ok(pages) = store.pages() {
            self.shared.set_bytes(pages.used_bytes());
        }
        self.shared.changed.send_modify(|commits| *commits += 1);
    }

    fn refuse(&self, jobs: Vec<Job>, why: &Refused) {
        let frames = jobs.iter().filter(|job| job.is_frame()).count() as u64;
        self.shared.figure(|figures| figures.refused += frames);
        for job in jobs {
            job.refuse(why);
        }
    }

    /// Refuses the frames of a group that there is no room for; what is left may be written.
    fn refuse_for_room(&mut self, jobs: Vec<Job>) -> Vec<Job> {
        let frames = jobs.iter().filter(|job| job.is_frame()).count() as u64;
        if frames == 0 {
            return jobs;
        }
        if self.full && !self.try_again() {
            return self.refuse_frames(jobs, "the disk of this box is full");
        }
        let bytes = jobs.iter().filter(|job| job.is_frame()).map(|job| job.bytes() as u64).sum();
        let max_bytes = self.shared.max_bytes;
        let Some(Open { store, .. }) = &mut self.open else { return jobs };
        match store.make_room(frames, bytes, max_bytes) {
            Ok(true) => {
                self.shared.clear(QUOTA_FULL);
                if !self.full {
                    self.shared.set_full(false);
                }
                jobs
            }
            Ok(false) => {
                self.shared.set_full(true);
                self.shared.raise(
                    QUOTA_FULL,
                    Severity::Critical,
                    String::from("The storage of this box is full of results that are not delivered; devices are refused"),
                    "Repair the connection upstream, look at the held entries, or allow more bytes (max_bytes).",
                );
                self.refuse_frames(
                    jobs,
                    "the storage of this box is full of results that are not delivered yet",
                )
            }
            // The transaction that follows meets the same, and deals with it.
            Err(_) => jobs,
        }
    }

    fn refuse_frames(&self, jobs: Vec<Job>, reason: &str) -> Vec<Job> {
        let (frames, rest): (Vec<_>, Vec<_>) = jobs.into_iter().partition(Job::is_frame);
        self.refuse(frames, &Refused { full: true, reason: reason.to_owned() });
        rest
    }

    /// Whether a disk that was full may be tried again: not too often, and not in the reserved room.
    fn try_again(&mut self) -> bool {
        if Instant::now() < self.full_try {
            return false;
        }
        self.full_try = Instant::now() + FULL_PAUSE;
        let free_pages = self.open.as_ref().and_then(|open| open.store.pages().ok());
        self.folder.free_bytes() >= 2 * BALLAST_BYTES
            || free_pages.is_some_and(|pages| pages.free_bytes() >= BALLAST_BYTES)
    }

    /// Frames are refused from now on; what else was in the group is written in the reserved room.
    fn disk_is_full(&mut self, jobs: Vec<Job>) {
        self.enter_full();
        let had_reserve = self.folder.release_ballast();
        let mut rest = self.refuse_frames(jobs, "the disk of this box is full");
        if rest.is_empty() {
            return;
        }
        match self.write(&mut rest) {
            Ok(done) => {
                for (job, done) in rest.into_iter().zip(done) {
                    job.answer(done);
                }
            }
            Err(error) => {
                tracing::error!(%error, had_reserve, "Marks could not be written on the full disk.");
                if !store::no_room(&error) {
                    self.fault("writing", Some(&error));
                }
                self.refuse(
                    rest,
                    &Refused { full: true, reason: String::from("the disk of this box is full") },
                );
            }
        }
    }

    fn enter_full(&mut self) {
        self.full = true;
        self.full_try = Instant::now() + FULL_PAUSE;
        self.shared.set_full(true);
        self.shared.raise(
            DISK_FULL,
            Severity::Critical,
            String::from("The disk of this box is full; devices are refused"),
            "Free room on the disk. Bedside goes on by itself as soon as there is some.",
        );
    }

    fn no_longer_full(&mut self) {
        self.full = false;
        self.shared.set_full(false);
        self.shared.clear(DISK_FULL);
        self.folder.reserve_ballast();
    }

    /// Gives the connection up. Nothing is answered from it any more.
    fn fault(&mut self, doing: &str, error: Option<&rusqlite::Error>) {
        tracing::error!(
            doing,
            error = error.map(ToString::to_string),
            "The database is closed after a fault."
        );
        self.corrupt |= error.is_some_and(store::damaged);
        self.open = None;
        self.reopen_at = Instant::now();
        self.shared.set_writing(false);
        self.shared.next_generation();
        self.shared.raise(
            DISK_FAULT,
            Severity::Critical,
            String::from("The disk of this box reports errors; devices are refused until it can be written again"),
            "If this stays: replace the disk. Nothing that was acknowledged is lost as long as it can be read.",
        );
    }

    /// Opens the database anew and verifies it; whether it can be used again.
    fn reopen(&mut self) -> bool {
        if Instant::now() < self.reopen_at {
            return false;
        }
        let why = Why::Fault { acknowledged: self.acknowledged, corrupt: self.corrupt };
        let opened = Store::open(&self.folder, &self.shared, why).and_then(|store| {
            let path = self.folder.database();
            let checkpointer =
                Checkpointer::start(path.clone()).map_err(|source| BufferError::Folder { path, source })?;
            Ok(Open { store, checkpointer })
        });
        self.shared.next_generation();
        match opened {
            Ok(open) => {
                self.open = Some(open);
                self.corrupt = false;
                self.reopen_pause = REOPEN_PAUSE;
                self.log_bytes = 0;
                self.log_asked = None;
                self.shared.figure(|figures| figures.reopened += 1);
                self.shared.clear(DISK_FAULT);
                self.publish();
                tracing::info!("The database is open again and verified.");
                true
            }
            Err(error) => {
                tracing::error!(%error, "The database could not be opened again.");
                self.reopen_at = Instant::now() + self.reopen_pause;
                self.reopen_pause = (self.reopen_pause * 2).min(REOPEN_LIMIT);
                false
            }
        }
    }

    /// Has the log copied when it is long. Under load the thread is always a little behind; the writer copies
    /// what is left after it, so that the log begins anew.
    fn copy_log_when_due(&mut self) {
        let Some(Open { store, checkpointer }) = &self.open else { return };
        match self.log_asked {
            Some((asked, runs)) if checkpointer.done() > runs => {
                self.log_asked = None;
                self.shared.figure(|figures| figures.checkpoints += 1);
                let all = checkpointer.last().is_some_and(|last| last.copied == last.log)
                    && asked == self.log_bytes;
                if all {
                    self.log_bytes = 0;
                } else if self.log_bytes >= LOG_BUSY_BYTES {
                    match super::checkpoint::copy_log(&store.conn) {
                        Ok(_) => self.log_bytes = 0,
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

    /// Looks after the store while nobody is waiting; whether there is more to do at once.
    fn idle(&mut self) -> bool {
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
        let more = self.purge()?;
        self.copy_log_when_due();
        let Some(Open { checkpointer, .. }) = &self.open else { return Ok(false) };
        if self.log_asked.is_none() && self.log_bytes >= LOG_IDLE_BYTES && !checkpointer.busy() {
            self.log_asked = Some((self.log_bytes, checkpointer.done()));
            checkpointer.ask();
        }
        Ok(more)
    }

    /// Purges one batch of what is too old or too much, and gives pages back; whether there is more.
    fn purge(&mut self) -> rusqlite::Result<bool> {
        let Some(Open { store, .. }) = &mut self.open else { return Ok(false) };
        let crowded =
            store.pages()?.used_bytes() > self.shared.max_bytes / 10 * 9 && store.counts.accepted > 0;
        let now = self.shared.clock.now();
        // A clock that nobody vouches for must not age anything: a box that wakes up in 2038 would purge all.
        let by_age = Instant::now() >= self.purge_at && now.synchronised;
        let purged = if crowded {
            store.purge(Which::Oldest)?
        } else if by_age {
            let days = i64::try_from(self.keep_accepted.as_micros()).unwrap_or(i64::MAX);
            store.purge(Which::Before(now.micros.saturating_sub(days)))?
        } else {
            super::retention::Purged::default()
        };
        if by_age && !crowded && !purged.more {
            self.purge_at = Instant::now() + PURGE_EVERY;
        }
        if purged.gone > 0 {
            self.log_bytes += purged.gone * 4_096;
            self.shared.figure(|figures| figures.purged += purged.gone);
        }
        let more = store.repetitions.drop_outlived(&store.conn)? | store.give_back()?;
        if purged.gone > 0 || more {
            self.publish();
        }
        Ok(more || purged.more)
    }

    /// The last caller is gone: write what is counted in memory, copy the log, close.
    fn finish(&mut self) {
        let finished = self.tidy();
        if let Some(Open { store, checkpointer }) = self.open.take() {
            drop(checkpointer);
            if let Err(error) = finished.and_then(|_| super::checkpoint::copy_log(&store.conn)) {
                tracing::warn!(%error, "The log could not be copied at the end; the next start does it.");
            }
        }
        self.shared.set_writing(false);
        self.shared.next_generation();
    }
}

/// What a transaction that is committed did.
struct Written {
    done: Vec<Done>,
    /// Hashes that went into `seen`.
    swept: usize,
    /// Whether there was anything to sync.
    changed: bool,
}

/// Begins, applies every job, and commits. What is returned is durable.
fn transaction(store: &mut Store, jobs: &mut Vec<Job>, shared: &Shared) -> rusqlite::Result<Written> {
    store.conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    let before = store.conn.total_changes();
    let mut done = Vec::with_capacity(jobs.len());
    for job in jobs.iter_mut() {
        done.push(apply(store, job, shared)?);
    }
    let swept = store.repetitions.sweep(&store.conn)?;
    // Counted repetitions ride along, but do not make a commit of a group that needs none.
    let changed = store.conn.total_changes() > before;
    if changed {
        store.write_repeats()?;
    }
    if cfg!(feature = "sabotage-answer-before-commit") {
        // As wrong as it gets: the sender is told, then the disk is asked. The pause is a slow disk's commit.
        jobs.drain(..).zip(done.drain(..)).for_each(|(job, done)| job.answer(done));
        std::thread::sleep(Duration::from_millis(5));
    }
    store.conn.prepare_cached("COMMIT")?.execute([])?;
    if changed {
        store.repeats.clear();
    }
    Ok(Written { done, swept, changed })
}

fn apply(store: &mut Store, job: &mut Job, shared: &Shared) -> rusqlite::Result<Done> {
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
            if store.hold_if_changed(*id)? {
                shared.raise_changed(*id);
            }
            Done::Nothing
        }
        #[cfg(test)]
        Job::Meddle(_) => Done::Nothing,
    })
}
