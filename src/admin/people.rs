//! What the desk shows of patients, their beds and how old that knowledge is. The gateway answers.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::command::Refusal;
use super::json::{rfc3339, rfc3339_or_null};
use crate::buffer::NewAudit;
use crate::clock::Timestamp;
use crate::connector::Later;

/// The patient index as the desk sees it.
pub trait People: Send + Sync {
    /// Persons whose name, number or birth date holds every word of `text`; those who are in a bed first.
    fn search(&self, text: String, limit: u32) -> Later<'_, Result<Search, Refusal>>;
    /// Everything about one person, or about who answers for them since a merge.
    fn person(&self, id: i64) -> Later<'_, Result<PersonDetail, Refusal>>;
    /// Wards and beds with who is in them.
    fn places(&self) -> Later<'_, Result<Places, Refusal>>;
    /// A person takes a merge back; results that went out on one of the two go out anew where they are the other's.
    fn unmerge(&self, merge: i64, audit: NewAudit) -> Later<'_, Result<Unmerged, Refusal>>;
}

/// What taking a merge back came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Unmerged {
    /// Entries of that time that are no longer kept: what was delivered of them stays as it is.
    pub beyond: u64,
}

/// Who is looked for. Not in an address, where logs would keep it.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PeopleSearch)]
pub struct SearchWanted {
    #[serde(default)]
    pub text: String,
    /// 50 when it is not said.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 200)]
    pub limit: Option<u32>,
}

/// Persons found, and what the answer rests on.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = PeopleFound)]
pub struct Search {
    pub people: Vec<PersonView>,
    pub known: Known,
}

/// How much is known, and since when nobody said anything new.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = PeopleKnown)]
pub struct Known {
    pub persons: u64,
    pub occupied: u64,
    /// Each source of the index with the time it was heard last: a link's name, or `fhir`.
    pub sources: Vec<SourceView>,
}

/// A source of the index.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = PeopleSource)]
pub struct SourceView {
    pub name: String,
    #[serde(serialize_with = "rfc3339")]
    pub heard: Timestamp,
}

/// A person.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = IndexedPerson)]
pub struct PersonView {
    pub id: i64,
    pub family: Option<String>,
    pub given: Option<String>,
    pub birth_date: Option<String>,
    pub gender: Option<String>,
    /// The leading one first.
    pub identifiers: Vec<NumberView>,
    /// Where they are now.
    pub place: Option<PlaceView>,
    /// When a source last said anything of them.
    #[serde(serialize_with = "rfc3339")]
    pub told: Timestamp,
    /// Deleted at the source.
    pub removed: bool,
}

/// An identifier.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Identifier)]
pub struct NumberView {
    pub system: String,
    pub value: String,
    /// HL7 table 0203, e.g. `MR`.
    pub kind: Option<String>,
    /// Used no longer; it still finds the person.
    pub retired: bool,
}

/// A place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Place)]
pub struct PlaceView {
    pub facility: Option<String>,
    pub point_of_care: Option<String>,
    pub room: Option<String>,
    pub bed: Option<String>,
    /// For people: `ICU 4-2`.
    pub label: String,
}

/// A person with their history.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = IndexedPersonDetail)]
pub struct PersonDetail {
    #[serde(flatten)]
    pub person: PersonView,
    /// The latest first.
    pub stays: Vec<StayView>,
    /// The latest first.
    pub merges: Vec<MergeView>,
    /// The messages that spoke of them, the latest first.
    pub sources: Vec<EntryView>,
}

/// A time in one place.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Stay)]
pub struct StayView {
    pub place: PlaceView,
    /// Number of the visit.
    pub visit: Option<String>,
    #[serde(serialize_with = "rfc3339")]
    pub since: Timestamp,
    #[serde(serialize_with = "rfc3339_or_null")]
    pub until: Option<Timestamp>,
    /// The bed is kept, the patient is not in it.
    pub on_leave: bool,
}

/// Two persons who were found to be one.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Merge)]
pub struct MergeView {
    pub id: i64,
    pub survivor: i64,
    pub gone: i64,
    #[serde(serialize_with = "rfc3339")]
    pub at: Timestamp,
    pub entry: Option<i64>,
    #[serde(serialize_with = "rfc3339_or_null")]
    pub undone: Option<Timestamp>,
    pub undone_by: Option<String>,
}

/// A message that spoke of a person.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = ToldBy)]
pub struct EntryView {
    pub entry: i64,
    /// E.g. `A01`.
    pub event: String,
    #[serde(serialize_with = "rfc3339")]
    pub told: Timestamp,
}

/// All places somebody is in.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Places {
    /// By facility, ward, room and bed.
    pub places: Vec<Occupied>,
    pub known: Known,
}

/// A place and who is in it; two patients in one bed are a conflict.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = OccupiedPlace)]
pub struct Occupied {
    #[serde(flatten)]
    pub place: PlaceView,
    pub occupants: Vec<Occupant>,
    pub conflict: bool,
}

/// A patient in a place.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Occupant {
    pub id: i64,
    /// The leading identifier.
    pub number: Option<String>,
    pub family: Option<String>,
    pub given: Option<String>,
    pub birth_date: Option<String>,
    #[serde(serialize_with = "rfc3339")]
    pub since: Timestamp,
    pub on_leave: bool,
}
