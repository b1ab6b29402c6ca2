//! For what people decided about devices and patients: associations over time, where a device stands, which entries
//! wait for a decision, and under whom an entry was delivered.
//!
//! A fact is never deleted and never changed but in two ways: an open one gets its end, once, and a wrong one is made
//! void, with who, when and why; what is right instead is a row of its own.

mod onward;
mod read;

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::device::{Identifier, Person, Place};
use crate::identity::Source;
pub(crate) use onward::ADMINISTRATION;
pub use onward::{LookRow, OnwardRow};
pub(super) use onward::{TABLES as LOOKS, owe, purging};

use super::outgoing::NewOutgoing;

pub(super) const TABLES: &str = "
CREATE TABLE association (
  id INTEGER PRIMARY KEY AUTOINCREMENT, device TEXT NOT NULL, person TEXT NOT NULL, since INTEGER NOT NULL, until INTEGER,
  scanned INTEGER NOT NULL, overrules INTEGER NOT NULL, author TEXT NOT NULL, made INTEGER NOT NULL, reason TEXT,
  ended_by TEXT, ended_why TEXT, ended INTEGER, void INTEGER, void_by TEXT, void_why TEXT, replaced_by INTEGER) STRICT;
CREATE INDEX association_device ON association (device, since);
CREATE TABLE device_home (
  id INTEGER PRIMARY KEY AUTOINCREMENT, device TEXT NOT NULL, facility TEXT, point_of_care TEXT, room TEXT, bed TEXT,
  since INTEGER NOT NULL, until INTEGER, author TEXT NOT NULL, made INTEGER NOT NULL) STRICT;
CREATE INDEX device_home_device ON device_home (device, since);
CREATE TABLE unattributed (
  entry INTEGER PRIMARY KEY, device TEXT NOT NULL, state INTEGER NOT NULL, why TEXT NOT NULL, first INTEGER NOT NULL,
  last INTEGER NOT NULL) STRICT;
CREATE TABLE attribution (id INTEGER PRIMARY KEY, parts TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE attributed (
  entry INTEGER NOT NULL, attribution INTEGER NOT NULL, decided INTEGER NOT NULL, withdrawn INTEGER, who TEXT, why TEXT, caused INTEGER,
  PRIMARY KEY (entry, attribution)) STRICT, WITHOUT ROWID;
";

/// A device is with a patient over a time.
#[derive(Clone, PartialEq, Eq)]
pub struct AssociationRow {
    pub id: i64,
    /// Key of the device on this box.
    pub device: String,
    pub person: Person,
    /// Microseconds since 1970.
    pub since: i64,
    /// Not included; `None` while it is open.
    pub until: Option<i64>,
    pub scanned: bool,
    /// It stands above what the device and the bed say.
    pub overrules: bool,
    pub author: String,
    pub made: Timestamp,
    pub reason: Option<String>,
    /// A user, or `discharge`, `transfer`, `timeout`.
    pub ended_by: Option<String>,
    pub ended_why: Option<String>,
    /// It was wrong: when somebody said so, who and why.
    pub void: Option<(Timestamp, String, String)>,
    /// What is right instead.
    pub replaced_by: Option<i64>,
}

impl AssociationRow {
    /// Where it comes from.
    pub const fn source(&self) -> Source {
        if self.scanned { Source::Scanned } else { Source::Manual }
    }
}

impl std::fmt::Debug for AssociationRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AssociationRow({} of {}, {}..{:?})", self.id, self.device, self.since, self.until)
    }
}

/// An association to be made.
#[derive(Clone, PartialEq, Eq)]
pub struct NewAssociation {
    pub device: String,
    pub person: Person,
    pub since: i64,
    pub until: Option<i64>,
    pub scanned: bool,
    pub overrules: bool,
    pub author: String,
    pub reason: Option<String>,
}

impl std::fmt::Debug for NewAssociation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NewAssociation(of {}, {}..{:?})", self.device, self.since, self.until)
    }
}

/// Where a device stands over a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HomeRow {
    pub device: String,
    pub place: Place,
    pub since: i64,
    pub until: Option<i64>,
    pub author: String,
}

/// Why an entry cannot be attributed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Doubt {
    /// Nobody says whose it is.
    Orphan,
    /// Those who say differ.
    Conflict,
    /// It cannot be told.
    Review,
}

impl Doubt {
    /// The word in JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Orphan => "orphan",
            Self::Conflict => "conflict",
            Self::Review => "review",
        }
    }

    const fn number(self) -> i64 {
        match self {
            Self::Orphan => 0,
            Self::Conflict => 1,
            Self::Review => 2,
        }
    }

    const fn of(number: i64) -> Self {
        match number {
            0 => Self::Orphan,
            1 => Self::Conflict,
            _ => Self::Review,
        }
    }
}

/// A held entry that waits for somebody to say whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoubtRow {
    pub entry: i64,
    pub device: String,
    pub doubt: Doubt,
    /// Without patient data.
    pub why: String,
    /// The earliest and the latest time of its measurements.
    pub first: i64,
    pub last: i64,
}

/// Under whom an entry was delivered, or is about to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttributedRow {
    pub entry: i64,
    /// As [`crate::gateway`] writes it.
    pub parts: String,
    pub decided: Timestamp,
    /// When the resources under it were taken back.
    pub withdrawn: Option<Timestamp>,
    /// Who wants it taken back, and why.
    pub cause: Option<(String, String)>,
    pub caused: Option<Timestamp>,
}

/// A change of what is known about devices and patients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AssociationChange {
    /// A device is with a patient. Not allowed where another one overlaps, unless `replaces` names it: an open one
    /// then ends where this one begins.
    Make { new: NewAssociation, replaces: Vec<i64> },
    /// An open one ends.
    End { id: i64, until: i64, by: String, why: Option<String> },
    /// It was wrong. `right` stands instead; without it the device was with nobody known.
    Correct { id: i64, right: Option<NewAssociation>, by: String, why: String },
    /// The device stands there from now on; without a place it has no home.
    Home { device: String, place: Option<Place>, since: i64, by: String },
    /// A held entry waits for somebody to say whose it is.
    Doubt(DoubtRow),
    /// It waits no longer.
    Settled { entry: i64 },
    /// The entry goes out under this.
    Attributed { entry: i64, parts: String },
    /// What the entry was delivered under is wrong, and is to be taken back when it goes out again.
    Withdraw { entry: i64, parts: String, who: String, why: String },
    /// The server has taken back what the entry was delivered under before.
    Withdrawn { entry: i64, parts: Vec<String> },
    /// Facts change, in this same commit: what was kept since then is to be looked at again, of this device or of all.
    Look { device: Option<String>, since: i64, who: String, why: String },
    /// The looks up to this one are done, those of a device or all.
    Looked { through: i64, device: Option<String> },
    /// A message goes to another system under this.
    Onward { outgoing: i64, parts: String },
    /// Messages went to another system under somebody else: they are withdrawn, and `rows` are told instead.
    PutRight { withdraw: Vec<i64>, rows: Vec<NewOutgoing>, round: u32 },
}

/// Writes one change into the open transaction; the inner error says why it is not allowed.
pub(super) fn apply(
    conn: &Connection,
    change: &AssociationChange,
    now: Timestamp,
) -> rusqlite::Result<Result<(), String>> {
    match change {
        AssociationChange::Make { new, replaces } => return make(conn, new, replaces, now),
        AssociationChange::End { id, until, by, why } => {
            return end(conn, *id, *until, (by, why.as_deref()), now);
        }
        AssociationChange::Correct { id, right, by, why } => {
            return correct(conn, *id, right.as_ref(), (by, why), now);
        }
        AssociationChange::Home { device, place, since, by } => {
            return home(conn, device, place.as_ref(), *since, by, now);
        }
        AssociationChange::Doubt(row) => {
            conn.prepare_cached(
                "INSERT OR REPLACE INTO unattributed (entry, device, state, why, first, last) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![row.entry, row.device, row.doubt.number(), row.why, row.first, row.last])?;
        }
        AssociationChange::Settled { entry } => {
            conn.prepare_cached("DELETE FROM unattributed WHERE entry = ?1")?.execute([entry])?;
        }
        AssociationChange::Attributed { entry, parts } => {
            conn.prepare_cached("INSERT OR IGNORE INTO attribution (parts) VALUES (?1)")?.execute([parts])?;
            conn.prepare_cached(
                "INSERT INTO attributed (entry, attribution, decided)
                 SELECT ?1, id, ?3 FROM attribution WHERE parts = ?2
                 ON CONFLICT DO UPDATE SET withdrawn = NULL, decided = excluded.decided, who = NULL, why = NULL, caused = NULL",
            )?
            .execute(params![entry, parts, now.micros])?;
            conn.prepare_cached("DELETE FROM unattributed WHERE entry = ?1")?.execute([entry])?;
        }
        AssociationChange::Withdraw { entry, parts, who, why } => {
            conn.prepare_cached("INSERT OR IGNORE INTO attribution (parts) VALUES (?1)")?.execute([parts])?;
            conn.prepare_cached(
                "INSERT INTO attributed (entry, attribution, decided, who, why, caused)
                 SELECT ?1, id, ?3, ?4, ?5, ?3 FROM attribution WHERE parts = ?2
                 ON CONFLICT DO UPDATE SET who = excluded.who, why = excluded.why, caused = excluded.caused",
            )?
            .execute(params![entry, parts, now.micros, who, why])?;
        }
        AssociationChange::Look { device, since, who, why } => {
            owe(conn, device.as_deref(), *since, None, (who, why))?
        }
        AssociationChange::Looked { through, device } => onward::looked(conn, *through, device.as_deref())?,
        AssociationChange::Onward { outgoing, parts } => onward::note(conn, *outgoing, parts)?,
        AssociationChange::PutRight { withdraw, rows, round } => {
            onward::put_right(conn, withdraw, rows, *round, now)?
        }
        AssociationChange::Withdrawn { entry, parts } => {
            for part in parts {
                conn.prepare_cached(
                    "UPDATE attributed SET withdrawn = ?3 WHERE entry = ?1 AND withdrawn IS NULL
                       AND attribution = (SELECT id FROM attribution WHERE parts = ?2)",
                )?
                .execute(params![entry, part, now.micros])?;
            }
        }
    }
    Ok(Ok(()))
}

fn make(
    conn: &Connection,
    new: &NewAssociation,
    replaces: &[i64],
    now: Timestamp,
) -> rusqlite::Result<Result<(), String>> {
    if new.until.is_some_and(|until| until <= new.since) {
        return Ok(Err("an association ends after it begins".into()));
    }
    for id in replaces {
        let Some(row) = by_id(conn, *id)?.filter(|row| row.void.is_none() && row.device == new.device) else {
            continue;
        };
        if row.since >= new.since {
            return Ok(Err("the other association begins later: correct it instead".into()));
        }
        let over = row.until.is_some_and(|until| until <= new.since);
        if !over
            && let Err(why) = shorten(conn, &row, new.since, (&new.author, Some("the device went on")), now)?
        {
            return Ok(Err(why));
        }
    }
    if overlaps(conn, new, None)? {
        return Ok(
            Err("the device is with a patient in that time already: end or correct that first".into()),
        );
    }
    insert(conn, new, now)?;
    Ok(Ok(()))
}

/// An open one gets its end; one that has ended is made void and stands again, shorter.
fn shorten(
    conn: &Connection,
    row: &AssociationRow,
    until: i64,
    (by, why): (&str, Option<&str>),
    now: Timestamp,
) -> rusqlite::Result<Result<(), String>> {
    if row.until.is_none() {
        return end(conn, row.id, until, (by, why), now);
    }
    let right = NewAssociation {
        device: row.device.clone(),
        person: row.person.clone(),
        since: row.since,
        until: Some(until),
        scanned: row.scanned,
        overrules: row.overrules,
        author: by.to_owned(),
        reason: why.map(ToOwned::to_owned),
    };
    correct(conn, row.id, Some(&right), (by, why.unwrap_or_default()), now)
}

fn end(
    conn: &Connection,
    id: i64,
    until: i64,
    (by, why): (&str, Option<&str>),
    now: Timestamp,
) -> rusqlite::Result<Result<(), String>> {
    let Some(row) = by_id(conn, id)?.filter(|row| row.void.is_none()) else {
        return Ok(Err(format!("there is no association {id}")));
    };
    if row.until.is_some() {
        return Ok(Err("the association has ended already: correct it with a reason".into()));
    }
    if until <= row.since {
        return Ok(Err(
            "an association ends after it begins: correct it with a reason if it never was".into()
        ));
    }
    conn.execute(
        "UPDATE association SET until = ?2, ended_by = ?3, ended_why = ?4, ended = ?5 WHERE id = ?1",
        params![id, until, by, why, now.micros],
    )?;
    Ok(Ok(()))
}

fn correct(
    conn: &Connection,
    id: i64,
    right: Option<&NewAssociation>,
    (by, why): (&str, &str),
    now: Timestamp,
) -> rusqlite::Result<Result<(), String>> {
    let Some(row) = by_id(conn, id)?.filter(|row| row.void.is_none()) else {
        return Ok(Err(format!("there is no association {id}, or it was corrected already")));
    };
    conn.execute(
        "UPDATE association SET void = ?2, void_by = ?3, void_why = ?4 WHERE id = ?1",
        params![row.id, now.micros, by, why],
    )?;
    let Some(right) = right else { return Ok(Ok(())) };
    if right.until.is_some_and(|until| until <= right.since) {
        return Ok(Err("an association ends after it begins".into()));
    }
    if overlaps(conn, right, None)? {
        return Ok(Err("the device is with another patient in that time: end or correct that first".into()));
    }
    let made = insert(conn, right, now)?;
    conn.execute("UPDATE association SET replaced_by = ?2 WHERE id = ?1", [id, made])?;
    Ok(Ok(()))
}

fn insert(conn: &Connection, new: &NewAssociation, now: Timestamp) -> rusqlite::Result<i64> {
    conn.execute(
        "INSERT INTO association (device, person, since, until, scanned, overrules, author, made, reason)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        params![
            new.device,
            PersonText::of(&new.person),
            new.since,
            new.until,
            new.scanned,
            new.overrules,
            new.author,
            now.micros,
            new.reason
        ],
    )?;
    Ok(conn.last_insert_rowid())
}

/// A ruling may lie over another association: that is what it is for.
fn overlaps(conn: &Connection, new: &NewAssociation, but: Option<i64>) -> rusqlite::Result<bool> {
    conn.query_row(
        "SELECT EXISTS (SELECT 1 FROM association WHERE device = ?1 AND void IS NULL AND id IS NOT ?4 AND overrules = ?5
           AND (until IS NULL OR until > ?2) AND (?3 IS NULL OR since < ?3))",
        params![new.device, new.since, new.until, but, new.overrules],
        |row| row.get(0),
    )
}

fn home(
    conn: &Connection,
    device: &str,
    place: Option<&Place>,
    since: i64,
    by: &str,
    now: Timestamp,
) -> rusqlite::Result<Result<(), String>> {
    let later: bool = conn.query_row(
        "SELECT EXISTS (SELECT 1 FROM device_home WHERE device = ?1 AND since >= ?2)",
        params![device, since],
        |row| row.get(0),
    )?;
    if later {
        return Ok(Err("the device was moved after that time already".into()));
    }
    conn.execute(
        "UPDATE device_home SET until = ?2 WHERE device = ?1 AND (until IS NULL OR until > ?2)",
        params![device, since],
    )?;
    if let Some(place) = place {
        let text = |part: &Option<std::sync::Arc<str>>| part.as_ref().map(ToString::to_string);
        conn.execute(
            "INSERT INTO device_home (device, facility, point_of_care, room, bed, since, author, made)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![
                device,
                text(&place.facility),
                text(&place.point_of_care),
                text(&place.room),
                text(&place.bed),
                since,
                by,
                now.micros
            ],
        )?;
    }
    Ok(Ok(()))
}

const COLUMNS: &str =
    "SELECT id, device, person, since, until, scanned, overrules, author, made, reason, ended_by, ended_why,
    void, void_by, void_why, replaced_by FROM association";

/// entry, parts, decided, withdrawn, who, why, caused.
pub(super) fn attributed_row(row: &Row<'_>) -> rusqlite::Result<AttributedRow> {
    let time = |micros| Timestamp::from_micros(micros, true);
    Ok(AttributedRow {
        entry: row.get(0)?,
        parts: row.get(1)?,
        decided: time(row.get(2)?),
        withdrawn: row.get::<_, Option<i64>>(3)?.map(time),
        cause: row.get::<_, Option<String>>(4)?.zip(row.get(5)?),
        caused: row.get::<_, Option<i64>>(6)?.map(time),
    })
}

fn row(row: &Row<'_>) -> rusqlite::Result<AssociationRow> {
    let time = |micros| Timestamp::from_micros(micros, true);
    let void: Option<i64> = row.get(12)?;
    let told = |column| row.get::<_, Option<String>>(column).map(Option::unwrap_or_default);
    Ok(AssociationRow {
        id: row.get(0)?,
        device: row.get(1)?,
        person: PersonText::read(&row.get::<_, String>(2)?),
        since: row.get(3)?,
        until: row.get(4)?,
        scanned: row.get(5)?,
        overrules: row.get(6)?,
        author: row.get(7)?,
        made: time(row.get(8)?),
        reason: row.get(9)?,
        ended_by: row.get(10)?,
        ended_why: row.get(11)?,
        void: match void {
            Some(at) => Some((time(at), told(13)?, told(14)?)),
            None => None,
        },
        replaced_by: row.get(15)?,
    })
}

fn by_id(conn: &Connection, id: i64) -> rusqlite::Result<Option<AssociationRow>> {
    conn.prepare_cached(&format!("{COLUMNS} WHERE id = ?1"))?.query_row([id], row).optional()
}

/// A person as JSON keeps it, the same text for the same person.
#[derive(Serialize, Deserialize)]
pub(crate) struct PersonText {
    ids: Vec<(String, String, Option<String>)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    family: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    given: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    born: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gender: Option<String>,
}

impl From<&Person> for PersonText {
    fn from(person: &Person) -> Self {
        let text = |text: &std::sync::Arc<str>| text.to_string();
        let id = |id: &Identifier| (text(&id.system), text(&id.value), id.kind.as_ref().map(text));
        Self {
            ids: person.identifiers.iter().map(id).collect(),
            family: person.family.as_ref().map(text),
            given: person.given.iter().map(text).collect(),
            born: person.birth_date.as_ref().map(text),
            gender: person.gender.as_ref().map(text),
        }
    }
}

impl From<PersonText> for Person {
    fn from(kept: PersonText) -> Self {
        let identifier = |(system, value, kind): (String, String, Option<String>)| Identifier {
            system: system.into(),
            value: value.into(),
            kind: kind.map(Into::into),
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

impl PersonText {
    fn of(person: &Person) -> String {
        // Texts only: there is nothing that JSON could not say.
        serde_json::to_string(&Self::from(person)).unwrap_or_default()
    }

    /// What nobody can read names nobody.
    fn read(text: &str) -> Person {
        serde_json::from_str::<Self>(text).map(Into::into).unwrap_or_default()
    }
}

/// Forgets what belongs to entries that are gone.
pub(super) fn forget(conn: &Connection) -> rusqlite::Result<()> {
    let tx = conn.unchecked_transaction()?;
    tx.execute("DELETE FROM attributed WHERE entry NOT IN (SELECT id FROM entry)", [])?;
    tx.execute("DELETE FROM onward WHERE entry NOT IN (SELECT id FROM entry)", [])?;
    tx.execute(
        "DELETE FROM attribution WHERE id NOT IN (SELECT attribution FROM attributed UNION SELECT attribution FROM onward
           UNION SELECT attribution FROM outgoing_attributed)",
        [],
    )?;
    tx.execute("DELETE FROM unattributed WHERE entry NOT IN (SELECT id FROM entry)", [])?;
    tx.commit()
}

#[cfg(test)]
mod tests;
