//! What goes out again under another patient: the right resources, those that were there before as `entered-in-error`,
//! and a Provenance of both.

use std::collections::HashSet;

use super::Associations;
use super::whose::{AS_SAID, people};
use crate::buffer::{AttributedRow, OnwardRow};
use crate::config::association::OnMerge;
use crate::fhir::Resource;
use crate::gateway::by_template::is_result;
use crate::gateway::understand::{Meaning, Said, Understood};
use crate::translate::Correction;

/// What goes out of an entry that has been out before.
#[derive(Debug, Default)]
pub(in crate::gateway) struct Outgoing {
    pub(in crate::gateway) resources: Vec<Resource>,
    /// Under whom, as it is written down.
    pub(in crate::gateway) attributed: Option<String>,
    /// Under whom it was before, which the server is to take back.
    pub(in crate::gateway) takes_back: Vec<String>,
    /// Nobody can say whose it is now: it is held with this reason once the server has taken it back.
    pub(in crate::gateway) then_held: Option<String>,
}

impl Associations {
    /// What becomes of an entry that was sent before, to the main server or to the destination `at`. `None`: it goes as it is
    /// understood, or is held as it is.
    ///
    /// # Errors
    /// A sentence: what it was delivered under cannot be told now.
    pub(in crate::gateway) fn outgoing(
        &self,
        id: i64,
        at: Option<&str>,
        said: &Said<'_>,
        understood: &Understood,
    ) -> Result<Option<Outgoing>, String> {
        let rows = match at {
            None => self.reader.attributed_now(id),
            Some(destination) => self.reader.attributed_at_now(destination, id),
        };
        let rows = rows.map_err(|fault| fault.to_string())?;
        let standing: Vec<&str> = match rows.is_empty() {
            true => vec![AS_SAID],
            false => {
                rows.iter().filter(|row| row.withdrawn.is_none()).map(|row| row.parts.as_str()).collect()
            }
        };
        let back_again = rows.iter().any(|row| row.withdrawn.is_some());
        let whose = understood.whose.as_ref();
        let told = whose.and_then(|whose| whose.text.as_deref()).unwrap_or(AS_SAID);
        let (new, then_held): (&str, _) = match &understood.meaning {
            Meaning::Deliver { .. } => (told, None),
            Meaning::Hold(reason) if whose.is_some_and(|whose| whose.doubt.is_some()) => {
                ("", Some(reason.clone()))
            }
            _ => return Ok(None),
        };
        let same = |old: &&&str| then_held.is_none() && self.is_same(old, new, said, understood);
        let new = standing
            .iter()
            .find(|old| **old == new)
            .or_else(|| standing.iter().find(same))
            .copied()
            .unwrap_or(new);
        let takes_back: Vec<&str> = standing.into_iter().filter(|old| *old != new).collect();
        if takes_back.is_empty() && !back_again && new == told {
            return Ok(None);
        }
        if takes_back.is_empty() && then_held.is_some() {
            return Ok(None);
        }
        let mut resources = match (&understood.meaning, new == told) {
            (Meaning::Deliver { resources }, true) => resources.clone(),
            (Meaning::Deliver { .. }, false) => self.understanding.under(said, new, false)?,
            _ => Vec::new(),
        };
        if back_again {
            // It may have been taken back: "create it unless it exists" would leave it so.
            resources.iter_mut().filter(|one| is_result(one.kind)).for_each(|one| one.replaces = true);
        }
        self.take_back(&takes_back, said, &rows, &mut resources)?;
        let takes_back = takes_back.into_iter().map(ToOwned::to_owned).collect();
        let attributed = (then_held.is_none()).then(|| new.to_owned());
        Ok(Some(Outgoing { resources, attributed, takes_back, then_held }))
    }

    /// Those of them that were told under somebody else than the entry is delivered under now.
    pub(super) fn wrong_onward(
        &self,
        said: &Said<'_>,
        understood: &Understood,
        mut onward: Vec<OnwardRow>,
    ) -> Vec<OnwardRow> {
        let whose = understood.whose.as_ref();
        let told = whose.and_then(|whose| whose.text.as_deref()).unwrap_or(AS_SAID);
        match &understood.meaning {
            Meaning::Deliver { .. } => {
                onward.retain(|row| row.parts != told && !self.is_same(&row.parts, told, said, understood));
            }
            Meaning::Hold(_) if whose.is_some_and(|whose| whose.doubt.is_some()) => {}
            _ => onward.clear(),
        }
        onward
    }

    /// Adds what was delivered before and is not any more, and a Provenance.
    fn take_back(
        &self,
        olds: &[&str],
        said: &Said<'_>,
        rows: &[AttributedRow],
        resources: &mut Vec<Resource>,
    ) -> Result<(), String> {
        let mut ids: HashSet<String> = resources.iter().map(|one| one.id.clone()).collect();
        let mut gone = Vec::new();
        for old in olds {
            for one in self.understanding.under(said, old, true)? {
                if ids.insert(one.id.clone()) {
                    if is_result(one.kind) && one.replaces {
                        gone.push(one.id.clone());
                    }
                    resources.push(one);
                }
            }
        }
        if gone.is_empty() {
            return Ok(());
        }
        let row = rows.iter().find(|row| olds.contains(&row.parts.as_str()));
        let (who, why) = row.and_then(|row| row.cause.clone()).unwrap_or_else(|| {
            ("Bedside".into(), "other facts about the patient were known when it was delivered again".into())
        });
        let key = format!(
            "{}|{}|{}",
            crate::gateway::understand::hex(&said.sha256),
            said.received.micros,
            olds.join("|")
        );
        let at = row.map_or_else(|| self.clock.now(), |row| row.caused.unwrap_or(row.decided));
        let correction = Correction { who: &who, why: &why, at, key: &key };
        let targets: Vec<&Resource> = resources.iter().filter(|one| is_result(one.kind)).collect();
        let provenance = self.understanding.provenance(&targets, &correction)?;
        resources.push(provenance);
        resources.sort_by_key(Resource::rank);
        Ok(())
    }

    /// Whether both come to the same people, so that nothing need be taken back: merged numbers are one person, unless
    /// the site wants results of old numbers under the new one.
    fn is_same(&self, old: &str, new: &str, said: &Said<'_>, understood: &Understood) -> bool {
        let Some(link) =
            self.understanding.link(said.link).filter(|_| self.witness.policy.on_merge == OnMerge::Leave)
        else {
            return false;
        };
        let asked = understood.whose.as_ref().map(|whose| whose.asked.as_slice()).unwrap_or_default();
        let reports = if asked.is_empty() { understood.reports.as_slice() } else { asked };
        let of = |text: &str| people(text, reports, link.patient.as_ref(), &*self.witness);
        match (of(old), of(new)) {
            (Some(old), Some(new)) => {
                let one = |pair: (&Option<_>, &Option<_>)| match pair {
                    (None, None) => true,
                    (Some(a), Some(b)) => crate::identity::Whom::same(a, b),
                    _ => false,
                };
                old.len() == new.len() && old.iter().zip(&new).all(one)
            }
            _ => false,
        }
    }
}
