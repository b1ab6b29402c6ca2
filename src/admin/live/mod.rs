//! What the desk shows right now: links, devices with their last values, short trends, alarms, upstream.
//!
//! A view, nothing more: it is in memory, bounded, and may be lost at any time without anything being lost. The
//! gateway fills it after a frame is committed; whoever looks gets a copy.

mod clock;
mod device;
mod trend;
mod verdict;
mod view;
mod wave;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value as Json;
use tokio::sync::broadcast;

use crate::clock::{SharedClock, Timestamp};
use crate::connector::LinkState;
use crate::device::{Identifier, Report};

use super::store::Backlog;
pub use clock::ClockView;
use device::{Budgets, DeviceState};
pub use trend::Trend;
pub use view::{
    AlarmView, DeviceDetail, DeviceView, LinkView, MetricName, Overview, Point, Severity, UpstreamView,
    ValueView,
};
pub use wave::{WAVE_SECONDS, Wave};

/// Most devices shown; the one silent for longest makes room.
pub const DEVICES_MAX: usize = 1_000;
/// Most metrics shown of one device.
pub const METRICS_MAX: usize = 64;
/// Most points of one trend.
pub const POINTS_MAX: usize = 3_600;
/// Most points of all trends together: 8 MB. Past it a trend keeps its length and loses its oldest point.
const POINTS_TOTAL: usize = 500_000;
/// Seconds a device's clock may be off where nothing else is configured.
const CLOCK_LIMIT_S: u32 = 120;
/// Most links shown.
const LINKS_MAX: usize = 256;
/// Most alarms shown at once.
const ALARMS_MAX: usize = 64;
/// Points on their way to those who look; one who is too slow misses some.
const POINTS_QUEUED: usize = 256;

/// The live view. Shared by `Arc`; every method takes `&self` and returns at once.
pub struct Live {
    clock: SharedClock,
    /// When the view began.
    since: Timestamp,
    state: Mutex<State>,
    /// Apart from the rest: counting a frame must not wait for a report that is being shown.
    links: Mutex<BTreeMap<Arc<str>, LinkView>>,
    points: broadcast::Sender<Arc<Point>>,
    clock_limit_s: u32,
}

#[derive(Default)]
struct State {
    devices: HashMap<String, DeviceState>,
    alarms: BTreeMap<String, AlarmView>,
    upstream: Option<UpstreamStanding>,
    budgets: Budgets,
    ready: bool,
}

/// How it stands with the upstream server.
#[derive(Clone, Debug)]
pub struct UpstreamStanding {
    pub name: String,
    /// FHIR base address.
    pub base: String,
    pub state: UpstreamState,
    /// Since when it is so.
    pub since: Timestamp,
    /// When it last took something or answered well.
    pub last_success: Option<Timestamp>,
    /// One sentence without patient data.
    pub detail: String,
    /// `smart` or `none`.
    pub auth: &'static str,
    pub client_id: Option<String>,
    /// How resources are written, once it is known: `put` or `conditional`.
    pub mode: Option<&'static str>,
    pub kid: Option<String>,
    pub algorithm: Option<&'static str>,
    /// Scopes asked for, and granted when the server said.
    pub scopes: Option<String>,
    pub granted: Option<String>,
    /// The public key set a server registers.
    pub jwks: Json,
}

/// How the upstream server is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum UpstreamState {
    /// It answers and takes.
    Up,
    /// It does not answer.
    Down,
    Unconfigured,
    /// It answers, but refuses the box as such: key, scopes, rights.
    Refusing,
}

/// What the desk needs to know of the firmware profile a frame was decoded with.
#[derive(Clone, Debug, Default)]
pub struct ProfileView {
    pub id: Arc<str>,
    /// `simulator`, `bench` or `clinic`.
    pub verified: Arc<str>,
    pub caveats: Arc<[String]>,
}

/// Where a report came from.
#[derive(Clone, Debug)]
pub struct Sighting<'a> {
    /// Name of the link.
    pub link: &'a str,
    pub profile: &'a ProfileView,
    /// When the frame was received; in the past when the view is filled again after a start.
    pub received: Timestamp,
    /// The patient the link is bound to, for devices that name nobody.
    pub bound_patient: Option<&'a Identifier>,
    /// The device's times were further off than its profile allows; the time of receipt stands in their place.
    pub distrusted: bool,
}

impl Live {
    /// An empty view.
    pub fn new(clock: SharedClock) -> Arc<Self> {
        Self::with_clock_limit(clock, CLOCK_LIMIT_S)
    }

    /// An empty view that calls a device's clock wrong beyond so many seconds.
    pub fn with_clock_limit(clock: SharedClock, clock_limit_s: u32) -> Arc<Self> {
        let (points, _) = broadcast::channel(POINTS_QUEUED);
        let since = clock.now();
        Arc::new(Self {
            since,
            clock,
            state: Mutex::default(),
            links: Mutex::default(),
            points,
            clock_limit_s,
        })
    }

    // ── filled by the gateway ──

    /// Announces a configured link; `kind` is `mllp`, `serial`, `tcp` or `mqtt`.
    pub fn add_link(&self, name: &str, kind: &'static str, profile: &str) {
        let since = self.clock.now();
        let mut links = locked(&self.links);
        if links.len() < LINKS_MAX {
            links.insert(name.into(), LinkView::new(name, kind, profile, since));
        }
    }

    /// A link was removed.
    pub fn remove_link(&self, name: &str) {
        locked(&self.links).remove(name);
    }

    /// A link's state changed, or the words for it did.
    pub fn link_state(&self, name: &str, change: &LinkState) {
        let now = self.clock.now();
        self.link(name, |link| link.change(change, now));
    }

    /// A frame of this link was kept.
    pub fn link_frame(&self, name: &str) {
        self.link(name, |link| link.frames += 1);
    }

    /// A frame of this link was refused: its sender keeps it.
    pub fn link_refused(&self, name: &str) {
        self.link(name, |link| link.refused += 1);
    }

    /// Something about this link a person may want to see; `text` is without patient data.
    pub fn link_note(&self, name: &str, text: &str) {
        self.link(name, |link| {
            link.notes += 1;
            link.last_note = Some(text.chars().take(200).collect());
        });
    }

    /// A tape of this link was begun or ended.
    pub fn link_recording(&self, name: &str, recording: bool) {
        self.link(name, |link| link.recording = recording);
    }

    /// What a committed frame said. Returns the key of the device.
    pub fn report(&self, report: &Report, sighting: &Sighting<'_>) -> String {
        let key = report.device.key(sighting.link);
        let mut state = self.state();
        let State { devices, budgets, .. } = &mut *state;
        if !devices.contains_key(&key) {
            make_room(devices, budgets);
        }
        let device = devices.entry(key.clone()).or_insert_with(|| DeviceState::new(&key));
        let points = device.take(report, sighting, budgets);
        drop(state);
        if self.points.receiver_count() > 0 {
            for point in points {
                // An error means that the last one who looked has just left.
                self.points.send(Arc::new(point)).ok();
            }
        }
        key
    }

    /// Raises an alarm, or renews its words; `since` stays that of the first time.
    pub fn alarm(&self, code: &str, severity: Severity, title: &str, next_step: &str) {
        let now = self.clock.now();
        let mut state = self.state();
        let since = state.alarms.get(code).map_or(now, |alarm| alarm.since);
        if state.alarms.len() < ALARMS_MAX || state.alarms.contains_key(code) {
            let (title, next_step) = (title.into(), next_step.into());
            state
                .alarms
                .insert(code.into(), AlarmView { code: code.into(), severity, title, next_step, since });
        }
    }

    /// The cause of an alarm is gone.
    pub fn clear_alarm(&self, code: &str) {
        self.state().alarms.remove(code);
    }

    /// How it stands with upstream now; `None` when no server is set up.
    pub fn upstream_stands(&self, standing: Option<UpstreamStanding>) {
        self.state().upstream = standing;
    }

    /// Whether all ports are open and the buffer works: what `/readyz` answers.
    pub fn ready(&self, ready: bool) {
        self.state().ready = ready;
    }

    // ── asked by the desk ──

    /// Whether the box is ready for frames.
    pub fn is_ready(&self) -> bool {
        self.state().ready
    }

    /// Everything on the first page. `site` and `simulated` are said by whoever asks.
    pub fn overview(&self, site: &str, simulated: bool, backlog: &Backlog) -> Overview {
        let now = self.clock.now();
        let state = self.state();
        let mut devices: Vec<DeviceView> = state.devices.values().map(DeviceState::view).collect();
        devices.sort_by(|a, b| (&a.label, &a.key).cmp(&(&b.label, &b.key)));
        let mut alarms: Vec<AlarmView> = state.alarms.values().chain(&backlog.alarms).cloned().collect();
        alarms.sort_by_key(|alarm| (alarm.severity, alarm.since));
        let mut overview = Overview {
            simulated,
            site: site.into(),
            now,
            clock_synchronised: now.synchronised,
            verdict: String::new(),
            counts: backlog.counts,
            ledger: backlog.ledger,
            scrub: backlog.scrub.into(),
            oldest_waiting: backlog.oldest_waiting,
            bytes: backlog.bytes,
            quota_bytes: backlog.quota_bytes,
            upstream: UpstreamView::of(state.upstream.as_ref(), self.since),
            links: locked(&self.links).values().cloned().collect(),
            devices,
            alarms,
        };
        drop(state);
        overview.verdict = verdict::verdict(&overview);
        overview
    }

    /// One device with what does not fit on a card.
    pub fn device(&self, key: &str) -> Option<DeviceDetail> {
        self.state().devices.get(key).map(|device| device.detail(self.clock_limit_s))
    }

    /// How the clocks of all devices stand that are known: link, label, and the rest.
    pub fn clocks(&self) -> Vec<(Arc<str>, String, ClockView)> {
        let state = self.state();
        state.devices.values().filter_map(|device| device.clock(self.clock_limit_s)).collect()
    }

    /// The last `minutes` of one metric of a device.
    pub fn trend(&self, key: &str, code: &str, minutes: u32) -> Option<Trend> {
        let now = self.clock.now();
        self.state().devices.get(key)?.trend(code, minutes, now)
    }

    /// The last seconds of each wave of a device.
    pub fn waves(&self, key: &str, seconds: u32) -> Option<Vec<Wave>> {
        self.state().devices.get(key).map(|device| device.waves(seconds))
    }

    /// How it stands with upstream, in short and in full.
    pub fn upstream(&self) -> (UpstreamView, Option<UpstreamStanding>) {
        let standing = self.state().upstream.clone();
        (UpstreamView::of(standing.as_ref(), self.since), standing)
    }

    /// New points as they come.
    pub fn points(&self) -> broadcast::Receiver<Arc<Point>> {
        self.points.subscribe()
    }

    fn link(&self, name: &str, change: impl FnOnce(&mut LinkView)) {
        if let Some(link) = locked(&self.links).get_mut(name) {
            change(link);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }
}

/// A view that a panic left half written is still only a view.
fn locked<T>(part: &Mutex<T>) -> MutexGuard<'_, T> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

fn make_room(devices: &mut HashMap<String, DeviceState>, budgets: &mut Budgets) {
    if devices.len() < DEVICES_MAX {
        return;
    }
    let silent = devices.iter().min_by_key(|(_, device)| device.last_seen()).map(|(key, _)| key.clone());
    if let Some(device) = silent.and_then(|key| devices.remove(&key)) {
        device.give_back(budgets);
    }
}

#[cfg(test)]
mod tests;
