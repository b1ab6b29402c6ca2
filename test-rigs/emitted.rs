//! What Bedside emits is FHIR: every capture of every built-in profile is translated as the demo does it and, beside
//! the goldens of translation, checked against the R4 schema, the StructureDefinitions and, where `BEDSIDE_IG` names a
//! folder of them, the device guides.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "common/meaning.rs"]
mod meaning;

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use bedside::firmware_profile::Library;
use bedside::translate::{QualityControl, Unidentified};

fn rigs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("test-rigs")
}

/// The validator with its packages, installed as its lock file says when they are missing.
fn validator() -> PathBuf {
    let folder = rigs().join("validate");
    if !folder.join("node_modules/@medplum").is_dir() || !folder.join("node_modules/@cyclonedx").is_dir() {
        let npm =
            Command::new("npm").args(["ci", "--no-audit", "--no-fund", "--prefix"]).arg(&folder).status();
        assert!(npm.expect("npm is installed").success(), "npm ci in {} failed", folder.display());
    }
    folder.join("validate.mjs")
}

/// Runs the validator on a folder; prints what it says and returns how many resources passed.
fn validate(folder: &Path) -> u32 {
    let said = Command::new("node").arg(validator()).arg(folder).output().expect("node is installed");
    let text = String::from_utf8_lossy(&said.stdout);
    println!("{}: {}", folder.display(), text.trim_end());
    assert!(said.status.success(), "{text}\n{}", String::from_utf8_lossy(&said.stderr));
    let last = text.lines().last().unwrap_or_default();
    last.split(' ').next().and_then(|n| n.parse().ok()).expect("the validator says how many passed")
}

#[test]
fn what_every_capture_becomes_is_fhir() {
    let library = Library::embedded().unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/emitted");
    if folder.exists() {
        fs::remove_dir_all(&folder).unwrap();
    }
    // As the demo is set up, and with everything that a clinic may let out.
    let all = meaning::Setting::default();
    let demo = meaning::Setting {
        unidentified: Unidentified::Hold,
        quality_control: QualityControl::Hold,
        zone: "UTC",
        ..all
    };
    let clinic = meaning::Setting { simulated: false, ..all };
    let (mut captures, mut resources, mut silent) = (0, 0, Vec::new());
    for profile in library.profiles() {
        for (name, frame) in library.captures(&profile.id) {
            captures += 1;
            let mut most = 0;
            for (setting, of) in [("all", all), ("demo", demo), ("clinic", clinic)] {
                let (_, translation) = meaning::read(profile, &frame, Some("kits/ward-3/vitals"), of);
                let list: Vec<_> = translation.resources.iter().map(bedside::fhir::Resource::value).collect();
                most = most.max(list.len());
                resources += list.len();
                let file = folder.join(&*profile.id).join(format!("{name}.{setting}.json"));
                fs::create_dir_all(file.parent().unwrap()).unwrap();
                fs::write(file, serde_json::to_string_pretty(&list).unwrap()).unwrap();
            }
            if most == 0 {
                silent.push(format!("{}/{name}", profile.id));
            }
        }
    }
    println!("{captures} captures became {resources} resources; none came of {}", silent.join(", "));
    let passed = validate(&folder);
    assert_eq!(usize::try_from(passed).unwrap(), resources);
    assert!(resources > captures, "captures that become nothing prove nothing");
}

/// Every word the audit trail has, as it would be written.
const TRAIL: [(&str, &str, &str); 24] = [
    ("bedside", "box.start", "done version 0.1.0"),
    ("bedside", "box.stop", "done"),
    ("bedside", "config.change", "done configuration file sha256 0123456789abcdef"),
    ("ada", "setup", "done from 10.0.0.7"),
    ("ada", "login", "done from 10.0.0.7"),
    ("unknown", "login", "refused ada from 2001:db8::7; too many tries"),
    ("ada", "logout", "done from 10.0.0.7"),
    ("ada", "user.add", "done bob from 10.0.0.7"),
    ("ada", "token.create", "done scraper from 10.0.0.7"),
    ("ada", "emergency.start", "done from 10.0.0.7; with a reason"),
    ("ada", "patient.view", "done patient 3 from 10.0.0.7"),
    ("ada", "patient.search", "done 2 found from 10.0.0.7"),
    ("ada", "patient.unmerge", "done merge 1 from 10.0.0.7"),
    ("ada", "entry.view", "done entry 4 from 10.0.0.7"),
    ("ada", "entry.replay", "failed 4 from 10.0.0.7"),
    ("ada", "association.make", "done scanned from 10.0.0.7"),
    ("ada", "worklist.add", "done an order of 2 tests from 10.0.0.7"),
    ("ada", "pairing.accept", "done X of ward as a/b from 10.0.0.7"),
    ("ada", "recording.export", "done tape, masked from 10.0.0.7"),
    ("ada", "certificate.upload", "done from 10.0.0.7"),
    ("ada", "audit.export", "done FHIR AuditEvent from 10.0.0.7"),
    ("ada", "update.install", "done 0.2.0 from 10.0.0.7"),
    ("command line", "restored", "from a copy made 2026-11-22"),
    ("ada", "something.else", "done"),
];

#[test]
fn the_audit_trail_is_fhir() {
    use bedside::admin::{balp::audit_event, trail::Observer};
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/emitted-audit");
    fs::create_dir_all(&folder).unwrap();
    let mut lines = String::new();
    for simulated in [false, true] {
        let observer = Observer {
            identifier: "urn:uuid:6f2c0f5e-0000-4000-8000-000000000001".into(),
            site: "Ward 3".into(),
            host: "ward-3".into(),
            version: "0.1.0",
            simulated,
        };
        for (id, (who, what, detail)) in (1..).zip(TRAIL) {
            let row = bedside::buffer::AuditRow {
                id,
                at: bedside::clock::Timestamp::from_micros(1_795_348_800_000_000, true),
                who: who.into(),
                what: what.into(),
                detail: detail.into(),
                hash: vec![0xAB; 32],
            };
            lines.push_str(audit_event(&row, &observer).json.get());
            lines.push('\n');
        }
    }
    fs::write(folder.join("audit.ndjson"), lines).unwrap();
    assert_eq!(validate(&folder), 2 * u32::try_from(TRAIL.len()).unwrap());
}

#[test]
fn the_goldens_of_translation_are_fhir() {
    assert!(validate(&rigs().join("golden/translate")) > 100);
}

/// The schema of CycloneDX 1.6 with the two it refers to.
fn cyclonedx() -> jsonschema::Validator {
    let folder = validator().with_file_name("node_modules/@cyclonedx/cyclonedx-library/res/schema");
    let read = |name: &str| -> serde_json::Value {
        let text = fs::read_to_string(folder.join(format!("{name}.SNAPSHOT.schema.json"))).unwrap();
        serde_json::from_str(&text).unwrap()
    };
    let mut registry = jsonschema::Registry::new();
    for name in ["spdx", "jsf-0.82"] {
        let uri = format!("http://cyclonedx.org/schema/{name}.SNAPSHOT.schema.json");
        registry = registry.add(uri, read(name)).unwrap();
    }
    let registry = registry.prepare().unwrap();
    let options = jsonschema::options().should_validate_formats(true).with_registry(&registry);
    options.build(&read("bom-1.6")).unwrap()
}

#[test]
fn the_bill_of_materials_is_cyclonedx() {
    let schema = cyclonedx();
    let bill = bedside::sbom::cyclonedx();
    let faults: Vec<String> = schema.iter_errors(&bill).map(|fault| fault.to_string()).collect();
    assert!(faults.is_empty(), "{faults:#?}");
    // A bill that is none is told.
    for (place, wrong) in [
        ("/bomFormat", "SPDX"),
        ("/components/0/type", "crate"),
        ("/components/0/hashes/0/alg", "SHA"),
        ("/components/0/licenses/0/expression", ""),
    ] {
        let mut broken = bill.clone();
        let wrong = if wrong.is_empty() { serde_json::Value::from(1) } else { wrong.into() };
        *broken.pointer_mut(place).unwrap() = wrong;
        assert!(!schema.is_valid(&broken), "{place}");
    }
}

/// What `cargo audit bin` reads: a zlib stream in the section `.dep-v0`.
#[test]
fn the_program_itself_tells_scanners_what_it_is_made_of() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("list");
    let (section, copy) = (format!(".dep-v0={}", list.display()), folder.path().join("copy"));
    let done = Command::new("objcopy")
        .args(["--dump-section", &section, env!("CARGO_BIN_EXE_bedside")])
        .arg(copy)
        .status();
    assert!(done.expect("objcopy is installed").success());
    let mut text = String::new();
    flate2::read::ZlibDecoder::new(fs::File::open(list).unwrap()).read_to_string(&mut text).unwrap();
    let told: serde_json::Value = serde_json::from_str(&text).unwrap();
    let packages = told["packages"].as_array().unwrap();
    let crates: Vec<_> =
        bedside::sbom::parts().into_iter().filter(|part| part.ecosystem == "cargo").collect();
    assert_eq!(packages.len(), crates.len());
    for part in crates {
        let found = packages.iter().find(|one| one["name"] == *part.name && one["version"] == *part.version);
        let found = found.unwrap_or_else(|| panic!("{} is not told", part.name));
        assert_eq!(found["kind"] == "build", !part.shipped, "{found}");
        assert_eq!(found["root"] == true, part.name == "bedside", "{found}");
        let needs = found["dependencies"].as_array().map_or(0, Vec::len);
        assert!(found["dependencies"].is_null() || needs > 0, "{found}");
    }
}
