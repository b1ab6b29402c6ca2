//! What keeps a full buffer as good as an empty one: purging beside new frames, the ledger, copies of the whole, and
//! verification.

use std::fs;

use super::*;

fn count(rig: &Rig, sql: &str) -> i64 {
    let conn = schema::connect_querying(&rig.dir.path().join("bedside.db")).unwrap();
    conn.query_row(sql, [], |row| row.get(0)).unwrap()
}

async fn deliver(rig: &Rig, id: i64) {
    rig.mark(id, sent()).await.unwrap();
    rig.mark(id, accepted()).await.unwrap();
}

#[tokio::test]
async fn near_the_quota_each_new_frame_takes_old_ones_with_it_and_nobody_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::at(START);
    let config = Config { max_bytes: 8 << 20, ..config(dir.path()) };
    let rig = Rig { buffer: Buffer::open(&config, clock.clone()).unwrap(), dir, clock };
    let held = rig
        .buffer
        .keep(NewFrame { held: Some("look".into()), ..frame("ward", noise(1, 9_000)) })
        .await
        .unwrap();
    for n in 2..=1_200_u32 {
        let id = rig.buffer.keep(frame("ward", noise(n, 9_000))).await.unwrap().id;
        deliver(&rig, id).await;
    }
    let counts = rig.reader().counts();
    assert_eq!(counts.kept, 1_200);
    assert!(counts.gone > 400 && counts.accepted > 200, "{counts:?}");
    assert_eq!(
        (counts.held, rig.state(held.id).await),
        (1, State::Held),
        "what a person must see is never purged"
    );
    assert!(rig.reader().health().bytes <= 8 << 20);
    let reader = rig.reader();
    until("the alarm of no room never was, or is over", || reader.health().alarms.is_empty()).await;
}

#[tokio::test]
async fn what_belongs_to_a_purged_entry_goes_with_it_and_what_others_need_stays() {
    let mut rig = Rig::new();
    for n in 1..=3 {
        let id = rig.keep(format!("{n}")).await;
        let parts = if n == 1 { "[\"only the first\"]" } else { "[\"both others\"]" };
        let attributed = AssociationChange::Attributed { entry: id, parts: parts.into() };
        rig.buffer.change(vec![Change::Association(attributed)]).await.unwrap();
    }
    deliver(&rig, 1).await;
    deliver(&rig, 2).await;
    rig.clock.advance(Duration::from_secs(2 * 86_400));
    rig.buffer.close().await;
    let config = Config { keep_accepted_days: 1, ..config(rig.dir.path()) };
    rig.buffer = Buffer::open(&config, rig.clock.clone()).unwrap();
    // What is old goes beside a frame of today, or in the idle moment after it.
    rig.keep("today").await;
    let reader = rig.reader();
    until("the old ones are purged", || reader.counts().gone == 2).await;
    assert_eq!(count(&rig, "SELECT count(*) FROM attributed"), 1);
    assert_eq!(
        count(&rig, "SELECT count(*) FROM attribution"),
        1,
        "the text went with the last that needed it"
    );
    assert_eq!(rig.state(3).await, State::Waiting);
    assert!(reader.ledger().balanced());
}

#[tokio::test]
async fn the_ledger_balances_through_repetitions_refusals_noise_and_restarts() {
    let mut rig = Rig::new();
    for n in 0..5 {
        rig.keep(format!("{n}")).await;
    }
    assert!(rig.buffer.keep(frame("ward", "0")).await.unwrap().duplicate);
    assert!(rig.buffer.keep(frame("ward", vec![0; MAX_FRAME_BYTES + 1])).await.is_err());
    rig.buffer.noise();
    deliver(&rig, 1).await;
    rig.mark(2, Transition::Held { reason: "x".into(), answer: None }).await.unwrap();
    rig.buffer.keep_part(frame("lab", "half")).await.unwrap();
    rig.buffer.break_parts("lab".into(), "10.0.0.7:40001".into(), "cut".into()).await.unwrap();
    let expected = Ledger {
        received: 9,
        acknowledged: 7,
        refused: 1,
        noise: 1,
        delivered: 1,
        queued: 3,
        held: 2,
        repeated: 1,
        lost: 0,
    };
    assert_eq!(rig.reader().ledger(), expected);
    for _ in 0..2 {
        rig.reopen().await;
        let ledger = rig.reader().ledger();
        assert!(ledger == expected && ledger.balanced() && ledger.in_hand() == 0, "{ledger:?}");
    }
    assert_eq!(glance(rig.dir.path()).unwrap().ledger, expected);
}

#[tokio::test]
async fn a_copy_is_made_while_frames_come_and_a_box_is_made_of_it() {
    let rig = Rig::new();
    for n in 0..300 {
        rig.keep(noise(n, 5_000)).await;
    }
    deliver(&rig, 1).await;
    rig.buffer.put_setting("gateway-identifier", "urn:uuid:1").await.unwrap();
    let (to, dir) = (rig.dir.path().join("copy"), rig.dir.path().to_path_buf());
    let (now, at) = (rig.clock.now(), to.clone());
    let copying = tokio::task::spawn_blocking(move || back_up(&dir, &at, now, &mut |_| {}).unwrap());
    let mut beside = 0;
    while !copying.is_finished() {
        rig.keep(format!("meanwhile {beside}")).await;
        beside += 1;
    }
    let (manifest, examined) = copying.await.unwrap();
    assert!(examined.sound(), "{examined:?}");
    assert!((300..=300 + beside).contains(&i64::try_from(manifest.frames).unwrap()), "{beside} {manifest:?}");
    assert_eq!(manifest.gateway.as_deref(), Some("urn:uuid:1"));
    assert!(back_up(rig.dir.path(), &to, now, &mut |_| {}).is_err(), "no file is written over");

    let new = tempfile::tempdir().unwrap();
    let done = restore(new.path(), &to, false, now, &mut |_| {}).unwrap();
    assert!(done.examined.sound() && done.aside.is_none(), "{done:?}");
    let buffer = Buffer::open(&config(new.path()), rig.clock.clone()).unwrap();
    let reader = buffer.reader();
    assert_eq!(reader.entry(7).await.unwrap().unwrap().bytes, noise(6, 5_000));
    assert_eq!(reader.counts().accepted, 1);
    assert_eq!(reader.verify_audit().await.unwrap(), AuditCheck { rows: 1, broken: None });
    assert!(
        reader.health().alarms.iter().any(|alarm| alarm.code == "restored"),
        "the desk says where it comes from"
    );
    let again = restore(new.path(), &to, true, now, &mut |_| {});
    assert!(matches!(again, Err(BufferError::InUse { .. })), "{again:?}");
    buffer.close().await;
    drop((reader, buffer));
    let refused = restore(new.path(), &to, false, now, &mut |_| {}).unwrap_err();
    assert!(refused.to_string().contains("--replace"), "{refused}");
    let done = restore(new.path(), &to, true, now, &mut |_| {}).unwrap();
    assert!(done.aside.is_some_and(|aside| aside.exists()), "what was there is kept");
}

#[tokio::test]
async fn a_copy_that_was_changed_is_not_restored() {
    let rig = Rig::new();
    rig.keep("one").await;
    let to = rig.dir.path().join("copy");
    back_up(rig.dir.path(), &to, rig.clock.now(), &mut |_| {}).unwrap();
    let mut bytes = fs::read(&to).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&to, bytes).unwrap();
    let new = tempfile::tempdir().unwrap();
    let refused = restore(new.path(), &to, false, rig.clock.now(), &mut |_| {}).unwrap_err();
    assert!(refused.to_string().contains("not the file its manifest tells of"), "{refused}");
    assert!(!new.path().join("bedside.db").exists());
}

#[tokio::test]
async fn examining_finds_a_changed_frame_a_missing_one_and_a_wrong_tally() {
    let rig = Rig::new();
    for n in 0..5 {
        rig.keep(format!("frame {n}")).await;
    }
    let examine = || examine(rig.dir.path(), &mut |_| {}).unwrap();
    assert!(examine().sound(), "{:?}", examine());
    let conn = rusqlite::Connection::open(rig.dir.path().join("bedside.db")).unwrap();
    conn.execute_batch("UPDATE frame SET bytes = x'00' WHERE id = 2; DELETE FROM frame WHERE id = 4")
        .unwrap();
    conn.execute_batch("UPDATE entry SET state = 3 WHERE id = 1").unwrap();
    conn.execute_batch("UPDATE tally SET value = 3 WHERE name = 'gone'").unwrap();
    let found = examine();
    assert_eq!((found.changed, found.changed_ids.as_slice()), (1, &[2_i64][..]));
    let all = found.faults.join("\n");
    assert!(all.contains("1 row(s) of entry without their frame"), "{all}");
    assert!(all.contains("3 gone are not the 5 that were kept"), "{all}");
    assert!(all.contains("entry 1 is accepted and has no time of an answer"), "{all}");
}

#[tokio::test]
async fn verification_holds_what_changed_and_only_tells_of_what_was_delivered() {
    let rig = Rig::new();
    for n in 0..3 {
        rig.keep(format!("frame {n}")).await;
    }
    deliver(&rig, 1).await;
    let conn = rusqlite::Connection::open(rig.dir.path().join("bedside.db")).unwrap();
    conn.execute_batch("UPDATE frame SET bytes = x'00' WHERE id < 3").unwrap();
    let reader = rig.reader();
    let verified = reader.verify(0, 1 << 20).await.unwrap();
    assert_eq!((verified.changed, verified.frames, verified.end), (vec![(1, true), (2, false)], 3, true));
    until("the one that waits is held", || reader.counts().held == 1).await;
    assert_eq!(rig.state(1).await, State::Accepted);
    let codes: Vec<&str> = reader.health().alarms.iter().map(|alarm| alarm.code).collect();
    assert_eq!(codes, ["bytes-changed", "kept-copy-changed"]);
}
