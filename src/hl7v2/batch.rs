//! Several messages in one piece: the batch protocol (2.5 §2.10.3), and files that are messages one after another.

use super::charset::Charset;
use super::lines::{Lines, is_envelope, is_header};
use crate::device::Finding;

/// The messages in a piece of bytes.
#[derive(Debug, Default)]
pub struct Batch<'a> {
    /// Each from its MSH to the end of its last segment, in order, without the headers and trailers around them.
    pub messages: Vec<&'a [u8]>,
    /// Codes `batch-count` (a trailer counts otherwise) and `batch-cut` (a header without its trailer: the end may
    /// be missing).
    pub findings: Vec<Finding>,
}

/// Takes a file of batches, a batch, or messages without either apart. Bytes without MSH give no message.
///
/// A piece in UTF-16 is taken for one message; [`Message::parse`](super::Message::parse) tells of a second one.
pub fn batch(bytes: &[u8]) -> Batch<'_> {
    let mut found = Walk { bytes, ..Walk::default() };
    if Charset::wide(bytes).is_some() {
        return Batch { messages: vec![bytes], findings: Vec::new() };
    }
    for (start, end) in Lines::new(bytes) {
        let line = bytes.get(start..end).unwrap_or_default();
        let bare = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line);
        if is_header(bare) {
            found.close();
            found.open = Some((start, end));
        } else if is_envelope(bare) {
            found.close();
            found.envelope(bare);
        } else if let Some((_, last)) = &mut found.open {
            *last = end;
        }
    }
    found.close();
    found.finish()
}

#[derive(Default)]
struct Walk<'a> {
    bytes: &'a [u8],
    open: Option<(usize, usize)>,
    found: Batch<'a>,
    /// Messages since the last batch header, and batches since the last file header.
    messages: usize,
    batches: usize,
    in_batch: bool,
    in_file: bool,
}

impl<'a> Walk<'a> {
    /// The message so far is whole.
    fn close(&mut self) {
        let Some((start, end)) = self.open.take() else { return };
        // As it would have come by itself: with the end of its last segment.
        let end = match self.bytes.get(end..).unwrap_or_default() {
            [b'\r', b'\n', ..] => end + 2,
            [b'\r' | b'\n', ..] => end + 1,
            _ => end,
        };
        self.found.messages.extend(self.bytes.get(start..end));
        self.messages += 1;
    }

    fn envelope(&mut self, line: &[u8]) {
        let sign = line.get(3).copied().unwrap_or(b'|');
        let counted = line.split(|b| *b == sign).nth(1).and_then(|field| std::str::from_utf8(field).ok());
        let counted = counted.and_then(|text| text.trim().parse::<usize>().ok());
        match line.get(..3).unwrap_or_default() {
            b"FHS" => (self.in_file, self.batches) = (true, 0),
            b"BHS" => (self.in_batch, self.messages) = (true, 0),
            b"BTS" => {
                self.differs("BTS-1", "messages", counted, self.messages);
                (self.in_batch, self.batches) = (false, self.batches + 1);
            }
            _ => {
                self.differs("FTS-1", "batches", counted, self.batches);
                self.in_file = false;
            }
        }
    }

    fn differs(&mut self, place: &str, what: &str, counted: Option<usize>, found: usize) {
        if let Some(counted) = counted.filter(|counted| *counted != found) {
            let text = format!("The trailer counts {counted} {what}; there are {found}.");
            self.found.findings.push(Finding { code: "batch-count", place: place.into(), text });
        }
    }

    fn finish(mut self) -> Batch<'a> {
        for (open, place, text) in [
            (self.in_batch, "BHS", "A batch has no trailer: its end may be missing."),
            (self.in_file, "FHS", "A file of batches has no trailer: its end may be missing."),
        ] {
            if open {
                let finding = Finding { code: "batch-cut", place: place.into(), text: text.into() };
                self.found.findings.push(finding);
            }
        }
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> (Vec<String>, Vec<&'static str>) {
        let found = batch(text.as_bytes());
        let messages = found.messages.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        (messages.collect(), found.findings.iter().map(|finding| finding.code).collect())
    }

    #[test]
    fn a_file_of_batches_is_its_messages_and_nothing_of_the_paper_around_them() {
        for end in ["\r", "\n", "\r\n"] {
            let text = [
                "FHS|^~\\&|A",
                "BHS|^~\\&|A",
                "MSH|^~\\&|A|1",
                "PID|1",
                "MSH|^~\\&|A|2",
                "PID|2",
                "BTS|2",
                "BHS|^~\\&",
                "MSH|^~\\&|A|3",
                "BTS|1",
                "FTS|2",
                "",
            ]
            .join(end);
            let (messages, codes) = split(&text);
            assert_eq!(
                messages,
                [
                    format!("MSH|^~\\&|A|1{end}PID|1{end}"),
                    format!("MSH|^~\\&|A|2{end}PID|2{end}"),
                    format!("MSH|^~\\&|A|3{end}"),
                ]
            );
            assert!(codes.is_empty(), "{codes:?}");
        }
    }

    #[test]
    fn messages_without_a_batch_are_taken_apart_too() {
        let (messages, codes) = split("\u{feff}MSH|1\nPID|1\n\n\nMSH|2\rPID|2\r");
        assert_eq!((messages.len(), codes.len()), (2, 0));
        assert_eq!(split("MSH|^~\\&|A\r\n\r\n").0, ["MSH|^~\\&|A\r\n"]);
        assert!(split("PID|1\r").0.is_empty() && split("").0.is_empty());
    }

    #[test]
    fn a_trailer_that_counts_otherwise_or_is_missing_is_told() {
        assert_eq!(split("BHS|^~\\&\rMSH|1\rBTS|2\r").1, ["batch-count"]);
        assert_eq!(split("BHS|^~\\&\rMSH|1\rBTS\r").1, [""; 0], "a trailer need not count");
        assert_eq!(split("FHS|^~\\&\rBHS|^~\\&\rMSH|1\rBTS|1\rFTS|3\r").1, ["batch-count"]);
        assert_eq!(split("FHS|^~\\&\rBHS|^~\\&\rMSH|1\r").1, ["batch-cut", "batch-cut"]);
        assert_eq!(split("BHS|^~\\&\rMSH|1\rBTS|many|x\r").1, [""; 0], "a count that is none says nothing");
    }
}
