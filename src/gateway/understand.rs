//! What a kept frame means: frame + firmware profile → measurements → FHIR resources.
//!
//! A pure function of what is on disk and of the configuration, computed again whenever it is needed: for the
//! desk, for delivery, after a profile was repaired. Nothing derived is ever stored in its place.

mod system;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError};

use tokio::sync::RwLock;

use crate::admin::pairing::Sender;
use crate::buffer::Doubt;
use crate::clock::Timestamp;
use crate::config::{Link, Reads};
use crate::device::{Finding, Report};
use crate::fhir::Resource;
use crate::firmware_profile::{Arrival, Decoded, FirmwareProfile, LinkContext};
use crate::gateway::association::whose::{self, Attributed, Whose};
use crate::gateway::pairing::sender_of;
use crate::identity::{Attribution, Issuers, adt::Adt};
use crate::template;
use crate::translate::{self, Context, QualityControl};

/// Every link and how its frames are read.
pub struct Understanding {
    links: std::sync::RwLock<HashMap<Arc<str>, Arc<Link>>>,
    /// Senders a person has accepted, on links that take many.
    senders: std::sync::RwLock<HashMap<Sender, Arc<FirmwareProfile>>>,
    gateway: translate::Gateway,
    issuers: Issuers,
    /// How messages of hospital systems become FHIR.
    templates: Option<Arc<template::Library>>,
    simulated: bool,
    /// Who says whose an observation is, once the box is built; the frame and the link alone until then.
    whose: OnceLock<Arc<dyn Whose>>,
    facts: Turnstile,
}

/// Between those who send what facts say and those who change facts.
#[derive(Default)]
pub(super) struct Turnstile {
    /// Goes up with every change of facts: what was understood before may be otherwise now.
    generation: AtomicU64,
    /// Read while something that was made ready is written down as sent.
    pub(super) sending: RwLock<()>,
}

impl Turnstile {
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(super) fn changed(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }
}

/// What is to become of a frame.
pub enum Meaning {
    /// These resources are to exist upstream.
    Deliver { resources: Vec<Resource> },
    /// A person must look: why, in words.
    Hold(String),
    /// There is nothing in it to deliver, and that is no fault: why.
    Nothing(String),
    /// Orders for the worklist: [`worklist::take`](super::worklist::take) says what becomes of the entry.
    Orders(Arrival),
    /// Nobody has accepted its sender yet. Held like the others, and shown as a candidate.
    Stranger(Sender),
}

impl Meaning {
    /// What a person reads when the frame is held.
    pub fn reason(sender: &Sender) -> String {
        format!("nobody has accepted the sender \"{}\" yet: see Pairing", sender.sender)
    }
}

/// A frame read once: what it says, and what is to become of it.
pub struct Understood {
    /// The device the frame is ordered under; the link's name when no device could be told.
    pub device: String,
    /// One line without patient data, e.g. `12 measurements from Acme VS-1`.
    pub summary: String,
    pub reports: Vec<Report>,
    pub findings: Vec<Finding>,
    /// What it says of patients; the first look tells it to the index, whatever else becomes of the frame.
    pub people: Vec<Adt>,
    /// Orders in a frame that is delivered too: the first look takes them onto the worklist.
    pub orders: Option<Arrival>,
    pub meaning: Meaning,
    /// Under whom it is delivered, or why nobody can say.
    pub(crate) whose: Option<Attributed>,
}

/// The parts of a kept frame that reading it needs.
pub struct Said<'a> {
    /// The entry it is kept as; `None`: it is not kept, or this moment.
    pub entry: Option<i64>,
    pub link: &'a str,
    /// The other side: an address, a port path or a topic.
    pub peer: &'a str,
    pub received: Timestamp,
    pub bytes: &'a [u8],
    pub topic: Option<&'a str>,
    /// SHA-256 of the bytes: stands in for the time of devices that have no clock.
    pub sha256: [u8; 32],
}

impl Understanding {
    /// `gateway` is this box as FHIR will name it.
    pub fn new(links: Vec<Link>, gateway: translate::Gateway, simulated: bool) -> Self {
        let links = links.into_iter().map(|link| (link.name.clone(), Arc::new(link))).collect();
        let issuers = Issuers { site: gateway.patient_system.clone(), ..Issuers::default() };
        Self {
            links: std::sync::RwLock::new(links),
            senders: std::sync::RwLock::default(),
            gateway,
            issuers,
            templates: None,
            simulated,
            whose: OnceLock::new(),
            facts: Turnstile::default(),
        }
    }

    pub(super) const fn facts(&self) -> &Turnstile {
        &self.facts
    }

    /// From now on `whose` is asked; once.
    pub(super) fn ask(&self, whose: Arc<dyn Whose>) {
        drop(self.whose.set(whose));
    }

    /// Messages of hospital systems are translated with these, on links that ask for it.
    pub fn translating(mut self, templates: Arc<template::Library>) -> Self {
        self.templates = Some(templates);
        self
    }

    /// With the names under which assigning authorities go at this site.
    #[must_use]
    pub fn naming(mut self, systems: BTreeMap<String, String>) -> Self {
        self.issuers.named = systems;
        self
    }

    /// This box, as FHIR names it.
    pub const fn gateway(&self) -> &translate::Gateway {
        &self.gateway
    }

    /// Everything is made up.
    pub const fn simulated(&self) -> bool {
        self.simulated
    }

    /// By what names issuers go at this site.
    pub const fn issuers(&self) -> &Issuers {
        &self.issuers
    }

    /// The link of that name, unless it was removed since.
    pub fn link(&self, name: &str) -> Option<Arc<Link>> {
        self.links.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// All links, by name.
    pub fn links(&self) -> Vec<Arc<Link>> {
        let links = self.links.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<Arc<Link>> = links.values().cloned().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// A link was made while the box runs.
    pub fn add(&self, link: Link) {
        let mut links = self.links.write().unwrap_or_else(PoisonError::into_inner);
        links.insert(link.name.clone(), Arc::new(link));
    }

    /// From now on what was read with a profile of this id is read with this one. The links it is on: as they were and as
    /// they are.
    pub fn exchange(&self, profile: &Arc<FirmwareProfile>) -> Vec<(Arc<Link>, Arc<Link>)> {
        let mut changed = Vec::new();
        for link in self.links.write().unwrap_or_else(PoisonError::into_inner).values_mut() {
            let reads = match &link.reads {
                Reads::Profile(own) if own.id == profile.id => Reads::Profile(profile.clone()),
                Reads::System(own) if own.orders.id == profile.id => {
                    Reads::System(crate::config::SystemReads { orders: profile.clone(), ..own.clone() })
                }
                _ => continue,
            };
            let now = Arc::new(Link { reads, ..Link::clone(link) });
            changed.push((std::mem::replace(link, now.clone()), now));
        }
        for own in self.senders.write().unwrap_or_else(PoisonError::into_inner).values_mut() {
            if own.id == profile.id {
                *own = profile.clone();
            }
        }
        self.facts.changed();
        changed
    }

    /// A link is gone; what it still has waiting is held until it is back.
    pub fn remove(&self, name: &str) {
        self.links.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// From now on the frames of `sender` are read with `profile`; with `None` it is a stranger again.
    pub fn know(&self, sender: Sender, profile: Option<Arc<FirmwareProfile>>) {
        let mut senders = self.senders.write().unwrap_or_else(PoisonError::into_inner);
        match profile {
            Some(profile) => senders.insert(sender, profile),
            None => senders.remove(&sender),
        };
    }

    /// Accepted senders and their profiles, in order.
    pub fn senders(&self) -> Vec<(Sender, Arc<FirmwareProfile>)> {
        let senders = self.senders.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = senders.iter().map(|(who, profile)| (who.clone(), profile.clone())).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    /// The page a frame is read with, or the stranger who sent it.
    pub fn page(&self, link: &Link, said: &Said<'_>) -> Result<Arc<FirmwareProfile>, Sender> {
        match &link.reads {
            Reads::Profile(profile) => Ok(profile.clone()),
            Reads::BySender => {
                let who = Sender { link: link.name.clone(), sender: sender_of(said) };
                let known = self.senders.read().unwrap_or_else(PoisonError::into_inner).get(&who).cloned();
                known.ok_or(who)
            }
            Reads::System(system) => Ok(system.orders.clone()),
        }
    }

    /// Reads one frame. Total: whatever the bytes are, there is an answer.
    pub fn read(&self, said: &Said<'_>) -> Understood {
        let Some(link) = self.link(said.link) else {
            let reason = format!("link \"{}\" is no longer there: put it back, then release", said.link);
            return Understood::unread(said, "unknown link", Meaning::Hold(reason));
        };
        if let Reads::System(system) = &link.reads {
            return self.read_system(&link, system, said);
        }
        match self.page(&link, said) {
            Ok(profile) => self.read_with(&link, &profile, said),
            Err(stranger) => Understood::unread(said, "unknown sender", Meaning::Stranger(stranger)),
        }
    }

    /// Reads one frame with a page that its link may not use yet. A fault of ours on one frame is that frame's
    /// fate alone: it is held, and the box goes on.
    pub fn read_with(&self, link: &Link, profile: &FirmwareProfile, said: &Said<'_>) -> Understood {
        let reading = || {
            let context = context(link, said.received, said.entry);
            if let Some(arrival) = profile.arriving_orders(said.bytes, &context) {
                return Understood::unread(said, "orders", Meaning::Orders(arrival));
            }
            let mut decoded = profile.decode(said.bytes, said.topic, &context);
            translate::join_waveforms(&mut decoded.reports, link.waveforms.period());
            self.meant(link, profile, said, decoded)
        };
        guarded(reading).unwrap_or_else(|| self.failed(link, &profile.id, said))
    }

    fn failed(&self, link: &Link, profile: &str, said: &Said<'_>) -> Understood {
        tracing::error!(link = %link.name, profile, "Reading a frame failed: a fault of Bedside.");
        let reason = "Bedside failed on this frame: tell its makers, and release it after an update";
        Understood::unread(said, "not readable", Meaning::Hold(reason.into()))
    }

    fn meant(&self, link: &Link, profile: &FirmwareProfile, said: &Said<'_>, decoded: Decoded) -> Understood {
        let device = decoded.reports.first().map_or_else(|| said.link.into(), |r| r.device.key(said.link));
        let count: usize = decoded.reports.iter().map(|r| r.measurements.len()).sum();
        let mut summary =
            format!("{count} measurement{} by {}", if count == 1 { "" } else { "s" }, profile.id);
        let delivered = link.waveforms.delivered(&profile.codec);
        let waves =
            decoded.reports.iter().flat_map(|r| &r.measurements).filter(|m| translate::is_waveform(m));
        let kept = if delivered { 0 } else { waves.count() };
        if kept > 0 {
            summary.push_str(&format!(
                ", {kept} waveform{} kept and not delivered",
                if kept == 1 { "" } else { "s" }
            ));
        }
        let whose = Attributed::ask(self.whose.get(), link, said, &decoded);
        let mut doubt = None;
        let meaning = match self.meaning(link, said, &decoded, delivered, &whose, &mut doubt) {
            Meaning::Deliver { resources } if resources.is_empty() && kept > 0 => Meaning::Nothing(
                "waveforms only, which this link keeps and does not deliver ([[link]] waveforms)".into(),
            ),
            Meaning::Deliver { resources } if resources.is_empty() => {
                Meaning::Hold("the frame holds no measurement that its profile knows".into())
            }
            other => other,
        };
        let (reports, findings) = (decoded.reports, decoded.findings);
        let whose = Some(Attributed { doubt, ..whose });
        Understood { device, summary, reports, findings, people: Vec::new(), orders: None, meaning, whose }
    }

    /// The reports of a frame as FHIR.
    fn translated(
        &self,
        link: &Link,
        said: &Said<'_>,
        reports: &[Report],
        attributions: &[Option<Attribution>],
        waveforms: bool,
        withdrawn: bool,
    ) -> translate::Translation {
        let sequence = hex(&said.sha256);
        let context = Context {
            gateway: &self.gateway,
            link: said.link,
            received: said.received,
            simulated: self.simulated,
            unidentified: link.unidentified,
            quality_control: QualityControl::default(),
            bound_patient: link.patient.as_ref(),
            waveforms,
            sequence: &sequence,
            attributions,
            withdrawn,
        };
        translate::translate_frame(reports, &context)
    }

    /// What a frame gives when it is delivered as was written down once; `withdrawn`: taken back.
    ///
    /// # Errors
    /// A sentence: the frame or what was written cannot be read any more.
    pub(super) fn under(
        &self,
        said: &Said<'_>,
        text: &str,
        withdrawn: bool,
    ) -> Result<Vec<Resource>, String> {
        let gone =
            "what it was delivered as can no longer be told: its link, its profile or the page changed";
        let link = self.link(said.link).ok_or(gone)?;
        if let Reads::System(system) = &link.reads {
            let reading = || self.system_under(&link, system, said, text, withdrawn);
            return guarded(reading).flatten().ok_or_else(|| gone.into());
        }
        let profile = self.page(&link, said).map_err(|_| gone)?;
        let reading = || {
            let mut decoded =
                profile.decode(said.bytes, said.topic, &context(&link, said.received, said.entry));
            translate::join_waveforms(&mut decoded.reports, link.waveforms.period());
            let whose = Attributed::written(text, &decoded.reports)?;
            let reports = whose.reports.as_deref().unwrap_or(&decoded.reports);
            let delivered = link.waveforms.delivered(&profile.codec);
            Some(self.translated(&link, said, reports, &whose.attributions, delivered, withdrawn).resources)
        };
        guarded(reading).flatten().ok_or_else(|| gone.into())
    }

    /// The Provenance of a correction.
    ///
    /// # Errors
    /// A sentence.
    pub(super) fn provenance(
        &self,
        targets: &[&Resource],
        correction: &translate::Correction<'_>,
    ) -> Result<Resource, String> {
        translate::provenance(targets, correction, &self.gateway, self.simulated)
            .map_err(|fault| fault.to_string())
    }

    fn meaning(
        &self,
        link: &Link,
        said: &Said<'_>,
        decoded: &Decoded,
        waveforms: bool,
        whose: &Attributed,
        doubt: &mut Option<Doubt>,
    ) -> Meaning {
        if let Some(reason) = &decoded.held {
            return Meaning::Hold(reason.clone());
        }
        if let Some(reason) = &decoded.ignored {
            return Meaning::Nothing(reason.clone());
        }
        let reports = whose.reports.as_deref().unwrap_or(&decoded.reports);
        let translation = self.translated(link, said, reports, &whose.attributions, waveforms, false);
        *doubt = whose::doubt(&translation.held);
        // All or nothing per frame: half a frame delivered is a result nobody will look for.
        if !translation.held.is_empty() {
            let mut reasons: Vec<String> = translation.held.iter().map(ToString::to_string).collect();
            reasons.dedup();
            return Meaning::Hold(reasons.join("; "));
        }
        Meaning::Deliver { resources: translation.resources }
    }
}

/// `None` when it panicked. Nothing is shared with what runs but what it returns.
pub(super) fn guarded<T>(reading: impl FnOnce() -> T) -> Option<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(reading)).ok()
}

impl Understood {
    /// The reports as they are delivered: each with the person it is attributed to, and cut where it is two people's.
    pub(super) fn delivered_reports(&self) -> Cow<'_, [Report]> {
        match self.whose.as_ref().filter(|whose| !whose.attributions.is_empty()) {
            Some(whose) => Cow::Owned(whose.with_people(&self.reports)),
            None => Cow::Borrowed(&self.reports),
        }
    }

    fn unread(said: &Said<'_>, summary: &str, meaning: Meaning) -> Self {
        Self {
            device: said.link.into(),
            summary: summary.into(),
            reports: Vec::new(),
            findings: Vec::new(),
            people: Vec::new(),
            orders: None,
            meaning,
            whose: None,
        }
    }
}

/// What a link knows that its frames do not say.
/// `entry`: what the frame is kept as, where it is kept.
pub(super) fn context(link: &Link, received: Timestamp, entry: Option<i64>) -> LinkContext {
    let (zone, name) = link.zone_in(entry);
    LinkContext {
        zone: zone.clone(),
        zone_name: name.clone(),
        received,
        link: link.name.clone(),
        charset: link.charset,
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _always_ok = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_on_one_frame_is_that_frames_alone() {
        assert_eq!(guarded(|| 7), Some(7));
        assert_eq!(guarded(|| -> i32 { panic!("a frame of doom") }), None);
    }
}
