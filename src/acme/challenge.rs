//! What this box shows while an authority looks whether a name is its own: a certificate made for it (RFC 8737 §3) on the
//! desk's own port, or a text on a port that is open meanwhile (RFC 8555 §8.3).

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::CertifiedKey;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::{Config, Fault};

/// ALPN of tls-alpn-01 (RFC 8737 §6.2).
pub const ALPN: &[u8] = b"acme-tls/1";
/// Where http-01 is asked (RFC 8555 §8.3).
const PATH: &str = "/.well-known/acme-challenge/";
/// Connections to the port of http-01 at once, and how long one may last.
const CONNECTIONS_MAX: usize = 32;
const CONNECTION_LIFE: Duration = Duration::from_secs(10);
/// Longest token and key authorization that is believed of a server; both are some dozens of characters.
const TOKEN_MAX: usize = 512;

/// What is shown at the moment; empty but for the minutes of an order.
#[derive(Default)]
pub struct Board {
    certificates: RwLock<HashMap<String, Arc<CertifiedKey>>>,
    texts: RwLock<HashMap<String, String>>,
}

impl std::fmt::Debug for Board {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Board")
    }
}

impl Board {
    /// For a handshake that speaks [`ALPN`] and nothing else, under the name it asks for.
    pub fn certificate(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let certificates = self.certificates.read().unwrap_or_else(PoisonError::into_inner);
        certificates.get(&name?.to_ascii_lowercase()).cloned()
    }

    pub(super) fn show_certificate(&self, host: &str, digest: &[u8]) -> Result<(), Fault> {
        let made = certificate(host, digest).map_err(|fault| {
            let what = format!("the certificate for tls-alpn-01 could not be made: {fault}");
            Fault::new(what, "Check the names.")
        })?;
        let mut all = self.certificates.write().unwrap_or_else(PoisonError::into_inner);
        all.insert(server_name(host), Arc::new(made));
        Ok(())
    }

    pub(super) fn show_text(&self, token: &str, text: &str) -> Result<(), Fault> {
        let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
        if token.is_empty() || text.len() > TOKEN_MAX || !text.bytes().all(plain) {
            let next = "Ask whoever runs the ACME server to look at its log.";
            return Err(Fault::new("the ACME server gave a token that is none (RFC 8555 §8)", next));
        }
        self.texts.write().unwrap_or_else(PoisonError::into_inner).insert(token.into(), text.into());
        Ok(())
    }

    pub(super) fn clear(&self) {
        self.certificates.write().unwrap_or_else(PoisonError::into_inner).clear();
        self.texts.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn text(&self, path: &str) -> Option<String> {
        let token = path.strip_prefix(PATH)?;
        self.texts.read().unwrap_or_else(PoisonError::into_inner).get(token).cloned()
    }
}

/// The name a handshake asks for: of an address its reverse name (RFC 8738 §6).
fn server_name(host: &str) -> String {
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(v4)) => {
            let [a, b, c, d] = v4.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        Ok(IpAddr::V6(v6)) => {
            let nibbles =
                v6.octets().into_iter().rev().map(|byte| format!("{:x}.{:x}.", byte & 15, byte >> 4));
            format!("{}ip6.arpa", nibbles.collect::<String>())
        }
        Err(_) => host.to_ascii_lowercase(),
    }
}

fn certificate(host: &str, digest: &[u8]) -> Result<CertifiedKey, String> {
    if digest.len() != 32 {
        return Err("the digest is none of SHA-256".into());
    }
    let mut params = CertificateParams::new(vec![host.to_owned()]).map_err(|fault| fault.to_string())?;
    params.distinguished_name = DistinguishedName::new();
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let key = KeyPair::generate().map_err(|fault| fault.to_string())?;
    let made = params.self_signed(&key).map_err(|fault| fault.to_string())?;
    let der = PrivateKeyDer::try_from(key.serialize_der()).map_err(str::to_owned)?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let key = provider.key_provider.load_private_key(der).map_err(|fault| fault.to_string())?;
    // Not checked against each other: the extension is critical, and rustls does not know it.
    Ok(CertifiedKey::new(vec![made.der().clone()], key))
}

/// The open port of http-01; closed when dropped.
pub(super) struct Listening(JoinHandle<()>);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Opens the port that http-01 is answered on.
pub(super) async fn listen(config: &Config, board: Arc<Board>) -> Result<Listening, Fault> {
    let address = config.http_listen;
    let listener = TcpListener::bind(address).await.map_err(|fault| unopened(address, &fault))?;
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    Ok(Listening(tokio::spawn(async move {
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            };
            let board = board.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let answer = answer(&board, &request);
                    async move { Ok::<_, Infallible>(answer) }
                });
                let serving = hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(CONNECTION_LIFE / 2)
                    .max_buf_size(16 << 10)
                    .keep_alive(false)
                    .serve_connection(TokioIo::new(stream), service);
                // Whoever is slow or odd is let go; the authority asks again.
                tokio::time::timeout(CONNECTION_LIFE, serving).await.ok();
                drop(place);
            });
        }
    })))
}

fn unopened(address: SocketAddr, fault: &std::io::Error) -> Fault {
    let what = format!("{address} cannot be opened for http-01: {fault}");
    match fault.kind() {
        std::io::ErrorKind::PermissionDenied => Fault::new(
            what,
            "Ports below 1024 want a right: give the service CAP_NET_BIND_SERVICE, or forward the port to a higher one.",
        ),
        std::io::ErrorKind::AddrInUse => Fault::new(
            what,
            "Another program has this port: end it, or set http_listen to another and forward it.",
        ),
        _ => Fault::new(what, "Set http_listen to an address of this box."),
    }
}

fn answer<B>(board: &Board, request: &Request<B>) -> Response<Full<Bytes>> {
    let text = (request.method() == Method::GET).then(|| board.text(request.uri().path())).flatten();
    let mut answer = Response::new(Full::new(Bytes::from(text.clone().unwrap_or_default())));
    match text {
        Some(_) => {
            let kind = hyper::header::HeaderValue::from_static("application/octet-stream");
            answer.headers_mut().insert(hyper::header::CONTENT_TYPE, kind);
        }
        None => *answer.status_mut() = StatusCode::NOT_FOUND,
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_asked_for_by_its_reverse_name() {
        assert_eq!(server_name("10.0.3.7"), "7.3.0.10.in-addr.arpa");
        assert_eq!(
            server_name("2001:db8::7"),
            "7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"
        );
        assert_eq!(server_name("Desk.clinic"), "desk.clinic");
    }

    #[test]
    fn what_is_shown_is_shown_under_its_name_and_gone_afterwards() {
        let board = Board::default();
        board.show_certificate("desk.clinic", &[7; 32]).unwrap();
        assert!(board.certificate(Some("DESK.clinic")).is_some());
        assert!(board.certificate(Some("other")).is_none() && board.certificate(None).is_none());
        assert!(board.show_certificate("desk.clinic", &[7; 31]).is_err());
        board.show_text("tok-1", "tok-1.thumb").unwrap();
        let of = |method: Method, path: &str| {
            let request = Request::builder().method(method).uri(path).body(()).unwrap();
            answer(&board, &request).status().as_u16()
        };
        assert_eq!(of(Method::GET, "/.well-known/acme-challenge/tok-1"), 200);
        for (method, path) in [
            (Method::POST, "/.well-known/acme-challenge/tok-1"),
            (Method::GET, "/.well-known/acme-challenge/tok-2"),
            (Method::GET, "/.well-known/acme-challenge/"),
            (Method::GET, "/"),
        ] {
            assert_eq!(of(method, path), 404, "{path}");
        }
        for (token, text) in [("", ""), ("a", "a\r\nb"), ("a", "<script>"), ("a", &"a".repeat(600))] {
            assert!(board.show_text(token, text).is_err(), "{text}");
        }
        board.clear();
        assert!(board.certificate(Some("desk.clinic")).is_none());
        assert_eq!(board.text("/.well-known/acme-challenge/tok-1"), None);
    }

    #[test]
    fn a_port_that_cannot_be_opened_says_what_to_do() {
        let of = |kind| unopened(([0, 0, 0, 0], 80).into(), &std::io::Error::from(kind)).next;
        assert!(of(std::io::ErrorKind::PermissionDenied).contains("CAP_NET_BIND_SERVICE"));
        assert!(of(std::io::ErrorKind::AddrInUse).contains("Another program"));
        assert!(of(std::io::ErrorKind::AddrNotAvailable).contains("http_listen"));
    }
}
