//! HL7 v2 messages in ER7, as devices really send them: parse, navigate, read times, acknowledge.
//!
//! Parsing never fails. [`Message::parse`] returns what it could read and a list of findings; the bytes
//! themselves are kept elsewhere and never changed. A message is one text and the offsets of its segments;
//! fields are split when they are asked for. Source of the rules: HL7 v2.x chapter 2 (2.5: §2.5 to §2.10).

mod acknowledge;
mod answers;
mod batch;
mod charset;
mod escape;
mod lines;
mod message;
mod names;
mod path;
mod separators;
mod time;
mod write;

pub use acknowledge::{AckCode, Header, acknowledge, header};
pub use answers::{Answers, Outcome};
pub use batch::{Batch, batch};
pub use charset::{Charset, UnknownCharset};
pub use escape::escaped_line;
pub use message::{Element, Message, Parsed, Segment};
pub use names::{Named, NamedField, Names, named};
pub use path::{Path, PathError};
pub use separators::Separators;
pub use time::{Time, parse_time};
pub use write::Writer;

/// Longest message that is read, in bytes; what lies beyond is left out with a finding.
pub const LENGTH_MAX: usize = 16 << 20;
/// Most segments that are read from one message.
pub const SEGMENTS_MAX: usize = 100_000;

/// Fuzz body: any bytes may come in, and only a bug panics.
pub fn fuzz(bytes: &[u8]) {
    for charset in [Charset::default(), Charset::named("GB18030").unwrap_or_default()] {
        let parsed = Message::parse(bytes, charset);
        assert!(parsed.rest.len() < bytes.len() || bytes.is_empty() || parsed.rest.is_empty());
        let Some(message) = parsed.message else { continue };
        same_again(&message, charset);
        for segment in message.segments() {
            for field in segment.fields() {
                walk(&field);
            }
        }
    }
    let pieces = batch(bytes).messages;
    assert!(pieces.iter().map(|piece| piece.len()).sum::<usize>() <= bytes.len());
    let now = crate::clock::Timestamp::from_micros(0, true);
    let answer = acknowledge(bytes, AckCode::AE, "a|b\\c", "1", now);
    assert_eq!(answer.is_some(), header(bytes).is_some());
    if let (Some(header), Some(answer)) = (header(bytes), answer) {
        // The answer must be readable by the reader of messages and name the message it answers.
        let answered = answered_id(&answer);
        assert_eq!(answered.as_deref(), Some(header.control_id.as_ref()));
    }
}

/// MSA-2 of an answer; empty fields at the end of a segment are not written.
fn answered_id(answer: &[u8]) -> Option<String> {
    let text = match Charset::wide(answer) {
        Some((wide, _)) => wide.decode(answer).0,
        None => String::from_utf8_lossy(answer),
    };
    let sign = text.chars().nth(3)?;
    let line = text.split('\r').find(|line| line.starts_with("MSA"))?;
    Some(line.split(sign).nth(2).unwrap_or_default().into())
}

/// Parse, encode, parse is the same message.
fn same_again(message: &Message<'_>, default: Charset) {
    let bytes = message.encode();
    let again = Message::parse(&bytes, default).message;
    assert!(again.is_some_and(|again| {
        again.separators() == message.separators()
            && again
                .segments()
                .map(|segment| segment.raw())
                .eq(message.segments().map(|segment| segment.raw()))
    }));
}

fn walk(field: &Element<'_>) {
    for repetition in field.repetitions() {
        for component in repetition.components() {
            for subcomponent in component.subcomponents() {
                let text = subcomponent.text();
                if let Some(time) = parse_time(&text) {
                    // None at the end of the year 9999; only a panic would be a bug.
                    drop(time.to_moment(&jiff::tz::TimeZone::UTC, "UTC"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cuts, swaps and flips a few real shapes; a rig does the same for longer.
    #[test]
    fn no_bytes_break_the_reader() {
        let seeds: [&[u8]; 5] = [
            b"MSH|^~\\&|A^1^EUI-64|||B|20260301081530.25+0100||ORU^R01^ORU_R01|1|P|2.6||||||UNICODE UTF-8\rPID|1||7^^^X&1.2&ISO^MR~8\rOBX|1|NM|1^A^MDC|1.0.0.1|7.5\\X41\\||\r",
            b"MSH$*%!?$A$$$$20260301$$ORU*R01$2$P$2.3$$$$$$GB18030\nOBX$1$ST$\x81\x7C!F!$!XD5C5!\n",
            b"\xFF\xFEM\0S\0H\0|\0^\0~\0\\\0&\0|\0",
            b"\xEF\xBB\xBFFHS|^~\\&\r\nMSH|^~\\&#|||||||ACK|3\r\nMSH|^~\\&|\r\nOBX||\"\"",
            b"MSH|^^^^^^^|\x00\x0b\x1c\r\r\n\nMSH|",
        ];
        // No control id, and a version that leaves the text to ERR: MSA ends with its code.
        fuzz(b"MSH|^~\\&|A|B|||20260314134700||ORU^R01||P|101.2\r");
        let mut state = 0x9E37_79B9_7F4A_7C15u64;
        let mut next = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % below.max(1) as u64).unwrap()
        };
        for round in 0..6000 {
            let mut bytes = seeds[round % seeds.len()].to_vec();
            for _ in 0..next(6) {
                let at = next(bytes.len());
                match next(4) {
                    0 => bytes[at] = u8::try_from(next(256)).unwrap(),
                    1 => bytes.truncate(at.max(1)),
                    2 => bytes.insert(at, b"|^~\\&\r\n\"MSH\0\xFF"[next(13)]),
                    _ => bytes.extend_from_slice(seeds[next(seeds.len())]),
                }
            }
            fuzz(&bytes);
        }
    }

    /// Real messages, where a folder of them is given: each is read without a lost segment and answered.
    #[test]
    fn the_samples_are_read_when_they_are_there() {
        let Some(folder) = std::env::var_os("BEDSIDE_SAMPLES") else { return };
        let mut folders = vec![std::path::PathBuf::from(folder).join("hl7")];
        let mut read = 0;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let name = path.to_string_lossy().into_owned();
                if !name.ends_with(".hl7") && !name.ends_with(".hl7v2") {
                    continue;
                }
                let bytes = std::fs::read(&path).unwrap();
                fuzz(&bytes);
                let parsed = Message::parse(&bytes, Charset::default());
                let message = parsed.message.unwrap_or_else(|| panic!("{name} has no MSH"));
                assert!(message.segments().count() > 1, "{name}");
                assert!(
                    parsed.findings.iter().all(|f| f.code != "not-a-segment"),
                    "{name}: {:?}",
                    parsed.findings
                );
                read += 1;
            }
        }
        assert!(read > 0, "no message found under BEDSIDE_SAMPLES/hl7");
    }
}
