//! Reads the sections of a profile page other than metrics and groups.

use jiff::tz::TimeZone;
use regex::Regex;
use serde::Deserialize;
use std::sync::Arc;
use toml::Spanned;
use toml::de::DeValue;

use super::astm::AstmGrammar;
use super::astm_orders::{self, OrderRules};
use super::fault::did_you_mean;
use super::json::JsonGrammar;
use super::layout::Layout;
use super::locate::{GrammarKind, Locator};
use super::metric::mdc_coding;
use super::native::Native;
use super::schema::{
    Caveat, ControlRule, Grammar, IdKind, Identify, IgnoreRule, Mqtt, Serial, Subject, Tcp, TestCase,
    Transport, Udp, Verified,
};
use super::section::{At, Section};
use super::text::{Joined, Shape, TextGrammar};
use super::time::{TimeFormat, TimeRules};
use super::value::{BitField, DecimalSign, Effect, INTERPRETATIONS, STATUS_WORDS, ValueRules};
use super::{section_files, section_xml};
use crate::device::{AbsentReason, Coding};
use crate::wire;

/// A regular expression that needs more memory than this is refused.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// `[device]`.
pub(super) struct About {
    pub(super) manufacturer: Arc<str>,
    pub(super) model: Arc<str>,
    pub(super) firmware: Option<Arc<str>>,
    pub(super) kind: Option<Coding>,
    pub(super) point_of_care: bool,
    pub(super) verified: Verified,
    pub(super) caveats: Vec<Caveat>,
}

pub(super) fn about(section: Section<'_>) -> Option<About> {
    const WORDS: &[(&str, Verified)] = &[
        ("document", Verified::Document),
        ("simulator", Verified::Simulator),
        ("bench", Verified::Bench),
        ("clinic", Verified::Clinic),
    ];
    let manufacturer = section.required("manufacturer");
    let model = section.required("model");
    let verified = section.required("verified").and_then(|text| section.chosen("verified", &text, WORDS));
    let kind = section.integer("mdc_type", 1..=u64::from(u32::MAX));
    let kind = kind.and_then(|at| u32::try_from(at.value).ok()).map(mdc_coding);
    let firmware = section.text("firmware").map(|at| at.value.into());
    let point_of_care = section.boolean("point_of_care").unwrap_or(false);
    let caveats = section.sections("caveat").into_iter().filter_map(caveat).collect();
    section.finish();
    Some(About {
        manufacturer: manufacturer?.value.into(),
        model: model?.value.into(),
        firmware,
        kind,
        point_of_care,
        verified: verified?,
        caveats,
    })
}

/// A caveat nobody can look up is a rumour: both keys are needed.
fn caveat(section: Section<'_>) -> Option<Caveat> {
    let (text, source) = (section.required("text"), section.required("source"));
    section.finish();
    Some(Caveat { text: text?.value, source: source?.value })
}

pub(super) fn transport(root: &Section<'_>) -> Transport {
    let Some(section) = root.section("transport") else { return Transport::default() };
    let transport = Transport {
        serial: section.section("serial").map(serial),
        tcp: section.section("tcp").and_then(tcp),
        udp: section.section("udp").map(udp),
        mqtt: section.section("mqtt").map(mqtt),
        folder: section.section("folder").map(section_files::folder),
    };
    section.finish();
    transport
}

fn serial(section: Section<'_>) -> Serial {
    const PARITY: &[(&str, &str)] = &[("none", "none"), ("even", "even"), ("odd", "odd")];
    const FLOW: &[(&str, &str)] = &[("none", "none"), ("hardware", "hardware"), ("software", "software")];
    let baud = section.integers("baud", 300..=4_000_000);
    let small = |key, allowed, default| {
        section.integer(key, allowed).and_then(|at| u8::try_from(at.value).ok()).unwrap_or(default)
    };
    let serial = Serial {
        baud: if baud.is_empty() {
            vec![9600]
        } else {
            baud.iter().filter_map(|at| u32::try_from(at.value).ok()).collect()
        },
        data_bits: small("data_bits", 7..=8, 8),
        parity: section.choice("parity", PARITY).unwrap_or("none"),
        stop_bits: small("stop_bits", 1..=2, 1),
        flow: section.choice("flow", FLOW).unwrap_or("none"),
        dtr: section.boolean("dtr"),
        rts: section.boolean("rts"),
        quiet_timeout_s: section
            .integer("quiet_timeout_s", 1..=86_400)
            .and_then(|at| u32::try_from(at.value).ok()),
    };
    section.finish();
    serial
}

fn tcp(section: Section<'_>) -> Option<Tcp> {
    let role = section.required("role");
    let listen = role.and_then(|role| section.chosen("role", &role, &[("listen", true), ("connect", false)]));
    let port = section.integer("port", 1..=65_535).and_then(|at| u16::try_from(at.value).ok());
    section.finish();
    Some(Tcp { listen: listen?, port: port? })
}

fn udp(section: Section<'_>) -> Udp {
    let port = section.integer("port", 1..=65_535).and_then(|at| u16::try_from(at.value).ok());
    section.finish();
    Udp { port: port.unwrap_or(24_105) }
}

fn mqtt(section: Section<'_>) -> Mqtt {
    let topics = section.texts("topics");
    if topics.is_empty() {
        section.fault(section.span.clone(), "[transport.mqtt] needs `topics`");
    }
    let qos = section.integer("qos", 0..=2).and_then(|at| u8::try_from(at.value).ok()).unwrap_or(1);
    section.finish();
    Mqtt { topics: topics.into_iter().map(|at| at.value).collect(), qos }
}

/// `[link]`, read by `wire`: its settings are known there.
pub(super) fn codec(root: &Section<'_>) -> Option<wire::Codec> {
    let Some(value) = root.any("link") else {
        root.fault(0..0, "the profile needs a [link] with its codec, such as codec = \"lines\"");
        return None;
    };
    let Some(section) = root.of_value("link", value) else {
        root.fault(value.span(), "`link` must be a table");
        return None;
    };
    let codec = section.required("codec")?;
    section.chosen("codec", &codec, wire::CODECS)?;
    match wire::Codec::deserialize(plain(value.get_ref())) {
        Ok(codec) => Some(codec),
        Err(error) => {
            link_fault(&section, value, error.message());
            None
        }
    }
}

/// Points at the setting that the codec's own words name.
fn link_fault(section: &Section<'_>, value: &Spanned<DeValue<'_>>, message: &str) {
    let words: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let table = value.get_ref().as_table();
    let named = words.first().and_then(|word| table?.iter().find(|(key, _)| &**key.get_ref() == *word));
    let hint = words.split_first().and_then(|(word, known)| did_you_mean(word, known.iter().copied()));
    let hint = hint.map_or_else(String::new, |word| format!("; did you mean `{word}`?"));
    let span = named.map_or_else(|| value.span(), |(key, _)| key.span());
    section.fault(span, format!("[link]: {message}{hint}"));
}

fn plain(value: &DeValue<'_>) -> toml::Value {
    match value {
        DeValue::String(text) => toml::Value::String(text.to_string()),
        DeValue::Integer(integer) => {
            toml::Value::Integer(i64::from_str_radix(integer.as_str(), integer.radix()).unwrap_or(i64::MAX))
        }
        // No codec has a setting with a fraction; as a text it is refused by name.
        DeValue::Float(float) => toml::Value::String(float.as_str().to_owned()),
        DeValue::Boolean(truth) => toml::Value::Boolean(*truth),
        DeValue::Datetime(time) => toml::Value::Datetime(*time),
        DeValue::Array(list) => toml::Value::Array(list.iter().map(|one| plain(one.get_ref())).collect()),
        DeValue::Table(table) => toml::Value::Table(
            table.iter().map(|(key, value)| (key.get_ref().to_string(), plain(value.get_ref()))).collect(),
        ),
    }
}

pub(super) fn test_case(section: Section<'_>) -> Option<TestCase> {
    let capture = section.required("capture");
    let case = TestCase {
        capture: capture.map(|at| at.value).unwrap_or_default(),
        topic: section.text("topic").map(|at| at.value),
        replay: section.boolean("replay").unwrap_or(false),
        note: section.text("note").map(|at| at.value),
    };
    section.finish();
    (!case.capture.is_empty()).then_some(case)
}

pub(super) fn grammar_kind(section: &Section<'_>) -> Option<GrammarKind> {
    const WORDS: &[(&str, GrammarKind)] = &[
        ("key-value", GrammarKind::KeyValue),
        ("regex", GrammarKind::Regex),
        ("columns", GrammarKind::Columns),
        ("csv", GrammarKind::Csv),
        ("bytes", GrammarKind::Bytes),
        ("astm", GrammarKind::Astm),
        ("hl7", GrammarKind::Hl7),
        ("json", GrammarKind::Json),
        ("xml", GrammarKind::Xml),
        ("gdt", GrammarKind::Gdt),
        ("intellivue", GrammarKind::Native),
        ("medibus", GrammarKind::Native),
        ("nonin", GrammarKind::Native),
        ("dri", GrammarKind::Native),
        ("ieee11073-20601", GrammarKind::Native),
        ("sparkplug", GrammarKind::Native),
    ];
    let text = section.required("grammar")?;
    let kind = section.chosen("grammar", &text, WORDS)?;
    Some(if kind == GrammarKind::Xml && section.has("code") { GrammarKind::XmlCoded } else { kind })
}

const NATIVE: &[(&str, Native)] = &[
    ("intellivue", Native::Intellivue),
    ("medibus", Native::Medibus),
    ("nonin", Native::Nonin),
    ("dri", Native::Dri),
    ("ieee11073-20601", Native::Ieee11073),
    ("sparkplug", Native::Sparkplug),
];

/// The rest of `[record]`.
pub(super) fn grammar(section: Section<'_>, kind: GrammarKind) -> Option<Grammar> {
    let grammar = match kind {
        GrammarKind::KeyValue => {
            let assign = section.text("assign").map_or_else(|| "=".into(), |at| at.value.into());
            let separator = section.text("separator").map(|at| at.value.into());
            let key_width =
                section.integer("key_width", 1..=64).and_then(|at| usize::try_from(at.value).ok());
            Some(text_grammar(&section, Shape::KeyValue { assign, separator, key_width }))
        }
        GrammarKind::Regex => {
            let patterns: Vec<Regex> =
                section.texts("pattern").iter().filter_map(|text| regex(&section, "pattern", text)).collect();
            if !section.has("pattern") {
                section.fault(section.span.clone(), "the regex grammar needs `pattern`");
            }
            Some(text_grammar(&section, Shape::Regex(patterns)))
        }
        GrammarKind::Columns => columns(&section).map(|shape| text_grammar(&section, shape)),
        GrammarKind::Csv => {
            let csv = section_files::csv(&section, kind);
            Some(text_grammar(&section, Shape::Csv(csv)))
        }
        GrammarKind::Bytes => Some(Grammar::Bytes(layouts(&section, false, true))),
        GrammarKind::Json => Some(Grammar::Json(JsonGrammar {
            items: locators(&section, "items", kind),
            all_items: section.boolean("all_items").unwrap_or(false),
            code: section.text("code").and_then(|at| locator(&section, &at, kind)),
            value: section.text("value").and_then(|at| locator(&section, &at, kind)),
            unlisted: locators(&section, "unlisted", kind),
        })),
        GrammarKind::Gdt => Some(Grammar::Gdt(section_files::gdt(&section))),
        GrammarKind::Xml | GrammarKind::XmlCoded => Some(Grammar::Xml(section_xml::grammar(&section, kind))),
        GrammarKind::Hl7 => Some(Grammar::Hl7),
        GrammarKind::Native => section.choice("grammar", NATIVE).map(Grammar::Native),
        GrammarKind::Astm => Some(Grammar::Astm(AstmGrammar {
            test: joined_locators(&section, "test", kind),
            test_cut: section.text("test_cut").map(|at| at.value.into()),
            value: locators(&section, "value", kind),
            taken: locators(&section, "taken", kind).into_iter().filter_map(Locator::astm).collect(),
            flag_separator: section.text("flag_separator").map(|at| at.value.into()),
        })),
    };
    section.finish();
    grammar
}

pub(super) fn layouts(section: &Section<'_>, numbered: bool, needed: bool) -> Vec<Layout> {
    let layouts: Vec<Layout> =
        section.sections("layout").into_iter().filter_map(|one| Layout::read(one, numbered)).collect();
    if needed && !section.has("layout") {
        section.fault(
            section.span.clone(),
            "the grammar needs a [[record.layout]] that says which field is which",
        );
    }
    layouts
}

fn text_grammar(section: &Section<'_>, shape: Shape) -> Grammar {
    let accept = pattern(section, "accept");
    let context =
        section.texts("context").iter().filter_map(|text| regex(section, "context", text)).collect();
    let begins = pattern(section, "begins");
    let joined = match section.any("joined").map(|value| (value.get_ref(), value.span())) {
        None => Joined::Lines,
        Some((DeValue::Boolean(false), _)) => Joined::Lines,
        Some((DeValue::Boolean(true), _)) => Joined::Frame(begins),
        Some((DeValue::String(name), _)) => Joined::By((&**name).into()),
        Some((_, span)) => {
            section.fault(span, "`joined` is true, or the name of what the lines of one record share");
            Joined::Lines
        }
    };
    let whole = section.boolean("whole").unwrap_or(false);
    let line_end = section.text("line_end").map(|at| at.value.into());
    let charset = section_files::charset(section);
    Grammar::Text(TextGrammar { shape, accept, whole, context, line_end, joined, charset })
}

fn columns(section: &Section<'_>) -> Option<Shape> {
    let names: Vec<Arc<str>> = section.texts("columns").into_iter().map(|at| at.value.into()).collect();
    if names.is_empty() {
        section.fault(section.span.clone(), "the columns grammar needs `columns`, their names in order");
    }
    let widths = section.integers("widths", 1..=1000);
    let separator = section.text("separator").map(|at| at.value);
    if !widths.is_empty() && widths.len() != names.len() {
        section.fault(section.span_of("widths"), "`widths` must name as many columns as `columns`");
    }
    if widths.is_empty() == separator.is_none() {
        section.fault(section.span.clone(), "the columns grammar needs either `separator` or `widths`");
        return None;
    }
    Some(Shape::Columns {
        names,
        separator: separator.map(Into::into),
        widths: widths.iter().filter_map(|at| usize::try_from(at.value).ok()).collect(),
    })
}

pub(super) fn ignore_rules(record: &Section<'_>, kind: GrammarKind) -> Vec<IgnoreRule> {
    record.sections("ignore").into_iter().filter_map(|section| ignore_rule(section, kind)).collect()
}

fn ignore_rule(section: Section<'_>, kind: GrammarKind) -> Option<IgnoreRule> {
    let at = section.text("at").and_then(|text| locator(&section, &text, kind));
    let equals: Vec<String> = section.texts("equals").into_iter().map(|at| at.value).collect();
    let matches = pattern(&section, "matches");
    let reason = section.required("reason");
    let absent = section.boolean("absent").unwrap_or(false);
    if absent && (at.is_none() || !equals.is_empty()) {
        section.fault(section.span_of("absent"), "`absent` needs `at`, and no `equals`");
    }
    if at.is_none() && matches.is_none() {
        section.fault(section.span.clone(), "[record.ignore] needs `matches`, or `at` with `equals`");
    }
    section.finish();
    Some(IgnoreRule { at: at.map(|at| (at, equals)), absent, matches, reason: reason?.value })
}

/// `[[quality_control]]`: where it stands that a result is of a control.
pub(super) fn quality_control(root: &Section<'_>, kind: GrammarKind) -> Vec<ControlRule> {
    let rule = |section: Section<'_>| {
        let at = section.required("at").and_then(|text| locator(&section, &text, kind));
        let equals = section.texts("equals").into_iter().map(|at| at.value).collect();
        let matches = pattern(&section, "matches");
        let result =
            section.section("result").and_then(|section| section_files::control_result(section, kind));
        section.finish();
        Some(ControlRule { at: at?, equals, matches, result })
    };
    root.sections("quality_control").into_iter().filter_map(rule).collect()
}

/// `[orders]`: how the queries of an analyser are answered.
pub(super) fn orders(root: &Section<'_>, kind: GrammarKind) -> Option<OrderRules> {
    let section = root.section("orders")?;
    if !matches!(kind, GrammarKind::Astm | GrammarKind::Hl7) {
        section.fault(
            section.span.clone(),
            "[orders] is for devices that speak LIS02 or HL7 (grammar \"astm\" or \"hl7\")",
        );
    }
    Some(astm_orders::read(section))
}

pub(super) fn identify(section: Section<'_>, kind: GrammarKind) -> (Option<Regex>, Identify) {
    const WORDS: &[(&str, IdKind)] =
        &[("local", IdKind::Local), ("eui-64", IdKind::Eui64), ("bluetooth-mac", IdKind::BluetoothMac)];
    let fits = pattern(&section, "fits");
    let identify = Identify {
        manufacturer: locators(&section, "manufacturer", kind),
        model: locators(&section, "model", kind),
        serial: locators(&section, "serial", kind),
        firmware: locators(&section, "firmware", kind),
        id: locators(&section, "id", kind),
        id_kind: section.choice("id_kind", WORDS).unwrap_or_default(),
    };
    section.finish();
    (fits, identify)
}

pub(super) fn subject(root: &Section<'_>, kind: GrammarKind) -> Subject {
    let mut subject = Subject::default();
    if let Some(section) = root.section("subject") {
        subject.id = locators(&section, "id", kind);
        subject.system = section.text("system").map(|at| at.value.into());
        subject.kind = section.text("kind").map(|at| at.value.into());
        subject.family = locators(&section, "family", kind);
        subject.given = locators(&section, "given", kind);
        subject.birth_date = locators(&section, "birth_date", kind);
        subject.gender = locators(&section, "gender", kind);
        subject.unknown = section.texts("unknown").into_iter().map(|at| at.value).collect();
        section.finish();
    }
    if let Some(section) = root.section("specimen") {
        subject.specimen_id = locators(&section, "id", kind);
        subject.specimen_kind = locators(&section, "kind", kind);
        subject.specimen_unreadable = section.texts("unreadable").into_iter().map(|at| at.value).collect();
        section.finish();
    }
    if let Some(section) = root.section("place") {
        subject.place = ["point_of_care", "room", "bed", "facility"].map(|key| locators(&section, key, kind));
        section.finish();
    }
    subject
}

pub(super) fn time_rules(section: Section<'_>, kind: GrammarKind) -> TimeRules {
    let formats = section.texts("formats");
    let zone = section.text("zone").and_then(|name| match TimeZone::get(&name.value) {
        Ok(zone) => Some((zone, Arc::from(name.value))),
        Err(_) => {
            section.fault(
                name.span,
                "`zone` must be an IANA zone such as Asia/Kolkata; leave it out for the link's",
            );
            None
        }
    });
    let rules = TimeRules {
        from: joined_locators(&section, "from", kind),
        formats: formats
            .into_iter()
            .filter_map(|format| {
                let read = TimeFormat::parse(&format.value);
                read.map_err(|error| section.fault(format.span, error)).ok()
            })
            .collect(),
        zone,
        max_skew_s: section.integer("max_skew_s", 1..=10_000_000).and_then(|at| i64::try_from(at.value).ok()),
    };
    if !rules.from.is_empty() && !section.has("formats") {
        section.fault(section.span.clone(), format!("{} needs `formats` for its `from`", section.name));
    }
    section.finish();
    rules
}

pub(super) fn value_rules(section: Section<'_>, kind: GrammarKind) -> ValueRules {
    const DECIMAL: &[(&str, DecimalSign)] =
        &[("point", DecimalSign::Point), ("comma", DecimalSign::Comma), ("either", DecimalSign::Either)];
    let rules = ValueRules {
        missing: missing(&section),
        decimal: section.choice("decimal", DECIMAL).unwrap_or_default(),
        unit_in_value: section.boolean("unit_in_value").unwrap_or(false),
        flags: effects(&section, "flags"),
        bit_fields: section.sections("bits").into_iter().filter_map(|bits| bit_field(bits, kind)).collect(),
    };
    section.finish();
    rules
}

/// A list of tokens, or a table token → reason.
pub(super) fn missing(section: &Section<'_>) -> Vec<(String, AbsentReason)> {
    const REASONS: &[(&str, AbsentReason)] = &[
        ("unknown", AbsentReason::Unknown),
        ("temp-unknown", AbsentReason::TempUnknown),
        ("not-performed", AbsentReason::NotPerformed),
        ("error", AbsentReason::Error),
        ("not-applicable", AbsentReason::NotApplicable),
        ("unsupported", AbsentReason::Unsupported),
        ("asked-unknown", AbsentReason::AskedUnknown),
    ];
    if section.any("missing").is_some_and(|value| !value.get_ref().is_table()) {
        let tokens = section.texts("missing");
        return tokens.into_iter().map(|at| (at.value, AbsentReason::Unknown)).collect();
    }
    let entries = section.entries("missing").into_iter();
    entries
        .filter_map(|(token, value)| {
            let reason = word(section, "missing", value)?;
            Some((token.value, section.chosen("missing", &reason, REASONS)?))
        })
        .collect()
}

pub(super) fn word(section: &Section<'_>, key: &str, value: &Spanned<DeValue<'_>>) -> Option<At<String>> {
    let text = value.get_ref().as_str().map(|text| At { value: text.to_owned(), span: value.span() });
    if text.is_none() {
        section.fault(value.span(), format!("each entry of `{key}` must be a text in quotes"));
    }
    text
}

fn effects(section: &Section<'_>, key: &'static str) -> Vec<(String, Effect)> {
    let entries = section.entries(key).into_iter();
    entries
        .filter_map(|(token, value)| {
            let meaning = word(section, key, value)?;
            Some((token.value, effect(section, &meaning)?))
        })
        .collect()
}

fn effect(section: &Section<'_>, text: &At<String>) -> Option<Effect> {
    if text.value == "nothing" {
        return Some(Effect::Nothing);
    }
    if INTERPRETATIONS.contains(&text.value.as_str()) {
        return Some(Effect::Interpretation(text.value.as_str().into()));
    }
    let status = STATUS_WORDS.iter().find(|(word, _)| *word == text.value);
    if status.is_none() {
        let words: Vec<&str> = STATUS_WORDS.iter().map(|(word, _)| *word).collect();
        let hint = did_you_mean(&text.value, words.iter().copied())
            .map_or_else(String::new, |word| format!("; did you mean `{word}`?"));
        let message = format!(
            "a flag means a code of HL7 table 0078 such as H, L or A, or one of nothing, {}{hint}",
            words.join(", ")
        );
        section.fault(text.span.clone(), message);
    }
    status.map(|(_, word)| Effect::Status(*word))
}

fn bit_field(section: Section<'_>, kind: GrammarKind) -> Option<BitField> {
    let from = section.required("from").and_then(|text| locator(&section, &text, kind));
    let radix = section.integer("base", 2..=16).and_then(|at| u32::try_from(at.value).ok()).unwrap_or(16);
    let mut bits = Vec::new();
    for (bit, value) in section.entries("bits") {
        let number = bit.value.parse::<u8>().ok().filter(|bit| *bit < 64);
        if number.is_none() {
            section.fault(bit.span, "the keys of `bits` are bit numbers from 0 to 63");
        }
        let effect = word(&section, "bits", value).and_then(|text| effect(&section, &text));
        bits.extend(number.zip(effect));
    }
    let only = section.texts("only").into_iter().map(|at| at.value).collect();
    section.finish();
    Some(BitField { from: from?, radix, bits, only })
}

pub(super) fn locator(section: &Section<'_>, text: &At<String>, kind: GrammarKind) -> Option<Locator> {
    Locator::parse(&text.value, kind).map_err(|error| section.fault(text.span.clone(), error)).ok()
}

pub(super) fn locators(section: &Section<'_>, key: &'static str, kind: GrammarKind) -> Vec<Locator> {
    section.texts(key).iter().filter_map(|text| locator(section, text, kind)).collect()
}

/// Alternatives, each of one place or of several with blanks between: `["./scan_time", "/date /time"]`.
fn joined_locators(section: &Section<'_>, key: &'static str, kind: GrammarKind) -> Vec<Vec<Locator>> {
    let parts = |text: &At<String>| {
        let part =
            |part: &str| locator(section, &At { value: part.to_owned(), span: text.span.clone() }, kind);
        match kind {
            // Columns have blanks in their names.
            GrammarKind::Csv => text.value.split(" + ").map(part).collect::<Option<Vec<_>>>(),
            _ => text.value.split_whitespace().map(part).collect(),
        }
    };
    section.texts(key).iter().filter_map(parts).filter(|parts| !parts.is_empty()).collect()
}

pub(super) fn pattern(section: &Section<'_>, key: &'static str) -> Option<Regex> {
    let text = section.text(key)?;
    regex(section, key, &text)
}

pub(super) fn regex(section: &Section<'_>, key: &str, text: &At<String>) -> Option<Regex> {
    let built = regex::RegexBuilder::new(&text.value).size_limit(REGEX_BYTES_MAX).build();
    match built {
        Ok(regex) => Some(regex),
        Err(error) => {
            // The last line of the regex error says what; the lines before draw it for a terminal.
            let what = error.to_string();
            let what = what.lines().last().unwrap_or_default().trim_start_matches("error: ");
            section.fault(text.span.clone(), format!("`{key}` is not a regular expression: {what}"));
            None
        }
    }
}
