//! What a kept frame means: frame + firmware profile → measurements → FHIR resources.
//!
//! A pure function of what is on disk and of the configuration, computed again whenever it is needed: for the
//! desk, for delivery, after a profile was repaired. Nothing derived is ever stored in its place.

use std::collections::HashMap;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::config::Link;
use crate::device::{Finding, Report};
use crate::fhir::Resource;
use crate::firmware_profile::{Decoded, LinkContext};
use crate::hl7v2::Charset;
use crate::translate::{self, Context, QualityControl};

/// Every link and how its frames are read.
pub struct Understanding {
    links: HashMap<Arc<str>, Link>,
    gateway: translate::Gateway,
    simulated: bool,
}

/// What is to become of a frame.
pub enum Meaning {
    /// These resources are to exist upstream.
    Deliver { resources: Vec<Resource> },
    /// A person must look: why, in words.
    Hold(String),
    /// There is nothing in it to deliver, and that is no fault: why.
    Nothing(String),
}

/// A frame read once: what it says, and what is to become of it.
pub struct Understood {
    /// The device the frame is ordered under; the link's name when no device could be told.
    pub device: String,
    /// One line without patient data, e.g. `12 measurements from Acme VS-1`.
    pub summary: String,
    pub reports: Vec<Report>,
    pub findings: Vec<Finding>,
    pub meaning: Meaning,
}

/// The parts of a kept frame that reading it needs.
pub struct Said<'a> {
    pub link: &'a str,
    pub received: Timestamp,
    pub bytes: &'a [u8],
    pub topic: Option<&'a str>,
    /// SHA-256 of the bytes: stands in for the time of devices that have no clock.
    pub sha256: [u8; 32],
}

impl Understanding {
    /// `gateway` is this box as FHIR will name it.
    pub fn new(links: Vec<Link>, gateway: translate::Gateway, simulated: bool) -> Self {
        let links = links.into_iter().map(|link| (link.name.clone(), link)).collect();
        Self { links, gateway, simulated }
    }

    /// The configured link of that name, unless it was removed from the file since.
    pub fn link(&self, name: &str) -> Option<&Link> {
        self.links.get(name)
    }

    /// All links, in no order.
    pub fn links(&self) -> impl Iterator<Item = &Link> {
        self.links.values()
    }

    /// Reads one frame. Total: whatever the bytes are, there is an answer.
    pub fn read(&self, said: &Said<'_>) -> Understood {
        let Some(link) = self.links.get(said.link) else {
            let reason = format!(
                "link \"{}\" is no longer in the configuration: put it back, then release",
                said.link
            );
            return Understood {
                device: said.link.into(),
                summary: "unknown link".into(),
                reports: Vec::new(),
                findings: Vec::new(),
                meaning: Meaning::Hold(reason),
            };
        };
        let context = LinkContext {
            zone: link.zone.clone(),
            zone_name: link.zone_name.clone(),
            received: said.received,
            link: link.name.clone(),
            charset: Charset::default(),
        };
        let decoded = link.profile.decode(said.bytes, said.topic, &context);
        self.meant(link, said, decoded)
    }

    fn meant(&self, link: &Link, said: &Said<'_>, decoded: Decoded) -> Understood {
        let device = decoded.reports.first().map_or_else(|| said.link.into(), |r| r.device.key(said.link));
        let count: usize = decoded.reports.iter().map(|r| r.measurements.len()).sum();
        let summary =
            format!("{count} measurement{} by {}", if count == 1 { "" } else { "s" }, link.profile.id);
        let meaning = self.meaning(link, said, &decoded);
        Understood { device, summary, reports: decoded.reports, findings: decoded.findings, meaning }
    }

    fn meaning(&self, link: &Link, said: &Said<'_>, decoded: &Decoded) -> Meaning {
        if let Some(reason) = &decoded.held {
            return Meaning::Hold(reason.clone());
        }
        if let Some(reason) = &decoded.ignored {
            return Meaning::Nothing(reason.clone());
        }
        let sequence = hex(&said.sha256);
        let context = Context {
            gateway: &self.gateway,
            link: said.link,
            received: said.received,
            simulated: self.simulated,
            unidentified: link.unidentified,
            quality_control: QualityControl::default(),
            bound_patient: link.patient.as_ref(),
            sequence: &sequence,
        };
        let translation = translate::translate_frame(&decoded.reports, &context);
        // All or nothing per frame: half a frame delivered is a result nobody will look for.
        if !translation.held.is_empty() {
            let mut reasons: Vec<String> = translation.held.iter().map(ToString::to_string).collect();
            reasons.dedup();
            return Meaning::Hold(reasons.join("; "));
        }
        let resources = translation.resources;
        if resources.is_empty() {
            return Meaning::Hold("the frame holds no measurement that its profile knows".into());
        }
        Meaning::Deliver { resources }
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _always_ok = write!(text, "{byte:02x}");
        text
    })
}
