//! Asking the index.

use std::collections::BTreeSet;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::apply::{family, has_other, survivor};
use super::ways::place;
use super::{Lookup, MergeRow, PeopleCounts, PersonDetail, PersonRow, SourceRow, StayRow, folded};
use crate::buffer::reader::Reader;
use crate::buffer::{BufferError, folder as files, schema};
use crate::clock::Timestamp;
use crate::device::{Identifier, Person};
use crate::identity::{NO_AUTHORITY, Place, Visit, has_issuer, rank};

/// Messages and merges shown of one person.
const SHOWN_MAX: u32 = 200;
/// Persons looked at for one bed.
const BED_MAX: usize = 64;

pub(super) const PEOPLE: &str = "reading the patient index";

fn time(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros, true)
}

impl Reader {
    /// When a merge was told, in microseconds since 1970.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn merged_at(&self, merge: i64) -> Result<Option<i64>, BufferError> {
        self.read("reading a merge", move |conn| {
            conn.query_row("SELECT at FROM person_merge WHERE id = ?1", [merge], |row| row.get(0)).optional()
        })
        .await
    }

    /// The person who has these identifiers, exactly as they are compared here: values in capitals, issuers under their
    /// canonical names; where either side names no issuer the value alone decides. Deleted persons are nobody.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn person_by(&self, identifiers: Vec<Identifier>) -> Result<Lookup, BufferError> {
        self.read(PEOPLE, move |conn| find(conn, &identifiers)).await
    }

    /// A person, or who answers for them since they were merged.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn person(&self, id: i64) -> Result<Option<PersonRow>, BufferError> {
        self.read(PEOPLE, move |conn| one(conn, survivor(conn, id)?)).await
    }

    /// Everyone whose stay in this bed covers `at` (microseconds since 1970), those on leave among them.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn in_bed(&self, place: Place, at: i64) -> Result<Vec<PersonRow>, BufferError> {
        let found = self.occupants(place, at).await?;
        Ok(found.into_iter().map(|(person, _)| person).collect())
    }

    /// As [`in_bed`](Self::in_bed), with the stays.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn occupants(&self, place: Place, at: i64) -> Result<Vec<(PersonRow, StayRow)>, BufferError> {
        self.read(PEOPLE, move |conn| occupants(conn, &place, at)).await
    }

    /// Where a person was, the latest first.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn stays_of(&self, person: i64) -> Result<Vec<StayRow>, BufferError> {
        self.read(PEOPLE, move |conn| stays(conn, survivor(conn, person)?)).await
    }

    /// Persons whose name, birth date or number holds every word of `text`, those with an open stay first.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn search_people(&self, text: String, limit: u32) -> Result<Vec<PersonRow>, BufferError> {
        self.read(PEOPLE, move |conn| search(conn, &text, limit)).await
    }

    /// Everything about one person.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn person_detail(&self, id: i64) -> Result<Option<PersonDetail>, BufferError> {
        self.read(PEOPLE, move |conn| detail(conn, id)).await
    }

    /// Everyone who is in a bed or a room now, by place.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn who_is_in(&self) -> Result<Vec<(PersonRow, StayRow)>, BufferError> {
        self.read(PEOPLE, who_is_in).await
    }

    /// How much is known, and how old it is.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn people_counts(&self) -> Result<PeopleCounts, BufferError> {
        self.read(PEOPLE, counts).await
    }
}

/// Runs a question on the index in `dir` without locking or changing it, also while the box runs.
///
/// # Errors
/// [`BufferError::Newer`], [`BufferError::Foreign`], [`BufferError::Storage`].
pub fn look_at_people(
    dir: &Path,
    text: Option<&str>,
) -> Result<Vec<(PersonRow, Option<StayRow>)>, BufferError> {
    let path = dir.join(files::DATABASE);
    schema::refuse_what_is_not_ours(&path)?;
    let looked = schema::connect_querying(&path).and_then(|conn| match text {
        None => Ok(who_is_in(&conn)?.into_iter().map(|(person, stay)| (person, Some(stay))).collect()),
        Some(text) => {
            let found = search(&conn, text, SHOWN_MAX)?.into_iter();
            let with_stay = |person: PersonRow| {
                let open = stays(&conn, person.id)?.into_iter().find(|stay| stay.until.is_none());
                Ok((person, open))
            };
            found.map(with_stay).collect()
        }
    });
    looked.map_err(|source| BufferError::Storage { doing: PEOPLE, source })
}

/// As [`look_at_people`], everything about one person.
///
/// # Errors
/// As [`look_at_people`].
pub fn look_at_person(dir: &Path, id: i64) -> Result<Option<PersonDetail>, BufferError> {
    let path = dir.join(files::DATABASE);
    schema::refuse_what_is_not_ours(&path)?;
    let looked = schema::connect_querying(&path).and_then(|conn| detail(&conn, id));
    looked.map_err(|source| BufferError::Storage { doing: PEOPLE, source })
}

pub(super) fn find(conn: &Connection, identifiers: &[Identifier]) -> rusqlite::Result<Lookup> {
    let mut all = BTreeSet::new();
    for identifier in identifiers {
        let exact = has_issuer(&identifier.system);
        let mut found = conn.prepare_cached(
            "SELECT person FROM person_identifier WHERE folded = ?1 AND (?2 = '' OR system = ?2 OR system = ?3)",
        )?;
        let system = if exact { &*identifier.system } else { "" };
        let mut rows = found.query(params![folded(&identifier.value), system, NO_AUTHORITY])?;
        while let Some(row) = rows.next()? {
            let person = survivor(conn, row.get(0)?)?;
            if one(conn, person)?.is_some_and(|row| !row.removed) {
                all.insert(person);
            }
        }
    }
    let (Some(id), 1) = (all.first().copied(), all.len()) else {
        return Ok(if all.is_empty() { Lookup::None } else { Lookup::Several });
    };
    // Known by one number and a stranger by another of the same issuer: not one person.
    for identifier in identifiers {
        let own = one_has(conn, id, identifier)?;
        if !own && has_other(conn, id, identifier)? {
            return Ok(Lookup::Several);
        }
    }
    Ok(one(conn, id)?.map_or(Lookup::None, |row| Lookup::One(Box::new(row))))
}

fn one_has(conn: &Connection, person: i64, identifier: &Identifier) -> rusqlite::Result<bool> {
    Ok(super::apply::owners(conn, identifier)?.iter().any(|owner| owner.survivor == person))
}

/// One person as they stand; `None` when there is no such row.
pub(super) fn one(conn: &Connection, id: i64) -> rusqlite::Result<Option<PersonRow>> {
    let row = conn
        .prepare_cached("SELECT family, given, birth_date, gender, told, removed FROM person WHERE id = ?1")?
        .query_row([id], |row| {
            let text = |at: usize| row.get::<_, Option<String>>(at);
            let given: Vec<String> = serde_json::from_str(&row.get::<_, String>(1)?).unwrap_or_default();
            let person = Person {
                identifiers: Vec::new(),
                family: text(0)?.map(Into::into),
                given: given.into_iter().map(Into::into).collect(),
                birth_date: text(2)?.map(Into::into),
                gender: text(3)?.map(Into::into),
            };
            Ok(PersonRow { id, person, told: time(row.get(4)?), removed: row.get(5)? })
        })
        .optional()?;
    let Some(mut row) = row else { return Ok(None) };
    row.person.identifiers = identifiers(conn, id, false)?;
    Ok(Some(row))
}

pub(super) fn identifiers(conn: &Connection, id: i64, retired: bool) -> rusqlite::Result<Vec<Identifier>> {
    let mut all: Vec<(u8, i64, Identifier)> = Vec::new();
    for person in family(conn, id)? {
        let mut found = conn.prepare_cached(
            "SELECT system, value, kind, since FROM person_identifier WHERE person = ?1 AND retired = ?2",
        )?;
        let mut rows = found.query(params![person, retired])?;
        while let Some(row) = rows.next()? {
            let kind: String = row.get(2)?;
            let identifier = Identifier {
                system: row.get::<_, String>(0)?.into(),
                value: row.get::<_, String>(1)?.into(),
                kind: (!kind.is_empty()).then(|| kind.as_str().into()),
            };
            // What is the survivor's own leads.
            let foreign = u8::from(person != id) * 20;
            all.push((foreign + rank(identifier.kind.as_deref()), row.get(3)?, identifier));
        }
    }
    all.sort_by(|a, b| (a.0, a.1, &a.2.value).cmp(&(b.0, b.1, &b.2.value)));
    Ok(all.into_iter().map(|(_, _, identifier)| identifier).collect())
}

pub(super) const STAY: &str =
    "SELECT stay.person, facility, point_of_care, room, bed, since, until, on_leave, system, number
     FROM stay LEFT JOIN encounter ON encounter.id = stay.encounter";

pub(super) fn stay(row: &Row<'_>) -> rusqlite::Result<StayRow> {
    let visit = match (row.get::<_, Option<String>>(8)?, row.get::<_, Option<String>>(9)?) {
        (Some(system), Some(number)) => Some(Visit { system, number }),
        _ => None,
    };
    Ok(StayRow {
        person: row.get(0)?,
        place: place(row, 1)?.unwrap_or_default(),
        visit,
        since: row.get(5)?,
        until: row.get(6)?,
        on_leave: row.get(7)?,
    })
}

pub(super) fn stays(conn: &Connection, person: i64) -> rusqlite::Result<Vec<StayRow>> {
    let ask = format!("{STAY} WHERE stay.person = ?1 ORDER BY since DESC, stay.id DESC");
    conn.prepare_cached(&ask)?.query_map([person], stay)?.collect()
}

fn occupants(conn: &Connection, place: &Place, at: i64) -> rusqlite::Result<Vec<(PersonRow, StayRow)>> {
    let ask = format!(
        "{STAY} WHERE bed IS ?1 AND (?1 IS NOT NULL OR room IS ?2) AND since <= ?3 AND (until IS NULL OR until > ?3)"
    );
    let mut found = conn.prepare_cached(&ask)?;
    let mut rows = found.query(params![place.bed, place.room, at])?;
    let mut all: Vec<(PersonRow, StayRow)> = Vec::new();
    while let Some(row) = rows.next()? {
        let stay = stay(row)?;
        let new = !all.iter().any(|(person, _)| person.id == stay.person);
        if new
            && all.len() < BED_MAX
            && stay.place.is_same_bed(place)
            && let Some(person) = one(conn, stay.person)?
        {
            all.push((person, stay));
        }
    }
    Ok(all)
}

fn who_is_in(conn: &Connection) -> rusqlite::Result<Vec<(PersonRow, StayRow)>> {
    let ask = format!(
        "{STAY} WHERE until IS NULL AND (bed IS NOT NULL OR room IS NOT NULL)
         ORDER BY facility, point_of_care, room, bed, since"
    );
    let mut found = conn.prepare_cached(&ask)?;
    let open: Vec<StayRow> = found.query_map([], stay)?.collect::<rusqlite::Result<_>>()?;
    let mut all = Vec::with_capacity(open.len());
    for stay in open {
        if let Some(person) = one(conn, stay.person)? {
            all.push((person, stay));
        }
    }
    Ok(all)
}

fn search(conn: &Connection, text: &str, limit: u32) -> rusqlite::Result<Vec<PersonRow>> {
    let words: Vec<String> =
        text.split([' ', ',']).map(folded).filter(|word| !word.is_empty()).take(6).collect();
    let mut ask = String::from("SELECT id FROM person WHERE merged_into IS NULL AND removed = 0");
    for at in 1..=words.len() {
        // A number finds its person also when it was merged.
        ask.push_str(&format!(
            " AND (instr(words, ?{at}) OR instr(coalesce(birth_date, ''), ?{at}) OR id IN (
               WITH RECURSIVE up (id) AS (SELECT person FROM person_identifier WHERE instr(folded, ?{at})
                 UNION SELECT person.merged_into FROM person JOIN up ON person.id = up.id WHERE merged_into IS NOT NULL)
               SELECT id FROM up))"
        ));
    }
    ask.push_str(&format!(
        " ORDER BY id IN (SELECT person FROM stay WHERE until IS NULL) DESC, words, id LIMIT {limit}"
    ));
    let mut found = conn.prepare_cached(&ask)?;
    let ids: Vec<i64> = found
        .query_map(rusqlite::params_from_iter(words), |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let mut all = Vec::with_capacity(ids.len());
    for id in ids {
        all.extend(one(conn, id)?);
    }
    Ok(all)
}

fn detail(conn: &Connection, id: i64) -> rusqlite::Result<Option<PersonDetail>> {
    let id = survivor(conn, id)?;
    let Some(row) = one(conn, id)? else { return Ok(None) };
    let (mut merges, mut sources) = (Vec::new(), Vec::new());
    for person in family(conn, id)? {
        let mut found = conn.prepare_cached(
            "SELECT id, survivor, gone, at, entry, undone, undone_by FROM person_merge WHERE survivor = ?1 OR gone = ?1
             ORDER BY id DESC LIMIT ?2",
        )?;
        let rows = found.query_map(params![person, SHOWN_MAX], |row| {
            let (undone, by): (Option<i64>, Option<String>) = (row.get(5)?, row.get(6)?);
            Ok(MergeRow {
                id: row.get(0)?,
                survivor: row.get(1)?,
                gone: row.get(2)?,
                at: time(row.get(3)?),
                entry: row.get(4)?,
                undone: undone.map(|at| (time(at), by.unwrap_or_default())),
            })
        })?;
        for merge in rows {
            merges.push(merge?);
        }
        let mut found = conn.prepare_cached(
            "SELECT entry, event, told FROM person_entry WHERE person = ?1 ORDER BY entry DESC LIMIT ?2",
        )?;
        let rows = found.query_map(params![person, SHOWN_MAX], |row| {
            Ok(SourceRow { entry: row.get(0)?, event: row.get(1)?, told: time(row.get(2)?) })
        })?;
        for source in rows {
            sources.push(source?);
        }
    }
    merges.sort_by_key(|merge| std::cmp::Reverse(merge.id));
    merges.dedup();
    sources.sort_by_key(|source| std::cmp::Reverse(source.entry));
    sources.dedup();
    let retired = identifiers(conn, id, true)?;
    Ok(Some(PersonDetail { row, retired, stays: stays(conn, id)?, merges, sources }))
}

fn counts(conn: &Connection) -> rusqlite::Result<PeopleCounts> {
    let count = |ask: &str| conn.prepare_cached(ask)?.query_row([], |row| row.get::<_, i64>(0));
    let persons = count("SELECT count(*) FROM person WHERE merged_into IS NULL AND removed = 0")?;
    let occupied = count("SELECT count(*) FROM stay WHERE until IS NULL")?;
    let mut found = conn.prepare_cached("SELECT source, at FROM people_heard ORDER BY source")?;
    let heard = found.query_map([], |row| Ok((row.get(0)?, time(row.get(1)?))))?;
    Ok(PeopleCounts {
        persons: persons.unsigned_abs(),
        occupied: occupied.unsigned_abs(),
        heard: heard.collect::<rusqlite::Result<_>>()?,
    })
}
