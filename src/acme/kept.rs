//! What is kept of an authority beside the box's other secrets: the account with its key, the order that is under way with
//! the key of the certificate to come, and the certificate. Each is one file that only its owner can read, written whole or
//! not at all.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use instant_acme::AccountCredentials;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Config;
use crate::secret::Secret;

const ACCOUNT: &str = "desk-acme-account.json";
const ORDER: &str = "desk-acme-order.json";
/// The folder they are in.
#[derive(Clone, Debug)]
pub struct Kept(PathBuf);

#[derive(Serialize, Deserialize)]
struct Account {
    directory: String,
    credentials: AccountCredentials,
}

/// An order that is under way.
#[derive(Serialize, Deserialize)]
pub(super) struct Under {
    directory: String,
    hosts: Vec<String>,
    /// Its address over there.
    pub(super) url: String,
    /// The key of the certificate to come, PKCS #8 PEM.
    pub(super) key_pem: String,
}

impl Drop for Under {
    fn drop(&mut self) {
        use zeroize::Zeroize;
        self.key_pem.zeroize();
    }
}

impl Under {
    pub(super) fn new(config: &Config, url: &str, key_pem: String) -> Self {
        Self { directory: config.directory.clone(), hosts: config.hosts.clone(), url: url.into(), key_pem }
    }

    pub(super) fn key(&self) -> Secret {
        Secret::new(self.key_pem.as_bytes().to_vec())
    }
}

impl Kept {
    /// In this folder, which is made when something is to be kept.
    pub fn new(folder: &Path) -> Self {
        Self(folder.into())
    }

    /// The account at this directory, if there is one that can be read.
    pub(super) fn account(&self, config: &Config) -> Option<AccountCredentials> {
        let kept: Account = self.read(ACCOUNT)?;
        (kept.directory == config.directory).then_some(kept.credentials)
    }

    pub(super) fn keep_account(
        &self,
        config: &Config,
        credentials: AccountCredentials,
    ) -> Result<(), String> {
        self.write(ACCOUNT, &Account { directory: config.directory.clone(), credentials })
    }

    pub(super) fn forget_account(&self) {
        self.forget(ACCOUNT);
    }

    /// Whether an order was left in the middle.
    pub fn is_under_way(&self, config: &Config) -> bool {
        self.order(config).is_some()
    }

    /// Whether there is an account at this directory.
    pub fn has_account(&self, config: &Config) -> bool {
        self.account(config).is_some()
    }

    /// The order that is under way for the same names at the same directory.
    pub(super) fn order(&self, config: &Config) -> Option<Under> {
        let kept: Under = self.read(ORDER)?;
        (kept.directory == config.directory && kept.hosts == config.hosts).then_some(kept)
    }

    pub(super) fn keep_order(&self, order: &Under) -> Result<(), String> {
        self.write(ORDER, order)
    }

    /// The order is done, or nothing will come of it.
    pub fn forget_order(&self) {
        self.forget(ORDER);
    }

    fn read<T: for<'de> Deserialize<'de>>(&self, name: &str) -> Option<T> {
        let bytes = match fs::read(self.0.join(name)) {
            Ok(bytes) => Zeroizing::new(bytes),
            Err(fault) => {
                if fault.kind() != ErrorKind::NotFound {
                    tracing::warn!(%fault, name, "A file of the ACME account cannot be read; another is made.");
                }
                return None;
            }
        };
        let read = serde_json::from_slice(&bytes);
        // What is wrong is not said: the text could quote a key.
        read.inspect_err(|_| {
            tracing::warn!(name, "A file of the ACME account cannot be read; another is made.")
        })
        .ok()
    }

    fn write(&self, name: &str, what: &impl Serialize) -> Result<(), String> {
        let text = Zeroizing::new(serde_json::to_vec(what).map_err(|fault| fault.to_string())?);
        replace(&self.0, name, &text)
            .map_err(|fault| format!("{} cannot be kept: {fault}", self.0.join(name).display()))
    }

    fn forget(&self, name: &str) {
        if let Err(fault) = fs::remove_file(self.0.join(name))
            && fault.kind() != ErrorKind::NotFound
        {
            tracing::warn!(%fault, name, "A file of the ACME account could not be removed.");
        }
    }
}

/// Writes a secret whole or not at all, readable by its owner only from the first moment.
fn replace(folder: &Path, name: &str, content: &[u8]) -> std::io::Result<()> {
    let new = folder.join(format!("{name}.new"));
    fs::create_dir_all(folder)?;
    match fs::remove_file(&new) {
        Err(fault) if fault.kind() != ErrorKind::NotFound => return Err(fault),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&new, folder.join(name))?;
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn config(directory: &str) -> Config {
        let text = format!("directory = \"{directory}\"\nhosts = [\"a\"]\nterms_agreed = true");
        toml::from_str(&text).unwrap()
    }

    #[test]
    fn an_order_is_gone_on_with_for_the_same_names_at_the_same_directory_only() {
        let dir = tempfile::tempdir().unwrap();
        let kept = Kept::new(dir.path());
        let one = config("https://one/d");
        assert!(!kept.is_under_way(&one) && !kept.has_account(&one));
        kept.keep_order(&Under::new(&one, "https://one/o/7", "KEY".into())).unwrap();
        let mode = fs::metadata(dir.path().join(ORDER)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let order = kept.order(&one).unwrap();
        assert_eq!((order.url.as_str(), order.key_pem.as_str()), ("https://one/o/7", "KEY"));
        assert!(!kept.is_under_way(&config("https://two/d")));
        assert!(!kept.is_under_way(&Config { hosts: vec!["b".into()], ..one.clone() }));
        fs::write(dir.path().join(ORDER), "half a fi").unwrap();
        assert!(!kept.is_under_way(&one), "what cannot be read is begun anew");
        kept.forget_order();
        kept.forget_order();
        assert!(!dir.path().join(ORDER).exists());
    }
}
