//! Where something stands in a record, in the words of its grammar: a key, a group, a column, a JSON pointer,
//! an HL7 path, an ASTM field, or a level of the MQTT topic.

use std::sync::Arc;

use super::xml::XmlPath;
use crate::hl7v2;

/// The grammars of `[record]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GrammarKind {
    KeyValue,
    Regex,
    Columns,
    Csv,
    Bytes,
    Json,
    Astm,
    Hl7,
    /// Items that name their own code, and values that each have a place.
    XmlCoded,
    Xml,
    Gdt,
    Native,
}

/// A place in a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Locator {
    /// A key, a named group or a column.
    Name(Arc<str>),
    /// RFC 6901, from the root of the document or from the item.
    Pointer {
        relative: bool,
        pointer: Arc<str>,
    },
    /// A place in what holds the item: `up` lists and objects further out.
    Outer {
        up: usize,
        pointer: Arc<str>,
    },
    /// The value of an item that names itself by a code.
    Coded(Arc<str>),
    /// Level of the topic, from 0.
    Topic(usize),
    Astm(AstmPath),
    Hl7(hl7v2::Path),
    Xml(XmlPath),
    /// `OBX{2301}-5`: in the first row whose OBX-3 begins with this code.
    Hl7Row {
        code: Arc<str>,
        path: hl7v2::Path,
    },
}

/// `O-3.1`: record type, field and component, counted from 1 with the record type as field 1 (LIS02 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AstmPath {
    pub(super) record: u8,
    pub(super) field: usize,
    pub(super) component: Option<usize>,
}

impl Locator {
    /// Reads a place in the words of `grammar`; the error is a sentence.
    pub(super) fn parse(text: &str, grammar: GrammarKind) -> Result<Self, String> {
        if let Some(level) = text.strip_prefix("topic:") {
            return match level.parse::<usize>() {
                Ok(level @ 0..=64) => Ok(Self::Topic(level)),
                _ => Err(format!("`{text}` must be topic: and a level from 0 to 64")),
            };
        }
        match grammar {
            GrammarKind::KeyValue
            | GrammarKind::Regex
            | GrammarKind::Columns
            | GrammarKind::Csv
            | GrammarKind::Bytes => {
                if text.trim().is_empty() {
                    Err("an empty name: write the device's own name for the value".into())
                } else {
                    Ok(Self::Name(text.into()))
                }
            }
            GrammarKind::Json if text.starts_with("../") => {
                let up = text.matches("../").count();
                let rest = text.trim_start_matches("../");
                if rest.is_empty() || up > 8 {
                    return Err(format!(
                        "`{text}` must name a member of what holds the item, such as ../time"
                    ));
                }
                Ok(Self::Outer { up, pointer: format!("/{rest}").into() })
            }
            GrammarKind::Json if text.starts_with("code:") => match text.trim_start_matches("code:") {
                "" => Err("code: must be followed by what the item calls itself".into()),
                code => Ok(Self::Coded(code.into())),
            },
            GrammarKind::Json => match (text.strip_prefix("./"), text.starts_with('/')) {
                (Some(""), _) => Ok(Self::Pointer { relative: true, pointer: "".into() }),
                (Some(rest), _) => Ok(Self::Pointer { relative: true, pointer: format!("/{rest}").into() }),
                (None, true) => Ok(Self::Pointer { relative: false, pointer: text.into() }),
                (None, false) => Err(format!(
                    "`{text}` is no JSON pointer: begin with / (from the document), ./ (from the item) or ../ (from what holds it)"
                )),
            },
            GrammarKind::Astm => AstmPath::parse(text).map(Self::Astm),
            GrammarKind::Native | GrammarKind::Gdt => {
                Err(format!("`{text}`: frames of this grammar have no named places"))
            }
            GrammarKind::Xml | GrammarKind::XmlCoded => XmlPath::parse(text).map(Self::Xml),
            GrammarKind::Hl7 if text.starts_with("OBX{") => row_of_code(text),
            GrammarKind::Hl7 => hl7v2::Path::parse(text).map(Self::Hl7).map_err(|error| error.to_string()),
        }
    }

    /// The field of a LIS02 record, if it is one.
    pub(super) fn astm(self) -> Option<AstmPath> {
        if let Self::Astm(path) = self { Some(path) } else { None }
    }

    /// The device's own name for what stands here: a code for what has no other.
    pub(super) fn own_code(&self) -> String {
        match self {
            Self::Name(name) => name.to_string(),
            Self::Pointer { pointer, .. } => pointer.trim_start_matches('/').replace('/', "."),
            Self::Outer { pointer, .. } => pointer.trim_start_matches('/').replace('/', "."),
            Self::Coded(code) => code.to_string(),
            Self::Topic(level) => format!("topic:{level}"),
            Self::Astm(path) => format!("{}-{}", char::from(path.record), path.field),
            Self::Hl7(path) => path.to_string(),
            Self::Xml(path) => path.own_code(),
            Self::Hl7Row { code, path } => path.to_string().replacen("OBX", &format!("OBX{{{code}}}"), 1),
        }
    }

    /// The same place always gives the same text.
    pub(super) fn claim(&self) -> String {
        match self {
            Self::Name(name) => name.to_string(),
            Self::Pointer { relative, pointer } => format!("{}{pointer}", if *relative { "." } else { "" }),
            Self::Outer { up, pointer } => format!("{up}{pointer}"),
            Self::Coded(code) => format!("code:{code}"),
            Self::Xml(path) => path.written().to_owned(),
            other => other.own_code(),
        }
    }
}

fn row_of_code(text: &str) -> Result<Locator, String> {
    let shape = || format!("`{text}` is no row by its code: write for example OBX{{2301}}-5");
    let (code, rest) = text.strip_prefix("OBX{").and_then(|rest| rest.split_once('}')).ok_or_else(shape)?;
    if code.trim().is_empty() {
        return Err(shape());
    }
    let path = hl7v2::Path::parse(&format!("OBX{rest}")).map_err(|error| error.to_string())?;
    Ok(Locator::Hl7Row { code: code.trim().into(), path })
}

impl AstmPath {
    fn parse(text: &str) -> Result<Self, String> {
        let shape = || format!("`{text}` is no ASTM field: write for example O-3 or O-3.1");
        let (record, rest) = text.split_once('-').ok_or_else(shape)?;
        let [record @ b'A'..=b'Z'] = record.as_bytes() else { return Err(shape()) };
        let number =
            |part: &str| part.parse::<usize>().ok().filter(|n| (1..=99).contains(n)).ok_or_else(shape);
        let (field, component) = match rest.split_once('.') {
            Some((field, component)) => (number(field)?, Some(number(component)?)),
            None => (number(rest)?, None),
        };
        Ok(Self { record: *record, field, component })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_grammar_has_its_own_words() {
        let parse = Locator::parse;
        assert_eq!(parse("SPO2", GrammarKind::KeyValue), Ok(Locator::Name("SPO2".into())));
        assert_eq!(
            parse("./bp", GrammarKind::Json),
            Ok(Locator::Pointer { relative: true, pointer: "/bp".into() })
        );
        assert_eq!(parse("topic:3", GrammarKind::Json), Ok(Locator::Topic(3)));
        assert_eq!(
            parse("O-3.1", GrammarKind::Astm),
            Ok(Locator::Astm(AstmPath { record: b'O', field: 3, component: Some(1) }))
        );
        assert!(parse("PID-3[2].1", GrammarKind::Hl7).is_ok());
        assert_eq!(parse("OBX{2301}-5.1", GrammarKind::Hl7).unwrap().own_code(), "OBX{2301}-5.1");
    }

    #[test]
    fn a_wrong_place_says_what_to_write() {
        for (text, grammar, word) in [
            ("bp", GrammarKind::Json, "begin with /"),
            ("O3", GrammarKind::Astm, "for example O-3"),
            ("O-0", GrammarKind::Astm, "for example O-3"),
            ("OO-3", GrammarKind::Astm, "for example O-3"),
            ("PID.3", GrammarKind::Hl7, "PID-3"),
            ("OBX{}-5", GrammarKind::Hl7, "OBX{2301}-5"),
            ("topic:x", GrammarKind::Json, "level"),
            (" ", GrammarKind::Columns, "empty"),
        ] {
            let error = Locator::parse(text, grammar).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
