//! What the first look translated, kept in memory until delivery takes it, so that a frame is read once. Reading is
//! a pure function: what is not found here is read again, with the same result.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::fhir::Resource;

/// Bytes of JSON kept, some hundred messages of a monitor; what comes when it is full is read again later.
const BYTES_MAX: usize = 8 << 20;
/// How long the first look waits for room at most, for each batch.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Translated {
    kept: Mutex<Kept>,
    taken: Notify,
}

/// What is to be sent of an entry, and under whom, where that is written down.
pub(super) type Ready = (Vec<Resource>, Option<String>);

#[derive(Default)]
struct Kept {
    of_entry: BTreeMap<i64, (usize, u64, Ready)>,
    bytes: usize,
    /// The server takes what it is given.
    flows: bool,
}

impl Translated {
    /// Keeps the resources of an entry if there is room. `generation`: of the facts it was understood with.
    pub(super) fn put(&self, id: i64, generation: u64, ready: Ready) {
        let bytes = ready.0.iter().map(|resource| resource.json.get().len()).sum();
        self.change(|kept| {
            if kept.flows && kept.bytes + bytes <= BYTES_MAX {
                kept.bytes += bytes;
                kept.of_entry.insert(id, (bytes, generation, ready));
            }
        });
    }

    /// Whether the server takes what it is given; while it does not, nothing is kept and nobody waits.
    pub(super) fn flows(&self, flows: bool) {
        self.change(|kept| {
            kept.flows = flows;
            if !flows {
                *kept = Kept::default();
            }
        });
        self.taken.notify_one();
    }

    /// Returns when half of the room is free: running further ahead of delivery would mean reading twice. Never
    /// takes long, so that a device nobody knows is seen soon whatever the backlog is.
    pub(super) async fn room(&self) {
        let room = async {
            while self.change(|kept| kept.flows && kept.bytes > BYTES_MAX / 2) {
                self.taken.notified().await;
            }
        };
        drop(tokio::time::timeout(PATIENCE, room).await);
    }

    /// The resources of an entry, once; not when the facts are others now.
    pub(super) fn take(&self, id: i64, generation: u64) -> Option<Ready> {
        self.change(|kept| {
            let (bytes, of, ready) = kept.of_entry.remove(&id)?;
            kept.bytes -= bytes;
            self.taken.notify_one();
            (of == generation).then_some(ready)
        })
    }

    /// Forgets entries before `first`: nobody waits for them now.
    pub(super) fn forget_before(&self, first: i64) {
        self.change(|kept| {
            let later = kept.of_entry.split_off(&first);
            let gone = std::mem::replace(&mut kept.of_entry, later);
            kept.bytes -= gone.values().map(|(bytes, ..)| bytes).sum::<usize>();
        });
        self.taken.notify_one();
    }

    fn change<T>(&self, change: impl FnOnce(&mut Kept) -> T) -> T {
        change(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::{Context, Waker};

    fn resources(size: usize) -> Vec<Resource> {
        let body = "x".repeat(size);
        let identifier = (String::from("urn:s"), String::from("v"));
        vec![Resource::new("Observation", "a".into(), identifier, &body).unwrap()]
    }

    fn flowing() -> Translated {
        let translated = Translated::default();
        translated.flows(true);
        translated
    }

    #[tokio::test]
    async fn the_first_look_waits_for_delivery_but_not_for_a_server_that_is_down() {
        let mut context = Context::from_waker(Waker::noop());
        let translated = flowing();
        let mut room = std::pin::pin!(translated.room());
        assert!(room.as_mut().poll(&mut context).is_ready(), "there is room at first");
        translated.put(1, 0, (resources(BYTES_MAX - 100), None));
        let mut room = std::pin::pin!(translated.room());
        assert!(room.as_mut().poll(&mut context).is_pending());
        assert!(translated.take(1, 0).is_some());
        assert!(room.as_mut().poll(&mut context).is_ready(), "delivery took it");
        translated.put(2, 0, (resources(BYTES_MAX - 100), None));
        let mut room = std::pin::pin!(translated.room());
        assert!(room.as_mut().poll(&mut context).is_pending());
        translated.flows(false);
        assert!(room.as_mut().poll(&mut context).is_ready(), "the server is down");
        assert!(translated.take(2, 0).is_none());
    }

    #[test]
    fn what_was_understood_with_other_facts_is_read_again() {
        let translated = flowing();
        translated.put(7, 1, (resources(10), None));
        assert!(translated.take(7, 2).is_none());
        assert_eq!(translated.change(|kept| kept.bytes), 0);
    }

    #[test]
    fn what_was_put_is_taken_once() {
        let translated = flowing();
        translated.put(7, 0, (resources(10), None));
        assert_eq!(translated.take(7, 0).map(|ready| ready.0.len()), Some(1));
        assert!(translated.take(7, 0).is_none());
        assert_eq!(translated.change(|kept| kept.bytes), 0);
    }

    #[test]
    fn a_full_store_takes_no_more_and_forgets_what_nobody_waits_for() {
        let translated = flowing();
        translated.put(1, 0, (resources(BYTES_MAX / 2), None));
        translated.put(2, 0, (resources(BYTES_MAX / 2 - 100), None));
        translated.put(3, 0, (resources(200), None));
        assert!(translated.take(3, 0).is_none());
        translated.forget_before(2);
        assert!(translated.take(1, 0).is_none());
        translated.put(4, 0, (resources(200), None));
        assert!(translated.take(4, 0).is_some() && translated.take(2, 0).is_some());
        assert_eq!(translated.change(|kept| kept.bytes), 0);
    }
}
