//! The checks of serial frames: which sum, over which bytes, written how.

use serde::Deserialize;

/// A check field of a frame.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checksum {
    pub alg: Algorithm,
    #[serde(default)]
    pub over: Over,
    #[serde(default)]
    pub render: Render,
    /// Where the field stands.
    #[serde(default)]
    pub at: Place,
    /// So many bytes between the body and the check field are neither summed nor kept, such as a blank.
    #[serde(default)]
    pub gap: usize,
    /// Keep a frame whose check does not fit, with a warning. Only for devices whose check is known to be wrong.
    #[serde(default)]
    pub tolerate: bool,
}

/// The sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    /// Bytes added, modulo 256.
    Sum8,
    /// The two's complement of that.
    Sum8Negated,
    /// Bytes added, modulo 65536.
    Sum16,
    /// Bytes XORed.
    Xor8,
    /// CRC-8/DVB-S2: polynomial 0xD5, initial 0.
    #[serde(rename = "crc8-d5")]
    Crc8D5,
    /// CRC-16/X.25 (ISO/IEC 13239): 0x1021 reflected, initial and final 0xFFFF.
    #[serde(rename = "crc16-x25")]
    Crc16X25,
    /// Polynomial 0x1021, initial 0 (XMODEM).
    #[serde(rename = "crc16-1021")]
    Crc16Xmodem,
    /// Polynomial 0x1021, initial 0xFFFF (CCITT-FALSE).
    #[serde(rename = "crc16-1021-ffff")]
    Crc16CcittFalse,
}

/// The bytes it is taken over, after unescaping. The body reaches from the start to the check field, the length
/// field included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Over {
    #[default]
    Body,
    StartAndBody,
    BodyAndEnd,
    StartBodyAndEnd,
}

/// How it is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Render {
    #[default]
    Hex2,
    #[serde(rename = "hex2-lower")]
    Hex2Lower,
    Hex4,
    #[serde(rename = "hex4-lower")]
    Hex4Lower,
    /// One byte.
    Byte,
    /// Two bytes, the high one first.
    WordBe,
    /// Two bytes, the low one first.
    WordLe,
    Dec3,
    Dec5,
}

/// Where the check field stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    #[default]
    BeforeEnd,
    AfterEnd,
}

impl Algorithm {
    /// The sum of bytes that stand one after the other.
    pub fn of<'a>(self, bytes: impl Iterator<Item = &'a u8>) -> u16 {
        let sum = |bytes: &mut dyn Iterator<Item = &'a u8>| {
            bytes.fold(0_u16, |sum, byte| sum.wrapping_add(u16::from(*byte)))
        };
        let mut bytes = bytes;
        match self {
            Self::Sum8 => sum(&mut bytes) & 0xFF,
            Self::Sum8Negated => sum(&mut bytes).wrapping_neg() & 0xFF,
            Self::Sum16 => sum(&mut bytes),
            Self::Xor8 => bytes.fold(0, |sum, byte| sum ^ u16::from(*byte)),
            Self::Crc8D5 => {
                let crc = crc::Crc::<u8, crc::Table<1>>::new(&crc::CRC_8_DVB_S2);
                let mut digest = crc.digest();
                bytes.for_each(|byte| digest.update(std::slice::from_ref(byte)));
                u16::from(digest.finalize())
            }
            Self::Crc16X25 => crc(&crc::CRC_16_IBM_SDLC, bytes),
            Self::Crc16Xmodem => crc(&crc::CRC_16_XMODEM, bytes),
            Self::Crc16CcittFalse => crc(&crc::CRC_16_IBM_3740, bytes),
        }
    }
}

fn crc<'a>(algorithm: &'static crc::Algorithm<u16>, bytes: impl Iterator<Item = &'a u8>) -> u16 {
    let crc = crc::Crc::<u16, crc::Table<1>>::new(algorithm);
    let mut digest = crc.digest();
    bytes.for_each(|byte| digest.update(std::slice::from_ref(byte)));
    digest.finalize()
}

impl Render {
    /// How many bytes the field takes.
    pub const fn width(self) -> usize {
        match self {
            Self::Byte => 1,
            Self::Hex2 | Self::Hex2Lower | Self::WordBe | Self::WordLe => 2,
            Self::Dec3 => 3,
            Self::Hex4 | Self::Hex4Lower => 4,
            Self::Dec5 => 5,
        }
    }

    /// Whether `field` says `sum`. Hex digits fit in either case.
    pub(super) fn says(self, field: &[u8], sum: u16) -> bool {
        self.written(sum).eq_ignore_ascii_case(field)
    }

    /// The field as the device writes it.
    pub fn written(self, sum: u16) -> Vec<u8> {
        let [high, low] = sum.to_be_bytes();
        match self {
            Self::Byte => vec![low],
            Self::WordBe => vec![high, low],
            Self::WordLe => vec![low, high],
            Self::Hex2 => format!("{low:02X}").into_bytes(),
            Self::Hex2Lower => format!("{low:02x}").into_bytes(),
            Self::Hex4 => format!("{sum:04X}").into_bytes(),
            Self::Hex4Lower => format!("{sum:04x}").into_bytes(),
            Self::Dec3 => format!("{low:03}").into_bytes(),
            Self::Dec5 => format!("{sum:05}").into_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sums_give_their_published_check_values() {
        // Catalogue of parametrised CRC algorithms: the check is over the digits 1 to 9.
        for (algorithm, sum) in [
            (Algorithm::Crc16X25, 0x906E),
            (Algorithm::Crc16Xmodem, 0x31C3),
            (Algorithm::Crc16CcittFalse, 0x29B1),
            (Algorithm::Crc8D5, 0xBC),
            (Algorithm::Sum8, 0xDD),
            (Algorithm::Sum8Negated, 0x23),
            (Algorithm::Sum16, 0x1DD),
            (Algorithm::Xor8, 0x31),
        ] {
            assert_eq!(algorithm.of(b"123456789".iter()), sum, "{algorithm:?}");
        }
    }

    #[test]
    fn a_sum_is_written_as_the_page_says_and_read_in_either_case() {
        for (render, text) in [
            (Render::Hex2, b"AB".as_slice()),
            (Render::Hex2Lower, b"ab"),
            (Render::Hex4, b"01AB"),
            (Render::Byte, b"\xAB"),
            (Render::WordBe, b"\x01\xAB"),
            (Render::WordLe, b"\xAB\x01"),
            (Render::Dec3, b"171"),
            (Render::Dec5, b"00427"),
        ] {
            assert_eq!((render.written(0x1AB).as_slice(), render.width()), (text, text.len()));
            assert!(render.says(text, 0x1AB));
        }
        assert!(Render::Hex2.says(b"ab", 0x1AB) && !Render::Hex2.says(b"AC", 0x1AB));
    }
}
