//! What a server can do: whether it takes ids that Bedside chose, and whether it reads gzip.
//!
//! Source: FHIR R4 CapabilityStatement.rest.resource (`updateCreate`, `conditionalUpdate`). What a server declares is
//! proven by the first write; a server that declares nothing is tried with a resource that has to be written anyway.

use std::io::Write;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

use bytes::Bytes;
use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::bundle;
use super::config::{Bundles, Gzip, ModeWish};
use super::http::{Answer, Body};
use super::known::lock;
use super::way::{self, Memory, Way};
use super::{Resource, Setback, State, Upstream};

/// Answers that are no CapabilityStatement, before the server counts as one that has none: one may be the page of
/// a proxy, or cut off.
const GARBLED_MOST: u32 = 5;

/// How resources are written to this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mode {
    /// PUT with the id Bedside derives.
    Put,
    /// By identifier. `update`: the server updates a match (conditional update).
    Conditional { update: bool },
}

/// What is settled about the server.
#[derive(Default)]
pub(super) struct Settled {
    pub(super) memory: OnceLock<Box<dyn Memory>>,
    /// Answers that were no CapabilityStatement.
    garbled: AtomicU32,
    mode: Mutex<Option<(Mode, bool)>>,
    gzip: Mutex<Option<bool>>,
    declared: Mutex<Option<Capability>>,
    asking: tokio::sync::Mutex<()>,
}

impl Settled {
    pub(super) fn mode_name(&self) -> Option<&'static str> {
        lock(&self.mode).map(|(mode, _)| if mode == Mode::Put { "put" } else { "conditional" })
    }

    fn memory(&self) -> Option<&dyn Memory> {
        self.memory.get().map(Box::as_ref)
    }

    /// Keeps the way, and then goes it.
    async fn go(&self, way: (Mode, bool), before: Option<&Way>) -> Result<(), Setback> {
        let wanted = Way::new(way.0, lock(&self.declared).clone());
        if before != Some(&wanted) {
            way::keep(self.memory(), &wanted).await?;
        }
        *lock(&self.mode) = Some(way);
        Ok(())
    }

    /// The mode worked.
    pub(super) fn proven(&self) {
        if let Some((_, proven)) = lock(&self.mode).as_mut() {
            *proven = true;
        }
    }

    pub(super) fn gzip_refused(&self) {
        *lock(&self.gzip) = Some(false);
    }
}

/// What the CapabilityStatement says that matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Capability {
    pub(super) fhir_version: String,
    pub(super) software: String,
    /// `system` interactions include `transaction`, or `batch`.
    pub(super) transaction: bool,
    pub(super) batch: bool,
    /// Observation: None when it says nothing.
    pub(super) update_create: Option<bool>,
    pub(super) conditional_update: bool,
    /// Observation: None when it says nothing.
    pub(super) conditional_create: Option<bool>,
}

/// What /metadata gave.
enum Statement {
    Said(Capability),
    /// 200, and something else: a proxy's page, or half of it.
    Garbled(Setback),
    None,
}

impl Upstream {
    /// Whether Bundles go as batches: nothing in one is sure to be done before the rest.
    pub(super) fn batches(&self) -> bool {
        match self.config.bundles {
            Bundles::Batch => true,
            Bundles::Transaction => false,
            Bundles::Auto => {
                lock(&self.capability.declared).as_ref().is_some_and(|said| said.batch && !said.transaction)
            }
        }
    }

    /// The server says that it does not heed `ifNoneExist`: everything is looked for before it is written.
    pub(super) fn looks_first(&self) -> bool {
        lock(&self.capability.declared).as_ref().is_some_and(|said| said.conditional_create == Some(false))
    }

    /// What is known of the server and what was decided from it, for the desk.
    pub fn capability(&self) -> serde_json::Value {
        let declared = lock(&self.capability.declared).clone();
        let limit = self.limit.now();
        serde_json::json!({
            "mode": self.capability.mode_name(),
            "bundles": if self.batches() { "batch" } else { "transaction" },
            "looks_before_writing": self.looks_first(),
            "gzip": *lock(&self.capability.gzip),
            "max_bundle_resources": limit.resources,
            "max_bundle_bytes": limit.bytes,
            "declared": declared.map(|said| serde_json::json!({
                "software": said.software, "fhir_version": said.fhir_version, "transaction": said.transaction,
                "batch": said.batch, "update_create": said.update_create, "conditional_create": said.conditional_create,
                "conditional_update": said.conditional_update,
            })),
        })
    }

    /// The mode to write in; `first` is a resource that is to be written and may serve as the trial.
    pub(super) async fn mode(&self, first: Option<&Resource>) -> Result<Mode, Setback> {
        let settled = || lock(&self.capability.mode).map(|(mode, _)| mode);
        if let Some(mode) = settled() {
            return Ok(mode);
        }
        let _asking = self.capability.asking.lock().await;
        if let Some(mode) = settled() {
            return Ok(mode);
        }
        let before = way::recall(self.capability.memory()).await?;
        let mode = match self.config.mode {
            ModeWish::Put => (Mode::Put, true),
            wish => {
                let capability = self.declared(before.as_ref()).await?.unwrap_or_default();
                let conditional = Mode::Conditional { update: capability.conditional_update };
                match (wish, &before, capability.update_create, first) {
                    (ModeWish::Conditional, ..) => (conditional, true),
                    (_, Some(before), ..) => before.mode(),
                    (_, _, Some(true), _) => (Mode::Put, false),
                    (_, _, None, Some(first)) if self.takes_our_ids(first).await? => (Mode::Put, false),
                    _ => (conditional, true),
                }
            }
        };
        self.capability.go(mode, before.as_ref()).await?;
        Ok(mode.0)
    }

    /// What the server says of itself; what it said before, where it does not say it now.
    async fn declared(&self, before: Option<&Way>) -> Result<Option<Capability>, Setback> {
        let garbled = match self.statement().await? {
            Statement::Said(said) => return Ok(Some(said)),
            Statement::Garbled(setback) => Some(setback),
            Statement::None => None,
        };
        if let Some(before) = before {
            lock(&self.capability.declared).clone_from(&before.declared);
            return Ok(before.declared.clone());
        }
        match garbled {
            Some(setback) if self.capability.garbled.fetch_add(1, Ordering::Relaxed) < GARBLED_MOST => {
                Err(setback)
            }
            _ => Ok(None),
        }
    }

    /// PUT was refused although the server declared it: finds out by one resource alone whether it is the ids. True:
    /// the mode is conditional from now on.
    pub(super) async fn doubt_put(&self, first: &Resource) -> Result<bool, Setback> {
        let unproven = lock(&self.capability.mode).is_some_and(|mode| mode == (Mode::Put, false));
        if !unproven || self.takes_our_ids(first).await? {
            self.capability.proven();
            return Ok(false);
        }
        let update = self.capability_statement().await?.is_some_and(|said| said.conditional_update);
        self.capability.go((Mode::Conditional { update }, true), None).await?;
        Ok(true)
    }

    /// None: the server answers, but not with a CapabilityStatement.
    pub(super) async fn capability_statement(&self) -> Result<Option<Capability>, Setback> {
        match self.statement().await? {
            Statement::Said(said) => Ok(Some(said)),
            Statement::Garbled(_) | Statement::None => Ok(None),
        }
    }

    async fn statement(&self) -> Result<Statement, Setback> {
        let answer = self.ask(Method::GET, self.url("metadata"), || Body::None).await?;
        match (answer.status, parse(&answer.body)) {
            (200, Some(said)) => {
                *lock(&self.capability.declared) = Some(said.clone());
                Ok(Statement::Said(said))
            }
            (200, None) => {
                let words = "what this address gives under /metadata is no CapabilityStatement";
                Ok(Statement::Garbled(later(words.into(), &answer)))
            }
            (300..=399 | 408 | 409 | 429 | 500.., _) => {
                let words = format!("the server is not able to answer now (HTTP {})", answer.status);
                Err(later(words, &answer))
            }
            _ => Ok(Statement::None),
        }
    }

    /// Writes one resource under our id. FHIR R4 §3.1.0.4.1: a server that does not allow it answers 400, 404 or 405.
    async fn takes_our_ids(&self, resource: &Resource) -> Result<bool, Setback> {
        let json = Bytes::from(resource.json.get().to_owned());
        let body = || Body::Fhir(json.clone(), false);
        let answer = self.ask(Method::PUT, self.url(&bundle::key(resource)), body).await?;
        match answer.status {
            200..=299 => Ok(true),
            300..=399 | 401 | 403 | 408 | 409 | 429 | 500.. => {
                let words =
                    format!("the server did not take a first {} (HTTP {})", resource.kind, answer.status);
                Err(Setback { refusing: matches!(answer.status, 401 | 403), ..later(words, &answer) })
            }
            _ => Ok(false),
        }
    }

    /// Compresses `json` if the server reads gzip.
    pub(super) async fn packed(&self, json: &Bytes) -> (Bytes, bool) {
        let wanted = match self.config.gzip_wish() {
            Gzip::On => lock(&self.capability.gzip).unwrap_or(true),
            Gzip::Off => false,
            // Asked once the server has taken something: a server that is down is not asked twice.
            Gzip::Probe => lock(&self.standing).state == State::Up && self.reads_gzip().await,
        };
        match wanted.then(|| compress(json)).flatten() {
            Some(packed) => (Bytes::from(packed), true),
            None => (json.clone(), false),
        }
    }

    /// An empty batch changes nothing: a server that takes it compressed reads gzip.
    async fn reads_gzip(&self) -> bool {
        if let Some(known) = *lock(&self.capability.gzip) {
            return known;
        }
        let empty = compress(br#"{"resourceType":"Bundle","type":"batch","entry":[]}"#).unwrap_or_default();
        let empty = Bytes::from(empty);
        let answer = self.ask(Method::POST, self.url(""), || Body::Fhir(empty.clone(), true)).await;
        match answer {
            Ok(answer) if answer.status < 500 && answer.status != 429 => {
                let reads = (200..300).contains(&answer.status);
                *lock(&self.capability.gzip) = Some(reads);
                reads
            }
            _ => false, // not answered: ask again next time
        }
    }
}

fn later(words: String, answer: &Answer) -> Setback {
    Setback { words, after: answer.retry_after, refusing: false, in_doubt: false }
}

fn compress(json: &[u8]) -> Option<Vec<u8>> {
    let mut packer =
        flate2::write::GzEncoder::new(Vec::with_capacity(json.len() / 4), flate2::Compression::fast());
    packer.write_all(json).ok()?;
    packer.finish().ok()
}

/// Reads a CapabilityStatement; None for anything else.
pub(super) fn parse(body: &[u8]) -> Option<Capability> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Statement {
        resource_type: String,
        #[serde(default)]
        fhir_version: String,
        #[serde(default)]
        software: Option<Software>,
        #[serde(default)]
        rest: Vec<Rest>,
    }
    #[derive(Deserialize)]
    struct Software {
        #[serde(default)]
        name: String,
        #[serde(default)]
        version: String,
    }
    #[derive(Deserialize)]
    struct Rest {
        #[serde(default)]
        resource: Vec<Kind>,
        #[serde(default)]
        interaction: Vec<Interaction>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Kind {
        #[serde(rename = "type", default)]
        kind: String,
        update_create: Option<bool>,
        #[serde(default)]
        conditional_update: bool,
        conditional_create: Option<bool>,
    }
    #[derive(Deserialize)]
    struct Interaction {
        #[serde(default)]
        code: String,
    }
    let statement: Statement = serde_json::from_slice(body).ok()?;
    if statement.resource_type != "CapabilityStatement" {
        return None;
    }
    let observation =
        statement.rest.iter().flat_map(|rest| &rest.resource).find(|kind| kind.kind == "Observation");
    let software = statement.software.map(|software| format!("{} {}", software.name, software.version));
    let does =
        |what: &str| statement.rest.iter().flat_map(|rest| &rest.interaction).any(|does| does.code == what);
    Some(Capability {
        fhir_version: super::answer::clean(&statement.fhir_version, 20),
        software: super::answer::clean(&software.unwrap_or_default(), 80),
        transaction: does("transaction"),
        batch: does("batch"),
        update_create: observation.and_then(|kind| kind.update_create),
        conditional_update: observation.is_some_and(|kind| kind.conditional_update),
        conditional_create: observation.and_then(|kind| kind.conditional_create),
    })
}

/// Fuzz body.
pub(super) fn fuzz(bytes: &[u8]) {
    let _capability = parse(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capability_statement_is_read() {
        let body = br#"{"resourceType":"CapabilityStatement","fhirVersion":"4.0.1","software":{"name":"S","version":"1"},
            "rest":[{"mode":"server","interaction":[{"code":"transaction"}],
            "resource":[{"type":"Patient","updateCreate":false},{"type":"Observation","updateCreate":true,"conditionalUpdate":true}]}]}"#;
        let capability = parse(body).unwrap();
        assert!(capability.transaction && capability.conditional_update);
        assert_eq!(capability.update_create, Some(true));
        assert_eq!((capability.fhir_version.as_str(), capability.software.as_str()), ("4.0.1", "S 1"));
    }

    #[test]
    fn a_server_that_says_nothing_is_not_taken_to_say_no() {
        let body =
            br#"{"resourceType":"CapabilityStatement","rest":[{"resource":[{"type":"Observation"}]}]}"#;
        assert_eq!(parse(body).unwrap().update_create, None);
        assert_eq!(parse(b"<html>"), None);
        assert_eq!(parse(br#"{"resourceType":"OperationOutcome"}"#), None);
    }

    #[test]
    fn what_is_compressed_can_be_read_again() {
        let packed = compress(b"{\"a\":1}").unwrap();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(packed.as_slice()), &mut text)
            .unwrap();
        assert_eq!(text, "{\"a\":1}");
    }
}
