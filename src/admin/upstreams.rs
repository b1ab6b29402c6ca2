//! What the desk asks when somebody sets up the FHIR server: its address, the keys of this box, and whether it works. The
//! gateway answers.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::Value;
use utoipa::openapi::{Object, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::command::{Refusal, TestStep};
use super::json::{rfc3339, words};
use crate::clock::Timestamp;
use crate::connector::Later;
use crate::upstream::{Config, Discovered};

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

/// A page, for the description of the API: the configuration's own parser reads it. It takes a member of `[delivery]`
/// besides, and none of those that name secrets.
pub(super) enum Page {}

impl PartialSchema for Page {
    fn schema() -> RefOr<Schema> {
        let RefOr::T(Schema::Object(mut page)) = Config::schema() else { return Config::schema() };
        page.properties.insert("max_bytes_per_s".into(), Option::<u64>::schema());
        page.into()
    }
}

impl ToSchema for Page {
    fn name() -> Cow<'static, str> {
        "UpstreamPage".into()
    }

    fn schemas(parts: &mut Vec<(String, RefOr<Schema>)>) {
        Config::schemas(parts);
    }
}

/// For the description of the API: a JSON Web Key Set (RFC 7517 §5).
#[derive(ToSchema)]
#[expect(dead_code, reason = "only described")]
struct Jwks {
    #[schema(value_type = Vec<Object>)]
    keys: Vec<Value>,
}

/// How the main server is set up.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[schema(as = UpstreamSetUp)]
pub struct SetUp {
    /// In a `file` it cannot be changed at the desk.
    #[schema(schema_with = set_up_source)]
    pub source: &'static str,
    /// The configuration file, where it stands there.
    pub file: Option<String>,
    /// The page kept at the desk.
    #[schema(value_type = Option<Page>)]
    pub page: Option<Value>,
    pub keys: Vec<KeyView>,
    /// The public keys to register: the current one and the one to change to.
    #[schema(value_type = Jwks)]
    pub jwks: Value,
    /// The least scopes for what this box delivers.
    pub scopes: Vec<String>,
    /// Entries that wait for a server.
    pub waiting: u64,
    /// Why what was kept is not in force.
    pub trouble: Option<String>,
}

/// A key pair of this box; its private half never leaves it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = UpstreamKey)]
pub struct KeyView {
    pub kid: String,
    #[schema(schema_with = key_algorithm)]
    pub algorithm: &'static str,
    #[schema(schema_with = key_state)]
    pub state: &'static str,
    pub by: String,
    #[serde(serialize_with = "rfc3339")]
    pub made: Timestamp,
}

/// It was kept; the box connects anew at once.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = ConnectsAnew)]
pub struct Applied {
    #[serde(serialize_with = "rfc3339")]
    pub at: Timestamp,
    /// Links and the desk are back after about so many seconds.
    pub back_in_s: u32,
}

fn set_up_source() -> Object {
    words(&["none", "file", "desk"])
}

fn key_algorithm() -> Object {
    words(&["ES384", "RS384"])
}

fn key_state() -> Object {
    words(&["current", "next", "unreadable"])
}
