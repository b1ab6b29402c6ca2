//! `[backup]`: encrypted backups by themselves, to a folder or a stick.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::sealed;

/// When backups are made, where they go and who can open them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backup {
    /// A folder; it is never created, so that a stick that is not there is noticed.
    pub folder: PathBuf,
    /// The folder must be a mount point.
    #[serde(default)]
    pub mounted: bool,
    /// Hours from one backup to the next, or
    pub every_h: Option<u32>,
    /// a time of day at the site, `02:30`.
    pub at: Option<String>,
    /// So many of this box's own are kept there.
    #[serde(default = "keep")]
    pub keep: usize,
    /// Public keys, `age1…`; each one alone opens a backup.
    #[serde(default)]
    pub recipients: Vec<String>,
    /// A file whose first line is a passphrase, instead of recipients.
    pub passphrase_file: Option<PathBuf>,
}

const fn keep() -> usize {
    14
}

/// Hours between two backups where nothing else is said.
const DAY_H: u32 = 24;

impl Backup {
    /// What is wrong with it: the key and a sentence.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        if !self.folder.is_absolute() {
            return Err(("folder", "the folder of backups is a whole path, such as /media/usb".into()));
        }
        if self.every_h.is_some() && self.at.is_some() {
            return Err(("at", "say either every_h or at, not both".into()));
        }
        if !(1..=24 * 31).contains(&self.every_h.unwrap_or(DAY_H)) {
            return Err(("every_h", "every_h is 1 to 744 hours".into()));
        }
        if self.at.is_some() && self.time().is_none() {
            return Err(("at", "at is a time of day such as \"02:30\"".into()));
        }
        if !(1..=1000).contains(&self.keep) {
            return Err(("keep", "keep is 1 to 1000 backups".into()));
        }
        match (self.recipients.is_empty(), &self.passphrase_file) {
            (true, None) => Err((
                "recipients",
                "backups are encrypted: make a key by `bedside backup-key FILE`, keep FILE away from the box, and write the line \
                 it prints here (recipients = [\"age1...\"]); or name a passphrase_file"
                    .into(),
            )),
            (false, Some(_)) => {
                Err(("passphrase_file", "say either recipients or passphrase_file, not both".into()))
            }
            _ => match self.recipients.iter().find(|one| !sealed::is_recipient(one)) {
                Some(wrong) if wrong.to_ascii_uppercase().starts_with("AGE-SECRET-KEY") => Err((
                    "recipients",
                    "this is the private key, which must not be on the box: write the line that begins with age1".into(),
                )),
                Some(wrong) => Err((
                    "recipients",
                    format!("\"{wrong}\" is no recipient: `bedside backup-key FILE` prints one that begins with age1"),
                )),
                None => Ok(()),
            },
        }
    }

    /// The time of day, where one is said.
    pub fn time(&self) -> Option<jiff::civil::Time> {
        jiff::civil::Time::strptime("%H:%M", self.at.as_deref()?).ok()
    }

    /// From one backup to the next.
    pub fn period(&self) -> Duration {
        let hours = if self.at.is_some() { DAY_H } else { self.every_h.unwrap_or(DAY_H) };
        Duration::from_secs(u64::from(hours) * 3600)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_that_cannot_work_is_refused_with_its_key_and_what_to_do() {
        let (secret, public) = sealed::new_identity();
        let good = format!("folder = \"/media/usb\"\nat = \"02:30\"\nrecipients = [\"{public}\"]");
        let good: Backup = toml::from_str(&good).unwrap();
        assert!(good.check().is_ok());
        assert_eq!((good.keep, good.period().as_secs()), (14, 86_400));
        let secret: String = secret.chars().collect();
        for (text, key, word) in [
            ("folder = \"usb\"".to_owned(), "folder", "whole path"),
            ("folder = \"/u\"".to_owned(), "recipients", "bedside backup-key"),
            ("folder = \"/u\"\nrecipients = [\"age1x\"]".to_owned(), "recipients", "no recipient"),
            (format!("folder = \"/u\"\nrecipients = [\"{secret}\"]"), "recipients", "private key"),
            ("folder = \"/u\"\nat = \"25:00\"\npassphrase_file = \"/p\"".to_owned(), "at", "02:30"),
            ("folder = \"/u\"\nat = \"02:30\"\nevery_h = 3".to_owned(), "at", "not both"),
            ("folder = \"/u\"\nkeep = 0\npassphrase_file = \"/p\"".to_owned(), "keep", "1 to"),
        ] {
            let section: Backup = toml::from_str(&text).unwrap();
            let (at, why) = section.check().unwrap_err();
            assert!(at == key && why.contains(word), "{text}: {at} {why}");
            assert!(!why.contains(&secret), "a private key is not repeated");
        }
    }
}
