//! Takes the stream of a MEDIBUS line apart: commands, replies, realtime bytes and control characters.

/// ASCII characters with a meaning of their own (Protocol Definition, "Structure of Commands", "Software Handshaking").
pub(super) const SOH: u8 = 0x01;
pub(super) const ESC: u8 = 0x1b;
pub(super) const CR: u8 = 0x0d;
pub(super) const DC1: u8 = 0x11;
pub(super) const DC3: u8 = 0x13;
pub(super) const CAN: u8 = 0x18;
/// Bytes from here on belong to the realtime extension wherever they stand, also inside a reply.
pub(super) const REALTIME: u8 = 0x80;

/// Who asks and who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `ESC code [argument] sum CR`
    Command,
    /// `SOH echo [data] sum CR`
    Reply,
}

/// One whole message with a good checksum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub kind: Kind,
    /// The command's code, or the code a reply answers.
    pub code: u8,
    /// Argument or data, without code and checksum.
    pub text: Vec<u8>,
}

impl Message {
    /// As it stands on the wire.
    pub fn wire(&self) -> Vec<u8> {
        let start = match self.kind {
            Kind::Command => ESC,
            Kind::Reply => SOH,
        };
        let mut bytes = vec![start, self.code];
        bytes.extend_from_slice(&self.text);
        let sum = checksum(&bytes);
        bytes.extend_from_slice(&sum);
        bytes.push(CR);
        bytes
    }
}

/// Sum of the bytes modulo 256 as two upper-case hex digits.
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let sum = bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    let digit = |value: u8| if value < 10 { b'0' + value } else { b'A' + value - 10 };
    [digit(sum >> 4), digit(sum & 0x0f)]
}

/// What the stream turned out to hold, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    Message(Message),
    Realtime(u8),
    /// DC1, DC3 or CAN.
    Control(u8),
    /// Bytes that are left out: a code for counting and a sentence.
    Fault(&'static str, String),
    /// A command whose checksum is wrong: it wants to be answered as such.
    CorruptCommand,
}

/// A message may carry a command of the other side inside a reply, so one of each may be open.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    reply: Option<Vec<u8>>,
    command: Option<Vec<u8>>,
    /// Which of them the next byte belongs to.
    top: Option<Kind>,
    noise: usize,
    limit: usize,
    pub(super) found: Vec<Piece>,
}

impl Splitter {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    pub(super) fn byte(&mut self, byte: u8) {
        match byte {
            REALTIME.. => self.found.push(Piece::Realtime(byte)),
            DC1 | DC3 => self.found.push(Piece::Control(byte)),
            CAN => {
                self.drop_open("aborted");
                self.found.push(Piece::Control(byte));
            }
            ESC => self.open(Kind::Command, byte),
            SOH => self.open(Kind::Reply, byte),
            CR => self.close(),
            _ => self.inside(byte),
        }
    }

    fn slot(&mut self, kind: Kind) -> &mut Option<Vec<u8>> {
        match kind {
            Kind::Command => &mut self.command,
            Kind::Reply => &mut self.reply,
        }
    }

    fn open(&mut self, kind: Kind, byte: u8) {
        self.say_noise();
        if let Some(cut) = self.slot(kind).replace(vec![byte]) {
            self.fault("cut-short", format!("A message of {} bytes did not end.", cut.len()));
        }
        self.top = Some(kind);
    }

    fn close(&mut self) {
        let Some(kind) = self.top else {
            self.noise += 1;
            return;
        };
        let bytes = self.slot(kind).take().unwrap_or_default();
        self.top = match kind {
            Kind::Command => self.reply.as_ref().map(|_| Kind::Reply),
            Kind::Reply => self.command.as_ref().map(|_| Kind::Command),
        };
        if let Some(message) = whole(kind, &bytes) {
            self.found.push(Piece::Message(message));
            return;
        }
        self.fault("bad-checksum", format!("A message of {} bytes whose checksum is wrong.", bytes.len()));
        if kind == Kind::Command {
            self.found.push(Piece::CorruptCommand);
        }
    }

    fn inside(&mut self, byte: u8) {
        let limit = self.limit;
        let open = match self.top {
            Some(Kind::Command) => &mut self.command,
            Some(Kind::Reply) => &mut self.reply,
            None => &mut None,
        };
        match open {
            Some(bytes) if bytes.len() < limit => bytes.push(byte),
            Some(_) => {
                self.drop_top();
                self.fault("oversize", format!("A message over the limit of {limit} bytes is left out."));
            }
            // Some devices end their messages with CR LF.
            None if byte == b'\n' => {}
            None => self.noise += 1,
        }
    }

    fn drop_top(&mut self) {
        if let Some(kind) = self.top.take() {
            *self.slot(kind) = None;
        }
        self.top = match (&self.reply, &self.command) {
            (Some(_), _) => Some(Kind::Reply),
            (None, Some(_)) => Some(Kind::Command),
            (None, None) => None,
        };
    }

    /// Leaves out what is half there.
    pub(super) fn drop_open(&mut self, code: &'static str) {
        self.say_noise();
        let open = [self.reply.take(), self.command.take()];
        let bytes: usize = open.iter().flatten().map(Vec::len).sum();
        self.top = None;
        if bytes > 0 {
            self.fault(code, format!("{bytes} bytes of a message without its end."));
        }
    }

    pub(super) const fn is_open(&self) -> bool {
        self.top.is_some()
    }

    fn say_noise(&mut self) {
        let noise = std::mem::take(&mut self.noise);
        if noise > 0 {
            self.fault("noise", format!("{noise} bytes outside any message."));
        }
    }

    fn fault(&mut self, code: &'static str, text: String) {
        self.found.push(Piece::Fault(code, text));
    }
}

/// A message when start, code, data and checksum fit; lower-case digits are taken too.
fn whole(kind: Kind, bytes: &[u8]) -> Option<Message> {
    let (body, sum) = bytes.split_at_checked(bytes.len().checked_sub(2)?)?;
    let [_, code, text @ ..] = body else { return None };
    checksum(body).eq_ignore_ascii_case(sum).then(|| Message { kind, code: *code, text: text.to_vec() })
}

/// Takes a kept frame apart again.
pub fn pieces(frame: &[u8]) -> Vec<Piece> {
    let mut splitter = Splitter::new(frame.len());
    for byte in frame {
        splitter.byte(*byte);
    }
    splitter.drop_open("half-message");
    splitter.found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(bytes: &[u8]) -> Vec<(Kind, u8, String)> {
        let text = |message: Message| {
            (message.kind, message.code, String::from_utf8_lossy(&message.text).into_owned())
        };
        let found = pieces(bytes).into_iter();
        found.filter_map(|piece| if let Piece::Message(m) = piece { Some(text(m)) } else { None }).collect()
    }

    fn faults(bytes: &[u8]) -> Vec<&'static str> {
        let found = pieces(bytes).into_iter();
        found.filter_map(|piece| if let Piece::Fault(code, _) = piece { Some(code) } else { None }).collect()
    }

    #[test]
    fn the_checksum_is_the_sum_in_two_hex_digits() {
        let icc = Message { kind: Kind::Command, code: b'Q', text: vec![] };
        assert_eq!(icc.wire(), b"\x1bQ6C\r");
        let answer = Message { kind: Kind::Reply, code: b'Q', text: vec![] };
        assert_eq!(answer.wire(), b"\x01Q52\r");
        assert_eq!(messages(b"\x1bQ6c\r"), [(Kind::Command, b'Q', String::new())]);
        assert_eq!(faults(b"\x1bQ6D\r"), ["bad-checksum"]);
    }

    #[test]
    fn realtime_bytes_inside_a_reply_are_no_part_of_it() {
        let found = pieces(b"\x01\xd1Q\x815\xbf2\r\xd2");
        let realtime: Vec<u8> =
            found.iter().filter_map(|p| if let Piece::Realtime(b) = p { Some(*b) } else { None }).collect();
        assert_eq!(realtime, [0xd1, 0x81, 0xbf, 0xd2]);
        assert_eq!(messages(b"\x01\xd1Q\x815\xbf2\r\xd2"), [(Kind::Reply, b'Q', String::new())]);
    }

    #[test]
    fn a_command_inside_a_reply_is_read_and_the_reply_goes_on() {
        let nop = b"\x1b04B\r";
        let reply = Message { kind: Kind::Reply, code: b'$', text: b"EB 98 ".to_vec() }.wire();
        let stream = [&reply[..5], nop, &reply[5..]].concat();
        assert_eq!(
            messages(&stream),
            [(Kind::Command, b'0', String::new()), (Kind::Reply, b'$', "EB 98 ".into())]
        );
    }

    #[test]
    fn what_cannot_be_read_is_told_and_the_next_message_is_whole() {
        let good = b"\x01Q52\r";
        for (bad, codes) in [
            (&b"xyz\r"[..], vec!["noise"]),
            (b"\x01$EB 98", vec!["cut-short"]),
            (b"\x01$EB\x18", vec!["aborted"]),
            (b"\x01\r", vec!["bad-checksum"]),
            (b"\r\n", vec!["noise"]),
        ] {
            let stream = [bad, good].concat();
            assert_eq!(messages(&stream), [(Kind::Reply, b'Q', String::new())], "{bad:?}");
            assert_eq!(faults(&stream), codes, "{bad:?}");
        }
        // A stray ESC keeps a command open: the reply is still read, and the rest is told at the end.
        let stream = [&b"\x1b"[..], good, b"\x01R53\r"].concat();
        assert_eq!(messages(&stream).len(), 2);
        assert_eq!(faults(&stream), ["half-message"]);
    }

    #[test]
    fn a_message_without_end_is_bounded() {
        let mut splitter = Splitter::new(100);
        for byte in b"\x01$".iter().chain(&[b'A'; 10_000]).chain(b"\x01Q52\r") {
            splitter.byte(*byte);
        }
        assert!(matches!(
            &splitter.found[..],
            [Piece::Fault("oversize", _), Piece::Fault("noise", _), Piece::Message(_)]
        ));
    }
}
