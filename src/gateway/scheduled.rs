//! Encrypted backups by themselves: made when they are due, read back before they get their name, the oldest of this box
//! removed after that. What is due is worked out from the last success, so a box that was off catches up once.
//!
//! # Invariants, told as absences
//!
//! - No plain byte of the buffer is in the folder of backups: the plain copy stays in the data folder, and goes.
//! - No backup goes before a newer one was verified, and none of another box ever.
//! - No folder is made: a stick that is not there is an alarm until it is, never a reason to fill the disk of the box.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::Parts;
use super::background::Background;
use super::system::free_bytes;
use crate::admin::live::{Live, Severity};
use crate::buffer::{self, Buffer, Manifest, NewAudit};
use crate::clock::{SharedClock, Timestamp};
use crate::config::Config;
use crate::config::backup::Backup;
use crate::connector::Stop;
use crate::sealed::{self, SealedError, Whom, With, Workroom};

/// How long between two looks at what is due; and from a backup that failed to the next try.
const EVERY: Duration = Duration::from_secs(2);
const RETRY: Duration = Duration::from_secs(900);
/// Room that is left on each disk beside a backup.
const SPARE_BYTES: u64 = 256 << 20;
/// The setting that tells of the last success.
const LAST: &str = "backup-last";
const ENDING: &str = ".age";
const MANIFEST: &str = ".manifest";
/// The folder in the data folder where the plain copy is for a while.
const WORKROOM: &str = "sealing";

/// What stands beside an encrypted backup. It has no patient data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedManifest {
    /// 1.
    pub bedside_sealed_backup: u32,
    /// Of the encrypted file.
    pub bytes: u64,
    pub sha256: String,
    /// Of the copy in it.
    pub inside: Manifest,
}

/// The last backup that was made and verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Last {
    micros: i64,
    name: String,
    bytes: u64,
}

/// Why none was made.
enum Missed {
    /// The folder cannot be used now; it is looked at again soon.
    Target(String),
    Failed(String),
}

impl From<SealedError> for Missed {
    fn from(fault: SealedError) -> Self {
        Self::Failed(fault.to_string())
    }
}

impl From<buffer::BufferError> for Missed {
    fn from(fault: buffer::BufferError) -> Self {
        Self::Failed(fault.to_string())
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Opens an encrypted backup into `folder` as a plain copy with its manifest, ready to be restored.
///
/// # Errors
/// Another key, a file that was changed or cut; nothing plain is left then.
pub fn open_into(folder: &Path, from: &Path, with: &With) -> Result<PathBuf, SealedError> {
    let manifest = match fs::read_to_string(beside(from, MANIFEST)) {
        Ok(text) => Some(
            serde_json::from_str::<SealedManifest>(&text)
                .map_err(|why| SealedError::Other(format!("the manifest beside it cannot be read: {why}")))?,
        ),
        Err(_) => None,
    };
    if let Some(manifest) = &manifest
        && sealed::sum_of(from)? != (manifest.bytes, manifest.sha256.clone())
    {
        return Err(SealedError::Damaged);
    }
    let copy = folder.join("copy.backup");
    sealed::open(from, &copy, with)?;
    if let Some(manifest) = manifest {
        let text = serde_json::to_string(&manifest.inside).unwrap_or_default();
        write_synced(&beside(&copy, MANIFEST), &text)?;
    }
    Ok(copy)
}

/// A folder in the data folder for what is plain for a while.
///
/// # Errors
/// It cannot be made.
pub fn workroom(data: &Path, name: &str) -> Result<Workroom, SealedError> {
    Workroom::new(&data.join(format!("{WORKROOM}-{name}")))
}

fn write_synced(path: &Path, text: &str) -> Result<(), SealedError> {
    let options = &mut OpenOptions::new();
    let options = options.write(true).create(true).truncate(true).mode(0o600);
    let written = options.open(path).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|source| SealedError::Disk { path: path.into(), source })
}

/// Whether something is mounted at the folder itself, as the kernel lists it (proc_pid_mountinfo(5)).
fn is_mount_point(folder: &Path) -> bool {
    let Ok(folder) = fs::canonicalize(folder) else { return false };
    let listed = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let there = listed.lines().filter_map(|line| line.split(' ').nth(4));
    let folder = folder.to_string_lossy();
    there.map(|point| point.replace("\\040", " ")).any(|point| point == folder)
}

/// Makes encrypted backups from now on, where `[backup]` says so.
pub(super) fn start(parts: &Parts, tasks: &mut JoinSet<()>, background: &Background, config: &Config) {
    let (buffer, live, clock) = (parts.buffer.clone(), parts.live.clone(), parts.clock.clone());
    if let Some(scheduled) = Scheduled::new(config, buffer, live, clock) {
        background.spawn(tasks, scheduled.run(parts.stop.clone()));
    }
}

/// Looks after encrypted backups while the box runs.
struct Scheduled {
    section: Backup,
    data: PathBuf,
    zone: TimeZone,
    buffer: Buffer,
    live: Arc<Live>,
    clock: SharedClock,
    /// When the box began to look, for one that never made a backup.
    since: Timestamp,
    tried: Option<Instant>,
    why: Option<String>,
}

impl Scheduled {
    /// None where no `[backup]` is configured.
    fn new(config: &Config, buffer: Buffer, live: Arc<Live>, clock: SharedClock) -> Option<Self> {
        let section = config.backup.clone()?;
        let zone = TimeZone::get(&config.site.zone).unwrap_or(TimeZone::UTC);
        let (data, since) = (config.buffer.dir.clone(), clock.now());
        Some(Self { section, data, zone, buffer, live, clock, since, tried: None, why: None })
    }

    /// Runs until told to stop.
    async fn run(mut self, mut stop: Stop) {
        // What a box that lost power left plain.
        drop(workroom(&self.data, "scheduled"));
        loop {
            self.look().await;
            tokio::select! {
                () = stop.wait() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }

    async fn look(&mut self) {
        let last = self.buffer.reader().setting(LAST).await.ok().flatten();
        let last = last.and_then(|text| serde_json::from_str::<Last>(&text).ok());
        let (now, at) = (self.clock.now(), last.as_ref().map(|last| last.micros));
        let resting = self.tried.is_some_and(|tried| tried.elapsed() < RETRY);
        if is_due(&self.section, &self.zone, at, now.micros) && !resting {
            match self.make(now).await {
                Ok((name, bytes)) => self.made(Last { micros: now.micros, name, bytes }).await,
                Err(Missed::Target(why)) => self.missed(why, last.as_ref()).await,
                Err(Missed::Failed(why)) => {
                    self.tried = Some(Instant::now());
                    self.missed(why, last.as_ref()).await;
                }
            }
        }
    }

    async fn made(&mut self, last: Last) {
        (self.tried, self.why) = (None, None);
        let text = serde_json::to_string(&last).unwrap_or_default();
        if let Err(fault) = self.buffer.put_setting(LAST, &text).await {
            tracing::error!(%fault, "That a backup was made could not be written down.");
            self.tried = Some(Instant::now());
        }
        self.live.clear_alarm("backup");
        self.audit(format!("done {}: {} bytes, read back", last.name, last.bytes)).await;
        tracing::info!(backup = last.name, bytes = last.bytes, "An encrypted backup was made.");
    }

    async fn missed(&mut self, why: String, last: Option<&Last>) {
        let since = last.map_or(self.since, |last| Timestamp::from_micros(last.micros, true));
        let old = self.clock.now().since(since) > self.section.period().saturating_mul(2);
        let severity = if old { Severity::Critical } else { Severity::Warning };
        let before = match last {
            Some(last) => {
                format!("the last good one was made {}", Timestamp::from_micros(last.micros, true).rfc3339())
            }
            None => "there is none yet".into(),
        };
        let title = format!("No backup could be made: {why} ({before})");
        let next = "Mend what it says: put the stick in, or make room. It is tried again by itself.";
        self.live.alarm("backup", severity, &title, next);
        if self.why.as_ref() != Some(&why) {
            tracing::warn!(why, "A backup is due and could not be made.");
            self.audit(format!("failed {why}")).await;
            self.why = Some(why);
        }
    }

    async fn audit(&self, detail: String) {
        let row = NewAudit { who: "schedule".into(), what: "backup.scheduled.end".into(), detail };
        if let Err(fault) = self.buffer.audit(row).await {
            tracing::error!(%fault, "The end of a backup could not be written into the audit trail.");
        }
    }

    async fn make(&self, now: Timestamp) -> Result<(String, u64), Missed> {
        let me = self.buffer.reader().setting(super::IDENTITY).await?.unwrap_or_default();
        let making = Making {
            section: self.section.clone(),
            data: self.data.clone(),
            needs: self.buffer.reader().health().bytes + SPARE_BYTES,
            prefix: prefix_of(&me),
            now,
        };
        let made = tokio::task::spawn_blocking(move || making.make()).await;
        made.map_err(|fault| Missed::Failed(fault.to_string()))?
    }
}

/// How this box's own backups begin, which tells them from those of others in the same folder.
fn prefix_of(me: &str) -> String {
    let sum = buffer::sha256(me.as_bytes());
    let short: String = sum.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("bedside-{short}-")
}

/// Whether a backup is due, by the last success. One from the future counts as none: the clock was wrong then.
fn is_due(section: &Backup, zone: &TimeZone, last: Option<i64>, now: i64) -> bool {
    let Some(last) = last.filter(|last| *last <= now) else { return true };
    match section.time() {
        Some(time) => last_occurrence(time, zone, now).is_some_and(|was| last < was),
        None => {
            let period = i64::try_from(section.period().as_micros()).unwrap_or(i64::MAX);
            now.saturating_sub(last) >= period
        }
    }
}

/// When the clock at the site last showed this time, in microseconds.
fn last_occurrence(time: jiff::civil::Time, zone: &TimeZone, now: i64) -> Option<i64> {
    let today = jiff::Timestamp::from_microsecond(now).ok()?.to_zoned(zone.clone()).date();
    let on = |date: jiff::civil::Date| {
        Some(date.to_datetime(time).to_zoned(zone.clone()).ok()?.timestamp().as_microsecond())
    };
    on(today).filter(|at| *at <= now).or_else(|| on(today.yesterday().ok()?))
}

/// One backup, on a thread that may block.
struct Making {
    section: Backup,
    data: PathBuf,
    needs: u64,
    prefix: String,
    now: Timestamp,
}

impl Making {
    fn make(&self) -> Result<(String, u64), Missed> {
        self.look_at_target()?;
        let room = workroom(&self.data, "scheduled")?;
        let plain = room.path().join("copy.backup");
        let (inside, examined) = buffer::back_up(&self.data, &plain, self.now, &mut |_| {})?;
        let stamp: String =
            self.now.rfc3339().chars().take(19).map(|c| if c == ':' { '-' } else { c }).collect();
        // Of an unsound box there is one, written over: what was sound stays, and the stick does not fill.
        let stamp = if examined.sound() { format!("{stamp}Z") } else { "unsound".into() };
        let name = format!("{}{stamp}{ENDING}", self.prefix);
        let (to, part) = (self.section.folder.join(&name), self.section.folder.join(format!("{name}.part")));
        let whom = match &self.section.passphrase_file {
            Some(path) => Whom::Passphrase(path.clone()),
            None => Whom::Recipients(self.section.recipients.clone()),
        };
        // The stick may have gone while the copy was made.
        self.look_at_target()?;
        let (bytes, sha256) = sealed::seal(&plain, &part, &whom)?;
        drop(room);
        let manifest = SealedManifest { bedside_sealed_backup: 1, bytes, sha256, inside };
        let text = serde_json::to_string_pretty(&manifest).unwrap_or_default();
        let disk = |source| SealedError::Disk { path: to.clone(), source };
        write_synced(&beside(&to, MANIFEST), &text)?;
        fs::rename(&part, &to).map_err(disk)?;
        fs::File::open(&self.section.folder).and_then(|folder| folder.sync_all()).map_err(disk)?;
        if !examined.sound() {
            return Err(Missed::Failed(format!(
                "{name} was written and is as unsound as what it is a copy of; older ones are kept. Run `bedside check`"
            )));
        }
        self.prune();
        Ok((name, bytes))
    }

    fn look_at_target(&self) -> Result<(), Missed> {
        let folder = &self.section.folder;
        let shown = folder.display();
        if !folder.is_dir() {
            return Err(Missed::Target(format!("{shown} is not there")));
        }
        if self.section.mounted && !is_mount_point(folder) {
            return Err(Missed::Target(format!("nothing is mounted at {shown}")));
        }
        for disk in [folder, &self.data] {
            let free = free_bytes(disk);
            if free < self.needs {
                let (needs, free) = (self.needs >> 20, free >> 20);
                let shown = disk.display();
                return Err(Missed::Target(format!("{shown} has {free} MiB free and {needs} are needed")));
            }
        }
        Ok(())
    }

    /// Removes the oldest of this box's own, and what it left half written. Names sort by time.
    fn prune(&self) {
        let entries = fs::read_dir(&self.section.folder).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let (mut own, other): (Vec<_>, Vec<_>) =
            names.filter(|name| name.starts_with(&self.prefix)).partition(|name| name.ends_with(ENDING));
        own.sort();
        own.truncate(own.len().saturating_sub(self.section.keep));
        let old = own.into_iter().flat_map(|name| [format!("{name}{MANIFEST}"), name]);
        for name in old.chain(other.into_iter().filter(|name| name.ends_with(".part"))) {
            if let Err(fault) = fs::remove_file(self.section.folder.join(&name)) {
                tracing::warn!(%fault, name, "An old backup could not be removed.");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000;

    fn section(folder: &Path, more: &str) -> Backup {
        let (_, public) = sealed::new_identity();
        let text = format!("folder = \"{}\"\nrecipients = [\"{public}\"]\n{more}", folder.display());
        toml::from_str(&text).unwrap()
    }

    #[test]
    fn a_box_that_was_off_catches_up_once_and_then_waits_for_its_time() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let nightly = section(Path::new("/u"), "at = \"02:30\"");
        let micros = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_microsecond();
        let due = |last: Option<&str>, now| is_due(&nightly, &zone, last.map(micros), micros(now));
        assert!(due(None, "2026-01-10T12:00:00Z"), "there is none yet");
        assert!(!due(Some("2026-01-10T01:30:00Z"), "2026-01-11T01:29:59Z"));
        assert!(due(Some("2026-01-10T01:30:00Z"), "2026-01-11T01:30:00Z"), "half past two in Berlin");
        assert!(due(Some("2026-01-01T01:30:00Z"), "2026-01-10T20:00:00Z"), "it was off for days");
        assert!(!due(Some("2026-01-10T20:00:00Z"), "2026-01-10T20:00:05Z"));
        assert!(due(Some("2026-07-10T00:30:00Z"), "2026-07-11T00:30:00Z"), "in summer an hour earlier");
        assert!(due(Some("2036-01-01T00:00:00Z"), "2026-01-10T20:00:00Z"), "the clock was wrong");
        let hourly = section(Path::new("/u"), "every_h = 6");
        assert!(!is_due(&hourly, &zone, Some(0), 6 * HOUR - 1) && is_due(&hourly, &zone, Some(0), 6 * HOUR));
    }

    #[test]
    fn only_the_oldest_of_this_box_go() {
        let dir = tempfile::tempdir().unwrap();
        let prefix = prefix_of("me");
        let name = |box_: &str, day: u32| format!("{box_}2026-01-{day:02}T02-30-00Z.age");
        let other = prefix_of("another");
        for day in 1..=4 {
            for of in [&prefix, &other] {
                fs::write(dir.path().join(name(of, day)), "").unwrap();
                fs::write(dir.path().join(name(of, day) + MANIFEST), "").unwrap();
            }
        }
        fs::write(dir.path().join(name(&prefix, 5) + ".part"), "").unwrap();
        fs::write(dir.path().join("holiday.jpg"), "").unwrap();
        let section = section(dir.path(), "keep = 2");
        let now = Timestamp::from_micros(0, true);
        Making { section, data: dir.path().into(), needs: 0, prefix: prefix.clone(), now }.prune();
        let mut left: Vec<String> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        let own: Vec<_> = left.iter().filter(|name| name.starts_with(&prefix)).collect();
        let expected = [3, 4].map(|day| [name(&prefix, day), name(&prefix, day) + MANIFEST]).concat();
        assert_eq!(own, expected.iter().collect::<Vec<_>>());
        assert_eq!(left.len(), 4 + 8 + 1, "what is not its own stays: {left:?}");
    }

    #[test]
    fn a_folder_without_its_mount_is_refused_and_nothing_is_written_there() {
        let dir = tempfile::tempdir().unwrap();
        let at = |more: &str, folder: &Path| Making {
            section: section(folder, more),
            data: dir.path().into(),
            needs: 0,
            prefix: prefix_of("me"),
            now: Timestamp::from_micros(0, true),
        };
        let why = |missed| match missed {
            Err(Missed::Target(why)) => why,
            _ => String::new(),
        };
        assert!(why(at("mounted = true", dir.path()).look_at_target()).contains("nothing is mounted"));
        assert!(why(at("", &dir.path().join("gone")).look_at_target()).contains("is not there"));
        assert!(
            at("mounted = true", Path::new("/proc")).section.mounted && is_mount_point(Path::new("/proc"))
        );
        let full = Making { needs: u64::MAX, ..at("", dir.path()) };
        assert!(why(full.look_at_target()).contains("MiB free"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
