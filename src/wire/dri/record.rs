//! Datex-Ohmeda records: a 40-byte header that describes up to eight subrecords, little endian, between 7E flags,
//! with 7D as escape and an 8-bit sum at the end.

use serde::Deserialize;

/// Begins and ends a record.
pub const FLAG: u8 = 0x7E;
const ESCAPE: u8 = 0x7D;
/// The bit an escaped byte is sent without.
const BIT_5: u8 = 0x20;
/// Length of the record header.
pub const HEADER: usize = 40;
/// The type that ends the list of subrecords.
const END_OF_LIST: u8 = 0xFF;
const SUBRECORDS_MAX: usize = 8;

/// Main type 0: physiological values and requests for them.
pub const MAIN_PHYSIOLOGICAL: u16 = 0;
/// Main type 1: waveforms and requests for them.
pub const MAIN_WAVE: u16 = 1;
/// Main type 4: alarm status.
pub const MAIN_ALARM: u16 = 4;

/// A waveform subrecord, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wave {
    Ecg1,
    Ecg2,
    Ecg3,
    Invp1,
    Invp2,
    Invp3,
    Invp4,
    Pleth,
    Co2,
    O2,
    N2o,
    Agent,
    Awp,
    Resp,
    Invp5,
    Invp6,
}

impl Wave {
    /// The subrecord type.
    pub const fn number(self) -> u8 {
        match self {
            Self::Ecg1 => 1,
            Self::Ecg2 => 2,
            Self::Ecg3 => 3,
            Self::Invp1 => 4,
            Self::Invp2 => 5,
            Self::Invp3 => 6,
            Self::Invp4 => 7,
            Self::Pleth => 8,
            Self::Co2 => 9,
            Self::O2 => 10,
            Self::N2o => 11,
            Self::Agent => 12,
            Self::Awp => 13,
            Self::Resp => 15,
            Self::Invp5 => 16,
            Self::Invp6 => 17,
        }
    }
}

/// Everything that can be sent to a monitor: requests to transmit, and to stop.
#[derive(Debug)]
pub(super) enum Command<'a> {
    DisplayedValues { interval_s: u16 },
    StopDisplayedValues,
    StartWaves(&'a [Wave]),
    StopWaves,
}

impl Command<'_> {
    /// The request as it goes over the line.
    pub(super) fn frame(&self) -> Vec<u8> {
        let (main, body) = match self {
            Self::DisplayedValues { interval_s } => {
                // Basic values come unless denied; the bits add the extended classes 1, 2 and 3.
                (MAIN_PHYSIOLOGICAL, displayed(*interval_s, 0x0E))
            }
            Self::StopDisplayedValues => (MAIN_PHYSIOLOGICAL, displayed(0, 0)),
            Self::StartWaves(waves) => (MAIN_WAVE, wave_request(0, waves)),
            Self::StopWaves => (MAIN_WAVE, wave_request(1, &[])),
        };
        // Subrecord type 0 is the request in every main type.
        framed(&encode(0, 0, main, &[(0, 0)], &body))
    }
}

fn displayed(interval_s: u16, classes: u32) -> Vec<u8> {
    let mut body = vec![1];
    body.extend(interval_s.to_le_bytes());
    body.extend(classes.to_le_bytes());
    body.extend([0, 0]);
    body
}

fn wave_request(kind: u16, waves: &[Wave]) -> Vec<u8> {
    let mut body = kind.to_le_bytes().to_vec();
    body.extend([0, 0]);
    let listed = waves.iter().map(|wave| wave.number()).chain(std::iter::repeat(END_OF_LIST));
    body.extend(listed.take(SUBRECORDS_MAX));
    body.extend([0; 20]);
    body
}

/// A record with this main type; `subrecords` are offsets into `body` with their types.
pub fn encode(number: u8, time: u32, main: u16, subrecords: &[(u16, u8)], body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(HEADER + body.len()).unwrap_or(u16::MAX);
    let mut record = length.to_le_bytes().to_vec();
    record.extend([number, 0, 0, 0]);
    record.extend(time.to_le_bytes());
    record.extend([0; 4]);
    record.extend(main.to_le_bytes());
    for at in 0..SUBRECORDS_MAX {
        let none = if at == subrecords.len() { END_OF_LIST } else { 0 };
        let (offset, kind) = subrecords.get(at).copied().unwrap_or((0, none));
        record.extend(offset.to_le_bytes());
        record.push(kind);
    }
    record.extend_from_slice(body);
    record
}

/// A record as it goes over the line: flags, escapes, sum.
pub fn framed(record: &[u8]) -> Vec<u8> {
    let sum = record.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    let mut line = vec![FLAG];
    for byte in record.iter().copied().chain([sum]) {
        if matches!(byte, FLAG | ESCAPE) {
            line.extend([ESCAPE, byte & !BIT_5]);
        } else {
            line.push(byte);
        }
    }
    line.push(FLAG);
    line
}

/// The record between two flags, without escapes and sum; `None` when the sum is wrong.
pub(super) fn unstuffed(line: &[u8]) -> Option<Vec<u8>> {
    let mut record = Vec::with_capacity(line.len());
    let mut escaped = false;
    for byte in line {
        match (escaped, *byte) {
            (false, ESCAPE) => escaped = true,
            (true, byte) => {
                record.push(byte | BIT_5);
                escaped = false;
            }
            (false, byte) => record.push(byte),
        }
    }
    let sum = record.pop().filter(|_| !escaped)?;
    let own = record.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    (own == sum).then_some(record)
}

/// The records in a kept frame, in order; `Err` for one whose sum is wrong.
pub fn records(bytes: &[u8]) -> impl Iterator<Item = Result<Vec<u8>, ()>> {
    bytes.split(|byte| *byte == FLAG).filter(|line| !line.is_empty()).map(|line| unstuffed(line).ok_or(()))
}

/// A record with a header that makes sense.
#[derive(Clone, Copy, Debug)]
pub struct Record<'r> {
    /// Seconds since 1970-01-01 on the clock of the monitor, when it was sent.
    pub time: u32,
    pub main: u16,
    /// Version of the record interface the monitor speaks.
    pub level: u8,
    /// Plug identifier of the monitor.
    pub plug: u16,
    descriptors: &'r [u8],
    body: &'r [u8],
}

impl<'r> Record<'r> {
    /// Reads the header; `None` when the record is shorter than it says.
    pub fn parse(record: &'r [u8]) -> Option<Self> {
        let length = usize::from(u16_at(record, 0)?);
        let whole = record.get(..length)?;
        Some(Self {
            time: u32_at(whole, 6)?,
            main: u16_at(whole, 14)?,
            level: *whole.get(3)?,
            plug: u16_at(whole, 4)?,
            descriptors: whole.get(16..HEADER)?,
            body: whole.get(HEADER..)?,
        })
    }

    /// Each subrecord's type and its bytes, up to where the next one begins.
    pub fn subrecords(&self) -> impl Iterator<Item = (u8, &'r [u8])> + use<'r> {
        let body = self.body;
        let described: Vec<(usize, u8)> = self
            .descriptors
            .chunks_exact(3)
            .map(|one| (usize::from(u16_at(one, 0).unwrap_or(0)), one.get(2).copied().unwrap_or(END_OF_LIST)))
            .take_while(|(_, kind)| *kind != END_OF_LIST)
            .collect();
        let starts: Vec<usize> = described.iter().map(|(offset, _)| *offset).collect();
        described.into_iter().map(move |(offset, kind)| {
            let next = starts.iter().copied().filter(|start| *start > offset).min().unwrap_or(body.len());
            (kind, body.get(offset..next.min(body.len())).unwrap_or_default())
        })
    }
}

/// The unsigned 16-bit number at `at`, little endian.
pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|pair| u16::from_le_bytes(*pair))
}

/// The signed 16-bit number at `at`, little endian.
pub fn i16_at(bytes: &[u8], at: usize) -> Option<i16> {
    bytes.get(at..)?.first_chunk().map(|pair| i16::from_le_bytes(*pair))
}

/// The unsigned 32-bit number at `at`, little endian.
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|four| u32::from_le_bytes(*four))
}
