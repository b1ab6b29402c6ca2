//! Tapes of the box's links, in the folder `recordings` of the buffer: begun and ended at the desk, bounded in time, size
//! and number. On disk they are as the device spoke, as private as the database; what leaves the box is masked.

use std::collections::HashMap;
use std::io::Read;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use crate::admin::command::Refusal;
use crate::admin::live::Live;
use crate::admin::recording::{Recording, RecordingWanted, TapeView};
use crate::clock::{SharedClock, Timestamp};
use crate::config::{Link, Reads, Transport};
use crate::connector::Later;
use crate::connector::recorder::{Limits, Progress, Recorder};
use crate::firmware_profile::mask;
use crate::gateway::understand::{Understanding, context};
use crate::wire::tape::{Head, Tape, Way};

/// Size of one tape, and of all of them.
const TAPE_BYTES: u64 = 32 << 20;
const ALL_BYTES: u64 = 256 << 20;
const MINUTES_MAX: u32 = 24 * 60;
/// Room that stays free on the disk for what devices say.
const FREE_BYTES: u64 = 512 << 20;
const SUFFIX: &str = "tape";
/// In the name of a tape that may leave the box unmasked.
const UNMASKED: &str = "-unmasked";

/// The tapes.
pub(super) struct Recordings {
    folder: PathBuf,
    clock: SharedClock,
    understanding: Arc<Understanding>,
    live: Arc<Live>,
    running: Mutex<HashMap<Arc<str>, Running>>,
    /// How many run: links ask this first, and mostly it is 0.
    count: AtomicUsize,
    /// Chunks of tapes that have ended, by name, so that they are counted once.
    counted: Mutex<HashMap<String, u64>>,
    me: Weak<Self>,
}

struct Running {
    name: String,
    recorder: Arc<Recorder>,
}

impl Recordings {
    pub(super) fn new(
        buffer: &Path,
        clock: SharedClock,
        understanding: Arc<Understanding>,
        live: Arc<Live>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            folder: buffer.join("recordings"),
            clock,
            understanding,
            live,
            running: Mutex::default(),
            count: AtomicUsize::new(0),
            counted: Mutex::default(),
            me: me.clone(),
        })
    }

    /// Bytes crossed a link.
    pub(super) fn crossed(
        &self,
        link: &Arc<str>,
        peer: &Arc<str>,
        way: Way,
        topic: Option<&str>,
        bytes: &[u8],
    ) {
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let recorder = self.running().get(link).map(|running| running.recorder.clone());
        let Some(recorder) = recorder else { return };
        recorder.crossed(peer, way, topic, bytes);
        if recorder.is_over() {
            self.ended(link);
        }
    }

    fn running(&self) -> MutexGuard<'_, HashMap<Arc<str>, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ended(&self, link: &str) {
        let mut running = self.running();
        if let Some(ended) = running.remove(link) {
            if let Some(fault) = ended.recorder.progress().fault() {
                tracing::error!(link, fault, "A tape broke off.");
            }
            tracing::info!(link, "A tape ended.");
        }
        self.count.store(running.len(), Ordering::Relaxed);
        drop(running);
        self.live.link_recording(link, false);
    }

    fn begin(&self, wanted: &RecordingWanted) -> Result<String, Refusal> {
        let link = self.understanding.link(&wanted.link).ok_or(Refusal::Unknown)?;
        if !(1..=MINUTES_MAX).contains(&wanted.minutes) {
            return Err(Refusal::Conflict(format!("minutes: 1 to {MINUTES_MAX}")));
        }
        let failed = |fault: std::io::Error| Refusal::Failed(fault.to_string());
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder).map_err(failed)?;
        let used: u64 = self.files().iter().map(|(_, bytes)| bytes).sum();
        if used + TAPE_BYTES > ALL_BYTES {
            return Err(Refusal::Conflict(format!(
                "the recordings take {} MiB of {}: remove old ones first",
                used >> 20,
                ALL_BYTES >> 20
            )));
        }
        let room = rustix::fs::statvfs(&self.folder).map_err(|fault| Refusal::Failed(fault.to_string()))?;
        if room.f_bavail.saturating_mul(room.f_frsize) < FREE_BYTES {
            return Err(Refusal::Conflict("the disk is nearly full: its room is kept for results".into()));
        }
        let now = self.clock.now();
        let mut running = self.running();
        if running.contains_key(&link.name) {
            return Err(Refusal::Conflict("this link is being recorded".into()));
        }
        let name = name_of(&link.name, now, wanted.masked);
        let span = Duration::from_secs(60 * u64::from(wanted.minutes));
        let recorder =
            Recorder::start(&self.path(&name), &head(&link, now), Limits { bytes: TAPE_BYTES, span });
        let recorder = Arc::new(recorder.map_err(failed)?);
        let entry = Running { name: name.clone(), recorder };
        running.insert(link.name.clone(), entry);
        self.count.store(running.len(), Ordering::Relaxed);
        drop(running);
        self.live.link_recording(&link.name, true);
        self.end_after(&link.name, &name, span);
        Ok(name)
    }

    /// Ends a tape on a link where nothing comes any more, too.
    fn end_after(&self, link: &Arc<str>, name: &str, span: Duration) {
        let (me, link, name) = (self.me.clone(), link.clone(), name.to_owned());
        tokio::spawn(async move {
            tokio::time::sleep(span).await;
            let Some(me) = me.upgrade() else { return };
            let same = me.running().get(&link).is_some_and(|running| running.name == name);
            if same {
                me.ended(&link);
            }
        });
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.{SUFFIX}"))
    }

    /// Names and sizes of all tapes.
    fn files(&self) -> Vec<(String, u64)> {
        let files = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let files = files.filter_map(|file| {
            let name = file.file_name().to_str()?.strip_suffix(&format!(".{SUFFIX}"))?.to_owned();
            Some((name, file.metadata().ok()?.len()))
        });
        files.collect()
    }

    /// The file of a tape, if there is one of that name: a name never leads out of the folder.
    fn file(&self, name: &str) -> Result<PathBuf, Refusal> {
        let known = self.files().into_iter().any(|(known, _)| known == name);
        known.then(|| self.path(name)).ok_or(Refusal::Unknown)
    }

    fn view(&self, name: String, bytes: u64) -> Option<TapeView> {
        let path = self.path(&name);
        let running: Option<Arc<Progress>> =
            self.running().values().find(|r| r.name == name).map(|r| r.recorder.progress());
        let head = head_of(&path)?;
        let started = head.started.parse::<jiff::Timestamp>().ok()?;
        let chunks = match &running {
            Some(progress) => progress.chunks(),
            None => self.chunks_of(&name, &path),
        };
        let changed = std::fs::metadata(&path).and_then(|file| file.modified()).ok();
        let ended = changed.filter(|_| running.is_none()).and_then(|at| jiff::Timestamp::try_from(at).ok());
        Some(TapeView {
            masked: !name.ends_with(UNMASKED),
            name,
            link: head.link,
            profile: head.profile,
            started: Timestamp::from_micros(started.as_microsecond(), true),
            ended: ended.map(|at| format!("{at:.3}")),
            bytes,
            chunks,
        })
    }

    fn chunks_of(&self, name: &str, path: &Path) -> u64 {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        *counted.entry(name.to_owned()).or_insert_with(|| {
            let file = std::fs::read(path).unwrap_or_default();
            let lines = memchr::memchr_iter(b'\n', &file).count();
            u64::try_from(lines.saturating_sub(1)).unwrap_or(0)
        })
    }

    fn exported(&self, name: &str, unmasked: bool) -> Result<Vec<u8>, Refusal> {
        let path = self.file(name)?;
        if unmasked && !name.ends_with(UNMASKED) {
            return Err(Refusal::Conflict(
                "this tape was begun masked: it leaves the box only masked".into(),
            ));
        }
        let file = std::fs::read(&path).map_err(|fault| Refusal::Failed(fault.to_string()))?;
        if unmasked {
            return Ok(file);
        }
        let tape = Tape::read(&file).map_err(|fault| Refusal::Conflict(fault.to_string()))?;
        let link = self.understanding.link(&tape.head.link).ok_or_else(|| {
            Refusal::Conflict("the link is gone: without it nobody knows where persons stand".into())
        })?;
        let profile = match &link.reads {
            Reads::Profile(profile) => Some(profile.as_ref()),
            Reads::System(system) => Some(system.orders.as_ref()),
            Reads::BySender => None,
        };
        let masked = mask(&tape, profile, &context(&link, self.clock.now(), None));
        let masked = masked.map_err(|fault| Refusal::Conflict(fault.to_string()))?;
        if masked.left.is_empty() {
            Ok(masked.tape.written())
        } else {
            Err(Refusal::Conflict(format!("the tape cannot be masked whole: {}", masked.left.join(" "))))
        }
    }
}

impl Recording for Recordings {
    fn list(&self) -> Later<'_, Vec<TapeView>> {
        self.elsewhere(|me| {
            let mut tapes: Vec<TapeView> =
                me.files().into_iter().filter_map(|(name, bytes)| me.view(name, bytes)).collect();
            tapes.sort_by_key(|tape| std::cmp::Reverse(tape.started));
            tapes
        })
    }

    fn start(&self, wanted: RecordingWanted) -> Later<'_, Result<String, Refusal>> {
        self.elsewhere(move |me| me.begin(&wanted))
    }

    fn stop(&self, name: String) -> Later<'_, Result<(), Refusal>> {
        let link = self.running().iter().find(|(_, r)| r.name == name).map(|(link, _)| link.clone());
        let done = match link {
            Some(link) => {
                self.ended(&link);
                Ok(())
            }
            None => self.file(&name).and(Err(Refusal::Conflict("this recording has ended".into()))),
        };
        Box::pin(std::future::ready(done))
    }

    fn export(&self, name: String, unmasked: bool) -> Later<'_, Result<Vec<u8>, Refusal>> {
        self.elsewhere(move |me| me.exported(&name, unmasked))
    }

    fn remove(&self, name: String) -> Later<'_, Result<(), Refusal>> {
        self.elsewhere(move |me| {
            let path = me.file(&name)?;
            if me.running().values().any(|running| running.name == name) {
                return Err(Refusal::Conflict("this recording is being written: stop it first".into()));
            }
            std::fs::remove_file(path).map_err(|fault| Refusal::Failed(fault.to_string()))
        })
    }
}

impl Recordings {
    /// Files are read and masked where that holds up nobody.
    fn elsewhere<T: Send + 'static + Closing>(
        &self,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Later<'_, T> {
        let me = self.me.upgrade();
        Box::pin(async move {
            let Some(me) = me else { return T::gone() };
            tokio::task::spawn_blocking(move || work(&me)).await.unwrap_or_else(|_| T::gone())
        })
    }
}

/// The answer of a box that is closing.
trait Closing {
    fn gone() -> Self;
}

impl Closing for Vec<TapeView> {
    fn gone() -> Self {
        Self::new()
    }
}

impl<T> Closing for Result<T, Refusal> {
    fn gone() -> Self {
        Err(Refusal::Failed("the box is closing".into()))
    }
}

fn name_of(link: &str, now: Timestamp, masked: bool) -> String {
    let link: String =
        link.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' }).take(60).collect();
    let stamp: String = now.rfc3339().chars().filter(char::is_ascii_alphanumeric).collect();
    format!("{link}-{stamp}{}", if masked { "" } else { UNMASKED })
}

fn head(link: &Link, now: Timestamp) -> Head {
    let transport = match &link.transport {
        Transport::Serial(config) => format!("serial {} {}", config.port.display(), config.baud),
        other => other.kind().to_owned(),
    };
    Head {
        bedside_tape: crate::wire::tape::VERSION,
        link: link.name.to_string(),
        codec: link.codec().word().to_owned(),
        profile: match &link.reads {
            Reads::Profile(profile) => Some(profile.id.to_string()),
            Reads::System(_) | Reads::BySender => None,
        },
        transport,
        started: now.rfc3339(),
        masked: false,
    }
}

fn head_of(path: &Path) -> Option<Head> {
    let mut head = Vec::new();
    std::fs::File::open(path).ok()?.take(4096).read_to_end(&mut head).ok()?;
    serde_json::from_slice(head.split(|byte| *byte == b'\n').next()?).ok()
}

#[cfg(test)]
#[path = "recording_tests.rs"]
mod tests;
