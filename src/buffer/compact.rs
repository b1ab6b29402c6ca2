//! For the room frames take: a frame of some length is kept as DEFLATE where that saves at least a quarter of it.
//! Waveforms and HL7 text do; what saves less is kept as it came. The SHA-256 is always that of the frame itself.

use std::borrow::Cow;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::MAX_FRAME_BYTES;

/// Shorter frames are kept as they came: a page of the database holds one and a half of them anyway, and their
/// senders do not wait for a compressor.
const LEAST_BYTES: usize = 2 << 10;
/// DEFLATE cannot say more than 1032 bytes in one; a row that claims more is damaged.
const MOST_FROM_ONE: usize = 1032;

/// The frame as raw DEFLATE (RFC 1951), when that takes at most three quarters of its room.
pub(super) fn packed(bytes: &[u8]) -> Option<Vec<u8>> {
    if bytes.len() < LEAST_BYTES {
        return None;
    }
    let mut out = vec![0; bytes.len() / 4 * 3];
    let mut compress = Compress::new(Compression::fast(), false);
    let ended = compress.compress(bytes, &mut out, FlushCompress::Finish).ok()?;
    out.truncate(usize::try_from(compress.total_out()).ok()?);
    (ended == Status::StreamEnd).then_some(out)
}

/// The frame that the columns `bytes` and `deflated` of a row stand for. What cannot be unpacked is given as it lies
/// on the disk: its SHA-256 then tells that it changed.
pub(super) fn frame(stored: &[u8], deflated: Option<i64>) -> Cow<'_, [u8]> {
    let unpacked =
        deflated.map(|length| usize::try_from(length).ok().and_then(|length| unpacked(stored, length)));
    unpacked.flatten().map_or(Cow::Borrowed(stored), Cow::Owned)
}

/// The beginning of the frame whose row begins with `stored`: as much of it as `stored` tells, at most `most` bytes.
pub(super) fn head(stored: &[u8], deflated: Option<i64>, most: usize) -> Cow<'_, [u8]> {
    if deflated.is_none() {
        return Cow::Borrowed(stored.get(..most).unwrap_or(stored));
    }
    let mut out = vec![0; most];
    let mut decompress = Decompress::new(false);
    // An error says that the row ends here, which is all that was asked for.
    let _cut = decompress.decompress(stored, &mut out, FlushDecompress::None);
    out.truncate(usize::try_from(decompress.total_out()).unwrap_or(0));
    Cow::Owned(out)
}

fn unpacked(stored: &[u8], length: usize) -> Option<Vec<u8>> {
    if length > MAX_FRAME_BYTES || length > stored.len().saturating_mul(MOST_FROM_ONE) {
        return None;
    }
    let mut out = vec![0; length];
    let mut decompress = Decompress::new(false);
    let ended = decompress.decompress(stored, &mut out, FlushDecompress::Finish).ok()?;
    let whole = usize::try_from(decompress.total_out()) == Ok(length);
    (whole && ended == Status::StreamEnd).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn length(of: &[u8]) -> Option<i64> {
        Some(i64::try_from(of.len()).unwrap())
    }

    #[test]
    fn the_beginning_of_a_packed_frame_is_read_from_the_beginning_of_its_row() {
        let text: Vec<u8> =
            b"MSH|^~\\&|A|B|||20260101||ORU^R01|77|P|2.6\r".iter().copied().cycle().take(9_000).collect();
        let packed = packed(&text).unwrap();
        let row = packed.get(..packed.len().min(1_024)).unwrap();
        assert_eq!(head(row, length(&text), 100).as_ref(), &text[..100]);
        assert_eq!(head(&text, None, 50).as_ref(), &text[..50]);
        assert!(head(b"\xff\xff", Some(9_000), 100).is_empty(), "what is damaged tells nothing");
    }

    #[test]
    fn a_long_frame_that_repeats_itself_is_packed_and_comes_back_the_same() {
        for size in [LEAST_BYTES, 5_000, 300_000] {
            let text: Vec<u8> =
                b"OBX|1|NM|147842^MDC_ECG_HEART_RATE^MDC|".iter().copied().cycle().take(size).collect();
            let packed = packed(&text).unwrap();
            assert!(packed.len() < size / 4);
            assert_eq!(frame(&packed, length(&text)), text);
        }
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
        let zeros = vec![0; 1 << 20];
        let bomb = packed(&zeros).unwrap();
        assert_eq!(frame(&bomb, length(&zeros)), zeros);
        // Another length than was packed, more than DEFLATE can hold, more than a frame may have, less than nothing.
        for claimed in [10, 1 << 19, (1 << 20) + 1, 1 << 26, 1 << 40, -1, i64::MAX, i64::MIN] {
            assert_eq!(frame(&bomb, Some(claimed)), bomb);
        }
        let cut = &bomb[..bomb.len() - 3];
        assert_eq!(frame(cut, length(&zeros)), cut);
    }
}
