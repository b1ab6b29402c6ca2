//! Passwords as NIST SP 800-63B §5.1.1 wants them: long, not guessable, no composition rules; kept as Argon2id.

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};

use super::AccessError;
use super::common::is_common;

/// Fewest characters of a password.
pub const PASSWORD_MIN: usize = 12;
/// Most characters of a password: a bound on work, far above any phrase.
pub const PASSWORD_MAX: usize = 256;
/// Most characters of a user name.
pub const USERNAME_MAX: usize = 64;

/// Why a password is not taken, in words for the person who chose it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordFault {
    #[error("the password needs at least 12 characters; a few words in a row are easy to remember")]
    TooShort,
    #[error("the password has more than 256 characters")]
    TooLong,
    #[error("the password is the user name")]
    IsUsername,
    #[error(
        "the password is among those that are guessed first; choose a few words that do not belong together"
    )]
    Common,
}

/// Why a user name is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a user name has 1 to 64 characters, without spaces at its ends and without control characters")]
pub struct UsernameFault;

/// Checks a new password. `own` are further words a guesser would know, such as the name of the site.
pub fn check_password(password: &str, username: &str, own: &[&str]) -> Result<(), PasswordFault> {
    let count = password.chars().take(PASSWORD_MAX + 1).count();
    if count < PASSWORD_MIN {
        return Err(PasswordFault::TooShort);
    }
    if count > PASSWORD_MAX {
        return Err(PasswordFault::TooLong);
    }
    if password.trim().to_lowercase() == username.trim().to_lowercase() {
        return Err(PasswordFault::IsUsername);
    }
    let words: Vec<&str> = own.iter().copied().chain([username]).collect();
    if is_common(password, &words) { Err(PasswordFault::Common) } else { Ok(()) }
}

/// A user name as it is kept and compared: lower case.
pub fn check_username(username: &str) -> Result<String, UsernameFault> {
    let count = username.chars().take(USERNAME_MAX + 1).count();
    let fits = (1..=USERNAME_MAX).contains(&count)
        && username.trim() == username
        && !username.chars().any(|c| c.is_control() || is_invisible(c));
    if fits { Ok(username.to_lowercase()) } else { Err(UsernameFault) }
}

/// Characters that make two names look alike or turn text around: zero width, bidirectional controls.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{ad}')
}

/// Hashes a password with a fresh salt to a PHC string. Takes tens of milliseconds and 19 MiB: call it off the
/// async threads.
pub fn hash_password(password: &str) -> Result<String, AccessError> {
    let hash: PasswordHash = argon2id()?
        .hash_password(password.as_bytes())
        .map_err(|fault| AccessError::Hash(fault.to_string()))?;
    Ok(hash.to_string())
}

/// Whether `password` is the one behind `stored`. Without `stored` (no such user) it does the same work and says
/// no, so that the time tells nobody which user names exist. Call it off the async threads.
pub fn verify_password(password: &str, stored: Option<&str>) -> bool {
    // Longer than any password we took: not worth the work, and no user name is told by it.
    if password.chars().take(PASSWORD_MAX + 1).count() > PASSWORD_MAX {
        return false;
    }
    let Ok(argon2) = argon2id() else { return false };
    let Ok(hash) = PasswordHash::new(stored.unwrap_or(NOBODY)) else { return false };
    let matches = argon2.verify_password(password.as_bytes(), &hash).is_ok();
    matches && stored.is_some()
}

/// Argon2id, version 0x13, 19 MiB, two passes, one lane: the first choice of the OWASP password storage advice
/// for small machines, and what two log-ins at once may take of a gateway box.
fn argon2id() -> Result<Argon2<'static>, AccessError> {
    let params = Params::new(19_456, 2, 1, None).map_err(|fault| AccessError::Hash(fault.to_string()))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

/// The hash of a password nobody has, with our parameters: what an unknown user is checked against.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5bm9ib2R5bm8$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_verifies_against_its_own_hash_only() {
        let hash = hash_password("violet tram at noon").unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "the stated parameters are in the hash");
        assert!(verify_password("violet tram at noon", Some(&hash)));
        assert!(!verify_password("violet tram at noon ", Some(&hash)));
        assert_ne!(hash, hash_password("violet tram at noon").unwrap(), "a fresh salt each time");
    }

    #[test]
    fn an_unknown_user_costs_the_same_work_and_never_matches() {
        let nobody = PasswordHash::new(NOBODY).unwrap();
        let own = PasswordHash::new(&hash_password("violet tram at noon").unwrap()).unwrap();
        assert_eq!(nobody.params, own.params);
        assert_eq!(nobody.algorithm, own.algorithm);
        assert_eq!(nobody.hash.unwrap().len(), own.hash.unwrap().len());
        assert!(!verify_password("anything at all", None));
    }

    #[test]
    fn a_broken_stored_hash_lets_nobody_in() {
        for stored in ["", "x", "$argon2id$v=19$m=19456,t=2,p=1$", "$argon2id$"] {
            assert!(!verify_password("", Some(stored)), "{stored}");
        }
    }

    #[test]
    fn the_rules_are_length_and_guessability_and_nothing_else() {
        assert_eq!(check_password("elevenchars", "anna", &[]), Err(PasswordFault::TooShort));
        assert_eq!(check_password(&"é".repeat(257), "anna", &[]), Err(PasswordFault::TooLong));
        assert_eq!(check_password("Anna.Schmidt.1", "anna.schmidt.1", &[]), Err(PasswordFault::IsUsername));
        assert_eq!(check_password("password12345", "anna", &[]), Err(PasswordFault::Common));
        assert_eq!(check_password("annaschmidt2026", "anna.schmidt", &[]), Err(PasswordFault::Common));
        assert_eq!(check_password("all lower case words", "anna", &[]), Ok(()));
        assert_eq!(
            check_password(&"kettle orbit ".repeat(19), "anna", &[]),
            Ok(()),
            "247 characters are welcome"
        );
    }

    #[test]
    fn user_names_are_plain_and_compared_in_lower_case() {
        assert_eq!(check_username("Anna").unwrap(), "anna");
        for name in ["", " anna", "an\nna", "a\u{202e}b", &"x".repeat(65)] {
            assert_eq!(check_username(name), Err(UsernameFault), "{name:?}");
        }
    }
}
