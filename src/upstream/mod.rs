//! FHIR servers upstream: every result gets there once, or it is known why not.
//!
//! [`Upstream::deliver`] writes the resources of many entries as transaction Bundles and says for each entry what
//! became of it. It never waits to try again and never keeps a queue: a [`Verdict::Retry`] goes back to whoever owns
//! the entries.
//!
//! *Invariants:*
//! - One entry, one [`Verdict`], in the order they came.
//! - A resource is never twice in a Bundle and never in two Bundles on their way.
//! - `Accepted` is said only when the server said so, or was asked and holds it.
//! - An answer that is lost or cannot be read is never taken for a success or for a refusal.
//! - A token goes to the origin of the FHIR base and nowhere else; no redirect is followed, and no link
//!   but the next page of a search, under the base.
//! - No patient's value stands in an address: searches by identifier are POSTed.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use reqwest::{Method, Url};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::clock::{SharedClock, Timestamp};
use crate::fhir::Resource;
use crate::secret::{SecretError, SecretStore};

mod answer;
mod beside;
mod bundle;
mod capability;
mod config;
mod deliver;
mod discover;
mod fetch;
pub mod hl7;
mod http;
pub mod keys;
mod known;
mod limit;
pub mod ndjson;
pub mod otlp;
mod piece;
mod scope;
mod search;
pub mod syslog;
mod token;
mod trial;
mod way;

pub use config::{Auth, Bundles, Config, Gzip, ModeWish, Patients};
pub use discover::{Discovered, discover, scopes};
pub use fetch::Walk;
use http::{Answer, Body, Http, Request};
use keys::{KeyError, SigningKey};
use known::{Bounded, InFlight, Known, lock};
use limit::Limit;
use token::{Authority, Refusal};
pub use trial::TestStep;
pub use way::{Kept, Memory};

/// Resources whose fate is in doubt (conditional mode), remembered at most.
const MOST_DOUBTFUL: usize = 8_192;
/// Entries whose failures are counted, at most.
const MOST_TRIED: usize = 1_024;

/// Why an upstream cannot be set up. Nothing here depends on the network.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    #[error("upstream: {0}")]
    Config(String),
    #[error("upstream: ca_file {}: {why}", path.display())]
    CaFile { path: std::path::PathBuf, why: String },
    #[error("upstream: {0}; `bedside keys new` makes one")]
    Secret(#[from] SecretError),
    #[error("upstream: secret \"{name}\": {source}")]
    Key { name: String, source: KeyError },
    #[error("upstream: the HTTP client could not be built: {0}")]
    Client(String),
}

/// What became of one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The server holds every resource of the entry. `answer`: short JSON for the desk.
    Accepted { answer: String },
    /// The server will not take it as it is; a person has to look. `reason`: the OperationOutcome's text.
    Refused { reason: String, answer: String },
    /// Not now. `after`: what the server asked for (Retry-After).
    Retry { after: Option<Duration>, reason: String },
}

/// How it stands with a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It answers.
    Up,
    /// It cannot be reached or does not answer as a FHIR server.
    Down,
    /// It answers but does not let this box in: a person has to change something.
    Refusing,
    /// There is no upstream. Never said by [`Upstream::state`].
    Unconfigured,
}

/// What the desk shows about a server.
#[derive(Clone, Debug)]
pub struct Standing {
    pub name: String,
    pub base: String,
    pub state: State,
    /// Since when it is so.
    pub since: Timestamp,
    pub last_success: Option<Timestamp>,
    /// One sentence for a person.
    pub detail: String,
    /// `"smart"` or `"none"`.
    pub auth: &'static str,
    pub client_id: String,
    /// `"put"` or `"conditional"`, once it is known.
    pub mode: Option<&'static str>,
    pub kid: Option<String>,
    /// `"RS384"` or `"ES384"`.
    pub algorithm: Option<&'static str>,
    /// The scopes last asked for.
    pub scopes: Option<String>,
    /// The scopes last granted, when the server said.
    pub granted: Option<String>,
}

/// One FHIR server.
pub struct Upstream {
    config: Config,
    base: Url,
    http: Arc<Http>,
    authority: Option<Authority>,
    next_key: Option<SigningKey>,
    clock: SharedClock,
    known: Known,
    in_flight: InFlight,
    permits: Semaphore,
    limit: Limit,
    capability: capability::Settled,
    doubtful: Mutex<Bounded<()>>,
    tries: Mutex<Bounded<deliver::Tries>>,
    standing: Mutex<Standing>,
    /// Seconds by which the server's clock is ahead, by its last answer.
    skew_s: Mutex<Option<i64>>,
}

/// Why the server could not be asked, or what it answered instead.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Setback {
    words: String,
    after: Option<Duration>,
    /// A person has to change something.
    refusing: bool,
    /// The server may have acted on the request.
    in_doubt: bool,
}

impl Upstream {
    /// Checks the configuration and loads the keys; speaks to no one.
    pub fn new(config: Config, secrets: &SecretStore, clock: SharedClock) -> Result<Self, UpstreamError> {
        config.check()?;
        let http = Arc::new(Http::new(&config)?);
        let key = match config.auth {
            Auth::Smart => Some(load_key(secrets, &config.key_secret)?),
            Auth::None => None,
        };
        let next_key = config.next_key_secret.as_deref().map(|name| load_key(secrets, name)).transpose()?;
        let standing = standing(&config, key.as_ref(), clock.now());
        let authority =
            key.map(|key| Authority::new(&config, key, Arc::clone(&http), Arc::clone(&clock))).transpose()?;
        Ok(Self {
            base: config.base_url()?,
            http,
            authority,
            next_key,
            clock,
            known: Known::new(),
            in_flight: InFlight::default(),
            permits: Semaphore::new(config.in_flight),
            limit: Limit::new(config.max_bundle_resources, config.max_bundle_bytes),
            capability: capability::Settled::default(),
            doubtful: Mutex::new(Bounded::new(MOST_DOUBTFUL)),
            tries: Mutex::new(Bounded::new(MOST_TRIED)),
            standing: Mutex::new(standing),
            skew_s: Mutex::default(),
            config,
        })
    }

    /// From now on the way of writing to this server is kept there. Only the first call counts.
    pub fn remembers(&self, memory: Box<dyn Memory>) {
        drop(self.capability.memory.set(memory));
    }

    /// Delivers the resources of each entry: one [`Verdict`] per entry, in the same order. Entries may be delivered
    /// from several tasks at once.
    pub async fn deliver(&self, entries: &[Vec<Resource>]) -> Vec<Verdict> {
        deliver::Round::new(self, entries).run().await
    }

    /// Walks from the address to a read, one step at a time, and says in words where it ends.
    pub async fn test(&self) -> Vec<TestStep> {
        trial::walk(self).await
    }

    /// The public keys to register with the server: the current one, and the one to change to if there is one.
    pub fn jwks(&self) -> Value {
        let current = self.authority.as_ref().map(|authority| authority.key().public_jwk());
        let next = self.next_key.as_ref().map(SigningKey::public_jwk);
        json!({ "keys": current.into_iter().chain(next).collect::<Vec<_>>() })
    }

    /// How it stands with the server now.
    pub fn state(&self) -> Standing {
        let mut standing = lock(&self.standing).clone();
        standing.mode = self.capability.mode_name();
        standing
    }

    /// Bytes of requests sent since the start, as they crossed the line.
    pub fn bytes_sent(&self) -> u64 {
        self.http.bytes_sent()
    }

    /// Seconds by which the server's clock was ahead of this box's when it last answered.
    pub fn clock_skew_s(&self) -> Option<i64> {
        *lock(&self.skew_s)
    }

    /// An address under the base.
    fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&if path.is_empty() { base } else { format!("{base}/{path}") });
        url
    }

    /// Asks the FHIR server, with the token; a refused token is replaced once.
    async fn ask(&self, method: Method, url: Url, body: impl Fn() -> Body) -> Result<Answer, Setback> {
        let now = self.clock.now().micros.div_euclid(1_000_000);
        let once = async |bearer| {
            let request = Request { method: method.clone(), url: url.clone(), bearer, body: body() };
            let answer = self.http.send(request, now).await.map_err(|fault| Setback {
                words: fault.to_string(),
                after: None,
                refusing: false,
                in_doubt: fault.may_have_arrived(),
            });
            if let Ok(Answer { date: Some(date), .. }) = &answer {
                *lock(&self.skew_s) = Some(date - now);
            }
            answer
        };
        let ours = url.origin() == self.base.origin();
        let Some(authority) = self.authority.as_ref().filter(|_| ours) else { return once(None).await };
        let grant = self.granted(authority).await?;
        let answer = once(Some(&grant.token)).await?;
        if answer.status != 401 {
            return Ok(answer);
        }
        authority.spoiled(&grant.token).await;
        let grant = self.granted(authority).await?;
        once(Some(&grant.token)).await
    }

    async fn granted(&self, authority: &Authority) -> Result<token::Grant, Setback> {
        let grant = authority.grant().await.map_err(Setback::from)?;
        let mut standing = lock(&self.standing);
        standing.scopes = Some(grant.asked.clone());
        standing.granted.clone_from(&grant.granted);
        Ok(grant)
    }

    /// The server did something for us.
    fn succeeded(&self) {
        let now = self.clock.now();
        let mut standing = lock(&self.standing);
        standing.last_success = Some(now);
        let learned = self.authority.as_ref().map_or(0, Authority::skew_s);
        let seen = self.clock_skew_s().unwrap_or(0);
        let notice = standing.notice(if learned == 0 { seen } else { learned });
        standing.turn(State::Up, &notice, now);
    }

    /// The server did not do what it was asked for reasons that lie with it or with the way to it.
    fn failed(&self, setback: &Setback) {
        let state = if setback.refusing { State::Refusing } else { State::Down };
        lock(&self.standing).turn(state, &setback.words, self.clock.now());
    }
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Upstream({})", self.config.name)
    }
}

impl Standing {
    fn turn(&mut self, state: State, detail: &str, now: Timestamp) {
        if self.state != state {
            tracing::info!(upstream = %self.name, state = ?state, "The upstream changed state.");
            self.state = state;
            self.since = now;
        }
        detail.clone_into(&mut self.detail);
    }

    /// What a person should know although all is well.
    fn notice(&self, skew_s: i64) -> String {
        let mut notices = Vec::new();
        if let (Some(asked), Some(granted)) = (&self.scopes, &self.granted) {
            let missing = scope::missing_writes(asked, granted);
            if !missing.is_empty() {
                notices.push(format!("The server did not grant writing of {}", missing.join(", ")));
            }
        }
        if skew_s.abs() > token::NOTABLE_SKEW_S {
            notices.push(token::skew_words(skew_s));
        }
        if notices.is_empty() { String::from("Delivering.") } else { format!("{}.", notices.join(". ")) }
    }
}

impl From<Refusal> for Setback {
    fn from(refusal: Refusal) -> Self {
        Self { words: refusal.words, after: refusal.after, refusing: refusal.by_server, in_doubt: false }
    }
}

fn standing(config: &Config, key: Option<&SigningKey>, now: Timestamp) -> Standing {
    Standing {
        name: config.name.clone(),
        base: config.base.clone(),
        state: State::Down,
        since: now,
        last_success: None,
        detail: String::from("Not contacted yet."),
        auth: if config.auth == Auth::Smart { "smart" } else { "none" },
        client_id: config.client_id.clone(),
        mode: None,
        kid: key.map(|key| key.kid().to_owned()),
        algorithm: key.map(|key| key.algorithm().name()),
        scopes: None,
        granted: None,
    }
}

fn load_key(secrets: &SecretStore, name: &str) -> Result<SigningKey, UpstreamError> {
    let pem = secrets.load(name)?;
    SigningKey::from_pem(pem.expose()).map_err(|source| UpstreamError::Key { name: name.into(), source })
}

/// Fuzz body: any bytes as a server's answer, discovery document, token response or CapabilityStatement.
pub fn fuzz(bytes: &[u8]) {
    answer::fuzz(bytes);
    capability::fuzz(bytes);
    ndjson::fuzz(bytes);
    token::fuzz(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_mutation_of_what_a_server_sends_is_read_without_panic() {
        let seeds = [
            r#"{"resourceType":"Bundle","type":"transaction-response","entry":[{"response":{"status":"201 Created","location":"Observation/1/_history/1"}}]}"#,
            r#"{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"invalid","details":{"text":"x"}}]}"#,
            r#"{"token_endpoint":"https://a/token","capabilities":["permission-v2"]}"#,
            r#"{"access_token":"x","token_type":"bearer","expires_in":300,"scope":"system/*.cruds"}"#,
            r#"{"resourceType":"CapabilityStatement","rest":[{"resource":[{"type":"Observation","updateCreate":true}]}]}"#,
            "Sun, 06 Nov 1994 08:49:37 GMT",
        ];
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut random = |limit: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state >> 33).unwrap() % limit.max(1)
        };
        for round in 0..4_000 {
            let mut bytes = seeds[round % seeds.len()].as_bytes().to_vec();
            for _ in 0..=random(4) {
                let at = random(bytes.len());
                match random(4) {
                    0 => bytes[at] = u8::try_from(random(256)).unwrap(),
                    1 => bytes.truncate(at + 1),
                    2 => bytes.insert(at, b"{}[]\",:0\\"[random(9)]),
                    _ => bytes.extend_from_within(at..),
                }
            }
            fuzz(&bytes);
        }
    }

    #[test]
    fn an_upstream_without_its_key_says_which_secret_is_missing() {
        let mut config = Config::new("https://fhir.example.org");
        config.client_id = "box".into();
        let clock = crate::clock::TestClock::at(0);
        let fault = Upstream::new(config, &SecretStore::default(), clock).unwrap_err().to_string();
        assert!(fault.contains("upstream-key") && fault.contains("bedside keys new"), "{fault}");
    }

    #[test]
    fn before_the_first_contact_nothing_is_claimed() {
        let mut config = Config::new("http://127.0.0.1:9/fhir");
        config.auth = Auth::None;
        let up = Upstream::new(config, &SecretStore::default(), crate::clock::TestClock::at(0)).unwrap();
        let standing = up.state();
        assert_eq!((standing.state, standing.last_success, standing.mode), (State::Down, None, None));
        assert_eq!(up.jwks(), json!({ "keys": [] }));
        assert_eq!(up.url("Observation/1").as_str(), "http://127.0.0.1:9/fhir/Observation/1");
    }
}
