//! For the tests of doors: an authority in a folder of its own, and what it certifies and revokes.

use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};

use super::{Peer, Settings};

pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: tempfile::TempDir,
    serial: std::sync::atomic::AtomicU64,
}

/// A certificate with its key, in files.
pub(crate) struct Issued {
    pub(crate) cert_file: PathBuf,
    pub(crate) key_file: PathBuf,
    pub(crate) serial: u64,
    pub(crate) fingerprint: Peer,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, dir, serial: 1000.into() }
    }

    pub(crate) fn ca_file(&self) -> Option<PathBuf> {
        Some(self.dir.path().join("ca.pem"))
    }

    /// A certificate for the DNS name (and common name) `name` until the end of `last_year`.
    pub(crate) fn issue(&self, name: &str, last_year: i32) -> Issued {
        let serial = self.serial.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.serial_number = Some(SerialNumber::from(serial));
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(last_year, 12, 31);
        let key = KeyPair::generate().unwrap();
        let made = params.signed_by(&key, &self.issuer).unwrap();
        let file = |kind: &str| self.dir.path().join(format!("{serial}-{kind}.pem"));
        std::fs::write(file("cert"), made.pem()).unwrap();
        std::fs::write(file("key"), key.serialize_pem()).unwrap();
        let fingerprint = super::fingerprint(made.der()).try_into().unwrap();
        Issued { cert_file: file("cert"), key_file: file("key"), serial, fingerprint }
    }

    /// The revocation list with these certificates, in a file.
    pub(crate) fn revoke(&self, revoked: &[&Issued]) -> Option<PathBuf> {
        let revoked = revoked.iter().map(|issued| RevokedCertParams {
            serial_number: SerialNumber::from(issued.serial),
            revocation_time: date_time_ymd(2025, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2025, 1, 1),
            next_update: date_time_ymd(2025, 2, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let file = self.dir.path().join("crl.pem");
        std::fs::write(&file, list.signed_by(&self.issuer).unwrap().pem().unwrap()).unwrap();
        Some(file)
    }
}

impl Issued {
    /// Shows this certificate.
    pub(crate) fn settings(&self) -> Settings {
        let (cert_file, key_file) = (Some(self.cert_file.clone()), Some(self.key_file.clone()));
        Settings { cert_file, key_file, ..Settings::default() }
    }
}
