use super::*;
use crate::device::{Report, Value};

const PAGE: &str = "[device]\nmanufacturer = \"T\"\nmodel = \"T\"\nverified = \"simulator\"\n[link]\ncodec = \"message\"\n\
    [record]\ngrammar = \"gdt\"\n[value]\ndecimal = \"either\"\n[[metric]]\nmatch = \"FVC\"\nunit = \"L\"\n";

/// A file of lines with right lengths.
fn file(lines: &[(&str, &str)]) -> Vec<u8> {
    lines
        .iter()
        .flat_map(|(field, text)| format!("{:03}{field}{text}\r\n", text.len() + 9).into_bytes())
        .collect()
}

fn read(bytes: &[u8]) -> Decoded {
    let profile = FirmwareProfile::parse("t/t", PAGE).map_err(|faults| faults[0].to_string()).unwrap();
    profile.decode(bytes, None, &LinkContext::golden())
}

fn only(bytes: &[u8]) -> Report {
    let mut decoded = read(bytes);
    assert_eq!(decoded.reports.len(), 1, "{decoded:?}");
    decoded.reports.remove(0)
}

#[test]
fn a_test_has_its_value_unit_limits_sign_and_time() {
    let report = only(&file(&[
        ("8000", "6310"),
        ("3000", "P-1"),
        ("3101", "TEST"),
        ("3103", "02011970"),
        ("3110", "2"),
        ("6200", "14032026"),
        ("6201", "081500"),
        ("8410", "FVC"),
        ("8420", "3,45"),
        ("8421", "l"),
        ("8422", "-"),
        ("8461", "3,5"),
        ("8462", "5,0"),
    ]));
    let person = report.person.as_ref().unwrap();
    assert_eq!(person.birth_date.as_deref(), Some("1970-01-02"));
    assert_eq!(person.gender.as_deref(), Some("female"));
    let measured = &report.measurements[0];
    assert!(matches!(&measured.value, Value::Numeric { value, .. } if value.to_string() == "3.45"));
    assert_eq!(measured.reference_range.as_deref(), Some("3.5-5.0"));
    assert_eq!(measured.interpretation, ["L".into()]);
    let at = jiff::Timestamp::from_microsecond(measured.taken.micros).unwrap();
    assert_eq!(at.to_string(), "2026-03-14T02:45:00Z", "08:15 in Kolkata");
}

#[test]
fn letters_are_read_by_the_charset_the_file_states() {
    for (sign, byte) in [("2", b'\x81'), ("3", b'\xFC'), ("4", b'\xFC')] {
        let mut bytes = file(&[("8000", "6310"), ("9206", sign), ("8410", "X"), ("8420", "1")]);
        bytes.extend([b"0103101M".as_slice(), &[byte], b"\r\n"].concat());
        bytes = [&bytes[..13 + 10], b"0133101M".as_slice(), &[byte], b"ll\r\n", &bytes[13 + 10..]].concat();
        assert_eq!(only(&bytes).person.unwrap().family.as_deref(), Some("M\u{FC}ll"), "{sign}");
    }
}

#[test]
fn a_wrong_length_is_told_and_the_line_still_read() {
    let decoded = read(b"01380006310\r\n0998410FVC\r\n01284203.5\r\nrubbish\r\n");
    let codes: Vec<_> = decoded.findings.iter().map(|finding| finding.code).collect();
    assert!(codes.contains(&"bad-length") && codes.contains(&"not-a-field"), "{codes:?}");
    assert_eq!(decoded.measurements(), 1);
}

#[test]
fn a_request_is_ignored_and_other_files_are_held() {
    assert!(read(&file(&[("8000", "6302"), ("3000", "P-1"), ("8402", "EKG01")])).ignored.is_some());
    assert!(read(b"PK\x03\x04").held.is_some());
    assert!(read(&file(&[("8000", "6310"), ("3000", "P-1")])).held.is_some());
}

#[test]
fn records_of_one_file_keep_their_patients_apart() {
    let decoded = read(&file(&[
        ("8000", "8220"),
        ("8000", "8202"),
        ("8310", "A-1"),
        ("3101", "ONE"),
        ("8401", "T"),
        ("8410", "CRP"),
        ("8420", "<5"),
        ("8410", "HB"),
        ("8418", "F"),
        ("8000", "8202"),
        ("3101", "TWO"),
        ("8410", "CRP"),
        ("8418", "K"),
        ("8480", "lipaemic"),
        ("8000", "8221"),
    ]));
    let [one, two] = decoded.reports.as_slice() else { panic!("{decoded:?}") };
    assert_eq!(one.person.as_ref().unwrap().family.as_deref(), Some("ONE"));
    assert_eq!(one.orders.len(), 1);
    assert_eq!(one.measurements[0].result_status, ResultStatus::Preliminary);
    assert!(matches!(one.measurements[1].value, Value::Absent(AbsentReason::TempUnknown)));
    assert_eq!(two.measurements[0].result_status, ResultStatus::Corrected);
    assert!(matches!(&two.measurements[0].value, Value::Text(text) if &**text == "lipaemic"));
}

#[test]
fn a_date_is_read_in_either_order() {
    assert_eq!(turned("14032026"), Some(("0314".into(), "2026")));
    assert_eq!(turned("20260314"), Some(("0314".into(), "2026")));
    assert_eq!(turned("1403202"), None);
    assert_eq!(turned("14.03.26"), None);
}
