//! For who may log in: users, their sessions, second factors, API tokens, and emergencies. Rules that must hold whatever
//! happens at once stand here, in the transaction: one code counts once, and one admin of the box itself is left.

mod read;
#[cfg(test)]
mod tests;

use std::fmt;

use rusqlite::{Connection, OptionalExtension, params};

use crate::clock::Timestamp;

pub use read::{UserSummary, look_at_users};

/// One step of the schema.
pub(super) const TABLES: &str = "
ALTER TABLE user ADD COLUMN disabled INTEGER NOT NULL DEFAULT 0;
ALTER TABLE user ADD COLUMN source TEXT NOT NULL DEFAULT 'local';
ALTER TABLE user ADD COLUMN subject TEXT;
ALTER TABLE user ADD COLUMN grants TEXT NOT NULL DEFAULT '{}';
ALTER TABLE user ADD COLUMN must_change INTEGER NOT NULL DEFAULT 0;
ALTER TABLE user ADD COLUMN last_login INTEGER;
DROP TABLE session;
CREATE TABLE session (
  id INTEGER PRIMARY KEY AUTOINCREMENT, token BLOB NOT NULL UNIQUE, user TEXT NOT NULL, stage TEXT NOT NULL,
  created INTEGER NOT NULL, last_used INTEGER NOT NULL, expires INTEGER NOT NULL, proven INTEGER NOT NULL,
  peer TEXT NOT NULL, agent TEXT NOT NULL) STRICT;
CREATE INDEX session_user ON session (user);
CREATE TABLE factor (
  id INTEGER PRIMARY KEY AUTOINCREMENT, user TEXT NOT NULL, kind TEXT NOT NULL, label TEXT NOT NULL,
  secret BLOB NOT NULL, credential BLOB, site TEXT, counter INTEGER NOT NULL, created INTEGER NOT NULL,
  last_used INTEGER) STRICT;
CREATE INDEX factor_user ON factor (user);
CREATE UNIQUE INDEX factor_credential ON factor (credential) WHERE credential IS NOT NULL;
CREATE TABLE api_token (
  id INTEGER PRIMARY KEY AUTOINCREMENT, user TEXT NOT NULL, name TEXT NOT NULL, token BLOB NOT NULL UNIQUE,
  permissions TEXT NOT NULL, created INTEGER NOT NULL, expires INTEGER NOT NULL, last_used INTEGER) STRICT;
CREATE TABLE break_glass (
  id INTEGER PRIMARY KEY AUTOINCREMENT, user TEXT NOT NULL, reason TEXT NOT NULL, began INTEGER NOT NULL,
  until INTEGER NOT NULL, ended INTEGER) STRICT;
";

/// Users, factors of one user, and tokens of one user at most: bounds on work and disk.
const USERS_MAX: i64 = 2_000;
const FACTORS_MAX: i64 = 32;
const TOKENS_MAX: i64 = 50;

/// Someone who may log in.
#[derive(Clone, PartialEq, Eq)]
pub struct UserRow {
    pub name: String,
    /// The password's Argon2 hash in PHC text form; empty for somebody another system vouches for.
    pub password: String,
    pub role: String,
    pub created: Timestamp,
    pub disabled: bool,
    /// `local`, `ldap` or `oidc`.
    pub source: String,
    /// Who it is over there.
    pub subject: Option<String>,
    /// Limits and additions, JSON.
    pub grants: String,
    /// The password was given by somebody else.
    pub must_change: bool,
    pub last_login: Option<Timestamp>,
}

impl UserRow {
    /// A user of the box itself, without limits.
    pub fn local(name: &str, password: &str, role: &str, created: Timestamp) -> Self {
        Self {
            name: name.into(),
            password: password.into(),
            role: role.into(),
            created,
            disabled: false,
            source: LOCAL.into(),
            subject: None,
            grants: "{}".into(),
            must_change: false,
            last_login: None,
        }
    }
}

const LOCAL: &str = "local";

impl fmt::Debug for UserRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UserRow({}, {})", self.name, self.role)
    }
}

/// A session, by the hash of its cookie.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionRow {
    /// Given by the buffer; what is written is not looked at.
    pub id: i64,
    pub id_hash: Vec<u8>,
    pub user: String,
    /// How far its user has come.
    pub stage: String,
    pub created: Timestamp,
    pub last_used: Timestamp,
    pub expires: Timestamp,
    /// When its user last proved who they are.
    pub proven: Timestamp,
    /// From where, then.
    pub peer: String,
    /// What the browser called itself, then.
    pub agent: String,
}

impl fmt::Debug for SessionRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionRow(of {})", self.user)
    }
}

/// A second factor.
#[derive(Clone, PartialEq, Eq)]
pub struct FactorRow {
    /// Given by the buffer.
    pub id: i64,
    pub user: String,
    /// `totp`, `passkey` or `recovery`.
    pub kind: String,
    pub label: String,
    /// Sealed secret, public key, or hash.
    pub secret: Vec<u8>,
    /// A passkey's credential id.
    pub credential: Option<Vec<u8>>,
    /// The name a passkey is bound to.
    pub site: Option<String>,
    /// Last step of a code taken, or the passkey's counter.
    pub counter: i64,
    pub created: Timestamp,
    pub last_used: Option<Timestamp>,
}

impl fmt::Debug for FactorRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FactorRow({} of {})", self.kind, self.user)
    }
}

/// An API token, by its hash.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenRow {
    pub id: i64,
    pub user: String,
    pub name: String,
    pub hash: Vec<u8>,
    /// Words, separated by spaces.
    pub permissions: String,
    pub created: Timestamp,
    pub expires: Timestamp,
    pub last_used: Option<Timestamp>,
}

impl fmt::Debug for TokenRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenRow({} of {})", self.id, self.user)
    }
}

/// Somebody opened the box beyond their places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakGlassRow {
    pub id: i64,
    pub user: String,
    pub reason: String,
    pub began: Timestamp,
    pub until: Timestamp,
    pub ended: Option<Timestamp>,
}

/// A change of who may. Each is refused as a whole where it does not fit.
#[derive(Clone, PartialEq, Eq)]
pub enum AccountChange {
    /// Adds a user; not allowed when the name is taken.
    Add(UserRow),
    /// Changes what is said; sessions of the user end. Not allowed when no local admin would be left.
    Edit {
        name: String,
        role: Option<String>,
        disabled: Option<bool>,
        grants: Option<String>,
    },
    /// Sets a password; sessions of the user end, but for the one with this hash.
    Password {
        name: String,
        password: String,
        must_change: bool,
        keep: Option<Vec<u8>>,
    },
    /// Takes a user away with everything of theirs. Not allowed when no local admin would be left.
    Remove {
        name: String,
    },
    /// Adds or renews somebody another system vouches for; not allowed when the name is somebody else's.
    Vouched(UserRow),
    LoggedIn {
        name: String,
    },
    /// Ends one session of this user; `None`: of anybody.
    EndSession {
        id: i64,
        user: Option<String>,
    },
    /// Ends all sessions of a user, but for the one with this hash.
    EndSessions {
        user: String,
        keep: Option<Vec<u8>>,
    },
    AddFactor(FactorRow),
    /// Not allowed when it is not there.
    RemoveFactor {
        id: i64,
        user: String,
    },
    /// Forgets every factor of a user; sessions end.
    ResetFactors {
        user: String,
    },
    /// A factor was used; not allowed when `counter` is not beyond the one kept, unless both are nought.
    UseFactor {
        id: i64,
        counter: i64,
    },
    /// Puts these recovery codes in place of those that are left.
    Recovery {
        user: String,
        hashes: Vec<Vec<u8>>,
    },
    /// Takes a recovery code; not allowed when it is not there (any more).
    SpendRecovery {
        user: String,
        hash: Vec<u8>,
    },
    AddToken(TokenRow),
    /// Not allowed when it is not there. `None`: of anybody.
    RevokeToken {
        id: i64,
        user: Option<String>,
    },
    UseToken {
        id: i64,
    },
    BreakGlass {
        user: String,
        reason: String,
        until: Timestamp,
    },
    EndBreakGlass {
        user: String,
    },
}

impl fmt::Debug for AccountChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccountChange(***)")
    }
}

/// Writes a change; the inner error says why it is not allowed.
pub(super) fn apply(
    conn: &Connection,
    change: &AccountChange,
    now: Timestamp,
) -> rusqlite::Result<Result<(), String>> {
    use AccountChange as Do;
    match change {
        Do::Add(user) => add(conn, user),
        Do::Edit { name, role, disabled, grants } => {
            edit(conn, name, role.as_deref(), *disabled, grants.as_deref())
        }
        Do::Password { name, password, must_change, keep } => {
            let changed = conn.execute(
                "UPDATE user SET password = ?2, must_change = ?3 WHERE name = ?1 AND source = 'local'",
                params![name, password, must_change],
            )?;
            end_sessions(conn, name, keep.as_deref())?;
            known(changed, "this user has no password on this box")
        }
        Do::Remove { name } => remove(conn, name),
        Do::Vouched(user) => vouched(conn, user),
        Do::LoggedIn { name } => {
            let sql = "UPDATE user SET last_login = ?2 WHERE name = ?1";
            known(conn.execute(sql, params![name, now.micros])?, "there is no such user")
        }
        Do::EndSession { id, user } => {
            let sql = "DELETE FROM session WHERE id = ?1 AND (?2 IS NULL OR user = ?2)";
            known(conn.execute(sql, params![id, user])?, "there is no such session")
        }
        Do::EndSessions { user, keep } => end_sessions(conn, user, keep.as_deref()).map(Ok),
        Do::AddFactor(factor) => add_factor(conn, factor),
        Do::RemoveFactor { id, user } => {
            let sql = "DELETE FROM factor WHERE id = ?1 AND user = ?2 AND kind <> 'recovery'";
            let gone = conn.execute(sql, params![id, user])?;
            // Codes that stand in for a factor go with the last one.
            conn.execute(
                "DELETE FROM factor WHERE user = ?1 AND NOT EXISTS
                   (SELECT 1 FROM factor WHERE user = ?1 AND kind <> 'recovery')",
                [user],
            )?;
            known(gone, "there is no such factor")
        }
        Do::ResetFactors { user } => {
            conn.execute("DELETE FROM factor WHERE user = ?1", [user])?;
            end_sessions(conn, user, None).map(Ok)
        }
        Do::UseFactor { id, counter } => {
            let sql = "UPDATE factor SET counter = ?2, last_used = ?3
                       WHERE id = ?1 AND (counter < ?2 OR (counter = 0 AND ?2 = 0))";
            known(conn.execute(sql, params![id, counter, now.micros])?, "this was used already")
        }
        Do::Recovery { user, hashes } => recovery(conn, user, hashes, now),
        Do::SpendRecovery { user, hash } => {
            let sql = "DELETE FROM factor WHERE user = ?1 AND kind = 'recovery' AND secret = ?2";
            known(conn.execute(sql, params![user, hash])?, "this code is not one of those left")
        }
        Do::AddToken(token) => add_token(conn, token),
        Do::RevokeToken { id, user } => {
            let sql = "DELETE FROM api_token WHERE id = ?1 AND (?2 IS NULL OR user = ?2)";
            known(conn.execute(sql, params![id, user])?, "there is no such token")
        }
        Do::UseToken { id } => {
            conn.execute("UPDATE api_token SET last_used = ?2 WHERE id = ?1", params![id, now.micros])?;
            Ok(Ok(()))
        }
        Do::BreakGlass { user, reason, until } => {
            end_break_glass(conn, user, now)?;
            conn.execute(
                "INSERT INTO break_glass (user, reason, began, until) VALUES (?1, ?2, ?3, ?4)",
                params![user, reason, now.micros, until.micros],
            )?;
            Ok(Ok(()))
        }
        Do::EndBreakGlass { user } => known(end_break_glass(conn, user, now)?, "there is nothing to end"),
    }
}

fn known(rows: usize, why: &str) -> rusqlite::Result<Result<(), String>> {
    Ok(if rows == 0 { Err(why.into()) } else { Ok(()) })
}

fn count(conn: &Connection, sql: &str, of: impl rusqlite::Params) -> rusqlite::Result<i64> {
    conn.query_row(sql, of, |row| row.get(0))
}

/// How many users there are.
pub(super) fn users(conn: &Connection) -> rusqlite::Result<i64> {
    count(conn, "SELECT count(*) FROM user", [])
}

fn add(conn: &Connection, user: &UserRow) -> rusqlite::Result<Result<(), String>> {
    if count(conn, "SELECT count(*) FROM user WHERE name = ?1", [&user.name])? > 0 {
        return Ok(Err("this name is taken".into()));
    }
    if users(conn)? >= USERS_MAX {
        return Ok(Err(format!("a box has at most {USERS_MAX} users")));
    }
    put_user(conn, user)?;
    Ok(Ok(()))
}

/// Adds a user or replaces one of the same name.
pub(super) fn put_user(conn: &Connection, user: &UserRow) -> rusqlite::Result<()> {
    conn.execute(
        "INSERT OR REPLACE INTO user
           (name, password, role, created, disabled, source, subject, grants, must_change, last_login)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        params![
            user.name,
            user.password,
            user.role,
            user.created.micros,
            user.disabled,
            user.source,
            user.subject,
            user.grants,
            user.must_change,
            user.last_login.map(|at| at.micros)
        ],
    )?;
    Ok(())
}

/// Admins of the box itself that can log in: those of another system are gone when it is.
fn local_admins(conn: &Connection) -> rusqlite::Result<i64> {
    count(conn, "SELECT count(*) FROM user WHERE role = 'admin' AND source = 'local' AND disabled = 0", [])
}

const LAST_ADMIN: &str = "this is the last admin of this box";

fn edit(
    conn: &Connection,
    name: &str,
    role: Option<&str>,
    disabled: Option<bool>,
    grants: Option<&str>,
) -> rusqlite::Result<Result<(), String>> {
    let before = local_admins(conn)?;
    let changed = conn.execute(
        "UPDATE user SET role = coalesce(?2, role), disabled = coalesce(?3, disabled), grants = coalesce(?4, grants)
         WHERE name = ?1",
        params![name, role, disabled, grants],
    )?;
    if changed == 0 {
        return Ok(Err("there is no such user".into()));
    }
    if before > 0 && local_admins(conn)? == 0 {
        return Ok(Err(LAST_ADMIN.into()));
    }
    end_sessions(conn, name, None)?;
    Ok(Ok(()))
}

fn remove(conn: &Connection, name: &str) -> rusqlite::Result<Result<(), String>> {
    let before = local_admins(conn)?;
    let gone = conn.execute("DELETE FROM user WHERE name = ?1", [name])?;
    if gone > 0 && (before > 0 && local_admins(conn)? == 0 || users(conn)? == 0) {
        return Ok(Err(LAST_ADMIN.into()));
    }
    for table in ["session", "factor", "api_token"] {
        conn.execute(&format!("DELETE FROM {table} WHERE user = ?1"), [name])?;
    }
    known(gone, "there is no such user")
}

/// Source, subject, disabled, and role with grants.
type Held = (String, Option<String>, bool, (String, String));

fn vouched(conn: &Connection, user: &UserRow) -> rusqlite::Result<Result<(), String>> {
    let sql = "SELECT source, subject, disabled, role, grants FROM user WHERE name = ?1";
    let held: Option<Held> = conn
        .query_row(sql, [&user.name], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, (row.get(3)?, row.get(4)?)))
        })
        .optional()?;
    match held {
        // A name is no proof of being the same person: only who it is over there is.
        Some((source, subject, _, _)) if source != user.source || subject != user.subject => {
            Ok(Err("this name is somebody else's on this box".into()))
        }
        Some((_, _, true, _)) => Ok(Err("this user is disabled on this box".into())),
        Some((_, _, false, (role, held))) => {
            let grants = by_group(&held, &user.grants);
            if role != user.role || grants.is_some() {
                let sql = "UPDATE user SET role = ?2, grants = ?3 WHERE name = ?1";
                conn.execute(sql, params![user.name, user.role, grants.unwrap_or(held)])?;
                end_sessions(conn, &user.name, None)?;
            }
            Ok(Ok(()))
        }
        None => add(conn, user),
    }
}

/// What is kept of somebody's grants when their groups say these; `None`: what is held stays as it is.
///
/// A role of the clinic's own that was given at the desk stays, one that groups gave follows them.
fn by_group(held: &str, said: &str) -> Option<String> {
    use serde_json::{Map, Value};
    let read = |text: &str| serde_json::from_str::<Map<String, Value>>(text).ok();
    let (before, said) = (read(held)?, read(said)?);
    let own = |grants: &Map<String, Value>| grants.get("own_role").filter(|own| !own.is_null()).cloned();
    let from_group = before.get("from_group").and_then(Value::as_bool).unwrap_or(false);
    if own(&before) == own(&said) || (own(&before).is_some() && !from_group) {
        return None;
    }
    let mut after = before;
    for member in ["own_role", "from_group"] {
        after.remove(member);
        if let Some(value) = said.get(member) {
            after.insert(member.into(), value.clone());
        }
    }
    Some(Value::Object(after).to_string())
}

fn end_sessions(conn: &Connection, user: &str, keep: Option<&[u8]>) -> rusqlite::Result<()> {
    let sql = "DELETE FROM session WHERE user = ?1 AND (?2 IS NULL OR token <> ?2)";
    conn.execute(sql, params![user, keep]).map(drop)
}

/// Adds a session, or replaces the one with the same hash.
pub(super) fn put_session(conn: &Connection, session: &SessionRow) -> rusqlite::Result<()> {
    conn.execute(
        "INSERT OR REPLACE INTO session (token, user, stage, created, last_used, expires, proven, peer, agent)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        params![
            session.id_hash,
            session.user,
            session.stage,
            session.created.micros,
            session.last_used.micros,
            session.expires.micros,
            session.proven.micros,
            session.peer,
            session.agent
        ],
    )?;
    Ok(())
}

fn add_factor(conn: &Connection, factor: &FactorRow) -> rusqlite::Result<Result<(), String>> {
    let sql = "SELECT count(*) FROM factor WHERE user = ?1 AND kind <> 'recovery'";
    if count(conn, sql, [&factor.user])? >= FACTORS_MAX {
        return Ok(Err(format!("a user has at most {FACTORS_MAX} second factors")));
    }
    let sql = "SELECT count(*) FROM factor WHERE credential IS NOT NULL AND credential = ?1";
    if count(conn, sql, [&factor.credential])? > 0 {
        return Ok(Err("this passkey is known already".into()));
    }
    insert_factor(conn, factor).map(Ok)
}

fn insert_factor(conn: &Connection, factor: &FactorRow) -> rusqlite::Result<()> {
    conn.execute(
        "INSERT INTO factor (user, kind, label, secret, credential, site, counter, created)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            factor.user,
            factor.kind,
            factor.label,
            factor.secret,
            factor.credential,
            factor.site,
            factor.counter,
            factor.created.micros
        ],
    )?;
    Ok(())
}

fn recovery(
    conn: &Connection,
    user: &str,
    hashes: &[Vec<u8>],
    now: Timestamp,
) -> rusqlite::Result<Result<(), String>> {
    conn.execute("DELETE FROM factor WHERE user = ?1 AND kind = 'recovery'", [user])?;
    for hash in hashes {
        let factor = FactorRow {
            id: 0,
            user: user.into(),
            kind: "recovery".into(),
            label: String::new(),
            secret: hash.clone(),
            credential: None,
            site: None,
            counter: 0,
            created: now,
            last_used: None,
        };
        insert_factor(conn, &factor)?;
    }
    Ok(Ok(()))
}

fn add_token(conn: &Connection, token: &TokenRow) -> rusqlite::Result<Result<(), String>> {
    if count(conn, "SELECT count(*) FROM api_token WHERE user = ?1", [&token.user])? >= TOKENS_MAX {
        return Ok(Err(format!("a user has at most {TOKENS_MAX} tokens; revoke one")));
    }
    conn.execute(
        "INSERT INTO api_token (user, name, token, permissions, created, expires) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            token.user,
            token.name,
            token.hash,
            token.permissions,
            token.created.micros,
            token.expires.micros
        ],
    )?;
    Ok(Ok(()))
}

fn end_break_glass(conn: &Connection, user: &str, now: Timestamp) -> rusqlite::Result<usize> {
    conn.execute(
        "UPDATE break_glass SET ended = ?2 WHERE user = ?1 AND ended IS NULL AND until > ?2",
        params![user, now.micros],
    )
}
