//! Questions by name, number, visit and place: candidates from an index of the table, then the whole of what was asked.

use std::collections::BTreeSet;

use rusqlite::{Connection, params};

use super::apply::survivor;
use super::read::{identifiers, one, stays};
use super::{PersonRow, StayRow};
use crate::buffer::BufferError;
use crate::buffer::reader::Reader;
use crate::identity::query::Criteria;

/// Persons looked at for one question.
const CANDIDATES_MAX: usize = 20_000;

/// An answer's page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matching {
    /// Those of this page, by id, each with the present stay.
    pub people: Vec<(PersonRow, Option<StayRow>)>,
    /// How many fit in all.
    pub total: usize,
    /// How many fit behind the last of them.
    pub left: usize,
}

impl Reader {
    /// Everyone who fits, behind `after`, at most `limit` of them.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn people_matching(
        &self,
        criteria: Criteria,
        after: i64,
        limit: usize,
    ) -> Result<Matching, BufferError> {
        self.read("asking the patient index", move |conn| matching(conn, &criteria, after, limit)).await
    }
}

fn matching(conn: &Connection, criteria: &Criteria, after: i64, limit: usize) -> rusqlite::Result<Matching> {
    let mut found = Matching::default();
    for id in candidates(conn, criteria)? {
        let Some(row) = one(conn, id)?.filter(|row| !row.removed) else { continue };
        let open = stays(conn, id)?.into_iter().find(|stay| stay.until.is_none());
        let mut numbers = row.person.identifiers.clone();
        numbers.extend(identifiers(conn, id, true)?);
        let now =
            open.as_ref().map(|stay| (&stay.place, stay.visit.as_ref().map(|visit| visit.number.as_str())));
        if !criteria.fits(&row.person, &numbers, now) {
            continue;
        }
        found.total += 1;
        if id <= after {
            continue;
        }
        if found.people.len() < limit {
            found.people.push((row, open));
        } else {
            found.left += 1;
        }
    }
    Ok(found)
}

/// Persons who may fit, by id; more than asked for, never fewer.
fn candidates(conn: &Connection, criteria: &Criteria) -> rusqlite::Result<BTreeSet<i64>> {
    let limit = i64::try_from(CANDIDATES_MAX).unwrap_or(i64::MAX);
    let mut all = BTreeSet::new();
    let mut add = |ids: Vec<i64>| -> rusqlite::Result<()> {
        for id in ids {
            all.insert(survivor(conn, id)?);
        }
        Ok(())
    };
    let number = criteria.number.as_ref().or(criteria.account.as_ref());
    if let Some(number) = number {
        let (from, to) = match number.strip_suffix('*') {
            Some(start) => (start.to_owned(), format!("{start}\u{10FFFF}")),
            None => (number.clone(), number.clone()),
        };
        let mut ask = conn.prepare_cached(
            "SELECT person FROM person_identifier WHERE folded >= ?1 AND folded <= ?2 LIMIT ?3",
        )?;
        let ids = ask.query_map(params![from, to, limit], |row| row.get(0))?;
        add(ids.collect::<rusqlite::Result<_>>()?)?;
        return Ok(all);
    }
    if criteria.visit.is_some() || criteria.place.iter().any(Option::is_some) {
        let mut ask = conn.prepare_cached("SELECT person FROM stay WHERE until IS NULL LIMIT ?1")?;
        let ids = ask.query_map([limit], |row| row.get(0))?;
        add(ids.collect::<rusqlite::Result<_>>()?)?;
        return Ok(all);
    }
    let family = criteria.family.as_deref().unwrap_or_default();
    let born = criteria.birth_date.as_deref().unwrap_or_default();
    let mut ask = conn.prepare_cached(
        "SELECT id FROM person WHERE merged_into IS NULL AND removed = 0 AND substr(words, 1, length(?1)) = ?1
           AND substr(coalesce(birth_date, ''), 1, length(?2)) = ?2 ORDER BY id LIMIT ?3",
    )?;
    let ids = ask.query_map(params![family.trim_end_matches('*'), born, limit], |row| row.get(0))?;
    add(ids.collect::<rusqlite::Result<_>>()?)?;
    Ok(all)
}
