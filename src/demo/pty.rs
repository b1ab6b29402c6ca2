//! A serial port that is not there: a pseudo-terminal a simulated device speaks on.
//!
//! What a pty cannot do (parity, baud, modem lines) no simulation shows; see the limits in the README.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::pty::OpenptFlags;
use rustix::termios::{OptionalActions, QueueSelector};
use tokio::io::unix::AsyncFd;

/// The device's end of a pseudo-terminal. Dropping it unplugs the device.
#[derive(Debug)]
pub struct Pty {
    near: AsyncFd<File>,
    /// Held open so that the near end does not see errors while no gateway has the port open.
    far: OwnedFd,
    /// What the gateway opens: the link when one was asked for, else the pts itself.
    pub path: PathBuf,
    link: Option<PathBuf>,
    /// Somebody was seen to read.
    is_read: AtomicBool,
}

impl Pty {
    /// Opens a pty in raw mode and, when asked, a symbolic link to it (as /dev/serial/by-id would be).
    pub fn open(link: Option<&Path>) -> io::Result<Self> {
        let near = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        rustix::pty::grantpt(&near)?;
        rustix::pty::unlockpt(&near)?;
        let name = rustix::pty::ptsname(&near, Vec::new())?;
        let name = PathBuf::from(name.into_string().map_err(io::Error::other)?);
        let far = rustix::fs::open(
            &name,
            OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )?;
        let mut modes = rustix::termios::tcgetattr(&far)?;
        modes.make_raw();
        rustix::termios::tcsetattr(&far, OptionalActions::Now, &modes)?;
        let flags = rustix::fs::fcntl_getfl(&near)?;
        rustix::fs::fcntl_setfl(near.as_fd(), flags | OFlags::NONBLOCK)?;
        if let Some(link) = link {
            let _gone = std::fs::remove_file(link);
            std::os::unix::fs::symlink(&name, link)?;
        }
        let path = link.map_or(name, Path::to_path_buf);
        #[allow(
            deprecated,
            reason = "its successor is unsafe to call; a File keeps its descriptor until it is dropped"
        )]
        let near = AsyncFd::new(File::from(near))?;
        Ok(Self { near, far, path, link: link.map(Path::to_path_buf), is_read: AtomicBool::new(false) })
    }

    /// Writes all bytes, waiting while the other side does not read.
    pub async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let mut ready = self.near.writable().await?;
            if let Ok(written) = ready.try_io(|fd| fd.get_ref().write(bytes)) {
                bytes = bytes.get(written?..).unwrap_or_default();
            }
        }
        Ok(())
    }

    /// Waits until the other side has read all that was written.
    pub async fn until_read(&self) -> io::Result<()> {
        // What was written reaches the far end's queue a moment later: an empty queue says little before somebody read.
        let wanted = if self.is_read.load(Ordering::Relaxed) { 1 } else { 40 };
        let mut empty = 0;
        while empty < wanted {
            tokio::time::sleep(Duration::from_millis(5)).await;
            empty = if rustix::io::ioctl_fionread(&self.far)? == 0 { empty + 1 } else { 0 };
        }
        self.is_read.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// What the kernel does to a real port when the last program that had it open ends: what that one did not read is
    /// gone, and another may open it. Here the far end is held open, so somebody has to say it.
    pub fn last_close(&self) -> io::Result<()> {
        self.is_read.store(false, Ordering::Relaxed);
        rustix::termios::tcflush(&self.far, QueueSelector::IFlush)?;
        Ok(rustix::termios::ioctl_tiocnxcl(&self.far)?)
    }

    /// Reads what is there, waiting for at least one byte.
    pub async fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.near.readable().await?;
            if let Ok(count) = ready.try_io(|fd| fd.get_ref().read(into)) {
                return count;
            }
        }
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        if let Some(link) = &self.link {
            let _gone = std::fs::remove_file(link);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_byte_value_crosses_a_pty_unchanged() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("port");
        let pty = Pty::open(Some(&link)).unwrap();
        let all: Vec<u8> = (0..=255).collect();
        pty.write_all(&all).await.unwrap();
        let seen = tokio::task::spawn_blocking(move || {
            let mut port = File::open(link).unwrap();
            let mut seen = vec![0; 256];
            port.read_exact(&mut seen).unwrap();
            seen
        });
        assert_eq!(seen.await.unwrap(), all);
        drop(pty);
        assert!(!dir.path().join("port").exists(), "unplugging removes the link");
    }

    #[tokio::test]
    async fn after_the_last_close_the_next_program_hears_only_what_is_said_to_it() {
        let pty = Pty::open(None).unwrap();
        pty.write_all(b"old").await.unwrap();
        pty.last_close().unwrap();
        pty.write_all(b"new").await.unwrap();
        let path = pty.path.clone();
        let heard = tokio::task::spawn_blocking(move || {
            let mut heard = [0; 3];
            File::open(path).unwrap().read_exact(&mut heard).unwrap();
            heard
        });
        assert_eq!(&heard.await.unwrap(), b"new");
    }
}
