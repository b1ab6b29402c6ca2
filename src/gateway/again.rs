//! Starting anew in the same process: everything is ended in order, what has to be exchanged meanwhile is exchanged, and the
//! box starts as it would after a power cut, only sooner.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::admin::system::Job;
use crate::connector::Stop;

/// What was asked for at the desk is answered before the desk ends.
const MOMENT: Duration = Duration::from_millis(700);
/// About how long the box is away.
pub(super) const AWAY_S: u32 = 5;

/// Whether the box is to start anew, and with what.
#[derive(Default)]
pub(super) struct Again {
    wanted: AtomicBool,
    switch: Mutex<Option<watch::Sender<bool>>>,
    /// A backup to put in place of all there is, and the job that tells of it.
    restore: Mutex<Option<(PathBuf, Job)>>,
    /// What the last job came to; it outlives the box that did it.
    job: Mutex<Option<Job>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Again {
    /// The stop of one round: told when `outer` is, or when somebody asks for another round.
    pub(super) fn round(&self, outer: &Stop) -> (Stop, tokio::task::JoinHandle<()>) {
        let (switch, stop) = Stop::pair();
        self.wanted.store(false, Ordering::Release);
        let (mut outer, told) = (outer.clone(), switch.clone());
        *lock(&self.switch) = Some(switch);
        let forward = tokio::spawn(async move {
            outer.wait().await;
            told.send_replace(true);
        });
        (stop, forward)
    }

    /// Ends this round soon, and begins another.
    pub(super) fn ask(self: &Arc<Self>) {
        self.wanted.store(true, Ordering::Release);
        self.end_soon();
    }

    /// Ends the box soon, for good: what keeps it running starts the program that is chosen then.
    pub(super) fn leave(self: &Arc<Self>) {
        self.end_soon();
    }

    fn end_soon(self: &Arc<Self>) {
        let again = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(MOMENT).await;
            if let Some(switch) = &*lock(&again.switch) {
                switch.send_replace(true);
            }
        });
    }

    /// As [`ask`](Self::ask), with a backup in place of all there is.
    pub(super) fn ask_with(self: &Arc<Self>, backup: PathBuf, job: Job) {
        self.tell(job.clone());
        *lock(&self.restore) = Some((backup, job));
        self.ask();
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Acquire)
    }

    pub(super) fn take_restore(&self) -> Option<(PathBuf, Job)> {
        lock(&self.restore).take()
    }

    /// The job that runs, or the last one.
    pub(super) fn job(&self) -> Option<Job> {
        lock(&self.job).clone()
    }

    pub(super) fn tell(&self, job: Job) {
        *lock(&self.job) = Some(job);
    }

    /// Changes what is told of the job.
    pub(super) fn change(&self, change: impl FnOnce(&mut Job)) {
        if let Some(job) = &mut *lock(&self.job) {
            change(job);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_round_ends_when_another_is_asked_for_and_when_the_box_is_stopped() {
        let (switch, outer) = Stop::pair();
        let again = Arc::new(Again::default());
        let (mut stop, forward) = again.round(&outer);
        again.ask();
        stop.wait().await;
        assert!(again.is_wanted() && !outer.is_told());
        forward.abort();
        let (mut stop, _forward) = again.round(&outer);
        assert!(!again.is_wanted() && !stop.is_told());
        again.leave();
        stop.wait().await;
        assert!(!again.is_wanted(), "not another round: the end");
        let (mut stop, _forward) = again.round(&outer);
        switch.send_replace(true);
        stop.wait().await;
        assert!(!again.is_wanted());
    }
}
