//! The last seconds of each wave, for a strip on the device's page, within one budget for the whole box.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::device::{ClockSource, Moment, Precision, Value};
use crate::translate::sample_nanos;

/// How much of a wave is kept.
pub const WAVE_SECONDS: u32 = 20;
const SPAN: i64 = WAVE_SECONDS as i64 * 1_000_000;
/// Most samples kept of one wave: 20 s at 1 kHz. A faster wave is kept for less.
const SAMPLES_MAX: usize = 20_000;
/// Most samples of all waves together: 16 MB. Past it a strip loses its oldest before it takes more.
const SAMPLES_TOTAL: usize = 2_000_000;
/// Pieces of one wave, and their cost beside their samples: a piece of one sample must not cost nothing.
const PIECES_MAX: usize = 1_024;

/// How evenly pieces of a device without a clock arrive.
const ON_THE_WAY: i64 = 400_000;
/// What a time of whole seconds leaves open.
const WHOLE_SECOND: i64 = 1_000_000;

/// One wave of a device: its last seconds, for a look and nothing else.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Wave {
    /// Names the wave within its device.
    pub code: String,
    pub label: Arc<str>,
    pub unit: Option<Arc<str>>,
    /// In order of time; between two of them there may be a gap.
    pub pieces: Vec<Piece>,
}

/// A run of samples without a break.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = WavePiece)]
pub struct Piece {
    /// Microseconds since the epoch of the first sample.
    pub from_us: i64,
    /// Nanoseconds from one sample to the next.
    pub period_ns: i64,
    /// A value is origin + sample × factor.
    pub origin: f64,
    pub factor: f64,
    /// `None` where the device said that there is no value.
    pub samples: Vec<Option<i32>>,
}

/// Samples held by all strips together.
#[derive(Debug, Default)]
pub(super) struct WaveBudget(usize);

/// The last seconds of one wave, in order of time.
#[derive(Debug, Default)]
pub(super) struct Strip(VecDeque<Run>);

#[derive(Debug)]
struct Run {
    /// Microseconds since the epoch.
    from: i64,
    /// Nanoseconds; more than none.
    period: i64,
    /// Microseconds by which its time may be off: what begins so near to the end of the one before follows it.
    slack: i64,
    origin: f64,
    factor: f64,
    samples: Vec<Option<i32>>,
}

impl Run {
    /// What a sample array says, its last `SPAN` at most; `None` for what cannot be drawn.
    fn of(taken: &Moment, value: &Value) -> Option<Self> {
        let Value::SampleArray { origin, factor, period_ms, samples, .. } = value else { return None };
        let period = i64::try_from(sample_nanos(*period_ms)?).ok()?;
        let (origin, factor) = (origin.for_chart(), factor.for_chart());
        if samples.is_empty() || !origin.is_finite() || !factor.is_finite() {
            return None;
        }
        let room = usize::try_from(SPAN * 1_000 / period).unwrap_or(SAMPLES_MAX).clamp(1, SAMPLES_MAX);
        let left_out = samples.len().saturating_sub(room);
        let from = taken.micros.checked_add(lasting(left_out, period))?;
        let slack = match (taken.precision, taken.source) {
            (Precision::Fraction, ClockSource::Device) => lasting(1, period),
            (Precision::Fraction, ClockSource::Receipt) => ON_THE_WAY,
            _ => WHOLE_SECOND,
        };
        Some(Self {
            from,
            period,
            slack,
            origin,
            factor,
            samples: samples.iter().skip(left_out).copied().collect(),
        })
    }

    fn follows(&self, last: &Piece) -> bool {
        let end = last.from_us + lasting(last.samples.len(), last.period_ns);
        last.period_ns == self.period
            && (self.from - end).abs() <= self.slack
            && (last.origin.to_bits(), last.factor.to_bits())
                == (self.origin.to_bits(), self.factor.to_bits())
    }

    fn end(&self) -> i64 {
        self.from.saturating_add(lasting(self.samples.len(), self.period))
    }
}

impl Strip {
    /// Adds what a sample array says. `received` tells a device whose clock was set back from a piece that came late.
    pub(super) fn push(
        &mut self,
        taken: &Moment,
        value: &Value,
        received: Timestamp,
        budget: &mut WaveBudget,
    ) {
        let Some(run) = Run::of(taken, value) else { return };
        let newest = self.end();
        if run.end() <= newest.saturating_sub(SPAN) {
            if newest <= received.micros.saturating_add(SPAN) {
                return;
            }
            self.give_back(budget);
            self.0.clear();
        }
        let at = self.0.partition_point(|other| other.from < run.from);
        // A frame that is shown again says nothing new.
        if self.0.get(at).is_some_and(|same| same.from == run.from) {
            return;
        }
        budget.0 += run.samples.len();
        self.0.insert(at, run);
        self.shorten(budget);
    }

    /// Drops what is too old or too much.
    fn shorten(&mut self, budget: &mut WaveBudget) {
        let oldest = self.end().saturating_sub(SPAN);
        let mut kept = self.samples();
        while let Some(first) = self.0.front() {
            let much = kept > SAMPLES_MAX || self.0.len() > PIECES_MAX || budget.0 > SAMPLES_TOTAL;
            if !much && first.end() > oldest {
                return;
            }
            kept -= first.samples.len();
            budget.0 -= first.samples.len();
            self.0.pop_front();
        }
    }

    fn end(&self) -> i64 {
        self.0.back().map_or(i64::MIN, Run::end)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The pieces of its last seconds; those that follow one another as one. Where two overlap, the later one stands.
    pub(super) fn pieces(&self, seconds: u32) -> Vec<Piece> {
        let from = self.end().saturating_sub(i64::from(seconds) * 1_000_000);
        let mut pieces: Vec<Piece> = Vec::new();
        for run in self.0.iter().filter(|run| run.end() > from) {
            if let Some(last) = pieces.last_mut() {
                if run.follows(last) {
                    last.samples.extend_from_slice(&run.samples);
                    continue;
                }
                let clear = (run.from - last.from_us).max(0) * 1_000 / last.period_ns;
                last.samples.truncate(usize::try_from(clear).unwrap_or(usize::MAX));
            }
            let Run { from, period, origin, factor, samples, .. } = run;
            let samples = samples.clone();
            pieces.push(Piece {
                from_us: *from,
                period_ns: *period,
                origin: *origin,
                factor: *factor,
                samples,
            });
        }
        pieces
    }

    /// Gives its samples back to the box.
    pub(super) fn give_back(&self, budget: &mut WaveBudget) {
        budget.0 = budget.0.saturating_sub(self.samples());
    }

    fn samples(&self) -> usize {
        self.0.iter().map(|run| run.samples.len()).sum()
    }
}

/// Microseconds that so many samples of `period` nanoseconds last.
fn lasting(samples: usize, period: i64) -> i64 {
    i64::try_from(samples).unwrap_or(i64::MAX).saturating_mul(period) / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Decimal, Offset};

    /// So many samples of 4 ms from a moment in milliseconds on, counted up from `first`.
    fn say(strip: &mut Strip, budget: &mut WaveBudget, from_ms: i64, first: i32, count: i32) {
        say_at(strip, budget, from_ms, first, count, from_ms);
    }

    fn say_at(
        strip: &mut Strip,
        budget: &mut WaveBudget,
        from_ms: i64,
        first: i32,
        count: i32,
        received_ms: i64,
    ) {
        let wave = wave(4, (first..first + count).map(Some).collect());
        strip.push(&at(from_ms, ClockSource::Device), &wave, received(received_ms), budget);
    }

    fn wave(period_ms: i128, samples: Vec<Option<i32>>) -> Value {
        let (origin, factor, period_ms) =
            (Decimal::new(-1, 0), Decimal::new(5, -1), Decimal::new(period_ms, 0));
        Value::SampleArray { origin, factor, period_ms, unit: None, samples }
    }

    fn at(ms: i64, source: ClockSource) -> Moment {
        let (precision, offset) = (Precision::Fraction, Offset::Stated);
        Moment { micros: ms * 1_000, offset_minutes: 0, precision, offset, source }
    }

    fn received(ms: i64) -> Timestamp {
        Timestamp::from_micros(ms * 1_000, true)
    }

    fn kept(strip: &Strip) -> usize {
        strip.pieces(WAVE_SECONDS).iter().map(|piece| piece.samples.len()).sum()
    }

    #[test]
    fn pieces_that_follow_one_another_are_one_and_a_gap_stays_a_gap() {
        let (mut strip, mut budget) = (Strip::default(), WaveBudget::default());
        say(&mut strip, &mut budget, 0, 0, 250);
        say(&mut strip, &mut budget, 1_000, 250, 250);
        say(&mut strip, &mut budget, 3_000, 750, 250);
        say(&mut strip, &mut budget, 1_000, 250, 250);
        let pieces = strip.pieces(WAVE_SECONDS);
        let shape: Vec<_> = pieces.iter().map(|p| (p.from_us, p.period_ns, p.samples.len())).collect();
        assert_eq!(shape, [(0, 4_000_000, 500), (3_000_000, 4_000_000, 250)], "shown again says nothing new");
        assert_eq!((pieces[0].origin.to_string(), pieces[0].factor.to_string()), ("-1".into(), "0.5".into()));
        say(&mut strip, &mut budget, 2_000, 500, 250);
        assert_eq!(strip.pieces(WAVE_SECONDS).len(), 1, "what came late fills the gap");
        assert_eq!(
            strip.pieces(2).iter().map(|p| p.from_us).collect::<Vec<_>>(),
            [2_000_000],
            "the last two"
        );
    }

    #[test]
    fn without_a_clock_pieces_that_arrive_unevenly_follow_one_another_until_they_have_drifted_apart() {
        let (mut strip, mut budget) = (Strip::default(), WaveBudget::default());
        let mut say = |from_ms: i64| {
            let second = wave(4, (0..250).map(Some).collect());
            strip.push(&at(from_ms, ClockSource::Receipt), &second, received(from_ms), &mut budget);
            strip
                .pieces(WAVE_SECONDS)
                .iter()
                .map(|p| (p.from_us / 1_000, p.samples.len()))
                .collect::<Vec<_>>()
        };
        say(0);
        say(930);
        assert_eq!(say(2_060), [(0, 750)]);
        assert_eq!(
            say(2_500),
            [(0, 625), (2_500, 250)],
            "what overlaps by more is cut where the next begins"
        );
        assert_eq!(say(4_000), [(0, 625), (2_500, 250), (4_000, 250)], "and more than that is a gap");
    }

    #[test]
    fn a_strip_keeps_its_last_seconds_and_the_budget_counts_them() {
        let (mut strip, mut budget) = (Strip::default(), WaveBudget::default());
        for second in 0..60 {
            say(&mut strip, &mut budget, second * 1_000, 0, 250);
        }
        assert_eq!((kept(&strip), budget.0), (250 * 20, 250 * 20));
        say_at(&mut strip, &mut budget, 10_000, 0, 250, 60_000);
        assert_eq!(kept(&strip), 250 * 20, "far too late is no news");
        let mut long = Strip::default();
        say(&mut long, &mut budget, 0, 0, 250 * 600);
        assert_eq!(kept(&long), 250 * 20, "of a recording of ten minutes its end");
        assert_eq!(long.pieces(WAVE_SECONDS)[0].from_us, 580_000_000);
        strip.give_back(&mut budget);
        long.give_back(&mut budget);
        assert_eq!(budget.0, 0);
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_stop_the_strip() {
        let (mut strip, mut budget) = (Strip::default(), WaveBudget::default());
        say_at(&mut strip, &mut budget, 3_600_000, 0, 250, 1_000);
        say_at(&mut strip, &mut budget, 2_000, 0, 250, 2_000);
        assert_eq!(strip.pieces(WAVE_SECONDS)[0].from_us, 2_000_000);
        assert_eq!(budget.0, 250);
    }

    #[test]
    fn a_full_box_shortens_strips_instead_of_growing_and_what_cannot_be_drawn_is_left_out() {
        let (mut strip, mut budget) = (Strip::default(), WaveBudget(SAMPLES_TOTAL - 300));
        say(&mut strip, &mut budget, 0, 0, 250);
        say(&mut strip, &mut budget, 1_000, 0, 250);
        assert_eq!((kept(&strip), budget.0), (250, SAMPLES_TOTAL - 50));
        strip.push(&at(9_000, ClockSource::Device), &wave(0, vec![Some(1)]), received(9_000), &mut budget);
        assert_eq!(kept(&strip), 250, "a period of nothing");
    }
}
