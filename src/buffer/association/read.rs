//! Asking for associations, homes and attributions.

use rusqlite::{Connection, Row, params};

use super::{AssociationRow, AttributedRow, COLUMNS, Doubt, DoubtRow, HomeRow, attributed_row, by_id, row};
use crate::buffer::BufferError;
use crate::buffer::reader::Reader;
use crate::device::Place;

fn home_row(row: &Row<'_>) -> rusqlite::Result<HomeRow> {
    let text = |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<String>>(column)?.map(Into::into));
    Ok(HomeRow {
        device: row.get(0)?,
        place: Place { facility: text(1)?, point_of_care: text(2)?, room: text(3)?, bed: text(4)? },
        since: row.get(5)?,
        until: row.get(6)?,
        author: row.get(7)?,
    })
}

fn doubt_row(row: &Row<'_>) -> rusqlite::Result<DoubtRow> {
    Ok(DoubtRow {
        entry: row.get(0)?,
        device: row.get(1)?,
        doubt: Doubt::of(row.get(2)?),
        why: row.get(3)?,
        first: row.get(4)?,
        last: row.get(5)?,
    })
}

fn all<T>(
    conn: &Connection,
    sql: &str,
    values: impl rusqlite::Params,
    read: fn(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    conn.prepare_cached(sql)?.query_map(values, read)?.collect()
}

impl Reader {
    /// What stands of a device, for whoever must know now: associations that are not void.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub fn associations_now(&self, device: &str) -> Result<Vec<AssociationRow>, BufferError> {
        let sql = format!("{COLUMNS} WHERE device = ?1 AND void IS NULL ORDER BY since");
        self.read_now("reading associations", |conn| all(conn, &sql, [device], row))
    }

    /// Where a device stood, for whoever must know now.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub fn homes_now(&self, device: &str) -> Result<Vec<HomeRow>, BufferError> {
        const HOMES: &str =
            "SELECT device, facility, point_of_care, room, bed, since, until, author FROM device_home
            WHERE device = ?1 ORDER BY since";
        self.read_now("reading where a device stands", |conn| all(conn, HOMES, [device], home_row))
    }

    /// Under whom an entry was delivered and not taken back since.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub fn attributed_now(&self, entry: i64) -> Result<Vec<AttributedRow>, BufferError> {
        const ROWS: &str = "SELECT entry, parts, decided, withdrawn, who, why, caused FROM attributed
            JOIN attribution ON attribution.id = attributed.attribution WHERE entry = ?1 ORDER BY decided";
        self.read_now("reading attributions", |conn| all(conn, ROWS, [entry], attributed_row))
    }

    /// Whether a held entry waits for somebody to say whose it is.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub fn is_in_doubt_now(&self, entry: i64) -> Result<bool, BufferError> {
        self.read_now("reading what waits for a patient", |conn| {
            conn.prepare_cached("SELECT EXISTS (SELECT 1 FROM unattributed WHERE entry = ?1)")?
                .query_row([entry], |row| row.get(0))
        })
    }

    /// All associations of a device, or of all, that hold at some time after `after`: also void ones where asked.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn associations(
        &self,
        device: Option<String>,
        void: bool,
    ) -> Result<Vec<AssociationRow>, BufferError> {
        let sql = format!(
            "{COLUMNS} WHERE (?1 IS NULL OR device = ?1) AND (?2 OR void IS NULL) ORDER BY device, since, id"
        );
        self.read("reading associations", move |conn| all(conn, &sql, params![device, void], row)).await
    }

    /// The association with this id.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn association(&self, id: i64) -> Result<Option<AssociationRow>, BufferError> {
        self.read("reading an association", move |conn| by_id(conn, id)).await
    }

    /// Where devices stand now.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn homes(&self) -> Result<Vec<HomeRow>, BufferError> {
        const HOMES: &str =
            "SELECT device, facility, point_of_care, room, bed, since, until, author FROM device_home
            ORDER BY device, since";
        self.read("reading where devices stand", move |conn| all(conn, HOMES, [], home_row)).await
    }

    /// Held entries that wait for somebody to say whose they are, the oldest first.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn doubts(&self, after: i64, limit: u32) -> Result<Vec<DoubtRow>, BufferError> {
        const ROWS: &str =
            "SELECT unattributed.entry, unattributed.device, unattributed.state, why, first, last
            FROM unattributed JOIN entry ON entry.id = unattributed.entry
            WHERE entry.state = 2 AND unattributed.entry > ?1 ORDER BY unattributed.entry LIMIT ?2";
        self.read("reading what waits for a patient", move |conn| {
            all(conn, ROWS, params![after, limit], doubt_row)
        })
        .await
    }

    /// Entries of a device after `after`, the oldest first.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn entries_of(&self, device: String, after: i64, limit: u32) -> Result<Vec<i64>, BufferError> {
        const ROWS: &str = "SELECT entry.id FROM entry WHERE entry.id > ?2
            AND entry.device = (SELECT id FROM device WHERE key = ?1) ORDER BY entry.id LIMIT ?3";
        self.read("reading the entries of a device", move |conn| {
            all(conn, ROWS, params![device, after, limit], |row| row.get(0))
        })
        .await
    }
}
