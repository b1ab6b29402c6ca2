//! The way out: waiting entries, in order per device, to the FHIR server; only its word frees them.
//!
//! Full batches go side by side, each with devices of its own, and the next ones are read and translated while
//! these are on their way. Nothing is overtaken: a device is in one batch at a time, the buffer never offers an
//! entry behind one of its device that has to wait, and what was made ready ahead is dropped when a verdict is not
//! final. When the server does not answer, the whole queue pauses (one try a pause) and keeps its order; when it
//! refuses one entry, that entry is held and the rest go on.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{Notify, watch};

use crate::admin::live::Live;
use crate::buffer::{AssociationChange, Buffer, BufferError, Change, Mark, Reader, Stored, Transition};
use crate::clock::SharedClock;
use crate::config::Delivery;
use crate::connector::Stop;
use crate::connector::backoff::jittered;
use crate::fhir::Resource;
use crate::firmware_profile::Arrival;
use crate::gateway::association::{Associations, doubt_of};
use crate::gateway::metrics::Metrics;
use crate::gateway::translated::Translated;
use crate::gateway::triage::said;
use crate::gateway::understand::{Meaning, Understanding};
use crate::gateway::worklist;
use crate::sabotage::{Sabotage, commits};
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
    pub translated: Arc<Translated>,
    pub associations: Arc<Associations>,
    pub upstream: Arc<Upstream>,
    pub live: Arc<Live>,
    pub metrics: Arc<Metrics>,
    pub clock: SharedClock,
    pub config: Delivery,
    /// Requests under way at the same time at most.
    pub in_flight: usize,
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
    /// Under whom, where that is written down.
    attributed: Option<String>,
    /// What it was delivered under before and is not any more.
    takes_back: Vec<String>,
    /// It is held with this reason once the server has taken it back.
    then_held: Option<String>,
}

impl Ready {
    const fn first(one: &Stored, resources: Vec<Resource>, attributed: Option<String>) -> Self {
        let (id, attempts) = (one.id, one.attempts);
        Self { id, attempts, resources, attributed, takes_back: Vec::new(), then_held: None }
    }
}

/// Entries for requests that may go side by side, and what became clear of others while they were made ready.
struct Round {
    batches: Vec<Vec<Ready>>,
    marks: Vec<Mark>,
    /// Released entries that hold orders: (entry, link, orders).
    orders: Vec<(i64, Arc<str>, Arrival)>,
    /// Why held ones among them cannot be attributed.
    doubts: Vec<Change>,
    /// Of the facts by which they were attributed.
    generation: u64,
}

/// What is to be done next.
enum Next {
    Send(Round),
    /// Nothing can go before this time has passed.
    Wait(Duration),
}

/// Failures in a row since the server last answered.
#[derive(Default)]
struct Patience {
    failures: u32,
}

impl Deliver {
    /// Runs until told to stop; requests under way are finished first.
    pub(super) async fn run(mut self, mut stop: Stop) {
        let mut patience = Patience::default();
        let mut ahead = None;
        loop {
            let next = match ahead.take() {
                Some(next) => next,
                None => self.next(&patience).await,
            };
            let pause = match next {
                Next::Wait(pause) => pause,
                Next::Send(round) => {
                    let pause;
                    (pause, ahead) = self.turn(round, &mut patience).await;
                    pause
                }
            };
            let wake = self.wake.clone();
            tokio::select! {
                () = stop.wait() => return,
                () = tokio::time::sleep(pause) => {}
                () = wake.notified(), if patience.failures == 0 => {}
                _ = self.seen.changed(), if patience.failures == 0 && pause >= IDLE => {}
            }
        }
    }

    /// Sends one round while the next is made ready; returns how long to wait, and the next if it may follow.
    async fn turn(&self, round: Round, patience: &mut Patience) -> (Duration, Option<Next>) {
        let Round { batches, mut marks, orders, doubts, generation } = round;
        let sending = self.associations.sending().await;
        if generation != self.associations.generation() {
            // Somebody said meanwhile whose they are: they are read again.
            return (Duration::ZERO, None);
        }
        for (id, link, arrival) in orders {
            marks.push(Mark { id, to: worklist::take(&self.buffer, &link, arrival).await });
        }
        let held = marks.iter().filter(|mark| matches!(mark.to, Transition::Held { .. }));
        held.for_each(|_| self.metrics.held());
        let going = batches.iter().flatten().filter_map(|r| Some((r.id, r.attributed.clone()?)));
        if let Err(fault) = self.associations.note(going.collect(), doubts).await {
            tracing::error!(%fault, "Under whom entries go out could not be written down; nothing was sent.");
            return (PAUSE_MIN, None);
        }
        let batches = match self.mark_sent(batches).await {
            Ok(batches) => batches,
            Err(fault) => {
                tracing::error!(%fault, "Entries could not be marked as sent; nothing was sent.");
                return (PAUSE_MIN, None);
            }
        };
        drop(sending);
        let mut changes = Vec::new();
        let was_patient = patience.failures > 0;
        let sent = async {
            let verdicts = self.send(batches).await;
            self.judge(verdicts, &mut marks, &mut changes, patience)
        };
        let ahead = async { if was_patient { None } else { Some(self.next(&Patience::default()).await) } };
        let ((pause, all_final), ahead) = tokio::join!(sent, ahead);
        if !changes.is_empty()
            && let Err(fault) = self.buffer.change(changes).await
        {
            // It is taken back once more when it goes out again.
            tracing::error!(%fault, "What the server has taken back could not be written down.");
        }
        if let Err(fault) = self.buffer.mark(marks).await {
            // Not lost: the entries stay as they were and are sent again, which the server sees as the same.
            tracing::error!(%fault, "The server's verdicts could not be written down.");
            return (PAUSE_MIN, None);
        }
        // Only a full round was waiting already; for less, new company is looked for.
        (pause, ahead.filter(|next| all_final && matches!(next, Next::Send(_))))
    }

    /// Reads what waits and makes it ready, when it is enough or old enough.
    async fn next(&self, patience: &Patience) -> Next {
        // A server that does not answer is tried with one request.
        let requests = if patience.failures > 0 { 1 } else { self.in_flight.max(1) };
        let (stored, full) = match self.gather(requests).await {
            Ok(gathered) => gathered,
            Err(fault) => {
                tracing::error!(%fault, "Waiting entries could not be read.");
                return Next::Wait(IDLE);
            }
        };
        let Some(oldest) = stored.first() else { return Next::Wait(IDLE) };
        self.translated.forget_before(oldest.id);
        let age = self.clock.now().since(oldest.received);
        let wanted = Duration::from_millis(self.config.age_ms);
        if !full && age < wanted {
            return Next::Wait(wanted.saturating_sub(age));
        }
        let batches = side_by_side(stored, self.config.entries_max, self.config.bytes_max);
        let (understanding, translated) = (Arc::clone(&self.understanding), Arc::clone(&self.translated));
        let generation = self.associations.generation();
        let associations = Arc::clone(&self.associations);
        let prepared = tokio::task::spawn_blocking(move || {
            prepare(&batches, &understanding, &translated, &associations, generation)
        });
        match prepared.await {
            Ok(round) => Next::Send(round),
            Err(fault) => {
                tracing::error!(%fault, "Waiting entries could not be translated.");
                Next::Wait(PAUSE_MIN)
            }
        }
    }

    /// The next entries that have had their first look, for so many requests, and whether they fill one.
    async fn gather(&self, requests: usize) -> Result<(Vec<Stored>, bool), BufferError> {
        let limit = *self.seen.borrow();
        let (entries_max, bytes_max) = (self.config.entries_max, self.config.bytes_max);
        let waiting = self
            .reader
            .waiting(0, entries_max.saturating_mul(requests), bytes_max.saturating_mul(requests))
            .await?;
        let mut taken = waiting.entries;
        let found = taken.len();
        taken.retain(|stored| stored.id <= limit);
        if commits(Sabotage::IgnoreOrder) && taken.len() > 1 {
            taken.remove(0);
        }
        let bytes: usize = taken.iter().map(|stored| stored.bytes.len()).sum();
        let full = found >= entries_max || bytes >= bytes_max / 2;
        Ok((taken, full))
    }

    /// Writes down that these entries are on their way; what was held or settled meanwhile stays behind.
    async fn mark_sent(&self, mut batches: Vec<Vec<Ready>>) -> Result<Vec<Vec<Ready>>, BufferError> {
        let sent = batches.iter().flatten().map(|r| Mark { id: r.id, to: Transition::Sent }).collect();
        match self.buffer.mark(sent).await {
            Ok(()) => Ok(batches),
            Err(BufferError::IllegalMarks(illegal)) => {
                for batch in &mut batches {
                    batch.retain(|ready| illegal.iter().all(|mark| mark.id != ready.id));
                }
                Ok(batches)
            }
            Err(fault) => Err(fault),
        }
    }

    /// All batches at once; each entry with what became of it.
    async fn send(&self, batches: Vec<Vec<Ready>>) -> Vec<(Ready, Verdict)> {
        let requests = batches.into_iter().filter(|batch| !batch.is_empty()).map(|mut batch| async {
            let lists: Vec<Vec<Resource>> =
                batch.iter_mut().map(|ready| std::mem::take(&mut ready.resources)).collect();
            let verdicts = self.upstream.deliver(&lists).await;
            batch.into_iter().zip(verdicts)
        });
        let answered = join_all(requests).await;
        crate::gateway::watch::show_upstream(&self.live, &self.upstream);
        answered.into_iter().flatten().collect()
    }

    /// Turns verdicts into marks; returns how long to wait, and whether every verdict was final.
    fn judge(
        &self,
        verdicts: Vec<(Ready, Verdict)>,
        marks: &mut Vec<Mark>,
        changes: &mut Vec<Change>,
        patience: &mut Patience,
    ) -> (Duration, bool) {
        let retried = verdicts.iter().filter(|(_, v)| matches!(v, Verdict::Retry { .. })).count();
        let nobody_answered = retried > 0 && retried == verdicts.len();
        let mut pause = Duration::ZERO;
        if nobody_answered {
            patience.failures = patience.failures.saturating_add(1);
            let asked = verdicts.iter().filter_map(|(_, verdict)| asked_pause(verdict)).max();
            pause = self.backoff(patience.failures, asked);
        } else {
            patience.failures = 0;
        }
        self.translated.flows(patience.failures == 0);
        for (ready, verdict) in verdicts {
            let to = self.judged(verdict, ready.attempts, nobody_answered);
            marks.push(Mark { id: ready.id, to: taken_back(ready, to, changes) });
        }
        (pause, retried == 0)
    }

    fn judged(&self, verdict: Verdict, attempts: u32, all: bool) -> Transition {
        match verdict {
            Verdict::Accepted { answer } => {
                self.metrics.accepted(1);
                Transition::Accepted { answer }
            }
            Verdict::Refused { answer, .. } if commits(Sabotage::ForgetHeld) => {
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
        if commits(Sabotage::HotRetry) {
            return Duration::ZERO;
        }
        let longest = Duration::from_secs(self.config.pause_max_s.max(1));
        let full = PAUSE_MIN.saturating_mul(1u32 << failures.saturating_sub(1).min(16)).min(longest);
        jittered(full).max(asked.unwrap_or_default().min(Duration::from_secs(3600)))
    }
}

/// What a verdict means for an entry that was delivered under somebody else before.
fn taken_back(ready: Ready, to: Transition, changes: &mut Vec<Change>) -> Transition {
    let Transition::Accepted { answer } = to else { return to };
    if !ready.takes_back.is_empty() {
        let withdrawn = AssociationChange::Withdrawn { entry: ready.id, parts: ready.takes_back };
        changes.push(Change::Association(withdrawn));
    }
    match ready.then_held {
        Some(reason) => Transition::Held { reason, answer: Some(answer) },
        None => Transition::Accepted { answer },
    }
}

/// How long the server asked us to wait, if it did.
const fn asked_pause(verdict: &Verdict) -> Option<Duration> {
    match verdict {
        Verdict::Retry { after, .. } => *after,
        Verdict::Accepted { .. } | Verdict::Refused { .. } => None,
    }
}

/// Shares entries out among as many batches as they fill, each device in one batch and in its order. What would
/// overfill its batch is left for the next round, with all that is behind it of its device.
fn side_by_side(stored: Vec<Stored>, entries_max: usize, bytes_max: usize) -> Vec<Vec<Stored>> {
    let bytes: usize = stored.iter().map(|one| one.bytes.len()).sum();
    let count = stored.len().div_ceil(entries_max.max(1)).max(bytes.div_ceil(bytes_max.max(1))).max(1);
    let mut batches: Vec<(usize, Vec<Stored>)> = (0..count).map(|_| (0, Vec::new())).collect();
    // Device → its batch; none when the batch is full.
    let mut of_device: HashMap<Arc<str>, Option<usize>> = HashMap::new();
    for one in stored {
        let device = one.device.clone().unwrap_or_else(|| Arc::clone(&one.link));
        let shortest = || (0..count).min_by_key(|at| batches.get(*at).map_or(0, |(_, batch)| batch.len()));
        let place = of_device.entry(device).or_insert_with(shortest);
        let Some((taken, batch)) = place.and_then(|at| batches.get_mut(at)) else { continue };
        let fits = batch.len() < entries_max && *taken + one.bytes.len() <= bytes_max;
        if fits || batch.is_empty() {
            *taken += one.bytes.len();
            batch.push(one);
        } else {
            *place = None;
        }
    }
    batches.into_iter().map(|(_, batch)| batch).collect()
}

/// Decodes and translates what is not translated yet.
fn prepare(
    batches: &[Vec<Stored>],
    understanding: &Understanding,
    translated: &Translated,
    associations: &Associations,
    generation: u64,
) -> Round {
    let mut round =
        Round { batches: Vec::new(), marks: Vec::new(), orders: Vec::new(), doubts: Vec::new(), generation };
    for batch in batches {
        let ready =
            batch.iter().filter_map(|one| ready(one, understanding, translated, associations, &mut round));
        let ready = ready.collect();
        round.batches.push(ready);
    }
    round
}

/// One entry, ready to go; what becomes of it when it is not goes into the round.
fn ready(
    one: &Stored,
    understanding: &Understanding,
    translated: &Translated,
    associations: &Associations,
    round: &mut Round,
) -> Option<Ready> {
    if let Some((resources, attributed)) = translated.take(one.id, round.generation)
        && one.attempts == 0
    {
        return Some(Ready::first(one, resources, attributed));
    }
    let understood = understanding.read(&said(one));
    if one.attempts > 0 {
        match associations.outgoing(one.id, &said(one), &understood) {
            Ok(None) => {}
            Ok(Some(out)) => {
                if let Some(reason) = &out.then_held {
                    round.doubts.extend(doubt_of(one.id, &understood, reason).map(|(_, doubt)| doubt));
                }
                let ready = Ready::first(one, out.resources, out.attributed);
                return Some(Ready { takes_back: out.takes_back, then_held: out.then_held, ..ready });
            }
            Err(reason) => {
                round.marks.push(Mark { id: one.id, to: Transition::Held { reason, answer: None } });
                return None;
            }
        }
    }
    if let Meaning::Hold(reason) = &understood.meaning
        && let Some((seen, doubt)) = doubt_of(one.id, &understood, reason)
    {
        round.marks.push(seen);
        round.doubts.push(doubt);
    }
    let attributed = understood.whose.and_then(|whose| whose.text);
    let to = match understood.meaning {
        Meaning::Deliver { resources } => {
            return Some(Ready::first(one, resources, attributed));
        }
        Meaning::Orders(arrival) => {
            round.orders.push((one.id, Arc::clone(&one.link), arrival));
            return None;
        }
        Meaning::Hold(reason) => Transition::Held { reason, answer: None },
        Meaning::Stranger(who) => Transition::Held { reason: Meaning::reason(&who), answer: None },
        Meaning::Nothing(reason) => Transition::Ignored { reason },
    };
    round.marks.push(Mark { id: one.id, to });
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use bytes::Bytes;

    fn entry(id: i64, device: &str, bytes: usize) -> Stored {
        Stored {
            id,
            link: "ward".into(),
            peer: "".into(),
            received: Timestamp::from_micros(id, true),
            bytes: Bytes::from(vec![b'x'; bytes]),
            topic: None,
            sha256: [0; 32],
            device: Some(device.into()),
            attempts: 0,
        }
    }

    fn ids(batches: &[Vec<Stored>]) -> Vec<Vec<i64>> {
        batches.iter().map(|batch| batch.iter().map(|one| one.id).collect()).collect()
    }

    #[test]
    fn few_entries_go_in_one_request() {
        let stored = vec![entry(1, "a", 10), entry(2, "b", 10), entry(3, "a", 10)];
        assert_eq!(ids(&side_by_side(stored, 64, 1000)), [[1, 2, 3]]);
    }

    #[test]
    fn a_device_is_in_one_batch_and_in_its_order() {
        let stored = (1..=12).map(|id| entry(id, ["a", "b", "c", "d"][id as usize % 4], 10)).collect();
        let batches = side_by_side(stored, 6, 1000);
        assert_eq!(ids(&batches), [[1, 3, 5, 7, 9, 11], [2, 4, 6, 8, 10, 12]]);
    }

    #[test]
    fn what_is_behind_an_entry_left_out_is_left_out_too() {
        // "a" overfills its batch with entry 3; the smaller entry 4 would still fit and must not overtake it.
        let stored = vec![entry(1, "a", 60), entry(2, "b", 10), entry(3, "a", 60), entry(4, "a", 5)];
        assert_eq!(ids(&side_by_side(stored, 2, 100)), [vec![1], vec![2]]);
    }

    #[test]
    fn an_entry_larger_than_a_batch_goes_alone() {
        assert_eq!(ids(&side_by_side(vec![entry(1, "a", 500)], 64, 100))[0], [1]);
        let stored = (1..=200).map(|id| entry(id, "a", 10)).collect();
        assert_eq!(ids(&side_by_side(stored, 64, 100_000))[0].len(), 64);
    }
}
