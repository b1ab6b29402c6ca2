//! FHIR R4 data types as far as Bedside writes them, borrowed from what they are made of.
//!
//! Absent elements are skipped and the order of the fields is the order of the specification.

use std::borrow::Cow;

use serde::Serialize;

use crate::device::Decimal;

/// `Coding` (R4 2.24.0.4).
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Coding<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display: Option<Cow<'a, str>>,
}

impl Coding<'static> {
    /// A code of the standards, known at build time.
    pub const fn fixed(system: &'static str, code: &'static str, display: &'static str) -> Self {
        Self {
            system: Some(Cow::Borrowed(system)),
            code: Some(Cow::Borrowed(code)),
            display: Some(Cow::Borrowed(display)),
        }
    }
}

/// `CodeableConcept` (R4 2.24.0.5).
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CodeableConcept<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub coding: Vec<Coding<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<Cow<'a, str>>,
}

impl<'a> CodeableConcept<'a> {
    /// A concept that is one code.
    pub fn of(coding: Coding<'a>) -> Self {
        Self { coding: vec![coding], text: None }
    }

    /// A concept nobody has coded.
    pub fn text(text: impl Into<Cow<'a, str>>) -> Self {
        Self { coding: Vec::new(), text: Some(text.into()) }
    }
}

/// `Identifier` (R4 2.24.0.11).
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Identifier<'a> {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<CodeableConcept<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<Cow<'a, str>>,
    pub value: Cow<'a, str>,
}

/// `Reference` (R4 2.3.0): to a resource of the same list by `Kind/id`, or by the identifier of one kept elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Reference<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identifier: Option<Identifier<'a>>,
}

impl Reference<'_> {
    /// A literal reference to a resource of the same list.
    pub fn to(kind: &str, id: &str) -> Self {
        Self { reference: Some(format!("{kind}/{id}")), ..Self::default() }
    }
}

/// `Quantity` (R4 2.24.0.7).
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Quantity<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Decimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comparator: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<Cow<'a, str>>,
}

/// `Period` (R4 2.24.0.10).
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Period {
    pub start: String,
    pub end: String,
}

/// `SampledData` (R4 2.24.0.14).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SampledData<'a> {
    pub origin: Quantity<'a>,
    /// Milliseconds between samples.
    pub period: Decimal,
    pub factor: Decimal,
    pub dimensions: u32,
    /// Integers separated by spaces; `E` where the device could not sample.
    pub data: String,
}

/// `Annotation` (R4 2.24.0.15).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Annotation<'a> {
    pub text: Cow<'a, str>,
}

/// `Meta` (R4 2.26.1).
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Meta<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub profile: Vec<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub security: Vec<Coding<'static>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tag: Vec<Coding<'a>>,
}

impl Meta<'_> {
    /// Nothing to say.
    pub fn is_empty(&self) -> bool {
        self.profile.is_empty() && self.security.is_empty() && self.tag.is_empty()
    }
}

/// `Extension` (R4 2.23).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Extension<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extension: Vec<Extension<'a>>,
    pub url: &'static str,
    #[serde(flatten)]
    pub value: Option<ExtensionValue<'a>>,
}

/// The types an extension of ours carries.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum ExtensionValue<'a> {
    #[serde(rename = "valueReference")]
    Reference(Reference<'a>),
    #[serde(rename = "valueQuantity")]
    Quantity(Quantity<'a>),
    #[serde(rename = "valueCodeableConcept")]
    CodeableConcept(CodeableConcept<'a>),
}

/// `value[x]` of an Observation or of one of its components.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum ObservationValue<'a> {
    #[serde(rename = "valueQuantity")]
    Quantity(Quantity<'a>),
    #[serde(rename = "valueCodeableConcept")]
    CodeableConcept(CodeableConcept<'a>),
    #[serde(rename = "valueString")]
    String(Cow<'a, str>),
    #[serde(rename = "valueBoolean")]
    Boolean(bool),
    #[serde(rename = "valueDateTime")]
    DateTime(String),
    #[serde(rename = "valueSampledData")]
    SampledData(SampledData<'a>),
    /// Why there is no value (obs-6: never beside one).
    #[serde(rename = "dataAbsentReason")]
    Absent(CodeableConcept<'a>),
}

/// `effective[x]` of an Observation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Effective {
    #[serde(rename = "effectiveDateTime")]
    DateTime(String),
    #[serde(rename = "effectivePeriod")]
    Period(Period),
}
