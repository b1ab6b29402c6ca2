//! What must be true whatever happened, and what is not, in sentences with the number of the broken promise. It joins
//! what each sender was told, what the server holds and what is left in the box.
//!
//! I1 acknowledged is kept · I2 exactly once upstream · I3 in order · I4 nothing lost without a word, the counts agree ·
//! I5 an acknowledgement belongs to its message · I6 every value on its patient · I7 what the disk changed is found and
//! not sent · I8 the trail is whole · I9 memory and files are bounded · I10 it goes on when the fault is over, and does
//! not hammer · I11 no patient in logs and files · I12 the next start needs nobody · I13 it fails closed.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::io::Read;
use std::path::Path;

use bedside::demo::fhir_server::Store;
use rusqlite::Connection;
use serde_json::Value;

use super::devices::{ANALYSER, Analyser, BRIDGE, Monitor, SCALE, SENDERS, taken};

/// One measurement: sender, number, which of the two.
type Fact = (usize, u64, usize);

/// A promise that was broken, and how.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Wrong {
    pub(crate) promise: &'static str,
    pub(crate) text: String,
}

impl Wrong {
    pub(crate) fn of(promise: &'static str, text: impl Into<String>) -> Self {
        Self { promise, text: text.into() }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.promise, self.text)
    }
}

/// As much as a person reads.
pub(crate) fn first(wrong: &[Wrong]) -> String {
    let lines = wrong.iter().take(40).map(ToString::to_string);
    lines.collect::<Vec<_>>().join("\n")
}

/// Each broken promise once.
pub(crate) fn promises(wrong: &[Wrong]) -> Vec<&'static str> {
    let mut all: Vec<_> = wrong.iter().map(|one| one.promise).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// What the rig knows: the last number each sender was acknowledged.
pub(crate) struct Oracle<'a> {
    pub(crate) acknowledged: [u64; SENDERS.len()],
    pub(crate) store: &'a Store,
    pub(crate) data: &'a Path,
    pub(crate) log: &'a str,
    /// `bedside status --json` of the stopped box.
    pub(crate) status: Value,
    /// Whether it was to deliver.
    pub(crate) upstream: bool,
    /// Whether whole messages may wait for a person: the server refuses some.
    pub(crate) may_hold: bool,
    /// Sender and number of what the rig itself damaged on the disk.
    pub(crate) damaged: &'a BTreeSet<(usize, u64)>,
}

/// Said of a result that its sender has forgotten and nobody has.
pub(crate) const LOST: &str = "acknowledged but lost";

impl Oracle<'_> {
    /// Everything that is wrong.
    pub(crate) fn wrong(&self) -> Vec<Wrong> {
        let database = Connection::open(self.data.join("bedside.db")).unwrap();
        let mut wrong = Vec::new();
        let held = self.held(&database, &mut wrong);
        if self.upstream {
            self.upstream(&held, &mut wrong);
        }
        self.kept(&database, &held, &mut wrong);
        wrong.extend(frames(&database, &self.acknowledged, self.damaged));
        wrong.extend(trail(&database));
        self.silent(&mut wrong);
        wrong
    }

    /// Every acknowledged measurement is on the server exactly once, on its patient, with its value and its time, and
    /// came there in the order it was said; or it waits, held, for a person.
    fn upstream(&self, held: &Held, wrong: &mut Vec<Wrong>) {
        let mut found: BTreeMap<Fact, Vec<String>> = BTreeMap::new();
        let mut patients = HashMap::new();
        for id in self.store.ids("Observation") {
            let observation = self.store.resource("Observation", &id).unwrap();
            match self.fact(&observation, &mut patients) {
                Ok(fact) => found.entry(fact).or_default().push(id.clone()),
                Err(fault) => wrong.push(Wrong::of("I6", format!("Observation/{id}: {fault}"))),
            }
            let versions = self.store.versions("Observation", &id);
            if versions != 1 {
                let text =
                    format!("Observation/{id} has {versions} versions: a repetition said something else");
                wrong.push(Wrong::of("I2", text));
            }
        }
        for (sender, last) in self.acknowledged.into_iter().enumerate() {
            let patient = SENDERS[sender].patient;
            let mut before = None;
            for (n, which) in (1..=last).flat_map(|n| [(n, 0), (n, 1)]) {
                let ids = found.remove(&(sender, n, which)).unwrap_or_default();
                let of = format!("{patient} number {n}, measurement {which}");
                match ids.as_slice() {
                    [] if held.numbers.contains(&(sender, n)) || self.damaged.contains(&(sender, n)) => {}
                    [] => wrong.push(Wrong::of("I1", format!("{of}: {LOST}"))),
                    [_] if self.damaged.contains(&(sender, n)) => {
                        wrong.push(Wrong::of("I7", format!("{of}: sent, though the disk had changed it")));
                    }
                    [id] => {
                        let first = self.store.writes("Observation", id).first().map(|write| write.at.micros);
                        if first < before {
                            let text = format!("{patient} number {n} was there before the number before it");
                            wrong.push(Wrong::of("I3", text));
                        }
                        before = first;
                    }
                    _ => wrong.push(Wrong::of("I2", format!("{of}: doubled: {ids:?}"))),
                }
            }
        }
        let never = |fact| Wrong::of("I1", format!("{fact:?} is upstream and was never acknowledged"));
        wrong.extend(found.into_keys().map(never));
    }

    /// Which measurement this Observation is, told by patient, code, value and time, which must all agree.
    fn fact(&self, observation: &Value, patients: &mut HashMap<String, String>) -> Result<Fact, String> {
        let reference = observation["subject"]["reference"].as_str().unwrap_or_default();
        let patient = patients.entry(reference.into()).or_insert_with(|| self.patient(reference));
        let sender =
            SENDERS.iter().position(|sender| sender.patient == patient).ok_or("on no patient of the rig")?;
        let codes: HashSet<&str> = observation["code"]["coding"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|coding| coding["code"].as_str())
            .collect();
        let which = SENDERS[sender].codes.iter().position(|code| codes.contains(code));
        let which = which.ok_or_else(|| format!("no code its sender uses: {codes:?}"))?;
        let value = observation["valueQuantity"]["value"].to_string();
        let number = if which == 1 { value.strip_suffix(".5") } else { Some(value.as_str()) };
        let n: u64 =
            number.and_then(|n| n.parse().ok()).ok_or_else(|| format!("a value nobody sent: {value}"))?;
        let said = observation["effectiveDateTime"].as_str().unwrap_or_default();
        match said.parse::<jiff::Timestamp>() {
            Ok(time) if time == taken(n) => Ok((sender, n, which)),
            _ => Err(format!("number {n} at {said}, not at {}", taken(n))),
        }
    }

    fn patient(&self, reference: &str) -> String {
        let id = reference.strip_prefix("Patient/").unwrap_or_default();
        let patient = self.store.resource("Patient", id).unwrap_or_default();
        patient["identifier"][0]["value"].as_str().unwrap_or_default().into()
    }

    /// The box is sound, has accepted each number once, holds only what a person must see, and says so itself.
    fn kept(&self, database: &Connection, held: &Held, wrong: &mut Vec<Wrong>) {
        let number = |sql: &str| number(database, sql);
        let sound: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        if sound != "ok" {
            wrong.push(Wrong::of("I7", format!("the database is damaged: {sound}")));
        }
        let present = number("SELECT count(*) FROM entry");
        let gone = number("SELECT value FROM tally WHERE name = 'gone'");
        let given = number(
            "SELECT max((SELECT value FROM tally WHERE name = 'last_id'), coalesce((SELECT max(id) FROM entry), 0))",
        );
        if present + gone != given {
            let text =
                format!("{given} entries were ever kept; {present} are there and {gone} counted as purged");
            wrong.push(Wrong::of("I4", text));
        }
        let single = number("SELECT count(*) FROM entry WHERE id NOT IN (SELECT id FROM frame)")
            + number("SELECT count(*) FROM frame WHERE id NOT IN (SELECT id FROM entry)");
        if single > 0 {
            wrong.push(Wrong::of("I4", format!("{single} frames or entries have lost the other half")));
        }
        let accepted = number("SELECT count(*) FROM entry WHERE state = 3");
        // A held beginning whose whole message came later is set aside by the box itself.
        let again = number(
            "SELECT count(*) FROM entry WHERE state = 3 AND reason LIKE 'the analyser sent it again%'",
        );
        // An agent's frame holds its association too, and a broker passes on without DUP what was said to it again: it is
        // another frame of the same Observations.
        let agents = number(
            "SELECT count(*) FROM entry JOIN link ON link.id = entry.link WHERE state = 3 AND link.name IN ('scale', 'bridge')",
        );
        let by_agents = self.acknowledged[SCALE] + self.acknowledged[BRIDGE];
        let said = self.acknowledged.iter().sum::<u64>() - by_agents;
        let open = number("SELECT count(*) FROM entry WHERE state < 2");
        let others = accepted + gone + open - again - agents + held.numbers.len() as u64 + held.changed;
        if others != said || agents < by_agents {
            let text = format!(
                "{:?} numbers were acknowledged, {others} entries are accepted or held, {agents} besides are the agent's or a broker's",
                self.acknowledged
            );
            wrong.push(Wrong::of("I4", text));
        }
        if held.beginnings > 1 {
            let text = format!(
                "{} beginnings are still held, though their messages were said again whole",
                held.beginnings
            );
            wrong.push(Wrong::of("I4", text));
        }
        if number("SELECT count(*) FROM part") != 0 {
            wrong.push(Wrong::of("I4", "parts of a message are left"));
        }
        let waiting = number("SELECT count(*) FROM entry WHERE state = 0");
        let sent = number("SELECT count(*) FROM entry WHERE state = 1");
        let holds = held.beginnings + held.numbers.len() as u64 + held.changed + held.strange;
        let counts =
            serde_json::json!({ "waiting": waiting, "sent": sent, "held": holds, "accepted": accepted });
        if self.status["counts"] != counts {
            wrong.push(Wrong::of(
                "I4",
                format!("status says {}, the database {counts}", self.status["counts"]),
            ));
        }
    }

    /// A frame of the analyser is acknowledged before its message is whole. What a cut left of such a message is shown
    /// to a person; the message itself was said again. A monitor's message may be held whole.
    fn held(&self, database: &Connection, wrong: &mut Vec<Wrong>) -> Held {
        let mut all = database
            .prepare(
                "SELECT link.name, entry.reason, frame.bytes FROM entry JOIN frame ON frame.id = entry.id
                 JOIN link ON link.id = entry.link WHERE entry.state = 2",
            )
            .unwrap();
        let rows = all
            .query_map([], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, Vec<u8>>(2)?))
            })
            .unwrap();
        let whole: HashSet<String> = (1..=self.acknowledged[ANALYSER]).map(Analyser::message).collect();
        let monitors: HashMap<String, (usize, u64)> = [0, 1]
            .into_iter()
            .flat_map(|way| (1..=self.acknowledged[way]).map(move |n| (way, n)))
            .map(|(way, n)| (Monitor::message(way as u8 + 1, n), (way, n)))
            .collect();
        let mut held = Held::default();
        for row in rows {
            let (link, reason, bytes) = row.unwrap();
            let text = String::from_utf8_lossy(&bytes).into_owned();
            // The time in its first record tells which message it was.
            let begins = whole.iter().any(|message| message.starts_with(&text) && *message != text);
            if link == "analyser" && begins {
                held.beginnings += 1;
            } else if let Some(number) = monitors.get(&text)
                && held.numbers.insert(*number)
            {
                if !self.may_hold {
                    wrong.push(Wrong::of("I4", format!("a sound message is held on {link}: {reason}")));
                }
            } else if reason.contains("SHA-256") && held.changed < self.damaged.len() as u64 {
                held.changed += 1;
            } else {
                held.strange += 1;
                wrong.push(Wrong::of("I4", format!("held on {link}: {reason}")));
            }
        }
        held
    }

    /// No fault of the program, no patient in what it logged, and no file that is none of the buffer's.
    fn silent(&self, wrong: &mut Vec<Wrong>) {
        for line in self.log.lines() {
            if line.contains("panicked") {
                wrong.push(Wrong::of("I12", format!("logged: {line}")));
            }
            if line.contains("RIG-") || line.contains("Rig^Person") || line.contains("MDC_ECG_HEART_RATE") {
                wrong.push(Wrong::of("I11", format!("logged: {line}")));
            }
        }
        for entry in std::fs::read_dir(self.data).unwrap().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.contains("corrupt") {
                wrong.push(Wrong::of("I7", format!("a damaged database was set aside: {name}")));
            } else if !OURS.contains(&name.as_str()) {
                wrong.push(Wrong::of("I11", format!("a file nobody knows in the buffer's folder: {name}")));
            }
        }
    }
}

/// What may lie in the buffer's folder.
const OURS: [&str; 13] = [
    "audit.seal",
    "audit.seal.new",
    "bedside.db",
    "bedside.db-wal",
    "bedside.db-shm",
    "bedside.lock",
    "console.sock",
    "ballast",
    "tapes",
    "reserve",
    "gateway-id",
    "broker-sessions",
    "lost+found",
];

/// What waits for a person.
#[derive(Default)]
struct Held {
    /// Whole messages of the monitors.
    numbers: HashSet<(usize, u64)>,
    /// Beginnings of the analyser's.
    beginnings: u64,
    /// What the disk changed.
    changed: u64,
    /// What nobody said.
    strange: u64,
}

fn number(database: &Connection, sql: &str) -> u64 {
    database.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap().unsigned_abs()
}

/// Every kept frame is what its hash says, and every acknowledged message of the monitors is there once, to the letter.
pub(crate) fn frames(
    database: &Connection,
    acknowledged: &[u64; SENDERS.len()],
    damaged: &BTreeSet<(usize, u64)>,
) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    let mut changed = 0;
    let mut kept: HashMap<Vec<u8>, u32> = HashMap::new();
    // The first schema packed nothing.
    let packed = database.prepare("SELECT packed FROM frame").is_ok();
    let column = if packed { "packed" } else { "NULL" };
    let mut all = database.prepare(&format!("SELECT id, bytes, {column}, sha256 FROM frame")).unwrap();
    let mut rows = all.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        let (id, bytes, packed, sum): (i64, Vec<u8>, Option<i64>, Vec<u8>) =
            (row.get(0).unwrap(), row.get(1).unwrap(), row.get(2).unwrap(), row.get(3).unwrap());
        let bytes = match packed {
            None => bytes,
            Some(length) if length < 0 => {
                lz4_flex::block::decompress(&bytes, length.unsigned_abs() as usize).unwrap()
            }
            Some(_) => inflated(&bytes),
        };
        if digest(&bytes) != sum {
            changed += 1;
            if changed > damaged.len() {
                wrong.push(Wrong::of("I7", format!("the bytes of entry {id} are not those that came")));
            }
        }
        *kept.entry(bytes).or_default() += 1;
    }
    let purged = number(database, "SELECT value FROM tally WHERE name = 'gone'") > 0;
    for (way, n) in [0, 1].into_iter().flat_map(|way| (1..=acknowledged[way]).map(move |n| (way, n))) {
        let count = kept.get(Monitor::message(way as u8 + 1, n).as_bytes()).copied().unwrap_or(0);
        let of = format!("{} number {n}", SENDERS[way].patient);
        match count {
            1 => {}
            0 if purged || damaged.contains(&(way, n)) => {}
            0 => wrong.push(Wrong::of("I1", format!("{of} is not in the buffer"))),
            _ => wrong.push(Wrong::of("I2", format!("{of} is {count} times in the buffer"))),
        }
    }
    wrong
}

/// [`frames`] for ten acknowledged messages of each monitor.
pub(crate) fn frames_of_ten(database: &Connection) -> Vec<Wrong> {
    let mut acknowledged = [0; SENDERS.len()];
    acknowledged[..2].fill(10);
    frames(database, &acknowledged, &BTreeSet::new())
}

/// The audit trail, checked by the rig's own arithmetic: SHA-256 over the previous hash, the number, the time and the
/// texts, each with its length.
fn trail(database: &Connection) -> Vec<Wrong> {
    let mut all =
        database.prepare("SELECT id, at, who, what, detail, previous, hash FROM audit ORDER BY id").unwrap();
    let mut rows = all.query([]).unwrap();
    let (mut last, mut count) = (Vec::new(), 0);
    let mut wrong = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        let (id, at): (i64, i64) = (row.get(0).unwrap(), row.get(1).unwrap());
        let previous: Vec<u8> = row.get(5).unwrap();
        let hash: Vec<u8> = row.get(6).unwrap();
        count += 1;
        let mut whole = (previous.len() as u64).to_be_bytes().to_vec();
        whole.extend_from_slice(&previous);
        whole.extend_from_slice(&id.to_be_bytes());
        whole.extend_from_slice(&at.to_be_bytes());
        for column in 2..5 {
            let text: String = row.get(column).unwrap();
            whole.extend_from_slice(&(text.len() as u64).to_be_bytes());
            whole.extend_from_slice(text.as_bytes());
        }
        if id != count || previous != last || digest(&whole) != hash {
            wrong.push(Wrong::of("I8", format!("row {id} of the audit trail is not as it was written")));
        }
        last = hash;
    }
    if number(database, "SELECT value FROM tally WHERE name = 'audit_rows'") != count.unsigned_abs() {
        wrong.push(Wrong::of("I8", "rows of the audit trail are missing at its end"));
    }
    wrong
}

fn digest(bytes: &[u8]) -> Vec<u8> {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref().to_vec()
}

fn inflated(bytes: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    flate2::read::DeflateDecoder::new(bytes).read_to_end(&mut whole).unwrap();
    whole
}
