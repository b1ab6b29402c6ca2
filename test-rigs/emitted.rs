//! What Bedside emits is FHIR: every capture of every built-in profile is translated as the demo does it and, beside
//! the goldens of translation, checked against the R4 schema, the StructureDefinitions and, where `BEDSIDE_IG` names a
//! folder of them, the device guides.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "common/meaning.rs"]
mod meaning;

use std::fs;
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
    if !folder.join("node_modules").is_dir() {
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

#[test]
fn the_goldens_of_translation_are_fhir() {
    assert!(validate(&rigs().join("golden/translate")) > 100);
}
