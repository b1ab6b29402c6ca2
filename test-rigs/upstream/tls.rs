//! Encrypted connections: only a server whose certificate can be trusted gets a token or a result.

use std::sync::Arc;

use bedside::demo::fhir_server::{self, Running};
use bedside::upstream::keys::Algorithm;
use bedside::upstream::{Config, State, Upstream};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::PrivateKeyDer;

use super::upstream::{CLIENT, Keys, clock, connect, entries, letters, reason};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A server for `name` until the end of `last_year`, certified by `authority`.
async fn server(authority: &Authority, name: &str, last_year: i32, keys: &Keys) -> Running {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(last_year, 12, 31);
    let certificate = params.signed_by(&key, authority).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let mut config = fhir_server::Config::new(clock());
    config.register(CLIENT, keys.jwks());
    config.tls = Some(Arc::new(tls));
    fhir_server::start(config).await.unwrap()
}

fn trusting(server: &Running, keys: &Keys, authority: Option<&Authority>) -> Upstream {
    connect(&server.base_url, keys, clock(), |config: &mut Config| {
        config.ca_file = authority.map(|authority| {
            let path = keys.dir.path().join("ca.pem");
            std::fs::write(&path, authority.pem()).unwrap();
            path
        });
    })
}

#[tokio::test]
async fn a_server_of_the_clinics_own_authority_is_trusted_when_it_is_written() {
    let (keys, authority) = (Keys::new(Algorithm::Es384), authority("Clinic"));
    let server = server(&authority, "localhost", 2090, &keys).await;
    let up = trusting(&server, &keys, Some(&authority));
    for run in ["tls", "tls again", "and again"] {
        let verdicts = up.deliver(&entries(run, 2)).await;
        assert_eq!(letters(&verdicts), "AA", "{verdicts:?}");
    }
    assert_eq!(server.connections(), (1, 1), "one connection, of HTTP/2, for everything");
}

#[tokio::test]
async fn no_other_certificate_is_accepted_and_each_fault_is_told() {
    let (keys, ours, other) = (Keys::new(Algorithm::Es384), authority("Clinic"), authority("Other"));
    let cases = [
        (server(&other, "localhost", 2090, &keys).await, Some(&ours), "authority this box does not know"),
        (server(&ours, "localhost", 2090, &keys).await, None, "authority this box does not know"),
        (server(&ours, "other.example", 2090, &keys).await, Some(&ours), "another name"),
        (server(&ours, "localhost", 2021, &keys).await, Some(&ours), "expired"),
    ];
    for (server, authority, words) in cases {
        let up = trusting(&server, &keys, authority);
        let verdicts = up.deliver(&entries("untrusted", 1)).await;
        assert_eq!((letters(&verdicts).as_str(), up.state().state), ("T", State::Down));
        assert!(reason(&verdicts).contains(words), "{words}: {}", reason(&verdicts));
        let steps = up.test().await;
        let last = steps.last().unwrap();
        assert!(last.name == "connection" && !last.ok && last.detail.contains(words), "{steps:?}");
        assert_eq!(server.requests(), 0, "nothing was said before the certificate was trusted");
    }
}

#[tokio::test]
async fn a_server_that_does_not_speak_tls_is_not_spoken_to() {
    let keys = Keys::new(Algorithm::Es384);
    let plain = fhir_server::start(fhir_server::Config::new(clock())).await.unwrap();
    let up = connect(&plain.base_url.replace("http:", "https:"), &keys, clock(), |_| ());
    assert_eq!(letters(&up.deliver(&entries("plain", 1)).await), "T");
    assert_eq!(plain.requests(), 0);
}
