//! What follows from what hospital systems say, and from time going by: open associations end, and what was delivered
//! since is looked at again.

use std::time::Duration;

use super::Associations;
use super::reconsider::Cause;
use crate::admin::association::Done;
use crate::buffer::{
    ADMINISTRATION, AssociationChange, AssociationRow, BufferError, Change, DeviceRow, LookRow, NewAudit,
};
use crate::config::{Link, Reads};
use crate::connector::Stop;
use crate::identity::Facts;

/// Messages of one burst are followed together.
const CALM: Duration = Duration::from_secs(2);
/// How often it is asked whether something is owed.
const IDLE: Duration = Duration::from_secs(1);
/// How often open associations are looked through.
const EVERY: Duration = Duration::from_secs(60);
const HOUR: i64 = 3_600_000_000;

impl Associations {
    /// Runs until told to stop.
    pub(in crate::gateway) async fn follow(self: std::sync::Arc<Self>, mut stop: Stop) {
        // What was owed when the box stopped is owed still.
        let mut calm = Duration::ZERO;
        let mut ended = tokio::time::Instant::now();
        loop {
            let owed = self.owed();
            if owed.is_empty() && ended.elapsed() < EVERY {
                tokio::select! {
                    () = stop.wait() => return,
                    () = tokio::time::sleep(IDLE) => {}
                }
                calm = CALM;
                continue;
            }
            if !owed.is_empty() {
                tokio::select! {
                    () = stop.wait() => return,
                    () = tokio::time::sleep(calm) => {}
                }
                self.changed();
            }
            ended = tokio::time::Instant::now();
            if let Err(fault) = self.end_open().await {
                tracing::error!(%fault, "Open associations could not be looked through.");
            }
            tokio::select! {
                // Nothing is lost: what is not done is owed when the box starts again.
                () = stop.wait() => return,
                () = self.look_at_owed() => {}
            }
            calm = CALM;
        }
    }

    fn owed(&self) -> Vec<LookRow> {
        self.reader.looks_now().unwrap_or_else(|fault| {
            tracing::error!(%fault, "The looks that are owed could not be read.");
            Vec::new()
        })
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
        let cause = Cause { who: word.into(), why: format!("the association had ended by {word}") };
        let look = cause.look(Some(row.device), until);
        self.buffer.change(vec![Change::Association(end), look, Change::Audit(audit)]).await?;
        self.changed();
        Ok(())
    }

    /// Does what is owed.
    pub(super) async fn look_at_owed(&self) {
        let _one_at_a_time = self.looking.lock().await;
        let owed = self.owed();
        let Some(through) = owed.last().map(|row| row.id) else { return };
        self.settle_sending().await;
        let mut done = Done::default();
        for (device, specimen, cause, since) in joined(owed, self.reach()) {
            let devices = match device {
                Some(device) => vec![device],
                None => self.devices_with(specimen.as_deref()).await,
            };
            for device in devices {
                self.look_again(&device, since, specimen.as_deref(), &cause, &mut done).await;
            }
        }
        if let Err(fault) = self.looked(through, None).await {
            tracing::error!(%fault, "That entries were looked at again could not be written down.");
        }
        if done.released + done.corrected + done.held > 0 {
            let Done { released, corrected, held, .. } = done;
            tracing::info!(released, corrected, held, "Entries were attributed anew after news.");
        }
        self.wake.notify_one();
    }

    pub(super) async fn looked(&self, through: i64, device: Option<String>) -> Result<(), BufferError> {
        self.buffer.change(vec![Change::Association(AssociationChange::Looked { through, device })]).await
    }

    /// How far back late words of hospital systems reach.
    fn reach(&self) -> i64 {
        let late = i64::from(self.witness.policy.late_h).saturating_mul(HOUR);
        self.clock.now().micros.saturating_sub(late)
    }

    /// Devices whose entries are looked at: with a specimen only those that may measure one.
    async fn devices_with(&self, specimen: Option<&str>) -> Vec<String> {
        let devices = self.reader.devices().await.unwrap_or_else(|fault| {
            tracing::error!(%fault, "The devices could not be read.");
            Vec::new()
        });
        let measures = |row: &DeviceRow| {
            // A hospital system's results are kept under its link.
            let link = if row.link.is_empty() { &row.key } else { &row.link };
            specimen.is_none() || self.understanding.link(link).is_none_or(|link| measures_specimens(&link))
        };
        devices.into_iter().filter(measures).map(|row| row.key).collect()
    }
}

fn measures_specimens(link: &Link) -> bool {
    match &link.reads {
        Reads::Profile(page) => page.measures_specimens(),
        Reads::BySender | Reads::System(_) => true,
    }
}

/// Looks of one kind are one, as far back as the earliest of them. What a person decides reaches back without end, what
/// hospital systems say `reach`.
fn joined(owed: Vec<LookRow>, reach: i64) -> Vec<(Option<String>, Option<String>, Cause, i64)> {
    let mut all: Vec<(Option<String>, Option<String>, Cause, i64)> = Vec::new();
    for LookRow { device, since, specimen, who, why, .. } in owed {
        let since = if who == ADMINISTRATION { since.max(reach) } else { since };
        let cause = Cause { who, why };
        let same = |one: &&mut (Option<String>, Option<String>, Cause, i64)| {
            one.0 == device && one.1 == specimen && one.2 == cause
        };
        match all.iter_mut().find(same) {
            Some(known) => known.3 = known.3.min(since),
            None => all.push((device, specimen, cause, since)),
        }
    }
    all
}
