//! Active alarms. A monitor repeats its list every second; told is what changed since the list before.

use super::super::{Spoken, Statement};
use super::value;
use super::{Instant, waves};
use crate::device::{
    Alarm, AlarmInactivation, AlarmPhase, AlarmPriority, AlarmState, AlertKind, Coding, MeasurementStatus,
    MetricClass, Value,
};
use crate::wire::intellivue::alert::{Entry, Since, entries};

/// AlertState.
const INHIBITED: u16 = 0x8000;
const SUSPENDED: u16 = 0x4000;
const LATCHED: u16 = 0x2000;
const SILENCED: u16 = 0x1000;
const TESTED: u16 = 0x0400;
const DEMONSTRATED: u16 = 0x0100;
/// What of the state is not new.
const LASTING: u16 = INHIBITED | SUSPENDED | LATCHED | SILENCED | TESTED | DEMONSTRATED;

/// The alarms of one list, patient or technical, as they were told last.
#[derive(Default)]
pub(super) struct List {
    entries: Option<Vec<Entry>>,
    since: Since,
}

impl List {
    /// Takes a list that was told in an earlier frame, and since when its alarms are told.
    pub(super) fn remember(&mut self, list: &[u8], since: Option<&[u8]>) {
        if let Some(entries) = entries(list) {
            self.entries = Some(entries);
            self.since = since.map(Since::read).unwrap_or_default();
        }
    }

    /// Takes a list and says what is new, changed or gone. The first list of all is there already and did not begin
    /// now.
    pub(super) fn hear(&mut self, list: &[u8], at: &Instant, told: &mut Vec<Statement>) -> Option<()> {
        let now = entries(list)?;
        let since = self.since.after(&now, at.ticks);
        let before = self.entries.replace(now.clone());
        let known = before.as_deref().unwrap_or_default();
        for entry in &now {
            let phase = match known.iter().find(|old| old.key() == entry.key()) {
                Some(old) if says_the_same(old, entry) => continue,
                Some(_) => AlarmPhase::Update,
                None if before.is_some() => AlarmPhase::Start,
                None => AlarmPhase::Present,
            };
            told.push(statement(entry, phase, &since, at));
        }
        for gone in known.iter().filter(|old| !now.iter().any(|entry| old.key() == entry.key())) {
            told.push(statement(gone, AlarmPhase::End, &self.since, at));
        }
        self.since = since;
        Some(())
    }
}

fn says_the_same(old: &Entry, new: &Entry) -> bool {
    (old.kind, old.state & LASTING, &old.text) == (new.kind, new.state & LASTING, &new.text)
}

fn statement(entry: &Entry, phase: AlarmPhase, since: &Since, at: &Instant) -> Statement {
    let (code, system) = value::code(value::PARTITION_EVENTS, entry.code);
    let is = |bit: u16| entry.state & bit != 0;
    let state = match phase {
        AlarmPhase::End => AlarmState::Inactive,
        _ if is(LATCHED) => AlarmState::Latched,
        _ => AlarmState::Active,
    };
    let inactivation = [
        (INHIBITED, AlarmInactivation::AlarmOff),
        (SUSPENDED, AlarmInactivation::AlarmPaused),
        (SILENCED, AlarmInactivation::Acknowledged),
    ];
    let (kind, priority) = kind(entry.kind);
    let text = value::text(&entry.text);
    let alarm = Alarm {
        text: text.as_deref().map(Into::into),
        phase: Some(phase),
        state: Some(state),
        inactivation: inactivation.into_iter().filter(|(bit, _)| is(*bit)).map(|(_, word)| word).collect(),
        priority,
        kind,
        source: Some(source(entry)),
        episode: since.of(&entry.key()).map(|tick| episode(entry, tick).into()),
    };
    let mut statement = Statement::new(code, system, Spoken::Value(Value::Alarm(Box::new(alarm))));
    statement.text = text.unwrap_or_default();
    statement.class = Some(MetricClass::Alarm);
    statement.status = MeasurementStatus {
        test_data: is(TESTED),
        demo_data: is(DEMONSTRATED),
        ..MeasurementStatus::default()
    };
    statement.taken.clone_from(&at.moment);
    statement.containment = Some(waves::containment(entry.place));
    statement.place = format!("alarm {:04x}", entry.code);
    statement
}

/// One alarm from its start to its end: the object that alarms, why, and the tick at which it was heard first.
fn episode(entry: &Entry, tick: u32) -> String {
    let (context, handle) = entry.place;
    format!("{:04x}-{context:04x}.{handle:04x}-{:04x}-{tick:08x}", entry.source, entry.instance)
}

/// The last bit of the code says in which partition the source is numbered.
fn source(entry: &Entry) -> Coding {
    let partition = if entry.code & 1 == 0 { value::PARTITION_METRICS } else { value::PARTITION_OBJECTS };
    let (code, system) = value::code(partition, entry.source);
    Coding::new(&system, &code, None)
}

/// AlertType: three priorities of technical and of patient alarms.
fn kind(bits: u16) -> (Option<AlertKind>, Option<AlarmPriority>) {
    let kind = match bits {
        0x0001..=0x0007 => Some(AlertKind::Technical),
        0x0100..=0x0700 => Some(AlertKind::Physiological),
        _ => None,
    };
    let priority = match bits {
        0 => Some(AlarmPriority::None),
        bits if bits & 0x0404 != 0 => Some(AlarmPriority::High),
        bits if bits & 0x0202 != 0 => Some(AlarmPriority::Medium),
        bits if bits & 0x0101 != 0 => Some(AlarmPriority::Low),
        _ => None,
    };
    (kind, priority)
}
