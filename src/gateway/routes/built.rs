//! The bytes of a message: as they came, filtered, or built of what was measured.

use std::sync::Arc;

use crate::buffer::{NewOutgoing, OutgoingRow, Stored, sha256};
use crate::clock::SharedClock;
use crate::config::Config;
use crate::device::{Identifier, Person, Report, ResultStatus};
use crate::gateway::association::whose::{self, Attributed};
use crate::gateway::triage::said;
use crate::gateway::understand::{Meaning, Understanding, Understood};
use crate::hl7v2::{Charset, Message, header};
use crate::identity::Attribution;
use crate::route::oru::{self, About, Also, Header};
use crate::route::{How, Lane, Route};
use crate::upstream::hl7::Acknowledge;

use super::Outbound;

/// What building needs beside the frame.
#[derive(Clone)]
pub(in crate::gateway) struct Building {
    pub(super) understanding: Arc<Understanding>,
    pub(super) clock: SharedClock,
    /// The box's own identifier: control ids of two boxes differ.
    pub(super) me: Arc<str>,
    pub(super) simulated: bool,
}

impl Building {
    pub(in crate::gateway) fn new(
        understanding: Arc<Understanding>,
        clock: SharedClock,
        me: &str,
        config: &Config,
    ) -> Self {
        Self { understanding, clock, me: me.into(), simulated: config.site.simulated }
    }

    /// What messages of a link are written in that do not say it.
    pub(super) fn charset(&self, link: &str) -> Charset {
        self.understanding.link(link).map(|link| link.charset).unwrap_or_default()
    }
}

/// A message ready to go.
pub(super) struct Built {
    pub(super) bytes: Vec<u8>,
    /// MSH-10.
    pub(super) control_id: String,
    /// MSH-16 asks for the answer of the receiver's application.
    pub(super) application: bool,
    /// The bytes are not those of the frame: they are to be kept.
    pub(super) own: bool,
    /// Messages of the same entry that nobody could know of before.
    pub(super) more: Vec<NewOutgoing>,
    /// Under whom it says the results are, where it is built here.
    pub(super) under: Option<String>,
}

/// What came of building.
pub(super) enum Made {
    Ready(Built),
    /// Nothing under its own number, but these of the same entry.
    Others(Vec<NewOutgoing>),
    /// There is nothing in it for this destination, and that is no fault: why.
    Nothing(String),
}

/// The message of a row; the error is why a person must look.
pub(super) fn built(
    row: &OutgoingRow,
    stored: &Stored,
    destination: &Outbound,
    building: &Building,
) -> Result<Made, String> {
    let route = destination.routes.iter().find(|route| *route.name == *row.route).ok_or_else(|| {
        format!("the route \"{}\" is no longer in the configuration: put it back, then release", row.route)
    })?;
    match &route.how {
        How::Pass => {
            stranger(stored, building)?;
            again(stored.bytes.to_vec(), false).map(Made::Ready)
        }
        How::Filtered(filter) => {
            stranger(stored, building)?;
            let parsed = Message::parse(&stored.bytes, building.charset(&stored.link));
            let message = parsed.message.ok_or("the frame is no HL7 message")?;
            let filtered = filter.apply(&message, destination.config.charset);
            again(filtered.map_err(|why| why.to_string())?, true).map(Made::Ready)
        }
        How::Measurements(also) => measured(row, stored, destination, (route, *also), building),
    }
}

/// A message by its bytes.
pub(super) fn again(bytes: Vec<u8>, own: bool) -> Result<Built, String> {
    let head = header(&bytes).ok_or("the message has no MSH")?;
    let control_id = head.control_id.trim().to_owned();
    let application = matches!(&*head.application_condition, "AL" | "ER" | "SU");
    Ok(Built { control_id, application, own, bytes, more: Vec::new(), under: None })
}

/// What nobody has accepted goes nowhere.
pub(super) fn stranger(stored: &Stored, building: &Building) -> Result<(), String> {
    let link = building.understanding.link(&stored.link);
    match link.and_then(|link| building.understanding.page(&link, &said(stored)).err()) {
        Some(who) => Err(Meaning::reason(&who)),
        None => Ok(()),
    }
}

/// What of an entry this destination gets of its measurements: rows, or why a person must look.
pub(super) fn rows_of_measurements(
    stored: &Stored,
    destination: &Outbound,
    (route, also): (&Route, Also),
    building: &Building,
) -> Result<Vec<NewOutgoing>, String> {
    let understood = building.understanding.read(&said(stored));
    match understood.meaning {
        Meaning::Hold(why) => Err(why),
        Meaning::Stranger(who) => Err(Meaning::reason(&who)),
        Meaning::Deliver { .. } => {
            let told = told(understood.reports, understood.whose);
            for Told { report, .. } in &told {
                destination.standing.left_out(&route.name, oru::left_out(report, also));
            }
            Ok(rows(&told, stored, destination, (route, also), building))
        }
        _ => Ok(Vec::new()),
    }
}

/// A report under the patient it was attributed to.
struct Told {
    report: Report,
    /// Nobody asked whose it is: what the frame and the link's binding say counts.
    plain: bool,
}

/// The reports as they are delivered, each under the person it was attributed to and under no other.
fn told(decoded: Vec<Report>, whose: Option<Attributed>) -> Vec<Told> {
    let Some(whose) = whose else {
        return decoded.into_iter().map(|report| Told { report, plain: true }).collect();
    };
    let reports = whose.reports.unwrap_or(decoded);
    let attributed = reports.into_iter().enumerate().map(|(at, report)| {
        match whose.attributions.get(at).and_then(Option::as_ref) {
            None => Told { report, plain: true },
            Some(Attribution::Matched { whom, .. }) => {
                let person = whom.person().map(|person| Person::clone(person));
                Told { report: Report { person, ..report }, plain: false }
            }
            Some(_) => Told { report: Report { person: None, ..report }, plain: false },
        }
    });
    attributed.collect()
}

/// Which message of an entry a row is: the values of a report, or one of its alarms. One number on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    report: u16,
    /// Which alarm of the report, from 1; 0: its values.
    alarm: u16,
}

impl Piece {
    const fn of(part: u32) -> Self {
        let [.., a, b, c, d] = part.to_be_bytes();
        Self { report: u16::from_be_bytes([c, d]), alarm: u16::from_be_bytes([a, b]) }
    }

    const fn part(self) -> u32 {
        let ([a, b], [c, d]) = (self.alarm.to_be_bytes(), self.report.to_be_bytes());
        u32::from_be_bytes([a, b, c, d])
    }
}

fn rows(
    reports: &[Told],
    stored: &Stored,
    destination: &Outbound,
    (route, also): (&Route, Also),
    building: &Building,
) -> Vec<NewOutgoing> {
    let link = building.understanding.link(&stored.link);
    let bound = link.as_ref().and_then(|link| link.patient.as_ref());
    let order = destination.config.in_order;
    let numbered = (0..=u16::MAX).zip(reports);
    let pieces = numbered.flat_map(|(report, told)| {
        let values = oru::has_values(&told.report, also).then_some(0);
        let alarms = (1..=u16::MAX).zip(oru::alarms(&told.report, also)).map(|(alarm, _)| alarm);
        values.into_iter().chain(alarms).map(move |alarm| (told, Piece { report, alarm }))
    });
    let row = |(told, piece): (&Told, Piece)| {
        let about = About { report: &told.report, bound: bound.filter(|_| told.plain) };
        NewOutgoing {
            entry: stored.id,
            part: piece.part(),
            route: route.name.to_string(),
            lane: Lane::of_report(order, &about, &stored.link, stored.id).0,
            held: None,
        }
    };
    pieces.map(row).collect()
}

fn measured(
    row: &OutgoingRow,
    stored: &Stored,
    destination: &Outbound,
    (route, also): (&Route, Also),
    building: &Building,
) -> Result<Made, String> {
    let understood = building.understanding.read(&said(stored));
    if row.withdraws {
        return withdrawn(row, stored, understood.reports, (destination, also), building);
    }
    let under = under(&understood);
    let reports = match understood.meaning {
        Meaning::Deliver { .. } => {
            let mut reports = told(understood.reports, understood.whose);
            if row.taken_back.contains(&under) {
                // It was said of them before, and taken back since.
                mark(&mut reports, ResultStatus::Corrected);
            }
            reports
        }
        Meaning::Hold(why) => return Err(why),
        Meaning::Stranger(who) => return Err(Meaning::reason(&who)),
        Meaning::Nothing(why) => return Ok(Made::Nothing(why)),
        _ => return Ok(Made::Nothing("there is no measurement in it".into())),
    };
    let all = rows(&reports, stored, destination, (route, also), building);
    let piece = Piece::of(row.part);
    let told = reports.get(usize::from(piece.report)).filter(|_| all.iter().any(|one| one.part == row.part));
    let Some(told) = told else {
        if all.is_empty() {
            return Ok(Made::Nothing("there is no measurement in it that a message could say".into()));
        }
        // What was held as a whole is looked at anew.
        if row.part == 0 {
            return Ok(Made::Others(all));
        }
        return Err(
            "the entry is read otherwise than when this was queued: drop it, or put the profile back".into(),
        );
    };
    let more = if row.part == 0 { all } else { Vec::new() };
    let bytes = message((told, also), row, stored, destination, building)?;
    Ok(Made::Ready(Built { more, under: Some(under), ..again(bytes, true)? }))
}

/// Under whom an entry is delivered, as it is written down.
fn under(understood: &Understood) -> String {
    let text = understood.whose.as_ref().and_then(|whose| whose.text.clone());
    text.unwrap_or_else(|| whose::AS_SAID.into())
}

fn mark(reports: &mut [Told], status: ResultStatus) {
    let all = reports.iter_mut().flat_map(|told| &mut told.report.measurements);
    all.for_each(|one| one.result_status = status);
}

/// The message that takes another one back: the same results of the same patient, posted as wrong.
fn withdrawn(
    row: &OutgoingRow,
    stored: &Stored,
    decoded: Vec<Report>,
    (destination, also): (&Outbound, Also),
    building: &Building,
) -> Result<Made, String> {
    let gone = "under whom it was sent can no longer be told: tell the receiver by hand, then drop this";
    let whose = row.under.as_deref().and_then(|text| Attributed::written(text, &decoded)).ok_or(gone)?;
    let mut reports = told(decoded, Some(whose));
    mark(&mut reports, ResultStatus::EnteredInError);
    let original = OutgoingRow { withdraws: false, ..row.clone() };
    let number = control_id(&original, stored, destination, building);
    let told = reports.get_mut(usize::from(Piece::of(row.part).report)).ok_or(gone)?;
    let alarm = Piece::of(row.part).alarm > 0;
    if alarm || !told.report.orders.iter().any(|order| order.kind.as_deref() == Some("FILL")) {
        // OBR-3 as the original had it.
        let system = oru::OWN_NUMBERS.into();
        let filler = Identifier { system, value: number.into(), kind: Some("FILL".into()) };
        told.report.orders.push(filler);
    }
    let bytes = message((&*told, also), row, stored, destination, building)?;
    again(bytes, true).map(Made::Ready)
}

fn message(
    (Told { report, plain }, also): (&Told, Also),
    row: &OutgoingRow,
    stored: &Stored,
    destination: &Outbound,
    building: &Building,
) -> Result<Vec<u8>, String> {
    let link = building.understanding.link(&stored.link);
    let bound = link.as_ref().and_then(|link| link.patient.as_ref());
    let config = &destination.config;
    let control_id = control_id(row, stored, destination, building);
    let sender = if config.sender.application.is_empty() { "BEDSIDE" } else { &config.sender.application };
    let header = Header {
        sender: (sender, &config.sender.facility),
        receiver: (&config.receiver.application, &config.receiver.facility),
        control_id: &control_id,
        made: building.clock.now(),
        test: building.simulated,
        enhanced: config.acknowledge == Acknowledge::Enhanced,
        charset: config.charset.unwrap_or_default(),
    };
    let about = About { report, bound: bound.filter(|_| *plain) };
    let alarm = usize::from(Piece::of(row.part).alarm).checked_sub(1);
    let bytes = match alarm.and_then(|at| oru::alarms(report, also).nth(at)) {
        Some(alarm) => oru::build_alarm(&about, alarm, &header),
        None => oru::build(&about, &header, also),
    };
    bytes.map_err(|why| why.to_string())
}

/// MSH-10: 20 characters that no other message of any box has, and that are the same whenever this one is built.
fn control_id(row: &OutgoingRow, stored: &Stored, destination: &Outbound, building: &Building) -> String {
    let mut parts = format!(
        "{}\0{}\0{}\0{}\0{}\0{}\0",
        building.me, destination.config.name, stored.id, stored.received.micros, row.part, row.revision
    );
    if row.round > 0 || row.withdraws {
        parts.push_str(&format!("{}\0{}\0", row.round, row.withdraws));
    }
    let sum = sha256(&[parts.as_bytes(), &stored.sha256].concat());
    sum.iter().take(10).fold(String::with_capacity(20), |mut id, byte| {
        id.push_str(&format!("{byte:02X}"));
        id
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Device;
    use crate::identity::Whom;

    fn person(id: &str) -> Person {
        let id = Identifier { system: "urn:x".into(), value: id.into(), kind: None };
        Person { identifiers: vec![id], ..Person::default() }
    }

    fn report(id: Option<&str>) -> Report {
        Report {
            device: Device::default(),
            person: id.map(person),
            place: None,
            specimen: None,
            orders: Vec::new(),
            measurements: Vec::new(),
        }
    }

    #[test]
    fn a_number_on_disk_says_which_report_and_which_alarm() {
        for (part, report, alarm) in
            [(0, 0, 0), (7, 7, 0), (65_536, 0, 1), (131_075, 3, 2), (u32::MAX, 65_535, 65_535)]
        {
            assert_eq!(Piece::of(part), Piece { report, alarm });
            assert_eq!(Piece { report, alarm }.part(), part);
        }
    }

    #[test]
    fn a_report_goes_out_under_whom_it_was_attributed_to_and_nobody_else() {
        let whom = Whom::Stranger(Arc::new(person("right")));
        let attributions = vec![
            None,
            Some(Attribution::Matched { whom, sources: Vec::new() }),
            Some(Attribution::Orphan),
            Some(Attribution::Conflict { why: "two".into() }),
        ];
        let whose = Attributed { attributions, ..Attributed::default() };
        let named = |told: &Told| {
            let person = told.report.person.as_ref();
            (person.map(|person| person.identifiers[0].value.to_string()), told.plain)
        };
        let reports = vec![report(Some("frame")); 4];
        let told = told(reports, Some(whose));
        let named: Vec<_> = told.iter().map(named).collect();
        let expected =
            [(Some("frame".into()), true), (Some("right".into()), false), (None, false), (None, false)];
        assert_eq!(named, expected);
    }
}
