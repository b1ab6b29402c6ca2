//! The few steps by which anything here comes to a disk, so that a rig can cut the power between any two of them.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Result, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A file that is being written.
#[derive(Debug)]
pub struct Open {
    pub path: PathBuf,
    pub file: File,
}

/// What is asked of a disk. Each call may be the last one before the power goes.
pub trait Disk {
    /// Makes a folder of the owner's alone; it may be there already.
    fn folder(&self, path: &Path) -> Result<()>;
    /// Removes a folder with all in it; it may be gone already.
    fn remove_folder(&self, path: &Path) -> Result<()>;
    /// Begins a file anew, with these permissions.
    fn begin(&self, path: &Path, mode: u32) -> Result<Open>;
    fn write(&self, open: &mut Open, bytes: &[u8]) -> Result<()>;
    /// Returns when the file's bytes are on the disk.
    fn sync(&self, open: &Open) -> Result<()>;
    fn rename(&self, from: &Path, to: &Path) -> Result<()>;
    /// Returns when the folder's names are on the disk.
    fn sync_folder(&self, path: &Path) -> Result<()>;
}

/// The disk itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Real;

impl Disk for Real {
    fn folder(&self, path: &Path) -> Result<()> {
        match DirBuilder::new().mode(0o700).create(path) {
            Err(fault) if fault.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            other => other,
        }
    }

    fn remove_folder(&self, path: &Path) -> Result<()> {
        match fs::remove_dir_all(path) {
            Err(fault) if fault.kind() == ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn begin(&self, path: &Path, mode: u32) -> Result<Open> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)?;
        Ok(Open { path: path.to_path_buf(), file })
    }

    fn write(&self, open: &mut Open, bytes: &[u8]) -> Result<()> {
        open.file.write_all(bytes)
    }

    fn sync(&self, open: &Open) -> Result<()> {
        open.file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        fs::rename(from, to)
    }

    fn sync_folder(&self, path: &Path) -> Result<()> {
        File::open(path)?.sync_all()
    }
}

/// Puts a file in its place, whole or not at all.
///
/// # Errors
/// Those of the disk; then what was there before is there still.
pub fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let mut open = disk.begin(&new, 0o600)?;
    disk.write(&mut open, bytes)?;
    disk.sync(&open)?;
    disk.rename(&new, path)?;
    path.parent().map_or(Ok(()), |folder| disk.sync_folder(folder))
}
