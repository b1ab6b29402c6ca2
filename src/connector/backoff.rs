//! Waiting longer after each failure, and never all at the same moment.

use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

/// Doubling pauses with jitter.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
    first: Duration,
    longest: Duration,
}

impl Backoff {
    pub(crate) const fn new(first: Duration, longest: Duration) -> Self {
        Self { next: first, first, longest }
    }

    /// The next pause: between half and all of a span that doubles each time.
    pub(crate) fn pause(&mut self) -> Duration {
        let span = self.next;
        self.next = (span * 2).min(self.longest);
        jittered(span)
    }

    /// It went well: the next failure begins with the short pause again.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}

/// Between half and all of `span`.
pub(crate) fn jittered(span: Duration) -> Duration {
    // RandomState is seeded by the system: enough to spread gateways after a power cut, no secret depends on it.
    let random = std::collections::hash_map::RandomState::new().build_hasher().finish();
    let percent = u32::try_from(50 + random % 51).unwrap_or(100);
    span * percent / 100
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_start_again_after_success() {
        let mut backoff = Backoff::new(Duration::from_millis(400), Duration::from_secs(3));
        for (least_ms, most_ms) in [(200, 400), (400, 800), (800, 1600), (1500, 3000), (1500, 3000)] {
            let pause = backoff.pause();
            assert!((least_ms..=most_ms).contains(&pause.as_millis()), "{pause:?}");
        }
        backoff.reset();
        assert!(backoff.pause() <= Duration::from_millis(400));
    }
}
