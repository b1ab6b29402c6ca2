//! Persons who were found to be one, and the way back.

use rusqlite::{OptionalExtension, params};

use super::apply::{No, Telling, family, owners, resolve, survivor};
use super::ways;
use crate::clock::Timestamp;
use crate::device::Identifier;
use crate::identity::Said;

/// Those known by `old` are `person` from now on. What was theirs stays theirs underneath.
pub(super) fn merge(telling: &mut Telling<'_>, person: &Said, old: &[Identifier]) -> Result<(), No> {
    let gone = known(telling, old)?;
    let into = telling.person(person)?;
    if let Some(gone) = gone.filter(|gone| *gone != into) {
        join(telling, into, gone)?;
    }
    retire(telling, into, old)
}

/// The numbers of one person were changed. Where the new ones are somebody else's, it is a merge.
pub(super) fn renumber(telling: &mut Telling<'_>, person: &Said, old: &[Identifier]) -> Result<(), No> {
    if let (Some(known), None) = (known(telling, old)?, resolve(telling.conn, &person.identifiers)?) {
        for identifier in &person.identifiers {
            telling.identify(known, identifier, false)?;
        }
    }
    merge(telling, person, old)
}

/// The person of the first of `old` that somebody has.
fn known(telling: &Telling<'_>, old: &[Identifier]) -> Result<Option<i64>, No> {
    for identifier in old {
        let mut survivors: Vec<i64> =
            owners(telling.conn, identifier)?.into_iter().map(|owner| owner.survivor).collect();
        survivors.dedup();
        match survivors.as_slice() {
            [] => {}
            [one] => return Ok(Some(*one)),
            _ => {
                return Err(No::Because(
                    "the number it merges belongs to several persons of the patient index: look at Patients"
                        .into(),
                ));
            }
        }
    }
    Ok(None)
}

fn join(telling: &mut Telling<'_>, into: i64, gone: i64) -> Result<(), No> {
    telling
        .conn
        .prepare_cached("UPDATE person SET merged_into = ?2 WHERE id = ?1")?
        .execute(params![gone, into])?;
    telling
        .conn
        .prepare_cached("INSERT INTO person_merge (survivor, gone, at, entry) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![into, gone, telling.told, telling.entry])?;
    telling.touched.insert(gone);
    Ok(())
}

/// `old` still finds the person, and is shown as a number of the past.
fn retire(telling: &Telling<'_>, person: i64, old: &[Identifier]) -> Result<(), No> {
    for identifier in old {
        let all = owners(telling.conn, identifier)?;
        // A third person's number is not touched by a merge that did not name them first.
        if all.is_empty() || all.iter().any(|owner| owner.survivor == person) {
            telling.identify(person, identifier, true)?;
        }
    }
    Ok(())
}

/// A person takes a merge back: both are who they were, with what was told of each.
pub(super) fn undo(conn: &rusqlite::Connection, merge: i64, by: &str, now: Timestamp) -> Result<(), No> {
    let found = conn
        .prepare_cached("SELECT gone, undone FROM person_merge WHERE id = ?1")?
        .query_row([merge], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Option<i64>>(1)?)))
        .optional()?;
    let Some((gone, undone)) = found else { return Err(No::Because(format!("there is no merge {merge}"))) };
    if undone.is_some() {
        return Err(No::Because("this merge was taken back already".into()));
    }
    let before = survivor(conn, gone)?;
    conn.execute("UPDATE person SET merged_into = NULL WHERE id = ?1", [gone])?;
    conn.execute(
        "UPDATE person_merge SET undone = ?2, undone_by = ?3 WHERE gone = ?1 AND undone IS NULL",
        params![gone, now.micros, by],
    )?;
    for person in family(conn, gone)? {
        conn.execute("UPDATE person_identifier SET retired = 0 WHERE person = ?1", [person])?;
    }
    ways::work_out(conn, gone)?;
    ways::work_out(conn, before)?;
    Ok(())
}
