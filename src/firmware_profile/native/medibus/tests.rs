use crate::clock::Timestamp;
use crate::device::{ClockSource, Measurement, MetricClass, Precision, Report, Value};
use crate::firmware_profile::{Decoded, FirmwareProfile, LinkContext};
use crate::wire::medibus::{Kind, Message};

const PAGE: &str = "[device]\nmanufacturer = \"Test\"\nmodel = \"Test\"\nverified = \"simulator\"\n\
    [link]\ncodec = \"medibus\"\n[record]\ngrammar = \"medibus\"\n\
    [[metric]]\nmatch = \"cp1:EB\"\nmdc = 150456\nunit = \"%\"\n\
    [[metric]]\nmatch = \"cp1:78\"\nmdc = 151976\nunit = \"mbar\"\n";

fn said(kind: Kind, code: u8, text: &str) -> Vec<u8> {
    Message { kind, code, text: text.into() }.wire()
}

fn reply(code: u8, text: &str) -> Vec<u8> {
    said(Kind::Reply, code, text)
}

fn decoded(frame: &[u8]) -> Decoded {
    let received = Timestamp::from_micros(1_773_477_000_000_000, true);
    let page = FirmwareProfile::parse("drager/test", PAGE).unwrap();
    page.decode(frame, None, &LinkContext::new("test", "Asia/Kolkata", received).unwrap())
}

fn report(frame: &[u8]) -> Report {
    decoded(frame).reports.remove(0)
}

fn find<'r>(report: &'r Report, code: &str) -> &'r Measurement {
    let own = |m: &&Measurement| m.metric.codings.iter().any(|coding| &*coding.code == code);
    report.measurements.iter().find(own).unwrap()
}

fn shown(measurement: &Measurement) -> String {
    match &measurement.value {
        Value::Numeric { value, unit, .. } => {
            format!("{value} {}", unit.as_ref().map_or("-", |unit| &*unit.ucum))
        }
        Value::Text(text) => text.to_string(),
        Value::Alarm(alarm) => alarm.text.as_deref().unwrap_or_default().to_owned(),
        Value::Absent(reason) => reason.code().into(),
        other => other.kind().into(),
    }
}

#[test]
fn values_have_the_code_of_their_codepage() {
    let report = report(&[reply(b'$', "EB 98 78 5.178---3"), reply(b'+', "EB1234")].concat());
    assert_eq!(shown(find(&report, "cp1:EB")), "98 %");
    assert_eq!(shown(find(&report, "cp1:78")), "5.1 mbar");
    assert_eq!(shown(find(&report, "cp2:EB")), "1234 -");
}

#[test]
fn blanks_and_dashes_are_no_value_and_a_sign_may_stand_apart() {
    for (field, value) in [
        ("    ", "temp-unknown"),
        ("----", "temp-unknown"),
        ("--.-", "temp-unknown"),
        ("  - ", "temp-unknown"),
        ("-  2", "-2 mbar"),
        ("-1.2", "-1.2 mbar"),
        (" 0  ", "0 mbar"),
        ("0.50", "0.50 mbar"),
    ] {
        let report = report(&reply(b'$', &format!("78{field}")));
        assert_eq!(shown(find(&report, "cp1:78")), value, "{field:?}");
    }
    let words = decoded(&reply(b'$', "78 HI "));
    assert!(!matches!(find(&words.reports[0], "cp1:78").value, Value::Numeric { .. }));
    assert!(!words.findings.is_empty());
}

#[test]
fn limits_are_settings_with_the_unit_of_what_they_limit() {
    let decoded = decoded(&[reply(b'%', "EB  90"), reply(b'&', "78----"), reply(b')', "0B  5  ")].concat());
    let report = &decoded.reports[0];
    for (code, value) in [("low1:EB", "90 %"), ("high1:78", "not-applicable"), ("set:0B", "5 mbar")] {
        let measurement = find(report, code);
        assert_eq!(
            (shown(measurement).as_str(), measurement.metric.class),
            (value, MetricClass::Setting),
            "{code}"
        );
        assert!(measurement.metric.code_in("http://loinc.org").is_none(), "a limit is never a vital sign");
    }
    assert_eq!(&*find(report, "low1:EB").metric.label, "SpO2, low alarm limit");
    assert!(decoded.findings.is_empty(), "{:?}", decoded.findings);
}

#[test]
fn alarms_and_texts_keep_the_words_of_the_device() {
    let alarm = "O9ADISKONNEKT. ";
    let report = report(&[reply(b'\'', alarm), reply(b'*', "064SIMV\u{3}200\u{3}")].concat());
    let alarm = find(&report, "alarm1:9A");
    assert_eq!((shown(alarm).as_str(), alarm.metric.class), ("DISKONNEKT.", MetricClass::Alarm));
    assert_eq!(alarm.note.as_deref(), Some("MEDIBUS alarm priority 31"));
    assert_eq!(shown(find(&report, "text:06")), "SIMV");
    assert_eq!(shown(find(&report, "text:20")), "Adults");
}

#[test]
fn the_device_says_who_it_is_and_when() {
    let report = report(
        &[reply(b'R', "8888'Evita 4 '03.00:04.03"), reply(b'(', "13:30:0014-MRZ-26"), reply(b'$', "EB 98 ")]
            .concat(),
    );
    assert_eq!((&*report.device.model, report.device.firmware.as_deref()), ("Evita 4", Some("03.00")));
    let taken = &report.measurements[0].taken;
    assert_eq!((taken.micros, taken.precision), (1_773_475_200_000_000, Precision::Second));
    assert_eq!(taken.source, ClockSource::Device);
    let none = decoded(&[reply(b'R', ""), reply(b'(', "??"), reply(b'$', "EB 98 ")].concat());
    assert_eq!(none.reports[0].measurements[0].taken.source, ClockSource::Receipt);
    assert!(none.findings.iter().any(|finding| finding.code == "bad-time"));
}

#[test]
fn what_is_cut_is_told_and_the_rest_is_read() {
    let decoded = decoded(
        &[reply(b'$', "EB 98 E6 3"), reply(b'\'', "O9"), reply(b'*', "069X"), reply(b'$', "zz 98 ")].concat(),
    );
    assert_eq!(decoded.measurements(), 1);
    assert_eq!(decoded.findings.iter().filter(|finding| finding.code == "bad-record").count(), 4);
}

#[test]
fn bytes_that_are_no_messages_are_held() {
    assert!(decoded(b"garbage").held.is_some());
    assert!(decoded(b"").held.is_some());
}

const TABLE: &str = "00   16000  -10  100FFF06   16000    0  100FFF";

fn samples(measurement: &Measurement) -> (String, String, String, Vec<Option<i32>>) {
    match &measurement.value {
        Value::SampleArray { origin, factor, period_ms, samples, .. } => {
            (origin.to_string(), factor.to_string(), period_ms.to_string(), samples.clone())
        }
        other => panic!("{}", other.kind()),
    }
}

#[test]
fn realtime_records_become_samples_by_the_table_and_the_choice() {
    let records = b"\xd3\x81\x82\x83\x84\xd1\xff\xd1\xbf\xbf\xd3\x80\x80\xd2\x85\x80";
    let frame = [&said(Kind::Command, b'T', "00010602")[..], records, &reply(b'S', TABLE)].concat();
    let report = report(&frame);
    let pressure = find(&report, "rt:00");
    assert_eq!(pressure.metric.class, MetricClass::Waveform);
    let (origin, factor, period, values) = samples(pressure);
    assert_eq!((origin.as_str(), period.as_str()), ("-10", "16"));
    assert!(factor.starts_with("0.02686202686"), "110 mbar in 4095 steps: {factor}");
    // A record with half a value is a gap, not a number.
    assert_eq!(values, [Some(0x81), None, Some(4095), Some(0)]);
    let (_, _, period, values) = samples(find(&report, "rt:06"));
    assert_eq!((period.as_str(), values), ("32", vec![Some(0x103), None, Some(5)]));
    assert_eq!(pressure.until.as_ref().unwrap().micros - pressure.taken.micros, 64_000);
}

#[test]
fn streams_nobody_described_make_no_samples() {
    let decoded = decoded(&[&b"\xd1\x81\x82"[..], &reply(b'$', "EB 98 ")].concat());
    assert_eq!(decoded.measurements(), 1);
    assert!(decoded.findings.iter().any(|finding| finding.code == "unknown-stream"));
}

#[test]
fn streams_beyond_the_fourth_are_named_by_sync_commands() {
    let choice = said(Kind::Command, b'T', "000100010001000106010601");
    let records = b"\xd0\xc4\xc1\x81\x80\xd0\xc4\xc3\x82\x80\x83\x80\xd0\xcf\xc0";
    let report = report(&[&choice[..], records, &reply(b'S', TABLE)].concat());
    let arrays: Vec<_> = report.measurements.iter().map(samples).map(|(.., values)| values).collect();
    assert_eq!(arrays, [vec![Some(1), Some(2)], vec![Some(3)]]);
}
