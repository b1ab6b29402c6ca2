//! Reports in few words, for the golden cases.

use std::sync::Arc;

use bedside::clock::Timestamp;
use bedside::device::{
    AbsentReason, ClockSource, Coding, Comparator, Component, Containment, Decimal, Device, Domain,
    Identifier, LOINC, MDC, Measurement, MeasurementStatus, Metric, MetricClass, Moment, Offset, Person,
    Precision, Report, ResultStatus, Specimen, Unit, Value,
};
use bedside::translate::{Context, Gateway, QualityControl, Unidentified};

/// 2026-03-14T09:26:53.589Z, when every frame of the goldens arrives.
pub(crate) const RECEIVED: i64 = 1_773_480_413_589_000;
/// 2026-03-14T09:26:50Z, when everything is measured.
pub(crate) const TAKEN: i64 = RECEIVED - 3_589_000;

pub(crate) fn gateway() -> Gateway {
    Gateway {
        id: identifier("urn:oid:1.2.840.10004.1.1.1.0.0.1.0.0.1.2680", "ecde3d4e58532d31", None),
        name: "Ward 3 gateway".into(),
        version: "0.1.0".into(),
        patient_system: None,
    }
}

pub(crate) fn context(gateway: &Gateway) -> Context<'_> {
    Context {
        gateway,
        link: "bed-12",
        received: Timestamp::from_micros(RECEIVED, true),
        simulated: false,
        unidentified: Unidentified::Hold,
        quality_control: QualityControl::Hold,
        bound_patient: None,
        waveforms: true,
        sequence: "5f3c",
        attributions: &[],
        withdrawn: false,
    }
}

pub(crate) fn identifier(system: &str, value: &str, kind: Option<&str>) -> Identifier {
    Identifier { system: system.into(), value: value.into(), kind: kind.map(Into::into) }
}

pub(crate) fn patient() -> Person {
    Person {
        identifiers: vec![
            identifier("urn:oid:2.16.756.5.30.999.1", "V-20260314", Some("VN")),
            identifier("urn:oid:2.16.756.5.30.999.2", "PAT-0042", Some("MR")),
        ],
        family: Some("Muster".into()),
        given: vec!["Erika".into(), "Maria".into()],
        birth_date: Some("1971-02-28".into()),
        gender: Some("female".into()),
    }
}

pub(crate) fn report(device: Device, measurements: Vec<Measurement>) -> Report {
    Report { device, person: Some(patient()), place: None, specimen: None, orders: Vec::new(), measurements }
}

pub(crate) fn oximeter() -> Device {
    Device {
        manufacturer: "Beispiel Medizintechnik".into(),
        model: "OX-1".into(),
        serial: Some("700123".into()),
        firmware: Some("2.4".into()),
        kind: Some(Coding::new(MDC, "528388", Some("MDC_DEV_SPEC_PROFILE_PULS_OXIM"))),
        ..Device::default()
    }
}

pub(crate) fn monitor() -> Device {
    Device {
        manufacturer: "Beispiel Medizintechnik".into(),
        model: "MON-9".into(),
        serial: Some("A1".into()),
        identifiers: vec![identifier("urn:bedside:authority:EUI-64", "0123456789abcdef", None)],
        firmware: Some("K.21".into()),
        kind: Some(Coding::new(MDC, "69965", Some("MDC_DEV_MON_PHYSIO_MULTI_PARAM_MDS"))),
        point_of_care: true,
        ..Device::default()
    }
}

pub(crate) fn analyser() -> Device {
    Device {
        manufacturer: "Labor Beispiel".into(),
        model: "HEMA 5".into(),
        serial: Some("9-77".into()),
        ..Device::default()
    }
}

/// A vital sign by its LOINC and MDC codes and the device's own; an empty code is left out.
pub(crate) fn vital(label: &str, loinc: &str, mdc: &str, own: &str) -> Metric {
    let all = [(LOINC, loinc), (MDC, mdc), ("urn:bedside:system:beispiel", own)];
    Metric {
        codings: all
            .iter()
            .filter(|(_, code)| !code.is_empty())
            .map(|(s, c)| Coding::new(s, c, None))
            .collect(),
        label: label.into(),
        domain: Domain::VitalSigns,
        class: MetricClass::Measurement,
        site: None,
    }
}

pub(crate) fn analyte(label: &str, loinc: &str, own: &str) -> Metric {
    Metric { domain: Domain::Laboratory, ..vital(label, loinc, "", own) }
}

pub(crate) fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

pub(crate) fn numeric(value: &str, ucum: &str, display: &str) -> Value {
    let unit = Unit { ucum: ucum.into(), display: display.into() };
    Value::Numeric { value: decimal(value), comparator: None, unit: (!ucum.is_empty()).then_some(unit) }
}

pub(crate) fn compared(comparator: Comparator, value: &str, ucum: &str) -> Value {
    match numeric(value, ucum, ucum) {
        Value::Numeric { value, unit, .. } => Value::Numeric { value, comparator: Some(comparator), unit },
        other => other,
    }
}

pub(crate) fn part(metric: Metric, value: Value) -> Component {
    Component { metric: Arc::new(metric), value, status: MeasurementStatus::default() }
}

/// A cuff reading; an empty number is a pressure the device could not measure.
pub(crate) fn pressures(systolic: &str, diastolic: &str, mean: &str) -> Value {
    let members = [
        ("Systolic", "8480-6", "150021", systolic),
        ("Diastolic", "8462-4", "150022", diastolic),
        ("Mean", "8478-0", "150023", mean),
    ];
    let value = |text: &str| match text {
        "" => Value::Absent(AbsentReason::NotANumber),
        text => numeric(text, "mm[Hg]", "mmHg"),
    };
    Value::Compound(
        members.iter().map(|(label, loinc, mdc, n)| part(vital(label, loinc, mdc, ""), value(n))).collect(),
    )
}

pub(crate) fn panel() -> Metric {
    vital("Blood pressure", "85354-9", "150020", "")
}

/// At +01:00, to the second.
pub(crate) fn at(micros: i64) -> Moment {
    Moment {
        micros,
        offset_minutes: 60,
        precision: Precision::Second,
        offset: Offset::Stated,
        source: ClockSource::Device,
    }
}

pub(crate) fn measured(metric: Metric, value: Value) -> Measurement {
    Measurement {
        metric: Arc::new(metric),
        value,
        status: MeasurementStatus::default(),
        result_status: ResultStatus::Final,
        taken: at(TAKEN),
        until: None,
        containment: None,
        interpretation: Vec::new(),
        reference_range: None,
        note: None,
    }
}

pub(crate) fn heart_rate(value: &str) -> Measurement {
    measured(vital("Heart rate", "8867-4", "147842", ""), numeric(value, "/min", "bpm"))
}

/// The same at `1.vmd.channel.metric` of a monitor.
pub(crate) fn placed(measurement: Measurement, vmd: u32, channel: u32, metric: u32) -> Measurement {
    Measurement { containment: Some(Containment { mds: 1, vmd, channel, metric, facet: 0 }), ..measurement }
}

pub(crate) fn specimen(number: &str) -> Specimen {
    Specimen {
        identifier: Some(number.into()),
        kind: Some(Coding::new("http://snomed.info/sct", "119297000", Some("Blood specimen"))),
    }
}
