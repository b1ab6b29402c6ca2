//! Reads what an ISO/IEEE 11073-20601 agent told: the association and configuration in front of a kept frame give
//! the scan reports behind them their meaning.

mod model;
mod observed;
mod scan;

use std::borrow::Cow;

use super::{Facts, Said, Silent, Spoken, Statement};
use crate::device::{ClockSource, Finding, Identifier, MDC, Moment, Offset, Person, Precision};
use crate::firmware_profile::{FirmwareProfile, LinkContext, finding, time};
use crate::hl7v2::Time;
use crate::wire::ieee11073::apdu::{self, Octets};
use crate::wire::ieee11073::standard;
use model::{Model, bcd_time};
use scan::Reading;

/// EUI-64 as FHIR names it (PHD guide, PhdDevice).
const EUI_64: &str = "urn:oid:1.2.840.10004.1.1.1.0.0.1.0.0.1.2680";
/// `MDC_ATTR_TIME_ABS`: the agent's clock, beside the moment this box heard it.
const TIME_ABS: u32 = 67_975;

pub(super) fn read(
    bytes: &[u8],
    profile: &FirmwareProfile,
    context: &LinkContext,
    findings: &mut Vec<Finding>,
) -> Result<Vec<Said>, Silent> {
    let mut agent = Agent::default();
    let mut readings = Vec::new();
    let mut reports = 0usize;
    for apdu in apdu::apdus(bytes) {
        match apdu.choice {
            apdu::AARQ => agent.associated(apdu.contents),
            apdu::PRST => {
                let Some(operation) = apdu::operation(apdu.contents) else { continue };
                match operation.choice {
                    apdu::GET_RESULT => agent.told(operation.arguments),
                    apdu::EVENT | apdu::CONFIRMED_EVENT => {
                        let Some(event) = apdu::event(operation.arguments) else { continue };
                        if event.kind == apdu::NOTI_CONFIG {
                            agent.configured(event.information);
                        } else if apdu::is_scan(event.kind) {
                            reports += 1;
                            scan::read(&agent.model, &event, reports, &mut readings, findings);
                        }
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }
    if reports == 0 {
        return agent.only_told(profile, context, findings);
    }
    if agent.model.is_empty() {
        return Err(Silent::Held(
            "the report came without the configuration that says what its numbers mean".into(),
        ));
    }
    Ok(agent.said(readings, profile, context, findings))
}

/// What a frame tells of the agent itself.
#[derive(Default)]
struct Agent {
    system_id: Vec<u8>,
    model: Model,
    manufacturer: Option<String>,
    model_name: Option<String>,
    serial: Option<String>,
    firmware: Option<String>,
    kind: Option<u32>,
    clock: Option<[u8; 8]>,
}

impl Agent {
    fn associated(&mut self, contents: &[u8]) {
        let offer = apdu::association(contents).and_then(|association| association.offer);
        if let Some(offer) = offer {
            self.system_id = offer.system_id.to_vec();
            if let Some(objects) = standard::configuration(offer.config_id) {
                self.model.objects(&objects);
            }
        }
    }

    fn configured(&mut self, information: &[u8]) {
        let mut octets = Octets(information);
        let id = octets.u16();
        if octets.0.first_chunk().is_some_and(|count: &[u8; 2]| *count != [0, 0]) {
            self.model.objects(octets.0);
        } else if let Some(objects) = id.and_then(standard::configuration) {
            self.model.objects(&objects);
        }
    }

    /// Attributes of the MDS object (§6.3.2).
    fn told(&mut self, arguments: &[u8]) {
        let mut octets = Octets(arguments);
        if octets.u16() != Some(0) {
            return;
        }
        for (id, value) in model::attributes(&mut octets) {
            let mut value = Octets(value);
            match id {
                // MDC_ATTR_ID_MODEL: manufacturer and model number.
                2344 => {
                    self.manufacturer = value.counted().and_then(printed);
                    self.model_name = value.counted().and_then(printed);
                }
                // MDC_ATTR_SYS_ID
                2436 => {
                    if let Some(id) = value.counted().filter(|id| id.len() == 8) {
                        self.system_id = id.to_vec();
                    }
                }
                // MDC_ATTR_ID_PROD_SPECN
                2349 => self.specification(value),
                // MDC_ATTR_SYS_TYPE_SPEC_LIST: the first specialisation, in partition 8.
                2650 => {
                    let first = value.sequence().and_then(|(_, mut list)| list.u16());
                    self.kind = first.map(|code| (8 << 16) | u32::from(code));
                }
                // MDC_ATTR_TIME_ABS
                2439 => self.clock = value.0.first_chunk().copied(),
                _ => {}
            }
        }
    }

    /// Production-Specification: 1 is the serial number, 5 the firmware revision, 4 the software revision.
    fn specification(&mut self, mut value: Octets<'_>) {
        let Some((_, mut entries)) = value.sequence() else { return };
        while let (Some(kind), Some(_), Some(text)) = (entries.u16(), entries.u16(), entries.counted()) {
            match kind {
                1 => self.serial = printed(text),
                5 => self.firmware = printed(text),
                4 if self.firmware.is_none() => self.firmware = printed(text),
                _ => {}
            }
        }
    }

    fn facts(&self, profile: &FirmwareProfile, context: &LinkContext) -> Facts {
        let id = self.system_id.iter().map(|octet| format!("{octet:02X}")).collect::<String>();
        let identifier = (self.system_id.len() == 8).then(|| Identifier {
            system: EUI_64.into(),
            value: id.into(),
            kind: None,
        });
        Facts {
            manufacturer: self.manufacturer.clone(),
            model: self.model_name.clone(),
            serial: self.serial.clone(),
            firmware: self.firmware.clone(),
            identifiers: identifier.into_iter().collect(),
            kind: self.kind.map(crate::firmware_profile::metric::mdc_coding),
            clock: self.clock.and_then(|clock| profile.plan.time.stated(&bcd_time(&clock)?, context)),
        }
    }

    /// A frame without reports: the attributes, kept when they came. Their clock is the one thing measured.
    fn only_told(
        &self,
        profile: &FirmwareProfile,
        context: &LinkContext,
        findings: &mut Vec<Finding>,
    ) -> Result<Vec<Said>, Silent> {
        let Some(clock) = self.clock else {
            return Err(Silent::Ignored("the agent told what it is, and no measurement".into()));
        };
        let Some(told) = bcd_time(&clock) else {
            findings.push(finding("impossible-time", "Date-and-Time", "The agent's clock cannot be read."));
            return Err(Silent::Ignored("the agent's clock shows no time".into()));
        };
        let text = told.civil.strftime("%Y-%m-%dT%H:%M:%S").to_string();
        let mut statement = Statement::new(TIME_ABS.to_string(), MDC, Spoken::Text(text));
        statement.text = "Device clock".into();
        statement.taken = Some(time::received(context));
        statement.place = "Date-and-Time".into();
        // Said once for the record: whether the clock is believable.
        drop(profile.plan.time.believed(&told, &|| "Date-and-Time".into(), context, findings));
        Ok(vec![Said {
            device: self.facts(profile, context),
            statements: vec![statement],
            ..Said::default()
        }])
    }

    /// One `Said` for each person the reports name.
    fn said(
        &self,
        readings: Vec<Reading>,
        profile: &FirmwareProfile,
        context: &LinkContext,
        findings: &mut Vec<Finding>,
    ) -> Vec<Said> {
        let mut people: Vec<(Option<u16>, Vec<Statement>)> = Vec::new();
        for reading in readings {
            let taken = moment(&reading, profile, context, findings);
            let place = reading.place.clone();
            let mut statements = reading.statements;
            for statement in &mut statements {
                statement.taken.clone_from(&taken);
                statement.place.clone_from(&place);
            }
            match people.iter_mut().find(|(person, _)| *person == reading.person) {
                Some((_, known)) => known.extend(statements),
                None => people.push((reading.person, statements)),
            }
        }
        people
            .into_iter()
            .map(|(person, statements)| Said {
                device: self.facts(profile, context),
                person: person.map(|number| self.person(number)),
                statements,
                ..Said::default()
            })
            .collect()
    }

    /// A person slot of the device (§6.3.3.5 Person-Id): it identifies somebody to the agent alone.
    fn person(&self, number: u16) -> Person {
        let id = self.system_id.iter().map(|octet| format!("{octet:02x}")).collect::<String>();
        let system = format!("urn:bedside:person-id:{id}");
        let identifier = Identifier { system: system.into(), value: number.to_string().into(), kind: None };
        Person { identifiers: vec![identifier], ..Person::default() }
    }
}

/// When an observation was made, as its attributes say; `None` when they do not.
fn moment(
    reading: &Reading,
    profile: &FirmwareProfile,
    context: &LinkContext,
    findings: &mut Vec<Finding>,
) -> Option<Moment> {
    let place = || reading.place.clone();
    if let Some(base) = reading.base_offset {
        // Base time is UTC, and its offset is stated.
        return Some(Moment {
            micros: base.micros,
            offset_minutes: base.offset_minutes,
            precision: Precision::Fraction,
            offset: Offset::Stated,
            source: ClockSource::Device,
        });
    }
    if let Some(stamp) = &reading.absolute {
        let Some(stamp) = bcd_time(stamp) else {
            findings.push(finding(
                "impossible-time",
                place(),
                "The time stamp is no date; the time of receipt is taken.",
            ));
            return None;
        };
        return Some(profile.plan.time.believed(&stamp, &place, context, findings));
    }
    // A relative time is so long before the report as the report's own relative time says.
    let before = reading.event_time.wrapping_sub(reading.relative?);
    let mut moment = time::received(context);
    moment.micros -= i64::from(before) * 125;
    Some(moment)
}

/// Text of an octet string: printable, without the zeros that fill it up.
fn printed(octets: &[u8]) -> Option<String> {
    let text: Cow<'_, str> = String::from_utf8_lossy(octets);
    let text: String = text.trim_end_matches('\0').chars().filter(|c| !c.is_control()).collect();
    let text = text.trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// A civil time without zone.
fn civil(civil: jiff::civil::DateTime, fraction: bool) -> Time {
    let precision = if fraction { Precision::Fraction } else { Precision::Second };
    Time { civil, precision, offset_minutes: None }
}

#[cfg(test)]
#[path = "ieee11073/tests.rs"]
mod tests;
