//! Recovery codes: for the day the telephone is gone. Each lets its owner in once.

use aws_lc_rs::digest;
use zeroize::Zeroizing;

use super::setup::ALPHABET;
use super::{AccessError, random};

/// Codes given at once.
pub const RECOVERY_CODES: usize = 10;
/// 24 symbols of 5 bits: 120 bits, so that a plain hash cannot be searched (ASVS 5.0 §6.5.2 asks for 112).
const SYMBOLS: usize = 24;
const GROUP: usize = 6;

/// A fresh set of codes, as they are shown once: `K7Q2M9-XW4TBH-3NR5C0-VZ8D1E`.
pub fn make_recovery_codes() -> Result<Vec<Zeroizing<String>>, AccessError> {
    (0..RECOVERY_CODES)
        .map(|_| {
            let bytes = Zeroizing::new(random::<SYMBOLS>()?);
            let mut text = Zeroizing::new(String::new());
            for (at, byte) in bytes.iter().enumerate() {
                if at > 0 && at % GROUP == 0 {
                    text.push('-');
                }
                text.push(char::from(ALPHABET.get(usize::from(byte & 31)).copied().unwrap_or(b'0')));
            }
            Ok(text)
        })
        .collect()
}

/// SHA-256 of a code as it is kept, whatever way it was typed; `None` when it cannot be one.
pub fn recovery_hash(given: &str) -> Option<[u8; 32]> {
    let symbols = Zeroizing::new(
        given
            .bytes()
            .take(8 * SYMBOLS)
            .filter(|b| !matches!(b, b'-' | b' ' | b'\t' | b'\r' | b'\n'))
            .take(SYMBOLS + 1)
            .map(|b| match b.to_ascii_uppercase() {
                b'I' | b'L' => b'1',
                b'O' => b'0',
                other => other,
            })
            .collect::<Vec<u8>>(),
    );
    if symbols.len() != SYMBOLS || !symbols.iter().all(|b| ALPHABET.contains(b)) {
        return None;
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, &symbols).as_ref());
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_codes_unlike_each_other_and_each_read_back_however_typed() {
        let codes = make_recovery_codes().unwrap();
        let mut hashes: Vec<_> = codes.iter().map(|code| recovery_hash(code).unwrap()).collect();
        for (code, hash) in codes.iter().zip(&hashes) {
            assert_eq!(code.len(), 27);
            let typed = code.to_lowercase().replace('-', " ").replace('0', "o").replace('1', "l");
            assert_eq!(recovery_hash(&typed), Some(*hash));
        }
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), RECOVERY_CODES);
    }

    #[test]
    fn what_is_no_code_has_no_hash() {
        for given in ["", "K7Q2M9", &"A".repeat(25), &"U".repeat(24), &"é".repeat(24), &"-".repeat(5000)] {
            assert_eq!(recovery_hash(given), None, "{given}");
        }
    }
}
