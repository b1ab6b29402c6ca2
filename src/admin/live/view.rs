//! The shapes of the live view in JSON, as the pages get them.

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::Object;

use super::{ClockView, UpstreamStanding, UpstreamState};
use crate::admin::json::{rfc3339, rfc3339_or_null, words};
use crate::admin::store::Counts;
use crate::buffer::{self, Ledger};
use crate::clock::Timestamp;
use crate::connector::LinkState;
use crate::device::Decimal;

/// Everything on the first page.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Overview {
    /// All data is made up: the demo.
    pub simulated: bool,
    pub site: String,
    #[serde(serialize_with = "rfc3339")]
    pub now: Timestamp,
    pub clock_synchronised: bool,
    /// One sentence: problems first, else that all is well.
    pub verdict: String,
    pub counts: Counts,
    /// The conservation equation: received = acknowledged + refused + noise.
    pub ledger: Ledger,
    /// The verification of what is kept.
    pub scrub: ScrubView,
    #[serde(serialize_with = "rfc3339_or_null")]
    pub oldest_waiting: Option<Timestamp>,
    pub bytes: u64,
    pub quota_bytes: u64,
    pub upstream: UpstreamView,
    pub links: Vec<LinkView>,
    pub devices: Vec<DeviceView>,
    /// Critical ones first, then the oldest.
    pub alarms: Vec<AlarmView>,
}

/// When everything kept was last verified, and what was found.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = Scrub)]
pub struct ScrubView {
    /// The end of the last whole pass.
    #[serde(serialize_with = "rfc3339_or_null")]
    pub passed: Option<Timestamp>,
    /// The entry verified last in the pass that runs; 0 between passes.
    pub through: i64,
    /// Frames whose bytes changed, in this pass and the last.
    pub changed: u64,
}

impl From<buffer::Scrub> for ScrubView {
    fn from(scrub: buffer::Scrub) -> Self {
        Self {
            passed: (scrub.passed > 0).then(|| Timestamp::from_micros(scrub.passed, true)),
            through: scrub.through,
            changed: scrub.found + scrub.passed_found,
        }
    }
}

/// How the upstream server is doing.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = UpstreamSummary)]
pub struct UpstreamView {
    pub name: String,
    pub base: String,
    pub state: UpstreamState,
    #[serde(serialize_with = "rfc3339")]
    pub since: Timestamp,
    #[serde(serialize_with = "rfc3339_or_null")]
    pub last_success: Option<Timestamp>,
    pub detail: String,
}

impl UpstreamView {
    /// In short; without a server, unconfigured since the view began.
    pub(super) fn of(standing: Option<&UpstreamStanding>, began: Timestamp) -> Self {
        match standing {
            Some(standing) => Self {
                name: standing.name.clone(),
                base: standing.base.clone(),
                state: standing.state,
                since: standing.since,
                last_success: standing.last_success,
                detail: standing.detail.clone(),
            },
            None => Self {
                name: String::new(),
                base: String::new(),
                state: UpstreamState::Unconfigured,
                since: began,
                last_success: None,
                detail: "no upstream is set up".into(),
            },
        }
    }
}

/// One configured link.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Link)]
pub struct LinkView {
    pub name: Arc<str>,
    pub kind: &'static str,
    pub profile: Arc<str>,
    /// `starting`, `up`, `retrying`, `quiet` or `stopped`.
    #[schema(schema_with = link_state)]
    pub state: &'static str,
    #[serde(serialize_with = "rfc3339")]
    pub since: Timestamp,
    pub detail: String,
    pub connections: u32,
    /// Frames kept, refused, and notes made since the start of the box.
    pub frames: u64,
    pub refused: u64,
    pub notes: u64,
    pub last_note: Option<String>,
    /// What crosses it is being written to a tape.
    pub recording: bool,
}

fn link_state() -> Object {
    words(&["starting", "up", "retrying", "quiet", "stopped"])
}

impl LinkView {
    pub(super) fn new(name: &str, kind: &'static str, profile: &str, since: Timestamp) -> Self {
        Self {
            name: name.into(),
            kind,
            profile: profile.into(),
            state: "starting",
            since,
            detail: String::new(),
            connections: 0,
            frames: 0,
            refused: 0,
            notes: 0,
            last_note: None,
            recording: false,
        }
    }

    /// Takes a new state; `since` moves only when the word for it changes.
    pub(super) fn change(&mut self, change: &LinkState, now: Timestamp) {
        let (word, detail, connections) = match change {
            LinkState::Starting => ("starting", "", 0),
            LinkState::Up { detail, connections } => ("up", detail.as_str(), *connections),
            LinkState::Retrying { detail } => ("retrying", detail.as_str(), 0),
            LinkState::Quiet { detail } => ("quiet", detail.as_str(), self.connections),
            LinkState::Stopped => ("stopped", "", 0),
        };
        if self.state != word {
            self.since = now;
        }
        (self.state, self.detail, self.connections) = (word, detail.into(), connections);
    }
}

/// One device on its card.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Device)]
pub struct DeviceView {
    pub key: String,
    pub label: String,
    pub manufacturer: Arc<str>,
    pub model: Arc<str>,
    pub link: Arc<str>,
    pub verified: Arc<str>,
    #[serde(serialize_with = "rfc3339")]
    pub last_seen: Timestamp,
    /// Whom its last frame named.
    pub patient: Option<String>,
    pub values: Vec<ValueView>,
}

/// The last value of one metric.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = LastValue)]
pub struct ValueView {
    /// Names the metric within its device: the `code` of a trend.
    pub code: String,
    pub label: Arc<str>,
    pub value: Option<String>,
    pub unit: Option<Arc<str>>,
    pub absent: Option<&'static str>,
    #[serde(serialize_with = "rfc3339")]
    pub taken: Timestamp,
    pub abnormal: bool,
}

/// A device with what does not fit on a card.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct DeviceDetail {
    #[serde(flatten)]
    pub device: DeviceView,
    #[schema(value_type = Vec<String>)]
    pub caveats: Arc<[String]>,
    /// Metrics that have numbers to draw.
    pub metrics: Vec<MetricName>,
    pub identifiers: Vec<String>,
    /// `None` until the device said a time of its own.
    pub clock: Option<ClockView>,
}

/// A metric to choose.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Metric)]
pub struct MetricName {
    pub code: String,
    pub label: Arc<str>,
    pub unit: Option<Arc<str>>,
}

/// One new number.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = LivePoint)]
pub struct Point {
    pub device: String,
    pub code: String,
    #[serde(serialize_with = "rfc3339")]
    pub taken: Timestamp,
    pub value: Decimal,
}

/// Something a person must do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Alarm)]
pub struct AlarmView {
    pub code: String,
    pub severity: Severity,
    pub title: String,
    pub next_step: String,
    #[serde(serialize_with = "rfc3339")]
    pub since: Timestamp,
}

/// How bad it is; critical sorts first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Results are refused or cannot be trusted.
    Critical,
    /// Nothing is lost, but someone should look.
    Warning,
}
