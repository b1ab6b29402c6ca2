//! XML items that name their own code, such as the observations of POCT1-A: code, system, value, unit, flags, limits
//! and status each at their place. Items with one parent are one report: one patient's, or one control's.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use super::compose::Composer;
use super::flat::{self, Fields, UnitSaid, first};
use super::locate::Locator;
use super::metric::{ValueKind, canonical_system};
use super::outcome::{self, About, Row, add_note};
use super::value::Marks;
use super::xml::{Place, Step, XmlPath};
use super::{Decoded, FirmwareProfile, LinkContext, finding, person};
use crate::device::{AbsentReason, Domain, Finding, Identifier, Moment, ResultStatus};

/// Where an item says what it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Coded {
    pub(super) code: Vec<Locator>,
    pub(super) system: Vec<Locator>,
    /// The code in words.
    pub(super) name: Vec<Locator>,
    pub(super) value: Vec<Locator>,
    pub(super) unit: Vec<Locator>,
    /// Why there is no value, as an HL7 v3 NullFlavor.
    pub(super) absent: Vec<Locator>,
    pub(super) flags: Vec<Locator>,
    pub(super) range: Vec<Locator>,
    pub(super) status: Vec<Locator>,
    pub(super) statuses: Vec<(String, Status)>,
    /// Where the order's number stands.
    pub(super) order: Vec<Locator>,
    pub(super) remarks: Vec<Remark>,
    /// Places that need no finding although nothing is made of them.
    pub(super) known: Vec<Locator>,
}

/// What a status word of the device means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Final,
    Preliminary,
    Corrected,
    /// The operator or the device threw it away: it is no result.
    Rejected,
}

/// Something worth a note.
#[derive(Clone, Debug)]
pub(super) struct Remark {
    pub(super) at: Locator,
    pub(super) label: Option<String>,
    /// The device's words and ours; when there are any, others are not noted.
    pub(super) texts: Vec<(String, String)>,
}

pub(super) fn decode(
    profile: &FirmwareProfile,
    coded: &Coded,
    places: &[Place<'_>],
    context: &LinkContext,
    findings: Vec<Finding>,
) -> Decoded {
    let mut decoded = Decoded { findings, ..Decoded::default() };
    let parent =
        |place: &Place<'_>| place.item.and_then(|at| place.tree.nodes.get(at)).and_then(|node| node.parent);
    for group in places.chunk_by(|a, b| parent(a) == parent(b)) {
        report(profile, coded, group, context, &mut decoded);
    }
    if decoded.reports.is_empty() {
        let reason = if places.is_empty() {
            "nothing in the document fits the profile"
        } else {
            "no result of the document can be read"
        };
        decoded.held = Some(reason.into());
    }
    decoded
}

fn report(
    profile: &FirmwareProfile,
    coded: &Coded,
    group: &[Place<'_>],
    context: &LinkContext,
    decoded: &mut Decoded,
) {
    let Some(head) = group.first() else { return };
    let findings = &mut decoded.findings;
    let control = outcome::is_control(&profile.plan.quality_control, head);
    let specimen = flat::specimen(profile, head, findings);
    let kind =
        specimen.as_ref().and_then(|specimen| specimen.kind.as_ref()).map(|kind| Arc::clone(&kind.code));
    let mut composer = Composer::default();
    for place in group {
        let Some(row) = row(profile, coded, place, control, context, findings) else { continue };
        let (measurement, group) = row.measurement(profile, kind.as_deref());
        let group = group.and_then(|number| profile.plan.table.groups.get(number).map(|def| (number, def)));
        composer.push(measurement, group);
    }
    let subject = &profile.plan.subject;
    let order = first(head, &coded.order).map(|text| text.trim().to_owned());
    let about = About {
        device: flat::device(profile, head, findings),
        person: person::from_fields(subject, head, findings).filter(|_| !control),
        place: person::place(subject, head),
        specimen,
        orders: order
            .filter(|_| !control)
            .map(|value| number_of_order(profile, &value))
            .into_iter()
            .collect(),
    };
    outcome::close(&mut decoded.reports, about, composer);
}

fn number_of_order(profile: &FirmwareProfile, value: &str) -> Identifier {
    let system = format!("urn:bedside:order:{}", profile.id);
    Identifier { system: system.into(), value: value.into(), kind: None }
}

fn row<'p>(
    profile: &'p FirmwareProfile,
    coded: &Coded,
    item: &'p Place<'_>,
    control: bool,
    context: &LinkContext,
    findings: &mut Vec<Finding>,
) -> Option<Row<'p>> {
    let said = |at: &[Locator]| first(item, at).map(|text| text.trim().to_owned()).unwrap_or_default();
    let (code, name) = (said(&coded.code), said(&coded.name));
    let system = canonical_system(&said(&coded.system)).to_owned();
    let metric = profile.plan.table.find(&code, &system);
    if metric.is_some_and(|(def, _)| def.kind == ValueKind::Ignore) {
        return None;
    }
    let place = |what: &str| format!("item {} {what}", item.number);
    if metric.is_none() {
        let text = "The test is not in the profile; its value is kept under the code as it came.";
        findings.push(finding("unknown-code", place("code"), text));
    }
    let (mut marks, mut note) = (Marks::default(), None);
    for flag in coded.flags.iter().flat_map(|at| item.all(at)) {
        outcome::flag(profile, flag, &|| place("flags"), &mut marks, &mut note, findings);
    }
    let result_status = status(coded, &said(&coded.status), &place, &mut marks, &mut note, findings);
    remarks(coded, item, &mut note);
    unused(profile, coded, item, findings);
    let (text, unit_text) = (said(&coded.value), said(&coded.unit));
    let unit = (!unit_text.is_empty()).then(|| flat::unit_of_text(&unit_text));
    let at_value = || place("value");
    let mut read = match metric {
        _ if text.is_empty() => outcome::absent_with(&marks, null_flavour(&said(&coded.absent))),
        Some((def, _)) => {
            let unit = UnitSaid::Text(Some(&unit_text));
            flat::read_value(profile, def, &text, unit, &at_value, &mut marks, findings)
        }
        None => outcome::unlisted_value(profile, &text, unit.clone(), &mut marks),
    };
    flat::withhold(&mut read.value, &marks, &at_value, findings);
    let range = limits(&said(&coded.range));
    Some(Row {
        code: Cow::Owned(code),
        text: Cow::Owned(name),
        system: Cow::Owned(system),
        metric,
        unit: metric
            .and_then(|(def, _)| def.units.get(unit_text.as_str()))
            .map(|rule| rule.unit.clone())
            .or(unit),
        read,
        marks,
        result_status,
        taken: taken(profile, item, context, findings),
        containment: None,
        range: (!range.is_empty()).then(|| range.into()),
        site: None,
        note,
        quality_control: control,
        domain: Domain::Laboratory,
    })
}

fn status(
    coded: &Coded,
    word: &str,
    place: &dyn Fn(&str) -> String,
    marks: &mut Marks,
    note: &mut Option<String>,
    findings: &mut Vec<Finding>,
) -> ResultStatus {
    if word.is_empty() {
        return ResultStatus::Final;
    }
    match coded.statuses.iter().find(|(known, _)| known == word) {
        Some((_, Status::Final)) => ResultStatus::Final,
        Some((_, Status::Preliminary)) => ResultStatus::Preliminary,
        Some((_, Status::Corrected)) => ResultStatus::Corrected,
        Some((_, Status::Rejected)) => {
            marks.absent = Some(AbsentReason::Error);
            add_note(note, "The device marks this result as rejected.");
            ResultStatus::Cancelled
        }
        None => {
            let text = "The result status is not in the profile; the result is taken as final.";
            findings.push(finding("unknown-status", place("status"), text));
            ResultStatus::Final
        }
    }
}

fn remarks(coded: &Coded, item: &Place<'_>, note: &mut Option<String>) {
    for remark in &coded.remarks {
        for text in item.all(&remark.at) {
            let ours = remark.texts.iter().find(|(theirs, _)| theirs == text).map(|(_, ours)| ours.as_str());
            let words = if remark.texts.is_empty() { Some(text) } else { ours };
            match (words, &remark.label) {
                (Some(words), Some(label)) => add_note(note, &format!("{label}: {words}")),
                (Some(words), None) => add_note(note, words),
                (None, _) => {}
            }
        }
    }
}

/// Tells which elements of an item nothing was made of.
fn unused(profile: &FirmwareProfile, coded: &Coded, item: &Place<'_>, findings: &mut Vec<Finding>) {
    let lists = [
        &coded.code,
        &coded.system,
        &coded.name,
        &coded.value,
        &coded.unit,
        &coded.absent,
        &coded.flags,
        &coded.range,
        &coded.status,
        &coded.known,
    ];
    let times = profile.plan.time.from.iter().flatten();
    let remarks = coded.remarks.iter().map(|remark| &remark.at);
    let mut used: HashSet<usize> = HashSet::new();
    for at in lists.into_iter().flatten().chain(times).chain(remarks) {
        if let Locator::Xml(path) = at {
            used.extend(item.tree.select(path, item.item));
        }
    }
    let own = item.item.and_then(|at| item.tree.nodes.get(at)).map(|node| node.children.as_slice());
    for child in own.unwrap_or_default() {
        let Some(node) = item.tree.nodes.get(*child) else { continue };
        let text = || "The element is not used by the profile.";
        let known = findings.iter().any(|told| told.code == "unused" && *told.place == *node.name);
        if node.says_something() && !used.contains(child) && !known {
            findings.push(finding("unused", node.name.to_string(), text()));
        }
    }
}

fn taken(
    profile: &FirmwareProfile,
    item: &Place<'_>,
    context: &LinkContext,
    findings: &mut Vec<Finding>,
) -> Moment {
    let rules = &profile.plan.time;
    let joined = |parts: &Vec<Locator>| {
        let texts: Option<Vec<Cow<'_, str>>> = parts.iter().map(|at| item.text(at)).collect();
        texts.map(|texts| texts.join(" ")).filter(|text| !text.trim().is_empty())
    };
    let said = rules.from.iter().find_map(|parts| joined(parts).zip(parts.first()));
    let (text, place) = match said {
        Some((text, at)) => (text, at.own_code()),
        None => (String::new(), "time".to_owned()),
    };
    rules.moment(&text, &place, context, findings)
}

/// HL7 v3 NullFlavor → data-absent-reason.
fn null_flavour(text: &str) -> AbsentReason {
    match text {
        "NAV" => AbsentReason::TempUnknown,
        "NA" => AbsentReason::NotApplicable,
        "ASKU" => AbsentReason::AskedUnknown,
        "NASK" => AbsentReason::NotPerformed,
        "NINF" => AbsentReason::NegativeInfinity,
        "PINF" => AbsentReason::PositiveInfinity,
        _ => AbsentReason::Unknown,
    }
}

/// An interval of HL7 v3 (`[80;120]`, `[;5]`, `[3;]`) as results write limits; anything else stays as it is.
fn limits(text: &str) -> String {
    let closed =
        text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).and_then(|rest| rest.split_once(';'));
    match closed.map(|(low, high)| (low.trim(), high.trim())) {
        Some((low, high)) if !low.is_empty() && !high.is_empty() => format!("{low}-{high}"),
        Some(("", high)) if !high.is_empty() => format!("<={high}"),
        Some((low, "")) if !low.is_empty() => format!(">={low}"),
        Some(_) => String::new(),
        None => text.to_owned(),
    }
}

/// Whether a path can be an item: it must say which elements.
pub(super) fn names_elements(path: &XmlPath) -> bool {
    !path.relative && path.attribute.is_none() && path.steps.iter().any(|step| *step != Step::Up)
}
