//! The desk's certificate: the one it is given, else one the box makes once and keeps. It can be replaced while the desk is
//! open.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::{IpAddr, UdpSocket};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::certificate::{self, Facts};
use super::{AdminError, Config};
use crate::access::{SelfMade, fingerprint};
use crate::acme;
use crate::acme::challenge::{self, Board};
use crate::clock::Timestamp;
use crate::secret::{Secret, SecretError, SecretStore};

/// Names of the secrets a box keeps its self-made certificate under.
const OWN_CERTIFICATE: &str = "desk-certificate.pem";
const OWN_KEY: &str = "desk-key.pem";
/// The chain and the key somebody gave at the desk, in one file: they are replaced together or not at all.
const UPLOADED: &str = "desk-uploaded.pem";
/// The same of the one an authority gave by ACME.
const BY_ACME: &str = "desk-acme.pem";

/// The desk's certificate and key, ready for TLS. Clones share what is shown: a new certificate is shown to whoever
/// connects from then on.
#[derive(Clone)]
pub struct Identity {
    tls: Arc<ServerConfig>,
    shown: Arc<Shown>,
    hostname: Option<String>,
    /// Where a new one is kept; without it there can be none.
    folder: Arc<RwLock<Option<PathBuf>>>,
}

/// Where the certificate comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = CertificateSource)]
pub enum Source {
    /// The box made it.
    Own,
    /// Somebody gave it at the desk.
    Uploaded,
    /// An authority gave it, asked by ACME.
    Acme,
    /// The configuration file names it.
    Configured,
}

/// What is shown at the moment.
#[derive(Debug)]
struct Shown {
    certificate: RwLock<Arc<Certificate>>,
    /// What is shown to an authority that looks whether a name is ours.
    board: Arc<Board>,
}

#[derive(Debug)]
struct Certificate {
    key: Arc<CertifiedKey>,
    fingerprint: String,
    source: Source,
    /// None where it cannot be taken apart, which is no reason to have no desk.
    facts: Option<Facts>,
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // RFC 8737 §3: an authority offers this protocol alone; whoever offers more is a browser.
        let mut offered = hello.alpn().into_iter().flatten();
        if offered.next() == Some(challenge::ALPN) && offered.next().is_none() {
            return self.board.certificate(hello.server_name());
        }
        Some(self.now().key.clone())
    }
}

impl Shown {
    fn now(&self) -> Arc<Certificate> {
        self.certificate.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Identity {
    /// The certificate that `config` names; else the one an authority gave by ACME; else the one somebody gave at the
    /// desk; else the one this box made before; else a new one, kept in `folder` (the secrets folder that `secrets` looks into) for its owner only.
    pub fn load_or_make(
        config: &Config,
        secrets: &SecretStore,
        folder: &Path,
        now: Timestamp,
    ) -> Result<Self, AdminError> {
        let hostname = config.hostname.clone();
        let with = |identity: Self| {
            identity.keep_in(folder);
            Self { hostname: hostname.clone(), ..identity }
        };
        if let (Some(certificate), Some(key)) = (&config.certificate_secret, &config.key_secret) {
            return Self::load(secrets, certificate, key, Source::Configured).map(with);
        }
        if config.certificate_secret.is_some() || config.key_secret.is_some() {
            let both = "certificate_secret and key_secret go together: set both or none";
            return Err(AdminError::Certificate(both.into()));
        }
        for (name, source) in [(BY_ACME, Source::Acme), (UPLOADED, Source::Uploaded)] {
            match Self::load(secrets, name, name, source) {
                Ok(given) => return Ok(with(given)),
                Err(AdminError::Secret(SecretError::Missing { .. })) => {}
                // A desk with another certificate is better than none: who looks sees which it is.
                Err(fault) => {
                    tracing::error!(%fault, name, "A certificate that was given cannot be used; the box shows another.")
                }
            }
        }
        match Self::load(secrets, OWN_CERTIFICATE, OWN_KEY, Source::Own) {
            // One without the other is what a power cut between the two leaves: no desk was ever seen with it.
            Err(AdminError::Secret(SecretError::Missing { .. })) => {}
            loaded => return loaded.map(with),
        }
        let made = make(hostname.as_deref(), now)?;
        keep_own(folder, &made)?;
        Self::try_from(&made).map(with)
    }

    fn load(secrets: &SecretStore, certificate: &str, key: &str, source: Source) -> Result<Self, AdminError> {
        let certificate = secrets.load(certificate)?;
        Self::with(read(certificate.expose_text()?, &secrets.load(key)?, source)?)
    }

    /// From a PEM chain (the desk's own certificate first) and its private key in PEM.
    pub fn from_pem(chain_pem: &str, key: &Secret) -> Result<Self, AdminError> {
        Self::with(read(chain_pem, key, Source::Own)?)
    }

    fn with(certificate: Certificate) -> Result<Self, AdminError> {
        let certificate = RwLock::new(Arc::new(certificate));
        let shown = Arc::new(Shown { certificate, board: Arc::default() });
        // Every suite of this provider is an AEAD with an ephemeral key exchange.
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|fault| AdminError::Certificate(fault.to_string()))?
            .with_no_client_auth()
            .with_cert_resolver(shown.clone());
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec(), challenge::ALPN.to_vec()];
        Ok(Self { tls: Arc::new(tls), shown, hostname: None, folder: Arc::default() })
    }

    /// SHA-256 of the certificate: `AA:BB:…`.
    pub fn fingerprint(&self) -> String {
        self.shown.now().fingerprint.clone()
    }

    /// Where the certificate comes from.
    pub fn source(&self) -> Source {
        self.shown.now().source
    }

    /// What the certificate says of itself.
    pub fn facts(&self) -> Option<Facts> {
        self.shown.now().facts.clone()
    }

    /// What is shown to an authority that looks whether a name is ours.
    pub(crate) fn board(&self) -> Arc<Board> {
        self.shown.board.clone()
    }

    /// Keeps a chain and its key for the box alone, and shows it from now on. The sentence says what is wrong with them.
    pub(super) fn replace(&self, chain_pem: &str, key: &Secret, now: Timestamp) -> Result<(), String> {
        let folder = self.replaceable()?;
        certificate::check(chain_pem, key, now)?;
        let certificate = read(chain_pem, key, Source::Uploaded).map_err(|fault| fault.to_string())?;
        keep_given(&folder, UPLOADED, chain_pem, key)?;
        remove(&folder, BY_ACME)?;
        self.show(certificate);
        Ok(())
    }

    /// The same of what an authority gave by ACME, which must be for these names.
    pub(crate) fn issued(
        &self,
        chain_pem: &str,
        key: &Secret,
        wanted: &acme::Config,
        now: Timestamp,
    ) -> Result<(), String> {
        let folder = self.replaceable()?;
        certificate::check(chain_pem, key, now)?;
        let certificate = read(chain_pem, key, Source::Acme).map_err(|fault| fault.to_string())?;
        if !certificate.facts.as_ref().is_some_and(|facts| wanted.is_met_by(&facts.names)) {
            return Err("the certificate is not for every name that was ordered".into());
        }
        keep_given(&folder, BY_ACME, chain_pem, key)?;
        remove(&folder, UPLOADED)?;
        self.show(certificate);
        Ok(())
    }

    /// Makes a new certificate of the box's own and shows it from now on.
    pub(super) fn renew(&self, now: Timestamp) -> Result<(), String> {
        let folder = self.replaceable()?;
        let made = make(self.hostname.as_deref(), now).map_err(|fault| fault.to_string())?;
        let certificate = read(&made.certificate_pem, &made.key_pem, Source::Own);
        let certificate = certificate.map_err(|fault| fault.to_string())?;
        keep_own(&folder, &made).map_err(|fault| fault.to_string())?;
        remove(&folder, UPLOADED)?;
        remove(&folder, BY_ACME)?;
        self.show(certificate);
        Ok(())
    }

    /// Where a new certificate is kept, or why there can be none.
    pub(crate) fn replaceable(&self) -> Result<PathBuf, String> {
        if self.source() == Source::Configured {
            return Err(
                "the configuration file names the certificate (certificate_secret): replace it there".into(),
            );
        }
        let folder = self.folder.read().unwrap_or_else(PoisonError::into_inner).clone();
        folder.ok_or_else(|| "this desk keeps no certificate".into())
    }

    /// Where certificates that are given or made are kept from now on.
    pub(super) fn keep_in(&self, folder: &Path) {
        *self.folder.write().unwrap_or_else(PoisonError::into_inner) = Some(folder.into());
    }

    fn show(&self, certificate: Certificate) {
        *self.shown.certificate.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(certificate);
    }

    pub(super) fn tls(&self) -> Arc<ServerConfig> {
        self.tls.clone()
    }
}

fn read(chain_pem: &str, key: &Secret, source: Source) -> Result<Certificate, AdminError> {
    let fault =
        |what: &str, fault: &dyn std::fmt::Display| AdminError::Certificate(format!("{what}: {fault}"));
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain_pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|e| fault("the certificate is not PEM", &e))?;
    let first =
        chain.first().ok_or_else(|| AdminError::Certificate("there is no certificate in it".into()))?;
    let (fingerprint, facts) = (fingerprint(first), Facts::of(&chain));
    let key =
        PrivateKeyDer::from_pem_slice(key.expose()).map_err(|e| fault("the private key is not PEM", &e))?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let key = CertifiedKey::from_der(chain, key, &provider)
        .map_err(|e| fault("certificate and key do not work together", &e))?;
    Ok(Certificate { key: Arc::new(key), fingerprint, source, facts })
}

fn make(hostname: Option<&str>, now: Timestamp) -> Result<SelfMade, AdminError> {
    let hostname = hostname.map_or_else(own_name, ToOwned::to_owned);
    SelfMade::make(&hostname, &own_addresses(), now)
        .map_err(|fault| AdminError::Certificate(fault.to_string()))
}

fn keep_own(folder: &Path, made: &SelfMade) -> Result<(), AdminError> {
    // The certificate last: a key without one is made anew at the next start.
    write(folder, OWN_KEY, made.key_pem.expose())?;
    write(folder, OWN_CERTIFICATE, made.certificate_pem.as_bytes())
}

fn keep_given(folder: &Path, name: &str, chain_pem: &str, key: &Secret) -> Result<(), String> {
    let key = key.expose_text().map_err(|fault| fault.to_string())?;
    let both = Secret::new(format!("{}\n{key}\n", chain_pem.trim_end()).into_bytes());
    write(folder, name, both.expose()).map_err(|fault| fault.to_string())
}

fn remove(folder: &Path, name: &str) -> Result<(), String> {
    match fs::remove_file(folder.join(name)) {
        Err(fault) if fault.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("{name} cannot be removed: {fault}"))
        }
        _ => Ok(()),
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
        write!(f, "Identity({})", self.fingerprint())
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

    #[test]
    fn a_new_certificate_is_kept_and_shown_at_once_and_the_boxs_own_takes_its_place_again() {
        let dir = tempfile::tempdir().unwrap();
        let secrets = SecretStore::new(None, Some(dir.path().into()));
        let load = || Identity::load_or_make(&Config::default(), &secrets, dir.path(), noon()).unwrap();
        let (identity, given) = (load(), SelfMade::make("given", &[], noon()).unwrap());
        let (other, own) = (identity.clone(), identity.fingerprint());
        identity.replace(&given.certificate_pem, &given.key_pem, noon()).unwrap();
        assert_eq!((other.fingerprint(), other.source()), (given.fingerprint.clone(), Source::Uploaded));
        let mode = fs::metadata(dir.path().join(UPLOADED)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(load().fingerprint(), given.fingerprint, "after a restart too");
        let wrong = SelfMade::make("wrong", &[], noon()).unwrap();
        assert!(identity.replace(&wrong.certificate_pem, &given.key_pem, noon()).is_err());
        assert_eq!(identity.fingerprint(), given.fingerprint, "what cannot be used changes nothing");
        identity.renew(noon()).unwrap();
        assert_eq!((load().fingerprint(), load().source()), (identity.fingerprint(), Source::Own));
        assert_ne!(identity.fingerprint(), own);
        identity.replace(&given.certificate_pem, &given.key_pem, noon()).unwrap();
        fs::write(dir.path().join(UPLOADED), "garbage").unwrap();
        assert_eq!(load().source(), Source::Own, "a desk with another certificate is better than none");
    }

    #[test]
    fn what_an_authority_gave_is_shown_until_another_is_given_and_is_for_the_names_that_were_ordered() {
        let dir = tempfile::tempdir().unwrap();
        let secrets = SecretStore::new(None, Some(dir.path().into()));
        let load = || Identity::load_or_make(&Config::default(), &secrets, dir.path(), noon()).unwrap();
        let text = "directory = \"https://ca/d\"\nhosts = [\"desk\"]\nterms_agreed = true";
        let wanted: acme::Config = toml::from_str(text).unwrap();
        let make = |name: &str| SelfMade::make(name, &[], noon()).unwrap();
        let (identity, uploaded, given) = (load(), make("desk"), make("desk"));
        identity.replace(&uploaded.certificate_pem, &uploaded.key_pem, noon()).unwrap();
        let issue =
            |made: &SelfMade, key: &Secret| identity.issued(&made.certificate_pem, key, &wanted, noon());
        let other = make("other");
        assert!(issue(&other, &other.key_pem).unwrap_err().contains("every name"));
        assert!(issue(&given, &other.key_pem).unwrap_err().contains("does not belong"));
        assert_eq!(
            identity.fingerprint(),
            uploaded.fingerprint,
            "the old one stays until the new one is whole"
        );
        issue(&given, &given.key_pem).unwrap();
        assert_eq!((load().fingerprint(), load().source()), (given.fingerprint.clone(), Source::Acme));
        let mode = fs::metadata(dir.path().join(BY_ACME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        identity.replace(&uploaded.certificate_pem, &uploaded.key_pem, noon()).unwrap();
        assert_eq!(load().source(), Source::Uploaded);
        issue(&given, &given.key_pem).unwrap();
        identity.renew(noon()).unwrap();
        assert_eq!(load().source(), Source::Own);
    }

    #[test]
    fn what_the_configuration_names_is_not_replaced_at_the_desk() {
        let dir = tempfile::tempdir().unwrap();
        let secrets = SecretStore::new(None, Some(dir.path().into()));
        let made = SelfMade::make("a", &[], noon()).unwrap();
        write(dir.path(), "a.pem", made.certificate_pem.as_bytes()).unwrap();
        write(dir.path(), "a.key", made.key_pem.expose()).unwrap();
        let config = Config {
            certificate_secret: Some("a.pem".into()),
            key_secret: Some("a.key".into()),
            ..Config::default()
        };
        let identity = Identity::load_or_make(&config, &secrets, dir.path(), noon()).unwrap();
        assert!(identity.renew(noon()).unwrap_err().contains("certificate_secret"));
        assert_eq!(identity.source(), Source::Configured);
    }
}
