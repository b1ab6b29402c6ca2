//! One connection of a destination: takes what is due, sends it, and does what the answer says.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::buffer::{
    AssociationChange, Buffer, BufferError, Change, Due, NewOutgoing, OutgoingChange, OutgoingRow,
    OutgoingStep, Reader,
};
use crate::clock::{SharedClock, Timestamp};
use crate::connector::Stop;
use crate::connector::backoff::jittered;
use crate::gateway::metrics::Metrics;
use crate::gateway::understand::guarded;
use crate::hl7v2::header;
use crate::upstream::hl7::{Answer, Line, Outcome, Sent, Verdict};

use super::built::{self, Building, Built, Made, built};
use super::standing::LaneState;
use super::{Outbound, Routes};

/// The shortest pause after a failure; doubled each time up to the configured longest.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// How long to look away when nothing is due; a new message wakes sooner.
const IDLE: Duration = Duration::from_secs(1);
/// How long an answer is waited for when the box stops.
const LAST_WORD: Duration = Duration::from_secs(4);
/// A message that nobody takes is held after so many times the configured tries, whatever becomes of others.
const LIMIT_TIMES: u32 = 10;
const CHANGED: &str =
    "the kept bytes no longer match their SHA-256: the disk changed them; they were not sent";

pub(super) struct LaneTask {
    buffer: Buffer,
    reader: Reader,
    metrics: Arc<Metrics>,
    clock: SharedClock,
    destination: Arc<Outbound>,
    building: Building,
    /// This one of so many.
    lane: (u32, u32),
    line: Line,
    /// Failures in a row since the receiver last took something.
    failures: u32,
    /// Something was taken since a message last failed.
    others_taken: bool,
    /// Control ids of messages that were taken over and not answered for yet.
    committed: HashMap<String, i64>,
    /// When it was last looked for messages that are not answered for in time.
    looked: Instant,
}

impl LaneTask {
    pub(super) fn new(routes: &Routes, destination: Arc<Outbound>, lane: (u32, u32)) -> Self {
        Self {
            buffer: routes.buffer.clone(),
            reader: routes.reader.clone(),
            metrics: routes.metrics.clone(),
            clock: routes.clock.clone(),
            line: Line::new(
                destination.config.mllp.clone(),
                destination.config.charset.unwrap_or_default(),
                routes.clock.clone(),
            ),
            destination,
            building: routes.building.clone(),
            lane,
            failures: 0,
            others_taken: false,
            committed: HashMap::new(),
            looked: Instant::now(),
        }
    }

    /// Runs until told to stop; an answer under way is waited for.
    pub(super) async fn run(mut self, stop: Stop) {
        let mut last_word = stop.clone();
        let mut stop = stop;
        let mut wake = self.destination.wake.subscribe();
        let work = async {
            while !stop.is_told() {
                let pause = self.turn().await;
                if pause > Duration::ZERO {
                    self.rest(pause, &mut stop, &mut wake).await;
                }
            }
        };
        let too_long = async {
            last_word.wait().await;
            tokio::time::sleep(LAST_WORD).await;
        };
        tokio::select! {
            () = work => {}
            () = too_long => {}
        }
    }

    /// Waits; what the receiver says meanwhile of committed messages is taken.
    async fn rest(&mut self, pause: Duration, stop: &mut Stop, wake: &mut watch::Receiver<()>) {
        let until = Instant::now() + pause;
        let listens = self.line.is_open() && !self.committed.is_empty();
        let patient = self.failures > 0;
        let hear = async {
            if listens { self.line.hear(until).await } else { tokio::time::sleep_until(until).await }
        };
        tokio::select! {
            () = hear => {}
            () = stop.wait() => {}
            _ = wake.changed(), if !patient => {}
        }
        self.settle_later().await;
    }

    /// Sends what is due, if anything is; how long to wait then.
    async fn turn(&mut self) -> Duration {
        let name = self.destination.config.name.clone();
        let due = match self.reader.next_outgoing(&name, self.lane, self.clock.now()).await {
            Ok(due) => due,
            Err(fault) => {
                tracing::error!(%fault, destination = %name, "The queue could not be read.");
                return IDLE;
            }
        };
        if self.lane.0 == 0 && self.looked.elapsed() >= IDLE {
            self.looked = Instant::now();
            self.overdue().await;
        }
        let Some(due) = due else {
            self.show(None);
            return IDLE;
        };
        let generation = self.building.understanding.facts().generation();
        let built = match self.built(&due) {
            Ok(Made::Ready(built)) => built,
            Ok(Made::Others(rows)) => {
                if !self.queue(&name, &rows).await {
                    return PAUSE_MIN;
                }
                let reason = "its messages are queued by themselves".into();
                self.step(due.row.id, OutgoingStep::Dropped { reason }).await;
                return Duration::ZERO;
            }
            Ok(Made::Nothing(reason)) => {
                self.step(due.row.id, OutgoingStep::Dropped { reason }).await;
                return Duration::ZERO;
            }
            Err(reason) => {
                self.metrics.outgoing_held(&name);
                self.step(due.row.id, OutgoingStep::Held { reason, answer: None }).await;
                return Duration::ZERO;
            }
        };
        if !built.more.is_empty() && !self.queue(&name, &built.more).await {
            return PAUSE_MIN;
        }
        if let Err(why) = self.line.connect().await {
            return self.failed(why);
        }
        let message = (built.own && due.message.is_none()).then(|| built.bytes.clone());
        let sent = OutgoingStep::Sent { control: built.control_id.clone(), message };
        let understanding = self.building.understanding.clone();
        let sending = understanding.facts().sending.read().await;
        if built.under.is_some() && generation != understanding.facts().generation() {
            // Somebody said meanwhile whose it is: it is built anew.
            return Duration::ZERO;
        }
        if !self.step_under(due.row.id, sent, built.under.clone()).await {
            // A person dropped it meanwhile, or the disk is full: looked at again.
            return PAUSE_MIN;
        }
        drop(sending);
        let outcome = self
            .line
            .deliver(&Sent {
                message: &built.bytes,
                control_id: &built.control_id,
                acknowledge: self.destination.config.acknowledge,
                application: built.application,
            })
            .await;
        let pause = self.judge(&due.row, &built, outcome).await;
        self.settle_later().await;
        pause
    }

    /// Queues what an entry holds besides; what is queued already stays as it is.
    async fn queue(&self, destination: &str, rows: &[NewOutgoing]) -> bool {
        if rows.len() == 1 && rows.iter().all(|row| row.part == 0) {
            return true;
        }
        let queue =
            OutgoingChange::Queue { destination: destination.to_owned(), rows: rows.to_vec(), through: 0 };
        let queued = self.buffer.change(vec![Change::Outgoing(queue)]).await;
        queued
            .inspect_err(|fault| tracing::error!(%fault, destination, "Messages could not be queued."))
            .is_ok()
    }

    fn built(&self, due: &Due) -> Result<Made, String> {
        if let Some(message) = &due.message {
            return built::again(message.clone(), true).map(Made::Ready);
        }
        let stored = due.stored.as_ref().ok_or(CHANGED)?;
        let made = guarded(|| built(&due.row, stored, &self.destination, &self.building));
        made.unwrap_or_else(|| {
            Err("Bedside failed on this message: tell its makers, and release it after an update".into())
        })
    }

    /// Writes down what became of a message; how long to wait then.
    async fn judge(&mut self, row: &OutgoingRow, built: &Built, outcome: Outcome) -> Duration {
        let name = self.destination.config.name.clone();
        match outcome {
            Outcome::Unreachable { why } => self.failed(why),
            Outcome::Unanswered { why } => {
                self.metrics.outgoing_retried(&name);
                let (step, pause) = self.unanswered(row, why);
                self.step(row.id, step).await;
                pause
            }
            Outcome::Committed(answer) => {
                self.taken();
                self.committed.insert(built.control_id.clone(), row.id);
                self.step(row.id, OutgoingStep::Committed { answer: answer.line() }).await;
                Duration::ZERO
            }
            Outcome::Answered(answer) => {
                let (step, pause) = self.answered(row, &answer);
                self.step(row.id, step).await;
                pause
            }
        }
    }

    /// No answer: the same bytes again. The first tries keep everything behind it waiting; then others go first, to see
    /// whether it is the message or the receiver.
    fn unanswered(&mut self, row: &OutgoingRow, why: String) -> (OutgoingStep, Duration) {
        let tries = row.attempts.saturating_add(1);
        let pause = self.failed(why.clone());
        let enough = tries >= self.destination.config.attempts_max;
        if enough && std::mem::take(&mut self.others_taken) {
            self.metrics.outgoing_held(&self.destination.config.name);
            let reason = format!("{tries} tries without an answer, while others were answered: {why}");
            return (OutgoingStep::Held { reason, answer: None }, Duration::ZERO);
        }
        let not_before = enough.then(|| self.clock.now().plus(pause.saturating_mul(2)));
        (OutgoingStep::Again { not_before, reason: Some(why), answer: None }, pause)
    }

    fn answered(&mut self, row: &OutgoingRow, answer: &Answer) -> (OutgoingStep, Duration) {
        let name = self.destination.config.name.clone();
        let tries = row.attempts.saturating_add(1);
        match answer.verdict(tries > 1) {
            Verdict::Accepted => {
                self.taken();
                self.metrics.outgoing_accepted(&name);
                self.destination.standing.accepted(self.clock.now());
                (OutgoingStep::Accepted { answer: answer.line() }, Duration::ZERO)
            }
            Verdict::Refused { reason } => {
                self.taken();
                self.metrics.outgoing_held(&name);
                (OutgoingStep::Held { reason, answer: Some(answer.line()) }, Duration::ZERO)
            }
            Verdict::Retry { reason } => {
                let most = self.destination.config.attempts_max;
                let others = std::mem::take(&mut self.others_taken);
                if (tries >= most && others) || tries >= most.saturating_mul(LIMIT_TIMES) {
                    self.metrics.outgoing_held(&name);
                    let reason = format!("{reason}; given up after {tries} tries");
                    return (OutgoingStep::Held { reason, answer: Some(answer.line()) }, Duration::ZERO);
                }
                self.metrics.outgoing_retried(&name);
                let pause = self.failed(reason.clone());
                let not_before = Some(self.clock.now().plus(self.backoff(tries)));
                (OutgoingStep::Again { not_before, reason: Some(reason), answer: Some(answer.line()) }, pause)
            }
        }
    }

    /// Answers of the receiver's application to messages it took over before.
    async fn settle_later(&mut self) {
        let name = self.destination.config.name.clone();
        let foreign = self.line.take_foreign();
        let mut unknown = foreign;
        for answer in self.line.take_later() {
            let id = match self.committed.remove(&answer.control_id) {
                Some(id) => Some(id),
                None => self.committed_before(&answer.control_id).await,
            };
            let Some(id) = id else {
                unknown += 1;
                continue;
            };
            let step = match answer.verdict(false) {
                Verdict::Accepted => {
                    self.metrics.outgoing_accepted(&name);
                    self.destination.standing.accepted(self.clock.now());
                    OutgoingStep::Accepted { answer: answer.line() }
                }
                // It was taken over: sending it again by itself could have it twice.
                Verdict::Refused { reason } | Verdict::Retry { reason } => {
                    self.metrics.outgoing_held(&name);
                    OutgoingStep::Held { reason, answer: Some(answer.line()) }
                }
            };
            self.step(id, step).await;
        }
        if unknown > 0 {
            self.destination.standing.foreign(unknown);
            self.metrics.outgoing_foreign(&name, unknown);
        }
    }

    /// A message that was taken over before this process began, or on another connection.
    async fn committed_before(&self, control_id: &str) -> Option<i64> {
        let name = &self.destination.config.name;
        let rows = self.reader.committed_before(name, self.clock.now()).await.ok()?;
        rows.into_iter().find(|row| row.control.as_deref() == Some(control_id)).map(|row| row.id)
    }

    /// Messages that were taken over and not answered for in time.
    async fn overdue(&mut self) {
        let config = &self.destination.config;
        let at = self.clock.now().micros.saturating_sub(micros(config.application_timeout));
        let Ok(rows) = self.reader.committed_before(&config.name, Timestamp::from_micros(at, true)).await
        else {
            return;
        };
        for row in rows {
            let seconds = self.destination.config.application_timeout.as_secs();
            let answer = row.answer.clone().unwrap_or_default();
            let step = if self.only_errors(&row).await {
                OutgoingStep::Accepted { answer: format!("{answer}; no error told within {seconds} s") }
            } else {
                let reason = format!(
                    "taken over (CA), and its application did not answer within {seconds} s: ask there before it is sent again"
                );
                OutgoingStep::Held { reason, answer: None }
            };
            self.committed.retain(|_, id| *id != row.id);
            self.step(row.id, step).await;
        }
    }

    /// MSH-16 is ER: silence is consent.
    async fn only_errors(&self, row: &OutgoingRow) -> bool {
        let built = self.reader.outgoing_one(row.id).await.ok().flatten().and_then(|(_, message)| message);
        let bytes = match built {
            Some(bytes) => bytes,
            None => match self.reader.entry(row.entry).await {
                Ok(Some(entry)) => entry.bytes.to_vec(),
                _ => return false,
            },
        };
        header(&bytes).is_some_and(|head| &*head.application_condition == "ER")
    }

    fn taken(&mut self) {
        self.failures = 0;
        self.others_taken = true;
        self.show(None);
    }

    /// Something went wrong with the receiver; how long to wait.
    fn failed(&mut self, why: String) -> Duration {
        self.failures = self.failures.saturating_add(1);
        self.show(Some(why));
        self.backoff(self.failures)
    }

    fn show(&self, trouble: Option<String>) {
        let state = LaneState { connected: self.line.is_open(), trouble };
        self.destination.standing.lane(self.lane.0, state);
    }

    /// Doubling pause with jitter (half to full).
    fn backoff(&self, failures: u32) -> Duration {
        let longest = self.destination.config.pause_max.max(PAUSE_MIN);
        jittered(PAUSE_MIN.saturating_mul(1u32 << failures.saturating_sub(1).min(16)).min(longest))
    }

    /// Writes one step; whether that was possible.
    async fn step(&self, id: i64, step: OutgoingStep) -> bool {
        self.step_under(id, step, None).await
    }

    /// As [`step`](Self::step), with under whom the message goes.
    async fn step_under(&self, id: i64, step: OutgoingStep, under: Option<String>) -> bool {
        let onward = |parts| Change::Association(AssociationChange::Onward { outgoing: id, parts });
        let change = Change::Outgoing(OutgoingChange::Step { id, step });
        match self.buffer.change(std::iter::once(change).chain(under.map(onward)).collect()).await {
            Ok(()) => true,
            Err(BufferError::NotAllowed(why)) => {
                tracing::info!(why, "A person was faster.");
                false
            }
            Err(fault) => {
                // Not lost: the message stays as it was and is sent again under the same control id.
                tracing::error!(%fault, destination = %self.destination.config.name, "What became of a message could not be written down.");
                false
            }
        }
    }
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}
