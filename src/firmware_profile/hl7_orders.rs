//! Orders that arrive over HL7 v2: ORM^O01, OMG^O19, OML^O21 and OML^O33 (2.5 §4.4 to §4.4.10).
//!
//! An order is found again by who placed it and the placer's number (ORC-2). What cannot be used is said in words.

use super::hl7::Here;
use super::schema::Grammar;
use super::{FirmwareProfile, LinkContext, OrderedTest, flat, hl7_person, is_loinc};
use crate::clock::Timestamp;
use crate::device::{Finding, Person};
use crate::hl7v2::{Element, Message, Segment, header, parse_time};

/// More orders than this in one message are not believed to be one.
const ORDERS_MAX: usize = 1_000;

/// What a message says of orders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arrival {
    pub orders: Vec<Placed>,
    /// Orders that cannot be used: why, without patient data.
    pub unusable: Vec<String>,
}

/// What is to become of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Measure these tests.
    Place,
    /// Measure these tests and no others that were ordered under this number.
    Replace,
    Cancel,
}

/// One order of a message.
#[derive(Clone, PartialEq, Eq)]
pub struct Placed {
    pub wish: Wish,
    /// Placer's number.
    pub number: String,
    /// Sending application and facility.
    pub sender: String,
    /// Empty for what is cancelled, where nothing names it.
    pub specimen: String,
    pub tests: Vec<OrderedTest>,
    pub urgent: bool,
    pub person: Option<Person>,
    pub kind: String,
    pub collected: Option<Timestamp>,
}

impl std::fmt::Debug for Placed {
    /// Counts only: orders hold patient data.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Placed({:?}, {} tests)", self.wish, self.tests.len())
    }
}

/// The segments of one order.
#[derive(Clone, Copy, Default)]
struct Draft<'m> {
    patient: Option<Segment<'m>>,
    common: Option<Segment<'m>>,
    detail: Option<Segment<'m>>,
    timing: Option<Segment<'m>>,
    specimen: Option<Segment<'m>>,
    container: Option<Segment<'m>>,
}

/// Whether messages of this type (MSH-9.1) carry orders.
pub fn is_order(message_type: &str) -> bool {
    matches!(message_type, "ORM" | "OMG" | "OML")
}

impl FirmwareProfile {
    /// The orders of an order message; `None` for every other message, a query for orders (ORC-1 `RF`) among them.
    pub fn arriving_orders(&self, bytes: &[u8], context: &LinkContext) -> Option<Arrival> {
        if !matches!(self.plan.grammar, Grammar::Hl7) || !is_order(&header(bytes)?.message_type) {
            return None;
        }
        self.orders_in(&Message::parse(bytes, context.charset).message?, context)
    }

    /// As [`arriving_orders`](Self::arriving_orders), of a message whose type is an order's.
    pub fn orders_in(&self, message: &Message<'_>, context: &LinkContext) -> Option<Arrival> {
        let head = message.segment("MSH", 1)?;
        let drafts = drafts(message);
        let control = |draft: &Draft<'_>| draft.common.map(|orc| orc.field(1).text().trim().to_owned());
        if drafts.iter().any(|draft| control(draft).as_deref() == Some("RF")) {
            return None;
        }
        let mut arrival = Arrival::default();
        if drafts.is_empty() {
            arrival.unusable.push("the message holds no order (ORC or OBR)".into());
        }
        if drafts.len() > ORDERS_MAX {
            arrival.unusable.push(format!("the message holds more than {ORDERS_MAX} orders"));
            return Some(arrival);
        }
        let sender = [3, 4].map(|number| head.field(number).component(1).text().trim().to_owned()).join("|");
        for (at, draft) in drafts.iter().enumerate() {
            match self.placed(message, head, draft, &sender, context) {
                Ok(Some(placed)) => arrival.take(placed, at + 1),
                Ok(None) => {}
                Err(why) => arrival.unusable.push(format!("order {}: {why}", at + 1)),
            }
        }
        Some(arrival)
    }

    fn placed<'m>(
        &self,
        message: &'m Message<'m>,
        header: Segment<'m>,
        draft: &Draft<'m>,
        sender: &str,
        context: &LinkContext,
    ) -> Result<Option<Placed>, String> {
        let text = |segment: Option<Segment<'m>>, number| {
            let part = segment.map(|segment| segment.field(number).component(1).subcomponent(1));
            part.and_then(|part| part.value())
                .map(|text| text.trim().to_owned())
                .filter(|text| !text.is_empty())
        };
        let control = text(draft.common, 1).unwrap_or_else(|| "NW".into());
        let wish = match control.as_str() {
            "NW" | "PA" | "CH" | "SN" => Wish::Place,
            "XO" | "XX" | "RO" | "RP" | "RU" => Wish::Replace,
            "CA" | "OC" | "DC" | "OD" | "CR" => Wish::Cancel,
            // Table 0119: answers to what somebody else asked.
            "OK" | "UA" | "UC" | "UD" | "UX" | "UR" | "NA" | "XR" | "DR" => return Ok(None),
            other => return Err(format!("ORC-1 says {}, which is not understood", word(other))),
        };
        let number = text(draft.common, 2).or_else(|| text(draft.detail, 2));
        let number = number.ok_or("neither ORC-2 nor OBR-2 holds the placer's number")?;
        let tests = match draft.detail.map(|obr| test(&obr.field(4))) {
            Some(Ok(test)) => vec![test],
            // A cancellation may name nothing but the number.
            None | Some(Err(_)) if wish == Wish::Cancel => Vec::new(),
            None => return Err("there is no OBR that names the test".into()),
            Some(Err(why)) => return Err(why),
        };
        let specimen = self.ordered_specimen(message, header, draft);
        if specimen.is_empty() && wish != Wish::Cancel {
            return Err("nothing names the specimen (SPM-2, SAC-3, OBR-3 or OBR-2)".into());
        }
        let mut findings: Vec<Finding> = Vec::new();
        let person = draft.patient.and_then(|pid| hl7_person::person(self, &pid, &mut findings));
        let priority =
            [(draft.timing, 9, 1), (draft.detail, 27, 6), (draft.common, 7, 6), (draft.detail, 5, 1)]
                .into_iter()
                .filter_map(|(segment, number, part)| {
                    segment.and_then(|segment| {
                        segment.field(number).component(part).value().map(|t| t.into_owned())
                    })
                })
                .next();
        let urgent = priority.is_some_and(|word| matches!(word.trim(), "S" | "STAT" | "A" | "ASAP"));
        let taken = text(draft.specimen, 17).or_else(|| text(draft.detail, 7));
        let taken = taken.and_then(|text| parse_time(&text)?.to_moment(&context.zone, &context.zone_name));
        Ok(Some(Placed {
            wish,
            number,
            sender: sender.to_owned(),
            specimen,
            tests,
            urgent,
            person,
            kind: text(draft.specimen, 4).or_else(|| text(draft.detail, 15)).unwrap_or_default(),
            collected: taken.map(|moment| Timestamp::from_micros(moment.micros, true)),
        }))
    }

    /// The barcode, where the page says, else where the message itself names a specimen or a container, and last the
    /// filler's and the placer's number, which many senders print on the tube.
    fn ordered_specimen<'m>(
        &self,
        message: &'m Message<'m>,
        header: Segment<'m>,
        draft: &Draft<'m>,
    ) -> String {
        let here = Here {
            message,
            header,
            patient: draft.patient,
            visit: None,
            common: draft.common,
            order: draft.detail,
            specimen: draft.specimen,
        };
        if let Some(own) = flat::first(&here, &self.plan.subject.specimen_id) {
            return own.trim().to_owned();
        }
        let places = [
            (draft.specimen, 2, 1),
            (draft.specimen, 2, 2),
            (draft.container, 3, 1),
            (draft.detail, 3, 1),
            (draft.common, 3, 1),
            (draft.detail, 2, 1),
            (draft.common, 2, 1),
        ];
        let texts = places.into_iter().filter_map(|(segment, number, part)| {
            let part = segment?.field(number).component(part).subcomponent(1);
            part.value().map(|text| text.trim().to_owned())
        });
        texts.into_iter().find(|text| !text.is_empty()).unwrap_or_default()
    }
}

impl Arrival {
    /// Orders under one number are one order, of one specimen.
    fn take(&mut self, placed: Placed, at: usize) {
        let known =
            self.orders.iter_mut().find(|known| known.number == placed.number && known.wish == placed.wish);
        match known {
            None => self.orders.push(placed),
            Some(known) if known.specimen != placed.specimen => {
                self.unusable.push(format!("order {at}: one placer's number stands for two specimens"));
            }
            Some(known) => {
                known.urgent |= placed.urgent;
                let new =
                    placed.tests.into_iter().filter(|test| !known.tests.iter().any(|has| has.same(test)));
                let new: Vec<_> = new.collect();
                known.tests.extend(new);
            }
        }
    }
}

/// The groups of a message. In OML^O33 the specimen stands before its orders, elsewhere behind them.
fn drafts<'m>(message: &'m Message<'m>) -> Vec<Draft<'m>> {
    let first = |name: &str| message.segments().position(|segment| segment.name() == name);
    let leads = match (first("SPM"), first("ORC").or_else(|| first("OBR"))) {
        (Some(specimen), Some(order)) => specimen < order,
        _ => false,
    };
    let mut base = Draft::default();
    let mut drafts: Vec<Draft<'m>> = Vec::new();
    for segment in message.segments() {
        let here = Some(segment);
        match segment.name() {
            "PID" => base = Draft { patient: here, ..Draft::default() },
            "SPM" if leads => (base.specimen, base.container) = (here, None),
            "SAC" if leads => base.container = here,
            "ORC" => drafts.push(Draft { common: here, ..base }),
            "OBR" => match drafts.last_mut().filter(|last| last.detail.is_none()) {
                Some(last) => last.detail = here,
                None => {
                    let before = drafts
                        .last()
                        .copied()
                        .filter(|last| last.patient.is_some() == base.patient.is_some());
                    let common = before.and_then(|last| last.common);
                    drafts.push(Draft { common, detail: here, ..base });
                }
            },
            "TQ1" | "SPM" | "SAC" => {
                let Some(last) = drafts.last_mut() else { continue };
                match segment.name() {
                    "TQ1" => last.timing = last.timing.or(here),
                    "SPM" => last.specimen = last.specimen.or(here),
                    _ => last.container = last.container.or(here),
                }
            }
            _ => {}
        }
    }
    drafts
}

/// OBR-4: code ^ text ^ system, and the same again for another code.
fn test(service: &Element<'_>) -> Result<OrderedTest, String> {
    let part =
        |number| service.component(number).value().map(|text| text.trim().to_owned()).unwrap_or_default();
    let mut test =
        OrderedTest { text: Some(part(2)).filter(|text| !text.is_empty()), ..OrderedTest::default() };
    let mut system_of_none = None;
    for first in [1, 4] {
        let (code, system) = (part(first), part(first + 2));
        if code.is_empty() {
            continue;
        }
        let local = system.is_empty() || system == "L" || system.starts_with("99");
        if system == "LN" || (system.is_empty() && is_loinc(&code)) {
            test.loinc.get_or_insert(code);
        } else if local {
            test.own.get_or_insert(code);
        } else {
            system_of_none = Some(system);
        }
    }
    match (&test.own, &test.loinc, system_of_none) {
        (None, None, Some(system)) => Err(format!(
            "OBR-4 names its test by {}: local codes and LOINC (LN) are understood",
            word(&system)
        )),
        (None, None, None) => Err("OBR-4 names no test".into()),
        _ => Ok(test),
    }
}

/// Fuzz body: any bytes may come as orders, and only a bug panics; what is neither taken nor told why is one.
pub fn fuzz(bytes: &[u8]) {
    let page = "[device]\nmanufacturer = \"F\"\nmodel = \"F\"\nverified = \"simulator\"\n[link]\ncodec = \"mllp\"\n[record]\ngrammar = \"hl7\"\n";
    let Ok(page) = FirmwareProfile::parse("fuzz/page", page) else { return };
    let received = Timestamp::from_micros(1_773_477_000_000_000, true);
    let Some(context) = LinkContext::new("fuzz", "UTC", received) else { return };
    if let Some(arrival) = page.arriving_orders(bytes, &context) {
        assert!(
            arrival.orders.iter().all(|order| !order.number.is_empty() && order.tests.len() <= ORDERS_MAX)
        );
    }
}

/// A word of a message that may stand in a sentence.
fn word(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).take(12).collect()
}

#[cfg(test)]
#[path = "hl7_orders_tests.rs"]
mod tests;
