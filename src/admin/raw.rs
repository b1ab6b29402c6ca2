//! Bytes as people can see them: text with its control characters made visible, and hex.

use std::fmt::Write;

use serde::Serialize;
use utoipa::ToSchema;

/// Most bytes shown; the rest is only counted.
const SHOWN_MAX: usize = 64 * 1024;

/// A frame for the eye.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = RawFrame)]
pub struct Raw {
    /// UTF-8 where it is, control characters as Unicode control pictures (`␋`, `␍`); `␍` and `␊` also end a line.
    pub text: String,
    /// Two digits a byte, sixteen bytes a line.
    pub hex: String,
    pub sha256: String,
    /// Size of the whole frame.
    pub bytes: usize,
}

impl Raw {
    /// The first 64 KiB of a frame.
    pub fn of(frame: &[u8], sha256: String) -> Self {
        let shown = frame.get(..SHOWN_MAX).unwrap_or(frame);
        Self { text: visible(shown), hex: hex(shown), sha256, bytes: frame.len() }
    }
}

/// What is not UTF-8 becomes U+FFFD, as everywhere else on the screen: the hex has it.
fn visible(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut visible = String::with_capacity(text.len() + text.len() / 8);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        visible.push(seen(c));
        if c == '\n' || (c == '\r' && chars.peek() != Some(&'\n')) {
            visible.push('\n');
        }
    }
    visible
}

/// A character as a screen may show it: never one that steers the screen.
pub(super) fn seen(c: char) -> char {
    match c {
        '\0'..='\u{1f}' => picture(c),
        '\u{7f}' => '\u{2421}',
        // C1 controls have no pictures.
        '\u{80}'..='\u{9f}' => '\u{fffd}',
        // Marks that turn text around or hide would show another message than the one that came.
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' => {
            '\u{25af}'
        }
        other => other,
    }
}

/// The Unicode control picture of a C0 control.
fn picture(c: char) -> char {
    char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{fffd}')
}

fn hex(bytes: &[u8]) -> String {
    let mut hex = String::with_capacity(bytes.len() * 3);
    for line in bytes.chunks(16) {
        for byte in line {
            // Writing to a String does not fail.
            write!(hex, "{byte:02x} ").ok();
        }
        hex.pop();
        hex.push('\n');
    }
    hex
}

/// For the fuzzing rig: whatever bytes come, no control character but the line end reaches a screen.
pub(super) fn fuzz(bytes: &[u8]) {
    let raw = Raw::of(bytes, String::new());
    assert!(raw.text.chars().all(|c| !c.is_control() || c == '\n'));
    assert_eq!(raw.bytes, bytes.len());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_seen_and_lines_end_where_segments_do() {
        let raw = Raw::of(b"\x0bMSH|^~\\&\rPID|1\r\n\x1c\r", "ab".into());
        assert_eq!(raw.text, "␋MSH|^~\\&␍\nPID|1␍␊\n␜␍\n");
        assert_eq!(raw.hex.lines().next(), Some("0b 4d 53 48 7c 5e 7e 5c 26 0d 50 49 44 7c 31 0d"));
    }

    #[test]
    fn text_that_would_turn_the_screen_around_is_marked() {
        assert_eq!(visible("a\u{202e}b\u{9b}31m\u{1b}[0m".as_bytes()), "a▯b\u{fffd}31m␛[0m");
        assert_eq!(visible(b"\xff\xfe"), "\u{fffd}\u{fffd}");
    }

    #[test]
    fn a_long_frame_is_shown_in_part_and_counted_whole() {
        let raw = Raw::of(&vec![b'x'; 100_000], String::new());
        assert_eq!((raw.text.len(), raw.bytes), (SHOWN_MAX, 100_000));
    }

    #[test]
    fn any_bytes_are_survived() {
        for seed in [&b""[..], b"\x00\x7f\x80\xff", "é\u{85}".as_bytes(), b"\r\r\n\n"] {
            fuzz(seed);
        }
    }
}
