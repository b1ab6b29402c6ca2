//! The result of a control that stands in OBR, as Mindray's BS analysers send it: such messages have no OBX.

use super::flat::Fields;
use super::hl7::Here;
use super::locate::Locator;
use super::outcome::{self, Row};
use super::schema::ControlResult;
use super::time::received;
use super::value::Marks;
use super::{FirmwareProfile, LinkContext, finding, flat, hl7};
use crate::device::{Domain, Finding, Measurement, ResultStatus, Unit};

/// The measurement of class quality control; `None` where code or value is not said.
pub(super) fn measurement(
    profile: &FirmwareProfile,
    here: &Here<'_>,
    places: &ControlResult,
    context: &LinkContext,
    findings: &mut Vec<Finding>,
) -> Option<Measurement> {
    let said = |at: &Locator| here.text(at).filter(|text| !text.trim().is_empty());
    let (code, value) = (said(&places.code)?, said(&places.value)?);
    let name = places.name.as_ref().and_then(said).unwrap_or_default();
    let mut marks = Marks::default();
    let unit = places.unit.as_ref().and_then(said).map(|text| {
        let unit = flat::unit_of_text(text.trim());
        if unit.ucum.is_empty() { Unit { display: text.trim().into(), ..unit } } else { unit }
    });
    let read = outcome::unlisted_value(profile, &value, unit.clone(), &mut marks);
    let metric = profile.plan.table.find(&code, "").filter(|(def, _)| def.is_called(&name));
    let taken = places.taken.as_ref().and_then(|at| {
        let element = here.element(at)?;
        hl7::moment(profile, context, &element, &|| here.place(at), findings)
    });
    let mut note = None;
    for text in places.remarks.iter().filter_map(said) {
        outcome::add_note(&mut note, text.trim());
    }
    if metric.is_none() {
        let text = "The code is not known; its value is kept under the code as it came.";
        findings.push(finding("unknown-code", here.place(&places.code), text));
    }
    let row = Row {
        code,
        text: name,
        system: "".into(),
        metric,
        unit,
        read,
        marks,
        result_status: ResultStatus::Final,
        taken: taken.unwrap_or_else(|| received(context)),
        containment: None,
        range: None,
        site: None,
        note,
        quality_control: true,
        domain: Domain::Laboratory,
    };
    Some(row.measurement(profile, None).0)
}
