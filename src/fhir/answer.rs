//! What servers answer: transaction responses, search results, OperationOutcomes, and text that is no FHIR at all.
//!
//! Servers differ in everything that can differ (`"201"` or `"201 Created"`, location relative, absolute or missing,
//! the outcome in the response or in the resource), so reading never fails on a part: what is missing or of another
//! shape is `None`, and only what is no FHIR answer at all is an error. Parsing allocates for what is kept, not for
//! the resources that servers send back unasked.

use std::fmt;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// The largest answer that is read: 5,000 entries of 2 kB come back as 10 MB.
pub const BODY_BYTES_MAX: usize = 32 << 20;
/// More entries than any bundle we send.
const ENTRIES_MAX: usize = 50_000;
/// Issues kept of one OperationOutcome; the first says what is wrong, hundreds repeat it.
const ISSUES_MAX: usize = 20;
/// Characters kept of any one text a server wrote.
const TEXT_CHARS_MAX: usize = 500;

/// A server's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A Bundle: `kind` is its type (`transaction-response`, `searchset` …), `total` what a search found.
    Bundle {
        kind: String,
        total: Option<u64>,
        entries: Vec<EntryAnswer>,
    },
    Outcome(Outcome),
    /// Any other resource, by type and id.
    Resource {
        kind: String,
        id: Option<String>,
    },
}

/// One entry of a Bundle that came back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntryAnswer {
    /// The HTTP status of this entry; `None` when the server said none.
    pub status: Option<u16>,
    /// As the server wrote it: relative or absolute, with or without `/_history/n`.
    pub location: Option<String>,
    pub etag: Option<String>,
    pub outcome: Option<Outcome>,
    /// Type and id of the resource that came back, when one did.
    pub resource: Option<(String, Option<String>)>,
}

impl EntryAnswer {
    /// Type and id of the resource on the server: from the location, else from the resource that came back.
    pub fn stored(&self) -> Option<(&str, &str)> {
        self.location.as_deref().and_then(stored_at).or_else(|| {
            let (kind, id) = self.resource.as_ref()?;
            Some((kind.as_str(), id.as_deref()?))
        })
    }
}

/// `Observation/7` out of `https://x/r4/Observation/7/_history/2`.
fn stored_at(location: &str) -> Option<(&str, &str)> {
    let path = location.split_once("/_history/").map_or(location, |(path, _)| path);
    let (before, id) = path.trim_end_matches('/').rsplit_once('/')?;
    let kind = before.rsplit('/').next()?;
    (!id.is_empty() && kind.starts_with(|c: char| c.is_ascii_uppercase())).then_some((kind, id))
}

/// An OperationOutcome. Its text is for the desk and for a held entry: a server may repeat patient data in it, so it is
/// never logged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub issues: Vec<Issue>,
}

/// One issue of an OperationOutcome.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Issue {
    /// `fatal`, `error`, `warning`, `information`; empty when the server said none.
    pub severity: String,
    /// R4 `issue-type`: `invalid`, `transient`, `too-costly` …
    pub code: String,
    /// The server's words: details, then diagnostics.
    pub text: String,
    /// FHIRPath of what is wrong.
    pub place: Option<String>,
}

impl Outcome {
    /// The first issue that is an error: what refused the request.
    pub fn error(&self) -> Option<&Issue> {
        self.issues.iter().find(|issue| matches!(issue.severity.as_str(), "fatal" | "error"))
    }

    /// Whether every error is one that may pass by itself (R4 issue-type, the children of `transient`).
    pub fn is_transient(&self) -> bool {
        let passing = |issue: &Issue| {
            matches!(
                issue.code.as_str(),
                "transient"
                    | "lock-error"
                    | "no-store"
                    | "exception"
                    | "timeout"
                    | "incomplete"
                    | "throttled"
            )
        };
        let mut errors =
            self.issues.iter().filter(|i| matches!(i.severity.as_str(), "fatal" | "error")).peekable();
        errors.peek().is_some() && errors.all(passing)
    }
}

impl fmt::Display for Outcome {
    /// The errors, or everything when there is none, in one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let only_errors = self.error().is_some();
        let mut separator = "";
        for issue in &self.issues {
            if only_errors && !matches!(issue.severity.as_str(), "fatal" | "error") {
                continue;
            }
            let text = if issue.text.is_empty() { &issue.code } else { &issue.text };
            write!(f, "{separator}{text}")?;
            if let Some(place) = &issue.place {
                write!(f, " (at {place})")?;
            }
            separator = "; ";
        }
        if separator.is_empty() { f.write_str("the server gave no reason") } else { Ok(()) }
    }
}

/// Why a body is no FHIR answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    #[error("the answer has {0} bytes, more than the {max} that are read", max = BODY_BYTES_MAX)]
    TooLarge(usize),
    #[error("the answer is not JSON: {0:?}")]
    NotJson(String),
    #[error("the answer is JSON but no FHIR resource: {0:?}")]
    NotFhir(String),
    #[error("the answer is empty")]
    Empty,
}

impl Answer {
    /// Reads a body of any content.
    pub fn read(body: &[u8]) -> Result<Self, AnswerError> {
        if body.len() > BODY_BYTES_MAX {
            return Err(AnswerError::TooLarge(body.len()));
        }
        let text = String::from_utf8_lossy(body);
        let text = text.trim_start_matches('\u{feff}').trim();
        if text.is_empty() {
            return Err(AnswerError::Empty);
        }
        let root: Root =
            serde_json::from_str(text).map_err(|_| match serde_json::from_str::<&RawValue>(text) {
                Ok(_) => AnswerError::NotFhir(excerpt(text)),
                Err(_) => AnswerError::NotJson(excerpt(text)),
            })?;
        match as_text(root.resource_type).as_deref() {
            Some("Bundle") => Ok(Self::Bundle {
                kind: as_text(root.kind).unwrap_or_default(),
                total: root.total.and_then(|total| total.get().parse().ok()),
                entries: root.entry.map(entries).unwrap_or_default(),
            }),
            Some("OperationOutcome") => Ok(Self::Outcome(outcome(&tree(root.issue)))),
            Some(kind) if !kind.is_empty() => {
                Ok(Self::Resource { kind: clipped(kind), id: as_text(root.id) })
            }
            _ => Err(AnswerError::NotFhir(excerpt(text))),
        }
    }
}

/// The top of any resource; every element raw, so that one of the wrong shape spoils nothing else.
#[derive(Deserialize)]
struct Root<'a> {
    #[serde(borrow, rename = "resourceType")]
    resource_type: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    total: Option<&'a RawValue>,
    #[serde(borrow)]
    entry: Option<&'a RawValue>,
    #[serde(borrow)]
    issue: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    response: Option<&'a RawValue>,
    #[serde(borrow)]
    resource: Option<&'a RawValue>,
}

fn entries(raw: &RawValue) -> Vec<EntryAnswer> {
    let all: Vec<&RawValue> = serde_json::from_str(raw.get()).unwrap_or_default();
    all.into_iter().take(ENTRIES_MAX).map(entry).collect()
}

fn entry(raw: &RawValue) -> EntryAnswer {
    let Ok(entry) = serde_json::from_str::<Entry>(raw.get()) else { return EntryAnswer::default() };
    let response = tree(entry.response);
    let root = entry.resource.and_then(|resource| serde_json::from_str::<Root>(resource.get()).ok());
    let kind = root.as_ref().and_then(|root| as_text(root.resource_type));
    let is_outcome = kind.as_deref() == Some("OperationOutcome");
    let said = match response.get("outcome") {
        Some(said) if said.is_object() => Some(outcome(said.get("issue").unwrap_or(&Value::Null))),
        // Some servers answer an entry with the outcome in the place of the resource.
        _ if is_outcome => root.as_ref().map(|root| outcome(&tree(root.issue))),
        _ => None,
    };
    EntryAnswer {
        status: response.get("status").and_then(status),
        location: string(response.get("location")),
        etag: string(response.get("etag")),
        outcome: said,
        resource: kind.filter(|_| !is_outcome).map(|kind| (kind, root.and_then(|root| as_text(root.id)))),
    }
}

/// `"201"`, `"201 Created"` or 201: the first three digits.
fn status(value: &Value) -> Option<u16> {
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    text.get(..3)?.parse().ok().filter(|code| (100..600).contains(code))
}

fn outcome(issues: &Value) -> Outcome {
    let list = issues.as_array().map(Vec::as_slice).unwrap_or_default();
    Outcome { issues: list.iter().take(ISSUES_MAX).map(issue).collect() }
}

fn issue(value: &Value) -> Issue {
    let details = string(value.pointer("/details/text"))
        .or_else(|| string(value.pointer("/details/coding/0/display")))
        .or_else(|| string(value.pointer("/details/coding/0/code")));
    let text = match (details, string(value.get("diagnostics"))) {
        (Some(details), Some(more)) if !more.contains(&details) && !details.contains(&more) => {
            format!("{details}: {more}")
        }
        (Some(details), Some(more)) => {
            if more.len() > details.len() {
                more
            } else {
                details
            }
        }
        (details, more) => details.or(more).unwrap_or_default(),
    };
    Issue {
        severity: string(value.get("severity")).unwrap_or_default(),
        code: string(value.get("code")).unwrap_or_default(),
        text: clipped(&text),
        place: string(value.pointer("/expression/0")).or_else(|| string(value.pointer("/location/0"))),
    }
}

fn tree(raw: Option<&RawValue>) -> Value {
    raw.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
}

fn as_text(raw: Option<&RawValue>) -> Option<String> {
    string(Some(&tree(raw.filter(|raw| raw.get().starts_with('"')))))
}

fn string(value: Option<&Value>) -> Option<String> {
    value.and_then(Value::as_str).filter(|text| !text.trim().is_empty()).map(clipped)
}

fn clipped(text: &str) -> String {
    let text = text.trim();
    match text.char_indices().nth(TEXT_CHARS_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// The first words of a body that is no FHIR: an HTML error page without its tags, a line of plain text.
fn excerpt(text: &str) -> String {
    let mut words = String::new();
    let mut in_tag = false;
    for c in text.chars().take(4 * TEXT_CHARS_MAX) {
        match c {
            '<' => in_tag = true,
            '>' if in_tag => in_tag = false,
            _ if in_tag => continue,
            c if c.is_whitespace() || c.is_control() => {}
            c => {
                words.push(c);
                continue;
            }
        }
        if !words.is_empty() && !words.ends_with(' ') {
            words.push(' ');
        }
    }
    let end = words.char_indices().nth(120).map_or(words.len(), |(end, _)| end);
    words.get(..end).unwrap_or_default().trim().to_owned()
}

/// Reads any bytes as an answer; panics only on a bug.
pub fn fuzz(bytes: &[u8]) {
    match Answer::read(bytes) {
        Ok(Answer::Bundle { entries, .. }) => {
            for entry in &entries {
                assert!(entry.status.is_none_or(|status| (100..600).contains(&status)));
                if let Some((kind, id)) = entry.stored() {
                    assert!(!kind.is_empty() && !id.is_empty());
                }
            }
        }
        Ok(Answer::Outcome(outcome)) => assert!(!outcome.to_string().is_empty()),
        Ok(Answer::Resource { kind, .. }) => assert!(!kind.is_empty()),
        Err(error) => assert!(error.to_string().len() < 1000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: Value) -> Answer {
        Answer::read(value.to_string().as_bytes()).unwrap()
    }

    fn one_entry(entry: Value) -> EntryAnswer {
        let Answer::Bundle { mut entries, .. } =
            read(json!({"resourceType": "Bundle", "type": "transaction-response", "entry": [entry]}))
        else {
            panic!("not a bundle")
        };
        entries.remove(0)
    }

    #[test]
    fn a_status_is_its_first_three_digits_however_it_is_written() {
        for (status, expected) in [
            (json!("201"), Some(201)),
            (json!("201 Created"), Some(201)),
            (json!(" 412 Precondition Failed"), Some(412)),
            (json!(200), Some(200)),
            (json!("Created"), None),
            (json!("20"), None),
            (json!("999"), None),
            (json!(null), None),
            (json!({"code": 201}), None),
        ] {
            assert_eq!(one_entry(json!({"response": {"status": status}})).status, expected, "{status}");
        }
    }

    #[test]
    fn the_stored_id_is_read_from_any_shape_of_location() {
        for location in [
            "Observation/7",
            "Observation/7/_history/1",
            "https://x/r4/Observation/7/_history/2",
            "/r4/Observation/7/",
        ] {
            let entry = one_entry(json!({"response": {"status": "201", "location": location}}));
            assert_eq!(entry.stored(), Some(("Observation", "7")), "{location}");
        }
        let matched = one_entry(
            json!({"response": {"status": "200"}, "resource": {"resourceType": "Device", "id": "9"}}),
        );
        assert_eq!(matched.stored(), Some(("Device", "9")));
        assert_eq!(one_entry(json!({"response": {"location": "nonsense"}})).stored(), None);
    }

    #[test]
    fn a_part_of_another_shape_spoils_only_itself() {
        let answer = read(json!({
            "resourceType": "Bundle", "type": 7, "total": "many",
            "entry": [17, null, {"response": "ok"}, {"response": {"status": "204", "outcome": "fine"}, "resource": []}]
        }));
        let Answer::Bundle { kind, total, entries } = answer else { panic!("not a bundle") };
        assert_eq!((kind.as_str(), total, entries.len()), ("", None, 4));
        assert_eq!(entries[3].status, Some(204));
        assert!(entries[..3].iter().all(|entry| *entry == EntryAnswer::default()));
    }

    #[test]
    fn an_outcome_says_its_errors_with_their_place() {
        let issues = json!([
            {"severity": "warning", "code": "informational", "diagnostics": "no narrative"},
            {"severity": "error", "code": "required", "details": {"text": "Missing required property"},
             "diagnostics": "status", "expression": ["Observation.status"]}
        ]);
        let Answer::Outcome(outcome) =
            read(json!({"resourceType": "OperationOutcome", "issue": issues.clone()}))
        else {
            panic!("not an outcome")
        };
        assert_eq!(outcome.to_string(), "Missing required property: status (at Observation.status)");
        assert!(!outcome.is_transient());
        let inside = one_entry(
            json!({"response": {"status": "422", "outcome": {"resourceType": "OperationOutcome", "issue": issues.clone()}}}),
        );
        assert_eq!(inside.outcome.as_ref(), Some(&outcome));
        let instead = one_entry(json!({"resource": {"resourceType": "OperationOutcome", "issue": issues}}));
        assert_eq!((instead.outcome, instead.resource), (Some(outcome), None));
    }

    #[test]
    fn only_errors_that_may_pass_make_an_outcome_transient() {
        let of = |codes: &[&str]| Outcome {
            issues: codes
                .iter()
                .map(|code| Issue { severity: "error".into(), code: (*code).into(), ..Issue::default() })
                .collect(),
        };
        assert!(of(&["throttled", "timeout"]).is_transient());
        assert!(!of(&["timeout", "invalid"]).is_transient());
        assert!(!of(&[]).is_transient());
        assert_eq!(of(&[]).to_string(), "the server gave no reason");
    }

    #[test]
    fn text_that_is_no_json_is_shown_without_its_tags() {
        let page =
            b"<html>\n<head><title>413 Request Entity Too Large</title></head><body>nginx</body></html>";
        let error = Answer::read(page).unwrap_err();
        assert_eq!(error, AnswerError::NotJson("413 Request Entity Too Large nginx".into()));
        assert_eq!(Answer::read(b"Unauthorized").unwrap_err(), AnswerError::NotJson("Unauthorized".into()));
        assert_eq!(Answer::read(b" \n").unwrap_err(), AnswerError::Empty);
        assert!(matches!(Answer::read(b"[1,2]").unwrap_err(), AnswerError::NotFhir(_)));
        assert!(matches!(
            Answer::read(br#"{"error":"invalid_client"}"#).unwrap_err(),
            AnswerError::NotFhir(_)
        ));
        assert!(matches!(
            Answer::read(&vec![b' '; BODY_BYTES_MAX + 1]).unwrap_err(),
            AnswerError::TooLarge(_)
        ));
        assert!(matches!(Answer::read("[".repeat(100_000).as_bytes()).unwrap_err(), AnswerError::NotJson(_)));
    }

    #[test]
    fn a_servers_flood_of_words_is_clipped() {
        let issues: Vec<Value> =
            (0..500).map(|_| json!({"severity": "error", "diagnostics": "é".repeat(9000)})).collect();
        let Answer::Outcome(outcome) = read(json!({"resourceType": "OperationOutcome", "issue": issues}))
        else {
            panic!("not an outcome")
        };
        assert_eq!(outcome.issues.len(), ISSUES_MAX);
        assert_eq!(outcome.issues[0].text.chars().count(), TEXT_CHARS_MAX + 1);
    }

    #[test]
    fn any_mutation_of_a_response_is_read_without_panic() {
        let seed = json!({"resourceType": "Bundle", "type": "transaction-response", "total": 1, "entry": [
            {"response": {"status": "201 Created", "location": "Observation/7/_history/1", "etag": "W/\"1\"",
             "outcome": {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "x"}]}}}]})
        .to_string()
        .into_bytes();
        for at in 0..seed.len() {
            for byte in [0, b'"', b'{', b']', 0xff] {
                let mut bytes = seed.clone();
                bytes[at] = byte;
                fuzz(&bytes);
                fuzz(&bytes[..at]);
            }
        }
    }
}
