//! SMART Backend Services: discovery, client assertion, access token.
//!
//! Sources: SMART App Launch 2.2, backend-services and client-confidential-asymmetric; RFC 7523 §2.2.
//!
//! *Invariants:* an assertion is used once (fresh `jti`) and lives [`ASSERTION_LIFE_S`] seconds; one token request is
//! on its way at a time; a token is never printed and is handed out only for the FHIR base's own origin.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use reqwest::{Method, Url};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::UpstreamError;
use super::answer::clean;
use super::config::Config;
use super::http::{Answer, Body, Fault, Http, Request};
use super::keys::SigningKey;
use super::scope;
use crate::clock::SharedClock;
use crate::secret::Secret;

/// SMART allows five minutes; half of it leaves room for clocks that differ by two either way.
const ASSERTION_LIFE_S: i64 = 150;
/// Tokens are renewed this long before they end, or at half their life if that is shorter.
const RENEW_BEFORE: Duration = Duration::from_secs(30);
/// A server that does not say how long its token lives gets what SMART recommends at most.
const UNSAID_LIFE_S: u64 = 300;
/// How long a discovery document is believed.
const DISCOVERY_LIFE: Duration = Duration::from_secs(3600);
/// Clocks that differ by more than this are told to a person.
pub(super) const NOTABLE_SKEW_S: i64 = 60;
const LONGEST_TOKEN_BYTES: usize = 16 << 10;

/// Gets and keeps the access token.
pub(super) struct Authority {
    base: Url,
    client_id: String,
    key: SigningKey,
    written_endpoint: Option<String>,
    written_scopes: Option<Vec<String>>,
    config: Config,
    http: Arc<Http>,
    clock: SharedClock,
    held: Mutex<Held>,
    /// The server's clock minus ours, in seconds; learned when an assertion was refused for its time.
    offset_s: AtomicI64,
}

#[derive(Default)]
struct Held {
    discovery: Option<(Instant, Discovery)>,
    grant: Option<Grant>,
}

/// What `.well-known/smart-configuration` says, as far as it matters here.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Discovery {
    #[serde(default)]
    pub(super) token_endpoint: String,
    #[serde(default)]
    pub(super) token_endpoint_auth_methods_supported: Vec<String>,
    #[serde(default)]
    pub(super) token_endpoint_auth_signing_alg_values_supported: Vec<String>,
    #[serde(default)]
    pub(super) capabilities: Vec<String>,
}

/// An access token and what it allows.
#[derive(Clone, Debug)]
pub(super) struct Grant {
    pub(super) token: Secret,
    /// The scopes asked for, space-separated.
    pub(super) asked: String,
    /// The scopes granted, when the server said.
    pub(super) granted: Option<String>,
    pub(super) life_s: u64,
    renew_at: Instant,
}

/// Why there is no token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) words: String,
    pub(super) after: Option<Duration>,
    /// The server answered and said no: time alone will not mend it.
    pub(super) by_server: bool,
    /// It was the scopes that it did not like.
    pub(super) scopes: bool,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    exp: i64,
    jti: String,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    #[serde(default)]
    token_type: String,
    #[serde(default)]
    expires_in: Option<serde_json::Value>,
    #[serde(default)]
    scope: Option<String>,
}

/// RFC 6749 §5.2.
#[derive(Default, Deserialize)]
struct TokenError {
    #[serde(default)]
    error: String,
    #[serde(default)]
    error_description: String,
}

impl Authority {
    pub(super) fn new(
        config: &Config,
        key: SigningKey,
        http: Arc<Http>,
        clock: SharedClock,
    ) -> Result<Self, UpstreamError> {
        Ok(Self {
            base: config.base_url()?,
            client_id: config.client_id.clone(),
            key,
            written_endpoint: config.token_endpoint.clone(),
            written_scopes: config.scopes.clone(),
            config: config.clone(),
            http,
            clock,
            held: Mutex::default(),
            offset_s: AtomicI64::new(0),
        })
    }

    pub(super) fn key(&self) -> &SigningKey {
        &self.key
    }

    pub(super) fn endpoint_is_written(&self) -> bool {
        self.written_endpoint.is_some()
    }

    /// The token in hand, or a new one. Whoever comes while one is being fetched waits for that one.
    pub(super) async fn grant(&self) -> Result<Grant, Refusal> {
        let mut held = self.held.lock().await;
        if let Some(grant) = held.grant.as_ref().filter(|grant| Instant::now() < grant.renew_at) {
            return Ok(grant.clone());
        }
        held.grant = None;
        let fetched = self.fetch(&mut held).await;
        match fetched {
            Ok(grant) => {
                held.grant = Some(grant.clone());
                Ok(grant)
            }
            Err(refusal) => {
                held.discovery = None; // the endpoint may have moved: ask again next time
                Err(refusal)
            }
        }
    }

    /// The FHIR server refused this token: the next [`Authority::grant`] fetches another, unless that has happened.
    pub(super) async fn spoiled(&self, token: &Secret) {
        let mut held = self.held.lock().await;
        if held.grant.as_ref().is_some_and(|grant| grant.token.expose() == token.expose()) {
            held.grant = None;
        }
    }

    /// The discovery document of the server, fetched now.
    pub(super) async fn discover(&self) -> Result<Discovery, Refusal> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/.well-known/smart-configuration", url.path().trim_end_matches('/')));
        let request = Request { method: Method::GET, url, bearer: None, body: Body::None };
        let answer = self.http.send(request, self.now_s()).await.map_err(|fault| unreachable(&fault))?;
        let discovery = match answer.status {
            200 => parse_discovery(&answer.body),
            status => Err(format!("the server has no .well-known/smart-configuration (HTTP {status})")),
        };
        let hint = "write token_endpoint if the server's people gave you one";
        discovery.map_err(|words| Refusal {
            words: format!("{words}; {hint}"),
            after: answer.retry_after,
            by_server: !busy(answer.status),
            scopes: false,
        })
    }

    async fn fetch(&self, held: &mut Held) -> Result<Grant, Refusal> {
        let fresh = held.discovery.as_ref().filter(|(at, _)| at.elapsed() < DISCOVERY_LIFE);
        let discovery = match fresh {
            Some((_, discovery)) => discovery.clone(),
            None if self.written_endpoint.is_some() => Discovery::default(),
            None => {
                let discovery = self.discover().await?;
                held.discovery = Some((Instant::now(), discovery.clone()));
                discovery
            }
        };
        let asked = self
            .written_scopes
            .clone()
            .unwrap_or_else(|| self.all(scope::defaults(&discovery.capabilities, &self.config.reads)));
        match self.request(&discovery, &asked.join(" ")).await {
            Err(refusal) if refusal.scopes && self.written_scopes.is_none() => {
                // An older server refuses what it cannot spell: SMART 1 scopes say the same less finely.
                let older = self.all(scope::v1_defaults(&self.config.reads));
                self.request(&discovery, &older.join(" ")).await
            }
            answer => answer,
        }
    }

    /// With what is written besides.
    fn all(&self, scopes: Vec<String>) -> Vec<String> {
        scope::and_writes(scopes, &self.config.writes)
    }

    async fn request(&self, discovery: &Discovery, asked: &str) -> Result<Grant, Refusal> {
        let written = self.written_endpoint.as_ref().unwrap_or(&discovery.token_endpoint);
        let endpoint = self.config.trusted_url("token_endpoint", written);
        let endpoint = endpoint.map_err(|fault| refused(&fault.to_string(), None))?;
        let mut answer = self.post(&endpoint, written, asked).await?;
        if answer.status >= 400 && !busy(answer.status) && self.learn_skew(&answer) {
            answer = self.post(&endpoint, written, asked).await?;
        }
        self.read(&answer, asked, &endpoint)
    }

    /// `audience` is the endpoint exactly as it was written: servers compare text.
    async fn post(&self, endpoint: &Url, audience: &str, asked: &str) -> Result<Answer, Refusal> {
        let assertion = self.key.sign(&self.claims(audience));
        let assertion = assertion.map_err(|fault| refused(&fault.to_string(), None))?;
        let form = form(&[
            ("grant_type", "client_credentials"),
            ("scope", asked),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", &assertion),
        ]);
        let request =
            Request { method: Method::POST, url: endpoint.clone(), bearer: None, body: Body::Form(form) };
        self.http.send(request, self.now_s()).await.map_err(|fault| unreachable(&fault))
    }

    fn claims<'a>(&'a self, audience: &'a str) -> Claims<'a> {
        Claims {
            iss: &self.client_id,
            sub: &self.client_id,
            aud: audience,
            exp: self.now_s() + self.offset_s.load(Ordering::Relaxed) + ASSERTION_LIFE_S,
            jti: uuid::Uuid::new_v4().to_string(),
        }
    }

    /// Notes how far the server's clock is from ours; true when that could have caused a refusal and is new.
    fn learn_skew(&self, answer: &Answer) -> bool {
        let Some(date) = answer.date else { return false };
        let skew = date - self.now_s();
        let offset = if skew.abs() > NOTABLE_SKEW_S { skew } else { 0 };
        let before = self.offset_s.swap(offset, Ordering::Relaxed);
        (offset - before).abs() > NOTABLE_SKEW_S
    }

    /// How far our clock is off by the server's, if it had to be allowed for.
    pub(super) fn skew_s(&self) -> i64 {
        self.offset_s.load(Ordering::Relaxed)
    }

    fn read(&self, answer: &Answer, asked: &str, endpoint: &Url) -> Result<Grant, Refusal> {
        if answer.status != 200 {
            return Err(self.refusal(answer, endpoint));
        }
        let said = read_token(&answer.body)
            .map_err(|words| refused(&format!("the token server's answer cannot be used: {words}"), None))?;
        let life_s = life(said.expires_in.as_ref());
        let life = Duration::from_secs(life_s);
        Ok(Grant {
            token: Secret::new(said.access_token.into_bytes()),
            asked: asked.to_owned(),
            granted: said.scope.map(|scope| clean(&scope, 2_000)),
            life_s,
            renew_at: Instant::now() + life.saturating_sub(RENEW_BEFORE).max(life / 2),
        })
    }

    fn refusal(&self, answer: &Answer, endpoint: &Url) -> Refusal {
        if busy(answer.status) {
            let words = format!("the token server is not able to answer now (HTTP {})", answer.status);
            return Refusal { words, after: answer.retry_after, ..Refusal::default() };
        }
        if let Some(other) = &answer.redirect {
            return refused(
                &format!("the token endpoint sends us on to {other}; that is not followed"),
                None,
            );
        }
        let said: TokenError = serde_json::from_slice(&answer.body).unwrap_or_default();
        let mut words = match said.error.as_str() {
            "invalid_client" | "invalid_grant" => format!(
                "the token server does not accept this box ({}): check client_id \"{}\", that the public key {} is registered \
                 with the server, and that the token endpoint {} is what the server expects as audience",
                said.error,
                clean(&self.client_id, 80),
                self.key.kid(),
                super::http::host(endpoint),
            ),
            "invalid_scope" => String::from(
                "the token server does not grant these scopes (invalid_scope): ask its people, or write scopes",
            ),
            "unauthorized_client" => {
                String::from("this client may not use client_credentials (unauthorized_client)")
            }
            "" => format!("the token server refused (HTTP {}) without saying why", answer.status),
            other => format!("the token server refused: {}", clean(other, 80)),
        };
        if !said.error_description.is_empty() {
            words.push_str(&format!(". It says: \"{}\"", clean(&said.error_description, 200)));
        }
        if let Some(skew) =
            answer.date.map(|date| date - self.now_s()).filter(|skew| skew.abs() > NOTABLE_SKEW_S)
        {
            words.push_str(&format!(". {}", skew_words(skew)));
        }
        Refusal { scopes: said.error == "invalid_scope", ..refused(&words, answer.retry_after) }
    }

    fn now_s(&self) -> i64 {
        self.clock.now().micros.div_euclid(1_000_000)
    }
}

/// "The clock of this box is 6 min behind the server's."
pub(super) fn skew_words(skew_s: i64) -> String {
    let side = if skew_s > 0 { "behind" } else { "ahead of" };
    let size = match skew_s.unsigned_abs() {
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds @ 120..=7_199 => format!("{} min", seconds / 60),
        seconds @ 7_200..=172_799 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    };
    format!("The clock of this box is {size} {side} the server's")
}

/// Reads a discovery document; the words of the error are for a person.
pub(super) fn parse_discovery(body: &[u8]) -> Result<Discovery, String> {
    let discovery: Discovery = serde_json::from_slice(body).map_err(|_| {
        String::from("the server's .well-known/smart-configuration is not the JSON that SMART describes")
    })?;
    if discovery.token_endpoint.is_empty() || discovery.token_endpoint.len() > 2_048 {
        return Err("the server's .well-known/smart-configuration names no token_endpoint".into());
    }
    Ok(discovery)
}

/// Reads a token response (RFC 6749 §5.1).
fn read_token(body: &[u8]) -> Result<TokenAnswer, &'static str> {
    let said: TokenAnswer = serde_json::from_slice(body).map_err(|_| "it is not a token response")?;
    if !said.token_type.is_empty() && !said.token_type.eq_ignore_ascii_case("bearer") {
        return Err("its token is not a bearer token");
    }
    let visible = said.access_token.bytes().all(|byte| byte.is_ascii_graphic());
    if said.access_token.is_empty() || said.access_token.len() > LONGEST_TOKEN_BYTES || !visible {
        return Err("its token is empty, too long or holds spaces");
    }
    Ok(said)
}

/// `expires_in`: seconds as a number, which some servers write as text.
fn life(said: Option<&serde_json::Value>) -> u64 {
    let number = match said {
        Some(serde_json::Value::Number(number)) => number.as_u64(),
        Some(serde_json::Value::String(text)) => text.parse().ok(),
        _ => None,
    };
    number.map_or(UNSAID_LIFE_S, |seconds| seconds.min(86_400))
}

fn form(pairs: &[(&str, &str)]) -> String {
    let encoded = pairs.iter().map(|(name, value)| format!("{name}={}", encoded(value)));
    encoded.collect::<Vec<_>>().join("&")
}

/// RFC 3986 §2.3: everything but the unreserved characters.
fn encoded(text: &str) -> String {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    let letter = |byte| if unreserved(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(letter).collect()
}

fn busy(status: u16) -> bool {
    status == 408 || status == 429 || status >= 500
}

fn refused(words: &str, after: Option<Duration>) -> Refusal {
    Refusal { words: words.to_owned(), after, by_server: true, scopes: false }
}

fn unreachable(fault: &Fault) -> Refusal {
    Refusal { words: fault.to_string(), ..Refusal::default() }
}

/// Fuzz body.
pub(super) fn fuzz(bytes: &[u8]) {
    let _discovery = parse_discovery(bytes);
    let _grant = read_token(bytes);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::clock::{Clock, TestClock};

    fn authority(clock: SharedClock) -> Authority {
        let mut config = Config::new("https://fhir.example.org/r4");
        config.client_id = "box".into();
        let pem = super::super::keys::generate(super::super::keys::Algorithm::Es384).unwrap();
        let key = SigningKey::from_pem(pem.expose()).unwrap();
        Authority::new(&config, key, Arc::new(Http::new(&config).unwrap()), clock).unwrap()
    }

    #[test]
    fn a_thousand_assertions_are_all_different_and_short_lived() {
        let clock = TestClock::at(1_800_000_000_000_000);
        let authority = authority(clock.clone());
        let mut seen = std::collections::HashSet::new();
        for _ in 0..1_000 {
            clock.advance(Duration::from_secs(1));
            let now = clock.now().micros / 1_000_000;
            let claims = authority.claims("https://auth.example.org/token");
            assert!(claims.exp - now > 0 && claims.exp - now <= 300);
            assert_eq!(
                (claims.iss, claims.sub, claims.aud),
                ("box", "box", "https://auth.example.org/token")
            );
            assert!(seen.insert(claims.jti));
        }
    }

    #[test]
    fn an_answer_that_is_no_token_is_refused() {
        for body in [
            "",
            "<html>",
            "{}",
            r#"{"access_token":""}"#,
            r#"{"access_token":"a b"}"#,
            r#"{"access_token":"x","token_type":"mac"}"#,
        ] {
            assert!(read_token(body.as_bytes()).is_err(), "{body}");
        }
        assert!(read_token(br#"{"access_token":"x","token_type":"Bearer"}"#).is_ok());
        let long = format!(r#"{{"access_token":"{}"}}"#, "x".repeat(LONGEST_TOKEN_BYTES + 1));
        assert!(read_token(long.as_bytes()).is_err());
    }

    #[test]
    fn a_life_is_read_from_numbers_and_from_text() {
        assert_eq!(life(Some(&json!(60))), 60);
        assert_eq!(life(Some(&json!("60"))), 60);
        assert_eq!(life(Some(&json!(-1))), UNSAID_LIFE_S);
        assert_eq!(life(None), UNSAID_LIFE_S);
    }

    #[test]
    fn the_clock_is_told_in_words() {
        assert_eq!(skew_words(360), "The clock of this box is 6 min behind the server's");
        assert_eq!(skew_words(-90), "The clock of this box is 90 s ahead of the server's");
        assert_eq!(skew_words(86_400 * 900), "The clock of this box is 900 days behind the server's");
    }

    #[test]
    fn a_discovery_document_without_a_token_endpoint_is_refused() {
        assert!(parse_discovery(b"{}").unwrap_err().contains("token_endpoint"));
        assert!(parse_discovery(b"<html>").unwrap_err().contains("JSON"));
        let good = parse_discovery(
            br#"{"token_endpoint":"https://a/token","capabilities":["permission-v2"],"x":1}"#,
        );
        assert_eq!(good.unwrap().capabilities, ["permission-v2"]);
    }

    #[test]
    fn a_form_is_encoded() {
        assert_eq!(
            form(&[("scope", "system/Observation.cud a b")]),
            "scope=system%2FObservation.cud%20a%20b"
        );
    }
}
