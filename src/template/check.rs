//! What `bedside template check` tells: faults with their place, and what a page defines.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use super::line::{How, Line, Rule, What};
use super::page::{Group, Page};
use super::yaml::Wrong;
use super::{Elements, Library};
use crate::firmware_profile::{Fault, did_you_mean};

/// The outcome of a check; prints as text and serialises for scripts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = TemplateReport)]
pub struct Report {
    pub page: String,
    pub faults: Vec<Fault>,
    pub maps: Vec<String>,
    pub groups: Vec<String>,
    pub messages: Vec<String>,
    pub tables: Vec<String>,
}

impl Report {
    /// No fault.
    pub fn is_good(&self) -> bool {
        self.faults.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.is_good() {
            for fault in &self.faults {
                writeln!(f, "{fault}\n")?;
            }
            return write!(f, "{}: {} fault(s)", self.page, self.faults.len());
        }
        writeln!(f, "{}: a good page of templates", self.page)?;
        for (what, names) in [
            ("maps", &self.maps),
            ("groups", &self.groups),
            ("messages", &self.messages),
            ("tables", &self.tables),
        ] {
            if !names.is_empty() {
                writeln!(f, "  {what}: {}", names.join(", "))?;
            }
        }
        Ok(())
    }
}

/// Checks a page as if it stood in a site's own folder, beside the built-in templates.
pub fn check(name: &str, text: &str) -> Report {
    let mut report = Report { page: name.into(), ..Report::default() };
    match Page::parse(text, &Elements::embedded()) {
        Ok(page) => {
            report.maps = page.maps.iter().map(|map| map.name.to_string()).collect();
            report.groups = page.groups.iter().map(|group| group.name.to_string()).collect();
            report.messages = page.messages.iter().map(|message| message.name.to_string()).collect();
            report.tables = page.tables.iter().map(|table| table.name.to_string()).collect();
        }
        Err(faults) => {
            report.faults =
                faults.into_iter().map(|wrong| Fault::at(text, wrong.at, wrong.message)).collect();
            return report;
        }
    }
    if let Err(error) = Library::embedded_with(vec![(name.into(), text.into())]) {
        report.faults = error.faults;
    }
    report
}

/// Names that nothing defines, and tables with codes that R4 does not know: the definition they are in, and where.
pub(super) fn loose_ends(library: &Library) -> Vec<(Arc<str>, Wrong)> {
    let mut loose = Vec::new();
    for map in library.maps.values() {
        each_rule(&map.lines, &mut |rule| {
            if let Some(message) = rule_fault(library, rule) {
                loose.push((Arc::clone(&map.name), Wrong::new(rule.at.clone(), message)));
            }
        });
    }
    let groups = library.groups.values().map(|group| &**group);
    for group in groups.chain(library.messages.iter().map(|message| &message.root)) {
        group_faults(library, group, &mut loose);
    }
    loose
}

fn group_faults(library: &Library, group: &Group, loose: &mut Vec<(Arc<str>, Wrong)>) {
    for (inner, at) in &group.groups {
        if !library.groups.contains_key(inner) {
            let message = unknown("group", inner, library.groups.keys());
            loose.push((Arc::clone(&group.name), Wrong::new(at.clone(), message)));
        }
    }
    for make in &group.makes {
        let message = match library.maps.get(&make.map) {
            None => unknown("map", &make.map, library.maps.keys()),
            Some(map) if map.segment.is_none() => {
                format!("`{}` reads a value: a group makes maps of segments", make.map)
            }
            Some(_) => continue,
        };
        loose.push((Arc::clone(&group.name), Wrong::new(make.at.clone(), message)));
    }
}

fn unknown<'k>(what: &str, name: &str, known: impl Iterator<Item = &'k Arc<str>>) -> String {
    let near = did_you_mean(name, known.map(|name| &**name));
    let hint = near.map_or_else(String::new, |near| format!(": did you mean `{near}`?"));
    format!("there is no {what} `{name}`{hint}")
}

fn each_rule(lines: &[Line], look: &mut impl FnMut(&Rule)) {
    for rule in lines.iter().flat_map(|line| &line.rules) {
        look(rule);
        if let What::Read(read) = &rule.what
            && let How::Lines(inner) = &read.how
        {
            each_rule(inner, look);
        }
    }
}

fn rule_fault(library: &Library, rule: &Rule) -> Option<String> {
    let What::Read(read) = &rule.what else { return None };
    match &read.how {
        How::Map(name) => {
            let Some(map) = library.maps.get(name) else {
                return Some(unknown("map", name, library.maps.keys()));
            };
            let kind = &*rule.leaf.kind;
            let is_resource = kind == "Reference" && map.makes.starts_with(|c: char| c.is_ascii_uppercase());
            (map.makes != kind && !is_resource)
                .then(|| format!("`{name}` makes a {}, and {} is a {kind}", map.makes, rule.leaf.path))
        }
        How::Table(name) => {
            let Some(table) = library.tables.get(name) else {
                return Some(unknown("table", name, library.tables.keys()));
            };
            let codes = &library.elements.at(&rule.leaf.path)?.codes;
            let wrong = table.targets().find(|to| !codes.is_empty() && !codes.contains(&&*to.code))?;
            Some(format!("table {name}: {} is never `{}`", rule.leaf.path, wrong.code))
        }
        _ => None,
    }
}
