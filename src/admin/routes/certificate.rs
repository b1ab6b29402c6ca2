//! The desk's certificate: what it says, another one in its place, or a new one of the box's own. Whoever is connected stays
//! so; the next connection sees the new one.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use warp::http::StatusCode;
use warp::reply::Response as Answer;
use zeroize::Zeroizing;

use super::call::Call;
use super::pair::audited;
use super::says::{CERTIFICATE, Says, says};
use crate::acme;
use crate::admin::Source;
use crate::admin::answer::{Problem, json};
use crate::admin::certificate::{Facts, Urgency};
use crate::admin::desk::Desk;
use crate::admin::issuance::State;
use crate::admin::store::{AuditRow, Outcome};
use crate::secret::Secret;

const DAY_S: i64 = 86_400;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CertificateWanted)]
struct Given {
    /// The chain in PEM, the desk's own certificate first.
    certificate: String,
    /// Its private key in PEM, without a passphrase.
    key: String,
}

/// The certificate as the desk shows it.
#[derive(Serialize, ToSchema)]
#[schema(as = Certificate)]
struct View {
    source: Source,
    /// SHA-256: `AA:BB:…`.
    fingerprint: String,
    facts: Option<Facts>,
    /// Whole days it is valid; negative when it has expired.
    days_left: Option<i64>,
    /// Whether somebody has to look after it.
    urgency: Urgency,
    /// Why it cannot be replaced at the desk.
    fixed: Option<String>,
}

pub(super) const SHOW: Says =
    says("certificate", CERTIFICATE, "The certificate in use").gives::<View>(200, "What it says of itself");

/// `GET /api/v1/certificate`
pub(super) async fn show(desk: Arc<Desk>, _call: Call) -> Result<Answer, Problem> {
    Ok(json(&view(&desk)))
}

const REFUSED: &[(u16, &str)] = &[
    (409, "The configuration file names the certificate, or it comes by ACME"),
    (422, "What is wrong with it, in words"),
];

pub(super) const UPLOAD: Says = says("putCertificate", CERTIFICATE, "Uses another certificate from now on")
    .takes::<Given>()
    .gives::<View>(200, "It is in use")
    .refuses(REFUSED);

/// `POST /api/v1/certificate`
pub(super) async fn upload(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let Given { certificate, key } = call.json()?;
    let key = Secret::new(Zeroizing::new(key).as_bytes().to_vec());
    change(&desk, &call, "certificate.upload", |desk| {
        desk.services.identity.replace(&certificate, &key, desk.now())
    })
    .await
}

pub(super) const OWN: Says = says("makeCertificate", CERTIFICATE, "Makes a new certificate of the box's own")
    .gives::<View>(200, "It is in use")
    .refuses(REFUSED);

/// `POST /api/v1/certificate/own`
pub(super) async fn own(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    change(&desk, &call, "certificate.own", |desk| desk.services.identity.renew(desk.now())).await
}

/// Changes it between its lines in the trail: one before, and one more when it failed.
async fn change(
    desk: &Arc<Desk>,
    call: &Call,
    action: &'static str,
    doing: impl FnOnce(&Desk) -> Result<(), String>,
) -> Result<Answer, Problem> {
    desk.services
        .identity
        .replaceable()
        .and_then(|_| desk.services.issuance.holds().map_or(Ok(()), Err))
        .map_err(|why| Problem::new(StatusCode::CONFLICT, "certificate", why))?;
    let user = call.presence()?.user.clone();
    let line = |outcome, note| AuditRow { note, ..desk.line(Some(&user), action, outcome, call.peer) };
    desk.audit(line(Outcome::Done, None)).await?;
    // Reading, checking and writing a few kilobytes: shorter than handing it to another thread is worth.
    match doing(desk) {
        Ok(()) => Ok(json(&view(desk))),
        Err(why) => {
            desk.audit(line(Outcome::Failed, Some(why.clone()))).await?;
            Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "certificate", why))
        }
    }
}

const NOT_SO: &[(u16, &str)] = &[(409, "It cannot be so; the detail says why")];

pub(super) const ACME: Says =
    says("acme", CERTIFICATE, "How the certificate comes by ACME, and what was last tried")
        .gives::<State>(200, "How it stands");

/// `GET /api/v1/certificate/acme`
pub(super) async fn acme(desk: Arc<Desk>, _call: Call) -> Result<Answer, Problem> {
    Ok(json(&desk.services.issuance.state()))
}

pub(super) const SAVE_ACME: Says =
    says("saveAcme", CERTIFICATE, "Has the certificate come from an authority by ACME; it is asked at once")
        .takes::<acme::Config>()
        .gives::<State>(200, "How it stands")
        .refuses(&[(409, "It cannot be so; the detail says why"), (422, "What is wrong with it, in words")]);

/// `POST /api/v1/certificate/acme`
pub(super) async fn save_acme(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let settings: acme::Config = call.json()?;
    let wrong = |why| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "certificate", why);
    settings.check().map_err(|(_, why)| wrong(why))?;
    if settings.ca_file.is_some() {
        return Err(wrong("the authority's certificate is given as text (ca_pem) at the desk".into()));
    }
    settings.check_authorities().map_err(wrong)?;
    let target = format!("{} for {}", settings.directory, settings.hosts.join(", "));
    let doing = desk.services.issuance.save(settings);
    Ok(json(&audited(&desk, &call, "certificate.acme-save", target, doing).await?))
}

pub(super) const TRY_ACME: Says =
    says("tryAcme", CERTIFICATE, "Asks the authority now").gives::<State>(200, "It is asked").refuses(NOT_SO);

/// `POST /api/v1/certificate/acme/try`
pub(super) async fn try_acme(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let doing = desk.services.issuance.try_now();
    Ok(json(&audited(&desk, &call, "certificate.acme-try", String::new(), doing).await?))
}

pub(super) const END_ACME: Says =
    says("endAcme", CERTIFICATE, "Asks no more; the certificate in use stays until it is replaced")
        .gives::<State>(200, "How it stands")
        .refuses(NOT_SO);

/// `POST /api/v1/certificate/acme/end`
pub(super) async fn end_acme(desk: Arc<Desk>, call: Call) -> Result<Answer, Problem> {
    let doing = desk.services.issuance.end();
    Ok(json(&audited(&desk, &call, "certificate.acme-end", String::new(), doing).await?))
}

fn view(desk: &Desk) -> View {
    let identity = &desk.services.identity;
    let facts = identity.facts();
    let left = |facts: &Facts| (facts.not_after.micros - desk.now().micros).div_euclid(1_000_000 * DAY_S);
    View {
        source: identity.source(),
        urgency: facts.as_ref().map_or(Urgency::Fine, |facts| facts.urgency(identity.source(), desk.now())),
        fingerprint: identity.fingerprint(),
        days_left: facts.as_ref().map(left),
        facts,
        fixed: identity.replaceable().err().or_else(|| desk.services.issuance.holds()),
    }
}
