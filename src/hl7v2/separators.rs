//! The signs a message says it uses, read from MSH-1 and MSH-2.

/// Delimiters of one message. HL7 recommends `|^~\&`, and `#` for truncation since 2.7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Separators {
    pub field: u8,
    pub component: u8,
    pub repetition: u8,
    pub escape: u8,
    pub subcomponent: u8,
    /// Fifth character of MSH-2, since 2.7.
    pub truncation: Option<u8>,
}

impl Default for Separators {
    fn default() -> Self {
        Self {
            field: b'|',
            component: b'^',
            repetition: b'~',
            escape: b'\\',
            subcomponent: b'&',
            truncation: None,
        }
    }
}

impl Separators {
    /// Reads a segment that begins with `MSH`. `None` when the sign after it cannot separate fields. The
    /// second value says what is odd about MSH-2, in words.
    pub(super) fn read(header: &[u8]) -> Option<(Self, Option<&'static str>)> {
        let [b'M', b'S', b'H', field, rest @ ..] = header else { return None };
        if !field.is_ascii_punctuation() {
            return None;
        }
        let named = rest.split(|b| b == field).next().unwrap_or_default();
        let usable = named.iter().all(u8::is_ascii_punctuation);
        let mut read = Self { field: *field, ..Self::default() };
        let odd = match named {
            [component, repetition, escape, subcomponent, more @ ..] if usable => {
                read.component = *component;
                read.repetition = *repetition;
                read.escape = *escape;
                read.subcomponent = *subcomponent;
                read.truncation = more.first().copied();
                (more.len() > 1).then_some("MSH-2 has more than five characters")
            }
            // Some senders lose a sign (`^&`): what is left keeps its usual role, and so does what is missing.
            _ => Some("MSH-2 does not name its four separators: the usual ones are taken"),
        };
        let odd = odd.or((!read.distinct()).then_some("MSH-1 and MSH-2 name one character twice"));
        Some((read, odd))
    }

    fn distinct(self) -> bool {
        let all = [self.field, self.component, self.repetition, self.escape, self.subcomponent];
        all.iter().enumerate().all(|(at, sign)| !all.iter().skip(at + 1).any(|other| other == sign))
    }

    /// MSH-2 as it is written in an answer.
    pub(super) fn encoding_characters(self) -> Vec<u8> {
        let mut named = vec![self.component, self.repetition, self.escape, self.subcomponent];
        named.extend(self.truncation);
        named
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_are_whatever_the_header_says() {
        let (read, odd) = Separators::read(b"MSH$*%!?$A").unwrap();
        assert_eq!((read.field, read.component, read.repetition), (b'$', b'*', b'%'));
        assert_eq!((read.escape, read.subcomponent, odd), (b'!', b'?', None));
        let (read, odd) = Separators::read(b"MSH|^~\\&#|A").unwrap();
        assert_eq!((read.truncation, odd), (Some(b'#'), None));
    }

    #[test]
    fn a_short_or_odd_list_of_separators_is_told() {
        for header in ["MSH|^&|A", "MSH||A", "MSH|^~\\&#!|A", "MSH|^^\\&|A", "MSH|ABCD|"] {
            let (read, odd) = Separators::read(header.as_bytes()).unwrap();
            assert_eq!(read.component, b'^', "{header}");
            assert!(odd.is_some(), "{header}");
        }
        for header in ["MSH", "MSHA^~\\&", "MSH \u{a0}", "PID|"] {
            assert!(Separators::read(header.as_bytes()).is_none(), "{header}");
        }
    }
}
