//! The last steps: references spelled out, what R4 requires looked after, resources written as JSON.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::build::{Build, Made};
use super::element::{Elements, is_primitive};
use super::node::{Item, Node, Object};
use crate::fhir::Resource;
use crate::translate::TAGS;

const ACT_REASON: &str = "http://terminology.hl7.org/CodeSystem/v3-ActReason";

impl Build<'_> {
    /// All resources that are whole, references spelled out; what is not whole is told and left out, and with it the
    /// references to it.
    pub(super) fn finish(&mut self) -> Vec<Resource> {
        let mut alive = vec![true; self.made.len()];
        loop {
            let mut again = false;
            for number in 0..self.made.len() {
                if alive.get(number) != Some(&true) {
                    continue;
                }
                let Some(mut body) = self.made.get(number).map(|made| made.body.clone()) else { continue };
                self.spell(&mut body, &alive);
                if let Some(missing) = incomplete(&mut body, &self.library.elements, &mut Vec::new()) {
                    let text = format!("Left out: R4 requires {missing}, and the message does not say it.");
                    self.find("incomplete", "", &text);
                    if let Some(one) = alive.get_mut(number) {
                        *one = false;
                    }
                    again = true;
                }
            }
            if !again {
                break;
            }
        }
        let mut resources = Vec::new();
        for number in
            (0..self.made.len()).filter(|number| alive.get(*number) == Some(&true)).collect::<Vec<_>>()
        {
            let Some(made) = self.made.get(number) else { continue };
            let mut body = made.body.clone();
            self.spell(&mut body, &alive);
            let mut lost = Vec::new();
            incomplete(&mut body, &self.library.elements, &mut lost);
            if let Some(resource) = self.written(made, body) {
                resources.push(resource);
            }
            for path in lost {
                self.find("incomplete", "", &format!("Left out: {path} lacks what R4 requires of it."));
            }
        }
        resources.sort_by_key(Resource::rank);
        resources
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
    fn spell(&self, object: &mut Object, alive: &[bool]) {
        for (_, node) in &mut object.entries {
            self.spell_node(node, alive);
        }
        object.entries.retain_mut(|(_, node)| match node {
            Node::List(items) => {
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
                !items.is_empty()
            }
            Node::Refer { .. } => false,
            Node::Object(object) => !object.entries.is_empty(),
            _ => true,
        });
    }

    fn spell_node(&self, node: &mut Node, alive: &[bool]) {
        match node {
            Node::Object(object) => {
                self.spell(object, alive);
                if is_dead(object, &self.made, alive) {
                    object.entries.clear();
                }
            }
            Node::List(items) => {
                for item in items {
                    if let Node::Refer { labels, scope } = &item.node {
                        let all = self.referred(labels, *scope, alive);
                        item.node = Node::List(
                            all.into_iter().map(|node| Item { slice: None, open: false, node }).collect(),
                        );
                    } else {
                        self.spell_node(&mut item.node, alive);
                    }
                }
            }
            Node::Refer { labels, scope } => {
                if let Some(first) = self.referred(labels, *scope, alive).into_iter().next() {
                    *node = first;
                }
            }
            _ => {}
        }
    }

    /// References to the resources of the first label that has any: of this group and those inside it, else of the
    /// nearest group around it. Never of a neighbour: its resources may be about another person.
    fn referred(&self, labels: &[Arc<str>], scope: usize, alive: &[bool]) -> Vec<Node> {
        for label in labels {
            let mut scopes = vec![scope];
            scopes.extend(self.below(scope));
            let mut at = Some(scope);
            while let Some(number) = at {
                let found: Vec<Node> = self
                    .labels
                    .iter()
                    .filter(|(own, scope, made)| {
                        own == label && scopes.contains(scope) && alive.get(*made) == Some(&true)
                    })
                    .filter_map(|(_, _, made)| self.made.get(*made).map(reference))
                    .collect();
                if !found.is_empty() {
                    return found;
                }
                at = self.scopes.get(number).and_then(|scope| scope.parent);
                scopes = at.into_iter().collect();
            }
        }
        Vec::new()
    }
}

fn reference(made: &Made) -> Node {
    let mut reference = Object::new(&"Reference".into());
    reference.put(&"reference".into(), false, Node::Text(format!("{}/{}", made.kind, made.id)));
    Node::Object(reference)
}

/// A reference to a resource of this message that is left out.
fn is_dead(object: &Object, made: &[Made], alive: &[bool]) -> bool {
    let Some(target) = object.text("reference").filter(|_| &*object.inside == "Reference") else {
        return false;
    };
    let is = |made: &Made| {
        target.strip_prefix(made.kind).and_then(|rest| rest.strip_prefix('/')) == Some(&made.id)
    };
    made.iter().position(is).is_some_and(|at| alive.get(at) == Some(&false))
}

fn tag(body: &mut Object, list: &str, system: &str, code: &str, display: &str) {
    let Some(meta) = body.step(&"meta".into(), false, None, &"Meta".into()) else { return };
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
    let missing = elements.children(inside).iter().find(|child| {
        let path = format!("{inside}.{child}");
        if !elements.at(&path).is_some_and(|element| element.required) {
            return false;
        }
        match child.strip_suffix("[x]") {
            Some(base) => !object.entries.iter().any(|(name, _)| {
                name.strip_prefix(base).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()))
            }),
            None => object.get(child).is_none(),
        }
    });
    let missing = missing.map(|child| format!("{inside}.{child}"));
    // An empty object is no object (ele-1).
    missing.or_else(|| object.entries.is_empty().then(|| inside.to_string()))
}
