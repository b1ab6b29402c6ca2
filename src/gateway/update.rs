//! The running box's part in updates: a new program says of itself that it is well, what was done is written into the audit
//! trail, and a box that went back says so at the desk.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::admin::live::{Live, Severity};
use crate::buffer::{Buffer, NewAudit};
use crate::clock::{SharedClock, Timestamp};
use crate::config::Config;
use crate::connector::Stop;
use crate::update::disk::Real;
use crate::update::slots::{self, GoneBack, Slot, Slots, State};
use crate::update::{self, UpdateError, journal};

const EVERY: Duration = Duration::from_secs(1);
/// How long somebody has to see that the box went back, in microseconds: 14 days.
const TOLD_FOR: i64 = 14 * 86_400 * 1_000_000;

/// Looks after updates while the box runs.
pub(super) struct Updates {
    dir: PathBuf,
    buffer: Buffer,
    live: Arc<Live>,
    clock: SharedClock,
    confirm_after: Duration,
    /// The slot and release this process is.
    me: Option<(Slot, u64)>,
    anchor: Option<PathBuf>,
    well_since: Option<Instant>,
    told: bool,
    /// Why the last look failed, which is said once.
    trouble: Option<String>,
}

impl Updates {
    pub(super) fn new(config: &Config, buffer: Buffer, live: Arc<Live>, clock: SharedClock) -> Self {
        let section = config.update.as_ref();
        Self {
            dir: slots::folder(&config.buffer.dir),
            buffer,
            live,
            clock,
            confirm_after: Duration::from_secs(section.map_or(60, |update| update.confirm_after_s)),
            me: update::this_process(),
            anchor: section.map(|update| update.root.clone()),
            well_since: None,
            told: false,
            trouble: None,
        }
    }

    /// Runs until told to stop.
    pub(super) async fn run(mut self, mut stop: Stop) {
        loop {
            if self.anchor.is_some() || self.dir.exists() {
                let trouble = self.look().await.err().map(|fault| fault.to_string());
                if let Some(why) = trouble.as_ref().filter(|_| trouble != self.trouble) {
                    tracing::warn!(why, "The state of updates could not be read or written.");
                }
                self.trouble = trouble;
            }
            tokio::select! {
                () = stop.wait() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }

    async fn look(&mut self) -> Result<(), UpdateError> {
        self.forward().await?;
        let state = Slots::new(&self.dir, &Real).state()?;
        self.tell(&state);
        Slots::new(&self.dir, &Real).saw(self.clock.now())?;
        let well = self.live.is_ready() && self.buffer.reader().health().writing;
        let since = if well { Some(self.well_since.unwrap_or_else(Instant::now)) } else { None };
        self.well_since = since;
        let Some((slot, release)) =
            self.me.filter(|(slot, _)| state.chosen == Some(*slot) && !state.confirmed)
        else {
            return Ok(());
        };
        if state.back_wanted.is_none() && since.is_some_and(|since| since.elapsed() >= self.confirm_after) {
            let anchor = self.anchor.clone().ok_or(UpdateError::NoAnchor)?;
            let (dir, now, after) = (self.dir.clone(), self.clock.now(), self.confirm_after);
            let confirming = move || confirm(&dir, &anchor, (slot, release), (now, after));
            let confirmed = tokio::task::spawn_blocking(confirming).await;
            return confirmed.map_err(|fault| UpdateError::NotNow(fault.to_string()))?;
        }
        Ok(())
    }

    /// Writes what was done and refused into the trail.
    async fn forward(&self) -> Result<(), UpdateError> {
        let Some(waiting) = journal::take(&Slots::new(&self.dir, &Real))? else { return Ok(()) };
        for line in &waiting.lines {
            let row = NewAudit {
                who: line.who.clone(),
                what: line.what.clone(),
                detail: format!("{} (at {})", line.detail, line.at),
            };
            if let Err(fault) = self.buffer.audit(row).await {
                tracing::error!(%fault, "What was done about updates could not be written into the audit trail.");
                return Ok(());
            }
        }
        waiting.written().map_err(UpdateError::disk(&self.dir))
    }

    fn tell(&mut self, state: &State) {
        let now = self.clock.now();
        let recent = |back: &&GoneBack| {
            let at = back.at.parse::<jiff::Timestamp>().map_or(0, jiff::Timestamp::as_microsecond);
            now.micros.saturating_sub(at) < TOLD_FOR
        };
        let Some(back) = state.gone_back.as_ref().filter(recent) else {
            if std::mem::take(&mut self.told) {
                self.live.clear_alarm("update-went-back");
            }
            return;
        };
        if self.told {
            return;
        }
        self.told = true;
        let database = back.database.as_ref().map_or_else(String::new, |database| format!("; {database}"));
        let title = format!(
            "This box went back from version {} (release {}) to the program before: {}{database}",
            back.product, back.release, back.why
        );
        let next = "Everything works as before the update. Tell the publisher what stands here; install the next release when there is one.";
        self.live.alarm("update-went-back", Severity::Warning, &title, next);
    }
}

/// The program of this process proved itself.
fn confirm(
    dir: &Path,
    anchor: &Path,
    (slot, release): (Slot, u64),
    (now, after): (Timestamp, Duration),
) -> Result<(), UpdateError> {
    let slots = Slots::new(dir, &Real);
    let found = slots.verified(slot, &update::install::anchor(anchor)?)?;
    if found.release.version != release {
        return Ok(());
    }
    slots.confirm(slot, (release, &found.target.sha256))?;
    let seconds = after.as_secs();
    let detail = format!("done release {release} ({}) ran well for {seconds} s", found.release.product);
    tracing::info!(release, "This update proved itself and is kept.");
    journal::tell(&slots, now, "bedside", "update.confirm", &detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::update::rig::{BoxFolder, Publisher};

    #[tokio::test]
    async fn a_box_that_is_well_keeps_its_program_writes_the_trail_and_tells_of_going_back() {
        let publisher = Publisher::new();
        let folder = BoxFolder::with(&publisher, 5, b"five");
        folder.install(&Real, &publisher, &publisher.update(6, b"six")).unwrap();
        folder.start(&Real, &publisher);
        let anchor = publisher.dir.path().join("anchor.json");
        std::fs::write(&anchor, &publisher.roots[0]).unwrap();
        let clock: SharedClock = Arc::new(SystemClock::default());
        let data = tempfile::tempdir().unwrap();
        let config = crate::buffer::Config { dir: data.path().into(), ..crate::buffer::Config::default() };
        let buffer = Buffer::open(&config, clock.clone()).unwrap();
        let live = Live::new(clock.clone());
        let mut updates = Updates {
            dir: folder.dir.clone(),
            buffer: buffer.clone(),
            live: live.clone(),
            clock: clock.clone(),
            confirm_after: Duration::ZERO,
            me: Some((Slot::B, 6)),
            anchor: Some(anchor),
            well_since: None,
            told: false,
            trouble: None,
        };
        let confirmed = || folder.slots(&Real).state().unwrap().confirmed;
        updates.look().await.unwrap();
        assert!(!confirmed(), "its ports are not open yet");
        live.ready(true);
        updates.me = Some((Slot::A, 5));
        updates.look().await.unwrap();
        assert!(!confirmed(), "another program's word does not count");
        updates.me = Some((Slot::B, 6));
        updates.look().await.unwrap();
        assert!(confirmed() && folder.slots(&Real).state().unwrap().highest == 6);
        updates.look().await.unwrap();
        let rows = buffer.reader().audit_after(0, 10).await.unwrap();
        let words: Vec<&str> = rows.iter().map(|row| row.what.as_str()).collect();
        assert_eq!(words, ["update.start", "update.start", "update.confirm"]);
        assert!(!folder.dir.join("told.ndjson").exists() && !folder.dir.join("told.taken").exists());
        folder
            .slots(&Real)
            .change(|state| {
                state.gone_back = Some(GoneBack {
                    release: 7,
                    product: "9.0.0".into(),
                    why: "it ended".into(),
                    database: None,
                    at: clock.now().rfc3339(),
                });
            })
            .unwrap();
        updates.look().await.unwrap();
        let backlog = Default::default();
        let alarms = live.overview("x", false, &backlog).alarms;
        assert!(alarms.iter().any(|alarm| alarm.code == "update-went-back"), "{alarms:?}");
    }
}
