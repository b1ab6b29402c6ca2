//! Says laboratory results over LIS01, on TCP or a serial line, with the library's own sending side.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Told;
use crate::demo::pty::Pty;
use crate::wire::astm::{AstmSender, Sending, Sent};

/// How often the timers are looked at when the line is silent.
const LOOK_EVERY: Duration = Duration::from_millis(200);

enum Way {
    Tcp { address: SocketAddr, line: Option<TcpStream> },
    Serial(Pty),
}

pub(super) struct Speaker {
    way: Way,
    began: Instant,
}

impl Speaker {
    pub(super) fn tcp(address: SocketAddr) -> Self {
        Self { way: Way::Tcp { address, line: None }, began: Instant::now() }
    }

    pub(super) fn serial(pty: Pty) -> Self {
        Self { way: Way::Serial(pty), began: Instant::now() }
    }

    /// One session: ENQ, every frame acknowledged, EOT.
    pub(super) async fn say(&mut self, text: &str) -> io::Result<Told> {
        let message = text.trim_end().replace("\r\n", "\r").replace('\n', "\r") + "\r";
        let mut sender = AstmSender::new(&[message.as_bytes()], &Sending::default(), self.began.elapsed());
        self.way.open().await?;
        let mut answer = [0; 256];
        loop {
            while let Some(step) = sender.step() {
                match step {
                    Sent::Send(bytes) => self.way.write(&bytes).await?,
                    Sent::Done => return Ok(Told::Acknowledged),
                    Sent::Failed(warning) => {
                        self.way.close();
                        return Ok(Told::Again(warning.text));
                    }
                }
            }
            match tokio::time::timeout(LOOK_EVERY, self.way.read(&mut answer)).await {
                Ok(Ok(0)) => {
                    self.way.close();
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the line was closed"));
                }
                Ok(read) => {
                    let bytes = answer.get(..read?).unwrap_or_default();
                    sender.feed(bytes, self.began.elapsed());
                }
                Err(_) => sender.tick(self.began.elapsed()),
            }
        }
    }
}

impl Way {
    async fn open(&mut self) -> io::Result<()> {
        if let Self::Tcp { address, line: line @ None } = self {
            let stream = TcpStream::connect(*address).await?;
            stream.set_nodelay(true)?;
            *line = Some(stream);
        }
        Ok(())
    }

    fn close(&mut self) {
        if let Self::Tcp { line, .. } = self {
            *line = None;
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp { line: Some(line), .. } => line.write_all(bytes).await,
            Self::Tcp { line: None, .. } => Err(io::ErrorKind::NotConnected.into()),
            Self::Serial(pty) => pty.write_all(bytes).await,
        }
    }

    async fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp { line: Some(line), .. } => line.read(into).await,
            Self::Tcp { line: None, .. } => Err(io::ErrorKind::NotConnected.into()),
            Self::Serial(pty) => pty.read(into).await,
        }
    }
}
