//! Getting in and out: first set-up, log-in, log-out.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use warp::http::StatusCode;
use warp::http::header::SET_COOKIE;
use warp::reply::Response as Answer;
use zeroize::Zeroizing;

use super::call::Call;
use super::says::{ACCESS, Says, says};
use crate::access::{Role, Throttled, check_password, check_username};
use crate::admin::answer::{Problem, empty, json, with_header};
use crate::admin::desk::Desk;
use crate::admin::guard;
use crate::admin::store::{AuditRow, Outcome, User};

/// What set-up tries are counted under; no user can be called so.
const SETUP_ACCOUNT: &str = "\0setup";

#[derive(Deserialize, ToSchema)]
struct SetupForm {
    code: String,
    username: String,
    password: String,
}

#[derive(Deserialize, ToSchema)]
struct LoginForm {
    username: String,
    password: String,
}

/// What anybody may know of a box.
#[derive(Serialize, ToSchema)]
struct SetupState {
    /// The first user is still to be made.
    needed: bool,
    /// All data is made up: the demo.
    simulated: bool,
    site: String,
    /// SHA-256 of the desk's certificate, `AA:BB:…`.
    fingerprint: String,
    version: &'static str,
}

/// Who was let in.
#[derive(Serialize, ToSchema)]
struct LetIn<'a> {
    username: &'a str,
}

/// Who one is.
#[derive(Serialize, ToSchema)]
#[schema(as = Session)]
struct WhoIsThere<'a> {
    username: &'a str,
    role: Role,
    site: &'a str,
    simulated: bool,
    version: &'static str,
}

pub(super) const SETUP_STATE: Says =
    says("setupState", ACCESS, "Whether the first user is still to be made, and how to know this box")
        .gives::<SetupState>(200, "What anybody may know");

/// `GET /api/v1/setup`: whether the first user is still to be made, and how to know this box.
pub(super) async fn setup_state(desk: Arc<Desk>, _: Call) -> Result<Answer, Problem> {
    let services = &desk.services;
    Ok(json(&SetupState {
        needed: !services.store.has_users().await?,
        simulated: services.about.simulated,
        site: services.about.site.clone(),
        fingerprint: services.identity.fingerprint(),
        version: services.about.version,
    }))
}

const BRAKED: (u16, &str) = (429, "Too many tries; wait as `Retry-After` says");

pub(super) const SETUP: Says =
    says("setup", ACCESS, "Makes the first user, for whoever read the code on the console")
        .takes::<SetupForm>()
        .gives::<LetIn<'static>>(200, "Made and let in: the session's cookie is set")
        .refuses(&[
            (403, "The code is wrong"),
            (410, "There is a first user already"),
            (422, "A rule for names or passwords"),
            BRAKED,
        ]);

/// `POST /api/v1/setup`: the first user, for whoever read the code on the console.
pub(super) async fn setup(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let SetupForm { code, username, password } = call.json()?;
    let (code, password) = (Zeroizing::new(code), Zeroizing::new(password));
    if desk.services.store.has_users().await? {
        return Err(already_set_up());
    }
    brake(&desk, SETUP_ACCOUNT, &call).await?;
    if let Err(problem) = desk.try_setup_code(&code) {
        desk.audit(desk.line(None, "setup", Outcome::Refused, call.peer)).await?;
        return Err(problem);
    }
    desk.throttle().succeeded(SETUP_ACCOUNT, call.peer);
    let rule = |detail: String| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "rule", detail);
    let name = check_username(&username).map_err(|fault| rule(fault.to_string()))?;
    check_password(&password, &name, &[&desk.services.about.site])
        .map_err(|fault| rule(fault.to_string()))?;
    let password_hash = desk.hash(password).await?;
    let user = User { name: name.clone(), role: Role::Admin, password_hash, created: desk.now() };
    let line = desk.line(Some(&name), "setup", Outcome::Done, call.peer);
    if !desk.services.store.add_first_user(user, line).await? {
        return Err(already_set_up());
    }
    desk.drop_setup_code();
    let_in(&desk, &name, &call, None).await
}

pub(super) const LOGIN: Says = says("login", ACCESS, "Begins a session")
    .takes::<LoginForm>()
    .gives::<LetIn<'static>>(200, "Let in: the session's cookie is set")
    .refuses(&[(401, "User name or password is wrong"), BRAKED]);

/// `POST /api/v1/login`
pub(super) async fn login(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let LoginForm { username, password } = call.json()?;
    let password = Zeroizing::new(password);
    let account = username.to_lowercase();
    brake(&desk, &account, &call).await?;
    let known = desk.services.store.user(account.clone()).await?;
    let right = desk.verify(password, known.as_ref().map(|user| user.password_hash.clone())).await?;
    // Only names we know are written down: people type passwords into the wrong field.
    let name = known.map(|user| user.name);
    match name {
        Some(name) if right => {
            let line = desk.line(Some(&name), "login", Outcome::Done, call.peer);
            let answer = let_in(&desk, &name, &call, Some(line)).await?;
            desk.throttle().succeeded(&account, call.peer);
            Ok(answer)
        }
        name => {
            let line = desk.line(None, "login", Outcome::Refused, call.peer);
            desk.audit(AuditRow { target: name, ..line }).await?;
            let detail = "user name or password is wrong";
            Err(Problem::new(StatusCode::UNAUTHORIZED, "wrong-login", detail))
        }
    }
}

pub(super) const LOGOUT: Says = says("logout", ACCESS, "Ends the session");

/// `POST /api/v1/logout`
pub(super) async fn logout(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let presence = call.presence()?;
    let line = desk.line(Some(&presence.user), "logout", Outcome::Done, call.peer);
    desk.services.store.end_session(presence.token, Some(line)).await?;
    Ok(with_header(empty(StatusCode::NO_CONTENT), SET_COOKIE, &guard::no_cookie()))
}

pub(super) const SESSION: Says =
    says("session", ACCESS, "Who one is").gives::<WhoIsThere<'static>>(200, "Who is asking");

/// `GET /api/v1/session`: who one is.
pub(super) async fn session(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let presence = call.presence()?;
    let about = &desk.services.about;
    Ok(json(&WhoIsThere {
        username: &presence.user,
        role: presence.role,
        site: &about.site,
        simulated: about.simulated,
        version: about.version,
    }))
}

/// A new session with a new token; the one the browser came with ends.
async fn let_in(desk: &Desk, name: &str, call: &Call, line: Option<AuditRow>) -> Result<Answer, Problem> {
    if let Some(before) = guard::claimed_session(&call.headers) {
        desk.services.store.end_session(before, None).await?;
    }
    let token = desk.begin_session(name, line).await?;
    Ok(with_header(json(&LetIn { username: name }), SET_COOKIE, &guard::cookie(token.text())))
}

/// Counts the try, or says how long to wait.
async fn brake(desk: &Arc<Desk>, account: &str, call: &Call) -> Result<(), Problem> {
    let now = desk.now();
    // Bound first: the lock must not be held across the audit.
    let begun = desk.throttle().begin(account, call.peer, now);
    let Err(Throttled(wait)) = begun else { return Ok(()) };
    desk.audit_braked(call.peer).await?;
    let seconds = wait.saturating_add(Duration::from_millis(999)).as_secs();
    let detail = format!("too many tries; wait {seconds} s and try again");
    Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-tries", detail).wait(seconds))
}

fn already_set_up() -> Problem {
    Problem::new(StatusCode::GONE, "already-set-up", "this box has its first user already; log in")
}
