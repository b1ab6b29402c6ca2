//! The token endpoint: SMART Backend Services with private_key_jwt, checked as a careful server checks it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use serde_json::{Value, json};

use super::reply::Reply;
use super::{Client, Config};
use crate::clock::Timestamp;

/// SMART App Launch 2.2, client-confidential-asymmetric: no more than five minutes ahead.
const LONGEST_ASSERTION_S: i64 = 300;
/// Tokens and assertion ids remembered; the oldest are forgotten first.
const MOST_REMEMBERED: usize = 10_000;

/// Knows the clients and the tokens it gave.
#[derive(Debug)]
pub(super) struct Authority {
    origin: String,
    life_s: u64,
    v1_only: bool,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Path of the token endpoint.
    path: String,
    clients: Vec<Client>,
    /// Token → (end in seconds, scopes).
    tokens: HashMap<String, (i64, String)>,
    /// `iss jti` → end in seconds.
    used: HashMap<String, i64>,
    given: u64,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    exp: i64,
    jti: String,
}

impl Authority {
    pub(super) fn new(config: &Config, origin: &str) -> Self {
        let (clients, life_s, v1_only) = (config.clients.clone(), config.token_life_s, config.v1_scopes_only);
        let inner = Inner { clients, path: String::from("/auth/token"), ..Inner::default() };
        Self { origin: origin.to_owned(), life_s, v1_only, inner: Mutex::new(inner) }
    }

    /// The address of the token endpoint, which is the audience of assertions.
    pub(super) fn endpoint(&self) -> String {
        format!("{}{}", self.origin, self.lock().path)
    }

    pub(super) fn move_to(&self, path: &str) {
        self.lock().path = path.to_owned();
    }

    pub(super) fn asks(&self) -> bool {
        !self.lock().clients.is_empty()
    }

    pub(super) fn register_keys(&self, client_id: &str, jwks: Value) {
        if let Some(client) = self.lock().clients.iter_mut().find(|client| client.client_id == client_id) {
            client.jwks = jwks;
        }
    }

    pub(super) fn revoke(&self) {
        self.lock().tokens.clear();
    }

    pub(super) fn given(&self) -> u64 {
        self.lock().given
    }

    /// Answers a token request (form-encoded pairs).
    pub(super) fn token(&self, form: &[(String, String)], now: Timestamp) -> Reply {
        let now_s = now.micros.div_euclid(1_000_000);
        match self.grant(form, now_s) {
            Ok(granted) => Reply::json(200, &granted).with("cache-control", "no-store".into()),
            Err((error, words)) => {
                let status = if error == "invalid_client" { 401 } else { 400 };
                Reply::json(status, &json!({ "error": error, "error_description": words }))
            }
        }
    }

    fn grant(&self, form: &[(String, String)], now_s: i64) -> Result<Value, (&'static str, &'static str)> {
        let field =
            |name: &str| form.iter().find(|(have, _)| have == name).map_or("", |(_, value)| value.as_str());
        if field("grant_type") != "client_credentials" {
            return Err(("unsupported_grant_type", "grant_type is not client_credentials"));
        }
        if field("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
            return Err(("invalid_request", "client_assertion_type is not jwt-bearer"));
        }
        let assertion = field("client_assertion");
        let mut inner = self.lock();
        let claims = self.verify(&inner, assertion, now_s)?;
        let used = format!("{} {}", claims.iss, claims.jti);
        if claims.jti.is_empty() || inner.used.insert(used, claims.exp).is_some() {
            return Err(("invalid_client", "the assertion was used before"));
        }
        let client = inner.clients.iter().find(|client| client.client_id == claims.iss);
        let allowed = client.map(|client| client.scopes.join(" ")).unwrap_or_default();
        let granted: Vec<&str> = field("scope")
            .split_ascii_whitespace()
            .filter(|scope| within(scope, &allowed) && self.spelled(scope))
            .collect();
        if granted.is_empty() {
            return Err(("invalid_scope", "none of the scopes may be granted"));
        }
        let scope = granted.join(" ");
        let token = format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
        inner.forget_old(now_s);
        inner.given += 1;
        let end = now_s.saturating_add_unsigned(self.life_s);
        inner.tokens.insert(token.clone(), (end, scope.clone()));
        Ok(
            json!({ "access_token": token, "token_type": "bearer", "expires_in": self.life_s, "scope": scope }),
        )
    }

    /// Whether a scope is spelled in a way this server understands.
    fn spelled(&self, scope: &str) -> bool {
        !self.v1_only || scope.ends_with(".read") || scope.ends_with(".write")
    }

    fn verify(
        &self,
        inner: &Inner,
        assertion: &str,
        now_s: i64,
    ) -> Result<Claims, (&'static str, &'static str)> {
        let wrong = |words: &'static str| ("invalid_client", words);
        let header =
            jsonwebtoken::decode_header(assertion).map_err(|_| wrong("the assertion is not a JWT"))?;
        if !matches!(header.alg, Algorithm::RS384 | Algorithm::ES384) {
            return Err(wrong("alg is neither RS384 nor ES384"));
        }
        if header.typ.as_deref() != Some("JWT") {
            return Err(wrong("typ is not JWT"));
        }
        let said: Claims = jsonwebtoken::dangerous::insecure_decode(assertion)
            .map(|token| token.claims)
            .map_err(|_| wrong("iss, sub, exp or jti is missing"))?;
        let client = inner
            .clients
            .iter()
            .find(|client| client.client_id == said.iss)
            .ok_or(wrong("the client is not known"))?;
        let keys: JwkSet = serde_json::from_value(client.jwks.clone())
            .map_err(|_| wrong("the registered keys cannot be read"))?;
        let kid = header.kid.ok_or(wrong("kid is missing"))?;
        let key = keys.find(&kid).ok_or(wrong("the key is not registered"))?;
        let public = DecodingKey::from_jwk(key).map_err(|_| wrong("the registered key cannot be used"))?;
        let mut rules = Validation::new(header.alg);
        rules.validate_exp = false; // by our own clock, below
        rules.set_audience(&[format!("{}{}", self.origin, inner.path)]);
        rules.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
        let claims: Claims = jsonwebtoken::decode(assertion, &public, &rules)
            .map_err(|_| wrong("the signature or the audience is wrong"))?
            .claims;
        if claims.iss != claims.sub {
            return Err(wrong("sub is not iss"));
        }
        if claims.exp <= now_s {
            return Err(wrong("the assertion has expired"));
        }
        if claims.exp > now_s + LONGEST_ASSERTION_S {
            return Err(wrong("the assertion lives longer than five minutes"));
        }
        Ok(claims)
    }

    /// The scopes of a bearer token; None: not valid.
    pub(super) fn scopes(&self, bearer: Option<&str>, now: Timestamp) -> Option<String> {
        let inner = self.lock();
        let (end, scopes) = inner.tokens.get(bearer?)?;
        (*end > now.micros.div_euclid(1_000_000)).then(|| scopes.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn forget_old(&mut self, now_s: i64) {
        if self.tokens.len() + self.used.len() > MOST_REMEMBERED / 10 {
            self.tokens.retain(|_, (end, _)| *end > now_s);
            self.used.retain(|_, end| *end > now_s);
        }
        if self.tokens.len() + self.used.len() > MOST_REMEMBERED {
            self.tokens.clear(); // never `used`: a replay must not become possible
        }
    }
}

/// Whether scopes allow writing (`c` and `u`) or reading (`r` and `s`) a type; SMART 1 and 2 spelling.
pub(super) fn allows(scopes: &str, kind: &str, write: bool) -> bool {
    scopes.split_ascii_whitespace().any(|scope| within_kind(scope, kind, if write { "cu" } else { "rs" }))
}

fn within_kind(scope: &str, kind: &str, letters: &str) -> bool {
    let Some((held, rights)) = scope.strip_prefix("system/").and_then(|rest| rest.split_once('.')) else {
        return false;
    };
    let rights = match rights {
        "*" => "cruds",
        "read" => "rs",
        "write" => "cud",
        letters => letters,
    };
    (held == "*" || held == kind) && letters.chars().all(|letter| rights.contains(letter))
}

/// Whether everything `asked` names is within `allowed`.
fn within(asked: &str, allowed: &str) -> bool {
    let Some((kind, rights)) = asked.strip_prefix("system/").and_then(|rest| rest.split_once('.')) else {
        return false;
    };
    let letters = match rights {
        "*" => "cruds",
        "read" => "rs",
        "write" => "cud",
        letters => letters,
    };
    allowed.split_ascii_whitespace().any(|scope| within_kind(scope, kind, letters))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_compared_in_both_spellings() {
        assert!(allows("system/Observation.crus", "Observation", true));
        assert!(allows("system/*.cruds", "Device", false));
        assert!(allows("system/Device.write", "Device", true));
        assert!(!allows("system/Device.read", "Device", true));
        assert!(!allows("user/Device.cruds", "Device", true));
        assert!(within("system/Observation.crus", "system/*.cruds"));
        assert!(!within("system/Observation.crus", "system/Observation.rs"));
    }
}
