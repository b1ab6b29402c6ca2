//! For what goes on to other systems: a queue for each destination, and the steps of one message in it.
//!
//! A destination looks at every entry once, in their order; how far it came stands in the commit that queued what it
//! found, so that a message is neither missed nor queued twice, whenever the power fails. The bytes of a message that
//! is built here are kept from its first try on: every further try sends the same bytes under the same control id.

use rusqlite::{Connection, OptionalExtension, params};

use super::entry::State;
use super::feed::{self, FeedChange};
use crate::clock::Timestamp;

/// Bytes kept of a reason or an answer.
const TEXT_BYTES: usize = 4 << 10;

/// One message to be queued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewOutgoing {
    /// The entry it comes of.
    pub entry: i64,
    /// Which message of that entry, from 0.
    pub part: u32,
    /// Name of the route.
    pub route: String,
    /// Messages of one lane keep their order; not negative.
    pub lane: i64,
    /// A person must look first, and why.
    pub held: Option<String>,
}

/// A change of the queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutgoingChange {
    /// These are the destinations of the configuration. A new one begins with what is kept from now on; one that is
    /// gone keeps its queue and needs nothing any more.
    Destinations { names: Vec<String> },
    /// Queues what was found in the entries up to `through`.
    Queue { destination: String, rows: Vec<NewOutgoing>, through: i64 },
    /// Moves a message along its states.
    Step { id: i64, step: Step },
    /// Stops or goes on with a destination, for a person.
    Pause { destination: String, paused: bool },
    /// Lets all held messages of a destination go: the same bytes, where there are some.
    ReleaseAll { destination: String },
    /// Of a FHIR server or a folder beside the main server.
    Feed { destination: String, change: FeedChange },
}

/// What happened to a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is on its way; counts as one try. `message`: its bytes, where it was built for this. From waiting or sent.
    Sent { control: String, message: Option<Vec<u8>> },
    /// The receiver took it over (CA) and will say what it makes of it. From sent.
    Committed { answer: String },
    /// The receiver has it. From sent.
    Accepted { answer: String },
    /// A person must look. From waiting or sent; also from accepted, when the receiver changed its mind.
    Held { reason: String, answer: Option<String> },
    /// The same bytes again, not before `not_before`. From any state.
    Again { not_before: Option<Timestamp>, reason: Option<String>, answer: Option<String> },
    /// Built anew from its entry, under a new control id. From held or accepted.
    Anew,
    /// A person decided that it is not sent. From waiting, sent or held.
    Dropped { reason: String },
}

impl Step {
    fn leads(&self, from: State) -> bool {
        match self {
            Self::Sent { .. } => matches!(from, State::Waiting | State::Sent),
            Self::Committed { .. } | Self::Accepted { .. } => from == State::Sent,
            Self::Held { .. } => from != State::Held,
            Self::Again { .. } => true,
            Self::Anew => matches!(from, State::Held | State::Accepted),
            Self::Dropped { .. } => from != State::Accepted,
        }
    }

    /// What the receiver said.
    fn answer(&self) -> Option<&str> {
        match self {
            Self::Committed { answer } | Self::Accepted { answer } => Some(answer),
            Self::Held { answer, .. } | Self::Again { answer, .. } => answer.as_deref(),
            Self::Sent { .. } | Self::Anew | Self::Dropped { .. } => None,
        }
    }
}

/// Writes one change into the open transaction; the inner error says why it is not allowed.
pub(super) fn apply(
    conn: &Connection,
    change: &OutgoingChange,
    now: Timestamp,
) -> rusqlite::Result<Result<(), String>> {
    match change {
        OutgoingChange::Destinations { names } => destinations(conn, names)?,
        OutgoingChange::Queue { destination, rows, through } => {
            return queue(conn, destination, rows, *through, now);
        }
        OutgoingChange::Step { id, step } => return take_step(conn, *id, step, now),
        OutgoingChange::Pause { destination, paused } => {
            let changed = conn.execute(
                "UPDATE destination SET paused = ?2 WHERE name = ?1",
                params![destination, paused],
            )?;
            if changed == 0 {
                return Ok(Err(format!("there is no destination \"{destination}\"")));
            }
        }
        OutgoingChange::Feed { destination, change } => return feed::apply(conn, destination, change, now),
        OutgoingChange::ReleaseAll { destination } => {
            conn.execute(
                "UPDATE outgoing SET state = 0, reason = NULL, next_try = NULL, committed = NULL, late = 1 WHERE state = 2
                 AND destination = (SELECT id FROM destination WHERE name = ?1)",
                [destination],
            )?;
        }
    }
    Ok(Ok(()))
}

fn destinations(conn: &Connection, names: &[String]) -> rusqlite::Result<()> {
    conn.execute("UPDATE destination SET wanted = 0", [])?;
    for name in names {
        conn.execute(
            "INSERT INTO destination (name, through, wanted) VALUES (?1, (SELECT coalesce(max(id), 0) FROM entry), 1)
             ON CONFLICT (name) DO UPDATE SET wanted = 1",
            [name],
        )?;
    }
    Ok(())
}

/// The number of a destination; the inner error says that there is none.
pub(super) fn number_of(conn: &Connection, destination: &str) -> rusqlite::Result<Result<i64, String>> {
    let known = conn
        .prepare_cached("SELECT id FROM destination WHERE name = ?1")?
        .query_row([destination], |row| row.get(0))
        .optional()?;
    Ok(known.ok_or_else(|| format!("there is no destination \"{destination}\"")))
}

fn queue(
    conn: &Connection,
    destination: &str,
    rows: &[NewOutgoing],
    through: i64,
    now: Timestamp,
) -> rusqlite::Result<Result<(), String>> {
    let number = match number_of(conn, destination)? {
        Ok(number) => number,
        Err(unknown) => return Ok(Err(unknown)),
    };
    let mut made = 0;
    for row in rows {
        let state = if row.held.is_some() { State::Held } else { State::Waiting };
        made += conn.prepare_cached(
            "INSERT OR IGNORE INTO outgoing (destination, entry, part, route, lane, state, queued, reason, round)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, (SELECT coalesce(max(round), 0) FROM outgoing
               WHERE destination = ?1 AND entry = ?2 AND withdraws = 0))",
        )?
        .execute(params![
            number,
            row.entry,
            row.part,
            row.route,
            row.lane,
            state.number(),
            now.micros,
            row.held.as_deref().map(shortened)
        ])?;
    }
    conn.prepare_cached("UPDATE destination SET through = max(through, ?2), made = made + ?3 WHERE id = ?1")?
        .execute(params![number, through, made as i64])?;
    Ok(Ok(()))
}

pub(super) fn take_step(
    conn: &Connection,
    id: i64,
    step: &Step,
    now: Timestamp,
) -> rusqlite::Result<Result<(), String>> {
    let from = conn
        .prepare_cached("SELECT state FROM outgoing WHERE id = ?1")?
        .query_row([id], |row| row.get(0).map(State::of))
        .optional()?;
    let Some(from) = from else { return Ok(Err(format!("there is no outgoing message {id}"))) };
    if !step.leads(from) {
        return Ok(Err(format!("the outgoing message {id} is {from}")));
    }
    let now = now.micros;
    if let Some(answer) = step.answer() {
        conn.prepare_cached(
            "UPDATE destination SET heard_at = ?2, heard = ?3
             WHERE id = (SELECT destination FROM outgoing WHERE id = ?1)",
        )?
        .execute(params![id, now, shortened(answer)])?;
    }
    match step {
        Step::Sent { control, message } => conn
            .prepare_cached(
                "UPDATE outgoing SET state = 1, attempts = attempts + 1, sent_at = ?2, next_try = NULL, committed = NULL,
                 control = ?3, message = coalesce(?4, message) WHERE id = ?1",
            )?
            .execute(params![id, now, control, message])?,
        Step::Committed { answer } => conn
            .prepare_cached("UPDATE outgoing SET committed = ?2, answered_at = ?2, answer = ?3 WHERE id = ?1")?
            .execute(params![id, now, shortened(answer)])?,
        Step::Accepted { answer } => conn
            .prepare_cached(
                "UPDATE outgoing SET state = 3, answered_at = ?2, answer = ?3, reason = NULL, next_try = NULL,
                 message = NULL WHERE id = ?1",
            )?
            .execute(params![id, now, shortened(answer)])?,
        Step::Held { reason, answer } => conn
            .prepare_cached(
                "UPDATE outgoing SET state = 2, reason = ?3, answer = coalesce(?4, answer), next_try = NULL,
                 answered_at = CASE WHEN ?4 IS NULL THEN answered_at ELSE ?2 END WHERE id = ?1",
            )?
            .execute(params![id, now, shortened(reason), answer.as_deref().map(shortened)])?,
        Step::Again { not_before, reason, answer } => conn
            .prepare_cached(
                "UPDATE outgoing SET state = 0, next_try = ?3, reason = ?4, answer = coalesce(?5, answer), committed = NULL,
                 late = CASE WHEN state IN (2, 3) THEN 1 ELSE late END,
                 answered_at = CASE WHEN ?5 IS NULL THEN answered_at ELSE ?2 END WHERE id = ?1",
            )?
            .execute(params![
                id,
                now,
                not_before.map(|at| at.micros),
                reason.as_deref().map(shortened),
                answer.as_deref().map(shortened)
            ])?,
        Step::Anew => conn
            .prepare_cached(
                "UPDATE outgoing SET state = 0, next_try = NULL, reason = NULL, committed = NULL, control = NULL,
                 message = NULL, revision = revision + 1, attempts = 0, late = 1 WHERE id = ?1",
            )?
            .execute([id])?,
        Step::Dropped { reason } => conn
            .prepare_cached(
                "UPDATE outgoing SET state = 3, reason = ?2, next_try = NULL, message = NULL WHERE id = ?1",
            )?
            .execute(params![id, shortened(reason)])?,
    };
    Ok(Ok(()))
}

/// Lets the messages of an entry go that are held and were never sent: what held the entry is mended. What goes to FHIR
/// servers goes whether it was sent before or not: the same resource twice is one.
pub(super) fn release_entry(conn: &Connection, entry: i64) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "UPDATE outgoing SET state = 0, reason = NULL, next_try = NULL, late = 1 WHERE entry = ?1 AND state = 2
           AND (attempts = 0 OR route = '*')",
    )?
    .execute([entry])?;
    Ok(())
}

/// Whether a destination still needs this entry: it has not looked at it, or has a message of it that is not done.
pub(super) fn needs(conn: &Connection, entry: i64) -> rusqlite::Result<bool> {
    conn.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM destination WHERE wanted = 1 AND through < ?1)
             OR EXISTS (SELECT 1 FROM outgoing JOIN destination ON destination.id = outgoing.destination
                        WHERE entry = ?1 AND state < 3 AND wanted = 1)",
    )?
    .query_row([entry], |row| row.get(0))
}

/// The text, cut at a character where it is longer than anyone reads.
fn shortened(text: &str) -> &str {
    text.get(..text.floor_char_boundary(TEXT_BYTES)).unwrap_or(text)
}

#[cfg(test)]
#[path = "outgoing_tests.rs"]
mod tests;
