//! Where entries go: to a FHIR server, or into a folder.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::fhir::Resource;
use crate::upstream::ndjson::{Carried, Folder};
use crate::upstream::{Upstream, Verdict};

/// One of them.
#[derive(Clone)]
pub(in crate::gateway) enum Sink {
    Fhir(Arc<Upstream>),
    Folder(Arc<Folder>, Arc<AtomicU64>),
}

impl Sink {
    /// One verdict for each entry. `ids`: the entries, and whether they were on their way before.
    pub(super) async fn deliver(
        &self,
        ids: Vec<(i64, bool)>,
        lists: Arc<Vec<Vec<Resource>>>,
    ) -> Vec<Verdict> {
        let (folder, count) = match self {
            Self::Fhir(upstream) => return upstream.deliver(&lists).await,
            Self::Folder(folder, count) => (Arc::clone(folder), Arc::clone(count)),
        };
        let entries = ids.len();
        let write = move || {
            let carried: Vec<Carried<'_>> = ids
                .iter()
                .zip(lists.iter())
                .map(|((id, tried), resources)| Carried { id: *id, tried: *tried, resources })
                .collect();
            let bytes: usize = lists.iter().flatten().map(|one| one.json.get().len() + 1).sum();
            let verdicts = folder.deliver(&carried);
            if verdicts.iter().any(|verdict| matches!(verdict, Verdict::Accepted { .. })) {
                count.fetch_add(bytes as u64, Ordering::Relaxed);
            }
            verdicts
        };
        tokio::task::spawn_blocking(write).await.unwrap_or_else(|fault| {
            let reason = format!("the files could not be written: {fault}");
            vec![Verdict::Retry { after: None, reason }; entries]
        })
    }

    /// Bytes sent since the start, as they crossed the line.
    pub(in crate::gateway) fn bytes_sent(&self) -> u64 {
        match self {
            Self::Fhir(upstream) => upstream.bytes_sent(),
            Self::Folder(_, count) => count.load(Ordering::Relaxed),
        }
    }

    /// The word in the API.
    pub(in crate::gateway) const fn word(&self) -> &'static str {
        match self {
            Self::Fhir(_) => "fhir",
            Self::Folder(..) => "ndjson",
        }
    }

    /// Where it is.
    pub(in crate::gateway) fn address(&self) -> String {
        match self {
            Self::Fhir(upstream) => upstream.state().base,
            Self::Folder(folder, _) => folder.path().display().to_string(),
        }
    }
}
