//! Observed values of metric objects: numbers, compounds, enumerations, samples.

use super::super::{Spoken, Statement, absent};
use super::model::{CLASS_ENUMERATION, CLASS_NUMERIC, CLASS_SAMPLES, Object, float, sfloat, status};
use crate::device::{
    AbsentReason, Coding, Containment, Decimal, Finding, MDC, MeasurementStatus, MetricClass, Unit, Value,
};
use crate::firmware_profile::finding;
use crate::firmware_profile::metric::mdc_coding;
use crate::nomenclature;
use crate::wire::ieee11073::apdu::Octets;

/// Bits of an enumeration as FHIR names them (PHD guide, ASN1ToHL7: `<mdc code>.<bit>`).
const BITS: &str = "http://hl7.org/fhir/uv/phd/CodeSystem/ASN1ToHL7";
/// Partition of metrics.
const PARTITION_METRIC: u32 = 2;
/// More samples than any agent puts into one array.
const SAMPLES_MAX: usize = 32_768;

struct Observed<'o> {
    object: &'o Object,
    kind: u32,
    unit: Option<Unit>,
    status: MeasurementStatus,
    place: &'o str,
    findings: &'o mut Vec<Finding>,
    statements: Vec<Statement>,
}

/// What an observation says. `told`: the attributes of this observation, as against those of the configuration.
pub(super) fn statements(
    object: &Object,
    told: &[u16],
    place: &str,
    findings: &mut Vec<Finding>,
) -> Vec<Statement> {
    let Some(kind) = object.kind() else {
        findings.push(finding("no-type", place, "The object has no type; its value has no meaning."));
        return Vec::new();
    };
    if !matches!(object.class, CLASS_NUMERIC | CLASS_ENUMERATION | CLASS_SAMPLES) {
        return Vec::new();
    }
    // MDC_ATTR_MSMT_STAT
    let status = object.word(2375).map(status).unwrap_or_default();
    let mut observed = Observed { object, kind, unit: None, status, place, findings, statements: Vec::new() };
    // MDC_ATTR_UNIT_CODE
    observed.unit = object.word(2454).and_then(|code| observed.unit_of(code));
    for id in told {
        if let Some(value) = object.attribute(*id)
            && observed.attribute(*id, value).is_none()
        {
            observed.findings.push(finding("bad-observation", place, "A value ends before it is complete."));
        }
    }
    let note = supplemental(object);
    let mut statements = observed.statements;
    for statement in &mut statements {
        statement.note.clone_from(&note);
    }
    statements
}

impl Observed<'_> {
    fn attribute(&mut self, id: u16, value: &[u8]) -> Option<()> {
        let mut octets = Octets(value);
        match id {
            // Basic-, Simple- and Nu-Observed-Value.
            2636 => self.number(self.kind, sfloat(octets.u16()?)),
            2646 => self.number(self.kind, float(octets.u32()?)),
            2384 => self.full(&mut octets)?,
            // The same in compounds.
            2677 | 2676 => {
                let ids = self.members();
                let (count, mut list) = octets.sequence()?;
                for at in 0..usize::from(count) {
                    let number = if id == 2677 { sfloat(list.u16()?) } else { float(list.u32()?) };
                    match ids.get(at) {
                        Some(kind) => self.number(*kind, number),
                        None => self.tell("no-type", "A member of a compound has no type; it is left out."),
                    }
                }
            }
            2379 => {
                let (_, mut list) = octets.sequence()?;
                while !list.is_empty() {
                    self.full(&mut list)?;
                }
            }
            // Enumerations: simple OID, simple and basic bits, text, and all of it.
            2633 => {
                let code = octets.u16()?;
                self.coded(code);
            }
            2661 => {
                let bits = octets.u32()?;
                self.bits(bits, 32);
            }
            2662 => {
                let bits = octets.u16()?;
                self.bits(u32::from(bits), 16);
            }
            2634 => self.text(octets.counted().unwrap_or(value)),
            2462 => self.enumeration(&mut octets)?,
            // Simple-Sa-Observed-Value
            2632 => {
                let samples = octets.counted().filter(|_| octets.is_empty()).unwrap_or(value);
                self.samples(samples);
            }
            _ => {}
        }
        Some(())
    }

    fn tell(&mut self, code: &'static str, text: &str) {
        self.findings.push(finding(code, self.place, text));
    }

    fn unit_of(&mut self, code: u16) -> Option<Unit> {
        let number = (4 << 16) | u32::from(code);
        match nomenclature::mdc_unit(number) {
            Some(unit) => Some(Unit { ucum: unit.ucum.into(), display: unit.display.into() }),
            None => {
                self.tell(
                    "unknown-unit",
                    "The unit is not known; its number is kept as text, without a code.",
                );
                Some(Unit { ucum: "".into(), display: format!("MDC {number}").into() })
            }
        }
    }

    /// Metric-Id-List: the members of a compound, in the partition of their own or of the type.
    fn members(&self) -> Vec<u32> {
        let partition = self.object.word(2655).map_or(self.kind >> 16, u32::from);
        let list = self.object.attribute(2678).and_then(|value| Octets(value).sequence());
        let mut ids = Vec::new();
        if let Some((_, mut list)) = list {
            while let Some(id) = list.u16() {
                ids.push((partition << 16) | u32::from(id));
            }
        }
        ids
    }

    fn number(&mut self, kind: u32, number: Result<Decimal, AbsentReason>) {
        let spoken = match number {
            Ok(number) => Spoken::Number(number),
            Err(reason) => absent(reason),
        };
        self.say(kind, spoken, self.unit.clone(), self.status);
    }

    /// Nu-Observed-Value: metric id, status, unit and FLOAT of its own.
    fn full(&mut self, octets: &mut Octets<'_>) -> Option<()> {
        let (id, bits, unit, raw) = (octets.u16()?, octets.u16()?, octets.u16()?, octets.u32()?);
        let kind = (self.kind >> 16 << 16) | u32::from(id);
        let spoken = match float(raw) {
            Ok(number) => Spoken::Number(number),
            Err(reason) => absent(reason),
        };
        let unit = self.unit_of(unit);
        self.say(kind, spoken, unit, status(bits));
        Some(())
    }

    /// Enum-Observed-Value: metric id, status, and a choice of code, text and bits.
    fn enumeration(&mut self, octets: &mut Octets<'_>) -> Option<()> {
        let (id, bits, choice) = (octets.u16()?, octets.u16()?, octets.u16()?);
        let mut value = Octets(octets.counted()?);
        self.kind = (self.kind >> 16 << 16) | u32::from(id);
        self.status = status(bits);
        match choice {
            1 => {
                let code = value.u16()?;
                self.coded(code);
            }
            2 => self.text(value.counted()?),
            16 => {
                let bits = value.u32()?;
                self.bits(bits, 32);
            }
            _ => self.tell("unknown-choice", "An enumeration of a kind nobody knows is left out."),
        }
        Some(())
    }

    fn coded(&mut self, code: u16) {
        // Enum-Observed-Value-Partition, else metrics.
        let partition = self.object.word(2656).map_or(PARTITION_METRIC, u32::from);
        let coding = mdc_coding((partition << 16) | u32::from(code));
        self.say_value(Value::Coded { codings: vec![coding], text: None });
    }

    /// Which bits are set; bit 0 is the most significant. Bits nobody set are not listed: most have no meaning.
    fn bits(&mut self, bits: u32, width: u32) {
        let set = (0..width).filter(|bit| bits >> (width - 1 - bit) & 1 == 1);
        let set: Vec<(Coding, bool)> =
            set.map(|bit| (Coding::new(BITS, &format!("{}.{bit}", self.kind), None), true)).collect();
        if !set.is_empty() {
            self.say_value(Value::Bits(set));
        }
    }

    fn text(&mut self, octets: &[u8]) {
        match super::printed(octets) {
            Some(text) => self.say_value(Value::Text(text.into())),
            None => self.say_value(Value::Absent(AbsentReason::Unknown)),
        }
    }

    fn say_value(&mut self, value: Value) {
        self.say(self.kind, Spoken::Value(value), None, self.status);
    }

    fn say(&mut self, kind: u32, spoken: Spoken, unit: Option<Unit>, status: MeasurementStatus) {
        let spoken = match reason(status) {
            Some(reason) => absent(reason),
            None => spoken,
        };
        let mut statement = Statement::new(kind.to_string(), MDC, spoken);
        statement.unit = unit;
        statement.status = status;
        statement.text = nomenclature::refid(kind).unwrap_or_default().into();
        statement.containment =
            Some(Containment { metric: u32::from(self.object.handle), ..Containment::default() });
        // Metric-Spec-Small: setting and calculated are bits of its category.
        statement.class = self.object.word(2630).and_then(class);
        if self.object.class == CLASS_SAMPLES {
            statement.class = Some(MetricClass::Waveform);
        }
        self.statements.push(statement);
    }

    /// A sample array with its period and scale; without them it has no meaning.
    fn samples(&mut self, octets: &[u8]) {
        match sample_array(self.object, octets, self.unit.clone()) {
            Some(value) => self.say_value(value),
            None => {
                self.tell(
                    "no-scale",
                    "Samples without period, size or scale have no meaning; they are left out.",
                );
            }
        }
    }
}

/// Why a status leaves no value.
const fn reason(status: MeasurementStatus) -> Option<AbsentReason> {
    if status.invalid {
        Some(AbsentReason::Error)
    } else if status.not_available || status.msmt_ongoing {
        Some(AbsentReason::TempUnknown)
    } else {
        None
    }
}

/// Metric-Spec-Small bits 12 (manual), 13 (setting) and 14 (calculation) of MetricSpecSmall (§A.3.4).
const fn class(bits: u16) -> Option<MetricClass> {
    if bits & 0x0004 != 0 {
        Some(MetricClass::Setting)
    } else if bits & 0x0002 != 0 {
        Some(MetricClass::Calculation)
    } else {
        None
    }
}

/// Supplemental-Types, in words for people.
fn supplemental(object: &Object) -> Option<String> {
    let (_, mut list) = Octets(object.attribute(2657)?).sequence()?;
    let mut types = Vec::new();
    while let (Some(partition), Some(code)) = (list.u16(), list.u16()) {
        let code = (u32::from(partition) << 16) | u32::from(code);
        types.push(nomenclature::refid(code).map_or_else(|| format!("MDC {code}"), str::to_owned));
    }
    (!types.is_empty()).then(|| format!("Supplemental type: {}", types.join(", ")))
}

fn sample_array(object: &Object, octets: &[u8], unit: Option<Unit>) -> Option<Value> {
    // MDC_ATTR_TIME_PD_SAMP in 1/8 ms, MDC_ATTR_SA_SPECN: array size, sample size and significant bits, flags.
    let period = Octets(object.attribute(2445)?).u32()?;
    let mut specification = Octets(object.attribute(2413)?);
    let (_, size, significant) = (specification.u16()?, specification.u8()?, specification.u8()?);
    let width = usize::from(size / 8);
    let scale = Scale::read(object, width)?;
    let raw = |sample: &[u8]| {
        let signed = significant == u8::MAX;
        let number = match *sample {
            [a] if signed => i64::from(a.cast_signed()),
            [a] => i64::from(a),
            [a, b] if signed => i64::from(i16::from_be_bytes([a, b])),
            [a, b] => i64::from(u16::from_be_bytes([a, b])),
            [a, b, c, d] if signed => i64::from(i32::from_be_bytes([a, b, c, d])),
            [a, b, c, d] => i64::from(u32::from_be_bytes([a, b, c, d])),
            _ => return None,
        };
        i32::try_from(number - scale.lower_scaled).ok()
    };
    let samples = octets.chunks_exact(width).take(SAMPLES_MAX).map(raw).collect();
    let period_ms = Decimal::new(i128::from(period), 0).times(Decimal::new(125, -3))?;
    Some(Value::SampleArray { origin: scale.lower, factor: scale.factor()?, period_ms, unit, samples })
}

/// Scale-and-Range-Specification: two absolute values and the samples that stand for them.
struct Scale {
    lower: Decimal,
    upper: Decimal,
    lower_scaled: i64,
    upper_scaled: i64,
}

impl Scale {
    fn read(object: &Object, width: usize) -> Option<Self> {
        // MDC_ATTR_SCALE_SPECN_I8, _I16, _I32
        let id = match width {
            1 => 2417,
            2 => 2415,
            4 => 2416,
            _ => return None,
        };
        let mut octets = Octets(object.attribute(id)?);
        let (lower, upper) = (float(octets.u32()?).ok()?, float(octets.u32()?).ok()?);
        let mut scaled = || {
            Some(match width {
                1 => i64::from(octets.u8()?),
                2 => i64::from(octets.u16()?),
                _ => i64::from(octets.u32()?),
            })
        };
        Some(Self { lower, upper, lower_scaled: scaled()?, upper_scaled: scaled()? })
    }

    /// (upper − lower) / (upper scaled − lower scaled), to twelve digits after the last of the range.
    fn factor(&self) -> Option<Decimal> {
        const DIGITS: i16 = 12;
        let minus = Decimal::new(-self.lower.mantissa, self.lower.exponent);
        let range = self.upper.plus(minus)?;
        let steps = i128::from(self.upper_scaled - self.lower_scaled);
        let scaled = range.mantissa.checked_mul(1_000_000_000_000)?;
        let mut factor = Decimal::new(scaled.checked_div(steps)?, range.exponent.checked_sub(DIGITS)?);
        while factor.mantissa != 0 && factor.mantissa % 10 == 0 {
            factor = Decimal::new(factor.mantissa / 10, factor.exponent + 1);
        }
        (factor.mantissa != 0).then_some(factor)
    }
}
