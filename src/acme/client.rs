//! The HTTP side: one directory's server, nothing larger than an answer of ACME is, no redirect, no other address. What the
//! library above would trip over is taken out before it sees it.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use hyper::{Request, Response, Uri};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;

use super::Config;
use crate::clock::Timestamp;
use crate::tls;

/// Longest that one question may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Largest answer; a chain of certificates is the largest there is.
const ANSWER_MAX: usize = 256 << 10;
/// The longest wait a server is heeded for.
const WAIT_MAX: Duration = Duration::from_secs(24 * 3600);

/// Why there is no answer. For a person; the sentence names the server's host and nothing of what was said.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoAnswer {
    #[error("the name {0} could not be found")]
    Name(String),
    #[error("no connection to {0}: {1}")]
    Connect(String, String),
    #[error("{0}")]
    Trust(String),
    #[error("{0} gave no complete answer in time")]
    Slow(String),
    #[error("the connection to {0} broke")]
    Lost(String),
    #[error("the answer of {0} is larger than any of ACME")]
    Large(String),
    #[error("{0} answered with status {1}, not as an ACME server does")]
    Status(String, u16),
    #[error("{0} sends this box to another address")]
    Elsewhere(String),
    #[error("what {0} calls its directory is none of ACME (RFC 8555 §7.1.1)")]
    NoDirectory(String),
}

/// Scheme, host and port of an `https://` address; `None` for any other.
pub(super) fn origin_of(url: &str) -> Option<(String, u16)> {
    let uri: Uri = url.parse().ok()?;
    let authority = uri.authority()?;
    let plain = uri.scheme_str() == Some("https") && !authority.as_str().contains('@');
    (plain && !authority.host().is_empty())
        .then(|| (authority.host().to_lowercase(), authority.port_u16().unwrap_or(443)))
}

/// The authorities that may certify the directory's server.
pub(super) fn trust(config: &Config) -> Result<rustls::ClientConfig, String> {
    let Some(pem) = &config.ca_pem else {
        let settings = tls::Settings { ca_file: config.ca_file.clone(), ..tls::Settings::default() };
        return settings.client().map(|client| (*client).clone());
    };
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|_| "ca_pem: a certificate in it is not in PEM".to_owned())?;
        roots.add(certificate).map_err(|fault| format!("ca_pem: {fault}"))?;
    }
    if roots.is_empty() {
        return Err("ca_pem holds no certificate: it begins with -----BEGIN CERTIFICATE-----".into());
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|fault| fault.to_string())?;
    Ok(client.with_root_certificates(roots).with_no_client_auth())
}

/// What was heard besides the answers.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard(Arc<Mutex<Option<Duration>>>);

impl Heard {
    /// How long the server asked to wait in its last answer (RFC 8555 §6.6, §7.5.1).
    pub(super) fn wait(&self) -> Option<Duration> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The way to one directory.
#[derive(Clone)]
pub(super) struct Http {
    client: reqwest::Client,
    directory: String,
    origin: (String, u16),
    now: Timestamp,
    heard: Heard,
}

impl Http {
    pub(super) fn new(config: &Config, now: Timestamp) -> Result<(Self, Heard), String> {
        let mut trust = trust(config)?;
        trust.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(trust)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .user_agent(concat!("bedside/", env!("CARGO_PKG_VERSION")))
            .timeout(PATIENCE)
            .build()
            .map_err(|fault| fault.to_string())?;
        let origin = origin_of(&config.directory).ok_or("directory is no https:// address")?;
        let heard = Heard::default();
        Ok((Self { client, directory: config.directory.clone(), origin, now, heard: heard.clone() }, heard))
    }

    fn host(&self) -> String {
        format!("{}:{}", self.origin.0, self.origin.1)
    }

    async fn exchange(self, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, NoAnswer> {
        let host = self.host();
        let (parts, body) = request.into_parts();
        let url = parts.uri.to_string();
        // A signed question is for the server that was configured, whatever address an answer names.
        if origin_of(&url).as_ref() != Some(&self.origin) {
            return Err(NoAnswer::Elsewhere(host));
        }
        // It cannot fail: the body is bytes in memory.
        let body = body.collect().await.map(|whole| whole.to_bytes()).unwrap_or_default();
        let mut draft = self.client.request(parts.method, &url).body(body);
        if let Some(kind) = parts.headers.get(CONTENT_TYPE) {
            draft = draft.header(CONTENT_TYPE, kind);
        }
        let mut answer = draft.send().await.map_err(|fault| no_answer(&fault, &host))?;
        let mut whole = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(|fault| no_answer(&fault, &host))? {
            if whole.len() + piece.len() > ANSWER_MAX {
                return Err(NoAnswer::Large(host));
            }
            whole.extend_from_slice(&piece);
        }
        let status = answer.status().as_u16();
        let wait = wait_of(answer.headers(), self.now);
        *self.heard.0.lock().unwrap_or_else(PoisonError::into_inner) = wait;
        fit(&host, status, answer.headers(), &whole)?;
        if url == self.directory {
            directory(&whole, &self.origin).ok_or_else(|| NoAnswer::NoDirectory(host.clone()))?;
        }
        let mut given = Response::new(Full::new(Bytes::from(whole)));
        *given.status_mut() = answer.status();
        *given.headers_mut() = answer.headers().clone();
        // The library adds whatever stands here to the time of day, and a sum too large ends it.
        given.headers_mut().remove(RETRY_AFTER);
        Ok(BytesResponse::from(given))
    }
}

impl HttpClient for Http {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let own = self.clone();
        Box::pin(async move { own.exchange(request).await.map_err(|fault| Error::Other(Box::new(fault))) })
    }
}

/// Whether an answer is one of ACME: faults are problem documents (RFC 7807), and nobody is sent on.
fn fit(host: &str, status: u16, headers: &HeaderMap, body: &[u8]) -> Result<(), NoAnswer> {
    if (300..400).contains(&status) {
        return Err(NoAnswer::Elsewhere(host.into()));
    }
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let told = kind.contains("json") && serde_json::from_slice::<Value>(body).is_ok_and(|it| it.is_object());
    if status >= 400 && !told {
        return Err(NoAnswer::Status(host.into(), status));
    }
    Ok(())
}

/// Whether each address that is needed stands in a directory, at the same server.
fn directory(body: &[u8], origin: &(String, u16)) -> Option<()> {
    let directory: Value = serde_json::from_slice(body).ok()?;
    for name in ["newNonce", "newAccount", "newOrder"] {
        let url = directory.get(name)?.as_str()?;
        (origin_of(url)? == *origin).then_some(())?;
    }
    Some(())
}

fn wait_of(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let parser = jiff::fmt::rfc2822::DateTimeParser::new().relaxed_weekday(true);
            let until = parser.parse_timestamp(text).ok()?.as_second();
            Duration::from_secs(u64::try_from(until.saturating_sub(now.micros / 1_000_000)).unwrap_or(0))
        }
    };
    Some(wait.min(WAIT_MAX))
}

fn no_answer(fault: &reqwest::Error, host: &str) -> NoAnswer {
    use std::error::Error as _;
    let mut cause = fault.source();
    let mut last = None;
    while let Some(inner) = cause {
        let mut found = inner.downcast_ref::<rustls::Error>();
        // An io::Error hides what it wraps from source(), and may wrap another one.
        let mut wrapped = inner.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        while let Some(within) = wrapped {
            found = found.or_else(|| within.downcast_ref());
            wrapped = within.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        }
        if let Some(fault) = found {
            let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
            let words = tls::Words { other: "the ACME server", plain: "no https" };
            return NoAnswer::Trust(tls::explain(&std::io::Error::other(fault.clone()), name, words));
        }
        last = Some(inner.to_string());
        cause = inner.source();
    }
    let host = host.to_owned();
    match fault {
        fault if fault.is_dns() => NoAnswer::Name(host),
        fault if fault.is_timeout() => NoAnswer::Slow(host),
        fault if fault.is_connect() => NoAnswer::Connect(host, last.unwrap_or_default()),
        _ => NoAnswer::Lost(host),
    }
}

/// For the fuzzing rig.
pub(super) fn fuzz(bytes: &[u8]) {
    let origin = ("ca".to_owned(), 443);
    if directory(bytes, &origin).is_some() {
        assert!(serde_json::from_slice::<Value>(bytes).is_ok());
    }
    let text = String::from_utf8_lossy(bytes);
    origin_of(&text);
    let mut headers = HeaderMap::new();
    if let Ok(value) = hyper::header::HeaderValue::from_bytes(bytes) {
        headers.insert(RETRY_AFTER, value);
        let wait = wait_of(&headers, Timestamp::from_micros(0, true));
        assert!(wait.is_none_or(|wait| wait <= WAIT_MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: hyper::header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn a_directory_names_addresses_of_its_own_server_only() {
        let origin = ("ca.example".to_owned(), 443);
        let of = |nonce: &str| {
            let urls = serde_json::json!({ "newNonce": nonce, "newAccount": "https://ca.example/a",
                "newOrder": "https://CA.example:443/o", "meta": {} });
            directory(urls.to_string().as_bytes(), &origin)
        };
        assert!(of("https://ca.example/n").is_some());
        for other in
            ["http://ca.example/n", "https://ca.example:8443/n", "https://other/n", "\u{0}", "", "/n"]
        {
            assert!(of(other).is_none(), "{other}");
        }
        for body in ["", "[]", "{}", "<html>"] {
            assert!(directory(body.as_bytes(), &origin).is_none());
        }
    }

    #[test]
    fn a_wait_without_end_is_a_day() {
        let now = Timestamp::from_micros(784_111_777_000_000, true);
        let of = |text: &str| wait_of(&headers(RETRY_AFTER, text), now);
        assert_eq!(of("120"), Some(Duration::from_secs(120)));
        assert_eq!(of("18446744073709551615"), Some(WAIT_MAX));
        assert_eq!(of("Sun, 06 Nov 1994 08:50:07 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(of("Fri, 31 Dec 9000 23:59:59 GMT"), Some(WAIT_MAX));
        assert_eq!(of("soon"), None);
        fuzz(b"18446744073709551615");
    }

    #[test]
    fn what_is_no_answer_of_acme_is_told_by_its_status() {
        let problem = headers(CONTENT_TYPE, "application/problem+json");
        assert_eq!(fit("ca", 400, &problem, b"{\"type\":\"x\"}"), Ok(()));
        assert_eq!(fit("ca", 200, &HeaderMap::new(), b"-----BEGIN"), Ok(()));
        assert_eq!(
            fit("ca", 502, &headers(CONTENT_TYPE, "text/html"), b"<p>"),
            Err(NoAnswer::Status("ca".into(), 502))
        );
        assert_eq!(fit("ca", 500, &problem, b"oops"), Err(NoAnswer::Status("ca".into(), 500)));
        assert_eq!(fit("ca", 302, &HeaderMap::new(), b""), Err(NoAnswer::Elsewhere("ca".into())));
    }

    #[test]
    fn authorities_that_are_none_are_refused() {
        let text = "directory = \"https://ca/d\"\nhosts = [\"a\"]\nterms_agreed = true\n";
        let mut config: Config = toml::from_str(text).unwrap();
        assert!(trust(&config).is_ok());
        config.ca_pem = Some("hello".into());
        assert!(trust(&config).unwrap_err().contains("no certificate"));
        config.ca_pem = None;
        config.ca_file = Some("/nowhere/ca.pem".into());
        assert!(trust(&config).unwrap_err().contains("/nowhere/ca.pem"));
    }
}
