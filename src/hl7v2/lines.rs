//! Where segments begin and end: CR by the standard, LF and CRLF in real life.

/// Cuts bytes into segments; blank lines are left out.
///
/// A message that uses CR anywhere ends its segments with CR (or CRLF). In such a message a bare LF ends a
/// segment only when what follows looks like the start of one; else it is a line break inside a text that the
/// sender forgot to escape, and stays part of its field.
#[derive(Clone, Debug)]
pub(super) struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
    carriage_returns: bool,
}

impl<'a> Lines<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, carriage_returns: bytes.contains(&b'\r') }
    }

    fn ends_here(&self, at: usize) -> bool {
        match self.bytes.get(at) {
            Some(b'\r') => true,
            Some(b'\n') => !self.carriage_returns || self.segment_or_break_follows(at + 1),
            _ => false,
        }
    }

    fn segment_or_break_follows(&self, at: usize) -> bool {
        let rest = self.bytes.get(at..).unwrap_or_default();
        match rest.first() {
            None | Some(b'\r' | b'\n') => true,
            Some(_) => begins_segment(rest),
        }
    }
}

/// Upper-case segment name followed by a sign that can separate fields.
fn begins_segment(bytes: &[u8]) -> bool {
    let Some((name, rest)) = bytes.split_at_checked(3) else { return false };
    let [first, others @ ..] = name else { return false };
    first.is_ascii_uppercase()
        && others.iter().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
        && rest.first().is_some_and(|b| b.is_ascii_punctuation())
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
        loop {
            let rest = self.bytes.get(search..).unwrap_or_default();
            let Some(found) = rest.iter().position(|b| matches!(b, b'\r' | b'\n')) else {
                self.at = self.bytes.len();
                return (start < self.at).then_some((start, self.at));
            };
            if self.ends_here(search + found) {
                self.at = search + found;
                return Some((start, self.at));
            }
            search += found + 1;
        }
    }
}

/// `MSH` and a sign after it: the header of a message.
pub(super) fn is_header(line: &[u8]) -> bool {
    line.strip_prefix(b"MSH").and_then(|rest| rest.first()).is_some_and(u8::is_ascii_punctuation)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str) -> Vec<&str> {
        Lines::new(text.as_bytes()).map(|(start, end)| &text[start..end]).collect()
    }

    #[test]
    fn every_kind_of_line_end_ends_a_segment() {
        for end in ["\r", "\n", "\r\n", "\r\r", "\r\n\r\n", "\n\n"] {
            let text = format!("MSH|^~\\&{end}PID|1{end}OBX|1{end}");
            assert_eq!(cut(&text), ["MSH|^~\\&", "PID|1", "OBX|1"], "{end:?}");
        }
        assert_eq!(cut("MSH|a\rPID|1"), ["MSH|a", "PID|1"], "no last terminator");
        assert!(cut("\r\n\n").is_empty());
    }

    #[test]
    fn a_line_feed_inside_a_text_stays_in_its_field() {
        assert_eq!(cut("MSH|a\rOBX|1|TX|||two\nlines|mg\rOBX|2\r")[1], "OBX|1|TX|||two\nlines|mg");
        assert_eq!(cut("MSH|a\rOBX|1\nOBX|2\rOBX|3"), ["MSH|a", "OBX|1", "OBX|2", "OBX|3"]);
    }
}
