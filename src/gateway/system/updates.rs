//! Updates at the desk: the publisher's file is brought in piece by piece, installed beside the program that runs, and
//! started by whoever keeps the box running.

use std::fs;
use std::path::PathBuf;

use bytes::Bytes;

use super::System;
use super::backups::{free_bytes, put_piece};
use crate::admin::command::Refusal;
use crate::admin::system::{Chosen, Job, UpdateState};
use crate::gateway::installation::Installation;
use crate::update::disk::Real;
use crate::update::slots::{self, Slots};

/// The file that is brought in, in the folder of programs.
const INCOMING: &str = "incoming.update";
/// Largest update file that is taken: programs of several architectures.
const INCOMING_MAX: u64 = 512 << 20;
/// Room that is left on the disk beside it.
const SPARE_BYTES: u64 = 256 << 20;

/// Whether a service manager started this very process and so starts it again when it ends.
fn is_started_again() -> bool {
    let told = std::env::var("SYSTEMD_EXEC_PID").ok();
    told.is_some_and(|pid| pid == std::process::id().to_string())
}

impl System {
    fn programs(&self) -> PathBuf {
        slots::folder(&self.dir)
    }

    fn incoming(&self) -> PathBuf {
        self.programs().join(INCOMING)
    }

    pub(super) fn update_state(&self) -> Result<UpdateState, Refusal> {
        let programs = self.programs();
        let state = Slots::new(&programs, &Real).state();
        let state = state.map_err(|fault| Refusal::Failed(fault.to_string()))?;
        let chosen = state.chosen.map(|slot| {
            // Its metadata alone: this is asked every second, and each start verifies the program.
            let anchor = self.installation("").anchor();
            let signed = anchor.and_then(|anchor| Slots::new(&programs, &Real).signed(slot, &anchor)).ok();
            Chosen {
                release: signed.as_ref().map(|(release, _)| release.version),
                version: signed.map(|(release, _)| release.product),
                proved: state.confirmed,
                tried: state.attempts,
            }
        });
        Ok(UpdateState {
            incoming_bytes: fs::metadata(self.incoming()).map_or(0, |about| about.len()),
            starts_again: is_started_again(),
            chosen,
            job: self.again.job().filter(|job| job.kind == "update"),
        })
    }

    fn installation(&self, who: &str) -> Installation {
        Installation::new(&self.dir, self.publisher.as_deref(), self.clock.now(), who)
    }

    fn refuse_while_installing(&self) -> Result<(), Refusal> {
        match self.again.job() {
            Some(job) if job.state == "running" && job.kind == "update" => {
                Err(Refusal::Conflict("an update is being installed".into()))
            }
            _ => Ok(()),
        }
    }

    /// A piece of an update file; the first one begins it anew.
    pub(super) async fn update_taken(&self, at: u64, piece: Bytes) -> Result<u64, Refusal> {
        if self.publisher.is_none() {
            let why = "this box takes no updates: its configuration names nobody who may publish them";
            return Err(Refusal::Conflict(why.into()));
        }
        self.refuse_while_installing()?;
        if at.saturating_add(piece.len() as u64) > INCOMING_MAX {
            return Err(Refusal::Conflict("the file is larger than is taken here".into()));
        }
        if free_bytes(&self.dir) < piece.len() as u64 + SPARE_BYTES {
            return Err(Refusal::Conflict("the disk has no room for it".into()));
        }
        let (programs, path) = (self.programs(), self.incoming());
        let write = move || -> Result<u64, Refusal> {
            Slots::new(&programs, &Real).make_folder().map_err(|fault| Refusal::Failed(fault.to_string()))?;
            put_piece(&path, at, &piece)
        };
        tokio::task::spawn_blocking(write).await.map_err(|fault| Refusal::Failed(fault.to_string()))?
    }

    /// Installs what was brought in. `start`: the box ends afterwards, so that the new program is started.
    pub(super) fn begin_update(&self, who: String, start: bool) -> Result<Job, Refusal> {
        let file = self.incoming();
        if !file.is_file() {
            return Err(Refusal::Conflict("no update file is here: bring one in first".into()));
        }
        if start && !is_started_again() {
            let why = "nothing starts this box again when it ends: install it for the next start";
            return Err(Refusal::Conflict(why.into()));
        }
        let job = self.begin("update", INCOMING, who.clone())?;
        let (installation, again) = (self.installation(&who), self.again.clone());
        tokio::spawn(async move {
            let installing = move || {
                let installed = installation.install(&file, &mut |_| {});
                // Taken or refused: nobody needs it here any more.
                fs::remove_file(&file).ok();
                installed
            };
            let (state, detail) = match tokio::task::spawn_blocking(installing).await {
                Ok(Ok(installed)) => {
                    let release = &installed.checked.release;
                    let unsure = installed.checked.unsure.map_or_else(String::new, |why| format!("; {why}"));
                    ("done", format!("version {} (release {}){unsure}", release.product, release.version))
                }
                Ok(Err(fault)) => ("failed", fault.to_string()),
                Err(fault) => ("failed", fault.to_string()),
            };
            again.change(|job| {
                job.state = state;
                job.detail = detail;
            });
            if state == "done" && start {
                again.leave();
            }
        });
        Ok(job)
    }
}
