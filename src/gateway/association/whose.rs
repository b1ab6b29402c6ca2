//! Whose the reports of a frame are, and how that is written down beside the entry.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::buffer::{Doubt, PersonText};
use crate::config::Link;
use crate::device::{Finding, Identifier, Person, Report};
use crate::firmware_profile::Decoded;
use crate::gateway::understand::Said;
use crate::identity::{Attribution, Facts, Part, Whom};
use crate::translate::Held;

/// Who says whose a report is.
pub(crate) trait Whose: Send + Sync {
    /// One part, or one for each person whose measurements are in the report.
    fn parts(&self, report: &Report, link: &Link, said: &Said<'_>, findings: &[Finding]) -> Vec<Part>;
    /// Whom these identifiers name; `None` when that cannot be told now.
    fn known(&self, person: &Person) -> Option<Whom>;
}

/// Whose the reports of one frame are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attributed {
    /// The reports as they are delivered; `None`: as they were decoded.
    pub reports: Option<Vec<Report>>,
    /// What was judged, of messages whose results are in resources and in no report.
    pub asked: Vec<Report>,
    /// One for each of them.
    pub attributions: Vec<Option<Attribution>>,
    /// The same as it is written down; `None` when the frame and the link alone decide.
    pub text: Option<String>,
    /// Why nobody can say, when nobody can.
    pub doubt: Option<Doubt>,
    /// The earliest and the latest time measured.
    pub times: (i64, i64),
}

/// One part as it is written down.
#[derive(Serialize, Deserialize)]
struct Written {
    /// Which report of the frame.
    #[serde(rename = "r", default, skip_serializing_if = "is_first")]
    report: usize,
    /// Which measurements of it; empty: all.
    #[serde(rename = "m", default, skip_serializing_if = "Vec::is_empty")]
    measurements: Vec<usize>,
    #[serde(rename = "p")]
    person: WrittenPerson,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WrittenPerson {
    Is(PersonText),
    /// Delivered without a patient.
    Nobody,
    /// As the frame and the link say.
    Said,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
const fn is_first(report: &usize) -> bool {
    *report == 0
}

/// Whom a report is delivered under, as it is written down.
#[derive(Clone, Debug)]
pub(in crate::gateway) enum Named {
    /// As the frame and the link say.
    Said,
    Nobody,
    Is(Arc<Person>),
}

/// One for each report; `None` when the frame and the link say it all.
pub(in crate::gateway) fn write(names: &[Named]) -> Option<String> {
    let written = |(report, name): (usize, &Named)| Written {
        report,
        measurements: Vec::new(),
        person: match name {
            Named::Said => WrittenPerson::Said,
            Named::Nobody => WrittenPerson::Nobody,
            Named::Is(person) => WrittenPerson::Is(PersonText::from(&**person)),
        },
    };
    if names.iter().all(|name| matches!(name, Named::Said)) {
        return None;
    }
    serde_json::to_string(&names.iter().enumerate().map(written).collect::<Vec<_>>()).ok()
}

/// How an entry is written down that was delivered as its frame and its link say.
pub(in crate::gateway) const AS_SAID: &str = "[]";

impl Attributed {
    /// Asks for every report of a frame.
    pub(in crate::gateway) fn ask(
        whose: Option<&Arc<dyn Whose>>,
        link: &Link,
        said: &Said<'_>,
        decoded: &Decoded,
    ) -> Self {
        let taken = decoded.reports.iter().flat_map(|report| &report.measurements).map(|m| m.taken.micros);
        let times = taken.fold((i64::MAX, i64::MIN), |(first, last), at| (first.min(at), last.max(at)));
        let times = if times.0 > times.1 { (said.received.micros, said.received.micros) } else { times };
        let Some(whose) = whose else { return Self { times, ..Self::default() } };
        let parts: Vec<Vec<Part>> =
            decoded.reports.iter().map(|report| whose.parts(report, link, said, &decoded.findings)).collect();
        if parts.iter().flatten().all(|part| part.attribution.is_none()) {
            return Self { times, ..Self::default() };
        }
        let whole = parts.iter().all(|parts| parts.len() == 1);
        let mut reports = Vec::new();
        let (mut attributions, mut written) = (Vec::new(), Vec::new());
        for (place, (report, parts)) in decoded.reports.iter().zip(parts).enumerate() {
            let many = parts.len() > 1;
            for part in parts {
                if !whole {
                    reports.push(crate::identity::cut(report, &part));
                }
                written.push(Written {
                    report: place,
                    measurements: if many { part.measurements } else { Vec::new() },
                    person: match &part.attribution {
                        Some(Attribution::Matched { whom, .. }) => match whom.person() {
                            Some(person) => WrittenPerson::Is(PersonText::from(&**person)),
                            None => WrittenPerson::Nobody,
                        },
                        Some(_) => WrittenPerson::Nobody,
                        None => WrittenPerson::Said,
                    },
                });
                attributions.push(part.attribution);
            }
        }
        let text = serde_json::to_string(&written).ok();
        let reports = (!whole).then_some(reports);
        Self { reports, attributions, text, times, ..Self::default() }
    }

    /// The reports of a frame as they are delivered, each with the person it is attributed to.
    pub(in crate::gateway) fn with_people(&self, decoded: &[Report]) -> Vec<Report> {
        let mut reports = self.reports.clone().unwrap_or_else(|| decoded.to_vec());
        for (report, attribution) in reports.iter_mut().zip(&self.attributions) {
            match attribution {
                Some(Attribution::Matched { whom, .. }) => {
                    report.person = whom.person().map(|one| Person::clone(one))
                }
                Some(_) => report.person = None,
                None => {}
            }
        }
        reports
    }

    /// As it was written down for an entry that was delivered. `None`: nobody can read it any more.
    pub(in crate::gateway) fn written(text: &str, decoded: &[Report]) -> Option<Self> {
        let parts: Vec<Written> = serde_json::from_str(text).ok()?;
        if parts.is_empty() {
            return Some(Self::default());
        }
        let (mut reports, mut attributions) = (Vec::new(), Vec::new());
        for part in parts {
            let report = decoded.get(part.report)?;
            let measurements = match part.measurements.is_empty() {
                true => (0..report.measurements.len()).collect(),
                false => part.measurements,
            };
            let attribution = match part.person {
                WrittenPerson::Is(person) => Some(Attribution::Matched {
                    whom: Whom::Stranger(Arc::new(Person::from(person))),
                    sources: Vec::new(),
                }),
                WrittenPerson::Nobody => Some(Attribution::Orphan),
                WrittenPerson::Said => None,
            };
            let part = Part { attribution: None, measurements };
            reports.push(crate::identity::cut(report, &part));
            attributions.push(attribution);
        }
        Some(Self { reports: Some(reports), attributions, text: Some(text.to_owned()), ..Self::default() })
    }
}

/// Whom each measurement is of when an entry is delivered as written, in order of report and measurement; `None` for
/// nobody. `None` as a whole when that cannot be told.
pub(super) fn people(
    text: &str,
    decoded: &[Report],
    bound: Option<&Identifier>,
    facts: &dyn Facts,
) -> Option<Vec<Option<Whom>>> {
    let parts: Vec<Written> = serde_json::from_str(text).ok()?;
    let said = |report: &Report| -> Option<Option<Whom>> {
        let own = report.person.as_ref().filter(|person| !person.identifiers.is_empty()).cloned();
        let bound = bound.map(|bound| Person { identifiers: vec![bound.clone()], ..Person::default() });
        match own.or(bound) {
            Some(person) => facts.whom(&person).ok().map(Some),
            None => Some(None),
        }
    };
    let mut all: Vec<Vec<Option<Whom>>> = Vec::with_capacity(decoded.len());
    for report in decoded {
        all.push(vec![said(report)?; report.measurements.len()]);
    }
    for part in parts {
        let (report, places) = (decoded.get(part.report)?, all.get_mut(part.report)?);
        let whom = match part.person {
            WrittenPerson::Is(person) => Some(facts.whom(&Person::from(person)).ok()?),
            WrittenPerson::Nobody => None,
            WrittenPerson::Said => said(report)?,
        };
        let every = part.measurements.is_empty();
        for (at, place) in places.iter_mut().enumerate() {
            if every || part.measurements.contains(&at) {
                place.clone_from(&whom);
            }
        }
    }
    Some(all.concat())
}

/// The gravest of the reasons for which nobody can say whose a frame is.
pub(in crate::gateway) fn doubt(held: &[Held]) -> Option<Doubt> {
    let of = |held: &Held| match held {
        Held::NoPatient { .. } => Some(Doubt::Orphan),
        Held::OtherPatient { .. } | Held::Conflict { .. } => Some(Doubt::Conflict),
        Held::Review { .. } => Some(Doubt::Review),
        _ => None,
    };
    let rank = |doubt: &Doubt| match doubt {
        Doubt::Orphan => 0,
        Doubt::Review => 1,
        Doubt::Conflict => 2,
    };
    held.iter().filter_map(of).max_by_key(rank)
}
