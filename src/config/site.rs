//! The `[site]` section, and the zone in which times without an offset are read.
//!
//! Where the file does not say the zone, it is set at the desk and may change while frames are kept. Measurements are read
//! from kept frames again and again: so each frame keeps the zone of its time, told by the number of its entry. Numbers go
//! up also when the clock of the box does not.

use std::sync::Arc;

use jiff::tz::TimeZone;
use serde::Deserialize;

use super::Link;

/// What a box is called that nobody has named.
pub const UNNAMED: &str = "Bedside";

/// Who and where the box is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Site {
    /// Name shown on the desk, e.g. `Clinic South, ward 3`. Where the file has none, it is set at the desk.
    #[serde(default = "unnamed")]
    pub name: String,
    /// What this box is called beside others of the site, e.g. `gateway at the nurses' station`.
    pub gateway: Option<String>,
    /// IANA zone of devices that state no offset; a link may say its own. Where the file has none, it is set at the desk.
    #[serde(default = "utc")]
    pub zone: String,
    /// URI of the site's own patient numbers, for numbers that come without an issuer.
    pub patient_system: Option<String>,
    /// Everything this box says is simulated: shown on every page and marked HTEST in FHIR.
    #[serde(default)]
    pub simulated: bool,
    /// Seconds a device's clock may differ from this box's before the desk raises an alarm.
    #[serde(default = "clock_limit")]
    pub clock_limit_s: u32,
    /// Zones that were set at the desk before, the oldest first.
    #[serde(skip)]
    pub earlier: Arc<[EarlierZone]>,
}

/// A zone that frames were received in until another was set at the desk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EarlierZone {
    /// The last entry it counts for.
    pub through: i64,
    pub zone: TimeZone,
    /// Its IANA name.
    pub name: Arc<str>,
}

const fn clock_limit() -> u32 {
    120
}

fn unnamed() -> String {
    UNNAMED.into()
}

fn utc() -> String {
    "UTC".into()
}

impl Link {
    /// From now on, for a link that says no zone of its own, the zone of the site.
    ///
    /// # Errors
    /// A zone that is not known.
    pub fn follow(&mut self, site: &Site) -> Result<(), String> {
        if self.follows_site {
            self.zone = super::zone_of(&site.zone)?;
            self.zone_name = site.zone.as_str().into();
            self.earlier = site.earlier.clone();
        }
        Ok(())
    }

    /// The zone of times without an offset and its name, in the frame of this entry; `None`: in one that comes now.
    pub fn zone_in(&self, entry: Option<i64>) -> (&TimeZone, &Arc<str>) {
        let then = entry.and_then(|entry| self.earlier.iter().find(|zone| entry <= zone.through));
        then.map_or((&self.zone, &self.zone_name), |then| (&then.zone, &then.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, parse};

    const LINK: &str = "\n[[link]]\nname = \"a\"\nprofile = \"nonin/xpod\"\nserial = { port = \"/dev/x\" }\n";

    fn config(link: &str) -> Config {
        parse(&format!("[site]\n[buffer]\ndir = \"/x\"\n{LINK}{link}"), "b.toml").unwrap()
    }

    fn earlier(through: i64, name: &str) -> EarlierZone {
        EarlierZone { through, zone: TimeZone::get(name).unwrap(), name: name.into() }
    }

    #[test]
    fn a_site_without_a_name_and_a_zone_has_them_from_nobody() {
        let site = config("").site;
        assert_eq!((site.name.as_str(), site.zone.as_str(), site.gateway), (UNNAMED, "UTC", None));
    }

    #[test]
    fn each_frame_is_read_in_the_zone_of_its_time_and_the_next_one_in_the_zone_of_now() {
        let Config { mut site, mut links, .. } = config("");
        site.zone = "Europe/Berlin".into();
        site.earlier = [earlier(10, "UTC"), earlier(25, "Asia/Kolkata")].into();
        links[0].follow(&site).unwrap();
        let name = |entry| links[0].zone_in(entry).1.to_string();
        assert_eq!((name(Some(1)), name(Some(10))), ("UTC".into(), "UTC".into()));
        assert_eq!((name(Some(11)), name(Some(25))), ("Asia/Kolkata".into(), "Asia/Kolkata".into()));
        assert_eq!((name(Some(26)), name(None)), ("Europe/Berlin".into(), "Europe/Berlin".into()));
    }

    #[test]
    fn a_link_with_a_zone_of_its_own_keeps_it() {
        let Config { mut site, mut links, .. } = config("zone = \"Asia/Tokyo\"\n");
        site.zone = "Europe/Berlin".into();
        site.earlier = [earlier(10, "UTC")].into();
        links[0].follow(&site).unwrap();
        assert_eq!(&**links[0].zone_in(Some(1)).1, "Asia/Tokyo");
    }

    #[test]
    fn a_zone_nobody_knows_is_refused_and_the_link_stays_as_it_was() {
        let Config { mut site, mut links, .. } = config("");
        site.zone = "Mars/Olympus".into();
        assert!(links[0].follow(&site).unwrap_err().contains("Mars/Olympus"));
        assert_eq!(&**links[0].zone_in(None).1, "UTC");
    }
}
