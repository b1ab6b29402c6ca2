//! The main FHIR server as it is set up at the desk: kept in the buffer like links, read by the parser of the configuration
//! file, which counts where it names a server itself. Keys are made on this box and never leave it.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::admin::command::{Refusal, TestStep};
use crate::admin::upstreams::{self, Applied, KeyView, SetUp};
use crate::buffer::{Buffer, BufferError, Change, Reader};
use crate::clock::{SharedClock, Timestamp};
use crate::config::{Config, page_of};
use crate::connector::Later;
use crate::gateway::again::{AWAY_S, Again};
use crate::secret::{self, SecretStore};
use crate::upstream::keys::{self, Algorithm, SigningKey};
use crate::upstream::{self, Auth, Discovered, Upstream};

/// Settings: the page, and the keys made for it.
const PAGE: &str = "upstream";
const KEYS: &str = "upstream-keys";
/// Members that are not said at the desk: which key counts is told by the keys themselves.
const SECRET_MEMBERS: [&str; 2] = ["key_secret", "next_key_secret"];
/// A member of the page that belongs to `[delivery]`: bytes that may be sent in a second.
const THROTTLE: &str = "max_bytes_per_s";

/// A key that was made at the desk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Made {
    /// Name of its secret.
    name: String,
    by: String,
    /// Microseconds since 1970.
    at: i64,
}

/// The keys of this box.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Keys {
    current: Option<Made>,
    next: Option<Made>,
}

/// Setting up as the gateway carries it out.
pub(super) struct Upstreams {
    buffer: Buffer,
    secrets: SecretStore,
    /// Where keys made at the desk are kept.
    folder: PathBuf,
    clock: SharedClock,
    again: Arc<Again>,
    source: Source,
    /// As it runs now, when it does.
    running: Option<Arc<Upstream>>,
    /// Further things read and written there.
    widened: (Vec<&'static str>, Vec<&'static str>),
    /// Names that other destinations have.
    taken: Vec<String>,
    trouble: Option<String>,
    changing: tokio::sync::Mutex<()>,
}

/// Where the server is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    File(String),
    Desk,
}

fn failed(fault: BufferError) -> Refusal {
    Refusal::Failed(fault.to_string())
}

async fn keys(reader: &Reader) -> Result<Keys, BufferError> {
    let kept = reader.setting(KEYS).await?;
    Ok(kept.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default())
}

/// The page as the parser of the configuration takes it.
fn parsed(page: &Value, keys: &Keys) -> Result<upstream::Config, String> {
    let mut page = page.as_object().cloned().ok_or("the page is no object")?;
    page.retain(|_, value| !value.is_null());
    match page.remove(THROTTLE) {
        Some(wish) if wish.as_u64().is_none_or(|bytes| bytes < 100) => {
            return Err(format!("{THROTTLE} is a number of bytes, at least 100"));
        }
        _ => {}
    }
    if let Some(own) = SECRET_MEMBERS.iter().find(|member| page.contains_key(**member)) {
        return Err(format!("{own} is not said at the desk: its keys are made here"));
    }
    let text = page_of(&Value::Object(page))?;
    let mut config: upstream::Config = toml::from_str(&text).map_err(|fault| fault.message().to_owned())?;
    if let Some(current) = &keys.current {
        config.key_secret.clone_from(&current.name);
    }
    config.next_key_secret = keys.next.as_ref().map(|next| next.name.clone());
    config.check().map_err(|fault| fault.to_string())?;
    Ok(config)
}

/// A server as it was set up at the desk.
#[derive(Debug)]
pub(super) struct Remembered {
    pub(super) config: upstream::Config,
    /// Bytes that may be sent in a second.
    pub(super) throttle: Option<u64>,
}

/// The server that was set up at the desk; the text says why what was kept cannot be used.
pub(super) async fn remember(reader: &Reader) -> Result<Option<Result<Remembered, String>>, BufferError> {
    let Some(text) = reader.setting(PAGE).await? else { return Ok(None) };
    let keys = keys(reader).await?;
    let page = serde_json::from_str::<Value>(&text).map_err(|fault| fault.to_string());
    Ok(Some(page.and_then(|page| {
        let throttle = page.get(THROTTLE).and_then(Value::as_u64);
        Ok(Remembered { config: parsed(&page, &keys)?, throttle })
    })))
}

impl Upstreams {
    #[allow(clippy::too_many_arguments, reason = "built once, of what the box is built of")]
    pub(super) fn new(
        buffer: Buffer,
        secrets: SecretStore,
        config: &Config,
        clock: SharedClock,
        again: Arc<Again>,
        source: Source,
        running: Option<Arc<Upstream>>,
        trouble: Option<String>,
    ) -> Self {
        let widened = config.upstream.as_ref().map(|own| (own.reads.clone(), own.writes.clone()));
        let named = config.destinations.iter().map(|one| one.name.to_string());
        Self {
            buffer,
            secrets,
            folder: own_folder(config),
            clock,
            again,
            source,
            running,
            widened: widened.unwrap_or_default(),
            taken: named.chain(config.feeds.iter().map(|one| one.name.to_string())).collect(),
            trouble,
            changing: tokio::sync::Mutex::default(),
        }
    }

    fn refuse_what_the_file_says(&self) -> Result<(), Refusal> {
        match &self.source {
            Source::Desk => Ok(()),
            Source::File(file) => Err(Refusal::Conflict(format!(
                "the FHIR server stands under [upstream] in {file}: change it there, or take it out there first"
            ))),
        }
    }

    fn config(&self, page: &Value, keys: &Keys) -> Result<upstream::Config, Refusal> {
        let mut config = parsed(page, keys).map_err(Refusal::Conflict)?;
        config.reads.clone_from(&self.widened.0);
        config.writes.clone_from(&self.widened.1);
        Ok(config)
    }

    fn view(&self, made: &Made, state: &'static str) -> (KeyView, Option<Value>) {
        let read = self.secrets.load(&made.name).ok().and_then(|pem| SigningKey::from_pem(pem.expose()).ok());
        let view = KeyView {
            kid: read.as_ref().map_or_else(|| made.name.clone(), |key| key.kid().to_owned()),
            algorithm: read.as_ref().map_or("", |key| key.algorithm().name()),
            state: if read.is_some() { state } else { "unreadable" },
            by: made.by.clone(),
            made: Timestamp::from_micros(made.at, true),
        };
        (view, read.map(|key| key.public_jwk().clone()))
    }

    async fn told(&self) -> Result<SetUp, Refusal> {
        let reader = self.buffer.reader();
        let keys = keys(&reader).await.map_err(failed)?;
        let page = reader.setting(PAGE).await.map_err(failed)?;
        let page = page.and_then(|text| serde_json::from_str::<Value>(&text).ok());
        let known = [(&keys.current, "current"), (&keys.next, "next")];
        let views: Vec<(KeyView, Option<Value>)> = known
            .into_iter()
            .filter_map(|(made, state)| made.as_ref().map(|made| self.view(made, state)))
            .collect();
        let mut jwks =
            json!({ "keys": views.iter().filter_map(|(_, jwk)| jwk.as_ref()).collect::<Vec<_>>() });
        let file = match &self.source {
            Source::File(file) => {
                jwks = self.running.as_ref().map_or(jwks, |running| running.jwks());
                Some(file.clone())
            }
            Source::Desk => None,
        };
        let plain = upstream::Config::new("https://fhir.invalid");
        let plain =
            upstream::Config { reads: self.widened.0.clone(), writes: self.widened.1.clone(), ..plain };
        Ok(SetUp {
            source: match (&file, &page) {
                (Some(_), _) => "file",
                (None, Some(_)) => "desk",
                (None, None) => "none",
            },
            file,
            page,
            keys: views.into_iter().map(|(view, _)| view).collect(),
            jwks,
            scopes: upstream::scopes(&plain, &[]),
            waiting: reader.counts().waiting,
            trouble: self.trouble.clone(),
        })
    }

    async fn discovered(&self, page: Value) -> Result<Discovered, Refusal> {
        let base = page.get("base").and_then(Value::as_str).unwrap_or_default();
        let mut config = upstream::Config::new(base);
        config.insecure_http = page.get("insecure_http").and_then(Value::as_bool).unwrap_or(false);
        config.ca_file =
            page.get("ca_file").and_then(Value::as_str).filter(|path| !path.is_empty()).map(Into::into);
        config.timeout_s = 20;
        config.reads.clone_from(&self.widened.0);
        config.writes.clone_from(&self.widened.1);
        upstream::discover(&config, &self.clock).await.map_err(|fault| Refusal::Conflict(fault.to_string()))
    }

    async fn tried(&self, page: Value) -> Result<Vec<TestStep>, Refusal> {
        let keys = keys(&self.buffer.reader()).await.map_err(failed)?;
        let mut config = self.config(&page, &keys)?;
        config.timeout_s = config.timeout_s.min(20);
        if config.auth == Auth::Smart && keys.current.is_none() {
            return Err(Refusal::Conflict("make a key pair first: the server asks for its signature".into()));
        }
        let trial = Upstream::new(config, &self.secrets, self.clock.clone());
        let trial = trial.map_err(|fault| Refusal::Conflict(fault.to_string()))?;
        let steps = trial.test().await;
        let step = |step: upstream::TestStep| TestStep {
            name: step.name.into(),
            ok: step.ok,
            detail: step.detail,
            ms: step.ms,
        };
        Ok(steps.into_iter().map(step).collect())
    }

    async fn keep_keys(&self, keys: &Keys) -> Result<(), Refusal> {
        let text = serde_json::to_string(keys).map_err(|fault| Refusal::Failed(fault.to_string()))?;
        self.buffer.put_setting(KEYS, &text).await.map_err(failed)
    }

    async fn made(&self, who: String, algorithm: String) -> Result<KeyView, Refusal> {
        self.refuse_what_the_file_says()?;
        let _turn = self.changing.lock().await;
        let mut keys = keys(&self.buffer.reader()).await.map_err(failed)?;
        if keys.current.is_some() && keys.next.is_some() {
            let why = "there is a successor already: change to it, or forget it, before another is made";
            return Err(Refusal::Conflict(why.into()));
        }
        let algorithm: Algorithm =
            algorithm.parse().map_err(|fault: keys::KeyError| Refusal::Conflict(fault.to_string()))?;
        let folder = self.folder.clone();
        let write = move || -> Result<String, String> {
            let pem = keys::generate(algorithm).map_err(|fault| fault.to_string())?;
            let key = SigningKey::from_pem(pem.expose()).map_err(|fault| fault.to_string())?;
            key.try_out().map_err(|fault| fault.to_string())?;
            let short: String = key.kid().chars().filter(char::is_ascii_alphanumeric).take(12).collect();
            let name = format!("upstream-{short}.pem");
            secret::write_new(&folder.join(&name), &pem).map_err(|fault| fault.to_string())?;
            Ok(name)
        };
        let written = tokio::task::spawn_blocking(write).await;
        let name = written.map_err(|fault| Refusal::Failed(fault.to_string()))?.map_err(Refusal::Failed)?;
        let made = Made { name, by: who, at: self.clock.now().micros };
        let state = if keys.current.is_none() { "current" } else { "next" };
        match state {
            "current" => keys.current = Some(made.clone()),
            _ => keys.next = Some(made.clone()),
        }
        self.keep_keys(&keys).await?;
        Ok(self.view(&made, state).0)
    }

    fn applied(&self) -> Applied {
        self.again.ask();
        Applied { at: self.clock.now(), back_in_s: AWAY_S }
    }

    async fn rotated(&self) -> Result<Applied, Refusal> {
        self.refuse_what_the_file_says()?;
        let _turn = self.changing.lock().await;
        let mut keys = keys(&self.buffer.reader()).await.map_err(failed)?;
        let Some(next) = keys.next.take() else {
            return Err(Refusal::Conflict("there is no successor: make one and register it first".into()));
        };
        let readable =
            self.secrets.load(&next.name).ok().is_some_and(|pem| SigningKey::from_pem(pem.expose()).is_ok());
        if !readable {
            return Err(Refusal::Conflict("the successor cannot be read: forget it and make another".into()));
        }
        let before = keys.current.replace(next);
        self.keep_keys(&keys).await?;
        self.forget(before);
        Ok(self.applied())
    }

    /// Removes a key's file; one that cannot be removed is told in the log and used no more.
    fn forget(&self, made: Option<Made>) {
        let Some(made) = made else { return };
        if let Err(fault) = std::fs::remove_file(self.folder.join(&made.name)) {
            tracing::warn!(%fault, "The file of a key that is used no more could not be removed.");
        }
    }

    async fn dropped(&self) -> Result<(), Refusal> {
        self.refuse_what_the_file_says()?;
        let _turn = self.changing.lock().await;
        let mut keys = keys(&self.buffer.reader()).await.map_err(failed)?;
        let next = keys.next.take().ok_or(Refusal::Unknown)?;
        self.keep_keys(&keys).await?;
        self.forget(Some(next));
        Ok(())
    }

    async fn saved(&self, _who: String, page: Value) -> Result<Applied, Refusal> {
        self.refuse_what_the_file_says()?;
        let _turn = self.changing.lock().await;
        let keys = keys(&self.buffer.reader()).await.map_err(failed)?;
        let config = self.config(&page, &keys)?;
        if config.auth == Auth::Smart && keys.current.is_none() {
            return Err(Refusal::Conflict("make a key pair first: the server asks for its signature".into()));
        }
        if self.taken.contains(&config.name) {
            return Err(Refusal::Conflict(format!("a destination is called \"{}\" already", config.name)));
        }
        Upstream::new(config, &self.secrets, self.clock.clone())
            .map_err(|fault| Refusal::Conflict(fault.to_string()))?;
        self.buffer.put_setting(PAGE, &page.to_string()).await.map_err(failed)?;
        Ok(self.applied())
    }

    async fn removed(&self) -> Result<Applied, Refusal> {
        self.refuse_what_the_file_says()?;
        let _turn = self.changing.lock().await;
        if self.buffer.reader().setting(PAGE).await.map_err(failed)?.is_none() {
            return Err(Refusal::Unknown);
        }
        self.buffer.change(vec![Change::RemoveSetting { key: PAGE.into() }]).await.map_err(failed)?;
        Ok(self.applied())
    }
}

/// Where keys made at the desk are kept: beside the buffer, where this program can always write.
pub(super) fn own_folder(config: &Config) -> PathBuf {
    config.buffer.dir.join("keys")
}

impl upstreams::Upstreams for Upstreams {
    fn set_up(&self) -> Later<'_, Result<SetUp, Refusal>> {
        Box::pin(self.told())
    }

    fn discover(&self, page: Value) -> Later<'_, Result<Discovered, Refusal>> {
        Box::pin(self.discovered(page))
    }

    fn test(&self, page: Value) -> Later<'_, Result<Vec<TestStep>, Refusal>> {
        Box::pin(self.tried(page))
    }

    fn new_key(&self, who: String, algorithm: String) -> Later<'_, Result<KeyView, Refusal>> {
        Box::pin(self.made(who, algorithm))
    }

    fn rotate(&self) -> Later<'_, Result<Applied, Refusal>> {
        Box::pin(self.rotated())
    }

    fn drop_next(&self) -> Later<'_, Result<(), Refusal>> {
        Box::pin(self.dropped())
    }

    fn save(&self, who: String, page: Value) -> Later<'_, Result<Applied, Refusal>> {
        Box::pin(self.saved(who, page))
    }

    fn remove(&self) -> Later<'_, Result<Applied, Refusal>> {
        Box::pin(self.removed())
    }
}

#[cfg(test)]
#[path = "upstreams_tests.rs"]
mod tests;
