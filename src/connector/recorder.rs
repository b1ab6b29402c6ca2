//! Writes what crosses a link to a tape. A thread of its own writes, so that no link waits for the disk; what it cannot
//! keep up with is counted on the tape as lost, and never held in memory beyond a bound.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::wire::tape::{Chunk, Head, Way};

/// Chunks and bytes that may wait for the disk.
const QUEUE: usize = 1024;
const QUEUE_BYTES: u64 = 8 << 20;
/// Connections told apart on one tape.
const CONNECTIONS_MAX: usize = 4096;

/// When a tape is full.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Size of the file.
    pub bytes: u64,
    pub span: Duration,
}

/// How far a tape is.
#[derive(Debug, Default)]
pub struct Progress {
    bytes: AtomicU64,
    chunks: AtomicU64,
    waiting_bytes: AtomicU64,
    ended: AtomicBool,
    fault: Mutex<Option<String>>,
}

impl Progress {
    /// Size of the file so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Chunks written so far.
    pub fn chunks(&self) -> u64 {
        self.chunks.load(Ordering::Relaxed)
    }

    /// Full, or broken off by a fault of the disk: nothing more is written.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// The fault of the disk that broke it off.
    pub fn fault(&self) -> Option<String> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A tape that is being written; it ends when this is dropped.
#[derive(Debug)]
pub struct Recorder {
    queue: SyncSender<Chunk>,
    started: Instant,
    span: Duration,
    lost: AtomicU64,
    connections: Mutex<HashMap<Arc<str>, u32>>,
    progress: Arc<Progress>,
}

impl Recorder {
    /// Makes the file, which only its owner can read, and writes the head. A file that is there is not touched.
    ///
    /// # Errors
    /// When the file is there or cannot be written.
    pub fn start(path: &Path, head: &Head, limits: Limits) -> io::Result<Self> {
        let mut file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(path)?;
        let line = head.line();
        file.write_all(line.as_bytes())?;
        let progress = Arc::new(Progress::default());
        progress.bytes.store(size(line.len()), Ordering::Relaxed);
        let (queue, chunks) = sync_channel(QUEUE);
        let theirs = progress.clone();
        std::thread::Builder::new().name("tape".into()).spawn(move || {
            let written = write(&mut file, &chunks, &theirs, limits.bytes);
            theirs.ended.store(true, Ordering::Relaxed);
            if let Err(fault) = written {
                *theirs.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault.to_string());
            }
        })?;
        Ok(Self {
            queue,
            started: Instant::now(),
            span: limits.span,
            lost: AtomicU64::new(0),
            connections: Mutex::default(),
            progress,
        })
    }

    /// How far it is.
    pub fn progress(&self) -> Arc<Progress> {
        self.progress.clone()
    }

    /// Whether there is nothing more to come: full, too long, or broken off.
    pub fn is_over(&self) -> bool {
        self.progress.has_ended() || self.started.elapsed() > self.span
    }

    /// Writes one chunk, if it can be kept up with.
    pub fn crossed(&self, peer: &Arc<str>, way: Way, topic: Option<&str>, bytes: &[u8]) {
        if self.is_over() {
            return;
        }
        let length = size(bytes.len());
        let waiting = &self.progress.waiting_bytes;
        if waiting.fetch_add(length, Ordering::Relaxed) > QUEUE_BYTES {
            waiting.fetch_sub(length, Ordering::Relaxed);
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let lost = self.lost.swap(0, Ordering::Relaxed);
        let chunk = Chunk {
            ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            way,
            connection: if topic.is_some() { 0 } else { self.connection(peer) },
            topic: topic.map(Into::into),
            bytes: bytes.to_vec(),
            lost,
        };
        if self.queue.try_send(chunk).is_err() {
            waiting.fetch_sub(length, Ordering::Relaxed);
            self.lost.fetch_add(lost + 1, Ordering::Relaxed);
        }
    }

    fn connection(&self, peer: &Arc<str>) -> u32 {
        let mut known = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let next = known.len();
        if let Some(number) = known.get(peer) {
            return *number;
        }
        let number = u32::try_from(next.min(CONNECTIONS_MAX - 1)).unwrap_or(0);
        if next < CONNECTIONS_MAX {
            known.insert(peer.clone(), number);
        }
        number
    }
}

fn size(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// Until the recorder is dropped or the file is full. Each chunk is written at once: a killed box leaves a whole tape.
fn write(file: &mut File, chunks: &Receiver<Chunk>, progress: &Progress, max_bytes: u64) -> io::Result<()> {
    while let Ok(chunk) = chunks.recv() {
        progress.waiting_bytes.fetch_sub(size(chunk.bytes.len()), Ordering::Relaxed);
        let lines = chunk.lines();
        if progress.bytes() + size(lines.len()) > max_bytes {
            return Ok(());
        }
        file.write_all(lines.as_bytes())?;
        progress.bytes.fetch_add(size(lines.len()), Ordering::Relaxed);
        progress.chunks.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::wire::tape::Tape;

    const MINUTE: Duration = Duration::from_secs(60);

    fn read(path: &Path) -> Tape {
        Tape::read(&std::fs::read(path).unwrap()).unwrap()
    }

    fn until(progress: &Progress, done: impl Fn(&Progress) -> bool) {
        let began = Instant::now();
        while !done(progress) {
            assert!(began.elapsed() < MINUTE, "the tape is not written");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    #[test]
    fn what_crosses_is_on_disk_at_once_and_only_its_owner_may_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tape");
        let limits = Limits { bytes: 1 << 20, span: MINUTE };
        let recorder = Recorder::start(&path, &Head { link: "x".into(), ..Head::default() }, limits).unwrap();
        assert!(Recorder::start(&path, &Head::default(), limits).is_err(), "nothing is overwritten");
        let (one, two): (Arc<str>, Arc<str>) = ("192.0.2.1:1".into(), "192.0.2.1:2".into());
        recorder.crossed(&one, Way::Open, None, b"");
        recorder.crossed(&two, Way::In, None, b"\x05");
        recorder.crossed(&two, Way::Out, None, b"\x06");
        recorder.crossed(&one, Way::In, Some("kits/1"), b"{}");
        let progress = recorder.progress();
        until(&progress, |progress| progress.chunks() == 4);
        // Still recording: it is there all the same.
        let tape = read(&path);
        let said: Vec<_> = tape.chunks.iter().map(|c| (c.way, c.connection, c.bytes.as_slice())).collect();
        assert_eq!(
            said,
            [(Way::Open, 0, &b""[..]), (Way::In, 1, b"\x05"), (Way::Out, 1, b"\x06"), (Way::In, 0, b"{}")]
        );
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(progress.bytes(), std::fs::metadata(&path).unwrap().len());
        drop(recorder);
        until(&progress, Progress::has_ended);
    }

    #[test]
    fn a_full_tape_ends_by_itself_and_stays_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tape");
        let recorder =
            Recorder::start(&path, &Head::default(), Limits { bytes: 2000, span: MINUTE }).unwrap();
        let (peer, progress): (Arc<str>, _) = ("p".into(), recorder.progress());
        until(&progress, |progress| {
            recorder.crossed(&peer, Way::In, None, &[b'a'; 100]);
            progress.has_ended()
        });
        let tape = read(&path);
        assert!(!tape.cut && tape.chunks.len() > 10 && std::fs::metadata(&path).unwrap().len() <= 2000);
        assert!(recorder.is_over());
        recorder.crossed(&peer, Way::In, None, b"more");
        assert_eq!(read(&path).chunks.len(), tape.chunks.len());
    }

    #[test]
    fn what_the_disk_cannot_keep_up_with_is_counted_and_never_held() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tape");
        let limits = Limits { bytes: 1 << 30, span: MINUTE };
        let recorder = Recorder::start(&path, &Head::default(), limits).unwrap();
        let (peer, progress): (Arc<str>, _) = ("p".into(), recorder.progress());
        // As if so much were waiting.
        progress.waiting_bytes.store(QUEUE_BYTES + 1, Ordering::Relaxed);
        recorder.crossed(&peer, Way::In, None, b"lost");
        recorder.crossed(&peer, Way::In, None, b"lost too");
        progress.waiting_bytes.store(0, Ordering::Relaxed);
        recorder.crossed(&peer, Way::In, None, b"kept");
        until(&progress, |progress| progress.chunks() == 1);
        let tape = read(&path);
        assert_eq!((tape.chunks[0].lost, tape.chunks[0].bytes.as_slice()), (2, &b"kept"[..]));
    }
}
