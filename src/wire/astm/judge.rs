//! Is this frame the next one? By its checksum, its number, and what the device has shown so far.

use super::frame::{Checksum, RawFrame, begins_record, checksum};
use super::{AstmFramer, ChecksumRule, NumberRule, begins_message};
use crate::wire::Warning;

/// What a frame turned out to be.
pub(super) enum Judged {
    Next { number: u8, text: Vec<u8>, warnings: Vec<Warning> },
    Repeated,
    Refused(Warning),
}

impl AstmFramer {
    pub(super) fn judge(&mut self, raw: RawFrame) -> Judged {
        let Some(session) = &mut self.session else {
            return Judged::Refused(Warning::new("no-enquiry", "A frame outside a session."));
        };
        let digit = raw.text.first().filter(|byte| byte.is_ascii_digit()).map(|byte| byte - b'0');
        let mut warnings = Vec::new();
        let mut number = if session.numbered == Some(false) { None } else { digit };
        let sum = checksum(&raw.text, raw.last);
        match raw.checksum {
            Checksum::Said(said) if said == sum => self.checksums_seen = true,
            // A frame whose number was lost on the way proves by its checksum which one it was.
            Checksum::Said(said)
                if begins_record(&raw.text)
                    && said == sum.wrapping_add(b'0').wrapping_add(session.expected) =>
            {
                self.checksums_seen = true;
                number = Some(session.expected);
                warnings.push(Warning::new(
                    "lost-frame-number",
                    "A frame number is missing; the checksum has it.",
                ));
            }
            _ if self.settings.checksum == ChecksumRule::Ignored => {
                warnings.push(Warning::new(
                    "checksum-ignored",
                    "A wrong or missing checksum, taken as configured.",
                ));
            }
            Checksum::Absent if self.settings.checksum == ChecksumRule::Auto && !self.checksums_seen => {
                warnings.push(Warning::new("no-checksum", "A frame without a checksum."));
            }
            Checksum::Absent => {
                return Judged::Refused(Warning::new("no-checksum", "A frame without its checksum."));
            }
            Checksum::Said(_) | Checksum::Illegible => {
                return Judged::Refused(Warning::new("bad-checksum", "A frame with a wrong checksum."));
            }
        }
        let text = if digit.is_some() && number == digit {
            raw.text.get(1..).unwrap_or_default()
        } else {
            &raw.text
        };
        if text.len() > LIS01_TEXT {
            warnings.push(Warning::new("long-frame", format!("A frame text over {LIS01_TEXT} bytes.")));
        }
        self.place_in_sequence(number, text, warnings)
    }

    fn place_in_sequence(&mut self, number: Option<u8>, text: &[u8], mut warnings: Vec<Warning>) -> Judged {
        let fresh = self.message.is_empty() && begins_message(text);
        let Some(session) = &mut self.session else { return Judged::Repeated };
        let expected = session.expected;
        let repeated =
            |number: u8| session.last.as_ref().is_some_and(|(n, t)| (*n, t.as_slice()) == (number, text));
        let Some(number) = number.filter(|_| self.settings.frame_numbers == NumberRule::Auto) else {
            if repeated(expected.wrapping_add(7) % 8) {
                return Judged::Repeated;
            }
            if number.is_none() && session.numbered == Some(true) {
                return Judged::Refused(Warning::new("wrong-frame-number", "A frame lost its number."));
            }
            if number.is_none() {
                session.numbered = Some(false);
                warnings.push(Warning::new("no-frame-number", "Frames without numbers."));
            }
            return Judged::Next { number: expected, text: text.to_vec(), warnings };
        };
        if number != expected && repeated(number) {
            return Judged::Repeated;
        }
        let again = session.last.as_ref().is_some_and(|(last, _)| *last == number);
        match number {
            _ if number == expected => {}
            // In stop-and-wait a gap means that a frame was lost. The last number with another text means that
            // the device counted wrongly: the text is new, and dropping it as a repetition would lose it.
            8.. => return Judged::Refused(wrong_number(number, expected)),
            _ if fresh => {
                warnings.push(Warning::new("renumbered", "The device began to number its frames anew."));
            }
            _ if again => {
                warnings
                    .push(Warning::new("number-twice", "Two different frames with one number were taken."));
            }
            _ => return Judged::Refused(wrong_number(number, expected)),
        }
        session.numbered = Some(true);
        Judged::Next { number, text: text.to_vec(), warnings }
    }
}

fn wrong_number(number: u8, expected: u8) -> Warning {
    Warning::new("wrong-frame-number", format!("Frame number {number} where {expected} belongs."))
}

/// Longest frame text of LIS01-A2 (§6.3.1.2).
const LIS01_TEXT: usize = 64_000;
