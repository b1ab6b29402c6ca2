//! For devices that say something many times a second: whole protocol frames of one period become one frame to keep.

use std::time::Duration;

/// More bytes than this are not gathered before they are handed on.
const GATHERED_MAX: usize = 256 << 10;

/// Joins frames that delimit themselves until the period is over.
#[derive(Debug)]
pub(super) struct Gather {
    period: Duration,
    bytes: Vec<u8>,
    since: Option<Duration>,
}

impl Gather {
    /// A period of zero hands every frame on by itself.
    pub(super) const fn new(period: Duration) -> Self {
        Self { period, bytes: Vec::new(), since: None }
    }

    /// Adds one whole frame; returns what is to be kept now, if anything.
    pub(super) fn push(&mut self, frame: &[u8], now: Duration) -> Option<Vec<u8>> {
        self.bytes.extend_from_slice(frame);
        let since = *self.since.get_or_insert(now);
        let full = self.bytes.len() >= GATHERED_MAX;
        (full || now.saturating_sub(since) >= self.period).then(|| self.take()).flatten()
    }

    /// When [`Gather::take`] is due.
    pub(super) fn due(&self) -> Option<Duration> {
        self.since.map(|since| since + self.period)
    }

    /// What was gathered so far; nothing when nothing was.
    pub(super) fn take(&mut self) -> Option<Vec<u8>> {
        self.since = None;
        (!self.bytes.is_empty()).then(|| std::mem::take(&mut self.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_period_is_one_frame() {
        let mut gather = Gather::new(s(2));
        assert_eq!((gather.push(b"a", s(0)), gather.push(b"b", s(1))), (None, None));
        assert_eq!(gather.due(), Some(s(2)));
        assert_eq!(gather.push(b"c", s(2)), Some(b"abc".to_vec()));
        assert_eq!((gather.due(), gather.take()), (None, None));
    }

    #[test]
    fn without_a_period_each_frame_goes_on_by_itself_and_with_a_long_one_memory_is_bounded() {
        assert_eq!(Gather::new(s(0)).push(b"a", s(9)), Some(b"a".to_vec()));
        let mut gather = Gather::new(s(3600));
        let most = (0..10_000).filter_map(|_| gather.push(&[0; 100], s(0))).map(|kept| kept.len()).max();
        assert!(most.is_some_and(|most| most < GATHERED_MAX + 100));
    }
}
