//! Active alarms. A monitor repeats its list every second; told is what changed since the list before.

use super::super::{Spoken, Statement};
use super::value;
use super::{Instant, waves};
use crate::device::{
    Alarm, AlarmInactivation, AlarmPhase, AlarmPriority, AlarmState, AlertKind, Coding, MeasurementStatus,
    MetricClass, Value,
};
use crate::wire::intellivue::message::Cursor;

/// One entry of a DevAlarmList.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    source: u16,
    code: u16,
    kind: u16,
    state: u16,
    class: u16,
    place: (u16, u16),
    instance: u16,
    text: Option<String>,
}

/// In the entry's info: text id, priority and flags, with or without the text.
const WITH_TEXT: u16 = 516;
const WITHOUT_TEXT: u16 = 513;
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
}

impl List {
    /// Takes a list that was told in an earlier frame.
    pub(super) fn remember(&mut self, list: &[u8]) {
        self.entries = entries(list).or_else(|| self.entries.take());
    }

    /// Takes a list and says what is new, changed or gone. The first list of all is there already and did not begin
    /// now.
    pub(super) fn hear(&mut self, list: &[u8], at: &Instant, told: &mut Vec<Statement>) -> Option<()> {
        let now = entries(list)?;
        let before = self.entries.replace(now.clone());
        let known = before.as_deref().unwrap_or_default();
        for entry in &now {
            let phase = match known.iter().find(|old| old.is(entry)) {
                Some(old) if old.says_the_same(entry) => continue,
                Some(_) => AlarmPhase::Update,
                None if before.is_some() => AlarmPhase::Start,
                None => AlarmPhase::Present,
            };
            told.push(entry.statement(phase, at));
        }
        for gone in known.iter().filter(|old| !now.iter().any(|entry| old.is(entry))) {
            told.push(gone.statement(AlarmPhase::End, at));
        }
        Some(())
    }
}

fn entries(list: &[u8]) -> Option<Vec<Entry>> {
    let (count, mut cursor) = Cursor(list).list()?;
    let mut entries = Vec::new();
    for _ in 0..count {
        let (source, code) = (cursor.u16()?, cursor.u16()?);
        let (kind, state) = (cursor.u16()?, cursor.u16()?);
        let (class, context, handle) = (cursor.u16()?, cursor.u16()?, cursor.u16()?);
        let info = cursor.u16()?;
        let mut inner = Cursor(cursor.sized()?);
        let (mut instance, mut text) = (0, None);
        if matches!(info, WITH_TEXT | WITHOUT_TEXT) {
            instance = inner.u16()?;
            inner.take(8)?;
            text = Some(inner.0).filter(|_| info == WITH_TEXT).and_then(value::text);
        }
        entries.push(Entry { source, code, kind, state, class, place: (context, handle), instance, text });
    }
    Some(entries)
}

impl Entry {
    /// Whether both speak of one alarm.
    fn is(&self, other: &Self) -> bool {
        let key = |entry: &Self| (entry.source, entry.code, entry.class, entry.place, entry.instance);
        key(self) == key(other)
    }

    fn says_the_same(&self, other: &Self) -> bool {
        (self.kind, self.state & LASTING, &self.text) == (other.kind, other.state & LASTING, &other.text)
    }

    fn statement(&self, phase: AlarmPhase, at: &Instant) -> Statement {
        let (code, system) = value::code(value::PARTITION_EVENTS, self.code);
        let is = |bit: u16| self.state & bit != 0;
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
        let (kind, priority) = kind(self.kind);
        let alarm = Alarm {
            text: self.text.as_deref().map(Into::into),
            phase: Some(phase),
            state: Some(state),
            inactivation: inactivation
                .into_iter()
                .filter(|(bit, _)| is(*bit))
                .map(|(_, word)| word)
                .collect(),
            priority,
            kind,
            source: Some(self.source()),
            // The instance number is used again for later alarms: with it one would overwrite another.
            episode: None,
        };
        let mut statement = Statement::new(code, system, Spoken::Value(Value::Alarm(Box::new(alarm))));
        statement.text = self.text.clone().unwrap_or_default();
        statement.class = Some(MetricClass::Alarm);
        statement.status = MeasurementStatus {
            test_data: is(TESTED),
            demo_data: is(DEMONSTRATED),
            ..MeasurementStatus::default()
        };
        statement.taken.clone_from(&at.moment);
        statement.containment = Some(waves::containment(self.place));
        statement.place = format!("alarm {:04x}", self.code);
        statement
    }

    /// The last bit of the code says in which partition the source is numbered.
    fn source(&self) -> Coding {
        let partition = if self.code & 1 == 0 { value::PARTITION_METRICS } else { value::PARTITION_OBJECTS };
        let (code, system) = value::code(partition, self.source);
        Coding::new(&system, &code, None)
    }
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
