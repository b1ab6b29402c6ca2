//! For whoever talks FHIR R4: the resources Bedside writes, the Bundle that carries them, and what servers answer.
//!
//! A [`Resource`] is finished JSON text with its key. Its text is made once, in the element order of the
//! specification and with a device's digits as they were (`2.0` stays `2.0`); a Bundle only copies it. Its id is a
//! function of its identifier, so the same fact has the same id on every gateway and at every attempt.

mod answer;
mod bundle;
mod resources;
mod types;

use crate::sabotage::{Sabotage, commits};
use aws_lc_rs::digest;
use serde::Serialize;
use serde_json::value::RawValue;

pub use answer::{Answer, AnswerError, BODY_BYTES_MAX, EntryAnswer, Issue, Outcome, fuzz};
pub use bundle::{Mode, Placement, Transaction, identifier_query, query_value};
pub use resources::{
    AgentReference, Component, Device, DeviceMetric, DeviceName, DeviceVersion, HumanName, Observation,
    Patient, Provenance, ProvenanceAgent, ReferenceRange, Specialization, Specimen,
};
pub use types::{
    Annotation, CodeableConcept, Coding, Effective, Extension, ExtensionValue, Identifier, Meta,
    ObservationValue, Period, Quantity, Reference, SampledData,
};

/// One resource, ready to be sent.
#[derive(Clone, Debug)]
pub struct Resource {
    /// `Observation`, `Device` …
    pub kind: &'static str,
    /// What [`id`] makes of the identifier.
    pub id: String,
    /// The business identifier that makes this the same resource everywhere: system and value.
    pub identifier: (String, String),
    /// Compact JSON; references to resources of the same list read `Kind/id`.
    pub json: Box<RawValue>,
    /// It must overwrite what a server already holds under this identifier (a corrected or withdrawn result): "create
    /// it unless it exists" would lose it.
    pub replaces: bool,
}

impl Resource {
    /// Writes `body` (one of this room's resources, whose `id` is [`id`] of the same arguments) as JSON.
    pub fn new(
        kind: &'static str,
        id: String,
        identifier: (String, String),
        body: &impl Serialize,
    ) -> Result<Self, serde_json::Error> {
        Ok(Self { kind, id, identifier, json: serde_json::value::to_raw_value(body)?, replaces: false })
    }

    /// Its place in a Bundle: what is referred to stands before what refers to it, for servers that resolve as they go.
    pub fn rank(&self) -> u8 {
        match self.kind {
            "Device" | "Organization" | "Practitioner" | "Location" | "Substance" | "Medication" => 0,
            "DeviceMetric" | "PractitionerRole" => 1,
            "Patient" => 2,
            "Specimen" => 3,
            "Provenance" => 5,
            _ => 4,
        }
    }

    /// The resource as a JSON tree, for looking into it.
    pub fn value(&self) -> serde_json::Value {
        serde_json::from_str(self.json.get()).unwrap_or_default()
    }
}

impl PartialEq for Resource {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind && self.id == other.id && self.json.get() == other.json.get()
    }
}

impl Serialize for Resource {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.json.serialize(serializer)
    }
}

/// The id of the resource that `system|value` identifies: a UUID of version 8 (RFC 9562 section 5.8) made of the
/// first 16 bytes of SHA-256 over `kind|system|value`. The first two never hold a `|`, so no two keys read alike.
pub fn id(kind: &str, system: &str, value: &str) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in [kind, "|", system, "|", value] {
        context.update(part.as_bytes());
    }
    if commits(Sabotage::RandomIds) {
        context.update(&std::process::id().to_be_bytes());
    }
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_depends_on_kind_system_and_value_and_on_nothing_else() {
        let first = id("Patient", "urn:oid:1.2", "7");
        assert_eq!(first, id("Patient", "urn:oid:1.2", "7"));
        // printf 'Patient|urn:oid:1.2|7' | sha256sum, with the version and variant bits of RFC 9562 set.
        assert_eq!(first, "d9863da0-0add-8bcb-9312-968abb6d3d96");
        let others = [
            id("Device", "urn:oid:1.2", "7"),
            id("Patient", "urn:oid:1.27", ""),
            id("Patient", "urn:oid:1", ".2|7"),
        ];
        assert!(others.iter().all(|other| *other != first));
        assert!(first.len() <= 64 && first.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-'));
    }

    #[test]
    fn a_resource_is_written_in_the_order_of_the_specification_with_its_digits() {
        let body = Observation {
            id: "x",
            meta: Meta::default(),
            extension: Vec::new(),
            identifier: [Identifier { value: "v".into(), ..Identifier::default() }],
            based_on: Vec::new(),
            status: "final",
            category: Vec::new(),
            code: CodeableConcept::text("Temperature"),
            subject: None,
            effective: Effective::DateTime("2024-05-01".into()),
            value: Some(ObservationValue::Quantity(Quantity {
                value: Some("37.0".parse().unwrap()),
                ..Quantity::default()
            })),
            interpretation: Vec::new(),
            note: Vec::new(),
            body_site: None,
            method: None,
            specimen: None,
            device: Some(Reference::to("Device", "d")),
            derived_from: Vec::new(),
            reference_range: Vec::new(),
            component: Vec::new(),
        };
        let resource = Resource::new("Observation", "x".into(), ("s".into(), "v".into()), &body).unwrap();
        assert_eq!(
            resource.json.get(),
            r#"{"resourceType":"Observation","id":"x","identifier":[{"value":"v"}],"status":"final","code":{"text":"Temperature"},"effectiveDateTime":"2024-05-01","valueQuantity":{"value":37.0},"device":{"reference":"Device/d"}}"#
        );
        assert_eq!(resource.value()["valueQuantity"]["value"].to_string(), "37.0");
    }
}
