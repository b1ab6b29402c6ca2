//! Who is who and where they lie: persons, their identifiers and their beds over time, as hospital systems tell it.
//!
//! Pure: what a message says is turned into [`Fact`]s ([`adt`]), and what all facts together mean for the beds is
//! worked out by [`stays`]. The buffer keeps the facts; nothing here does I/O or knows the time.

/// HL7 v2 chapter 3: patient administration.
pub mod adt;
/// What those who ask are told.
pub mod answer;
mod fact;
/// Encounters, Patients and Locations of a FHIR server.
pub mod fhir;
mod number;
mod place;
/// What others ask of the index.
pub mod query;
mod stay;

pub use fact::{Fact, Said, Told, Visit};
pub use number::{Issuers, NO_AUTHORITY, has_issuer, is_personal, rank};
pub use place::Place;
pub use stay::{Movement, Stay, Step, stays};
