//! The sending side of the line: for the answers to an analyser's queries, and for simulators and rigs.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Deserialize;

use super::frame::{ACK, ENQ, EOT, ETB, ETX, NAK, STX, checksum};
use super::{REPLY_TIMEOUT, Warning};

/// How messages are sent: by a simulated analyser, or to an analyser in answer to its query.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sending {
    pub cut: Cut,
    /// Longest text of a frame: 240 in E1381-95, 64,000 in LIS01-A2.
    pub max_text: usize,
    /// Ends every frame but the last with ETB, as some analysers do even when each holds a whole record.
    pub etb_between: bool,
    /// Frames without number and checksum, for the analysers that neither send nor want them.
    pub bare: bool,
    /// Not for a page to choose: a box that answers queries is always the computer.
    #[serde(skip)]
    pub role: Role,
}

/// What goes into one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cut {
    /// One record; a longer one continues in the next frame.
    Records,
    /// The whole message, cut only where the frame is full.
    Message,
}

/// Who gives way when both sides send ENQ (LIS01-A2 §6.2.7): the computer does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    #[default]
    Instrument,
    Computer,
}

impl Default for Sending {
    fn default() -> Self {
        Self { cut: Cut::Records, max_text: 240, etb_between: false, bare: false, role: Role::Instrument }
    }
}

/// What the sender wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    Send(Vec<u8>),
    /// Every frame was acknowledged; EOT was sent.
    Done,
    /// It gave up; nothing may be taken for delivered.
    Failed(Warning),
}

/// One session with one or more messages. Sans-I/O like the receiver.
#[derive(Debug)]
pub struct AstmSender {
    role: Role,
    frames: Vec<Vec<u8>>,
    place: Place,
    steps: VecDeque<Sent>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// ENQ was sent.
    Enquiring {
        tries: u32,
        until: Duration,
    },
    /// ENQ was answered with NAK or met another ENQ: it is sent again at `at`.
    Backing {
        tries: u32,
        at: Duration,
    },
    Frame {
        index: usize,
        tries: u32,
        until: Duration,
    },
    Over,
}

impl AstmSender {
    /// Begins a session for `messages`, each a text of records ended by CR.
    pub fn new(messages: &[&[u8]], sending: &Sending, now: Duration) -> Self {
        let texts = messages.iter().flat_map(|message| texts(message, sending));
        let frames = (1_u8..=7).chain([0]).cycle().zip(texts);
        let frames = frames
            .map(|(number, (text, last))| match sending.bare {
                true => bare_frame(text, last),
                false => frame(number, text, last),
            })
            .collect();
        let place = Place::Enquiring { tries: 1, until: now + REPLY_TIMEOUT };
        Self { role: sending.role, frames, place, steps: VecDeque::from([Sent::Send(vec![ENQ])]) }
    }

    /// The next thing to do, if any.
    pub fn step(&mut self) -> Option<Sent> {
        self.steps.pop_front()
    }

    /// Takes what the receiver said.
    pub fn feed(&mut self, bytes: &[u8], now: Duration) {
        for byte in bytes {
            match (self.place, *byte) {
                (Place::Enquiring { .. }, ACK) => self.send_frame(0, 1, now),
                (Place::Enquiring { tries, .. }, NAK) => self.back_off(tries, now + AFTER_BUSY),
                (Place::Enquiring { tries, .. }, ENQ) => match self.role {
                    Role::Instrument => self.back_off(tries, now + INSTRUMENT_AFTER_CONTENTION),
                    Role::Computer => self.back_off(tries, now + COMPUTER_AFTER_CONTENTION),
                },
                // EOT instead of ACK acknowledges too, and asks for the line (LIS01-A2 §6.3.6).
                (Place::Frame { index, .. }, ACK | EOT) => self.send_frame(index + 1, 1, now),
                (Place::Frame { index, tries, .. }, NAK) => self.send_frame(index, tries + 1, now),
                _ => {}
            }
        }
    }

    /// When [`AstmSender::tick`] wants to be called next.
    pub fn deadline(&self) -> Option<Duration> {
        match self.place {
            Place::Enquiring { until, .. } | Place::Frame { until, .. } => Some(until),
            Place::Backing { at, .. } => Some(at),
            Place::Over => None,
        }
    }

    /// It gave way and waits to ask again: meanwhile the line belongs to the other side.
    pub(super) const fn gives_way(&self) -> bool {
        matches!(self.place, Place::Backing { .. })
    }

    /// Time passed; timers may have run out.
    pub fn tick(&mut self, now: Duration) {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        match self.place {
            Place::Backing { tries, .. } if tries >= TRIES => self.fail("the receiver stayed busy"),
            Place::Backing { tries, .. } => {
                self.place = Place::Enquiring { tries: tries + 1, until: now + REPLY_TIMEOUT };
                self.steps.push_back(Sent::Send(vec![ENQ]));
            }
            _ => self.fail("no answer within 15 s"),
        }
    }

    fn back_off(&mut self, tries: u32, at: Duration) {
        self.place = Place::Backing { tries, at };
    }

    fn send_frame(&mut self, index: usize, tries: u32, now: Duration) {
        if tries > TRIES {
            return self.fail("a frame was refused six times");
        }
        if let Some(frame) = self.frames.get(index) {
            self.steps.push_back(Sent::Send(frame.clone()));
            self.place = Place::Frame { index, tries, until: now + REPLY_TIMEOUT };
        } else {
            self.steps.extend([Sent::Send(vec![EOT]), Sent::Done]);
            self.place = Place::Over;
        }
    }

    fn fail(&mut self, reason: &str) {
        let warning = Warning::new("not-sent", format!("The session was given up: {reason}."));
        self.steps.extend([Sent::Send(vec![EOT]), Sent::Failed(warning)]);
        self.place = Place::Over;
    }
}

/// A frame around `text`: `STX number text ETX|ETB checksum CR LF`. `number` 0 to 7.
pub fn frame(number: u8, text: &[u8], last: bool) -> Vec<u8> {
    let mut inside = vec![b'0' + number % 8];
    inside.extend_from_slice(text);
    let sum = checksum(&inside, last);
    let mut frame = vec![STX];
    frame.append(&mut inside);
    frame.push(if last { ETX } else { ETB });
    frame.extend_from_slice(format!("{sum:02X}\r\n").as_bytes());
    frame
}

/// `STX text ETX|ETB`.
fn bare_frame(text: &[u8], last: bool) -> Vec<u8> {
    [&[STX], text, &[if last { ETX } else { ETB }]].concat()
}

/// The texts of the frames of one message; `true` with those that end with ETX.
fn texts<'a>(message: &'a [u8], sending: &Sending) -> Vec<(&'a [u8], bool)> {
    let size = sending.max_text.max(1);
    let pieces: Vec<&[u8]> = match sending.cut {
        Cut::Message => vec![message],
        Cut::Records => message.split_inclusive(|byte| *byte == b'\r').collect(),
    };
    let count = pieces.len();
    let mut texts = Vec::new();
    for (at, piece) in pieces.into_iter().enumerate() {
        let frames = piece.len().div_ceil(size);
        let ends = at + 1 == count || !sending.etb_between;
        texts.extend(piece.chunks(size).enumerate().map(|(n, text)| (text, ends && n + 1 == frames)));
    }
    texts
}

/// How often a frame or ENQ is sent before the sender gives up (LIS01-A2 §6.5.1).
const TRIES: u32 = 6;
/// After NAK to an ENQ (LIS01-A2 §6.2.6).
const AFTER_BUSY: Duration = Duration::from_secs(10);
/// After contention (LIS01-A2 §6.2.7).
const INSTRUMENT_AFTER_CONTENTION: Duration = Duration::from_secs(1);
const COMPUTER_AFTER_CONTENTION: Duration = Duration::from_secs(20);

/// Whatever the receiver says, the sender comes to an end and never claims more than was acknowledged.
pub(super) fn fuzz(bytes: &[u8]) {
    let mut sender = AstmSender::new(&[b"H|\\^&\rL|1|N\r"], &Sending::default(), Duration::ZERO);
    let mut now = Duration::ZERO;
    for byte in bytes {
        sender.feed(&[*byte], now);
    }
    for _ in 0..100 {
        let Some(deadline) = sender.deadline() else { break };
        now = now.max(deadline);
        sender.tick(now);
    }
    let done = sender.steps.contains(&Sent::Done);
    let acknowledged = bytes.iter().filter(|byte| matches!(**byte, ACK | EOT)).count();
    assert!(sender.deadline().is_none(), "the sender never ends");
    assert!(!done || acknowledged >= 3, "done after {acknowledged} acknowledgements");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(sender: &mut AstmSender) -> Vec<Sent> {
        std::iter::from_fn(|| sender.step()).collect()
    }

    fn send(bytes: &[u8]) -> Sent {
        Sent::Send(bytes.to_vec())
    }

    #[test]
    fn a_frame_has_the_checksum_of_the_standard() {
        assert_eq!(frame(2, b"P|1\r", true), b"\x022P|1\r\x033F\r\n");
    }

    #[test]
    fn a_session_goes_on_with_every_ack_and_ends_with_eot() {
        let mut sender = AstmSender::new(&[b"H|\\^&\rL|1\r"], &Sending::default(), Duration::ZERO);
        assert_eq!(steps(&mut sender), [send(b"\x05")]);
        sender.feed(&[ACK], Duration::ZERO);
        assert_eq!(
            steps(&mut sender),
            [send(b"\x021H|\\^&\r\x03E5\r\n")].map(|step| match step {
                Sent::Send(_) => send(&frame(1, b"H|\\^&\r", true)),
                other => other,
            })
        );
        sender.feed(&[NAK], Duration::ZERO);
        assert_eq!(steps(&mut sender), [send(&frame(1, b"H|\\^&\r", true))]);
        sender.feed(&[ACK, ACK], Duration::ZERO);
        assert_eq!(steps(&mut sender), [send(&frame(2, b"L|1\r", true)), send(&[EOT]), Sent::Done]);
    }

    #[test]
    fn a_frame_refused_six_times_ends_the_session() {
        let mut sender = AstmSender::new(&[b"H|\r"], &Sending::default(), Duration::ZERO);
        sender.feed(&[ACK], Duration::ZERO);
        sender.feed(&[NAK; 6], Duration::ZERO);
        let steps = steps(&mut sender);
        assert_eq!(steps.iter().filter(|step| **step == send(&frame(1, b"H|\r", true))).count(), 6);
        assert!(matches!(steps.last(), Some(Sent::Failed(warning)) if warning.text.contains("six times")));
    }

    #[test]
    fn a_silent_receiver_is_given_up_after_fifteen_seconds() {
        let mut sender = AstmSender::new(&[b"H|\r"], &Sending::default(), Duration::ZERO);
        sender.tick(Duration::from_secs(14));
        assert_eq!(steps(&mut sender).len(), 1);
        sender.tick(Duration::from_secs(15));
        assert!(matches!(steps(&mut sender).as_slice(), [Sent::Send(_), Sent::Failed(_)]));
    }

    #[test]
    fn after_contention_the_instrument_asks_again_first() {
        for (role, seconds) in [(Role::Instrument, 1), (Role::Computer, 20)] {
            let sending = Sending { role, ..Sending::default() };
            let mut sender = AstmSender::new(&[b"H|\r"], &sending, Duration::ZERO);
            steps(&mut sender);
            sender.feed(&[ENQ], Duration::ZERO);
            assert_eq!(sender.deadline(), Some(Duration::from_secs(seconds)));
            sender.tick(Duration::from_secs(seconds));
            assert_eq!(steps(&mut sender), [send(&[ENQ])]);
        }
    }

    #[test]
    fn frames_are_cut_by_record_by_message_and_by_length() {
        let message = b"H|\\^&\rR|1|12345\rL|1\r".as_slice();
        let cut = |cut, max_text, etb_between| {
            let sending = Sending { cut, max_text, etb_between, ..Sending::default() };
            texts(message, &sending).into_iter().map(|(text, last)| (text.len(), last)).collect::<Vec<_>>()
        };
        assert_eq!(cut(Cut::Records, 240, false), [(6, true), (10, true), (4, true)]);
        assert_eq!(cut(Cut::Records, 8, false), [(6, true), (8, false), (2, true), (4, true)]);
        assert_eq!(cut(Cut::Records, 240, true), [(6, false), (10, false), (4, true)]);
        assert_eq!(cut(Cut::Message, 12, false), [(12, false), (8, true)]);
    }

    #[test]
    fn whatever_the_receiver_says_the_session_ends() {
        for n in 0..5_usize.pow(5) {
            fuzz(
                &(0..5)
                    .map(|place| [ACK, NAK, ENQ, EOT, b'x'][n / 5_usize.pow(place) % 5])
                    .collect::<Vec<_>>(),
            );
        }
    }
}
