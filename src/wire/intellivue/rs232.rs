//! The fixed-baud-rate protocol of the MIB/RS232 interface: frames between C0 and C1 with 7D as escape and a CRC of
//! 16 bits (Data Export Interface Programming Guide, chapter 4; the check is CRC-16/X.25).

use crate::wire::Warning;

pub(crate) const BEGIN: u8 = 0xC0;
const END: u8 = 0xC1;
const ESCAPE: u8 = 0x7D;
const FLIP: u8 = 0x20;
/// Protocol 11 hex is Data Export, type 01 an association control or data export message.
const HEADER: [u8; 2] = [0x11, 0x01];
/// Header, the longest message its length can say, and the check.
const UNESCAPED_MAX: usize = 4 + 0xFFFF + 2;
/// As sent, with every byte escaped at worst.
const RAW_MAX: usize = 2 * UNESCAPED_MAX + 2;

/// What the bytes of a line turned out to be.
pub(crate) enum Found {
    /// A whole frame as it crossed the wire, and the message in it.
    Frame {
        raw: Vec<u8>,
        message: Vec<u8>,
    },
    Trouble(Warning),
}

/// Takes frames out of the bytes of a line.
#[derive(Debug, Default)]
pub(crate) struct Deframer {
    raw: Vec<u8>,
    inside: bool,
    noise: usize,
}

impl Deframer {
    /// Takes bytes up to the next thing found; gives back the rest.
    pub(crate) fn take<'a>(&mut self, mut bytes: &'a [u8]) -> (Option<Found>, &'a [u8]) {
        while let Some((byte, rest)) = bytes.split_first() {
            if !self.inside {
                if *byte == BEGIN {
                    let noise = std::mem::take(&mut self.noise);
                    self.inside = true;
                    self.raw.clear();
                    self.raw.push(BEGIN);
                    if noise > 0 {
                        return (Some(noise_of(noise)), rest);
                    }
                } else {
                    self.noise = self.noise.saturating_add(1);
                }
                bytes = rest;
                continue;
            }
            bytes = rest;
            match *byte {
                BEGIN => {
                    let lost = self.raw.len();
                    self.raw.truncate(1);
                    // A beginning right after a beginning lost nothing.
                    if lost > 1 {
                        return (Some(half(lost)), bytes);
                    }
                }
                END => {
                    self.raw.push(END);
                    self.inside = false;
                    return (Some(self.whole()), bytes);
                }
                other => {
                    self.raw.push(other);
                    if self.raw.len() > RAW_MAX {
                        self.inside = false;
                        self.raw = Vec::new();
                        let text = format!("A frame without an end within {RAW_MAX} bytes is left out.");
                        return (Some(Found::Trouble(Warning::new("oversize", text))), bytes);
                    }
                }
            }
        }
        (None, bytes)
    }

    /// What is unfinished when the line ends.
    pub(crate) fn end(&mut self) -> Option<Found> {
        let noise = std::mem::take(&mut self.noise);
        let lost = if std::mem::take(&mut self.inside) { self.raw.len() } else { 0 };
        self.raw.clear();
        match (lost, noise) {
            (0, 0) => None,
            (0, noise) => Some(noise_of(noise)),
            (lost, _) => Some(half(lost)),
        }
    }

    fn whole(&mut self) -> Found {
        let raw = std::mem::take(&mut self.raw);
        match message(&raw) {
            Ok(message) => Found::Frame { raw, message },
            Err(warning) => Found::Trouble(warning),
        }
    }
}

fn noise_of(count: usize) -> Found {
    Found::Trouble(Warning::new("noise", format!("{count} bytes outside a frame.")))
}

fn half(lost: usize) -> Found {
    Found::Trouble(Warning::new("half-frame", format!("{lost} bytes of a frame without its end.")))
}

/// The message of one frame, from C0 to C1; the warning says what is wrong with it.
pub(crate) fn message(raw: &[u8]) -> Result<Vec<u8>, Warning> {
    let inner = match raw {
        [BEGIN, inner @ .., END] => inner,
        _ => return Err(Warning::new("half-frame", "A frame without its beginning or its end.")),
    };
    let mut plain = Vec::with_capacity(inner.len());
    let mut escaped = false;
    for byte in inner {
        match (escaped, *byte) {
            (true, byte) => plain.push(byte ^ FLIP),
            (false, ESCAPE) => {}
            (false, byte) => plain.push(byte),
        }
        escaped = !escaped && *byte == ESCAPE;
    }
    if escaped {
        return Err(Warning::new("aborted-frame", "The monitor broke a frame off."));
    }
    let short = || Warning::new("bad-length", format!("A frame of {} bytes is too short.", plain.len()));
    let checked = plain.len().checked_sub(2).ok_or_else(short)?;
    let (body, check) = plain.split_at_checked(checked).ok_or_else(short)?;
    if fcs(body).to_le_bytes() != check {
        return Err(Warning::new("bad-checksum", format!("A frame of {checked} bytes has a wrong check.")));
    }
    let Some(([protocol, kind, high, low], message)) = body.split_first_chunk::<4>() else {
        return Err(short());
    };
    if [*protocol, *kind] != HEADER {
        let text = format!("A frame of protocol {protocol:02X}, type {kind:02X} is not Data Export.");
        return Err(Warning::new("other-protocol", text));
    }
    let said = usize::from(u16::from_be_bytes([*high, *low]));
    if said != message.len() {
        let text = format!("A frame says {said} bytes and has {}.", message.len());
        return Err(Warning::new("bad-length", text));
    }
    Ok(message.to_vec())
}

/// A message as one frame; `None` when it is longer than a length can say.
pub(crate) fn frame(message: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(message.len()).ok()?;
    let mut body = HEADER.to_vec();
    body.extend(length.to_be_bytes());
    body.extend_from_slice(message);
    body.extend(fcs(&body).to_le_bytes());
    let mut raw = vec![BEGIN];
    for byte in body {
        if matches!(byte, BEGIN | END | ESCAPE) {
            raw.extend([ESCAPE, byte ^ FLIP]);
        } else {
            raw.push(byte);
        }
    }
    raw.push(END);
    Some(raw)
}

/// CRC-16/X.25: polynomial 1021 reflected (8408), begins and ends with FFFF.
fn fcs(bytes: &[u8]) -> u16 {
    !bytes.iter().fold(0xFFFF, |crc, byte| {
        (0..8)
            .fold(crc ^ u16::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0x8408 } else { crc >> 1 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> (Vec<Vec<u8>>, Vec<&'static str>) {
        let (mut deframer, mut rest) = (Deframer::default(), bytes);
        let (mut messages, mut troubles) = (Vec::new(), Vec::new());
        let mut add = |found: Option<Found>| match found {
            Some(Found::Frame { raw, message }) => {
                assert_eq!(frame(&message), Some(raw), "as it was sent");
                messages.push(message);
                true
            }
            Some(Found::Trouble(warning)) => {
                troubles.push(warning.code);
                true
            }
            None => false,
        };
        loop {
            let (found, left) = deframer.take(rest);
            rest = left;
            if !add(found) {
                break;
            }
        }
        add(deframer.end());
        (messages, troubles)
    }

    #[test]
    fn the_check_is_that_of_the_standard() {
        assert_eq!(fcs(b"123456789"), 0x906E);
    }

    #[test]
    fn every_byte_crosses_the_line_and_none_is_mistaken_for_a_delimiter() {
        let message: Vec<u8> = (0..=255).collect();
        let raw = frame(&message).unwrap();
        assert_eq!(raw.iter().filter(|byte| matches!(**byte, 0xC0 | 0xC1)).count(), 2);
        assert_eq!(all(&raw), (vec![message], vec![]));
    }

    #[test]
    fn a_broken_frame_costs_itself_and_nothing_after_it() {
        let good = frame(b"good").unwrap();
        let mut bad_check = good.clone();
        bad_check[6] ^= 1;
        let wrong_length = {
            let mut body = vec![0x11, 0x01, 0, 9, 1, 2];
            body.extend(fcs(&body).to_le_bytes());
            [vec![0xC0], body, vec![0xC1]].concat()
        };
        let other = {
            let mut body = vec![0x12, 0x01, 0, 0];
            body.extend(fcs(&body).to_le_bytes());
            [vec![0xC0], body, vec![0xC1]].concat()
        };
        for (bytes, code) in [
            (bad_check, "bad-checksum"),
            (wrong_length, "bad-length"),
            (other, "other-protocol"),
            (b"\xC0\xC1".to_vec(), "bad-length"),
            (b"\xC0\x11\x01\x7D\xC1".to_vec(), "aborted-frame"),
            (good[..5].to_vec(), "half-frame"),
            (b"garbage".to_vec(), "noise"),
        ] {
            assert_eq!(all(&[bytes, good.clone()].concat()), (vec![b"good".to_vec()], vec![code]), "{code}");
        }
        assert_eq!(all(b"\xC0half"), (vec![], vec!["half-frame"]));
    }

    #[test]
    fn a_frame_without_an_end_takes_no_memory() {
        let (mut deframer, bytes) = (Deframer::default(), vec![0u8; 3 * RAW_MAX]);
        assert!(deframer.take(b"\xC0").0.is_none());
        let (found, rest) = deframer.take(&bytes);
        assert!(matches!(found, Some(Found::Trouble(warning)) if warning.code == "oversize"));
        assert!(deframer.take(rest).0.is_none());
        assert!(deframer.raw.capacity() <= 2 * RAW_MAX);
    }
}
