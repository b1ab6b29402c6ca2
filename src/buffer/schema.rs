//! For the bytes on the disk: the tables, every PRAGMA with its reason, and the steps from one schema to the next.
//!
//! Files in the data folder (0700, files 0600):
//!
//! ```text
//! bedside.db  -wal  -shm     the database, its write-ahead log, the log's index
//! bedside.lock               held by the running process; its text is the process id
//! ballast                    8 MiB of reserved room, given back when the disk is full
//! bedside.db.corrupt-<time>  a database that could not be used; never deleted by Bedside
//! ```
//!
//! Tables. `frame` is what a device said: written once, never changed, and complete in itself, so that it can be
//! salvaged alone. `entry` is how far its delivery has come: small and often rewritten. Both share one id, given
//! without gaps from 1.
//!
//! ```text
//! link     id → name                                       names are few; rows carry the number
//! frame    id, link, received, synchronised, sha256, peer, topic, warnings (JSON), bytes,
//!          packed (null: `bytes` is the frame; n: raw DEFLATE of its n bytes; -n: an LZ4 block of them)
//! entry    id, state (0 waiting, 1 sent, 2 held, 3 accepted), link, prefix, device, attempts, repeats,
//!          next_try, sent_at, answered_at, reason, answer, summary, notes (JSON [[micros, text], …])
//! seen     (bucket, prefix, id)   first 8 bytes of the SHA-256 → id, 2^20 ids to a bucket; see repetition.rs
//! part     id, link, peer, received, synchronised, sha256, bytes        pieces of unfinished transmissions
//! device   id, key, label, manufacturer, model, link, first_seen, last_seen, identifiers (JSON)
//! user     name, password (argon2 hash), role, created, disabled, source, subject, grants (JSON), must_change, last_login
//! session  id, token (hash of the cookie), user, stage, created, last_used, expires, proven, peer, agent
//! factor   id, user, kind, label, secret (sealed, a public key or a hash), credential, site, counter, created, last_used
//! api_token    id, user, name, token (hash), permissions, created, expires, last_used
//! break_glass  id, user, reason, began, until, ended
//! setting  key, value
//! audit    id, at, who, what, detail, previous, hash       hash = SHA-256(previous, all columns)
//! work_order  id, specimen, tests (JSON), urgent, person (JSON), kind, collected, number, source (0 desk, 1 HL7, 2 FHIR),
//!             source_key, author, created, state (0 open, 1 sent, 2 done, 3 cancelled), changed, note
//! work_asked  id, work_order, at, link, outcome      what analysers were told of an order
//! association  id, device, person (JSON), since, until, scanned, overrules, author, made, reason, ended_by, ended_why, ended,
//!              void, void_by, void_why, replaced_by          who was on a device; never deleted, made void when wrong
//! device_home  id, device, place, since, until, author, made      where a device stands
//! unattributed entry, device, state (0 orphan, 1 conflict, 2 review), why, first, last      why an entry is held
//! attributed   entry, attribution → attribution(id, parts JSON), decided, withdrawn   under whom an entry went upstream
//! destination  id, name, through (entries up to it were looked at), wanted (the file names it), paused, heard_at,
//!              heard (last acknowledgement), made and gone (rows ever made, and deleted with their entry)
//! outgoing  id, destination, entry, part, route, lane, state (as of an entry), attempts, revision, queued, next_try, sent_at,
//!           committed, answered_at, reason, control (MSH-10), answer, message (null: built when it is first sent)
//!           round (told anew because its patient was another), withdraws (takes back what was told in that round)
//! onward   outgoing, entry, attribution      under whom a message went on
//! look     id, device (null: all), since, specimen, who, why      facts changed; entries since then are to be looked at again
//! purged   device, hour, entries             how many entries of an hour are no longer kept
//! outgoing_attributed  destination, entry, …                 as `attributed`, for each further FHIR server or folder
//! person   id, family, given (JSON), birth_date, gender, name_told, birth_told, gender_told, words (for searching),
//!          merged_into, removed, source, told, heard (by this box's clock), entry
//! person_identifier  folded, system, person, value, kind, since, retired, entry
//! person_merge       id, survivor, gone, at, entry, undone, undone_by
//! encounter id, person, system, number                      visits
//! movement  id, person, encounter, step, at, told, place, entry   what was said of a person's ways
//! stay      id, person, encounter, place, since, until, on_leave  worked out of `movement`
//! person_entry  entry, person, event, told                  which message spoke of whom
//! people_heard  source, at                                  when each source was last heard
//! tally    name → number: last_id, gone, seen_through, audit_rows; repeated, refused, noise, lost (ledger.rs);
//!          schema (once more, for a header that the disk changed);
//!          scrub_through, _began, _found, _passed, _passed_found (scrub.rs); audit_head as text
//! ```
//!
//! Times are microseconds since 1970 UTC. The two indices on `entry` are partial: an accepted entry, which is
//! nearly every entry, is in neither.

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::BufferError;
use crate::sabotage::{Sabotage, commits};

/// `BEDS` in ASCII: tells our database from another program's.
const APPLICATION_ID: i64 = 0x4245_4453;

/// One step for each schema, from the one before it. Never edited after a release; a new step is appended.
const STEPS: [&str; 12] = [
    FIRST,
    PACKED,
    WORKLIST,
    PEOPLE,
    ROUTES,
    super::association::TABLES,
    super::association::LOOKS,
    super::feed::TABLES,
    SIZE,
    super::audit::APPEND_ONLY,
    LATE,
    super::account::TABLES,
];

/// The schema this program writes.
pub(super) const VERSION: i64 = STEPS.len() as i64;

const FIRST: &str = "
CREATE TABLE link (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE frame (
  id INTEGER PRIMARY KEY, link INTEGER NOT NULL, received INTEGER NOT NULL, synchronised INTEGER NOT NULL,
  sha256 BLOB NOT NULL, peer TEXT NOT NULL, topic TEXT, warnings TEXT, bytes BLOB NOT NULL) STRICT;
CREATE TABLE entry (
  id INTEGER PRIMARY KEY, state INTEGER NOT NULL, link INTEGER NOT NULL, prefix INTEGER NOT NULL, device INTEGER,
  attempts INTEGER NOT NULL DEFAULT 0, repeats INTEGER NOT NULL DEFAULT 0, next_try INTEGER, sent_at INTEGER,
  answered_at INTEGER, reason TEXT, answer TEXT, summary TEXT, notes TEXT) STRICT;
CREATE INDEX entry_open ON entry (state, id, link, device) WHERE state < 3;
CREATE INDEX entry_delayed ON entry (next_try) WHERE next_try IS NOT NULL;
CREATE TABLE seen (
  bucket INTEGER NOT NULL, prefix INTEGER NOT NULL, id INTEGER NOT NULL, PRIMARY KEY (bucket, prefix, id)
) STRICT, WITHOUT ROWID;
CREATE TABLE part (
  id INTEGER PRIMARY KEY, link INTEGER NOT NULL, peer TEXT NOT NULL, received INTEGER NOT NULL,
  synchronised INTEGER NOT NULL, sha256 BLOB NOT NULL, bytes BLOB NOT NULL) STRICT;
CREATE TABLE device (
  id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, label TEXT NOT NULL DEFAULT '', manufacturer TEXT NOT NULL DEFAULT '',
  model TEXT NOT NULL DEFAULT '', link TEXT NOT NULL DEFAULT '', first_seen INTEGER NOT NULL,
  last_seen INTEGER NOT NULL, identifiers TEXT NOT NULL DEFAULT '[]') STRICT;
CREATE TABLE user (
  name TEXT PRIMARY KEY, password TEXT NOT NULL, role TEXT NOT NULL, created INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE session (
  id BLOB PRIMARY KEY, user TEXT NOT NULL, created INTEGER NOT NULL, last_used INTEGER NOT NULL,
  expires INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE setting (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE audit (
  id INTEGER PRIMARY KEY, at INTEGER NOT NULL, who TEXT NOT NULL, what TEXT NOT NULL, detail TEXT NOT NULL,
  previous BLOB NOT NULL, hash BLOB NOT NULL) STRICT;
CREATE TABLE tally (name TEXT PRIMARY KEY, value ANY NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO tally VALUES ('last_id', 0), ('gone', 0), ('seen_through', 0), ('audit_rows', 0), ('audit_head', '');
";

const PACKED: &str = "ALTER TABLE frame ADD COLUMN packed INTEGER;";

/// What a person let go goes behind entries that came later: it may be an older version of what those said.
const LATE: &str = "ALTER TABLE entry ADD COLUMN late INTEGER; ALTER TABLE outgoing ADD COLUMN late INTEGER;";

const WORKLIST: &str = "
CREATE TABLE work_order (
  id INTEGER PRIMARY KEY AUTOINCREMENT, specimen TEXT NOT NULL, tests TEXT NOT NULL, urgent INTEGER NOT NULL, person TEXT,
  kind TEXT NOT NULL, collected INTEGER, number TEXT NOT NULL, source INTEGER NOT NULL, source_key TEXT NOT NULL,
  author TEXT NOT NULL, created INTEGER NOT NULL, state INTEGER NOT NULL, changed INTEGER NOT NULL, note TEXT) STRICT;
CREATE UNIQUE INDEX work_order_key ON work_order (source_key);
CREATE INDEX work_order_specimen ON work_order (specimen);
CREATE INDEX work_order_state ON work_order (state, id);
CREATE TABLE work_asked (
  id INTEGER PRIMARY KEY, work_order INTEGER NOT NULL, at INTEGER NOT NULL, link TEXT NOT NULL, outcome TEXT NOT NULL) STRICT;
CREATE INDEX work_asked_order ON work_asked (work_order, id);
";

const PEOPLE: &str = "
CREATE TABLE person (
  id INTEGER PRIMARY KEY AUTOINCREMENT, family TEXT, given TEXT NOT NULL, birth_date TEXT, gender TEXT,
  name_told INTEGER NOT NULL, birth_told INTEGER NOT NULL, gender_told INTEGER NOT NULL, words TEXT NOT NULL,
  merged_into INTEGER, removed INTEGER NOT NULL, source TEXT NOT NULL, told INTEGER NOT NULL, heard INTEGER NOT NULL,
  entry INTEGER) STRICT;
CREATE INDEX person_merged ON person (merged_into) WHERE merged_into IS NOT NULL;
CREATE TABLE person_identifier (
  folded TEXT NOT NULL, system TEXT NOT NULL, person INTEGER NOT NULL, value TEXT NOT NULL, kind TEXT NOT NULL,
  since INTEGER NOT NULL, retired INTEGER NOT NULL, entry INTEGER, PRIMARY KEY (folded, system, person)) STRICT, WITHOUT ROWID;
CREATE INDEX person_identifier_of ON person_identifier (person);
CREATE TABLE person_merge (
  id INTEGER PRIMARY KEY, survivor INTEGER NOT NULL, gone INTEGER NOT NULL, at INTEGER NOT NULL, entry INTEGER,
  undone INTEGER, undone_by TEXT) STRICT;
CREATE INDEX person_merge_survivor ON person_merge (survivor);
CREATE INDEX person_merge_gone ON person_merge (gone);
CREATE TABLE encounter (
  id INTEGER PRIMARY KEY, person INTEGER NOT NULL, system TEXT NOT NULL, number TEXT NOT NULL,
  UNIQUE (number, system, person)) STRICT;
CREATE TABLE movement (
  id INTEGER PRIMARY KEY, person INTEGER NOT NULL, encounter INTEGER, step INTEGER NOT NULL, at INTEGER NOT NULL,
  told INTEGER NOT NULL, facility TEXT, point_of_care TEXT, room TEXT, bed TEXT, entry INTEGER) STRICT;
CREATE INDEX movement_person ON movement (person);
CREATE TABLE stay (
  id INTEGER PRIMARY KEY, person INTEGER NOT NULL, encounter INTEGER, facility TEXT, point_of_care TEXT, room TEXT, bed TEXT,
  since INTEGER NOT NULL, until INTEGER, on_leave INTEGER NOT NULL) STRICT;
CREATE INDEX stay_person ON stay (person);
CREATE INDEX stay_bed ON stay (bed, room);
CREATE INDEX stay_open ON stay (person) WHERE until IS NULL;
CREATE TABLE person_entry (
  entry INTEGER NOT NULL, person INTEGER NOT NULL, event TEXT NOT NULL, told INTEGER NOT NULL,
  PRIMARY KEY (entry, person)) STRICT, WITHOUT ROWID;
CREATE INDEX person_entry_person ON person_entry (person);
CREATE TABLE people_heard (source TEXT PRIMARY KEY, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
";

/// Each destination has its own queue; `lane` is a hash of whatever is kept in order, so that no patient is named.
const ROUTES: &str = "
CREATE TABLE destination (
  id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, through INTEGER NOT NULL, wanted INTEGER NOT NULL,
  paused INTEGER NOT NULL DEFAULT 0, heard_at INTEGER, heard TEXT) STRICT;
CREATE TABLE outgoing (
  id INTEGER PRIMARY KEY AUTOINCREMENT, destination INTEGER NOT NULL, entry INTEGER NOT NULL, part INTEGER NOT NULL,
  route TEXT NOT NULL, lane INTEGER NOT NULL, state INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
  revision INTEGER NOT NULL DEFAULT 0, queued INTEGER NOT NULL, next_try INTEGER, sent_at INTEGER, committed INTEGER,
  answered_at INTEGER, reason TEXT, control TEXT, answer TEXT, message BLOB) STRICT;
CREATE UNIQUE INDEX outgoing_once ON outgoing (destination, entry, part);
CREATE INDEX outgoing_entry ON outgoing (entry, state);
CREATE INDEX outgoing_open ON outgoing (destination, state, id) WHERE state < 3;
CREATE INDEX outgoing_delayed ON outgoing (destination, next_try) WHERE next_try IS NOT NULL;
";

/// What a purge takes away must be found by an index, and what no entry tells must be counted.
const SIZE: &str = "
CREATE INDEX attributed_attribution ON attributed (attribution);
CREATE INDEX onward_attribution ON onward (attribution);
CREATE INDEX outgoing_attributed_attribution ON outgoing_attributed (attribution);
DELETE FROM attributed WHERE entry NOT IN (SELECT id FROM entry);
DELETE FROM unattributed WHERE entry NOT IN (SELECT id FROM entry);
DELETE FROM person_entry WHERE entry NOT IN (SELECT id FROM entry);
INSERT INTO tally SELECT 'repeated', coalesce(sum(repeats), 0) FROM entry;
INSERT INTO tally VALUES ('refused', 0), ('noise', 0), ('lost', 0), ('scrub_through', 0), ('scrub_began', 0),
  ('scrub_found', 0), ('scrub_passed', 0), ('scrub_passed_found', 0);
";

/// Before the first table: where the database cannot be changed any more once it has pages.
/// - `page_size 4096`: two ordinary messages to a page, and the sector of flash and disk.
/// - `auto_vacuum INCREMENTAL`: purged pages can be given back to the disk in small steps, when nobody waits.
/// - `journal_mode WAL`: one sync for a commit, and readers never stop the writer.
const AT_BIRTH: &str =
    "PRAGMA page_size = 4096; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL;";

/// On every writing connection.
/// - `synchronous FULL`: the log is synced at every commit. NORMAL loses the last commits at a power cut.
/// - `wal_autocheckpoint 0`: checkpoints are ours to time (checkpoint.rs), or one commit in a thousand is slow.
/// - `journal_size_limit`: a log that a long reader let grow is cut when it begins anew.
/// - `busy_timeout`: only the checkpoint thread shares the locks; five seconds is a fault, not a wait.
/// - `cache_size`: 4 MiB; the hot pages are the ends of the tables.
/// - `mmap_size 0`: an I/O error must be an error, not a signal that ends the process.
/// - `temp_store MEMORY`: no patient data in a temporary file.
/// - `cell_size_check`: a damaged page is found when it is read, not when it has been used.
/// - `secure_delete FAST`: purged bytes are overwritten where that costs no further write.
/// - `trusted_schema OFF`: a schema edited from outside cannot call functions.
const WRITING: &str = "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0; PRAGMA busy_timeout = 5000;
    PRAGMA journal_size_limit = 67108864; PRAGMA cache_size = -4096; PRAGMA mmap_size = 0; PRAGMA temp_store = MEMORY; PRAGMA cell_size_check = ON;
    PRAGMA secure_delete = FAST; PRAGMA trusted_schema = OFF;";

/// On every reading connection, as above where named above; `query_only` besides the read-only open.
const QUERYING: &str = "PRAGMA busy_timeout = 5000; PRAGMA cache_size = -1024; PRAGMA mmap_size = 0;
    PRAGMA temp_store = MEMORY; PRAGMA cell_size_check = ON; PRAGMA trusted_schema = OFF; PRAGMA query_only = ON;";

/// Prepared statements kept for reuse on a connection.
const STATEMENTS: usize = 64;

fn flags(access: OpenFlags) -> OpenFlags {
    // One thread uses a connection at a time, which the type says; SQLite's own mutex is not needed.
    access | OpenFlags::SQLITE_OPEN_NO_MUTEX
}

/// Prepared statements are kept, and their plans do not look at the values bound to them: else each new value has
/// SQLite prepare the statement anew.
fn keep_plans(conn: &Connection) -> rusqlite::Result<()> {
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

/// A connection that may write. The file exists already (folder.rs made it, for its mode).
pub(super) fn connect_writing(path: &std::path::Path) -> rusqlite::Result<Connection> {
    let conn = Connection::open_with_flags(path, flags(OpenFlags::SQLITE_OPEN_READ_WRITE))?;
    keep_plans(&conn)?;
    conn.execute_batch(WRITING)?;
    if commits(Sabotage::SyncNormal) {
        conn.execute_batch("PRAGMA synchronous = NORMAL")?;
    }
    Ok(conn)
}

/// A connection that cannot write.
pub(super) fn connect_querying(path: &std::path::Path) -> rusqlite::Result<Connection> {
    connect_reading(path, "")
}

/// As [`connect_querying`], for a damaged file: `writable_schema` lets SQLite read one that is shorter than its
/// header says, or whose schema has rows it cannot understand.
pub(super) fn connect_salvaging(path: &std::path::Path) -> rusqlite::Result<Connection> {
    connect_reading(path, "PRAGMA writable_schema = ON")
}

fn connect_reading(path: &std::path::Path, first: &str) -> rusqlite::Result<Connection> {
    let conn = Connection::open_with_flags(path, flags(OpenFlags::SQLITE_OPEN_READ_ONLY))?;
    conn.execute_batch(first)?;
    keep_plans(&conn)?;
    conn.execute_batch(QUERYING)?;
    Ok(conn)
}

/// Refuses a database that is newer or not ours, by a connection that cannot change it.
pub(super) fn refuse_what_is_not_ours(path: &std::path::Path) -> Result<(), BufferError> {
    let number = |conn: &Connection, name| conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let found = connect_querying(path)
        .and_then(|conn| Ok((number(&conn, "user_version")?, number(&conn, "application_id")?)));
    match found {
        // Not what was written, but what the disk made of it.
        Ok(header) if !is_ours(header) && written(path).is_some_and(|schema| one_bit_off(header, schema)) => {
            Ok(())
        }
        Ok((version, _)) if version > VERSION && !commits(Sabotage::TakeNewer) => {
            Err(BufferError::Newer { path: path.to_path_buf(), found: version, known: VERSION })
        }
        Ok((version, application)) if application != APPLICATION_ID && (version, application) != (0, 0) => {
            Err(BufferError::Foreign { path: path.to_path_buf() })
        }
        // A fault is met again, and dealt with, when the database is opened for writing.
        Ok(_) | Err(_) => Ok(()),
    }
}

fn is_ours((version, application): (i64, i64)) -> bool {
    version <= VERSION && (application == APPLICATION_ID || (version, application) == (0, 0))
}

/// The schema as it stands in the second place; none in a file of another program, or of one that is newer.
fn written(path: &std::path::Path) -> Option<i64> {
    let conn = connect_querying(path).ok()?;
    conn.prepare("SELECT id, state FROM entry LIMIT 0").ok()?;
    schema_written(&conn).filter(|schema| (1..=VERSION).contains(schema))
}

fn schema_written(conn: &Connection) -> Option<i64> {
    conn.query_row("SELECT value FROM tally WHERE name = 'schema'", [], |row| row.get(0)).ok()
}

/// The header differs from what was written into it by a bit, in one of its numbers.
fn one_bit_off((version, application): (i64, i64), schema: i64) -> bool {
    (version ^ schema).count_ones() + (application ^ APPLICATION_ID).count_ones() == 1
}

/// Puts the header's numbers right where the disk changed a bit of them.
pub(super) fn mend_header(conn: &Connection) -> rusqlite::Result<()> {
    let number = |name| conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let header = (number("user_version")?, number("application_id")?);
    if let Some(schema) = schema_written(conn).filter(|schema| one_bit_off(header, *schema)) {
        tracing::error!("The disk changed the header of the database; it is put right.");
        conn.pragma_update(None, "application_id", APPLICATION_ID)?;
        conn.pragma_update(None, "user_version", schema)?;
    }
    Ok(())
}

/// Brings the database to [`VERSION`], one transaction for each step; a step cut off by a power cut never was.
pub(super) fn migrate(conn: &mut Connection) -> rusqlite::Result<()> {
    let mut version: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version == 0 {
        conn.execute_batch(AT_BIRTH)?;
    }
    while let Some(step) = usize::try_from(version).ok().and_then(|step| STEPS.get(step)) {
        let step_tx = conn.transaction_with_behavior(TransactionBehavior::Exclusive)?;
        step_tx.execute_batch(step)?;
        version += 1;
        step_tx.pragma_update(None, "application_id", APPLICATION_ID)?;
        step_tx.pragma_update(None, "user_version", version)?;
        step_tx.execute("INSERT OR REPLACE INTO tally VALUES ('schema', ?1)", [version])?;
        step_tx.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh() -> (tempfile::TempDir, Connection) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.db");
        std::fs::write(&path, b"").unwrap();
        let mut conn = connect_writing(&path).unwrap();
        migrate(&mut conn).unwrap();
        (dir, conn)
    }

    #[test]
    fn every_commit_is_synced_and_the_log_is_ours_to_copy() {
        let (_dir, conn) = fresh();
        let number = |name: &str| conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(number("synchronous"), 2, "FULL");
        assert_eq!(number("wal_autocheckpoint"), 0);
        assert_eq!(number("auto_vacuum"), 2, "INCREMENTAL");
        assert_eq!(number("page_size"), 4096);
        assert_eq!(number("user_version"), VERSION);
        let mode: String = conn.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
        assert_eq!(mode, "wal");
    }

    #[test]
    fn what_an_older_schema_kept_is_read_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.db");
        std::fs::write(&path, b"").unwrap();
        let mut conn = connect_writing(&path).unwrap();
        conn.execute_batch(AT_BIRTH).unwrap();
        conn.execute_batch(FIRST).unwrap();
        conn.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
        conn.pragma_update(None, "user_version", 1).unwrap();
        let (frame, sum) = (b"PID|1||7".as_slice(), super::super::sha256(b"PID|1||7"));
        conn.execute("INSERT INTO frame VALUES (1, 1, 0, 1, ?1, 'p', NULL, NULL, ?2)", (&sum, frame))
            .unwrap();
        conn.execute("INSERT INTO entry (id, state, link, prefix) VALUES (1, 0, 1, 0)", []).unwrap();
        migrate(&mut conn).unwrap();
        let stored = super::super::reader::read_stored(&conn, 1).unwrap().unwrap();
        assert_eq!(&*stored.bytes, frame);
        assert_eq!(
            conn.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0)).unwrap(),
            VERSION
        );
    }

    #[test]
    fn migrating_twice_changes_nothing() {
        let (_dir, mut conn) = fresh();
        let before: i64 = conn.pragma_query_value(None, "schema_version", |row| row.get(0)).unwrap();
        migrate(&mut conn).unwrap();
        let after: i64 = conn.pragma_query_value(None, "schema_version", |row| row.get(0)).unwrap();
        assert_eq!(before, after);
    }

    #[test]
    fn a_database_of_the_first_schema_gets_a_worklist_and_keeps_what_it_has() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.db");
        std::fs::write(&path, b"").unwrap();
        let mut conn = connect_writing(&path).unwrap();
        conn.execute_batch(AT_BIRTH).unwrap();
        conn.execute_batch(FIRST).unwrap();
        conn.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
        conn.pragma_update(None, "user_version", 1).unwrap();
        conn.execute("INSERT INTO setting VALUES ('site', 'Ward 7')", []).unwrap();
        migrate(&mut conn).unwrap();
        let count = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(count("SELECT count(*) FROM setting WHERE value = 'Ward 7'"), 1);
        assert_eq!(count("SELECT count(*) FROM work_order") + count("SELECT count(*) FROM work_asked"), 0);
        let version: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
        assert_eq!(version, VERSION);
    }

    /// What is asked while frames come or a page is waited for. Whatever grows with the entries must be found by an index.
    #[test]
    fn nothing_that_is_asked_again_and_again_reads_a_table_that_grows() {
        use super::super::{glance, health, queued, reader, repetition, retention, scrub};
        let (_dir, conn) = fresh();
        let mut all = vec![
            reader::NEXT_WAITING,
            reader::DELAYED,
            health::OPEN_COUNTS,
            glance::FRESH,
            queued::NEXT,
            queued::AFTER,
            scrub::NEXT,
            repetition::BUCKETS,
            repetition::CANDIDATES,
            repetition::LATE,
            repetition::DROP,
            super::super::filter::ROWS,
            retention::NEXT_TO_LOOK_AT,
            retention::ATTRIBUTIONS,
            retention::FORGET_ATTRIBUTION,
        ];
        all.extend(retention::GOES_WITH);
        all.extend(retention::FORGET_ATTRIBUTED);
        for sql in all {
            let mut plan = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let lines: Vec<String> =
                plan.raw_query().mapped(|row| row.get(3)).collect::<Result<_, _>>().unwrap();
            let reads_all = |line: &&String| {
                line.starts_with("SCAN")
                    && !line.contains("CONSTANT ROW")
                    && !line.contains("destination")
                    && !line.contains("INDEX entry_")
            };
            assert!(!lines.iter().any(|line| reads_all(&line)), "{sql}: {lines:?}");
        }
    }

    #[test]
    fn a_reading_connection_cannot_write() {
        let (dir, _conn) = fresh();
        let reading = connect_querying(&dir.path().join("x.db")).unwrap();
        assert!(reading.execute("DELETE FROM tally", []).is_err());
    }
}
