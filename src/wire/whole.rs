//! For transports that carry whole messages (an MQTT publish): what arrives in one piece is one frame.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Deserialize;

use super::{Answer, Framer, Step, Ticket};

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Messages are Sparkplug B: each is kept with the birth certificate that names its metrics.
    pub sparkplug: bool,
}

/// One `feed`, one frame. The only framer for which the cut matters: the transport makes it.
#[derive(Debug, Default)]
pub(super) struct WholeFramer {
    steps: VecDeque<Step>,
    tickets: u64,
}

impl Framer for WholeFramer {
    fn feed(&mut self, bytes: &[u8], _now: Duration) {
        if !bytes.is_empty() {
            self.tickets += 1;
            let ticket = Ticket(self.tickets);
            self.steps.push_back(Step::Frame { ticket, bytes: bytes.to_vec(), warnings: Vec::new() });
        }
    }

    fn step(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    fn answer(&mut self, _ticket: Ticket, _answer: Answer, _now: Duration) {}

    fn deadline(&self) -> Option<Duration> {
        None
    }

    fn tick(&mut self, _now: Duration) {}

    fn end(&mut self, _now: Duration) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_piece_is_a_frame_of_its_own() {
        let mut framer = WholeFramer::default();
        framer.feed(b"{}", Duration::ZERO);
        framer.feed(b"", Duration::ZERO);
        let expected = Step::Frame { ticket: Ticket(1), bytes: b"{}".to_vec(), warnings: Vec::new() };
        assert_eq!((framer.step(), framer.step()), (Some(expected), None));
    }
}
