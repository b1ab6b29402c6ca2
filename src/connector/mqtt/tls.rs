//! TLS for both ends of MQTT, in the words of its settings.

use std::path::Path;
use std::sync::Arc;

use rustls::{ClientConfig, ServerConfig};

use crate::tls::{Settings, Words};

/// Trusts the authorities in `ca_file`, or those of the system (of Mozilla's list where the box has none).
pub(crate) fn client(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    Settings { ca_file: ca_file.map(Into::into), ..Settings::default() }.client()
}

/// Serves with the certificate chain and the key in two PEM files.
pub(crate) fn server(cert_file: &Path, key_file: &Path) -> Result<Arc<ServerConfig>, String> {
    let (cert_file, key_file) = (Some(cert_file.into()), Some(key_file.into()));
    Settings { cert_file, key_file, ..Settings::default() }.server()
}

/// Why a handshake failed, so that a person knows what to do.
pub(crate) fn explain(error: &std::io::Error, name: &str) -> String {
    crate::tls::explain(error, name, Words { other: "the broker", plain: "tls = false" })
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
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        let cert = dir.path().join("cert.pem");
        std::fs::write(&cert, made.cert.pem()).unwrap();
        assert!(server(&cert, &empty).unwrap_err().contains("no private key"));
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
        let wrong = rustls::CertificateError::NotValidForName;
        let wrong = std::io::Error::other(rustls::Error::InvalidCertificate(wrong));
        assert!(explain(&wrong, "box").contains("\"box\""));
    }
}
