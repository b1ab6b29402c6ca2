//! HL7 v2 results: ORU and OUL messages of versions 2.3 to 2.8, laboratory and IHE PCD-01.
//!
//! A message is walked group by group: the patient, the order with its specimen, and its rows. Rows without a
//! value that describe the device (MDS, VMD, channel) make up the device; all others are measurements.

use std::borrow::Cow;

use super::compose::Composer;
use super::flat::{self, Fields};
use super::hl7_device::Devices;
use super::hl7_obx::Obx;
use super::locate::Locator;
use super::outcome::{self, About};
use super::time::received;
use super::{Decoded, FirmwareProfile, LinkContext, finding, hl7_alarm, hl7_control, hl7_person, person};
use crate::device::{Finding, Measurement, Moment, Person};
use crate::hl7v2::{Element, Message, Segment};

/// More messages than this in one frame are not looked at.
const MESSAGES_MAX: usize = 10_000;

pub(super) fn decode(profile: &FirmwareProfile, bytes: &[u8], context: &LinkContext) -> Decoded {
    let mut decoded = Decoded::default();
    let mut rest = bytes;
    for _ in 0..MESSAGES_MAX {
        let parsed = Message::parse(rest, context.charset);
        let before = decoded.findings.len();
        decoded.findings.extend(parsed.findings);
        match &parsed.message {
            Some(message) => {
                let one = one_message(profile, message, context);
                decoded.reports.extend(one.reports);
                decoded.findings.extend(one.findings);
                decoded.held = decoded.held.or(one.held);
                decoded.ignored = decoded.ignored.or(one.ignored);
            }
            None => decoded.held = decoded.held.or_else(|| Some("not HL7: no MSH".into())),
        }
        if parsed.rest.is_empty()
            || parsed.rest.len() >= rest.len()
            || decoded.findings.len() - before > 10_000
        {
            break;
        }
        rest = parsed.rest;
    }
    // One good message is delivered; what another one was ignored for is no news then.
    if !decoded.reports.is_empty() {
        decoded.ignored = None;
        if let Some(held) = decoded.held.take() {
            decoded.findings.push(finding(
                "message-held",
                "MSH",
                format!("One of several messages was not read: {held}."),
            ));
        }
    } else if decoded.held.is_some() {
        decoded.ignored = None;
    }
    decoded
}

fn one_message(profile: &FirmwareProfile, message: &Message<'_>, context: &LinkContext) -> Decoded {
    let Some(header) = message.segment("MSH", 1) else { return Decoded::held("not HL7: no MSH") };
    if let Some(refused) = refused(&header) {
        return refused;
    }
    let mut walk = Walk {
        profile,
        context,
        here: Here { message, header, patient: None, visit: None, common: None, order: None, specimen: None },
        devices: Devices::default(),
        decoded: Decoded::default(),
        rows: 0,
        alarms: header.field(9).component(2).raw().trim() == "R40",
        alive: false,
        known: 0,
    };
    let ignore = profile.plan.ignore.iter().find(|rule| flat::applies(rule, &walk.here));
    if let Some(rule) = ignore {
        return Decoded::ignored(rule.reason.clone());
    }
    let segments: Vec<Segment<'_>> = message.segments().collect();
    walk.all(&segments);
    let mut decoded = walk.decoded;
    if decoded.reports.is_empty() && walk.alive {
        return Decoded { ignored: Some("a sign of life of the alarm reporter: no alarm".into()), ..decoded };
    }
    if decoded.reports.is_empty() && walk.rows > 0 && walk.known == walk.rows {
        return Decoded { ignored: Some("the page knows every row as nothing to deliver".into()), ..decoded };
    }
    if decoded.reports.is_empty() && decoded.held.is_none() {
        decoded.held = Some(if walk.rows == 0 {
            "the message has no OBX: nothing was measured".into()
        } else {
            "no row of the message is a measurement".into()
        });
    }
    decoded
}

/// Messages that carry no results, each with a sentence.
fn refused(header: &Segment<'_>) -> Option<Decoded> {
    let kind = header.field(9);
    let part = |number| kind.component(number).text().trim().to_owned();
    // Version 2.2 and careless senders write `ORU_R01` or `ORU` alone.
    let (code, trigger) = (part(1), part(2));
    let (code, trigger) = match code.split_once('_') {
        Some((code, rest)) if trigger.is_empty() => (code.to_owned(), rest.to_owned()),
        _ => (code, trigger),
    };
    let plain = |text: &str| text.chars().filter(char::is_ascii_alphanumeric).take(8).collect::<String>();
    let name = match (plain(&code).as_str(), plain(&trigger).as_str()) {
        ("", _) => "a message without a type (MSH-9)".to_owned(),
        (code, "") => code.to_owned(),
        (code, trigger) => format!("{code}^{trigger}"),
    };
    Some(match (code.as_str(), trigger.as_str()) {
        ("ORU" | "OUL", _) => return None,
        ("ACK" | "MCF" | "ORA", _) => {
            Decoded::ignored(format!("{name} is an acknowledgement: it carries no results"))
        }
        ("ORM" | "OMG" | "OML" | "ORR" | "ORL", _) => {
            Decoded::ignored(format!("{name} is about orders: it carries no results"))
        }
        ("QRY", "Q02" | "R02") => {
            Decoded::ignored(format!("{name} is a query for orders: it carries no results"))
        }
        ("QRY" | "QBP" | "QCN", "ZV1" | "ZV2" | "A19" | "Q22") => {
            Decoded::ignored(format!("{name} is a query for a patient: it carries no results"))
        }
        ("QRY" | "QBP" | "QCN", _) => Decoded::ignored(format!("{name} is a query: it carries no results")),
        _ => Decoded::held(format!("{name} is not a result message: this link takes results (ORU, OUL)")),
    })
}

/// The segments that hold at a point of the message.
#[derive(Clone, Copy)]
pub(super) struct Here<'m> {
    pub(super) message: &'m Message<'m>,
    pub(super) header: Segment<'m>,
    pub(super) patient: Option<Segment<'m>>,
    pub(super) visit: Option<Segment<'m>>,
    pub(super) common: Option<Segment<'m>>,
    pub(super) order: Option<Segment<'m>>,
    pub(super) specimen: Option<Segment<'m>>,
}

impl<'m> Here<'m> {
    /// What stands at a path, looked up in the segments of this group first.
    pub(super) fn element(&self, at: &Locator) -> Option<Element<'m>> {
        let path = match at {
            Locator::Hl7(path) => path,
            Locator::Hl7Row { code, path } => return self.row(code).map(|row| row.get(path)),
            _ => return None,
        };
        let own = match &*path.segment {
            "MSH" => Some(self.header),
            "PID" => self.patient,
            "PV1" => self.visit,
            "ORC" => self.common,
            "OBR" => self.order,
            "SPM" => self.specimen,
            _ => None,
        };
        match own {
            Some(segment) => Some(segment.get(path)),
            None => Some(self.message.get(path)),
        }
    }
}

impl<'m> Here<'m> {
    /// The first row of the message whose OBX-3 begins with `code`.
    fn row(&self, code: &str) -> Option<Segment<'m>> {
        let mut rows = self.message.segments().filter(|segment| segment.name() == "OBX");
        rows.find(|row| row.field(3).component(1).raw().trim() == code)
    }
}

impl Fields for Here<'_> {
    fn text(&self, at: &Locator) -> Option<Cow<'_, str>> {
        self.element(at).and_then(|element| element.value())
    }

    fn place(&self, at: &Locator) -> String {
        at.own_code()
    }

    fn whole(&self) -> Cow<'_, str> {
        Cow::Borrowed(self.header.raw())
    }

    fn beyond(&self) -> Vec<(String, String)> {
        Vec::new()
    }
}

struct Walk<'m> {
    profile: &'m FirmwareProfile,
    context: &'m LinkContext,
    here: Here<'m>,
    devices: Devices,
    decoded: Decoded,
    /// OBX rows seen, of any kind.
    rows: usize,
    /// The message reports alarms (ORU^R40).
    alarms: bool,
    /// An order said nothing but that the sender is alive.
    alive: bool,
    /// Rows that the page knows and ignores.
    known: usize,
}

impl<'m> Walk<'m> {
    fn all(&mut self, segments: &[Segment<'m>]) {
        let mut at = 0;
        while let Some(segment) = segments.get(at) {
            at += 1;
            match segment.name() {
                "PID" => {
                    self.here = Here {
                        patient: Some(*segment),
                        visit: None,
                        common: None,
                        order: None,
                        specimen: None,
                        ..self.here
                    };
                }
                "PV1" => self.here.visit = Some(*segment),
                "ORC" => self.here.common = Some(*segment),
                "OBR" => {
                    let group = group_of(segments.get(at..).unwrap_or_default());
                    self.group(Some(*segment), group);
                    at += group.len();
                    self.here.common = None;
                }
                // Rows without an order: careless senders leave OBR out.
                "OBX" => {
                    let group = group_of(segments.get(at - 1..).unwrap_or_default());
                    self.note("no-order", "OBX", "Results come without an OBR.");
                    self.group(None, group);
                    at += group.len().saturating_sub(1);
                }
                _ => {}
            }
        }
    }

    fn note(&mut self, code: &'static str, place: &str, text: &str) {
        self.decoded.findings.push(finding(code, place, text));
    }

    /// One order with its rows; each MDS in it gives a report of its own.
    fn group(&mut self, order: Option<Segment<'m>>, group: &[Segment<'m>]) {
        self.here.order = order;
        self.here.specimen = group.iter().find(|segment| segment.name() == "SPM").copied();
        let profile = self.profile;
        let control = outcome::is_control(&profile.plan.quality_control, &self.here);
        let findings = &mut self.decoded.findings;
        let person = match self.here.patient {
            Some(patient) if !control => hl7_person::person(profile, &patient, findings),
            _ => None,
        };
        let person = if control { None } else { self.as_the_page_says(person) };
        let findings = &mut self.decoded.findings;
        let specimen = hl7_person::specimen(profile, &self.here, findings);
        let about = About {
            person,
            place: person::place(&profile.plan.subject, &self.here)
                .or_else(|| self.here.visit.and_then(|visit| hl7_person::place(&visit))),
            specimen,
            orders: hl7_person::orders(&self.here),
            ..About::default()
        };
        let fallback = self.common_time();
        let rows = self.rows_of(group);
        self.devices.learn(&rows);
        if rows.is_empty() && control {
            self.control_without_rows();
        }
        self.emit(&rows, group, &about, &fallback, control);
        self.rows += rows.len();
    }

    /// Makers who put the patient's number or the name's parts elsewhere than PID: the page's places count before it.
    fn as_the_page_says(&mut self, person: Option<Person>) -> Option<Person> {
        let subject = &self.profile.plan.subject;
        let unknown = self.here.patient.is_some_and(|pid| pid.field(31).raw().trim() == "Y");
        if unknown || (subject.id.is_empty() && subject.family.is_empty() && subject.given.is_empty()) {
            return person;
        }
        let own = person::from_fields(subject, &self.here, &mut self.decoded.findings).unwrap_or_default();
        let mut person = person.unwrap_or_default();
        if !subject.id.is_empty() {
            person.identifiers = own.identifiers;
        }
        if !subject.family.is_empty() || !subject.given.is_empty() {
            (person.family, person.given) = (own.family, own.given);
        }
        let named = person.family.is_some() || !person.given.is_empty();
        (named || !person.identifiers.is_empty()).then_some(person)
    }

    fn rows_of(&self, group: &[Segment<'m>]) -> Vec<Obx<'m>> {
        let rows = group.iter().filter(|segment| segment.name() == "OBX");
        rows.enumerate().map(|(at, segment)| Obx::read(*segment, self.rows + at + 1)).collect()
    }

    /// Quality control that stands in the order itself.
    fn control_without_rows(&mut self) {
        let (profile, context) = (self.profile, self.context);
        let rules = profile.plan.quality_control.iter();
        let mut results = rules.filter_map(|rule| rule.result.as_ref());
        let made = results.find_map(|result| {
            hl7_control::measurement(profile, &self.here, result, context, &mut self.decoded.findings)
        });
        let Some(measurement) = made else { return };
        let mut composer = Composer::default();
        composer.push(measurement, None);
        let device = self.devices.device(profile, 0, &self.here, &mut self.decoded.findings);
        outcome::close(&mut self.decoded.reports, About { device, ..About::default() }, composer);
    }

    fn emit(
        &mut self,
        rows: &[Obx<'m>],
        group: &[Segment<'m>],
        about: &About,
        (fallback, observed): &(Moment, bool),
        control: bool,
    ) {
        let specimen = about.specimen.as_ref().and_then(|s| s.kind.as_ref()).map(|kind| kind.code.clone());
        let mut open: Vec<(u32, Composer)> = Vec::new();
        let only = only_mds(rows);
        let test = is_test(&self.here.header);
        self.alive |= self.alarms && hl7_alarm::is_sign_of_life(rows);
        for alarm in self.alarms_of(rows, fallback, test) {
            let mds = alarm.containment.map_or(only, |c| c.mds);
            push(self.profile, &mut open, mds, alarm, None);
        }
        let mut notes = Notes::of(group);
        for (row, note) in rows.iter().zip(notes.rows.drain(..)) {
            if self.alarms && hl7_alarm::consumes(row) {
                continue;
            }
            let found = (fallback, *observed);
            let Some(mut made) =
                row.row(self.profile, self.context, &self.devices, found, &mut self.decoded.findings)
            else {
                self.known += usize::from(row.is_ignored(self.profile));
                continue;
            };
            for text in notes.order.iter().chain(&note) {
                outcome::add_note(&mut made.note, text);
            }
            made.quality_control = control;
            if test {
                made.marks.status.test_data = true;
            }
            let (mut measurement, group) = made.measurement(self.profile, specimen.as_deref());
            row.set_class(&mut measurement);
            hl7_alarm::simple(self.profile, &mut measurement);
            let mds = measurement.containment.map_or(only, |c| c.mds);
            push(self.profile, &mut open, mds, measurement, group);
        }
        for (mds, composer) in open {
            let mut about = about.clone();
            about.device = self.devices.device(self.profile, mds, &self.here, &mut self.decoded.findings);
            about.device.clock = self.sent().filter(|_| about.device.point_of_care);
            outcome::close(&mut self.decoded.reports, about, composer);
        }
    }

    /// The alarms of an order; none in a message of another kind.
    fn alarms_of(&mut self, rows: &[Obx<'m>], fallback: &Moment, test: bool) -> Vec<Measurement> {
        if !self.alarms {
            return Vec::new();
        }
        let (profile, context) = (self.profile, self.context);
        let around = hl7_alarm::Around { profile, here: &self.here, fallback, test };
        let time = |row: &Obx<'_>, findings: &mut Vec<Finding>| {
            moment(profile, context, &row.field(14), &|| row.place(14), findings)
        };
        hl7_alarm::alarms(&around, rows, &time, &mut self.decoded.findings)
    }

    /// MSH-7: what time it was at the sender. A personal device's message is its gateway's, whose clock is another.
    fn sent(&self) -> Option<Moment> {
        let time = crate::hl7v2::parse_time(&self.here.header.field(7).component(1).value()?)?;
        self.profile.plan.time.stated(&time, self.context)
    }

    /// OBR-7, else MSH-7, else the receipt: the time of rows that say none (2.5 §4.5.3.7).
    /// With whether the order said it.
    fn common_time(&mut self) -> (Moment, bool) {
        let observed = self.here.order.map(|order| ("OBR-7", order.field(7)));
        let sent = Some(("MSH-7", self.here.header.field(7)));
        let findings = &mut self.decoded.findings;
        for (place, element) in [observed, sent].into_iter().flatten() {
            if let Some(moment) = moment(self.profile, self.context, &element, &|| place.to_owned(), findings)
            {
                return (moment, place == "OBR-7");
            }
        }
        (received(self.context), false)
    }
}

/// Rows that do not say where in the device they stand belong to the only device there is.
fn only_mds(rows: &[Obx<'_>]) -> u32 {
    let mut all = rows.iter().filter_map(|row| row.containment).map(|c| c.mds);
    let first = all.next().unwrap_or(0);
    if all.all(|mds| mds == first) { first } else { 0 }
}

fn push(
    profile: &FirmwareProfile,
    open: &mut Vec<(u32, Composer)>,
    mds: u32,
    measurement: Measurement,
    group: Option<usize>,
) {
    let group = group.and_then(|number| profile.plan.table.groups.get(number).map(|group| (number, group)));
    let at = open.iter().position(|(known, _)| *known == mds);
    let at = at.unwrap_or_else(|| {
        open.push((mds, Composer::default()));
        open.len() - 1
    });
    if let Some((_, composer)) = open.get_mut(at) {
        composer.push(measurement, group);
    }
}

/// A time field, when it says a time at all. One that cannot be read is told, and the next in line is asked.
pub(super) fn moment(
    profile: &FirmwareProfile,
    context: &LinkContext,
    element: &Element<'_>,
    place: &dyn Fn() -> String,
    findings: &mut Vec<Finding>,
) -> Option<Moment> {
    let component = element.component(1);
    let text = component.value()?;
    let Some(time) = crate::hl7v2::parse_time(&text) else {
        findings.push(finding("bad-time", place(), "The time cannot be read; another is taken."));
        return None;
    };
    Some(profile.plan.time.believed(&time, place, context, findings))
}

/// The rows, notes and specimen that belong to one OBR.
fn group_of<'s, 'm>(segments: &'s [Segment<'m>]) -> &'s [Segment<'m>] {
    let end = segments.iter().position(|segment| matches!(segment.name(), "OBR" | "ORC" | "PID" | "MSH"));
    segments.get(..end.unwrap_or(segments.len())).unwrap_or_default()
}

/// MSH-11: T (training) and D (debugging) are no patient's values (HL7 table 0103).
fn is_test(header: &Segment<'_>) -> bool {
    matches!(header.field(11).component(1).raw().trim(), "T" | "D")
}

/// NTE-3 texts, by what they stand behind.
struct Notes {
    order: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Notes {
    fn of(group: &[Segment<'_>]) -> Self {
        let mut notes = Self { order: Vec::new(), rows: Vec::new() };
        for segment in group {
            match segment.name() {
                "OBX" => notes.rows.push(Vec::new()),
                "NTE" => {
                    let lines = segment.field(3);
                    let texts = lines.repetitions().filter_map(|line| line.value().map(Cow::into_owned));
                    notes.rows.last_mut().unwrap_or(&mut notes.order).extend(texts);
                }
                _ => {}
            }
        }
        notes
    }
}

#[cfg(test)]
#[path = "hl7_tests.rs"]
mod tests;
