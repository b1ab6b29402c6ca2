//! An update file, looked at and put into the slot that does not run.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use aws_lc_rs::digest::{Context, SHA256};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::archive::{Archive, Name};
use super::metadata::hex;
use super::slots::{self, Found, Slot, Slots, Snapshot, State};
use super::{Newest, Release, Root, Target, UpdateError, Version};
use crate::clock::Timestamp;

/// Room that stays free on the disk beside a program: the box keeps what devices say there.
const SPARE_BYTES: u64 = 64 << 20;

/// What an update is measured by.
pub struct Trust {
    /// The configured root, and what was kept of those that follow it.
    anchor: Root,
    kept: Vec<(u64, Vec<u8>)>,
    root: Root,
    state: State,
    /// What runs and is newer than every release: the package's own program.
    packaged: Version,
    now: Timestamp,
}

/// The root of the configuration.
///
/// # Errors
/// [`UpdateError::Disk`], [`UpdateError::Metadata`], [`UpdateError::Signature`].
pub fn anchor(path: &Path) -> Result<Root, UpdateError> {
    Root::anchor(&slots::read_short(path).map_err(UpdateError::disk(path))?)
}

impl Trust {
    /// # Errors
    /// Those of reading the state.
    pub fn new(anchor: Root, slots: &Slots<'_>, now: Timestamp) -> Result<Self, UpdateError> {
        let state = slots.state()?;
        let (root, kept) = slots::follow(&anchor, &slots.kept_roots());
        Ok(Self { anchor, kept, root, state, packaged: Version::packaged(), now })
    }

    /// A date is held against the clock only where the clock can be believed: a box without a network and with a dead
    /// battery begins in 1970 or anywhere, and must still take the update somebody carries to it; what expiry is for, that a
    /// network holds back newer releases for ever, does not happen on a stick. But time does not go back: the latest time
    /// that was known to be right has passed, whatever the clock says now.
    fn expired(&self, at: i64) -> bool {
        let surely = if self.now.synchronised {
            self.now.micros.max(self.state.last_seen)
        } else {
            self.state.last_seen
        };
        at <= surely
    }

    fn unsure(&self) -> Option<&'static str> {
        (!self.now.synchronised).then_some(
            "this box's clock is not synchronised: whether the update has expired could only be told by the last time that was \
             known to be right",
        )
    }

    /// Whether a root that leads to this release may do so still.
    fn check_root(&self, root: &Root) -> Result<(), UpdateError> {
        let known = if self.state.anchor == identity(&self.anchor) { self.state.root_version } else { 0 };
        if root.version < known {
            return Err(UpdateError::Older(format!(
                "it leads to root {}, and this box has seen root {known}: an update file has all roots in it",
                root.version
            )));
        }
        if self.expired(root.expires()) {
            return Err(UpdateError::Expired(format!(
                "root {} was good until {}: ask the publisher for an update with a newer one",
                root.version, root.expires
            )));
        }
        Ok(())
    }

    fn check_release(&self, release: &Release) -> Result<Target, UpdateError> {
        let architecture = super::architecture();
        let target = release.target(architecture).ok_or_else(|| {
            let there: Vec<&str> =
                release.targets.iter().map(|target| target.architecture.as_str()).collect();
            UpdateError::Architecture(format!(
                "this box is {architecture}, and the update is for {}",
                there.join(", ")
            ))
        })?;
        let (highest, offered) = (self.state.highest, release.version);
        let same = offered == highest && target.sha256 == self.state.highest_sha256;
        if offered < highest || (offered == highest && !same) {
            return Err(UpdateError::Older(format!(
                "it is release {offered}, and release {highest} has proved itself here: an older one, or another of the same \
                 number, is not taken. To go back to the program before: bedside update back"
            )));
        }
        if release.product() < self.packaged {
            return Err(UpdateError::Older(format!(
                "it is version {}, and the installed package is {} already",
                release.product, self.packaged
            )));
        }
        if self.expired(release.expires()) {
            return Err(UpdateError::Expired(format!(
                "it was good until {}: ask the publisher for the current one",
                release.expires
            )));
        }
        Ok(target.clone())
    }
}

impl Trust {
    /// What a publisher's folder says is newest, where this box may take it. `seen`: the newest release it was told of.
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn newest(&self, bytes: &[u8], seen: u64) -> Result<Newest, UpdateError> {
        let unreadable = |why: serde_json::Error| UpdateError::Metadata(why.to_string());
        let folder: Folder<'_> = serde_json::from_slice(bytes).map_err(unreadable)?;
        let mut root = self.root.clone();
        for (next, version) in folder.roots.iter().zip(1..) {
            if version > root.version {
                root = root.next(next.get().as_bytes())?;
            }
        }
        self.check_root(&root)?;
        let newest = root.newest(folder.newest.get().as_bytes())?;
        let floor = seen.max(self.state.highest);
        if newest.version < floor {
            return Err(UpdateError::Older(format!(
                "the server offers release {}, and this box knows release {floor}: an old folder is held before it",
                newest.version
            )));
        }
        if self.expired(newest.expires()) {
            return Err(UpdateError::Expired(format!(
                "what the server says is newest was good until {}: the publisher signs it anew, or a network holds it back",
                newest.expires
            )));
        }
        let architecture = super::architecture();
        if !newest.architectures.iter().any(|there| there == architecture) {
            let there = newest.architectures.join(", ");
            return Err(UpdateError::Architecture(format!(
                "this box is {architecture}, and the newest update is for {there}"
            )));
        }
        Ok(newest)
    }
}

/// `newest.json` of a publisher's folder.
#[derive(Deserialize)]
struct Folder<'a> {
    /// All of them, the first being number 1.
    #[serde(borrow)]
    roots: Vec<&'a RawValue>,
    #[serde(borrow)]
    newest: &'a RawValue,
}

/// How a root is told from that of another publisher: by its keys.
fn identity(root: &Root) -> String {
    let names: Vec<&str> = root.keys.keys().map(String::as_str).collect();
    names.join(" ")
}

/// What an update file was found to be.
#[derive(Clone, Debug)]
pub struct Checked {
    pub release: Release,
    pub target: Target,
    pub root: Root,
    /// What could not be told for sure.
    pub unsure: Option<&'static str>,
    /// Roots that are new here.
    roots: Vec<(u64, Vec<u8>)>,
    release_bytes: Vec<u8>,
}

/// Reads an update file from beginning to end and hands out the program of this architecture, which is the signed one only
/// if this returns `Ok`.
///
/// # Errors
/// Why it is not taken.
pub fn read(
    input: impl Read,
    trust: &Trust,
    take: &mut dyn FnMut(&[u8]) -> Result<(), UpdateError>,
) -> Result<Checked, UpdateError> {
    let mut archive = Archive::new(input);
    let (mut root, mut roots) = (trust.root.clone(), Vec::new());
    let mut release: Option<(Release, Target, Vec<u8>)> = None;
    let mut found = false;
    while let Some((name, length)) = archive.member()? {
        match name {
            Name::Root(version) => {
                let bytes = archive.whole()?;
                if version > root.version {
                    root = root.next(&bytes)?;
                    roots.push((version, bytes));
                }
            }
            Name::Release => {
                trust.check_root(&root)?;
                let bytes = archive.whole()?;
                let read = root.release(&bytes)?;
                let target = trust.check_release(&read)?;
                release = Some((read, target, bytes));
            }
            Name::Program(architecture) => {
                let Some((release, target, _)) = &release else {
                    return Err(UpdateError::Archive(
                        "a program stands before the release it belongs to".into(),
                    ));
                };
                let ours = *architecture == target.architecture;
                found |= ours;
                program(&mut archive, release, (&architecture, length), &mut |piece| {
                    if ours { take(piece) } else { Ok(()) }
                })?;
            }
        }
    }
    let (release, target, release_bytes) =
        release.ok_or_else(|| UpdateError::Archive("there is no release.json in it".into()))?;
    if !found {
        return Err(UpdateError::Archive(format!("{} is not in it", target.file)));
    }
    Ok(Checked { release, target, root, unsure: trust.unsure(), roots, release_bytes })
}

fn program(
    archive: &mut Archive<impl Read>,
    release: &Release,
    (architecture, length): (&str, u64),
    take: &mut dyn FnMut(&[u8]) -> Result<(), UpdateError>,
) -> Result<(), UpdateError> {
    let target = release.target(architecture);
    let target = target
        .ok_or_else(|| UpdateError::Mismatch(format!("the release knows no bedside-{architecture}")))?;
    if target.length != length {
        return Err(UpdateError::Mismatch(format!(
            "{} is {length} bytes long, and {} were signed",
            target.file, target.length
        )));
    }
    let (mut sum, mut room) = (Context::new(&SHA256), vec![0; 1 << 16]);
    loop {
        let piece = archive.piece(&mut room)?;
        if piece.is_empty() {
            break;
        }
        sum.update(piece);
        take(piece)?;
    }
    if hex(sum.finish().as_ref()) != target.sha256 {
        return Err(UpdateError::Mismatch(format!("the SHA-256 of {} is another", target.file)));
    }
    Ok(())
}

/// Reads an update file without changing anything.
///
/// # Errors
/// Why it would not be taken.
pub fn check(file: &Path, trust: &Trust) -> Result<Checked, UpdateError> {
    read(open(file)?, trust, &mut |_| Ok(()))
}

fn open(path: &Path) -> Result<File, UpdateError> {
    let file = File::open(path).map_err(UpdateError::disk(path))?;
    if !file.metadata().map_err(UpdateError::disk(path))?.is_file() {
        return Err(UpdateError::Archive(format!("{} is no plain file", path.display())));
    }
    Ok(file)
}

/// What an installation did.
#[derive(Clone, Debug)]
pub struct Installed {
    pub checked: Checked,
    pub slot: Slot,
    pub snapshot: Option<Snapshot>,
}

/// Makes the copy of the database where the release's schema is newer; `None` where none is needed.
pub type Snapshotting<'a> = dyn FnMut(&Release) -> Result<Option<Snapshot>, UpdateError> + 'a;

/// Reads the file once to verify it, a second time to write the program into the slot that does not run, verifies it from
/// the disk, and only then chooses it for the next start. Whatever fails or is cut off before that last write leaves what was
/// chosen as it is.
///
/// # Errors
/// Why not; nothing is changed then but the slot that does not run.
pub fn install(
    slots: &Slots<'_>,
    trust: &Trust,
    file: &Path,
    snapshotting: &mut Snapshotting<'_>,
) -> Result<Installed, UpdateError> {
    slots.make_folder()?;
    let lock = slots.lock_file("install.lock")?;
    if lock.try_lock().is_err() {
        return Err(UpdateError::NotNow("another update is being installed".into()));
    }
    let state = slots.state()?;
    if state.chosen.is_some() && !state.confirmed {
        return Err(UpdateError::NotNow(
            "the update before this one has not proved itself yet: wait, or say bedside update confirm or bedside update back"
                .into(),
        ));
    }
    let checked = check(file, trust)?;
    slots.keep_roots(&checked.roots)?;
    let slot = state.chosen.map_or(Slot::A, Slot::other);
    if let Some(runs) = state.chosen
        && slots.verified(runs, &trust.anchor).is_ok_and(|found| found.target == checked.target)
    {
        return Err(UpdateError::NotNow("this very program runs already".into()));
    }
    slots.change(|state| {
        (state.root_version, state.anchor) = (checked.root.version, identity(&trust.anchor));
        state.before = state.before.filter(|before| *before != slot);
    })?;
    let free =
        rustix::fs::statvfs(slots.dir()).map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    if free < checked.target.length.saturating_add(SPARE_BYTES) {
        return Err(UpdateError::NotNow("the disk has no room for the new program".into()));
    }
    put(slots, trust, (file, &checked), slot)?;
    let Found { target, .. } = slots.verified(slot, &trust.anchor)?;
    if target != checked.target {
        return Err(UpdateError::Mismatch("the file changed while it was read".into()));
    }
    let snapshot = snapshotting(&checked.release)?;
    slots.change(|state| {
        state.before = state.chosen.replace(slot);
        (state.confirmed, state.attempts) = (false, 0);
        (state.back_wanted, state.gone_back) = (None, None);
        state.snapshot.clone_from(&snapshot);
    })?;
    Ok(Installed { checked, slot, snapshot })
}

/// Writes program and metadata into a slot.
fn put(
    slots: &Slots<'_>,
    trust: &Trust,
    (file, checked): (&Path, &Checked),
    slot: Slot,
) -> Result<(), UpdateError> {
    let (disk, folder) = (slots.disk(), slots.of(slot));
    let fail = UpdateError::disk(&folder);
    disk.remove_folder(&folder).map_err(fail)?;
    disk.folder(&folder).map_err(fail)?;
    let mut program = disk.begin(&slots.program(slot), 0o700).map_err(fail)?;
    let again = read(open(file)?, trust, &mut |piece| disk.write(&mut program, piece).map_err(fail))?;
    if again.target != checked.target || again.release_bytes != checked.release_bytes {
        return Err(UpdateError::Mismatch("the file changed while it was read".into()));
    }
    disk.sync(&program).map_err(fail)?;
    drop(program);
    let roots = folder.join("root");
    disk.folder(&roots).map_err(fail)?;
    for (version, bytes) in trust.kept.iter().chain(&checked.roots) {
        super::disk::replace(disk, &roots.join(format!("{version}.json")), bytes).map_err(fail)?;
    }
    super::disk::replace(disk, &folder.join("release.json"), &checked.release_bytes).map_err(fail)?;
    disk.sync_folder(slots.dir()).map_err(fail)
}
