//! Getting in and out: first set-up, log-in, log-out. A second factor is proven in `factor.rs`.

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
use super::site;
use crate::access::{
    Grants, Permission, Role, Stage, Throttled, Token, Vouched, browser, check_password, check_username,
    rp_id,
};
use crate::admin::admission::{Presence, agent};
use crate::admin::answer::{Problem, empty, json, with_header};
use crate::admin::desk::Desk;
use crate::admin::guard;
use crate::admin::json::{rfc3339, rfc3339_or_null, words};
use crate::admin::store::{AuditRow, Outcome, Session, User};
use crate::buffer::{AccountChange, Change, FactorRow, UserRow};
use crate::clock::Timestamp;

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
    /// An OpenID Connect provider that logs people in.
    oidc: Option<ProviderName>,
    /// A directory that knows users besides.
    directory: bool,
}

/// On the button.
#[derive(Serialize, ToSchema)]
struct ProviderName {
    name: String,
}

/// How far somebody has come.
#[derive(Serialize, ToSchema)]
pub(super) struct LetIn {
    pub(super) username: String,
    pub(super) stage: Stage,
    /// What can be proven with, from where the request came: `totp`, `passkey`, `recovery`.
    pub(super) factors: Vec<&'static str>,
}

/// Who one is, and what one may.
#[derive(Serialize, ToSchema)]
#[schema(as = Session)]
struct WhoIsThere {
    username: String,
    role: Role,
    /// `local`, `ldap` or `oidc`.
    #[schema(schema_with = sources)]
    source: String,
    stage: Stage,
    /// What can be proven with: `totp`, `passkey`, `recovery`.
    factors: Vec<&'static str>,
    /// Words as `devices.see`.
    permissions: Vec<&'static str>,
    /// Only devices in these places are shown; null: everywhere.
    places: Option<Vec<String>>,
    /// These devices too, by key.
    devices: Option<Vec<String>>,
    /// A role of the clinic's own that stands in place of `role`.
    own_role: Option<String>,
    break_glass: Option<OpenGlass>,
    #[serde(serialize_with = "rfc3339_or_null")]
    ends: Option<Timestamp>,
    site: String,
    simulated: bool,
    version: &'static str,
    /// Days a browser can be remembered in which a second factor is proven; 0: none is.
    remember_days: u32,
    /// What is left of the first set-up, for whoever can finish it; null: nothing, or it was put away.
    setup: Option<SetupLeft>,
}

/// What is left of the first set-up.
#[derive(Serialize, ToSchema)]
struct SetupLeft {
    /// Steps that are open.
    open: usize,
    /// Nobody has begun with it.
    untouched: bool,
}

/// What is left of it for this person. That it cannot be told keeps nobody out.
async fn setup_left(desk: &Desk, presence: &Presence) -> Option<SetupLeft> {
    let may = presence.stage == Stage::In && presence.permissions.holds(Permission::Site);
    if !may || desk.services.about.simulated {
        return None;
    }
    let steps = site::first_steps(desk).await.ok()?;
    let left = SetupLeft { open: steps.open, untouched: steps.untouched };
    (steps.open > 0 && !steps.away()).then_some(left)
}

/// An emergency that lasts.
#[derive(Serialize, ToSchema)]
pub(super) struct OpenGlass {
    #[serde(serialize_with = "rfc3339")]
    pub(super) until: Timestamp,
    pub(super) reason: String,
}

pub(super) fn sources() -> utoipa::openapi::schema::Object {
    words(&["local", "ldap", "oidc"])
}

pub(super) const BRAKED: (u16, &str) = (429, "Too many tries; wait as `Retry-After` says");
pub(super) const RULE: (u16, &str) = (422, "A rule for what was typed, in words");
pub(super) const UNFIT: (u16, &str) = (409, "It does not fit how things stand, in words");

pub(super) const SETUP_STATE: Says =
    says("setupState", ACCESS, "Whether the first user is still to be made, and how to know this box")
        .gives::<SetupState>(200, "What anybody may know");

/// `GET /api/v1/setup`: whether the first user is still to be made, and how to know this box.
pub(super) async fn setup_state(desk: Arc<Desk>, _: Call) -> Result<Answer, Problem> {
    let services = &desk.services;
    let provider = services.federation.provider.as_ref();
    Ok(json(&SetupState {
        needed: !services.store.has_users().await?,
        simulated: services.about.simulated,
        site: services.about.site.clone(),
        fingerprint: services.identity.fingerprint(),
        version: services.about.version,
        oidc: provider.map(|provider| ProviderName { name: provider.name().into() }),
        directory: services.federation.directory.is_some(),
    }))
}

pub(super) const SETUP: Says =
    says("setup", ACCESS, "Makes the first user, for whoever read the code on the console")
        .takes::<SetupForm>()
        .gives::<LetIn>(200, "Made; the session's cookie is set")
        .refuses(&[(403, "The code is wrong"), (410, "There is a first user already"), RULE, BRAKED]);

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
    let name = check_username(&username).map_err(|fault| rule(fault.to_string()))?;
    check_new_password(&desk, &password, &name)?;
    let user = User::local(&name, Role::Admin, desk.hash(password).await?, desk.now());
    let line = desk.line(Some(&name), "setup", Outcome::Done, call.peer);
    if !desk.services.store.add_first_user(user.clone(), line).await? {
        return Err(already_set_up());
    }
    desk.drop_setup_code();
    let_in(&desk, &call, &user, false, Vec::new(), None).await
}

pub(super) const LOGIN: Says =
    says("login", ACCESS, "Begins a session, by the box's password or the directory's")
        .takes::<LoginForm>()
        .gives::<LetIn>(200, "As far as `stage` says: the session's cookie is set")
        .refuses(&[
            (401, "User name or password is wrong"),
            (
                403,
                "Known to the directory, but no role of this box: the name does not fit, or the role is gone",
            ),
            BRAKED,
        ]);

/// `POST /api/v1/login`
pub(super) async fn login(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let LoginForm { username, password } = call.json()?;
    let password = Zeroizing::new(password);
    let account = username.to_lowercase();
    brake(&desk, &account, &call).await?;
    let known = desk.services.store.user(account.clone()).await?;
    // Only names we know are written down: people type passwords into the wrong field.
    let name = known.as_ref().map(|user| user.name.clone());
    let recognised = match recognised(&desk, &account, known, password).await {
        Err(problem) if problem.code == "role-gone" => {
            let line = desk.line(None, "login", Outcome::Refused, call.peer);
            desk.audit(AuditRow { target: name, note: Some(problem.detail.clone()), ..line }).await?;
            return Err(problem);
        }
        other => other?,
    };
    let Some((user, with)) = recognised else {
        let line = desk.line(None, "login", Outcome::Refused, call.peer);
        desk.audit(AuditRow { target: name, ..line }).await?;
        let detail = "user name or password is wrong";
        return Err(Problem::new(StatusCode::UNAUTHORIZED, "wrong-login", detail));
    };
    let line = desk.line(Some(&user.name), "login", Outcome::Done, call.peer);
    let answer = let_in(&desk, &call, &user, false, with, Some(line)).await?;
    desk.throttle().succeeded(&account, call.peer);
    Ok(answer)
}

/// Who this is, by the box's own password or by the directory's; with what is to be kept of them.
async fn recognised(
    desk: &Desk,
    account: &str,
    known: Option<User>,
    password: Zeroizing<String>,
) -> Result<Option<(User, Vec<Change>)>, Problem> {
    let own = known.as_ref().filter(|user| user.is_local());
    let others = known.is_none() || known.as_ref().is_some_and(|user| user.source == "ldap");
    let directory = desk.services.federation.directory.as_ref().filter(|_| others);
    if let Some(directory) = directory {
        // The same work as for a local user comes first: the time tells nobody which names are local.
        desk.verify(password.clone(), None).await?;
        let found = directory.log_in(account.to_owned(), password).await.map_err(|fault| {
            tracing::warn!(%fault, "the directory could not be asked");
            let detail = "the directory does not answer; users of the box itself can still log in";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "directory", detail).wait(10)
        })?;
        let Some(vouched) = found else { return Ok(None) };
        return taken_over(desk, vouched).map(Some);
    }
    let right = desk.verify(password, own.map(|user| user.password_hash.clone())).await?;
    Ok(known.filter(|user| right && !user.disabled).map(|user| (user, Vec::new())))
}

/// A user another system vouches for, as one of this box.
pub(super) fn taken_over(desk: &Desk, vouched: Vouched) -> Result<(User, Vec<Change>), Problem> {
    let unfit = |_| {
        Problem::new(
            StatusCode::FORBIDDEN,
            "not-here",
            "the name you have over there cannot be one of this box",
        )
    };
    let name = check_username(&vouched.username).map_err(unfit)?;
    let Some((role, own_role)) = desk.services.access.chosen(&vouched.roles) else {
        let roles = vouched.roles.join(", ");
        let detail = format!("the role your groups give is not set up on this box any more: {roles}");
        return Err(Problem::new(StatusCode::FORBIDDEN, "role-gone", detail));
    };
    let grants = Grants { from_group: own_role.is_some(), own_role, ..Grants::default() };
    let row = UserRow {
        source: vouched.source.into(),
        subject: Some(vouched.subject),
        grants: grants.written(),
        ..UserRow::local(&name, "", role.as_str(), desk.now())
    };
    let user = User { source: row.source.clone(), ..User::local(&name, role, String::new(), desk.now()) };
    Ok((user, vec![Change::Account(AccountChange::Vouched(row))]))
}

/// Whether this is the password of a user who is in already.
pub(super) async fn knows_password(
    desk: &Desk,
    user: &User,
    password: Zeroizing<String>,
) -> Result<bool, Problem> {
    let found = recognised(desk, &user.name, Some(user.clone()), password).await?;
    Ok(found.is_some_and(|(found, _)| found.name == user.name && found.source == user.source))
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
    says("session", ACCESS, "Who one is, and what one may").gives::<WhoIsThere>(200, "Who is asking");

/// `GET /api/v1/session`: who one is, and what one may.
pub(super) async fn session(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let presence = call.presence()?.clone();
    let about = &desk.services.about;
    let factors = factors_of(&desk, &presence.user).await?;
    let setup = setup_left(&desk, &presence).await;
    Ok(json(&WhoIsThere {
        setup,
        username: presence.user,
        role: presence.role,
        source: presence.source,
        stage: presence.stage,
        factors: kinds(&factors, &call),
        permissions: presence.permissions.words(),
        places: presence.grants.places,
        devices: presence.grants.devices,
        own_role: presence.grants.own_role,
        break_glass: presence.break_glass.map(|one| OpenGlass { until: one.until, reason: one.reason }),
        ends: presence.session.map(|session| session.expires),
        site: about.site.clone(),
        simulated: about.simulated,
        version: about.version,
        remember_days: desk.services.access.step_up.remember_days,
    }))
}

/// How far somebody has come who is in with a password, and a second factor or not.
fn stage(desk: &Desk, user: &User, has_factor: bool, factor_proven: bool) -> Stage {
    if has_factor && !factor_proven {
        Stage::Factor
    } else if user.must_change {
        Stage::Password
    } else if !has_factor && !factor_proven && desk.services.access.wants_factor(user.role) {
        Stage::Enrol
    } else {
        Stage::In
    }
}

/// Second factors and recovery codes of a user.
pub(super) async fn factors_of(desk: &Desk, user: &str) -> Result<Vec<FactorRow>, Problem> {
    desk.services.store.accounts().factors(Some(user.into())).await.map_err(Problem::unavailable)
}

/// The kinds that can be used from where this call comes.
pub(super) fn kinds(factors: &[FactorRow], call: &Call) -> Vec<&'static str> {
    let site = call.authority.as_deref().and_then(rp_id);
    let mut found = Vec::new();
    for kind in ["totp", "passkey", "recovery"] {
        let usable = |factor: &FactorRow| kind != "passkey" || factor.site == site;
        if factors.iter().any(|factor| factor.kind == kind && usable(factor)) {
            found.push(kind);
        }
    }
    found
}

/// What a remembered browser is bound to.
pub(super) fn bond(user: &User, factors: &[FactorRow]) -> browser::Bond {
    let own = factors.iter().filter(|factor| factor.kind != "recovery").map(|factor| factor.id);
    browser::Bond::of(&user.name, &user.password_hash, own)
}

/// Whether this user proved a factor in this browser lately, and asked to be remembered.
fn knows_browser(desk: &Desk, call: &Call, user: &User, factors: &[FactorRow]) -> bool {
    let rules = &desk.services.access.step_up;
    let network = rules.new_network.then_some(call.peer);
    guard::claimed_browser(&call.headers).is_some_and(|cookie| {
        let bond = bond(user, factors);
        browser::is_known(&desk.services.seal, &bond, cookie, rules.remember_days, network, desk.now())
    })
}

/// A new session with a new token; the one the browser came with ends.
pub(super) async fn let_in(
    desk: &Desk,
    call: &Call,
    user: &User,
    factor_proven: bool,
    with: Vec<Change>,
    line: Option<AuditRow>,
) -> Result<Answer, Problem> {
    let factors = factors_of(desk, &user.name).await?;
    let has = factors.iter().any(|factor| factor.kind != "recovery");
    let known = has && !factor_proven && knows_browser(desk, call, user, &factors);
    let stage = stage(desk, user, has, factor_proven || known);
    let mut span = Span::fresh(desk);
    if known {
        // Remembered is not proven: the first risky action asks for the factor.
        span.proven = Timestamp::from_micros(0, true);
    }
    let line = line.map(|line| match known {
        true => AuditRow { note: Some("a remembered browser".into()), ..line },
        false => line,
    });
    let token = begin(desk, call, user, stage, span, with, line).await?;
    let body = LetIn { username: user.name.clone(), stage, factors: kinds(&factors, call) };
    Ok(with_header(json(&body), SET_COOKIE, &guard::cookie(token.text())))
}

/// When a session began, when it is over in any case, and when its user proved who they are.
pub(super) struct Span {
    pub(super) created: Timestamp,
    pub(super) expires: Timestamp,
    pub(super) proven: Timestamp,
}

impl Span {
    /// Begins now.
    pub(super) fn fresh(desk: &Desk) -> Self {
        let now = desk.now();
        Self { created: now, expires: now.plus(desk.services.access.limits().life), proven: now }
    }

    /// Goes on, proven anew.
    pub(super) fn renewed(session: &Session, now: Timestamp) -> Self {
        Self { created: session.created, expires: session.expires, proven: now }
    }
}

/// Begins a session that lasts so long, in one write with all that belongs to it.
pub(super) async fn begin(
    desk: &Desk,
    call: &Call,
    user: &User,
    stage: Stage,
    span: Span,
    mut with: Vec<Change>,
    line: Option<AuditRow>,
) -> Result<Token, Problem> {
    if let Some(before) = guard::claimed_session(&call.headers) {
        with.push(Change::EndSession { id_hash: before.0.to_vec() });
    }
    if stage == Stage::In {
        with.push(Change::Account(AccountChange::LoggedIn { name: user.name.clone() }));
    }
    let token = Token::make().map_err(Problem::unavailable)?;
    let session = Session {
        id: 0,
        token: token.hash(),
        user: user.name.clone(),
        stage,
        created: span.created,
        last_seen: desk.now(),
        expires: span.expires,
        proven: span.proven,
        peer: call.peer.to_canonical().to_string(),
        agent: agent(&call.headers),
    };
    let begun = desk.services.store.begin_session(session, with, line).await?;
    begun.map_err(|why| Problem::new(StatusCode::FORBIDDEN, "not-here", why))?;
    Ok(token)
}

/// Counts the try, or says how long to wait.
pub(super) async fn brake(desk: &Desk, account: &str, call: &Call) -> Result<(), Problem> {
    let now = desk.now();
    // Bound first: the lock must not be held across the audit.
    let begun = desk.throttle().begin(account, call.peer, now);
    let Err(Throttled(wait)) = begun else { return Ok(()) };
    desk.audit_braked(call.peer).await?;
    let seconds = wait.saturating_add(Duration::from_millis(999)).as_secs();
    let detail = format!("too many tries; wait {seconds} s and try again");
    Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-tries", detail).wait(seconds))
}

pub(super) fn rule(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "rule", detail)
}

pub(super) fn check_new_password(desk: &Desk, password: &str, name: &str) -> Result<(), Problem> {
    check_password(password, name, &[&desk.services.about.site]).map_err(|fault| rule(fault.to_string()))
}

fn already_set_up() -> Problem {
    Problem::new(StatusCode::GONE, "already-set-up", "this box has its first user already; log in")
}
