//! What of a frame's resources a FHIR server or a folder gets: by link, device, patient, kind of resource, code and class.
//!
//! What is chosen takes along what it refers to: no reference leads to a resource that the receiver was not given.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;
use serde_json::Value;

use crate::fhir::Resource;

/// What goes there; everything where nothing is said. Each line narrows, and each takes any of what it names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Only {
    /// Names of links.
    pub links: Vec<String>,
    /// Keys of devices as the desk shows them.
    pub devices: Vec<String>,
    /// Numbers of patients, alone or as `system|number`.
    pub patients: Vec<String>,
    /// Kinds of resources, such as `Observation`.
    pub resources: Vec<String>,
    /// Codes of Observations and reports, alone or as `system|code`; also those of their components.
    pub codes: Vec<String>,
    pub classes: Vec<Class>,
}

/// What kind of thing an Observation tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    Alarm,
    Waveform,
    VitalSigns,
    Laboratory,
    /// Anything else: what a device says of itself, documents, reports without a category.
    Other,
}

impl Class {
    const fn word(self) -> &'static str {
        match self {
            Self::Alarm => "alarm",
            Self::Waveform => "waveform",
            Self::VitalSigns => "vital-signs",
            Self::Laboratory => "laboratory",
            Self::Other => "other",
        }
    }

    /// Reads it off a resource that was measured or reported.
    fn of(tree: &Value) -> Self {
        let categories = || list(tree, "category");
        let codes = || categories().flat_map(|one| list(one, "coding"));
        let has = |code: &str| codes().any(|coding| text(coding, "code") == Some(code));
        match () {
            () if has("alarm") => Self::Alarm,
            () if tree.get("valueSampledData").is_some() => Self::Waveform,
            () if has("laboratory") || has("LAB") => Self::Laboratory,
            () if has("vital-signs") => Self::VitalSigns,
            () => Self::Other,
        }
    }
}

/// Whether an alarm is among the resources: what goes out even when a line costs money.
pub fn has_alarm(resources: &[Resource]) -> bool {
    // The word is looked for first: most frames hold no alarm, and reading JSON costs more than making it.
    resources.iter().any(|one| {
        one.kind == "Observation"
            && one.json.get().contains(r#""alarm""#)
            && Class::of(&one.value()) == Class::Alarm
    })
}

impl Only {
    /// Whether nothing is said: everything goes.
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }

    /// As one sentence for people.
    pub fn says(&self) -> String {
        let classes: Vec<&str> = self.classes.iter().map(|class| class.word()).collect();
        let named = |what: &str, names: &[String]| {
            (!names.is_empty()).then(|| format!("{what} {}", names.join(", ")))
        };
        let patients = (!self.patients.is_empty()).then(|| format!("{} patients", self.patients.len()));
        let told: Vec<String> = [
            named("links", &self.links),
            named("devices", &self.devices),
            patients,
            named("kinds", &self.resources),
            named("codes", &self.codes),
            (!classes.is_empty()).then(|| format!("classes {}", classes.join(", "))),
        ]
        .into_iter()
        .flatten()
        .collect();
        match told.is_empty() {
            true => "everything, as FHIR resources".into(),
            false => format!("FHIR resources, only of {}", told.join("; of ")),
        }
    }

    /// Whether anything of this link and device may go.
    pub fn takes(&self, link: &str, device: Option<&str>) -> bool {
        let any = |names: &[String], name: &str| names.is_empty() || names.iter().any(|one| one == name);
        any(&self.links, link)
            && (self.devices.is_empty() || device.is_some_and(|key| any(&self.devices, key)))
    }

    /// What of these goes, in their order. What is taken back (`entered-in-error`) goes whoever's it was.
    pub fn choose(&self, resources: Vec<Resource>) -> Vec<Resource> {
        if self.patients.is_empty()
            && self.resources.is_empty()
            && self.codes.is_empty()
            && self.classes.is_empty()
        {
            return resources;
        }
        let patients: HashMap<&str, &(String, String)> = resources
            .iter()
            .filter(|one| one.kind == "Patient")
            .map(|one| (one.id.as_str(), &one.identifier))
            .collect();
        let mut chosen: HashSet<String> = resources
            .iter()
            .filter(|one| one.kind != "Provenance" && self.names(one, &patients))
            .map(key)
            .collect();
        let mut open: Vec<&Resource> = resources.iter().filter(|one| chosen.contains(&key(one))).collect();
        while let Some(one) = open.pop() {
            for target in references(one) {
                if let Some(other) = resources.iter().find(|other| key(other) == target)
                    && chosen.insert(target.to_owned())
                {
                    open.push(other);
                }
            }
        }
        // Who corrected what is told where all of what was corrected is.
        let told = |one: &Resource| {
            let targets = |target: &&str| target.starts_with("Observation/");
            references(one).filter(targets).all(|target| chosen.contains(target))
        };
        let provenances: HashSet<String> = resources
            .iter()
            .filter(|one| one.kind == "Provenance" && !chosen.is_empty() && told(one))
            .map(key)
            .collect();
        let goes = |one: &Resource| chosen.contains(&key(one)) || provenances.contains(&key(one));
        resources.into_iter().filter(goes).collect()
    }

    /// Whether the lines name this resource itself.
    fn names(&self, one: &Resource, patients: &HashMap<&str, &(String, String)>) -> bool {
        if self.resources.is_empty() {
            let accompanies =
                ["Device", "DeviceMetric", "Patient", "Specimen", "Practitioner", "Organization", "Location"];
            if accompanies.contains(&one.kind) {
                return false;
            }
        } else if !self.resources.iter().any(|kind| kind == one.kind) {
            return false;
        }
        let tree = one.value();
        let taken_back = text(&tree, "status") == Some("entered-in-error");
        let by_class = self.classes.is_empty() || self.classes.contains(&Class::of(&tree));
        let by_code = self.codes.is_empty()
            || codings(&tree).any(|coding| self.codes.iter().any(|code| is(coding, code)));
        by_class && by_code && (taken_back || self.patients.is_empty() || self.is_of(one, &tree, patients))
    }

    fn is_of(&self, one: &Resource, tree: &Value, patients: &HashMap<&str, &(String, String)>) -> bool {
        let reference = ["subject", "patient"].iter().find_map(|name| text(tree.get(name)?, "reference"));
        let id = match one.kind {
            "Patient" => Some(one.id.as_str()),
            _ => reference.and_then(|reference| reference.strip_prefix("Patient/")),
        };
        let known = id.and_then(|id| patients.get(id));
        known.is_some_and(|(system, value)| {
            self.patients.iter().any(|wanted| match wanted.rsplit_once('|') {
                Some((of, number)) => of == system && number == value,
                None => wanted == value,
            })
        })
    }
}

fn list<'t>(tree: &'t Value, name: &str) -> impl Iterator<Item = &'t Value> + use<'t> {
    tree.get(name).and_then(Value::as_array).into_iter().flatten()
}

fn text<'t>(tree: &'t Value, name: &str) -> Option<&'t str> {
    tree.get(name).and_then(Value::as_str)
}

fn key(one: &Resource) -> String {
    format!("{}/{}", one.kind, one.id)
}

fn is(coding: &Value, wanted: &str) -> bool {
    match wanted.rsplit_once('|') {
        Some((system, code)) => text(coding, "system") == Some(system) && text(coding, "code") == Some(code),
        None => text(coding, "code") == Some(wanted),
    }
}

fn codings(tree: &Value) -> impl Iterator<Item = &Value> {
    let own = tree.get("code").into_iter();
    let parts = list(tree, "component").filter_map(|part| part.get("code"));
    own.chain(parts).flat_map(|concept| list(concept, "coding"))
}

/// `Kind/id` of what it refers to. The text is compact JSON of our own making: a quote inside a string has a backslash
/// before it, so the mark can only be a key and its value.
fn references(one: &Resource) -> impl Iterator<Item = &str> {
    one.json.get().split(r#""reference":""#).skip(1).filter_map(|rest| rest.split('"').next())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn resource(kind: &'static str, id: &str, tree: Value) -> Resource {
        let mut tree = tree;
        tree["resourceType"] = json!(kind);
        tree["id"] = json!(id);
        Resource::new(kind, id.into(), ("urn:mrn".into(), format!("n-{id}")), &tree).unwrap()
    }

    fn observation(id: &str, patient: &str, category: &str, code: &str) -> Resource {
        resource(
            "Observation",
            id,
            json!({ "status": "final", "category": [{ "coding": [{ "code": category }] }],
                "code": { "coding": [{ "system": "http://loinc.org", "code": code }] },
                "subject": { "reference": format!("Patient/{patient}") }, "device": { "reference": "DeviceMetric/m" } }),
        )
    }

    fn ward() -> Vec<Resource> {
        vec![
            resource("Device", "d", json!({})),
            resource("DeviceMetric", "m", json!({ "source": { "reference": "Device/d" } })),
            resource("Patient", "1", json!({})),
            resource("Patient", "2", json!({})),
            observation("hr", "1", "vital-signs", "8867-4"),
            observation("low", "1", "alarm", "196670"),
            observation("k", "2", "laboratory", "2823-3"),
        ]
    }

    fn chosen(only: &str) -> String {
        let only: Only = toml::from_str(only).unwrap();
        only.choose(ward()).iter().map(|one| one.id.as_str()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_is_chosen_takes_along_what_it_refers_to_and_nothing_else() {
        for (only, ids) in [
            ("", "d m 1 2 hr low k"),
            ("classes = [\"alarm\"]", "d m 1 low"),
            ("codes = [\"8867-4\"]", "d m 1 hr"),
            ("codes = [\"http://loinc.org|2823-3\"]", "d m 2 k"),
            ("codes = [\"urn:x|2823-3\"]", ""),
            ("patients = [\"n-2\"]", "d m 2 k"),
            ("patients = [\"urn:mrn|n-1\"]\nclasses = [\"vital-signs\", \"laboratory\"]", "d m 1 hr"),
            ("resources = [\"Patient\"]", "1 2"),
            ("resources = [\"Observation\"]", "d m 1 2 hr low k"),
            ("resources = [\"Encounter\"]", ""),
        ] {
            assert_eq!(chosen(only), ids, "{only}");
        }
    }

    #[test]
    fn links_and_devices_decide_before_a_frame_is_read() {
        let only = Only { links: vec!["icu".into()], devices: vec!["acme/1".into()], ..Only::default() };
        assert!(only.takes("icu", Some("acme/1")));
        assert!(
            !only.takes("er", Some("acme/1"))
                && !only.takes("icu", Some("acme/2"))
                && !only.takes("icu", None)
        );
        assert!(Only::default().takes("any", None) && Only::default().is_everything());
        assert_eq!(Only::default().says(), "everything, as FHIR resources");
        let named = Only { patients: vec!["4711".into()], classes: vec![Class::Alarm], ..only };
        let says = named.says();
        assert_eq!(
            says,
            "FHIR resources, only of links icu; of devices acme/1; of 1 patients; of classes alarm"
        );
    }

    #[test]
    fn what_is_taken_back_goes_to_whoever_had_it_and_the_reason_with_it() {
        let mut wrong = observation("hr", "1", "vital-signs", "8867-4");
        wrong = resource("Observation", "hr", {
            let mut tree = wrong.value();
            tree["status"] = json!("entered-in-error");
            tree
        });
        let new = observation("hr2", "2", "vital-signs", "8867-4");
        let target = |ids: &[&str]| -> Vec<Value> {
            ids.iter().map(|id| json!({ "reference": format!("Observation/{id}") })).collect()
        };
        let all = vec![
            resource("Patient", "1", json!({})),
            resource("Patient", "2", json!({})),
            wrong,
            new,
            resource("Provenance", "p", json!({ "target": target(&["hr", "hr2"]) })),
        ];
        let only = Only { patients: vec!["n-1".into()], ..Only::default() };
        let ids: Vec<_> = only.choose(all.clone()).into_iter().map(|one| one.id).collect();
        assert_eq!(ids, ["1", "hr"], "the new one is of a patient this server is not told of");
        let both = Only { classes: vec![Class::VitalSigns], ..Only::default() };
        assert_eq!(both.choose(all).len(), 5);
    }

    #[test]
    fn an_alarm_is_told_by_its_category_and_not_by_a_word_in_a_text() {
        assert!(has_alarm(&ward()));
        let text = resource("Observation", "x", json!({ "note": [{ "text": "alarm" }], "category": [] }));
        assert!(!has_alarm(&[text]));
    }
}
