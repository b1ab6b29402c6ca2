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
    /// Lists (or single objects) whose items are records; a step `*` goes into every item of a list.
    /// The first place that is there, or all of them; without any the document itself is the record.
    pub(super) items: Vec<Locator>,
    pub(super) all_items: bool,
    /// Where an item says what it is, and where its value then stands.
    pub(super) code: Option<Locator>,
    pub(super) value: Option<Locator>,
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
    let mut items: Vec<Vec<&Json>> = Vec::new();
    for at in &grammar.items {
        if !items.is_empty() && !grammar.all_items {
            break;
        }
        let Locator::Pointer { pointer, .. } = at else { continue };
        let steps: Vec<String> = pointer.split('/').skip(1).map(unescaped).collect();
        collect(&root, &steps, &mut Vec::new(), &mut items);
    }
    let whole = items.is_empty();
    if whole {
        items.push(vec![&root]);
    }
    for (at, path) in items.iter().enumerate() {
        let number = if whole { 0 } else { at + 1 };
        run.record(&Document { root: &root, path, number, topic, grammar, profile });
    }
    run.finish("nothing in the document fits the profile")
}

/// RFC 6901 §4.
fn unescaped(step: &str) -> String {
    step.replace("~1", "/").replace("~0", "~")
}

/// Adds the items at `steps`, each with what holds it, from the document to the item.
fn collect<'d>(at: &'d Json, steps: &[String], above: &mut Vec<&'d Json>, items: &mut Vec<Vec<&'d Json>>) {
    if items.len() >= ITEMS_MAX {
        return;
    }
    let Some((step, rest)) = steps.split_first() else {
        let found: &[Json] = match at {
            Json::Array(list) => {
                above.push(at);
                list
            }
            Json::Object(_) => std::slice::from_ref(at),
            _ => return,
        };
        let room = ITEMS_MAX - items.len();
        items.extend(found.iter().take(room).map(|item| above.iter().copied().chain([item]).collect()));
        if at.is_array() {
            above.pop();
        }
        return;
    };
    above.push(at);
    match at {
        Json::Array(list) if step == "*" => list.iter().for_each(|one| collect(one, rest, above, items)),
        Json::Object(members) if step == "*" => {
            members.values().for_each(|one| collect(one, rest, above, items));
        }
        Json::Object(members) => {
            if let Some(one) = members.get(step) {
                collect(one, rest, above, items);
            }
        }
        Json::Array(list) => {
            if let Some(one) = step.parse().ok().and_then(|number: usize| list.get(number)) {
                collect(one, rest, above, items);
            }
        }
        _ => {}
    }
    above.pop();
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
    /// From the document to the item, which is last.
    path: &'d [&'d Json],
    /// From 1; 0 when the document is the record.
    number: usize,
    topic: Option<&'d str>,
    grammar: &'d JsonGrammar,
    profile: &'d FirmwareProfile,
}

impl<'d> Document<'d> {
    fn at(&self, relative: bool, pointer: &str) -> Option<&'d Json> {
        if relative { self.path.last()?.pointer(pointer) } else { self.root.pointer(pointer) }
    }

    /// What the item calls itself.
    fn own_code(&self) -> Option<Cow<'_, str>> {
        self.grammar.code.as_ref().and_then(|at| self.text(at))
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
            Locator::Outer { up, pointer } => {
                let outer = self.path.len().checked_sub(1)?.checked_sub(*up)?;
                self.path.get(outer)?.pointer(pointer).and_then(scalar)
            }
            Locator::Coded(code) => {
                self.own_code().filter(|own| own.trim() == &**code)?;
                let value = self.grammar.value.as_ref().filter(|at| !matches!(at, Locator::Coded(_)))?;
                self.text(value)
            }
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
            Locator::Coded(code) if self.number > 0 => format!("item {} {code}", self.number),
            other => other.own_code(),
        }
    }

    fn whole(&self) -> Cow<'_, str> {
        Cow::Owned(self.path.last().map(ToString::to_string).unwrap_or_default())
    }

    fn beyond(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        if let (Some(code), Some(at)) = (self.own_code(), &self.grammar.value)
            && !self.profile.plan.claimed.contains(&format!("code:{}", code.trim()))
            && !matches!(at, Locator::Coded(_))
            && let Some(text) = self.text(at)
        {
            found.push((code.trim().to_owned(), text.into_owned()));
        }
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

#[cfg(test)]
mod tests {
    use crate::firmware_profile::{Decoded, FirmwareProfile, LinkContext};

    fn decoded(record: &str, metrics: &str, document: &str) -> Decoded {
        let page = format!(
            "[device]\nmanufacturer = \"X\"\nmodel = \"Y\"\nverified = \"simulator\"\n[link]\ncodec = \"message\"\n\
             [record]\ngrammar = \"json\"\n{record}\n{metrics}"
        );
        let profile = FirmwareProfile::parse("x/y", &page).unwrap_or_else(|faults| panic!("{}", faults[0]));
        profile.decode(document.as_bytes(), None, &LinkContext::golden())
    }

    fn said(decoded: &Decoded) -> Vec<String> {
        let measurements = decoded.reports.iter().flat_map(|report| {
            let who = report.person.as_ref().and_then(|p| p.identifiers.first()).map(|i| i.value.to_string());
            report.measurements.iter().map(move |m| (who.clone().unwrap_or_default(), m))
        });
        let value = |value| serde_json::to_value(value).unwrap();
        measurements.map(|(who, m)| format!("{who} {} {}", m.metric.label, value(&m.value))).collect()
    }

    #[test]
    fn items_in_items_know_what_holds_them() {
        let record = "items = \"/beds/*/results\"\n[subject]\nid = \"../../mrn\"\n[[metric]]\nmatch = \"./hr\"\nlabel = \"HR\"";
        let document =
            r#"{"beds":[{"mrn":"A1","results":[{"hr":70},{"hr":71}]},{"mrn":"B2","results":[{"hr":80}]}]}"#;
        let said = said(&decoded(record, "", document));
        let heads: Vec<String> = said.iter().map(|s| s.chars().take(5).collect()).collect();
        assert_eq!(heads, ["A1 HR", "A1 HR", "B2 HR"], "{said:?}");
    }

    #[test]
    fn several_lists_are_read_when_the_page_says_all() {
        let metric = "[[metric]]\nmatch = \"./v\"\nlabel = \"V\"";
        let document = r#"{"a":[{"v":1}],"b":[{"v":2}]}"#;
        assert_eq!(said(&decoded("items = [\"/a\", \"/b\"]", metric, document)).len(), 1);
        assert_eq!(said(&decoded("items = [\"/a\", \"/b\"]\nall_items = true", metric, document)).len(), 2);
    }

    #[test]
    fn a_document_may_be_ignored_for_what_it_lacks() {
        let record = "[[record.ignore]]\nat = \"/model\"\nabsent = true\nreason = \"no model\"";
        let metric = "[[metric]]\nmatch = \"./v\"\nlabel = \"V\"";
        assert_eq!(decoded(record, metric, r#"{"v":1}"#).ignored.as_deref(), Some("no model"));
        assert_eq!(said(&decoded(record, metric, r#"{"v":1,"model":"M"}"#)).len(), 1);
    }

    #[test]
    fn an_item_may_name_itself_by_a_code() {
        let record = "items = \"/r\"\ncode = \"./type\"\nvalue = \"./value\"";
        let metric = "[[metric]]\nmatch = \"code:PULS\"\nlabel = \"Pulse\"";
        let document = r#"{"r":[{"type":"PULS","value":64},{"type":"ODD","value":"x"}]}"#;
        let decoded = decoded(record, metric, document);
        let said = said(&decoded);
        assert!(said[0].contains("Pulse") && said[1].contains("ODD"), "{said:?}");
        assert_eq!(decoded.findings.iter().filter(|f| f.code == "unknown-code").count(), 1);
    }

    #[test]
    fn a_condition_chooses_between_metrics_and_what_none_takes_is_told() {
        let metrics = "[[metric]]\nmatch = \"./t\"\nlabel = \"Ear\"\nwhen = \"mode == 'ear' && value > 30\"\n\
                       [[metric]]\nmatch = \"./t\"\nlabel = \"Skin\"\nwhen = \"mode == 'skin'\"";
        let ear = decoded("", metrics, r#"{"t":36.5,"mode":"ear"}"#);
        assert!(said(&ear)[0].contains("Ear"));
        let wall = decoded("", metrics, r#"{"t":21,"mode":"wall"}"#);
        assert_eq!(wall.findings[0].code, "no-condition");
        assert!(wall.held.is_some());
        let unclear = decoded("", metrics, r#"{"t":"warm","mode":"ear"}"#);
        assert_eq!(unclear.findings[0].code, "condition-unclear");
    }

    #[test]
    fn digits_a_device_does_not_have_are_taken_off_and_noted() {
        let metric = "[[metric]]\nmatch = \"./t\"\nlabel = \"T\"\ndecimals = 2";
        let noisy = decoded("", metric, r#"{"t":36.43000031}"#);
        let measurement = &noisy.reports[0].measurements[0];
        assert!(said(&noisy)[0].contains("36.43}"), "{:?}", said(&noisy));
        assert_eq!(measurement.note.as_deref(), Some("The device wrote: 36.43000031"));
        let plain = decoded("", metric, r#"{"t":36.4}"#);
        assert_eq!(plain.reports[0].measurements[0].note, None);
    }
}
