//! A ventilator that speaks MEDIBUS as its protocol wants it: it asks for the link until it is answered, answers one
//! question at a time, and gives the link up after three seconds without a word of the host.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::{Said, Speaker, Told};
use crate::wire::medibus::{Kind, Message, Piece, pieces};

const SILENCE: Duration = Duration::from_secs(3);

/// The device's side of a line: what it says to what it hears and to time.
#[derive(Clone, Debug)]
pub struct Ventilator {
    /// Data of the reply to each question, by its code.
    replies: BTreeMap<u8, Vec<u8>>,
    /// Codes of the message that were not asked for yet; `None`: no message is under way.
    unasked: Option<BTreeSet<u8>>,
    out: VecDeque<Said>,
    open: bool,
    heard: Duration,
    asked: Option<Duration>,
    half: Vec<u8>,
    /// How often the link was given up for silence.
    pub dropped: u32,
}

impl Ventilator {
    /// One that answers as it did in a kept frame, e.g. a capture.
    pub fn of_capture(frame: &[u8]) -> Self {
        let zero = Duration::ZERO;
        let mut device = Self {
            replies: BTreeMap::new(),
            unasked: None,
            out: VecDeque::new(),
            open: false,
            heard: zero,
            asked: None,
            half: Vec::new(),
            dropped: 0,
        };
        device.show(frame);
        device
    }

    /// From now on it answers as in this frame.
    pub fn show(&mut self, frame: &[u8]) {
        let mut replies = BTreeMap::new();
        for piece in pieces(frame) {
            if let Piece::Message(Message { kind: Kind::Reply, code, text }) = piece {
                replies.insert(code, text);
            }
        }
        self.replies = replies;
    }

    /// Whether the link is open.
    pub const fn is_open(&self) -> bool {
        self.open
    }

    /// Takes what the host said; returns what the device says to it.
    pub fn feed(&mut self, bytes: &[u8], now: Duration) -> Vec<u8> {
        self.heard = now;
        let mut said = Vec::new();
        for byte in bytes {
            self.half.push(*byte);
            if *byte == b'\r' {
                for piece in pieces(&std::mem::take(&mut self.half)) {
                    said.extend(self.answer(piece));
                }
            }
        }
        said
    }

    fn answer(&mut self, piece: Piece) -> Vec<u8> {
        let reply = |code, text| Message { kind: Kind::Reply, code, text }.wire();
        match piece {
            Piece::Message(Message { kind: Kind::Command, code, .. }) => {
                self.open |= code == b'Q';
                self.asked_for(code);
                reply(code, self.replies.get(&code).cloned().unwrap_or_default())
            }
            Piece::Message(Message { kind: Kind::Reply, code: b'Q', .. }) => {
                self.open = true;
                Vec::new()
            }
            Piece::CorruptCommand => reply(0x15, Vec::new()),
            _ => Vec::new(),
        }
    }

    /// A message was said when all of it was asked for, or some of it again: pages come at periods of their own.
    fn asked_for(&mut self, code: u8) {
        let Some(unasked) = &mut self.unasked else { return };
        let again = self.replies.contains_key(&code) && !unasked.remove(&code);
        if again || unasked.is_empty() {
            self.unasked = None;
            self.out.push_back(Said::Told(Told::Sent));
        }
    }

    fn send(&mut self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.out.push_front(Said::Send(bytes));
        }
    }

    /// Time passed: a silent host loses the link, and without one the device asks for it every three seconds.
    pub fn tick(&mut self, now: Duration) -> Vec<u8> {
        if self.open && now.saturating_sub(self.heard) > SILENCE {
            self.open = false;
            self.dropped += 1;
        }
        let due = self.asked.is_none_or(|asked| now.saturating_sub(asked) >= SILENCE);
        if self.open || !due {
            return Vec::new();
        }
        self.asked = Some(now);
        Message { kind: Kind::Command, code: b'Q', text: Vec::new() }.wire()
    }
}

impl Speaker for Ventilator {
    fn open(&mut self, _now: Duration) {
        self.open = false;
        self.half.clear();
        if self.unasked.take().is_some() {
            self.out.push_back(Said::Told(Told::Again("the line was lost".into())));
        }
    }

    fn say(&mut self, message: &super::Message, _now: Duration) {
        self.show(&message.bytes);
        self.unasked = Some(self.replies.keys().copied().collect());
    }

    fn hear(&mut self, bytes: &[u8], now: Duration) {
        let answer = self.feed(bytes, now);
        self.send(answer);
    }

    fn tick(&mut self, now: Duration) {
        let asked = Self::tick(self, now);
        self.send(asked);
    }

    fn next(&mut self) -> Option<Said> {
        self.out.pop_front()
    }

    fn is_free(&self) -> bool {
        self.unasked.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::medibus::{MedibusFramer, Settings};
    use crate::wire::{Framer, Step};

    /// Host and device over a line of so much delay, looked at every 50 ms.
    fn run(
        host: &mut MedibusFramer,
        device: &mut Ventilator,
        seconds: u64,
        deaf: std::ops::Range<u64>,
    ) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        let mut to_host = Vec::new();
        for look in 0..seconds * 20 {
            let now = Duration::from_millis(look * 50);
            let asleep = deaf.contains(&(look / 20));
            to_host.extend(device.tick(now));
            if asleep {
                continue;
            }
            host.feed(&std::mem::take(&mut to_host), now);
            if host.deadline().is_some_and(|due| now >= due) {
                host.tick(now);
            }
            while let Some(step) = host.step() {
                match step {
                    Step::Send(bytes) => to_host.extend(device.feed(&bytes, now)),
                    Step::Frame { bytes, .. } => frames.push(bytes),
                    _ => {}
                }
            }
        }
        frames
    }

    fn ventilator() -> Ventilator {
        let reply = |code, text: &str| Message { kind: Kind::Reply, code, text: text.into() }.wire();
        Ventilator::of_capture(&[reply(b'R', "8888'Test'01.00:04.00"), reply(b'$', "D6 15 ")].concat())
    }

    #[test]
    fn an_awake_host_never_loses_the_link_and_each_round_is_kept() {
        let (mut host, mut device) = (MedibusFramer::new(Settings::default()), ventilator());
        let frames = run(&mut host, &mut device, 60, 0..0);
        assert!(device.is_open() && device.dropped == 0);
        assert!((11..=13).contains(&frames.len()), "{} rounds of 5 s", frames.len());
        let values = |frame: &Vec<u8>| frame.windows(6).any(|record| record == b"D6 15 ");
        assert!(frames.iter().all(values));
    }

    #[test]
    fn a_host_that_sleeps_loses_the_link_and_finds_it_again() {
        let (mut host, mut device) = (MedibusFramer::new(Settings::default()), ventilator());
        let frames = run(&mut host, &mut device, 60, 20..30);
        assert_eq!(device.dropped, 1);
        assert!(device.is_open() && frames.len() >= 9, "{}", frames.len());
    }
}
