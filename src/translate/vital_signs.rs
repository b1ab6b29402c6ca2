//! The vital-signs profiles of FHIR R4: which LOINC code stands for which profile, and in which units.
//!
//! Source: R4 observation-vitalsigns ("magic values") and the StructureDefinitions heartrate … bp. Whoever carries one of
//! these codes must meet its profile, so the table is the one place that says what may be claimed.

use crate::device::{Coding, Component, Domain, LOINC, MDC, Metric, MetricClass, Unit, Value};
use crate::nomenclature::{self, BLOOD_PRESSURE_PANEL, MAGIC};

/// The generic profile: category, subject, a time, a value or the reason for its absence.
pub(super) const VITAL_SIGNS: &str = "http://hl7.org/fhir/StructureDefinition/vitalsigns";

const PROFILES: [(&str, &str); 9] = [
    ("8867-4", "http://hl7.org/fhir/StructureDefinition/heartrate"),
    ("9279-1", "http://hl7.org/fhir/StructureDefinition/resprate"),
    ("2708-6", "http://hl7.org/fhir/StructureDefinition/oxygensat"),
    ("8310-5", "http://hl7.org/fhir/StructureDefinition/bodytemp"),
    ("29463-7", "http://hl7.org/fhir/StructureDefinition/bodyweight"),
    ("8302-2", "http://hl7.org/fhir/StructureDefinition/bodyheight"),
    ("9843-4", "http://hl7.org/fhir/StructureDefinition/headcircum"),
    ("39156-5", "http://hl7.org/fhir/StructureDefinition/bmi"),
    (BLOOD_PRESSURE_PANEL, "http://hl7.org/fhir/StructureDefinition/bp"),
];

const SYSTOLIC: &str = "8480-6";
const DIASTOLIC: &str = "8462-4";
const MEAN: &str = "8478-0";
/// The unit the bp profile fixes for its members.
const MM_HG: &str = "mm[Hg]";

/// LOINC codes that say a base code more narrowly; MDC codes carry theirs in the nomenclature.
const NARROWER: [(&str, &str); 8] = [
    ("8889-8", "8867-4"),
    ("59408-5", "2708-6"),
    ("8331-1", "8310-5"),
    ("8328-7", "8310-5"),
    ("8333-7", "8310-5"),
    ("3141-9", "29463-7"),
    ("3137-7", "8302-2"),
    ("35094-2", BLOOD_PRESSURE_PANEL),
];

/// The base LOINC code that `metric` needs beside its own codes; `None` when it has it or needs none.
pub(super) fn missing_base(metric: &Metric) -> Option<&'static str> {
    if metric.domain != Domain::VitalSigns
        || matches!(metric.class, MetricClass::Setting | MetricClass::QualityControl | MetricClass::Alarm)
    {
        return None;
    }
    let base = base_code(metric)?;
    let has = metric.codings.iter().any(|c| &*c.system == LOINC && &*c.code == base);
    (!has).then_some(base)
}

/// The code by which a vital-signs profile knows `metric`: its own, else the one its codes stand for.
pub(super) fn base_code(metric: &Metric) -> Option<&'static str> {
    let magic = |code: &str| {
        let all = MAGIC.iter().map(|magic| magic.code).chain([BLOOD_PRESSURE_PANEL]);
        all.into_iter().find(|loinc| *loinc == code)
    };
    let own = metric.codings.iter().filter(|c| &*c.system == LOINC).find_map(|c| magic(&c.code));
    let implied = |c: &Coding| match &*c.system {
        LOINC => NARROWER.iter().find(|(narrow, _)| *narrow == &*c.code).map(|(_, base)| *base),
        MDC => nomenclature::term(c.code.parse().ok()?)?.loinc.iter().find_map(|loinc| magic(loinc.code)),
        _ => None,
    };
    own.or_else(|| metric.codings.iter().find_map(implied))
}

/// The profile that `value` of `metric` meets, category, subject and time given: its own, else the generic one.
pub(super) fn profile(metric: &Metric, value: Option<&Value>) -> &'static str {
    let own = base_code(metric).and_then(|code| PROFILES.iter().find(|(loinc, _)| *loinc == code));
    let Some((loinc, profile)) = own else { return VITAL_SIGNS };
    let met = match value {
        None => *loinc != BLOOD_PRESSURE_PANEL,
        Some(Value::Numeric { unit: Some(unit), .. }) => {
            let units = nomenclature::vital_sign_units(loinc).unwrap_or_default();
            units.contains(&ucum(unit, Some(loinc)))
        }
        Some(Value::Compound(parts)) if *loinc == BLOOD_PRESSURE_PANEL => is_pressure_panel(parts),
        Some(_) => false,
    };
    if met { profile } else { VITAL_SIGNS }
}

/// bp profile: at most one systolic and one diastolic component, and whatever pressure has a value has it in mm[Hg].
fn is_pressure_panel(parts: &[Component]) -> bool {
    let count = |code| parts.iter().filter(|part| base_code(&part.metric) == Some(code)).count();
    let fits = |part: &Component| match &part.value {
        Value::Numeric { unit: Some(unit), .. } => &*unit.ucum == MM_HG,
        Value::Absent(_) => true,
        _ => false,
    };
    let is_pressure =
        |part: &&Component| matches!(base_code(&part.metric), Some(SYSTOLIC | DIASTOLIC | MEAN));
    let mut pressures = parts.iter().filter(is_pressure).peekable();
    // A member that is missing is added as absent: see `missing_members`.
    count(SYSTOLIC) <= 1 && count(DIASTOLIC) <= 1 && pressures.peek().is_some() && pressures.all(fits)
}

/// The members the bp profile asks for that a panel does not have.
pub(super) fn missing_members(metric: &Metric, parts: &[Component]) -> impl Iterator<Item = &'static str> {
    let is_panel = base_code(metric) == Some(BLOOD_PRESSURE_PANEL) && is_pressure_panel(parts);
    let lacks = |code: &str| is_panel && !parts.iter().any(|part| base_code(&part.metric) == Some(code));
    let (systolic, diastolic) = (lacks(SYSTOLIC), lacks(DIASTOLIC));
    systolic.then_some(SYSTOLIC).into_iter().chain(diastolic.then_some(DIASTOLIC))
}

/// The unit that a metric without a value would have had, when its profile allows only one.
pub(super) fn only_unit(metric: &Metric) -> Option<&'static str> {
    match nomenclature::vital_sign_units(base_code(metric)?)? {
        [unit] => Some(unit),
        _ => None,
    }
}

/// The UCUM code to write. A rate that counts beats or breaths is `/min` to the profile: `{beats}/min` says the same
/// with an annotation, which UCUM section 6 gives no meaning.
pub(super) fn ucum<'a>(unit: &'a Unit, loinc: Option<&str>) -> &'a str {
    let rate = matches!(loinc, Some("8867-4" | "9279-1"));
    match unit.ucum.rsplit_once('}') {
        Some((annotation, "/min")) if rate && annotation.starts_with('{') => "/min",
        _ if rate && &*unit.ucum == "1/min" => "/min",
        _ => &unit.ucum,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{AbsentReason, MeasurementStatus};
    use std::sync::Arc;

    fn metric(system: &str, code: &str) -> Metric {
        Metric {
            codings: vec![Coding::new(system, code, None)],
            label: "x".into(),
            domain: Domain::VitalSigns,
            class: MetricClass::Measurement,
            site: None,
        }
    }

    fn numeric(ucum: &str) -> Value {
        let unit = Unit { ucum: ucum.into(), display: ucum.into() };
        Value::Numeric { value: "1".parse().unwrap(), comparator: None, unit: Some(unit) }
    }

    fn part(code: &str, value: Value) -> Component {
        Component { metric: Arc::new(metric(MDC, code)), value, status: MeasurementStatus::default() }
    }

    #[test]
    fn the_base_code_is_found_behind_any_code_that_stands_for_it() {
        for (system, code, base) in [
            (MDC, "147842", "8867-4"),
            (MDC, "149530", "8867-4"),
            (MDC, "150456", "2708-6"),
            (MDC, "150364", "8310-5"),
            (MDC, "150020", "85354-9"),
            (MDC, "150021", "8480-6"),
            (LOINC, "59408-5", "2708-6"),
            (LOINC, "3141-9", "29463-7"),
        ] {
            assert_eq!(missing_base(&metric(system, code)), Some(base), "{code}");
        }
        for (_, base) in NARROWER {
            assert!(PROFILES.iter().any(|(loinc, _)| *loinc == base));
        }
        assert_eq!(missing_base(&metric(LOINC, "8867-4")), None);
        assert_eq!(missing_base(&metric("urn:x", "147842")), None);
        let setting = Metric { class: MetricClass::Setting, ..metric(MDC, "147842") };
        assert_eq!(missing_base(&setting), None);
    }

    #[test]
    fn a_profile_is_claimed_only_in_its_own_units() {
        for (code, unit, met) in [
            ("8867-4", "/min", true),
            ("8867-4", "{beats}/min", true),
            ("8867-4", "/s", false),
            ("8310-5", "[degF]", true),
            ("8310-5", "K", false),
            ("29463-7", "{kg}", false),
            ("2708-6", "%", true),
            ("2708-6", "1", false),
        ] {
            let profile = profile(&metric(LOINC, code), Some(&numeric(unit)));
            assert_eq!(profile != VITAL_SIGNS, met, "{code} {unit}");
        }
        assert_eq!(profile(&metric(LOINC, "8867-4"), Some(&Value::Text("fast".into()))), VITAL_SIGNS);
        assert_ne!(profile(&metric(LOINC, "8867-4"), None), VITAL_SIGNS);
        assert_eq!(profile(&metric(LOINC, BLOOD_PRESSURE_PANEL), None), VITAL_SIGNS);
    }

    #[test]
    fn a_panel_that_lacks_a_pressure_is_completed_and_one_in_another_unit_is_not_claimed() {
        let panel = metric(MDC, "150020");
        let full = [part("150021", numeric(MM_HG)), part("150022", Value::Absent(AbsentReason::Error))];
        assert_eq!(missing_members(&panel, &full).count(), 0);
        let names: Vec<_> = missing_members(&panel, &full[..1]).collect();
        assert_eq!(names, [DIASTOLIC]);
        for parts in [vec![part("150021", numeric("kPa"))], vec![], vec![full[0].clone(), full[0].clone()]] {
            assert_eq!(missing_members(&panel, &parts).count(), 0);
            assert_eq!(profile(&panel, Some(&Value::Compound(parts))), VITAL_SIGNS);
        }
    }
}
