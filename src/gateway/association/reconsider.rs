//! After a change of facts: another look at the entries it may concern.

use std::time::Duration;

use super::{Associations, doubt_of};
use crate::admin::association::Done;
use crate::buffer::{
    ADMINISTRATION, AssociationChange, Change, EntryDetail, FeedChange, Mark, OnwardRow, OutgoingStep, State,
    Transition,
};
use crate::gateway::deliver::queue::feed;
use crate::gateway::understand::{Meaning, Said, Understood};

/// Who changed the facts, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cause {
    pub(super) who: String,
    pub(super) why: String,
}

impl Cause {
    /// That entries are to be looked at again, written down in the commit that changes the facts.
    pub(super) fn look(&self, device: Option<String>, since: i64) -> Change {
        let (who, why) = (self.who.clone(), self.why.clone());
        Change::Association(AssociationChange::Look { device, since, who, why })
    }
}

/// Entries looked at in one go.
const PAGE: u32 = 100;
/// A day: nothing measured after a change was received this long before it.
const SLACK: i64 = 86_400_000_000;
/// As above for the frequent news of hospital systems: a clock that is ahead by more is not believed, and then the time of
/// receipt is taken.
const SLACK_NEWS: i64 = 3_600_000_000;
/// The desk waits this long for the outcome; the rest goes on without it.
const PATIENCE: Duration = Duration::from_secs(5);

impl Associations {
    /// Looks again at what a device said since then, for whoever waits at the desk. What takes longer is owed, and done
    /// behind their back.
    pub(super) async fn after(&self, device: String, since: i64, cause: Cause) -> Done {
        let mut done = Done::default();
        let looking = async {
            let _one_at_a_time = self.looking.lock().await;
            let owed = self.reader.looks_now().unwrap_or_default();
            self.settle_sending().await;
            self.look_again(&device, since, None, &cause, &mut done).await;
            let own = owed.iter().rev().find(|row| row.device.as_ref() == Some(&device)).map(|row| row.id);
            match own {
                Some(through) => self.looked(through, Some(device.clone())).await,
                None => Ok(()),
            }
        };
        match tokio::time::timeout(PATIENCE, looking).await {
            Ok(Ok(())) => {}
            Ok(Err(fault)) => {
                tracing::error!(%fault, "That entries were looked at again could not be written down.");
            }
            Err(_) => tracing::warn!("Looking again at what a device said takes long; it goes on."),
        }
        self.wake.notify_one();
        done
    }

    /// Returns when whatever was made ready by other facts is written down as sent.
    pub(super) async fn settle_sending(&self) {
        drop(self.understanding.facts().sending.write().await);
    }

    /// `specimen`: only entries that speak of it.
    pub(super) async fn look_again(
        &self,
        device: &str,
        since: i64,
        specimen: Option<&str>,
        cause: &Cause,
        done: &mut Done,
    ) {
        // A clock may be ahead, and the box's own may have been set.
        let slack = if cause.who == ADMINISTRATION { SLACK_NEWS } else { SLACK };
        let mut after = match self.reader.last_received_before(since.saturating_sub(slack)).await {
            Ok(before) => before,
            Err(fault) => return tracing::error!(%fault, "When entries were received could not be read."),
        };
        loop {
            let ids = match self.reader.entries_of(device.to_owned(), after, PAGE).await {
                Ok(ids) => ids,
                Err(fault) => return tracing::error!(%fault, "The entries of a device could not be read."),
            };
            let Some(last) = ids.last().copied() else { return };
            after = last;
            for id in ids {
                let Ok(Some(entry)) = self.reader.entry(id).await else { continue };
                let speaks = |specimen: &str| {
                    entry.bytes.windows(specimen.len().max(1)).any(|part| part == specimen.as_bytes())
                };
                if entry.intact && specimen.is_none_or(speaks) {
                    self.again(&entry, cause, done).await;
                }
            }
        }
    }

    async fn again(&self, entry: &EntryDetail, cause: &Cause, done: &mut Done) {
        self.put_right_elsewhere(entry, cause).await;
        let out_before = entry.row.attempts > 0 && entry.row.state != State::Held;
        let onward = self.reader.onward_now(entry.row.id).unwrap_or_default();
        if !out_before && entry.row.state != State::Held && onward.is_empty() {
            return;
        }
        let understood = self.understanding.read(&said(entry));
        if !onward.is_empty() {
            self.put_right_onward(entry, &understood, onward, done).await;
        }
        if out_before {
            return self.put_right_upstream(entry, &understood, cause, done).await;
        }
        if entry.row.state == State::Held && self.reader.is_in_doubt_now(entry.row.id).unwrap_or(false) {
            self.let_go(entry, &understood, done).await;
        }
    }

    /// An entry that is upstream goes out again when it is another's now.
    async fn put_right_upstream(
        &self,
        entry: &EntryDetail,
        understood: &Understood,
        cause: &Cause,
        done: &mut Done,
    ) {
        let id = entry.row.id;
        let outgoing = match self.outgoing(id, None, &said(entry), understood) {
            Ok(Some(outgoing)) if !outgoing.takes_back.is_empty() => outgoing,
            Ok(_) => return,
            Err(why) => return tracing::error!(id, why, "An entry could not be looked at again."),
        };
        let back = |parts| {
            let (who, why) = (cause.who.clone(), cause.why.clone());
            Change::Association(AssociationChange::Withdraw { entry: id, parts, who, why })
        };
        let changes = outgoing.takes_back.into_iter().map(back).collect();
        if let Err(fault) = self.buffer.change(changes).await {
            return tracing::error!(%fault, "That an entry is another patient's could not be written down.");
        }
        if entry.row.state != State::Waiting {
            let reason = Some("delivered under another patient: to be put right".into());
            let to = Transition::Waiting { retry_after: None, reason };
            if let Err(fault) = self.buffer.mark(vec![Mark { id, to }]).await {
                return tracing::error!(%fault, "An entry of another patient could not be sent again.");
            }
        }
        match outgoing.then_held {
            None => done.corrected += 1,
            Some(_) => done.held += 1,
        }
    }

    /// What went on to other systems under somebody else is withdrawn there and told anew.
    async fn put_right_onward(
        &self,
        entry: &EntryDetail,
        understood: &Understood,
        onward: Vec<OnwardRow>,
        done: &mut Done,
    ) {
        let wrong = self.wrong_onward(&said(entry), understood, onward);
        let Some(routes) = self.onward.get().filter(|_| !wrong.is_empty()) else { return };
        match routes.put_right(entry.row.id, wrong).await {
            Ok(0) => {}
            Ok(_) => done.corrected += u64::from(entry.row.attempts == 0),
            Err(fault) => {
                tracing::error!(%fault, "What went on to another system could not be put right.");
            }
        }
    }

    /// Every FHIR server and folder beside the main server that had the entry under somebody else gets it again.
    async fn put_right_elsewhere(&self, entry: &EntryDetail, cause: &Cause) {
        let id = entry.row.id;
        let sent = match self.reader.sent_to_now(id) {
            Ok(sent) if !sent.is_empty() => sent,
            Ok(_) => return,
            Err(fault) => return tracing::error!(%fault, "Where an entry went could not be read."),
        };
        let understood = self.understanding.read(&said(entry));
        for (destination, _) in sent {
            let outgoing = match self.outgoing(id, Some(&destination), &said(entry), &understood) {
                Ok(Some(outgoing)) if !outgoing.takes_back.is_empty() => outgoing,
                Ok(_) => continue,
                Err(why) => {
                    tracing::error!(id, why, "An entry could not be looked at again.");
                    continue;
                }
            };
            let back = |parts| {
                let (who, why) = (cause.who.clone(), cause.why.clone());
                feed(&destination, FeedChange::Withdraw { entry: id, parts, who, why })
            };
            let again = OutgoingStep::Again {
                not_before: None,
                reason: Some("delivered under another patient: to be put right".into()),
                answer: None,
            };
            let again = feed(&destination, FeedChange::Mark { entry: id, to: again });
            let changes = outgoing.takes_back.into_iter().map(back).chain([again]).collect();
            if let Err(fault) = self.buffer.change(changes).await {
                tracing::error!(%fault, "That an entry is another patient's could not be written down.");
            }
        }
    }

    /// A held entry goes out when somebody says now whose it is.
    async fn let_go(&self, entry: &EntryDetail, understood: &Understood, done: &mut Done) {
        let id = entry.row.id;
        let (marks, changes) = match &understood.meaning {
            Meaning::Deliver { .. } => {
                done.released += 1;
                let to = Transition::Waiting {
                    retry_after: None,
                    reason: Some("its patient is known now".into()),
                };
                let settled = Change::Association(AssociationChange::Settled { entry: id });
                (vec![Mark { id, to }], vec![settled])
            }
            Meaning::Hold(reason) if entry.row.reason.as_deref() != Some(reason) => {
                done.held += 1;
                let Some((seen, doubt)) = doubt_of(id, understood, reason) else { return };
                let waiting = Transition::Waiting { retry_after: None, reason: None };
                let held = Transition::Held { reason: reason.clone(), answer: None };
                (vec![Mark { id, to: waiting }, seen, Mark { id, to: held }], vec![doubt])
            }
            _ => {
                done.held += 1;
                return;
            }
        };
        if let Err(fault) = self.buffer.mark(marks).await {
            return tracing::error!(%fault, "An entry whose patient is known now could not be let go.");
        }
        if let Err(fault) = self.buffer.change(changes).await {
            tracing::error!(%fault, "That an entry waits no longer for a patient could not be written down.");
        }
    }
}

fn said(entry: &EntryDetail) -> Said<'_> {
    Said {
        entry: Some(entry.row.id),
        link: &entry.row.link,
        peer: &entry.row.peer,
        received: entry.row.received,
        bytes: &entry.bytes,
        topic: entry.topic.as_deref(),
        sha256: entry.sha256,
    }
}
