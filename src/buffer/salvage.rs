//! For the day the database is damaged: it is moved aside, a new one takes its place, and everything that can be
//! read is copied over. The damaged file is read only, and never deleted.
//!
//! Frames are looked for one id at a time where reading on fails, so a damaged page costs only its own rows. A
//! frame whose entry is lost waits for delivery again, which is harmless: delivering twice is the same as once. A
//! frame whose bytes do not match their SHA-256 is held.

use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, OptionalExtension, params, params_from_iter};

use super::entry::State;
use super::folder::Folder;
use super::health::{Severity, Shared};
use super::repetition::prefix;
use super::{BufferError, association, carve, compact, ledger, outbox, schema, sha256};

/// Small tables copied row by row, in an order in which nothing refers to what is not there yet.
const TABLES: [&str; 31] = [
    "link",
    "device",
    "user",
    "session",
    "factor",
    "api_token",
    "break_glass",
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
    "look",
    "onward",
    "purged",
];
/// Frames copied in one transaction.
const BATCH: usize = 1_000;
/// Ids in a row that may be unreadable before the rest is given up, when it is not known where the ids end.
const MISSES: i64 = 100_000;

/// What came over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    /// Ids that were purged before.
    gone: i64,
    /// What of the other tables was lost, in words.
    pub(super) tables: Vec<String>,
}

/// Writes a new database with everything readable, then moves the damaged one aside and the new one in its place.
/// Until the new one is complete the damaged one stays where it is, so a power cut or a full disk loses nothing.
pub(super) fn replace(folder: &Folder, shared: &Shared) -> Result<Salvaged, BufferError> {
    let storage = |doing| move |source| BufferError::Storage { doing, source };
    let path = folder.prepare_replacement()?;
    let salvaged =
        write_replacement(&folder.database(), &path).map_err(storage("salvaging the damaged database"))?;
    let aside = folder.replace(shared.clock.now())?;
    shared.next_generation();
    let name = aside.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let Salvaged { frames, changed, restarted, lost, tables, .. } = &salvaged;
    let besides = match tables.as_slice() {
        [] => String::from("all else came over whole"),
        tables => format!("lost besides: {}", tables.join("; ")),
    };
    shared.raise(
        "database-salvaged",
        Severity::Critical,
        format!(
            "The database was damaged and replaced: {frames} frames were copied over, {changed} of them are held \
             because the disk changed them, {restarted} wait again; {lost} could not be read; {besides}. The old one is {name}"
        ),
        "Replace the disk, and give the file named here to service. Look at the held entries.",
    );
    Ok(salvaged)
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
    let mut salvaged = Salvaged::default();
    let old = schema::connect_salvaging(from).ok();
    if let Some(old) = &old {
        copy_by_sql(old, into, &mut salvaged)?;
    }
    if salvaged.frames == 0 || salvaged.lost > 0 {
        carve_frames(from, old.as_ref(), into, &mut salvaged)?;
    }
    ledger::add_lost(into, salvaged.lost)?;
    into.execute_batch(
        "BEGIN;
         INSERT OR IGNORE INTO seen (bucket, prefix, id) SELECT id >> 20, prefix, id FROM entry ORDER BY 1, 2;
         UPDATE tally SET value = (SELECT coalesce(max(id), 0) FROM entry) WHERE name = 'seen_through';
         UPDATE tally SET value = max(value, (SELECT coalesce(sum(repeats), 0) FROM entry)) WHERE name = 'repeated';
         COMMIT",
    )?;
    association::forget(into)?;
    Ok(salvaged)
}

fn copy_by_sql(old: &Connection, into: &Connection, salvaged: &mut Salvaged) -> rusqlite::Result<()> {
    for table in TABLES {
        into.execute_batch("BEGIN")?;
        let loss = copy_table(old, into, table)?;
        into.execute_batch("COMMIT")?;
        if let Some(told) = loss.told(table) {
            tracing::warn!(table, loss = told, "A table of the damaged database could not be copied whole.");
            salvaged.tables.push(told);
        }
    }
    copy_tallies(old, into)?;
    copy_frames(old, into, salvaged)
}

/// Where SQL does not find every frame: they are looked for in the pages. What is older than all that was found was purged.
fn carve_frames(
    from: &Path,
    old: Option<&Connection>,
    into: &Connection,
    salvaged: &mut Salvaged,
) -> rusqlite::Result<()> {
    let number = |sql| into.query_row(sql, [], |row| row.get::<_, i64>(0));
    let by_sql = salvaged.frames;
    let first = number("SELECT coalesce(min(id), 0) FROM frame")?;
    into.execute_batch("BEGIN")?;
    carve::frames(from, &mut |carved: carve::Carved| {
        let carve::Carved { id, link, received, synchronised, sum, peer, topic, warnings, bytes, packed } =
            carved;
        let known: bool = into
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM frame WHERE id = ?1)")?
            .query_row([id], |row| row.get(0))?;
        if known || id < first {
            return Ok(());
        }
        let frame = OldFrame { sum, bytes, packed, link, received, synchronised, peer, topic, warnings };
        let entry = old.and_then(|old| read_entry(old, id).ok());
        write_frame(into, (id, &frame), entry, salvaged)
    })?;
    let here = number("SELECT count(*) FROM frame")?;
    let last = number("SELECT coalesce(max(id), 0) FROM frame")?;
    let kept = number("SELECT value FROM tally WHERE name = 'last_id'")?.max(last);
    let gone = salvaged.gone;
    set_ids(into, kept, here, salvaged, gone)?;
    if by_sql == 0 && here > 0 {
        salvaged.tables.push("the states of all entries, where they were not found either".into());
    }
    into.execute_batch("COMMIT")
}

/// Ids that were given, and of which nothing is here, are gone or lost.
fn set_ids(
    into: &Connection,
    kept: i64,
    here: i64,
    salvaged: &mut Salvaged,
    gone: i64,
) -> rusqlite::Result<()> {
    salvaged.lost = kept.saturating_sub(gone).saturating_sub(here).max(0).unsigned_abs();
    into.execute(
        "UPDATE tally SET value = CASE name WHEN 'gone' THEN ?1 ELSE ?2 END WHERE name IN ('gone', 'last_id')",
        params![kept.saturating_sub(here), kept],
    )?;
    Ok(())
}

/// What of a table did not come over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Loss {
    /// Rows that were read and are not rows of this table any more.
    unusable: u64,
    /// Reading met damage: an unknown number of rows is behind it.
    cut: bool,
}

impl Loss {
    fn told(&self, table: &str) -> Option<String> {
        match self {
            Self { unusable: 0, cut: false } => None,
            Self { unusable, cut: false } => Some(format!("{unusable} row(s) of {table}")),
            Self { unusable: 0, cut: true } => Some(format!("a part of {table}")),
            Self { unusable, cut: true } => {
                Some(format!("a part of {table}, and {unusable} row(s) of the rest"))
            }
        }
    }
}

/// Copies a table from its beginning, and from its end where damage lies between. Errors are of the new database.
fn copy_table(old: &Connection, into: &Connection, table: &str) -> rusqlite::Result<Loss> {
    let (columns, key) = common_columns(old, into, table)?;
    let mut loss = Loss::default();
    if columns.is_empty() {
        return Ok(loss);
    }
    let (names, places) = (columns.join(", "), vec!["?"; columns.len()].join(", "));
    let insert = format!("INSERT OR IGNORE INTO {table} ({names}) VALUES ({places})");
    loss.cut = copy_rows(old, into, &format!("SELECT {names} FROM {table}"), &insert, &mut loss.unusable)?;
    if loss.cut {
        let backwards = key.iter().map(|name| format!("{name} DESC")).collect::<Vec<_>>().join(", ");
        let from_the_end = format!("SELECT {names} FROM {table} ORDER BY {backwards}");
        copy_rows(old, into, &from_the_end, &insert, &mut loss.unusable)?;
    }
    Ok(loss)
}

/// The columns that both have (an older file has fewer), and the key. None: the old one has no such table.
fn common_columns(
    old: &Connection,
    into: &Connection,
    table: &str,
) -> rusqlite::Result<(Vec<String>, Vec<String>)> {
    let Ok(had) = old.prepare(&format!("SELECT * FROM {table} LIMIT 0")) else {
        return Ok(Default::default());
    };
    let had: Vec<&str> = had.column_names().collect();
    let mut all = into.prepare("SELECT name, pk FROM pragma_table_info(?1)")?;
    let rows = all.query_map([table], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?;
    let rows: Vec<_> = rows.collect::<rusqlite::Result<_>>()?;
    let mut key: Vec<_> = rows.iter().filter(|(_, place)| *place > 0).collect();
    key.sort_by_key(|(_, place)| *place);
    let key = key.into_iter().map(|(name, _)| name.clone()).collect();
    Ok((
        rows.iter().map(|(name, _)| name).filter(|name| had.contains(&name.as_str())).cloned().collect(),
        key,
    ))
}

/// Copies rows until one cannot be read; whether that was so.
fn copy_rows(
    old: &Connection,
    into: &Connection,
    read: &str,
    insert: &str,
    unusable: &mut u64,
) -> rusqlite::Result<bool> {
    let Ok(mut all) = old.prepare(read) else { return Ok(true) };
    let columns = all.column_count();
    let Ok(mut rows) = all.query([]) else { return Ok(true) };
    let mut in_batch = 0;
    loop {
        let row = match rows.next() {
            Ok(Some(row)) => row,
            Ok(None) => return Ok(false),
            Err(_) => return Ok(true),
        };
        // What is not text any more is no row of ours; the ones after it may be.
        let Ok(values) = (0..columns).map(|column| row.get(column)).collect::<rusqlite::Result<Values>>()
        else {
            *unusable += 1;
            continue;
        };
        *unusable += u64::from(!inserted(into, insert, values)?);
        in_batch += 1;
        if in_batch == BATCH {
            in_batch = 0;
            into.execute_batch("COMMIT; BEGIN")?;
        }
    }
}

/// Inserts a row; `false` when it is of another type than its column, as only damage makes it.
fn inserted(into: &Connection, insert: &str, values: Values) -> rusqlite::Result<bool> {
    match into.prepare_cached(insert)?.execute(params_from_iter(values)) {
        Ok(_) => Ok(true),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => Ok(false),
        Err(error) => Err(error),
    }
}

type Values = Vec<Value>;

/// The second place of the audit trail's end, and what no entry tells. Where the first is lost, checking the trail says
/// that it is.
fn copy_tallies(old: &Connection, into: &Connection) -> rusqlite::Result<()> {
    let mut value = old.prepare("SELECT value FROM tally WHERE name = ?1").ok();
    let mut read = |name: &str| value.as_mut()?.query_row([name], |row| row.get::<_, Value>(0)).ok();
    for name in ["audit_rows", "repeated", "refused", "noise", "lost"] {
        if let Some(Value::Integer(value)) = read(name)
            && value >= 0
        {
            into.execute("UPDATE tally SET value = ?2 WHERE name = ?1", params![name, value])?;
        }
    }
    if let Some(head @ Value::Blob(_)) = read("audit_head") {
        into.execute("UPDATE tally SET value = ?1 WHERE name = 'audit_head'", params![head])?;
    }
    Ok(())
}

fn copy_frames(old: &Connection, into: &Connection, salvaged: &mut Salvaged) -> rusqlite::Result<()> {
    let number = |sql| old.query_row(sql, [], |row| row.get::<_, Option<i64>>(0)).ok().flatten().unwrap_or(0);
    let gone = number("SELECT value FROM tally WHERE name = 'gone'");
    let known_last = last_of([
        number("SELECT max(id) FROM frame"),
        number("SELECT max(id) FROM entry"),
        number("SELECT value FROM tally WHERE name = 'last_id'"),
    ]);
    let end = if known_last > 0 { known_last } else { MISSES };
    let column = packed_column(old);
    let (mut last, mut in_batch, mut missed) = (0, 0, 0);
    into.execute_batch("BEGIN")?;
    // A damaged tree may claim any last id: so many misses in a row are its end.
    while last < end && missed < MISSES {
        let id = match next_id(old, last) {
            // A damaged tree may also lead back.
            Some(Some(id)) if id > end => break,
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
    salvaged.gone = gone;
    let kept = known_last.max(salvaged.last);
    let here = i64::try_from(salvaged.frames).unwrap_or(i64::MAX);
    set_ids(into, kept, here, salvaged, gone)?;
    into.execute_batch("COMMIT")
}

/// The last id that was given. A damaged row may claim any: one that is far beyond what the others say is not believed.
fn last_of(mut claims: [i64; 3]) -> i64 {
    claims.sort_unstable();
    let [_, second, first] = claims;
    if second > 0 && first.saturating_sub(second) > MISSES { second } else { first }
}

/// The next id after `last`: `None` when that cannot be read, `Some(None)` at the end.
fn next_id(old: &Connection, last: i64) -> Option<Option<i64>> {
    let mut next = old.prepare_cached("SELECT id FROM frame WHERE id > ?1 ORDER BY id LIMIT 1").ok()?;
    next.query_row([last], |row| row.get(0)).optional().ok()
}

/// A row of the damaged `frame` table. The frame has its SHA-256; what stands beside it may be damaged, and is then taken
/// for nothing.
struct OldFrame {
    sum: [u8; 32],
    bytes: Vec<u8>,
    packed: Option<i64>,
    link: i64,
    received: i64,
    synchronised: bool,
    peer: String,
    topic: Option<String>,
    warnings: Option<String>,
}

/// `packed` as the damaged file has it: one that was never opened by this version has no such column.
fn packed_column(old: &Connection) -> &'static str {
    if old.prepare("SELECT packed FROM frame").is_ok() { "packed" } else { "NULL" }
}

fn read_frame(old: &Connection, id: i64, packed: &str) -> rusqlite::Result<OldFrame> {
    old.prepare_cached(&format!(
        "SELECT link, received, synchronised, peer, topic, warnings, sha256, bytes, {packed} FROM frame WHERE id = ?1"
    ))?
    .query_row([id], |row| {
        let text = |column| row.get::<_, Option<String>>(column).ok().flatten();
        let sum: Vec<u8> = row.get(6)?;
        Ok(OldFrame {
            sum: sum.try_into().map_err(|_| rusqlite::Error::InvalidQuery)?,
            bytes: row.get(7)?,
            packed: row.get(8).unwrap_or_default(),
            link: row.get(0).unwrap_or_default(),
            received: row.get(1).unwrap_or_default(),
            // A time that cannot be read is not one that was vouched for.
            synchronised: row.get::<_, i64>(1).is_ok() && row.get::<_, i64>(2).is_ok_and(|yes| yes == 1),
            peer: text(3).unwrap_or_default(),
            topic: text(4),
            warnings: text(5),
        })
    })
}

/// Columns of `entry` that come over, after `id`, `link` and `prefix`, which the frame tells.
const ENTRY: &str =
    "state, device, attempts, repeats, next_try, sent_at, answered_at, reason, answer, summary, notes";
const STATE: usize = 0;
const ANSWERED_AT: usize = 6;
const REASON: usize = 7;
const IN_DOUBT: &str =
    "the disk damaged what was written down of its delivery; look whether the server has it";

fn read_entry(old: &Connection, id: i64) -> rusqlite::Result<Values> {
    old.prepare_cached(&format!("SELECT {ENTRY} FROM entry WHERE id = ?1"))?
        .query_row([id], |row| (0..11).map(|column| row.get(column)).collect())
}

/// An entry of which nothing is known but its frame.
fn new_entry() -> Values {
    let mut entry = vec![Value::Null; 11];
    for (at, value) in [(STATE, State::Waiting.number()), (2, 0), (3, 0)] {
        put(&mut entry, at, Value::Integer(value));
    }
    entry
}

fn put(entry: &mut Values, at: usize, value: Value) {
    if let Some(slot) = entry.get_mut(at) {
        *slot = value;
    }
}

fn hold(entry: &mut Values, why: &str) {
    put(entry, STATE, Value::Integer(State::Held.number()));
    put(entry, REASON, Value::Text(why.into()));
}

fn copy_frame(
    old: &Connection,
    into: &Connection,
    id: i64,
    column: &str,
    salvaged: &mut Salvaged,
) -> rusqlite::Result<()> {
    match read_frame(old, id, column) {
        Ok(frame) => write_frame(into, (id, &frame), read_entry(old, id).ok(), salvaged),
        Err(_) => Ok(()),
    }
}

fn write_frame(
    into: &Connection,
    (id, frame): (i64, &OldFrame),
    entry: Option<Values>,
    salvaged: &mut Salvaged,
) -> rusqlite::Result<()> {
    let sound = sha256(&compact::frame(&frame.bytes, frame.packed)) == frame.sum;
    // A damaged tree can show a row twice: the first counts.
    into.prepare_cached(
        "INSERT OR IGNORE INTO frame (id, link, received, synchronised, sha256, peer, topic, warnings, bytes, packed)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?
    .execute(params![
        id,
        frame.link,
        frame.received,
        frame.synchronised,
        frame.sum,
        frame.peer,
        frame.topic,
        frame.warnings,
        frame.bytes,
        frame.packed
    ])?;
    // A link whose name was lost keeps its number.
    into.prepare_cached("INSERT OR IGNORE INTO link (id, name) VALUES (?1, 'link ' || ?1)")?
        .execute([frame.link])?;
    let mut restarted = !copy_entry(into, (id, frame), entry, sound)?;
    if restarted {
        restarted = copy_entry(into, (id, frame), Some(new_entry()), sound)?;
    }
    salvaged.frames += 1;
    salvaged.last = id;
    salvaged.changed += u64::from(!sound);
    salvaged.restarted += u64::from(restarted);
    Ok(())
}

/// `false`: there is nothing of the entry that could be used.
fn copy_entry(
    into: &Connection,
    (id, frame): (i64, &OldFrame),
    entry: Option<Values>,
    sound: bool,
) -> rusqlite::Result<bool> {
    let Some(mut entry) = entry else { return Ok(false) };
    let Some(Value::Integer(state)) = entry.get(STATE) else { return Ok(false) };
    let state = State::of(*state);
    put(&mut entry, STATE, Value::Integer(state.number()));
    if state == State::Accepted && !matches!(entry.get(ANSWERED_AT), Some(Value::Integer(_))) {
        hold(&mut entry, IN_DOUBT);
    }
    if !sound && state != State::Accepted {
        hold(&mut entry, outbox::CHANGED);
    }
    let mut values = vec![Value::Integer(id), Value::Integer(frame.link), Value::Integer(prefix(&frame.sum))];
    values.extend(entry);
    let insert = format!(
        "INSERT OR IGNORE INTO entry (id, link, prefix, {ENTRY}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    );
    inserted(into, &insert, values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_that_holds_facts_is_salvaged() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.db");
        std::fs::write(&path, b"").unwrap();
        let mut conn = schema::connect_writing(&path).unwrap();
        schema::migrate(&mut conn).unwrap();
        let mut names = conn
            .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name")
            .unwrap();
        let mut all: Vec<String> =
            names.query_map([], |row| row.get(0)).unwrap().collect::<rusqlite::Result<_>>().unwrap();
        // These are copied with care, and `seen` is made anew.
        all.retain(|name| !["frame", "entry", "tally", "seen"].contains(&name.as_str()));
        let mut copied = TABLES.to_vec();
        copied.sort_unstable();
        assert_eq!(all, copied);
    }

    #[test]
    fn what_is_lost_of_a_table_is_said() {
        assert_eq!(Loss::default().told("user"), None);
        assert_eq!(Loss { unusable: 2, cut: false }.told("user").unwrap(), "2 row(s) of user");
        assert_eq!(Loss { unusable: 0, cut: true }.told("user").unwrap(), "a part of user");
    }
}
