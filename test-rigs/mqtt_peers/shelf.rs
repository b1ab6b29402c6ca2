//! An intake that keeps in memory, tells when it is told to, and remembers what it heard.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bedside::connector::{Frame, Intake, Later, LinkState, Receipt};
use tokio::sync::watch;

use super::PATIENCE;

/// Keeps in memory. Durability is the buffer's business; here it matters what is answered when.
pub(crate) struct Shelf {
    pub(crate) frames: Mutex<Vec<Frame>>,
    pub(crate) notes: Mutex<Vec<(&'static str, String)>>,
    pub(crate) states: Mutex<Vec<LinkState>>,
    /// While false, frames are kept but nobody hears of it: the moment between COMMIT and PUBACK.
    pub(crate) telling: watch::Sender<bool>,
    pub(crate) refusing: watch::Sender<bool>,
}

impl Shelf {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            frames: Mutex::default(),
            notes: Mutex::default(),
            states: Mutex::default(),
            telling: watch::channel(true).0,
            refusing: watch::channel(false).0,
        })
    }

    pub(crate) fn texts(&self) -> Vec<String> {
        let frames = self.frames.lock().unwrap();
        frames.iter().map(|frame| String::from_utf8_lossy(&frame.bytes).into_owned()).collect()
    }

    pub(crate) async fn until(&self, what: &str, so: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !so(self) {
            assert!(
                start.elapsed() < PATIENCE,
                "waited in vain for {what}; frames {:?}, states {:?}, notes {:?}",
                self.texts(),
                self.states.lock().unwrap(),
                self.notes.lock().unwrap()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn until_kept(&self, text: &str) {
        self.until(text, |shelf| shelf.texts().iter().any(|kept| kept == text)).await;
    }

    pub(crate) async fn until_up(&self) {
        let up = |state: &LinkState| matches!(state, LinkState::Up { .. });
        self.until("the link", |shelf| shelf.states.lock().unwrap().last().is_some_and(up)).await;
        // Up is said when the connection stands; the subscription follows at once.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    pub(crate) async fn until_told(&self, word: &str) {
        let told =
            |state: &LinkState| matches!(state, LinkState::Retrying { detail } if detail.contains(word));
        self.until(word, |shelf| shelf.states.lock().unwrap().iter().any(told)).await;
    }

    pub(crate) fn noted(&self, code: &str) -> bool {
        self.notes.lock().unwrap().iter().any(|(known, _)| *known == code)
    }
}

impl Intake for Shelf {
    fn keep(&self, frame: Frame) -> Later<'_, Receipt> {
        Box::pin(async move {
            if *self.refusing.borrow() {
                return Receipt::Refused { full: true, reason: "the buffer is full".into() };
            }
            self.frames.lock().unwrap().push(frame);
            let mut telling = self.telling.subscribe();
            telling.wait_for(|telling| *telling).await.unwrap();
            Receipt::Kept { duplicate: false }
        })
    }
    fn keep_part(&self, _: Frame) -> Later<'_, Receipt> {
        unreachable!("MQTT has no parts")
    }
    fn parts_broken(&self, _: Arc<str>, _: Arc<str>, _: String) -> Later<'_, ()> {
        unreachable!("MQTT has no parts")
    }
    fn note(&self, _: &str, code: &'static str, text: &str) {
        self.notes.lock().unwrap().push((code, text.into()));
    }
    fn state(&self, _: &str, state: LinkState) {
        self.states.lock().unwrap().push(state);
    }
}
