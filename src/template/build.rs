//! A message and a template → resources.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use super::condition::Condition;
use super::convert::{formed, primitive};
use super::element::is_primitive;
use super::identity;
use super::line::{Form, How, Leaf, Line, Read, Rule, What};
use super::node::{Node, Object};
use super::page::{Group, Map, MessageMap};
use super::path::{Place, Segment};
use super::scope::{Scope, gather};
use super::source::{Cursor, Source, Spot};
use super::{Context, Library};
use crate::device::Finding;

/// Maps inside maps inside maps: a chain this long is a circle.
const DEPTH_MAX: usize = 12;
/// More resources of one message than this are not made.
const RESOURCES_MAX: usize = 50_000;
/// More findings than this say nothing new.
const FINDINGS_MAX: usize = 1000;

/// The work on one message.
pub(super) struct Build<'a> {
    pub(super) library: &'a Library,
    pub(super) source: &'a Source<'a>,
    pub(super) scopes: Vec<Scope<'a>>,
    pub(super) context: &'a Context<'a>,
    pub(super) made: Vec<Made>,
    /// Which of them has this id.
    ids: HashMap<String, usize>,
    /// What a map (by its address) made of a value: read once, however many lines refer to it.
    known: HashMap<(usize, usize, Spot), Option<usize>>,
    /// The labels of each group and which resources they mean, in the order of the groups.
    pub(super) labels: Vec<Vec<(Arc<str>, usize)>>,
    /// MSH-3 and MSH-4, as they were written.
    pub(super) sender: [&'a str; 2],
    pub(super) findings: Vec<Finding>,
    /// What one line could not read; told when no other line reads it either.
    doubts: Vec<(Cursor<'a>, &'static str, String)>,
    /// A time of the resource in the making had no zone of its own.
    zone_assumed: bool,
    depth: usize,
}

/// A resource that is made.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) kind: &'static str,
    pub(super) id: String,
    pub(super) identifier: (String, String),
    pub(super) body: Object,
    pub(super) update: bool,
    pub(super) zone_assumed: bool,
}

/// What a line found.
#[derive(Default)]
struct Values {
    nodes: Vec<Node>,
    /// They come from the message.
    got: bool,
}

impl<'a> Build<'a> {
    pub(super) fn new(
        library: &'a Library,
        message: &'a MessageMap,
        source: &'a Source<'a>,
        context: &'a Context<'a>,
    ) -> Self {
        let scopes = gather(&message.root, &library.groups, source);
        let header = |number| source.segments.first().map_or("", |first| first.field(number).raw());
        Self {
            library,
            source,
            labels: vec![Vec::new(); scopes.len()],
            scopes,
            context,
            made: Vec::new(),
            ids: HashMap::new(),
            known: HashMap::new(),
            sender: [header(3), header(4)],
            findings: Vec::new(),
            doubts: Vec::new(),
            zone_assumed: false,
            depth: 0,
        }
    }

    /// Makes every resource the groups ask for.
    pub(super) fn all(&mut self) {
        for number in 0..self.scopes.len() {
            let Some(scope) = self.scopes.get(number) else { continue };
            let (group, segments) = (scope.group, scope.segments.clone());
            for make in &group.makes {
                let Some(map) = self.library.maps.get(&make.map).cloned() else { continue };
                let own = segments.iter().filter(|index| {
                    map.segment.as_deref().is_some_and(|name| self.source.name(**index) == name)
                });
                let own: Vec<u32> = own.copied().collect();
                for index in own {
                    let cursor = self.source.at(index);
                    if !self.holds(make.when.as_ref(), &cursor, number) {
                        continue;
                    }
                    if let Some(at) = self.resource(&map, &cursor, number, make.update)
                        && let Some(labels) = self.labels.get_mut(number)
                    {
                        labels.push((Arc::clone(&make.label), at));
                    }
                    if make.once {
                        break;
                    }
                }
            }
        }
    }

    /// Makes one resource and says which it is.
    fn resource(&mut self, map: &Map, cursor: &Cursor<'a>, scope: usize, update: bool) -> Option<usize> {
        if self.made.len() >= RESOURCES_MAX || self.depth >= DEPTH_MAX {
            self.find("too-much", "", "More resources than one message may make.");
            return None;
        }
        let key = (std::ptr::from_ref(map).addr(), scope, cursor.spot());
        let known = self.known.get(&key).copied();
        let at = known.unwrap_or_else(|| self.fresh(map, cursor, scope));
        if known.is_none() {
            self.known.insert(key, at);
        }
        if let Some(made) = at.filter(|_| update).and_then(|at| self.made.get_mut(at)) {
            made.update = true;
        }
        at
    }

    fn fresh(&mut self, map: &Map, cursor: &Cursor<'a>, scope: usize) -> Option<usize> {
        let outer = std::mem::take(&mut self.zone_assumed);
        let mut body = Object::new(&map.makes.into());
        self.depth += 1;
        self.lines(&map.lines, &mut body, cursor, scope);
        self.depth -= 1;
        let zone_assumed = std::mem::replace(&mut self.zone_assumed, outer);
        let mut node = Node::Object(body);
        let filled = node.prune();
        let Node::Object(mut body) = node else { return None };
        if !filled && map.segment.is_none() {
            return None;
        }
        let (system, value) = identity::of(self, map, &mut body, cursor, scope);
        let id = crate::fhir::id(map.makes, &system, &value);
        if let Some(known) = self.ids.get(&id) {
            return Some(*known);
        }
        self.ids.insert(id.clone(), self.made.len());
        self.made.push(Made {
            kind: map.makes,
            id,
            identifier: (system, value),
            body,
            update: false,
            zone_assumed,
        });
        Some(self.made.len() - 1)
    }

    fn lines(&mut self, lines: &[Line], object: &mut Object, cursor: &Cursor<'a>, scope: usize) {
        for line in lines {
            for rule in &line.rules {
                let excluded = rule.is_excluded(|name, choice| {
                    object.entries.iter().any(|(own, node)| {
                        let rest = own.strip_prefix(name).filter(|_| node.says());
                        rest.is_some_and(|rest| {
                            rest.is_empty() || choice && rest.starts_with(|c: char| c.is_ascii_uppercase())
                        })
                    })
                });
                if excluded {
                    continue;
                }
                let values = self.values(rule, cursor, scope);
                let reads = rule.reads();
                if self.put(line, rule, values, reads, object) && !rule.leaf.list {
                    break;
                }
            }
        }
    }

    /// Writes what a rule found where its line says; whether it found anything.
    fn put(&self, line: &Line, rule: &Rule, values: Values, reads: bool, object: &mut Object) -> bool {
        let found = !values.nodes.is_empty();
        let mut at = object;
        at.reads |= reads;
        at.got |= values.got;
        for step in &line.steps {
            if !found && at.get(&step.name).is_none() {
                return false;
            }
            match at.step(step) {
                Some(inner) => at = inner,
                None => return false,
            }
            at.reads |= reads;
            at.got |= values.got;
        }
        for node in values.nodes {
            at.put(&rule.leaf.name, rule.leaf.list, node);
        }
        found
    }

    fn values(&mut self, rule: &Rule, cursor: &Cursor<'a>, scope: usize) -> Values {
        if !self.holds(rule.when.as_ref(), cursor, scope) {
            return Values::default();
        }
        let mut values = match &rule.what {
            What::Literal(text) => Values { nodes: self.literal(&rule.leaf, text), got: false },
            What::Refer(labels) => {
                let got = labels.iter().any(|label| self.is_labelled(label, scope));
                let node = Node::Refer { labels: labels.clone(), scope };
                Values { nodes: if got { vec![node] } else { Vec::new() }, got }
            }
            What::Read(read) => self.read(read, &rule.leaf, cursor, scope),
        };
        if !values.nodes.is_empty() {
            for place in &rule.reads {
                for found in self.at(place, cursor, scope) {
                    self.source.read(&found);
                    values.got = true;
                }
            }
        }
        if values.nodes.is_empty()
            && let Some(default) = &rule.default
        {
            values.nodes = self.literal(&rule.leaf, default);
        }
        values
    }

    /// Whether a label may come to mean something: it is resolved when all resources are made.
    fn is_labelled(&self, label: &Arc<str>, scope: usize) -> bool {
        let mut at = Some(scope);
        while let Some(number) = at {
            let Some(here) = self.scopes.get(number) else { break };
            if is_made(here.group, label) || number == scope && self.is_inside(number, label) {
                return true;
            }
            at = here.parent;
        }
        false
    }

    fn is_inside(&self, scope: usize, label: &Arc<str>) -> bool {
        self.scopes.get(scope).is_some_and(|here| {
            here.children.iter().any(|inner| {
                self.scopes.get(*inner).is_some_and(|scope| is_made(scope.group, label))
                    || self.is_inside(*inner, label)
            })
        })
    }

    fn literal(&self, leaf: &Leaf, text: &str) -> Vec<Node> {
        if is_primitive(&leaf.kind) {
            return primitive(&leaf.kind, text, self.context.link)
                .map(|made| made.node)
                .into_iter()
                .collect();
        }
        // A CodeableConcept nobody has coded.
        let mut object = Object::new(&leaf.inside);
        let key = if &*leaf.kind == "Coding" { "code" } else { "text" };
        object.put(&key.into(), false, Node::Text(text.into()));
        vec![Node::Object(object)]
    }

    fn read(&mut self, read: &Read, leaf: &Leaf, cursor: &Cursor<'a>, scope: usize) -> Values {
        let mut values = Values::default();
        if let How::Plain(form) = &read.how
            && (!matches!(form, Form::Natural | Form::Text) || read.join.is_some())
        {
            values.nodes.extend(self.several(read, *form, leaf, cursor, scope));
            values.got = !values.nodes.is_empty();
            return values;
        }
        let sources = match read.from.is_empty() {
            true => vec![*cursor],
            false => read.from.iter().flat_map(|place| self.at(place, cursor, scope)).collect(),
        };
        for source in sources {
            if source.is_null() {
                self.source.read(&source);
                self.find(
                    "null-value",
                    &self.source.place(&source),
                    "The sender asks to delete this; nothing is written.",
                );
                continue;
            }
            let made = match &read.how {
                How::Plain(form) => self.plain(read, *form, leaf, &source),
                How::Table(table) => self.looked_up(table, leaf, &source),
                How::Map(name) => self.mapped(name, leaf, &source, scope),
                How::Lines(lines) => self.inner(lines, leaf, &source, scope),
            };
            if let Some(node) = made {
                values.nodes.push(node);
                values.got |= !read.from.is_empty() || read_inside(read);
                if !leaf.list {
                    break;
                }
            }
        }
        values
    }

    fn plain(&mut self, read: &Read, form: Form, leaf: &Leaf, source: &Cursor<'a>) -> Option<Node> {
        let cursor = if form == Form::Text { *source } else { source.first() };
        let mut text = cursor.text();
        if text.trim().is_empty() {
            return None;
        }
        if read.times.is_some() || read.plus.is_some() {
            let number: crate::device::Decimal = text.trim().parse().ok()?;
            let scaled = read.times.map_or(Some(number), |factor| number.times(factor))?;
            text = Cow::Owned(read.plus.map_or(Some(scaled), |offset| scaled.plus(offset))?.to_string());
        }
        let Some(made) = primitive(&leaf.kind, &text, self.context.link) else {
            self.doubt(cursor, "not-convertible", format!("What stands here is no FHIR {}.", leaf.kind));
            return None;
        };
        if !self.is_allowed(leaf, &made.node) {
            self.doubt(cursor, "not-in-binding", format!("What stands here is no code of {}.", leaf.path));
            return None;
        }
        self.zone_assumed |= made.zone_assumed;
        self.source.read(&cursor);
        Some(made.node)
    }

    fn is_allowed(&self, leaf: &Leaf, node: &Node) -> bool {
        let codes = self.library.elements.at(&leaf.path).map(|element| element.codes.as_slice());
        match (codes, node) {
            (Some(codes), Node::Text(text)) if !codes.is_empty() => codes.contains(&text.as_str()),
            _ => true,
        }
    }

    /// One value of several places: a join, or a form such as an HD's.
    fn several(
        &mut self,
        read: &Read,
        form: Form,
        leaf: &Leaf,
        cursor: &Cursor<'a>,
        scope: usize,
    ) -> Option<Node> {
        let sources: Vec<Vec<Cursor<'a>>> =
            read.from.iter().map(|place| self.at(place, cursor, scope)).collect();
        let text = match &read.join {
            Some(between) => {
                let all = sources.iter().flatten().filter(|source| !source.is_null());
                let texts: Vec<Cow<'_, str>> = all
                    .map(|source| if form == Form::Text { source.text() } else { source.first().text() })
                    .filter(|text| !text.trim().is_empty())
                    .collect();
                (!texts.is_empty()).then(|| texts.join(between))
            }
            None => {
                let texts: Vec<Cow<'_, str>> = sources
                    .iter()
                    .map(|all| all.first().map(|one| one.first().text()).unwrap_or_default())
                    .collect();
                let systems = self.library.tables.get("code-systems");
                let authorities = self.library.tables.get("authorities");
                let table = if form == Form::Authority { authorities } else { systems };
                formed(form, &texts, |name| Some(table?.find(name)?.code.to_string()))
            }
        }?;
        let made = match form {
            // Base64 already.
            Form::Encoded => Node::Text(text),
            _ => primitive(&leaf.kind, &text, self.context.link)?.node,
        };
        for source in sources.iter().flatten() {
            match form {
                Form::Text => self.source.read(source),
                _ => self.source.read(&source.first()),
            }
        }
        Some(made)
    }

    fn looked_up(&mut self, table: &Arc<str>, leaf: &Leaf, source: &Cursor<'a>) -> Option<Node> {
        let cursor = source.first();
        let text = cursor.text();
        let table = self.library.tables.get(table)?;
        let Some(target) = table.find(&text) else {
            let text = format!("The table {} does not know what stands here.", table.name);
            self.doubt(cursor, "not-in-table", text);
            return None;
        };
        self.source.read(&cursor);
        // The name and the table of the same code say nothing more.
        if source.part(&[3]).is_some_and(|system| system.text().starts_with("HL7")) {
            for part in [2, 3].iter().filter_map(|number| source.part(&[*number])) {
                self.source.read(&part);
            }
        }
        let put = |object: &mut Object, name: &str, text: &Option<Arc<str>>| {
            if let Some(text) = text {
                object.put(&name.into(), false, Node::Text(text.to_string()));
            }
        };
        let mut coding = Object::new(&"Coding".into());
        put(&mut coding, "system", &target.system);
        put(&mut coding, "code", &Some(Arc::clone(&target.code)));
        put(&mut coding, "display", &target.display);
        match &*leaf.kind {
            "Coding" => Some(Node::Object(coding)),
            "CodeableConcept" => {
                let mut concept = Object::new(&"CodeableConcept".into());
                concept.put(&"coding".into(), true, Node::Object(coding));
                Some(Node::Object(concept))
            }
            kind => primitive(kind, &target.code, self.context.link).map(|made| made.node),
        }
    }

    fn mapped(&mut self, name: &Arc<str>, leaf: &Leaf, source: &Cursor<'a>, scope: usize) -> Option<Node> {
        let map = self.library.maps.get(name).cloned()?;
        if &*leaf.kind == "Reference" && map.makes != "Reference" {
            let at = self.resource(&map, source, scope, false)?;
            let made = self.made.get(at)?;
            let mut reference = Object::new(&"Reference".into());
            let text = format!("{}/{}", made.kind, made.id);
            reference.put(&"reference".into(), false, Node::Text(text));
            return Some(Node::Object(reference));
        }
        self.inner(&map.lines, leaf, source, scope)
    }

    fn inner(&mut self, lines: &[Line], leaf: &Leaf, source: &Cursor<'a>, scope: usize) -> Option<Node> {
        if self.depth >= DEPTH_MAX {
            return None;
        }
        let mut object = Object::new(&leaf.inside);
        self.depth += 1;
        self.lines(lines, &mut object, source, scope);
        self.depth -= 1;
        // A unit without a number is no quantity.
        let valued = matches!(&*leaf.kind, "Quantity" | "Money" | "Age" | "Duration" | "Count" | "Distance");
        if valued && object.get("value").is_none() {
            return None;
        }
        let mut node = Node::Object(object);
        node.prune().then_some(node)
    }

    pub(super) fn holds(&self, condition: Option<&Condition>, cursor: &Cursor<'a>, scope: usize) -> bool {
        let Some(condition) = condition else { return true };
        condition.holds(&|place: &Place| {
            self.first(place, cursor, scope).map(|found| self.of_condition(&found)).unwrap_or_default()
        })
    }

    /// What a condition compares; of a segment, whether it is there.
    fn of_condition(&self, cursor: &Cursor<'a>) -> Cow<'a, str> {
        if cursor.raw().is_empty() {
            return Cow::Borrowed(self.source.name(cursor.segment()));
        }
        match cursor.first().text() {
            Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
            Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
        }
    }

    /// The first of the values at a place.
    pub(super) fn first(&self, place: &Place, cursor: &Cursor<'a>, scope: usize) -> Option<Cursor<'a>> {
        let Some(segment) = &place.segment else {
            return cursor.part(&place.parts).filter(Cursor::is_filled);
        };
        if !segment.all && self.source.is(cursor.segment(), segment.tag) {
            return self.source.first_of(cursor.segment(), place);
        }
        let mut own = self.nearest(segment, scope);
        match segment.all {
            true => own.find_map(|index| self.source.first_of(index, place)),
            false => own.next().and_then(|index| self.source.first_of(index, place)),
        }
    }

    /// The values at a place, seen from a line.
    pub(super) fn at(&self, place: &Place, cursor: &Cursor<'a>, scope: usize) -> Vec<Cursor<'a>> {
        let Some(segment) = &place.segment else {
            return cursor.part(&place.parts).filter(Cursor::is_filled).into_iter().collect();
        };
        if !segment.all && self.source.is(cursor.segment(), segment.tag) {
            return self.source.field(cursor.segment(), place);
        }
        let mut own = self.nearest(segment, scope);
        match segment.all {
            true => own.flat_map(|index| self.source.field(index, place)).collect(),
            false => own.next().map(|index| self.source.field(index, place)).unwrap_or_default(),
        }
    }

    /// The segments of a name in the group, else in the nearest group around it. Every NTE of a result is every NTE
    /// of this result; those of the report are the report's.
    fn nearest<'s>(&'s self, segment: &'s Segment, scope: usize) -> impl Iterator<Item = u32> + use<'s, 'a> {
        let own = |index: &&u32| self.source.is(**index, segment.tag);
        let mut at = self.scopes.get(scope);
        while let Some(here) = at {
            if segment.all || here.segments.iter().any(|index| own(&index)) {
                break;
            }
            at = here.parent.and_then(|number| self.scopes.get(number));
        }
        let segments = at.map(|here| here.segments.as_slice()).unwrap_or_default();
        segments.iter().filter(move |index| self.source.is(**index, segment.tag)).copied()
    }

    fn doubt(&mut self, cursor: Cursor<'a>, code: &'static str, text: String) {
        if self.doubts.len() < FINDINGS_MAX {
            self.doubts.push((cursor, code, text));
        }
    }

    /// Tells the doubts that remain. What is told so is not told again as not translated.
    pub(super) fn doubts(&mut self) {
        for (cursor, code, text) in std::mem::take(&mut self.doubts) {
            if !self.source.is_read(&cursor) {
                let place = self.source.place(&cursor);
                self.find(code, &place, &text);
                self.source.read(&cursor);
            }
        }
    }

    pub(super) fn find(&mut self, code: &'static str, place: &str, text: &str) {
        let known = |finding: &Finding| finding.code == code && finding.place == place;
        if self.findings.len() < FINDINGS_MAX && !self.findings.iter().any(known) {
            self.findings.push(Finding { code, place: place.into(), text: text.into() });
        }
    }
}

fn is_made(group: &Group, label: &Arc<str>) -> bool {
    group.makes.iter().any(|make| make.label == *label)
}

fn read_inside(read: &Read) -> bool {
    matches!(&read.how, How::Lines(lines) if lines.iter().any(Line::reads))
}
