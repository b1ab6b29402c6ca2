//! Who the other side must be: certified by an authority and not revoked, and one of `peers` where these are named.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use super::{Peer, Settings, provider};

/// Checks the certificate of a server this box calls.
pub(super) fn of_server(settings: &Settings) -> Result<Arc<dyn ServerCertVerifier>, String> {
    let narrowed = |inner: Option<Arc<WebPkiServerVerifier>>| Narrowed {
        inner,
        peers: settings.peers.clone(),
        algorithms: provider().signature_verification_algorithms,
    };
    if settings.pinned() {
        return Ok(Arc::new(narrowed(None)));
    }
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(settings.authorities()?), provider())
        .with_crls(settings.revocations()?)
        .build()
        .map_err(|error| error.to_string())?;
    Ok(Arc::new(narrowed(Some(inner))))
}

/// Checks the certificate of a client that comes to this box; `None` asks for none.
pub(super) fn of_client(settings: &Settings) -> Result<Option<Arc<dyn ClientCertVerifier>>, String> {
    let narrowed = |inner: Option<Arc<dyn ClientCertVerifier>>| Narrowed {
        inner,
        peers: settings.peers.clone(),
        algorithms: provider().signature_verification_algorithms,
    };
    if settings.pinned() {
        return Ok(Some(Arc::new(narrowed(None))));
    }
    if !settings.asks_for_certificates() {
        return Ok(None);
    }
    let inner = WebPkiClientVerifier::builder_with_provider(Arc::new(settings.authorities()?), provider())
        .with_crls(settings.revocations()?)
        .build()
        .map_err(|error| error.to_string())?;
    Ok(Some(Arc::new(narrowed(Some(inner)))))
}

/// `inner` and `peers` must both agree; without `inner` the peers are fingerprints, and say all there is to say.
#[derive(Debug)]
struct Narrowed<V> {
    inner: Option<V>,
    peers: Vec<Peer>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl<V> Narrowed<V> {
    fn admits(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        if (self.peers.is_empty() && self.inner.is_some())
            || self.peers.iter().any(|peer| peer.is(certificate))
        {
            return Ok(());
        }
        Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
    }
}

impl ServerCertVerifier for Narrowed<Arc<WebPkiServerVerifier>> {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(inner) = &self.inner {
            inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        }
        self.admits(end_entity)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Narrowed<Arc<dyn ClientCertVerifier>> {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.as_ref().map_or(&[], |inner| inner.root_hint_subjects())
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if let Some(inner) = &self.inner {
            inner.verify_client_cert(end_entity, intermediates, now)?;
        }
        self.admits(end_entity)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
