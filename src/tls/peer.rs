//! Whose certificate it is: by fingerprint, by a name in it, or by its subject's common name.

use std::fmt;

use aws_lc_rs::digest;
use rustls::pki_types::{CertificateDer, ServerName};
use serde::Deserialize;
use webpki::EndEntityCert;

/// One certificate, or all certificates with a name.
///
/// Written `sha256:` and 64 hexadecimal digits (colons between them allowed), `CN=` and a common name, or a DNS name,
/// an address or a URI that the certificate states as alternative name (RFC 5280 §4.2.1.6).
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Peer {
    /// SHA-256 of the certificate in DER.
    Fingerprint([u8; 32]),
    /// Common name of the subject, exactly.
    CommonName(String),
    /// Subject alternative name.
    Name(String),
}

/// Why a text names no certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` names no certificate: write \"sha256:\" and its 64 digits, \"CN=\" and its common name, or a DNS name, address or URI in it"
)]
pub struct PeerError(String);

impl TryFrom<String> for Peer {
    type Error = PeerError;

    fn try_from(text: String) -> Result<Self, PeerError> {
        let written = text.trim();
        let bare: String = written.chars().filter(|sign| !matches!(sign, ':' | ' ')).collect();
        let digits = bare.get(..6).filter(|word| word.eq_ignore_ascii_case("sha256"));
        let digits = if digits.is_some() { bare.get(6..).unwrap_or_default() } else { &bare };
        if let Some(bytes) = hex(digits) {
            return Ok(Self::Fingerprint(bytes));
        }
        let common = written.get(..3).filter(|word| word.eq_ignore_ascii_case("CN="));
        if common.is_some() {
            let name = written.get(3..).unwrap_or_default().trim();
            return if name.is_empty() { Err(PeerError(text)) } else { Ok(Self::CommonName(name.into())) };
        }
        let named = written.contains("://") || written.starts_with("urn:");
        if named || (!bare.starts_with("sha256") && ServerName::try_from(written).is_ok()) {
            return Ok(Self::Name(written.into()));
        }
        Err(PeerError(text))
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fingerprint(bytes) => write!(f, "sha256:{}", in_hex(bytes)),
            Self::CommonName(name) => write!(f, "CN={name}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Peer {
    pub(super) const fn is_fingerprint(&self) -> bool {
        matches!(self, Self::Fingerprint(_))
    }

    /// Whether `certificate` is meant. One that cannot be read is none.
    pub(super) fn is(&self, certificate: &CertificateDer<'_>) -> bool {
        if let Self::Fingerprint(bytes) = self {
            return sha256(certificate) == *bytes;
        }
        let Ok(read) = EndEntityCert::try_from(certificate) else { return false };
        match self {
            Self::Fingerprint(_) => false,
            Self::CommonName(name) => {
                common_name(read.subject()).is_some_and(|found| found == name.as_bytes())
            }
            Self::Name(name) => {
                let as_name = ServerName::try_from(name.as_str());
                as_name.is_ok_and(|name| read.verify_is_valid_for_subject_name(&name).is_ok())
                    || read.valid_uri_names().any(|found| found == name)
            }
        }
    }
}

/// SHA-256 of a certificate in DER, as it is written in `peers`.
pub fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    Peer::Fingerprint(sha256(certificate)).to_string()
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut sum = [0; 32];
    sum.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    sum
}

fn in_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}

fn hex(digits: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

/// The most specific common name (2.5.4.3) in the contents of an X.501 name: SET { SEQUENCE { OID, string } } …
fn common_name(mut name: &[u8]) -> Option<&[u8]> {
    const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
    let mut found = None;
    while let Some((_, mut set, rest)) = element(name) {
        name = rest;
        while let Some((_, pair, more)) = element(set) {
            set = more;
            if let Some((6, COMMON_NAME, text)) = element(pair) {
                found = element(text).map(|(_, text, _)| text);
            }
        }
    }
    found
}

/// One element in DER: its tag, its contents, and what follows it (X.690 §8.1).
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let [tag, length, rest @ ..] = bytes else { return None };
    let (length, rest) = match length {
        short @ 0..=0x7F => (usize::from(*short), rest),
        0x81 => rest.split_first().map(|(length, rest)| (usize::from(*length), rest))?,
        0x82 => {
            rest.split_first_chunk::<2>().map(|(two, rest)| (usize::from(u16::from_be_bytes(*two)), rest))?
        }
        _ => return None,
    };
    let (contents, rest) = rest.split_at_checked(length)?;
    Some((*tag, contents, rest))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn peer(text: &str) -> Result<Peer, PeerError> {
        Peer::try_from(text.to_owned())
    }

    #[test]
    fn a_peer_is_written_in_any_of_its_ways() {
        let digits = "AB".repeat(32);
        let colons = vec!["AB"; 32].join(":");
        for text in
            [format!("sha256:{digits}"), digits.to_lowercase(), format!("SHA256: {colons}"), colons.clone()]
        {
            assert_eq!(peer(&text).unwrap(), Peer::Fingerprint([0xAB; 32]), "{text}");
        }
        assert_eq!(peer("cn= Monitor 7 ").unwrap(), Peer::CommonName("Monitor 7".into()));
        for text in ["monitor-7.ward.example", "10.1.2.3", "fd00::7", "urn:oid:1.2.3", "https://x/y"] {
            assert_eq!(peer(text).unwrap(), Peer::Name(text.into()), "{text}");
        }
        for text in ["", "CN=", "sha256:ABCD", "two words"] {
            assert!(peer(text).unwrap_err().to_string().contains("names no certificate"), "{text}");
        }
        assert_eq!(peer(&digits).unwrap().to_string(), format!("sha256:{colons}"));
    }

    #[test]
    fn a_certificate_is_known_by_each_of_its_names_and_no_other() {
        let mut params = CertificateParams::new(vec!["m7.ward".to_owned(), "10.0.0.7".to_owned()]).unwrap();
        params.subject_alt_names.push(SanType::URI("urn:oid:1.2.3".try_into().unwrap()));
        params.distinguished_name.push(DnType::OrganizationName, "Clinic");
        params.distinguished_name.push(DnType::CommonName, "Monitor 7");
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let own = fingerprint(made.der());
        for name in [own.as_str(), "CN=Monitor 7", "M7.ward", "10.0.0.7", "urn:oid:1.2.3"] {
            assert!(peer(name).unwrap().is(made.der()), "{name}");
        }
        let other = "00".repeat(32);
        for name in [other.as_str(), "CN=Monitor", "CN=Clinic", "m8.ward", "10.0.0.8", "urn:oid:1.2"] {
            assert!(!peer(name).unwrap().is(made.der()), "{name}");
        }
        assert!(!peer("m7.ward").unwrap().is(&CertificateDer::from(vec![1, 2, 3])));
    }

    #[test]
    fn a_broken_name_has_no_common_name() {
        let whole = [0x31, 9, 0x30, 7, 6, 3, 0x55, 4, 3, 0x0C, 0];
        assert_eq!(common_name(&whole), Some(&[][..]));
        for length in 0..whole.len() {
            assert_eq!(common_name(&whole[..length]), None, "{length}");
        }
    }
}
