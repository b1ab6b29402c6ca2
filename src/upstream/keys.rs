//! The key pair a box signs its client assertions with.
//!
//! SMART App Launch 2.2, client-confidential-asymmetric: RS384 and ES384, the public half as a JWK set. The key id
//! is the RFC 7638 thumbprint, so that both sides can compute it from the key and no one has to invent names.

use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair};
use jsonwebtoken::jwk::{Jwk, KeyAlgorithm, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{EncodingKey, Header};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde::Serialize;
use serde_json::Value;

use crate::secret::Secret;

/// The two signature algorithms SMART asks every server to support.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// RSA PKCS#1 v1.5 with SHA-384.
    Rs384,
    /// ECDSA with P-384 and SHA-384.
    Es384,
}

impl Algorithm {
    /// The name of RFC 7518 §3.1: `RS384` or `ES384`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rs384 => "RS384",
            Self::Es384 => "ES384",
        }
    }

    fn jose(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Rs384 => jsonwebtoken::Algorithm::RS384,
            Self::Es384 => jsonwebtoken::Algorithm::ES384,
        }
    }
}

impl std::str::FromStr for Algorithm {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        match text.to_ascii_uppercase().as_str() {
            "RS384" => Ok(Self::Rs384),
            "ES384" => Ok(Self::Es384),
            _ => Err(KeyError::Algorithm(text.into())),
        }
    }
}

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("\"{0}\" is not a signature algorithm of SMART: use ES384 or RS384")]
    Algorithm(String),
    #[error("the file holds no private key in PEM form (BEGIN PRIVATE KEY)")]
    NotPem,
    #[error(
        "the key is neither RSA nor P-384; SMART accepts RS384 (RSA of 2048 bits or more) and ES384 (P-384)"
    )]
    NotSmart,
    #[error("the RSA key has {0} bits; at least 2048 are needed")]
    Short(usize),
    #[error("no key could be made: {0}")]
    Generate(String),
    #[error("the assertion could not be signed: {0}")]
    Sign(String),
}

/// A private key ready to sign, with the public half that may be shown to everybody.
#[derive(Clone)]
pub struct SigningKey {
    algorithm: Algorithm,
    key: EncodingKey,
    kid: String,
    jwk: Value,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({} {})", self.algorithm.name(), self.kid)
    }
}

impl SigningKey {
    /// Reads a PEM private key: PKCS#8, PKCS#1 (RSA) or SEC1 (EC). The algorithm follows from the key.
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let der = PrivateKeyDer::from_pem_slice(pem).map_err(|_| KeyError::NotPem)?;
        let der = der.secret_der();
        if let Ok(pair) = EcdsaKeyPair::from_private_key_der(&ECDSA_P384_SHA384_FIXED_SIGNING, der) {
            let pkcs8 = pair.to_pkcs8v1().map_err(|_| KeyError::NotSmart)?;
            return Self::new(Algorithm::Es384, EncodingKey::from_ec_der(pkcs8.as_ref()));
        }
        let rsa =
            aws_lc_rs::rsa::KeyPair::from_pkcs8(der).or_else(|_| aws_lc_rs::rsa::KeyPair::from_der(der));
        let bits = rsa.map_err(|_| KeyError::NotSmart)?.public_modulus_len() * 8;
        if bits < 2048 {
            return Err(KeyError::Short(bits));
        }
        // jsonwebtoken reads the inner PKCS#1 key out of either form.
        Self::new(Algorithm::Rs384, EncodingKey::from_rsa_pem(pem).map_err(|_| KeyError::NotSmart)?)
    }

    fn new(algorithm: Algorithm, key: EncodingKey) -> Result<Self, KeyError> {
        let mut jwk = Jwk::from_encoding_key(&key, algorithm.jose()).map_err(|_| KeyError::NotSmart)?;
        let kid = jwk.thumbprint(ThumbprintHash::SHA256).map_err(|_| KeyError::NotSmart)?;
        jwk.common.key_id = Some(kid.clone());
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        jwk.common.key_algorithm = Some(match algorithm {
            Algorithm::Rs384 => KeyAlgorithm::RS384,
            Algorithm::Es384 => KeyAlgorithm::ES384,
        });
        let jwk = serde_json::to_value(jwk).map_err(|_| KeyError::NotSmart)?;
        Ok(Self { algorithm, key, kid, jwk })
    }

    /// RS384 or ES384.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The RFC 7638 thumbprint (SHA-256, base64url).
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The public key as a JWK with `kid`, `alg` and `use`; never a private member.
    pub fn public_jwk(&self) -> &Value {
        &self.jwk
    }

    /// Signs `claims` as a JWT whose header is exactly alg, kid and typ.
    pub(super) fn sign<T: Serialize>(&self, claims: &T) -> Result<String, KeyError> {
        let mut header = Header::new(self.algorithm.jose());
        header.kid = Some(self.kid.clone());
        jsonwebtoken::encode(&header, claims, &self.key).map_err(|fault| KeyError::Sign(fault.to_string()))
    }
}

/// A new private key as PEM (PKCS#8) for `bedside keys new`; load it again with [`SigningKey::from_pem`].
pub fn generate(algorithm: Algorithm) -> Result<Secret, KeyError> {
    let pair = match algorithm {
        Algorithm::Es384 => rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
        Algorithm::Rs384 => {
            rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA384, rcgen::RsaKeySize::_3072)
        }
    };
    let pair = pair.map_err(|fault| KeyError::Generate(fault.to_string()))?;
    Ok(Secret::new(pair.serialize_pem().into_bytes()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn round(algorithm: Algorithm) -> SigningKey {
        SigningKey::from_pem(generate(algorithm).unwrap().expose()).unwrap()
    }

    #[test]
    fn a_new_key_signs_what_its_public_half_verifies() {
        for algorithm in [Algorithm::Es384, Algorithm::Rs384] {
            let key = round(algorithm);
            let jwt = key.sign(&json!({ "sub": "box" })).unwrap();
            let jwk: Jwk = serde_json::from_value(key.public_jwk().clone()).unwrap();
            let mut rules = jsonwebtoken::Validation::new(algorithm.jose());
            rules.required_spec_claims.clear();
            rules.validate_exp = false;
            let public = jsonwebtoken::DecodingKey::from_jwk(&jwk).unwrap();
            let token = jsonwebtoken::decode::<Value>(&jwt, &public, &rules).unwrap();
            assert_eq!(token.claims["sub"], "box");
            assert_eq!(token.header.kid.as_deref(), Some(key.kid()));
            assert_eq!(token.header.typ.as_deref(), Some("JWT"));
        }
    }

    #[test]
    fn the_public_jwk_holds_no_private_member() {
        for algorithm in [Algorithm::Es384, Algorithm::Rs384] {
            let jwk = round(algorithm).public_jwk().clone();
            for private in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
                assert!(jwk.get(private).is_none(), "{private}");
            }
            assert_eq!(jwk["alg"], algorithm.name());
            assert_eq!(jwk["use"], "sig");
        }
    }

    #[test]
    fn the_key_id_is_the_thumbprint_of_rfc_7638() {
        // RFC 7638 §3.1 gives this key and its thumbprint.
        let jwk: Jwk = serde_json::from_value(json!({
            "kty": "RSA", "e": "AQAB",
            "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
        }))
        .unwrap();
        assert_eq!(
            jwk.thumbprint(ThumbprintHash::SHA256).unwrap(),
            "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
        );
    }

    #[test]
    fn a_key_smart_does_not_know_is_refused() {
        let p256 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap().serialize_pem();
        assert!(matches!(SigningKey::from_pem(p256.as_bytes()), Err(KeyError::NotSmart)));
        assert!(matches!(SigningKey::from_pem(b"not a key"), Err(KeyError::NotPem)));
        assert!("HS256".parse::<Algorithm>().is_err());
    }

    #[test]
    fn a_signing_key_prints_no_secret() {
        let key = round(Algorithm::Es384);
        assert_eq!(format!("{key:?}"), format!("SigningKey(ES384 {})", key.kid()));
    }
}
