//! Made-up devices and measurements for the tests of this room.

use std::sync::Arc;

use super::live::{ProfileView, Sighting, UpstreamStanding, UpstreamState};
use crate::clock::Timestamp;
use crate::device::{
    ClockSource, Coding, Component, Decimal, Device, Domain, Identifier, LOINC, Measurement,
    MeasurementStatus, Metric, MetricClass, Moment, Offset, Person, Precision, Report, ResultStatus, UCUM,
    Unit, Value,
};

/// 2026-11-22T12:00:00Z, the beginning of all tests here.
pub(super) const NOON: i64 = 1_795_348_800_000_000;

pub(super) fn seconds_after_noon(seconds: i64) -> Timestamp {
    Timestamp::from_micros(NOON + seconds * 1_000_000, true)
}

pub(super) fn metric(code: &str, label: &str) -> Arc<Metric> {
    Arc::new(Metric {
        codings: vec![Coding::new(LOINC, code, Some(label))],
        label: label.into(),
        domain: Domain::VitalSigns,
        class: MetricClass::Measurement,
        site: None,
    })
}

pub(super) fn numeric(value: &str, display: &str) -> Value {
    let unit = Unit { ucum: UCUM.into(), display: display.into() };
    Value::Numeric { value: value.parse().unwrap(), comparator: None, unit: Some(unit) }
}

pub(super) fn measurement(metric: Arc<Metric>, value: Value, second: i64) -> Measurement {
    Measurement {
        metric,
        value,
        status: MeasurementStatus::default(),
        result_status: ResultStatus::Final,
        taken: Moment {
            micros: NOON + second * 1_000_000,
            offset_minutes: 0,
            precision: Precision::Second,
            offset: Offset::Stated,
            source: ClockSource::Device,
        },
        until: None,
        containment: None,
        interpretation: Vec::new(),
        reference_range: None,
        note: None,
    }
}

pub(super) fn heart_rate(value: &str, second: i64) -> Measurement {
    measurement(metric("8867-4", "Heart rate"), numeric(value, "/min"), second)
}

/// Three samples of 20 ms, the second of them missing.
pub(super) fn pleth(second: i64) -> Measurement {
    let (origin, factor, period_ms) = (Decimal::new(0, 0), Decimal::new(1, -1), Decimal::new(20, 0));
    let samples = vec![Some(10), None, Some(20)];
    let wave = Value::SampleArray { origin, factor, period_ms, unit: None, samples };
    measurement(metric("150452", "Pleth"), wave, second)
}

pub(super) fn blood_pressure(systolic: &str, diastolic: &str) -> Measurement {
    let member = |code, label, value| Component {
        metric: metric(code, label),
        value: numeric(value, "mmHg"),
        status: MeasurementStatus::default(),
    };
    let members = vec![member("8480-6", "Systolic", systolic), member("8462-4", "Diastolic", diastolic)];
    measurement(metric("85354-9", "Blood pressure"), Value::Compound(members), 0)
}

/// A report of one device, named by its serial number, on nobody.
pub(super) fn report(serial: &str, measurements: Vec<Measurement>) -> Report {
    Report {
        device: Device {
            manufacturer: "ACME".into(),
            model: "Mon 1".into(),
            serial: Some(serial.into()),
            ..Device::default()
        },
        person: None,
        place: None,
        specimen: None,
        orders: Vec::new(),
        measurements,
    }
}

pub(super) fn person(family: &str, number: &str) -> Person {
    Person {
        identifiers: vec![Identifier { system: "urn:oid:1.2".into(), value: number.into(), kind: None }],
        family: Some(family.into()),
        ..Person::default()
    }
}

pub(super) fn sighting(profile: &ProfileView, second: i64) -> Sighting<'_> {
    Sighting {
        link: "ward",
        profile,
        received: seconds_after_noon(second),
        bound_patient: None,
        distrusted: false,
    }
}

/// Upstream as it stood at noon.
pub(super) fn standing(state: UpstreamState) -> UpstreamStanding {
    UpstreamStanding {
        name: "EHR".into(),
        base: "https://fhir.example/r4".into(),
        state,
        since: seconds_after_noon(0),
        last_success: Some(seconds_after_noon(0)),
        detail: String::new(),
        auth: "smart",
        client_id: None,
        mode: None,
        kid: None,
        algorithm: None,
        scopes: None,
        granted: None,
        jwks: serde_json::Value::Null,
    }
}
