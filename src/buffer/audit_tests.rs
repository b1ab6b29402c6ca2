use rusqlite::Connection;

use super::*;
use crate::buffer::{Buffer, Config, NewFrame};
use crate::clock::{Clock, TestClock};

const KEY: &[u8] = b"the key that lies with the secrets";
const ROWS: i64 = 6;

struct Rig {
    buffer: Buffer,
    dir: tempfile::TempDir,
}

fn line(who: &str, what: &str, detail: &str) -> NewAudit {
    NewAudit { who: who.into(), what: what.into(), detail: detail.into() }
}

/// A trail of six rows, sealed at its end.
async fn sealed() -> Rig {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::at(1_700_000_000_000_000);
    let config = Config { dir: dir.path().into(), ..Config::default() };
    let buffer = Buffer::open(&config, clock.clone()).unwrap();
    for n in 1..=ROWS {
        buffer.audit(line("ada", "entry.view", &format!("done {n} from 10.0.0.7"))).await.unwrap();
        clock.advance(std::time::Duration::from_secs(1));
    }
    let (rows, head) = buffer.reader().audit_head().await.unwrap();
    AuditSeal { rows, head, at: clock.now() }.write(dir.path(), KEY).unwrap();
    Rig { buffer, dir }
}

impl Rig {
    fn sql(&self) -> Connection {
        let conn = Connection::open(self.dir.path().join("bedside.db")).unwrap();
        conn.execute_batch("DROP TRIGGER audit_is_not_changed; DROP TRIGGER audit_is_not_deleted").unwrap();
        conn
    }

    /// What checking finds after `tamper`, which is taken back.
    fn after(&self, conn: &Connection, tamper: impl FnOnce(&Connection)) -> Option<(i64, String)> {
        conn.execute_batch("SAVEPOINT tampered").unwrap();
        tamper(conn);
        let seal = AuditSeal::read(self.dir.path(), KEY).unwrap().unwrap();
        let found = verify(conn, Some(&seal)).unwrap().broken;
        conn.execute_batch("ROLLBACK TO tampered; RELEASE tampered").unwrap();
        found
    }
}

#[tokio::test]
async fn every_bit_that_is_changed_is_found_where_it_is() {
    let rig = sealed().await;
    let conn = rig.sql();
    assert_eq!(rig.after(&conn, |_| ()), None);
    let mut flips = 0;
    for id in 1..=ROWS {
        for column in ["who", "what", "detail", "previous", "hash"] {
            let bytes: Vec<u8> = conn
                .query_row(&format!("SELECT cast({column} AS BLOB) FROM audit WHERE id = ?1"), [id], |row| {
                    row.get(0)
                })
                .unwrap();
            let text = if matches!(column, "previous" | "hash") { "?2" } else { "cast(?2 AS TEXT)" };
            for bit in 0..bytes.len() * 8 {
                let mut changed = bytes.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                let found = rig.after(&conn, |conn| {
                    conn.execute(
                        &format!("UPDATE audit SET {column} = {text} WHERE id = ?1"),
                        params![id, changed],
                    )
                    .unwrap();
                });
                assert_eq!(found.map(|(at, _)| at), Some(id), "{column} of row {id}, bit {bit}");
                flips += 1;
            }
        }
        for bit in 0..63 {
            let found = rig.after(&conn, |conn| {
                let change = "UPDATE audit SET at = (at | ?2) - (at & ?2) WHERE id = ?1";
                conn.execute(change, [id, 1_i64 << bit]).unwrap();
            });
            assert_eq!(found.map(|(at, _)| at), Some(id), "at of row {id}, bit {bit}");
            flips += 1;
        }
    }
    assert!(flips > 4_000, "{flips}");
}

#[tokio::test]
async fn a_row_that_is_taken_out_put_in_or_moved_is_found() {
    let rig = sealed().await;
    let conn = rig.sql();
    for id in 1..=ROWS {
        let found =
            rig.after(&conn, |conn| assert_eq!(conn.execute("DELETE FROM audit WHERE id = ?1", [id]), Ok(1)));
        let (at, why) = found.unwrap();
        assert_eq!(at, id);
        assert!(why.contains("missing"), "{why}");
        for other in id + 1..=ROWS {
            let found = rig.after(&conn, |conn| {
                conn.execute("UPDATE audit SET id = -1 WHERE id = ?1", [id]).unwrap();
                conn.execute("UPDATE audit SET id = ?1 WHERE id = ?2", [id, other]).unwrap();
                conn.execute("UPDATE audit SET id = ?1 WHERE id = -1", [other]).unwrap();
            });
            assert_eq!(found.map(|(at, _)| at), Some(id), "rows {id} and {other} changed places");
        }
    }
    let found = rig.after(&conn, |conn| {
        conn.execute_batch(
            "INSERT INTO audit SELECT id + 1, at, who, what, detail, previous, hash FROM audit WHERE id = 6",
        )
        .unwrap();
    });
    assert_eq!(found.map(|(at, _)| at), Some(ROWS + 1));
}

#[tokio::test]
async fn a_trail_cut_off_with_its_count_is_told_by_the_seal_alone() {
    let rig = sealed().await;
    let conn = rig.sql();
    for left in 0..ROWS {
        let cut = |conn: &Connection| {
            conn.execute("DELETE FROM audit WHERE id > ?1", [left]).unwrap();
            conn.execute("UPDATE tally SET value = ?1 WHERE name = 'audit_rows'", [left]).unwrap();
            let head = "UPDATE tally SET value = coalesce((SELECT hash FROM audit WHERE id = ?1), '') WHERE name = 'audit_head'";
            conn.execute(head, [left]).unwrap();
            assert_eq!(verify(conn, None).unwrap().broken, None, "the database by itself is consistent");
        };
        let (at, why) = rig.after(&conn, cut).unwrap();
        assert_eq!((at, why.contains("missing at the end")), (left + 1, true), "{why}");
    }
}

#[tokio::test]
async fn a_trail_written_anew_by_somebody_who_knows_how_is_told_by_the_seal() {
    let rig = sealed().await;
    let conn = rig.sql();
    let found = rig.after(&conn, |conn| {
        conn.execute_batch("DELETE FROM audit; UPDATE tally SET value = 0 WHERE name = 'audit_rows'; UPDATE tally SET value = '' WHERE name = 'audit_head'").unwrap();
        for n in 1..=ROWS {
            let row = line("somebody else", "entry.view", &format!("done {n} from 10.0.0.7"));
            append(conn, &row, Timestamp::from_micros(n, true)).unwrap();
        }
        assert_eq!(verify(conn, None).unwrap().broken, None);
    });
    assert!(found.unwrap().1.contains("written anew"));
    std::fs::write(rig.dir.path().join(SEAL_FILE), "bedside-audit-seal-1 0  0 00\n").unwrap();
    assert!(matches!(AuditSeal::read(rig.dir.path(), KEY), Err(SealError::Forged)));
    std::fs::write(rig.dir.path().join(SEAL_FILE), [0xFF, 0xFE]).unwrap();
    assert!(matches!(AuditSeal::read(rig.dir.path(), KEY), Err(SealError::Forged)));
}

#[tokio::test]
async fn the_seal_is_of_one_key_and_rows_may_follow_it() {
    let rig = sealed().await;
    assert!(matches!(AuditSeal::read(rig.dir.path(), b"another key"), Err(SealError::Forged)));
    rig.buffer.audit(line("ada", "logout", "done")).await.unwrap();
    let seal = AuditSeal::read(rig.dir.path(), KEY).unwrap().unwrap();
    assert_eq!(seal.rows, ROWS.unsigned_abs());
    let check = rig.buffer.reader().verify_audit_with(Some(seal)).await.unwrap();
    assert_eq!(check, AuditCheck { rows: 7, broken: None });
    put_seal_aside(rig.dir.path()).unwrap();
    put_seal_aside(rig.dir.path()).unwrap();
    assert!(AuditSeal::read(rig.dir.path(), KEY).unwrap().is_none());
}

#[tokio::test]
async fn the_database_itself_refuses_to_change_what_was_written() {
    let rig = sealed().await;
    let conn = Connection::open(rig.dir.path().join("bedside.db")).unwrap();
    for edit in
        ["UPDATE audit SET who = 'eve' WHERE id = 3", "DELETE FROM audit WHERE id = 6", "DELETE FROM audit"]
    {
        let refused = conn.execute(edit, []).unwrap_err().to_string();
        assert!(refused.contains("only appended to"), "{edit}: {refused}");
    }
}

#[tokio::test]
async fn what_cannot_be_written_down_is_not_done_and_devices_are_heard_all_the_same() {
    let rig = sealed().await;
    let conn = Connection::open(rig.dir.path().join("bedside.db")).unwrap();
    conn.execute_batch(
        "CREATE TRIGGER broken BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'no room in the trail'); END",
    )
    .unwrap();
    let frame = |n: u8| NewFrame {
        link: "ward".into(),
        peer: "10.0.0.9:1".into(),
        received: Timestamp::from_micros(1, true),
        bytes: vec![n].into(),
        topic: None,
        dedupe: false,
        warnings: Vec::new(),
        held: None,
    };
    let both = [
        super::super::Change::Setting { key: "site".into(), value: "elsewhere".into() },
        super::super::Change::Audit(line("ada", "config.change", "done")),
    ];
    // In one group with a frame, so that one transaction has both.
    let (refused, kept) = tokio::join!(rig.buffer.change(both.to_vec()), rig.buffer.keep(frame(1)));
    assert!(refused.unwrap_err().to_string().contains("no room in the trail"));
    assert_eq!(kept.unwrap().id, 1);
    let reader = rig.buffer.reader();
    assert_eq!(reader.setting("site").await.unwrap(), None, "nothing was changed");
    assert!(reader.health().writing && reader.health().alarms.is_empty(), "that is no fault of the disk");
    conn.execute_batch("DROP TRIGGER broken").unwrap();
    rig.buffer.change(both.to_vec()).await.unwrap();
    assert_eq!(reader.verify_audit().await.unwrap(), AuditCheck { rows: 7, broken: None });
}

#[tokio::test]
async fn what_is_written_stays_one_line_in_one_direction() {
    let rig = sealed().await;
    let odd = line("eve\u{202E}nimda", "login\r\nlogin", "done\u{1b}[2J x\u{2028}y");
    rig.buffer.audit(odd).await.unwrap();
    rig.buffer.audit(line(&"x".repeat(5_000), "login", "done")).await.unwrap();
    let rows = rig.buffer.reader().audit(None, 2).await.unwrap();
    assert_eq!(rows[0].who.chars().count(), TEXT_MAX);
    let odd = format!("{} {} {}", rows[1].who, rows[1].what, rows[1].detail);
    assert_eq!(odd, "eve\u{FFFD}nimda login\u{FFFD}\u{FFFD}login done\u{FFFD}[2J x\u{FFFD}y");
    assert_eq!(rig.buffer.reader().verify_audit().await.unwrap().broken, None);
}

#[tokio::test]
async fn rows_are_found_by_who_what_outcome_and_time() {
    let rig = sealed().await;
    rig.buffer.audit(line("bob", "patient.view", "done patient 3 from 10.0.0.8")).await.unwrap();
    rig.buffer.audit(line("unknown", "login", "refused bob from 10.0.0.9; too many tries")).await.unwrap();
    let reader = rig.buffer.reader();
    let found = async |filter: AuditFilter| {
        let (rows, next) = reader.audit_page(AuditFilter { limit: 3, ..filter }).await.unwrap();
        (rows.iter().map(|row| row.id).collect::<Vec<_>>(), next)
    };
    let all = AuditFilter::default;
    let text = |word: &str| Some(word.to_owned());
    assert_eq!(found(all()).await, (vec![8, 7, 6], Some(6)));
    assert_eq!(found(AuditFilter { before: Some(3), ..all() }).await, (vec![2, 1], None));
    assert_eq!(found(AuditFilter { who: text("bob"), ..all() }).await, (vec![7], None));
    assert_eq!(found(AuditFilter { what: text("patient"), ..all() }).await, (vec![7], None));
    assert_eq!(
        found(AuditFilter { what: text("pat"), ..all() }).await,
        (vec![], None),
        "a word, not its beginning"
    );
    assert_eq!(found(AuditFilter { outcome: text("refused"), ..all() }).await, (vec![8], None));
    let (from, until) = (1_700_000_001_000_000, 1_700_000_003_000_000);
    let between = AuditFilter { from: Some(from), until: Some(until), ..all() };
    assert_eq!(found(between).await, (vec![3, 2], None));
    let after = reader.audit_after(6, 10).await.unwrap();
    assert_eq!(after.iter().map(|row| row.id).collect::<Vec<_>>(), [7, 8]);
}

#[test]
fn a_detail_is_taken_apart_and_whatever_stands_in_it_is_survived() {
    let told = |text| {
        let Told { outcome, target, origin, note } = told(text);
        (outcome, target, origin.map(|address| address.to_string()), note)
    };
    let at = |text: &str| Some(text.to_owned());
    assert_eq!(told("done 42 from 10.0.0.7; a note"), ("done", Some("42"), at("10.0.0.7"), Some("a note")));
    assert_eq!(told("refused from ::ffff:10.0.0.7"), ("refused", None, at("10.0.0.7"), None));
    assert_eq!(told("done an order of 2 tests"), ("done", Some("an order of 2 tests"), None, None));
    assert_eq!(
        told("from a copy made 2026-01-01"),
        ("done", Some("from a copy made 2026-01-01"), None, None)
    );
    assert_eq!(told("failed x from y from 10.0.0.8"), ("failed", Some("x from y"), at("10.0.0.8"), None));
    for text in ["", " ", "done", "from ", "done from", "; ", "done ; x"] {
        told(text);
    }
}
