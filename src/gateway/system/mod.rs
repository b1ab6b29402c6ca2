//! The box as a whole, as people at the desk see it: backups, how it is set up, starting anew.

mod backups;
mod settings;
mod updates;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use crate::admin::command::Refusal;
use crate::admin::system::{self, Backups, Job, Setting, Settings, UpdateState};
use crate::buffer::Buffer;
use crate::clock::{SharedClock, Timestamp};
use crate::config::Config;
use crate::connector::Later;
use crate::gateway::again::Again;
pub(super) use backups::{free_bytes, put_in_place};
pub(super) use settings::local as local_time;

/// The box as the gateway keeps it.
pub(super) struct System {
    buffer: Buffer,
    /// The buffer's folder, and that of backups in it.
    dir: PathBuf,
    folder: PathBuf,
    /// The root of `[update]`: who may publish programs for this box.
    publisher: Option<PathBuf>,
    clock: SharedClock,
    again: Arc<Again>,
    zone: String,
    file: String,
    settings: Vec<Setting>,
    /// Backups that were found sound, and when.
    checked: Arc<Mutex<BTreeMap<String, Timestamp>>>,
}

impl System {
    pub(super) fn new(buffer: Buffer, config: &Config, clock: SharedClock, again: Arc<Again>) -> Self {
        Self {
            buffer,
            dir: config.buffer.dir.clone(),
            folder: config.buffer.dir.join("backups"),
            publisher: config.update.as_ref().map(|update| update.root.clone()),
            clock,
            again,
            zone: config.site.zone.clone(),
            file: config.origin.place.clone(),
            settings: settings::told(config),
            checked: Arc::default(),
        }
    }
}

impl system::System for System {
    fn backups(&self) -> Later<'_, Result<Backups, Refusal>> {
        Box::pin(self.listed())
    }

    fn make_backup(&self, who: String) -> Later<'_, Result<Job, Refusal>> {
        Box::pin(async { self.begin_backup(who) })
    }

    fn check_backup(&self, who: String, name: String) -> Later<'_, Result<Job, Refusal>> {
        Box::pin(async { self.begin_check(who, name) })
    }

    fn remove_backup(&self, name: String) -> Later<'_, Result<(), Refusal>> {
        Box::pin(async move { self.removed(&name) })
    }

    fn backup_file(&self, name: String, manifest: bool) -> Later<'_, Result<PathBuf, Refusal>> {
        Box::pin(async move { self.existing(&name, manifest) })
    }

    fn upload(&self, name: String, manifest: bool, at: u64, piece: Bytes) -> Later<'_, Result<u64, Refusal>> {
        Box::pin(self.taken(name, manifest, at, piece))
    }

    fn restore(&self, who: String, name: String) -> Later<'_, Result<Job, Refusal>> {
        Box::pin(async move { self.begin_restore(who, &name) })
    }

    fn settings(&self) -> Later<'_, Result<Settings, Refusal>> {
        Box::pin(async { Ok(self.told()) })
    }

    fn update(&self) -> Later<'_, Result<UpdateState, Refusal>> {
        Box::pin(async { self.update_state() })
    }

    fn upload_update(&self, at: u64, piece: Bytes) -> Later<'_, Result<u64, Refusal>> {
        Box::pin(self.update_taken(at, piece))
    }

    fn install_update(&self, who: String, start: bool) -> Later<'_, Result<Job, Refusal>> {
        Box::pin(async move { self.begin_update(who, start) })
    }

    fn restart(&self) -> Later<'_, Result<(), Refusal>> {
        Box::pin(async {
            self.again.ask();
            Ok(())
        })
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
