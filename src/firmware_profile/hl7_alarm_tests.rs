use std::sync::Arc;

use crate::device::{
    Alarm, AlarmInactivation, AlarmPhase, AlarmPriority, AlarmState, AlertKind, Domain, Measurement,
    MetricClass, Value,
};
use crate::firmware_profile::{Decoded, FirmwareProfile, Library, LinkContext};

fn monitor() -> Arc<FirmwareProfile> {
    Library::embedded().unwrap().find("ihe/pcd01-monitor").unwrap()
}

fn decode(obr: &str, rows: &[&str]) -> Decoded {
    let head = "MSH|^~\\&|M^00A0370000000101^EUI-64||||20260314135500+0530||ORU^R40^ORU_R40|1|P|2.6\r\
                PID|||MRN-1^^^A&2.999.1&ISO^MR\r";
    let text = format!("{head}{obr}\r{}\r", rows.join("\r"));
    monitor().decode(text.as_bytes(), None, &LinkContext::golden())
}

const START: &str = "OBR|1|p-1^x|a1b2c3d4-start^x|196616^MDC_EVT_ALARM^MDC|||20260314135500+0530";

fn only(decoded: &Decoded) -> (&Measurement, &Alarm) {
    let alarms: Vec<&Measurement> = decoded
        .reports
        .iter()
        .flat_map(|report| &report.measurements)
        .filter(|m| m.metric.class == MetricClass::Alarm)
        .collect();
    assert_eq!(alarms.len(), 1, "{decoded:?}");
    let Value::Alarm(alarm) = &alarms[0].value else { panic!("{decoded:?}") };
    (alarms[0], alarm)
}

#[test]
fn the_rows_of_the_standard_make_one_alarm() {
    let decoded = decode(
        START,
        &[
            "OBX|1||69965^MDC_DEV_MON_PHYSIO_MULTI_PARAM_MDS^MDC|1.0.0.0|||||||X",
            "OBX|2|CWE|196616^MDC_EVT_ALARM^MDC|1.3.1.150456.1|196674^MDC_EVT_LO_VAL_LT_LIM^MDC^^^^^^SpO2 LOW|||L~PM~SP|||R|||20260314135501+0530",
            "OBX|3|NM|150456^MDC_PULS_OXIM_SAT_O2^MDC|1.3.1.150456.2|84|262688^MDC_DIM_PERCENT^MDC|90-100||||R",
            "OBX|4|ST|68481^MDC_ATTR_EVENT_PHASE^MDC|1.3.1.150456.3|start||||||R",
            "OBX|5|ST|68482^MDC_ATTR_ALARM_STATE^MDC|1.3.1.150456.4|active||||||R",
            "OBX|6|ST|68483^MDC_ATTR_ALARM_INACTIVATION_STATE^MDC|1.3.1.150456.5|audio-paused~alarm-off||||||R",
        ],
    );
    let (measurement, alarm) = only(&decoded);
    assert_eq!(measurement.metric.code_in(crate::device::MDC), Some("196674"));
    assert_eq!(measurement.metric.domain, Domain::VitalSigns);
    assert_eq!(alarm.text.as_deref(), Some("SpO2 LOW"));
    assert_eq!((alarm.phase, alarm.state), (Some(AlarmPhase::Start), Some(AlarmState::Active)));
    assert_eq!((alarm.priority, alarm.kind), (Some(AlarmPriority::Medium), Some(AlertKind::Physiological)));
    assert_eq!(alarm.inactivation, [AlarmInactivation::AudioPaused, AlarmInactivation::AlarmOff]);
    assert_eq!(alarm.source.as_ref().map(|source| &*source.code), Some("150456"));
    assert_eq!(alarm.episode.as_deref(), Some("a1b2c3d4-start"));
    assert_eq!(measurement.interpretation.iter().map(|flag| &**flag).collect::<Vec<_>>(), ["L"]);
    assert_eq!(measurement.reference_range.as_deref(), Some("90-100"));
    // The value that raised it is a measurement of its own.
    assert_eq!(decoded.measurements(), 2, "{decoded:?}");
    assert!(decoded.findings.is_empty(), "{:?}", decoded.findings);
}

#[test]
fn an_update_and_an_end_name_the_start_in_whichever_half_of_obr_29() {
    for parent in
        ["^a1b2c3d4-start&BOX&00A0370000000101&EUI-64", "a1b2c3d4-start^a1b2c3d4-start", "a1b2c3d4-start"]
    {
        let obr = format!(
            "OBR|1|p-2^x|other-number^x|196616^MDC_EVT_ALARM^MDC|||20260314135600+0530{}{parent}",
            "|".repeat(22)
        );
        let decoded = decode(
            &obr,
            &[
                "OBX|1|CWE|196616^MDC_EVT_ALARM^MDC|1.1.0.0.1|196674^MDC_EVT_LO_VAL_LT_LIM^MDC||||||F",
                "OBX|2|ST|68165^MDC_ATTR_EVENT_PHASE^MDC|1.1.0.0.3|end||||||F",
            ],
        );
        let (_, alarm) = only(&decoded);
        assert_eq!(alarm.episode.as_deref(), Some("a1b2c3d4-start"), "{parent}");
        assert_eq!(alarm.phase, Some(AlarmPhase::End), "the other set of numbers");
    }
}

#[test]
fn a_counter_that_starts_again_names_an_alarm_only_within_a_day() {
    let row = ["OBX|1|ST|196674^MDC_EVT_LO_VAL_LT_LIM^MDC|1.1.0.1.1|SPO2 LOW|||L~SP|||R"];
    let of = |day: &str| {
        let decoded = decode(&format!("OBR|1||17^x|196616^MDC_EVT_ALARM^MDC|||{day}135500+0530"), &row);
        only(&decoded).1.episode.clone()
    };
    assert_eq!(of("20260314"), of("20260314"));
    assert_ne!(of("20260314"), of("20260315"));
    let nothing = decode("OBR|1||0^x|196616^MDC_EVT_ALARM^MDC|||20260314135500+0530", &row);
    assert_eq!(only(&nothing).1.episode, None);
}

#[test]
fn an_event_without_a_number_is_known_by_its_reference_id_and_never_as_code_zero() {
    let decoded = decode(
        START,
        &[
            "OBX|2|ST|0^MDCX_EVT_ALERT_ADVISORY^MDC|1.0.0.0.1|Alert: check cuff|||A~PM~SA|||R",
            "OBX|3|ST|68164^MDC_ATTR_ALERT_SOURCE^MDC|1.0.0.0.2|GATEWAY_1|||A~PM~SA|||R",
            "OBX|4|ST|68165^MDC_ATTR_EVENT_PHASE^MDC|1.0.0.0.3|update|||A~PM~SA|||R",
            "OBX|5|ST|68166^MDC_ATTR_ALERT_STATE^MDC|1.0.0.0.4|active|||A~PM~SA|||R",
            "OBX|6|ST|68484^MDC_ATTR_ALARM_PRIORITY^MDC|1.0.0.0.6|PL|||A~PM~SA|||R",
        ],
    );
    let (measurement, alarm) = only(&decoded);
    assert_eq!(&*measurement.metric.codings[0].code, "MDCX_EVT_ALERT_ADVISORY");
    assert_eq!(&*measurement.metric.label, "Alert: check cuff");
    assert_eq!(alarm.priority, Some(AlarmPriority::Low), "the attribute counts before the flag");
    assert_eq!(alarm.kind, Some(AlertKind::Advisory));
    assert_eq!(measurement.metric.domain, Domain::Device);
}

#[test]
fn two_events_in_one_order_are_two_alarms() {
    let decoded = decode(
        START,
        &[
            "OBX|1|ST|196674^MDC_EVT_LO_VAL_LT_LIM^MDC|1.1.0.1.1|SPO2 LOW|||L~PH|||R",
            "OBX|2|ST|68481^MDC_ATTR_EVENT_PHASE^MDC|1.1.0.1.3|start||||||R",
            "OBX|3|ST|196658^MDC_EVT_HI_VAL_GT_LIM^MDC|1.2.0.1.1|HR HIGH|||H~PM|||R",
            "OBX|4|ST|68481^MDC_ATTR_EVENT_PHASE^MDC|1.2.0.1.3|end||||||R",
        ],
    );
    let phases: Vec<_> = decoded.reports[0]
        .measurements
        .iter()
        .map(|m| match &m.value {
            Value::Alarm(alarm) => (alarm.phase, alarm.priority),
            _ => (None, None),
        })
        .collect();
    assert_eq!(
        phases,
        [
            (Some(AlarmPhase::Start), Some(AlarmPriority::High)),
            (Some(AlarmPhase::End), Some(AlarmPriority::Medium))
        ]
    );
}

#[test]
fn a_word_that_is_not_in_the_standard_is_told_and_not_guessed() {
    let decoded = decode(
        START,
        &[
            "OBX|1|ST|196674^MDC_EVT_LO_VAL_LT_LIM^MDC|1.1.0.1.1|SPO2 LOW||||||R",
            "OBX|2|ST|68481^MDC_ATTR_EVENT_PHASE^MDC|1.1.0.1.3|begun||||||R",
        ],
    );
    assert_eq!(only(&decoded).1.phase, None);
    assert!(decoded.findings.iter().any(|f| f.code == "unknown-alarm-word"), "{:?}", decoded.findings);
}

#[test]
fn a_sign_of_life_is_no_alarm() {
    let decoded = decode(START, &["OBX|1|ST|196614^MDC_EVT_ACTIVE^MDC|1.0.0.0.1|||||||R"]);
    assert!(decoded.ignored.is_some() && decoded.reports.is_empty(), "{decoded:?}");
}
