//! The patient index as the gateway keeps it: hospital systems tell it, those who ask are answered from it.
//!
//! - What a message says is in the index before its entry is set aside; a message that cannot be used is held.
//! - Nobody is told of a patient but on a link that may (`answers_patients`), and only what the index knows.
//! - An answer that finds nobody says so; one that finds too many says how many there are.

mod desk;
pub(super) mod fhir;
mod reply;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::buffer::{Buffer, Change, PeopleChange, Reader};
use crate::gateway::understand::Understanding;
use crate::identity::adt::Adt;

/// The index and those who may ask it.
pub(super) struct People {
    buffer: Buffer,
    reader: Reader,
    understanding: Arc<Understanding>,
    answers_max: u32,
    /// How far back late words reach, in microseconds.
    late: i64,
    /// What the FHIR server said last, by its address, and when that was changed there: read again it is no news.
    heard: Mutex<HashMap<String, i64>>,
}

impl People {
    /// `answers_max`: patients in one answer. `late_h`: how many hours back late words reach.
    pub(super) fn new(
        buffer: Buffer,
        understanding: Arc<Understanding>,
        answers_max: u32,
        late_h: u32,
    ) -> Self {
        let reader = buffer.reader();
        let late = i64::from(late_h).saturating_mul(3_600_000_000);
        Self { buffer, reader, understanding, answers_max, late, heard: Mutex::default() }
    }

    /// Tells the index what an entry says.
    ///
    /// # Errors
    /// Why a person must look at the entry.
    pub(super) async fn tell(&self, link: &str, entry: i64, said: Vec<Adt>) -> Result<(), String> {
        if said.is_empty() {
            return Ok(());
        }
        let change = PeopleChange::Tell { entry: Some(entry), source: link.to_owned(), said };
        self.buffer.change(vec![Change::People(change)]).await.map_err(|fault| fault.to_string())
    }
}
