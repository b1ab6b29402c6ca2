//! What the desk asks of firmware profiles and templates: the pages that say how devices and systems are read. The gateway
//! answers.

use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::openapi::Array;
use utoipa::{PartialSchema, ToSchema};

use super::command::Refusal;
use super::explain::{Explained, MeasurementView};
use super::json::{pairs, rfc3339};
use super::raw::Raw;
use super::store::{EntryRow, StoreError};
use crate::clock::Timestamp;
use crate::connector::Later;
use crate::device::Finding;
use crate::firmware_profile::{Caveat, Fault, MetricLine};

/// Firmware profiles and templates as the desk sees them. A page that is saved is in force when the answer is there.
pub trait Profiles: Send + Sync {
    /// Every profile, by id.
    fn list(&self) -> Later<'_, Result<Vec<ProfileRow>, Refusal>>;
    /// A page with what stands beside it.
    fn page(&self, id: String) -> Later<'_, Result<ProfilePage, Refusal>>;
    /// The faults of a text, and what it describes.
    fn check(&self, id: String, text: String) -> Later<'_, Checked>;
    /// What a capture or an entry says through a text, and through the page in force.
    fn run(&self, id: String, text: String, what: Tried) -> Later<'_, Result<Ran, Refusal>>;
    /// Puts a page in force. `who`: the user.
    fn save(&self, who: String, id: String, text: String) -> Later<'_, Result<Applied, Refusal>>;
    /// Puts the page in force again that was there before anybody changed it at the desk.
    fn revert(&self, id: String) -> Later<'_, Result<Applied, Refusal>>;
    /// The profile's folder as `.tar.gz`.
    fn export(&self, id: String) -> Later<'_, Result<Vec<u8>, Refusal>>;

    /// Every page of templates, and the messages they translate.
    fn templates(&self) -> Later<'_, Result<Templates, Refusal>>;
    /// The text of a page of templates.
    fn template(&self, name: String) -> Later<'_, Result<String, Refusal>>;
    /// The faults of a text as a page of templates.
    fn check_template(&self, name: String, text: String) -> Later<'_, crate::template::Report>;
    /// What an entry becomes by the templates in force, with `text` in place of the page `name` where it is given.
    fn run_template(
        &self,
        id: i64,
        name: String,
        text: Option<String>,
    ) -> Later<'_, Result<TemplateRan, Refusal>>;
}

/// Where a page comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = PageSource)]
pub enum Source {
    /// Part of the program.
    Shipped,
    /// The folder that the configuration names.
    Folder,
    /// Saved at the desk.
    Desk,
}

/// A profile in a list.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Profile)]
pub struct ProfileRow {
    pub id: String,
    pub manufacturer: String,
    pub model: String,
    pub firmware: Option<String>,
    pub verified: String,
    pub codec: &'static str,
    /// SHA-256 of the page.
    pub hash: String,
    pub source: Source,
    /// Another page of this id is part of the program, or of the configured folder.
    pub overrides: bool,
    /// Who saved it at the desk, and when.
    pub saved: Option<Saved>,
    /// Links that read with it.
    pub links: Vec<String>,
    /// Accepted senders that are read with it.
    pub senders: usize,
    pub captures_kept: usize,
}

/// Who saved a page, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = PageSaved)]
pub struct Saved {
    pub by: String,
    #[serde(serialize_with = "rfc3339")]
    pub at: Timestamp,
}

/// A page and what stands beside it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ProfilePage {
    #[serde(flatten)]
    pub row: ProfileRow,
    pub text: String,
    /// What would be in force after [`Profiles::revert`].
    pub before: Option<String>,
    pub caveats: Vec<Caveat>,
    pub captures: Vec<CaptureView>,
    /// What came on its links lately, held ones first.
    pub recent: Vec<EntryRow>,
}

/// A capture of the folder.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Capture)]
pub struct CaptureView {
    pub name: String,
    pub topic: Option<String>,
    /// There is a golden to compare with.
    pub golden: bool,
    pub raw: Raw,
}

/// What checking a text found.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[schema(as = ProfileChecked)]
pub struct Checked {
    pub faults: Vec<Fault>,
    /// `Maker Model`, when it is without fault.
    pub device: Option<String>,
    pub metrics: Vec<MetricLine>,
}

/// What a text is tried on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tried {
    Capture(String),
    Entry(i64),
}

/// What came of it.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[schema(as = ProfileRan)]
pub struct Ran {
    pub faults: Vec<Fault>,
    /// Whether the fingerprint of the text recognises the frame; `None` without one.
    pub fits: Option<bool>,
    pub measurements: Vec<MeasurementView>,
    pub findings: Vec<Finding>,
    /// Why a person would have to look.
    pub held: Option<String>,
    /// Why there would be nothing to deliver.
    pub ignored: Option<String>,
    #[schema(value_type = Vec<Object>)]
    pub fhir: Vec<Box<RawValue>>,
    /// All it says, as goldens are written.
    pub says: String,
    /// The golden of the capture.
    pub golden: Option<String>,
    /// What the page in force says of the same frame.
    pub before: Option<String>,
}

/// A page is in force.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = PageApplied)]
pub struct Applied {
    #[serde(serialize_with = "rfc3339")]
    pub at: Timestamp,
    pub hash: String,
    /// Links that read with it from now on.
    pub links: Vec<String>,
    /// Those of them that were connected anew, because they speak otherwise now.
    pub restarted: Vec<String>,
    /// Held entries of these links, which may be readable now.
    pub held: u64,
}

/// Templates in force.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct Templates {
    pub pages: Vec<TemplateRow>,
    /// Messages that are translated, and their events.
    #[schema(schema_with = listed)]
    pub messages: Vec<(String, Vec<String>)>,
}

fn listed() -> Array {
    pairs(Vec::<String>::schema())
}

/// A page of templates.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Template)]
pub struct TemplateRow {
    pub name: String,
    pub source: Source,
    pub bytes: usize,
}

/// What a message became.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct TemplateRan {
    pub faults: Vec<Fault>,
    pub findings: Vec<Finding>,
    #[schema(value_type = Vec<Object>)]
    pub fhir: Vec<Box<RawValue>>,
    /// Why it was not translated.
    pub detail: Option<String>,
}

impl Ran {
    /// With what the gateway would make of it.
    #[must_use]
    pub fn explained(mut self, explained: Explained) -> Self {
        self.measurements = explained.measurements;
        self.findings = explained.findings;
        self.fhir = explained.fhir;
        self
    }
}

impl From<StoreError> for Refusal {
    fn from(fault: StoreError) -> Self {
        Self::Failed(fault.0)
    }
}
