//! Connections the box opens itself: one loop that opens, serves and opens again, and the TCP side that dials.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::backoff::Backoff;
use super::door::in_words;
use super::stream::{Connection, Ended, Quiet};
use super::{Intake, LinkState, Stop};
use crate::tls;
use crate::wire::Framer;

/// Who calls whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Side {
    /// The device connects to this address of the box.
    Listen(SocketAddr),
    /// The box connects to the device: `host:port`.
    Connect(String),
}

/// Why a section names no side.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SideError {
    #[error(
        "a link over {0} needs either `listen = \"0.0.0.0:PORT\"` or `connect = \"HOST:PORT\"`, and not both"
    )]
    Both(&'static str),
    #[error("`connect = \"{0}\"` is not HOST:PORT")]
    Connect(String),
}

impl Side {
    /// The side a section of `kind` names.
    pub(super) fn of(
        kind: &'static str,
        listen: Option<SocketAddr>,
        connect: Option<String>,
    ) -> Result<Self, SideError> {
        match (listen, connect) {
            (Some(address), None) => Ok(Self::Listen(address)),
            (None, Some(address)) => {
                let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty());
                if port.and_then(|(_, port)| port.parse::<u16>().ok()).is_none() {
                    return Err(SideError::Connect(address));
                }
                Ok(Self::Connect(address))
            }
            _ => Err(SideError::Both(kind)),
        }
    }
}

/// What came of opening once and serving what was opened.
pub(super) enum Attempt {
    Stopped,
    /// Over, for the reason in `detail`, after `lasted` of service.
    Over {
        detail: String,
        lasted: Duration,
    },
}

/// A way in that can be opened again and again.
pub(super) trait Opener: Send {
    /// Opens and serves until it is over.
    fn attempt(&mut self, stop: &mut Stop) -> impl Future<Output = Attempt> + Send;
}

/// How patiently something is opened again.
pub(super) struct Again {
    pub(super) link: Arc<str>,
    pub(super) intake: Arc<dyn Intake>,
    pub(super) first: Duration,
    pub(super) longest: Duration,
    /// Service that held this long was good: the next failure begins with the short pause.
    pub(super) good: Duration,
}

impl Again {
    /// Runs `opener` until it is time to stop; whatever fails is tried again, and the link's state says why.
    pub(super) async fn run(self, mut opener: impl Opener, mut stop: Stop) {
        let mut backoff = Backoff::new(self.first, self.longest);
        self.intake.state(&self.link, LinkState::Starting);
        while let Attempt::Over { detail, lasted } = opener.attempt(&mut stop).await {
            if lasted > self.good {
                backoff.reset();
            }
            self.intake.state(&self.link, LinkState::Retrying { detail });
            tokio::select! {
                () = tokio::time::sleep(backoff.pause()) => {}
                () = stop.wait() => break,
            }
        }
        self.intake.state(&self.link, LinkState::Stopped);
    }
}

/// Makes the framer of a new connection.
pub(super) type MakeFramer = Arc<dyn Fn() -> Box<dyn Framer> + Send + Sync>;

/// A device that is the TCP server: the box dials it.
pub(super) struct Dial {
    pub(super) connection: Connection,
    /// `host:port`
    pub(super) address: String,
    /// Says that the link is quiet after so many seconds without a byte; 0 never does.
    pub(super) quiet_s: u64,
    pub(super) framer: MakeFramer,
    pub(super) tls: Option<tls::Settings>,
    /// Said with the state of the link; empty: nothing.
    pub(super) encrypted: &'static str,
}

impl Dial {
    /// Connects, and connects again.
    pub(super) async fn run(self, stop: Stop) {
        let again = Again {
            link: self.connection.link.clone(),
            intake: self.connection.intake.clone(),
            first: Duration::from_millis(500),
            longest: Duration::from_secs(30),
            good: Duration::from_secs(5),
        };
        again.run(self, stop).await;
    }

    async fn serve(&self, socket: TcpStream, stop: &mut Stop) -> Ended {
        drop(socket.set_nodelay(true));
        let Some(settings) = &self.tls else { return self.speak(socket, stop).await };
        let host = self.address.rsplit_once(':').map_or(self.address.as_str(), |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let secured = tokio::select! {
            secured = tls::call(settings, host, socket, WORDS) => secured,
            () = stop.wait() => return Ended::Stopped,
        };
        match secured {
            Ok(stream) => self.speak(stream, stop).await,
            Err(fault) => Ended::Failed(fault),
        }
    }

    async fn speak<S: AsyncRead + AsyncWrite + Unpin + Send>(&self, io: S, stop: &mut Stop) -> Ended {
        let detail = format!("connected to {}{}", self.address, how(self.encrypted));
        let up = LinkState::Up { detail, connections: 1 };
        self.connection.intake.state(&self.connection.link, up.clone());
        let after = Duration::from_secs(self.quiet_s);
        let quiet = (self.quiet_s > 0).then(|| Quiet { after, up, gone: Arc::new(|| false) });
        let connection = Connection { peer: self.address.as_str().into(), quiet, ..self.connection.clone() };
        drive(&connection, io, (self.framer)(), stop).await
    }
}

/// What is added to a state's detail.
pub(super) fn how(encrypted: &str) -> String {
    if encrypted.is_empty() { String::new() } else { format!(", {encrypted}") }
}

/// How these connections speak of their other side.
pub(super) const WORDS: tls::Words<'static> =
    tls::Words { other: "the other side", plain: "no tls section in the link" };

impl Opener for Dial {
    async fn attempt(&mut self, stop: &mut Stop) -> Attempt {
        let address = self.address.clone();
        let connected = tokio::select! {
            connected = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(&address)) => connected,
            () = stop.wait() => return Attempt::Stopped,
        };
        let since = Instant::now();
        let detail = match connected {
            Ok(Ok(socket)) => match self.serve(socket, stop).await {
                Ended::Stopped => return Attempt::Stopped,
                Ended::Closed => format!("{address} closed the connection"),
                Ended::Failed(reason) => format!("the connection to {address} was lost: {reason}"),
                Ended::GivenUp => format!("the connection to {address} was given up"),
            },
            Ok(Err(error)) => format!("cannot connect to {address}: {}", in_words(&error)),
            Err(_) => format!("{address} does not answer"),
        };
        Attempt::Over { detail, lasted: since.elapsed() }
    }
}

/// Drives one socket that came to a port to its end, behind its handshake where the port is encrypted.
pub(super) async fn serve(
    connection: &Connection,
    socket: TcpStream,
    tls: Option<&tls::Acceptor>,
    framer: Box<dyn Framer>,
    stop: &mut Stop,
) -> Ended {
    // An answer is one small packet: waiting for more to send would add 40 ms to each.
    drop(socket.set_nodelay(true));
    let Some(tls) = tls else { return drive(connection, socket, framer, stop).await };
    let (secured, stale) = tokio::select! {
        accepted = tls.accept(socket, WORDS) => accepted,
        () = stop.wait() => return Ended::Stopped,
    };
    let note = |code, text: String| connection.intake.note(&connection.link, code, &text);
    if let Some(fault) = stale {
        note("tls-files", format!("Changed TLS files are not used yet: {fault}."));
    }
    match secured {
        Ok(stream) => drive(connection, stream, framer, stop).await,
        Err(fault) => {
            note("tls-refused", format!("A connection from {} was refused: {fault}.", connection.peer));
            Ended::GivenUp
        }
    }
}

/// Drives one connection to its end, and notes one that was lost.
async fn drive<S: AsyncRead + AsyncWrite + Unpin + Send>(
    connection: &Connection,
    io: S,
    framer: Box<dyn Framer>,
    stop: &mut Stop,
) -> Ended {
    let ended = connection.drive(io, framer, stop).await;
    if let Ended::Failed(reason) = &ended {
        let text = format!("A connection was lost: {reason}.");
        connection.intake.note(&connection.link, "connection-lost", &text);
    }
    ended
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::super::rig::FakeIntake;
    use super::*;

    struct Fails(u32);

    impl Opener for Fails {
        async fn attempt(&mut self, _stop: &mut Stop) -> Attempt {
            self.0 += 1;
            if self.0 > 3 {
                return Attempt::Stopped;
            }
            Attempt::Over { detail: format!("failure {}", self.0), lasted: Duration::ZERO }
        }
    }

    #[tokio::test]
    async fn what_fails_is_tried_again_until_it_is_time_to_stop() {
        let intake = FakeIntake::open();
        let (_switch, stop) = Stop::pair();
        let again = Again {
            link: "x".into(),
            intake: intake.clone(),
            first: Duration::from_millis(2),
            longest: Duration::from_millis(8),
            good: Duration::from_secs(1),
        };
        again.run(Fails(0), stop).await;
        let reason = |state: &LinkState| match state {
            LinkState::Retrying { detail } => Some(detail.clone()),
            _ => None,
        };
        let reasons: Vec<String> = intake.states.lock().unwrap().iter().filter_map(reason).collect();
        assert_eq!(reasons, ["failure 1", "failure 2", "failure 3"]);
        assert_eq!(intake.last_state(), Some(LinkState::Stopped));
    }

    #[test]
    fn a_side_is_one_of_two() {
        let any = "0.0.0.0:1".parse().ok();
        assert!(matches!(Side::of("mllp", any, None), Ok(Side::Listen(_))));
        assert!(matches!(Side::of("mllp", None, Some("h:1".into())), Ok(Side::Connect(_))));
        for (listen, connect) in [(None, None), (any, Some("h:1".to_owned()))] {
            let said = Side::of("mllp", listen, connect).unwrap_err().to_string();
            assert!(said.contains("either `listen"), "{said}");
        }
        assert!(Side::of("tcp", None, Some("host".into())).is_err());
    }
}
