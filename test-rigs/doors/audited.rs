//! The audit trail of the real binary: each action is one line, what cannot be written down is not done while devices are
//! heard, a tampered trail is found at the command line, and whoever keeps such trails gets all of it.

use std::process::{Command, Output};

use rusqlite::Connection;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use crate::clinic::{Clinic, PATIENCE, Plan};
use crate::common;
use crate::speak::{Line, oru};

fn link(port: u16) -> String {
    format!(
        "[[link]]\nname = \"monitors\"\nprofile = \"ihe/pcd01-monitor\"\nmllp = {{ listen = \"127.0.0.1:{port}\" }}\n"
    )
}

fn audit(clinic: &Clinic, arguments: &[&str]) -> Output {
    let config = clinic.dir.path().join("bedside.toml");
    Command::new(common::binary()).arg("audit").args(arguments).arg("--config").arg(config).output().unwrap()
}

/// The trail as the command line exports it: `who what target outcome`.
fn trail(clinic: &Clinic) -> Vec<String> {
    let said = audit(clinic, &["export", "--as", "rows"]);
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let text = String::from_utf8(said.stdout).unwrap();
    let rows = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let word = |row: &Value, name: &str| row[name].as_str().unwrap_or("-").to_owned();
    rows.map(|row| ["who", "what", "target", "outcome"].map(|name| word(&row, name)).join(" ")).collect()
}

fn database(clinic: &Clinic) -> Connection {
    Connection::open(clinic.dir.path().join("data/bedside.db")).unwrap()
}

/// What somebody does, and the one line it leaves.
async fn script(clinic: &Clinic, held: i64) {
    let entry = format!("entry {held}");
    let form = |value: Value| value.to_string();
    let login = form(json!({ "username": "anna", "password": "correct horse battery rig" }));
    let wrong = form(json!({ "username": "anna", "password": "wrong horse battery rig" }));
    let order = form(json!({ "specimen": "S-1", "tests": ["2345-7"] }));
    let upstream = "anna upstream.test - done".to_owned();
    let steps: Vec<(&str, String, String, u16, String)> = vec![
        ("POST", "login".into(), wrong, 401, "unknown login anna refused".into()),
        ("GET", "overview".into(), String::new(), 200, "anna live.view values of all devices done".into()),
        ("GET", "entries?state=held".into(), String::new(), 200, "anna entry.list entries done".into()),
        ("GET", format!("entries/{held}"), String::new(), 200, format!("anna entry.view {entry} done")),
        (
            "POST",
            "people".into(),
            form(json!({ "text": "doe" })),
            200,
            "anna patient.search 0 found done".into(),
        ),
        ("GET", "places".into(), String::new(), 200, "anna patient.places 0 places done".into()),
        ("GET", "associations".into(), String::new(), 200, "anna association.list associations done".into()),
        ("POST", "worklist".into(), order, 201, "anna worklist.add an order of 1 test done".into()),
        ("GET", "worklist".into(), String::new(), 200, "anna worklist.list orders done".into()),
        ("POST", "worklist/1/cancel".into(), String::new(), 204, "anna worklist.cancel order 1 done".into()),
        ("POST", "upstream/test".into(), String::new(), 200, upstream),
        ("GET", "audit".into(), String::new(), 200, "anna audit.view the audit trail done".into()),
        ("GET", "audit/export".into(), String::new(), 200, "anna audit.export FHIR AuditEvent done".into()),
        (
            "POST",
            format!("entries/{held}/release"),
            String::new(),
            202,
            format!("anna entry.release {held} done"),
        ),
        // The last one: whoever logs in again ends the session before.
        ("POST", "login".into(), login, 200, "anna login - done".into()),
    ];
    for (method, path, body, status, line) in steps {
        let before = trail(clinic).len();
        let path = format!("/api/v1/{path}");
        let reply = match method {
            "GET" => clinic.desk.get(&path).await,
            _ => clinic.desk.post(&path, &body).await,
        };
        assert_eq!(reply.status, status, "{method} {path}: {}", reply.text);
        let after = trail(clinic);
        assert_eq!(after[before..], [line], "{method} {path} is exactly one line");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_action_is_one_line_and_the_trail_is_whole_until_somebody_changes_it() {
    let port = common::free_port();
    let mut clinic = Clinic::open("doors-audited", link(port)).await;
    assert_eq!(Line::to(port).await.say(&oru("A1", "", "61", "")).await.code, "AA");
    let held = async || clinic.entries("held").await.first().map(|entry| entry["id"].as_i64().unwrap());
    common::until(PATIENCE, "the frame is held", async || held().await.is_some()).await;
    let held = held().await.unwrap();
    // What a helper of this rig looked at is looked at again in the script, some minutes later.
    forget_looks(&mut clinic);
    script(&clinic, held).await;
    let first = &trail(&clinic)[..3];
    assert_eq!(first[0], format!("bedside box.start version {} done", env!("CARGO_PKG_VERSION")));
    assert_eq!(first[1], "anna setup - done");

    let sound = audit(&clinic, &["verify", "--json"]);
    let sound: Value = serde_json::from_slice(&sound.stdout).unwrap();
    assert_eq!((&sound["sound"], &sound["broken"]), (&json!(true), &Value::Null), "{sound}");
    assert!(clinic.bedside.stop().success());
    assert_eq!(trail(&clinic).last().unwrap(), "bedside box.stop - done");
    let sealed = audit(&clinic, &["verify", "--json"]);
    let sealed: Value = serde_json::from_slice(&sealed.stdout).unwrap();
    assert_eq!((&sealed["sound"], &sealed["sealed_rows"]), (&json!(true), &sealed["rows"]), "{sealed}");
    tampered(&clinic, sealed["rows"].as_i64().unwrap());
}

/// Starts the box anew, so that it remembers no look.
fn forget_looks(clinic: &mut Clinic) {
    assert!(clinic.bedside.stop().success());
    clinic.restart();
}

fn tampered(clinic: &Clinic, rows: i64) {
    let path = clinic.dir.path().join("data/bedside.db");
    let change = |sql: &str| {
        let conn = database(clinic);
        conn.execute_batch(sql).unwrap();
        conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    };
    change("DROP TRIGGER audit_is_not_changed; DROP TRIGGER audit_is_not_deleted");
    let whole = std::fs::read(&path).unwrap();
    let cut = format!(
        "DELETE FROM audit WHERE id = {rows}; UPDATE tally SET value = {0} WHERE name = 'audit_rows'; \
         UPDATE tally SET value = (SELECT hash FROM audit WHERE id = {0}) WHERE name = 'audit_head'",
        rows - 1
    );
    for (tamper, row, word) in [
        ("UPDATE audit SET who = 'eve' WHERE id = 2", 2, "was changed"),
        ("UPDATE audit SET at = at + 1 WHERE id = 3", 3, "was changed"),
        ("DELETE FROM audit WHERE id = 4", 4, "is missing"),
        (cut.as_str(), rows, "missing at the end"),
    ] {
        change(tamper);
        let said = audit(clinic, &["verify"]);
        let text = String::from_utf8(said.stdout).unwrap();
        assert_eq!(said.status.code(), Some(1), "{tamper}: {text}");
        assert!(text.contains(&format!("at row {row}: ")) && text.contains(word), "{tamper}: {text}");
        std::fs::write(&path, &whole).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_written_down_is_not_done_and_devices_are_heard() {
    let port = common::free_port();
    let clinic = Clinic::open("doors-unaudited", link(port)).await;
    let mut line = Line::to(port).await;
    assert_eq!(line.say(&oru("U1", "", "61", "")).await.code, "AA");
    common::until(PATIENCE, "the frame is held", async || clinic.entries("held").await.len() == 1).await;
    let held = clinic.entries("held").await[0]["id"].as_i64().unwrap();
    database(&clinic)
        .execute_batch("CREATE TRIGGER broken BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'no'); END")
        .unwrap();
    let order = json!({ "specimen": "S-1", "tests": ["2345-7"] }).to_string();
    for (path, body) in [
        (format!("entries/{held}/release"), ""),
        ("worklist".into(), order.as_str()),
        ("upstream/test".into(), ""),
    ] {
        let refused = clinic.desk.post(&format!("/api/v1/{path}"), body).await;
        assert!(matches!(refused.status, 409 | 503), "{path}: {} {}", refused.status, refused.text);
    }
    assert_eq!(clinic.desk.get(&format!("/api/v1/entries/{held}")).await.status, 503, "nor shown");
    assert_eq!(line.say(&oru("U2", "P-1", "62", "")).await.code, "AA", "a device is heard");
    common::until(PATIENCE, "it is delivered too", async || {
        clinic.bedside.status()["counts"]["accepted"] == 1
    })
    .await;
    assert_eq!(clinic.bedside.status()["counts"]["held"], 1, "nothing was released");
    database(&clinic).execute_batch("DROP TRIGGER broken").unwrap();
    assert_eq!(clinic.desk.post(&format!("/api/v1/entries/{held}/release"), "").await.status, 202);
}

/// The messages of a syslog stream with counted octets.
async fn syslog(listener: &TcpListener, rows: usize) -> Vec<String> {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut all = Vec::new();
    while all.len() < rows {
        let mut length = String::new();
        loop {
            match stream.read_u8().await.unwrap() {
                b' ' => break,
                digit => length.push(char::from(digit)),
            }
        }
        let mut message = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut message).await.unwrap();
        all.push(String::from_utf8(message).unwrap());
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_trail_goes_to_a_syslog_receiver_and_to_a_fhir_server() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut clinic = Clinic::planned(Plan::of("doors-forwarded", String::new())).await;
    let before = trail(&clinic).len();
    let forwarding = format!(
        "[audit]\nsyslog = {{ address = \"{}\", over = \"tcp\" }}\n\
         fhir = {{ base = \"{}\", client_id = \"bedside-rig\", key_secret = \"upstream-key\", scopes = [\"system/*.cruds\"] }}\n",
        listener.local_addr().unwrap(),
        clinic.server.running.base_url
    );
    clinic.restart_with(|config| config.replacen("[delivery]", &format!("{forwarding}[delivery]"), 1));
    let messages = tokio::time::timeout(PATIENCE, syslog(&listener, before + 3)).await.unwrap();
    for (at, (message, line)) in messages.iter().zip(trail(&clinic)).enumerate() {
        assert!(message.contains(&format!("\u{FEFF}row={} ", at + 1)), "{message}");
        let what = line.split(' ').nth(1).unwrap();
        assert!(message.contains(&format!("what=\"{what}\"")), "{line}: {message}");
    }
    let words: Vec<_> =
        trail(&clinic).iter().map(|line| line.split(' ').nth(1).unwrap().to_owned()).collect();
    assert!(words.contains(&"config.change".to_owned()), "another configuration is told: {words:?}");
    let store = &clinic.server.running.store;
    common::until(PATIENCE, "every row is an AuditEvent there", async || {
        let (there, here) = (store.ids("AuditEvent").len(), trail(&clinic).len());
        println!("{there} of {here} rows; {}", clinic.bedside.log());
        there == here
    })
    .await;
    let events: Vec<_> =
        store.ids("AuditEvent").iter().map(|id| store.resource("AuditEvent", id).unwrap()).collect();
    assert!(events.iter().all(|event| event["source"]["site"] == "Rig"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_name_of_a_patient_breaks_a_line_of_the_log() {
    let port = common::free_port();
    let mut clinic = Clinic::open("doors-log", link(port)).await;
    let names = [
        "Doe\\X0A\\forged line",
        "Doe\u{1b}[2J\u{1b}]0;x\u{7}",
        "\u{202E}enaj",
        "Doe\\.br\\{\"level\":\"ERROR\"}",
    ];
    for (at, name) in names.iter().enumerate() {
        let message = oru(&format!("L{at}"), "P-1", &format!("{}", 60 + at), "").replace("Doe^Jane", name);
        let answer = Line::to(port).await.say(&message).await;
        assert!(matches!(answer.code.as_str(), "AA" | "AR" | "AE"), "{}", answer.code);
    }
    assert!(clinic.bedside.stop().success());
    let log = clinic.bedside.log();
    for line in log.lines().filter(|line| line.starts_with('{')) {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}");
    }
    for bad in ["\u{1b}", "forged line", "enaj", "\"level\":\"ERROR\"}\""] {
        assert!(!log.contains(bad), "{bad:?} in the log");
    }
}
