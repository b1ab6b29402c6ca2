//! The elements of FHIR R4 4.0.1, as far as a template may write them: cardinality, types and required codes.
//!
//! The table is made from the StructureDefinitions (hl7.org/fhir/R4, CC0): `path min,max types =codes`.

use std::collections::HashMap;
use std::sync::Arc;

const TABLE: &str = include_str!("r4-elements.txt");

/// All elements by their path, e.g. `Encounter.participant.type`.
#[derive(Debug, Default)]
pub(super) struct Elements {
    of: HashMap<Box<str>, Element>,
    /// Required children and the names of all children of a type or backbone.
    children: HashMap<Box<str>, Vec<Box<str>>>,
    /// The children that a type or backbone must have.
    required: HashMap<Box<str>, Vec<Box<str>>>,
    kinds: Vec<&'static str>,
}

/// One element of a StructureDefinition.
#[derive(Debug)]
pub(super) struct Element {
    pub(super) list: bool,
    /// `#path` for a content reference.
    pub(super) types: Vec<Arc<str>>,
    /// What a required binding allows; empty where there is none.
    pub(super) codes: Vec<&'static str>,
}

/// An element found under the name it has in JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// In JSON; for a choice whose type is open, the name before `[x]`.
    pub(super) name: Arc<str>,
    /// `None`: a choice whose type the rule must say.
    pub(super) kind: Option<Arc<str>>,
    /// The types of an open choice.
    pub(super) choice: Vec<Arc<str>>,
    pub(super) list: bool,
    /// Where its children are looked up: a type's name or a backbone's path.
    pub(super) inside: Arc<str>,
    /// The path of the element itself, for its codes.
    pub(super) path: Arc<str>,
}

impl Elements {
    /// The table of the program.
    pub(super) fn embedded() -> Self {
        let mut all = Self::default();
        let mut kind = "";
        for line in TABLE.lines() {
            if let Some(name) = line.strip_prefix('@') {
                kind = name;
                all.kinds.push(name);
                continue;
            }
            let mut words = line.split(' ');
            let (Some(path), Some(many), Some(types)) = (words.next(), words.next(), words.next()) else {
                continue;
            };
            if path == "#" {
                continue;
            }
            let codes = words.next().and_then(|w| w.strip_prefix('=')).map(|w| w.split(',').collect());
            let full = format!("{kind}.{path}");
            let (parent, child) = full.rsplit_once('.').unwrap_or((kind, path));
            all.children.entry(parent.into()).or_default().push(child.into());
            if many.starts_with('1') {
                all.required.entry(parent.into()).or_default().push(child.into());
            }
            let element = Element {
                list: many.ends_with('*'),
                types: types.split('|').map(Arc::from).collect(),
                codes: codes.unwrap_or_default(),
            };
            all.of.insert(full.into(), element);
        }
        all
    }

    /// The static name of a resource or data type of the table.
    pub(super) fn kind(&self, name: &str) -> Option<&'static str> {
        self.kinds.iter().copied().find(|kind| *kind == name)
    }

    /// All resource and data types.
    pub(super) fn kinds(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.kinds.iter().copied()
    }

    pub(super) fn at(&self, path: &str) -> Option<&Element> {
        self.of.get(path)
    }

    /// The names of the children of a type or backbone, as StructureDefinitions write them.
    pub(super) fn children(&self, inside: &str) -> &[Box<str>] {
        self.children.get(inside).map_or(&[], Vec::as_slice)
    }

    /// The children that `inside` must have.
    pub(super) fn required(&self, inside: &str) -> &[Box<str>] {
        self.required.get(inside).map_or(&[], Vec::as_slice)
    }

    /// The child `name` of `inside` (`CodeableConcept`, `Encounter.participant`), as `value[x]` or `valueQuantity`.
    pub(super) fn child(&self, inside: &str, name: &str) -> Option<Found> {
        let path = format!("{inside}.{name}");
        if let Some(element) = self.of.get(path.as_str()) {
            return Some(found(inside, &path, name, element));
        }
        // Any element may be extended (R4 2.4); the table does not repeat it for each.
        if name == "extension" && !is_primitive(inside) {
            let extension: Arc<str> = "Extension".into();
            return Some(Found {
                name: name.into(),
                kind: Some(Arc::clone(&extension)),
                choice: Vec::new(),
                list: true,
                inside: Arc::clone(&extension),
                path: path.as_str().into(),
            });
        }
        // A choice under the name of one of its types.
        self.children(inside).iter().filter_map(|child| child.strip_suffix("[x]")).find_map(|base| {
            let tail = name.strip_prefix(base)?;
            let path = format!("{inside}.{base}[x]");
            let element = self.of.get(path.as_str())?;
            let kind = element.types.iter().find(|kind| capital(kind) == tail)?;
            Some(Found {
                name: name.into(),
                kind: Some(Arc::clone(kind)),
                choice: Vec::new(),
                list: element.list,
                inside: Arc::clone(kind),
                path: path.as_str().into(),
            })
        })
    }
}

fn found(inside: &str, path: &str, name: &str, element: &Element) -> Found {
    let first = element.types.first();
    let base = name.strip_suffix("[x]");
    let kind = if base.is_some() { None } else { first.cloned() };
    let root = inside.split('.').next().unwrap_or(inside);
    let inside = match kind.as_deref() {
        Some("BackboneElement" | "Element") => path.into(),
        Some(kind) => match kind.strip_prefix('#') {
            Some(of) => format!("{root}.{of}").into(),
            None => kind.into(),
        },
        None => path.into(),
    };
    let kind = kind.map(|kind| if kind.starts_with('#') { "BackboneElement".into() } else { kind });
    Found {
        name: base.unwrap_or(name).into(),
        choice: if kind.is_none() { element.types.clone() } else { Vec::new() },
        kind,
        list: element.list,
        inside,
        path: path.into(),
    }
}

/// `dateTime` → `DateTime`: how a type stands in the name of a choice.
pub(super) fn capital(kind: &str) -> String {
    let mut letters = kind.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

/// Whether values of this type are written as one JSON string, number or truth.
pub(super) fn is_primitive(kind: &str) -> bool {
    kind.starts_with(|c: char| c.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_is_found_by_its_path_and_a_choice_by_its_type() {
        let all = Elements::embedded();
        let code = all.child("Observation", "code").unwrap();
        assert_eq!((&*code.inside, code.list), ("CodeableConcept", false));
        let value = all.child("Observation", "valueQuantity").unwrap();
        assert_eq!((&*value.name, value.kind.as_deref()), ("valueQuantity", Some("Quantity")));
        let open = all.child("Observation", "value[x]").unwrap();
        assert_eq!((&*open.name, open.kind.as_deref()), ("value", None));
        assert!(open.choice.iter().any(|kind| &**kind == "Quantity"));
        let range = all.child("Observation.component", "referenceRange").unwrap();
        assert_eq!(&*range.inside, "Observation.referenceRange");
        assert!(all.child("Observation", "valeu").is_none());
        assert!(all.child("Patient", "deceasedDateTime").is_some());
        let extension = all.child("Patient.contact", "extension").unwrap();
        assert_eq!((&*extension.inside, extension.list), ("Extension", true));
        assert!(all.child("Extension", "valueCodeableConcept").is_some());
    }

    #[test]
    fn a_required_binding_names_its_codes() {
        let all = Elements::embedded();
        let status = all.at("Encounter.status").unwrap();
        assert!(status.codes.contains(&"in-progress"));
        assert!(all.required("Encounter").iter().any(|name| &**name == "status"));
        assert_eq!(all.kind("Encounter"), Some("Encounter"));
    }
}
