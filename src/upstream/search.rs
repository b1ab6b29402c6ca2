//! Asking the server what it holds: after an answer that told nothing, and before a patient is written.
//!
//! Searches by identifier are POSTed (FHIR R4 §3.1.1.1): an identifier may be a patient's and must not stand in an
//! address, where logs keep it.

use std::collections::HashSet;

use reqwest::Method;

use super::bundle::{identifier_query, key};
use super::http::Body;
use super::known::lock;
use super::{Setback, Upstream, answer};
use crate::fhir::{self, Resource};

/// Ids asked for in one search.
const IDS_AT_ONCE: usize = 50;

/// The result of looking for a resource by its identifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    One(String),
    /// More than one, the first of them, and how many.
    Several(String, usize),
    /// The server does not let itself be searched.
    Unsearchable,
}

impl Upstream {
    /// Looks for resources with the same identifier.
    pub(super) async fn find(&self, resource: &Resource) -> Result<Found, Setback> {
        let form = format!("{}&_count=3", identifier_query(resource));
        let Some(mut places) = self.search(resource.kind, form).await? else {
            return Ok(Found::Unsearchable);
        };
        // Bedside's own copy does not compete with the one the server's people made.
        if places.len() > 1 {
            places.retain(|place| *place != key(resource));
        }
        let count = places.len();
        Ok(match places.into_iter().next() {
            None => Found::Nothing,
            Some(only) if count == 1 => Found::One(only),
            Some(first) => Found::Several(first, count),
        })
    }

    /// Notes where the server keeps `resource`, if it does. The text says why nobody can know.
    pub(super) async fn locate(&self, resource: &Resource) -> Result<Result<(), String>, Setback> {
        let own = key(resource);
        let patient = resource.kind == "Patient";
        match self.find(resource).await? {
            Found::Several(_, count) if patient => {
                return Ok(Err(format!(
                    "the server holds {count} patients with the same identifier: they have to be merged there before \
                     results can be put on one of them"
                )));
            }
            Found::One(at) if patient && at != own => self.known.theirs(&own, at),
            Found::One(at) | Found::Several(at, _) => self.known.located(&own, Some(at)),
            Found::Unsearchable if patient => self.look_by_id(resource).await?,
            Found::Nothing | Found::Unsearchable => self.known.located(&own, None),
        }
        lock(&self.doubtful).remove(&own);
        Ok(Ok(()))
    }

    /// Notes whether the server holds `resource` under the id Bedside gave it.
    pub(super) async fn look_by_id(&self, resource: &Resource) -> Result<(), Setback> {
        let own = key(resource);
        let there = self.present(&[resource]).await?.contains(&own);
        self.known.located(&own, there.then(|| own.clone()));
        Ok(())
    }

    /// Which of these (all of one kind) the server holds under the id Bedside gave them.
    pub(super) async fn present(&self, resources: &[&Resource]) -> Result<HashSet<String>, Setback> {
        let mut present = HashSet::new();
        for some in resources.chunks(IDS_AT_ONCE) {
            let Some(kind) = some.first().map(|resource| resource.kind) else { continue };
            let ids: Vec<&str> = some.iter().map(|resource| resource.id.as_str()).collect();
            let form = format!("_id={}&_count={IDS_AT_ONCE}&_elements=id", ids.join(","));
            match self.search(kind, form).await? {
                Some(found) => present.extend(found),
                None => present.extend(self.read_each(some).await?),
            }
        }
        Ok(present)
    }

    /// For servers that cannot be searched: the ids are Bedside's own and say nothing about anybody.
    async fn read_each(&self, resources: &[&Resource]) -> Result<Vec<String>, Setback> {
        let mut present = Vec::new();
        for resource in resources {
            let answer = self.ask(Method::GET, self.url(&key(resource)), || Body::None).await?;
            let read = fhir::Answer::read(&answer.body);
            if let (200, Ok(fhir::Answer::Resource { kind, id })) = (answer.status, read)
                && kind == resource.kind
                && id.as_deref() == Some(&resource.id)
            {
                present.push(key(resource));
            }
        }
        Ok(present)
    }

    /// For each of these, whether the server holds it, under whichever id; a server that does not tell may. The text says
    /// why it cannot be asked now.
    pub async fn may_have(&self, resources: &[&Resource]) -> Result<Vec<bool>, String> {
        let told = async {
            let own_ids = self.capability.mode_name() == Some("put");
            let mut told = Vec::with_capacity(resources.len());
            for resource in resources {
                told.push(match self.find(resource).await? {
                    Found::Nothing => false,
                    Found::One(_) | Found::Several(..) => true,
                    Found::Unsearchable => !own_ids || self.may_hold(resource).await?,
                });
            }
            Ok(told)
        };
        told.await.map_err(|setback: Setback| {
            self.failed(&setback);
            setback.words
        })
    }

    /// Of a server that cannot be searched.
    async fn may_hold(&self, resource: &Resource) -> Result<bool, Setback> {
        let answer = self.ask(Method::GET, self.url(&key(resource)), || Body::None).await?;
        Ok(!matches!(answer.status, 404 | 410))
    }

    async fn search(&self, kind: &str, form: String) -> Result<Option<Vec<String>>, Setback> {
        let answer =
            self.ask(Method::POST, self.url(&format!("{kind}/_search")), || Body::Form(form.clone())).await?;
        match answer.status {
            200 => Ok(answer::matches(&answer.body, kind)),
            401 | 408 | 429 | 500 | 502..=504 => Err(Setback {
                words: format!("the server did not answer a search (HTTP {})", answer.status),
                after: answer.retry_after,
                refusing: answer.status == 401,
                in_doubt: false,
            }),
            _ => Ok(None),
        }
    }
}
