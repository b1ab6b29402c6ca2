//! Passkeys: what a relying party checks of WebAuthn Level 2 (§7.1, §7.2), over aws-lc-rs.
//!
//! A passkey is a second factor here and the user must have been verified by it (PIN or finger), so the two together
//! are three. Attestation is asked for as "none" and no statement is believed: any maker's key is welcome.

use std::io::Cursor;

use aws_lc_rs::{constant_time, digest, signature};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ciborium::Value;
use serde::Deserialize;

use super::{AccessError, random};

/// Bytes of a challenge (WebAuthn §13.4.3 asks for 16 at least).
const CHALLENGE_BYTES: usize = 32;
/// Longest client data, authenticator data or attestation object that is looked at.
const PART_MAX: usize = 16 << 10;
/// Longest credential id (WebAuthn §6.5.1).
const CREDENTIAL_ID_MAX: usize = 1023;
/// Depth of CBOR that is followed; what authenticators send has four.
const DEPTH_MAX: usize = 8;
/// Algorithms that are taken, in the order preferred (COSE): ES256, EdDSA, RS256.
pub const PASSKEY_ALGORITHMS: [i64; 3] = [-7, -8, -257];

const USER_PRESENT: u8 = 0x01;
const USER_VERIFIED: u8 = 0x04;
const BACKUP_ELIGIBLE: u8 = 0x08;
const BACKED_UP: u8 = 0x10;
const ATTESTED: u8 = 0x40;
const EXTENSIONS: u8 = 0x80;

/// Why a passkey's answer is not believed. For the log; the person is told only that it was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasskeyFault {
    #[error("the client data is not what WebAuthn says")]
    ClientData,
    #[error("the client data is of another ceremony")]
    Ceremony,
    #[error("the challenge is another")]
    Challenge,
    #[error("the page is of another origin")]
    Origin,
    #[error("the page stood in a frame of another")]
    CrossOrigin,
    #[error("the authenticator's data cannot be read")]
    AuthenticatorData,
    #[error("the passkey is for another site")]
    RelyingParty,
    #[error("nobody was present")]
    NotPresent,
    #[error("the user was not verified by the authenticator")]
    NotVerified,
    #[error("the flags contradict each other")]
    Flags,
    #[error("the attestation cannot be read")]
    Attestation,
    #[error("the key is of a kind that is not taken")]
    Key,
    #[error("the signature is wrong")]
    Signature,
    #[error("the counter went back: the passkey may have been copied")]
    Counter,
}

/// What an answer must be an answer to.
#[derive(Clone, Debug)]
pub struct Expected {
    pub challenge: Vec<u8>,
    /// `https://ward-3.local:8443`, as the browser says it.
    pub origin: String,
    /// `ward-3.local`
    pub rp_id: String,
}

impl Expected {
    /// A fresh challenge for the desk as it was called; `None` when it was called by an address: browsers bind
    /// passkeys to names only.
    pub fn make(authority: &str) -> Result<Option<Self>, AccessError> {
        let Some(rp_id) = rp_id(authority) else { return Ok(None) };
        let authority = authority.to_ascii_lowercase();
        let origin = format!("https://{}", authority.strip_suffix(":443").unwrap_or(&authority));
        Ok(Some(Self { challenge: random::<CHALLENGE_BYTES>()?.to_vec(), origin, rp_id }))
    }

    /// The challenge as pages want it.
    pub fn challenge_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(&self.challenge)
    }
}

/// The name passkeys are bound to: the host without its port; none for an address.
pub fn rp_id(authority: &str) -> Option<String> {
    if authority.starts_with('[') {
        return None;
    }
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    let name = host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'));
    let address = host.parse::<std::net::Ipv4Addr>().is_ok();
    (name && !address && (1..=253).contains(&host.len())).then(|| host.to_ascii_lowercase())
}

/// A passkey that was made just now.
#[derive(Clone, PartialEq, Eq)]
pub struct NewPasskey {
    pub credential: Vec<u8>,
    /// Its public key, COSE (RFC 9053).
    pub key: Vec<u8>,
    pub counter: u32,
}

#[derive(Deserialize)]
struct ClientData {
    r#type: String,
    challenge: String,
    origin: String,
    #[serde(default, rename = "crossOrigin")]
    cross_origin: bool,
    #[serde(default, rename = "topOrigin")]
    top_origin: Option<String>,
}

struct AuthenticatorData<'a> {
    flags: u8,
    counter: u32,
    /// What follows the 37 bytes that are always there.
    rest: &'a [u8],
}

/// Checks a passkey that is being made (§7.1).
pub fn check_registration(
    expected: &Expected,
    client_data: &[u8],
    attestation: &[u8],
) -> Result<NewPasskey, PasskeyFault> {
    check_client_data(expected, client_data, "webauthn.create")?;
    let object =
        cbor(&mut limited(attestation).ok_or(PasskeyFault::Attestation)?).ok_or(PasskeyFault::Attestation)?;
    let fields = object.as_map().ok_or(PasskeyFault::Attestation)?;
    let field = |name: &str| {
        let mut found = fields.iter().filter(|(key, _)| key.as_text() == Some(name)).map(|(_, value)| value);
        found.next().filter(|_| found.next().is_none()).ok_or(PasskeyFault::Attestation)
    };
    field("fmt")?.as_text().ok_or(PasskeyFault::Attestation)?;
    field("attStmt")?.as_map().ok_or(PasskeyFault::Attestation)?;
    let data = field("authData")?.as_bytes().ok_or(PasskeyFault::Attestation)?;
    let data = authenticator_data(expected, data)?;
    if data.flags & ATTESTED == 0 {
        return Err(PasskeyFault::AuthenticatorData);
    }
    let (credential, key) = attested(&data).ok_or(PasskeyFault::AuthenticatorData)?;
    PublicKey::read(key)?;
    Ok(NewPasskey { credential: credential.to_vec(), key: key.to_vec(), counter: data.counter })
}

/// Checks that the holder of a kept passkey answered (§7.2); the counter to keep from now on.
pub fn check_assertion(
    expected: &Expected,
    key: &[u8],
    counter: u32,
    client_data: &[u8],
    data: &[u8],
    signed: &[u8],
) -> Result<u32, PasskeyFault> {
    check_client_data(expected, client_data, "webauthn.get")?;
    let read = authenticator_data(expected, data)?;
    let hash = digest::digest(&digest::SHA256, client_data);
    PublicKey::read(key)?.verify(&[data, hash.as_ref()].concat(), signed)?;
    // Both nought: an authenticator that does not count (§6.1.1).
    if (read.counter, counter) != (0, 0) && read.counter <= counter {
        return Err(PasskeyFault::Counter);
    }
    Ok(read.counter)
}

fn check_client_data(expected: &Expected, client_data: &[u8], ceremony: &str) -> Result<(), PasskeyFault> {
    if client_data.len() > PART_MAX {
        return Err(PasskeyFault::ClientData);
    }
    let said: ClientData = serde_json::from_slice(client_data).map_err(|_| PasskeyFault::ClientData)?;
    if said.r#type != ceremony {
        return Err(PasskeyFault::Ceremony);
    }
    let own = expected.challenge_text();
    if constant_time::verify_slices_are_equal(said.challenge.as_bytes(), own.as_bytes()).is_err() {
        return Err(PasskeyFault::Challenge);
    }
    if said.origin != expected.origin {
        return Err(PasskeyFault::Origin);
    }
    if said.cross_origin || said.top_origin.is_some_and(|top| top != expected.origin) {
        return Err(PasskeyFault::CrossOrigin);
    }
    Ok(())
}

/// §6.1: hash of the site, flags, counter; the rest by the flags.
fn authenticator_data<'a>(
    expected: &Expected,
    data: &'a [u8],
) -> Result<AuthenticatorData<'a>, PasskeyFault> {
    let bad = PasskeyFault::AuthenticatorData;
    let data = limited(data).ok_or(bad)?;
    let (site, data) = data.split_at_checked(32).ok_or(bad)?;
    let (flags, data) = data.split_first().ok_or(bad)?;
    let (counter, rest) = data.split_first_chunk::<4>().ok_or(bad)?;
    let own = digest::digest(&digest::SHA256, expected.rp_id.as_bytes());
    if constant_time::verify_slices_are_equal(site, own.as_ref()).is_err() {
        return Err(PasskeyFault::RelyingParty);
    }
    if flags & USER_PRESENT == 0 {
        return Err(PasskeyFault::NotPresent);
    }
    if flags & USER_VERIFIED == 0 {
        return Err(PasskeyFault::NotVerified);
    }
    if flags & BACKED_UP != 0 && flags & BACKUP_ELIGIBLE == 0 {
        return Err(PasskeyFault::Flags);
    }
    if flags & (ATTESTED | EXTENSIONS) == 0 && !rest.is_empty() {
        return Err(bad);
    }
    Ok(AuthenticatorData { flags: *flags, counter: u32::from_be_bytes(*counter), rest })
}

/// The new credential's id and its COSE key; nothing else may follow but extensions.
fn attested<'a>(data: &AuthenticatorData<'a>) -> Option<(&'a [u8], &'a [u8])> {
    let (_maker, rest) = data.rest.split_at_checked(16)?;
    let (length, rest) = rest.split_first_chunk::<2>()?;
    let length = usize::from(u16::from_be_bytes(*length));
    if !(1..=CREDENTIAL_ID_MAX).contains(&length) {
        return None;
    }
    let (credential, mut after) = rest.split_at_checked(length)?;
    let begun = after;
    cbor(&mut after)?;
    let key = begun.get(..begun.len() - after.len())?;
    if data.flags & EXTENSIONS != 0 {
        cbor(&mut after)?.as_map()?;
    }
    after.is_empty().then_some((credential, key))
}

fn limited(bytes: &[u8]) -> Option<&[u8]> {
    (bytes.len() <= PART_MAX).then_some(bytes)
}

/// One item from the front of `bytes`, which then begins behind it.
fn cbor(bytes: &mut &[u8]) -> Option<Value> {
    let mut reader = Cursor::new(*bytes);
    let value = ciborium::de::from_reader_with_recursion_limit(&mut reader, DEPTH_MAX).ok()?;
    *bytes = bytes.get(usize::try_from(reader.position()).ok()?..)?;
    Some(value)
}

/// A public key in the forms that are taken.
enum PublicKey {
    /// The uncompressed point.
    Es256(Vec<u8>),
    EdDsa(Vec<u8>),
    Rs256 {
        n: Vec<u8>,
        e: Vec<u8>,
    },
}

impl PublicKey {
    /// RFC 9053 §7, RFC 8230 §4.
    fn read(cose: &[u8]) -> Result<Self, PasskeyFault> {
        let mut rest = cose;
        let value = cbor(&mut rest).filter(|_| rest.is_empty()).ok_or(PasskeyFault::Key)?;
        let fields = value.as_map().ok_or(PasskeyFault::Key)?;
        let field = |label: i64| {
            let is = |key: &Value| key.as_integer().is_some_and(|key| key == label.into());
            let mut found = fields.iter().filter(|(key, _)| is(key)).map(|(_, value)| value);
            found.next().filter(|_| found.next().is_none())
        };
        let number = |label| field(label).and_then(Value::as_integer).and_then(|n| i64::try_from(n).ok());
        let bytes = |label| field(label).and_then(Value::as_bytes).cloned();
        let coordinate = |label| bytes(label).filter(|c| c.len() == 32).ok_or(PasskeyFault::Key);
        match (number(1), number(3), number(-1)) {
            (Some(2), Some(-7), Some(1)) => {
                Ok(Self::Es256([&[4_u8][..], &coordinate(-2)?, &coordinate(-3)?].concat()))
            }
            (Some(1), Some(-8), Some(6)) => Ok(Self::EdDsa(coordinate(-2)?)),
            (Some(3), Some(-257), None) => {
                let n = bytes(-1).filter(|n| (256..=512).contains(&n.len())).ok_or(PasskeyFault::Key)?;
                let e = bytes(-2).filter(|e| (1..=8).contains(&e.len())).ok_or(PasskeyFault::Key)?;
                Ok(Self::Rs256 { n, e })
            }
            _ => Err(PasskeyFault::Key),
        }
    }

    fn verify(&self, message: &[u8], signed: &[u8]) -> Result<(), PasskeyFault> {
        let verified = match self {
            Self::Es256(point) => {
                signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_ASN1, point)
                    .verify(message, signed)
            }
            Self::EdDsa(point) => {
                signature::UnparsedPublicKey::new(&signature::ED25519, point).verify(message, signed)
            }
            Self::Rs256 { n, e } => signature::RsaPublicKeyComponents { n, e }.verify(
                &signature::RSA_PKCS1_2048_8192_SHA256,
                message,
                signed,
            ),
        };
        verified.map_err(|_| PasskeyFault::Signature)
    }
}

/// For the fuzzing rig: whatever an authenticator or a page sends, nothing panics and nothing made up is believed.
pub(super) fn fuzz(bytes: &[u8]) {
    let expected = Expected {
        challenge: vec![7; CHALLENGE_BYTES],
        origin: "https://ward-3.local".into(),
        rp_id: "ward-3.local".into(),
    };
    let (first, second) = bytes.split_at(bytes.len() / 2);
    assert!(check_assertion(&expected, first, 0, second, bytes, first).is_err());
    let own = format!(
        "{{\"type\":\"webauthn.create\",\"challenge\":\"{}\",\"origin\":\"{}\"}}",
        expected.challenge_text(),
        expected.origin
    );
    if let Ok(made) = check_registration(&expected, own.as_bytes(), bytes) {
        assert!(PublicKey::read(&made.key).is_ok() && !made.credential.is_empty());
    }
    if let Ok(key) = PublicKey::read(bytes) {
        assert!(key.verify(b"message", b"no signature").is_err());
    }
}

#[cfg(test)]
#[path = "passkey_tests.rs"]
mod tests;
