//! For everything about the data folder that is not SQL: who may use it, who may read it, and how much room is
//! left on its disk.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use super::BufferError;
use crate::clock::Timestamp;
use crate::sabotage::{Sabotage, commits};

/// Room kept aside so that a full disk can still be opened, marked and purged: after the disk is full even
/// opening a WAL database fails.
pub(super) const BALLAST_BYTES: u64 = 8 << 20;

pub(super) const DATABASE: &str = "bedside.db";
const REPLACEMENT: &str = "bedside.db.new";
const ASIDE: &str = "bedside.db.corrupt-";
const RESTORED_OVER: &str = "bedside.db.before-restore-";
const NEWER: &str = "bedside.db.newer-";
const LOGS_FIRST: [&str; 3] = ["-wal", "-shm", ""];
pub(super) const LOCK: &str = "bedside.lock";
const BALLAST: &str = "ballast";

/// The data folder, locked for this process for as long as this value lives.
#[derive(Debug)]
pub(super) struct Folder {
    dir: PathBuf,
    /// Holds the lock; the kernel lets go of it when the process ends, however it ends.
    _lock: File,
}

impl Folder {
    /// Creates the folder where it is missing, closes it to others, and takes the lock.
    pub(super) fn open(dir: &Path) -> Result<Self, BufferError> {
        let fail = |source| BufferError::Folder { path: dir.to_path_buf(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(fail)?;
        if fs::metadata(dir).map_err(fail)?.mode() & 0o077 != 0 {
            fs::set_permissions(dir, Permissions::from_mode(0o700)).map_err(fail)?;
        }
        let lock = lock(dir)?;
        Ok(Self { dir: dir.to_path_buf(), _lock: lock })
    }

    pub(super) fn database(&self) -> PathBuf {
        self.dir.join(DATABASE)
    }

    /// Creates an empty database file that only its owner can read; SQLite gives `-wal` and `-shm` the same mode.
    pub(super) fn prepare_database(&self) -> Result<(), BufferError> {
        let path = self.database();
        let fail = |source| BufferError::Folder { path: path.clone(), source };
        OpenOptions::new().append(true).create(true).mode(0o600).open(&path).map_err(fail)?;
        for suffix in LOGS_FIRST {
            let path = with_suffix(&path, suffix);
            if fs::metadata(&path).is_ok_and(|file| file.mode() & 0o077 != 0) {
                fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(fail)?;
            }
        }
        self.sync()
    }

    /// Makes created and renamed names survive a power cut.
    pub(super) fn sync(&self) -> Result<(), BufferError> {
        File::open(&self.dir)
            .and_then(|dir| dir.sync_all())
            .map_err(|source| BufferError::Folder { path: self.dir.clone(), source })
    }

    /// Where a new database is written that will take the damaged one's place; what an attempt before it left is
    /// removed.
    pub(super) fn prepare_replacement(&self) -> Result<PathBuf, BufferError> {
        let path = self.dir.join(REPLACEMENT);
        let fail = |source| BufferError::Folder { path: path.clone(), source };
        for suffix in LOGS_FIRST {
            match fs::remove_file(with_suffix(&path, suffix)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(fail(error)),
                _ => {}
            }
        }
        OpenOptions::new().append(true).create(true).mode(0o600).open(&path).map_err(fail)?;
        Ok(path)
    }

    /// Moves the database and its log aside under a name that says when, and puts the finished replacement in its
    /// place; returns the name. A power cut in between is made good by [`finish_replacing`](Self::finish_replacing).
    pub(super) fn replace(&self, now: Timestamp) -> Result<PathBuf, BufferError> {
        self.replace_naming(ASIDE, now)
    }

    /// The same for a database that is sound and in which somebody put another in its place.
    pub(super) fn replace_to_restore(&self, now: Timestamp) -> Result<PathBuf, BufferError> {
        self.replace_naming(RESTORED_OVER, now)
    }

    /// The same for a database that an older program cannot read.
    pub(super) fn replace_by_older(&self, now: Timestamp) -> Result<PathBuf, BufferError> {
        self.replace_naming(NEWER, now)
    }

    fn replace_naming(&self, prefix: &str, now: Timestamp) -> Result<PathBuf, BufferError> {
        let stamp: String = now.rfc3339().chars().filter(char::is_ascii_alphanumeric).collect();
        let mut aside = self.dir.join(format!("{prefix}{stamp}"));
        let mut again = 1;
        while aside.exists() {
            again += 1;
            aside = self.dir.join(format!("{prefix}{stamp}-{again}"));
        }
        // The database first: while it is away and the replacement is here, the next start knows what to do.
        self.rename(&self.database(), &aside)?;
        self.sync()?;
        self.put_replacement(&aside)?;
        Ok(aside)
    }

    /// When the database is away and its replacement is here, the replacement is complete: it takes the place,
    /// and the log that is left goes where its database went.
    pub(super) fn finish_replacing(&self) -> Result<(), BufferError> {
        if self.database().exists() || !self.dir.join(REPLACEMENT).exists() {
            return Ok(());
        }
        let aside = [ASIDE, RESTORED_OVER, NEWER].into_iter().flat_map(|prefix| self.names(prefix));
        // The latest rename changed its inode last.
        let last = aside.max_by_key(|name| {
            fs::metadata(self.dir.join(name)).map_or((0, 0), |file| (file.ctime(), file.ctime_nsec()))
        });
        last.map_or(Ok(()), |name| self.put_replacement(&self.dir.join(name)))
    }

    /// Puts a finished replacement where there is no database.
    pub(super) fn take_replacement(&self) -> Result<(), BufferError> {
        self.rename(&self.dir.join(REPLACEMENT), &self.database())?;
        self.sync()
    }

    fn put_replacement(&self, aside: &Path) -> Result<(), BufferError> {
        for suffix in ["-wal", "-shm"] {
            let log = with_suffix(&self.database(), suffix);
            if log.exists() {
                self.rename(&log, &with_suffix(aside, suffix))?;
            }
        }
        self.rename(&self.dir.join(REPLACEMENT), &self.database())?;
        self.sync()
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), BufferError> {
        fs::rename(from, to).map_err(|source| BufferError::Folder { path: from.to_path_buf(), source })
    }

    /// Names of databases that were moved aside and are still here.
    pub(super) fn set_aside_before(&self) -> Vec<String> {
        self.names(ASIDE)
    }

    fn names(&self, prefix: &str) -> Vec<String> {
        let Ok(files) = fs::read_dir(&self.dir) else { return Vec::new() };
        let mut names: Vec<String> = files
            .filter_map(|file| file.ok()?.file_name().into_string().ok())
            .filter(|name| name.starts_with(prefix) && !name.ends_with("-wal") && !name.ends_with("-shm"))
            .collect();
        names.sort();
        names
    }

    /// Bytes an ordinary process can still write on this disk.
    pub(super) fn free_bytes(&self) -> u64 {
        statvfs(&self.dir).map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// Reserves the ballast where it is missing and there is room for more than it; whether it is there.
    pub(super) fn reserve_ballast(&self) -> bool {
        let path = self.dir.join(BALLAST);
        if fs::metadata(&path).is_ok_and(|file| file.blocks() * 512 >= BALLAST_BYTES) {
            return true;
        }
        if self.free_bytes() < 2 * BALLAST_BYTES {
            return false;
        }
        let written =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path).and_then(
                |mut file| match fallocate(&file, FallocateFlags::empty(), 0, BALLAST_BYTES) {
                    Ok(()) => Ok(()),
                    // A filesystem without reservation; bytes that are not zero, so that none is saved by compression.
                    Err(_) => (0..BALLAST_BYTES >> 16).try_for_each(|_| file.write_all(&[0xB5; 1 << 16])),
                },
            );
        if written.is_err() {
            self.release_ballast();
        }
        written.is_ok()
    }

    /// Gives the ballast's room back, for what must be written on a full disk. Whether there was any.
    pub(super) fn release_ballast(&self) -> bool {
        fs::remove_file(self.dir.join(BALLAST)).is_ok()
    }
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Takes the lock and writes the process id into it, for whoever comes second.
fn lock(dir: &Path) -> Result<File, BufferError> {
    let path = dir.join(LOCK);
    let fail = |source| BufferError::Folder { path: path.clone(), source };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(fail)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) if commits(Sabotage::NoLock) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            // Only to name the other process; without it the message still holds.
            let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
            return Err(BufferError::InUse { dir: dir.to_path_buf(), pid });
        }
        Err(TryLockError::Error(source)) => return Err(fail(source)),
    }
    // On a full disk the number cannot be written; the lock itself holds all the same.
    let named =
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
    if let Err(error) = named {
        tracing::warn!(%error, "The lock file could not be given the process id.");
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn a_second_instance_is_told_the_folder_and_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let first = Folder::open(dir.path()).unwrap();
        let told = Folder::open(dir.path()).unwrap_err().to_string();
        assert!(told.contains(dir.path().to_str().unwrap()), "{told}");
        assert!(told.contains(&format!("process {}", std::process::id())), "{told}");
        drop(first);
        Folder::open(dir.path()).unwrap();
    }

    #[test]
    fn nothing_in_the_folder_can_be_read_by_others() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("data");
        fs::create_dir(&dir).unwrap();
        fs::set_permissions(&dir, Permissions::from_mode(0o755)).unwrap();
        let folder = Folder::open(&dir).unwrap();
        folder.prepare_database().unwrap();
        assert!(folder.reserve_ballast());
        assert_eq!(mode(&dir), 0o700);
        for name in [DATABASE, LOCK, BALLAST] {
            assert_eq!(mode(&dir.join(name)), 0o600, "{name}");
        }
    }

    #[test]
    fn the_ballast_takes_real_room_and_gives_it_back() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        assert!(folder.reserve_ballast());
        assert!(fs::metadata(dir.path().join(BALLAST)).unwrap().blocks() * 512 >= BALLAST_BYTES);
        assert!(folder.release_ballast());
        assert!(!folder.release_ballast());
    }

    #[test]
    fn two_databases_replaced_at_the_same_time_keep_their_own_names() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let now = Timestamp::from_micros(0, true);
        for _ in 0..2 {
            folder.prepare_database().unwrap();
            folder.prepare_replacement().unwrap();
            folder.replace(now).unwrap();
        }
        assert_eq!(folder.set_aside_before().len(), 2);
        assert!(folder.database().exists());
    }

    #[test]
    fn a_power_cut_while_replacing_is_made_good() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let file = |name: &str| dir.path().join(name);
        fs::write(file("bedside.db.corrupt-1"), b"old").unwrap();
        fs::write(file("bedside.db-wal"), b"old log").unwrap();
        fs::write(file("bedside.db.new"), b"new").unwrap();
        folder.finish_replacing().unwrap();
        assert_eq!(fs::read(folder.database()).unwrap(), b"new");
        assert_eq!(fs::read(file("bedside.db.corrupt-1-wal")).unwrap(), b"old log");
        assert!(!file("bedside.db.new").exists() && !file("bedside.db-wal").exists());
    }

    #[test]
    fn a_replacement_that_was_never_finished_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        fs::write(folder.database(), b"old").unwrap();
        fs::write(dir.path().join("bedside.db.new"), b"half").unwrap();
        folder.finish_replacing().unwrap();
        assert_eq!(fs::read(folder.database()).unwrap(), b"old");
        assert_eq!(fs::read(folder.prepare_replacement().unwrap()).unwrap(), b"");
    }
}
