//! Where a template line reads: `PID-3`, `PID-3[1].4.2`, `NTE[*]-3`, `IN1`, or from where the line stands `4.2` and `.`.

/// A place in a message, seen from a line. All numbers count from 1, as HL7 does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) segment: Option<Segment>,
    /// `None` with a segment: the segment itself. Of a relative place: unused.
    pub(super) field: Option<u16>,
    /// `None`: every repetition.
    pub(super) repetition: Option<u16>,
    /// Component and subcomponent; one level deeper where the line itself stands at a component.
    pub(super) parts: Vec<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) name: Box<str>,
    /// The name as a number.
    pub(super) tag: u32,
    /// Every segment of this name in the group, not only the first.
    pub(super) all: bool,
}

impl Place {
    /// Reads a place; the error is a sentence.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is no path: write PID-3, PID-3[1].4.2, NTE[*]-3, a segment's name, or 4.2 inside a value"
            )
        };
        if text == "." {
            return Ok(Self { segment: None, field: None, repetition: None, parts: Vec::new() });
        }
        if text.starts_with(|c: char| c.is_ascii_digit()) && !text.contains('-') {
            let parts: Option<Vec<u16>> = text.split('.').map(number).collect();
            let parts = parts.filter(|parts| parts.len() <= 2).ok_or_else(wrong)?;
            return Ok(Self { segment: None, field: None, repetition: None, parts });
        }
        let (name, rest) = text.split_at_checked(3).ok_or_else(wrong)?;
        if !name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()) {
            return Err(wrong());
        }
        let (all, rest) = match rest.strip_prefix("[*]") {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let segment = Some(Segment { name: name.into(), tag: tag(name), all });
        if rest.is_empty() {
            return Ok(Self { segment, field: None, repetition: None, parts: Vec::new() });
        }
        let rest = rest.strip_prefix('-').ok_or_else(wrong)?;
        let (field, deeper) = match rest.split_once('.') {
            Some((field, deeper)) => (field, Some(deeper)),
            None => (rest, None),
        };
        let (field, repetition) = match field.split_once('[') {
            Some((field, inner)) => {
                (field, Some(inner.strip_suffix(']').and_then(number).ok_or_else(wrong)?))
            }
            None => (field, None),
        };
        let parts: Vec<u16> = match deeper {
            Some(deeper) => deeper.split('.').map(number).collect::<Option<_>>().ok_or_else(wrong)?,
            None => Vec::new(),
        };
        let field = Some(number(field).ok_or_else(wrong)?);
        if parts.len() > 2 {
            return Err(wrong());
        }
        Ok(Self { segment, field, repetition, parts })
    }
}

/// A segment's name as a number, to be compared at once.
pub(super) fn tag(name: &str) -> u32 {
    name.bytes().take(4).fold(0, |sum, byte| sum << 8 | u32::from(byte))
}

fn number(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|value| digits && (1..=9999).contains(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_absolute_or_seen_from_the_line() {
        let place = Place::parse("PID-3[2].4.1").unwrap();
        assert_eq!((place.field, place.repetition, place.parts), (Some(3), Some(2), vec![4, 1]));
        assert!(Place::parse("NTE[*]-3").unwrap().segment.unwrap().all);
        assert_eq!(Place::parse("IN1").unwrap().field, None);
        assert_eq!(Place::parse("4.2").unwrap().parts, [4, 2]);
        assert!(Place::parse(".").unwrap().parts.is_empty());
        for wrong in ["", "pid-3", "PID.3", "PID-0", "PID-3[x]", "1.2.3", "PID-3.1.2.3", "PID[2]-3", "1-2"] {
            assert!(Place::parse(wrong).is_err(), "{wrong}");
        }
    }
}
