//! The templates from HL7 v2 to FHIR beside what other converters make of the same messages.
//!
//! For every pair of a message and an expected Bundle under `BEDSIDE_SAMPLES/hl7/v2-to-fhir` the message is
//! converted, resources are matched by type and content, and every expected element is looked for. Stripped on both
//! sides: ids, meta, extensions, Provenance. A reference is equal when its target is matched with ours. The table of
//! shares and the differences by element go to `target/v2-to-fhir/`; firmware-profiles/templates/README.md explains
//! what remains. A share below its floor fails.
//!
//! Everything that was made is also checked against the StructureDefinitions of R4.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bedside::clock::Timestamp;
use bedside::device::Identifier;
use bedside::firmware_profile::LinkContext;
use bedside::hl7v2::{Charset, Message};
use bedside::template::{Context, Converted, Library};
use bedside::translate::Gateway;
use serde_json::Value;

/// Source and the share of its expected elements, in per mille, that must be equal.
const FLOORS: [(&str, usize); 3] =
    [("cdc-prime-reportstream", 690), ("google-whistle", 620), ("microsoft-fhir-converter", 700)];

/// Where the samples are; said loudly when they are not.
fn samples() -> Option<PathBuf> {
    let folder = std::env::var_os("BEDSIDE_SAMPLES").map(|all| PathBuf::from(all).join("hl7"));
    let found = folder.filter(|folder| folder.is_dir());
    if found.is_none() {
        println!("NOT CHECKED: BEDSIDE_SAMPLES names no folder with hl7/; nothing was compared.");
    }
    found
}

fn convert(library: &Library, bytes: &[u8]) -> Option<Converted> {
    let parsed = Message::parse(bytes, Charset::default());
    let link = LinkContext::new("rig", "UTC", Timestamp::from_micros(1_773_477_000_000_000, true)).unwrap();
    let gateway = Gateway {
        id: Identifier { system: "urn:x".into(), value: "rig".into(), kind: None },
        name: "Rig".into(),
        version: "0".into(),
        patient_system: None,
    };
    let context = Context { link: &link, gateway: &gateway, simulated: false };
    library.convert(&parsed.message?, &context).ok()
}

/// The built-in templates as they are in the tree now, whatever was built.
fn library() -> Library {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("firmware-profiles/templates");
    bedside::config::templates(Some(&folder)).unwrap_or_else(|fault| panic!("{fault}"))
}

fn messages(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            messages(&path, into);
        } else if path.extension().is_some_and(|e| e == "hl7" || e == "hl7v2") {
            into.push(path);
        }
    }
    into.sort();
}

/// What is left of a tree for comparing.
fn stripped(tree: &Value) -> Value {
    match tree {
        Value::Object(map) => {
            let kept = map.iter().filter(|(key, _)| {
                !matches!(key.as_str(), "id" | "meta" | "extension" | "modifierExtension")
                    && !key.starts_with('_')
            });
            Value::Object(kept.map(|(key, value)| (key.clone(), stripped(value))).collect())
        }
        Value::Array(list) => Value::Array(list.iter().map(stripped).collect()),
        other => other.clone(),
    }
}

struct Resource {
    kind: String,
    /// `Kind/id`, as references name it.
    name: String,
    body: Value,
}

fn resource(tree: &Value) -> Option<Resource> {
    let kind = tree["resourceType"].as_str()?.to_owned();
    let id = tree["id"].as_str().unwrap_or_default();
    (kind != "Provenance").then(|| Resource { name: format!("{kind}/{id}"), kind, body: stripped(tree) })
}

/// How many leaves are expected and how many of them are equal, by element.
type Tally = BTreeMap<String, (usize, usize)>;

struct Compare<'a> {
    /// Expected name → our name, for references; `None` while resources are still being matched.
    names: Option<&'a HashMap<String, String>>,
}

impl Compare<'_> {
    /// Leaves of `expected` that `ours` has too.
    fn tally(&self, path: &str, expected: &Value, ours: Option<&Value>, tally: &mut Tally) {
        match expected {
            Value::Object(map) => {
                for (key, value) in map {
                    let ours = ours.and_then(|ours| ours.get(key));
                    self.tally(&format!("{path}.{key}"), value, ours, tally);
                }
            }
            Value::Array(list) => {
                let mut left: Vec<&Value> = ours.and_then(Value::as_array).into_iter().flatten().collect();
                for (item, best) in self.pairs(path, list, &mut left) {
                    self.tally(path, item, best, tally);
                }
            }
            leaf => {
                let entry = tally.entry(path.to_owned()).or_default();
                entry.0 += 1;
                entry.1 += usize::from(ours.is_some_and(|ours| self.equal(path, leaf, ours)));
            }
        }
    }

    /// Every expected item with the item of ours that has most of it; each of ours is used once.
    fn pairs<'v>(
        &self,
        path: &str,
        list: &'v [Value],
        left: &mut Vec<&'v Value>,
    ) -> Vec<(&'v Value, Option<&'v Value>)> {
        let mut open: Vec<usize> = (0..list.len()).collect();
        let mut found: Vec<Option<&Value>> = vec![None; list.len()];
        while !open.is_empty() && !left.is_empty() {
            let scored = open
                .iter()
                .flat_map(|item| left.iter().enumerate().map(move |(at, ours)| (*item, at, *ours)));
            let best = scored
                .map(|(item, at, ours)| (self.score(path, &list[item], ours), item, at))
                .max_by_key(|(score, item, at)| (*score, std::cmp::Reverse(*item), std::cmp::Reverse(*at)));
            let Some((score, item, at)) = best.filter(|(score, ..)| *score > 0) else { break };
            debug_assert!(score > 0);
            found[item] = Some(left.remove(at));
            open.retain(|other| *other != item);
        }
        list.iter().zip(found).collect()
    }

    fn score(&self, path: &str, expected: &Value, ours: &Value) -> usize {
        let mut tally = Tally::new();
        self.tally(path, expected, Some(ours), &mut tally);
        tally.values().map(|(_, equal)| equal).sum()
    }

    fn equal(&self, path: &str, expected: &Value, ours: &Value) -> bool {
        if path.ends_with(".reference") {
            let (Some(expected), Some(ours)) = (expected.as_str(), ours.as_str()) else { return false };
            return match self.names {
                None => expected.split('/').next() == ours.split('/').next(),
                Some(names) => names.get(expected).is_some_and(|name| name == ours),
            };
        }
        plain(expected) == plain(ours)
    }
}

/// Instants as instants, numbers by value, texts without the spaces at their ends.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) if text.contains('T') && text.len() > 18 => match text.parse::<jiff::Timestamp>()
        {
            Ok(instant) => instant.to_string(),
            Err(_) => text.trim().to_owned(),
        },
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string().parse::<f64>().map(|n| n.to_string()).unwrap_or_default(),
        other => other.to_string(),
    }
}

/// Equal leaves; what names a thing counts more than what classes it.
fn likeness(compare: &Compare<'_>, one: &Resource, other: &Resource) -> usize {
    let mut tally = Tally::new();
    compare.tally(&one.kind, &one.body, Some(&other.body), &mut tally);
    let naming = |path: &str| {
        [".name", ".family", ".identifier.value", ".code.coding.code", ".url"]
            .iter()
            .any(|end| path.ends_with(end))
    };
    tally.iter().map(|(path, (_, equal))| if naming(path) { equal * 3 } else { *equal }).sum()
}

/// Every expected resource with the one of ours, of its type, that has most of it.
fn matched<'r>(expected: &'r [Resource], ours: &'r [Resource]) -> Vec<(&'r Resource, Option<&'r Resource>)> {
    let compare = Compare { names: None };
    let best = |one: &Resource| {
        let same = ours.iter().filter(|other| other.kind == one.kind);
        same.map(|other| (likeness(&compare, one, other), other))
            .fold(None, |best: Option<(usize, &Resource)>, next| match best {
                Some(best) if best.0 >= next.0 => Some(best),
                _ => Some(next),
            })
            .map(|(_, other)| other)
    };
    expected.iter().map(|one| (one, best(one))).collect()
}

fn compared(expected: &Value, ours: &Converted, tally: &mut Tally) {
    let entries = expected["entry"].as_array().into_iter().flatten();
    let expected: Vec<Resource> = entries.filter_map(|entry| resource(&entry["resource"])).collect();
    let ours: Vec<Resource> = ours.resources.iter().filter_map(|one| resource(&one.value())).collect();
    let pairs = matched(&expected, &ours);
    let names: HashMap<String, String> = pairs
        .iter()
        .filter_map(|(one, other)| Some((one.name.clone(), other.as_ref()?.name.clone())))
        .collect();
    let compare = Compare { names: Some(&names) };
    for (one, other) in pairs {
        let mut body = one.body.clone();
        body.as_object_mut().unwrap().remove("resourceType");
        compare.tally(&one.kind, &body, other.map(|other| &other.body), tally);
    }
}

fn share((expected, equal): (usize, usize)) -> usize {
    equal * 1000 / expected.max(1)
}

fn total(tally: &Tally) -> (usize, usize) {
    tally.values().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

#[test]
fn what_others_expect_is_found_element_by_element() {
    let Some(folder) = samples().map(|all| all.join("v2-to-fhir")) else { return };
    let library = library();
    let out = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/v2-to-fhir");
    fs::create_dir_all(&out).unwrap();
    let mut all = Vec::new();
    messages(&folder, &mut all);
    let mut sources: BTreeMap<String, (usize, Tally)> = BTreeMap::new();
    let mut each = String::new();
    for path in all {
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        let expected = ["expected.fhir.json", "expected.whistle.json"]
            .map(|end| path.with_file_name(format!("{stem}.{end}")))
            .into_iter()
            .find(|path| path.is_file());
        let Some(expected) = expected else { continue };
        let expected: Value = serde_json::from_str(&fs::read_to_string(expected).unwrap()).unwrap();
        let converted = convert(&library, &fs::read(&path).unwrap()).unwrap_or_default();
        let source = path.parent().unwrap().file_name().unwrap().to_string_lossy().into_owned();
        let mut tally = Tally::new();
        compared(&expected, &converted, &mut tally);
        let (expected, equal) = total(&tally);
        writeln!(each, "{:>5}/1000 {equal:>6} of {expected:<6} {source}/{stem}", share((expected, equal)))
            .unwrap();
        let (pairs, sum) = sources.entry(source).or_default();
        *pairs += 1;
        for (path, (expected, equal)) in tally {
            let entry = sum.entry(path).or_default();
            *entry = (entry.0 + expected, entry.1 + equal);
        }
    }
    assert!(!sources.is_empty(), "no pair under {}", folder.display());
    let mut table =
        String::from("| source | pairs | expected elements | equal | share |\n|---|---|---|---|---|\n");
    let mut low = Vec::new();
    for (source, (pairs, tally)) in &sources {
        let (expected, equal) = total(tally);
        let share = share((expected, equal));
        writeln!(table, "| {source} | {pairs} | {expected} | {equal} | {}.{} % |", share / 10, share % 10)
            .unwrap();
        if let Some((_, floor)) =
            FLOORS.iter().find(|(name, _)| name == source).filter(|(_, floor)| share < *floor)
        {
            low.push(format!("{source}: {share} of 1000, the floor is {floor}"));
        }
        let mut rows: Vec<_> =
            tally.iter().map(|(path, (expected, equal))| (expected - equal, *expected, path)).collect();
        rows.sort_by(|a, b| b.cmp(a));
        let mut differences = String::from("missing or different, of, element\n");
        for (missing, expected, path) in rows.iter().filter(|(missing, ..)| *missing > 0) {
            writeln!(differences, "{missing:>6} {expected:>6} {path}").unwrap();
        }
        fs::write(out.join(format!("{source}.differences.txt")), differences).unwrap();
    }
    println!("{table}");
    fs::write(out.join("shares.md"), &table).unwrap();
    fs::write(out.join("messages.txt"), each).unwrap();
    assert!(low.is_empty(), "{}", low.join("\n"));
}

/// The validator with its packages, installed as its lock file says when they are missing.
fn validator() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("test-rigs/validate");
    if !folder.join("node_modules").is_dir() {
        let npm =
            Command::new("npm").args(["ci", "--no-audit", "--no-fund", "--prefix"]).arg(&folder).status();
        assert!(npm.expect("npm is installed").success(), "npm ci in {} failed", folder.display());
    }
    folder.join("validate.mjs")
}

#[test]
fn everything_that_is_made_of_a_message_is_fhir() {
    let library = library();
    let out = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/v2-to-fhir/resources");
    if out.exists() {
        fs::remove_dir_all(&out).unwrap();
    }
    fs::create_dir_all(&out).unwrap();
    let mut all = Vec::new();
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("firmware-profiles");
    messages(&own, &mut all);
    if let Some(folder) = samples() {
        messages(&folder, &mut all);
    }
    let (mut made, mut untranslated) = (0, Vec::new());
    for (number, path) in all.iter().enumerate() {
        let Some(converted) = convert(&library, &fs::read(path).unwrap()) else {
            untranslated.push(path.file_name().unwrap().to_string_lossy().into_owned());
            continue;
        };
        let list: Vec<Value> = converted.resources.iter().map(bedside::fhir::Resource::value).collect();
        made += list.len();
        let name = format!("{number}-{}.json", path.file_stem().unwrap().to_string_lossy());
        fs::write(out.join(name), serde_json::to_string(&list).unwrap()).unwrap();
    }
    println!("{} messages became {made} resources; no template for {}", all.len(), untranslated.join(", "));
    let said = Command::new("node").arg(validator()).arg(&out).output().expect("node is installed");
    let text = String::from_utf8_lossy(&said.stdout);
    println!("{}", text.lines().last().unwrap_or_default());
    assert!(said.status.success(), "{text}\n{}", String::from_utf8_lossy(&said.stderr));
    assert!(text.trim_end().ends_with(" 0 failed"), "{text}");
    let passed = text.lines().last().and_then(|line| line.split(' ').next()?.parse().ok());
    assert_eq!(passed, Some(made));
}
