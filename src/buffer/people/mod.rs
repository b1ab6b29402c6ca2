//! For who is who and where they lie: persons, their identifiers, merges, encounters and stays, as systems told them.
//!
//! Facts are kept as they were told, each with the entry it came from: `movement` is what was said of a person's ways,
//! `stay` is worked out of it anew whenever a fact is added. A merged person keeps what was theirs and answers with the
//! survivor, so that a merge can be taken back whole.

mod apply;
mod ask;
mod forget;
mod merge;
mod now;
mod read;
#[cfg(test)]
mod tests;
mod ways;

use std::fmt;

use crate::clock::Timestamp;
use crate::device::{Identifier, Person};
use crate::identity::{Place, Told, Visit, adt::Adt};

pub(super) use apply::apply;
pub use ask::Matching;
pub(super) use forget::forget;
pub use read::{look_at_people, look_at_person};

/// A person of the index.
#[derive(Clone, PartialEq, Eq)]
pub struct PersonRow {
    /// Of this box alone.
    pub id: i64,
    /// All identifiers in use, the leading one first.
    pub person: Person,
    /// When a source last said anything of them.
    pub told: Timestamp,
    /// Deleted at the source.
    pub removed: bool,
}

impl fmt::Debug for PersonRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PersonRow({})", self.id)
    }
}

/// Who an identifier belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    One(Box<PersonRow>),
    None,
    /// More than one person, or one whose number of the same issuer is another.
    Several,
}

/// A time in one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StayRow {
    pub person: i64,
    pub place: Place,
    pub visit: Option<Visit>,
    /// Microseconds since 1970.
    pub since: i64,
    /// The first microsecond after it; `None` while it lasts.
    pub until: Option<i64>,
    /// The bed is kept, the patient is not in it.
    pub on_leave: bool,
}

/// Two persons who were found to be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergeRow {
    pub id: i64,
    pub survivor: i64,
    pub gone: i64,
    pub at: Timestamp,
    /// The message that said so.
    pub entry: Option<i64>,
    /// When a person took it back, and who.
    pub undone: Option<(Timestamp, String)>,
}

/// A message that spoke of a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceRow {
    pub entry: i64,
    /// E.g. `A01`.
    pub event: String,
    pub told: Timestamp,
}

/// Everything about one person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersonDetail {
    pub row: PersonRow,
    /// Numbers that are used no longer, those of merged persons among them.
    pub retired: Vec<Identifier>,
    /// The latest first.
    pub stays: Vec<StayRow>,
    /// The latest first.
    pub merges: Vec<MergeRow>,
    /// The latest first.
    pub sources: Vec<SourceRow>,
}

/// How much is known and how old it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeopleCounts {
    /// Persons, merged and deleted ones aside.
    pub persons: u64,
    /// Beds and other places somebody is in.
    pub occupied: u64,
    /// When each source was last heard, by its name.
    pub heard: Vec<(String, Timestamp)>,
}

/// A change of the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeopleChange {
    /// A source said this. `entry`: the kept frame; the same frame twice changes nothing.
    Tell { entry: Option<i64>, source: String, said: Vec<Adt> },
    /// A person takes a merge back.
    Unmerge { merge: i64, by: String },
    /// A source answered, though it may have had no news.
    Heard { source: String },
}

/// As identifiers and names are compared: capitals, without blanks around.
fn folded(text: &str) -> String {
    text.trim().to_uppercase()
}

/// What a part becomes, when it is news at `told` against what was told at `known_told`.
fn newer<T>(part: &Told<T>, told: i64, known_told: i64) -> Option<Option<&T>> {
    (part.is_news() && told >= known_told).then(|| part.said())
}
