//! The way out: waiting entries, in order per device, to a FHIR server or into a folder; only its word frees them.
//!
//! Each server has a delivery of its own, with its own queue, order, pauses and pace: none waits for another.
//!
//! Full batches go side by side, each with devices of its own, and the next ones are read and translated while
//! these are on their way. Nothing is overtaken: a device is in one batch at a time, the buffer never offers an
//! entry behind one of its device that has to wait, and what was made ready ahead is dropped when a verdict is not
//! final. When the server does not answer, the whole queue pauses (one try a pause) and keeps its order; when it
//! refuses one entry, that entry is held and the rest go on. Devices without a backlog go before those that have one
//! (split.rs); at hours when a line costs money only alarms go, ahead of the rest, or nothing.

mod batch;
mod desk;
mod feeds;
mod late;
pub(in crate::gateway) mod queue;
mod sink;
mod split;
mod standing;
mod tempo;
mod way;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use jiff::tz::TimeZone;
use tokio::sync::{Notify, watch};

use crate::admin::live::Live;
use crate::buffer::{
    Buffer, BufferError, Change, FeedChange, Mark, Reader, State, Stored, Transition, Wanted,
};
use crate::clock::SharedClock;
use crate::config::{Delivery, Send};
use crate::connector::Stop;
use crate::fhir::Resource;
use crate::gateway::association::Associations;
use crate::gateway::metrics::Metrics;
use crate::gateway::translated::Translated;
use crate::gateway::understand::Understanding;
use crate::gateway::worklist;
use crate::route::Only;
use crate::sabotage::{Sabotage, commits};
use crate::upstream::Verdict;

use batch::{Kitchen, Ready, Round, overtook, prepare, side_by_side};
pub use desk::{pause_of_main, replay_main};
pub(in crate::gateway) use feeds::Feeds;
use queue::Queue;
pub(in crate::gateway) use sink::Sink;
use split::Split;
pub(in crate::gateway) use standing::Standing;
pub(in crate::gateway) use tempo::Load;
use tempo::{PAUSE_MIN, Tempo, line_time, trial};

/// How long to look away when nothing is waiting; an arrival wakes sooner.
const IDLE: Duration = Duration::from_secs(1);
/// Of a capped line, a request takes no more seconds than these.
const CAPPED_SECONDS: u64 = 20;
/// Entries of which a trial picks one.
const TRIAL_OF: usize = 32;

/// What delivery needs.
pub(super) struct Deliver {
    pub buffer: Buffer,
    pub reader: Reader,
    pub understanding: Arc<Understanding>,
    /// Of the main server.
    pub translated: Option<Arc<Translated>>,
    pub associations: Arc<Associations>,
    pub sink: Sink,
    pub queue: Queue,
    pub only: Arc<Only>,
    pub standing: Arc<Standing>,
    pub live: Arc<Live>,
    pub metrics: Arc<Metrics>,
    pub clock: SharedClock,
    pub zone: TimeZone,
    pub config: Delivery,
    /// Requests under way at the same time at most.
    pub in_flight: usize,
    /// Entries up to this one have had their first look; none: the queue holds only such.
    pub seen: Option<watch::Receiver<i64>>,
    /// Woken when something may be deliverable (a release, a replay).
    pub wake: Arc<Notify>,
    pub split: Split,
    /// Entries up to this one were looked through for alarms.
    pub walked: AtomicI64,
    /// The first alarm that has to go again, or 0.
    pub again: AtomicI64,
}

/// What is to be done next.
enum Next {
    Send(Round),
    /// Nothing can go before this time has passed.
    Wait(Duration),
}

/// What waits.
struct Gathered {
    entries: Vec<Stored>,
    /// They fill a request.
    full: bool,
    /// How far was looked, where only alarms go.
    walked: Option<i64>,
    /// Others wait for their time.
    delayed: bool,
}

/// What came of a round.
struct Turn {
    pause: Duration,
    /// The next round, if it may follow.
    ahead: Option<Next>,
}

impl Turn {
    const fn wait(pause: Duration) -> Self {
        Self { pause, ahead: None }
    }
}

impl Deliver {
    /// Runs until told to stop; requests under way are finished first.
    pub(super) async fn run(mut self, mut stop: Stop) {
        let most = Load { entries: self.config.entries_max, requests: self.in_flight };
        let longest = Duration::from_secs(self.config.pause_max_s);
        self.restart().await;
        self.remember();
        let mut tempo = Tempo::new(most, Duration::from_millis(self.config.slow_ms), longest);
        let mut ahead = None;
        loop {
            let next = match ahead.take() {
                Some(next) => next,
                None => self.next(tempo.load(), tempo.failures()).await,
            };
            let pause = match next {
                Next::Wait(pause) => pause,
                Next::Send(round) => {
                    let turn = self.turn(round, &mut tempo).await;
                    ahead = turn.ahead;
                    turn.pause
                }
            };
            self.standing.change(|seen| {
                seen.failures = tempo.failures();
                seen.load = Some(tempo.load());
            });
            let wake = self.wake.clone();
            let answers = tempo.failures() == 0;
            let arrival = async {
                match &mut self.seen {
                    Some(seen) if pause >= IDLE => drop(seen.changed().await),
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.wait() => return,
                () = tokio::time::sleep(pause) => {}
                () = wake.notified(), if answers && pause <= IDLE => {}
                () = arrival, if answers && pause <= IDLE => {}
            }
        }
    }

    /// Sends one round while the next is made ready.
    async fn turn(&self, round: Round, tempo: &mut Tempo) -> Turn {
        let Round { mut batches, mut marks, orders, doubts, generation, walked } = round;
        let sending = self.associations.sending().await;
        if generation != self.associations.generation() {
            // Somebody said meanwhile whose they are: they are read again.
            return Turn::wait(Duration::ZERO);
        }
        for (id, link, arrival) in orders {
            marks.push(Mark { id, to: worklist::take(&self.buffer, &link, arrival).await });
        }
        if let Err(words) = self.give_way(&mut batches, &mut marks).await {
            self.standing.change(|seen| seen.trouble = Some(words));
            return Turn::wait(tempo.unanswered(None));
        }
        let held = marks.iter().filter(|mark| matches!(mark.to, Transition::Held { .. }));
        held.for_each(|_| self.count_held());
        let going = batches.iter().flatten().filter_map(|r| Some((r.id, r.attributed.clone()?)));
        let noted = self.queue.note(&self.buffer, &self.associations, going.collect(), doubts).await;
        if let Err(fault) = noted {
            tracing::error!(%fault, "Under whom entries go out could not be written down; nothing was sent.");
            return Turn::wait(PAUSE_MIN);
        }
        let going: Vec<i64> = batches.iter().flatten().map(|ready| ready.id).collect();
        let batches = match self.mark_sent(batches).await {
            Ok(batches) => batches,
            Err(fault) => {
                tracing::error!(%fault, "Entries could not be marked as sent; nothing was sent.");
                drop(sending);
                self.put_back(&going).await;
                return Turn::wait(PAUSE_MIN);
            }
        };
        drop(sending);
        let mut changes = Vec::new();
        let alone = tempo.failures() > 0 || walked.is_some();
        let (load, before) = (tempo.load(), self.sink.bytes_sent());
        let trying = tempo.failures() > 0;
        self.standing.change(|seen| seen.trying = trying);
        let sent = async {
            let began = tokio::time::Instant::now();
            let verdicts = self.send(batches).await;
            self.judge(verdicts, &mut marks, &mut changes, (tempo, began.elapsed()))
        };
        let ahead = async { if alone { None } else { Some(self.next(load, 0).await) } };
        let ((pause, all_final), ahead) = tokio::join!(sent, ahead);
        self.standing.change(|seen| seen.trying = false);
        let line = line_time(self.sink.bytes_sent().saturating_sub(before), self.config.max_bytes_per_s);
        if !changes.is_empty()
            && let Err(fault) = self.buffer.change(changes).await
        {
            // It is taken back once more when it goes out again.
            tracing::error!(%fault, "What the server has taken back could not be written down.");
        }
        self.write_down(marks).await;
        if let Some(walked) = walked.filter(|_| pause.is_zero()) {
            self.walked.store(walked, Ordering::Relaxed);
        }
        // Only a full round was waiting already; for less, new company is looked for.
        let ahead = ahead.filter(|next| all_final && line.is_zero() && matches!(next, Next::Send(_)));
        Turn { pause: pause.max(line), ahead }
    }

    /// A commit that failed may be on the disk all the same: these entries were not sent, and must not wait for an answer.
    async fn put_back(&self, going: &[i64]) {
        if let Queue::Feed(name) = &self.queue {
            while self.buffer.change(vec![queue::feed(name, FeedChange::Restart)]).await.is_err() {
                tokio::time::sleep(PAUSE_MIN).await;
            }
            return;
        }
        // Only the database opened anew tells: until the next commit, readers may still see what was before.
        while self.buffer.change(Vec::new()).await.is_err() {
            tokio::time::sleep(PAUSE_MIN).await;
        }
        let mut marks = Vec::new();
        for id in going {
            let state = loop {
                match self.reader.entry(*id).await {
                    Ok(detail) => break detail.map(|detail| detail.row.state),
                    Err(_) => tokio::time::sleep(PAUSE_MIN).await,
                }
            };
            if state == Some(State::Sent) {
                let reason = Some(String::from("it was not sent: the disk could not be written"));
                marks.push(Mark { id: *id, to: Transition::Waiting { retry_after: None, reason } });
            }
        }
        if !marks.is_empty() {
            self.write_down(marks).await;
        }
    }

    /// Writes down what the server said, as soon as the buffer takes it: until then these entries are on their way for
    /// everybody, and nothing behind them may go. At an end before that they wait again with the next start.
    async fn write_down(&self, marks: Vec<Mark>) {
        let mut told = false;
        while let Err(fault) = self.queue.mark(&self.buffer, marks.clone()).await {
            if !told {
                tracing::error!(%fault, "The server's verdicts could not be written down; tried again each second.");
                told = true;
            }
            tokio::time::sleep(PAUSE_MIN).await;
        }
    }

    /// Reads what waits and makes it ready, when it is enough or old enough.
    async fn next(&self, load: Load, failures: u32) -> Next {
        let sends = self.config.sends_at(self.time_of_day());
        let paused = self.queue.is_main() && self.standing.seen().paused;
        self.standing.change(|seen| seen.sends = sends);
        if paused || sends == Send::Nothing {
            return Next::Wait(IDLE);
        }
        let alarms = sends == Send::Alarms;
        if !alarms {
            self.walked.store(0, Ordering::Relaxed);
        }
        let Gathered { entries: mut stored, full, walked, delayed } =
            match self.gather(load, failures, alarms).await {
                Ok(gathered) => gathered,
                Err(fault) => {
                    tracing::error!(%fault, "Waiting entries could not be read.");
                    return Next::Wait(IDLE);
                }
            };
        if failures > 0 && load.entries == 1 && !alarms {
            stored = trial(stored, failures);
        }
        let Some(oldest) = stored.first() else {
            if alarms
                && !delayed
                && let again @ 1.. = self.again.swap(0, Ordering::Relaxed)
            {
                self.walked.store(again - 1, Ordering::Relaxed);
            }
            return Next::Wait(IDLE);
        };
        if let Some(translated) = &self.translated {
            translated.forget_before(oldest.id);
        }
        let age = self.clock.now().since(oldest.received);
        let wanted = Duration::from_millis(self.config.age_ms);
        if !full && !alarms && age < wanted {
            return Next::Wait(wanted.saturating_sub(age));
        }
        let batches = side_by_side(stored, load.entries, self.bytes_max());
        let kitchen = Kitchen {
            understanding: Arc::clone(&self.understanding),
            translated: self.translated.clone(),
            associations: Arc::clone(&self.associations),
            queue: self.queue.clone(),
            only: Arc::clone(&self.only),
            alarms,
        };
        let generation = self.associations.generation();
        let prepared = tokio::task::spawn_blocking(move || prepare(&batches, &kitchen, generation, walked));
        match prepared.await {
            Ok(round) => Next::Send(round),
            Err(fault) => {
                tracing::error!(%fault, "Waiting entries could not be translated.");
                Next::Wait(PAUSE_MIN)
            }
        }
    }

    /// At the site.
    fn time_of_day(&self) -> jiff::civil::Time {
        let now = jiff::Timestamp::from_microsecond(self.clock.now().micros).unwrap_or_default();
        now.to_zoned(self.zone.clone()).time()
    }

    /// What was on its way waits again, at the start.
    pub(super) async fn restart(&self) {
        let Queue::Feed(name) = &self.queue else { return };
        if let Err(fault) = self.buffer.change(vec![queue::feed(name, FeedChange::Restart)]).await {
            tracing::error!(%fault, destination = %name, "What was on its way could not be put back into its queue.");
        }
    }

    fn bytes_max(&self) -> usize {
        let line = self.config.max_bytes_per_s.map(|rate| rate.saturating_mul(CAPPED_SECONDS));
        let line = line.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(usize::MAX);
        self.config.bytes_max.min(line)
    }

    /// The next entries that have had their first look, for so many requests.
    async fn gather(&self, load: Load, failures: u32, alarms: bool) -> Result<Gathered, BufferError> {
        let seen = self.seen.as_ref().map_or(i64::MAX, |seen| *seen.borrow());
        let entries = if failures > 0 && !alarms { load.entries.max(TRIAL_OF) } else { load.entries };
        let count = entries.saturating_mul(load.requests);
        let after = if alarms { self.walked.load(Ordering::Relaxed) } else { 0 };
        let max_bytes = self.bytes_max().saturating_mul(load.requests);
        let wanted = Wanted { after, limit: count, max_bytes, behind: None };
        let waiting = self.queue.waiting(&self.reader, wanted).await?;
        let found = waiting.entries.len();
        let mut taken = waiting.entries;
        if !alarms && failures == 0 && found == count {
            taken = self.live_first(taken, count, max_bytes).await?;
        }
        taken.retain(|stored| stored.id <= seen);
        if commits(Sabotage::IgnoreOrder) && taken.len() > 1 {
            taken.remove(0);
        }
        let bytes: usize = taken.iter().map(|stored| stored.bytes.len()).sum();
        let full = found >= load.entries || bytes >= self.bytes_max() / 2;
        let walked = alarms.then(|| waiting.through.min(seen));
        Ok(Gathered { entries: taken, full, walked, delayed: waiting.next_try.is_some() })
    }

    /// Writes down that these entries are on their way; what was held or settled meanwhile stays behind.
    async fn mark_sent(&self, mut batches: Vec<Vec<Ready>>) -> Result<Vec<Vec<Ready>>, BufferError> {
        let sent: Vec<Mark> =
            batches.iter().flatten().map(|r| Mark { id: r.id, to: Transition::Sent }).collect();
        if sent.is_empty() {
            return Ok(batches);
        }
        let late = self.queue.mark(&self.buffer, sent).await?;
        if !late.is_empty() {
            batches.iter_mut().for_each(|batch| batch.retain(|ready| !late.contains(&ready.id)));
        }
        Ok(batches)
    }

    /// All batches at once; each entry with what became of it.
    async fn send(&self, batches: Vec<Vec<Ready>>) -> Vec<(Ready, Verdict)> {
        let requests = batches.into_iter().filter(|batch| !batch.is_empty()).map(|mut batch| async {
            let lists: Vec<Vec<Resource>> =
                batch.iter_mut().map(|ready| std::mem::take(&mut ready.resources)).collect();
            let (ids, lists) =
                (batch.iter().map(|ready| (ready.id, ready.attempts > 0)).collect(), Arc::new(lists));
            let verdicts = self.sink.deliver(ids, Arc::clone(&lists)).await;
            for (ready, late) in batch.iter_mut().zip(overtook(&lists, &verdicts)) {
                ready.overtook = late;
            }
            batch.into_iter().zip(verdicts)
        });
        let answered = join_all(requests).await;
        if let (Sink::Fhir(upstream), true) = (&self.sink, self.queue.is_main()) {
            crate::gateway::watch::show_upstream(&self.live, upstream);
        }
        answered.into_iter().flatten().collect()
    }

    /// Turns verdicts into marks; returns how long to wait, and whether every verdict was final.
    fn judge(
        &self,
        verdicts: Vec<(Ready, Verdict)>,
        marks: &mut Vec<Mark>,
        changes: &mut Vec<Change>,
        (tempo, took): (&mut Tempo, Duration),
    ) -> (Duration, bool) {
        if verdicts.is_empty() {
            return (Duration::ZERO, true);
        }
        let retried = verdicts.iter().filter(|(_, v)| matches!(v, Verdict::Retry { .. })).count();
        let asked = verdicts.iter().filter_map(|(_, verdict)| asked_pause(verdict)).max();
        let nobody_answered = retried == verdicts.len();
        let mut pause = Duration::ZERO;
        if nobody_answered {
            pause = tempo.unanswered(asked);
        } else {
            tempo.answered(took, asked.is_some());
        }
        if let Some(translated) = &self.translated {
            translated.flows(tempo.failures() == 0);
        }
        let why = verdicts.iter().find_map(|(_, verdict)| match verdict {
            Verdict::Retry { reason, .. } if nobody_answered => Some(reason.clone()),
            _ => None,
        });
        self.standing.change(|seen| seen.trouble = why);
        let again = verdicts
            .iter()
            .filter(|(_, v)| matches!(v, Verdict::Retry { .. }))
            .map(|(ready, _)| ready.id)
            .min();
        if let Some(again) = again {
            let first = |known: i64| Some(if known == 0 { again } else { known.min(again) });
            let _always = self.again.fetch_update(Ordering::Relaxed, Ordering::Relaxed, first);
        }
        for (ready, verdict) in verdicts {
            if ready.overtook {
                let reason = String::from("an earlier version of a result in it has to go first");
                let to = Transition::Waiting { retry_after: None, reason: Some(reason) };
                marks.push(Mark { id: ready.id, to });
                continue;
            }
            let to = self.judged(verdict, ready.attempts, (nobody_answered, &*tempo));
            marks.push(Mark { id: ready.id, to: self.taken_back(ready, to, changes) });
        }
        (pause, retried == 0)
    }

    fn judged(&self, verdict: Verdict, attempts: u32, (all, tempo): (bool, &Tempo)) -> Transition {
        match verdict {
            Verdict::Accepted { answer } => {
                self.count_accepted();
                Transition::Accepted { answer }
            }
            Verdict::Refused { answer, .. } if commits(Sabotage::ForgetHeld) => {
                Transition::Accepted { answer }
            }
            Verdict::Refused { reason, answer } => {
                self.count_held();
                Transition::Held { reason, answer: Some(answer) }
            }
            Verdict::Retry { after, reason } => {
                self.count_retried();
                if all {
                    // The queue as a whole waits; the order stays as it was.
                    return Transition::Waiting { retry_after: None, reason: Some(reason) };
                }
                let until = self.clock.now().plus(tempo.pause(attempts.saturating_add(1), after));
                Transition::Waiting { retry_after: Some(until), reason: Some(reason) }
            }
        }
    }

    /// What a verdict means for an entry that was delivered under somebody else before.
    fn taken_back(&self, ready: Ready, to: Transition, changes: &mut Vec<Change>) -> Transition {
        let Transition::Accepted { answer } = to else { return to };
        if !ready.takes_back.is_empty() {
            changes.push(self.queue.withdrawn(ready.id, ready.takes_back));
        }
        match ready.then_held {
            Some(reason) => Transition::Held { reason, answer: Some(answer) },
            None => Transition::Accepted { answer },
        }
    }

    fn count_accepted(&self) {
        let now = self.clock.now();
        self.standing.change(|seen| (seen.accepted, seen.accepted_at) = (seen.accepted + 1, Some(now)));
        match self.queue.name() {
            None => self.metrics.accepted(1),
            Some(name) => self.metrics.outgoing_accepted(name),
        }
    }

    fn count_held(&self) {
        match self.queue.name() {
            None => self.metrics.held(),
            Some(name) => self.metrics.outgoing_held(name),
        }
    }

    fn count_retried(&self) {
        match self.queue.name() {
            None => self.metrics.retried(1),
            Some(name) => self.metrics.outgoing_retried(name),
        }
    }
}

/// How long the server asked us to wait, if it did.
const fn asked_pause(verdict: &Verdict) -> Option<Duration> {
    match verdict {
        Verdict::Retry { after, .. } => *after,
        Verdict::Accepted { .. } | Verdict::Refused { .. } => None,
    }
}
