//! SMART scopes: what Bedside asks for, and whether what was granted is enough.
//!
//! Source: SMART App Launch 2.2, scopes-and-launch-context. Version 2 spells rights as `c r u d s`, version 1 as
//! `read`, `write` and `*`. Servers may drop scopes without a word, so asked and granted are compared.

/// What Bedside writes, and searches to find out whether a lost answer was a success.
const KINDS: [&str; 5] = ["Observation", "Device", "DeviceMetric", "Patient", "Specimen"];

/// Written when results are put right; a server that does not take it takes all the rest.
const PROVENANCE: &str = "Provenance";

/// The scopes asked for when the configuration names none, `reads` being what is only read, spelled as the server's `capabilities` ask.
pub(super) fn defaults(capabilities: &[String], reads: &[&str]) -> Vec<String> {
    let says = |word: &str| capabilities.iter().any(|capability| capability == word);
    if says("permission-v1") && !says("permission-v2") {
        return v1_defaults(reads);
    }
    let written = KINDS.iter().map(|kind| format!("system/{kind}.crus"));
    let written = written.chain([format!("system/{PROVENANCE}.cu")]);
    written.chain(reads.iter().map(|kind| format!("system/{kind}.rs"))).collect()
}

/// The scopes with writing of further kinds, spelled as they are.
pub(super) fn and_writes(mut scopes: Vec<String>, kinds: &[&str]) -> Vec<String> {
    let older = scopes.iter().any(|scope| scope.ends_with(".write"));
    let rights: &[&str] = if older { &["read", "write"] } else { &["crus"] };
    for kind in kinds.iter().filter(|kind| !KINDS.contains(kind) && **kind != PROVENANCE) {
        scopes.retain(|scope| !scope.starts_with(&format!("system/{kind}.")));
        scopes.extend(rights.iter().map(|right| format!("system/{kind}.{right}")));
    }
    scopes
}

/// The same in SMART 1 spelling.
pub(super) fn v1_defaults(reads: &[&str]) -> Vec<String> {
    let written =
        KINDS.iter().flat_map(|kind| [format!("system/{kind}.read"), format!("system/{kind}.write")]);
    let written = written.chain([format!("system/{PROVENANCE}.write")]);
    written.chain(reads.iter().map(|kind| format!("system/{kind}.read"))).collect()
}

/// The kinds that were asked for with writing but may not be created and updated; empty when all is well.
pub(super) fn missing_writes(asked: &str, granted: &str) -> Vec<String> {
    let wanted = asked.split_ascii_whitespace().filter_map(parse).filter(Rights::writes);
    let wanted = wanted.filter(|want| want.kind != PROVENANCE);
    let held: Vec<Rights<'_>> = granted.split_ascii_whitespace().filter_map(parse).collect();
    let mut missing: Vec<String> = Vec::new();
    for want in wanted {
        let covers = |have: &Rights<'_>| have.kind == want.kind || have.kind == "*";
        let create = held.iter().any(|have| covers(have) && have.create);
        let may_write = create && held.iter().any(|have| covers(have) && have.update);
        if !may_write && !missing.iter().any(|kind| kind == want.kind) {
            missing.push(want.kind.to_owned());
        }
    }
    missing
}

struct Rights<'a> {
    kind: &'a str,
    create: bool,
    update: bool,
}

impl Rights<'_> {
    fn writes(&self) -> bool {
        self.create && self.update
    }
}

/// A scope with a search part (`?category=…`) grants only some resources of its kind: it counts as that kind.
fn parse(scope: &str) -> Option<Rights<'_>> {
    let scope = scope.strip_prefix("system/")?;
    let scope = scope.split_once('?').map_or(scope, |(plain, _)| plain);
    let (kind, rights) = scope.split_once('.')?;
    let (create, update) = match rights {
        "*" | "write" => (true, true),
        "read" => (false, false),
        letters => (letters.contains('c'), letters.contains('u')),
    };
    Some(Rights { kind, create, update })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spelling_follows_the_server() {
        let v1 = [String::from("permission-v1")];
        let both = [String::from("permission-v1"), String::from("permission-v2")];
        assert!(defaults(&v1, &[]).contains(&"system/Observation.write".into()));
        assert!(defaults(&both, &[]).contains(&"system/Observation.crus".into()));
        assert!(defaults(&[], &[]).contains(&"system/Observation.crus".into()));
    }

    #[test]
    fn what_is_only_read_is_asked_for_with_reading_alone() {
        let v1 = [String::from("permission-v1")];
        assert!(defaults(&[], &["ServiceRequest"]).contains(&"system/ServiceRequest.rs".into()));
        assert!(defaults(&v1, &["ServiceRequest"]).contains(&"system/ServiceRequest.read".into()));
        assert!(!defaults(&[], &[]).iter().any(|scope| scope.contains("ServiceRequest")));
    }

    #[test]
    fn what_is_written_besides_is_asked_for_once_in_the_servers_spelling() {
        let v2 = and_writes(defaults(&[], &["Encounter"]), &["Encounter", "Patient"]);
        let of = |all: &[String], kind: &str| -> Vec<String> {
            all.iter().filter(|scope| scope.contains(kind)).cloned().collect()
        };
        assert_eq!(of(&v2, "Encounter"), ["system/Encounter.crus"]);
        assert_eq!(of(&v2, "Patient"), ["system/Patient.crus"]);
        let v1 = and_writes(v1_defaults(&[]), &["Encounter"]);
        assert_eq!(of(&v1, "Encounter"), ["system/Encounter.read", "system/Encounter.write"]);
    }

    #[test]
    fn what_was_silently_dropped_is_named() {
        let asked = "system/Observation.crus system/Device.crus";
        let cases: &[(&str, &[&str])] = &[
            (asked, &[]),
            ("system/*.cruds", &[]),
            ("system/*.*", &[]),
            ("system/Observation.write system/Device.*", &[]),
            ("system/Observation.crus", &["Device"]),
            ("system/Observation.rs system/Device.c system/Device.u", &["Observation"]),
            ("", &["Observation", "Device"]),
            ("user/Observation.crus system/Device.cu?type=x", &["Observation"]),
        ];
        for (granted, missing) in cases {
            assert_eq!(missing_writes(asked, granted), *missing, "{granted}");
        }
    }

    #[test]
    fn scopes_that_were_not_asked_for_are_not_missed() {
        assert!(missing_writes("system/Observation.rs openid", "").is_empty());
    }
}
