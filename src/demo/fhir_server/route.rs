//! Which request is which, and the faults on the way.

use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::{Method, Request, Response};
use serde_json::{Value, json};

use super::check::KINDS;
use super::faults::{Fault, Faults, On};
use super::reply::{Refusal, Reply, http_date};
use super::smart::{self, Authority};
use super::store::Store;
use super::transaction::{self, Rules};
use super::{Body, Config};

/// Requests whose target is remembered.
const TARGETS_MAX: usize = 10_000;

/// Everything a request can need.
pub(super) struct Server {
    pub(super) config: Config,
    pub(super) store: Arc<Store>,
    pub(super) faults: Faults,
    pub(super) authority: Authority,
    pub(super) requests: AtomicU64,
    pub(super) connections: AtomicU64,
    pub(super) http2: AtomicU64,
    pub(super) gzip_read: AtomicU64,
    /// Method and target of the requests so far, the oldest ones up to a limit.
    pub(super) targets: Mutex<Vec<String>>,
    origin: String,
}

/// A request with its body read.
struct Asked {
    method: Method,
    path: String,
    query: String,
    bearer: Option<String>,
    gzip: bool,
    body: Bytes,
}

impl Server {
    pub(super) fn new(config: Config, origin: &str) -> Self {
        Self {
            store: Arc::new(Store::new(config.max_resources)),
            faults: Faults::default(),
            authority: Authority::new(&config, origin),
            requests: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            http2: AtomicU64::new(0),
            gzip_read: AtomicU64::new(0),
            targets: Mutex::default(),
            origin: origin.to_owned(),
            config,
        }
    }

    /// Answers one request; an error closes the connection, as a fault wants it.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>, std::io::Error> {
        let cut = || std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.remember(&request);
        let asked = match self.read(request).await {
            Ok(asked) => asked,
            Err(refusal) => return Ok(self.finish(refusal.into())),
        };
        tokio::time::sleep(self.config.latency).await;
        let on = self.kind_of(&asked);
        let fault = self.faults.choose(on);
        match fault {
            None => Ok(self.finish(self.reply(&asked, on, None))),
            Some(Fault::Stall(span)) => {
                tokio::time::sleep(span).await;
                Err(cut())
            }
            Some(Fault::Drop) => Err(cut()),
            Some(Fault::Late(span)) => {
                tokio::time::sleep(span).await;
                Ok(self.finish(self.reply(&asked, on, None)))
            }
            Some(Fault::CommitThenDrop) => {
                self.reply(&asked, on, None);
                Err(cut())
            }
            Some(Fault::CommitThenStall(span)) => {
                self.reply(&asked, on, None);
                tokio::time::sleep(span).await;
                Err(cut())
            }
            Some(Fault::CommitThenStallInBody(span)) => {
                Ok(half_then_nothing(&self.reply(&asked, on, None), span))
            }
            Some(fault) => Ok(self.finish(self.spoiled(&asked, on, fault))),
        }
    }

    fn remember(&self, request: &Request<Incoming>) {
        let mut targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        if targets.len() < TARGETS_MAX {
            targets.push(format!("{} {}", request.method(), request.uri()));
        }
    }

    fn finish(&self, reply: Reply) -> Response<Body> {
        reply.into_response(self.config.clock.now())
    }

    fn spoiled(&self, asked: &Asked, on: On, fault: Fault) -> Reply {
        let outcome = |status| Reply::from(Refusal::new(status, "processing", "refused on purpose"));
        match fault {
            Fault::Status(status) => outcome(status),
            Fault::PlainStatus(status) => Reply::plain(status, "refused on purpose"),
            Fault::HtmlStatus(status) => Reply::html(status),
            Fault::Html => Reply::html(200),
            Fault::RetryAfterSeconds(status, seconds) => {
                outcome(status).with("retry-after", seconds.to_string())
            }
            Fault::RetryAfterDate(status, seconds) => {
                let then = self.config.clock.now().plus(Duration::from_secs(seconds));
                outcome(status).with("retry-after", http_date(then))
            }
            Fault::CommitThenHtml => {
                self.reply(asked, on, None);
                Reply::html(200)
            }
            Fault::CommitThenTruncated => {
                let reply = self.reply(asked, on, None);
                Reply { body: reply.body.slice(..reply.body.len() / 2), ..reply }
            }
            Fault::FewerEntries(fewer) => fewer_entries(self.reply(asked, on, None), fewer),
            Fault::Redirect(location) => Reply::plain(307, "elsewhere").with("location", location),
            Fault::Bomb(mebibytes) => {
                Reply::fhir(200, bomb(mebibytes)).with("content-encoding", "gzip".into())
            }
            Fault::InvalidClient => {
                Reply::json(401, &json!({ "error": "invalid_client", "error_description": "on purpose" }))
            }
            Fault::HalfAccept { every, status } => self.reply(asked, on, Some((every, status))),
            // These never come here: they have no reply.
            Fault::Stall(_) | Fault::Drop | Fault::CommitThenDrop => outcome(500),
            Fault::CommitThenStall(_) | Fault::CommitThenStallInBody(_) | Fault::Late(_) => outcome(500),
        }
    }

    async fn read(&self, request: Request<Incoming>) -> Result<Asked, Refusal> {
        let (head, body) = request.into_parts();
        let text =
            |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let bearer = text("authorization").and_then(|value| value.strip_prefix("Bearer ").map(str::to_owned));
        let gzip = text("content-encoding").is_some_and(|value| value == "gzip");
        let body = Limited::new(body, self.config.max_body_bytes).collect().await;
        let body = body.map_err(|_| Refusal::new(413, "too-long", "the body is too large"))?.to_bytes();
        let body = if gzip { self.unpacked(&body)? } else { body };
        let query = head.uri.query().unwrap_or_default().to_owned();
        Ok(Asked { method: head.method, path: head.uri.path().to_owned(), query, bearer, gzip, body })
    }

    fn unpacked(&self, body: &[u8]) -> Result<Bytes, Refusal> {
        if !self.config.reads_gzip {
            return Err(Refusal::new(400, "structure", "the body is not JSON"));
        }
        let mut plain = Vec::new();
        let limit = u64::try_from(self.config.max_body_bytes).unwrap_or(u64::MAX);
        let read = flate2::read::GzDecoder::new(body).take(limit).read_to_end(&mut plain);
        read.map_err(|_| Refusal::new(400, "structure", "the body is not gzip"))?;
        self.gzip_read.fetch_add(1, Ordering::Relaxed);
        Ok(Bytes::from(plain))
    }

    fn reply(&self, asked: &Asked, on: On, half: Option<(usize, u16)>) -> Reply {
        let now = self.config.clock.now();
        match on {
            On::Discovery => Reply::json(200, &self.discovery()),
            On::Token if asked.method == Method::POST => {
                self.authority.token(&parse_form(&String::from_utf8_lossy(&asked.body)), now)
            }
            On::Metadata => Reply::fhir(200, self.metadata().to_string()),
            On::Transaction | On::Read if self.authority.asks() => {
                match self.authority.scopes(asked.bearer.as_deref(), now) {
                    Some(scopes) => self.fhir(asked, &scopes, half),
                    None => Reply::plain(401, "Unauthorized").with("www-authenticate", "Bearer".into()),
                }
            }
            On::Transaction | On::Read => self.fhir(asked, "system/*.cruds", half),
            _ => Refusal::new(404, "not-found", "nothing is here").into(),
        }
    }

    fn fhir(&self, asked: &Asked, scopes: &str, half: Option<(usize, u16)>) -> Reply {
        let now = self.config.clock.now();
        let may_write = |kind: &str| smart::allows(scopes, kind, true);
        let rules = Rules {
            max_entries: self.config.max_entries,
            update_create: self.config.takes_ids,
            check_references: self.config.check_references,
            transactions: self.config.transactions,
            conditional_create: self.config.conditional_create,
            half,
            may_write: &may_write,
        };
        let segments: Vec<&str> = asked
            .path
            .strip_prefix("/fhir")
            .unwrap_or_default()
            .split('/')
            .filter(|s| !s.is_empty())
            .collect();
        let done = match (&asked.method, segments.as_slice()) {
            (&Method::POST, []) => transaction::run(&self.store, &asked.body, &rules, now),
            (&Method::PUT, [kind, id]) => {
                transaction::put_one(&self.store, kind, id, &asked.body, &rules, now)
            }
            (&Method::GET, [kind]) => self.search(kind, &asked.query, scopes),
            (&Method::POST, [kind, "_search"]) => {
                let form = format!("{}&{}", asked.query, String::from_utf8_lossy(&asked.body));
                self.search(kind, &form, scopes)
            }
            (&Method::GET, [kind, id]) if smart::allows(scopes, kind, false) => self
                .store
                .resource(kind, id)
                .ok_or_else(|| Refusal::new(404, "not-found", "there is no such resource")),
            (&Method::GET, [_, _]) => {
                Err(Refusal::new(403, "forbidden", "the token does not allow reading this"))
            }
            _ => Err(Refusal::new(404, "not-supported", "this interaction is not offered")),
        };
        match done {
            Ok(body) => Reply::fhir(
                if asked.gzip || body.get("entry").is_some() { 200 } else { status_of(&body) },
                body.to_string(),
            ),
            Err(refusal) => refusal.into(),
        }
    }

    fn kind_of(&self, asked: &Asked) -> On {
        match asked.path.as_str() {
            "/fhir/.well-known/smart-configuration" => On::Discovery,
            "/fhir/metadata" => On::Metadata,
            "/fhir" | "/fhir/" if asked.method == Method::POST => On::Transaction,
            path if path.starts_with("/fhir/") && asked.method == Method::PUT => On::Transaction,
            path if path.starts_with("/fhir/") => On::Read,
            path if self.authority.endpoint().strip_prefix(&self.origin) == Some(path) => On::Token,
            _ => On::Any,
        }
    }

    fn search(&self, kind: &str, form: &str, scopes: &str) -> Result<Value, Refusal> {
        if !KINDS.contains(&kind) {
            return Err(Refusal::new(404, "not-supported", "this type is not kept here"));
        }
        if !smart::allows(scopes, kind, false) {
            return Err(Refusal::new(403, "forbidden", "the token does not allow searching this type"));
        }
        let query = parse_form(form);
        let value = |name: &str| query.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str());
        let inner = self.store.lock();
        let found = inner.search(kind, &query);
        let most = value("_count").and_then(|count| count.parse().ok()).unwrap_or(50_usize).min(1_000);
        let most = if value("_summary") == Some("count") { 0 } else { most };
        let entry = |key: &String, mode: &str| {
            let resource = inner.read(key)?;
            Some(
                json!({ "fullUrl": format!("{}/fhir/{key}", self.origin), "resource": resource, "search": { "mode": mode } }),
            )
        };
        let from = value("_offset").and_then(|offset| offset.parse().ok()).unwrap_or(0_usize);
        let page = found.iter().skip(from).take(most);
        let mut entries: Vec<Value> = page.filter_map(|key| entry(key, "match")).collect();
        let wanted: Vec<&str> =
            query.iter().filter(|(name, _)| name == "_include").map(|(_, v)| v.as_str()).collect();
        let mut included: Vec<String> = entries
            .iter()
            .filter_map(|one| one.get("resource"))
            .flat_map(|one| included(one, &wanted))
            .collect();
        included.sort();
        included.dedup();
        entries.extend(included.iter().filter_map(|key| entry(key, "include")));
        let mut bundle =
            json!({ "resourceType": "Bundle", "type": "searchset", "total": found.len(), "entry": entries });
        if most > 0 && from + most < found.len() {
            let kept = form.split('&').filter(|pair| !pair.starts_with("_offset="));
            let next =
                kept.chain([format!("_offset={}", from + most).as_str()]).collect::<Vec<_>>().join("&");
            let link = json!([{ "relation": "next", "url": format!("{}/fhir/{kind}?{next}", self.origin) }]);
            if let Some(fields) = bundle.as_object_mut() {
                fields.insert("link".into(), link);
            }
        }
        Ok(bundle)
    }

    /// SMART App Launch 2.2 §8.2.
    fn discovery(&self) -> Value {
        let spellings: &[&str] =
            if self.config.v1_scopes_only { &[] } else { &["permission-v1", "permission-v2"] };
        let capabilities: Vec<&str> = [&["client-confidential-asymmetric"], spellings].concat();
        json!({
            "issuer": self.origin,
            "token_endpoint": self.authority.endpoint(),
            "grant_types_supported": ["client_credentials"],
            "token_endpoint_auth_methods_supported": ["private_key_jwt"],
            "token_endpoint_auth_signing_alg_values_supported": ["RS384", "ES384"],
            "scopes_supported": ["system/*.cruds"],
            "capabilities": capabilities,
        })
    }

    fn metadata(&self) -> Value {
        let kind = |kind: &&str| {
            let mut entry = json!({ "type": kind, "conditionalCreate": self.config.conditional_create, "conditionalUpdate": true, "versioning": "versioned",
                "interaction": [{ "code": "read" }, { "code": "create" }, { "code": "update" }, { "code": "search-type" }] });
            if let (Some(says), Some(fields)) = (self.config.says_update_create, entry.as_object_mut()) {
                fields.insert("updateCreate".into(), json!(says));
            }
            entry
        };
        let mut does = vec![json!({ "code": "batch" })];
        does.extend(self.config.transactions.then(|| json!({ "code": "transaction" })));
        json!({
            "resourceType": "CapabilityStatement", "status": "active", "date": "2026-01-01", "kind": "instance",
            "fhirVersion": "4.0.1", "format": ["json"], "software": { "name": "Bedside demo server", "version": env!("CARGO_PKG_VERSION") },
            "rest": [{ "mode": "server", "interaction": does,
                "resource": KINDS.iter().map(kind).collect::<Vec<_>>() }],
        })
    }
}

/// The places that `_include=ServiceRequest:…` and `Encounter:…` name.
fn included(resource: &Value, wanted: &[&str]) -> Vec<String> {
    let reference =
        |of: Option<&Value>| of.and_then(|of| of.get("reference")).and_then(Value::as_str).map(str::to_owned);
    let of = |path: &&str| -> Vec<String> {
        match *path {
            "ServiceRequest:specimen" => {
                let places = resource.get("specimen").and_then(Value::as_array).into_iter().flatten();
                places.filter_map(|one| reference(Some(one))).collect()
            }
            "Encounter:location" => {
                let places = resource.get("location").and_then(Value::as_array).into_iter().flatten();
                places.filter_map(|one| reference(one.get("location"))).collect()
            }
            "ServiceRequest:patient" | "Encounter:patient" => {
                reference(resource.get("subject")).into_iter().collect()
            }
            _ => Vec::new(),
        }
    };
    wanted.iter().flat_map(of).collect()
}

/// A single write answers with the status of its entry.
fn status_of(body: &Value) -> u16 {
    let status = body.pointer("/response/status").and_then(Value::as_str).and_then(|status| status.get(..3));
    status.and_then(|digits| digits.parse().ok()).unwrap_or(200)
}

fn fewer_entries(reply: Reply, fewer: usize) -> Reply {
    let Ok(mut bundle) = serde_json::from_slice::<Value>(&reply.body) else { return reply };
    if let Some(entries) = bundle.get_mut("entry").and_then(Value::as_array_mut) {
        entries.truncate(entries.len().saturating_sub(fewer));
    }
    Reply { body: bundle.to_string().into(), ..reply }
}

/// Half of the body, then silence for so long, then a broken connection.
fn half_then_nothing(reply: &Reply, span: Duration) -> Response<Body> {
    let half = reply.body.slice(..reply.body.len() / 2);
    let stream = futures_util::stream::unfold(Some(half), move |state| async move {
        match state {
            Some(half) if !half.is_empty() => Some((Ok(Frame::data(half)), Some(Bytes::new()))),
            Some(_) => {
                tokio::time::sleep(span).await;
                Some((Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset)), None))
            }
            None => None,
        }
    });
    Response::new(StreamBody::new(Box::pin(stream)).boxed_unsync())
}

/// gzip of zeros.
fn bomb(mebibytes: usize) -> Vec<u8> {
    use std::io::Write;
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let block = vec![b' '; 1 << 20];
    for _ in 0..mebibytes {
        if packer.write_all(&block).is_err() {
            break;
        }
    }
    packer.finish().unwrap_or_default()
}

/// `a=b&c=d`, percent-decoded, `+` as a space.
pub(super) fn parse_form(text: &str) -> Vec<(String, String)> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect()
}

fn decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes().iter();
    while let Some(byte) = bytes.next() {
        let rest = bytes.as_slice();
        let hex = rest.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match (byte, hex.and_then(|digits| u8::from_str_radix(digits, 16).ok())) {
            (b'%', Some(value)) => {
                out.push(value);
                bytes.nth(1);
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(*byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_decoded() {
        let form = parse_form("identifier=http%3A%2F%2Fs%7C1+2&x&_count=3&bad=%zz");
        let expected = [("identifier", "http://s|1 2"), ("x", ""), ("_count", "3"), ("bad", "%zz")];
        assert_eq!(form, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn a_bomb_is_small_on_the_wire() {
        assert!(bomb(8).len() < 100_000);
    }
}
