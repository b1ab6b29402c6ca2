//! For the writer's bad days: no room, and a disk that fails.

use std::time::{Duration, Instant};

use super::super::checkpoint::Checkpointer;
use super::super::folder::BALLAST_BYTES;
use super::super::health::Severity;
use super::super::job::Job;
use super::super::store::{self, Store, Why};
use super::super::{BufferError, Refused, sabotaged};
use super::{Open, Writer};
use crate::sabotage::{Sabotage, commits};

/// How often a full disk is tried again, and a broken one (doubling up to the limit).
const FULL_PAUSE: Duration = Duration::from_millis(250);
pub(super) const REOPEN_PAUSE: Duration = Duration::from_millis(100);
const REOPEN_LIMIT: Duration = Duration::from_secs(5);
/// How often a reader's suspicion makes the whole database be checked: that takes time.
const SUSPECT_PAUSE: Duration = Duration::from_secs(600);

/// How often a reader's lock makes the database be opened anew: those who waited beside it tell of it too.
const UNLOCK_PAUSE: Duration = Duration::from_secs(15);

const DISK_FULL: &str = "disk-full";
const QUOTA_FULL: &str = "quota-full";
const DISK_FAULT: &str = "disk-fault";

impl Writer {
    /// Refuses the frames of a group that there is no room for; what is left may be written.
    pub(super) fn refuse_for_room(&mut self, jobs: Vec<Job>) -> Vec<Job> {
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
        match store.make_room(frames, bytes, self.shared.bytes(), max_bytes) {
            Ok(true) => {
                self.quota_fits();
                jobs
            }
            Ok(false) => {
                if commits(Sabotage::DropOldest) {
                    sabotaged::drop_oldest(&store.conn);
                    return jobs;
                }
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

    /// There is room within the quota (again).
    pub(super) fn quota_fits(&self) {
        self.shared.clear(QUOTA_FULL);
        if !self.full {
            self.shared.set_full(false);
        }
    }

    fn refuse_frames(&self, jobs: Vec<Job>, reason: &str) -> Vec<Job> {
        let (frames, rest): (Vec<_>, Vec<_>) = jobs.into_iter().partition(Job::is_frame);
        self.refuse(frames, &Refused { full: true, reason: reason.to_owned() });
        rest
    }

    /// Whether a disk that was full may be tried again: not too often, and not in the reserved room.
    pub(super) fn try_again(&mut self) -> bool {
        if Instant::now() < self.full_try {
            return false;
        }
        self.full_try = Instant::now() + FULL_PAUSE;
        let free_pages = self.open.as_ref().and_then(|open| open.store.pages().ok());
        self.folder.free_bytes() >= 2 * BALLAST_BYTES
            || free_pages.is_some_and(|pages| pages.free_bytes() >= BALLAST_BYTES)
    }

    /// Frames are refused from now on; what else was in the group is written in the reserved room.
    pub(super) fn disk_is_full(&mut self, jobs: Vec<Job>) {
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

    pub(super) fn enter_full(&mut self) {
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

    pub(super) fn no_longer_full(&mut self) {
        self.full = false;
        self.shared.set_full(false);
        self.shared.clear(DISK_FULL);
        self.folder.reserve_ballast();
    }

    /// Gives the connection up. Nothing is answered from it any more.
    pub(super) fn fault(&mut self, doing: &str, error: Option<&rusqlite::Error>) {
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

    /// A reader met damage: have the database checked, and salvaged if it is so.
    pub(super) fn suspect(&mut self) {
        if self.suspected_at.is_none_or(|at| at.elapsed() >= SUSPECT_PAUSE) {
            self.suspected_at = Some(Instant::now());
            self.corrupt = true;
            self.fault("reading", None);
        }
    }

    /// A reader met a lock that nobody lets go: it goes when everybody has closed.
    pub(super) fn lock_is_left(&mut self) {
        if self.open.is_some() && self.unlocked_at.is_none_or(|at| at.elapsed() >= UNLOCK_PAUSE) {
            self.unlocked_at = Some(Instant::now());
            self.fault("reading past a lock that is left", None);
        }
    }

    /// Opens the database anew and verifies it; whether it can be used again.
    pub(super) fn reopen(&mut self) -> bool {
        if Instant::now() < self.reopen_at || commits(Sabotage::NeverReopen) {
            return false;
        }
        let why = Why::Fault { acknowledged: self.acknowledged, corrupt: self.corrupt };
        // A lock that could not be let go is forgotten only when the last connection is closed.
        let (recall, all_back) = self.shared.lending.recall();
        drop(recall);
        if !all_back {
            tracing::warn!("Somebody still reads from before the fault; the database is opened beside them.");
        }
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
}
