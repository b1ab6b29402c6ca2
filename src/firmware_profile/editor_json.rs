//! Writes the table of what a page may say as JSON Schema.

use serde_json::{Map, Value as Json, json};

use super::editor::{Key, SECTIONS, Shape};
use crate::wire;

/// The schema of a page as a JSON document.
pub fn schema() -> Json {
    let mut definitions = Map::new();
    let mut page = Json::Null;
    for (name, keys) in SECTIONS {
        let section = section(keys);
        if name.is_empty() {
            page = section;
        } else {
            definitions.insert((*name).to_owned(), section);
        }
    }
    definitions.insert("link".into(), link());
    if let Some(page) = page.as_object_mut() {
        page.insert("$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
        page.insert("title".into(), json!("Bedside firmware profile"));
        page.insert("$defs".into(), Json::Object(definitions));
    }
    page
}

fn section(keys: &[Key]) -> Json {
    let property = |key: &Key| {
        let mut shape = written(key.shape);
        if let Some(shape) = shape.as_object_mut() {
            shape.insert("description".into(), json!(key.says));
        }
        (key.name.to_owned(), shape)
    };
    let properties: Map<String, Json> = keys.iter().map(property).collect();
    let needed: Vec<&str> = keys.iter().filter(|key| key.needed).map(|key| key.name).collect();
    json!({ "type": "object", "properties": properties, "required": needed, "additionalProperties": false })
}

fn written(shape: Shape) -> Json {
    let one_or_list = |one: Json| json!({ "anyOf": [one.clone(), { "type": "array", "items": one }] });
    match shape {
        Shape::Text | Shape::Place => json!({ "type": "string" }),
        Shape::Texts | Shape::Places => one_or_list(json!({ "type": "string" })),
        Shape::Integer(low, high) => json!({ "type": "integer", "minimum": low, "maximum": high }),
        Shape::Integers(low, high) => one_or_list(written(Shape::Integer(low, high))),
        Shape::Number => json!({ "type": ["number", "string"] }),
        Shape::Boolean => json!({ "type": "boolean" }),
        Shape::Word(words) => json!({ "enum": words }),
        Shape::Table(name) => json!({ "$ref": format!("#/$defs/{name}") }),
        Shape::Tables(name) => json!({ "type": "array", "items": written(Shape::Table(name)) }),
        Shape::Each(shape) => json!({ "type": "object", "additionalProperties": written(*shape) }),
        Shape::Any(shapes) => {
            json!({ "anyOf": shapes.iter().copied().map(written).collect::<Vec<_>>() })
        }
    }
}

/// `[link]`: each codec with the settings it names itself.
fn link() -> Json {
    let codecs: Vec<Json> = wire::Codec::words()
        .iter()
        .map(|word| {
            let mut properties: Map<String, Json> =
                wire::Codec::settings(word).into_iter().map(|name| (name, json!(true))).collect();
            properties.insert("codec".into(), json!({ "const": word }));
            json!({ "properties": properties, "additionalProperties": false })
        })
        .collect();
    json!({
        "type": "object",
        "required": ["codec"],
        "properties": { "codec": { "enum": wire::Codec::words(), "description": "The link layer" } },
        "oneOf": codecs,
    })
}

#[cfg(test)]
#[path = "editor_tests.rs"]
mod tests;
