//! Reads what a page says of files: the grammars `csv` and `gdt`, `[transport.folder]`; and of results of controls.

use super::charset::Charset;
use super::csv::Csv;
use super::gdt::GdtGrammar;
use super::layout;
use super::locate::GrammarKind;
use super::schema::{ControlResult, Folder};
use super::section::Section;
use super::sections::{layouts, locator, locators, pattern};

pub(super) fn csv(section: &Section<'_>, kind: GrammarKind) -> Csv {
    let header = pattern(section, "header");
    let grammar = Csv {
        separator: section.text("separator").and_then(|text| layout::separator(section, &text)),
        layouts: layouts(section, true, header.is_none()),
        header,
        preamble: section.boolean("preamble").unwrap_or(false),
        least: section.integer("least", 1..=1000).and_then(|at| usize::try_from(at.value).ok()),
        code: locators(section, "code", kind),
        value: locators(section, "value", kind),
    };
    if grammar.code.is_empty() != grammar.value.is_empty() {
        section.fault(
            section.span.clone(),
            "`code` and `value` are the two columns of rows that name what they are",
        );
    }
    grammar
}

pub(super) fn gdt(section: &Section<'_>) -> GdtGrammar {
    GdtGrammar { charset: charset(section) }
}

pub(super) fn charset(section: &Section<'_>) -> Option<Charset> {
    let name = section.text("charset")?;
    let known = Charset::named(&name.value);
    if known.is_none() {
        let message = format!(
            "`{}` is no character set: use cp437, cp850, windows-1252, iso-8859-15, utf-8 …",
            name.value
        );
        section.fault(name.span, message);
    }
    known
}

/// `[transport.folder]`.
pub(super) fn folder(section: Section<'_>) -> Folder {
    let files = section.text("files").map_or_else(|| "*".into(), |at| at.value);
    let settle = section.integer("settle_s", 0..=3600).and_then(|at| u32::try_from(at.value).ok());
    section.finish();
    Folder { files, settle_s: settle.unwrap_or(5) }
}

/// `[quality_control.result]`
pub(super) fn control_result(section: Section<'_>, kind: GrammarKind) -> Option<ControlResult> {
    if kind != GrammarKind::Hl7 {
        section.fault(section.span.clone(), "`result` has a meaning in the hl7 grammar alone");
    }
    let required = |key| section.required(key).and_then(|text| locator(&section, &text, kind));
    let one = |key| section.text(key).and_then(|text| locator(&section, &text, kind));
    let (code, value) = (required("code"), required("value"));
    let (name, unit, taken) = (one("name"), one("unit"), one("taken"));
    let remarks = locators(&section, "remarks", kind);
    section.finish();
    Some(ControlResult { code: code?, value: value?, name, unit, taken, remarks })
}
