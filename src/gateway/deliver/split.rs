//! Live before backlog: a device whose values are young does not wait behind what others have piled up.
//!
//! Only devices with nothing older waiting are let past, so the order of each device stays. The backlog keeps its share of
//! every round, and all of it when nothing is live.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::buffer::{Behind, BufferError, Stored, Wanted};

use super::Deliver;

/// How long it is believed who has a backlog; longer where finding out takes long.
const BELIEVED: Duration = Duration::from_secs(10);
const TIMES_THE_COST: u32 = 20;

/// Who had a backlog when it was last looked.
#[derive(Debug, Default)]
pub(in crate::gateway) struct Split(Mutex<Option<Looked>>);

#[derive(Clone, Debug)]
struct Looked {
    /// Entries after it are live; what is before the first of a device without a backlog need not be looked at again.
    from: i64,
    behind: Behind,
    until: Instant,
}

impl Deliver {
    /// The first of the queue, `backlog`, with live entries put in the place of most of it.
    pub(super) async fn live_first(
        &self,
        backlog: Vec<Stored>,
        count: usize,
        max_bytes: usize,
    ) -> Result<Vec<Stored>, BufferError> {
        let live_for = Duration::from_secs(self.config.live_s);
        let now = self.clock.now();
        if backlog.first().is_none_or(|oldest| now.since(oldest.received) < live_for) {
            return Ok(backlog);
        }
        let looked = self.looked(live_for).await?;
        let reserved = reserved(count, self.config.backlog_share);
        let limit = count.saturating_sub(reserved);
        if limit == 0 {
            return Ok(backlog);
        }
        let wanted = Wanted { after: looked.from, limit, max_bytes, behind: Some(looked.behind) };
        let live = self.queue.waiting(&self.reader, wanted).await?;
        if let Some(looked) = self.split.0.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            looked.from = looked.from.max(live.lead);
        }
        Ok(merged(backlog, live.entries, count))
    }

    async fn looked(&self, live_for: Duration) -> Result<Looked, BufferError> {
        let held = || self.split.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(looked) = held().clone().filter(|looked| Instant::now() < looked.until) {
            return Ok(looked);
        }
        let began = Instant::now();
        let span = i64::try_from(live_for.as_micros()).unwrap_or(i64::MAX);
        let from = self.reader.last_received_before(self.clock.now().micros.saturating_sub(span)).await?;
        let behind = self.queue.behind(&self.reader, from).await?;
        let looked =
            Looked { from, behind, until: Instant::now() + BELIEVED.max(began.elapsed() * TIMES_THE_COST) };
        *held() = Some(looked.clone());
        Ok(looked)
    }
}

/// Places of a round that are the backlog's: at least one.
fn reserved(count: usize, share: u32) -> usize {
    let share = usize::try_from(share.min(100)).unwrap_or(100);
    count.saturating_mul(share).div_ceil(100).clamp(1, count.max(1))
}

/// Both, in the order of arrival; of the backlog as many from its beginning as there is room for.
fn merged(backlog: Vec<Stored>, live: Vec<Stored>, count: usize) -> Vec<Stored> {
    let room = count.saturating_sub(live.len());
    let mut all: BTreeMap<i64, Stored> = live.into_iter().map(|one| (one.id, one)).collect();
    for one in backlog.into_iter().take(room) {
        all.entry(one.id).or_insert(one);
    }
    all.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    fn entries(ids: impl IntoIterator<Item = i64>) -> Vec<Stored> {
        let entry = |id| Stored {
            id,
            link: "ward".into(),
            peer: "".into(),
            received: Timestamp::from_micros(id, true),
            bytes: bytes::Bytes::new(),
            topic: None,
            sha256: [0; 32],
            device: None,
            attempts: 0,
            late: false,
        };
        ids.into_iter().map(entry).collect()
    }

    fn ids(entries: &[Stored]) -> Vec<i64> {
        entries.iter().map(|one| one.id).collect()
    }

    #[test]
    fn the_backlog_keeps_its_share_and_takes_what_the_live_ones_leave() {
        assert_eq!((reserved(64, 25), reserved(3, 25), reserved(1, 25), reserved(10, 100)), (16, 1, 1, 10));
        let backlog = || entries(1..=8);
        assert_eq!(ids(&merged(backlog(), entries(101..=106), 8)), [1, 2, 101, 102, 103, 104, 105, 106]);
        assert_eq!(ids(&merged(backlog(), entries([101]), 8)), [1, 2, 3, 4, 5, 6, 7, 101]);
        assert_eq!(ids(&merged(backlog(), Vec::new(), 8)), [1, 2, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn what_is_in_both_goes_once() {
        assert_eq!(ids(&merged(entries([1, 2, 101]), entries([101, 102]), 5)), [1, 2, 101, 102]);
    }
}
