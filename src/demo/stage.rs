//! Where a simulated device plays: a pseudo-terminal, a TCP connection it opens or waits for, a UDP socket.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::Instant;

use super::actor::{Message, Said, Script, Speaker, Told};
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

/// Longer than this no program that reads a port lets bytes lie.
const READ_WITHIN: Duration = Duration::from_secs(2);

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
    /// Writes all bytes; over UDP one datagram, to whoever spoke last. `false`: nobody reads the port, and the bytes are
    /// gone as they are on a serial line.
    ///
    /// # Errors
    /// As the system has it.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<bool> {
        match self {
            Self::Pty(pty) => {
                let reading = tokio::time::timeout(READ_WITHIN, async {
                    pty.write_all(bytes).await?;
                    pty.until_read().await
                });
                if let Ok(read) = reading.await {
                    return read.map(|()| true);
                }
                pty.last_close().map(|()| false)
            }
            Self::Tcp(socket) => socket.write_all(bytes).await.map(|()| true),
            Self::Udp { socket, peer: Some(peer) } => socket.send_to(bytes, *peer).await.map(|_| true),
            Self::Udp { peer: None, .. } => Ok(true),
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
    /// The message was begun, and nobody knows yet what became of it.
    open: bool,
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
        let (zero, again, open) = (Duration::ZERO, false, false);
        let mut progress = Progress { told: 0, message: None, due: zero, again, open, jumped: zero };
        while !self.is_done(&progress) {
            let opened = tokio::select! {
                () = stop.wait() => return,
                opened = stage.open() => opened,
            };
            let (why, pause) = match opened {
                Ok(mut line) => {
                    self.speaker.open(started.elapsed());
                    let playing = self.on(&mut line, &mut progress, &clock, started, &mut heard);
                    tokio::select! {
                        () = stop.wait() => return,
                        ended = playing => {
                            let (why, pause) = match ended {
                                Ok(None) => return,
                                Ok(Some(pause)) => ("unplugged".into(), pause),
                                Err(fault) => (fault.to_string(), AGAIN_AFTER),
                            };
                            self.unheard(&mut progress, started.elapsed());
                            (why, pause)
                        }
                    }
                }
                Err(fault) => (fault.to_string(), AGAIN_AFTER),
            };
            heard(progress.told + 1, &Told::Away(why));
            tokio::select! {
                () = stop.wait() => return,
                () = tokio::time::sleep(pause) => {}
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
            self.speak(line, progress, started, heard).await?;
            if self.is_done(progress) && self.speaker.is_free() {
                return Ok(None);
            }
            // What became of a message is told first: only then it is known when the next is due.
            if now >= progress.due && self.speaker.is_free() && !progress.open {
                self.begin(progress, clock, now);
                self.speak(line, progress, started, heard).await?;
            }
            if let Ok(bytes) = tokio::time::timeout(LOOK_EVERY, line.read()).await {
                let bytes = self.faults.heard(&bytes?);
                self.speaker.hear(&bytes, started.elapsed());
            }
        }
    }

    fn is_done(&self, progress: &Progress) -> bool {
        self.count.is_some_and(|count| progress.told >= count) && !progress.open
    }

    /// Says what is due, and tells what became of it.
    async fn speak(
        &mut self,
        line: &mut Line,
        progress: &mut Progress,
        started: Instant,
        heard: &mut (impl FnMut(u64, &Told) + Send),
    ) -> io::Result<()> {
        while let Some(said) = self.speaker.next() {
            match said {
                Said::Send(bytes) => {
                    if !self.send(line, bytes).await? {
                        self.unheard(progress, started.elapsed());
                        heard(progress.told + 1, &Told::Away("nobody reads the port".into()));
                    }
                }
                Said::Told(told) => {
                    self.told(progress, &told, started.elapsed());
                    heard(progress.told + u64::from(progress.again), &told);
                }
            }
        }
        Ok(())
    }

    /// `false`: nobody reads the port.
    async fn send(&mut self, line: &mut Line, bytes: Vec<u8>) -> io::Result<bool> {
        for (piece, pause) in self.faults.sent(bytes) {
            if !line.write(&piece).await? {
                return Ok(false);
            }
            tokio::time::sleep(pause).await;
        }
        Ok(true)
    }

    /// What the device believes to have said since then was not heard: it begins anew.
    fn unheard(&mut self, progress: &mut Progress, now: Duration) {
        self.speaker.open(now);
        while self.speaker.next().is_some() {}
        if std::mem::take(&mut progress.open) {
            (progress.again, progress.due) = (true, now + AGAIN_AFTER);
        }
    }

    fn begin(&mut self, progress: &mut Progress, clock: &SharedClock, now: Duration) {
        let twice = self.faults.faults.duplicate && progress.told % 3 == 1;
        if !progress.again && !twice || progress.message.is_none() {
            let tenth = progress.told > 0 && progress.told.is_multiple_of(10);
            progress.jumped += self.faults.faults.clock_jump.filter(|_| tenth).unwrap_or_default();
            progress.message = self.script.next(clock.now().plus(progress.jumped));
        }
        progress.again = false;
        if let Some(message) = &progress.message {
            progress.open = true;
            self.speaker.say(message, now);
        }
    }

    fn told(&self, progress: &mut Progress, told: &Told, now: Duration) {
        progress.open = false;
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

#[cfg(test)]
#[path = "stage_tests.rs"]
mod tests;
