//! Plays a tape to a box: what the device said, in its pieces and at its pace, and never past an answer it waited for.

use std::time::Duration;

use tokio::time::Instant;

use super::stage::Line;
use crate::wire::tape::{Chunk, Tape, Way};

/// How fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// So many times as fast as it was recorded.
    Times(u32),
    /// Without pauses, but with the answers.
    Max,
}

impl std::str::FromStr for Pace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<u32>() {
            Ok(times @ 1..=10_000) => Ok(Self::Times(times)),
            _ if text == "max" => Ok(Self::Max),
            _ => Err("write 1, 10 or another whole number, or max".into()),
        }
    }
}

/// How long an answer that the tape has is waited for.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// Silence that ends an answer of unknown length.
const ANSWERED: Duration = Duration::from_millis(150);
/// Refused frames are sent again so often (LIS01-A2 §6.5.1.2).
const TRIES: u32 = 6;
const ACK: u8 = 0x06;
const NAK: u8 = 0x15;

/// What came of a replay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Chunks that were sent, and answers that came.
    pub sent: u64,
    pub answers: u64,
    /// Frames that were sent again after a NAK.
    pub again: u64,
}

/// Plays what the device said on one connection of the tape.
///
/// # Errors
/// When the line is lost, or an answer that the tape has does not come.
pub async fn play(line: &mut Line, tape: &Tape, connection: u32, pace: Pace) -> std::io::Result<Replayed> {
    let chunks: Vec<&Chunk> = tape.chunks.iter().filter(|chunk| chunk.connection == connection).collect();
    let mut done = Replayed::default();
    let mut last: Option<&Chunk> = None;
    let (mut clock, mut tape_at) = (Instant::now(), chunks.first().map_or(0, |chunk| chunk.ms));
    if let Line::Udp { .. } = line {
        // A device on UDP knows the box only when it was spoken to.
        line.read().await?;
    }
    for chunk in chunks {
        match chunk.way {
            Way::In => {
                pause(pace, chunk.ms, &mut tape_at, &mut clock).await;
                let first = done == Replayed::default();
                while !line.write(&chunk.bytes).await? {
                    // The box opens a port that was plugged in when it looks for it again.
                    if !first {
                        return Err(std::io::Error::other("nobody reads the port any more"));
                    }
                }
                if first {
                    clock = Instant::now();
                }
                done.sent += 1;
                last = Some(chunk);
            }
            Way::Out => {
                gate(line, chunk, last, &mut done).await?;
                // Time goes on from the answer: a slow box is not outrun.
                (clock, tape_at) = (Instant::now(), chunk.ms);
            }
            Way::Open | Way::Closed => {}
        }
    }
    Ok(done)
}

async fn pause(pace: Pace, ms: u64, tape_at: &mut u64, clock: &mut Instant) {
    if let Pace::Times(times) = pace {
        let due = *clock + Duration::from_millis(ms.saturating_sub(*tape_at)) / times;
        tokio::time::sleep_until(due).await;
        (*clock, *tape_at) = (due, ms);
    }
}

/// Waits for what the box says where the tape has its answer. A refused frame is sent again.
async fn gate(
    line: &mut Line,
    expected: &Chunk,
    last: Option<&Chunk>,
    done: &mut Replayed,
) -> std::io::Result<()> {
    for _ in 0..=TRIES {
        let answer = answer(line, &expected.bytes).await?;
        done.answers += 1;
        let refused = answer.contains(&NAK) && expected.bytes.contains(&ACK);
        let Some(last) = last.filter(|_| refused) else { return Ok(()) };
        line.write(&last.bytes).await?;
        done.again += 1;
    }
    Err(std::io::Error::other("the box refused a frame six times"))
}

async fn answer(line: &mut Line, expected: &[u8]) -> std::io::Result<Vec<u8>> {
    let silent = || {
        std::io::Error::new(std::io::ErrorKind::TimedOut, "the box did not answer where it did on the tape")
    };
    let mut answer = tokio::time::timeout(ANSWER_WITHIN, line.read()).await.map_err(|_| silent())??;
    // An acknowledgement names times and numbers of its own: its end counts, not its bytes.
    let mllp = expected.ends_with(&[0x1c, 0x0d]);
    while if mllp { !answer.ends_with(&[0x1c, 0x0d]) } else { answer.len() < expected.len() } {
        let patience = if mllp { ANSWER_WITHIN } else { ANSWERED };
        match tokio::time::timeout(patience, line.read()).await {
            Ok(more) => answer.extend(more?),
            Err(_) if mllp => return Err(silent()),
            Err(_) => break,
        }
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::wire::tape::Head;

    fn tape(chunks: &[(u64, Way, &[u8])]) -> Tape {
        let chunk = |(ms, way, bytes): &(u64, Way, &[u8])| Chunk {
            ms: *ms,
            way: *way,
            bytes: bytes.to_vec(),
            ..Chunk::default()
        };
        Tape { head: Head::default(), chunks: chunks.iter().map(chunk).collect(), cut: false }
    }

    /// The device's end and the box's.
    async fn line() -> (Line, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (Line::Tcp(near), listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn nothing_is_said_before_the_answer_and_a_refused_frame_is_said_again() {
        let tape = tape(&[
            (0, Way::In, b"\x05"),
            (5, Way::Out, b"\x06"),
            (9, Way::In, b"\x021H|\x03"),
            (60_000, Way::Out, b"\x06"),
            (60_001, Way::In, b"\x04"),
        ]);
        let (mut device, mut host) = line().await;
        let playing = tokio::spawn(async move { play(&mut device, &tape, 0, Pace::Max).await });
        let mut heard = [0; 32];
        assert_eq!(host.read(&mut heard).await.unwrap(), 1);
        host.write_all(b"\x06").await.unwrap();
        assert_eq!(host.read(&mut heard).await.unwrap(), 5);
        let early = tokio::time::timeout(Duration::from_millis(100), host.read(&mut heard)).await;
        assert!(early.is_err(), "it went on without an answer");
        host.write_all(b"\x15").await.unwrap();
        assert_eq!(host.read(&mut heard).await.unwrap(), 5, "again");
        host.write_all(b"\x06").await.unwrap();
        assert_eq!((host.read(&mut heard).await.unwrap(), heard[0]), (1, 4));
        assert_eq!(playing.await.unwrap().unwrap(), Replayed { sent: 3, answers: 3, again: 1 });
    }

    #[test]
    fn a_pace_is_a_number_or_max() {
        assert_eq!(("1".parse(), "max".parse()), (Ok(Pace::Times(1)), Ok(Pace::Max)));
        assert!("0".parse::<Pace>().is_err() && "fast".parse::<Pace>().unwrap_err().contains("max"));
    }
}
