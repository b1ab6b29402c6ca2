//! For those who look at the queues of the destinations: what is to be sent next, and how it stands.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::BufferError;
use super::entry::State;
use super::reader::{Reader, Stored, read_stored};
use crate::clock::Timestamp;

/// One message in the queue of a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutgoingRow {
    pub id: i64,
    pub destination: String,
    pub entry: i64,
    /// Which message of the entry, from 0.
    pub part: u32,
    pub route: String,
    pub state: State,
    pub attempts: u32,
    /// How often it was built anew.
    pub revision: u32,
    pub queued: Timestamp,
    pub next_try: Option<Timestamp>,
    pub sent_at: Option<Timestamp>,
    /// When the receiver took it over without saying what it makes of it (CA).
    pub committed: Option<Timestamp>,
    pub answered_at: Option<Timestamp>,
    pub reason: Option<String>,
    /// MSH-10.
    pub control: Option<String>,
    /// The last acknowledgement, as text for people.
    pub answer: Option<String>,
    /// How often the entry was told anew, because its patient was another.
    pub round: u32,
    /// It takes back what was told in that round.
    pub withdraws: bool,
    /// Under whom it went, as [`crate::gateway`] writes it.
    pub under: Option<String>,
    /// Under whom the entry was told and taken back before.
    pub taken_back: Vec<String>,
}

/// A message whose turn it is.
#[derive(Clone, Debug)]
pub struct Due {
    pub row: OutgoingRow,
    /// The bytes of its first try, where they were built.
    pub message: Option<Vec<u8>>,
    /// The entry it comes of; `None` when the disk changed its bytes.
    pub stored: Option<Stored>,
}

/// A destination and its queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DestinationRow {
    pub name: String,
    /// Entries up to it were looked at.
    pub through: i64,
    /// The configuration names it.
    pub wanted: bool,
    pub paused: bool,
    pub waiting: u64,
    pub sent: u64,
    pub held: u64,
    /// Rows ever made, and rows deleted with their entry: queued = waiting + sent + held + done + gone.
    pub queued: u64,
    pub gone: u64,
    /// When the message that is neither accepted nor held was queued that waits longest.
    pub oldest: Option<Timestamp>,
    /// The latest acknowledgement, and when it came.
    pub answer: Option<(Timestamp, String)>,
}

/// Which messages are wanted.
#[derive(Clone, Debug, Default)]
pub struct OutgoingFilter {
    pub destination: Option<String>,
    pub state: Option<State>,
    pub entry: Option<i64>,
    /// Those with a smaller id.
    pub before: Option<i64>,
    pub limit: u32,
}

const COLUMNS: &str =
    "SELECT outgoing.id, destination.name, entry, part, route, state, attempts, revision, queued, next_try,
    sent_at, committed, answered_at, reason, control, answer, round, withdraws,
    (SELECT parts FROM onward JOIN attribution ON attribution.id = onward.attribution WHERE onward.outgoing = outgoing.id),
    CASE WHEN round > 0 THEN (SELECT json_group_array(parts) FROM outgoing AS earlier
       JOIN onward ON onward.outgoing = earlier.id JOIN attribution ON attribution.id = onward.attribution
       WHERE onward.entry = outgoing.entry AND earlier.destination = outgoing.destination AND earlier.withdraws = 1) END
    FROM outgoing
    JOIN destination ON destination.id = outgoing.destination";

/// Rows of this lane, but for those behind one of their order that has to wait.
pub(super) const NEXT: &str = "SELECT outgoing.id FROM outgoing JOIN destination ON destination.id = outgoing.destination
    WHERE destination.name = ?1 AND destination.paused = 0 AND state < 2 AND committed IS NULL AND lane % ?2 = ?3
    AND (next_try IS NULL OR next_try <= ?4)
    AND lane NOT IN (SELECT lane FROM outgoing AS delayed WHERE delayed.destination = outgoing.destination
                     AND delayed.next_try IS NOT NULL AND delayed.next_try > ?4 AND delayed.id < outgoing.id)
    ORDER BY outgoing.id LIMIT 1";

pub(super) const AFTER: &str = "SELECT id FROM entry WHERE id > ?1 ORDER BY id LIMIT ?2";

fn row(row: &Row<'_>) -> rusqlite::Result<OutgoingRow> {
    let time = |micros| Timestamp::from_micros(micros, true);
    let time_at = |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(column)?.map(time));
    Ok(OutgoingRow {
        id: row.get(0)?,
        destination: row.get(1)?,
        entry: row.get(2)?,
        part: row.get(3)?,
        route: row.get(4)?,
        state: State::of(row.get(5)?),
        attempts: row.get(6)?,
        revision: row.get(7)?,
        queued: time(row.get(8)?),
        next_try: time_at(9)?,
        sent_at: time_at(10)?,
        committed: time_at(11)?,
        answered_at: time_at(12)?,
        reason: row.get(13)?,
        control: row.get(14)?,
        answer: row.get(15)?,
        round: row.get(16)?,
        withdraws: row.get(17)?,
        under: row.get(18)?,
        taken_back: row
            .get::<_, Option<String>>(19)?
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default(),
    })
}

fn by_id(conn: &Connection, id: i64) -> rusqlite::Result<Option<OutgoingRow>> {
    conn.prepare_cached(&format!("{COLUMNS} WHERE outgoing.id = ?1"))?.query_row([id], row).optional()
}

fn next(
    conn: &Connection,
    destination: &str,
    lane: (u32, u32),
    now: Timestamp,
) -> rusqlite::Result<Option<Due>> {
    let snapshot = conn.unchecked_transaction()?;
    let id = snapshot
        .prepare_cached(NEXT)?
        .query_row(params![destination, lane.1.max(1), lane.0, now.micros], |row| row.get::<_, i64>(0))
        .optional()?;
    let Some(id) = id else { return Ok(None) };
    let Some(row) = by_id(&snapshot, id)? else { return Ok(None) };
    let message = snapshot
        .prepare_cached("SELECT message FROM outgoing WHERE id = ?1")?
        .query_row([id], |row| row.get(0))?;
    let stored = read_stored(&snapshot, row.entry)?;
    Ok(Some(Due { row, message, stored }))
}

fn destinations(conn: &Connection) -> rusqlite::Result<Vec<DestinationRow>> {
    let snapshot = conn.unchecked_transaction()?;
    let mut all = snapshot.prepare_cached(
        "SELECT id, name, through, wanted, paused, heard_at, heard, made, gone FROM destination ORDER BY name",
    )?;
    let mut counts = snapshot.prepare_cached(
        "SELECT state, count(*), min(queued) FROM outgoing WHERE destination = ?1 AND state < 3 GROUP BY state",
    )?;
    let mut found = Vec::new();
    let mut rows = all.query([])?;
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        let answered = row.get::<_, Option<i64>>(5)?.map(|at| Timestamp::from_micros(at, true));
        let mut one = DestinationRow {
            name: row.get(1)?,
            through: row.get(2)?,
            wanted: row.get(3)?,
            paused: row.get(4)?,
            waiting: 0,
            sent: 0,
            held: 0,
            queued: row.get::<_, i64>(7)?.unsigned_abs(),
            gone: row.get::<_, i64>(8)?.unsigned_abs(),
            oldest: None,
            answer: answered.zip(row.get(6)?),
        };
        let mut states = counts.query([id])?;
        while let Some(state) = states.next()? {
            let count = state.get::<_, i64>(1)?.unsigned_abs();
            let oldest = Timestamp::from_micros(state.get(2)?, true);
            match State::of(state.get(0)?) {
                State::Waiting => one.waiting = count,
                State::Sent => one.sent = count,
                _ => {
                    one.held = count;
                    continue;
                }
            }
            one.oldest = Some(one.oldest.map_or(oldest, |known| known.min(oldest)));
        }
        found.push(one);
    }
    Ok(found)
}

fn listed(conn: &Connection, filter: &OutgoingFilter) -> rusqlite::Result<Vec<OutgoingRow>> {
    let mut found = conn.prepare_cached(&format!(
        "{COLUMNS} WHERE (?1 IS NULL OR destination.name = ?1) AND (?2 IS NULL OR state = ?2) AND (?3 IS NULL OR entry = ?3)
         AND (?4 IS NULL OR outgoing.id < ?4) ORDER BY outgoing.id DESC LIMIT ?5"
    ))?;
    let state = filter.state.map(State::number);
    found
        .query_map(params![filter.destination, state, filter.entry, filter.before, filter.limit], row)?
        .collect()
}

impl OutgoingRow {
    /// Whether it stands for an entry that goes to a FHIR server or into a folder.
    pub fn of_feed(&self) -> bool {
        self.route == super::feed::ROUTE
    }
}

impl DestinationRow {
    /// What is done with: accepted, found to hold nothing for this destination, or dropped by a person.
    pub const fn done(&self) -> u64 {
        self.queued.saturating_sub(self.waiting + self.sent + self.held + self.gone)
    }
}

/// The queues of a folder that another process may have open, for `bedside status`.
///
/// # Errors
/// [`BufferError::Storage`], [`BufferError::Newer`], [`BufferError::Foreign`].
pub fn look_at_destinations(dir: &std::path::Path) -> Result<Vec<DestinationRow>, BufferError> {
    let path = dir.join(super::folder::DATABASE);
    super::schema::refuse_what_is_not_ours(&path)?;
    let rows = super::schema::connect_querying(&path).and_then(|conn| destinations(&conn));
    rows.map_err(|source| BufferError::Storage { doing: "looking at the destinations", source })
}

impl Reader {
    /// The message of a destination whose turn it is in `lane` (this one of so many), its order kept; `None` when there is
    /// none, or the destination is paused.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn next_outgoing(
        &self,
        destination: &str,
        lane: (u32, u32),
        now: Timestamp,
    ) -> Result<Option<Due>, BufferError> {
        let destination = destination.to_owned();
        let due =
            self.read("reading what is to be sent", move |conn| next(conn, &destination, lane, now)).await?;
        if let Some(due) = due.as_ref().filter(|due| due.stored.is_none()) {
            self.quarantine(due.row.entry);
        }
        Ok(due)
    }

    /// Entries after `after` in any state, oldest first, about `max_bytes` of them, and the last id that was looked at.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn entries_after(
        &self,
        after: i64,
        limit: u32,
        max_bytes: usize,
    ) -> Result<(Vec<Stored>, i64), BufferError> {
        let find = move |conn: &Connection| {
            let snapshot = conn.unchecked_transaction()?;
            let mut next = snapshot.prepare_cached(AFTER)?;
            let mut rows = next.query(params![after, limit])?;
            let (mut found, mut changed, mut bytes, mut through) = (Vec::new(), Vec::new(), 0, after);
            while let Some(row) = rows.next()? {
                let id = row.get(0)?;
                match read_stored(&snapshot, id)? {
                    Some(stored) => {
                        bytes += stored.bytes.len();
                        if bytes > max_bytes && !found.is_empty() {
                            break;
                        }
                        found.push(stored);
                    }
                    None => changed.push(id),
                }
                through = id;
            }
            Ok((found, changed, through))
        };
        let (found, changed, through) = self.read("reading new entries", find).await?;
        for id in changed {
            self.quarantine(id);
        }
        Ok((found, through))
    }

    /// The time by the buffer's clock.
    pub fn now(&self) -> Timestamp {
        self.shared_clock().now()
    }

    /// A kept frame with its bytes verified; `None` when it is gone or the disk changed it.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn stored(&self, id: i64) -> Result<Option<Stored>, BufferError> {
        self.read("reading an entry", move |conn| read_stored(conn, id)).await
    }

    /// All destinations this box has had, by name, with their queues.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn destinations(&self) -> Result<Vec<DestinationRow>, BufferError> {
        self.read("reading the destinations", destinations).await
    }

    /// Messages that a destination took over before `at` and has said nothing more of, the oldest first.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn committed_before(
        &self,
        destination: &str,
        at: Timestamp,
    ) -> Result<Vec<OutgoingRow>, BufferError> {
        let destination = destination.to_owned();
        let find = move |conn: &Connection| {
            conn.prepare_cached(&format!(
                "{COLUMNS} WHERE destination.name = ?1 AND state = 1 AND committed <= ?2 ORDER BY outgoing.id LIMIT 100"
            ))?
            .query_map(params![destination, at.micros], row)?
            .collect()
        };
        self.read("reading what was taken over", find).await
    }

    /// Messages of the queues, the latest first.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn outgoing(&self, filter: OutgoingFilter) -> Result<Vec<OutgoingRow>, BufferError> {
        self.read("reading a queue", move |conn| listed(conn, &filter)).await
    }

    /// One message, and its bytes where they were built and it is not accepted yet.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn outgoing_one(&self, id: i64) -> Result<Option<(OutgoingRow, Option<Vec<u8>>)>, BufferError> {
        let find = move |conn: &Connection| {
            let Some(row) = by_id(conn, id)? else { return Ok(None) };
            let message = conn
                .prepare_cached("SELECT message FROM outgoing WHERE id = ?1")?
                .query_row([id], |row| row.get(0))
                .optional()?
                .flatten();
            Ok(Some((row, message)))
        };
        self.read("reading an outgoing message", find).await
    }
}
