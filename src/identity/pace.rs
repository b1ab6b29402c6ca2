//! How a device's clock goes, from what it said: whether a time it stated can be believed to the second, and by how much
//! it may be off where it cannot.
//!
//! A message on its way only makes a time look older, so of a stretch of time the difference that is furthest ahead is the
//! truest. A clock that is behind and a message that is late look alike: the device's other messages of those hours tell
//! them apart, and where there are none, both are possible.

use std::collections::VecDeque;

use super::claims::Clock;
use crate::clock::Timestamp;
use crate::device::{ClockSource, MetricClass, Moment, Precision, Report};

const SECOND: i64 = 1_000_000;
/// One stretch, and how many are remembered: a day of a device that speaks all the time.
const STRETCH: i64 = 600 * SECOND;
const STRETCHES: usize = 144;
/// Other messages tell of a clock when they came within this time.
const NEAR: i64 = 2 * 3_600 * SECOND;
/// Differences that are this close are one clock's, not several delays.
const STEADY: i64 = 60 * SECOND;
/// So many stretches show a clock that is steadily behind.
const STEADY_STRETCHES: usize = 3;

/// What is remembered of one device's clock.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    /// The device says what time it is, not only when it measured.
    stated: bool,
    /// Number of the stretch, and the greatest difference in it.
    stretches: VecDeque<(i64, i64)>,
}

impl Pace {
    /// Takes the newest time of a report. What was taken before changes nothing.
    pub fn take(&mut self, report: &Report, received: Timestamp) {
        let Some((stated, at)) = newest(report).filter(|_| received.synchronised) else { return };
        if stated && !self.stated {
            *self = Self { stated, ..Self::default() };
        }
        if stated != self.stated {
            return;
        }
        let (began, ahead) = (received.micros.div_euclid(STRETCH), at.saturating_sub(received.micros));
        match self.stretches.iter_mut().find(|(known, _)| *known == began) {
            Some((_, most)) => *most = ahead.max(*most),
            None => {
                let place = self.stretches.partition_point(|(known, _)| *known < began);
                self.stretches.insert(place, (began, ahead));
                if self.stretches.len() > STRETCHES {
                    self.stretches.pop_front();
                }
            }
        }
    }

    /// How far the times of a report that was received then can be believed. `limit`: microseconds a clock may be off
    /// before it is called wrong.
    pub fn judge(&self, report: &Report, received: Timestamp, limit: i64) -> Clock {
        let Some((_, at)) = newest(report).filter(|_| received.synchronised) else { return Clock::default() };
        let own = at.saturating_sub(received.micros);
        let here = received.micros.div_euclid(STRETCH);
        let near = |began: &i64| (began - here).saturating_abs().saturating_mul(STRETCH) <= NEAR;
        let around: Vec<i64> =
            self.stretches.iter().filter(|(began, _)| near(began)).map(|(_, ahead)| *ahead).collect();
        let most = around.iter().copied().max().unwrap_or(own).max(own);
        if most >= -limit {
            // Timely words of these hours: the clock is off by that much, and an older time is a late message.
            return off(most);
        }
        let spread = most.saturating_sub(around.iter().copied().min().unwrap_or(own));
        let steady = around.len() >= STEADY_STRETCHES && spread <= STEADY;
        if self.stated || steady { off(most) } else { Clock::default() }
    }
}

fn off(ahead: i64) -> Clock {
    Clock { ahead, slack: SECOND.saturating_add(ahead.saturating_abs() / 20), ..Clock::default() }
}

/// The newest time of the device's own clock in a report, to the minute at least; whether it is what the device says of
/// now.
fn newest(report: &Report) -> Option<(bool, i64)> {
    let own =
        |moment: &&Moment| moment.source == ClockSource::Device && moment.precision >= Precision::Minute;
    if let Some(clock) = report.device.clock.as_ref().filter(own) {
        return Some((true, clock.micros));
    }
    let measured = report.measurements.iter().filter(|m| m.metric.class != MetricClass::Setting);
    let times = measured.flat_map(|m| m.until.iter().chain([&m.taken])).filter(own);
    times.map(|moment| (false, moment.micros)).max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Device, Offset};

    const NOW: i64 = 1_773_477_000 * SECOND;
    const LIMIT: i64 = 120 * SECOND;

    fn moment(micros: i64) -> Moment {
        let (offset, source) = (Offset::Stated, ClockSource::Device);
        Moment { micros, offset_minutes: 0, precision: Precision::Second, offset, source }
    }

    /// A report of a device that says what time it is.
    fn says(micros: i64) -> Report {
        let device = Device { clock: Some(moment(micros)), ..Device::default() };
        Report {
            device,
            person: None,
            place: None,
            specimen: None,
            orders: Vec::new(),
            measurements: Vec::new(),
        }
    }

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros, true)
    }

    #[test]
    fn a_clock_that_goes_right_is_believed_and_so_is_a_late_message_of_it() {
        let mut pace = Pace::default();
        for minute in 0..60 {
            pace.take(&says(NOW + minute * 60 * SECOND - SECOND), at(NOW + minute * 60 * SECOND));
        }
        let late = says(NOW - 3_600 * SECOND);
        pace.take(&late, at(NOW + 1_000 * SECOND));
        assert_eq!(pace.judge(&late, at(NOW + 1_000 * SECOND), LIMIT).ahead, -SECOND);
    }

    #[test]
    fn a_clock_that_is_off_is_known_by_how_much_also_from_a_late_message() {
        for ahead in [420, -420, 90, -60] {
            let mut pace = Pace::default();
            for minute in 0..30 {
                let now = NOW + minute * 60 * SECOND;
                pace.take(&says(now + ahead * SECOND), at(now));
            }
            let late = says(NOW + ahead * SECOND);
            pace.take(&late, at(NOW + 900 * SECOND));
            assert_eq!(pace.judge(&late, at(NOW + 900 * SECOND), LIMIT).ahead, ahead * SECOND);
        }
    }

    #[test]
    fn alone_a_message_that_is_late_may_be_of_a_clock_that_is_behind() {
        let mut pace = Pace::default();
        let one = says(NOW - 5_000 * SECOND);
        pace.take(&one, at(NOW));
        assert_eq!(pace.judge(&one, at(NOW), LIMIT).ahead, -5_000 * SECOND);
        // Hours apart nothing is told of it either.
        pace.take(&says(NOW + 20_000 * SECOND), at(NOW + 20_000 * SECOND));
        assert_eq!(pace.judge(&one, at(NOW), LIMIT).ahead, -5_000 * SECOND);
    }

    #[test]
    fn a_box_without_the_time_judges_nobody() {
        let mut pace = Pace::default();
        let unsure = Timestamp::from_micros(NOW, false);
        pace.take(&says(NOW + 9_000 * SECOND), unsure);
        assert_eq!(pace.judge(&says(NOW + 9_000 * SECOND), unsure, LIMIT), Clock::default());
        assert!(pace.stretches.is_empty());
    }

    #[test]
    fn memory_is_bounded_and_frames_may_be_read_again() {
        let mut pace = Pace::default();
        for stretch in (0..1_000).chain(500..900) {
            pace.take(&says(NOW + stretch * STRETCH), at(NOW + stretch * STRETCH));
        }
        assert_eq!(pace.stretches.len(), STRETCHES);
        assert!(pace.stretches.iter().zip(pace.stretches.iter().skip(1)).all(|(a, b)| a.0 < b.0));
    }
}
