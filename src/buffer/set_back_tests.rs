use std::sync::Arc;

use bytes::Bytes;

use super::super::{Buffer, Config, NewAudit, NewFrame, back_up};
use super::*;
use crate::clock::{Clock, SystemClock};

fn config(dir: &Path) -> Config {
    Config { dir: dir.to_path_buf(), ..Config::default() }
}

fn frame(text: &'static str) -> NewFrame {
    NewFrame {
        link: "ward".into(),
        peer: "10.0.0.5".into(),
        received: SystemClock::default().now(),
        bytes: Bytes::from_static(text.as_bytes()),
        topic: None,
        dedupe: false,
        warnings: Vec::new(),
        held: None,
    }
}

/// Two frames, a copy, a third frame and a changed setting; then a newer program came and did this.
async fn newer(change: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let clock: crate::clock::SharedClock = Arc::new(SystemClock::default());
    let data = dir.path().join("data");
    let buffer = Buffer::open(&config(&data), clock.clone()).unwrap();
    for text in ["one", "two"] {
        buffer.keep(frame(text)).await.unwrap();
    }
    buffer.put_setting("site", "before").await.unwrap();
    let copy = dir.path().join("copy.backup");
    back_up(&data, &copy, clock.now(), &mut |_| {}).unwrap();
    buffer.keep(frame("three")).await.unwrap();
    buffer.put_setting("site", "after").await.unwrap();
    let row = NewAudit { who: "ada".into(), what: "login".into(), detail: "done".into() };
    buffer.audit(row).await.unwrap();
    buffer.close().await;
    let conn = schema::connect_writing(&data.join("bedside.db")).unwrap();
    conn.execute_batch(change).unwrap();
    let newer = schema::VERSION + 1;
    conn.pragma_update(None, "user_version", newer).unwrap();
    conn.execute("INSERT OR REPLACE INTO tally VALUES ('schema', ?1)", [newer]).unwrap();
    (dir, copy)
}

const GROWN: &str =
    "CREATE TABLE invention (id INTEGER PRIMARY KEY) STRICT; INSERT INTO invention VALUES (1);
                     ALTER TABLE frame ADD COLUMN colour TEXT; ALTER TABLE setting ADD COLUMN since INTEGER;";

#[tokio::test]
async fn an_older_program_finds_everything_it_knows_and_the_newer_database_is_kept() {
    let (dir, copy) = newer(GROWN).await;
    let data = dir.path().join("data");
    let clock: crate::clock::SharedClock = Arc::new(SystemClock::default());
    assert!(Buffer::open(&config(&data), clock.clone()).is_err(), "the newer one cannot be read");
    let done = set_back(&data, schema::VERSION, Some(&copy), clock.now()).unwrap().unwrap();
    assert_eq!((done.frames, done.missing.len()), (1, 0), "{done}");
    assert_eq!(done.unknown, ["invention"]);
    assert!(done.aside.exists() && done.to_string().contains("bedside.db.newer-"), "{done}");
    assert_eq!(set_back(&data, schema::VERSION, Some(&copy), clock.now()).unwrap(), None, "once is enough");
    let buffer = Buffer::open(&config(&data), clock).unwrap();
    let reader = buffer.reader();
    assert_eq!(reader.counts().waiting, 3);
    assert_eq!(reader.setting("site").await.unwrap().as_deref(), Some("after"));
    assert_eq!(&*reader.stored(3).await.unwrap().unwrap().bytes, b"three");
    buffer.keep(frame("four")).await.unwrap();
    buffer.close().await;
    let examined = super::super::examine(&data, &mut |_| {}).unwrap();
    assert!(examined.sound() && examined.frames == 4, "{examined:?}");
    assert!(super::super::verify_trail(&data, None).unwrap().broken.is_none(), "the audit trail goes on");
}

#[tokio::test]
async fn what_cannot_be_told_is_held_and_nobody_stays_on_a_device() {
    let (dir, copy) = newer("ALTER TABLE setting RENAME COLUMN value TO words;").await;
    let data = dir.path().join("data");
    let conn = schema::connect_writing(&copy).unwrap();
    conn.execute_batch(
        "INSERT INTO association (device, person, since, scanned, overrules, author, made) VALUES ('d', '{}', 1, 0, 0, 'ada', 1)",
    )
    .unwrap();
    drop(conn);
    fs::remove_file(with_suffix(&copy, ".manifest")).unwrap();
    let clock: crate::clock::SharedClock = Arc::new(SystemClock::default());
    let done = set_back(&data, schema::VERSION, Some(&copy), clock.now()).unwrap().unwrap();
    assert_eq!((done.frames, done.missing.len()), (1, 1), "{done}");
    let buffer = Buffer::open(&config(&data), clock).unwrap();
    let counts = buffer.reader().counts();
    assert_eq!((counts.waiting, counts.held), (2, 1));
    assert_eq!(buffer.reader().setting("site").await.unwrap().as_deref(), Some("before"));
    buffer.close().await;
    let conn = schema::connect_querying(&data.join("bedside.db")).unwrap();
    let open: i64 =
        conn.query_row("SELECT count(*) FROM association WHERE until IS NULL", [], |row| row.get(0)).unwrap();
    assert_eq!(open, 0, "whoever was on the device then may not be there now");
    drop(conn);
    assert!(super::super::examine(&data, &mut |_| {}).unwrap().sound());
}

#[tokio::test]
async fn without_a_copy_nothing_is_changed() {
    let (dir, _copy) = newer(GROWN).await;
    let data = dir.path().join("data");
    let now = SystemClock::default().now();
    let refused = set_back(&data, schema::VERSION, None, now).unwrap_err();
    assert!(matches!(refused, BufferError::NotAllowed(_)), "{refused}");
    let conn = schema::connect_querying(&data.join("bedside.db")).unwrap();
    let version: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(version, schema::VERSION + 1);
}
