//! Two Bundles element by element: resources are matched by type and content, lists by what is most alike.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

/// How many leaves are expected and how many of them are equal, by element.
pub(crate) type Tally = BTreeMap<String, (usize, usize)>;

/// A leaf that is expected and that we do not say, or say otherwise.
pub(crate) struct Difference {
    pub(crate) path: String,
    pub(crate) expected: String,
    pub(crate) ours: Ours,
}

/// What stands in its place with us.
pub(crate) enum Ours {
    /// We make no resource of this type, or no item of this list is left that is alike.
    NoParent,
    /// The object is there, the element is not.
    NoElement,
    Value(String),
}

impl std::fmt::Display for Ours {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoParent => f.write_str("(no parent)"),
            Self::NoElement => f.write_str("(no element)"),
            Self::Value(text) => f.write_str(text),
        }
    }
}

/// What is left of a tree for comparing.
fn stripped(tree: &Value) -> Value {
    match tree {
        Value::Object(map) => {
            let kept = map.iter().filter(|(key, _)| {
                !matches!(key.as_str(), "id" | "meta" | "extension" | "modifierExtension")
                    && !key.starts_with('_')
            });
            Value::Object(kept.map(|(key, value)| (key.clone(), stripped(value))).collect())
        }
        Value::Array(list) => Value::Array(list.iter().map(stripped).collect()),
        other => other.clone(),
    }
}

pub(crate) struct Resource {
    kind: String,
    /// `Kind/id`, as references name it.
    name: String,
    body: Value,
}

pub(crate) fn resource(tree: &Value) -> Option<Resource> {
    let kind = tree["resourceType"].as_str()?.to_owned();
    let id = tree["id"].as_str().unwrap_or_default();
    (kind != "Provenance").then(|| Resource { name: format!("{kind}/{id}"), kind, body: stripped(tree) })
}

struct Compare<'a> {
    /// Expected name → our name, for references; `None` while resources are still being matched.
    names: Option<&'a HashMap<String, String>>,
}

impl Compare<'_> {
    /// Every leaf of `expected` with what we have of it.
    fn each(
        &self,
        path: &str,
        expected: &Value,
        ours: Option<&Value>,
        found: &mut impl FnMut(&str, &Value, Option<&Value>, bool),
    ) {
        self.walk(path, expected, ours, ours.is_some(), found);
    }

    fn walk(
        &self,
        path: &str,
        expected: &Value,
        ours: Option<&Value>,
        parent: bool,
        found: &mut impl FnMut(&str, &Value, Option<&Value>, bool),
    ) {
        match expected {
            Value::Object(map) => {
                let here = ours.is_some();
                for (key, value) in map {
                    let ours = ours.and_then(|ours| ours.get(key));
                    self.walk(&format!("{path}.{key}"), value, ours, here, found);
                }
            }
            Value::Array(list) => {
                let mut left: Vec<&Value> = ours.and_then(Value::as_array).into_iter().flatten().collect();
                for (item, best) in self.pairs(path, list, &mut left) {
                    self.walk(path, item, best, parent && best.is_some(), found);
                }
            }
            leaf => found(path, leaf, ours, parent),
        }
    }

    /// Every expected item with the item of ours that has most of it; each of ours is used once.
    fn pairs<'v>(
        &self,
        path: &str,
        list: &'v [Value],
        left: &mut Vec<&'v Value>,
    ) -> Vec<(&'v Value, Option<&'v Value>)> {
        let mut scores: Vec<Vec<usize>> =
            list.iter().map(|item| left.iter().map(|ours| self.score(path, item, ours)).collect()).collect();
        let mut found: Vec<Option<&Value>> = vec![None; list.len()];
        loop {
            let mut best: Option<(usize, usize, usize)> = None;
            for (item, row) in scores.iter().enumerate() {
                for (at, score) in row.iter().enumerate() {
                    if *score > 0 && best.is_none_or(|(known, ..)| *score > known) {
                        best = Some((*score, item, at));
                    }
                }
            }
            let Some((_, item, at)) = best else { break };
            found[item] = Some(left[at]);
            scores[item].iter_mut().for_each(|score| *score = 0);
            scores.iter_mut().for_each(|row| row[at] = 0);
        }
        list.iter().zip(found).collect()
    }

    fn score(&self, path: &str, expected: &Value, ours: &Value) -> usize {
        let mut equal = 0;
        self.each(path, expected, Some(ours), &mut |path, expected, ours, _| {
            equal += usize::from(ours.is_some_and(|ours| self.equal(path, expected, ours)));
        });
        equal
    }

    fn equal(&self, path: &str, expected: &Value, ours: &Value) -> bool {
        if path.ends_with(".reference") {
            let (Some(expected), Some(ours)) = (expected.as_str(), ours.as_str()) else { return false };
            return match self.names {
                None => expected.split('/').next() == ours.split('/').next(),
                Some(names) => names.get(expected).is_some_and(|name| name == ours),
            };
        }
        plain(expected) == plain(ours)
    }
}

/// Instants as instants, numbers by value, texts without the spaces at their ends.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) if text.contains('T') && text.len() > 18 => match text.parse::<jiff::Timestamp>()
        {
            Ok(instant) => instant.to_string(),
            Err(_) => text.trim().to_owned(),
        },
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string().parse::<f64>().map(|n| n.to_string()).unwrap_or_default(),
        other => other.to_string(),
    }
}

/// Equal leaves; what names a thing counts more than what classes it.
fn likeness(compare: &Compare<'_>, one: &Resource, other: &Resource) -> usize {
    let naming = |path: &str| {
        [".name", ".family", ".identifier.value", ".code.coding.code", ".url"]
            .iter()
            .any(|end| path.ends_with(end))
    };
    let mut sum = 0;
    compare.each(&one.kind, &one.body, Some(&other.body), &mut |path, expected, ours, _| {
        if ours.is_some_and(|ours| compare.equal(path, expected, ours)) {
            sum += if naming(path) { 3 } else { 1 };
        }
    });
    sum
}

/// Every expected resource with the one of ours, of its type, that has most of it.
fn matched<'r>(
    compare: &Compare<'_>,
    expected: &'r [Resource],
    ours: &'r [Resource],
) -> Vec<(&'r Resource, Option<&'r Resource>)> {
    let best = |one: &Resource| {
        let same = ours.iter().filter(|other| other.kind == one.kind);
        same.map(|other| (likeness(compare, one, other), other))
            .fold(None, |best: Option<(usize, &Resource)>, next| match best {
                Some(best) if best.0 >= next.0 => Some(best),
                _ => Some(next),
            })
            .map(|(_, other)| other)
    };
    expected.iter().map(|one| (one, best(one))).collect()
}

/// Counts the expected leaves and tells those that differ.
pub(crate) fn compared(expected: &[Resource], ours: &[Resource], tally: &mut Tally) -> Vec<Difference> {
    let named = |pairs: &[(&Resource, Option<&Resource>)]| -> HashMap<String, String> {
        let both =
            pairs.iter().filter_map(|(one, other)| Some((one.name.clone(), other.as_ref()?.name.clone())));
        both.collect()
    };
    // What says little of itself (a role, a bed) is known by what it refers to: once more with the targets known.
    let first = named(&matched(&Compare { names: None }, expected, ours));
    let pairs = matched(&Compare { names: Some(&first) }, expected, ours);
    let names = named(&pairs);
    let compare = Compare { names: Some(&names) };
    let mut differences = Vec::new();
    for (one, other) in pairs {
        let mut body = one.body.clone();
        body.as_object_mut().unwrap().remove("resourceType");
        let ours = other.map(|other| &other.body);
        compare.each(&one.kind, &body, ours, &mut |path, expected, ours, parent| {
            let equal = ours.is_some_and(|ours| compare.equal(path, expected, ours));
            let entry = tally.entry(path.to_owned()).or_default();
            entry.0 += 1;
            entry.1 += usize::from(equal);
            if !equal {
                let shown = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                let ours = match ours {
                    Some(value) => Ours::Value(shown(value)),
                    None if parent => Ours::NoElement,
                    None => Ours::NoParent,
                };
                differences.push(Difference { path: path.to_owned(), expected: shown(expected), ours });
            }
        });
    }
    differences
}
