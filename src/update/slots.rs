//! The two places of a program, and the one small file that says which of them is the box's.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use super::disk::{self, Disk};
use super::metadata::{METADATA_MAX, hex};
use super::{Release, Root, Target, UpdateError};
use crate::clock::Timestamp;

const STATE: &str = "state.json";
const ROOTS: &str = "roots";
const SNAPSHOTS: &str = "snapshots";
/// How long somebody else may change the state before it is changed all the same.
const LOCK_TRIES: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(20);
/// The clock is written down this often, in microseconds: 6 hours.
const SEEN_EVERY: i64 = 6 * 3_600 * 1_000_000;

/// One of the two places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Slot {
    A,
    B,
}

impl Slot {
    pub const fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        [Self::A, Self::B].into_iter().find(|slot| slot.name() == name)
    }

    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// The database as it was before a program with a newer schema.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Its name in `snapshots/`.
    pub file: String,
    pub schema: i64,
    /// The release it was made for.
    pub release: u64,
}

/// That the box went back to the program before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoneBack {
    /// The release it went back from.
    pub release: u64,
    pub product: String,
    pub why: String,
    /// What became of the database, where it had to be exchanged.
    #[serde(default)]
    pub database: Option<String>,
    /// RFC 3339.
    pub at: String,
}

/// What is known from one start to the next. Members of newer programs are passed over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// `None`: the program of the package.
    pub chosen: Option<Slot>,
    /// Where the box goes back to.
    pub before: Option<Slot>,
    /// The chosen program proved itself.
    pub confirmed: bool,
    /// How often it was started without having done so.
    pub attempts: u32,
    /// Somebody wants the one before: who and why.
    pub back_wanted: Option<String>,
    /// The highest release that ever proved itself, and the SHA-256 of its program.
    pub highest: u64,
    pub highest_sha256: String,
    /// The highest root that was ever seen, and below which file of the configuration.
    pub root_version: u64,
    pub anchor: String,
    /// The latest time that was known to be right, in microseconds since 1970.
    pub last_seen: i64,
    pub snapshot: Option<Snapshot>,
    pub gone_back: Option<GoneBack>,
}

impl State {
    /// The slot of the program that runs now, as far as the state tells.
    pub fn runs(&self) -> Option<Slot> {
        if self.confirmed || self.attempts > 0 { self.chosen } else { self.before }
    }
}

/// A slot that was verified.
#[derive(Clone, Debug)]
pub struct Found {
    pub release: Release,
    pub target: Target,
    pub path: PathBuf,
}

/// The folder of programs.
#[derive(Clone, Copy)]
pub struct Slots<'a> {
    dir: &'a Path,
    disk: &'a dyn Disk,
}

impl<'a> Slots<'a> {
    /// `dir` is `program` in the data folder; see [`folder`].
    pub const fn new(dir: &'a Path, disk: &'a dyn Disk) -> Self {
        Self { dir, disk }
    }

    pub const fn dir(&self) -> &Path {
        self.dir
    }

    pub const fn disk(&self) -> &dyn Disk {
        self.disk
    }

    pub fn of(&self, slot: Slot) -> PathBuf {
        self.dir.join(slot.name())
    }

    pub fn program(&self, slot: Slot) -> PathBuf {
        self.of(slot).join("bedside")
    }

    pub fn snapshots(&self) -> PathBuf {
        self.dir.join(SNAPSHOTS)
    }

    /// The state; that of a box that never was updated when there is none.
    ///
    /// # Errors
    /// [`UpdateError::Disk`]; [`UpdateError::Metadata`] when the disk changed it.
    pub fn state(&self) -> Result<State, UpdateError> {
        let path = self.dir.join(STATE);
        match read_short(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|why| UpdateError::Metadata(format!("{}: {why}", path.display()))),
            Err(fault) if fault.kind() == ErrorKind::NotFound => Ok(State::default()),
            Err(source) => Err(UpdateError::Disk { path, source }),
        }
    }

    /// Changes the state; it is the old or the new one at every moment.
    ///
    /// # Errors
    /// As [`state`](Self::state), and those of writing.
    pub fn change(&self, change: impl FnOnce(&mut State)) -> Result<State, UpdateError> {
        self.make_folder()?;
        let _lock = self.lock()?;
        let mut state = self.state()?;
        let before = state.clone();
        change(&mut state);
        if state != before {
            self.write(&state)?;
        }
        Ok(state)
    }

    /// Writes a state where the disk changed the one there was.
    ///
    /// # Errors
    /// [`UpdateError::Disk`].
    pub fn write(&self, state: &State) -> Result<(), UpdateError> {
        let path = self.dir.join(STATE);
        let text = serde_json::to_vec_pretty(state).unwrap_or_default();
        disk::replace(self.disk, &path, &text).map_err(UpdateError::disk(&path))
    }

    pub fn make_folder(&self) -> Result<(), UpdateError> {
        self.disk.folder(self.dir).map_err(UpdateError::disk(self.dir))
    }

    /// Held while the state is changed. Who holds it for long is stuck, and must not keep the box from starting.
    fn lock(&self) -> Result<File, UpdateError> {
        let file = self.lock_file("lock")?;
        for _ in 0..LOCK_TRIES {
            if file.try_lock().is_ok() {
                break;
            }
            std::thread::sleep(LOCK_PAUSE);
        }
        Ok(file)
    }

    pub(crate) fn lock_file(&self, name: &str) -> Result<File, UpdateError> {
        let path = self.dir.join(name);
        if !path.exists() {
            self.disk.begin(&path, 0o600).map_err(UpdateError::disk(&path))?;
        }
        OpenOptions::new().read(true).write(true).open(&path).map_err(UpdateError::disk(&path))
    }

    /// The roots that came with updates, ascending.
    pub fn kept_roots(&self) -> Vec<(u64, Vec<u8>)> {
        roots_in(&self.dir.join(ROOTS))
    }

    /// Keeps roots that follow the ones that are here.
    ///
    /// # Errors
    /// [`UpdateError::Disk`].
    pub fn keep_roots(&self, roots: &[(u64, Vec<u8>)]) -> Result<(), UpdateError> {
        if roots.is_empty() {
            return Ok(());
        }
        let folder = self.dir.join(ROOTS);
        self.disk.folder(&folder).map_err(UpdateError::disk(&folder))?;
        for (version, bytes) in roots {
            let path = folder.join(format!("{version}.json"));
            disk::replace(self.disk, &path, bytes).map_err(UpdateError::disk(&path))?;
        }
        self.disk.sync_folder(self.dir).map_err(UpdateError::disk(self.dir))
    }

    /// Whether a slot holds what was signed: the chain of its own roots, its release, the program's length and SHA-256.
    /// Dates are not looked at: what was taken while it was fresh must start for as long as the box stands.
    ///
    /// # Errors
    /// Why not.
    pub fn verified(&self, slot: Slot, anchor: &Root) -> Result<Found, UpdateError> {
        let (release, target) = self.signed(slot, anchor)?;
        let path = self.program(slot);
        let (length, sum) = sum_of(&path, target.length).map_err(UpdateError::disk(&path))?;
        if (length, sum.as_str()) != (target.length, target.sha256.as_str()) {
            return Err(UpdateError::Mismatch(format!("what lies in slot {} was changed", slot.name())));
        }
        Ok(Found { release, target, path })
    }

    /// What its publisher signed for a slot; the program itself is not read.
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn signed(&self, slot: Slot, anchor: &Root) -> Result<(Release, Target), UpdateError> {
        let folder = self.of(slot);
        let root = follow(anchor, &roots_in(&folder.join("root"))).0;
        let path = folder.join("release.json");
        let release = root.release(&read_short(&path).map_err(UpdateError::disk(&path))?)?;
        let architecture = super::architecture();
        let target = release.target(architecture).cloned().ok_or_else(|| {
            UpdateError::Architecture(format!(
                "the release in slot {} has none for {architecture}",
                slot.name()
            ))
        })?;
        Ok((release, target))
    }

    /// The chosen program proved itself: from now on nothing older is taken.
    ///
    /// # Errors
    /// [`UpdateError::NotNow`] when it is not the chosen one.
    pub fn confirm(&self, slot: Slot, found: (u64, &str)) -> Result<(), UpdateError> {
        let mut was = false;
        self.change(|state| {
            was = state.chosen == Some(slot);
            if !was {
                return;
            }
            (state.confirmed, state.attempts) = (true, 0);
            if found.0 > state.highest {
                (state.highest, state.highest_sha256) = (found.0, found.1.to_owned());
            }
        })?;
        if was { Ok(()) } else { Err(UpdateError::NotNow("another program was chosen meanwhile".into())) }
    }

    /// Writes down, now and then, what time it surely was.
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub fn saw(&self, now: Timestamp) -> Result<(), UpdateError> {
        let last = self.state()?.last_seen;
        if now.synchronised && now.micros.saturating_sub(last) >= SEEN_EVERY {
            self.change(|state| state.last_seen = state.last_seen.max(now.micros))?;
        }
        Ok(())
    }
}

/// Where programs are in a data folder.
pub fn folder(data: &Path) -> PathBuf {
    data.join("program")
}

/// The root that a chain leads to, and those of the chain that count. What does not follow ends it: the roots before stand.
pub fn follow(anchor: &Root, chain: &[(u64, Vec<u8>)]) -> (Root, Vec<(u64, Vec<u8>)>) {
    let (mut root, mut used) = (anchor.clone(), Vec::new());
    for (version, bytes) in chain.iter().filter(|(version, _)| *version > anchor.version) {
        let Ok(next) = root.next(bytes) else { break };
        used.push((*version, bytes.clone()));
        root = next;
    }
    (root, used)
}

fn roots_in(folder: &Path) -> Vec<(u64, Vec<u8>)> {
    let names = std::fs::read_dir(folder).into_iter().flatten().flatten().take(1024);
    let mut roots: Vec<(u64, Vec<u8>)> = names
        .filter_map(|name| {
            let version = name.file_name().to_str()?.strip_suffix(".json")?.parse().ok()?;
            Some((version, read_short(&name.path()).ok()?))
        })
        .collect();
    roots.sort_by_key(|(version, _)| *version);
    roots
}

/// A file of metadata; a longer one is an error.
pub fn read_short(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = METADATA_MAX as u64;
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(std::io::Error::other("longer than any file of this kind"));
    }
    Ok(bytes)
}

/// Length and SHA-256 of a program; reading ends soon after `most`. What the kernel has of it in memory is let go of
/// first, so that it is the disk that is asked.
pub fn sum_of(path: &Path, most: u64) -> std::io::Result<(u64, String)> {
    let file = File::open(path)?;
    // Refused, the bytes come from memory: that is what will be started.
    let _refused = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
    let (mut sum, mut length) = (Context::new(&SHA256), 0);
    let (mut file, mut room) = (file.take(most.saturating_add(1)), vec![0; 1 << 16]);
    loop {
        let read = file.read(&mut room)?;
        if read == 0 {
            return Ok((length, hex(sum.finish().as_ref())));
        }
        length += read as u64;
        sum.update(room.get(..read).unwrap_or_default());
    }
}

/// Fuzz body: a state is read or refused.
pub fn fuzz(bytes: &[u8]) {
    if let Ok(state) = serde_json::from_slice::<State>(bytes) {
        let again = serde_json::to_vec(&state).ok().and_then(|text| serde_json::from_slice(&text).ok());
        assert_eq!(Some(state), again, "a state is not what it was written as");
    }
}
