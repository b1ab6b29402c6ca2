use std::collections::{BTreeMap, BTreeSet};

use super::super::editor::{SECTIONS, Shape};
use super::super::schema::heard;
use super::*;
use crate::firmware_profile::Library;

/// Pages that say every key there is, one for each grammar; they need not be good.
const EVERY_KEY: &[&str] = &[
    r#"[device]
caveat = [{}]
[transport]
serial = {}
tcp = { role = "x" }
udp = {}
mqtt = {}
folder = {}
[link]
codec = "lines"
[session]
on_connect = [{}]
poll = [{}]
keep_alive = [{}]
reply = [{}]
[identify]
id_kind = "x"
[record]
grammar = "key-value"
ignore = [{}]
[orders]
cancel = "A"
[value]
missing = { a = "x" }
bits = [{ from = "a" }]
[time]
[subject]
[specimen]
[place]
[[quality_control]]
[[group]]
domain = "x"
codings = [{}]
[[metric]]
match = "a"
as = "x"
class = "x"
domain = "x"
loinc = [{}]
codings = [{}]
site = {}
units = { a = {} }
values = { a = {} }
time = {}
missing = { a = "x" }
[[test]]
"#,
    "[device]\n[record]\ngrammar = \"regex\"\n",
    "[device]\n[record]\ngrammar = \"columns\"\n",
    "[device]\n[record]\ngrammar = \"csv\"\nlayout = [{ fields = { a = 1 } }]\n",
    "[device]\n[record]\ngrammar = \"bytes\"\nlayout = [{ fields = { a = \"0 u8\" } }]\n",
    "[device]\n[record]\ngrammar = \"gdt\"\n",
    "[device]\n[record]\ngrammar = \"json\"\n",
    "[device]\n[record]\ngrammar = \"hl7\"\n",
    "[device]\n[record]\ngrammar = \"hl7\"\n[[quality_control]]\nat = \"MSH-16\"\nresult = {}\n",
    "[device]\n[record]\ngrammar = \"astm\"\n[orders]\ncancel = \"A\"\n",
    "[device]\n[record]\ngrammar = \"nonin\"\n",
    "[device]\n[record]\ngrammar = \"xml\"\n",
    "[device]\n[record]\ngrammar = \"xml\"\ncode = \"a\"\nremark = [{}]\nstatuses = { a = \"x\" }\n",
    "[device]\nverified = \"x\"\n[transport.serial]\nparity = \"x\"\nflow = \"x\"\n[value]\ndecimal = \"x\"\n[record]\ngrammar = \"x\"\n",
    "[device]\nverified = \"x\"\n[transport.serial]\nparity = \"x\"\nflow = \"x\"\n[value]\ndecimal = \"x\"\n[record]\ngrammar = \"hl7\"\n",
];

/// Several tables of the parser share one definition here.
fn defined(name: &str) -> &str {
    match name {
        "the profile" => "",
        "group.codings" | "metric.codings" | "metric.site" | "metric.values" => "coding",
        other => other,
    }
}

/// Keys by section.
type Keys = BTreeMap<String, BTreeSet<String>>;

/// What the parser asked for on all these pages: keys by section, and the words it knows.
fn asked() -> (Keys, BTreeMap<(String, String), Vec<String>>) {
    let mut keys: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut words = BTreeMap::new();
    for page in EVERY_KEY {
        let heard = heard(page);
        for (section, key) in heard.keys {
            let section = defined(section.trim_matches(['[', ']'])).to_owned();
            keys.entry(section).or_default().insert(key);
        }
        for ((section, key), known) in heard.words {
            words.insert((defined(section.trim_matches(['[', ']'])).to_owned(), key), known);
        }
    }
    (keys, words)
}

#[test]
fn the_schema_lists_exactly_the_keys_the_parser_asks_for() {
    let (mut asked, _) = asked();
    // Read by the codecs, and by hand.
    asked.remove("link");
    let mut differ = Vec::new();
    for (name, keys) in SECTIONS.iter().filter(|(name, _)| *name != "metric.match") {
        let listed: BTreeSet<String> = keys.iter().map(|key| key.name.to_owned()).collect();
        let asked = asked.remove(*name).unwrap_or_default();
        differ.extend(asked.symmetric_difference(&listed).map(|key| format!("[{name}] {key}")));
    }
    assert!(differ.is_empty(), "asked or listed, not both: {differ:?}");
    assert!(asked.is_empty(), "the parser asks for sections that the schema does not list: {asked:?}");
}

#[test]
fn the_schema_lists_exactly_the_words_the_parser_knows() {
    fn words(shape: Shape) -> Option<&'static [&'static str]> {
        match shape {
            Shape::Word(words) => Some(words),
            Shape::Each(shape) => words(*shape),
            Shape::Any(shapes) => shapes.iter().copied().find_map(words),
            _ => None,
        }
    }
    let (_, mut known) = asked();
    known.remove(&("link".into(), "codec".into()));
    for (name, keys) in SECTIONS {
        for key in *keys {
            let listed = words(key.shape);
            let parser = known.remove(&((*name).to_owned(), key.name.to_owned()));
            let parser: Option<BTreeSet<String>> = parser.map(|words| words.into_iter().collect());
            let listed: Option<BTreeSet<String>> =
                listed.map(|words| words.iter().map(|w| (*w).to_owned()).collect());
            assert_eq!(parser, listed, "[{name}] {}", key.name);
        }
    }
    assert!(known.is_empty(), "{known:?}");
}

fn validator() -> jsonschema::Validator {
    jsonschema::draft202012::new(&schema()).unwrap_or_else(|error| panic!("{error}"))
}

fn as_json(page: &str) -> Json {
    let table: toml::Table = toml::from_str(page).unwrap();
    serde_json::to_value(table).unwrap()
}

#[test]
fn every_built_in_page_is_valid() {
    let validator = validator();
    let library = Library::embedded().unwrap();
    let mut errors = Vec::new();
    for id in library.ids() {
        let page = as_json(&library.page(id).unwrap());
        errors.extend(validator.iter_errors(&page).map(|e| format!("{id}: {} {e}", e.instance_path())));
    }
    assert!(errors.is_empty(), "{errors:#?}");
}

#[test]
fn what_the_parser_refuses_in_form_the_schema_refuses_too() {
    let validator = validator();
    let page = Library::embedded().unwrap().page("masimo/ascii1").unwrap().to_string();
    assert!(validator.is_valid(&as_json(&page)));
    for (from, to) in [
        ("manufacturer", "manufactorer"),
        ("verified = \"simulator\"", "verified = \"sim\""),
        ("codec = \"lines\"", "codec = \"line\""),
        ("codec = \"lines\"", "codec = \"lines\"\nmax_byte = 1"),
        ("grammar = \"", "grammer = \""),
        ("[[metric]]\n", "[[metric]]\nscale = true\n"),
        ("[[metric]]\n", "[[metric]]\nunits = { a = { ucm = \"kg\" } }\n"),
    ] {
        let broken = page.replacen(from, to, 1);
        assert_ne!(broken, page, "{from}");
        assert!(!validator.is_valid(&as_json(&broken)), "{to}");
    }
}

#[test]
fn the_settings_of_a_codec_are_its_own() {
    assert_eq!(wire::Codec::settings("message"), ["sparkplug"]);
    assert!(wire::Codec::settings("mllp").contains(&"max_message_bytes".to_owned()));
    assert!(wire::Codec::words().contains(&"astm"));
}
