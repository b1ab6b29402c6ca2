//! For reading a device without writing Rust: a firmware profile is one TOML page that says how a device speaks
//! and what its figures mean; frame + profile → measurements.
//!
//! Decoding is pure and total. It never panics, never invents a number, a zone or a patient, and never drops what
//! it does not know: an unknown code is still a measurement under the device's own name, with a finding.

mod check;
mod compose;
mod condition;
mod editor;
mod editor_json;
mod fault;
mod layout;
mod library;
mod packed;
mod locate;
mod mask;
mod metric;
mod person;
mod rules;
mod schema;
mod schema_metric;
mod session;
mod section;
mod section_files;
mod section_xml;
mod sections;
mod show;
mod time;
mod value;

mod astm;
mod astm_orders;
mod flat;
#[cfg(test)]
mod hostile_tests;
mod hl7;
mod hl7_alarm;
mod hl7_control;
mod hl7_device;
mod hl7_obx;
mod hl7_orders;
mod hl7_person;
mod hl7_query;
mod json;
mod native;
mod ordered;
mod outcome;
mod text;
mod charset;
mod csv;
mod gdt;
mod xml;
mod xml_coded;

use std::sync::Arc;

use jiff::tz::TimeZone;
use serde::Serialize;

pub use astm_orders::{Order, Query};
pub use check::missing_captures;
pub use check::{CaptureReport, CheckReport, MetricLine, Summary, check};
pub use editor_json::schema as page_schema;
pub use fault::Fault;
pub(crate) use fault::did_you_mean;
pub use hl7_orders::{Arrival, Placed, Wish, fuzz as fuzz_orders, is_order};
pub use hl7_person::authority;
pub use hl7_query::Answered;
pub use library::{Capture, Library, LibraryError};
pub use mask::{Masked, MaskedFrame, NoProfile, fuzz as fuzz_mask, mask};
pub use ordered::{OrderedTest, is_loinc};
pub use person::{birth_date, gender, is_filler};
pub use schema::{Caveat, Folder, Mqtt, Serial, Tcp, TestCase, Transport, Udp, Verified};
pub(crate) use time::received;

use crate::clock::Timestamp;
use crate::device::{Coding, Device, Finding, Report};
use crate::hl7v2::Charset;
use crate::wire;

/// Longer frames are not decoded; they are held with this reason.
pub const FRAME_MAX: usize = 16 << 20;
/// More measurements than this from one frame are not believed to be one frame.
pub const MEASUREMENTS_MAX: usize = 50_000;
/// More findings than this about one frame say nothing new.
const FINDINGS_MAX: usize = 200;

/// One device as its page describes it: what it is, how it is connected, and what its frames mean.
#[derive(Clone, Debug)]
pub struct FirmwareProfile {
    /// `manufacturer/model` of its folder, e.g. `ihe/pcd01-monitor`.
    pub id: Arc<str>,
    pub manufacturer: Arc<str>,
    pub model: Arc<str>,
    /// The firmware versions it was written for, in words.
    pub firmware: Option<Arc<str>>,
    /// MDC object type or specialisation of the device.
    pub kind: Option<Coding>,
    /// Bedside devices (MDS/VMD/Channel) as against personal and spot devices.
    pub point_of_care: bool,
    /// Against what it was tried.
    pub verified: Verified,
    /// Known faults of the device, each with its source.
    pub caveats: Vec<Caveat>,
    /// Suggested settings for each way to connect it.
    pub transport: Transport,
    /// The link layer, from `[link]`; [`wire::Codec::Message`] where the transport keeps messages apart.
    pub codec: wire::Codec,
    /// The only bytes that may ever be sent to the device beside the codec's own answers.
    pub session: wire::session::Dialogue,
    /// SHA-256 of the page, hex: which text decoded a frame.
    pub hash: String,
    pub tests: Vec<TestCase>,
    pub(crate) plan: schema::Plan,
}

/// What the link knows that a frame does not say.
#[derive(Clone, Debug)]
pub struct LinkContext {
    /// The link's configured zone, for times without one.
    pub zone: TimeZone,
    /// Its IANA name.
    pub zone_name: Arc<str>,
    /// When the frame was received.
    pub received: Timestamp,
    /// Name of the link.
    pub link: Arc<str>,
    /// How to read bytes that do not say how.
    pub charset: Charset,
}

impl LinkContext {
    /// A context in UTF-8; `None` when `zone` is no IANA zone.
    pub fn new(link: &str, zone: &str, received: Timestamp) -> Option<Self> {
        Some(Self {
            zone: TimeZone::get(zone).ok()?,
            zone_name: zone.into(),
            received,
            link: link.into(),
            charset: Charset::default(),
        })
    }

    /// What the goldens are made with: 2026-03-14T08:30:00Z, a little after every capture.
    pub fn of_goldens() -> Option<Self> {
        Self::new("golden", "Asia/Kolkata", Timestamp::from_micros(1_773_477_000_000_000, true))
    }

    /// The same where a test fails without it.
    #[cfg(test)]
    pub(crate) fn golden() -> Self {
        Self::of_goldens().unwrap()
    }
}

/// What a frame turned out to say.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Decoded {
    /// One for each device, person and specimen the frame speaks of.
    pub reports: Vec<Report>,
    pub findings: Vec<Finding>,
    /// Why a person must look: nothing usable came out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
    /// Why there is nothing to deliver and nothing wrong: a heartbeat, a query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ignored: Option<String>,
}

impl Decoded {
    fn held(reason: impl Into<String>) -> Self {
        Self { held: Some(reason.into()), ..Self::default() }
    }

    fn ignored(reason: impl Into<String>) -> Self {
        Self { ignored: Some(reason.into()), ..Self::default() }
    }

    /// How many measurements it holds.
    pub fn measurements(&self) -> usize {
        self.reports.iter().map(|report| report.measurements.len()).sum()
    }
}

impl FirmwareProfile {
    /// Reads a page. All faults are told at once, in the order of the file.
    pub fn parse(id: &str, toml: &str) -> Result<Self, Vec<Fault>> {
        schema::parse(id, toml)
    }

    /// Decodes one frame. `topic` is the MQTT topic it came on. Pure and total: any bytes give an answer.
    pub fn decode(&self, bytes: &[u8], topic: Option<&str>, context: &LinkContext) -> Decoded {
        if bytes.len() > FRAME_MAX {
            return Decoded::held(format!("the frame is longer than {FRAME_MAX} bytes"));
        }
        let mut decoded = match &self.plan.grammar {
            schema::Grammar::Text(grammar) => text::decode(self, grammar, bytes, topic, context),
            schema::Grammar::Bytes(layouts) => layout::decode_bytes(self, layouts, bytes, topic, context),
            schema::Grammar::Json(grammar) => json::decode(self, grammar, bytes, topic, context),
            schema::Grammar::Hl7 => hl7::decode(self, bytes, context),
            schema::Grammar::Gdt(grammar) => gdt::decode(self, grammar, bytes, context),
            schema::Grammar::Xml(grammar) => xml::decode(self, grammar, bytes, context),
            schema::Grammar::Native(native) => native::decode(self, *native, bytes, topic, context),
            schema::Grammar::Astm(grammar) => astm::decode(self, grammar, bytes, context),
        };
        decoded.findings.truncate(FINDINGS_MAX);
        decoded
    }

    /// How a link to such a device speaks.
    pub fn speech(&self) -> wire::Speech {
        wire::Speech { codec: self.codec.clone(), dialogue: self.session.clone() }
    }

    /// Whether `[identify] fits` recognises this frame: the fingerprint by which an unknown sender is matched.
    pub fn fits(&self, bytes: &[u8]) -> bool {
        self.fit(bytes).is_some()
    }

    /// Whether the fingerprint recognises this frame; `None` when the page has none.
    pub fn recognises(&self, bytes: &[u8]) -> Option<bool> {
        self.plan.fits.as_ref().map(|_| self.fits(bytes))
    }

    /// How many characters of the frame the fingerprint recognises.
    pub(crate) fn fit(&self, bytes: &[u8]) -> Option<usize> {
        let head = bytes.get(..bytes.len().min(64 << 10)).unwrap_or_default();
        let found = self.plan.fits.as_ref()?.find(&String::from_utf8_lossy(head))?.len();
        Some(found)
    }

    /// The device before a frame says more about it.
    fn device(&self) -> Device {
        Device {
            manufacturer: Arc::clone(&self.manufacturer),
            model: Arc::clone(&self.model),
            kind: self.kind.clone(),
            point_of_care: self.point_of_care,
            simulated: self.verified <= Verified::Simulator,
            ..Device::default()
        }
    }
}

/// Fuzz body: the first byte chooses a built-in profile, the rest is its frame. Only a bug panics; a frame that
/// vanishes without a word is one.
pub fn fuzz(bytes: &[u8]) {
    thread_local! {
        static PROFILES: Vec<Arc<FirmwareProfile>> =
            Library::embedded().map(|library| library.profiles().cloned().collect()).unwrap_or_default();
    }
    let Some((choice, frame)) = bytes.split_first() else { return };
    let profiles = PROFILES.with(Clone::clone);
    let context =
        LinkContext::new("fuzz", "Asia/Kolkata", Timestamp::from_micros(1_773_477_000_000_000, true));
    let chosen = usize::from(*choice).checked_rem(profiles.len()).and_then(|at| profiles.get(at));
    if let (Some(profile), Some(context)) = (chosen, context) {
        let sparkplug = profile.codec.is_sparkplug().then_some("spBv1.0/g/DDATA/e/d");
        let decoded = profile.decode(frame, sparkplug.or(Some("fuzz/topic")), &context);
        assert!(!decoded.reports.is_empty() || decoded.held.is_some() || decoded.ignored.is_some());
        if let Some(query) = profile.query(frame, &context) {
            let order =
                |id: &String| Order { specimen: id.clone(), tests: vec![id.clone()], ..Order::default() };
            let orders: Vec<_> = query.specimens.iter().map(order).collect();
            drop(profile.answer(&query, &orders, &context));
        }
    }
    if let Ok(page) = std::str::from_utf8(frame) {
        // A page is outside input too; its faults must be drawn without panic.
        if let Err(faults) = FirmwareProfile::parse("fuzz/page", page) {
            drop(faults.iter().map(ToString::to_string).collect::<Vec<_>>());
        }
    }
}

fn finding(code: &'static str, place: impl Into<String>, text: impl Into<String>) -> Finding {
    Finding { code, place: place.into(), text: text.into() }
}
