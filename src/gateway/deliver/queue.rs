//! Where entries wait: in the main queue, which is the state of the entry itself, or in that of a further server.

use std::sync::Arc;

use crate::buffer::{
    AssociationChange, Behind, Buffer, BufferError, Change, FeedChange, Mark, OutgoingChange, OutgoingStep,
    Reader, Transition, Waiting, Wanted,
};
use crate::gateway::association::Associations;

/// Which queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::gateway) enum Queue {
    Main,
    Feed(Arc<str>),
}

impl Queue {
    pub(super) const fn is_main(&self) -> bool {
        matches!(self, Self::Main)
    }

    /// The destination's name; `None` for the main server.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Main => None,
            Self::Feed(name) => Some(name),
        }
    }

    pub(super) async fn waiting(&self, reader: &Reader, wanted: Wanted) -> Result<Waiting, BufferError> {
        match self {
            Self::Main => reader.waiting_for(wanted).await,
            Self::Feed(name) => reader.waiting_at(name, wanted).await,
        }
    }

    pub(super) async fn behind(&self, reader: &Reader, through: i64) -> Result<Behind, BufferError> {
        reader.behind(self.name(), through).await
    }

    /// Writes what became of entries; the ids of those whose step was not allowed, because somebody was faster.
    pub(super) async fn mark(&self, buffer: &Buffer, marks: Vec<Mark>) -> Result<Vec<i64>, BufferError> {
        let Self::Feed(name) = self else {
            return match buffer.mark(marks).await {
                Ok(()) => Ok(Vec::new()),
                Err(BufferError::IllegalMarks(illegal)) => Ok(illegal.iter().map(|mark| mark.id).collect()),
                Err(fault) => Err(fault),
            };
        };
        let steps: Vec<(i64, Change)> = marks.into_iter().filter_map(|mark| step(name, mark)).collect();
        if steps.is_empty() {
            return Ok(Vec::new());
        }
        match buffer.change(steps.iter().map(|(_, change)| change.clone()).collect()).await {
            Ok(()) => return Ok(Vec::new()),
            Err(BufferError::NotAllowed(_)) => {}
            Err(fault) => return Err(fault),
        }
        let mut late = Vec::new();
        for (id, change) in steps {
            match buffer.change(vec![change]).await {
                Ok(()) => {}
                Err(BufferError::NotAllowed(_)) => late.push(id),
                Err(fault) => return Err(fault),
            }
        }
        Ok(late)
    }

    /// Writes down under whom entries go out, before they do, and why nobody can say of others.
    pub(super) async fn note(
        &self,
        buffer: &Buffer,
        associations: &Associations,
        going: Vec<(i64, String)>,
        doubts: Vec<Change>,
    ) -> Result<(), BufferError> {
        let Self::Feed(name) = self else { return associations.note(going, doubts).await };
        if going.is_empty() {
            return Ok(());
        }
        let change = |(entry, parts)| feed(name, FeedChange::Attributed { entry, parts });
        buffer.change(going.into_iter().map(change).collect()).await
    }

    /// The server has taken back what it had under somebody else.
    pub(super) fn withdrawn(&self, entry: i64, parts: Vec<String>) -> Change {
        match self {
            Self::Main => Change::Association(AssociationChange::Withdrawn { entry, parts }),
            Self::Feed(name) => feed(name, FeedChange::Withdrawn { entry, parts }),
        }
    }
}

/// A change of a further server's queue.
pub(in crate::gateway) fn feed(name: &str, change: FeedChange) -> Change {
    Change::Outgoing(OutgoingChange::Feed { destination: name.to_owned(), change })
}

fn step(name: &str, mark: Mark) -> Option<(i64, Change)> {
    let to = match mark.to {
        Transition::Sent => OutgoingStep::Sent { control: String::new(), message: None },
        Transition::Accepted { answer } => OutgoingStep::Accepted { answer },
        Transition::Ignored { reason } => OutgoingStep::Dropped { reason },
        Transition::Held { reason, answer } => OutgoingStep::Held { reason, answer },
        Transition::Waiting { retry_after, reason } => {
            OutgoingStep::Again { not_before: retry_after, reason, answer: None }
        }
        Transition::Seen { .. } => return None,
    };
    Some((mark.id, feed(name, FeedChange::Mark { entry: mark.id, to })))
}
