//! MeasurementStatus → FHIR, row by row: PoCD guide (mappingv2, mappingdim) and PHD guide (Measurement-Status).

use crate::device::{AbsentReason, MeasurementStatus};
use crate::fhir::{CodeableConcept, Coding};

/// v3-ActReason; HTEST marks what must never be taken for a patient's data.
const ACT_REASON: &str = "http://terminology.hl7.org/CodeSystem/v3-ActReason";
const OBSERVATION_VALUE: &str = "http://terminology.hl7.org/CodeSystem/v3-ObservationValue";
const INTERPRETATION: &str = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation";
const MEASUREMENT_STATUS: &str = "http://hl7.org/fhir/uv/pocd/CodeSystem/measurement-status";
const DATA_ABSENT_REASON: &str = "http://terminology.hl7.org/CodeSystem/data-absent-reason";

/// The security label of test and demonstration data.
pub(super) const HTEST: Coding<'static> = Coding::fixed(ACT_REASON, "HTEST", "test health data");

/// Why a value must not be shown although one may have been sent; `None` when the value stands.
///
/// A monitor that is not available now will be again (mappingv2: NAV, OBX-8); a personal device did not measure (PHD).
pub(super) fn absent(status: MeasurementStatus, point_of_care: bool) -> Option<AbsentReason> {
    if status.off {
        Some(AbsentReason::NotPerformed)
    } else if status.invalid {
        Some(AbsentReason::Error)
    } else if status.not_available {
        Some(if point_of_care { AbsentReason::TempUnknown } else { AbsentReason::NotPerformed })
    } else if status.msmt_ongoing {
        Some(AbsentReason::TempUnknown)
    } else {
        None
    }
}

/// `dataAbsentReason`.
pub(super) fn absent_concept(reason: AbsentReason) -> CodeableConcept<'static> {
    let display = match reason {
        AbsentReason::Unknown => "Unknown",
        AbsentReason::TempUnknown => "Temporarily Unknown",
        AbsentReason::NotPerformed => "Not Performed",
        AbsentReason::NotANumber => "Not a Number (NaN)",
        AbsentReason::PositiveInfinity => "Positive Infinity (PINF)",
        AbsentReason::NegativeInfinity => "Negative Infinity (NINF)",
        AbsentReason::Error => "Error",
        AbsentReason::AskedUnknown => "Asked But Unknown",
        AbsentReason::NotApplicable => "Not Applicable",
        AbsentReason::Unsupported => "Unsupported",
        AbsentReason::AsText => "As Text",
    };
    CodeableConcept::of(Coding::fixed(DATA_ABSENT_REASON, reason.code(), display))
}

/// The interpretations a status asks for. `alarm-inhibited` is spelt as in mappingdim and the PHD guide (mappingv2 alone
/// has `al-inhibited`).
pub(super) fn interpretations(status: MeasurementStatus) -> impl Iterator<Item = CodeableConcept<'static>> {
    [
        (status.questionable, "questionable", "Questionable"),
        (status.calibration_ongoing, "calibration-ongoing", "Calibration ongoing"),
        (status.validated, "validated-data", "Validated"),
        (status.early_indication, "early-indication", "Early indication"),
        (status.msmt_ongoing, "msmt-ongoing", "Measurement ongoing"),
        (status.in_alarm, "in-alarm", "In alarm"),
        (status.alarm_inhibited, "alarm-inhibited", "Alarm inhibited"),
    ]
    .into_iter()
    .filter(|(set, ..)| *set)
    .map(|(_, code, text)| CodeableConcept {
        coding: vec![Coding {
            system: Some(MEASUREMENT_STATUS.into()),
            code: Some(code.into()),
            display: None,
        }],
        text: Some(text.into()),
    })
}

/// An HL7 table 0078 code (`H`, `LL`, `A` …); what the table does not know stays a text.
pub(super) fn interpretation(code: &str) -> Option<CodeableConcept<'_>> {
    let code = super::clean::text(code)?;
    let display = match &*code {
        "<" => "Off scale low",
        ">" => "Off scale high",
        "A" => "Abnormal",
        "AA" => "Critical abnormal",
        "B" => "Better",
        "D" => "Significant change down",
        "DET" => "Detected",
        "E" => "Equivocal",
        "H" => "High",
        "H>" | "HU" => "Significantly high",
        "HH" => "Critical high",
        "I" => "Intermediate",
        "IND" => "Indeterminate",
        "L" => "Low",
        "L<" | "LU" => "Significantly low",
        "LL" => "Critical low",
        "MS" => "moderately susceptible",
        "N" => "Normal",
        "ND" => "Not detected",
        "NEG" => "Negative",
        "NR" => "Non-reactive",
        "NS" => "Non-susceptible",
        "POS" => "Positive",
        "QCF" => "Quality control failure",
        "R" => "Resistant",
        "RR" => "Reactive",
        "S" => "Susceptible",
        "SDD" => "Susceptible-dose dependent",
        "U" => "Significant change up",
        "VS" => "very susceptible",
        "W" => "Worse",
        "WR" => "Weakly reactive",
        _ => return Some(CodeableConcept::text(code)),
    };
    Some(CodeableConcept::of(Coding {
        system: Some(INTERPRETATION.into()),
        code: Some(code),
        display: Some(display.into()),
    }))
}

/// `meta.security` of an Observation whose parts carry `statuses`. "Reliable" is said only for a point-of-care device
/// that set no bit at all: other devices have no such statement to make.
pub(super) fn security(
    statuses: impl Iterator<Item = MeasurementStatus> + Clone,
    point_of_care: bool,
    simulated: bool,
) -> Vec<Coding<'static>> {
    let any = |bit: fn(MeasurementStatus) -> bool| statuses.clone().any(bit);
    let mut labels = Vec::new();
    if simulated || any(|s| s.test_data || s.demo_data) {
        labels.push(HTEST);
    }
    if any(|s| s.invalid) {
        labels.push(Coding::fixed(OBSERVATION_VALUE, "UNRELIABLE", "unreliable"));
    }
    if any(|s| s.questionable || s.calibration_ongoing) {
        labels.push(Coding::fixed(OBSERVATION_VALUE, "UNCERTREL", "uncertain reliability"));
    }
    if any(|s| s.validated) {
        labels.push(Coding::fixed(OBSERVATION_VALUE, "HRELIABLE", "highly reliable"));
    }
    if point_of_care && labels.is_empty() && !any(|s| s != MeasurementStatus::default()) {
        labels.push(Coding::fixed(OBSERVATION_VALUE, "RELIABLE", "reliable"));
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    type Bit = fn(&mut MeasurementStatus);

    fn codes(concepts: impl Iterator<Item = CodeableConcept<'static>>) -> Vec<String> {
        concepts.flat_map(|c| c.coding).filter_map(|c| c.code).map(Into::into).collect()
    }

    #[test]
    fn every_bit_says_what_the_guides_table_says() {
        let none = "";
        let rows: [(Bit, &str, &str, &str); 12] = [
            (|s| s.invalid = true, "UNRELIABLE", "error", none),
            (|s| s.questionable = true, "UNCERTREL", none, "questionable"),
            (|s| s.not_available = true, none, "temp-unknown", none),
            (|s| s.calibration_ongoing = true, "UNCERTREL", none, "calibration-ongoing"),
            (|s| s.test_data = true, "HTEST", none, none),
            (|s| s.demo_data = true, "HTEST", none, none),
            (|s| s.validated = true, "HRELIABLE", none, "validated-data"),
            (|s| s.early_indication = true, none, none, "early-indication"),
            (|s| s.msmt_ongoing = true, none, "temp-unknown", "msmt-ongoing"),
            (|s| s.off = true, none, "not-performed", none),
            (|s| s.in_alarm = true, none, none, "in-alarm"),
            (|s| s.alarm_inhibited = true, none, none, "alarm-inhibited"),
        ];
        for (set, label, reason, interpretation) in rows {
            let mut status = MeasurementStatus::default();
            set(&mut status);
            let labels: Vec<_> =
                security([status].into_iter(), true, false).into_iter().filter_map(|c| c.code).collect();
            assert_eq!(labels.join(" "), label, "{status:?}");
            assert_eq!(absent(status, true).map_or(none, AbsentReason::code), reason, "{status:?}");
            assert_eq!(codes(interpretations(status)).join(" "), interpretation, "{status:?}");
        }
    }

    #[test]
    fn only_a_monitor_without_any_bit_is_called_reliable() {
        let plain = [MeasurementStatus::default()].into_iter();
        assert_eq!(security(plain.clone(), true, false)[0].code.as_deref(), Some("RELIABLE"));
        assert!(security(plain.clone(), false, false).is_empty());
        assert_eq!(security(plain, true, true), [HTEST]);
    }

    #[test]
    fn a_personal_device_that_is_not_available_did_not_measure() {
        let status = MeasurementStatus { not_available: true, ..MeasurementStatus::default() };
        assert_eq!(absent(status, false), Some(AbsentReason::NotPerformed));
    }

    #[test]
    fn a_code_outside_table_0078_stays_a_text() {
        assert_eq!(interpretation("PM"), Some(CodeableConcept::text("PM")));
        assert_eq!(interpretation("HH").unwrap().coding[0].display.as_deref(), Some("Critical high"));
        assert_eq!(interpretation(" "), None);
    }
}
