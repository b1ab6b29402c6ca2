use super::*;
use crate::device::{MetricClass, Report, Value};
use crate::firmware_profile::Library;

fn decode(records: &str) -> Decoded {
    let profile = Library::embedded().unwrap().find("generic/astm-analyser").unwrap();
    profile.decode(records.replace('\n', "\r").as_bytes(), None, &LinkContext::golden())
}

fn specimen_of(report: &Report) -> Option<&str> {
    report.specimen.as_ref().and_then(|specimen| specimen.identifier.as_deref())
}

const HEAD: &str = "H|\\^&|||X^1\nP|1||PAT-1\n";

#[test]
fn each_order_of_each_patient_is_a_report_of_its_own() {
    let decoded = decode(&format!(
        "{HEAD}O|1|S1||^^^WBC\nR|1|^^^WBC|6.1|10*3/uL\nO|2|S2||^^^WBC\nR|1|^^^WBC|7.2|10*3/uL\nP|2||PAT-2\nO|1|S3\nR|1|^^^WBC|8.3|10*3/uL\nL|1"
    ));
    let read: Vec<_> = decoded
        .reports
        .iter()
        .map(|r| (specimen_of(r).unwrap(), &*r.person.as_ref().unwrap().identifiers[0].value))
        .collect();
    assert_eq!(read, [("S1", "PAT-1"), ("S2", "PAT-1"), ("S3", "PAT-2")]);
}

#[test]
fn the_sample_is_found_without_blanks_rack_and_position() {
    for (order, id) in [
        ("O|1|SMP-1^12^3", Some("SMP-1")),
        ("O|1|  SMP-2  ", Some("SMP-2")),
        ("O|1|1^1^           SMP-3^B", Some("1")),
        ("O|1||SMP-4^x", Some("SMP-4")),
        ("O|1|@192", None),
    ] {
        let decoded = decode(&format!("{HEAD}{order}\nR|1|^^^WBC|6.1|10*3/uL"));
        assert_eq!(specimen_of(&decoded.reports[0]), id, "{order}");
    }
}

#[test]
fn a_lone_letter_beside_an_unlisted_test_is_no_temperature() {
    let decoded = decode(&format!("{HEAD}O|1|S1\nR|1|^^^AntiA|40|C\nR|2|^^^AntiB|0|mg/dL\nL|1"));
    let units: Vec<_> = decoded.reports[0]
        .measurements
        .iter()
        .map(|m| match &m.value {
            Value::Numeric { unit: Some(unit), .. } => (&*unit.ucum, &*unit.display),
            _ => ("", ""),
        })
        .collect();
    assert_eq!(units, [("", "C"), ("mg/dL", "mg/dL")]);
}

#[test]
fn the_signs_of_the_header_hold_for_its_message_only() {
    let decoded = decode(
        "H|`^&\nP|1||A\nO|1|S1\nR|1|^^^WBC|6.1|10*3/uL||H`A\nL|1\nH@!$%\nP@1@@B\nO@1@S2$9\nR@1@$$$WBC@7@10*3/uL\nL@1",
    );
    assert_eq!(decoded.reports.len(), 2);
    assert_eq!(decoded.reports[0].measurements[0].interpretation.len(), 2);
    assert_eq!(specimen_of(&decoded.reports[1]), Some("S2"));
    let doubled = decode("H|\\\\^&\nP|1\nO|1|S1\nR|1|^^^WBC|6.1|10*3/uL||H\\A\nL|1");
    assert_eq!(doubled.reports[0].measurements[0].interpretation.len(), 2);
}

#[test]
fn an_escaped_delimiter_is_text() {
    let decoded = decode(&format!("{HEAD}O|1|S&F&1&S&2\nR|1|^^^WBC|6.1|10*3/uL"));
    assert_eq!(specimen_of(&decoded.reports[0]), Some("S|1^2"));
}

#[test]
fn a_control_is_marked_in_the_order_or_in_the_header() {
    for text in [
        format!("{HEAD}O|1|QC1||^^^WBC|R||||||Q\nR|1|^^^WBC|6.1|10*3/uL"),
        "H|\\^&|||X^1|||||||Q\nP|1||PAT\nO|1|QC1\nR|1|^^^WBC|6.1|10*3/uL".into(),
    ] {
        let decoded = decode(&text);
        let report = &decoded.reports[0];
        assert_eq!(report.measurements[0].metric.class, MetricClass::QualityControl);
        assert_eq!(report.person, None, "a control is nobody's result");
    }
}

#[test]
fn results_without_a_header_are_read_and_that_is_told() {
    let decoded = decode("O|1|S1\nR|1|^^^WBC|6.1|10*3/uL");
    assert_eq!(decoded.measurements(), 1);
    assert!(decoded.findings.iter().any(|f| f.code == "no-header"));
}

#[test]
fn what_carries_no_result_says_why() {
    let say = |text: &str| {
        let decoded = decode(text);
        (decoded.held.unwrap_or_default(), decoded.ignored.unwrap_or_default())
    };
    assert!(say("H|\\^&\nQ|1|S1||ALL\nL|1").1.contains("query"));
    assert!(say("H|\\^&\nP|1\nO|1|S1\nL|1").0.contains("orders"));
    assert!(say("H|\\^&\nL|1").1.contains("without results"));
    assert!(say("noise").0.contains("no header"));
    assert!(say("").0.contains("no header"));
}

#[test]
fn comments_stand_with_what_they_are_about() {
    let decoded = decode(&format!(
        "{HEAD}O|1|S1\nC|1|I|haemolytic sample\nR|1|^^^WBC|6.1|10*3/uL\nC|1|I|repeated^once\nR|2|^^^RBC|4.1|10*6/uL"
    ));
    let notes: Vec<_> = decoded.reports[0].measurements.iter().map(|m| m.note.as_deref().unwrap()).collect();
    assert_eq!(notes, ["haemolytic sample\nrepeated once", "haemolytic sample"]);
}

#[test]
fn a_result_in_words_is_never_a_number() {
    let decoded = decode(&format!(
        "{HEAD}O|1|S1\nR|1|^^^WBC|NOT DETECTED^|10*3/uL\nR|2|^^^RBC|3+^3+^45|\nR|3|^^^PLT||"
    ));
    let kinds: Vec<_> = decoded.reports[0].measurements.iter().map(|m| m.value.kind()).collect();
    assert_eq!(kinds, ["text", "text", "absent"]);
}
