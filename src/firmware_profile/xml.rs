//! XML documents: results that name their own code (POCT1-A observations), or values that each stand at a place of
//! their own. A frame may hold several documents, one after the other.
//!
//! A place is a path: `/OBS.R01/SVC/PT/PT.patient_id@V` from the top, `./OBS.value@V` from the item, `..` for what
//! holds it, `*` for any name, `@` for an attribute; without one, the text of the element. A path from the top goes
//! through what holds the item as far as the names agree: of several patients it finds the item's own. Prefixes of
//! names are left out. Document types and their entities are not read.

use std::borrow::Cow;
use std::sync::Arc;

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, escape};

use super::flat::{Fields, Run};
use super::locate::Locator;
use super::text::to_text;
use super::{Decoded, FirmwareProfile, LinkContext, finding, flat, xml_coded};
use crate::device::Finding;

const NODES_MAX: usize = 100_000;
const DEPTH_MAX: usize = 64;
const ATTRIBUTES_MAX: usize = 64;
/// More items than this in one frame are not looked at.
const ITEMS_MAX: usize = 10_000;

/// `[record] grammar = "xml"`.
#[derive(Clone, Debug, Default)]
pub(crate) struct XmlGrammar {
    /// Elements that repeat, each a record; the frame itself when there are none.
    pub(super) items: Vec<Locator>,
    /// Where an item says what it is; without it each metric has its own place.
    pub(super) coded: Option<Box<xml_coded::Coded>>,
}

/// A step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Up,
    Any,
    Name(Arc<str>),
}

/// A place in a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct XmlPath {
    /// From the item, else from the top.
    pub(super) relative: bool,
    pub(super) steps: Vec<Step>,
    pub(super) attribute: Option<Arc<str>>,
    text: Arc<str>,
}

impl XmlPath {
    /// Reads a path; the error is a sentence.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let shape = || {
            format!(
                "`{text}` is no XML path: write for example /OBS.R01/SVC/SVC.role_cd@V, ./OBS.value@V or ../NTE@V"
            )
        };
        let (path, attribute) = match text.split_once('@') {
            Some((path, name)) => (path, Some(name)),
            None => (text, None),
        };
        let named = |name: &str| {
            !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || "@<>\"'&=".contains(c))
        };
        if attribute.is_some_and(|name| !named(name)) {
            return Err(shape());
        }
        let (relative, rest) = match path.strip_prefix('/') {
            Some(rest) => (false, rest),
            None if path == "." || path.starts_with("./") || path.starts_with("..") => (true, path),
            None => return Err(shape()),
        };
        let mut steps = Vec::new();
        for word in rest.split('/').filter(|word| *word != ".") {
            steps.push(match word {
                ".." if relative && steps.iter().all(|step| *step == Step::Up) => Step::Up,
                "*" => Step::Any,
                name if named(name) && name != ".." => Step::Name(name.into()),
                _ => return Err(shape()),
            });
        }
        if !relative && steps.is_empty() {
            return Err(shape());
        }
        Ok(Self { relative, steps, attribute: attribute.map(Into::into), text: text.into() })
    }

    /// The path as it was written.
    pub(super) fn written(&self) -> &str {
        &self.text
    }

    /// The device's own name for what stands here.
    pub(super) fn own_code(&self) -> String {
        let mut names = self.steps.iter().filter_map(|step| match step {
            Step::Name(name) => Some(&**name),
            _ => None,
        });
        names.next_back().map_or_else(|| self.text.to_string(), str::to_owned)
    }
}

#[derive(Debug, Default)]
pub(super) struct Node {
    pub(super) name: Box<str>,
    attributes: Vec<(Box<str>, String)>,
    text: String,
    pub(super) parent: Option<usize>,
    pub(super) children: Vec<usize>,
}

impl Node {
    pub(super) fn says_something(&self) -> bool {
        !self.text.trim().is_empty() || self.attributes.iter().any(|(_, value)| !value.trim().is_empty())
    }
}

/// All documents of a frame.
#[derive(Debug, Default)]
pub(super) struct Tree {
    pub(super) nodes: Vec<Node>,
    roots: Vec<usize>,
}

impl Tree {
    /// Takes the text apart; the error is a sentence without a word of the text.
    pub(super) fn parse(text: &str, findings: &mut Vec<Finding>) -> Result<Self, String> {
        let mut tree = Self::default();
        let mut open: Vec<usize> = Vec::new();
        let mut reader = Reader::from_str(text);
        reader.config_mut().allow_dangling_amp = true;
        loop {
            let place = reader.buffer_position();
            let event = reader.read_event().map_err(|_| format!("not XML: wrong near byte {place}"))?;
            match event {
                Event::Start(tag) => {
                    let node = tree.add(&tag, open.last().copied())?;
                    open.push(node);
                    if open.len() > DEPTH_MAX {
                        return Err(format!("the elements are nested deeper than {DEPTH_MAX}"));
                    }
                }
                Event::Empty(tag) => drop(tree.add(&tag, open.last().copied())?),
                Event::End(_) => drop(open.pop()),
                Event::Text(words) => tree.append(&open, &words.xml10_content()),
                Event::CData(words) => tree.append(&open, &words.into_inner()),
                Event::GeneralRef(reference) => {
                    let known = reference.resolve_char_ref().ok().flatten().map(String::from);
                    let name = reference.into_inner();
                    let known = known.or_else(|| escape::resolve_predefined_entity(&name).map(str::to_owned));
                    if known.is_none() {
                        let text = "An entity of the document is not known; it is kept as it is written.";
                        findings.push(finding("unknown-entity", "document", text));
                    }
                    tree.append(&open, &known.unwrap_or_else(|| format!("&{name};")));
                }
                Event::Eof if open.is_empty() => return Ok(tree),
                Event::Eof => return Err("not XML: an element is not closed".into()),
                Event::DocType(_) => {
                    let text = "The document type is not read.";
                    findings.push(finding("doctype", "document", text));
                }
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            }
        }
    }

    fn add(&mut self, tag: &BytesStart<'_>, parent: Option<usize>) -> Result<usize, String> {
        let at = self.nodes.len();
        if at >= NODES_MAX {
            return Err(format!("the document has more than {NODES_MAX} elements"));
        }
        let mut attributes: Vec<(Box<str>, String)> = Vec::new();
        for attribute in tag.attributes().with_checks(false).take(ATTRIBUTES_MAX).flatten() {
            let value =
                escape::unescape(&attribute.value).unwrap_or_else(|_| Cow::Borrowed(&attribute.value));
            attributes.push((attribute.key.local_name().as_ref().into(), value.into_owned()));
        }
        let name = tag.local_name().as_ref().into();
        self.nodes.push(Node { name, attributes, parent, ..Node::default() });
        match parent.and_then(|parent| self.nodes.get_mut(parent)) {
            Some(parent) => parent.children.push(at),
            None => self.roots.push(at),
        }
        Ok(at)
    }

    fn append(&mut self, open: &[usize], words: &str) {
        if let Some(node) = open.last().and_then(|at| self.nodes.get_mut(*at)) {
            node.text.push_str(words);
        }
    }

    /// What the root itself says, for tests of what must not be said.
    #[cfg(test)]
    pub(super) fn own_text(&self) -> &str {
        self.node(0).map_or("", |root| &root.text)
    }

    fn node(&self, at: usize) -> Option<&Node> {
        self.nodes.get(at)
    }

    /// The item and all that holds it.
    fn chain(&self, item: Option<usize>) -> Vec<usize> {
        std::iter::successors(item, |at| self.node(*at).and_then(|node| node.parent)).collect()
    }

    /// The elements at a path, seen from an item, in the order of the document.
    pub(super) fn select(&self, path: &XmlPath, item: Option<usize>) -> Vec<usize> {
        let chain = self.chain(item);
        let mut here: Vec<Option<usize>> = vec![if path.relative { item } else { None }];
        if path.relative && item.is_none() {
            return Vec::new();
        }
        for step in &path.steps {
            let mut next = Vec::new();
            for at in here {
                if *step == Step::Up {
                    next.extend(at.and_then(|at| self.node(at)).and_then(|node| node.parent).map(Some));
                    continue;
                }
                let children = match at {
                    Some(at) => self.node(at).map(|node| node.children.as_slice()).unwrap_or_default(),
                    None => &self.roots,
                };
                let fits = |child: &&usize| match step {
                    Step::Name(name) => self.node(**child).is_some_and(|node| *node.name == **name),
                    _ => true,
                };
                // The item itself is no way to its neighbours' places.
                let own = children.iter().filter(fits).find(|child| !path.relative && chain.contains(child));
                match own {
                    Some(own) => next.push(Some(*own)),
                    None => next.extend(children.iter().filter(fits).map(|child| Some(*child))),
                }
            }
            here = next;
        }
        here.into_iter().flatten().collect()
    }

    /// What an element says at a path's end.
    fn said<'t>(&'t self, at: usize, path: &XmlPath) -> Option<&'t str> {
        let node = self.node(at)?;
        match &path.attribute {
            Some(name) => {
                node.attributes.iter().find(|(own, _)| **own == **name).map(|(_, value)| value.as_str())
            }
            None => Some(&node.text),
        }
    }
}

/// One item of a frame, or the frame itself.
#[derive(Clone, Copy)]
pub(super) struct Place<'t> {
    pub(super) tree: &'t Tree,
    pub(super) item: Option<usize>,
    /// From 1.
    pub(super) number: usize,
    pub(super) text: &'t str,
}

impl<'t> Place<'t> {
    /// Every text at a place.
    pub(super) fn all(&self, at: &Locator) -> Vec<&'t str> {
        let Locator::Xml(path) = at else { return Vec::new() };
        let nodes = self.tree.select(path, self.item).into_iter();
        nodes
            .filter_map(|node| self.tree.said(node, path))
            .map(str::trim)
            .filter(|text| !text.is_empty())
            .collect()
    }
}

impl Fields for Place<'_> {
    fn text(&self, at: &Locator) -> Option<Cow<'_, str>> {
        let Locator::Xml(path) = at else { return None };
        let mut found = None;
        for node in self.tree.select(path, self.item) {
            match self.tree.said(node, path) {
                Some(text) if !text.trim().is_empty() => return Some(Cow::Borrowed(text)),
                Some(text) => found = found.or(Some(Cow::Borrowed(text))),
                None => {}
            }
        }
        found
    }

    fn place(&self, at: &Locator) -> String {
        if self.item.is_some() { format!("item {} {}", self.number, at.own_code()) } else { at.own_code() }
    }

    fn whole(&self) -> Cow<'_, str> {
        Cow::Borrowed(self.text)
    }

    fn beyond(&self) -> Vec<(String, String)> {
        Vec::new()
    }
}

pub(super) fn decode(
    profile: &FirmwareProfile,
    grammar: &XmlGrammar,
    bytes: &[u8],
    context: &LinkContext,
) -> Decoded {
    let text = decoded_text(bytes, context);
    let mut findings = Vec::new();
    let tree = match Tree::parse(&text, &mut findings) {
        Ok(tree) if tree.roots.is_empty() => return Decoded::held("not XML: there is no element"),
        Ok(tree) => tree,
        Err(why) => return Decoded { findings, ..Decoded::held(why) },
    };
    let frame = Place { tree: &tree, item: None, number: 0, text: &text };
    if let Some(rule) = profile.plan.ignore.iter().find(|rule| flat::applies(rule, &frame)) {
        return Decoded { findings, ..Decoded::ignored(rule.reason.clone()) };
    }
    let places = items(grammar, frame);
    if let Some(coded) = &grammar.coded {
        return xml_coded::decode(profile, coded, &places, context, findings);
    }
    let mut run = Run::new(profile, context);
    run.decoded.findings = findings;
    let whole = [frame];
    for place in if grammar.items.is_empty() { whole.as_slice() } else { places.as_slice() } {
        run.record(place);
    }
    run.finish("nothing in the document fits the profile")
}

/// The items in the order of the document.
fn items<'t>(grammar: &XmlGrammar, frame: Place<'t>) -> Vec<Place<'t>> {
    let mut nodes: Vec<usize> = Vec::new();
    for at in &grammar.items {
        let Locator::Xml(path) = at else { continue };
        nodes.extend(frame.tree.select(path, None));
    }
    nodes.sort_unstable();
    nodes.dedup();
    let place = |(at, node): (usize, usize)| Place { item: Some(node), number: at + 1, ..frame };
    nodes.into_iter().take(ITEMS_MAX).enumerate().map(place).collect()
}

/// UTF-8 where it is UTF-8, else what the document declares, else the charset of the link.
fn decoded_text<'b>(bytes: &'b [u8], context: &LinkContext) -> Cow<'b, str> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    if std::str::from_utf8(bytes).is_err()
        && let Some(encoding) = declared(bytes).filter(|encoding| *encoding != encoding_rs::UTF_8)
    {
        return encoding.decode_without_bom_handling(bytes).0;
    }
    to_text(bytes, context)
}

/// `<?xml … encoding="…"?>` at the beginning.
fn declared(bytes: &[u8]) -> Option<&'static encoding_rs::Encoding> {
    let head = bytes.get(..bytes.len().min(200)).unwrap_or_default();
    let head = String::from_utf8_lossy(head);
    let declaration = head.trim_start().strip_prefix("<?xml")?.split("?>").next()?.to_owned();
    let rest = declaration.split_once("encoding")?.1.trim_start().strip_prefix('=')?.trim_start().to_owned();
    let quote = rest.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
    encoding_rs::Encoding::for_label(rest.split(quote).nth(1)?.as_bytes())
}

#[cfg(test)]
#[path = "xml_tests.rs"]
mod tests;
