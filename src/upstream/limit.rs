//! How much a server takes at once: learned from what it refused as too large, and slowly tried again.

use std::sync::Mutex;

use super::known::lock;

/// Bundles that must pass before a larger one is tried.
const PASSES_BEFORE_GROWTH: u32 = 16;
/// What every server is taken to finish in time: slowness alone does not make Bundles smaller than this.
const ALWAYS_IN_TIME: Size = Size { resources: 64, bytes: 64 << 10 };

/// The largest Bundle to send now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) resources: usize,
    pub(super) bytes: usize,
}

#[derive(Debug)]
pub(super) struct Limit {
    written: Size,
    learned: Mutex<(Size, u32)>,
}

impl Limit {
    pub(super) fn new(resources: usize, bytes: usize) -> Self {
        let written = Size { resources, bytes };
        Self { written, learned: Mutex::new((written, 0)) }
    }

    pub(super) fn now(&self) -> Size {
        lock(&self.learned).0
    }

    /// The server said that a Bundle of this size is too much.
    pub(super) fn too_much(&self, sent: Size) {
        self.shrink(sent, Size { resources: 1, bytes: 1_024 });
    }

    /// No answer came to a Bundle of this size; a smaller one may be done in time.
    pub(super) fn too_slow(&self, sent: Size) {
        self.shrink(sent, ALWAYS_IN_TIME);
    }

    fn shrink(&self, sent: Size, least: Size) {
        let mut learned = lock(&self.learned);
        learned.0.resources = learned.0.resources.min((sent.resources / 2).max(least.resources));
        learned.0.bytes = learned.0.bytes.min((sent.bytes / 2).max(least.bytes));
        learned.1 = 0;
    }

    /// A Bundle passed.
    pub(super) fn passed(&self) {
        let mut learned = lock(&self.learned);
        if learned.0 == self.written {
            return;
        }
        learned.1 += 1;
        if learned.1 >= PASSES_BEFORE_GROWTH {
            learned.0.resources = (learned.0.resources * 2).min(self.written.resources);
            learned.0.bytes = (learned.0.bytes * 2).min(self.written.bytes);
            learned.1 = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_too_much_is_halved_and_grows_back_slowly() {
        let limit = Limit::new(1_000, 1 << 20);
        limit.too_much(Size { resources: 100, bytes: 200_000 });
        assert_eq!(limit.now(), Size { resources: 50, bytes: 100_000 });
        (1..PASSES_BEFORE_GROWTH).for_each(|_| limit.passed());
        assert_eq!(limit.now().resources, 50);
        limit.passed();
        assert_eq!(limit.now().resources, 100);
        (0..10_000).for_each(|_| limit.passed());
        assert_eq!(limit.now(), Size { resources: 1_000, bytes: 1 << 20 });
    }

    #[test]
    fn a_night_without_answers_does_not_make_bundles_tiny() {
        let limit = Limit::new(1_000, 1 << 20);
        (0..1_000).for_each(|_| limit.too_slow(limit.now()));
        assert_eq!(limit.now(), ALWAYS_IN_TIME);
    }

    #[test]
    fn one_resource_can_always_be_sent() {
        let limit = Limit::new(10, 4_096);
        (0..20).for_each(|_| limit.too_much(limit.now()));
        assert_eq!(limit.now(), Size { resources: 1, bytes: 1_024 });
    }
}
