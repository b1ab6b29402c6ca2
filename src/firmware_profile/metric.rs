//! The metrics of a profile, built once when it is loaded and shared by every measurement of them.
//!
//! A metric is found by code number and coding system, never by text. LOINC codes that are true only for a unit
//! or a specimen are chosen when the unit is known.

use std::collections::HashMap;
use std::sync::Arc;

use super::condition::Condition;
use super::locate::Locator;
use super::time::TimeRules;
use crate::device::{AbsentReason, Coding, Decimal, Domain, LOINC, MDC, Metric, MetricClass, Unit};
use crate::nomenclature::{self, Kind, Term};

/// What a value is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ValueKind {
    Quantity,
    Coded,
    Text,
    /// Known, and nothing to deliver.
    Ignore,
}

/// One code under which a device sends a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Match {
    pub(super) code: Arc<str>,
    /// Canonical: [`MDC`], [`LOINC`], or the device's own name; `None` fits any.
    pub(super) system: Option<Arc<str>>,
}

/// A LOINC code with the units and specimens in which it is true; an empty list fits all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LoincRule {
    pub(super) code: Arc<str>,
    pub(super) units: Vec<Arc<str>>,
    pub(super) specimens: Vec<Arc<str>>,
}

/// Device unit → UCUM, with an exact conversion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UnitRule {
    pub(super) unit: Unit,
    pub(super) scale: Option<Decimal>,
    pub(super) offset: Option<Decimal>,
}

/// A `[[metric]]`.
#[derive(Clone, Debug)]
pub(super) struct MetricDef {
    pub(super) matches: Vec<Match>,
    /// Where its value stands, in grammars that say so; one per match.
    pub(super) from: Vec<Locator>,
    pub(super) kind: ValueKind,
    pub(super) label: Arc<str>,
    pub(super) domain: Domain,
    pub(super) class: MetricClass,
    pub(super) site: Option<Coding>,
    pub(super) loincs: Vec<LoincRule>,
    /// MDC and others that always hold.
    pub(super) codings: Vec<Coding>,
    /// The unit when the device states none.
    pub(super) unit: Option<UnitRule>,
    pub(super) units: HashMap<Box<str>, UnitRule>,
    pub(super) unit_from: Option<Locator>,
    pub(super) flags_from: Option<Locator>,
    pub(super) range_from: Option<Locator>,
    /// The part of the text that is the value: the first group of the pattern, where it fits.
    pub(super) pick: Option<regex::Regex>,
    pub(super) scale: Option<Decimal>,
    pub(super) offset: Option<Decimal>,
    pub(super) group: Option<usize>,
    pub(super) values: HashMap<Box<str>, Vec<Coding>>,
    /// All of these must hold for the metric to be read.
    pub(super) when: Vec<(Locator, Vec<String>)>,
    /// The names a row must give its code for the code to be believed, where the numbers are set up in the device.
    pub(super) named: Vec<Box<str>>,
    pub(super) condition: Option<Condition>,
    /// Digits after the point that the device really has; what it writes beyond them is noise of a binary float.
    pub(super) decimals: Option<u8>,
    /// Texts that stand for no value in this metric alone, before those of `[value]`.
    pub(super) missing: Vec<(String, AbsentReason)>,
    pub(super) time: Option<TimeRules>,
    /// Built from the above: for each match, one for each unit that is to be expected.
    built: Vec<Vec<Built>>,
}

/// A shared metric and the unit it was built for.
#[derive(Clone, Debug)]
struct Built {
    unit: Option<Arc<str>>,
    metric: Arc<Metric>,
}

impl MetricDef {
    /// A definition of which only the codes are known; the rest is set by whoever reads it.
    pub(super) fn new(matches: Vec<Match>, label: &str) -> Self {
        Self {
            matches,
            from: Vec::new(),
            kind: ValueKind::Quantity,
            label: label.into(),
            domain: Domain::VitalSigns,
            class: MetricClass::Measurement,
            site: None,
            loincs: Vec::new(),
            codings: Vec::new(),
            unit: None,
            units: HashMap::new(),
            unit_from: None,
            flags_from: None,
            range_from: None,
            pick: None,
            scale: None,
            offset: None,
            group: None,
            values: HashMap::new(),
            when: Vec::new(),
            named: Vec::new(),
            condition: None,
            decimals: None,
            missing: Vec::new(),
            time: None,
            built: Vec::new(),
        }
    }

    fn of_term(term: &Term, group: Option<usize>) -> Self {
        let own = Match { code: term.code.to_string().into(), system: Some(MDC.into()) };
        let mut def = Self::new(vec![own], term.label);
        def.domain = match term.kind {
            Kind::Vital => Domain::VitalSigns,
            Kind::Laboratory => Domain::Laboratory,
            Kind::Device => Domain::Device,
        };
        def.loincs = term.loinc.iter().map(loinc_rule).collect();
        def.codings = vec![mdc_coding(term.code)];
        // What has no unit is a word or a code.
        if term.ucum.is_empty() {
            def.kind = ValueKind::Text;
        }
        if nomenclature::WAVES.contains(term) {
            def.class = MetricClass::Waveform;
        }
        // Only where the nomenclature leaves no doubt does a missing unit mean its unit.
        if matches!(term.ucum, "/min" | "%") {
            def.unit = Some(UnitRule { unit: ucum_unit(term.ucum), scale: None, offset: None });
        }
        def.group = group;
        def
    }

    /// Whether a row that calls its code `name` may mean this metric.
    pub(super) fn is_called(&self, name: &str) -> bool {
        self.named.is_empty() || self.named.iter().any(|own| own.eq_ignore_ascii_case(name.trim()))
    }

    /// Whether its meaning depends on a unit.
    pub(super) fn wants_unit(&self) -> bool {
        self.loincs.iter().any(|rule| allowed_units(rule).next().is_some())
    }

    /// Builds the shared metrics. Call once, when all else is set.
    pub(super) fn build(&mut self, own_system: &Arc<str>) {
        let mut units: Vec<Option<Arc<str>>> = vec![None];
        let default = self.unit.iter().map(|rule| Arc::clone(&rule.unit.ucum));
        let mapped = self.units.values().map(|rule| Arc::clone(&rule.unit.ucum));
        let ruled = self.loincs.iter().flat_map(allowed_units).map(Into::into);
        for unit in default.chain(mapped).chain(ruled) {
            if !units.contains(&Some(Arc::clone(&unit))) {
                units.push(Some(unit));
            }
        }
        let build_all = |own: &Match| {
            let one = |unit: &Option<Arc<str>>| {
                let metric = Arc::new(self.assemble(own, unit.as_deref(), None, own_system));
                Built { unit: unit.clone(), metric }
            };
            units.iter().map(one).collect()
        };
        self.built = self.matches.iter().map(build_all).collect();
    }

    /// The metric as matched, for this unit and specimen.
    pub(super) fn metric(
        &self,
        matched: usize,
        unit: Option<&str>,
        specimen: Option<&str>,
        own_system: &Arc<str>,
    ) -> Arc<Metric> {
        let specimen = specimen.filter(|_| self.loincs.iter().any(|rule| !rule.specimens.is_empty()));
        let built = self.built.get(matched).into_iter().flatten();
        let known = built.into_iter().find(|built| built.unit.as_deref() == unit).map(|built| &built.metric);
        match (known, specimen, self.matches.get(matched)) {
            (Some(metric), None, _) => Arc::clone(metric),
            (_, _, Some(own)) => Arc::new(self.assemble(own, unit, specimen, own_system)),
            // A definition always has a match; without one there is still a label to carry.
            _ => Arc::new(unlisted(Vec::new(), &self.label, self.domain)),
        }
    }

    fn assemble(
        &self,
        own: &Match,
        unit: Option<&str>,
        specimen: Option<&str>,
        own_system: &Arc<str>,
    ) -> Metric {
        let mut codings: Vec<Coding> = Vec::with_capacity(self.loincs.len() + self.codings.len() + 1);
        for rule in &self.loincs {
            let mut allowed = allowed_units(rule).peekable();
            let unit_fits = allowed.peek().is_none() || unit.is_some_and(|unit| allowed.any(|a| a == unit));
            // An empty name in the list stands for a specimen that was not said.
            let said = specimen.unwrap_or_default();
            let specimen_fits =
                rule.specimens.is_empty() || rule.specimens.iter().any(|a| a.eq_ignore_ascii_case(said));
            if unit_fits && specimen_fits {
                codings.push(Coding::new(LOINC, &rule.code, nomenclature::loinc_display(&rule.code)));
            }
        }
        codings.extend(self.codings.iter().cloned());
        let system = own.system.as_ref().unwrap_or(own_system);
        if !codings.iter().any(|c| c.code == own.code && c.system == *system) {
            codings.push(Coding { system: Arc::clone(system), code: Arc::clone(&own.code), display: None });
        }
        Metric {
            codings,
            label: Arc::clone(&self.label),
            domain: self.domain,
            class: self.class,
            site: self.site.clone(),
        }
    }
}

/// The units a LOINC code is true for: those of its rule, else those its R4 profile fixes; none = any.
fn allowed_units(rule: &LoincRule) -> impl Iterator<Item = &str> {
    let fixed = nomenclature::vital_sign_units(&rule.code).filter(|_| rule.units.is_empty());
    rule.units.iter().map(|unit| &**unit).chain(fixed.into_iter().flatten().copied())
}

pub(super) fn loinc_rule(loinc: &nomenclature::Loinc) -> LoincRule {
    LoincRule {
        code: loinc.code.into(),
        units: loinc.units.iter().map(|unit| (*unit).into()).collect(),
        specimens: Vec::new(),
    }
}

pub(super) fn mdc_coding(code: u32) -> Coding {
    Coding::new(MDC, &code.to_string(), nomenclature::refid(code))
}

/// A unit whose text is its UCUM code.
pub(super) fn ucum_unit(ucum: &str) -> Unit {
    Unit { ucum: ucum.into(), display: ucum.into() }
}

/// The metric of a code that neither the profile nor the nomenclature lists: its codes as they came.
pub(super) fn unlisted(codings: Vec<Coding>, label: &str, domain: Domain) -> Metric {
    Metric { codings, label: label.into(), domain, class: MetricClass::Measurement, site: None }
}

/// A `[[group]]`: several values of one act of measuring.
#[derive(Clone, Debug)]
pub(super) struct GroupDef {
    pub(super) name: Arc<str>,
    pub(super) metric: Arc<Metric>,
}

#[derive(Clone, Debug)]
struct Hit {
    system: Option<Arc<str>>,
    metric: usize,
    matched: usize,
}

/// All metrics and groups of a profile with the ways to find them.
#[derive(Clone, Debug, Default)]
pub(super) struct MetricTable {
    pub(super) metrics: Vec<MetricDef>,
    pub(super) groups: Vec<GroupDef>,
    /// How many of `metrics` the profile itself lists; the rest is the nomenclature.
    pub(super) listed: usize,
    pub(super) own_system: Arc<str>,
    index: HashMap<Arc<str>, Vec<Hit>>,
    mdc_units: HashMap<u32, Unit>,
}

impl MetricTable {
    /// `with_nomenclature`: standard MDC codes are understood even when the profile does not list them.
    pub(super) fn build(
        mut metrics: Vec<MetricDef>,
        mut groups: Vec<GroupDef>,
        own_system: &str,
        with_nomenclature: bool,
    ) -> Self {
        let listed = metrics.len();
        if with_nomenclature {
            add_nomenclature(&mut metrics, &mut groups);
        }
        let own_system: Arc<str> = own_system.into();
        let mut index: HashMap<Arc<str>, Vec<Hit>> = HashMap::new();
        for (at, metric) in metrics.iter_mut().enumerate() {
            metric.build(&own_system);
            for (matched, own) in metric.matches.iter().enumerate() {
                let hit = Hit { system: own.system.clone(), metric: at, matched };
                index.entry(Arc::clone(&own.code)).or_default().push(hit);
            }
        }
        let mdc_units = nomenclature::UNITS
            .iter()
            .map(|unit| (unit.code, Unit { ucum: unit.ucum.into(), display: unit.display.into() }))
            .collect();
        Self { metrics, groups, listed, own_system, index, mdc_units }
    }

    /// The metric sent as `code` of `system` (canonical; empty when the device names none), and which of its
    /// matches it was. What the profile lists comes before the nomenclature.
    pub(super) fn find(&self, code: &str, system: &str) -> Option<(&MetricDef, usize)> {
        let hit =
            self.index.get(code)?.iter().find(|hit| hit.system.as_deref().is_none_or(|s| s == system))?;
        self.metrics.get(hit.metric).map(|metric| (metric, hit.matched))
    }

    /// The unit with this MDC number.
    pub(super) fn mdc_unit(&self, code: &str) -> Option<&Unit> {
        self.mdc_units.get(&code.parse().ok()?)
    }
}

fn add_nomenclature(metrics: &mut Vec<MetricDef>, groups: &mut Vec<GroupDef>) {
    let terms = || nomenclature::TERMS.iter().copied().flatten();
    let first = groups.len();
    let heads: Vec<u32> = {
        let mut heads: Vec<u32> = terms().map(|term| term.panel).filter(|panel| *panel != 0).collect();
        heads.dedup();
        heads
    };
    for head in &heads {
        let Some(term) = nomenclature::term(*head) else { continue };
        let mut def = MetricDef::of_term(term, None);
        def.unit = None;
        // A panel carries no unit of its own, so its code always holds.
        def.build(&MDC.into());
        let metric = def.metric(0, None, None, &MDC.into());
        groups.push(GroupDef { name: term.refid.into(), metric });
    }
    add_loinc(metrics, groups);
    for term in terms() {
        let group = heads.iter().position(|head| *head == term.panel).map(|at| first + at);
        metrics.push(MetricDef::of_term(term, group));
    }
}

/// Vital signs that come as LOINC: a systolic pressure is a member of its panel by either name.
fn add_loinc(metrics: &mut Vec<MetricDef>, groups: &mut Vec<GroupDef>) {
    let display = |code| nomenclature::loinc_display(code);
    let panel = nomenclature::BLOOD_PRESSURE_PANEL;
    let label = display(panel).unwrap_or(panel);
    let metric = unlisted(vec![Coding::new(LOINC, panel, display(panel))], label, Domain::VitalSigns);
    groups.push(GroupDef { name: panel.into(), metric: Arc::new(metric) });
    for magic in nomenclature::MAGIC {
        let own = Match { code: magic.code.into(), system: Some(LOINC.into()) };
        let mut def = MetricDef::new(vec![own], display(magic.code).unwrap_or(magic.code));
        def.loincs = vec![loinc_rule(&nomenclature::Loinc { code: magic.code, units: &[] })];
        if let [unit @ ("/min" | "%")] = magic.units {
            def.unit = Some(UnitRule { unit: ucum_unit(unit), scale: None, offset: None });
        }
        def.group = ["8480-6", "8462-4", "8478-0"].contains(&magic.code).then(|| groups.len() - 1);
        metrics.push(def);
    }
}

/// The canonical name of a coding system as devices write it (HL7 table 0396); others stay as they came.
pub(super) fn canonical_system(name: &str) -> &str {
    match name {
        "MDC" | "ISO/IEEE 11073-10101" | "urn:iso:std:iso:11073:10101" => MDC,
        "LN" | "LOINC" | "http://loinc.org" => LOINC,
        "SCT" | "SNOMED-CT" | "SNM3" | "http://snomed.info/sct" => "http://snomed.info/sct",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> MetricTable {
        let mut glucose = MetricDef::new(vec![Match { code: "GLU".into(), system: None }], "Glucose");
        glucose.domain = Domain::Laboratory;
        glucose.loincs = vec![
            LoincRule { code: "2345-7".into(), units: vec!["mg/dL".into()], specimens: vec![] },
            LoincRule { code: "14749-6".into(), units: vec!["mmol/L".into()], specimens: vec![] },
            LoincRule { code: "2342-4".into(), units: vec!["mg/dL".into()], specimens: vec!["CSF".into()] },
        ];
        glucose.unit = Some(UnitRule { unit: ucum_unit("mg/dL"), scale: None, offset: None });
        MetricTable::build(vec![glucose], Vec::new(), "urn:test", true)
    }

    fn loincs(metric: &Metric) -> Vec<&str> {
        metric.codings.iter().filter(|c| &*c.system == LOINC).map(|c| &*c.code).collect()
    }

    #[test]
    fn the_loinc_of_a_laboratory_value_depends_on_its_unit_and_specimen() {
        let table = table();
        let (glucose, matched) = table.find("GLU", "99X").unwrap();
        let codes = |unit, specimen| {
            let metric = glucose.metric(matched, unit, specimen, &table.own_system);
            loincs(&metric).into_iter().map(String::from).collect::<Vec<_>>()
        };
        assert_eq!(codes(Some("mg/dL"), None), ["2345-7"]);
        assert_eq!(codes(Some("mmol/L"), None), ["14749-6"]);
        assert_eq!(codes(Some("mg/dL"), Some("csf")), ["2345-7", "2342-4"]);
        assert_eq!(codes(Some("g/L"), None), [""; 0]);
        assert_eq!(codes(None, None), [""; 0]);
    }

    #[test]
    fn a_standard_code_the_profile_does_not_list_is_understood() {
        let table = table();
        let (rate, matched) = table.find("147842", MDC).unwrap();
        let metric = rate.metric(matched, Some("/min"), None, &table.own_system);
        assert_eq!(loincs(&metric), ["8867-4"]);
        assert_eq!(metric.code_in(MDC), Some("147842"));
        assert_eq!(metric.codings.len(), 2);
        assert!(
            table.find("147842", "99MNDRY").is_none(),
            "the same number in another system is another code"
        );
        let (systolic, _) = table.find("150021", MDC).unwrap();
        assert_eq!(loincs(&table.groups[systolic.group.unwrap()].metric), ["85354-9"]);
    }

    #[test]
    fn the_magic_code_stands_only_beside_a_unit_its_profile_allows() {
        let table = table();
        let (pressure, matched) = table.find("150021", MDC).unwrap();
        let codes = |unit| loincs(&pressure.metric(matched, Some(unit), None, &table.own_system)).len();
        assert_eq!(codes("mm[Hg]"), 1);
        assert_eq!(codes("kPa"), 0);
    }

    #[test]
    fn a_metric_is_built_once_and_shared() {
        let table = table();
        let (rate, matched) = table.find("151562", MDC).unwrap();
        let first = rate.metric(matched, Some("/min"), None, &table.own_system);
        let second = rate.metric(matched, Some("/min"), None, &table.own_system);
        assert!(Arc::ptr_eq(&first, &second));
    }
}
