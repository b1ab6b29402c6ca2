//! Bytes of an ASTM line → what was said on it: enquiries, frames, ends, and everything that is none of these.

use std::collections::VecDeque;
use std::time::Duration;

pub(super) const SOH: u8 = 0x01;
pub(super) const STX: u8 = 0x02;
pub(super) const ETX: u8 = 0x03;
pub(super) const EOT: u8 = 0x04;
pub(super) const ENQ: u8 = 0x05;
pub(super) const ACK: u8 = 0x06;
pub(super) const NAK: u8 = 0x15;
pub(super) const ETB: u8 = 0x17;

/// One thing that was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// ENQ. `alone`: the line was silent before it, so it is no byte that noise changed.
    Enquiry {
        alone: bool,
    },
    /// ENQ in the middle of a frame, and silence after it: the sender began anew.
    Restart,
    /// EOT: the sender is done or gives up.
    End,
    Frame(RawFrame),
    /// Records between SOH and EOT (Radiometer ABL): one acknowledgement, no checksum.
    Block(Vec<u8>),
    /// Records without any frame.
    Unframed(Vec<u8>),
    /// A frame or block that stopped in the middle, with the bytes it had.
    Half(usize),
    /// A frame, block or run of records over the limit.
    Oversize(usize),
    /// Bytes that mean nothing here.
    Noise(usize),
}

/// A frame as it came, not judged yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RawFrame {
    /// Everything between STX and ETX or ETB: with the frame number, if there is one.
    pub(super) text: Vec<u8>,
    /// ETX, not ETB.
    pub(super) last: bool,
    pub(super) checksum: Checksum,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Checksum {
    /// Two hexadecimal digits came.
    Said(u8),
    /// The frame ended without any.
    Absent,
    /// Something else stood in its place.
    Illegible,
}

/// Sum modulo 256 from the frame number to ETX or ETB, both counted (LIS01-A2 §6.3.1.6).
pub(super) fn checksum(text: &[u8], last: bool) -> u8 {
    text.iter().fold(if last { ETX } else { ETB }, |sum, byte| sum.wrapping_add(*byte))
}

/// A header record: `H` and the delimiter the device chose.
pub(super) fn is_header(record: &[u8]) -> bool {
    is_record(record, b'H')
}

/// A message terminator record.
pub(super) fn is_terminator(record: &[u8]) -> bool {
    is_record(record, b'L')
}

/// Any record: a letter and a delimiter.
pub(super) fn begins_record(text: &[u8]) -> bool {
    text.first().is_some_and(|letter| letter.is_ascii_uppercase() && is_record(text, *letter))
}

fn is_record(record: &[u8], letter: u8) -> bool {
    match record {
        [first] => *first == letter,
        [first, delimiter, ..] => *first == letter && !delimiter.is_ascii_alphanumeric() && *delimiter > b' ',
        [] => false,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Nothing begun; `fresh` at the beginning of a line, where an unframed record may begin.
    Idle {
        fresh: bool,
    },
    Text,
    /// After ETX or ETB: no, one or two digits of the checksum so far.
    Sum {
        last: bool,
        first: Option<u8>,
    },
    /// After the checksum, where CR LF belongs.
    Tail {
        last: bool,
        checksum: Checksum,
    },
    Block,
    Unframed,
    /// Inside something over the limit.
    Skipping,
}

/// The state machine. Takes one byte at a time: these lines carry kilobytes a minute.
#[derive(Debug)]
pub(super) struct Lexer {
    place: Place,
    text: Vec<u8>,
    limit: usize,
    skipped: usize,
    noise: usize,
    /// Where the record that is being read begins in `text` (unframed records only).
    record: usize,
    touched: Duration,
    /// The byte at hand came after silence.
    alone: bool,
    unframed_quiet: Duration,
}

impl Lexer {
    pub(super) fn new(limit: usize, unframed_quiet: Duration) -> Self {
        Self {
            place: Place::Idle { fresh: true },
            text: Vec::new(),
            limit,
            skipped: 0,
            noise: 0,
            record: 0,
            touched: Duration::ZERO,
            alone: true,
            unframed_quiet,
        }
    }

    pub(super) fn push(&mut self, byte: u8, now: Duration, tokens: &mut VecDeque<Token>) {
        self.alone = now >= self.touched + QUIET_AROUND_ENQUIRY;
        self.touched = now;
        match self.place {
            Place::Idle { fresh } => self.idle(byte, fresh, tokens),
            Place::Text => self.text(byte, tokens),
            Place::Sum { last, first } => self.sum(byte, last, first, tokens),
            Place::Tail { last, checksum } => match byte {
                b'\r' => {}
                b'\n' => self.frame(last, checksum, tokens),
                _ => {
                    // A text byte that noise made an ETX is followed by the rest of the text.
                    let text_goes_on = checksum == Checksum::Absent && !matches!(byte, ENQ | EOT | STX | SOH);
                    self.frame(last, if text_goes_on { Checksum::Illegible } else { checksum }, tokens);
                    self.idle(byte, true, tokens);
                }
            },
            Place::Block => self.block(byte, tokens),
            Place::Unframed => self.unframed(byte, tokens),
            Place::Skipping => match byte {
                STX | ENQ | EOT | SOH => {
                    self.skipped_over(tokens);
                    self.idle(byte, true, tokens);
                }
                ETX | ETB => self.skipped_over(tokens),
                _ => self.skipped = self.skipped.saturating_add(1),
            },
        }
    }

    fn idle(&mut self, byte: u8, fresh: bool, tokens: &mut VecDeque<Token>) {
        if matches!(byte, ENQ | EOT | STX | SOH) {
            self.flush_noise(tokens);
        }
        self.place = Place::Idle { fresh: true };
        match byte {
            ENQ => tokens.push_back(Token::Enquiry { alone: self.alone }),
            EOT => tokens.push_back(Token::End),
            STX => self.begin(Place::Text),
            SOH => self.begin(Place::Block),
            // The frame's own line end, padding, and the echo of our answers.
            b'\r' | b'\n' | 0 | ACK | NAK => {}
            b'H' if fresh => {
                self.begin(Place::Unframed);
                self.text.push(byte);
            }
            _ => {
                self.noise = self.noise.saturating_add(1);
                self.place = Place::Idle { fresh: false };
            }
        }
    }

    fn begin(&mut self, place: Place) {
        self.text.clear();
        self.record = 0;
        self.place = place;
    }

    fn text(&mut self, byte: u8, tokens: &mut VecDeque<Token>) {
        match byte {
            ETX | ETB => self.place = Place::Sum { last: byte == ETX, first: None },
            STX => {
                tokens.push_back(Token::Half(self.text.len()));
                self.begin(Place::Text);
            }
            EOT => {
                tokens.push_back(Token::Half(self.text.len()));
                self.idle(byte, true, tokens);
            }
            // An ENQ stays in the text: an answer to it could be taken for the acknowledgement of the frame
            // that is being sent. If it was a sender that starts anew, silence follows.
            _ => self.grow(byte),
        }
    }

    fn grow(&mut self, byte: u8) {
        self.text.push(byte);
        if self.text.len() > self.limit {
            self.skipped = self.text.len();
            self.text = Vec::new();
            self.place = Place::Skipping;
        }
    }

    fn sum(&mut self, byte: u8, last: bool, first: Option<u8>, tokens: &mut VecDeque<Token>) {
        let digit = char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        match (first, digit) {
            (None, Some(digit)) => self.place = Place::Sum { last, first: Some(digit) },
            (Some(first), Some(digit)) => {
                self.place = Place::Tail { last, checksum: Checksum::Said(first * 16 + digit) };
            }
            (first, None) => {
                let checksum = if first.is_some() { Checksum::Illegible } else { Checksum::Absent };
                self.after_sum(byte, last, checksum, tokens);
            }
        }
    }

    fn after_sum(&mut self, byte: u8, last: bool, checksum: Checksum, tokens: &mut VecDeque<Token>) {
        match byte {
            b'\r' => self.place = Place::Tail { last, checksum },
            b'\n' => self.frame(last, checksum, tokens),
            ENQ | EOT | STX | SOH => {
                self.frame(last, checksum, tokens);
                self.idle(byte, true, tokens);
            }
            _ => self.place = Place::Tail { last, checksum: Checksum::Illegible },
        }
    }

    fn frame(&mut self, last: bool, checksum: Checksum, tokens: &mut VecDeque<Token>) {
        self.place = Place::Idle { fresh: true };
        tokens.push_back(Token::Frame(RawFrame { text: std::mem::take(&mut self.text), last, checksum }));
    }

    fn block(&mut self, byte: u8, tokens: &mut VecDeque<Token>) {
        match byte {
            EOT => {
                self.place = Place::Idle { fresh: true };
                tokens.push_back(Token::Block(std::mem::take(&mut self.text)));
            }
            SOH | STX => {
                tokens.push_back(Token::Half(self.text.len()));
                self.idle(byte, true, tokens);
            }
            _ => self.grow(byte),
        }
    }

    fn unframed(&mut self, byte: u8, tokens: &mut VecDeque<Token>) {
        match byte {
            ENQ | EOT | STX | SOH => {
                self.unframed_ended(tokens);
                self.idle(byte, true, tokens);
            }
            ETX | ETB | ACK | NAK => {}
            b'\r' | b'\n' if self.text.len() == 1 => {
                self.noise = self.noise.saturating_add(1);
                self.begin(Place::Idle { fresh: true });
            }
            b'\r' | b'\n' => {
                let terminated = self.text.get(self.record..).is_some_and(is_terminator);
                self.grow(byte);
                self.record = self.text.len();
                if terminated && self.place == Place::Unframed {
                    self.unframed_ended(tokens);
                }
            }
            _ => {
                self.grow(byte);
                if self.text.len() == 2 && !is_header(&self.text) {
                    self.noise = self.noise.saturating_add(2);
                    self.begin(Place::Idle { fresh: false });
                }
            }
        }
    }

    fn unframed_ended(&mut self, tokens: &mut VecDeque<Token>) {
        self.place = Place::Idle { fresh: true };
        let text = std::mem::take(&mut self.text);
        tokens.push_back(if text.len() > 1 { Token::Unframed(text) } else { Token::Noise(text.len()) });
    }

    fn skipped_over(&mut self, tokens: &mut VecDeque<Token>) {
        self.place = Place::Idle { fresh: false };
        tokens.push_back(Token::Oversize(std::mem::take(&mut self.skipped)));
    }

    fn flush_noise(&mut self, tokens: &mut VecDeque<Token>) {
        let noise = std::mem::take(&mut self.noise);
        if noise > 0 {
            tokens.push_back(Token::Noise(noise));
        }
    }

    /// Inside something whose end is still to come.
    pub(super) fn midway(&self) -> bool {
        matches!(self.place, Place::Text | Place::Block | Place::Skipping)
    }

    /// Nothing is begun.
    pub(super) const fn idle_now(&self) -> bool {
        matches!(self.place, Place::Idle { .. })
    }

    /// When silence alone will say something.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let quiet = match self.place {
            Place::Idle { .. } if self.noise > 0 => self.unframed_quiet,
            Place::Text if self.text.last() == Some(&ENQ) => QUIET_AROUND_ENQUIRY,
            Place::Sum { .. } => QUIET_FOR_CHECKSUM,
            Place::Tail { .. } => QUIET_FOR_LINE_END,
            Place::Unframed => self.unframed_quiet,
            Place::Idle { .. } | Place::Text | Place::Block | Place::Skipping => return None,
        };
        Some(self.touched + quiet)
    }

    pub(super) fn tick(&mut self, now: Duration, tokens: &mut VecDeque<Token>) {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        match self.place {
            Place::Idle { .. } => self.flush_noise(tokens),
            Place::Text => {
                tokens.extend([Token::Half(self.text.len().saturating_sub(1)), Token::Restart]);
                self.begin(Place::Idle { fresh: true });
            }
            Place::Sum { last, first } => {
                let checksum = if first.is_some() { Checksum::Illegible } else { Checksum::Absent };
                self.frame(last, checksum, tokens);
            }
            Place::Tail { last, checksum } => self.frame(last, checksum, tokens),
            Place::Unframed => self.unframed_ended(tokens),
            Place::Block | Place::Skipping => {}
        }
    }

    /// Silence for good: what is complete is said, what is half is given up.
    pub(super) fn finish(&mut self, tokens: &mut VecDeque<Token>) {
        match self.place {
            Place::Idle { .. } => {}
            Place::Text | Place::Block => {
                tokens.push_back(Token::Half(self.text.len()));
                self.begin(Place::Idle { fresh: true });
            }
            Place::Sum { last, first: None } => self.frame(last, Checksum::Absent, tokens),
            Place::Sum { last, first: Some(_) } => self.frame(last, Checksum::Illegible, tokens),
            Place::Tail { last, checksum } => self.frame(last, checksum, tokens),
            Place::Unframed => self.unframed_ended(tokens),
            Place::Skipping => self.skipped_over(tokens),
        }
        self.flush_noise(tokens);
    }
}

/// After ETX a checksum follows at once; two characters take 17 ms at 1200 baud, and a network may stall.
const QUIET_FOR_CHECKSUM: Duration = Duration::from_secs(1);
const QUIET_FOR_LINE_END: Duration = Duration::from_millis(300);
/// A sender that starts anew was silent before its ENQ and waits up to 15 s for the answer; one that is in the
/// middle of a frame goes on at once.
pub(super) const QUIET_AROUND_ENQUIRY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn lex(bytes: &[u8]) -> Vec<Token> {
        let mut lexer = Lexer::new(40, Duration::from_secs(10));
        let mut tokens = VecDeque::new();
        for byte in bytes {
            lexer.push(*byte, Duration::ZERO, &mut tokens);
        }
        tokens.into()
    }

    fn frame(text: &[u8], last: bool, checksum: Checksum) -> Token {
        Token::Frame(RawFrame { text: text.to_vec(), last, checksum })
    }

    #[test]
    fn the_checksum_is_the_sum_from_the_frame_number_to_the_end_character() {
        // STX 2 P | 1 CR ETX 3F: 0x32 + 0x50 + 0x7C + 0x31 + 0x0D + 0x03 = 0x13F.
        assert_eq!(checksum(b"2P|1\r", true), 0x3F);
        assert_eq!(checksum(b"2P|1\r", false), 0x53);
    }

    #[test]
    fn a_session_is_an_enquiry_frames_and_an_end() {
        let tokens = lex(b"\x05\x021H|\\^&\r\x17e5\r\n\x022L|1\r\x033C\n\n\x04\r\n");
        let expected = [
            Token::Enquiry { alone: false },
            frame(b"1H|\\^&\r", false, Checksum::Said(0xE5)),
            frame(b"2L|1\r", true, Checksum::Said(0x3C)),
            Token::End,
        ];
        assert_eq!(tokens, expected);
    }

    #[test]
    fn a_missing_checksum_is_seen_by_what_follows() {
        for tail in [b"\x04".as_slice(), b"\x05", b"\x02", b"\n", b"\r\n"] {
            let tokens = lex(&[b"\x02H|\x03", tail].concat());
            assert_eq!(tokens[0], frame(b"H|", true, Checksum::Absent), "{tail:?}");
        }
        assert_eq!(lex(b"\x02H|\x03\rL|1")[0], frame(b"H|", true, Checksum::Illegible));
        assert_eq!(lex(b"\x02H|\x034\r\n"), [frame(b"H|", true, Checksum::Illegible)]);
        assert_eq!(lex(b"\x02H|\x03zz\r\n"), [frame(b"H|", true, Checksum::Illegible)]);
    }

    #[test]
    fn an_enquiry_inside_a_frame_waits_for_silence() {
        let mut lexer = Lexer::new(40, Duration::from_secs(10));
        let mut tokens = VecDeque::new();
        for byte in b"\x021H|\x05" {
            lexer.push(*byte, Duration::ZERO, &mut tokens);
        }
        assert_eq!((tokens.len(), lexer.deadline()), (0, Some(QUIET_AROUND_ENQUIRY)));
        lexer.tick(QUIET_AROUND_ENQUIRY, &mut tokens);
        assert_eq!(tokens, [Token::Half(3), Token::Restart]);
    }

    #[test]
    fn a_start_or_end_inside_a_frame_gives_the_half_one_up() {
        assert_eq!(lex(b"\x021H\x04"), [Token::Half(2), Token::End]);
        assert_eq!(lex(b"\x021H\x022L\x0300\r\n")[0], Token::Half(2));
    }

    #[test]
    fn records_without_frames_are_recognised_at_the_beginning_of_a_line() {
        assert_eq!(lex(b"\r\nH|\\^&\rP|1\rL|1|N\r\n"), [Token::Unframed(b"H|\\^&\rP|1\rL|1|N\r".to_vec())]);
        assert_eq!(lex(b"HELLO H|\x05"), [Token::Noise(8), Token::Enquiry { alone: false }]);
    }

    #[test]
    fn a_block_from_soh_to_eot_is_one_thing() {
        assert_eq!(lex(b"\x01H|\\^&\rL|1\r\x04"), [Token::Block(b"H|\\^&\rL|1\r".to_vec())]);
    }

    #[test]
    fn nothing_grows_past_the_limit() {
        let long = [b'x'; 100];
        let expected = [Token::Oversize(100), Token::End];
        assert_eq!(lex(&[b"\x02".as_slice(), &long, b"\x0312\r\n\x04"].concat())[0], Token::Oversize(100));
        assert_eq!(lex(&[b"\x01".as_slice(), &long, b"\x04"].concat()), expected);
        assert_eq!(lex(&[b"H|".as_slice(), &long, b"\x04"].concat())[0], Token::Oversize(102));
    }
}
