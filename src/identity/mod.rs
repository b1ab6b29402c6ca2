//! Who is who and where they lie: persons, their identifiers and their beds over time, as hospital systems tell it; and
//! whose an observation is.
//!
//! Pure: what a message says is turned into [`Fact`]s ([`adt`]), and what all facts together mean for the beds is
//! worked out by [`stays`]; [`parts`] hears all who claim an observation. The buffer keeps the facts; nothing here does I/O
//! or knows the time.

/// HL7 v2 chapter 3: patient administration.
pub mod adt;
/// What those who ask are told.
pub mod answer;
mod attribution;
mod claims;
mod fact;
/// Encounters, Patients and Locations of a FHIR server.
pub mod fhir;
mod number;
mod pace;
mod place;
/// What others ask of the index.
pub mod query;
mod stay;

pub use attribution::{Attribution, Claim, Source, Span, Unknown, Whom, attribute, same_identifier, share};
pub use claims::{Asked, Bedded, Clock, Facts, Home, Part, UNREADABLE, Unavailable, parts};
pub(crate) use claims::{cut, stranger};
pub use fact::{Fact, Said, Told, Visit};
pub use number::{Issuers, NO_AUTHORITY, has_issuer, is_personal, rank};
pub use pace::Pace;
pub use place::Place;
pub use stay::{Movement, Stay, Step, stays};
