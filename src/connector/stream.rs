//! Drives a framer over one connection: keeps each frame through the [`Intake`], and only then lets the framer
//! say so to the other side.
//!
//! Up to [`IN_FLIGHT`] frames of a connection wait for their commit together, so that one busy sender profits
//! from the group commit too; answers that are ready together leave in one write. A part, and the news that a
//! transmission broke off, never overtake what was said before them.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::FutureExt;
use futures_util::stream::{FuturesOrdered, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, Sleep};

use super::mllp::Acknowledger;
use super::unfinished::{Place, Unfinished};
use super::{Frame, Intake, Later, LinkState, Receipt, Reply, Stop};
use crate::clock::{SharedClock, Timestamp};
use crate::wire::tape::Way;
use crate::wire::{Answer, Framer, Step, Ticket, Warning};

/// Everything about a connection but its bytes.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) link: Arc<str>,
    pub(super) peer: Arc<str>,
    pub(super) intake: Arc<dyn Intake>,
    pub(super) clock: SharedClock,
    /// Writes the application's own acknowledgement, where the codec carries one.
    pub(super) acknowledger: Option<Acknowledger>,
    /// Closes the connection after this much silence.
    pub(super) idle: Option<Duration>,
    /// Says after this much silence that the link is quiet, and afterwards that it is up again.
    pub(super) quiet: Option<Quiet>,
    /// How long the other side may leave its answers unread.
    pub(super) patience: Duration,
    /// Shared by all connections of the box.
    pub(super) unfinished: Arc<Unfinished>,
}

/// When and how to say that nothing comes any more.
#[derive(Clone)]
pub(super) struct Quiet {
    pub(super) after: Duration,
    /// The state to go back to when bytes come again.
    pub(super) up: LinkState,
    /// Asked at each quiet spell: what lies behind this connection may have been exchanged.
    pub(super) gone: Arc<dyn Fn() -> bool + Send + Sync>,
}

/// How a connection came to its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The other side closed it. On a serial line: unplugged.
    Closed,
    /// An error of the line, in words.
    Failed(String),
    /// We closed it, for the reason that was noted.
    GivenUp,
    Stopped,
}

impl Connection {
    /// A connection without application answers that may be silent.
    pub(super) fn new(link: &Arc<str>, intake: &Arc<dyn Intake>, clock: &SharedClock) -> Self {
        Self {
            link: link.clone(),
            peer: Arc::from(""),
            intake: intake.clone(),
            clock: clock.clone(),
            acknowledger: None,
            idle: None,
            quiet: None,
            patience: Duration::from_secs(30),
            unfinished: intake.unfinished(),
        }
    }

    /// Runs until the connection ends or it is time to stop. Whatever was taken is kept and answered first.
    pub(super) async fn drive<S>(&self, io: S, framer: Box<dyn Framer>, stop: &mut Stop) -> Ended
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let now = Instant::now();
        let drive = Drive {
            connection: self,
            io,
            framer,
            started: now,
            heard: now,
            received: self.clock.now(),
            in_flight: FuturesOrdered::new(),
            held_back: None,
            out: Vec::new(),
            replies: HashMap::new(),
            ended: None,
            is_quiet: false,
            place: self.unfinished.place(),
            in_flight_bytes: 0,
        };
        self.crossed(Way::Open, &[]);
        let ended = Box::pin(drive.run(stop)).await;
        self.crossed(Way::Closed, &[]);
        ended
    }

    async fn settle(&self, job: Job) -> Settled {
        match job {
            Job::Frame(ticket, frame) => {
                let kept = frame.clone();
                let receipt = self.intake.keep(frame).await;
                let asks = self.acknowledger.is_some() && matches!(receipt, Receipt::Kept { .. });
                let reply = if asks { self.intake.reply(kept.clone()).await.map(Box::new) } else { None };
                Settled::Receipt { ticket, receipt, frame: Some(kept), reply }
            }
            Job::Part(ticket, frame) => Settled::Receipt {
                ticket,
                receipt: self.intake.keep_part(frame).await,
                frame: None,
                reply: None,
            },
            Job::Broken(reason) => {
                self.intake.parts_broken(self.link.clone(), self.peer.clone(), reason).await;
                Settled::Done
            }
            Job::Query(frame) => Settled::Reply(self.intake.reply(frame).await),
            Job::Replied(reference, outcome) => {
                self.intake.replied(self.link.clone(), reference, outcome).await;
                Settled::Done
            }
        }
    }

    fn crossed(&self, way: Way, bytes: &[u8]) {
        self.intake.crossed(&self.link, &self.peer, way, None, bytes);
    }

    fn note(&self, warning: &Warning) {
        self.intake.note(&self.link, warning.code, &warning.text);
    }
}

enum Job {
    Frame(Ticket, Frame),
    Part(Ticket, Frame),
    Broken(String),
    /// A kept frame on a link that carries messages to the device: it may be a query.
    Query(Frame),
    Replied(Arc<str>, Result<(), String>),
}

enum Settled {
    /// `reply`: known already where the frame's own acknowledgement depends on it.
    Receipt {
        ticket: Ticket,
        receipt: Receipt,
        frame: Option<Frame>,
        reply: Option<Box<Reply>>,
    },
    Reply(Option<Reply>),
    Done,
}

struct Drive<'a, S> {
    connection: &'a Connection,
    io: S,
    framer: Box<dyn Framer>,
    started: Instant,
    /// When bytes last came, and the same for the frame.
    heard: Instant,
    received: Timestamp,
    in_flight: FuturesOrdered<Later<'a, Settled>>,
    /// A step that waits until everything before it is settled.
    held_back: Option<Step>,
    out: Vec<u8>,
    /// References of the replies that the framer has taken and not sent yet.
    replies: HashMap<Ticket, Arc<str>>,
    /// Set when nothing more is read; what was taken is still settled.
    ended: Option<Ended>,
    is_quiet: bool,
    /// What of [`Connection::unfinished`] is of this connection.
    place: Place,
    in_flight_bytes: usize,
}

/// What woke a connection.
enum Woken {
    Settled(Settled),
    Read(std::io::Result<usize>),
    Time,
    /// There is too much of everybody's, and this connection has most of it.
    Crowded,
    Stop,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Drive<'_, S> {
    async fn run(mut self, stop: &mut Stop) -> Ended {
        let mut buffer = Vec::with_capacity(READ_BYTES);
        let mut timer = Box::pin(tokio::time::sleep_until(self.started));
        loop {
            self.pump();
            self.flush().await;
            // A write that fails ends the connection too, and the framer has last words.
            self.pump();
            if self.in_flight.is_empty()
                && self.held_back.is_none()
                && let Some(ended) = self.ended.take()
            {
                // The other side may still be reading the last answer.
                drop(tokio::time::timeout(self.connection.patience, self.io.shutdown()).await);
                return ended;
            }
            match self.wait(&mut buffer, timer.as_mut(), stop).await {
                Woken::Settled(settled) => {
                    self.settled(settled);
                    while let Some(Some(settled)) = self.in_flight.next().now_or_never() {
                        self.settled(settled);
                    }
                }
                Woken::Read(Ok(0)) => self.end(Ended::Closed),
                Woken::Read(Ok(_)) => {
                    self.heard(&buffer);
                    buffer.clear();
                }
                Woken::Read(Err(error)) => self.end(Ended::Failed(error.to_string())),
                Woken::Time => self.time_passed(),
                Woken::Crowded => self.crowded(),
                Woken::Stop => self.end(Ended::Stopped),
            }
        }
    }

    async fn wait(&mut self, buffer: &mut Vec<u8>, mut timer: Pin<&mut Sleep>, stop: &mut Stop) -> Woken {
        let open = self.ended.is_none();
        let room = self.in_flight.len() < IN_FLIGHT && self.in_flight_bytes < IN_FLIGHT_BYTES;
        let reading = open && self.held_back.is_none() && room;
        let deadline = self.deadline();
        // A timer that fires too early costs less than one that is set anew for every message.
        if let Some(deadline) = deadline
            && (deadline < timer.deadline() || timer.is_elapsed())
        {
            timer.as_mut().reset(deadline);
        }
        let great = open && self.place.is_great();
        tokio::select! {
            () = self.place.has_to_go(), if great => Woken::Crowded,
            Some(settled) = self.in_flight.next(), if !self.in_flight.is_empty() => Woken::Settled(settled),
            read = self.io.read_buf(buffer), if reading => Woken::Read(read),
            () = timer, if deadline.is_some() => Woken::Time,
            () = stop.wait(), if open => Woken::Stop,
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn deadline(&self) -> Option<Instant> {
        if self.ended.is_some() {
            return None;
        }
        let framer = self.framer.deadline().map(|at| self.started + at);
        let idle = self.connection.idle.map(|idle| self.heard + idle);
        let quiet =
            self.connection.quiet.as_ref().map(|quiet| {
                if self.is_quiet { Instant::now() + quiet.after } else { self.heard + quiet.after }
            });
        [framer, idle, quiet].into_iter().flatten().min()
    }

    fn heard(&mut self, bytes: &[u8]) {
        self.heard = Instant::now();
        self.received = self.connection.clock.now();
        self.connection.crossed(Way::In, bytes);
        if let Some(quiet) = self.connection.quiet.as_ref().filter(|_| self.is_quiet) {
            self.is_quiet = false;
            self.connection.intake.state(&self.connection.link, quiet.up.clone());
        }
        let now = self.now();
        self.framer.wall_clock(self.received);
        self.framer.feed(bytes, now);
        if !self.place.holds(self.framer.holds(), self.heard) {
            self.crowded();
        }
    }

    fn crowded(&mut self) {
        if self.ended.is_none() {
            let text = String::from("Too many unfinished messages at once: this connection was closed.");
            self.connection.note(&Warning { code: "unfinished", text });
            self.end(Ended::GivenUp);
        }
    }

    fn time_passed(&mut self) {
        let now = self.now();
        if self.framer.deadline().is_some_and(|deadline| now >= deadline) {
            self.framer.wall_clock(self.connection.clock.now());
            self.framer.tick(now);
        }
        let silence = self.heard.elapsed();
        if let Some(idle) = self.connection.idle.filter(|idle| silence >= *idle && self.in_flight.is_empty())
        {
            let text = format!("Connection closed after {} s of silence.", idle.as_secs());
            self.connection.note(&Warning { code: "idle-timeout", text });
            self.end(Ended::GivenUp);
        }
        let Some(quiet) = self.connection.quiet.as_ref().filter(|quiet| silence >= quiet.after) else {
            return;
        };
        if (quiet.gone)() {
            return self.end(Ended::Closed);
        }
        if !std::mem::replace(&mut self.is_quiet, true) {
            let detail = format!("nothing came for {} s", quiet.after.as_secs());
            let text = format!("The link is quiet: {detail}.");
            self.connection.note(&Warning { code: "quiet", text });
            self.connection.intake.state(&self.connection.link, LinkState::Quiet { detail });
        }
    }

    /// No more reading; the framer says what became of half a message.
    fn end(&mut self, ended: Ended) {
        if self.ended.is_none() {
            self.ended = Some(ended);
            let now = self.now();
            self.framer.end(now);
        }
    }

    /// Does what the framer wants, as far as there is room.
    fn pump(&mut self) {
        while self.in_flight.len() < IN_FLIGHT {
            let Some(step) = self.held_back.take().or_else(|| self.framer.step()) else { return };
            if matches!(step, Step::Part { .. } | Step::Broken { .. }) && !self.in_flight.is_empty() {
                self.held_back = Some(step);
                return;
            }
            self.take(step);
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Send(bytes) => self.out.extend_from_slice(&bytes),
            Step::Note(warning) => self.connection.note(&warning),
            Step::Frame { ticket, bytes, .. } if !self.place.takes(bytes.len(), self.heard) => {
                let reason = String::from("Too many great messages at once: send this one again.");
                self.connection.note(&Warning { code: "unfinished", text: reason.clone() });
                self.answer(ticket, &Receipt::Refused { full: true, reason }, Some(&bytes), None);
            }
            Step::Frame { ticket, bytes, warnings } => {
                let frame = self.frame(bytes, warnings);
                self.start(Job::Frame(ticket, frame));
            }
            Step::Part { ticket, bytes } => {
                let frame = self.frame(bytes, Vec::new());
                self.start(Job::Part(ticket, frame));
            }
            Step::Broken { warning } => {
                self.connection.note(&warning);
                self.start(Job::Broken(warning.text));
            }
            Step::Refuse { ticket, head, warning } => {
                self.connection.note(&warning);
                let receipt = Receipt::Refused { full: true, reason: warning.text };
                self.answer(ticket, &receipt, Some(&head), None);
            }
            Step::Sent { ticket } => self.replied(ticket, Ok(())),
            Step::Unsent { ticket, warning } => {
                self.connection.note(&warning);
                self.replied(ticket, Err(warning.text));
            }
            Step::Close(warning) => {
                self.connection.note(&warning);
                self.end(Ended::GivenUp);
            }
        }
    }

    fn frame(&self, bytes: Vec<u8>, warnings: Vec<Warning>) -> Frame {
        Frame {
            link: self.connection.link.clone(),
            peer: self.connection.peer.clone(),
            received: self.received,
            bytes: Bytes::from(bytes),
            topic: None,
            redelivered: false,
            warnings: warnings.into_iter().map(|warning| (warning.code, warning.text)).collect(),
        }
    }

    fn start(&mut self, job: Job) {
        if let Job::Frame(_, frame) = &job {
            self.in_flight_bytes += frame.bytes.len();
        }
        self.in_flight.push_back(Box::pin(self.connection.settle(job)));
    }

    fn settled(&mut self, settled: Settled) {
        match settled {
            Settled::Receipt { ticket, receipt, frame, reply } => {
                let settled = frame.as_ref().map_or(0, |frame| frame.bytes.len());
                self.in_flight_bytes = self.in_flight_bytes.saturating_sub(settled);
                self.place.settled(settled);
                let (body, follows) = match reply.map(|reply| *reply) {
                    Some(Reply { acknowledgement, message, reference }) => {
                        (acknowledgement, Some((message, reference)))
                    }
                    None => (None, None),
                };
                self.answer(ticket, &receipt, frame.as_ref().map(|frame| &*frame.bytes), body);
                if let Some((message, reference)) = follows {
                    let follows = Reply { acknowledgement: None, message, reference };
                    return self.reply(Some(follows));
                }
                let kept = frame.filter(|_| matches!(receipt, Receipt::Kept { .. }));
                let later = self.connection.acknowledger.is_none() && self.framer.sends();
                if let Some(frame) = kept.filter(|_| later && self.ended.is_none()) {
                    self.start(Job::Query(frame));
                }
            }
            Settled::Reply(reply) => self.reply(reply),
            Settled::Done => {}
        }
    }

    fn reply(&mut self, reply: Option<Reply>) {
        let Some(Reply { message, reference, .. }) = reply else { return };
        if message.is_empty() {
            return self.start(Job::Replied(reference, Ok(())));
        }
        let now = self.now();
        match self.framer.send(message, now) {
            Ok(ticket) => {
                self.replies.insert(ticket, reference);
            }
            Err(warning) => {
                self.connection.note(&warning);
                self.start(Job::Replied(reference, Err(warning.text)));
            }
        }
    }

    fn replied(&mut self, ticket: Ticket, outcome: Result<(), String>) {
        if let Some(reference) = self.replies.remove(&ticket) {
            self.start(Job::Replied(reference, outcome));
        }
    }

    /// `own`: the acknowledgement that a query gets instead of the usual one.
    fn answer(&mut self, ticket: Ticket, receipt: &Receipt, message: Option<&[u8]>, own: Option<Vec<u8>>) {
        let acknowledger = self.connection.acknowledger.as_ref();
        let body = match acknowledger.zip(message) {
            Some((write, message)) => write(message, receipt, own),
            None => own,
        };
        let answer = match receipt {
            Receipt::Kept { .. } => Answer::Kept { body },
            Receipt::Refused { .. } => Answer::Refused { body },
        };
        let now = self.now();
        self.framer.answer(ticket, answer, now);
    }

    /// Writes what is ready. A side that does not read its answers does not hold the connection for ever.
    async fn flush(&mut self) {
        if self.out.is_empty() {
            return;
        }
        // Told before it is sent: its answer can be there before the write is over.
        self.connection.crossed(Way::Out, &self.out);
        let patience = self.connection.patience;
        let written = tokio::time::timeout(patience, async {
            self.io.write_all(&self.out).await?;
            self.io.flush().await
        });
        let fault = match written.await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("the other side took no answer for {} s", patience.as_secs())),
        };
        self.out.clear();
        if let Some(fault) = fault {
            self.end(Ended::Failed(fault));
        }
    }
}

/// Frames of one connection that may wait for their commit at the same time.
const IN_FLIGHT: usize = 64;
/// Nothing more is read of a connection while so many bytes of it wait.
const IN_FLIGHT_BYTES: usize = 32 << 20;
const READ_BYTES: usize = 64 * 1024;

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
