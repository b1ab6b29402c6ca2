//! An alarm as the rows of one event of IHE PCD-04 (ORU^R40): numbered by the facet in OBX-4, as IHE PCD TF-2 writes them.

use crate::device::{Alarm, Containment, Measurement, ResultStatus};

use super::er7::{Segment, coded, escaped, stamp, system};
use super::row::code;
use super::tree::dotted;

/// OBR-29 names the start of the alarm by its filler number: placer ^ filler, the filler's parts joined by `&`.
pub(super) fn parent(alarm: &Alarm) -> String {
    alarm.episode.as_deref().map(|number| format!("^{}&BEDSIDE", escaped(number))).unwrap_or_default()
}

/// The rows of an event. What the device does not say has no row.
pub(super) fn rows(measurement: &Measurement, alarm: &Alarm, equipment: &str) -> String {
    let at = measurement.containment.unwrap_or(Containment { mds: 1, ..Containment::default() });
    let place = |facet: u32| dotted(Containment { mds: 1, facet, ..at });
    let priority = alarm.priority.map(|priority| priority.code().to_owned());
    let kind = alarm.kind.map(|kind| kind.code().to_owned());
    let side = measurement.interpretation.iter().map(|flag| escaped(flag));
    let flags: Vec<String> = side.chain(priority.clone()).chain(kind.clone()).collect();

    let mut event = Segment::new("OBX");
    event.set(2, "CWE".into());
    event.set(3, "196616^MDC_EVT_ALARM^MDC".into());
    event.set(4, place(1));
    // CWE.9 is what the device shows.
    let shown = alarm.text.as_deref().map(|text| format!("^^^^^^{}", escaped(text))).unwrap_or_default();
    let three = code(&measurement.metric, false).split('^').take(3).collect::<Vec<_>>().join("^");
    let gap = "^".repeat(2usize.saturating_sub(three.matches('^').count()));
    event.set(5, format!("{three}{}{shown}", if shown.is_empty() { "" } else { &gap }));
    event.set(7, measurement.reference_range.as_deref().map(escaped).unwrap_or_default());
    event.set(8, flags.join("~"));
    let status = match measurement.result_status {
        ResultStatus::EnteredInError => "W",
        ResultStatus::Corrected => "C",
        _ => "R",
    };
    event.set(11, status.into());
    event.set(14, stamp(&measurement.taken));
    event.set(18, equipment.to_owned());

    let source = alarm.source.as_ref().map(|source| {
        coded(&source.code, source.display.as_deref().unwrap_or_default(), &system(&source.system))
    });
    let inactivation: Vec<&str> = alarm.inactivation.iter().map(|one| one.code()).collect();
    let attributes = [
        (2, "CWE", "68480^MDC_ATTR_ALERT_SOURCE", source),
        (3, "ST", "68481^MDC_ATTR_EVENT_PHASE", alarm.phase.map(|phase| phase.code().into())),
        (4, "ST", "68482^MDC_ATTR_ALARM_STATE", alarm.state.map(|state| state.code().into())),
        (5, "ST", "68483^MDC_ATTR_ALARM_INACTIVATION_STATE", Some(inactivation.join("~"))),
        (6, "ST", "68484^MDC_ATTR_ALARM_PRIORITY", priority),
        (7, "ST", "68485^MDC_ATTR_ALERT_TYPE", kind),
    ];
    let rows = attributes.into_iter().filter_map(|(facet, kind, name, text)| {
        let text = text.filter(|text| !text.is_empty())?;
        let mut obx = Segment::new("OBX");
        obx.set(2, kind.into());
        obx.set(3, format!("{name}^MDC"));
        obx.set(4, place(facet));
        obx.set(5, text);
        obx.set(11, status.into());
        Some(obx)
    });
    let all = std::iter::once(event).chain(rows).zip(1..);
    let written = all.map(|(mut obx, number): (Segment, u32)| {
        obx.set(1, number.to_string());
        obx.written()
    });
    written.collect()
}
