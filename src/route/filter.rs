//! A message without some of its parts, or with others in their place. Segments that no rule names stay as they were.

use std::borrow::Cow;
use std::str::FromStr;

use crate::hl7v2::{Charset, Message, Path, Segment, Separators, escaped_line};

/// What is left out and what is put in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    changes: Vec<Change>,
}

/// One rule of a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Segments of this name go; `Z*` is every segment whose name begins with Z.
    DropSegment(Box<str>),
    /// What stands there becomes empty, in every segment of that name.
    DropField(Path),
    /// This text stands there instead, in every segment of that name that has something there; in MSH always.
    Set(Path, Box<str>),
}

/// Why a filter cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    #[error("\"{0}\" is neither a segment, such as NTE or Z*, nor a field, such as PID-19")]
    Place(String),
    #[error("\"{0}\" cannot be taken out: without it the message cannot be read or acknowledged")]
    Needed(String),
    #[error(
        "the message has letters that its encoding cannot write (MSH-18): it cannot be filtered without changing the rest"
    )]
    Letters,
}

impl Change {
    /// Reads what is to be dropped: `NTE`, `Z*` or `PID-19`.
    ///
    /// # Errors
    /// [`FilterError::Place`], [`FilterError::Needed`].
    pub fn drop(text: &str) -> Result<Self, FilterError> {
        let place = || FilterError::Place(text.into());
        if let Some(start) = text.strip_suffix('*') {
            let right = !start.is_empty() && start.len() < 3 && start.bytes().all(|b| b.is_ascii_uppercase());
            return if right && !"MSH".starts_with(start) {
                Ok(Self::DropSegment(text.into()))
            } else {
                Err(place())
            };
        }
        if text.len() == 3 && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()) {
            return if text == "MSH" {
                Err(FilterError::Needed(text.into()))
            } else {
                Ok(Self::DropSegment(text.into()))
            };
        }
        let path = Path::from_str(text).map_err(|_| place())?;
        if needed(&path) { Err(FilterError::Needed(text.into())) } else { Ok(Self::DropField(path)) }
    }

    /// Reads what is to be put where.
    ///
    /// # Errors
    /// [`FilterError::Place`], [`FilterError::Needed`].
    pub fn set(place: &str, text: &str) -> Result<Self, FilterError> {
        let path = Path::from_str(place).map_err(|_| FilterError::Place(place.into()))?;
        if needed(&path) { Err(FilterError::Needed(place.into())) } else { Ok(Self::Set(path, text.into())) }
    }
}

/// Separators, the kind, the control id and the version: what a receiver reads a message by.
fn needed(path: &Path) -> bool {
    &*path.segment == "MSH" && matches!(path.field, 1 | 2 | 9 | 10 | 12 | 18)
}

impl Filter {
    pub fn new(changes: Vec<Change>) -> Self {
        Self { changes }
    }

    /// The rules.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// The message as it goes on, its segments ended by CR: in its own encoding, or in `charset`, which MSH-18 then names.
    ///
    /// # Errors
    /// [`FilterError::Letters`]: writing it anew would change what no rule names.
    pub fn apply(&self, message: &Message<'_>, charset: Option<Charset>) -> Result<Vec<u8>, FilterError> {
        let Some(other) = charset.filter(|charset| *charset != message.charset()) else {
            return self.written(message, message.charset(), &[]);
        };
        let separators = message.separators();
        if message.segments().any(|segment| has_bytes(segment.raw(), &separators)) {
            return Err(FilterError::Letters);
        }
        let names = other.table_0211().replace('~', &char::from(separators.repetition).to_string());
        let named = |place: &str, text: String| Path::from_str(place).ok().map(|path| (path, text));
        let head = [named("MSH-18", names), named("MSH-20", other.scheme().to_owned())];
        self.written(message, other, &head.into_iter().flatten().collect::<Vec<_>>())
    }

    /// `head` is what stands in MSH instead, as it is written there.
    fn written(
        &self,
        message: &Message<'_>,
        charset: Charset,
        head: &[(Path, String)],
    ) -> Result<Vec<u8>, FilterError> {
        let mut text = String::new();
        for segment in message.segments() {
            if self.drops(segment.name()) {
                continue;
            }
            let mut changed = self.segment(&segment, &message.separators());
            for (path, value) in head.iter().filter(|_| segment.name() == "MSH") {
                let empty = segment.get(path).is_empty() && value.is_empty();
                let other = replaced(&changed, path, Some(value), true, &message.separators());
                changed = other.filter(|_| !empty).map_or(changed, Cow::Owned);
            }
            text.push_str(&changed);
            text.push('\r');
        }
        let replaced = text.contains(char::REPLACEMENT_CHARACTER);
        charset.encode(&text).filter(|_| !replaced).ok_or(FilterError::Letters)
    }

    fn drops(&self, name: &str) -> bool {
        self.changes.iter().any(|change| match change {
            Change::DropSegment(dropped) => match dropped.strip_suffix('*') {
                Some(start) => name.starts_with(start),
                None => **dropped == *name,
            },
            Change::DropField(_) | Change::Set(..) => false,
        })
    }

    fn segment<'m>(&self, segment: &Segment<'m>, separators: &Separators) -> Cow<'m, str> {
        let mut text = Cow::Borrowed(segment.raw());
        let header = segment.name() == "MSH";
        for change in &self.changes {
            let (path, value) = match change {
                Change::DropSegment(_) => continue,
                Change::DropField(path) => (path, None),
                Change::Set(path, value) => (path, Some(&**value)),
            };
            if *path.segment != *segment.name() {
                continue;
            }
            let value = value.map(|value| escaped_line(value, separators));
            if let Some(changed) = replaced(&text, path, value.as_deref(), header, separators) {
                text = Cow::Owned(changed);
            }
        }
        text
    }
}

/// The segment with another text at a path; `None` when nothing stands there, which only MSH fills.
fn replaced(
    segment: &str,
    path: &Path,
    value: Option<&str>,
    header: bool,
    separators: &Separators,
) -> Option<String> {
    // MSH-1 is the separator itself.
    let field = usize::from(path.field).checked_sub(usize::from(header))?;
    let sign = char::from(separators.field);
    part(segment, sign, field, header && value.is_some(), &|field| {
        let empty = field.is_empty() || field == "\"\"";
        if empty && !(header && value.is_some()) {
            return None;
        }
        repetitions(field, path, value, separators)
    })
}

/// All repetitions of a field, or the one the path names.
fn repetitions(field: &str, path: &Path, value: Option<&str>, separators: &Separators) -> Option<String> {
    let Some(component) = path.component else {
        return match path.repetition {
            None => Some(value.unwrap_or_default().to_owned()),
            Some(number) => {
                part(field, char::from(separators.repetition), usize::from(number) - 1, false, &|_| {
                    Some(value.unwrap_or_default().to_owned())
                })
            }
        };
    };
    let inner = |repetition: &str| {
        part(
            repetition,
            char::from(separators.component),
            usize::from(component) - 1,
            value.is_some(),
            &|whole| match path.subcomponent {
                None => Some(value.unwrap_or_default().to_owned()),
                Some(number) => {
                    let sign = char::from(separators.subcomponent);
                    part(whole, sign, usize::from(number) - 1, value.is_some(), &|_| {
                        Some(value.unwrap_or_default().to_owned())
                    })
                }
            },
        )
    };
    let sign = char::from(separators.repetition);
    let changed: Vec<String> = field
        .split(sign)
        .enumerate()
        .map(|(at, repetition)| {
            let named = path.repetition.is_none_or(|number| usize::from(number) == at + 1);
            let changed = if named { inner(repetition) } else { None };
            changed.unwrap_or_else(|| repetition.to_owned())
        })
        .collect();
    Some(changed.join(&sign.to_string()))
}

/// `whole` with its part number `at` changed; with `grow` missing parts are added before it.
fn part(
    whole: &str,
    sign: char,
    at: usize,
    grow: bool,
    change: &dyn Fn(&str) -> Option<String>,
) -> Option<String> {
    let mut parts: Vec<Cow<'_, str>> = whole.split(sign).map(Cow::Borrowed).collect();
    if parts.len() <= at && grow {
        parts.resize(at + 1, Cow::Borrowed(""));
    }
    let own = parts.get_mut(at)?;
    *own = Cow::Owned(change(own)?);
    Some(parts.join(&sign.to_string()))
}

/// Whether bytes of the message's own encoding stand in it as `\X..\`: in another they would be other letters.
fn has_bytes(segment: &str, separators: &Separators) -> bool {
    let escape = char::from(separators.escape);
    segment.split(escape).filter_map(|part| part.strip_prefix('X')).any(|digits| {
        let mut pairs = digits.as_bytes().chunks(2);
        digits.bytes().all(|digit| digit.is_ascii_hexdigit())
            && pairs.any(|pair| pair.first().is_some_and(|first| *first >= b'8'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(drop: &[&str], set: &[(&str, &str)]) -> Filter {
        let dropped = drop.iter().map(|text| Change::drop(text).unwrap());
        Filter::new(dropped.chain(set.iter().map(|(at, text)| Change::set(at, text).unwrap())).collect())
    }

    fn apply(filter: &Filter, text: &[u8]) -> Result<Vec<u8>, FilterError> {
        filter.apply(&Message::parse(text, Charset::default()).message.unwrap(), None)
    }

    fn applied(filter: &Filter, text: &str) -> String {
        String::from_utf8(apply(filter, text.as_bytes()).unwrap()).unwrap()
    }

    const ORU: &str = "MSH|^~\\&|MON|W|||1||ORU^R01|1|P|2.6\rPID|1||7^^^H^MR~9^^^X^SS||Doe^Jane||1980|F|||Street^^City\r\
                       ZPI|x\rOBX|1|NM|a^b||5\rNTE|1||private\rZZZ\r";

    #[test]
    fn what_no_rule_names_stays() {
        assert_eq!(applied(&filter(&[], &[]), ORU), ORU);
        assert_eq!(applied(&filter(&["PID-30", "OBR-3", "PV1"], &[]), ORU), ORU);
    }

    #[test]
    fn segments_and_fields_are_left_out() {
        let out = applied(&filter(&["Z*", "NTE", "PID-5", "PID-11", "PID-3[2]"], &[]), ORU);
        assert_eq!(
            out,
            "MSH|^~\\&|MON|W|||1||ORU^R01|1|P|2.6\rPID|1||7^^^H^MR~||||1980|F|||\rOBX|1|NM|a^b||5\r"
        );
        assert!(applied(&filter(&["PID-3.4"], &[]), ORU).contains("|7^^^^MR~9^^^^SS|"));
    }

    #[test]
    fn a_text_stands_in_the_place_of_another_and_is_escaped() {
        let out = applied(
            &filter(&[], &[("PID-5", "A|B^C"), ("MSH-5", "EHR"), ("MSH-20", "x"), ("PID-19", "QQ")]),
            ORU,
        );
        assert!(out.starts_with("MSH|^~\\&|MON|W|EHR||1||ORU^R01|1|P|2.6||||||||x\r"), "{out}");
        assert!(out.contains("||A\\F\\B\\S\\C||1980|"), "{out}");
        assert!(!out.contains("QQ"), "a patient who has no such number gets none: {out}");
        assert!(applied(&filter(&[], &[("PID-3[1].4.2", "1.2")]), ORU).contains("|7^^^H&1.2^MR~9^^^X^SS|"));
    }

    #[test]
    fn the_encoding_of_the_message_is_kept() {
        let latin = b"MSH|^~\\&|M\xFCller||||1||ORU^R01|1|P|2.3||||||8859/1\rPID|||7||M\xFCller^A\r";
        let out = apply(&filter(&[], &[("PID-5.2", "\u{e9}")]), latin).unwrap();
        assert!(out.ends_with(b"|M\xFCller^\xE9\r"), "{out:?}");
        assert_eq!(apply(&filter(&[], &[("PID-5", "\u{4e2d}")]), latin), Err(FilterError::Letters));
        let broken = b"MSH|^~\\&|A||||1||ORU^R01|1|P|2.3\rPID|||7||M\xFCller\r";
        assert_eq!(apply(&filter(&["NTE"], &[]), broken), Err(FilterError::Letters));
        // The second byte of a letter may look like a separator: 0x7C.
        let chinese = b"MSH|^~\\&|A||||1||ORU^R01|1|P|2.4||||||GB18030\rPID|||7||\x81\x7C^B||1980\r";
        let out = apply(&filter(&["PID-7"], &[]), chinese).unwrap();
        assert!(out.ends_with(b"PID|||7||\x81\x7C^B||\r"), "{out:?}");
    }

    #[test]
    fn a_receiver_gets_the_letters_in_its_own_encoding_and_is_told_so() {
        let named = |name: &str| Charset::named(name).unwrap();
        let to = |text: &[u8], default: Charset, to: &str| {
            let message = Message::parse(text, default).message.unwrap();
            filter(&["NTE"], &[]).apply(&message, Some(named(to)))
        };
        let plain = b"MSH|^~\\&|A||||1||ORU^R01|1|P|2.4\rPID|||7||M\xFCller\r";
        let latin = named("8859/1");
        assert_eq!(to(plain, latin, "8859/1").unwrap(), plain, "its own already");
        let out = to(plain, latin, "UNICODE UTF-8").unwrap();
        let written = "MSH|^~\\&|A||||1||ORU^R01|1|P|2.4||||||UNICODE UTF-8\rPID|||7||Müller\r";
        assert_eq!(String::from_utf8(out).unwrap(), written);
        let japanese = "MSH|^~\\&|A||||1||ORU^R01|1|P|2.4||||||UNICODE UTF-8\rPID|||7||患者^太郎\r";
        for (name, said) in
            [("Shift_JIS", "|Shift_JIS\r"), ("ISO IR87", "|ISO IR6~ISO IR87||ISO 2022-1994\r")]
        {
            let out = to(japanese.as_bytes(), Charset::default(), name).unwrap();
            assert!(
                out.starts_with(format!("MSH|^~\\&|A||||1||ORU^R01|1|P|2.4|||||{said}").as_bytes()),
                "{name}"
            );
            let back = Message::parse(&out, Charset::default()).message.unwrap();
            assert_eq!(back.segment("PID", 1).unwrap().field(5).component(2).text(), "太郎", "{name}");
        }
        assert_eq!(to(japanese.as_bytes(), Charset::default(), "8859/1"), Err(FilterError::Letters));
        let bytes = b"MSH|^~\\&|A||||1||ORU^R01|1|P|2.4\rPID|||7||M\\XFC\\ller\r";
        assert_eq!(to(bytes, latin, "UNICODE UTF-8"), Err(FilterError::Letters));
    }

    #[test]
    fn what_a_receiver_reads_a_message_by_stays() {
        for needed in ["MSH", "MSH-9", "MSH-10.1", "MSH-2"] {
            assert_eq!(Change::drop(needed), Err(FilterError::Needed(needed.into())));
        }
        assert!(matches!(Change::set("MSH-10", "x"), Err(FilterError::Needed(_))));
        for wrong in ["", "nte", "PIDX", "*", "M*", "PID.3", "PID-", "PID-0"] {
            assert!(matches!(Change::drop(wrong), Err(FilterError::Place(_))), "{wrong}");
        }
    }
}
