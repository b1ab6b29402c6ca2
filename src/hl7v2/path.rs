//! Where something stands in a message: `PID-3[2].4.1`, `OBX[3]-5`, `OBR[2]/OBX-5`, `MSH-10`.

use std::fmt;
use std::str::FromStr;

/// A place in a message. All numbers count from 1, as HL7 does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Path {
    /// The segment that begins a group, and which of that name: `OBR[2]/` counts from there to the next of them.
    pub group: Option<(Box<str>, u16)>,
    /// Three characters, e.g. `OBX`.
    pub segment: Box<str>,
    /// Which segment of that name; the first when not said.
    pub occurrence: u16,
    pub field: u16,
    /// `None` in a path that stops at the field: all repetitions. Deeper paths take the first.
    pub repetition: Option<u16>,
    pub component: Option<u16>,
    pub subcomponent: Option<u16>,
}

/// Why a text is not a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("\"{0}\" does not begin with a segment name of three capital letters or digits, such as PID")]
    Segment(String),
    #[error("\"{0}\" names no field: write for example PID-3")]
    NoField(String),
    #[error("\"{path}\": \"{part}\" is not a number from 1 to 65535")]
    Number { path: String, part: String },
    #[error("\"{0}\": expected SEG[n]-field[n].component.subcomponent, such as PID-3[2].4.1")]
    Shape(String),
}

impl Path {
    /// Reads a path, e.g. `OBX[3]-5.1`.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        text.parse()
    }
}

impl FromStr for Path {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        let shape = || PathError::Shape(text.into());
        let (group, within) = match text.split_once('/') {
            Some((group, within)) => (Some(group), within),
            None => (None, text),
        };
        let group = match group.map(|group| segment(text, group)).transpose()? {
            Some((name, occurrence, "")) => Some((name.into(), occurrence.unwrap_or(1))),
            Some(_) => return Err(shape()),
            None => None,
        };
        let (segment, occurrence, rest) = segment(text, within)?;
        let rest = rest.strip_prefix('-').ok_or_else(|| PathError::NoField(text.into()))?;
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (field, rest) = rest.split_at_checked(digits).ok_or_else(shape)?;
        let field = number(text, field)?;
        let (repetition, rest) = bracketed(text, rest)?;
        let (mut component, mut subcomponent) = (None, None);
        if !rest.is_empty() {
            let deeper = rest.strip_prefix('.').ok_or_else(shape)?;
            let (first, second) = match deeper.split_once('.') {
                Some((first, second)) => (first, Some(second)),
                None => (deeper, None),
            };
            component = Some(number(text, first)?);
            subcomponent = second.map(|second| number(text, second)).transpose()?;
        }
        let occurrence = occurrence.unwrap_or(1);
        Ok(Self { group, segment: segment.into(), occurrence, field, repetition, component, subcomponent })
    }
}

/// A segment's name and which of that name, at the start of `rest`, and what follows.
fn segment<'t>(path: &str, rest: &'t str) -> Result<(&'t str, Option<u16>, &'t str), PathError> {
    let (name, rest) = rest.split_at_checked(3).ok_or_else(|| PathError::Segment(path.into()))?;
    if !name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()) {
        return Err(PathError::Segment(path.into()));
    }
    let (occurrence, rest) = bracketed(path, rest)?;
    Ok((name, occurrence, rest))
}

/// An optional `[n]` at the start of `rest`, and what follows it.
fn bracketed<'t>(path: &str, rest: &'t str) -> Result<(Option<u16>, &'t str), PathError> {
    let Some(inner) = rest.strip_prefix('[') else { return Ok((None, rest)) };
    let (digits, rest) = inner.split_once(']').ok_or_else(|| PathError::Shape(path.into()))?;
    Ok((Some(number(path, digits)?), rest))
}

fn number(path: &str, part: &str) -> Result<u16, PathError> {
    let digits = part.bytes().all(|b| b.is_ascii_digit());
    let value = part.parse().ok().filter(|value| digits && *value > 0);
    value.ok_or_else(|| PathError::Number { path: path.into(), part: part.into() })
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.group {
            Some((head, 1)) => write!(f, "{head}/")?,
            Some((head, occurrence)) => write!(f, "{head}[{occurrence}]/")?,
            None => {}
        }
        f.write_str(&self.segment)?;
        if self.occurrence > 1 {
            write!(f, "[{}]", self.occurrence)?;
        }
        write!(f, "-{}", self.field)?;
        if let Some(repetition) = self.repetition {
            write!(f, "[{repetition}]")?;
        }
        for deeper in [self.component, self.subcomponent].into_iter().flatten() {
            write!(f, ".{deeper}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_written_as_it_was_read() {
        for text in [
            "MSH-10",
            "PID-3[2].4.1",
            "OBX[3]-5",
            "OBX[12]-5[2]",
            "ZM1-1.2",
            "OBR[2]/OBX[3]-5.1",
            "OBR/NTE-3",
        ] {
            assert_eq!(Path::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Path::parse("OBX[1]-5").unwrap().to_string(), "OBX-5");
    }

    #[test]
    fn a_wrong_path_says_what_is_wrong() {
        for (text, word) in [
            ("", "segment name"),
            ("pid-3", "segment name"),
            ("µµ-3", "segment name"),
            ("PID", "no field"),
            ("PID.3", "no field"),
            ("PID-", "not a number"),
            ("PID-0", "not a number"),
            ("PID-x", "not a number"),
            ("PID-3[", "expected"),
            ("PID-3[0]", "not a number"),
            ("PID-3[+1]", "not a number"),
            ("PID-3^1", "expected"),
            ("PID-3.1.2.3", "not a number"),
            ("PID-99999", "not a number"),
            ("OBR-1/OBX-5", "expected"),
            ("/OBX-5", "segment name"),
            ("OBR/", "segment name"),
            ("OBR[0]/OBX-5", "not a number"),
        ] {
            let error = Path::parse(text).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
