//! A database of many entries, made in seconds: the rows the buffer's writer would have written, by SQL, in the order of
//! their keys and without a sync. The schema is the buffer's own: it makes the empty database.

use std::path::Path;
use std::sync::Arc;

use bedside::buffer::{Buffer, Config, sha256};
use bedside::clock::SystemClock;
use rusqlite::{Connection, params};

pub(crate) const LINKS: i64 = 8;
pub(crate) const DEVICES: i64 = 40;
/// Every so many entries one is held.
const HELD_EVERY: i64 = 10_000;
/// Results of one stay of a patient: how many entries share one attribution.
const OF_A_STAY: i64 = 1_000;
/// Ids of one bucket of the table of hashes, as the buffer has them.
const BUCKET_BITS: i64 = 20;
const ANSWER: &str = r#"{"status":201,"resources":1,"location":"Observation/0b1f7a52c1d94b5c9c9f5f3a"}"#;

/// What a small device says: about 300 bytes, no two alike.
pub(crate) fn said(id: i64) -> Vec<u8> {
    let noise = sha256(&id.to_be_bytes());
    let mut frame = format!(
        "MSH|^~\\&|MONITOR|WARD|BEDSIDE|CLINIC|20261122120000+0000||ORU^R01^ORU_R01|{id}|P|2.6\r\
         PID|||{0}^^^CLINIC^MR||TEST^PATIENT\rOBR|1|||69965^MDC_DEV_MON_PHYSIO_MULTI_PARAM_MDS^MDC|||20261122120000+0000\r\
         OBX|1|NM|149530^MDC_PULS_OXIM_PULS_RATE^MDC|1.1.1.2|{1}|264864^MDC_DIM_BEAT_PER_MIN^MDC|||||F\r",
        id % 5_000,
        60 + id % 40
    );
    frame.extend(noise.iter().take(8).map(|byte| char::from(b'a' + byte % 26)));
    frame.into_bytes()
}

/// Makes the buffer in `dir` and fills it: `entries` of them, of which the last `waiting` are not delivered yet.
pub(crate) async fn fill(dir: &Path, entries: i64, waiting: i64) {
    let config = Config { dir: dir.into(), max_bytes: 1 << 40, ..Config::default() };
    let buffer = Buffer::open(&config, Arc::new(SystemClock::default())).unwrap();
    buffer.close().await;
    drop(buffer);
    if entries > 0 {
        let mut conn = Connection::open(dir.join("bedside.db")).unwrap();
        rows(&mut conn, entries, waiting);
    }
}

fn rows(conn: &mut Connection, entries: i64, waiting: i64) {
    conn.execute_batch(
        "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF; PRAGMA cache_size = -131072;",
    )
    .unwrap();
    for link in 1..=LINKS {
        conn.execute("INSERT INTO link VALUES (?1, ?2)", params![link, format!("link-{link}")]).unwrap();
    }
    for device in 1..=DEVICES {
        conn.execute(
            "INSERT INTO device (id, key, link, first_seen, last_seen) VALUES (?1, ?2, ?3, 0, 0)",
            params![device, format!("Rig/Monitor/{device}"), format!("link-{}", device % LINKS + 1)],
        )
        .unwrap();
    }
    for bucket in 0..=entries >> BUCKET_BITS {
        one_bucket(conn, bucket, entries, waiting);
    }
    let tx = conn.transaction().unwrap();
    for stay in 0..=entries / OF_A_STAY {
        tx.execute(
            "INSERT INTO attribution VALUES (?1, ?2)",
            params![stay + 1, format!("[\"stay {stay}\"]")],
        )
        .unwrap();
    }
    tx.execute("UPDATE tally SET value = ?1 WHERE name IN ('last_id', 'seen_through')", [entries]).unwrap();
    tx.commit().unwrap();
    conn.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())).unwrap();
}

/// The entries whose hashes are in one bucket, in one transaction.
fn one_bucket(conn: &mut Connection, bucket: i64, entries: i64, waiting: i64) {
    let now = 1_795_305_600_000_000_i64;
    {
        let first = (bucket << BUCKET_BITS).max(1);
        let last = ((bucket + 1) << BUCKET_BITS).min(entries + 1);
        let tx = conn.transaction().unwrap();
        let mut seen = Vec::new();
        {
            let mut frame = tx
                .prepare("INSERT INTO frame (id, link, received, synchronised, sha256, peer, bytes) VALUES (?1, ?2, ?3, 1, ?4, '10.0.0.7', ?5)")
                .unwrap();
            let mut entry = tx
                .prepare(
                    "INSERT INTO entry (id, state, link, prefix, device, attempts, sent_at, answered_at, reason, answer, summary)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7, ?8, ?9, 'pulse rate 71 /min')",
                )
                .unwrap();
            let mut attributed = tx
                .prepare("INSERT INTO attributed (entry, attribution, decided) VALUES (?1, ?2, ?3)")
                .unwrap();
            for id in first..last {
                let (bytes, at) = (said(id), now - (entries - id) * 1_000);
                let sum = sha256(&bytes);
                let prefix = i64::from_be_bytes(sum[..8].try_into().unwrap());
                let link = id % LINKS + 1;
                frame.execute(params![id, link, at, sum, bytes]).unwrap();
                let open = id > entries - waiting;
                let held = !open && id % HELD_EVERY == 0;
                let state = if open { 0 } else { 2 + i64::from(!held) };
                let device = (!open).then_some(id % DEVICES + 1);
                let tried = (state == 3).then_some(at);
                let reason = held.then_some("nobody says whose it is");
                entry
                    .execute(params![
                        id,
                        state,
                        link,
                        prefix,
                        device,
                        i64::from(state == 3),
                        tried,
                        reason,
                        tried.map(|_| ANSWER)
                    ])
                    .unwrap();
                if state == 3 {
                    attributed.execute(params![id, id / OF_A_STAY + 1, at]).unwrap();
                }
                seen.push((prefix, id));
            }
            seen.sort_unstable();
            let mut hash = tx.prepare("INSERT INTO seen VALUES (?1, ?2, ?3)").unwrap();
            for (prefix, id) in seen {
                hash.execute([bucket, prefix, id]).unwrap();
            }
        }
        tx.commit().unwrap();
    }
}
