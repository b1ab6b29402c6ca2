//! For what callers hand to the writer, and how each of them gets its answer.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::compact::Packed;
use super::entry::{IllegalMark, Mark};
use super::registry::Change;
#[cfg(test)]
use super::store::Store;
use super::{BufferError, JOB_COST, Kept, NewFrame, Refused};

/// A frame with its hash, ready to be written.
pub(super) struct Sealed {
    pub(super) frame: NewFrame,
    pub(super) sha256: [u8; 32],
    /// The same bytes in less room, where that is worth it.
    pub(super) packed: Option<Packed>,
}

impl Sealed {
    /// What it takes of the queue's room.
    pub(super) fn cost(&self) -> u32 {
        JOB_COST.saturating_add(u32::try_from(self.frame.bytes.len() >> 10).unwrap_or(u32::MAX))
    }
}

type Reply<T> = oneshot::Sender<T>;

/// What a reader met that the writer has to see to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Suspicion {
    /// The database looks damaged.
    Damage,
    /// A lock is left that nobody lets go.
    Lock,
}

/// What callers ask of the writer. The permit is their share of the queue; it goes back with the job.
pub(super) enum Job {
    Keep {
        frame: Sealed,
        reply: Reply<Result<Kept, Refused>>,
        permit: OwnedSemaphorePermit,
    },
    Part {
        part: Sealed,
        reply: Reply<Result<(), Refused>>,
        permit: OwnedSemaphorePermit,
    },
    Break {
        link: Arc<str>,
        peer: Arc<str>,
        reason: String,
        reply: Reply<Result<Option<i64>, Refused>>,
        permit: OwnedSemaphorePermit,
    },
    Mark {
        marks: Vec<Mark>,
        reply: Reply<Result<(), BufferError>>,
        permit: OwnedSemaphorePermit,
    },
    Change {
        changes: Vec<Change>,
        reply: Reply<Result<(), BufferError>>,
        permit: OwnedSemaphorePermit,
    },
    /// A reader found that the bytes of this entry changed.
    Quarantine {
        id: i64,
    },
    /// A reader met damage; the database is to be checked.
    Suspect(Suspicion),
    /// Lets a test do to the connection what a disk would do.
    #[cfg(test)]
    Meddle(Box<dyn FnOnce(&mut Store) + Send>),
}

/// What became of a job in a transaction that may yet fail.
pub(super) enum Done {
    Keep(Kept),
    Part(Result<(), Refused>),
    Break(Option<i64>),
    Mark(Vec<IllegalMark>),
    Change(Result<(), String>),
    Nothing,
}

impl Job {
    /// Frames take room; marks and changes may use what was reserved.
    pub(super) const fn is_frame(&self) -> bool {
        matches!(self, Self::Keep { .. } | Self::Part { .. })
    }

    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Keep { frame: sealed, .. } | Self::Part { part: sealed, .. } => sealed.frame.bytes.len(),
            Self::Mark { marks, .. } => marks.len() * 128,
            _ => 0,
        }
    }

    /// A caller that went away does not need its answer; the frame is kept all the same.
    pub(super) fn answer(self, done: Done) {
        match (self, done) {
            (Self::Keep { reply, permit, .. }, Done::Keep(kept)) => drop((reply.send(Ok(kept)), permit)),
            (Self::Part { reply, permit, .. }, Done::Part(kept)) => drop((reply.send(kept), permit)),
            (Self::Break { reply, permit, .. }, Done::Break(id)) => drop((reply.send(Ok(id)), permit)),
            (Self::Mark { reply, permit, .. }, Done::Mark(illegal)) => {
                let answer =
                    if illegal.is_empty() { Ok(()) } else { Err(BufferError::IllegalMarks(illegal)) };
                drop((reply.send(answer), permit));
            }
            (Self::Change { reply, permit, .. }, Done::Change(done)) => {
                drop((reply.send(done.map_err(BufferError::NotAllowed)), permit));
            }
            (job, _) => {
                job.refuse(&Refused { full: false, reason: String::from("a fault of Bedside itself") })
            }
        }
    }

    /// What [`Sabotage::AnswerOnError`](crate::sabotage::Sabotage) does.
    pub(super) fn answer_all_the_same(self) {
        let done = if self.is_frame() { Done::Keep(Kept { id: 0, duplicate: false }) } else { Done::Nothing };
        self.answer(done);
    }

    pub(super) fn refuse(self, why: &Refused) {
        let why = why.clone();
        match self {
            Self::Keep { reply, permit, .. } => drop((reply.send(Err(why)), permit)),
            Self::Part { reply, permit, .. } => drop((reply.send(Err(why)), permit)),
            Self::Break { reply, permit, .. } => drop((reply.send(Err(why)), permit)),
            Self::Mark { reply, permit, .. } => drop((reply.send(Err(why.into())), permit)),
            Self::Change { reply, permit, .. } => drop((reply.send(Err(why.into())), permit)),
            Self::Quarantine { .. } | Self::Suspect(_) => {}
            #[cfg(test)]
            Self::Meddle(_) => {}
        }
    }
}
