//! Codes of an authenticator app: RFC 6238 with what every app understands (SHA-1, 6 digits, 30 s).

use aws_lc_rs::{constant_time, hmac};
use zeroize::Zeroizing;

use super::{AccessError, random};
use crate::clock::Timestamp;

/// Seconds one code stands (RFC 6238 §5.2).
const STEP_S: i64 = 30;
/// Steps before and after now whose code is taken: clocks of telephones differ a little.
const SLACK: i64 = 1;
/// 160 bits, as RFC 4226 §4 R6 recommends.
const SECRET_BYTES: usize = 20;
const DIGITS: usize = 6;
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// The shared secret of one authenticator app.
pub struct Totp(Zeroizing<Vec<u8>>);

impl Totp {
    /// A fresh secret.
    pub fn make() -> Result<Self, AccessError> {
        Ok(Self(Zeroizing::new(random::<SECRET_BYTES>()?.to_vec())))
    }

    /// From the bytes that were kept; `None` when they cannot be a secret.
    pub fn from_bytes(bytes: Vec<u8>) -> Option<Self> {
        let bytes = Zeroizing::new(bytes);
        (16..=64).contains(&bytes.len()).then(|| Self(bytes))
    }

    /// The bytes to be kept, sealed.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The secret for those who type it (RFC 4648 §6, without padding).
    pub fn base32(&self) -> Zeroizing<String> {
        let mut text = String::new();
        let (mut bits, mut count) = (0_u32, 0);
        for byte in self.0.iter() {
            bits = (bits << 8) | u32::from(*byte);
            count += 8;
            while count >= 5 {
                count -= 5;
                text.push(symbol(bits >> count));
            }
            bits &= (1 << count) - 1;
        }
        if count > 0 {
            text.push(symbol(bits << (5 - count)));
        }
        Zeroizing::new(text)
    }

    /// What the QR code says: the key URI that authenticator apps read.
    pub fn uri(&self, site: &str, username: &str) -> Zeroizing<String> {
        let issuer = format!("Bedside {site}").replace(':', " ");
        let name = |text: &str| {
            percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
        };
        Zeroizing::new(format!(
            "otpauth://totp/{}:{}?secret={}&issuer={}&algorithm=SHA1&digits={DIGITS}&period={STEP_S}",
            name(&issuer),
            name(username),
            self.base32().as_str(),
            name(&issuer)
        ))
    }

    /// The step whose code `given` is, when it is later than `last`, the step of the code taken last: no code is
    /// taken twice, and none from before it. The caller keeps the step with the same write that lets the person in.
    pub fn check(&self, given: &str, now: Timestamp, last: i64) -> Option<i64> {
        let given: Vec<u8> = given.bytes().filter(|b| *b != b' ').take(DIGITS + 1).collect();
        let step = now.micros.div_euclid(1_000_000).div_euclid(STEP_S);
        let mut found = None;
        // Every candidate is computed, so that the time says nothing.
        for candidate in step - SLACK..=step + SLACK {
            let right =
                constant_time::verify_slices_are_equal(self.code(candidate).as_bytes(), &given).is_ok();
            if right && candidate > last {
                found = Some(candidate);
            }
        }
        found
    }

    /// RFC 4226 §5.3.
    fn code(&self, step: i64) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &self.0);
        let tag = hmac::sign(&key, &step.to_be_bytes());
        let sum = tag.as_ref();
        let offset = usize::from(sum.last().copied().unwrap_or(0) & 0x0f);
        let four = sum.get(offset..offset + 4).and_then(|four| <[u8; 4]>::try_from(four).ok());
        let number = u32::from_be_bytes(four.unwrap_or_default()) & 0x7fff_ffff;
        format!("{:06}", number % 1_000_000)
    }

    /// The code that stands now, for rigs that play the telephone.
    #[cfg(test)]
    pub(crate) fn now(&self, now: Timestamp) -> String {
        self.code(now.micros.div_euclid(1_000_000).div_euclid(STEP_S))
    }
}

impl std::fmt::Debug for Totp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Totp(***)")
    }
}

fn symbol(bits: u32) -> char {
    let at = usize::try_from(bits & 31).unwrap_or(0);
    char::from(BASE32.get(at).copied().unwrap_or(b'A'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000, true)
    }

    fn rfc() -> Totp {
        Totp::from_bytes(b"12345678901234567890".to_vec()).unwrap()
    }

    #[test]
    fn codes_are_those_of_rfc_6238_appendix_b() {
        for (seconds, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(rfc().now(at(seconds)), code);
            assert_eq!(rfc().check(code, at(seconds), 0), Some(seconds / 30));
        }
    }

    #[test]
    fn a_code_is_taken_once_and_one_step_early_or_late() {
        let totp = rfc();
        let code = totp.now(at(3_000));
        assert_eq!(totp.check(&code, at(3_030), 0), Some(100));
        assert_eq!(totp.check(&code, at(2_970), 0), Some(100));
        assert_eq!(totp.check(&code, at(3_060), 0), None);
        assert_eq!(totp.check(&code, at(2_939), 0), None);
        assert_eq!(totp.check(&code, at(3_000), 100), None, "the same code again");
        assert_eq!(totp.check(&totp.now(at(2_970)), at(3_000), 100), None, "one from before it");
        assert_eq!(totp.check(&totp.now(at(3_030)), at(3_000), 100), Some(101));
    }

    #[test]
    fn what_is_no_code_is_not_taken() {
        let totp = rfc();
        let code = totp.now(at(3_000));
        assert!(totp.check(&format!("{} {}", &code[..3], &code[3..]), at(3_000), 0).is_some());
        for given in ["", "0", "abcdef", &code[..5], &format!("{code}0"), &"9".repeat(500)] {
            assert_eq!(totp.check(given, at(3_000), 0), None, "{given}");
        }
    }

    #[test]
    fn a_secret_is_told_once_in_base32_and_never_printed() {
        assert_eq!(rfc().base32().as_str(), "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
        let odd = Totp::from_bytes(b"12345678901234567".to_vec()).unwrap();
        assert_eq!(odd.base32().as_str(), "GEZDGNBVGY3TQOJQGEZDGNBVGY3Q");
        let uri = rfc().uri("Ward: 3", "anna ö");
        assert!(
            uri.starts_with("otpauth://totp/Bedside%20Ward%20%203:anna%20%C3%B6?secret=GEZD"),
            "{}",
            *uri
        );
        assert_eq!(format!("{:?}", rfc()), "Totp(***)");
        assert_ne!(Totp::make().unwrap().bytes(), Totp::make().unwrap().bytes());
        assert!(Totp::from_bytes(vec![1; 3]).is_none());
    }
}
