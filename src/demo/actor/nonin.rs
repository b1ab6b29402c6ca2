//! A Nonin oximeter on a patient at rest: formats 2 and 7 (75 frames of plethysmogram and values a second), 8 (a packet a
//! second) and 13 (a spot check), as the OEM III, Xpod and 3230 specifications have them.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::{Message, Said, Speaker, Told};
use crate::clock::Timestamp;
use crate::demo::template::Dice;
use crate::wire::nonin::{FRAMES, Format};

const ACK: u8 = 0x06;
const NAK: u8 = 0x15;
/// Samples of one pulse wave at rest, of 255.
const PULSE: [u8; 20] =
    [90, 120, 165, 205, 230, 240, 232, 214, 196, 184, 178, 172, 160, 146, 132, 120, 110, 102, 96, 92];
/// Samples a second.
const RATE: u32 = 75;

/// Values that walk, and the packets that tell them.
#[derive(Clone, Debug)]
pub struct Oximeter {
    format: Format,
    dice: Dice,
    pulse: u16,
    saturation: u8,
    /// Place within the pulse wave, in 1/(RATE·60) of its length.
    phase: u32,
}

impl Oximeter {
    /// One in this data format; the seed decides the walk.
    pub fn new(format: Format, seed: u64) -> Self {
        Self { format, dice: Dice(seed | 1), pulse: 72, saturation: 97, phase: 0 }
    }

    /// The next second, or the next spot check.
    pub fn next(&mut self, now: Timestamp) -> Vec<u8> {
        let (up, down) = (self.dice.below(3), self.dice.below(3));
        self.pulse = (self.pulse + u16::from(up == 0) - u16::from(down == 0)).clamp(58, 96);
        let (up, down) = (self.dice.below(4), self.dice.below(4));
        self.saturation = (self.saturation + u8::from(up == 0) - u8::from(down == 0)).clamp(94, 99);
        let (high, low) = self.split();
        match self.format {
            Format::Two | Format::Seven => (0..3).flat_map(|_| self.packet()).collect(),
            Format::Eight => vec![0x80 | high, low, self.saturation, 0x20],
            Format::Thirteen => self.spot_check(now),
        }
    }

    /// Pulse rates have two low bits of a byte and seven of the next.
    fn split(&self) -> (u8, u8) {
        let byte = |value: u16| u8::try_from(value & 0x7f).unwrap_or(0);
        (byte(self.pulse >> 7), byte(self.pulse))
    }

    fn packet(&mut self) -> Vec<u8> {
        let (high, low) = self.split();
        let mut bytes = Vec::new();
        for frame in 1..=FRAMES {
            let number = match frame {
                1 | 14 | 20 | 22 => high,
                2 | 15 | 21 | 23 => low,
                3 | 9 | 10 | 11 | 16 | 17 => self.saturation,
                4 => 0x30,
                8 => 0x20,
                _ => 0,
            };
            let status = 0x80 | u8::from(frame == 1);
            let sample = self.sample();
            let mut four = match self.format {
                Format::Two => vec![0x01, status, sample, number],
                _ => vec![status, sample, 0, number],
            };
            four.push(four.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte)));
            bytes.extend(four);
        }
        bytes
    }

    fn sample(&mut self) -> u8 {
        let whole = RATE * 60;
        self.phase = (self.phase + u32::from(self.pulse)) % whole;
        let at = usize::try_from(self.phase).unwrap_or(0) * PULSE.len() / usize::try_from(whole).unwrap_or(1);
        PULSE.get(at).copied().unwrap_or(100)
    }

    fn spot_check(&self, now: Timestamp) -> Vec<u8> {
        let at = jiff::Timestamp::from_microsecond(now.micros).unwrap_or_default().to_zoned(TimeZone::UTC);
        // Binary coded decimals: century, year, month, day, hour, minute, second, hundredths.
        let digits = at.strftime("%Y%m%d%H%M%S00").to_string();
        let pairs = digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap_or("00"));
        let mut data: Vec<u8> = pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap_or(0)).collect();
        let [high, low] = self.pulse.to_be_bytes();
        data.extend([0x02, 0x00, high, low, 0x00, self.saturation]);
        let sum = data.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        let length = u8::try_from(data.len()).unwrap_or(0);
        [&[0x00, 0x02, 0x00, 0x0d, 0x00, length], data.as_slice(), &[sum, 0x03]].concat()
    }
}

/// An oximeter's side of the line: sends by itself, and says ACK to the choice of a format.
#[derive(Debug)]
pub(super) struct Probe {
    /// Spot checks are said again until they are acknowledged.
    acknowledged: bool,
    until: Option<Duration>,
    out: VecDeque<Said>,
}

impl Probe {
    pub(super) const fn new(acknowledged: bool) -> Self {
        Self { acknowledged, until: None, out: VecDeque::new() }
    }
}

impl Speaker for Probe {
    fn open(&mut self, _now: Duration) {
        if self.until.take().is_some() {
            self.out.push_back(Said::Told(Told::Again("the line was lost".into())));
        }
    }

    fn say(&mut self, message: &Message, now: Duration) {
        self.out.push_back(Said::Send(message.bytes.clone()));
        if self.acknowledged {
            self.until = Some(now + Duration::from_secs(3));
        } else {
            self.out.push_back(Said::Told(Told::Sent));
        }
    }

    fn hear(&mut self, bytes: &[u8], _now: Duration) {
        if bytes.starts_with(&[0x02, 0x70]) {
            return self.out.push_back(Said::Send(vec![ACK]));
        }
        let told = match (bytes.contains(&ACK), bytes.contains(&NAK)) {
            (true, _) => Told::Acknowledged,
            (_, true) => Told::Again("refused".into()),
            _ => return,
        };
        if self.until.take().is_some() {
            self.out.push_back(Said::Told(told));
        }
    }

    fn tick(&mut self, now: Duration) {
        if self.until.is_some_and(|until| now >= until) {
            self.until = None;
            self.out.push_back(Said::Told(Told::Again("no answer".into())));
        }
    }

    fn next(&mut self) -> Option<Said> {
        self.out.pop_front()
    }

    fn is_free(&self) -> bool {
        self.until.is_none()
    }
}
