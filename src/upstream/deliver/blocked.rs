//! Entries the server did not take: what they mean for the others, and when they are for a person to look at.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;

use super::super::answer::Alone;
use super::super::known::lock;
use super::{Piece, Resource, Round, Setback, Verdict, key};

/// An entry that the server fails on so often, while others pass, is for a person to look at.
const MOST_TRIES: u32 = 8;

/// The same for an answer that seldom comes by mistake: "forbidden", "not found".
const FEW_TRIES: u32 = 3;

/// So many rounds an entry that is blocked keeps back what its device said later. Then later ones may go: whether they
/// pass tells whether it is this entry.
const STANDS_FOR: u32 = 3;

/// A single entry whose answer may mean it or everybody.
pub(super) struct Blocked {
    entry: usize,
    alone: Alone,
    setback: Setback,
}

/// What was tried with an entry.
#[derive(Clone, Copy, Default)]
pub(in super::super) struct Tries {
    /// The server failed on it while others passed.
    failed: u32,
    /// Rounds in which it was blocked.
    blocked: u32,
}

/// What a result names as its source; of other kinds of resource nothing is read.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Source {
    device: Named,
    subject: Named,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Named {
    reference: String,
}

/// The devices whose results an entry has; without any, the patients. Entries that share one go in their order.
fn sources(entry: &[Resource]) -> HashSet<String> {
    let results = entry.iter().filter(|one| matches!(one.kind, "Observation" | "DiagnosticReport"));
    let named: Vec<Source> = results.filter_map(|one| serde_json::from_str(one.json.get()).ok()).collect();
    let of = |pick: fn(&Source) -> &Named| -> HashSet<String> {
        named.iter().map(pick).map(|one| one.reference.clone()).filter(|one| !one.is_empty()).collect()
    };
    let devices = of(|source| &source.device);
    if devices.is_empty() { of(|source| &source.subject) } else { devices }
}

impl Round<'_> {
    pub(super) fn block(&mut self, entry: usize, alone: Alone, setback: Setback) {
        self.tried(entry, |tries| tries.blocked += 1);
        self.blocked.push(Blocked { entry, alone, setback });
    }

    /// Takes out of a piece what has to go behind an entry that goes once more.
    pub(super) fn put_behind(&mut self, piece: &mut Piece) {
        let mut again: HashSet<usize> = self
            .verdicts
            .iter()
            .enumerate()
            .filter(|(_, verdict)| matches!(verdict, Some(Verdict::Retry { .. })))
            .map(|(entry, _)| entry)
            .collect();
        let stands = |one: &&Blocked| self.tried(one.entry, |_| ()).blocked <= STANDS_FOR;
        again.extend(self.blocked.iter().filter(stands).map(|one| one.entry));
        if again.is_empty() {
            return;
        }
        let of = |entry: usize| sources(self.entries.get(entry).map(Vec::as_slice).unwrap_or_default());
        // Source → the first entry of it that goes once more.
        let mut owed: HashMap<String, usize> = HashMap::new();
        for entry in again {
            for source in of(entry) {
                owed.entry(source).and_modify(|first| *first = entry.min(*first)).or_insert(entry);
            }
        }
        let behind: HashSet<usize> = piece
            .spans
            .iter()
            .map(|span| span.entry)
            .filter(|entry| {
                of(*entry).iter().any(|source| owed.get(source).is_some_and(|first| first < entry))
            })
            .collect();
        piece.spans.retain(|span| !behind.contains(&span.entry));
        for entry in behind {
            let reason = "an earlier message of the same device goes first".to_owned();
            self.settle(entry, Verdict::Retry { after: None, reason });
        }
    }

    /// Two single entries got the same and nothing has passed: it is not the entries.
    pub(super) fn shut_out(&self) -> Option<Setback> {
        let enough = !self.passed && self.blocked.len() >= 2;
        self.blocked.first().filter(|_| enough).map(|blocked| blocked.setback.clone())
    }

    /// At the end of the round it is clear whether others passed.
    pub(super) fn unblock(&mut self) {
        for Blocked { entry, alone, setback } in std::mem::take(&mut self.blocked) {
            if !self.passed {
                self.up.failed(&setback);
                self.settle_retry(entry, &setback);
                continue;
            }
            let most = if alone == Alone::Retry { MOST_TRIES } else { FEW_TRIES };
            if self.tried(entry, |tries| tries.failed += 1).failed < most {
                self.settle_retry(entry, &setback);
            } else {
                self.tried(entry, |tries| *tries = Tries::default());
                self.refuse(entry, &setback.words, None);
            }
        }
    }

    /// What was tried with an entry, after a change of it; forgotten at a restart.
    fn tried(&self, entry: usize, change: impl FnOnce(&mut Tries)) -> Tries {
        let Some(last) = self.entries.get(entry).and_then(|resources| resources.last()) else {
            return Tries::default();
        };
        let mut all = lock(&self.up.tries);
        let mut tries = all.get(&key(last)).copied().unwrap_or_default();
        change(&mut tries);
        all.insert(&key(last), tries);
        tries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(kind: &'static str, json: &str) -> Resource {
        Resource {
            kind,
            id: "1".into(),
            identifier: (String::new(), String::new()),
            json: serde_json::value::RawValue::from_string(json.into()).unwrap(),
            replaces: false,
        }
    }

    #[test]
    fn an_entry_is_of_the_devices_its_results_name_or_else_of_their_patients() {
        let device = resource("Device", r#"{"subject":{"reference":"Patient/9"}}"#);
        let pulse = resource(
            "Observation",
            r#"{"device":{"reference":"Device/7"},"subject":{"reference":"Patient/1"}}"#,
        );
        let report = resource("DiagnosticReport", r#"{"subject":{"reference":"Patient/1"}}"#);
        let told = |entry: &[Resource]| {
            let mut all: Vec<String> = sources(entry).into_iter().collect();
            all.sort();
            all.join(" ")
        };
        assert_eq!(told(std::slice::from_ref(&device)), "");
        assert_eq!(told(&[device, pulse]), "Device/7");
        assert_eq!(told(&[report]), "Patient/1");
    }
}
