//! What a person at the desk may ask the gateway to do. The desk itself changes nothing in the flow.

use serde::Serialize;
use tokio::sync::oneshot;
use utoipa::ToSchema;

/// One request to the gateway. It answers through `reply`; a dropped reply counts as "could not".
#[derive(Debug)]
pub enum Command {
    /// Let a held entry go: held → waiting.
    Release { id: i64, reply: oneshot::Sender<Result<(), Refusal>> },
    /// Send an entry again, whatever its state: → waiting. The resources keep their ids.
    Replay { id: i64, reply: oneshot::Sender<Result<(), Refusal>> },
    /// Try the upstream connection step by step.
    TestUpstream { reply: oneshot::Sender<Vec<TestStep>> },
}

/// Why a command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The state does not allow it (HTTP 409).
    #[error("{0}")]
    Conflict(String),
    /// It is done when the person says that it is meant (HTTP 409 with this code).
    #[error("{why}")]
    Asks { code: &'static str, why: String },
    /// There is no such entry (HTTP 404).
    #[error("no such entry")]
    Unknown,
    /// The box could not (HTTP 503).
    #[error("{0}")]
    Failed(String),
}

/// One step of the upstream test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct TestStep {
    /// `DNS`, `TLS`, `token`, …
    pub name: String,
    pub ok: bool,
    /// What was found, or what to do.
    pub detail: String,
    pub ms: u64,
}
