//! Scan reports: fixed, variable and grouped, with and without persons (§7.4.3, §A.11).

use super::super::Statement;
use super::model::{BaseOffset, Model, Object, ValueMap, base_offset, bcd_time};
use super::observed;
use crate::device::Finding;
use crate::firmware_profile::finding;
use crate::wire::ieee11073::apdu::{Event, Octets};

/// A person the agent does not know.
const NO_PERSON: u16 = 0xFFFF;
/// More observations than any report has.
const OBSERVATIONS_MAX: usize = 20_000;

/// One observation of one object.
#[derive(Default)]
pub(super) struct Reading {
    pub(super) person: Option<u16>,
    pub(super) statements: Vec<Statement>,
    pub(super) absolute: Option<[u8; 8]>,
    pub(super) base_offset: Option<BaseOffset>,
    /// 1/8 ms on the agent's clock.
    pub(super) relative: Option<u32>,
    /// The same clock when the report was made.
    pub(super) event_time: u32,
    pub(super) place: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Fixed,
    Variable,
    Grouped,
}

/// The shape of an event type, and whether it names persons.
const fn shape(kind: u16) -> Option<(Shape, bool)> {
    Some(match kind {
        0x0D1D | 0x0D23 | 0x0D29 => (Shape::Fixed, false),
        0x0D1E | 0x0D22 | 0x0D28 => (Shape::Variable, false),
        0x0D1F | 0x0D26 | 0x0D2C => (Shape::Fixed, true),
        0x0D20 | 0x0D25 | 0x0D2B => (Shape::Variable, true),
        0x0D24 | 0x0D2A => (Shape::Grouped, false),
        0x0D27 | 0x0D2D => (Shape::Grouped, true),
        _ => return None,
    })
}

struct Scan<'s> {
    model: &'s Model,
    scanner: u16,
    event_time: u32,
    place: String,
    person: Option<u16>,
    readings: &'s mut Vec<Reading>,
    findings: &'s mut Vec<Finding>,
}

pub(super) fn read(
    model: &Model,
    event: &Event<'_>,
    number: usize,
    readings: &mut Vec<Reading>,
    findings: &mut Vec<Finding>,
) {
    let mut scan = Scan {
        model,
        scanner: event.handle,
        event_time: event.time,
        place: format!("report {number}"),
        person: None,
        readings,
        findings,
    };
    if scan.all(event).is_none() {
        let place = scan.place.clone();
        scan.findings.push(finding("bad-report", place, "A scan report ends before it is complete."));
    }
}

impl Scan<'_> {
    fn all(&mut self, event: &Event<'_>) -> Option<()> {
        let (shape, persons) = shape(event.kind)?;
        let mut octets = Octets(event.information);
        // Data-req-id and scan-report-no tell nothing of the values.
        octets.take(4)?;
        let (_, mut list) = octets.sequence()?;
        if !persons {
            return self.list(shape, &mut list);
        }
        while !list.is_empty() {
            self.person = Some(list.u16()?).filter(|person| *person != NO_PERSON);
            if shape == Shape::Grouped {
                self.group(list.counted()?)?;
            } else {
                self.list(shape, &mut list.sequence()?.1)?;
            }
        }
        Some(())
    }

    fn list(&mut self, shape: Shape, list: &mut Octets<'_>) -> Option<()> {
        while !list.is_empty() {
            match shape {
                Shape::Fixed => {
                    let handle = list.u16()?;
                    self.fixed(handle, list.counted()?);
                }
                Shape::Variable => {
                    let handle = list.u16()?;
                    let told = super::model::attributes(list);
                    if let Some(object) = self.object(handle) {
                        let told: Vec<(u16, Vec<u8>)> =
                            told.into_iter().map(|(id, value)| (id, value.to_vec())).collect();
                        self.observe(object, told);
                    }
                }
                Shape::Grouped => self.group(list.counted()?)?,
            }
        }
        Some(())
    }

    /// The object observed; the agent itself (handle 0) tells attributes, not measurements.
    fn object(&mut self, handle: u16) -> Option<Object> {
        let object = self.model.object(handle).cloned();
        if object.is_none() && handle != 0 {
            let text = format!("Object {handle} is not in the configuration; its value has no meaning.");
            self.findings.push(finding("unknown-object", self.place.clone(), text));
        }
        object
    }

    fn fixed(&mut self, handle: u16, data: &[u8]) {
        let Some(object) = self.object(handle) else { return };
        let Some(map) = object.map() else {
            let text = format!("Object {handle} has no attribute map; its value has no meaning.");
            self.findings.push(finding("no-attribute-map", self.place.clone(), text));
            return;
        };
        match parts(&map, data) {
            Some((told, as_mapped)) => {
                if !as_mapped {
                    let text =
                        format!("The value of object {handle} is longer or shorter than its map says.");
                    self.findings.push(finding("other-length", self.place.clone(), text));
                }
                self.observe(object, told);
            }
            None => {
                let text = format!("The value of object {handle} does not fit its map; it is left out.");
                self.findings.push(finding("bad-observation", self.place.clone(), text));
            }
        }
    }

    /// A group of a scanner: the attributes of several objects, one after the other.
    fn group(&mut self, data: &[u8]) -> Option<()> {
        let Some(groups) = self.model.groups(self.scanner) else {
            let text = "The scanner has no map; its values have no meaning.";
            self.findings.push(finding("no-attribute-map", self.place.clone(), text));
            return Some(());
        };
        let mut rest = Octets(data);
        for (handle, map) in groups {
            let length = map.iter().map(|(_, length)| length).sum();
            let (told, _) = parts(&map, rest.take(length)?)?;
            if let Some(object) = self.object(handle) {
                self.observe(object, told);
            }
        }
        Some(())
    }

    /// An observation: the attributes of the configuration, and over them those told now.
    fn observe(&mut self, mut object: Object, told: Vec<(u16, Vec<u8>)>) {
        if self.readings.len() >= OBSERVATIONS_MAX {
            return;
        }
        let place = format!("{}, object {}", self.place, object.handle);
        let mut reading = Reading { person: self.person, place, ..Reading::default() };
        // A stamp of the configuration is not one of this observation.
        for (id, value) in &told {
            let octets = Octets(value);
            match *id {
                // MDC_ATTR_TIME_STAMP_ABS, _BO
                2448 => reading.absolute = value.first_chunk().copied(),
                2690 => reading.base_offset = base_offset(octets),
                // MDC_ATTR_TIME_STAMP_REL: only beside a relative time of the report does it tell a moment.
                2449 if self.event_time != u32::MAX => {
                    reading.event_time = self.event_time;
                    reading.relative = Octets(value).u32();
                }
                _ => {}
            }
        }
        let ids: Vec<u16> = told.iter().map(|(id, _)| *id).collect();
        object.attributes.extend(told);
        reading.statements = observed::statements(&object, &ids, &reading.place, self.findings);
        if !reading.statements.is_empty() {
            self.readings.push(reading);
        }
    }
}

/// Attribute ids with their octets.
type Parts = Vec<(u16, Vec<u8>)>;

/// Cuts an observation by its map; whether it had the map's length. Agents of a standard configuration are known to
/// add a time stamp, to leave it out, and to send the other width of number: what is left must then be a date.
fn parts(map: &ValueMap, data: &[u8]) -> Option<(Parts, bool)> {
    const STAMP: u16 = 2448;
    let whole: usize = map.iter().map(|(_, length)| length).sum();
    if whole == data.len() {
        return Some((cut(map, data)?, true));
    }
    let mut other: ValueMap = map.iter().copied().filter(|(id, _)| *id != STAMP).collect();
    let bare: usize = other.iter().map(|(_, length)| length).sum();
    if bare == data.len() {
        return Some((cut(&other, data)?, false));
    }
    let (_, stamp) = data.split_last_chunk::<8>()?;
    bcd_time(stamp)?;
    if bare + 8 != data.len() {
        let [(id, length)] = other.as_mut_slice() else { return None };
        // MDC_ATTR_NU_VAL_OBS_BASIC and _SIMP.
        (*id, *length) = match (*id, data.len()) {
            (2636, 12) => (2646, 4),
            (2646, 10) => (2636, 2),
            _ => return None,
        };
    }
    other.push((STAMP, 8));
    Some((cut(&other, data)?, false))
}

fn cut(map: &ValueMap, data: &[u8]) -> Option<Parts> {
    let mut octets = Octets(data);
    map.iter().map(|(id, length)| Some((*id, octets.take(*length)?.to_vec()))).collect()
}
