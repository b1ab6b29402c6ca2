//! What the desk shows and takes of the worklist. The gateway answers.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::Object;

use super::command::Refusal;
use super::json::{rfc3339, rfc3339_or_null, words};
use crate::buffer::{NewAudit, WorkCounts};
use crate::clock::Timestamp;
use crate::connector::Later;

/// The worklist as the desk sees it. Changes are written with their line of the trail or not at all.
pub trait Worklist: Send + Sync {
    /// Orders in a state, the latest first; `text` is part of a specimen's code, a number or a patient's name.
    fn orders(&self, state: Option<String>, text: Option<String>) -> Later<'_, Result<Orders, Refusal>>;
    /// Puts an order on the list; its id.
    fn add(&self, wanted: OrderWanted, audit: NewAudit) -> Later<'_, Result<i64, Refusal>>;
    /// Takes one back that no result has come for.
    fn cancel(&self, id: i64, audit: NewAudit) -> Later<'_, Result<(), Refusal>>;
}

/// A page of the worklist.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[schema(as = Worklist)]
pub struct Orders {
    pub orders: Vec<OrderView>,
    pub counts: WorkCounts,
}

/// An order.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Order)]
pub struct OrderView {
    pub id: i64,
    pub specimen: String,
    pub tests: Vec<String>,
    /// Those of `tests` whose results came.
    pub measured: Vec<String>,
    /// `routine` or `stat`.
    #[schema(schema_with = order_priority)]
    pub priority: &'static str,
    pub patient: Option<PatientView>,
    pub specimen_kind: String,
    #[serde(serialize_with = "rfc3339_or_null")]
    pub collected: Option<Timestamp>,
    /// `desk`, `hl7` or `fhir`.
    #[schema(schema_with = order_source)]
    pub source: &'static str,
    pub number: String,
    #[serde(serialize_with = "rfc3339")]
    pub created: Timestamp,
    pub by: String,
    /// `open`, `sent`, `done` or `cancelled`.
    #[schema(schema_with = order_state)]
    pub state: &'static str,
    /// What a person should know of it.
    pub note: Option<String>,
    /// Oldest first.
    pub asked: Vec<AskedView>,
}

fn order_state() -> Object {
    words(&["open", "sent", "done", "cancelled"])
}

fn order_source() -> Object {
    words(&["desk", "hl7", "fhir"])
}

fn order_priority() -> Object {
    words(&["routine", "stat"])
}

/// The patient of an order.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = OrderPatient)]
pub struct PatientView {
    pub id: String,
    pub family: Option<String>,
    pub given: Option<String>,
    pub birth_date: Option<String>,
    pub gender: Option<String>,
}

/// What an analyser was told.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = OrderAnswer)]
pub struct AskedView {
    #[serde(serialize_with = "rfc3339")]
    pub at: Timestamp,
    pub link: String,
    pub outcome: String,
}

/// An order as a person wants it.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OrderWanted {
    pub specimen: String,
    pub tests: Vec<String>,
    #[serde(default)]
    pub priority: Option<Priority>,
    #[serde(default)]
    pub patient: Option<PatientWanted>,
    #[serde(default)]
    pub specimen_kind: Option<String>,
    /// RFC 3339.
    #[serde(default)]
    pub collected: Option<String>,
}

/// Which orders are looked for. Not in an address, where logs would keep it.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OrdersWanted {
    #[serde(default)]
    pub state: Option<OrderState>,
    /// Part of a specimen's code, a number or a patient's name.
    pub text: String,
}

/// Where an order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum OrderState {
    Open,
    Sent,
    Done,
    Cancelled,
}

impl OrderState {
    /// As it is kept.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Sent => "sent",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
        }
    }
}

/// How soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    Routine,
    Stat,
}

impl Priority {
    /// Whether it goes before others.
    pub const fn is_urgent(self) -> bool {
        matches!(self, Self::Stat)
    }
}

/// The patient as typed.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatientWanted {
    /// URI of whoever gave the number.
    #[serde(default)]
    pub system: Option<String>,
    pub id: String,
    #[serde(default)]
    pub family: Option<String>,
    #[serde(default)]
    pub given: Option<String>,
    /// `YYYY-MM-DD`
    #[serde(default)]
    pub birth_date: Option<String>,
    /// FHIR administrative gender.
    #[serde(default)]
    pub gender: Option<String>,
}

/// Longest code of a specimen or a test: HL7's EI and ASTM's fields have room for no more.
const CODE_MAX: usize = 80;
const TESTS_MAX: usize = 100;
const NAME_MAX: usize = 120;

impl OrderWanted {
    /// Cuts blanks, drops what was left empty, and says per field what is wrong.
    ///
    /// # Errors
    /// Sentences, each with its field's name before a colon.
    pub fn checked(mut self) -> Result<Self, Vec<String>> {
        let mut faults = Vec::new();
        self.specimen = self.specimen.trim().to_owned();
        check(&mut faults, "specimen", Some(&self.specimen), CODE_MAX);
        if self.specimen.is_empty() {
            faults.push("specimen: scan or type the code on the tube".into());
        }
        let mut tests: Vec<String> = Vec::new();
        for test in self.tests.iter().map(|test| test.trim()).filter(|test| !test.is_empty()) {
            check(&mut faults, "tests", Some(test), CODE_MAX);
            if !tests.iter().any(|known| known == test) {
                tests.push(test.to_owned());
            }
        }
        if tests.is_empty() || tests.len() > TESTS_MAX {
            faults.push(format!("tests: name 1 to {TESTS_MAX} tests"));
        }
        self.tests = tests;
        let kind = self.specimen_kind.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        self.specimen_kind = kind;
        check(&mut faults, "specimen_kind", self.specimen_kind.as_deref(), CODE_MAX);
        let collected = self.collected.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        self.collected = collected;
        if self.collected.as_deref().is_some_and(|at| instant(at).is_none()) {
            faults.push("collected: a time with its offset, such as 2026-03-14T08:15:00+01:00".into());
        }
        self.patient = self.patient.map(PatientWanted::trimmed);
        if let Some(patient) = &self.patient {
            patient.check(&mut faults);
        }
        if faults.is_empty() { Ok(self) } else { Err(faults) }
    }
}

impl PatientWanted {
    /// Cuts blanks, drops what was left empty, and says per field what is wrong.
    ///
    /// # Errors
    /// Sentences, each with its field's name before a colon.
    pub fn checked(self) -> Result<Self, Vec<String>> {
        let (patient, mut faults) = (self.trimmed(), Vec::new());
        patient.check(&mut faults);
        if faults.is_empty() { Ok(patient) } else { Err(faults) }
    }

    fn trimmed(self) -> Self {
        let cut =
            |text: Option<String>| text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        Self {
            system: cut(self.system),
            id: self.id.trim().to_owned(),
            family: cut(self.family),
            given: cut(self.given),
            birth_date: cut(self.birth_date),
            gender: cut(self.gender),
        }
    }

    fn check(&self, faults: &mut Vec<String>) {
        if self.id.is_empty() {
            faults.push("patient.id: the patient's number, or no patient at all".into());
        }
        check(faults, "patient.id", Some(&self.id), CODE_MAX);
        for (name, value) in [
            ("patient.family", &self.family),
            ("patient.given", &self.given),
            ("patient.system", &self.system),
        ] {
            check(faults, name, value.as_deref(), NAME_MAX);
        }
        let day = |text: &str| text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok();
        if self.birth_date.as_deref().is_some_and(|text| !day(text)) {
            faults.push("patient.birth_date: YYYY-MM-DD".into());
        }
        let known = |text: &str| matches!(text, "male" | "female" | "other" | "unknown");
        if self.gender.as_deref().is_some_and(|text| !known(text)) {
            faults.push("patient.gender: male, female, other or unknown".into());
        }
    }
}

fn check(faults: &mut Vec<String>, name: &str, value: Option<&str>, max: usize) {
    let Some(value) = value else { return };
    if value.chars().count() > max || value.chars().any(char::is_control) {
        faults.push(format!("{name}: at most {max} printable characters"));
    }
}

/// An RFC 3339 time; `None` when it has no offset.
pub fn instant(text: &str) -> Option<Timestamp> {
    let at: jiff::Timestamp = text.parse().ok()?;
    Some(Timestamp::from_micros(at.as_microsecond(), true))
}
