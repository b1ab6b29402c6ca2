//! TLS for both ends of a connection: rustls with aws-lc-rs, TLS 1.2 and 1.3, files in PEM, the other side's
//! certificate always checked.
//!
//! Files are read again when they change, so a renewed certificate or revocation list needs no restart.

mod explain;
mod peer;
#[cfg(test)]
pub(crate) mod rig;
mod verify;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};

pub use explain::{Words, explain, explain_later};
pub use peer::{Peer, PeerError, fingerprint};

/// A `tls` section: what this end shows, and what it wants to see. Used by ends that listen and ends that call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Certificate chain this end shows, its own certificate first. An end that listens must have one; one that
    /// calls shows it where it is asked (mutual TLS).
    pub cert_file: Option<PathBuf>,
    /// Private key of the first certificate in `cert_file`.
    pub key_file: Option<PathBuf>,
    /// Authorities that may certify the other side. Listening: with it, who shows no certificate of theirs is
    /// turned away. Calling: in place of the authorities this system trusts.
    pub ca_file: Option<PathBuf>,
    /// Revocation lists of those authorities, one for each; a list past its date still counts, because a box may be
    /// offline for weeks.
    pub crl_file: Option<PathBuf>,
    /// Whose certificates may speak here; empty: every one of `ca_file`. Fingerprints alone need no `ca_file`:
    /// they also admit a certificate that signed itself.
    pub peers: Vec<Peer>,
    /// Calling: the name in the other side's certificate, when it is not the host that is called.
    pub server_name: Option<String>,
}

impl Settings {
    /// Whether an end that listens can use these settings; the error says what to write.
    pub fn check_listen(&self) -> Result<(), &'static str> {
        if self.cert_file.is_none() {
            return Err("tls of a port needs cert_file and key_file: the certificate this box shows");
        }
        if self.server_name.is_some() {
            return Err(
                "server_name is for a box that calls: a port does not check a name, it checks `peers`",
            );
        }
        if !self.peers.is_empty() && self.ca_file.is_none() && !self.pinned() {
            return Err("tls.peers by name need ca_file: the authority that certifies the names");
        }
        self.check()
    }

    /// Whether an end that calls can use these settings; the error says what to write.
    pub fn check_call(&self) -> Result<(), &'static str> {
        self.check()
    }

    fn check(&self) -> Result<(), &'static str> {
        if self.cert_file.is_some() != self.key_file.is_some() {
            return Err("tls needs cert_file and key_file together");
        }
        if self.crl_file.is_some() && self.ca_file.is_none() {
            return Err("tls.crl_file needs ca_file: the authority whose list it is");
        }
        Ok(())
    }

    /// Whether the other side is known by fingerprint alone.
    fn pinned(&self) -> bool {
        self.ca_file.is_none() && !self.peers.is_empty() && self.peers.iter().all(Peer::is_fingerprint)
    }

    /// Whether a listening end wants a certificate of those who come.
    pub fn asks_for_certificates(&self) -> bool {
        self.ca_file.is_some() || self.pinned()
    }

    /// For an end that calls. The error names the file and what is wrong with it.
    pub fn client(&self) -> Result<Arc<ClientConfig>, String> {
        self.check_call()?;
        let verifier = verify::of_server(self)?;
        // Not the verifier is dangerous but the method: it would take any. Ours is webpki's, narrowed by `peers`.
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let Some((chain, key)) = self.own()? else { return Ok(Arc::new(config.with_no_client_auth())) };
        config.with_client_auth_cert(chain, key).map(Arc::new).map_err(|error| self.mismatch(&error))
    }

    /// For an end that listens. The error names the file and what is wrong with it.
    pub fn server(&self) -> Result<Arc<ServerConfig>, String> {
        self.check_listen()?;
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let config = match verify::of_client(self)? {
            Some(verifier) => config.with_client_cert_verifier(verifier),
            None => config.with_no_client_auth(),
        };
        let (chain, key) = self.own()?.ok_or("tls needs cert_file and key_file")?;
        config.with_single_cert(chain, key).map(Arc::new).map_err(|error| self.mismatch(&error))
    }

    fn mismatch(&self, error: &rustls::Error) -> String {
        let name = |file: &Option<PathBuf>| file.as_deref().unwrap_or(Path::new("")).display().to_string();
        format!("{} and {}: {error}", name(&self.cert_file), name(&self.key_file))
    }

    fn own(&self) -> Result<Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>, String> {
        let (Some(cert), Some(key)) = (&self.cert_file, &self.key_file) else { return Ok(None) };
        let chain = certificates(cert)?;
        let key = PrivateKeyDer::from_pem_file(key)
            .map_err(|error| format!("no private key in {}: {error}", key.display()))?;
        Ok(Some((chain, key)))
    }

    /// The authorities of `ca_file`, or those of the system (of Mozilla's list where the box has none).
    fn authorities(&self) -> Result<RootCertStore, String> {
        let mut roots = RootCertStore::empty();
        let Some(file) = &self.ca_file else {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
            }
            return Ok(roots);
        };
        for certificate in certificates(file)? {
            roots.add(certificate).map_err(|error| format!("{}: {error}", file.display()))?;
        }
        Ok(roots)
    }

    fn revocations(&self) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
        let Some(file) = &self.crl_file else { return Ok(Vec::new()) };
        let lists = CertificateRevocationListDer::pem_file_iter(file)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| format!("cannot read revocation lists from {}: {error}", file.display()))?;
        match lists.is_empty() {
            true => Err(format!("{} holds no revocation list in PEM", file.display())),
            false => Ok(lists),
        }
    }

    /// When the files were last written, as far as that can be known.
    fn written(&self) -> Written {
        [&self.cert_file, &self.key_file, &self.ca_file, &self.crl_file].map(|file| {
            let about = std::fs::metadata(file.as_deref()?).ok()?;
            Some((about.modified().ok()?, about.len()))
        })
    }
}

type Written = [Option<(SystemTime, u64)>; 4];

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
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

/// How long a handshake may take: longer is a sender who wants to hold a connection.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);

/// Secures a connection this box made to `host`. The error is a sentence for a person.
pub async fn call<S>(
    settings: &Settings,
    host: &str,
    io: S,
    words: Words<'_>,
) -> Result<tokio_rustls::client::TlsStream<S>, String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let config = settings.client()?;
    let name = settings.server_name.as_deref().unwrap_or(host);
    let server = ServerName::try_from(name.to_owned())
        .map_err(|_| format!("\"{name}\" is not a name a certificate can hold"))?;
    let shaken = tokio_rustls::TlsConnector::from(config).connect(server, io);
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, shaken).await {
        Ok(shaken) => shaken.map_err(|error| explain(&error, name, words)),
        Err(_) => Err(format!("{} did not finish the TLS handshake", words.other)),
    }
}

/// Secures the connections that come to a port.
#[derive(Debug)]
pub struct Acceptor {
    settings: Settings,
    made: Mutex<(Written, Arc<ServerConfig>)>,
}

impl Acceptor {
    /// Reads all files once. The error names the file and what is wrong with it.
    pub fn new(settings: Settings) -> Result<Self, String> {
        let made = (settings.written(), settings.server()?);
        Ok(Self { settings, made: Mutex::new(made) })
    }

    /// What is in the files now. When they cannot be used any more, what was in them before, and why.
    fn config(&self) -> (Arc<ServerConfig>, Option<String>) {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let written = self.settings.written();
        if written == made.0 {
            return (made.1.clone(), None);
        }
        match self.settings.server() {
            Ok(config) => {
                *made = (written, config.clone());
                (config, None)
            }
            Err(fault) => (made.1.clone(), Some(fault)),
        }
    }

    /// Does the handshake. The second value says that changed files could not be used. The error is a sentence for
    /// a person.
    pub async fn accept<S>(
        &self,
        io: S,
        words: Words<'_>,
    ) -> (Result<tokio_rustls::server::TlsStream<S>, String>, Option<String>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (config, stale) = self.config();
        let shaken = tokio_rustls::TlsAcceptor::from(config).accept(io);
        let shaken = match tokio::time::timeout(HANDSHAKE_TIMEOUT, shaken).await {
            Ok(shaken) => shaken.map_err(|error| explain(&error, "", words)),
            Err(_) => Err(format!("{} did not finish the TLS handshake", words.other)),
        };
        (shaken, stale)
    }
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
