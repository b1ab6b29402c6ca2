//! Pairing: links made at the desk, senders accepted there, and what was heard on a port. What a person decided is
//! kept in the box's memory and holds again after a restart.

mod candidates;
pub(crate) mod scan;
mod sender;

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::admin::command::Refusal;
use crate::admin::explain::Explained;
use crate::admin::pairing::{
    self, Accepted, KnownSender, PairedLink, PortView, ProfileCard, ScanView, ScanWanted, Sender, Standing,
};
use crate::buffer::{Buffer, BufferError, Change, EntryDetail, EntryFilter, Mark, State, Stored, Transition};
use crate::clock::SharedClock;
use crate::config::{self, Link, Site, Transport};
use crate::connector::{Later, Stop, ports};
use crate::firmware_profile::{FirmwareProfile, LinkContext};
use crate::gateway::desk::explained;
use crate::gateway::links::Roster;
use crate::gateway::profiles::Shelf;
use crate::gateway::understand::{Meaning, Said, Understanding, context};
use crate::gateway::worklist;
use candidates::Candidates;
use scan::Scan;
pub(super) use sender::sender_of;

/// Keys under which the box remembers: a link's page, and a sender's profile.
const LINK: &str = "link:";
const SENDER: &str = "sender:";
/// Between the link and the sender of a key; no name holds it.
const BETWEEN: char = '\u{1f}';
/// Held entries looked at in one go when a sender is accepted.
const PAGE: u32 = 200;

/// Pairing as the gateway carries it out.
pub(super) struct Pairing {
    buffer: Buffer,
    understanding: Arc<Understanding>,
    shelf: Arc<Shelf>,
    site: Site,
    broker: bool,
    candidates: Candidates,
    /// Links of the configuration file; these are not removed at the desk.
    fixed: HashSet<Arc<str>>,
    /// Set once the way in stands.
    roster: OnceLock<Arc<Roster>>,
    scanning: Mutex<Option<Scanning>>,
    clock: SharedClock,
}

/// A scan that runs or has ended.
struct Scanning {
    view: Arc<Mutex<ScanView>>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Pairing {
    pub(super) fn new(
        buffer: Buffer,
        understanding: Arc<Understanding>,
        shelf: Arc<Shelf>,
        config: &config::Config,
        clock: SharedClock,
    ) -> Self {
        let fixed = understanding.links().iter().map(|link| link.name.clone()).collect();
        Self {
            buffer,
            understanding,
            shelf,
            site: config.site.clone(),
            broker: config.broker.is_some(),
            candidates: Candidates::default(),
            fixed,
            roster: OnceLock::new(),
            scanning: Mutex::default(),
            clock,
        }
    }

    /// Takes up again what was decided before: call before frames are looked at. A link or sender whose page or
    /// profile is gone is told and left out; its frames are held, not lost.
    pub(super) async fn remember(&self) -> Result<(), BufferError> {
        let (reader, library) = (self.buffer.reader(), self.shelf.library());
        for (name, page) in reader.settings(LINK).await? {
            match config::parse_link(&page, &self.site, &library, self.broker) {
                Ok(link) if self.understanding.link(&link.name).is_none() => self.understanding.add(link),
                Ok(_) => tracing::warn!(
                    link = name,
                    "The configuration file has a link of that name too; it counts."
                ),
                Err(fault) => tracing::error!(link = name, %fault, "A link made at the desk cannot be used."),
            }
        }
        for (key, profile) in reader.settings(SENDER).await? {
            let Some((link, sender)) = key.split_once(BETWEEN) else { continue };
            match library.find(&profile) {
                Some(known) => {
                    self.understanding.know(Sender { link: link.into(), sender: sender.into() }, Some(known));
                }
                None => tracing::error!(link, profile, "The profile of an accepted sender is gone."),
            }
        }
        Ok(())
    }

    /// Starts every link there is.
    pub(super) fn start(&self, roster: Arc<Roster>) -> usize {
        let links = self.understanding.links();
        links.iter().for_each(|link| roster.start(link));
        // Set once: the box is built once.
        drop(self.roster.set(roster));
        links.len()
    }

    /// Ends a link's connector and starts it as the link is now.
    pub(super) async fn restart(&self, link: &Link) {
        if let Some(roster) = self.roster.get() {
            roster.end(&link.name).await;
            roster.start(link);
        }
    }

    /// A frame of a sender nobody has accepted.
    pub(super) fn saw(&self, who: Sender, stored: &Stored) {
        let guess = || {
            let link = self.understanding.link(&stored.link);
            link.map(|link| {
                let (codec, context) = (link.codec(), context(&link, stored.received, Some(stored.id)));
                candidates::guesses(
                    &self.shelf.library(),
                    codec.word(),
                    &stored.bytes,
                    stored.topic.as_deref(),
                    &context,
                )
            })
        };
        self.candidates.saw(who, stored, || guess().unwrap_or_default());
    }

    fn profile(&self, id: &str) -> Result<Arc<FirmwareProfile>, Refusal> {
        let unknown = || Refusal::Conflict(format!("there is no firmware profile \"{id}\""));
        self.shelf.library().find(id).ok_or_else(unknown)
    }

    async fn previewed(&self, who: Sender, profile: String) -> Result<Explained, Refusal> {
        let profile = self.profile(&profile)?;
        let link = self.understanding.link(&who.link).ok_or(Refusal::Unknown)?;
        let id = self.candidates.find(&who).ok_or(Refusal::Unknown)?.entry;
        let entry = self.buffer.reader().entry(id).await.map_err(failed)?.ok_or(Refusal::Unknown)?;
        let said = said(&entry);
        Ok(explained(self.understanding.read_with(&link, &profile, &said), Some(profile.id.to_string())))
    }

    async fn accepted(&self, who: Sender, profile: String) -> Result<Accepted, Refusal> {
        let profile = self.profile(&profile)?;
        let link = self.understanding.link(&who.link).ok_or(Refusal::Unknown)?;
        if link.codec().word() != profile.codec.word() {
            let (codec, own) = (link.codec(), profile.codec.word());
            let text = format!("{} speaks {own}; the link takes {}", profile.id, codec.word());
            return Err(Refusal::Conflict(text));
        }
        self.buffer.put_setting(&key(&who), &profile.id).await.map_err(failed)?;
        self.understanding.know(who.clone(), Some(profile));
        self.candidates.forget(&who);
        self.release(&who).await.map_err(failed)
    }

    /// Reads again what was held for a sender, and lets go what can go.
    async fn release(&self, who: &Sender) -> Result<Accepted, BufferError> {
        let (reader, mut done) = (self.buffer.reader(), Accepted::default());
        let mut before = None;
        loop {
            let held = EntryFilter {
                state: Some(State::Held),
                link: Some(who.link.to_string()),
                before,
                limit: PAGE,
                ..EntryFilter::default()
            };
            let rows = reader.entries(held).await?.entries;
            let Some(last) = rows.last() else { return Ok(done) };
            before = Some(last.id);
            let mut marks = Vec::new();
            for row in &rows {
                let Some(entry) = reader.entry(row.id).await?.filter(|entry| entry.intact) else { continue };
                let said = said(&entry);
                if sender_of(&said) != who.sender {
                    continue;
                }
                let understood = self.understanding.read(&said);
                let id = row.id;
                match understood.meaning {
                    Meaning::Deliver { .. } => {
                        let (device, summary) = (understood.device, understood.summary);
                        marks.push(Mark { id, to: Transition::Seen { device, summary } });
                        marks.push(Mark { id, to: Transition::Waiting { retry_after: None, reason: None } });
                        done.released += 1;
                    }
                    Meaning::Nothing(reason) => {
                        marks.push(Mark { id, to: Transition::Ignored { reason } });
                        done.released += 1;
                    }
                    Meaning::Orders(arrival) => {
                        let to = worklist::take(&self.buffer, &row.link, arrival).await;
                        let held = matches!(to, Transition::Held { .. });
                        done.still_held += u64::from(held);
                        done.released += u64::from(!held);
                        marks.push(Mark { id, to });
                    }
                    Meaning::Hold(_) | Meaning::Stranger(_) => done.still_held += 1,
                }
            }
            self.buffer.mark(marks).await?;
        }
    }

    async fn forgotten(&self, who: Sender) -> Result<(), Refusal> {
        if !self.understanding.senders().iter().any(|(known, _)| *known == who) {
            return Err(Refusal::Unknown);
        }
        self.buffer.change(vec![Change::RemoveSetting { key: key(&who) }]).await.map_err(failed)?;
        self.understanding.know(who, None);
        Ok(())
    }

    async fn added(&self, link: serde_json::Value) -> Result<String, Refusal> {
        let page = config::page_of(&link).map_err(Refusal::Conflict)?;
        let link = config::parse_link(&page, &self.site, &self.shelf.library(), self.broker);
        let link: Link = link.map_err(|fault| Refusal::Conflict(fault.to_string()))?;
        if self.understanding.link(&link.name).is_some() {
            return Err(Refusal::Conflict(format!("there is a link called \"{}\" already", link.name)));
        }
        let roster = self.roster.get().ok_or_else(|| Refusal::Failed("the box is starting".into()))?;
        self.buffer.put_setting(&format!("{LINK}{}", link.name), &page).await.map_err(failed)?;
        let name = link.name.to_string();
        self.understanding.add(link.clone());
        roster.start(&link);
        Ok(name)
    }

    async fn removed(&self, name: String) -> Result<(), Refusal> {
        if self.fixed.contains(name.as_str()) {
            let text = format!("link \"{name}\" stands in the configuration file: remove it there");
            return Err(Refusal::Conflict(text));
        }
        if self.understanding.link(&name).is_none() {
            return Err(Refusal::Unknown);
        }
        let change = Change::RemoveSetting { key: format!("{LINK}{name}") };
        self.buffer.change(vec![change]).await.map_err(failed)?;
        if let Some(roster) = self.roster.get() {
            roster.end(&name).await;
        }
        self.understanding.remove(&name);
        Ok(())
    }

    fn listed_ports(&self) -> Vec<PortView> {
        let links = self.understanding.links();
        let user = |port: &ports::Port| {
            let uses = |link: &&Arc<Link>| match &link.transport {
                Transport::Serial(serial) => same_port(&serial.port, &port.device),
                _ => false,
            };
            links.iter().find(uses).map(|link| link.name.to_string())
        };
        let view = |port: ports::Port| PortView {
            link: user(&port),
            path: port.path,
            device: port.device,
            name: port.name,
        };
        ports::list().into_iter().map(view).collect()
    }

    fn begin_scan(&self, wanted: ScanWanted) -> Result<(), Refusal> {
        if let Some(unknown) = wanted.profiles.iter().find(|id| self.shelf.library().find(id).is_none()) {
            return Err(Refusal::Conflict(format!("there is no firmware profile \"{unknown}\"")));
        }
        let mut scanning = self.scanning.lock().unwrap_or_else(PoisonError::into_inner);
        if scanning.as_ref().is_some_and(|running| !running.task.is_finished()) {
            return Err(Refusal::Conflict("a scan is running: stop it first".into()));
        }
        let context = LinkContext::new("scan", &self.site.zone, self.clock.now());
        let context = context.ok_or_else(|| Refusal::Failed("the site's zone is unknown".into()))?;
        let view = Arc::new(Mutex::new(ScanView::default()));
        let scan = Scan {
            library: self.shelf.library(),
            port: wanted.port,
            profiles: wanted.profiles,
            ask: wanted.ask,
            clock: self.clock.clone(),
            context,
            view: view.clone(),
        };
        let (stop, stopped) = Stop::pair();
        *scanning = Some(Scanning { view, stop, task: tokio::spawn(scan.run(stopped)) });
        Ok(())
    }

    fn standing_now(&self) -> Standing {
        let links = self.understanding.links();
        let link = |link: &Arc<Link>| PairedLink {
            name: link.name.clone(),
            kind: link.transport.kind(),
            profile: link.profile_word().to_owned(),
            desk: !self.fixed.contains(&link.name),
        };
        let known =
            |(who, profile): (Sender, Arc<FirmwareProfile>)| KnownSender { who, profile: profile.id.clone() };
        Standing {
            zone: self.site.zone.clone(),
            broker: self.broker,
            links: links.iter().map(link).collect(),
            candidates: self.candidates.all(),
            senders: self.understanding.senders().into_iter().map(known).collect(),
            profiles: self.shelf.library().profiles().map(|profile| card(profile)).collect(),
        }
    }
}

fn card(profile: &FirmwareProfile) -> ProfileCard {
    ProfileCard {
        id: profile.id.clone(),
        manufacturer: profile.manufacturer.clone(),
        model: profile.model.clone(),
        verified: profile.verified.to_string(),
        codec: profile.codec.word(),
        transport: serde_json::to_value(&profile.transport).unwrap_or_default(),
        caveats: profile.caveats.iter().map(ToString::to_string).collect(),
    }
}

/// The parts of a kept entry that reading it needs.
fn said(entry: &EntryDetail) -> Said<'_> {
    Said {
        entry: Some(entry.row.id),
        link: &entry.row.link,
        peer: &entry.row.peer,
        received: entry.row.received,
        bytes: &entry.bytes,
        topic: entry.topic.as_deref(),
        sha256: crate::buffer::sha256(&entry.bytes),
    }
}

fn key(who: &Sender) -> String {
    format!("{SENDER}{}{BETWEEN}{}", who.link, who.sender)
}

fn failed(fault: BufferError) -> Refusal {
    Refusal::Failed(fault.to_string())
}

impl pairing::Pairing for Pairing {
    fn standing(&self) -> Later<'_, Standing> {
        Box::pin(async { self.standing_now() })
    }

    fn preview(&self, who: Sender, profile: String) -> Later<'_, Result<Explained, Refusal>> {
        Box::pin(self.previewed(who, profile))
    }

    fn accept(&self, who: Sender, profile: String) -> Later<'_, Result<Accepted, Refusal>> {
        Box::pin(self.accepted(who, profile))
    }

    fn forget(&self, who: Sender) -> Later<'_, Result<(), Refusal>> {
        Box::pin(self.forgotten(who))
    }

    fn add_link(&self, link: serde_json::Value) -> Later<'_, Result<String, Refusal>> {
        Box::pin(self.added(link))
    }

    fn remove_link(&self, name: String) -> Later<'_, Result<(), Refusal>> {
        Box::pin(self.removed(name))
    }

    fn ports(&self) -> Later<'_, Vec<PortView>> {
        Box::pin(async { self.listed_ports() })
    }

    fn scan(&self, wanted: ScanWanted) -> Later<'_, Result<(), Refusal>> {
        Box::pin(async { self.begin_scan(wanted) })
    }

    fn scanning(&self) -> Option<ScanView> {
        let scanning = self.scanning.lock().unwrap_or_else(PoisonError::into_inner);
        scanning.as_ref().map(|scan| scan.view.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    fn stop_scan(&self) {
        if let Some(scan) = &*self.scanning.lock().unwrap_or_else(PoisonError::into_inner) {
            // An error means that it has ended already.
            scan.stop.send(true).ok();
        }
    }
}

/// Whether a link's port is this device, by any of its names.
fn same_port(port: &Path, device: &str) -> bool {
    std::fs::canonicalize(port).unwrap_or_else(|_| port.into()) == Path::new(device)
}
