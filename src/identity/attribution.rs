//! Whose an observation is: all that answer are heard, at the observation's own time, and they must agree.
//!
//! The device's own word, the link's binding, the bed, an association made at the desk and the specimen's order are
//! claims of one kind, each with the span of time it holds for (IHE DEC PCIM: a device-patient association). An
//! observation's time is a span too: as wide as its precision, wider where the device's clock is not believed. Where the
//! answer is not the same over all of it, a person must look; nothing is ever decided by which claim is stronger, but
//! that a person's ruling, made with a reason, stands above what devices and beds say.

use std::fmt;
use std::sync::Arc;

use super::number::{has_issuer, is_personal};
use crate::device::{Identifier, Person};

/// Who says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// The identifier in the frame.
    DeviceReported,
    /// The patient a link is bound to by configuration.
    LinkBound,
    /// Who is in the bed the device says, or stands at, by the patient index.
    Bed,
    /// An association typed at the desk.
    Manual,
    /// An association made at the desk by scanning.
    Scanned,
    /// The order behind the specimen's barcode.
    Specimen,
}

impl Source {
    /// What people read.
    pub const fn words(self) -> &'static str {
        match self {
            Self::DeviceReported => "the device's own patient",
            Self::LinkBound => "the link's patient",
            Self::Bed => "the patient in the bed",
            Self::Manual | Self::Scanned => "the association made at the desk",
            Self::Specimen => "the order of the specimen",
        }
    }

    /// The word in JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::DeviceReported => "device",
            Self::LinkBound => "link",
            Self::Bed => "bed",
            Self::Manual => "manual",
            Self::Scanned => "scanned",
            Self::Specimen => "specimen",
        }
    }
}

/// Whom a claim names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whom {
    /// A person of the patient index; where people were merged, the one who stays.
    Known { id: i64, person: Arc<Person> },
    /// A person by identifiers the index does not hold.
    Stranger(Arc<Person>),
    /// Several people of the index answer to the identifiers.
    Several,
}

impl Whom {
    /// What is known of the person.
    pub const fn person(&self) -> Option<&Arc<Person>> {
        match self {
            Self::Known { person, .. } | Self::Stranger(person) => Some(person),
            Self::Several => None,
        }
    }

    /// Whether both name one person. Identifiers decide, never names.
    pub fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Known { id: a, .. }, Self::Known { id: b, .. }) => a == b,
            _ => match (self.person(), other.person()) {
                (Some(a), Some(b)) => share(&a.identifiers, &b.identifiers),
                _ => false,
            },
        }
    }
}

/// One answer to "whose?".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub source: Source,
    pub whom: Whom,
    /// Microseconds since 1970 from which it holds; `None`: always did.
    pub since: Option<i64>,
    /// Until when it holds, not included; `None`: it still does.
    pub until: Option<i64>,
    /// A person ruled so, against what others say, and gave a reason.
    pub overrules: bool,
}

impl Claim {
    /// A claim that holds at any time.
    pub const fn always(source: Source, whom: Whom) -> Self {
        Self { source, whom, since: None, until: None, overrules: false }
    }

    /// Whether it holds at `at`.
    pub fn holds(&self, at: i64) -> bool {
        self.since.is_none_or(|since| since <= at) && self.until.is_none_or(|until| at < until)
    }
}

/// When an observation was made: at some instant from `from` to `to`, both included, in microseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub from: i64,
    pub to: i64,
}

impl Span {
    /// An instant nobody doubts.
    pub const fn at(instant: i64) -> Self {
        Self { from: instant, to: instant }
    }

    /// The least span that holds both.
    pub fn with(self, instant: i64) -> Self {
        Self { from: self.from.min(instant), to: self.to.max(instant) }
    }
}

/// What the site wants of identifiers the patient index does not hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unknown {
    /// They are delivered as they were said.
    #[default]
    Deliver,
    /// A person looks first.
    Hold,
}

/// Whose an observation is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attribution {
    /// All that answered name this person.
    Matched { whom: Whom, sources: Vec<Source> },
    /// Nobody answered.
    Orphan,
    /// Those that answered differ. `why` holds no patient data.
    Conflict { why: String },
    /// It cannot be told, and a person can. `why` holds no patient data.
    Review { why: String },
}

impl Attribution {
    /// Whether both come to the same: the same person, or the same kind of doubt.
    pub fn agrees(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Matched { whom: a, .. }, Self::Matched { whom: b, .. }) => a.same(b),
            (Self::Orphan, Self::Orphan)
            | (Self::Conflict { .. }, Self::Conflict { .. })
            | (Self::Review { .. }, Self::Review { .. }) => true,
            _ => false,
        }
    }
}

impl fmt::Display for Attribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Matched { .. } => "matched",
            Self::Orphan => "orphan",
            Self::Conflict { .. } => "conflict",
            Self::Review { .. } => "review",
        })
    }
}

/// Hears every claim that holds at some instant of `when`. `indexed`: the patient index has people in it.
pub fn attribute(claims: &[Claim], when: Span, unknown: Unknown, indexed: bool) -> Attribution {
    let inside = |at: &i64| *at > when.from && *at <= when.to;
    let edges = claims.iter().flat_map(|claim| [claim.since, claim.until]).flatten().filter(inside);
    let mut found: Option<Attribution> = None;
    for at in std::iter::once(when.from).chain(edges) {
        let here = at_instant(claims, at, unknown, indexed);
        match &found {
            None => found = Some(here),
            Some(first) if first.agrees(&here) => {}
            Some(_) => {
                let why =
                    "the time of the measurement is not sure enough: within it the device changed hands";
                return Attribution::Review { why: why.into() };
            }
        }
    }
    found.unwrap_or(Attribution::Orphan)
}

fn at_instant(claims: &[Claim], at: i64, unknown: Unknown, indexed: bool) -> Attribution {
    let mut heard: Vec<&Claim> = claims.iter().filter(|claim| claim.holds(at)).collect();
    if heard.iter().any(|claim| claim.overrules) {
        heard.retain(|claim| claim.overrules);
    }
    if let Some(claim) = heard.iter().find(|claim| claim.whom == Whom::Several) {
        let why =
            format!("{} has a number that several people of the patient index have", claim.source.words());
        return Attribution::Conflict { why };
    }
    let Some(first) = heard.first() else { return Attribution::Orphan };
    for (place, claim) in heard.iter().enumerate() {
        // Each with each: a number without an issuer may agree with two people who are not one.
        if let Some(other) = heard.iter().skip(place + 1).find(|other| !claim.whom.same(&other.whom)) {
            return Attribution::Conflict { why: difference(claim.source, other.source) };
        }
    }
    let known = heard.iter().find(|claim| matches!(claim.whom, Whom::Known { .. }));
    if known.is_none() && indexed && unknown == Unknown::Hold {
        let why = format!("{} is not in the patient index", first.source.words());
        return Attribution::Review { why };
    }
    let mut sources: Vec<Source> = heard.iter().map(|claim| claim.source).collect();
    sources.sort_unstable();
    sources.dedup();
    Attribution::Matched { whom: known.unwrap_or(first).whom.clone(), sources }
}

fn difference(a: Source, b: Source) -> String {
    match (a, b) {
        (Source::Bed, Source::Bed) => "two patients are in one bed".into(),
        (a, b) if a.words() == b.words() => format!("two answers differ: {} twice", a.words()),
        (a, b) => format!("{} and {} are not the same person", a.words(), b.words()),
    }
}

/// Whether two lists of identifiers have one in common. Numbers of visits and accounts may be a family's: they count only
/// where a side has no others.
pub fn share(a: &[Identifier], b: &[Identifier]) -> bool {
    let own = |all: &[Identifier]| -> Vec<Identifier> {
        let personal = |id: &&Identifier| is_personal(id.kind.as_deref()) && !id.value.trim().is_empty();
        let chosen: Vec<Identifier> = all.iter().filter(personal).cloned().collect();
        if chosen.is_empty() { all.to_vec() } else { chosen }
    };
    let (a, b) = (own(a), own(b));
    a.iter().any(|one| b.iter().any(|other| same_identifier(one, other)))
}

/// Whether two identifiers are one: the same value from the same issuer, or from one that only one of them names.
pub fn same_identifier(a: &Identifier, b: &Identifier) -> bool {
    let (value, other) = (a.value.trim(), b.value.trim());
    !value.is_empty()
        && value == other
        && (a.system == b.system || !has_issuer(&a.system) || !has_issuer(&b.system))
}

#[cfg(test)]
#[path = "attribution_tests.rs"]
mod tests;
