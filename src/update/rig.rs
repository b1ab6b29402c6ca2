//! For tests: a publisher with keys, and a box's folder of programs.

use std::path::{Path, PathBuf};

use super::archive::{Builder, Name};
use super::disk::{Disk, Real};
use super::install::{self, Installed, Trust};
use super::publish::{self, NewRelease, NewRoot, Signer};
use super::slots::{self, Slots};
use super::start::{Loader, Next};
use super::{Release, Root, UpdateError, Version};
use crate::clock::Timestamp;

pub(crate) const FAR: &str = "2040-01-01T00:00:00Z";

/// 2026-01-01, by a clock that is right.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_micros(1_767_225_600_000_000, true)
}

pub(crate) struct Publisher {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) root_key: Signer,
    pub(crate) release_key: Signer,
    pub(crate) roots: Vec<Vec<u8>>,
}

impl Publisher {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = |name: &str| Signer::make(&dir.path().join(name)).unwrap();
        let (root_key, release_key) = (key("root.key"), key("release.key"));
        let mut publisher = Self { dir, root_key, release_key, roots: Vec::new() };
        let root =
            publish::root(&publisher.new_root(1, &publisher.release_key), None, &publisher.root_signers());
        publisher.roots.push(root.unwrap());
        publisher
    }

    pub(crate) fn key(&self, name: &str) -> Signer {
        Signer::make(&self.dir.path().join(name)).unwrap()
    }

    fn load(&self, name: &str) -> Signer {
        Signer::load(&self.dir.path().join(name)).unwrap()
    }

    pub(crate) fn root_signers(&self) -> [Signer; 1] {
        [self.load("root.key")]
    }

    pub(crate) fn release_signers(&self) -> [Signer; 1] {
        [self.load("release.key")]
    }

    pub(crate) fn new_root(&self, version: u64, release: &Signer) -> NewRoot {
        NewRoot {
            version,
            expires: FAR.into(),
            root_keys: vec![self.root_key.public()],
            root_threshold: 1,
            release_keys: vec![release.public()],
            release_threshold: 1,
        }
    }

    pub(crate) fn anchor(&self) -> Root {
        Root::anchor(&self.roots[0]).unwrap()
    }

    pub(crate) fn named(&self, architecture: &str, program: &[u8]) -> PathBuf {
        let folder = self.dir.path().join(format!("{:x}", rustix::process::getpid().as_raw_nonzero()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(format!("bedside-{architecture}"));
        std::fs::write(&path, program).unwrap();
        path
    }

    pub(crate) fn new_release(&self, version: u64, program: &[u8]) -> NewRelease {
        NewRelease {
            version,
            expires: FAR.into(),
            product: Version::packaged().to_string(),
            schema: 1,
            programs: vec![self.named(super::architecture(), program)],
        }
    }

    pub(crate) fn write(&self, new: &NewRelease, signers: &[Signer]) -> PathBuf {
        let to = self.dir.path().join(format!("{}.update", new.version));
        drop(std::fs::remove_file(&to));
        publish::release(new, &self.roots, signers, &to).unwrap();
        to
    }

    /// An update file with this program.
    pub(crate) fn update(&self, version: u64, program: &[u8]) -> PathBuf {
        self.write(&self.new_release(version, program), &self.release_signers())
    }

    /// Any metadata and any program in one archive.
    pub(crate) fn archive(&self, release: &[u8], program: &[u8]) -> PathBuf {
        let mut archive = Builder::new(Vec::new());
        for (root, version) in self.roots.iter().zip(1..) {
            archive.add(&Name::Root(version), root.len() as u64, &mut root.as_slice()).unwrap();
        }
        archive.add(&Name::Release, release.len() as u64, &mut &*release).unwrap();
        let name = Name::Program(super::architecture().into());
        archive.add(&name, program.len() as u64, &mut &*program).unwrap();
        let to = self.dir.path().join("made.update");
        std::fs::write(&to, archive.end().unwrap()).unwrap();
        to
    }

    /// A release's signed bytes, whatever boxes would make of them.
    pub(crate) fn signed(&self, release: &Release, signers: &[Signer]) -> Vec<u8> {
        publish::signed(release, signers).unwrap()
    }
}

/// The folder of programs of a box.
pub(crate) struct BoxFolder {
    _data: tempfile::TempDir,
    pub(crate) dir: PathBuf,
}

impl BoxFolder {
    pub(crate) fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        let dir = slots::folder(data.path());
        Self { _data: data, dir }
    }

    /// Another box that stands as this one does.
    pub(crate) fn twin(&self) -> Self {
        let twin = Self::new();
        copy_all(&self.dir, &twin.dir);
        twin
    }

    pub(crate) fn slots<'a>(&'a self, disk: &'a dyn Disk) -> Slots<'a> {
        Slots::new(&self.dir, disk)
    }

    pub(crate) fn install(
        &self,
        disk: &dyn Disk,
        publisher: &Publisher,
        file: &Path,
    ) -> Result<Installed, UpdateError> {
        self.install_at(disk, publisher, file, now())
    }

    pub(crate) fn install_at(
        &self,
        disk: &dyn Disk,
        publisher: &Publisher,
        file: &Path,
        now: Timestamp,
    ) -> Result<Installed, UpdateError> {
        let slots = self.slots(disk);
        let trust = Trust::new(publisher.anchor(), &slots, now)?;
        install::install(&slots, &trust, file, &mut |_| Ok(None))
    }

    /// Starts the box: the bytes of the program that would be run; `None` for that of the package.
    pub(crate) fn start(&self, disk: &dyn Disk, publisher: &Publisher) -> Option<Vec<u8>> {
        let mut loader = Loader {
            slots: self.slots(disk),
            anchor: Some(publisher.anchor()),
            now: now(),
            packaged: (Version::packaged(), 1),
            set_back: &mut |_, _| Ok(None),
        };
        match loader.decide() {
            Next::Packaged(_) => None,
            Next::Program { found, .. } => Some(std::fs::read(found.path).unwrap()),
        }
    }

    /// The program that was started proves itself.
    pub(crate) fn confirm(&self, disk: &dyn Disk, publisher: &Publisher) -> Result<(), UpdateError> {
        let slots = self.slots(disk);
        let slot = slots.state()?.chosen.unwrap();
        let found = slots.verified(slot, &publisher.anchor())?;
        slots.confirm(slot, (found.release.version, &found.target.sha256))
    }

    /// A box on which this release proved itself.
    pub(crate) fn with(publisher: &Publisher, version: u64, program: &[u8]) -> Self {
        let folder = Self::new();
        folder.install(&Real, publisher, &publisher.update(version, program)).unwrap();
        assert_eq!(folder.start(&Real, publisher).as_deref(), Some(program));
        folder.confirm(&Real, publisher).unwrap();
        folder
    }
}

fn copy_all(from: &Path, to: &Path) {
    if !from.exists() {
        return;
    }
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let name = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_all(&entry.path(), &name);
        } else {
            std::fs::copy(entry.path(), name).unwrap();
        }
    }
}
