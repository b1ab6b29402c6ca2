//! What follows from what hospital systems say, and from time going by: open associations end, and what was delivered
//! since is looked at again.

use std::sync::PoisonError;
use std::time::Duration;

use super::Associations;
use super::reconsider::Cause;
use crate::admin::association::Done;
use crate::buffer::{AssociationChange, AssociationRow, BufferError, Change, NewAudit};
use crate::connector::Stop;
use crate::identity::adt::Adt;
use crate::identity::{Fact, Facts};

/// Messages of one burst are followed together.
const CALM: Duration = Duration::from_secs(2);
/// How often open associations are looked through.
const EVERY: Duration = Duration::from_secs(60);
const HOUR: i64 = 3_600_000_000;

/// From when on what messages say may change whose something is; `None`: they change nothing. A merge has no beginning.
pub(in crate::gateway) fn earliest(said: &[Adt]) -> Option<i64> {
    let of = |adt: &Adt, fact: &Fact| match fact {
        Fact::Moved(_, movement) => movement.at,
        Fact::Swapped { at, .. } => *at,
        Fact::Person(_) => adt.told,
        Fact::VisitSeen { places, .. } => places.iter().map(|(_, since, _)| *since).min().unwrap_or(adt.told),
        Fact::Merged { .. } | Fact::Renumbered { .. } | Fact::VisitMoved { .. } | Fact::Removed(_) => 0,
    };
    said.iter().flat_map(|adt| adt.facts.iter().map(move |fact| of(adt, fact))).min()
}

impl Associations {
    /// A hospital system told of something that took effect then.
    pub(in crate::gateway) fn told(&self, since: i64) {
        let mut earliest = self.earliest.lock().unwrap_or_else(PoisonError::into_inner);
        *earliest = Some(earliest.map_or(since, |known| known.min(since)));
        drop(earliest);
        self.news.notify_one();
    }

    /// Runs until told to stop.
    pub(in crate::gateway) async fn follow(self: std::sync::Arc<Self>, mut stop: Stop) {
        loop {
            tokio::select! {
                () = stop.wait() => return,
                () = self.news.notified() => tokio::time::sleep(CALM).await,
                () = tokio::time::sleep(EVERY) => {}
            }
            let since = self.earliest.lock().unwrap_or_else(PoisonError::into_inner).take();
            if since.is_some() {
                self.changed();
            }
            if let Err(fault) = self.end_open().await {
                tracing::error!(%fault, "Open associations could not be looked through.");
            }
            if let Some(since) = since {
                self.look_at_all(since).await;
            }
        }
    }

    /// Ends what has ended by itself.
    pub(super) async fn end_open(&self) -> Result<(), BufferError> {
        let now = self.clock.now().micros;
        let open = self.reader.associations(None, false).await?.into_iter().filter(|row| row.until.is_none());
        for row in open {
            let ended = self.witness.whom(&row.person).and_then(|whom| self.witness.end_of(&row, &whom));
            match ended {
                Ok(Some((until, word))) if until <= now && until > row.since => {
                    self.end_by(row, until, word).await?
                }
                Ok(_) => {}
                Err(fault) => tracing::error!(%fault, "Whether an association has ended could not be told."),
            }
        }
        Ok(())
    }

    async fn end_by(&self, row: AssociationRow, until: i64, word: &'static str) -> Result<(), BufferError> {
        let end = AssociationChange::End { id: row.id, until, by: word.into(), why: None };
        let detail = format!("done association {} by {word}", row.id);
        let audit = NewAudit { who: "bedside".into(), what: "association.end".into(), detail };
        self.buffer.change(vec![Change::Association(end), Change::Audit(audit)]).await?;
        self.changed();
        let cause = Cause { who: word.into(), why: format!("the association had ended by {word}") };
        self.after(row.device, until, cause).await;
        Ok(())
    }

    /// Looks again at what every device said since then, as far back as the site wants late words to reach.
    async fn look_at_all(&self, since: i64) {
        let now = self.clock.now().micros;
        let reach = now.saturating_sub(i64::from(self.witness.policy.late_h).saturating_mul(HOUR));
        let since = since.max(reach);
        let devices = match self.reader.devices().await {
            Ok(devices) => devices,
            Err(fault) => return tracing::error!(%fault, "The devices could not be read."),
        };
        let cause = Cause {
            who: "patient administration".into(),
            why: "a later word of the hospital's systems on patients and beds".into(),
        };
        let mut done = Done::default();
        for device in devices {
            self.look_again(&device.key, since, &cause, &mut done).await;
        }
        if done.released + done.corrected + done.held > 0 {
            let Done { released, corrected, held, .. } = done;
            tracing::info!(
                released,
                corrected,
                held,
                "Entries were attributed anew after news of patients and beds."
            );
        }
        self.wake.notify_one();
    }
}
