//! Systems that take HL7 v2 over MLLP: one connection, one message on its way, and what the receiver said of it.
//!
//! [`Line::deliver`] sends the bytes it is given and waits for the acknowledgement whose MSA-2 is their MSH-10. It keeps
//! no queue and never tries again: the [`Outcome`] goes back to whoever owns the message.
//!
//! *Invariants:*
//! - An acknowledgement of another message is never taken for this one's: it is discarded and counted.
//! - After a message without an answer the connection is closed, so that a late answer finds nobody.
//! - A commit accept (CA) is never taken for an application accept (AA) where both are waited for.

mod answer;
mod config;
mod line;

pub use answer::{Answer, Verdict, fuzz};
pub use config::{Acknowledge, Config};
pub use line::{Line, Outcome, Sent};
