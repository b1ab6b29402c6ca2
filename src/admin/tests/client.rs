//! A browser reduced to what the tests need: TLS that trusts one certificate, HTTP/1.1 written by hand so that
//! odd requests can be made, and one cookie.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::described;
use crate::admin::guard::{COOKIE_NAME, CSRF_HEADER};

pub(super) type Connection = TlsStream<TcpStream>;

#[derive(Clone)]
pub(super) struct Client {
    address: SocketAddr,
    tls: Arc<rustls::ClientConfig>,
    /// The session's token.
    pub(super) token: Option<String>,
}

#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    headers: Vec<(String, String)>,
    pub(super) body: String,
}

impl Reply {
    pub(super) fn of(status: u16, media: &str, body: &str) -> Self {
        Self { status, headers: vec![("content-type".into(), media.into())], body: body.into() }
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// Every header of this name.
    pub(super) fn headers(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(own, _)| own == name).map(|(_, value)| value.as_str()).collect()
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.body))
    }

    /// The `code` of a problem.
    pub(super) fn code(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        self.json()["code"].as_str().unwrap().into()
    }
}

impl Client {
    pub(super) fn new(address: SocketAddr, certificate: CertificateDer<'static>) -> Self {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { address, tls: Arc::new(tls), token: None }
    }

    pub(super) fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.into()), ..self.clone() }
    }

    /// Another browser: nobody yet.
    pub(super) fn fresh(&self) -> Self {
        Self { token: None, ..self.clone() }
    }

    /// The `Host` of this desk.
    pub(super) fn host(&self) -> String {
        format!("localhost:{}", self.address.port())
    }

    /// A TLS connection that offers these protocols.
    pub(super) async fn connect(&self, alpn: &[&[u8]]) -> Connection {
        let mut tls = self.tls.as_ref().clone();
        tls.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        let stream = TcpStream::connect(self.address).await.unwrap();
        TlsConnector::from(Arc::new(tls)).connect("localhost".try_into().unwrap(), stream).await.unwrap()
    }

    pub(super) async fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, &[], "").await
    }

    /// A change as our own pages make it.
    pub(super) async fn post(&self, path: &str, body: &str) -> Reply {
        let origin = format!("https://{}", self.host());
        self.ask("POST", path, &[(CSRF_HEADER, "1"), ("Origin", &origin)], body).await
    }

    /// A request with these headers and nothing of its own but `Host`, the cookie and the length.
    pub(super) async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let mut connection = self.connect(&[b"http/1.1"]).await;
        let request = self.request(method, path, headers, body);
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        // A server that closes early may do so without TLS's own goodbye.
        connection.read_to_end(&mut bytes).await.ok();
        let reply = parsed(&bytes);
        described::hold(method, path, &reply);
        reply
    }

    pub(super) fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> String {
        let mut request =
            format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.host());
        if let Some(token) = &self.token {
            request.push_str(&format!("Cookie: {COOKIE_NAME}={token}\r\n"));
        }
        if !body.is_empty() {
            request
                .push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()));
        }
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request + "\r\n" + body
    }
}

pub(super) fn parsed(bytes: &[u8]) -> Reply {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_string()))
        .collect();
    Reply { status: status.unwrap_or(0), headers, body: body.to_string() }
}

/// The token in a `Set-Cookie`.
pub(super) fn token_of(reply: &Reply) -> String {
    let cookie = reply.header("set-cookie").unwrap();
    assert!(cookie.ends_with("; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=43200"), "{cookie}");
    let value = cookie.split(';').next().unwrap();
    value.strip_prefix(&format!("{COOKIE_NAME}=")).unwrap().to_string()
}
