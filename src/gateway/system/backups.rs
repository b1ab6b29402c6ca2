//! Backups in a folder beside the buffer: made while the box runs, verified, taken out, brought back, put in place.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use bytes::Bytes;

use super::System;
use crate::admin::command::Refusal;
use crate::admin::system::{Backup, Backups, Job};
use crate::buffer::{self, Manifest, NewAudit, Progress};
use crate::clock::{SharedClock, Timestamp};
use crate::gateway::again::Again;

/// How backups are called at their end.
const ENDING: &str = ".backup";
const MANIFEST: &str = ".manifest";
/// Room that is left on the disk beside a backup.
const SPARE_BYTES: u64 = 256 << 20;
/// Largest backup that is taken from elsewhere.
const UPLOAD_MAX: u64 = 64 << 30;

fn disk(fault: std::io::Error) -> Refusal {
    Refusal::Failed(fault.to_string())
}

/// Whether this can be the name of a backup: nothing that leads out of the folder.
fn is_name(name: &str) -> bool {
    name.len() <= 100
        && name.ends_with(ENDING)
        && !name.starts_with('.')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

pub(in crate::gateway) fn free_bytes(path: &Path) -> u64 {
    rustix::fs::statvfs(path).map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Writes a piece of a file that is brought in where it belongs, 0 beginning it anew; how much of it is there then.
pub(super) fn put_piece(path: &Path, at: u64, piece: &[u8]) -> Result<u64, Refusal> {
    let mut options = fs::OpenOptions::new();
    let mut file =
        options.write(true).create(at == 0).truncate(at == 0).mode(0o600).open(path).map_err(disk)?;
    let there = file.metadata().map_err(disk)?.len();
    if there != at {
        return Err(Refusal::Conflict(format!("{there} bytes are here, so the next piece begins there")));
    }
    file.seek(SeekFrom::Start(at)).map_err(disk)?;
    file.write_all(piece).map_err(disk)?;
    file.sync_all().map_err(disk)?;
    Ok(at + piece.len() as u64)
}

impl System {
    pub(super) async fn listed(&self) -> Result<Backups, Refusal> {
        let me = self.buffer.reader().setting(crate::gateway::IDENTITY).await;
        let me = me.map_err(|fault| Refusal::Failed(fault.to_string()))?;
        let checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut backups = Vec::new();
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Ok(about) = entry.metadata() else { continue };
            if !is_name(&name) || !about.is_file() {
                continue;
            }
            let manifest = fs::read_to_string(self.folder.join(format!("{name}{MANIFEST}"))).ok();
            let manifest = manifest.and_then(|text| serde_json::from_str::<Manifest>(&text).ok());
            backups.push(Backup {
                bytes: about.len(),
                made: manifest.as_ref().map(|manifest| manifest.made.clone()),
                frames: manifest.as_ref().map(|manifest| manifest.frames),
                sha256: manifest.as_ref().map(|manifest| manifest.sha256.clone()),
                own: manifest.and_then(|manifest| manifest.gateway).map(|of| Some(&of) == me.as_ref()),
                checked: checked.get(&name).copied(),
                name,
            });
        }
        backups.sort_by(|a, b| (&b.made, &b.name).cmp(&(&a.made, &a.name)));
        Ok(Backups {
            backups,
            folder: self.folder.display().to_string(),
            free_bytes: free_bytes(&self.dir),
            needs_bytes: self.buffer.reader().health().bytes,
            job: self.again.job(),
        })
    }

    /// The job that is told from now on; one at a time.
    pub(super) fn begin(&self, kind: &'static str, name: &str, by: String) -> Result<Job, Refusal> {
        if self.again.job().is_some_and(|job| job.state == "running") {
            return Err(Refusal::Conflict(
                "another backup, check, restoration or update is running: wait for it".into(),
            ));
        }
        let job = Job {
            kind,
            name: name.into(),
            state: "running",
            what: String::new(),
            done: 0,
            of: 0,
            detail: String::new(),
            by,
            began: self.clock.now(),
        };
        self.again.tell(job.clone());
        Ok(job)
    }

    fn make_folder(&self) -> Result<(), Refusal> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder).map_err(disk)
    }

    pub(super) fn begin_backup(&self, who: String) -> Result<Job, Refusal> {
        self.make_folder()?;
        let (needs, free) = (self.buffer.reader().health().bytes + SPARE_BYTES, free_bytes(&self.folder));
        if free < needs {
            let why = format!(
                "a backup needs about {} MiB here, and {} MiB are free: take older ones out",
                needs >> 20,
                free >> 20
            );
            return Err(Refusal::Conflict(why));
        }
        let now = self.clock.now();
        let stamp: String = now.rfc3339().chars().take(19).map(|c| if c == ':' { '-' } else { c }).collect();
        let name = format!("bedside-{stamp}Z{ENDING}");
        if self.folder.join(&name).exists() {
            return Err(Refusal::Conflict("a backup was made this very second".into()));
        }
        let job = self.begin("backup", &name, who)?;
        let (dir, to) = (self.dir.clone(), self.folder.join(&name));
        self.work(job.clone(), move |progress| {
            let (manifest, examined) = buffer::back_up(&dir, &to, now, progress)?;
            Ok(match examined.sound() {
                true => (
                    true,
                    format!("{} frames in {} bytes, every one verified", manifest.frames, manifest.bytes),
                ),
                false => (false, "written; it is as unsound as what it is a copy of".into()),
            })
        });
        Ok(job)
    }

    pub(super) fn begin_check(&self, who: String, name: String) -> Result<Job, Refusal> {
        let path = self.existing(&name, false)?;
        let job = self.begin("check", &name, who)?;
        self.work(job.clone(), move |progress| {
            let (manifest, examined) = buffer::check_copy(&path, progress)?;
            let with = if manifest.is_some() {
                "as its manifest says"
            } else {
                "without a manifest to compare with"
            };
            Ok(match examined.sound() {
                true => (true, format!("{} frames, every one verified, {with}", examined.frames)),
                false => (false, format!("not sound: {}", examined.faults.join("; "))),
            })
        });
        Ok(job)
    }

    /// Does a job on a thread that may block, and tells how it goes.
    fn work(
        &self,
        job: Job,
        doing: impl FnOnce(&mut dyn FnMut(Progress)) -> Result<(bool, String), buffer::BufferError>
        + Send
        + 'static,
    ) {
        let (again, buffer, clock) = (self.again.clone(), self.buffer.clone(), self.clock.clone());
        let checked = self.checked.clone();
        tokio::spawn(async move {
            let telling = again.clone();
            let mut tell = move |progress: Progress| {
                telling.change(|job| {
                    progress.what.clone_into(&mut job.what);
                    (job.done, job.of) = (progress.done, progress.of);
                });
            };
            let ended = tokio::task::spawn_blocking(move || doing(&mut tell)).await;
            let (state, detail) = match ended {
                Ok(Ok((true, detail))) => ("done", detail),
                Ok(Ok((false, detail))) => ("failed", detail),
                Ok(Err(fault)) => ("failed", fault.to_string()),
                Err(fault) => ("failed", fault.to_string()),
            };
            if state == "done" {
                let now = clock.now();
                checked.lock().unwrap_or_else(PoisonError::into_inner).insert(job.name.clone(), now);
            }
            again.change(|job| {
                job.state = state;
                job.detail.clone_from(&detail);
            });
            let what = format!("backup.{}.end", job.kind);
            let row = NewAudit { who: job.by, what, detail: format!("{state} {}: {detail}", job.name) };
            if let Err(fault) = buffer.audit(row).await {
                tracing::error!(%fault, "The end of a backup could not be written into the audit trail.");
            }
        });
    }

    pub(super) fn existing(&self, name: &str, manifest: bool) -> Result<PathBuf, Refusal> {
        if !is_name(name) {
            return Err(Refusal::Unknown);
        }
        let path = self.folder.join(if manifest { format!("{name}{MANIFEST}") } else { name.to_owned() });
        if path.is_file() { Ok(path) } else { Err(Refusal::Unknown) }
    }

    fn refuse_while_used(&self, name: &str) -> Result<(), Refusal> {
        match self.again.job() {
            Some(job) if job.state == "running" && job.name == name => {
                Err(Refusal::Conflict("it is being worked on".into()))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn removed(&self, name: &str) -> Result<(), Refusal> {
        let path = self.existing(name, false)?;
        self.refuse_while_used(name)?;
        fs::remove_file(path).map_err(disk)?;
        if let Ok(manifest) = self.existing(name, true) {
            fs::remove_file(manifest).map_err(disk)?;
        }
        self.checked.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        Ok(())
    }

    pub(super) async fn taken(
        &self,
        name: String,
        manifest: bool,
        at: u64,
        piece: Bytes,
    ) -> Result<u64, Refusal> {
        if !is_name(&name) {
            let why = "the file's name ends in .backup and holds only letters, digits, - _ and .";
            return Err(Refusal::Conflict(why.into()));
        }
        self.refuse_while_used(&name)?;
        self.make_folder()?;
        let path = self.folder.join(if manifest { format!("{name}{MANIFEST}") } else { name.clone() });
        let end = at.saturating_add(piece.len() as u64);
        if end > UPLOAD_MAX || (manifest && end > 64 << 10) {
            return Err(Refusal::Conflict("the file is larger than is taken here".into()));
        }
        if free_bytes(&self.folder) < piece.len() as u64 + SPARE_BYTES {
            return Err(Refusal::Conflict("the disk has no room for it".into()));
        }
        self.checked.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
        let write = move || -> Result<u64, Refusal> {
            if at == 0 && path.exists() {
                let why =
                    "a backup of that name is here already: remove it first, or name the file otherwise";
                return Err(Refusal::Conflict(why.into()));
            }
            put_piece(&path, at, &piece)
        };
        tokio::task::spawn_blocking(write).await.map_err(|fault| Refusal::Failed(fault.to_string()))?
    }

    pub(super) fn begin_restore(&self, who: String, name: &str) -> Result<Job, Refusal> {
        let path = self.existing(name, false)?;
        let job = self.begin("restore", name, who)?;
        self.again.ask_with(path, job.clone());
        Ok(job)
    }
}

/// Between two rounds: the buffer is closed, nobody uses the folder.
pub(in crate::gateway) async fn put_in_place(
    again: &Arc<Again>,
    dir: PathBuf,
    (from, job): (PathBuf, Job),
    clock: &SharedClock,
) {
    let (telling, now): (_, Timestamp) = (again.clone(), clock.now());
    let restoring = tokio::task::spawn_blocking(move || {
        let mut tell = |progress: Progress| {
            telling.change(|job| {
                progress.what.clone_into(&mut job.what);
                (job.done, job.of) = (progress.done, progress.of);
            });
        };
        buffer::restore(&dir, &from, true, now, &mut tell)
    });
    let (state, detail) = match restoring.await {
        Ok(Ok(done)) => {
            let aside = done.aside.map(|path| format!(", what was here is kept in {}", path.display()));
            let made = done.manifest.map_or_else(|| "an unknown time".into(), |manifest| manifest.made);
            let frames = done.examined.frames;
            (
                "done",
                format!("restored {frames} frames from a backup made {made}{}", aside.unwrap_or_default()),
            )
        }
        Ok(Err(fault)) => ("failed", format!("nothing was changed: {fault}")),
        Err(fault) => ("failed", format!("nothing was changed: {fault}")),
    };
    tracing::warn!(state, backup = job.name, "A backup was to be put in place of the buffer.");
    again.change(|job| {
        job.state = state;
        job.detail = detail;
    });
}
