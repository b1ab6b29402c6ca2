//! What is done with files, one step at a time; each may be the last before the power goes.

use std::fs;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::{Config, trouble};
use crate::clock::Timestamp;

/// What shows that a file is being written: it grows, or its time moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    length: u64,
    modified: Option<SystemTime>,
}

impl Seen {
    fn of(meta: &fs::Metadata) -> Self {
        Self { length: meta.len(), modified: meta.modified().ok() }
    }
}

pub(super) enum Outcome {
    Done,
    NotYet,
    /// It went to `failed`; why.
    Failed(String),
}

/// A file, how it looks, and whether its companion is there.
type Listed = (String, Seen, bool);

/// Files claimed by an earlier run, and the files to look at, oldest first.
pub(super) fn list(config: &Config, most: usize) -> Result<(Vec<String>, Vec<Listed>), String> {
    let wrong = |error: &std::io::Error| trouble("cannot read the folder", &config.dir, error);
    let entries = fs::read_dir(&config.dir).map_err(|error| wrong(&error))?;
    let mut files: Vec<Listed> = Vec::new();
    for entry in entries.take(most) {
        let entry = entry.map_err(|error| wrong(&error))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if !config.wants(&name) {
            continue;
        }
        // A link may lead anywhere; only files are taken.
        let Ok(meta) = fs::symlink_metadata(entry.path()) else { continue };
        if meta.is_file() {
            let companion =
                config.companion.as_ref().is_some_and(|ending| companion(config, &name, ending).is_some());
            files.push((name, Seen::of(&meta), companion));
        }
    }
    files.sort_by(|a, b| (a.1.modified, &a.0).cmp(&(b.1.modified, &b.0)));
    Ok((left(config, most)?, files))
}

fn left(config: &Config, most: usize) -> Result<Vec<String>, String> {
    let claimed = config.claimed();
    fs::create_dir_all(&claimed)
        .map_err(|error| trouble("cannot write to the folder", &config.dir, &error))?;
    let entries = fs::read_dir(&claimed).map_err(|error| trouble("cannot read", &claimed, &error))?;
    let names =
        entries.take(most).flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    let mut names: Vec<String> = names.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    Ok(names)
}

/// `result.csv.ok` or `result.ok` beside `result.csv`.
fn companion(config: &Config, name: &str, ending: &str) -> Option<PathBuf> {
    let stem = Path::new(name).file_stem().and_then(|stem| stem.to_str()).unwrap_or(name);
    [name, stem]
        .into_iter()
        .map(|first| config.dir.join(format!("{first}{ending}")))
        .find(|path| path.is_file())
}

/// Moves a file out of the writer's way.
pub(super) fn claim(config: &Config, name: &str, seen: Seen) -> Result<Outcome, String> {
    let from = config.dir.join(name);
    let meta = match fs::symlink_metadata(&from) {
        Ok(meta) => meta,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Outcome::NotYet),
        Err(error) => return Err(trouble("cannot look into", &config.dir, &error)),
    };
    if Seen::of(&meta) != seen {
        return Ok(Outcome::NotYet);
    }
    if meta.len() > config.max_bytes {
        move_to(&from, &config.failed(), name)?;
        return Ok(Outcome::Failed(format!(
            "A file of {} bytes is longer than {} bytes; it is moved to the folder of failed files.",
            meta.len(),
            config.max_bytes
        )));
    }
    let to = config.claimed().join(name);
    if to.exists() {
        return Ok(Outcome::NotYet);
    }
    match fs::rename(&from, &to) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Outcome::NotYet),
        Err(error) => return Err(trouble("cannot claim files in", &config.dir, &error)),
    }
    // Whoever still writes to it writes into the claimed file: then it goes back.
    let after = fs::symlink_metadata(&to)
        .map_err(|error| trouble("cannot read a file in", &config.claimed(), &error))?;
    if Seen::of(&after) != seen {
        put_back(config, name)?;
        return Ok(Outcome::NotYet);
    }
    if let Some(path) = config.companion.as_ref().and_then(|ending| companion(config, name, ending)) {
        // The file is claimed; a companion that stays behind does no harm.
        drop(fs::remove_file(path));
    }
    Ok(Outcome::Done)
}

/// The bytes of a claimed file, or why they cannot be had.
pub(super) fn read(config: &Config, name: &str) -> Result<Result<Vec<u8>, String>, String> {
    let path = config.claimed().join(name);
    let file = match fs::File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            return Ok(Err("A file may not be read; it is moved to the folder of failed files.".into()));
        }
        Err(error) => return Err(trouble("cannot read a file in", &config.claimed(), &error)),
    };
    let mut bytes = Vec::new();
    let read = file.take(config.max_bytes + 1).read_to_end(&mut bytes);
    read.map_err(|error| trouble("cannot read a file in", &config.claimed(), &error))?;
    if bytes.is_empty() {
        return Ok(Err("A file is empty; it is moved to the folder of failed files.".into()));
    }
    if bytes.len() as u64 > config.max_bytes {
        return Ok(Err("A file grew too long; it is moved to the folder of failed files.".into()));
    }
    Ok(Ok(bytes))
}

/// A claimed file is kept: it goes to `archive/YYYY/MM`.
pub(super) fn archive(config: &Config, name: &str, at: Timestamp) -> Result<(), String> {
    let text = at.rfc3339();
    let (year, month) = (text.get(0..4).unwrap_or("0000"), text.get(5..7).unwrap_or("00"));
    move_to(&config.claimed().join(name), &config.archive().join(year).join(month), name)
}

/// A claimed file cannot be read.
pub(super) fn fail(config: &Config, name: &str) -> Result<(), String> {
    move_to(&config.claimed().join(name), &config.failed(), name)
}

/// A claimed file could not be kept: it stands where it stood, unless the device wrote another of its name.
pub(super) fn put_back(config: &Config, name: &str) -> Result<(), String> {
    let to = config.dir.join(name);
    if to.exists() {
        return Ok(());
    }
    let from = config.claimed().join(name);
    fs::rename(&from, &to).map_err(|error| trouble("cannot put a file back into", &config.dir, &error))
}

/// Moves without ever writing over another file; across file systems by a copy that is whole before the first goes.
fn move_to(from: &Path, dir: &Path, name: &str) -> Result<(), String> {
    let wrong = |error: &std::io::Error| trouble("cannot move a file to", dir, error);
    fs::create_dir_all(dir).map_err(|error| wrong(&error))?;
    let to = free_name(dir, name);
    match fs::rename(from, &to) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::CrossesDevices => {
            let half = dir.join(format!(".{name}.part"));
            fs::copy(from, &half).map_err(|error| wrong(&error))?;
            fs::File::open(&half).and_then(|file| file.sync_all()).map_err(|error| wrong(&error))?;
            fs::rename(&half, &to).map_err(|error| wrong(&error))?;
            fs::remove_file(from).map_err(|error| wrong(&error))
        }
        Err(error) => Err(wrong(&error)),
    }
}

/// `name`, else `name.1`, `name.2` …
fn free_name(dir: &Path, name: &str) -> PathBuf {
    let plain = dir.join(name);
    let others = (1_u64..).map(|number| dir.join(format!("{name}.{number}")));
    std::iter::once(plain).chain(others).find(|path| !path.exists()).unwrap_or_else(|| dir.join(name))
}
