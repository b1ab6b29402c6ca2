//! Faults of the disk and of the files, and what the buffer makes of them.

use std::fs;

use rusqlite::Connection;

use super::*;

fn database(rig: &Rig) -> PathBuf {
    rig.dir.path().join("bedside.db")
}

/// Does something to the writer's own connection, in its thread.
async fn meddle(buffer: &Buffer, with: impl FnOnce(&mut store::Store) + Send + 'static) {
    let (done, wait) = oneshot::channel();
    let meddle = move |store: &mut store::Store| {
        with(store);
        done.send(()).unwrap();
    };
    buffer.inner.queue(Job::Meddle(Box::new(meddle))).unwrap();
    wait.await.unwrap();
}

/// Changes one byte of a kept frame where SQLite does not notice: in the file, found by its content.
fn flip(path: &Path, content: &[u8]) {
    let mut file = fs::read(path).unwrap();
    let at = file.windows(content.len()).position(|window| window == content).unwrap();
    file[at] ^= 0x01;
    fs::write(path, file).unwrap();
}

#[tokio::test]
async fn a_second_instance_is_refused_at_once_with_a_sentence() {
    let rig = Rig::new();
    let Err(error) = Buffer::open(&config(rig.dir.path()), rig.clock.clone()) else { panic!("both run") };
    assert!(matches!(error, BufferError::InUse { .. }));
    let told = error.to_string();
    assert!(
        told.contains(rig.dir.path().to_str().unwrap()) && told.contains("in use by another Bedside"),
        "{told}"
    );
    rig.keep("the first goes on").await;
}

#[tokio::test]
async fn a_newer_database_is_refused_and_not_written() {
    let rig = Rig::new();
    rig.keep("one").await;
    rig.buffer.close().await;
    let conn = Connection::open(database(&rig)).unwrap();
    conn.execute_batch("PRAGMA user_version = 99; PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    drop(conn);
    let before = fs::read(database(&rig)).unwrap();
    let Err(error) = Buffer::open(&config(rig.dir.path()), rig.clock.clone()) else {
        panic!("it was opened")
    };
    assert!(matches!(error, BufferError::Newer { found: 99, known: schema::VERSION, .. }), "{error}");
    assert!(error.to_string().contains("written by a newer Bedside"));
    assert_eq!(fs::read(database(&rig)).unwrap(), before);
}

#[tokio::test]
async fn another_programs_database_is_refused_and_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bedside.db");
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE x (y); PRAGMA user_version = 1;").unwrap();
    let before = fs::read(&path).unwrap();
    assert!(matches!(
        Buffer::open(&config(dir.path()), TestClock::at(START)),
        Err(BufferError::Foreign { .. })
    ));
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn a_changed_bit_is_found_held_and_never_offered() {
    let mut rig = Rig::new();
    let said = |n: i64| format!("<frame {n} {}>", "x".repeat(1_700));
    // So many that the changed one is not among the last, which are verified at the start.
    for n in 1..=200 {
        rig.keep(said(n)).await;
    }
    rig.buffer.close().await;
    flip(&database(&rig), said(50).as_bytes());
    rig.reopen().await;

    let offered = rig.waiting().await;
    assert_eq!(offered.len(), 199);
    assert!(!offered.contains(&50));
    let reader = rig.reader();
    until("the entry is held", || reader.counts().held == 1).await;
    let detail = reader.entry(50).await.unwrap().unwrap();
    assert!(!detail.intact);
    assert!(detail.row.reason.unwrap().starts_with("the kept bytes no longer match their SHA-256"));
    assert_eq!(reader.health().alarms[0].code, "bytes-changed");

    let again = rig.buffer.keep(frame("ward", said(50))).await.unwrap();
    assert_eq!(again, Kept { id: 201, duplicate: false }, "what the disk changed turns no repetition away");
}

#[tokio::test]
async fn a_changed_bit_in_the_last_frames_is_found_at_the_start() {
    let mut rig = Rig::new();
    rig.keep("the last words of a device").await;
    rig.buffer.close().await;
    flip(&database(&rig), b"the last words of a device");
    rig.reopen().await;
    assert_eq!(rig.state(1).await, State::Held);
    assert_eq!(rig.reader().health().alarms[0].code, "bytes-changed");
}

#[tokio::test]
async fn no_pages_left_refuses_as_full_and_goes_on_when_there_are() {
    let rig = Rig::new();
    rig.keep("one").await;
    meddle(&rig.buffer, |store| {
        let limit: i64 = store.conn.query_row("PRAGMA max_page_count = 120", [], |row| row.get(0)).unwrap();
        assert_eq!(limit, 120);
    })
    .await;
    let refused = rig.buffer.keep(frame("ward", noise(1, 400_000))).await.unwrap_err();
    assert!(refused.full);
    assert!(rig.reader().health().full);
    rig.mark(1, sent()).await.expect("marks are written all the same");
    let counts = rig.reader().counts();
    assert_eq!((counts.kept, counts.sent), (1, 1), "the refused frame left no trace");
    meddle(&rig.buffer, |store| {
        store.conn.query_row("PRAGMA max_page_count = 1000000", [], |row| row.get::<_, i64>(0)).unwrap();
    })
    .await;
    let reader = rig.reader();
    until("it is tried again", || !reader.health().full).await;
    assert_eq!(
        rig.buffer.keep(frame("ward", noise(1, 400_000))).await.unwrap(),
        Kept { id: 2, duplicate: false }
    );
    assert_eq!(rig.reader().figures().reopened, 0);
}

#[tokio::test]
async fn after_an_error_the_connection_is_not_used_again() {
    let rig = Rig::new();
    rig.keep("one").await;
    meddle(&rig.buffer, |store| store.conn.execute_batch("PRAGMA query_only = ON").unwrap()).await;
    let refused = rig.buffer.keep(frame("ward", "two")).await.unwrap_err();
    assert!(!refused.full && refused.reason.contains("could not be written"), "{refused}");
    assert_eq!(rig.buffer.keep(frame("ward", "two")).await.unwrap(), Kept { id: 2, duplicate: false });
    let reader = rig.reader();
    assert_eq!((reader.figures().reopened, reader.figures().refused), (1, 1));
    assert!(reader.health().writing && reader.health().alarms.is_empty());
    assert!(reader.entry(1).await.unwrap().unwrap().intact);
}

#[tokio::test]
async fn frames_that_vanish_from_under_us_are_missed_and_their_ids_not_given_again() {
    let rig = Rig::new();
    for n in 0..5 {
        rig.keep(format!("{n}")).await;
    }
    meddle(&rig.buffer, |store| {
        let vanish = "DELETE FROM frame WHERE id > 3; DELETE FROM entry WHERE id > 3; PRAGMA query_only = ON";
        store.conn.execute_batch(vanish).unwrap();
    })
    .await;
    assert!(rig.buffer.keep(frame("ward", "refused")).await.is_err());
    assert_eq!(rig.keep("next").await, 6);
    let reader = rig.reader();
    let alarm = &reader.health().alarms[0];
    assert_eq!(alarm.code, "acknowledged-missing");
    assert!(alarm.title.starts_with("2 acknowledged frames are missing"), "{}", alarm.title);
    assert_eq!(reader.counts(), Counts { waiting: 4, gone: 2, kept: 6, ..Counts::default() });
}

#[tokio::test]
async fn garbage_in_place_of_the_database_is_moved_aside_and_a_new_one_begun() {
    let mut rig = Rig::new();
    rig.buffer.close().await;
    let garbage = b"this is not a database, and it is long enough to be taken for one".repeat(100);
    fs::write(database(&rig), &garbage).unwrap();
    rig.reopen().await;
    assert_eq!(rig.keep("one").await, 1);
    let health = rig.reader().health();
    let alarm = health.alarms.iter().find(|alarm| alarm.code == "database-salvaged").unwrap();
    let name = alarm.title.rsplit(' ').next().unwrap();
    assert_eq!(fs::read(rig.dir.path().join(name)).unwrap(), garbage);
    rig.reopen().await;
    let health = rig.reader().health();
    assert_eq!(health.alarms[0].code, "database-set-aside", "it is not forgotten at the next start");
}

#[tokio::test]
async fn what_can_be_read_of_a_damaged_database_is_copied_over() {
    let mut rig = Rig::new();
    let said = |n: i64| format!("<frame {n:04} {}>", "x".repeat(1_700));
    for n in 1..=300 {
        rig.keep(said(n)).await;
    }
    rig.mark(2, sent()).await.unwrap();
    rig.mark(2, accepted()).await.unwrap();
    rig.buffer.put_setting("site", "Ward 7").await.unwrap();
    rig.buffer
        .audit(NewAudit { who: "ada".into(), what: "login".into(), detail: String::new() })
        .await
        .unwrap();
    rig.buffer.close().await;

    // A page in the middle of the frames is lost, and a bit of another frame is changed.
    let mut file = fs::read(database(&rig)).unwrap();
    let at = file.windows(11).position(|window| window == b"<frame 0150").unwrap();
    let page = at / 4_096 * 4_096;
    file[page..page + 4_096].fill(0xEE);
    fs::write(database(&rig), file).unwrap();
    flip(&database(&rig), said(20).as_bytes());
    rig.reopen().await;

    let reader = rig.reader();
    let counts = reader.counts();
    assert!(counts.kept == 300 && (1..=4).contains(&counts.gone), "{counts:?}");
    assert_eq!((counts.accepted, counts.held), (1, 1));
    let title =
        reader.health().alarms.iter().find(|alarm| alarm.code == "database-salvaged").unwrap().title.clone();
    assert!(title.contains(&format!("{} frames were copied over", 300 - counts.gone)), "{title}");
    for n in [1, 2, 19, 21, 100, 299, 300] {
        assert_eq!(reader.entry(n).await.unwrap().unwrap().bytes, said(n).as_bytes());
    }
    assert!(reader.entry(150).await.unwrap().is_none());
    assert_eq!(reader.setting("site").await.unwrap().as_deref(), Some("Ward 7"));
    assert_eq!(reader.verify_audit().await.unwrap(), AuditCheck { rows: 1, broken: None });
    assert!(
        rig.buffer.keep(frame("ward", said(300))).await.unwrap().duplicate,
        "repetitions are known again"
    );
    assert_eq!(rig.keep("next").await, 301);
    assert_eq!(
        rig.reader().waiting(0, 1_000, 1 << 22).await.unwrap().entries.len() as u64,
        reader.counts().waiting
    );
}

#[tokio::test]
async fn a_database_cut_short_is_salvaged_too() {
    let mut rig = Rig::new();
    for n in 1..=300 {
        rig.keep(format!("<frame {n} {}>", "x".repeat(1_700))).await;
    }
    rig.buffer.close().await;
    let file = fs::OpenOptions::new().write(true).open(database(&rig)).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    rig.reopen().await;
    let counts = rig.reader().counts();
    assert!(counts.waiting > 50, "{counts:?}");
    assert!(rig.reader().health().alarms.iter().any(|alarm| alarm.code == "database-salvaged"));
    rig.keep("and it goes on").await;
}

#[tokio::test]
async fn a_migration_cut_off_before_its_commit_never_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bedside.db");
    fs::write(&path, b"").unwrap();
    let conn = Connection::open(&path).unwrap();
    conn.execute_batch("PRAGMA journal_mode = WAL; BEGIN EXCLUSIVE; CREATE TABLE link (id INTEGER);")
        .unwrap();
    drop(conn);
    let buffer = Buffer::open(&config(dir.path()), TestClock::at(START)).unwrap();
    assert_eq!(buffer.keep(frame("ward", "one")).await.unwrap().id, 1);
}

#[tokio::test]
async fn an_edited_audit_trail_is_found_out() {
    let edits = [
        ("UPDATE audit SET who = 'eve' WHERE id = 3", 3, "was changed"),
        ("UPDATE audit SET at = at + 1 WHERE id = 2", 2, "was changed"),
        ("DELETE FROM audit WHERE id = 2", 2, "is missing"),
        ("DELETE FROM audit WHERE id = 5", 5, "missing at the end"),
        ("DELETE FROM audit", 1, "missing at the end"),
    ];
    for (edit, at, why) in edits {
        let rig = Rig::new();
        for n in 1..=5 {
            let row = NewAudit { who: format!("user {n}"), what: "login".into(), detail: "".into() };
            rig.buffer.audit(row).await.unwrap();
        }
        assert_eq!(rig.reader().verify_audit().await.unwrap(), AuditCheck { rows: 5, broken: None });
        let open = "DROP TRIGGER audit_is_not_changed; DROP TRIGGER audit_is_not_deleted; ";
        Connection::open(database(&rig)).unwrap().execute_batch(&format!("{open}{edit}")).unwrap();
        let (id, told) = rig.reader().verify_audit().await.unwrap().broken.expect(edit);
        assert!(id == at && told.contains(why), "{edit}: {id} {told}");
    }
}

#[tokio::test]
async fn damage_met_while_reading_is_salvaged_while_the_box_runs() {
    let rig = Rig::new();
    let said = |n: i64| format!("<frame {n:04} {}>", "x".repeat(1_700));
    for n in 1..=300 {
        rig.keep(said(n)).await;
    }
    // All of it in the file, nothing of it in the log: a log that still held the page would mend it.
    meddle(&rig.buffer, |store| {
        let busy: i64 =
            store.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).unwrap();
        assert_eq!(busy, 0);
    })
    .await;
    let mut file = fs::read(database(&rig)).unwrap();
    let at = file.windows(11).position(|window| window == b"<frame 0150").unwrap();
    let page = at / 4_096 * 4_096;
    file[page..page + 4_096].fill(0xEE);
    fs::write(database(&rig), file).unwrap();

    let reader = rig.reader();
    let mut met = false;
    for n in 1..=300 {
        met |= reader.entry(n).await.is_err();
    }
    assert!(met, "a reader met the damage");
    until("the database is salvaged", || {
        reader.health().alarms.iter().any(|alarm| alarm.code == "database-salvaged")
    })
    .await;
    until("it is written again", || reader.health().writing).await;
    assert_eq!(rig.keep("and it goes on").await, 301);
    assert_eq!(reader.entry(300).await.unwrap().unwrap().bytes, said(300).as_bytes());
    assert!(reader.counts().gone <= 4, "{:?}", reader.counts());
}

#[tokio::test]
async fn an_entry_without_its_frame_is_held_and_stops_nobody() {
    let rig = Rig::new();
    for n in 0..3 {
        rig.keep(format!("{n}")).await;
    }
    meddle(&rig.buffer, |store| {
        store.conn.execute("DELETE FROM frame WHERE id = 2", []).unwrap();
    })
    .await;
    assert_eq!(rig.waiting().await, [1, 3]);
    let reader = rig.reader();
    until("it is held", || reader.counts().held == 1).await;
}

#[tokio::test]
async fn what_is_held_because_the_disk_could_not_be_read_waits_again_when_it_is_opened() {
    let mut rig = Rig::new();
    let (unread, wrong) = (rig.keep("one").await, rig.keep("two").await);
    let why = crate::identity::Unavailable("disk I/O error".into());
    let reason = format!("whose it is cannot be told: {why}; release it when the box is well again");
    rig.mark(unread, Transition::Held { reason, answer: None }).await.unwrap();
    rig.mark(wrong, Transition::Held { reason: "no patient".into(), answer: None }).await.unwrap();
    rig.reopen().await;
    assert_eq!((rig.state(unread).await, rig.state(wrong).await), (State::Waiting, State::Held));
    assert_eq!((rig.reader().counts().waiting, rig.reader().counts().held), (1, 1));
}
