//! The tools of the rigs, and disks that can be taken away.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::common;

/// A tool of Debian's; a rig without it fails and says what to do.
pub(crate) fn tool(name: &str) -> String {
    let known = std::env::var("PATH").unwrap_or_default();
    let folders = known.split(':').chain(["/usr/sbin", "/sbin"]);
    let found = folders.map(|dir| Path::new(dir).join(name)).find(|path| path.is_file());
    let Some(found) = found else { panic!("{name} is missing: `make deps` installs it") };
    found.to_str().unwrap().into()
}

/// Runs a tool; whatever it is for does not work without it.
pub(crate) fn run(name: &str, words: &[&str]) -> Output {
    let done = Command::new(tool(name)).args(words).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(
        done.status.success(),
        "{name} {words:?}: {said}\n(this rig needs root: mount, cgroups and namespaces; it does not skip)"
    );
    done
}

/// Runs a tool that may fail; its exit code.
pub(crate) fn tried(name: &str, words: &[&str]) -> i32 {
    Command::new(tool(name)).args(words).output().unwrap().status.code().unwrap_or(-1)
}

/// A disk of its own: a file system on a loop device.
pub(crate) struct Disk {
    dir: tempfile::TempDir,
    mounted: bool,
}

impl Disk {
    /// An ext4 of so many MiB, mounted.
    pub(crate) fn new(megabytes: u32) -> Self {
        let disk = Self { dir: common::scratch("disk"), mounted: false };
        run("truncate", &["-s", &format!("{megabytes}M"), disk.image().to_str().unwrap()]);
        Self::format(&disk.image());
        std::fs::create_dir(disk.at()).unwrap();
        disk.mounted()
    }

    pub(crate) fn format(image: &Path) {
        let now = "lazy_itable_init=0,lazy_journal_init=0";
        run("mkfs.ext4", &["-q", "-F", "-m", "0", "-J", "size=4", "-E", now, image.to_str().unwrap()]);
    }

    fn mounted(mut self) -> Self {
        self.mount();
        self
    }

    fn image(&self) -> PathBuf {
        self.dir.path().join("disk.img")
    }

    /// Where it is mounted.
    pub(crate) fn at(&self) -> PathBuf {
        self.dir.path().join("mnt")
    }

    pub(crate) fn mount(&mut self) {
        run("mount", &["-o", "loop", self.image().to_str().unwrap(), self.at().to_str().unwrap()]);
        self.mounted = true;
    }

    pub(crate) fn unmount(&mut self) {
        run("umount", &[self.at().to_str().unwrap()]);
        self.mounted = false;
        // Another process that lives in a copy of the mounts keeps the file system, as it was cut, until it ends; mounted
        // again meanwhile it would be the same one.
        let began = Instant::now();
        while !run("losetup", &["-j", self.image().to_str().unwrap()]).stdout.is_empty() {
            assert!(began.elapsed() < Duration::from_secs(60), "somebody keeps {}", self.at().display());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The power goes: what is not on the disk, journal included, is never going to be (FS_IOC_SHUTDOWN).
    pub(crate) fn cut(&self) {
        run("xfs_io", &["-x", "-c", "shutdown", self.at().to_str().unwrap()]);
    }

    /// What the kernel does when it has had enough of a disk.
    pub(crate) fn abort(&self) {
        run("mount", &["-o", "remount,abort", self.at().to_str().unwrap()]);
    }

    /// The loop device, as `/sys` numbers it.
    pub(crate) fn device(&self) -> String {
        let said = run("findmnt", &["-n", "-o", "MAJ:MIN", self.at().to_str().unwrap()]);
        String::from_utf8_lossy(&said.stdout).trim().into()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.mounted {
            let _status = Command::new("umount").arg("-l").arg(self.at()).status();
        }
    }
}
