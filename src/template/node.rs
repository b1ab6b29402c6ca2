//! The JSON of a resource in the making: ordered as the lines are, exact in its numbers, pruned of what says nothing.

use std::sync::Arc;

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

use super::line::Step;
use crate::device::Decimal;

/// A value in the making.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Text(String),
    Number(Decimal),
    Truth(bool),
    List(Vec<Item>),
    Object(Object),
    /// To the resources of a label, seen from a group; spelled out when all resources are made.
    Refer {
        labels: Vec<Arc<str>>,
        scope: usize,
    },
}

/// An item of a list and the slice it stands for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Item {
    pub(super) slice: Option<Arc<str>>,
    /// Filled by several lines, until the object is complete.
    pub(super) open: bool,
    pub(super) node: Node,
}

/// An object in the making.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Object {
    /// Where its children are looked up.
    pub(super) inside: Arc<str>,
    pub(super) entries: Vec<(Arc<str>, Node)>,
    /// Some line of it reads the message …
    pub(super) reads: bool,
    /// … and found something. Literals alone are not written where nothing was found.
    pub(super) got: bool,
}

impl Object {
    pub(super) fn new(inside: &Arc<str>) -> Self {
        Self { inside: Arc::clone(inside), ..Self::default() }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Node> {
        self.entries.iter().find(|(known, _)| **known == *name).map(|(_, node)| node)
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut Node> {
        self.entries.iter_mut().find(|(known, _)| **known == *name).map(|(_, node)| node)
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn items(&self, name: &str) -> &[Item] {
        match self.get(name) {
            Some(Node::List(items)) => items,
            _ => &[],
        }
    }

    /// The object a step leads to, made when it is not there; of a list the open item of this slice.
    pub(super) fn step(&mut self, step: &Step) -> Option<&mut Self> {
        let Step { name, list, slice, inside, .. } = step;
        let fresh = || Self { reads: step.reads, ..Self::new(inside) };
        if self.get(name).is_none() {
            let empty = if *list { Node::List(Vec::new()) } else { Node::Object(fresh()) };
            self.entries.push((Arc::clone(name), empty));
        }
        let items = match self.get_mut(name)? {
            Node::Object(object) => return Some(object),
            Node::List(items) => items,
            _ => return None,
        };
        let place = items.iter().position(|item| item.open && item.slice == *slice);
        let place = place.unwrap_or_else(|| {
            items.push(Item { slice: slice.clone(), open: true, node: Node::Object(fresh()) });
            items.len() - 1
        });
        match &mut items.get_mut(place)?.node {
            Node::Object(object) => Some(object),
            _ => None,
        }
    }

    /// Writes a value; adds it where the element repeats, unless it stands there already.
    pub(super) fn put(&mut self, name: &Arc<str>, list: bool, node: Node) {
        if !list {
            if self.get(name).is_none() {
                self.entries.push((Arc::clone(name), node));
            }
            return;
        }
        let item = Item { slice: None, open: false, node };
        match self.get_mut(name) {
            Some(Node::List(items)) => {
                if !items.iter().any(|known| known.node == item.node) {
                    items.push(item);
                }
            }
            Some(_) => {}
            None => self.entries.push((Arc::clone(name), Node::List(vec![item]))),
        }
    }
}

impl Node {
    /// Whether anything would be left by [`Self::prune`].
    pub(super) fn says(&self) -> bool {
        match self {
            Self::List(items) => items.iter().any(|item| item.node.says()),
            Self::Object(object) => {
                (object.got || !object.reads) && object.entries.iter().any(|(_, node)| node.says())
            }
            Self::Text(text) => !text.is_empty(),
            Self::Number(_) | Self::Truth(_) | Self::Refer { .. } => true,
        }
    }

    /// Takes out what says nothing; whether anything is left.
    pub(super) fn prune(&mut self) -> bool {
        match self {
            Self::List(items) => {
                items.retain_mut(|item| item.node.prune());
                !items.is_empty()
            }
            Self::Object(object) => {
                object.entries.retain_mut(|(_, node)| node.prune());
                !object.entries.is_empty() && (object.got || !object.reads)
            }
            Self::Text(text) => !text.is_empty(),
            Self::Number(_) | Self::Truth(_) | Self::Refer { .. } => true,
        }
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Number(number) => number.serialize(serializer),
            Self::Truth(truth) => serializer.serialize_bool(*truth),
            Self::List(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                items.iter().try_for_each(|item| list.serialize_element(&item.node))?;
                list.end()
            }
            Self::Object(object) => object.serialize(serializer),
            // None is left when a resource is written.
            Self::Refer { .. } => serializer.serialize_unit(),
        }
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.entries.len()))?;
        self.entries.iter().try_for_each(|(name, node)| map.serialize_entry(&**name, node))?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_alone_are_not_written_where_nothing_was_found() {
        let inside: Arc<str> = "Identifier".into();
        let mut object = Object::new(&inside);
        object.put(&"system".into(), false, Node::Text("urn:x".into()));
        object.reads = true;
        assert!(!Node::Object(object.clone()).prune());
        object.got = true;
        assert!(Node::Object(object).prune());
    }

    #[test]
    fn a_slice_is_one_item_and_a_quote_cannot_break_the_json() {
        let inside: Arc<str> = "Patient".into();
        let mut patient = Object::new(&inside);
        for slice in ["ssn", "mr", "ssn"] {
            let item = patient.step(&Step {
                name: "identifier".into(),
                list: true,
                slice: Some(slice.into()),
                inside: "Identifier".into(),
                reads: false,
            });
            item.unwrap().put(&"value".into(), false, Node::Text(format!("{slice}\",")));
        }
        let text = serde_json::to_string(&patient).unwrap();
        assert_eq!(text, r#"{"identifier":[{"value":"ssn\","},{"value":"mr\","}]}"#);
    }
}
