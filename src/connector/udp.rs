//! Monitors on the LAN that speak in datagrams (Philips IntelliVue, port 24105): the box dials, the codec keeps the
//! association.
//!
//! A datagram has no connection. That nobody is there shows as silence, or as an answer of the other host that its
//! port is closed; both end the attempt, and the next one begins with a new association.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UdpSocket;
use tokio::time::Instant;

use super::call::{Again, Attempt, Opener};
use super::door::in_words;
use super::stream::{Connection, Ended, Quiet};
use super::{Intake, LinkState, Stop};
use crate::clock::SharedClock;
use crate::wire::{self, Speech};

/// The monitor to dial.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct Config {
    /// `host:port`.
    pub connect: String,
    /// Says that the link is quiet when nothing came for so long; 0 never does.
    pub quiet_timeout_s: u64,
}

/// The section as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    connect: String,
    #[serde(default = "quiet_timeout_s")]
    quiet_timeout_s: u64,
}

fn quiet_timeout_s() -> u64 {
    15
}

/// Why a section is no UDP link.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("`connect = \"{0}\"` is not HOST:PORT; the port of an IntelliVue monitor is 24105")]
    Connect(String),
}

impl TryFrom<Written> for Config {
    type Error = ConfigError;

    fn try_from(written: Written) -> Result<Self, ConfigError> {
        let Written { connect, quiet_timeout_s } = written;
        let port = connect.rsplit_once(':').filter(|(host, _)| !host.is_empty());
        if port.and_then(|(_, port)| port.parse::<u16>().ok()).is_none() {
            return Err(ConfigError::Connect(connect));
        }
        Ok(Self { connect, quiet_timeout_s })
    }
}

/// Runs until it is time to stop; whatever fails is tried again, and the link's state says why.
pub async fn run(
    link: Arc<str>,
    config: Config,
    speech: Speech,
    intake: Arc<dyn Intake>,
    clock: SharedClock,
    stop: Stop,
) {
    let codec = speech.codec.on_datagrams().unwrap_or(speech.codec);
    let speech = Speech { codec, dialogue: speech.dialogue };
    let peer = config.connect.as_str().into();
    let connection = Connection { peer, ..Connection::new(&link, &intake, &clock) };
    let again = Again {
        link,
        intake,
        first: Duration::from_millis(500),
        longest: Duration::from_secs(30),
        good: Duration::from_secs(5),
    };
    again.run(Monitor { config, connection, speech }, stop).await;
}

/// The monitor of one link, to be spoken with again and again.
struct Monitor {
    config: Config,
    connection: Connection,
    speech: Speech,
}

impl Opener for Monitor {
    async fn attempt(&mut self, stop: &mut Stop) -> Attempt {
        let since = Instant::now();
        let address = &self.config.connect;
        let over = |detail: String| Attempt::Over { detail, lasted: since.elapsed() };
        let datagrams = tokio::select! {
            dialled = dial(address) => dialled,
            () = stop.wait() => return Attempt::Stopped,
        };
        let datagrams = match datagrams {
            Ok(datagrams) => datagrams,
            Err(error) => return over(format!("cannot reach {address}: {}", in_words(&error))),
        };
        let up = LinkState::Up { detail: format!("speaking with {address}"), connections: 1 };
        self.connection.intake.state(&self.connection.link, up.clone());
        let after = Duration::from_secs(self.config.quiet_timeout_s);
        let quiet = (!after.is_zero()).then(|| Quiet { after, up, gone: Arc::new(|| false) });
        let connection = Connection { quiet, ..self.connection.clone() };
        match connection.drive(datagrams, self.speech.framer(), stop).await {
            Ended::Stopped => Attempt::Stopped,
            Ended::Failed(reason) => over(format!("{address} does not answer: {reason}")),
            Ended::Closed | Ended::GivenUp => over(format!("{address} was given up")),
        }
    }
}

pub(crate) async fn dial(address: &str) -> io::Result<Datagrams> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for to in tokio::net::lookup_host(address).await? {
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any).await?;
        match socket.connect(to).await {
            Ok(()) => return Ok(Datagrams { socket }),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Datagrams of one peer as a stream: each read is one of them, and so is each write.
pub(crate) struct Datagrams {
    socket: UdpSocket,
}

impl AsyncRead for Datagrams {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        loop {
            match self.socket.poll_recv(cx, buf) {
                // An empty datagram is not the end.
                Poll::Ready(Ok(())) if buf.filled().len() == before => {}
                other => return other,
            }
        }
    }
}

impl AsyncWrite for Datagrams {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let one = wire::datagram(bytes);
        self.socket.poll_send(cx, bytes.get(..one).unwrap_or(bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_names_a_host_and_a_port() {
        let config: Config = toml::from_str("connect = \"192.0.2.7:24105\"").unwrap();
        assert_eq!(config, Config { connect: "192.0.2.7:24105".into(), quiet_timeout_s: 15 });
        for wrong in ["connect = \"monitor\"", "connect = \":24105\"", "connect = \"a:1\"\nport = 2", ""] {
            assert!(toml::from_str::<Config>(wrong).is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn each_datagram_is_read_by_itself_and_two_messages_leave_as_two() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let monitor = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut datagrams = dial(&monitor.local_addr().unwrap().to_string()).await.unwrap();
        let one = [0xE1, 0, 0, 2, 0, 1, 0, 2, 7, 7];
        datagrams.write_all(&[one, one].concat()).await.unwrap();
        let mut buffer = [0; 100];
        let (read, from) = monitor.recv_from(&mut buffer).await.unwrap();
        assert_eq!(buffer[..read], one);
        assert_eq!(monitor.recv_from(&mut buffer).await.unwrap().0, one.len());
        monitor.send_to(b"", from).await.unwrap();
        monitor.send_to(b"abc", from).await.unwrap();
        assert_eq!(datagrams.read(&mut buffer).await.unwrap(), 3);
    }
}
