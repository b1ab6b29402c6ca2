//! Reading who may: all users, one session, factors, tokens, emergencies.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::super::folder;
use super::super::reader::Reader;
use super::super::{BufferError, schema};
use super::{BreakGlassRow, FactorRow, SessionRow, TokenRow, UserRow};
use crate::clock::Timestamp;

/// Emergencies listed at once.
const BREAK_GLASS_LISTED: u32 = 500;

fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    Ok(Timestamp::from_micros(row.get(column)?, true))
}

fn time_or_none(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(|micros| Timestamp::from_micros(micros, true)))
}

const USER: &str = "SELECT name, password, role, created, disabled, source, subject, grants, must_change, last_login FROM user";

fn user(row: &Row<'_>) -> rusqlite::Result<UserRow> {
    Ok(UserRow {
        name: row.get(0)?,
        password: row.get(1)?,
        role: row.get(2)?,
        created: time(row, 3)?,
        disabled: row.get(4)?,
        source: row.get(5)?,
        subject: row.get(6)?,
        grants: row.get(7)?,
        must_change: row.get(8)?,
        last_login: time_or_none(row, 9)?,
    })
}

fn read_users(conn: &Connection) -> rusqlite::Result<Vec<UserRow>> {
    conn.prepare_cached(&format!("{USER} ORDER BY name"))?.query_map([], user)?.collect()
}

fn read_user(conn: &Connection, name: &str) -> rusqlite::Result<Option<UserRow>> {
    conn.prepare_cached(&format!("{USER} WHERE name = ?1"))?.query_row([name], user).optional()
}

const SESSION: &str =
    "SELECT id, token, user, stage, created, last_used, expires, proven, peer, agent FROM session";

fn session(row: &Row<'_>) -> rusqlite::Result<SessionRow> {
    Ok(SessionRow {
        id: row.get(0)?,
        id_hash: row.get(1)?,
        user: row.get(2)?,
        stage: row.get(3)?,
        created: time(row, 4)?,
        last_used: time(row, 5)?,
        expires: time(row, 6)?,
        proven: time(row, 7)?,
        peer: row.get(8)?,
        agent: row.get(9)?,
    })
}

fn read_session(conn: &Connection, id_hash: &[u8]) -> rusqlite::Result<Option<SessionRow>> {
    conn.prepare_cached(&format!("{SESSION} WHERE token = ?1"))?.query_row([id_hash], session).optional()
}

fn read_sessions(conn: &Connection, of: Option<&str>) -> rusqlite::Result<Vec<SessionRow>> {
    conn.prepare_cached(&format!("{SESSION} WHERE ?1 IS NULL OR user = ?1 ORDER BY id DESC"))?
        .query_map([of], session)?
        .collect()
}

fn read_factors(conn: &Connection, of: Option<&str>) -> rusqlite::Result<Vec<FactorRow>> {
    let mut all = conn.prepare_cached(
        "SELECT id, user, kind, label, secret, credential, site, counter, created, last_used FROM factor
         WHERE ?1 IS NULL OR user = ?1 ORDER BY id",
    )?;
    let rows = all.query_map([of], |row| {
        Ok(FactorRow {
            id: row.get(0)?,
            user: row.get(1)?,
            kind: row.get(2)?,
            label: row.get(3)?,
            secret: row.get(4)?,
            credential: row.get(5)?,
            site: row.get(6)?,
            counter: row.get(7)?,
            created: time(row, 8)?,
            last_used: time_or_none(row, 9)?,
        })
    })?;
    rows.collect()
}

const TOKEN: &str = "SELECT id, user, name, token, permissions, created, expires, last_used FROM api_token";

fn token(row: &Row<'_>) -> rusqlite::Result<TokenRow> {
    Ok(TokenRow {
        id: row.get(0)?,
        user: row.get(1)?,
        name: row.get(2)?,
        hash: row.get(3)?,
        permissions: row.get(4)?,
        created: time(row, 5)?,
        expires: time(row, 6)?,
        last_used: time_or_none(row, 7)?,
    })
}

fn read_tokens(conn: &Connection, of: Option<&str>) -> rusqlite::Result<Vec<TokenRow>> {
    conn.prepare_cached(&format!("{TOKEN} WHERE ?1 IS NULL OR user = ?1 ORDER BY id"))?
        .query_map([of], token)?
        .collect()
}

fn break_glass(row: &Row<'_>) -> rusqlite::Result<BreakGlassRow> {
    Ok(BreakGlassRow {
        id: row.get(0)?,
        user: row.get(1)?,
        reason: row.get(2)?,
        began: time(row, 3)?,
        until: time(row, 4)?,
        ended: time_or_none(row, 5)?,
    })
}

const BREAK_GLASS: &str = "SELECT id, user, reason, began, until, ended FROM break_glass";

impl Reader {
    /// All users, by name.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn users(&self) -> Result<Vec<UserRow>, BufferError> {
        self.read("reading the users", read_users).await
    }

    /// The user of this name.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn user(&self, name: &str) -> Result<Option<UserRow>, BufferError> {
        let name = name.to_owned();
        self.read("reading a user", move |conn| read_user(conn, &name)).await
    }

    /// The session with this hash of its cookie, expired or not.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn session(&self, id_hash: Vec<u8>) -> Result<Option<SessionRow>, BufferError> {
        self.read("reading a session", move |conn| read_session(conn, &id_hash)).await
    }

    /// Sessions of a user or of everybody, the latest first, expired ones too.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn sessions(&self, of: Option<String>) -> Result<Vec<SessionRow>, BufferError> {
        self.read("reading sessions", move |conn| read_sessions(conn, of.as_deref())).await
    }

    /// Second factors and recovery codes of a user or of everybody.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn factors(&self, of: Option<String>) -> Result<Vec<FactorRow>, BufferError> {
        self.read("reading second factors", move |conn| read_factors(conn, of.as_deref())).await
    }

    /// API tokens of a user or of everybody, expired ones too.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn tokens(&self, of: Option<String>) -> Result<Vec<TokenRow>, BufferError> {
        self.read("reading tokens", move |conn| read_tokens(conn, of.as_deref())).await
    }

    /// The API token with this hash.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn token(&self, hash: Vec<u8>) -> Result<Option<TokenRow>, BufferError> {
        self.read("reading a token", move |conn| {
            conn.prepare_cached(&format!("{TOKEN} WHERE token = ?1"))?.query_row([hash], token).optional()
        })
        .await
    }

    /// The emergency of this user that lasts at `now`.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn break_glass(
        &self,
        user: &str,
        now: Timestamp,
    ) -> Result<Option<BreakGlassRow>, BufferError> {
        let user = user.to_owned();
        self.read("reading an emergency", move |conn| {
            conn.prepare_cached(&format!(
                "{BREAK_GLASS} WHERE user = ?1 AND ended IS NULL AND until > ?2 AND began <= ?2 ORDER BY id DESC"
            ))?
            .query_row(params![user, now.micros], break_glass)
            .optional()
        })
        .await
    }

    /// The latest emergencies of everybody, the latest first.
    ///
    /// # Errors
    /// [`BufferError::Storage`].
    pub async fn break_glasses(&self) -> Result<Vec<BreakGlassRow>, BufferError> {
        self.read("reading emergencies", |conn| {
            conn.prepare_cached(&format!("{BREAK_GLASS} ORDER BY id DESC LIMIT {BREAK_GLASS_LISTED}"))?
                .query_map([], break_glass)?
                .collect()
        })
        .await
    }
}

/// A user as the command line lists them.
#[derive(Clone, Debug)]
pub struct UserSummary {
    pub row: UserRow,
    /// Kinds of second factor, without recovery codes.
    pub factors: Vec<String>,
    pub sessions: usize,
}

/// Looks at the users in `dir` without locking or changing anything, also while the box runs.
///
/// # Errors
/// [`BufferError::Newer`], [`BufferError::Foreign`], [`BufferError::Storage`].
pub fn look_at_users(dir: &Path) -> Result<Vec<UserSummary>, BufferError> {
    let path = dir.join(folder::DATABASE);
    schema::refuse_what_is_not_ours(&path)?;
    let look = |conn: Connection| {
        let (factors, sessions) = (read_factors(&conn, None)?, read_sessions(&conn, None)?);
        let summary = |row: UserRow| UserSummary {
            factors: factors
                .iter()
                .filter(|factor| factor.user == row.name && factor.kind != "recovery")
                .map(|factor| factor.kind.clone())
                .collect(),
            sessions: sessions.iter().filter(|session| session.user == row.name).count(),
            row,
        };
        Ok(read_users(&conn)?.into_iter().map(summary).collect())
    };
    let found = schema::connect_querying(&path).and_then(look);
    found.map_err(|source| BufferError::Storage { doing: "looking at the users", source })
}
