//! What `bedside profile check` tells a biomedical engineer: the faults of a page, its metrics, and what a
//! capture says through it.

use std::fmt;

use serde::Serialize;
use utoipa::ToSchema;

use super::metric::{MetricDef, ValueKind};
use super::{Caveat, Decoded, Fault, FirmwareProfile, LinkContext, Verified};
use crate::device::{Comparator, LOINC, MDC, Measurement, Value};

/// The outcome of a check; prints as a page and serialises for scripts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CheckReport {
    pub id: String,
    pub faults: Vec<Fault>,
    /// What the page describes, when it is without fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<Summary>,
    pub metrics: Vec<MetricLine>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capture: Option<CaptureReport>,
}

/// The head of a page.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    pub manufacturer: String,
    pub model: String,
    pub verified: Verified,
    pub hash: String,
    pub caveats: Vec<Caveat>,
    /// Whether the page's fingerprint recognises the capture, where there are both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fits: Option<bool>,
}

/// One metric of the page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct MetricLine {
    /// The device's names for it.
    pub matches: String,
    pub label: String,
    pub read_as: &'static str,
    pub mdc: String,
    pub loinc: String,
    pub unit: String,
    pub group: String,
}

/// A capture decoded through the page.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CaptureReport {
    pub name: String,
    pub length_bytes: usize,
    pub decoded: Decoded,
}

impl CheckReport {
    /// No fault, and the capture, if any, was not held.
    pub fn is_good(&self) -> bool {
        let held = |capture: &CaptureReport| capture.decoded.held.is_some();
        self.faults.is_empty() && !self.capture.as_ref().is_some_and(held)
    }
}

/// Checks a page, and what `capture` (file name and content) says through it.
pub fn check(
    id: &str,
    page: &str,
    capture: Option<(&str, &[u8])>,
    topic: Option<&str>,
    context: &LinkContext,
) -> CheckReport {
    let profile = match FirmwareProfile::parse(id, page) {
        Ok(profile) => profile,
        Err(faults) => {
            return CheckReport { id: id.into(), faults, profile: None, metrics: Vec::new(), capture: None };
        }
    };
    let frame = capture.map(|(name, file)| {
        let frame = profile.frame_of_capture(name, file).unwrap_or_else(|| file.to_vec());
        (name, frame)
    });
    let fingerprint = profile.plan.fits.is_some();
    let table = &profile.plan.table;
    CheckReport {
        id: id.into(),
        faults: Vec::new(),
        metrics: table.metrics.iter().take(table.listed).map(|def| line(&profile, def)).collect(),
        profile: Some(Summary {
            manufacturer: profile.manufacturer.to_string(),
            model: profile.model.to_string(),
            verified: profile.verified,
            hash: profile.hash.clone(),
            caveats: profile.caveats.clone(),
            fits: frame.as_ref().filter(|_| fingerprint).map(|(_, frame)| profile.fits(frame)),
        }),
        capture: frame.map(|(name, frame)| CaptureReport {
            name: name.into(),
            length_bytes: frame.len(),
            decoded: profile.decode(&frame, topic, context),
        }),
    }
}

/// The `[[test]]` captures of a page that `exists` does not know.
pub fn missing_captures(page: &str, exists: impl Fn(&str) -> bool) -> Vec<Fault> {
    let (document, _) = toml::de::DeTable::parse_recoverable(page);
    let tests = document.get_ref().get("test").and_then(|tests| tests.get_ref().as_array());
    let captures =
        tests.into_iter().flat_map(|tests| tests.iter()).filter_map(|test| test.get_ref().get("capture"));
    let missing = captures.filter_map(|capture| {
        let name = capture.get_ref().as_str().filter(|name| !exists(name))?;
        let message =
            format!("there is no file captures/{name}: put the capture there, or take the test out");
        Some(Fault::at(page, capture.span(), message))
    });
    missing.collect()
}

fn line(profile: &FirmwareProfile, def: &MetricDef) -> MetricLine {
    let names = |list: Vec<&str>| list.join(" ");
    let mut units: Vec<&str> =
        def.unit.iter().chain(def.units.values()).map(|rule| &*rule.unit.ucum).collect();
    units.sort_unstable();
    units.dedup();
    MetricLine {
        matches: names(def.matches.iter().map(|own| &*own.code).collect()),
        label: def.label.to_string(),
        read_as: match (def.kind, def.group) {
            (ValueKind::Quantity, Some(_)) => "component",
            (ValueKind::Quantity, None) => "quantity",
            (ValueKind::Coded, _) => "coded",
            (ValueKind::Text, _) => "text",
            (ValueKind::Ignore, _) => "ignored",
        },
        mdc: names(def.codings.iter().filter(|c| &*c.system == MDC).map(|c| &*c.code).collect()),
        loinc: names(def.loincs.iter().map(|rule| &*rule.code).collect()),
        unit: units.join(" "),
        group: def
            .group
            .and_then(|group| profile.plan.table.groups.get(group))
            .map(|group| group.name.to_string())
            .unwrap_or_default(),
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.faults.is_empty() {
            let count = self.faults.len();
            writeln!(f, "{}: {count} fault{}", self.id, if count == 1 { "" } else { "s" })?;
            for fault in &self.faults {
                writeln!(f, "\n{fault}")?;
            }
            return Ok(());
        }
        if let Some(profile) = &self.profile {
            writeln!(f, "{}: {} {}", self.id, profile.manufacturer, profile.model)?;
            writeln!(f, "verified = {}, sha256 {}", lower(profile.verified), profile.hash)?;
            for caveat in &profile.caveats {
                writeln!(f, "caveat: {} [{}]", caveat.text, caveat.source)?;
            }
            if profile.fits == Some(false) {
                writeln!(f, "note: the fingerprint of the page does not recognise this capture")?;
            }
        }
        self.write_metrics(f)?;
        match &self.capture {
            Some(capture) => write_capture(f, capture),
            None => Ok(()),
        }
    }
}

fn lower(verified: Verified) -> &'static str {
    match verified {
        Verified::Document => "document",
        Verified::Simulator => "simulator",
        Verified::Bench => "bench",
        Verified::Clinic => "clinic",
    }
}

impl CheckReport {
    fn write_metrics(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const HEAD: [&str; 7] = ["device code", "metric", "read as", "MDC", "LOINC", "UCUM", "group"];
        let rows: Vec<[&str; 7]> = self
            .metrics
            .iter()
            .map(|m| [&*m.matches, &m.label, m.read_as, &m.mdc, &m.loinc, &m.unit, &m.group])
            .collect();
        let widths: Vec<usize> = HEAD
            .iter()
            .enumerate()
            .map(|(at, head)| {
                let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count());
                cells.chain([head.chars().count()]).max().unwrap_or(0)
            })
            .collect();
        writeln!(f)?;
        for row in [HEAD].iter().chain(&rows) {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            writeln!(f, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

fn write_capture(f: &mut fmt::Formatter<'_>, capture: &CaptureReport) -> fmt::Result {
    let decoded = &capture.decoded;
    writeln!(f, "\n{} ({} bytes):", capture.name, capture.length_bytes)?;
    for report in &decoded.reports {
        writeln!(f, "  {}", report.device.key("this link"))?;
        if let Some(person) = &report.person {
            writeln!(f, "    person with {} identifier(s)", person.identifiers.len())?;
        }
        for measurement in &report.measurements {
            writeln!(f, "    {}: {}", measurement.metric.label, shown(&measurement.value))?;
            write_details(f, measurement)?;
        }
    }
    for finding in &decoded.findings {
        writeln!(f, "  {} at {}: {}", finding.code, finding.place, finding.text)?;
    }
    if let Some(reason) = &decoded.ignored {
        writeln!(f, "  ignored: {reason}")?;
    }
    if let Some(reason) = &decoded.held {
        writeln!(f, "  held: {reason}")?;
    }
    Ok(())
}

fn write_details(f: &mut fmt::Formatter<'_>, measurement: &Measurement) -> fmt::Result {
    if let Value::Compound(components) = &measurement.value {
        for component in components {
            writeln!(f, "      {}: {}", component.metric.label, shown(&component.value))?;
        }
    }
    if !measurement.interpretation.is_empty() {
        writeln!(f, "      flags {}", measurement.interpretation.join(" "))?;
    }
    if let Some(range) = &measurement.reference_range {
        writeln!(f, "      range {range}")?;
    }
    match measurement.metric.code_in(LOINC) {
        Some(loinc) => writeln!(f, "      LOINC {loinc}"),
        None => writeln!(f, "      no LOINC"),
    }
}

/// A value as a person reads it.
fn shown(value: &Value) -> String {
    match value {
        Value::Numeric { value, comparator, unit } => {
            let sign = match comparator {
                None => "",
                Some(Comparator::Less) => "< ",
                Some(Comparator::LessOrEqual) => "≤ ",
                Some(Comparator::GreaterOrEqual) => "≥ ",
                Some(Comparator::Greater) => "> ",
            };
            let unit =
                unit.as_ref().map(|unit| if unit.ucum.is_empty() { &*unit.display } else { &*unit.ucum });
            format!("{sign}{value} {}", unit.unwrap_or_default()).trim_end().to_owned()
        }
        Value::Compound(components) => format!("{} parts", components.len()),
        Value::Coded { codings, text } => {
            let code = codings.first().map(|coding| coding.code.to_string());
            text.as_ref().map(ToString::to_string).or(code).unwrap_or_default()
        }
        Value::Bits(bits) => format!("{} bits", bits.len()),
        Value::SampleArray { samples, period_ms, .. } => {
            format!("{} samples, one every {period_ms} ms", samples.len())
        }
        Value::Text(text) => format!("\"{text}\""),
        Value::Alarm(alarm) => alarm_words(alarm),
        Value::Absent(reason) => format!("absent ({})", reason.code()),
    }
}

/// An alarm on one line: text, phase, state, priority.
fn alarm_words(alarm: &crate::device::Alarm) -> String {
    let words = [
        alarm.text.as_deref(),
        alarm.phase.map(crate::device::AlarmPhase::code),
        alarm.state.map(crate::device::AlarmState::code),
        alarm.priority.map(crate::device::AlarmPriority::code),
    ];
    format!("alarm {}", words.into_iter().flatten().collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::super::library::Library;
    use super::*;

    fn report(id: &str, capture: &str) -> CheckReport {
        let library = Library::embedded().unwrap();
        let page = library.page(id).unwrap();
        let captures = library.captures(id);
        let (name, bytes) = captures.iter().find(|(name, _)| name == capture).unwrap();
        check(id, &page, Some((name, bytes)), None, &LinkContext::golden())
    }

    #[test]
    fn a_good_page_shows_its_metrics_and_what_a_capture_says() {
        let report = report("masimo/ascii1", "resting.txt");
        assert!(report.is_good());
        assert_eq!(report.profile.as_ref().unwrap().fits, Some(true));
        let text = report.to_string();
        for part in
            ["SPO2", "150456", "2708-6 59408-5", "SpO2: 97 %", "Pulse rate, oximeter: 72 /min", "no-zone"]
        {
            assert!(text.contains(part), "{part} in:\n{text}");
        }
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["metrics"][0]["loinc"], "2708-6 59408-5");
    }

    #[test]
    fn a_capture_that_is_held_is_not_good() {
        let report = report("ihe/pcd01-monitor", "admission.hl7");
        assert!(!report.is_good());
        assert!(report.to_string().contains("held: ADT^A01 is not a result message"));
    }

    #[test]
    fn a_bad_page_shows_each_fault_under_its_line() {
        let report = check("x/y", "[device]\nmodell = \"X\"\n", None, None, &LinkContext::golden());
        assert!(!report.is_good());
        assert!(report.to_string().starts_with("x/y: "), "{report}");
        assert!(report.to_string().contains('^'));
    }
}
