//! What others ask of the patient index over HL7 v2.
//!
//! - `QBP^Q22` → `RSP^K22` find candidates (HL7 2.5 §3.3.57, IHE ITI-21), `QBP^ZV1` → `RSP^ZV2` with visits (ITI-22, which
//!   bedside monitors ask too), `QCN^J01` ends one of them.
//! - `QBP^Q21` → `RSP^K21` one person's demographics, `QBP^Q23` → `RSP^K23` their other numbers (ITI-9).
//! - `QRY^A19` → `ADR^A19` (2.5 §3.3.19).
//!
//! A parameter that the index knows nothing of is refused: left out, it would make strangers candidates.

use super::{Issuers, Place, has_issuer};
use crate::device::{Identifier, Person};
use crate::firmware_profile::{authority, birth_date, gender};
use crate::hl7v2::{Charset, Element, Message, Separators, header};

/// Parameters read of one query.
const PARAMETERS_MAX: usize = 60;
/// Return domains of one query.
const DOMAINS_MAX: usize = 50;

/// Which question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// QBP^Q22
    Candidates,
    /// QBP^ZV1 and its like.
    Visits,
    /// QBP^Q21
    Demographics,
    /// QBP^Q23
    Numbers,
    /// QRY^A19
    Patient,
    /// QCN^J01
    Enough,
}

/// Who is looked for. Texts are folded (capitals, no blanks around); `*` at the end stands for any rest.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Criteria {
    pub number: Option<String>,
    /// Whose number it is.
    pub system: Option<String>,
    pub family: Option<String>,
    pub given: Option<String>,
    /// `YYYY-MM-DD` or the beginning of it.
    pub birth_date: Option<String>,
    pub gender: Option<String>,
    /// PV1-19, or PID-18 as [`account`](Self::account).
    pub visit: Option<String>,
    pub account: Option<String>,
    /// Facility, point of care, room, bed.
    pub place: [Option<String>; 4],
}

impl std::fmt::Debug for Criteria {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Criteria(…)")
    }
}

impl Criteria {
    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        let Self { number, system: _, family, given, birth_date, gender: _, visit, account, place } = self;
        [number, family, given, birth_date, visit, account].iter().all(|one| one.is_none())
            && place.iter().all(Option::is_none)
    }

    /// Whether somebody is meant. `numbers` are all of theirs, also those of the past.
    pub fn fits(&self, person: &Person, numbers: &[Identifier], now: Option<(&Place, Option<&str>)>) -> bool {
        let word = |wanted: &Option<String>, has: Option<&str>| match wanted {
            None => true,
            Some(wanted) => has.is_some_and(|has| matches(wanted, has)),
        };
        let any = |wanted: &Option<String>, account: bool| match wanted {
            None => true,
            Some(wanted) => numbers.iter().any(|one| {
                matches(wanted, &one.value)
                    && (!account || one.kind.as_deref() == Some("AN"))
                    && self
                        .system
                        .as_deref()
                        .is_none_or(|system| account || !has_issuer(&one.system) || *one.system == *system)
            }),
        };
        let place = |at: usize, of: fn(&Place) -> &Option<String>| {
            let wanted = self.place.get(at).unwrap_or(&None);
            word(wanted, now.and_then(|(place, _)| of(place).as_deref()))
        };
        any(&self.number, false)
            && any(&self.account, true)
            && word(&self.family, person.family.as_deref())
            && self.given.as_ref().is_none_or(|wanted| person.given.iter().any(|has| matches(wanted, has)))
            && self.birth_date.as_ref().is_none_or(|wanted| {
                person.birth_date.as_deref().is_some_and(|has| has.starts_with(wanted.as_str()))
            })
            && self.gender.as_ref().is_none_or(|wanted| person.gender.as_deref() == Some(wanted))
            && word(&self.visit, now.and_then(|(_, visit)| visit))
            && place(0, |place| &place.facility)
            && place(1, |place| &place.point_of_care)
            && place(2, |place| &place.room)
            && place(3, |place| &place.bed)
    }
}

fn matches(wanted: &str, has: &str) -> bool {
    let has = has.trim().to_uppercase();
    match wanted.strip_suffix('*') {
        Some(start) => has.starts_with(start),
        None => has == wanted,
    }
}

/// Why a query is not answered with patients (HL7 table 0357).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub code: &'static str,
    pub meaning: &'static str,
    /// ERR-2, with `^` between its parts.
    pub place: &'static str,
    /// For people, without patient data.
    pub text: String,
}

impl Fault {
    fn unknown(place: &'static str, text: impl Into<String>) -> Self {
        Self { code: "204", meaning: "Unknown key identifier", place, text: text.into() }
    }

    fn missing(place: &'static str, text: impl Into<String>) -> Self {
        Self { code: "101", meaning: "Required field missing", place, text: text.into() }
    }

    /// Nobody has the number that was asked for.
    pub fn nobody() -> Self {
        Self::unknown("QPD^1^3^1^1", "no patient has this number")
    }
}

/// A question and what its answer repeats of it.
#[derive(Clone, Debug)]
pub struct Query {
    pub question: Question,
    pub criteria: Result<Criteria, Fault>,
    /// Issuers whose numbers are wanted; all, when empty.
    pub domains: Vec<String>,
    /// Patients in the answer at most.
    pub limit: Option<u32>,
    /// Go on behind this one.
    pub after: Option<i64>,
    pub(super) separators: Separators,
    pub(super) charset: Charset,
    /// MSH-3 to MSH-6, MSH-10, MSH-11, MSH-12, MSH-18 and MSH-21 as written.
    pub(super) head: [String; 9],
    /// QPD, or QRD and QRF, as written.
    pub(super) echoed: Vec<String>,
    /// QPD-2 and QPD-1, or QRD-4 and nothing, as written.
    pub(super) named: [String; 2],
}

/// What a message asks of the index; `None` for one that does not.
pub fn query(bytes: &[u8], charset: Charset, issuers: &Issuers) -> Option<Query> {
    let head = header(bytes)?;
    let question = match (&*head.message_type, &*head.trigger) {
        ("QBP", "Q22") => Question::Candidates,
        ("QBP", "ZV1" | "ZV2") => Question::Visits,
        ("QBP", "Q21") => Question::Demographics,
        ("QBP", "Q23") => Question::Numbers,
        ("QRY", "A19") => Question::Patient,
        ("QCN", "J01") => Question::Enough,
        _ => return None,
    };
    // Answers in UTF-16 are not written.
    if !bytes.windows(3).take(64).any(|three| three == b"MSH") {
        return None;
    }
    let message = Message::parse(bytes, charset).message?;
    let field = |name: &str, number: u16| message.segment(name, 1).map(|segment| segment.field(number));
    let raw =
        |name: &str, number| field(name, number).map(|field| field.raw().to_owned()).unwrap_or_default();
    let limit = match question {
        Question::Patient => field("QRD", 7),
        _ => field("RCP", 2),
    };
    let limit = limit.and_then(|limit| limit.component(1).value()?.trim().parse::<u32>().ok());
    let pointer =
        field("DSC", 1).and_then(|pointer| pointer.value()?.trim().strip_prefix('P')?.parse::<i64>().ok());
    let domains = match question {
        Question::Numbers => field("QPD", 4),
        Question::Candidates | Question::Visits | Question::Demographics => field("QPD", 8),
        _ => None,
    };
    let domains =
        domains.into_iter().flat_map(|field| field.repetitions().take(DOMAINS_MAX).collect::<Vec<_>>());
    let named = match question {
        Question::Patient => [raw("QRD", 4), String::new()],
        Question::Enough => [raw("QID", 1), raw("QID", 2)],
        _ => [raw("QPD", 2), raw("QPD", 1)],
    };
    let echoed = message.segments().filter(|segment| matches!(segment.name(), "QRD" | "QRF" | "QPD"));
    Some(Query {
        question,
        criteria: criteria(&message, question, issuers),
        domains: domains.filter_map(|domain| issuer(&domain.component(4), issuers)).collect(),
        limit: limit.filter(|limit| *limit > 0),
        after: pointer,
        separators: message.separators(),
        charset: message.charset(),
        head: [3, 4, 5, 6, 10, 11, 12, 18, 21].map(|number| raw("MSH", number)),
        echoed: echoed.map(|segment| segment.raw().to_owned()).collect(),
        named,
    })
}

fn issuer(hd: &Element<'_>, issuers: &Issuers) -> Option<String> {
    let system = authority(hd)?;
    let canonical = issuers.canonical(&Identifier { system, value: "".into(), kind: None });
    Some(canonical.system.to_string())
}

fn folded(element: &Element<'_>) -> Option<String> {
    element.value().map(|text| text.trim().to_uppercase()).filter(|text| !text.is_empty())
}

fn criteria(message: &Message<'_>, question: Question, issuers: &Issuers) -> Result<Criteria, Fault> {
    let criteria = match question {
        Question::Enough => return Ok(Criteria::default()),
        Question::Patient => {
            let who = message.segment("QRD", 1).map(|qrd| qrd.field(8).repetition(1));
            let who = who.ok_or_else(|| Fault::missing("QRD^1^8", "the query has no QRD"))?;
            Criteria {
                number: folded(&who.component(1)),
                system: issuer(&who.component(9), issuers),
                family: folded(&who.component(2).subcomponent(1)),
                given: folded(&who.component(3)),
                ..Criteria::default()
            }
        }
        Question::Demographics | Question::Numbers => {
            let number = message.segment("QPD", 1).map(|qpd| qpd.field(3).repetition(1));
            let number = number.ok_or_else(|| Fault::missing("QPD^1^3", "the query has no QPD"))?;
            Criteria {
                number: folded(&number.component(1)),
                system: issuer(&number.component(4), issuers),
                ..Criteria::default()
            }
        }
        Question::Candidates | Question::Visits => parameters(message, issuers)?,
    };
    match criteria.is_empty() {
        true => Err(Fault::missing(
            "QPD^1^3",
            "the query names nobody: no number, name, birth date, visit or place",
        )),
        false => Ok(criteria),
    }
}

/// `@PID.3.1^10003~@PID.5.1.1^DOE`; some askers spread them over the fields behind QPD-3.
fn parameters(message: &Message<'_>, issuers: &Issuers) -> Result<Criteria, Fault> {
    let qpd = message.segment("QPD", 1).ok_or_else(|| Fault::missing("QPD^1^3", "the query has no QPD"))?;
    let mut criteria = Criteria::default();
    // Parts of one authority may come one by one: namespace, universal id, its type.
    let mut authority_of: [Option<String>; 3] = [None, None, None];
    let fields = (3..=7).map(|number| qpd.field(number));
    for parameter in fields.flat_map(|field| field.repetitions().collect::<Vec<_>>()).take(PARAMETERS_MAX) {
        let name = parameter.component(1).text().trim().to_uppercase();
        let Some(name) = name.strip_prefix('@') else { continue };
        let value = parameter.component(2);
        if folded(&value).is_none() {
            continue;
        }
        let value = folded(&value.subcomponent(1));
        let parts: Vec<&str> = name.split('.').collect();
        match parts.as_slice() {
            ["PID", "3"] | ["PID", "3", "1"] | ["PID", "3", "1", "1"] | ["PID", "2"] | ["PID", "2", "1"] => {
                criteria.number = value;
                // The whole CX behind the name.
                let system = issuer(&parameter.component(5), issuers);
                criteria.system = criteria.system.take().or(system);
            }
            ["PID", "3", "4"] => criteria.system = issuer(&parameter.component(2), issuers),
            ["PID", "3", "4", part] => {
                let at = part.parse::<usize>().ok().and_then(|at| at.checked_sub(1));
                if let Some(slot) = at.and_then(|at| authority_of.get_mut(at)) {
                    *slot = parameter.component(2).value().map(|text| text.trim().to_owned());
                }
            }
            // Check digit, its scheme and the kind of number narrow nothing that the number does not.
            ["PID", "3", ..] => {}
            ["PID", "5"] | ["PID", "5", "1"] | ["PID", "5", "1", "1"] => {
                criteria.family = value;
                criteria.given = criteria.given.take().or_else(|| folded(&parameter.component(3)));
            }
            ["PID", "5", "2"] | ["PID", "5", "2", "1"] => criteria.given = value,
            ["PID", "7"] | ["PID", "7", "1"] => {
                let born = value.as_deref().and_then(|text| birth_date(text, &mut Vec::new()));
                let born =
                    born.ok_or_else(|| Fault::unknown("QPD^1^3", "the birth date asked for cannot be"))?;
                criteria.birth_date = Some(born.to_string());
            }
            ["PID", "8"] | ["PID", "8", "1"] => {
                criteria.gender = value.as_deref().and_then(gender).map(ToOwned::to_owned);
            }
            ["PID", "18"] | ["PID", "18", "1"] => criteria.account = value,
            ["PV1", "19"] | ["PV1", "19", "1"] => criteria.visit = value,
            ["PV1", "3"] => {
                let parts = [5, 2, 3, 4].map(|at| folded(&parameter.component(at).subcomponent(1)));
                criteria.place = parts;
            }
            ["PV1", "3", part] | ["PV1", "3", part, "1"] => {
                let at = match *part {
                    "1" => 1,
                    "2" => 2,
                    "3" => 3,
                    "4" => 0,
                    _ => return Err(unsearched(name)),
                };
                if let Some(slot) = criteria.place.get_mut(at) {
                    *slot = value;
                }
            }
            _ => return Err(unsearched(name)),
        }
    }
    if criteria.system.is_none() && authority_of.iter().any(Option::is_some) {
        criteria.system = written(&authority_of, issuers);
    }
    Ok(criteria)
}

fn written(parts: &[Option<String>; 3], issuers: &Issuers) -> Option<String> {
    let [name, id, kind] = parts;
    let system = match (id, kind.as_deref()) {
        (Some(id), Some("ISO") | None) if id.bytes().all(|b| b.is_ascii_digit() || b == b'.') => {
            format!("urn:oid:{id}")
        }
        (Some(id), Some("URI")) => id.clone(),
        (id, _) => format!("urn:bedside:authority:{}", name.as_ref().or(id.as_ref())?),
    };
    let canonical = issuers.canonical(&Identifier { system: system.into(), value: "".into(), kind: None });
    Some(canonical.system.to_string())
}

fn unsearched(name: &str) -> Fault {
    let name: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '.').take(20).collect();
    let text = format!(
        "@{name} is not known here: patients are found by number, name, birth date, sex, account, visit and place"
    );
    Fault { code: "103", meaning: "Table value not found", place: "QPD^1^3", text }
}

/// Fuzz body: any bytes may ask, and every question gets an answer that can be read.
pub fn fuzz(bytes: &[u8]) {
    let issuers = Issuers::default();
    let Some(query) = query(bytes, Charset::default(), &issuers) else { return };
    let person = Person { family: Some("A|^~\\&\r".into()), ..Person::default() };
    let found = super::answer::Found {
        patients: vec![super::answer::Patient { id: 7, person, place: None, visit: None }],
        total: 2,
        left: 1,
    };
    let now = crate::clock::Timestamp::from_micros(1_773_477_000_000_000, true);
    let written = super::answer::answer(&query, Ok(&found), &issuers, now, "UTC");
    assert!(header(&written).is_some());
}

#[cfg(test)]
#[path = "query_tests.rs"]
mod tests;
