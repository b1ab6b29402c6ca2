//! What an answer to a transaction means.
//!
//! | answer to the Bundle | several entries in it | one entry left |
//! |---|---|---|
//! | 2xx with a Bundle | each entry by its own status | the same |
//! | 2xx with anything else, or too few entries | looked up on the server; what is not found is retried | the same |
//! | 3xx | retry, nothing is followed | the same |
//! | 400, 422 (also HTML-less text) | halves, so that one entry cannot hold others | held |
//! | 401 | one new token, then retry | the same |
//! | 403; 404, 405, 410, 501 with an OperationOutcome | halves, until two single entries got it | retry; held after three times while others pass |
//! | 404, 405, 410, 501 without one; HTML with 4xx | retry: something in between answered | the same |
//! | 409, 412 | halves, as 403 | retry; held after eight times while others pass |
//! | 413; 4xx or 500 with `too-costly`, "too many", "too large" | halves, and remembered | halves of its resources; one resource: held |
//! | 415 | plain instead of gzip, then retry | the same |
//! | 408, 425, 429, 502, 503, 504 | retry, after Retry-After | the same |
//! | 500 | halves, as 403 | retry; held after eight times while others pass |
//! | none (time-out, reset) | retry: the same ids make it harmless; conditional mode looks first | the same |
//!
//! | status of one entry | verdict |
//! |---|---|
//! | 2xx, 304 | accepted |
//! | 409, 423, 424, 500 | retry; held after eight times while others pass |
//! | 401, 408, 425, 429, other 5xx | retry |
//! | 412 in conditional mode | the copy on the server is looked up and updated |
//! | every other 4xx | held with the OperationOutcome's text |

use std::time::Duration;

use super::http::Answer;
use crate::fhir::{self, EntryAnswer, Outcome};

/// Longest text made of an OperationOutcome, in characters.
const LONGEST_TEXT: usize = 600;

/// What the whole answer means.
#[derive(Debug)]
pub(super) enum Whole {
    /// One part per entry of the Bundle, in order; possibly too few.
    Parts(Vec<Part>),
    /// Success by its status, but nothing to tell what became of each entry.
    Unclear(String),
    /// Less at once may pass.
    TooLarge(String),
    /// It may be the fault of one entry.
    Divide { alone: Alone, words: String },
    /// Not now. `refusing`: the server answers, but a person has to change something.
    Later { words: String, after: Option<Duration>, refusing: bool },
}

/// What the same answer means when one entry is left to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alone {
    /// The entry is wrong: hold it.
    Held,
    /// The entry is wrong if others pass, else this client is not let in.
    HeldIfOthersPass,
    /// The entry is to be tried again, but not for ever while others pass.
    Retry,
}

/// What became of one resource of the Bundle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Part {
    /// The first three digits of `response.status`; 0 when there are none.
    pub(super) status: u16,
    /// `Type/id` where the resource is now, when the server said.
    pub(super) at: Option<String>,
    /// The OperationOutcome's text of a part that did not pass.
    pub(super) words: Option<String>,
}

impl Part {
    pub(super) fn passed(&self) -> bool {
        (200..300).contains(&self.status) || self.status == 304
    }

    pub(super) fn retry(&self) -> bool {
        matches!(self.status, 0..=199 | 300..=399 | 401 | 408 | 409 | 423 | 424 | 425 | 429 | 500..)
    }

    /// "HTTP 422: status is missing".
    pub(super) fn text(&self) -> String {
        match &self.words {
            Some(words) if !words.is_empty() => format!("HTTP {}: {words}", self.status),
            _ => format!("HTTP {} without a reason", self.status),
        }
    }
}

/// Reads the answer to a transaction.
pub(super) fn judge(answer: &Answer) -> Whole {
    let read = fhir::Answer::read(&answer.body);
    let outcome = match &read {
        Ok(fhir::Answer::Outcome(outcome)) => Some(outcome),
        _ => None,
    };
    let words = words(answer, outcome);
    let later = |refusing| Whole::Later { words: words.clone(), after: answer.retry_after, refusing };
    let divide = |alone| Whole::Divide { alone, words: words.clone() };
    match answer.status {
        200..=299 => match read {
            // Some servers name the answer as the request was named.
            Ok(fhir::Answer::Bundle { kind, entries, .. })
                if kind.ends_with("-response") || matches!(kind.as_str(), "batch" | "transaction") =>
            {
                Whole::Parts(entries.iter().map(part).collect())
            }
            _ => Whole::Unclear(format!(
                "HTTP {} with an answer that is no transaction response",
                answer.status
            )),
        },
        413 => Whole::TooLarge(words),
        408 | 425 | 429 => later(false),
        400..=500 if outcome.is_some_and(too_much) => Whole::TooLarge(words),
        400 | 422 if !answer.html => divide(Alone::Held),
        409 => divide(Alone::Retry),
        // No precondition is sent that a single entry could fail by for good: copies are looked up first.
        412 if !answer.html => divide(Alone::Retry),
        403 => divide(Alone::HeldIfOthersPass),
        404 | 405 | 410 | 501 if outcome.is_some() => divide(Alone::HeldIfOthersPass),
        500 => divide(Alone::Retry),
        502..=504 => later(false),
        _ => later(true),
    }
}

/// Whether the server found the request too much rather than wrong: the issue type `too-costly`, or words that say so
/// (servers with a ceiling on entries answer 400 `invalid`).
fn too_much(outcome: &Outcome) -> bool {
    const WORDS: [&str; 5] = ["too many", "too large", "than allowed", "too big", "exceeds the maximum"];
    outcome.issues.iter().any(|issue| {
        let text = issue.text.to_ascii_lowercase();
        issue.code == "too-costly" || WORDS.iter().any(|words| text.contains(words))
    })
}

pub(super) fn words(answer: &Answer, outcome: Option<&Outcome>) -> String {
    if let Some(other) = &answer.redirect {
        return format!(
            "HTTP {}: the server sends us on to {other}; write that address as base if it is right",
            answer.status
        );
    }
    let said = outcome.map(text).filter(|text| !text.is_empty());
    let reason = said.unwrap_or_else(|| match answer.status {
        401 => "the server does not accept the access token".into(),
        403 => "the server does not let this client write: ask its people for the scopes".into(),
        404 => "there is no FHIR server at this address: check base".into(),
        413 => "too large".into(),
        429 => "the server asks for a pause".into(),
        _ if answer.html => "a web page instead of FHIR: a proxy in between may have answered".into(),
        _ => plain_text(&answer.body),
    });
    format!("HTTP {}: {reason}", answer.status)
}

/// The text of an OperationOutcome on one line.
fn text(outcome: &Outcome) -> String {
    clean(&outcome.to_string(), LONGEST_TEXT)
}

/// Some servers say why in plain text; anything that looks like markup or JSON is left out.
fn plain_text(body: &[u8]) -> String {
    let text = std::str::from_utf8(body.get(..body.len().min(2_000)).unwrap_or_default()).unwrap_or_default();
    let text = clean(text, 200);
    if text.is_empty() || text.starts_with(['<', '{', '[']) { "no reason given".into() } else { text }
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

fn part(entry: &EntryAnswer) -> Part {
    let mut part = Part {
        status: entry.status.unwrap_or(0),
        at: entry.location.as_deref().and_then(place),
        words: None,
    };
    if !part.passed() {
        part.words = entry.outcome.as_ref().map(text);
    }
    part
}

/// `Type/id` of a location: relative or absolute, with or without `/_history/n`.
pub(super) fn place(location: &str) -> Option<String> {
    let path = location.split(['?', '#']).next().unwrap_or_default();
    let path = path.split_once("/_history").map_or(path, |(before, _)| before);
    let mut segments = path.trim_end_matches('/').rsplit('/');
    let (id, kind) = (segments.next()?, segments.next()?);
    // FHIR R4 §2.24.0.1 id: [A-Za-z0-9\-.]{1,64}
    let id_fits = (1..=64).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
    let kind_fits = kind.starts_with(|c: char| c.is_ascii_uppercase())
        && kind.bytes().all(|byte| byte.is_ascii_alphabetic());
    (id_fits && kind_fits).then(|| format!("{kind}/{id}"))
}

/// The resources of a searchset that are of `kind`, as `Type/id`; None when it is not a searchset.
pub(super) fn matches(body: &[u8], kind: &str) -> Option<Vec<String>> {
    let Ok(fhir::Answer::Bundle { kind: bundle, entries, .. }) = fhir::Answer::read(body) else {
        return None;
    };
    let of_kind = entries.into_iter().filter_map(|entry| entry.resource).filter(|(of, _)| of == kind);
    (bundle == "searchset").then(|| of_kind.filter_map(|(_, id)| place(&format!("{kind}/{}", id?))).collect())
}

/// Fuzz body: whatever a server sends, reading it ends without a panic and within limits.
pub(super) fn fuzz(bytes: &[u8]) {
    for status in [200, 400, 403, 500] {
        let (html, retry_after, date, redirect) = (false, None, None, None);
        let answer = Answer { status, html, retry_after, date, redirect, body: bytes.to_vec() };
        if let Whole::Divide { words, .. } | Whole::TooLarge(words) | Whole::Later { words, .. } =
            judge(&answer)
        {
            assert!(words.chars().count() < 1_000, "a refusal is short enough to show");
        }
    }
    let _places = matches(bytes, "Observation");
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _read = (place(text), super::http::retry_after(text, 0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTCOME: &str = r#"{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"invalid","diagnostics":"status is missing"}]}"#;

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status,
            html: body.starts_with("<html"),
            retry_after: None,
            date: None,
            redirect: None,
            body: body.into(),
        }
    }

    /// One word per meaning, so that the table above can be read as a test.
    fn meaning(status: u16, body: &str) -> &'static str {
        match judge(&answer(status, body)) {
            Whole::Parts(_) => "parts",
            Whole::Unclear(_) => "look",
            Whole::TooLarge(_) => "halves",
            Whole::Divide { alone: Alone::Held, .. } => "divide, held",
            Whole::Divide { alone: Alone::HeldIfOthersPass, .. } => "divide, held if others pass",
            Whole::Divide { alone: Alone::Retry, .. } => "divide, retry",
            Whole::Later { refusing: true, .. } => "refusing",
            Whole::Later { refusing: false, .. } => "retry",
        }
    }

    #[test]
    fn every_row_of_the_table_holds() {
        let html = "<html>proxy</html>";
        let costly =
            r#"{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"too-costly"}]}"#;
        let bundle = r#"{"resourceType":"Bundle","type":"transaction-response","entry":[]}"#;
        let rows = [
            (200, bundle, "parts"),
            (201, bundle, "parts"),
            (200, html, "look"),
            (200, "{\"resourceType\":\"Bundle\",\"type\":\"trans", "look"),
            (200, OUTCOME, "look"),
            (302, "", "refusing"),
            (400, OUTCOME, "divide, held"),
            (400, "bad", "divide, held"),
            (400, html, "refusing"),
            (400, costly, "halves"),
            (401, "unauthorized", "refusing"),
            (403, OUTCOME, "divide, held if others pass"),
            (403, "", "divide, held if others pass"),
            (404, OUTCOME, "divide, held if others pass"),
            (404, html, "refusing"),
            (405, "", "refusing"),
            (408, "", "retry"),
            (409, OUTCOME, "divide, retry"),
            (410, OUTCOME, "divide, held if others pass"),
            (412, OUTCOME, "divide, retry"),
            (413, html, "halves"),
            (413, OUTCOME, "halves"),
            (415, "", "refusing"),
            (422, OUTCOME, "divide, held"),
            (422, costly, "halves"),
            (500, costly, "halves"),
            (429, html, "retry"),
            (500, OUTCOME, "divide, retry"),
            (500, "", "divide, retry"),
            (502, html, "retry"),
            (503, "", "retry"),
            (504, "", "retry"),
        ];
        for (status, body, expected) in rows {
            assert_eq!(meaning(status, body), expected, "{status} {body}");
        }
    }

    #[test]
    fn each_part_has_its_own_fate() {
        let part = |status| Part { status, ..Part::default() };
        for status in [200, 201, 204, 304] {
            assert!(part(status).passed(), "{status}");
        }
        for status in [0, 302, 401, 408, 409, 424, 425, 429, 500, 503] {
            assert!(!part(status).passed() && part(status).retry(), "{status}");
        }
        for status in [400, 403, 404, 405, 410, 412, 413, 422] {
            assert!(!part(status).passed() && !part(status).retry(), "{status}");
        }
    }

    #[test]
    fn statuses_and_locations_are_read_in_every_spelling() {
        let body = r#"{"resourceType":"Bundle","type":"batch-response","entry":[
            {"response":{"status":"201","location":"Observation/a/_history/1"}},
            {"response":{"status":"201 Created","location":"https://h/fhir/Observation/b"}},
            {"response":{"status":200}},
            {"response":{"status":"422 Unprocessable","outcome":OUT}},
            {"response":{"status":"400"},"resource":OUT},
            {"response":{}},
            {}]}"#
            .replace("OUT", OUTCOME);
        let Whole::Parts(parts) = judge(&answer(200, &body)) else { panic!() };
        let seen: Vec<_> =
            parts.iter().map(|part| (part.status, part.at.as_deref(), part.words.as_deref())).collect();
        let words = Some("status is missing");
        let expected = [
            (201, Some("Observation/a"), None),
            (201, Some("Observation/b"), None),
            (200, None, None),
            (422, None, words),
            (400, None, words),
            (0, None, None),
            (0, None, None),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_location_that_is_not_a_place_is_not_used() {
        for location in ["", "Observation", "/", "Observation/../x?", "observation/a", "Observation/a b"] {
            assert_eq!(place(location), None, "{location}");
        }
    }

    #[test]
    fn a_long_outcome_is_cut_and_control_characters_are_gone() {
        let issue = format!(r#"{{"severity":"error","diagnostics":"{}"}}"#, "x\\u0000\\n".repeat(900));
        let body = format!(r#"{{"resourceType":"OperationOutcome","issue":[{issue},{issue},{issue}]}}"#);
        let Whole::Divide { words, .. } = judge(&answer(422, &body)) else { panic!() };
        assert!(words.chars().count() <= LONGEST_TEXT + 20 && words.ends_with('…'), "{words}");
        assert!(!words.chars().any(char::is_control));
    }

    #[test]
    fn only_matches_of_the_right_kind_count() {
        let body = r#"{"resourceType":"Bundle","type":"searchset","total":2,"entry":[
            {"resource":{"resourceType":"Patient","id":"1"}},{"resource":{"resourceType":"OperationOutcome","id":"2"}},
            {"resource":{"resourceType":"Patient","id":"3"}}]}"#;
        assert_eq!(matches(body.as_bytes(), "Patient").unwrap(), ["Patient/1", "Patient/3"]);
        assert!(matches(b"<html>", "Patient").is_none());
    }

    #[test]
    fn a_refusal_says_what_a_person_can_do() {
        let Whole::Later { words, .. } = judge(&answer(401, "nope")) else { panic!() };
        assert!(words.contains("access token"), "{words}");
        let mut moved = answer(307, "");
        moved.redirect = Some("https://other.example".into());
        let Whole::Later { words, refusing, .. } = judge(&moved) else { panic!() };
        assert!(refusing && words.contains("https://other.example"), "{words}");
    }
}
