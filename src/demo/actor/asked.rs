//! Devices on plain lines: some send by themselves, some only what they are polled for, some wait for an acknowledgement.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Message, Said, Speaker, Told};
use crate::wire::delimited;
use crate::wire::session::Dialogue;

/// How a message goes over the line.
#[derive(Clone, Debug)]
pub(super) enum Framing {
    /// Lines, and what ends a message.
    Lines {
        end: String,
    },
    Delimited(Box<delimited::Settings>),
    /// As it is.
    Raw,
}

impl Framing {
    fn framed(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Lines { end } => {
                let text = message.split(|byte| *byte == b'\n');
                let lines: Vec<&[u8]> = text.map(|line| line.strip_suffix(b"\r").unwrap_or(line)).collect();
                let mut bytes = lines.join(&b"\r\n"[..]);
                while bytes.last().is_some_and(|byte| matches!(byte, b'\r' | b'\n')) {
                    bytes.pop();
                }
                [b"\r\n", bytes.as_slice(), end.as_bytes()].concat()
            }
            Self::Delimited(settings) => delimited::wrap(settings, message),
            Self::Raw => message.to_vec(),
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(5);
const NAK: u8 = 0x15;
const HEARD_MAX: usize = 4096;

#[derive(Debug)]
pub(super) struct Asked {
    framing: Framing,
    /// What says that a message is kept; empty: nothing does.
    ack: Vec<u8>,
    /// Each question of the handshake with its answer.
    handshake: Vec<(Vec<u8>, Vec<u8>)>,
    /// The questions that fetch a message; empty: it is sent by itself.
    polls: Vec<Vec<u8>>,
    /// Any word of the box fetches messages from then on (DRI: the request for transmission).
    any_word: bool,
    heard: Vec<u8>,
    waiting: Option<Vec<u8>>,
    sent: Option<Duration>,
    out: VecDeque<Said>,
}

impl Asked {
    pub(super) fn new(framing: Framing, ack: Vec<u8>, session: &Dialogue, captures: &[Vec<u8>]) -> Self {
        let answer = |expect: &[Vec<u8>]| {
            let holds =
                |capture: &&Vec<u8>| expect.iter().any(|text| memchr::memmem::find(capture, text).is_some());
            let capture = captures.iter().find(holds).map(|capture| framing.framed(capture));
            capture.or_else(|| expect.first().cloned()).unwrap_or_default()
        };
        let handshake: Vec<_> = session
            .on_connect
            .iter()
            .filter(|ask| !ask.expect.is_empty())
            .map(|ask| (ask.send.clone(), answer(&ask.expect)))
            .collect();
        let polls = session.poll.iter().map(|ask| ask.send.clone()).collect();
        Self {
            framing,
            ack,
            handshake,
            polls,
            any_word: false,
            heard: Vec::new(),
            waiting: None,
            sent: None,
            out: VecDeque::new(),
        }
    }

    /// A Datex monitor: records as they are, from the request on.
    pub(super) fn monitor() -> Self {
        Self { any_word: true, ..Self::new(Framing::Raw, Vec::new(), &Dialogue::default(), &[]) }
    }

    fn send(&mut self, now: Duration) {
        let Some(message) = self.waiting.take() else { return };
        self.out.push_back(Said::Send(message));
        if self.ack.is_empty() {
            self.out.push_back(Said::Told(Told::Sent));
        } else {
            self.sent = Some(now + PATIENCE);
        }
    }
}

impl Speaker for Asked {
    fn open(&mut self, _now: Duration) {
        self.heard.clear();
        if self.sent.take().is_some() || self.waiting.take().is_some() {
            self.out.push_back(Said::Told(Told::Again("the line was lost".into())));
        }
    }

    fn say(&mut self, message: &Message, now: Duration) {
        self.waiting = Some(self.framing.framed(&message.bytes));
        let asked = self.any_word && !self.heard.is_empty();
        if self.polls.is_empty() && (!self.any_word || asked) {
            self.send(now);
        }
    }

    fn hear(&mut self, bytes: &[u8], now: Duration) {
        self.heard.extend_from_slice(bytes);
        if self.sent.is_some() && memchr::memmem::find(bytes, &self.ack).is_some() {
            self.sent = None;
            self.out.push_back(Said::Told(Told::Acknowledged));
        } else if self.sent.is_some() && bytes.contains(&NAK) {
            self.sent = None;
            self.out.push_back(Said::Told(Told::Again("refused".into())));
        }
        let holds = |heard: &[u8], question: &[u8]| memchr::memmem::find(heard, question).is_some();
        if let Some((_, answer)) = self.handshake.iter().find(|(question, _)| holds(&self.heard, question)) {
            self.out.push_back(Said::Send(answer.clone()));
            self.heard.clear();
        } else if self.polls.iter().any(|question| holds(&self.heard, question)) {
            self.heard.clear();
            self.send(now);
        } else if self.any_word {
            self.send(now);
        }
        if self.heard.len() > HEARD_MAX {
            self.heard.drain(..HEARD_MAX / 2);
        }
    }

    fn tick(&mut self, now: Duration) {
        if self.sent.is_some_and(|until| now >= until) {
            self.sent = None;
            self.out.push_back(Said::Told(Told::Again("no answer".into())));
        }
    }

    fn next(&mut self) -> Option<Said> {
        self.out.pop_front()
    }

    fn is_free(&self) -> bool {
        self.waiting.is_none() && self.sent.is_none()
    }
}
