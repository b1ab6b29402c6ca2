//! The desk's certificate: the one it is given, else one the box makes once and keeps.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::{IpAddr, UdpSocket};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{AdminError, Config};
use crate::access::{SelfMade, fingerprint};
use crate::clock::Timestamp;
use crate::secret::{Secret, SecretError, SecretStore};

/// Names of the secrets a box keeps its self-made certificate under.
const OWN_CERTIFICATE: &str = "desk-certificate.pem";
const OWN_KEY: &str = "desk-key.pem";

/// The desk's certificate and key, ready for TLS.
#[derive(Clone)]
pub struct Identity {
    tls: Arc<ServerConfig>,
    fingerprint: String,
}

impl Identity {
    /// The certificate that `config` names; else the one this box made before; else a new one, kept in `folder`
    /// (the secrets folder that `secrets` looks into) for its owner only.
    pub fn load_or_make(
        config: &Config,
        secrets: &SecretStore,
        folder: &Path,
        now: Timestamp,
    ) -> Result<Self, AdminError> {
        if let (Some(certificate), Some(key)) = (&config.certificate_secret, &config.key_secret) {
            return Self::load(secrets, certificate, key);
        }
        if config.certificate_secret.is_some() || config.key_secret.is_some() {
            let both = "certificate_secret and key_secret go together: set both or none";
            return Err(AdminError::Certificate(both.into()));
        }
        match Self::load(secrets, OWN_CERTIFICATE, OWN_KEY) {
            // One without the other is what a power cut between the two leaves: no desk was ever seen with it.
            Err(AdminError::Secret(SecretError::Missing { .. })) => {}
            loaded => return loaded,
        }
        let hostname = config.hostname.clone().unwrap_or_else(own_name);
        let made = SelfMade::make(&hostname, &own_addresses(), now)
            .map_err(|fault| AdminError::Certificate(fault.to_string()))?;
        write(folder, OWN_KEY, made.key_pem.expose())?;
        write(folder, OWN_CERTIFICATE, made.certificate_pem.as_bytes())?;
        Self::try_from(&made)
    }

    fn load(secrets: &SecretStore, certificate: &str, key: &str) -> Result<Self, AdminError> {
        let certificate = secrets.load(certificate)?;
        Self::from_pem(certificate.expose_text()?, &secrets.load(key)?)
    }

    /// From a PEM chain (the desk's own certificate first) and its private key in PEM.
    pub fn from_pem(chain_pem: &str, key: &Secret) -> Result<Self, AdminError> {
        let fault =
            |what: &str, fault: &dyn std::fmt::Display| AdminError::Certificate(format!("{what}: {fault}"));
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain_pem.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|e| fault("the certificate is not PEM", &e))?;
        let first =
            chain.first().ok_or_else(|| AdminError::Certificate("there is no certificate in it".into()))?;
        let fingerprint = fingerprint(first);
        let key = PrivateKeyDer::from_pem_slice(key.expose())
            .map_err(|e| fault("the private key is not PEM", &e))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(|e| fault("certificate and key do not work together", &e))?;
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { tls: Arc::new(tls), fingerprint })
    }

    /// SHA-256 of the certificate: `AA:BB:…`.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    pub(super) fn tls(&self) -> Arc<ServerConfig> {
        self.tls.clone()
    }
}

impl TryFrom<&SelfMade> for Identity {
    type Error = AdminError;

    fn try_from(made: &SelfMade) -> Result<Self, AdminError> {
        Self::from_pem(&made.certificate_pem, &made.key_pem)
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({})", self.fingerprint)
    }
}

/// The box's host name; empty when it has none.
fn own_name() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_string()).unwrap_or_default()
}

/// The addresses this box would be seen from: connecting a UDP socket sends nothing and chooses one. The far
/// ends are documentation addresses (RFC 5737, RFC 3849).
fn own_addresses() -> Vec<IpAddr> {
    [("0.0.0.0:0", "192.0.2.1:9"), ("[::]:0", "[2001:db8::1]:9")]
        .into_iter()
        .filter_map(|(own, far)| {
            let socket = UdpSocket::bind(own).ok()?;
            socket.connect(far).ok()?;
            Some(socket.local_addr().ok()?.ip())
        })
        .filter(|address| !address.is_unspecified() && !address.is_loopback())
        .collect()
}

/// Writes a secret whole or not at all, readable by its owner only from the first moment.
fn write(folder: &Path, name: &str, content: &[u8]) -> Result<(), AdminError> {
    let path = folder.join(name);
    let new = folder.join(format!("{name}.new"));
    let written = fs::create_dir_all(folder).and_then(|()| {
        match fs::remove_file(&new) {
            Err(fault) if fault.kind() != std::io::ErrorKind::NotFound => return Err(fault),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        fs::File::open(folder)?.sync_all()
    });
    written.map_err(|source| AdminError::Keep { path, source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn noon() -> Timestamp {
        crate::admin::samples::seconds_after_noon(0)
    }

    #[test]
    fn a_box_makes_its_certificate_once_and_keeps_it_for_itself() {
        let dir = tempfile::tempdir().unwrap();
        let secrets = SecretStore::new(None, Some(dir.path().into()));
        let made = Identity::load_or_make(&Config::default(), &secrets, dir.path(), noon()).unwrap();
        let again = Identity::load_or_make(&Config::default(), &secrets, dir.path(), noon()).unwrap();
        assert_eq!(made.fingerprint(), again.fingerprint());
        for name in [OWN_CERTIFICATE, OWN_KEY] {
            let mode = fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        fs::remove_file(dir.path().join(OWN_CERTIFICATE)).unwrap();
        let other = Identity::load_or_make(&Config::default(), &secrets, dir.path(), noon()).unwrap();
        assert_ne!(made.fingerprint(), other.fingerprint(), "a key without its certificate is made anew");
    }

    #[test]
    fn a_certificate_that_is_named_must_be_there_and_fit() {
        let dir = tempfile::tempdir().unwrap();
        let secrets = SecretStore::new(None, Some(dir.path().into()));
        let config = |certificate: &str, key: Option<&str>| Config {
            certificate_secret: Some(certificate.into()),
            key_secret: key.map(Into::into),
            ..Config::default()
        };
        let load = |config: &Config| Identity::load_or_make(config, &secrets, dir.path(), noon());
        assert!(matches!(load(&config("gone.pem", Some("gone.key"))), Err(AdminError::Secret(_))));
        assert!(matches!(load(&config("gone.pem", None)), Err(AdminError::Certificate(_))));
        let (one, other) =
            (SelfMade::make("a", &[], noon()).unwrap(), SelfMade::make("b", &[], noon()).unwrap());
        write(dir.path(), "a.pem", one.certificate_pem.as_bytes()).unwrap();
        write(dir.path(), "a.key", one.key_pem.expose()).unwrap();
        write(dir.path(), "b.key", other.key_pem.expose()).unwrap();
        assert_eq!(load(&config("a.pem", Some("a.key"))).unwrap().fingerprint(), one.fingerprint);
        assert!(matches!(load(&config("a.pem", Some("b.key"))), Err(AdminError::Certificate(_))));
    }

    #[test]
    fn a_certificate_that_is_none_is_refused_with_a_reason() {
        let key = Secret::new(b"x".to_vec());
        for pem in ["", "garbage", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert!(matches!(Identity::from_pem(pem, &key), Err(AdminError::Certificate(_))), "{pem}");
        }
    }
}
