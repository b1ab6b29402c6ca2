//! Active alarms (DevAlarmList), and since when each of them is in the list.
//!
//! The list does not say when an alarm began, and an instance number is used again for a later alarm. What tells one
//! alarm from every other is the tick of the monitor's clock at which it was heard first.

use super::message::Cursor;

/// A monitor has at most 64; more are not followed.
const ALARMS_MAX: usize = 128;
/// In the entry's info: instance number, text id, priority and flags, with or without the text.
const WITH_TEXT: u16 = 516;
const WITHOUT_TEXT: u16 = 513;

/// What is the same from an alarm's start to its end: source, code, class, context, handle and instance number.
pub(crate) type Key = [u16; 6];

/// One entry of a DevAlarmList.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) source: u16,
    pub(crate) code: u16,
    /// AlertType.
    pub(crate) kind: u16,
    /// AlertState.
    pub(crate) state: u16,
    class: u16,
    /// Naming context and handle of the object that alarms.
    pub(crate) place: (u16, u16),
    pub(crate) instance: u16,
    /// What is shown, as a text of the protocol; empty where nothing is said.
    pub(crate) text: Vec<u8>,
}

impl Entry {
    pub(crate) fn key(&self) -> Key {
        let (context, handle) = self.place;
        [self.source, self.code, self.class, context, handle, self.instance]
    }
}

/// The entries of a list; `None` when it ends before its last entry.
pub(crate) fn entries(list: &[u8]) -> Option<Vec<Entry>> {
    let (count, mut cursor) = Cursor(list).list()?;
    let mut entries = Vec::new();
    for _ in 0..count {
        let (source, code) = (cursor.u16()?, cursor.u16()?);
        let (kind, state) = (cursor.u16()?, cursor.u16()?);
        let (class, context, handle) = (cursor.u16()?, cursor.u16()?, cursor.u16()?);
        let info = cursor.u16()?;
        let mut inner = Cursor(cursor.sized()?);
        let (mut instance, mut text) = (0, Vec::new());
        if matches!(info, WITH_TEXT | WITHOUT_TEXT) {
            instance = inner.u16()?;
            inner.take(8)?;
            if info == WITH_TEXT {
                text = inner.0.to_vec();
            }
        }
        entries.push(Entry { source, code, kind, state, class, place: (context, handle), instance, text });
    }
    Some(entries)
}

/// Ticks since which alarms are told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Since(Vec<(Key, u32)>);

impl Since {
    /// As it is kept.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let one =
            |(key, tick): &(Key, u32)| [super::request::words(key), tick.to_be_bytes().to_vec()].concat();
        self.0.iter().flat_map(one).collect()
    }

    /// Reads what [`Since::bytes`] wrote.
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let mut cursor = Cursor(bytes);
        Self(std::iter::from_fn(|| Some((key(&mut cursor)?, cursor.u32()?))).take(ALARMS_MAX).collect())
    }

    /// The same after a list that was told at `tick`.
    pub(crate) fn after(&self, list: &[Entry], tick: u32) -> Self {
        let mut now: Vec<(Key, u32)> = Vec::new();
        for key in list.iter().map(Entry::key).take(ALARMS_MAX) {
            if !now.iter().any(|(known, _)| *known == key) {
                now.push((key, self.of(&key).unwrap_or(tick)));
            }
        }
        Self(now)
    }

    pub(crate) fn of(&self, key: &Key) -> Option<u32> {
        self.0.iter().find(|(known, _)| known == key).map(|(_, tick)| *tick)
    }
}

fn key(cursor: &mut Cursor<'_>) -> Option<Key> {
    let mut key = Key::default();
    for word in &mut key {
        *word = cursor.u16()?;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::super::request::{sized, words};
    use super::*;

    fn list(instances: &[u16]) -> Vec<u8> {
        let entry = |instance: &u16| {
            let info = words(&[*instance, 0, 0, 0, 0]);
            [words(&[0x4BB8, 40, 512, 8, 6, 0, 0x8101, WITHOUT_TEXT]), sized(&info)].concat()
        };
        let count = u16::try_from(instances.len()).unwrap();
        [words(&[count]), sized(&instances.iter().flat_map(entry).collect::<Vec<_>>())].concat()
    }

    #[test]
    fn an_alarm_keeps_its_first_tick_until_it_is_gone_and_a_later_one_has_its_own() {
        let mut since = Since::default();
        let mut ticks = Vec::new();
        for (instances, tick) in [(&[1][..], 10), (&[1, 2], 20), (&[2], 30), (&[1, 2], 40)] {
            since = since.after(&entries(&list(instances)).unwrap(), tick);
            assert_eq!(Since::read(&since.bytes()), since);
            ticks.push(since.0.iter().map(|(key, tick)| (key[5], *tick)).collect::<Vec<_>>());
        }
        assert_eq!(ticks, [vec![(1, 10)], vec![(1, 10), (2, 20)], vec![(2, 20)], vec![(1, 40), (2, 20)]]);
    }

    #[test]
    fn half_a_list_is_none() {
        let whole = list(&[1, 2]);
        assert_eq!(entries(&whole).map(|entries| entries.len()), Some(2));
        for end in 0..whole.len() {
            assert!(entries(&whole[..end]).is_none(), "{end}");
        }
        assert_eq!(Since::read(&[0; 15]), Since::default());
    }
}
