//! A dialogue over any framer: a handshake when the connection begins, polls and keep-alives in their time, replies
//! to what the device said.
//!
//! Read-only by construction: what a [`SessionFramer`] sends is one of the byte strings of its [`Dialogue`] or what
//! the framer inside answers by itself. Nothing is ever put together from parts. A reply is sent only after the frame
//! it replies to was kept.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::{Answer, Framer, Step, Ticket, Warning};

/// Everything that may be said to a device beside the codec's own answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dialogue {
    /// Sent in this order when the connection begins, and again when the device stopped answering.
    pub on_connect: Vec<Ask>,
    /// Questions asked again and again, one at a time.
    pub poll: Vec<Ask>,
    /// Sent in their time without waiting for an answer.
    pub keep_alive: Vec<Ask>,
    /// What is sent after a frame that begins with certain bytes was kept: those bytes, and the reply.
    pub reply: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Bytes to send, and what is hoped for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    pub send: Vec<u8>,
    /// How often; polls and keep-alives only.
    pub every: Duration,
    /// The answer contains one of these. Empty: any whole frame is an answer; in a handshake, none is waited for.
    pub expect: Vec<Vec<u8>>,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How often the same is asked again before the device counts as silent.
    pub retries: u32,
}

impl Dialogue {
    /// Whether nothing is ever said.
    pub const fn is_empty(&self) -> bool {
        self.on_connect.is_empty()
            && self.poll.is_empty()
            && self.keep_alive.is_empty()
            && self.reply.is_empty()
    }

    /// Every byte string that may be sent.
    pub fn allowed(&self) -> impl Iterator<Item = &[u8]> {
        let asks = [&self.on_connect, &self.poll, &self.keep_alive].into_iter().flatten();
        asks.map(|ask| ask.send.as_slice()).chain(self.reply.iter().map(|(_, send)| send.as_slice()))
    }
}

/// `inner`, with the dialogue around it where there is one.
pub fn framer(inner: Box<dyn Framer>, dialogue: &Dialogue) -> Box<dyn Framer> {
    if dialogue.is_empty() { inner } else { Box::new(SessionFramer::new(inner, dialogue.clone())) }
}

/// A question that is open.
#[derive(Debug)]
struct Open {
    which: Which,
    until: Duration,
    tries: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    Handshake(usize),
    Poll(usize),
}

/// One dialogue over one connection.
pub struct SessionFramer {
    inner: Box<dyn Framer>,
    dialogue: Dialogue,
    steps: VecDeque<Step>,
    now: Duration,
    /// The handshake's next question, and when; `None` when it is done.
    handshake: Option<(usize, Duration)>,
    /// When each poll and keep-alive is due.
    polls: Vec<Duration>,
    keep_alives: Vec<Duration>,
    open: Option<Open>,
    /// The last bytes that came since the open question, to find its answer across cuts.
    tail: Vec<u8>,
    /// Replies that wait for their frame to be kept.
    replies: HashMap<Ticket, Vec<usize>>,
    /// Questions without an answer since the last answer, and when that was last said.
    silent: u64,
    said: Option<Duration>,
}

impl SessionFramer {
    /// The dialogue at the start of a connection: `tick` is wanted at once.
    pub fn new(inner: Box<dyn Framer>, dialogue: Dialogue) -> Self {
        Self {
            inner,
            steps: VecDeque::new(),
            now: Duration::ZERO,
            handshake: (!dialogue.on_connect.is_empty()).then_some((0, Duration::ZERO)),
            polls: vec![Duration::ZERO; dialogue.poll.len()],
            keep_alives: vec![Duration::ZERO; dialogue.keep_alive.len()],
            dialogue,
            open: None,
            tail: Vec::new(),
            replies: HashMap::new(),
            silent: 0,
            said: None,
        }
    }

    fn ask_of(&self, which: Which) -> Option<&Ask> {
        match which {
            Which::Handshake(at) => self.dialogue.on_connect.get(at),
            Which::Poll(at) => self.dialogue.poll.get(at),
        }
    }

    fn send(&mut self, bytes: Vec<u8>) {
        self.steps.push_back(Step::Send(bytes));
    }

    /// Asks, and waits for an answer where one is hoped for.
    fn ask(&mut self, which: Which, tries: u32) {
        let Some(ask) = self.ask_of(which).cloned() else { return };
        self.send(ask.send);
        self.tail.clear();
        if matches!(which, Which::Handshake(_)) && ask.expect.is_empty() {
            return self.step_handshake(which);
        }
        self.open = Some(Open { which, until: self.now + ask.timeout, tries });
    }

    fn step_handshake(&mut self, which: Which) {
        if let Which::Handshake(at) = which {
            let next = at + 1;
            self.handshake = (next < self.dialogue.on_connect.len()).then_some((next, self.now));
        }
    }

    fn answered(&mut self) {
        let Some(open) = self.open.take() else { return };
        self.tail.clear();
        self.silent = 0;
        self.said = None;
        self.step_handshake(open.which);
    }

    /// Looks for the answer in bytes that came.
    fn heard(&mut self, bytes: &[u8]) {
        let open = self.open.as_ref().and_then(|open| self.ask_of(open.which));
        let Some(expected) = open.map(|ask| ask.expect.clone()).filter(|expected| !expected.is_empty())
        else {
            return;
        };
        self.tail.extend_from_slice(bytes);
        if expected.iter().any(|one| memchr::memmem::find(&self.tail, one).is_some()) {
            return self.answered();
        }
        let longest = expected.iter().map(Vec::len).max().unwrap_or_default();
        let spare = self.tail.len().saturating_sub(longest.saturating_sub(1));
        self.tail.drain(..spare);
    }

    /// The open question's time is over.
    fn unanswered(&mut self) {
        let Some(open) = self.open.take_if(|open| open.until <= self.now) else { return };
        let retries = self.ask_of(open.which).map_or(0, |ask| ask.retries);
        if open.tries < retries {
            return self.ask(open.which, open.tries + 1);
        }
        self.silent += 1;
        if self.said.is_none_or(|said| self.now >= said + SAID_AGAIN) {
            self.said = Some(self.now);
            let text = match self.silent {
                1 => "The device did not answer; it is asked again.".to_owned(),
                count => format!("The device did not answer {count} questions in a row; it is asked again."),
            };
            self.steps.push_back(Step::Note(Warning::new("no-answer", text)));
        }
        // It may have been switched off: what comes back must be greeted again.
        if !self.dialogue.on_connect.is_empty() {
            self.handshake = Some((0, self.now + GREET_AGAIN));
        }
    }

    /// Sends what is due.
    fn due(&mut self) {
        self.unanswered();
        for at in 0..self.dialogue.keep_alive.len() {
            let (Some(ask), Some(due)) = (self.dialogue.keep_alive.get(at), self.keep_alives.get_mut(at))
            else {
                continue;
            };
            if *due <= self.now && self.open.is_none() {
                *due = self.now + ask.every;
                let bytes = ask.send.clone();
                self.send(bytes);
            }
        }
        while self.open.is_none()
            && let Some((at, when)) = self.handshake
            && when <= self.now
        {
            self.ask(Which::Handshake(at), 0);
        }
        if self.open.is_some() || self.handshake.is_some() {
            return;
        }
        let next =
            self.polls.iter().enumerate().filter(|(_, due)| **due <= self.now).min_by_key(|(_, due)| **due);
        if let Some((at, _)) = next {
            let every = self.dialogue.poll.get(at).map_or(GREET_AGAIN, |ask| ask.every);
            if let Some(due) = self.polls.get_mut(at) {
                *due = self.now + every;
            }
            self.ask(Which::Poll(at), 0);
        }
    }

    /// Takes what the framer inside wants done.
    fn pass(&mut self) {
        while let Some(step) = self.inner.step() {
            if let Step::Frame { ticket, bytes, .. } = &step {
                let replies = self.dialogue.reply.iter().enumerate();
                let wanted: Vec<usize> =
                    replies.filter(|(_, (after, _))| bytes.starts_with(after)).map(|(at, _)| at).collect();
                if !wanted.is_empty() {
                    self.replies.insert(*ticket, wanted);
                }
                let any = self.open.as_ref().and_then(|open| self.ask_of(open.which));
                if any.is_some_and(|ask| ask.expect.is_empty()) {
                    self.answered();
                }
            }
            self.steps.push_back(step);
        }
    }
}

impl Framer for SessionFramer {
    fn feed(&mut self, bytes: &[u8], now: Duration) {
        self.now = self.now.max(now);
        self.inner.feed(bytes, now);
        self.heard(bytes);
        self.pass();
        self.due();
    }

    fn step(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    fn answer(&mut self, ticket: Ticket, answer: Answer, now: Duration) {
        self.now = self.now.max(now);
        let kept = matches!(answer, Answer::Kept { .. });
        self.inner.answer(ticket, answer, now);
        self.pass();
        for at in self.replies.remove(&ticket).filter(|_| kept).unwrap_or_default() {
            if let Some(bytes) = self.dialogue.reply.get(at).map(|(_, bytes)| bytes.clone()) {
                self.send(bytes);
            }
        }
    }

    fn deadline(&self) -> Option<Duration> {
        let inner = self.inner.deadline();
        let open = self.open.as_ref().map(|open| open.until);
        let free = open.is_none();
        let handshake = self.handshake.map(|(_, when)| when).filter(|_| free);
        let keep_alive = self.keep_alives.iter().min().copied().filter(|_| free);
        let poll = self.polls.iter().min().copied().filter(|_| free && self.handshake.is_none());
        [inner, open, handshake, keep_alive, poll].into_iter().flatten().min()
    }

    fn tick(&mut self, now: Duration) {
        self.now = self.now.max(now);
        if self.inner.deadline().is_some_and(|deadline| now >= deadline) {
            self.inner.tick(now);
            self.pass();
        }
        self.due();
    }

    fn end(&mut self, now: Duration) {
        self.inner.end(now);
        self.pass();
        self.open = None;
    }
}

/// A silent device is told of once, and then so often.
const SAID_AGAIN: Duration = Duration::from_secs(60);
/// The pause before a device that did not answer is greeted again.
const GREET_AGAIN: Duration = Duration::from_secs(5);

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
