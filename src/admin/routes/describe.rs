//! The description of the API, made of the table: OpenAPI 3.1, with the schemas of the routes' own types.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value as Json, json as object};
use utoipa::PartialSchema;
use utoipa::openapi::Object;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::{ToSchema, openapi};
use warp::reply::Response as Answer;

use super::call::{Call, PARAMETER_MAX};
use super::says::{API, Content, Kind, Says, Shape, Term, Told, says};
use super::{Need, Route, routes};
use crate::access::Role;
use crate::admin::answer::{Problem, ProblemJson, json};
use crate::admin::desk::Desk;
use crate::admin::guard::{COOKIE_NAME, CSRF_HEADER};

/// An OpenAPI document.
enum Description {}

impl PartialSchema for Description {
    fn schema() -> openapi::RefOr<openapi::Schema> {
        let text = Object::with_type(Type::String);
        let map = || Object::with_type(Type::Object);
        ObjectBuilder::new()
            .description(Some("An OpenAPI 3.1 document."))
            .property("openapi", text)
            .required("openapi")
            .property("info", map())
            .required("info")
            .property("paths", map())
            .required("paths")
            .property("components", map())
            .required("components")
            .into()
    }
}

impl ToSchema for Description {
    fn name() -> std::borrow::Cow<'static, str> {
        "Description".into()
    }
}

pub(super) const OPENAPI: Says =
    says("openapi", API, "This description").gives::<Description>(200, "An OpenAPI 3.1 document");
pub(super) const OPENAPI_V1: Says = says("openapiV1", API, "This description, of this version")
    .gives::<Description>(200, "An OpenAPI 3.1 document");

/// `GET /api/openapi.json`
pub(super) async fn openapi(_: Arc<Desk>, _: Call) -> Result<Answer, Problem> {
    Ok(json(&document()))
}

const ABOUT: &str = "Everything the desk of a Bedside gateway shows and does.\n\n\
    Times are RFC 3339 in UTC. An absent value is null and has a reason beside it, never 0. Errors are \
    `application/problem+json` (RFC 9457): `code` is for programs and stays as it is, `detail` is for people. A path \
    that is not described answers 404, a method that is not described 405 with `Allow`.";

/// The whole document: the same for the same binary.
pub(in crate::admin) fn document() -> Json {
    let mut schemas = Schemas::default();
    schemas.answered(Shape::of::<ProblemJson<'static>>());
    let mut paths: BTreeMap<&str, Map<String, Json>> = BTreeMap::new();
    let mut topics: Vec<Json> = Vec::new();
    for route in routes() {
        let method = route.method.as_str().to_ascii_lowercase();
        paths.entry(route.path).or_default().insert(method, operation(route, &mut schemas));
        let topic = object!({ "name": route.says.topic.name, "description": route.says.topic.what });
        if !topics.contains(&topic) {
            topics.push(topic);
        }
    }
    object!({
        "openapi": "3.1.0",
        "info": {
            "title": "Bedside",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/", "description": "This gateway" }],
        "tags": topics,
        "paths": paths,
        "components": {
            "schemas": schemas.whole(),
            "responses": refusals(),
            "securitySchemes": ways_in(),
        },
    })
}

/// How one may be let in.
fn ways_in() -> Json {
    let cookie = format!(
        "The session a log-in began. A change also needs `{CSRF_HEADER}: 1`, and `Origin` or `Sec-Fetch-Site` of the desk's \
         own pages."
    );
    object!({
        "cookie": { "type": "apiKey", "in": "cookie", "name": COOKIE_NAME, "description": cookie },
        "bearer": { "type": "http", "scheme": "bearer", "description": "A token made at the desk, for programs." },
        "scraper": { "type": "http", "scheme": "bearer", "description": "The token of `metrics_token_secret`." },
    })
}

/// Statuses that follow from a row, with what they mean.
const REFUSALS: [(u16, &str, &str); 7] = [
    (400, "BadRequest", "The request is not what is expected here, or broke off"),
    (401, "LogInFirst", "There is no session and no token"),
    (403, "Forbidden", "The role may not do that, or the change does not come from the desk's own pages"),
    (404, "NotFound", "There is nothing here"),
    (408, "TooSlow", "The body took too long"),
    (413, "TooLarge", "The body is larger than is taken here"),
    (503, "Unavailable", "The box could not do that now"),
];

fn refusals() -> Json {
    let all = REFUSALS.iter().map(|(status, name, what)| ((*name).to_owned(), refusal(*status, what)));
    Json::Object(all.collect())
}

fn refusal(status: u16, what: &str) -> Json {
    let mut refusal = object!({
        "description": what,
        "content": { "application/problem+json": { "schema": reference("Problem") } },
    });
    let header = match status {
        401 => Some(("WWW-Authenticate", "string", "How to be let in")),
        429 | 503 => Some(("Retry-After", "integer", "Seconds to wait, when that helps")),
        _ => None,
    };
    if let (Some((name, kind, what)), Some(refusal)) = (header, refusal.as_object_mut()) {
        let header = object!({ "description": what, "schema": { "type": kind } });
        refusal.insert("headers".into(), object!({ name: header }));
    }
    refusal
}

fn operation(route: &Route, schemas: &mut Schemas) -> Json {
    let Says { id, topic, summary, terms, body, answers, refuses } = route.says;
    let mut operation = Map::new();
    let mut put = |name: &str, value: Json| operation.insert(name.into(), value);
    put("operationId", id.into());
    put("tags", object!([topic.name]));
    put("summary", summary.into());
    put("description", who(route.need).into());
    put("security", security(route.need));
    let parameters: Vec<Json> = in_path(route.path).chain(terms.iter().map(in_query)).collect();
    if !parameters.is_empty() {
        put("parameters", parameters.into());
    }
    if let Some(body) = body {
        schemas.asked(body.shape);
        let content = object!({ "application/json": { "schema": reference(&(body.shape.name)()) } });
        put("requestBody", object!({ "required": body.needed, "content": content }));
    }
    let mut responses = BTreeMap::new();
    for status in statuses(route) {
        let known = REFUSALS.iter().find(|(known, ..)| *known == status);
        if let Some((_, name, _)) = known {
            responses.insert(status, object!({ "$ref": format!("#/components/responses/{name}") }));
        }
    }
    responses.extend(refuses.iter().map(|(status, what)| (*status, refusal(*status, what))));
    for told in answers.into_iter().flatten() {
        responses.insert(told.status, answer(told, responses.get(&told.status), schemas));
    }
    let responses = responses.into_iter().map(|(status, told)| (status.to_string(), told));
    put("responses", Json::Object(responses.collect()));
    Json::Object(operation)
}

/// The refusals that follow from a row.
fn statuses(route: &Route) -> impl Iterator<Item = u16> {
    let session = matches!(route.need, Need::Session(_));
    let change = route.method != warp::http::Method::GET;
    let ways = [
        (400, true),
        (401, session || route.need == Need::Scraper),
        (403, session || change),
        (404, route.path.contains('{')),
        (408, true),
        (413, true),
        (429, true),
        (503, true),
    ];
    ways.into_iter().filter(|(_, can)| *can).map(|(status, _)| status)
}

/// An answer; where it shares its status with a refusal, either.
fn answer(told: Told, refusal: Option<&Json>, schemas: &mut Schemas) -> Json {
    let content = match told.content {
        Content::Nothing => None,
        Content::Json(shape) => {
            schemas.answered(shape);
            Some(object!({ "application/json": { "schema": reference(&(shape.name)()) } }))
        }
        Content::Other(media) => Some(object!({ media: { "schema": { "type": "string" } } })),
        Content::Events(events) => {
            let mut named = Map::new();
            for (name, shape) in events {
                schemas.answered(*shape);
                named.insert((*name).into(), reference(&(shape.name)()));
            }
            Some(object!({ "text/event-stream": { "schema": { "type": "string" }, "x-events": named } }))
        }
    };
    let mut answer = object!({ "description": told.what });
    if let (Some(mut content), Some(answer)) = (content, answer.as_object_mut()) {
        if let (Some(all), true) = (content.as_object_mut(), refusal.is_some()) {
            all.insert("application/problem+json".into(), object!({ "schema": reference("Problem") }));
        }
        answer.insert("content".into(), content);
    }
    answer
}

fn who(need: Need) -> String {
    match need {
        Need::Nothing => "For anybody.".into(),
        Need::Scraper => "For the box itself, with the scraper's token, or with any session.".into(),
        Need::Session(permission) => {
            let may = Role::ALL.into_iter().filter(|role| role.may(permission)).map(Role::as_str);
            format!("Needs the permission `{permission:?}`: {}.", may.collect::<Vec<_>>().join(", "))
        }
    }
}

fn security(need: Need) -> Json {
    match need {
        Need::Nothing => object!([]),
        Need::Session(_) => object!([{ "cookie": [] }, { "bearer": [] }]),
        Need::Scraper => object!([{ "scraper": [] }, { "cookie": [] }, {}]),
    }
}

fn in_path(path: &'static str) -> impl Iterator<Item = Json> {
    let names = path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'));
    names.map(|name| {
        let schema = match name {
            "id" => object!({ "type": "integer", "format": "int64", "minimum": 1 }),
            _ => object!({ "type": "string", "minLength": 1, "maxLength": PARAMETER_MAX }),
        };
        object!({ "name": name, "in": "path", "required": true, "schema": schema })
    })
}

fn in_query(term: &Term) -> Json {
    let schema = match term.kind {
        Kind::Text if term.needed => {
            object!({ "type": "string", "minLength": 1, "maxLength": PARAMETER_MAX })
        }
        Kind::Text => object!({ "type": "string", "maxLength": PARAMETER_MAX }),
        Kind::Number(min, i64::MAX) => object!({ "type": "integer", "format": "int64", "minimum": min }),
        Kind::Number(min, max) => {
            object!({ "type": "integer", "format": "int32", "minimum": min, "maximum": max })
        }
        Kind::Word(words) => object!({ "type": "string", "enum": words }),
    };
    let Term { name, what, needed, .. } = term;
    object!({ "name": name, "in": "query", "required": needed, "description": what, "schema": schema })
}

fn reference(name: &str) -> Json {
    object!({ "$ref": format!("#/components/schemas/{name}") })
}

/// The types that were named, and everything they are made of.
#[derive(Default)]
struct Schemas {
    all: BTreeMap<String, Json>,
    /// Those that are sent by somebody else: what is not said may be left out.
    asked: BTreeSet<String>,
}

impl Schemas {
    fn asked(&mut self, shape: Shape) {
        let names = self.gather(shape);
        self.asked.extend(names);
    }

    fn answered(&mut self, shape: Shape) {
        self.gather(shape);
    }

    fn gather(&mut self, shape: Shape) -> Vec<String> {
        let mut parts = vec![((shape.name)().into_owned(), (shape.schema)())];
        (shape.parts)(&mut parts);
        let mut names = Vec::new();
        for (name, schema) in parts {
            let schema = tidy(serde_json::to_value(schema).unwrap_or_default());
            debug_assert!(
                self.all.get(&name).is_none_or(|known| *known == schema),
                "two types are called {name}: give one another name with #[schema(as = …)]"
            );
            names.push(name.clone());
            self.all.insert(name, schema);
        }
        names
    }

    fn whole(self) -> Json {
        let Self { all, asked } = self;
        let open: BTreeMap<String, Json> = all
            .iter()
            .filter(|(_, schema)| schema.get("additionalProperties") == Some(&Json::Bool(false)))
            .map(|(name, schema)| (format!("#/components/schemas/{name}"), opened(schema.clone())))
            .collect();
        let whole = all.into_iter().map(|(name, mut schema)| {
            if !asked.contains(&name) {
                complete(&mut schema);
            }
            flatten(&mut schema, &open);
            (name, schema)
        });
        Json::Object(whole.collect())
    }
}

/// A choice of one is that one; words for people are words for people.
fn tidy(schema: Json) -> Json {
    match schema {
        Json::Object(mut map) => {
            let only = match map.get("oneOf") {
                Some(Json::Array(choices)) if choices.len() == 1 => choices.first().cloned(),
                _ => None,
            };
            if let Some(Json::Object(only)) = only {
                map.remove("oneOf");
                map.extend(only);
            }
            if let Some(Json::String(words)) = map.get_mut("description") {
                // Links within the sources and their line ends say nothing here.
                *words = words.replace("[`", "`").replace("`]", "`").replace('\n', " ");
            }
            Json::Object(map.into_iter().map(|(name, value)| (name, tidy(value))).collect())
        }
        Json::Array(values) => values.into_iter().map(tidy).collect(),
        other => other,
    }
}

/// What may be null in an answer is written as null: it is there.
fn complete(schema: &mut Json) {
    match schema {
        Json::Object(map) => {
            if let Some(Json::Object(properties)) = map.get("properties") {
                let mut there: BTreeSet<String> = properties
                    .iter()
                    .filter(|(_, property)| may_be_null(property))
                    .map(|(name, _)| name.clone())
                    .collect();
                let said = map.get("required").and_then(Json::as_array).into_iter().flatten();
                there.extend(said.filter_map(Json::as_str).map(ToOwned::to_owned));
                if !there.is_empty() {
                    map.insert("required".into(), there.into_iter().collect());
                }
            }
            map.values_mut().for_each(complete);
        }
        Json::Array(values) => values.iter_mut().for_each(complete),
        _ => {}
    }
}

fn may_be_null(schema: &Json) -> bool {
    match schema.get("type") {
        Some(Json::String(one)) => one == "null",
        Some(Json::Array(several)) => several.iter().any(|one| one == "null"),
        _ => match schema.get("oneOf") {
            Some(Json::Array(choices)) => choices.iter().any(may_be_null),
            // Anything at all.
            _ => !["$ref", "allOf", "enum"].iter().any(|word| schema.get(word).is_some()),
        },
    }
}

/// A type that is taken strictly by itself may have others beside it where it is a part of another.
fn flatten(schema: &mut Json, open: &BTreeMap<String, Json>) {
    let Some(Json::Array(parts)) = schema.get_mut("allOf") else { return };
    for part in parts {
        if let Some(opened) = part.get("$ref").and_then(Json::as_str).and_then(|name| open.get(name)) {
            *part = opened.clone();
        }
    }
}

fn opened(mut schema: Json) -> Json {
    if let Some(map) = schema.as_object_mut() {
        map.remove("additionalProperties");
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/web/openapi.json");

    #[test]
    fn openapi_is_as_the_web_pages_were_built_with() {
        let now = format!("{}\n", serde_json::to_string_pretty(&document()).unwrap());
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(GOLDEN, &now).unwrap();
        }
        let then = std::fs::read_to_string(GOLDEN).unwrap_or_default();
        assert!(
            then == now,
            "web/openapi.json is not what the routes say: BLESS=1 cargo nextest run openapi writes it"
        );
    }

    #[test]
    fn openapi_has_every_route_and_nothing_else_each_under_a_name_of_its_own() {
        let document = document();
        let mut told: Vec<(String, String, String)> = Vec::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let id = operation["operationId"].as_str().unwrap();
                assert!(
                    !operation["summary"].as_str().unwrap().is_empty(),
                    "{method} {path} is not described"
                );
                told.push((path.clone(), method.to_ascii_uppercase(), id.to_owned()));
            }
        }
        let mut rows: Vec<(String, String, String)> = routes()
            .map(|route| (route.path.into(), route.method.to_string(), route.says.id.into()))
            .collect();
        rows.sort();
        told.sort();
        assert_eq!(rows, told, "two rows with one method and path?");
        let names: BTreeSet<&String> = rows.iter().map(|(_, _, id)| id).collect();
        assert_eq!(names.len(), rows.len(), "two operations of one name");
        assert!(names.iter().all(|name| name.chars().all(|c| c.is_ascii_alphanumeric())));
    }

    #[test]
    fn openapi_refers_to_nothing_that_is_not_there_and_has_nothing_that_is_not_referred_to() {
        let document = document();
        let mut asked = BTreeSet::new();
        references(&document, &mut asked);
        for reference in &asked {
            let pointer = reference.trim_start_matches('#');
            assert!(document.pointer(pointer).is_some(), "{reference} is not there");
        }
        for name in document["components"]["schemas"].as_object().unwrap().keys() {
            assert!(asked.contains(&format!("#/components/schemas/{name}")), "nobody uses {name}");
        }
    }

    fn references(value: &Json, into: &mut BTreeSet<String>) {
        match value {
            Json::Object(map) => {
                into.extend(map.get("$ref").and_then(Json::as_str).map(ToOwned::to_owned));
                map.values().for_each(|value| references(value, into));
            }
            Json::Array(values) => values.iter().for_each(|value| references(value, into)),
            _ => {}
        }
    }

    #[test]
    fn an_answer_names_what_may_be_null_and_a_request_may_leave_it_out() {
        let schemas = &document()["components"]["schemas"];
        let needs = |name: &str, field: &str| {
            let required = schemas[name]["required"].as_array().unwrap();
            required.iter().any(|one| one == field)
        };
        assert!(needs("Overview", "oldest_waiting") && needs("Overview", "now"));
        assert!(needs("Device", "patient") && !needs("AssociationWanted", "from"));
        assert!(!needs("Coding", "display"), "left out where there is none");
        assert_eq!(schemas["LinkWanted"]["required"], object!(["name", "profile"]));
    }
}
