//! Published bytes of real devices, from the folder that `BEDSIDE_SAMPLES` names: through the framer, the profile that
//! fits and into FHIR. Asked of every file: nothing panics, every number of the source comes out with the same digits,
//! and no number comes out that is not in the source. `SAMPLES_SHOW=name` prints what one file becomes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

#[path = "samples/hl7.rs"]
mod hl7;
#[path = "common/meaning.rs"]
mod meaning;

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bedside::device::{Decimal, Measurement, Report, Value};
use bedside::firmware_profile::{FirmwareProfile, Library, LinkContext, Order};
use bedside::wire::{self, Answer, Step, astm, mllp};

/// What one file came to.
#[derive(Default)]
struct Tally {
    files: u32,
    frames: u32,
    held: u32,
    ignored: u32,
    measurements: usize,
    resources: usize,
    numbers: usize,
    findings: BTreeMap<&'static str, u32>,
    faults: Vec<String>,
}

fn samples() -> Option<PathBuf> {
    let folder = std::env::var_os("BEDSIDE_SAMPLES").filter(|folder| !folder.is_empty());
    if folder.is_none() {
        println!("BEDSIDE_SAMPLES is not set: no samples were read");
    }
    folder.map(PathBuf::from)
}

fn files(folder: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, endings));
        } else if path.extension().is_some_and(|e| endings.iter().any(|wanted| e == *wanted))
            && !path.file_name().unwrap().to_string_lossy().starts_with("SOURCE")
        {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The profile whose fingerprint knows these bytes and that speaks the same codec as `otherwise`; else `otherwise`.
fn fitting(library: &Library, bytes: &[u8], otherwise: &str) -> Arc<FirmwareProfile> {
    let otherwise = library.find(otherwise).unwrap();
    let same = |profile: &Arc<FirmwareProfile>| {
        std::mem::discriminant(&profile.codec) == std::mem::discriminant(&otherwise.codec)
            && !["generic/", "ihe/"].iter().any(|fallback| profile.id.starts_with(fallback))
    };
    library.fitting(bytes).into_iter().find(same).unwrap_or(otherwise)
}

/// Everything that comes out of a framer of `profile` when it is fed `stream` in pieces of 7 bytes.
fn framed(profile: &FirmwareProfile, stream: &[u8]) -> Vec<Vec<u8>> {
    framed_in(profile, &mut stream.chunks(7))
}

fn framed_in(profile: &FirmwareProfile, pieces: &mut dyn Iterator<Item = &[u8]>) -> Vec<Vec<u8>> {
    let mut framer = wire::framer(&profile.codec);
    let mut frames = Vec::new();
    let mut now = Duration::ZERO;
    loop {
        let piece = pieces.next();
        match piece {
            Some(piece) => framer.feed(piece, now),
            None => framer.end(now),
        }
        while let Some(step) = framer.step() {
            now += Duration::from_millis(1);
            match step {
                Step::Frame { ticket, bytes, .. } => {
                    frames.push(bytes);
                    framer.answer(ticket, Answer::Kept { body: None }, now);
                }
                Step::Part { ticket, .. } => framer.answer(ticket, Answer::Kept { body: None }, now),
                Step::Refuse { ticket, .. } => framer.answer(ticket, Answer::Refused { body: None }, now),
                _ => {}
            }
        }
        if piece.is_none() {
            return frames;
        }
    }
}

/// The numbers of decoded reports as they are written out, and its texts.
fn said(reports: &[Report]) -> (Vec<Decimal>, Vec<String>) {
    fn add(value: &Value, numbers: &mut Vec<Decimal>, texts: &mut Vec<String>) {
        match value {
            Value::Numeric { value, .. } => numbers.push(*value),
            Value::Compound(parts) => parts.iter().for_each(|part| add(&part.value, numbers, texts)),
            Value::Coded { codings, text } => {
                texts.extend(codings.iter().map(|coding| coding.code.to_string()));
                texts.extend(text.iter().map(ToString::to_string));
            }
            Value::Text(text) => texts.push(text.to_string()),
            Value::Alarm(alarm) => texts.extend(alarm.text.iter().map(ToString::to_string)),
            Value::SampleArray { .. } | Value::Bits(_) | Value::Absent(_) => {}
        }
    }
    let (mut numbers, mut texts) = (Vec::new(), Vec::new());
    let measurements = reports.iter().flat_map(|report| &report.measurements);
    for measurement in measurements {
        add(&measurement.value, &mut numbers, &mut texts);
        texts.extend(measurement.note.iter().map(ToString::to_string));
    }
    (numbers, texts)
}

fn show(measurement: &Measurement) -> String {
    let codes: Vec<_> = measurement.metric.codings.iter().map(|c| format!("{}", c.code)).collect();
    let value = serde_json::to_string(&measurement.value).unwrap();
    let value =
        if value.len() > 160 { format!("{}…", value.chars().take(160).collect::<String>()) } else { value };
    format!("{} [{}] = {value}", measurement.metric.label, codes.join(" "))
}

/// One frame: decoded, translated, and compared with the numbers the source has (`expected`, as it wrote them).
fn check(
    tally: &mut Tally,
    name: &str,
    profile: &FirmwareProfile,
    frame: &[u8],
    topic: Option<&str>,
    expected: &[String],
) {
    let (decoded, translation) = meaning::read(profile, frame, topic, meaning::Setting::default());
    tally.frames += 1;
    tally.held += u32::from(decoded.held.is_some());
    tally.ignored += u32::from(decoded.ignored.is_some());
    tally.measurements += decoded.measurements();
    tally.resources += translation.resources.len();
    tally.numbers += expected.len();
    for finding in &decoded.findings {
        *tally.findings.entry(finding.code).or_default() += 1;
    }
    if std::env::var("SAMPLES_SHOW").is_ok_and(|wanted| name.contains(&wanted)) {
        println!("── {name} through {} ──", profile.id);
        println!("held {:?}, ignored {:?}", decoded.held, decoded.ignored);
        for report in &decoded.reports {
            println!(
                "device {:?} person {} place {}",
                report.device.key("link"),
                serde_json::to_string(&report.person).unwrap(),
                serde_json::to_string(&report.place).unwrap()
            );
            println!(
                "specimen {} orders {}",
                serde_json::to_string(&report.specimen).unwrap(),
                report.orders.len()
            );
            report
                .measurements
                .iter()
                .for_each(|m| println!("  {} {} {:?}", show(m), m.taken.micros, m.interpretation));
        }
        decoded.findings.iter().for_each(|f| println!("  finding {} at {}: {}", f.code, f.place, f.text));
        translation.held.iter().for_each(|held| println!("  not delivered: {held}"));
        translation.resources.iter().for_each(|r| println!("  {}", r.json.get()));
    }
    let (numbers, texts) = said(&decoded.reports);
    let written: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    for number in expected {
        let same = number.parse::<Decimal>().map_or_else(|_| number.clone(), |d| d.to_string());
        if !written.contains(&same) && !texts.iter().any(|text| text.contains(number.as_str())) {
            tally.faults.push(format!("{name}: {number} of the source is not among what was decoded"));
        }
    }
    let source = numbers_in(&String::from_utf8_lossy(frame));
    for number in &written {
        // A page may take off the digits a device does not have: then what is left is the rounded source.
        let places = number.split_once('.').map_or(0, |(_, digits)| u8::try_from(digits.len()).unwrap());
        let rounded = || {
            source
                .iter()
                .filter_map(|n| n.parse::<Decimal>().ok())
                .any(|n| n.rounded(places).to_string() == *number)
        };
        if !source.contains(number.trim_start_matches('-')) && !rounded() {
            tally.faults.push(format!("{name}: {number} came out and is not in the source"));
        }
    }
}

/// Every run of digits in a text, as a number is written out: nothing else may come out.
fn numbers_in(text: &str) -> HashSet<String> {
    let text = text.replace(',', ".");
    let runs = text.split(|c: char| !c.is_ascii_digit() && c != '.').map(|run| run.trim_end_matches('.'));
    runs.filter_map(|run| run.parse::<Decimal>().ok()).map(|number| number.to_string()).collect()
}

fn finish(kind: &str, tally: &Tally) {
    println!(
        "{kind:<8} {:>4} files {:>4} frames ({} held, {} ignored) {:>5} measurements {:>5} resources, {:>5} numbers compared",
        tally.files,
        tally.frames,
        tally.held,
        tally.ignored,
        tally.measurements,
        tally.resources,
        tally.numbers
    );
    println!("         findings {:?}", tally.findings);
    assert!(tally.faults.is_empty(), "{}", tally.faults.join("\n"));
}

/// OBX-5 of every NM observation with a value, split plainly: an oracle that shares nothing with the parser.
fn numbers_of_hl7(message: &str) -> Vec<String> {
    let mut segments = message.split(['\r', '\n']).filter(|line| line.len() > 3);
    let separator = message.find("MSH").and_then(|at| message[at + 3..].chars().next()).unwrap_or('|');
    let fields = |line: &str| line.split(separator).map(String::from).collect::<Vec<_>>();
    let mut numbers = Vec::new();
    for line in segments.by_ref().map(fields).filter(|f| f[0] == "OBX" && f.get(2).is_some_and(|t| t == "NM"))
    {
        let value = line.get(5).cloned().unwrap_or_default();
        numbers.extend(
            value
                .split('~')
                .map(|v| v.split('^').next().unwrap().trim().to_string())
                .filter(|v| v.parse::<Decimal>().is_ok()),
        );
    }
    numbers
}

#[test]
fn hl7_results_come_out_as_they_were_written() {
    let Some(folder) = samples() else { return };
    let library = Library::embedded().unwrap();
    let mut tally = Tally::default();
    for path in files(&folder.join("hl7"), &["hl7", "hl7v2"]) {
        let bytes = fs::read(&path).unwrap();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let is_result = text.split(['\r', '\n']).any(|l| l.starts_with("MSH") && l.contains("ORU"));
        let otherwise = if text.contains("^MDC") { "ihe/pcd01-monitor" } else { "mindray/bs-chemistry" };
        let profile = fitting(&library, &bytes, otherwise);
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        tally.files += 1;
        // As a repository keeps it, and with the line ends of the standard.
        let message = text.replace("\r\n", "\r").replace('\n', "\r");
        let frames = framed(&profile, &mllp::wrap(message.as_bytes()));
        assert_eq!(frames.len(), 1, "{name}: one message in, {} out", frames.len());
        assert_eq!(frames[0], message.as_bytes(), "{name}: the framer changed the bytes");
        let expected = if is_result { numbers_of_hl7(&message) } else { Vec::new() };
        check(&mut tally, &name, &profile, &frames[0], None, &expected);
    }
    finish("hl7", &tally);
    assert!(tally.files > 0, "no HL7 files in {}", folder.display());
}

/// Field 4 of every result record, by the delimiters that its header declares.
fn numbers_of_astm(message: &str) -> Vec<String> {
    let header =
        message.find('H').map(|at| message[at + 1..].chars().take(4).collect::<Vec<_>>()).unwrap_or_default();
    let [field, _repeat, component, _escape] = header.as_slice() else { return Vec::new() };
    let results = message.split(['\r', '\n']).filter(|line| line.starts_with(&format!("R{field}")));
    results
        .filter_map(|line| line.split(*field).nth(3))
        .flat_map(|value| {
            value.split(*component).map(|v| v.trim_matches([' ', '>', '<', '=', '?']).replace(',', "."))
        })
        .filter(|value| value.parse::<Decimal>().is_ok())
        .collect()
}

#[test]
fn astm_results_come_out_as_they_were_written() {
    let Some(folder) = samples() else { return };
    let library = Library::embedded().unwrap();
    let mut tally = Tally::default();
    for path in files(&folder.join("astm"), &["txt", "astm", "bin"]) {
        let bytes = fs::read(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let generic = library.find("generic/astm-analyser").unwrap();
        tally.files += 1;
        let frames = if bytes.contains(&0x02) {
            framed(&generic, &bytes)
        } else {
            // Records only: as an analyser would send them, in frames of 240 characters.
            let message = generic.frame_of_capture("records.txt", &bytes).unwrap();
            framed(&generic, &in_frames(&message, 240))
        };
        if frames.is_empty() {
            tally.faults.push(format!("{name}: no message came out of the framer"));
        }
        for frame in frames {
            let profile = fitting(&library, &frame, &generic.id);
            let expected = numbers_of_astm(&String::from_utf8_lossy(&frame));
            check(&mut tally, &name, &profile, &frame, None, &expected);
        }
    }
    finish("astm", &tally);
    assert!(tally.files > 0, "no ASTM files in {}", folder.display());
}

/// What the notes beside the samples say of each file: its device, and whom a query asks about.
const ANALYSERS: &[(&str, &str, Option<&[&str]>)] = &[
    ("em200_multiple", "erba/em-200", Some(&[])),
    ("em_200_query", "erba/em-200", Some(&["010520182"])),
    ("em_200_sample", "erba/em-200", None),
    ("euroimmun", "euroimmun/analyzer-i", None),
    ("galileo_order", "generic/astm-analyser", None),
    ("galileo_result", "immucor/galileo-echo", None),
    (
        "identify_01",
        "immucor/galileo-echo",
        Some(&["VALI200301", "VALI200302", "VALI200303", "VALI200304", "VALI200305"]),
    ),
    ("identify_03", "immucor/galileo-echo", None),
    ("identify_05", "immucor/galileo-echo", Some(&["VALI200301", "VALI200302", "VALI200304", "VALI200305"])),
    ("identify_06", "horiba/yumizen", None),
    ("identify_07", "horiba/yumizen", None),
    ("ihcom", "bio-rad/ih-com", None),
    ("d10_error", "roche/cobas-e411", None),
    ("roche_enquiry", "roche/cobas-e411", Some(&["0000000387"])),
    ("roche_multi", "roche/cobas-e411", None),
    ("roche_query_for_non", "roche/cobas-e411", Some(&[])),
    ("roche_result", "roche/cobas-e411", None),
    ("stago", "stago/sta", None),
    ("sysmex_550", "sysmex/xn", None),
    ("yumizen", "horiba/yumizen", None),
];

#[test]
fn analysers_are_known_by_their_pages_and_their_queries_understood() {
    let Some(folder) = samples() else { return };
    let library = Library::embedded().unwrap();
    let received = bedside::clock::Timestamp::from_micros(1_773_477_000_000_000, true);
    let context = LinkContext::new("samples", "Asia/Kolkata", received).unwrap();
    let generic = library.find("generic/astm-analyser").unwrap();
    let mut seen = 0;
    for path in files(&folder.join("astm"), &["txt", "astm", "bin"]) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let Some((_, page, asked)) = ANALYSERS.iter().find(|(start, ..)| name.starts_with(start)) else {
            continue;
        };
        let bytes = fs::read(&path).unwrap();
        let frames = if bytes.contains(&0x02) {
            framed(&generic, &bytes)
        } else {
            framed(&generic, &in_frames(&generic.frame_of_capture("records.txt", &bytes).unwrap(), 240))
        };
        assert!(!frames.is_empty(), "{name}: no message");
        for frame in &frames {
            let profile = library.best(frame).unwrap();
            assert_eq!(&*profile.id, *page, "{name}");
            let query = profile.query(frame, &context);
            assert_eq!(query.is_some(), asked.is_some(), "{name}: query or not");
            let (Some(query), Some(asked)) = (query, asked) else { continue };
            assert!(asked.is_empty() || query.specimens == *asked, "{name}: {:?}", query.specimens);
            assert!(!query.cancelled, "{name}");
            let order = Order { specimen: "S".into(), tests: vec!["T".into()], ..Order::default() };
            let answer = profile.encode_orders(&query, &[order], &context).unwrap();
            assert!(answer.starts_with(b"H"), "{name}");
        }
        seen += 1;
    }
    println!("astm     {seen} files known by their own page");
    assert!(seen > 0);
}

/// The reads as they arrived, where they were written down: the boundaries change nothing.
#[test]
fn reads_as_they_arrived_give_the_same_messages() {
    let Some(folder) = samples() else { return };
    let library = Library::embedded().unwrap();
    let generic = library.find("generic/astm-analyser").unwrap();
    for path in files(&folder.join("astm"), &["bin"]) {
        let Ok(text) = fs::read(path.with_extension("chunks.json")) else { continue };
        let sizes: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let sizes = sizes.as_array().into_iter().flatten().filter_map(serde_json::Value::as_u64);
        let bytes = fs::read(&path).unwrap();
        let (mut pieces, mut rest) = (Vec::new(), bytes.as_slice());
        for size in sizes {
            let (piece, after) = rest.split_at(usize::try_from(size).unwrap().min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        pieces.push(rest);
        let arrived = framed_in(&generic, &mut pieces.into_iter());
        assert_eq!(arrived, framed(&generic, &bytes), "{}", path.display());
        assert!(!arrived.is_empty(), "{}", path.display());
    }
}

fn in_frames(message: &[u8], size: usize) -> Vec<u8> {
    let pieces: Vec<&[u8]> = message.chunks(size).collect();
    let count = pieces.len();
    let mut stream = vec![0x05];
    for (at, piece) in pieces.into_iter().enumerate() {
        stream.extend(astm::frame(u8::try_from((at + 1) % 8).unwrap(), piece, at + 1 == count));
    }
    stream.push(0x04);
    stream
}

/// The numbers under `data`, or at the top: what gateways put their values in. Ids and times are no values.
fn numbers_of_json(payload: &serde_json::Value) -> Vec<String> {
    match payload {
        serde_json::Value::Number(number) => vec![number.to_string()],
        serde_json::Value::Object(fields) => fields
            .iter()
            .filter(|(name, _)| {
                !["time", "id", "mac", "scantimestamp", "weighing_mode"].contains(&name.as_str())
            })
            .flat_map(|(_, value)| numbers_of_json(value))
            .collect(),
        serde_json::Value::Array(items) => items.iter().flat_map(numbers_of_json).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn mqtt_values_come_out_as_they_were_written() {
    let Some(folder) = samples() else { return };
    let library = Library::embedded().unwrap();
    let mut tally = Tally::default();
    for path in files(&folder.join("mqtt"), &["json"]) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let envelope: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let topic = envelope["topic"].as_str().unwrap();
        let payload = envelope["payload"].to_string();
        let profile = fitting(&library, payload.as_bytes(), "ble-gateway/vital-kit");
        tally.files += 1;
        let expected = numbers_of_json(&envelope["payload"]);
        check(&mut tally, &name, &profile, payload.as_bytes(), Some(topic), &expected);
    }
    finish("mqtt", &tally);
    assert!(tally.files > 0, "no MQTT files in {}", folder.display());
}

/// What a decoded value of a monitor holds: numbers and absences, also within compounds.
fn counted(value: &Value, numbers: &mut u32, absent: &mut u32) {
    match value {
        Value::Numeric { .. } => *numbers += 1,
        Value::Absent(_) => *absent += 1,
        Value::Compound(parts) => parts.iter().for_each(|part| counted(&part.value, numbers, absent)),
        _ => {}
    }
}

/// Numerics of a serial Data Export capture by an oracle that shares nothing with the codec: frames between C0 and C1,
/// attributes 0950 and 094B wherever an attribute list has them. With a value, and without.
fn numerics_of_intellivue(stream: &[u8]) -> (usize, u32, u32) {
    let (mut frames, mut with, mut without) = (0, 0, 0);
    for frame in stream.split(|byte| *byte == 0xC0).filter(|frame| !frame.is_empty()) {
        let mut plain = Vec::new();
        let mut bytes = frame.iter().take_while(|byte| **byte != 0xC1);
        while let Some(byte) = bytes.next() {
            plain.push(if *byte == 0x7D { bytes.next().unwrap() ^ 0x20 } else { *byte });
        }
        frames += 1;
        let word = |at: usize| u16::from_be_bytes([plain[at], plain[at + 1]]);
        let mut value = |at: usize| {
            let none = word(at + 2) & 0xB000 != 0 || plain[at + 7..at + 10] == [0x7F, 0xFF, 0xFF];
            if none { without += 1 } else { with += 1 }
        };
        for at in 0..plain.len().saturating_sub(14) {
            match (word(at), word(at + 2)) {
                (0x0950, 10) => value(at + 4),
                (0x094B, length) if length >= 14 && word(at + 6) + 4 == length => {
                    (0..usize::from(word(at + 4))).for_each(|n| value(at + 8 + 10 * n));
                }
                _ => {}
            }
        }
    }
    (frames, with, without)
}

#[test]
fn a_philips_monitor_is_read_value_by_value_and_what_is_invalid_is_absent() {
    let Some(folder) = samples() else { return };
    let library = Library::embedded().unwrap();
    let profile = library.find("philips/intellivue").unwrap();
    let mut seen = 0;
    for path in files(&folder.join("intellivue"), &["raw"]) {
        let stream = fs::read(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let (sent, with, without) = numerics_of_intellivue(&stream);
        let kept = framed(&profile, &stream);
        let whole: usize = kept.iter().map(|frame| frame.iter().filter(|byte| **byte == 0xC1).count()).sum();
        assert!(whole >= sent, "{name}: {sent} frames were sent and {whole} are kept");
        let (mut numbers, mut absent, mut arrays, mut samples) = (0, 0, 0, 0);
        let mut codes: BTreeMap<&'static str, u32> = BTreeMap::new();
        for frame in &kept {
            let (decoded, _) = meaning::read(&profile, frame, None, meaning::Setting::default());
            assert!(decoded.held.is_none(), "{name}: {:?}", decoded.held);
            decoded.findings.iter().for_each(|finding| *codes.entry(finding.code).or_default() += 1);
            for measurement in decoded.reports.iter().flat_map(|report| &report.measurements) {
                if std::env::var("SAMPLES_SHOW").is_ok_and(|wanted| name.contains(&wanted)) {
                    println!("  {} {} {:?}", show(measurement), measurement.taken.micros, measurement.status);
                }
                if measurement.metric.class == bedside::device::MetricClass::Waveform {
                    if let Value::SampleArray { samples: run, .. } = &measurement.value {
                        arrays += 1;
                        samples += run.len();
                    }
                    continue;
                }
                counted(&measurement.value, &mut numbers, &mut absent);
            }
        }
        println!(
            "{name}: {sent} frames, {numbers} numbers of {with}, {absent} absent of {without}, {arrays} arrays with {samples} samples; findings {codes:?}"
        );
        assert_eq!((numbers, absent), (with, without), "{name}");
        assert!(arrays > 0, "{name}: no waves");
        seen += 1;
    }
    assert!(seen > 0, "no captures in {}", folder.display());
}

/// What a vendor document or a test of a reader says its bytes mean, here by hand: an oracle of its own.
fn meant(name: &str) -> Option<&'static [&'static str]> {
    Some(match name {
        "09_reply_spo2_pulse.bin" => &["98", "70"],
        _ => return None,
    })
}

#[test]
fn medibus_and_nonin_bytes_say_what_their_source_says() {
    let Some(folder) = samples() else { return };
    let library = Library::embedded().unwrap();
    let mut tally = Tally::default();
    for (kind, page) in [("medibus", "drager/v500"), ("nonin", "nonin/oem3")] {
        let profile = library.find(page).unwrap();
        for path in files(&folder.join(kind), &["bin"]) {
            let bytes = fs::read(&path).unwrap();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            tally.files += 1;
            let frames = framed(&profile, &bytes);
            let said: Vec<Report> = frames
                .iter()
                .flat_map(|frame| meaning::read(&profile, frame, None, meaning::Setting::default()).0.reports)
                .collect();
            tally.frames += u32::try_from(frames.len()).unwrap();
            let numbers: Vec<String> = said_numbers(&said);
            tally.measurements += said.iter().map(|report| report.measurements.len()).sum::<usize>();
            for number in meant(&name).unwrap_or_default() {
                tally.numbers += 1;
                if !numbers.iter().any(|own| own == number) {
                    tally.faults.push(format!("{name}: {number} is not among {numbers:?}"));
                }
            }
            // The published packets of the oximeter hold a rate of 72 and a saturation of 97; nothing else may come out.
            let allowed = if kind == "nonin" { &["72", "97"][..] } else { meant(&name).unwrap_or_default() };
            for number in numbers.iter().filter(|number| !allowed.contains(&number.as_str())) {
                tally.faults.push(format!("{name}: {number} came out"));
            }
        }
    }
    finish("serial", &tally);
    assert!(tally.files > 0, "no MEDIBUS or Nonin files in {}", folder.display());
}

fn said_numbers(reports: &[Report]) -> Vec<String> {
    said(reports).0.iter().map(ToString::to_string).collect()
}
