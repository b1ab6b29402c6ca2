//! Senders nobody has accepted yet. A view in memory: what they sent is kept and held, so a restart finds them again.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::admin::pairing::{Candidate, Guess, Sender};
use crate::buffer::Stored;
use crate::firmware_profile::{FirmwareProfile, Library, LinkContext};

/// Most candidates shown; a flood of made-up senders must not fill the memory.
const CANDIDATES_MAX: usize = 200;
/// Most guesses of one candidate.
const GUESSES_MAX: usize = 5;

/// All candidates.
#[derive(Default)]
pub(in crate::gateway) struct Candidates(Mutex<BTreeMap<Sender, Candidate>>);

impl Candidates {
    /// A frame of an unknown sender; `guess` is asked once for each sender.
    pub(in crate::gateway) fn saw(&self, who: Sender, stored: &Stored, guess: impl FnOnce() -> Vec<Guess>) {
        let mut candidates = self.lock();
        if let Some(known) = candidates.get_mut(&who) {
            known.first_seen = known.first_seen.min(stored.received);
            known.last_seen = known.last_seen.max(stored.received);
            known.frames += 1;
            known.entry = known.entry.max(stored.id);
            return;
        }
        if candidates.len() >= CANDIDATES_MAX {
            return;
        }
        let candidate = Candidate {
            who: who.clone(),
            first_seen: stored.received,
            last_seen: stored.received,
            frames: 1,
            entry: stored.id,
            guesses: guess(),
        };
        candidates.insert(who, candidate);
    }

    pub(super) fn find(&self, who: &Sender) -> Option<Candidate> {
        self.lock().get(who).cloned()
    }

    pub(super) fn forget(&self, who: &Sender) {
        self.lock().remove(who);
    }

    pub(super) fn all(&self) -> Vec<Candidate> {
        let mut all: Vec<Candidate> = self.lock().values().cloned().collect();
        all.sort_by_key(|candidate| std::cmp::Reverse(candidate.last_seen));
        all
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Sender, Candidate>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which profiles of one codec read this frame, best first: as well as they recognise it, then by the values that
/// have codes. A profile that reads nothing of it is left out.
pub(in crate::gateway) fn guesses(
    library: &Library,
    codec: &str,
    bytes: &[u8],
    topic: Option<&str>,
    context: &LinkContext,
) -> Vec<Guess> {
    let alike = library.profiles().filter(|profile| profile.codec.word() == codec);
    let mut guesses: Vec<Guess> = alike.filter_map(|profile| guess(profile, bytes, topic, context)).collect();
    // Pages for any device of a kind come behind those of the device itself.
    let fitting = library.fitting(bytes);
    let place =
        |guess: &Guess| fitting.iter().position(|profile| profile.id == guess.profile).unwrap_or(usize::MAX);
    guesses.sort_by_key(|g| {
        let known = g.measurements.saturating_sub(g.unknown);
        (g.held.is_some(), place(g), std::cmp::Reverse(known), g.profile.clone())
    });
    guesses.truncate(GUESSES_MAX);
    guesses
}

/// How well one profile reads this frame; `None` when not at all.
pub(super) fn guess(
    profile: &FirmwareProfile,
    bytes: &[u8],
    topic: Option<&str>,
    context: &LinkContext,
) -> Option<Guess> {
    let fits = profile.fits(bytes);
    let decoded = profile.decode(bytes, topic, context);
    let unknown = decoded.findings.iter().filter(|finding| finding.code == "unknown-code").count();
    let measurements = decoded.measurements();
    (fits || measurements > unknown).then(|| Guess {
        profile: profile.id.clone(),
        fits,
        measurements,
        unknown: unknown.min(measurements),
        held: decoded.held,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::Timestamp;

    fn stored(id: i64, micros: i64) -> Stored {
        Stored {
            id,
            link: "door".into(),
            peer: "10.0.0.1:1".into(),
            received: Timestamp::from_micros(micros, true),
            bytes: bytes::Bytes::new(),
            topic: None,
            sha256: [0; 32],
            device: None,
            attempts: 0,
            late: false,
        }
    }

    fn who(sender: &str) -> Sender {
        Sender { link: "door".into(), sender: sender.into() }
    }

    #[test]
    fn a_candidate_is_counted_and_guessed_once() {
        let candidates = Candidates::default();
        let mut asked = 0;
        for id in 1..=3 {
            candidates.saw(who("MON|W"), &stored(id, id * 10), || {
                asked += 1;
                Vec::new()
            });
        }
        let one = candidates.find(&who("MON|W")).unwrap();
        assert_eq!((asked, one.frames, one.entry), (1, 3, 3));
        assert_eq!((one.first_seen.micros, one.last_seen.micros), (10, 30));
    }

    #[test]
    fn a_flood_of_senders_is_bounded() {
        let candidates = Candidates::default();
        for n in 0..1_000 {
            candidates.saw(who(&n.to_string()), &stored(n, n), Vec::new);
        }
        assert_eq!(candidates.all().len(), CANDIDATES_MAX);
    }

    #[test]
    fn the_page_that_knows_the_sender_is_the_first_guess() {
        let library = Library::embedded().unwrap();
        let context =
            LinkContext::new("door", "UTC", Timestamp::from_micros(1_773_477_000_000_000, true)).unwrap();
        for id in ["ihe/pcd01-monitor", "mindray/bs-chemistry"] {
            let Some((_, frame)) = library.captures(id).into_iter().next() else { panic!("{id}") };
            let guesses = guesses(&library, "mllp", &frame, None, &context);
            let ids: Vec<Arc<str>> = guesses.iter().map(|guess| guess.profile.clone()).collect();
            assert_eq!(ids.first().map(|guess| &**guess), Some(id), "{ids:?}");
            assert!(guesses.iter().all(|guess| guess.measurements >= guess.unknown));
        }
    }
}
