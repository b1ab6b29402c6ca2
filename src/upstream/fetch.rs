//! Reading what the server wants of this box: a search, page by page.
//!
//! A page names the next one by address (FHIR R4 §3.1.1.4.2). It is followed only under the server's own base: the
//! token goes nowhere else.

use reqwest::{Method, Url};
use serde_json::Value;

use super::http::{Answer, Body};
use super::{Upstream, answer};
use crate::fhir;

/// A search that goes on for longer is cut; what is left comes with the next one.
const PAGES_MAX: usize = 50;

/// What a search found.
#[derive(Debug, Default)]
pub struct Found {
    /// Matches and what they include, in the order of the server.
    pub resources: Vec<Value>,
    /// There were more pages than are read in one go.
    pub cut: bool,
}

impl Upstream {
    /// All pages of `query`, such as `ServiceRequest?status=active`.
    ///
    /// # Errors
    /// In words for a person: the server could not be reached, does not let this box in, or answers something else.
    pub async fn search_pages(&self, query: &str) -> Result<Found, String> {
        let (kind, parameters) = query.split_once('?').unwrap_or((query, ""));
        let mut url = self.url(kind);
        url.set_query(Some(parameters).filter(|text| !text.is_empty()));
        let mut found = Found::default();
        for _ in 0..PAGES_MAX {
            let answer =
                self.ask(Method::GET, url.clone(), || Body::None).await.map_err(|setback| setback.words)?;
            if answer.status != 200 {
                return Err(refused(&answer));
            }
            let bundle: Value = serde_json::from_slice(&answer.body)
                .map_err(|_| String::from("the server's answer to a search is no FHIR Bundle"))?;
            if bundle.get("resourceType").and_then(Value::as_str) != Some("Bundle") {
                return Err("the server's answer to a search is no FHIR Bundle".into());
            }
            let entries = bundle.get("entry").and_then(Value::as_array).into_iter().flatten();
            found.resources.extend(entries.filter_map(|entry| entry.get("resource").cloned()));
            match self.next(&bundle)? {
                Some(next) if next != url => url = next,
                _ => return Ok(found),
            }
        }
        found.cut = true;
        Ok(found)
    }

    /// The address of the next page, under our own base.
    fn next(&self, bundle: &Value) -> Result<Option<Url>, String> {
        let links = bundle.get("link").and_then(Value::as_array).into_iter().flatten();
        let next = links
            .filter(|link| link.get("relation").and_then(Value::as_str) == Some("next"))
            .find_map(|link| link.get("url").and_then(Value::as_str));
        let Some(next) = next else { return Ok(None) };
        let base = self.url("");
        let url = Url::options().base_url(Some(&self.url("ServiceRequest"))).parse(next);
        let url =
            url.map_err(|_| String::from("the server names its next page by something that is no address"))?;
        let ours = url.origin() == base.origin() && url.path().starts_with(base.path());
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

fn refused(answer: &Answer) -> String {
    let outcome = match fhir::Answer::read(&answer.body) {
        Ok(fhir::Answer::Outcome(outcome)) => Some(outcome),
        _ => None,
    };
    let words = answer::words(answer, outcome.as_ref());
    match answer.status {
        401 | 403 => format!(
            "the server does not let this box search ({words}); ask its people for system/ServiceRequest.rs, \
             system/Patient.rs and system/Specimen.rs"
        ),
        _ => format!("the server did not answer the search ({words})"),
    }
}
