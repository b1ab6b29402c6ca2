// The captures of the GE pages are made here, by an encoder of our own: no monitor was at hand.

use super::*;
use crate::device::{Measurement, MeasurementStatus};
use crate::firmware_profile::{Decoded, Library};
use crate::wire::dri::record::{encode, framed};

/// 13:59:50 on the wall of the monitor, ten seconds before the goldens are received.
const CLOCK: u32 = 1_773_496_790;
const INVALID: i16 = -32767;

/// A class with everything invalid and no module there.
struct Class(Vec<u8>);

impl Class {
    fn new() -> Self {
        let mut bytes: Vec<u8> = INVALID.to_le_bytes().repeat(135);
        // Headers say that nothing is there; fields that are no headers stay invalid.
        for group in [0, 1, 2, 3].into_iter().filter_map(groups::of_class).flatten() {
            bytes[group.at..group.at + 6].fill(0);
        }
        Self(bytes)
    }

    fn group(mut self, at: usize, status: u32, label: u16, values: &[i16]) -> Self {
        let mut bytes = status.to_le_bytes().to_vec();
        bytes.extend(label.to_le_bytes());
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        self.0[at..at + bytes.len()].copy_from_slice(&bytes);
        self
    }

    fn subrecord(self, class: u8) -> Vec<u8> {
        [&CLOCK.to_le_bytes()[..], &self.0, &[0, 0, 0, class]].concat()
    }
}

fn displayed(classes: Vec<(u8, Class)>) -> Vec<u8> {
    let bodies: Vec<Vec<u8>> = classes.into_iter().map(|(number, class)| class.subrecord(number)).collect();
    let starts: Vec<(u16, u8)> = (0..bodies.len()).map(|at| (u16::try_from(at * 278).unwrap(), 1)).collect();
    framed(&encode(1, CLOCK, MAIN_PHYSIOLOGICAL, &starts, &bodies.concat()))
}

fn resting() -> Class {
    Class::new()
        .group(0, 3 | (1 << 3), 2, &[72, 15, INVALID, INVALID, 16])
        .group(72, 3, 3, &[12_800, 7_900, 9_500, 71])
        .group(118, 3, 0, &[9_750, 72, 310, INVALID])
        .group(86, 3, 7, &[3_340])
}

fn ventilated() -> Vec<u8> {
    let basic = resting()
        .group(16, 3, 1, &[11_800, 6_400, 8_200, 72])
        .group(30, 3, 2, &[INVALID, INVALID, 850, INVALID])
        .group(44, 3, 9, &[2_400, 1_100, 1_500, INVALID])
        .group(94, 3, 15, &[3_690])
        .group(102, 3, 9, &[2_150])
        .group(132, 3, 1, &[512, 0, 14, 7_580])
        .group(146, 3, 0, &[3_550, 4_080])
        .group(156, 3, 0, &[0, 0])
        .group(166, 3, 6, &[180, 210, 95])
        .group(178, 3, 0, &[14, 1_850, 520, 1_720, 4_810, 4_750, 4_100, 665])
        .group(200, 3, 1, &[5_120, 3_702, 4_100, 1_150])
        .group(214, 3, 0, &[850, 320, 0]);
    let first = Class::new().group(48, 3, 0, &[10, 15, 5, 3, -12, 8, -5, 0, 20, 25, 18, 10]);
    let second = Class::new().group(96, 3, 0, &[45, 92, 31, 0, 0]).group(112, 3, 0, &[44, 46, 0]);
    let third = Class::new().group(14, 3, 0, &[80, 900, 1_100, 670, 500, 0]);
    displayed(vec![(0, basic), (1, first), (2, second), (3, third)])
}

fn no_sensors() -> Vec<u8> {
    let basic = Class::new()
        .group(0, 3, 0, &[-32766, -32765, -32764, -32763, -32762])
        .group(118, 3, 0, &[INVALID, -32100, INVALID, INVALID])
        .group(72, 3, 0x103, &[12_800, 7_900, 9_500, 71])
        .group(86, 1, 0, &[3_700]);
    displayed(vec![(0, basic)])
}

fn waves() -> Vec<u8> {
    let wave = |status: u16, samples: &[i16]| {
        let mut bytes = u16::try_from(samples.len()).unwrap().to_le_bytes().to_vec();
        bytes.extend(status.to_le_bytes());
        bytes.extend([0, 0]);
        bytes.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
        bytes
    };
    let record = |time: u32, status: u16, ecg: &[i16], pleth: &[i16]| {
        let ecg = wave(status, ecg);
        let at = u16::try_from(ecg.len()).unwrap();
        let body = [ecg, wave(0, pleth)].concat();
        framed(&encode(1, time, MAIN_WAVE, &[(0, 1), (at, 8)], &body))
    };
    [
        record(CLOCK, 0, &[10, 25, 950, -120, 5, 0], &[1_000, 1_250]),
        record(CLOCK, 4, &[3, INVALID, 8], &[1_400]),
        record(CLOCK + 5, 1, &[7, 7, 7], &[1_500]),
        record(CLOCK + 5, 9, &[0, 0, 0], &[1_450]),
    ]
    .concat()
}

fn alarms() -> Vec<u8> {
    let mut body = vec![0; 10];
    for (text, colour) in [("SpO2 LOW", 2u8), ("ASYSTOLE", 3), ("", 0), ("", 0), ("", 0)] {
        let mut alarm = text.as_bytes().to_vec();
        alarm.resize(80, 0);
        alarm.extend([1, 0, colour, 0, 0, 0]);
        alarm.resize(98, 0);
        body.extend(alarm);
    }
    body.extend([0; 10]);
    framed(&encode(1, CLOCK, MAIN_ALARM, &[(0, 1)], &body))
}

fn damaged() -> Vec<u8> {
    let mut wrong = displayed(vec![(0, resting())]);
    wrong[90] ^= 1;
    [displayed(vec![(0, resting())]), wrong].concat()
}

fn captures() -> Vec<(&'static str, Vec<u8>)> {
    let (resting, ventilated) = (displayed(vec![(0, resting())]), ventilated());
    vec![
        ("ge/datex-s5/captures/resting.hex", resting.clone()),
        ("ge/datex-s5/captures/ventilated.hex", ventilated.clone()),
        ("ge/datex-s5/captures/no-sensors.hex", no_sensors()),
        ("ge/datex-s5/captures/waves.hex", waves()),
        ("ge/datex-s5/captures/alarms.hex", alarms()),
        ("ge/datex-s5/captures/damaged.hex", damaged()),
        ("ge/carescape-dri/captures/resting.hex", resting),
        ("ge/carescape-dri/captures/ventilated.hex", ventilated),
        ("ge/carescape-dri/captures/no-sensors.hex", no_sensors()),
    ]
}

#[test]
fn the_captures_are_what_the_encoder_makes() {
    super::super::tests::compare_captures(&captures());
}

fn decoded(bytes: &[u8]) -> Decoded {
    let profile = Library::embedded().unwrap().find("ge/datex-s5").unwrap();
    profile.decode(bytes, None, &LinkContext::golden())
}

fn all(bytes: &[u8]) -> Vec<Measurement> {
    decoded(bytes).reports.into_iter().flat_map(|report| report.measurements).collect()
}

fn says(bytes: &[u8]) -> Vec<String> {
    let word = |value: &Value| match value {
        Value::Numeric { value, unit, .. } => format!("{value} {}", unit.as_ref().map_or("", |u| &u.ucum)),
        Value::Absent(reason) => reason.code().into(),
        other => other.kind().into(),
    };
    let mut lines = Vec::new();
    for measurement in all(bytes) {
        match &measurement.value {
            Value::Compound(parts) => {
                lines.extend(parts.iter().map(|p| format!("{}: {}", p.metric.label, word(&p.value))));
            }
            value => lines.push(format!("{}: {}", measurement.metric.label, word(value))),
        }
    }
    lines
}

#[test]
fn displayed_values_have_their_scale_and_unit() {
    let lines = says(&ventilated());
    for line in [
        "Heart rate: 72 /min",
        "Systolic pressure, cuff: 128.00 mm[Hg]",
        "Systolic pressure, arterial line: 118.00 mm[Hg]",
        "Central venous pressure, mean: 8.50 mm[Hg]",
        "Invasive pressure P1, mean: 15.00 mm[Hg]",
        "SpO2: 97.50 %",
        "Core temperature: 36.90 Cel",
        "Room temperature: 21.50 Cel",
        "End-tidal CO2: 5.12 %",
        "Inspired CO2: 0.00 %",
        "Inspired sevoflurane: 2.10 %",
        "Tidal volume, expired: 475.0 mL",
        "PEEP: 5.20 cm[H2O]",
        "Pulmonary wedge pressure: 11.50 mm[Hg]",
        "Train-of-four ratio: 32.0 %",
        "ST lead aVR: -0.12 mm",
        "Bispectral index: 45 {index}",
        "State entropy: 44 {index}",
        "Mean airway pressure: 9.00 cm[H2O]",
    ] {
        assert!(lines.iter().any(|known| known == line), "{line} in {lines:#?}");
    }
    assert!(!lines.iter().any(|line| line.starts_with("Cardiac output")), "its label says it is old");
}

#[test]
fn a_special_value_is_absent_with_its_reason_and_never_zero() {
    let found: Vec<(String, Value, MeasurementStatus, Vec<std::sync::Arc<str>>)> = all(&no_sensors())
        .into_iter()
        .map(|m| (m.metric.label.to_string(), m.value, m.status, m.interpretation))
        .collect();
    let reason = |label: &str| match found.iter().find(|(own, ..)| own == label) {
        Some((_, Value::Absent(reason), ..)) => Some(reason.code()),
        _ => None,
    };
    assert_eq!(reason("Heart rate"), Some("temp-unknown"));
    assert_eq!(reason("ST, channel 1"), Some("temp-unknown"));
    assert_eq!(reason("ST, channel 2"), Some("negative-infinity"));
    assert_eq!(reason("ST, channel 3"), Some("positive-infinity"));
    assert_eq!(reason("Respiratory rate, impedance"), Some("error"));
    assert_eq!(reason("SpO2"), Some("temp-unknown"));
    assert_eq!(reason("Pulse rate, oximeter"), Some("unknown"), "a value the document does not name");
    assert!(
        !found.iter().any(|(label, ..)| label.contains("cuff")),
        "an old cuff pressure is not told again"
    );
    let (_, _, status, _) = found.iter().find(|(label, ..)| label.starts_with("Temperature")).unwrap();
    assert!(status.questionable, "a value of a module that does not measure");
    assert!(found.iter().any(|(.., marks)| marks.iter().any(|mark| &**mark == ">")));
}

#[test]
fn the_clock_of_the_monitor_is_a_wall_clock_of_the_ward() {
    let measurements = all(&displayed(vec![(0, resting())]));
    // 13:59:50 in Kolkata.
    assert_eq!(measurements[0].taken.micros, 1_773_476_990_000_000);
    assert!(decoded(&displayed(vec![(0, resting())])).findings.iter().any(|f| f.code == "no-zone"));
}

#[test]
fn waves_that_follow_each_other_are_one_array_and_a_gap_begins_another() {
    let arrays: Vec<_> = all(&waves())
        .into_iter()
        .filter_map(|m| match m.value {
            Value::SampleArray { samples, period_ms, .. } => {
                Some((m.metric.label.to_string(), samples, period_ms))
            }
            _ => None,
        })
        .collect();
    let ecg: Vec<_> = arrays.iter().filter(|(label, ..)| label == "ECG").collect();
    assert_eq!(ecg.len(), 3);
    assert_eq!(ecg[0].1.len(), 9);
    assert_eq!(ecg[0].1[7], None, "no sample is a gap, not a zero");
    assert_eq!(ecg[0].2.to_string(), "3.333333");
    assert!(ecg[2].1.iter().all(Option::is_none), "a lead that is off has no samples");
    assert_eq!(arrays.iter().filter(|(label, ..)| label == "Plethysmogram").count(), 1);
}

#[test]
fn an_alarm_has_its_text_and_priority() {
    let alarms = all(&alarms());
    assert_eq!(alarms.len(), 2);
    let Value::Alarm(alarm) = &alarms[1].value else { panic!("no alarm") };
    assert_eq!((alarm.text.as_deref(), alarm.priority.map(|p| p.code())), (Some("ASYSTOLE"), Some("PH")));
}

#[test]
fn a_damaged_record_is_told_and_the_good_one_read() {
    let decoded = decoded(&damaged());
    assert!(decoded.measurements() > 4 && decoded.findings.iter().any(|f| f.code == "bad-record"));
    assert!(super::tests::decoded(b"\x7E\x01\x02\x7E").held.is_some());
}

#[test]
fn nothing_listed_in_the_groups_is_unknown_to_the_page() {
    let unknown: Vec<_> = decoded(&ventilated())
        .findings
        .into_iter()
        .chain(decoded(&waves()).findings)
        .filter(|finding| finding.code == "unknown-code")
        .collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}
