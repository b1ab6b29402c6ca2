//! How delivery to one server stands, as far as only memory knows it.

use std::sync::{Mutex, PoisonError};

use crate::clock::Timestamp;
use crate::config::Send;

use super::tempo::Load;

/// What delivery last did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::gateway) struct Seen {
    /// A person has stopped it (the main server; of the others the buffer knows).
    pub(in crate::gateway) paused: bool,
    /// Why nothing goes; for people.
    pub(in crate::gateway) trouble: Option<String>,
    pub(in crate::gateway) failures: u32,
    /// A request is on its way that tries whether it answers again.
    pub(in crate::gateway) trying: bool,
    pub(in crate::gateway) load: Option<Load>,
    pub(in crate::gateway) sends: Send,
    pub(in crate::gateway) accepted: u64,
    pub(in crate::gateway) accepted_at: Option<Timestamp>,
}

impl Seen {
    /// Of the circuit breaker: `closed` while the server answers, `open` while it is left alone, `half-open` while one
    /// request tries whether it answers again.
    pub(in crate::gateway) const fn breaker(&self) -> &'static str {
        match (self.failures, self.trying) {
            (0, _) => "closed",
            (_, false) => "open",
            (_, true) => "half-open",
        }
    }
}

#[derive(Debug, Default)]
pub(in crate::gateway) struct Standing(Mutex<Seen>);

impl Standing {
    pub(in crate::gateway) fn seen(&self) -> Seen {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(in crate::gateway) fn pause(&self, paused: bool) {
        self.change(|seen| seen.paused = paused);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_fails_is_left_alone_and_tried_with_one_request() {
        let standing = Standing::default();
        assert_eq!(standing.seen().breaker(), "closed");
        standing.change(|seen| seen.failures = 2);
        assert_eq!(standing.seen().breaker(), "open");
        standing.change(|seen| seen.trying = true);
        assert_eq!(standing.seen().breaker(), "half-open");
        standing.change(|seen| seen.failures = 0);
        assert_eq!(standing.seen().breaker(), "closed");
    }
}
