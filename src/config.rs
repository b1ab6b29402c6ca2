//! `bedside.toml` → Config: strict, parsed into valid types or refused with line and caret.
//!
//! Each room owns its section's type; this file only composes them. Rooms are handed their own section and never
//! see the whole.

pub mod association;
pub mod audit;
pub mod backup;
mod delivery;
mod destinations;
mod intake;
mod library;
mod origin;
mod page;
mod patients;
mod site;
mod system;
mod waveforms;
mod worklist;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::tz::TimeZone;
use serde::Deserialize;
use toml::Spanned;

use crate::connector;
use crate::device::Identifier;
use crate::firmware_profile::{FirmwareProfile, Library};
use crate::hl7v2::Charset;
use crate::route::Route;
use crate::translate::Unidentified;
use crate::wire::{Codec, Speech};
use crate::{access, admin, buffer, upstream};

pub use delivery::{Delivery, Hours, Send};
pub use destinations::{Destination, Feed, FeedTo};
pub use intake::Intake;
pub use library::{library, template_pages, templates};
pub use origin::Origin;
pub use page::page_of;
pub use patients::Patients;
pub use site::{EarlierZone, Site, UNNAMED};
pub use system::{HL7_SYSTEM, SystemReads};
pub use waveforms::{Deliver, Waveforms};
pub use worklist::Worklist;

/// How the box is built, checked and ready to run.
#[derive(Clone, Debug)]
pub struct Config {
    pub site: Site,
    pub buffer: buffer::Config,
    pub desk: Option<admin::Config>,
    /// Who may log in at the desk, and how.
    pub access: access::Config,
    pub upstream: Option<upstream::Config>,
    pub broker: Option<connector::broker::Config>,
    pub links: Vec<Link>,
    /// Systems that take HL7 v2, and what goes to them; the first route that takes a frame counts.
    pub destinations: Vec<Destination>,
    /// FHIR servers and folders beside `upstream`.
    pub feeds: Vec<Feed>,
    pub routes: Vec<Route>,
    /// All firmware profiles, for links that are made while the box runs.
    pub library: Arc<Library>,
    /// How messages of hospital systems become FHIR.
    pub templates: Arc<crate::template::Library>,
    /// The clinic's own pages of them: path and text.
    pub own_templates: Vec<(String, String)>,
    pub intake: Intake,
    pub delivery: Delivery,
    pub worklist: Worklist,
    pub association: association::Policy,
    pub patients: Patients,
    pub telemetry: Option<upstream::otlp::Config>,
    pub audit: audit::Audit,
    pub update: Option<crate::update::Config>,
    pub backup: Option<backup::Backup>,
    pub log: Log,
    /// SHA-256 of the file, in hex: whether it is another one than at the last start.
    pub digest: String,
    /// Where secrets are looked for after systemd's credentials.
    pub secrets: PathBuf,
    pub origin: Origin,
}

/// How logs are written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// A tracing filter such as `info` or `bedside::connector=debug,info`. Libraries never say more than `info`.
    pub filter: Option<String>,
    /// `auto` (human on a terminal, JSON otherwise), `human` or `json`.
    pub format: LogFormat,
}

/// The shape of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Auto,
    Human,
    Json,
}

/// One configured connection to a source system, resolved.
#[derive(Clone, Debug)]
pub struct Link {
    pub name: Arc<str>,
    pub reads: Reads,
    pub zone: TimeZone,
    pub zone_name: Arc<str>,
    /// It says no zone of its own.
    pub(crate) follows_site: bool,
    /// Zones of the site before this one, the oldest first.
    pub(crate) earlier: Arc<[EarlierZone]>,
    pub unidentified: Unidentified,
    /// Every measurement of this link belongs to this patient, until the file is changed.
    pub patient: Option<Identifier>,
    pub waveforms: Waveforms,
    /// Whoever asks on it is told of patients: who somebody is, who lies where.
    pub answers_patients: bool,
    /// Of HL7 messages whose MSH-18 says none.
    pub charset: Charset,
    pub transport: Transport,
}

/// With what a link's frames are read.
#[derive(Clone, Debug)]
pub enum Reads {
    /// One device, or several of a kind.
    Profile(Arc<FirmwareProfile>),
    /// Whoever sends: each sender is a candidate until a person accepts it with a profile.
    BySender,
    /// A hospital system: patients, orders, results for translation.
    System(SystemReads),
}

/// What a link's `profile` says for [`Reads::BySender`].
pub const BY_SENDER: &str = "by-sender";

impl Link {
    /// The link layer.
    pub fn codec(&self) -> Codec {
        match (&self.reads, &self.transport) {
            (Reads::Profile(profile), _) => self.waveforms.gathered(profile.codec.clone()),
            (_, Transport::Mllp(_)) => Codec::Mllp(crate::wire::mllp::Settings::default()),
            _ => Codec::message(),
        }
    }

    /// The link layer and what may be said on it.
    pub fn speech(&self) -> Speech {
        match &self.reads {
            Reads::Profile(profile) => Speech { codec: self.codec(), ..profile.speech() },
            Reads::BySender | Reads::System(_) => self.codec().into(),
        }
    }

    /// The word the desk shows for what reads its frames.
    pub fn profile_word(&self) -> &str {
        match &self.reads {
            Reads::Profile(profile) => &profile.id,
            Reads::BySender => BY_SENDER,
            Reads::System(_) => HL7_SYSTEM,
        }
    }
}

/// How a link's bytes come in.
#[derive(Clone, Debug)]
pub enum Transport {
    Mllp(connector::mllp::Config),
    Serial(connector::serial::Config),
    Tcp(connector::tcp::Config),
    Udp(connector::udp::Config),
    Mqtt(connector::mqtt::Config),
    Folder(connector::folder::Config),
    /// Topics of the embedded broker that belong to this link.
    Broker {
        topics: Vec<String>,
    },
}

impl Transport {
    /// The word the desk shows.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Mllp(_) => "mllp",
            Self::Serial(_) => "serial",
            Self::Tcp(_) => "tcp",
            Self::Folder(_) => "folder",
            Self::Udp(_) => "udp",
            Self::Mqtt(_) | Self::Broker { .. } => "mqtt",
        }
    }
}

impl Transport {
    /// Whether frames of this codec can come this way.
    pub(crate) fn carries(&self, codec: &Codec) -> bool {
        match self {
            Self::Udp(_) => codec.on_datagrams().is_some(),
            Self::Mllp(_) => matches!(codec, Codec::Mllp(_)),
            Self::Mqtt(_) | Self::Broker { .. } | Self::Folder(_) => matches!(codec, Codec::Message(_)),
            Self::Serial(_) | Self::Tcp(_) => !matches!(codec, Codec::Message(_)),
        }
    }
}

/// A fault of the file, with the place to look at.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{}: {source}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{place}:{line}:{column}: {message}\n{excerpt}")]
    At { place: String, line: usize, column: usize, message: String, excerpt: String },
    #[error("{0}")]
    Whole(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    site: Site,
    buffer: buffer::Config,
    desk: Option<admin::Config>,
    #[serde(default)]
    access: access::Config,
    upstream: Option<upstream::Config>,
    broker: Option<connector::broker::Config>,
    #[serde(default)]
    profiles: Profiles,
    #[serde(default, rename = "link")]
    links: Vec<LinkFile>,
    #[serde(default, rename = "destination")]
    destinations: Vec<destinations::DestinationFile>,
    #[serde(default, rename = "route")]
    routes: Vec<destinations::RouteFile>,
    #[serde(default)]
    intake: Intake,
    #[serde(default)]
    delivery: Delivery,
    #[serde(default)]
    worklist: Worklist,
    #[serde(default)]
    association: association::Policy,
    #[serde(default)]
    patients: Patients,
    telemetry: Option<upstream::otlp::Config>,
    #[serde(default)]
    audit: audit::Audit,
    update: Option<crate::update::Config>,
    backup: Option<backup::Backup>,
    #[serde(default)]
    log: Log,
    #[serde(default = "secrets_default")]
    secrets: PathBuf,
}

fn secrets_default() -> PathBuf {
    "/etc/bedside/secrets".into()
}

/// Where firmware profiles of this clinic are, beside the built-in ones.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Profiles {
    folder: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LinkFile {
    name: Spanned<String>,
    profile: Spanned<String>,
    zone: Option<Spanned<String>>,
    #[serde(default)]
    unidentified: Unidentified,
    patient: Option<PatientFile>,
    #[serde(default)]
    waveforms: Waveforms,
    #[serde(default)]
    charset: Charset,
    system: Option<system::SystemFile>,
    answers_patients: Option<bool>,
    mllp: Option<connector::mllp::Config>,
    serial: Option<connector::serial::Config>,
    tcp: Option<connector::tcp::Config>,
    udp: Option<connector::udp::Config>,
    mqtt: Option<connector::mqtt::Config>,
    folder: Option<connector::folder::Config>,
    broker: Option<BrokerTopics>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PatientFile {
    system: String,
    value: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BrokerTopics {
    topics: Vec<String>,
}

/// Reads and checks `path`; also reads the clinic's own firmware profiles it names.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { path: path.into(), source })?;
    parse(&text, &path.display().to_string())
}

/// Checks the text of a config file; `place` is what faults are reported against.
pub fn parse(text: &str, place: &str) -> Result<Config, ConfigError> {
    let file: File = toml::from_str(text).map_err(|fault| {
        let span = fault.span().unwrap_or(0..0);
        at(text, place, span.start, fault.message().to_string())
    })?;
    sections(&file, &|section, key, message| at(text, place, offset_of(text, section, key), message))?;
    let library = Arc::new(library(file.profiles.folder.as_deref())?);
    let own = file.profiles.folder.as_ref().map(|folder| folder.join("templates"));
    let own_templates = template_pages(own.as_deref().filter(|own| own.is_dir()))?;
    let templates = crate::template::Library::embedded_with(own_templates.clone());
    let templates = Arc::new(templates.map_err(|fault| ConfigError::Whole(fault.to_string()))?);
    let mut names = HashSet::new();
    let mut links = Vec::with_capacity(file.links.len());
    for link in file.links {
        if !names.insert(link.name.get_ref().clone()) {
            let message = format!(
                "two links are called \"{}\": every link needs a name of its own",
                link.name.get_ref()
            );
            return Err(at(text, place, link.name.span().start, message));
        }
        links.push(resolve(link, &file.site, &library, file.broker.is_some(), &|offset, message| {
            at(text, place, offset, message)
        })?);
    }
    let here = |offset, message| at(text, place, offset, message);
    let (destinations, feeds, routes) = destinations::resolve(file.destinations, file.routes, &links, &here)?;
    if let Some(upstream) = &file.upstream {
        let names = destinations.iter().map(|one| &one.name).chain(feeds.iter().map(|one| &one.name));
        if names.into_iter().any(|name| **name == *upstream.name) {
            let message = format!("a [[destination]] is called \"{}\", as [upstream] is", upstream.name);
            return Err(here(offset_of(text, "[upstream]", "name"), message));
        }
    }
    Ok(Config {
        site: file.site,
        buffer: file.buffer,
        desk: file.desk,
        upstream: file.upstream,
        broker: file.broker,
        links,
        destinations,
        feeds,
        routes,
        library,
        templates,
        own_templates,
        intake: file.intake,
        delivery: file.delivery,
        worklist: file.worklist,
        access: file.access,
        association: file.association,
        patients: file.patients,
        telemetry: file.telemetry,
        audit: file.audit,
        update: file.update,
        backup: file.backup,
        log: file.log,
        digest: buffer::sha256(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect(),
        secrets: file.secrets,
        origin: Origin::of(text, place),
    })
}

/// What a section's own room has to say against it.
fn sections(file: &File, fault: &dyn Fn(&str, &str, String) -> ConfigError) -> Result<(), ConfigError> {
    zone_of(&file.site.zone).map_err(|message| fault("[site]", "zone", message))?;
    let desk = file.desk.as_ref().map_or(Ok(()), admin::Config::check);
    desk.map_err(|(key, message)| fault("[desk.acme]", key, message))?;
    if let Some(upstream) = &file.upstream {
        upstream.check().map_err(|wrong| fault("[upstream]", "", wrong.to_string()))?;
    }
    let worklist = file.worklist.check(file.upstream.is_some());
    worklist.map_err(|(key, message)| fault("[worklist]", key, message))?;
    file.access.check().map_err(|(key, wrong)| fault("[access]", key, wrong))?;
    file.association.check().map_err(|(key, wrong)| fault("[association]", key, wrong))?;
    let patients = file.patients.check(file.upstream.is_some());
    patients.map_err(|(key, message)| fault("[patients]", key, message))?;
    file.intake.check().map_err(|(key, message)| fault("[intake]", key, message))?;
    file.delivery.check().map_err(|(key, message)| fault("[delivery]", key, message))?;
    if let Some(telemetry) = &file.telemetry {
        telemetry.check().map_err(|(key, message)| fault("[telemetry]", key, message))?;
    }
    file.audit.check().map_err(|(key, message)| fault("[audit]", key, message))?;
    if let Some(update) = &file.update {
        update.check().map_err(|(key, message)| fault("[update]", key, message))?;
    }
    if let Some(backup) = &file.backup {
        backup.check().map_err(|(key, message)| fault("[backup]", key, message))?;
    }
    if let Some(broker) = &file.broker {
        broker.check().map_err(|wrong| fault("[broker]", "", wrong))?;
    }
    Ok(())
}

/// Where a key of a section stands, else the section's head; the start of the file when both are written another way.
fn offset_of(text: &str, section: &str, key: &str) -> usize {
    let (mut offset, mut head) = (0, None);
    for line in text.split_inclusive('\n') {
        let written = line.trim_start();
        let indent = line.len() - written.len();
        match head {
            None if written.starts_with(section) => head = Some(offset + indent),
            Some(_) if written.starts_with('[') => break,
            Some(_) if written.split('=').next().is_some_and(|name| name.trim() == key) => {
                return offset + indent;
            }
            _ => {}
        }
        offset += line.len();
    }
    head.unwrap_or(0)
}

fn resolve(
    link: LinkFile,
    site: &Site,
    library: &Library,
    broker: bool,
    fault: &dyn Fn(usize, String) -> ConfigError,
) -> Result<Link, ConfigError> {
    let here = link.name.span().start;
    let name = link.name.into_inner();
    if name.is_empty() || name.len() > 64 || name.chars().any(char::is_control) {
        return Err(fault(here, "a link's name has 1 to 64 printable characters".into()));
    }
    let reads = reads(&link.profile, link.system, library, fault)?;
    let follows_site = link.zone.is_none();
    let (zone_name, zone_at) = match &link.zone {
        Some(zone) => (zone.get_ref().clone(), zone.span().start),
        None => (site.zone.clone(), here),
    };
    let zone = zone_of(&zone_name).map_err(|message| fault(zone_at, message))?;
    let mut transports = Vec::new();
    transports.extend(link.mllp.map(Transport::Mllp));
    transports.extend(link.serial.map(Transport::Serial));
    transports.extend(link.tcp.map(Transport::Tcp));
    transports.extend(link.udp.map(Transport::Udp));
    transports.extend(link.mqtt.map(Transport::Mqtt));
    transports.extend(link.folder.map(Transport::Folder));
    transports.extend(link.broker.map(|b| Transport::Broker { topics: b.topics }));
    if transports.len() != 1 {
        let message = format!(
            "link \"{name}\" has {} ways in; give it exactly one of [link.mllp], [link.serial], [link.tcp], [link.udp], [link.mqtt], [link.folder] or [link.broker]",
            transports.len()
        );
        return Err(fault(here, message));
    }
    let Some(mut transport) = transports.pop() else { return Err(fault(here, "no transport".into())) };
    if let (Transport::Mllp(mllp), Reads::Profile(profile)) = (&mut transport, &reads)
        && let Codec::Mllp(page) = &profile.codec
    {
        mllp.fill(page);
    }
    if let Transport::Mqtt(mqtt) = &transport {
        mqtt.check().map_err(|message| fault(here, message))?;
    }
    if let Transport::Folder(folder) = &transport {
        folder.check().map_err(|message| fault(here, message))?;
    }
    check_way(&reads, &transport).map_err(|message| fault(here, message))?;
    link.waveforms.check().map_err(|message| fault(here, message))?;
    if matches!(transport, Transport::Broker { .. }) && !broker {
        let message =
            format!("link \"{name}\" listens on the embedded broker, but there is no [broker] section");
        return Err(fault(here, message));
    }
    let patient =
        link.patient.map(|p| Identifier { system: p.system.into(), value: p.value.into(), kind: None });
    Ok(Link {
        name: name.into(),
        answers_patients: link.answers_patients.unwrap_or(matches!(reads, Reads::System(_))),
        reads,
        zone,
        zone_name: zone_name.into(),
        follows_site,
        earlier: if follows_site { site.earlier.clone() } else { Arc::default() },
        unidentified: link.unidentified,
        patient,
        waveforms: link.waveforms,
        charset: link.charset,
        transport,
    })
}

fn reads(
    profile: &Spanned<String>,
    system: Option<system::SystemFile>,
    library: &Library,
    fault: &dyn Fn(usize, String) -> ConfigError,
) -> Result<Reads, ConfigError> {
    let id = profile.get_ref();
    if id == HL7_SYSTEM {
        let system = system.unwrap_or_default().resolved(library);
        return system.map(Reads::System).map_err(|message| fault(profile.span().start, message));
    }
    if system.is_some() {
        let message = format!("[link.system] is for links with profile = \"{HL7_SYSTEM}\"");
        return Err(fault(profile.span().start, message));
    }
    if id == BY_SENDER {
        return Ok(Reads::BySender);
    }
    library.find(id).map(Reads::Profile).ok_or_else(|| {
        let message = format!(
            "no firmware profile \"{id}\"; there are: {BY_SENDER} (each sender its own, accepted at the desk), {HL7_SYSTEM} (a hospital system: patients, orders), {}",
            library.ids().collect::<Vec<_>>().join(", ")
        );
        fault(profile.span().start, message)
    })
}

/// Whether frames that are read so can come this way.
fn check_way(reads: &Reads, transport: &Transport) -> Result<(), String> {
    let way = transport.kind();
    match reads {
        Reads::Profile(profile) if !transport.carries(&profile.codec) => {
            Err(format!("{} does not speak over {way}: its codec is {}", profile.id, profile.codec.word()))
        }
        Reads::BySender if !matches!(way, "mllp" | "mqtt") => {
            Err(format!("\"{BY_SENDER}\" is for mllp and mqtt; over {way} a link has one profile"))
        }
        Reads::System(_) => system::check_way(transport),
        _ => Ok(()),
    }
}

/// Reads one link as the desk writes it: the keys of a `[[link]]` section without its head.
///
/// # Errors
/// As for the file; places are lines of `text`.
pub fn parse_link(text: &str, site: &Site, library: &Library, broker: bool) -> Result<Link, ConfigError> {
    let place = "the link";
    let file: LinkFile = toml::from_str(text).map_err(|fault| {
        let span = fault.span().unwrap_or(0..0);
        at(text, place, span.start, fault.message().to_string())
    })?;
    resolve(file, site, library, broker, &|offset, message| at(text, place, offset, message))
}

fn zone_of(name: &str) -> Result<TimeZone, String> {
    TimeZone::get(name)
        .map_err(|_| format!("unknown time zone \"{name}\": use an IANA name such as \"Europe/Berlin\""))
}

/// A fault at a byte offset of `text`, with the line and a caret under the place.
fn at(text: &str, place: &str, offset: usize, message: String) -> ConfigError {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |l| l.chars().count()) + 1;
    let shown = text.lines().nth(line - 1).unwrap_or_default();
    let excerpt = format!("{line:>5} | {shown}\n      | {}^", " ".repeat(column - 1));
    ConfigError::At { place: place.into(), line, column, message, excerpt }
}

/// Fuzz body: any text may stand in the file; a fault is told with a place that can be drawn, and only a bug panics.
pub fn fuzz(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if text.contains("[profiles]") {
        return; // It names a folder of this machine, which is no outside byte.
    }
    if let Err(fault) = parse(&text, "fuzz.toml") {
        assert!(!fault.to_string().is_empty());
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
