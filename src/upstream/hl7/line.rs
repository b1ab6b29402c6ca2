//! One MLLP connection to a receiver: opened when something is to be sent, closed when an answer does not come.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::answer::Answer;
use super::config::{Acknowledge, Config};
use crate::clock::SharedClock;
use crate::hl7v2::{self, AckCode, Charset};
use crate::sabotage::{Sabotage, commits};
use crate::tls::{self, Words};
use crate::wire::mllp::{MllpFramer, Settings, wrap};
use crate::wire::{Answer as Told, Framer, Step};

/// An acknowledgement is short.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// For receivers that write bare HL7 without start and end block.
const UNFRAMED_QUIET_MS: u64 = 500;

const WORDS: Words<'static> = Words { other: "the receiver", plain: "no `tls` in the destination's mllp" };

/// A way to the receiver, plain or with TLS.
trait Socket: AsyncRead + AsyncWrite + Unpin + Send + Sync {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync> Socket for T {}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The acknowledgement that ends it.
    Answered(Answer),
    /// The receiver took it over; its application will answer later, or was to answer and did not in time.
    Committed(Answer),
    /// It was sent, and no answer came: sent again it may arrive twice. `why` names no patient.
    Unanswered { why: String },
    /// It was not sent.
    Unreachable { why: String },
}

/// A message and what is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Sent<'m> {
    pub message: &'m [u8],
    /// MSH-10; empty when it has none.
    pub control_id: &'m str,
    pub acknowledge: Acknowledge,
    /// MSH-16 asks the receiver's application to answer.
    pub application: bool,
}

/// A connection that is there when it is needed.
pub struct Line {
    config: Config,
    /// What the receiver writes in where its answers do not say it.
    charset: Charset,
    clock: SharedClock,
    open: Option<Open>,
    /// Answers to messages whose commit accept came before.
    later: Vec<Answer>,
    /// Acknowledgements that fit no message on its way.
    foreign: u64,
}

struct Open {
    socket: Box<dyn Socket>,
    framer: MllpFramer,
    since: Instant,
    /// Nothing was sent on it yet.
    fresh: bool,
}

/// Why no answer can be read any more.
enum Broken {
    Closed,
    Failed(std::io::Error),
    /// Not in time.
    Late,
}

impl Line {
    pub fn new(config: Config, charset: Charset, clock: SharedClock) -> Self {
        Self { config, charset, clock, open: None, later: Vec::new(), foreign: 0 }
    }

    /// Whether a connection is open.
    pub const fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Acknowledgements since the last call that fitted no message.
    pub fn take_foreign(&mut self) -> u64 {
        std::mem::take(&mut self.foreign)
    }

    /// Answers of the receiver's application to messages that were committed before.
    pub fn take_later(&mut self) -> Vec<Answer> {
        std::mem::take(&mut self.later)
    }

    /// Opens the connection if there is none.
    ///
    /// # Errors
    /// Why the receiver cannot be reached, for people.
    pub async fn connect(&mut self) -> Result<(), String> {
        if self.open.is_some() {
            return Ok(());
        }
        let address = &self.config.address;
        let connecting = tokio::time::timeout(self.config.connect_timeout(), TcpStream::connect(address));
        let socket = match connecting.await {
            Ok(Ok(socket)) => socket,
            Ok(Err(error)) => return Err(format!("cannot connect to {address}: {}", error.kind())),
            Err(_) => {
                return Err(format!("{address} does not answer within {} s", self.config.connect_timeout_s));
            }
        };
        drop(socket.set_nodelay(true));
        let socket: Box<dyn Socket> = match &self.config.tls {
            None => Box::new(socket),
            Some(tls) => Box::new(tls::call(tls, self.config.host(), socket, WORDS).await?),
        };
        let settings = Settings {
            max_message_bytes: ANSWER_BYTES_MAX,
            message_timeout_s: self.config.answer_timeout_s.saturating_mul(2),
            unframed_quiet_ms: Some(UNFRAMED_QUIET_MS),
            ..Settings::default()
        };
        let framer = MllpFramer::new(settings);
        self.open = Some(Open { socket, framer, since: Instant::now(), fresh: true });
        Ok(())
    }

    /// Sends a message and waits for its acknowledgement.
    pub async fn deliver(&mut self, sent: &Sent<'_>) -> Outcome {
        // What came while nobody waited is nobody's answer; and a receiver that has gone is found out before it costs a try.
        if !commits(Sabotage::LateAnswer) {
            self.drain(sent.control_id).await;
        }
        loop {
            if let Err(why) = self.connect().await {
                return Outcome::Unreachable { why };
            }
            let fresh = self.open.as_ref().is_some_and(|open| open.fresh);
            match self.exchange(sent).await {
                Ok(outcome) => return outcome,
                Err(Broken::Late) if commits(Sabotage::LateAnswer) => {
                    return Outcome::Unanswered { why: self.told(&Broken::Late) };
                }
                Err(broken) => {
                    self.open = None;
                    // A connection that idled may have been dropped on the way without a word.
                    if !fresh && !matches!(broken, Broken::Late) {
                        continue;
                    }
                    return Outcome::Unanswered { why: self.told(&broken) };
                }
            }
        }
    }

    fn told(&self, broken: &Broken) -> String {
        let address = &self.config.address;
        match broken {
            Broken::Closed => format!("{address} closed the connection without an answer"),
            Broken::Failed(error) => tls::explain_later(error, self.config.host(), WORDS)
                .unwrap_or_else(|| format!("the connection to {address} was lost: {}", error.kind())),
            Broken::Late => format!("{address} did not answer within {} s", self.config.answer_timeout_s),
        }
    }

    async fn exchange(&mut self, sent: &Sent<'_>) -> Result<Outcome, Broken> {
        let until = Instant::now() + self.config.answer_timeout();
        let Some(open) = &mut self.open else { return Err(Broken::Closed) };
        open.fresh = false;
        let block = wrap(sent.message);
        let writing = async {
            open.socket.write_all(&block).await?;
            open.socket.flush().await
        };
        match timeout_at(until, writing).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(Broken::Failed(error)),
            Err(_) => return Err(Broken::Late),
        }
        let mut committed = None;
        loop {
            let frame = match self.frame(until).await {
                Ok(frame) => frame,
                // The receiver has it, whatever its application makes of it.
                Err(_) if committed.is_some() => break,
                Err(broken) => return Err(broken),
            };
            let Some(answer) = self.read(&frame).await else { continue };
            if answer.control_id != sent.control_id && !commits(Sabotage::LateAnswer) {
                self.foreign(answer);
                continue;
            }
            match (sent.acknowledge, answer.code) {
                (Acknowledge::Enhanced, AckCode::CA) => {
                    return Ok(if sent.application {
                        Outcome::Committed(answer)
                    } else {
                        Outcome::Answered(answer)
                    });
                }
                // Not the answer that was waited for, and still its word that it has the message.
                (Acknowledge::Original, AckCode::CA) => committed = Some(answer),
                _ => return Ok(Outcome::Answered(answer)),
            }
        }
        self.open = None;
        committed.map(Outcome::Answered).ok_or(Broken::Late)
    }

    /// Waits for answers of the receiver's application until `until`; returns when one came. May be given up at any
    /// moment: what was read is not lost.
    pub async fn hear(&mut self, until: Instant) {
        while self.later.is_empty() {
            match self.frame(until).await {
                Ok(frame) => {
                    if let Some(answer) = self.understood(&frame) {
                        let wants_commit = answer.wants_commit;
                        self.foreign(answer);
                        if wants_commit {
                            self.commit(&frame).await;
                        }
                    }
                }
                Err(Broken::Late) => return,
                Err(Broken::Closed | Broken::Failed(_)) => {
                    self.open = None;
                    tokio::time::sleep_until(until).await;
                    return;
                }
            }
        }
    }

    /// Reads what has come already, without waiting.
    async fn drain(&mut self, control_id: &str) {
        while self.open.is_some() {
            match self.frame(Instant::now()).await {
                Ok(frame) => match self.read(&frame).await {
                    // An answer before the question would be of an earlier try, whose connection is gone.
                    Some(answer) if answer.control_id == control_id => self.foreign += 1,
                    Some(answer) => self.foreign(answer),
                    None => {}
                },
                Err(Broken::Late) => return,
                Err(Broken::Closed | Broken::Failed(_)) => self.open = None,
            }
        }
    }

    /// An acknowledgement of no message on its way: perhaps the application's of one before.
    fn foreign(&mut self, answer: Answer) {
        if matches!(answer.code, AckCode::AA | AckCode::AE | AckCode::AR) && self.later.len() < 1_000 {
            self.later.push(answer);
        } else {
            self.foreign += 1;
        }
    }

    /// Reads an acknowledgement, and acknowledges it where it asks for that.
    async fn read(&mut self, frame: &[u8]) -> Option<Answer> {
        let answer = self.understood(frame)?;
        if answer.wants_commit {
            self.commit(frame).await;
        }
        Some(answer)
    }

    fn understood(&mut self, frame: &[u8]) -> Option<Answer> {
        let answer = Answer::read(frame, self.charset);
        self.foreign += u64::from(answer.is_none());
        answer
    }

    async fn commit(&mut self, answer: &[u8]) {
        let now = self.clock.now();
        let commit = hl7v2::acknowledge(answer, AckCode::CA, "", &format!("C{}", now.micros), now);
        if let (Some(commit), Some(open)) = (commit, &mut self.open) {
            // Not taken, the receiver says its answer again, which harms nobody.
            drop(open.socket.write_all(&wrap(&commit)).await);
        }
    }

    /// The next message of the receiver. With `until` in the past: only what is there.
    async fn frame(&mut self, until: Instant) -> Result<Vec<u8>, Broken> {
        let Some(open) = &mut self.open else { return Err(Broken::Closed) };
        let mut bytes = [0; 4_096];
        let mut over = false;
        loop {
            let now = open.since.elapsed();
            while let Some(step) = open.framer.step() {
                match step {
                    Step::Frame { ticket, bytes, .. } => {
                        open.framer.answer(ticket, Told::Kept { body: None }, now);
                        return Ok(bytes);
                    }
                    Step::Close(_) => return Err(Broken::Closed),
                    _ => {}
                }
            }
            if over {
                return Err(Broken::Late);
            }
            let quiet = open.framer.deadline().map_or(until, |at| until.min(open.since + at));
            match timeout_at(quiet, open.socket.read(&mut bytes)).await {
                Ok(Ok(0)) => return Err(Broken::Closed),
                Ok(Ok(count)) => {
                    let now = open.since.elapsed();
                    open.framer.feed(bytes.get(..count).unwrap_or_default(), now);
                }
                Ok(Err(error)) => return Err(Broken::Failed(error)),
                Err(_) => {
                    over = Instant::now() >= until;
                    open.framer.tick(open.since.elapsed() + Duration::from_millis(1));
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;
