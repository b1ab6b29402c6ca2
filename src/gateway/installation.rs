//! One box as updates see it: what the command line and the desk both do, every step of it written down.

use std::path::{Path, PathBuf};

use crate::buffer::{self, BufferError};
use crate::clock::Timestamp;
use crate::update::disk::{Disk, Real};
use crate::update::fetch::Source;
use crate::update::install::{self, Checked, Installed, Trust};
use crate::update::slots::{self, Slots, Snapshot};
use crate::update::{self, Newest, Release, Root, UpdateError, journal};

/// A box and somebody who does something about its programs.
pub struct Installation {
    data: PathBuf,
    dir: PathBuf,
    root: Option<PathBuf>,
    now: Timestamp,
    who: String,
}

impl Installation {
    /// `data`: the buffer's folder; `root`: who may publish, of `[update]`.
    pub fn new(data: &Path, root: Option<&Path>, now: Timestamp, who: &str) -> Self {
        let (data, dir) = (data.to_path_buf(), slots::folder(data));
        Self { data, dir, root: root.map(Path::to_path_buf), now, who: who.into() }
    }

    pub fn slots(&self) -> Slots<'_> {
        Slots::new(&self.dir, &Real)
    }

    /// The root that every chain of signatures begins at.
    ///
    /// # Errors
    /// Nobody may publish, or the root cannot be read.
    pub fn anchor(&self) -> Result<Root, UpdateError> {
        install::anchor(self.root.as_ref().ok_or(UpdateError::NoAnchor)?).map_err(|fault| match fault {
            UpdateError::Disk { path, source } => UpdateError::NotNow(format!(
                "the root that [update] names cannot be read, so nobody may publish for this box: {}: {source}. It is the 1.json \
                 of the publisher",
                path.display()
            )),
            fault => fault,
        })
    }

    fn trust(&self) -> Result<Trust, UpdateError> {
        Trust::new(self.anchor()?, &self.slots(), self.now)
    }

    /// Writes down what came of it; what cannot be written down is not said to be done.
    ///
    /// # Errors
    /// Those of `done`, and that of writing.
    pub fn told<T>(&self, what: &str, done: Result<(T, String), UpdateError>) -> Result<T, UpdateError> {
        let (line, answer) = match done {
            Ok((value, detail)) => (format!("done {detail}"), Ok(value)),
            Err(fault) => (format!("refused {fault}"), Err(fault)),
        };
        let written = match self.data.is_dir() {
            true => journal::tell(&self.slots(), self.now, &self.who, what, &line),
            false => Ok(()),
        };
        match (answer, written) {
            (Ok(_), Err(fault)) => Err(UpdateError::NotNow(format!("done, but not written down: {fault}"))),
            (answer, _) => answer,
        }
    }

    /// Reads an update file to its end and changes nothing.
    ///
    /// # Errors
    /// Why it would not be taken.
    pub fn check(&self, file: &Path) -> Result<Checked, UpdateError> {
        let checked = self.trust().and_then(|trust| install::check(file, &trust));
        self.told("update.check", checked.map(|checked| (checked.clone(), words(&checked))))
    }

    /// Puts an update beside the program that runs, to be started next. `said` hears of what takes long.
    ///
    /// # Errors
    /// Why it is not taken; nothing is chosen then.
    pub fn install(&self, file: &Path, said: &mut dyn FnMut(&str)) -> Result<Installed, UpdateError> {
        if !self.data.is_dir() {
            let data = self.data.display();
            return Err(UpdateError::NotNow(format!(
                "{data} is not there: start the box once before it is updated"
            )));
        }
        let slots = self.slots();
        let mut snapshotting = |release: &Release| self.snapshot(release, said);
        let installed =
            self.trust().and_then(|trust| install::install(&slots, &trust, file, &mut snapshotting));
        let installed = installed.map(|installed| {
            let kept = installed.snapshot.as_ref().map_or_else(String::new, |snapshot| {
                format!(", copy of the database (schema {}) in {}", snapshot.schema, snapshot.file)
            });
            let words = format!("{} into slot {}{kept}", words(&installed.checked), installed.slot.name());
            (installed, words)
        });
        self.told("update.install", installed)
    }

    /// Asks the publisher's server, and where `take` fetches what is newest there; every refusal is written down.
    ///
    /// # Errors
    /// The server is away ([`UpdateError::Away`]), or why what it has is not taken.
    pub async fn fetch(&self, section: &update::Config, take: bool) -> Result<Offer, UpdateError> {
        match self.offered(section, take).await {
            // A server that is away is nothing to be told of.
            Err(UpdateError::Away(why)) => Err(UpdateError::Away(why)),
            Ok(offer) if offer.file.is_none() => Ok(offer),
            done => {
                let words = done.map(|offer| {
                    let words = format!("release {} SHA-256 {}", offer.newest.version, offer.newest.sha256);
                    (offer, words)
                });
                self.told("update.fetch", words)
            }
        }
    }

    async fn offered(&self, section: &update::Config, take: bool) -> Result<Offer, UpdateError> {
        if !self.data.is_dir() {
            let why =
                format!("{} is not there: start the box once before it is updated", self.data.display());
            return Err(UpdateError::NotNow(why));
        }
        let (slots, trust) = (self.slots(), self.trust()?);
        slots.make_folder()?;
        let lock = slots.lock_file("fetch.lock")?;
        lock.try_lock()
            .map_err(|_| UpdateError::NotNow("the publisher's server is being asked already".into()))?;
        let source = Source::new(section, &self.dir)?;
        let newest = source.newest(&trust).await?;
        let state = slots.state()?;
        let signed = state.chosen.and_then(|slot| slots.signed(slot, &self.anchor().ok()?).ok());
        let held = match (&signed, &state.gone_back) {
            (Some((release, _)), _) if release.version >= newest.version => Some("this box has it already"),
            (_, Some(back)) if back.release == newest.version => Some("this box went back from it already"),
            _ => None,
        };
        if !take || held.is_some() {
            return Ok(Offer { newest, held, file: None });
        }
        let file = source.download(&newest).await?;
        let checked = install::check(&file, &trust)?;
        if checked.release.version != newest.version {
            return Err(UpdateError::Mismatch("the file is of another release than the server said".into()));
        }
        Ok(Offer { newest, held, file: Some(file) })
    }

    /// A copy of the database where the release writes a newer schema than this program, which is the one that runs.
    fn snapshot(
        &self,
        release: &Release,
        said: &mut dyn FnMut(&str),
    ) -> Result<Option<Snapshot>, UpdateError> {
        if release.schema <= buffer::SCHEMA || !self.data.join("bedside.db").exists() {
            return Ok(None);
        }
        let folder = self.slots().snapshots();
        let fail = UpdateError::disk(&folder);
        Real.remove_folder(&folder).map_err(fail)?;
        Real.folder(&folder).map_err(fail)?;
        let file = format!("before-release-{}.backup", release.version);
        said("Copying the database, for the way back.");
        let copied = buffer::back_up(&self.data, &folder.join(&file), self.now, &mut |_| {});
        let (manifest, examined) = copied.map_err(|fault: BufferError| {
            UpdateError::NotNow(format!("the database could not be copied for the way back: {fault}"))
        })?;
        if !examined.sound() {
            return Err(UpdateError::NotNow(
                "the database is not sound, so that there would be no way back: bedside check".into(),
            ));
        }
        Ok(Some(Snapshot { file, schema: manifest.schema, release: release.version }))
    }
}

/// What the publisher's server has.
pub struct Offer {
    pub newest: Newest,
    /// Why it is not fetched, where this box had it.
    pub held: Option<&'static str>,
    /// Where it is, fetched and verified.
    pub file: Option<PathBuf>,
}

/// An update in words.
pub fn words(checked: &Checked) -> String {
    let Checked { release, target, root, .. } = checked;
    format!(
        "release {} ({}, schema {}) for {}, root {}, SHA-256 {}",
        release.version, release.product, release.schema, target.architecture, root.version, target.sha256
    )
}
