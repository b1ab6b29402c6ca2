//! What a system says of persons, before anybody knows whether it is news.

use std::fmt;
use std::sync::Arc;

use super::{Movement, Place};
use crate::device::Identifier;

/// One part of what is said of a person. HL7 2.5 §2.5.3: an empty field says nothing, `""` deletes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Told<T> {
    #[default]
    Unsaid,
    Deleted,
    Said(T),
}

impl<T> Told<T> {
    /// What was said, when something was.
    pub const fn said(&self) -> Option<&T> {
        match self {
            Self::Said(said) => Some(said),
            Self::Unsaid | Self::Deleted => None,
        }
    }

    /// Whether it changes anything.
    pub const fn is_news(&self) -> bool {
        !matches!(self, Self::Unsaid)
    }
}

/// A person as one message knows them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// All that were given, the leading one first. Never empty in a [`Fact`].
    pub identifiers: Vec<Identifier>,
    pub family: Told<Arc<str>>,
    pub given: Told<Vec<Arc<str>>>,
    /// `YYYY-MM-DD`, `YYYY-MM` or `YYYY`.
    pub birth_date: Told<Arc<str>>,
    /// FHIR administrative gender code.
    pub gender: Told<Arc<str>>,
}

impl fmt::Debug for Said {
    /// Counts only: nobody's name belongs into a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Said({} identifiers)", self.identifiers.len())
    }
}

/// A visit or encounter (PV1-19, else PID-18).
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Visit {
    pub system: String,
    pub number: String,
}

impl fmt::Debug for Visit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Visit(…)")
    }
}

/// One thing a message makes known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// There is such a person.
    Person(Said),
    /// The person moved, came or left, and what is known of them.
    Moved(Said, Movement),
    /// Those known by `old` are the same person as `person`; `old` is used no longer.
    Merged { person: Said, old: Vec<Identifier> },
    /// The person's numbers were changed: `old` is used no longer.
    Renumbered { person: Said, old: Vec<Identifier> },
    /// The visit `from` was told of another person or under another number: it is `to` of `person`.
    VisitMoved { person: Said, from: Visit, to: Visit },
    /// Two persons changed places, and it was not said to which.
    Swapped { first: Said, second: Said, at: i64 },
    /// The person was deleted at the source.
    Removed(Said),
    /// All that is known of where a visit took place: what was known before is replaced.
    VisitSeen { person: Said, visit: Visit, places: Vec<(Place, i64, Option<i64>)>, over: bool },
}
