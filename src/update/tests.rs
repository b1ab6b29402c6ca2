use std::cell::{Cell, RefCell};
use std::fs;
use std::io::{Error, Result as Io};
use std::path::{Path, PathBuf};

use super::archive::{Builder, Name};
use super::disk::{Disk, Open, Real};
use super::metadata::Version;
use super::publish;
use super::rig::{BoxFolder, FAR, Publisher, now};
use super::{ATTEMPTS, Release, Root, UpdateError, started_as};
use crate::clock::Timestamp;

const OLD: &[u8] = b"the old program";

fn new_program() -> Vec<u8> {
    (0..200_000_u32).map(|n| (n % 251) as u8).collect()
}

/// The release as an update file has it, signed.
fn release_in(file: &Path, root: &Root) -> Release {
    let bytes = fs::read(file).unwrap();
    let mut archive = super::archive::Archive::new(bytes.as_slice());
    while let Some((name, _)) = archive.member().unwrap() {
        let whole = archive.whole().unwrap();
        if name == Name::Release {
            return root.release(&whole).unwrap();
        }
    }
    panic!("no release");
}

/// What must never be taken: what it is, the file, and a word of the refusal.
type Attack = (&'static str, PathBuf, &'static str);

/// Archives that are not what was published.
fn on_the_archive(publisher: &Publisher) -> Vec<Attack> {
    let dir = publisher.dir.path().to_path_buf();
    let program = new_program();
    let good = fs::read(publisher.update(6, &program)).unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = dir.join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let patched = |name: &str, patch: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        patch(&mut bytes);
        file(name, &bytes)
    };
    // The header before the program.
    let at = 512 * good.chunks(512).position(|block| block.starts_with(b"bedside-")).unwrap();
    let resum = |bytes: &mut Vec<u8>, at: usize| {
        bytes[at + 148..at + 156].fill(b' ');
        let sum: u64 = bytes[at..at + 512].iter().map(|byte| u64::from(*byte)).sum();
        bytes[at + 148..at + 156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    };
    vec![
        ("a flipped bit", patched("flip", &|bytes| bytes[at + 700] ^= 1), "SHA-256"),
        ("cut off", patched("cut", &|bytes| bytes.truncate(at + 5_000)), "cut off"),
        ("endless", patched("endless", &|bytes| bytes.extend(vec![0; 1 << 20])), "does not end"),
        (
            "a link",
            patched("link", &|bytes| {
                bytes[at + 156] = b'2';
                bytes[at + 157..at + 168].copy_from_slice(b"/etc/passwd");
                resum(bytes, at);
            }),
            "no plain file",
        ),
        (
            "a way out of the folder",
            patched("dots", &|bytes| {
                bytes[at..at + 15].copy_from_slice(b"../../../x_86_6");
                resum(bytes, at);
            }),
            "a name that an update has not",
        ),
        (
            "a huge file",
            patched("huge", &|bytes| {
                bytes[at + 124..at + 136].copy_from_slice(b"77777777777\0");
                resum(bytes, at);
            }),
            "larger than is taken",
        ),
    ]
}

/// Metadata and programs that do not belong here.
fn on_the_metadata(publisher: &mut Publisher) -> Vec<Attack> {
    let dir = publisher.dir.path().to_path_buf();
    let program = new_program();
    let file = |name: &str, bytes: &[u8]| {
        let path = dir.join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let release = release_in(&publisher.update(6, &program), &publisher.anchor());
    let mut all = Vec::new();
    all.push(("older", publisher.update(4, &program), "proved itself"));
    let mut other = publisher.new_release(6, &program);
    other.programs = vec![publisher.named("mips", &program)];
    let path = publisher.write(&other, &publisher.release_signers());
    all.push(("another architecture", file("mips", &fs::read(path).unwrap()), "this box is"));
    let stranger = [publisher.key("stranger.key")];
    let signed = publisher.signed(&release, &stranger);
    let path = publisher.archive(&signed, &program);
    all.push(("a strange key", file("strange", &fs::read(path).unwrap()), "signed it"));
    let mut late = publisher.new_release(6, &program);
    late.expires = "2025-12-31T00:00:00Z".into();
    let path = publisher.write(&late, &publisher.release_signers());
    all.push(("expired", file("expired", &fs::read(path).unwrap()), "good until"));
    let signed = publisher.signed(&release, &publisher.release_signers());
    let path = publisher.archive(&signed, b"a program of another release");
    all.push(("mixed", file("mixed", &fs::read(path).unwrap()), "were signed"));
    let same = publisher.update(5, &program);
    all.push(("a number used again", file("again", &fs::read(same).unwrap()), "same number"));
    // From here on the release key is out of use.
    let fresh = publisher.key("fresh.key");
    let next =
        publish::root(&publisher.new_root(2, &fresh), Some(&publisher.anchor()), &publisher.root_signers());
    let signed = publisher.signed(&release, &publisher.release_signers());
    publisher.roots.push(next.unwrap());
    let path = publisher.archive(&signed, &program);
    all.push(("a key out of use", file("revoked", &fs::read(path).unwrap()), "signed it"));
    all
}

#[test]
fn what_must_never_be_taken_is_refused_and_leaves_the_box_as_it_was() {
    let mut publisher = Publisher::new();
    let folder = BoxFolder::with(&publisher, 5, OLD);
    let before = folder.slots(&Real).state().unwrap();
    let mut all = on_the_archive(&publisher);
    all.extend(on_the_metadata(&mut publisher));
    assert!(all.len() >= 12);
    for (what, file, word) in all {
        let refused = folder.install(&Real, &publisher, &file).map(drop).unwrap_err().to_string();
        assert!(refused.contains(word), "{what}: {refused}");
        assert_eq!(folder.slots(&Real).state().unwrap(), before, "{what}");
        assert!(!folder.dir.join("b").exists(), "{what}: something was written");
        assert_eq!(folder.start(&Real, &publisher).as_deref(), Some(OLD), "{what}");
    }
    let device = folder.install(&Real, &publisher, Path::new("/dev/zero")).map(drop).unwrap_err();
    assert!(device.to_string().contains("no plain file"), "{device}");
}

#[test]
fn a_key_that_a_later_root_left_out_signs_nothing_any_more() {
    let mut publisher = Publisher::new();
    let folder = BoxFolder::with(&publisher, 5, OLD);
    let by_old_key = fs::read(publisher.update(8, b"by the old key")).unwrap();
    let fresh = publisher.key("fresh.key");
    let next =
        publish::root(&publisher.new_root(2, &fresh), Some(&publisher.anchor()), &publisher.root_signers());
    publisher.roots.push(next.unwrap());
    let file = publisher.write(&publisher.new_release(6, b"six"), &[fresh]);
    folder.install(&Real, &publisher, &file).unwrap();
    assert_eq!(folder.start(&Real, &publisher).as_deref(), Some(b"six".as_slice()));
    folder.confirm(&Real, &publisher).unwrap();
    // The file from before the rotation brings only the first root; the box knows the second.
    let stale = publisher.dir.path().join("stale.update");
    fs::write(&stale, by_old_key).unwrap();
    let refused = folder.install(&Real, &publisher, &stale).map(drop).unwrap_err();
    assert!(matches!(refused, UpdateError::Signature(_)), "{refused}");
    // Whoever takes the kept roots away gains nothing: the highest is known.
    fs::remove_dir_all(folder.dir.join("roots")).unwrap();
    let refused = folder.install(&Real, &publisher, &stale).map(drop).unwrap_err();
    assert!(matches!(refused, UpdateError::Older(_)), "{refused}");
}

#[test]
fn a_root_follows_only_with_the_signatures_of_the_one_before_and_its_own() {
    let publisher = Publisher::new();
    let (a, b) = (publisher.key("a.key"), publisher.key("b.key"));
    let mut new = publisher.new_root(2, &a);
    new.root_keys = vec![a.public(), b.public()];
    new.root_threshold = 2;
    let before = publisher.anchor();
    let load = |name: &str| publish::Signer::load(&publisher.dir.path().join(name)).unwrap();
    let by = |names: &[&str]| {
        publish::root(&new, Some(&before), &names.iter().map(|name| load(name)).collect::<Vec<_>>())
    };
    assert!(by(&["a.key", "b.key"]).is_err(), "the old root did not agree");
    assert!(by(&["root.key", "a.key"]).is_err(), "one of two is missing");
    assert!(by(&["root.key", "a.key", "a.key"]).is_err(), "one key twice is one");
    let signed = by(&["root.key", "a.key", "b.key"]).unwrap();
    assert_eq!(before.next(&signed).unwrap().version, 2);
    let mut skipping = new.clone();
    skipping.version = 3;
    let all = [load("root.key"), load("a.key"), load("b.key")];
    assert!(publish::root(&skipping, Some(&before), &all).is_err(), "a root was left out");
}

#[test]
fn a_clock_that_is_not_believed_neither_refuses_nor_takes_what_surely_expired() {
    let publisher = Publisher::new();
    let mut short = publisher.new_release(6, OLD);
    short.expires = "2026-06-01T00:00:00Z".into();
    let file = publisher.write(&short, &publisher.release_signers());
    let may = 1_780_272_000_000_000; // 2026-06-01
    let at = |micros, synchronised| {
        let folder = BoxFolder::new();
        folder.install_at(&Real, &publisher, &file, Timestamp::from_micros(micros, synchronised))
    };
    assert!(at(may - 1, true).unwrap().checked.unsure.is_none());
    assert!(matches!(at(may, true), Err(UpdateError::Expired(_))));
    assert!(at(0, false).unwrap().checked.unsure.is_some(), "a dead battery: 1970");
    assert!(at(may * 2, false).is_ok(), "a clock far ahead that nobody vouches for");
    let folder = BoxFolder::new();
    folder.slots(&Real).saw(Timestamp::from_micros(may + 1, true)).unwrap();
    let late = folder.install_at(&Real, &publisher, &file, Timestamp::from_micros(0, false));
    assert!(
        matches!(late, Err(UpdateError::Expired(_))),
        "that time has passed, whatever the clock says now"
    );
    let late = folder.install_at(&Real, &publisher, &file, Timestamp::from_micros(1, true));
    assert!(matches!(late, Err(UpdateError::Expired(_))));
}

#[test]
fn a_program_that_never_proves_itself_gives_way_after_three_starts() {
    let publisher = Publisher::new();
    let folder = BoxFolder::with(&publisher, 5, OLD);
    let new = new_program();
    folder.install(&Real, &publisher, &publisher.update(6, &new)).unwrap();
    for _ in 0..ATTEMPTS {
        assert_eq!(folder.start(&Real, &publisher).as_deref(), Some(new.as_slice()));
    }
    assert_eq!(folder.start(&Real, &publisher).as_deref(), Some(OLD));
    let state = folder.slots(&Real).state().unwrap();
    let back = state.gone_back.unwrap();
    assert!(back.release == 6 && back.why.contains("3 times"), "{back:?}");
    assert!(state.confirmed && state.highest == 5);
    for _ in 0..5 {
        assert_eq!(folder.start(&Real, &publisher).as_deref(), Some(OLD), "and it stays");
    }
    let told = super::journal::take(&folder.slots(&Real)).unwrap().unwrap();
    let words: Vec<&str> = told.lines.iter().map(|line| line.what.as_str()).collect();
    assert_eq!(words.iter().filter(|word| **word == "update.back").count(), 1);
    told.written().unwrap();
    folder.install(&Real, &publisher, &publisher.update(6, &new)).unwrap();
    assert_eq!(folder.start(&Real, &publisher).as_deref(), Some(new.as_slice()), "it may be tried again");
}

#[test]
fn a_slot_that_the_disk_changed_is_not_started() {
    let publisher = Publisher::new();
    let folder = BoxFolder::with(&publisher, 5, OLD);
    let new = new_program();
    folder.install(&Real, &publisher, &publisher.update(6, &new)).unwrap();
    folder.start(&Real, &publisher);
    folder.confirm(&Real, &publisher).unwrap();
    let mut bytes = new.clone();
    bytes[100_000] ^= 4;
    fs::write(folder.dir.join("b/bedside"), bytes).unwrap();
    assert_eq!(folder.start(&Real, &publisher).as_deref(), Some(OLD));
    fs::write(folder.dir.join("a/release.json"), b"{}").unwrap();
    assert_eq!(folder.start(&Real, &publisher), None, "the package's own is left");
}

#[test]
fn a_state_that_the_disk_changed_is_worked_out_from_signed_slots() {
    let publisher = Publisher::new();
    let folder = BoxFolder::with(&publisher, 5, OLD);
    fs::write(folder.dir.join("state.json"), b"\0\0\0").unwrap();
    assert_eq!(folder.start(&Real, &publisher).as_deref(), Some(OLD));
    assert_eq!(folder.slots(&Real).state().unwrap().highest, 5, "nothing older is taken afterwards either");
}

#[test]
fn an_update_that_was_not_tried_yet_is_not_written_over() {
    let publisher = Publisher::new();
    let folder = BoxFolder::with(&publisher, 5, OLD);
    folder.install(&Real, &publisher, &publisher.update(6, b"six")).unwrap();
    let refused = folder.install(&Real, &publisher, &publisher.update(7, b"seven")).map(drop).unwrap_err();
    assert!(matches!(refused, UpdateError::NotNow(_)), "{refused}");
}

#[test]
fn going_back_sets_the_database_back_first_and_stays_where_that_fails() {
    use super::start::{Loader, Next};
    let publisher = Publisher::new();
    let folder = BoxFolder::with(&publisher, 5, OLD);
    let mut new = publisher.new_release(6, b"six");
    new.schema = 99;
    folder.install(&Real, &publisher, &publisher.write(&new, &publisher.release_signers())).unwrap();
    folder.slots(&Real).change(|state| state.attempts = ATTEMPTS).unwrap();
    let start = |works: bool| {
        let mut asked = Vec::new();
        let mut set_back = |schema: i64, _: Option<&Path>| {
            asked.push(schema);
            if works { Ok(Some("the newer one is kept as x".into())) } else { Err("there is no copy".into()) }
        };
        let slots = folder.slots(&Real);
        let anchor = Some(publisher.anchor());
        let packaged = (Version::packaged(), 10);
        let next = Loader { slots, anchor, now: now(), packaged, set_back: &mut set_back }.decide();
        let Next::Program { found, .. } = next else { panic!("{next:?}") };
        (found.release.version, asked)
    };
    assert_eq!(start(false), (6, vec![1]), "a program that cannot read the database is not started");
    assert_eq!(start(true), (5, vec![1]));
    let back = folder.slots(&Real).state().unwrap().gone_back.unwrap();
    assert_eq!(back.database.as_deref(), Some("the newer one is kept as x"));
}

#[test]
fn archives_out_of_order_or_with_anything_else_in_them_are_refused() {
    let read = |build: &dyn Fn(&mut Builder<Vec<u8>>)| {
        let mut archive = Builder::new(Vec::new());
        build(&mut archive);
        let bytes = archive.end().unwrap();
        let mut archive = super::archive::Archive::new(bytes.as_slice());
        let mut names = Vec::new();
        while let Some((name, _)) = archive.member()? {
            archive.whole()?;
            names.push(name);
        }
        Ok::<_, UpdateError>(names.len())
    };
    let add = |archive: &mut Builder<Vec<u8>>, name: Name| archive.add(&name, 3, &mut &b"abc"[..]).unwrap();
    let (root, release) = (Name::Root, Name::Release);
    let program = || Name::Program("x86_64".into());
    assert_eq!(
        read(&|a| [root(1), root(2), release.clone(), program()].into_iter().for_each(|n| add(a, n)))
            .unwrap(),
        4
    );
    assert!(read(&|a| [release.clone(), root(1)].into_iter().for_each(|n| add(a, n))).is_err());
    assert!(read(&|a| [release.clone(), release.clone()].into_iter().for_each(|n| add(a, n))).is_err());
    assert!(read(&|a| [program(), program()].into_iter().for_each(|n| add(a, n))).is_err());
    assert!(read(&|a| (1..200).for_each(|n| add(a, root(n)))).is_err(), "too many");
}

#[test]
fn a_process_knows_its_slot_only_from_a_whole_word() {
    assert_eq!(started_as(Some("b:7")), Some((super::slots::Slot::B, 7)));
    for wrong in ["", "b", "c:7", "b:", "b:x"] {
        assert_eq!(started_as(Some(wrong)), None, "{wrong}");
    }
    assert_eq!(Version::read("1.2.3"), Some(Version(1, 2, 3)));
    for wrong in ["1.2", "1.2.3.4", "1.2.x", "1..3", "+1.2.3", "1.2.3-rc1"] {
        assert_eq!(Version::read(wrong), None, "{wrong}");
    }
    assert_eq!(FAR.len(), 20);
}

/// A disk whose power goes after so many steps. What was written is torn; what was not synced may be lost.
struct Cutting {
    left: Cell<u64>,
    loses: bool,
    torn: bool,
    /// Files that were begun or written and not synced.
    dirty: RefCell<Vec<PathBuf>>,
    /// Renames and new names whose folder was not synced: the name, and what stood there before.
    names: RefCell<Vec<(PathBuf, Option<Vec<u8>>)>>,
}

impl Cutting {
    fn after(steps: u64, loses: bool, torn: bool) -> Self {
        Self { left: Cell::new(steps), loses, torn, dirty: RefCell::default(), names: RefCell::default() }
    }

    fn step(&self) -> Io<()> {
        match self.left.get() {
            0 => Err(Error::other("there is no power")),
            left => {
                self.left.set(left - 1);
                Ok(())
            }
        }
    }

    /// What a power cut does to what was not synced.
    fn lose(&self) {
        if !self.loses {
            return;
        }
        for path in self.dirty.borrow_mut().drain(..) {
            if let Ok(bytes) = fs::read(&path) {
                fs::write(&path, &bytes[..bytes.len() / 3]).unwrap();
            }
        }
        for (path, before) in self.names.borrow_mut().drain(..).rev() {
            match before {
                Some(before) => fs::write(path, before).unwrap(),
                None => drop(fs::remove_file(path)),
            }
        }
    }
}

impl Disk for Cutting {
    fn folder(&self, path: &Path) -> Io<()> {
        self.step()?;
        Real.folder(path)
    }

    fn remove_folder(&self, path: &Path) -> Io<()> {
        self.step()?;
        Real.remove_folder(path)
    }

    fn begin(&self, path: &Path, mode: u32) -> Io<Open> {
        self.step()?;
        if !path.exists() {
            self.names.borrow_mut().push((path.to_path_buf(), None));
        }
        self.dirty.borrow_mut().push(path.to_path_buf());
        Real.begin(path, mode)
    }

    fn write(&self, open: &mut Open, bytes: &[u8]) -> Io<()> {
        if let Err(fault) = self.step() {
            if self.torn {
                Real.write(open, &bytes[..bytes.len() / 2])?;
            }
            return Err(fault);
        }
        Real.write(open, bytes)
    }

    fn sync(&self, open: &Open) -> Io<()> {
        self.step()?;
        self.dirty.borrow_mut().retain(|path| *path != open.path);
        Real.sync(open)
    }

    fn rename(&self, from: &Path, to: &Path) -> Io<()> {
        self.step()?;
        self.names.borrow_mut().push((to.to_path_buf(), fs::read(to).ok()));
        Real.rename(from, to)
    }

    fn sync_folder(&self, path: &Path) -> Io<()> {
        self.step()?;
        self.names.borrow_mut().retain(|(name, _)| name.parent() != Some(path));
        Real.sync_folder(path)
    }
}

/// Does something on a twin of a box with the power cut after every step of it; returns how often it was cut.
fn cut_everywhere(
    before: &BoxFolder,
    publisher: &Publisher,
    whole: &[Option<&[u8]>],
    doing: &dyn Fn(&BoxFolder, &dyn Disk) -> Result<(), UpdateError>,
) -> u32 {
    let mut cuts = 0;
    for (loses, torn) in [(false, false), (false, true), (true, false), (true, true)] {
        for steps in 0.. {
            let folder = before.twin();
            let disk = Cutting::after(steps, loses, torn);
            let done = doing(&folder, &disk);
            let went = disk.left.get() == 0;
            disk.lose();
            let started = folder.start(&Real, publisher);
            assert!(
                whole.contains(&started.as_deref()),
                "cut after {steps} steps, loses {loses}, torn {torn}"
            );
            if !went {
                done.unwrap();
                break;
            }
            cuts += 1;
        }
    }
    cuts
}

#[test]
fn power_cut_at_every_step_of_an_update_starts_the_old_or_the_new_program_whole() {
    let publisher = Publisher::new();
    let new = new_program().repeat(15);
    let old = BoxFolder::with(&publisher, 5, OLD);
    let file = publisher.update(6, &new);
    let either = [Some(OLD), Some(new.as_slice())];
    let mut cuts = cut_everywhere(&old, &publisher, &either, &|folder, disk| {
        folder.install(disk, &publisher, &file).map(drop)
    });
    assert!(cuts >= 200, "{cuts} cuts of an installation");
    let empty = BoxFolder::new();
    let first = [None, Some(new.as_slice())];
    cuts += cut_everywhere(&empty, &publisher, &first, &|folder, disk| {
        folder.install(disk, &publisher, &file).map(drop)
    });
    old.install(&Real, &publisher, &file).unwrap();
    cuts += cut_everywhere(&old, &publisher, &either, &|folder, disk| {
        folder.start(disk, &publisher);
        Ok(())
    });
    old.start(&Real, &publisher);
    cuts += cut_everywhere(&old, &publisher, &either, &|folder, disk| folder.confirm(disk, &publisher));
    old.slots(&Real).change(|state| state.attempts = ATTEMPTS).unwrap();
    cuts += cut_everywhere(&old, &publisher, &[Some(OLD)], &|folder, disk| {
        folder.start(disk, &publisher);
        Ok(())
    });
    assert!(cuts >= 300, "{cuts}");
}

#[test]
fn an_installation_that_was_cut_off_can_be_done_again() {
    let publisher = Publisher::new();
    let old = BoxFolder::with(&publisher, 5, OLD);
    let file = publisher.update(6, b"six");
    for steps in [0, 7, 13, 21, 30] {
        let folder = old.twin();
        let disk = Cutting::after(steps, true, true);
        if folder.install(&disk, &publisher, &file).is_ok() {
            break;
        }
        disk.lose();
        folder.install(&Real, &publisher, &file).unwrap();
        assert_eq!(folder.start(&Real, &publisher).as_deref(), Some(b"six".as_slice()));
    }
}
