//! What a device wrote, made fit for the FHIR type that carries it.
//!
//! FHIR narrows texts: a `code` has no runs of white space, a `uri` none at all, a `string` no control characters and
//! is never empty. One stray byte of a device would make a server refuse the whole transaction.

use std::borrow::Cow;
use std::fmt::Write;

use crate::device;
use crate::fhir;

/// A FHIR `string`: control characters become spaces, the ends are trimmed; `None` when nothing is left.
pub(crate) fn text(raw: &str) -> Option<Cow<'_, str>> {
    if is_plain(raw) {
        return Some(Cow::Borrowed(raw));
    }
    let raw = raw.trim_matches(|c: char| c.is_whitespace() || c.is_control());
    let foreign = |c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r');
    match raw.is_empty() {
        true => None,
        false if raw.contains(foreign) => Some(Cow::Owned(raw.replace(foreign, " "))),
        false => Some(Cow::Borrowed(raw)),
    }
}

/// Most of what devices write needs no second look: ASCII that neither starts nor ends with a space.
fn is_plain(raw: &str) -> bool {
    let bytes = raw.as_bytes();
    let ends = bytes.first().zip(bytes.last());
    ends.is_some_and(|(first, last)| *first != b' ' && *last != b' ')
        && bytes.iter().all(|b| (b' '..=b'~').contains(b))
}

/// A FHIR `code`: no white space at the ends and single spaces inside.
pub(crate) fn code(raw: &str) -> Option<Cow<'_, str>> {
    if !raw.is_empty() && raw.bytes().all(|b| b.is_ascii_graphic()) {
        return Some(Cow::Borrowed(raw));
    }
    let words: Vec<&str> =
        raw.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect();
    (!words.is_empty()).then(|| Cow::Owned(words.join(" ")))
}

/// An absolute FHIR `uri`. A private name (`99VENDOR`) gets the scheme that says it is ours to resolve, so that no
/// server takes it for a relative address; `None` when there is no name.
pub(crate) fn system(raw: &str) -> Option<Cow<'_, str>> {
    if matches!(raw, device::LOINC | device::MDC | device::UCUM) {
        return Some(Cow::Borrowed(raw));
    }
    let raw = raw.trim();
    let fits =
        |c: char| c.is_ascii_graphic() && !matches!(c, '|' | '"' | '<' | '>' | '\\' | '^' | '`' | '{' | '}');
    let absolute = raw.split_once(':').is_some_and(|(scheme, rest)| {
        !rest.is_empty()
            && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    });
    if raw.is_empty() {
        return None;
    }
    if absolute && raw.chars().all(fits) {
        return Some(Cow::Borrowed(raw));
    }
    let mut uri = String::from(if absolute { "" } else { "urn:bedside:system:" });
    for c in raw.chars() {
        if fits(c) && (absolute || c != '/') {
            uri.push(c);
        } else {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                // Writing to a String does not fail.
                let _unfailing: std::fmt::Result = write!(uri, "%{byte:02X}");
            }
        }
    }
    Some(Cow::Owned(uri))
}

/// A FHIR `Coding`; `None` when no code is left.
pub(super) fn coding(raw: &device::Coding) -> Option<fhir::Coding<'_>> {
    Some(fhir::Coding {
        system: system(&raw.system),
        code: Some(code(&raw.code)?),
        display: raw.display.as_deref().and_then(text),
    })
}

/// A FHIR `CodeableConcept` of one coding; its display becomes the text.
pub(super) fn concept(raw: &device::Coding) -> Option<fhir::CodeableConcept<'_>> {
    let coding = coding(raw);
    let text = raw.display.as_deref().and_then(text);
    (coding.is_some() || text.is_some())
        .then(|| fhir::CodeableConcept { coding: coding.into_iter().collect(), text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_keeps_its_words_and_loses_what_fhir_forbids() {
        assert_eq!(text("  sinus rhythm\0 ").as_deref(), Some("sinus rhythm"));
        assert_eq!(text("a\u{b}b\nc").as_deref(), Some("a b\nc"));
        assert_eq!(text(" \u{7f}\r\n"), None);
    }

    #[test]
    fn a_code_has_no_runs_of_white_space() {
        assert_eq!(code("WBC").as_deref(), Some("WBC"));
        assert_eq!(code(" GLU  (s)\t").as_deref(), Some("GLU (s)"));
        assert_eq!(code("\t"), None);
    }

    #[test]
    fn a_system_is_always_an_absolute_uri() {
        for (raw, expected) in [
            ("urn:oid:1.2.3", "urn:oid:1.2.3"),
            ("http://loinc.org", "http://loinc.org"),
            ("99COMEN", "urn:bedside:system:99COMEN"),
            ("My Lab|x", "urn:bedside:system:My%20Lab%7Cx"),
            ("urn:x:a b", "urn:x:a%20b"),
            ("labor/münchen", "urn:bedside:system:labor%2Fm%C3%BCnchen"),
        ] {
            assert_eq!(system(raw).as_deref(), Some(expected));
        }
        assert_eq!(system("  "), None);
    }
}
