//! Who and where the box is, where the configuration file does not say it: kept in the buffer like links, in force from the
//! next start, which follows at once. A frame keeps the zone of its time, whatever zone is set later.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::admin::command::Refusal;
use crate::admin::site::{self, EarlierView, PutOff, Said, SitePage, SiteView, ZoneFrom};
use crate::admin::upstreams::Applied;
use crate::buffer::{Buffer, BufferError, Change};
use crate::clock::SharedClock;
use crate::config::{Config, EarlierZone, Site};
use crate::connector::Later;
use crate::gateway::again::{AWAY_S, Again};
use crate::gateway::clock_keeper;
use crate::gateway::system::local_time;

/// Settings: what was said at the desk, the zones there were, and what is put off.
const PAGE: &str = "site";
const ZONES: &str = "site-zones";
const PUT_OFF: &str = "first-steps";
/// Characters of a name.
const NAME_MAX: usize = 64;
/// Zones that are remembered; changing it more often is refused.
const ZONES_MAX: usize = 200;
/// The zone of a box where nobody has said one.
const NO_ZONE: &str = "UTC";

/// What was said at the desk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Page {
    name: Option<String>,
    gateway: Option<String>,
    zone: Option<String>,
    time_servers: Vec<String>,
}

/// Zones the box has had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Zones {
    /// The one in force at the last start.
    zone: String,
    /// Zone and the last entry it counts for, the oldest first.
    earlier: Vec<(String, i64)>,
}

impl Default for Zones {
    fn default() -> Self {
        Self { zone: NO_ZONE.into(), earlier: Vec::new() }
    }
}

fn json<T: for<'a> Deserialize<'a> + Default>(text: Option<String>) -> T {
    text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}

fn setting<T: Serialize>(key: &str, value: &T) -> Result<Change, Refusal> {
    let value = serde_json::to_string(value).map_err(|fault| Refusal::Failed(fault.to_string()))?;
    Ok(Change::Setting { key: key.into(), value })
}

fn failed(fault: BufferError) -> Refusal {
    Refusal::Failed(fault.to_string())
}

fn known(zone: &str) -> Result<TimeZone, String> {
    TimeZone::get(zone)
        .map_err(|_| format!("unknown time zone \"{zone}\": use an IANA name such as \"Europe/Berlin\""))
}

/// Puts in force what was said at the desk, where the file does not say it, before any frame comes in. `Some`: why some of
/// it cannot be.
///
/// # Errors
/// A buffer that cannot be read.
pub(super) async fn remember(config: &mut Config, buffer: &Buffer) -> Result<Option<String>, BufferError> {
    let reader = buffer.reader();
    let page: Page = json(reader.setting(PAGE).await?);
    let was: Zones = json(reader.setting(ZONES).await?);
    let mut trouble = None;
    let said = |key: &str| config.origin.source(key) == "file";
    let [name, gateway, zone] = ["site.name", "site.gateway", "site.zone"].map(said);
    if let Some(own) = page.name.filter(|_| !name) {
        config.site.name = own;
        config.origin.said_at_the_desk("site.name");
    }
    if let Some(own) = page.gateway.filter(|own| !gateway && !own.is_empty()) {
        config.site.gateway = Some(own);
        config.origin.said_at_the_desk("site.gateway");
    }
    if let Some(own) = page.zone.filter(|_| !zone) {
        match known(&own) {
            Ok(_) => {
                config.site.zone = own;
                config.origin.said_at_the_desk("site.zone");
            }
            Err(why) => {
                tracing::error!(
                    why,
                    "The zone set at the desk is not known; times without one are read in UTC."
                );
                trouble = Some(why);
            }
        }
    }
    let mut zones = Zones { zone: config.site.zone.clone(), earlier: was.earlier.clone() };
    if !zone {
        let last = i64::try_from(reader.counts().kept).unwrap_or(i64::MAX);
        if last > 0 && was.zone != zones.zone {
            zones.earlier.push((was.zone.clone(), last));
        }
        let earlier = zones.earlier.iter().filter_map(|(name, through)| {
            let zone = TimeZone::get(name).ok()?;
            Some(EarlierZone { through: *through, zone, name: name.as_str().into() })
        });
        config.site.earlier = earlier.collect();
    }
    for link in &mut config.links {
        if let Err(why) = link.follow(&config.site) {
            trouble = Some(why);
        }
    }
    if zones != was {
        let text = serde_json::to_string(&zones).unwrap_or_default();
        buffer.put_setting(ZONES, &text).await?;
    }
    Ok(trouble)
}

/// Who and where the box is, as the gateway carries it out.
pub(super) struct Sites {
    buffer: Buffer,
    clock: SharedClock,
    again: Arc<Again>,
    site: Site,
    sources: [&'static str; 3],
    file: String,
    trouble: Option<String>,
    /// Where traces of time services are looked for.
    root: PathBuf,
    changing: tokio::sync::Mutex<()>,
}

impl Sites {
    /// `trouble`: of [`remember`].
    pub(super) fn new(
        buffer: Buffer,
        config: &Config,
        clock: SharedClock,
        again: Arc<Again>,
        trouble: Option<String>,
    ) -> Self {
        let sources = ["site.name", "site.gateway", "site.zone"].map(|key| config.origin.source(key));
        Self {
            buffer,
            clock,
            again,
            site: config.site.clone(),
            sources,
            file: config.origin.place.clone(),
            trouble,
            root: "/".into(),
            changing: tokio::sync::Mutex::default(),
        }
    }

    async fn page(&self) -> Result<Page, Refusal> {
        Ok(json(self.buffer.reader().setting(PAGE).await.map_err(failed)?))
    }

    async fn view(&self) -> Result<SiteView, Refusal> {
        let page = self.page().await?;
        let reader = self.buffer.reader();
        let [name, gateway, zone] = self.sources;
        let said = |value: &str, source| Said { value: value.to_owned(), source };
        let root = self.root.clone();
        let clock = tokio::task::spawn_blocking(move || clock_keeper::look(&root, &page.time_servers)).await;
        let earlier = self.site.earlier.iter();
        Ok(SiteView {
            name: said(&self.site.name, name),
            gateway: said(self.site.gateway.as_deref().unwrap_or_default(), gateway),
            zone: said(&self.site.zone, zone),
            file: self.file.clone(),
            local_time: local_time(self.clock.now(), &self.site.zone),
            earlier: earlier
                .map(|one| EarlierView { zone: one.name.to_string(), through: one.through })
                .collect(),
            kept: reader.counts().kept,
            trouble: self.trouble.clone(),
            clock: clock.map_err(|fault| Refusal::Failed(fault.to_string()))?,
            put_off: json(reader.setting(PUT_OFF).await.map_err(failed)?),
        })
    }

    /// What the file says is not said at the desk.
    fn free(&self, at: usize, key: &str) -> Result<(), Refusal> {
        if self.sources.get(at) != Some(&"file") {
            return Ok(());
        }
        let text = format!("{key} stands in {}: change it there, or take it out there first", self.file);
        Err(Refusal::Conflict(text))
    }

    async fn saved(&self, asked: SitePage) -> Result<Applied, Refusal> {
        let _turn = self.changing.lock().await;
        let before = self.page().await?;
        let mut page = before.clone();
        if let Some(name) = asked.name.filter(|name| name.trim() != self.site.name) {
            self.free(0, "the name of the site")?;
            page.name = Some(named(&name)?);
        }
        let own = self.site.gateway.as_deref().unwrap_or_default();
        if let Some(gateway) = asked.gateway.filter(|gateway| gateway.trim() != own) {
            self.free(1, "the name of the box")?;
            page.gateway = if gateway.trim().is_empty() { None } else { Some(named(&gateway)?) };
        }
        if let Some(servers) = &asked.time_server {
            page.time_servers = clock_keeper::servers(servers).map_err(Refusal::Conflict)?;
        }
        let mut changes = Vec::new();
        if let Some(zone) = asked.zone {
            changes.extend(self.zone_changed(&mut page, zone.trim(), asked.zone_from)?);
        }
        let now = self.clock.now();
        if page == before && changes.is_empty() {
            return Ok(Applied { at: now, back_in_s: 0 });
        }
        // The time server that is wanted is no setting of this program: nothing has to start anew for it.
        let anew = Page { time_servers: Vec::new(), ..page.clone() }
            != Page { time_servers: Vec::new(), ..before }
            || !changes.is_empty();
        changes.push(setting(PAGE, &page)?);
        self.buffer.change(changes).await.map_err(failed)?;
        if anew {
            self.again.ask();
        }
        Ok(Applied { at: now, back_in_s: if anew { AWAY_S } else { 0 } })
    }

    /// Takes up another zone; what is to be remembered of those before.
    fn zone_changed(
        &self,
        page: &mut Page,
        zone: &str,
        from: Option<ZoneFrom>,
    ) -> Result<Option<Change>, Refusal> {
        if zone == self.site.zone && self.sources.last() == Some(&"file") {
            return Ok(None);
        }
        self.free(2, "the time zone")?;
        known(zone).map_err(Refusal::Conflict)?;
        page.zone = Some(zone.to_owned());
        let other = zone != self.site.zone;
        if !other && from != Some(ZoneFrom::Always) {
            return Ok(None);
        }
        if self.buffer.reader().counts().kept == 0 {
            return Ok(None);
        }
        match from {
            None => {
                let why = "frames are kept already: say whether the zone counts from now on or always did";
                Err(Refusal::Asks { code: "zone-from", why: why.into() })
            }
            Some(ZoneFrom::Now) if self.site.earlier.len() >= ZONES_MAX => Err(Refusal::Conflict(format!(
                "the zone was changed {ZONES_MAX} times: see which one is right"
            ))),
            Some(ZoneFrom::Now) => Ok(None),
            Some(ZoneFrom::Always) if !other && self.site.earlier.is_empty() => Ok(None),
            Some(ZoneFrom::Always) => {
                setting(ZONES, &Zones { zone: zone.to_owned(), earlier: Vec::new() }).map(Some)
            }
        }
    }

    async fn put_off_steps(&self, mut off: PutOff) -> Result<(), Refusal> {
        off.later.sort_unstable();
        off.later.dedup();
        self.buffer.change(vec![setting(PUT_OFF, &off)?]).await.map_err(failed)
    }
}

/// A name somebody typed.
fn named(text: &str) -> Result<String, Refusal> {
    let text = text.trim();
    let wrong = text.is_empty() || text.chars().count() > NAME_MAX || text.chars().any(char::is_control);
    if wrong {
        return Err(Refusal::Conflict(format!("a name has 1 to {NAME_MAX} printable characters")));
    }
    Ok(text.to_owned())
}

impl site::Site for Sites {
    fn told(&self) -> Later<'_, Result<SiteView, Refusal>> {
        Box::pin(self.view())
    }

    fn save(&self, page: SitePage) -> Later<'_, Result<Applied, Refusal>> {
        Box::pin(self.saved(page))
    }

    fn put_off(&self, off: PutOff) -> Later<'_, Result<(), Refusal>> {
        Box::pin(self.put_off_steps(off))
    }
}

#[cfg(test)]
#[path = "site_tests.rs"]
mod tests;
