//! What must be true after all those power cuts, and what is not, in sentences. It knows what each sender was told,
//! what the server holds and what is left in the box.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use bedside::demo::fhir_server::Store;
use rusqlite::Connection;
use serde_json::Value;

use crate::devices::{ANALYSER, Analyser, SCALE, SENDERS, taken};

/// One measurement: sender, number, which of the two.
type Fact = (usize, u64, usize);

/// What the rig knows: the last number each sender was acknowledged.
pub(crate) struct Oracle<'a> {
    pub(crate) acknowledged: [u64; SENDERS.len()],
    pub(crate) store: &'a Store,
    pub(crate) data: &'a Path,
    pub(crate) log: &'a str,
    /// `bedside status --json` of the stopped box.
    pub(crate) status: Value,
}

/// Said of a result that its sender has forgotten and nobody has.
pub(crate) const LOST: &str = "acknowledged but lost";

impl Oracle<'_> {
    /// Everything that is wrong.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = self.upstream();
        faults.extend(self.kept());
        faults.extend(self.logged());
        faults
    }

    /// Every acknowledged measurement is on the server exactly once, on its patient, with its value and its time, and
    /// came there in the order it was said.
    fn upstream(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut found: BTreeMap<Fact, Vec<String>> = BTreeMap::new();
        let mut patients = HashMap::new();
        for id in self.store.ids("Observation") {
            let observation = self.store.resource("Observation", &id).unwrap();
            match self.fact(&observation, &mut patients) {
                Ok(fact) => found.entry(fact).or_default().push(id.clone()),
                Err(fault) => faults.push(format!("Observation/{id}: {fault}")),
            }
            let versions = self.store.versions("Observation", &id);
            if versions != 1 {
                faults.push(format!(
                    "Observation/{id} has {versions} versions: a repetition said something else"
                ));
            }
        }
        for (sender, last) in self.acknowledged.into_iter().enumerate() {
            let patient = SENDERS[sender].patient;
            let mut before = None;
            for (n, which) in (1..=last).flat_map(|n| [(n, 0), (n, 1)]) {
                let ids = found.remove(&(sender, n, which)).unwrap_or_default();
                match ids.as_slice() {
                    [] => faults.push(format!("{patient} number {n}, measurement {which}: {LOST}")),
                    [id] => {
                        let first = self.store.writes("Observation", id).first().map(|write| write.at.micros);
                        if first < before {
                            faults
                                .push(format!("{patient} number {n} was there before the number before it"));
                        }
                        before = first;
                    }
                    _ => faults.push(format!("{patient} number {n}, measurement {which}: doubled: {ids:?}")),
                }
            }
        }
        faults
            .extend(found.into_keys().map(|fact| format!("{fact:?} is upstream and was never acknowledged")));
        faults
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

    /// The box is sound, has accepted each number once, holds only beginnings of what was said again whole, and says
    /// so itself.
    fn kept(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let database = Connection::open(self.data.join("bedside.db")).unwrap();
        let number =
            |sql: &str| database.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap().unsigned_abs();
        let sound: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        if sound != "ok" {
            faults.push(format!("the database is damaged: {sound}"));
        }
        let aside = std::fs::read_dir(self.data).unwrap().map(|entry| entry.unwrap().file_name());
        faults.extend(
            aside
                .filter(|name| name.to_string_lossy().contains("corrupt"))
                .map(|name| format!("a damaged database was set aside: {}", name.display())),
        );
        let held = self.held(&database, &mut faults);
        let accepted = number("SELECT count(*) FROM entry WHERE state = 3");
        // A held beginning whose whole message came later is set aside by the box itself.
        let again = number(
            "SELECT count(*) FROM entry WHERE state = 3 AND reason LIKE 'the analyser sent it again%'",
        );
        // An agent's frame holds its association too: said again it is another frame of the same Observations.
        let agents = number(
            "SELECT count(*) FROM entry JOIN link ON link.id = entry.link WHERE state = 3 AND link.name = 'scale'",
        );
        let said = self.acknowledged.iter().sum::<u64>() - self.acknowledged[SCALE];
        if accepted - again - agents != said || agents < self.acknowledged[SCALE] {
            faults.push(format!(
                "{:?} numbers were acknowledged, {} entries are accepted, {agents} of them the agent's",
                self.acknowledged,
                accepted - again
            ));
        }
        if held > 1 {
            faults.push(format!(
                "{held} beginnings are still held, though their messages were said again whole"
            ));
        }
        if number("SELECT count(*) FROM part") != 0 {
            faults.push("parts of a message are left".into());
        }
        let counts = serde_json::json!({ "waiting": 0, "sent": 0, "held": held, "accepted": accepted });
        if self.status["counts"] != counts {
            faults.push(format!("status says {}, the database {counts}", self.status["counts"]));
        }
        faults
    }

    /// A frame of the analyser is acknowledged before its message is whole. What a cut left of such a message is shown
    /// to a person; the message itself was said again.
    fn held(&self, database: &Connection, faults: &mut Vec<String>) -> usize {
        let mut held = database
            .prepare(
                "SELECT link.name, entry.reason, frame.bytes FROM entry JOIN frame ON frame.id = entry.id
                 JOIN link ON link.id = entry.link WHERE entry.state = 2",
            )
            .unwrap();
        let rows = held
            .query_map([], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, Vec<u8>>(2)?))
            })
            .unwrap();
        let whole: HashSet<String> = (1..=self.acknowledged[ANALYSER]).map(Analyser::message).collect();
        let mut count = 0;
        for row in rows {
            count += 1;
            let (link, reason, bytes) = row.unwrap();
            let text = String::from_utf8_lossy(&bytes).into_owned();
            // The time in its first record tells which message it was.
            let begins = whole.iter().any(|message| message.starts_with(&text) && *message != text);
            if link != "analyser" || !begins {
                faults.push(format!("held on {link}: {reason}"));
            }
        }
        count
    }

    /// No fault of the program and no patient in what it logged.
    fn logged(&self) -> Vec<String> {
        let wrong =
            |line: &&str| line.contains("panicked") || line.contains("RIG-") || line.contains("Rig^Person");
        self.log.lines().filter(wrong).map(|line| format!("logged: {line}")).collect()
    }
}
