//! The audit trail: who did what, appended and never changed, so that nobody edits it unnoticed.
//!
//! Each row carries the SHA-256 of the row before it and of itself; the number of rows and the last hash stand in `tally`
//! besides, so that a trail cut off at its end is noticed. Whoever can write to the database can write both: so a seal over
//! the same two, made with a key that lies with the secrets, stands in a file of its own (`audit.seal`) and is renewed while
//! the box runs. Triggers refuse to change or delete a row on any connection that has not dropped them first.
//!
//! The detail of a row reads `done 42 from 10.0.0.7; a note`: how it went (`done`, `refused`, `failed`), to what, from
//! which address. [`AuditRow::told`] takes it apart.

use std::net::IpAddr;
use std::path::Path;

use aws_lc_rs::hmac;
use rusqlite::types::Value;
use rusqlite::{Connection, params};

use super::folder::DATABASE;
use super::{BufferError, schema, sha256};
use crate::clock::Timestamp;
use crate::sabotage::{Sabotage, commits};

/// Refuses changes of what was written. A `DELETE` without a condition fires for every row as well.
pub(super) const APPEND_ONLY: &str = "
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
  BEGIN SELECT RAISE(ABORT, 'the audit trail is only appended to'); END;
CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit
  BEGIN SELECT RAISE(ABORT, 'the audit trail is only appended to'); END;
";

/// Longest text of a column, in characters; what is longer is cut.
const TEXT_MAX: usize = 1_000;
/// Rows looked at for one page, whatever is filtered out.
const EXAMINED: i64 = 500_000;
const SEAL_FILE: &str = "audit.seal";
const SEAL_BEFORE_RESTORE: &str = "audit.seal.before-restore";
const SEAL_WORD: &str = "bedside-audit-seal-1";

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
    /// SHA-256 over this row and the hash of the one before it.
    pub hash: Vec<u8>,
}

/// The parts of a row's detail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told<'a> {
    /// `done`, `refused` or `failed`.
    pub outcome: &'a str,
    /// What it was done to.
    pub target: Option<&'a str>,
    /// The address it came from.
    pub origin: Option<IpAddr>,
    pub note: Option<&'a str>,
}

/// Rows of the trail that are wanted; what is not said is not asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Only rows with a smaller id.
    pub before: Option<i64>,
    pub who: Option<String>,
    /// A word, or the part of it before a dot: `patient` finds `patient.view`.
    pub what: Option<String>,
    /// `done`, `refused` or `failed`.
    pub outcome: Option<String>,
    /// From this moment on, and until before that one, in microseconds since 1970.
    pub from: Option<i64>,
    pub until: Option<i64>,
    pub limit: u32,
}

/// What checking the audit trail found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditCheck {
    pub rows: u64,
    /// The first row that is not as it was written, and what is wrong there.
    pub broken: Option<(i64, String)>,
}

/// The end of the trail as it once was, signed with a key that is not in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditSeal {
    pub rows: u64,
    /// Hash of the last row; empty when there is none.
    pub head: Vec<u8>,
    pub at: Timestamp,
}

/// Why a seal says nothing.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    #[error("{SEAL_FILE} cannot be read: {0}")]
    Unreadable(#[from] std::io::Error),
    #[error("{SEAL_FILE} was not made with this box's key: it or the key was replaced")]
    Forged,
}

impl AuditRow {
    /// The detail, taken apart.
    pub fn told(&self) -> Told<'_> {
        told(&self.detail)
    }
}

fn told(detail: &str) -> Told<'_> {
    let (first, after) = detail.split_once(' ').unwrap_or((detail, ""));
    let (outcome, rest) = match first {
        "done" | "refused" | "failed" => (first, after),
        _ => ("done", detail),
    };
    let (main, note) = match rest.split_once("; ") {
        Some((main, note)) => (main, Some(note)),
        None => (rest, None),
    };
    let (target, origin) = match main.rsplit_once("from ") {
        Some((before, address)) => match address.trim().parse::<IpAddr>() {
            Ok(address) => (before, Some(address.to_canonical())),
            Err(_) => (main, None),
        },
        None => (main, None),
    };
    let some = |text: &'_ str| !text.is_empty();
    Told { outcome, target: Some(target.trim()).filter(|text| some(text)), origin, note }
}

/// Text that stays one line and reads in one direction wherever it is shown: control characters and those that turn the
/// direction of writing (Unicode Bidi_Control) are replaced.
fn plain(text: &str) -> String {
    let turns = |c| matches!(c, '\u{61C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
    let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    text.chars().take(TEXT_MAX).map(|c| if breaks(c) || turns(c) { '\u{FFFD}' } else { c }).collect()
}

/// Appends a row in the open transaction.
pub(super) fn append(conn: &Connection, row: &NewAudit, now: Timestamp) -> rusqlite::Result<()> {
    let (written, previous) = head(conn)?;
    // Where the two differ the trail is broken, which checking it says; it goes on behind what there is.
    let last: i64 = conn.query_row("SELECT coalesce(max(id), 0) FROM audit", [], |row| row.get(0))?;
    let (id, at) = (written.max(last) + 1, now.micros);
    let (who, what, detail) = (plain(&row.who), plain(&row.what), plain(&row.detail));
    let sum = sum(&previous, id, at, [&who, &what, &detail]);
    conn.execute(
        "INSERT INTO audit (id, at, who, what, detail, previous, hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![id, at, who, what, detail, previous, sum],
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
pub(super) fn head(conn: &Connection) -> rusqlite::Result<(i64, Vec<u8>)> {
    conn.query_row(
        "SELECT (SELECT value FROM tally WHERE name = 'audit_rows'),
                (SELECT cast(value AS BLOB) FROM tally WHERE name = 'audit_head')",
        [],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
}

/// SHA-256 over all columns, each text with its length before it, so that no two rows read alike.
fn sum(previous: &[u8], id: i64, at: i64, texts: [&str; 3]) -> [u8; 32] {
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

/// Reads the whole trail and checks every link of the chain, its end in the second place, and the seal.
pub(super) fn verify(conn: &Connection, seal: Option<&AuditSeal>) -> rusqlite::Result<AuditCheck> {
    let mut all = conn.prepare("SELECT id, at, who, what, detail, previous, hash FROM audit ORDER BY id")?;
    let mut rows = all.query([])?;
    let (mut count, mut last) = (0_i64, Vec::new());
    let broken = |id: i64, why: &str, count: i64| {
        Ok(AuditCheck { rows: count.unsigned_abs(), broken: Some((id, why.to_owned())) })
    };
    loop {
        let row = match rows.next() {
            Ok(Some(row)) => row,
            Ok(None) => break,
            Err(error) => return broken(count + 1, &format!("this row cannot be read: {error}"), count),
        };
        count += 1;
        let Link { id, previous, sum, hash } = match link(row) {
            Ok(link) => link,
            Err(error) => return broken(count, &format!("this row cannot be read: {error}"), count),
        };
        if id != count {
            return broken(count, "this row is missing", count);
        }
        if previous != last {
            return broken(id, "this row does not follow the one before it", count);
        }
        if hash != sum {
            return broken(id, "this row was changed", count);
        }
        if seal.is_some_and(|seal| seal.rows == count.unsigned_abs() && seal.head != hash) {
            return broken(
                count,
                "this row is not the one that was sealed: the trail was written anew",
                count,
            );
        }
        last = hash;
    }
    let (written, head) = head(conn)?;
    let cut_off = seal.is_some_and(|seal| seal.rows > count.unsigned_abs());
    if cut_off || (count, last) != (written, head) {
        return broken(count + 1, "rows are missing at the end", count);
    }
    Ok(AuditCheck { rows: count.unsigned_abs(), broken: None })
}

struct Link {
    id: i64,
    previous: Vec<u8>,
    /// Of what stands in the row, and as it was written.
    sum: [u8; 32],
    hash: Vec<u8>,
}

fn link(row: &rusqlite::Row<'_>) -> rusqlite::Result<Link> {
    let (id, at): (i64, i64) = (row.get(0)?, row.get(1)?);
    let (who, what, detail): (String, String, String) = (row.get(2)?, row.get(3)?, row.get(4)?);
    let previous: Vec<u8> = row.get(5)?;
    Ok(Link { id, sum: sum(&previous, id, at, [&who, &what, &detail]), previous, hash: row.get(6)? })
}

/// The rows that are wanted, newest first, and the id to ask on from when there may be more.
pub(super) fn page(
    conn: &Connection,
    wanted: &AuditFilter,
) -> rusqlite::Result<(Vec<AuditRow>, Option<i64>)> {
    let newest: i64 = conn.query_row("SELECT coalesce(max(id), 0) FROM audit", [], |row| row.get(0))?;
    let before = wanted.before.unwrap_or(i64::MAX).min(newest + 1);
    let floor = before.saturating_sub(EXAMINED).max(1);
    let mut page = conn.prepare_cached(
        "SELECT id, at, who, what, detail, hash FROM audit WHERE id < ?1 AND id >= ?2
           AND (?3 IS NULL OR who = ?3)
           AND (?4 IS NULL OR what = ?4 OR substr(what, 1, length(?4) + 1) = ?4 || '.')
           AND (?5 IS NULL OR ?5 = CASE WHEN detail LIKE 'refused%' THEN 'refused' WHEN detail LIKE 'failed%' THEN 'failed'
                                        ELSE 'done' END)
           AND (?6 IS NULL OR at >= ?6) AND (?7 IS NULL OR at < ?7)
         ORDER BY id DESC LIMIT ?8",
    )?;
    let AuditFilter { who, what, outcome, from, until, limit, .. } = wanted;
    let rows = page.query_map(params![before, floor, who, what, outcome, from, until, limit], read)?;
    let rows = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    let full = u32::try_from(rows.len()).is_ok_and(|count| count >= *limit);
    let next = if full { rows.last().map(|row| row.id) } else { Some(floor) };
    Ok((rows, next.filter(|next| *next > 1)))
}

/// Rows behind `after`, oldest first.
pub(super) fn after(conn: &Connection, after: i64, limit: u32) -> rusqlite::Result<Vec<AuditRow>> {
    let mut page = conn.prepare_cached(
        "SELECT id, at, who, what, detail, hash FROM audit WHERE id > ?1 ORDER BY id LIMIT ?2",
    )?;
    page.query_map(params![after, limit], read)?.collect()
}

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<AuditRow> {
    Ok(AuditRow {
        id: row.get(0)?,
        at: Timestamp::from_micros(row.get(1)?, true),
        who: row.get(2)?,
        what: row.get(3)?,
        detail: row.get(4)?,
        hash: row.get(5)?,
    })
}

/// Rows read at once by [`walk_trail`].
const WALKED: u32 = 1_000;

/// Checks the trail of the buffer in `dir`, beside a running box too.
///
/// # Errors
/// [`BufferError::Storage`] when there is none or it cannot be read; [`BufferError::Newer`], [`BufferError::Foreign`].
pub fn verify_trail(dir: &Path, seal: Option<&AuditSeal>) -> Result<AuditCheck, BufferError> {
    look(dir, |conn| {
        let snapshot = conn.unchecked_transaction()?;
        verify(&snapshot, seal)
    })
}

/// Shows every row to `each`, oldest first, until it wants no more.
///
/// # Errors
/// As [`verify_trail`].
pub fn walk_trail(dir: &Path, each: &mut dyn FnMut(&AuditRow) -> bool) -> Result<(), BufferError> {
    look(dir, |conn| {
        let mut last = 0;
        loop {
            let rows = after(conn, last, WALKED)?;
            let Some(end) = rows.last() else { return Ok(()) };
            last = end.id;
            if !rows.iter().all(&mut *each) {
                return Ok(());
            }
        }
    })
}

/// The box's own identifier; empty in a buffer that no box was started on.
///
/// # Errors
/// As [`verify_trail`].
pub fn identity_of(dir: &Path) -> Result<String, BufferError> {
    look(dir, |conn| Ok(super::registry::read_setting(conn, "gateway-identifier")?.unwrap_or_default()))
}

fn look<T>(dir: &Path, ask: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, BufferError> {
    let path = dir.join(DATABASE);
    schema::refuse_what_is_not_ours(&path)?;
    let looked = schema::connect_querying(&path).and_then(|conn| ask(&conn));
    looked.map_err(|source| BufferError::Storage { doing: "reading the audit trail", source })
}

impl AuditSeal {
    /// Writes the seal into the folder of the buffer, whole or not at all.
    ///
    /// # Errors
    /// What the disk says.
    pub fn write(&self, dir: &Path, key: &[u8]) -> std::io::Result<()> {
        use std::io::Write;
        use std::os::unix::fs::OpenOptionsExt;
        let text = self.text();
        let line = format!("{text} {}\n", hex(hmac::sign(&signing(key), text.as_bytes()).as_ref()));
        let new = dir.join(format!("{SEAL_FILE}.new"));
        let mut file =
            std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(line.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(new, dir.join(SEAL_FILE))
    }

    /// The seal in the folder of the buffer; `None` when none was ever made there.
    ///
    /// # Errors
    /// [`SealError::Forged`] when it is not of this key.
    pub fn read(dir: &Path, key: &[u8]) -> Result<Option<Self>, SealError> {
        let line = match std::fs::read_to_string(dir.join(SEAL_FILE)) {
            Ok(line) => line,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => return Err(SealError::Forged),
            Err(error) => return Err(error.into()),
        };
        let (text, tag) = line.trim_end().rsplit_once(' ').ok_or(SealError::Forged)?;
        let tag = unhex(tag).ok_or(SealError::Forged)?;
        hmac::verify(&signing(key), text.as_bytes(), &tag).map_err(|_| SealError::Forged)?;
        let parts: Vec<&str> = text.split(' ').collect();
        let [SEAL_WORD, rows, head, at] = parts.as_slice() else { return Err(SealError::Forged) };
        let (Ok(rows), Some(head), Ok(at)) = (rows.parse(), unhex(head), at.parse()) else {
            return Err(SealError::Forged);
        };
        Ok(Some(Self { rows, head, at: Timestamp::from_micros(at, true) }))
    }

    fn text(&self) -> String {
        format!("{SEAL_WORD} {} {} {}", self.rows, hex(&self.head), self.at.micros)
    }
}

/// A copy was put in the buffer's place: the seal is of another trail, and stays beside the one it is of.
pub(super) fn put_seal_aside(dir: &Path) -> std::io::Result<()> {
    match std::fs::rename(dir.join(SEAL_FILE), dir.join(SEAL_BEFORE_RESTORE)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn signing(key: &[u8]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, key)
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

#[cfg(test)]
#[path = "audit_tests.rs"]
mod tests;
