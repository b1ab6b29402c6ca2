//! How it stands with a destination, as far as only memory knows it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::clock::Timestamp;
use crate::route::oru::LeftOut;

/// What the connections of a destination last said.
pub(in crate::gateway) struct Standing(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    lanes: Vec<LaneState>,
    /// Acknowledgements that fitted no message.
    foreign: u64,
    accepted: u64,
    accepted_at: Option<Timestamp>,
    /// By route.
    left_out: HashMap<Arc<str>, LeftOut>,
}

/// What one connection does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::gateway) struct LaneState {
    pub(in crate::gateway) connected: bool,
    /// Why it is not, or what goes wrong; for people.
    pub(in crate::gateway) trouble: Option<String>,
}

/// All of it at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::gateway) struct Seen {
    pub(in crate::gateway) lanes: Vec<LaneState>,
    pub(in crate::gateway) foreign: u64,
    pub(in crate::gateway) accepted: u64,
    pub(in crate::gateway) accepted_at: Option<Timestamp>,
}

impl Standing {
    pub(super) fn new(lanes: u32) -> Self {
        let lanes = (0..lanes.max(1)).map(|_| LaneState::default()).collect();
        Self(Mutex::new(Inner { lanes, ..Inner::default() }))
    }

    pub(super) fn lane(&self, lane: u32, state: LaneState) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = usize::try_from(lane).ok().and_then(|at| inner.lanes.get_mut(at)) {
            *own = state;
        }
    }

    pub(super) fn foreign(&self, count: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).foreign += count;
    }

    pub(super) fn accepted(&self, at: Timestamp) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.accepted += 1;
        inner.accepted_at = Some(at);
    }

    /// What of a report a route had no place for.
    pub(super) fn left_out(&self, route: &Arc<str>, count: LeftOut) {
        if count != LeftOut::default() {
            let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let all = inner.left_out.entry(route.clone()).or_default();
            all.waveforms = all.waveforms.saturating_add(count.waveforms);
            all.alarms = all.alarms.saturating_add(count.alarms);
        }
    }

    /// What a route had no place for since the start.
    pub(super) fn left_out_by(&self, route: &str) -> LeftOut {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.left_out.get(route).copied().unwrap_or_default()
    }

    pub(in crate::gateway) fn seen(&self) -> Seen {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Seen {
            lanes: inner.lanes.clone(),
            foreign: inner.foreign,
            accepted: inner.accepted,
            accepted_at: inner.accepted_at,
        }
    }
}
