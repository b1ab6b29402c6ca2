//! Link layers: the bytes of a connection ↔ the frames they carry. Sans-I/O: no sockets, no clock, no threads.
//!
//! A [`Framer`] is fed bytes and the time, and says what to do: send these bytes, keep this frame, note this
//! warning. Whoever drives it keeps the frame first and then says so with [`Framer::answer`]; only then does
//! the framer produce the bytes that acknowledge it. Any cut of the same bytes gives the same frames.

use std::time::Duration;

/// What a framer wants done, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write these bytes to the other side now.
    Send(Vec<u8>),
    /// A whole message. Keep it, then call [`Framer::answer`] with the same ticket.
    Frame { ticket: Ticket, bytes: Vec<u8>, warnings: Vec<Warning> },
    /// A piece of a message that the other side wants acknowledged by itself (an E1381 frame in the middle of a
    /// transmission). Keep it, then answer.
    Part { ticket: Ticket, bytes: Vec<u8> },
    /// A transmission ended without a whole message: the parts kept so far are all there is.
    Broken { warning: Warning },
    /// Something a person should see; nothing was lost by it.
    Note(Warning),
    /// The other side cannot be followed any more: close the connection.
    Close(Warning),
}

/// Ties an answer to the frame or part it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(pub u64);

/// A departure from the protocol that was tolerated, with a stable code for counting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// e.g. `no-start-block`, `bad-checksum`, `oversize`.
    pub code: &'static str,
    /// A sentence that names the limit or the bytes, without message content.
    pub text: String,
}

/// What became of a frame, as the framer needs to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is on disk. `body` is the application's own acknowledgement (an HL7 ACK), where the codec carries one.
    Kept { body: Option<Vec<u8>> },
    /// It is not kept: the sender must keep it and try again. `body` as above (an HL7 NAK).
    Refused { body: Option<Vec<u8>> },
}

/// One link layer over one connection. `now` is the time since an arbitrary start and never goes back.
pub trait Framer: Send {
    /// Takes bytes that arrived. Nothing is lost and nothing is unbounded: past its limit a framer says
    /// [`Step::Close`] or resynchronises with a [`Step::Note`].
    fn feed(&mut self, bytes: &[u8], now: Duration);
    /// The next thing to do, if any. Call until `None` after every `feed`, `answer`, `tick` and `end`.
    fn step(&mut self) -> Option<Step>;
    /// Says that the frame of `ticket` was kept or refused.
    fn answer(&mut self, ticket: Ticket, answer: Answer, now: Duration);
    /// When [`Framer::tick`] wants to be called next, if ever.
    fn deadline(&self) -> Option<Duration>;
    /// Time passed; timers may have run out.
    fn tick(&mut self, now: Duration);
    /// The connection ended: what is half there becomes a `Broken` or a `Note`.
    fn end(&mut self, now: Duration);
}
