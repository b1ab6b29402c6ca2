//! Reports in, FHIR out: every case of `cases.rs` against its file in `translate/`. `BLESS=1` rewrites the files.
//!
//! The invariants hold for whatever the goldens say: a wrong golden cannot bless a wrong resource.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test rig: what is not as expected must fail it"
)]

#[path = "build.rs"]
mod build;
#[path = "cases.rs"]
mod cases;

use std::collections::HashSet;
use std::path::PathBuf;

use bedside::device::{ResultStatus, Value as Measured};
use bedside::fhir::Resource;
use bedside::translate::{Held, translate, translate_frame};
use serde_json::Value;

use build::*;

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("test-rigs/golden/translate/{name}.json"))
}

fn run(case: &cases::Case) -> (Vec<Resource>, Vec<Held>) {
    let gateway = case.gateway();
    let mut context = context(&gateway);
    (case.alter)(&mut context);
    let translation = translate_frame(&case.reports, &context);
    (translation.resources, translation.held)
}

/// Compact JSON on lines, order and digits untouched.
fn pretty(json: &str) -> String {
    let (mut out, mut depth, mut in_string, mut escaped) = (String::new(), 0, false, false);
    let mut chars = json.chars().peekable();
    while let Some(c) = chars.next() {
        if in_string {
            out.push(c);
            in_string = escaped || c != '"';
            escaped = c == '\\' && !escaped;
            continue;
        }
        match c {
            '{' | '[' => {
                depth += 1;
                out.push(c);
                if !matches!(chars.peek(), Some('}' | ']')) {
                    out.push('\n');
                    out.push_str(&"  ".repeat(depth));
                }
            }
            '}' | ']' => {
                depth -= 1;
                if !out.ends_with(['{', '[']) {
                    out.push('\n');
                    out.push_str(&"  ".repeat(depth));
                }
                out.push(c);
            }
            ',' => {
                out.push_str(",\n");
                out.push_str(&"  ".repeat(depth));
            }
            ':' => out.push_str(": "),
            c => {
                in_string = c == '"';
                out.push(c);
            }
        }
    }
    out.push('\n');
    out
}

#[test]
fn every_case_gives_what_its_golden_says() {
    let bless = std::env::var_os("BLESS").is_some();
    let mut wrong = Vec::new();
    for case in cases::all() {
        let text = pretty(&serde_json::to_string(&run(&case).0).unwrap());
        let path = golden(case.name);
        if bless {
            std::fs::write(&path, &text).unwrap();
        }
        if std::fs::read_to_string(&path).unwrap_or_default() != text {
            wrong.push(case.name);
        }
    }
    assert!(
        wrong.is_empty(),
        "differ from their golden (BLESS=1 rewrites, then read the difference): {wrong:?}"
    );
}

#[test]
fn no_golden_is_left_of_a_case_that_is_gone() {
    let names: HashSet<_> = cases::all().iter().map(|case| format!("{}.json", case.name)).collect();
    let folder = golden("x").parent().unwrap().to_owned();
    for file in std::fs::read_dir(folder).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        assert!(names.contains(&name), "{name} belongs to no case");
    }
}

/// Every resource of every case, as a tree.
fn each(mut check: impl FnMut(&str, &Value)) {
    for case in cases::all() {
        for resource in run(&case).0 {
            check(case.name, &resource.value());
        }
    }
}

fn observations(mut check: impl FnMut(&str, &Value)) {
    each(|name, resource| {
        if resource["resourceType"] == "Observation" {
            check(name, resource);
        }
    });
}

fn is_vital_sign(observation: &Value) -> bool {
    observation["category"].to_string().contains("\"vital-signs\"")
}

fn has_value(part: &Value) -> bool {
    part.as_object().unwrap().keys().any(|key| key.starts_with("value"))
}

#[test]
fn vs_1_a_vital_sign_has_a_time_to_the_day_at_least() {
    observations(|name, observation| {
        let start =
            observation["effectiveDateTime"].as_str().or(observation["effectivePeriod"]["start"].as_str());
        let start = start.unwrap_or_else(|| panic!("{name}: no time"));
        assert!(!is_vital_sign(observation) || start.len() >= "2026-03-14".len(), "{name}: {start}");
        let has_offset =
            start.ends_with('Z') || start.len() > 19 && matches!(&start[start.len() - 6..][..1], "+" | "-");
        assert!(!start.contains('T') || has_offset, "{name}: {start} has no offset");
    });
}

#[test]
fn vs_2_and_vs_3_there_is_a_value_or_its_absence_and_never_both() {
    observations(|name, observation| {
        let components = observation["component"].as_array().map(Vec::as_slice).unwrap_or_default();
        let (value, absent) = (has_value(observation), observation.get("dataAbsentReason").is_some());
        assert!(!(value && absent), "{name}: value and absence");
        assert!(value || absent || !components.is_empty(), "{name}: neither value nor absence");
        for component in components {
            assert_ne!(
                has_value(component),
                component.get("dataAbsentReason").is_some(),
                "{name}: component"
            );
        }
    });
}

#[test]
fn a_blood_pressure_panel_has_no_value_of_its_own() {
    let mut panels = 0;
    observations(|name, observation| {
        if observation["code"].to_string().contains("\"85354-9\"") {
            panels += 1;
            assert!(!has_value(observation), "{name}");
        }
    });
    assert!(panels > 8);
}

#[test]
fn no_list_holds_an_id_twice_and_every_reference_finds_its_target() {
    for case in cases::all() {
        let (resources, _) = run(&case);
        let keys: Vec<_> = resources.iter().map(|r| format!("{}/{}", r.kind, r.id)).collect();
        assert_eq!(keys.iter().collect::<HashSet<_>>().len(), keys.len(), "{}", case.name);
        for resource in &resources {
            let id = bedside::fhir::id(resource.kind, &resource.identifier.0, &resource.identifier.1);
            assert_eq!(resource.id, id, "{}: the id is that of the identifier", case.name);
            let (tree, own) = (resource.value(), &resource.identifier);
            let stands = |i: &Value| i["system"] == *own.0 && i["value"] == *own.1;
            assert!(
                tree["identifier"].as_array().unwrap().iter().any(stands),
                "{}: {:?}",
                case.name,
                resource.kind
            );
            for part in resource.json.get().split("\"reference\":\"").skip(1) {
                let target = part.split('"').next().unwrap();
                let at = keys.iter().position(|key| key == target);
                let own_at = keys.iter().position(|key| *key == format!("{}/{}", resource.kind, resource.id));
                assert!(at.is_some() && at < own_at, "{}: {target} before {}", case.name, resource.kind);
            }
        }
    }
}

#[test]
fn every_resource_of_a_simulated_device_is_marked() {
    for case in cases::all().iter().filter(|case| case.name.starts_with("simulated")) {
        for resource in run(case).0 {
            let tree = resource.value();
            assert_eq!(tree["meta"]["security"][0]["code"], "HTEST", "{}", resource.kind);
            assert_eq!(tree["meta"]["tag"][0]["code"], "simulated", "{}", resource.kind);
        }
    }
}

#[test]
fn a_number_keeps_the_digits_of_the_device() {
    let mut texts = Vec::new();
    observations(|_, observation| texts.push(observation["valueQuantity"]["value"].to_string()));
    for expected in ["2.0", "37.0", "71.850", "5.10", "1e+3"] {
        assert!(texts.iter().any(|text| text == expected), "{expected}");
    }
}

#[test]
fn a_status_that_takes_the_value_away_leaves_no_number_behind() {
    for case in cases::all().iter().filter(|case| case.name.starts_with("status-rows")) {
        let (resources, _) = run(case);
        let bare = resources
            .iter()
            .filter(|r| r.kind == "Observation" && !r.json.get().contains("\"valueQuantity\""));
        assert_eq!(bare.count(), 4, "invalid, not available, ongoing, off");
    }
}

#[test]
fn a_resend_and_a_second_gateway_give_the_same_observations() {
    let ids = |name: &str, link, gateway: &bedside::translate::Gateway| -> Vec<String> {
        let case = cases::all().into_iter().find(|case| case.name == name).unwrap();
        let context =
            bedside::translate::Context { link, sequence: "other", received: later(), ..context(gateway) };
        let all = translate_frame(&case.reports, &context).resources;
        all.into_iter().filter(|r| r.kind == "Observation").map(|r| r.id).collect()
    };
    let (first, mut second) = (gateway(), gateway());
    second.id.value = "aabbccddeeff0011".into();
    for name in ["personal-oximeter", "bedside-monitor", "laboratory"] {
        assert_eq!(ids(name, "bed-12", &first), ids(name, "ward/4", &second), "{name}");
    }
    // Without an issuer and without a site, a number is nobody else's.
    assert_ne!(
        ids("patient-number-without-issuer-or-site", "x", &first),
        ids("patient-number-without-issuer-or-site", "x", &second)
    );
}

fn later() -> bedside::clock::Timestamp {
    bedside::clock::Timestamp::from_micros(RECEIVED + 86_400_000_000, true)
}

#[test]
fn a_correction_is_the_same_resource_and_says_that_it_replaces() {
    let of = |name| {
        let case = cases::all().into_iter().find(|case| case.name == name).unwrap();
        run(&case).0.into_iter().find(|r| r.kind == "Observation").unwrap()
    };
    let (first, corrected) = (of("laboratory"), of("laboratory-corrected"));
    assert_eq!(first.id, corrected.id);
    assert!(!first.replaces && corrected.replaces);
}

#[test]
fn the_offset_in_which_a_time_is_written_is_not_part_of_its_identity() {
    let gateway = gateway();
    let id = |offset_minutes| {
        let mut measurement = heart_rate("80");
        measurement.taken.offset_minutes = offset_minutes;
        translate(&report(oximeter(), vec![measurement]), &context(&gateway)).unwrap().pop().unwrap().id
    };
    assert_eq!(id(60), id(-300));
}

#[test]
fn each_part_of_the_identity_keeps_two_facts_apart() {
    let gateway = gateway();
    let base = || report(oximeter(), vec![placed(heart_rate("80"), 1, 1, 1)]);
    let id =
        |report: &bedside::device::Report| translate(report, &context(&gateway)).unwrap().pop().unwrap().id;
    let mut others = vec![base(); 6];
    others[0].device.serial = Some("700124".into());
    others[1].person.as_mut().unwrap().identifiers[1].value = "PAT-0043".into();
    others[2].measurements[0] = placed(heart_rate("80"), 1, 1, 2);
    others[3].measurements[0].taken.micros += 1;
    others[4].measurements[0].metric = vital("Heart rate", "8867-4", "147842", "OTHER").into();
    others[5].measurements[0].until = Some(at(TAKEN + 60_000_000));
    let ids: HashSet<_> = others.iter().chain([&base()]).map(id).collect();
    assert_eq!(ids.len(), 7);
    let mut same = base();
    same.measurements[0].value = numeric("81", "/min", "bpm");
    assert_eq!(id(&same), id(&base()), "the value is no part of it: a correction finds what it corrects");
}

#[test]
fn two_frames_of_a_device_without_a_clock_stay_two_results() {
    let gateway = gateway();
    let ids = |sequence, received| -> String {
        let mut measurement = heart_rate("80");
        measurement.taken.source = bedside::device::ClockSource::Receipt;
        measurement.taken.micros = received;
        let context = bedside::translate::Context { sequence, ..context(&gateway) };
        translate(&report(oximeter(), vec![measurement]), &context).unwrap().pop().unwrap().id
    };
    assert_ne!(ids("aa", RECEIVED), ids("bb", RECEIVED));
    assert_ne!(
        ids("aa", RECEIVED),
        ids("aa", RECEIVED + 1_000_000),
        "the same bytes again are another measurement"
    );
    assert_eq!(ids("aa", RECEIVED), ids("aa", RECEIVED));
}

#[test]
fn what_may_not_be_delivered_is_held_with_a_reason_that_names_no_patient() {
    let gateway = gateway();
    let usual = || report(oximeter(), vec![heart_rate("80")]);
    let nobody = || bedside::device::Report { person: None, ..usual() };
    let mut imprecise = usual();
    imprecise.measurements[0].taken.precision = bedside::device::Precision::Month;
    let mut control = usual();
    let metric = bedside::device::Metric { class: bedside::device::MetricClass::QualityControl, ..panel() };
    control.measurements.push(measured(metric, Measured::Text("ok".into())));
    let bound = identifier("urn:oid:2.16.756.5.30.999.2", "PAT-0043", None);
    let mut context = context(&gateway);
    fn held(report: &bedside::device::Report, context: &bedside::translate::Context) -> Held {
        translate(report, context).unwrap_err()
    }
    assert_eq!(held(&nobody(), &context), Held::NoPatient { link: "bed-12".into() });
    assert_eq!(held(&imprecise, &context), Held::Imprecise { metric: "Heart rate".into() });
    assert_eq!(held(&control, &context), Held::QualityControl);
    assert_eq!(held(&report(oximeter(), Vec::new()), &context), Held::Empty);
    context.bound_patient = Some(&bound);
    assert_eq!(held(&usual(), &context), Held::OtherPatient { link: "bed-12".into() });
    for held in [held(&usual(), &context), Held::NoPatient { link: "bed-12".into() }, Held::QualityControl] {
        assert!(!held.to_string().contains("PAT") && !held.to_string().contains("Muster"));
    }
    let resources = translate(&nobody(), &context).unwrap();
    let patient = resources.iter().find(|r| r.kind == "Patient").unwrap().value();
    assert_eq!(patient["identifier"][0]["value"], "PAT-0043");
    assert!(patient.get("name").is_none());
}

#[test]
fn a_frame_that_repeats_itself_a_thousand_times_is_one_observation_and_stays_fast() {
    let gateway = gateway();
    let mut measurements = vec![heart_rate("80"); 20_000];
    for (n, measurement) in measurements.iter_mut().enumerate().skip(10_000) {
        measurement.note = Some(n.to_string().into());
    }
    let all = translate(&report(oximeter(), measurements), &context(&gateway)).unwrap();
    assert_eq!(all.iter().filter(|r| r.kind == "Observation").count(), 10_001);
}

#[test]
fn a_cancelled_result_says_so() {
    let gateway = gateway();
    for (status, text) in
        [(ResultStatus::Cancelled, "cancelled"), (ResultStatus::EnteredInError, "entered-in-error")]
    {
        let mut measurement = heart_rate("80");
        measurement.result_status = status;
        let all = translate(&report(oximeter(), vec![measurement]), &context(&gateway)).unwrap();
        let observation = all.last().unwrap();
        assert_eq!(observation.value()["status"], text);
        assert!(observation.replaces);
    }
}
