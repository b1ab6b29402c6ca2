//! One HTTP client towards one server: bounded, without redirects, and with faults told in words.
//!
//! Redirects are never followed: a bearer token or a result must not reach an address nobody wrote down.

use std::error::Error as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Client, Method, Url};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::UpstreamError;
use super::config::Config;
use crate::secret::Secret;

/// FHIR R4 §3.1.0.1.1: the JSON media type.
pub(super) const FHIR_JSON: &str = "application/fhir+json";
const FORM: &str = "application/x-www-form-urlencoded";
/// RFC 9110 §10.2.3 sets no ceiling; an hour is as long as a person should wait for the next try.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// The client.
#[derive(Debug)]
pub(super) struct Http {
    client: Client,
    limit_bytes: usize,
    timeout: Duration,
    /// Bytes of bodies sent since the start, as they crossed the line.
    sent: AtomicU64,
}

/// One request; `bearer` goes only where the caller has checked the origin.
pub(super) struct Request<'a> {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) bearer: Option<&'a Secret>,
    pub(super) body: Body,
}

/// What a request carries.
pub(super) enum Body {
    None,
    /// FHIR JSON; `true`: already gzip.
    Fhir(Bytes, bool),
    /// Any other JSON.
    Json(Bytes),
    /// A form, as the token endpoint and `_search` take it.
    Form(String),
}

/// A complete answer, whatever its status.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) html: bool,
    pub(super) retry_after: Option<Duration>,
    /// Seconds since the epoch by the server's clock.
    pub(super) date: Option<i64>,
    /// The other address a redirect names; only its origin, for a person.
    pub(super) redirect: Option<String>,
    pub(super) body: Vec<u8>,
}

/// Why there is no complete answer. The text is for a person and holds no address path and no content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error(
        "the name {0} could not be found (DNS): check the address, the cable and the name server of this box"
    )]
    Name(String),
    #[error("no connection to {host}: {why}")]
    Connect { host: String, why: String },
    #[error("the connection to {host} is not trusted: {why}")]
    Tls { host: String, why: String },
    #[error("{host} gave no complete answer within {seconds} s")]
    TimedOut { host: String, seconds: u64 },
    #[error("the connection to {host} broke before the answer was complete")]
    Lost { host: String },
    #[error("the answer of {host} is larger than {limit} bytes")]
    TooLarge { host: String, limit: usize },
    #[error("the request could not be made: {0}")]
    Unsendable(String),
}

impl Fault {
    /// Whether the server may have acted on the request.
    pub(super) fn may_have_arrived(&self) -> bool {
        matches!(self, Self::TimedOut { .. } | Self::Lost { .. } | Self::TooLarge { .. })
    }
}

impl Http {
    pub(super) fn new(config: &Config) -> Result<Self, UpstreamError> {
        let client = Client::builder()
            .tls_backend_preconfigured(tls(config.ca_file.as_deref())?)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .user_agent(concat!("bedside/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(10).min(config.timeout()))
            .tcp_keepalive(Duration::from_secs(30))
            .pool_idle_timeout(Duration::from_secs(30))
            .build()
            .map_err(|fault| UpstreamError::Client(words(&fault)))?;
        Ok(Self {
            client,
            limit_bytes: config.max_answer_bytes,
            timeout: config.timeout(),
            sent: AtomicU64::new(0),
        })
    }

    pub(super) fn bytes_sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Sends one request and reads its whole answer. `now` (seconds since the epoch) serves HTTP dates when the
    /// server sends no Date of its own.
    pub(super) async fn send(&self, request: Request<'_>, now: i64) -> Result<Answer, Fault> {
        let host = host(&request.url);
        match tokio::time::timeout(self.timeout, self.exchange(request, &host, now)).await {
            Ok(answer) => answer,
            Err(_) => Err(Fault::TimedOut { host, seconds: self.timeout.as_secs() }),
        }
    }

    async fn exchange(&self, request: Request<'_>, host: &str, now: i64) -> Result<Answer, Fault> {
        let mut draft = self.client.request(request.method, request.url).header("accept", FHIR_JSON);
        if let Some(token) = request.bearer {
            let text = token.expose_text().map_err(|fault| Fault::Unsendable(fault.to_string()))?;
            let value = HeaderValue::from_str(&format!("Bearer {text}"));
            let mut value =
                value.map_err(|_| Fault::Unsendable("the token holds characters no header may".into()))?;
            value.set_sensitive(true);
            draft = draft.header(AUTHORIZATION, value);
        }
        draft = match request.body {
            Body::None => draft,
            Body::Form(form) => {
                self.sent.fetch_add(form.len() as u64, Ordering::Relaxed);
                draft.header(CONTENT_TYPE, FORM).body(form)
            }
            Body::Json(json) => draft.header(CONTENT_TYPE, "application/json").body(json),
            Body::Fhir(json, gzipped) => {
                self.sent.fetch_add(json.len() as u64, Ordering::Relaxed);
                let draft =
                    draft.header(CONTENT_TYPE, FHIR_JSON).header("prefer", "return=minimal").body(json);
                if gzipped { draft.header("content-encoding", "gzip") } else { draft }
            }
        };
        let mut response = draft.send().await.map_err(|fault| self.fault(&fault, host))?;
        let mut answer = head(response.status().as_u16(), response.headers(), now);
        while let Some(chunk) = response.chunk().await.map_err(|fault| self.fault(&fault, host))? {
            if answer.body.len() + chunk.len() > self.limit_bytes {
                return Err(Fault::TooLarge { host: host.into(), limit: self.limit_bytes });
            }
            answer.body.extend_from_slice(&chunk);
        }
        Ok(answer)
    }

    fn fault(&self, fault: &reqwest::Error, host: &str) -> Fault {
        let host = host.to_owned();
        if let Some(tls) = tls_fault(fault) {
            return Fault::Tls { host, why: tls_words(tls) };
        }
        if fault.is_dns() {
            return Fault::Name(host);
        }
        if fault.is_connect() {
            return Fault::Connect { host, why: words(fault) };
        }
        if fault.is_builder() {
            return Fault::Unsendable(words(fault));
        }
        if fault.is_timeout() {
            return Fault::TimedOut { host, seconds: self.timeout.as_secs() };
        }
        Fault::Lost { host }
    }
}

fn head(status: u16, headers: &HeaderMap, now: i64) -> Answer {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let date = text(DATE).and_then(http_date);
    Answer {
        status,
        html: text(CONTENT_TYPE)
            .is_some_and(|kind| kind.trim_start().to_ascii_lowercase().starts_with("text/html")),
        retry_after: text(RETRY_AFTER).and_then(|wait| retry_after(wait, date.unwrap_or(now))),
        date,
        redirect: text(LOCATION).filter(|_| (300..400).contains(&status)).map(origin_text),
        body: Vec::new(),
    }
}

/// Retry-After (RFC 9110 §10.2.3): seconds, or an HTTP date compared with `now`.
pub(super) fn retry_after(text: &str, now: i64) -> Option<Duration> {
    let text = text.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => Duration::from_secs(u64::try_from(http_date(text)?.saturating_sub(now)).unwrap_or(0)),
    };
    Some(wait.min(LONGEST_RETRY_AFTER))
}

/// An HTTP date (RFC 9110 §5.6.7, IMF-fixdate) in seconds since the epoch.
fn http_date(text: &str) -> Option<i64> {
    let parser = jiff::fmt::rfc2822::DateTimeParser::new().relaxed_weekday(true);
    parser.parse_timestamp(text.trim()).ok().map(|at| at.as_second())
}

fn origin_text(location: &str) -> String {
    match Url::parse(location) {
        Ok(url) => url.origin().ascii_serialization(),
        Err(_) => String::from("another path of the same server"),
    }
}

/// Host and port, the only parts of an address that faults name.
pub(super) fn host(url: &Url) -> String {
    match (url.host_str(), url.port_or_known_default()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.into(),
        _ => String::from("the server"),
    }
}

/// TLS 1.2 or 1.3 with AEAD suites (the defaults of rustls) on aws-lc-rs.
fn tls(ca_file: Option<&Path>) -> Result<rustls::ClientConfig, UpstreamError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|fault| UpstreamError::Client(fault.to_string()))?
        .with_root_certificates(roots(ca_file)?)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// The clinic's own authorities when a file is written, and only those; else the system's and Mozilla's.
fn roots(ca_file: Option<&Path>) -> Result<rustls::RootCertStore, UpstreamError> {
    let mut roots = rustls::RootCertStore::empty();
    let Some(path) = ca_file else {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(roots);
    };
    let unusable = |why: String| UpstreamError::CaFile { path: path.into(), why };
    let certificates = CertificateDer::pem_file_iter(path).map_err(|fault| unusable(fault.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|fault| unusable(fault.to_string()))?;
        roots.add(certificate).map_err(|fault| unusable(fault.to_string()))?;
    }
    if roots.is_empty() { Err(unusable("it holds no certificate in PEM form".into())) } else { Ok(roots) }
}

fn tls_fault(fault: &reqwest::Error) -> Option<&rustls::Error> {
    let mut cause = fault.source();
    while let Some(inner) = cause {
        if let Some(tls) = inner.downcast_ref::<rustls::Error>() {
            return Some(tls);
        }
        // An io::Error hides what it wraps from source(), and may wrap another one.
        let mut wrapped = inner.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        while let Some(within) = wrapped {
            if let Some(tls) = within.downcast_ref::<rustls::Error>() {
                return Some(tls);
            }
            wrapped = within.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        }
        cause = inner.source();
    }
    None
}

fn tls_words(fault: &rustls::Error) -> String {
    use rustls::{CertificateError as Certificate, Error};
    let Error::InvalidCertificate(certificate) = fault else {
        return format!("{fault}; the server must speak TLS 1.2 or 1.3");
    };
    match certificate {
        Certificate::UnknownIssuer => {
            "its certificate was issued by an authority this box does not know: if it is the clinic's own, name its \
             certificate in ca_file"
        }
        Certificate::Expired | Certificate::ExpiredContext { .. } => {
            "its certificate has expired, or the clock of this box is ahead"
        }
        Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => {
            "its certificate is not valid yet: the clock of this box is probably behind"
        }
        Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => {
            "its certificate is for another name: use the address that the certificate was issued for"
        }
        Certificate::Revoked => "its certificate was revoked",
        other => return format!("its certificate was refused ({other})"),
    }
    .to_owned()
}

/// The last cause in the chain, without the address (it may hold an identifier).
fn words(fault: &reqwest::Error) -> String {
    let mut cause = fault.source();
    let mut text = None;
    while let Some(inner) = cause {
        text = Some(inner.to_string());
        cause = inner.source();
    }
    text.unwrap_or_else(|| String::from("unknown reason"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_as_seconds_and_as_a_date() {
        let noon = http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        assert_eq!(noon, 784_111_777);
        assert_eq!(retry_after("120", noon), Some(Duration::from_secs(120)));
        assert_eq!(retry_after(" Sun, 06 Nov 1994 08:50:07 GMT ", noon), Some(Duration::from_secs(30)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:00:00 GMT", noon), Some(Duration::ZERO));
        assert_eq!(retry_after("99999999", noon), Some(LONGEST_RETRY_AFTER));
        assert_eq!(retry_after("soon", noon), None);
        assert_eq!(retry_after("-5", noon), None);
    }

    #[test]
    fn an_authority_file_without_certificates_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        std::fs::write(&path, "nothing").unwrap();
        let fault = roots(Some(&path)).unwrap_err().to_string();
        assert!(fault.contains("ca.pem") && fault.contains("no certificate"), "{fault}");
    }

    #[test]
    fn without_an_authority_file_the_public_authorities_are_trusted() {
        assert!(roots(None).unwrap().len() > 50);
    }

    #[test]
    fn only_an_answer_that_may_have_been_acted_on_is_in_doubt() {
        assert!(Fault::Lost { host: "h".into() }.may_have_arrived());
        assert!(!Fault::Name("h".into()).may_have_arrived());
        assert!(!Fault::Connect { host: "h".into(), why: "refused".into() }.may_have_arrived());
    }
}
