//! The one-time set-up code: whoever can read the box's console may make the first user, and nobody else.

use std::time::Duration;

use aws_lc_rs::constant_time;
use zeroize::Zeroizing;

use super::{AccessError, random};
use crate::clock::Timestamp;

/// A code is good for this long.
pub const SETUP_CODE_LIFE: Duration = Duration::from_secs(30 * 60);
/// Wrong tries until a code is spent.
pub const SETUP_CODE_TRIES: u8 = 5;
/// 15 symbols of 5 bits: 75 bits.
const SYMBOLS: usize = 15;
const GROUP: usize = 5;
/// Crockford's base 32: no I, L, O, U, so that it survives being read aloud and typed.
pub(super) const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// A set-up code and how much is left of it.
pub struct SetupCode {
    symbols: Zeroizing<[u8; SYMBOLS]>,
    made: Timestamp,
    tries_left: u8,
}

/// What a try came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    Right,
    /// Wrong; so many tries are left.
    Wrong {
        left: u8,
    },
    /// Wrong too often: make and show a new code.
    Spent,
    /// Too old, right or wrong: make and show a new code.
    Expired,
}

impl SetupCode {
    /// A fresh code.
    pub fn make(now: Timestamp) -> Result<Self, AccessError> {
        let mut symbols = Zeroizing::new(random::<SYMBOLS>()?);
        for symbol in symbols.iter_mut() {
            // 32 divides 256: every symbol is equally likely.
            *symbol = ALPHABET.get(usize::from(*symbol & 31)).copied().unwrap_or(b'0');
        }
        Ok(Self { symbols, made: now, tries_left: SETUP_CODE_TRIES })
    }

    /// The code as it is shown: `K7Q2M-9XW4T-BH3NR`.
    pub fn text(&self) -> String {
        let groups: Vec<String> =
            self.symbols.chunks(GROUP).map(|group| String::from_utf8_lossy(group).into_owned()).collect();
        groups.join("-")
    }

    /// Checks what a person typed; case, spaces and dashes do not matter. A right code stays right until the
    /// caller drops it, so that a password that is refused does not cost the code.
    pub fn attempt(&mut self, given: &str, now: Timestamp) -> Attempt {
        if now.since(self.made) >= SETUP_CODE_LIFE {
            return Attempt::Expired;
        }
        if self.tries_left == 0 {
            return Attempt::Spent;
        }
        let given = Zeroizing::new(normalised(given));
        if constant_time::verify_slices_are_equal(&given, self.symbols.as_slice()).is_ok() {
            return Attempt::Right;
        }
        self.tries_left -= 1;
        match self.tries_left {
            0 => Attempt::Spent,
            left => Attempt::Wrong { left },
        }
    }
}

/// A password that the box makes for somebody, who changes it at the first log-in: four groups of five symbols.
pub fn one_time_password() -> Result<Zeroizing<String>, AccessError> {
    let bytes = Zeroizing::new(random::<20>()?);
    let mut text = Zeroizing::new(String::new());
    for (at, byte) in bytes.iter().enumerate() {
        if at > 0 && at % GROUP == 0 {
            text.push('-');
        }
        text.push(char::from(ALPHABET.get(usize::from(byte & 31)).copied().unwrap_or(b'0')));
    }
    Ok(text)
}

/// What was typed, as symbols: at most one more than a code has, which is enough to be wrong.
fn normalised(given: &str) -> Vec<u8> {
    given
        .bytes()
        .take(4 * SYMBOLS)
        .filter(|b| !matches!(b, b'-' | b' ' | b'\t' | b'\r' | b'\n'))
        .take(SYMBOLS + 1)
        .map(|b| match b.to_ascii_uppercase() {
            b'I' | b'L' => b'1',
            b'O' => b'0',
            other => other,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000, true)
    }

    #[test]
    fn a_code_is_three_groups_and_no_two_are_alike() {
        let code = SetupCode::make(at(0)).unwrap();
        let text = code.text();
        assert_eq!(text.len(), 17);
        assert!(
            text.split('-').all(|group| group.len() == 5 && group.bytes().all(|b| ALPHABET.contains(&b)))
        );
        assert_ne!(text, SetupCode::make(at(0)).unwrap().text());
    }

    #[test]
    fn a_password_the_box_makes_passes_its_own_rules() {
        let (one, other) = (one_time_password().unwrap(), one_time_password().unwrap());
        assert_ne!(*one, *other);
        assert_eq!(super::super::check_password(&one, "anna", &[]), Ok(()));
    }

    #[test]
    fn a_code_may_be_typed_carelessly() {
        let mut code = SetupCode::make(at(0)).unwrap();
        let typed = code.text().to_lowercase().replace('-', " ").replace('0', "o").replace('1', "l");
        assert_eq!(code.attempt(&typed, at(1)), Attempt::Right);
        assert_eq!(code.attempt(&typed, at(2)), Attempt::Right, "a refused password does not cost the code");
    }

    #[test]
    fn five_wrong_tries_spend_a_code_even_for_the_right_one() {
        let mut code = SetupCode::make(at(0)).unwrap();
        for left in [4, 3, 2, 1] {
            assert_eq!(code.attempt("WRONG", at(1)), Attempt::Wrong { left });
        }
        assert_eq!(code.attempt(&format!("{}X", code.text()), at(1)), Attempt::Spent);
        assert_eq!(code.attempt(&code.text(), at(1)), Attempt::Spent);
    }

    #[test]
    fn a_code_is_over_after_half_an_hour() {
        let mut code = SetupCode::make(at(0)).unwrap();
        assert_eq!(code.attempt(&code.text(), at(1799)), Attempt::Right);
        assert_eq!(code.attempt(&code.text(), at(1800)), Attempt::Expired);
    }
}
