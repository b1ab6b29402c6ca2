//! The templates from HL7 v2 to FHIR beside what other converters make of the same messages.
//!
//! For every pair of a message and an expected Bundle under `BEDSIDE_SAMPLES/hl7/v2-to-fhir` the message is
//! converted, resources are matched by type and content, and every expected element is looked for. Stripped on both
//! sides: ids, meta, extensions, Provenance. A reference is equal when its target is matched with ours. The table of
//! shares, the reasons of what differs and the differences themselves go to `target/v2-to-fhir/`. A share below its
//! floor fails, and so does a difference that `v2_to_fhir/reasons.txt` does not explain.
//!
//! Everything that was made is also checked against the StructureDefinitions of R4.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use std::collections::BTreeMap;
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

#[path = "v2_to_fhir/compare.rs"]
mod compare;
#[path = "v2_to_fhir/reasons.rs"]
mod reasons;

use compare::{Tally, compared};

/// Source and the share of its expected elements, in per mille, that must be equal.
const FLOORS: [(&str, usize); 3] =
    [("cdc-prime-reportstream", 755), ("google-whistle", 640), ("microsoft-fhir-converter", 800)];

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

fn share((expected, equal): (usize, usize)) -> usize {
    equal * 1000 / expected.max(1)
}

fn total(tally: &Tally) -> (usize, usize) {
    tally.values().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

/// Pairs of a source, and what was found of their elements.
type Sources = BTreeMap<String, (usize, Tally)>;

/// Compares every pair under `folder`; writes each message's share and each difference to `out`.
fn compare_all(folder: &Path, out: &Path, reasons: &mut reasons::Reasons) -> Sources {
    let library = library();
    let mut all = Vec::new();
    messages(folder, &mut all);
    let mut sources = Sources::new();
    let mut each = String::new();
    let mut list = String::new();
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
        let entries = expected["entry"].as_array().into_iter().flatten();
        let theirs: Vec<_> = entries.filter_map(|entry| compare::resource(&entry["resource"])).collect();
        let ours: Vec<_> =
            converted.resources.iter().filter_map(|one| compare::resource(&one.value())).collect();
        for one in compared(&theirs, &ours, &mut tally) {
            let reason = reasons.explain(&source, &stem, &one).unwrap_or("UNEXPLAINED");
            let line = |text: &str| text.replace(['\t', '\n', '\r'], " ");
            let (expected, ours) = (line(&one.expected), line(&one.ours.to_string()));
            writeln!(list, "{source}\t{stem}\t{}\t{expected}\t{ours}\t{reason}", one.path).unwrap();
        }
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
    fs::write(out.join("messages.txt"), each).unwrap();
    fs::write(out.join("differences.tsv"), list).unwrap();
    sources
}

#[test]
fn what_others_expect_is_found_element_by_element() {
    let Some(folder) = samples().map(|all| all.join("v2-to-fhir")) else { return };
    let out = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/v2-to-fhir");
    fs::create_dir_all(&out).unwrap();
    let mut reasons = reasons::Reasons::load();
    let sources = compare_all(&folder, &out, &mut reasons);
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
    writeln!(table, "\n{}", reasons.table()).unwrap();
    println!("{table}");
    fs::write(out.join("shares.md"), &table).unwrap();
    assert!(low.is_empty(), "{}", low.join("\n"));
    let open = reasons.unexplained();
    let shown = open.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
    assert!(open.is_empty(), "{} differences that reasons.txt does not explain:\n{shown}", open.len());
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("firmware-profiles/templates/README.md");
    let readme = fs::read_to_string(readme).unwrap();
    let silent: Vec<_> = reasons.used().filter(|name| !readme.contains(&format!("| {name} |"))).collect();
    assert!(silent.is_empty(), "the README of the templates does not tell of {silent:?}");
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
