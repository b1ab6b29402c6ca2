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

use std::sync::{Arc, OnceLock};

use tokio::sync::{Mutex, Notify, RwLockReadGuard};

use crate::buffer::{AssociationChange, Buffer, BufferError, Change, DoubtRow, Mark, Reader, Transition};
use crate::clock::SharedClock;
use crate::gateway::routes::Routes;
use crate::gateway::understand::{Understanding, Understood};
pub(in crate::gateway) use desk::no_longer;
use witness::Witness;

/// Associations as the gateway keeps them.
pub(super) struct Associations {
    buffer: Buffer,
    reader: Reader,
    understanding: Arc<Understanding>,
    witness: Arc<Witness>,
    clock: SharedClock,
    /// Delivery looks again.
    wake: Arc<Notify>,
    /// One look at a time.
    looking: Mutex<()>,
    /// Where measurements go on to besides.
    onward: OnceLock<Arc<Routes>>,
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
            wake,
            looking: Mutex::default(),
            onward: OnceLock::new(),
        }
    }

    /// From now on what goes on over these is put right too; once.
    pub(super) fn goes_on(&self, routes: Arc<Routes>) {
        drop(self.onward.set(routes));
    }

    /// A number that is another one after each change of facts.
    pub(super) fn generation(&self) -> u64 {
        self.understanding.facts().generation()
    }

    /// Held from the last look at that number until what was made ready by it is written down as sent: a look at entries
    /// after a change of facts waits for it, and so sees what was sent by others.
    pub(super) async fn sending(&self) -> RwLockReadGuard<'_, ()> {
        self.understanding.facts().sending.read().await
    }

    /// Facts changed.
    pub(super) fn changed(&self) {
        self.understanding.facts().changed();
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
