//! Reads `[[metric]]` and `[[group]]`.

use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::DeValue;

use super::condition::Condition;
use super::fault::did_you_mean;
use super::locate::{GrammarKind, Locator};
use super::metric::{
    GroupDef, LoincRule, Match, MetricDef, UnitRule, ValueKind, canonical_system, loinc_rule, mdc_coding,
    ucum_unit,
};
use super::section::{At, Section};
use super::sections::{locator, locators, missing, pattern, time_rules};
use crate::device::{Coding, Domain, LOINC, MDC, Metric, MetricClass};
use crate::nomenclature;

/// A metric with the places its checks point at.
pub(super) struct ReadMetric {
    pub(super) def: MetricDef,
    pub(super) mdc: Option<u32>,
    pub(super) span: Range<usize>,
    pub(super) match_spans: Vec<Range<usize>>,
    pub(super) unit_span: Range<usize>,
    pub(super) loinc_span: Range<usize>,
    pub(super) mdc_span: Range<usize>,
    /// Whether the page names it in words.
    pub(super) labelled: bool,
    /// Whether the page names a group for it, there or not.
    pub(super) grouped: bool,
    /// Units as written, each with its place.
    pub(super) ucum: Vec<At<String>>,
}

pub(super) struct ReadGroup {
    pub(super) def: GroupDef,
    pub(super) span: Range<usize>,
}

pub(super) fn read(root: &Section<'_>, kind: GrammarKind) -> (Vec<ReadGroup>, Vec<ReadMetric>) {
    let groups: Vec<ReadGroup> = root.sections("group").into_iter().filter_map(group).collect();
    let metrics =
        root.sections("metric").into_iter().filter_map(|section| metric(section, kind, &groups)).collect();
    (groups, metrics)
}

fn group(section: Section<'_>) -> Option<ReadGroup> {
    let name = section.required("name");
    let mdc = mdc_number(&section);
    let term = mdc.and_then(nomenclature::term);
    let label = section.text("label").map_or_else(
        || {
            term.map_or_else(
                || name.as_ref().map(|n| n.value.clone()).unwrap_or_default(),
                |t| t.label.into(),
            )
        },
        |at| at.value,
    );
    let mut codings: Vec<Coding> = section
        .texts("loinc")
        .into_iter()
        .map(|at| Coding::new(LOINC, &at.value, nomenclature::loinc_display(&at.value)))
        .collect();
    if codings.is_empty() {
        codings.extend(
            term.into_iter()
                .flat_map(|term| term.loinc)
                .map(|l| Coding::new(LOINC, l.code, nomenclature::loinc_display(l.code))),
        );
    }
    codings.extend(mdc.map(mdc_coding));
    codings.extend(section.sections("codings").into_iter().filter_map(coding));
    let domain = domain(&section).unwrap_or(Domain::VitalSigns);
    let span = section.span.clone();
    section.finish();
    let metric = Metric { codings, label: label.into(), domain, class: MetricClass::Measurement, site: None };
    Some(ReadGroup { def: GroupDef { name: name?.value.into(), metric: Arc::new(metric) }, span })
}

fn metric(section: Section<'_>, kind: GrammarKind, groups: &[ReadGroup]) -> Option<ReadMetric> {
    let matched = matches(&section, kind);
    let mdc = mdc_number(&section).or_else(|| implied_mdc(&matched.0));
    let term = mdc.and_then(nomenclature::term);
    let label = section.text("label").map(|at| at.value);
    let label = label.or_else(|| term.map(|term| term.label.into()));
    let label = label.or_else(|| matched.0.first().map(|m| m.code.to_string())).unwrap_or_default();
    let (own, from, match_spans) = matched;
    let mut def = MetricDef::new(own, &label);
    def.from = from;
    read_codes(&section, &mut def, mdc, kind);
    read_meaning(&section, &mut def, mdc, kind, groups);
    let ucum = read_units(&section, &mut def);
    def.scale = section.decimal("scale");
    def.offset = section.decimal("offset");
    def.pick = pattern(&section, "pick");
    def.unit_from = one_locator(&section, "unit_from", kind);
    def.flags_from = one_locator(&section, "flags_from", kind);
    def.range_from = one_locator(&section, "range_from", kind);
    def.when = conditions(&section, kind);
    def.condition = condition(&section, kind);
    def.named = named(&section, kind);
    def.decimals = section.integer("decimals", 0..=9).and_then(|at| u8::try_from(at.value).ok());
    def.missing = missing(&section);
    def.time = section.section("time").map(|time| time_rules(time, kind));
    for (text, value) in section.entries("values") {
        def.values.insert(text.value.into(), coded(&section, value));
    }
    let read = ReadMetric {
        mdc,
        span: section.span.clone(),
        match_spans,
        unit_span: section.span_of("unit"),
        loinc_span: section.span_of("loinc"),
        mdc_span: section.span_of("mdc"),
        labelled: section.has("label"),
        grouped: section.has("group"),
        ucum,
        def,
    };
    section.finish();
    (!read.def.matches.is_empty()).then_some(read)
}

fn mdc_number(section: &Section<'_>) -> Option<u32> {
    section.integer("mdc", 1..=u64::from(u32::MAX)).and_then(|at| u32::try_from(at.value).ok())
}

/// A metric matched by one MDC number is that number.
fn implied_mdc(matches: &[Match]) -> Option<u32> {
    matches.iter().find(|m| m.system.as_deref() == Some(MDC)).and_then(|m| m.code.parse().ok())
}

/// `match`: a text, a table, or a list of them.
fn matches(section: &Section<'_>, kind: GrammarKind) -> (Vec<Match>, Vec<Locator>, Vec<Range<usize>>) {
    let mut read = (Vec::new(), Vec::new(), Vec::new());
    let Some(value) = section.any("match") else {
        section.fault(section.span.clone(), format!("{} needs `match`", section.name));
        return read;
    };
    let single = std::slice::from_ref(value);
    let list: &[Spanned<DeValue<'_>>] = match value.get_ref() {
        DeValue::Array(list) => list,
        _ => single,
    };
    for one in list {
        let Some(own) = one_match(section, one, kind, &mut read.1) else { continue };
        read.0.push(own);
        read.2.push(one.span());
    }
    read
}

fn one_match(
    section: &Section<'_>,
    value: &Spanned<DeValue<'_>>,
    kind: GrammarKind,
    from: &mut Vec<Locator>,
) -> Option<Match> {
    if matches!(
        kind,
        GrammarKind::Hl7 | GrammarKind::Astm | GrammarKind::XmlCoded | GrammarKind::Gdt | GrammarKind::Native
    ) {
        return coded_match(section, value);
    }
    let Some(text) = value.get_ref().as_str() else {
        section.fault(value.span(), "`match` must be a text in quotes or a list of them");
        return None;
    };
    let at = locator(section, &At { value: text.to_owned(), span: value.span() }, kind)?;
    let code = at.own_code().into();
    from.push(at);
    Some(Match { code, system: None })
}

/// `"150456^MDC"`, `"WBC"`, or `{ code = "WBC", system = "99MRC" }`.
fn coded_match(section: &Section<'_>, value: &Spanned<DeValue<'_>>) -> Option<Match> {
    let (code, system) = match value.get_ref() {
        DeValue::String(text) => match text.split_once('^') {
            Some((code, system)) => (code.to_owned(), Some(system.to_owned())),
            None => (text.to_string(), None),
        },
        DeValue::Table(table) => {
            let word = |key| table.get(key).and_then(|v| v.get_ref().as_str()).map(str::to_owned);
            if let Some((key, _)) =
                table.iter().find(|(key, _)| !["code", "system"].contains(&&**key.get_ref()))
            {
                section.fault(key.span(), "a match has `code` and `system`");
            }
            (word("code").unwrap_or_default(), word("system"))
        }
        _ => (String::new(), None),
    };
    if code.trim().is_empty() {
        section.fault(value.span(), "`match` must name a code, such as \"150456^MDC\"");
        return None;
    }
    Some(Match { code: code.into(), system: system.map(|s| canonical_system(&s).into()) })
}

fn read_codes(section: &Section<'_>, def: &mut MetricDef, mdc: Option<u32>, kind: GrammarKind) {
    def.codings.extend(mdc.map(mdc_coding));
    def.codings.extend(section.sections("codings").into_iter().filter_map(coding));
    if section.has("loinc") {
        def.loincs = loincs(section);
    } else if let Some(term) = mdc.and_then(nomenclature::term) {
        def.loincs = term.loinc.iter().map(loinc_rule).collect();
    }
    // A laboratory code sent as LOINC is its own LOINC.
    if matches!(kind, GrammarKind::Hl7 | GrammarKind::XmlCoded) && def.loincs.is_empty() {
        let own = def.matches.iter().filter(|m| m.system.as_deref() == Some(LOINC));
        def.loincs =
            own.map(|m| LoincRule { code: m.code.clone(), units: vec![], specimens: vec![] }).collect();
    }
}

/// `loinc`: a code, a list of codes, or a list of tables with the units and specimens they are true for.
fn loincs(section: &Section<'_>) -> Vec<LoincRule> {
    let tables = section.any("loinc").and_then(|value| value.get_ref().as_array());
    if !tables.is_some_and(|list| list.iter().any(|one| one.get_ref().is_table())) {
        let plain = |at: At<String>| LoincRule { code: at.value.into(), units: vec![], specimens: vec![] };
        return section.texts("loinc").into_iter().map(plain).collect();
    }
    let texts = |list: Vec<At<String>>| list.into_iter().map(|at| at.value.into()).collect();
    let rule = |section: Section<'_>| {
        let code = section.required("code");
        let (units, specimens) = (texts(section.texts("unit")), texts(section.texts("specimen")));
        section.finish();
        Some(LoincRule { code: code?.value.into(), units, specimens })
    };
    section.sections("loinc").into_iter().filter_map(rule).collect()
}

fn read_meaning(
    section: &Section<'_>,
    def: &mut MetricDef,
    mdc: Option<u32>,
    kind: GrammarKind,
    groups: &[ReadGroup],
) {
    const KINDS: &[(&str, ValueKind)] = &[
        ("quantity", ValueKind::Quantity),
        ("component", ValueKind::Quantity),
        ("coded", ValueKind::Coded),
        ("text", ValueKind::Text),
        ("ignore", ValueKind::Ignore),
    ];
    const CLASSES: &[(&str, MetricClass)] = &[
        ("measurement", MetricClass::Measurement),
        ("setting", MetricClass::Setting),
        ("calculation", MetricClass::Calculation),
        ("quality-control", MetricClass::QualityControl),
        ("waveform", MetricClass::Waveform),
        ("alarm", MetricClass::Alarm),
    ];
    let word = section.text("as");
    def.kind = word.as_ref().and_then(|w| section.chosen("as", w, KINDS)).unwrap_or(ValueKind::Quantity);
    if word.is_some_and(|word| word.value == "component") && !section.has("group") {
        section.fault(section.span_of("as"), "a component needs its `group`");
    }
    def.class = section.choice("class", CLASSES).unwrap_or(MetricClass::Measurement);
    let usual = match (mdc.and_then(nomenclature::term).map(|term| term.kind), kind) {
        (Some(nomenclature::Kind::Laboratory), _)
        | (None, GrammarKind::Astm | GrammarKind::XmlCoded | GrammarKind::Gdt) => Domain::Laboratory,
        (Some(nomenclature::Kind::Device), _) => Domain::Device,
        _ => Domain::VitalSigns,
    };
    def.domain = domain(section).unwrap_or(usual);
    def.site = site(section);
    if let Some(name) = section.text("group") {
        def.group = groups.iter().position(|group| *group.def.name == *name.value);
        if def.group.is_none() {
            let names = groups.iter().map(|group| &*group.def.name);
            let hint = did_you_mean(&name.value, names)
                .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            section.fault(name.span, format!("there is no [[group]] named `{}`{hint}", name.value));
        }
    }
}

fn domain(section: &Section<'_>) -> Option<Domain> {
    const WORDS: &[(&str, Domain)] = &[
        ("vital-signs", Domain::VitalSigns),
        ("laboratory", Domain::Laboratory),
        ("device", Domain::Device),
    ];
    section.choice("domain", WORDS)
}

/// `site`: an MDC number or a coding.
fn site(section: &Section<'_>) -> Option<Coding> {
    let value = section.any("site")?;
    if let Some(inner) = section.of_value("site", value) {
        return coding(inner);
    }
    section
        .integer("site", 1..=u64::from(u32::MAX))
        .and_then(|at| u32::try_from(at.value).ok())
        .map(mdc_coding)
}

fn coding(section: Section<'_>) -> Option<Coding> {
    let (system, code) = (section.required("system"), section.required("code"));
    let display = section.text("display").map(|at| at.value);
    section.finish();
    Some(Coding::new(canonical_system(&system?.value), &code?.value, display.as_deref()))
}

/// The meaning of an answer: one coding or a list of codings.
fn coded<'a>(section: &Section<'a>, value: &'a Spanned<DeValue<'a>>) -> Vec<Coding> {
    let single = std::slice::from_ref(value);
    let list: &'a [Spanned<DeValue<'a>>] = match value.get_ref() {
        DeValue::Array(list) => list,
        _ => single,
    };
    let one = |value: &'a Spanned<DeValue<'a>>| match section.of_value("values", value) {
        Some(inner) => coding(inner),
        None => {
            section.fault(value.span(), "an entry of `values` is { system = …, code = … }");
            None
        }
    };
    list.iter().filter_map(one).collect()
}

/// `unit` and `units`; gives back each UCUM code as written.
fn read_units(section: &Section<'_>, def: &mut MetricDef) -> Vec<At<String>> {
    let mut written = Vec::new();
    if let Some(unit) = section.text("unit") {
        def.unit = Some(UnitRule { unit: ucum_unit(&unit.value), scale: None, offset: None });
        written.push(unit);
    }
    for (text, value) in section.entries("units") {
        let rule = match (value.get_ref(), section.of_value("units", value)) {
            (DeValue::String(ucum), _) => {
                written.push(At { value: ucum.to_string(), span: value.span() });
                Some(UnitRule { unit: ucum_unit(ucum), scale: None, offset: None })
            }
            (_, Some(inner)) => {
                let ucum = inner.required("ucum");
                let (scale, offset) = (inner.decimal("scale"), inner.decimal("offset"));
                inner.finish();
                ucum.map(|ucum| {
                    let rule = UnitRule { unit: ucum_unit(&ucum.value), scale, offset };
                    written.push(ucum);
                    rule
                })
            }
            _ => {
                section.fault(
                    value.span(),
                    "an entry of `units` is a UCUM code or { ucum = …, scale = …, offset = … }",
                );
                None
            }
        };
        if let Some(rule) = rule {
            def.units.insert(text.value.into(), rule);
        }
    }
    written
}

fn one_locator(section: &Section<'_>, key: &'static str, kind: GrammarKind) -> Option<Locator> {
    let mut all = locators(section, key, kind);
    if all.len() > 1 {
        section.fault(section.span_of(key), format!("`{key}` takes one place"));
    }
    all.pop()
}

/// `named`: only HL7 rows name their code beside it.
fn named(section: &Section<'_>, kind: GrammarKind) -> Vec<Box<str>> {
    if section.has("named") && kind != GrammarKind::Hl7 {
        section.fault(section.span_of("named"), "`named` has a meaning in the hl7 grammar alone");
    }
    section.texts("named").into_iter().map(|at| at.value.into()).collect()
}

/// `when` as a text: a condition in CEL.
fn condition(section: &Section<'_>, kind: GrammarKind) -> Option<Condition> {
    let value = section.any("when")?;
    let text = value.get_ref().as_str()?;
    match Condition::parse(text, kind) {
        Ok(condition) => Some(condition),
        Err(wrong) => {
            // The caret stands inside the text where it is written as it is.
            let span = value.span();
            let written = section.source.text.get(span.clone()).unwrap_or_default();
            let at = match written.find(text) {
                Some(before) => span.start + before + wrong.at.start..span.start + before + wrong.at.end,
                None => span,
            };
            section.fault(at, wrong.message);
            None
        }
    }
}

/// `when` as a table: place → the text or texts that must stand there.
fn conditions(section: &Section<'_>, kind: GrammarKind) -> Vec<(Locator, Vec<String>)> {
    let mut conditions = Vec::new();
    let Some(when) = section.any("when") else { return conditions };
    if matches!(kind, GrammarKind::Hl7 | GrammarKind::Astm | GrammarKind::Native) {
        section.fault(
            section.span_of("when"),
            "`when` has no meaning in this grammar: match by code and system",
        );
    }
    if !when.get_ref().is_table() {
        if !when.get_ref().is_str() {
            let message = "`when` is a condition in quotes (\"value > 0\") or a table: place → texts";
            section.fault(when.span(), message);
        }
        return conditions;
    }
    for (at, value) in section.entries("when") {
        let texts: Option<Vec<String>> = match value.get_ref() {
            DeValue::String(text) => Some(vec![text.to_string()]),
            DeValue::Array(list) => {
                list.iter().map(|one| one.get_ref().as_str().map(str::to_owned)).collect()
            }
            _ => None,
        };
        if texts.is_none() {
            section.fault(value.span(), "`when` compares with a text or a list of texts");
        }
        conditions.extend(locator(section, &at, kind).zip(texts));
    }
    conditions
}
