//! Devices that send whole messages and wait for the answer that names them: HL7 over MLLP, and POCT1-A.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Said, Speaker, Told};
use crate::demo::device::mllp::judge;
use crate::wire::mllp;

/// How long an answer may take before the message is said again.
const PATIENCE: Duration = Duration::from_secs(10);
/// Of what the box says, no more than this is remembered.
const HEARD_MAX: usize = 256 << 10;

/// An HL7 sender.
#[derive(Debug, Default)]
pub(super) struct Mllp {
    open: Option<(Vec<u8>, Duration)>,
    heard: Vec<u8>,
    out: VecDeque<Said>,
}

impl Speaker for Mllp {
    fn open(&mut self, _now: Duration) {
        self.heard.clear();
        if self.open.take().is_some() {
            self.out.push_back(Said::Told(Told::Again("the line was lost".into())));
        }
    }

    fn say(&mut self, message: &[u8], now: Duration) {
        let message = with_cr(message);
        self.out.push_back(Said::Send(mllp::wrap(&message)));
        self.open = Some((message, now + PATIENCE));
    }

    fn hear(&mut self, bytes: &[u8], _now: Duration) {
        self.heard.extend_from_slice(bytes);
        while let Some(end) = memchr::memmem::find(&self.heard, &[0x1c, 0x0d]) {
            let rest = self.heard.split_off(end + 2);
            let block = std::mem::replace(&mut self.heard, rest);
            let answer = block.get(..end).unwrap_or_default();
            let answer = answer.strip_prefix(&[0x0b]).unwrap_or(answer);
            // Answers to what is not waited for, and orders, are not for this device.
            let Some((message, _)) = &self.open else { continue };
            let told = judge(message, answer);
            self.open = None;
            self.out.push_back(Said::Told(told));
        }
        if self.heard.len() > HEARD_MAX {
            self.heard.clear();
        }
    }

    fn tick(&mut self, now: Duration) {
        if self.open.as_ref().is_some_and(|(_, until)| now >= *until) {
            self.open = None;
            self.out.push_back(Said::Told(Told::Again("no answer".into())));
        }
    }

    fn next(&mut self) -> Option<Said> {
        self.out.pop_front()
    }

    fn is_free(&self) -> bool {
        self.open.is_none()
    }
}

/// Lines ended by CR, as HL7 and LIS02 want them.
pub(super) fn with_cr(message: &[u8]) -> Vec<u8> {
    let lines = message.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let mut text = lines.collect::<Vec<_>>().join(&b'\r');
    while text.last().is_some_and(u8::is_ascii_whitespace) {
        text.pop();
    }
    text.push(b'\r');
    text
}

/// A POCT1-A device: hello, status, and its observation when it is asked for.
#[derive(Debug, Default)]
pub(super) struct PointOfCare {
    /// What is still to be said of the message, and what each waits for before it.
    documents: VecDeque<(Vec<u8>, &'static str)>,
    under_way: bool,
    until: Duration,
    control_id: u64,
    heard: Vec<u8>,
    out: VecDeque<Said>,
}

const HELLO: &[u8] =
    b"<HEL.R01><DEV><DEV.device_id V=\"SIM\"/><DEV.vendor_id V=\"BEDSIDE\"/></DEV></HEL.R01>";
const STATUS: &[u8] =
    b"<DST.R01><DST><DST.new_observations_qty V=\"1\"/><DST.condition_cd V=\"R\"/></DST></DST.R01>";
const END_OF_TOPIC: &[u8] = b"<EOT.R01><EOT><EOT.topic_cd V=\"OBS\"/></EOT></EOT.R01>";
const ACKNOWLEDGED: &str = "</ACK.R01>";
const REQUESTED: &str = "</REQ.R01>";

impl PointOfCare {
    /// Puts the header of the standard into a document that was kept without one.
    fn with_header(&mut self, document: &[u8]) -> Vec<u8> {
        self.control_id += 1;
        // A template says the services of an observation; the document around them is always the same.
        let whole = [b"<OBS.R01>", document, b"</OBS.R01>"].concat();
        let document = if document.trim_ascii_start().starts_with(b"<SVC") { &whole } else { document };
        let start = memchr::memmem::find_iter(document, b"<")
            .find(|at| document.get(at + 1).is_some_and(|byte| byte.is_ascii_alphabetic()));
        let start = start.unwrap_or(0);
        let after = document.get(start..).unwrap_or_default();
        let end = start + after.iter().position(|byte| *byte == b'>').map_or(after.len(), |at| at + 1);
        let root: String = after
            .iter()
            .skip(1)
            .take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'.')
            .map(|byte| char::from(*byte))
            .collect();
        let header = format!(
            "<HDR><HDR.message_type V=\"{root}\"/><HDR.control_id V=\"{}\"/><HDR.version_id V=\"POCT1\"/></HDR>",
            self.control_id
        );
        let (before, rest) = document.split_at(end.min(document.len()));
        [before, header.as_bytes(), rest].concat()
    }

    fn go_on(&mut self, now: Duration) {
        while let Some((_, awaited)) = self.documents.front() {
            if !awaited.is_empty() {
                let Some(at) = memchr::memmem::find(&self.heard, awaited.as_bytes()) else { return };
                let rest = self.heard.split_off(at + awaited.len());
                let answer = std::mem::replace(&mut self.heard, rest);
                if memchr::memmem::find(&answer, b"type_cd V=\"AE\"").is_some() {
                    return self.finish(Told::Again("refused".into()));
                }
            }
            let Some((document, _)) = self.documents.pop_front() else { return };
            self.until = now + PATIENCE;
            let document = self.with_header(&document);
            self.out.push_back(Said::Send(document));
        }
        if self.under_way {
            self.finish(Told::Acknowledged);
        }
    }

    fn finish(&mut self, told: Told) {
        self.documents.clear();
        self.heard.clear();
        if std::mem::take(&mut self.under_way) {
            self.out.push_back(Said::Told(told));
        }
    }
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

impl Speaker for PointOfCare {
    fn open(&mut self, _now: Duration) {
        self.finish(Told::Again("the line was lost".into()));
    }

    fn say(&mut self, message: &[u8], now: Duration) {
        let all = documents(message);
        let (hello, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|one| one.starts_with(b"<HEL."));
        let hello = hello.into_iter().next().unwrap_or_else(|| HELLO.to_vec());
        self.documents = VecDeque::from([(hello, ""), (STATUS.to_vec(), ACKNOWLEDGED)]);
        let awaited = [REQUESTED].into_iter().chain(std::iter::repeat(ACKNOWLEDGED));
        self.documents.extend(others.into_iter().zip(awaited));
        self.documents.push_back((END_OF_TOPIC.to_vec(), ACKNOWLEDGED));
        self.under_way = true;
        self.heard.clear();
        self.go_on(now);
    }

    fn hear(&mut self, bytes: &[u8], now: Duration) {
        self.heard.extend_from_slice(bytes);
        if self.heard.len() > HEARD_MAX {
            self.heard.clear();
        }
        self.go_on(now);
    }

    fn tick(&mut self, now: Duration) {
        if self.under_way && now >= self.until {
            self.finish(Told::Again("no answer".into()));
        }
    }

    fn next(&mut self) -> Option<Said> {
        self.out.pop_front()
    }

    fn is_free(&self) -> bool {
        !self.under_way
    }
}
