//! Users of the box: who there is, what they may, and what an admin does about it. Each change ends the sessions it
//! concerns, in the same write.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;
use warp::http::StatusCode;
use warp::reply::Response as Answer;
use zeroize::Zeroizing;

use super::account::{ApiToken, Ended, OpenSessions, change, conflict, live_sessions, shown, token_shown};
use super::call::Call;
use super::enter::{OpenGlass, RULE, UNFIT, check_new_password, rule, sources};
use super::says::{Says, USERS, says};
use crate::access::{Grants, Permission, Role, check_username, one_time_password};
use crate::admin::answer::{Problem, empty, json};
use crate::admin::desk::Desk;
use crate::admin::json::{rfc3339, rfc3339_or_null};
use crate::admin::store::User;
use crate::buffer::{AccountChange, BreakGlassRow, FactorRow, TokenRow, UserRow};
use crate::clock::Timestamp;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewUser {
    username: String,
    role: Role,
    #[serde(default)]
    password: Option<String>,
}

/// What is not there stays; null takes the limit away.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = UserChange)]
struct Changed {
    role: Option<Role>,
    disabled: Option<bool>,
    #[serde(deserialize_with = "said")]
    #[schema(value_type = Option<Vec<String>>)]
    places: Option<Option<Vec<String>>>,
    #[serde(deserialize_with = "said")]
    #[schema(value_type = Option<Vec<String>>)]
    devices: Option<Option<Vec<String>>>,
    #[serde(deserialize_with = "said")]
    #[schema(value_type = Option<Vec<String>>)]
    permissions: Option<Option<Vec<String>>>,
    /// A role of the clinic's own, from the configuration; null: none.
    #[serde(deserialize_with = "said")]
    #[schema(value_type = Option<String>)]
    own_role: Option<Option<String>>,
}

/// Tells null from nothing.
fn said<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(from).map(Some)
}

/// A user.
#[derive(Serialize, ToSchema)]
#[schema(as = User)]
struct Shown {
    name: String,
    role: String,
    #[schema(schema_with = sources)]
    source: String,
    disabled: bool,
    #[serde(serialize_with = "rfc3339")]
    created: Timestamp,
    #[serde(serialize_with = "rfc3339_or_null")]
    last_login: Option<Timestamp>,
    /// Kinds of second factor: `totp`, `passkey`.
    factors: Vec<String>,
    recovery_left: usize,
    /// The password was given by somebody else.
    must_change: bool,
    places: Option<Vec<String>>,
    devices: Option<Vec<String>>,
    /// Null: those of the role.
    permissions: Option<Vec<String>>,
    /// A role of the clinic's own: what it says stands in place of the three above.
    own_role: Option<String>,
    sessions: usize,
    tokens: Vec<ApiToken>,
    break_glass: Option<OpenGlass>,
}

#[derive(Serialize, ToSchema)]
struct RoleSays {
    role: Role,
    permissions: Vec<&'static str>,
}

/// A role of the clinic's own, from the configuration.
#[derive(Serialize, ToSchema)]
struct OwnRoleSays {
    name: String,
    permissions: Vec<String>,
    /// Null: everywhere.
    places: Option<Vec<String>>,
    devices: Option<Vec<String>>,
}

#[derive(Serialize, ToSchema)]
struct PermissionSays {
    word: &'static str,
    means: &'static str,
}

#[derive(Serialize, ToSchema)]
struct AccessPolicy {
    /// Roles that must have one.
    second_factor: Vec<Role>,
}

#[derive(Serialize, ToSchema)]
struct Users {
    users: Vec<Shown>,
    roles: Vec<RoleSays>,
    own_roles: Vec<OwnRoleSays>,
    permissions: Vec<PermissionSays>,
    policy: AccessPolicy,
}

#[derive(Serialize, ToSchema)]
struct AddedUser {
    username: String,
    /// Made by the box, shown once.
    password: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct OneTimePassword {
    password: String,
}

pub(super) const LIST: Says =
    says("users", USERS, "Who may log in, and what each role may").gives::<Users>(200, "Everybody");

/// `GET /api/v1/users`
pub(super) async fn list(desk: Arc<Desk>, _: Call) -> Result<Answer, Problem> {
    let accounts = desk.services.store.accounts();
    let rows = accounts.users().await.map_err(Problem::unavailable)?;
    let factors = accounts.factors(None).await.map_err(Problem::unavailable)?;
    let tokens = accounts.tokens(None).await.map_err(Problem::unavailable)?;
    let glass = accounts.break_glasses().await.map_err(Problem::unavailable)?;
    let sessions = live_sessions(&desk, None).await?;
    let now = desk.now().micros;
    let open: Vec<BreakGlassRow> =
        glass.into_iter().filter(|one| one.ended.is_none() && one.until.micros > now).collect();
    let users = rows.into_iter().map(|row| {
        let sessions = sessions.iter().filter(|session| session.user == row.name).count();
        user(row, &factors, &tokens, &open, sessions)
    });
    let roles = Role::ALL.into_iter().map(|role| RoleSays { role, permissions: role.permissions().words() });
    let own_roles = desk.services.access.roles.iter().map(|(name, own)| OwnRoleSays {
        name: name.clone(),
        permissions: own.permissions.clone(),
        places: own.places.clone(),
        devices: own.devices.clone(),
    });
    let permissions =
        Permission::ALL.into_iter().map(|one| PermissionSays { word: one.word(), means: one.means() });
    Ok(json(&Users {
        users: users.collect(),
        roles: roles.collect(),
        own_roles: own_roles.collect(),
        permissions: permissions.collect(),
        policy: AccessPolicy { second_factor: desk.services.access.second_factor.clone() },
    }))
}

fn user(
    row: UserRow,
    factors: &[FactorRow],
    tokens: &[TokenRow],
    open: &[BreakGlassRow],
    sessions: usize,
) -> Shown {
    let own = |factor: &&FactorRow| factor.user == row.name;
    let mut kinds: Vec<String> =
        factors.iter().filter(own).map(|one| one.kind.clone()).filter(|kind| kind != "recovery").collect();
    kinds.sort_unstable();
    kinds.dedup();
    let grants = Grants::read(&row.grants);
    let glass = open.iter().find(|one| one.user == row.name);
    Shown {
        factors: kinds,
        recovery_left: factors.iter().filter(own).filter(|one| one.kind == "recovery").count(),
        tokens: tokens.iter().filter(|one| one.user == row.name).map(token_shown).collect(),
        break_glass: glass.map(|one| OpenGlass { until: one.until, reason: one.reason.clone() }),
        name: row.name,
        role: row.role,
        source: row.source,
        disabled: row.disabled,
        created: row.created,
        last_login: row.last_login,
        must_change: row.must_change,
        places: grants.places,
        devices: grants.devices,
        permissions: grants.permissions,
        own_role: grants.own_role,
        sessions,
    }
}

/// The user in the path; the same answer for a name that cannot be one.
async fn named(desk: &Desk, call: &Call) -> Result<User, Problem> {
    let name = call.parameter()?.to_lowercase();
    desk.services.store.user(name).await?.ok_or_else(Problem::not_found)
}

fn last_admin(problem: Problem) -> Problem {
    if problem.code == "account" && problem.detail.contains("last admin") {
        return Problem { code: "last-admin", ..problem };
    }
    problem
}

pub(super) const ADD: Says = says("addUser", USERS, "Makes a user with a one-time password")
    .takes::<NewUser>()
    .gives::<AddedUser>(201, "Made")
    .refuses(&[(409, "The name is taken"), RULE]);

/// `POST /api/v1/users`
pub(super) async fn add(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let NewUser { username, role, password } = call.json()?;
    let name = check_username(&username).map_err(|fault| rule(fault.to_string()))?;
    let (password, made) = given_or_made(&desk, &name, password)?;
    let hash = desk.hash(password).await?;
    let mut row = UserRow::local(&name, &hash, role.as_str(), desk.now());
    row.must_change = true;
    let target = Some(format!("{name} as {}", role.as_str()));
    let done = change(&desk, &call, "user.add", target, vec![AccountChange::Add(row)]).await;
    done.map_err(
        |problem| if problem.code == "account" { Problem { code: "taken", ..problem } } else { problem },
    )?;
    let mut answer = json(&AddedUser { username: name, password: made });
    *answer.status_mut() = StatusCode::CREATED;
    Ok(answer)
}

/// The password somebody gave, or one the box makes and shows once.
fn given_or_made(
    desk: &Desk,
    name: &str,
    given: Option<String>,
) -> Result<(Zeroizing<String>, Option<String>), Problem> {
    match given.map(Zeroizing::new) {
        Some(given) => {
            check_new_password(desk, &given, name)?;
            Ok((given, None))
        }
        None => {
            let made = one_time_password().map_err(Problem::unavailable)?;
            let shown = made.to_string();
            Ok((made, Some(shown)))
        }
    }
}

pub(super) const EDIT: Says =
    says("changeUser", USERS, "Changes role, places, devices, permissions, or lets in and out; sessions end")
        .takes::<Changed>()
        .refuses(&[(409, "It does not fit, or no admin of the box itself would be left"), RULE]);

/// `POST /api/v1/users/{name}/change`
pub(super) async fn edit(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let Changed { role, disabled, places, devices, permissions, own_role } = call.json()?;
    let user = named(&desk, &call).await?;
    if role.is_some() && !user.is_local() {
        return Err(conflict("this user's role comes from the groups of the other system"));
    }
    let before = user.grants.clone();
    let same_role = own_role.as_ref().is_none_or(|own| *own == before.own_role);
    let grants = Grants {
        from_group: before.from_group && same_role,
        places: places.unwrap_or_else(|| before.places.clone()),
        devices: devices.unwrap_or_else(|| before.devices.clone()),
        permissions: permissions.unwrap_or_else(|| before.permissions.clone()),
        own_role: own_role.unwrap_or_else(|| before.own_role.clone()),
    };
    grants.check().map_err(rule)?;
    if grants.own_role.as_ref().is_some_and(|name| !desk.services.access.roles.contains_key(name)) {
        return Err(rule("the configuration has no such role"));
    }
    let mut what: Vec<String> = Vec::new();
    what.extend(role.map(|role| format!("role {}", role.as_str())));
    what.extend(disabled.map(|off| String::from(if off { "disabled" } else { "enabled" })));
    what.extend((grants != before).then(|| String::from("grants")));
    if what.is_empty() {
        return Err(Problem::bad("nothing to change was said"));
    }
    let edit = AccountChange::Edit {
        name: user.name.clone(),
        role: role.map(|role| role.as_str().into()),
        disabled,
        grants: (grants != before).then(|| grants.written()),
    };
    let target = Some(format!("{}: {}", user.name, what.join(", ")));
    change(&desk, &call, "user.change", target, vec![edit]).await.map_err(last_admin)?;
    Ok(empty(StatusCode::NO_CONTENT))
}

pub(super) const RESET_PASSWORD: Says =
    says("resetPassword", USERS, "Gives a new one-time password; sessions end")
        .gives::<OneTimePassword>(200, "Shown once")
        .refuses(&[UNFIT]);

/// `POST /api/v1/users/{name}/password`: a new one-time password.
pub(super) async fn reset_password(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let user = named(&desk, &call).await?;
    if !user.is_local() {
        return Err(conflict("this user's password is kept by another system"));
    }
    let made = one_time_password().map_err(Problem::unavailable)?;
    let password = desk.hash(made.clone()).await?;
    let set = AccountChange::Password { name: user.name.clone(), password, must_change: true, keep: None };
    change(&desk, &call, "user.password", Some(user.name), vec![set]).await?;
    Ok(json(&OneTimePassword { password: made.to_string() }))
}

pub(super) const RESET_FACTORS: Says =
    says("resetFactors", USERS, "Forgets a user's second factors; sessions end").refuses(&[UNFIT]);

/// `POST /api/v1/users/{name}/factors/reset`
pub(super) async fn reset_factors(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let user = named(&desk, &call).await?.name;
    let reset = AccountChange::ResetFactors { user: user.clone() };
    change(&desk, &call, "user.factors.reset", Some(user), vec![reset]).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

pub(super) const REMOVE: Says = says("removeUser", USERS, "Removes a user with everything of theirs")
    .refuses(&[(409, "No admin of the box itself would be left")]);

/// `POST /api/v1/users/{name}/remove`
pub(super) async fn remove(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let name = named(&desk, &call).await?.name;
    let remove = AccountChange::Remove { name: name.clone() };
    change(&desk, &call, "user.remove", Some(name), vec![remove]).await.map_err(last_admin)?;
    Ok(empty(StatusCode::NO_CONTENT))
}

pub(super) const SESSIONS: Says = says("sessionsOfUser", USERS, "Where a user is logged in")
    .gives::<OpenSessions>(200, "Those that still count");

/// `GET /api/v1/users/{name}/sessions`
pub(super) async fn sessions(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let user = named(&desk, &call).await?;
    let current = call.presence()?.session.as_ref().map(|session| session.id);
    let all = live_sessions(&desk, Some(user.name)).await?;
    Ok(json(&OpenSessions { sessions: all.iter().map(|session| shown(session, current)).collect() }))
}

pub(super) const END_SESSIONS: Says = says("endSessionsOfUser", USERS, "Ends all sessions of a user")
    .gives::<Ended>(200, "How many there were")
    .refuses(&[UNFIT]);

/// `POST /api/v1/users/{name}/sessions/end`
pub(super) async fn end_sessions(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let user = named(&desk, &call).await?.name;
    let ended = live_sessions(&desk, Some(user.clone())).await?.len();
    let end = AccountChange::EndSessions { user: user.clone(), keep: None };
    change(&desk, &call, "session.end", Some(format!("all of {user}")), vec![end]).await?;
    Ok(json(&Ended { ended }))
}
