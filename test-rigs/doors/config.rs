//! A wrong configuration, a busy port, secrets that are missing or open to all, and a folder in use.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use crate::clinic::{Clinic, PATIENCE};
use crate::common::{self, Bedside, binary};
use crate::speak::{Line, oru};

fn run(command: &[&str], dir: &Path, config: &str) -> (Option<i32>, String) {
    let path = dir.join("bedside.toml");
    std::fs::write(&path, config).unwrap();
    let Output { status, stderr, .. } =
        Command::new(binary()).args(command).arg("--config").arg(&path).output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

#[test]
fn a_wrong_file_is_told_with_its_line_and_nothing_starts() {
    let dir = common::scratch("doors-config");
    let right = common::mllp_config(dir.path(), common::free_port());
    let link = &right[right.find("[[link]]").unwrap()..];
    let cases = [
        ("unknown key", right.replace("filter =", "fliter ="), vec!["bedside.toml:8:1", "`fliter`"]),
        (
            "wrong zone",
            right.replace("name = \"Rig\"", "name = \"Rig\"\nzone = \"Mars/Base\""),
            vec!["bedside.toml:4", "Mars/Base", "Europe/Berlin"],
        ),
        (
            "one name twice",
            format!("{right}{link}"),
            vec!["bedside.toml:14:8", "two links are called \"monitors\""],
        ),
        (
            "no profile",
            right.replace("ihe/pcd01-monitor", "ihe/none"),
            vec!["bedside.toml:11:11", "there are:", "ihe/pcd01-monitor"],
        ),
        ("half a file", right[..right.len() - 30].to_owned(), vec!["bedside.toml:12"]),
        ("no port number", right.replace("127.0.0.1:", "127.0.0.1;"), vec!["bedside.toml:12"]),
        ("not text", format!("{right}\u{0}"), vec!["bedside.toml:13"]),
    ];
    for (what, config, expected) in cases {
        for command in [&["config", "check"][..], &["run"]] {
            let (code, said) = run(command, dir.path(), &config);
            assert_eq!(code, Some(78), "{what}: {said}");
            for words in &expected {
                assert!(said.contains(words), "{what}: \"{words}\" is not in:\n{said}");
            }
        }
        println!("{what}: told");
    }
    assert!(!dir.path().join("data").exists(), "a wrong configuration touches nothing");
    let missing = dir.path().join("nowhere.toml");
    let said = Command::new(binary()).args(["run", "--config"]).arg(&missing).output().unwrap();
    assert_eq!(said.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&said.stderr).contains("nowhere.toml"));
}

#[test]
fn a_secret_that_is_missing_or_open_to_all_stops_the_start_with_its_name() {
    let dir = common::scratch("doors-secrets");
    let config = format!(
        "{}\n[upstream]\nname = \"U\"\nbase = \"http://127.0.0.1:9/fhir\"\nclient_id = \"c\"\nkey_secret = \"upstream-key\"\n",
        common::mllp_config(dir.path(), common::free_port())
    );
    let (code, said) = run(&["run"], dir.path(), &config);
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("\"upstream-key\" not found") && said.contains("secrets/upstream-key"), "{said}");
    let secret = dir.path().join("secrets/upstream-key");
    std::fs::create_dir_all(secret.parent().unwrap()).unwrap();
    std::fs::write(&secret, "CANARY-not-a-key").unwrap();
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o644)).unwrap();
    let (code, said) = run(&["run"], dir.path(), &config);
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("can be read by others (mode 644)") && said.contains("chmod 600"), "{said}");
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).unwrap();
    let (code, said) = run(&["run"], dir.path(), &config);
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("upstream-key") && !said.contains("CANARY"), "{said}");
}

#[test]
fn a_folder_has_one_master() {
    let dir = common::scratch("doors-lock");
    let port = common::free_port();
    let config = common::mllp_config(dir.path(), port);
    let mut first = Bedside::start(dir.path(), &config, port);
    let (code, said) = run(&["run"], dir.path(), &config);
    assert_eq!(code, Some(75), "{said}");
    assert!(
        said.contains("is in use by another Bedside") && said.contains(&first.child.id().to_string()),
        "{said}"
    );
    assert!(first.stop().success(), "the first one was not disturbed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_port_is_told_and_tried_again_while_other_links_run() {
    let (busy, free) = (common::free_port(), common::free_port());
    let squatter = TcpListener::bind(("127.0.0.1", busy)).unwrap();
    let link = |name: &str, port: u16| {
        format!(
            "[[link]]\nname = \"{name}\"\nprofile = \"ihe/pcd01-monitor\"\nmllp = {{ listen = \"127.0.0.1:{port}\" }}\n"
        )
    };
    let clinic = Clinic::open("doors-port", link("busy", busy) + &link("free", free)).await;
    let (state, detail) = clinic.link("busy").await;
    assert_eq!(state, "retrying");
    assert!(detail.contains(&busy.to_string()) && detail.contains("another program"), "{detail}");
    assert_eq!(Line::to(free).await.say(&oru("F1", "P-1", "71", "")).await.code, "AA");
    drop(squatter);
    common::until(PATIENCE, "the freed port is taken", async || clinic.link("busy").await.0 == "up").await;
    assert_eq!(Line::to(busy).await.say(&oru("B1", "P-1", "72", "")).await.code, "AA");
    clinic.settled(2, 0).await;
}
