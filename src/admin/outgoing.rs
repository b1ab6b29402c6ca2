//! What the desk shows and asks of HL7 v2 going on to other systems. The gateway answers.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::Object;

use super::command::Refusal;
use super::json::{rfc3339, rfc3339_or_null, words, words_or_null};
use crate::buffer::{NewAudit, OutgoingFilter, OutgoingRow};
use crate::clock::Timestamp;
use crate::connector::Later;

/// The queues as the desk sees them. Changes are written with their line of the trail or not at all.
pub trait Outgoing: Send + Sync {
    /// All destinations this box has, or has had.
    fn destinations(&self) -> Later<'_, Result<Vec<DestinationView>, Refusal>>;
    /// Messages, the latest first.
    fn messages(&self, filter: OutgoingFilter) -> Later<'_, Result<Vec<MessageView>, Refusal>>;
    /// One message with its bytes.
    fn message(&self, id: i64) -> Later<'_, Result<MessageBytes, Refusal>>;
    /// The main FHIR server; `None` when there is none.
    fn main(&self) -> Option<MainView>;
    /// Carries out what a person wants; how many messages it touched.
    fn act(&self, wanted: Act, audit: NewAudit) -> Later<'_, Result<u64, Refusal>>;
}

/// What a person may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// The same bytes again.
    Release(i64),
    /// Built anew from its entry.
    Rebuild(i64),
    /// Not sent any more.
    Drop {
        id: i64,
        reason: String,
    },
    Pause(String),
    Resume(String),
    /// All held messages of a destination.
    ReleaseAll(String),
    /// What was received in a span of time goes to a FHIR server or a folder again.
    Replay {
        destination: String,
        span: ReplayWanted,
    },
}

/// Why a message is dropped, as typed.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DropWanted {
    pub reason: String,
}

/// A span of time, as typed: RFC 3339.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayWanted {
    pub from: String,
    pub until: String,
}

impl ReplayWanted {
    /// Microseconds since 1970; the end is not included.
    ///
    /// # Errors
    /// What is wrong, as a sentence.
    pub fn span(&self) -> Result<(i64, i64), String> {
        let at = |text: &str| {
            let wrong = |_| format!("\"{text}\" is no time such as 2026-11-22T08:00:00Z");
            text.trim().parse::<jiff::Timestamp>().map(jiff::Timestamp::as_microsecond).map_err(wrong)
        };
        let (from, until) = (at(&self.from)?, at(&self.until)?);
        if until <= from {
            return Err("a span of time ends after it begins".into());
        }
        Ok((from, until))
    }
}

/// How delivery to a FHIR server or into a folder goes.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = Delivery)]
pub struct DeliveryView {
    /// `fhir` or `ndjson`.
    #[schema(schema_with = delivery_kind)]
    pub kind: &'static str,
    /// `closed`: it answers; `open`: it is left alone for a while; `half-open`: one request tries whether it answers.
    #[schema(schema_with = delivery_breaker)]
    pub breaker: &'static str,
    /// In a row.
    pub failures: u32,
    /// Entries in one request now; it shrinks when the server is slow.
    pub batch: Option<usize>,
    /// Requests side by side now.
    pub in_flight: Option<usize>,
    /// Since the start.
    pub bytes_sent: u64,
    /// `all`, `alarms` or `nothing`, by the time of day.
    #[schema(schema_with = delivery_sends)]
    pub sends: &'static str,
    /// What the server declares and what was made of it.
    #[schema(value_type = Option<Object>)]
    pub capability: Option<serde_json::Value>,
    /// Seconds by which the server's clock is ahead of this box's.
    pub clock_skew_s: Option<i64>,
}

fn delivery_sends() -> Object {
    words(&["all", "alarms", "nothing"])
}

fn delivery_breaker() -> Object {
    words(&["closed", "open", "half-open"])
}

fn delivery_kind() -> Object {
    words(&["fhir", "ndjson"])
}

/// The main FHIR server.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = MainServer)]
pub struct MainView {
    pub name: String,
    pub paused: bool,
    pub delivery: DeliveryView,
}

/// A destination.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
#[schema(as = Destination)]
pub struct DestinationView {
    pub name: String,
    /// `HOST:PORT`; `None` when the file does not name it any more.
    pub address: Option<String>,
    pub tls: bool,
    #[schema(schema_with = destination_acknowledge)]
    pub acknowledge: Option<&'static str>,
    #[schema(schema_with = destination_in_order)]
    pub in_order: Option<&'static str>,
    pub configured: bool,
    /// `up`, `idle`, `retrying`, `paused` or `gone`.
    #[schema(schema_with = destination_state)]
    pub state: &'static str,
    pub trouble: Option<String>,
    pub connections: Vec<ConnectionView>,
    pub waiting: u64,
    pub sent: u64,
    pub held: u64,
    /// When the message was queued that waits longest, neither accepted nor held.
    #[serde(serialize_with = "rfc3339_or_null")]
    pub oldest: Option<Timestamp>,
    pub age_s: Option<u64>,
    /// Since the start.
    pub accepted: u64,
    #[serde(serialize_with = "rfc3339_or_null")]
    pub accepted_at: Option<Timestamp>,
    /// Acknowledgements since the start that fitted no message.
    pub foreign: u64,
    pub answer: Option<AnswerView>,
    pub routes: Vec<RouteView>,
    /// Rows ever made = waiting + sent + held + done + gone (deleted with their entry).
    pub queued: u64,
    pub done: u64,
    pub gone: u64,
    /// Of FHIR servers and folders.
    pub delivery: Option<DeliveryView>,
}

fn destination_state() -> Object {
    words(&["up", "idle", "retrying", "paused", "gone"])
}

fn destination_in_order() -> Object {
    words_or_null(&["patient", "device", "none"])
}

fn destination_acknowledge() -> Object {
    words_or_null(&["original", "enhanced"])
}

/// One connection to a destination.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Connection)]
pub struct ConnectionView {
    pub connected: bool,
    pub trouble: Option<String>,
}

/// An acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Acknowledgement)]
pub struct AnswerView {
    #[serde(serialize_with = "rfc3339")]
    pub at: Timestamp,
    pub text: String,
}

/// What leads to a destination.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Route)]
pub struct RouteView {
    pub name: String,
    pub from: Vec<String>,
    pub messages: Vec<String>,
    pub when: Option<String>,
    #[schema(schema_with = route_how)]
    pub how: &'static str,
    /// All of it as one sentence.
    pub says: String,
    /// Since the start.
    pub left_out: LeftOutView,
}

fn route_how() -> Object {
    words(&["pass", "filtered", "measurements", "fhir", "ndjson"])
}

/// What messages built of measurements had no place for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = LeftOut)]
pub struct LeftOutView {
    pub waveforms: u64,
    pub alarms: u64,
}

/// A message in a queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = OutgoingMessage)]
pub struct MessageView {
    pub id: i64,
    pub destination: String,
    pub entry: i64,
    pub part: u32,
    pub route: String,
    #[schema(schema_with = message_state)]
    pub state: &'static str,
    pub attempts: u32,
    pub revision: u32,
    #[serde(serialize_with = "rfc3339")]
    pub queued: Timestamp,
    #[serde(serialize_with = "rfc3339_or_null")]
    pub next_try: Option<Timestamp>,
    #[serde(serialize_with = "rfc3339_or_null")]
    pub sent_at: Option<Timestamp>,
    #[serde(serialize_with = "rfc3339_or_null")]
    pub committed: Option<Timestamp>,
    #[serde(serialize_with = "rfc3339_or_null")]
    pub answered_at: Option<Timestamp>,
    pub reason: Option<String>,
    pub control_id: Option<String>,
    pub answer: Option<String>,
}

fn message_state() -> Object {
    words(&["waiting", "sent", "held", "accepted"])
}

impl From<OutgoingRow> for MessageView {
    fn from(row: OutgoingRow) -> Self {
        Self {
            id: row.id,
            destination: row.destination,
            entry: row.entry,
            part: row.part,
            route: row.route,
            state: row.state.word(),
            attempts: row.attempts,
            revision: row.revision,
            queued: row.queued,
            next_try: row.next_try,
            sent_at: row.sent_at,
            committed: row.committed,
            answered_at: row.answered_at,
            reason: row.reason,
            control_id: row.control,
            answer: row.answer,
        }
    }
}

/// A message and what it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = OutgoingDetail)]
pub struct MessageBytes {
    #[serde(flatten)]
    pub message: MessageView,
    /// As sent, or as it would be built now.
    pub bytes: Option<String>,
    /// Why there are none.
    pub why: Option<String>,
}
