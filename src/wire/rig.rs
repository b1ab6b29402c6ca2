//! For the tests of framers: a driver that keeps everything at once and writes down what was said.

use std::time::Duration;

use super::{Answer, Framer, Step, Ticket};

/// What came out of a framer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    /// Whole messages with the codes of their warnings.
    pub(crate) frames: Vec<(Vec<u8>, Vec<&'static str>)>,
    pub(crate) parts: Vec<Vec<u8>>,
    /// Beginnings of refused messages.
    pub(crate) refused: Vec<Vec<u8>>,
    /// Bytes sent to the other side.
    pub(crate) sent: Vec<u8>,
    /// Codes of `Note`, `Broken` and `Close`, in order.
    pub(crate) notes: Vec<&'static str>,
    pub(crate) broken: usize,
    pub(crate) closed: bool,
}

impl Said {
    pub(crate) fn messages(&self) -> Vec<String> {
        self.frames.iter().map(|(bytes, _)| String::from_utf8_lossy(bytes).into_owned()).collect()
    }
}

/// Answers of the fake intake: the HL7-like body is `A` and the first byte of the message.
pub(crate) fn kept(bytes: &[u8]) -> Answer {
    Answer::Kept { body: Some([b"A", &bytes[..1]].concat()) }
}

/// A framer under test with its clock.
pub(crate) struct Bench {
    pub(crate) framer: Box<dyn Framer>,
    pub(crate) now: Duration,
    pub(crate) said: Said,
    /// Frames and parts not answered yet, when `hold` is set.
    pub(crate) open: Vec<Ticket>,
    pub(crate) hold: bool,
    /// Answers to refuse before keeping again.
    pub(crate) refuse: usize,
}

impl Bench {
    pub(crate) fn new(framer: impl Framer + 'static) -> Self {
        let (now, said) = (Duration::ZERO, Said::default());
        Self { framer: Box::new(framer), now, said, open: Vec::new(), hold: false, refuse: 0 }
    }

    pub(crate) fn feed(&mut self, bytes: &[u8]) -> &mut Self {
        self.framer.feed(bytes, self.now);
        self.pump()
    }

    /// Lets time pass in the steps the framer asks for.
    pub(crate) fn wait(&mut self, span: Duration) -> &mut Self {
        let until = self.now + span;
        while let Some(at) = self.framer.deadline().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.framer.tick(self.now);
            self.pump();
        }
        self.now = until;
        self
    }

    pub(crate) fn end(&mut self) -> &mut Self {
        self.framer.end(self.now);
        self.pump()
    }

    pub(crate) fn answer(&mut self, ticket: Ticket, answer: Answer) -> &mut Self {
        self.framer.answer(ticket, answer, self.now);
        self.pump()
    }

    /// What was sent since the last call.
    pub(crate) fn sent(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.said.sent)
    }

    fn pump(&mut self) -> &mut Self {
        while let Some(step) = self.framer.step() {
            let (ticket, bytes) = match step {
                Step::Send(bytes) => {
                    self.said.sent.extend(bytes);
                    continue;
                }
                Step::Note(warning) => {
                    self.said.notes.push(warning.code);
                    continue;
                }
                Step::Broken { warning } => {
                    self.said.notes.push(warning.code);
                    self.said.broken += 1;
                    continue;
                }
                Step::Close(warning) => {
                    self.said.notes.push(warning.code);
                    self.said.closed = true;
                    continue;
                }
                Step::Sent { .. } => {
                    self.said.notes.push("sent");
                    continue;
                }
                Step::Unsent { warning, .. } => {
                    self.said.notes.push(warning.code);
                    continue;
                }
                Step::Refuse { ticket, head, warning } => {
                    self.said.notes.push(warning.code);
                    self.said.refused.push(head);
                    self.framer.answer(ticket, Answer::Refused { body: Some(b"R".to_vec()) }, self.now);
                    continue;
                }
                Step::Part { ticket, bytes } => {
                    self.said.parts.push(bytes.clone());
                    (ticket, bytes)
                }
                Step::Frame { ticket, bytes, warnings } => {
                    let codes = warnings.iter().map(|warning| warning.code).collect();
                    self.said.frames.push((bytes.clone(), codes));
                    (ticket, bytes)
                }
            };
            if self.hold {
                self.open.push(ticket);
            } else if self.refuse > 0 {
                self.refuse -= 1;
                self.framer.answer(ticket, Answer::Refused { body: Some(b"R".to_vec()) }, self.now);
            } else {
                self.framer.answer(ticket, kept(&bytes), self.now);
            }
        }
        self
    }
}

/// Every single split point and byte by byte: always the same frames, warnings and answers as in one piece.
pub(crate) fn any_cut_gives_the_same<F: Framer + 'static>(make: impl Fn() -> F, bytes: &[u8]) -> Said {
    let said = |chunks: &mut dyn Iterator<Item = &[u8]>| {
        let mut bench = Bench::new(make());
        for chunk in chunks {
            bench.feed(chunk);
        }
        bench.end();
        bench.said
    };
    let whole = said(&mut std::iter::once(bytes));
    for at in 0..=bytes.len() {
        let (head, tail) = bytes.split_at(at);
        assert_eq!(said(&mut [head, tail].into_iter()), whole, "cut at {at}");
    }
    assert_eq!(said(&mut bytes.chunks(1)), whole, "byte by byte");
    assert_eq!(said(&mut bytes.chunks(8)), whole, "eight at a time");
    whole
}
