//! Runs every parser of outside bytes on mutations of a seed corpus: a panic, a broken promise of the parser's own
//! fuzz body, or an input that takes for ever fails the rig and leaves its bytes in `target/fuzz/`.
//!
//! Deterministic: the same rounds try the same inputs. `FUZZ_ROUNDS=20000` runs so many rounds of every body,
//! `FUZZ_SEED=n` takes another way through, `FUZZ_BODY=name` runs one body alone, `FUZZ_MINUTES=10` each body so long.
//!
//! The corpus is the captures of the firmware profiles, what the rig says of its own, and what once broke a parser:
//! such an input is put into `test-rigs/fuzz/BODY/` (`wire::astm` → `wire__astm`) and tried first from then on.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

#[path = "common/meaning.rs"]
mod meaning;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use bedside::demo::template::Dice;
use bedside::firmware_profile::Library;
use bedside::template;
use bedside::wire::{
    astm, delimited, dri, ieee11073, intellivue, lines, medibus, mllp, nonin, poct1a, sparkplug, tape,
};
use bedside::{
    access, admin, buffer, config, connector, demo, fhir, firmware_profile, gateway, hl7v2, identity,
    upstream,
};

/// Longest input that is tried.
const INPUT_MAX: usize = 8 << 10;
/// An input that takes longer is a hang (unoptimised builds on a busy machine included).
const HANG: Duration = Duration::from_secs(20);

static TEMPLATES: LazyLock<template::Library> = LazyLock::new(|| template::Library::embedded().unwrap());
static LIBRARY: LazyLock<Library> = LazyLock::new(|| Library::embedded().unwrap());

/// A fuzz body with its seeds and how many rounds it gets by default: about a second or two each.
struct Body {
    name: &'static str,
    run: fn(&[u8]),
    rounds: u64,
    seeds: Vec<Vec<u8>>,
}

fn bodies() -> Vec<Body> {
    let body = |name, run, rounds, seeds| Body { name, run, rounds, seeds };
    vec![
        body("wire::mllp", mllp::fuzz, 15_000, on_mllp()),
        body("wire::astm", astm::fuzz, 8000, on_astm()),
        body("wire::poct1a", poct1a::fuzz, 8000, captures(&["poct1a/device", "siemens/dca-vantage"])),
        body("wire::lines", lines::fuzz, 15_000, captures(&["masimo/ascii1", "denver/line-scale"])),
        body("wire::sparkplug", sparkplug::fuzz, 15_000, captures(&["sparkplug/edge-node"])),
        body("wire::tape", tape::fuzz, 20_000, tapes()),
        body("wire::delimited", delimited::fuzz, 8000, on_delimited()),
        body("wire::intellivue", intellivue::fuzz, 500, on_intellivue()),
        body("wire::medibus", medibus::fuzz, 6000, captures(&["drager/evita", "drager/v500"])),
        body(
            "wire::nonin",
            nonin::fuzz,
            6000,
            captures(&["nonin/oem3", "nonin/xpod", "nonin/3230-format13"]),
        ),
        body("wire::dri", dri::fuzz, 4000, captures(&["ge/datex-s5"])),
        body(
            "wire::ieee11073",
            ieee11073::fuzz,
            6000,
            captures(&["ieee11073/agent", "ieee11073/blood-pressure"]),
        ),
        body("hl7v2", hl7v2::fuzz, 6000, captures(&["ihe/pcd01-monitor", "mindray/bs-chemistry"])),
        body("route", bedside::route::fuzz, 6000, captures(&["ihe/pcd01-monitor", "mindray/bs-chemistry"])),
        body("upstream::hl7", upstream::hl7::fuzz, 20_000, acknowledgements()),
        body("identity::adt", identity::adt::fuzz, 6000, on_patients()),
        body("identity::query", identity::query::fuzz, 6000, on_patients()),
        body("arriving orders", firmware_profile::fuzz_orders, 6000, captures(&["generic/hl7-orders"])),
        body("orders of a FHIR server", gateway::fuzz_fhir, 6000, on_fhir()),
        body("template", |bytes| template::fuzz_message(bytes, &TEMPLATES), 1500, on_patients()),
        body("template pages", template::fuzz, 300, template_pages()),
        body("fhir::answer", fhir::fuzz, 40_000, answers()),
        body("upstream", upstream::fuzz, 20_000, answers()),
        body("firmware_profile", firmware_profile::fuzz, 6000, with_choice(captures(&ids()))),
        body("firmware_profile pages", firmware_profile::fuzz, 1200, with_choice(pages())),
        body("frame to FHIR", frame_to_fhir, 4000, with_choice(captures(&ids()))),
        body(
            "firmware_profile::mask",
            firmware_profile::fuzz_mask,
            15_000,
            captures(&["ihe/pcd01-monitor", "sysmex/xn", "poct1a/device"]),
        ),
        body("connector::mqtt", connector::mqtt::fuzz, 60_000, packets()),
        body("admin", admin::fuzz, 60_000, with_choice(requests())),
        body("buffer::carve", buffer::fuzz, 60_000, vec![leaf_page()]),
        body("access", access::fuzz, 8000, requests()),
        body("acme", bedside::acme::fuzz, 8000, answers()),
        body("config", config::fuzz, 4000, configurations()),
        body("update", bedside::update::fuzz, 8000, updates()),
        body("demo::template", demo::template::fuzz, 40_000, templates()),
    ]
}

/// A page of a database with one row in the shape of a frame.
fn leaf_page() -> Vec<u8> {
    let mut page = vec![0; 512];
    page[..10].copy_from_slice(&[13, 0, 0, 0, 1, 0, 64, 0, 0, 64]);
    // Payload and row number, then the types: null, two integers, true, 32 bytes, text, two nulls, 4 bytes, null.
    let row = [63, 7, 11, 0, 1, 6, 9, 76, 23, 0, 0, 20, 0];
    page[64..64 + row.len()].copy_from_slice(&row);
    page
}

/// ADT messages and questions about patients.
fn on_patients() -> Vec<Vec<u8>> {
    let message = |event: &str, rest: &str| {
        format!("MSH|^~\\&|HIS|A|||20260314120000||{event}|1|P|2.5\rEVN||20260314120000+0100|||||\r{rest}")
            .into_bytes()
    };
    let patient = "PID|1||7^^^H&1.2&ISO^MR~8^^^^PI||DOE^JANE||19800102|F||||||||||A1\rPV1|1|I|ICU^4^2^N||||||||||||||||V1\r";
    vec![
        message("ADT^A01", patient),
        message("ADT^A17", &format!("{patient}{patient}")),
        message("ADT^A40", &format!("{patient}MRG|9^^^H~\"\"||A2||V2\r")),
        message(
            "QBP^ZV1^QBP_Q21",
            "QPD|N|T|@PID.3.1^1~@PID.5.1.1^D*~@PV1.3^A^B^C^D||||||^^^&1&ISO\rRCP|I|5^RD\rDSC|P1|I\r",
        ),
        message("QRY^A19", "QRD|1|R|I|Q|||1^RD|7^D^J|DEM|\r"),
    ]
}

/// A page of templates with each kind of line.
fn template_pages() -> Vec<Vec<u8>> {
    let page = "maps:\n  PID.Patient:\n    identity: [{identifier: [MR]}, {key: [PID-3]}, message]\n    lines:\n      Patient.birthDate: PID-7\n      Patient.name:\n        - {from: \"PID-5\", when: \"{PID-8} == 'F'\", map: XPN.HumanName}\n      Patient.identifier:x.value: =7\ngroups:\n  g: {begins: [PID], holds: [NTE], make: [{map: PID.Patient, update: true}]}\nmessages:\n  m: {for: [ADT^A01], groups: [g], ignore: [MSH-1]}\ntables:\n  t: {target: \"urn:t\", rows: {A: {code: b, display: c}}}\n";
    vec![page.as_bytes().to_vec()]
}

/// What a FHIR server says of orders, patients and beds.
fn on_fhir() -> Vec<Vec<u8>> {
    let text = r##"[{"resourceType":"ServiceRequest","id":"r","status":"active","intent":"order","code":{"coding":[{"system":"http://loinc.org","code":"2345-7"}]},
        "subject":{"reference":"Patient/p"},"specimen":[{"reference":"#s"}],"contained":[{"resourceType":"Specimen","id":"s","accessionIdentifier":{"value":"A"}}],"meta":{"lastUpdated":"2026-03-14T08:00:00Z"}},
        {"resourceType":"Patient","id":"p","identifier":[{"system":"urn:x","value":"7"}],"link":[{"type":"replaced-by","other":{"reference":"Patient/p"}}],"meta":{"lastUpdated":"2026-03-14T08:00:00Z"}},
        {"resourceType":"Encounter","id":"e","status":"in-progress","subject":{"reference":"Patient/p"},"location":[{"location":{"reference":"Location/b"},"period":{"start":"2026-03-14T08:00:00Z"}}],"meta":{"lastUpdated":"2026-03-14T08:00:00Z"}},
        {"resourceType":"Location","id":"b","name":"2","partOf":{"reference":"Location/b"}}]"##;
    vec![text.as_bytes().to_vec()]
}

fn tapes() -> Vec<Vec<u8>> {
    let chunks = captures(&["masimo/ascii1", "nonin/xpod"]).into_iter().enumerate();
    let chunks = chunks.map(|(at, bytes)| tape::Chunk { ms: 100 * at as u64, bytes, ..Default::default() });
    vec![tape::Tape { chunks: chunks.collect(), ..Default::default() }.written()]
}

#[test]
fn no_bytes_from_outside_break_a_parser() {
    let asked = |name: &str| std::env::var(name).ok();
    let rounds: Option<u64> = asked("FUZZ_ROUNDS").map(|n| n.parse().expect("FUZZ_ROUNDS is a number"));
    let minutes: Option<u32> = asked("FUZZ_MINUTES").map(|n| n.parse().expect("FUZZ_MINUTES is a number"));
    let seed: u64 = asked("FUZZ_SEED").map_or(1, |n| n.parse().expect("FUZZ_SEED is a number"));
    let only = asked("FUZZ_BODY");
    let mut failures = Vec::new();
    for body in bodies() {
        if only.as_deref().is_some_and(|only| only != body.name) {
            continue;
        }
        assert!(!body.seeds.is_empty(), "{} has no seeds", body.name);
        let limit = match (minutes, rounds) {
            (Some(minutes), _) => Limit::Time(Duration::from_secs(60) * minutes),
            (None, rounds) => Limit::Rounds(rounds.unwrap_or(body.rounds)),
        };
        let began = Instant::now();
        match tried(&body, &limit, seed) {
            Ok((rounds, slowest)) => println!(
                "{:<24} {:>3} seeds {rounds:>7} rounds {:>6.1} s, slowest input {:>5} ms",
                body.name,
                body.seeds.len(),
                began.elapsed().as_secs_f32(),
                slowest.as_millis()
            ),
            Err(failure) => failures.push(failure),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// How long a body is tried.
enum Limit {
    Rounds(u64),
    Time(Duration),
}

/// Runs every seed as it is, then mutations up to the limit: how many, and the slowest input's time; or what failed.
fn tried(body: &Body, limit: &Limit, seed: u64) -> Result<(u64, Duration), String> {
    let mut dice = Dice(seed);
    let (mut rounds, mut slowest) = (0, Duration::ZERO);
    let started = Instant::now();
    let old = kept(body.name);
    let mutations = std::iter::repeat_with(|| mutated(&body.seeds, &mut dice));
    for (at, input) in old.iter().chain(&body.seeds).cloned().chain(mutations).enumerate() {
        let over = match limit {
            Limit::Rounds(most) => rounds >= *most,
            Limit::Time(most) => started.elapsed() >= *most,
        };
        let seeding = at < old.len() + body.seeds.len();
        if over && !seeding {
            break;
        }
        rounds += u64::from(!seeding);
        let began = Instant::now();
        let survived = catch_unwind(AssertUnwindSafe(|| (body.run)(&input))).is_ok();
        let took = began.elapsed();
        slowest = slowest.max(took);
        if !survived || took > HANG {
            let file = keep(body.name, &input);
            let what = if survived { format!("took {took:?}") } else { "panicked".into() };
            return Err(format!("{} {what} on {}", body.name, file.display()));
        }
    }
    Ok((rounds, slowest))
}

/// Inputs that broke this parser once.
fn kept(body: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("test-rigs/fuzz").join(file_name(body));
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|file| file.path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

fn file_name(body: &str) -> String {
    body.replace([':', ' '], "_")
}

fn keep(body: &str, input: &[u8]) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/fuzz");
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join(format!("{}-{}.bin", file_name(body), input.len()));
    fs::write(&file, input).unwrap();
    file
}

/// Bytes that mean something to one of the parsers.
const TELLING: &[&[u8]] = &[
    b"\x0b",
    b"\x1c\r",
    b"\x05",
    b"\x04",
    b"\x02",
    b"\x03",
    b"\x17",
    b"\r",
    b"\r\n",
    b"\n",
    b"\0",
    b"\xff",
    b"|",
    b"^",
    b"~",
    b"&",
    b"\\",
    b"\\X00\\",
    b"\"\"",
    b"MSH|^~\\&|",
    b"OBX|1|NM|",
    b"-",
    b"1e9999",
    b"1e-9999",
    b"99999999999999999999999999999999999999999",
    b"0.00000000000000000000000000000000000000001",
    b"NaN",
    b"-0",
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b"\\u0000",
    b"\xf0\x9f\xa9\xba",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"20269999",
    b"00000000",
    b"20260314083000.123456789+2500",
    b"{{",
    b"}}",
    b"walk 0 9 1",
    b"%00",
    b"%2f..",
];

/// One to six changes of one seed.
fn mutated(seeds: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let mut pick = |limit: usize| usize::try_from(dice.below(limit.max(1) as u64)).unwrap();
    let mut input = seeds[pick(seeds.len())].clone();
    for _ in 0..=pick(6) {
        let at = pick(input.len() + 1);
        let end = (at + 1 + pick(24)).min(input.len()).max(at);
        match pick(10) {
            0 if at < input.len() => input[at] ^= 1 << pick(8),
            1 if at < input.len() => input[at] = u8::try_from(pick(256)).unwrap(),
            2 => drop(input.drain(at..end)),
            3 => input.truncate(at),
            4 => {
                let piece: Vec<u8> = input[at..end].repeat(1 + pick(20));
                input.splice(at..at, piece);
            }
            5 => {
                let other = &seeds[pick(seeds.len())];
                let from = pick(other.len() + 1);
                let tail = other[from..(from + pick(400)).min(other.len())].to_vec();
                input.splice(at..end, tail);
            }
            6 => input.rotate_left(at),
            _ => {
                let telling = TELLING[pick(TELLING.len())].iter().copied();
                let until = if pick(2) == 0 { at } else { end };
                input.splice(at..until, telling);
            }
        }
        input.truncate(INPUT_MAX);
    }
    input
}

/// A frame decoded by the profile that its first byte chooses, and translated: every Observation has a value, parts
/// or the reason why not, and nothing is said about nobody.
fn frame_to_fhir(bytes: &[u8]) {
    let Some((choice, frame)) = bytes.split_first() else { return };
    let profiles: Vec<_> = LIBRARY.profiles().collect();
    let profile = profiles[usize::from(*choice) % profiles.len()];
    let (_, translation) = meaning::read(profile, frame, Some("fuzz/topic"), meaning::Setting::default());
    let mut ids = std::collections::HashSet::new();
    for resource in &translation.resources {
        let tree = resource.value();
        assert!(ids.insert((resource.kind, resource.id.clone())), "two resources under one id");
        if tree["resourceType"] != "Observation" {
            continue;
        }
        let fields = tree.as_object().unwrap();
        let values = fields.keys().filter(|key| key.starts_with("value")).count();
        let absent = usize::from(fields.contains_key("dataAbsentReason"));
        let parts = fields.contains_key("component") || fields.contains_key("hasMember");
        assert!(values + absent == 1 || (parts && values == 0), "a value, a reason or parts");
        let about = fields.contains_key("subject") || fields.contains_key("specimen");
        assert!(about, "an Observation about neither a subject nor a specimen");
    }
}

// ── seeds: our own captures, and small ones by hand ──

fn ids() -> Vec<&'static str> {
    LIBRARY.ids().collect()
}

fn captures(profiles: &[&str]) -> Vec<Vec<u8>> {
    profiles.iter().flat_map(|id| LIBRARY.captures(id)).map(|(_, bytes)| bytes).collect()
}

/// Bodies that choose by their first byte get every choice.
fn with_choice(seeds: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let choices = u8::try_from(LIBRARY.ids().count().max(3)).unwrap();
    let chosen = |seed: Vec<u8>| (0..choices).map(move |choice| [vec![choice], seed.clone()].concat());
    seeds.into_iter().flat_map(chosen).collect()
}

/// Serial and LAN, active and passive.
fn on_intellivue() -> Vec<Vec<u8>> {
    let seeds = captures(&["philips/intellivue"]);
    (0..4).flat_map(|choice| seeds.iter().map(move |seed| [&[choice], seed.as_slice()].concat())).collect()
}

fn on_mllp() -> Vec<Vec<u8>> {
    let wrapped: Vec<Vec<u8>> =
        captures(&["ihe/pcd01-monitor", "mindray/bs-chemistry"]).iter().map(|m| mllp::wrap(m)).collect();
    let stream = wrapped.concat();
    let short = b"\x0bMSH|^~\\&|A|||||||1|P|2.6\rPID|\r\x1c\r".to_vec();
    [wrapped, vec![stream, short.repeat(3), short]].concat()
}

fn on_astm() -> Vec<Vec<u8>> {
    let session = |message: &[u8], size: usize| {
        let pieces: Vec<&[u8]> = message.chunks(size).collect();
        let count = pieces.len();
        let mut bytes = vec![0x05];
        for (at, piece) in pieces.into_iter().enumerate() {
            let number = u8::try_from((at + 1) % 8).unwrap();
            bytes.extend(astm::frame(number, piece, at + 1 == count));
        }
        bytes.push(0x04);
        bytes
    };
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    for message in captures(&["generic/astm-analyser"]) {
        seeds.push(session(&message, 60));
        seeds.push(session(&message, 4000));
    }
    seeds.push(b"\x05\x02H|\\^&\rL|1\r\x03\x04".to_vec());
    seeds.push(b"\x05\x05\x05\x04\x05\x021H|\\^&\r\x17".to_vec());
    seeds
}

fn on_delimited() -> Vec<Vec<u8>> {
    let seeds: [&[u8]; 5] = [
        b"\x02\r\n6510  01.02 9706201349\r\nDEUTSCH - CONV.\r\nMULTISTIX 8 SG\r\n48\x03",
        b"\x85\x02\x01\x07\x04\x85\x01\x04\x05\x85\x03\x00\x80\x05\x80\x00\x86",
        b"\x02104ab\r\x02x03SES\r\x11\x22",
        b"noiseABtextEXEE\r\n\nABlong long long\r\nABok\r\n",
        b"pH 7.41 pCO2 40.1",
    ];
    seeds.map(<[u8]>::to_vec).into()
}

fn acknowledgements() -> Vec<Vec<u8>> {
    [
        "MSH|^~\\&|EHR|H|||1||ACK^R01^ACK|9|P|2.5|||AL\rMSA|AE|M1|bad\rERR|||207^Application internal error^HL70357|E||||x\r",
        "MSH|^~\\&|EHR|H|||1||ACK|9|P|2.3\rMSA|AR|M1||||203^Unsupported version id\rERR|^^^207&Internal&HL70357\r",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}

fn answers() -> Vec<Vec<u8>> {
    [
        r#"{"resourceType":"Bundle","type":"transaction-response","entry":[{"response":{"status":"201 Created","location":"Observation/1/_history/1","etag":"W/\"1\""}},{"response":{"status":"200"}}]}"#,
        r#"{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"invalid","details":{"text":"x"},"diagnostics":"y","expression":["Bundle.entry[0].resource"]}]}"#,
        r#"{"resourceType":"Bundle","type":"searchset","total":1,"entry":[{"resource":{"resourceType":"Patient","id":"p1"}}]}"#,
        r#"{"token_endpoint":"https://a/token","capabilities":["permission-v2"],"token_endpoint_auth_signing_alg_values_supported":["ES384"]}"#,
        r#"{"access_token":"x","token_type":"bearer","expires_in":300,"scope":"system/*.cruds"}"#,
        r#"{"resourceType":"CapabilityStatement","fhirVersion":"4.0.1","rest":[{"resource":[{"type":"Observation","updateCreate":true,"conditionalCreate":true}]}]}"#,
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "<html><body>502 Bad Gateway</body></html>",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}

fn packets() -> Vec<Vec<u8>> {
    // CONNECT 3.1.1 and 5 with user and password, PUBLISH QoS 0/1/2, SUBSCRIBE, acknowledgements, PINGREQ, DISCONNECT.
    let seeds: [&[u8]; 9] = [
        b"\x10\x18\x00\x04MQTT\x04\xc2\x00\x3c\x00\x02id\x00\x02us\x00\x04pass",
        b"\x10\x1f\x00\x04MQTT\x05\xc2\x00\x3c\x05\x11\x00\x00\x0e\x10\x00\x02id\x00\x02us\x00\x04pass",
        b"\x30\x0b\x00\x03a/b{\"x\":1}",
        b"\x32\x0d\x00\x03a/b\x00\x01{\"x\":1}",
        b"\x3c\x10\x00\x03a/b\x00\x02\x02\x01\x01{\"x\":1}",
        b"\x82\x08\x00\x01\x00\x03a/#\x01",
        b"\x20\x02\x00\x00\x40\x02\x00\x01\x50\x02\x00\x02\x62\x02\x00\x02\x70\x02\x00\x02",
        b"\xc0\x00\xe0\x00",
        b"\x20\x09\x00\x00\x06\x21\x00\x14\x24\x01\x25\x00\x90\x03\x00\x01\x01",
    ];
    let all = seeds.concat();
    seeds.iter().map(|seed| seed.to_vec()).chain([all]).collect()
}

/// An update file, and what is in it.
fn updates() -> Vec<Vec<u8>> {
    use bedside::update::publish::{self, NewRelease, NewRoot, Signer};
    let dir = tempfile::tempdir().unwrap();
    let signer = Signer::make(&dir.path().join("key")).unwrap();
    let (expires, key) = ("2031-01-01T00:00:00Z".to_owned(), vec![signer.public()]);
    let root = NewRoot {
        version: 1,
        expires: expires.clone(),
        root_keys: key.clone(),
        root_threshold: 1,
        release_keys: key,
        release_threshold: 1,
    };
    let root = publish::root(&root, None, std::slice::from_ref(&signer)).unwrap();
    let program = dir.path().join("bedside-x86_64");
    fs::write(&program, b"#!/bin/sh\n").unwrap();
    let release =
        NewRelease { version: 7, expires, product: "0.1.0".into(), schema: 1, programs: vec![program] };
    let file = dir.path().join("7.update");
    publish::release(&release, std::slice::from_ref(&root), &[signer], &file).unwrap();
    let state = r#"{"chosen":"a","before":null,"confirmed":true,"highest":7,"gone_back":{"release":8,"product":"0.1.0","why":"x","at":"y"}}"#;
    vec![fs::read(file).unwrap(), root, state.into()]
}

fn requests() -> Vec<Vec<u8>> {
    [
        "/api/v1/devices/ACME%2FMon%20X%2F12/trend",
        "/api/v1/entries/17/release",
        "/%2e%2e/%2e%2e/etc/passwd",
        "https://box.local:8443\nbox.local:8443\n__Host-bedside=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "K7Q2M-9XW4T-BH3NR",
        "anna\npässwörd-ß-İstanbul",
        "MSH|^~\\&|A|\rPID|||1^^^A\r\x1c\r",
        "{\"username\":\"a\",\"password\":\"b\"}",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}

fn pages() -> Vec<Vec<u8>> {
    LIBRARY.ids().filter_map(|id| LIBRARY.page(id)).map(|page| page.as_bytes().to_vec()).collect()
}

fn configurations() -> Vec<Vec<u8>> {
    let example = include_str!("../src/cli/example.toml");
    let small = "[site]\nname = \"W\"\n[buffer]\ndir = \"/x\"\n[[link]]\nname = \"a\"\nprofile = \"ihe/pcd01-monitor\"\n\
                 zone = \"Asia/Kolkata\"\nmllp = { listen = \"127.0.0.1:0\", allow = [\"10.0.0.0/8\"] }\n";
    let mqtt = "[site]\nname = \"W\"\n[buffer]\ndir = \"/x\"\n[[link]]\nname = \"é\"\nprofile = \"ble-gateway/vital-kit\"\n\
                mqtt = { broker = \"b\", topics = [\"a/#\"] }\npatient = { system = \"urn:x\", value = \"1\" }\n";
    [example, small, mqtt].map(|text| text.as_bytes().to_vec()).into()
}

fn templates() -> Vec<Vec<u8>> {
    let own = LIBRARY.ids().filter_map(|id| LIBRARY.simulation(id)).map(|text| text.as_bytes().to_vec());
    let by_hand = ["{{walk 1 9 1 2}}|{{pick a|b}}|{{time %Y%m%d%H%M%S%z}}|{{epoch}}{{seq}}", "{{ time %"];
    own.chain(by_hand.map(|text| text.as_bytes().to_vec())).collect()
}
