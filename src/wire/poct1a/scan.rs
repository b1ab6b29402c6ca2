//! Finds whole XML documents in a stream of bytes: the end tag of the root element ends one (POCT1-A, Device
//! Messaging Layer: nothing else does). Tags are only counted here; what they mean is the grammar's.

use std::mem;

/// Elements in elements beyond this are no message.
const DEPTH_MAX: usize = 64;
/// A single tag longer than this is none.
const TAG_BYTES_MAX: usize = 64 << 10;
/// Facts kept of one document, and bytes of each.
const FACTS_MAX: usize = 64;
const FACT_BYTES_MAX: usize = 256;
/// Kept of a document over the limit: enough for its header.
const HEAD_BYTES: usize = 4 << 10;
/// Objects whose values the conversation needs.
const OBJECTS: [&str; 9] = ["HDR", "DEV", "DCP", "DSC", "DST", "ACK", "ESC", "EOT", "TRM"];

/// A document as it came.
#[derive(Debug, Default)]
pub(super) struct Document {
    pub(super) bytes: Vec<u8>,
    /// Local name of the root element: `OBS.R01`.
    pub(super) root: String,
    /// Where the header object stands in `bytes`.
    header: Option<(usize, usize)>,
    facts: Vec<(String, String)>,
    /// The document was longer than the limit; `bytes` is its beginning.
    pub(super) oversize: bool,
}

impl Document {
    /// The first `V` of an element.
    pub(super) fn fact(&self, element: &str) -> Option<&str> {
        self.facts_of(element).next()
    }

    pub(super) fn facts_of(&self, element: &str) -> impl Iterator<Item = &str> {
        self.facts.iter().filter(move |(name, _)| name == element).map(|(_, value)| value.as_str())
    }

    /// The document without its header object, byte for byte: control id and time of sending differ each time the
    /// same result is sent.
    pub(super) fn without_header(&self) -> Vec<u8> {
        let (from, to) = self.header.unwrap_or_default();
        let part = |range: std::ops::Range<usize>| self.bytes.get(range).unwrap_or_default();
        [part(0..from), part(to..self.bytes.len())].concat()
    }
}

/// What a byte brought to light.
#[derive(Debug)]
pub(super) enum Found {
    Whole(Document),
    /// A document broke off: another began inside it, or it cannot be one.
    Cut(&'static str),
    /// Bytes between documents that are no XML.
    Garbage,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Outside any document.
    #[default]
    Between,
    Text,
    /// After `<`, until it is clear what it opens.
    Open,
    /// In a tag; the quote that is open.
    Tag(Option<u8>),
    /// `<? … ?>`
    Instruction,
    /// `<!-- … -->`
    Comment,
    /// `<![CDATA[ … ]]>`
    Cdata,
    /// `<! … >` with brackets and quotes.
    Declaration {
        depth: u16,
        quote: Option<u8>,
    },
}

#[derive(Debug)]
pub(super) struct Scanner {
    max_bytes: usize,
    state: State,
    document: Document,
    /// The markup being read, from its `<`.
    token: Vec<u8>,
    /// Names of the open elements.
    open: Vec<String>,
    /// Begin of the header object while it is open.
    header_from: Option<usize>,
    /// Bytes of the document so far, also those not kept.
    length: usize,
    garbage: bool,
}

impl Scanner {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            state: State::Between,
            document: Document::default(),
            token: Vec::new(),
            open: Vec::new(),
            header_from: None,
            length: 0,
            garbage: false,
        }
    }

    /// Whether a document has begun and not ended.
    pub(super) fn is_amid(&self) -> bool {
        self.state != State::Between
    }

    /// Forgets the half document.
    pub(super) fn reset(&mut self) {
        *self = Self { garbage: false, ..Self::new(self.max_bytes) };
    }

    pub(super) fn push(&mut self, byte: u8) -> Option<Found> {
        if self.state == State::Between {
            return self.between(byte);
        }
        self.store(byte);
        if self.state != State::Text {
            self.token.push(byte);
            if self.token.len() > TAG_BYTES_MAX && !matches!(self.state, State::Comment | State::Cdata) {
                return self.cut("a tag never ends");
            }
        }
        if self.begins_again(byte) {
            return Some(Found::Cut("another message began inside it"));
        }
        self.markup(byte)
    }

    fn between(&mut self, byte: u8) -> Option<Found> {
        match byte {
            b'<' => {
                self.garbage = false;
                self.state = State::Open;
                self.token = vec![byte];
                self.store(byte);
                None
            }
            // Blanks, NUL, and the byte order mark.
            b' ' | b'\t' | b'\r' | b'\n' | 0 | 0xEF | 0xBB | 0xBF => None,
            _ if self.garbage => None,
            _ => {
                self.garbage = true;
                Some(Found::Garbage)
            }
        }
    }

    fn store(&mut self, byte: u8) {
        self.length += 1;
        if self.document.oversize {
            return;
        }
        self.document.bytes.push(byte);
        if self.length > self.max_bytes {
            self.document.oversize = true;
            self.document.bytes.truncate(HEAD_BYTES);
        }
    }

    fn cut(&mut self, why: &'static str) -> Option<Found> {
        self.reset();
        Some(Found::Cut(why))
    }

    /// A message that begins inside another ends that one: the rest of it was lost on the way.
    fn begins_again(&mut self, byte: u8) -> bool {
        if !(byte == b'>' || byte.is_ascii_whitespace())
            || matches!(self.state, State::Comment | State::Cdata)
        {
            return false;
        }
        let Some(at) = self.token.iter().rposition(|b| *b == b'<') else { return false };
        let begun = self.token.get(at..).unwrap_or_default();
        let declaration = begun.starts_with(b"<?xml") && begun.len() == 6;
        let in_prolog = self.open.is_empty() && at == 0;
        let first = declaration && in_prolog && self.length == begun.len();
        let again = (declaration && !first) || (is_message_tag(begun) && !in_prolog);
        if again {
            let begun = begun.to_vec();
            self.reset();
            for byte in begun {
                // The beginning of a tag alone completes nothing.
                drop(self.push(byte));
            }
        }
        again
    }

    fn markup(&mut self, byte: u8) -> Option<Found> {
        match self.state {
            State::Between => None,
            State::Text => {
                if byte == b'<' {
                    self.state = State::Open;
                    self.token = vec![byte];
                }
                None
            }
            State::Open => self.opened(byte),
            State::Tag(None) => match byte {
                b'>' => self.tag_ended(),
                b'"' | b'\'' => self.go(State::Tag(Some(byte))),
                _ => None,
            },
            State::Tag(Some(quote)) if byte == quote => self.go(State::Tag(None)),
            State::Tag(Some(_)) => None,
            State::Instruction if self.token.ends_with(b"?>") => self.go(State::Text),
            State::Comment if self.token.ends_with(b"-->") && self.token.len() >= 7 => self.go(State::Text),
            State::Cdata if self.token.ends_with(b"]]>") => self.go(State::Text),
            State::Comment | State::Cdata => {
                // Only the end of it is looked for.
                if self.token.len() > TAG_BYTES_MAX {
                    self.token.drain(9..TAG_BYTES_MAX - 3);
                }
                None
            }
            State::Instruction => None,
            State::Declaration { depth, quote } => self.declaration(byte, depth, quote),
        }
    }

    const fn go(&mut self, state: State) -> Option<Found> {
        self.state = state;
        None
    }

    fn opened(&mut self, byte: u8) -> Option<Found> {
        match self.token.as_slice() {
            b"<?" => self.go(State::Instruction),
            b"<!--" => self.go(State::Comment),
            b"<![CDATA[" => self.go(State::Cdata),
            token if b"<!--".starts_with(token) || b"<![CDATA[".starts_with(token) => None,
            [b'<', b'!', ..] => {
                self.state = State::Declaration { depth: 0, quote: None };
                self.declaration(byte, 0, None)
            }
            _ if byte.is_ascii_alphabetic() || byte == b'/' || byte == b'_' || byte >= 0x80 => {
                self.go(State::Tag(None))
            }
            _ => self.cut("a `<` opens nothing"),
        }
    }

    fn declaration(&mut self, byte: u8, depth: u16, quote: Option<u8>) -> Option<Found> {
        let (depth, quote) = match (byte, quote) {
            (_, Some(open)) => (depth, (byte != open).then_some(open)),
            (b'"' | b'\'', None) => (depth, Some(byte)),
            (b'[', None) => (depth.saturating_add(1), None),
            (b']', None) => (depth.saturating_sub(1), None),
            (b'>', None) if depth == 0 => return self.go(State::Text),
            _ => (depth, None),
        };
        self.go(State::Declaration { depth, quote })
    }

    fn tag_ended(&mut self) -> Option<Found> {
        self.state = State::Text;
        let token = mem::take(&mut self.token);
        let end = token.starts_with(b"</");
        let empty = token.ends_with(b"/>");
        let name = local_name(token.get(if end { 2 } else { 1 }..).unwrap_or_default());
        if end {
            // What was not closed by its own tag is closed with its parent.
            if let Some(at) = self.open.iter().rposition(|open| *open == name) {
                self.close(at, &name);
            }
        } else {
            if self.open.is_empty() && self.document.root.is_empty() {
                self.document.root.clone_from(&name);
            }
            if self.open.len() == 1 && name == "HDR" && !self.document.oversize {
                self.header_from = Some(self.document.bytes.len().saturating_sub(token.len()));
            }
            self.remember(&name, &token);
            if self.open.len() >= DEPTH_MAX {
                return self.cut("its elements are nested too deep");
            }
            self.open.push(name.clone());
            if empty {
                self.close(self.open.len().saturating_sub(1), &name);
            }
        }
        if !self.open.is_empty() {
            return None;
        }
        if self.document.root.is_empty() {
            return self.cut("an end tag stands alone");
        }
        let document = mem::take(&mut self.document);
        self.reset();
        Some(Found::Whole(document))
    }

    fn close(&mut self, at: usize, name: &str) {
        self.open.truncate(at);
        if at == 1
            && name == "HDR"
            && let Some(from) = self.header_from.take()
            && self.document.header.is_none()
            && !self.document.oversize
        {
            self.document.header = Some((from, self.document.bytes.len()));
        }
    }

    fn remember(&mut self, name: &str, token: &[u8]) {
        let wanted = name.split_once('.').is_some_and(|(object, _)| OBJECTS.contains(&object));
        if !wanted || self.document.facts.len() >= FACTS_MAX {
            return;
        }
        if let Some(value) = attribute(token, b"V").filter(|value| value.len() <= FACT_BYTES_MAX) {
            let text = String::from_utf8_lossy(value);
            let value =
                quick_xml::escape::unescape(&text).map_or_else(|_| text.to_string(), |v| v.into_owned());
            self.document.facts.push((name.to_owned(), value));
        }
    }
}

/// `<OBS.R01` and a blank or the end: three capitals and a trigger name a message, never one of its parts.
fn is_message_tag(begun: &[u8]) -> bool {
    let [b'<', a, b, c, b'.', b'R', d, e, _] = begun else { return false };
    [a, b, c].iter().all(|b| b.is_ascii_uppercase()) && d.is_ascii_digit() && e.is_ascii_digit()
}

/// The name at the start of a tag, without its prefix.
fn local_name(rest: &[u8]) -> String {
    let end = rest.iter().position(|b| b.is_ascii_whitespace() || matches!(b, b'>' | b'/' | b'<' | b'"'));
    let name = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
    let name = String::from_utf8_lossy(name.get(..name.len().min(FACT_BYTES_MAX)).unwrap_or_default());
    name.rsplit(':').next().unwrap_or_default().to_owned()
}

/// The raw value of an attribute of a tag.
fn attribute<'t>(token: &'t [u8], name: &[u8]) -> Option<&'t [u8]> {
    let start = token.iter().position(u8::is_ascii_whitespace)?;
    let mut rest = token.get(start..)?;
    loop {
        let equals = rest.iter().position(|b| *b == b'=')?;
        let key = rest.get(..equals)?.trim_ascii();
        let after = rest.get(equals + 1..)?.trim_ascii_start();
        let (quote, value) = after.split_first()?;
        let end = value.iter().position(|b| b == quote)?;
        if key == name {
            return value.get(..end);
        }
        rest = value.get(end + 1..)?;
    }
}
