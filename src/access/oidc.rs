//! OpenID Connect, what a relying party makes of it: the way out (code with PKCE S256, state, nonce) and the checks of
//! what comes back (OpenID Connect Core 1.0 §3.1.3.7, RFC 7636, RFC 9207). Nothing here asks anybody.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use aws_lc_rs::{constant_time, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::Value;

use super::AccessError;
use super::session::{Token, TokenHash};
use super::vouched::{Vouched, roles_of};
use crate::clock::Timestamp;

/// Signatures that are taken: nothing that a public key could be misused for.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
];
/// Longest ID token that is looked at.
const TOKEN_MAX: usize = 32 << 10;
/// Seconds two clocks may differ.
const LEEWAY_S: i64 = 60;
/// An ID token older than this is none of ours, whatever it says of its end.
const AGE_MAX_S: i64 = 10 * 60;
/// Who does not come back within this time begins again.
const ATTEMPT_LIFE: Duration = Duration::from_secs(10 * 60);
/// People on their way to the provider at once; the oldest makes room.
const ATTEMPTS_MAX: usize = 500;
/// Most groups of one person that are looked at.
const GROUPS_MAX: usize = 1000;

/// The `[access.oidc]` section.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// On the button: `Log in with …`.
    #[serde(default = "default_name")]
    pub name: String,
    /// The provider, exactly as it names itself.
    pub issuer: String,
    pub client_id: String,
    /// Name of the secret with the client's secret; without one the box is a public client.
    #[serde(default)]
    pub client_secret: Option<String>,
    /// The desk as browsers reach it, e.g. `https://bedside.clinic.example:8443`; the provider sends people back to
    /// `/api/v1/oidc/return` of it.
    pub desk: String,
    #[serde(default = "default_scopes")]
    pub scopes: Vec<String>,
    /// The claim that becomes the user name.
    #[serde(default = "default_user_claim")]
    pub user_claim: String,
    /// The claim with the groups; dots go into objects (`realm_access.roles`).
    #[serde(default = "default_groups_claim")]
    pub groups_claim: String,
    /// Group → role: one of the box's five or one of `[access.roles]`. Who is in none has no way in.
    pub roles: BTreeMap<String, String>,
    /// The provider asks for a second factor itself, always. Else the box believes it only where the token says so
    /// (`amr`), and asks for its own where it wants one.
    #[serde(default)]
    pub provider_asks_factor: bool,
    /// How the provider's certificate is checked.
    #[serde(default)]
    pub ca_file: Option<std::path::PathBuf>,
}

fn default_name() -> String {
    "single sign-on".into()
}
fn default_scopes() -> Vec<String> {
    vec!["openid".into(), "profile".into()]
}
fn default_user_claim() -> String {
    "preferred_username".into()
}
fn default_groups_claim() -> String {
    "groups".into()
}

impl Config {
    /// What is wrong with it, in a sentence.
    pub fn check(&self) -> Result<(), String> {
        if !is_safe_url(&self.issuer) {
            return Err("issuer is an https:// address, exactly as the provider writes it".into());
        }
        let origin = self.desk.strip_prefix("https://").unwrap_or("");
        if origin.is_empty() || origin.contains(['/', '?', '#', '@']) {
            return Err("desk is the desk's own address without a path: https://name:port".into());
        }
        if self.client_id.is_empty() {
            return Err("client_id is missing".into());
        }
        if !self.scopes.iter().any(|scope| scope == "openid") {
            return Err("scopes must hold \"openid\"".into());
        }
        if self.roles.is_empty() {
            return Err("roles: without a group that has a role nobody can log in".into());
        }
        Ok(())
    }

    /// Where the provider sends people back to.
    pub fn redirect_uri(&self) -> String {
        format!("{}/api/v1/oidc/return", self.desk)
    }
}

/// HTTPS, or plain HTTP to this very machine (a test, a side-car).
pub fn is_safe_url(url: &str) -> bool {
    let host = |rest: &str| rest.split(['/', '?', '#']).next().unwrap_or("").to_string();
    match url.split_once("://") {
        Some(("https", rest)) => !host(rest).is_empty() && !host(rest).contains('@'),
        Some(("http", rest)) => {
            let host = host(rest);
            let name = host.rsplit_once(':').map_or(host.as_str(), |(name, _)| name);
            matches!(name, "127.0.0.1" | "localhost" | "[::1]")
        }
        _ => false,
    }
}

/// One person on the way to the provider and back.
pub struct Attempt {
    pub nonce: String,
    /// RFC 7636.
    pub verifier: String,
    begun: Timestamp,
    /// The browser that began; another one brings back nothing.
    browser: TokenHash,
}

/// Everybody who is on the way.
#[derive(Default)]
pub struct Attempts(HashMap<String, Attempt>);

/// What a browser needs to set off.
pub struct Departure {
    /// Query of the authorization endpoint.
    pub query: String,
    /// For a cookie of this browser.
    pub browser: Token,
}

impl Attempts {
    /// Sends somebody off.
    pub fn begin(&mut self, config: &Config, now: Timestamp) -> Result<Departure, AccessError> {
        self.0.retain(|_, attempt| now.since(attempt.begun) < ATTEMPT_LIFE);
        if self.0.len() >= ATTEMPTS_MAX
            && let Some(oldest) = self.0.iter().min_by_key(|(_, a)| a.begun).map(|(state, _)| state.clone())
        {
            self.0.remove(&oldest);
        }
        let (state, nonce, verifier, browser) =
            (Token::make()?, Token::make()?, Token::make()?, Token::make()?);
        let challenge =
            URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, verifier.text().as_bytes()).as_ref());
        let redirect = config.redirect_uri();
        let scopes = config.scopes.join(" ");
        let terms = [
            ("response_type", "code"),
            ("client_id", &config.client_id),
            ("redirect_uri", &redirect),
            ("scope", &scopes),
            ("state", state.text()),
            ("nonce", nonce.text()),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        let query = form(&terms);
        let attempt = Attempt {
            nonce: nonce.text().into(),
            verifier: verifier.text().into(),
            begun: now,
            browser: browser.hash(),
        };
        self.0.insert(state.text().into(), attempt);
        Ok(Departure { query, browser })
    }

    /// Takes back whom `state` names, once, when the same browser brings it and in time.
    pub fn take(&mut self, state: &str, browser: Option<TokenHash>, now: Timestamp) -> Option<Attempt> {
        let attempt = self.0.remove(state)?;
        let same = browser == Some(attempt.browser);
        (same && now.since(attempt.begun) < ATTEMPT_LIFE).then_some(attempt)
    }
}

/// `a=1&b=2`, encoded.
pub fn form(terms: &[(&str, &str)]) -> String {
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    terms.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect::<Vec<_>>().join("&")
}

/// RFC 9207: whether the answer is of the provider that was asked. `promised`: it says that it names itself.
pub fn is_of_issuer(config: &Config, iss: Option<&str>, promised: bool) -> bool {
    iss.map_or(!promised, |iss| iss == config.issuer)
}

/// Why an ID token is not believed. For the log: nothing of the token is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OidcFault {
    #[error("the ID token cannot be read")]
    Unreadable,
    #[error("the ID token is signed in a way that is not taken")]
    Algorithm,
    #[error("the ID token is signed with a key the provider does not publish")]
    UnknownKey,
    #[error("the ID token's signature is wrong")]
    Signature,
    #[error("the ID token is of another issuer")]
    Issuer,
    #[error("the ID token is for somebody else")]
    Audience,
    #[error("the ID token was given to another party")]
    AuthorizedParty,
    #[error("the ID token is over, or not yet valid")]
    Time,
    #[error("the ID token answers another log-in")]
    Nonce,
    #[error("the ID token names nobody")]
    Subject,
    #[error("the user is in no group that has a role here")]
    NoRole,
    #[error("the provider says no user name (claim {0})")]
    NoName(&'static str),
}

/// The claims of a token that holds.
pub type Claims = Value;

/// Checks an ID token (§3.1.3.7) against the provider's published keys. [`OidcFault::UnknownKey`] is worth asking the
/// provider for its keys again.
pub fn check_id_token(
    token: &str,
    keys: &[Jwk],
    config: &Config,
    nonce: &str,
    now: Timestamp,
) -> Result<Claims, OidcFault> {
    if token.len() > TOKEN_MAX {
        return Err(OidcFault::Unreadable);
    }
    let header = jsonwebtoken::decode_header(token).map_err(|_| OidcFault::Unreadable)?;
    if !ALGORITHMS.contains(&header.alg) {
        return Err(OidcFault::Algorithm);
    }
    // Keys the token brings along (jwk, jku, x5u) are nobody's; extensions we do not know may change its meaning.
    if header.crit.is_some() {
        return Err(OidcFault::Unreadable);
    }
    let key = choose(keys, header.kid.as_deref(), header.alg).ok_or(OidcFault::UnknownKey)?;
    let key = DecodingKey::from_jwk(key).map_err(|_| OidcFault::UnknownKey)?;
    let mut rules = Validation::new(header.alg);
    // Times and names are checked below, by the box's own clock and to the letter.
    rules.validate_exp = false;
    rules.validate_aud = false;
    rules.required_spec_claims.clear();
    let decoded = jsonwebtoken::decode::<Value>(token, &key, &rules).map_err(|_| OidcFault::Signature)?;
    let claims = decoded.claims;
    check_claims(&claims, config, nonce, now.micros.div_euclid(1_000_000))?;
    Ok(claims)
}

fn check_claims(claims: &Value, config: &Config, nonce: &str, now_s: i64) -> Result<(), OidcFault> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    if text("iss") != Some(config.issuer.as_str()) {
        return Err(OidcFault::Issuer);
    }
    let own = |value: &Value| value.as_str() == Some(config.client_id.as_str());
    let several = match claims.get("aud") {
        Some(Value::Array(all)) if all.iter().any(own) => all.len() > 1,
        Some(one) if own(one) => false,
        _ => return Err(OidcFault::Audience),
    };
    match claims.get("azp") {
        Some(party) if !own(party) => return Err(OidcFault::AuthorizedParty),
        None if several => return Err(OidcFault::AuthorizedParty),
        _ => {}
    }
    let time = |name: &str| match claims.get(name) {
        None => Ok(None),
        Some(value) => seconds(value).map(Some).ok_or(OidcFault::Time),
    };
    let (Some(end), Some(begun)) = (time("exp")?, time("iat")?) else { return Err(OidcFault::Time) };
    let early = time("nbf")?.is_some_and(|from| from > now_s.saturating_add(LEEWAY_S));
    if early
        || end <= now_s.saturating_sub(LEEWAY_S)
        || begun > now_s.saturating_add(LEEWAY_S)
        || begun < now_s.saturating_sub(AGE_MAX_S)
    {
        return Err(OidcFault::Time);
    }
    let same = text("nonce").is_some_and(|said| {
        constant_time::verify_slices_are_equal(said.as_bytes(), nonce.as_bytes()).is_ok()
    });
    if !same {
        return Err(OidcFault::Nonce);
    }
    match text("sub") {
        Some(sub) if (1..=255).contains(&sub.len()) => Ok(()),
        _ => Err(OidcFault::Subject),
    }
}

/// A NumericDate; one with a fraction is cut.
fn seconds(value: &Value) -> Option<i64> {
    let text = value.as_number()?.to_string();
    text.split('.').next()?.parse().ok()
}

/// The key of this id; without an id the only one there is. None for encrypting, none of another algorithm.
fn choose<'a>(keys: &'a [Jwk], kid: Option<&str>, algorithm: Algorithm) -> Option<&'a Jwk> {
    let fits = |key: &&Jwk| {
        let common = &key.common;
        let name = common.key_algorithm.map(|name| name.to_string());
        name.is_none_or(|name| name == format!("{algorithm:?}"))
            && common.public_key_use.as_ref().is_none_or(|usage| *usage == PublicKeyUse::Signature)
            && common.key_operations.as_ref().is_none_or(|all| all.contains(&KeyOperations::Verify))
    };
    let mut fitting =
        keys.iter().filter(fits).filter(|key| kid.is_none() || key.common.key_id.as_deref() == kid);
    let first = fitting.next()?;
    (kid.is_some() || fitting.next().is_none()).then_some(first)
}

/// Whom the claims vouch for. `more`: what the provider's UserInfo said besides, of the same subject.
pub fn vouched(claims: &Claims, more: Option<&Value>, config: &Config) -> Result<Vouched, OidcFault> {
    let subject = claims.get("sub").and_then(Value::as_str).ok_or(OidcFault::Subject)?;
    let more = more.filter(|more| more.get("sub").and_then(Value::as_str) == Some(subject));
    let find = |path: &str| within(claims, path).or_else(|| more.and_then(|more| within(more, path)));
    let username = find(&config.user_claim).and_then(Value::as_str).ok_or(OidcFault::NoName("user_claim"))?;
    let groups: Vec<&str> = match find(&config.groups_claim) {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).take(GROUPS_MAX).collect(),
        _ => Vec::new(),
    };
    let roles = roles_of(&config.roles, groups, |name, group| name == group);
    if roles.is_empty() {
        return Err(OidcFault::NoRole);
    }
    // RFC 8176: several factors, or one that is more than knowing a word.
    let factor = match claims.get("amr") {
        Some(Value::Array(all)) => all
            .iter()
            .filter_map(Value::as_str)
            .any(|way| matches!(way, "mfa" | "otp" | "hwk" | "swk" | "sc")),
        _ => false,
    };
    Ok(Vouched {
        source: "oidc",
        subject: format!("{}|{subject}", config.issuer),
        username: username.into(),
        roles,
        factor: factor || config.provider_asks_factor,
    })
}

/// Whether the claims alone say who it is and what they may, so that nobody need be asked.
pub fn says_all(claims: &Claims, config: &Config) -> bool {
    within(claims, &config.user_claim).is_some() && within(claims, &config.groups_claim).is_some()
}

fn within<'a>(claims: &'a Value, path: &str) -> Option<&'a Value> {
    // A claim may itself hold dots, as URLs do.
    claims.get(path).or_else(|| path.split('.').try_fold(claims, |value, name| value.get(name)))
}

/// For the fuzzing rig: whatever a provider sends, nothing panics and nothing unsigned is believed.
pub(super) fn fuzz(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let config = Config {
        name: default_name(),
        issuer: "https://id.example".into(),
        client_id: "bedside".into(),
        client_secret: None,
        desk: "https://desk.example".into(),
        scopes: default_scopes(),
        user_claim: default_user_claim(),
        groups_claim: default_groups_claim(),
        roles: BTreeMap::new(),
        provider_asks_factor: false,
        ca_file: None,
    };
    let now = Timestamp::from_micros(0, true);
    let (token, keys) = text.split_once('\n').unwrap_or((&text, ""));
    let keys: Vec<Jwk> = serde_json::from_str(keys).unwrap_or_default();
    assert!(check_id_token(token, &[], &config, "n", now).is_err(), "nobody published a key");
    drop(check_id_token(token, &keys, &config, "n", now));
    if let Ok(claims) = serde_json::from_str::<Value>(token) {
        assert!(vouched(&claims, Some(&claims), &config).is_err(), "there is no group");
        assert!(check_claims(&claims, &config, "n", 0).is_err() || claims.is_object());
    }
    is_safe_url(&text);
}

#[cfg(test)]
#[path = "oidc_tests.rs"]
mod tests;
