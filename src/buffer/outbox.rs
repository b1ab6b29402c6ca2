//! For what happens to frames and entries inside a transaction: keeping, pieces, marks, quarantine. Nothing here
//! commits, and nothing here answers.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{OptionalExtension, params};

use super::compact::{self, Packed};
use super::entry::{IllegalMark, Mark, State, Transition};
use super::job::Sealed;
use super::repetition::prefix;
use super::store::Store;
use super::{Kept, Refused, ledger, outgoing, sha256};
use crate::clock::Timestamp;
use crate::sabotage::{Sabotage, commits};

/// The reason of every entry whose bytes changed on the disk.
pub(super) const CHANGED: &str =
    "the kept bytes no longer match their SHA-256: the disk changed them; they were not delivered";
/// Bytes the pieces of one unfinished transmission may have.
const PARTS_BYTES: u64 = 64 << 20;
/// Lines of an entry's story: the first ones tell how it began, the last ones how it stands.
const NOTES: usize = 16;
const FIRST_NOTES: usize = 4;
/// Bytes kept of a reason, an answer, a summary.
const TEXT_BYTES: usize = 16 << 10;

/// A link and a peer on it: who is in the middle of a transmission.
pub(super) type Sender = (Arc<str>, Arc<str>);

impl Store {
    /// Inserts a frame and its entry, or finds that it is a repetition. Pieces kept of it are replaced.
    pub(super) fn keep(&mut self, sealed: &Sealed) -> rusqlite::Result<Kept> {
        let frame = &sealed.frame;
        let link = self.link(&frame.link)?;
        self.drop_parts(&frame.link, &frame.peer)?;
        if frame.dedupe
            && let Some(id) = self.repetition_of(link, &sealed.sha256)?
        {
            *self.repeats.entry(id).or_insert(0) += 1;
            return Ok(Kept { id, duplicate: true });
        }
        let warnings =
            (!frame.warnings.is_empty()).then(|| serde_json::Value::from(frame.warnings.clone()).to_string());
        let row = Row {
            link,
            peer: &frame.peer,
            received: frame.received,
            sha256: &sealed.sha256,
            topic: frame.topic.as_deref(),
            warnings: warnings.as_deref(),
            bytes: &frame.bytes,
            packed: sealed.packed.as_ref(),
            held: frame.held.as_deref(),
        };
        Ok(Kept { id: self.insert(&row)?, duplicate: false })
    }

    fn insert(&mut self, row: &Row<'_>) -> rusqlite::Result<i64> {
        let id = self.last_id + 1;
        let Timestamp { micros, synchronised } = row.received;
        self.conn
            .prepare_cached(
                "INSERT INTO frame (id, link, received, synchronised, sha256, peer, topic, warnings, bytes, packed)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )?
            .execute(params![
                id,
                row.link,
                micros,
                synchronised,
                row.sha256,
                row.peer,
                row.topic,
                row.warnings,
                row.packed.map_or(row.bytes, |packed| &packed.bytes),
                row.packed.map(|packed| packed.column)
            ])?;
        let state = if row.held.is_some() { State::Held } else { State::Waiting };
        let prefix = prefix(row.sha256);
        self.conn
            .prepare_cached(
                "INSERT INTO entry (id, state, link, prefix, reason) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![id, state.number(), row.link, prefix, row.held.map(shortened)])?;
        self.last_id = id;
        self.counts.born(state);
        self.repetitions.add(prefix, id);
        Ok(id)
    }

    /// The id of a kept frame of this link with these bytes. The kept bytes are hashed again: a frame that the
    /// disk has changed is no reason to turn its repetition away.
    fn repetition_of(&self, link: i64, sum: &[u8; 32]) -> rusqlite::Result<Option<i64>> {
        for id in self.repetitions.candidates(&self.conn, prefix(sum))? {
            let same = self
                .conn
                .prepare_cached(
                    "SELECT bytes, packed FROM frame WHERE id = ?1 AND link = ?2 AND sha256 = ?3",
                )?
                .query_row(params![id, link, sum], |row| {
                    Ok(sha256(&compact::frame(row.get_ref(0)?.as_blob()?, row.get(1)?)) == *sum)
                })
                .optional()?;
            if same == Some(true) {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    /// Keeps one piece of an unfinished transmission.
    pub(super) fn keep_part(&mut self, sealed: &Sealed) -> rusqlite::Result<Result<(), Refused>> {
        let frame = &sealed.frame;
        let link = self.link(&frame.link)?;
        let kept = self.parts.entry((Arc::clone(&frame.link), Arc::clone(&frame.peer))).or_insert(0);
        let total = *kept + frame.bytes.len() as u64;
        if total > PARTS_BYTES {
            let reason = format!("an unfinished transmission of more than {PARTS_BYTES} bytes");
            return Ok(Err(Refused { full: false, reason }));
        }
        *kept = total;
        let Timestamp { micros, synchronised } = frame.received;
        self.conn
            .prepare_cached(
                "INSERT INTO part (link, peer, received, synchronised, sha256, bytes) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![link, frame.peer, micros, synchronised, sealed.sha256, &frame.bytes[..]])?;
        Ok(Ok(()))
    }

    fn drop_parts(&mut self, link: &Arc<str>, peer: &Arc<str>) -> rusqlite::Result<bool> {
        if self.parts.remove(&(Arc::clone(link), Arc::clone(peer))).is_none() {
            return Ok(false);
        }
        let number = self.link(link)?;
        self.conn
            .prepare_cached("DELETE FROM part WHERE link = ?1 AND peer = ?2")?
            .execute(params![number, peer])?;
        Ok(true)
    }

    /// Makes one held entry of the pieces of a transmission that broke off; `None` when there are none.
    pub(super) fn break_parts(
        &mut self,
        link: &Arc<str>,
        peer: &Arc<str>,
        why: &str,
    ) -> rusqlite::Result<Option<i64>> {
        if !self.parts.contains_key(&(Arc::clone(link), Arc::clone(peer))) {
            return Ok(None);
        }
        let number = self.link(link)?;
        let (mut bytes, mut received, mut pieces, mut changed) =
            (Vec::new(), Timestamp::from_micros(0, false), 0, 0);
        {
            let mut parts = self.conn.prepare_cached(
                "SELECT received, synchronised, sha256, bytes FROM part WHERE link = ?1 AND peer = ?2 ORDER BY id",
            )?;
            let mut rows = parts.query(params![number, peer])?;
            while let Some(row) = rows.next()? {
                let piece = row.get_ref(3)?.as_blob()?;
                received = Timestamp::from_micros(row.get(0)?, row.get(1)?);
                changed += usize::from(row.get_ref(2)?.as_blob()? != sha256(piece));
                bytes.extend_from_slice(piece);
                pieces += 1;
            }
        }
        self.drop_parts(link, peer)?;
        let mut reason = format!("{why}; these are the {pieces} piece(s) that had been kept of it");
        if changed > 0 {
            reason.push_str(&format!(", {changed} of them no longer match their SHA-256"));
        }
        let row = Row {
            link: number,
            peer,
            received,
            sha256: &sha256(&bytes),
            topic: None,
            warnings: None,
            bytes: &bytes,
            packed: None,
            held: Some(&reason),
        };
        self.insert(&row).map(Some)
    }

    /// Which unfinished transmissions there are, and how many bytes are kept of each.
    pub(super) fn unfinished(&self) -> rusqlite::Result<HashMap<Sender, u64>> {
        let mut parts = self.conn.prepare_cached(
            "SELECT link.name, part.peer, sum(length(part.bytes)) FROM part JOIN link ON link.id = part.link
             GROUP BY part.link, part.peer",
        )?;
        let rows = parts
            .query_map([], |row| Ok(((row.get(0)?, row.get(1)?), row.get::<_, i64>(2)?.unsigned_abs())))?;
        rows.collect()
    }

    /// The number of a link's name, given when it is first met.
    fn link(&mut self, name: &Arc<str>) -> rusqlite::Result<i64> {
        if let Some(number) = self.links.get(name) {
            return Ok(*number);
        }
        self.conn.prepare_cached("INSERT OR IGNORE INTO link (name) VALUES (?1)")?.execute([name])?;
        let number = self
            .conn
            .prepare_cached("SELECT id FROM link WHERE name = ?1")?
            .query_row([name], |row| row.get(0))?;
        self.links.insert(Arc::clone(name), number);
        Ok(number)
    }

    fn device(&mut self, key: &str) -> rusqlite::Result<i64> {
        /// Keys remembered; beyond it the table is asked.
        const REMEMBERED: usize = 4_096;
        if let Some(number) = self.devices.get(key) {
            return Ok(*number);
        }
        let now = self.now().micros;
        self.conn
            .prepare_cached("INSERT OR IGNORE INTO device (key, first_seen, last_seen) VALUES (?1, ?2, ?2)")?
            .execute(params![key, now])?;
        let number = self
            .conn
            .prepare_cached("SELECT id FROM device WHERE key = ?1")?
            .query_row([key], |row| row.get(0))?;
        if self.devices.len() < REMEMBERED {
            self.devices.insert(key.to_owned(), number);
        }
        Ok(number)
    }

    /// Applies one mark if the step is legal.
    pub(super) fn mark(&mut self, mark: &Mark) -> rusqlite::Result<Result<(), IllegalMark>> {
        let found = self
            .conn
            .prepare_cached("SELECT state, notes FROM entry WHERE id = ?1")?
            .query_row([mark.id], |row| Ok((State::of(row.get(0)?), row.get::<_, Option<String>>(1)?)))
            .optional()?;
        let Some((from, notes)) = found else { return Ok(Err(IllegalMark::new(mark, None))) };
        let Some(to) = mark.to.lead(from) else { return Ok(Err(IllegalMark::new(mark, Some(from)))) };
        self.write_mark(mark, from, notes.as_deref())?;
        if (from, to) == (State::Held, State::Waiting) {
            outgoing::release_entry(&self.conn, mark.id)?;
        }
        self.counts.moved(from, to);
        Ok(Ok(()))
    }

    fn write_mark(&mut self, mark: &Mark, from: State, notes: Option<&str>) -> rusqlite::Result<()> {
        let (id, now) = (mark.id, self.now().micros);
        match &mark.to {
            Transition::Sent => self
                .conn
                .prepare_cached(
                    "UPDATE entry SET state = 1, attempts = attempts + 1, sent_at = ?2, next_try = NULL WHERE id = ?1",
                )?
                .execute(params![id, now])?,
            Transition::Accepted { answer } => self
                .conn
                .prepare_cached("UPDATE entry SET state = 3, answer = ?2, answered_at = ?3, reason = NULL WHERE id = ?1")?
                .execute(params![id, shortened(answer), now])?,
            Transition::Ignored { reason } => self
                .conn
                .prepare_cached("UPDATE entry SET state = 3, reason = ?2, answered_at = ?3, next_try = NULL WHERE id = ?1")?
                .execute(params![id, shortened(reason), now])?,
            Transition::Held { reason, answer } => self
                .conn
                .prepare_cached(
                    "UPDATE entry SET state = 2, reason = ?2, answer = coalesce(?3, answer), next_try = NULL,
                     answered_at = CASE WHEN ?3 IS NULL THEN answered_at ELSE ?4 END, notes = ?5 WHERE id = ?1",
                )?
                .execute(params![
                    id, shortened(reason), answer.as_deref().map(shortened), now,
                    noted(notes, now, &format!("Held: {reason}"))
                ])?,
            Transition::Waiting { retry_after, reason } => {
                let told = reason.as_deref().unwrap_or("to be delivered again");
                let line = format!("From {from} to waiting: {told}");
                self.conn
                    .prepare_cached("UPDATE entry SET state = 0, next_try = ?2, reason = ?3, notes = ?4,
                     late = CASE WHEN state = 2 OR (state = 3 AND ?3 IS NULL) THEN 1 ELSE late END WHERE id = ?1")?
                    .execute(params![
                        id, retry_after.map(|at| at.micros), reason.as_deref().map(shortened),
                        noted(notes, now, &line)
                    ])?
            }
            Transition::Seen { device, summary } => {
                let device = self.device(device)?;
                self.conn
                    .prepare_cached("UPDATE entry SET device = ?2, summary = ?3 WHERE id = ?1")?
                    .execute(params![id, device, shortened(summary)])?
            }
        };
        Ok(())
    }

    /// Holds an entry whose bytes no longer match their hash; whether that was so. What is accepted already
    /// keeps its state: it was delivered while it was sound.
    pub(super) fn hold_if_changed(&mut self, id: i64) -> rusqlite::Result<bool> {
        let sound = self
            .conn
            .prepare_cached("SELECT bytes, sha256, packed FROM frame WHERE id = ?1")?
            .query_row([id], |row| {
                let bytes = compact::frame(row.get_ref(0)?.as_blob()?, row.get(2)?);
                Ok(row.get_ref(1)?.as_blob()? == sha256(&bytes))
            })
            .optional()?;
        if sound != Some(false) || commits(Sabotage::SkipHash) {
            return Ok(false);
        }
        self.hold_changed(id)?;
        Ok(true)
    }

    /// Holds an entry of which somebody saw that its bytes changed.
    pub(super) fn hold_changed(&mut self, id: i64) -> rusqlite::Result<()> {
        let mark = Mark { id, to: Transition::Held { reason: CHANGED.into(), answer: None } };
        if self.mark(&mark)?.is_err() {
            tracing::warn!(id, "The bytes of a held or accepted entry no longer match their SHA-256.");
        }
        Ok(())
    }

    /// Writes the repetitions counted so far.
    pub(super) fn write_repeats(&self) -> rusqlite::Result<()> {
        let mut add = self.conn.prepare_cached("UPDATE entry SET repeats = repeats + ?2 WHERE id = ?1")?;
        for (id, count) in &self.repeats {
            add.execute(params![id, count])?;
        }
        match self.repeats.values().copied().map(u64::from).sum() {
            0 => Ok(()),
            more => ledger::add_repeated(&self.conn, more),
        }
    }
}

/// One frame and its entry, about to be inserted.
struct Row<'a> {
    link: i64,
    peer: &'a str,
    received: Timestamp,
    sha256: &'a [u8; 32],
    topic: Option<&'a str>,
    warnings: Option<&'a str>,
    bytes: &'a [u8],
    packed: Option<&'a Packed>,
    held: Option<&'a str>,
}

/// The text, cut at a character where it is longer than anyone reads.
fn shortened(text: &str) -> &str {
    text.get(..text.floor_char_boundary(TEXT_BYTES)).unwrap_or(text)
}

/// The story with one more line, as JSON.
fn noted(notes: Option<&str>, now: i64, line: &str) -> String {
    /// A line of the story is a line.
    const LINE_BYTES: usize = 400;
    let line = line.get(..line.floor_char_boundary(LINE_BYTES)).unwrap_or(line);
    let mut story = story(notes);
    story.push((now, line.to_owned()));
    if story.len() > NOTES {
        story.remove(FIRST_NOTES);
    }
    serde_json::to_string(&story).unwrap_or_default()
}

/// The lines of an entry's story. Text that nobody here wrote reads as none.
pub(super) fn story(notes: Option<&str>) -> Vec<(i64, String)> {
    notes.and_then(|notes| serde_json::from_str(notes).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_story_keeps_its_beginning_and_its_end() {
        let mut notes = None;
        for at in 0..100 {
            notes = Some(noted(notes.as_deref(), at, &format!("line {at}")));
        }
        let times: Vec<i64> = story(notes.as_deref()).into_iter().map(|(at, _)| at).collect();
        assert_eq!(times.len(), NOTES);
        assert_eq!(times[..FIRST_NOTES], [0, 1, 2, 3]);
        assert_eq!(times[FIRST_NOTES..], (88..100).collect::<Vec<_>>());
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let text = "ß".repeat(TEXT_BYTES);
        assert!(shortened(&text).len() <= TEXT_BYTES);
        assert!(text.starts_with(shortened(&text)));
        assert_eq!(shortened("short"), "short");
    }
}
