//! For everyone who needs to know what time it is: the only caller of the system clock.
//!
//! Tests move time through [`TestClock`]; the shipped binary is static and cannot be faked from outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

/// A point in time as this box saw it, in microseconds since the Unix epoch (UTC).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Microseconds since 1970-01-01T00:00:00Z.
    pub micros: i64,
    /// Whether the kernel said the clock was synchronised when this was read.
    pub synchronised: bool,
}

impl Timestamp {
    /// A timestamp read back from the buffer.
    pub const fn from_micros(micros: i64, synchronised: bool) -> Self {
        Self { micros, synchronised }
    }

    /// RFC 3339 text in UTC with milliseconds, for logs, the desk and JSON.
    pub fn rfc3339(self) -> String {
        match jiff::Timestamp::from_microsecond(self.micros) {
            Ok(at) => format!("{at:.3}"),
            Err(_) => String::from("1970-01-01T00:00:00.000Z"),
        }
    }

    /// This moment moved forward by `span`.
    pub fn plus(self, span: Duration) -> Self {
        let micros = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        Self { micros: self.micros.saturating_add(micros), ..self }
    }

    /// How long ago `earlier` was; zero when the clock went backwards.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.micros.saturating_sub(earlier.micros)).unwrap_or(0))
    }
}

/// Where now comes from. Cheap to clone through [`SharedClock`].
pub trait Clock: Send + Sync {
    /// The current time of the box.
    fn now(&self) -> Timestamp;
}

/// The clock every room is handed.
pub type SharedClock = Arc<dyn Clock>;

/// The clock of the box.
#[derive(Debug, Default)]
pub struct SystemClock {
    /// Twice the time of the last look at [`kernel_says_synchronised`], plus one when the answer was yes.
    last_look: AtomicI64,
}

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
    fn now(&self) -> Timestamp {
        let micros = jiff::Timestamp::now().as_microsecond();
        Timestamp { micros, synchronised: self.synchronised(micros) }
    }
}

/// How long an answer to [`kernel_says_synchronised`] is believed, in microseconds.
const BELIEVED_MICROS: i64 = 1_000_000;

impl SystemClock {
    /// Every frame, answer and mark is stamped, and looking costs system calls: so it is done once a second.
    fn synchronised(&self, now: i64) -> bool {
        let last = self.last_look.load(Ordering::Relaxed);
        if (0..BELIEVED_MICROS).contains(&now.saturating_sub(last >> 1)) {
            return last & 1 == 1;
        }
        let found = kernel_says_synchronised();
        self.last_look.store(now << 1 | i64::from(found), Ordering::Relaxed);
        found
    }
}

/// systemd-timesyncd, chrony and ntpd all leave a trace that can be read without a system call of our own.
fn kernel_says_synchronised() -> bool {
    std::path::Path::new("/run/systemd/timesync/synchronized").exists()
        || std::path::Path::new("/run/chrony/chronyd.sock").exists()
}

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct TestClock {
    micros: AtomicI64,
    synchronised: AtomicBool,
}

impl TestClock {
    /// Starts at `micros` since the epoch, synchronised.
    pub fn at(micros: i64) -> Arc<Self> {
        Arc::new(Self { micros: AtomicI64::new(micros), synchronised: AtomicBool::new(true) })
    }

    /// Moves time forward.
    pub fn advance(&self, span: Duration) {
        self.micros.fetch_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX), Ordering::SeqCst);
    }

    /// Jumps to a time, forward or back.
    pub fn jump(&self, micros: i64) {
        self.micros.store(micros, Ordering::SeqCst);
    }

    /// Says whether the clock counts as synchronised from now on.
    pub fn set_synchronised(&self, synchronised: bool) {
        self.synchronised.store(synchronised, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp {
            micros: self.micros.load(Ordering::SeqCst),
            synchronised: self.synchronised.load(Ordering::SeqCst),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_clock_moves_only_when_told() {
        let clock = TestClock::at(1_000_000);
        assert_eq!(clock.now().rfc3339(), "1970-01-01T00:00:01.000Z");
        clock.advance(Duration::from_millis(1500));
        assert_eq!(clock.now().rfc3339(), "1970-01-01T00:00:02.500Z");
    }

    #[test]
    fn a_clock_that_went_back_gives_an_age_of_zero() {
        let earlier = Timestamp::from_micros(5_000_000, true);
        assert_eq!(Timestamp::from_micros(1_000_000, true).since(earlier), Duration::ZERO);
    }
}
