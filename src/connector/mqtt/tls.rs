//! TLS for both ends of MQTT: rustls with aws-lc-rs, TLS 1.2 and 1.3, the server's name always checked.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{CertificateError, ClientConfig, RootCertStore, ServerConfig};

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Trusts the authorities in `ca_file`, or those of the system (of Mozilla's list where the box has none).
pub(crate) fn client(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(file) => {
            for certificate in certificates(file)? {
                roots.add(certificate).map_err(|error| format!("{}: {error}", file.display()))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
            }
        }
    }
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Serves with the certificate chain and the key in two PEM files.
pub(crate) fn server(cert_file: &Path, key_file: &Path) -> Result<Arc<ServerConfig>, String> {
    let key = PrivateKeyDer::from_pem_file(key_file)
        .map_err(|error| format!("no private key in {}: {error}", key_file.display()))?;
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_single_cert(certificates(cert_file)?, key)
        .map_err(|error| format!("{} and {}: {error}", cert_file.display(), key_file.display()))?;
    Ok(Arc::new(config))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| format!("cannot read certificates from {}: {error}", file.display()))?;
    match read.is_empty() {
        true => Err(format!("{} holds no certificate", file.display())),
        false => Ok(read),
    }
}

/// Why a handshake failed, so that a person knows what to do.
pub(crate) fn explain(error: &std::io::Error, name: &str) -> String {
    let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return match error.kind() {
            std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::ConnectionReset => String::from(
                "the broker closed the connection during the TLS handshake: is this a TLS port? (tls = false for a plain one)",
            ),
            _ => format!("TLS failed: {error}"),
        };
    };
    match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => String::from(
            "the broker's certificate is signed by an authority this box does not trust: set ca_file to the certificate of that authority",
        ),
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => format!(
            "the broker's certificate is not for \"{name}\": write the name in the certificate as broker or server_name"
        ),
        rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => String::from("the broker's certificate has expired (or the clock of this box is wrong)"),
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => String::from("the broker's certificate is not valid yet: the clock of this box is wrong"),
        rustls::Error::InvalidMessage(_) => String::from(
            "the broker does not speak TLS at this port: write tls = false if it is meant to be plain",
        ),
        other => format!("TLS failed: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_certificate_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let empty = dir.path().join("ca.pem");
        assert!(client(Some(&empty)).unwrap_err().contains("ca.pem"));
        std::fs::write(&empty, "no certificate").unwrap();
        assert!(client(Some(&empty)).unwrap_err().contains("holds no certificate"));
        assert!(server(&empty, &empty).unwrap_err().contains("no private key"));
        assert!(client(None).is_ok());
    }

    #[test]
    fn an_own_certificate_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        assert!(server(&cert, &key).is_ok() && client(Some(&cert)).is_ok());
    }

    #[test]
    fn a_plain_port_is_recognised() {
        let closed = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
        assert!(explain(&closed, "b").contains("tls = false"));
        let wrong = rustls::Error::InvalidCertificate(CertificateError::NotValidForName);
        assert!(explain(&std::io::Error::other(wrong), "box").contains("\"box\""));
    }
}
