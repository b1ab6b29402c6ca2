//! Philips IntelliVue Data Export: what a monitor said within a period → measurements, alarms, patient and bed.
//!
//! Names and scales may come after the values they belong to (the monitor says the context of one object a second);
//! within a kept frame they count for what stands before them, too. Source: Data Export Interface Programming Guide.

mod alarms;
mod value;
mod waves;

use std::collections::HashMap;
use std::sync::Arc;

use super::{Facts, Said, Silent, Spoken, Statement, absent};
use crate::device::{
    AbsentReason, Coding, Finding, Identifier, MeasurementStatus, MetricClass, Moment, Person, Place, Unit,
    Value,
};
use crate::firmware_profile::{FirmwareProfile, LinkContext, finding, person};
use crate::hl7v2::Time;
use crate::wire::intellivue::message::{
    ALERTS, Attributes, Cursor, ENUMERATION, MDS, Message, NUMERIC, Object, PATIENT, WAVE, attribute,
};
use crate::wire::intellivue::{Piece, facts, pieces};

/// Messages of one kept frame that are read.
const MESSAGES_MAX: usize = 20_000;

pub(super) fn read(
    bytes: &[u8],
    profile: &FirmwareProfile,
    context: &LinkContext,
    findings: &mut Vec<Finding>,
) -> Result<Vec<Said>, Silent> {
    let pieces: Vec<Piece<'_>> = pieces(bytes).take(MESSAGES_MAX).collect();
    let mut frame = Frame::new(profile, context, findings);
    for piece in &pieces {
        frame.look_ahead(piece);
    }
    for piece in &pieces {
        frame.piece(piece);
    }
    frame.finish()
}

/// A moment on the monitor's own clock.
#[derive(Clone, Default)]
struct Instant {
    ticks: u32,
    /// `None`: the monitor did not say how its clock relates to the calendar.
    moment: Option<Moment>,
}

/// What is known of one object.
#[derive(Clone, Default)]
struct Context {
    label: Option<u32>,
    label_text: Option<String>,
    class: Option<MetricClass>,
    off: bool,
    unit: Option<u16>,
    samples: Option<Vec<u8>>,
    scale: Option<Vec<u8>>,
    fixed: Option<Vec<u8>>,
    period: Option<u32>,
}

impl Context {
    fn learn(&mut self, attributes: Attributes<'_>, only_new: bool) {
        fn set<T>(slot: &mut Option<T>, said: Option<T>, only_new: bool) {
            if said.is_some() && !(only_new && slot.is_some()) {
                *slot = said;
            }
        }
        for (id, value) in attributes {
            let word = || Cursor(value).u16();
            let double = || Cursor(value).u32();
            match id {
                attribute::LABEL => set(&mut self.label, double(), only_new),
                attribute::LABEL_STRING => set(&mut self.label_text, value::text(value), only_new),
                attribute::METRIC_SPECIFICATION => set(&mut self.class, category(value), only_new),
                attribute::METRIC_STATE if !only_new => {
                    self.off = word().is_some_and(|state| state & 0x8000 != 0)
                }
                attribute::UNIT => set(&mut self.unit, word(), only_new),
                attribute::SAMPLE_SPECIFICATION => set(&mut self.samples, Some(value.to_vec()), only_new),
                attribute::SCALE => set(&mut self.scale, Some(value.to_vec()), only_new),
                attribute::FIXED_SAMPLES => set(&mut self.fixed, Some(value.to_vec()), only_new),
                attribute::SAMPLE_PERIOD => set(&mut self.period, double(), only_new),
                _ => {}
            }
        }
    }

    fn unit(&self) -> Option<Unit> {
        self.unit.and_then(value::unit)
    }
}

/// MetricCategory: what is no measurement is said so.
fn category(specification: &[u8]) -> Option<MetricClass> {
    let mut cursor = Cursor(specification);
    cursor.u32()?;
    match cursor.u16()? {
        3 | 4 | 130 => Some(MetricClass::Setting),
        5 | 6 => Some(MetricClass::Calculation),
        _ => None,
    }
}

type Place3 = (u16, u16, u16);

/// One kept frame while it is read.
struct Frame<'r> {
    profile: &'r FirmwareProfile,
    link: &'r LinkContext,
    findings: &'r mut Vec<Finding>,
    contexts: HashMap<Place3, Context>,
    device: Device,
    /// Ticks and civil time that belong together.
    clock: Option<(u32, Time)>,
    person: Option<Person>,
    bed: Option<String>,
    demo: bool,
    patient_alarms: alarms::List,
    technical_alarms: alarms::List,
    runs: waves::Runs,
    statements: Vec<Statement>,
    said: Vec<Said>,
    messages: usize,
    bad: bool,
}

#[derive(Default)]
struct Device {
    manufacturer: Option<String>,
    model: Option<String>,
    id: Option<Identifier>,
    serial: Option<String>,
    software: Option<String>,
}

impl<'r> Frame<'r> {
    fn new(profile: &'r FirmwareProfile, link: &'r LinkContext, findings: &'r mut Vec<Finding>) -> Self {
        Self {
            profile,
            link,
            findings,
            contexts: HashMap::new(),
            device: Device::default(),
            clock: None,
            person: None,
            bed: None,
            demo: false,
            patient_alarms: alarms::List::default(),
            technical_alarms: alarms::List::default(),
            runs: waves::Runs::default(),
            statements: Vec::new(),
            said: Vec::new(),
            messages: 0,
            bad: false,
        }
    }

    /// The first that is said of each object counts until something else is said.
    fn look_ahead(&mut self, piece: &Piece<'_>) {
        match piece {
            Piece::Known(known) => {
                for (class, object) in facts(known) {
                    self.context(class, &object).learn(object.attributes, true);
                    if class == MDS {
                        self.system(object.attributes, true);
                    }
                }
            }
            Piece::Message(bytes) => {
                let Some(Message::Operation(operation)) = Message::parse(bytes) else { return };
                if let Some((_, attributes)) = operation.mds_create() {
                    self.system(attributes, true);
                }
                let Some(result) = operation.poll_result() else { return };
                result.objects(|object| {
                    if result.class == MDS {
                        self.system(object.attributes, true);
                    } else {
                        self.context(result.class, &object).learn(object.attributes, true);
                    }
                });
            }
            Piece::Unreadable(_) => {}
        }
    }

    fn context(&mut self, class: u16, object: &Object<'_>) -> &mut Context {
        self.contexts.entry((class, object.context, object.handle)).or_default()
    }

    fn piece(&mut self, piece: &Piece<'_>) {
        match piece {
            Piece::Known(known) => self.known(known),
            Piece::Message(bytes) => self.message(bytes),
            Piece::Unreadable(count) => {
                let text = format!("{count} bytes at the end are no whole message.");
                self.findings.push(finding("half-message", "frame", text));
                self.bad = true;
            }
        }
    }

    fn known(&mut self, known: &[u8]) {
        for (class, object) in facts(known) {
            match class {
                MDS => self.system(object.attributes, false),
                PATIENT => self.patient(object.attributes),
                ALERTS => {
                    let list = |id| object.attributes.find(id);
                    if let Some(told) = list(attribute::PATIENT_ALARMS) {
                        self.patient_alarms.remember(told, list(attribute::PATIENT_ALARMS_SINCE));
                    }
                    if let Some(told) = list(attribute::TECHNICAL_ALARMS) {
                        self.technical_alarms.remember(told, list(attribute::TECHNICAL_ALARMS_SINCE));
                    }
                }
                _ => self.context(class, &object).learn(object.attributes, false),
            }
        }
    }

    fn message(&mut self, bytes: &[u8]) {
        let operation = match Message::parse(bytes) {
            Some(Message::Operation(operation)) => operation,
            Some(Message::Session(..)) => return self.messages += 1,
            None => {
                let text = format!("A message of {} bytes is not of the Data Export protocol.", bytes.len());
                return self.findings.push(finding("unknown-message", "frame", text));
            }
        };
        self.messages += 1;
        if let Some((_, attributes)) = operation.mds_create() {
            self.system(attributes, false);
        }
        let Some(result) = operation.poll_result() else { return };
        let at = self.instant(result.relative, result.absolute);
        let whole = result.objects(|object| self.object(result.class, &object, &at));
        if !whole {
            self.findings.push(finding(
                "half-result",
                "poll result",
                "A poll result ends before its last object.",
            ));
        }
    }

    /// When a poll result was made: its own time, else by the monitor's clock.
    fn instant(&mut self, ticks: u32, absolute: [u8; 8]) -> Instant {
        let own = value::time(absolute);
        let time = own.or_else(|| self.on_clock(ticks));
        Instant { ticks, moment: time.and_then(|time| self.believed(&time)) }
    }

    fn on_clock(&self, ticks: u32) -> Option<Time> {
        let (base, time) = self.clock.as_ref()?;
        // A result may be a little older than the last word on the clock.
        let since = i32::from_be_bytes(ticks.wrapping_sub(*base).to_be_bytes());
        let micros = i64::from(since) * 125;
        let civil = time.civil.checked_add(jiff::SignedDuration::from_micros(micros)).ok()?;
        Some(Time { civil, precision: crate::device::Precision::Fraction, offset_minutes: None })
    }

    fn believed(&mut self, time: &Time) -> Option<Moment> {
        Some(self.profile.plan.time.believed(time, &|| "poll result".into(), self.link, self.findings))
    }

    /// Attributes of the monitor itself.
    fn system(&mut self, attributes: Attributes<'_>, only_new: bool) {
        let keep = |slot: &Option<String>| only_new && slot.is_some();
        let (mut absolute, mut relative) = (None, None);
        for (id, bytes) in attributes {
            let mut cursor = Cursor(bytes);
            match id {
                attribute::MODEL if !keep(&self.device.model) => {
                    self.device.manufacturer = value::plain_text(&mut cursor);
                    self.device.model = value::plain_text(&mut cursor);
                }
                attribute::SYSTEM_ID if !(only_new && self.device.id.is_some()) => {
                    let id = cursor.sized().filter(|id| id.iter().any(|byte| *byte != 0));
                    self.device.id = id.map(value::system_id);
                }
                attribute::PRODUCTION if !keep(&self.device.serial) => self.production(cursor),
                attribute::BED_LABEL if !keep(&self.bed) => self.bed = value::text(bytes),
                attribute::OPERATING_MODE => self.demo = cursor.u16().is_some_and(|mode| mode & 0x2000 != 0),
                attribute::TIME_ABSOLUTE => {
                    absolute = bytes.first_chunk::<8>().and_then(|bcd| value::time(*bcd))
                }
                attribute::TIME_RELATIVE => relative = cursor.u32(),
                _ => {}
            }
        }
        if let (Some(relative), Some(absolute)) = (relative, absolute)
            && !(only_new && self.clock.is_some())
        {
            self.clock = Some((relative, absolute));
        }
    }

    /// Serial number and software of the whole system: the first of each.
    fn production(&mut self, mut cursor: Cursor<'_>) {
        let Some((count, mut entries)) = cursor.list() else { return };
        for _ in 0..count {
            let (Some(kind), Some(_)) = (entries.u16(), entries.u16()) else { return };
            let text = value::plain_text(&mut entries);
            match kind {
                1 if self.device.serial.is_none() => self.device.serial = text,
                4 if self.device.software.is_none() => self.device.software = text,
                _ => {}
            }
        }
    }

    /// Who it is about. Only an admitted patient is somebody; another patient begins another report.
    fn patient(&mut self, attributes: Attributes<'_>) {
        const ADMITTED: u16 = 2;
        let text = |id| attributes.find(id).and_then(value::text);
        let word = |id| attributes.find(id).and_then(|bytes| Cursor(bytes).u16());
        let Some(state) = word(attribute::PATIENT_STATE) else { return };
        let mut now = None;
        if state == ADMITTED {
            let subject = &self.profile.plan.subject;
            let id =
                text(attribute::PATIENT_ID).filter(|id| !person::names_nobody(subject, id, self.findings));
            let birth = attributes.find(attribute::BIRTH_DATE).and_then(|bcd| bcd.first_chunk::<4>());
            let birth = birth.map(|date| date.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
            let birth = birth
                .filter(|date| date.bytes().all(|digit| digit.is_ascii_digit()) && !date.starts_with("0000"));
            let given = [text(attribute::GIVEN_NAME), text(attribute::MIDDLE_NAME)];
            let person = Person {
                identifiers: id
                    .map(|id| Identifier {
                        system: subject.system.clone().unwrap_or_else(|| person::NO_AUTHORITY.into()),
                        value: id.into(),
                        kind: subject.kind.clone(),
                    })
                    .into_iter()
                    .collect(),
                family: text(attribute::FAMILY_NAME).map(Into::into),
                given: given.into_iter().flatten().map(Into::into).collect(),
                birth_date: birth.and_then(|date| person::birth_date(&date, self.findings)),
                gender: match word(attribute::SEX) {
                    Some(1) => Some("male".into()),
                    Some(2) => Some("female".into()),
                    _ => None,
                },
            };
            let is_named =
                !person.identifiers.is_empty() || person.family.is_some() || !person.given.is_empty();
            now = is_named.then_some(person);
        }
        if now != self.person {
            self.close();
            self.person = now;
        }
    }

    fn object(&mut self, class: u16, object: &Object<'_>, at: &Instant) {
        let place = (object.context, object.handle);
        match class {
            MDS => self.system(object.attributes, false),
            PATIENT => self.patient(object.attributes),
            ALERTS => {
                for (id, list) in object.attributes {
                    let list = match id {
                        attribute::PATIENT_ALARMS => self.patient_alarms.hear(list, at, &mut self.statements),
                        attribute::TECHNICAL_ALARMS => {
                            self.technical_alarms.hear(list, at, &mut self.statements)
                        }
                        _ => Some(()),
                    };
                    self.whole(list, "alarm list");
                }
            }
            NUMERIC | ENUMERATION | WAVE => {
                self.context(class, object).learn(object.attributes, false);
                let context = self.context(class, object).clone();
                let own = self.stamp(object.attributes);
                for (id, value) in object.attributes {
                    let read = self.observed(id, value, place, &context, own.as_ref().unwrap_or(at), at);
                    self.whole(read, "observed value");
                }
            }
            _ => {}
        }
    }

    fn whole(&mut self, read: Option<()>, what: &str) {
        if read.is_none() {
            self.findings.push(finding(
                "half-value",
                what,
                "A value ends before its last byte; it is left out.",
            ));
        }
    }

    /// The time of the value where it is not that of the poll, as for a cuff pressure.
    fn stamp(&mut self, attributes: Attributes<'_>) -> Option<Instant> {
        let absolute = attributes.find(attribute::STAMP_ABSOLUTE).and_then(|bcd| bcd.first_chunk::<8>());
        let relative = attributes.find(attribute::STAMP_RELATIVE).and_then(|ticks| Cursor(ticks).u32());
        let relative = relative.filter(|ticks| *ticks != u32::MAX);
        let time = absolute
            .and_then(|bcd| value::time(*bcd))
            .or_else(|| relative.and_then(|ticks| self.on_clock(ticks)))?;
        let moment = self.believed(&time)?;
        Some(Instant { ticks: relative.unwrap_or_default(), moment: Some(moment) })
    }

    fn observed(
        &mut self,
        id: u16,
        bytes: &[u8],
        place: (u16, u16),
        context: &Context,
        own: &Instant,
        at: &Instant,
    ) -> Option<()> {
        let mut cursor = Cursor(bytes);
        match id {
            attribute::NUMERIC_VALUE => self.numeric(&mut cursor, place, context, own)?,
            attribute::COMPOUND_VALUE => {
                let (count, mut values) = cursor.list()?;
                for _ in 0..count {
                    self.numeric(&mut values, place, context, own)?;
                }
            }
            attribute::ENUMERATION_VALUE => self.enumeration(&mut cursor, place, context, own)?,
            attribute::SAMPLES => self.runs.add(&mut cursor, place, context, at, self.demo, self.findings)?,
            attribute::COMPOUND_SAMPLES => {
                let (count, mut values) = cursor.list()?;
                for _ in 0..count {
                    self.runs.add(&mut values, place, context, at, self.demo, self.findings)?;
                }
            }
            _ => {}
        }
        Some(())
    }

    /// NuObsValue: physiological id, state, unit, number.
    fn numeric(
        &mut self,
        cursor: &mut Cursor<'_>,
        place: (u16, u16),
        context: &Context,
        at: &Instant,
    ) -> Option<()> {
        let (physio, state) = (cursor.u16()?, cursor.u16()?);
        let (unit, bits) = (cursor.u16()?, cursor.u32()?);
        let (status, reason) = self.status(state, context);
        let spoken = match (reason, value::float(bits)) {
            (Some(reason), _) | (None, Err(reason)) => absent(reason),
            (None, Ok(number)) => Spoken::Number(number),
        };
        let mut statement = named(physio, place, context, spoken);
        statement.unit = value::unit(unit);
        statement.status = status;
        statement.taken.clone_from(&at.moment);
        self.statements.push(statement);
        Some(())
    }

    /// EnumObsVal: physiological id, state and a code, with or without a number.
    fn enumeration(
        &mut self,
        cursor: &mut Cursor<'_>,
        place: (u16, u16),
        context: &Context,
        at: &Instant,
    ) -> Option<()> {
        const WITH_NUMBER: u16 = 4;
        let (physio, state) = (cursor.u16()?, cursor.u16()?);
        let choice = cursor.u16()?;
        let mut inner = Cursor(cursor.sized()?);
        let code = inner.u16()?;
        let (status, reason) = self.status(state, context);
        let mut unit = None;
        let spoken = match (reason, choice) {
            (Some(reason), _) => absent(reason),
            (None, WITH_NUMBER) => {
                let bits = inner.u32()?;
                unit = inner.u16().and_then(value::unit);
                value::float(bits).map_or_else(absent, Spoken::Number)
            }
            (None, _) => {
                let code = Coding::new(value::PRIVATE, &format!("{code:04x}"), None);
                Spoken::Value(Value::Coded { codings: vec![code], text: None })
            }
        };
        let mut statement = named(physio, place, context, spoken);
        if choice == WITH_NUMBER {
            statement.note = Some(format!("Device code: {code:04x}"));
        }
        statement.unit = unit;
        statement.status = status;
        statement.taken.clone_from(&at.moment);
        self.statements.push(statement);
        Some(())
    }

    fn status(&self, state: u16, context: &Context) -> (MeasurementStatus, Option<AbsentReason>) {
        let (mut status, mut reason) = value::state(state);
        status.demo_data |= self.demo;
        if context.off {
            status.off = true;
            reason = reason.or(Some(AbsentReason::NotPerformed));
        }
        (status, reason)
    }

    /// Ends what is said of one person.
    fn close(&mut self) {
        let mut statements = std::mem::take(&mut self.statements);
        statements.extend(self.runs.finish());
        if statements.is_empty() {
            return;
        }
        self.said.push(Said { person: self.person.clone(), statements, ..Said::default() });
    }

    fn finish(mut self) -> Result<Vec<Said>, Silent> {
        self.close();
        if self.said.is_empty() {
            return Err(match self.messages {
                0 if self.bad => {
                    Silent::Held("no message of the Data Export protocol can be read in it".into())
                }
                _ => Silent::Ignored("the monitor said nothing of a patient".into()),
            });
        }
        let bed = self.bed.map(Arc::<str>::from);
        for said in &mut self.said {
            let device = &self.device;
            said.device = Facts {
                manufacturer: device.manufacturer.clone(),
                model: device.model.clone(),
                serial: device.serial.clone(),
                firmware: device.software.clone(),
                identifiers: device.id.iter().cloned().collect(),
                kind: None,
                clock: None,
            };
            said.place = bed.clone().map(|bed| Place { bed: Some(bed), ..Place::default() });
        }
        Ok(self.said)
    }
}

/// A value under the number of what it is; where the monitor has no number for it, under that of its label.
fn named(physio: u16, place: (u16, u16), context: &Context, spoken: Spoken) -> Statement {
    let label = context.label.filter(|_| physio == value::METRIC_NOS);
    let (code, system) = match label.map(u32::to_be_bytes) {
        Some([0, 2, high, low]) => value::code(value::PARTITION_METRICS, u16::from_be_bytes([high, low])),
        Some([a, b, high, low]) => {
            (format!("{a:02x}{b:02x}-{high:02x}{low:02x}").into(), value::PRIVATE.into())
        }
        None => value::code(value::PARTITION_METRICS, physio),
    };
    let mut statement = Statement::new(code, system, spoken);
    statement.text = context.label_text.clone().unwrap_or_default();
    statement.class = context.class;
    statement.containment = Some(waves::containment(place));
    statement.place = format!("numeric {physio:04x}");
    statement
}

#[cfg(test)]
#[path = "intellivue/tests.rs"]
mod tests;
