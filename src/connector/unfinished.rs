//! One bound for what all connections of the box hold at once: messages that have begun and not ended, and whole ones
//! that wait for their commit. A thousand senders that each stop in the middle of a great message must not fill the
//! memory, whichever links they came to.
//!
//! When the bound is passed, somebody has to go: the one whose great message fills most memory for longest. A sender that
//! says what it has to say and waits for its answer holds little, or not for long.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

/// Who holds no more than this is never the one to go.
pub(super) const SMALL_BYTES: usize = 64 << 10;

/// What everybody holds.
#[derive(Debug)]
pub struct Unfinished {
    limit: usize,
    bytes: AtomicUsize,
    turned_away: AtomicU64,
    great: Mutex<Great>,
}

/// The great messages among the unfinished.
#[derive(Debug, Default)]
struct Great {
    next: u64,
    growing: HashMap<u64, Growing>,
    /// Those who were told to go and have not gone yet, with what they held then.
    leaving: HashMap<u64, usize>,
}

#[derive(Debug)]
struct Growing {
    bytes: usize,
    since: Instant,
    go: Arc<Notify>,
}

impl Default for Unfinished {
    fn default() -> Self {
        Self::new(Self::DEFAULT_BYTES)
    }
}

impl Unfinished {
    /// For a box that does not say another number.
    pub const DEFAULT_BYTES: usize = 64 << 20;

    /// So many bytes in all.
    pub fn new(limit: usize) -> Self {
        Self { limit, bytes: AtomicUsize::new(0), turned_away: AtomicU64::new(0), great: Mutex::default() }
    }

    /// What is held now.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// How many great messages were turned away since the start.
    pub fn turned_away(&self) -> u64 {
        self.turned_away.load(Ordering::Relaxed)
    }

    /// The place of one connection.
    pub(super) fn place(self: &Arc<Self>) -> Place {
        Place { of: Arc::clone(self), key: None, bytes: 0, waiting: 0, go: Arc::default() }
    }

    fn great(&self) -> MutexGuard<'_, Great> {
        self.great.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_crowded(&self, great: &Great) -> bool {
        self.bytes().saturating_sub(great.leaving.values().sum()) > self.limit
    }

    /// Tells the one who fills most for longest to go; whether there was one.
    fn turn_one_away(&self, great: &mut Great, now: Instant) -> bool {
        let held_for = |one: &Growing| now.saturating_duration_since(one.since).as_millis().max(1);
        let weight = |one: &Growing| held_for(one) * (one.bytes as u128);
        let worst = great.growing.iter().max_by_key(|(_, one)| weight(one)).map(|(key, _)| *key);
        worst.is_some_and(|key| self.turn_away(great, key))
    }

    fn turn_away(&self, great: &mut Great, key: u64) -> bool {
        let Some(one) = great.growing.remove(&key) else { return false };
        great.leaving.insert(key, one.bytes);
        self.turned_away.fetch_add(1, Ordering::Relaxed);
        one.go.notify_one();
        true
    }
}

/// What one connection holds.
#[derive(Debug)]
pub(super) struct Place {
    of: Arc<Unfinished>,
    /// Once its message was a great one.
    key: Option<u64>,
    bytes: usize,
    waiting: usize,
    go: Arc<Notify>,
}

impl Place {
    /// Its unfinished message has so many bytes now. `false`: it has to go.
    pub(super) fn holds(&mut self, bytes: usize, now: Instant) -> bool {
        if bytes == self.bytes {
            return true;
        }
        let before = std::mem::replace(&mut self.bytes, bytes);
        if bytes < before {
            self.of.bytes.fetch_sub(before - bytes, Ordering::Relaxed);
        } else {
            self.of.bytes.fetch_add(bytes - before, Ordering::Relaxed);
        }
        if bytes <= SMALL_BYTES && self.key.is_none() {
            return true;
        }
        let mut great = self.of.great();
        let key = *self.key.get_or_insert_with(|| {
            great.next += 1;
            great.next
        });
        if great.leaving.contains_key(&key) {
            return false;
        }
        if bytes <= SMALL_BYTES || bytes < before {
            // Another message than before.
            great.growing.remove(&key);
        }
        if bytes > SMALL_BYTES {
            let go = || Growing { bytes, since: now, go: Arc::clone(&self.go) };
            great.growing.entry(key).or_insert_with(go).bytes = bytes;
        }
        if self.of.is_crowded(&great) {
            self.of.turn_one_away(&mut great, now);
        }
        // Those who leave still hold theirs: whoever pours in great messages faster than they go, goes himself.
        if bytes > SMALL_BYTES && self.of.bytes() > self.of.limit + self.of.limit / 2 {
            self.of.turn_away(&mut great, key);
        }
        !great.leaving.contains_key(&key)
    }

    /// Returns when this connection has to go.
    pub(super) async fn has_to_go(&self) {
        self.go.notified().await;
    }

    /// Whether it can be told to go at all, which costs a look.
    pub(super) const fn is_great(&self) -> bool {
        self.key.is_some()
    }

    /// A whole message of so many bytes waits for its commit. `false`: there is no room for it.
    pub(super) fn takes(&mut self, bytes: usize, now: Instant) -> bool {
        self.of.bytes.fetch_add(bytes, Ordering::Relaxed);
        if bytes > SMALL_BYTES && self.of.bytes() > self.of.limit {
            let mut great = self.of.great();
            while self.of.is_crowded(&great) {
                if !self.of.turn_one_away(&mut great, now) {
                    self.of.bytes.fetch_sub(bytes, Ordering::Relaxed);
                    self.of.turned_away.fetch_add(1, Ordering::Relaxed);
                    return false;
                }
            }
        }
        self.waiting += bytes;
        true
    }

    /// What became of a message of so many bytes is known.
    pub(super) fn settled(&mut self, bytes: usize) {
        let bytes = bytes.min(self.waiting);
        self.waiting -= bytes;
        self.of.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.of.bytes.fetch_sub(self.bytes + self.waiting, Ordering::Relaxed);
        if let Some(key) = self.key {
            let mut great = self.of.great();
            great.growing.remove(&key);
            great.leaving.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::future::FutureExt;

    use super::*;

    const MIB: usize = 1 << 20;

    fn told(place: &Place) -> bool {
        place.has_to_go().now_or_never().is_some()
    }

    #[test]
    fn who_fills_most_for_longest_goes_and_nobody_else() {
        let all = Arc::new(Unfinished::new(4 * MIB));
        let (mut old, mut great, mut young, mut small) = (all.place(), all.place(), all.place(), all.place());
        let now = Instant::now();
        assert!(old.holds(MIB, now) && great.holds(2 * MIB, now));
        let now = now + Duration::from_secs(10);
        assert!(small.holds(SMALL_BYTES, now));
        assert!(young.holds(MIB, now), "this one is the fourth, and not the one to go");
        assert!(told(&great) && !told(&old) && !told(&young) && !told(&small));
        assert!(!great.holds(2 * MIB + 1, now), "and it hears it at its next word too");
        assert!(young.holds(MIB + 1, now), "what is leaving counts no more");
        drop(great);
        assert_eq!((all.bytes(), all.turned_away()), (2 * MIB + 1 + SMALL_BYTES, 1));
    }

    #[test]
    fn who_pours_in_faster_than_others_leave_goes_at_once() {
        let (all, now) = (Arc::new(Unfinished::new(4 * MIB)), Instant::now());
        let mut slow: Vec<Place> = (0..4).map(|_| all.place()).collect();
        assert!(slow.iter_mut().all(|one| one.holds(MIB, now)));
        let later = now + Duration::from_secs(60);
        let (mut one, mut two) = (all.place(), all.place());
        assert!(one.holds(2 * MIB, later), "an old one goes for it, and has not gone yet");
        assert!(!two.holds(MIB, later));
        slow.clear();
        assert!(one.holds(2 * MIB + 1, later));
    }

    #[test]
    fn a_message_that_ends_is_forgotten_and_its_successor_is_young() {
        let all = Arc::new(Unfinished::new(2 * MIB));
        let (mut busy, mut slow) = (all.place(), all.place());
        let now = Instant::now();
        assert!(busy.holds(MIB, now));
        let now = now + Duration::from_secs(60);
        assert!(busy.holds(10, now) && busy.holds(MIB / 2, now) && slow.holds(MIB, now));
        let mut third = all.place();
        assert!(third.holds(MIB, now + Duration::from_secs(1)));
        assert!(told(&slow) && !told(&busy), "both are of the same age, and this one holds more");
        assert!(busy.is_great() && !all.place().is_great());
    }

    #[test]
    fn whole_messages_that_wait_count_too_and_small_ones_always_have_room() {
        let all = Arc::new(Unfinished::new(3 * MIB));
        let (mut one, mut two, now) = (all.place(), all.place(), Instant::now());
        assert!(one.takes(2 * MIB, now) && two.holds(MIB, now));
        assert!(one.takes(MIB, now), "the unfinished one goes for it");
        assert!(told(&two) && !two.holds(MIB + 1, now));
        drop(two);
        assert!(!one.takes(MIB, now), "nobody is left to go");
        assert!(one.takes(SMALL_BYTES, now));
        one.settled(2 * MIB);
        assert!(one.takes(MIB, now));
        drop(one);
        assert_eq!((all.bytes(), all.turned_away()), (0, 2));
    }
}
