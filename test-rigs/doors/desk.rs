//! The desk as a script uses it: HTTPS, the first account made with the code from the console, one session.
#![allow(dead_code, reason = "each rig uses its part of this module")]

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bedside::access;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{self, CryptoProvider};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

pub(crate) const USER: &str = "anna";

/// What the desk answered.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) text: String,
    cookie: Option<String>,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {} {}", self.status, self.text))
    }
}

/// Someone at the desk, logged in.
pub(crate) struct Desk {
    port: u16,
    tls: Arc<ClientConfig>,
    cookie: OnceLock<String>,
}

impl Desk {
    /// Connects to the certificate whose fingerprint the console told.
    pub(crate) fn new(port: u16, fingerprint: &str) -> Self {
        let provider = Arc::new(crypto::aws_lc_rs::default_provider());
        let pin = Pin { fingerprint: fingerprint.into(), provider: provider.clone() };
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(pin))
            .with_no_client_auth();
        Self { port, tls: Arc::new(tls), cookie: OnceLock::new() }
    }

    /// Makes the first account; the session is this desk's from then on.
    pub(crate) async fn set_up(&self, code: &str, password: &str) {
        let form = json!({ "code": code, "username": USER, "password": password });
        let reply = self.post("/api/v1/setup", &form.to_string()).await;
        assert_eq!(reply.status, 200, "set-up: {}", reply.text);
        self.cookie.set(reply.cookie.unwrap()).unwrap();
    }

    /// The token of the session.
    pub(crate) fn session(&self) -> Option<&str> {
        self.cookie.get().and_then(|cookie| cookie.split('=').nth(1))
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> Reply {
        self.ask("POST", path, body).await
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> Reply {
        tokio::time::timeout(Duration::from_secs(20), self.asked(method, path, body)).await.unwrap().unwrap()
    }

    /// The status of a page, if the desk answers: one desk may be making room for another.
    pub(crate) async fn status(&self, path: &str) -> Option<u16> {
        let asked = tokio::time::timeout(Duration::from_secs(20), self.asked("GET", path, ""));
        Some(asked.await.ok()?.ok()?.status)
    }

    async fn asked(
        &self,
        method: &str,
        path: &str,
        body: &str,
    ) -> Result<Reply, Box<dyn std::error::Error + Send + Sync>> {
        let host = format!("localhost:{}", self.port);
        let tcp = TcpStream::connect(("127.0.0.1", self.port)).await?;
        let name = ServerName::try_from("localhost")?;
        let tls = TlsConnector::from(self.tls.clone()).connect(name, tcp).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(tls)).await?;
        let driver = tokio::spawn(connection);
        let mut request = hyper::Request::builder()
            .method(method)
            .uri(path)
            .header("host", &host)
            .header("origin", format!("https://{host}"))
            .header("x-bedside-csrf", "1")
            .header("content-type", "application/json");
        if let Some(cookie) = self.cookie.get() {
            request = request.header("cookie", cookie);
        }
        let request = request.body(Full::new(Bytes::from(body.to_owned())))?;
        let answer = sender.send_request(request).await?;
        let status = answer.status().as_u16();
        let cookie = answer
            .headers()
            .get("set-cookie")
            .map(|value| value.to_str().unwrap().split(';').next().unwrap().to_owned());
        let body = answer.into_body().collect().await?.to_bytes();
        driver.abort();
        Ok(Reply { status, text: String::from_utf8(body.to_vec())?, cookie })
    }
}

/// Trusts the one certificate a person compared on the console.
#[derive(Debug)]
struct Pin {
    fingerprint: String,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pin {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match access::fingerprint(end_entity) == self.fingerprint {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(rustls::Error::General("not the certificate of the console".into())),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        crypto::verify_tls12_signature(
            message,
            cert,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        crypto::verify_tls13_signature(
            message,
            cert,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
