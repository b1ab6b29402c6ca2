//! The last steps: references spelled out, what R4 requires looked after, resources written as JSON.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::build::{Build, Made};
use super::element::{Elements, is_primitive};
use super::line::Step;
use super::node::{Item, Node, Object};
use crate::fhir::Resource;
use crate::translate::TAGS;

const ACT_REASON: &str = "http://terminology.hl7.org/CodeSystem/v3-ActReason";

impl Build<'_> {
    /// All resources that are whole, references spelled out; what is not whole is told and left out, and with it the
    /// references to it.
    pub(super) fn finish(&mut self) -> Vec<Resource> {
        let mut alive = vec![true; self.made.len()];
        let mut bodies = self.bodies(&alive);
        loop {
            let mut again = false;
            for (body, alive) in bodies.iter().zip(&mut alive).filter(|(_, alive)| **alive) {
                if let Body::Lacks(missing) = body {
                    let text = format!("Left out: R4 requires {missing}, and the message does not say it.");
                    *alive = false;
                    again = true;
                    self.find("incomplete", "", &text);
                }
            }
            if !again {
                break;
            }
            bodies = self.bodies(&alive);
        }
        let mut resources = Vec::new();
        for (number, body) in bodies.into_iter().enumerate() {
            let Body::Whole(body, lost) = body else { continue };
            if let Some(resource) = self.made.get(number).and_then(|made| self.written(made, body)) {
                resources.push(resource);
            }
            for path in lost {
                self.find("incomplete", "", &format!("Left out: {path} lacks what R4 requires of it."));
            }
        }
        resources.sort_by_key(Resource::rank);
        resources
    }

    /// The resources as they would be written if only those `alive` are.
    fn bodies(&self, alive: &[bool]) -> Vec<Body> {
        let dead: HashSet<String> = (self.made.iter().zip(alive))
            .filter(|(_, alive)| !**alive)
            .map(|(made, _)| format!("{}/{}", made.kind, made.id))
            .collect();
        let whole = |(made, alive): (&Made, &bool)| {
            if !alive {
                return Body::Left;
            }
            let (mut body, mut lost) = (made.body.clone(), Vec::new());
            self.spell(&mut body, &dead);
            match incomplete(&mut body, &self.library.elements, &mut lost) {
                Some(missing) => Body::Lacks(missing),
                None => Body::Whole(body, lost),
            }
        };
        self.made.iter().zip(alive).map(whole).collect()
    }

    fn written(&self, made: &Made, body: Object) -> Option<Resource> {
        let mut whole = Object::new(&made.kind.into());
        whole.put(&"resourceType".into(), false, Node::Text(made.kind.into()));
        whole.put(&"id".into(), false, Node::Text(made.id.clone()));
        let mut body = body;
        if made.zone_assumed {
            let display =
                format!("The sender stated no time zone: {} was assumed", self.context.link.zone_name);
            tag(&mut body, "tag", TAGS, "zone-assumed", &display);
        }
        if self.context.simulated {
            tag(&mut body, "security", ACT_REASON, "HTEST", "test health data");
        }
        let meta =
            body.entries.iter().position(|(name, _)| &**name == "meta").map(|at| body.entries.remove(at));
        whole.entries.extend(meta);
        whole.entries.append(&mut body.entries);
        let text = serde_json::to_string(&whole).ok()?;
        Some(Resource {
            kind: made.kind,
            id: made.id.clone(),
            identifier: made.identifier.clone(),
            json: RawValue::from_string(text).ok()?,
            replaces: made.update,
        })
    }

    /// Puts references in the place of labels.
    fn spell(&self, object: &mut Object, dead: &HashSet<String>) {
        for (_, node) in &mut object.entries {
            self.spell_node(node, dead);
        }
        object.entries.retain_mut(|(_, node)| match node {
            Node::List(items) => {
                let changed = |item: &Item| match &item.node {
                    Node::List(_) | Node::Refer { .. } => true,
                    Node::Object(object) => object.entries.is_empty(),
                    _ => false,
                };
                if items.iter().any(changed) {
                    let mut spelled = Vec::new();
                    for item in items.drain(..) {
                        match item.node {
                            Node::List(inner) => spelled.extend(inner),
                            Node::Refer { .. } => {}
                            Node::Object(ref object) if object.entries.is_empty() => {}
                            _ => spelled.push(item),
                        }
                    }
                    *items = spelled;
                }
                !items.is_empty()
            }
            Node::Refer { .. } => false,
            Node::Object(object) => !object.entries.is_empty(),
            _ => true,
        });
    }

    fn spell_node(&self, node: &mut Node, dead: &HashSet<String>) {
        match node {
            Node::Object(object) => {
                self.spell(object, dead);
                if is_dead(object, dead) {
                    object.entries.clear();
                }
            }
            Node::List(items) => {
                for item in items {
                    if let Node::Refer { labels, scope } = &item.node {
                        let all = self.referred(labels, *scope, dead);
                        item.node = Node::List(
                            all.into_iter().map(|node| Item { slice: None, open: false, node }).collect(),
                        );
                    } else {
                        self.spell_node(&mut item.node, dead);
                    }
                }
            }
            Node::Refer { labels, scope } => {
                if let Some(first) = self.referred(labels, *scope, dead).into_iter().next() {
                    *node = first;
                }
            }
            _ => {}
        }
    }

    /// References to the resources of the first label that has any: of this group and those inside it, else of the
    /// nearest group around it. Never of a neighbour: its resources may be about another person.
    fn referred(&self, labels: &[Arc<str>], scope: usize, dead: &HashSet<String>) -> Vec<Node> {
        for label in labels {
            let mut found = Vec::new();
            self.own(label, scope, true, dead, &mut found);
            let mut at = self.scopes.get(scope).and_then(|scope| scope.parent);
            while let Some(number) = at.filter(|_| found.is_empty()) {
                self.own(label, number, false, dead, &mut found);
                at = self.scopes.get(number).and_then(|scope| scope.parent);
            }
            if !found.is_empty() {
                return found;
            }
        }
        Vec::new()
    }

    /// Adds references to the resources of a label that a group has made, and the groups inside it.
    fn own(&self, label: &Arc<str>, scope: usize, deep: bool, dead: &HashSet<String>, found: &mut Vec<Node>) {
        let labels = self.labels.get(scope).map(Vec::as_slice).unwrap_or_default();
        for (_, made) in labels.iter().filter(|(own, _)| own == label) {
            let target = self.made.get(*made).map(|made| format!("{}/{}", made.kind, made.id));
            found.extend(target.filter(|target| !dead.contains(target)).map(reference));
        }
        for inner in self.scopes.get(scope).into_iter().flat_map(|scope| &scope.children).filter(|_| deep) {
            self.own(label, *inner, deep, dead, found);
        }
    }
}

/// What became of a resource.
enum Body {
    Whole(Object, Vec<String>),
    /// The path of what R4 requires and the message does not say.
    Lacks(String),
    Left,
}

fn reference(target: String) -> Node {
    let mut reference = Object::new(&"Reference".into());
    reference.put(&"reference".into(), false, Node::Text(target));
    Node::Object(reference)
}

/// A reference to a resource of this message that is left out.
fn is_dead(object: &Object, dead: &HashSet<String>) -> bool {
    !dead.is_empty()
        && &*object.inside == "Reference"
        && object.text("reference").is_some_and(|target| dead.contains(target))
}

fn tag(body: &mut Object, list: &str, system: &str, code: &str, display: &str) {
    let step = Step { name: "meta".into(), list: false, slice: None, inside: "Meta".into(), reads: false };
    let Some(meta) = body.step(&step) else { return };
    let mut coding = Object::new(&"Coding".into());
    for (name, text) in [("system", system), ("code", code), ("display", display)] {
        coding.put(&name.into(), false, Node::Text(text.into()));
    }
    meta.put(&list.into(), true, Node::Object(coding));
}

/// Takes out parts that lack what R4 requires of them; the path of what the object itself lacks.
fn incomplete(object: &mut Object, elements: &Elements, lost: &mut Vec<String>) -> Option<String> {
    object.entries.retain_mut(|(_, node)| match node {
        Node::Object(inner) => match incomplete(inner, elements, lost) {
            Some(path) => {
                lost.push(path);
                false
            }
            None => true,
        },
        Node::List(items) => {
            items.retain_mut(|item| match &mut item.node {
                Node::Object(inner) => match incomplete(inner, elements, lost) {
                    Some(path) => {
                        lost.push(path);
                        false
                    }
                    None => true,
                },
                _ => true,
            });
            !items.is_empty()
        }
        _ => true,
    });
    let inside = &object.inside;
    if is_primitive(inside) {
        return None;
    }
    let missing = elements.required(inside).iter().find(|child| match child.strip_suffix("[x]") {
        Some(base) => !object.entries.iter().any(|(name, _)| {
            name.strip_prefix(base).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()))
        }),
        None => object.get(child).is_none(),
    });
    let missing = missing.map(|child| format!("{inside}.{child}"));
    // An empty object is no object (ele-1).
    missing.or_else(|| object.entries.is_empty().then(|| inside.to_string()))
}
