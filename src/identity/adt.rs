//! ADT messages (HL7 2.5 chapter 3, IHE ITI-30 and ITI-31) → [`Fact`]s.
//!
//! The event is MSH-9.2: EVN-1 is often left as it was in a template. A bed is believed of an admission, a transfer and,
//! where the visit is open, of an update; never of a plan (A05, A14 to A16) nor of tracking (A09, A10), which by the
//! standard leave the bed as it is.

use jiff::tz::TimeZone;

use super::{Fact, Issuers, Movement, Place, Said, Step, Told, Visit, rank};
use crate::clock::Timestamp;
use crate::device::{Identifier, Precision};
use crate::firmware_profile::{authority, birth_date, gender, is_filler};
use crate::hl7v2::{Element, Message, Segment, parse_time};

/// Persons of one message.
const GROUPS_MAX: usize = 200;
/// Identifiers read of one person.
const NUMBERS_MAX: usize = 50;
/// How far a sender's clock may run ahead before its times are not believed.
const AHEAD_MICROS: i64 = 5 * 60 * 1_000_000;

/// What a message does not say and its link knows.
#[derive(Clone, Copy)]
pub struct Context<'c> {
    /// For times without an offset.
    pub zone: &'c TimeZone,
    pub zone_name: &'c str,
    pub received: Timestamp,
    pub issuers: &'c Issuers,
}

/// What an ADT message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adt {
    /// MSH-9.2 or EVN-1, e.g. `A01`.
    pub event: String,
    /// When it was said, microseconds since 1970: EVN-2, else MSH-7, else its receipt.
    pub told: i64,
    pub facts: Vec<Fact>,
    /// What it was, in a word for people: `admitted`.
    pub done: &'static str,
    /// What could not be used of it, without patient data.
    pub left_out: Vec<String>,
}

impl Adt {
    /// From when on what it says may change whose something is, in microseconds since 1970; `None`: it changes nothing. A
    /// merge has no beginning.
    pub fn earliest(&self) -> Option<i64> {
        let of = |fact: &Fact| match fact {
            Fact::Moved(_, movement) => movement.at,
            Fact::Swapped { at, .. } => *at,
            Fact::Person(_) => self.told,
            Fact::VisitSeen { places, .. } => {
                places.iter().map(|(_, since, _)| *since).min().unwrap_or(self.told)
            }
            Fact::Merged { .. } | Fact::Renumbered { .. } | Fact::VisitMoved { .. } | Fact::Removed(_) => 0,
        };
        self.facts.iter().map(of).min()
    }
}

/// What an event is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum About {
    Person,
    Step(Step),
    /// An update, which may state a bed.
    Update,
    Merge,
    Renumber,
    Visit,
    Swap,
    Remove,
    Nothing,
}

/// Reads an ADT message.
///
/// # Errors
/// A sentence without patient data: why a person must look.
pub fn read(message: &Message<'_>, context: &Context<'_>) -> Result<Adt, String> {
    let event = event(message);
    let (about, done) = meaning(&event);
    let reader = Reader { context, message, told: told(message, context) };
    let mut left_out = Vec::new();
    let facts = match about {
        About::Nothing => Vec::new(),
        About::Swap => reader.swap()?,
        About::Merge | About::Renumber => reader.merges(about)?,
        _ => {
            let pid = message.segment("PID", 1).ok_or("the message has no PID")?;
            reader.one(pid, about)?
        }
    };
    if message.segments().filter(|segment| segment.name() == "PID").count() > facts.len().max(1)
        && about != About::Nothing
    {
        left_out.push("only the first patient of the message was read".into());
    }
    Ok(Adt { event, told: reader.told, facts, done, left_out })
}

/// MSH-9.2, what stands behind `ADT_`, or EVN-1.
fn event(message: &Message<'_>) -> String {
    let part = |name: &str, field: u16, component: u16| {
        let text = message
            .segment(name, 1)
            .map(|segment| segment.field(field).component(component).text().trim().to_owned());
        text.filter(|text| !text.is_empty())
    };
    let glued = part("MSH", 9, 1).and_then(|kind| kind.split_once('_').map(|(_, event)| event.to_owned()));
    let event = part("MSH", 9, 2).or(glued).or_else(|| part("EVN", 1, 1)).unwrap_or_default();
    event.chars().filter(char::is_ascii_alphanumeric).take(8).collect::<String>().to_uppercase()
}

/// HL7 table 0003.
fn meaning(event: &str) -> (About, &'static str) {
    match event {
        "A01" => (About::Step(Step::Arrived), "admitted"),
        "A02" => (About::Step(Step::Moved), "transferred"),
        "A03" => (About::Step(Step::Left), "discharged"),
        "A04" => (About::Step(Step::Arrived), "registered"),
        "A05" | "A14" | "A15" | "A16" | "A25" | "A26" | "A27" | "A38" => {
            (About::Person, "a plan: no bed is taken")
        }
        "A06" | "A07" => (About::Step(Step::Moved), "class changed"),
        "A08" => (About::Update, "updated"),
        "A09" | "A10" | "A32" | "A33" => (About::Person, "tracking: the bed stays"),
        "A11" => (About::Step(Step::NeverArrived), "admission cancelled"),
        "A12" => (About::Step(Step::NeverMoved), "transfer cancelled"),
        "A13" => (About::Step(Step::NeverLeft), "discharge cancelled"),
        "A17" => (About::Swap, "beds changed"),
        "A18" | "A30" | "A34" | "A36" | "A39" | "A40" => (About::Merge, "merged"),
        "A46" | "A47" => (About::Renumber, "number changed"),
        "A35" | "A41" | "A42" | "A44" | "A45" | "A49" | "A50" => (About::Visit, "visit moved"),
        "A20" => (About::Nothing, "a bed's status: nothing of a patient"),
        "A24" | "A37" => (About::Nothing, "a link between patients, which is no merge"),
        "A21" => (About::Step(Step::Away), "on leave"),
        "A22" => (About::Step(Step::Back), "back from leave"),
        "A23" => (About::Step(Step::NeverVisited), "visit deleted"),
        "A29" => (About::Remove, "deleted at the source"),
        "A52" => (About::Step(Step::NeverAway), "leave cancelled"),
        "A53" => (About::Step(Step::NeverBack), "return cancelled"),
        _ => (About::Person, "known"),
    }
}

/// A time of at least minutes, in microseconds since 1970.
fn instant(element: &Element<'_>, context: &Context<'_>) -> Option<i64> {
    let time = parse_time(&element.component(1).value()?)?;
    let moment = time.to_moment(context.zone, context.zone_name)?;
    (moment.precision >= Precision::Minute).then_some(moment.micros)
}

fn told(message: &Message<'_>, context: &Context<'_>) -> i64 {
    let said = |name: &str, field: u16| instant(&message.segment(name, 1)?.field(field), context);
    let received = context.received;
    let told = said("EVN", 2).or_else(|| said("MSH", 7)).unwrap_or(received.micros);
    // What was said tomorrow would outlive all that is said today.
    let ahead = received.synchronised && told > received.micros.saturating_add(AHEAD_MICROS);
    if ahead { received.micros } else { told }
}

struct Reader<'r, 'm> {
    context: &'r Context<'r>,
    message: &'m Message<'m>,
    told: i64,
}

impl<'m> Reader<'_, 'm> {
    fn one(&self, pid: Segment<'m>, about: About) -> Result<Vec<Fact>, String> {
        let visit = self.message.segment("PV1", 1);
        let said = self.said(pid, visit)?;
        Ok(match about {
            About::Step(step) => vec![Fact::Moved(said, self.movement(step, pid, visit))],
            About::Update => match self.update(pid, visit) {
                Some(movement) => vec![Fact::Moved(said, movement)],
                None => vec![Fact::Person(said)],
            },
            About::Remove => vec![Fact::Removed(said)],
            About::Visit => match (self.visit_before(), self.visit(pid, visit)) {
                (Some(from), Some(to)) => vec![Fact::VisitMoved { person: said, from, to }],
                (Some(from), None) => vec![Fact::VisitMoved { person: said, to: from.clone(), from }],
                (None, _) => vec![Fact::Person(said)],
            },
            _ => vec![Fact::Person(said)],
        })
    }

    /// A17: each patient with the bed they are in now.
    fn swap(&self) -> Result<Vec<Fact>, String> {
        let mut pairs: Vec<(Segment<'m>, Option<Segment<'m>>)> = Vec::new();
        for segment in self.message.segments() {
            match segment.name() {
                "PID" => pairs.push((segment, None)),
                "PV1" => {
                    if let Some((_, visit @ None)) = pairs.last_mut() {
                        *visit = Some(segment);
                    }
                }
                _ => {}
            }
        }
        let [(first, first_visit), (second, second_visit)] = pairs.as_slice() else {
            return Err("a swap of beds (A17) names two patients; this one does not".into());
        };
        let mut facts = Vec::new();
        for (pid, visit) in [(first, first_visit), (second, second_visit)] {
            let movement = self.movement(Step::Moved, *pid, *visit);
            facts.push((self.said(*pid, *visit)?, movement));
        }
        let stated =
            facts.iter().all(|(_, movement)| movement.place.as_ref().is_some_and(Place::names_a_bed));
        let at = self.at(None);
        Ok(match (stated, facts.as_slice()) {
            (false, [(first, _), (second, _)]) => {
                vec![
                    Fact::Swapped { first: first.clone(), second: second.clone(), at },
                    Fact::Person(second.clone()),
                ]
            }
            _ => facts.into_iter().map(|(said, movement)| Fact::Moved(said, movement)).collect(),
        })
    }

    /// Each PID with the MRG behind it.
    fn merges(&self, about: About) -> Result<Vec<Fact>, String> {
        let (mut facts, mut patient) = (Vec::new(), None);
        for segment in self.message.segments() {
            match segment.name() {
                "PID" => patient = Some(segment),
                "MRG" => {
                    let pid = patient.take().ok_or("a merge (MRG) without the patient it goes to (PID)")?;
                    let person = self.said(pid, None)?;
                    let mut old = self.numbers(&segment.field(1));
                    if old.is_empty() {
                        old = self.numbers(&segment.field(4));
                    }
                    old.retain(|old| {
                        !person
                            .identifiers
                            .iter()
                            .any(|own| own.system == old.system && own.value == old.value)
                    });
                    if old.is_empty() {
                        return Err("the merge names no other number (MRG-1)".into());
                    }
                    facts.push(match about {
                        About::Renumber => Fact::Renumbered { person, old },
                        _ => Fact::Merged { person, old },
                    });
                    if facts.len() > GROUPS_MAX {
                        return Err(format!("more than {GROUPS_MAX} merges in one message"));
                    }
                }
                _ => {}
            }
        }
        if facts.is_empty() { Err("a merge without MRG".into()) } else { Ok(facts) }
    }

    /// Whom PID speaks of. Numbers of the account (PID-18) and of the visit (PV1-19) come last.
    fn said(&self, pid: Segment<'m>, visit: Option<Segment<'m>>) -> Result<Said, String> {
        let mut identifiers = self.numbers(&pid.field(3));
        if identifiers.is_empty() {
            identifiers = self.numbers(&pid.field(2));
        }
        if identifiers.is_empty() {
            identifiers = self.numbers(&pid.field(4));
        }
        let visits = visit.map(|visit| visit.field(19));
        for (field, kind) in [(Some(pid.field(18)), "AN"), (visits, "VN")] {
            let number = field.and_then(|field| self.number(&field.repetition(1)));
            identifiers.extend(number.map(|number| Identifier { kind: Some(kind.into()), ..number }));
        }
        identifiers.sort_by_key(|identifier| rank(identifier.kind.as_deref()));
        if identifiers.is_empty() {
            return Err("the message names nobody: no usable number in PID-3, PID-2 or PID-18".into());
        }
        let name = legal(&pid.field(5));
        let nulled = pid.field(5).is_null();
        let part = |number: u16| -> Told<String> {
            let part = name.component(number);
            match part.subcomponent(1).value() {
                Some(text) => Told::Said(text.trim().to_owned()),
                None if nulled || part.is_null() => Told::Deleted,
                None => Told::Unsaid,
            }
        };
        let given = match (part(2), part(3)) {
            (Told::Said(first), second) => {
                Told::Said(std::iter::once(first).chain(second.said().cloned()).map(Into::into).collect())
            }
            (Told::Deleted, _) => Told::Deleted,
            (Told::Unsaid, _) => Told::Unsaid,
        };
        let family = match part(1) {
            Told::Said(family) => Told::Said(family.into()),
            Told::Deleted => Told::Deleted,
            Told::Unsaid => Told::Unsaid,
        };
        let born = pid.field(7);
        let sex = pid.field(8);
        Ok(Said {
            identifiers,
            family,
            given,
            birth_date: read_as(&born, |text| birth_date(text, &mut Vec::new())),
            gender: read_as(&sex, |text| gender(text).map(Into::into)),
        })
    }

    fn numbers(&self, field: &Element<'m>) -> Vec<Identifier> {
        let mut numbers: Vec<Identifier> = Vec::new();
        for repetition in field.repetitions().take(NUMBERS_MAX) {
            let Some(number) = self.number(&repetition) else { continue };
            if !numbers.iter().any(|known| known.system == number.system && known.value == number.value) {
                numbers.push(number);
            }
        }
        numbers.sort_by_key(|identifier| rank(identifier.kind.as_deref()));
        numbers
    }

    /// CX: id ^ check ^ scheme ^ authority ^ kind (2.5 §2.A.14).
    fn number(&self, one: &Element<'m>) -> Option<Identifier> {
        let value = one.component(1).subcomponent(1).value()?.trim().to_owned();
        if is_filler(&value) {
            return None;
        }
        let kind =
            one.component(5).subcomponent(1).value().map(|kind| match kind.trim().to_uppercase().as_str() {
                "MRN" => "MR".to_owned(),
                kind => kind.to_owned(),
            });
        let system = authority(&one.component(4)).unwrap_or_else(|| super::NO_AUTHORITY.into());
        let identifier = Identifier { system, value: value.into(), kind: kind.map(Into::into) };
        Some(self.context.issuers.canonical(&identifier))
    }

    /// PV1-19, else PID-18.
    fn visit(&self, pid: Segment<'m>, visit: Option<Segment<'m>>) -> Option<Visit> {
        let number = visit.and_then(|visit| self.number(&visit.field(19).repetition(1)));
        number.or_else(|| self.number(&pid.field(18).repetition(1))).map(visit_of)
    }

    /// MRG-5, else MRG-3.
    fn visit_before(&self) -> Option<Visit> {
        let mrg = self.message.segment("MRG", 1)?;
        let number = |field: u16| self.number(&mrg.field(field).repetition(1));
        number(5).or_else(|| number(3)).map(visit_of)
    }

    fn movement(&self, step: Step, pid: Segment<'m>, visit: Option<Segment<'m>>) -> Movement {
        let stated = match step {
            Step::Arrived => visit.and_then(|visit| instant(&visit.field(44), self.context)),
            Step::Left => visit.and_then(|visit| instant(&visit.field(45), self.context)),
            _ => None,
        };
        Movement {
            step,
            visit: self.visit(pid, visit),
            place: visit.and_then(place),
            at: self.at(stated),
            told: self.told,
        }
    }

    /// When it took effect: EVN-6, else what the event's own field states, else when it was said. Never later than that.
    fn at(&self, stated: Option<i64>) -> i64 {
        let occurred = self.message.segment("EVN", 1).and_then(|evn| instant(&evn.field(6), self.context));
        occurred.or(stated).map_or(self.told, |at| at.min(self.told))
    }

    /// What an update says of the bed: gone where PV1-45 says so, nothing of who is only announced (PV1-2 `P`).
    fn update(&self, pid: Segment<'m>, visit: Option<Segment<'m>>) -> Option<Movement> {
        let stated = visit?;
        let discharged = stated.field(45).component(1).value().is_some();
        let class = stated.field(2).component(1).value().map(|class| class.trim().to_uppercase());
        if discharged {
            return Some(Movement { place: None, ..self.movement(Step::Left, pid, visit) });
        }
        if matches!(class.as_deref(), Some("P" | "N")) {
            return None;
        }
        let seen = self.movement(Step::Seen, pid, visit);
        // When the bed was taken is not what an update says.
        seen.place.is_some().then_some(Movement { at: self.told, ..seen })
    }
}

fn visit_of(number: Identifier) -> Visit {
    Visit { system: number.system.to_string(), number: number.value.to_uppercase() }
}

/// The legal name where names are marked (XPN-7), else the first.
fn legal<'m>(field: &Element<'m>) -> Element<'m> {
    let legal = field.repetitions().find(|name| name.component(7).text().trim() == "L");
    legal.unwrap_or_else(|| field.repetition(1))
}

fn read_as(
    field: &Element<'_>,
    read: impl FnOnce(&str) -> Option<std::sync::Arc<str>>,
) -> Told<std::sync::Arc<str>> {
    if field.is_null() {
        return Told::Deleted;
    }
    let text = field.component(1).value();
    text.and_then(|text| read(text.trim())).map_or(Told::Unsaid, Told::Said)
}

/// PV1-3: point of care ^ room ^ bed ^ facility (2.5 §2.A.53).
pub fn place(visit: Segment<'_>) -> Option<Place> {
    let location = visit.field(3).repetition(1);
    let part = |number: u16| {
        location.component(number).subcomponent(1).value().map(|text| text.into_owned()).unwrap_or_default()
    };
    Place::new(&part(4), &part(1), &part(2), &part(3))
}

/// Fuzz body: any bytes may come as an ADT message, and only a bug panics.
pub fn fuzz(bytes: &[u8]) {
    let Some(message) = Message::parse(bytes, crate::hl7v2::Charset::default()).message else { return };
    let issuers = Issuers::default();
    let context = Context {
        zone: &TimeZone::UTC,
        zone_name: "UTC",
        received: Timestamp::from_micros(1_773_477_000_000_000, true),
        issuers: &issuers,
    };
    if let Ok(adt) = read(&message, &context) {
        let ways = adt.facts.iter().filter_map(|fact| match fact {
            Fact::Moved(said, movement) => {
                assert!(!said.identifiers.is_empty());
                Some(movement.clone())
            }
            _ => None,
        });
        for stay in super::stays(&ways.collect::<Vec<_>>()) {
            assert!(stay.until.is_none_or(|until| until > stay.since));
        }
    }
}

#[cfg(test)]
#[path = "adt_tests.rs"]
mod tests;
