//! The answer to a message: what its header says, and the ACK that fits it (2.5 §2.9, §2.15.1 MSA, §2.15.5 ERR).

use std::borrow::Cow;

use super::answers::{Answers, Outcome, is_enhanced};
use super::charset::Charset;
use super::escape::escape;
use super::lines::{Lines, is_header};
use super::separators::Separators;
use crate::clock::Timestamp;

/// HL7 table 0008.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AckCode {
    /// Application accept.
    AA,
    /// Application error: not kept, send it again.
    AE,
    /// Application reject.
    AR,
    /// Commit accept (enhanced mode).
    CA,
    /// Commit error.
    CE,
    /// Commit reject.
    CR,
}

impl AckCode {
    /// As it stands in MSA-1.
    pub const fn code(self) -> &'static str {
        match self {
            Self::AA => "AA",
            Self::AE => "AE",
            Self::AR => "AR",
            Self::CA => "CA",
            Self::CE => "CE",
            Self::CR => "CR",
        }
    }

    /// Whether it tells the sender that the message is taken.
    pub const fn is_positive(self) -> bool {
        matches!(self, Self::AA | Self::CA)
    }
}

/// What the answer path needs of MSH. Fields are as written; bytes that are not UTF-8 became U+FFFD.
#[derive(Clone, PartialEq, Eq)]
pub struct Header<'a> {
    /// MSH-10.
    pub control_id: Cow<'a, str>,
    /// MSH-3 and MSH-4, with their components.
    pub application: Cow<'a, str>,
    pub facility: Cow<'a, str>,
    /// MSH-9.1, e.g. `ORU`.
    pub message_type: Cow<'a, str>,
    /// MSH-9.2, e.g. `R01`; empty in versions that do not write it.
    pub trigger: Cow<'a, str>,
    /// MSH-12.1, e.g. `2.3.1`.
    pub version: Cow<'a, str>,
    /// MSH-7 is not empty.
    pub time_present: bool,
    /// MSH-15, HL7 table 0155: `AL`, `NE`, `ER`, `SU` or empty.
    pub accept_condition: Cow<'a, str>,
    /// MSH-16, the same.
    pub application_condition: Cow<'a, str>,
}

impl std::fmt::Debug for Header<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Header({}^{} {})", self.message_type, self.trigger, self.version)
    }
}

impl Header<'_> {
    fn into_owned(self) -> Header<'static> {
        let own = |field: Cow<'_, str>| Cow::Owned(field.into_owned());
        Header {
            control_id: own(self.control_id),
            application: own(self.application),
            facility: own(self.facility),
            message_type: own(self.message_type),
            trigger: own(self.trigger),
            version: own(self.version),
            time_present: self.time_present,
            accept_condition: own(self.accept_condition),
            application_condition: own(self.application_condition),
        }
    }

    /// The answers that MSH-15 and MSH-16 ask for.
    pub fn answers(&self, outcome: Outcome) -> Answers {
        Answers::asked(&self.accept_condition, &self.application_condition, outcome)
    }

    /// Whether MSH-15 and MSH-16 ask for enhanced mode.
    pub fn is_enhanced(&self) -> bool {
        is_enhanced(&self.accept_condition, &self.application_condition)
    }
}

/// Reads the first MSH of `message` without taking the rest apart. `None` for bytes without one.
pub fn header(message: &[u8]) -> Option<Header<'_>> {
    if let Some((charset, mark)) = Charset::wide(message) {
        let (narrow, _) = charset.decode(message.get(mark..)?);
        return header(narrow.as_bytes()).map(Header::into_owned);
    }
    let msh = Msh::find(message)?;
    let trigger = msh.field(9).split(|b| *b == msh.separators.component).nth(1);
    Some(Header {
        control_id: String::from_utf8_lossy(msh.field(10)),
        application: String::from_utf8_lossy(msh.field(3)),
        facility: String::from_utf8_lossy(msh.field(4)),
        message_type: msh.word(9),
        trigger: String::from_utf8_lossy(trigger.unwrap_or_default()),
        version: msh.word(12),
        time_present: !msh.field(7).is_empty(),
        accept_condition: msh.word(15),
        application_condition: msh.word(16),
    })
}

/// The header segment of a message, found in raw bytes.
struct Msh<'a> {
    fields: Vec<&'a [u8]>,
    separators: Separators,
}

/// The parts of a header; `double`: a byte from 0x81 on and the one after it are one letter.
fn split(line: &[u8], sign: u8, double: bool) -> Vec<&[u8]> {
    let mut second = false;
    let parts = line.split(|b| {
        if second {
            second = false;
            return false;
        }
        second = double && *b >= 0x81;
        *b == sign
    });
    let mut fields = Vec::with_capacity(FIELDS_USUAL);
    // More fields than a header has are nobody's.
    fields.extend(parts.take(FIELDS_MAX));
    fields
}

const FIELDS_MAX: usize = 64;
const FIELDS_USUAL: usize = 24;

/// Whether MSH-9 is where it should be.
fn has_type(fields: &[&[u8]]) -> bool {
    let kind = fields.get(8).and_then(|field| field.get(..3));
    kind.is_some_and(|kind| kind.iter().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()))
}

impl<'a> Msh<'a> {
    fn find(message: &'a [u8]) -> Option<Self> {
        let message = message.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(message);
        let line =
            Lines::new(message).find_map(|(start, end)| message.get(start..end).filter(|l| is_header(l)))?;
        let (separators, _) = Separators::read(line)?;
        let mut fields = split(line, separators.field, false);
        // In GB18030, Shift_JIS and Big5 the second byte of a letter may look like a separator. The charset is not
        // known here, but where the message type is.
        if !line.is_ascii() && !has_type(&fields) {
            let double = split(line, separators.field, true);
            if has_type(&double) {
                fields = double;
            }
        }
        Some(Self { fields, separators })
    }

    /// First component of field `number`.
    fn word(&self, number: u16) -> Cow<'a, str> {
        let first = self.field(number).split(|b| *b == self.separators.component).next();
        String::from_utf8_lossy(first.unwrap_or_default())
    }

    /// Field `number` from 2; MSH-1 is the separator itself.
    fn field(&self, number: u16) -> &'a [u8] {
        let nth = usize::from(number).saturating_sub(1);
        self.fields.get(nth).copied().unwrap_or_default()
    }
}

/// Builds the acknowledgement of `message`: its separators, sender and receiver exchanged, MSH-7 in UTC with its
/// offset, MSH-9 as its version writes it, MSA-2 = its MSH-10, an ERR segment unless the code is positive.
/// `text` (ASCII; other letters become `?`) is for the people on the other side. A message in UTF-16 is
/// answered in UTF-16. `None` for bytes without MSH: there is nothing to correlate with.
pub fn acknowledge(
    message: &[u8],
    code: AckCode,
    text: &str,
    control_id: &str,
    now: Timestamp,
) -> Option<Vec<u8>> {
    if let Some((charset, mark)) = Charset::wide(message) {
        let (narrow, _) = charset.decode(message.get(mark..)?);
        let answer = acknowledge(narrow.as_bytes(), code, text, control_id, now)?;
        let units = String::from_utf8_lossy(&answer).encode_utf16().collect::<Vec<u16>>();
        let little = charset.name() == "UTF-16LE";
        let bytes = |unit: &u16| if little { unit.to_le_bytes() } else { unit.to_be_bytes() };
        return Some(units.iter().flat_map(bytes).collect());
    }
    let msh = Msh::find(message)?;
    let separators = msh.separators;
    let version = Version::read(msh.field(12), separators.component);
    let written = |text: &str| escape(text, &separators);
    let mut answer = Segments { bytes: Vec::with_capacity(256), separators };
    let mut fields = vec![
        separators.encoding_characters(),
        msh.field(5).to_vec(),
        msh.field(6).to_vec(),
        msh.field(3).to_vec(),
        msh.field(4).to_vec(),
        stamp(now).into_bytes(),
        Vec::new(),
        message_type(msh.field(9), version, separators.component),
        written(control_id),
        msh.field(11).to_vec(),
        msh.field(12).to_vec(),
    ];
    // An answer in enhanced mode asks for none (2.5 §2.9.3.2): two that answer each other never end.
    if is_enhanced(&msh.word(15), &msh.word(16)) {
        fields.extend([Vec::new(), Vec::new(), b"NE".to_vec(), b"NE".to_vec()]);
    }
    // MSH-18: the echoed names are in the charset of the message.
    if !msh.field(18).is_empty() {
        fields.resize(16, Vec::new());
        fields.push(msh.field(18).to_vec());
    }
    answer.push("MSH", &fields);

    // MSA-3 is ST(80) and was withdrawn in 2.7, where the text belongs into ERR-8.
    let short = if version < Version::V2_7 { text.chars().take(80).collect() } else { String::new() };
    answer.push("MSA", &[code.code().into(), msh.field(10).to_vec(), written(&short)]);
    if !code.is_positive() {
        answer.push("ERR", &error(version, separators, written(text)));
    }
    Some(answer.bytes)
}

/// HL7 table 0357, 207 = application internal error. ERR-1 carried it until 2.4, ERR-3 and ERR-4 since 2.5.
fn error(version: Version, separators: Separators, text: Vec<u8>) -> Vec<Vec<u8>> {
    let join = |parts: [&str; 3], sign: u8| parts.join(&*char::from(sign).to_string()).into_bytes();
    let coded = ["207", "Application internal error", "HL70357"];
    if version >= Version::V2_5 {
        let coded = join(coded, separators.component);
        return vec![vec![], vec![], coded, b"E".to_vec(), vec![], vec![], vec![], text];
    }
    let mut first = vec![separators.component; 3];
    first.extend(if version < Version::V2_3 {
        b"207".to_vec()
    } else {
        join(coded, separators.subcomponent)
    });
    vec![first]
}

/// MSH-9 of the answer: `ACK` (2.1, 2.2), `ACK^R01` (2.3), `ACK^R01^ACK` (2.3.1 and later).
fn message_type(answered: &[u8], version: Version, component: u8) -> Vec<u8> {
    let trigger = answered.split(|b| *b == component).nth(1).unwrap_or_default();
    let mut written = b"ACK".to_vec();
    if version < Version::V2_3 || trigger.is_empty() {
        return written;
    }
    written.push(component);
    written.extend_from_slice(trigger);
    if version > Version::V2_3 {
        written.push(component);
        written.extend_from_slice(b"ACK");
    }
    written
}

/// Numbers of MSH-12.1. Unreadable versions count as 2.3.1, the first with today's MSH-9.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u8, u8, u8);

impl Version {
    const V2_3: Self = Self(2, 3, 0);
    const V2_5: Self = Self(2, 5, 0);
    const V2_7: Self = Self(2, 7, 0);

    fn read(field: &[u8], component: u8) -> Self {
        let text = field.split(|b| *b == component).next().unwrap_or_default();
        // One analyser writes `2,3,1`.
        let mut numbers = text
            .split(|b| matches!(b, b'.' | b','))
            .map(|part| std::str::from_utf8(part).ok().and_then(|part| part.trim().parse::<u8>().ok()));
        match (numbers.next().flatten(), numbers.next().flatten()) {
            (Some(major), Some(minor)) => Self(major, minor, numbers.next().flatten().unwrap_or(0)),
            _ => Self(2, 3, 1),
        }
    }
}

/// `YYYYMMDDHHMMSS+0000`
fn stamp(now: Timestamp) -> String {
    let digits = now.rfc3339();
    let mut digits: String = digits.chars().filter(char::is_ascii_digit).collect();
    digits.truncate(14);
    digits + "+0000"
}

struct Segments {
    bytes: Vec<u8>,
    separators: Separators,
}

impl Segments {
    /// Writes one segment; empty fields at its end are left out.
    fn push(&mut self, name: &str, fields: &[Vec<u8>]) {
        let filled = fields.iter().rposition(|field| !field.is_empty()).map_or(0, |last| last + 1);
        self.bytes.extend_from_slice(name.as_bytes());
        for field in fields.iter().take(filled) {
            self.bytes.push(self.separators.field);
            self.bytes.extend_from_slice(field);
        }
        self.bytes.push(b'\r');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_772_352_930_250_000, true); // 2026-03-01T08:15:30.25Z

    fn answer(message: &str, code: AckCode, text: &str) -> String {
        String::from_utf8(acknowledge(message.as_bytes(), code, text, "77", NOW).unwrap()).unwrap()
    }

    fn message(version: &str) -> String {
        format!("MSH|^~\\&|BOX^1^EUI-64|WARD|GATE|CLINIC|20260301||ORU^R01^ORU_R01|M1|P|{version}\rPID|1\r")
    }

    #[test]
    fn a_positive_answer_names_the_message_and_exchanges_the_sides() {
        assert_eq!(
            answer(&message("2.6"), AckCode::AA, ""),
            "MSH|^~\\&|GATE|CLINIC|BOX^1^EUI-64|WARD|20260301081530+0000||ACK^R01^ACK|77|P|2.6\rMSA|AA|M1\r"
        );
    }

    #[test]
    fn each_version_is_answered_in_its_own_words() {
        for (version, written, err) in [
            ("2.1", "|ACK|77|P|2.1\r", "ERR|^^^207\r"),
            ("2.2", "|ACK|77|", "ERR|^^^207\r"),
            ("2.3", "|ACK^R01|77|", "ERR|^^^207&Application internal error&HL70357\r"),
            ("2.3.1", "|ACK^R01^ACK|77|", "ERR|^^^207&Application internal error&HL70357\r"),
            ("2,3,1", "|ACK^R01^ACK|77|P|2,3,1\r", "ERR|^^^207&"),
            (
                "2.5^ITA^2.1",
                "|P|2.5^ITA^2.1\r",
                "ERR|||207^Application internal error^HL70357|E||||disk full\r",
            ),
            ("2.8", "MSA|AE|M1\r", "|E||||disk full\r"),
            ("2.5.1", "MSA|AE|M1|disk full\r", "|E||||disk full\r"),
            ("", "|ACK^R01^ACK|77|P\r", "ERR|^^^207&"),
        ] {
            let answer = answer(&message(version), AckCode::AE, "disk full");
            assert!(answer.contains(written) && answer.contains(err), "{version}: {answer}");
        }
    }

    #[test]
    fn the_answer_uses_the_separators_of_the_message_and_escapes_its_text() {
        let five = answer("MSH|^~\\&#|BOX||||1||ORU^R01|M3|P|2.7\r", AckCode::AA, "");
        assert!(five.starts_with("MSH|^~\\&#|||BOX|"), "{five}");
        let answer = answer("MSH$*%!?$BOX$$$$1$$ORU*R01$M2$P$2.5\r", AckCode::AR, "a$b|c\rd");
        assert!(answer.starts_with("MSH$*%!?$$$BOX$$"), "{answer}");
        assert!(answer.contains("$ACK*R01*ACK$77$P$2.5\rMSA$AR$M2$a!F!b|c d\r"), "{answer}");
    }

    #[test]
    fn an_odd_header_is_still_answered_with_its_own_number() {
        for (odd, id) in [
            ("MSH|^&|BOX||||||ORU^R01|M4\r", "M4"),
            ("\u{feff}MSH|^~\\&|BOX||||||ORU^R01|M5|P|2.3\nPID|1\n", "M5"),
            ("FHS|^~\\&\rMSH|^~\\&|BOX||||||ORU|20260301081530123456789|P|x\r", "20260301081530123456789"),
            ("MSH|^~\\&|BOX||||||ORU^R01||P|2.3\r", ""),
            ("MSH|", ""),
        ] {
            let answer = answer(odd, AckCode::AE, "no");
            assert!(answer.contains(&format!("\rMSA|AE|{id}|no\r")), "{odd}: {answer}");
        }
        for none in ["", "PID|1\r", "MSH", "hello MSH|^~\\&|"] {
            assert!(acknowledge(none.as_bytes(), AckCode::AE, "", "1", NOW).is_none(), "{none}");
        }
    }

    #[test]
    fn names_in_another_charset_come_back_as_they_were() {
        let message = b"MSH|^~\\&|M\xFCller||||1||ORU^R01|M6|P|2.3.1||||||8859/1\r";
        let answer = acknowledge(message, AckCode::AA, "", "1", NOW).unwrap();
        assert!(answer.windows(8).any(|part| part == b"|M\xFCller|"));
        assert!(answer.ends_with(b"|P|2.3.1||||||8859/1\rMSA|AA|M6\r"));
    }

    #[test]
    fn an_answer_in_enhanced_mode_asks_for_no_answer_itself() {
        let asked = message("2.5.1").replace("|2.5.1\r", "|2.5.1|||AL|AL||UNICODE UTF-8\r");
        let (commit, application) = (answer(&asked, AckCode::CA, ""), answer(&asked, AckCode::AA, ""));
        assert!(commit.contains("|ACK^R01^ACK|77|P|2.5.1|||NE|NE||UNICODE UTF-8\rMSA|CA|M1\r"), "{commit}");
        assert!(application.contains("|NE|NE||UNICODE UTF-8\rMSA|AA|M1\r"), "{application}");
        assert!(
            answer(&asked, AckCode::CR, "no room").contains("\rMSA|CR|M1|no room\rERR|||207^"),
            "refused"
        );
    }

    #[test]
    fn a_letter_that_looks_like_a_separator_moves_no_field() {
        // 亅 in GB18030 is 81 7C.
        let chinese = b"MSH|^~\\&|\x81\x7C|W|||1||ORU^R01|M9|P|2.3.1||||||GB 18030-2000\r";
        assert_eq!(header(chinese).unwrap().control_id, "M9");
        let answer = acknowledge(chinese, AckCode::AA, "", "1", NOW).unwrap();
        assert!(answer.windows(6).any(|part| part == b"|\x81\x7C|W|"), "{answer:?}");
        assert!(answer.ends_with(b"GB 18030-2000\rMSA|AA|M9\r"));
        let western = b"MSH|^~\\&|F\xFC|W|||1||ORU^R01|M9|P|2.3.1\r";
        assert_eq!(header(western).unwrap().control_id, "M9");
        assert_eq!(header(b"MSH|^~\\&|F\xFC|W|||1||oru|M9|P\r").unwrap().control_id, "M9");
    }

    #[test]
    fn utf_16_is_answered_in_utf_16() {
        let wide: Vec<u8> = message("2.6").encode_utf16().flat_map(u16::to_le_bytes).collect();
        let answer = acknowledge(&wide, AckCode::AA, "", "1", NOW).unwrap();
        let units: Vec<u16> = answer.chunks(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
        assert!(String::from_utf16(&units).unwrap().contains("\rMSA|AA|M1\r"));
    }

    #[test]
    fn the_header_says_what_the_answer_path_needs() {
        let read = header(b"MSH|^~\\&|B||||||ORU^R01|M7|P|2.4^x|||NE|ER\r").unwrap();
        assert_eq!((read.control_id.as_ref(), read.message_type.as_ref()), ("M7", "ORU"));
        assert_eq!((read.trigger.as_ref(), read.version.as_ref(), read.time_present), ("R01", "2.4", false));
        assert!(read.is_enhanced() && read.answers(Outcome::Kept).is_silence());
        assert_eq!(read.answers(Outcome::Failed).application, Some(AckCode::AE));
        assert!(!header(b"MSH|^~\\&|B||||1||ORU^R01|M8|P|2.4\r").unwrap().is_enhanced());
        assert!(header(b"OBX|1").is_none());
    }
}
