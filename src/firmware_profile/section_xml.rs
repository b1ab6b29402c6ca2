//! Reads what `[record]` says of XML.

use super::locate::{GrammarKind, Locator};
use super::section::{At, Section};
use super::sections::{locator, locators, word};
use super::xml::XmlGrammar;
use super::xml_coded::{Coded, Remark, Status, names_elements};

pub(super) fn grammar(section: &Section<'_>, kind: GrammarKind) -> XmlGrammar {
    let items = locators(section, "items", kind);
    let sound = |at: &Locator| matches!(at, Locator::Xml(path) if names_elements(path));
    if !items.iter().all(sound) {
        section.fault(
            section.span_of("items"),
            "`items` are elements from the top, such as /OBS.R01/SVC/PT/OBS",
        );
    }
    let coded = (kind == GrammarKind::XmlCoded).then(|| Box::new(coded(section, kind)));
    if coded.is_some() && !section.has("items") {
        section.fault(
            section.span.clone(),
            "with `code`, the xml grammar needs `items`: the elements that are results",
        );
    }
    XmlGrammar { items, coded }
}

fn coded(section: &Section<'_>, kind: GrammarKind) -> Coded {
    let read = |key| locators(section, key, kind);
    if !section.has("value") {
        section.fault(section.span.clone(), "with `code`, the xml grammar needs `value`");
    }
    Coded {
        code: read("code"),
        system: read("system"),
        name: read("name"),
        value: read("value"),
        unit: read("unit"),
        absent: read("absent"),
        flags: read("flags"),
        range: read("range"),
        status: read("status"),
        statuses: statuses(section),
        order: read("order"),
        remarks: section.sections("remark").into_iter().filter_map(|inner| remark(inner, kind)).collect(),
        known: read("known"),
    }
}

fn statuses(section: &Section<'_>) -> Vec<(String, Status)> {
    const WORDS: &[(&str, Status)] = &[
        ("final", Status::Final),
        ("preliminary", Status::Preliminary),
        ("corrected", Status::Corrected),
        ("rejected", Status::Rejected),
    ];
    let mut statuses = Vec::new();
    for (theirs, ours) in pairs(section, "statuses") {
        statuses.extend(section.chosen("statuses", &ours, WORDS).map(|status| (theirs.value, status)));
    }
    statuses
}

/// A table of texts.
fn pairs(section: &Section<'_>, key: &'static str) -> Vec<(At<String>, At<String>)> {
    let entries = section.entries(key).into_iter();
    entries.filter_map(|(theirs, value)| Some((theirs, word(section, key, value)?))).collect()
}

fn remark(section: Section<'_>, kind: GrammarKind) -> Option<Remark> {
    let at = section.required("at").and_then(|text| locator(&section, &text, kind));
    let label = section.text("label").map(|at| at.value);
    let texts =
        pairs(&section, "texts").into_iter().map(|(theirs, ours)| (theirs.value, ours.value)).collect();
    section.finish();
    Some(Remark { at: at?, label, texts })
}
