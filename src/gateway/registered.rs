//! What devices call themselves, written down once: the desk names a device as its engineer does, and finds it by the
//! numbers on its label.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::buffer::{Change, DeviceRow};
use crate::clock::Timestamp;
use crate::device::{Device, Report};

/// Devices whose words are remembered; beyond it a device is written down again.
const REMEMBERED_MAX: usize = 4_096;
const IDENTIFIERS_MAX: usize = 16;
const TEXT_MAX: usize = 120;

/// What was written down since the start, and what is still to be.
#[derive(Default)]
pub(super) struct Registered(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// By key: the row, without its times.
    known: HashMap<String, DeviceRow>,
    news: Vec<DeviceRow>,
}

impl Registered {
    /// Looks at the device of a report.
    pub(super) fn see(&self, report: &Report, link: &str, received: Timestamp) {
        let row = row(&report.device, link);
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.known.get(&row.key) == Some(&row) {
            return;
        }
        if inner.known.len() >= REMEMBERED_MAX {
            inner.known.clear();
        }
        inner.known.insert(row.key.clone(), row.clone());
        inner.news.push(DeviceRow { first_seen: received.micros, last_seen: received.micros, ..row });
    }

    /// What is to be written down.
    pub(super) fn take(&self) -> Vec<Change> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut inner.news).into_iter().map(Change::Device).collect()
    }
}

fn row(device: &Device, link: &str) -> DeviceRow {
    let short = |text: &str| text.trim().chars().take(TEXT_MAX).collect::<String>();
    let own = device.serial.as_deref().into_iter().chain(device.identifiers.iter().map(|id| &*id.value));
    DeviceRow {
        key: device.key(link),
        label: name(&short(&device.manufacturer), &short(&device.model)),
        manufacturer: short(&device.manufacturer),
        model: short(&device.model),
        link: link.into(),
        first_seen: 0,
        last_seen: 0,
        identifiers: own.map(short).filter(|text| !text.is_empty()).take(IDENTIFIERS_MAX).collect(),
    }
}

/// Maker and model; many models begin with their maker's name.
fn name(manufacturer: &str, model: &str) -> String {
    let begins = model.to_lowercase().starts_with(&manufacturer.to_lowercase());
    match (manufacturer.is_empty() || begins, model.is_empty()) {
        (true, _) => model.into(),
        (false, true) => manufacturer.into(),
        (false, false) => format!("{manufacturer} {model}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(model: &str) -> Report {
        let device = Device {
            manufacturer: "Example".into(),
            model: model.into(),
            serial: Some("SN-7".into()),
            ..Device::default()
        };
        Report {
            device,
            person: None,
            place: None,
            specimen: None,
            orders: Vec::new(),
            measurements: Vec::new(),
        }
    }

    #[test]
    fn a_device_is_written_down_once_and_again_when_its_words_change() {
        let registered = Registered::default();
        let at = Timestamp::from_micros(7, true);
        for model in ["M1", "M1", "M2", "M2"] {
            registered.see(&report(model), "icu", at);
        }
        let rows: Vec<DeviceRow> = registered
            .take()
            .into_iter()
            .filter_map(|change| match change {
                Change::Device(row) => Some(row),
                _ => None,
            })
            .collect();
        let labels: Vec<&str> = rows.iter().map(|row| row.label.as_str()).collect();
        assert_eq!(labels, ["Example M1", "Example M2"]);
        assert_eq!((rows[0].identifiers.as_slice(), rows[0].first_seen), (&["SN-7".to_owned()][..], 7));
        assert!(registered.take().is_empty());
    }

    #[test]
    fn a_maker_is_named_once() {
        assert_eq!(name("Mindray", "BS series"), "Mindray BS series");
        assert_eq!(name("Masimo", "MASIMO Radical"), "MASIMO Radical");
        assert_eq!((name("", "M"), name("A", "")), ("M".into(), "A".into()));
    }
}
