//! Frame texts → whole messages: the records from H to L, as the device wrote them, whatever the frames cut.

use std::ops::Range;

use super::frame::{is_header, is_terminator};

/// The text that was accepted since the last whole message.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    text: Vec<u8>,
    /// Where the first record begins that was not looked at yet.
    record: usize,
    /// The last frame ended with ETX, which ends a record even without CR.
    ended: bool,
}

/// Where an assembly stood, to go back to when a frame is refused.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub(super) length: usize,
    record: usize,
    ended: bool,
}

/// A message that is whole within the assembly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Whole {
    pub(super) range: Range<usize>,
    /// It ends with its L record.
    pub(super) terminated: bool,
}

impl Assembly {
    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    pub(super) fn bytes(&self, range: Range<usize>) -> Vec<u8> {
        self.text.get(range).unwrap_or_default().to_vec()
    }

    pub(super) fn mark(&self) -> Mark {
        Mark { length: self.text.len(), record: self.record, ended: self.ended }
    }

    pub(super) fn go_back(&mut self, mark: Mark) {
        self.text.truncate(mark.length);
        self.record = mark.record;
        self.ended = mark.ended;
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Forgets what was kept as whole messages.
    pub(super) fn forget(&mut self, end: usize) {
        self.text.drain(..end.min(self.text.len()));
        self.record = self.record.saturating_sub(end);
        if self.text.iter().all(u8::is_ascii_whitespace) {
            self.clear();
        }
    }

    /// Adds the text of a frame and says which messages are whole now, in order. `last`: the frame ends with
    /// ETX.
    pub(super) fn push(&mut self, text: &[u8], last: bool) -> Vec<Whole> {
        let text = if self.text.is_empty() { text.trim_ascii_start() } else { text };
        if self.ended && !text.is_empty() && !matches!(self.text.last(), None | Some(b'\r' | b'\n')) {
            self.text.push(b'\r');
        }
        self.text.extend_from_slice(text);
        self.ended = last;
        self.scan()
    }

    fn scan(&mut self) -> Vec<Whole> {
        let mut whole = Vec::new();
        let mut begin = 0;
        while let Some(record) = self.text.get(self.record..).filter(|rest| !rest.is_empty()) {
            let length = record.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
            if length.is_none() && !self.ended {
                break;
            }
            let record = record.get(..length.unwrap_or(record.len())).unwrap_or_default();
            let blank = self.text.get(begin..self.record).is_none_or(|before| before.trim_ascii().is_empty());
            if is_header(record) && !blank {
                whole.push(Whole { range: begin..self.record, terminated: false });
                begin = self.record;
            }
            let end = (self.record + record.len() + usize::from(length.is_some())).min(self.text.len());
            if is_terminator(record) {
                whole.push(Whole { range: begin..end, terminated: true });
                begin = end;
            }
            self.record = end;
        }
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(frames: &[(&str, bool)]) -> (Vec<(String, bool)>, String) {
        let mut assembly = Assembly::default();
        let mut said = Vec::new();
        for (text, last) in frames {
            let whole = assembly.push(text.as_bytes(), *last);
            let end = whole.last().map_or(0, |whole| whole.range.end);
            for Whole { range, terminated } in whole {
                said.push((String::from_utf8(assembly.bytes(range)).unwrap(), terminated));
            }
            assembly.forget(end);
        }
        (said, String::from_utf8(assembly.bytes(0..assembly.len())).unwrap())
    }

    #[test]
    fn a_record_cut_by_the_frames_is_whole_again() {
        let (said, rest) = messages(&[("H|\\^&\rP|1\rL|1", false), ("|N\r", true)]);
        assert_eq!((said, rest.as_str()), (vec![(String::from("H|\\^&\rP|1\rL|1|N\r"), true)], ""));
    }

    #[test]
    fn an_end_of_text_ends_a_record_without_carriage_return() {
        let (said, _) = messages(&[("H|\\^&", true), ("P|1", true), ("L|1", true)]);
        assert_eq!(said, [(String::from("H|\\^&\rP|1\rL|1"), true)]);
    }

    #[test]
    fn several_messages_come_apart_with_and_without_terminator() {
        let (said, rest) = messages(&[("H|a\rL|1\r\nH|b\rQ|1\rH|c\rL|1\rH|d\rP", false)]);
        let expected = [("H|a\rL|1\r", true), ("\nH|b\rQ|1\r", false), ("H|c\rL|1\r", true)];
        assert_eq!(said, expected.map(|(text, terminated)| (String::from(text), terminated)));
        assert_eq!(rest, "H|d\rP");
    }

    #[test]
    fn a_refused_frame_leaves_no_trace() {
        let mut assembly = Assembly::default();
        assembly.push(b"H|a", true);
        let mark = assembly.mark();
        assert_eq!(assembly.push(b"L|1", true).len(), 1);
        assembly.go_back(mark);
        assert_eq!(assembly.push(b"L|1", true), [Whole { range: 0..7, terminated: true }]);
    }

    #[test]
    fn a_word_that_begins_like_a_record_is_none() {
        let (said, _) = messages(&[("H|a\rHello|\rLast|\rL\r", true)]);
        assert_eq!(said, [(String::from("H|a\rHello|\rLast|\rL\r"), true)]);
    }
}
