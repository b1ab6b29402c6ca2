//! An agent of ISO/IEEE 11073-20601: associates, tells its configuration when it is unknown, answers the question for its
//! attributes, reports, and lets go.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Message, Said, Speaker, Told};
use crate::wire::ieee11073::apdu;

const PATIENCE: Duration = Duration::from_secs(5);
/// Reports follow so long after the association when nobody asked for attributes.
const SETTLED: Duration = Duration::from_millis(500);
const HEARD_MAX: usize = 64 << 10;

#[derive(Debug, Default)]
pub(super) struct Agent {
    association: Vec<u8>,
    configuration: Vec<u8>,
    attributes: Vec<u8>,
    reports: VecDeque<Vec<u8>>,
    until: Option<Duration>,
    report_at: Option<Duration>,
    /// The invoke id of the report that waits for its confirmation.
    awaiting: Option<u16>,
    /// A report was sent that nothing confirms: the release tells that it was heard.
    unconfirmed: bool,
    releasing: bool,
    heard: Vec<u8>,
    out: VecDeque<Said>,
}

impl Agent {
    fn send(&mut self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.out.push_back(Said::Send(bytes));
        }
    }

    fn finish(&mut self, told: Told) {
        (self.report_at, self.awaiting, self.releasing) = (None, None, false);
        if self.until.take().is_some() {
            self.out.push_back(Said::Told(told));
        }
    }

    fn answer(&mut self, choice: u16, contents: &[u8], now: Duration) {
        match choice {
            apdu::AARE => match contents.first_chunk().map(|word| u16::from_be_bytes(*word)) {
                Some(0) => self.report_at = Some(now + SETTLED),
                Some(3) => self.send(self.configuration.clone()),
                _ => self.finish(Told::Again("the association was rejected".into())),
            },
            apdu::PRST => {
                let Some(operation) = apdu::operation(contents) else { return };
                match operation.choice {
                    apdu::GET => {
                        let answer = with_invoke(&self.attributes, operation.invoke);
                        self.send(answer);
                        self.report_at = Some(now);
                    }
                    apdu::EVENT_RESULT if self.awaiting == Some(operation.invoke) => {
                        self.awaiting = None;
                        self.report();
                    }
                    // The configuration was accepted.
                    apdu::EVENT_RESULT if self.reports.is_empty() => {}
                    apdu::EVENT_RESULT => self.report_at = Some(now + SETTLED),
                    _ => {}
                }
            }
            apdu::RLRE if self.releasing => self.finish(Told::Acknowledged),
            apdu::ABRT => self.finish(Told::Again("the box aborted".into())),
            _ => {}
        }
    }

    /// The next report; a confirmed one is waited for.
    fn report(&mut self) {
        self.report_at = None;
        while let Some(report) = self.reports.pop_front() {
            let contents = report.get(4..).unwrap_or_default();
            let operation = apdu::operation(contents).filter(|one| one.choice == apdu::CONFIRMED_EVENT);
            self.awaiting = operation.map(|operation| operation.invoke);
            self.unconfirmed |= self.awaiting.is_none();
            self.send(report);
            if self.awaiting.is_some() {
                return;
            }
        }
        if !std::mem::replace(&mut self.releasing, true) {
            self.send(apdu::apdu(apdu::RLRQ, &[0, 0]));
            if !self.unconfirmed {
                self.finish(Told::Acknowledged);
            }
        }
    }
}

/// The same operation in answer to another question.
fn with_invoke(whole: &[u8], invoke: u16) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    if let Some(place) = bytes.get_mut(6..8) {
        place.copy_from_slice(&invoke.to_be_bytes());
    }
    bytes
}

impl Speaker for Agent {
    fn open(&mut self, _now: Duration) {
        self.heard.clear();
        self.finish(Told::Again("the line was lost".into()));
    }

    fn say(&mut self, message: &Message, now: Duration) {
        let (out, heard) = (std::mem::take(&mut self.out), std::mem::take(&mut self.heard));
        *self = Self { out, heard, until: Some(now + PATIENCE), ..Self::default() };
        for one in apdu::apdus(&message.bytes) {
            let whole = apdu::apdu(one.choice, one.contents);
            if one.choice == apdu::AARQ {
                self.association = whole;
                continue;
            }
            let Some(operation) = apdu::operation(one.contents) else { continue };
            let event = apdu::event(operation.arguments);
            match operation.choice {
                apdu::GET_RESULT => self.attributes = whole,
                _ if event.is_some_and(|event| event.kind == apdu::NOTI_CONFIG) => self.configuration = whole,
                _ => self.reports.push_back(whole),
            }
        }
        self.send(self.association.clone());
    }

    fn hear(&mut self, bytes: &[u8], now: Duration) {
        self.heard.extend_from_slice(bytes);
        if self.heard.len() > HEARD_MAX {
            self.heard.clear();
            return self.finish(Told::Again("the box says what no manager says".into()));
        }
        while let Some([a, b, c, d]) = self.heard.first_chunk::<4>().copied() {
            let end = 4 + usize::from(u16::from_be_bytes([c, d]));
            if self.heard.len() < end {
                return;
            }
            let rest = self.heard.split_off(end);
            let whole = std::mem::replace(&mut self.heard, rest);
            self.answer(u16::from_be_bytes([a, b]), whole.get(4..).unwrap_or_default(), now);
        }
    }

    fn tick(&mut self, now: Duration) {
        if self.until.is_some_and(|until| now >= until) {
            self.finish(Told::Again("no answer".into()));
        } else if self.report_at.is_some_and(|at| now >= at) {
            self.report();
        }
    }

    fn next(&mut self) -> Option<Said> {
        self.out.pop_front()
    }

    fn is_free(&self) -> bool {
        self.until.is_none()
    }
}
