//! Firmware profiles as people at the desk change them: tried on captures and on what came, saved, in force at once, taken
//! back.
//!
//! *Invariants:* no page with a fault is ever in force; no page is in force that a link which uses it cannot carry; a page is
//! kept in the buffer before anything is read with it; what was kept is read again with the new page, nothing is changed in it.

mod pack;
mod run;
mod shelf;
mod templates;

use std::sync::Arc;

use crate::admin::command::Refusal;
use crate::admin::profiles::{
    self, Applied, CaptureView, Checked, ProfilePage, ProfileRow, Ran, Saved, TemplateRan, Templates, Tried,
};
use crate::admin::raw::Raw;
use crate::admin::store::EntryRow;
use crate::buffer::{Buffer, BufferError, Change, EntryFilter, State};
use crate::clock::SharedClock;
use crate::config::{self, Link};
use crate::connector::Later;
use crate::firmware_profile::{self, FirmwareProfile, Library, LinkContext};
use crate::gateway::pairing::Pairing;
use crate::gateway::understand::Understanding;
pub(in crate::gateway) use shelf::Shelf;
use shelf::{Note, PAGE, SAVED};

/// Longest page.
const TEXT_MAX: usize = 256 << 10;
/// Entries of each link beside a page.
const RECENT: u32 = 10;

/// Profiles and templates as the gateway keeps them.
pub(super) struct Profiles {
    buffer: Buffer,
    shelf: Arc<Shelf>,
    understanding: Arc<Understanding>,
    pairing: Arc<Pairing>,
    templates: Arc<crate::template::Library>,
    /// The clinic's own pages of templates: path and text.
    own_templates: Vec<(String, String)>,
    zone: String,
    clock: SharedClock,
    /// One page is exchanged at a time.
    saving: tokio::sync::Mutex<()>,
}

fn failed(fault: BufferError) -> Refusal {
    Refusal::Failed(fault.to_string())
}

/// Whether a profile can have this id: `maker/model`, as its folder would be called.
fn is_id(id: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c))
    };
    id.len() <= 80 && id.split_once('/').is_some_and(|(maker, model)| part(maker) && part(model))
}

impl Profiles {
    pub(super) fn new(
        buffer: Buffer,
        shelf: Arc<Shelf>,
        understanding: Arc<Understanding>,
        pairing: Arc<Pairing>,
        config: &config::Config,
        clock: SharedClock,
    ) -> Self {
        Self {
            buffer,
            shelf,
            understanding,
            pairing,
            templates: config.templates.clone(),
            own_templates: config.own_templates.clone(),
            zone: config.site.zone.clone(),
            clock,
            saving: tokio::sync::Mutex::default(),
        }
    }

    fn profile(&self, id: &str) -> Result<Arc<FirmwareProfile>, Refusal> {
        self.shelf.library().find(id).ok_or(Refusal::Unknown)
    }

    fn links_of(&self, id: &str) -> Vec<Arc<Link>> {
        let mut links = self.understanding.links();
        links.retain(|link| link.profile_word() == id);
        links
    }

    fn row(&self, profile: &FirmwareProfile) -> ProfileRow {
        let senders = self.understanding.senders();
        let source = self.shelf.source(&profile.id);
        let below = match source {
            profiles::Source::Desk => self.shelf.configured().page(&profile.id).is_some(),
            profiles::Source::Folder => Library::shipped(&profile.id).is_some(),
            profiles::Source::Shipped => false,
        };
        let files = Library::files(&profile.id);
        let is_capture = |name: &str| name.starts_with("captures/") && !name.ends_with(".golden");
        ProfileRow {
            id: profile.id.to_string(),
            manufacturer: profile.manufacturer.to_string(),
            model: profile.model.to_string(),
            firmware: profile.firmware.as_ref().map(ToString::to_string),
            verified: profile.verified.to_string(),
            codec: profile.codec.word(),
            hash: profile.hash.clone(),
            source,
            overrides: below,
            saved: self.shelf.saved(&profile.id),
            links: self.links_of(&profile.id).iter().map(|link| link.name.to_string()).collect(),
            senders: senders.iter().filter(|(_, own)| own.id == profile.id).count(),
            captures_kept: files.iter().filter(|(name, _)| is_capture(name)).count(),
        }
    }

    async fn listed(&self) -> Result<Vec<ProfileRow>, Refusal> {
        Ok(self.shelf.library().profiles().map(|profile| self.row(profile)).collect())
    }

    async fn opened(&self, id: String) -> Result<ProfilePage, Refusal> {
        let profile = self.profile(&id)?;
        let library = self.shelf.library();
        let capture = |capture: firmware_profile::Capture| CaptureView {
            golden: capture.golden.is_some(),
            topic: capture.topic,
            raw: Raw::of(&capture.frame, hash_of(&capture.frame)),
            name: capture.name,
        };
        Ok(ProfilePage {
            row: self.row(&profile),
            text: library.page(&id).map(|page| page.to_string()).unwrap_or_default(),
            before: self
                .shelf
                .saved(&id)
                .and_then(|_| self.shelf.configured().page(&id))
                .map(|p| p.to_string()),
            caveats: profile.caveats.clone(),
            captures: Library::shelf(&id, &profile).into_iter().map(capture).collect(),
            recent: self.recent(&id).await?,
        })
    }

    /// What came on the links of a profile lately, held ones first.
    async fn recent(&self, id: &str) -> Result<Vec<EntryRow>, Refusal> {
        let (reader, mut rows) = (self.buffer.reader(), Vec::new());
        for link in self.links_of(id) {
            for state in [Some(State::Held), None] {
                let name = Some(link.name.to_string());
                let filter = EntryFilter { state, link: name, limit: RECENT, ..EntryFilter::default() };
                rows.extend(reader.entries(filter).await.map_err(failed)?.entries);
            }
        }
        rows.sort_by_key(|row| (row.state != State::Held, std::cmp::Reverse(row.id)));
        rows.dedup_by_key(|row| row.id);
        rows.truncate(2 * RECENT as usize);
        Ok(rows.into_iter().map(crate::admin::entry_row).collect())
    }

    fn checked(id: &str, text: &str) -> Checked {
        if text.len() > TEXT_MAX {
            return Checked { faults: vec![too_long()], ..Checked::default() };
        }
        let Some(context) = LinkContext::of_goldens() else { return Checked::default() };
        let report = firmware_profile::check(id, text, None, None, &context);
        Checked {
            device: report.profile.map(|summary| format!("{} {}", summary.manufacturer, summary.model)),
            faults: report.faults,
            metrics: report.metrics,
        }
    }

    async fn saved(&self, who: String, id: String, text: String) -> Result<Applied, Refusal> {
        if !is_id(&id) {
            let why = "an id is maker/model in small letters, digits, - and . , such as acme/vs-1";
            return Err(Refusal::Conflict(why.into()));
        }
        let _turn = self.saving.lock().await;
        let checked = Self::checked(&id, &text);
        if let Some(fault) = checked.faults.first() {
            let more = checked.faults.len() - 1;
            let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
            let why = format!("line {}, column {}: {}{more}", fault.line, fault.column, fault.message);
            return Err(Refusal::Conflict(why));
        }
        let parsed = FirmwareProfile::parse(&id, &text).map_err(|_| Refusal::Unknown)?;
        self.refuse_what_no_link_carries(&parsed)?;
        let now = self.clock.now();
        let note = serde_json::to_string(&Note { by: who.clone(), at: now.micros }).unwrap_or_default();
        let changes = vec![
            Change::Setting { key: format!("{PAGE}{id}"), value: text.clone() },
            Change::Setting { key: format!("{SAVED}{id}"), value: note },
        ];
        self.buffer.change(changes).await.map_err(failed)?;
        let put = self.shelf.put(&id, &text, Saved { by: who, at: now });
        let profile = put.map_err(|_| Refusal::Failed("a page that was checked has faults".into()))?;
        self.applied(&profile).await
    }

    async fn reverted(&self, id: String) -> Result<Applied, Refusal> {
        let _turn = self.saving.lock().await;
        if self.shelf.saved(&id).is_none() {
            return Err(Refusal::Conflict("this page was not changed at the desk".into()));
        }
        match self.shelf.configured().find(&id) {
            Some(below) => self.refuse_what_no_link_carries(&below)?,
            None if !self.links_of(&id).is_empty() => {
                let why = "a link reads with it, and there is no page of that name without it: remove the link first";
                return Err(Refusal::Conflict(why.into()));
            }
            None => {}
        }
        let keys = [format!("{PAGE}{id}"), format!("{SAVED}{id}")];
        let changes = keys.into_iter().map(|key| Change::RemoveSetting { key }).collect();
        self.buffer.change(changes).await.map_err(failed)?;
        match self.shelf.take(&id) {
            Some(profile) => self.applied(&profile).await,
            None => Ok(Applied {
                at: self.clock.now(),
                hash: String::new(),
                links: Vec::new(),
                restarted: Vec::new(),
                held: 0,
            }),
        }
    }

    fn refuse_what_no_link_carries(&self, profile: &FirmwareProfile) -> Result<(), Refusal> {
        let stuck =
            self.links_of(&profile.id).into_iter().find(|link| !link.transport.carries(&profile.codec));
        let Some(link) = stuck else { return Ok(()) };
        Err(Refusal::Conflict(format!(
            "link \"{}\" reads with this page over {}, which cannot carry codec \"{}\"",
            link.name,
            link.transport.kind(),
            profile.codec.word()
        )))
    }

    /// From now on everything is read with this page.
    async fn applied(&self, profile: &Arc<FirmwareProfile>) -> Result<Applied, Refusal> {
        let changed = self.understanding.exchange(profile);
        let mut restarted = Vec::new();
        for (was, is) in &changed {
            // What was said to the device, or how its bytes are cut, is another thing now.
            if was.speech() != is.speech() {
                self.pairing.restart(is).await;
                restarted.push(is.name.to_string());
            }
        }
        let (reader, mut held) = (self.buffer.reader(), 0);
        for (_, link) in &changed {
            let filter = EntryFilter {
                state: Some(State::Held),
                link: Some(link.name.to_string()),
                limit: 500,
                ..EntryFilter::default()
            };
            held += reader.entries(filter).await.map_err(failed)?.entries.len() as u64;
        }
        Ok(Applied {
            at: self.clock.now(),
            hash: profile.hash.clone(),
            links: changed.iter().map(|(_, link)| link.name.to_string()).collect(),
            restarted,
            held,
        })
    }
}

fn hash_of(bytes: &[u8]) -> String {
    crate::gateway::understand::hex(&crate::buffer::sha256(bytes))
}

fn too_long() -> firmware_profile::Fault {
    firmware_profile::Fault::at("", 0..0, format!("the page is longer than {TEXT_MAX} bytes"))
}

impl profiles::Profiles for Profiles {
    fn list(&self) -> Later<'_, Result<Vec<ProfileRow>, Refusal>> {
        Box::pin(self.listed())
    }

    fn page(&self, id: String) -> Later<'_, Result<ProfilePage, Refusal>> {
        Box::pin(self.opened(id))
    }

    fn check(&self, id: String, text: String) -> Later<'_, Checked> {
        Box::pin(async move {
            tokio::task::spawn_blocking(move || Self::checked(&id, &text)).await.unwrap_or_default()
        })
    }

    fn run(&self, id: String, text: String, what: Tried) -> Later<'_, Result<Ran, Refusal>> {
        Box::pin(self.ran(id, text, what))
    }

    fn save(&self, who: String, id: String, text: String) -> Later<'_, Result<Applied, Refusal>> {
        Box::pin(self.saved(who, id, text))
    }

    fn revert(&self, id: String) -> Later<'_, Result<Applied, Refusal>> {
        Box::pin(self.reverted(id))
    }

    fn export(&self, id: String) -> Later<'_, Result<Vec<u8>, Refusal>> {
        Box::pin(async move { self.packed(&id) })
    }

    fn templates(&self) -> Later<'_, Result<Templates, Refusal>> {
        Box::pin(async { Ok(self.all_templates()) })
    }

    fn template(&self, name: String) -> Later<'_, Result<String, Refusal>> {
        Box::pin(async move { self.template_text(&name).ok_or(Refusal::Unknown) })
    }

    fn check_template(&self, name: String, text: String) -> Later<'_, crate::template::Report> {
        Box::pin(async move {
            let check = move || crate::template::check(&name, &text);
            tokio::task::spawn_blocking(check).await.unwrap_or_default()
        })
    }

    fn run_template(
        &self,
        id: i64,
        name: String,
        text: Option<String>,
    ) -> Later<'_, Result<TemplateRan, Refusal>> {
        Box::pin(self.ran_template(id, name, text))
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
