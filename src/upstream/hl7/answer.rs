//! What a receiver's acknowledgement says of a message: taken, not now, or never as it is (HL7 2.5 §2.9, tables 0008 and
//! 0357).

use crate::hl7v2::{AckCode, Charset, Message, Path, Segment};

/// Longest text kept of an acknowledgement, in characters.
const TEXT_MAX: usize = 300;

/// An acknowledgement, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub code: AckCode,
    /// MSA-2.
    pub control_id: String,
    /// ERR-3.1 (until 2.4 ERR-1.4.1, or MSA-6.1): HL7 table 0357 or the receiver's own.
    pub condition: Option<String>,
    /// What the receiver says of it, for people: MSA-3, ERR-8 and the like. May hold patient data.
    pub text: String,
    /// MSH-15 of the acknowledgement: it wants to be acknowledged itself.
    pub wants_commit: bool,
}

/// What is to become of the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Accepted,
    /// The same message may be taken later.
    Retry {
        reason: String,
    },
    /// A person must look.
    Refused {
        reason: String,
    },
}

impl Answer {
    /// Reads an acknowledgement; `None` for what is none. `charset` is meant where MSH-18 says nothing.
    pub fn read(bytes: &[u8], charset: Charset) -> Option<Self> {
        let message = Message::parse(bytes, charset).message?;
        let msa = message.segment("MSA", 1)?;
        let code = match msa.field(1).text().trim() {
            "AA" => AckCode::AA,
            "AE" => AckCode::AE,
            "AR" => AckCode::AR,
            "CA" => AckCode::CA,
            "CE" => AckCode::CE,
            "CR" => AckCode::CR,
            _ => return None,
        };
        let err = message.segment("ERR", 1);
        let at = |segment: Option<&Segment<'_>>, path: &str| {
            let path = Path::parse(path).ok()?;
            segment?.get(&path).value().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
        };
        let condition = at(err.as_ref(), "ERR-3.1")
            .or_else(|| at(err.as_ref(), "ERR-1.4.1"))
            .or_else(|| at(Some(&msa), "MSA-6.1"));
        let mut said: Vec<String> = Vec::new();
        for (segment, path) in [
            (Some(&msa), "MSA-3.1"),
            (err.as_ref(), "ERR-8"),
            (err.as_ref(), "ERR-3.2"),
            (err.as_ref(), "ERR-1.4.2"),
            (err.as_ref(), "ERR-7"),
            (Some(&msa), "MSA-6.2"),
        ] {
            said.extend(at(segment, path).filter(|text| !said.contains(text)));
        }
        let text: String =
            said.join("; ").chars().map(|c| if c.is_control() { ' ' } else { c }).take(TEXT_MAX).collect();
        let asked = message.segment("MSH", 1)?.field(15);
        let wants_commit = matches!(asked.raw().trim(), "AL" | "SU");
        // Empty where the message had none either.
        let control_id = msa.field(2).text().trim().to_owned();
        Some(Self { code, control_id, condition, text, wants_commit })
    }

    /// One line for people.
    pub fn line(&self) -> String {
        let mut line = self.code.code().to_owned();
        if let Some(condition) = &self.condition {
            line.push_str(&format!(" {condition}"));
        }
        if !self.text.is_empty() {
            line.push_str(&format!(": {}", self.text));
        }
        line
    }

    /// What is to become of the message; `again`: it was sent before.
    ///
    /// AE is about what the message says, and the same message meets the same fate: a person looks. AR and CE are also
    /// given for reasons of the receiver's own, so they are tried again where nothing says otherwise; CR is about MSH.
    /// A condition of table 0357 counts more than the code.
    pub fn verdict(&self, again: bool) -> Verdict {
        if self.code.is_positive() {
            return Verdict::Accepted;
        }
        let said = self.line();
        let retry = || Verdict::Retry { reason: format!("the receiver cannot take it now: {said}") };
        let refused = || Verdict::Refused { reason: format!("the receiver refused it: {said}") };
        match self.condition.as_deref() {
            // Segment sequence, required field, data type, table value, too long; unsupported type, event, processing
            // id, version; unknown key.
            Some("100" | "101" | "102" | "103" | "104" | "200" | "201" | "202" | "203" | "204") => refused(),
            // Duplicate key: what was sent before has arrived.
            Some("205") if again => Verdict::Accepted,
            Some("205") => refused(),
            // Record locked, internal error.
            Some("206" | "207") => retry(),
            _ if self.sounds_temporary() => retry(),
            _ => match self.code {
                AckCode::AR | AckCode::CE => retry(),
                _ => refused(),
            },
        }
    }

    /// Whether its words are of the receiver's own state.
    fn sounds_temporary(&self) -> bool {
        let text = self.text.to_ascii_lowercase();
        let words = [
            "busy",
            "try again",
            "retry",
            "unavailable",
            "not available",
            "timeout",
            "timed out",
            "temporar",
            "locked",
            "shutting down",
            "is down",
            "disk full",
            "no space",
            "overload",
            "queue full",
        ];
        words.iter().any(|word| text.contains(word))
    }
}

/// Fuzz body: any bytes may come back.
pub fn fuzz(bytes: &[u8]) {
    if let Some(answer) = Answer::read(bytes, Charset::default()) {
        assert!(answer.line().chars().count() < 3 * TEXT_MAX + bytes.len());
        assert_eq!(answer.verdict(false) == Verdict::Accepted, answer.code.is_positive());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &str) -> Answer {
        Answer::read(format!("MSH|^~\\&|EHR|H|||1||ACK|9|P|2.5\r{lines}").as_bytes(), Charset::default())
            .unwrap()
    }

    fn kind(lines: &str, again: bool) -> &'static str {
        match read(lines).verdict(again) {
            Verdict::Accepted => "accepted",
            Verdict::Retry { .. } => "retry",
            Verdict::Refused { .. } => "refused",
        }
    }

    #[test]
    fn what_a_receiver_says_is_read_in_its_own_letters() {
        let latin = Charset::named("8859/1").unwrap();
        let bytes = b"MSH|^~\\&|EHR|H|||1||ACK|9|P|2.5\rMSA|AE|1|Patient unbekannt: M\xFCller\r";
        assert_eq!(Answer::read(bytes, latin).unwrap().text, "Patient unbekannt: Müller");
    }

    #[test]
    fn each_class_of_answer_has_its_fate() {
        for (lines, fate) in [
            ("MSA|AA|1\r", "accepted"),
            ("MSA|CA|1\r", "accepted"),
            ("MSA|AE|1\r", "refused"),
            ("MSA|AE|1|unknown patient\r", "refused"),
            ("MSA|AE|1\rERR|||207^Application internal error^HL70357|E\r", "retry"),
            ("MSA|AE|1\rERR|||206^Application record locked^HL70357|E\r", "retry"),
            ("MSA|AE|1\rERR|||101^Required field missing^HL70357|E\r", "refused"),
            ("MSA|AE|1\rERR|^^^207&Application internal error&HL70357\r", "retry"),
            ("MSA|AE|1|database is locked\r", "retry"),
            ("MSA|AR|1\r", "retry"),
            ("MSA|AR|1|system busy\r", "retry"),
            ("MSA|AR|1|||^|203^Unsupported version id\r", "refused"),
            ("MSA|AR|1\rERR|||200^Unsupported message type^HL70357|E\r", "refused"),
            ("MSA|CE|1\r", "retry"),
            ("MSA|CR|1\r", "refused"),
            ("MSA|CR|1|server is shutting down\r", "retry"),
            ("MSA|AE|1\rERR|||205^Duplicate key identifier^HL70357|E\r", "refused"),
        ] {
            assert_eq!(kind(lines, false), fate, "{lines}");
        }
        let twice = "MSA|AE|1\rERR|||205^Duplicate key identifier^HL70357|E\r";
        assert_eq!(kind(twice, true), "accepted", "a resent message that is there already is there");
    }

    #[test]
    fn an_answer_is_told_in_one_line() {
        let answer =
            read("MSA|AE|M-1|bad PID\rERR|||204^Unknown key identifier^HL70357|E||||no such\u{1}patient\r");
        assert_eq!(answer.line(), "AE 204: bad PID; no such patient; Unknown key identifier");
        assert_eq!((answer.control_id.as_str(), answer.wants_commit), ("M-1", false));
        assert_eq!(read("MSA|AA\r").control_id, "");
        let asks =
            Answer::read(b"MSH|^~\\&|E||||1||ACK|9|P|2.5|||AL\rMSA|AA|1\r", Charset::default()).unwrap();
        assert!(asks.wants_commit);
    }

    #[test]
    fn what_is_no_acknowledgement_is_none() {
        for none in [
            "",
            "\u{6}",
            "MSH|^~\\&|E||||1||ORU^R01|9|P|2.5\rPID|1\r",
            "MSH|^~\\&|E\rMSA|XX|1\r",
            "MSA|AA|1\r",
        ] {
            assert_eq!(Answer::read(none.as_bytes(), Charset::default()), None, "{none}");
        }
    }
}
