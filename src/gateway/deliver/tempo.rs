//! How much goes at once: more while the server is quick, half when it is slow or asks for a pause, and next to nothing while
//! it does not answer.
//!
//! Additive increase and multiplicative decrease (as TCP's congestion avoidance, RFC 5681), of entries in a request and of
//! requests side by side. A server that does not answer is asked at most once a second, with a growing pause.

use std::time::Duration;

use crate::buffer::Stored;
use crate::connector::backoff::jittered;
use crate::sabotage::{Sabotage, commits};

/// The shortest pause after a failure; doubled each time up to the configured longest.
pub(super) const PAUSE_MIN: Duration = Duration::from_secs(1);
/// A server that asks for more is asked again after this.
const ASKED_MAX: Duration = Duration::from_secs(3_600);
/// Steps from nothing to everything.
const STEPS: usize = 8;
/// One trial in so many is of full size: what fails alone may be the fault of the one entry that is tried.
const FULL_TRIAL: u32 = 4;

/// What one round may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateway) struct Load {
    /// In one request.
    pub(in crate::gateway) entries: usize,
    /// Side by side.
    pub(in crate::gateway) requests: usize,
}

/// How it went lately.
#[derive(Clone, Debug)]
pub(super) struct Tempo {
    most: Load,
    now: Load,
    slow: Duration,
    longest: Duration,
    failures: u32,
}

impl Tempo {
    pub(super) fn new(most: Load, slow: Duration, longest: Duration) -> Self {
        let most = Load { entries: most.entries.max(1), requests: most.requests.max(1) };
        Self { most, now: most, slow, longest: longest.max(PAUSE_MIN), failures: 0 }
    }

    /// Failures in a row since the server last answered.
    pub(super) const fn failures(&self) -> u32 {
        self.failures
    }

    /// The next round. While nobody answers it is a trial: one request, mostly of one entry.
    pub(super) const fn load(&self) -> Load {
        match self.failures {
            0 => self.now,
            failures if failures % FULL_TRIAL == 0 => Load { entries: self.now.entries, requests: 1 },
            _ => Load { entries: 1, requests: 1 },
        }
    }

    /// The round was answered after `took`. `pushed_back`: the server asked for a pause for a part of it.
    pub(super) fn answered(&mut self, took: Duration, pushed_back: bool) {
        self.failures = 0;
        if pushed_back || took > self.slow {
            return self.less();
        }
        let step = |now: usize, most: usize| (now + most.div_ceil(STEPS)).min(most);
        if self.now.entries < self.most.entries {
            self.now.entries = step(self.now.entries, self.most.entries);
        } else {
            self.now.requests = step(self.now.requests, self.most.requests);
        }
    }

    /// Nobody answered; how long to wait, no less than the server asked for.
    pub(super) fn unanswered(&mut self, asked: Option<Duration>) -> Duration {
        self.less();
        self.failures = self.failures.saturating_add(1);
        self.pause(self.failures, asked)
    }

    fn less(&mut self) {
        self.now = Load { entries: (self.now.entries / 2).max(1), requests: (self.now.requests / 2).max(1) };
    }

    /// Doubling pause with jitter, never under a second and never shorter than what the server asked for.
    pub(super) fn pause(&self, failures: u32, asked: Option<Duration>) -> Duration {
        if commits(Sabotage::HotRetry) {
            return Duration::ZERO;
        }
        let full = PAUSE_MIN.saturating_mul(1u32 << failures.saturating_sub(1).min(16)).min(self.longest);
        jittered(full).max(PAUSE_MIN).max(asked.unwrap_or_default().min(ASKED_MAX))
    }
}

/// The entry a trial is made with: the first of one device, of another device each time, so that one entry which the
/// server cannot stand is not taken for a dead server for ever.
pub(super) fn trial(stored: Vec<Stored>, failures: u32) -> Vec<Stored> {
    let mut devices = Vec::new();
    let mut firsts: Vec<Stored> = Vec::new();
    for one in stored {
        let device = one.device.clone().unwrap_or_else(|| one.link.clone());
        if !devices.contains(&device) {
            devices.push(device);
            firsts.push(one);
        }
    }
    let turn =
        usize::try_from(failures.saturating_sub(1)).unwrap_or(0).checked_rem(firsts.len()).unwrap_or(0);
    firsts.into_iter().skip(turn).take(1).collect()
}

/// How long a line of `rate` bytes a second is busy with so many bytes.
pub(super) fn line_time(bytes: u64, rate: Option<u64>) -> Duration {
    let Some(rate) = rate.filter(|rate| *rate > 0) else { return Duration::ZERO };
    Duration::from_millis(bytes.saturating_mul(1_000) / rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Load = Load { entries: 64, requests: 4 };

    fn tempo() -> Tempo {
        Tempo::new(MOST, Duration::from_secs(5), Duration::from_secs(60))
    }

    #[test]
    fn a_slow_answer_halves_and_quick_ones_bring_it_back_step_by_step() {
        let mut tempo = tempo();
        assert_eq!(tempo.load(), MOST);
        tempo.answered(Duration::from_secs(6), false);
        assert_eq!(tempo.load(), Load { entries: 32, requests: 2 });
        let quick = Duration::from_millis(90);
        tempo.answered(quick, true);
        assert_eq!(tempo.load(), Load { entries: 16, requests: 1 }, "429 counts as slow");
        for entries in [24, 32, 40, 48, 56, 64] {
            tempo.answered(quick, false);
            assert_eq!(tempo.load(), Load { entries, requests: 1 });
        }
        (0..3).for_each(|_| tempo.answered(quick, false));
        assert_eq!(tempo.load(), MOST);
    }

    #[test]
    fn a_dead_server_is_asked_at_most_once_a_second_with_the_smallest_batch() {
        let mut tempo = tempo();
        let mut waited = Duration::ZERO;
        for trial in 1..=20 {
            let pause = tempo.unanswered(None);
            assert!(pause >= PAUSE_MIN && pause <= Duration::from_secs(60), "{pause:?}");
            waited += pause;
            let expected = if trial % FULL_TRIAL == 0 { tempo.now.entries } else { 1 };
            assert_eq!(tempo.load(), Load { entries: expected, requests: 1 });
        }
        assert!(waited >= Duration::from_secs(5 * 60), "the pauses grow: {waited:?}");
        tempo.answered(Duration::ZERO, false);
        assert_eq!((tempo.failures(), tempo.load().entries), (0, 9), "and then it grows step by step");
    }

    #[test]
    fn each_trial_is_made_with_another_device() {
        let entry = |id: i64, device: &str| Stored {
            id,
            link: "ward".into(),
            peer: "".into(),
            received: crate::clock::Timestamp::from_micros(id, true),
            bytes: bytes::Bytes::new(),
            topic: None,
            sha256: [0; 32],
            device: Some(device.into()),
            attempts: 0,
            late: false,
        };
        let waiting = || vec![entry(1, "a"), entry(2, "a"), entry(3, "b"), entry(4, "c"), entry(5, "b")];
        let tried: Vec<i64> =
            (1..=4).flat_map(|failures| trial(waiting(), failures)).map(|one| one.id).collect();
        assert_eq!(tried, [1, 3, 4, 1], "always the first of its device");
        assert!(trial(Vec::new(), 3).is_empty());
    }

    #[test]
    fn what_the_server_asks_for_is_granted_up_to_an_hour() {
        let mut tempo = tempo();
        assert_eq!(tempo.unanswered(Some(Duration::from_secs(90))), Duration::from_secs(90));
        assert_eq!(tempo.unanswered(Some(Duration::from_secs(90_000))), ASKED_MAX);
    }

    #[test]
    fn a_capped_line_is_busy_for_as_long_as_its_bytes_take() {
        assert_eq!(line_time(10_000, Some(4_000)), Duration::from_millis(2_500));
        assert_eq!(line_time(10_000, None), Duration::ZERO);
        assert_eq!(line_time(u64::MAX, Some(1)), Duration::from_millis(u64::MAX));
    }
}
