//! For the desk's pages: lists of entries, and everything about one of them.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};

use super::entry::State;
use super::feed::last_received_before;
use super::header_line::Headline;
use super::outbox::story;
use super::{compact, sha256};
use crate::clock::Timestamp;

/// Entries looked at for one page: a filter that almost nothing passes gives a short page and a `next` to go on
/// from, instead of a walk through millions.
const EXAMINED: i64 = 50_000;
const LIMIT: u32 = 500;

/// Which entries a page shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntryFilter {
    pub state: Option<State>,
    pub link: Option<String>,
    /// The device's key.
    pub device: Option<String>,
    /// Only entries with a smaller id: where the page before ended.
    pub before: Option<i64>,
    /// Received at or after this time.
    pub from: Option<Timestamp>,
    /// Received before this time.
    pub until: Option<Timestamp>,
    /// Kind of message: `ORU` or `ORU^R01` (MSH-9), `ASTM`, `JSON`, `XML`.
    pub kind: Option<String>,
    /// The sender's own number of the message (MSH-10), or the entry's.
    pub message: Option<String>,
    /// Held or waiting for this, digits aside: [`reason_key`].
    pub reason: Option<String>,
    /// Written in the message, or in the person it was attributed to: a patient's number. Every message of the stretch is
    /// read.
    pub text: Option<String>,
    /// Entries to a page; 0 means 50, and there are never more than 500.
    pub limit: u32,
}

/// An entry as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryRow {
    pub id: i64,
    pub received: Timestamp,
    pub link: String,
    pub peer: String,
    pub device: Option<String>,
    pub state: State,
    pub reason: Option<String>,
    /// Length of the frame.
    pub bytes: u64,
    pub summary: Option<String>,
    /// Times it was sent.
    pub attempts: u32,
    /// Times the device said it again.
    pub repeats: u32,
    /// Not to be sent before.
    pub next_try: Option<Timestamp>,
    /// What kind of message it is and its sender's number of it, as far as its beginning tells.
    pub headline: Headline,
}

/// A page of entries, the latest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    pub entries: Vec<EntryRow>,
    /// `before` of the next page; there may be more even when this page is short or empty.
    pub next: Option<i64>,
}

/// A reason without what differs from entry to entry: every number is `#`.
pub fn reason_key(reason: &str) -> String {
    let mut key = String::with_capacity(reason.len());
    for letter in reason.chars() {
        match letter {
            digit if digit.is_ascii_digit() => {
                if !key.ends_with('#') {
                    key.push('#');
                }
            }
            other => key.push(other),
        }
    }
    key
}

/// Everything about one entry.
#[derive(Clone, PartialEq, Eq)]
pub struct EntryDetail {
    pub row: EntryRow,
    pub bytes: Bytes,
    pub topic: Option<String>,
    pub sha256: [u8; 32],
    /// The bytes still match their SHA-256. If not, they are what the disk made of them.
    pub intact: bool,
    /// Tolerated departures from the protocol.
    pub warnings: Vec<String>,
    /// What upstream said last, and when.
    pub answer: Option<(Timestamp, String)>,
    /// What happened to it, the first first. Of a long story the middle is left out.
    pub timeline: Vec<(Timestamp, String)>,
}

impl std::fmt::Debug for EntryDetail {
    /// Sizes only: frames hold patient data.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EntryDetail({}, {}, {} bytes)", self.row.id, self.row.state, self.bytes.len())
    }
}

const COLUMNS: &str =
    "entry.id, frame.received, frame.synchronised, link.name, frame.peer, device.key, entry.state,
    entry.reason, coalesce(abs(frame.packed), length(frame.bytes)), entry.summary, entry.attempts, entry.repeats, entry.next_try";
/// CROSS JOIN is SQLite's way to say: walk the entries in order, then look the rest up.
const FROM: &str = "FROM entry CROSS JOIN frame ON frame.id = entry.id LEFT JOIN link ON link.id = entry.link
    LEFT JOIN device ON device.id = entry.device";

fn entry_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<EntryRow> {
    Ok(EntryRow {
        id: row.get(0)?,
        received: Timestamp::from_micros(row.get(1)?, row.get(2)?),
        link: row.get(3)?,
        peer: row.get(4)?,
        device: row.get(5)?,
        state: State::of(row.get(6)?),
        reason: row.get(7)?,
        bytes: row.get::<_, i64>(8)?.unsigned_abs(),
        summary: row.get(9)?,
        attempts: row.get(10)?,
        repeats: row.get(11)?,
        next_try: row.get::<_, Option<i64>>(12)?.map(|micros| Timestamp::from_micros(micros, true)),
        headline: Headline::default(),
    })
}

/// How much of a frame, as it lies on the disk, its headline is read from.
const HEAD: usize = 1_024;

/// An entry of a list with its headline; `None` when it is not one of those wanted.
fn listed(row: &rusqlite::Row<'_>, filter: &EntryFilter) -> rusqlite::Result<Option<EntryRow>> {
    // To SQLite a part of nothing is NULL.
    let beginning = row.get_ref(13)?.as_blob_or_null()?.unwrap_or_default();
    let about =
        EntryRow { headline: Headline::of(&compact::head(beginning, row.get(14)?, HEAD)), ..entry_row(row)? };
    let fits = |wanted: &Option<String>, is: &dyn Fn(&str) -> bool| wanted.as_deref().is_none_or(is);
    let reason = about.reason.as_deref().unwrap_or_default();
    let wanted = fits(&filter.kind, &|kind| about.headline.is(kind))
        && fits(&filter.message, &|number| {
            about.headline.control.as_deref() == Some(number) || about.id.to_string() == number
        })
        && fits(&filter.reason, &|key| reason_key(reason) == key);
    if !wanted {
        return Ok(None);
    }
    let Some(text) = &filter.text else { return Ok(Some(about)) };
    let whole = compact::frame(row.get_ref(15)?.as_blob()?, row.get(14)?).into_owned();
    let written = memchr::memmem::find(&whole, text.as_bytes()).is_some();
    Ok((written || row.get::<_, bool>(16)?).then_some(about))
}

pub(super) fn entries(conn: &Connection, filter: &EntryFilter) -> rusqlite::Result<Page> {
    let limit = if filter.limit == 0 { 50 } else { filter.limit.min(LIMIT) };
    let mut before = filter.before.unwrap_or(i64::MAX);
    // What is open is found by its index; everything else in a stretch of ids of known length.
    let open = filter.state.filter(|state| *state != State::Accepted);
    let mut oldest: i64 = conn.query_row("SELECT coalesce(min(id), 0) FROM entry", [], |row| row.get(0))?;
    let newest: i64 = conn.query_row("SELECT coalesce(max(id), 0) FROM entry", [], |row| row.get(0))?;
    if let Some(until) = filter.until {
        before = before.min(last_received_before(conn, until.micros)? + 1);
    }
    if let Some(from) = filter.from {
        oldest = oldest.max(last_received_before(conn, from.micros)? + 1);
    }
    let looks_inside = filter.kind.is_some() || filter.message.is_some() || filter.text.is_some();
    let narrowed = filter.link.is_some() || filter.device.is_some() || looks_inside;
    let floor = if open.is_some() && !narrowed { 0 } else { before.min(newest + 1).saturating_sub(EXAMINED) };
    let floor = floor.max(oldest);

    let body = if filter.text.is_some() {
        "frame.bytes, entry.id IN (SELECT entry FROM attributed WHERE attribution IN
         (SELECT id FROM attribution WHERE instr(parts, ?3) > 0))"
    } else {
        "NULL, 0"
    };
    let mut sql = format!(
        "SELECT {COLUMNS}, CASE WHEN frame.packed < 0 THEN frame.bytes ELSE substr(frame.bytes, 1, {HEAD}) END,
         frame.packed, {body} {FROM}
         WHERE entry.id < ?1 AND entry.id >= ?2 AND ?3 IS NOT NULL"
    );
    if let Some(state) = filter.state {
        let index = if open.is_some() { "entry.state < 3 AND " } else { "" };
        sql.push_str(&format!(" AND {index}entry.state = {}", state.number()));
    }
    // Names become numbers first, so that only entries that are shown are looked up further.
    let named = [("link", "name", &filter.link), ("device", "key", &filter.device)];
    for (table, column, name) in named {
        let Some(name) = name else { continue };
        let number = conn
            .query_row(&format!("SELECT id FROM {table} WHERE {column} = ?1"), [name], |row| {
                row.get::<_, i64>(0)
            })
            .optional()?;
        let Some(number) = number else { return Ok(Page::default()) };
        sql.push_str(&format!(" AND entry.{table} = {number}"));
    }
    sql.push_str(" ORDER BY entry.id DESC");
    let mut page = conn.prepare(&sql)?;
    let mut rows = page.query(params![before, floor, filter.text.as_deref().unwrap_or_default()])?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        entries.extend(listed(row, filter)?);
        if entries.len() == limit as usize {
            break;
        }
    }
    let next = match entries.last() {
        Some(last) if entries.len() == limit as usize => Some(last.id),
        _ => Some(floor),
    };
    Ok(Page { next: next.filter(|next| *next > oldest), entries })
}

/// Where entries stand now; those that are gone are left out.
pub(super) fn states(conn: &Connection, ids: &[i64]) -> rusqlite::Result<Vec<(i64, State)>> {
    let mut one = conn.prepare_cached("SELECT state FROM entry WHERE id = ?1")?;
    let mut found = Vec::with_capacity(ids.len());
    for id in ids {
        let state: Option<i64> = one.query_row([id], |row| row.get(0)).optional()?;
        found.extend(state.map(|state| (*id, State::of(state))));
    }
    Ok(found)
}

pub(super) fn entry(conn: &Connection, id: i64) -> rusqlite::Result<Option<EntryDetail>> {
    conn.prepare_cached(&format!(
        "SELECT {COLUMNS}, frame.bytes, frame.topic, frame.sha256, frame.warnings, entry.answer, entry.answered_at,
         entry.sent_at, entry.notes, frame.packed {FROM} WHERE entry.id = ?1"
    ))?
    .query_row(params![id], |row| {
        let bytes = Bytes::from(compact::frame(row.get_ref(13)?.as_blob()?, row.get(21)?).into_owned());
        let kept: [u8; 32] = row.get_ref(15)?.as_blob()?.try_into().unwrap_or([0; 32]);
        let warnings: Option<String> = row.get(16)?;
        let answered_at = row.get::<_, Option<i64>>(18)?.map(|micros| Timestamp::from_micros(micros, true));
        let sent_at = row.get::<_, Option<i64>>(19)?.map(|micros| Timestamp::from_micros(micros, true));
        let notes: Option<String> = row.get(20)?;
        let about = EntryRow { headline: Headline::of(&bytes), ..entry_row(row)? };
        Ok(EntryDetail {
            intact: sha256(&bytes) == kept,
            sha256: kept,
            topic: row.get(14)?,
            warnings: warnings.and_then(|warnings| serde_json::from_str(&warnings).ok()).unwrap_or_default(),
            answer: answered_at.zip(row.get(17)?),
            timeline: timeline(&about, sent_at, answered_at, notes.as_deref()),
            row: about,
            bytes,
        })
    })
    .optional()
}

/// The ordinary steps stand in columns, the others in the notes; together they are the story.
fn timeline(
    row: &EntryRow,
    sent_at: Option<Timestamp>,
    answered_at: Option<Timestamp>,
    notes: Option<&str>,
) -> Vec<(Timestamp, String)> {
    let mut lines = vec![(row.received, String::from("Received and kept"))];
    lines.extend(story(notes).into_iter().map(|(at, what)| (Timestamp::from_micros(at, true), what)));
    lines.extend(sent_at.map(|at| (at, format!("Sent, attempt {}", row.attempts))));
    if let (Some(at), State::Accepted) = (answered_at, row.state) {
        let what = row
            .reason
            .as_ref()
            .map_or_else(|| String::from("Accepted"), |why| format!("Nothing to deliver: {why}"));
        lines.push((at, what));
    }
    lines.sort_by_key(|(at, _)| at.micros);
    lines
}

pub(super) fn oldest_waiting(conn: &Connection) -> rusqlite::Result<Option<Timestamp>> {
    let first: Option<i64> =
        conn.query_row("SELECT min(id) FROM entry WHERE state < 3 AND state = 0", [], |row| row.get(0))?;
    let Some(first) = first else { return Ok(None) };
    conn.query_row("SELECT received, synchronised FROM frame WHERE id = ?1", [first], |row| {
        Ok(Timestamp::from_micros(row.get(0)?, row.get(1)?))
    })
    .optional()
}
