//! Strict enough to refuse: the structure a resource must have before the demo server takes it.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::reply::Refusal;

/// FHIR R4 ObservationStatus, required binding.
const STATUSES: [&str; 8] = [
    "registered",
    "preliminary",
    "final",
    "amended",
    "corrected",
    "cancelled",
    "entered-in-error",
    "unknown",
];
/// The types Bedside may send.
pub(super) const KINDS: [&str; 13] = [
    "Observation",
    "Device",
    "DeviceMetric",
    "Patient",
    "Specimen",
    "DiagnosticReport",
    "Provenance",
    "Location",
    "Practitioner",
    "Organization",
    "Encounter",
    "ServiceRequest",
    "AuditEvent",
];

/// The parts of a resource that the server looks at; the rest is kept as it came.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Sketch<'a> {
    #[serde(borrow)]
    pub(super) resource_type: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) identifier: Vec<Identifier<'a>>,
    #[serde(borrow, default)]
    pub(super) status: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) code: Option<Concept<'a>>,
    #[serde(borrow, default)]
    pub(super) subject: Option<Reference<'a>>,
    #[serde(borrow, default)]
    device: Option<Reference<'a>>,
    #[serde(borrow, default)]
    specimen: Option<OneOrMany<'a>>,
    #[serde(borrow, default)]
    parent: Option<OneOrMany<'a>>,
    #[serde(borrow, default)]
    source: Option<Reference<'a>>,
    #[serde(borrow, default)]
    has_member: Vec<Reference<'a>>,
    #[serde(borrow, default)]
    derived_from: Vec<Reference<'a>>,
    #[serde(borrow, default)]
    value_quantity: Option<Quantity<'a>>,
    #[serde(default)]
    value_codeable_concept: Option<IgnoredAny>,
    #[serde(default)]
    value_string: Option<String>,
    #[serde(default)]
    value_sampled_data: Option<IgnoredAny>,
    #[serde(default)]
    value_range: Option<IgnoredAny>,
    #[serde(default)]
    value_ratio: Option<IgnoredAny>,
    #[serde(default)]
    value_date_time: Option<IgnoredAny>,
    #[serde(default)]
    value_integer: Option<i64>,
    #[serde(default)]
    value_boolean: Option<bool>,
    #[serde(default)]
    data_absent_reason: Option<IgnoredAny>,
    #[serde(default)]
    effective_date_time: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Identifier<'a> {
    #[serde(borrow, default)]
    pub(super) system: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) value: Option<Cow<'a, str>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Concept<'a> {
    #[serde(borrow, default)]
    pub(super) coding: Vec<Coding<'a>>,
    #[serde(default)]
    text: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Coding<'a> {
    #[serde(borrow, default)]
    pub(super) system: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) code: Option<Cow<'a, str>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Reference<'a> {
    #[serde(borrow, default)]
    pub(super) reference: Option<Cow<'a, str>>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany<'a> {
    #[serde(borrow)]
    One(Reference<'a>),
    #[serde(borrow)]
    Many(Vec<Reference<'a>>),
}

#[derive(Debug, Deserialize)]
struct Quantity<'a> {
    #[serde(default)]
    value: Option<serde_json::Number>,
    #[serde(borrow, default)]
    code: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    system: Option<Cow<'a, str>>,
}

impl<'a> Sketch<'a> {
    /// Reads a resource; what does not fit R4's structure is refused as a FHIR server does.
    pub(super) fn read(json: &'a str) -> Result<Self, Refusal> {
        let sketch: Self = serde_json::from_str(json).map_err(|fault| {
            Refusal::new(422, "structure", format!("the resource does not have the structure of R4: {fault}"))
        })?;
        if !KINDS.contains(&sketch.resource_type.as_ref()) {
            return Err(Refusal::new(
                422,
                "not-supported",
                format!("resource type {} is not kept here", sketch.resource_type),
            ));
        }
        if sketch.resource_type == "Observation" {
            sketch.check_observation()?;
        }
        Ok(sketch)
    }

    fn check_observation(&self) -> Result<(), Refusal> {
        let required =
            |place: &str| Refusal::new(422, "required", format!("{place} is required (at {place})"));
        let invalid = |words: &str| Refusal::new(422, "invalid", words);
        match &self.status {
            None => return Err(required("Observation.status")),
            Some(status) if !STATUSES.contains(&status.as_ref()) => {
                return Err(Refusal::new(
                    422,
                    "code-invalid",
                    "Observation.status is not of ObservationStatus",
                ));
            }
            Some(_) => {}
        }
        let coded = |code: &Concept<'_>| {
            code.text.is_some() || code.coding.iter().any(|coding| coding.code.is_some())
        };
        if !self.code.as_ref().is_some_and(coded) {
            return Err(required("Observation.code"));
        }
        let values = [
            self.value_quantity.is_some(),
            self.value_codeable_concept.is_some(),
            self.value_string.is_some(),
            self.value_sampled_data.is_some(),
            self.value_range.is_some(),
            self.value_ratio.is_some(),
            self.value_date_time.is_some(),
            self.value_integer.is_some(),
            self.value_boolean.is_some(),
        ];
        let values = values.iter().filter(|has| **has).count();
        if values > 1 {
            return Err(invalid("Observation.value[x] is there more than once"));
        }
        if values > 0 && self.data_absent_reason.is_some() {
            return Err(invalid("obs-6: dataAbsentReason stands beside a value"));
        }
        if let Some(quantity) = &self.value_quantity {
            if quantity.code.is_some() && quantity.system.is_none() {
                return Err(invalid("qty-3: a coded unit needs a system"));
            }
            if quantity.value.is_none() {
                return Err(invalid("Observation.valueQuantity has no value"));
            }
        }
        let zoned = |time: &str| {
            !time.contains('T') || time.ends_with('Z') || time.rfind(['+', '-']) > time.find('T')
        };
        if self.effective_date_time.as_deref().is_some_and(|time| !zoned(time)) {
            return Err(invalid("Observation.effectiveDateTime has a time without an offset"));
        }
        Ok(())
    }

    /// Every reference the resource makes.
    pub(super) fn references(&self) -> impl Iterator<Item = &str> {
        let single = [&self.subject, &self.device, &self.source].into_iter().flatten();
        let loose = [&self.specimen, &self.parent].into_iter().flatten().flat_map(|some| match some {
            OneOrMany::One(one) => std::slice::from_ref(one),
            OneOrMany::Many(many) => many.as_slice(),
        });
        let listed = self.has_member.iter().chain(&self.derived_from);
        single.chain(loose).chain(listed).filter_map(|reference| reference.reference.as_deref())
    }

    /// `system|value` of each identifier.
    pub(super) fn identifiers(&self) -> Vec<String> {
        let token = |identifier: &Identifier<'_>| {
            format!(
                "{}|{}",
                identifier.system.as_deref().unwrap_or_default(),
                identifier.value.as_deref().unwrap_or_default()
            )
        };
        self.identifier.iter().map(token).collect()
    }

    /// `system|code` of each coding of `code`.
    pub(super) fn codes(&self) -> Vec<String> {
        let codings = self.code.iter().flat_map(|code| &code.coding);
        codings
            .map(|coding| {
                format!(
                    "{}|{}",
                    coding.system.as_deref().unwrap_or_default(),
                    coding.code.as_deref().unwrap_or_default()
                )
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observation(change: &str) -> Result<(), u16> {
        let json =
            format!(r#"{{"resourceType":"Observation","status":"final","code":{{"text":"x"}}{change}}}"#);
        Sketch::read(&json).map(|_| ()).map_err(|refusal| refusal.status)
    }

    #[test]
    fn a_sound_observation_passes_and_an_unsound_one_is_refused() {
        let good = r#","valueQuantity":{"value":2.0,"system":"http://unitsofmeasure.org","code":"mm[Hg]"}"#;
        assert_eq!(observation(good), Ok(()));
        for bad in [
            r#","valueQuantity":{"value":"2.0"}"#,
            r#","valueQuantity":{"value":1},"valueString":"x""#,
            r#","valueQuantity":{"value":1},"dataAbsentReason":{"text":"x"}"#,
            r#","valueQuantity":{"value":1,"code":"kg"}"#,
            r#","effectiveDateTime":"2026-01-01T10:00:00""#,
        ] {
            assert_eq!(observation(bad), Err(422), "{bad}");
        }
        for json in
            [r#"{"resourceType":"Observation","code":{"text":"x"}}"#, r#"{"resourceType":"Teapot"}"#, "[]"]
        {
            assert_eq!(Sketch::read(json).unwrap_err().status, 422, "{json}");
        }
    }

    #[test]
    fn references_are_found_wherever_they_stand() {
        let json = r#"{"resourceType":"Observation","status":"final","code":{"text":"x"},"subject":{"reference":"Patient/1"},
            "specimen":{"reference":"Specimen/1"},"hasMember":[{"reference":"Observation/2"}]}"#;
        let sketch = Sketch::read(json).unwrap();
        let references: Vec<&str> = sketch.references().collect();
        assert_eq!(references, ["Patient/1", "Specimen/1", "Observation/2"]);
    }
}
