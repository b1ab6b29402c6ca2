//! What a person let go, or asks to be sent again, goes behind entries of its device that came later. Where one of those
//! said something newer of the same result (a corrected value, the end of an alarm), the older must not stand over it.

use std::collections::HashSet;
use std::sync::Arc;

use super::{Deliver, Sink};
use crate::buffer::{Mark, Transition};
use crate::fhir::Resource;
use crate::gateway::background;
use crate::gateway::deliver::batch::{Ready, has_versions};
use crate::gateway::triage::said;
use crate::gateway::understand::Meaning;

/// Entries read at once, and looked through for one late entry at most.
const AT_ONCE: usize = 256;
const MOST: usize = 50_000;

/// Kind and id.
type Key = (&'static str, String);

fn key(resource: &Resource) -> Key {
    (resource.kind, resource.id.clone())
}

/// What later entries said of results that a late entry says.
enum Later {
    Newer(HashSet<Key>),
    /// There are more than can be looked through.
    TooMany,
}

impl Deliver {
    /// Takes out of late entries what the server has in a newer version. The text says why nobody can know now.
    pub(super) async fn give_way(
        &self,
        batches: &mut [Vec<Ready>],
        marks: &mut Vec<Mark>,
    ) -> Result<(), String> {
        for batch in batches {
            let mut kept = Vec::with_capacity(batch.len());
            for mut ready in batch.drain(..) {
                let to = if ready.late { self.given_way(&mut ready).await? } else { None };
                match to {
                    Some(to) => marks.push(Mark { id: ready.id, to }),
                    None => kept.push(ready),
                }
            }
            *batch = kept;
        }
        Ok(())
    }

    /// What becomes of the entry when it does not go.
    async fn given_way(&self, ready: &mut Ready) -> Result<Option<Transition>, String> {
        let Sink::Fhir(upstream) = &self.sink else { return Ok(None) };
        let versions: Vec<&Resource> = ready.resources.iter().filter(|one| has_versions(one)).collect();
        let there = upstream.may_have(&versions).await?;
        let there: HashSet<Key> =
            versions.iter().zip(there).filter(|(_, there)| *there).map(|(one, _)| key(one)).collect();
        if there.is_empty() {
            return Ok(None);
        }
        let newer = match self.later(ready.id, there).await? {
            Later::Newer(newer) => newer,
            Later::TooMany => {
                let reason = "the server has these results already, and more came after them than can be compared: \
                              look there which version is right, and set it right by hand";
                return Ok(Some(Transition::Held { reason: reason.into(), answer: None }));
            }
        };
        ready.resources.retain(|one| !newer.contains(&key(one)));
        let rest = ready.resources.iter().any(has_versions);
        if newer.is_empty() || rest || !ready.takes_back.is_empty() || ready.then_held.is_some() {
            return Ok(None);
        }
        let reason = "the server has a newer version of every result in it".into();
        Ok(Some(Transition::Ignored { reason }))
    }

    /// Which of these results entries said that came after `id` and went before it.
    async fn later(&self, id: i64, of: HashSet<Key>) -> Result<Later, String> {
        let (mut after, mut seen, mut newer) = (id, 0, HashSet::new());
        loop {
            let page = self.reader.gone_after(self.queue.name(), id, after, AT_ONCE).await;
            let page = page.map_err(|fault| fault.to_string())?;
            let Some(last) = page.last() else { return Ok(Later::Newer(newer)) };
            after = last.id;
            seen += page.len();
            if seen > MOST {
                return Ok(Later::TooMany);
            }
            let (understanding, wanted) = (Arc::clone(&self.understanding), of.clone());
            let found = tokio::task::spawn_blocking(move || {
                let said = page.iter().flat_map(|one| {
                    background::let_senders_pass();
                    match understanding.read(&said(one)).meaning {
                        Meaning::Deliver { resources } => resources,
                        _ => Vec::new(),
                    }
                });
                said.map(|one| key(&one)).filter(|one| wanted.contains(one)).collect::<Vec<_>>()
            });
            newer.extend(found.await.map_err(|fault| fault.to_string())?);
            if newer.len() == of.len() {
                return Ok(Later::Newer(newer));
            }
        }
    }
}
