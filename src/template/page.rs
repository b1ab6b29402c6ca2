//! What a page of templates defines: maps, groups of segments, messages and tables.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::condition::Condition;
use super::element::Elements;
use super::line::{Line, lines};
use super::path::Place;
use super::table::{Table, concept_map, table};
use super::yaml::{Key, Wrong, Yaml};
use crate::firmware_profile::did_you_mean;

/// Data types of HL7 v2; a map whose name begins with another word reads a segment.
const DATATYPES: &[&str] = &[
    "AUI", "CE", "CF", "CNE", "CNN", "CP", "CQ", "CWE", "CX", "DLN", "DR", "DT", "DTM", "ED", "EI", "EIP",
    "FC", "FN", "FT", "HD", "ID", "IS", "JCC", "MO", "MOC", "MSG", "NA", "NDL", "NM", "OSD", "PL", "PLN",
    "PRL", "PT", "RI", "RP", "RPT", "SAD", "SI", "SN", "ST", "TM", "TQ", "TS", "TX", "VID", "XAD", "XCN",
    "XON", "XPN", "XTN",
];

/// The definitions of one page.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) maps: Vec<Map>,
    pub(super) groups: Vec<Group>,
    pub(super) messages: Vec<MessageMap>,
    pub(super) tables: Vec<Table>,
}

/// From a segment or a value of a data type to one FHIR resource or value.
#[derive(Debug)]
pub(super) struct Map {
    /// `PID.Patient`, `CX.Identifier`, `XCN.Practitioner-short`.
    pub(super) name: Arc<str>,
    /// The segment it reads, unless it reads a value.
    pub(super) segment: Option<Box<str>>,
    /// The FHIR type it makes.
    pub(super) makes: &'static str,
    pub(super) identity: Vec<Identity>,
    pub(super) lines: Vec<Line>,
}

/// What makes a resource the same resource in another message.
#[derive(Debug)]
pub(super) enum Identity {
    /// Its business identifier, the first of these types (HL7 table 0203) if there is one.
    Identifier { prefer: Vec<Box<str>> },
    /// What stands at these places, when the first of them holds something.
    Key(Vec<Place>),
    /// All it says.
    Content,
    /// This message and its place in it.
    Message,
}

/// A run of segments that belong together.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) name: Arc<str>,
    /// Segments that open it, in the order they may stand in one.
    pub(super) begins: Vec<Box<str>>,
    /// What it may hold besides; `None` is anything.
    pub(super) holds: Option<Vec<Box<str>>>,
    pub(super) makes: Vec<Make>,
    /// Names of groups inside.
    pub(super) groups: Inner,
}

/// A resource made of each segment of a group that its map reads.
#[derive(Debug)]
pub(super) struct Make {
    pub(super) map: Arc<str>,
    /// What other resources call it.
    pub(super) label: Arc<str>,
    pub(super) when: Option<Condition>,
    /// The message is the authority on this resource: what a server holds is overwritten.
    pub(super) update: bool,
    /// Only of the first such segment of the group.
    pub(super) once: bool,
    pub(super) at: Range<usize>,
}

/// A kind of message and the group it is.
#[derive(Debug)]
pub(super) struct MessageMap {
    pub(super) name: Arc<str>,
    /// MSH-9.1 and MSH-9.2; an empty event is any.
    pub(super) events: Vec<(Box<str>, Box<str>)>,
    pub(super) root: Group,
    /// Fields that say nothing to translate: set numbers, separators.
    pub(super) ignore: Vec<Place>,
}

/// Groups named inside a group, and where.
pub(super) type Inner = Vec<(Arc<str>, Range<usize>)>;
pub(super) type Faults = Vec<Wrong>;

impl Page {
    /// Reads a page; every fault is told.
    pub(super) fn parse(text: &str, elements: &Elements) -> Result<Self, Faults> {
        let tree = Yaml::parse(text).map_err(|wrong| vec![wrong])?;
        let mut page = Self::default();
        let mut faults = Vec::new();
        if let Err(wrong) = page.fill(&tree, elements, &mut faults) {
            faults.push(wrong);
        }
        if faults.is_empty() { Ok(page) } else { Err(faults) }
    }

    fn fill(&mut self, tree: &Yaml, elements: &Elements, faults: &mut Faults) -> Result<(), Wrong> {
        let entries = tree.entries("a page")?;
        if entries.iter().any(|(key, value)| key.text == "resourceType" && value.text() == Some("ConceptMap"))
        {
            self.tables.push(concept_map(tree)?);
            return Ok(());
        }
        for (key, value) in entries {
            known(key, &["about", "maps", "groups", "messages", "tables"])?;
            if key.text == "about" {
                continue;
            }
            for (name, body) in value.entries(&format!("`{}`", key.text))? {
                let read = match key.text.as_str() {
                    "maps" => map(name, body, elements, faults).map(|map| self.maps.push(map)),
                    "groups" => group(name, body).map(|group| self.groups.push(group)),
                    "messages" => message(name, body).map(|message| self.messages.push(message)),
                    _ => table(&name.text, body).map(|table| self.tables.push(table)),
                };
                if let Err(wrong) = read {
                    faults.push(wrong);
                }
            }
        }
        Ok(())
    }
}

/// A key that is none of `all` is a fault that names the nearest.
pub(super) fn known(key: &Key, all: &[&str]) -> Result<(), Wrong> {
    if all.contains(&key.text.as_str()) {
        return Ok(());
    }
    let near = did_you_mean(&key.text, all.iter().copied());
    let hint =
        near.map_or_else(|| format!("it knows {}", all.join(", ")), |near| format!("did you mean `{near}`?"));
    Err(Wrong::new(key.at.clone(), format!("there is no `{}` here: {hint}", key.text)))
}

/// What a map reads and makes, by its name.
pub(super) fn names_of(name: &str) -> Option<(&str, &str)> {
    let (source, rest) = name.split_once('.')?;
    Some((source, rest.split('-').next().unwrap_or(rest)))
}

fn map(name: &Key, body: &Yaml, elements: &Elements, faults: &mut Faults) -> Result<Map, Wrong> {
    let shape = || {
        Wrong::new(
            name.at.clone(),
            format!("`{}`: a map is called SOURCE.Type, such as PID.Patient", name.text),
        )
    };
    let (source, makes) = names_of(&name.text).ok_or_else(shape)?;
    let Some(kind) = elements.kind(makes) else {
        let near = did_you_mean(makes, elements.kinds());
        let hint = near.map_or_else(String::new, |near| format!(": did you mean {near}?"));
        return Err(Wrong::new(
            name.at.clone(),
            format!("`{makes}` is no type of R4 a template can make{hint}"),
        ));
    };
    let segment = (!DATATYPES.contains(&source)).then(|| Box::from(source));
    if segment.is_some()
        && (source.len() != 3 || !source.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()))
    {
        return Err(shape());
    }
    let mut made = Map {
        name: name.text.as_str().into(),
        segment,
        makes: kind,
        identity: Vec::new(),
        lines: Vec::new(),
    };
    for (key, value) in body.entries("a map")? {
        known(key, &["about", "identity", "lines"])?;
        match key.text.as_str() {
            "identity" => made.identity = value.items().iter().map(identity).collect::<Result<_, _>>()?,
            "lines" => made.lines = lines(value, kind, kind, 0, elements, faults)?,
            _ => {}
        }
    }
    Ok(made)
}

fn identity(one: &Yaml) -> Result<Identity, Wrong> {
    match one.text() {
        Some("identifier") => return Ok(Identity::Identifier { prefer: Vec::new() }),
        Some("content") => return Ok(Identity::Content),
        Some("message") => return Ok(Identity::Message),
        _ => {}
    }
    let wrong = || {
        Wrong::new(
            one.at.clone(),
            "identity is identifier, content, message, `identifier: [MR, PI]` or `key: [paths]`",
        )
    };
    if one.text().is_some() {
        return Err(wrong());
    }
    match one.entries("identity")? {
        [(key, value)] if key.text == "key" => {
            value.items().iter().map(place).collect::<Result<_, _>>().map(Identity::Key)
        }
        [(key, value)] if key.text == "identifier" => {
            let prefer = value.items().iter().map(|one| one.scalar("a type").map(Box::from));
            Ok(Identity::Identifier { prefer: prefer.collect::<Result<_, _>>()? })
        }
        _ => Err(wrong()),
    }
}

pub(super) fn place(one: &Yaml) -> Result<Place, Wrong> {
    Place::parse(one.scalar("a path")?).map_err(|why| Wrong::new(one.at.clone(), why))
}

pub(super) fn condition(one: &Yaml) -> Result<Condition, Wrong> {
    let text = one.scalar("a condition")?;
    Condition::parse(text).map_err(|(at, why)| {
        // Inside quotes the text starts one byte later; long texts may be folded, then the whole is marked.
        let start = one.at.start + 1;
        let inside = start + at.start..start + at.end;
        Wrong::new(if inside.end <= one.at.end { inside } else { one.at.clone() }, why)
    })
}

fn segments(list: &Yaml) -> Result<Vec<Box<str>>, Wrong> {
    let names = list.items().iter().map(|one| {
        let name = one.scalar("a segment")?;
        if name.len() != 3 {
            return Err(Wrong::new(
                one.at.clone(),
                format!("`{name}` is no segment: three letters such as PID"),
            ));
        }
        Ok(Box::from(name))
    });
    names.collect()
}

fn group(name: &Key, body: &Yaml) -> Result<Group, Wrong> {
    let mut made = Group { name: name.text.as_str().into(), ..Group::default() };
    for (key, value) in body.entries("a group")? {
        known(key, &["about", "begins", "holds", "make", "groups"])?;
        match key.text.as_str() {
            "begins" => made.begins = segments(value)?,
            "holds" => made.holds = Some(segments(value)?),
            "make" => made.makes = value.items().iter().map(make).collect::<Result<_, _>>()?,
            "groups" => made.groups = inner(value)?,
            _ => {}
        }
    }
    Ok(made)
}

fn inner(list: &Yaml) -> Result<Inner, Wrong> {
    list.items().iter().map(|one| Ok((Arc::from(one.scalar("a group's name")?), one.at.clone()))).collect()
}

fn make(one: &Yaml) -> Result<Make, Wrong> {
    let mut made =
        Make { map: "".into(), label: "".into(), when: None, update: false, once: false, at: one.at.clone() };
    if let Some(name) = one.text() {
        made.map = name.into();
    } else {
        for (key, value) in one.entries("a resource to make")? {
            known(key, &["map", "label", "when", "update", "once"])?;
            match key.text.as_str() {
                "map" => made.map = value.scalar("a map's name")?.into(),
                "label" => made.label = value.scalar("a label")?.into(),
                "when" => made.when = Some(condition(value)?),
                "update" => made.update = value.text() == Some("true"),
                _ => made.once = value.text() == Some("true"),
            }
        }
    }
    if made.label.is_empty() {
        let kind = names_of(&made.map).map_or("", |(_, kind)| kind);
        made.label = kind.to_ascii_lowercase().into();
    }
    Ok(made)
}

fn message(name: &Key, body: &Yaml) -> Result<MessageMap, Wrong> {
    let mut made = MessageMap {
        name: name.text.as_str().into(),
        events: Vec::new(),
        root: Group { name: name.text.as_str().into(), ..Group::default() },
        ignore: Vec::new(),
    };
    for (key, value) in body.entries("a message")? {
        known(key, &["about", "for", "ignore", "make", "groups"])?;
        match key.text.as_str() {
            "for" => made.events = value.items().iter().map(event).collect::<Result<_, _>>()?,
            "ignore" => made.ignore = value.items().iter().map(place).collect::<Result<_, _>>()?,
            "make" => made.root.makes = value.items().iter().map(make).collect::<Result<_, _>>()?,
            "groups" => made.root.groups = inner(value)?,
            _ => {}
        }
    }
    if made.events.is_empty() {
        return Err(Wrong::new(name.at.clone(), "a message says which it is `for`, such as [ADT^A01]"));
    }
    Ok(made)
}

fn event(one: &Yaml) -> Result<(Box<str>, Box<str>), Wrong> {
    let text = one.scalar("a message type")?;
    let (kind, event) = text.split_once('^').unwrap_or((text, ""));
    if kind.len() != 3 {
        return Err(Wrong::new(one.at.clone(), format!("`{text}` is no message type such as ADT^A01")));
    }
    Ok((kind.into(), event.into()))
}

/// Definitions of all pages by name; what comes later takes the place of what came before.
pub(super) fn by_name<T>(
    list: impl IntoIterator<Item = T>,
    name: impl Fn(&T) -> Arc<str>,
) -> BTreeMap<Arc<str>, Arc<T>> {
    list.into_iter().map(|one| (name(&one), Arc::new(one))).collect()
}
