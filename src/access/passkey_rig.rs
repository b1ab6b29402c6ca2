//! An authenticator made of software, for tests: what a security key and a browser would answer, and every way to
//! answer it wrongly.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair};
use aws_lc_rs::{digest, rsa};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ciborium::Value;

/// Its key.
pub(crate) enum Key {
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
    Rs256(RsaKeyPair),
}

/// One credential of one authenticator. Its fields may be set to lie.
pub(crate) struct Authenticator {
    pub(crate) key: Key,
    pub(crate) credential: Vec<u8>,
    pub(crate) counter: u32,
    /// Flags but for "attested".
    pub(crate) flags: u8,
    pub(crate) rp_id: String,
    pub(crate) origin: String,
    /// More members of the client data, from a comma on.
    pub(crate) more: String,
}

/// What a page hands over.
pub(crate) struct Assertion {
    pub(crate) client_data: Vec<u8>,
    pub(crate) data: Vec<u8>,
    pub(crate) signature: Vec<u8>,
}

impl Authenticator {
    /// With a P-256 key, as most have.
    pub(crate) fn new(rp_id: &str, origin: &str) -> Self {
        let key = EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        Self::with(Key::Es256(key), rp_id, origin)
    }

    pub(crate) fn with(key: Key, rp_id: &str, origin: &str) -> Self {
        Self {
            key,
            credential: vec![9; 16],
            counter: 0,
            flags: 0x05,
            rp_id: rp_id.into(),
            origin: origin.into(),
            more: String::new(),
        }
    }

    pub(crate) fn ed25519() -> Key {
        Key::EdDsa(Ed25519KeyPair::generate().unwrap())
    }

    pub(crate) fn rsa() -> Key {
        Key::Rs256(RsaKeyPair::generate(rsa::KeySize::Rsa2048).unwrap())
    }

    pub(crate) fn client_data(&self, ceremony: &str, challenge: &[u8]) -> Vec<u8> {
        format!(
            "{{\"type\":\"{ceremony}\",\"challenge\":\"{}\",\"origin\":\"{}\",\"crossOrigin\":false{}}}",
            URL_SAFE_NO_PAD.encode(challenge),
            self.origin,
            self.more
        )
        .into_bytes()
    }

    fn head(&self, flags: u8) -> Vec<u8> {
        let mut data = digest::digest(&digest::SHA256, self.rp_id.as_bytes()).as_ref().to_vec();
        data.push(flags);
        data.extend_from_slice(&self.counter.to_be_bytes());
        data
    }

    /// The COSE key.
    pub(crate) fn cose(&self) -> Vec<u8> {
        let int = |n: i64| Value::Integer(n.into());
        let map = match &self.key {
            Key::Es256(key) => {
                let point = key.public_key().as_ref();
                vec![
                    (int(1), int(2)),
                    (int(3), int(-7)),
                    (int(-1), int(1)),
                    (int(-2), Value::Bytes(point[1..33].to_vec())),
                    (int(-3), Value::Bytes(point[33..].to_vec())),
                ]
            }
            Key::EdDsa(key) => vec![
                (int(1), int(1)),
                (int(3), int(-8)),
                (int(-1), int(6)),
                (int(-2), Value::Bytes(key.public_key().as_ref().to_vec())),
            ],
            Key::Rs256(key) => {
                let public = key.public_key();
                vec![
                    (int(1), int(3)),
                    (int(3), int(-257)),
                    (int(-1), Value::Bytes(public.modulus().big_endian_without_leading_zero().to_vec())),
                    (int(-2), Value::Bytes(public.exponent().big_endian_without_leading_zero().to_vec())),
                ]
            }
        };
        encoded(&Value::Map(map))
    }

    /// What an authenticator says when a credential is made.
    pub(crate) fn authenticator_data(&self) -> Vec<u8> {
        let mut data = self.head(self.flags | 0x40);
        data.extend_from_slice(&[0; 16]);
        data.extend_from_slice(&u16::try_from(self.credential.len()).unwrap().to_be_bytes());
        data.extend_from_slice(&self.credential);
        data.extend_from_slice(&self.cose());
        data
    }

    /// Client data and attestation object.
    pub(crate) fn register(&self, challenge: &[u8]) -> (Vec<u8>, Vec<u8>) {
        (self.client_data("webauthn.create", challenge), attestation(&self.authenticator_data()))
    }

    /// The answer to a log-in.
    pub(crate) fn assert(&mut self, challenge: &[u8]) -> Assertion {
        self.counter += 1;
        let client_data = self.client_data("webauthn.get", challenge);
        let data = self.head(self.flags);
        let hash = digest::digest(&digest::SHA256, &client_data);
        let signature = self.sign(&[&data, hash.as_ref()].concat());
        Assertion { client_data, data, signature }
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.key {
            Key::Es256(key) => key.sign(&random, message).unwrap().as_ref().to_vec(),
            Key::EdDsa(key) => key.sign(message).as_ref().to_vec(),
            Key::Rs256(key) => {
                let mut signed = vec![0; key.public_modulus_len()];
                key.sign(&signature::RSA_PKCS1_SHA256, &random, message, &mut signed).unwrap();
                signed
            }
        }
    }
}

/// An attestation object of format "none" around this authenticator data.
pub(crate) fn attestation(data: &[u8]) -> Vec<u8> {
    encoded(&Value::Map(vec![
        (Value::Text("fmt".into()), Value::Text("none".into())),
        (Value::Text("attStmt".into()), Value::Map(Vec::new())),
        (Value::Text("authData".into()), Value::Bytes(data.to_vec())),
    ]))
}

fn encoded(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).unwrap();
    bytes
}
