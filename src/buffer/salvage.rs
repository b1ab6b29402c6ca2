//! For the day the database is damaged: it is moved aside, a new one takes its place, and everything that can be
//! read is copied over. The damaged file is read only, and never deleted.
//!
//! Frames are looked for one id at a time where reading on fails, so a damaged page costs only its own rows. A
//! frame whose entry is lost waits for delivery again, which is harmless: delivering twice is the same as once. A
//! frame whose bytes do not match their SHA-256 is held.

use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};

use super::entry::State;
use super::folder::Folder;
use super::health::{Severity, Shared};
use super::repetition::prefix;
use super::{BufferError, compact, outbox, schema, sha256};

/// Small tables copied row by row, in an order in which nothing refers to what is not there yet.
const TABLES: [&str; 25] = [
    "link",
    "device",
    "user",
    "session",
    "setting",
    "audit",
    "part",
    "work_order",
    "work_asked",
    "association",
    "device_home",
    "unattributed",
    "attribution",
    "attributed",
    "destination",
    "outgoing",
    "outgoing_attributed",
    "person",
    "person_identifier",
    "person_merge",
    "encounter",
    "movement",
    "stay",
    "person_entry",
    "people_heard",
];
/// Frames copied in one transaction.
const BATCH: usize = 1_000;
/// Ids in a row that may be unreadable before the rest is given up, when it is not known where the ids end.
const MISSES: i64 = 100_000;

/// What came over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Salvaged {
    pub(super) frames: u64,
    /// Of these, held because their bytes changed.
    pub(super) changed: u64,
    /// Of these, waiting again because their state was lost.
    pub(super) restarted: u64,
    /// Ids that were given and of which nothing could be read.
    pub(super) lost: u64,
    /// The highest id of them.
    pub(super) last: i64,
}

/// Writes a new database with everything readable, then moves the damaged one aside and the new one in its place.
/// Until the new one is complete the damaged one stays where it is, so a power cut or a full disk loses nothing.
pub(super) fn replace(folder: &Folder, shared: &Shared) -> Result<(), BufferError> {
    let storage = |doing| move |source| BufferError::Storage { doing, source };
    let path = folder.prepare_replacement()?;
    let salvaged =
        write_replacement(&folder.database(), &path).map_err(storage("salvaging the damaged database"))?;
    let aside = folder.replace(shared.clock.now())?;
    shared.next_generation();
    let name = aside.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let Salvaged { frames, changed, restarted, lost, .. } = salvaged;
    shared.raise(
        "database-salvaged",
        Severity::Critical,
        format!(
            "The database was damaged and replaced: {frames} frames were copied over, {changed} of them are held \
             because the disk changed them, {restarted} wait again; {lost} could not be read. The old one is {name}"
        ),
        "Replace the disk, and give the file named here to service. Look at the held entries.",
    );
    Ok(())
}

fn write_replacement(old: &Path, new: &Path) -> rusqlite::Result<Salvaged> {
    let mut into = schema::connect_writing(new)?;
    schema::migrate(&mut into)?;
    let salvaged = copy(old, &into)?;
    // All of it in the one file that will be renamed.
    into.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    into.close().map_err(|(_, error)| error)?;
    Ok(salvaged)
}

/// Copies everything that can be read from the file `from` into a new database. Errors are of the new one; what
/// cannot be read of the old one is what is lost.
fn copy(from: &Path, into: &Connection) -> rusqlite::Result<Salvaged> {
    let Ok(old) = schema::connect_salvaging(from) else { return Ok(Salvaged::default()) };
    for table in TABLES {
        into.execute_batch("BEGIN")?;
        let copied = copy_table(&old, into, table)?;
        into.execute_batch("COMMIT")?;
        if let Err(error) = copied {
            tracing::warn!(table, %error, "A table of the damaged database could not be copied to its end.");
        }
    }
    copy_audit_head(&old, into)?;
    let mut salvaged = Salvaged::default();
    copy_frames(&old, into, &mut salvaged)?;
    into.execute_batch(
        "BEGIN;
         INSERT OR IGNORE INTO seen (bucket, prefix, id) SELECT id >> 20, prefix, id FROM entry ORDER BY 1, 2;
         UPDATE tally SET value = (SELECT coalesce(max(id), 0) FROM entry) WHERE name = 'seen_through';
         COMMIT",
    )?;
    Ok(salvaged)
}

/// Copies rows until the first that cannot be read; the inner error says which it was.
fn copy_table(old: &Connection, into: &Connection, table: &str) -> rusqlite::Result<rusqlite::Result<()>> {
    let rows = match read_table(old, table) {
        Ok(rows) => rows,
        Err(error) => return Ok(Err(error)),
    };
    for row in rows {
        let values = match row {
            Ok(values) => values,
            Err(error) => return Ok(Err(error)),
        };
        let places = vec!["?"; values.len()].join(", ");
        into.prepare_cached(&format!("INSERT OR IGNORE INTO {table} VALUES ({places})"))?
            .execute(params_from_iter(values))?;
    }
    Ok(Ok(()))
}

type Values = Vec<Value>;

/// The rows of a small table, up to the first that cannot be read, which is the last here.
fn read_table(old: &Connection, table: &str) -> rusqlite::Result<Vec<rusqlite::Result<Values>>> {
    let mut all = old.prepare(&format!("SELECT * FROM {table}"))?;
    let columns = all.column_count();
    let mut rows = all.query([])?;
    let mut read = Vec::new();
    loop {
        let row = match rows.next() {
            Ok(Some(row)) => (0..columns).map(|column| row.get(column)).collect(),
            Ok(None) => return Ok(read),
            Err(error) => Err(error),
        };
        let last = row.is_err();
        read.push(row);
        if last {
            return Ok(read);
        }
    }
}

/// The second place of the audit trail's end. Where it is lost, checking the trail says that it is.
fn copy_audit_head(old: &Connection, into: &Connection) -> rusqlite::Result<()> {
    for name in ["audit_rows", "audit_head"] {
        let value: Option<Value> = old
            .query_row("SELECT value FROM tally WHERE name = ?1", [name], |row| row.get(0))
            .unwrap_or(None);
        if let Some(value) = value {
            into.execute("UPDATE tally SET value = ?2 WHERE name = ?1", params![name, value])?;
        }
    }
    Ok(())
}

fn copy_frames(old: &Connection, into: &Connection, salvaged: &mut Salvaged) -> rusqlite::Result<()> {
    let number = |sql| old.query_row(sql, [], |row| row.get::<_, Option<i64>>(0)).ok().flatten().unwrap_or(0);
    let gone = number("SELECT value FROM tally WHERE name = 'gone'");
    let known_last = number("SELECT max(id) FROM frame")
        .max(number("SELECT max(id) FROM entry"))
        .max(number("SELECT value FROM tally WHERE name = 'last_id'"));
    let end = if known_last > 0 { known_last } else { MISSES };
    let column = deflated_column(old);
    let (mut last, mut in_batch, mut missed) = (0, 0, 0);
    into.execute_batch("BEGIN")?;
    // A damaged tree may claim any last id: so many misses in a row are its end.
    while last < end && missed < MISSES {
        let id = match next_id(old, last) {
            // A damaged tree may also lead back.
            Some(Some(id)) if id > last => {
                missed = 0;
                id
            }
            Some(None) => break,
            // Reading on fails here: try the ids one by one until it works again.
            _ => {
                missed += 1;
                last + 1
            }
        };
        last = id;
        copy_frame(old, into, id, column, salvaged)?;
        in_batch += 1;
        if in_batch == BATCH {
            in_batch = 0;
            into.execute_batch("COMMIT; BEGIN")?;
        }
    }
    let kept = known_last.max(salvaged.last);
    let here = i64::try_from(salvaged.frames).unwrap_or(i64::MAX);
    salvaged.lost = kept.saturating_sub(gone).saturating_sub(here).max(0).unsigned_abs();
    into.execute(
        "UPDATE tally SET value = CASE name WHEN 'gone' THEN ?1 ELSE ?2 END WHERE name IN ('gone', 'last_id')",
        params![kept.saturating_sub(here), kept],
    )?;
    into.execute_batch("COMMIT")
}

/// The next id after `last`: `None` when that cannot be read, `Some(None)` at the end.
fn next_id(old: &Connection, last: i64) -> Option<Option<i64>> {
    let mut next = old.prepare_cached("SELECT id FROM frame WHERE id > ?1 ORDER BY id LIMIT 1").ok()?;
    next.query_row([last], |row| row.get(0)).optional().ok()
}

/// A row of the damaged `frame` table.
struct OldFrame {
    sum: Vec<u8>,
    bytes: Vec<u8>,
    deflated: Option<i64>,
    /// link, received, synchronised, peer, topic, warnings
    rest: [Value; 6],
}

/// `deflated` as the damaged file has it: one that was never opened by this version has no such column.
fn deflated_column(old: &Connection) -> &'static str {
    if old.prepare("SELECT deflated FROM frame").is_ok() { "deflated" } else { "NULL" }
}

fn read_frame(old: &Connection, id: i64, deflated: &str) -> rusqlite::Result<OldFrame> {
    old.prepare_cached(&format!(
        "SELECT link, received, synchronised, peer, topic, warnings, sha256, bytes, {deflated} FROM frame WHERE id = ?1"
    ))?
    .query_row([id], |row| {
        Ok(OldFrame {
            rest: [row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?],
            sum: row.get(6)?,
            bytes: row.get(7)?,
            deflated: row.get(8)?,
        })
    })
}

/// Columns of `entry` that come over, after `id`, `link` and `prefix`, which the frame tells.
const ENTRY: &str =
    "state, device, attempts, repeats, next_try, sent_at, answered_at, reason, answer, summary, notes";

fn read_entry(old: &Connection, id: i64) -> rusqlite::Result<Vec<Value>> {
    old.prepare_cached(&format!("SELECT {ENTRY} FROM entry WHERE id = ?1"))?
        .query_row([id], |row| (0..11).map(|column| row.get(column)).collect())
}

fn copy_frame(
    old: &Connection,
    into: &Connection,
    id: i64,
    column: &str,
    salvaged: &mut Salvaged,
) -> rusqlite::Result<()> {
    let Ok(OldFrame { sum, bytes, deflated, rest }) = read_frame(old, id, column) else { return Ok(()) };
    let Ok(sum) = <[u8; 32]>::try_from(sum) else { return Ok(()) };
    let sound = sha256(&compact::frame(&bytes, deflated)) == sum;
    let mut entry = read_entry(old, id).unwrap_or_default();
    let lost_entry = entry.is_empty();
    if lost_entry {
        entry = vec![Value::Null; 11];
        for (at, value) in [(0, State::Waiting.number()), (2, 0), (3, 0)] {
            if let Some(slot) = entry.get_mut(at) {
                *slot = Value::Integer(value);
            }
        }
    }
    let accepted = entry.first() == Some(&Value::Integer(State::Accepted.number()));
    if !sound && !accepted {
        for (at, value) in
            [(0, Value::Integer(State::Held.number())), (7, Value::Text(outbox::CHANGED.into()))]
        {
            if let Some(slot) = entry.get_mut(at) {
                *slot = value;
            }
        }
    }
    let [link, received, synchronised, peer, topic, warnings] = rest;
    // A damaged tree can show a row twice: the first counts.
    into.prepare_cached(
        "INSERT OR IGNORE INTO frame (id, link, received, synchronised, sha256, peer, topic, warnings, bytes, deflated)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?
    .execute(params![id, link, received, synchronised, sum, peer, topic, warnings, bytes, deflated])?;
    // A link whose name was lost keeps its number.
    into.prepare_cached("INSERT OR IGNORE INTO link (id, name) VALUES (?1, 'link ' || ?1)")?
        .execute([&link])?;
    let mut values = vec![Value::Integer(id), link, Value::Integer(prefix(&sum))];
    values.extend(entry);
    into.prepare_cached(&format!(
        "INSERT OR IGNORE INTO entry (id, link, prefix, {ENTRY}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    ))?
    .execute(params_from_iter(values))?;
    salvaged.frames += 1;
    salvaged.last = id;
    salvaged.changed += u64::from(!sound);
    salvaged.restarted += u64::from(lost_entry);
    Ok(())
}
