//! What makes a resource the same resource, and what makes it worth sending again.

use aws_lc_rs::digest;

use crate::fhir::Resource;

/// SHA-256 of the JSON that was sent.
pub(super) type Digest = [u8; 32];

/// `Type/id`: the identity by which no resource is twice in a Bundle or twice on its way.
pub(super) fn key(resource: &Resource) -> String {
    format!("{}/{}", resource.kind, resource.id)
}

/// Whether a resource describes something that stays (device, patient) rather than what was measured.
pub(super) fn lasting(resource: &Resource) -> bool {
    !matches!(resource.kind, "Observation" | "DiagnosticReport" | "Provenance")
}

/// Whether a resource only says in passing who or which visit it is about, as a result does: it makes one where the server
/// has none, and takes nothing from what patient administration said.
pub(super) fn in_passing(resource: &Resource) -> bool {
    matches!(resource.kind, "Patient" | "Encounter") && !resource.replaces
}

/// The digest by which an unchanged resource is recognised.
pub(super) fn digest(resource: &Resource) -> Digest {
    let mut digest = Digest::default();
    digest.copy_from_slice(digest::digest(&digest::SHA256, resource.json.get().as_bytes()).as_ref());
    digest
}

/// The search for a resource by its identifier.
pub(super) fn identifier_query(resource: &Resource) -> String {
    crate::fhir::identifier_query(&resource.identifier.0, &resource.identifier.1)
}
