//! What the desk asks when somebody pairs a device: senders nobody knows yet, links made at the desk, serial ports
//! and what was heard on them. The gateway answers.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::Object;

use super::command::Refusal;
use super::explain::{Explained, MeasurementView};
use super::json::{rfc3339, words};
use crate::clock::Timestamp;
use crate::connector::Later;
use crate::device::Finding;

/// Pairing as the desk sees it. Everything asked for is done when the answer is there, and survives a restart.
pub trait Pairing: Send + Sync {
    /// Everything the pairing page shows.
    fn standing(&self) -> Later<'_, Standing>;
    /// What the latest message of a candidate says when read with `profile`.
    fn preview(&self, sender: Sender, profile: String) -> Later<'_, Result<Explained, Refusal>>;
    /// From now on this sender is read with `profile`; what was held for it is let go.
    fn accept(&self, sender: Sender, profile: String) -> Later<'_, Result<Accepted, Refusal>>;
    /// The sender is unknown again.
    fn forget(&self, sender: Sender) -> Later<'_, Result<(), Refusal>>;
    /// Makes and starts a link: the keys of a `[[link]]` section as JSON. Returns its name.
    fn add_link(&self, link: serde_json::Value) -> Later<'_, Result<String, Refusal>>;
    /// Stops and removes a link made at the desk.
    fn remove_link(&self, name: String) -> Later<'_, Result<(), Refusal>>;
    /// The serial ports of this box.
    fn ports(&self) -> Later<'_, Vec<PortView>>;
    /// Begins to listen on a port and to try the known profiles. One scan at a time.
    fn scan(&self, wanted: ScanWanted) -> Later<'_, Result<(), Refusal>>;
    /// How the scan stands; `None` when there was none yet.
    fn scanning(&self) -> Option<ScanView>;
    /// Ends the scan.
    fn stop_scan(&self);
}

/// Who sends on a link that takes many senders.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Sender {
    pub link: Arc<str>,
    /// HL7: sending application and facility, else the address; MQTT: the topic.
    pub sender: Arc<str>,
}

/// The pairing page.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[schema(as = Pairing)]
pub struct Standing {
    /// IANA zone of the site.
    pub zone: String,
    /// Whether there is an embedded broker to listen on.
    pub broker: bool,
    pub links: Vec<PairedLink>,
    pub candidates: Vec<Candidate>,
    pub senders: Vec<KnownSender>,
    pub profiles: Vec<ProfileCard>,
}

/// A link and where it was made.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PairedLink {
    pub name: Arc<str>,
    pub kind: &'static str,
    pub profile: String,
    /// Made at the desk, so it can be removed there; else it stands in the configuration file.
    pub desk: bool,
}

/// A sender nobody has accepted yet. What it sent is kept and held.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Candidate {
    #[serde(flatten)]
    pub who: Sender,
    #[serde(serialize_with = "rfc3339")]
    pub first_seen: Timestamp,
    #[serde(serialize_with = "rfc3339")]
    pub last_seen: Timestamp,
    /// Messages since the box was started.
    pub frames: u64,
    /// Its latest entry.
    pub entry: i64,
    /// Best first.
    pub guesses: Vec<Guess>,
}

/// How well a profile reads a candidate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Guess {
    pub profile: Arc<str>,
    /// The profile's fingerprint recognises the message.
    pub fits: bool,
    /// Values it reads, and how many of these it has no codes for.
    pub measurements: usize,
    pub unknown: usize,
    /// Why the message would be held, when it would.
    pub held: Option<String>,
}

/// An accepted sender.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct KnownSender {
    #[serde(flatten)]
    pub who: Sender,
    pub profile: Arc<str>,
}

/// A profile to choose from.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ProfileCard {
    pub id: Arc<str>,
    pub manufacturer: Arc<str>,
    pub model: Arc<str>,
    pub verified: String,
    pub codec: &'static str,
    /// Suggested settings, as the profile's `[transport]` has them.
    pub transport: serde_json::Value,
    pub caveats: Vec<String>,
}

/// What became of a candidate's held messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Accepted {
    pub released: u64,
    pub still_held: u64,
}

/// A serial port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = SerialPort)]
pub struct PortView {
    /// The lasting name (`/dev/serial/by-id/…`) where there is one.
    pub path: String,
    /// The kernel's name, e.g. `/dev/ttyUSB0`.
    pub device: String,
    /// What the adapter calls itself, e.g. `FTDI FT232R USB UART`.
    pub name: Option<String>,
    /// The link that uses it.
    pub link: Option<String>,
}

/// What to scan.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScanWanted {
    pub port: String,
    /// Only these profiles; all that speak over serial lines when empty.
    #[serde(default)]
    pub profiles: Vec<String>,
    /// Whether the bytes a profile lists may be sent to wake a silent device.
    #[serde(default)]
    pub ask: bool,
}

/// How far a scan has come.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[schema(as = Scan)]
pub struct ScanView {
    pub port: String,
    /// `listening`, `asking`, `found`, `nothing`, `failed` or `stopped`.
    #[schema(schema_with = scan_state)]
    pub state: &'static str,
    /// What is being done, or what to do next, in a sentence.
    pub detail: String,
    /// 0 to 100.
    pub percent: u8,
    pub tried: Vec<Trial>,
    /// The last bytes heard, control characters as pictures, and in hex.
    pub text: String,
    pub hex: String,
    /// Profiles that read what was heard, best first.
    pub found: Vec<ScanFound>,
}

fn scan_state() -> Object {
    words(&["listening", "asking", "found", "nothing", "failed", "stopped"])
}

/// One setting that was tried.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Trial {
    /// e.g. `9600 8N1`.
    pub setting: String,
    /// The profile whose bytes were sent, when something was sent.
    pub asked: Option<Arc<str>>,
    pub bytes: u64,
    pub frames: u64,
    /// What came of it, in words.
    pub outcome: String,
}

/// A profile that reads what a port says.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ScanFound {
    pub guess: Guess,
    /// The `serial` table of a link, ready to use.
    pub serial: serde_json::Value,
    /// What the last frame says.
    pub measurements: Vec<MeasurementView>,
    pub findings: Vec<Finding>,
}
