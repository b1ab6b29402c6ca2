//! How a page writes bytes: as a text, with escapes for what has no letter, or as `hex:02 70 03`.

use serde::Deserialize;

/// Bytes as a page writes them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Bytes(pub Vec<u8>);

impl TryFrom<String> for Bytes {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        bytes_of(&text).map(Self)
    }
}

/// The bytes a text of a page stands for: `hex:02 70 03`, or characters up to U+00FF, one byte each, with `\r`,
/// `\n`, `\t`, `\\` and `\x1b`. The error is a sentence.
pub fn bytes_of(text: &str) -> Result<Vec<u8>, String> {
    if let Some(hex) = text.strip_prefix("hex:") {
        let bytes: Option<Vec<u8>> = hex
            .split_whitespace()
            .map(|byte| (byte.len() == 2).then(|| u8::from_str_radix(byte, 16).ok()).flatten())
            .collect();
        return bytes.ok_or_else(|| "hex: must be followed by bytes such as 02 70 03".into());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(letter) = rest.next() {
        if letter != '\\' {
            bytes
                .push(u8::try_from(letter).map_err(|_| format!("`{letter}` is no single byte; write hex:"))?);
            continue;
        }
        bytes.push(match rest.next() {
            Some('r') => b'\r',
            Some('n') => b'\n',
            Some('t') => b'\t',
            Some('\\') => b'\\',
            Some('x') => {
                let digits: String = rest.by_ref().take(2).collect();
                let byte = (digits.len() == 2).then(|| u8::from_str_radix(&digits, 16).ok()).flatten();
                byte.ok_or_else(|| format!("`\\x{digits}` is no byte; write for example \\x02"))?
            }
            _ => {
                return Err(
                    "after a backslash comes r, n, t, another backslash, or x and two hex digits".into()
                );
            }
        });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_escapes_and_hex_are_the_same_bytes() {
        assert_eq!(bytes_of("A\u{2}\\x1b\\r\\n\\\\"), Ok(b"A\x02\x1b\r\n\\".to_vec()));
        assert_eq!(bytes_of("hex:02 70 fF"), Ok(vec![2, 0x70, 0xFF]));
        assert_eq!(bytes_of("\u{85}\\x85"), Ok(vec![0x85, 0x85]));
    }

    #[test]
    fn what_is_no_byte_is_told() {
        for (text, word) in [
            ("hex:2g", "02 70 03"),
            ("hex:123", "02 70 03"),
            ("\\x2", "no byte"),
            ("\\q", "backslash"),
            ("€", "hex:"),
        ] {
            assert!(bytes_of(text).unwrap_err().contains(word), "{text}");
        }
    }
}
