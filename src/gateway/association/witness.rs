//! What the box knows about devices, beds and people, read where it is kept, for the question whose a report is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::ending::ending;
use super::whose::Whose;
use crate::buffer::{AssociationRow, BufferError, HomeRow, Lookup, PersonRow, Reader};
use crate::clock::Timestamp;
use crate::config::Link;
use crate::config::association::Policy;
use crate::device::{Device, Finding, Identifier, Person, Report};
use crate::gateway::understand::Said;
use crate::identity::{
    Asked, Bedded, Claim, Clock, Facts, Home, Issuers, Pace, Part, Place, Span, Unavailable, Whom, parts,
    stranger,
};

/// Devices whose clocks are remembered.
const CLOCKS_MAX: usize = 4_096;

/// Reads facts for [`parts`].
pub(crate) struct Witness {
    pub(crate) reader: Reader,
    pub(crate) policy: Policy,
    /// By what names issuers go at this site.
    pub(crate) issuers: Issuers,
    /// Microseconds a clock may be off before it is called wrong.
    pub(crate) clock_limit: i64,
    pub(crate) clocks: Mutex<HashMap<String, Pace>>,
}

impl Whose for Witness {
    fn parts(&self, report: &Report, link: &Link, said: &Said<'_>, findings: &[Finding]) -> Vec<Part> {
        self.of(report, said.link, link.patient.as_ref(), said.received, findings)
    }

    fn known(&self, person: &Person) -> Option<Whom> {
        self.whom(person).ok()
    }
}

impl Witness {
    pub(crate) fn new(reader: Reader, policy: Policy, issuers: Issuers, clock_limit_s: u32) -> Self {
        let clock_limit = i64::from(clock_limit_s).saturating_mul(1_000_000);
        Self { reader, policy, issuers, clock_limit, clocks: Mutex::default() }
    }

    /// Whose the measurements of a report are that was received then over `link`.
    pub(crate) fn of(
        &self,
        report: &Report,
        link: &str,
        bound: Option<&Identifier>,
        received: Timestamp,
        findings: &[Finding],
    ) -> Vec<Part> {
        // What a hospital system tells of nobody's device is its link's.
        let unnamed = report.device == Device::default();
        let device = if unnamed { link.to_owned() } else { report.device.key(link) };
        // Times of a laboratory's report are of no one clock.
        let clock = match unnamed {
            true => Clock::default(),
            false => self.clock(&device, report, received, findings),
        };
        parts(&Asked { report, device: &device, bound, clock, unknown: self.policy.unknown }, self)
    }

    fn clock(&self, device: &str, report: &Report, received: Timestamp, findings: &[Finding]) -> Clock {
        let has = |codes: &[&str]| findings.iter().any(|finding| codes.contains(&finding.code));
        let older =
            if has(&["clock-skew", "future-time", "impossible-time"]) { self.policy.older() } else { 0 };
        let mut clocks = self.clocks.lock().unwrap_or_else(PoisonError::into_inner);
        if clocks.len() >= CLOCKS_MAX && !clocks.contains_key(device) {
            clocks.clear();
        }
        let pace = clocks.entry(device.to_owned()).or_default();
        pace.take(report, received);
        let judged = pace.judge(report, received, self.clock_limit);
        Clock { older, twice: has(&["ambiguous-time"]), ..judged }
    }

    /// An association as a claim: an open one ends by what became of the patient, or after the site's longest time.
    fn claim(&self, row: &AssociationRow) -> Result<Claim, Unavailable> {
        let whom = self.whom(&row.person)?;
        let until = match row.until {
            Some(until) => Some(until),
            None => self.end_of(row, &whom)?.map(|(until, _)| until),
        };
        Ok(Claim { source: row.source(), whom, since: Some(row.since), until, overrules: row.overrules })
    }

    /// When an open association ended by itself, and by what.
    pub(super) fn end_of(
        &self,
        row: &AssociationRow,
        whom: &Whom,
    ) -> Result<Option<(i64, &'static str)>, Unavailable> {
        let stays = match whom {
            Whom::Known { id, .. } if !self.policy.end_on.is_empty() => {
                self.reader.stays_of_now(*id).map_err(unavailable)?
            }
            _ => Vec::new(),
        };
        Ok(ending(row.since, &stays, &self.policy))
    }
}

fn known(row: PersonRow) -> Whom {
    Whom::Known { id: row.id, person: Arc::new(row.person) }
}

impl Facts for Witness {
    fn has_people(&self) -> Result<bool, Unavailable> {
        self.reader.has_people_now().map_err(unavailable)
    }

    fn whom(&self, person: &Person) -> Result<Whom, Unavailable> {
        let identifiers: Vec<Identifier> =
            person.identifiers.iter().map(|identifier| self.issuers.canonical(identifier)).collect();
        Ok(match self.reader.person_by_now(&identifiers).map_err(unavailable)? {
            Lookup::One(row) => known(*row),
            Lookup::Several => Whom::Several,
            Lookup::None => stranger(person),
        })
    }

    fn in_bed(&self, place: &Place, when: Span) -> Result<Vec<Bedded>, Unavailable> {
        let rows = self.reader.in_bed_between_now(place, when.from, when.to).map_err(unavailable)?;
        // Whoever is on leave keeps the bed and is not on the monitor beside it.
        let there = rows.into_iter().filter(|(_, stay)| !stay.on_leave);
        Ok(there
            .map(|(row, stay)| Bedded { whom: known(row), since: stay.since, until: stay.until })
            .collect())
    }

    fn associations(&self, device: &str) -> Result<Vec<Claim>, Unavailable> {
        let rows = self.reader.associations_now(device).map_err(unavailable)?;
        rows.iter().map(|row| self.claim(row)).collect()
    }

    fn homes(&self, device: &str) -> Result<Vec<Home>, Unavailable> {
        let rows = self.reader.homes_now(device).map_err(unavailable)?;
        let home = |row: HomeRow| Home { place: Place::from(&row.place), since: row.since, until: row.until };
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
