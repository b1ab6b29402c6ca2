//! What a server says in words: OperationOutcome (FHIR R4) as one short text for a person.

use serde::Deserialize;
use serde_json::value::RawValue;

/// Longest text made of an OperationOutcome, in characters.
const LONGEST_TEXT: usize = 600;
const MOST_ISSUES: usize = 5;

/// An OperationOutcome as far as it is read.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Outcome {
    #[serde(rename = "resourceType", default)]
    kind: String,
    #[serde(default)]
    issue: Vec<Issue>,
}

#[derive(Debug, Default, Deserialize)]
struct Issue {
    #[serde(default)]
    severity: String,
    #[serde(default)]
    code: String,
    #[serde(default)]
    details: Option<Details>,
    #[serde(default)]
    diagnostics: Option<String>,
    #[serde(default)]
    expression: Vec<String>,
    #[serde(default)]
    location: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Details {
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    coding: Vec<Coding>,
}

#[derive(Debug, Default, Deserialize)]
struct Coding {
    #[serde(default)]
    code: String,
    #[serde(default)]
    display: Option<String>,
}

impl Outcome {
    /// Reads an OperationOutcome; None for anything else, whatever it is.
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok().filter(|outcome: &Self| outcome.kind == "OperationOutcome")
    }

    /// The same from a part of an answer that was kept as text.
    pub(super) fn parse_raw(raw: &RawValue) -> Option<Self> {
        Self::parse(raw.get().as_bytes())
    }

    /// The issues that explain a refusal: errors first; at most [`LONGEST_TEXT`] characters.
    pub(super) fn text(&self) -> String {
        let grave = |issue: &&Issue| matches!(issue.severity.as_str(), "error" | "fatal");
        let errors: Vec<&Issue> = self.issue.iter().filter(grave).collect();
        let chosen: Vec<&Issue> = if errors.is_empty() { self.issue.iter().collect() } else { errors };
        let texts: Vec<String> = chosen.iter().take(MOST_ISSUES).map(|issue| issue.text()).collect();
        let more = chosen.len().saturating_sub(MOST_ISSUES);
        let text = texts.join("; ");
        clean(&if more > 0 { format!("{text}; and {more} more") } else { text }, LONGEST_TEXT)
    }

    /// Whether the server found the request too much rather than wrong: the issue type `too-costly`, or words that
    /// say so (servers with a ceiling on entries answer 400 `invalid`).
    pub(super) fn too_much(&self) -> bool {
        const WORDS: [&str; 5] = ["too many", "too large", "than allowed", "too big", "exceeds the maximum"];
        self.issue.iter().any(|issue| {
            let text = issue.text().to_ascii_lowercase();
            issue.code == "too-costly" || WORDS.iter().any(|words| text.contains(words))
        })
    }
}

impl Issue {
    fn text(&self) -> String {
        let details = self.details.as_ref();
        let coded = details.and_then(|details| details.coding.first());
        let coded = coded.map(|coding| coding.display.clone().unwrap_or_else(|| coding.code.clone()));
        let said = details.and_then(|details| details.text.clone()).or(coded);
        let mut text = match (said, &self.diagnostics) {
            (Some(said), Some(more)) if !said.contains(more.as_str()) => format!("{said} ({more})"),
            (Some(said), _) => said,
            (None, Some(more)) => more.clone(),
            (None, None) => self.code.clone(),
        };
        if let Some(place) = self.expression.first().or(self.location.first()) {
            text.push_str(&format!(" at {place}"));
        }
        text
    }
}

/// `text` on one line, without control characters, at most `limit` characters long.
pub(super) fn clean(text: &str, limit: usize) -> String {
    let mut line = String::with_capacity(text.len().min(limit * 4));
    let mut length = 0;
    for c in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        if c == ' ' && line.ends_with(' ') {
            continue;
        }
        if length == limit {
            line.push('…');
            break;
        }
        line.push(c);
        length += 1;
    }
    line.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(json: &str) -> String {
        Outcome::parse(json.as_bytes()).unwrap().text()
    }

    #[test]
    fn errors_are_told_before_warnings_and_with_their_place() {
        let json = r#"{"resourceType":"OperationOutcome","issue":[
            {"severity":"warning","code":"informational","diagnostics":"a hint"},
            {"severity":"error","code":"required","details":{"text":"status is missing"},"expression":["Observation.status"]}]}"#;
        assert_eq!(text(json), "status is missing at Observation.status");
    }

    #[test]
    fn an_outcome_that_only_has_a_code_says_the_code() {
        assert_eq!(
            text(r#"{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"invalid"}]}"#),
            "invalid"
        );
    }

    #[test]
    fn a_long_outcome_is_cut_and_control_characters_are_gone() {
        let long = "x\\u0000\\n".repeat(5_000);
        let json = format!(
            r#"{{"resourceType":"OperationOutcome","issue":[{{"severity":"error","diagnostics":"{long}"}}]}}"#
        );
        let text = text(&json);
        assert!(text.chars().count() <= LONGEST_TEXT + 1 && text.ends_with('…'));
        assert!(!text.chars().any(char::is_control));
    }

    #[test]
    fn too_much_is_told_from_wrong() {
        let outcome = |issue: &str| {
            Outcome::parse(format!(r#"{{"resourceType":"OperationOutcome","issue":[{issue}]}}"#).as_bytes())
                .unwrap()
        };
        assert!(outcome(r#"{"code":"too-costly"}"#).too_much());
        assert!(
            outcome(
                r#"{"code":"invalid","details":{"text":"Transaction contains more updates than allowed"}}"#
            )
            .too_much()
        );
        assert!(!outcome(r#"{"code":"invalid","details":{"text":"status is missing"}}"#).too_much());
    }

    #[test]
    fn anything_else_is_not_an_outcome() {
        for body in [
            "",
            "<html></html>",
            "{}",
            "[]",
            r#"{"resourceType":"Patient"}"#,
            r#"{"resourceType":"OperationOutcome","issue":7}"#,
        ] {
            assert!(Outcome::parse(body.as_bytes()).is_none(), "{body}");
        }
    }
}
