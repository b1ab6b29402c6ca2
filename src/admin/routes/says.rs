//! What the description of the API (OpenAPI 3.1) says of a route, written beside its code and named in its row.

use std::borrow::Cow;
use std::collections::HashMap;

use utoipa::ToSchema;
use utoipa::openapi::{RefOr, Schema};

use super::call::PARAMETER_MAX;
use crate::admin::answer::Problem;

/// One operation.
#[derive(Clone, Copy)]
pub(super) struct Says {
    /// Stable: programs generated from the description are named by it.
    pub(super) id: &'static str,
    pub(super) topic: Topic,
    pub(super) summary: &'static str,
    pub(super) terms: &'static [Term],
    pub(super) body: Option<Body>,
    pub(super) answers: [Option<Told>; 2],
    /// Refusals beside those that follow from the row.
    pub(super) refuses: &'static [(u16, &'static str)],
}

/// What operations are grouped by.
#[derive(Clone, Copy)]
pub(super) struct Topic {
    pub(super) name: &'static str,
    pub(super) what: &'static str,
}

/// A term of the query.
#[derive(Clone, Copy)]
pub(super) struct Term {
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    pub(super) kind: Kind,
    pub(super) needed: bool,
}

/// What a term may be. A text with nothing after its `=` is as if it were not there.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Text,
    /// From, to.
    Number(i64, i64),
    Word(&'static [&'static str]),
}

/// A body in JSON.
#[derive(Clone, Copy)]
pub(super) struct Body {
    pub(super) shape: Shape,
    pub(super) needed: bool,
}

/// An answer that is no problem.
#[derive(Clone, Copy)]
pub(super) struct Told {
    pub(super) status: u16,
    pub(super) what: &'static str,
    pub(super) content: Content,
}

/// What an answer holds.
#[derive(Clone, Copy)]
pub(super) enum Content {
    Nothing,
    Json(Shape),
    /// Text or bytes of this media type.
    Other(&'static str),
    /// Server-sent events by name.
    Events(&'static [(&'static str, Shape)]),
}

/// A type as the description shows it.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) name: fn() -> Cow<'static, str>,
    pub(super) schema: fn() -> RefOr<Schema>,
    /// Everything it is made of.
    pub(super) parts: fn(&mut Vec<(String, RefOr<Schema>)>),
}

impl Shape {
    /// How this type is read or written as JSON.
    pub(super) const fn of<T: ToSchema>() -> Self {
        Self { name: T::name, schema: T::schema, parts: T::schemas }
    }
}

/// A schema that is itself the answer.
pub(super) enum JsonSchema {}

impl utoipa::PartialSchema for JsonSchema {
    fn schema() -> RefOr<Schema> {
        let about = "A JSON Schema (2020-12).";
        let object = utoipa::openapi::schema::Type::Object;
        utoipa::openapi::ObjectBuilder::new().schema_type(object).description(Some(about)).into()
    }
}

impl ToSchema for JsonSchema {
    fn name() -> Cow<'static, str> {
        "JsonSchema".into()
    }
}

pub(super) const PROFILES: Topic =
    Topic { name: "Profiles", what: "The pages by which frames are read: firmware profiles and templates" };
pub(super) const BOX: Topic = Topic { name: "Box", what: "Backups, settings, versions, starting anew" };
pub(super) const PROBES: Topic = Topic { name: "Probes", what: "For machines: alive, ready, figures" };
pub(super) const ACCESS: Topic = Topic { name: "Access", what: "Set-up, sessions, who one is" };
pub(super) const ACCOUNT: Topic =
    Topic { name: "Account", what: "One's own second factors, sessions, tokens; emergencies" };
pub(super) const USERS: Topic = Topic { name: "Users", what: "Who may log in, and what they may" };
pub(super) const OVERVIEW: Topic =
    Topic { name: "Overview", what: "Everything at a glance, and as it changes" };
pub(super) const DEVICES: Topic = Topic { name: "Devices", what: "What devices said last" };
pub(super) const MESSAGES: Topic = Topic { name: "Messages", what: "What was kept, and what became of it" };
pub(super) const UPSTREAM: Topic = Topic { name: "Upstream", what: "The FHIR server results go to" };
pub(super) const PAIRING: Topic =
    Topic { name: "Pairing", what: "Unknown senders, links made at the desk, ports" };
pub(super) const RECORDINGS: Topic = Topic { name: "Recordings", what: "Tapes of what crosses a link" };
pub(super) const WORKLIST: Topic = Topic { name: "Worklist", what: "What analysers are to measure" };
pub(super) const DESTINATIONS: Topic =
    Topic { name: "Destinations", what: "Where results go besides, and the queues there" };
pub(super) const ASSOCIATIONS: Topic = Topic { name: "Associations", what: "Which patient a device is with" };
pub(super) const PATIENTS: Topic = Topic { name: "Patients", what: "Who is known, and who lies where" };
pub(super) const AUDIT: Topic =
    Topic { name: "Audit", what: "Who did what, and whether that is still what was written" };
pub(super) const CERTIFICATE: Topic = Topic { name: "Certificate", what: "What the desk shows to browsers" };
pub(super) const API: Topic = Topic { name: "API", what: "This description" };

/// A row that nobody has described yet.
pub(super) const UNDESCRIBED: Says = says("", API, "");

/// An operation that answers 204 and nothing else, until something else is said.
pub(super) const fn says(id: &'static str, topic: Topic, summary: &'static str) -> Says {
    let done = Told { status: 204, what: "Done", content: Content::Nothing };
    Says { id, topic, summary, terms: &[], body: None, answers: [Some(done), None], refuses: &[] }
}

impl Says {
    /// The terms of the query. What does not fit them is refused before the route is run.
    pub(super) const fn asks(mut self, terms: &'static [Term]) -> Self {
        self.terms = terms;
        self
    }

    /// The body is this type in JSON.
    pub(super) const fn takes<T: ToSchema>(mut self) -> Self {
        self.body = Some(Body { shape: Shape::of::<T>(), needed: true });
        self
    }

    /// The same, or nothing.
    pub(super) const fn may_take<T: ToSchema>(mut self) -> Self {
        self.body = Some(Body { shape: Shape::of::<T>(), needed: false });
        self
    }

    /// The answer is this type in JSON.
    pub(super) const fn gives<T: ToSchema>(self, status: u16, what: &'static str) -> Self {
        self.answers(Told { status, what, content: Content::Json(Shape::of::<T>()) })
    }

    /// The answer is text or bytes of this media type.
    pub(super) const fn sends(self, media: &'static str, what: &'static str) -> Self {
        self.answers(Told { status: 200, what, content: Content::Other(media) })
    }

    /// The answer is a stream of events, each of its own type in JSON.
    pub(super) const fn streams(self, events: &'static [(&'static str, Shape)], what: &'static str) -> Self {
        self.answers(Told { status: 200, what, content: Content::Events(events) })
    }

    /// The answer has no body.
    pub(super) const fn does(self, status: u16, what: &'static str) -> Self {
        self.answers(Told { status, what, content: Content::Nothing })
    }

    /// It may be this instead.
    pub(super) const fn or<T: ToSchema>(mut self, status: u16, what: &'static str) -> Self {
        self.answers =
            [self.answers[0], Some(Told { status, what, content: Content::Json(Shape::of::<T>()) })];
        self
    }

    /// It may have no body, with this status.
    pub(super) const fn or_nothing(mut self, status: u16, what: &'static str) -> Self {
        self.answers = [self.answers[0], Some(Told { status, what, content: Content::Nothing })];
        self
    }

    /// Why it may be refused, beside what follows from the row.
    pub(super) const fn refuses(mut self, why: &'static [(u16, &'static str)]) -> Self {
        self.refuses = why;
        self
    }

    const fn answers(mut self, told: Told) -> Self {
        self.answers = [Some(told), None];
        self
    }

    /// Holds a query against what is said of it.
    pub(super) fn check(&self, query: &HashMap<String, String>) -> Result<(), Problem> {
        for term in self.terms {
            let is_text = matches!(term.kind, Kind::Text);
            match query.get(term.name).filter(|text| !(is_text && text.is_empty())) {
                Some(text) => term.check(text)?,
                None if term.needed => {
                    return Err(Problem::bad(format!("say \"{}\": {}", term.name, term.what)));
                }
                None => {}
            }
        }
        Ok(())
    }
}

/// A text of at most 512 bytes.
pub(super) const fn text(name: &'static str, what: &'static str) -> Term {
    Term { name, what, kind: Kind::Text, needed: false }
}

/// A whole number from `min` to `max`.
pub(super) const fn number(name: &'static str, min: i64, max: i64, what: &'static str) -> Term {
    Term { name, what, kind: Kind::Number(min, max), needed: false }
}

/// One of a few words.
pub(super) const fn word(name: &'static str, words: &'static [&'static str], what: &'static str) -> Term {
    Term { name, what, kind: Kind::Word(words), needed: false }
}

impl Term {
    /// It must be there.
    pub(super) const fn needed(mut self) -> Self {
        self.needed = true;
        self
    }

    fn check(&self, text: &str) -> Result<(), Problem> {
        let name = self.name;
        let fault = match self.kind {
            Kind::Text if text.len() > PARAMETER_MAX => {
                format!("\"{name}\" has at most {PARAMETER_MAX} bytes")
            }
            Kind::Text => return Ok(()),
            Kind::Number(min, max) => match text.parse::<i64>() {
                Ok(number) if (min..=max).contains(&number) => return Ok(()),
                _ if max == i64::MAX => format!("\"{name}\" is a whole number from {min}"),
                _ => format!("\"{name}\" is a whole number from {min} to {max}"),
            },
            Kind::Word(words) if words.contains(&text) => return Ok(()),
            Kind::Word(words) => format!("\"{name}\" is one of {}", words.join(", ")),
        };
        Err(Problem::bad(fault))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: Says = says("x", API, "x").asks(&[
        text("code", "which metric").needed(),
        number("limit", 1, 200, "how many"),
        word("state", &["held", "sent"], "in which state"),
    ]);

    fn detail(terms: &[(&str, &str)]) -> Option<String> {
        let query = terms.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        ASKED.check(&query).err().map(|problem| problem.detail)
    }

    #[test]
    fn what_does_not_fit_a_query_is_refused_in_words() {
        assert_eq!(detail(&[("code", "a"), ("limit", "200"), ("state", "held"), ("other", "x")]), None);
        for (terms, words) in [
            (&[][..], "say \"code\": which metric"),
            (&[("code", "")], "say \"code\": which metric"),
            (&[("code", "a"), ("limit", "")], "\"limit\" is a whole number from 1 to 200"),
            (&[("code", "a"), ("state", "")], "\"state\" is one of held, sent"),
            (&[("code", "a"), ("limit", "0")], "\"limit\" is a whole number from 1 to 200"),
            (&[("code", "a"), ("limit", "1e1")], "\"limit\" is a whole number from 1 to 200"),
            (&[("code", "a"), ("state", "lost")], "\"state\" is one of held, sent"),
        ] {
            assert_eq!(detail(terms).as_deref(), Some(words));
        }
        assert_eq!(detail(&[("code", &"x".repeat(513))]).as_deref(), Some("\"code\" has at most 512 bytes"));
    }
}
