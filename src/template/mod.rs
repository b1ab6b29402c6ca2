//! HL7 v2 messages → FHIR by template, for whoever delivers what hospital systems send.
//!
//! A template is YAML (firmware-profiles/templates/, README.md there explains the language): maps from segments and
//! data types to FHIR types, groups of segments, messages that name the groups they consist of, and tables of codes.
//! [`Library::convert`] is a pure function of a message and what is known of its link. Invariants: what no line read
//! is told by path, never by value; a resource that lacks what R4 requires is told and left out; a code that a
//! required binding does not know is never written; a time never gets a zone that neither the sender nor the link's
//! configuration states; JSON is written by a serializer alone.

mod build;
mod check;
mod condition;
mod convert;
mod element;
mod finish;
mod identity;
mod line;
mod node;
mod page;
mod path;
mod schema;
mod scope;
mod source;
mod table;
mod yaml;

use std::collections::BTreeMap;
use std::sync::Arc;

use rust_embed::RustEmbed;

use crate::device::Finding;
use crate::fhir::Resource;
use crate::firmware_profile::{Fault, LinkContext};
use crate::hl7v2::Message;
use crate::translate::Gateway;

pub use check::{Report, check};
pub use schema::page_schema;

use build::Build;
use element::Elements;
use page::{Group, Map, MessageMap, Page};
use source::Source;
use table::Table;

#[derive(RustEmbed)]
#[folder = "firmware-profiles/templates/"]
struct Embedded;

/// Paths listed in one finding's stead at most.
const UNREAD_MAX: usize = 500;

/// All templates: those built in, and those a site put in their place.
pub struct Library {
    elements: Arc<Elements>,
    maps: BTreeMap<Arc<str>, Arc<Map>>,
    groups: BTreeMap<Arc<str>, Arc<Group>>,
    messages: Vec<Arc<MessageMap>>,
    tables: BTreeMap<Arc<str>, Arc<Table>>,
}

impl std::fmt::Debug for Library {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Library({} maps, {} messages, {} tables)",
            self.maps.len(),
            self.messages.len(),
            self.tables.len()
        )
    }
}

/// What is known of a message beside its bytes.
#[derive(Clone, Debug)]
pub struct Context<'a> {
    /// Zone for times without one, and when the message came.
    pub link: &'a LinkContext,
    pub gateway: &'a Gateway,
    /// Everything is marked HTEST.
    pub simulated: bool,
}

/// What a message became.
#[derive(Clone, Debug, Default)]
pub struct Converted {
    /// What is referred to stands before what refers to it; no id twice.
    pub resources: Vec<Resource>,
    /// The codes are `not-translated` (nothing read what stands there), `not-in-table`, `not-in-binding`,
    /// `not-convertible`, `null-value`, `incomplete` and `too-much`. Places are paths, texts hold no patient data.
    pub findings: Vec<Finding>,
}

/// Why a message was not converted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotConverted {
    /// MSH-9 as it was written, fit for a log.
    #[error("no template translates {0} messages: add one to the templates folder, then release")]
    NoTemplate(String),
}

/// A page that cannot be used, with its faults.
#[derive(Debug, thiserror::Error)]
#[error("the template {page} has {} fault(s):\n{}", faults.len(), faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n"))]
pub struct LibraryError {
    pub page: String,
    pub faults: Vec<Fault>,
}

impl Library {
    /// The templates that are part of the program.
    pub fn embedded() -> Result<Self, LibraryError> {
        Self::embedded_with(Vec::new())
    }

    /// The built-in templates and a site's own pages (name and text). A map, group, table or message of a known name
    /// takes its place; a message for an event that is known comes before it.
    pub fn embedded_with(own: Vec<(String, String)>) -> Result<Self, LibraryError> {
        let mut pages = Self::shipped();
        pages.extend(own);
        Self::of(&pages)
    }

    /// The pages that are part of the program: name and text, by name.
    pub fn shipped() -> Vec<(String, String)> {
        let mut pages: Vec<(String, String)> = Embedded::iter()
            .filter(|path| is_page(path))
            .filter_map(|path| {
                let file = Embedded::get(&path)?;
                Some((path.into_owned(), String::from_utf8_lossy(&file.data).into_owned()))
            })
            .collect();
        pages.sort();
        pages
    }

    fn of(pages: &[(String, String)]) -> Result<Self, LibraryError> {
        let elements = Elements::embedded();
        let mut all = Page::default();
        let mut homes: BTreeMap<Arc<str>, usize> = BTreeMap::new();
        for (number, (name, text)) in pages.iter().enumerate() {
            let page = Page::parse(text, &elements).map_err(|faults| LibraryError {
                page: name.clone(),
                faults: faults.into_iter().map(|wrong| Fault::at(text, wrong.at, wrong.message)).collect(),
            })?;
            homes.extend(page.maps.iter().map(|map| (Arc::clone(&map.name), number)));
            homes.extend(page.groups.iter().map(|group| (Arc::clone(&group.name), number)));
            homes.extend(page.messages.iter().map(|message| (Arc::clone(&message.name), number)));
            all.maps.extend(page.maps);
            all.groups.extend(page.groups);
            all.messages.extend(page.messages);
            all.tables.extend(page.tables);
        }
        let mut messages: Vec<Arc<MessageMap>> = Vec::new();
        for message in all.messages {
            messages.retain(|known| known.name != message.name);
            messages.push(Arc::new(message));
        }
        let library = Self {
            elements: Arc::new(elements),
            maps: page::by_name(all.maps, |map| Arc::clone(&map.name)),
            groups: page::by_name(all.groups, |group| Arc::clone(&group.name)),
            messages,
            tables: page::by_name(all.tables, |table| Arc::clone(&table.name)),
        };
        let loose = check::loose_ends(&library);
        if let Some((home, _)) = loose.first() {
            let home = homes.get(home).copied().unwrap_or(0);
            let (name, text) = pages.get(home).cloned().unwrap_or_default();
            let of_page = loose.iter().filter(|(owner, _)| homes.get(owner).copied().unwrap_or(0) == home);
            let faults = of_page.map(|(_, wrong)| Fault::at(&text, wrong.at.clone(), wrong.message.clone()));
            return Err(LibraryError { page: name, faults: faults.collect() });
        }
        Ok(library)
    }

    /// The messages that are known: name and events.
    pub fn messages(&self) -> impl Iterator<Item = (&str, Vec<String>)> {
        self.messages.iter().map(|message| {
            let events = message.events.iter().map(|(kind, event)| match event.is_empty() {
                true => kind.to_string(),
                false => format!("{kind}^{event}"),
            });
            (&*message.name, events.collect())
        })
    }

    /// The kinds of resources that are made and delivered.
    pub fn kinds(&self) -> Vec<&'static str> {
        // Resources have `meta`, data types have not.
        let is_resource = |kind: &&str| self.elements.at(&format!("{kind}.meta")).is_some();
        let mut kinds: Vec<&'static str> =
            self.maps.values().map(|map| map.makes).filter(is_resource).collect();
        kinds.retain(|kind| *kind != "MessageHeader");
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    }

    /// Translates one message.
    pub fn convert(&self, message: &Message<'_>, context: &Context<'_>) -> Result<Converted, NotConverted> {
        let (kind, event) = kind_of(message);
        let template = self.template(&kind, &event).ok_or_else(|| {
            let shown = format!("{kind}^{event}");
            let shown: String =
                shown.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '^').take(16).collect();
            NotConverted::NoTemplate(shown)
        })?;
        let source = Source::new(message);
        let mut build = Build::new(self, template, &source, context);
        build.all();
        let resources = build.finish();
        ignore(&source, template);
        build.doubts();
        let mut findings = std::mem::take(&mut build.findings);
        let (paths, count) = source.unread(UNREAD_MAX);
        let more = count.saturating_sub(paths.len());
        let unread = |place: String| Finding {
            code: "not-translated",
            place,
            text: "No line of the template reads what stands here.".into(),
        };
        findings.extend(paths.into_iter().map(unread));
        if more > 0 {
            let text = format!("{more} more places are read by no line of the template.");
            findings.push(Finding { code: "not-translated", place: String::new(), text });
        }
        Ok(Converted { resources, findings })
    }

    /// The message that fits best: by event, then by type alone; a site's own before the built-in.
    fn template(&self, kind: &str, event: &str) -> Option<&MessageMap> {
        let fits = |wanted: &str| {
            self.messages
                .iter()
                .rev()
                .find(|message| message.events.iter().any(|(own, of)| **own == *kind && **of == *wanted))
        };
        fits(event).or_else(|| fits("")).map(|message| &**message)
    }
}

/// Whether a file of a templates folder is a page.
pub fn is_page(path: &str) -> bool {
    path.ends_with(".yaml") || path.ends_with(".yml") || path.ends_with(".json")
}

/// MSH-9.1 and MSH-9.2; old senders write the event in EVN-1 only, or the structure `ADT_A01` alone.
fn kind_of(message: &Message<'_>) -> (String, String) {
    let msh = message.segments().next();
    let field = msh.map(|msh| msh.field(9));
    let part = |number| {
        field.and_then(|f| f.component(number).value().map(|v| v.trim().to_owned())).unwrap_or_default()
    };
    let (mut kind, mut event) = (part(1), part(2));
    if let Some((of, rest)) = kind.clone().split_once('_') {
        if event.is_empty() {
            event = rest.to_owned();
        }
        kind = of.to_owned();
    }
    if event.is_empty() {
        let evn = message.segment("EVN", 1).map(|evn| evn.field(1));
        event = evn.and_then(|field| field.value().map(|v| v.trim().to_owned())).unwrap_or_default();
    }
    (kind, event)
}

/// Fields that say nothing to translate, in every segment of that name.
fn ignore(source: &Source<'_>, template: &MessageMap) {
    for place in &template.ignore {
        let Some(segment) = &place.segment else { continue };
        for index in 0..u32::try_from(source.segments.len()).unwrap_or(u32::MAX) {
            if source.is(index, segment.tag) {
                source.field(index, place).iter().for_each(|cursor| source.read(cursor));
            }
        }
    }
}

/// Fuzz body: any bytes as a page, and as a message for the built-in templates.
pub fn fuzz(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Err(faults) = Page::parse(&text, &Elements::embedded()) {
        drop(
            faults
                .into_iter()
                .map(|wrong| Fault::at(&text, wrong.at, wrong.message).to_string())
                .collect::<Vec<_>>(),
        );
    }
}

/// Fuzz body: any bytes as a message; whatever is made of it refers to nothing that is not there.
pub fn fuzz_message(bytes: &[u8], library: &Library) {
    let parsed = Message::parse(bytes, crate::hl7v2::Charset::default());
    let Some(message) = parsed.message else { return };
    let link = LinkContext::new("fuzz", "UTC", crate::clock::Timestamp::from_micros(0, true));
    let Some(link) = link else { return };
    let gateway = Gateway {
        id: crate::device::Identifier { system: "urn:x".into(), value: "fuzz".into(), kind: None },
        name: "fuzz".into(),
        version: "0".into(),
        patient_system: None,
    };
    let context = Context { link: &link, gateway: &gateway, simulated: false };
    if let Ok(converted) = library.convert(&message, &context) {
        for resource in &converted.resources {
            assert_eq!(
                resource.value().get("resourceType").and_then(|kind| kind.as_str()),
                Some(resource.kind)
            );
        }
    }
}

#[cfg(test)]
#[path = "template_tests.rs"]
mod tests;
