//! ADT messages (HL7 2.5 chapter 3) → [`Fact`]s.

use super::Fact;

/// What an ADT message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adt {
    /// MSH-9.2 or EVN-1, e.g. `A01`.
    pub event: String,
    /// When it was said, microseconds since 1970: EVN-2, else MSH-7, else its receipt.
    pub told: i64,
    pub facts: Vec<Fact>,
    /// What it was, in a word for people: `admitted`.
    pub done: &'static str,
    /// What could not be used of it, without patient data.
    pub left_out: Vec<String>,
}
