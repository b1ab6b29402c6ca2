//! Who is who and where they lie, and whose an observation is.

mod attribution;
mod claims;
mod place;

pub use attribution::{
    Attribution, Claim, Source, Span, Unknown, Whom, attribute, has_issuer, same_identifier, share,
};
pub use claims::{Asked, Bedded, Clock, Facts, Home, Part, Unavailable, parts};
pub(crate) use claims::{cut, stranger};
pub use place::Place;
