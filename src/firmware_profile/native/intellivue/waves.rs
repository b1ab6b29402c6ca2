//! Waves: runs of samples that follow one another without a gap become one array; nothing is stretched or filled in.

use super::super::{Spoken, Statement, absent};
use super::value;
use super::{Context, Instant};
use crate::device::{
    AbsentReason, Containment, Decimal, Finding, MeasurementStatus, MetricClass, Moment, Unit, Value,
};
use crate::firmware_profile::finding;
use crate::wire::intellivue::message::Cursor;

/// Ticks of the monitor's clock are 1/8 ms.
const TICK_MICROS: i64 = 125;
/// In the sample specification: the bits that are not significant must be masked.
const MASKED: u16 = 0x1000;
/// Marks in the fixed-value specification that mean that a sample has no value. Both are masks, whatever the second is
/// called; a sample is marked when all bits of a mask are set. Marks of pacer, defibrillator and QRS leave it a value.
const INVALID: u16 = 1;
const SATURATED: u16 = 4;

/// How the samples of one object are to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Reading {
    wide: bool,
    significant: u16,
    /// Marks of samples without a value.
    gaps: [u16; 2],
    origin: Decimal,
    factor: Decimal,
    ticks: u32,
}

/// An array that may still grow.
struct Run {
    place: (u16, u16),
    physio: u16,
    reading: Reading,
    unit: Option<Unit>,
    status: MeasurementStatus,
    text: String,
    /// Tick at which the next sample is due, and at which the last ones began.
    next: u32,
    last: Option<u32>,
    taken: Option<Moment>,
    samples: Vec<Option<i32>>,
}

/// The runs of one frame.
#[derive(Default)]
pub(super) struct Runs {
    open: Vec<Run>,
    done: Vec<Statement>,
}

impl Runs {
    /// Adds one observed value (SaObsValue): physiological id, state, samples.
    pub(super) fn add(
        &mut self,
        cursor: &mut Cursor<'_>,
        place: (u16, u16),
        context: &Context,
        at: &Instant,
        demo: bool,
        findings: &mut Vec<Finding>,
    ) -> Option<()> {
        let (physio, state) = (cursor.u16()?, cursor.u16()?);
        let bytes = cursor.sized()?;
        let (mut status, reason) = value::state(state);
        status.demo_data |= demo;
        let text = context.label_text.clone().unwrap_or_default();
        status.off |= context.off;
        let reading = match (reason, Reading::new(context)) {
            (Some(reason), _) => Err(reason),
            (None, _) if context.off => Err(AbsentReason::NotPerformed),
            (None, Some(reading)) => Ok(reading),
            (None, None) => {
                let text =
                    "How to read the samples of a wave was not said yet; they are kept and not delivered.";
                findings.push(finding("no-wave-scale", format!("wave {physio:04x}"), text));
                Err(AbsentReason::TempUnknown)
            }
        };
        match reading {
            Err(reason) => {
                self.close(|run| run.place == place && run.physio == physio);
                let mut statement = statement(physio, place, text, absent(reason), status);
                statement.taken.clone_from(&at.moment);
                statement.unit = context.unit();
                self.absent_once(statement);
            }
            Ok(reading) => {
                let run = self.run(Run::new(place, physio, reading, context.unit(), status, text, at));
                run.take(bytes, at.ticks);
            }
        }
        Some(())
    }

    /// The run that `new` goes on with, or `new` itself.
    fn run(&mut self, new: Run) -> &mut Run {
        let same = |run: &Run| run.place == new.place && run.physio == new.physio;
        let goes_on = self.open.iter().find(|run| same(run)).is_some_and(|run| run.goes_on_with(&new));
        if !goes_on {
            self.close(same);
            self.open.push(new);
            let last = self.open.len() - 1;
            return self.at(last);
        }
        let found = self.open.iter().position(same).unwrap_or_default();
        self.at(found)
    }

    #[allow(clippy::indexing_slicing, reason = "the position was just found")]
    fn at(&mut self, at: usize) -> &mut Run {
        &mut self.open[at]
    }

    /// A wave that is absent is said to be absent once in a frame.
    fn absent_once(&mut self, statement: Statement) {
        let said = |before: &&Statement| {
            before.code == statement.code
                && before.containment == statement.containment
                && before.status == statement.status
                && matches!(before.value, Spoken::Value(Value::Absent(_)))
        };
        if self.done.iter().rev().find(said).is_none() {
            self.done.push(statement);
        }
    }

    fn close(&mut self, which: impl Fn(&Run) -> bool) {
        let (closed, open): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.open).into_iter().partition(|run| which(run));
        self.open = open;
        self.done.extend(closed.into_iter().map(Run::statement));
    }

    /// Every run as a statement.
    pub(super) fn finish(&mut self) -> Vec<Statement> {
        self.close(|_| true);
        std::mem::take(&mut self.done)
    }
}

impl Reading {
    fn new(context: &Context) -> Option<Self> {
        let mut specification = Cursor(context.samples.as_deref()?);
        specification.u16()?;
        let (size, significant) = (specification.u8()?, specification.u8()?);
        let flags = specification.u16()?;
        let wide = match size {
            16 => true,
            8 => false,
            _ => return None,
        };
        let mask = u16::MAX.checked_shr(16u32.saturating_sub(significant.into())).unwrap_or(0);
        let significant = if flags & MASKED != 0 { mask } else { u16::MAX };
        let ticks = context.period.filter(|ticks| *ticks > 0)?;
        let (origin, factor) = scale(context.scale.as_deref()?)?;
        let mut gaps = [0; 2];
        if let Some((count, mut marks)) = context.fixed.as_deref().and_then(|fixed| Cursor(fixed).list()) {
            for _ in 0..count {
                let (Some(id), Some(mark)) = (marks.u16(), marks.u16()) else { break };
                match id {
                    INVALID => gaps[0] = mark,
                    SATURATED => gaps[1] = mark,
                    _ => {}
                }
            }
        }
        Some(Self { wide, significant, gaps, origin, factor, ticks })
    }

    fn sample(&self, raw: u16) -> Option<i32> {
        let gap = self.gaps.iter().any(|mark| *mark != 0 && raw & mark == *mark);
        (!gap).then(|| i32::from(raw & self.significant))
    }
}

/// Origin and factor of a ScaleRangeSpec16; a wave without absolute values stays as it is.
fn scale(specification: &[u8]) -> Option<(Decimal, Decimal)> {
    let mut cursor = Cursor(specification);
    let (lower, upper) = (value::float(cursor.u32()?), value::float(cursor.u32()?));
    let (low, high) = (i128::from(cursor.u16()?), i128::from(cursor.u16()?));
    let (Ok(lower), Ok(upper)) = (lower, upper) else {
        return Some((Decimal::new(0, 0), Decimal::new(1, 0)));
    };
    let minus = |number: Decimal| Decimal::new(-number.mantissa, number.exponent);
    let factor = value::quotient(upper.plus(minus(lower))?, high - low)?;
    let origin = lower.plus(minus(factor.times(Decimal::new(low, 0))?))?;
    Some((value::trimmed(origin), factor))
}

impl Run {
    fn new(
        place: (u16, u16),
        physio: u16,
        reading: Reading,
        unit: Option<Unit>,
        status: MeasurementStatus,
        text: String,
        at: &Instant,
    ) -> Self {
        let (ticks, taken) = (at.ticks, at.moment.clone());
        Self {
            place,
            physio,
            reading,
            unit,
            status,
            text,
            next: ticks,
            last: None,
            taken,
            samples: Vec::new(),
        }
    }

    /// A run of another scale, unit or state is another run, and so is one that begins a sample too late.
    fn goes_on_with(&self, new: &Self) -> bool {
        let same = self.reading == new.reading && self.unit == new.unit && self.status == new.status;
        // The clock runs over after six days.
        let off = new.next.wrapping_sub(self.next).min(self.next.wrapping_sub(new.next));
        same && (off < self.reading.ticks || self.last == Some(new.next))
    }

    fn take(&mut self, bytes: &[u8], ticks: u32) {
        if self.last == Some(ticks) {
            // A datagram that came twice.
            return;
        }
        let reading = &self.reading;
        if reading.wide {
            let raw = bytes.as_chunks::<2>().0.iter().map(|pair| u16::from_be_bytes(*pair));
            self.samples.extend(raw.map(|raw| reading.sample(raw)));
        } else {
            self.samples.extend(bytes.iter().map(|raw| reading.sample(u16::from(*raw))));
        }
        let count = bytes.len() / if reading.wide { 2 } else { 1 };
        let span = u32::try_from(count).unwrap_or(u32::MAX).wrapping_mul(reading.ticks);
        self.last = Some(ticks);
        self.next = ticks.wrapping_add(span);
    }

    fn statement(self) -> Statement {
        let count = i64::try_from(self.samples.len()).unwrap_or(i64::MAX);
        let micros = count.saturating_mul(i64::from(self.reading.ticks)).saturating_mul(TICK_MICROS);
        let until =
            self.taken.clone().map(|taken| Moment { micros: taken.micros.saturating_add(micros), ..taken });
        let period_ms = value::trimmed(Decimal::new(i128::from(self.reading.ticks) * 125, -3));
        let value = if self.samples.iter().all(Option::is_none) {
            absent(AbsentReason::Error)
        } else {
            Spoken::Value(Value::SampleArray {
                origin: self.reading.origin,
                factor: self.reading.factor,
                period_ms,
                unit: self.unit.clone(),
                samples: self.samples,
            })
        };
        let mut statement = statement(self.physio, self.place, self.text, value, self.status);
        statement.unit = self.unit;
        statement.taken = self.taken;
        statement.until = until;
        statement
    }
}

fn statement(
    physio: u16,
    place: (u16, u16),
    text: String,
    value: Spoken,
    status: MeasurementStatus,
) -> Statement {
    let (code, system) = value::code(value::PARTITION_METRICS, physio);
    let mut statement = Statement::new(code, system, value);
    statement.text = text;
    statement.status = status;
    statement.class = Some(MetricClass::Waveform);
    statement.containment = Some(containment(place));
    statement.place = format!("wave {physio:04x}");
    statement
}

/// Naming context and handle: which VMD and channel lie between them the protocol does not say.
pub(super) fn containment((context, handle): (u16, u16)) -> Containment {
    Containment { mds: u32::from(context), metric: u32::from(handle), ..Containment::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(fixed: &[u16]) -> Context {
        let bytes = |words: &[u16]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
        let count = u16::try_from(fixed.len() / 2).unwrap();
        let length = u16::try_from(fixed.len() * 2).unwrap();
        Context {
            samples: Some(vec![0, 4, 16, 14, 0x30, 0]),
            scale: Some([0xFEFF_F000_u32, 0xFD00_9FFB, 16_383].map(u32::to_be_bytes).concat()),
            period: Some(16),
            fixed: Some([bytes(&[count, length]), bytes(fixed)].concat()),
            ..Context::default()
        }
    }

    #[test]
    fn a_sample_is_absent_only_where_all_bits_of_a_mask_of_absence_are_set() {
        let reading = Reading::new(&context(&[4, 0x8000, 3, 0x4001, 2, 0x8004])).unwrap();
        for (raw, said) in [
            (0x0000, Some(0)),
            (0x2000, Some(0x2000)),
            (0x3FFF, Some(0x3FFF)),
            (0x4001, Some(1)),
            (0x8000, None),
            (0xBFFF, None),
        ] {
            assert_eq!(reading.sample(raw), said, "{raw:04x}");
        }
        let reading = Reading::new(&context(&[1, 0x6000])).unwrap();
        for (raw, said) in [(0x4000, Some(0)), (0x2000, Some(0x2000)), (0x6000, None), (0xE001, None)] {
            assert_eq!(reading.sample(raw), said, "{raw:04x}");
        }
        let unmarked = Reading::new(&context(&[])).unwrap();
        assert_eq!(unmarked.sample(0xFFFF), Some(0x3FFF));
    }

    #[test]
    fn a_scale_gives_the_values_at_both_of_its_ends_and_half_a_specification_gives_none() {
        let reading = Reading::new(&context(&[])).unwrap();
        let at = |raw| {
            let above = reading.factor.times(Decimal::new(raw, 0)).unwrap();
            value::trimmed(reading.origin.plus(above).unwrap()).to_string()
        };
        assert_eq!((at(0), at(16_383)), ("-40.96".into(), "40.955".into()));
        for broken in [
            Context { period: None, ..context(&[]) },
            Context { period: Some(0), ..context(&[]) },
            Context { scale: Some(vec![0; 11]), ..context(&[]) },
            Context { samples: Some(vec![0, 4, 12, 12, 0, 0]), ..context(&[]) },
        ] {
            assert!(Reading::new(&broken).is_none());
        }
    }
}
