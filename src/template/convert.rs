//! A text of a message as a FHIR primitive: exact, or not at all.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::line::Form;
use super::node::Node;
use crate::device::{Decimal, Offset, Precision};
use crate::firmware_profile::LinkContext;
use crate::hl7v2::parse_time;
use crate::nomenclature::{is_ucum, mdc_unit, spelled_unit};
use crate::translate::{clean, date_time};

/// A value, and whether the link's zone had to be taken for a time without one.
pub(super) struct Converted {
    pub(super) node: Node,
    pub(super) zone_assumed: bool,
}

impl From<Node> for Converted {
    fn from(node: Node) -> Self {
        Self { node, zone_assumed: false }
    }
}

/// `text` as a FHIR primitive of type `kind`; `None` when it is none.
pub(super) fn primitive(kind: &str, text: &str, link: &LinkContext) -> Option<Converted> {
    let text = text.trim();
    let node = match kind {
        "code" | "id" => Node::Text(clean::code(text)?.into_owned()),
        "uri" | "url" | "canonical" | "oid" | "uuid" => Node::Text(clean::system(text)?.into_owned()),
        "decimal" => Node::Number(text.trim_start_matches('+').parse().ok()?),
        "integer" | "positiveInt" | "unsignedInt" => Node::Number(whole(kind, text)?),
        "boolean" => Node::Truth(truth(text)?),
        "date" => Node::Text(date(text)?),
        "dateTime" | "instant" => return moment(kind, text, link),
        "time" => Node::Text(time(text)?),
        "base64Binary" => Node::Text(STANDARD.encode(text)),
        "xhtml" => Node::Text(xhtml(&clean::text(text)?)),
        _ => Node::Text(clean::text(text)?.into_owned()),
    };
    Some(node.into())
}

/// A text as the one paragraph of a narrative.
fn xhtml(text: &str) -> String {
    let mut safe = String::new();
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            _ => safe.push(letter),
        }
    }
    format!("<div xmlns=\"http://www.w3.org/1999/xhtml\"><p>{safe}</p></div>")
}

fn whole(kind: &str, text: &str) -> Option<Decimal> {
    let number: i32 = text.trim_start_matches('+').parse().ok()?;
    let least = match kind {
        "positiveInt" => 1,
        "unsignedInt" => 0,
        _ => i32::MIN,
    };
    (number >= least).then(|| Decimal::new(i128::from(number), 0))
}

fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_uppercase().as_str() {
        "Y" | "YES" | "TRUE" | "T" | "1" => Some(true),
        "N" | "NO" | "FALSE" | "F" | "0" => Some(false),
        _ => None,
    }
}

/// The calendar day as it was written, whatever the zone: a birth date does not move.
fn date(text: &str) -> Option<String> {
    let time = parse_time(text)?;
    let civil = time.civil;
    Some(match time.precision {
        Precision::Year => format!("{:04}", civil.year()),
        Precision::Month => format!("{:04}-{:02}", civil.year(), civil.month()),
        _ => format!("{:04}-{:02}-{:02}", civil.year(), civil.month(), civil.day()),
    })
}

fn moment(kind: &str, text: &str, link: &LinkContext) -> Option<Converted> {
    let moment = parse_time(text)?.to_moment(&link.zone, &link.zone_name)?;
    if kind == "instant" && moment.precision < Precision::Second {
        return None;
    }
    let zone_assumed = matches!(moment.offset, Offset::Assumed(_)) && moment.precision >= Precision::Minute;
    Some(Converted { node: Node::Text(date_time(&moment)?), zone_assumed })
}

/// `HHMM[SS[.S…]]` of TM; FHIR has no time with a zone.
fn time(text: &str) -> Option<String> {
    let digits = text.get(..text.find(['+', '-', '.']).unwrap_or(text.len()))?;
    let part = |from: usize| digits.get(from..from + 2).unwrap_or("00");
    let sized = matches!(digits.len(), 4 | 6) && digits.bytes().all(|b| b.is_ascii_digit());
    let number = |from| part(from).parse::<u8>().ok();
    let sound = sized && number(0)? < 24 && number(2)? < 60 && number(4)? < 60;
    sound.then(|| format!("{}:{}:{}", part(0), part(2), part(4)))
}

/// Forms that read several places at once; `texts` has one text for each, empty where nothing stands.
pub(super) fn formed(
    form: Form,
    texts: &[Cow<'_, str>],
    systems: impl Fn(&str) -> Option<String>,
) -> Option<String> {
    let part = |at: usize| texts.get(at).map(|text| text.trim()).filter(|text| !text.is_empty());
    match form {
        Form::Natural | Form::Text => part(0).map(str::to_owned),
        Form::Ucum => ucum(part(0)?, part(1)),
        Form::CodeSystem => code_system(part(0)?, systems),
        Form::Authority => authority(part(0), part(1), part(2), systems),
        Form::UniversalId => universal(part(0)?, part(1)),
        Form::MediaType => media_type(part(0), part(1)),
        Form::Encoded => encoded(part(0), part(1)?),
        Form::Phone => phone(part(0), part(1), part(2), part(3)),
        Form::Comparator => bounded(part(0)?).0.map(str::to_owned),
        Form::Bound => Some(bounded(part(0)?).1.to_owned()),
    }
}

/// `<5` as analysers write it where only a number may stand: the sign, alone or before a number, and what follows it.
fn bounded(text: &str) -> (Option<&'static str>, &str) {
    let sign = ["<=", ">=", "<", ">"].into_iter().find(|sign| text.starts_with(sign));
    let rest = sign.map_or(text, |sign| text.get(sign.len()..).unwrap_or_default().trim_start());
    let number =
        rest.is_empty() || rest.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'));
    if number { (sign, rest) } else { (None, text) }
}

/// A unit as UCUM code; the second text may say that it is an MDC number.
fn ucum(text: &str, system: Option<&str>) -> Option<String> {
    if system == Some("MDC") {
        return mdc_unit(text.parse().ok()?).map(|unit| unit.ucum.to_owned());
    }
    if system == Some("UCUM") && is_ucum(text) {
        return Some(text.into());
    }
    spelled_unit(text).map(str::to_owned).or_else(|| is_ucum(text).then(|| text.to_owned()))
}

/// HL7 table 0396 and the names of HL7's own tables; a private name becomes a URI of ours.
fn code_system(name: &str, systems: impl Fn(&str) -> Option<String>) -> Option<String> {
    if let Some(known) = systems(name) {
        return Some(known);
    }
    if let Some(table) =
        name.strip_prefix("HL7").filter(|t| t.len() == 4 && t.bytes().all(|b| b.is_ascii_digit()))
    {
        return Some(format!("http://terminology.hl7.org/CodeSystem/v2-{table}"));
    }
    if is_oid(name) {
        return Some(format!("urn:oid:{name}"));
    }
    clean::system(name).map(|uri| uri.into_owned())
}

fn is_oid(text: &str) -> bool {
    let mut arcs = text.split('.');
    arcs.next().is_some_and(|first| matches!(first, "0" | "1" | "2"))
        && arcs.clone().count() >= 2
        && arcs.all(|arc| {
            !arc.is_empty()
                && arc.bytes().all(|b| b.is_ascii_digit())
                && (arc == "0" || !arc.starts_with('0'))
        })
}

/// HD: the universal id where its type makes it a URI, else the namespace.
fn authority(
    namespace: Option<&str>,
    id: Option<&str>,
    kind: Option<&str>,
    systems: impl Fn(&str) -> Option<String>,
) -> Option<String> {
    if let Some(uri) = id.and_then(|id| universal(id, kind)).filter(|uri| !uri.starts_with("urn:bedside:")) {
        return Some(uri);
    }
    let name = namespace.or(id)?;
    if let Some(known) = systems(name) {
        return Some(known);
    }
    if is_oid(name) {
        return Some(format!("urn:oid:{name}"));
    }
    clean::system(&format!("urn:bedside:authority:{name}")).map(|uri| uri.into_owned())
}

fn universal(id: &str, kind: Option<&str>) -> Option<String> {
    match kind.map(str::to_ascii_uppercase).as_deref() {
        Some("ISO") if is_oid(id) => Some(format!("urn:oid:{id}")),
        Some("UUID" | "GUID") if uuid::Uuid::try_parse(id).is_ok() => {
            Some(format!("urn:uuid:{}", id.to_ascii_lowercase()))
        }
        Some("URI") => clean::system(id).map(|uri| uri.into_owned()),
        None if is_oid(id) => Some(format!("urn:oid:{id}")),
        _ => clean::system(&format!("urn:bedside:authority:{id}")).map(|uri| uri.into_owned()),
    }
}

/// ED-2 and ED-3 (tables 0191, 0291), e.g. `application` and `pdf`; `TEXT`, `IM` and `AP` are older words.
fn media_type(kind: Option<&str>, sub: Option<&str>) -> Option<String> {
    let lower = |text: &str| text.to_ascii_lowercase();
    if let Some(whole) = [kind, sub].into_iter().flatten().find(|text| text.contains('/')) {
        return Some(lower(whole));
    }
    let sub = lower(sub?);
    let known = match sub.as_str() {
        "pdf" | "rtf" | "xml" | "json" | "msword" | "octet-stream" => Some("application"),
        "jpeg" | "jpg" | "png" | "gif" | "tiff" | "bmp" => Some("image"),
        "html" | "plain" | "sgml" => Some("text"),
        _ => None,
    };
    let main = match kind.map(lower).as_deref() {
        Some(main @ ("application" | "image" | "text" | "audio" | "video" | "multipart")) => main.to_owned(),
        Some("ap" | "application data") => "application".into(),
        Some("im") => "image".into(),
        Some("au") => "audio".into(),
        Some("ft" | "tx") => "text".into(),
        _ => known?.to_owned(),
    };
    let sub = if sub == "jpg" { "jpeg".into() } else { sub };
    Some(format!("{main}/{sub}"))
}

/// ED-5 as ED-4 says it is encoded: `Base64`, `Hex`, or `A` (none).
fn encoded(how: Option<&str>, text: &str) -> Option<String> {
    match how.map(str::to_ascii_lowercase).as_deref() {
        Some("base64") => {
            let joined: String = text.chars().filter(|c| !c.is_whitespace()).collect();
            STANDARD.decode(&joined).ok().map(|_| joined)
        }
        Some("hex") => {
            let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
            let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).ok();
            digits.chunks(2).map(byte).collect::<Option<Vec<u8>>>().map(|bytes| STANDARD.encode(bytes))
        }
        _ => Some(STANDARD.encode(text)),
    }
}

/// XTN-5 to XTN-8: country, area, local number, extension.
fn phone(
    country: Option<&str>,
    area: Option<&str>,
    local: Option<&str>,
    extension: Option<&str>,
) -> Option<String> {
    let local = local?;
    let mut text = String::new();
    if let Some(country) = country {
        text.push_str(&format!("+{} ", country.trim_start_matches('+')));
    }
    if let Some(area) = area {
        text.push_str(&format!("{area} "));
    }
    text.push_str(local);
    if let Some(extension) = extension {
        text.push_str(&format!(" x{}", extension.trim_start_matches('x')));
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    fn link() -> LinkContext {
        LinkContext::new("t", "Europe/Berlin", Timestamp::from_micros(0, true)).unwrap()
    }

    fn written(kind: &str, text: &str) -> Option<String> {
        primitive(kind, text, &link()).map(|made| serde_json::to_string(&made.node).unwrap())
    }

    #[test]
    fn a_primitive_is_exact_or_not_there() {
        for (kind, text, json) in [
            ("decimal", "+7.50", "7.50"),
            ("positiveInt", "3", "3"),
            ("boolean", "Y", "true"),
            ("date", "19710228", "\"1971-02-28\""),
            ("date", "197102281030+0200", "\"1971-02-28\""),
            ("date", "1971", "\"1971\""),
            ("dateTime", "202603010815", "\"2026-03-01T08:15:00+01:00\""),
            ("dateTime", "20260701081559.25-0500", "\"2026-07-01T08:15:59.250-05:00\""),
            ("dateTime", "20260701", "\"2026-07-01\""),
            ("time", "0815", "\"08:15:00\""),
            ("code", " a  b ", "\"a b\""),
            ("base64Binary", "text", "\"dGV4dA==\""),
            ("string", "say \"hi\"", "\"say \\\"hi\\\"\""),
            (
                "xhtml",
                "a<b & c",
                "\"<div xmlns=\\\"http://www.w3.org/1999/xhtml\\\"><p>a&lt;b &amp; c</p></div>\"",
            ),
        ] {
            assert_eq!(written(kind, text).as_deref(), Some(json), "{kind} {text}");
        }
        for (kind, text) in [
            ("decimal", "1,5"),
            ("decimal", "NaN"),
            ("positiveInt", "0"),
            ("boolean", "U"),
            ("date", "19710230"),
            ("instant", "2026"),
            ("time", "2561"),
            ("string", " "),
        ] {
            assert_eq!(written(kind, text), None, "{kind} {text}");
        }
        assert!(primitive("dateTime", "202603010815", &link()).unwrap().zone_assumed);
        assert!(!primitive("dateTime", "20260301", &link()).unwrap().zone_assumed);
    }

    #[test]
    fn several_parts_become_one_text() {
        let none = |_: &str| None;
        let form = |form, texts: &[&str]| {
            formed(form, &texts.iter().map(|text| Cow::Borrowed(*text)).collect::<Vec<_>>(), none)
        };
        assert_eq!(form(Form::Authority, &["X", "1.2.3", "ISO"]).as_deref(), Some("urn:oid:1.2.3"));
        assert_eq!(
            form(Form::Authority, &["My Lab", "x", "L"]).as_deref(),
            Some("urn:bedside:authority:My%20Lab")
        );
        assert_eq!(form(Form::Authority, &["", "", ""]), None);
        assert_eq!(
            form(Form::CodeSystem, &["HL70005"]).as_deref(),
            Some("http://terminology.hl7.org/CodeSystem/v2-0005")
        );
        assert_eq!(form(Form::Ucum, &["264320", "MDC"]).as_deref(), mdc_unit(264_320).map(|unit| unit.ucum));
        assert_eq!(form(Form::Ucum, &["furlongs"]), None);
        assert_eq!(form(Form::MediaType, &["application", "PDF"]).as_deref(), Some("application/pdf"));
        assert_eq!(form(Form::MediaType, &["", "jpg"]).as_deref(), Some("image/jpeg"));
        assert_eq!(form(Form::Encoded, &["Hex", "4142"]).as_deref(), Some("QUI="));
        assert_eq!(form(Form::Encoded, &["Base64", "%%"]), None);
        assert_eq!(form(Form::Phone, &["1", "555", "1234567", "9"]).as_deref(), Some("+1 555 1234567 x9"));
        assert_eq!(form(Form::Comparator, &["~"]), None);
        assert_eq!(form(Form::Comparator, &["<="]).as_deref(), Some("<="));
        assert_eq!(form(Form::Comparator, &["< 0.05"]).as_deref(), Some("<"));
        assert_eq!(form(Form::Bound, &["< 0.05"]).as_deref(), Some("0.05"));
        assert_eq!(form(Form::Bound, &["-4"]).as_deref(), Some("-4"));
        assert_eq!(form(Form::Comparator, &["<see note"]), None);
    }
}
