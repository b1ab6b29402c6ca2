//! The accept loop: TCP, then TLS, then HTTP/1.1 or HTTP/2, each with a limit on time and on number.
//!
//! A client that says nothing, speaks slowly or reads nothing holds one of its address's few places for a bounded
//! time and harms nobody else. The desk's troubles never reach the devices' connections: other tasks, other ports.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use warp::Filter;
use warp::http::header::{CONNECTION, HeaderValue, TRANSFER_ENCODING};

use super::desk::Arrival;
use super::dressing::Dressed;
use super::identity::Identity;
use crate::acme::challenge;

/// Connections at once.
const CONNECTIONS_MAX: usize = 256;
/// … of which one address may hold so many.
const CONNECTIONS_PER_ADDRESS: usize = 64;
/// … and of which so many may have asked nothing yet. One more, and the oldest of these has to go: whoever opens
/// connections and says nothing pushes out only its like.
const KNOCKING_MAX: usize = 128;
/// Bytes that the peer does not take for this long end the connection (RFC 5482).
const USER_TIMEOUT: Duration = Duration::from_secs(30);
/// HTTP/2 peers are asked whether they live, and must answer.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Open connections get this long to finish when the desk closes.
const CLOSING: Duration = Duration::from_secs(5);
/// After an error of accept itself (no more file descriptors), wait instead of spinning.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// TLS record type "handshake" (RFC 8446 §5.1): what every client of ours says first.
const TLS_HANDSHAKE: u8 = 0x16;

const USE_HTTPS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
    X-Content-Type-Options: nosniff\r\nContent-Security-Policy: default-src 'none'; frame-ancestors 'none'\r\n\
    Referrer-Policy: no-referrer\r\nCache-Control: no-store\r\nContent-Length: 63\r\nConnection: close\r\n\r\n\
    This port speaks HTTPS only: put https:// before the address.\r\n";

/// How long a client may take. Tests are less patient.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// TLS must be agreed by then.
    pub(super) handshake: Duration,
    /// A request's header must be whole by then; an idle HTTP/1.1 connection is closed by it too.
    pub(super) header: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { handshake: Duration::from_secs(10), header: Duration::from_secs(15) }
    }
}

/// Accepts until `stop`, then closes gracefully.
pub(super) async fn accept<F>(
    listener: TcpListener,
    identity: &Identity,
    patience: Patience,
    filter: F,
    stop: impl Future<Output = ()>,
) where
    F: Filter<Extract = (warp::reply::Response,), Error = Infallible> + Clone + Send + Sync + 'static,
    F::Future: Send,
{
    let acceptor = TlsAcceptor::from(identity.tls());
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let addresses = Arc::new(Addresses::default());
    let door = Arc::new(Door::default());
    let graceful = GracefulShutdown::new();
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = accept_one(&listener, &places) => accepted,
        };
        let Some((stream, peer, place)) = accepted else { continue };
        let Some(seat) = Addresses::seat(&addresses, peer.ip()) else { continue };
        let knock = Door::knock(&door);
        let connection = Connection {
            stream,
            peer,
            patience,
            acceptor: acceptor.clone(),
            watcher: graceful.watcher(),
            knock,
        };
        let serving = connection.serve(filter.clone());
        tokio::spawn(async move {
            serving.await;
            drop((place, seat));
        });
    }
    drop(listener);
    if timeout(CLOSING, graceful.shutdown()).await.is_err() {
        tracing::debug!("some of the desk's connections did not finish in time");
    }
}

/// The next connection; waits while all places are taken, so that the kernel's queue holds the rest.
async fn accept_one(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => Some((stream, peer, place)),
        Err(fault) => {
            tracing::warn!(%fault, "the desk could not accept a connection");
            sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

/// One accepted connection.
struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    patience: Patience,
    acceptor: TlsAcceptor,
    watcher: Watcher,
    knock: Knock,
}

impl Connection {
    async fn serve<F>(self, filter: F)
    where
        F: Filter<Extract = (warp::reply::Response,), Error = Infallible> + Clone + Send + Sync + 'static,
        F::Future: Send,
    {
        let Self { stream, peer, patience, acceptor, watcher, knock } = self;
        let pushed_out = knock.pushed_out.clone();
        let limit = u32::try_from(USER_TIMEOUT.as_millis()).unwrap_or(u32::MAX);
        if let Err(fault) = rustix::net::sockopt::set_tcp_user_timeout(&stream, limit) {
            tracing::debug!(%fault, "no user timeout on this connection");
        }
        // Answers are small and wanted at once.
        stream.set_nodelay(true).ok();
        let shaken = tokio::select! {
            shaken = timeout(patience.handshake, handshake(stream, &acceptor)) => shaken,
            () = pushed_out.notified() => return,
        };
        let tls = match shaken {
            Ok(Some(tls)) => tls,
            Ok(None) => return,
            Err(_) => return tracing::debug!("a connection to the desk agreed on no TLS in time"),
        };
        if tls.get_ref().1.alpn_protocol() == Some(challenge::ALPN) {
            // RFC 8737 §3: the handshake was all that the authority wanted to see.
            return;
        }
        // Settled by ALPN: waiting for the first bytes to tell would have no limit in time.
        let http2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
        let asked = Arc::new(AtomicBool::new(false));
        let inner = TowerToHyperService::new(warp::service(filter));
        let (marks, knock) = (asked.clone(), Arc::new(knock));
        let service =
            hyper::service::service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
                marks.store(true, Ordering::Relaxed);
                knock.answered();
                let authority = request.uri().authority().map(|authority| authority.as_str().to_string());
                request.extensions_mut().insert(Arrival { peer, authority });
                let in_pieces = !http2 && request.headers().contains_key(TRANSFER_ENCODING);
                let answering = hyper::service::Service::call(&inner, request);
                async move {
                    let mut answer = answering.await?;
                    if in_pieces {
                        // Beside a Content-Length somebody before us may have cut the request elsewhere (RFC 9112 §6.1):
                        // what follows on this connection is nobody's.
                        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                    }
                    Ok::<_, Infallible>(answer)
                }
            });
        let builder = builder(http2, patience);
        let connection = watcher.watch(builder.serve_connection(TokioIo::new(Dressed::new(tls)), service));
        tokio::pin!(connection);
        let waited = async {
            tokio::select! {
                () = sleep(patience.header) => {}
                () = pushed_out.notified() => {}
            }
        };
        let ended = tokio::select! {
            ended = &mut connection => ended,
            () = waited => {
                if !asked.load(Ordering::Relaxed) {
                    return;
                }
                connection.await
            }
        };
        if let Err(fault) = ended {
            tracing::debug!(%fault, "a connection to the desk ended early");
        }
    }
}

fn builder(http2: bool, patience: Patience) -> auto::Builder<TokioExecutor> {
    let builder = auto::Builder::new(TokioExecutor::new());
    let mut builder = if http2 { builder.http2_only() } else { builder.http1_only() };
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(patience.header)
        .max_headers(64)
        .max_buf_size(32 * 1024);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(32)
        // Streams opened and reset at once, or reset for their faults: a connection that does little else ends.
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(128)
        .max_header_list_size(16 * 1024)
        .max_send_buf_size(256 * 1024)
        .initial_stream_window_size(64 * 1024)
        .initial_connection_window_size(256 * 1024);
    builder
}

/// Agrees on TLS; a browser that came without gets told.
async fn handshake(mut stream: TcpStream, acceptor: &TlsAcceptor) -> Option<TlsStream<TcpStream>> {
    let mut first = [0];
    if stream.peek(&mut first).await.ok()? == 0 {
        return None;
    }
    if first[0] != TLS_HANDSHAKE {
        if first[0].is_ascii_uppercase() {
            stream.write_all(USE_HTTPS).await.ok()?;
            stream.shutdown().await.ok()?;
        }
        return None;
    }
    acceptor
        .accept(stream)
        .await
        // Browsers that do not trust the certificate yet end here; so do scanners.
        .inspect_err(|fault| tracing::debug!(%fault, "a connection to the desk agreed on no TLS"))
        .ok()
}

/// Connections that have asked nothing yet, oldest first.
#[derive(Default)]
struct Door {
    waiting: Mutex<VecDeque<(u64, Arc<Notify>)>>,
    number: AtomicU64,
}

/// One such connection; forgotten when it asks or ends.
struct Knock {
    door: Arc<Door>,
    number: u64,
    pushed_out: Arc<Notify>,
}

impl Door {
    fn knock(door: &Arc<Self>) -> Knock {
        let number = door.number.fetch_add(1, Ordering::Relaxed);
        let pushed_out = Arc::new(Notify::new());
        let mut waiting = door.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push_back((number, pushed_out.clone()));
        if waiting.len() > KNOCKING_MAX
            && let Some((_, oldest)) = waiting.pop_front()
        {
            oldest.notify_one();
        }
        drop(waiting);
        Knock { door: door.clone(), number, pushed_out }
    }
}

impl Knock {
    fn answered(&self) {
        let mut waiting = self.door.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(at) = waiting.binary_search_by_key(&self.number, |(number, _)| *number) {
            waiting.remove(at);
        }
    }
}

impl Drop for Knock {
    fn drop(&mut self) {
        self.answered();
    }
}

/// How many connections each address holds.
#[derive(Default)]
struct Addresses(Mutex<HashMap<IpAddr, usize>>);

/// One connection of an address; given back when dropped.
struct Seat(Arc<Addresses>, IpAddr);

impl Addresses {
    fn seat(addresses: &Arc<Self>, address: IpAddr) -> Option<Seat> {
        let mut counts = addresses.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_insert(0);
        if *count >= CONNECTIONS_PER_ADDRESS {
            return None;
        }
        *count += 1;
        Some(Seat(addresses.clone(), address))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut counts = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_all_places() {
        let addresses = Arc::new(Addresses::default());
        let address: IpAddr = "10.0.0.7".parse().unwrap();
        let seats: Vec<_> = (0..100).filter_map(|_| Addresses::seat(&addresses, address)).collect();
        assert_eq!(seats.len(), CONNECTIONS_PER_ADDRESS);
        assert!(Addresses::seat(&addresses, "10.0.0.8".parse().unwrap()).is_some());
        drop(seats);
        assert!(addresses.0.lock().unwrap().is_empty(), "nothing is remembered of who left");
    }

    #[tokio::test]
    async fn who_says_nothing_is_pushed_out_by_its_like_and_who_asked_is_not() {
        let door = Arc::new(Door::default());
        let asked = Door::knock(&door);
        asked.answered();
        let mut silent: VecDeque<_> = (0..KNOCKING_MAX).map(|_| Door::knock(&door)).collect();
        let next = Door::knock(&door);
        let oldest = silent.pop_front().unwrap();
        timeout(Duration::from_secs(5), oldest.pushed_out.notified()).await.unwrap();
        for other in silent.iter().chain([&next, &asked]) {
            assert!(timeout(Duration::ZERO, other.pushed_out.notified()).await.is_err());
        }
        drop((silent, next, oldest));
        assert!(door.waiting.lock().unwrap().is_empty(), "nothing is remembered of who left");
    }

    #[test]
    fn the_answer_without_tls_is_one_whole_answer() {
        let text = std::str::from_utf8(USE_HTTPS).unwrap();
        let (header, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(header.contains(&format!("Content-Length: {}\r\n", body.len())), "{}", body.len());
    }
}
