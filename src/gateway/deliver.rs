//! The way out: waiting entries, in order per device, to the FHIR server; only its word frees them.
//!
//! The buffer never offers an entry that would overtake an earlier one of its device. When the server does not
//! answer, the whole queue pauses (one try a pause) and keeps its order; when it refuses one entry, that entry is
//! held and the rest go on.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::admin::live::Live;
use crate::buffer::{Buffer, BufferError, Mark, Reader, Stored, Transition};
use crate::clock::SharedClock;
use crate::config::Delivery;
use crate::connector::Stop;
use crate::fhir::Resource;
use crate::gateway::metrics::Metrics;
use crate::gateway::triage::said;
use crate::gateway::understand::{Meaning, Understanding};
use crate::upstream::{Upstream, Verdict};

/// The shortest pause after a failure; doubled each time up to the configured longest.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// How long to look away when nothing is waiting; an arrival wakes sooner.
const IDLE: Duration = Duration::from_secs(1);

/// What delivery needs.
pub(super) struct Deliver {
    pub buffer: Buffer,
    pub reader: Reader,
    pub understanding: Arc<Understanding>,
    pub upstream: Arc<Upstream>,
    pub live: Arc<Live>,
    pub metrics: Arc<Metrics>,
    pub clock: SharedClock,
    pub config: Delivery,
    /// Entries up to this one have had their first look.
    pub seen: watch::Receiver<i64>,
    /// Woken when something may be deliverable (a release, a replay).
    pub wake: Arc<Notify>,
}

/// An entry ready to go.
struct Ready {
    id: i64,
    attempts: u32,
    resources: Vec<Resource>,
}

/// Failures in a row since the server last answered.
#[derive(Default)]
struct Patience {
    failures: u32,
}

impl Deliver {
    /// Runs until told to stop; a request under way is finished first.
    pub(super) async fn run(mut self, mut stop: Stop) {
        let mut patience = Patience::default();
        loop {
            let pause = self.turn(&mut patience).await;
            let wake = self.wake.clone();
            tokio::select! {
                () = stop.wait() => return,
                () = tokio::time::sleep(pause) => {}
                () = wake.notified(), if patience.failures == 0 => {}
                _ = self.seen.changed(), if patience.failures == 0 && pause >= IDLE => {}
            }
        }
    }

    /// One batch; returns how long to wait before the next.
    async fn turn(&self, patience: &mut Patience) -> Duration {
        let now = self.clock.now();
        let (stored, more) = match self.gather().await {
            Ok(gathered) => gathered,
            Err(fault) => {
                tracing::error!(%fault, "Waiting entries could not be read.");
                return IDLE;
            }
        };
        let Some(oldest) = stored.first().map(|s| s.received) else { return IDLE };
        let age = now.since(oldest);
        let wanted = Duration::from_millis(self.config.age_ms);
        if !more && age < wanted {
            return wanted.saturating_sub(age);
        }
        let (ready, mut marks) = self.prepare(&stored);
        let pause =
            if ready.is_empty() { Duration::ZERO } else { self.send(ready, &mut marks, patience).await };
        if let Err(fault) = self.buffer.mark(marks).await {
            // Not lost: the entries stay as they were and are sent again, which the server sees as the same.
            tracing::error!(%fault, "The server's verdicts could not be written down.");
            return PAUSE_MIN;
        }
        pause
    }

    /// The next entries that have had their first look, and whether there are more.
    async fn gather(&self) -> Result<(Vec<Stored>, bool), BufferError> {
        let limit = *self.seen.borrow();
        let waiting = self.reader.waiting(0, self.config.entries_max, self.config.bytes_max).await?;
        let found = waiting.entries.len();
        let mut taken = waiting.entries;
        taken.retain(|stored| stored.id <= limit);
        let bytes: usize = taken.iter().map(|stored| stored.bytes.len()).sum();
        let full = found >= self.config.entries_max || bytes * 2 >= self.config.bytes_max;
        Ok((taken, full))
    }

    fn prepare(&self, stored: &[Stored]) -> (Vec<Ready>, Vec<Mark>) {
        let mut ready = Vec::with_capacity(stored.len());
        let mut marks = Vec::new();
        for one in stored {
            let understood = self.understanding.read(&said(one));
            match understood.meaning {
                Meaning::Deliver { resources } => {
                    ready.push(Ready { id: one.id, attempts: one.attempts, resources });
                }
                Meaning::Hold(reason) => {
                    self.metrics.held();
                    marks.push(Mark { id: one.id, to: Transition::Held { reason, answer: None } });
                }
                Meaning::Nothing(reason) => {
                    marks.push(Mark { id: one.id, to: Transition::Ignored { reason } });
                }
            }
        }
        (ready, marks)
    }

    async fn send(&self, ready: Vec<Ready>, marks: &mut Vec<Mark>, patience: &mut Patience) -> Duration {
        let sent = ready.iter().map(|r| Mark { id: r.id, to: Transition::Sent }).collect();
        if let Err(fault) = self.buffer.mark(sent).await {
            tracing::error!(%fault, "Entries could not be marked as sent; nothing was sent.");
            return PAUSE_MIN;
        }
        let (about, lists): (Vec<(i64, u32)>, Vec<Vec<Resource>>) =
            ready.into_iter().map(|r| ((r.id, r.attempts), r.resources)).unzip();
        let verdicts = self.upstream.deliver(&lists).await;
        crate::gateway::watch::show_upstream(&self.live, &self.upstream);
        let nobody_answered = verdicts.iter().all(|v| matches!(v, Verdict::Retry { .. }));
        let mut pause = Duration::ZERO;
        if nobody_answered {
            patience.failures = patience.failures.saturating_add(1);
            pause = self.backoff(patience.failures, verdicts.iter().filter_map(asked_pause).max());
        } else {
            patience.failures = 0;
        }
        for ((id, attempts), verdict) in about.into_iter().zip(verdicts) {
            marks.push(Mark { id, to: self.judged(verdict, attempts, nobody_answered) });
        }
        pause
    }

    fn judged(&self, verdict: Verdict, attempts: u32, all: bool) -> Transition {
        match verdict {
            Verdict::Accepted { answer } => {
                self.metrics.accepted(1);
                Transition::Accepted { answer }
            }
            Verdict::Refused { reason, answer } => {
                self.metrics.held();
                Transition::Held { reason, answer: Some(answer) }
            }
            Verdict::Retry { after, reason } => {
                self.metrics.retried(1);
                if all {
                    // The queue as a whole waits; the order stays as it was.
                    return Transition::Waiting { retry_after: None, reason: Some(reason) };
                }
                let until = self.clock.now().plus(self.backoff(attempts.saturating_add(1), after));
                Transition::Waiting { retry_after: Some(until), reason: Some(reason) }
            }
        }
    }

    /// Doubling pause with jitter (half to full), never shorter than what the server asked for.
    fn backoff(&self, failures: u32, asked: Option<Duration>) -> Duration {
        let longest = Duration::from_secs(self.config.pause_max_s.max(1));
        let full = PAUSE_MIN.saturating_mul(1u32 << failures.saturating_sub(1).min(16)).min(longest);
        let jitter = u64::from(self.clock.now().micros.unsigned_abs() as u32 % 1000);
        let half = full / 2;
        let jittered = half + half.mul_f64(jitter as f64 / 1000.0);
        jittered.max(asked.unwrap_or_default().min(Duration::from_secs(3600)))
    }
}

/// How long the server asked us to wait, if it did.
const fn asked_pause(verdict: &Verdict) -> Option<Duration> {
    match verdict {
        Verdict::Retry { after, .. } => *after,
        Verdict::Accepted { .. } | Verdict::Refused { .. } => None,
    }
}
