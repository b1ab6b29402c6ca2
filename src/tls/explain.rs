//! Why a handshake failed, so that a person knows what to do.

use std::io;

use rustls::{AlertDescription, CertificateError, Error};

/// How a door speaks of its other side.
#[derive(Clone, Copy, Debug)]
pub struct Words<'a> {
    /// E.g. `the broker`.
    pub other: &'a str,
    /// How the door is told not to encrypt, e.g. `tls = false`.
    pub plain: &'a str,
}

/// What a connection that broke says of its TLS: in TLS 1.3 the end that listens refuses a certificate only after the
/// other has begun to speak. `None`: it broke for another reason.
pub fn explain_later(error: &io::Error, name: &str, words: Words<'_>) -> Option<String> {
    let tls = error.get_ref().is_some_and(|inner| inner.is::<Error>());
    tls.then(|| explain(error, name, words))
}

/// What `error` of a handshake means; `name` is what the other side's certificate had to be for.
pub fn explain(error: &io::Error, name: &str, words: Words<'_>) -> String {
    let Words { other, plain } = words;
    let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => format!(
                "{other} closed the connection during the TLS handshake: does it speak TLS, and does it trust the certificate of this box? ({plain} for a plain connection)"
            ),
            _ => format!("TLS failed: {error}"),
        };
    };
    match error {
        Error::InvalidCertificate(fault) => certificate(fault, name, other),
        Error::NoCertificatesPresented => {
            format!("{other} showed no certificate, and this link wants one (tls.ca_file, tls.peers)")
        }
        Error::InvalidMessage(_) => {
            format!("{other} does not speak TLS here: {plain} if it is meant to be plain")
        }
        Error::AlertReceived(alert) => alerted(*alert, other),
        Error::PeerIncompatible(fault) => {
            format!("{other} and this box have no kind of TLS in common (1.2 or 1.3 is needed): {fault:?}")
        }
        error => format!("TLS failed: {error}"),
    }
}

fn certificate(fault: &CertificateError, name: &str, other: &str) -> String {
    use CertificateError as Fault;
    match fault {
        Fault::UnknownIssuer => format!(
            "{other}'s certificate is signed by an authority this box does not trust: set ca_file to the certificate of that authority"
        ),
        Fault::NotValidForName | Fault::NotValidForNameContext { .. } => format!(
            "{other}'s certificate is not for \"{name}\": call it by the name in the certificate, or write that as server_name"
        ),
        Fault::Expired | Fault::ExpiredContext { .. } => {
            format!("{other}'s certificate has expired (or the clock of this box is wrong)")
        }
        Fault::NotValidYet | Fault::NotValidYetContext { .. } => {
            format!("{other}'s certificate is not valid yet: the clock of this box is wrong")
        }
        Fault::Revoked => format!("{other}'s certificate has been revoked (crl_file)"),
        Fault::UnknownRevocationStatus => {
            format!("no list in crl_file is of the authority that signed {other}'s certificate")
        }
        Fault::InvalidPurpose | Fault::InvalidPurposeContext { .. } => {
            format!("{other}'s certificate is not made for this use (extended key usage)")
        }
        Fault::ApplicationVerificationFailure => {
            format!("{other}'s certificate is none of those this link takes (tls.peers)")
        }
        fault => format!("{other}'s certificate is not right: {fault}"),
    }
}

/// What the other side said of us.
fn alerted(alert: AlertDescription, other: &str) -> String {
    use AlertDescription as Alert;
    match alert {
        Alert::CertificateRequired => {
            format!("{other} wants a certificate of this box: set cert_file and key_file")
        }
        Alert::UnknownCA => {
            format!("{other} does not trust the authority that signed this box's certificate")
        }
        Alert::BadCertificate | Alert::CertificateUnknown | Alert::AccessDenied => {
            format!("{other} does not take the certificate of this box")
        }
        Alert::CertificateExpired => format!("{other} says that the certificate of this box has expired"),
        Alert::CertificateRevoked => {
            format!("{other} says that the certificate of this box has been revoked")
        }
        alert => format!("{other} ended the TLS handshake: {alert:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: Words<'static> = Words { other: "the monitor", plain: "no tls section" };

    #[test]
    fn each_fault_says_whose_it_is_and_what_to_do() {
        let closed = io::Error::from(io::ErrorKind::UnexpectedEof);
        assert!(explain(&closed, "m", WORDS).contains("no tls section"));
        for (fault, word) in [
            (Error::InvalidCertificate(CertificateError::NotValidForName), "not for \"m\""),
            (Error::InvalidCertificate(CertificateError::UnknownIssuer), "ca_file"),
            (Error::InvalidCertificate(CertificateError::Expired), "expired"),
            (Error::InvalidCertificate(CertificateError::NotValidYet), "clock"),
            (Error::InvalidCertificate(CertificateError::Revoked), "crl_file"),
            (Error::InvalidCertificate(CertificateError::UnknownRevocationStatus), "no list"),
            (Error::InvalidCertificate(CertificateError::InvalidPurpose), "key usage"),
            (Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure), "tls.peers"),
            (Error::InvalidCertificate(CertificateError::BadEncoding), "not right"),
            (Error::NoCertificatesPresented, "showed no certificate"),
            (Error::AlertReceived(AlertDescription::CertificateRequired), "set cert_file"),
            (Error::AlertReceived(AlertDescription::UnknownCA), "does not trust"),
            (Error::AlertReceived(AlertDescription::CertificateRevoked), "revoked"),
            (Error::AlertReceived(AlertDescription::CertificateExpired), "expired"),
            (Error::AlertReceived(AlertDescription::AccessDenied), "does not take"),
            (Error::AlertReceived(AlertDescription::ProtocolVersion), "ended"),
            (Error::DecryptError, "TLS failed"),
        ] {
            let said = explain(&io::Error::other(fault), "m", WORDS);
            assert!(said.contains(word), "{word}: {said}");
        }
    }
}
