//! Who may publish, and what was published: JSON that is signed as it stands.
//!
//! ```json
//! {"signed": {"kind": "root", "version": 1, "expires": "2031-01-01T00:00:00Z",
//!             "keys": {"<SHA-256 of the key>": {"ed25519": "<64 hex digits>"}},
//!             "roles": {"root": {"keys": ["…"], "threshold": 2}, "release": {"keys": ["…"], "threshold": 1}}},
//!  "signatures": [{"keyid": "…", "sig": "<128 hex digits>"}]}
//! {"signed": {"kind": "release", "version": 7, "expires": "2027-01-01T00:00:00Z", "product": "0.3.0", "schema": 11,
//!             "targets": [{"architecture": "aarch64", "file": "bedside-aarch64", "length": 14680064, "sha256": "…"}]},
//!  "signatures": […]}
//! ```
//!
//! What is signed are the bytes of the member `signed` as they stand in the file, so that no canonical form is needed and
//! none can be had in two ways. Members of `signed` that this program does not know are passed over: they are signed too, and
//! an older program must be able to take a newer release.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::UpdateError;

/// Longest piece of metadata.
pub const METADATA_MAX: usize = 64 << 10;
/// Longest program.
pub const PROGRAM_MAX: u64 = 256 << 20;
/// Largest update file.
pub const UPDATE_MAX: u64 = 512 << 20;
const KEYS_MAX: usize = 32;
const SIGNATURES_MAX: usize = 64;
const TARGETS_MAX: usize = 16;
const TEXT_MAX: usize = 64;

/// A public key, Ed25519 (RFC 8032).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// 64 hexadecimal digits.
    pub ed25519: String,
}

/// Who plays a part, and how many of them must agree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    pub keys: Vec<String>,
    pub threshold: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roles {
    /// Who may sign the next root.
    pub root: Role,
    /// Who may sign releases.
    pub release: Role,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RootKind {
    Root,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ReleaseKind {
    Release,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum NewestKind {
    Newest,
}

/// What is newest in a publisher's folder: the update file there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Newest {
    kind: NewestKind,
    /// That of the release.
    pub version: u64,
    /// RFC 3339.
    pub expires: String,
    pub product: String,
    pub architectures: Vec<String>,
    /// A plain name beside this document, and what the file is.
    pub file: String,
    pub length: u64,
    pub sha256: String,
}

/// Whom to trust, from one version of this list to the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    kind: RootKind,
    pub version: u64,
    /// RFC 3339.
    pub expires: String,
    pub keys: BTreeMap<String, Key>,
    pub roles: Roles,
}

/// A published program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    kind: ReleaseKind,
    /// Rises by each publication; what an older one is, is told by this alone.
    pub version: u64,
    /// RFC 3339.
    pub expires: String,
    /// The program's own version, e.g. `0.3.0`.
    pub product: String,
    /// The database schema it writes.
    pub schema: i64,
    pub targets: Vec<Target>,
}

/// One file of a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    pub architecture: String,
    pub file: String,
    pub length: u64,
    /// 64 hexadecimal digits.
    pub sha256: String,
}

/// A signature over the bytes of `signed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    pub keyid: String,
    /// 128 hexadecimal digits.
    pub sig: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    #[serde(borrow)]
    signed: &'a RawValue,
    signatures: Vec<Signature>,
}

/// A program's version: three numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u64, pub u64, pub u64);

impl Version {
    /// Reads `1.2.3`; `None` for anything else.
    pub fn read(text: &str) -> Option<Self> {
        let mut parts = text.split('.').map(|part| {
            let plain = part.len() <= 9 && !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
            plain.then(|| part.parse().ok()).flatten()
        });
        let version = Self(parts.next()??, parts.next()??, parts.next()??);
        parts.next().is_none().then_some(version)
    }

    /// The version of this very program; what follows the three numbers does not count.
    pub fn packaged() -> Self {
        let text = env!("CARGO_PKG_VERSION");
        let plain = text.split(['-', '+']).next().unwrap_or(text);
        Self::read(plain).unwrap_or(Self(0, 0, 0))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

fn unreadable(why: impl fmt::Display) -> UpdateError {
    UpdateError::Metadata(why.to_string())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        for digit in pair {
            let value = match digit {
                b'0'..=b'9' => digit - b'0',
                b'a'..=b'f' => digit - b'a' + 10,
                _ => return None,
            };
            *byte = *byte << 4 | value;
        }
    }
    Some(bytes)
}

/// How a key is called: the SHA-256 of its 32 bytes.
pub fn keyid(key: &[u8]) -> String {
    hex(digest(&SHA256, key).as_ref())
}

/// The same for a key in 64 hexadecimal digits; `None` when it is none.
pub(super) fn keyid_of(public: &str) -> Option<String> {
    unhex::<32>(public).map(|key| keyid(&key))
}

impl Key {
    fn bytes(&self) -> Option<[u8; 32]> {
        unhex(&self.ed25519)
    }
}

/// Microseconds since 1970 of an RFC 3339 time.
fn expiry(text: &str) -> Result<i64, UpdateError> {
    let at = text.parse::<jiff::Timestamp>().ok().filter(|_| text.len() <= TEXT_MAX);
    at.map(jiff::Timestamp::as_microsecond)
        .ok_or_else(|| unreadable("\"expires\" is no RFC 3339 time such as 2027-01-01T00:00:00Z"))
}

fn opened(bytes: &[u8]) -> Result<Envelope<'_>, UpdateError> {
    if bytes.len() > METADATA_MAX {
        return Err(unreadable(format_args!("it is longer than {METADATA_MAX} bytes")));
    }
    let envelope: Envelope<'_> = serde_json::from_slice(bytes).map_err(unreadable)?;
    if envelope.signatures.len() > SIGNATURES_MAX {
        return Err(unreadable("it has more signatures than are looked at"));
    }
    Ok(envelope)
}

impl Envelope<'_> {
    /// Whether enough of a role's keys signed this. A key counts once.
    fn signed_by(&self, root: &Root, role: &Role, part: &str) -> Result<(), UpdateError> {
        let message = self.signed.get().as_bytes();
        let mut good = BTreeSet::new();
        for Signature { keyid, sig } in &self.signatures {
            let key = root.keys.get(keyid).filter(|_| role.keys.contains(keyid)).and_then(Key::bytes);
            let (Some(key), Some(sig)) = (key, unhex::<64>(sig)) else { continue };
            if UnparsedPublicKey::new(&ED25519, key).verify(message, &sig).is_ok() {
                good.insert(keyid);
            }
        }
        if good.len() >= role.threshold {
            return Ok(());
        }
        let (have, need, version) = (good.len(), role.threshold, root.version);
        Err(UpdateError::Signature(format!(
            "{part} needs {need} of the keys named by root {version}, and {have} signed it"
        )))
    }
}

impl Root {
    /// The root the box was given: it must be signed as it says itself.
    ///
    /// # Errors
    /// [`UpdateError::Metadata`], [`UpdateError::Signature`].
    pub fn anchor(bytes: &[u8]) -> Result<Self, UpdateError> {
        let envelope = opened(bytes)?;
        let root = Self::read(&envelope)?;
        envelope.signed_by(&root, &root.roles.root, "the root")?;
        Ok(root)
    }

    /// A new root, without a signature.
    pub(super) fn new(version: u64, expires: String, keys: BTreeMap<String, Key>, roles: Roles) -> Self {
        Self { kind: RootKind::Root, version, expires, keys, roles }
    }

    /// The root that follows this one: signed by as many as this one asks for, and by as many as it asks for itself.
    ///
    /// # Errors
    /// As [`Root::anchor`].
    pub fn next(&self, bytes: &[u8]) -> Result<Self, UpdateError> {
        let envelope = opened(bytes)?;
        let root = Self::read(&envelope)?;
        if Some(root.version) != self.version.checked_add(1) {
            return Err(UpdateError::Signature(format!(
                "root {} does not follow root {}",
                root.version, self.version
            )));
        }
        envelope.signed_by(self, &self.roles.root, "the next root")?;
        envelope.signed_by(&root, &root.roles.root, "the next root")?;
        Ok(root)
    }

    /// A release, signed as this root asks for.
    ///
    /// # Errors
    /// As [`Root::anchor`].
    pub fn release(&self, bytes: &[u8]) -> Result<Release, UpdateError> {
        let envelope = opened(bytes)?;
        envelope.signed_by(self, &self.roles.release, "the release")?;
        let release: Release = serde_json::from_str(envelope.signed.get()).map_err(unreadable)?;
        release.check()?;
        Ok(release)
    }

    /// What is newest, signed by who may sign releases.
    ///
    /// # Errors
    /// As [`Root::anchor`].
    pub fn newest(&self, bytes: &[u8]) -> Result<Newest, UpdateError> {
        let envelope = opened(bytes)?;
        envelope.signed_by(self, &self.roles.release, "what is newest")?;
        let newest: Newest = serde_json::from_str(envelope.signed.get()).map_err(unreadable)?;
        newest.check()?;
        Ok(newest)
    }

    /// Microseconds since 1970.
    pub fn expires(&self) -> i64 {
        expiry(&self.expires).unwrap_or(i64::MIN)
    }

    fn read(envelope: &Envelope<'_>) -> Result<Self, UpdateError> {
        let root: Self = serde_json::from_str(envelope.signed.get()).map_err(unreadable)?;
        root.check()?;
        Ok(root)
    }

    pub(super) fn check(&self) -> Result<(), UpdateError> {
        expiry(&self.expires)?;
        if self.version == 0 || self.keys.len() > KEYS_MAX {
            return Err(unreadable("a root has a version above 0 and not more than 32 keys"));
        }
        for (id, key) in &self.keys {
            if key.bytes().is_none_or(|key| keyid(&key) != *id) {
                return Err(unreadable(
                    "a key is not what it is called: its name is the SHA-256 of its bytes",
                ));
            }
        }
        for role in [&self.roles.root, &self.roles.release] {
            let distinct: BTreeSet<_> = role.keys.iter().filter(|id| self.keys.contains_key(*id)).collect();
            if distinct.len() != role.keys.len() {
                return Err(unreadable("a role names a key twice, or one that is not there"));
            }
            if !(1..=distinct.len()).contains(&role.threshold) {
                return Err(unreadable(
                    "a role's threshold is at least 1 and at most the number of its keys",
                ));
            }
        }
        Ok(())
    }
}

impl Newest {
    pub(super) fn of(release: &Release, file: String, (length, sha256): (u64, String)) -> Self {
        Self {
            kind: NewestKind::Newest,
            version: release.version,
            expires: release.expires.clone(),
            product: release.product.clone(),
            architectures: release.targets.iter().map(|target| target.architecture.clone()).collect(),
            file,
            length,
            sha256,
        }
    }

    /// Microseconds since 1970.
    pub fn expires(&self) -> i64 {
        expiry(&self.expires).unwrap_or(i64::MIN)
    }

    pub(super) fn check(&self) -> Result<(), UpdateError> {
        expiry(&self.expires)?;
        let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-');
        if self.file.len() > TEXT_MAX || self.file.starts_with('.') || !self.file.bytes().all(plain) {
            return Err(unreadable("\"file\" is a plain name of letters, digits, dots and dashes"));
        }
        if self.version == 0 || self.file.is_empty() || Version::read(&self.product).is_none() {
            return Err(unreadable("what is newest has a version above 0, a product and a file"));
        }
        if !(1..=UPDATE_MAX).contains(&self.length) || unhex::<32>(&self.sha256).is_none() {
            return Err(unreadable("an update file has 1 byte to 512 MiB, and a SHA-256"));
        }
        if self.architectures.is_empty() || self.architectures.len() > TARGETS_MAX {
            return Err(unreadable("what is newest is for 1 to 16 architectures"));
        }
        Ok(())
    }
}

impl Release {
    pub(super) fn new(
        version: u64,
        expires: String,
        product: String,
        schema: i64,
        targets: Vec<Target>,
    ) -> Self {
        Self { kind: ReleaseKind::Release, version, expires, product, schema, targets }
    }

    /// Microseconds since 1970.
    pub fn expires(&self) -> i64 {
        expiry(&self.expires).unwrap_or(i64::MIN)
    }

    /// The program's version; checked when it was read.
    pub fn product(&self) -> Version {
        Version::read(&self.product).unwrap_or(Version(0, 0, 0))
    }

    pub fn target(&self, architecture: &str) -> Option<&Target> {
        self.targets.iter().find(|target| target.architecture == architecture)
    }

    pub(super) fn check(&self) -> Result<(), UpdateError> {
        expiry(&self.expires)?;
        if self.version == 0 || !(0..=1_000_000).contains(&self.schema) {
            return Err(unreadable("a release has a version above 0 and a schema"));
        }
        if Version::read(&self.product).is_none() {
            return Err(unreadable("\"product\" is three numbers such as 0.3.0"));
        }
        if self.targets.is_empty() || self.targets.len() > TARGETS_MAX {
            return Err(unreadable("a release has 1 to 16 targets"));
        }
        let mut seen = BTreeSet::new();
        for target in &self.targets {
            let Target { architecture, file, length, sha256 } = target;
            if super::archive::architecture_of(file) != Some(architecture.as_str()) {
                return Err(unreadable("a target's file is called bedside-<architecture>"));
            }
            if *length == 0 || *length > PROGRAM_MAX {
                return Err(unreadable("a program is longer than 256 MiB, or empty"));
            }
            if unhex::<32>(sha256).is_none() {
                return Err(unreadable("a target's sha256 is 64 hexadecimal digits"));
            }
            if !seen.insert(architecture) {
                return Err(unreadable("a release has two programs for one architecture"));
            }
        }
        Ok(())
    }
}

/// Fuzz body: metadata is read or refused, and what is read says of itself only what it may.
pub fn fuzz(bytes: &[u8]) {
    let Ok(envelope) = opened(bytes) else { return };
    if let Ok(root) = Root::read(&envelope) {
        assert!(root.roles.release.threshold >= 1, "a release needs a signature");
        let empty = envelope.signatures.is_empty();
        assert!(!(empty && Root::anchor(bytes).is_ok()), "a root without a signature");
        drop(root.release(bytes));
        drop(root.newest(bytes));
        drop(root.next(bytes));
    }
}
