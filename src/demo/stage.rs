//! Where a simulated device plays: a pseudo-terminal, a TCP connection it opens or waits for, a UDP socket.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::Instant;

use super::actor::{Message, Said, Script, Speaker};
use super::device::{Broker, Told, mqtt};
use super::fault::FaultyLine;
use super::pty::Pty;
use crate::clock::SharedClock;
use crate::connector::Stop;

/// How the device is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A pseudo-terminal, linked here.
    Pty(PathBuf),
    /// The box listens, the device connects: `host:port`.
    Dial(String),
    /// The device is the server; the box connects.
    Listen(SocketAddr),
    /// The device answers whoever sends it a datagram.
    Udp(SocketAddr),
}

/// An open line.
#[derive(Debug)]
pub enum Line {
    Pty(Pty),
    Tcp(TcpStream),
    Udp { socket: UdpSocket, peer: Option<SocketAddr> },
}

/// A device that listens keeps its port while connections come and go.
#[derive(Debug)]
pub struct Stage {
    place: Place,
    listener: Option<TcpListener>,
}

impl Stage {
    /// Nothing is opened yet.
    pub const fn new(place: Place) -> Self {
        Self { place, listener: None }
    }

    /// Opens the line; a listening device waits for the box.
    ///
    /// # Errors
    /// As the system has it.
    pub async fn open(&mut self) -> io::Result<Line> {
        match &self.place {
            Place::Pty(path) => {
                replaceable(path)?;
                Ok(Line::Pty(Pty::open(Some(path))?))
            }
            Place::Dial(address) => tcp(TcpStream::connect(address.as_str()).await?),
            Place::Listen(address) => {
                if self.listener.is_none() {
                    self.listener = Some(TcpListener::bind(address).await?);
                }
                let Some(listener) = &self.listener else { return Err(io::ErrorKind::NotConnected.into()) };
                tcp(listener.accept().await?.0)
            }
            Place::Udp(address) => Ok(Line::Udp { socket: UdpSocket::bind(address).await?, peer: None }),
        }
    }
}

/// A link of an earlier run may be replaced; a file or a device may not.
fn replaceable(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(there) if !there.file_type().is_symlink() => {
            Err(io::Error::new(io::ErrorKind::AlreadyExists, "something else is there; name another path"))
        }
        _ => Ok(()),
    }
}

fn tcp(socket: TcpStream) -> io::Result<Line> {
    socket.set_nodelay(true)?;
    Ok(Line::Tcp(socket))
}

impl Line {
    /// Writes all bytes; over UDP one datagram, to whoever spoke last.
    ///
    /// # Errors
    /// As the system has it.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Pty(pty) => pty.write_all(bytes).await,
            Self::Tcp(socket) => socket.write_all(bytes).await,
            Self::Udp { socket, peer: Some(peer) } => socket.send_to(bytes, *peer).await.map(drop),
            Self::Udp { peer: None, .. } => Ok(()),
        }
    }

    /// Reads what is there, waiting for at least one byte.
    ///
    /// # Errors
    /// `UnexpectedEof` when the box closed the line; else as the system has it.
    pub async fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; 64 << 10];
        let count = match self {
            Self::Pty(pty) => pty.read(&mut buffer).await?,
            Self::Tcp(socket) => socket.read(&mut buffer).await?,
            Self::Udp { socket, peer } => {
                let (count, from) = socket.recv_from(&mut buffer).await?;
                *peer = Some(from);
                count
            }
        };
        if count == 0 && !matches!(self, Self::Udp { .. }) {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the box closed the line"));
        }
        buffer.truncate(count);
        Ok(buffer)
    }
}

/// One simulated device on a byte stream.
pub struct Play {
    pub speaker: Box<dyn Speaker>,
    pub script: Script,
    pub faults: FaultyLine,
    pub every: Duration,
    /// Ends after so many messages; `None`: never.
    pub count: Option<u64>,
}

/// How often timers are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Pause before a message is said again, and before a line is opened again.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// Where a play stands.
struct Progress {
    told: u64,
    message: Option<Message>,
    /// When the next message is due, or the same again.
    due: Duration,
    again: bool,
    jumped: Duration,
}

impl Play {
    /// Speaks until told to stop or done; `heard` is told what became of each message, and of a lost line.
    pub async fn run(
        mut self,
        place: Place,
        clock: SharedClock,
        mut stop: Stop,
        mut heard: impl FnMut(u64, &Told) + Send,
    ) {
        let mut stage = Stage::new(place);
        let started = Instant::now();
        let zero = Duration::ZERO;
        let mut progress = Progress { told: 0, message: None, due: zero, again: false, jumped: zero };
        loop {
            let opened = tokio::select! {
                () = stop.wait() => return,
                opened = stage.open() => opened,
            };
            let why = match opened {
                Ok(mut line) => {
                    self.speaker.open(started.elapsed());
                    let playing = self.on(&mut line, &mut progress, &clock, started, &mut heard);
                    tokio::select! {
                        () = stop.wait() => return,
                        ended = playing => match ended {
                            Ok(None) => return,
                            Ok(Some(pause)) => {
                                drop(line);
                                tokio::time::sleep(pause).await;
                                continue;
                            }
                            Err(fault) => fault.to_string(),
                        },
                    }
                }
                Err(fault) => fault.to_string(),
            };
            heard(progress.told + 1, &Told::Again(why));
            tokio::select! {
                () = stop.wait() => return,
                () = tokio::time::sleep(AGAIN_AFTER) => {}
            }
        }
    }

    /// On an open line: `None` when all is said, or how long the line is away.
    async fn on(
        &mut self,
        line: &mut Line,
        progress: &mut Progress,
        clock: &SharedClock,
        started: Instant,
        heard: &mut (impl FnMut(u64, &Told) + Send),
    ) -> io::Result<Option<Duration>> {
        loop {
            let now = started.elapsed();
            if let Some(pause) = self.faults.unplugged(now) {
                return Ok(Some(pause));
            }
            self.speaker.tick(now);
            let done = self.count.is_some_and(|count| progress.told >= count);
            if done && self.speaker.is_free() {
                return Ok(None);
            }
            if now >= progress.due && self.speaker.is_free() && !done {
                self.begin(progress, clock, now);
            }
            while let Some(said) = self.speaker.next() {
                match said {
                    Said::Send(bytes) => {
                        for (piece, pause) in self.faults.sent(bytes) {
                            line.write(&piece).await?;
                            tokio::time::sleep(pause).await;
                        }
                    }
                    Said::Told(told) => {
                        self.told(progress, &told, started.elapsed());
                        heard(progress.told + u64::from(progress.again), &told);
                    }
                }
            }
            if let Ok(bytes) = tokio::time::timeout(LOOK_EVERY, line.read()).await {
                let bytes = self.faults.heard(&bytes?);
                self.speaker.hear(&bytes, started.elapsed());
            }
        }
    }

    fn begin(&mut self, progress: &mut Progress, clock: &SharedClock, now: Duration) {
        let twice = self.faults.faults.duplicate && progress.told % 3 == 1;
        if !progress.again && !twice || progress.message.is_none() {
            if let Some(by) = self
                .faults
                .faults
                .clock_jump
                .filter(|_| progress.told > 0 && progress.told.is_multiple_of(10))
            {
                progress.jumped += by;
            }
            progress.message = self.script.next(clock.now().plus(progress.jumped));
        }
        progress.again = false;
        if let Some(message) = &progress.message {
            self.speaker.say(&message.bytes, now);
        }
    }

    fn told(&self, progress: &mut Progress, told: &Told, now: Duration) {
        progress.again = matches!(told, Told::Again(_));
        if progress.again {
            progress.due = now + AGAIN_AFTER;
            return;
        }
        progress.told += 1;
        let bursts = self.faults.faults.burst && !progress.told.is_multiple_of(10);
        let pause = if self.faults.faults.burst { self.every * 10 } else { self.every };
        progress.due = if bursts { now } else { now + pause };
    }
}

/// Publishes a script to a broker; what was not acknowledged is published again.
pub async fn publish(
    mut script: Script,
    broker: Broker,
    every: Duration,
    count: Option<u64>,
    clock: SharedClock,
    mut stop: Stop,
    mut heard: impl FnMut(u64, &Told) + Send,
) {
    let own_topic = broker.topic.clone();
    let mut line = mqtt::Speaker::new(broker);
    let mut sequence = 0;
    while count.is_none_or(|count| sequence < count) {
        sequence += 1;
        let Some(message) = script.next(clock.now()) else { return };
        let topic = if own_topic.is_empty() { message.topic.unwrap_or_default() } else { own_topic.clone() };
        loop {
            let told = tokio::select! {
                () = stop.wait() => return,
                told = line.publish(&topic, &message.bytes) => told,
            };
            let told = told.unwrap_or_else(|fault| Told::Again(fault.to_string()));
            heard(sequence, &told);
            let pause = if matches!(told, Told::Again(_)) { AGAIN_AFTER } else { every };
            tokio::select! {
                () = stop.wait() => return,
                () = tokio::time::sleep(pause) => {}
            }
            if !matches!(told, Told::Again(_)) {
                break;
            }
        }
    }
}
