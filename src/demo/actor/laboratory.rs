//! An analyser on LIS01: sends its results with the library's own sending side, and takes orders it is sent.

use std::collections::VecDeque;
use std::time::Duration;

use super::messages::with_cr;
use super::{Message, Said, Speaker, Told};
use crate::wire::astm::{AstmSender, Sending, Sent};

const ENQ: u8 = 5;
const ACK: u8 = 6;

#[derive(Debug, Default)]
pub(super) struct Analyser {
    sender: Option<AstmSender>,
    out: VecDeque<Said>,
}

impl Analyser {
    fn pump(&mut self) {
        while let Some(step) = self.sender.as_mut().and_then(AstmSender::step) {
            match step {
                Sent::Send(bytes) => self.out.push_back(Said::Send(bytes)),
                Sent::Done => self.finish(Told::Acknowledged),
                Sent::Failed(warning) => self.finish(Told::Again(warning.text)),
            }
        }
    }

    fn finish(&mut self, told: Told) {
        self.sender = None;
        self.out.push_back(Said::Told(told));
    }
}

impl Speaker for Analyser {
    fn open(&mut self, _now: Duration) {
        if self.sender.is_some() {
            self.finish(Told::Again("the line was lost".into()));
        }
    }

    fn say(&mut self, message: &Message, now: Duration) {
        self.sender = Some(AstmSender::new(&[&with_cr(&message.bytes)], &Sending::default(), now));
        self.pump();
    }

    fn hear(&mut self, bytes: &[u8], now: Duration) {
        match &mut self.sender {
            Some(sender) => sender.feed(bytes, now),
            None => {
                // The box's turn: its ENQ and each frame, which ends with LF, are acknowledged.
                let acks: Vec<u8> =
                    bytes.iter().filter(|byte| matches!(**byte, ENQ | b'\n')).map(|_| ACK).collect();
                if !acks.is_empty() {
                    self.out.push_back(Said::Send(acks));
                }
            }
        }
        self.pump();
    }

    fn tick(&mut self, now: Duration) {
        if let Some(sender) = &mut self.sender {
            sender.tick(now);
        }
        self.pump();
    }

    fn next(&mut self) -> Option<Said> {
        self.out.pop_front()
    }

    fn is_free(&self) -> bool {
        self.sender.is_none()
    }
}
