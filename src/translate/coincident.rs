//! What a personal device's clock showed when this gateway heard it: the PHD guide's coincident time stamp
//! (PhdCoincidentTimeStampObservation), to which the measurements of that clock refer.

use crate::device::{ClockSource, Moment, Offset, Precision, Report};
use crate::fhir::{
    self, CodeableConcept, Coding, Extension, ExtensionValue, Observation, ObservationValue, Reference,
};

use super::devices::Source;
use super::list::{List, URI, key};
use super::{Held, time};

const PROFILE: &str = "http://hl7.org/fhir/uv/phd/StructureDefinition/PhdCoincidentTimeStampObservation";
const REFERENCE: &str = "http://hl7.org/fhir/uv/phd/StructureDefinition/CoincidentTimeStampReference";
/// The clock of an agent that states its Absolute-Time (IEEE 11073-20601 §6.3.2, MDC_ATTR_TIME_ABS).
const ABSOLUTE: Coding<'static> = Coding::fixed(crate::device::MDC, "67975", "MDC_ATTR_TIME_ABS");

/// Adds the time stamp when the device stated its own current time and something of the report was timed by that
/// clock; its id. The zone of a clock without one is the link's, and the resource says so as the measurements do.
pub(super) fn add<'a>(
    report: &'a Report,
    source: &Source<'a>,
    list: &mut List<'a>,
) -> Result<Option<String>, Held> {
    let Some(clock) = report.device.clock.as_ref().filter(|clock| clock.source == ClockSource::Device) else {
        return Ok(None);
    };
    let Some(gateway) = source.gateway.clone() else { return Ok(None) };
    let timed = |m: &crate::device::Measurement| m.taken.source == ClockSource::Device;
    let context = list.context();
    // A box that does not know the time itself ties nothing to it.
    if !context.received.synchronised || !report.measurements.iter().any(timed) {
        return Ok(None);
    }
    let here = Moment {
        micros: context.received.micros,
        precision: Precision::Second,
        offset: Offset::Stated,
        ..clock.clone()
    };
    let (Some(shown), Some(effective)) = (time::date_time(clock), time::effective(&here, None)) else {
        return Ok(None);
    };
    let own = key(
        "Observation",
        &["coincident", &source.key(), &clock.micros.to_string(), &context.received.micros.to_string()],
    );
    let id = fhir::id("Observation", URI, &own);
    let mut meta = list.meta();
    meta.profile.push(PROFILE);
    meta.tag.extend(time::tags(clock, context));
    let resource = Observation {
        id: &id,
        meta,
        extension: Vec::new(),
        identifier: [fhir::Identifier { kind: None, system: Some(URI.into()), value: own.as_str().into() }],
        based_on: Vec::new(),
        status: "final",
        category: Vec::new(),
        code: CodeableConcept { coding: vec![ABSOLUTE], text: Some("Absolute time".into()) },
        subject: Some(Reference::to("Device", &source.id)),
        effective,
        value: Some(ObservationValue::DateTime(shown)),
        interpretation: Vec::new(),
        note: Vec::new(),
        body_site: None,
        method: None,
        specimen: None,
        device: Some(Reference::to("Device", &gateway)),
        derived_from: Vec::new(),
        reference_range: Vec::new(),
        component: Vec::new(),
    };
    list.add("Observation", id.clone(), (URI.into(), own.clone()), false, &resource)?;
    Ok(Some(id))
}

/// On a measurement that the device's clock timed: which time stamp tells how that clock stood.
pub(super) fn extension(id: &str) -> Extension<'static> {
    let stamp = Some(ExtensionValue::Reference(Reference::to("Observation", id)));
    Extension { extension: Vec::new(), url: REFERENCE, value: stamp }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::Value as Json;

    use crate::clock::Timestamp;
    use crate::device::{
        ClockSource, Decimal, Device, Domain, Identifier, LOINC, Measurement, MeasurementStatus, Metric,
        MetricClass, Moment, Offset, Person, Precision, Report, ResultStatus, Unit, Value,
    };
    use crate::translate::{Context, Gateway, QualityControl, Unidentified, translate};

    /// 2026-03-14T08:30:00Z.
    const NOW: i64 = 1_773_477_000_000_000;

    fn moment(seconds: i64, source: ClockSource) -> Moment {
        Moment {
            micros: NOW + seconds * 1_000_000,
            offset_minutes: 60,
            precision: Precision::Second,
            offset: Offset::Assumed("Europe/Berlin".into()),
            source,
        }
    }

    fn report(clock: Option<Moment>, taken: Moment) -> Report {
        let metric = Metric {
            codings: vec![crate::device::Coding::new(LOINC, "29463-7", Some("Body weight"))],
            label: "Body weight".into(),
            domain: Domain::VitalSigns,
            class: MetricClass::Measurement,
            site: None,
        };
        let unit = Some(Unit { ucum: "kg".into(), display: "kg".into() });
        let number =
            |value: &str| Identifier { system: "urn:oid:1.2".into(), value: value.into(), kind: None };
        Report {
            device: Device { serial: Some("7".into()), clock, ..Device::default() },
            person: Some(Person { identifiers: vec![number("P1")], ..Person::default() }),
            place: None,
            specimen: None,
            orders: Vec::new(),
            measurements: vec![Measurement {
                metric: Arc::new(metric),
                value: Value::Numeric { value: Decimal::new(701, -1), comparator: None, unit },
                status: MeasurementStatus::default(),
                result_status: ResultStatus::Final,
                taken,
                until: None,
                containment: None,
                interpretation: Vec::new(),
                reference_range: None,
                note: None,
            }],
        }
    }

    fn observations(report: &Report, synchronised: bool) -> Vec<Json> {
        let id = Identifier { system: "urn:oid:9".into(), value: "box".into(), kind: None };
        let gateway = Gateway { id, name: "Box".into(), version: "1".into(), patient_system: None };
        let context = Context {
            gateway: &gateway,
            link: "scale",
            received: Timestamp::from_micros(NOW, synchronised),
            simulated: false,
            unidentified: Unidentified::Hold,
            quality_control: QualityControl::default(),
            bound_patient: None,
            waveforms: true,
            sequence: "s",
            attributions: &[],
            withdrawn: false,
        };
        let all = translate(report, &context).unwrap();
        all.iter().filter(|r| r.kind == "Observation").map(crate::fhir::Resource::value).collect()
    }

    #[test]
    fn a_personal_device_that_says_the_time_gets_a_time_stamp_its_measurements_refer_to() {
        let device = ClockSource::Device;
        let said = report(Some(moment(-5, device)), moment(-65, device));
        let found = observations(&said, true);
        assert_eq!(found.len(), 2);
        let (stamp, weight) = (&found[0], &found[1]);
        assert_eq!(stamp["code"]["coding"][0]["code"], "67975");
        assert_eq!(stamp["valueDateTime"], "2026-03-14T09:29:55+01:00");
        assert_eq!(stamp["effectiveDateTime"], "2026-03-14T09:30:00+01:00");
        assert!(stamp["subject"]["reference"].as_str().unwrap().starts_with("Device/"));
        assert_ne!(stamp["subject"], stamp["device"], "the gateway heard it, of the device");
        assert_eq!(stamp["meta"]["tag"][0]["code"], "zone-assumed");
        let refers =
            weight["extension"].as_array().unwrap().iter().find(|e| e["url"] == super::REFERENCE).unwrap();
        assert_eq!(
            refers["valueReference"]["reference"],
            format!("Observation/{}", stamp["id"].as_str().unwrap()).as_str()
        );
        assert_eq!(observations(&said, true), found, "the same frame makes the same resources");
    }

    #[test]
    fn there_is_no_time_stamp_without_two_clocks_to_compare() {
        let (device, receipt) = (ClockSource::Device, ClockSource::Receipt);
        for (said, synchronised) in [
            (report(None, moment(0, device)), true),
            (report(Some(moment(0, device)), moment(0, receipt)), true),
            (report(Some(moment(0, device)), moment(0, device)), false),
        ] {
            let found = observations(&said, synchronised);
            assert_eq!(found.len(), 1);
            assert!(!found[0]["extension"].to_string().contains("CoincidentTimeStamp"));
        }
    }
}
