//! For the room frames take: a frame of some length is kept packed where that saves at least a quarter of it. Text
//! is packed as LZ4, which takes a microsecond and halves it at least; what LZ4 does not halve (waveforms) as DEFLATE.
//! What saves less is kept as it came. The SHA-256 is always that of the frame itself.
//!
//! The column `frame.packed` says which: null, the frame as it came; n, DEFLATE of n bytes; -n, LZ4 of n bytes.

use std::borrow::Cow;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use lz4_flex::block;

use super::MAX_FRAME_BYTES;

/// Shorter frames are kept as they came: a page of the database holds one and a half of them anyway.
const LEAST_BYTES: usize = 2 << 10;
/// Longer frames are worth the time DEFLATE takes.
const LZ4_BYTES: usize = 64 << 10;
/// The lowest with codes made for the frame: level 1 takes fixed ones, which save nothing of a wave.
const LEVEL: Compression = Compression::new(2);
/// DEFLATE cannot say more than 1032 bytes in one, LZ4 not more than 255; a row that claims more is damaged.
const MOST_FROM_ONE: usize = 1032;

/// A frame as it lies on the disk: its bytes, and what the column `packed` says of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Packed {
    pub(super) bytes: Vec<u8>,
    pub(super) column: i64,
}

/// The frame as an LZ4 block or raw DEFLATE (RFC 1951), when that takes at most three quarters of its room.
pub(super) fn packed(bytes: &[u8]) -> Option<Packed> {
    if bytes.len() < LEAST_BYTES {
        return None;
    }
    let length = i64::try_from(bytes.len()).ok()?;
    if bytes.len() <= LZ4_BYTES {
        let packed = block::compress(bytes);
        if packed.len() <= bytes.len() / 2 {
            return Some(Packed { bytes: packed, column: -length });
        }
    }
    Some(Packed { bytes: deflated(bytes)?, column: length })
}

fn deflated(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = vec![0; bytes.len() / 4 * 3];
    let mut compress = Compress::new(LEVEL, false);
    let ended = compress.compress(bytes, &mut out, FlushCompress::Finish).ok()?;
    out.truncate(usize::try_from(compress.total_out()).ok()?);
    (ended == Status::StreamEnd).then_some(out)
}

/// The frame that the columns `bytes` and `packed` of a row stand for. What cannot be unpacked is given as it lies
/// on the disk: its SHA-256 then tells that it changed.
pub(super) fn frame(stored: &[u8], packed: Option<i64>) -> Cow<'_, [u8]> {
    let unpacked = packed.and_then(|column| {
        let length = usize::try_from(column.unsigned_abs()).ok()?;
        if length > MAX_FRAME_BYTES || length > stored.len().saturating_mul(MOST_FROM_ONE) {
            return None;
        }
        if column < 0 { unpacked(stored, length) } else { inflated(stored, length) }
    });
    unpacked.map_or(Cow::Borrowed(stored), Cow::Owned)
}

/// The beginning of the frame whose row begins with `stored` (all of it where it is LZ4): as much as `stored` tells, at most
/// `most` bytes.
pub(super) fn head(stored: &[u8], packed: Option<i64>, most: usize) -> Cow<'_, [u8]> {
    let Some(column) = packed else { return Cow::Borrowed(stored.get(..most).unwrap_or(stored)) };
    if column < 0 {
        // LZ4 has no beginning that can be read alone: these rows come whole.
        let mut whole = frame(stored, packed).into_owned();
        whole.truncate(most);
        return Cow::Owned(whole);
    }
    let mut out = vec![0; most];
    let mut decompress = Decompress::new(false);
    // An error says that the row ends here, which is all that was asked for.
    let _cut = decompress.decompress(stored, &mut out, FlushDecompress::None);
    out.truncate(usize::try_from(decompress.total_out()).unwrap_or(0));
    Cow::Owned(out)
}

fn unpacked(stored: &[u8], length: usize) -> Option<Vec<u8>> {
    block::decompress(stored, length).ok().filter(|frame| frame.len() == length)
}

fn inflated(stored: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut out = vec![0; length];
    let mut decompress = Decompress::new(false);
    let ended = decompress.decompress(stored, &mut out, FlushDecompress::Finish).ok()?;
    let whole = usize::try_from(decompress.total_out()) == Ok(length);
    (whole && ended == Status::StreamEnd).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Samples of a wave with an amplifier's noise.
    fn wave(size: usize) -> Vec<u8> {
        let mut state = 7_u32;
        let sample = |at: usize| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let wave = 900.0 * (at as f64 / 40.0).sin() + f64::from(state >> 30);
            (wave as i16).to_le_bytes()
        };
        (0..size / 2).flat_map(sample).collect()
    }

    #[test]
    fn the_beginning_of_a_packed_frame_is_read_from_the_beginning_of_its_row() {
        let text: Vec<u8> =
            b"MSH|^~\\&|A|B|||20260101||ORU^R01|77|P|2.6\r".iter().copied().cycle().take(9_000).collect();
        let packed = packed(&text).unwrap();
        assert_eq!(head(&packed.bytes, Some(packed.column), 100).as_ref(), &text[..100]);
        let deflated = deflated(&text).unwrap();
        let row = deflated.get(..deflated.len().min(1_024)).unwrap();
        assert_eq!(head(row, Some(9_000), 100).as_ref(), &text[..100]);
        assert_eq!(head(&text, None, 50).as_ref(), &text[..50]);
        assert!(head(b"\xff\xff", Some(9_000), 100).is_empty(), "what is damaged tells nothing");
    }

    #[test]
    fn a_long_frame_that_repeats_itself_is_packed_and_comes_back_the_same() {
        for size in [LEAST_BYTES, 5_000, LZ4_BYTES, LZ4_BYTES + 1, 300_000] {
            let text: Vec<u8> =
                b"OBX|1|NM|147842^MDC_ECG_HEART_RATE^MDC|".iter().copied().cycle().take(size).collect();
            let packed = packed(&text).unwrap();
            assert!(packed.bytes.len() < size / 4);
            assert_eq!(packed.column < 0, size <= LZ4_BYTES);
            assert_eq!(packed.column.unsigned_abs(), size as u64);
            assert_eq!(frame(&packed.bytes, Some(packed.column)), text);
        }
    }

    #[test]
    fn what_is_no_text_is_packed_the_slow_way() {
        let samples = wave(6_000);
        let packed = packed(&samples).unwrap();
        assert!(packed.column == 6_000 && packed.bytes.len() <= 4_500, "{}", packed.bytes.len());
        assert_eq!(frame(&packed.bytes, Some(packed.column)), samples);
    }

    #[test]
    fn short_frames_and_noise_are_kept_as_they_came() {
        assert_eq!(packed(&[b'x'; LEAST_BYTES - 1]), None);
        let mut state = 1_u32;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        })
        .take(20_000)
        .collect();
        assert_eq!(packed(&noise), None);
        assert_eq!(frame(&noise, None), noise);
    }

    #[test]
    fn a_damaged_row_gives_no_more_than_it_could_hold_and_never_half_a_frame() {
        for zeros in [vec![0; 1 << 20], vec![0; 20_000]] {
            let Packed { bytes: bomb, column } = packed(&zeros).unwrap();
            assert_eq!(frame(&bomb, Some(column)), zeros);
            // Another length than was packed, more than can be in it, more than a frame may have, the other way of
            // packing.
            for claimed in [10, 10_000, 1 << 19, (1 << 20) + 1, 1 << 26, 1 << 40, i64::MAX] {
                assert_eq!(frame(&bomb, Some(claimed)), bomb);
                assert_eq!(frame(&bomb, Some(-claimed)), bomb);
            }
            assert_eq!(frame(&bomb, Some(-column)), bomb);
            assert_eq!(frame(&bomb, Some(i64::MIN)), bomb);
            let cut = &bomb[..bomb.len() - 3];
            assert_eq!(frame(cut, Some(column)), cut);
        }
    }
}
