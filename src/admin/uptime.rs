//! Stretches of time in which the box ran, and those between them.

use serde::Serialize;
use utoipa::ToSchema;

use super::json::rfc3339;
use crate::clock::Timestamp;

/// Stretches that are remembered: more than a day of starts that follow each other by a quarter of an hour.
const STRETCHES_MAX: usize = 200;
/// A box that starts anew is away for some seconds: that is no time in which it was off.
const AWAY_MICROS: i64 = 60 * 1_000_000;

/// When the box ran: from and until in microseconds since 1970, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uptime(Vec<(i64, i64)>);

/// A stretch in which the box was off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = BoxOff)]
pub struct Off {
    #[serde(serialize_with = "rfc3339")]
    pub from: Timestamp,
    #[serde(serialize_with = "rfc3339")]
    pub until: Timestamp,
}

impl Uptime {
    /// The setting it is kept as.
    pub const SETTING: &'static str = "running";

    /// As it was kept; what cannot be read tells nothing.
    pub fn read(text: Option<&str>) -> Self {
        let all: Vec<(i64, i64)> = text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        Self(all)
    }

    /// As it is kept.
    pub fn text(&self) -> String {
        serde_json::to_string(&self.0).unwrap_or_default()
    }

    /// It starts.
    pub fn begin(&mut self, now: Timestamp) {
        // A clock that was set back: what seems to lie ahead is no stretch of the past.
        self.0.retain(|(_, until)| *until <= now.micros);
        self.0.push((now.micros, now.micros));
        let beyond = self.0.len().saturating_sub(STRETCHES_MAX);
        self.0.drain(..beyond);
    }

    /// It runs still.
    pub fn goes_on(&mut self, now: Timestamp) {
        if self.0.last().is_none_or(|(from, _)| *from > now.micros) {
            self.begin(now);
        }
        if let Some((_, until)) = self.0.last_mut() {
            *until = (*until).max(now.micros);
        }
    }

    /// Where it did not run, after `since`. What was before its first known start is not known, and not told.
    pub fn off(&self, since: Timestamp) -> Vec<Off> {
        let pairs = self.0.iter().zip(self.0.iter().skip(1));
        let gaps = pairs.map(|((_, from), (until, _))| (*from, *until));
        let real = gaps.filter(|(from, until)| until - from > AWAY_MICROS && *until > since.micros);
        let at = |micros| Timestamp::from_micros(micros, true);
        real.map(|(from, until)| Off { from: at(from.max(since.micros)), until: at(until) }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_micros(minute * 60_000_000, true)
    }

    #[test]
    fn between_its_last_sign_of_life_and_its_start_it_was_off() {
        let mut ran = Uptime::default();
        ran.begin(at(0));
        ran.goes_on(at(5));
        ran.begin(at(65));
        assert_eq!(ran.off(at(0)), [Off { from: at(5), until: at(65) }]);
        assert_eq!(ran.off(at(30)), [Off { from: at(30), until: at(65) }], "of that which is asked for");
        assert!(ran.off(at(65)).is_empty());
        assert_eq!(Uptime::read(Some(&ran.text())), ran);
    }

    #[test]
    fn a_start_anew_is_no_time_in_which_it_was_off_and_before_the_first_start_nothing_is_known() {
        let mut ran = Uptime::default();
        ran.begin(at(10));
        ran.goes_on(at(20));
        ran.begin(at(21));
        assert!(ran.off(at(0)).is_empty());
    }

    #[test]
    fn a_clock_that_is_set_back_makes_no_stretch_of_the_future() {
        let mut ran = Uptime::default();
        ran.begin(at(0));
        ran.goes_on(at(1000));
        ran.begin(at(10));
        ran.goes_on(at(5));
        assert!(ran.off(at(0)).is_empty());
        let text = ran.text();
        assert!(!text.contains("60000000000"), "{text}");
    }

    #[test]
    fn what_cannot_be_read_tells_nothing_and_what_is_kept_is_bounded() {
        assert_eq!(Uptime::read(Some("{\"x\":1}")), Uptime::default());
        assert_eq!(Uptime::read(None), Uptime::default());
        let mut ran = Uptime::default();
        for minute in 0..1000 {
            ran.begin(at(minute * 10));
        }
        assert_eq!(ran.0.len(), STRETCHES_MAX);
    }
}
