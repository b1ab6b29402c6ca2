//! A TCP port that senders come to: who may, how many at once, and what happens when it cannot be opened.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::backoff::Backoff;
use super::call::how;
use super::{Intake, LinkState, Stop};

/// An address or a network, e.g. `10.1.2.3` or `10.1.0.0/16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// Why a text is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither an IP address nor a network such as 10.1.0.0/16")]
pub struct NetworkError(String);

impl TryFrom<String> for Network {
    type Error = NetworkError;

    fn try_from(text: String) -> Result<Self, NetworkError> {
        let parse = || {
            let (address, bits) = text.split_once('/').map_or((text.as_str(), None), |(a, b)| (a, Some(b)));
            let address: IpAddr = address.parse().ok()?;
            let most = if address.is_ipv4() { 32 } else { 128 };
            let bits = bits.map_or(Some(most), |bits| bits.parse().ok())?;
            (bits <= most).then_some(Self { address, bits })
        };
        parse().ok_or_else(|| NetworkError(text.clone()))
    }
}

impl Network {
    /// Whether `address` is in it; an IPv4 address in IPv6 clothes counts as IPv4.
    pub fn holds(&self, address: IpAddr) -> bool {
        match (self.address.to_canonical(), address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let differ = u32::from(network) ^ u32::from(address);
                differ.checked_shr(32 - u32::from(self.bits.min(32))).unwrap_or(0) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let differ = u128::from(network) ^ u128::from(address);
                differ.checked_shr(128 - u32::from(self.bits.min(128))).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

pub(super) struct Door {
    pub(super) link: Arc<str>,
    pub(super) address: SocketAddr,
    pub(super) max_connections: u32,
    /// Nobody named means everybody may come.
    pub(super) allow: Vec<Network>,
    pub(super) intake: Arc<dyn Intake>,
    /// Said with the state of the link; empty: nothing.
    pub(super) encrypted: &'static str,
}

impl Door {
    /// Listens until it is time to stop; each connection is served in a task of its own. Returns when all of
    /// them are done.
    pub(super) async fn run<F, Served>(self, serve: F, mut stop: Stop)
    where
        F: Fn(TcpStream, Arc<str>, Stop) -> Served,
        Served: Future<Output = ()> + Send + 'static,
    {
        self.intake.state(&self.link, LinkState::Starting);
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut served = JoinSet::new();
        loop {
            match TcpListener::bind(self.address).await {
                Ok(listener) => break self.accept(&listener, &serve, &mut served, &mut stop).await,
                Err(error) => {
                    let detail = format!("cannot listen on {}: {}", self.address, in_words(&error));
                    self.intake.state(&self.link, LinkState::Retrying { detail });
                }
            }
            tokio::select! {
                () = tokio::time::sleep(backoff.pause()) => {}
                () = stop.wait() => break,
            }
        }
        while served.join_next().await.is_some() {}
        self.intake.state(&self.link, LinkState::Stopped);
    }

    async fn accept<F, Served>(
        &self,
        listener: &TcpListener,
        serve: &F,
        served: &mut JoinSet<()>,
        stop: &mut Stop,
    ) where
        F: Fn(TcpStream, Arc<str>, Stop) -> Served,
        Served: Future<Output = ()> + Send + 'static,
    {
        let address = listener.local_addr().unwrap_or(self.address);
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        self.up(address, served.len());
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                Some(done) = served.join_next(), if !served.is_empty() => {
                    if done.is_err() {
                        self.intake.note(&self.link, "connection-fault", "A connection ended by a fault of ours.");
                    }
                    self.up(address, served.len());
                    continue;
                }
                () = stop.wait() => return,
            };
            match accepted {
                Ok((socket, peer)) => {
                    backoff.reset();
                    if self.may_enter(peer.ip(), served.len()) {
                        served.spawn(serve(socket, peer.to_string().into(), stop.clone()));
                    }
                    self.up(address, served.len());
                }
                Err(error) => {
                    // EMFILE and the like: the port stays open, so wait instead of asking again at once.
                    let detail = format!("cannot accept a connection on {address}: {}", in_words(&error));
                    self.intake.state(&self.link, LinkState::Retrying { detail });
                    tokio::select! {
                        () = tokio::time::sleep(backoff.pause()) => self.up(address, served.len()),
                        () = stop.wait() => return,
                    }
                }
            }
        }
    }

    fn up(&self, address: SocketAddr, connections: usize) {
        let detail = format!("listening on {address}{}", how(self.encrypted));
        let connections = u32::try_from(connections).unwrap_or(u32::MAX);
        self.intake.state(&self.link, LinkState::Up { detail, connections });
    }

    fn may_enter(&self, peer: IpAddr, connections: usize) -> bool {
        if !self.allow.is_empty() && !self.allow.iter().any(|network| network.holds(peer)) {
            let text =
                format!("A connection from {peer} was closed: the address is not in the link's `allow`.");
            self.intake.note(&self.link, "peer-not-allowed", &text);
            return false;
        }
        let limit = self.max_connections;
        if connections >= usize::try_from(limit).unwrap_or(usize::MAX) {
            let text =
                format!("A connection from {peer} was closed: the limit of {limit} connections is reached.");
            self.intake.note(&self.link, "connection-limit", &text);
            return false;
        }
        true
    }
}

/// What a person can act on.
pub(super) fn in_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => String::from("another program already uses this port"),
        io::ErrorKind::AddrNotAvailable => String::from("this box does not have that address"),
        io::ErrorKind::PermissionDenied => String::from("not permitted (ports below 1024 need a privilege)"),
        _ => error.to_string(),
    }
}

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        Network::try_from(String::from(text)).unwrap()
    }

    #[test]
    fn a_network_holds_its_addresses_and_no_others() {
        for (text, inside, outside) in [
            ("10.1.2.3", "10.1.2.3", "10.1.2.4"),
            ("10.1.0.0/16", "10.1.255.1", "10.2.0.1"),
            ("0.0.0.0/0", "8.8.8.8", "::1"),
            ("fd00::/8", "fd12::1", "fe80::1"),
            ("10.1.0.0/16", "::ffff:10.1.0.9", "::ffff:10.2.0.9"),
        ] {
            assert!(network(text).holds(inside.parse().unwrap()), "{text} {inside}");
            assert!(!network(text).holds(outside.parse().unwrap()), "{text} {outside}");
        }
    }

    #[test]
    fn a_text_that_is_no_network_is_named() {
        for text in ["", "10.1", "10.1.0.0/33", "::/129", "host", "10.0.0.0/x"] {
            let error = Network::try_from(String::from(text)).unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{text}`")), "{error}");
        }
    }
}
