//! The audit trail as auditors see it. Rows come from the buffer; whether they are whole, the box says.

use serde::Serialize;
use utoipa::ToSchema;

use super::json::{rfc3339, rfc3339_or_null, words};
use super::store::Answered;
use crate::buffer::{AuditFilter, AuditRow};
use crate::clock::Timestamp;

/// Reads and checks the audit trail.
pub trait Trail: Send + Sync {
    /// The rows that are wanted, newest first, and the id to ask on from when there may be more.
    fn page(&self, wanted: AuditFilter) -> Answered<'_, (Vec<AuditRow>, Option<i64>)>;
    /// Rows behind `after`, oldest first.
    fn after(&self, after: i64, limit: u32) -> Answered<'_, Vec<AuditRow>>;
    /// Checks every row, the end of the trail, and the seal.
    fn verify(&self) -> Answered<'_, Verified>;
    /// Who says it, on export.
    fn observer(&self) -> Observer;
}

/// This box, as the `source` of an AuditEvent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observer {
    /// `urn:uuid:…`, the box's own identifier.
    pub identifier: String,
    pub site: String,
    /// Host name, for the network address of the box's own part in it.
    pub host: String,
    pub version: &'static str,
    /// All it says is made up.
    pub simulated: bool,
}

/// The word of how an audited action went.
fn outcomes() -> utoipa::openapi::Object {
    words(&["done", "refused", "failed"])
}

/// One row for the desk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = AuditRow)]
pub struct RowView {
    pub id: i64,
    #[serde(serialize_with = "rfc3339")]
    pub at: Timestamp,
    /// User name, `bedside` for the box itself, `unknown` for somebody it does not know.
    pub who: String,
    /// Stable word such as `entry.release`.
    pub what: String,
    #[schema(schema_with = outcomes)]
    pub outcome: String,
    pub target: Option<String>,
    /// Address it came from.
    pub origin: Option<String>,
    pub note: Option<String>,
}

impl From<&AuditRow> for RowView {
    fn from(row: &AuditRow) -> Self {
        let told = row.told();
        Self {
            id: row.id,
            at: row.at,
            who: row.who.clone(),
            what: row.what.clone(),
            outcome: told.outcome.into(),
            target: told.target.map(Into::into),
            origin: told.origin.map(|address| address.to_string()),
            note: told.note.map(Into::into),
        }
    }
}

/// What checking the trail found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = AuditCheck)]
pub struct Verified {
    /// Nothing is wrong.
    pub sound: bool,
    pub rows: u64,
    /// The first row that is not as it was written.
    pub broken: Option<BrokenRow>,
    /// How far the seal reaches, and when it was made.
    pub sealed_rows: Option<u64>,
    #[serde(serialize_with = "rfc3339_or_null")]
    pub sealed_at: Option<Timestamp>,
    /// What is wrong with the seal, or why there is none.
    pub seal_fault: Option<String>,
}

/// Where the trail is broken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = AuditBroken)]
pub struct BrokenRow {
    pub row: i64,
    pub why: String,
}
