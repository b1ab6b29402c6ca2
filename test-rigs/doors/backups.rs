//! Encrypted backups of the real binary: made by themselves, tried, refused with another key or a bit changed, restored
//! elsewhere; a target that is gone is an alarm until it is back.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::clinic::{Clinic, PATIENCE, Plan};
use crate::common;
use crate::speak::{Line, oru};

const CANARY: &str = "CANARYPATIENT";

fn bedside(arguments: &[&str]) -> Output {
    Command::new(common::binary()).args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A key pair made by the command line; the public half.
fn key(path: &Path) -> String {
    let made = bedside(&["backup-key", path.to_str().unwrap()]);
    assert!(made.status.success(), "{}", said(&made));
    assert!(
        !bedside(&["backup-key", path.to_str().unwrap()]).status.success(),
        "a key is never written over"
    );
    String::from_utf8(made.stdout).unwrap().trim().to_owned()
}

fn made(target: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(target).into_iter().flatten().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|ending| ending == "age")).collect()
}

fn nothing_of_the_patient_in(target: &Path) {
    for entry in std::fs::read_dir(target).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        for plain in [CANARY.as_bytes(), b"SQLite format 3"] {
            assert!(!bytes.windows(plain.len()).any(|w| w == plain), "{}: a plain byte", path.display());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_encrypted_backup_makes_the_same_box_elsewhere_and_gives_nothing_away() {
    let port = common::free_port();
    let keys = common::scratch("doors-backup-keys");
    let (own, other) = (keys.path().join("own"), keys.path().join("other"));
    let public = key(&own);
    key(&other);
    let links = format!(
        "[[link]]\nname = \"monitors\"\nprofile = \"ihe/pcd01-monitor\"\nmllp = {{ listen = \"127.0.0.1:{port}\" }}\n"
    );
    let mut clinic = Clinic::planned(Plan::of("doors-backup", links)).await;
    let mut line = Line::to(port).await;
    for number in 0..5 {
        assert_eq!(line.say(&oru(&format!("B{number}"), CANARY, "61", "")).await.code, "AA");
    }
    let data = clinic.dir.path().join("data");
    let kept = [data.join("bedside.db"), data.join("bedside.db-wal")];
    let plainly = |path: &PathBuf| {
        std::fs::read(path).is_ok_and(|bytes| bytes.windows(CANARY.len()).any(|w| w == CANARY.as_bytes()))
    };
    assert!(kept.iter().any(plainly), "the canary must be there to be looked for");
    // Due at once, and the stick is not in.
    let target = clinic.dir.path().join("stick");
    let section =
        format!("[backup]\nfolder = \"{}\"\nrecipients = [\"{public}\"]\nevery_h = 1\n", target.display());
    clinic.restart_with(|config| format!("{config}\n{section}"));
    common::until(PATIENCE, "the missing stick is an alarm", async || {
        clinic.alarms().await.contains(&"backup".to_owned())
    })
    .await;
    assert!(!target.exists(), "the box never makes the folder");
    std::fs::create_dir(&target).unwrap();
    common::until(PATIENCE, "the backup is made", async || !made(&target).is_empty()).await;
    common::until(PATIENCE, "the alarm ends", async || !clinic.alarms().await.contains(&"backup".to_owned()))
        .await;
    // Once: what was done is known after a restart.
    clinic.restart_with(str::to_owned);
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    assert_eq!(made(&target).len(), 1, "not due again");
    nothing_of_the_patient_in(&target);
    assert!(!data.join("sealing-scheduled").exists(), "the plain copy is gone");
    let counts = clinic.bedside.status()["counts"].clone();
    assert!(clinic.bedside.stop().success());
    let trail = bedside(&[
        "audit",
        "export",
        "--as",
        "rows",
        "--config",
        clinic.dir.path().join("bedside.toml").to_str().unwrap(),
    ]);
    let trail = said(&trail);
    assert!(trail.contains("backup.scheduled.end") && trail.contains("is not there"), "{trail}");
    drilled_and_restored(&clinic, &made(&target)[0], (&own, &other), &counts);
}

fn drilled_and_restored(clinic: &Clinic, backup: &Path, keys: (&Path, &Path), counts: &serde_json::Value) {
    let file = backup.to_str().unwrap();
    let (own, other) = (keys.0.to_str().unwrap(), keys.1.to_str().unwrap());
    let rooms = common::scratch("doors-backup-rooms");
    let room = rooms.path().to_str().unwrap();
    let drill = |file: &str, key: &str| bedside(&["backup-drill", file, "--identity", key, "--folder", room]);
    let good = drill(file, own);
    assert!(good.status.success() && said(&good).contains("The backup is good."), "{}", said(&good));
    let wrong = drill(file, other);
    assert_eq!(wrong.status.code(), Some(1), "{}", said(&wrong));
    assert!(said(&wrong).contains("sealed for another one"), "{}", said(&wrong));
    // One byte flipped, with its manifest and without.
    let flipped = rooms.path().join("flipped.age");
    let mut bytes = std::fs::read(backup).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&flipped, &bytes).unwrap();
    assert_eq!(drill(flipped.to_str().unwrap(), own).status.code(), Some(1));
    std::fs::copy(format!("{file}.manifest"), rooms.path().join("flipped.age.manifest")).unwrap();
    assert_eq!(drill(flipped.to_str().unwrap(), own).status.code(), Some(1));
    let left = std::fs::read_dir(rooms.path()).unwrap().count();
    assert_eq!(left, 2, "the folder of each drill is gone");
    // A blank box.
    let config = rooms.path().join("blank.toml");
    let text = clinic.config.replace(
        &clinic.dir.path().join("data").display().to_string(),
        &rooms.path().join("blank").display().to_string(),
    );
    std::fs::write(&config, text).unwrap();
    let config = config.to_str().unwrap();
    let restore = |more: &[&str]| bedside(&[&["restore", file, "--config", config], more].concat());
    let unsaid = restore(&[]);
    assert!(!unsaid.status.success() && said(&unsaid).contains("--identity"), "{}", said(&unsaid));
    let wrong = restore(&["--identity", other]);
    assert!(!wrong.status.success() && said(&wrong).contains("Nothing was changed"), "{}", said(&wrong));
    assert!(!rooms.path().join("blank/bedside.db").exists());
    let done = restore(&["--identity", own]);
    assert!(done.status.success(), "{}", said(&done));
    assert_eq!(common::status_of(Path::new(config))["counts"], *counts, "the same box");
    let left: Vec<_> =
        std::fs::read_dir(rooms.path().join("blank")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("sealing")), "{left:?}");
}
