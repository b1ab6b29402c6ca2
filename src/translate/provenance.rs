//! Who had results taken back and delivered again, and why: one Provenance beside the new versions.

use crate::clock::Timestamp;
use crate::fhir::{self, AgentReference, CodeableConcept, Coding, ProvenanceAgent, Reference, Resource};

use super::list::{URI, key};
use super::{Gateway, Held, clean, list};

const OPERATION: &str = "http://terminology.hl7.org/CodeSystem/v3-DataOperation";
const PARTICIPANT: &str = "http://terminology.hl7.org/CodeSystem/provenance-participant-type";

/// A correction that was decided.
#[derive(Clone, Debug)]
pub struct Correction<'a> {
    /// The user who decided, or what did.
    pub who: &'a str,
    pub why: &'a str,
    pub at: Timestamp,
    /// What tells this correction from every other.
    pub key: &'a str,
}

/// The Provenance of `targets`: Observations made and taken back.
pub fn provenance(
    targets: &[&Resource],
    correction: &Correction<'_>,
    gateway: &Gateway,
    simulated: bool,
) -> Result<Resource, Held> {
    let identity = key("Provenance", &[&gateway.id.value, correction.key]);
    let id = fhir::id("Provenance", URI, &identity);
    let agent = |code, display, who| ProvenanceAgent {
        kind: CodeableConcept::of(Coding::fixed(PARTICIPANT, code, display)),
        who,
    };
    let by = clean::text(correction.who).unwrap_or_else(|| "unknown".into());
    let box_itself = clean::text(&gateway.name).unwrap_or_else(|| "Bedside".into());
    let identifier = clean::text(&gateway.id.value).map(|value| fhir::Identifier {
        kind: None,
        system: clean::system(&gateway.id.system),
        value,
    });
    let body = fhir::Provenance {
        id: &id,
        meta: list::meta(simulated),
        target: targets.iter().map(|resource| Reference::to(resource.kind, &resource.id)).collect(),
        recorded: correction.at.rfc3339(),
        reason: clean::text(correction.why).map(CodeableConcept::text).into_iter().collect(),
        activity: CodeableConcept::of(Coding::fixed(OPERATION, "UPDATE", "revise")),
        agent: vec![
            agent("author", "Author", AgentReference { identifier: None, display: by }),
            agent("assembler", "Assembler", AgentReference { identifier, display: box_itself }),
        ],
    };
    Resource::new("Provenance", id.clone(), (URI.into(), identity), &body)
        .map_err(|fault| Held::Json(fault.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Identifier;

    fn observation(id: &str) -> Resource {
        Resource::new("Observation", id.into(), ("s".into(), id.into()), &"x").unwrap()
    }

    #[test]
    fn it_names_what_was_made_and_taken_back_who_when_and_why() {
        let gateway = Gateway {
            id: Identifier { system: "urn:ietf:rfc:3986".into(), value: "urn:uuid:7".into(), kind: None },
            name: "Ward 3".into(),
            version: "1".into(),
            patient_system: None,
        };
        let at = Timestamp::from_micros(1_773_477_000_000_000, true);
        let correction = Correction { who: "anna", why: "wrong monitor", at, key: "7" };
        let (made, gone) = (observation("a"), observation("b"));
        let one = provenance(&[&made, &gone], &correction, &gateway, true).unwrap();
        let tree = one.value();
        assert_eq!(tree["target"][0]["reference"], "Observation/a");
        assert_eq!(tree["target"][1]["reference"], "Observation/b");
        assert_eq!(tree["recorded"], "2026-03-14T08:30:00.000Z");
        assert_eq!(tree["agent"][0]["who"]["display"], "anna");
        assert_eq!(tree["agent"][1]["who"]["identifier"]["value"], "urn:uuid:7");
        assert_eq!(tree["reason"][0]["text"], "wrong monitor");
        assert_eq!(tree["meta"]["security"][0]["code"], "HTEST");
        assert_eq!(
            provenance(&[&made], &correction, &gateway, true).unwrap().id,
            one.id,
            "told twice, once there"
        );
        assert!(one.rank() > made.rank(), "what is referred to stands before it");
    }
}
