//! Frames that are kept packed are, to everyone who asks, the frames that were said.

use rusqlite::Connection;

use super::*;

/// A second of a monitor: text that repeats itself, as HL7 and waveforms do.
fn long(n: usize) -> String {
    (0..200).map(|row| format!("OBX|{row}|NA|131328^MDC_ECG_ELEC_POTL^MDC||{}^{n}\r", row * 7 % 50)).collect()
}

fn on_disk(rig: &Rig, id: i64) -> (usize, Option<i64>) {
    let conn = Connection::open(rig.dir.path().join("bedside.db")).unwrap();
    conn.query_row("SELECT length(bytes), packed FROM frame WHERE id = ?1", [id], |row| {
        Ok((row.get::<_, i64>(0)?.unsigned_abs() as usize, row.get(1)?))
    })
    .unwrap()
}

#[tokio::test]
async fn a_long_frame_takes_less_room_and_reads_back_as_it_was_said() {
    let mut rig = Rig::new();
    let said = long(1);
    let id = rig.keep(said.clone()).await;
    let short = rig.keep("MSH|^~\\&|").await;
    for _ in 0..2 {
        let detail = rig.reader().entry(id).await.unwrap().unwrap();
        assert!(detail.intact);
        assert_eq!((&*detail.bytes, detail.row.bytes), (said.as_bytes(), said.len() as u64));
        assert_eq!(detail.sha256, sha256(said.as_bytes()), "of the frame, not of what lies on the disk");
        let waiting = rig.reader().waiting(0, 10, 1 << 20).await.unwrap().entries;
        assert_eq!(&*waiting[0].bytes, said.as_bytes());
        let page = rig.reader().entries(EntryFilter::default()).await.unwrap().entries;
        assert_eq!(page[1].bytes, said.len() as u64);
        assert_eq!(rig.buffer.keep(frame("ward", said.clone())).await.unwrap(), Kept { id, duplicate: true });
        rig.reopen().await;
    }
    let (stored, packed) = on_disk(&rig, id);
    assert!(stored < said.len() / 2 && packed == Some(-(said.len() as i64)), "{stored} of {}", said.len());
    assert_eq!(on_disk(&rig, short).1, None);
}

#[tokio::test]
async fn damage_to_a_packed_frame_is_found_and_held_and_the_others_are_salvaged() {
    let mut rig = Rig::new();
    for n in 1..=40 {
        rig.keep(long(n)).await;
    }
    rig.buffer.close().await;
    let path = rig.dir.path().join("bedside.db");
    let conn = Connection::open(&path).unwrap();
    conn.execute("UPDATE frame SET bytes = substr(bytes, 1, 100) WHERE id = 3", []).unwrap();
    conn.execute("UPDATE frame SET packed = 1 << 40 WHERE id = 4", []).unwrap();
    conn.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    drop(conn);
    // A page that is no frame's own makes the whole file damaged.
    let mut file = std::fs::read(&path).unwrap();
    let pages = file.len() / 4_096;
    file[(pages - 1) * 4_096..].fill(0xEE);
    std::fs::write(&path, file).unwrap();
    rig.reopen().await;
    let reader = rig.reader();
    assert!(reader.health().alarms.iter().any(|alarm| alarm.code == "database-salvaged"));
    for id in [3, 4] {
        assert_eq!(rig.state(id).await, State::Held);
    }
    for n in [1, 2, 5, 20] {
        assert_eq!(reader.entry(n).await.unwrap().unwrap().bytes, long(n as usize).as_bytes());
    }
}

#[tokio::test]
async fn a_message_of_no_bytes_is_listed_among_the_others() {
    let rig = Rig::new();
    let ids = [rig.keep(long(1)).await, rig.keep("").await, rig.keep("MSH|^~\\&|").await];
    let listed = rig.reader().entries(EntryFilter::default()).await.unwrap().entries;
    let listed: Vec<_> = listed.iter().rev().map(|row| (row.id, row.bytes)).collect();
    assert_eq!(listed, [(ids[0], long(1).len() as u64), (ids[1], 0), (ids[2], 9)]);
}
