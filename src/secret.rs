//! Secrets: loaded by name, never printed, never serialised, zeroed when dropped.
//!
//! A secret is a file. Its name is looked up in systemd's `$CREDENTIALS_DIRECTORY` first and in the secrets
//! folder of the box second; there the file must be readable by its owner only, or it is refused.

use std::fmt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// A secret value. `Debug` shows only that there is one; there is no `Display` and no `Serialize`.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes ownership of bytes that are secret from now on.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, for the one call that needs them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The secret as text without a trailing line end, for passwords and PEM.
    pub fn expose_text(&self) -> Result<&str, SecretError> {
        std::str::from_utf8(&self.0).map(str::trim_end).map_err(|_| SecretError::NotText)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// Why a secret could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("secret \"{name}\" not found: looked in {}", looked.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(" and "))]
    Missing { name: String, looked: Vec<PathBuf> },
    #[error("secret file {} can be read by others (mode {mode:o}): chmod 600 it", path.display())]
    TooOpen { path: PathBuf, mode: u32 },
    #[error("secret file {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("secret name \"{0}\" may hold only letters, digits, '-', '_' and '.'")]
    BadName(String),
    #[error("secret is not UTF-8 text")]
    NotText,
}

/// The places secrets are looked for, in order.
#[derive(Clone, Debug, Default)]
pub struct SecretStore {
    credentials: Option<PathBuf>,
    folder: Option<PathBuf>,
    /// What was made at the desk, beside what the box keeps.
    own: Option<PathBuf>,
}

impl SecretStore {
    /// systemd credentials first, else `folder`.
    pub fn new(credentials: Option<PathBuf>, folder: Option<PathBuf>) -> Self {
        Self { credentials, folder, own: None }
    }

    /// The same, and `own` last.
    #[must_use]
    pub fn with_own(mut self, own: PathBuf) -> Self {
        self.own = Some(own);
        self
    }

    /// Loads the secret called `name`.
    pub fn load(&self, name: &str) -> Result<Secret, SecretError> {
        check_name(name)?;
        let mut looked = Vec::new();
        for (dir, ours) in [(&self.credentials, false), (&self.folder, true), (&self.own, true)] {
            let Some(path) = dir.as_ref().map(|d| d.join(name)) else { continue };
            if path.exists() {
                return read(&path, ours);
            }
            looked.push(path);
        }
        Err(SecretError::Missing { name: name.into(), looked })
    }
}

/// Whether `name` can name a secret.
pub fn check_name(name: &str) -> Result<(), SecretError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.starts_with('.') || !name.chars().all(allowed) {
        return Err(SecretError::BadName(name.into()));
    }
    Ok(())
}

/// Writes a secret to a new file that only its owner can read, making its folder if need be; durable when this
/// returns. A file that is already there is an error: nobody's key is ever overwritten.
pub fn write_new(path: &Path, secret: &Secret) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(secret.expose())?;
    file.sync_all()?;
    std::fs::File::open(folder)?.sync_all()
}

fn read(path: &Path, check_mode: bool) -> Result<Secret, SecretError> {
    let unreadable = |source| SecretError::Unreadable { path: path.into(), source };
    let meta = std::fs::metadata(path).map_err(unreadable)?;
    let mode = meta.permissions().mode() & 0o777;
    if check_mode && mode & 0o077 != 0 {
        return Err(SecretError::TooOpen { path: path.into(), mode });
    }
    if meta.size() > 1 << 20 {
        return Err(unreadable(std::io::Error::other("larger than 1 MiB")));
    }
    std::fs::read(path).map(Secret::new).map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_prints_itself() {
        assert_eq!(format!("{:?}", Secret::new(b"hunter2".to_vec())), "Secret(***)");
    }

    #[test]
    fn a_secret_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, "s").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let store = SecretStore::new(None, Some(dir.path().into()));
        assert!(matches!(store.load("key"), Err(SecretError::TooOpen { .. })));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(store.load("key").unwrap().expose_text().unwrap(), "s");
    }

    #[test]
    fn a_written_secret_is_its_owners_alone_and_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/key");
        write_new(&path, &Secret::new(b"s".to_vec())).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(write_new(&path, &Secret::new(b"t".to_vec())).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"s");
    }

    #[test]
    fn a_secret_name_cannot_leave_its_folder() {
        let store = SecretStore::new(None, Some("/tmp".into()));
        assert!(matches!(store.load("../etc/passwd"), Err(SecretError::BadName(_))));
    }
}
