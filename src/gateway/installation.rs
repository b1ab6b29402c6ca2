//! One box as updates see it: what the command line and the desk both do, every step of it written down.

use std::path::{Path, PathBuf};

use crate::buffer::{self, BufferError};
use crate::clock::Timestamp;
use crate::update::disk::{Disk, Real};
use crate::update::install::{self, Checked, Installed, Trust};
use crate::update::slots::{self, Slots, Snapshot};
use crate::update::{Release, Root, UpdateError, journal};

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

/// An update in words.
pub fn words(checked: &Checked) -> String {
    let Checked { release, target, root, .. } = checked;
    format!(
        "release {} ({}, schema {}) for {}, root {}, SHA-256 {}",
        release.version, release.product, release.schema, target.architecture, root.version, target.sha256
    )
}
