//! What the desk asks when the certificate comes from an authority by ACME: how it stands, other settings, one more try. The
//! gateway answers.

use serde::Serialize;
use utoipa::ToSchema;

use super::command::Refusal;
use super::json::rfc3339_or_null;
use crate::acme::Config;
use crate::clock::Timestamp;
use crate::connector::Later;

/// The certificate by ACME.
pub trait Issuance: Send + Sync {
    /// How it stands.
    fn state(&self) -> State;
    /// Why another certificate cannot be given at the desk: the next renewal would replace it.
    fn holds(&self) -> Option<String>;
    /// Keeps these settings, which were checked, and asks at once.
    fn save(&self, settings: Config) -> Later<'_, Result<State, Refusal>>;
    /// Asks now, unless it was asked too often lately.
    fn try_now(&self) -> Later<'_, Result<State, Refusal>>;
    /// Asks no more. The certificate in use stays.
    fn end(&self) -> Later<'_, Result<State, Refusal>>;
}

/// Where the settings come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = AcmeSource)]
pub enum Origin {
    /// There are none.
    #[default]
    None,
    /// `[desk.acme]`; they are changed there.
    File,
    Desk,
}

/// How it stands.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[schema(as = AcmeState)]
pub struct State {
    pub origin: Origin,
    pub settings: Option<Config>,
    /// The authority has an account of this box.
    pub account: bool,
    /// It is asked at this moment.
    pub busy: bool,
    #[serde(serialize_with = "rfc3339_or_null")]
    pub last_try: Option<Timestamp>,
    /// When a certificate was last fetched.
    #[serde(serialize_with = "rfc3339_or_null")]
    pub last_done: Option<Timestamp>,
    #[serde(serialize_with = "rfc3339_or_null")]
    pub next_try: Option<Timestamp>,
    /// Tries in a row that brought nothing.
    pub faults: u32,
    /// What went wrong last; null when the last try went well.
    pub what: Option<String>,
    /// What to do about it.
    pub next: Option<String>,
}
