//! For what the clinic and the program must remember besides frames: devices, settings. What was done
//! to them is in the audit trail, see `audit.rs`.

use rusqlite::{Connection, ErrorCode, OptionalExtension, params};

use super::account::{self, AccountChange, SessionRow, UserRow};
use super::association::{self, AssociationChange};
use super::audit::{self, NewAudit};
use super::outgoing::{self, OutgoingChange};
use super::people::{self, PeopleChange};
use super::scrub::{self, Scrub};
use super::work::WorkChange;
use super::worklist;
use crate::clock::Timestamp;

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
        let applied = match apply_one(conn, change, now) {
            // What a rule of the schema refuses is no fault of the disk: it concerns these changes and no other job.
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
                Err(format!("this cannot be written down: {error}"))
            }
            applied => applied?,
        };
        if let Err(reason) = applied {
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
        Change::Audit(row) => audit::append(conn, row, now)?,
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

#[cfg(test)]
mod tests {
    use super::super::{AuditCheck, AuditRow, Buffer, Config};
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
