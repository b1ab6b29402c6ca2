//! For what the clinic and the program must remember besides frames: devices, settings, and the audit trail that nobody
//! can edit unnoticed.
//!
//! Each audit row carries the SHA-256 of the row before it and of itself; the number of rows and the last hash
//! stand in `tally` besides, so that a trail cut off at its end is noticed too.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params};

use super::account::{self, AccountChange, SessionRow, UserRow};
use super::association::{self, AssociationChange};
use super::outgoing::{self, OutgoingChange};
use super::people::{self, PeopleChange};
use super::scrub::{self, Scrub};
use super::sha256;
use super::work::WorkChange;
use super::worklist;
use crate::clock::Timestamp;
use crate::sabotage::{Sabotage, commits};

/// A device this box has heard of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceRow {
    /// The name of the device on this box.
    pub key: String,
    pub label: String,
    pub manufacturer: String,
    pub model: String,
    /// The link it was last heard on.
    pub link: String,
    /// Microseconds since 1970; the earliest one given stays.
    pub first_seen: i64,
    /// Microseconds since 1970; the latest one given stays.
    pub last_seen: i64,
    pub identifiers: Vec<String>,
}

/// Who did what, to be appended to the audit trail. No patient data, no secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAudit {
    pub who: String,
    /// Stable word, e.g. `login`, `release`.
    pub what: String,
    pub detail: String,
}

/// A row of the audit trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    pub id: i64,
    pub at: Timestamp,
    pub who: String,
    pub what: String,
    pub detail: String,
}

/// What checking the audit trail found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditCheck {
    pub rows: u64,
    /// The first row that is not as it was written, and what is wrong there.
    pub broken: Option<(i64, String)>,
}

/// One change of the registry. Those handed over together are written together or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Device(DeviceRow),
    /// Adds or replaces a user.
    User(UserRow),
    /// Adds the first user of the box; not allowed when there is one.
    FirstUser(UserRow),
    Session(SessionRow),
    /// The session was used just now. Nothing happens when it is gone.
    UseSession {
        id_hash: Vec<u8>,
        at: Timestamp,
    },
    EndSession {
        id_hash: Vec<u8>,
    },
    EndExpiredSessions {
        now: Timestamp,
    },
    Setting {
        key: String,
        value: String,
    },
    RemoveSetting {
        key: String,
    },
    Audit(NewAudit),
    Work(WorkChange),
    Account(AccountChange),
    Association(AssociationChange),
    Outgoing(OutgoingChange),
    People(PeopleChange),
    /// How far the verification of what is kept has come.
    Scrubbed(Scrub),
}

/// Writes changes into the open transaction; the inner error says why they are not allowed, and then none is
/// written.
pub(super) fn apply(
    conn: &Connection,
    changes: &[Change],
    now: Timestamp,
) -> rusqlite::Result<Result<(), String>> {
    conn.execute_batch("SAVEPOINT changes")?;
    for change in changes {
        if let Err(reason) = apply_one(conn, change, now)? {
            conn.execute_batch("ROLLBACK TO changes; RELEASE changes")?;
            return Ok(Err(reason));
        }
    }
    conn.execute_batch("RELEASE changes")?;
    Ok(Ok(()))
}

fn apply_one(conn: &Connection, change: &Change, now: Timestamp) -> rusqlite::Result<Result<(), String>> {
    match change {
        Change::Device(device) => put_device(conn, device)?,
        Change::User(user) => account::put_user(conn, user)?,
        Change::FirstUser(user) => {
            if account::users(conn)? > 0 {
                return Ok(Err(String::from("this box has a user already")));
            }
            account::put_user(conn, user)?;
        }
        Change::Session(session) => account::put_session(conn, session)?,
        Change::UseSession { id_hash, at } => {
            conn.execute("UPDATE session SET last_used = ?2 WHERE token = ?1", params![id_hash, at.micros])?;
        }
        Change::EndSession { id_hash } => {
            conn.execute("DELETE FROM session WHERE token = ?1", [id_hash])?;
        }
        Change::EndExpiredSessions { now } => {
            conn.execute("DELETE FROM session WHERE expires <= ?1", [now.micros])?;
        }
        Change::Setting { key, value } => {
            conn.execute("INSERT OR REPLACE INTO setting (key, value) VALUES (?1, ?2)", [key, value])?;
        }
        Change::RemoveSetting { key } => {
            conn.execute("DELETE FROM setting WHERE key = ?1", [key])?;
        }
        Change::Audit(row) => append_audit(conn, row, now)?,
        Change::Work(work) => return worklist::apply(conn, work, now),
        Change::Account(change) => return account::apply(conn, change, now),
        Change::Association(change) => return association::apply(conn, change, now),
        Change::Outgoing(change) => return outgoing::apply(conn, change, now),
        Change::People(people) => return people::apply(conn, people, now),
        Change::Scrubbed(scrub) => scrub::write(conn, scrub)?,
    }
    Ok(Ok(()))
}

fn put_device(conn: &Connection, device: &DeviceRow) -> rusqlite::Result<()> {
    let identifiers = serde_json::Value::from(device.identifiers.clone()).to_string();
    conn.prepare_cached(
        "INSERT INTO device (key, label, manufacturer, model, link, first_seen, last_seen, identifiers)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
         ON CONFLICT (key) DO UPDATE SET label = excluded.label, manufacturer = excluded.manufacturer,
           model = excluded.model, link = excluded.link, identifiers = excluded.identifiers,
           first_seen = min(first_seen, excluded.first_seen), last_seen = max(last_seen, excluded.last_seen)",
    )?
    .execute(params![
        device.key,
        device.label,
        device.manufacturer,
        device.model,
        device.link,
        device.first_seen,
        device.last_seen,
        identifiers
    ])?;
    Ok(())
}

pub(super) fn append_audit(conn: &Connection, row: &NewAudit, now: Timestamp) -> rusqlite::Result<()> {
    let (written, previous) = head(conn)?;
    // Where the two differ the trail is broken, which checking it says; it goes on behind what there is.
    let last: i64 = conn.query_row("SELECT coalesce(max(id), 0) FROM audit", [], |row| row.get(0))?;
    let (id, at) = (written.max(last) + 1, now.micros);
    let sum = audit_sum(&previous, id, at, [&row.who, &row.what, &row.detail]);
    conn.execute(
        "INSERT INTO audit (id, at, who, what, detail, previous, hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![id, at, row.who, row.what, row.detail, previous, sum],
    )?;
    conn.execute(
        "UPDATE tally SET value = CASE name WHEN 'audit_rows' THEN ?1 ELSE ?2 END
         WHERE name IN ('audit_rows', 'audit_head')",
        params![id, Value::Blob(sum.to_vec())],
    )?;
    if commits(Sabotage::EditAudit) {
        super::sabotaged::edit_audit(conn, id)?;
    }
    Ok(())
}

/// The number of rows and the hash of the last one, as they stand in the second place.
fn head(conn: &Connection) -> rusqlite::Result<(i64, Vec<u8>)> {
    conn.query_row(
        "SELECT (SELECT value FROM tally WHERE name = 'audit_rows'),
                (SELECT cast(value AS BLOB) FROM tally WHERE name = 'audit_head')",
        [],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
}

/// SHA-256 over all columns, each text with its length before it, so that no two rows read alike.
fn audit_sum(previous: &[u8], id: i64, at: i64, texts: [&str; 3]) -> [u8; 32] {
    let mut whole = Vec::new();
    whole.extend_from_slice(&(previous.len() as u64).to_be_bytes());
    whole.extend_from_slice(previous);
    whole.extend_from_slice(&id.to_be_bytes());
    whole.extend_from_slice(&at.to_be_bytes());
    for text in texts {
        whole.extend_from_slice(&(text.len() as u64).to_be_bytes());
        whole.extend_from_slice(text.as_bytes());
    }
    sha256(&whole)
}

/// Reads the whole trail and checks every link of the chain.
pub(super) fn verify_audit(conn: &Connection) -> rusqlite::Result<AuditCheck> {
    let mut all = conn.prepare("SELECT id, at, who, what, detail, previous, hash FROM audit ORDER BY id")?;
    let mut rows = all.query([])?;
    let (mut count, mut last) = (0_i64, Vec::new());
    let broken = |id: i64, why: &str, count: i64| AuditCheck {
        rows: count.unsigned_abs(),
        broken: Some((id, why.to_owned())),
    };
    while let Some(row) = rows.next()? {
        let (id, at): (i64, i64) = (row.get(0)?, row.get(1)?);
        let (who, what, detail): (String, String, String) = (row.get(2)?, row.get(3)?, row.get(4)?);
        let (previous, hash): (Vec<u8>, Vec<u8>) = (row.get(5)?, row.get(6)?);
        count += 1;
        if id != count {
            return Ok(broken(count, "this row is missing", count));
        }
        if previous != last {
            return Ok(broken(id, "this row does not follow the one before it", count));
        }
        if hash != audit_sum(&previous, id, at, [&who, &what, &detail]) {
            return Ok(broken(id, "this row was changed", count));
        }
        last = hash;
    }
    let (written, head) = head(conn)?;
    if (count, last) != (written, head) {
        return Ok(broken(count + 1, "rows are missing at the end", count));
    }
    Ok(AuditCheck { rows: count.unsigned_abs(), broken: None })
}

fn time(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    Ok(Timestamp::from_micros(row.get(column)?, true))
}

pub(super) fn read_devices(conn: &Connection) -> rusqlite::Result<Vec<DeviceRow>> {
    let mut all = conn.prepare_cached(
        "SELECT key, label, manufacturer, model, link, first_seen, last_seen, identifiers FROM device ORDER BY key",
    )?;
    let rows = all.query_map([], |row| {
        let identifiers: String = row.get(7)?;
        Ok(DeviceRow {
            key: row.get(0)?,
            label: row.get(1)?,
            manufacturer: row.get(2)?,
            model: row.get(3)?,
            link: row.get(4)?,
            first_seen: row.get(5)?,
            last_seen: row.get(6)?,
            identifiers: serde_json::from_str(&identifiers).unwrap_or_default(),
        })
    })?;
    rows.collect()
}

pub(super) fn read_settings(conn: &Connection, prefix: &str) -> rusqlite::Result<Vec<(String, String)>> {
    // Keys are ASCII words of ours; after `prefix` comes nothing that sorts behind the last code point.
    let mut rows =
        conn.prepare_cached("SELECT key, value FROM setting WHERE key >= ?1 AND key < ?1 || char(1114111)")?;
    let cut = |key: String| key.get(prefix.len()..).unwrap_or_default().to_owned();
    rows.query_map([prefix], |row| Ok((cut(row.get(0)?), row.get(1)?)))?.collect()
}

pub(super) fn read_setting(conn: &Connection, key: &str) -> rusqlite::Result<Option<String>> {
    conn.prepare_cached("SELECT value FROM setting WHERE key = ?1")?
        .query_row([key], |row| row.get(0))
        .optional()
}

/// The latest rows before `before`, newest first.
pub(super) fn read_audit(
    conn: &Connection,
    before: Option<i64>,
    limit: u32,
) -> rusqlite::Result<Vec<AuditRow>> {
    let mut page = conn.prepare_cached(
        "SELECT id, at, who, what, detail FROM audit WHERE id < ?1 ORDER BY id DESC LIMIT ?2",
    )?;
    let rows = page.query_map(params![before.unwrap_or(i64::MAX), limit], |row| {
        Ok(AuditRow {
            id: row.get(0)?,
            at: time(row, 1)?,
            who: row.get(2)?,
            what: row.get(3)?,
            detail: row.get(4)?,
        })
    })?;
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Buffer, Config};
    use super::*;
    use crate::clock::TestClock;

    fn buffer() -> (tempfile::TempDir, Buffer) {
        let dir = tempfile::tempdir().unwrap();
        let config = Config { dir: dir.path().to_path_buf(), ..Config::default() };
        let buffer = Buffer::open(&config, TestClock::at(1_000_000)).unwrap();
        (dir, buffer)
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000, true)
    }

    fn user(name: &str) -> UserRow {
        UserRow::local(name, "$argon2id$…", "admin", at(1))
    }

    #[tokio::test]
    async fn a_device_keeps_its_first_day_and_gets_its_latest() {
        let (_dir, buffer) = buffer();
        let device = |label: &str, first_seen, last_seen| DeviceRow {
            key: "Masimo/Root/7".into(),
            label: label.into(),
            identifiers: vec!["0011223344556677".into()],
            first_seen,
            last_seen,
            ..DeviceRow::default()
        };
        buffer.upsert_device(device("Bed 1", 50, 60)).await.unwrap();
        buffer.upsert_device(device("Bed 2", 55, 58)).await.unwrap();
        assert_eq!(buffer.reader().devices().await.unwrap(), [device("Bed 2", 50, 60)]);
    }

    #[tokio::test]
    async fn a_change_that_is_not_allowed_takes_its_companions_with_it() {
        let (_dir, buffer) = buffer();
        buffer.put_user(user("ada")).await.unwrap();
        let audit = NewAudit { who: "eve".into(), what: "setup".into(), detail: String::new() };
        let changes = vec![Change::Audit(audit), Change::FirstUser(user("eve"))];
        assert!(buffer.change(changes).await.is_err());
        assert!(buffer.reader().audit(None, 10).await.unwrap().is_empty());
        assert_eq!(buffer.reader().verify_audit().await.unwrap(), AuditCheck { rows: 0, broken: None });
    }

    #[tokio::test]
    async fn settings_are_written_listed_replaced_and_removed() {
        let (_dir, buffer) = buffer();
        for key in ["link:b", "link:a/ü", "linker", "link"] {
            buffer.put_setting(key, key).await.unwrap();
        }
        let links = buffer.reader().settings("link:").await.unwrap();
        assert_eq!(links, [("a/ü".into(), "link:a/ü".into()), ("b".into(), "link:b".into())]);
        buffer.put_setting("site", "Ward 7").await.unwrap();
        buffer.put_setting("site", "Ward 8").await.unwrap();
        assert_eq!(buffer.reader().setting("site").await.unwrap().as_deref(), Some("Ward 8"));
        buffer.change(vec![Change::RemoveSetting { key: "site".into() }]).await.unwrap();
        assert_eq!(buffer.reader().setting("site").await.unwrap(), None);
    }

    #[tokio::test]
    async fn the_audit_trail_reads_from_the_end() {
        let (_dir, buffer) = buffer();
        for n in 1..=7 {
            let row = NewAudit { who: "ada".into(), what: "login".into(), detail: n.to_string() };
            buffer.audit(row).await.unwrap();
        }
        let reader = buffer.reader();
        let ids = |rows: Vec<AuditRow>| rows.into_iter().map(|row| row.id).collect::<Vec<_>>();
        assert_eq!(ids(reader.audit(None, 3).await.unwrap()), [7, 6, 5]);
        assert_eq!(ids(reader.audit(Some(5), 10).await.unwrap()), [4, 3, 2, 1]);
    }
}
