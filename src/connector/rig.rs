//! For the tests of connectors: an intake that keeps in memory, and says so only when the test allows it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::{Arc, Frame, Intake, Later, LinkState, Receipt, Reply};

/// What became of an answer, by its reference.
pub(super) type Replied = (Arc<str>, Result<(), String>);

pub(super) struct FakeIntake {
    pub(super) frames: Mutex<Vec<Frame>>,
    pub(super) parts: Mutex<Vec<Frame>>,
    pub(super) broken: Mutex<Vec<String>>,
    pub(super) notes: Mutex<Vec<(&'static str, String)>>,
    pub(super) states: Mutex<Vec<LinkState>>,
    /// What answers the next query, and what became of the answers.
    pub(super) reply: Mutex<Option<Reply>>,
    pub(super) replied: Mutex<Vec<Replied>>,
    /// One permit lets one frame or part be kept.
    gate: Semaphore,
    /// So many are refused before the next is kept.
    refuse: AtomicUsize,
    full: bool,
}

impl FakeIntake {
    /// Keeps everything at once.
    pub(super) fn open() -> Arc<Self> {
        let intake = Self::shut();
        intake.let_through(Semaphore::MAX_PERMITS / 2);
        intake
    }

    /// Keeps nothing until [`FakeIntake::let_through`].
    pub(super) fn shut() -> Arc<Self> {
        Arc::new(Self::new(0, false))
    }

    /// Refuses the first `count`, as a full box or as one with a fault.
    pub(super) fn refusing(count: usize, full: bool) -> Arc<Self> {
        let intake = Self::new(count, full);
        intake.let_through(Semaphore::MAX_PERMITS / 2);
        Arc::new(intake)
    }

    fn new(refuse: usize, full: bool) -> Self {
        Self {
            frames: Mutex::default(),
            parts: Mutex::default(),
            broken: Mutex::default(),
            notes: Mutex::default(),
            states: Mutex::default(),
            reply: Mutex::default(),
            replied: Mutex::default(),
            gate: Semaphore::new(0),
            refuse: AtomicUsize::new(refuse),
            full,
        }
    }

    pub(super) fn let_through(&self, count: usize) {
        self.gate.add_permits(count);
    }

    async fn pass(&self) -> Receipt {
        self.gate.acquire().await.unwrap().forget();
        let refuse = self.refuse.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if refuse.is_ok() {
            return Receipt::Refused { full: self.full, reason: String::from("no room") };
        }
        Receipt::Kept { duplicate: false }
    }

    pub(super) fn messages(&self) -> Vec<String> {
        self.frames.lock().unwrap().iter().map(|f| String::from_utf8_lossy(&f.bytes).into_owned()).collect()
    }

    pub(super) fn codes(&self) -> Vec<&'static str> {
        self.notes.lock().unwrap().iter().map(|(code, _)| *code).collect()
    }

    pub(super) fn last_state(&self) -> Option<LinkState> {
        self.states.lock().unwrap().last().cloned()
    }

    /// Waits for something to become true; a test that waits in vain says so.
    pub(super) async fn until(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        for _ in 0..1000 {
            if holds(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("in vain: {what}; states {:?}, notes {:?}", self.states.lock().unwrap(), self.codes());
    }

    /// The address a listener of the link ended up with.
    pub(super) async fn address(&self) -> std::net::SocketAddr {
        let find = |intake: &Self| {
            intake.states.lock().unwrap().iter().find_map(|state| match state {
                LinkState::Up { detail, .. } => {
                    detail.strip_prefix("listening on ")?.split(',').next()?.parse().ok()
                }
                _ => None,
            })
        };
        self.until("listening", |intake| find(intake).is_some()).await;
        find(self).unwrap()
    }
}

impl Intake for FakeIntake {
    fn keep(&self, frame: Frame) -> Later<'_, Receipt> {
        self.frames.lock().unwrap().push(frame);
        Box::pin(self.pass())
    }

    fn keep_part(&self, frame: Frame) -> Later<'_, Receipt> {
        self.parts.lock().unwrap().push(frame);
        Box::pin(self.pass())
    }

    fn reply(&self, _frame: Frame) -> Later<'_, Option<Reply>> {
        Box::pin(std::future::ready(self.reply.lock().unwrap().take()))
    }

    fn replied(&self, _link: Arc<str>, reference: Arc<str>, outcome: Result<(), String>) -> Later<'_, ()> {
        self.replied.lock().unwrap().push((reference, outcome));
        Box::pin(std::future::ready(()))
    }

    fn parts_broken(&self, _link: Arc<str>, _peer: Arc<str>, reason: String) -> Later<'_, ()> {
        self.broken.lock().unwrap().push(reason);
        Box::pin(std::future::ready(()))
    }

    fn note(&self, _link: &str, code: &'static str, text: &str) {
        self.notes.lock().unwrap().push((code, text.to_owned()));
    }

    fn state(&self, _link: &str, state: LinkState) {
        self.states.lock().unwrap().push(state);
    }
}
