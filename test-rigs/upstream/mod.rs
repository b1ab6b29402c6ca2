//! What the rigs of the upstream share: a box with its key, and entries as translate makes them.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use bedside::clock::{SharedClock, SystemClock};
use bedside::fhir::{self, Resource};
use bedside::secret::SecretStore;
use bedside::upstream::keys::{self, Algorithm, SigningKey};
use bedside::upstream::{Config, Upstream, Verdict};
use serde_json::value::RawValue;
use serde_json::{Value, json};

pub(crate) const CLIENT: &str = "bedside-rig";
pub(crate) const MRN: &str = "http://clinic.example/mrn";

/// A folder with secrets, as `bedside keys new` leaves it.
pub(crate) struct Keys {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) store: SecretStore,
}

impl Keys {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = SecretStore::new(None, Some(dir.path().into()));
        let keys = Self { dir, store };
        keys.put("upstream-key", algorithm);
        keys
    }

    /// Writes a new key under `name` and returns its public half.
    pub(crate) fn put(&self, name: &str, algorithm: Algorithm) -> Value {
        let pem = keys::generate(algorithm).unwrap();
        let path = self.dir.path().join(name);
        std::fs::write(&path, pem.expose()).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        SigningKey::from_pem(pem.expose()).unwrap().public_jwk().clone()
    }

    pub(crate) fn jwks(&self) -> Value {
        let pem = self.store.load("upstream-key").unwrap();
        json!({ "keys": [SigningKey::from_pem(pem.expose()).unwrap().public_jwk()] })
    }
}

pub(crate) fn clock() -> SharedClock {
    Arc::new(SystemClock::default())
}

pub(crate) fn connect(
    base: &str,
    keys: &Keys,
    clock: SharedClock,
    change: impl FnOnce(&mut Config),
) -> Upstream {
    let mut config = Config::new(base);
    config.client_id = CLIENT.into();
    config.timeout_s = 2;
    change(&mut config);
    Upstream::new(config, &keys.store, clock).unwrap()
}

fn resource(kind: &'static str, system: &str, value: &str, mut json: Value) -> Resource {
    let id = fhir::id(kind, system, value);
    json["resourceType"] = json!(kind);
    json["id"] = json!(id);
    json["identifier"] = json!([{ "system": system, "value": value }]);
    // The order of the specification: type and id first.
    let mut text = format!(r#"{{"resourceType":"{kind}","id":"{id}""#);
    let rest =
        json.as_object().unwrap().iter().filter(|(name, _)| !matches!(name.as_str(), "resourceType" | "id"));
    rest.for_each(|(name, element)| text.push_str(&format!(r#","{name}":{element}"#)));
    text.push('}');
    let json = RawValue::from_string(text).unwrap();
    Resource { kind, id, identifier: (system.into(), value.into()), json, replaces: false }
}

pub(crate) fn device(serial: &str) -> Resource {
    resource("Device", "urn:bedside:device", serial, json!({ "serialNumber": serial, "status": "active" }))
}

pub(crate) fn patient(mrn: &str) -> Resource {
    resource("Patient", MRN, mrn, json!({}))
}

/// One result on a patient, by a device. `text` makes it its own.
pub(crate) fn observation(text: &str, patient: &Resource, device: &Resource) -> Resource {
    let value: Value = serde_json::from_str("72.0").unwrap();
    let json = json!({
        "status": "final",
        "code": { "coding": [{ "system": "http://loinc.org", "code": "8867-4" }], "text": text },
        "subject": { "reference": format!("Patient/{}", patient.id) },
        "device": { "reference": format!("Device/{}", device.id) },
        "effectiveDateTime": "2026-11-22T10:00:00+01:00",
        "valueQuantity": { "value": value, "unit": "/min", "system": "http://unitsofmeasure.org", "code": "/min" },
    });
    resource("Observation", "urn:bedside:observation", text, json)
}

/// Spoils a resource so that every strict server refuses it.
pub(crate) fn spoiled(observation: &Resource) -> Resource {
    let json = observation.json.get().replace(r#""status":"final""#, r#""status":"finale""#);
    Resource { json: RawValue::from_string(json).unwrap(), ..observation.clone() }
}

/// `count` entries of one device and one patient with two results each, named by `run`.
pub(crate) fn entries(run: &str, count: usize) -> Vec<Vec<Resource>> {
    let (device, patient) = (device("SN-1"), patient("4711"));
    let entry = |n: usize| {
        let (a, b) = (format!("{run} {n} a"), format!("{run} {n} b"));
        vec![
            device.clone(),
            patient.clone(),
            observation(&a, &patient, &device),
            observation(&b, &patient, &device),
        ]
    };
    (0..count).map(entry).collect()
}

/// One letter per verdict: A, R (refused) or T (try again).
pub(crate) fn letters(verdicts: &[Verdict]) -> String {
    let letter = |verdict: &Verdict| match verdict {
        Verdict::Accepted { .. } => 'A',
        Verdict::Refused { .. } => 'R',
        Verdict::Retry { .. } => 'T',
    };
    verdicts.iter().map(letter).collect()
}

/// The reason of the first verdict that has one.
pub(crate) fn reason(verdicts: &[Verdict]) -> String {
    let mut reasons = verdicts.iter().filter_map(|verdict| match verdict {
        Verdict::Refused { reason, .. } | Verdict::Retry { reason, .. } => Some(reason.clone()),
        Verdict::Accepted { .. } => None,
    });
    reasons.next().unwrap_or_default()
}
