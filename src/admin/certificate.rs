//! What a certificate says of itself, and whether a chain with its key can be the desk's: for somebody who has a file from
//! their authority and wants to know what is wrong with it before browsers say so.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use serde::Serialize;
use utoipa::ToSchema;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use super::Source;
use super::json::rfc3339;
use crate::clock::Timestamp;
use crate::secret::Secret;

/// Certificates in a chain.
const CHAIN_MAX: usize = 8;
/// Names that are shown.
const NAMES_MAX: usize = 50;
/// Longest text that is shown of a name.
const NAME_MAX: usize = 200;

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = CertificateFacts)]
pub struct Facts {
    pub subject: String,
    pub issuer: String,
    /// DNS names and addresses it is for.
    pub names: Vec<String>,
    #[serde(serialize_with = "rfc3339")]
    pub not_before: Timestamp,
    #[serde(serialize_with = "rfc3339")]
    pub not_after: Timestamp,
    /// It signed itself: browsers warn until they are told to trust it.
    pub self_signed: bool,
    /// Certificates in the chain.
    pub chain: usize,
}

impl Facts {
    /// Of the first certificate of a chain.
    pub(super) fn of(chain: &[CertificateDer<'_>]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(chain.first()?).ok()?;
        let micros = |at: i64| Timestamp::from_micros(at.saturating_mul(1_000_000), true);
        let (subject, issuer) = (certificate.subject(), certificate.issuer());
        Some(Self {
            subject: shown(&subject.to_string()),
            issuer: shown(&issuer.to_string()),
            names: names(&certificate),
            not_before: micros(certificate.validity().not_before.timestamp()),
            not_after: micros(certificate.validity().not_after.timestamp()),
            self_signed: subject == issuer,
            chain: chain.len(),
        })
    }
}

/// How near the end of a certificate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = CertificateUrgency)]
pub enum Urgency {
    Fine,
    /// Somebody should look after it.
    Soon,
    /// Browsers will refuse the desk within days, or do.
    Now,
}

const DAY_MICROS: i64 = 86_400_000_000;
/// Days left at which the alarm begins, and at which it becomes critical.
const SOON: i64 = 30 * DAY_MICROS;
const NOW: i64 = 7 * DAY_MICROS;

impl Facts {
    /// Whether somebody has to look after it. One that the box renews by itself is late only when its last quarter has
    /// begun, and urgent in its last tenth: it may live for a day.
    pub fn urgency(&self, source: Source, now: Timestamp) -> Urgency {
        let (life, left) =
            (self.not_after.micros - self.not_before.micros, self.not_after.micros - now.micros);
        let (soon, at_once) = match source {
            Source::Acme => (SOON.min(life / 4), NOW.min(life / 10)),
            Source::Own | Source::Uploaded | Source::Configured => (SOON, NOW),
        };
        match left {
            left if left < at_once => Urgency::Now,
            left if left < soon => Urgency::Soon,
            _ => Urgency::Fine,
        }
    }
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(alternative)) = certificate.subject_alternative_name() else { return Vec::new() };
    let text = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(shown(name)),
        GeneralName::IPAddress(bytes) => match <[u8; 4]>::try_from(*bytes) {
            Ok(four) => Some(std::net::Ipv4Addr::from(four).to_string()),
            Err(_) => <[u8; 16]>::try_from(*bytes).ok().map(|six| std::net::Ipv6Addr::from(six).to_string()),
        },
        _ => None,
    };
    alternative.value.general_names.iter().filter_map(text).take(NAMES_MAX).collect()
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(NAME_MAX).collect()
}

/// Whether browsers can be shown this chain with this key at `now`; the sentence says what is wrong.
pub(super) fn check(chain_pem: &str, key: &Secret, now: Timestamp) -> Result<(), String> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain_pem.as_bytes())
        .take(CHAIN_MAX + 1)
        .collect::<Result<_, _>>()
        .map_err(|_| {
            "the certificate is not in PEM: it begins with -----BEGIN CERTIFICATE-----".to_owned()
        })?;
    if chain.is_empty() {
        return Err("there is no certificate in it: it begins with -----BEGIN CERTIFICATE-----".into());
    }
    if chain.len() > CHAIN_MAX {
        return Err(format!("there are more than {CHAIN_MAX} certificates in it"));
    }
    belongs(&chain, key)?;
    let parsed = chain.iter().map(parsed).collect::<Result<Vec<_>, _>>()?;
    for (at, certificate) in parsed.iter().enumerate() {
        in_time(certificate, at, now)?;
    }
    linked(&parsed)?;
    let Some(first) = parsed.first() else { return Ok(()) };
    if names(first).is_empty() {
        return Err(
            "the certificate names no host (subject alternative name): browsers take none without".into()
        );
    }
    match first.extended_key_usage() {
        Ok(Some(usage)) if !(usage.value.server_auth || usage.value.any) => {
            Err("the certificate is not for servers (extended key usage)".into())
        }
        Ok(_) => Ok(()),
        Err(_) => Err("the certificate says twice what it is for".into()),
    }
}

fn parsed<'c>(der: &'c CertificateDer<'static>) -> Result<X509Certificate<'c>, String> {
    let read = X509Certificate::from_der(der);
    read.map(|(_, certificate)| certificate).map_err(|_| "a certificate in it cannot be read".to_owned())
}

fn belongs(chain: &[CertificateDer<'static>], key: &Secret) -> Result<(), String> {
    if key.expose().windows(9).any(|window| window == b"ENCRYPTED") {
        return Err(
            "the private key is locked with a passphrase: give it without one (openssl pkey -in KEY)".into(),
        );
    }
    let der = PrivateKeyDer::from_pem_slice(key.expose()).map_err(|_| {
        "the private key is not in PEM: it begins with -----BEGIN PRIVATE KEY-----".to_owned()
    })?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    match CertifiedKey::from_der(chain.to_vec(), der, &provider) {
        Ok(_) => Ok(()),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err("the private key does not belong to the first certificate".into())
        }
        Err(fault) => Err(format!("certificate and key do not work together: {fault}")),
    }
}

fn in_time(certificate: &X509Certificate<'_>, at: usize, now: Timestamp) -> Result<(), String> {
    let which =
        if at == 0 { "the certificate".to_owned() } else { format!("certificate {} of the chain", at + 1) };
    let (validity, seconds) = (certificate.validity(), now.micros / 1_000_000);
    let day = |at: i64| Timestamp::from_micros(at.saturating_mul(1_000_000), true).rfc3339();
    if validity.not_after.timestamp() <= seconds {
        return Err(format!("{which} expired at {}", day(validity.not_after.timestamp())));
    }
    // A clock nobody set says nothing about a beginning.
    if now.synchronised && validity.not_before.timestamp() > seconds {
        return Err(format!("{which} is not valid before {}", day(validity.not_before.timestamp())));
    }
    Ok(())
}

/// Each certificate is signed by the next one.
fn linked(chain: &[X509Certificate<'_>]) -> Result<(), String> {
    for (at, pair) in chain.windows(2).enumerate() {
        let [one, next] = pair else { continue };
        let signed = one.issuer() == next.subject() && one.verify_signature(Some(next.public_key())).is_ok();
        if !signed {
            let (one, next) = (at + 1, at + 2);
            return Err(format!(
                "certificate {one} of the chain is not signed by certificate {next}: the desk's own comes first, then the one that signed it"
            ));
        }
    }
    Ok(())
}

/// For the fuzzing rig: whatever is given as a certificate, it is refused or taken, and only a bug panics.
pub(super) fn fuzz(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let now = Timestamp::from_micros(1_800_000_000_000_000, true);
    drop(check(&text, &Secret::new(bytes.to_vec()), now));
    drop(Facts::of(&[CertificateDer::from(bytes.to_vec())]));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::SelfMade;
    use crate::tls::rig::Authority;

    const DAY: i64 = 86_400_000_000;
    const NOON: i64 = 1_795_348_800_000_000;

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros, true)
    }

    fn files(issued: &crate::tls::rig::Issued) -> (String, Secret) {
        let read = |path| std::fs::read_to_string(path).unwrap();
        (read(&issued.cert_file), Secret::new(read(&issued.key_file).into_bytes()))
    }

    #[test]
    fn a_chain_of_an_authority_is_taken_in_its_order_only() {
        let authority = Authority::new("Clinic CA");
        let ca = std::fs::read_to_string(authority.ca_file().unwrap()).unwrap();
        let (certificate, key) = files(&authority.issue("desk.clinic", 2090));
        check(&certificate, &key, at(NOON)).unwrap();
        check(&format!("{certificate}{ca}"), &key, at(NOON)).unwrap();
        let turned = check(&format!("{ca}{certificate}"), &key, at(NOON)).unwrap_err();
        assert!(turned.contains("does not belong"), "{turned}");
        let other = std::fs::read_to_string(Authority::new("Another").ca_file().unwrap()).unwrap();
        let foreign = check(&format!("{certificate}{other}"), &key, at(NOON)).unwrap_err();
        assert!(foreign.contains("not signed by certificate 2"), "{foreign}");
        // The same name, another key: the signature tells.
        let namesake = std::fs::read_to_string(Authority::new("Clinic CA").ca_file().unwrap()).unwrap();
        assert!(
            check(&format!("{certificate}{namesake}"), &key, at(NOON)).unwrap_err().contains("not signed")
        );
    }

    #[test]
    fn each_fault_is_told_in_words() {
        let authority = Authority::new("Clinic CA");
        let (certificate, key) = files(&authority.issue("desk.clinic", 2090));
        let (_, other) = files(&authority.issue("desk.clinic", 2090));
        let (expired, expired_key) = files(&authority.issue("desk.clinic", 2021));
        let secret = |text: &str| Secret::new(text.as_bytes().to_vec());
        let locked =
            secret("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n");
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (pem, key, word) in [
            (certificate.as_str(), &other, "does not belong"),
            (&expired, &expired_key, "expired at 2021-12-31"),
            ("", &key, "no certificate"),
            ("hello", &key, "no certificate"),
            (broken, &key, "do not work together"),
            (&certificate, &secret("hello"), "not in PEM"),
            (&certificate, &locked, "passphrase"),
            (&certificate.repeat(9), &key, "more than 8"),
        ] {
            let why = check(pem, key, at(NOON)).unwrap_err();
            assert!(why.contains(word), "{word}: {why}");
        }
        let early = check(&certificate, &key, at(0)).unwrap_err();
        assert!(early.contains("not valid before 2020-01-01"), "{early}");
        check(&certificate, &key, Timestamp::from_micros(0, false)).unwrap();
    }

    #[test]
    fn a_certificate_says_who_it_is_for_and_how_long() {
        let made = SelfMade::make("ward-3", &["192.168.1.20".parse().unwrap()], at(NOON)).unwrap();
        let der = CertificateDer::from_pem_slice(made.certificate_pem.as_bytes()).unwrap();
        let facts = Facts::of(&[der]).unwrap();
        assert_eq!(facts.subject, "CN=Bedside desk on ward-3");
        assert!(facts.self_signed && facts.chain == 1);
        assert_eq!(facts.names, ["localhost", "ward-3", "ward-3.local", "127.0.0.1", "::1", "192.168.1.20"]);
        let years = (facts.not_after.micros - facts.not_before.micros) / DAY;
        assert!((3_640..3_660).contains(&years), "{years}");
        check(&made.certificate_pem, &made.key_pem, at(NOON)).unwrap();
    }

    #[test]
    fn one_that_is_renewed_by_itself_is_late_in_its_last_quarter() {
        let of = |life: i64, left: i64, source| {
            let facts = Facts {
                subject: String::new(),
                issuer: String::new(),
                names: Vec::new(),
                not_before: at(NOON),
                not_after: at(NOON + life),
                self_signed: false,
                chain: 1,
            };
            facts.urgency(source, at(NOON + life - left))
        };
        let hour = DAY / 24;
        assert_eq!(of(DAY, 7 * hour, Source::Acme), Urgency::Fine);
        assert_eq!(of(DAY, 5 * hour, Source::Acme), Urgency::Soon);
        assert_eq!(of(DAY, 2 * hour, Source::Acme), Urgency::Now);
        assert_eq!(of(90 * DAY, 29 * DAY, Source::Acme), Urgency::Fine);
        assert_eq!(of(90 * DAY, 22 * DAY, Source::Acme), Urgency::Soon);
        assert_eq!(of(90 * DAY, 29 * DAY, Source::Uploaded), Urgency::Soon);
        assert_eq!(of(900 * DAY, 31 * DAY, Source::Acme), Urgency::Fine);
        assert_eq!(of(900 * DAY, -DAY, Source::Own), Urgency::Now);
    }

    #[test]
    fn whatever_is_given_is_survived() {
        for seed in
            [&b""[..], b"-----BEGIN CERTIFICATE-----\n", &[0x30, 0x82, 0xFF, 0xFF], &[0x30, 0x80, 0, 0]]
        {
            fuzz(seed);
        }
    }
}
