//! For what analysers are to measure: orders by specimen, how far each has come, and what analysers were told.
//!
//! An order is found again by the key of its source, so that the same order told twice is one order. It is `open`
//! until an analyser took it, `sent` until its results came, then `done`. Only `done` and `cancelled` ones are forgotten.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use super::association::{ADMINISTRATION, owe};
use super::reader::Reader;
use super::work::{
    Asked, NewOrder, OrderRow, WorkChange, WorkCounts, WorkFilter, WorkSource, WorkState, WorkTest,
};
use super::{BufferError, folder, schema};
use crate::clock::Timestamp;
use crate::device::{Identifier, Person};
use crate::firmware_profile::OrderedTest;

/// Orders that are open or sent, at most: more is a fault of whoever sends them.
const ORDERS_MAX: i64 = 50_000;
/// Answers remembered of one order.
const ASKED_MAX: i64 = 20;
/// Done and cancelled orders are forgotten after this many microseconds: 30 days.
const FORGET_AFTER: i64 = 30 * 86_400 * 1_000_000;

/// Writes one change into the open transaction; the inner error says why it is not allowed.
pub(super) fn apply(
    conn: &Connection,
    change: &WorkChange,
    now: Timestamp,
) -> rusqlite::Result<Result<(), String>> {
    match change {
        WorkChange::Place { order, replace } => return place(conn, order, *replace, now),
        WorkChange::Cancel { id } => {
            let Some(row) = by_id(conn, *id)? else { return Ok(Err(format!("there is no order {id}"))) };
            if !row.state.is_live() {
                return Ok(Err(format!("order {id} is {}: there is nothing to cancel", row.state.as_str())));
            }
            turn(conn, *id, WorkState::Cancelled, now)?;
        }
        WorkChange::End { key, state, tests } => end(conn, key, *state, tests, now)?,
        WorkChange::Asked { ids, link, outcome, taken } => {
            for id in ids {
                asked(conn, *id, link, outcome, *taken, now)?;
            }
        }
        WorkChange::Measured { id, tests } => measured(conn, *id, tests, now)?,
        WorkChange::Note { id, note } => {
            conn.execute("UPDATE work_order SET note = ?2 WHERE id = ?1", params![id, note])?;
        }
    }
    Ok(Ok(()))
}

fn place(
    conn: &Connection,
    order: &NewOrder,
    replace: bool,
    now: Timestamp,
) -> rusqlite::Result<Result<(), String>> {
    if order.tests.is_empty() || order.specimen.is_empty() {
        return Ok(Err("an order needs a specimen and a test".into()));
    }
    if let Some(known) = find(conn, "source_key = ?1", &order.key)? {
        if !replace && known.state.is_live() && known.specimen != order.specimen {
            return Ok(Err("the worklist has an order with this number for another specimen".into()));
        }
        update(conn, &known, order, replace, now)?;
        return Ok(Ok(()));
    }
    let live: i64 =
        conn.query_row("SELECT count(*) FROM work_order WHERE state < 2", [], |row| row.get(0))?;
    if live >= ORDERS_MAX {
        return Ok(Err(format!(
            "the worklist holds {ORDERS_MAX} orders: cancel what is not wanted any more"
        )));
    }
    if order.source == WorkSource::Desk {
        let same = |row: &OrderRow| {
            row.tests.len() == order.tests.len()
                && order.tests.iter().all(|test| row.tests.iter().any(|has| has.test.same(test)))
        };
        if live_of(conn, &order.specimen)?.iter().any(same) {
            return Ok(Err("that specimen has an open order for the same tests".into()));
        }
    }
    conn.prepare_cached(
        "INSERT INTO work_order (specimen, tests, urgent, person, kind, collected, number, source, source_key, author,
           created, state, changed) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, 0, ?11)",
    )?
    .execute(params![
        order.specimen,
        tests_json(&order.tests.iter().map(fresh).collect::<Vec<_>>()),
        order.urgent,
        order.person.as_ref().map(person_json),
        order.kind,
        order.collected.map(|at| at.micros),
        order.number,
        order.source.number(),
        order.key,
        order.author,
        now.micros,
    ])?;
    look_again(conn, &order.specimen, order.person.as_ref())?;
    Ok(Ok(()))
}

/// Results of the specimen may be here already: whose they are is asked anew.
fn look_again(conn: &Connection, specimen: &str, person: Option<&Person>) -> rusqlite::Result<()> {
    if person.is_none_or(|person| person.identifiers.is_empty()) {
        return Ok(());
    }
    let cause = (ADMINISTRATION, "an order of the specimen came, changed or was cancelled");
    owe(conn, None, 0, Some(specimen), cause)
}

fn fresh(test: &OrderedTest) -> WorkTest {
    WorkTest { test: test.clone(), done: false }
}

/// Brings a known order up to date. What is the same changes nothing.
fn update(
    conn: &Connection,
    known: &OrderRow,
    order: &NewOrder,
    replace: bool,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let new = order.tests.iter().filter(|test| !known.tests.iter().any(|has| has.test.same(test)));
    let mut tests = known.tests.clone();
    if replace {
        tests.retain(|has| order.tests.iter().any(|test| has.test.same(test)));
    }
    tests.extend(new.map(fresh));
    let same_work = tests == known.tests && order.specimen == known.specimen;
    if order.person != known.person || order.specimen != known.specimen {
        look_again(conn, &known.specimen, known.person.as_ref())?;
        look_again(conn, &order.specimen, order.person.as_ref())?;
    }
    let same = same_work
        && (order.urgent, &order.person, &order.kind, order.collected.map(|at| at.micros))
            == (known.urgent, &known.person, &known.kind, known.collected.map(|at| at.micros));
    if same || (known.state == WorkState::Cancelled && (!replace || same_work)) {
        return Ok(());
    }
    let state = if tests.iter().all(|test| test.done) {
        WorkState::Done
    } else if same_work {
        known.state
    } else {
        WorkState::Open
    };
    conn.execute(
        "UPDATE work_order SET specimen = ?2, tests = ?3, urgent = ?4, person = ?5, kind = ?6, collected = ?7, state = ?8,
           changed = ?9, note = NULL WHERE id = ?1",
        params![
            known.id,
            order.specimen,
            tests_json(&tests),
            order.urgent,
            order.person.as_ref().map(person_json),
            order.kind,
            order.collected.map(|at| at.micros),
            state.number(),
            now.micros
        ],
    )?;
    Ok(())
}

fn end(
    conn: &Connection,
    key: &str,
    state: WorkState,
    tests: &[OrderedTest],
    now: Timestamp,
) -> rusqlite::Result<()> {
    let Some(known) = find(conn, "source_key = ?1", key)?.filter(|row| row.state.is_live()) else {
        return Ok(());
    };
    let mut left = known.tests;
    left.retain(|has| !tests.iter().any(|test| has.test.same(test)));
    if tests.is_empty() || left.is_empty() {
        return turn(conn, known.id, state, now);
    }
    conn.execute("UPDATE work_order SET tests = ?2 WHERE id = ?1", params![known.id, tests_json(&left)])?;
    if left.iter().all(|test| test.done) { turn(conn, known.id, WorkState::Done, now) } else { Ok(()) }
}

fn turn(conn: &Connection, id: i64, state: WorkState, now: Timestamp) -> rusqlite::Result<()> {
    if state == WorkState::Cancelled
        && let Some(row) = by_id(conn, id)?
    {
        look_again(conn, &row.specimen, row.person.as_ref())?;
    }
    conn.execute(
        "UPDATE work_order SET state = ?2, changed = ?3 WHERE id = ?1",
        params![id, state.number(), now.micros],
    )?;
    Ok(())
}

fn asked(
    conn: &Connection,
    id: i64,
    link: &str,
    outcome: &str,
    taken: bool,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let Some(row) = by_id(conn, id)? else { return Ok(()) };
    conn.execute(
        "INSERT INTO work_asked (work_order, at, link, outcome) VALUES (?1, ?2, ?3, ?4)",
        params![id, now.micros, link, outcome],
    )?;
    conn.execute(
        "DELETE FROM work_asked WHERE work_order = ?1 AND id NOT IN
           (SELECT id FROM work_asked WHERE work_order = ?1 ORDER BY id DESC LIMIT ?2)",
        params![id, ASKED_MAX],
    )?;
    if taken && row.state == WorkState::Open { turn(conn, id, WorkState::Sent, now) } else { Ok(()) }
}

fn measured(conn: &Connection, id: i64, tests: &[usize], now: Timestamp) -> rusqlite::Result<()> {
    let Some(mut row) = by_id(conn, id)?.filter(|row| row.state.is_live()) else { return Ok(()) };
    for (at, test) in row.tests.iter_mut().enumerate() {
        test.done |= tests.contains(&at);
    }
    conn.execute("UPDATE work_order SET tests = ?2 WHERE id = ?1", params![id, tests_json(&row.tests)])?;
    if row.tests.iter().all(|test| test.done) { turn(conn, id, WorkState::Done, now) } else { Ok(()) }
}

/// Forgets ended orders that nobody will ask for any more.
pub(super) fn forget(conn: &Connection, now: Timestamp) -> rusqlite::Result<()> {
    let before = now.micros.saturating_sub(FORGET_AFTER);
    let old = "SELECT id FROM work_order WHERE state >= 2 AND changed < ?1";
    let tx = conn.unchecked_transaction()?;
    tx.execute(&format!("DELETE FROM work_asked WHERE work_order IN ({old})"), [before])?;
    tx.execute("DELETE FROM work_order WHERE state >= 2 AND changed < ?1", [before])?;
    tx.commit()
}

const COLUMNS: &str =
    "SELECT id, specimen, tests, urgent, person, kind, collected, number, source, author, created, state,
    changed, note FROM work_order";

fn row(row: &Row<'_>) -> rusqlite::Result<OrderRow> {
    let time = |micros| Timestamp::from_micros(micros, true);
    let (tests, person): (String, Option<String>) = (row.get(2)?, row.get(4)?);
    Ok(OrderRow {
        id: row.get(0)?,
        specimen: row.get(1)?,
        tests: serde_json::from_str(&tests).unwrap_or_default(),
        urgent: row.get(3)?,
        person: person.and_then(|json| serde_json::from_str::<KeptPerson>(&json).ok()).map(Into::into),
        kind: row.get(5)?,
        collected: row.get::<_, Option<i64>>(6)?.map(time),
        number: row.get(7)?,
        source: WorkSource::of(row.get(8)?),
        author: row.get(9)?,
        created: time(row.get(10)?),
        state: WorkState::of(row.get(11)?),
        changed: time(row.get(12)?),
        note: row.get(13)?,
        asked: Vec::new(),
    })
}

fn find(conn: &Connection, which: &str, value: &str) -> rusqlite::Result<Option<OrderRow>> {
    conn.prepare_cached(&format!("{COLUMNS} WHERE {which}"))?.query_row([value], row).optional()
}

fn by_id(conn: &Connection, id: i64) -> rusqlite::Result<Option<OrderRow>> {
    conn.prepare_cached(&format!("{COLUMNS} WHERE id = ?1"))?.query_row([id], row).optional()
}

fn live_of(conn: &Connection, specimen: &str) -> rusqlite::Result<Vec<OrderRow>> {
    let mut found =
        conn.prepare_cached(&format!("{COLUMNS} WHERE specimen = ?1 AND state < 2 ORDER BY id"))?;
    found.query_map([specimen], row)?.collect()
}

fn listed(conn: &Connection, filter: &WorkFilter) -> rusqlite::Result<Vec<OrderRow>> {
    let mut found = conn.prepare_cached(&format!(
        "{COLUMNS} WHERE (?1 IS NULL OR state = ?1) AND (?2 = '' OR instr(lower(specimen), ?2) > 0
           OR instr(lower(number), ?2) > 0 OR instr(lower(coalesce(person, '')), ?2) > 0) ORDER BY id DESC LIMIT ?3"
    ))?;
    let text = filter.text.as_deref().unwrap_or_default().trim().to_lowercase();
    let state = filter.state.map(WorkState::number);
    let mut orders: Vec<OrderRow> =
        found.query_map(params![state, text, filter.limit], row)?.collect::<rusqlite::Result<_>>()?;
    let mut told =
        conn.prepare_cached("SELECT at, link, outcome FROM work_asked WHERE work_order = ?1 ORDER BY id")?;
    for order in &mut orders {
        let asked = |row: &Row<'_>| {
            let at = Timestamp::from_micros(row.get(0)?, true);
            Ok(Asked { at, link: row.get(1)?, outcome: row.get(2)? })
        };
        order.asked = told.query_map([order.id], asked)?.collect::<rusqlite::Result<_>>()?;
    }
    Ok(orders)
}

fn counted(conn: &Connection) -> rusqlite::Result<WorkCounts> {
    let mut counts = WorkCounts::default();
    let mut each = conn.prepare_cached("SELECT state, count(*) FROM work_order GROUP BY state")?;
    let mut rows = each.query([])?;
    while let Some(row) = rows.next()? {
        let count = row.get::<_, i64>(1)?.unsigned_abs();
        match WorkState::of(row.get(0)?) {
            WorkState::Open => counts.open += count,
            WorkState::Sent => counts.sent += count,
            WorkState::Done => counts.done += count,
            WorkState::Cancelled => counts.cancelled += count,
        }
    }
    Ok(counts)
}

/// A person as JSON keeps it.
#[derive(Serialize, Deserialize)]
struct KeptPerson {
    ids: Vec<(String, String)>,
    family: Option<String>,
    given: Vec<String>,
    born: Option<String>,
    gender: Option<String>,
}

impl From<KeptPerson> for Person {
    fn from(kept: KeptPerson) -> Self {
        let identifier = |(system, value): (String, String)| Identifier {
            system: system.into(),
            value: value.into(),
            kind: None,
        };
        Self {
            identifiers: kept.ids.into_iter().map(identifier).collect(),
            family: kept.family.map(Into::into),
            given: kept.given.into_iter().map(Into::into).collect(),
            birth_date: kept.born.map(Into::into),
            gender: kept.gender.map(Into::into),
        }
    }
}

fn person_json(person: &Person) -> String {
    let text = |text: &std::sync::Arc<str>| text.to_string();
    let kept = KeptPerson {
        ids: person.identifiers.iter().map(|id| (id.system.to_string(), id.value.to_string())).collect(),
        family: person.family.as_ref().map(text),
        given: person.given.iter().map(text).collect(),
        born: person.birth_date.as_ref().map(text),
        gender: person.gender.as_ref().map(text),
    };
    // Texts only: there is nothing that JSON could not say.
    serde_json::to_string(&kept).unwrap_or_default()
}

fn tests_json(tests: &[WorkTest]) -> String {
    serde_json::to_string(tests).unwrap_or_default()
}

impl Reader {
    /// Orders, the latest first, with what analysers were told of them.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn orders(&self, filter: WorkFilter) -> Result<Vec<OrderRow>, BufferError> {
        self.read("reading the worklist", move |conn| listed(conn, &filter)).await
    }

    /// Open and sent orders of these specimens, each specimen's oldest first.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn orders_of(&self, specimens: Vec<String>) -> Result<Vec<OrderRow>, BufferError> {
        let find = move |conn: &Connection| {
            let mut orders = Vec::new();
            for specimen in &specimens {
                orders.extend(live_of(conn, specimen)?);
            }
            Ok(orders)
        };
        self.read("reading the worklist", find).await
    }

    /// The people of the orders for a specimen, cancelled ones aside; for whoever must know now.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub fn people_of_specimen_now(&self, specimen: &str) -> Result<Vec<Person>, BufferError> {
        self.read_now("reading the worklist", |conn| {
            let mut found = conn.prepare_cached(&format!(
                "{COLUMNS} WHERE specimen = ?1 AND state < 3 AND person IS NOT NULL ORDER BY id"
            ))?;
            let rows: Vec<OrderRow> = found.query_map([specimen], row)?.collect::<rusqlite::Result<_>>()?;
            Ok(rows.into_iter().filter_map(|row| row.person).collect())
        })
    }

    /// Open and sent orders, the oldest first.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn live_orders(&self, limit: u32) -> Result<Vec<OrderRow>, BufferError> {
        let find = move |conn: &Connection| {
            conn.prepare_cached(&format!("{COLUMNS} WHERE state < 2 ORDER BY id LIMIT ?1"))?
                .query_map([limit], row)?
                .collect()
        };
        self.read("reading the worklist", find).await
    }

    /// The order with this key of its source.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn order_of_key(&self, key: &str) -> Result<Option<OrderRow>, BufferError> {
        let key = key.to_owned();
        self.read("reading the worklist", move |conn| find(conn, "source_key = ?1", &key)).await
    }

    /// The order with this id.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn order(&self, id: i64) -> Result<Option<OrderRow>, BufferError> {
        self.read("reading the worklist", move |conn| by_id(conn, id)).await
    }

    /// How many orders are in each state.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn work_counts(&self) -> Result<WorkCounts, BufferError> {
        self.read("counting the worklist", counted).await
    }
}

/// Looks at the worklist in `dir` without locking or changing it, also while the box runs.
///
/// # Errors
/// [`BufferError::Newer`], [`BufferError::Foreign`], [`BufferError::Storage`].
pub fn look_at_orders(dir: &Path, filter: &WorkFilter) -> Result<Vec<OrderRow>, BufferError> {
    let path = dir.join(folder::DATABASE);
    schema::refuse_what_is_not_ours(&path)?;
    let orders = schema::connect_querying(&path).and_then(|conn| listed(&conn, filter));
    orders.map_err(|source| BufferError::Storage { doing: "looking at the worklist", source })
}

#[cfg(test)]
#[path = "worklist_tests.rs"]
mod tests;
