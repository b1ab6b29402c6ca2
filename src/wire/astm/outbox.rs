//! Messages for the analyser: the answers to its queries, sent on the same line when it is free.
//!
//! The line is free between the analyser's sessions. When both sides ask for it at once the analyser has it, and
//! this side asks again 20 s later (LIS01-A2 §6.2.7). A message counts as sent only when its last frame was
//! acknowledged.

use std::collections::VecDeque;
use std::time::Duration;

use super::sender::{AstmSender, Role, Sending, Sent};
use super::{AstmFramer, Step, Ticket, Warning};
use crate::wire::Framer;

/// What waits to be sent, and what is being sent.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: VecDeque<(Ticket, Vec<u8>)>,
    current: Option<(Ticket, AstmSender)>,
}

impl Outbox {
    /// What the other side says now is an answer to this side.
    pub(super) fn has_the_line(&self) -> bool {
        self.current.as_ref().is_some_and(|(_, sender)| !sender.gives_way())
    }
}

impl AstmFramer {
    pub(super) fn take_to_send(&mut self, message: Vec<u8>, _now: Duration) -> Result<Ticket, Warning> {
        let refused = |text: &str| Err(Warning::new("cannot-send", text));
        if self.ended || self.closed {
            return refused("The connection is at its end.");
        }
        if self.outbox.waiting.len() >= WAITING_MAX {
            return refused("Too many messages wait for this line to be free.");
        }
        if message.is_empty() || message.len() > self.settings.max_message_bytes {
            return refused("A message of this length cannot be sent.");
        }
        if message.iter().any(|byte| restricted(*byte)) {
            return refused("The message holds a control character that would end its frame.");
        }
        let ticket = self.ticket();
        self.outbox.waiting.push_back((ticket, message));
        Ok(ticket)
    }

    /// Neither side is in the middle of anything.
    fn line_is_free(&self) -> bool {
        self.session.is_none()
            && self.waiting.is_none()
            && self.message.is_empty()
            && self.lexer.idle_now()
            && self.inbox.is_empty()
            && !self.ended
    }

    /// When this side has something to say or to give up, as far as the line allows it.
    pub(super) fn speaks_at(&self) -> Option<Duration> {
        match &self.outbox.current {
            Some((_, sender)) if !sender.gives_way() => sender.deadline(),
            Some((_, sender)) => {
                let quiet = self.touched + QUIET_BEFORE_ENQUIRY;
                sender.deadline().filter(|_| self.line_is_free()).map(|at| at.max(quiet))
            }
            None => (!self.outbox.waiting.is_empty() && self.line_is_free())
                .then(|| self.touched + QUIET_BEFORE_ENQUIRY),
        }
    }

    pub(super) fn speak(&mut self, now: Duration) {
        if let Some((_, sender)) = &mut self.outbox.current {
            sender.tick(now);
        } else if let Some((ticket, message)) = self.outbox.waiting.pop_front() {
            let sending = Sending { role: Role::Computer, ..self.settings.sending.clone() };
            self.outbox.current = Some((ticket, AstmSender::new(&[&message], &sending, now)));
        }
        self.say(now);
    }

    /// A byte that came while this side had the line.
    pub(super) fn answered(&mut self, byte: u8, now: Duration) {
        if let Some((_, sender)) = &mut self.outbox.current {
            sender.feed(&[byte], now);
        }
        self.say(now);
    }

    fn say(&mut self, now: Duration) {
        while let Some((ticket, sender)) = &mut self.outbox.current {
            let ticket = *ticket;
            match sender.step() {
                Some(Sent::Send(bytes)) => {
                    self.steps.push_back(Step::Send(bytes));
                    continue;
                }
                Some(Sent::Done) => self.steps.push_back(Step::Sent { ticket }),
                Some(Sent::Failed(warning)) => self.steps.push_back(Step::Unsent { ticket, warning }),
                None => return,
            }
            self.outbox.current = None;
            self.touched = now;
        }
    }

    /// The connection is gone: what was not acknowledged whole was not sent.
    pub(super) fn fall_silent(&mut self) {
        let current = self.outbox.current.take().map(|(ticket, _)| ticket);
        let waiting = std::mem::take(&mut self.outbox.waiting).into_iter().map(|(ticket, _)| ticket);
        for ticket in current.into_iter().chain(waiting) {
            let warning = Warning::new("not-sent", "The connection ended before the message was taken.");
            self.steps.push_back(Step::Unsent { ticket, warning });
        }
    }
}

/// Characters that may not stand in a text (E1381-95 §6.5, LIS01-A2 §6.6): they end or begin frames.
fn restricted(byte: u8) -> bool {
    matches!(byte, 0x00..=0x06 | b'\n' | 0x10..=0x17)
}

/// An analyser with more to send asks again at once; so this side lets a moment pass before its own ENQ.
const QUIET_BEFORE_ENQUIRY: Duration = Duration::from_millis(200);
/// More messages than this do not wait for one line.
const WAITING_MAX: usize = 64;

/// Whatever the analyser says, a message is sent whole or said to be unsent, exactly once.
pub(super) fn fuzz(bytes: &[u8]) {
    let mut framer = AstmFramer::new(super::Settings::default());
    if Framer::send(&mut framer, b"H|\\^&\rL|1|N\r".to_vec(), Duration::ZERO).is_err() {
        return;
    }
    let (mut outcomes, mut sent, mut now) = (0, false, QUIET_BEFORE_ENQUIRY);
    let mut settle = |framer: &mut AstmFramer, now: Duration| {
        while let Some(step) = framer.step() {
            match step {
                Step::Frame { ticket, .. } | Step::Part { ticket, .. } => {
                    framer.answer(ticket, super::Answer::Kept { body: None }, now);
                }
                Step::Sent { .. } | Step::Unsent { .. } => {
                    outcomes += 1;
                    sent |= matches!(step, Step::Sent { .. });
                }
                _ => {}
            }
        }
    };
    framer.tick(now);
    for byte in bytes {
        settle(&mut framer, now);
        framer.feed(&[*byte], now);
        settle(&mut framer, now);
        if let Some(at) = framer.deadline().filter(|_| *byte & 0x80 != 0) {
            now = now.max(at);
            framer.tick(now);
        }
    }
    framer.end(now);
    settle(&mut framer, now);
    let acknowledged = bytes.iter().filter(|byte| matches!(**byte, super::ACK | super::EOT)).count();
    assert!(outcomes == 1, "a message with {outcomes} outcomes");
    assert!(!sent || acknowledged >= 3, "sent after {acknowledged} acknowledgements");
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
