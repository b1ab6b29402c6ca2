//! Escape sequences (2.5 §2.7): `\F\ \S\ \T\ \R\ \E\ \P\ \X..\ \.br\` and the rest.

use std::borrow::Cow;

use super::charset::Charset;
use super::separators::Separators;

/// Resolves escape sequences. What is not a known sequence stays as it was written: a `\` in a Windows path
/// is not an error, and a local `\Z..\` must not vanish.
pub(super) fn unescape<'m>(raw: &'m str, separators: &Separators, charset: Charset) -> Cow<'m, str> {
    let escape = char::from(separators.escape);
    let Some(first) = raw.find(escape) else { return Cow::Borrowed(raw) };
    let (head, mut rest) = raw.split_at(first);
    let mut written = Written { text: String::with_capacity(raw.len()), bytes: Vec::new(), charset };
    written.push(head);
    // `rest` begins with the escape sign each time round.
    while let Some(after) = rest.strip_prefix(escape) {
        let Some((sequence, tail)) = after.split_once(escape) else { break };
        if resolve(sequence, separators, &mut written) {
            let next = tail.find(escape).unwrap_or(tail.len());
            let (plain, more) = tail.split_at(next);
            written.push(plain);
            rest = more;
        } else {
            written.push_char(escape);
            written.push(sequence);
            rest = after.split_at(sequence.len()).1;
        }
    }
    written.push(rest);
    written.flush();
    Cow::Owned(written.text)
}

/// Text, and bytes of `\X..\` that may be half of a letter: some senders write each byte for itself.
struct Written {
    text: String,
    bytes: Vec<u8>,
    charset: Charset,
}

impl Written {
    fn flush(&mut self) {
        if !self.bytes.is_empty() {
            let bytes = std::mem::take(&mut self.bytes);
            self.text.push_str(&self.charset.decode(&bytes).0);
        }
    }

    fn push(&mut self, text: &str) {
        if !text.is_empty() {
            self.flush();
            self.text.push_str(text);
        }
    }

    fn push_char(&mut self, letter: char) {
        self.flush();
        self.text.push(letter);
    }

    fn repeat(&mut self, letter: char, count: usize) {
        self.flush();
        self.text.extend(std::iter::repeat_n(letter, count));
    }
}

/// Writes what `sequence` (without its escape signs) stands for; `false` when it is not known.
fn resolve(sequence: &str, separators: &Separators, written: &mut Written) -> bool {
    let sign = match sequence {
        "F" => Some(separators.field),
        "S" => Some(separators.component),
        "T" => Some(separators.subcomponent),
        "R" => Some(separators.repetition),
        "E" => Some(separators.escape),
        "P" => Some(separators.truncation.unwrap_or(b'#')),
        _ => None,
    };
    if let Some(sign) = sign {
        written.push_char(char::from(sign));
        return true;
    }
    match sequence {
        // Highlighting on and off.
        "H" | "N" => true,
        _ => match (sequence.strip_prefix('X').and_then(hex), sequence.strip_prefix('.')) {
            (Some(bytes), _) => {
                written.bytes.extend(bytes);
                true
            }
            (None, Some(command)) => format(command, written),
            (None, None) => false,
        },
    }
}

/// A formatting command of FT (2.5 §2.7.6): line breaks and blanks are text, indents are not.
fn format(command: &str, written: &mut Written) -> bool {
    let Some((name, rest)) = command.split_at_checked(2) else { return false };
    let number = rest.trim().trim_start_matches('+');
    let count = match number.trim_start_matches('-') {
        "" => Some(1),
        digits => digits.parse::<usize>().ok().filter(|count| *count <= REPEATED_MAX),
    };
    let Some(count) = count else { return false };
    match name.to_ascii_lowercase().as_str() {
        "br" | "ce" if rest.is_empty() => written.push_char('\n'),
        "sp" => written.repeat('\n', count),
        "sk" => written.repeat(' ', count),
        "fi" | "nf" | "in" | "ti" => {}
        _ => return false,
    }
    true
}

/// More blanks or lines at once than this are a mistake.
const REPEATED_MAX: usize = 999;

fn hex(digits: &str) -> Option<Vec<u8>> {
    if digits.is_empty() || digits.len() % 2 == 1 {
        return None;
    }
    let nibble = |b: u8| char::from(b).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let pairs = digits.as_bytes().chunks_exact(2);
    pairs.map(|pair| pair.iter().try_fold(0u8, |byte, b| Some(byte << 4 | nibble(*b)?))).collect()
}

/// Makes text safe to stand in one field: delimiters escaped, a line break as `\.br\`, other control characters as
/// `\X..\`. Letters stay letters; whoever writes them says in MSH-18 which bytes they become.
pub(super) fn escaped(text: &str, separators: &Separators) -> String {
    let mut written = String::with_capacity(text.len() + text.len() / 8);
    let sign = char::from(separators.escape);
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let name = match u8::try_from(letter).ok().filter(u8::is_ascii) {
            Some(b'\r') if letters.peek() == Some(&'\n') => continue,
            Some(b'\n') => ".br".into(),
            Some(byte) => match delimiter(byte, separators) {
                Some(name) => String::from(char::from(name)),
                None if byte.is_ascii_control() => format!("X{byte:02X}"),
                None => String::new(),
            },
            None => String::new(),
        };
        if name.is_empty() {
            written.push(letter);
        } else {
            written.push(sign);
            written.push_str(&name);
            written.push(sign);
        }
    }
    written
}

/// The same for a text of one line, as devices that know no formatting want it: trimmed, control characters as spaces
/// (2.5 §2.7).
pub fn escaped_line(text: &str, separators: &Separators) -> String {
    let mut written = String::with_capacity(text.len());
    for sign in text.trim().chars() {
        let letter = match u8::try_from(sign) {
            Ok(byte) if byte == separators.field => 'F',
            Ok(byte) if byte == separators.component => 'S',
            Ok(byte) if byte == separators.subcomponent => 'T',
            Ok(byte) if byte == separators.repetition => 'R',
            Ok(byte) if byte == separators.escape => 'E',
            _ => {
                written.push(if sign.is_control() { ' ' } else { sign });
                continue;
            }
        };
        let around = char::from(separators.escape);
        written.extend([around, letter, around]);
    }
    written
}

fn delimiter(byte: u8, separators: &Separators) -> Option<u8> {
    let names = [
        (Some(separators.field), b'F'),
        (Some(separators.component), b'S'),
        (Some(separators.subcomponent), b'T'),
        (Some(separators.repetition), b'R'),
        (Some(separators.escape), b'E'),
        (separators.truncation, b'P'),
    ];
    names.into_iter().find_map(|(sign, name)| (sign == Some(byte)).then_some(name))
}

/// [`escaped`] for an answer whose charset is not known: ASCII, on one line.
pub(super) fn escape(text: &str, separators: &Separators) -> Vec<u8> {
    let plain = |letter: char| match letter {
        letter if !letter.is_ascii() => '?',
        letter if letter.is_ascii_control() => ' ',
        letter => letter,
    };
    let plain: String = text.chars().map(plain).collect();
    escaped(&plain, &Separators { truncation: None, ..*separators }).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(raw: &str) -> String {
        unescape(raw, &Separators::default(), Charset::default()).into_owned()
    }

    #[test]
    fn known_sequences_are_resolved() {
        assert_eq!(read(r"a\F\b\S\c\T\d\R\e\E\f\P\g"), "a|b^c&d~e\\f#g");
        assert_eq!(read(r"one\.br\two\X0D0A\three\H\bold\N\"), "one\ntwo\r\nthreebold");
        assert_eq!(read(r"\XC3BC\ber"), "über");
        assert_eq!(read(r"\XC3\\XBC\ber \XE2\\X82\\XAC\"), "über €", "a letter byte by byte");
        assert_eq!(read(r"a\.sp2\b\.sk 3\c\.in+4\d\.ti-2\e\.SP\f\.fi\g"), "a\n\nb   cde\nfg");
        assert!(matches!(unescape("plain", &Separators::default(), Charset::default()), Cow::Borrowed(_)));
    }

    #[test]
    fn what_is_not_a_sequence_stays_as_written() {
        for raw in [
            r"C:\temp\x",
            r"\",
            r"\\",
            r"\Zlocal\",
            r"\X0\",
            r"\Xzz\",
            r"a\F",
            r"\C2842\",
            "µ\\ä\\",
            r"\.sp1000\",
            r"\.sp99999999999999999999\",
            r"\.xx\",
            r"\.\",
            r"\.br7\",
        ] {
            assert_eq!(read(raw), raw);
        }
        assert_eq!(read(r"C:\temp\F\x"), r"C:\temp|x", "the sign that ends a stranger may begin a sequence");
    }

    #[test]
    fn escaped_text_reads_back() {
        let separators = Separators { truncation: Some(b'#'), ..Separators::default() };
        for text in ["a|b^c&d~e\\f#g", "é 張 \u{1F600}", "two\nlines", "\tx\r\u{0}", ""] {
            let written = escaped(text, &separators);
            assert!(!written.contains(['|', '^', '&', '~', '#', '\r', '\n']), "{written}");
            assert_eq!(unescape(&written, &separators, Charset::default()), text);
        }
        assert_eq!(escaped("a\r\nb", &separators), r"a\.br\b");
        let narrow = escape("a|b#\rg\u{e9}", &separators);
        assert_eq!(narrow, br"a\F\b# g?");
    }
}
