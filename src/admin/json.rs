//! How times and numbers are written in the desk's JSON, and how its description says so.

use std::borrow::Cow;

use serde::Serializer;
use serde_json::Value;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{Array, ArrayBuilder, ArrayItems};
use utoipa::openapi::schema::{KnownFormat, Object, ObjectBuilder, Schema, SchemaFormat, SchemaType, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::clock::Timestamp;
use crate::device::Decimal;

/// RFC 3339 in UTC with milliseconds.
pub(super) fn rfc3339<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&at.rfc3339())
}

/// The same, or null.
pub(super) fn rfc3339_or_null<S: Serializer>(
    at: &Option<Timestamp>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => rfc3339(at, serializer),
        None => serializer.serialize_none(),
    }
}

/// In the description of the API: as [`rfc3339`] writes it.
impl PartialSchema for Timestamp {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .description(Some("RFC 3339, in UTC, with milliseconds."))
            .into()
    }
}

impl ToSchema for Timestamp {
    fn name() -> Cow<'static, str> {
        "Timestamp".into()
    }
}

/// In the description of the API: a number with the digits the device wrote.
impl PartialSchema for Decimal {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::Number)
            .description(Some("With the device's own digits."))
            .into()
    }
}

impl ToSchema for Decimal {
    fn name() -> Cow<'static, str> {
        "Decimal".into()
    }
}

/// A field that holds one of a few words.
pub(super) fn words(words: &[&str]) -> Object {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words.iter().copied())).build()
}

/// The same, or null.
pub(super) fn words_or_null(words: &[&str]) -> Object {
    let values = words.iter().map(|word| Value::from(*word)).chain([Value::Null]);
    let kind = SchemaType::from_iter([Type::String, Type::Null]);
    ObjectBuilder::new().schema_type(kind).enum_values(Some(values)).build()
}

/// A list of pairs, each written as an array: a word and something else.
pub(super) fn pairs(of: impl Into<RefOr<Schema>>) -> Array {
    let word: RefOr<Schema> = ObjectBuilder::new().schema_type(Type::String).into();
    let pair = ArrayBuilder::new().prefix_items([word, of.into()]).items(ArrayItems::False);
    ArrayBuilder::new().items(pair.min_items(Some(2)).max_items(Some(2))).build()
}
