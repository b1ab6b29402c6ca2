//! Which program the box starts: the chosen one while it is whole and proves itself in time, else the one before, else the
//! package's own.
//!
//! The package's program is the loader. It is small work done before anything else, and it never changes with an update, so
//! that no update can take away the way back.

use std::path::Path;

use super::journal;
use super::slots::{Found, GoneBack, Slot, Slots, State};
use super::{ATTEMPTS, Root, UpdateError, Version};
use crate::clock::Timestamp;

/// What is started.
#[derive(Debug)]
pub enum Next {
    /// The program of the package, and why where another was chosen.
    Packaged(Option<String>),
    Program {
        slot: Slot,
        found: Box<Found>,
    },
}

/// Brings the database to a state that a program with this schema can read; the path is that of the copy from before. Says
/// what became of the newer one, or nothing when there was nothing to do.
pub type SetBack<'a> = dyn FnMut(i64, Option<&Path>) -> Result<Option<String>, String> + 'a;

/// Who decides.
pub struct Loader<'a> {
    pub slots: Slots<'a>,
    /// `None`: the configuration names nobody who may publish.
    pub anchor: Option<Root>,
    pub now: Timestamp,
    /// Version and schema of the package's program.
    pub packaged: (Version, i64),
    pub set_back: &'a mut SetBack<'a>,
}

/// Nothing goes back more often than this at one start.
const ROUNDS: u32 = 4;

impl Loader<'_> {
    /// Decides, and counts the attempt durably where the program has not proved itself.
    pub fn decide(&mut self) -> Next {
        let state = match self.slots.state() {
            Ok(state) => state,
            Err(fault) => match self.rebuilt(&fault) {
                Some(state) => state,
                None => return Next::Packaged(Some(format!("{fault}; no slot holds a signed program"))),
            },
        };
        if state.chosen.is_none() {
            return Next::Packaged(None);
        }
        let Some(anchor) = self.anchor.clone() else {
            let why = "the root of [update] cannot be read, so no program of an update can be trusted";
            return Next::Packaged(Some(why.into()));
        };
        for _ in 0..ROUNDS {
            let Ok(state) = self.slots.state() else { break };
            let Some(slot) = state.chosen else { return Next::Packaged(None) };
            match self.judged(&state, slot, &anchor) {
                Ok(found) if found.release.product() < self.packaged.0 => {
                    return Next::Packaged(Some(format!(
                        "the installed package is newer ({}) than the update ({})",
                        self.packaged.0, found.release.product
                    )));
                }
                Ok(found) => return self.counted(slot, found),
                Err(why) => {
                    if let Err(cannot) = self.go_back(&state, slot, &anchor, &why) {
                        self.tell("update.back", &format!("failed {why}; {cannot}"));
                        return match self.slots.verified(slot, &anchor) {
                            Ok(found) => Next::Program { slot, found: Box::new(found) },
                            Err(_) => Next::Packaged(Some(cannot)),
                        };
                    }
                }
            }
        }
        Next::Packaged(Some("no program of an update could be settled on".into()))
    }

    /// The chosen slot, or why it is not to be started (any more).
    fn judged(&self, state: &State, slot: Slot, anchor: &Root) -> Result<Found, String> {
        if let Some(wanted) = &state.back_wanted {
            return Err(wanted.clone());
        }
        let found = self.slots.verified(slot, anchor).map_err(|fault| fault.to_string())?;
        if !state.confirmed && state.attempts >= ATTEMPTS {
            return Err(format!("it was started {ATTEMPTS} times and never ran well for long enough"));
        }
        Ok(found)
    }

    /// An attempt that cannot be counted, on a full disk, is made all the same: what could be started instead would need
    /// the disk too.
    fn counted(&self, slot: Slot, found: Found) -> Next {
        let counted = self.slots.change(|state| {
            if !state.confirmed {
                state.attempts += 1;
            }
        });
        let release = found.release.version;
        match counted {
            Ok(state) if !state.confirmed => {
                let (attempt, product) = (state.attempts, &found.release.product);
                self.tell(
                    "update.start",
                    &format!("done release {release} ({product}), attempt {attempt} of {ATTEMPTS}"),
                );
            }
            Ok(_) => {}
            Err(fault) => tracing::error!(%fault, "The start of an update could not be counted."),
        }
        Next::Program { slot, found: Box::new(found) }
    }

    /// The database first: the state that says so comes after it, so that a power cut in between repeats it.
    fn go_back(&mut self, state: &State, slot: Slot, anchor: &Root, why: &str) -> Result<(), String> {
        let before =
            state.before.and_then(|before| Some((before, self.slots.verified(before, anchor).ok()?)));
        let before = before.filter(|(_, found)| found.release.product() >= self.packaged.0);
        let schema = before.as_ref().map_or(self.packaged.1, |(_, found)| found.release.schema);
        let copy = state.snapshot.as_ref().map(|snapshot| self.slots.snapshots().join(&snapshot.file));
        let database = (self.set_back)(schema, copy.as_deref())?;
        let failed = self.slots.verified(slot, anchor).ok();
        let told = GoneBack {
            release: failed.as_ref().map_or(0, |found| found.release.version),
            product: failed.map_or_else(|| "unknown".into(), |found| found.release.product),
            why: why.to_owned(),
            database,
            at: self.now.rfc3339(),
        };
        let (to, words) = match &before {
            Some((before, found)) => (Some(*before), format!("release {}", found.release.version)),
            None => (None, format!("the package's own program {}", self.packaged.0)),
        };
        let line = format!("done from release {} to {words}: {why}", told.release);
        self.tell("update.back", &line);
        if let Some(database) = &told.database {
            self.tell("update.database", &format!("done {database}"));
        }
        let changed = self.slots.change(|state| {
            (state.chosen, state.before) = (to, None);
            (state.confirmed, state.attempts) = (true, 0);
            state.back_wanted = None;
            state.gone_back = Some(told);
        });
        changed.map(drop).map_err(|fault| fault.to_string())
    }

    /// The chosen program cannot even be begun: the next decision goes back from it.
    pub fn cannot_begin(&self, slot: Slot, why: &str) -> Result<(), UpdateError> {
        self.slots.change(|state| {
            if state.chosen == Some(slot) {
                state.back_wanted = Some(format!("it could not be started: {why}"));
            }
        })?;
        Ok(())
    }

    /// The disk changed the state: the newest signed slot is tried anew, the other one is before it.
    fn rebuilt(&self, fault: &UpdateError) -> Option<State> {
        let anchor = self.anchor.as_ref()?;
        let found = |slot: Slot| Some((slot, self.slots.verified(slot, anchor).ok()?));
        let mut both: Vec<(Slot, Found)> = [Slot::A, Slot::B].into_iter().filter_map(found).collect();
        both.sort_by_key(|(_, found)| std::cmp::Reverse(found.release.version));
        let mut both = both.into_iter();
        let (chosen, newest) = both.next()?;
        let before = both.next().map(|(slot, _)| slot);
        let state = State {
            chosen: Some(chosen),
            before,
            highest: newest.release.version,
            highest_sha256: newest.target.sha256,
            ..State::default()
        };
        self.tell("update.state", &format!("failed {fault}; it was worked out anew from the slots"));
        self.slots.write(&state).ok()?;
        Some(state)
    }

    fn tell(&self, what: &str, detail: &str) {
        if let Err(fault) = journal::tell(&self.slots, self.now, "bedside", what, detail) {
            tracing::error!(%fault, what, detail, "This could not be written down for the audit trail.");
        }
    }
}
