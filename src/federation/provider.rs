//! OpenID Connect over HTTPS: discovery, the provider's keys, redeeming a code, UserInfo. Addresses come from the
//! provider's own discovery document, which must be the configured issuer's, and no redirect is followed.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::jwk::Jwk;
use reqwest::Client;
use serde_json::Value;
use zeroize::Zeroizing;

use super::{Provider, Refused, Unreachable};
use crate::access::Vouched;
use crate::access::oidc::{
    self, Attempt, Config, OidcFault, check_id_token, form, is_safe_url, says_all, vouched,
};
use crate::clock::Timestamp;
use crate::connector::Later;
use crate::secret::{Secret, SecretStore};
use crate::tls;

const PATIENCE: Duration = Duration::from_secs(10);
/// Largest answer that is read.
const ANSWER_MAX: usize = 512 << 10;
/// The discovery document is asked for again after this long.
const KNOWN_LIFE: Duration = Duration::from_secs(60 * 60);
/// Keys are asked for again for one that is not known at most this often: made-up key ids must not become a flood.
const KEYS_AGAIN: Duration = Duration::from_secs(30);
const KEYS_MAX: usize = 100;

/// A provider on the network.
pub(super) struct Remote {
    config: Config,
    secret: Option<Secret>,
    client: Client,
    known: Mutex<Option<Known>>,
}

/// What its discovery document says (OpenID Connect Discovery 1.0 §3).
#[derive(Clone)]
struct Known {
    at: Timestamp,
    authorization: String,
    token: String,
    user_info: Option<String>,
    jwks: String,
    names_itself: bool,
    /// The secret goes into the form, not into a header.
    secret_in_form: bool,
    keys: Vec<Jwk>,
    keys_at: Option<Timestamp>,
}

impl Remote {
    pub(super) fn new(config: &Config, secrets: &SecretStore) -> Result<Self, String> {
        let section = |fault: &dyn std::fmt::Display| format!("[access.oidc]: {fault}");
        let secret = match &config.client_secret {
            Some(name) => Some(secrets.load(name).map_err(|fault| section(&fault))?),
            None => None,
        };
        let trust = tls::Settings { ca_file: config.ca_file.clone(), ..tls::Settings::default() };
        let trust = trust.client().map_err(|fault| section(&fault))?;
        let client = Client::builder()
            .tls_backend_preconfigured((*trust).clone())
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .user_agent(concat!("bedside/", env!("CARGO_PKG_VERSION")))
            .timeout(PATIENCE)
            .build()
            .map_err(|fault| section(&fault))?;
        Ok(Self { config: config.clone(), secret, client, known: Mutex::default() })
    }

    fn known(&self) -> MutexGuard<'_, Option<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn discovered(&self, now: Timestamp) -> Result<Known, Unreachable> {
        let fresh = |known: &Known| now.since(known.at) < KNOWN_LIFE && known.at.micros <= now.micros;
        if let Some(known) = self.known().clone().filter(fresh) {
            return Ok(known);
        }
        let url = format!("{}/.well-known/openid-configuration", self.config.issuer.trim_end_matches('/'));
        let document = self.json(self.client.get(url)).await?;
        let mut known = read(&document, &self.config.issuer, now)?;
        // Keys outlive the document: they are asked for again when one is missing.
        if let Some(before) = self.known().take() {
            (known.keys, known.keys_at) = (before.keys, before.keys_at);
        }
        *self.known() = Some(known.clone());
        Ok(known)
    }

    async fn keys(&self, known: &Known, now: Timestamp) -> Result<Vec<Jwk>, Unreachable> {
        let document = self.json(self.client.get(&known.jwks)).await?;
        let keys: Vec<Jwk> = document
            .get("keys")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .take(KEYS_MAX)
            // One of a kind we do not know takes none of the others with it.
            .filter_map(|key| serde_json::from_value(key.clone()).ok())
            .collect();
        if let Some(known) = self.known().as_mut() {
            known.keys.clone_from(&keys);
            known.keys_at = Some(now);
        }
        Ok(keys)
    }

    /// Whether keys may be asked for now.
    fn may_ask_keys(&self, now: Timestamp) -> bool {
        let at = self.known().as_ref().and_then(|known| known.keys_at);
        at.is_none_or(|at| now.since(at) >= KEYS_AGAIN || at.micros > now.micros)
    }

    async fn redeemed(&self, code: String, attempt: Attempt, now: Timestamp) -> Result<Vouched, Refused> {
        let away = |fault: Unreachable| Refused::Unreachable(fault.0);
        let known = self.discovered(now).await.map_err(away)?;
        let answer = self.json(self.token_request(&known, &code, &attempt)?).await.map_err(away)?;
        let text = |name: &str| answer.get(name).and_then(Value::as_str);
        let token = text("id_token").ok_or(OidcFault::Unreadable)?;
        let claims = match check_id_token(token, &known.keys, &self.config, &attempt.nonce, now) {
            Err(OidcFault::UnknownKey) if self.may_ask_keys(now) => {
                let keys = self.keys(&known, now).await.map_err(away)?;
                check_id_token(token, &keys, &self.config, &attempt.nonce, now)?
            }
            other => other?,
        };
        let more = match (&known.user_info, text("access_token")) {
            (Some(url), Some(bearer)) if !says_all(&claims, &self.config) => {
                Some(self.json(self.client.get(url).bearer_auth(bearer)).await.map_err(away)?)
            }
            _ => None,
        };
        Ok(vouched(&claims, more.as_ref(), &self.config)?)
    }

    fn token_request(
        &self,
        known: &Known,
        code: &str,
        attempt: &Attempt,
    ) -> Result<reqwest::RequestBuilder, Refused> {
        let redirect = self.config.redirect_uri();
        let mut terms = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &redirect),
            ("code_verifier", &attempt.verifier),
        ];
        let unusable = |fault: crate::secret::SecretError| Refused::Unreachable(fault.to_string());
        let secret = self.secret.as_ref().map(Secret::expose_text).transpose().map_err(unusable)?;
        let mut draft = self.client.post(&known.token);
        match secret {
            Some(secret) if known.secret_in_form => {
                terms.extend([("client_id", self.config.client_id.as_str()), ("client_secret", secret)]);
            }
            // RFC 6749 §2.3.1: both are form-encoded before they are joined.
            Some(secret) => {
                let pair = Zeroizing::new(form(&[("", &self.config.client_id), ("", secret)]));
                let pair = Zeroizing::new(pair.trim_start_matches('=').replacen("&=", ":", 1));
                draft = draft.header("authorization", format!("Basic {}", STANDARD.encode(pair.as_bytes())));
            }
            None => terms.push(("client_id", &self.config.client_id)),
        }
        Ok(draft.header("content-type", "application/x-www-form-urlencoded").body(form(&terms)))
    }

    /// One question whose answer is JSON; anything but 200 is no answer.
    async fn json(&self, draft: reqwest::RequestBuilder) -> Result<Value, Unreachable> {
        let told = |fault: reqwest::Error| {
            // Without its address: it may hold a code.
            let fault = fault.without_url();
            let mut why = fault.to_string();
            let mut cause = std::error::Error::source(&fault);
            while let Some(inner) = cause {
                why = inner.to_string();
                cause = inner.source();
            }
            Unreachable(format!("the provider could not be asked: {why}"))
        };
        let mut answer = draft.header("accept", "application/json").send().await.map_err(told)?;
        let status = answer.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(told)? {
            if body.len() + chunk.len() > ANSWER_MAX {
                return Err(Unreachable("the provider's answer is too large".into()));
            }
            body.extend_from_slice(&chunk);
        }
        if status != 200 {
            // RFC 6749 §5.2: one of a few words.
            let word = serde_json::from_slice::<Value>(&body).ok();
            let word = word.as_ref().and_then(|body| body.get("error")).and_then(Value::as_str);
            let word: String =
                word.unwrap_or("").chars().filter(|c| c.is_ascii_lowercase() || *c == '_').take(40).collect();
            return Err(Unreachable(format!("the provider answered {status} {word}")));
        }
        serde_json::from_slice(&body).map_err(|_| Unreachable("the provider's answer is no JSON".into()))
    }
}

/// Reads a discovery document; it must be the issuer's own, and every address safe.
fn read(document: &Value, issuer: &str, now: Timestamp) -> Result<Known, Unreachable> {
    let text = |name: &str| document.get(name).and_then(Value::as_str);
    if text("issuer") != Some(issuer) {
        return Err(Unreachable("the provider names another issuer than the configured one".into()));
    }
    let address = |name: &str| {
        let url = text(name).filter(|url| is_safe_url(url)).map(ToOwned::to_owned);
        url.ok_or_else(|| Unreachable(format!("the provider names no safe {name}")))
    };
    let list = |name: &str| {
        let all = document.get(name).and_then(Value::as_array);
        all.map(|all| all.iter().filter_map(Value::as_str).collect::<Vec<_>>())
    };
    let ways = list("token_endpoint_auth_methods_supported");
    if list("code_challenge_methods_supported").is_some_and(|ways| !ways.contains(&"S256")) {
        return Err(Unreachable("the provider does not take PKCE with S256".into()));
    }
    Ok(Known {
        at: now,
        authorization: address("authorization_endpoint")?,
        token: address("token_endpoint")?,
        user_info: address("userinfo_endpoint").ok(),
        jwks: address("jwks_uri")?,
        names_itself: document.get("authorization_response_iss_parameter_supported")
            == Some(&Value::Bool(true)),
        secret_in_form: ways.is_some_and(|ways| {
            !ways.contains(&"client_secret_basic") && ways.contains(&"client_secret_post")
        }),
        keys: Vec::new(),
        keys_at: None,
    })
}

impl Provider for Remote {
    fn config(&self) -> &oidc::Config {
        &self.config
    }

    fn names_itself(&self) -> bool {
        self.known().as_ref().is_some_and(|known| known.names_itself)
    }

    fn authorization_endpoint(&self, now: Timestamp) -> Later<'_, Result<String, Unreachable>> {
        Box::pin(async move { Ok(self.discovered(now).await?.authorization) })
    }

    fn redeem(&self, code: String, attempt: Attempt, now: Timestamp) -> Later<'_, Result<Vouched, Refused>> {
        Box::pin(self.redeemed(code, attempt, now))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document() -> Value {
        json!({
            "issuer": "https://id.example",
            "authorization_endpoint": "https://id.example/auth",
            "token_endpoint": "https://id.example/token",
            "jwks_uri": "https://id.example/jwks",
            "authorization_response_iss_parameter_supported": true,
        })
    }

    fn now() -> Timestamp {
        Timestamp::from_micros(0, true)
    }

    #[test]
    fn a_discovery_document_is_the_issuers_own_and_names_safe_places() {
        let known = read(&document(), "https://id.example", now()).unwrap();
        assert!(known.names_itself && known.user_info.is_none() && !known.secret_in_form);
        assert!(read(&document(), "https://id.example/", now()).is_err(), "to the letter");
        for (name, value) in [
            ("issuer", json!("https://evil.example")),
            ("token_endpoint", json!("http://id.example/token")),
            ("jwks_uri", json!(null)),
            ("authorization_endpoint", json!("javascript:alert(1)")),
            ("code_challenge_methods_supported", json!(["plain"])),
        ] {
            let mut broken = document();
            broken[name] = value;
            assert!(read(&broken, "https://id.example", now()).is_err(), "{name}");
        }
        let mut post = document();
        post["token_endpoint_auth_methods_supported"] = json!(["client_secret_post"]);
        assert!(read(&post, "https://id.example", now()).unwrap().secret_in_form);
    }
}
