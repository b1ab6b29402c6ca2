//! Every byte string this box may send on a MEDIBUS line: questions, empty answers, and the choice of realtime streams.
//!
//! Command codes as in the Protocol Definition, "Command Codes" and "MEDIBUS Realtime-Extension Commands".

use serde::Deserialize;

pub(super) const CORRUPT: u8 = 0x15;
pub(super) const CLOCK: u8 = 0x28;
pub(super) const NOP: u8 = 0x30;
pub(super) const TIME_CHANGED: u8 = 0x49;
pub(super) const ICC: u8 = 0x51;
pub(super) const IDENTIFICATION: u8 = 0x52;
pub(super) const STREAMS: u8 = 0x53;
pub(super) const CHOOSE_STREAMS: u8 = 0x54;
pub(super) const STOP: u8 = 0x55;
pub(super) const STREAMS_CHANGED: u8 = 0x56;
/// First byte of a realtime record; the low four bits say which of streams 1 to 4 it holds.
pub(super) const SYNC: u8 = 0xd0;
pub(super) const STREAMS_MAX: usize = 12;

/// What a device may ask of this box; each gets an answer without data, which for the identification is the empty one
/// the definition allows.
pub(super) const ANSWERED: &[u8] = &[
    0x23,
    0x24,
    0x25,
    0x26,
    0x27,
    CLOCK,
    0x29,
    0x2a,
    0x2b,
    0x2c,
    0x2d,
    0x2e,
    NOP,
    TIME_CHANGED,
    0x4a,
    ICC,
    IDENTIFICATION,
    STREAMS,
    CHOOSE_STREAMS,
    STOP,
    STREAMS_CHANGED,
    0x6c,
    0x6d,
];

/// A question of the device's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Page {
    #[serde(rename = "data-1")]
    Data1,
    #[serde(rename = "low-limits-1")]
    LowLimits1,
    #[serde(rename = "high-limits-1")]
    HighLimits1,
    #[serde(rename = "alarms-1")]
    Alarms1,
    Settings,
    Text,
    #[serde(rename = "data-2")]
    Data2,
    #[serde(rename = "low-limits-2")]
    LowLimits2,
    #[serde(rename = "high-limits-2")]
    HighLimits2,
    #[serde(rename = "alarms-2")]
    Alarms2,
    #[serde(rename = "alarms-3")]
    Alarms3,
}

impl Page {
    /// The command that asks for it; its reply echoes the same byte.
    pub const fn code(self) -> u8 {
        match self {
            Self::Alarms3 => 0x23,
            Self::Data1 => 0x24,
            Self::LowLimits1 => 0x25,
            Self::HighLimits1 => 0x26,
            Self::Alarms1 => 0x27,
            Self::Settings => 0x29,
            Self::Text => 0x2a,
            Self::Data2 => 0x2b,
            Self::LowLimits2 => 0x2c,
            Self::HighLimits2 => 0x2d,
            Self::Alarms2 => 0x2e,
        }
    }
}

/// Replies that say something: the pages, clock, identification and the table of realtime streams.
pub(super) const fn is_kept(code: u8) -> bool {
    matches!(code, 0x23..=0x2e | IDENTIFICATION | STREAMS)
}

/// A realtime stream by its code, e.g. `00` for the airway pressure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Stream(u8);

impl TryFrom<String> for Stream {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let code = u8::from_str_radix(&text, 16).ok().filter(|_| text.len() == 2);
        code.map(Self).ok_or_else(|| format!("`{text}` is no stream: use two hex digits, such as \"00\""))
    }
}

impl Stream {
    /// Its code, and `01`: every sample.
    pub(super) fn argument(&self) -> Vec<u8> {
        format!("{:02X}01", self.0).into_bytes()
    }
}

/// Switches the first `count` streams on ("Sync-Commands").
pub(super) fn switch_on(count: usize) -> Vec<u8> {
    let mask = |first: usize| {
        (0..4).fold(0xc0u8, |mask, bit| if first + bit < count { mask | 1 << bit } else { mask })
    };
    vec![SYNC, 0xc3, mask(8), 0xc2, mask(4), 0xc1, mask(0), 0xc0, 0xc0]
}
