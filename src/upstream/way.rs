//! The way a server is written to, kept over restarts.
//!
//! Results that went out by identifier have the ids the server chose; the same results sent under our own ids would stand
//! there twice. So a way that was taken once is not left because a metadata page came garbled after a restart.

use std::future::Future;
use std::pin::Pin;

use serde::{Deserialize, Serialize};

use super::Setback;
use super::capability::{Capability, Mode};

/// What is done with the disk.
pub type Kept<'a, T> = Pin<Box<dyn Future<Output = Result<T, String>> + Send + 'a>>;

/// Where the way is kept; the text is this module's own. Errors are sentences.
pub trait Memory: Send + Sync {
    fn recall(&self) -> Kept<'_, Option<String>>;
    fn keep(&self, way: String) -> Kept<'_, ()>;
}

/// The way, with what the server last said of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Way {
    mode: Mode,
    pub(super) declared: Option<Capability>,
}

impl Way {
    pub(super) const fn new(mode: Mode, declared: Option<Capability>) -> Self {
        Self { mode, declared }
    }

    /// With whether it is beyond doubt. Ids of ours were never refused yet; a server put in another's place may.
    pub(super) fn mode(&self) -> (Mode, bool) {
        (self.mode, self.mode != Mode::Put)
    }
}

pub(super) async fn recall(memory: Option<&dyn Memory>) -> Result<Option<Way>, Setback> {
    let Some(memory) = memory else { return Ok(None) };
    let kept = memory.recall().await.map_err(|fault| unkept(&fault))?;
    Ok(kept.and_then(|text| serde_json::from_str(&text).ok()))
}

pub(super) async fn keep(memory: Option<&dyn Memory>, way: &Way) -> Result<(), Setback> {
    let Some(memory) = memory else { return Ok(()) };
    let text = serde_json::to_string(way).map_err(|fault| unkept(&fault.to_string()))?;
    memory.keep(text).await.map_err(|fault| unkept(&fault))
}

fn unkept(fault: &str) -> Setback {
    Setback {
        words: format!("this box could not keep how it writes to the server: {fault}"),
        after: None,
        refusing: false,
        in_doubt: false,
    }
}
