//! For finding messages by what they call themselves: the first line of a frame, as far as every sender writes one.

/// What kind of message a frame is, and the number its sender gave it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headline {
    /// `ORU^R01` (MSH-9 of HL7 v2), `ASTM` (ASTM E1394), `JSON` or `XML`.
    pub kind: Option<String>,
    /// MSH-10.
    pub control: Option<String>,
}

/// Longest number or kind that is told.
const LONGEST: usize = 64;

impl Headline {
    /// Reads the beginning of a frame; what it does not say stays untold.
    pub(super) fn of(frame: &[u8]) -> Self {
        let start = frame.iter().position(|byte| !byte.is_ascii_whitespace() && *byte >= b' ').unwrap_or(0);
        let frame = frame.get(start..).unwrap_or_default();
        match frame {
            [b'M', b'S', b'H', separator, ..] => Self::of_hl7(frame, *separator),
            [b'H', separator, ..] if separator.is_ascii_punctuation() => Self::named("ASTM"),
            [b'{' | b'[', ..] => Self::named("JSON"),
            [b'<', ..] => Self::named("XML"),
            _ => Self::default(),
        }
    }

    /// Whether it is of this kind: `ORU` are all of `ORU^R01` and `ORU^R30`.
    pub(super) fn is(&self, wanted: &str) -> bool {
        let Some(kind) = &self.kind else { return false };
        let rest = kind.get(..wanted.len()).filter(|head| head.eq_ignore_ascii_case(wanted));
        rest.is_some() && matches!(kind.as_bytes().get(wanted.len()), None | Some(b'^'))
    }

    fn named(kind: &str) -> Self {
        Self { kind: Some(kind.into()), control: None }
    }

    /// MSH-1 is the separator itself, so MSH-9 is the ninth piece and MSH-10 the tenth.
    fn of_hl7(frame: &[u8], separator: u8) -> Self {
        let end = frame.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(frame.len());
        let line = frame.get(..end).unwrap_or_default();
        let mut fields = line.split(|byte| *byte == separator).skip(8);
        let kind = fields.next().map(|field| {
            let between = line.get(4).copied().unwrap_or(b'^');
            let parts: Vec<String> = field.split(|byte| *byte == between).take(2).filter_map(plain).collect();
            parts.join("^")
        });
        let kind = kind.filter(|kind| !kind.is_empty()).or_else(|| Some("HL7".into()));
        Self { kind, control: fields.next().and_then(plain) }
    }
}

fn plain(field: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(field).ok()?;
    let fits = !text.is_empty() && text.len() <= LONGEST && !text.chars().any(char::is_control);
    fits.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_called_by_its_type_and_its_control_id() {
        let of = |text: &str| Headline::of(text.as_bytes());
        let oru = of("\x0bMSH|^~\\&|A|B|C|D|20260101||ORU^R01^ORU_R01|77|P|2.6\rPID|||1\r");
        assert_eq!((oru.kind.as_deref(), oru.control.as_deref()), (Some("ORU^R01"), Some("77")));
        assert!(oru.is("ORU") && oru.is("oru^r01") && !oru.is("OR") && !oru.is("ORU^R0"));
        let own = of("MSH$%~\\&$A$B$C$D$$$ADT%A01$x9$P$2.3\r");
        assert_eq!((own.kind.as_deref(), own.control.as_deref()), (Some("ADT^A01"), Some("x9")));
        assert_eq!(of("H|\\^&|||XN").kind.as_deref(), Some("ASTM"));
        assert_eq!(of(" {\"hr\":1}").kind.as_deref(), Some("JSON"));
        assert_eq!(of("<a/>").kind.as_deref(), Some("XML"));
        assert_eq!(of("SpO2=97").kind, None);
    }

    #[test]
    fn whatever_the_beginning_is_it_is_survived() {
        for seed in [&b""[..], b"MSH", b"MSH|", b"H", b"MSH|||||||||\xff\xfe|", b"\x00\x01", b"MSH\r\r\r\r"] {
            let told = Headline::of(seed);
            assert!(told.control.is_none(), "{told:?}");
        }
    }
}
