//! A point-of-care device that speaks CLSI POCT1-A (POCT01-A2, annex B): it dials the host, says hello and its
//! status, sends observations when they are asked for, and forgets one only when it was acknowledged with AA.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Told;

const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// A host message is never so long; what is longer is not a host's.
const MESSAGE_MAX: usize = 64 << 10;

/// Where a conversation stands, as the device sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Apart,
    Hello,
    Status,
    /// The host asked for observations.
    Asked,
    Continuous,
    Ended,
}

/// The device's side of a conversation, without I/O: what it says to what it hears.
#[derive(Clone, Debug, Default)]
pub struct Instrument {
    device: String,
    /// Bodies of observations the host has not acknowledged, oldest first.
    kept: VecDeque<String>,
    phase: Phase,
    control_id: u64,
    /// The control id of the message whose acknowledgement is awaited.
    awaited: Option<u64>,
    /// The oldest observation was refused in this conversation; it is said again when [`Instrument::retry`] says so.
    refused: bool,
    half: Vec<u8>,
    /// Observations acknowledged and therefore forgotten.
    pub forgotten: u64,
    /// Observations the host would not have.
    pub refusals: u64,
}

impl Instrument {
    /// One that calls itself so (`DEV.device_id`, `DEV.serial_id`) and can stay on the line.
    pub fn new(serial: &str) -> Self {
        let device = format!(
            "<DEV><DEV.device_id V=\"{serial}\"/><DEV.vendor_id V=\"BEDSIDE\"/><DEV.model_id V=\"SIM-POC\"/>\
             <DEV.serial_id V=\"{serial}\"/><DSC><DSC.connection_profile_cd V=\"SA\"/>\
             <DSC.directives_supported_cd V=\"START_CONTINUOUS\"/></DSC></DEV>"
        );
        Self { device, ..Self::default() }
    }

    /// Something was measured: the body of an `OBS.R01`, from `<SVC>` on.
    pub fn observe(&mut self, body: &str) {
        self.kept.push_back(body.to_owned());
    }

    /// How many observations wait for their acknowledgement.
    pub fn unacknowledged(&self) -> usize {
        self.kept.len()
    }

    /// Whether the host ended the conversation.
    pub fn is_ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    /// A new connection: everything not acknowledged is still here.
    pub fn dial(&mut self) -> Vec<u8> {
        self.half.clear();
        self.refused = false;
        self.phase = Phase::Hello;
        let device = self.device.clone();
        self.say("HEL.R01", &device, true)
    }

    /// Says a refused observation, or a new one, when the host wants them by themselves.
    pub fn retry(&mut self) -> Vec<u8> {
        self.refused = false;
        self.go_on()
    }

    /// Takes what the host said; returns what the device says to it.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.half.extend_from_slice(bytes);
        let mut said = Vec::new();
        while let Some(message) = self.whole() {
            said.extend(self.answer(&message));
        }
        if self.half.len() > MESSAGE_MAX {
            self.half.clear();
        }
        said
    }

    /// The next message that has come to the end of its root element.
    fn whole(&mut self) -> Option<String> {
        const ROOTS: [&str; 4] = ["ACK.R01", "REQ.R01", "DTV.R01", "END.R01"];
        let text = String::from_utf8_lossy(&self.half).into_owned();
        let ends = ROOTS.iter().filter_map(|root| {
            let end = format!("</{root}>");
            text.find(&end).map(|at| at + end.len())
        });
        let end = ends.min()?;
        self.half.drain(..end.min(self.half.len()));
        text.get(..end).map(str::to_owned)
    }

    fn answer(&mut self, message: &str) -> Vec<u8> {
        let said = |name: &str| {
            let (_, rest) = message.split_once(&format!("<{name} V=\""))?;
            rest.split('"').next()
        };
        if let Some(kind) = said("ACK.type_cd") {
            let named = said("ACK.ack_control_id").and_then(|id| id.parse().ok());
            return if named.is_some() && named == self.awaited {
                self.acknowledged(kind == "AA")
            } else {
                Vec::new()
            };
        }
        let accept = format!(
            "<ACK><ACK.type_cd V=\"AA\"/><ACK.ack_control_id V=\"{}\"/></ACK>",
            said("HDR.control_id").unwrap_or_default()
        );
        let mut answer = self.say("ACK.R01", &accept, false);
        if said("REQ.request_cd") == Some("ROBS") {
            self.phase = Phase::Asked;
            answer.extend(self.go_on());
        } else if said("DTV.command_cd") == Some("START_CONTINUOUS") {
            self.phase = Phase::Continuous;
            answer.extend(self.go_on());
        } else if message.contains("<END.R01>") {
            self.phase = Phase::Ended;
        }
        answer
    }

    fn acknowledged(&mut self, accepted: bool) -> Vec<u8> {
        self.awaited = None;
        match self.phase {
            Phase::Hello => {
                self.phase = Phase::Status;
                let status = format!("<DST><DST.new_observations_qty V=\"{}\"/></DST>", self.kept.len());
                self.say("DST.R01", &status, true)
            }
            Phase::Asked | Phase::Continuous => {
                if accepted {
                    self.kept.pop_front();
                    self.forgotten += 1;
                } else {
                    self.refusals += 1;
                    self.refused = true;
                }
                self.go_on()
            }
            _ => Vec::new(),
        }
    }

    /// The next observation, or the end of the topic that was asked for.
    fn go_on(&mut self) -> Vec<u8> {
        let next = self.kept.front().filter(|_| !self.refused).cloned();
        match (self.phase, next) {
            (Phase::Asked | Phase::Continuous, Some(body)) if self.awaited.is_none() => {
                self.say("OBS.R01", &body, true)
            }
            (Phase::Asked, None) => {
                // What follows is the host's to say.
                self.phase = Phase::Status;
                self.say("EOT.R01", "<EOT><EOT.topic_cd V=\"OBS\"/></EOT>", false)
            }
            _ => Vec::new(),
        }
    }

    fn say(&mut self, root: &str, body: &str, answered: bool) -> Vec<u8> {
        self.control_id += 1;
        if answered {
            self.awaited = Some(self.control_id);
        }
        let id = self.control_id;
        format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><{root}><HDR><HDR.message_type V=\"{root}\"/>\
             <HDR.control_id V=\"{id}\"/><HDR.version_id V=\"POCT1\"/></HDR>{body}</{root}>\r\n"
        )
        .into_bytes()
    }
}

/// The device on a line: dials when it has something to say, and stays as long as the host keeps it.
#[derive(Debug)]
pub struct Speaker {
    address: SocketAddr,
    line: Option<TcpStream>,
    pub instrument: Instrument,
}

impl Speaker {
    pub fn new(address: SocketAddr, serial: &str) -> Self {
        Self { address, line: None, instrument: Instrument::new(serial) }
    }

    /// Measures `body`, unless it is what still waits, and says what waits until it is acknowledged, refused, or
    /// the line is lost.
    pub async fn say(&mut self, body: &str) -> io::Result<Told> {
        let body = body.trim();
        if self.instrument.kept.back().is_none_or(|last| last != body) {
            self.instrument.observe(body);
        }
        let mut line = match self.line.take() {
            Some(line) => {
                let mut line = line;
                line.write_all(&self.instrument.retry()).await?;
                line
            }
            None => {
                let mut line = TcpStream::connect(self.address).await?;
                line.set_nodelay(true)?;
                line.write_all(&self.instrument.dial()).await?;
                line
            }
        };
        let refusals = self.instrument.refusals;
        let mut heard = [0; 4096];
        while self.instrument.unacknowledged() > 0 && self.instrument.refusals == refusals {
            let read = tokio::time::timeout(ANSWER_WITHIN, line.read(&mut heard)).await??;
            if read == 0 || self.instrument.is_ended() {
                return Ok(Told::Again("the conversation ended before the acknowledgement".into()));
            }
            let said = self.instrument.feed(heard.get(..read).unwrap_or_default());
            line.write_all(&said).await?;
        }
        if !self.instrument.is_ended() {
            self.line = Some(line);
        }
        if self.instrument.refusals > refusals {
            return Ok(Told::Again("refused with AE".into()));
        }
        Ok(Told::Acknowledged)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::clock::TestClock;
    use crate::connector::{Frame, Intake, Later, LinkState, Receipt, Stop, tcp};
    use crate::wire::poct1a::{Poct1aFramer, Settings};
    use crate::wire::{Answer, Codec, Framer, Step};

    const BODY: &str = "<SVC><PT><OBS><OBS.value V=\"7\"/></OBS></PT></SVC>";

    /// Host and device until neither has more to say; the host keeps what `keeps` says yes to. Returns the frames.
    fn talk(
        host: &mut Poct1aFramer,
        device: &mut Instrument,
        first: Vec<u8>,
        mut keeps: impl FnMut(usize) -> bool,
    ) -> Vec<String> {
        let mut frames = Vec::new();
        let mut to_host = first;
        while !to_host.is_empty() {
            host.feed(&std::mem::take(&mut to_host), Duration::ZERO);
            while let Some(step) = host.step() {
                match step {
                    Step::Send(bytes) => to_host.extend(device.feed(&bytes)),
                    Step::Frame { ticket, bytes, .. } => {
                        let answer = match keeps(frames.len()) {
                            true => Answer::Kept { body: None },
                            false => Answer::Refused { body: None },
                        };
                        frames.push(String::from_utf8(bytes).unwrap());
                        host.answer(ticket, answer, Duration::ZERO);
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        frames
    }

    #[test]
    fn a_whole_conversation_leaves_nothing_behind_and_goes_on_by_itself() {
        let (mut host, mut device) = (Poct1aFramer::new(Settings::default()), Instrument::new("S-1"));
        device.observe(BODY);
        device.observe(&BODY.replace('7', "8"));
        let hello = device.dial();
        assert_eq!(talk(&mut host, &mut device, hello, |_| true).len(), 2);
        assert_eq!((device.unacknowledged(), device.forgotten, device.phase), (0, 2, Phase::Continuous));
        device.observe(&BODY.replace('7', "9"));
        let more = device.retry();
        let frames = talk(&mut host, &mut device, more, |_| true);
        assert!(frames.len() == 1 && frames[0].contains("V=\"9\""), "{frames:?}");
    }

    #[test]
    fn what_was_refused_is_not_forgotten_and_said_again() {
        let (mut host, mut device) = (Poct1aFramer::new(Settings::default()), Instrument::new("S-1"));
        device.observe(BODY);
        let hello = device.dial();
        let frames = talk(&mut host, &mut device, hello, |_| false);
        assert_eq!((frames.len(), device.unacknowledged(), device.refusals), (1, 1, 1));
        let again = device.retry();
        assert_eq!(talk(&mut host, &mut device, again, |_| true), frames);
        assert_eq!((device.unacknowledged(), device.forgotten), (0, 1));
    }

    #[test]
    fn what_was_not_acknowledged_outlives_the_line_and_another_ids_answer_changes_nothing() {
        let mut device = Instrument::new("S-1");
        device.observe(BODY);
        device.dial();
        device.phase = Phase::Asked;
        device.awaited = Some(9);
        device.feed(b"<ACK.R01><ACK><ACK.type_cd V=\"AA\"/><ACK.ack_control_id V=\"8\"/></ACK></ACK.R01>");
        assert_eq!(device.unacknowledged(), 1);
        let mut host = Poct1aFramer::new(Settings::default());
        let hello = device.dial();
        assert_eq!(talk(&mut host, &mut device, hello, |_| true).len(), 1);
    }

    #[test]
    fn a_host_that_hangs_up_politely_is_called_again() {
        let settings = Settings { continuous: false, ..Settings::default() };
        let (mut host, mut device) = (Poct1aFramer::new(settings), Instrument::new("S-1"));
        device.observe(BODY);
        let hello = device.dial();
        assert_eq!(talk(&mut host, &mut device, hello, |_| true).len(), 1);
        assert!(device.is_ended());
    }

    /// Keeps in memory, after it refused once.
    #[derive(Default)]
    struct Shelf {
        frames: Mutex<Vec<String>>,
        address: Mutex<Option<SocketAddr>>,
    }

    impl Intake for Shelf {
        fn keep(&self, frame: Frame) -> Later<'_, Receipt> {
            let mut frames = self.frames.lock().unwrap();
            frames.push(String::from_utf8(frame.bytes.to_vec()).unwrap());
            Box::pin(std::future::ready(match frames.len() {
                1 => Receipt::Refused { full: true, reason: "no room".into() },
                _ => Receipt::Kept { duplicate: false },
            }))
        }

        fn keep_part(&self, _frame: Frame) -> Later<'_, Receipt> {
            panic!("a conversation has no parts")
        }

        fn parts_broken(&self, _link: Arc<str>, _peer: Arc<str>, _reason: String) -> Later<'_, ()> {
            Box::pin(std::future::ready(()))
        }

        fn note(&self, _link: &str, _code: &'static str, _text: &str) {}

        fn state(&self, _link: &str, state: LinkState) {
            if let LinkState::Up { detail, .. } = state
                && let Some(address) = detail.strip_prefix("listening on ")
            {
                *self.address.lock().unwrap() = address.parse().ok();
            }
        }
    }

    #[tokio::test]
    async fn over_tcp_a_refused_observation_stays_with_the_device_and_is_said_again() {
        let shelf = Arc::new(Shelf::default());
        let (switch, stop) = Stop::pair();
        let listen = toml::from_str("listen = \"127.0.0.1:0\"").unwrap();
        let codec = Codec::Poct1a(Settings::default()).into();
        let task = tokio::spawn(tcp::run("poc".into(), listen, codec, shelf.clone(), TestClock::at(0), stop));
        while shelf.address.lock().unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let address = shelf.address.lock().unwrap().unwrap();
        let mut device = Speaker::new(address, "S-1");
        assert!(matches!(device.say(BODY).await.unwrap(), Told::Again(_)));
        assert_eq!((device.instrument.unacknowledged(), device.instrument.refusals), (1, 1));
        assert_eq!(device.say(BODY).await.unwrap(), Told::Acknowledged);
        assert_eq!(device.say(&BODY.replace('7', "8")).await.unwrap(), Told::Acknowledged);
        assert_eq!((device.instrument.unacknowledged(), device.instrument.forgotten), (0, 2));
        let said = shelf.frames.lock().unwrap().clone();
        assert_eq!(said.len(), 3);
        assert_eq!(said[0], said[1], "the same result is the same frame");
        assert!(said[2].contains("V=\"8\"") && said[2].contains("<HEL.R01>"), "{}", said[2]);
        switch.send_replace(true);
        task.await.unwrap();
    }
}
