//! What was said of a person's ways, and the stays that follow from it.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::apply::{No, Telling, family, survivor};
use crate::identity::{Movement, Place, Step, Visit, stays};

/// More than this was said of nobody's ways.
const MOVEMENTS_MAX: i64 = 10_000;

const STEPS: [Step; 12] = [
    Step::Arrived,
    Step::Moved,
    Step::Seen,
    Step::Left,
    Step::Away,
    Step::Back,
    Step::NeverArrived,
    Step::NeverMoved,
    Step::NeverLeft,
    Step::NeverAway,
    Step::NeverBack,
    Step::NeverVisited,
];

fn number(step: Step) -> i64 {
    STEPS.iter().position(|one| *one == step).and_then(|at| i64::try_from(at).ok()).unwrap_or(-1)
}

fn step(number: i64) -> Option<Step> {
    usize::try_from(number).ok().and_then(|at| STEPS.get(at)).copied()
}

/// A place as four columns hold it, from `first` on.
pub(super) fn place(row: &Row<'_>, first: usize) -> rusqlite::Result<Option<Place>> {
    let place = Place {
        facility: row.get(first)?,
        point_of_care: row.get(first + 1)?,
        room: row.get(first + 2)?,
        bed: row.get(first + 3)?,
    };
    Ok((place != Place::default()).then_some(place))
}

/// Writes down one movement. Being seen where one was seen before is one row, however often it is said.
pub(super) fn add(telling: &Telling<'_>, person: i64, movement: &Movement) -> Result<(), No> {
    let encounter = match &movement.visit {
        Some(visit) => Some(encounter(telling, person, visit)?),
        None => None,
    };
    let place = movement.place.clone().unwrap_or_default();
    if movement.step == Step::Seen {
        let mut last = telling.conn.prepare_cached(
            "SELECT id, step, facility, point_of_care, room, bed, told FROM movement WHERE person = ?1 AND encounter IS ?2
             ORDER BY told DESC, id DESC LIMIT 2",
        )?;
        let last: Vec<(i64, bool, i64)> = last
            .query_map(params![person, encounter], |row| {
                let here = self::place(row, 2)?.as_ref() == Some(&place);
                Ok((row.get(0)?, here && row.get::<_, i64>(1)? == number(Step::Seen), row.get(6)?))
            })?
            .collect::<rusqlite::Result<_>>()?;
        if let [(id, true, told), (_, true, _)] = last.as_slice()
            && *told <= movement.told
        {
            telling
                .conn
                .prepare_cached("UPDATE movement SET at = ?2, told = ?3, entry = ?4 WHERE id = ?1")?
                .execute(params![id, movement.at, movement.told, telling.entry])?;
            return Ok(());
        }
    }
    let count: i64 = telling
        .conn
        .prepare_cached("SELECT count(*) FROM movement WHERE person = ?1")?
        .query_row([person], |row| row.get(0))?;
    if count >= MOVEMENTS_MAX {
        return Err(No::Because(format!("more than {MOVEMENTS_MAX} movements of one person")));
    }
    telling
        .conn
        .prepare_cached(
            "INSERT INTO movement (person, encounter, step, at, told, facility, point_of_care, room, bed, entry)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?
        .execute(params![
            person,
            encounter,
            number(movement.step),
            movement.at,
            movement.told,
            place.facility,
            place.point_of_care,
            place.room,
            place.bed,
            telling.entry
        ])?;
    Ok(())
}

/// The visit's row, made when it is new.
fn encounter(telling: &Telling<'_>, person: i64, visit: &Visit) -> Result<i64, No> {
    for one in family(telling.conn, survivor(telling.conn, person)?)? {
        let known = telling
            .conn
            .prepare_cached("SELECT id FROM encounter WHERE number = ?1 AND system = ?2 AND person = ?3")?
            .query_row(params![visit.number, visit.system, one], |row| row.get(0))
            .optional()?;
        if let Some(known) = known {
            return Ok(known);
        }
    }
    telling
        .conn
        .prepare_cached("INSERT INTO encounter (person, system, number) VALUES (?1, ?2, ?3)")?
        .execute(params![person, visit.system, visit.number])?;
    Ok(telling.conn.last_insert_rowid())
}

/// The visit `from`, whoever it was told of, is `to` of this person.
pub(super) fn move_visit(telling: &mut Telling<'_>, person: i64, from: &Visit, to: &Visit) -> Result<(), No> {
    let mut found =
        telling.conn.prepare_cached("SELECT id, person FROM encounter WHERE number = ?1 AND system = ?2")?;
    let known: Vec<(i64, i64)> = found
        .query_map(params![from.number, from.system], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (encounter, owner) in known {
        let own = self::encounter(telling, person, to)?;
        if own == encounter {
            continue;
        }
        telling.conn.execute(
            "UPDATE movement SET person = ?1, encounter = ?2 WHERE encounter = ?3",
            params![person, own, encounter],
        )?;
        telling.conn.execute("DELETE FROM encounter WHERE id = ?1", [encounter])?;
        telling.touched.insert(owner);
    }
    Ok(())
}

/// Two persons changed beds.
pub(super) fn swap(telling: &Telling<'_>, first: i64, second: i64, at: i64) -> Result<(), No> {
    let bed = |person: i64| -> Result<Place, No> {
        let person = survivor(telling.conn, person)?;
        let mut open = telling.conn.prepare_cached(
            "SELECT facility, point_of_care, room, bed FROM stay WHERE person = ?1 AND until IS NULL AND bed IS NOT NULL",
        )?;
        let beds: Vec<Option<Place>> =
            open.query_map([person], |row| place(row, 0))?.collect::<rusqlite::Result<_>>()?;
        match beds.as_slice() {
            [Some(bed)] => Ok(bed.clone()),
            _ => Err(No::Because("two patients change beds, and the bed of one is not known".into())),
        }
    };
    let (here, there) = (bed(first)?, bed(second)?);
    for (person, place) in [(first, there), (second, here)] {
        let moved = Movement { step: Step::Moved, visit: None, place: Some(place), at, told: telling.told };
        add(telling, person, &moved)?;
    }
    Ok(())
}

/// All that a source which knows the whole visit says of it.
pub(super) fn replace_visit(
    telling: &Telling<'_>,
    person: i64,
    visit: &Visit,
    places: &[(Place, i64, Option<i64>)],
    over: bool,
) -> Result<(), No> {
    let encounter = encounter(telling, person, visit)?;
    telling.conn.execute("DELETE FROM movement WHERE encounter = ?1 AND entry IS NULL", [encounter])?;
    let told = telling.told;
    let visit = Some(visit.clone());
    for (place, since, until) in places {
        let (step, place) = (Step::Moved, Some(place.clone()));
        add(telling, person, &Movement { step, visit: visit.clone(), place, at: *since, told })?;
        if let Some(until) = until {
            add(
                telling,
                person,
                &Movement { step: Step::Left, visit: visit.clone(), place: None, at: *until, told },
            )?;
        }
    }
    if over && places.iter().all(|(_, _, until)| until.is_none()) {
        add(telling, person, &Movement { step: Step::Left, visit, place: None, at: told, told })?;
    }
    Ok(())
}

/// Works out the stays of a person and of all who were merged into them.
pub(super) fn work_out(conn: &Connection, survivor: i64) -> Result<(), No> {
    let family = family(conn, survivor)?;
    let mut movements = Vec::new();
    for person in &family {
        conn.prepare_cached("DELETE FROM stay WHERE person = ?1")?.execute([person])?;
        let mut found = conn.prepare_cached(
            "SELECT movement.id, step, at, told, facility, point_of_care, room, bed, system, number FROM movement
             LEFT JOIN encounter ON encounter.id = movement.encounter WHERE movement.person = ?1",
        )?;
        let mut rows = found.query([person])?;
        while let Some(row) = rows.next()? {
            let Some(step) = step(row.get(1)?) else { continue };
            let visit = match (row.get::<_, Option<String>>(8)?, row.get::<_, Option<String>>(9)?) {
                (Some(system), Some(number)) => Some(Visit { system, number }),
                _ => None,
            };
            let movement =
                Movement { step, visit, place: place(row, 4)?, at: row.get(2)?, told: row.get(3)? };
            movements.push((row.get::<_, i64>(0)?, movement));
        }
    }
    movements.sort_by_key(|(id, _)| *id);
    let movements: Vec<Movement> = movements.into_iter().map(|(_, movement)| movement).collect();
    let mut insert = conn.prepare_cached(
        "INSERT INTO stay (person, encounter, facility, point_of_care, room, bed, since, until, on_leave)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?;
    for stay in stays(&movements) {
        let encounter: Option<i64> = match &stay.visit {
            None => None,
            Some(visit) => {
                let mut found = conn
                    .prepare_cached("SELECT id, person FROM encounter WHERE number = ?1 AND system = ?2")?;
                let all: Vec<(i64, i64)> = found
                    .query_map(params![visit.number, visit.system], |row| Ok((row.get(0)?, row.get(1)?)))?
                    .collect::<rusqlite::Result<_>>()?;
                all.into_iter().find(|(_, person)| family.contains(person)).map(|(id, _)| id)
            }
        };
        let Place { facility, point_of_care, room, bed } = &stay.place;
        let until = stay.until;
        insert.execute(params![
            survivor,
            encounter,
            facility,
            point_of_care,
            room,
            bed,
            stay.since,
            until,
            stay.on_leave
        ])?;
    }
    Ok(())
}
