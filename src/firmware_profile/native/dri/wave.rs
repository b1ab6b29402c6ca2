//! Waveform subrecords: 16-bit samples at rates the specification fixes. Records that follow each other without a
//! gap are one sample array.

use std::borrow::Cow;

use super::super::{Spoken, Statement};
use super::{containment, reason};
use crate::device::{Decimal, Finding, MDC, MetricClass, Moment, Unit, Value};
use crate::firmware_profile::finding;
use crate::wire::dri::record::{Record, i16_at, u16_at};

/// Samples begin after their count, status and a reserved word.
const HEADER: usize = 6;
/// Status bits of a subrecord.
const GAP: u16 = 0x0001;
const PACER: u16 = 0x0004;
const LEAD_OFF: u16 = 0x0008;
/// More samples than a minute of the fastest wave.
const SAMPLES_MAX: usize = 40_000;

struct Kind {
    number: u8,
    /// An MDC number, or our own name where none is certain.
    code: &'static str,
    label: &'static str,
    samples_per_s: u32,
    exponent: i16,
    unit: &'static str,
    place: (u32, u32),
}

const fn kind(
    number: u8,
    code: &'static str,
    label: &'static str,
    samples_per_s: u32,
    scale: (i16, &'static str),
    place: (u32, u32),
) -> Kind {
    Kind { number, code, label, samples_per_s, exponent: scale.0, unit: scale.1, place }
}

const MMHG: (i16, &str) = (-2, "mm[Hg]");
const PERCENT: (i16, &str) = (-2, "%");

const KINDS: &[Kind] = &[
    kind(1, "131328", "ECG", 300, (0, "uV"), (1, 1)),
    kind(2, "131328", "ECG", 300, (0, "uV"), (1, 2)),
    kind(3, "131328", "ECG", 300, (0, "uV"), (1, 3)),
    kind(4, "wave.p", "Invasive pressure wave", 100, MMHG, (2, 1)),
    kind(5, "wave.p", "Invasive pressure wave", 100, MMHG, (2, 2)),
    kind(6, "wave.p", "Invasive pressure wave", 100, MMHG, (2, 3)),
    kind(7, "wave.p", "Invasive pressure wave", 100, MMHG, (2, 4)),
    kind(8, "150452", "Plethysmogram", 100, PERCENT, (5, 1)),
    kind(9, "wave.co2", "CO2 wave", 25, PERCENT, (6, 1)),
    kind(10, "wave.o2", "O2 wave", 25, PERCENT, (6, 2)),
    kind(11, "wave.n2o", "N2O wave", 25, PERCENT, (6, 3)),
    kind(12, "wave.agent", "Agent wave", 25, PERCENT, (6, 4)),
    kind(13, "wave.awp", "Airway pressure wave", 25, (-1, "cm[H2O]"), (7, 1)),
    kind(15, "151552", "Respiration wave", 25, (-2, "Ohm"), (1, 4)),
    kind(16, "wave.p", "Invasive pressure wave", 100, MMHG, (2, 5)),
    kind(17, "wave.p", "Invasive pressure wave", 100, MMHG, (2, 6)),
];

/// One array while it grows.
struct Array {
    kind: &'static Kind,
    taken: Option<Moment>,
    samples: Vec<Option<i32>>,
    pacer: bool,
    place: String,
}

/// The sample arrays of a frame.
#[derive(Default)]
pub(super) struct Waves {
    done: Vec<Array>,
    open: Vec<Array>,
}

impl Waves {
    pub(super) fn take(
        &mut self,
        record: &Record<'_>,
        sent: Option<&Moment>,
        place: &str,
        findings: &mut Vec<Finding>,
    ) {
        for (number, bytes) in record.subrecords() {
            let Some(kind) = KINDS.iter().find(|kind| kind.number == number) else {
                let text = format!("Waveform {number} is not read: its scale is not certain.");
                findings.push(finding("other-wave", place, text));
                continue;
            };
            let (Some(count), Some(status)) = (u16_at(bytes, 0), u16_at(bytes, 2)) else { continue };
            let all: Option<Vec<i16>> =
                (0..usize::from(count)).map(|at| i16_at(bytes, HEADER + 2 * at)).collect();
            let Some(all) = all else {
                findings.push(finding(
                    "cut-record",
                    place,
                    "A waveform is shorter than it says; it is left out.",
                ));
                continue;
            };
            let off = status & LEAD_OFF != 0;
            let samples = all
                .into_iter()
                .map(|raw| (!off && reason(raw).is_none() && raw > -32000).then(|| raw.into()));
            self.append(kind, status, samples.collect(), sent, place);
        }
    }

    fn append(
        &mut self,
        kind: &'static Kind,
        status: u16,
        samples: Vec<Option<i32>>,
        sent: Option<&Moment>,
        place: &str,
    ) {
        let at = self.open.iter().position(|array| array.kind.number == kind.number);
        let grows = |array: &Array| status & GAP == 0 && array.samples.len() + samples.len() <= SAMPLES_MAX;
        if let Some(at) = at {
            if let Some(array) = self.open.get_mut(at).filter(|array| grows(array)) {
                array.samples.extend(samples);
                array.pacer |= status & PACER != 0;
                return;
            }
            self.done.push(self.open.remove(at));
        }
        // The record is sent when its last sample was taken.
        let length_us = i64::try_from(samples.len()).unwrap_or(0) * 1_000_000 / i64::from(kind.samples_per_s);
        let taken = sent.map(|sent| Moment { micros: sent.micros - length_us, ..sent.clone() });
        let pacer = status & PACER != 0;
        self.open.push(Array { kind, taken, samples, pacer, place: place.to_owned() });
    }

    pub(super) fn statements(mut self) -> impl Iterator<Item = Statement> {
        self.done.append(&mut self.open);
        self.done.into_iter().filter(|array| !array.samples.is_empty()).map(Array::statement)
    }
}

impl Array {
    fn statement(self) -> Statement {
        let kind = self.kind;
        let value = Value::SampleArray {
            origin: Decimal::new(0, 0),
            factor: Decimal::new(1, kind.exponent),
            period_ms: period_ms(kind.samples_per_s),
            unit: Some(Unit { ucum: kind.unit.into(), display: kind.unit.into() }),
            samples: self.samples,
        };
        let system = if kind.code.starts_with("wave.") { "" } else { MDC };
        let mut statement = Statement::new(Cow::Borrowed(kind.code), system, Spoken::Value(value));
        statement.text = kind.label.into();
        statement.class = Some(MetricClass::Waveform);
        statement.containment = Some(containment(kind.place.0, kind.place.1));
        statement.taken = self.taken;
        statement.place = self.place;
        statement.note = self.pacer.then(|| "The monitor detected a pacemaker.".into());
        statement
    }
}

/// 1000 / rate, to six digits where it does not come out even.
fn period_ms(samples_per_s: u32) -> Decimal {
    match samples_per_s {
        25 => Decimal::new(40, 0),
        100 => Decimal::new(10, 0),
        rate => Decimal::new(1_000_000_000 / i128::from(rate.max(1)), -6),
    }
}
