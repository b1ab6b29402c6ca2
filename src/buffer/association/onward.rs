//! What of an entry went on to other systems under whom, looks at entries that are still owed, and what may no longer be
//! looked at.

use rusqlite::{Connection, Row, params};

use crate::buffer::BufferError;
use crate::buffer::entry::State;
use crate::buffer::outgoing::NewOutgoing;
use crate::buffer::reader::Reader;
use crate::clock::Timestamp;

pub(in crate::buffer) const TABLES: &str = "
CREATE TABLE look (
  id INTEGER PRIMARY KEY AUTOINCREMENT, device TEXT, since INTEGER NOT NULL, specimen TEXT, who TEXT NOT NULL, why TEXT NOT NULL) STRICT;
CREATE TABLE onward (outgoing INTEGER PRIMARY KEY, entry INTEGER NOT NULL, attribution INTEGER NOT NULL) STRICT;
CREATE INDEX onward_entry ON onward (entry);
ALTER TABLE outgoing ADD COLUMN round INTEGER NOT NULL DEFAULT 0;
ALTER TABLE outgoing ADD COLUMN withdraws INTEGER NOT NULL DEFAULT 0;
DROP INDEX outgoing_once;
CREATE UNIQUE INDEX outgoing_once ON outgoing (destination, entry, part, round, withdraws);
CREATE TABLE purged (device INTEGER NOT NULL, hour INTEGER NOT NULL, entries INTEGER NOT NULL, PRIMARY KEY (device, hour)) STRICT, WITHOUT ROWID;
";

/// Who is named as the cause of what hospital systems say.
pub(crate) const ADMINISTRATION: &str = "patient administration";
const HOUR: i64 = 3_600_000_000;
/// Looks read at once.
const LOOKS_MAX: u32 = 10_000;

/// Another look that is owed at what was kept since a time: facts changed, and nobody has looked yet.
#[derive(Clone, PartialEq, Eq)]
pub struct LookRow {
    pub id: i64,
    /// `None`: all devices.
    pub device: Option<String>,
    /// Microseconds since 1970.
    pub since: i64,
    /// Only results of this specimen.
    pub specimen: Option<String>,
    /// Who changed the facts, and why.
    pub who: String,
    pub why: String,
}

impl std::fmt::Debug for LookRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LookRow({}, {:?}, since {})", self.id, self.device, self.since)
    }
}

/// Under whom a message went on to another system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnwardRow {
    /// The message.
    pub outgoing: i64,
    pub destination: String,
    pub route: String,
    /// How often the entry was told anew there, because its patient was another.
    pub round: u32,
    pub lane: i64,
    /// As [`crate::gateway`] writes it.
    pub parts: String,
}

/// Writes down that entries are to be looked at again.
pub(in crate::buffer) fn owe(
    conn: &Connection,
    device: Option<&str>,
    since: i64,
    specimen: Option<&str>,
    (who, why): (&str, &str),
) -> rusqlite::Result<()> {
    conn.prepare_cached("INSERT INTO look (device, since, specimen, who, why) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![device, since, specimen, who, why])?;
    Ok(())
}

pub(super) fn looked(conn: &Connection, through: i64, device: Option<&str>) -> rusqlite::Result<()> {
    conn.prepare_cached("DELETE FROM look WHERE id <= ?1 AND (?2 IS NULL OR device = ?2)")?
        .execute(params![through, device])?;
    Ok(())
}

pub(super) fn note(conn: &Connection, outgoing: i64, parts: &str) -> rusqlite::Result<()> {
    conn.prepare_cached("INSERT OR IGNORE INTO attribution (parts) VALUES (?1)")?.execute([parts])?;
    conn.prepare_cached(
        "INSERT OR REPLACE INTO onward (outgoing, entry, attribution)
         SELECT outgoing.id, entry, attribution.id FROM outgoing, attribution WHERE outgoing.id = ?1 AND parts = ?2",
    )?
    .execute(params![outgoing, parts])?;
    Ok(())
}

/// What was told under the wrong people is withdrawn, each message once, and `rows` are told instead.
pub(super) fn put_right(
    conn: &Connection,
    withdraw: &[i64],
    rows: &[NewOutgoing],
    round: u32,
    now: Timestamp,
) -> rusqlite::Result<()> {
    const ANOTHERS: &str = "its patient is another: it was queued anew";
    for id in withdraw {
        let withdrawals = conn.prepare_cached(
            "INSERT OR IGNORE INTO outgoing (destination, entry, part, route, lane, state, queued, revision, round, withdraws)
             SELECT destination, entry, part, route, lane, 0, ?2, revision, round, 1 FROM outgoing WHERE id = ?1",
        )?
        .execute(params![id, now.micros])?;
        made(conn, *id, withdrawals)?;
        conn.prepare_cached(
            "INSERT OR IGNORE INTO onward (outgoing, entry, attribution)
             SELECT new.id, onward.entry, onward.attribution FROM outgoing AS old
             JOIN onward ON onward.outgoing = old.id
             JOIN outgoing AS new ON new.destination = old.destination AND new.entry = old.entry AND new.part = old.part
               AND new.round = old.round AND new.withdraws = 1 WHERE old.id = ?1",
        )?
        .execute([id])?;
        // What waits for a person would go out under the wrong patient when it is let go.
        conn.prepare_cached(
            "UPDATE outgoing SET state = 3, reason = ?2, next_try = NULL, message = NULL WHERE id = ?1 AND state = 2",
        )?
        .execute(params![id, ANOTHERS])?;
        // Of the same telling, and never sent.
        conn.prepare_cached(
            "UPDATE outgoing SET state = 3, reason = ?2, next_try = NULL, message = NULL WHERE attempts = 0 AND state < 3
               AND withdraws = 0 AND round < ?3 AND (destination, entry) = (SELECT destination, entry FROM outgoing WHERE id = ?1)",
        )?
        .execute(params![id, ANOTHERS, round])?;
    }
    let Some(first) = withdraw.first() else { return Ok(()) };
    let mut told = 0;
    for row in rows {
        let state = if row.held.is_some() { State::Held } else { State::Waiting };
        told += conn.prepare_cached(
            "INSERT OR IGNORE INTO outgoing (destination, entry, part, route, lane, state, queued, reason, round)
             SELECT destination, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9 FROM outgoing WHERE id = ?1",
        )?
        .execute(params![
            first,
            row.entry,
            row.part,
            row.route,
            row.lane,
            state.number(),
            now.micros,
            row.held,
            round
        ])?;
    }
    made(conn, *first, told)
}

/// So many more rows were made for the destination of `outgoing`.
fn made(conn: &Connection, outgoing: i64, rows: usize) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "UPDATE destination SET made = made + ?2 WHERE id = (SELECT destination FROM outgoing WHERE id = ?1)",
    )?
    .execute(params![outgoing, rows as i64])?;
    Ok(())
}

/// Counts an entry that is about to be purged: whoever corrects something of its time is told of it.
pub(in crate::buffer) fn purging(conn: &Connection, id: i64) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT INTO purged (device, hour, entries)
         SELECT device, received / ?2, 1 FROM entry JOIN frame ON frame.id = entry.id WHERE entry.id = ?1 AND device IS NOT NULL
         ON CONFLICT DO UPDATE SET entries = entries + 1",
    )?
    .execute(params![id, HOUR])?;
    Ok(())
}

impl Reader {
    /// Looks that are owed, in the order the facts changed.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub fn looks_now(&self) -> Result<Vec<LookRow>, BufferError> {
        self.read_now("reading the looks that are owed", |conn| {
            let mut rows = conn.prepare_cached(
                "SELECT id, device, since, specimen, who, why FROM look ORDER BY id LIMIT ?1",
            )?;
            let row = |row: &Row<'_>| {
                Ok(LookRow {
                    id: row.get(0)?,
                    device: row.get(1)?,
                    since: row.get(2)?,
                    specimen: row.get(3)?,
                    who: row.get(4)?,
                    why: row.get(5)?,
                })
            };
            rows.query_map([LOOKS_MAX], row)?.collect()
        })
    }

    /// What of an entry was told to other systems, or may have been, and not taken back since.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub fn onward_now(&self, entry: i64) -> Result<Vec<OnwardRow>, BufferError> {
        const ROWS: &str = "SELECT outgoing.id, destination.name, route, round, lane, parts FROM onward
            JOIN outgoing ON outgoing.id = onward.outgoing JOIN destination ON destination.id = outgoing.destination
            JOIN attribution ON attribution.id = onward.attribution
            WHERE onward.entry = ?1 AND withdraws = 0 AND attempts > 0 AND NOT EXISTS (
              SELECT 1 FROM outgoing AS later WHERE later.destination = outgoing.destination AND later.entry = outgoing.entry
                AND (later.round > outgoing.round OR later.round = outgoing.round AND later.part = outgoing.part AND later.withdraws = 1))
            ORDER BY outgoing.id";
        self.read_now("reading what went on to other systems", |conn| {
            let row = |row: &Row<'_>| {
                Ok(OnwardRow {
                    outgoing: row.get(0)?,
                    destination: row.get(1)?,
                    route: row.get(2)?,
                    round: row.get(3)?,
                    lane: row.get(4)?,
                    parts: row.get(5)?,
                })
            };
            conn.prepare_cached(ROWS)?.query_map([entry], row)?.collect()
        })
    }

    /// How many entries of a device, received in the hours from `since` to `until` (microseconds since 1970), are no longer
    /// kept.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn purged_of(
        &self,
        device: Option<String>,
        since: i64,
        until: i64,
    ) -> Result<u64, BufferError> {
        self.read("counting what is no longer kept", move |conn| {
            conn.query_row(
                "SELECT coalesce(sum(entries), 0) FROM purged WHERE hour >= ?2 AND hour <= ?3
                   AND (?1 IS NULL OR device = (SELECT id FROM device WHERE key = ?1))",
                params![device, since.div_euclid(HOUR), until.div_euclid(HOUR)],
                |row| row.get::<_, i64>(0),
            )
            .map(i64::unsigned_abs)
        })
        .await
    }
}

#[cfg(test)]
#[path = "onward_tests.rs"]
mod tests;
