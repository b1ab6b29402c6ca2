//! Sample arrays that follow one another → one array of about a period. Devices say a wave in small pieces; nobody
//! wants an Observation of each.

use std::time::Duration;

use crate::device::{Decimal, Measurement, Moment, Precision, Report, Value};

/// Longest array where no period is configured, and samples of one array at most.
const LONGEST: Duration = Duration::from_secs(60);
const SAMPLES_MAX: usize = 1 << 18;
/// Waves of one report that are joined; beyond it each piece stays by itself.
const WAVES_MAX: usize = 64;

/// Joins the consecutive pieces of each wave of each report, and says when each array ends. A gap becomes samples that
/// are not there, never a longer sample period; pieces that overlap or differ in anything but time stay apart.
pub fn join_waveforms(reports: &mut [Report], period: Option<Duration>) {
    let longest = i128::try_from(period.unwrap_or(LONGEST).as_nanos()).unwrap_or(i128::MAX);
    for report in reports {
        let waves = |m: &&Measurement| matches!(m.value, Value::SampleArray { .. });
        if report.measurements.iter().any(|m| waves(&m)) {
            report.measurements = joined(std::mem::take(&mut report.measurements), longest);
        }
    }
}

fn joined(pieces: Vec<Measurement>, longest: i128) -> Vec<Measurement> {
    let mut whole: Vec<Measurement> = Vec::with_capacity(pieces.len());
    // Where in `whole` the last piece of each wave is.
    let mut open: Vec<usize> = Vec::new();
    for mut piece in pieces {
        let Some(wave) = Wave::of(&piece) else {
            whole.push(piece);
            continue;
        };
        end(&mut piece, &wave);
        let known = open.iter().position(|at| whole.get(*at).is_some_and(|earlier| same(earlier, &piece)));
        let earlier = known.and_then(|known| open.get(known)).and_then(|at| whole.get_mut(*at));
        if let Some(earlier) = earlier
            && append(earlier, &piece, &wave, longest)
        {
            continue;
        }
        let room = open.len() < WAVES_MAX;
        match known.and_then(|known| open.get_mut(known)) {
            Some(last) => *last = whole.len(),
            None if room => open.push(whole.len()),
            None => {}
        }
        whole.push(piece);
    }
    whole
}

/// When a piece begins and how long a sample of it is, in nanoseconds.
struct Wave {
    from: i128,
    sample: i128,
    count: i128,
}

impl Wave {
    fn of(measurement: &Measurement) -> Option<Self> {
        let Value::SampleArray { period_ms, samples, .. } = &measurement.value else { return None };
        let sample = sample_nanos(*period_ms)?;
        let count = i128::try_from(samples.len()).ok()?;
        Some(Self { from: i128::from(measurement.taken.micros) * 1_000, sample, count })
    }

    fn end(&self) -> i128 {
        self.from + self.sample * self.count
    }
}

/// A sample period in nanoseconds; `None` for what no sample period is.
pub fn sample_nanos(period_ms: Decimal) -> Option<i128> {
    let whole = period_ms.times(Decimal::new(1_000_000, 0))?.rounded(0);
    let nanos = whole.mantissa.checked_mul(10_i128.checked_pow(u32::try_from(whole.exponent).ok()?)?)?;
    (nanos > 0).then_some(nanos)
}

/// The end of an array that does not say one: its last sample lasts one sample period.
fn end(piece: &mut Measurement, wave: &Wave) {
    if piece.until.is_none() && piece.taken.precision >= Precision::Second {
        let micros = i64::try_from(wave.end() / 1_000).ok();
        piece.until = micros.map(|micros| Moment { micros, ..piece.taken.clone() });
    }
}

/// Whether two pieces are of one wave, told in the same way.
fn same(a: &Measurement, b: &Measurement) -> bool {
    let scale = |m: &Measurement| match &m.value {
        Value::SampleArray { origin, factor, period_ms, unit, .. } => {
            Some((*origin, *factor, *period_ms, unit.clone()))
        }
        _ => None,
    };
    a.metric == b.metric
        && a.containment == b.containment
        && (a.status, a.result_status) == (b.status, b.result_status)
        && (&a.taken.source, &a.taken.offset, a.taken.precision)
            == (&b.taken.source, &b.taken.offset, b.taken.precision)
        && (&a.interpretation, &a.reference_range, &a.note)
            == (&b.interpretation, &b.reference_range, &b.note)
        && scale(a) == scale(b)
}

/// Adds `piece` to the array before it; `false` when it does not follow it, or there is no more room in its period.
fn append(earlier: &mut Measurement, piece: &Measurement, wave: &Wave, longest: i128) -> bool {
    let Some(before) = Wave::of(earlier) else { return false };
    let gap = wave.from - before.end();
    let missing = (gap + wave.sample / 2).div_euclid(wave.sample);
    // A time of whole seconds cannot tell a gap from its own rounding.
    let told = missing == 0 || (missing > 0 && piece.taken.precision == Precision::Fraction);
    let count = before.count + missing + wave.count;
    if !told || count * wave.sample > longest || count > i128::try_from(SAMPLES_MAX).unwrap_or(i128::MAX) {
        return false;
    }
    let (Value::SampleArray { samples, .. }, Value::SampleArray { samples: more, .. }) =
        (&mut earlier.value, &piece.value)
    else {
        return false;
    };
    samples.extend(std::iter::repeat_n(None, usize::try_from(missing).unwrap_or(0)));
    samples.extend_from_slice(more);
    earlier.until.clone_from(&piece.until);
    true
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::device::{ClockSource, Domain, MeasurementStatus, Metric, MetricClass, Offset, ResultStatus};

    fn metric(label: &str) -> Arc<Metric> {
        let (domain, class) = (Domain::VitalSigns, MetricClass::Waveform);
        Arc::new(Metric { codings: Vec::new(), label: label.into(), domain, class, site: None })
    }

    /// Samples of 8 ms from `ms` on.
    fn piece(label: &str, ms: i64, samples: &[i32]) -> Measurement {
        Measurement {
            metric: metric(label),
            value: Value::SampleArray {
                origin: Decimal::new(0, 0),
                factor: Decimal::new(1, 0),
                period_ms: Decimal::new(8, 0),
                unit: None,
                samples: samples.iter().copied().map(Some).collect(),
            },
            status: MeasurementStatus::default(),
            result_status: ResultStatus::Final,
            taken: Moment {
                micros: ms * 1_000,
                offset_minutes: 0,
                precision: Precision::Fraction,
                offset: Offset::Stated,
                source: ClockSource::Device,
            },
            until: None,
            containment: None,
            interpretation: Vec::new(),
            reference_range: None,
            note: None,
        }
    }

    fn after(pieces: Vec<Measurement>, period_s: u64) -> Vec<(i64, i64, Vec<Option<i32>>)> {
        let report = crate::device::Report {
            device: crate::device::Device::default(),
            person: None,
            place: None,
            specimen: None,
            orders: Vec::new(),
            measurements: pieces,
        };
        let mut reports = [report];
        join_waveforms(&mut reports, Some(Duration::from_secs(period_s)));
        let told = |m: &Measurement| match &m.value {
            Value::SampleArray { samples, .. } => {
                let end = m.until.as_ref().map_or(0, |until| until.micros / 1_000);
                (m.taken.micros / 1_000, end, samples.clone())
            }
            _ => panic!("no samples"),
        };
        reports[0].measurements.iter().map(told).collect()
    }

    #[test]
    fn pieces_that_follow_one_another_become_one_with_its_beginning_and_its_end() {
        let pieces =
            vec![piece("I", 0, &[1, 2]), piece("II", 0, &[7]), piece("I", 16, &[3]), piece("I", 24, &[4])];
        let joined = after(pieces, 1);
        assert_eq!(joined[0], (0, 32, vec![Some(1), Some(2), Some(3), Some(4)]));
        assert_eq!(joined[1], (0, 8, vec![Some(7)]));
        assert_eq!(joined.len(), 2);
    }

    #[test]
    fn a_gap_is_samples_that_are_not_there_and_time_is_never_stretched() {
        let joined = after(vec![piece("I", 0, &[1]), piece("I", 33, &[2])], 1);
        assert_eq!(joined, [(0, 41, vec![Some(1), None, None, None, Some(2)])]);
    }

    #[test]
    fn what_overlaps_or_is_longer_than_the_period_or_scaled_otherwise_stays_apart() {
        assert_eq!(after(vec![piece("I", 0, &[1, 2]), piece("I", 8, &[3])], 1).len(), 2, "overlap");
        assert_eq!(after(vec![piece("I", 0, &[1; 125]), piece("I", 1_000, &[1; 125])], 1).len(), 2, "period");
        assert_eq!(after(vec![piece("I", 0, &[1]), piece("I", 86_400_000, &[2])], 60).len(), 2, "a day");
        let mut other = piece("I", 8, &[3]);
        if let Value::SampleArray { factor, .. } = &mut other.value {
            *factor = Decimal::new(5, -1);
        }
        assert_eq!(after(vec![piece("I", 0, &[1]), other], 1).len(), 2, "scale");
        let mut bad = piece("I", 8, &[3]);
        bad.status.questionable = true;
        assert_eq!(after(vec![piece("I", 0, &[1]), bad], 1).len(), 2, "status");
    }

    #[test]
    fn times_of_whole_seconds_tell_no_gap() {
        let whole = |ms| {
            let mut piece = piece("I", ms, &[1; 100]);
            piece.taken.precision = Precision::Second;
            piece
        };
        assert_eq!(after(vec![whole(0), whole(1_000)], 10).len(), 2);
        assert_eq!(after(vec![whole(0), whole(800)], 10).len(), 1);
    }

    #[test]
    fn impossible_periods_and_times_give_what_came() {
        for period in [Decimal::new(0, 0), Decimal::new(-8, 0), Decimal::new(1, 30), Decimal::new(1, -30)] {
            for micros in [i64::MIN, 0, i64::MAX] {
                let mut odd = piece("I", 0, &[1]);
                odd.taken.micros = micros;
                if let Value::SampleArray { period_ms, .. } = &mut odd.value {
                    *period_ms = period;
                }
                assert!(!after(vec![odd.clone(), odd], 10).is_empty());
            }
        }
    }
}
