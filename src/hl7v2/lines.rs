//! Where segments begin and end: CR by the standard, LF and CRLF in real life.

use memchr::memchr2;

use super::names::is_segment;

/// Cuts bytes into segments; blank lines are left out.
///
/// A message that uses CR anywhere ends its segments with CR (or CRLF), another with LF. A line that does not look
/// like a segment is part of a text that its sender broke without an escape, and stays in its field; so does, where
/// segments end with CR, a bare LF before such a line. Nothing is added to a header that way: what follows one and
/// is no segment stands by itself.
#[derive(Clone, Debug)]
pub(super) struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
    carriage_returns: bool,
    /// The field separator, once it is known.
    sign: Option<u8>,
}

impl<'a> Lines<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, carriage_returns: memchr::memchr(b'\r', bytes).is_some(), sign: None }
    }

    /// From here on, only what uses this field separator is a segment.
    pub(super) fn separated_by(&mut self, sign: u8) {
        self.sign = Some(sign);
    }

    fn rest(&self, at: usize) -> &'a [u8] {
        self.bytes.get(at..).unwrap_or_default()
    }

    /// Whether the CR or LF at `at` ends the segment that begins at `start`.
    fn ends_here(&self, start: usize, at: usize) -> bool {
        let breaks = self.rest(at).iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
        let next = self.rest(at + breaks);
        if next.is_empty() || self.begins_segment(next) {
            return true;
        }
        let bare = breaks == 1 && self.carriage_returns && self.bytes.get(at) == Some(&b'\n');
        if is_envelope(self.rest(start)) || is_header(self.rest(start)) {
            return !bare;
        }
        !(bare || is_text(next))
    }

    /// Whether a line that begins so is a segment, as against a line of text.
    pub(super) fn begins_segment(&self, bytes: &[u8]) -> bool {
        let Some((name, rest)) = bytes.split_at_checked(3) else { return false };
        if is_header(bytes) || is_envelope(bytes) {
            return true;
        }
        match (self.sign, rest.first()) {
            (_, None | Some(b'\r' | b'\n')) => is_segment(name),
            (Some(sign), Some(next)) => *next == sign && name.iter().all(u8::is_ascii_alphanumeric),
            (None, Some(next)) => {
                let capital = |b: &u8| b.is_ascii_uppercase() || b.is_ascii_digit();
                next.is_ascii_punctuation() && name.iter().all(capital)
            }
        }
    }
}

/// A line of words, as against what a line discipline or a broken sender leaves behind.
fn is_text(bytes: &[u8]) -> bool {
    let line = memchr2(b'\r', b'\n', bytes).and_then(|end| bytes.get(..end)).unwrap_or(bytes);
    // ESC switches alphabets in Japanese text.
    let odd = |b: &u8| b.is_ascii_control() && !matches!(b, b'\t' | 0x1B);
    !line.iter().any(odd) && line.iter().any(|b| !b.is_ascii_whitespace())
}

impl Iterator for Lines<'_> {
    /// Offsets of the segment: start and end, without its terminator.
    type Item = (usize, usize);

    fn next(&mut self) -> Option<(usize, usize)> {
        while matches!(self.bytes.get(self.at), Some(b'\r' | b'\n')) {
            self.at += 1;
        }
        let start = self.at;
        let mut search = start;
        while let Some(found) = memchr2(b'\r', b'\n', self.rest(search)) {
            if self.ends_here(start, search + found) {
                self.at = search + found;
                return Some((start, self.at));
            }
            search += found + 1;
        }
        self.at = self.bytes.len();
        (start < self.at).then_some((start, self.at))
    }
}

/// `MSH` and a sign after it: the header of a message.
pub(super) fn is_header(line: &[u8]) -> bool {
    line.strip_prefix(b"MSH").and_then(|rest| rest.first()).is_some_and(u8::is_ascii_punctuation)
}

/// Header or trailer of a batch or of a file of batches (2.5 §2.10.3): around messages, never in one.
pub(super) fn is_envelope(line: &[u8]) -> bool {
    let after = |name: &[u8; 3]| line.strip_prefix(name).map(|rest| rest.first());
    let ends =
        |next: Option<&u8>| next.is_none_or(|b| b.is_ascii_punctuation() || matches!(b, b'\r' | b'\n'));
    [b"FHS", b"BHS", b"BTS", b"FTS"].into_iter().find_map(after).is_some_and(ends)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str) -> Vec<&str> {
        let mut lines = Lines::new(text.as_bytes());
        let header = lines.next();
        lines.separated_by(b'|');
        header.into_iter().chain(lines).map(|(start, end)| &text[start..end]).collect()
    }

    #[test]
    fn every_kind_of_line_end_ends_a_segment() {
        for end in ["\r", "\n", "\r\n", "\r\r", "\r\n\r\n", "\n\n", "\n\r"] {
            let text = format!("MSH|^~\\&{end}PID|1{end}EVN{end}OBX|1{end}");
            assert_eq!(cut(&text), ["MSH|^~\\&", "PID|1", "EVN", "OBX|1"], "{end:?}");
        }
        assert_eq!(cut("MSH|a\rPID|1"), ["MSH|a", "PID|1"], "no last terminator");
        assert!(cut("\r\n\n").is_empty());
    }

    #[test]
    fn a_broken_line_of_text_stays_in_its_field_whatever_broke_it() {
        for end in ["\r", "\n", "\r\n"] {
            for broken in ["\n", "\r", "\r\n", "\n\n", "\r\n\r\n"] {
                let text = format!("MSH|a{end}OBX|1|TX|||two{broken}CRP: 5|mg{end}ZZ1|2{end}");
                let segment = format!("OBX|1|TX|||two{broken}CRP: 5|mg");
                assert_eq!(cut(&text), ["MSH|a", &segment, "ZZ1|2"], "{end:?} {broken:?}");
            }
        }
        assert_eq!(cut("MSH|a\rOBX|1\nOBX|2\rOBX|3"), ["MSH|a", "OBX|1", "OBX|2", "OBX|3"]);
        assert_eq!(cut("MSH|a\nOBX|1\nobx|2\nNAD\nEND"), ["MSH|a", "OBX|1", "obx|2\nNAD\nEND"]);
    }

    #[test]
    fn what_is_no_text_stands_by_itself_and_nothing_is_added_to_a_header() {
        assert_eq!(cut("MSH|a\rgarbage\rPID|1\r\x1a\r"), ["MSH|a", "garbage", "PID|1", "\x1a"]);
        assert_eq!(cut("MSH|a\ngarbage\nPID|1\n \nPV1|2"), ["MSH|a", "garbage", "PID|1", " ", "PV1|2"]);
        assert_eq!(cut("MSH|a\nb|c\rPID|1"), ["MSH|a\nb|c", "PID|1"], "a bare LF where CR ends segments");
        let strange = cut("MSH|a\rNTE|1\rMSH$b\rBTS$1\r");
        assert_eq!(strange, ["MSH|a", "NTE|1", "MSH$b", "BTS$1"], "a header is one with any separator");
    }
}
