//! The index for whoever must know at once, on the caller's thread: a few rows by their key.

use rusqlite::{Connection, params};

use super::apply::survivor;
use super::read::{PEOPLE, STAY, find, one, stay, stays};
use super::{Lookup, PersonRow, StayRow};
use crate::buffer::BufferError;
use crate::buffer::reader::Reader;
use crate::device::Identifier;
use crate::identity::Place;

/// Stays looked at for one bed.
const STAYS_MAX: usize = 256;

impl Reader {
    /// Whether the index knows anybody.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub fn has_people_now(&self) -> Result<bool, BufferError> {
        self.read_now(PEOPLE, |conn| {
            conn.prepare_cached("SELECT EXISTS (SELECT 1 FROM person)")?.query_row([], |row| row.get(0))
        })
    }

    /// As [`person_by`](Self::person_by).
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub fn person_by_now(&self, identifiers: &[Identifier]) -> Result<Lookup, BufferError> {
        self.read_now(PEOPLE, |conn| find(conn, identifiers))
    }

    /// As [`stays_of`](Self::stays_of).
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub fn stays_of_now(&self, person: i64) -> Result<Vec<StayRow>, BufferError> {
        self.read_now(PEOPLE, |conn| stays(conn, survivor(conn, person)?))
    }

    /// Everyone who was in this bed at some instant from `from` to `to`, both included (microseconds since 1970), those
    /// on leave among them; each with the one who answers for them since a merge.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub fn in_bed_between_now(
        &self,
        place: &Place,
        from: i64,
        to: i64,
    ) -> Result<Vec<(PersonRow, StayRow)>, BufferError> {
        self.read_now(PEOPLE, |conn| between(conn, place, from, to))
    }
}

fn between(
    conn: &Connection,
    place: &Place,
    from: i64,
    to: i64,
) -> rusqlite::Result<Vec<(PersonRow, StayRow)>> {
    let ask = format!(
        "{STAY} WHERE bed IS ?1 AND (?1 IS NOT NULL OR room IS ?2) AND since <= ?4 AND (until IS NULL OR until > ?3)"
    );
    let mut found = conn.prepare_cached(&ask)?;
    let mut rows = found.query(params![place.bed, place.room, from, to])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()?.filter(|_| all.len() < STAYS_MAX) {
        let stay = stay(row)?;
        if stay.place.is_same_bed(place)
            && let Some(person) = one(conn, survivor(conn, stay.person)?)?.filter(|person| !person.removed)
        {
            all.push((person, stay));
        }
    }
    Ok(all)
}
