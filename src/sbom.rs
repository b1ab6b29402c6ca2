//! What this program is made of, as `build.rs` wrote it down when it was built: a bill of materials in `CycloneDX` 1.6
//! (ECMA-424) and the notices of the licences.

use std::io::Read;

use serde_json::{Map, Value as Json, json};
use uuid::Uuid;

use crate::sabotage::VERSION;

const PARTS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/parts.tsv.z"));
const NOTICES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/notices.txt.z"));
/// Neither is ever longer: what is in the program is known when it is built.
const UNPACKED_MAX: u64 = 16 << 20;
/// The media type of what [`cyclonedx`] gives.
pub const MEDIA_TYPE: &str = "application/vnd.cyclonedx+json; version=1.6";

/// Something the program is made of, or was made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its code is in the program; else it only helped to build it.
    pub shipped: bool,
    /// Type of its package URL: `cargo`, `npm` or `generic`.
    pub ecosystem: String,
    pub name: String,
    pub version: String,
    /// SPDX expression; empty where its makers state none.
    pub licence: String,
    /// Where it is developed; may be empty.
    pub repository: String,
    /// SHA-256 of the package, hex; empty for what comes in no package.
    pub sha256: String,
    /// Rows of what it needs.
    needs: Vec<usize>,
}

impl Part {
    /// Its package URL, e.g. `pkg:cargo/tokio@1.48.0`.
    #[must_use]
    pub fn purl(&self) -> String {
        // `+` of a version and `@` of a scoped name are the only characters these names have that a URL reserves.
        let name = self.name.replace('@', "%40");
        format!("pkg:{}/{name}@{}", self.ecosystem, self.version.replace('+', "%2B"))
    }
}

/// Every part, Bedside itself among them.
#[must_use]
pub fn parts() -> Vec<Part> {
    unpacked(PARTS).lines().filter_map(part).collect()
}

fn part(row: &str) -> Option<Part> {
    let mut columns = row.split('\t').map(str::to_owned);
    let shipped = columns.next()? == "shipped";
    let mut text = || columns.next();
    Some(Part {
        shipped,
        ecosystem: text()?,
        name: text()?,
        version: text()?,
        licence: text()?,
        repository: text()?,
        sha256: text()?,
        needs: text()?.split(',').filter_map(|row| row.parse().ok()).collect(),
    })
}

/// The notices of everything whose code is in the program; those of the desk's pages stand in its `licences.txt`.
#[must_use]
pub fn notices() -> String {
    unpacked(NOTICES)
}

fn unpacked(bytes: &[u8]) -> String {
    let mut text = String::new();
    // Written by the build itself: what cannot be read is found by the tests below, and shows as nothing.
    let _read = flate2::read::ZlibDecoder::new(bytes).take(UNPACKED_MAX).read_to_string(&mut text);
    text
}

/// The bill of materials: the same for the same program.
#[must_use]
pub fn cyclonedx() -> Json {
    let parts = parts();
    let (own, others): (Vec<&Part>, Vec<&Part>) = parts.iter().partition(|part| is_own(part));
    let components: Vec<Json> = others.iter().map(|part| component(part, "library")).collect();
    let depends: Vec<Json> = parts.iter().map(|part| needs(part, &parts)).collect();
    let mut metadata = json!({
        "component": own.first().map(|part| component(part, "application")),
        "supplier": { "name": "Bedside" },
        "properties": [
            { "name": "bedside:version", "value": VERSION },
            { "name": "bedside:target", "value": env!("BEDSIDE_TARGET") },
        ],
    });
    if let (Some(made), Some(metadata)) = (made(), metadata.as_object_mut()) {
        metadata.insert("timestamp".into(), made.into());
    }
    let number = Uuid::new_v5(&Uuid::NAMESPACE_URL, PARTS);
    json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": format!("urn:uuid:{number}"),
        "version": 1,
        "metadata": metadata,
        "components": components,
        "dependencies": depends,
    })
}

fn is_own(part: &Part) -> bool {
    part.ecosystem == "cargo" && part.name == env!("CARGO_PKG_NAME")
}

/// When the program was made, where its builder said so (`SOURCE_DATE_EPOCH`).
fn made() -> Option<String> {
    let seconds: i64 = env!("BEDSIDE_MADE").parse().ok()?;
    Some(jiff::Timestamp::from_second(seconds).ok()?.to_string())
}

fn component(part: &Part, kind: &str) -> Json {
    let purl = part.purl();
    let always = [
        ("type", kind),
        ("bom-ref", &purl),
        ("name", &part.name),
        ("version", &part.version),
        ("scope", if part.shipped { "required" } else { "excluded" }),
        ("purl", &purl),
    ];
    let mut component: Map<String, Json> =
        always.into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect();
    let mut said = |key: &str, is_said: bool, value: Json| {
        if is_said {
            component.insert(key.to_owned(), value);
        }
    };
    said("licenses", !part.licence.is_empty(), json!([{ "expression": part.licence }]));
    said("hashes", !part.sha256.is_empty(), json!([{ "alg": "SHA-256", "content": part.sha256 }]));
    let repository = json!([{ "type": "vcs", "url": part.repository }]);
    said("externalReferences", !part.repository.is_empty(), repository);
    let cpe = cpe(part);
    said("cpe", cpe.is_some(), json!(cpe));
    component.into()
}

/// The name under which faults of a C library are published.
fn cpe(part: &Part) -> Option<String> {
    let product = match (part.ecosystem.as_str(), part.name.as_str()) {
        ("generic", "sqlite") => "sqlite:sqlite",
        ("generic", "aws-lc") => "amazon:aws-lc",
        ("generic", "glibc") => "gnu:glibc",
        _ => return None,
    };
    Some(format!("cpe:2.3:a:{product}:{}:*:*:*:*:*:*:*", part.version))
}

fn needs(part: &Part, parts: &[Part]) -> Json {
    let mut on: Vec<String> = part.needs.iter().filter_map(|row| Some(parts.get(*row)?.purl())).collect();
    if is_own(part) {
        // What is no crate is named by none: the program stands on it itself.
        on.extend(parts.iter().filter(|other| other.ecosystem != "cargo").map(Part::purl));
    }
    json!({ "ref": part.purl(), "dependsOn": on })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::process::Command;

    use super::*;

    fn cargo(arguments: &[&str]) -> String {
        let said = Command::new(env!("CARGO"))
            .args(arguments)
            .args(["--offline", "--locked", "--manifest-path"])
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
            .output()
            .unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        String::from_utf8(said.stdout).unwrap()
    }

    /// By `cargo metadata`, which knows nothing of how `build.rs` asked: what is reached from Bedside by edges of these kinds.
    fn reached(kinds: &[Option<&str>]) -> BTreeSet<(String, String)> {
        let said = cargo(&["metadata", "--format-version", "1", "--filter-platform", env!("BEDSIDE_TARGET")]);
        let told: Json = serde_json::from_str(&said).unwrap();
        let nodes = told["resolve"]["nodes"].as_array().unwrap();
        let mut found = BTreeSet::new();
        let mut open = vec![told["resolve"]["root"].as_str().unwrap()];
        while let Some(id) = open.pop() {
            if !found.insert(id) {
                continue;
            }
            let node = nodes.iter().find(|node| node["id"] == id).unwrap();
            for edge in node["deps"].as_array().unwrap() {
                let of_kind = |kind: &Json| kinds.contains(&kind["kind"].as_str());
                if edge["dep_kinds"].as_array().unwrap().iter().any(of_kind) {
                    open.push(edge["pkg"].as_str().unwrap());
                }
            }
        }
        let packages = told["packages"].as_array().unwrap();
        let named = |id: &str| {
            let package = packages.iter().find(|package| package["id"] == id).unwrap();
            let text = |key: &str| package[key].as_str().unwrap().to_owned();
            (text("name"), text("version"))
        };
        found.into_iter().map(named).collect()
    }

    fn crates() -> BTreeSet<(String, String)> {
        let own = parts().into_iter().filter(|part| part.ecosystem == "cargo");
        own.map(|part| (part.name, part.version)).collect()
    }

    #[test]
    fn every_crate_that_is_resolved_for_this_target_is_listed_and_no_other() {
        let resolved = reached(&[None, Some("build")]);
        let listed = crates();
        let missing: Vec<_> = resolved.difference(&listed).collect();
        // `cargo metadata` resolves with the features of the dev-dependencies too: what it has besides is no crate of ours.
        let with_dev = reached(&[None, Some("build"), Some("dev")]);
        let foreign: Vec<_> = listed.difference(&resolved).collect();
        assert!(missing.iter().all(|one| is_only_for_tests(one)), "not listed: {missing:?}");
        assert!(foreign.is_empty(), "listed and not resolved: {foreign:?}");
        let dev_only: Vec<_> = with_dev.difference(&resolved).collect();
        assert!(dev_only.iter().any(|(name, _)| name == "jsonschema"), "{dev_only:?}");
        assert!(dev_only.iter().all(|one| !listed.contains(*one)));
        assert!(listed.len() > 250, "{}", listed.len());
    }

    /// Not in `cargo tree` of a build without tests.
    fn is_only_for_tests((name, version): &(String, String)) -> bool {
        let tree = cargo(&[
            "tree",
            "--edges",
            "normal,build",
            "--target",
            env!("BEDSIDE_TARGET"),
            "--prefix",
            "none",
        ]);
        !tree.lines().any(|line| line.starts_with(&format!("{name} v{version}")))
    }

    #[test]
    fn what_only_helps_to_build_is_told_from_what_is_shipped() {
        let parts = parts();
        let shipped = |name: &str| parts.iter().find(|part| part.name == name).unwrap().shipped;
        for name in ["tokio", "rusqlite", "aws-lc-rs", "serde", "sqlite", "aws-lc", "rust-std"] {
            assert!(shipped(name), "{name}");
        }
        for name in ["serde_derive", "syn", "cc", "tokio-macros"] {
            assert!(!shipped(name), "{name}");
        }
        assert!(parts.iter().all(|part| !part.licence.is_empty()), "{parts:?}");
    }

    #[test]
    fn the_packages_in_the_pages_are_listed_as_their_notices_have_them() {
        let notices = std::fs::read_to_string("web/dist/licences.txt").unwrap_or_default();
        let npm: Vec<Part> = parts().into_iter().filter(|part| part.ecosystem == "npm").collect();
        assert_eq!(npm.is_empty(), notices.is_empty());
        for part in &npm {
            assert!(
                notices.contains(&format!("\n{} {} ({})\n", part.name, part.version, part.licence)),
                "{part:?}"
            );
        }
        assert!(notices.is_empty() || npm.iter().any(|part| part.name == "svelte"), "{npm:?}");
    }

    #[test]
    fn the_library_that_keeps_everything_is_listed_in_the_version_that_runs() {
        let listed = parts().into_iter().find(|part| part.name == "sqlite").unwrap();
        assert_eq!(listed.version, rusqlite::version());
    }

    #[test]
    fn every_shipped_crate_has_its_notice_or_is_named_as_having_none() {
        let notices = notices();
        for part in parts().iter().filter(|part| part.shipped && !part.sha256.is_empty()) {
            let head = format!("{} {} ({})", part.name, part.version, part.licence);
            assert!(notices.contains(&head), "{head}");
        }
        assert!(notices.contains("Permission is hereby granted, free of charge"));
    }

    #[test]
    fn the_bill_refers_to_nothing_that_is_not_in_it_and_is_the_same_each_time() {
        let bill = cyclonedx();
        assert_eq!(bill, cyclonedx());
        let components = bill["components"].as_array().unwrap();
        let mut known: BTreeSet<&str> = BTreeSet::new();
        for component in components.iter().chain([&bill["metadata"]["component"]]) {
            assert!(known.insert(component["bom-ref"].as_str().unwrap()), "twice: {component}");
        }
        let dependencies = bill["dependencies"].as_array().unwrap();
        for node in dependencies {
            assert!(known.contains(node["ref"].as_str().unwrap()), "{node}");
            for on in node["dependsOn"].as_array().unwrap() {
                assert!(known.contains(on.as_str().unwrap()), "{node}");
            }
        }
        assert_eq!(dependencies.len(), known.len());
        let own = &bill["metadata"]["component"];
        assert_eq!((own["name"].as_str(), own["type"].as_str()), (Some("bedside"), Some("application")));
        let direct = dependencies.iter().find(|node| node["ref"] == own["bom-ref"]).unwrap();
        assert!(direct["dependsOn"].as_array().unwrap().len() > 50, "{direct}");
        assert!(!bill.to_string().contains(env!("CARGO_MANIFEST_DIR")), "a path of the build machine");
    }
}
