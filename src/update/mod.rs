//! For a box that is updated by people who are no computer experts: a new program is taken only from who may publish one,
//! stands beside the old one until it proved itself, and gives way by itself where it does not.
//!
//! The metadata is built after The Update Framework (TUF 1.0): roots that rotate, a threshold of Ed25519 signatures,
//! versions that only rise, dates of expiry, and length and SHA-256 of each program.
//!
//! # Invariants, told as absences
//!
//! - No byte of a program is written before the whole file was read once and found to be what its publisher signed.
//! - No name of an archive becomes a path: what is written where is fixed here.
//! - No slot is started whose bytes, signatures and length were not verified at that start.
//! - No state exists, also between two writes, in which neither the old nor the new program would start.
//! - No release older than one that proved itself is taken, nor one signed by a key a later root left out.
//! - No database is deleted or made unreadable by going back; see [`start`].
//! - Nothing is done or refused without a line for the audit trail ([`journal`]).
//!
//! # In the data folder
//!
//! ```text
//! program/state.json               which slot, how often it was tried, what was ever confirmed
//! program/{a,b}/bedside            a program; beside it release.json and root/N.json, by which each start verifies it
//! program/roots/N.json             roots that came with updates
//! program/told.ndjson              lines on their way into the audit trail
//! program/fetched.*                what comes from the publisher's server, and how far it is
//! program/snapshots/               the database before a program with a newer schema
//! ```

pub mod archive;
pub mod disk;
pub mod fetch;
pub mod install;
pub mod journal;
pub mod metadata;
pub mod publish;
pub mod slots;
pub mod start;
#[cfg(test)]
pub(crate) mod rig;
#[cfg(test)]
mod fetch_tests;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use serde::Deserialize;

pub use metadata::{Newest, Release, Root, Target, Version};

/// The environment variable by which a program knows the slot it was started from: `a:7` is slot a, release 7.
pub const STARTED_AS: &str = "BEDSIDE_PROGRAM";
/// How often a program is tried before the box goes back.
pub const ATTEMPTS: u32 = 3;

/// `[update]`: who may publish programs for this box.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The root the publisher gave: the file every chain of signatures begins at.
    pub root: PathBuf,
    /// Seconds a new program must run and be well before it is taken for good.
    #[serde(default = "confirm_after")]
    pub confirm_after_s: u64,
    /// The publisher's folder on a web server.
    pub url: Option<String>,
    /// The authorities that may certify that server; the system's unless said.
    pub ca_file: Option<PathBuf>,
}

const fn confirm_after() -> u64 {
    60
}

impl Config {
    /// What is wrong with it: the key and a sentence.
    ///
    /// # Errors
    /// See there.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        if !(5..=86_400).contains(&self.confirm_after_s) {
            return Err(("confirm_after_s", "confirm_after_s is 5 to 86400 seconds".into()));
        }
        if !self.root.is_absolute() {
            return Err((
                "root",
                "root is an absolute path, such as \"/etc/bedside/update-root.json\"".into(),
            ));
        }
        if let Some(url) = &self.url {
            fetch::address(url).map_err(|why| ("url", why))?;
        }
        Ok(())
    }
}

/// Why an update was not taken, in a sentence for the person who brought it.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    #[error(
        "this box takes no updates: its configuration names nobody who may publish them. Put the root.json of the publisher \
         into /etc/bedside/update-root.json and say so:\n[update]\nroot = \"/etc/bedside/update-root.json\""
    )]
    NoAnchor,
    #[error("{}: {source}", path.display())]
    Disk { path: PathBuf, source: std::io::Error },
    /// The archive is not of the one form that is read.
    #[error("this is no update file: {0}")]
    Archive(String),
    /// Metadata that cannot be read.
    #[error("the metadata cannot be read: {0}")]
    Metadata(String),
    #[error("the signatures are not enough: {0}")]
    Signature(String),
    #[error("{0}")]
    Expired(String),
    #[error("{0}")]
    Older(String),
    #[error("{0}")]
    Architecture(String),
    /// What was signed and what is there differ.
    #[error("the program is not the one that was signed: {0}")]
    Mismatch(String),
    /// The publisher's server gave nothing, or not all; nothing is wrong with what it gave.
    #[error("{0}")]
    Away(String),
    /// Not now.
    #[error("{0}")]
    NotNow(String),
}

impl UpdateError {
    pub(crate) fn disk(path: &Path) -> impl Fn(std::io::Error) -> Self + Copy + '_ {
        move |source| Self::Disk { path: path.to_path_buf(), source }
    }
}

/// What programs for this box are called in a release.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "arm" => "armv7",
        other => other,
    }
}

/// The slot and release this process was started as, from the value of [`STARTED_AS`].
pub fn started_as(told: Option<&str>) -> Option<(slots::Slot, u64)> {
    let (slot, release) = told?.split_once(':')?;
    Some((slots::Slot::named(slot)?, release.parse().ok()?))
}

/// The same for this very process.
pub fn this_process() -> Option<(slots::Slot, u64)> {
    started_as(std::env::var(STARTED_AS).ok().as_deref())
}

/// Fuzz body: whatever stands in an update file is read to its end or refused.
pub fn fuzz(bytes: &[u8]) {
    archive::fuzz(bytes);
    metadata::fuzz(bytes);
    slots::fuzz(bytes);
}
