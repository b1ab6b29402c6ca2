//! One device as its frames showed it: the newest value of each metric, a short trend, and whom it measures.

use std::collections::HashMap;
use std::sync::Arc;

use super::clock::{ClockView, DeviceClock};
use super::trend::{Budget, Ring, Trend};
use super::view::{DeviceDetail, DeviceView, MetricName, Point, ValueView};
use super::wave::{Strip, Wave, WaveBudget};
use super::{METRICS_MAX, Sighting};
use crate::admin::explain::{Part, parts, when};
use crate::clock::Timestamp;
use crate::device::{Decimal, Identifier, Measurement, Person, Place, Report, Value};

/// Longest text shown of one value, label or name.
const TEXT_MAX: usize = 200;
/// Most identifiers shown of one device.
const IDENTIFIERS_MAX: usize = 16;

pub(super) struct DeviceState {
    view: DeviceView,
    caveats: Arc<[String]>,
    identifiers: Vec<String>,
    metrics: HashMap<String, MetricState>,
    clock: DeviceClock,
}

/// What all devices together may keep.
#[derive(Default)]
pub(super) struct Budgets {
    points: Budget,
    waves: WaveBudget,
}

struct MetricState {
    /// Its place in the order in which the device first said them.
    order: usize,
    last: ValueView,
    ring: Ring,
    /// Whether a number was ever seen, so that there is something to draw.
    numeric: bool,
    /// Its samples, where it is a wave.
    strip: Strip,
}

impl DeviceState {
    pub(super) fn new(key: &str) -> Self {
        Self {
            view: DeviceView {
                key: key.into(),
                label: String::new(),
                manufacturer: "".into(),
                model: "".into(),
                link: "".into(),
                verified: "".into(),
                last_seen: Timestamp::from_micros(i64::MIN, false),
                patient: None,
                values: Vec::new(),
            },
            caveats: Arc::new([]),
            identifiers: Vec::new(),
            metrics: HashMap::new(),
            clock: DeviceClock::default(),
        }
    }

    pub(super) fn last_seen(&self) -> Timestamp {
        self.view.last_seen
    }

    /// Takes what a frame said, and returns the new numbers.
    pub(super) fn take(
        &mut self,
        report: &Report,
        sighting: &Sighting<'_>,
        budgets: &mut Budgets,
    ) -> Vec<Point> {
        // A frame may be shown again after a start or a replay: the newest one says who and where.
        if sighting.received >= self.view.last_seen {
            self.describe(report, sighting);
        }
        self.clock.take(report, sighting.received, sighting.distrusted);
        let mut names: HashMap<(String, i64), u32> = HashMap::new();
        let mut points = Vec::new();
        for measurement in &report.measurements {
            for part in parts(measurement) {
                let code = code(&part, measurement, &mut names);
                if let Some(value) = self.value(code.clone(), &part, measurement, sighting.received, budgets)
                {
                    points.push(Point {
                        device: self.view.key.clone(),
                        code,
                        taken: when(&measurement.taken),
                        value,
                    });
                }
            }
        }
        points
    }

    fn describe(&mut self, report: &Report, sighting: &Sighting<'_>) {
        let device = &report.device;
        let view = &mut self.view;
        view.last_seen = sighting.received;
        view.manufacturer = device.manufacturer.clone();
        view.model = device.model.clone();
        view.link = sighting.link.into();
        view.verified = sighting.profile.verified.clone();
        view.label = label(&device.model, report.place.as_ref(), sighting.link);
        // A frame that names nobody must not stay under the name of the last patient.
        view.patient = report
            .person
            .as_ref()
            .and_then(named)
            .or_else(|| sighting.bound_patient.map(|identifier| short(&identifier.value)));
        self.caveats = sighting.profile.caveats.clone();
        let serial = device.serial.iter().map(|serial| format!("Serial number {serial}"));
        let firmware = device.firmware.iter().map(|firmware| format!("Firmware {firmware}"));
        let own =
            device.identifiers.iter().map(|Identifier { system, value, .. }| format!("{value} ({system})"));
        self.identifiers =
            serial.chain(firmware).chain(own).take(IDENTIFIERS_MAX).map(|t| short(&t)).collect();
    }

    /// Takes one value; returns its number when there is one.
    fn value(
        &mut self,
        code: String,
        part: &Part<'_>,
        measurement: &Measurement,
        received: Timestamp,
        budgets: &mut Budgets,
    ) -> Option<Decimal> {
        if self.metrics.len() >= METRICS_MAX && !self.metrics.contains_key(&code) {
            return None;
        }
        let number = match part.value.0 {
            Value::Numeric { value, comparator: None, .. } => Some(*value),
            _ => None,
        };
        let taken = when(&measurement.taken);
        let new = ValueView {
            code: code.clone(),
            label: part.metric.label.clone(),
            value: part.value.text().map(|text| short(&text)),
            unit: part.value.unit(),
            absent: part.value.absent(),
            taken,
            abnormal: part.status.in_alarm || measurement.interpretation.iter().any(|code| &**code != "N"),
        };
        let order = self.metrics.len();
        let metric = self.metrics.entry(code).or_insert_with(|| MetricState {
            order,
            last: new.clone(),
            ring: Ring::default(),
            numeric: false,
            strip: Strip::default(),
        });
        metric.strip.push(&measurement.taken, part.value.0, received, &mut budgets.waves);
        metric.numeric |= number.is_some();
        if metric.numeric {
            metric.ring.push(taken, number, &mut budgets.points);
        }
        // What was measured earlier and came later is history, not the last value.
        if new.taken.micros >= metric.last.taken.micros {
            metric.last = new;
        }
        number
    }

    pub(super) fn view(&self) -> DeviceView {
        let mut view = self.view.clone();
        view.values = self.in_order().into_iter().map(|metric| metric.last.clone()).collect();
        view
    }

    fn in_order(&self) -> Vec<&MetricState> {
        let mut metrics: Vec<&MetricState> = self.metrics.values().collect();
        metrics.sort_by_key(|metric| metric.order);
        metrics
    }

    /// Link, label and how its clock stands.
    pub(super) fn clock(&self, limit_s: u32) -> Option<(Arc<str>, String, ClockView)> {
        Some((self.view.link.clone(), self.view.label.clone(), self.clock.view(limit_s)?))
    }

    pub(super) fn detail(&self, limit_s: u32) -> DeviceDetail {
        let drawable = self.in_order().into_iter().filter(|metric| metric.numeric).map(|metric| &metric.last);
        DeviceDetail {
            device: self.view(),
            caveats: self.caveats.clone(),
            metrics: drawable
                .map(|last| MetricName {
                    code: last.code.clone(),
                    label: last.label.clone(),
                    unit: last.unit.clone(),
                })
                .collect(),
            identifiers: self.identifiers.clone(),
            clock: self.clock.view(limit_s),
        }
    }

    pub(super) fn trend(&self, code: &str, minutes: u32, now: Timestamp) -> Option<Trend> {
        let metric = self.metrics.get(code)?;
        Some(Trend {
            label: metric.last.label.clone(),
            unit: metric.last.unit.clone(),
            points: metric.ring.last(minutes, now),
        })
    }

    /// The last seconds of the waves it says.
    pub(super) fn waves(&self, seconds: u32) -> Vec<Wave> {
        let waves = self.in_order().into_iter().filter(|metric| !metric.strip.is_empty());
        let told = waves.map(|MetricState { last, strip, .. }| Wave {
            code: last.code.clone(),
            label: last.label.clone(),
            unit: last.unit.clone(),
            pieces: strip.pieces(seconds),
        });
        told.collect()
    }

    pub(super) fn give_back(&self, budgets: &mut Budgets) {
        for metric in self.metrics.values() {
            metric.ring.give_back(&mut budgets.points);
            metric.strip.give_back(&mut budgets.waves);
        }
    }
}

/// Names a metric within its device: its leading code, its body site, and a number when one frame has several of
/// the same at the same time.
fn code(part: &Part<'_>, measurement: &Measurement, names: &mut HashMap<(String, i64), u32>) -> String {
    let leading = part.metric.codings.first().map_or(&*part.metric.label, |coding| &coding.code);
    let base = match &part.metric.site {
        Some(site) => format!("{leading}@{}", site.code),
        None => leading.to_string(),
    };
    let base = short(&base);
    let count = names.entry((base.clone(), measurement.taken.micros)).or_insert(0);
    *count += 1;
    if *count == 1 { base } else { format!("{base}#{count}") }
}

/// Where the device is, then what it is: `ICU 3 · IntelliVue MP70`.
fn label(model: &str, place: Option<&Place>, link: &str) -> String {
    let model = if model.is_empty() { link } else { model };
    let parts = place.map(|p| [&p.point_of_care, &p.room, &p.bed]).into_iter().flatten().flatten();
    let place: Vec<&str> = parts.map(|part| &**part).filter(|part| !part.is_empty()).collect();
    short(&if place.is_empty() { model.to_string() } else { format!("{} · {model}", place.join(" ")) })
}

/// `DOE, John · 12345`: a name and one identifier, as a person at the bed compares them.
fn named(person: &Person) -> Option<String> {
    let given = person.given.first();
    let name = match (&person.family, given) {
        (Some(family), Some(given)) => Some(format!("{family}, {given}")),
        (Some(one), None) | (None, Some(one)) => Some(one.to_string()),
        (None, None) => None,
    };
    let identifier = person.identifiers.first().map(|identifier| identifier.value.to_string());
    let words: Vec<String> = name.into_iter().chain(identifier).filter(|word| !word.is_empty()).collect();
    (!words.is_empty()).then(|| short(&words.join(" · ")))
}

fn short(text: &str) -> String {
    text.chars().take(TEXT_MAX).collect()
}
