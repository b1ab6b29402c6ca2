//! Updates with real processes: the packaged binary as the loader, programs that end at once or run well, installations that
//! are killed, and what the audit trail says of it all.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use bedside::demo::template::Dice;
use serde_json::Value;

const KILLS: u64 = 25;

fn binary() -> PathBuf {
    env!("CARGO_BIN_EXE_bedside").into()
}

/// A box and its publisher, in one folder.
struct Rig {
    dir: tempfile::TempDir,
}

impl Rig {
    fn new() -> Self {
        let rig = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(rig.path("secrets")).unwrap();
        let [root, release] = ["root.key", "release.key"].map(|name| {
            let made = rig.bedside(&["update", "keygen", &rig.text(name)]);
            String::from_utf8(made.stdout).unwrap().trim().to_owned()
        });
        rig.bedside(&[
            "update",
            "root",
            &rig.text("roots"),
            "--root-key",
            &root,
            "--release-key",
            &release,
            "--expires",
            "2040-01-01",
            "--sign",
            &rig.text("root.key"),
        ]);
        rig.configure("root", "/1.json");
        rig
    }

    fn configure(&self, word: &str, root: &str) {
        let text = format!(
            "secrets = \"{}\"\n[site]\nname = \"Rig\"\n[buffer]\ndir = \"{}\"\n[desk]\nlisten = \"127.0.0.1:0\"\n\
             [update]\n{word} = \"{}{root}\"\nconfirm_after_s = 5\n",
            self.text("secrets"),
            self.text("data"),
            self.text("roots"),
        );
        fs::write(self.path("bedside.toml"), text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command
            .args(arguments)
            .env("BEDSIDE_CONFIG", self.path("bedside.toml"))
            .env_remove("BEDSIDE_PROGRAM");
        command
    }

    fn tried(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn bedside(&self, arguments: &[&str]) -> Output {
        let done = self.tried(arguments);
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
        done
    }

    /// An update whose program is this script.
    fn update(&self, number: u64, script: &str) -> String {
        let program = self.path("bedside-program");
        fs::write(&program, script).unwrap();
        let named = self.path(&format!("bedside-{}", bedside::update::architecture()));
        fs::rename(program, &named).unwrap();
        let file = self.text(&format!("{number}.update"));
        drop(fs::remove_file(&file));
        self.bedside(&[
            "update",
            "release",
            &file,
            "--roots",
            &self.text("roots"),
            "--number",
            &number.to_string(),
            "--expires",
            "2040-01-01",
            "--sign",
            &self.text("release.key"),
            named.to_str().unwrap(),
        ]);
        file
    }

    /// A new program that runs as well as this one, and says that it does.
    fn good(&self, word: &str) -> String {
        let (said, binary) = (self.text(word), binary());
        format!("#!/bin/sh\n[ \"$1\" = run ] && echo started >> {said}\nexec {} \"$@\"\n", binary.display())
    }

    fn run(&self) -> Child {
        self.command(&["run"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    fn status(&self) -> Value {
        serde_json::from_slice(&self.bedside(&["update", "status", "--json"]).stdout).unwrap()
    }

    fn until(&self, why: &str, what: impl Fn(&Value) -> bool) {
        let began = Instant::now();
        while !what(&self.status()) {
            assert!(began.elapsed() < Duration::from_secs(90), "{why}: {}", self.status());
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// What the audit trail says of updates, once the box has taken all lines.
    fn trail(&self) -> Vec<String> {
        let began = Instant::now();
        while ["told.ndjson", "told.taken"]
            .iter()
            .any(|name| fs::metadata(self.path("data/program").join(name)).is_ok_and(|about| about.len() > 0))
        {
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "the box does not take what was done into its trail"
            );
            std::thread::sleep(Duration::from_millis(100));
        }
        let rows = self.bedside(&["audit", "export", "--as", "rows"]).stdout;
        let rows = String::from_utf8(rows).unwrap();
        let rows = rows.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let rows = rows.filter(|row| row["what"].as_str().unwrap().starts_with("update."));
        rows.map(|row| format!("{} {}", row["what"].as_str().unwrap(), row["outcome"].as_str().unwrap()))
            .collect()
    }
}

fn stop(mut child: Child) {
    Command::new("kill").arg(child.id().to_string()).status().unwrap();
    let began = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if began.elapsed() > Duration::from_secs(30) {
            child.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_box_takes_a_good_update_and_leaves_a_bad_one_after_three_starts() {
    let rig = Rig::new();
    let early = rig.tried(&["update", "install", &rig.update(1, "#!/bin/sh\nexit 1\n")]);
    assert!(String::from_utf8_lossy(&early.stderr).contains("start the box once"));
    let running = rig.run();
    rig.until("the box starts", |_| rig.path("data/bedside.db").exists());
    let good = rig.update(2, &rig.good("good"));
    rig.bedside(&["update", "check", &good]);
    rig.bedside(&["update", "install", &good]);
    assert!(!rig.path("good").exists(), "nothing is started by installing");
    stop(running);
    let running = rig.run();
    rig.until("the new program proves itself", |status| status["state"]["confirmed"] == true);
    assert!(fs::read_to_string(rig.path("good")).unwrap().lines().count() == 1);
    let older = rig.tried(&["update", "install", &rig.update(1, "#!/bin/sh\nexit 0\n")]);
    assert!(!older.status.success());
    rig.bedside(&["update", "install", &rig.update(3, "#!/bin/sh\nexit 1\n")]);
    stop(running);
    for _ in 0..3 {
        assert_eq!(rig.run().wait().unwrap().code(), Some(1), "the bad program ends at once");
    }
    let running = rig.run();
    rig.until("the box goes back", |status| status["state"]["gone_back"]["release"] == 3);
    rig.until("to the good program", |_| fs::read_to_string(rig.path("good")).unwrap().lines().count() == 2);
    let trail = rig.trail();
    for wanted in [
        "update.check done",
        "update.install done",
        "update.start done",
        "update.confirm done",
        "update.install refused",
        "update.back done",
    ] {
        assert!(trail.iter().any(|row| row == wanted), "{wanted} is not among {trail:?}");
    }
    assert_eq!(trail.iter().filter(|row| *row == "update.start done").count(), 4, "{trail:?}");
    rig.bedside(&["update", "back"]);
    stop(running);
    let running = rig.run();
    rig.until("the package's own program runs", |status| status["state"]["chosen"].is_null());
    assert_eq!(fs::read_to_string(rig.path("good")).unwrap().lines().count(), 2);
    stop(running);
}

#[test]
fn a_program_that_cannot_even_be_begun_is_left_at_once() {
    let rig = Rig::new();
    fs::create_dir(rig.path("data")).unwrap();
    rig.bedside(&["update", "install", &rig.update(2, "#!/no/such/interpreter\n")]);
    let running = rig.run();
    rig.until("the box goes back", |status| status["state"]["gone_back"]["release"] == 2);
    rig.until("and runs", |_| rig.path("data/bedside.db").exists());
    stop(running);
}

#[test]
fn a_configuration_without_a_root_refuses_every_update_and_says_what_to_do() {
    let rig = Rig::new();
    fs::create_dir(rig.path("data")).unwrap();
    let file = rig.update(2, "#!/bin/sh\n");
    let text = fs::read_to_string(rig.path("bedside.toml")).unwrap();
    fs::write(rig.path("bedside.toml"), text.split("[update]").next().unwrap()).unwrap();
    let refused = rig.tried(&["update", "install", &file]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("[update]\nroot ="), "{said}");
    assert!(fs::read_to_string(rig.path("data/program/told.ndjson")).unwrap().contains("refused"));
}

#[test]
fn an_installation_that_is_killed_at_any_moment_leaves_a_program_that_starts() {
    let rig = Rig::new();
    fs::create_dir(rig.path("data")).unwrap();
    let file = rig.update(2, &format!("#!/bin/sh\nexit 42\n#{}\n", "x".repeat(8 << 20)));
    let began = Instant::now();
    rig.bedside(&["update", "check", &file]);
    let whole = u64::try_from(began.elapsed().as_millis()).unwrap() * 2;
    let mut dice = Dice(7);
    let (mut killed, mut done) = (0, 0);
    for _ in 0..KILLS {
        let mut child = rig.command(&["update", "install", &file]).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(dice.below(whole)));
        drop(child.kill());
        killed += u32::from(child.wait().unwrap().signal() == Some(9));
        let status = rig.status();
        if status["state"]["chosen"].is_null() {
            continue;
        }
        done += 1;
        assert_eq!(rig.run().wait().unwrap().code(), Some(42), "what was chosen is whole");
        forget(&rig.path("data/program"));
    }
    assert!(killed > KILLS as u32 / 3, "{killed} of {KILLS} were killed, {done} done");
}

fn forget(programs: &Path) {
    fs::remove_file(programs.join("state.json")).unwrap();
    fs::remove_dir_all(programs.join("a")).unwrap();
}
