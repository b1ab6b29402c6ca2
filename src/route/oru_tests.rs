use super::*;
use crate::device::{Coding, Decimal, ResultStatus};
use crate::firmware_profile::{FirmwareProfile, Library, LinkContext};
use crate::hl7v2::{Charset, Message, Path};

const MADE: Timestamp = Timestamp::from_micros(1_773_477_000_000_000, true);

fn header() -> Header<'static> {
    Header {
        sender: ("BEDSIDE", "CLINIC"),
        receiver: ("EHR", "H"),
        control_id: "0123456789ABCDEF0123",
        made: MADE,
        test: false,
        enhanced: false,
        charset: Charset::default(),
    }
}

const NO_MORE: Also = Also { waveforms: false, alarms: false };
const ALL: Also = Also { waveforms: true, alarms: true };

fn decode(profile: &FirmwareProfile, bytes: &[u8]) -> Vec<Report> {
    profile.decode(bytes, None, &LinkContext::golden()).reports
}

fn message(id: &str, capture: &str) -> String {
    let library = Library::embedded().unwrap();
    let profile = library.find(id).unwrap();
    let captures = library.captures(id);
    let (_, bytes) = captures.iter().find(|(name, _)| name == capture).unwrap();
    let report = decode(&profile, bytes).into_iter().next().unwrap();
    String::from_utf8(build(&About { report: &report, bound: None }, &header(), NO_MORE).unwrap()).unwrap()
}

/// What has to come back: code, value, unit, time.
type Fact = (String, String, Option<String>, i64);

fn facts(report: &Report) -> Vec<Fact> {
    facts_by(report, MDC, crate::device::LOINC)
}

/// By the code of one of two systems.
fn facts_by(report: &Report, first: &str, second: &str) -> Vec<Fact> {
    let mut facts = Vec::new();
    for measurement in &report.measurements {
        // An attribute of the device is said as one and read as one: no measurement.
        let code = measurement.metric.code_in(MDC).and_then(|code| code.parse::<u32>().ok());
        if code.is_some_and(|code| code >> 16 == nomenclature::PARTITION_OBJECTS) {
            continue;
        }
        let mut one = |metric: &crate::device::Metric, value: &Value| {
            let of = |system: &str| metric.code_in(system).map(|code| format!("{system} {code}"));
            let code = of(first).or_else(|| of(second)).or_else(|| {
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
                if !bedside || !has_values(&report, NO_MORE) {
                    continue;
                }
                let built = build(&About { report: &report, bound: None }, &header(), NO_MORE).unwrap();
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
    assert_eq!(lines[5], "OBX|2||69966^MDC_DEV_MON_PHYSIO_MULTI_PARAM_VMD^MDC|1.1.0.0|||||||X");
    assert_eq!(lines[6], "OBX|3||69799^MDC_DEV_ECG_CHAN^MDC|1.1.1.0|||||||X");
    assert!(
        lines[7].starts_with("OBX|4|NM|147842^MDC_ECG_HEART_RATE^MDC^8867-4^")
            && lines[7].contains("|1.1.1.147842|72|264864^MDC_DIM_BEAT_PER_MIN^MDC^/min^"),
        "{}",
        lines[7]
    );
    assert!(lines[7].contains("|50-120||||R|||20260314135458+0530"), "{}", lines[7]);
}

#[test]
fn an_absent_value_is_never_a_number() {
    let text = message("ihe/pcd01-monitor", "absent-values.hl7");
    let parsed = Message::parse(text.as_bytes(), Charset::default()).message.unwrap();
    // The rows of the device and its parts have no value and say nothing of one.
    let rows: Vec<_> = parsed
        .segments()
        .filter(|segment| segment.name() == "OBX" && !segment.field(4).raw().ends_with(".0"))
        .collect();
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
        &Header { test: true, enhanced: true, ..header() },
        NO_MORE,
    )
    .unwrap();
    let text = String::from_utf8(built).unwrap();
    assert!(text.contains("\rPID|||MRN\\F\\7^^^&2.999.1&ISO^MR\r"), "{text}");
    assert!(text.contains("|T|2.6|||AL|NE||"), "{text}");
    let nobody =
        String::from_utf8(build(&About { report: &report, bound: None }, &header(), NO_MORE).unwrap())
            .unwrap();
    assert!(nobody.contains("\rPID\r"), "{nobody}");
    assert_eq!(left_out(&report, NO_MORE), LeftOut::default());
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
    let text = String::from_utf8(build(&About { report: &report, bound: None }, &header(), NO_MORE).unwrap())
        .unwrap();
    assert!(text.contains("|SN|") && text.contains("|>^15000|"), "{text}");
}

/// Rows in depth-first order, each part of the device before what is in it, and no place twice (IHE PCD TF-2 appendix B).
#[test]
fn the_rows_are_the_tree_of_the_device() {
    let library = Library::embedded().unwrap();
    let mut trees = 0;
    for id in library.ids() {
        let profile = library.find(id).unwrap();
        for (name, bytes) in library.captures(id) {
            for report in decode(&profile, &bytes) {
                if is_laboratory(&report) || !has_values(&report, ALL) {
                    continue;
                }
                let built = build(&About { report: &report, bound: None }, &header(), ALL).unwrap();
                let message = Message::parse(&built, Charset::default()).message.unwrap();
                let rows = message.segments().filter(|segment| segment.name() == "OBX");
                let mut places: Vec<Vec<u32>> = Vec::new();
                for (at, row) in rows.enumerate() {
                    assert_eq!(row.field(1).raw(), (at + 1).to_string(), "{id} {name}");
                    let place: Vec<u32> =
                        row.field(4).raw().split('.').map(|one| one.parse().unwrap()).collect();
                    let (vmd, channel) = (place[1], place[2]);
                    let above = [vec![1, vmd, 0, 0], vec![1, vmd, channel, 0]];
                    let known = above.iter().all(|above| *above == place || places.contains(above));
                    assert!(vmd == 0 || known, "{id} {name}: {place:?}");
                    assert!(!places.contains(&place), "{id} {name}: {place:?} twice");
                    places.push(place);
                }
                let parts: Vec<_> = places.iter().map(|place| (place[1], place[2])).collect();
                assert!(parts.is_sorted(), "{id} {name}: {parts:?}");
                trees += 1;
            }
        }
    }
    assert!(trees > 150, "{trees}");
}

/// A sample array as what it measures: period, unit, each value, and how fine its steps are.
#[derive(Debug)]
struct Wave {
    period: String,
    unit: String,
    samples: Vec<Option<f64>>,
    step: f64,
}

fn wave(value: &Value) -> Option<Wave> {
    let Value::SampleArray { origin, factor, period_ms, unit, samples } = value else { return None };
    let one = |raw: &Option<i32>| {
        let scaled = factor.times(Decimal::new(i128::from((*raw)?), 0))?;
        Some(origin.plus(scaled)?.for_chart())
    };
    let period = period_ms.to_string();
    let short =
        if period.contains('.') { period.trim_end_matches('0').trim_end_matches('.') } else { &period };
    Some(Wave {
        period: short.into(),
        unit: unit.as_ref().map(|unit| unit.ucum.to_string()).unwrap_or_default(),
        samples: samples.iter().map(one).collect(),
        step: factor.for_chart().abs(),
    })
}

/// To a thousandth of a step.
fn is_wave(said: &Wave, read: &Wave) -> bool {
    let near = |(one, other): (&Option<f64>, &Option<f64>)| match (one, other) {
        (Some(one), Some(other)) => (one - other).abs() <= said.step / 1_000.0,
        (one, other) => one.is_none() && other.is_none(),
    };
    (&said.period, &said.unit, said.samples.len()) == (&read.period, &read.unit, read.samples.len())
        && said.samples.iter().zip(&read.samples).all(near)
}

#[test]
fn a_wave_comes_back_sample_by_sample_where_a_route_asks_for_it() {
    let library = Library::embedded().unwrap();
    let monitor = library.find("ihe/pcd01-monitor").unwrap();
    let (mut waves, mut samples) = (0, 0);
    for id in library.ids() {
        let profile = library.find(id).unwrap();
        for (name, bytes) in library.captures(id) {
            for report in decode(&profile, &bytes) {
                let said: Vec<_> = report.measurements.iter().filter_map(|one| wave(&one.value)).collect();
                if said.is_empty() {
                    continue;
                }
                let about = About { report: &report, bound: None };
                assert_eq!(left_out(&report, NO_MORE).waveforms, said.len() as u64);
                assert_eq!(left_out(&report, ALL).waveforms, 0);
                let built = build(&about, &header(), ALL).unwrap();
                let back = decode(&monitor, &built);
                let read: Vec<_> = back
                    .iter()
                    .flat_map(|one| &one.measurements)
                    .filter_map(|one| wave(&one.value))
                    .collect();
                for one in &said {
                    assert!(read.iter().any(|read| is_wave(one, read)), "{id} {name}: {one:?} in {read:?}");
                    (waves, samples) = (waves + 1, samples + one.samples.len());
                }
                assert_eq!(said.len(), read.len(), "{id} {name}");
                let plain = build(&about, &header(), NO_MORE).unwrap();
                assert!(!String::from_utf8(plain).unwrap().contains("|NA|"), "{id} {name}");
            }
        }
    }
    assert!(waves > 10 && samples > 500, "{waves} waves, {samples} samples");
}

#[test]
fn an_alarm_comes_back_from_its_message() {
    let library = Library::embedded().unwrap();
    let monitor = library.find("ihe/pcd01-monitor").unwrap();
    let (mut alarms_, mut wrong) = (0, Vec::new());
    for id in library.ids() {
        let profile = library.find(id).unwrap();
        for (name, bytes) in library.captures(id) {
            for report in decode(&profile, &bytes) {
                assert_eq!(alarms(&report, NO_MORE).count(), 0);
                for measurement in alarms(&report, ALL) {
                    let about = About { report: &report, bound: None };
                    let built = build_alarm(&about, measurement, &header()).unwrap();
                    let back = decode(&monitor, &built);
                    let read: Vec<_> = back.iter().flat_map(|one| &one.measurements).collect();
                    alarms_ += 1;
                    let (Value::Alarm(said), [one]) = (&measurement.value, read.as_slice()) else {
                        wrong.push(format!("{id} {name}: {} came back", read.len()));
                        continue;
                    };
                    let Value::Alarm(heard) = &one.value else {
                        wrong.push(format!("{id} {name}: a {} came back", one.value.kind()));
                        continue;
                    };
                    let facts = |alarm: &crate::device::Alarm| {
                        (alarm.phase, alarm.state, alarm.priority, alarm.kind, alarm.inactivation.clone())
                    };
                    let number = said.episode.as_deref().is_none_or(|number| {
                        heard.episode.as_deref().is_some_and(|heard| heard.starts_with(number.trim()))
                    });
                    let source = said.source.as_ref().map(|source| source.code.trim())
                        == heard.source.as_ref().map(|source| source.code.trim());
                    let text =
                        said.text.as_deref().is_none_or(|text| heard.text.as_deref() == Some(text.trim()));
                    let code = measurement.metric.codings.first().is_none_or(|code| {
                        one.metric.codings.first().is_some_and(|heard| heard.code.trim() == code.code.trim())
                    });
                    if facts(said) != facts(heard)
                        || !number
                        || !source
                        || !text
                        || !code
                        || one.taken.micros != measurement.taken.micros
                    {
                        wrong.push(format!(
                            "{id} {name}: {:?} {:?} {:?} {:?} came back as {:?} {:?} {:?} {:?}",
                            facts(said),
                            said.episode,
                            said.text,
                            measurement.metric.codings,
                            facts(heard),
                            heard.episode,
                            heard.text,
                            one.metric.codings
                        ));
                    }
                }
            }
        }
    }
    assert!(alarms_ > 10, "{alarms_}");
    assert!(wrong.is_empty(), "{} of {alarms_}:\n{}", wrong.len(), wrong.join("\n"));
}

/// A laboratory's results.
fn results(report: &Report) -> Vec<Fact> {
    facts_by(report, crate::device::LOINC, MDC)
}

/// The same code, value, unit and time; where the unit is a word of the device's own, whatever it is understood as.
fn is_result(said: &Fact, read: &Fact, own_unit: bool) -> bool {
    let same = |fact: &Fact| (fact.0.clone(), fact.1.clone(), fact.3);
    same(said) == same(read) && (own_unit || said.2 == read.2)
}

/// What a laboratory's result has to keep beside code, value, unit and time.
fn beside(report: &Report) -> Vec<String> {
    let mut all: Vec<String> = report
        .measurements
        .iter()
        .map(|one| {
            let flags: Vec<&str> = one.interpretation.iter().map(|flag| &**flag).collect();
            let range = one.reference_range.as_deref().map(str::trim).filter(|range| !range.is_empty());
            let note = one.note.as_deref().map(str::trim).filter(|note| !note.is_empty());
            // A final "there is none" is said as one that cannot be had.
            let none = matches!(one.value, Value::Absent(_)) && one.result_status == ResultStatus::Final;
            let status = if none { ResultStatus::Cancelled } else { one.result_status };
            format!("{status:?} {flags:?} {range:?} {note:?}")
        })
        .collect();
    all.sort();
    all
}

/// Every analyser's captures as messages, read back by the page of analysers nobody knows.
#[test]
fn what_any_analyser_measured_reads_back_from_the_message_built_of_it() {
    let library = Library::embedded().unwrap();
    let lab = library.find("generic/hl7-lab").unwrap();
    let (mut reports, mut measurements, mut wrong) = (0, 0, Vec::new());
    for id in library.ids() {
        let profile = library.find(id).unwrap();
        for (name, bytes) in library.captures(id) {
            for report in decode(&profile, &bytes) {
                if !is_laboratory(&report) || !has_values(&report, NO_MORE) {
                    continue;
                }
                let built = build(&About { report: &report, bound: None }, &header(), NO_MORE).unwrap();
                let back = lab.decode(&built, None, &LinkContext::golden());
                reports += 1;
                let (said, read) =
                    (results(&report), back.reports.iter().flat_map(results).collect::<Vec<_>>());
                measurements += said.len();
                // Its C is a word of its own and reads as a temperature.
                let own_unit = id == "bio-rad/ih-com";
                let missing: Vec<&Fact> = said
                    .iter()
                    .filter(|fact| !read.iter().any(|read| is_result(fact, read, own_unit)))
                    .collect();
                if !missing.is_empty() || said.len() != read.len() {
                    let first = missing.first().map(|fact| {
                        let instead: Vec<&Fact> = read.iter().filter(|other| other.0 == fact.0).collect();
                        format!("{fact:?} came back as {instead:?} of {read:?}")
                    });
                    wrong.push(format!(
                        "{id} {name}: {} said, {} read, first {first:?}",
                        said.len(),
                        read.len()
                    ));
                    continue;
                }
                let (said, read) =
                    (beside(&report), back.reports.iter().flat_map(beside).collect::<Vec<_>>());
                // A flag of this analyser's own is nobody else's.
                let own = (id, &*name) == ("sysmex/u-wam", "strip.hex");
                if let Some((said, read)) = said.iter().zip(&read).find(|(said, read)| said != read && !own) {
                    wrong.push(format!("{id} {name}: {said} came back as {read}"));
                }
                let specimen = |report: &Report| {
                    report
                        .specimen
                        .as_ref()
                        .and_then(|one| one.identifier.as_deref().map(|id| id.trim().to_owned()))
                };
                let same = back.reports.first().and_then(specimen) == specimen(&report);
                if specimen(&report).is_some() && !same {
                    wrong.push(format!("{id} {name}: another specimen"));
                }
            }
        }
    }
    assert!(reports > 100 && measurements > 350, "{reports} reports with {measurements} measurements only");
    assert!(wrong.is_empty(), "{} of {reports}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_receiver_gets_its_own_letters() {
    let library = Library::embedded().unwrap();
    let profile = library.find("masimo/ascii1").unwrap();
    let captures = library.captures("masimo/ascii1");
    let (_, bytes) = captures.iter().find(|(name, _)| name == "resting.txt").unwrap();
    let mut report = decode(&profile, bytes).into_iter().next().unwrap();
    let id = Identifier { system: "urn:oid:2.999.1".into(), value: "7".into(), kind: Some("MR".into()) };
    let person = |family: &str| Person {
        identifiers: vec![id.clone()],
        family: Some(family.into()),
        ..Person::default()
    };
    for (charset, family, said) in [
        ("8859/1", "Müller", "8859/1"),
        ("Shift_JIS", "患者", "Shift_JIS"),
        ("GB18030", "张", "GB 18030-2000"),
        ("ISO IR87", "患者", "ISO IR6"),
    ] {
        report.person = Some(person(family));
        let charset = Charset::named(charset).unwrap();
        let about = About { report: &report, bound: None };
        let built = build(&about, &Header { charset, ..header() }, NO_MORE).unwrap();
        assert!(String::from_utf8(built.clone()).is_err() || charset.name() == "ISO-2022-JP", "not UTF-8");
        let message = Message::parse(&built, Charset::default()).message.unwrap();
        let at = |path: &str| message.get(&Path::parse(path).unwrap()).text().into_owned();
        assert_eq!((at("PID-5.1"), at("MSH-18[1].1")), (family.into(), said.into()));
    }
    report.person = Some(person("患者"));
    let latin = Header { charset: Charset::named("8859/1").unwrap(), ..header() };
    let wrong = build(&About { report: &report, bound: None }, &latin, NO_MORE).unwrap_err();
    assert!(wrong.to_string().starts_with("PID-5 has letters that 8859/1 cannot write"), "{wrong}");
}
