//! A message in the letters its receiver reads.

use crate::hl7v2::Charset;

/// A letter that the receiver's encoding does not have, at a place where none may be lost.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{place} has letters that {charset} cannot write: set another `charset` for the destination, such as UTF-8"
)]
pub struct Unwritable {
    /// Segment and field, such as `PID-5`.
    pub place: String,
    /// Name by HL7 table 0211.
    pub charset: String,
}

/// The bytes of a message in the usual signs. A letter without bytes becomes `?` in the text beside a code, which says
/// the same; anywhere else the message cannot be written.
///
/// # Errors
/// [`Unwritable`], with the place.
pub(super) fn written(text: &str, charset: Charset) -> Result<Vec<u8>, Unwritable> {
    if let Some(bytes) = charset.encode(text) {
        return Ok(bytes);
    }
    let mut plain = String::with_capacity(text.len());
    for segment in text.split_inclusive('\r') {
        if charset.encode(segment).is_some() {
            plain.push_str(segment);
        } else {
            plain.push_str(&of_segment(segment, charset)?);
        }
    }
    Ok(charset.encode_lossy(&plain))
}

fn of_segment(segment: &str, charset: Charset) -> Result<String, Unwritable> {
    let name = segment.split('|').next().unwrap_or_default();
    let fields = segment.split('|').enumerate().map(|(number, field)| {
        if charset.encode(field).is_some() {
            return Ok(field.to_owned());
        }
        let place = || format!("{name}-{}", number + usize::from(name == "MSH"));
        let repetitions = field.split('~').map(|one| beside_codes(one, charset).ok_or(()));
        match (is_coded(name, number), repetitions.collect::<Result<Vec<_>, ()>>()) {
            (true, Ok(repetitions)) => Ok(repetitions.join("~")),
            _ => Err(Unwritable { place: place(), charset: charset.table_0211().into_owned() }),
        }
    });
    Ok(fields.collect::<Result<Vec<_>, _>>()?.join("|"))
}

/// Fields of type CWE in what is built here. A value, OBX-5, is none: what it says is never changed.
fn is_coded(segment: &str, field: usize) -> bool {
    matches!((segment, field), ("OBX", 3 | 6 | 20) | ("OBR", 4) | ("SPM", 4))
}

/// A CWE whose texts lost letters; `None` where no code stands before them.
fn beside_codes(field: &str, charset: Charset) -> Option<String> {
    let components: Vec<&str> = field.split('^').collect();
    let written = components.iter().enumerate().map(|(at, text)| {
        if charset.encode(text).is_some() {
            return Some((*text).to_owned());
        }
        // Code ^ text ^ system ^ code ^ text ^ system.
        let code = at.checked_sub(1).and_then(|before| components.get(before));
        let beside = matches!(at, 1 | 4) && code.is_some_and(|code| !code.is_empty());
        let known = |letter: char| charset.encode(letter.encode_utf8(&mut [0; 4])).is_some();
        beside.then(|| text.chars().map(|letter| if known(letter) { letter } else { '?' }).collect())
    });
    Some(written.collect::<Option<Vec<String>>>()?.join("^"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latin(text: &str) -> Result<String, String> {
        let charset = Charset::named("8859/1").unwrap();
        let bytes = written(text, charset).map_err(|wrong| wrong.to_string())?;
        Ok(bytes.into_iter().map(char::from).collect())
    }

    #[test]
    fn a_text_beside_its_code_may_lose_a_letter() {
        let text =
            "MSH|^~\\&|A\rOBX|1|NM|150344^Temp ℃^MDC^8310-5^Körper ℃^LN||36.8|268192^℃^MDC^Cel^℃^UCUM\r";
        let said =
            "MSH|^~\\&|A\rOBX|1|NM|150344^Temp ?^MDC^8310-5^Körper ?^LN||36.8|268192^?^MDC^Cel^?^UCUM\r";
        assert_eq!(latin(text), Ok(said.into()));
    }

    #[test]
    fn a_name_and_a_value_never_do() {
        for (text, place) in [
            ("PID|||7||Łukasz^A\r", "PID-5"),
            ("OBX|1|ST|1^a^L||≥ 5\r", "OBX-5"),
            ("OBX|1|NM|1^a^L||5|^Ω\r", "OBX-6"),
            ("MSH|^~\\&|Łódź\r", "MSH-3"),
            ("OBX|1|CWE|Ω^a^L\r", "OBX-3"),
        ] {
            let wrong = latin(text).unwrap_err();
            assert!(wrong.starts_with(place) && wrong.contains("8859/1"), "{wrong}");
        }
        assert_eq!(latin("PID|||7||Müller\r"), Ok("PID|||7||Müller\r".into()));
    }
}
