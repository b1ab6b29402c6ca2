//! Link layers: the bytes of a connection ↔ the frames they carry. Sans-I/O: no sockets, no clock, no threads.
//!
//! A [`Framer`] is fed bytes and the time, and says what to do: send these bytes, keep this frame, note this
//! warning. Whoever drives it keeps the frame first and then says so with [`Framer::answer`]; only then does
//! the framer produce the bytes that acknowledge it. Any cut of the same bytes gives the same frames.

/// ASTM E1381 / CLSI LIS01-A2: laboratory analysers on serial lines and TCP.
pub mod astm;
/// Frames between a start and an end, with escapes, lengths and checksums as the page says.
pub mod delimited;
/// GE/Datex-Ohmeda S/5 Digital Record Interface.
pub mod dri;
mod gather;
/// ISO/IEEE 11073-20601 agents over a byte stream.
pub mod ieee11073;
/// Philips IntelliVue Data Export over MIB/RS232 and LAN.
pub mod intellivue;
/// Dräger MEDIBUS.
pub mod medibus;
/// Nonin serial data formats 2, 7, 8 and 13.
pub mod nonin;
/// CLSI POCT01-A: XML documents without framing.
pub mod poct1a;
/// Lines of text, and blocks of them.
pub mod lines;
/// HL7's Minimal Lower Layer Protocol.
pub mod mllp;
/// Bytes as a page writes them.
pub mod notation;
#[cfg(test)]
mod rig;
/// Polls, handshakes and keep-alives over any framer: the only bytes that are ever sent beside a codec's own.
pub mod session;
/// Sparkplug B payloads over MQTT, and their birth certificates.
pub mod sparkplug;
/// What crossed a link, with its timing: the capture file.
pub mod tape;
mod whole;

use std::time::Duration;

use serde::Deserialize;

/// The link layer of a link, as a firmware profile's `[link]` section names it: `codec = "astm"` and that
/// codec's settings, each with a default. An unknown setting is an error.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "codec", rename_all = "kebab-case")]
pub enum Codec {
    Mllp(mllp::Settings),
    Astm(astm::Settings),
    Lines(lines::Settings),
    Delimited(delimited::Settings),
    Poct1a(poct1a::Settings),
    Intellivue(intellivue::Settings),
    Medibus(medibus::Settings),
    Nonin(nonin::Settings),
    Dri(dri::Settings),
    #[serde(rename = "ieee11073-20601")]
    Ieee11073(ieee11073::Settings),
    /// The transport keeps messages apart by itself (MQTT): no framing.
    Message(whole::Settings),
}

/// Every codec's word.
pub const CODECS: &[(&str, ())] = &[
    ("mllp", ()),
    ("astm", ()),
    ("lines", ()),
    ("delimited", ()),
    ("poct1a", ()),
    ("intellivue", ()),
    ("medibus", ()),
    ("nonin", ()),
    ("dri", ()),
    ("ieee11073-20601", ()),
    ("message", ()),
];

impl Codec {
    /// The word a profile's `[link]` names it by.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Mllp(_) => "mllp",
            Self::Astm(_) => "astm",
            Self::Lines(_) => "lines",
            Self::Delimited(_) => "delimited",
            Self::Poct1a(_) => "poct1a",
            Self::Intellivue(_) => "intellivue",
            Self::Medibus(_) => "medibus",
            Self::Nonin(_) => "nonin",
            Self::Dri(_) => "dri",
            Self::Ieee11073(_) => "ieee11073-20601",
            Self::Message(_) => "message",
        }
    }

    /// The words of all codecs.
    pub fn words() -> Vec<&'static str> {
        CODECS.iter().map(|(word, ())| *word).collect()
    }

    /// The settings of the codec `word`.
    pub fn settings(word: &str) -> Vec<String> {
        let told = told(&format!("codec = \"{word}\"\n\"?\" = 0"));
        // `unknown field `?`, expected one of …`
        quoted(&told).into_iter().filter(|name| name != "?").collect()
    }

    /// Whether messages are kept with the birth certificate that names their metrics.
    pub(crate) const fn is_sparkplug(&self) -> bool {
        matches!(self, Self::Message(whole::Settings { sparkplug: true }))
    }

    /// Whether its devices say waves without end, as against recordings.
    pub fn streams(&self) -> bool {
        match self {
            Self::Intellivue(_) | Self::Medibus(_) | Self::Dri(_) => true,
            Self::Nonin(settings) => settings.format != nonin::Format::Thirteen,
            _ => false,
        }
    }

    /// For how long its frames are gathered into one to keep, in milliseconds, where they are.
    pub fn gather_ms(&mut self) -> Option<&mut u64> {
        match self {
            Self::Intellivue(settings) => Some(&mut settings.gather_ms),
            Self::Medibus(settings) => Some(&mut settings.gather_ms),
            Self::Dri(settings) => Some(&mut settings.gather_ms),
            Self::Nonin(settings) => Some(&mut settings.gather_ms),
            _ => None,
        }
    }

    /// As it is spoken over UDP; the other codecs have no datagrams.
    pub(crate) fn on_datagrams(&self) -> Option<Self> {
        match self {
            Self::Intellivue(settings) => Some(Self::Intellivue(settings.clone().on_lan())),
            _ => None,
        }
    }

    /// No framing, for transports that carry whole messages.
    pub fn message() -> Self {
        Self::Message(whole::Settings::default())
    }
}

/// What serde says of a `[link]` that is wrong.
fn told(link: &str) -> String {
    toml::from_str::<Codec>(link).err().map(|error| error.message().to_owned()).unwrap_or_default()
}

/// The words in `backticks`, without the first, which is the wrong one.
fn quoted(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).filter(|word| *word != "?").map(ToOwned::to_owned).collect()
}

/// How a link speaks: its codec, and what may be said beside the codec's own answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Speech {
    pub codec: Codec,
    pub dialogue: session::Dialogue,
}

impl From<Codec> for Speech {
    /// Says nothing but the codec's own answers.
    fn from(codec: Codec) -> Self {
        Self { codec, dialogue: session::Dialogue::default() }
    }
}

impl Speech {
    /// A fresh framer for one connection, with its dialogue.
    pub fn framer(&self) -> Box<dyn Framer> {
        session::framer(framer(&self.codec), &self.dialogue)
    }
}

/// The frames in a piece of a stream.
pub fn frames(codec: &Codec, bytes: &[u8]) -> Vec<Vec<u8>> {
    frames_of(framer(codec), &mut std::iter::once(bytes))
}

/// A fresh framer for one connection.
pub fn framer(codec: &Codec) -> Box<dyn Framer> {
    match codec {
        Codec::Mllp(settings) => Box::new(mllp::MllpFramer::new(settings.clone())),
        Codec::Astm(settings) => Box::new(astm::AstmFramer::new(settings.clone())),
        Codec::Lines(settings) => Box::new(lines::LineFramer::new(settings.clone())),
        Codec::Message(_) => Box::new(whole::WholeFramer::default()),
        Codec::Delimited(settings) => Box::new(delimited::DelimitedFramer::new(settings.clone())),
        Codec::Poct1a(settings) => Box::new(poct1a::Poct1aFramer::new(settings.clone())),
        Codec::Intellivue(settings) => Box::new(intellivue::IntellivueFramer::new(settings.clone())),
        Codec::Medibus(settings) => Box::new(medibus::MedibusFramer::new(settings.clone())),
        Codec::Nonin(settings) => Box::new(nonin::NoninFramer::new(settings.clone())),
        Codec::Dri(settings) => Box::new(dri::DriFramer::new(settings.clone())),
        Codec::Ieee11073(settings) => Box::new(ieee11073::Ieee11073Framer::new(settings.clone())),
    }
}

/// How many of these bytes, written together, are one datagram: the messages of a codec that has datagrams say their
/// own length.
pub(crate) fn datagram(bytes: &[u8]) -> usize {
    match intellivue::message::length(bytes) {
        Ok(Some(length)) => length.min(bytes.len()),
        _ => bytes.len(),
    }
}

/// What a framer wants done, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write these bytes to the other side now.
    Send(Vec<u8>),
    /// A whole message. Keep it, then call [`Framer::answer`] with the same ticket.
    Frame { ticket: Ticket, bytes: Vec<u8>, warnings: Vec<Warning> },
    /// A piece of a message that the other side wants acknowledged by itself (an E1381 frame in the middle of a
    /// transmission). Keep it, then answer.
    Part { ticket: Ticket, bytes: Vec<u8> },
    /// A message that cannot be taken, e.g. one over the limit. `head` is its beginning, enough for the
    /// application's own refusal. Nothing is to be kept; answer with [`Answer::Refused`].
    Refuse { ticket: Ticket, head: Vec<u8>, warning: Warning },
    /// A transmission ended without a whole message: the parts kept so far are all there is.
    Broken { warning: Warning },
    /// Something a person should see; nothing was lost by it.
    Note(Warning),
    /// A message of [`Framer::send`] was taken by the other side, all of it.
    Sent { ticket: Ticket },
    /// A message of [`Framer::send`] was not taken: nothing of it may be believed delivered.
    Unsent { ticket: Ticket, warning: Warning },
    /// The other side cannot be followed any more: close the connection.
    Close(Warning),
}

/// Ties an answer to the frame or part it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(pub u64);

/// A departure from the protocol that was tolerated, with a stable code for counting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// e.g. `no-start-block`, `bad-checksum`, `oversize`.
    pub code: &'static str,
    /// A sentence that names the limit or the bytes, without message content.
    pub text: String,
}

impl Warning {
    pub(crate) fn new(code: &'static str, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }
}

/// What became of a frame, as the framer needs to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is on disk. `body` is the application's own acknowledgement (an HL7 ACK), where the codec carries one.
    Kept { body: Option<Vec<u8>> },
    /// It is not kept: the sender must keep it and try again. `body` as above (an HL7 NAK).
    Refused { body: Option<Vec<u8>> },
}

/// One link layer over one connection. `now` is the time since an arbitrary start and never goes back.
pub trait Framer: Send {
    /// Bytes of a message that is not whole yet, where these can be many.
    fn holds(&self) -> usize {
        0
    }
    /// Takes bytes that arrived. Nothing is lost and nothing is unbounded: past its limit a framer says
    /// [`Step::Close`] or resynchronises with a [`Step::Note`].
    fn feed(&mut self, bytes: &[u8], now: Duration);
    /// The next thing to do, if any. Call until `None` after every `feed`, `answer`, `tick` and `end`.
    fn step(&mut self) -> Option<Step>;
    /// Says that the frame of `ticket` was kept or refused.
    fn answer(&mut self, ticket: Ticket, answer: Answer, now: Duration);
    /// When [`Framer::tick`] wants to be called next, if ever.
    fn deadline(&self) -> Option<Duration>;
    /// Time passed; timers may have run out.
    fn tick(&mut self, now: Duration);
    /// The time of day, for protocols whose answers state it. Told before each of the calls above.
    fn wall_clock(&mut self, _at: crate::clock::Timestamp) {}
    /// The connection ended: what is half there becomes a `Broken` or a `Note`.
    fn end(&mut self, now: Duration);
    /// Whether this link layer carries messages to the device too (see [`Framer::send`]).
    fn sends(&self) -> bool {
        false
    }
    /// Has `message` sent when the line is free, and says later by [`Step::Sent`] or [`Step::Unsent`] what became
    /// of it. Only the answer to a device's own query goes this way.
    ///
    /// # Errors
    /// When this link layer carries no messages to the device, or cannot carry this one.
    fn send(&mut self, message: Vec<u8>, now: Duration) -> Result<Ticket, Warning> {
        let _ = (message, now);
        Err(Warning::new("cannot-send", "This link carries no messages to the device."))
    }
}

/// Feeds `bytes` whole and in pieces of the sizes that `bytes` itself suggests, and holds the promise of this
/// room: the cut does not matter. The body of every fuzz target here.
fn fuzz_framer(make: impl Fn() -> Box<dyn Framer>, bytes: &[u8]) {
    let whole = frames_of(make(), &mut std::iter::once(bytes));
    let size = usize::from(bytes.first().copied().unwrap_or(0)) + 1;
    let cut = frames_of(make(), &mut bytes.chunks(size));
    assert!(whole == cut, "pieces of {size} bytes changed the frames");
    let singly = frames_of(make(), &mut bytes.chunks(1));
    assert!(whole == singly, "single bytes changed the frames");
    let total: usize = whole.iter().map(Vec::len).sum();
    assert!(total <= bytes.len().saturating_mul(2), "more came out than went in");
}

/// The frames that come out when everything is kept at once and no time passes.
fn frames_of(mut framer: Box<dyn Framer>, chunks: &mut dyn Iterator<Item = &[u8]>) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut closed = false;
    let mut drain = |framer: &mut Box<dyn Framer>, closed: &mut bool| {
        while let Some(step) = framer.step() {
            match step {
                Step::Frame { ticket, bytes, .. } => {
                    frames.push(bytes);
                    framer.answer(ticket, Answer::Kept { body: None }, Duration::ZERO);
                }
                Step::Part { ticket, .. } => {
                    framer.answer(ticket, Answer::Kept { body: None }, Duration::ZERO);
                }
                Step::Refuse { ticket, .. } => {
                    framer.answer(ticket, Answer::Refused { body: None }, Duration::ZERO);
                }
                Step::Close(_) => *closed = true,
                Step::Send(_)
                | Step::Broken { .. }
                | Step::Note(_)
                | Step::Sent { .. }
                | Step::Unsent { .. } => {}
            }
        }
    };
    for chunk in chunks {
        if closed {
            break;
        }
        framer.feed(chunk, Duration::ZERO);
        drain(&mut framer, &mut closed);
    }
    framer.end(Duration::ZERO);
    drain(&mut framer, &mut closed);
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_those_that_are_read() {
        let read = quoted(&told("codec = \"?\""));
        assert_eq!(read.iter().filter(|word| *word != "?").collect::<Vec<_>>(), Codec::words());
    }

    #[test]
    fn a_link_section_names_its_codec_and_settings() {
        let codec: Codec = toml::from_str("codec = \"mllp\"\nmax_message_bytes = 1000").unwrap();
        assert_eq!(codec, Codec::Mllp(mllp::Settings { max_message_bytes: 1000, ..Default::default() }));
        let codec: Codec = toml::from_str("codec = \"message\"").unwrap();
        assert_eq!(codec, Codec::message());
    }

    #[test]
    fn a_misspelt_setting_is_refused_for_every_codec() {
        for codec in ["mllp", "astm", "lines", "message"] {
            let text = format!("codec = \"{codec}\"\nmax_massage_bytes = 1");
            let error = toml::from_str::<Codec>(&text).unwrap_err().to_string();
            assert!(error.contains("max_massage_bytes"), "{codec}: {error}");
        }
        assert!(toml::from_str::<Codec>("codec = \"morse\"").is_err());
    }

    #[test]
    fn every_codec_makes_a_framer_that_starts_silent() {
        for codec in ["mllp", "astm", "lines", "message"] {
            let codec: Codec = toml::from_str(&format!("codec = \"{codec}\"")).unwrap();
            assert_eq!(framer(&codec).step(), None);
        }
    }
}
