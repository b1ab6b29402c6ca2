//! What an analyser asks over HL7 v2, and the messages that answer it.
//!
//! - `QRY^Q02` → `QCK^Q02`, then `DSR^Q03` whose DSP rows the makers number as Mindray's host interface does: 1 patient,
//!   3 name, 4 birth, 5 sex, 21 barcode, 23 time, 24 stat, 26 kind, 29 and on the tests (2.3.1 §2.16, published drivers).
//! - `ORM^O01` with ORC-1 `RF` → `ORR^O02` with PID, ORC and OBR (2.3.1 §4.2.2).
//! - `QBP^Q11` → `RSP^K11`, then `OML^O33` (IHE PaLM TF-2, LAB-27 and LAB-28).

use super::astm_orders::{Order, OrderRules, Query};
use super::schema::Grammar;
use super::{FirmwareProfile, LinkContext};
use crate::clock::Timestamp;
use crate::hl7v2::{self, Charset, Message, Separators, header};

/// More specimens than this in one query are not answered.
const SPECIMENS_MAX: usize = 100;

/// The answer to a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Stands in for the acknowledgement of the query, where frames are acknowledged by messages.
    pub acknowledgement: Option<Vec<u8>>,
    /// What follows; empty when nothing does.
    pub message: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// QRY^Q02
    Display,
    /// ORM^O01, ORC-1 = RF
    Refill,
    /// QBP^Q11
    WorkStep,
}

/// What the answer repeats of the query.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Asked {
    kind: Kind,
    separators: Separators,
    charset: Charset,
    /// MSH-3 to MSH-6, MSH-10, MSH-11, MSH-12, MSH-18 as written.
    header: [String; 8],
    /// QRD and QRF, or QPD, as written.
    echoed: Vec<String>,
    /// QPD-1 and QPD-2 as written.
    named: [String; 2],
}

/// What a message asks; `None` for one that is no query for orders.
pub(super) fn query(profile: &FirmwareProfile, bytes: &[u8], context: &LinkContext) -> Option<Query> {
    let head = header(bytes)?;
    if !matches!(&*head.message_type, "QRY" | "ORM" | "QBP") || !starts_narrow(bytes) {
        return None;
    }
    let message = Message::parse(bytes, context.charset).message?;
    let field = |name: &str, number| message.segment(name, 1).map(|segment| segment.field(number));
    let (kind, codes) = match (&*head.message_type, &*head.trigger) {
        ("QRY", "Q02") => (Kind::Display, field("QRD", 8)?),
        ("QBP", "Q11") => (Kind::WorkStep, field("QPD", 3)?),
        ("ORM", _) => {
            let mut refills = message.segments().filter(|segment| segment.name() == "ORC");
            let refill = refills.find(|orc| orc.field(1).text().trim() == "RF")?;
            let filler = refill.field(3);
            (Kind::Refill, if filler.is_empty() { refill.field(2) } else { filler })
        }
        _ => return None,
    };
    let raw = |name, number| field(name, number).map(|field| field.raw().to_owned()).unwrap_or_default();
    let echoed = message.segments().filter(|segment| matches!(segment.name(), "QRD" | "QRF" | "QPD"));
    let asked = Asked {
        kind,
        separators: message.separators(),
        charset: message.charset(),
        header: [3, 4, 5, 6, 10, 11, 12, 18].map(|number| raw("MSH", number)),
        echoed: echoed.map(|segment| segment.raw().to_owned()).collect(),
        named: [1, 2].map(|number| raw("QPD", number)),
    };
    let mut query = Query::of_hl7(asked);
    for code in codes.repetitions().take(SPECIMENS_MAX) {
        let id = code.component(1).text().trim().to_owned();
        if id.is_empty() {
            continue;
        }
        if profile.plan.subject.specimen_unreadable.contains(&id) {
            query.unreadable += 1;
        } else if !query.specimens.contains(&id) {
            query.specimens.push(id);
        }
    }
    // Only one specimen fits into these answers: a query for everything is told that there is nothing.
    if query.specimens.is_empty() && query.unreadable == 0 {
        query.unreadable = 1;
    }
    Some(query)
}

/// Answers in UTF-16 are not written.
fn starts_narrow(bytes: &[u8]) -> bool {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    bytes.windows(3).take(64).any(|three| three == b"MSH")
}

impl FirmwareProfile {
    /// What answers `query` with `orders`, in the device's own form; with none it says that there is none. `None` when
    /// the page answers no queries or there is nothing to say.
    pub fn answer(&self, query: &Query, orders: &[Order], context: &LinkContext) -> Option<Answered> {
        let Some(asked) = &query.hl7 else {
            let message = self.encode_orders(query, orders, context)?;
            return Some(Answered { acknowledgement: None, message });
        };
        let rules = self.plan.orders.as_ref().filter(|_| matches!(self.plan.grammar, Grammar::Hl7))?;
        let order = orders.iter().find(|order| !order.tests.is_empty() && !order.specimen.is_empty());
        let writer = Writer { asked, context, rules };
        let (acknowledgement, message) = match asked.kind {
            Kind::Display => (writer.qck(order.is_some()), order.map(|order| writer.dsr(order))),
            Kind::Refill => (writer.orr(order), None),
            Kind::WorkStep => (writer.rsp(order.is_some()), order.map(|order| writer.oml(order))),
        };
        let written = |text: String| asked.charset.encode_lossy(&text);
        Some(Answered {
            acknowledgement: Some(written(acknowledgement)),
            message: message.map(written).unwrap_or_default(),
        })
    }
}

struct Writer<'w> {
    asked: &'w Asked,
    context: &'w LinkContext,
    rules: &'w OrderRules,
}

impl Writer<'_> {
    fn signs(&self) -> hl7v2::Writer {
        hl7v2::Writer::new(self.asked.separators)
    }

    /// A text of usual separators, with the query's own. Parts that came from elsewhere are escaped already.
    fn own(&self, text: &str) -> String {
        self.signs().own(text)
    }

    fn segment(&self, fields: &[String]) -> String {
        self.signs().segment(fields)
    }

    fn escaped(&self, text: &str) -> String {
        self.signs().line(text)
    }

    fn time(&self, at: Timestamp) -> String {
        let instant = jiff::Timestamp::from_microsecond(at.micros).ok();
        let local = instant.map(|instant| instant.to_zoned(self.context.zone.clone()));
        local.map(|local| local.strftime("%Y%m%d%H%M%S").to_string()).unwrap_or_default()
    }

    /// `part` tells the messages of one answer apart.
    fn msh(&self, kind: &str, part: char) -> String {
        let [app, facility, to, to_facility, _, processing, version, charset] = self.asked.header.clone();
        let encoding = self.signs().encoding();
        let id = format!("{:X}{part}", self.context.received.micros);
        let now = self.time(self.context.received);
        let none = String::new;
        let mut fields =
            vec!["MSH".into(), encoding, to, to_facility, app, facility, now, none(), self.own(kind), id];
        fields.extend([processing, version, none(), none(), none(), none(), none(), charset]);
        self.segment(&fields)
    }

    fn msa(&self, code: &str, text: &str) -> String {
        let id = self.asked.header.get(4).cloned().unwrap_or_default();
        self.segment(&["MSA".into(), code.into(), id, text.into()])
    }

    fn rows(&self, rows: &[&str]) -> String {
        rows.iter().map(|row| self.own(row) + "\r").collect()
    }

    fn qck(&self, found: bool) -> String {
        let status = if found { "QAK|SR|OK" } else { "QAK|SR|NF" };
        self.msh("QCK^Q02", 'A') + &self.msa("AA", "Message accepted") + &self.rows(&["ERR|0", status])
    }

    fn dsr(&self, order: &Order) -> String {
        let person = order.person.as_ref();
        let text = |text: Option<&str>| text.map(|text| self.escaped(text)).unwrap_or_default();
        let birth = person.and_then(|p| p.birth_date.as_deref()).map(|date| date.replace('-', ""));
        let birth = birth.filter(|date| date.len() == 8).map(|date| date + "000000");
        let taken = order.collected.or(order.ordered).map(|at| self.time(at));
        let mut values = vec![
            (1, text(person.and_then(|p| p.identifiers.first()).map(|id| &*id.value))),
            (3, text(person.map(name).as_deref())),
            (4, birth.unwrap_or_default()),
            (5, person.map(|p| sex(p.gender.as_deref()).to_owned()).unwrap_or_default()),
            (21, self.escaped(&order.specimen)),
            (23, taken.unwrap_or_default()),
            (24, if order.urgent { "Y" } else { "N" }.to_owned()),
            (26, self.escaped(&order.specimen_kind)),
        ];
        let tests = order.tests.iter().map(|test| self.escaped(test) + &self.own("^^^"));
        values.extend((29..).zip(tests));
        let last = values.last().map_or(28, |(number, _)| *number);
        let value = |number| values.iter().find(|(at, _)| *at == number).map(|(_, value)| value.clone());
        let mut message = self.msh("DSR^Q03", 'B') + &self.msa("AA", "Message accepted");
        message += &self.rows(&["ERR|0", "QAK|SR|OK"]);
        self.asked.echoed.iter().for_each(|segment| message += &format!("{segment}\r"));
        for number in 1..=last {
            let value = value(number).unwrap_or_default();
            message += &self.own(&format!("DSP|{number}||"));
            message += &value;
            message += &self.own("|||\r");
        }
        message + &self.rows(&["DSC||"])
    }

    fn pid(&self, order: &Order) -> String {
        let Some(person) = &order.person else { return String::new() };
        let text = |text: Option<&str>| text.map(|text| self.escaped(text)).unwrap_or_default();
        let id = text(person.identifiers.first().map(|id| &*id.value));
        let id = if id.is_empty() { id } else { id + &self.own("^^^^MR") };
        let given = text(person.given.first().map(|name| &**name));
        let name = [text(person.family.as_deref()), given].join(&self.own("^"));
        let name = if name.chars().count() > 1 { name } else { String::new() };
        let birth = person.birth_date.as_deref().map(|date| date.replace('-', "")).unwrap_or_default();
        let none = String::new;
        let sex = sex(person.gender.as_deref()).to_owned();
        self.segment(&["PID".into(), "1".into(), none(), id, none(), name, none(), birth, sex])
    }

    fn orr(&self, order: Option<&Order>) -> String {
        let Some(order) = order else {
            return self.msh("ORR^O02", 'A') + &self.msa("AR", "");
        };
        let specimen = self.escaped(&order.specimen);
        let mut message = self.msh("ORR^O02", 'A') + &self.msa("AA", "") + &self.pid(order);
        message += &self.segment(&["PV1".into(), "1".into()]);
        message += &self.segment(&["ORC".into(), "AF".into(), specimen.clone()]);
        let taken = order.collected.map(|at| self.time(at)).unwrap_or_default();
        let none = String::new;
        let obr = |number: usize, service: String| {
            let place =
                [number.to_string(), specimen.clone(), none(), service, none(), none(), taken.clone()];
            self.segment(&[vec!["OBR".into()], place.to_vec()].concat())
        };
        let (Some(service), Some(row)) = (&self.rules.service, &self.rules.row) else {
            let tests = order.tests.iter().enumerate();
            return message + &tests.map(|(at, test)| obr(at + 1, self.escaped(test))).collect::<String>();
        };
        message += &obr(1, self.own(service));
        for (at, test) in order.tests.iter().enumerate() {
            let (number, row, test) = ((at + 1).to_string(), self.own(row), self.escaped(test));
            let status = std::iter::repeat_n(String::new(), 5).chain([String::from("F")]);
            let fields = vec!["OBX".into(), number, "IS".into(), row, none(), test];
            message += &self.segment(&fields.into_iter().chain(status).collect::<Vec<_>>());
        }
        message
    }

    fn rsp(&self, found: bool) -> String {
        let [name, tag] = self.asked.named.clone();
        let status = if found { "OK" } else { "NF" };
        let mut message = self.msh("RSP^K11^RSP_K11", 'A') + &self.msa("AA", "");
        message += &self.segment(&["QAK".into(), tag, status.into(), name]);
        self.asked.echoed.iter().for_each(|segment| message += &format!("{segment}\r"));
        message
    }

    fn oml(&self, order: &Order) -> String {
        let specimen = self.escaped(&order.specimen);
        let kind = self.escaped(&order.specimen_kind);
        let none = String::new;
        let mut message = self.msh("OML^O33^OML_O33", 'B') + &self.pid(order);
        let collected = order.collected.map(|at| self.time(at)).unwrap_or_default();
        let spm = ["SPM".into(), "1".into(), specimen.clone(), none(), kind];
        let spm = spm.into_iter().chain(std::iter::repeat_n(none(), 12)).chain([collected]);
        message += &self.segment(&spm.collect::<Vec<_>>());
        message += &self.segment(&["SAC".into(), none(), none(), specimen.clone()]);
        let priority = if order.urgent { "S" } else { "R" };
        for (at, test) in order.tests.iter().enumerate() {
            let number = format!("{specimen}-{}", at + 1);
            message += &self.segment(&["ORC".into(), "NW".into(), number.clone()]);
            let timing = std::iter::repeat_n(none(), 8);
            let timing = ["TQ1".into()].into_iter().chain(timing).chain([priority.to_owned()]);
            message += &self.segment(&timing.collect::<Vec<_>>());
            message += &self.segment(&["OBR".into(), none(), number, none(), self.escaped(test)]);
        }
        message
    }
}

fn name(person: &crate::device::Person) -> String {
    let given = person.given.iter().map(|name| &**name);
    person.family.as_deref().into_iter().chain(given).collect::<Vec<_>>().join(" ")
}

/// HL7 table 0001.
fn sex(gender: Option<&str>) -> &'static str {
    match gender {
        Some("male") => "M",
        Some("female") => "F",
        Some(_) => "O",
        None => "",
    }
}

#[cfg(test)]
#[path = "hl7_query_tests.rs"]
mod tests;
