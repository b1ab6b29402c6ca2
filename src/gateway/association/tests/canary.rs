//! The made-up ward through the real decoding, index, associations, attribution and translation.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::ward::{Sent, Ward, Word, make};
use crate::buffer::{AssociationChange, Buffer, Change, Config, Doubt, NewAssociation, PeopleChange};
use crate::clock::{TestClock, Timestamp};
use crate::config::{self, Link, association::Policy};
use crate::device::{Finding, Identifier, Measurement, Person, Place, Report};
use crate::fhir::Resource;
use crate::gateway::association::whose::Whose;
use crate::gateway::association::witness::Witness;
use crate::gateway::understand::{Meaning, Said, Understanding, Understood};
use crate::identity::{
    Asked, Bedded, Claim, Clock, Facts, Home, Issuers, Part, Span, Unavailable, Unknown, Whom, parts,
};
use crate::translate::Gateway;

/// How the resolver is broken, to see that the rig sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sabotage {
    None,
    /// Decides at the time of arrival.
    ArrivalTime,
    /// Takes whatever holds now.
    Timeless,
    /// Believes every clock.
    EveryClock,
}

#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) devices: usize,
    pub(super) frames: usize,
    pub(super) measurements: usize,
    pub(super) words: usize,
    pub(super) swaps: usize,
    pub(super) transfers: usize,
    pub(super) merges: usize,
    pub(super) late: usize,
    pub(super) delivered: usize,
    pub(super) wrong: usize,
    pub(super) wrong_at_first: usize,
    pub(super) orphans_delivered: usize,
    pub(super) orphan: usize,
    pub(super) conflict: usize,
    pub(super) review: usize,
    pub(super) released: usize,
    pub(super) corrected: usize,
    pub(super) clear_but_held: usize,
    pub(super) cut: usize,
}

const LINKS: &str = "[site]\nname = \"Ward\"\nzone = \"Europe/Berlin\"\n[buffer]\ndir = \"/unused\"\n\
    [[link]]\nname = \"his\"\nprofile = \"hl7-system\"\nmllp = { listen = \"127.0.0.1:0\" }\n\
    [[link]]\nname = \"mon\"\nprofile = \"ihe/pcd01-monitor\"\nmllp = { listen = \"127.0.0.1:0\" }\n";

struct Rig {
    _dir: tempfile::TempDir,
    buffer: Buffer,
    understanding: Understanding,
}

/// A witness that may be broken.
struct Asks {
    witness: Witness,
    sabotage: Sabotage,
}

impl Whose for Asks {
    fn known(&self, person: &Person) -> Option<Whom> {
        self.witness.known(person)
    }

    fn parts(&self, report: &Report, link: &Link, said: &Said<'_>, findings: &[Finding]) -> Vec<Part> {
        let device = report.device.key(said.link);
        let asked = |report| Asked {
            report,
            device: &device,
            bound: None,
            clock: Clock::default(),
            unknown: Unknown::Deliver,
        };
        match self.sabotage {
            Sabotage::None => self.witness.parts(report, link, said, findings),
            Sabotage::EveryClock => parts(&asked(report), &self.witness),
            Sabotage::Timeless => parts(&asked(report), &Timeless(&self.witness)),
            Sabotage::ArrivalTime => {
                let now = |one: &Measurement| {
                    let mut one = one.clone();
                    one.taken.micros = said.received.micros;
                    one
                };
                let moved =
                    Report { measurements: report.measurements.iter().map(now).collect(), ..report.clone() };
                parts(&asked(&moved), &self.witness)
            }
        }
    }
}

/// Knows only what is so now.
struct Timeless<'a>(&'a Witness);

impl Facts for Timeless<'_> {
    fn has_people(&self) -> Result<bool, Unavailable> {
        self.0.has_people()
    }

    fn whom(&self, person: &Person) -> Result<Whom, Unavailable> {
        self.0.whom(person)
    }

    fn in_bed(&self, place: &crate::identity::Place, _: Span) -> Result<Vec<Bedded>, Unavailable> {
        let all = self.0.in_bed(place, Span { from: 0, to: i64::MAX })?;
        let open = all.into_iter().filter(|one| one.until.is_none());
        Ok(open.map(|one| Bedded { since: 0, ..one }).collect())
    }

    fn associations(&self, device: &str) -> Result<Vec<Claim>, Unavailable> {
        let last = self.0.associations(device)?.into_iter().max_by_key(|claim| claim.since);
        Ok(last.map(|claim| Claim { since: None, until: None, ..claim }).into_iter().collect())
    }

    fn homes(&self, device: &str) -> Result<Vec<Home>, Unavailable> {
        let last = self.0.homes(device)?.into_iter().max_by_key(|home| home.since);
        Ok(last.map(|home| Home { since: 0, until: None, ..home }).into_iter().collect())
    }

    fn ordered(&self, specimen: &str) -> Result<Vec<Person>, Unavailable> {
        self.0.ordered(specimen)
    }
}

fn rig(sabotage: Sabotage) -> Rig {
    // In memory where there is such a place: what is tried here is not the disk.
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let config = config::parse(LINKS, "ward.toml").unwrap();
    let kept = Config { dir: dir.path().into(), ..Config::default() };
    let buffer = Buffer::open(&kept, TestClock::at(0)).unwrap();
    let me = Gateway {
        id: Identifier { system: "urn:x".into(), value: "box".into(), kind: None },
        name: "Ward".into(),
        version: "1".into(),
        patient_system: None,
    };
    let understanding = Understanding::new(config.links, me, true);
    let witness = Witness::new(buffer.reader(), Policy::default(), Issuers::default(), 120);
    understanding.ask(Arc::new(Asks { witness, sabotage }));
    Rig { _dir: dir, buffer, understanding }
}

fn device_key(device: usize) -> String {
    format!("//{device:016X}")
}

impl Rig {
    fn read(&self, link: &str, text: &str, received: i64) -> Understood {
        self.understanding.read(&Said {
            entry: None,
            link,
            peer: "rig",
            received: Timestamp::from_micros(received, true),
            bytes: text.as_bytes(),
            topic: None,
            sha256: crate::buffer::sha256(text.as_bytes()),
        })
    }

    async fn change(&self, change: Change) -> Result<(), String> {
        self.buffer.change(vec![change]).await.map_err(|fault| fault.to_string())
    }

    /// What systems and people say, as the box takes it.
    async fn told(&self, word: &Word, at: i64, keys: &HashMap<usize, String>) {
        let of = |device: &usize| keys.get(device).cloned().unwrap_or_else(|| device_key(*device));
        match word {
            Word::Frame(_) => {}
            Word::Adt(text) => {
                let said = self.read("his", text, at).people;
                assert_eq!(said.len(), 1, "{text}");
                let tell = PeopleChange::Tell { entry: None, source: "his".into(), said };
                self.change(Change::People(tell)).await.unwrap();
            }
            Word::Home { device, bed, since } => {
                let place = Place {
                    point_of_care: Some("ICU".into()),
                    bed: Some(format!("B{bed:02}").into()),
                    ..Place::default()
                };
                let (device, place, by) = (of(device), Some(place), "rig".to_owned());
                let home = AssociationChange::Home { device, place, since: *since, by };
                self.change(Change::Association(home)).await.unwrap();
            }
            Word::Scanned { device, patient, since, until } => {
                let device = of(device);
                let number = Identifier {
                    system: "urn:bedside:authority:H".into(),
                    value: format!("{}{patient:02}", if *patient < 30 { "P" } else { "T" }).into(),
                    kind: Some("MR".into()),
                };
                let new = NewAssociation {
                    device: device.clone(),
                    person: Person { identifiers: vec![number], ..Person::default() },
                    since: *since,
                    until: *until,
                    scanned: true,
                    overrules: false,
                    author: "rig".into(),
                    reason: None,
                };
                let open = self.buffer.reader().associations_now(&device).unwrap();
                let over = open
                    .iter()
                    .filter(|row| row.since < *since && row.until.is_none_or(|until| until > *since));
                let replaces = over.map(|row| row.id).collect();
                let make = AssociationChange::Make { new, replaces };
                self.change(Change::Association(make)).await.unwrap();
            }
            Word::TakenOff { device, until } => {
                let open = self.buffer.reader().associations_now(&of(device)).unwrap();
                let Some(row) = open.iter().find(|row| row.until.is_none() && row.since < *until) else {
                    return;
                };
                let end = AssociationChange::End { id: row.id, until: *until, by: "rig".into(), why: None };
                self.change(Change::Association(end)).await.unwrap();
            }
        }
    }
}

/// What became of a frame.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// Value → the patient's numbers.
    Delivered(Vec<(usize, Vec<String>)>),
    Held(Option<Doubt>),
}

fn fate(understood: &Understood) -> Fate {
    match &understood.meaning {
        Meaning::Deliver { resources } => Fate::Delivered(delivered(resources)),
        Meaning::Hold(_) => Fate::Held(understood.whose.as_ref().and_then(|whose| whose.doubt)),
        _ => panic!("a frame of results is delivered or held"),
    }
}

fn delivered(resources: &[Resource]) -> Vec<(usize, Vec<String>)> {
    let mut numbers: HashMap<String, Vec<String>> = HashMap::new();
    let mut values = Vec::new();
    for resource in resources {
        let tree = resource.value();
        match resource.kind {
            "Patient" => {
                let all = tree["identifier"].as_array().unwrap().iter();
                let own = all.map(|id| id["value"].as_str().unwrap().to_owned()).collect();
                numbers.insert(format!("Patient/{}", resource.id), own);
            }
            "Observation" => {
                let value = tree["valueQuantity"]["value"].to_string().parse().unwrap();
                values.push((value, tree["subject"]["reference"].as_str().unwrap_or_default().to_owned()));
            }
            _ => {}
        }
    }
    let whose =
        |(value, subject): (usize, String)| (value, numbers.get(&subject).cloned().unwrap_or_default());
    values.into_iter().map(whose).collect()
}

fn wrong(all: &[(usize, Vec<String>)]) -> usize {
    let is_wrong = |(value, numbers): &&(usize, Vec<String>)| {
        let patient = value / 100_000 - 1;
        let own = [format!("P{patient:02}"), format!("T{patient:02}")];
        !numbers.iter().any(|number| own.contains(number))
    };
    all.iter().filter(is_wrong).count()
}

/// Runs a ward; `share`: a part of its frames.
pub(super) fn run(seed: u64, share: i64, sabotage: Sabotage) -> Tally {
    let Ward { words, counts } = make(seed, share);
    let rig = rig(sabotage);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut tally = Tally {
        devices: super::ward::DEVICES,
        swaps: counts.swaps,
        transfers: counts.transfers,
        merges: counts.merges,
        late: counts.late,
        ..Tally::default()
    };
    // Facts name devices by their keys, which their own messages tell.
    let mut keys: HashMap<usize, String> = HashMap::new();
    for (at, word) in &words {
        if let Word::Frame(sent) = word
            && !keys.contains_key(&sent.device)
        {
            keys.insert(sent.device, rig.read("mon", &sent.text, *at).device);
        }
    }
    let mut first: Vec<Option<Fate>> = Vec::new();
    let mut sent: Vec<(i64, &Sent)> = Vec::new();
    for (at, word) in &words {
        if let Word::Frame(frame) = word {
            // What it comes to on arrival, of every third.
            let now = first.len().is_multiple_of(3) && sabotage == Sabotage::None;
            first.push(now.then(|| fate(&rig.read("mon", &frame.text, *at))));
            sent.push((*at, frame));
        } else {
            tally.words += 1;
            runtime.block_on(rig.told(word, *at, &keys));
        }
    }
    // When all is told: what the box comes to when it looks again.
    let half = sent.len() / 2;
    let again = |part: &[(i64, &Sent)]| -> Vec<(Fate, bool)> {
        let read = |(at, frame): &(i64, &Sent)| {
            let understood = rig.read("mon", &frame.text, *at);
            let cut = understood.whose.as_ref().is_some_and(|whose| whose.reports.is_some());
            (fate(&understood), cut)
        };
        part.iter().map(read).collect()
    };
    let last: Vec<(Fate, bool)> = std::thread::scope(|scope| {
        let other = scope.spawn(|| again(&sent[half..]));
        let mut all = again(&sent[..half]);
        all.extend(other.join().unwrap());
        all
    });
    for (((_, frame), before), (after, cut)) in sent.iter().zip(&first).zip(&last) {
        count(&mut tally, frame, before.as_ref(), after, *cut);
    }
    runtime
        .block_on(async { tokio::time::timeout(Duration::from_secs(10), rig.buffer.close()).await.unwrap() });
    tally
}

fn count(tally: &mut Tally, frame: &Sent, before: Option<&Fate>, after: &Fate, cut: bool) {
    let size = frame.text.matches("\rOBX|").count();
    tally.frames += 1;
    tally.measurements += size;
    tally.cut += usize::from(cut);
    if let Some(Fate::Delivered(all)) = before {
        tally.wrong_at_first += usize::from(wrong(all) > 0);
    }
    match (before, after) {
        (Some(Fate::Held(_)), Fate::Delivered(_)) => tally.released += 1,
        (Some(Fate::Delivered(a)), Fate::Delivered(b)) if a != b => tally.corrected += 1,
        (Some(Fate::Delivered(_)), Fate::Held(_)) => tally.corrected += 1,
        _ => {}
    }
    match after {
        Fate::Delivered(all) => {
            tally.delivered += all.len();
            tally.wrong += wrong(all);
            tally.orphans_delivered += usize::from(frame.device >= 45);
        }
        Fate::Held(doubt) => {
            tally.clear_but_held += usize::from(frame.clear);
            if frame.clear {
                println!("clear but held for {doubt:?}: device {}", frame.device);
            }
            match doubt {
                Some(Doubt::Orphan) => tally.orphan += size,
                Some(Doubt::Conflict) => tally.conflict += size,
                Some(Doubt::Review) => tally.review += size,
                None => panic!("held for another reason"),
            }
        }
    }
}
