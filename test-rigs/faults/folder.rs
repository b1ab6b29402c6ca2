//! The folder of the box: two boxes on it, a newer schema in it, a migration that is cut off, orders and their trail.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::proof::clinic::{Clinic, Plan};
use crate::proof::oracle::Wrong;
use crate::{Sabotage, nothing_is};

/// Name and bytes of every file. The index of the log is memory, an empty log is none, and the lock names a process.
fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = std::fs::read_dir(dir).unwrap().flatten();
    let named = files.map(|file| (file.file_name().to_string_lossy().into_owned(), file.path()));
    let kept = named.filter(|(name, _)| !name.ends_with("-shm") && !name.ends_with(".lock"));
    let read = kept.map(|(name, path)| (name, std::fs::read(path).unwrap_or_default()));
    read.filter(|(name, bytes)| !(name.ends_with("-wal") && bytes.is_empty())).collect()
}

/// Runs it until it ends: its code and what it said; `None` when it goes on.
fn ends(clinic: &Clinic) -> Option<(Option<i32>, String)> {
    let said = clinic.dir.path().join("second.log");
    let mut child = clinic
        .command(&[])
        .args(["run", "--config"])
        .arg(clinic.dir.path().join("bedside.toml"))
        .stderr(std::fs::File::create(&said).unwrap())
        .spawn()
        .unwrap();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(8) {
        if let Some(status) = child.try_wait().unwrap() {
            return Some((status.code(), std::fs::read_to_string(&said).unwrap()));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let _gone = (child.kill(), child.wait());
    None
}

pub(crate) async fn shared(sabotage: Sabotage) -> Vec<Wrong> {
    let mut clinic = Clinic::open(Plan::of("shared").sabotaged(sabotage)).await;
    clinic.allow(10);
    let running = clinic.started();
    clinic.told_within(Duration::from_secs(20)).await;
    let began = Instant::now();
    let second = ends(&clinic);
    let mut wrong = Vec::new();
    match &second {
        Some((Some(75), text)) => {
            if !text.contains("in use by another Bedside") {
                wrong.push(Wrong::of("I13", format!("it does not say why: {text}")));
            }
        }
        other => wrong.push(Wrong::of("I13", format!("a second box on the same folder: {other:?}"))),
    }
    println!("the second one ended after {:.1?}", began.elapsed());
    wrong.extend(clinic.finish(running).await.0);
    wrong
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_box_on_the_same_folder_is_refused_and_disturbs_nobody() {
    nothing_is(&shared(None).await);
}

pub(crate) async fn newer(sabotage: Sabotage) -> Vec<Wrong> {
    let mut clinic = Clinic::open(Plan::of("newer").sabotaged(sabotage)).await;
    clinic.allow(10);
    let mut running = clinic.started();
    clinic.told_within(Duration::from_secs(20)).await;
    assert!(running.stop().success());
    clinic.dark().await;
    let database = rusqlite::Connection::open(clinic.database()).unwrap();
    let version: i64 = database.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    database.pragma_update(None, "user_version", version + 1).unwrap();
    // As a newer box writes it; one bit of the header alone would be the disk's doing, and put right.
    database.execute("UPDATE tally SET value = ?1 WHERE name = 'schema'", [version + 1]).unwrap();
    drop(database);
    let before = contents(&clinic.data());
    let mut wrong = Vec::new();
    match ends(&clinic) {
        Some((code, text)) if code != Some(0) => {
            if !text.contains("newer") {
                wrong.push(Wrong::of("I13", format!("it does not say why: {text}")));
            }
        }
        other => wrong.push(Wrong::of("I13", format!("a newer schema was opened: {other:?}"))),
    }
    let after = contents(&clinic.data());
    if after != before {
        let name = |all: &BTreeMap<String, Vec<u8>>| {
            all.iter().map(|(name, bytes)| format!("{name} {}", bytes.len())).collect::<Vec<_>>()
        };
        let text = format!(
            "it wrote into a folder that it does not understand: {:?}, then {:?}",
            name(&before),
            name(&after)
        );
        wrong.push(Wrong::of("I13", text));
    }
    let database = rusqlite::Connection::open(clinic.database()).unwrap();
    database.pragma_update(None, "user_version", version).unwrap();
    database.execute("UPDATE tally SET value = ?1 WHERE name = 'schema'", [version]).unwrap();
    drop(database);
    wrong.extend(clinic.close().await.0);
    wrong
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_box_refuses_a_newer_folder_and_writes_nothing() {
    nothing_is(&newer(None).await);
}

/// Orders put on the list at the command line leave a trail that nobody edits unnoticed.
pub(crate) async fn audited(sabotage: Sabotage) -> Vec<Wrong> {
    let mut clinic = Clinic::open(Plan::of("audited").sabotaged(sabotage)).await;
    clinic.allow(3);
    let mut running = clinic.started();
    clinic.told_within(Duration::from_secs(20)).await;
    assert!(running.stop().success());
    clinic.dark().await;
    let config = clinic.dir.path().join("bedside.toml");
    for specimen in ["7001", "7002", "7003"] {
        let mut command = clinic.command(&[]);
        let said = command.args(["worklist", "add", specimen, "2345-7", "--config"]).arg(&config).output();
        let said = said.unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    }
    clinic.close().await.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_trail_of_what_people_did_is_whole() {
    nothing_is(&audited(None).await);
}
