//! For going back to an older program whose schema is older too: the newer database is moved aside, never deleted, and the
//! copy from before the newer program takes its place, with everything that came in since.
//!
//! The content comes from the newer file, the shape from the copy: each table of the copy is filled from the table of the
//! same name. That is right as long as a migration never changes what a column means (a new meaning is a new column). Where a
//! table or a column of the copy is missing in the newer file, nothing of what was changed at the desk since can be told: then
//! the copy stays as it was, frames kept since are *held*, and everybody's stay on a device or in a bed ends with the copy, for
//! what was true then may be another patient's by now.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, params};

use super::entry::State;
use super::folder::{Folder, with_suffix};
use super::{BufferError, audit, copy, schema};
use crate::clock::Timestamp;

/// Written once and never changed: only what is new has to be brought over.
const NEVER_CHANGED: [&str; 2] = ["frame", "audit"];
const HELD: &str = "kept by a newer program that was taken back; what was said at the desk since then could not be brought over: \
                    look whose it is, then release it";
const ENDED: &str = "a newer program was taken back; who was on which device since then is not known";

/// What going back came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetBack {
    /// Where the newer database is now.
    pub aside: PathBuf,
    /// Its schema.
    pub schema: i64,
    /// Frames that were kept since the copy and came over.
    pub frames: u64,
    /// What did not come over, in words; empty when all did.
    pub missing: Vec<String>,
    /// Tables of the newer program that the older one does not know, and that hold something: they are in the file aside.
    pub unknown: Vec<String>,
}

impl std::fmt::Display for SetBack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = self.aside.file_name().unwrap_or_default().to_string_lossy();
        write!(f, "the newer database (schema {}) is kept as {name}; ", self.schema)?;
        match self.missing.as_slice() {
            [] => write!(
                f,
                "everything the older program knows came over, {} frames kept since among it",
                self.frames
            )?,
            missing => write!(
                f,
                "the copy from before took its place: {} frames kept since came over and are held, and everybody is off every \
                 device and bed; not brought over: {}",
                self.frames,
                missing.join("; ")
            )?,
        }
        match self.unknown.as_slice() {
            [] => Ok(()),
            unknown => write!(f, "; only in that file: {}", unknown.join(", ")),
        }
    }
}

/// Makes the database in `dir` one that a program with `schema` can read, with the help of `copy`, which such a program
/// wrote. `None`: there is nothing to do.
///
/// # Errors
/// [`BufferError::InUse`]; [`BufferError::NotAllowed`] when there is no copy of that schema or it is damaged;
/// [`BufferError::Folder`], [`BufferError::Storage`]. Then the database is as it was.
pub fn set_back(
    dir: &Path,
    known: i64,
    copy: Option<&Path>,
    now: Timestamp,
) -> Result<Option<SetBack>, BufferError> {
    let database = dir.join(super::folder::DATABASE);
    if !database.exists() {
        return Ok(None);
    }
    let folder = Folder::open(dir)?;
    folder.finish_replacing()?;
    let fail = |source| BufferError::Storage { doing: "going back to an older schema", source };
    let version = |path: &Path| {
        let conn = schema::connect_querying(path)?;
        conn.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))
    };
    let newer = version(&database).map_err(fail)?;
    if newer <= known {
        return Ok(None);
    }
    let copy = copy.filter(|copy| copy.exists()).ok_or_else(|| {
        BufferError::NotAllowed(format!(
            "the database has schema {newer}, the program before knows schema {known}, and there is no copy of the database from \
             before: going back would lose what was kept. Nothing was changed"
        ))
    })?;
    copy::compared(copy)?;
    let found = version(copy).map_err(fail)?;
    if found > known {
        return Err(BufferError::NotAllowed(format!(
            "the copy of the database has schema {found}, the program before knows {known}. Nothing was changed"
        )));
    }
    let path = folder.prepare_replacement()?;
    fs::copy(copy, &path).map_err(|source| BufferError::Folder { path: path.clone(), source })?;
    let (frames, missing, unknown) = filled(&path, &database, now).map_err(fail)?;
    File::open(&path)
        .and_then(|file| file.sync_all())
        .map_err(|source| BufferError::Folder { path: path.clone(), source })?;
    let aside = folder.replace_by_older(now)?;
    if !missing.is_empty() {
        audit::put_seal_aside(dir)
            .map_err(|source| BufferError::Folder { path: dir.to_path_buf(), source })?;
    }
    Ok(Some(SetBack { aside, schema: newer, frames, missing, unknown }))
}

type Filled = (u64, Vec<String>, Vec<String>);

fn filled(path: &Path, newer: &Path, now: Timestamp) -> rusqlite::Result<Filled> {
    // What is in its log belongs to it, wherever it goes.
    schema::connect_writing(newer)?.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    let conn = schema::connect_writing(path)?;
    conn.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    conn.execute("ATTACH ?1 AS newer", [newer.to_string_lossy()])?;
    let (tables, unknown) = tables(&conn)?;
    let since = |conn: &Connection| {
        conn.query_row("SELECT count(*) FROM frame WHERE id > (SELECT value FROM temp.was)", [], |row| {
            row.get::<_, i64>(0)
        })
    };
    conn.execute_batch("CREATE TEMP TABLE was AS SELECT coalesce(max(id), 0) AS value FROM main.frame")?;
    conn.execute_batch("BEGIN")?;
    let mut missing = Vec::new();
    for table in &tables {
        if let Some(why) = brought(&conn, table)? {
            missing.push(why);
        }
    }
    if !missing.is_empty() {
        conn.execute_batch("ROLLBACK; BEGIN")?;
        let frames = brought(&conn, "frame")?.into_iter().chain(brought_links(&conn)?);
        missing.extend(frames.filter(|why| !missing.contains(why)).collect::<Vec<_>>());
        hold_and_end(&conn, now)?;
    }
    conn.execute_batch("COMMIT")?;
    let frames = since(&conn)?;
    conn.execute_batch("DETACH newer")?;
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    conn.close().map_err(|(_, error)| error)?;
    drop(fs::remove_file(with_suffix(path, "-wal")));
    drop(fs::remove_file(with_suffix(path, "-shm")));
    Ok((frames.unsigned_abs(), missing, unknown))
}

/// Tables of the copy; and those of the newer file that the copy has not, where they hold something.
fn tables(conn: &Connection) -> rusqlite::Result<(Vec<String>, Vec<String>)> {
    let names = |of: &str| {
        let sql = format!(
            "SELECT name FROM {of}.sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
        );
        conn.prepare(&sql)?.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()
    };
    let (own, theirs) = (names("main")?, names("newer")?);
    let holds = |name: &String| {
        let sql = format!("SELECT EXISTS (SELECT 1 FROM newer.\"{name}\")");
        conn.query_row(&sql, [], |row| row.get::<_, bool>(0)).unwrap_or(true)
    };
    let unknown = theirs.into_iter().filter(|name| !own.contains(name)).filter(holds).collect();
    Ok((own, unknown))
}

/// The columns of a table; none where there is no such table.
fn columns(conn: &Connection, of: &str, table: &str) -> rusqlite::Result<Vec<String>> {
    let mut all = conn.prepare("SELECT name FROM pragma_table_info(?1, ?2)")?;
    all.query_map([table, of], |row| row.get(0))?.collect()
}

/// Fills a table from the newer one; what stands against it, where something does.
fn brought(conn: &Connection, table: &str) -> rusqlite::Result<Option<String>> {
    let (own, theirs) = (columns(conn, "main", table)?, columns(conn, "newer", table)?);
    if theirs.is_empty() {
        return Ok(Some(format!("the newer program has no table {table}")));
    }
    if let Some(column) = own.iter().find(|column| !theirs.contains(column)) {
        return Ok(Some(format!("the newer program has no {table}.{column}")));
    }
    let names: Vec<String> = own.iter().map(|name| format!("\"{name}\"")).collect();
    let names = names.join(", ");
    let fill = if table == "tally" {
        // Which schema this is, is for the copy to say.
        format!(
            "DELETE FROM main.tally WHERE name <> 'schema';
             INSERT OR IGNORE INTO main.tally ({names}) SELECT {names} FROM newer.tally WHERE name <> 'schema'"
        )
    } else if NEVER_CHANGED.contains(&table) {
        let purged = if table == "frame" {
            "DELETE FROM main.frame WHERE id NOT IN (SELECT id FROM newer.frame);"
        } else {
            ""
        };
        format!(
            "{purged} INSERT INTO main.{table} ({names}) SELECT {names} FROM newer.{table}
             WHERE id > (SELECT coalesce(max(id), 0) FROM main.{table}) ORDER BY id"
        )
    } else {
        format!(
            "DELETE FROM main.\"{table}\"; INSERT INTO main.\"{table}\" ({names}) SELECT {names} FROM newer.\"{table}\""
        )
    };
    match conn.execute_batch(&fill) {
        Ok(()) => Ok(None),
        Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation) => {
            Ok(Some(format!("rows of {table} do not fit the older schema")))
        }
        Err(error) => Err(error),
    }
}

/// Frames name their link by a number: those that are new.
fn brought_links(conn: &Connection) -> rusqlite::Result<Option<String>> {
    let taken =
        conn.execute_batch("INSERT OR IGNORE INTO main.link (id, name) SELECT id, name FROM newer.link");
    Ok(taken.err().map(|_| "names of new links".into()))
}

/// Frames that came over without anything beside them wait for a person; who was on a device when the copy was made may not
/// be there any more.
fn hold_and_end(conn: &Connection, now: Timestamp) -> rusqlite::Result<()> {
    conn.execute(
        "INSERT OR IGNORE INTO main.entry (id, state, link, prefix, reason)
         SELECT f.id, ?1, f.link, coalesce((SELECT e.prefix FROM newer.entry e WHERE e.id = f.id), 0), ?2
         FROM main.frame f WHERE f.id > (SELECT value FROM temp.was)",
        params![State::Held.number(), HELD],
    )?;
    // What a purge took away meanwhile is gone here too.
    conn.execute_batch(
        "DELETE FROM main.entry WHERE id NOT IN (SELECT id FROM main.frame);
         UPDATE main.tally SET value = max(value, (SELECT coalesce(max(id), 0) FROM main.frame)) WHERE name = 'last_id';
         UPDATE main.tally SET value = (SELECT value FROM main.tally WHERE name = 'last_id') - (SELECT count(*) FROM main.frame)
         WHERE name = 'gone'",
    )?;
    let of_copy =
        "coalesce((SELECT max(received) FROM main.frame WHERE id <= (SELECT value FROM temp.was)), 0)";
    let has = |table: &str| conn.prepare(&format!("SELECT 1 FROM main.{table} LIMIT 0")).is_ok();
    if has("association") {
        conn.execute(
            &format!(
                "UPDATE main.association SET until = max(since, {of_copy}), ended_by = 'bedside', ended_why = ?1, ended = ?2
                 WHERE until IS NULL"
            ),
            params![ENDED, now.micros],
        )?;
    }
    if has("stay") {
        conn.execute_batch(&format!(
            "UPDATE main.stay SET until = max(since, {of_copy}) WHERE until IS NULL"
        ))?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "set_back_tests.rs"]
mod tests;
