//! A point-of-care device that speaks CLSI POCT1-A (POCT01-A2, annex B): says hello and its status, sends its
//! observations when they are asked for, and forgets them only when each was acknowledged with AA.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Message, Said, Speaker, Told};

/// How long an answer may take before the message is said again.
const PATIENCE: Duration = Duration::from_secs(5);
/// A host message is never so long; what is longer is not a host's.
const HEARD_MAX: usize = 64 << 10;

const HELLO: &[u8] = b"<HEL.R01><DEV><DEV.device_id V=\"SIM\"/><DEV.vendor_id V=\"BEDSIDE\"/>\
    <DSC><DSC.connection_profile_cd V=\"SA\"/><DSC.directives_supported_cd V=\"START_CONTINUOUS\"/></DSC>\
    </DEV></HEL.R01>";
const STATUS: &[u8] =
    b"<DST.R01><DST><DST.new_observations_qty V=\"1\"/><DST.condition_cd V=\"R\"/></DST></DST.R01>";
const END_OF_TOPIC: &[u8] = b"<EOT.R01><EOT><EOT.topic_cd V=\"OBS\"/></EOT></EOT.R01>";

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
}

/// The device's side of a conversation.
#[derive(Debug, Default)]
pub(super) struct PointOfCare {
    phase: Phase,
    hello: Vec<u8>,
    /// Observations of the message the host has not acknowledged.
    kept: VecDeque<Vec<u8>>,
    /// Until when the message is to be acknowledged.
    until: Option<Duration>,
    control_id: u64,
    /// The control id of the document whose acknowledgement is awaited.
    awaited: Option<u64>,
    heard: Vec<u8>,
    out: VecDeque<Said>,
}

impl PointOfCare {
    /// Says a document, with the header of the standard; `answered`: nothing more until it is acknowledged.
    fn send(&mut self, document: &[u8], answered: bool) {
        self.control_id += 1;
        if answered {
            self.awaited = Some(self.control_id);
        }
        self.out.push_back(Said::Send(with_header(document, self.control_id)));
    }

    fn finish(&mut self, told: Told) {
        self.kept.clear();
        if self.until.take().is_some() {
            self.out.push_back(Said::Told(told));
        }
    }

    fn dial(&mut self) {
        self.phase = Phase::Hello;
        let hello = self.hello.clone();
        self.send(&hello, true);
    }

    fn answer(&mut self, message: &str, now: Duration) {
        if let Some(kind) = said(message, "ACK.type_cd") {
            let named = said(message, "ACK.ack_control_id").and_then(|id| id.parse().ok());
            if named.is_some() && named == self.awaited {
                self.acknowledged(kind == "AA", now);
            }
            return;
        }
        let accept = format!(
            "<ACK.R01><ACK><ACK.type_cd V=\"AA\"/><ACK.ack_control_id V=\"{}\"/></ACK></ACK.R01>",
            said(message, "HDR.control_id").unwrap_or_default()
        );
        self.send(accept.as_bytes(), false);
        if said(message, "REQ.request_cd") == Some("ROBS") {
            self.phase = Phase::Asked;
            self.go_on();
        } else if said(message, "DTV.command_cd") == Some("START_CONTINUOUS") {
            self.phase = Phase::Continuous;
            self.go_on();
        } else if message.contains("<END.R01>") {
            self.phase = Phase::Apart;
            // What was said meanwhile belongs to the next conversation.
            if self.until.is_some() {
                self.dial();
            }
        }
    }

    fn acknowledged(&mut self, accepted: bool, now: Duration) {
        self.awaited = None;
        if !accepted {
            self.phase = Phase::Apart;
            return self.finish(Told::Again("refused".into()));
        }
        if let Some(until) = &mut self.until {
            *until = now + PATIENCE;
        }
        match self.phase {
            Phase::Hello => {
                self.phase = Phase::Status;
                self.send(STATUS, true);
            }
            Phase::Asked | Phase::Continuous => {
                self.kept.pop_front();
                self.go_on();
            }
            Phase::Apart | Phase::Status => {}
        }
    }

    /// The next observation, or the end of the topic that was asked for.
    fn go_on(&mut self) {
        let next = self.kept.front().cloned();
        match (self.phase, next) {
            (Phase::Asked | Phase::Continuous, Some(observation)) if self.awaited.is_none() => {
                self.send(&observation, true);
            }
            (Phase::Asked | Phase::Continuous, None) => {
                if self.phase == Phase::Asked {
                    // What follows is the host's to say.
                    self.phase = Phase::Status;
                    self.send(END_OF_TOPIC, false);
                }
                self.finish(Told::Acknowledged);
            }
            _ => {}
        }
    }
}

impl Speaker for PointOfCare {
    fn open(&mut self, _now: Duration) {
        (self.phase, self.awaited) = (Phase::Apart, None);
        self.heard.clear();
        self.finish(Told::Again("the line was lost".into()));
    }

    fn say(&mut self, message: &Message, now: Duration) {
        let all = documents(&message.bytes);
        let (hello, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|one| one.starts_with(b"<HEL."));
        let hello = hello.into_iter().next().unwrap_or_else(|| HELLO.to_vec());
        let same = std::mem::replace(&mut self.hello, hello) == self.hello;
        self.kept = others.into();
        self.until = Some(now + PATIENCE);
        match self.phase {
            Phase::Continuous if same => self.go_on(),
            // The host says what follows: observations one by one, or the end of the conversation.
            Phase::Status if same => {}
            _ => self.dial(),
        }
    }

    fn hear(&mut self, bytes: &[u8], now: Duration) {
        self.heard.extend_from_slice(bytes);
        while let Some(message) = whole(&mut self.heard) {
            self.answer(&message, now);
        }
        if self.heard.len() > HEARD_MAX {
            self.heard.clear();
        }
    }

    fn tick(&mut self, now: Duration) {
        if self.until.is_some_and(|until| now >= until) {
            (self.phase, self.awaited) = (Phase::Apart, None);
            self.finish(Told::Again("no answer".into()));
        }
    }

    fn next(&mut self) -> Option<Said> {
        self.out.pop_front()
    }

    fn is_free(&self) -> bool {
        self.until.is_none()
    }
}

/// The attribute V of an element.
fn said<'m>(message: &'m str, name: &str) -> Option<&'m str> {
    let (_, rest) = message.split_once(&format!("<{name} V=\""))?;
    rest.split('"').next()
}

/// The next message that has come to the end of its root element.
fn whole(heard: &mut Vec<u8>) -> Option<String> {
    let ends = ["</ACK.R01>", "</REQ.R01>", "</DTV.R01>", "</END.R01>"];
    let ends = ends.iter().filter_map(|end| Some(memchr::memmem::find(heard, end.as_bytes())? + end.len()));
    let rest = heard.split_off(ends.min()?);
    Some(String::from_utf8_lossy(&std::mem::replace(heard, rest)).into_owned())
}

/// Puts the header of the standard into a document that was kept without one.
fn with_header(document: &[u8], control_id: u64) -> Vec<u8> {
    // A template says the services of an observation; the document around them is always the same.
    let whole = [b"<OBS.R01>", document, b"</OBS.R01>"].concat();
    let document = if document.starts_with(b"<SVC") { &whole } else { document };
    let end = memchr::memchr(b'>', document).map_or(document.len(), |at| at + 1);
    let (before, rest) = document.split_at(end);
    let root: String = before
        .iter()
        .skip(1)
        .take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'.')
        .map(|byte| char::from(*byte))
        .collect();
    let header = format!(
        "<HDR><HDR.message_type V=\"{root}\"/><HDR.control_id V=\"{control_id}\"/><HDR.version_id V=\"POCT1\"/></HDR>"
    );
    [before, header.as_bytes(), rest].concat()
}

/// The documents of a capture: from each opening to its closing root.
fn documents(message: &[u8]) -> Vec<Vec<u8>> {
    let text = String::from_utf8_lossy(message);
    let mut found = Vec::new();
    let mut rest = &*text;
    while let Some(at) = rest.find(['<']) {
        rest = rest.get(at..).unwrap_or_default();
        if rest.starts_with("<?") || rest.starts_with("<!") {
            rest = rest.split_once('>').map_or("", |(_, rest)| rest);
            continue;
        }
        let root: String =
            rest.chars().skip(1).take_while(|c| c.is_ascii_alphanumeric() || *c == '.').collect();
        let close = format!("</{root}>");
        let Some(end) = rest.find(&close).map(|at| at + close.len()) else { break };
        found.push(rest.get(..end).unwrap_or_default().as_bytes().to_vec());
        rest = rest.get(end..).unwrap_or_default();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::poct1a::{Poct1aFramer, Settings};
    use crate::wire::{Answer, Framer, Step};

    const BODY: &str = "<SVC><PT><OBS><OBS.value V=\"7\"/></OBS></PT></SVC>";
    const NOW: Duration = Duration::ZERO;

    fn body(value: &str) -> Message {
        Message::of(BODY.replace('7', value).into_bytes())
    }

    /// Host and device until neither has more to say; the host keeps what `keeps` says. Returns the frames and what
    /// became of the message.
    fn talk(host: &mut Poct1aFramer, device: &mut PointOfCare, keeps: bool) -> (Vec<String>, Vec<Told>) {
        let (mut frames, mut told) = (Vec::new(), Vec::new());
        loop {
            let mut quiet = true;
            while let Some(said) = device.next() {
                quiet = false;
                match said {
                    Said::Send(bytes) => host.feed(&bytes, NOW),
                    Said::Told(one) => told.push(one),
                }
            }
            while let Some(step) = host.step() {
                quiet = false;
                match step {
                    Step::Send(bytes) => device.hear(&bytes, NOW),
                    Step::Frame { ticket, bytes, .. } => {
                        let kept =
                            if keeps { Answer::Kept { body: None } } else { Answer::Refused { body: None } };
                        frames.push(String::from_utf8(bytes).unwrap());
                        host.answer(ticket, kept, NOW);
                    }
                    Step::Close(_) => return (frames, told),
                    other => panic!("{other:?}"),
                }
            }
            if quiet {
                return (frames, told);
            }
        }
    }

    #[test]
    fn a_conversation_goes_on_by_itself_and_another_device_begins_another() {
        let (mut host, mut device) = (Poct1aFramer::new(Settings::default()), PointOfCare::default());
        device.open(NOW);
        for value in ["7", "8"] {
            device.say(&body(value), NOW);
            let (frames, told) = talk(&mut host, &mut device, true);
            assert!(frames.len() == 1 && frames[0].contains(&format!("V=\"{value}\"")), "{frames:?}");
            assert_eq!((told, device.phase), (vec![Told::Acknowledged], Phase::Continuous));
        }
        let hello = String::from_utf8(HELLO.to_vec()).unwrap().replace("SIM", "OTHER");
        device.say(&Message::of(format!("{hello}{BODY}").into_bytes()), NOW);
        let (frames, told) = talk(&mut host, &mut device, true);
        assert!(frames.len() == 1 && frames[0].contains("OTHER"), "{frames:?}");
        assert_eq!(told, [Told::Acknowledged]);
    }

    #[test]
    fn what_was_refused_is_said_again_as_it_was() {
        let (mut host, mut device) = (Poct1aFramer::new(Settings::default()), PointOfCare::default());
        device.open(NOW);
        device.say(&body("7"), NOW);
        let (refused, told) = talk(&mut host, &mut device, false);
        assert_eq!(told, [Told::Again("refused".into())]);
        device.say(&body("7"), NOW);
        let (frames, told) = talk(&mut host, &mut device, true);
        assert_eq!((frames, told), (refused, vec![Told::Acknowledged]));
    }

    #[test]
    fn an_answer_that_names_another_document_changes_nothing_and_none_at_all_ends_the_wait() {
        let mut device = PointOfCare::default();
        device.open(NOW);
        device.say(&body("7"), NOW);
        (device.phase, device.awaited) = (Phase::Asked, Some(9));
        device
            .hear(b"<ACK.R01><ACK><ACK.type_cd V=\"AA\"/><ACK.ack_control_id V=\"8\"/></ACK></ACK.R01>", NOW);
        assert_eq!((device.kept.len(), device.is_free()), (1, false));
        device.tick(PATIENCE);
        assert!(device.is_free());
    }

    #[test]
    fn a_host_that_ends_the_conversation_is_greeted_anew() {
        let settings = Settings { continuous: false, ..Settings::default() };
        let mut device = PointOfCare::default();
        for value in ["7", "8"] {
            let mut host = Poct1aFramer::new(settings.clone());
            device.open(NOW);
            device.say(&body(value), NOW);
            let (frames, told) = talk(&mut host, &mut device, true);
            assert_eq!((frames.len(), told), (1, vec![Told::Acknowledged]));
            assert_eq!(device.phase, Phase::Apart);
        }
    }
}
