//! JSON documents, as gateways publish them over MQTT: every value by its pointer, numbers exactly as written.

use std::borrow::Cow;

use serde_json::Value as Json;

use super::flat::{Fields, Run};
use super::locate::Locator;
use super::{Decoded, FirmwareProfile, LinkContext};

/// More items than this in one document are not looked at.
const ITEMS_MAX: usize = 10_000;

/// Where the records of a document are.
#[derive(Clone, Debug, Default)]
pub(crate) struct JsonGrammar {
    /// Lists (or single objects) whose items are records; the first that is there, else the document itself.
    pub(super) items: Vec<Locator>,
    /// Objects whose members are kept even when the profile does not list them.
    pub(super) unlisted: Vec<Locator>,
}

pub(super) fn decode(
    profile: &FirmwareProfile,
    grammar: &JsonGrammar,
    bytes: &[u8],
    topic: Option<&str>,
    context: &LinkContext,
) -> Decoded {
    let root: Json = match serde_json::from_slice(bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes)) {
        Ok(root) => root,
        Err(error) => return not_json(profile, bytes, &error),
    };
    let mut run = Run::new(profile, context);
    let record = |item, number| Document { root: &root, item, number, topic, grammar, profile };
    let mut items = 0;
    for at in &grammar.items {
        if items > 0 {
            break;
        }
        let Locator::Pointer { pointer, .. } = at else { continue };
        match root.pointer(pointer) {
            Some(Json::Array(list)) => {
                for item in list.iter().take(ITEMS_MAX) {
                    items += 1;
                    run.record(&record(item, items));
                }
            }
            Some(item @ Json::Object(_)) => {
                items += 1;
                run.record(&record(item, items));
            }
            _ => {}
        }
    }
    if items == 0 {
        run.record(&record(&root, 0));
    }
    run.finish("nothing in the document fits the profile")
}

/// A last will such as `offline` is no JSON and may be one of the texts the profile ignores.
fn not_json(profile: &FirmwareProfile, bytes: &[u8], error: &serde_json::Error) -> Decoded {
    let text = String::from_utf8_lossy(bytes.get(..bytes.len().min(1024)).unwrap_or_default());
    let whole = profile.plan.ignore.iter().filter(|rule| rule.at.is_none());
    for rule in whole {
        if rule.matches.as_ref().is_some_and(|pattern| pattern.is_match(text.trim())) {
            return Decoded::ignored(rule.reason.clone());
        }
    }
    // Only the place is told: the error's own words may quote the text.
    Decoded::held(format!("not JSON: wrong at line {}, column {}", error.line(), error.column()))
}

struct Document<'d> {
    root: &'d Json,
    item: &'d Json,
    /// From 1; 0 when the document is the record.
    number: usize,
    topic: Option<&'d str>,
    grammar: &'d JsonGrammar,
    profile: &'d FirmwareProfile,
}

impl<'d> Document<'d> {
    fn at(&self, relative: bool, pointer: &str) -> Option<&'d Json> {
        if relative { self.item.pointer(pointer) } else { self.root.pointer(pointer) }
    }
}

/// A scalar as the text that was written; `null` says nothing.
fn scalar(value: &Json) -> Option<Cow<'_, str>> {
    match value {
        Json::Null => Some(Cow::Borrowed("")),
        Json::String(text) => Some(Cow::Borrowed(text)),
        Json::Number(number) => Some(Cow::Owned(number.to_string())),
        Json::Bool(truth) => Some(Cow::Borrowed(if *truth { "true" } else { "false" })),
        Json::Array(_) | Json::Object(_) => None,
    }
}

impl Fields for Document<'_> {
    fn text(&self, at: &Locator) -> Option<Cow<'_, str>> {
        match at {
            Locator::Pointer { relative, pointer } => self.at(*relative, pointer).and_then(scalar),
            Locator::Topic(level) => {
                self.topic.and_then(|topic| topic.split('/').nth(*level)).map(Cow::Borrowed)
            }
            _ => None,
        }
    }

    fn place(&self, at: &Locator) -> String {
        match at {
            Locator::Pointer { relative: true, pointer } if self.number > 0 => {
                format!("item {} {pointer}", self.number)
            }
            Locator::Pointer { pointer, .. } => pointer.to_string(),
            other => other.own_code(),
        }
    }

    fn whole(&self) -> Cow<'_, str> {
        Cow::Owned(self.item.to_string())
    }

    fn beyond(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for at in &self.grammar.unlisted {
            let Locator::Pointer { relative, pointer } = at else { continue };
            let Some(Json::Object(members)) = self.at(*relative, pointer) else { continue };
            for (name, value) in members {
                let escaped = name.replace('~', "~0").replace('/', "~1");
                let claim = format!("{}{pointer}/{escaped}", if *relative { "." } else { "" });
                if self.profile.plan.claimed.contains(&claim) {
                    continue;
                }
                if let Some(text) = scalar(value) {
                    let code = format!("{pointer}/{escaped}").trim_start_matches('/').replace('/', ".");
                    found.push((code, text.into_owned()));
                }
            }
        }
        found
    }
}
