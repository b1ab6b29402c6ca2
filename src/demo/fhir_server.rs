//! A small FHIR R4 server with SMART Backend Services, for the demo and for every rig that needs an upstream.
//!
//! It listens on loopback only, keeps everything in memory up to a limit, validates what it is given strictly enough
//! to refuse, and can be told to misbehave ([`Faults`]). What it holds can be looked at through [`Store`].

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::clock::SharedClock;

mod check;
mod faults;
mod reply;
mod route;
mod smart;
mod store;
mod transaction;

pub use faults::{Fault, Faults, On};
pub use store::Store;

/// Connections served at once; more wait.
const MOST_CONNECTIONS: usize = 256;

/// A body, or an error that breaks the connection on purpose.
type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// How the server behaves.
#[derive(Clone)]
pub struct Config {
    /// 0: any free port.
    pub port: u16,
    pub clock: SharedClock,
    /// Registered SMART clients; none: the server asks for no token.
    pub clients: Vec<Client>,
    /// Understands SMART 1 scopes (`.read`, `.write`) only, and does not say so.
    pub v1_scopes_only: bool,
    /// Seconds an access token lives.
    pub token_life_s: u64,
    /// Added to every answer.
    pub latency: Duration,
    /// Whether it takes ids that clients chose.
    pub takes_ids: bool,
    /// What its CapabilityStatement says about that (`updateCreate`); None: nothing.
    pub says_update_create: Option<bool>,
    /// Whether it takes transactions; else only batches.
    pub transactions: bool,
    /// Whether it heeds `ifNoneExist`.
    pub conditional_create: bool,
    /// Whether a reference to a resource that does not exist is refused.
    pub check_references: bool,
    /// Most entries of one Bundle; more are answered with 413.
    pub max_entries: usize,
    /// Largest body, in bytes, after decompression.
    pub max_body_bytes: usize,
    /// Most resources held; the oldest Observations go first.
    pub max_resources: usize,
    /// Whether gzip request bodies are read; else 400.
    pub reads_gzip: bool,
    /// Serves https with this instead of http.
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

/// A registered client.
#[derive(Clone, Debug)]
pub struct Client {
    pub client_id: String,
    /// Its public keys, `{"keys": […]}`.
    pub jwks: Value,
    /// The scopes it may have; others are dropped without a word.
    pub scopes: Vec<String>,
}

impl Config {
    /// A server that asks for no token, on any free port.
    pub fn new(clock: SharedClock) -> Self {
        Self {
            port: 0,
            clock,
            clients: Vec::new(),
            v1_scopes_only: false,
            token_life_s: 300,
            latency: Duration::ZERO,
            takes_ids: true,
            says_update_create: Some(true),
            transactions: true,
            conditional_create: true,
            check_references: true,
            max_entries: 10_000,
            max_body_bytes: 64 << 20,
            max_resources: 200_000,
            reads_gzip: true,
            tls: None,
        }
    }

    /// Registers a client that may do all that Bedside asks for.
    pub fn register(&mut self, client_id: &str, jwks: Value) {
        let scopes = vec![String::from("system/*.cruds")];
        self.clients.push(Client { client_id: client_id.into(), jwks, scopes });
    }
}

/// A server that runs until this is dropped.
pub struct Running {
    /// The FHIR base: `http://127.0.0.1:PORT/fhir`.
    pub base_url: String,
    pub port: u16,
    /// What it holds.
    pub store: Arc<Store>,
    /// What it does wrong on purpose.
    pub faults: Faults,
    served: Arc<route::Server>,
    task: JoinHandle<()>,
}

impl Running {
    /// Replaces the public keys of a client (rotation).
    pub fn register_keys(&self, client_id: &str, jwks: Value) {
        self.served.authority.register_keys(client_id, jwks);
    }

    /// Every token given so far is refused from now on.
    pub fn revoke_tokens(&self) {
        self.served.authority.revoke();
    }

    /// The token endpoint moves to another path of this server; discovery says so from now on.
    pub fn move_token_endpoint(&self, path: &str) {
        self.served.authority.move_to(path);
    }

    /// Requests served so far, those that met a fault included.
    pub fn requests(&self) -> u64 {
        self.served.requests.load(Ordering::Relaxed)
    }

    /// Connections accepted so far, and those of them that speak HTTP/2.
    pub fn connections(&self) -> (u64, u64) {
        let count = |of: &std::sync::atomic::AtomicU64| of.load(Ordering::Relaxed);
        (count(&self.served.connections), count(&self.served.http2))
    }

    /// Method and target of every request so far, as an access log would keep them; of the first 10,000.
    pub fn targets(&self) -> Vec<String> {
        self.served.targets.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// gzip bodies read so far.
    pub fn gzip_read(&self) -> u64 {
        self.served.gzip_read.load(Ordering::Relaxed)
    }

    /// Tokens given so far.
    pub fn tokens_given(&self) -> u64 {
        self.served.authority.given()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts the server; it accepts connections when this returns.
pub async fn start(config: Config) -> std::io::Result<Running> {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, config.port))).await?;
    let port = listener.local_addr()?.port();
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let origin =
        format!("{scheme}://{}:{port}", if config.tls.is_some() { "localhost" } else { "127.0.0.1" });
    let served = Arc::new(route::Server::new(config, &origin));
    let task = tokio::spawn(accept(listener, Arc::clone(&served)));
    let (store, faults) = (Arc::clone(&served.store), served.faults.clone());
    Ok(Running { base_url: format!("{origin}/fhir"), port, store, faults, served, task })
}

async fn accept(listener: TcpListener, server: Arc<route::Server>) {
    let permits = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await; // out of descriptors: do not spin
            continue;
        };
        let server = Arc::clone(&server);
        connections.spawn(async move {
            serve(stream, server).await;
            drop(permit);
        });
    }
}

async fn serve(stream: TcpStream, server: Arc<route::Server>) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    server.connections.fetch_add(1, Ordering::Relaxed);
    match server.config.tls.clone() {
        None => talk(TokioIo::new(stream), server).await,
        Some(tls) => {
            if let Ok(stream) = tokio_rustls::TlsAcceptor::from(tls).accept(stream).await {
                match stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                    true => talk_http2(TokioIo::new(stream), server).await,
                    false => talk(TokioIo::new(stream), server).await,
                }
            }
        }
    }
}

async fn talk_http2<T>(io: T, server: Arc<route::Server>)
where
    T: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    server.http2.fetch_add(1, Ordering::Relaxed);
    let answer = service_fn(move |request| {
        let server = Arc::clone(&server);
        async move { server.answer(request).await }
    });
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new());
    let _ended: Result<(), hyper::Error> = http.serve_connection(io, answer).await;
}

async fn talk<T: hyper::rt::Read + hyper::rt::Write + Unpin>(io: T, server: Arc<route::Server>) {
    let answer = service_fn(move |request| {
        let server = Arc::clone(&server);
        async move { server.answer(request).await }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(30));
    // An error here is a client that left or a fault played on purpose.
    let _ended: Result<(), hyper::Error> = http.serve_connection(io, answer).await;
}

/// A full body.
fn full(text: impl Into<Bytes>) -> Body {
    use http_body_util::BodyExt;
    http_body_util::Full::new(text.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}
