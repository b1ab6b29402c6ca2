//! Power cuts at every boundary of a write, with writes torn and reordered: each write and flush of the block device is
//! logged (qemu's `blklogwrites`, the format of dm-log-writes), and the disk is made anew as it could have been found.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bedside::demo::template::Dice;

use crate::common;
use crate::proof::clinic::{Clinic, Plan};
use crate::proof::devices::SENDERS;
use crate::proof::oracle::{Wrong, frames};
use crate::tools::{Disk, run, tool, tried};
use crate::{nothing_is, rounds, seed};

const SECTOR: usize = 512;
const FLUSH: u64 = 1;
const DISCARD: u64 = 4;
/// Of so many images one file system may be beyond repair.
const LOST_OF: usize = 50;

/// One logged write.
struct Write {
    at: u64,
    bytes: Vec<u8>,
    flush: bool,
    /// Where it ends in the log.
    end: u64,
}

/// The log: a sector of its own, then for each write a sector that says what it is, and its bytes.
fn log(path: &Path) -> Vec<Write> {
    let all = std::fs::read(path).unwrap();
    let number = |at: usize| u64::from_le_bytes(all[at..at + 8].try_into().unwrap());
    let (mut at, mut writes) = (SECTOR, Vec::new());
    while at + SECTOR <= all.len() {
        let (sector, sectors, flags) = (number(at), number(at + 8), number(at + 16));
        at += SECTOR;
        let length = sectors as usize * SECTOR;
        if flags & DISCARD != 0 {
            continue;
        }
        if at + length > all.len() {
            break;
        }
        let bytes = all[at..at + length].to_vec();
        at += length;
        writes.push(Write { at: sector * SECTOR as u64, bytes, flush: flags & FLUSH != 0, end: at as u64 });
    }
    writes
}

/// The block device under the log, for as long as this lives.
struct Logged {
    daemon: Child,
    device: String,
    at: PathBuf,
}

impl Logged {
    fn mount(dir: &Path) -> Self {
        let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
        for name in ["log", "live"] {
            File::create(dir.join(name)).unwrap();
        }
        let daemon = Command::new(tool("qemu-storage-daemon"))
            .args(["--blockdev", &format!("driver=file,filename={},node-name=f0", path("disk"))])
            .args(["--blockdev", &format!("driver=file,filename={},node-name=lg", path("log"))])
            .args(["--blockdev", "driver=blklogwrites,node-name=bl,file=f0,log=lg,log-sector-size=512"])
            .args([
                "--export",
                &format!("type=fuse,id=e0,node-name=bl,mountpoint={},writable=on", path("live")),
            ])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        common::until_blocking(Duration::from_secs(10), "the device under the log", || {
            std::fs::metadata(dir.join("live")).is_ok_and(|file| file.len() > 0)
        });
        let said = run("losetup", &["-f", "--show", &path("live")]);
        let device = String::from_utf8_lossy(&said.stdout).trim().to_owned();
        let at = dir.join("mnt");
        std::fs::create_dir_all(&at).unwrap();
        run("mount", &[&device, at.to_str().unwrap()]);
        Self { daemon, device, at }
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        let _status = Command::new("umount").arg("-l").arg(&self.at).status();
        let _status = Command::new("losetup").args(["-d", &self.device]).status();
        let _gone = (self.daemon.kill(), self.daemon.wait());
    }
}

/// What each monitor was acknowledged, and how long the log was then.
type Told = Vec<(u64, [u64; SENDERS.len()])>;

/// Runs the box on the logged device; what was acknowledged when.
async fn logged(clinic: &mut Clinic, dir: &Path, messages: u64) -> Told {
    let disk = Logged::mount(dir);
    let running = clinic.started();
    clinic.allow(messages);
    let (mut told, began) = (Told::new(), Instant::now());
    while !clinic.all_told() {
        assert!(began.elapsed() < Duration::from_secs(60), "not acknowledged:\n{}", running.log());
        let acknowledged = clinic.acknowledged();
        // Asked after: what was acknowledged before was synced before, so it stands in the log before this length.
        let length = std::fs::metadata(dir.join("log")).unwrap().len();
        if told.last().is_none_or(|(_, before)| *before != acknowledged) {
            told.push((length, acknowledged));
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut running = running;
    clinic.kill(&mut running).await;
    drop(disk);
    told
}

/// What must be there when the disk holds everything up to `end` of the log.
fn promised(told: &Told, end: u64) -> [u64; SENDERS.len()] {
    told.iter()
        .take_while(|(length, _)| *length <= end)
        .last()
        .map_or([0; SENDERS.len()], |(_, acknowledged)| *acknowledged)
}

/// What became of the file system itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mounted {
    AtOnce,
    /// After what a boot does when it is not: `e2fsck -fy`.
    Mended,
    /// Not even then: nothing on it can be asked.
    Never,
}

fn mounted(image: &Path, at: &Path) -> Mounted {
    let (image, at) = (image.to_str().unwrap(), at.to_str().unwrap());
    let mounts = || tried("mount", &["-o", "loop", image, at]) == 0;
    if mounts() {
        return Mounted::AtOnce;
    }
    // Below 4: nothing, or nothing any more, is wrong.
    let mended = (0..4).contains(&tried("e2fsck", &["-fy", image])) && mounts();
    if mended { Mounted::Mended } else { Mounted::Never }
}

/// Looks what is in the database of the mounted disk after SQLite's own recovery.
fn found(at: &Path, promised: &[u64; SENDERS.len()]) -> Vec<Wrong> {
    let path = at.join("data/bedside.db");
    let none = std::collections::BTreeSet::new();
    let looked = || -> rusqlite::Result<Vec<Wrong>> {
        let database = rusqlite::Connection::open(&path)?;
        let version: i64 = database.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if version == 0 && promised.iter().all(|count| *count == 0) {
            return Ok(Vec::new());
        }
        let sound: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
        let mut wrong = frames(&database, promised, &none);
        if sound != "ok" {
            wrong.push(Wrong::of("I7", format!("the database is damaged: {sound}")));
        }
        Ok(wrong)
    };
    let wrong = match looked() {
        Ok(wrong) => wrong,
        Err(_) if promised.iter().all(|count| *count == 0) => Vec::new(),
        Err(error) => vec![Wrong::of("I1", format!("the database cannot be read: {error}"))],
    };
    run("umount", &[at.to_str().unwrap()]);
    wrong
}

/// A disk as it could be found after a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Cut {
    /// Before which write.
    at: usize,
    /// Whole up to the flush before it, and of the rest whatever came to the disk; else whole up to the cut.
    torn: bool,
}

/// What was written while a box ran, the disk before that, and what was acknowledged when.
struct Recording {
    dir: tempfile::TempDir,
    writes: Vec<Write>,
    told: Told,
}

impl Recording {
    async fn make() -> Self {
        let dir = common::scratch("blocks");
        let path = |name: &str| dir.path().join(name);
        run("truncate", &["-s", "40M", path("base").to_str().unwrap()]);
        Disk::format(&path("base"));
        std::fs::copy(path("base"), path("disk")).unwrap();
        let data = Some(path("mnt/data"));
        let plan = Plan { data, pace: Duration::from_millis(15), upstream: false, ..Plan::of("blocks") };
        let mut clinic = Clinic::open(plan).await;
        clinic.allow(0);
        let told = logged(&mut clinic, dir.path(), 60).await;
        let writes = log(&path("log"));
        let flushes = writes.iter().filter(|write| write.flush).count();
        println!("{} writes, {flushes} flushes, {} acknowledgements", writes.len(), told.len());
        Self { dir, writes, told }
    }

    /// Makes each image and looks at what is on it. The disk before is written to: once only.
    fn look(&self, mut cuts: Vec<Cut>, dice: &mut Dice) -> Vec<Wrong> {
        cuts.sort_unstable();
        let path = |name: &str| self.dir.path().join(name);
        let (began, images, mut wrong) = (Instant::now(), cuts.len(), Vec::new());
        let (mut promised_some, mut lost, mut applied) = (0, 0, 0);
        let base = OpenOptions::new().write(true).open(path("base")).unwrap();
        for (number, cut) in cuts.into_iter().enumerate() {
            let flushed = || self.writes[..cut.at].iter().rposition(|write| write.flush);
            let whole = if cut.torn { flushed().map_or(0, |at| at + 1) } else { cut.at }.max(applied);
            for write in &self.writes[applied..whole] {
                base.write_all_at(&write.bytes, write.at).unwrap();
            }
            applied = whole;
            run("cp", &["--sparse=always", path("base").to_str().unwrap(), path("image").to_str().unwrap()]);
            if cut.torn {
                let image = OpenOptions::new().write(true).open(path("image")).unwrap();
                scatter(&image, &self.writes[whole..cut.at.max(whole)], dice);
            }
            let end = self.writes[..whole].last().map_or(0, |write| write.end);
            let promised = promised(&self.told, end);
            promised_some += u32::from(promised[0] > 0);
            if mounted(&path("image"), &path("mnt")) == Mounted::Never {
                println!("image {number} ({cut:?}): its file system is beyond repair");
                lost += 1;
                continue;
            }
            let of = |one: Wrong| Wrong::of(one.promise, format!("image {number} ({cut:?}): {}", one.text));
            wrong.extend(found(&path("mnt"), &promised).into_iter().map(of));
        }
        println!(
            "{images} images, {promised_some} of which promised something, {lost} beyond repair, in {:.1?}; {} things wrong",
            began.elapsed(),
            wrong.len()
        );
        // Such a file system says nothing of what was promised, so there must not be many.
        if lost * LOST_OF > images {
            wrong.push(Wrong::of("I12", format!("{lost} of {images} file systems are beyond repair")));
        }
        wrong
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_at_any_write_with_writes_torn_and_reordered_it_keeps_what_it_promised() {
    let mut dice = Dice(seed());
    let recording = Recording::make().await;
    let any = |dice: &mut Dice| dice.below(recording.writes.len() as u64) as usize;
    let cuts = (0..200 * rounds()).map(|number| Cut { at: any(&mut dice), torn: number % 2 == 1 }).collect();
    nothing_is(&recording.look(cuts, &mut dice));
}

/// A log of its own, cut before its every write, and so many torn ones besides: how many images, and what was wrong.
pub(crate) async fn cut_at_every_write(seed: u64, torn: u32) -> (u32, Vec<Wrong>) {
    let mut dice = Dice(seed);
    let recording = Recording::make().await;
    let count = recording.writes.len();
    let any = |dice: &mut Dice| dice.below(count as u64) as usize;
    let mut cuts: Vec<Cut> = (0..=count).map(|at| Cut { at, torn: false }).collect();
    cuts.extend((0..torn).map(|_| Cut { at: any(&mut dice), torn: true }));
    let images = cuts.len() as u32;
    (images, recording.look(cuts, &mut dice))
}

/// A mark that a write would leave is torn on purpose: the block that says what the file system is. A boot mends that from
/// its copies, and so does the rig.
#[test]
fn a_file_system_that_does_not_mount_is_mended_as_a_boot_does_it() {
    let dir = common::scratch("mended");
    let path = |name: &str| dir.path().join(name);
    run("truncate", &["-s", "40M", path("image").to_str().unwrap()]);
    Disk::format(&path("image"));
    std::fs::create_dir(path("mnt")).unwrap();
    let at = path("mnt");
    assert_eq!(mounted(&path("image"), &at), Mounted::AtOnce);
    run("umount", &[at.to_str().unwrap()]);
    let image = OpenOptions::new().write(true).open(path("image")).unwrap();
    // The primary superblock lies at 1024 (Linux, Documentation/filesystems/ext4/super.rst).
    image.write_all_at(&[0; 1024], 1024).unwrap();
    assert_eq!(mounted(&path("image"), &at), Mounted::Mended);
    run("umount", &[at.to_str().unwrap()]);
    image.set_len(0).unwrap();
    assert_eq!(mounted(&path("image"), &at), Mounted::Never);
}

/// Half of the writes in any order, some of them only in part: a disk that lost its power among them.
fn scatter(image: &File, writes: &[Write], dice: &mut Dice) {
    let mut left: Vec<&Write> = writes.iter().filter(|_| dice.below(2) == 0).collect();
    while !left.is_empty() {
        let write = left.swap_remove(dice.below(left.len() as u64) as usize);
        let sectors = write.bytes.len() / SECTOR;
        let torn = sectors > 1 && dice.below(2) == 0;
        let count = if torn { 1 + dice.below(sectors as u64 - 1) as usize } else { sectors };
        image.write_all_at(&write.bytes[..count * SECTOR], write.at).unwrap();
    }
}
