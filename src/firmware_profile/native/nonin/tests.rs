use crate::clock::Timestamp;
use crate::device::{AbsentReason, Measurement, Report, Value};
use crate::firmware_profile::{Decoded, FirmwareProfile, LinkContext};

fn page(format: u8) -> FirmwareProfile {
    let toml = format!(
        "[device]\nmanufacturer = \"Nonin\"\nmodel = \"Test\"\nverified = \"simulator\"\n\
         [link]\ncodec = \"nonin\"\nformat = {format}\n[record]\ngrammar = \"nonin\"\n\
         [[metric]]\nmatch = \"SpO2\"\nmdc = 150456\n[[metric]]\nmatch = \"HR\"\nmdc = 149530\n"
    );
    FirmwareProfile::parse("nonin/test", &toml).unwrap()
}

fn decoded(format: u8, bytes: &[u8]) -> Decoded {
    let received = Timestamp::from_micros(1_773_477_000_000_000, true);
    page(format).decode(bytes, None, &LinkContext::new("test", "Asia/Kolkata", received).unwrap())
}

fn find<'r>(report: &'r Report, code: &str) -> &'r Measurement {
    let own = |m: &&Measurement| m.metric.codings.iter().any(|coding| &*coding.code == code);
    report.measurements.iter().find(own).unwrap()
}

fn number(measurement: &Measurement) -> String {
    match &measurement.value {
        Value::Numeric { value, .. } => value.to_string(),
        Value::Absent(reason) => reason.code().into(),
        other => other.kind().into(),
    }
}

fn packet(status: u8, slots: &[(usize, u8)]) -> Vec<u8> {
    let mut packet = Vec::new();
    for at in 1..=25 {
        let value = slots.iter().find(|(slot, _)| *slot == at).map_or(0, |(_, value)| *value);
        let frame = [0x01, status | u8::from(at == 1), 0x40, value];
        packet.extend(frame);
        packet.push(frame.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)));
    }
    packet
}

const GOOD: &[(usize, u8)] = &[(1, 0x01), (2, 0x0d), (3, 97), (4, 48)];

#[test]
fn a_value_stands_in_the_frame_with_its_number() {
    let said = decoded(2, &packet(0x80, GOOD));
    let report = &said.reports[0];
    assert_eq!(number(find(report, "HR")), "141", "the high bits of the rate are in the first frame");
    assert_eq!(number(find(report, "SpO2")), "97");
    assert_eq!(report.device.firmware.as_deref(), Some("48"));
    let Value::SampleArray { samples, .. } = &find(report, "pleth").value else { panic!("no pleth") };
    assert_eq!(samples, &vec![Some(0x40); 25]);
    assert!(!find(report, "SpO2").status.questionable);
}

#[test]
fn what_stands_for_no_value_is_absent_and_so_is_what_cannot_be() {
    let none = packet(0x80, &[(1, 3), (2, 127), (3, 127)]);
    let said = decoded(2, &none);
    assert_eq!(number(find(&said.reports[0], "HR")), "temp-unknown");
    assert_eq!(number(find(&said.reports[0], "SpO2")), "temp-unknown");
    let zero = decoded(2, &packet(0x80, &[]));
    assert_eq!(number(find(&zero.reports[0], "HR")), "error");
    assert_eq!(number(find(&zero.reports[0], "SpO2")), "error");
    assert!(zero.findings.iter().any(|finding| finding.code == "out-of-range"));
}

#[test]
fn status_bits_mark_or_take_away_the_value() {
    for (bit, value, questionable) in [
        (0x40, "temp-unknown", false),
        (0x08, "error", false),
        (0x20, "97", true),
        (0x10, "97", true),
        (0x04, "97", true),
        (0x06, "97", false),
        (0x02, "97", false),
    ] {
        let said = decoded(2, &packet(0x80 | bit, GOOD));
        let spo2 = find(&said.reports[0], "SpO2");
        assert_eq!((number(spo2).as_str(), spo2.status.questionable), (value, questionable), "{bit:02x}");
        assert_eq!(spo2.note.is_some(), !matches!(bit, 0x06 | 0x02), "{bit:02x}");
    }
}

#[test]
fn a_corrupt_frame_takes_only_its_own_value() {
    let mut bytes = packet(0x80, GOOD);
    bytes[9] ^= 0x01;
    let said = decoded(2, &bytes);
    let report = &said.reports[0];
    assert_eq!((number(find(report, "HR")).as_str(), number(find(report, "SpO2")).as_str()), ("error", "97"));
    let Value::SampleArray { samples, .. } = &find(report, "pleth").value else { panic!("no pleth") };
    assert_eq!(samples[1], None, "a gap");
}

#[test]
fn format_7_has_a_pleth_of_sixteen_bits() {
    let mut bytes = Vec::new();
    for at in 1..=25u8 {
        let value = GOOD.iter().find(|(slot, _)| *slot == usize::from(at)).map_or(0, |(_, value)| *value);
        let frame = [0x80 | u8::from(at == 1), 0x81, 0x02, value];
        bytes.extend(frame);
        bytes.push(frame.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)));
    }
    let said = decoded(7, &bytes);
    let Value::SampleArray { samples, .. } = &find(&said.reports[0], "pleth").value else {
        panic!("no pleth")
    };
    assert_eq!(samples, &vec![Some(0x8102); 25]);
    assert_eq!(number(find(&said.reports[0], "HR")), "141");
}

#[test]
fn format_8_has_its_own_status_bits() {
    let said = decoded(8, &[0x80, 60, 99, 0, 0x81, 13, 97, 0x01]);
    assert_eq!(number(find(&said.reports[0], "HR")), "141");
    assert_eq!(said.findings.iter().map(|finding| finding.code).collect::<Vec<_>>(), ["low-battery"]);
    let off = decoded(8, &[0xc3, 127, 127, 0]);
    assert_eq!(number(find(&off.reports[0], "SpO2")), "temp-unknown");
    let faulty = decoded(8, &[0x80, 60, 99, 0x08]);
    assert!(matches!(find(&faulty.reports[0], "SpO2").value, Value::Absent(AbsentReason::Error)));
}

fn spot(clock: [u8; 8], status: [u8; 2], pulse: u8, spo2: u8, serial: &[u8]) -> Vec<u8> {
    let data = [&clock[..], &status, &[0, pulse, 0, spo2], serial].concat();
    let sum = data.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    let length = u8::try_from(data.len()).unwrap();
    [&[0, 2, 0, 13, 0, length][..], &data, &[sum, 3]].concat()
}

#[test]
fn a_spot_check_has_its_own_time_in_either_way_of_counting() {
    for clock in [[0x20, 0x26, 0x03, 0x14, 0x13, 0x30, 0, 0], [20, 26, 3, 14, 13, 30, 0, 0]] {
        let said = decoded(13, &spot(clock, [2, 0], 72, 98, b"501234567"));
        let spo2 = find(&said.reports[0], "SpO2");
        assert_eq!(spo2.taken.micros, 1_773_475_200_000_000, "13:30 in Kolkata");
        assert_eq!(said.reports[0].device.serial.as_deref(), Some("501234567"));
        assert!(!spo2.status.questionable);
    }
    let wrong = decoded(13, &spot([0x20, 0x2a, 3, 0x14, 0, 0, 0, 0], [2, 0x10], 72, 98, b""));
    assert!(wrong.findings.iter().any(|finding| finding.code == "bad-time"));
    assert_eq!(find(&wrong.reports[0], "HR").note.as_deref(), Some("From the device's memory"));
}

#[test]
fn without_a_measurement_there_is_no_value() {
    let said = decoded(13, &spot([0x20, 0x26, 3, 0x14, 0x13, 0x30, 0, 0], [1, 0], 72, 98, b""));
    assert_eq!(number(find(&said.reports[0], "SpO2")), "temp-unknown");
    assert!(find(&said.reports[0], "SpO2").status.questionable, "not of SmartPoint quality either");
}

#[test]
fn bytes_of_another_format_are_held() {
    for (format, bytes) in [(2, &b"abc"[..]), (7, b""), (8, b"\x80"), (13, b"\x00\x02\x00\x0dxx")] {
        assert!(decoded(format, bytes).held.is_some(), "{format}");
    }
}
