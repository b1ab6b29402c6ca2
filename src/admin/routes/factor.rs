//! Proving a second factor: at log-in, and again where it is asked for. They are made in `enrol.rs`.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use warp::http::StatusCode;
use warp::http::header::SET_COOKIE;
use warp::reply::Response as Answer;
use zeroize::Zeroizing;

use super::call::Call;
use super::enter::{
    BRAKED, LetIn, Span, UNFIT, begin, bond, brake, factors_of, kinds, knows_password, let_in,
};
use super::says::{ACCESS, Says, says};
use crate::access::{Expected, Stage, Totp, browser, check_assertion, recovery_hash};
use crate::admin::answer::{Problem, empty, json, with_header};
use crate::admin::desk::Desk;
use crate::admin::guard;
use crate::admin::pending::{Kind, Question};
use crate::admin::store::{AuditRow, Outcome, User};
use crate::buffer::{AccountChange, Change, FactorRow};

/// Milliseconds a browser waits for a finger.
pub(super) const PATIENCE_MS: u32 = 120_000;
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Proof {
    totp: Option<String>,
    recovery: Option<String>,
    passkey: Option<PasskeyAnswer>,
    password: Option<String>,
    /// Do not ask for it again when this browser logs in, for as long as the rules have it.
    #[serde(default)]
    remember: bool,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PasskeyAnswer {
    id: String,
    client_data: String,
    authenticator_data: String,
    signature: String,
}

/// What a browser asks a passkey; bytes as base64url.
#[derive(Serialize, ToSchema)]
struct PasskeyChallenge {
    challenge: String,
    rp_id: String,
    credentials: Vec<String>,
    timeout_ms: u32,
}

/// The user who asks, as they are kept now.
pub(super) async fn own(desk: &Desk, call: &Call) -> Result<User, Problem> {
    let name = call.presence()?.user.clone();
    desk.services.store.user(name).await?.ok_or_else(Problem::unauthenticated)
}

pub(super) fn bytes(text: &str) -> Result<Vec<u8>, Problem> {
    URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|_| Problem::bad("not base64url"))
}

pub(super) fn expected(call: &Call) -> Result<Expected, Problem> {
    let authority = call.authority.as_deref().unwrap_or_default();
    let made = Expected::make(authority).map_err(Problem::unavailable)?;
    let detail = "passkeys are bound to a name: open the desk by its name instead of its address";
    made.ok_or_else(|| Problem::new(StatusCode::CONFLICT, "no-name", detail))
}

pub(super) const CHALLENGE: Says = says("challengeFactor", ACCESS, "Asks for an answer of a passkey")
    .gives::<PasskeyChallenge>(200, "For the browser")
    .refuses(&[UNFIT]);

/// `POST /api/v1/factor/challenge`
pub(super) async fn challenge(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let presence = call.presence()?;
    let expected = expected(&call)?;
    let site = Some(expected.rp_id.clone());
    let factors = factors_of(&desk, &presence.user).await?;
    let known: Vec<String> = factors
        .iter()
        .filter(|factor| factor.kind == "passkey" && factor.site == site)
        .filter_map(|factor| factor.credential.as_ref().map(|id| URL_SAFE_NO_PAD.encode(id)))
        .collect();
    if known.is_empty() {
        let detail = "you have no passkey for this name of the desk";
        return Err(Problem::new(StatusCode::CONFLICT, "no-passkey", detail));
    }
    let answer = json(&PasskeyChallenge {
        challenge: expected.challenge_text(),
        rp_id: expected.rp_id.clone(),
        credentials: known,
        timeout_ms: PATIENCE_MS,
    });
    desk.pending().ask(presence.token, Question::Assertion(expected), desk.now());
    Ok(answer)
}

pub(super) const PROVE: Says = says(
    "proveFactor",
    ACCESS,
    "Proves a second factor: the second step of a log-in, and again where it is asked for",
)
.takes::<Proof>()
.gives::<LetIn>(200, "A new cookie is set")
.refuses(&[(401, "It was not right, or there is no session"), UNFIT, BRAKED]);

/// `POST /api/v1/factor/prove`
pub(super) async fn prove(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let proof: Proof = call.json()?;
    let presence = call.presence()?;
    if !matches!(presence.stage, Stage::Factor | Stage::In) {
        return Err(conflict("there is nothing to prove now"));
    }
    let user = own(&desk, &call).await?;
    // Counted apart from passwords: a password that is known must not make room for more tries at the code.
    let account = format!("\0factor:{}", user.name);
    brake(&desk, &account, &call).await?;
    let stepping_up = presence.stage == Stage::In;
    let action = if stepping_up { "step-up" } else { "login.factor" };
    let factors = factors_of(&desk, &user.name).await?;
    let remember = proof.remember && proof.password.is_none();
    let (kind, right) = answered(&desk, &call, &user, &factors, proof).await?;
    let line = |outcome| AuditRow {
        target: Some(kind.into()),
        ..desk.line(Some(&user.name), action, outcome, call.peer)
    };
    let Some(spent) = right else {
        desk.audit(line(Outcome::Refused)).await?;
        return Err(wrong());
    };
    let entered = match (&presence.session, stepping_up) {
        (Some(session), true) => {
            let span = Span::renewed(session, desk.now());
            let token = begin(&desk, &call, &user, Stage::In, span, spent, Some(line(Outcome::Done))).await;
            token.map(|token| {
                let (username, stage) = (user.name.clone(), Stage::In);
                let body = LetIn { username, stage, factors: kinds(&factors, &call) };
                with_header(json(&body), SET_COOKIE, &guard::cookie(token.text()))
            })
        }
        _ => let_in(&desk, &call, &user, true, spent, Some(line(Outcome::Done))).await,
    };
    match entered {
        // What was right a moment ago and is not any more: two at once used one code.
        Err(problem) if problem.status == StatusCode::FORBIDDEN => {
            desk.audit(line(Outcome::Refused)).await?;
            Err(wrong())
        }
        Ok(answer) => {
            desk.throttle().succeeded(&account, call.peer);
            let cookie = if remember { remembered(&desk, &call, &user).await? } else { None };
            Ok(cookie.into_iter().fold(answer, |answer, cookie| with_header(answer, SET_COOKIE, &cookie)))
        }
        other => other,
    }
}

/// The cookie that has this browser remembered, where the rules allow it.
async fn remembered(desk: &Desk, call: &Call, user: &User) -> Result<Option<String>, Problem> {
    let days = desk.services.access.step_up.remember_days;
    if days == 0 {
        return Ok(None);
    }
    // As they are now: a recovery code that was just spent is no part of it.
    let bond = bond(user, &factors_of(desk, &user.name).await?);
    let value = browser::remember(&desk.services.seal, &bond, call.peer, desk.now());
    Ok(value.map(|value| guard::browser_cookie(&value, days)))
}

fn wrong() -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "wrong-factor", "that was not right, or was used already")
}

pub(super) fn conflict(detail: &str) -> Problem {
    Problem::new(StatusCode::CONFLICT, "account", detail)
}

pub(super) const FRESH: Says =
    says("checkProof", ACCESS, "Whether one has proven lately enough who one is for a risky action");

/// `POST /api/v1/factor/fresh`: what a page asks before it follows a link that cannot ask by itself.
pub(super) async fn fresh(_: Arc<Desk>, _: Call) -> Result<Answer, Problem> {
    Ok(empty(StatusCode::NO_CONTENT))
}

/// What was used, and what to write down when it is right.
async fn answered(
    desk: &Desk,
    call: &Call,
    user: &User,
    factors: &[FactorRow],
    proof: Proof,
) -> Result<(&'static str, Option<Vec<Change>>), Problem> {
    let one = |change| Some(vec![Change::Account(change)]);
    match proof {
        Proof { totp: Some(code), recovery: None, passkey: None, password: None, .. } => {
            let code = Zeroizing::new(code);
            let used = factors.iter().filter(|factor| factor.kind == "totp").find_map(|factor| {
                let secret = desk.services.seal.open(&factor.secret, &user.name)?;
                let totp = Totp::from_bytes(secret.expose().to_vec())?;
                let step = totp.check(&code, desk.now(), factor.counter)?;
                Some(AccountChange::UseFactor { id: factor.id, counter: step })
            });
            Ok(("totp", used.and_then(one)))
        }
        Proof { totp: None, recovery: Some(code), passkey: None, password: None, .. } => {
            let hash = recovery_hash(&Zeroizing::new(code)).map(|hash| hash.to_vec());
            let known = |hash: &Vec<u8>| {
                factors.iter().any(|factor| factor.kind == "recovery" && factor.secret == *hash)
            };
            let spend = |hash| AccountChange::SpendRecovery { user: user.name.clone(), hash };
            Ok(("recovery", hash.filter(known).map(spend).and_then(one)))
        }
        Proof { totp: None, recovery: None, passkey: Some(answer), password: None, .. } => {
            Ok(("passkey", asserted(desk, call, factors, &answer)?.and_then(one)))
        }
        Proof { totp: None, recovery: None, passkey: None, password: Some(password), .. } => {
            let password = Zeroizing::new(password);
            if factors.iter().any(|factor| factor.kind != "recovery") || call.presence()?.stage != Stage::In {
                return Err(conflict("use your second factor"));
            }
            if user.source == "oidc" {
                let detail = "log out and in again: your password is with the provider";
                return Err(Problem::new(StatusCode::CONFLICT, "log-in-again", detail));
            }
            let right = knows_password(desk, user, password).await?;
            Ok(("password", right.then(Vec::new)))
        }
        _ => Err(Problem::bad("exactly one of totp, recovery, passkey and password")),
    }
}

fn asserted(
    desk: &Desk,
    call: &Call,
    factors: &[FactorRow],
    answer: &PasskeyAnswer,
) -> Result<Option<AccountChange>, Problem> {
    let asked = desk.pending().take(call.presence()?.token, Kind::Assertion, desk.now());
    let Some(Question::Assertion(expected)) = asked else {
        return Err(conflict("ask for a challenge first; one counts for ten minutes and once"));
    };
    let id = bytes(&answer.id)?;
    let (client_data, data) = (bytes(&answer.client_data)?, bytes(&answer.authenticator_data)?);
    let signature = bytes(&answer.signature)?;
    let site = Some(expected.rp_id.clone());
    let factor = factors.iter().find(|factor| {
        factor.kind == "passkey" && factor.credential.as_ref() == Some(&id) && factor.site == site
    });
    let Some(factor) = factor else { return Ok(None) };
    let counter = u32::try_from(factor.counter).unwrap_or(u32::MAX);
    match check_assertion(&expected, &factor.secret, counter, &client_data, &data, &signature) {
        Ok(counter) => Ok(Some(AccountChange::UseFactor { id: factor.id, counter: counter.into() })),
        Err(fault) => {
            tracing::warn!(%fault, "a passkey was refused");
            Ok(None)
        }
    }
}
