//! Logging in with an OpenID Connect provider: away to it, and back. Where people end up is never taken from the
//! request: there is nothing to be redirected to but the desk's own first page.

use std::sync::Arc;

use warp::http::StatusCode;
use warp::http::header::{HeaderMap, LOCATION, SET_COOKIE};
use warp::reply::Response as Answer;

use super::call::Call;
use super::enter::{BRAKED, brake, let_in, taken_over};
use super::says::{ACCESS, Says, says};
use crate::access::{TokenHash, oidc};
use crate::admin::answer::{Problem, empty, with_header};
use crate::admin::desk::Desk;
use crate::admin::guard::cookies;
use crate::admin::store::{AuditRow, Outcome};
use crate::federation::Refused;

/// Binds who sets off to who comes back. `Lax`: it must come along when the provider sends the browser back.
const COOKIE: &str = "__Host-bedside-oidc";
/// What tries are counted under beside the address; no user can be called so.
const ACCOUNT: &str = "\0oidc";
/// Longest code and state that are looked at.
const TERM_MAX: usize = 4096;

fn see(place: &str) -> Answer {
    with_header(empty(StatusCode::SEE_OTHER), LOCATION, place)
}

fn forget(answer: Answer) -> Answer {
    let cookie = format!("{COOKIE}=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0");
    with_header(answer, SET_COOKIE, &cookie)
}

pub(super) const BEGIN: Says = says("beginOidc", ACCESS, "Sends the browser to the OpenID Connect provider")
    .does(303, "To the provider, or back to the desk when it cannot be asked")
    .refuses(&[(404, "There is none"), (409, "The first user is still to be made")]);

/// `GET /api/v1/oidc/begin`
pub(super) async fn begin(desk: Arc<Desk>, _: Call) -> Result<Answer, Problem> {
    let Some(provider) = desk.services.federation.provider.clone() else { return Err(Problem::not_found()) };
    if !desk.services.store.has_users().await? {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "set-up-first",
            "this box has no user of its own yet",
        ));
    }
    let endpoint = match provider.authorization_endpoint(desk.now()).await {
        Ok(endpoint) => endpoint,
        Err(fault) => {
            tracing::warn!(%fault, "the OpenID Connect provider could not be asked");
            return Ok(see("/?refused=provider"));
        }
    };
    let departure = desk.leaving().begin(provider.config(), desk.now()).map_err(Problem::unavailable)?;
    let joint = if endpoint.contains('?') { '&' } else { '?' };
    let cookie =
        format!("{COOKIE}={}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=600", departure.browser.text());
    Ok(with_header(see(&format!("{endpoint}{joint}{}", departure.query)), SET_COOKIE, &cookie))
}

pub(super) const BACK: Says =
    says("returnOidc", ACCESS, "Where the OpenID Connect provider sends the browser back to")
        .does(303, "To the desk, with a session or with `?refused=` and why")
        .refuses(&[(403, "The name cannot be one of this box"), (404, "There is none"), BRAKED]);

/// `GET /api/v1/oidc/return?code=&state=&iss=`
pub(super) async fn back(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    if desk.services.federation.provider.is_none() {
        return Err(Problem::not_found());
    }
    brake(&desk, ACCOUNT, &call).await?;
    match come_back(&desk, &call).await {
        Ok(mut answer) => {
            desk.throttle().succeeded(ACCOUNT, call.peer);
            let mut home = see("/");
            if let Some(cookie) = answer.headers_mut().remove(SET_COOKIE) {
                home.headers_mut().append(SET_COOKIE, cookie);
            }
            Ok(forget(home))
        }
        Err(Away::Refused(code, why)) => {
            tracing::warn!(why, "a log-in by OpenID Connect was refused");
            let line = desk.line(None, "login", Outcome::Refused, call.peer);
            desk.audit(AuditRow { target: Some("oidc".into()), note: Some(why), ..line }).await?;
            Ok(forget(see(&format!("/?refused={code}"))))
        }
        Err(Away::Problem(problem)) => Err(problem),
    }
}

enum Away {
    /// A word for the page, and why for the log and the trail.
    Refused(&'static str, String),
    Problem(Problem),
}

impl From<Problem> for Away {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

async fn come_back(desk: &Desk, call: &Call) -> Result<Answer, Away> {
    let refused = |code, why: &str| Away::Refused(code, why.into());
    let provider = desk.services.federation.provider.clone();
    let provider = provider.ok_or_else(|| refused("provider", "there is no provider"))?;
    let term = |name: &str| call.query.get(name).map(String::as_str).filter(|text| text.len() <= TERM_MAX);
    let state = term("state").ok_or_else(|| refused("state", "no state came back"))?;
    let now = desk.now();
    let attempt = desk.leaving().take(state, own_browser(&call.headers), now);
    let attempt = attempt.ok_or_else(|| refused("state", "the state is not one of this browser"))?;
    if !oidc::is_of_issuer(provider.config(), term("iss"), provider.names_itself()) {
        return Err(refused("issuer", "the answer is of another provider (RFC 9207)"));
    }
    if call.query.contains_key("error") {
        return Err(refused("provider", "the provider refused"));
    }
    let code = term("code").ok_or_else(|| refused("provider", "no code came back"))?;
    let vouched = provider.redeem(code.to_owned(), attempt, now).await.map_err(|fault| {
        let code = match &fault {
            Refused::NoRole => "role",
            Refused::Unreachable(_) => "provider",
            Refused::Untrue(_) => "token",
        };
        Away::Refused(code, fault.to_string())
    })?;
    let factor = vouched.factor;
    let (user, with) = taken_over(desk, vouched).map_err(|problem| match problem.code {
        "role-gone" => Away::Refused("role", problem.detail),
        _ => Away::Problem(problem),
    })?;
    let line = AuditRow {
        target: Some("oidc".into()),
        ..desk.line(Some(&user.name), "login", Outcome::Done, call.peer)
    };
    match let_in(desk, call, &user, factor, with, Some(line)).await {
        Err(problem) if problem.code == "not-here" => Err(Away::Refused("name", problem.detail)),
        other => Ok(other?),
    }
}

/// The browser that set off; two cookies of the name are none.
fn own_browser(headers: &HeaderMap) -> Option<TokenHash> {
    let mut ours = cookies(headers, COOKIE);
    match (ours.next(), ours.next()) {
        (Some(token), None) => TokenHash::of(token),
        _ => None,
    }
}
