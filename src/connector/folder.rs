//! Devices that leave their results as files: a folder is looked at every few seconds, for network shares tell
//! nobody of changes.
//!
//! A file is taken when it is whole: its size and time did not change for a while, or a companion file says so. It
//! is claimed by a rename into `.claimed`, kept, and only then moved to the archive. A file that cannot be kept is
//! put back; one that cannot be read goes to `failed` with a note. Claimed files of a run that was cut off are
//! taken up again: the buffer knows what it already has.

mod steps;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use tokio::time::Instant;

use super::{Frame, Intake, LinkState, Receipt, Stop};
use crate::clock::SharedClock;
use steps::{Outcome, Seen};

/// `[link.folder]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The folder the device or its program writes to.
    pub dir: PathBuf,
    /// Names of the files to take, with `*` and `?`; several by commas. Others are left alone.
    #[serde(default = "all")]
    pub files: String,
    /// A file is whole when it did not change for so long.
    #[serde(default = "settle_s")]
    pub settle_s: u64,
    /// A file is whole when a file of the same name and this ending is there, e.g. `.ok`; it is archived too.
    pub companion: Option<String>,
    /// How often to look.
    #[serde(default = "poll_s")]
    pub poll_s: u64,
    /// A longer file is not read.
    #[serde(default = "max_bytes")]
    pub max_bytes: u64,
    /// Where kept files go, in a folder for each year and month; `archive` in `dir` when not said.
    pub archive: Option<PathBuf>,
    /// Where files go that cannot be read; `failed` in `dir` when not said.
    pub failed: Option<PathBuf>,
}

fn all() -> String {
    "*".into()
}

const fn settle_s() -> u64 {
    5
}

const fn poll_s() -> u64 {
    5
}

const fn max_bytes() -> u64 {
    8 << 20
}

impl Config {
    /// What is wrong with the section, in a sentence.
    pub fn check(&self) -> Result<(), String> {
        if !self.dir.is_absolute() {
            return Err(format!("`dir = \"{}\"` must be a whole path, from /", self.dir.display()));
        }
        if self.files.split(',').all(|pattern| pattern.trim().is_empty()) {
            return Err("`files` names no file: write for example \"*.gdt\"".into());
        }
        if self.files.contains('/') {
            return Err("`files` are names without folders".into());
        }
        if !(1..=3600).contains(&self.poll_s) || self.settle_s > 3600 {
            return Err("`poll_s` is from 1 to 3600 s, `settle_s` at most 3600 s".into());
        }
        if !(1..=(16 << 20)).contains(&self.max_bytes) {
            return Err("`max_bytes` is from 1 to 16777216".into());
        }
        if self.companion.as_ref().is_some_and(|ending| !ending.starts_with('.') || ending.contains('/')) {
            return Err("`companion` is an ending such as \".ok\"".into());
        }
        Ok(())
    }

    fn claimed(&self) -> PathBuf {
        self.dir.join(".claimed")
    }

    fn archive(&self) -> PathBuf {
        self.archive.clone().unwrap_or_else(|| self.dir.join("archive"))
    }

    fn failed(&self) -> PathBuf {
        self.failed.clone().unwrap_or_else(|| self.dir.join("failed"))
    }

    /// Whether a file of this name is to be taken.
    fn wants(&self, name: &str) -> bool {
        let companion = self.companion.as_ref().is_some_and(|ending| name.ends_with(ending.as_str()));
        !name.starts_with('.') && !companion && self.files.split(',').any(|one| matches(one.trim(), name))
    }
}

/// `*` any letters, `?` one letter; letters of either case are the same, for the writers are Windows programs.
fn matches(pattern: &str, name: &str) -> bool {
    let lower = |text: &str| text.to_lowercase().chars().collect::<Vec<char>>();
    let (pattern, name) = (lower(pattern), lower(name));
    let (mut at, mut here, mut star) = (0, 0, None);
    while here < name.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, here));
                at += 1;
            }
            Some(sign) if *sign == '?' || Some(sign) == name.get(here) => {
                at += 1;
                here += 1;
            }
            _ => match star {
                Some((back, from)) => {
                    star = Some((back, from + 1));
                    (at, here) = (back + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(at).all(|sign| *sign == '*')
}

/// Runs until it is time to stop; a folder that is not there is looked for again.
pub async fn run(
    link: Arc<str>,
    config: Config,
    intake: Arc<dyn Intake>,
    clock: SharedClock,
    mut stop: Stop,
) {
    intake.state(&link, LinkState::Starting);
    let mut watch = Watch { link, config, intake, clock, seen: HashMap::new(), told: None, failures: 0 };
    loop {
        let look = watch.look(&mut stop).await;
        let state = match look {
            Ok(()) => {
                LinkState::Up { detail: format!("watching {}", watch.config.dir.display()), connections: 1 }
            }
            Err(detail) => LinkState::Retrying { detail },
        };
        if watch.told.as_ref() != Some(&state) {
            watch.intake.state(&watch.link, state.clone());
            watch.told = Some(state);
        }
        // A share that is away for the night need not be asked every few seconds.
        let pause = Duration::from_secs(watch.config.poll_s) * 2_u32.pow(watch.failures.min(4));
        tokio::select! {
            () = stop.wait() => break,
            () = tokio::time::sleep(pause) => {}
        }
    }
    watch.intake.state(&watch.link, LinkState::Stopped);
}

/// Files looked at in one round.
const FILES_MAX: usize = 10_000;

struct Watch {
    link: Arc<str>,
    config: Config,
    intake: Arc<dyn Intake>,
    clock: SharedClock,
    /// Size and time of each file, and since when they are so.
    seen: HashMap<String, (Seen, Instant)>,
    told: Option<LinkState>,
    failures: u32,
}

impl Watch {
    /// One round. The error is why the folder cannot be used, in words.
    async fn look(&mut self, stop: &mut Stop) -> Result<(), String> {
        let config = self.config.clone();
        let looked = off(move || steps::list(&config, FILES_MAX)).await;
        let (left, files) = looked.inspect_err(|_| self.failures += 1)?;
        self.failures = 0;
        for name in left {
            self.settle(&name).await?;
        }
        let now = Instant::now();
        self.seen.retain(|name, _| files.iter().any(|(other, _, _)| other == name));
        for (name, seen, companion) in files {
            if stopping(stop) {
                break;
            }
            let since = match self.seen.get(&name) {
                Some((before, since)) if *before == seen => *since,
                _ => {
                    self.seen.insert(name.clone(), (seen, now));
                    now
                }
            };
            let settled = now.duration_since(since) >= Duration::from_secs(self.config.settle_s);
            let whole = if self.config.companion.is_some() { companion } else { settled };
            // Two looks at least: a file that is being written changes between them.
            if whole && (companion || since != now || self.config.settle_s == 0) {
                self.take(&name, seen).await?;
            }
        }
        Ok(())
    }

    async fn take(&mut self, name: &str, seen: Seen) -> Result<(), String> {
        let (config, own) = (self.config.clone(), name.to_owned());
        match off(move || steps::claim(&config, &own, seen)).await? {
            Outcome::Done => {
                self.seen.remove(name);
                self.settle(name).await
            }
            // Changed while it was claimed, or gone: the next look decides.
            Outcome::NotYet => Ok(()),
            Outcome::Failed(why) => {
                self.note("file-failed", &why);
                Ok(())
            }
        }
    }

    /// Keeps a claimed file and moves it on.
    async fn settle(&mut self, name: &str) -> Result<(), String> {
        let (config, own) = (self.config.clone(), name.to_owned());
        let bytes = match off(move || steps::read(&config, &own)).await? {
            Ok(bytes) => bytes,
            Err(why) => {
                let (config, own) = (self.config.clone(), name.to_owned());
                off(move || steps::fail(&config, &own)).await?;
                self.note("file-failed", &why);
                return Ok(());
            }
        };
        let frame = Frame {
            link: self.link.clone(),
            peer: Arc::from(self.config.dir.display().to_string()),
            received: self.clock.now(),
            bytes: Bytes::from(bytes),
            topic: None,
            // The same content again is an export that was repeated, or a file claimed before a crash.
            redelivered: true,
            warnings: Vec::new(),
        };
        let receipt = self.intake.keep(frame).await;
        let (config, own, at) = (self.config.clone(), name.to_owned(), self.clock.now());
        match receipt {
            Receipt::Kept { duplicate } => {
                if duplicate {
                    self.note(
                        "duplicate-file",
                        "A file says what is already kept; it is archived and adds nothing.",
                    );
                }
                off(move || steps::archive(&config, &own, at)).await
            }
            Receipt::Refused { reason, .. } => {
                off(move || steps::put_back(&config, &own)).await?;
                self.failures += 1;
                Err(format!("a file could not be kept and stays where it is: {reason}"))
            }
        }
    }

    /// File names may name a patient: only what happened is said.
    fn note(&self, code: &'static str, text: &str) {
        self.intake.note(&self.link, code, text);
    }
}

fn stopping(stop: &mut Stop) -> bool {
    use futures_util::future::FutureExt;
    stop.wait().now_or_never().is_some()
}

/// Runs file work where it may block: a share that hangs must not hold the runtime.
async fn off<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(format!("the work on the folder broke off: {error}")),
    }
}

/// The folder and what is wrong with it, for a person.
fn trouble(what: &str, path: &Path, error: &std::io::Error) -> String {
    format!("{what} {}: {error}", path.display())
}

#[cfg(test)]
#[path = "folder/tests.rs"]
mod tests;
