//! One's own account: password, sessions, API tokens, and the glass to be broken in an emergency.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use warp::http::StatusCode;
use warp::http::header::SET_COOKIE;
use warp::reply::Response as Answer;
use zeroize::Zeroizing;

use super::call::Call;
use super::enter::{BRAKED, LetIn, RULE, UNFIT, brake, check_new_password, factors_of, let_in, rule};
use super::factor::own;
use super::says::{ACCOUNT, Says, USERS, says};
use crate::access::{BREAK_GLASS_MAX_MIN, Permission, Permissions, SessionState, Stage, Token, judge};
use crate::admin::answer::{Problem, empty, json, with_header};
use crate::admin::desk::Desk;
use crate::admin::json::{rfc3339, rfc3339_or_null};
use crate::admin::store::{AuditRow, Outcome, Session};
use crate::buffer::{AccountChange, Change, TokenRow};
use crate::clock::Timestamp;

/// Days an API token lasts at most.
const TOKEN_DAYS_MAX: u32 = 365;
const NAME_MAX: usize = 60;
/// An emergency is told in some words, not in a letter.
const REASON: std::ops::RangeInclusive<usize> = 10..=500;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PasswordForm {
    old: String,
    new: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TokenForm {
    name: String,
    permissions: Vec<String>,
    days: u32,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct GlassForm {
    reason: String,
    #[serde(default)]
    minutes: Option<u32>,
}

/// A session somebody has open.
#[derive(Serialize, ToSchema)]
pub(super) struct OpenSession {
    id: i64,
    user: String,
    /// The one that asks.
    current: bool,
    stage: Stage,
    #[serde(serialize_with = "rfc3339")]
    began: Timestamp,
    #[serde(serialize_with = "rfc3339")]
    last_used: Timestamp,
    #[serde(serialize_with = "rfc3339")]
    ends: Timestamp,
    /// Address.
    from: String,
    /// What the browser calls itself.
    agent: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct OpenSessions {
    /// The latest first.
    pub(super) sessions: Vec<OpenSession>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Ended {
    pub(super) ended: usize,
}

/// A token of a program, without the token.
#[derive(Serialize, ToSchema)]
pub(super) struct ApiToken {
    id: i64,
    user: String,
    name: String,
    permissions: Vec<String>,
    #[serde(serialize_with = "rfc3339")]
    created: Timestamp,
    #[serde(serialize_with = "rfc3339")]
    expires: Timestamp,
    #[serde(serialize_with = "rfc3339_or_null")]
    last_used: Option<Timestamp>,
}

#[derive(Serialize, ToSchema)]
struct ApiTokens {
    tokens: Vec<ApiToken>,
    /// What a new one may be given.
    may: Vec<&'static str>,
}

#[derive(Serialize, ToSchema)]
struct NewApiToken {
    #[serde(flatten)]
    about: ApiToken,
    /// Shown now and never again.
    token: String,
}

#[derive(Serialize, ToSchema)]
struct GlassOpen {
    #[serde(serialize_with = "rfc3339")]
    until: Timestamp,
}

/// Somebody opened the box beyond their places.
#[derive(Serialize, ToSchema)]
struct Emergency {
    id: i64,
    user: String,
    reason: String,
    #[serde(serialize_with = "rfc3339")]
    began: Timestamp,
    #[serde(serialize_with = "rfc3339")]
    until: Timestamp,
    #[serde(serialize_with = "rfc3339_or_null")]
    ended: Option<Timestamp>,
}

#[derive(Serialize, ToSchema)]
struct Emergencies {
    /// The latest first.
    uses: Vec<Emergency>,
}

pub(super) fn conflict(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::CONFLICT, "account", detail)
}

/// Changes accounts together with a line about it; what does not fit is a conflict.
pub(super) async fn change(
    desk: &Desk,
    call: &Call,
    action: &'static str,
    target: Option<String>,
    changes: Vec<AccountChange>,
) -> Result<(), Problem> {
    let line = desk.line(Some(&call.presence()?.user), action, Outcome::Done, call.peer);
    let changes = changes.into_iter().map(Change::Account).collect();
    let done = desk.services.store.change_accounts(changes, Some(AuditRow { target, ..line })).await?;
    done.map_err(conflict)
}

pub(super) const PASSWORD: Says =
    says("changePassword", ACCOUNT, "Changes one's own password; other sessions end")
        .takes::<PasswordForm>()
        .gives::<LetIn>(200, "It was owed: how far the log-in has come now; a new cookie is set")
        .or_nothing(204, "Changed; a new cookie is set")
        .refuses(&[UNFIT, RULE, BRAKED]);

/// `POST /api/v1/account/password`
pub(super) async fn password(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let PasswordForm { old, new } = call.json()?;
    let (old, new) = (Zeroizing::new(old), Zeroizing::new(new));
    let mut user = own(&desk, &call).await?;
    if !user.is_local() {
        return Err(conflict("your password is kept by another system; change it there"));
    }
    let presence = call.presence()?;
    let account = format!("\0password:{}", user.name);
    brake(&desk, &account, &call).await?;
    let line = desk.line(Some(&user.name), "password.change", Outcome::Done, call.peer);
    if !desk.verify(old.clone(), Some(user.password_hash.clone())).await? {
        desk.audit(AuditRow { outcome: Outcome::Refused, ..line }).await?;
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "wrong-password",
            "your present password is another",
        ));
    }
    desk.throttle().succeeded(&account, call.peer);
    if *old == *new {
        return Err(rule("the new password is the old one"));
    }
    check_new_password(&desk, &new, &user.name)?;
    let password = desk.hash(new).await?;
    let change = AccountChange::Password {
        name: user.name.clone(),
        password,
        must_change: false,
        keep: Some(presence.token.0.to_vec()),
    };
    // A new token besides: whoever had the old one is out. Beyond the second factor is who has one, or is in.
    user.must_change = false;
    let has = factors_of(&desk, &user.name).await?.iter().any(|factor| factor.kind != "recovery");
    let beyond = presence.stage == Stage::In || has;
    let mut answer = let_in(&desk, &call, &user, beyond, vec![Change::Account(change)], Some(line)).await?;
    if presence.stage == Stage::In {
        let cookie = answer.headers_mut().remove(SET_COOKIE);
        answer = empty(StatusCode::NO_CONTENT);
        if let Some(cookie) = cookie.as_ref().and_then(|cookie| cookie.to_str().ok()) {
            answer = with_header(answer, SET_COOKIE, cookie);
        }
    }
    Ok(answer)
}

/// A session for those who look at a list of them.
pub(super) fn shown(session: &Session, current: Option<i64>) -> OpenSession {
    OpenSession {
        id: session.id,
        user: session.user.clone(),
        current: current == Some(session.id),
        stage: session.stage,
        began: session.created,
        last_used: session.last_seen,
        ends: session.expires,
        from: session.peer.clone(),
        agent: Some(session.agent.clone()).filter(|agent| !agent.is_empty()),
    }
}

/// Sessions that still count, of one user or of all.
pub(super) async fn live_sessions(desk: &Desk, user: Option<String>) -> Result<Vec<Session>, Problem> {
    let rows = desk.services.store.accounts().sessions(user).await.map_err(Problem::unavailable)?;
    let (now, limits) = (desk.now(), desk.services.access.limits());
    let live = |one: &Session| judge(one.created, one.last_seen, now, limits) == SessionState::Live;
    Ok(rows.into_iter().filter_map(Session::read).filter(live).collect())
}

pub(super) const SESSIONS: Says = says("ownSessions", ACCOUNT, "Where one is logged in")
    .gives::<OpenSessions>(200, "Those that still count");

/// `GET /api/v1/account/sessions`
pub(super) async fn sessions(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let presence = call.presence()?;
    let current = presence.session.as_ref().map(|session| session.id);
    let all = live_sessions(&desk, Some(presence.user.clone())).await?;
    Ok(json(&OpenSessions { sessions: all.iter().map(|session| shown(session, current)).collect() }))
}

pub(super) const END_SESSION: Says = says("endOwnSession", ACCOUNT, "Ends one of one's own sessions");

/// `POST /api/v1/account/sessions/{id}/end`
pub(super) async fn end_session(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let id = call.id()?;
    let user = Some(call.presence()?.user.clone());
    let end = AccountChange::EndSession { id, user };
    let done = change(&desk, &call, "session.end", Some(id.to_string()), vec![end]).await;
    done.map_err(|problem| if problem.code == "account" { Problem::not_found() } else { problem })?;
    Ok(empty(StatusCode::NO_CONTENT))
}

pub(super) const END_OTHERS: Says =
    says("endOtherSessions", ACCOUNT, "Ends all of one's sessions but this one")
        .gives::<Ended>(200, "How many there were")
        .refuses(&[UNFIT]);

/// `POST /api/v1/account/sessions/end-others`
pub(super) async fn end_others(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let presence = call.presence()?;
    let others = live_sessions(&desk, Some(presence.user.clone())).await?.len().saturating_sub(1);
    let end =
        AccountChange::EndSessions { user: presence.user.clone(), keep: Some(presence.token.0.to_vec()) };
    change(&desk, &call, "session.end", Some("all others".into()), vec![end]).await?;
    Ok(json(&Ended { ended: others }))
}

/// A token for those who look at a list of them.
pub(super) fn token_shown(token: &TokenRow) -> ApiToken {
    ApiToken {
        id: token.id,
        user: token.user.clone(),
        name: token.name.clone(),
        permissions: token.permissions.split(' ').map(ToOwned::to_owned).collect(),
        created: token.created,
        expires: token.expires,
        last_used: token.last_used,
    }
}

/// What a token of this person may be given: what they may themselves, but for their own account and that of others.
fn may_give(permissions: Permissions) -> Permissions {
    let personal: Permissions =
        [Permission::Presence, Permission::Users, Permission::BreakGlass].into_iter().collect();
    permissions.beyond(personal)
}

pub(super) const TOKENS: Says =
    says("ownTokens", ACCOUNT, "One's API tokens").gives::<ApiTokens>(200, "Without the tokens themselves");

/// `GET /api/v1/account/tokens`
pub(super) async fn tokens(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let presence = call.presence()?;
    let own = desk.services.store.accounts().tokens(Some(presence.user.clone())).await;
    let tokens = own.map_err(Problem::unavailable)?.iter().map(token_shown).collect();
    let may = may_give(presence.grants.permissions(presence.role)).words();
    Ok(json(&ApiTokens { tokens, may }))
}

pub(super) const ADD_TOKEN: Says = says("addToken", ACCOUNT, "Makes an API token")
    .takes::<TokenForm>()
    .gives::<NewApiToken>(201, "Made; shown once")
    .refuses(&[UNFIT, RULE]);

/// `POST /api/v1/account/tokens`: shown once.
pub(super) async fn add_token(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let TokenForm { name, permissions, days } = call.json()?;
    let presence = call.presence()?;
    let name = name.trim();
    if name.is_empty() || name.chars().count() > NAME_MAX || name.chars().any(char::is_control) {
        return Err(rule(format!("a token has a name of 1 to {NAME_MAX} characters")));
    }
    if !(1..=TOKEN_DAYS_MAX).contains(&days) {
        return Err(rule(format!("a token lasts 1 to {TOKEN_DAYS_MAX} days")));
    }
    let wanted: Option<Permissions> = permissions.iter().map(|word| Permission::parse(word)).collect();
    let may = may_give(presence.grants.permissions(presence.role));
    let wanted = wanted.filter(|wanted| !wanted.is_empty() && wanted.beyond(may).is_empty());
    let wanted = wanted.ok_or_else(|| rule("a token is given one or more of your own permissions"))?;
    let token = Token::make().map_err(Problem::unavailable)?;
    let now = desk.now();
    let row = TokenRow {
        id: 0,
        user: presence.user.clone(),
        name: name.into(),
        hash: token.hash().0.to_vec(),
        permissions: wanted.words().join(" "),
        created: now,
        expires: now.plus(Duration::from_secs(u64::from(days) * 86_400)),
        last_used: None,
    };
    change(&desk, &call, "token.add", Some(name.into()), vec![AccountChange::AddToken(row)]).await?;
    let kept = desk.services.store.accounts().token(token.hash().0.to_vec()).await;
    let kept = kept.map_err(Problem::unavailable)?.ok_or_else(Problem::not_found)?;
    let mut answer = json(&NewApiToken { about: token_shown(&kept), token: token.api_text().to_string() });
    *answer.status_mut() = StatusCode::CREATED;
    Ok(answer)
}

pub(super) const REVOKE_TOKEN: Says =
    says("revokeToken", ACCOUNT, "Revokes an API token: one's own, or with `users.change` anybody's");

/// `POST /api/v1/account/tokens/{id}/revoke`
pub(super) async fn revoke_token(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let id = call.id()?;
    let presence = call.presence()?;
    // Whoever looks after users may revoke anybody's.
    let user = (!presence.permissions.holds(Permission::Users)).then(|| presence.user.clone());
    let revoke = AccountChange::RevokeToken { id, user };
    let done = change(&desk, &call, "token.revoke", Some(id.to_string()), vec![revoke]).await;
    done.map_err(|problem| if problem.code == "account" { Problem::not_found() } else { problem })?;
    Ok(empty(StatusCode::NO_CONTENT))
}

pub(super) const BREAK_GLASS: Says = says(
    "breakGlass",
    ACCOUNT,
    "Opens the box beyond one's places for a while, with a reason; everybody is told",
)
.takes::<GlassForm>()
.gives::<GlassOpen>(200, "Open")
.refuses(&[UNFIT, RULE]);

/// `POST /api/v1/break-glass`
pub(super) async fn break_glass(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let GlassForm { reason, minutes } = call.json()?;
    let presence = call.presence()?;
    let reason = reason.trim().to_owned();
    if !REASON.contains(&reason.chars().count()) || reason.chars().any(char::is_control) {
        return Err(rule("say why, in 10 to 500 characters"));
    }
    let minutes = minutes.unwrap_or(desk.services.access.break_glass_min);
    if !(1..=BREAK_GLASS_MAX_MIN).contains(&minutes) {
        return Err(rule(format!("it lasts 1 to {BREAK_GLASS_MAX_MIN} minutes")));
    }
    let until = desk.now().plus(Duration::from_secs(u64::from(minutes) * 60));
    let open = AccountChange::BreakGlass { user: presence.user.clone(), reason, until };
    let line = AuditRow {
        target: Some(format!("{minutes} minutes")),
        note: Some("the reason stands with the emergency".into()),
        ..desk.line(Some(&presence.user), "break-glass.begin", Outcome::Done, call.peer)
    };
    let done = desk.services.store.change_accounts(vec![Change::Account(open)], Some(line)).await?;
    done.map_err(conflict)?;
    tracing::warn!(until = until.rfc3339(), "A user broke the glass.");
    desk.look_at_glass().await;
    Ok(json(&GlassOpen { until }))
}

pub(super) const END_BREAK_GLASS: Says =
    says("endBreakGlass", ACCOUNT, "The emergency is over").refuses(&[UNFIT]);

/// `POST /api/v1/break-glass/end`
pub(super) async fn end_break_glass(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let user = call.presence()?.user.clone();
    change(&desk, &call, "break-glass.end", None, vec![AccountChange::EndBreakGlass { user }]).await?;
    desk.look_at_glass().await;
    Ok(empty(StatusCode::NO_CONTENT))
}

pub(super) const BREAK_GLASSES: Says =
    says("emergencies", USERS, "Who opened the box beyond their places, and why")
        .gives::<Emergencies>(200, "The latest");

/// `GET /api/v1/break-glass`
pub(super) async fn break_glasses(desk: Arc<Desk>, _: Call) -> Result<Answer, Problem> {
    let all = desk.services.store.accounts().break_glasses().await.map_err(Problem::unavailable)?;
    let uses = all.into_iter().map(|one| Emergency {
        id: one.id,
        user: one.user,
        reason: one.reason,
        began: one.began,
        until: one.until,
        ended: one.ended,
    });
    Ok(json(&Emergencies { uses: uses.collect() }))
}
