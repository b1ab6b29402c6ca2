//! What devices say, in the words of IEEE 11073-10201: a device (MDS), its metrics, and measurements of them.
//!
//! Nothing here does I/O. `Debug` of a [`Measurement`] or a person prints codes and sizes, never a value.

mod alarm;
mod decimal;

pub use alarm::{Alarm, AlarmInactivation, AlarmPhase, AlarmPriority, AlarmState, AlertKind};
pub use decimal::{Decimal, DecimalError};

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

/// A coded concept: system URI, code and the text people read (FHIR `Coding`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, ToSchema)]
pub struct Coding {
    /// Code system URI, e.g. `http://loinc.org`, `urn:iso:std:iso:11073:10101`; a private one is kept as it came.
    pub system: Arc<str>,
    pub code: Arc<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub display: Option<Arc<str>>,
}

/// `http://loinc.org`
pub const LOINC: &str = "http://loinc.org";
/// IEEE 11073-10101 nomenclature (FHIR MDC).
pub const MDC: &str = "urn:iso:std:iso:11073:10101";
/// UCUM, the only unit system we emit.
pub const UCUM: &str = "http://unitsofmeasure.org";

impl Coding {
    pub fn new(system: &str, code: &str, display: Option<&str>) -> Self {
        Self { system: system.into(), code: code.into(), display: display.map(Into::into) }
    }
}

/// What a metric is about: decides category, profile and which guide shapes the FHIR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Domain {
    VitalSigns,
    Laboratory,
    /// Settings and technical figures of the device itself.
    Device,
}

/// How a metric was taken (IEEE 11073-10201 MetricCategory, reduced).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MetricClass {
    Measurement,
    Setting,
    Calculation,
    QualityControl,
    Waveform,
    /// What the device warns of; its value is best a [`Value::Alarm`], a text or code will do.
    Alarm,
}

/// What is measured: codes, unit and place. Shared by all measurements of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Metric {
    /// All codes of this metric, the leading one first: LOINC, MDC, then the device's own code untranslated.
    pub codings: Vec<Coding>,
    /// Short text for people, e.g. `Heart rate`.
    pub label: Arc<str>,
    pub domain: Domain,
    pub class: MetricClass,
    /// Body site (MDC or SNOMED CT), when the device says or the profile fixes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site: Option<Coding>,
}

impl Metric {
    /// The code in `system`, when this metric has one.
    pub fn code_in(&self, system: &str) -> Option<&str> {
        self.codings.iter().find(|c| &*c.system == system).map(|c| &*c.code)
    }
}

/// A unit: UCUM code for machines, display for people (`/min`, `beats/min`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Unit {
    pub ucum: Arc<str>,
    pub display: Arc<str>,
}

/// A result outside what the device can count: `> 15000`, `<0.5`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Comparator {
    Less,
    LessOrEqual,
    GreaterOrEqual,
    Greater,
}

/// Why there is no value (FHIR `data-absent-reason`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AbsentReason {
    Unknown,
    TempUnknown,
    NotPerformed,
    NotANumber,
    PositiveInfinity,
    NegativeInfinity,
    Error,
    AskedUnknown,
    NotApplicable,
    Unsupported,
    AsText,
}

impl AbsentReason {
    /// The code in `http://terminology.hl7.org/CodeSystem/data-absent-reason`.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::TempUnknown => "temp-unknown",
            Self::NotPerformed => "not-performed",
            Self::NotANumber => "not-a-number",
            Self::PositiveInfinity => "positive-infinity",
            Self::NegativeInfinity => "negative-infinity",
            Self::Error => "error",
            Self::AskedUnknown => "asked-unknown",
            Self::NotApplicable => "not-applicable",
            Self::Unsupported => "unsupported",
            Self::AsText => "as-text",
        }
    }
}

/// One member of a compound value, e.g. the systolic pressure of a cuff reading.
#[derive(Clone, PartialEq, Serialize)]
pub struct Component {
    pub metric: Arc<Metric>,
    pub value: Value,
    pub status: MeasurementStatus,
}

/// What was measured, by kind. Translation to FHIR knows these kinds and nothing of devices.
#[derive(Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Value {
    Numeric {
        value: Decimal,
        comparator: Option<Comparator>,
        unit: Option<Unit>,
    },
    /// Several values of one act of measuring (a blood-pressure panel).
    Compound(Vec<Component>),
    Coded {
        codings: Vec<Coding>,
        text: Option<Arc<str>>,
    },
    /// Named bits, each set or not (IEEE 11073-20601 BITS).
    Bits(Vec<(Coding, bool)>),
    /// A run of samples: sample = origin + raw × factor; `None` is a gap.
    SampleArray {
        origin: Decimal,
        factor: Decimal,
        period_ms: Decimal,
        unit: Option<Unit>,
        samples: Vec<Option<i32>>,
    },
    Text(Arc<str>),
    Alarm(Box<Alarm>),
    Absent(AbsentReason),
}

impl Value {
    /// The kind, for logs and the desk.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Numeric { .. } => "numeric",
            Self::Compound(_) => "compound",
            Self::Coded { .. } => "coded",
            Self::Bits(_) => "bits",
            Self::SampleArray { .. } => "sample-array",
            Self::Text(_) => "text",
            Self::Alarm(_) => "alarm",
            Self::Absent(_) => "absent",
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())
    }
}

impl fmt::Debug for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.metric.label, self.value.kind())
    }
}

/// The 11073 MeasurementStatus bits plus what HL7 v2 OBX-8/OBX-11 add (PoCD mappingv2). All false = valid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct MeasurementStatus {
    pub invalid: bool,
    pub questionable: bool,
    pub not_available: bool,
    pub calibration_ongoing: bool,
    pub test_data: bool,
    pub demo_data: bool,
    pub validated: bool,
    pub early_indication: bool,
    pub msmt_ongoing: bool,
    pub off: bool,
    pub in_alarm: bool,
    pub alarm_inhibited: bool,
}

/// How much of a time stamp was stated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    Year,
    Month,
    Day,
    Minute,
    Second,
    Fraction,
}

/// Where the offset of a time stamp comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Offset {
    /// The device stated it.
    Stated,
    /// Taken from the link's configured IANA zone, named here.
    Assumed(Arc<str>),
}

/// Whose clock stamped it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClockSource {
    Device,
    /// The device said no time: the arrival time at this box.
    Receipt,
}

/// When something was measured: an instant, the offset it is to be shown with, and how sure we are.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Moment {
    /// Microseconds since the Unix epoch.
    pub micros: i64,
    /// Offset from UTC in minutes with which the time is written out.
    pub offset_minutes: i16,
    pub precision: Precision,
    pub offset: Offset,
    pub source: ClockSource,
}

/// An identifier: who issued it (a URI or a local name) and its value.
#[derive(Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Identifier {
    /// URI of the issuing system, e.g. `urn:oid:…`; a bare assigning authority is kept as `urn:bedside:authority:NAME`.
    pub system: Arc<str>,
    pub value: Arc<str>,
    /// HL7 table 0203 code such as `MR` or `PI`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<Arc<str>>,
}

impl fmt::Debug for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identifier({}, …)", self.system)
    }
}

/// The device as one frame and its profile describe it (11073 MDS).
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize)]
pub struct Device {
    pub manufacturer: Arc<str>,
    pub model: Arc<str>,
    /// Serial number, when known.
    pub serial: Option<Arc<str>>,
    /// EUI-64 as 16 hex digits, or another unique id, when the device says one.
    pub identifiers: Vec<Identifier>,
    pub firmware: Option<Arc<str>>,
    /// MDC object type, e.g. `69965^MDC_DEV_MON_PHYSIO_MULTI_PARAM_MDS`, as system/code.
    pub kind: Option<Coding>,
    /// `true`: point-of-care (MDS/VMD/Channel); `false`: personal or spot device (PHD guide).
    pub point_of_care: bool,
    /// `true`: the profile has only been tried on a simulator.
    pub simulated: bool,
    /// What time the device said it is, when the frame was made; believed or not. Nothing measured.
    #[serde(skip)]
    pub clock: Option<Moment>,
}

impl Device {
    /// The key that names this device on the box: a stated identifier, else the serial number, else `fallback`
    /// (the link's name). Never empty, at most 200 bytes.
    pub fn key(&self, fallback: &str) -> String {
        let own = self.identifiers.first().map(|i| i.value.as_ref()).or(self.serial.as_deref());
        let mut key = match own {
            Some(own) if !own.trim().is_empty() => {
                format!("{}/{}/{}", self.manufacturer, self.model, own.trim())
            }
            _ => format!("{}/{}@{fallback}", self.manufacturer, self.model),
        };
        while key.len() > 200 {
            key.pop();
        }
        key
    }
}

/// The person a frame names. Names and dates are kept as the source wrote them.
#[derive(Clone, PartialEq, Eq, Default, Serialize)]
pub struct Person {
    pub identifiers: Vec<Identifier>,
    pub family: Option<Arc<str>>,
    pub given: Vec<Arc<str>>,
    /// `YYYY-MM-DD`, `YYYY-MM` or `YYYY`.
    pub birth_date: Option<Arc<str>>,
    /// FHIR administrative gender code.
    pub gender: Option<Arc<str>>,
}

impl fmt::Debug for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Person({} identifiers)", self.identifiers.len())
    }
}

/// Where the device or patient is (PV1-3): point of care, room, bed, facility.
#[derive(Clone, PartialEq, Eq, Default, Serialize)]
pub struct Place {
    pub point_of_care: Option<Arc<str>>,
    pub room: Option<Arc<str>>,
    pub bed: Option<Arc<str>>,
    pub facility: Option<Arc<str>>,
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Place(…)")
    }
}

/// The specimen of a laboratory result.
#[derive(Clone, PartialEq, Eq, Default, Serialize)]
pub struct Specimen {
    /// The barcode or accession number as read, trimmed.
    pub identifier: Option<Arc<str>>,
    /// Specimen type as coded or named by the device.
    pub kind: Option<Coding>,
}

impl fmt::Debug for Specimen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Specimen(…)")
    }
}

/// Where a metric sits in the device: OBX-4 `MDS.VMD.CHAN.METRIC.FACET`; zeros are levels not stated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Containment {
    pub mds: u32,
    pub vmd: u32,
    pub channel: u32,
    pub metric: u32,
    pub facet: u32,
}

/// How final a result is (HL7 table 0085, OBX-11, and what FHIR calls `status`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResultStatus {
    #[default]
    Final,
    Preliminary,
    Corrected,
    Cancelled,
    EnteredInError,
}

/// One decoded fact.
#[derive(Clone, PartialEq, Serialize)]
pub struct Measurement {
    pub metric: Arc<Metric>,
    pub value: Value,
    pub status: MeasurementStatus,
    pub result_status: ResultStatus,
    pub taken: Moment,
    /// End of an averaging or sampling period, when stated.
    pub until: Option<Moment>,
    pub containment: Option<Containment>,
    /// HL7 table 0078 codes: `H`, `L`, `HH`, `A` …
    pub interpretation: Vec<Arc<str>>,
    /// Reference range as the device wrote it, e.g. `3.5-5.1`.
    pub reference_range: Option<Arc<str>>,
    pub note: Option<Arc<str>>,
}

impl fmt::Debug for Measurement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Measurement({}: {})", self.metric.label, self.value.kind())
    }
}

/// Something in a frame a person should know of; it never stops the rest from being decoded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Finding {
    /// Stable code for counting, e.g. `unknown-code`, `no-zone`, `bad-number`.
    pub code: &'static str,
    /// Where: `OBX[3]-3`, `line 2`, `/data/value/bp_high`.
    pub place: String,
    /// A sentence without patient data.
    pub text: String,
}

/// Everything one frame said about one device and at most one person. A frame may hold several.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    pub device: Device,
    pub person: Option<Person>,
    pub place: Option<Place>,
    pub specimen: Option<Specimen>,
    /// Placer/filler order numbers, in that order.
    pub orders: Vec<Identifier>,
    pub measurements: Vec<Measurement>,
}
