//! What the desk asks when somebody sets up the FHIR server: its address, the keys of this box, and whether it works. The
//! gateway answers.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::command::{Refusal, TestStep};
use super::json::rfc3339;
use crate::clock::Timestamp;
use crate::connector::Later;
use crate::upstream::Discovered;

/// The main FHIR server as it is set up at the desk. `page`: the keys of `[upstream]` without those of secrets.
pub trait Upstreams: Send + Sync {
    /// How it is set up, and the keys.
    fn set_up(&self) -> Later<'_, Result<SetUp, Refusal>>;
    /// What the server says of itself.
    fn discover(&self, page: Value) -> Later<'_, Result<Discovered, Refusal>>;
    /// Walks from the name to a trial write with a page that is not in force.
    fn test(&self, page: Value) -> Later<'_, Result<Vec<TestStep>, Refusal>>;
    /// Makes a key pair: the current one where there is none, else the one to change to.
    fn new_key(&self, who: String, algorithm: String) -> Later<'_, Result<KeyView, Refusal>>;
    /// The successor becomes the current key; the box connects anew.
    fn rotate(&self) -> Later<'_, Result<Applied, Refusal>>;
    /// Forgets the successor.
    fn drop_next(&self) -> Later<'_, Result<(), Refusal>>;
    /// Keeps a page and puts it in force; the box connects anew.
    fn save(&self, who: String, page: Value) -> Later<'_, Result<Applied, Refusal>>;
    /// There is no server any more; the box connects anew. What waits goes on waiting.
    fn remove(&self) -> Later<'_, Result<Applied, Refusal>>;
}

/// How the main server is set up.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SetUp {
    /// `none`, `file` (it cannot be changed at the desk) or `desk`.
    pub source: &'static str,
    /// The configuration file, where it stands there.
    pub file: Option<String>,
    /// The page kept at the desk.
    pub page: Option<Value>,
    pub keys: Vec<KeyView>,
    /// The public keys to register: the current one and the one to change to.
    pub jwks: Value,
    /// The least scopes for what this box delivers.
    pub scopes: Vec<String>,
    /// Entries that wait for a server.
    pub waiting: u64,
    /// Why what was kept is not in force.
    pub trouble: Option<String>,
}

/// A key pair of this box; its private half never leaves it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyView {
    pub kid: String,
    /// `ES384` or `RS384`.
    pub algorithm: &'static str,
    /// `current`, `next` or `unreadable`.
    pub state: &'static str,
    pub by: String,
    #[serde(serialize_with = "rfc3339")]
    pub made: Timestamp,
}

/// It was kept; the box connects anew at once.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = AppliedAnew)]
pub struct Applied {
    #[serde(serialize_with = "rfc3339")]
    pub at: Timestamp,
    /// Links and the desk are back after about so many seconds.
    pub back_in_s: u32,
}
