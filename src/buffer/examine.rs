//! For the question "is all of it sound?": SQLite's own check, every frame against its SHA-256, rows that refer to what is
//! not there, tallies against what they count, and the audit trail. Nothing is changed; a box may run meanwhile.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension};
use serde::Serialize;

use super::folder::DATABASE;
use super::ledger::{self, Ledger};
use super::{BufferError, audit, health, schema, scrub};

/// Faults of one kind that are listed.
const LISTED: usize = 20;
const STEP_BYTES: usize = 16 << 20;

/// Rows that refer to a row that is not there: child table, what it refers to, and the rows.
const FOREIGN: [(&str, &str, &str); 9] = [
    (
        "entry",
        "frame",
        "SELECT count(*) FROM entry WHERE NOT EXISTS (SELECT 1 FROM frame WHERE frame.id = entry.id)",
    ),
    (
        "frame",
        "entry",
        "SELECT count(*) FROM frame WHERE NOT EXISTS (SELECT 1 FROM entry WHERE entry.id = frame.id)",
    ),
    (
        "frame",
        "link",
        "SELECT count(*) FROM frame WHERE NOT EXISTS (SELECT 1 FROM link WHERE link.id = frame.link)",
    ),
    (
        "entry",
        "device",
        "SELECT count(*) FROM entry WHERE device IS NOT NULL AND NOT EXISTS (SELECT 1 FROM device WHERE device.id = entry.device)",
    ),
    (
        "attributed",
        "attribution",
        "SELECT count(*) FROM attributed WHERE NOT EXISTS (SELECT 1 FROM attribution WHERE attribution.id = attribution)",
    ),
    (
        "unattributed",
        "entry",
        "SELECT count(*) FROM unattributed WHERE NOT EXISTS (SELECT 1 FROM entry WHERE id = entry)",
    ),
    (
        "outgoing",
        "destination",
        "SELECT count(*) FROM outgoing WHERE NOT EXISTS (SELECT 1 FROM destination WHERE id = destination)",
    ),
    (
        "outgoing",
        "entry",
        "SELECT count(*) FROM outgoing WHERE state < 3 AND NOT EXISTS (SELECT 1 FROM entry WHERE entry.id = outgoing.entry)",
    ),
    (
        "person_identifier",
        "person",
        "SELECT count(*) FROM person_identifier WHERE NOT EXISTS (SELECT 1 FROM person WHERE id = person)",
    ),
];

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Examined {
    /// Frames verified, and the ids of the first ones that are not what they were.
    pub frames: u64,
    pub changed: u64,
    pub changed_ids: Vec<i64>,
    /// Everything else that is wrong, as sentences.
    pub faults: Vec<String>,
    pub audit_rows: u64,
    pub ledger: Ledger,
}

impl Examined {
    /// Nothing is wrong.
    pub fn sound(&self) -> bool {
        self.changed == 0 && self.faults.is_empty()
    }
}

/// How far an examination or a copy has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Pages or frames, and how many there are.
    pub what: &'static str,
    pub done: u64,
    pub of: u64,
}

/// Examines the buffer in `dir`; `progress` hears how far it is.
///
/// # Errors
/// [`BufferError::Folder`] when there is none, [`BufferError::Newer`], [`BufferError::Foreign`], [`BufferError::Storage`]
/// when it cannot be read at all.
pub fn examine(dir: &Path, progress: &mut dyn FnMut(Progress)) -> Result<Examined, BufferError> {
    let path = dir.join(DATABASE);
    std::fs::metadata(&path).map_err(|source| BufferError::Folder { path: path.clone(), source })?;
    schema::refuse_what_is_not_ours(&path)?;
    let storage = |source| BufferError::Storage { doing: "examining the buffer", source };
    let conn = schema::connect_querying(&path).map_err(storage)?;
    whole(&conn, progress).map_err(storage)
}

/// The same on an open connection. The frames are read in short steps, so that the log of a running box goes on.
pub(super) fn whole(conn: &Connection, progress: &mut dyn FnMut(Progress)) -> rusqlite::Result<Examined> {
    let mut found = Examined::default();
    let version: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version < schema::VERSION {
        found.faults.push(format!(
            "the schema is {version}, this program's is {}: start the box once, it brings it up to date",
            schema::VERSION
        ));
    }
    pages(conn, &mut found)?;
    frames(conn, &mut found, progress)?;
    // What is compared must be of one moment.
    let snapshot = conn.unchecked_transaction()?;
    for (table, of, sql) in FOREIGN {
        match snapshot.query_row(sql, [], |row| row.get::<_, i64>(0)) {
            Ok(0) => {}
            Ok(rows) => found.faults.push(format!("{rows} row(s) of {table} without their {of}")),
            Err(error) => found.faults.push(format!("{table} could not be compared with {of}: {error}")),
        }
    }
    tallies(&snapshot, &mut found)?;
    let trail = audit::verify(&snapshot, None)?;
    found.audit_rows = trail.rows;
    if let Some((row, why)) = trail.broken {
        found.faults.push(format!("the audit trail is broken at row {row}: {why}"));
    }
    Ok(found)
}

/// SQLite's own check: trees, indices, free pages, column types.
fn pages(conn: &Connection, found: &mut Examined) -> rusqlite::Result<()> {
    let mut check = conn.prepare(&format!("PRAGMA integrity_check({LISTED})"))?;
    for line in check.query_map([], |row| row.get::<_, String>(0))? {
        let line = line?;
        if line != "ok" {
            found.faults.push(format!("SQLite: {line}"));
        }
    }
    Ok(())
}

fn frames(
    conn: &Connection,
    found: &mut Examined,
    progress: &mut dyn FnMut(Progress),
) -> rusqlite::Result<()> {
    let last: Option<i64> = conn.query_row("SELECT max(id) FROM frame", [], |row| row.get(0))?;
    let last = last.unwrap_or(0);
    let mut through = 0;
    loop {
        let step = match scrub::verify(conn, through, STEP_BYTES) {
            Ok(step) => step,
            Err(error) => {
                found.faults.push(format!("the frames after entry {through} could not be read: {error}"));
                return Ok(());
            }
        };
        through = step.through;
        found.frames += step.frames;
        found.changed += step.changed.len() as u64;
        let room = LISTED.saturating_sub(found.changed_ids.len());
        found.changed_ids.extend(step.changed.iter().map(|(id, _)| *id).take(room));
        progress(Progress { what: "frames", done: through.unsigned_abs(), of: last.unsigned_abs() });
        if step.end {
            return Ok(());
        }
    }
}

/// The counts that stand in place of counting, against a count.
fn tallies(conn: &Connection, found: &mut Examined) -> rusqlite::Result<()> {
    let counts = health::count(conn)?;
    found.ledger = ledger::by_sql(conn)?;
    let mut states = conn.prepare("SELECT state, count(*) FROM entry GROUP BY state")?;
    let (mut all, mut accepted) = (0, 0);
    let mut rows = states.query([])?;
    while let Some(row) = rows.next()? {
        let (state, count): (i64, i64) = (row.get(0)?, row.get(1)?);
        all += count.unsigned_abs();
        if state == super::State::Accepted.number() {
            accepted = count.unsigned_abs();
        }
    }
    if accepted != counts.accepted {
        found.faults.push(format!("{accepted} entries are accepted, the tallies say {}", counts.accepted));
    }
    if all + counts.gone != counts.kept {
        found.faults.push(format!(
            "{all} entries and {} gone are not the {} that were kept",
            counts.gone, counts.kept
        ));
    }
    if !found.ledger.balanced() {
        found.faults.push("the ledger does not balance".into());
    }
    let unanswered: Option<i64> = conn
        .query_row("SELECT id FROM entry WHERE state = 3 AND answered_at IS NULL LIMIT 1", [], |row| {
            row.get(0)
        })
        .optional()?;
    if let Some(id) = unanswered {
        found.faults.push(format!("entry {id} is accepted and has no time of an answer"));
    }
    Ok(())
}
