//! Reading what the server wants of this box: a search, page by page.
//!
//! A page names the next one by address (FHIR R4 §3.1.1.4.2). It is followed only under the server's own base: the
//! token goes nowhere else.

use std::collections::HashSet;

use reqwest::{Method, Url};
use serde_json::Value;

use super::http::{Answer, Body};
use super::{Upstream, answer};
use crate::fhir;

/// A search with more pages than this never ends: the server gives the same ones again under other addresses.
const PAGES_MAX: usize = 100_000;

/// A search on its way, one page at a time.
pub struct Walk<'u> {
    upstream: &'u Upstream,
    /// What is searched, for messages to people.
    kind: String,
    next: Option<Url>,
    seen: HashSet<String>,
}

impl Upstream {
    /// Begins a search such as `ServiceRequest?status=active`.
    pub fn walk(&self, query: &str) -> Walk<'_> {
        let (kind, parameters) = query.split_once('?').unwrap_or((query, ""));
        let mut url = self.url(kind);
        url.set_query(Some(parameters).filter(|text| !text.is_empty()));
        Walk { upstream: self, kind: kind.to_owned(), next: Some(url), seen: HashSet::new() }
    }

    /// The address of the next page, under our own base.
    fn next(&self, bundle: &Value) -> Result<Option<Url>, String> {
        let links = bundle.get("link").and_then(Value::as_array).into_iter().flatten();
        let next = links
            .filter(|link| link.get("relation").and_then(Value::as_str) == Some("next"))
            .find_map(|link| link.get("url").and_then(Value::as_str));
        let Some(next) = next else { return Ok(None) };
        let base = self.url("");
        let url = Url::options().base_url(Some(&self.url("metadata"))).parse(next);
        let url =
            url.map_err(|_| String::from("the server names its next page by something that is no address"))?;
        let root = base.path().trim_end_matches('/');
        let below =
            url.path().strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let ours = url.origin() == base.origin() && below;
        match ours {
            true => Ok(Some(url)),
            false => Err(format!(
                "the server names its next page at {}, which is not under {}: the token goes nowhere else",
                url.origin().ascii_serialization(),
                base.origin().ascii_serialization()
            )),
        }
    }
}

impl Walk<'_> {
    /// The next page: matches and what they include, in the order of the server. `None` behind the last: only then was
    /// everything read.
    ///
    /// # Errors
    /// In words for a person: the server could not be reached, does not let this box in, or answers something else.
    pub async fn page(&mut self) -> Result<Option<Vec<Value>>, String> {
        let Some(url) = self.next.take() else { return Ok(None) };
        if self.seen.len() >= PAGES_MAX || !self.seen.insert(url.to_string()) {
            return Err("the server's pages of a search lead back to one another".into());
        }
        let answer =
            self.upstream.ask(Method::GET, url, || Body::None).await.map_err(|setback| setback.words)?;
        if answer.status != 200 {
            return Err(refused(&answer, &self.kind));
        }
        let bundle: Value = serde_json::from_slice(&answer.body)
            .map_err(|_| String::from("the server's answer to a search is no FHIR Bundle"))?;
        if bundle.get("resourceType").and_then(Value::as_str) != Some("Bundle") {
            return Err("the server's answer to a search is no FHIR Bundle".into());
        }
        self.next = self.upstream.next(&bundle)?;
        let entries = bundle.get("entry").and_then(Value::as_array).into_iter().flatten();
        Ok(Some(entries.filter_map(|entry| entry.get("resource").cloned()).collect()))
    }
}

fn refused(answer: &Answer, kind: &str) -> String {
    let outcome = match fhir::Answer::read(&answer.body) {
        Ok(fhir::Answer::Outcome(outcome)) => Some(outcome),
        _ => None,
    };
    let words = answer::words(answer, outcome.as_ref());
    match answer.status {
        401 | 403 => format!(
            "the server does not let this box search ({words}); ask its people for system/{kind}.rs and the same for what \
             these resources refer to"
        ),
        _ => format!("the server did not answer the search ({words})"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{Auth, Config};
    use super::*;
    use crate::clock::TestClock;
    use crate::secret::SecretStore;

    #[test]
    fn a_next_page_anywhere_else_is_not_followed() {
        let config = Config { auth: Auth::None, ..Config::new("http://127.0.0.1:8080/fhir") };
        let upstream = Upstream::new(config, &SecretStore::default(), TestClock::at(0)).unwrap();
        let next = |url: &str| upstream.next(&json!({ "link": [{ "relation": "next", "url": url }] }));
        for own in [
            "http://127.0.0.1:8080/fhir?page=2",
            "http://127.0.0.1:8080/fhir/Encounter?page=2",
            "Encounter?page=2",
        ] {
            let url = next(own).unwrap().unwrap();
            assert!(url.as_str().starts_with("http://127.0.0.1:8080/fhir"), "{url}");
        }
        for foreign in [
            "http://169.254.169.254/latest/meta-data",
            "http://127.0.0.1:9090/fhir?page=2",
            "https://127.0.0.1:8080/fhir?page=2",
            "http://localhost:8080/fhir?page=2",
            "http://127.0.0.1:8080@evil.example/fhir",
            "//evil.example/fhir",
            "http://[::ffff:127.0.0.1]:8080/fhir",
            "/fhir/../admin",
            "/fhir%2f..%2fadmin",
            "http://127.0.0.1:8080/fhirevil",
            "file:///etc/passwd",
            "gopher://127.0.0.1:8080/fhir",
        ] {
            assert!(next(foreign).is_err(), "{foreign}");
        }
        assert_eq!(upstream.next(&json!({ "link": [] })), Ok(None));
    }
}
