//! What this process has seen the server accept, and what is on its way: bounded, and lost at a restart without harm.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::bundle::Digest;

/// Enough for every device and patient of a clinic; about 200 bytes each.
const MOST_KNOWN: usize = 8_192;
/// After this long a resource is sent again even if nothing changed.
const KNOWN_LIFE: Duration = Duration::from_secs(3_600);

/// A map that forgets its oldest entry when it is full.
#[derive(Debug)]
pub(super) struct Bounded<V> {
    map: HashMap<String, V>,
    order: VecDeque<String>,
    limit: usize,
}

impl<V> Bounded<V> {
    pub(super) fn new(limit: usize) -> Self {
        Self { map: HashMap::new(), order: VecDeque::new(), limit }
    }

    pub(super) fn insert(&mut self, key: &str, value: V) {
        if self.map.insert(key.to_owned(), value).is_none() {
            self.order.push_back(key.to_owned());
        }
        while self.map.len() > self.limit {
            let Some(oldest) = self.order.pop_front() else { break };
            self.map.remove(&oldest);
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&V> {
        self.map.get(key)
    }

    pub(super) fn remove(&mut self, key: &str) {
        if self.map.remove(key).is_some() {
            self.order.retain(|kept| kept != key);
        }
    }
}

/// What became of a resource on the server.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// What was accepted last; None when only its place is known.
    digest: Option<Digest>,
    /// `Type/id` the server gave it.
    at: Option<String>,
    /// The server's own resource for it; Bedside never writes over it.
    theirs: bool,
}

/// The resources the server is known to hold.
#[derive(Debug)]
pub(super) struct Known(Mutex<Bounded<(Instant, Seen)>>);

impl Known {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Bounded::new(MOST_KNOWN)))
    }

    /// Whether the server holds exactly this.
    pub(super) fn holds(&self, key: &str, digest: &Digest) -> bool {
        self.with(key, |seen| seen.theirs || seen.digest.as_ref() == Some(digest)).unwrap_or(false)
    }

    /// Whether the server's own resource stands for it.
    pub(super) fn is_theirs(&self, key: &str) -> bool {
        self.with(key, |seen| seen.theirs).unwrap_or(false)
    }

    /// Whether the server was seen to hold it, whatever it says.
    pub(super) fn is_there(&self, key: &str) -> bool {
        self.with(key, |seen| seen.at.is_some() || seen.digest.is_some()).unwrap_or(false)
    }

    /// Where the server keeps it, if it chose the place.
    pub(super) fn at(&self, key: &str) -> Option<String> {
        self.with(key, |seen| seen.at.clone()).flatten()
    }

    /// Whether the place is known, or known not to be the server's own.
    pub(super) fn matched(&self, key: &str) -> bool {
        self.with(key, |_| ()).is_some()
    }

    pub(super) fn accepted(&self, key: &str, digest: Digest, at: Option<String>) {
        let at = at.filter(|at| at != key).or_else(|| self.at(key));
        self.put(key, Seen { digest: Some(digest), at, theirs: false });
    }

    /// The place was found by a search; what it holds is not known.
    pub(super) fn located(&self, key: &str, at: Option<String>) {
        self.put(key, Seen { digest: None, at, theirs: false });
    }

    /// The server has its own resource with the same identifier.
    pub(super) fn theirs(&self, key: &str, at: String) {
        self.put(key, Seen { digest: None, at: Some(at), theirs: true });
    }

    pub(super) fn forget(&self, key: &str) {
        lock(&self.0).remove(key);
    }

    fn put(&self, key: &str, seen: Seen) {
        lock(&self.0).insert(key, (Instant::now(), seen));
    }

    fn with<T>(&self, key: &str, read: impl FnOnce(&Seen) -> T) -> Option<T> {
        lock(&self.0).get(key).filter(|(at, _)| at.elapsed() < KNOWN_LIFE).map(|(_, seen)| read(seen))
    }
}

/// The keys of Bundles on their way: a key is never in two of them (a server may store both).
#[derive(Debug, Default)]
pub(super) struct InFlight {
    keys: Mutex<HashSet<String>>,
    landed: Notify,
}

/// Holds its keys until dropped.
#[derive(Debug)]
pub(super) struct Flight<'a> {
    of: &'a InFlight,
    keys: Vec<String>,
}

impl InFlight {
    /// Waits until none of `keys` is on its way, then takes them all at once. True: it had to wait.
    pub(super) async fn take(&self, keys: Vec<String>) -> (Flight<'_>, bool) {
        let mut waited = false;
        loop {
            let landed = self.landed.notified();
            tokio::pin!(landed);
            landed.as_mut().enable(); // a landing between the look and the wait must not be missed
            {
                let mut taken = lock(&self.keys);
                if !keys.iter().any(|key| taken.contains(key)) {
                    taken.extend(keys.iter().cloned());
                    return (Flight { of: self, keys }, waited);
                }
            }
            landed.await;
            waited = true;
        }
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        let mut taken = lock(&self.of.keys);
        for key in &self.keys {
            taken.remove(key);
        }
        drop(taken);
        self.of.landed.notify_waiters();
    }
}

/// These maps hold no invariant that a panic between two lines could break.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn the_oldest_is_forgotten_when_full() {
        let mut map = Bounded::new(2);
        for (key, value) in [("a", 1), ("b", 2), ("a", 3), ("c", 4)] {
            map.insert(key, value);
        }
        assert_eq!((map.get("a"), map.get("b"), map.get("c")), (None, Some(&2), Some(&4)));
        map.remove("b");
        map.insert("d", 5);
        assert_eq!((map.get("c"), map.get("d")), (Some(&4), Some(&5)));
    }

    #[test]
    fn a_changed_resource_is_not_known() {
        let known = Known::new();
        known.accepted("Device/1", [1; 32], Some("Device/77".into()));
        assert!(known.holds("Device/1", &[1; 32]) && !known.holds("Device/1", &[2; 32]));
        known.accepted("Device/1", [2; 32], None);
        assert_eq!(
            known.at("Device/1").as_deref(),
            Some("Device/77"),
            "an answer without a location keeps the place"
        );
        known.forget("Device/1");
        assert!(!known.holds("Device/1", &[2; 32]));
    }

    #[tokio::test]
    async fn a_key_is_on_its_way_once() {
        let flights = Arc::new(InFlight::default());
        let (first, waited) = flights.take(vec!["a".into(), "b".into()]).await;
        assert!(!waited);
        let other = Arc::clone(&flights);
        let second = tokio::spawn(async move { other.take(vec!["b".into(), "c".into()]).await.1 });
        let (free, _) = flights.take(vec!["c".into(), "d".into()]).await;
        tokio::task::yield_now().await;
        assert!(!second.is_finished());
        drop(free);
        tokio::task::yield_now().await;
        assert!(!second.is_finished());
        drop(first);
        assert!(second.await.unwrap());
        assert!(lock(&flights.keys).is_empty());
    }
}
