//! Devices that send HL7 messages over MLLP and wait for the answer that names them.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Message, Said, Speaker, Told};
use crate::hl7v2::{self, Charset, Path};
use crate::wire::mllp;

/// How long an answer may take before the message is said again.
const PATIENCE: Duration = Duration::from_secs(5);
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

    fn say(&mut self, message: &Message, now: Duration) {
        let message = with_cr(&message.bytes);
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

/// Kept only when MSA-1 is AA or CA and MSA-2 names this very message.
fn judge(message: &[u8], answer: &[u8]) -> Told {
    let parsed = hl7v2::Message::parse(answer, Charset::default());
    let (Some(answer), Some(header)) = (parsed.message, hl7v2::header(message)) else {
        return Told::Again("the answer is not HL7".into());
    };
    let at = |path: &str| Path::parse(path).ok().map(|path| answer.get(&path).text().into_owned());
    match (at("MSA-1").as_deref(), at("MSA-2")) {
        (Some("AA" | "CA"), Some(id)) if id == *header.control_id => Told::Acknowledged,
        (Some("AA" | "CA"), _) => Told::Again("the answer names another message".into()),
        (Some("") | None, _) => Told::Again("refused with no code".into()),
        (Some(code), _) => Told::Again(format!("refused with {code}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_acceptance_of_this_message_is_an_acknowledgement() {
        let message = b"MSH|^~\\&|A||||20260314083000||ORU^R01|7|P|2.6\r";
        let answer = |msa: &str| judge(message, format!("MSH|^~\\&|B||||||ACK|1|P|2.6\r{msa}\r").as_bytes());
        assert_eq!((answer("MSA|AA|7"), answer("MSA|CA|7")), (Told::Acknowledged, Told::Acknowledged));
        for (msa, why) in [("MSA|AA|8", "another message"), ("MSA|AE|7", "AE"), ("NTE|1", "no code")] {
            assert!(matches!(answer(msa), Told::Again(said) if said.contains(why)), "{msa}");
        }
        assert!(matches!(judge(message, b"hello"), Told::Again(said) if said.contains("not HL7")));
    }
}
