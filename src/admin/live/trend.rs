//! Short trends for charts: a ring of points per metric, within one budget for the whole box.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use super::{POINTS_MAX, POINTS_TOTAL};
use crate::clock::Timestamp;
use crate::device::Decimal;

/// One metric over time, for a chart and nothing else.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Trend {
    pub label: Arc<str>,
    pub unit: Option<Arc<str>>,
    /// (milliseconds since the epoch, value); `None` where the device said that there is no value.
    pub points: Vec<(i64, Option<f64>)>,
}

/// Points held by all rings together.
#[derive(Debug, Default)]
pub(super) struct Budget(usize);

/// The last points of one metric.
#[derive(Debug, Default)]
pub(super) struct Ring(VecDeque<(i64, f64)>);

impl Ring {
    /// Adds a point. A full ring, or one of a full box, loses its oldest first.
    pub(super) fn push(&mut self, taken: Timestamp, value: Option<Decimal>, budget: &mut Budget) {
        let full = self.0.len() >= POINTS_MAX || budget.0 >= POINTS_TOTAL;
        match full {
            true if self.0.pop_front().is_none() => return,
            true => {}
            false => budget.0 += 1,
        }
        // Not-a-number marks a gap: half the size of an Option.
        self.0.push_back((taken.micros / 1000, value.map_or(f64::NAN, Decimal::for_chart)));
    }

    /// The points of the last `minutes`, in order of time: what came late stands where it belongs.
    pub(super) fn last(&self, minutes: u32, now: Timestamp) -> Vec<(i64, Option<f64>)> {
        let span = Duration::from_secs(u64::from(minutes) * 60);
        let from = now.micros / 1000 - i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        let mut points: Vec<_> = self
            .0
            .iter()
            .filter(|(at, _)| *at >= from)
            .map(|(at, value)| (*at, value.is_finite().then_some(*value)))
            .collect();
        points.sort_by_key(|(at, _)| *at);
        points
    }

    /// Gives its points back to the box.
    pub(super) fn give_back(&self, budget: &mut Budget) {
        budget.0 = budget.0.saturating_sub(self.0.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000, true)
    }

    #[test]
    fn a_ring_keeps_the_last_points_and_the_budget_counts_them() {
        let (mut ring, mut budget) = (Ring::default(), Budget::default());
        for second in 0..5_000 {
            ring.push(at(second), Some(Decimal::new(i128::from(second), 0)), &mut budget);
        }
        assert_eq!(budget.0, POINTS_MAX);
        let points = ring.last(24 * 60, at(5_000));
        assert_eq!(points.len(), POINTS_MAX);
        assert_eq!(points.first(), Some(&(1_400_000, Some(1_400.0))));
        ring.give_back(&mut budget);
        assert_eq!(budget.0, 0);
    }

    #[test]
    fn a_full_box_shortens_trends_instead_of_growing() {
        let (mut ring, mut budget) = (Ring::default(), Budget(POINTS_TOTAL - 2));
        for second in 0..10 {
            ring.push(at(second), Some(Decimal::new(1, 0)), &mut budget);
        }
        assert_eq!(ring.0.len(), 2);
        assert_eq!(budget.0, POINTS_TOTAL);
        let mut late = Ring::default();
        late.push(at(1), None, &mut budget);
        assert_eq!(late.0.len(), 0, "a new ring of a full box stays empty");
    }

    #[test]
    fn late_points_stand_where_they_belong_and_gaps_are_gaps() {
        let (mut ring, mut budget) = (Ring::default(), Budget::default());
        for (second, value) in [(100, Some(1)), (300, None), (200, Some(2))] {
            ring.push(at(second), value.map(|v| Decimal::new(v, 0)), &mut budget);
        }
        let expected = [(100_000, Some(1.0)), (200_000, Some(2.0)), (300_000, None)];
        assert_eq!(ring.last(60, at(400)), expected);
        assert_eq!(ring.last(2, at(320)), expected[1..], "only the last two minutes");
    }
}
