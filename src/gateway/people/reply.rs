//! Questions about patients: who may ask, and what they are told.

use super::People;
use crate::buffer::{BufferError, Matching};
use crate::connector::{Frame, Reply};
use crate::gateway::understand::{context, guarded};
use crate::identity::Issuers;
use crate::identity::answer::{self, Found, Patient};
use crate::identity::query::{Criteria, Fault, Query, Question, query};

impl People {
    /// What answers a kept frame, if it asks for patients on a link that may.
    pub(in crate::gateway) async fn reply(&self, frame: &Frame) -> Option<Reply> {
        let link = self.understanding.link(&frame.link).filter(|link| link.answers_patients)?;
        let context = context(&link, frame.received, None);
        let issuers = self.understanding.issuers();
        let query = guarded(|| query(&frame.bytes, context.charset, issuers))??;
        let found = match self.found(&query).await {
            Ok(found) => found,
            Err(fault) => {
                // Not answered: whoever asks is not told that there is nobody.
                tracing::error!(%fault, link = %frame.link, "The patient index could not be read; a query is not answered.");
                return None;
            }
        };
        let zone = &context.zone_name;
        let written = guarded(|| answer::answer(&query, found.as_ref(), issuers, frame.received, zone))?;
        Some(Reply { acknowledgement: Some(written), message: Vec::new(), reference: "".into() })
    }

    async fn found(&self, query: &Query) -> Result<Result<Found, Fault>, BufferError> {
        let criteria = match (&query.criteria, query.question) {
            (Ok(criteria), question) if question != Question::Enough => criteria.clone(),
            (Err(fault), _) => return Ok(Err(fault.clone())),
            _ => return Ok(Ok(Found::default())),
        };
        let limit = query.limit.map_or(self.answers_max, |limit| limit.min(self.answers_max));
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let after = query.after.unwrap_or(0);
        let matching = self.reader.people_matching(criteria.clone(), after, limit).await?;
        Ok(match query.question {
            Question::Numbers => numbers(matching, &criteria, query, self.understanding.issuers()),
            _ => Ok(patients(matching)),
        })
    }
}

fn patients(matching: Matching) -> Found {
    let patients = matching.people.into_iter().map(|(row, stay)| {
        let (place, visit) = stay.map_or((None, None), |stay| (Some(stay.place), stay.visit));
        Patient { id: row.id, person: row.person, place, visit }
    });
    Found { patients: patients.collect(), total: matching.total, left: matching.left }
}

/// The numbers of one person besides the one that was asked with (ITI-9 §3.9.4.2.2.6).
fn numbers(matching: Matching, asked: &Criteria, query: &Query, issuers: &Issuers) -> Result<Found, Fault> {
    let mut found = patients(matching);
    if found.total == 0 {
        return Err(Fault::nobody());
    }
    if found.total > 1 {
        return Err(Fault { text: "several patients have this number".into(), ..Fault::nobody() });
    }
    for patient in &mut found.patients {
        patient.person.identifiers.retain(|one| {
            let one = issuers.canonical(one);
            let same = Some(one.value.to_uppercase()) == asked.number
                && asked.system.as_deref().is_none_or(|system| system == &*one.system);
            let wanted =
                query.domains.is_empty() || query.domains.iter().any(|domain| **domain == *one.system);
            wanted && !same
        });
    }
    found.patients.retain(|patient| !patient.person.identifiers.is_empty());
    found.total = found.patients.len();
    Ok(found)
}
