//! One's own second factors: making and removing them, and the codes that stand in for them.

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
use super::enter::{BRAKED, RULE, Span, UNFIT, begin, brake, factors_of, rule, sources};
use super::factor::{PATIENCE_MS, bytes, conflict, expected, own};
use super::says::{ACCOUNT, Says, says};
use crate::access::{
    PASSKEY_ALGORITHMS, Stage, Totp, check_registration, make_recovery_codes, recovery_hash, rp_id,
};
use crate::admin::answer::{Problem, empty, json, with_header};
use crate::admin::desk::Desk;
use crate::admin::guard;
use crate::admin::json::{rfc3339, rfc3339_or_null, words};
use crate::admin::pending::{Kind, Question};
use crate::admin::store::{AuditRow, Outcome};
use crate::buffer::{AccountChange, Change, FactorRow};
use crate::clock::Timestamp;

/// Characters of a factor's label.
const LABEL_MAX: usize = 60;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewTotp {
    code: String,
    #[serde(default)]
    label: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewPasskeyForm {
    #[serde(default)]
    label: String,
    client_data: String,
    attestation: String,
}

/// What a browser makes a passkey of; bytes as base64url.
#[derive(Serialize, ToSchema)]
struct PasskeyBegun {
    challenge: String,
    rp: RelyingParty,
    user: PasskeyUser,
    /// Credentials that are known already.
    exclude: Vec<String>,
    /// COSE numbers, in the order preferred.
    algorithms: Vec<i64>,
    timeout_ms: u32,
}

#[derive(Serialize, ToSchema)]
struct RelyingParty {
    id: String,
    name: String,
}

#[derive(Serialize, ToSchema)]
struct PasskeyUser {
    id: String,
    name: String,
    display: String,
}

/// The secret of a new authenticator app, shown now and never again.
#[derive(Serialize, ToSchema)]
struct TotpBegun {
    /// Base 32.
    secret: String,
    uri: String,
    /// The same as a QR code.
    svg: String,
}

/// A second factor is there.
#[derive(Serialize, ToSchema)]
struct Enrolled {
    /// Recovery codes, shown once, when it was the first.
    recovery: Option<Vec<String>>,
    stage: Stage,
}

#[derive(Serialize, ToSchema)]
struct RecoveryCodes {
    recovery: Vec<String>,
}

#[derive(Serialize, ToSchema)]
struct Factor {
    id: i64,
    #[schema(schema_with = factor_kinds)]
    kind: String,
    label: String,
    /// The name of the desk a passkey is bound to.
    site: Option<String>,
    #[serde(serialize_with = "rfc3339")]
    created: Timestamp,
    #[serde(serialize_with = "rfc3339_or_null")]
    last_used: Option<Timestamp>,
}

fn factor_kinds() -> utoipa::openapi::schema::Object {
    words(&["totp", "passkey"])
}

/// One's own account.
#[derive(Serialize, ToSchema)]
struct Account {
    username: String,
    #[schema(schema_with = sources)]
    source: String,
    factors: Vec<Factor>,
    recovery_left: usize,
    /// The role must have a second factor.
    required: bool,
    /// The desk was called by a name that passkeys can be bound to.
    passkeys: bool,
}

pub(super) const ACCOUNT_OF_ONE: Says =
    says("account", ACCOUNT, "One's own second factors").gives::<Account>(200, "Without any secret");

/// `GET /api/v1/account`
pub(super) async fn account(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let user = own(&desk, &call).await?;
    let factors = factors_of(&desk, &user.name).await?;
    let listed = factors.iter().filter(|factor| factor.kind != "recovery").map(|factor| Factor {
        id: factor.id,
        kind: factor.kind.clone(),
        label: factor.label.clone(),
        site: factor.site.clone(),
        created: factor.created,
        last_used: factor.last_used,
    });
    Ok(json(&Account {
        factors: listed.collect(),
        recovery_left: factors.iter().filter(|factor| factor.kind == "recovery").count(),
        required: desk.services.access.wants_factor(user.role),
        passkeys: call.authority.as_deref().and_then(rp_id).is_some(),
        username: user.name,
        source: user.source,
    }))
}

pub(super) const TOTP_BEGIN: Says = says("beginTotp", ACCOUNT, "Begins to set up an authenticator app")
    .gives::<TotpBegun>(200, "To be scanned, then confirmed with a code");

/// `POST /api/v1/account/totp/begin`
pub(super) async fn totp_begin(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let presence = call.presence()?;
    let totp = Totp::make().map_err(Problem::unavailable)?;
    let uri = totp.uri(&desk.services.about.site, &presence.user);
    let drawn = qrcode::QrCode::new(uri.as_bytes()).map_err(Problem::unavailable)?;
    let svg = drawn.render::<qrcode::render::svg::Color<'_>>().min_dimensions(200, 200).build();
    let answer = json(&TotpBegun { secret: totp.base32().to_string(), uri: uri.to_string(), svg });
    desk.pending().ask(presence.token, Question::Totp(totp), desk.now());
    Ok(answer)
}

pub(super) const TOTP_ADD: Says = says("addTotp", ACCOUNT, "Confirms an authenticator app by its first code")
    .takes::<NewTotp>()
    .gives::<Enrolled>(200, "It counts from now on")
    .refuses(&[UNFIT, RULE, BRAKED]);

/// `POST /api/v1/account/totp`
pub(super) async fn totp_add(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let NewTotp { code, label } = call.json()?;
    let presence = call.presence()?;
    let now = desk.now();
    brake(&desk, &format!("\0enrol:{}", presence.user), &call).await?;
    let (sealed, step) = {
        let pending = desk.pending();
        let totp =
            pending.totp(presence.token, now).ok_or_else(|| conflict("begin again: that took too long"))?;
        let step = totp.check(&code, now, 0).ok_or_else(|| rule("that is not the code the app shows now"))?;
        let sealed = desk.services.seal.close(totp.bytes(), &presence.user).map_err(Problem::unavailable)?;
        (sealed, step)
    };
    let factor = FactorRow {
        id: 0,
        user: presence.user.clone(),
        kind: "totp".into(),
        label: label_of(&label, "Authenticator app")?,
        secret: sealed,
        credential: None,
        site: None,
        counter: step,
        created: now,
        last_used: None,
    };
    let done = add(&desk, &call, factor).await?;
    desk.pending().take(presence.token, Kind::Totp, now);
    desk.throttle().succeeded(&format!("\0enrol:{}", presence.user), call.peer);
    Ok(done)
}

pub(super) const PASSKEY_BEGIN: Says = says("beginPasskey", ACCOUNT, "Begins to make a passkey")
    .gives::<PasskeyBegun>(200, "For the browser")
    .refuses(&[UNFIT]);

/// `POST /api/v1/account/passkey/begin`
pub(super) async fn passkey_begin(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let presence = call.presence()?;
    let expected = expected(&call)?;
    let factors = factors_of(&desk, &presence.user).await?;
    let known: Vec<String> = factors
        .iter()
        .filter_map(|factor| factor.credential.as_ref().map(|id| URL_SAFE_NO_PAD.encode(id)))
        .collect();
    // Opaque and the same each time (WebAuthn §5.4.3): no name of a person.
    let handle =
        uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, format!("bedside:{}", presence.user).as_bytes());
    let answer = json(&PasskeyBegun {
        challenge: expected.challenge_text(),
        rp: RelyingParty {
            id: expected.rp_id.clone(),
            name: format!("Bedside {}", desk.services.about.site),
        },
        user: PasskeyUser {
            id: URL_SAFE_NO_PAD.encode(handle.as_bytes()),
            name: presence.user.clone(),
            display: presence.user.clone(),
        },
        exclude: known,
        algorithms: PASSKEY_ALGORITHMS.to_vec(),
        timeout_ms: PATIENCE_MS,
    });
    desk.pending().ask(presence.token, Question::Registration(expected), desk.now());
    Ok(answer)
}

pub(super) const PASSKEY_ADD: Says = says("addPasskey", ACCOUNT, "Keeps a passkey that was made")
    .takes::<NewPasskeyForm>()
    .gives::<Enrolled>(200, "It counts from now on")
    .refuses(&[UNFIT, RULE]);

/// `POST /api/v1/account/passkey`
pub(super) async fn passkey_add(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let NewPasskeyForm { label, client_data, attestation } = call.json()?;
    let presence = call.presence()?;
    let asked = desk.pending().take(presence.token, Kind::Registration, desk.now());
    let Some(Question::Registration(expected)) = asked else {
        return Err(conflict("begin again: a challenge counts for ten minutes and once"));
    };
    let made =
        check_registration(&expected, &bytes(&client_data)?, &bytes(&attestation)?).map_err(|fault| {
            tracing::warn!(%fault, "a new passkey was refused");
            rule("this passkey cannot be used here")
        })?;
    let factor = FactorRow {
        id: 0,
        user: presence.user.clone(),
        kind: "passkey".into(),
        label: label_of(&label, "Passkey")?,
        secret: made.key,
        credential: Some(made.credential),
        site: Some(expected.rp_id),
        counter: made.counter.into(),
        created: desk.now(),
        last_used: None,
    };
    add(&desk, &call, factor).await
}

fn label_of(given: &str, otherwise: &str) -> Result<String, Problem> {
    let label = given.trim();
    if label.chars().count() > LABEL_MAX || label.chars().any(char::is_control) {
        return Err(rule(format!("a label has at most {LABEL_MAX} characters")));
    }
    Ok(if label.is_empty() { otherwise.into() } else { label.into() })
}

/// Keeps a new factor; with the first one come recovery codes, and who had to have it is in.
async fn add(desk: &Desk, call: &Call, factor: FactorRow) -> Result<Answer, Problem> {
    let presence = call.presence()?;
    let kind = factor.kind.clone();
    let first = !factors_of(desk, &presence.user).await?.iter().any(|one| one.kind != "recovery");
    let mut changes = vec![Change::Account(AccountChange::AddFactor(factor))];
    let codes = if first { Some(new_codes(&presence.user, &mut changes)?) } else { None };
    let line = AuditRow {
        target: Some(kind),
        ..desk.line(Some(&presence.user), "factor.add", Outcome::Done, call.peer)
    };
    let shown = codes.as_ref().map(|codes| codes.iter().map(|code| code.to_string()).collect::<Vec<_>>());
    if presence.stage == Stage::In {
        let done = desk.services.store.change_accounts(changes, Some(line)).await?;
        done.map_err(|why| conflict(&why))?;
        return Ok(json(&Enrolled { recovery: shown, stage: Stage::In }));
    }
    let user = own(desk, call).await?;
    let token = begin(desk, call, &user, Stage::In, Span::fresh(desk), changes, Some(line)).await.map_err(
        |problem| {
            if problem.status == StatusCode::FORBIDDEN { conflict(&problem.detail) } else { problem }
        },
    )?;
    let body = json(&Enrolled { recovery: shown, stage: Stage::In });
    Ok(with_header(body, SET_COOKIE, &guard::cookie(token.text())))
}

fn new_codes(user: &str, changes: &mut Vec<Change>) -> Result<Vec<Zeroizing<String>>, Problem> {
    let codes = make_recovery_codes().map_err(Problem::unavailable)?;
    let hashes = codes.iter().filter_map(|code| recovery_hash(code)).map(|hash| hash.to_vec()).collect();
    changes.push(Change::Account(AccountChange::Recovery { user: user.into(), hashes }));
    Ok(codes)
}

pub(super) const RECOVERY: Says =
    says("newRecoveryCodes", ACCOUNT, "Makes new recovery codes in place of the old ones")
        .gives::<RecoveryCodes>(200, "Shown once")
        .refuses(&[UNFIT]);

/// `POST /api/v1/account/recovery`: new codes in place of the old ones.
pub(super) async fn recovery(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let presence = call.presence()?;
    let factors = factors_of(&desk, &presence.user).await?;
    if !factors.iter().any(|factor| factor.kind != "recovery") {
        return Err(conflict("recovery codes stand in for a second factor; set one up first"));
    }
    let mut changes = Vec::new();
    let codes = new_codes(&presence.user, &mut changes)?;
    let line = desk.line(Some(&presence.user), "factor.recovery", Outcome::Done, call.peer);
    let done = desk.services.store.change_accounts(changes, Some(line)).await?;
    done.map_err(|why| conflict(&why))?;
    Ok(json(&RecoveryCodes { recovery: codes.iter().map(|code| code.to_string()).collect() }))
}

pub(super) const REMOVE: Says = says("removeFactor", ACCOUNT, "Removes a second factor").refuses(&[UNFIT]);

/// `POST /api/v1/account/factors/{id}/remove`
pub(super) async fn remove(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let id = call.id()?;
    let presence = call.presence()?;
    let factors = factors_of(&desk, &presence.user).await?;
    let own = || factors.iter().filter(|factor| factor.kind != "recovery");
    if !own().any(|factor| factor.id == id) {
        return Err(Problem::not_found());
    }
    if own().count() == 1 && desk.services.access.wants_factor(presence.role) {
        return Err(conflict("your role must have a second factor: set up another one first"));
    }
    let change = Change::Account(AccountChange::RemoveFactor { id, user: presence.user.clone() });
    let line = AuditRow {
        target: Some(id.to_string()),
        ..desk.line(Some(&presence.user), "factor.remove", Outcome::Done, call.peer)
    };
    let done = desk.services.store.change_accounts(vec![change], Some(line)).await?;
    done.map_err(|why| conflict(&why))?;
    Ok(empty(StatusCode::NO_CONTENT))
}
