//! What a monitor said once and its later messages rest on: names, scales, the patient, the clock, the alarms.

use std::collections::BTreeMap;
use std::time::Duration;

use super::alert::{Since, entries};
use super::message::{ATTRIBUTES_OF_INTEREST, MDS, Message, Object, PATIENT, attribute};
use super::request::{sized, words};

/// More is not remembered; a monitor has some 100 objects of some 100 bytes.
const BYTES_MAX: usize = 48 << 10;
const VALUE_MAX: usize = 2 << 10;
/// 64 alarms with their texts.
const ALARMS_MAX: usize = 16 << 10;
/// Of one attribute and its object, where they are kept.
const OVERHEAD: usize = 14;

/// Facts by object class, context and handle, each a list of attributes.
#[derive(Debug, Default)]
pub(super) struct Known {
    objects: BTreeMap<(u16, u16, u16), Facts>,
    size: usize,
}

#[derive(Debug, Default)]
struct Facts {
    attributes: BTreeMap<u16, Vec<u8>>,
    heard: Duration,
}

impl Known {
    /// Takes what is worth remembering out of a message.
    pub(super) fn learn(&mut self, message: &Message<'_>, now: Duration) {
        let Message::Operation(operation) = message else { return };
        if let Some((tick, attributes)) = operation.mds_create() {
            // The monitor begins anew: handles and times of before mean nothing now.
            *self = Self::default();
            self.object(MDS, &Object { context: 0, handle: 0, attributes }, tick, now);
        }
        if let Some(result) = operation.poll_result() {
            result.objects(|object| self.object(result.class, &object, result.relative, now));
        }
    }

    fn object(&mut self, class: u16, object: &Object<'_>, tick: u32, now: Duration) {
        // There is one monitor and one patient, whatever their handles.
        let key = match class {
            MDS | PATIENT => (class, 0, 0),
            _ => (class, object.context, object.handle),
        };
        for (id, value) in object.attributes {
            match id {
                attribute::PATIENT_ALARMS => {
                    self.alarms(key, id, attribute::PATIENT_ALARMS_SINCE, value, tick)
                }
                attribute::TECHNICAL_ALARMS => {
                    self.alarms(key, id, attribute::TECHNICAL_ALARMS_SINCE, value, tick);
                }
                _ if ATTRIBUTES_OF_INTEREST.contains(&id) && value.len() <= VALUE_MAX => {
                    self.store(key, id, value);
                }
                _ => {}
            }
        }
        if let Some(facts) = self.objects.get_mut(&key) {
            facts.heard = now;
        }
    }

    /// A list of alarms and since when each of them is told. One that cannot be remembered leaves none behind: an old
    /// list would make every later one begin and end the same alarms again.
    fn alarms(&mut self, key: (u16, u16, u16), id: u16, since_id: u16, list: &[u8], tick: u32) {
        let before = self.objects.get(&key).and_then(|facts| facts.attributes.get(&since_id));
        let before = before.map(|bytes| Since::read(bytes)).unwrap_or_default();
        let now = entries(list).filter(|_| list.len() <= ALARMS_MAX);
        let kept = now.is_some_and(|now| {
            self.store(key, id, list) && self.store(key, since_id, &before.after(&now, tick).bytes())
        });
        if !kept {
            self.forget(key, id);
            self.forget(key, since_id);
        }
    }

    fn store(&mut self, key: (u16, u16, u16), id: u16, value: &[u8]) -> bool {
        let known = self.objects.get(&key).and_then(|facts| facts.attributes.get(&id));
        if known.is_some_and(|known| known == value) {
            return true;
        }
        let size = self.size.saturating_sub(known.map_or(0, |known| known.len() + OVERHEAD))
            + value.len()
            + OVERHEAD;
        if size > BYTES_MAX {
            return false;
        }
        self.size = size;
        self.objects.entry(key).or_default().attributes.insert(id, value.to_vec());
        true
    }

    fn forget(&mut self, key: (u16, u16, u16), id: u16) {
        let known = self.objects.get_mut(&key).and_then(|facts| facts.attributes.remove(&id));
        self.size = self.size.saturating_sub(known.map_or(0, |known| known.len() + OVERHEAD));
    }

    /// Whether this message speaks of another patient than before, or of a monitor that begins anew: what follows
    /// must not stand in one frame with what came before.
    pub(super) fn is_overturned_by(&self, message: &Message<'_>) -> bool {
        let Message::Operation(operation) = message else { return false };
        if operation.mds_create().is_some() {
            return true;
        }
        let Some(result) = operation.poll_result().filter(|result| result.class == PATIENT) else {
            return false;
        };
        let before = self.objects.get(&(PATIENT, 0, 0));
        let mut other = false;
        result.objects(|object| {
            for (id, value) in object.attributes {
                let known = before.and_then(|facts| facts.attributes.get(&id));
                other |= ATTRIBUTES_OF_INTEREST.contains(&id) && known.is_none_or(|known| known != value);
            }
        });
        other
    }

    /// All facts as they are kept before a frame. Who the patient is is believed for so long after it was heard.
    pub(super) fn facts(&self, now: Duration, believed: Duration) -> Vec<u8> {
        let mut bytes = Vec::new();
        for ((class, context, handle), facts) in &self.objects {
            if *class == PATIENT && now.saturating_sub(facts.heard) > believed {
                continue;
            }
            let count = u16::try_from(facts.attributes.len()).unwrap_or_default();
            let mut list = Vec::new();
            for (id, value) in &facts.attributes {
                list.extend(id.to_be_bytes());
                list.extend(sized(value));
            }
            bytes.extend(words(&[*class, *context, *handle, count]));
            bytes.extend(sized(&list));
        }
        bytes
    }
}
