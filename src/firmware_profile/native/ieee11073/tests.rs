// The captures of the IEEE 11073 pages are made here, by an encoder of our own.

use super::*;
use crate::device::{Measurement, Value};
use crate::firmware_profile::{Decoded, Library};
use crate::wire::ieee11073::apdu::{Event, GET_RESULT, association_request, counted, event_report, prst};
use crate::wire::ieee11073::standard::{attribute, list};

const AGENT: &[u8] = &[0x00, 0x60, 0x19, 0xFF, 0xFE, 0x01, 0x02, 0x03];
/// 2026-03-14 13:58:30.00 in BCD.
const STAMP: [u8; 8] = [0x20, 0x26, 0x03, 0x14, 0x13, 0x58, 0x30, 0x00];

fn words(words: &[u16]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

fn mds() -> Vec<u8> {
    let entry = |kind: u16, text: &[u8]| [words(&[kind, 0]), counted(text)].concat();
    let specification = list(2, &[entry(1, b"SN-4711"), entry(5, b"1.20\0")].concat());
    let all = [
        attribute(2344, &[counted(b"TEST Devices\0"), counted(b"Model 7\0")].concat()),
        attribute(2436, &counted(AGENT)),
        attribute(2349, &specification),
        attribute(2650, &list(1, &words(&[4100, 1]))),
        attribute(2439, &STAMP),
    ];
    prst(1, GET_RESULT, &[words(&[0]), list(all.len(), &all.concat())].concat())
}

fn report(kind: u16, handle: u16, time: u32, count: usize, observations: &[Vec<u8>]) -> Vec<u8> {
    let information = [words(&[0xF000, 0]), list(count, &observations.concat())].concat();
    event_report(7, true, &Event { handle, time, kind, information: &information })
}

fn fixed(observations: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let all: Vec<Vec<u8>> =
        observations.iter().map(|(handle, data)| [words(&[*handle]), counted(data)].concat()).collect();
    report(0x0D1D, 0, u32::MAX, all.len(), &all)
}

fn stamped(value: &[u8]) -> Vec<u8> {
    [value, &STAMP].concat()
}

fn standard(id: u16, reports: Vec<u8>) -> Vec<u8> {
    [association_request(AGENT, id), mds(), reports].concat()
}

/// An object: class, handle, type in partition 2, and further attributes.
fn object(class: u16, handle: u16, kind: u16, further: &[Vec<u8>]) -> Vec<u8> {
    object_of(class, handle, [2, kind], further)
}

fn object_of(class: u16, handle: u16, kind: [u16; 2], further: &[Vec<u8>]) -> Vec<u8> {
    let mut all = vec![attribute(2351, &words(&kind))];
    all.extend_from_slice(further);
    [words(&[class, handle]), list(all.len(), &all.concat())].concat()
}

fn map(entries: &[u16]) -> Vec<u8> {
    attribute(2645, &list(entries.len() / 2, &words(entries)))
}

fn unit(code: u16) -> Vec<u8> {
    attribute(2454, &words(&[code]))
}

fn own(objects: &[Vec<u8>], reports: &[Vec<u8>]) -> Vec<u8> {
    let information = [words(&[0x4000]), list(objects.len(), &objects.concat())].concat();
    let told = event_report(3, true, &Event { handle: 0, time: 0, kind: 0x0D1C, information: &information });
    [association_request(AGENT, 0x4000), told, mds(), reports.concat()].concat()
}

fn pressure(values: [u16; 3]) -> Vec<u8> {
    stamped(&list(3, &words(&values)))
}

fn extended() -> Vec<u8> {
    let groups = [words(&[1]), list(2, &words(&[2636, 2, 2375, 2]))].concat();
    let objects = [
        object(
            6,
            1,
            0x4BB8,
            &[unit(0x220), attribute(2657, &list(1, &words(&[2, 0x4C34]))), map(&[2636, 2, 2375, 2])],
        ),
        object(6, 10, 0x481A, &[unit(0xAA0), map(&[2636, 2])]),
        [words(&[18, 55]), list(1, &attribute(2643, &list(1, &groups)))].concat(),
    ];
    let variable =
        [words(&[10]), list(2, &[attribute(2636, &words(&[72])), attribute(2448, &STAMP)].concat())].concat();
    let person = |number: u16, value: u16, state: u16| {
        let data = words(&[value, state]);
        [words(&[number]), list(1, &[words(&[1]), counted(&data)].concat())].concat()
    };
    let reports = [
        report(0x0D1E, 0, u32::MAX, 1, &[variable]),
        report(0x0D1F, 0, u32::MAX, 2, &[person(1, 97, 0), person(2, 91, 0x4000)]),
        report(0x0D24, 55, u32::MAX, 1, &[counted(&words(&[95, 0x8000]))]),
    ];
    own(&objects, &reports)
}

fn samples_and_events() -> Vec<u8> {
    let float = |value: u32| value.to_be_bytes().to_vec();
    let scale = [float(0), float(100), words(&[0, 200])].concat();
    let objects = [
        object(
            9,
            5,
            0x4BB4,
            &[
                unit(0x220),
                attribute(2445, &[0, 0, 0, 80]),
                attribute(2413, &[0, 4, 16, 16, 0, 0]),
                attribute(2415, &scale),
            ],
        ),
        object(5, 6, 0x4C4C, &[]),
        object(5, 7, 0x7288, &[attribute(2656, &words(&[128]))]),
        object(6, 8, 0x481A, &[unit(0xAA0)]),
    ];
    let variable = |handle: u16, all: &[Vec<u8>]| [words(&[handle]), list(all.len(), &all.concat())].concat();
    let base: u32 = 3_982_465_110;
    let observations = [
        variable(5, &[attribute(2632, &counted(&words(&[0, 100, 200, 50])))]),
        variable(6, &[attribute(2662, &words(&[0x4400]))]),
        variable(7, &[attribute(2633, &words(&[8004]))]),
        variable(7, &[attribute(2634, &counted(b"after meal"))]),
        variable(8, &[attribute(2636, &words(&[70])), attribute(2449, &80_000u32.to_be_bytes())]),
        variable(
            8,
            &[
                attribute(2646, &float(71)),
                attribute(2690, &[base.to_be_bytes().to_vec(), words(&[0x8000, 330])].concat()),
            ],
        ),
    ];
    own(&objects, &[report(0x0D1E, 0, 160_000, observations.len(), &observations)])
}

fn captures() -> Vec<(&'static str, Vec<u8>)> {
    [monitors(), meters()].concat()
}

fn monitors() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("ieee11073/agent/captures/extended-configuration.hex", extended()),
        ("ieee11073/agent/captures/samples-and-events.hex", samples_and_events()),
        (
            "ieee11073/agent/captures/no-configuration.hex",
            [association_request(AGENT, 0x4000), fixed(&[(1, words(&[98]))])].concat(),
        ),
        (
            "ieee11073/pulse-oximeter/captures/standard-0190.hex",
            standard(0x0190, fixed(&[(1, words(&[98])), (10, words(&[72]))])),
        ),
        (
            "ieee11073/pulse-oximeter/captures/standard-0191.hex",
            standard(0x0191, fixed(&[(1, stamped(&words(&[0xF3CF]))), (10, stamped(&words(&[0x07FF])))])),
        ),
        ("ieee11073/pulse-oximeter/captures/clock.hex", standard(0x0190, Vec::new())),
        (
            "ieee11073/blood-pressure/captures/standard-02bc.hex",
            standard(0x02BC, fixed(&[(1, pressure([121, 81, 94])), (2, stamped(&words(&[68])))])),
        ),
        (
            "ieee11073/blood-pressure/captures/not-measured.hex",
            standard(0x02BC, fixed(&[(1, pressure([135, 88, 0x07FF])), (2, stamped(&words(&[0x0800])))])),
        ),
        (
            "ieee11073/blood-pressure/captures/memory.hex",
            standard(
                0x02BC,
                fixed(&[
                    (1, pressure([121, 81, 94])),
                    (1, pressure([118, 79, 92])),
                    (1, pressure([0xF4B0, 80, 93])),
                ]),
            ),
        ),
    ]
}

fn meters() -> Vec<(&'static str, Vec<u8>)> {
    let float = |exponent: i8, mantissa: u32| {
        [&[exponent.cast_unsigned()][..], &mantissa.to_be_bytes()[1..]].concat()
    };
    let fahrenheit = object(6, 1, 0x4B5C, &[unit(0x1140), map(&[2646, 4, 2448, 8])]);
    let scale = object(6, 1, 0xE140, &[unit(0x6E0), map(&[2646, 4, 2448, 8])]);
    let weighed = |person: u16, mantissa: u32| {
        let data = stamped(&float(-1, mantissa));
        [words(&[person]), list(1, &[words(&[1]), counted(&data)].concat())].concat()
    };
    let control = object(6, 1, 0x71D0, &[unit(0x852), map(&[2636, 2, 2448, 8])]);
    let meal = object_of(5, 2, [128, 0x7248], &[attribute(2656, &words(&[128])), map(&[2633, 2, 2448, 8])]);
    vec![
        (
            "ieee11073/thermometer/captures/standard-0320.hex",
            standard(0x0320, fixed(&[(1, stamped(&float(-1, 374)))])),
        ),
        (
            "ieee11073/thermometer/captures/fahrenheit.hex",
            own(&[fahrenheit], &[fixed(&[(1, stamped(&float(-1, 991)))])]),
        ),
        (
            "ieee11073/thermometer/captures/over-range.hex",
            standard(0x0320, fixed(&[(1, stamped(&float(0, 0x7F_FFFE)))])),
        ),
        (
            "ieee11073/weighing-scale/captures/standard-05dc.hex",
            standard(0x05DC, fixed(&[(1, stamped(&float(-1, 735)))])),
        ),
        (
            "ieee11073/weighing-scale/captures/pounds-and-persons.hex",
            own(
                &[scale],
                &[report(
                    0x0D1F,
                    0,
                    u32::MAX,
                    3,
                    &[weighed(1, 1620), weighed(2, 1405), weighed(0xFFFF, 1500)],
                )],
            ),
        ),
        (
            "ieee11073/weighing-scale/captures/nres.hex",
            standard(0x05DC, fixed(&[(1, stamped(&float(0, 0x80_0000)))])),
        ),
        (
            "ieee11073/glucose-meter/captures/standard-06a4.hex",
            standard(0x06A4, fixed(&[(1, stamped(&words(&[108])))])),
        ),
        (
            "ieee11073/glucose-meter/captures/control-and-meal.hex",
            own(
                &[control, meal],
                &[fixed(&[(1, stamped(&words(&[0xF400]))), (2, stamped(&words(&[29_260])))])],
            ),
        ),
        (
            "ieee11073/glucose-meter/captures/wide-number.hex",
            standard(0x06A4, fixed(&[(1, stamped(&float(0, 112)))])),
        ),
    ]
}

#[test]
fn the_captures_are_what_the_encoder_makes() {
    super::super::tests::compare_captures(&captures());
}

fn decoded(page: &str, bytes: &[u8]) -> Decoded {
    let profile = Library::embedded().unwrap().find(page).unwrap();
    profile.decode(bytes, None, &LinkContext::golden())
}

fn capture(name: &str) -> Decoded {
    let (path, bytes) = captures().into_iter().find(|(path, _)| path.ends_with(name)).unwrap();
    let (page, _) = path.split_once("/captures").unwrap();
    decoded(page, &bytes)
}

fn all(decoded: &Decoded) -> Vec<&Measurement> {
    decoded.reports.iter().flat_map(|report| &report.measurements).collect()
}

fn word(value: &Value) -> String {
    match value {
        Value::Numeric { value, unit, .. } => format!("{value} {}", unit.as_ref().map_or("", |u| &u.ucum)),
        Value::Absent(reason) => reason.code().into(),
        Value::Compound(parts) => parts.iter().map(|part| word(&part.value)).collect::<Vec<_>>().join(", "),
        Value::Text(text) => text.to_string(),
        other => other.kind().into(),
    }
}

fn says(name: &str) -> Vec<String> {
    all(&capture(name)).iter().map(|m| word(&m.value)).collect()
}

#[test]
fn each_standard_configuration_says_what_its_specialisation_says() {
    assert_eq!(says("standard-0190.hex"), ["98 %", "72 /min"]);
    assert_eq!(says("standard-0191.hex"), ["97.5 %", "not-a-number"]);
    assert_eq!(says("standard-02bc.hex"), ["121 mm[Hg], 81 mm[Hg], 94 mm[Hg]", "68 /min"]);
    assert_eq!(says("not-measured.hex"), ["135 mm[Hg], 88 mm[Hg], not-a-number", "not-a-number"]);
    assert_eq!(says("memory.hex").len(), 3, "three readings, even with one stamp");
    assert_eq!(says("standard-0320.hex"), ["37.4 Cel"]);
    assert_eq!(says("fahrenheit.hex"), ["99.1 [degF]"]);
    assert_eq!(says("over-range.hex"), ["positive-infinity"]);
    assert_eq!(says("standard-05dc.hex"), ["73.5 kg"]);
    assert_eq!(says("nres.hex"), ["not-a-number"]);
    assert_eq!(says("standard-06a4.hex"), ["108 mg/dL"]);
}

#[test]
fn an_agent_is_known_by_its_system_id_and_its_attributes() {
    let decoded = capture("standard-0190.hex");
    let device = &decoded.reports[0].device;
    assert_eq!((&*device.manufacturer, &*device.model), ("TEST Devices", "Model 7"));
    assert_eq!(device.identifiers[0].value.as_ref(), "006019FFFE010203");
    assert_eq!((device.serial.as_deref(), device.firmware.as_deref()), (Some("SN-4711"), Some("1.20")));
    assert_eq!(device.kind.as_ref().unwrap().code.as_ref(), "528388");
}

#[test]
fn persons_are_kept_apart_and_nobody_is_invented() {
    let decoded = capture("pounds-and-persons.hex");
    let people: Vec<Option<&str>> = decoded
        .reports
        .iter()
        .map(|report| report.person.as_ref().map(|person| person.identifiers[0].value.as_ref()))
        .collect();
    assert_eq!(people, [Some("1"), Some("2"), None]);
    assert_eq!(says("pounds-and-persons.hex"), ["162.0 [lb_av]", "140.5 [lb_av]", "150.0 [lb_av]"]);
}

#[test]
fn every_shape_of_report_is_read_with_its_status() {
    let decoded = capture("extended-configuration.hex");
    let found: Vec<(String, bool)> =
        all(&decoded).iter().map(|m| (word(&m.value), m.status.questionable)).collect();
    let found: Vec<(&str, bool)> = found.iter().map(|(text, status)| (text.as_str(), *status)).collect();
    assert!(found.contains(&("72 /min", false)) && found.contains(&("97 %", false)), "{found:?}");
    assert!(found.contains(&("91 %", true)), "questionable stays with its value");
    assert!(found.contains(&("error", false)), "an invalid value is absent: {found:?}");
}

#[test]
fn samples_events_and_both_other_clocks_are_read() {
    let decoded = capture("samples-and-events.hex");
    let found = all(&decoded);
    let Value::SampleArray { samples, factor, period_ms, .. } = &found[0].value else { panic!("no samples") };
    assert_eq!(samples, &[Some(0), Some(100), Some(200), Some(50)]);
    assert_eq!((factor.to_string(), period_ms.to_string()), ("0.5".into(), "10.000".into()));
    let Value::Bits(bits) = &found[1].value else { panic!("no bits") };
    let codes: Vec<&str> = bits.iter().map(|(coding, _)| coding.code.as_ref()).collect();
    assert_eq!(codes, ["150604.1", "150604.5"]);
    let Value::Coded { codings, .. } = &found[2].value else { panic!("no code") };
    assert_eq!(codings[0].code.as_ref(), (128 * 65_536 + 8004).to_string());
    assert_eq!(word(&found[3].value), "after meal");
    // 80 000 of the agent's eighths of a millisecond before the report: ten seconds.
    assert_eq!(found[4].taken.micros, 1_773_477_000_000_000 - 10_000_000);
    assert_eq!((found[5].taken.micros, found[5].taken.offset_minutes), (1_773_476_310_500_000, 330));
}

#[test]
fn attributes_alone_tell_the_clock_beside_the_moment_of_receipt() {
    let decoded = capture("clock.hex");
    assert_eq!(says("clock.hex"), ["2026-03-14T13:58:30"]);
    let clock = all(&decoded)[0];
    assert_eq!(clock.taken.source, ClockSource::Receipt);
    assert_eq!(clock.metric.codings[0].code.as_ref(), "67975");
}

#[test]
fn numbers_without_a_configuration_mean_nothing() {
    assert!(capture("no-configuration.hex").held.is_some());
    assert_eq!(says("wide-number.hex"), ["112 mg/dL"]);
    assert!(capture("wide-number.hex").findings.iter().any(|f| f.code == "other-length"));
    let odd = standard(0x06A4, fixed(&[(1, vec![0; 7])]));
    assert!(decoded("ieee11073/agent", &odd).ignored.is_some());
}

#[test]
fn special_mantissas_are_reasons_and_others_exact_numbers() {
    use crate::device::AbsentReason as R;
    let shown = |value: Result<crate::device::Decimal, R>| value.map(|number| number.to_string());
    assert_eq!(shown(model::sfloat(0xF3CF)), Ok("97.5".into()));
    assert_eq!(shown(model::sfloat(0x0FFE)), Ok("-2".into()));
    assert_eq!(shown(model::float(0xFF00_016C)), Ok("36.4".into()));
    assert_eq!(shown(model::float(0xFEFF_FF38)), Ok("-2.00".into()));
    for (raw, reason) in [
        (0x07FF, R::NotANumber),
        (0x0800, R::NotANumber),
        (0x07FE, R::PositiveInfinity),
        (0x0802, R::NegativeInfinity),
        (0x0801, R::Error),
    ] {
        assert_eq!(model::sfloat(raw), Err(reason));
    }
    for (raw, reason) in [
        (0x007F_FFFF, R::NotANumber),
        (0x0080_0000, R::NotANumber),
        (0x007F_FFFE, R::PositiveInfinity),
        (0x0080_0002, R::NegativeInfinity),
        (0x0080_0001, R::Error),
    ] {
        assert_eq!(model::float(raw), Err(reason));
    }
    assert!(bcd_time(&[0x20, 0x26, 0x13, 0x01, 0, 0, 0, 0]).is_none());
    assert!(bcd_time(&[0x20, 0x2A, 0x01, 0x01, 0, 0, 0, 0]).is_none());
}
