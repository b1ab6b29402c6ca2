//! What a profile can say wrongly although every word of it is right: each check names both ends.

use std::collections::HashMap;

use super::csv::Csv;
use super::fault::did_you_mean;
use super::layout::Layout;
use super::locate::Locator;
use super::metric::ValueKind;
use super::schema::Grammar;
use super::schema_metric::{ReadGroup, ReadMetric};
use super::section::Source;
use super::text::Shape;
use crate::device::LOINC;
use crate::nomenclature;

/// Runs every check; each adds its faults.
pub(super) fn check(
    source: &Source<'_>,
    metrics: &[ReadMetric],
    groups: &[ReadGroup],
    grammar: Option<&Grammar>,
    lists_metrics: bool,
) {
    // HL7 and native pages understand the standard's own codes without a list.
    let knows_codes = matches!(grammar, Some(Grammar::Hl7 | Grammar::Native(_)));
    no_metric(source, lists_metrics || knows_codes);
    duplicate_match(source, metrics);
    duplicate_group(source, groups);
    for metric in metrics {
        place_exists(source, metric, grammar);
        unknown_mdc(source, metric);
        unit_is_ucum(source, metric);
        unit_fits_the_profile(source, metric);
        unit_fits_the_loinc(source, metric);
        loinc_is_a_code(source, metric);
        loinc_beside_mdc(source, metric);
        quantity_has_a_unit(source, metric);
        coded_has_values(source, metric);
        panel_is_a_group(source, metric);
    }
}

fn no_metric(source: &Source<'_>, lists_metrics: bool) {
    if !lists_metrics {
        source.fault(0..0, "the profile lists no [[metric]]: what the device measures");
    }
}

fn line_of(source: &Source<'_>, at: usize) -> usize {
    source.text.get(..at).unwrap_or_default().matches('\n').count() + 1
}

fn duplicate_match(source: &Source<'_>, metrics: &[ReadMetric]) {
    let mut seen: HashMap<(&str, Option<&str>, String), usize> = HashMap::new();
    for metric in metrics {
        for (own, span) in metric.def.matches.iter().zip(&metric.match_spans) {
            // Two metrics may share a place when their conditions differ.
            let key = (
                &*own.code,
                own.system.as_deref(),
                format!("{:?} {:?}", metric.def.when, metric.def.condition),
            );
            if let Some(first) = seen.insert(key, span.start) {
                let line = line_of(source, first);
                let message = format!(
                    "`{}` is already matched on line {line}; a second metric needs a `when`",
                    own.code
                );
                source.fault(span.clone(), message);
            }
        }
    }
}

fn duplicate_group(source: &Source<'_>, groups: &[ReadGroup]) {
    for (at, group) in groups.iter().enumerate() {
        if groups.iter().take(at).any(|earlier| earlier.def.name == group.def.name) {
            source.fault(group.span.clone(), format!("there are two groups named `{}`", group.def.name));
        }
    }
}

/// A metric read from a group or column that the grammar does not have would silently never be there.
fn place_exists(source: &Source<'_>, metric: &ReadMetric, grammar: Option<&Grammar>) {
    if let Some(Grammar::Json(json)) = grammar {
        let coded = metric.def.from.iter().zip(&metric.match_spans);
        for (_, span) in coded.filter(|(at, _)| matches!(at, Locator::Coded(_))) {
            if json.code.is_none() || json.value.is_none() {
                source.fault(span.clone(), "[record] needs `code` and `value` for a match by code:");
            }
        }
    }
    let layouts = |layouts: &'_ [Layout]| -> Vec<String> {
        layouts.iter().flat_map(Layout::names).map(str::to_owned).collect()
    };
    let (names, what): (Vec<String>, &str) = match grammar {
        Some(Grammar::Bytes(all)) => (layouts(all), "field"),
        Some(Grammar::Text(grammar)) => match &grammar.shape {
            Shape::Regex(patterns) => {
                let all = patterns.iter().chain(&grammar.context).flat_map(|p| p.capture_names().flatten());
                let names: Vec<String> = all.map(str::to_owned).collect();
                if names.iter().any(|name| name == "key") {
                    return;
                }
                (names, "named group")
            }
            Shape::Columns { names, .. } => (names.iter().map(|name| name.to_string()).collect(), "column"),
            Shape::Csv(Csv { header: None, layouts: all, .. }) => (layouts(all), "field"),
            Shape::Csv(_) | Shape::KeyValue { .. } => return,
        },
        _ => return,
    };
    for (at, span) in metric.def.from.iter().zip(&metric.match_spans) {
        let Locator::Name(name) = at else { continue };
        if !names.iter().any(|known| **known == **name) {
            let hint = did_you_mean(name, names.iter().map(String::as_str))
                .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            source.fault(span.clone(), format!("[record] has no {what} `{name}`{hint}"));
        }
    }
}

fn unknown_mdc(source: &Source<'_>, metric: &ReadMetric) {
    let Some(mdc) = metric.mdc else { return };
    if (4..=6).contains(&(mdc >> 16)) {
        let message = format!("MDC {mdc} is a unit, not a metric: units are written in UCUM, in `unit`");
        source.fault(metric.mdc_span.clone(), message);
    } else if nomenclature::term(mdc).is_none() && !metric.labelled {
        let message =
            format!("MDC {mdc} is not in the nomenclature: check the number, or say in `label` what it is");
        source.fault(metric.mdc_span.clone(), message);
    }
}

/// A laboratory LOINC code is true in the units of its property (mass or amount of substance) only.
fn unit_fits_the_loinc(source: &Source<'_>, metric: &ReadMetric) {
    for rule in metric.def.loincs.iter().filter(|rule| rule.units.is_empty()) {
        let known = nomenclature::TERMS.iter().copied().flatten().flat_map(|term| term.loinc);
        let known: Vec<_> = known.filter(|loinc| *loinc.code == *rule.code).collect();
        if known.is_empty() || known.iter().any(|loinc| loinc.units.is_empty()) {
            continue;
        }
        let mut allowed: Vec<&str> = known.iter().flat_map(|loinc| loinc.units).copied().collect();
        allowed.sort_unstable();
        allowed.dedup();
        for unit in metric.ucum.iter().filter(|unit| nomenclature::is_ucum(&unit.value)) {
            if !allowed.contains(&unit.value.as_str()) {
                let (code, units) = (&rule.code, allowed.join(" or "));
                let message = format!(
                    "LOINC {code} is for {units}, not for `{}`: write loinc = [{{ code = …, unit = … }}] with the \
                     code for each unit",
                    unit.value
                );
                source.fault(unit.span.clone(), message);
            }
        }
    }
}

fn unit_is_ucum(source: &Source<'_>, metric: &ReadMetric) {
    for unit in &metric.ucum {
        if nomenclature::is_ucum(&unit.value) {
            continue;
        }
        let hint = nomenclature::spelled_unit(&unit.value).map_or_else(
            || ": write UCUM such as mm[Hg], /min or Cel, and the device's spelling in `units`".into(),
            |ucum| format!("; in UCUM it is `{ucum}`"),
        );
        source.fault(unit.span.clone(), format!("`{}` is not a UCUM unit{hint}", unit.value));
    }
}

/// The R4 vital-signs profiles fix the units beside their LOINC codes.
fn unit_fits_the_profile(source: &Source<'_>, metric: &ReadMetric) {
    for rule in metric.def.loincs.iter().filter(|rule| rule.units.is_empty()) {
        let Some(allowed) = nomenclature::vital_sign_units(&rule.code) else { continue };
        for unit in &metric.ucum {
            if nomenclature::is_ucum(&unit.value) && !allowed.contains(&unit.value.as_str()) {
                source.fault(
                    unit.span.clone(),
                    format!(
                        "LOINC {} is a vital sign and FHIR allows only {} for it, not `{}`; convert it with `units`",
                        rule.code,
                        allowed.join(" or "),
                        unit.value
                    ),
                );
            }
        }
    }
}

/// A LOINC number ends in its check digit (mod 10, as LOINC prints it).
fn loinc_is_a_code(source: &Source<'_>, metric: &ReadMetric) {
    for rule in &metric.def.loincs {
        if !is_loinc(&rule.code) {
            source.fault(
                metric.loinc_span.clone(),
                format!("`{}` is not a LOINC code: the form or the check digit is wrong", rule.code),
            );
        }
    }
}

fn is_loinc(code: &str) -> bool {
    let Some((number, check)) = code.split_once('-') else { return false };
    if number.is_empty() || number.len() > 7 || !number.bytes().all(|b| b.is_ascii_digit()) {
        return false;
    }
    // Luhn: every second digit from the right is doubled.
    let sum: u32 = number
        .bytes()
        .rev()
        .enumerate()
        .map(|(at, digit)| {
            let digit = u32::from(digit - b'0');
            let digit = if at % 2 == 0 { digit * 2 } else { digit };
            digit / 10 + digit % 10
        })
        .sum();
    check.parse() == Ok((10 - sum % 10) % 10)
}

fn loinc_beside_mdc(source: &Source<'_>, metric: &ReadMetric) {
    let Some(term) = metric.mdc.and_then(nomenclature::term) else { return };
    let magic = term.loinc.iter().find(|loinc| nomenclature::vital_sign_units(loinc.code).is_some());
    let Some(magic) = magic.filter(|_| metric.def.kind != ValueKind::Ignore) else { return };
    let listed = metric.def.loincs.iter().any(|rule| *rule.code == *magic.code)
        || metric.def.codings.iter().any(|coding| *coding.code == *magic.code && &*coding.system == LOINC);
    if !listed {
        let (code, refid) = (term.code, term.refid);
        let message =
            format!("MDC {code} ({refid}) needs LOINC {} beside it to be a FHIR vital sign", magic.code);
        source.fault(metric.loinc_span.clone(), message);
    }
}

fn quantity_has_a_unit(source: &Source<'_>, metric: &ReadMetric) {
    let magic = metric.def.loincs.iter().any(|rule| nomenclature::vital_sign_units(&rule.code).is_some());
    let unit_known =
        metric.def.unit.is_some() || !metric.def.units.is_empty() || metric.def.unit_from.is_some();
    let stated = !metric.def.from.is_empty();
    if metric.def.kind == ValueKind::Quantity && magic && stated && !unit_known {
        source.fault(metric.unit_span.clone(), "a vital sign needs its `unit` (or `units`, or `unit_from`)");
    }
}

fn coded_has_values(source: &Source<'_>, metric: &ReadMetric) {
    if metric.def.kind == ValueKind::Coded && metric.def.values.is_empty() && !metric.def.from.is_empty() {
        source.fault(metric.span.clone(), "a coded metric needs `values`: text → { system, code }");
    }
}

/// The members of a pressure reading are components, never observations of their own.
fn panel_is_a_group(source: &Source<'_>, metric: &ReadMetric) {
    let pressure = metric.def.loincs.iter().any(|rule| ["8480-6", "8462-4"].contains(&&*rule.code));
    if pressure && !metric.grouped && metric.def.kind != ValueKind::Ignore && !metric.def.from.is_empty() {
        source.fault(
            metric.span.clone(),
            "a systolic or diastolic pressure needs its `group`: FHIR wants one observation with components",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::is_loinc;

    #[test]
    fn a_mistyped_loinc_code_is_noticed() {
        for code in
            ["8867-4", "9279-1", "2708-6", "59408-5", "85354-9", "2345-7", "14749-6", "718-7", "39156-5"]
        {
            assert!(is_loinc(code), "{code}");
        }
        for code in ["8867-5", "8876-4", "8867", "LP8867-4", "", "-4", "8867-44", "8480-7"] {
            assert!(!is_loinc(code), "{code}");
        }
    }

    #[test]
    fn every_loinc_code_of_the_nomenclature_has_its_check_digit() {
        for term in crate::nomenclature::TERMS.iter().copied().flatten() {
            for loinc in term.loinc {
                assert!(is_loinc(loinc.code), "{} of {}", loinc.code, term.refid);
            }
        }
    }
}
