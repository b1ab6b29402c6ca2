//! What was done and refused, on its way into the audit trail: the trail's only writer is the running box, and what starts
//! programs runs before there is one. The box takes these lines within seconds; a line is written twice rather than lost.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::UpdateError;
use super::slots::Slots;
use crate::clock::Timestamp;

const FILE: &str = "told.ndjson";
const TAKEN: &str = "told.taken";
const LOCK: &str = "told.lock";
/// More than this waits for no trail: then nothing is done any more.
const BYTES_MAX: u64 = 1 << 20;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// RFC 3339.
    pub at: String,
    pub who: String,
    /// As the trail has it, e.g. `update.install`.
    pub what: String,
    /// Begins with `done`, `refused` or `failed`.
    pub detail: String,
}

/// Writes a line down; it is on the disk when this returns.
///
/// # Errors
/// [`UpdateError::Disk`]; [`UpdateError::NotNow`] when too much waits already.
pub fn tell(
    slots: &Slots<'_>,
    now: Timestamp,
    who: &str,
    what: &str,
    detail: &str,
) -> Result<(), UpdateError> {
    slots.make_folder()?;
    let lock = slots.lock_file(LOCK)?;
    let path = slots.dir().join(FILE);
    lock.lock().map_err(UpdateError::disk(&path))?;
    if !path.exists() {
        slots.disk().begin(&path, 0o600).map_err(UpdateError::disk(&path))?;
    }
    let line = Told { at: now.rfc3339(), who: who.into(), what: what.into(), detail: detail.into() };
    let mut text = serde_json::to_string(&line).unwrap_or_default();
    text.push('\n');
    let mut file = OpenOptions::new().append(true).open(&path).map_err(UpdateError::disk(&path))?;
    if file.metadata().map_err(UpdateError::disk(&path))?.len() + text.len() as u64 > BYTES_MAX {
        return Err(UpdateError::NotNow(
            "too much waits to be written into the audit trail: start the box, which does that".into(),
        ));
    }
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(UpdateError::disk(&path))
}

/// The lines that wait. They wait until [`Waiting::written`].
#[derive(Debug)]
pub struct Waiting {
    pub lines: Vec<Told>,
    file: PathBuf,
}

impl Waiting {
    /// They are in the trail.
    ///
    /// # Errors
    /// Those of removing the file: then they come again.
    pub fn written(self) -> std::io::Result<()> {
        fs::remove_file(self.file)
    }
}

/// Takes what waits; `None` when nothing does.
///
/// # Errors
/// [`UpdateError::Disk`].
pub fn take(slots: &Slots<'_>) -> Result<Option<Waiting>, UpdateError> {
    let (from, file) = (slots.dir().join(FILE), slots.dir().join(TAKEN));
    if !file.exists() {
        if fs::metadata(&from).map_or(true, |about| about.len() == 0) {
            return Ok(None);
        }
        let lock = slots.lock_file(LOCK)?;
        lock.lock().map_err(UpdateError::disk(&from))?;
        match fs::rename(&from, &file) {
            Err(fault) if fault.kind() == ErrorKind::NotFound => return Ok(None),
            renamed => renamed.map_err(UpdateError::disk(&from))?,
        }
    }
    let mut text = String::new();
    let opened = fs::File::open(&file).and_then(|file| file.take(BYTES_MAX).read_to_string(&mut text));
    opened.map_err(UpdateError::disk(&file))?;
    // A line that a power cut broke off was of something that was not done yet.
    let lines = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    Ok(Some(Waiting { lines, file }))
}
