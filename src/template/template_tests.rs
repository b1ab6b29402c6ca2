//! Whole messages through the built-in templates, and pages that are wrong.

use std::path::{Path, PathBuf};

use super::*;
use crate::clock::Timestamp;
use crate::device::Identifier;
use crate::hl7v2::Charset;

fn gateway() -> Gateway {
    Gateway {
        id: Identifier { system: "urn:x".into(), value: "box-1".into(), kind: None },
        name: "Box".into(),
        version: "0".into(),
        patient_system: None,
    }
}

fn link() -> LinkContext {
    LinkContext::new("adt", "Europe/Berlin", Timestamp::from_micros(1_773_477_000_000_000, true)).unwrap()
}

fn convert(library: &Library, bytes: &[u8]) -> Result<Converted, NotConverted> {
    let parsed = Message::parse(bytes, Charset::default());
    let (link, gateway) = (link(), gateway());
    let context = Context { link: &link, gateway: &gateway, simulated: false };
    library.convert(&parsed.message.unwrap(), &context)
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("firmware-profiles/templates/tests")
}

/// Fixture, its trigger event, the numbers of all events of that kind, and the resource each must make.
type Kind = (&'static str, &'static str, &'static [u8], &'static str);

#[test]
fn every_event_of_a_kind_is_translated() {
    const KINDS: [Kind; 3] = [
        ("adt-a01.hl7", "A01", &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 28, 31, 40], "Patient"),
        ("siu-s12.hl7", "S12", &[12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 26], "Appointment"),
        ("mdm-t02.hl7", "T02", &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], "DocumentReference"),
    ];
    let library = Library::embedded().unwrap_or_else(|error| panic!("{error}"));
    for (fixture, own, events, makes) in KINDS {
        let text = std::fs::read_to_string(folder().join(fixture)).unwrap();
        for event in events {
            let event = format!("{}{event:02}", &own[..1]);
            let converted = convert(&library, text.replace(own, &event).as_bytes());
            let converted = converted.unwrap_or_else(|why| panic!("{event}: {why:?}"));
            let made = converted.resources.iter().any(|one| one.value()["resourceType"] == makes);
            assert!(made, "{event} makes no {makes}");
        }
    }
}

/// `BLESS=1` writes the goldens anew; read the difference before you commit it.
#[test]
fn every_fixture_says_what_its_golden_says() {
    let library = Library::embedded().unwrap_or_else(|error| panic!("{error}"));
    let bless = std::env::var_os("BLESS").is_some();
    let mut differing = Vec::new();
    let mut count = 0;
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "hl7") {
            continue;
        }
        count += 1;
        let converted = convert(&library, &std::fs::read(&path).unwrap()).unwrap();
        let resources: Vec<_> = converted.resources.iter().map(Resource::value).collect();
        let mut says = serde_json::to_string_pretty(
            &serde_json::json!({"resources": resources, "findings": converted.findings}),
        )
        .unwrap();
        says.push('\n');
        let golden = path.with_extension("golden");
        if bless {
            std::fs::write(&golden, &says).unwrap();
        } else if std::fs::read_to_string(&golden).unwrap_or_default() != says {
            differing.push(golden.display().to_string());
        }
    }
    assert!(count >= 35, "{count} fixtures");
    assert!(differing.is_empty(), "these goldens differ (BLESS=1 rewrites them): {differing:#?}");
}

#[test]
fn a_result_is_of_the_specimen_it_stands_under() {
    let library = Library::embedded().unwrap();
    let made = convert(&library, &std::fs::read(folder().join("oul-r22.hl7")).unwrap()).unwrap();
    let all: Vec<_> = made.resources.iter().map(Resource::value).collect();
    let of = |kind: &str, code: &str| {
        all.iter()
            .find(|one| one["resourceType"] == kind && one.to_string().contains(code))
            .unwrap_or_else(|| panic!("no {kind} with {code}"))
    };
    for (code, specimen) in [("2345-7", "S701"), ("2350-7", "S702")] {
        let own = format!("Specimen/{}", of("Specimen", specimen)["id"].as_str().unwrap());
        assert_eq!(of("Observation", code)["specimen"]["reference"], own);
        assert_eq!(of("DiagnosticReport", code)["specimen"][0]["reference"], own);
    }
}

#[test]
fn two_practitioners_of_one_bare_number_are_two() {
    let library = Library::embedded().unwrap();
    let text =
        "MSH|^~\\&|L|F|||20260301||ADT^A01|1|P|2.5\rPID|||1^^^A^MR\rPV1||I|||||1^ONE^ANNA|1^TWO^BERT\r";
    let made = convert(&library, text.as_bytes()).unwrap();
    let names: Vec<_> = made
        .resources
        .iter()
        .filter(|one| one.kind == "Practitioner")
        .map(|one| one.value()["name"][0]["family"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["ONE", "TWO"]);
}

#[test]
fn a_message_nobody_translates_is_named_by_its_type_and_nothing_else() {
    let library = Library::embedded().unwrap();
    let error = convert(&library, b"MSH|^~\\&|A|B|C|D|2026||QQQ^Z99 <x>|1|P|2.5\rPID|||1\r").unwrap_err();
    assert_eq!(error, NotConverted::NoTemplate("QQQ^Z99x".into()));
    assert!(error.to_string().contains("no template translates QQQ^Z99x messages"));
}

#[test]
fn the_same_message_makes_the_same_ids_and_another_sender_other_ones() {
    let library = Library::embedded().unwrap();
    let bytes = std::fs::read(folder().join("adt-a01.hl7")).unwrap();
    let ids = |converted: Converted| -> Vec<_> {
        converted.resources.iter().map(|one| (one.kind, one.id.clone())).collect()
    };
    let first = ids(convert(&library, &bytes).unwrap());
    assert_eq!(first, ids(convert(&library, &bytes).unwrap()));
    let mut unique = first.clone();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), first.len(), "no id twice");
    let text = String::from_utf8(bytes).unwrap().replace("|REGISTER|", "|OTHER|");
    let other = ids(convert(&library, text.as_bytes()).unwrap());
    let of = |all: &[(&str, String)], kind: &str| all.iter().find(|(k, _)| *k == kind).unwrap().1.clone();
    // Who is known by an issuer's number is the same person whoever speaks of them; a place is the sender's own.
    assert_eq!(of(&first, "Patient"), of(&other, "Patient"));
    assert_ne!(of(&first, "Location"), of(&other, "Location"));
}

#[test]
fn two_persons_in_one_message_never_share_a_visit_or_a_result() {
    let library = Library::embedded().unwrap();
    let text = "MSH|^~\\&|L|F|||20260301||ORU^R01|1|P|2.5\r\
        PID|||1^^^A^MR\rPV1||I|X^1^1||||||||||||||||V1^^^A^VN\rOBR|1||F1|c^d^99L\rOBX|1|ST|c^d^99L||a||||||F\r\
        PID|||2^^^A^MR\rOBR|1||F2|c^d^99L\rOBX|1|ST|c^d^99L||b||||||F\r";
    let made = convert(&library, text.as_bytes()).unwrap();
    let all: Vec<_> = made.resources.iter().map(Resource::value).collect();
    let patients: Vec<_> = all.iter().filter(|one| one["resourceType"] == "Patient").collect();
    let results: Vec<_> = all.iter().filter(|one| one["resourceType"] == "Observation").collect();
    assert_eq!((patients.len(), results.len()), (2, 2));
    for (patient, result, value) in [(patients[0], results[0], "a"), (patients[1], results[1], "b")] {
        assert_eq!(result["valueString"], value);
        let id = patient["id"].as_str().unwrap();
        assert_eq!(result["subject"]["reference"], format!("Patient/{id}"));
    }
    assert!(results[0].get("encounter").is_some());
    assert!(results[1].get("encounter").is_none(), "the visit is the first person's");
}

/// OBX-2 of HL7 v2.8.2 (table 0125) and of older versions, OBX-5, the element of the Observation and what it holds.
const VALUES: &[(&str, &str, &str, &str)] = &[
    (
        "NM",
        "7.50",
        "valueQuantity",
        r#"{"value":7.50,"unit":"mg/dL","system":"http://unitsofmeasure.org","code":"mg/dL"}"#,
    ),
    (
        "NM",
        "<0.05",
        "valueQuantity",
        r#"{"value":0.05,"comparator":"<","unit":"mg/dL","system":"http://unitsofmeasure.org","code":"mg/dL"}"#,
    ),
    (
        "SN",
        ">^100",
        "valueQuantity",
        r#"{"value":100,"comparator":">","unit":"mg/dL","system":"http://unitsofmeasure.org","code":"mg/dL"}"#,
    ),
    ("SN", "^1^-^5", "valueRange", r#"{"low":{"value":1,"unit":"mg/dL"},"high":{"value":5,"unit":"mg/dL"}}"#),
    ("SN", "^1^:^128", "valueRatio", r#"{"numerator":{"value":1},"denominator":{"value":128}}"#),
    ("SN", "^2^+", "valueString", r#""2 + mg/dL""#),
    ("SN", "<>^7", "valueString", r#""<> 7 mg/dL""#),
    (
        "CQ",
        "3^mL",
        "valueQuantity",
        r#"{"value":3,"unit":"mL","system":"http://unitsofmeasure.org","code":"mL"}"#,
    ),
    (
        "NR",
        "3^5",
        "valueRange",
        r#"{"low":{"value":3,"unit":"mg/dL","system":"http://unitsofmeasure.org","code":"mg/dL"},"high":{"value":5,"unit":"mg/dL","system":"http://unitsofmeasure.org","code":"mg/dL"}}"#,
    ),
    (
        "CWE",
        "1^one^99L",
        "valueCodeableConcept",
        r#"{"coding":[{"system":"urn:bedside:system:99L","code":"1","display":"one"}]}"#,
    ),
    (
        "CE",
        "^only text",
        "valueCodeableConcept",
        r#"{"coding":[{"display":"only text"}],"text":"only text"}"#,
    ),
    (
        "CNE",
        "1^one^99L",
        "valueCodeableConcept",
        r#"{"coding":[{"system":"urn:bedside:system:99L","code":"1","display":"one"}]}"#,
    ),
    (
        "CF",
        "1^one^99L",
        "valueCodeableConcept",
        r#"{"coding":[{"system":"urn:bedside:system:99L","code":"1","display":"one"}]}"#,
    ),
    ("IS", "Y", "valueCodeableConcept", r#"{"coding":[{"code":"Y"}]}"#),
    ("ID", "Y", "valueString", r#""Y""#),
    ("SI", "4", "valueInteger", "4"),
    ("ST", "a text", "valueString", r#""a text""#),
    ("TX", "first~second", "valueString", r#""first\nsecond""#),
    ("FT", "one line", "valueString", r#""one line""#),
    ("DT", "20260302", "valueDateTime", r#""2026-03-02""#),
    ("DTM", "202603020815+0100", "valueDateTime", r#""2026-03-02T08:15:00+01:00""#),
    ("TS", "202603020815+0100", "valueDateTime", r#""2026-03-02T08:15:00+01:00""#),
    ("TM", "0815", "valueTime", r#""08:15:00""#),
    ("DR", "20260301^20260302", "valuePeriod", r#"{"start":"2026-03-01","end":"2026-03-02"}"#),
    ("CP", "12.50&EUR^UP", "valueString", r#""12.50 EUR UP""#),
    ("MO", "12.50^EUR", "valueString", r#""12.50 EUR""#),
    ("XPN", "TEST^PATIENT^^^DR", "valueString", r#""DR PATIENT TEST""#),
    ("PN", "TEST^PATIENT", "valueString", r#""PATIENT TEST""#),
    ("XCN", "17^TEST^NURSE", "valueString", r#""NURSE TEST 17""#),
    ("CN", "17^TEST^NURSE", "valueString", r#""NURSE TEST 17""#),
    ("XAD", "1 MAIN ST^^TOWN^^1000^CH", "valueString", r#""1 MAIN ST, TOWN, 1000, CH""#),
    ("AD", "1 MAIN ST^^TOWN", "valueString", r#""1 MAIN ST, TOWN""#),
    ("XTN", "^PRN^PH^^^22^5550101", "valueString", r#""22 5550101""#),
    ("TN", "5550101", "valueString", r#""5550101""#),
    ("CX", "77^^^CLINIC^MR", "valueString", r#""77""#),
    ("EI", "77^CLINIC", "valueString", r#""77""#),
    ("HD", "CLINIC^1.2^ISO", "valueString", r#""CLINIC""#),
    ("XON", "CLINIC EAST", "valueString", r#""CLINIC EAST""#),
    ("VR", "1^9", "valueString", r#""1-9""#),
    ("NA", "1^2^3", "valueString", r#""1^2^3""#),
    ("MA", "1^2~3^4", "valueString", r#""1^2\n3^4""#),
];

#[test]
fn every_type_of_value_becomes_what_it_means() {
    let library = Library::embedded().unwrap();
    for (kind, value, name, expected) in VALUES {
        let text = format!(
            "MSH|^~\\&|L|F|||20260301||ORU^R01|1|P|2.8.2\rPID|||1^^^A^MR\rOBR|1||F1|c^d^99L\r\
             OBX|1|{kind}|c^d^99L||{value}|mg/dL^^UCUM|||||F\r"
        );
        let made = convert(&library, text.as_bytes()).unwrap();
        let result = made.resources.iter().find(|one| one.kind == "Observation").unwrap();
        let values: Vec<_> =
            result.value().as_object().unwrap().keys().filter(|k| k.starts_with("value")).cloned().collect();
        let whole = result.json.get();
        assert_eq!(values, [*name], "{kind} {value}: {whole}");
        assert!(whole.contains(&format!("\"{name}\":{expected}")), "{kind} {value}: {whole}");
        assert!(result.value().get("dataAbsentReason").is_none());
    }
}

#[test]
fn a_document_of_a_report_refers_to_the_report() {
    let library = Library::embedded().unwrap();
    for (value, attachment) in [
        (
            "ED|c^d^99L||^TEXT^plain^Base64^eA==",
            serde_json::json!({"contentType": "text/plain", "data": "eA=="}),
        ),
        (
            "RP|c^d^99L||https://pacs.example/1^PACS^text^plain",
            serde_json::json!({"contentType": "text/plain", "url": "https://pacs.example/1"}),
        ),
    ] {
        let text = format!(
            "MSH|^~\\&|L|F|||20260301||ORU^R01|1|P|2.8.2\rPID|||1^^^A^MR\rOBR|1||F1|c^d^99L\r\
             OBX|1|{value}||||||F\r"
        );
        let made = convert(&library, text.as_bytes()).unwrap();
        let of = |kind: &str| made.resources.iter().find(|one| one.kind == kind).map(Resource::value);
        let (report, document) = (of("DiagnosticReport").unwrap(), of("DocumentReference").unwrap());
        let own = format!("DiagnosticReport/{}", report["id"].as_str().unwrap());
        assert_eq!(document["context"]["related"][0]["reference"], own);
        assert_eq!(document["content"][0]["attachment"], attachment);
    }
}

#[test]
fn nothing_is_lost_silently() {
    let library = Library::embedded().unwrap();
    let text = "MSH|^~\\&|L|F|||20260301||ADT^A08|1|P|2.5\rPID|||1^^^A^MR||X^Y||1971|Q\rZPI|a^b|c\r";
    let made = convert(&library, text.as_bytes()).unwrap();
    let of = |code: &str| -> Vec<_> {
        made.findings.iter().filter(|f| f.code == code).map(|f| f.place.as_str()).collect()
    };
    assert_eq!(of("not-translated"), ["ZPI-1.1", "ZPI-1.2", "ZPI-2"]);
    assert_eq!(of("not-in-table"), ["PID-8"]);
    let told = format!("{:?}", made.findings);
    assert!(!told.contains("\"a\"") && !told.contains("1971"), "findings hold no values");
}

#[test]
fn a_wrong_page_is_told_with_its_line() {
    for (page, line, says) in [
        ("maps:\n  PID.Pateint: {}\n", 2, "did you mean Patient"),
        (
            "maps:\n  PID.Patient:\n    lines:\n      Patient.brithDate: PID-7\n",
            4,
            "did you mean `birthDate`",
        ),
        ("maps:\n  PID.Patient:\n    lines:\n      Patient.birthDate: PID.7\n", 4, "no path"),
        ("maps:\n  PID.Patient:\n    lines:\n      Patient.name: PID-5\n", 4, "needs `map`"),
        (
            "maps:\n  PID.Patient:\n    lines:\n      Patient.name: {from: PID-5, map: XPN.HumanNam}\n",
            4,
            "did you mean",
        ),
        (
            "maps:\n  PID.Patient:\n    lines:\n      Patient.name:\n        - {from: PID-5, map: CX.Identifier}\n",
            5,
            "is a HumanName",
        ),
        (
            "maps:\n  PV1.Encounter:\n    lines:\n      Encounter.status: =finnished\n",
            4,
            "did you mean `finished`",
        ),
        (
            "maps:\n  PV1.Encounter:\n    lines:\n      Encounter.status:\n        - {value: finished, whem: \"x\"}\n",
            5,
            "did you mean `when`",
        ),
        ("messages:\n  x:\n    make: []\n", 2, "which it is `for`"),
        ("groups:\n  x:\n    groups: [pateint]\n", 3, "did you mean `patient`"),
        ("groups:\n  x:\n    make: [CX.Identifier]\n", 3, "reads a value"),
        (
            "tables:\n  odd:\n    rows: {A: b}\nmaps:\n  PID.Patient:\n    lines:\n      Patient.gender: {from: PID-8, table: odd}\n",
            7,
            "is never `b`",
        ),
    ] {
        let report = check("page.yaml", page);
        let fault = report.faults.first().unwrap_or_else(|| panic!("no fault in\n{page}"));
        assert_eq!(fault.line, line, "{fault}");
        assert!(fault.message.contains(says), "{fault}");
    }
    let good = check("page.yaml", "maps:\n  PID.Patient:\n    lines:\n      Patient.birthDate: PID-7\n");
    assert!(good.is_good(), "{good}");
}

#[test]
fn every_built_in_page_fits_the_schema() {
    let schema = jsonschema::validator_for(&page_schema()).unwrap();
    for path in Embedded::iter().filter(|path| is_page(path)) {
        let file = Embedded::get(&path).unwrap();
        let text = String::from_utf8_lossy(&file.data).into_owned();
        let tree = json(&yaml::Yaml::parse(&text).unwrap());
        let errors: Vec<_> = schema.iter_errors(&tree).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{path}: {errors:#?}");
    }
}

fn json(tree: &yaml::Yaml) -> serde_json::Value {
    match &tree.node {
        yaml::Node::Scalar(text, true) if text == "true" || text == "false" => (text == "true").into(),
        yaml::Node::Scalar(text, _) => text.as_str().into(),
        yaml::Node::List(items) => items.iter().map(json).collect(),
        yaml::Node::Map(entries) => entries
            .iter()
            .map(|(key, value)| (key.text.clone(), json(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
    }
}

#[test]
fn a_page_of_the_clinic_changes_one_map_and_leaves_the_rest() {
    let own = "maps:\n  PID.Patient:\n    identity: {identifier: [MR]}\n    lines:\n      Patient.identifier: {from: PID-3, map: CX.Identifier}\n      Patient.birthDate: PID-7\n";
    let library = Library::embedded_with(vec![("own.yaml".into(), own.into())]).unwrap();
    let text = "MSH|^~\\&|L|F|||20260301||ADT^A08|1|P|2.5\rPID|||1^^^A^MR||X^Y||1971|F\rNK1|1|Z\r";
    let made = convert(&library, text.as_bytes()).unwrap();
    let patient = made.resources.iter().find(|one| one.kind == "Patient").unwrap().value();
    assert!(patient.get("name").is_none() && patient["birthDate"] == "1971");
    assert!(made.resources.iter().any(|one| one.kind == "RelatedPerson"));
}

#[test]
fn any_bytes_are_survived() {
    let library = Library::embedded().unwrap();
    let seeds: Vec<Vec<u8>> =
        std::fs::read_dir(folder()).unwrap().filter_map(|e| std::fs::read(e.unwrap().path()).ok()).collect();
    let mut state = 0x2545_F491_4F6C_DD1Du64;
    let mut next = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below.max(1) as u64).unwrap()
    };
    for round in 0..300 {
        let mut bytes = seeds[round % seeds.len()].clone();
        bytes.truncate(6000);
        for _ in 0..next(20) {
            let at = next(bytes.len());
            bytes[at] = b"|^~\\&\r\"M0-"[next(10)];
        }
        fuzz(&bytes);
        fuzz_message(&bytes, &library);
    }
}
