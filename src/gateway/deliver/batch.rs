//! Entries made ready: which go together, what of them goes, and what became clear of the others meanwhile.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::buffer::{Change, Mark, Stored, Transition};
use crate::fhir::Resource;
use crate::firmware_profile::Arrival;
use crate::gateway::association::{Associations, doubt_of};
use crate::gateway::background;
use crate::gateway::translated::Translated;
use crate::gateway::triage::said;
use crate::gateway::understand::{Meaning, Understanding};
use crate::route::{Only, has_alarm};
use crate::upstream::Verdict;

use super::queue::Queue;

/// What making ready needs beside the frames.
pub(super) struct Kitchen {
    pub(super) understanding: Arc<Understanding>,
    /// What the first look translated, for the main server.
    pub(super) translated: Option<Arc<Translated>>,
    pub(super) associations: Arc<Associations>,
    pub(super) queue: Queue,
    pub(super) only: Arc<Only>,
    /// What holds no alarm stays.
    pub(super) alarms: bool,
}

/// An entry ready to go.
pub(super) struct Ready {
    pub(super) id: i64,
    pub(super) attempts: u32,
    pub(super) resources: Vec<Resource>,
    /// Under whom, where that is written down.
    pub(super) attributed: Option<String>,
    /// What it was delivered under before and is not any more.
    pub(super) takes_back: Vec<String>,
    /// It is held with this reason once the server has taken it back.
    pub(super) then_held: Option<String>,
    /// The server took it before an entry that it has to follow.
    pub(super) overtook: bool,
    /// Entries that came after it may have gone already.
    pub(super) late: bool,
}

impl Ready {
    const fn first(one: &Stored, resources: Vec<Resource>, attributed: Option<String>) -> Self {
        Self {
            id: one.id,
            attempts: one.attempts,
            resources,
            attributed,
            takes_back: Vec::new(),
            then_held: None,
            overtook: false,
            late: one.late,
        }
    }
}

/// Entries for requests that may go side by side, and what became clear of others while they were made ready.
pub(super) struct Round {
    pub(super) batches: Vec<Vec<Ready>>,
    pub(super) marks: Vec<Mark>,
    /// Released entries that hold orders: (entry, link, orders).
    pub(super) orders: Vec<(i64, Arc<str>, Arrival)>,
    /// Why held ones among them cannot be attributed.
    pub(super) doubts: Vec<Change>,
    /// Of the facts by which they were attributed.
    pub(super) generation: u64,
    /// Everything up to this entry was looked at, where only alarms go.
    pub(super) walked: Option<i64>,
}

/// Shares entries out among as many batches as they fill, each device in one batch and in its order. What would
/// overfill its batch is left for the next round, with all that is behind it of its device.
pub(super) fn side_by_side(stored: Vec<Stored>, entries_max: usize, bytes_max: usize) -> Vec<Vec<Stored>> {
    let bytes: usize = stored.iter().map(|one| one.bytes.len()).sum();
    let count = stored.len().div_ceil(entries_max.max(1)).max(bytes.div_ceil(bytes_max.max(1))).max(1);
    let mut batches: Vec<(usize, Vec<Stored>)> = (0..count).map(|_| (0, Vec::new())).collect();
    // Device → its batch; none when the batch is full.
    let mut of_device: HashMap<Arc<str>, Option<usize>> = HashMap::new();
    for one in stored {
        let device = one.device.clone().unwrap_or_else(|| Arc::clone(&one.link));
        let shortest = || (0..count).min_by_key(|at| batches.get(*at).map_or(0, |(_, batch)| batch.len()));
        let place = of_device.entry(device).or_insert_with(shortest);
        let Some((taken, batch)) = place.and_then(|at| batches.get_mut(at)) else { continue };
        let fits = batch.len() < entries_max && *taken + one.bytes.len() <= bytes_max;
        if fits || batch.is_empty() {
            *taken += one.bytes.len();
            batch.push(one);
        } else {
            *place = None;
        }
    }
    batches.into_iter().map(|(_, batch)| batch).collect()
}

/// Of which there are versions. Who and with what is said with every entry, and the same each time.
pub(super) fn has_versions(resource: &Resource) -> bool {
    resource.replaces || matches!(resource.kind, "Observation" | "DiagnosticReport")
}

/// Which entries of a request the server took although it has to be sent an earlier one again which says something of the
/// same result or person: they go once more, behind that one, else the older version would be the last.
pub(super) fn overtook(lists: &[Vec<Resource>], verdicts: &[Verdict]) -> Vec<bool> {
    let again = |verdict: &Verdict| matches!(verdict, Verdict::Retry { .. });
    if !verdicts.iter().any(again) {
        return Vec::new();
    }
    let mut owed: HashSet<(&str, &str)> = HashSet::new();
    let mut late = Vec::with_capacity(lists.len());
    for (list, verdict) in lists.iter().zip(verdicts) {
        let said = list.iter().filter(|one| has_versions(one));
        let said: Vec<(&str, &str)> = said.map(|one| (one.kind, one.id.as_str())).collect();
        let follows =
            matches!(verdict, Verdict::Accepted { .. }) && said.iter().any(|one| owed.contains(one));
        if follows || again(verdict) {
            owed.extend(said);
        }
        late.push(follows);
    }
    late
}

/// Decodes and translates what is not translated yet.
pub(super) fn prepare(
    batches: &[Vec<Stored>],
    kitchen: &Kitchen,
    generation: u64,
    walked: Option<i64>,
) -> Round {
    let mut round = Round {
        batches: Vec::new(),
        marks: Vec::new(),
        orders: Vec::new(),
        doubts: Vec::new(),
        generation,
        walked,
    };
    for batch in batches {
        let ready = batch.iter().filter_map(|one| {
            background::let_senders_pass();
            chosen(one, kitchen, &mut round)
        });
        let ready = ready.collect();
        round.batches.push(ready);
    }
    round
}

/// One entry with what of it goes to this server; `None` when nothing does, and then the round says what becomes of it.
fn chosen(one: &Stored, kitchen: &Kitchen, round: &mut Round) -> Option<Ready> {
    let nothing = |id| {
        let reason = "there is nothing in it for this destination".into();
        Mark { id, to: Transition::Ignored { reason } }
    };
    if !kitchen.only.takes(&one.link, one.device.as_deref()) && one.attempts == 0 {
        round.marks.push(nothing(one.id));
        return None;
    }
    let mut ready = ready(one, kitchen, round)?;
    if kitchen.alarms && ready.takes_back.is_empty() && !has_alarm(&ready.resources) {
        return None;
    }
    let any = !ready.resources.is_empty();
    ready.resources = kitchen.only.choose(ready.resources);
    if any && ready.resources.is_empty() && ready.then_held.is_none() {
        round.marks.push(nothing(one.id));
        return None;
    }
    Some(ready)
}

/// One entry, ready to go; what becomes of it when it is not goes into the round.
fn ready(one: &Stored, kitchen: &Kitchen, round: &mut Round) -> Option<Ready> {
    let translated = kitchen.translated.as_ref();
    if let Some((resources, attributed)) = translated.and_then(|kept| kept.take(one.id, round.generation))
        && one.attempts == 0
    {
        return Some(Ready::first(one, resources, attributed));
    }
    let understood = kitchen.understanding.read(&said(one));
    if one.attempts > 0 {
        match kitchen.associations.outgoing(one.id, kitchen.queue.name(), &said(one), &understood) {
            Ok(None) => {}
            Ok(Some(out)) => {
                if let Some(reason) = &out.then_held {
                    round.doubts.extend(doubt_of(one.id, &understood, reason).map(|(_, doubt)| doubt));
                }
                let ready = Ready::first(one, out.resources, out.attributed);
                return Some(Ready { takes_back: out.takes_back, then_held: out.then_held, ..ready });
            }
            Err(reason) => {
                round.marks.push(Mark { id: one.id, to: Transition::Held { reason, answer: None } });
                return None;
            }
        }
    }
    if let Meaning::Hold(reason) = &understood.meaning
        && let Some((seen, doubt)) = doubt_of(one.id, &understood, reason)
    {
        round.marks.push(seen);
        round.doubts.push(doubt);
    }
    let attributed = understood.whose.and_then(|whose| whose.text);
    let to = match understood.meaning {
        Meaning::Deliver { resources } => {
            // Nobody could read it when it came: now its device is known.
            if one.device.is_none() {
                let (device, summary) = (understood.device, understood.summary);
                round.marks.push(Mark { id: one.id, to: Transition::Seen { device, summary } });
            }
            return Some(Ready::first(one, resources, attributed));
        }
        Meaning::Orders(arrival) if kitchen.queue.is_main() => {
            round.orders.push((one.id, Arc::clone(&one.link), arrival));
            return None;
        }
        Meaning::Orders(_) => Transition::Ignored { reason: "orders are for the worklist".into() },
        Meaning::Hold(reason) => Transition::Held { reason, answer: None },
        Meaning::Stranger(who) => Transition::Held { reason: Meaning::reason(&who), answer: None },
        Meaning::Nothing(reason) => Transition::Ignored { reason },
    };
    round.marks.push(Mark { id: one.id, to });
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use bytes::Bytes;

    fn entry(id: i64, device: &str, bytes: usize) -> Stored {
        Stored {
            id,
            link: "ward".into(),
            peer: "".into(),
            received: Timestamp::from_micros(id, true),
            bytes: Bytes::from(vec![b'x'; bytes]),
            topic: None,
            sha256: [0; 32],
            device: Some(device.into()),
            attempts: 0,
            late: false,
        }
    }

    fn ids(batches: &[Vec<Stored>]) -> Vec<Vec<i64>> {
        batches.iter().map(|batch| batch.iter().map(|one| one.id).collect()).collect()
    }

    #[test]
    fn few_entries_go_in_one_request() {
        let stored = vec![entry(1, "a", 10), entry(2, "b", 10), entry(3, "a", 10)];
        assert_eq!(ids(&side_by_side(stored, 64, 1000)), [[1, 2, 3]]);
    }

    #[test]
    fn a_device_is_in_one_batch_and_in_its_order() {
        let stored = (1..=12).map(|id| entry(id, ["a", "b", "c", "d"][id as usize % 4], 10)).collect();
        let batches = side_by_side(stored, 6, 1000);
        assert_eq!(ids(&batches), [[1, 3, 5, 7, 9, 11], [2, 4, 6, 8, 10, 12]]);
    }

    #[test]
    fn what_is_behind_an_entry_left_out_is_left_out_too() {
        // "a" overfills its batch with entry 3; the smaller entry 4 would still fit and must not overtake it.
        let stored = vec![entry(1, "a", 60), entry(2, "b", 10), entry(3, "a", 60), entry(4, "a", 5)];
        assert_eq!(ids(&side_by_side(stored, 2, 100)), [vec![1], vec![2]]);
    }

    fn resource(kind: &'static str, id: &str) -> Resource {
        Resource::new(kind, id.into(), ("urn:x".into(), id.into()), &serde_json::json!({})).unwrap()
    }

    #[test]
    fn what_passed_before_an_earlier_version_of_itself_goes_again_behind_it() {
        let entry = |ids: &[&str]| {
            let mut list = vec![resource("Device", "monitor")];
            list.extend(ids.iter().map(|id| resource("Observation", id)));
            list
        };
        let lists = [entry(&["a"]), entry(&["b"]), entry(&["a", "c"]), entry(&["c"]), entry(&["d"])];
        let passed = || Verdict::Accepted { answer: String::new() };
        let again = || Verdict::Retry { after: None, reason: String::new() };
        let verdicts = [again(), passed(), passed(), passed(), passed()];
        assert_eq!(overtook(&lists, &verdicts), [false, false, true, true, false]);
        let refused = Verdict::Refused { reason: String::new(), answer: String::new() };
        let verdicts = [again(), passed(), refused, passed(), passed()];
        assert_eq!(overtook(&lists, &verdicts), [false; 5], "one that is held says nothing upstream");
        assert!(overtook(&lists, &[passed(), passed(), passed(), passed(), passed()]).is_empty());
    }

    #[test]
    fn an_entry_larger_than_a_batch_goes_alone() {
        assert_eq!(ids(&side_by_side(vec![entry(1, "a", 500)], 64, 100))[0], [1]);
        let stored = (1..=200).map(|id| entry(id, "a", 10)).collect();
        assert_eq!(ids(&side_by_side(stored, 64, 100_000))[0].len(), 64);
    }
}
