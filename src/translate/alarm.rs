//! An alarm → one Observation for its whole life: start, update and end are versions of it.
//!
//! R4 and the PoCD guide have no alert resource. An Observation can name device, patient, time, place in the device and
//! what it was derived from, and is found by the same searches as the values beside it; a DetectedIssue cannot (no
//! component, no device). The attributes of IHE PCD-04 are its components, under their MDC numbers.

use crate::device::{Alarm, AlarmPhase, AlarmState, MDC, Measurement, MetricClass, Value};
use crate::fhir::{CodeableConcept, Coding, Component, ObservationValue, Reference};

use super::list::key;
use super::{clean, status, value};

/// Observation category of alarms; FHIR has none.
pub(super) const CATEGORY: Coding<'static> =
    Coding::fixed("urn:bedside:observation-category", "alarm", "Alarm");

/// Code systems of the words of IHE PCD-04, which have none of their own.
const PHASE: &str = "urn:bedside:event-phase";
const STATE: &str = "urn:bedside:alarm-state";
const INACTIVATION: &str = "urn:bedside:alarm-inactivation-state";
const PRIORITY: &str = "urn:bedside:alarm-priority";
const KIND: &str = "urn:bedside:alert-type";

/// The alarm in a measurement, when it is told with its attributes.
pub(super) fn of(measurement: &Measurement) -> Option<&Alarm> {
    match &measurement.value {
        Value::Alarm(alarm) => Some(alarm),
        _ => None,
    }
}

/// Whether it warns of something, told as an [`Alarm`] or more simply.
pub(super) fn is_alarm(measurement: &Measurement) -> bool {
    measurement.metric.class == MetricClass::Alarm
}

/// The key of an alarm that the device follows under a number of its own: no time is in it, so that every telling is
/// the same resource. `None` for an alarm without such a number: each telling then stands for itself, and none can
/// overwrite another alarm.
pub(super) fn identity(
    alarm: &Alarm,
    device: &str,
    measurement: &Measurement,
    whose: &str,
    ordinal: usize,
) -> Option<String> {
    let episode = alarm.episode.as_deref().filter(|episode| !episode.trim().is_empty())?;
    let (system, code) = value::own_code(&measurement.metric);
    let ordinal = if ordinal == 0 { String::new() } else { ordinal.to_string() };
    Some(key("Observation", &["alarm", device, &system, &code, episode, whose, &ordinal]))
}

/// Whether this telling takes the place of an earlier one: a start never overwrites what came after it.
pub(super) fn replaces(alarm: &Alarm) -> bool {
    alarm.episode.is_some() && !matches!(alarm.phase, Some(AlarmPhase::Start) | None)
}

/// `Observation.status`: not final for as long as the alarm goes on.
pub(super) fn observation_status(alarm: &Alarm) -> &'static str {
    match (alarm.phase, alarm.state) {
        (Some(phase), _) if phase.is_last() => "final",
        (None, None | Some(AlarmState::Inactive)) => "final",
        _ if alarm.episode.is_none() => "final",
        _ => "preliminary",
    }
}

/// The state as value, and every attribute as a component.
pub(super) fn elements(alarm: &Alarm) -> (Option<ObservationValue<'_>>, Vec<Component<'_>>) {
    let state = alarm.state.or(match alarm.phase {
        Some(AlarmPhase::End | AlarmPhase::Reset) => Some(AlarmState::Inactive),
        Some(AlarmPhase::Point) | None => None,
        Some(_) => Some(AlarmState::Active),
    });
    let value = match state {
        Some(state) => ObservationValue::CodeableConcept(word(STATE, state.code(), state_text(state))),
        None => ObservationValue::Absent(status::absent_concept(crate::device::AbsentReason::Unknown)),
    };
    let mut parts = Vec::new();
    let mut add = |code, refid, value| parts.push(component(code, refid, value));
    let concept = ObservationValue::CodeableConcept;
    if let Some(source) = alarm.source.as_ref().and_then(clean::concept) {
        add("68480", "MDC_ATTR_ALERT_SOURCE", concept(source));
    }
    if let Some(phase) = alarm.phase {
        add("68481", "MDC_ATTR_EVENT_PHASE", concept(word(PHASE, phase.code(), phase.code())));
    }
    for one in &alarm.inactivation {
        let said = concept(word(INACTIVATION, one.code(), one.code()));
        add("68483", "MDC_ATTR_ALARM_INACTIVATION_STATE", said);
    }
    if let Some(priority) = alarm.priority {
        use crate::device::AlarmPriority as P;
        let text = match priority {
            P::None => "no alarm",
            P::Low => "low priority",
            P::Medium => "medium priority",
            P::High => "high priority",
        };
        add("68484", "MDC_ATTR_ALARM_PRIORITY", concept(word(PRIORITY, priority.code(), text)));
    }
    if let Some(kind) = alarm.kind {
        use crate::device::AlertKind as K;
        let text = match kind {
            K::Physiological => "physiological",
            K::Technical => "technical",
            K::Advisory => "advisory",
        };
        add("68485", "MDC_ATTR_ALERT_TYPE", concept(word(KIND, kind.code(), text)));
    }
    if let Some(text) = alarm.text.as_deref().and_then(clean::text) {
        add("68546", "MDC_ATTR_ALERT_TEXT", ObservationValue::String(text));
    }
    (Some(value), parts)
}

const fn state_text(state: AlarmState) -> &'static str {
    match state {
        AlarmState::Inactive => "inactive",
        AlarmState::Active => "active",
        AlarmState::Latched => "latched",
    }
}

fn word(system: &'static str, code: &'static str, text: &'static str) -> CodeableConcept<'static> {
    CodeableConcept::of(Coding::fixed(system, code, text))
}

fn component<'a>(code: &'static str, refid: &'static str, value: ObservationValue<'a>) -> Component<'a> {
    Component {
        code: CodeableConcept::of(Coding::fixed(MDC, code, refid)),
        value,
        interpretation: Vec::new(),
    }
}

/// The Observations of a report by the device's own code, so that an alarm can name the value that raised it.
#[derive(Default)]
pub(super) struct Raised(Vec<(String, String, String)>);

impl Raised {
    /// Remembers the Observation of a measurement under all its codes.
    pub(super) fn learn(&mut self, measurement: &Measurement, id: &str) {
        let codings = measurement.metric.codings.iter();
        self.0.extend(codings.map(|c| (c.system.to_string(), c.code.to_string(), id.to_owned())));
    }

    /// `derivedFrom`: the value of the metric that alarms, when the same report has exactly one.
    pub(super) fn by(&self, alarm: &Alarm) -> Option<Reference<'static>> {
        let source = alarm.source.as_ref()?;
        let mut found =
            self.0.iter().filter(|(system, code, _)| **system == *source.system && **code == *source.code);
        let (_, _, id) = found.next()?;
        found.next().is_none().then(|| Reference::to("Observation", id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::AlarmPriority;

    fn alarm(phase: Option<AlarmPhase>, state: Option<AlarmState>) -> Alarm {
        Alarm { phase, state, episode: Some("ACME-4711".into()), ..Alarm::default() }
    }

    #[test]
    fn an_alarm_is_preliminary_until_it_ends() {
        assert_eq!(observation_status(&alarm(Some(AlarmPhase::Start), None)), "preliminary");
        assert_eq!(observation_status(&alarm(Some(AlarmPhase::End), Some(AlarmState::Latched))), "final");
        assert_eq!(observation_status(&alarm(None, Some(AlarmState::Active))), "preliminary");
        let alone = Alarm { episode: None, ..alarm(Some(AlarmPhase::Start), None) };
        assert_eq!(observation_status(&alone), "final", "nothing will ever come to end it");
    }

    #[test]
    fn a_start_that_is_sent_again_does_not_take_back_an_end() {
        assert!(!replaces(&alarm(Some(AlarmPhase::Start), None)));
        assert!(replaces(&alarm(Some(AlarmPhase::End), None)));
    }

    #[test]
    fn the_state_is_the_value_and_the_attributes_are_components() {
        let full = Alarm {
            text: Some("** SpO2 LOW".into()),
            priority: Some(AlarmPriority::Medium),
            ..alarm(Some(AlarmPhase::Start), None)
        };
        let (value, parts) = elements(&full);
        let json = serde_json::to_string(&value).unwrap();
        assert!(json.contains("active"), "{json}");
        assert_eq!(parts.len(), 3);
        let silent = alarm(None, None);
        let (value, _) = elements(&silent);
        let json = serde_json::to_string(&value).unwrap();
        assert!(json.contains("unknown"), "no state is invented: {json}");
    }
}
