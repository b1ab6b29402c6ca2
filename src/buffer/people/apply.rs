//! Facts into the tables, within the writer's transaction.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, params};

use super::{PeopleChange, folded, merge, newer, ways};
use crate::buffer::association::{ADMINISTRATION, owe};
use crate::clock::Timestamp;
use crate::device::Identifier;
use crate::identity::{Fact, Movement, Said, Step, adt::Adt, has_issuer, is_personal, rank};

/// More persons than this are a fault of whoever sends them.
const PERSONS_MAX: i64 = 1_000_000;
/// Identifiers of one person.
const IDENTIFIERS_MAX: i64 = 200;

/// Why a change is not made: the disk, or a reason for a person.
pub(super) enum No {
    Storage(rusqlite::Error),
    Because(String),
}

impl From<rusqlite::Error> for No {
    fn from(error: rusqlite::Error) -> Self {
        Self::Storage(error)
    }
}

/// What a change needs to know of the message it comes from.
pub(super) struct Telling<'t> {
    pub(super) conn: &'t Connection,
    pub(super) source: &'t str,
    pub(super) entry: Option<i64>,
    pub(super) told: i64,
    /// By the box's own clock.
    pub(super) now: Timestamp,
    /// Persons whose ways are to be worked out anew.
    pub(super) touched: BTreeSet<i64>,
}

/// Writes one change into the open transaction; the inner error says why it is not made.
pub(in crate::buffer) fn apply(
    conn: &Connection,
    change: &PeopleChange,
    now: Timestamp,
) -> rusqlite::Result<Result<(), String>> {
    let done = match change {
        PeopleChange::Tell { entry, source, said } => tell(conn, *entry, source, said, now),
        PeopleChange::Unmerge { merge, by } => merge::undo(conn, *merge, by, now),
        PeopleChange::Heard { source } => heard(conn, source, now),
    };
    match done {
        Ok(()) => Ok(Ok(())),
        Err(No::Because(why)) => Ok(Err(why)),
        Err(No::Storage(error)) => Err(error),
    }
}

fn heard(conn: &Connection, source: &str, now: Timestamp) -> Result<(), No> {
    conn.prepare_cached("INSERT OR REPLACE INTO people_heard (source, at) VALUES (?1, ?2)")?
        .execute(params![source, now.micros])?;
    Ok(())
}

fn tell(conn: &Connection, entry: Option<i64>, source: &str, said: &[Adt], now: Timestamp) -> Result<(), No> {
    if let Some(entry) = entry {
        let known: i64 = conn
            .prepare_cached("SELECT count(*) FROM person_entry WHERE entry = ?1")?
            .query_row([entry], |row| row.get(0))?;
        if known > 0 {
            return Ok(());
        }
    }
    heard(conn, source, now)?;
    if let Some(since) = said.iter().filter_map(Adt::earliest).min() {
        owe(
            conn,
            None,
            since,
            None,
            (ADMINISTRATION, "a later word of the hospital's systems on patients and beds"),
        )?;
    }
    for adt in said {
        let mut telling = Telling { conn, source, entry, told: adt.told, now, touched: BTreeSet::new() };
        for fact in &adt.facts {
            telling.fact(fact)?;
        }
        for person in std::mem::take(&mut telling.touched) {
            if let Some(entry) = entry {
                conn.prepare_cached(
                    "INSERT OR IGNORE INTO person_entry (entry, person, event, told) VALUES (?1, ?2, ?3, ?4)",
                )?
                .execute(params![entry, person, adt.event, adt.told])?;
            }
            ways::work_out(conn, survivor(conn, person)?)?;
        }
    }
    Ok(())
}

impl Telling<'_> {
    fn fact(&mut self, fact: &Fact) -> Result<(), No> {
        match fact {
            Fact::Person(said) => drop(self.person(said)?),
            Fact::Moved(said, movement) => {
                self.person(said)?;
                ways::add(self, self.origin(said)?, movement)?;
            }
            Fact::Merged { person, old } => merge::merge(self, person, old)?,
            Fact::Renumbered { person, old } => merge::renumber(self, person, old)?,
            Fact::VisitMoved { person, from, to } => {
                self.person(person)?;
                ways::move_visit(self, self.origin(person)?, from, to)?;
            }
            Fact::Swapped { first, second, at } => {
                self.person(first)?;
                self.person(second)?;
                ways::swap(self, self.origin(first)?, self.origin(second)?, *at)?;
            }
            Fact::Removed(said) => {
                if let Some(person) = resolve(self.conn, &said.identifiers)? {
                    self.conn.execute(
                        "UPDATE person SET removed = 1, told = max(told, ?2) WHERE id = ?1",
                        params![person, self.told],
                    )?;
                    let (at, told) = (self.told, self.told);
                    let left = Movement { step: Step::Left, visit: None, place: None, at, told };
                    ways::add(self, self.origin(said)?, &left)?;
                    self.touched.insert(person);
                }
            }
            Fact::VisitSeen { person, visit, places, over } => {
                self.person(person)?;
                ways::replace_visit(self, self.origin(person)?, visit, places, *over)?;
            }
        }
        Ok(())
    }

    /// The person of these words, made when nobody knows them, and brought up to date.
    pub(super) fn person(&mut self, said: &Said) -> Result<i64, No> {
        let person = match resolve(self.conn, &said.identifiers)? {
            Some(known) => known,
            None => self.insert()?,
        };
        self.renew(person, said)?;
        for identifier in &said.identifiers {
            self.identify(person, identifier, false)?;
        }
        self.touched.insert(person);
        Ok(person)
    }

    /// Whose own number leads: what is told under it is theirs, also while another person answers for them.
    fn origin(&self, said: &Said) -> Result<i64, No> {
        let known =
            resolve(self.conn, &said.identifiers)?.ok_or_else(|| No::Because("nobody is named".into()))?;
        let leading = said.identifiers.first().map(|leading| owners(self.conn, leading)).transpose()?;
        let own = leading.unwrap_or_default().into_iter().find(|owner| owner.survivor == known);
        Ok(own.map_or(known, |owner| owner.person))
    }

    fn insert(&self) -> Result<i64, No> {
        let count: i64 = self
            .conn
            .prepare_cached("SELECT coalesce(max(id), 0) - coalesce(min(id), 0) FROM person")?
            .query_row([], |row| row.get(0))?;
        if count >= PERSONS_MAX {
            return Err(No::Because(format!("the patient index holds {PERSONS_MAX} persons")));
        }
        self.conn
            .prepare_cached(
                "INSERT INTO person (given, name_told, birth_told, gender_told, words, removed, source, told, heard, entry)
                 VALUES ('[]', -9223372036854775808, -9223372036854775808, -9223372036854775808, '', 0, ?1, ?2, ?3, ?4)",
            )?
            .execute(params![self.source, self.told, self.now.micros, self.entry])?;
        Ok(self.conn.last_insert_rowid())
    }

    /// What is said of the person takes the place of what was said before it, part by part.
    fn renew(&self, person: i64, said: &Said) -> Result<(), No> {
        let told = self.told;
        let known = |column: &str| -> rusqlite::Result<i64> {
            let ask = format!("SELECT {column} FROM person WHERE id = ?1");
            self.conn.prepare_cached(&ask)?.query_row([person], |row| row.get(0))
        };
        let name_told = known("name_told")?;
        let mut named = false;
        if let Some(family) = newer(&said.family, told, name_told) {
            self.set(person, "family", family.map(|text| text.to_string()))?;
            named = true;
        }
        if let Some(given) = newer(&said.given, told, name_told) {
            let given: Vec<&str> = given.into_iter().flatten().map(|text| &**text).collect();
            self.set(person, "given", Some(serde_json::json!(given).to_string()))?;
            named = true;
        }
        if named {
            self.conn.execute("UPDATE person SET name_told = ?2 WHERE id = ?1", params![person, told])?;
            self.index_words(person)?;
        }
        for (part, column, at) in
            [(&said.birth_date, "birth_date", "birth_told"), (&said.gender, "gender", "gender_told")]
        {
            if let Some(part) = newer(part, told, known(at)?) {
                self.set(person, column, part.map(|text| text.to_string()))?;
                let set = format!("UPDATE person SET {at} = ?2 WHERE id = ?1");
                self.conn.prepare_cached(&set)?.execute(params![person, told])?;
            }
        }
        self.conn.execute("UPDATE person SET heard = ?2 WHERE id = ?1", params![person, self.now.micros])?;
        // Said again at the source: there again.
        self.conn.execute(
            "UPDATE person SET removed = 0, told = ?2, source = ?3, entry = coalesce(?4, entry) WHERE id = ?1 AND told <= ?2",
            params![person, told, self.source, self.entry],
        )?;
        Ok(())
    }

    fn set(&self, person: i64, column: &str, value: Option<String>) -> rusqlite::Result<()> {
        let set = format!("UPDATE person SET {column} = ?2 WHERE id = ?1");
        self.conn.prepare_cached(&set)?.execute(params![person, value]).map(drop)
    }

    fn index_words(&self, person: i64) -> rusqlite::Result<()> {
        let (family, given): (Option<String>, String) =
            self.conn.query_row("SELECT family, given FROM person WHERE id = ?1", [person], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?;
        let given: Vec<String> = serde_json::from_str(&given).unwrap_or_default();
        let words = folded(&format!("{} {}", family.unwrap_or_default(), given.join(" ")));
        self.set(person, "words", Some(words))
    }

    /// The person has this identifier. Where another person has it too, both keep it, and whoever asks is told so.
    pub(super) fn identify(&self, person: i64, identifier: &Identifier, retired: bool) -> Result<(), No> {
        let (value, kind) = (folded(&identifier.value), identifier.kind.as_deref().unwrap_or_default());
        let owner = owners(self.conn, identifier)?.into_iter().find(|owner| owner.survivor == person);
        if let Some(owner) = owner {
            self.conn
                .prepare_cached(
                    "UPDATE person_identifier SET kind = CASE kind WHEN '' THEN ?4 ELSE kind END, retired = max(retired, ?5)
                     WHERE folded = ?1 AND system = ?2 AND person = ?3",
                )?
                .execute(params![value, &*identifier.system, owner.person, kind, retired])?;
            return Ok(());
        }
        let count: i64 = self
            .conn
            .prepare_cached("SELECT count(*) FROM person_identifier WHERE person = ?1")?
            .query_row([person], |row| row.get(0))?;
        if count >= IDENTIFIERS_MAX {
            return Err(No::Because(format!("one person has more than {IDENTIFIERS_MAX} identifiers")));
        }
        self.conn
            .prepare_cached(
                "INSERT INTO person_identifier (folded, system, person, value, kind, since, retired, entry)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?
            .execute(params![
                value,
                &*identifier.system,
                person,
                &*identifier.value,
                kind,
                self.told,
                retired,
                self.entry
            ])?;
        Ok(())
    }
}

/// Who has an identifier: as it was given, and who answers for them now.
pub(super) struct Owner {
    pub(super) person: i64,
    pub(super) survivor: i64,
}

/// Everyone who has exactly this identifier.
pub(super) fn owners(conn: &Connection, identifier: &Identifier) -> rusqlite::Result<Vec<Owner>> {
    let mut found =
        conn.prepare_cached("SELECT person FROM person_identifier WHERE folded = ?1 AND system = ?2")?;
    let persons: Vec<i64> = found
        .query_map(params![folded(&identifier.value), &*identifier.system], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    persons.into_iter().map(|person| Ok(Owner { person, survivor: survivor(conn, person)? })).collect()
}

fn survivors(conn: &Connection, identifier: &Identifier) -> rusqlite::Result<BTreeSet<i64>> {
    Ok(owners(conn, identifier)?.into_iter().map(|owner| owner.survivor).collect())
}

/// The person a message speaks of, by identifiers of which the leading one stands first. `None`: nobody known.
///
/// The leading identifier decides. Where nobody has it, another personal one does, unless its person has a number of
/// the same issuer already: then they are two.
pub(super) fn resolve(conn: &Connection, identifiers: &[Identifier]) -> Result<Option<i64>, No> {
    let Some(leading) = identifiers.first() else {
        return Err(No::Because("the message names nobody: no usable identifier in PID-3 or PID-2".into()));
    };
    let mut others: BTreeSet<i64> = BTreeSet::new();
    for identifier in identifiers.iter().skip(1).filter(|one| is_personal(one.kind.as_deref())) {
        others.extend(survivors(conn, identifier)?);
    }
    let known = survivors(conn, leading)?;
    match known.len() {
        0 => {}
        1 => return Ok(known.first().copied()),
        _ => {
            let mut both = known.intersection(&others);
            return match (both.next(), both.next()) {
                (Some(person), None) => Ok(Some(*person)),
                _ => Err(No::Because(
                    "its leading identifier belongs to several persons of the patient index: look at Patients".into(),
                )),
            };
        }
    }
    others.retain(|person| !matches!(has_other(conn, *person, leading), Ok(true)));
    Ok(others.first().copied().filter(|_| others.len() == 1))
}

/// Whether the person has a personal number of the same issuer and another value, in use.
pub(super) fn has_other(conn: &Connection, person: i64, identifier: &Identifier) -> rusqlite::Result<bool> {
    if !has_issuer(&identifier.system) || !is_personal(identifier.kind.as_deref()) {
        return Ok(false);
    }
    let mut found = conn.prepare_cached(
        "SELECT kind FROM person_identifier WHERE person = ?1 AND system = ?2 AND folded <> ?3 AND retired = 0",
    )?;
    let mut kinds = found.query(params![person, &*identifier.system, folded(&identifier.value)])?;
    while let Some(row) = kinds.next()? {
        let kind: String = row.get(0)?;
        if rank(Some(&kind)) == rank(identifier.kind.as_deref()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Who answers for a person: themselves, or the last of those they were merged into.
pub(super) fn survivor(conn: &Connection, person: i64) -> rusqlite::Result<i64> {
    let mut next = conn.prepare_cached("SELECT merged_into FROM person WHERE id = ?1")?;
    let (mut person, mut seen) = (person, BTreeSet::new());
    while seen.insert(person) {
        match next.query_row([person], |row| row.get::<_, Option<i64>>(0)).optional()?.flatten() {
            Some(into) => person = into,
            None => break,
        }
    }
    Ok(person)
}

/// A person and all who were merged into them.
pub(super) fn family(conn: &Connection, survivor: i64) -> rusqlite::Result<Vec<i64>> {
    let mut found = conn.prepare_cached(
        "WITH RECURSIVE one (id) AS (SELECT ?1 UNION SELECT person.id FROM person JOIN one ON person.merged_into = one.id)
         SELECT id FROM one",
    )?;
    found.query_map([survivor], |row| row.get(0))?.collect()
}
