use crate::device::{ClockSource, MDC, Measurement, MetricClass, ResultStatus, Value};
use crate::firmware_profile::{Decoded, FirmwareProfile, Library, LinkContext};
use std::sync::Arc;

fn monitor() -> Arc<FirmwareProfile> {
    Library::embedded().unwrap().find("ihe/pcd01-monitor").unwrap()
}

/// A PCD-01 message with these rows.
fn message(rows: &[&str]) -> String {
    let head = "MSH|^~\\&|M^00A0370000000101^EUI-64||||20260314135500+0530||ORU^R01^ORU_R01|1|P|2.6\r\
                PID|||MRN-1^^^A&2.999.1&ISO^MR\rOBR|1|||1^x^MDC|||20260314135500+0530\r";
    format!("{head}{}\r", rows.join("\r"))
}

fn decode(rows: &[&str]) -> Decoded {
    monitor().decode(message(rows).as_bytes(), None, &LinkContext::golden())
}

fn only(rows: &[&str]) -> Measurement {
    let decoded = decode(rows);
    assert_eq!(decoded.measurements(), 1, "{decoded:?}");
    decoded.reports[0].measurements[0].clone()
}

fn codes(decoded: &Decoded) -> Vec<&'static str> {
    decoded.findings.iter().map(|finding| finding.code).collect()
}

/// The table of the PoCD guide (mappingv2, OBX-8 and OBX-11): flag, absent reason, status bit.
#[test]
fn every_flag_of_the_point_of_care_table_has_its_meaning() {
    type Bit = fn(&Measurement) -> bool;
    let table: [(&str, Option<&str>, Bit); 13] = [
        ("INV", Some("error"), |m| m.status.invalid),
        ("QUES", None, |m| m.status.questionable),
        ("NAV", Some("temp-unknown"), |m| m.status.not_available),
        ("CAL", None, |m| m.status.calibration_ongoing),
        ("TEST", None, |m| m.status.test_data),
        ("DEMO", None, |m| m.status.demo_data),
        ("VAL", None, |m| m.status.validated),
        ("EARLY", None, |m| m.status.early_indication),
        ("BUSY", Some("temp-unknown"), |m| m.status.msmt_ongoing),
        ("ALACT", None, |m| m.status.in_alarm),
        ("ALINH", None, |m| m.status.alarm_inhibited),
        ("OFF", Some("not-performed"), |m| m.status.off),
        ("NI", Some("unknown"), |_| true),
    ];
    for (flag, absent, bit) in table {
        let row = format!(
            "OBX|1|NM|147842^MDC_ECG_HEART_RATE^MDC|1.1.1.1|61|264864^MDC_DIM_BEAT_PER_MIN^MDC||{flag}|||R"
        );
        let m = only(&[&row]);
        let reason = match &m.value {
            Value::Absent(reason) => Some(reason.code()),
            _ => None,
        };
        assert_eq!(reason, absent, "{flag}");
        assert!(bit(&m), "{flag}");
        assert_eq!(m.result_status, ResultStatus::Final, "{flag}");
    }
}

#[test]
fn a_status_of_x_is_a_value_when_there_is_one() {
    let with = only(&["OBX|1|NM|147842^^MDC|1.1.1.1|61|264864^^MDC|||||X"]);
    assert!(matches!(with.value, Value::Numeric { .. }));
    let without = only(&["OBX|1|NM|147842^^MDC|1.1.1.1||264864^^MDC|||||X"]);
    assert!(matches!(without.value, Value::Absent(_)));
    assert_eq!(without.result_status, ResultStatus::Final);
}

#[test]
fn every_result_status_is_told_apart() {
    for (letter, status) in [
        ("F", ResultStatus::Final),
        ("R", ResultStatus::Final),
        ("P", ResultStatus::Preliminary),
        ("C", ResultStatus::Corrected),
        ("W", ResultStatus::EnteredInError),
        ("D", ResultStatus::EnteredInError),
    ] {
        let row = format!("OBX|1|NM|147842^^MDC|1.1.1.1|61|264864^^MDC|||||{letter}");
        assert_eq!(only(&[&row]).result_status, status, "{letter}");
    }
}

#[test]
fn structured_numbers_keep_their_comparator_and_ranges_stay_text() {
    let value = |sn: &str| {
        let value = only(&[&format!("OBX|1|SN|160184^^MDC|1.1.1.1|{sn}|264274^^MDC|||||F")]).value;
        serde_json::to_value(value).unwrap().to_string()
    };
    assert!(value("<^20").contains("\"less\""), "{}", value("<^20"));
    assert!(value("=^98").contains("98") && value("^98").contains("\"comparator\":null"));
    assert_eq!(value("^1^:^128"), r#"{"text":"1:128"}"#);
    assert_eq!(value("^2^-^4"), r#"{"text":"2-4"}"#);
}

#[test]
fn the_time_of_a_row_is_its_own_else_the_orders_else_the_messages_else_the_receipt() {
    let row = |time: &str| format!("OBX|1|NM|147842^^MDC|1.1.1.1|61|264864^^MDC|||||R|||{time}");
    let micros = |rows: &[&str]| only(rows).taken.micros;
    let own = micros(&[&row("20260314135000+0530")]);
    let order = micros(&[&row("")]);
    assert_eq!(order - own, 300_000_000);
    let profile = monitor();
    let text = message(&[&row("")]).replace("|||20260314135500+0530\r", "\r");
    let sent = profile.decode(text.as_bytes(), None, &LinkContext::golden());
    assert_eq!(sent.reports[0].measurements[0].taken.micros, order);
    let text = text.replace("20260314135500+0530", "");
    let received = profile.decode(text.as_bytes(), None, &LinkContext::golden());
    assert_eq!(received.reports[0].measurements[0].taken.source, ClockSource::Receipt);
    assert!(codes(&received).contains(&"no-time"));
}

#[test]
fn one_order_may_speak_of_two_devices() {
    let decoded = decode(&[
        "OBX|1||69965^MDC_DEV_MON_PHYSIO_MULTI_PARAM_MDS^MDC|1.0.0.0|||||||X|||||||00A0370000000001^EUI-64",
        "OBX|2|NM|147842^^MDC|1.1.1.1|61|264864^^MDC|||||R",
        "OBX|3||69965^MDC_DEV_MON_PHYSIO_MULTI_PARAM_MDS^MDC|2.0.0.0|||||||X|||||||00A0370000000002^EUI-64",
        "OBX|4|NM|147842^^MDC|2.1.1.1|99|264864^^MDC|||||R",
    ]);
    let ids: Vec<&str> = decoded.reports.iter().map(|r| &*r.device.identifiers[0].value).collect();
    assert_eq!(ids, ["00A0370000000001", "00A0370000000002"]);
}

#[test]
fn the_same_device_number_in_another_order_may_be_another_device() {
    let row = "OBX|2|NM|188736^^MDC|1.0.0.1|70.5|263875^^MDC|||||R";
    let text =
        message(&["OBX|1||528391^MDC_DEV_SPEC_PROFILE_BP^MDC|1|||||||X|||||||00A0370000000001^EUI-64", row]);
    let second = text
        .split("OBR")
        .nth(1)
        .unwrap()
        .replace("528391^MDC_DEV_SPEC_PROFILE_BP", "528399^MDC_DEV_SPEC_PROFILE_SCALE");
    let text = format!("{text}OBR{}", second.replace("0000000001^EUI-64", "0000000002^EUI-64"));
    let decoded = monitor().decode(text.as_bytes(), None, &LinkContext::golden());
    let ids: Vec<&str> = decoded.reports.iter().map(|r| &*r.device.identifiers[0].value).collect();
    assert_eq!(ids, ["00A0370000000001", "00A0370000000002"]);
    assert!(decoded.reports.iter().all(|report| !report.device.point_of_care), "personal devices");
}

#[test]
fn codes_in_loinc_are_as_good_as_numbers_of_mdc() {
    let decoded = decode(&[
        "OBX|1|NM|8480-6^Systolic^LN||121|mmHg|||||F",
        "OBX|2|NM|8462-4^Diastolic^LN||80|mm[Hg]^^UCUM|||||F",
        "OBX|3|NM|8867-4^Heart rate^LN||66|bpm|||||F",
        "OBX|4|NM|718-7^Hemoglobin^LN||13.1|g/dL|||||F",
    ]);
    assert_eq!(codes(&decoded), [""; 0]);
    let labels: Vec<&str> = decoded.reports[0].measurements.iter().map(|m| &*m.metric.label).collect();
    assert_eq!(labels, ["Blood pressure panel with all children optional", "Heart rate", "Hemoglobin"]);
}

#[test]
fn messages_that_carry_no_results_say_so() {
    let profile = monitor();
    let say = |kind: &str| {
        let text = message(&["OBX|1|NM|147842^^MDC|1.1.1.1|61"]).replace("ORU^R01^ORU_R01", kind);
        let decoded = profile.decode(text.as_bytes(), None, &LinkContext::golden());
        assert_eq!(decoded.reports, []);
        (decoded.held, decoded.ignored)
    };
    assert!(say("ADT^A01").0.unwrap().contains("ADT^A01 is not a result message"));
    assert!(say("QRY^Q02").1.unwrap().contains("query for orders"));
    assert!(say("QBP^ZV1^QBP_Q21").1.unwrap().contains("query for a patient"));
    assert!(say("ORA^R41^ORA_R41").1.unwrap().contains("acknowledgement"));
    assert!(say("ACK^R01^ACK").1.unwrap().contains("acknowledgement"));
    assert!(say("QRY^Q02").1.unwrap().contains("query"));
    assert!(say("").0.unwrap().contains("without a type"));
    let garbage = profile.decode(b"\x00\x01 nothing", None, &LinkContext::golden());
    assert_eq!(garbage.held.as_deref(), Some("not HL7: no MSH"));
}

#[test]
fn two_messages_in_one_frame_keep_their_patients_apart() {
    let row = "OBX|1|NM|147842^^MDC|1.1.1.1|61|264864^^MDC|||||R";
    let text = format!("{}{}", message(&[row]), message(&[row]).replace("MRN-1", "MRN-2"));
    let decoded = monitor().decode(text.as_bytes(), None, &LinkContext::golden());
    let ids: Vec<&str> =
        decoded.reports.iter().map(|r| &*r.person.as_ref().unwrap().identifiers[0].value).collect();
    assert_eq!(ids, ["MRN-1", "MRN-2"]);
}

#[test]
fn a_patient_known_only_by_the_old_field_is_known() {
    let text = message(&["OBX|1|NM|147842^^MDC|1.1.1.1|61|264864^^MDC|||||R"])
        .replace("PID|||MRN-1^^^A&2.999.1&ISO^MR", "PID||MRN-9^^^WARD||");
    let decoded = monitor().decode(text.as_bytes(), None, &LinkContext::golden());
    let person = decoded.reports[0].person.as_ref().unwrap();
    assert_eq!(
        (&*person.identifiers[0].value, &*person.identifiers[0].system),
        ("MRN-9", "urn:bedside:authority:WARD")
    );
}

#[test]
fn a_private_code_is_never_translated_and_never_lost() {
    let decoded = decode(&["OBX|1|NM|147842^Own thing^99VENDOR|1.1.1.1|5||||||R"]);
    assert_eq!(codes(&decoded), ["unknown-code"]);
    let metric = &decoded.reports[0].measurements[0].metric;
    assert_eq!(metric.codings.len(), 1);
    assert_eq!((&*metric.codings[0].system, &*metric.codings[0].code), ("99VENDOR", "147842"));
}

/// A dictionary of names a careless reader would trip over: nothing here may panic.
#[test]
fn odd_rows_give_a_finding_or_nothing() {
    for row in [
        "OBX",
        "OBX||||||||||||||||||||||||||||||||",
        "OBX|1|NM|^^MDC|1.1.1.1|5",
        "OBX|1|NM|99999999999999^x^MDC|9.9.9.9.9.9|5",
        "OBX|1|NA|131330^^MDC|1.1.1.1|1^x^3",
        "OBX|1|ED|11502-2^^LN||^TEXT^^Base64^AAAA",
        "OBX|1|CWE|184327^^MDC|1.1.1.1|^^^^^^^^free text",
        "OBX|1|NM|147842^^MDC|4294967296.1.1.1|5",
        "OBX|1|TX|8251-1^^LN||line one~line two",
    ] {
        let decoded = decode(&[row]);
        assert!(!decoded.reports.is_empty() || decoded.held.is_some(), "{row}");
    }
}

#[test]
fn a_value_that_somebody_set_is_a_setting_and_no_measurement() {
    let row = |method: &str| {
        format!("OBX|1|NM|151562^MDC_RESP_RATE^MDC|1.1.1.1|14|264928^^MDC|||||R||||||{method}")
    };
    let class = |method: &str| only(&[&row(method)]).metric.class;
    assert_eq!(class("MSET^manual-setting^MDC"), MetricClass::Setting);
    assert_eq!(class("AMEAS^auto-measurement^MDC"), MetricClass::Measurement);
}

#[test]
fn a_pump_event_is_read_with_its_event_and_its_figures() {
    let text = message(&[
        "OBX|1||70049^MDC_DEV_PUMP_INFUS_LVP_MDS^MDC|1.0.0.0|||||||X",
        "OBX|2|CWE|68487^MDC_ATTR_EVT_COND^MDC|1.1.0.3|197288^MDC_EVT_PUMP_DELIV_START^MDC||||||R",
        "OBX|3|NM|67996^MDC_ATTR_VAL_BATT_CHARGE^MDC|1.1.0.10|96|262688^MDC_DIM_PERCENT^MDC|||||R",
        "OBX|4|CWE|184519^MDC_PUMP_INFUSING_STATUS^MDC|1.1.1.1|^pump-status-infusing||||||R",
    ])
    .replace("ORU^R01^ORU_R01", "ORU^R42^ORU_R01");
    let decoded = monitor().decode(text.as_bytes(), None, &LinkContext::golden());
    let said: Vec<String> =
        decoded.reports[0].measurements.iter().map(|m| serde_json::to_string(&m.value).unwrap()).collect();
    assert_eq!(said.len(), 3, "{decoded:?}");
    assert!(said[0].contains("197288") && said[1].contains("96") && said[2].contains("pump-status-infusing"));
}

#[test]
fn a_row_whose_number_is_zero_is_known_by_its_name() {
    let m = only(&["OBX|1|CWE|0^MDCX_DMC_ATTR_POWER_SOURCE^MDC|1.1.0.12|1^OnBattery||||||F"]);
    assert_eq!(&*m.metric.codings[0].code, "MDCX_DMC_ATTR_POWER_SOURCE");
    assert!(m.metric.code_in(MDC).is_none());
}

#[test]
fn two_messages_in_one_frame_are_both_read() {
    let row = ["OBX|1|NM|147842^^MDC|1.1.1.1|61|264864^^MDC|||||R"];
    let text =
        format!("{}{}", message(&row), message(&row).replace("MRN-1", "MRN-2").replace("|61|", "|75|"));
    let decoded = monitor().decode(text.as_bytes(), None, &LinkContext::golden());
    assert_eq!(decoded.reports.len(), 2);
    let who = |at: usize| decoded.reports[at].person.as_ref().unwrap().identifiers[0].value.to_string();
    assert_eq!((who(0), who(1)), ("MRN-1".into(), "MRN-2".into()));
}

#[test]
fn two_clocks_of_one_message_stay_two_times_and_odd_forms_are_read() {
    let decoded = decode(&[
        "OBX|1|NM|147842^^MDC|1.1.1.1|61|264864^^MDC|||||R|||20260314135000.0000+0530",
        "OBX|1|NM|150456^^MDC|1.2.1.1|97|262688^^MDC|||||R|||20260314134500250",
    ]);
    let micros: Vec<i64> = decoded.reports[0].measurements.iter().map(|m| m.taken.micros).collect();
    assert_eq!(micros.len(), 2);
    assert_ne!(micros[0], micros[1]);
    assert_eq!(micros[1] % 1_000_000, 250_000, "the glued milliseconds");
}

fn analyser(id: &str, message: &str) -> Decoded {
    Library::embedded().unwrap().find(id).unwrap().decode(message.as_bytes(), None, &LinkContext::golden())
}

fn chemistry(row: &str) -> Decoded {
    let head = "MSH|^~\\&|Mindray|BS-480|||20260314141530||ORU^R01|1|P|2.3.1||||0||ASCII\r\
                OBR|1|S-1|2|Mindray^BS-480|N||20260314141530||||||||serum\r";
    analyser("mindray/bs-chemistry", &format!("{head}{row}\r"))
}

#[test]
fn a_number_an_analyser_sets_up_itself_is_believed_only_beside_its_name() {
    let listed = chemistry("OBX|1|NM|2|crea|0.9|mg/dL|||||F");
    let metric = &listed.reports[0].measurements[0].metric;
    assert!(
        metric.codings.iter().any(|c| &*c.code == "2160-0")
            && codes(&listed).iter().all(|c| *c != "name-mismatch")
    );
    for name in ["BUN", ""] {
        let other = chemistry(&format!("OBX|1|NM|2|{name}|15|mg/dL|||||F"));
        let metric = &other.reports[0].measurements[0].metric;
        assert!(metric.codings.iter().all(|c| c.system.starts_with("urn:")), "{metric:?}");
        assert_eq!(&*metric.label, if name.is_empty() { "2" } else { name });
        assert!(codes(&other).contains(&"name-mismatch"), "{other:?}");
    }
}

#[test]
fn an_order_by_loinc_is_not_turned_into_a_number_that_may_mean_another_test() {
    let page = Library::embedded().unwrap().find("mindray/bs-chemistry").unwrap();
    assert_eq!(page.order_code(&crate::firmware_profile::OrderedTest::typed("2160-0")), None);
    assert_eq!(page.order_code(&crate::firmware_profile::OrderedTest::typed("2")).as_deref(), Some("2"));
}

#[test]
fn the_result_of_a_control_may_stand_in_the_order() {
    let message = |value: &str| {
        format!(
            "MSH|^~\\&|Mindray|BS-480|||20260314060015||ORU^R01|1|P|2.3.1||||2||ASCII\r\
             OBR|1|77|LIP|Mindray^BS-480||20260314060143|||||||CTRL-N|LOT-9|20270101||M|100|3.5|{value}|U/L\r"
        )
    };
    let decoded = analyser("mindray/bs-chemistry", &message("98.2"));
    let report = &decoded.reports[0];
    let m = &report.measurements[0];
    assert_eq!((m.metric.class, &*m.metric.label), (MetricClass::QualityControl, "LIP"));
    assert!(matches!(&m.value, Value::Numeric { value, .. } if value.to_string() == "98.2"));
    assert_eq!(m.taken.source, ClockSource::Device);
    assert!(m.note.as_deref().is_some_and(|note| note.contains("LOT-9")) && report.person.is_none());
    assert!(
        analyser("mindray/bs-chemistry", &message("")).held.is_some(),
        "without a value nothing is made up"
    );
}

#[test]
fn when_it_was_analysed_comes_before_when_it_was_sent() {
    let message = |ordered: &str| {
        format!(
            "MSH|^~\\&|Clinitek Status||||202603141202||ORU^R01|1|P|2.4\rOBR|1||3|Multistix|||{ordered}||||||||UR^^^^^^P\r\
             OBX|1|ST|GLU||100|mg/dL||A|||F||||||||202602031302\r"
        )
    };
    let taken = |text: &str| {
        let decoded = analyser("siemens/clinitek-status", text);
        let m = decoded.reports[0].measurements[0].clone();
        assert!(matches!(&m.value, Value::Text(text) if &**text == "100 mg/dL"), "a step keeps its unit");
        m.taken.micros
    };
    let february = "2026-02-03T13:02:00+05:30".parse::<jiff::Timestamp>().unwrap().as_microsecond();
    assert_eq!(taken(&message("")), february);
    assert_eq!(
        taken(&message("202602011200")),
        "2026-02-01T12:00:00+05:30".parse::<jiff::Timestamp>().unwrap().as_microsecond()
    );
}

#[test]
fn a_message_of_rows_that_are_known_as_nothing_waits_for_nobody() {
    let head = "MSH|^~\\&|||||||ORU^R01|53|P|2.3.1|\rOBX||CE|2009^|170|2^||||||F\r";
    assert!(analyser("mindray/pds", head).ignored.is_some());
    assert!(analyser("mindray/pds", &format!("{head}OBX||NM|||||||||F\r")).ignored.is_none());
}
