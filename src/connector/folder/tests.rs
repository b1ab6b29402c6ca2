use std::fs;

use super::*;
use crate::clock::TestClock;
use crate::connector::rig::FakeIntake;

/// A folder of its own that goes when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("bedside-folder-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&dir));
        fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn config(&self) -> Config {
        let text =
            format!("dir = \"{}\"\nfiles = \"*.gdt, *.csv\"\nsettle_s = 0\npoll_s = 1", self.0.display());
        toml::from_str(&text).unwrap()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).unwrap();
    }

    /// Names below a folder of it, however deep.
    fn names(&self, under: &str) -> Vec<String> {
        fn walk(dir: &Path, into: &mut Vec<String>) {
            for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
                if entry.path().is_dir() {
                    walk(&entry.path(), into);
                } else {
                    into.push(entry.file_name().into_string().unwrap());
                }
            }
        }
        let mut names = Vec::new();
        walk(&self.0.join(under), &mut names);
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

struct Running {
    switch: tokio::sync::watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

fn start(config: Config, intake: &Arc<FakeIntake>) -> Running {
    let (switch, stop) = Stop::pair();
    let clock: SharedClock = TestClock::at(1_773_477_000_000_000);
    let task = tokio::spawn(run("files".into(), config, intake.clone(), clock, stop));
    Running { switch, task }
}

impl Running {
    async fn stop(self) {
        self.switch.send_replace(true);
        self.task.await.unwrap();
    }
}

#[tokio::test]
async fn a_file_is_kept_and_then_archived_and_others_are_left_alone() {
    let folder = Folder::new("kept");
    folder.write("A.GDT", "one");
    folder.write("b.csv", "two");
    folder.write("notes.txt", "mine");
    let intake = FakeIntake::shut();
    let running = start(folder.config(), &intake);
    intake.until("a file is offered", |intake| !intake.messages().is_empty()).await;
    assert_eq!(folder.names("archive"), [""; 0], "nothing is archived before it is kept");
    intake.let_through(5);
    intake.until("both are archived", |_| folder.names("archive").len() == 2).await;
    running.stop().await;
    assert_eq!(folder.names("archive"), ["A.GDT", "b.csv"]);
    assert!(folder.0.join("notes.txt").exists());
    let mut said = intake.messages();
    said.sort();
    assert_eq!(said, ["one", "two"]);
    assert_eq!(intake.last_state(), Some(LinkState::Stopped));
}

#[tokio::test]
async fn a_half_written_file_is_not_read() {
    let folder = Folder::new("half");
    let intake = FakeIntake::open();
    let config = Config { settle_s: 3, ..folder.config() };
    folder.write("a.csv", "half");
    let running = start(config, &intake);
    for more in ["half, more", "half, more, more", "half, more, more, whole"] {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert_eq!(intake.messages(), [""; 0]);
        folder.write("a.csv", more);
    }
    intake.until("it settled", |intake| !intake.messages().is_empty()).await;
    running.stop().await;
    assert_eq!(intake.messages(), ["half, more, more, whole"]);
}

#[tokio::test]
async fn a_companion_says_that_a_file_is_whole() {
    let folder = Folder::new("companion");
    let intake = FakeIntake::open();
    folder.write("a.csv", "one");
    folder.write("b.csv", "two");
    folder.write("b.ok", "");
    let running = start(Config { companion: Some(".ok".into()), ..folder.config() }, &intake);
    intake.until("one is archived", |_| !folder.names("archive").is_empty()).await;
    assert_eq!(intake.messages(), ["two"]);
    folder.write("a.csv.ok", "");
    intake.until("the other is", |_| folder.names("archive").len() == 2).await;
    running.stop().await;
    assert!(!folder.0.join("b.ok").exists());
}

#[tokio::test]
async fn a_file_claimed_before_a_crash_is_taken_up_again() {
    let folder = Folder::new("crash");
    fs::create_dir_all(folder.0.join(".claimed")).unwrap();
    folder.write(".claimed/a.csv", "claimed");
    let intake = FakeIntake::open();
    let running = start(folder.config(), &intake);
    intake.until("it is archived", |_| folder.names("archive") == ["a.csv"]).await;
    running.stop().await;
    assert_eq!(intake.messages(), ["claimed"]);
    assert_eq!(folder.names(".claimed"), [""; 0]);
}

#[tokio::test]
async fn a_refused_file_stays_and_is_offered_again() {
    let folder = Folder::new("refused");
    folder.write("a.csv", "one");
    let intake = FakeIntake::refusing(1, true);
    let running = start(folder.config(), &intake);
    let retrying = |intake: &FakeIntake| matches!(intake.last_state(), Some(LinkState::Retrying { .. }));
    intake.until("the link says so", retrying).await;
    assert!(folder.0.join("a.csv").exists());
    intake.until("it is archived", |_| folder.names("archive") == ["a.csv"]).await;
    running.stop().await;
    assert_eq!(intake.messages(), ["one", "one"]);
}

#[tokio::test]
async fn the_same_name_twice_never_writes_over_the_archive() {
    let folder = Folder::new("twice");
    let intake = FakeIntake::open();
    let running = start(folder.config(), &intake);
    for (count, text) in ["one", "two", "one"].into_iter().enumerate() {
        folder.write("a.csv", text);
        intake.until("it is archived", |_| folder.names("archive").len() == count + 1).await;
    }
    running.stop().await;
    assert_eq!(folder.names("archive"), ["a.csv", "a.csv.1", "a.csv.2"]);
}

#[tokio::test]
async fn what_cannot_be_read_is_moved_aside_and_told_without_its_name() {
    let folder = Folder::new("failed");
    let intake = FakeIntake::open();
    folder.write("DOE_JANE.csv", "far too long");
    folder.write("empty.csv", "");
    let running = start(Config { max_bytes: 5, ..folder.config() }, &intake);
    intake.until("both are aside", |_| folder.names("failed").len() == 2).await;
    running.stop().await;
    assert_eq!(intake.messages(), [""; 0]);
    let notes = intake.notes.lock().unwrap();
    assert_eq!(notes.len(), 2);
    assert!(notes.iter().all(|(code, text)| *code == "file-failed" && !text.contains("DOE")), "{notes:?}");
}

#[tokio::test]
async fn a_folder_that_is_away_is_looked_for_again() {
    let folder = Folder::new("away");
    let config = Config { dir: folder.0.join("share"), ..folder.config() };
    let intake = FakeIntake::open();
    let running = start(config, &intake);
    let retrying = |intake: &FakeIntake| matches!(intake.last_state(), Some(LinkState::Retrying { .. }));
    intake.until("it is missed", retrying).await;
    fs::create_dir_all(folder.0.join("share")).unwrap();
    folder.write("share/a.csv", "one");
    intake.until("it is found", |intake| !intake.messages().is_empty()).await;
    running.stop().await;
}

#[tokio::test]
async fn a_kept_file_whose_archive_is_away_waits_and_is_archived_once() {
    let folder = Folder::new("mount");
    folder.write("a.csv", "one");
    // Where a folder should be there is none: not even root can write into it.
    folder.write("mount", "");
    let archive = folder.0.join("mount/archive");
    let intake = FakeIntake::open();
    let config = Config { archive: Some(archive), ..folder.config() };
    let running = start(config, &intake);
    let away = |intake: &FakeIntake| matches!(intake.last_state(), Some(LinkState::Retrying { detail }) if detail.contains("cannot move") && !detail.contains("a.csv"));
    intake.until("the archive is missed", away).await;
    assert_eq!(folder.names(".claimed"), ["a.csv"], "a kept file is not thrown away");
    fs::remove_file(folder.0.join("mount")).unwrap();
    intake.until("it is archived", |_| folder.names("mount/archive") == ["a.csv"]).await;
    intake.until("the link is up", |i| matches!(i.last_state(), Some(LinkState::Up { .. }))).await;
    running.stop().await;
    let said = intake.messages();
    assert!(said.len() > 1 && said.iter().all(|text| text == "one"), "told apart by the buffer: {said:?}");
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_to_loses_nothing_and_says_so() {
    let folder = Folder::new("read-only");
    folder.write("a.csv", "one");
    // A claim needs a folder of this name; root writes into any that is one.
    folder.write(".claimed", "");
    let intake = FakeIntake::open();
    let running = start(folder.config(), &intake);
    let refused = |intake: &FakeIntake| matches!(intake.last_state(), Some(LinkState::Retrying { detail }) if detail.contains("cannot write to the folder"));
    intake.until("it is told", refused).await;
    assert_eq!((intake.messages().len(), folder.0.join("a.csv").exists()), (0, true));
    fs::remove_file(folder.0.join(".claimed")).unwrap();
    intake.until("it is archived", |_| folder.names("archive") == ["a.csv"]).await;
    running.stop().await;
}

#[tokio::test]
async fn a_crash_between_claim_and_keep_loses_nothing() {
    let folder = Folder::new("between");
    folder.write("a.csv", "one");
    let shut = FakeIntake::shut();
    let running = start(folder.config(), &shut);
    shut.until("it is offered", |intake| !intake.messages().is_empty()).await;
    running.task.abort();
    drop(running.task.await);
    assert_eq!((folder.names(".claimed"), folder.names("archive").len()), (vec!["a.csv".into()], 0));
    let intake = FakeIntake::open();
    let running = start(folder.config(), &intake);
    intake.until("it is archived", |_| folder.names("archive") == ["a.csv"]).await;
    running.stop().await;
    assert_eq!(intake.messages(), ["one"]);
}

#[test]
fn names_are_matched_as_windows_programs_write_them() {
    for (pattern, name, fits) in [
        ("*", "a", true),
        ("*.gdt", "X.GDT", true),
        ("*.gdt", "x.gdt.tmp", false),
        ("ab?_*.csv", "abc_1.csv", true),
        ("ab?_*.csv", "ab_1.csv", false),
        ("*a*b*", "xxaxxbxx", true),
        ("*a*b", "xxbxxa", false),
        ("", "a", false),
    ] {
        assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
    }
}

#[test]
fn a_section_that_cannot_work_says_why() {
    let config = Folder::new("section").config();
    assert_eq!(config.check(), Ok(()));
    for (wrong, word) in [
        (Config { dir: "drop".into(), ..config.clone() }, "whole path"),
        (Config { files: " , ".into(), ..config.clone() }, "no file"),
        (Config { files: "a/*".into(), ..config.clone() }, "without folders"),
        (Config { poll_s: 0, ..config.clone() }, "poll_s"),
        (Config { max_bytes: 0, ..config.clone() }, "max_bytes"),
        (Config { companion: Some("ok".into()), ..config.clone() }, ".ok"),
    ] {
        assert!(wrong.check().unwrap_err().contains(word), "{word}");
    }
    assert!(toml::from_str::<Config>("dir = \"/x\"\nglob = \"*\"").is_err());
}
