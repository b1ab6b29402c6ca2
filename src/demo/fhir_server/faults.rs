//! What the server does wrong on purpose: once, always, or at random from a seed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Which requests a fault is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    Any,
    /// `.well-known/smart-configuration`.
    Discovery,
    /// The token endpoint.
    Token,
    /// `metadata`.
    Metadata,
    /// A Bundle posted to the base.
    Transaction,
    /// Reads and searches.
    Read,
}

/// One misbehaviour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is done and nothing answered for so long; then the connection closes.
    Stall(Duration),
    /// Nothing is done, the connection closes.
    Drop,
    /// Done, committed and answered, so much later: a busy server.
    Late(Duration),
    /// Done and committed, then the connection closes without an answer.
    CommitThenDrop,
    /// Done and committed, then no answer for so long.
    CommitThenStall(Duration),
    /// Done and committed, then half of the answer and nothing more.
    CommitThenStallInBody(Duration),
    /// Nothing is done; this status with an OperationOutcome.
    Status(u16),
    /// Nothing is done; this status as plain text, as some token checks answer.
    PlainStatus(u16),
    /// Nothing is done; this status with an HTML page, as a proxy answers.
    HtmlStatus(u16),
    /// Nothing is done; this status with Retry-After in seconds.
    RetryAfterSeconds(u16, u64),
    /// Nothing is done; this status with Retry-After as an HTTP date so many seconds ahead.
    RetryAfterDate(u16, u64),
    /// Every n-th entry gets this status, the others are committed: a server that takes a transaction for a batch.
    HalfAccept { every: usize, status: u16 },
    /// Done and committed; the answer is an HTML page with 200.
    CommitThenHtml,
    /// Nothing is done; an HTML page with 200 (a captive portal).
    Html,
    /// Done and committed; the JSON ends in the middle.
    CommitThenTruncated,
    /// Done and committed; the answer lacks this many entries at its end.
    FewerEntries(usize),
    /// Sends the client to another address.
    Redirect(String),
    /// 200 with a gzip body that unpacks to so many MiB.
    Bomb(usize),
    /// The token endpoint says `invalid_client`.
    InvalidClient,
}

#[derive(Debug, Default)]
struct Plan {
    next: VecDeque<(On, Fault)>,
    always: Vec<(On, Fault)>,
    random: Option<Random>,
    played: u64,
}

#[derive(Debug)]
struct Random {
    state: u64,
    permille: u64,
    faults: Vec<(On, Fault)>,
}

/// The switchboard of faults; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<Plan>>);

impl Faults {
    /// The next request of this kind meets `fault`, once. Several calls queue up.
    pub fn once(&self, on: On, fault: Fault) {
        self.plan(|plan| plan.next.push_back((on, fault)));
    }

    /// Every request of this kind meets `fault` until [`Faults::clear`].
    pub fn always(&self, on: On, fault: Fault) {
        self.plan(|plan| plan.always.push((on, fault)));
    }

    /// `permille` of the requests of these kinds meet one of `faults`, the same for the same seed.
    pub fn random(&self, seed: u64, permille: u64, faults: Vec<(On, Fault)>) {
        self.plan(|plan| plan.random = Some(Random { state: seed.max(1), permille, faults }));
    }

    /// Behaves from now on.
    pub fn clear(&self) {
        self.plan(|plan| *plan = Plan { played: plan.played, ..Plan::default() });
    }

    /// How many faults were played.
    pub fn played(&self) -> u64 {
        self.plan(|plan| plan.played)
    }

    pub(super) fn choose(&self, on: On) -> Option<Fault> {
        self.plan(|plan| {
            let fits = |(wanted, _): &&(On, Fault)| *wanted == on || *wanted == On::Any;
            let queued = plan.next.iter().position(|entry| fits(&entry));
            let fault = match queued {
                Some(at) => plan.next.remove(at).map(|(_, fault)| fault),
                None => plan.always.iter().find(fits).map(|(_, fault)| fault.clone()),
            };
            let fault = fault.or_else(|| {
                let random = plan.random.as_mut()?;
                if step(&mut random.state) % 1000 >= random.permille {
                    return None;
                }
                let fitting: Vec<&(On, Fault)> = random.faults.iter().filter(fits).collect();
                let at = usize::try_from(step(&mut random.state)).ok()?.checked_rem(fitting.len())?;
                fitting.get(at).map(|(_, fault)| fault.clone())
            });
            plan.played += u64::from(fault.is_some());
            fault
        })
    }

    fn plan<T>(&self, change: impl FnOnce(&mut Plan) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// xorshift64: small, and the same on every machine.
fn step(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state >> 11
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_queue_up_for_their_kind_of_request() {
        let faults = Faults::default();
        faults.once(On::Transaction, Fault::Drop);
        faults.once(On::Any, Fault::Html);
        faults.always(On::Token, Fault::InvalidClient);
        assert_eq!(faults.choose(On::Token), Some(Fault::Html));
        assert_eq!(faults.choose(On::Token), Some(Fault::InvalidClient));
        assert_eq!(faults.choose(On::Transaction), Some(Fault::Drop));
        assert_eq!(faults.choose(On::Transaction), None);
        faults.clear();
        assert_eq!((faults.choose(On::Token), faults.played()), (None, 3));
    }

    #[test]
    fn the_same_seed_plays_the_same_faults() {
        let play = |seed| {
            let faults = Faults::default();
            faults.random(seed, 300, vec![(On::Any, Fault::Drop), (On::Any, Fault::Html)]);
            (0..200).map(|_| faults.choose(On::Read)).collect::<Vec<_>>()
        };
        assert_eq!(play(7), play(7));
        assert_ne!(play(7), play(8));
        let hits = play(7).iter().flatten().count();
        assert!((30..100).contains(&hits), "{hits}");
    }
}
