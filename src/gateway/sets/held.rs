//! What is held, by reason: each group with what takes the cause away.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::{PAGE, Sets, failed};
use crate::admin::command::Refusal;
use crate::admin::sets::{HeldGroup, HeldView, LinkShare, Step};
use crate::buffer::{EntryFilter, EntryRow, Reader, State, reason_key};
use crate::config::HL7_SYSTEM;

/// Held entries looked at, the newest first.
const LOOKED_AT: u64 = 20_000;
/// Groups told; more reasons than these are not read by anybody.
const GROUPS_MAX: usize = 100;
const NEWEST: usize = 5;
const DEVICES: usize = 20;
/// Doubts read at once.
const DOUBTS: u32 = 5_000;

/// A group while it is gathered.
struct Gathered {
    group: HeldGroup,
    links: BTreeMap<String, u64>,
    devices: BTreeSet<String>,
}

impl Sets {
    pub(super) async fn held_now(&self) -> Result<HeldView, Refusal> {
        let reader = self.buffer.reader();
        let doubtful = doubtful(&reader).await?;
        let mut filter = EntryFilter { state: Some(State::Held), limit: PAGE, ..EntryFilter::default() };
        let mut groups: BTreeMap<String, Gathered> = BTreeMap::new();
        let mut looked_at = 0;
        loop {
            let page = reader.entries(filter.clone()).await.map_err(failed)?;
            looked_at += page.entries.len() as u64;
            for row in page.entries {
                self.gather(&mut groups, row, &doubtful);
            }
            match page.next {
                Some(next) if looked_at < LOOKED_AT => filter.before = Some(next),
                _ => break,
            }
        }
        let mut groups: Vec<HeldGroup> = groups.into_values().map(|one| self.told(one)).collect();
        groups.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.key.cmp(&b.key)));
        groups.truncate(GROUPS_MAX);
        Ok(HeldView { groups, held: reader.counts().held, looked_at })
    }

    fn gather(&self, groups: &mut BTreeMap<String, Gathered>, row: EntryRow, doubtful: &HashSet<i64>) {
        let reason = row.reason.clone().unwrap_or_default();
        let key = reason_key(&reason);
        let one = groups.entry(key.clone()).or_insert_with(|| Gathered {
            group: HeldGroup {
                step: self.step(&row, &reason, doubtful.contains(&row.id)),
                key,
                reason,
                count: 0,
                first: row.received,
                last: row.received,
                links: Vec::new(),
                devices: Vec::new(),
                newest: Vec::new(),
            },
            links: BTreeMap::new(),
            devices: BTreeSet::new(),
        });
        one.group.count += 1;
        one.group.first = one.group.first.min(row.received);
        one.group.last = one.group.last.max(row.received);
        if one.group.newest.len() < NEWEST {
            one.group.newest.push(row.id);
        }
        *one.links.entry(row.link).or_default() += 1;
        if one.devices.len() < DEVICES {
            one.devices.extend(row.device);
        }
    }

    fn told(&self, gathered: Gathered) -> HeldGroup {
        let link = |(name, count): (String, u64)| {
            let profile = self.understanding.link(&name).map(|link| link.profile_word().to_owned());
            LinkShare { name, profile, count }
        };
        HeldGroup {
            links: gathered.links.into_iter().map(link).collect(),
            devices: gathered.devices.into_iter().collect(),
            ..gathered.group
        }
    }

    fn step(&self, row: &EntryRow, reason: &str, doubtful: bool) -> Step {
        let link = self.understanding.link(&row.link);
        match () {
            () if doubtful => Step::Association,
            () if reason.contains("see Pairing") => Step::Pairing,
            () if link.is_none() => Step::Link,
            () if reason.contains("SHA-256") || reason.contains("bytes changed") => Step::Disk,
            () if row.attempts > 0 => Step::Server,
            () if link.is_some_and(|link| link.profile_word() == HL7_SYSTEM) => Step::Template,
            () => Step::Profile,
        }
    }
}

/// Entries that are held because nobody can say whose they are.
async fn doubtful(reader: &Reader) -> Result<HashSet<i64>, Refusal> {
    let (mut all, mut after) = (HashSet::new(), 0);
    loop {
        let some = reader.doubts(after, DOUBTS).await.map_err(failed)?;
        let Some(last) = some.last() else { return Ok(all) };
        after = last.entry;
        all.extend(some.iter().map(|doubt| doubt.entry));
        if all.len() as u64 >= LOOKED_AT {
            return Ok(all);
        }
    }
}
