//! How a device's clock stands against this box's: the difference of its newest times to their receipt.
//!
//! A time on its way only ever looks later than it was said, so of a stretch of time the difference that is furthest
//! ahead is the truest; the median of the last stretches withstands one that is wrong. A clock that shows whole
//! minutes is judged by the same rule: its stamp is truest when it has just moved on.

use std::collections::VecDeque;

use serde::Serialize;
use utoipa::ToSchema;

use crate::admin::json::rfc3339;
use crate::clock::Timestamp;
use crate::device::{ClockSource, MetricClass, Moment, Precision, Report};

/// One stretch, and how many are remembered: a day of a device that speaks all the time.
const STRETCH_MICROS: i64 = 600_000_000;
const STRETCHES: usize = 144;
/// Stretches whose median is the estimate.
const RECENT: usize = 3;
/// A drift is told of at least six hours.
const DRIFT_SPAN_MICROS: i64 = 6 * 3_600_000_000;
const DAY_MICROS: i64 = 86_400_000_000;
/// Offsets of zones are whole quarters of an hour (IANA: +05:45 is the finest in use).
const QUARTER_MICROS: i64 = 900_000_000;
const QUARTER_SLACK_MICROS: i64 = 90_000_000;

/// How a device's clock stands, for the desk.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = DeviceClock)]
pub struct ClockView {
    /// Seconds the device is ahead of this box; negative: behind.
    pub offset_s: f64,
    /// How much further ahead it gets in a day, once it is known.
    pub drift_s_per_day: Option<f64>,
    /// Times compared.
    pub samples: u32,
    #[serde(serialize_with = "rfc3339")]
    pub since: Timestamp,
    /// One sentence, with what to do when it is wrong.
    pub verdict: String,
    /// Whether the difference is beyond the limit and is the clock's, so that somebody must look.
    pub wrong: bool,
}

/// What the times are that are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Basis {
    /// When results were measured: sent at once, or much later.
    #[default]
    Measured,
    /// The device said what time it is.
    Stated,
}

#[derive(Clone, Copy, Debug)]
struct Stretch {
    began: i64,
    received: i64,
    ahead: i64,
}

/// What is remembered of one device's clock.
#[derive(Debug, Default)]
pub(super) struct DeviceClock {
    basis: Basis,
    point_of_care: bool,
    samples: u32,
    since: i64,
    /// Its last times were not believed, and which finding said so.
    distrusted: bool,
    stretches: VecDeque<Stretch>,
}

impl DeviceClock {
    /// Takes the newest time of a report. A box that does not know the time itself compares nothing.
    pub(super) fn take(&mut self, report: &Report, received: Timestamp, distrusted: bool) {
        if !received.synchronised {
            return;
        }
        self.distrusted = distrusted;
        self.point_of_care = report.device.point_of_care;
        let Some((basis, micros)) = newest(report) else { return };
        if basis > self.basis {
            *self = Self { basis, point_of_care: self.point_of_care, distrusted, ..Self::default() };
        }
        if basis < self.basis {
            return;
        }
        if self.samples == 0 {
            self.since = received.micros;
        }
        self.since = self.since.min(received.micros);
        self.samples = self.samples.saturating_add(1);
        let began = received.micros.div_euclid(STRETCH_MICROS);
        let ahead = micros.saturating_sub(received.micros);
        match self.stretches.iter_mut().rev().find(|stretch| stretch.began == began) {
            Some(stretch) if ahead > stretch.ahead => {
                (stretch.ahead, stretch.received) = (ahead, received.micros);
            }
            Some(_) => {}
            None => {
                // Frames may be shown again after a start: they come in the order of their receipt.
                let at = self.stretches.partition_point(|stretch| stretch.began < began);
                self.stretches.insert(at, Stretch { began, received: received.micros, ahead });
                if self.stretches.len() > STRETCHES {
                    self.stretches.pop_front();
                }
            }
        }
    }

    /// How the clock stands; `None` when nothing is known of it. `limit_s`: more is a fault.
    pub(super) fn view(&self, limit_s: u32) -> Option<ClockView> {
        let mut recent: Vec<i64> = self.stretches.iter().rev().take(RECENT).map(|s| s.ahead).collect();
        let offset = median(&mut recent);
        let since = Timestamp::from_micros(self.since, true);
        let (samples, drift) = (self.samples, self.drift());
        let Some(offset) = offset else {
            let verdict = "The device's times are further off than its profile allows: the time of receipt is used. \
                           Set the clock of the device.";
            return self.distrusted.then(|| ClockView {
                offset_s: 0.0,
                drift_s_per_day: None,
                samples,
                since,
                verdict: verdict.into(),
                wrong: true,
            });
        };
        let (wrong, verdict) = self.judge(offset, i64::from(limit_s) * 1_000_000);
        Some(ClockView {
            offset_s: tenths(offset),
            drift_s_per_day: drift.map(tenths),
            samples,
            since,
            verdict,
            wrong,
        })
    }

    fn judge(&self, offset: i64, limit: i64) -> (bool, String) {
        let side = if offset < 0 { "behind" } else { "ahead" };
        let words = span(offset);
        if offset.saturating_abs() <= limit {
            return (false, format!("The clock agrees with the box: {words} {side}."));
        }
        // Results may come late; a time from the future, or what the device says of now, is the clock's alone.
        if offset < 0 && self.basis == Basis::Measured && !self.point_of_care {
            let text = format!(
                "Results come {words} after the time they carry: the device sends late, or its clock is behind. \
                 Compare its display with a clock."
            );
            return (false, text);
        }
        let quarters = offset.saturating_add(QUARTER_MICROS / 2).div_euclid(QUARTER_MICROS);
        let beside = offset.saturating_sub(quarters.saturating_mul(QUARTER_MICROS)).saturating_abs();
        // Within 26 hours, which is as far as two zones are apart.
        if quarters != 0 && quarters.abs() <= 104 && beside <= QUARTER_SLACK_MICROS {
            let text = format!(
                "The clock is {words} {side}, near a whole quarter of an hour: the zone of the link is wrong, or \
                 the device did not follow the clock change. Set the link's zone or the device's clock."
            );
            return (true, text);
        }
        (true, format!("The clock is {words} {side} of the box. Set the clock of the device."))
    }

    /// The median slope between all stretches (Theil and Sen), in microseconds a day.
    fn drift(&self) -> Option<i64> {
        let (first, last) = (self.stretches.front()?, self.stretches.back()?);
        if last.received.saturating_sub(first.received) < DRIFT_SPAN_MICROS {
            return None;
        }
        let every = self.stretches.len().div_ceil(48).max(1);
        let few: Vec<&Stretch> = self.stretches.iter().step_by(every).collect();
        let mut slopes = Vec::new();
        for (at, from) in few.iter().enumerate() {
            for to in few.iter().skip(at + 1) {
                let rise = i128::from(to.ahead) - i128::from(from.ahead);
                let run = i128::from(to.received) - i128::from(from.received);
                let slope = (rise * i128::from(DAY_MICROS)).checked_div(run);
                slopes.extend(slope.and_then(|slope| i64::try_from(slope).ok()));
            }
        }
        median(&mut slopes)
    }
}

/// The newest time of the device's own clock in a report, to the minute at least.
fn newest(report: &Report) -> Option<(Basis, i64)> {
    let own = |moment: &Moment| moment.source == ClockSource::Device && moment.precision >= Precision::Minute;
    if let Some(clock) = report.device.clock.as_ref().filter(|clock| own(clock)) {
        return Some((Basis::Stated, clock.micros));
    }
    let measured = report.measurements.iter().filter(|m| m.metric.class != MetricClass::Setting);
    let times = measured.flat_map(|m| m.until.iter().chain([&m.taken])).filter(|moment| own(moment));
    times.map(|moment| (Basis::Measured, moment.micros)).max()
}

fn median(values: &mut [i64]) -> Option<i64> {
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

/// Seconds to a tenth.
#[expect(clippy::cast_precision_loss, reason = "tenths of a second, for people")]
fn tenths(micros: i64) -> f64 {
    (micros / 100_000) as f64 / 10.0
}

/// `3 s`, `4 min 10 s`, `1 h 2 min`, `3 days`.
fn span(micros: i64) -> String {
    let seconds = micros.unsigned_abs() / 1_000_000;
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=3_599 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..=172_799 => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::samples;
    use crate::device::Offset;

    const NOW: i64 = 1_773_477_000_000_000;
    const S: i64 = 1_000_000;

    fn moment(micros: i64, precision: Precision) -> Moment {
        Moment { micros, offset_minutes: 0, precision, offset: Offset::Stated, source: ClockSource::Device }
    }

    /// A report whose device says what time it is.
    fn stated(micros: i64) -> Report {
        let mut report = samples::report("1", Vec::new());
        report.device.clock = Some(moment(micros, Precision::Second));
        report
    }

    /// A report with one result taken then.
    fn measured(micros: i64, precision: Precision) -> Report {
        let mut measurement = samples::heart_rate("72", 0);
        measurement.taken = moment(micros, precision);
        samples::report("1", vec![measurement])
    }

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros, true)
    }

    fn view(clock: &DeviceClock) -> ClockView {
        clock.view(120).unwrap()
    }

    #[test]
    fn delays_on_the_way_do_not_make_a_clock_late() {
        let mut clock = DeviceClock::default();
        for second in 0..300 {
            let delay = [0, 40, 7, 300, 2][usize::try_from(second % 5).unwrap()];
            clock.take(
                &measured(NOW + second * S + 5 * S, Precision::Second),
                at(NOW + (second + delay) * S),
                false,
            );
        }
        assert_eq!((view(&clock).offset_s, view(&clock).wrong), (5.0, false));
        assert!(view(&clock).verdict.contains("5 s ahead"));
    }

    #[test]
    fn a_clock_of_whole_minutes_is_not_half_a_minute_late() {
        let mut clock = DeviceClock::default();
        for second in 0..600 {
            let now = NOW + second * S;
            clock.take(&measured(now / (60 * S) * 60 * S, Precision::Minute), at(now), false);
        }
        assert!(view(&clock).offset_s.abs() < 1.0);
    }

    #[test]
    fn an_hour_is_a_wrong_zone_and_ten_minutes_are_not() {
        for (ahead, zone) in [(3_600, true), (-3_570, true), (-19_800, true), (600, false), (-1_500, false)] {
            let mut clock = DeviceClock::default();
            clock.take(&stated(NOW + ahead * S), at(NOW), false);
            let view = view(&clock);
            assert!(view.wrong);
            assert_eq!(view.verdict.contains("zone"), zone, "{}", view.verdict);
        }
    }

    #[test]
    fn a_laboratory_that_sends_late_is_not_called_wrong_but_one_from_the_future_is() {
        let mut clock = DeviceClock::default();
        clock.take(&measured(NOW - 2_000 * S, Precision::Second), at(NOW), false);
        assert!(!view(&clock).wrong && view(&clock).verdict.contains("sends late"));
        let mut clock = DeviceClock::default();
        clock.take(&measured(NOW + 500 * S, Precision::Second), at(NOW), false);
        assert!(view(&clock).wrong);
    }

    #[test]
    fn what_the_device_says_of_now_counts_more_than_when_it_measured() {
        let mut clock = DeviceClock::default();
        clock.take(&measured(NOW - 9_000 * S, Precision::Second), at(NOW), false);
        clock.take(&stated(NOW + S), at(NOW + S), false);
        clock.take(&measured(NOW - 9_000 * S, Precision::Second), at(NOW + 2 * S), false);
        assert_eq!((view(&clock).offset_s, view(&clock).samples), (0.0, 1));
    }

    #[test]
    fn a_drift_is_told_of_a_day_and_memory_is_bounded() {
        let mut clock = DeviceClock::default();
        for minute in 0..4 * 24 * 60 {
            let now = NOW + minute * 60 * S;
            // Twelve seconds a day.
            clock.take(&stated(now + minute * 60 * S * 12 / 86_400), at(now), false);
        }
        assert_eq!(clock.stretches.len(), STRETCHES);
        assert!((view(&clock).drift_s_per_day.unwrap() - 12.0).abs() < 0.2);
    }

    #[test]
    fn a_box_without_the_time_judges_nobody_and_no_time_gives_no_verdict() {
        let mut clock = DeviceClock::default();
        clock.take(&stated(NOW + 9_000 * S), Timestamp::from_micros(NOW, false), false);
        clock.take(&measured(NOW, Precision::Day), at(NOW), false);
        assert_eq!(clock.view(120), None);
        clock.take(&measured(NOW, Precision::Day), at(NOW), true);
        assert!(view(&clock).verdict.contains("time of receipt"));
        let mut odd = DeviceClock::default();
        for micros in [i64::MIN, i64::MAX, 0] {
            odd.take(&stated(micros), at(NOW), false);
            odd.take(&stated(micros), at(-micros.saturating_add(1)), false);
        }
        assert!(!view(&odd).verdict.is_empty());
    }
}
