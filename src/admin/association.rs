//! What the desk shows and takes of devices and patients: who is on which device, since when and by whose word, what
//! waits for somebody to say so, and corrections with their reason. The gateway answers.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::Object;

use super::command::Refusal;
use super::json::{rfc3339, rfc3339_or_null, words};
use super::worklist::PatientWanted;
use crate::buffer::NewAudit;
use crate::clock::Timestamp;
use crate::connector::Later;

/// Devices and patients as the desk sees them. Changes are written with their line of the trail or not at all.
pub trait Associations: Send + Sync {
    /// Every device and who is on it now.
    fn standing(&self) -> Later<'_, Result<Standing, Refusal>>;
    /// All that is known of one device's time.
    fn timeline(&self, device: String) -> Later<'_, Result<Timeline, Refusal>>;
    /// What waits for somebody to say whose it is, oldest first; of one device or all, in one state or all.
    fn doubts(&self, wanted: DoubtsWanted) -> Later<'_, Result<Doubts, Refusal>>;
    /// The device a scanned or typed code stands for: its key, serial number, an identifier or its label.
    fn find(&self, code: String) -> Later<'_, Result<DeviceView, Refusal>>;
    /// A device is with a patient.
    fn associate(&self, wanted: AssociationWanted, audit: NewAudit) -> Later<'_, Result<Done, Refusal>>;
    /// It is not any more.
    fn end(&self, id: i64, wanted: EndWanted, audit: NewAudit) -> Later<'_, Result<Done, Refusal>>;
    /// It never was, or otherwise.
    fn correct(&self, id: i64, wanted: CorrectionWanted, audit: NewAudit)
    -> Later<'_, Result<Done, Refusal>>;
    /// Where a device stands.
    fn home(&self, wanted: HomeWanted, audit: NewAudit) -> Later<'_, Result<Done, Refusal>>;
}

/// The page.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[schema(as = Associations)]
pub struct Standing {
    pub devices: Vec<DeviceView>,
    pub waiting: DoubtCounts,
    pub policy: PolicyView,
}

/// A device and who is on it.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[schema(as = AssociatedDevice)]
pub struct DeviceView {
    pub key: String,
    pub label: String,
    pub link: String,
    pub home: Option<PlaceView>,
    /// The association that holds now.
    pub association: Option<AssociationView>,
    /// Who is in its bed now, by the patient index.
    pub in_bed: Vec<PersonView>,
    pub waiting: DoubtCounts,
}

/// Entries that wait, by why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct DoubtCounts {
    pub orphan: u64,
    pub conflict: u64,
    pub review: u64,
}

/// The site's rules, to be shown.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = AssociationPolicy)]
pub struct PolicyView {
    /// `deliver` or `hold`.
    #[schema(schema_with = policy_unknown)]
    pub unknown: &'static str,
    pub timeout_h: Option<u32>,
    pub end_on: Vec<&'static str>,
    /// `leave` or `relink`.
    #[schema(schema_with = policy_on_merge)]
    pub on_merge: &'static str,
}

impl Default for PolicyView {
    fn default() -> Self {
        Self { unknown: "deliver", timeout_h: None, end_on: Vec::new(), on_merge: "leave" }
    }
}

fn policy_on_merge() -> Object {
    words(&["leave", "relink"])
}

fn policy_unknown() -> Object {
    words(&["deliver", "hold"])
}

/// A person.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Person)]
pub struct PersonView {
    pub id: String,
    pub system: String,
    pub family: Option<String>,
    pub given: Option<String>,
    pub birth_date: Option<String>,
    pub gender: Option<String>,
    /// The patient index knows the person.
    pub known: bool,
}

/// A place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Place)]
pub struct PlaceView {
    pub facility: Option<String>,
    pub point_of_care: Option<String>,
    pub room: Option<String>,
    pub bed: Option<String>,
    /// For people: `ICU 4-2`.
    pub label: String,
}

/// An association.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Association)]
pub struct AssociationView {
    pub id: i64,
    pub patient: PersonView,
    #[serde(serialize_with = "rfc3339")]
    pub since: Timestamp,
    #[serde(serialize_with = "rfc3339_or_null")]
    pub until: Option<Timestamp>,
    /// `manual` or `scanned`.
    #[schema(schema_with = association_source)]
    pub source: &'static str,
    /// It stands above what the device and the bed say.
    pub overrules: bool,
    pub by: String,
    #[serde(serialize_with = "rfc3339")]
    pub made: Timestamp,
    pub reason: Option<String>,
    /// A user, `discharge`, `transfer` or `timeout`.
    pub ended_by: Option<String>,
    pub ended_why: Option<String>,
    /// It was wrong and counts no more.
    pub void: Option<VoidView>,
}

fn association_source() -> Object {
    words(&["manual", "scanned"])
}

/// Why an association counts no more.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = VoidAssociation)]
pub struct VoidView {
    #[serde(serialize_with = "rfc3339")]
    pub at: Timestamp,
    pub by: String,
    pub why: String,
    pub replaced_by: Option<i64>,
}

/// One device's time.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[schema(as = DeviceTimeline)]
pub struct Timeline {
    pub device: DeviceView,
    /// The latest first; void ones too.
    pub associations: Vec<AssociationView>,
    /// The latest first.
    pub homes: Vec<HomeView>,
}

/// Where a device stood.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = DeviceHome)]
pub struct HomeView {
    pub place: PlaceView,
    #[serde(serialize_with = "rfc3339")]
    pub since: Timestamp,
    #[serde(serialize_with = "rfc3339_or_null")]
    pub until: Option<Timestamp>,
    pub by: String,
}

/// Which entries are wanted.
#[derive(Clone, Debug, Default)]
pub struct DoubtsWanted {
    pub device: Option<String>,
    pub state: Option<String>,
    pub after: i64,
}

/// Entries that wait for somebody to say whose they are.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct Doubts {
    pub doubts: Vec<DoubtView>,
    pub counts: DoubtCounts,
    /// Ask on with `after`.
    pub next: Option<i64>,
}

/// One of them.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Doubt)]
pub struct DoubtView {
    pub entry: i64,
    pub device: String,
    /// `orphan`, `conflict` or `review`.
    #[schema(schema_with = doubt_state)]
    pub state: &'static str,
    pub why: String,
    #[serde(serialize_with = "rfc3339")]
    pub first: Timestamp,
    #[serde(serialize_with = "rfc3339")]
    pub last: Timestamp,
}

fn doubt_state() -> Object {
    words(&["orphan", "conflict", "review"])
}

/// What a change did to entries, as far as it is done when the answer is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = AssociationDone)]
pub struct Done {
    /// The association made, ended or put in its place.
    pub id: Option<i64>,
    /// Held entries that go out now.
    pub released: u64,
    /// Delivered entries that go out again under the right patient.
    pub corrected: u64,
    /// Entries that still wait or wait now.
    pub held: u64,
    /// Entries of that time that are no longer kept: what was delivered of them stays as it is.
    pub beyond: u64,
}

/// What a scanner read, to be looked for among the devices.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Scanned {
    pub code: String,
}

/// An association to be made.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AssociationWanted {
    /// Its key, or a code as [`Associations::find`] takes it.
    pub device: String,
    pub patient: PatientWanted,
    /// RFC 3339; now when it is not said.
    #[serde(default)]
    pub from: Option<String>,
    #[serde(default)]
    pub until: Option<String>,
    #[serde(default)]
    pub scanned: bool,
    /// Another patient is on the device: that ends where this begins.
    #[serde(default)]
    pub replace: bool,
    /// It stands above what the device and the bed say; asks for a reason.
    #[serde(default)]
    pub overrules: bool,
    #[serde(default)]
    pub reason: Option<String>,
    /// The patient index does not know the number, and it is right all the same.
    #[serde(default)]
    pub unknown: bool,
}

/// An end.
#[derive(Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = AssociationEnd)]
pub struct EndWanted {
    /// RFC 3339; now when it is not said.
    pub at: Option<String>,
    pub reason: Option<String>,
}

/// A correction.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AssociationCorrection)]
pub struct CorrectionWanted {
    pub reason: String,
    /// Nobody was on the device: nothing takes its place.
    #[serde(default)]
    pub nobody: bool,
    /// What is not said stays as it was.
    #[serde(default)]
    pub patient: Option<PatientWanted>,
    #[serde(default)]
    pub from: Option<String>,
    #[serde(default)]
    pub until: Option<String>,
    /// It is open again.
    #[serde(default)]
    pub open: bool,
    #[serde(default)]
    pub overrules: Option<bool>,
    #[serde(default)]
    pub unknown: bool,
}

/// A home.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DeviceHomeWanted)]
pub struct HomeWanted {
    pub device: String,
    /// None: it has no home any more.
    #[serde(default)]
    pub place: Option<PlaceWanted>,
    #[serde(default)]
    pub from: Option<String>,
}

/// A place as typed.
#[derive(Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PlaceWanted {
    pub facility: String,
    pub point_of_care: String,
    pub room: String,
    pub bed: String,
}
