//! What the desk asks about who and where the box is: names, the zone of its devices, what keeps its clock, and what of the
//! first set-up is put off. The gateway answers.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::Object;

use super::command::Refusal;
use super::json::words;
use super::upstreams::Applied;
use crate::connector::Later;

/// Who and where the box is.
pub trait Site: Send + Sync {
    /// As it is now.
    fn told(&self) -> Later<'_, Result<SiteView, Refusal>>;
    /// Keeps it. What names and the zone are counts when the box has started anew, which it does at once; the time server
    /// that is wanted is only written down.
    fn save(&self, page: SitePage) -> Later<'_, Result<Applied, Refusal>>;
    /// Which steps of the set-up are for later, and whether the list of them is put away.
    fn put_off(&self, off: PutOff) -> Later<'_, Result<(), Refusal>>;
}

/// A step of the first set-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = SetupStep)]
pub enum Step {
    /// What the box and its site are called, and the zone of devices that state no offset.
    Site,
    /// What keeps the clock right.
    Time,
    /// The first FHIR server.
    Upstream,
    /// The first device.
    Device,
}

impl Step {
    /// In order.
    pub const ALL: [Self; 4] = [Self::Site, Self::Time, Self::Upstream, Self::Device];
}

/// Steps that somebody put off.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PutOffSteps)]
pub struct PutOff {
    /// They are for later.
    pub later: Vec<Step>,
    /// The first page says no more that something is open.
    pub away: bool,
}

/// What somebody wants to be said of the box; what is absent stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SitePage {
    /// Name of the clinic or ward.
    pub name: Option<String>,
    /// What this box is called there; empty: nothing of its own.
    pub gateway: Option<String>,
    /// IANA zone of devices that state no offset.
    pub zone: Option<String>,
    /// From when on it counts; needed once frames are kept.
    pub zone_from: Option<ZoneFrom>,
    /// Host name or address of the time server that is wanted, several with blanks between; empty: none of its own.
    pub time_server: Option<String>,
}

/// From when on a zone counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ZoneFrom {
    /// Frames that are kept are read in the zone they came in.
    Now,
    /// The zone was wrong: frames that are kept are read anew, in this one.
    Always,
}

/// How the box is named, and where and by what clock it lives.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[schema(as = SiteView)]
pub struct SiteView {
    pub name: Said,
    pub gateway: Said,
    pub zone: Said,
    /// The configuration file, which counts where it says something.
    pub file: String,
    /// Time in the zone, with its offset.
    pub local_time: String,
    /// Zones before, the oldest first.
    pub earlier: Vec<EarlierView>,
    /// Entries that are kept.
    pub kept: u64,
    /// Why what was kept at the desk does not count.
    pub trouble: Option<String>,
    pub clock: ClockKeeper,
    pub put_off: PutOff,
}

/// A value and who says it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = SaidOfSite)]
pub struct Said {
    pub value: String,
    /// `file`, `desk` or `default`.
    #[schema(schema_with = sources)]
    pub source: &'static str,
}

fn sources() -> Object {
    words(&["file", "desk", "default"])
}

/// A zone that frames are read in which came while it held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = EarlierZone)]
pub struct EarlierView {
    pub zone: String,
    /// The last entry of that time.
    pub through: i64,
}

/// What keeps the clock of the box right, as far as that can be seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct ClockKeeper {
    /// `systemd-timesyncd`, `chrony`, `ntpd` or `unknown`.
    #[schema(schema_with = services)]
    pub service: &'static str,
    /// `synchronised`, `not-synchronised` or `unknown`.
    #[schema(schema_with = states)]
    pub state: &'static str,
    /// Servers that its configuration names; one that the network tells (DHCP) is not among them.
    pub servers: Vec<String>,
    /// Servers that somebody at the desk wants.
    pub wanted: Vec<String>,
    /// What is wanted is what is configured.
    pub as_wanted: bool,
    /// The file to write for what is wanted, and what is to stand in it; only whoever is root on the box can.
    pub file: Option<String>,
    pub text: Option<String>,
    /// What puts it in force.
    pub command: Option<String>,
}

fn services() -> Object {
    words(&["systemd-timesyncd", "chrony", "ntpd", "unknown"])
}

fn states() -> Object {
    words(&["synchronised", "not-synchronised", "unknown"])
}
