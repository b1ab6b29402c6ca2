//! From a report and what is known to the claims on it, and from those to whose each of its measurements is.

use std::sync::Arc;

use super::attribution::{Attribution, Claim, Source, Span, Unknown, Whom, attribute};
use super::place::Place;
use crate::device::{ClockSource, Identifier, Measurement, Moment, Offset, Person, Precision, Report};

/// Said of what is held for want of it: whoever opens the disk again finds these by it.
pub const UNREADABLE: &str = "who is who could not be read";

/// What is known could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{UNREADABLE}: {0}")]
pub struct Unavailable(pub String);

/// Somebody in a bed over a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bedded {
    pub whom: Whom,
    /// Microseconds since 1970.
    pub since: i64,
    /// Not included; `None` while it lasts.
    pub until: Option<i64>,
}

/// Where a device stood over a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    pub place: Place,
    pub since: i64,
    pub until: Option<i64>,
}

/// What is known, for whoever has to say whose an observation is.
pub trait Facts {
    /// Whether the patient index knows anybody.
    fn has_people(&self) -> Result<bool, Unavailable>;
    /// Whom these identifiers name: a person of the index, several, or a stranger.
    fn whom(&self, person: &Person) -> Result<Whom, Unavailable>;
    /// Everybody who was in a bed at some instant of `when`.
    fn in_bed(&self, place: &Place, when: Span) -> Result<Vec<Bedded>, Unavailable>;
    /// What was decided at the desk of a device, as claims; open ones as far as the site's rules let them go.
    fn associations(&self, device: &str) -> Result<Vec<Claim>, Unavailable>;
    /// Where a device stood.
    fn homes(&self, device: &str) -> Result<Vec<Home>, Unavailable>;
    /// The people of the orders for a specimen.
    fn ordered(&self, specimen: &str) -> Result<Vec<Person>, Unavailable>;
}

/// How far the times of a device can be believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// Microseconds by which its clock is, or may be, ahead of the true time; negative: behind. 0: it is right.
    pub ahead: i64,
    /// Its times were not believed and the time of receipt was taken: the measurement may be older by this much.
    pub older: i64,
    /// By this much the estimates are off.
    pub slack: i64,
    /// Its local times may be an hour later than taken: the clock was set back and the zone is not stated.
    pub twice: bool,
}

/// A report and what the question of its patient turns on.
#[derive(Clone, Debug)]
pub struct Asked<'a> {
    pub report: &'a Report,
    /// The device's key on this box.
    pub device: &'a str,
    /// The patient the link is bound to.
    pub bound: Option<&'a Identifier>,
    pub clock: Clock,
    pub unknown: Unknown,
}

/// Measurements of a report that are one person's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// `None`: nobody but the frame and the link has anything to say, and no index checks them.
    pub attribution: Option<Attribution>,
    /// Their places in the report, in order.
    pub measurements: Vec<usize>,
}

/// Whose the measurements of a report are: one part where they are all one person's, else one for each.
pub fn parts(asked: &Asked<'_>, facts: &dyn Facts) -> Vec<Part> {
    let spans: Vec<Span> = asked.report.measurements.iter().map(|m| span(m, &asked.clock)).collect();
    let everything = || (0..spans.len()).collect::<Vec<usize>>();
    let Some(whole) = spans.iter().copied().reduce(|all, one| all.with(one.from).with(one.to)) else {
        return vec![Part { attribution: None, measurements: Vec::new() }];
    };
    // What fails once is asked again: a file that could not be opened, a page that could not be read.
    let heard = heard(asked, whole, facts)
        .or_else(|_| heard(asked, whole, facts))
        .or_else(|_| heard(asked, whole, facts));
    let heard = match heard {
        Ok(heard) => heard,
        Err(fault) => {
            let why = format!("{fault}; release it when the box is well again");
            let attribution = Some(Attribution::Review { why });
            return vec![Part { attribution, measurements: everything() }];
        }
    };
    if !heard.beyond {
        return vec![Part { attribution: None, measurements: everything() }];
    }
    let mut parts: Vec<Part> = Vec::new();
    for (place, when) in spans.iter().enumerate() {
        let whose = attribute(&heard.claims, *when, asked.unknown, heard.indexed);
        match parts.iter_mut().find(|part| part.attribution.as_ref().is_some_and(|own| own.agrees(&whose))) {
            Some(part) => part.measurements.push(place),
            None => parts.push(Part { attribution: Some(whose), measurements: vec![place] }),
        }
    }
    parts
}

/// All claims on a report.
struct Heard {
    claims: Vec<Claim>,
    /// The patient index has people in it.
    indexed: bool,
    /// Somebody else than the frame and the link answers, or checks what they say.
    beyond: bool,
}

fn heard(asked: &Asked<'_>, whole: Span, facts: &dyn Facts) -> Result<Heard, Unavailable> {
    let Asked { report, device, bound, .. } = asked;
    let indexed = facts.has_people()?;
    let mut claims = Vec::new();
    // A name without a number may be somebody else's.
    let numbered = |person: &&Person| person.identifiers.iter().any(|id| !id.value.trim().is_empty());
    if let Some(person) = report.person.as_ref().filter(numbered) {
        claims.push(Claim::always(Source::DeviceReported, facts.whom(person)?));
    }
    if let Some(bound) = bound {
        let person = Person { identifiers: vec![(*bound).clone()], ..Person::default() };
        claims.push(Claim::always(Source::LinkBound, facts.whom(&person)?));
    }
    let own = claims.len();
    claims.extend(
        facts.associations(device)?.into_iter().filter(|claim| touches(claim.since, claim.until, whole)),
    );
    if let Some(specimen) = report.specimen.as_ref().and_then(|specimen| specimen.identifier.as_deref()) {
        for person in facts.ordered(specimen)?.iter().filter(numbered) {
            claims.push(Claim::always(Source::Specimen, facts.whom(person)?));
        }
    }
    if indexed {
        beds(asked, whole, facts, &mut claims)?;
    }
    let beyond = indexed || claims.len() > own;
    Ok(Heard { claims, indexed, beyond })
}

/// Who is in the bed the device says it is at, and in the one it is registered at.
fn beds(
    asked: &Asked<'_>,
    whole: Span,
    facts: &dyn Facts,
    claims: &mut Vec<Claim>,
) -> Result<(), Unavailable> {
    let said = asked.report.place.as_ref().map(Place::from).filter(|place| *place != Place::default());
    let stated = said.map(|place| (place, None, None));
    let homes =
        facts.homes(asked.device)?.into_iter().filter(|home| touches(Some(home.since), home.until, whole));
    let homes = homes.map(|home| (home.place, Some(home.since), home.until));
    for (place, since, until) in stated.into_iter().chain(homes) {
        for bedded in facts.in_bed(&place, whole)? {
            claims.push(Claim {
                source: Source::Bed,
                whom: bedded.whom,
                since: Some(since.map_or(bedded.since, |since| since.max(bedded.since))),
                until: [until, bedded.until].into_iter().flatten().min(),
                overrules: false,
            });
        }
    }
    Ok(())
}

fn touches(since: Option<i64>, until: Option<i64>, when: Span) -> bool {
    since.is_none_or(|since| since <= when.to) && until.is_none_or(|until| until > when.from)
}

/// When a measurement was made, as surely as can be told.
fn span(measurement: &Measurement, clock: &Clock) -> Span {
    let first = stretch(&measurement.taken, clock);
    match &measurement.until {
        Some(until) => {
            let last = stretch(until, clock);
            first.with(last.from).with(last.to)
        }
        None => first,
    }
}

fn stretch(moment: &Moment, clock: &Clock) -> Span {
    const SECOND: i64 = 1_000_000;
    const HOUR: i64 = 3_600 * SECOND;
    const DAY: i64 = 24 * HOUR;
    let at = moment.micros;
    if moment.source == ClockSource::Receipt {
        return Span { from: at.saturating_sub(clock.older), to: at };
    }
    let mut to = at.saturating_add(match moment.precision {
        Precision::Fraction => 0,
        Precision::Second => SECOND - 1,
        Precision::Minute => 60 * SECOND - 1,
        Precision::Day => DAY - 1,
        Precision::Month => 31 * DAY,
        Precision::Year => 366 * DAY,
    });
    if clock.twice && matches!(moment.offset, Offset::Assumed(_)) {
        to = to.saturating_add(HOUR);
    }
    let stated = Span { from: at, to };
    if clock.ahead == 0 {
        return stated;
    }
    let true_times = Span { from: at.saturating_sub(clock.ahead), to: to.saturating_sub(clock.ahead) };
    let both = stated.with(true_times.from).with(true_times.to);
    Span { from: both.from.saturating_sub(clock.slack), to: both.to.saturating_add(clock.slack) }
}

/// The report as one part of it reads.
pub(crate) fn cut(report: &Report, part: &Part) -> Report {
    let chosen = part.measurements.iter().filter_map(|place| report.measurements.get(*place)).cloned();
    Report {
        device: report.device.clone(),
        person: report.person.clone(),
        place: report.place.clone(),
        specimen: report.specimen.clone(),
        orders: report.orders.clone(),
        measurements: chosen.collect(),
    }
}

/// A stranger by what is said of them.
pub(crate) fn stranger(person: &Person) -> Whom {
    Whom::Stranger(Arc::new(person.clone()))
}

#[cfg(test)]
#[path = "claims_tests.rs"]
mod tests;
