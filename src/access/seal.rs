//! Secrets that must be read again (those of authenticator apps) are kept encrypted. The key is a file of the secrets
//! folder, so that neither a stolen database nor a backup of it gives them away.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};

use super::{AccessError, random};
use crate::secret::Secret;

/// Bytes of a key.
const KEY_BYTES: usize = 32;

/// Encrypts and decrypts with AES-256-GCM under a fresh nonce each time.
pub struct Seal(RandomizedNonceKey);

impl Seal {
    /// From the kept key.
    pub fn new(key: &Secret) -> Result<Self, AccessError> {
        let bytes: &[u8; KEY_BYTES] = key.expose().try_into().map_err(|_| AccessError::Seal)?;
        RandomizedNonceKey::new(&AES_256_GCM, bytes).map(Self).map_err(|_| AccessError::Seal)
    }

    /// A fresh key, to be kept.
    pub fn make_key() -> Result<Secret, AccessError> {
        Ok(Secret::new(random::<KEY_BYTES>()?.to_vec()))
    }

    /// Nonce, ciphertext and tag. `whose` is bound to it: sealed for one user it does not open for another.
    pub fn close(&self, plain: &[u8], whose: &str) -> Result<Vec<u8>, AccessError> {
        let mut sealed = plain.to_vec();
        let nonce = self
            .0
            .seal_in_place_append_tag(Aad::from(whose.as_bytes()), &mut sealed)
            .map_err(|_| AccessError::Seal)?;
        Ok([nonce.as_ref().as_slice(), &sealed].concat())
    }

    /// What was sealed for `whose`; `None` when it was not, was changed, or under another key.
    pub fn open(&self, sealed: &[u8], whose: &str) -> Option<Secret> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut bytes = sealed.to_vec();
        let plain = self.0.open_in_place(nonce, Aad::from(whose.as_bytes()), &mut bytes).ok()?;
        Some(Secret::new(plain.to_vec()))
    }
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seal(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_for_its_owner_under_its_key_only() {
        let key = Seal::make_key().unwrap();
        let seal = Seal::new(&key).unwrap();
        let sealed = seal.close(b"secret of an app", "anna").unwrap();
        assert!(!sealed.windows(6).any(|w| w == b"secret"));
        assert_ne!(sealed, seal.close(b"secret of an app", "anna").unwrap(), "a fresh nonce each time");
        assert_eq!(seal.open(&sealed, "anna").unwrap().expose(), b"secret of an app");
        assert!(seal.open(&sealed, "eve").is_none());
        let other = Seal::new(&Seal::make_key().unwrap()).unwrap();
        assert!(other.open(&sealed, "anna").is_none());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(seal.open(&changed, "anna").is_none());
        }
        assert!(seal.open(&sealed[..5], "anna").is_none());
        assert!(Seal::new(&Secret::new(vec![0; 31])).is_err());
    }
}
