//! The device behind a PCD-01 message: its rows without values, its attributes, and the rates of its waves.

use std::sync::Arc;

use super::FirmwareProfile;
use super::flat::{self, EUI_64};
use super::hl7::Here;
use super::hl7_obx::Obx;
use super::metric::mdc_coding;
use crate::device::{Coding, Containment, Decimal, Device, Finding, Identifier};
use crate::hl7v2::Element;
use crate::nomenclature;

/// MDC_ATTR_SYS_ID, MDC_ATTR_ID_MODEL, MDC_ATTR_TIME_PD_SAMP.
const SYSTEM_ID: u32 = 67_972;
const ID_MODEL: u32 = 67_880;
const SAMPLE_PERIOD: u32 = 67_981;
/// Senders write the sampling rate under code 0, which is no code: here alone the reference id counts.
const SAMPLE_RATE: &str = "MDC_ATTR_SAMP_RATE";

/// What the rows of a message said of its devices so far; later orders may leave them out.
#[derive(Default)]
pub(super) struct Devices {
    known: Vec<Known>,
    periods: Vec<(Containment, Decimal)>,
}

#[derive(Clone, Default)]
struct Known {
    mds: u32,
    kind: Option<Coding>,
    personal: bool,
    system_id: Option<Arc<str>>,
    serial: Option<Arc<str>>,
    model: Option<Arc<str>>,
}

impl Devices {
    /// Takes in the rows of one order before its measurements are made.
    pub(super) fn learn(&mut self, rows: &[Obx<'_>]) {
        for row in rows {
            if let Some(period) = period_of(row)
                && let Some(at) = row.containment
            {
                self.periods.push((at, period));
            }
            if row.is_structure() {
                self.structure(row);
            }
        }
        // Without an MDS row, the equipment field of any row names the device.
        for row in rows.iter().filter(|row| !row.is_structure()) {
            let mds = row.containment.map_or(0, |c| c.mds);
            let known = self.at(mds);
            if known.system_id.is_none() && known.serial.is_none() {
                equipment(&row.field(18), known);
            }
        }
    }

    fn at(&mut self, mds: u32) -> &mut Known {
        let at = self.known.iter().position(|known| known.mds == mds);
        let at = at.unwrap_or_else(|| {
            self.known.push(Known { mds, ..Known::default() });
            self.known.len() - 1
        });
        // The index was found or pushed above.
        #[allow(clippy::indexing_slicing, reason = "the index was found or pushed just above")]
        &mut self.known[at]
    }

    fn structure(&mut self, row: &Obx<'_>) {
        let text = row.field(4);
        let alone = text.raw().trim().parse::<u32>().ok();
        let Some(mds) = row.containment.map(|c| c.mds).or(alone) else { return };
        let top = row.containment.is_none_or(|c| (c.vmd, c.channel, c.metric) == (0, 0, 0));
        let mdc = row.mdc();
        let value = row.field(5).component(1).value().map(|text| Arc::from(text.trim()));
        match mdc {
            Some(SYSTEM_ID) => {
                let known = self.at(mds);
                match value.as_deref().and_then(flat::eui_64) {
                    Some(id) => known.system_id = Some(id.into()),
                    // What the device calls itself counts before the label in OBX-18.
                    None => known.serial = value.or_else(|| known.serial.take()),
                }
            }
            Some(ID_MODEL) => self.at(mds).model = value,
            Some(code) if top && !row.has_value() => {
                let known = self.at(mds);
                // Another MDS under the same number begins here, in messages that join several devices.
                if known.kind.as_ref().is_some_and(|kind| *kind.code != *row.code) {
                    *known = Known { mds, ..Known::default() };
                }
                known.kind = Some(mdc_coding(code));
                known.personal = code >> 16 == nomenclature::PARTITION_INFRASTRUCTURE;
                equipment(&row.field(18), known);
            }
            _ if row.containment.is_some_and(|c| c.metric == 0) => {
                let known = self.at(mds);
                if known.system_id.is_none() && known.serial.is_none() {
                    equipment(&row.field(18), known);
                }
            }
            _ => {}
        }
    }

    /// Rows that belong to another row and are no measurement of their own.
    pub(super) fn consumes(&self, row: &Obx<'_>) -> bool {
        period_of(row).is_some()
    }

    /// The sampling period of the wave at `at`, from the facets below it.
    pub(super) fn period_ms(&self, at: Containment) -> Option<Decimal> {
        let own = |facet: &Containment| Containment { facet: 0, ..*facet } == Containment { facet: 0, ..at };
        self.periods.iter().rev().find(|(facet, _)| own(facet)).map(|(_, period)| *period)
    }

    /// The device of one MDS.
    pub(super) fn device(
        &self,
        profile: &FirmwareProfile,
        mds: u32,
        here: &Here<'_>,
        findings: &mut Vec<Finding>,
    ) -> Device {
        let mut device = flat::device(profile, here, findings);
        let Some(known) = self.known.iter().find(|known| known.mds == mds) else {
            sender(here, &mut device);
            return device;
        };
        if let Some(kind) = &known.kind {
            device.kind = Some(kind.clone());
            device.point_of_care &= !known.personal;
        }
        if let Some(model) = &known.model {
            device.model = Arc::clone(model);
        }
        device.serial = device.serial.or_else(|| known.serial.clone());
        if let Some(id) = &known.system_id {
            device.identifiers.push(eui(Arc::clone(id)));
        }
        sender(here, &mut device);
        device
    }
}

/// Who sent it, when nothing named the device: the assigner of the order number, then the sending application.
fn sender(here: &Here<'_>, device: &mut Device) {
    if !device.identifiers.is_empty() || device.serial.is_some() {
        return;
    }
    let order = here.order.map(|order| [order.field(3), order.field(2)]).into_iter().flatten();
    let id = order.chain([here.header.field(3)]).find_map(|field| eui_of(&field));
    device.identifiers.extend(id.map(|id| eui(id.into())));
}

fn eui(value: Arc<str>) -> Identifier {
    Identifier { system: EUI_64.into(), value, kind: None }
}

/// The EUI-64 in an EI or HD, wherever senders put it: before the component that says `EUI-64`.
fn eui_of(field: &Element<'_>) -> Option<String> {
    let components: Vec<Element<'_>> = field.components().take(6).collect();
    let pairs = components.iter().zip(components.iter().skip(1));
    pairs
        .filter(|(_, kind)| kind.raw().trim().eq_ignore_ascii_case("EUI-64"))
        .find_map(|(id, _)| flat::eui_64(&id.text()))
}

/// OBX-18, whose first repetition that is an EUI-64 counts; else what it says is a serial number.
fn equipment(field: &Element<'_>, known: &mut Known) {
    if field.is_empty() {
        return;
    }
    // A maker's own part with nothing behind it is on all its devices: it names none.
    let own = |id: &String| !id.ends_with("0000000000");
    match field.repetitions().find_map(|one| eui_of(&one).filter(own)) {
        Some(id) => known.system_id = Some(id.into()),
        None => known.serial = field.component(1).value().map(|text| Arc::from(text.trim())),
    }
}

fn period_of(row: &Obx<'_>) -> Option<Decimal> {
    let number = || row.field(5).component(1).value().and_then(|text| text.trim().parse::<Decimal>().ok());
    if row.mdc() == Some(SAMPLE_PERIOD) {
        // The period comes in seconds or, as its unit then says, in milliseconds (MDC 264338).
        let milliseconds = row.field(6).component(1).raw().trim() == "264338";
        let scale = if milliseconds { Decimal::new(1, 0) } else { Decimal::new(1000, 0) };
        return number()?.times(scale);
    }
    let named = row.code == "0" && row.text().trim() == SAMPLE_RATE;
    named.then(number).flatten().and_then(period_of_rate)
}

/// 1000 / rate to nine digits after the point: exact for every rate in use but thirds.
fn period_of_rate(rate: Decimal) -> Option<Decimal> {
    if rate.mantissa <= 0 {
        return None;
    }
    // 10^12 = 1000 ms × 10^9.
    let scaled = 10i128.pow(12);
    let power = 10i128.checked_pow(u32::from(rate.exponent.unsigned_abs()))?;
    let quotient = if rate.exponent < 0 {
        scaled.checked_mul(power)?.checked_div(rate.mantissa)?
    } else {
        scaled.checked_div(rate.mantissa.checked_mul(power)?)?
    };
    let mut period = Decimal::new(quotient, -9);
    while period.exponent < 0 && period.mantissa % 10 == 0 {
        period = Decimal::new(period.mantissa / 10, period.exponent + 1);
    }
    Some(period)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_becomes_its_exact_period() {
        for (rate, period) in
            [("500", "2"), ("256.0", "3.90625"), ("125", "8"), ("62.5", "16"), ("300", "3.333333333")]
        {
            assert_eq!(period_of_rate(rate.parse().unwrap()).unwrap().to_string(), period, "{rate}");
        }
        assert_eq!(period_of_rate("0".parse().unwrap()), None);
        assert_eq!(period_of_rate("-5".parse().unwrap()), None);
    }
}
