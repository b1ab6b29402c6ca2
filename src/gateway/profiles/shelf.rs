//! The firmware profiles in force: those of the program, over them those of the configured folder, over them those saved at
//! the desk.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use serde::{Deserialize, Serialize};

use crate::admin::profiles::{Saved, Source};
use crate::buffer::{Buffer, BufferError};
use crate::clock::Timestamp;
use crate::firmware_profile::{FirmwareProfile, Library};

/// Under which pages saved at the desk are kept, and who saved them.
pub(super) const PAGE: &str = "profile:";
pub(super) const SAVED: &str = "profile-saved:";

/// Who saved a page, as it is kept.
#[derive(Serialize, Deserialize)]
pub(super) struct Note {
    pub(super) by: String,
    /// Microseconds since 1970.
    pub(super) at: i64,
}

/// Profiles that can be exchanged while the box runs.
pub(in crate::gateway) struct Shelf {
    /// As the program and the configuration have them.
    configured: Arc<Library>,
    now: RwLock<Arc<Library>>,
    saved: RwLock<BTreeMap<String, Saved>>,
}

impl Shelf {
    pub(in crate::gateway) fn new(configured: Arc<Library>) -> Self {
        Self { now: RwLock::new(configured.clone()), configured, saved: RwLock::default() }
    }

    /// The profiles in force.
    pub(in crate::gateway) fn library(&self) -> Arc<Library> {
        self.now.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn configured(&self) -> &Arc<Library> {
        &self.configured
    }

    /// Puts the pages in force that were saved at the desk, and returns them. One that this version of the program cannot
    /// use is told and left out: what it would have read is read by the page below it.
    pub(in crate::gateway) async fn remember(
        &self,
        buffer: &Buffer,
    ) -> Result<Vec<Arc<FirmwareProfile>>, BufferError> {
        let reader = buffer.reader();
        let notes: BTreeMap<String, String> = reader.settings(SAVED).await?.into_iter().collect();
        let mut taken = Vec::new();
        for (id, text) in reader.settings(PAGE).await? {
            let note = notes.get(&id).and_then(|note| serde_json::from_str::<Note>(note).ok());
            let note = note.unwrap_or(Note { by: "?".into(), at: 0 });
            match self.put(&id, &text, Saved { by: note.by, at: Timestamp::from_micros(note.at, true) }) {
                Ok(profile) => taken.push(profile),
                Err(faults) => {
                    tracing::error!(
                        profile = id,
                        faults,
                        "A page saved at the desk cannot be used any more."
                    );
                }
            }
        }
        Ok(taken)
    }

    /// Puts a page in force; else how many faults it has.
    pub(super) fn put(&self, id: &str, text: &str, saved: Saved) -> Result<Arc<FirmwareProfile>, usize> {
        let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
        let library = now.with_page(id, text).map_err(|fault| fault.faults.len())?;
        let profile = library.find(id).ok_or(1usize)?;
        *now = Arc::new(library);
        drop(now);
        self.saved.write().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), saved);
        Ok(profile)
    }

    /// Takes a page away that was saved at the desk. The one in force then, if there is one.
    pub(super) fn take(&self, id: &str) -> Option<Arc<FirmwareProfile>> {
        let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
        let below = self.configured.page(id);
        let library = match &below {
            Some(text) => now.with_page(id, text).unwrap_or_else(|_| now.without(id)),
            None => now.without(id),
        };
        *now = Arc::new(library);
        let profile = now.find(id);
        drop(now);
        self.saved.write().unwrap_or_else(PoisonError::into_inner).remove(id);
        profile
    }

    pub(super) fn saved(&self, id: &str) -> Option<Saved> {
        self.saved.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    pub(super) fn source(&self, id: &str) -> Source {
        if self.saved(id).is_some() {
            return Source::Desk;
        }
        let shipped = Library::shipped(id);
        match self.configured.page(id) {
            Some(page) if shipped.as_deref() != Some(&*page) => Source::Folder,
            _ => Source::Shipped,
        }
    }
}
