//! What makes a resource the same resource in another message and on another gateway.

use super::build::Build;
use super::node::{Node, Object};
use super::page::{Identity, Map};
use super::source::Cursor;
use crate::translate::{key, own_patient_system};

/// The system of identifiers that are URIs themselves (R4 2.24.0.11).
pub(super) const URI: &str = "urn:ietf:rfc:3986";
/// Resources without `identifier` in R4, of those templates make.
const NAMELESS: &[&str] = &["MessageHeader", "Linkage", "Provenance", "OrganizationAffiliation"];

/// System and value that identify `body`; an identity made here is added to the body's identifiers.
pub(super) fn of<'a>(
    build: &Build<'a>,
    map: &Map,
    body: &mut Object,
    cursor: &Cursor<'a>,
    scope: usize,
) -> (String, String) {
    let kind = map.makes;
    if kind == "Patient" {
        issue(body, &own_patient_system(build.context.gateway));
    }
    let found = map.identity.iter().find_map(|identity| match identity {
        Identity::Identifier { prefer } => business(build, kind, body, prefer),
        Identity::Key(places) => {
            let texts: Vec<String> = places
                .iter()
                .map(|place| {
                    build.first(place, cursor, scope).map(|one| one.raw().to_owned()).unwrap_or_default()
                })
                .collect();
            let first = texts.first().is_some_and(|text| !text.is_empty());
            first.then(|| made(build, kind, &map.name, &texts))
        }
        Identity::Content => {
            // The same words of another sender may be another person or place.
            let text = serde_json::to_string(body).unwrap_or_default();
            (text.len() > 2).then(|| made(build, kind, "content", &[text]))
        }
        Identity::Message => None,
    });
    let (system, value) = found.unwrap_or_else(|| {
        let control = [10, 7].map(|number| {
            build
                .source
                .segments
                .first()
                .map(|first| first.field(number).raw().to_owned())
                .unwrap_or_default()
        });
        let before = build.made.iter().filter(|made| made.kind == kind).count();
        let place = format!("{} {before}", build.source.place(cursor));
        // A message without a number is known by all it says.
        let whole = control.first().is_some_and(String::is_empty);
        let all = build.source.segments.iter().filter(|_| whole).map(|segment| segment.raw().to_owned());
        let parts: Vec<String> = control.iter().cloned().chain([place]).chain(all).collect();
        made(build, kind, &map.name, &parts)
    });
    if system == URI && !NAMELESS.contains(&kind) {
        identify(body, kind, &system, &value);
    }
    (system, value)
}

/// A number without an issuer counts within this site only.
fn issue(body: &mut Object, system: &str) {
    let Some(Node::List(items)) = body.get_mut("identifier") else { return };
    for item in items {
        if let Node::Object(one) = &mut item.node
            && one.get("system").is_none()
            && one.get("value").is_some()
        {
            one.put(&"system".into(), false, Node::Text(system.into()));
        }
    }
}

/// The identifier of the first preferred type, else the first; one without a system is the sender's own.
fn business(build: &Build<'_>, kind: &str, body: &Object, prefer: &[Box<str>]) -> Option<(String, String)> {
    let all: Vec<&Object> = body
        .items("identifier")
        .iter()
        .filter_map(|item| match &item.node {
            Node::Object(one) if one.text("value").is_some() => Some(one),
            _ => None,
        })
        .collect();
    let chosen = prefer.iter().find_map(|wanted| all.iter().find(|one| type_of(one) == Some(wanted)));
    let chosen = chosen.or_else(|| all.first())?;
    let value = chosen.text("value")?;
    match chosen.text("system") {
        Some(system) => Some((system.into(), value.into())),
        // The same bare number may be two persons': they are told apart by all that is said of them.
        None if kind == "Practitioner" => None,
        None => {
            let parts = [type_of(chosen).unwrap_or_default().to_owned(), value.to_owned()];
            Some(made(build, kind, "identifier", &parts))
        }
    }
}

fn type_of(identifier: &Object) -> Option<&str> {
    let Node::Object(kind) = identifier.get("type")? else { return None };
    match &kind.items("coding").first()?.node {
        Node::Object(coding) => coding.text("code"),
        _ => None,
    }
}

/// An opaque URI over the sender and `parts`.
fn made(build: &Build<'_>, kind: &str, map: &str, parts: &[String]) -> (String, String) {
    let all: Vec<&str> =
        [map].into_iter().chain(build.sender).chain(parts.iter().map(String::as_str)).collect();
    (URI.into(), key(kind, &all))
}

/// Adds an identifier that a server can find the resource by.
fn identify(body: &mut Object, kind: &str, system: &str, value: &str) {
    let mut identifier = Object::new(&"Identifier".into());
    identifier.put(&"system".into(), false, Node::Text(system.into()));
    identifier.put(&"value".into(), false, Node::Text(value.into()));
    // A few resources have one identifier only (R4: Composition, QuestionnaireResponse).
    let list = !matches!(kind, "Composition" | "QuestionnaireResponse");
    body.put(&"identifier".into(), list, Node::Object(identifier));
}
