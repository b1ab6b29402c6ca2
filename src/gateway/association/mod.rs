//! Devices and patients: what was decided at the desk, what it means for entries that wait, and for those that are
//! upstream already.
//!
//! - An entry is attributed each time it is read, from facts: nothing is remembered but under whom it went out.
//! - A change of facts is followed by another look at the entries it may concern: what was held goes out, and what went
//!   out under another patient goes out again, with what was there before taken back (`entered-in-error`).

mod correction;
mod desk;
mod ending;
mod follow;
mod reconsider;
pub(crate) mod whose;
pub(crate) mod witness;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use crate::buffer::{AssociationChange, Buffer, BufferError, Change, DoubtRow, Mark, Reader, Transition};
use crate::clock::SharedClock;
use crate::gateway::understand::{Understanding, Understood};
pub(in crate::gateway) use follow::earliest;
use witness::Witness;

/// Associations as the gateway keeps them.
pub(super) struct Associations {
    buffer: Buffer,
    reader: Reader,
    understanding: Arc<Understanding>,
    witness: Arc<Witness>,
    clock: SharedClock,
    /// Goes up with every change of facts: what was understood before may be otherwise now.
    generation: AtomicU64,
    /// Delivery looks again.
    wake: Arc<Notify>,
    /// From when on hospital systems told of something that nobody has looked at yet.
    earliest: Mutex<Option<i64>>,
    news: Notify,
}

impl Associations {
    pub(super) fn new(
        buffer: Buffer,
        understanding: Arc<Understanding>,
        witness: Witness,
        clock: SharedClock,
        wake: Arc<Notify>,
    ) -> Self {
        let reader = buffer.reader();
        let witness = Arc::new(witness);
        understanding.ask(witness.clone());
        Self {
            buffer,
            reader,
            understanding,
            witness,
            clock,
            generation: AtomicU64::new(0),
            wake,
            earliest: Mutex::default(),
            news: Notify::new(),
        }
    }

    /// A number that is another one after each change of facts.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Facts changed.
    pub(super) fn changed(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.wake.notify_one();
    }

    /// Writes down under whom entries go out, before they do.
    ///
    /// # Errors
    /// As [`Buffer::change`]: nothing must be sent then.
    pub(super) async fn note(
        &self,
        going: Vec<(i64, String)>,
        doubts: Vec<Change>,
    ) -> Result<(), BufferError> {
        if going.is_empty() && doubts.is_empty() {
            return Ok(());
        }
        let change = |(entry, parts)| Change::Association(AssociationChange::Attributed { entry, parts });
        self.buffer.change(going.into_iter().map(change).chain(doubts).collect()).await
    }
}

/// What is to be written beside a held entry: whose device it is, so that people find it, and why nobody can say whose
/// result.
pub(super) fn doubt_of(id: i64, understood: &Understood, why: &str) -> Option<(Mark, Change)> {
    let whose = understood.whose.as_ref()?;
    let doubt = whose.doubt?;
    let to = Transition::Seen { device: understood.device.clone(), summary: understood.summary.clone() };
    let row = DoubtRow {
        entry: id,
        device: understood.device.clone(),
        doubt,
        why: why.to_owned(),
        first: whose.times.0,
        last: whose.times.1,
    };
    Some((Mark { id, to }, Change::Association(AssociationChange::Doubt(row))))
}

#[cfg(test)]
mod tests;
