//! What the box knows about devices, beds and people, read where it is kept, for the question whose a report is.

use std::sync::Arc;

use super::whose::Whose;
use crate::buffer::{AssociationRow, BufferError, Reader};
use crate::config::Link;
use crate::config::association::Policy;
use crate::device::{Finding, Person, Report};
use crate::gateway::understand::Said;
use crate::identity::{
    Asked, Bedded, Claim, Clock, Facts, Home, Part, Place, Span, Unavailable, Whom, parts, stranger,
};

/// Reads facts for [`parts`].
pub(super) struct Witness {
    pub(super) reader: Reader,
    pub(super) policy: Policy,
}

impl Whose for Witness {
    fn parts(&self, report: &Report, link: &Link, said: &Said<'_>, findings: &[Finding]) -> Vec<Part> {
        let device = report.device.key(said.link);
        let asked = Asked {
            report,
            device: &device,
            bound: link.patient.as_ref(),
            clock: self.clock(findings),
            unknown: self.policy.unknown,
        };
        parts(&asked, self)
    }
}

impl Witness {
    fn clock(&self, findings: &[Finding]) -> Clock {
        let has = |codes: &[&str]| findings.iter().any(|finding| codes.contains(&finding.code));
        let older =
            if has(&["clock-skew", "future-time", "impossible-time"]) { self.policy.older() } else { 0 };
        Clock { older, twice: has(&["ambiguous-time"]), ..Clock::default() }
    }

    /// An association as a claim: an open one ends by itself after the site's longest time.
    fn claim(&self, row: &AssociationRow) -> Result<Claim, Unavailable> {
        let timeout = self.policy.timeout().map(|longest| row.since.saturating_add(longest));
        Ok(Claim {
            source: row.source(),
            whom: self.whom(&row.person)?,
            since: Some(row.since),
            until: row.until.or(timeout),
            overrules: row.overrules,
        })
    }
}

impl Facts for Witness {
    fn has_people(&self) -> Result<bool, Unavailable> {
        Ok(false)
    }

    fn whom(&self, person: &Person) -> Result<Whom, Unavailable> {
        Ok(stranger(person))
    }

    fn in_bed(&self, _place: &Place, _when: Span) -> Result<Vec<Bedded>, Unavailable> {
        Ok(Vec::new())
    }

    fn associations(&self, device: &str) -> Result<Vec<Claim>, Unavailable> {
        let rows = self.reader.associations_now(device).map_err(unavailable)?;
        rows.iter().map(|row| self.claim(row)).collect()
    }

    fn homes(&self, device: &str) -> Result<Vec<Home>, Unavailable> {
        let rows = self.reader.homes_now(device).map_err(unavailable)?;
        let home = |row: crate::buffer::HomeRow| Home {
            place: Place::from(&row.place),
            since: row.since,
            until: row.until,
        };
        Ok(rows.into_iter().map(home).collect())
    }

    fn ordered(&self, specimen: &str) -> Result<Vec<Person>, Unavailable> {
        self.reader.people_of_specimen_now(specimen).map_err(unavailable)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn unavailable(fault: BufferError) -> Unavailable {
    Unavailable(fault.to_string())
}

/// For `Understanding`.
pub(super) fn whose(witness: &Arc<Witness>) -> Arc<dyn Whose> {
    Arc::clone(witness) as Arc<dyn Whose>
}
