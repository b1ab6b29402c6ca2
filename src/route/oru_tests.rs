use super::*;
use crate::device::{Coding, Decimal};
use crate::firmware_profile::{FirmwareProfile, Library, LinkContext};
use crate::hl7v2::{Charset, Message, Path};

const MADE: Timestamp = Timestamp::from_micros(1_773_477_000_000_000, true);

const HEADER: Header<'static> = Header {
    sender: ("BEDSIDE", "CLINIC"),
    receiver: ("EHR", "H"),
    control_id: "0123456789ABCDEF0123",
    made: MADE,
    test: false,
    enhanced: false,
};

fn decode(profile: &FirmwareProfile, bytes: &[u8]) -> Vec<Report> {
    profile.decode(bytes, None, &LinkContext::golden()).reports
}

fn message(id: &str, capture: &str) -> String {
    let library = Library::embedded().unwrap();
    let profile = library.find(id).unwrap();
    let captures = library.captures(id);
    let (_, bytes) = captures.iter().find(|(name, _)| name == capture).unwrap();
    let report = decode(&profile, bytes).into_iter().next().unwrap();
    String::from_utf8(build(&About { report: &report, bound: None }, &HEADER)).unwrap()
}

/// What has to come back: code, value, unit, time.
type Fact = (String, String, Option<String>, i64);

fn facts(report: &Report) -> Vec<Fact> {
    let mut facts = Vec::new();
    for measurement in &report.measurements {
        // An attribute of the device is said as one and read as one: no measurement.
        let code = measurement.metric.code_in(MDC).and_then(|code| code.parse::<u32>().ok());
        if code.is_some_and(|code| code >> 16 == nomenclature::PARTITION_OBJECTS) {
            continue;
        }
        let mut one = |metric: &crate::device::Metric, value: &Value| {
            let of = |system: &str| metric.code_in(system).map(|code| format!("{system} {code}"));
            let code = of(MDC).or_else(|| of(crate::device::LOINC)).or_else(|| {
                metric.codings.first().map(|coding| format!("{} {}", coding.system, coding.code))
            });
            let (text, unit) = match value {
                Value::Numeric { value, comparator, unit } => (
                    format!("{comparator:?} {value}"),
                    unit.as_ref().map(|unit| {
                        if unit.ucum.is_empty() { unit.display.to_string() } else { unit.ucum.to_string() }
                    }),
                ),
                Value::Text(text) => (text.trim().to_owned(), None),
                Value::Coded { codings, text } => (choice(codings.first(), text.as_deref()), None),
                Value::Bits(bits) => match bits.iter().find(|(_, set)| *set) {
                    Some((coding, _)) => (choice(Some(coding), None), None),
                    None => (choice(None, Some("none set")), None),
                },
                Value::Absent(_) => ("absent".into(), None),
                _ => return,
            };
            facts.push((code.unwrap_or_default(), text, unit, measurement.taken.micros));
        };
        match &measurement.value {
            Value::Compound(members) => members.iter().for_each(|member| one(&member.metric, &member.value)),
            value => one(&measurement.metric, value),
        }
    }
    facts.sort();
    facts
}

/// A code and the text beside it, or the code again.
fn choice(coding: Option<&Coding>, text: Option<&str>) -> String {
    let code = coding.map(|one| &*one.code);
    let shown = text.or(coding.and_then(|one| one.display.as_deref())).or(code);
    format!("{code:?} {:?}", shown.map(str::trim))
}

/// Every family's captures as messages, read back by the page of PCD-01 monitors.
#[test]
fn what_any_device_measured_reads_back_from_the_message_built_of_it() {
    let library = Library::embedded().unwrap();
    let monitor = library.find("ihe/pcd01-monitor").unwrap();
    let (mut reports, mut measurements, mut wrong) = (0, 0, Vec::new());
    for id in library.ids() {
        let profile = library.find(id).unwrap();
        for (name, bytes) in library.captures(id) {
            for report in decode(&profile, &bytes) {
                let bedside = report.measurements.iter().all(|one| one.metric.domain != Domain::Laboratory);
                if !bedside || !has_something(&report) {
                    continue;
                }
                let built = build(&About { report: &report, bound: None }, &HEADER);
                let back = monitor.decode(&built, None, &LinkContext::golden());
                reports += 1;
                let (said, read) = (facts(&report), back.reports.iter().flat_map(facts).collect::<Vec<_>>());
                measurements += said.len();
                let mut read = read;
                read.sort();
                let missing: Vec<&Fact> = said.iter().filter(|fact| !read.contains(fact)).collect();
                if !missing.is_empty() || said.len() != read.len() {
                    let first = missing.first().map(|fact| {
                        let instead: Vec<&Fact> = read.iter().filter(|other| other.0 == fact.0).collect();
                        format!("{fact:?} came back as {instead:?}")
                    });
                    wrong.push(format!(
                        "{id} {name}: {} said, {} read, first {first:?}",
                        said.len(),
                        read.len()
                    ));
                }
                let ids = |report: &Report| -> Vec<String> {
                    report
                        .person
                        .iter()
                        .flat_map(|p| &p.identifiers)
                        .map(|id| id.value.trim().to_owned())
                        .collect()
                };
                let named = back.reports.first().map(ids).unwrap_or_default();
                if named != ids(&report) {
                    wrong.push(format!("{id} {name}: another patient"));
                }
            }
        }
    }
    assert!(reports > 150 && measurements > 900, "{reports} reports with {measurements} measurements only");
    assert!(wrong.is_empty(), "{} of {reports}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_monitors_message_is_a_pcd_01() {
    let text = message("ihe/pcd01-monitor", "vitals.hl7");
    let lines: Vec<&str> = text.split('\r').collect();
    assert_eq!(
        lines[0],
        "MSH|^~\\&|BEDSIDE|CLINIC|EHR|H|20260314083000+0000||ORU^R01^ORU_R01|0123456789ABCDEF0123|P|2.6||||||UNICODE UTF-8|||\
         IHE_PCD_001^IHE PCD^1.3.6.1.4.1.19376.1.6.1.1.1^ISO"
    );
    assert_eq!(
        lines[1],
        "PID|||MRN-1001^^^&2.999.1&ISO^MR~NID-77^^^&2.999.2&ISO^NI||Example^Asha^K||19680412|F"
    );
    assert_eq!(lines[2], "PV1||U|ICU^3^BED-2^Main");
    assert!(
        lines[3].starts_with("OBR|1|ORD1^BEDMON|RES1^BEDMON|182777000^monitoring of patient^SCT|||20260314"),
        "{}",
        lines[3]
    );
    assert_eq!(
        lines[4],
        "OBX|1||69965^MDC_DEV_MON_PHYSIO_MULTI_PARAM_MDS^MDC|1.0.0.0|||||||X|||||||00A03700000001A5^^00A03700000001A5^EUI-64"
    );
    assert!(
        lines[5].starts_with("OBX|2|NM|147842^MDC_ECG_HEART_RATE^MDC^8867-4^")
            && lines[5].contains("|1.1.1.147842|72|264864^MDC_DIM_BEAT_PER_MIN^MDC^/min^"),
        "{}",
        lines[5]
    );
    assert!(lines[5].contains("|50-120||||R|||20260314135458+0530"), "{}", lines[5]);
}

#[test]
fn an_absent_value_is_never_a_number() {
    let text = message("ihe/pcd01-monitor", "absent-values.hl7");
    let parsed = Message::parse(text.as_bytes(), Charset::default()).message.unwrap();
    let rows: Vec<_> = parsed.segments().filter(|segment| segment.name() == "OBX").skip(1).collect();
    assert!(rows.len() >= 3);
    let absent = rows.iter().filter(|row| row.field(5).is_empty());
    for row in absent {
        assert!(!row.field(8).is_empty() && row.field(11).raw() == "X", "{}", row.raw());
    }
    assert!(rows.iter().any(|row| row.field(5).is_empty()));
    assert!(rows.iter().all(|row| row.field(5).raw() != "0"));
}

#[test]
fn an_analysers_message_is_a_laboratory_report() {
    let library = Library::embedded().unwrap();
    let captures = library.captures("sysmex/xn");
    let text = message("sysmex/xn", &captures[0].0);
    let parsed = Message::parse(text.as_bytes(), Charset::default()).message.unwrap();
    let at = |path: &str| parsed.get(&Path::parse(path).unwrap()).text().into_owned();
    assert_eq!((at("MSH-12"), at("OBR-25"), at("OBR-4.1")), ("2.5.1".into(), "F".into(), "26436-6".into()));
    assert!(!at("SPM-2.1").is_empty(), "{text}");
    let rows: Vec<_> = parsed.segments().filter(|segment| segment.name() == "OBX").collect();
    assert!(rows.iter().any(|row| row.field(3).component(3).raw() == "LN"), "{text}");
    assert!(
        rows.iter().filter(|row| row.field(2).raw() == "NM").all(|row| !row.field(6).is_empty()),
        "{text}"
    );
}

#[test]
fn a_bound_patient_is_named_where_the_device_names_none() {
    let library = Library::embedded().unwrap();
    let profile = library.find("masimo/ascii1").unwrap();
    let captures = library.captures("masimo/ascii1");
    let (_, bytes) = captures.iter().find(|(name, _)| name == "resting.txt").unwrap();
    let report = decode(&profile, bytes).into_iter().next().unwrap();
    let bound =
        Identifier { system: "urn:oid:2.999.1".into(), value: "MRN|7".into(), kind: Some("MR".into()) };
    let built = build(
        &About { report: &report, bound: Some(&bound) },
        &Header { test: true, enhanced: true, ..HEADER },
    );
    let text = String::from_utf8(built).unwrap();
    assert!(text.contains("\rPID|||MRN\\F\\7^^^&2.999.1&ISO^MR\r"), "{text}");
    assert!(text.contains("|T|2.6|||AL|NE||"), "{text}");
    let nobody = String::from_utf8(build(&About { report: &report, bound: None }, &HEADER)).unwrap();
    assert!(nobody.contains("\rPID\r"), "{nobody}");
    assert_eq!(left_out(&report), 0);
}

#[test]
fn a_result_beyond_what_can_be_counted_keeps_its_sign() {
    let library = Library::embedded().unwrap();
    let profile = library.find("masimo/ascii1").unwrap();
    let captures = library.captures("masimo/ascii1");
    let mut report = decode(&profile, &captures[0].1).into_iter().next().unwrap();
    report.measurements.truncate(1);
    report.measurements[0].value = Value::Numeric {
        value: Decimal::new(15_000, 0),
        comparator: Some(crate::device::Comparator::Greater),
        unit: None,
    };
    let text = String::from_utf8(build(&About { report: &report, bound: None }, &HEADER)).unwrap();
    assert!(text.contains("|SN|") && text.contains("|>^15000|"), "{text}");
}
