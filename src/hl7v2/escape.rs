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
    let mut text = String::with_capacity(raw.len());
    text.push_str(head);
    // `rest` begins with the escape sign each time round.
    while let Some(after) = rest.strip_prefix(escape) {
        let Some((sequence, tail)) = after.split_once(escape) else { break };
        if resolve(sequence, separators, charset, &mut text) {
            let next = tail.find(escape).unwrap_or(tail.len());
            let (plain, more) = tail.split_at(next);
            text.push_str(plain);
            rest = more;
        } else {
            text.push(escape);
            text.push_str(sequence);
            rest = after.split_at(sequence.len()).1;
        }
    }
    text.push_str(rest);
    Cow::Owned(text)
}

/// Writes what `sequence` (without its escape signs) stands for; `false` when it is not known.
fn resolve(sequence: &str, separators: &Separators, charset: Charset, text: &mut String) -> bool {
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
        text.push(char::from(sign));
        return true;
    }
    match sequence {
        // Highlighting on and off; formatting that has no meaning in a value.
        "H" | "N" | ".fi" | ".nf" => true,
        ".br" | ".BR" | ".ce" | ".sp" => {
            text.push('\n');
            true
        }
        _ => match sequence.strip_prefix('X').and_then(hex) {
            Some(bytes) => {
                text.push_str(&charset.decode(&bytes).0);
                true
            }
            None => false,
        },
    }
}

fn hex(digits: &str) -> Option<Vec<u8>> {
    if digits.is_empty() || digits.len() % 2 == 1 {
        return None;
    }
    let nibble = |b: u8| char::from(b).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let pairs = digits.as_bytes().chunks_exact(2);
    pairs.map(|pair| pair.iter().try_fold(0u8, |byte, b| Some(byte << 4 | nibble(*b)?))).collect()
}

/// Makes text safe to stand in one field: ASCII, without line ends, delimiters escaped.
pub(super) fn escape(text: &str, separators: &Separators) -> Vec<u8> {
    let mut written = Vec::with_capacity(text.len());
    for letter in text.chars() {
        let byte = u8::try_from(letter).ok().filter(u8::is_ascii).unwrap_or(b'?');
        let name = if byte == separators.field {
            b'F'
        } else if byte == separators.component {
            b'S'
        } else if byte == separators.subcomponent {
            b'T'
        } else if byte == separators.repetition {
            b'R'
        } else if byte == separators.escape {
            b'E'
        } else {
            written.push(if byte.is_ascii_control() { b' ' } else { byte });
            continue;
        };
        written.extend([separators.escape, name, separators.escape]);
    }
    written
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
        assert!(matches!(unescape("plain", &Separators::default(), Charset::default()), Cow::Borrowed(_)));
    }

    #[test]
    fn what_is_not_a_sequence_stays_as_written() {
        for raw in [r"C:\temp\x", r"\", r"\\", r"\Zlocal\", r"\X0\", r"\Xzz\", r"a\F", r"\C2842\", "µ\\ä\\"]
        {
            assert_eq!(read(raw), raw);
        }
        assert_eq!(read(r"C:\temp\F\x"), r"C:\temp|x", "the sign that ends a stranger may begin a sequence");
    }

    #[test]
    fn escaped_text_reads_back() {
        let separators = Separators::default();
        let written = escape("a|b^c&d~e\\f\rg\u{e9}", &separators);
        assert_eq!(read(std::str::from_utf8(&written).unwrap()), "a|b^c&d~e\\f g?");
    }
}
