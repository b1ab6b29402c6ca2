//! The R4 resources Bedside writes, as far as it fills them.

use std::borrow::Cow;

use serde::Serialize;

use super::types::{
    Annotation, CodeableConcept, Effective, Extension, Identifier, Meta, ObservationValue, Quantity,
    Reference,
};

/// `Observation` (R4 10.1). The value and the reason for its absence are one field: they exclude each other.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "resourceType", rename_all = "camelCase")]
pub struct Observation<'a> {
    pub id: &'a str,
    #[serde(skip_serializing_if = "Meta::is_empty")]
    pub meta: Meta<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extension: Vec<Extension<'a>>,
    pub identifier: [Identifier<'a>; 1],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub based_on: Vec<Reference<'a>>,
    pub status: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub category: Vec<CodeableConcept<'static>>,
    pub code: CodeableConcept<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<Reference<'a>>,
    #[serde(flatten)]
    pub effective: Effective,
    #[serde(flatten)]
    pub value: Option<ObservationValue<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub interpretation: Vec<CodeableConcept<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub note: Vec<Annotation<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_site: Option<CodeableConcept<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<CodeableConcept<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub specimen: Option<Reference<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<Reference<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub derived_from: Vec<Reference<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reference_range: Vec<ReferenceRange<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub component: Vec<Component<'a>>,
}

/// `Observation.component`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Component<'a> {
    pub code: CodeableConcept<'a>,
    /// Never left out: vs-3 asks for a value or the reason why there is none.
    #[serde(flatten)]
    pub value: ObservationValue<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub interpretation: Vec<CodeableConcept<'a>>,
}

/// `Observation.referenceRange`; obs-3: a low, a high or a text.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ReferenceRange<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub low: Option<Quantity<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub high: Option<Quantity<'a>>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<CodeableConcept<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<Cow<'a, str>>,
}

/// `Device` (R4 8.9): a monitor, one of its parts, a personal device, an analyser, or this gateway.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(tag = "resourceType", rename_all = "camelCase")]
pub struct Device<'a> {
    pub id: &'a str,
    #[serde(skip_serializing_if = "Meta::is_empty")]
    pub meta: Meta<'a>,
    pub identifier: Vec<Identifier<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manufacturer: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial_number: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub device_name: Vec<DeviceName<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_number: Option<Cow<'a, str>>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<CodeableConcept<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub specialization: Vec<Specialization<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub version: Vec<DeviceVersion<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<Reference<'a>>,
}

/// `Device.deviceName`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeviceName<'a> {
    pub name: Cow<'a, str>,
    /// R4 `device-nametype`: `model-name`, `user-friendly-name` …
    #[serde(rename = "type")]
    pub kind: &'static str,
}

/// `Device.specialization`: the IEEE 11073 device specialisation a device speaks.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Specialization<'a> {
    pub system_type: CodeableConcept<'a>,
}

/// `Device.version`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeviceVersion<'a> {
    #[serde(rename = "type")]
    pub kind: CodeableConcept<'static>,
    pub value: Cow<'a, str>,
}

/// `DeviceMetric` (R4 8.10): what a bedside monitor can measure, at its place in the containment tree.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "resourceType", rename_all = "camelCase")]
pub struct DeviceMetric<'a> {
    pub id: &'a str,
    #[serde(skip_serializing_if = "Meta::is_empty")]
    pub meta: Meta<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extension: Vec<Extension<'a>>,
    pub identifier: [Identifier<'a>; 1],
    #[serde(rename = "type")]
    pub kind: CodeableConcept<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<CodeableConcept<'a>>,
    pub source: Reference<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<Reference<'a>>,
    /// R4 `metric-operational-status`: `on`, `off` …
    pub operational_status: &'static str,
    /// R4 `metric-category`: `measurement`, `setting`, `calculation`, `unspecified`.
    pub category: &'static str,
}

/// `Patient` (R4 8.1) holding what the device said of a person and nothing else.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "resourceType", rename_all = "camelCase")]
pub struct Patient<'a> {
    pub id: &'a str,
    #[serde(skip_serializing_if = "Meta::is_empty")]
    pub meta: Meta<'a>,
    pub identifier: Vec<Identifier<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub name: Vec<HumanName<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gender: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub birth_date: Option<Cow<'a, str>>,
}

/// `HumanName` (R4 2.24.0.12).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HumanName<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub given: Vec<Cow<'a, str>>,
}

/// `Specimen` (R4 10.6).
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "resourceType", rename_all = "camelCase")]
pub struct Specimen<'a> {
    pub id: &'a str,
    #[serde(skip_serializing_if = "Meta::is_empty")]
    pub meta: Meta<'a>,
    pub identifier: [Identifier<'a>; 1],
    /// The barcode or accession number as the device read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accession_identifier: Option<Identifier<'a>>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<CodeableConcept<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<Reference<'a>>,
}

/// `Provenance` (R4 6.3): who had results taken back and delivered again, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "resourceType", rename_all = "camelCase")]
pub struct Provenance<'a> {
    pub id: &'a str,
    #[serde(skip_serializing_if = "Meta::is_empty")]
    pub meta: Meta<'a>,
    /// What was made and what was taken back.
    pub target: Vec<Reference<'a>>,
    /// R4 `instant`.
    pub recorded: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reason: Vec<CodeableConcept<'a>>,
    pub activity: CodeableConcept<'a>,
    pub agent: Vec<ProvenanceAgent<'a>>,
}

/// `Provenance.agent`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProvenanceAgent<'a> {
    #[serde(rename = "type")]
    pub kind: CodeableConcept<'a>,
    pub who: AgentReference<'a>,
}

/// Who, as people read it, and by identifier where there is one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AgentReference<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identifier: Option<Identifier<'a>>,
    pub display: Cow<'a, str>,
}
