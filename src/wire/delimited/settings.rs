//! What a page says of a delimited frame.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::super::notation::{Bytes, bytes_of};
use super::checksum::Checksum;

/// How frames are told apart. At least one of `end`, `length` and `idle_ms` must say where a frame ends.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, try_from = "Written")]
pub struct Settings {
    /// The bytes a frame begins with; without them it begins with the first byte after the last frame.
    pub start: Vec<u8>,
    /// The bytes it ends with.
    pub end: Vec<u8>,
    /// How bytes that mean something else are written inside.
    pub escape: Option<Escape>,
    /// Where the frame says how long it is.
    pub length: Option<Length>,
    pub checksum: Option<Checksum>,
    /// Bytes that may follow a frame and mean nothing, such as CR and LF.
    pub trailer: Vec<u8>,
    /// The longest frame. A longer one is left out whole: half a number is a wrong number.
    pub max_bytes: usize,
    /// After this much silence the frame is over; without `end` and `length` that is how it ends, else it is left out.
    pub idle_ms: Option<u64>,
    /// Sent when a frame is kept.
    pub ack: Vec<u8>,
    /// Sent when a frame came damaged or could not be kept, so that the device says it again.
    pub nak: Vec<u8>,
}

/// Escapes: either `byte`, after which the next is XORed with `xor`, or `pairs`: two bytes → the byte that is meant.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, try_from = "WrittenEscape")]
pub struct Escape(Stuffing);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stuffing {
    Xor { byte: u8, xor: u8 },
    Pairs(Vec<([u8; 2], u8)>),
}

/// A length field inside the frame, counted from the first byte after `start`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Length {
    #[serde(default)]
    pub offset: usize,
    pub width: usize,
    #[serde(default, rename = "as")]
    pub form: LengthForm,
    /// Bytes between the length field and the checksum (or the end) are so many more than the field says; negative
    /// when the field also counts itself, the checksum or the delimiters.
    #[serde(default)]
    pub add: i64,
}

/// How the length is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LengthForm {
    #[default]
    Decimal,
    Hex,
    BigEndian,
    LittleEndian,
}

impl Escape {
    /// Whether `byte` begins an escape.
    pub(super) fn begins(&self, byte: u8) -> bool {
        match &self.0 {
            Stuffing::Xor { byte: escape, .. } => *escape == byte,
            Stuffing::Pairs(pairs) => pairs.iter().any(|([first, _], _)| *first == byte),
        }
    }

    /// What `next` means after `escape`, if anything.
    pub(super) fn meant(&self, escape: u8, next: u8) -> Option<u8> {
        match &self.0 {
            Stuffing::Xor { xor, .. } => Some(next ^ xor),
            Stuffing::Pairs(pairs) => {
                pairs.iter().find(|(pair, _)| *pair == [escape, next]).map(|(_, meant)| *meant)
            }
        }
    }

    /// `bytes` as they are written on the wire, where `special` must not appear as they are.
    pub(super) fn stuffed(&self, bytes: &[u8], special: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len());
        for byte in bytes {
            match &self.0 {
                Stuffing::Xor { byte: escape, xor } if byte == escape || special.contains(byte) => {
                    out.extend([*escape, byte ^ xor]);
                }
                Stuffing::Pairs(pairs) => match pairs.iter().find(|(_, meant)| meant == byte) {
                    Some((pair, _)) => out.extend(pair),
                    None => out.push(*byte),
                },
                Stuffing::Xor { .. } => out.push(*byte),
            }
        }
        out
    }
}

impl Length {
    /// How many bytes stand between the field and what closes the frame; `None` when the field is no length.
    pub(super) fn read(&self, field: &[u8]) -> Option<usize> {
        let shifted = |sum: i64, byte: &u8| sum.checked_mul(256)?.checked_add(i64::from(*byte));
        let digits = |radix| {
            let text = std::str::from_utf8(field).ok()?.trim();
            let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric());
            plain.then(|| i64::from_str_radix(text, radix).ok()).flatten()
        };
        let said = match self.form {
            LengthForm::Decimal => digits(10),
            LengthForm::Hex => digits(16),
            LengthForm::BigEndian => field.iter().try_fold(0, shifted),
            LengthForm::LittleEndian => field.iter().rev().try_fold(0, shifted),
        };
        usize::try_from(said?.checked_add(self.add)?).ok()
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            start: Vec::new(),
            end: Vec::new(),
            escape: None,
            length: None,
            checksum: None,
            trailer: Vec::new(),
            max_bytes: 65_536,
            idle_ms: None,
            ack: Vec::new(),
            nak: Vec::new(),
        }
    }
}

/// The section as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    start: Bytes,
    #[serde(default)]
    end: Bytes,
    escape: Option<Escape>,
    length: Option<Length>,
    checksum: Option<Checksum>,
    #[serde(default)]
    trailer: Bytes,
    #[serde(default = "max_bytes")]
    max_bytes: usize,
    idle_ms: Option<u64>,
    #[serde(default)]
    ack: Bytes,
    #[serde(default)]
    nak: Bytes,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenEscape {
    byte: Option<Bytes>,
    xor: Option<u8>,
    #[serde(default)]
    pairs: BTreeMap<String, Bytes>,
}

impl TryFrom<WrittenEscape> for Escape {
    type Error = String;

    fn try_from(written: WrittenEscape) -> Result<Self, String> {
        const SHAPE: &str =
            "`escape` is { byte = one byte, xor = a number } or { pairs = { two bytes = one byte } }";
        let WrittenEscape { byte, xor, pairs } = written;
        if let (Some(Bytes(byte)), Some(xor), true) = (&byte, xor, pairs.is_empty()) {
            let [byte] = byte.as_slice() else { return Err(SHAPE.into()) };
            return Ok(Self(Stuffing::Xor { byte: *byte, xor }));
        }
        let pair = |(key, meant): (&String, &Bytes)| {
            let pair = <[u8; 2]>::try_from(bytes_of(key).ok()?).ok()?;
            let [meant] = meant.0.as_slice() else { return None };
            Some((pair, *meant))
        };
        let read: Option<Vec<_>> = pairs.iter().map(pair).collect();
        match read {
            Some(pairs) if !pairs.is_empty() && byte.is_none() && xor.is_none() => {
                Ok(Self(Stuffing::Pairs(pairs)))
            }
            _ => Err(SHAPE.into()),
        }
    }
}

fn max_bytes() -> usize {
    Settings::default().max_bytes
}

impl TryFrom<Written> for Settings {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        if written.end.0.is_empty() && written.length.is_none() && written.idle_ms.is_none() {
            return Err(
                "a delimited frame needs `end`, `length` or `idle_ms`: else nobody knows where it ends"
                    .into(),
            );
        }
        if written
            .length
            .as_ref()
            .is_some_and(|length| !(1..=8).contains(&length.width) || length.offset > 1024)
        {
            return Err("`length.width` is from 1 to 8 bytes, `length.offset` at most 1024".into());
        }
        if !(1..=16 << 20).contains(&written.max_bytes) {
            return Err("`max_bytes` is from 1 to 16777216".into());
        }
        Ok(Self {
            start: written.start.0,
            end: written.end.0,
            escape: written.escape,
            length: written.length,
            checksum: written.checksum,
            trailer: written.trailer.0,
            max_bytes: written.max_bytes,
            idle_ms: written.idle_ms,
            ack: written.ack.0,
            nak: written.nak.0,
        })
    }
}
