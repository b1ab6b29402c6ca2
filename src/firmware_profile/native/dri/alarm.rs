//! Alarm status records: up to five alarms the monitor shows, each with its text and colour: white, yellow and red
//! are the low, medium and high priority of IEC 60601-1-8.

use super::super::{Spoken, Statement};
use super::{Reading, containment};
use crate::device::{Alarm as Alert, AlarmPhase, AlarmPriority, AlarmState, MetricClass, Moment, Value};
use crate::wire::dri::record::{Record, u16_at};

/// Subrecord type of the alarm status.
const STATUS: u8 = 1;
/// Reserved, sound, two reserved words and the silence come before the alarms.
const FIRST: usize = 10;
const ALARMS: usize = 5;
const TEXT: usize = 80;
/// Length of one alarm. The specification gives C structures; which padding a monitor uses shows in the bytes.
const STRIDES: [usize; 3] = [98, 96, 100];

struct Alarm {
    text: String,
    colour: u16,
}

pub(super) fn read(record: &Record<'_>, sent: Option<&Moment>, place: &str, reading: &mut Reading<'_>) {
    for (kind, bytes) in record.subrecords().filter(|(kind, _)| *kind == STATUS) {
        let Some(alarms) = STRIDES.iter().find_map(|stride| alarms(bytes, *stride)) else {
            reading.tell("alarm-layout", place, &format!("An alarm status of type {kind} cannot be read."));
            continue;
        };
        for (number, alarm) in alarms.into_iter().enumerate().filter(|(_, alarm)| alarm.colour > 0) {
            let priority = match alarm.colour {
                1 => AlarmPriority::Low,
                2 => AlarmPriority::Medium,
                _ => AlarmPriority::High,
            };
            let value = Alert {
                text: Some(alarm.text.as_str().into()),
                phase: Some(AlarmPhase::Present),
                state: Some(AlarmState::Active),
                priority: Some(priority),
                ..Alert::default()
            };
            let mut statement = Statement::new("alarm", "", Spoken::Value(Value::Alarm(Box::new(value))));
            statement.text = "Alarm".into();
            statement.class = Some(MetricClass::Alarm);
            statement.taken = sent.cloned();
            statement.containment =
                Some(containment(20, u32::try_from(number).unwrap_or_default().saturating_add(1)));
            statement.place = format!("{place}, alarm {}", number + 1);
            reading.statements.push(statement);
        }
    }
}

/// The alarms, when everything in them is what it must be: text, two flags and a colour of four.
fn alarms(bytes: &[u8], stride: usize) -> Option<Vec<Alarm>> {
    let mut alarms = Vec::with_capacity(ALARMS);
    for number in 0..ALARMS {
        let own = bytes.get(FIRST + number * stride..)?;
        let text = own.get(..TEXT)?;
        let (changed, colour, recoloured) =
            (u16_at(own, TEXT)?, u16_at(own, TEXT + 2)?, u16_at(own, TEXT + 4)?);
        if changed > 1 || recoloured > 1 || colour > 3 {
            return None;
        }
        let end = text.iter().position(|byte| *byte == 0).unwrap_or(TEXT);
        let (said, rest) = text.split_at(end);
        let prints =
            said.iter().all(|byte| *byte >= 0x20) && (end == 0 || said.iter().any(u8::is_ascii_alphabetic));
        if !prints || (end == 0 && rest.iter().any(|byte| *byte != 0)) {
            return None;
        }
        // The text is in the monitor's own 8-bit set; Latin-1 keeps its letters.
        let text = said.iter().map(|byte| char::from(*byte)).collect::<String>().trim().to_owned();
        alarms.push(Alarm { text, colour });
    }
    Some(alarms)
}
