//! The certificate a box makes for its own desk when it is given none: browsers warn once, people compare the
//! fingerprint with the one on the console.

use std::net::IpAddr;

use aws_lc_rs::digest;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, SanType, date_time_ymd,
};

use super::AccessError;
use crate::clock::Timestamp;
use crate::secret::Secret;

/// Years a self-made certificate lasts. It is trusted by its fingerprint, not by its dates, and a desk that goes
/// dark because a date passed helps nobody.
const YEARS: i32 = 10;
/// Where validity begins when the clock of the box cannot be trusted: before any box of ours was started.
const EARLIEST: (i32, u8, u8) = (2025, 1, 1);

/// A certificate with its private key. The caller stores both as secret files.
#[derive(Debug)]
pub struct SelfMade {
    /// The certificate in PEM.
    pub certificate_pem: String,
    /// The private key (PKCS #8 PEM, ECDSA P-256).
    pub key_pem: Secret,
    /// SHA-256 of the certificate as [`fingerprint`] writes it.
    pub fingerprint: String,
}

impl SelfMade {
    /// Makes a certificate for `localhost`, the box's `hostname` (and `hostname.local`, as multicast DNS finds
    /// it) and the given addresses. A host name that cannot stand in a certificate is left out.
    pub fn make(hostname: &str, addresses: &[IpAddr], now: Timestamp) -> Result<Self, AccessError> {
        let fault = |fault: rcgen::Error| AccessError::Certificate(fault.to_string());
        let mut params = CertificateParams::default();
        let (year, month, day) = begins(now);
        params.not_before = date_time_ymd(year, month, day);
        params.not_after = date_time_ymd(year + YEARS, month, day);
        params.subject_alt_names = names(hostname, addresses);
        let mut name = DistinguishedName::new();
        name.push(
            DnType::CommonName,
            format!("Bedside desk on {}", if hostname.is_empty() { "this box" } else { hostname }),
        );
        params.distinguished_name = name;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(fault)?;
        let certificate = params.self_signed(&key).map_err(fault)?;
        Ok(Self {
            certificate_pem: certificate.pem(),
            fingerprint: fingerprint(certificate.der()),
            key_pem: Secret::new(key.serialize_pem().into_bytes()),
        })
    }
}

/// SHA-256 of a certificate in DER, as browsers show it: `AA:BB:…`.
pub fn fingerprint(der: &[u8]) -> String {
    let bytes = digest::digest(&digest::SHA256, der);
    bytes.as_ref().iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}

fn names(hostname: &str, addresses: &[IpAddr]) -> Vec<SanType> {
    let mut hosts = vec![String::from("localhost")];
    if is_host_name(hostname) && hostname != "localhost" {
        hosts.push(hostname.into());
        if !hostname.contains('.') {
            hosts.push(format!("{hostname}.local"));
        }
    }
    let mut names: Vec<SanType> =
        hosts.into_iter().filter_map(|host| host.try_into().ok().map(SanType::DnsName)).collect();
    let loopback = [IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])];
    for address in loopback.iter().chain(addresses).filter(|address| !address.is_unspecified()) {
        let name = SanType::IpAddress(*address);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// RFC 1123 §2.1: letters, digits and inner hyphens, labels of at most 63.
fn is_host_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

/// The day before `now`, for clocks that disagree a little.
fn begins(now: Timestamp) -> (i32, u8, u8) {
    let day_before = now.micros.saturating_sub(86_400_000_000);
    let Ok(at) = jiff::Timestamp::from_microsecond(day_before) else { return EARLIEST };
    let date = at.to_zoned(jiff::tz::TimeZone::UTC).date();
    if i32::from(date.year()) < EARLIEST.0 {
        return EARLIEST;
    }
    // 29 February does not exist ten years on.
    let day = date.day().clamp(1, 28);
    (i32::from(date.year()), u8::try_from(date.month()).unwrap_or(1), u8::try_from(day).unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};

    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_micros(1_800_000_000_000_000, true)
    }

    #[test]
    fn a_self_made_certificate_serves_tls_under_all_its_names() {
        let made = SelfMade::make("ward-3", &["192.168.1.20".parse().unwrap()], now()).unwrap();
        let der = CertificateDer::from_pem_slice(made.certificate_pem.as_bytes()).unwrap();
        assert_eq!(fingerprint(&der), made.fingerprint);
        assert_eq!(made.fingerprint.len(), 95);
        let key = PrivateKeyDer::from_pem_slice(made.key_pem.expose()).unwrap();
        let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![der], key)
            .unwrap();
        let names = names("ward-3", &["192.168.1.20".parse().unwrap()]);
        assert_eq!(names.len(), 6, "localhost, ward-3, ward-3.local, two loopbacks, the address");
    }

    #[test]
    fn every_box_has_its_own_key() {
        let one = SelfMade::make("a", &[], now()).unwrap();
        let other = SelfMade::make("a", &[], now()).unwrap();
        assert_ne!(one.fingerprint, other.fingerprint);
        assert_ne!(one.key_pem.expose(), other.key_pem.expose());
    }

    #[test]
    fn an_odd_host_name_or_a_clock_at_zero_does_not_stop_a_box_from_starting() {
        for hostname in ["", "ward_3!", "-x", "ünïcode", &"a".repeat(300)] {
            SelfMade::make(hostname, &[], Timestamp::from_micros(0, false)).unwrap();
        }
        assert_eq!(begins(Timestamp::from_micros(0, false)), EARLIEST);
        // 2028-03-01: the day before is 29 February.
        assert_eq!(begins(Timestamp::from_micros(1_835_481_600_000_000, true)), (2028, 2, 28));
    }
}
