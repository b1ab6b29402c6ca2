//! For the day the box is stolen, burnt or its disk dies: a copy of the whole buffer in one file, made while the box runs
//! and read back before it is believed; and a box made of such a file again.
//!
//! # Invariants, told as absences
//!
//! - No copy is called one before every page and every frame in it was verified.
//! - No box is restored over that has anything, unless told to, and then nothing is deleted: what was there stays beside.
//! - No file here can be read by another user of the box: it holds patient data and password hashes.
//! - No frame of a restored box gets another identity upstream than it had: identifiers, ids and control ids follow from
//!   what was said, so what had been delivered since the copy is delivered again as the same.

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
use serde::{Deserialize, Serialize};

use super::examine::{self, Examined, Progress};
use super::folder::{DATABASE, Folder, with_suffix};
use super::{BufferError, audit, health, registry, schema};
use crate::clock::Timestamp;

/// Pages copied in one step; between two steps the copy rests as long as the step took.
const STEP_PAGES: i32 = 512;
/// A log as long as this is not made to wait for: the copy holds it open.
const LOG_HURRY_BYTES: u64 = 128 << 20;
const LONGEST_REST: Duration = Duration::from_millis(50);
/// The setting that tells of restorations.
pub(super) const RESTORED: &str = "restored";

/// Its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Restoration {
    /// RFC 3339, and the same in microseconds.
    pub(super) at: String,
    pub(super) micros: i64,
    /// When the copy was made, in words.
    pub(super) made: String,
}

/// What stands beside a copy, in `<file>.manifest`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// 1.
    pub bedside_backup: u32,
    /// When the copy was begun, RFC 3339.
    pub made: String,
    /// The box's own identifier, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    pub schema: i64,
    pub bytes: u64,
    /// Of the whole file, in hexadecimal.
    pub sha256: String,
    pub frames: u64,
    pub last_id: i64,
    pub audit_rows: u64,
}

fn manifest_of(copy: &Path) -> PathBuf {
    with_suffix(copy, ".manifest")
}

fn failed(path: &Path) -> impl Fn(std::io::Error) -> BufferError + Copy + '_ {
    move |source| BufferError::Folder { path: path.to_path_buf(), source }
}

fn storage(doing: &'static str) -> impl Fn(rusqlite::Error) -> BufferError + Copy {
    move |source| BufferError::Storage { doing, source }
}

/// Copies the buffer in `dir` to the file `to`, beside a running box or without one, verifies the copy and writes its
/// manifest.
///
/// # Errors
/// [`BufferError::NotAllowed`] when the file is there already, or what was copied is not sound; [`BufferError::Folder`],
/// [`BufferError::Storage`]. A copy that failed is removed.
pub fn back_up(
    dir: &Path,
    to: &Path,
    now: Timestamp,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Manifest, Examined), BufferError> {
    let from = dir.join(DATABASE);
    fs::metadata(&from).map_err(failed(&from))?;
    schema::refuse_what_is_not_ours(&from)?;
    if to.exists() {
        return Err(BufferError::NotAllowed(format!(
            "{} is there already; nothing was written",
            to.display()
        )));
    }
    let part = with_suffix(to, ".part");
    let made = copy_to(&from, &part, progress).and_then(|()| {
        let examined = read_back(&part, progress)?;
        let manifest = describe(&part, now, &examined)?;
        let text = serde_json::to_string_pretty(&manifest).unwrap_or_default();
        write_synced(&manifest_of(to), text.as_bytes())?;
        fs::rename(&part, to).map_err(failed(to))?;
        sync_folder_of(to)?;
        Ok((manifest, examined))
    });
    if made.is_err() {
        // What is half a copy must not be taken for one.
        drop(fs::remove_file(&part));
    }
    made
}

fn copy_to(from: &Path, to: &Path, progress: &mut dyn FnMut(Progress)) -> Result<(), BufferError> {
    let fail = storage("copying the buffer");
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(to).map_err(failed(to))?;
    let source = schema::connect_querying(from).map_err(fail)?;
    // A snapshot of its own: without it every commit of the box would have the copy begin anew.
    let snapshot = source.unchecked_transaction().map_err(fail)?;
    snapshot.query_row("SELECT count(*) FROM tally", [], |row| row.get::<_, i64>(0)).map_err(fail)?;
    let mut into = Connection::open_with_flags(to, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(fail)?;
    into.execute_batch("PRAGMA synchronous = OFF").map_err(fail)?;
    let log = with_suffix(from, "-wal");
    let copy = Backup::new(&snapshot, &mut into).map_err(fail)?;
    loop {
        let began = Instant::now();
        let step = copy.step(STEP_PAGES).map_err(fail)?;
        let pages = copy.progress();
        let number = |pages: i32| u64::try_from(pages).unwrap_or(0);
        let of = number(pages.pagecount);
        progress(Progress { what: "pages", done: of.saturating_sub(number(pages.remaining)), of });
        match step {
            StepResult::Done => break,
            _ if fs::metadata(&log).is_ok_and(|log| log.len() > LOG_HURRY_BYTES) => {}
            _ => std::thread::sleep(began.elapsed().min(LONGEST_REST)),
        }
    }
    drop(copy);
    // One file that can be read from anywhere, also where nothing can be written.
    into.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(())).map_err(fail)?;
    into.close().map_err(|(_, error)| fail(error))?;
    File::open(to).and_then(|file| file.sync_all()).map_err(failed(to))
}

/// Verifies every page and every frame of a copy.
fn read_back(copy: &Path, progress: &mut dyn FnMut(Progress)) -> Result<Examined, BufferError> {
    let fail = storage("reading the copy back");
    let conn = schema::connect_querying(copy).map_err(fail)?;
    let examined = examine::whole(&conn, progress).map_err(fail)?;
    let unsound = examined.faults.iter().any(|fault| fault.starts_with("SQLite: "));
    if unsound {
        return Err(BufferError::NotAllowed(format!("the copy is damaged: {}", examined.faults.join("; "))));
    }
    Ok(examined)
}

/// Verifies a copy: against its manifest where there is one, every page and every frame.
///
/// # Errors
/// [`BufferError::NotAllowed`] when it is not what its manifest says or is damaged; [`BufferError::Foreign`],
/// [`BufferError::Newer`], [`BufferError::Folder`], [`BufferError::Storage`].
pub fn check_copy(
    copy: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Option<Manifest>, Examined), BufferError> {
    fs::metadata(copy).map_err(failed(copy))?;
    schema::refuse_what_is_not_ours(copy)?;
    let manifest = compared(copy)?;
    Ok((manifest, read_back(copy, progress)?))
}

fn describe(copy: &Path, now: Timestamp, examined: &Examined) -> Result<Manifest, BufferError> {
    let fail = storage("describing the copy");
    let conn = schema::connect_querying(copy).map_err(fail)?;
    let (bytes, sha256) = sum_of(copy)?;
    Ok(Manifest {
        bedside_backup: 1,
        made: now.rfc3339(),
        gateway: registry::read_setting(&conn, "gateway-identifier").map_err(fail)?,
        schema: conn.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(fail)?,
        bytes,
        sha256,
        frames: examined.frames,
        last_id: health::last_id(&conn).map_err(fail)?,
        audit_rows: examined.audit_rows,
    })
}

/// Length and SHA-256 of a file.
fn sum_of(path: &Path) -> Result<(u64, String), BufferError> {
    let mut file = File::open(path).map_err(failed(path))?;
    let (mut sum, mut bytes) = (digest::Context::new(&digest::SHA256), 0);
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer).map_err(failed(path))?;
        if read == 0 {
            break;
        }
        bytes += read as u64;
        sum.update(buffer.get(..read).unwrap_or_default());
    }
    let hex = sum.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((bytes, hex))
}

fn write_synced(path: &Path, text: &[u8]) -> Result<(), BufferError> {
    let written = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path).and_then(
        |mut file| {
            std::io::Write::write_all(&mut file, text)?;
            file.sync_all()
        },
    );
    written.map_err(failed(path))
}

fn sync_folder_of(path: &Path) -> Result<(), BufferError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed(folder))
}

/// What a restoration did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    pub examined: Examined,
    /// The manifest of the copy; `None` when there was none to compare with.
    pub manifest: Option<Manifest>,
    /// Where the database is that was there before.
    pub aside: Option<PathBuf>,
    /// Messages to other systems that wait in the copy, and will be sent.
    pub outgoing: u64,
}

/// Makes the buffer in `dir` of the copy `from`. `replace`: also where there is one with something in it, which is moved
/// aside.
///
/// # Errors
/// [`BufferError::InUse`] while a box runs on it; [`BufferError::NotAllowed`] when there is something and `replace` was
/// not said, or the copy is not what its manifest says; [`BufferError::Newer`]; [`BufferError::Folder`],
/// [`BufferError::Storage`]. Until the end the folder is as it was.
pub fn restore(
    dir: &Path,
    from: &Path,
    replace: bool,
    now: Timestamp,
    progress: &mut dyn FnMut(Progress),
) -> Result<Restored, BufferError> {
    fs::metadata(from).map_err(failed(from))?;
    schema::refuse_what_is_not_ours(from)?;
    let manifest = compared(from)?;
    let folder = Folder::open(dir)?;
    folder.finish_replacing()?;
    if !replace {
        refuse_what_holds_something(&folder.database())?;
    }
    let new = folder.prepare_replacement()?;
    fs::copy(from, &new).map_err(failed(&new))?;
    let (examined, outgoing) = make_usable(&new, manifest.as_ref(), now, progress)?;
    File::open(&new).and_then(|file| file.sync_all()).map_err(failed(&new))?;
    let aside = if folder.database().exists() { Some(folder.replace_to_restore(now)?) } else { None };
    if aside.is_none() {
        folder.take_replacement()?;
    }
    audit::put_seal_aside(dir).map_err(failed(dir))?;
    Ok(Restored { examined, manifest, aside, outgoing })
}

/// The manifest beside the copy, when the copy is what it says.
fn compared(copy: &Path) -> Result<Option<Manifest>, BufferError> {
    let path = manifest_of(copy);
    let Ok(text) = fs::read_to_string(&path) else { return Ok(None) };
    let manifest: Manifest = serde_json::from_str(&text)
        .map_err(|why| BufferError::NotAllowed(format!("{} cannot be read: {why}", path.display())))?;
    let (bytes, sha256) = sum_of(copy)?;
    if (bytes, sha256.as_str()) != (manifest.bytes, manifest.sha256.as_str()) {
        return Err(BufferError::NotAllowed(format!(
            "{} is not the file its manifest tells of: it was changed or cut since it was made. Nothing was restored",
            copy.display()
        )));
    }
    Ok(Some(manifest))
}

fn refuse_what_holds_something(database: &Path) -> Result<(), BufferError> {
    if fs::metadata(database).map_or(true, |file| file.len() == 0) {
        return Ok(());
    }
    let held = schema::connect_querying(database).and_then(|conn| {
        conn.query_row(
            "SELECT (SELECT count(*) FROM user) + (SELECT max(value, 0) FROM tally WHERE name = 'last_id')
             + EXISTS (SELECT 1 FROM entry)",
            [],
            |row| row.get::<_, i64>(0),
        )
    });
    match held {
        Ok(0) => Ok(()),
        _ => Err(BufferError::NotAllowed(format!(
            "{} holds something already. Say --replace to put the copy in its place; what is there is kept beside it",
            database.display()
        ))),
    }
}

/// Brings the new file to this program's schema and its journal, notes where it comes from, and verifies all of it.
fn make_usable(
    new: &Path,
    manifest: Option<&Manifest>,
    now: Timestamp,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Examined, u64), BufferError> {
    let fail = storage("restoring");
    let mut conn = schema::connect_writing(new).map_err(fail)?;
    conn.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())).map_err(fail)?;
    schema::migrate(&mut conn).map_err(fail)?;
    let made = manifest.map_or("an unknown time", |manifest| manifest.made.as_str());
    let tx = conn.unchecked_transaction().map_err(fail)?;
    let told = Restoration { at: now.rfc3339(), micros: now.micros, made: made.into() };
    let told = serde_json::to_string(&told).unwrap_or_default();
    tx.execute("INSERT OR REPLACE INTO setting (key, value) VALUES (?1, ?2)", [RESTORED, &told])
        .map_err(fail)?;
    let row = audit::NewAudit {
        who: "command line".into(),
        what: "restored".into(),
        detail: format!("from a copy made {made}"),
    };
    audit::append(&tx, &row, now).map_err(fail)?;
    let outgoing: i64 =
        tx.query_row("SELECT count(*) FROM outgoing WHERE state < 2", [], |row| row.get(0)).map_err(fail)?;
    tx.commit().map_err(fail)?;
    let examined = examine::whole(&conn, progress).map_err(fail)?;
    if let Some(fault) = examined.faults.iter().find(|fault| fault.starts_with("SQLite: ")) {
        return Err(BufferError::NotAllowed(format!("the copy is damaged: {fault}. Nothing was restored")));
    }
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(fail)?;
    conn.close().map_err(|(_, error)| fail(error))?;
    Ok((examined, outgoing.unsigned_abs()))
}
