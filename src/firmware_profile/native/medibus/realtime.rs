//! The realtime extension: which streams there are, and their samples (Protocol Definition, "MEDIBUS
//! Realtime-Extension Realtime-Data Records").
//!
//! A record begins with a sync byte `D0`–`DF`, whose low bits say which of streams 1 to 4 it holds; sync commands `C4` and
//! `C5` say so for 5 to 8 and 9 to 12. A value is two bytes `80`–`BF` of six bits each, the low ones first.

use super::super::{Spoken, Statement};
use super::{names, statement};
use crate::device::{Decimal, Finding, MetricClass, Moment, Value};
use crate::firmware_profile::finding;
use crate::wire::medibus::{Kind, Message};

const STREAMS: usize = 12;
/// Bytes of an entry of the table of streams: code, interval in µs, minimum, maximum, largest binary value.
const ENTRY: usize = 23;
/// More samples than this in one frame are not believed.
const SAMPLES_MAX: usize = 100_000;

struct Entry {
    code: String,
    interval_us: Decimal,
    low: Decimal,
    high: Decimal,
    largest: i32,
}

/// The realtime part of a frame.
#[derive(Default)]
pub(super) struct Streams {
    table: Vec<Entry>,
    /// Code and multiple of the interval of each stream, from stream 1 on.
    chosen: Vec<(String, i128)>,
    /// Which streams the record holds.
    mask: u16,
    /// First byte of a pair.
    half: Option<u8>,
    values: Vec<i32>,
    open: bool,
    corrupt: bool,
    samples: [Vec<Option<i32>>; STREAMS],
    count: usize,
    broken_table: bool,
}

impl Streams {
    /// Takes the device's table (`S`) and the host's choice (`T`).
    pub(super) fn hear(&mut self, message: &Message) {
        match (message.kind, message.code) {
            (Kind::Reply, b'S') => {
                let entries = message.text.chunks(ENTRY).map(entry);
                self.table = entries.clone().flatten().collect();
                self.broken_table |= entries.into_iter().any(|entry| entry.is_none());
            }
            (Kind::Command, b'T') => {
                let choice = |part: &[u8]| {
                    let multiple = std::str::from_utf8(part.get(2..4)?).ok()?;
                    let multiple = i128::from_str_radix(multiple, 16).ok()?.max(1);
                    Some((super::code_of(part.get(..2)?)?, multiple))
                };
                self.chosen = message.text.chunks(4).map_while(choice).take(STREAMS).collect();
            }
            _ => {}
        }
    }

    pub(super) fn byte(&mut self, byte: u8) {
        match (self.half.take(), byte) {
            (_, 0xd0..=0xdf) => {
                self.close();
                (self.mask, self.open) = (u16::from(byte & 0x0f), true);
            }
            (None, _) => self.half = Some(byte),
            (Some(first @ 0x80..=0xbf), 0x80..=0xbf) => {
                self.values.push(i32::from(first & 0x3f) | i32::from(byte & 0x3f) << 6);
            }
            (Some(0xc4), argument) => self.mask |= u16::from(argument & 0x0f) << 4,
            (Some(0xc5), argument) => self.mask |= u16::from(argument & 0x0f) << 8,
            (Some(0xcf), _) => self.corrupt = true,
            // Start of a breath, and commands that say nothing of the samples.
            (Some(0xc0..=0xce), _) => {}
            // Half a value is none; this byte begins the next pair.
            (Some(_), _) => {
                self.corrupt = true;
                self.half = Some(byte);
            }
        }
    }

    /// Ends a record. Streams that should have been in it and were not have a gap.
    fn close(&mut self) {
        let values = std::mem::take(&mut self.values);
        let corrupt = std::mem::take(&mut self.corrupt);
        let mut values = values.into_iter();
        if !std::mem::take(&mut self.open) {
            return;
        }
        for (at, samples) in self.samples.iter_mut().enumerate() {
            if self.mask & 1 << at != 0 && self.count < SAMPLES_MAX {
                samples.push(values.next().filter(|_| !corrupt));
                self.count += 1;
            }
        }
    }

    /// The samples of each stream; they end at `now`.
    pub(super) fn statements(mut self, now: &Moment, findings: &mut Vec<Finding>) -> Vec<Statement> {
        self.close();
        if self.broken_table {
            let text = "An entry of the table of realtime streams cannot be read.";
            findings.push(finding("bad-record", "rt", text));
        }
        let mut statements = Vec::new();
        for (at, samples) in std::mem::take(&mut self.samples).into_iter().enumerate() {
            if samples.iter().all(Option::is_none) {
                continue;
            }
            let chosen = self.chosen.get(at);
            let entry = chosen.and_then(|(code, _)| self.table.iter().find(|entry| entry.code == *code));
            match chosen.zip(entry) {
                Some(((_, multiple), entry)) => statements.extend(array(entry, *multiple, samples, now)),
                None => {
                    let text = "Realtime data without their table or choice of streams; they are left out.";
                    findings.push(finding("unknown-stream", format!("rt stream {}", at + 1), text));
                }
            }
        }
        statements
    }
}

fn entry(bytes: &[u8]) -> Option<Entry> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() == ENTRY)?;
    let number = |from: usize, to: usize| {
        let field: String = text.get(from..to)?.split_whitespace().collect();
        field.parse::<Decimal>().ok()
    };
    let entry = Entry {
        code: super::code_of(text.get(..2)?.as_bytes())?,
        interval_us: number(2, 10)?,
        low: number(10, 15)?,
        high: number(15, 20)?,
        largest: i32::from_str_radix(text.get(20..23)?.trim(), 16).ok()?,
    };
    (entry.largest > 0 && entry.interval_us.mantissa > 0).then_some(entry)
}

/// Physical value = low + raw × (high − low) ÷ largest.
fn array(entry: &Entry, multiple: i128, samples: Vec<Option<i32>>, now: &Moment) -> Option<Statement> {
    let span = entry.high.plus(entry.low.times(Decimal::new(-1, 0))?)?;
    let fine = span.times(Decimal::new(1_000_000_000_000, -12))?;
    let factor = Decimal::new(fine.mantissa / i128::from(entry.largest), fine.exponent);
    let period_us = entry.interval_us.times(Decimal::new(multiple, 0))?;
    let period_ms = trimmed(period_us.times(Decimal::new(1, -3))?);
    let whole = period_us.times(Decimal::new(i128::try_from(samples.len()).ok()?, 0))?.rounded(0);
    let lasts = whole.mantissa.checked_mul(10i128.checked_pow(u32::try_from(whole.exponent).ok()?)?)?;
    let taken = Moment { micros: now.micros.saturating_sub(i64::try_from(lasts).ok()?), ..now.clone() };
    let (label, unit) = names::stream(&entry.code).unwrap_or_default();
    // A raw value beyond the largest is none.
    let samples = samples.into_iter().map(|raw| raw.filter(|raw| *raw <= entry.largest)).collect();
    let unit = names::unit(unit);
    let value = Value::SampleArray {
        origin: entry.low,
        factor: trimmed(factor),
        period_ms,
        unit: unit.clone(),
        samples,
    };
    Some(Statement {
        unit,
        class: Some(MetricClass::Waveform),
        taken: Some(taken),
        until: Some(now.clone()),
        ..statement("rt", &entry.code, label, Spoken::Value(value))
    })
}

/// Without zeros at the end: `16.000` → `16`.
fn trimmed(mut number: Decimal) -> Decimal {
    while number.exponent < 0 && number.mantissa % 10 == 0 {
        number = Decimal::new(number.mantissa / 10, number.exponent + 1);
    }
    number
}
