//! Host query of LIS02-A2 §11: what an analyser asks, and the message of orders that answers it.
//!
//! Pure: bytes in, bytes out. A page without `[orders]` answers nothing. How the records are written is the page's
//! own, as templates in the usual delimiters; the analyser gets them in its own.

use std::collections::HashMap;

use super::astm::{self, Delimiters, Record};
use super::locate::{AstmPath, GrammarKind, Locator};
use super::schema::Grammar;
use super::section::{At, Section};
use super::sections;
use super::text::to_text;
use super::{FirmwareProfile, LinkContext, hl7_query};
use crate::clock::Timestamp;
use crate::device::Person;

/// More specimens than this in one query are not answered.
const SPECIMENS_MAX: usize = 500;

/// What an analyser asks.
#[derive(Clone, PartialEq, Eq)]
pub struct Query {
    /// Specimens by code, in the order asked. Empty with `all`.
    pub specimens: Vec<String>,
    /// Tests by the analyser's code; empty when it asks for whatever there is.
    pub tests: Vec<String>,
    /// It asks for the whole worklist.
    pub all: bool,
    /// Specimens whose barcode it could not read: nothing can be said about them.
    pub unreadable: usize,
    /// It takes back an earlier query (Q-13 = A): there is nothing to answer.
    pub cancelled: bool,
    asked: Asked,
    /// Of a query in HL7 v2.
    pub(super) hl7: Option<hl7_query::Asked>,
}

impl Query {
    pub(super) fn of_hl7(asked: hl7_query::Asked) -> Self {
        let none =
            Asked { delimiters: astm::USUAL, header: Vec::new(), specimens: Vec::new(), single_bytes: false };
        Self {
            specimens: Vec::new(),
            tests: Vec::new(),
            all: false,
            unreadable: 0,
            cancelled: false,
            asked: none,
            hl7: Some(asked),
        }
    }
}

impl std::fmt::Debug for Query {
    /// Counts only: a specimen's code is patient data.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Query({} specimens, {} tests, all: {})", self.specimens.len(), self.tests.len(), self.all)
    }
}

/// What the answer repeats of the query.
#[derive(Clone, PartialEq, Eq)]
struct Asked {
    delimiters: Delimiters,
    header: Vec<String>,
    /// Specimen, fields of its Q record, and which repetition of a repeated field is its own.
    specimens: Vec<(String, Vec<String>, usize)>,
    /// The query was no UTF-8, so the answer is not either.
    single_bytes: bool,
}

/// One specimen and what is to be measured in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Order {
    pub specimen: String,
    /// Kind of specimen in the analyser's own word; empty for its usual one.
    pub specimen_kind: String,
    /// Tests by the analyser's code.
    pub tests: Vec<String>,
    pub urgent: bool,
    pub person: Option<Person>,
    pub ordered: Option<Timestamp>,
    pub collected: Option<Timestamp>,
}

/// `[orders]`.
#[derive(Clone, Debug)]
pub(crate) struct OrderRules {
    /// Where a query names the specimen.
    from: Vec<AstmPath>,
    /// Words of Q-13 that take a query back.
    cancel: Vec<String>,
    header: Template,
    patient: Template,
    order: Template,
    /// One test within `{tests}`.
    test: Template,
    /// Every test in an O record of its own.
    single: bool,
    end: Template,
    /// After the header, when there is no order for what was asked.
    nothing: Vec<Template>,
    routine: String,
    urgent: String,
    /// Codes that are ordered by another one: local, LOINC or the result's own → the analyser's.
    codes: HashMap<String, String>,
    /// ORR^O02: the service of OBR-4 and the code of the rows that name the tests; without them every test has an OBR.
    pub(super) service: Option<String>,
    pub(super) row: Option<String>,
}

#[derive(Clone, Debug)]
struct Template(Vec<Piece>);

#[derive(Clone, Debug)]
enum Piece {
    /// Text in the usual delimiters.
    Text(String),
    Slot(Slot),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    Number,
    Specimen,
    Kind,
    Tests,
    Test,
    Priority,
    Patient,
    Family,
    Given,
    Birth,
    Sex,
    Ordered,
    Collected,
    Now,
    /// A field of the query's own H or Q record.
    Echo(AstmPath),
}

const SLOTS: &[(&str, Slot)] = &[
    ("n", Slot::Number),
    ("specimen", Slot::Specimen),
    ("kind", Slot::Kind),
    ("tests", Slot::Tests),
    ("test", Slot::Test),
    ("priority", Slot::Priority),
    ("patient", Slot::Patient),
    ("family", Slot::Family),
    ("given", Slot::Given),
    ("birth", Slot::Birth),
    ("sex", Slot::Sex),
    ("ordered", Slot::Ordered),
    ("collected", Slot::Collected),
    ("now", Slot::Now),
];

/// What LIS02-A2 §6 to §12 give where the page says nothing else.
const HEADER: &str = r"H|\^&|||Bedside|||||{H-5.1}||P|LIS2-A2|{now}";
const PATIENT: &str = r"P|{n}||{patient}||{family}^{given}||{birth}|{sex}";
const ORDER: &str = r"O|{n}|{specimen}||{tests}|{priority}|{ordered}|{collected}||||A||||{kind}||||||||||Q";
const TEST: &str = r"^^^{test}";
const END: &str = r"L|{n}|F";
const NOTHING: &str = r"L|{n}|I";

/// Reads `[orders]`.
pub(super) fn read(section: Section<'_>) -> OrderRules {
    let template = |key, usual: &str| {
        let text = section.text(key);
        let span = section.span_of(key);
        let text = text.unwrap_or_else(|| At { value: usual.to_owned(), span });
        parse_template(&section, &text)
    };
    let nothing = section.texts("nothing");
    let nothing = if nothing.is_empty() {
        vec![parse_template(&section, &At { value: NOTHING.to_owned(), span: section.span_of("nothing") })]
    } else {
        nothing.iter().map(|text| parse_template(&section, text)).collect()
    };
    let from = sections::locators(&section, "from", GrammarKind::Astm).into_iter();
    let from = from.filter_map(|at| match at {
        Locator::Astm(path) if path.record == b'Q' => Some(path),
        _ => {
            section.fault(section.span_of("from"), "a query names its specimen in a Q field such as Q-3.2");
            None
        }
    });
    let cancel = if section.has("cancel") {
        section.texts("cancel").into_iter().map(|at| at.value).collect()
    } else {
        vec!["A".to_owned()]
    };
    let word = |key, usual: &str| section.text(key).map_or_else(|| usual.to_owned(), |at| at.value);
    let rules = OrderRules {
        from: from.collect(),
        cancel,
        header: template("header", HEADER),
        patient: template("patient", PATIENT),
        order: template("order", ORDER),
        test: template("test", TEST),
        single: section.boolean("one_test_per_record").unwrap_or(false),
        end: template("end", END),
        nothing,
        routine: word("routine", "R"),
        urgent: word("urgent", "S"),
        codes: codes(&section),
        service: section.text("service").map(|at| at.value),
        row: section.text("row").map(|at| at.value),
    };
    section.finish();
    rules
}

/// `[orders.codes]`.
fn codes(section: &Section<'_>) -> HashMap<String, String> {
    let mut codes = HashMap::new();
    for (code, value) in section.entries("codes") {
        match value.get_ref().as_str() {
            Some(own) if !own.is_empty() => drop(codes.insert(code.value, own.to_owned())),
            _ => section.fault(value.span(), "the analyser's code for a test is a text"),
        }
    }
    codes
}

impl OrderRules {
    /// By which code `code` is ordered, when the page's table says.
    pub(super) fn code(&self, code: &str) -> Option<&str> {
        self.codes.get(code).map(String::as_str)
    }
}

fn parse_template(section: &Section<'_>, text: &At<String>) -> Template {
    let mut pieces = Vec::new();
    let mut rest = text.value.as_str();
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}') else {
            section.fault(text.span.clone(), "a place in a record ends with }");
            return Template(pieces);
        };
        pieces.push(Piece::Text(before.to_owned()));
        match slot(name) {
            Some(slot) => pieces.push(Piece::Slot(slot)),
            None => {
                let names: Vec<_> = SLOTS.iter().map(|(name, _)| *name).collect();
                let known = names.join(", ");
                section.fault(
                    text.span.clone(),
                    format!("{{{name}}} is none of {known}, nor a field of the query such as {{Q-3.4}}"),
                );
            }
        }
        rest = after;
    }
    pieces.push(Piece::Text(rest.to_owned()));
    Template(pieces)
}

fn slot(name: &str) -> Option<Slot> {
    if let Some((_, slot)) = SLOTS.iter().find(|(known, _)| *known == name) {
        return Some(*slot);
    }
    match Locator::parse(name, GrammarKind::Astm) {
        Ok(Locator::Astm(path)) if matches!(path.record, b'H' | b'Q') => Some(Slot::Echo(path)),
        _ => None,
    }
}

impl FirmwareProfile {
    /// Whether the page says how this device's queries are answered.
    pub fn answers_queries(&self) -> bool {
        self.plan.orders.is_some()
    }

    /// What the device asks by this frame; `None` for a frame that is no query.
    pub fn query(&self, bytes: &[u8], context: &LinkContext) -> Option<Query> {
        if matches!(self.plan.grammar, Grammar::Hl7) {
            return hl7_query::query(self, bytes, context);
        }
        if !matches!(self.plan.grammar, Grammar::Astm(_)) {
            return None;
        }
        let text = to_text(bytes, context);
        let records = astm::records(&text, &mut Vec::new());
        let queries: Vec<_> = records.iter().filter(|record| record.kind == 'Q').collect();
        let first = queries.first()?;
        let header = records.iter().find(|record| record.kind == 'H');
        let mut query = Query {
            specimens: Vec::new(),
            tests: Vec::new(),
            all: false,
            unreadable: 0,
            cancelled: true,
            asked: Asked {
                delimiters: first.delimiters,
                header: header.map(owned).unwrap_or_default(),
                specimens: Vec::new(),
                single_bytes: std::str::from_utf8(bytes).is_err(),
            },
            hl7: None,
        };
        for record in queries {
            let taken_back = self.cancels(record.field(13));
            query.cancelled &= taken_back;
            if !taken_back {
                self.ask(record, &mut query);
            }
        }
        query.all = !query.cancelled && query.specimens.is_empty() && query.unreadable == 0;
        Some(query)
    }

    fn cancels(&self, status: &str) -> bool {
        match &self.plan.orders {
            Some(rules) => rules.cancel.iter().any(|word| word == status),
            None => status == "A",
        }
    }

    /// One Q record: its specimens (Q-3, repeated) and tests (Q-5).
    fn ask(&self, record: &Record<'_>, query: &mut Query) {
        let usual = [2, 1].map(|part| AstmPath { record: b'Q', field: 3, component: Some(part) });
        let places = self.plan.orders.as_ref().map(|rules| rules.from.as_slice());
        let places = places.filter(|places| !places.is_empty()).unwrap_or(&usual);
        let repeats = record.field(3).split(record.delimiters.repeat).count();
        for repetition in 0..repeats.min(SPECIMENS_MAX) {
            let id = places.iter().map(|path| part(record, path, repetition)).find(|id| !id.is_empty());
            // The parts of a repetition without components are ids of their own (`A`B` of one tube).
            let Some(id) = id else { continue };
            let id = record.unescaped(id).into_owned();
            if id.eq_ignore_ascii_case("ALL") {
                continue;
            }
            if self.plan.subject.specimen_unreadable.contains(&id) {
                query.unreadable += 1;
            } else if query.specimens.len() < SPECIMENS_MAX && !query.specimens.contains(&id) {
                query.asked.specimens.push((id.clone(), owned(record), repetition));
                query.specimens.push(id);
            }
        }
        for test in record.field(5).split(record.delimiters.repeat) {
            let mut parts = test.split(record.delimiters.component).map(str::trim);
            let code = parts.rfind(|part| !part.is_empty()).unwrap_or_default();
            if !code.is_empty() && code != "ALL" && !query.tests.iter().any(|known| known == code) {
                query.tests.push(record.unescaped(code).into_owned());
            }
        }
    }

    /// The message that answers `query` with `orders`, in the analyser's own delimiters; with no order it says
    /// that there is none (§12.1.3, `I`). `None` when the page answers no queries or there is nothing to say.
    pub fn encode_orders(&self, query: &Query, orders: &[Order], context: &LinkContext) -> Option<Vec<u8>> {
        let rules = self.plan.orders.as_ref()?;
        if query.cancelled || query.hl7.is_some() {
            return None;
        }
        let writer = Writer { rules, query, context };
        let none = Order::default();
        let mut message = writer.record(&rules.header, 1, &none, &[]);
        let orders: Vec<_> =
            orders.iter().filter(|order| !order.tests.is_empty() && !order.specimen.is_empty()).collect();
        let mut patients = 0;
        let mut before: Option<&Order> = None;
        let mut number = 0;
        for order in &orders {
            let same = before.is_some_and(|before| before.person.is_some() && before.person == order.person);
            if !same {
                patients += 1;
                number = 0;
                message.push_str(&writer.record(&rules.patient, patients, order, &[]));
            }
            before = Some(order);
            let size = if rules.single { 1 } else { order.tests.len() };
            for tests in order.tests.chunks(size.max(1)) {
                number += 1;
                message.push_str(&writer.record(&rules.order, number, order, tests));
            }
        }
        let end = if orders.is_empty() { rules.nothing.as_slice() } else { std::slice::from_ref(&rules.end) };
        for template in end {
            message.push_str(&writer.record(template, 1, &none, &[]));
        }
        Some(if query.asked.single_bytes {
            encoding_rs::WINDOWS_1252.encode(&message).0.into_owned()
        } else {
            message.into_bytes()
        })
    }
}

fn owned(record: &Record<'_>) -> Vec<String> {
    record.fields.iter().map(|field| (*field).to_owned()).collect()
}

/// A part of a field, in the repetition asked for where the field repeats.
fn part<'t>(record: &Record<'t>, path: &AstmPath, repetition: usize) -> &'t str {
    of_field(record.field(path.field), path, repetition, record.delimiters)
}

fn of_field<'t>(field: &'t str, path: &AstmPath, repetition: usize, delimiters: Delimiters) -> &'t str {
    let mut repeats = field.split(delimiters.repeat);
    let own = if field.contains(delimiters.repeat) { repeats.nth(repetition) } else { Some(field) };
    let own = own.unwrap_or_default();
    let own = match path.component {
        Some(component) => {
            own.split(delimiters.component).nth(component.saturating_sub(1)).unwrap_or_default()
        }
        None => own,
    };
    own.trim()
}

struct Writer<'w> {
    rules: &'w OrderRules,
    query: &'w Query,
    context: &'w LinkContext,
}

impl Writer<'_> {
    fn record(&self, template: &Template, number: usize, order: &Order, tests: &[String]) -> String {
        let mut text = self.filled(template, number, order, tests);
        text.push('\r');
        text
    }

    fn filled(&self, template: &Template, number: usize, order: &Order, tests: &[String]) -> String {
        let mut text = String::new();
        for piece in &template.0 {
            match piece {
                Piece::Text(own) => text.extend(own.chars().map(|sign| self.own_sign(sign))),
                Piece::Slot(slot) => text.push_str(&self.slot(*slot, number, order, tests)),
            }
        }
        text
    }

    /// The analyser's sign for one of the usual signs (§5.4).
    const fn own_sign(&self, sign: char) -> char {
        let own = self.query.asked.delimiters;
        match sign {
            '|' => own.field,
            '\\' => own.repeat,
            '^' => own.component,
            '&' => own.escape,
            other => other,
        }
    }

    fn slot(&self, slot: Slot, number: usize, order: &Order, tests: &[String]) -> String {
        let person = order.person.as_ref();
        let own = |text: Option<&str>| self.escaped(text.unwrap_or_default());
        let time = |at: Option<Timestamp>| at.map(|at| self.time(at)).unwrap_or_default();
        match slot {
            Slot::Number => number.to_string(),
            Slot::Specimen => own(Some(&order.specimen)),
            Slot::Kind => own(Some(&order.specimen_kind)),
            Slot::Test => own(tests.first().map(String::as_str)),
            Slot::Tests => {
                let one =
                    |test: &String| self.filled(&self.rules.test, number, order, std::slice::from_ref(test));
                let sign = self.query.asked.delimiters.repeat.to_string();
                tests.iter().map(one).collect::<Vec<_>>().join(&sign)
            }
            Slot::Priority => own(Some(if order.urgent { &self.rules.urgent } else { &self.rules.routine })),
            Slot::Patient => own(person.and_then(|p| p.identifiers.first()).map(|id| &*id.value)),
            Slot::Family => own(person.and_then(|p| p.family.as_deref())),
            Slot::Given => own(person.and_then(|p| p.given.first()).map(|name| &**name)),
            Slot::Birth => own(person.and_then(|p| p.birth_date.as_deref())).replace('-', ""),
            Slot::Sex => match person.and_then(|p| p.gender.as_deref()) {
                Some("male") => "M".to_owned(),
                Some("female") => "F".to_owned(),
                Some(_) => "U".to_owned(),
                None => String::new(),
            },
            Slot::Ordered => time(order.ordered),
            Slot::Collected => time(order.collected),
            Slot::Now => self.time(self.context.received),
            Slot::Echo(path) => self.echo(&path, order),
        }
    }

    /// A part of the query as the analyser wrote it, so its signs stay as they are.
    fn echo(&self, path: &AstmPath, order: &Order) -> String {
        let asked = &self.query.asked;
        let (fields, repetition) = if path.record == b'H' {
            (Some(&asked.header), 0)
        } else {
            let own = asked.specimens.iter().find(|(id, ..)| *id == order.specimen);
            let own = own.or_else(|| asked.specimens.first().filter(|_| order.specimen.is_empty()));
            (own.map(|(_, fields, _)| fields), own.map_or(0, |(.., repetition)| *repetition))
        };
        let field = fields.and_then(|fields| fields.get(path.field.saturating_sub(1)));
        let field = field.map(String::as_str).unwrap_or_default().trim();
        of_field(field, path, repetition, asked.delimiters).to_owned()
    }

    fn time(&self, at: Timestamp) -> String {
        let instant = jiff::Timestamp::from_microsecond(at.micros).ok();
        let local = instant.map(|instant| instant.to_zoned(self.context.zone.clone()));
        local.map(|local| local.strftime("%Y%m%d%H%M%S").to_string()).unwrap_or_default()
    }

    /// A text in which no sign ends a field and no control character ends a frame.
    fn escaped(&self, text: &str) -> String {
        let own = self.query.asked.delimiters;
        let mut escaped = String::with_capacity(text.len());
        for sign in text.trim().chars().filter(|sign| !sign.is_control()) {
            let letter = match sign {
                _ if sign == own.field => 'F',
                _ if sign == own.component => 'S',
                _ if sign == own.repeat => 'R',
                _ if sign == own.escape => 'E',
                other => {
                    escaped.push(other);
                    continue;
                }
            };
            escaped.extend([own.escape, letter, own.escape]);
        }
        escaped
    }
}

#[cfg(test)]
#[path = "astm_orders_tests.rs"]
mod tests;
