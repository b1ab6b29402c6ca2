//! Who may: passwords, second factors, the one-time set-up code, sessions, roles and grants, the brake on guessing, what
//! other systems vouch for, and the desk's own certificate.
//!
//! Nothing here stores, listens or reads a clock. Time comes in as a [`crate::clock::Timestamp`], and whoever
//! calls keeps what is to be kept: a password only as its Argon2id hash, a session only as the SHA-256 of its
//! token, a set-up code nowhere but in memory.

pub mod browser;
mod certificate;
mod common;
mod grants;
pub mod ldap;
pub mod oidc;
mod passkey;
#[cfg(test)]
pub(crate) mod passkey_rig;
mod password;
mod policy;
mod recovery;
mod role;
mod seal;
mod session;
mod setup;
mod throttle;
mod totp;
mod vouched;

pub use certificate::{SelfMade, fingerprint};
pub use grants::{Grants, Place};
pub use passkey::{
    Expected, NewPasskey, PASSKEY_ALGORITHMS, PasskeyFault, check_assertion, check_registration, rp_id,
};
pub use password::{
    PASSWORD_MAX, PASSWORD_MIN, PasswordFault, USERNAME_MAX, UsernameFault, check_password, check_username,
    hash_password, verify_password,
};
pub use policy::{BREAK_GLASS_MAX_MIN, Config, Doubt, OwnRole, Proof, StepUp};
pub use recovery::{RECOVERY_CODES, make_recovery_codes, recovery_hash};
pub use role::{Permission, Permissions, Role};
pub use seal::Seal;
pub use session::{Limits, SESSION_IDLE, SESSION_LIFE, SessionState, Stage, Token, TokenHash, judge};
pub use setup::{Attempt, SETUP_CODE_LIFE, SETUP_CODE_TRIES, SetupCode, one_time_password};
pub use throttle::{Throttle, Throttled};
pub use totp::Totp;
pub use vouched::{Vouched, roles_of};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};

/// Why access could not do its work. None of these says anything about a person or a password.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    #[error("the system gave no random bytes")]
    Random,
    #[error("the password could not be hashed: {0}")]
    Hash(String),
    #[error("the certificate could not be made: {0}")]
    Certificate(String),
    #[error("the key that protects second factors cannot be used")]
    Seal,
}

/// Random bytes from the system's generator.
fn random<const N: usize>() -> Result<[u8; N], AccessError> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| AccessError::Random)?;
    Ok(bytes)
}

/// For the fuzzing rig: whatever a stranger sends as code, token, name or password, nothing panics and nothing
/// made up is right.
pub fn fuzz(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let now = crate::clock::Timestamp::from_micros(0, true);
    if let Ok(mut code) = SetupCode::make(now) {
        assert_ne!(code.attempt(&text, now), Attempt::Right);
    }
    assert!(TokenHash::of(&text).is_none() || text.len() == 43);
    if let Ok(name) = check_username(&text) {
        assert!(!name.chars().any(char::is_control));
    }
    passkey::fuzz(bytes);
    oidc::fuzz(bytes);
    ldap::fuzz(bytes);
    recovery_hash(&text);
    if let Ok(seal) = Seal::make_key().and_then(|key| Seal::new(&key)) {
        assert!(!browser::is_known(&seal, &browser::Bond::of("anna", "", []), &text, 365, None, now));
    }
    assert!(!Grants::read(&text).permissions(Role::Auditor).holds(Permission::Users));
    let (name, password) = text.split_once('\n').unwrap_or(("", &text));
    if check_password(password, name, &[name]).is_ok() {
        assert!((PASSWORD_MIN..=PASSWORD_MAX).contains(&password.chars().count()));
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn whatever_a_stranger_sends_is_survived() {
        for seed in [
            "",
            "\0",
            "K7Q2M-9XW4T-BH3NR",
            "anna\npässwörd-ß-İstanbul",
            "İ\nİİİİİİİİİİİİİ",
            "ſſſſ\nſſſſſſſſſſſſſ",
        ] {
            super::fuzz(seed.as_bytes());
        }
        super::fuzz(&[0xff; 5000]);
        super::fuzz("é".repeat(3000).as_bytes());
    }
}
