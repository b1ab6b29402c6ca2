//! One measurement → one Observation, by kind of value.

use crate::device::{
    self, AbsentReason, ClockSource, Comparator, Domain, Measurement, MetricClass, Precision, Report,
    ResultStatus, Value,
};
use crate::fhir::{
    self, Annotation, CodeableConcept, Coding, Effective, Extension, ExtensionValue, Observation, Reference,
    ReferenceRange,
};
use crate::nomenclature;

use super::devices::{self, Producer, Source};
use super::list::{List, URI, key, replaces};
use super::subject::{About, Subject};
use super::{Context, Held, TAGS, alarm, clean, range, status, time, value, vital_signs};

const CATEGORY: &str = "http://terminology.hl7.org/CodeSystem/observation-category";
const GATEWAY_DEVICE: &str = "http://hl7.org/fhir/StructureDefinition/observation-gatewayDevice";
const NUMERIC_PROFILE: &str = "http://hl7.org/fhir/uv/pocd/StructureDefinition/NumericObservation";
const ENUMERATION_PROFILE: &str = "http://hl7.org/fhir/uv/pocd/StructureDefinition/EnumerationObservation";
const RANGE_TYPE: &str = "http://hl7.org/fhir/uv/pocd/CodeSystem/reference-range-type";

/// What all Observations of a report share.
pub(super) struct Scene<'s, 'a> {
    pub(super) report: &'a Report,
    pub(super) source: &'s Source<'a>,
    pub(super) subject: Option<&'s Subject<'a>>,
    pub(super) specimen: Option<&'s str>,
    /// The id of the coincident time stamp of the device's clock.
    pub(super) coincident: Option<String>,
}

/// Adds the Observation of `measurement`, taken at `effective`.
pub(super) fn add<'a>(
    scene: &Scene<'_, 'a>,
    measurement: &'a Measurement,
    about: About,
    effective: Effective,
    raised: &mut alarm::Raised,
    list: &mut List<'a>,
) -> Result<(), Held> {
    let first = identity(scene, measurement, about, list.context(), 0);
    let Some(ordinal) = list.ordinal(&first, measurement)? else { return Ok(()) };
    let own = if ordinal == 0 { first } else { identity(scene, measurement, about, list.context(), ordinal) };
    let id = fhir::id("Observation", URI, &own);
    let producer = devices::producer(scene.source, measurement, list)?;
    let warning = alarm::of(measurement);
    let metric = &measurement.metric;
    let said = value::absent(&measurement.value, measurement.status, scene.source.point_of_care);
    let (value_x, component) = match warning {
        Some(warning) => alarm::elements(warning),
        None => value::elements(measurement, said, scene.source.point_of_care),
    };
    raised.learn(measurement, &id);
    let resource = Observation {
        id: &id,
        meta: meta(scene, measurement, about, &effective, &producer, list),
        extension: gateway_extension(scene.source)
            .into_iter()
            .chain(clock_extension(scene, measurement))
            .collect(),
        identifier: [fhir::Identifier { kind: None, system: Some(URI.into()), value: own.as_str().into() }],
        based_on: order(scene.report, measurement).into_iter().collect(),
        status: match measurement.result_status {
            _ if list.context().withdrawn => "entered-in-error",
            ResultStatus::Final => warning.map_or("final", alarm::observation_status),
            ResultStatus::Preliminary => "preliminary",
            ResultStatus::Corrected => "corrected",
            ResultStatus::Cancelled => "cancelled",
            ResultStatus::EnteredInError => "entered-in-error",
        },
        category: category(measurement).into_iter().collect(),
        code: value::code(metric),
        subject: match about {
            About::Patient => scene.subject.map(|subject| Reference::to("Patient", &subject.id)),
            About::Device => Some(Reference::to("Device", &scene.source.id)),
            About::Specimen => None,
        },
        effective,
        value: value_x,
        interpretation: interpretation(measurement, scene.source.point_of_care),
        note: measurement
            .note
            .as_deref()
            .and_then(clean::text)
            .map(|text| Annotation { text })
            .into_iter()
            .collect(),
        body_site: metric.site.as_ref().and_then(clean::concept),
        method: None,
        specimen: scene
            .specimen
            .filter(|_| is_laboratory(measurement))
            .map(|id| Reference::to("Specimen", id)),
        device: Some(producer.reference),
        derived_from: warning.and_then(|warning| raised.by(warning)).into_iter().collect(),
        reference_range: reference_range(measurement, scene.source.point_of_care).into_iter().collect(),
        component,
    };
    let overwrites = list.context().withdrawn
        || replaces(measurement.result_status)
        || warning.is_some_and(alarm::replaces);
    list.add("Observation", id.clone(), (URI.into(), own.clone()), overwrites, &resource)
}

fn is_laboratory(measurement: &Measurement) -> bool {
    measurement.metric.domain == Domain::Laboratory
}

/// The identifier: what makes two tellings of one fact the same resource. Device, code, place in the device, person or
/// specimen, and the device's own time without its offset; for a device without a clock the arrival and its frame. A
/// laboratory order keeps two requests for one analyte apart.
fn identity(
    scene: &Scene,
    measurement: &Measurement,
    about: About,
    context: &Context,
    ordinal: usize,
) -> String {
    let (system, code) = value::own_code(&measurement.metric);
    let place =
        measurement.containment.map(|at| format!("{}.{}.{}.{}", at.mds, at.vmd, at.channel, at.metric));
    let whose = match (about, scene.subject) {
        (About::Patient, Some(subject)) => {
            format!("patient|{}|{}", subject.identifier.0, subject.identifier.1)
        }
        // A gateway sends for many beds under its own number: the bed keeps their values apart.
        _ => scene.report.place.as_ref().map(bed).unwrap_or_default(),
    };
    if let Some(warning) = alarm::of(measurement)
        && let Some(own) = alarm::identity(warning, &scene.source.key(), measurement, &whose, ordinal)
    {
        return own;
    }
    let tube =
        super::subject::accession(scene.report).filter(|_| is_laboratory(measurement)).unwrap_or_default();
    let order = scene.report.orders.first().filter(|_| is_laboratory(measurement));
    let order = order.map(|order| format!("{}|{}", order.system, order.value)).unwrap_or_default();
    // A time of whole minutes does not tell two acts of measuring apart: the frame does, so that the second one
    // never overwrites the first.
    let sequence = match measurement.taken.source {
        ClockSource::Device if measurement.taken.precision >= Precision::Second => "",
        ClockSource::Device | ClockSource::Receipt => context.sequence,
    };
    let until = measurement.until.as_ref().map(|until| until.micros.to_string());
    key(
        "Observation",
        &[
            &scene.source.key(),
            &system,
            &code,
            &place.unwrap_or_default(),
            &whose,
            &tube,
            &order,
            &measurement.taken.micros.to_string(),
            &until.unwrap_or_default(),
            sequence,
            &if ordinal == 0 { String::new() } else { ordinal.to_string() },
        ],
    )
}

fn bed(place: &device::Place) -> String {
    let parts = [&place.point_of_care, &place.room, &place.bed, &place.facility];
    let written: Vec<&str> = parts.into_iter().map(|part| part.as_deref().unwrap_or_default()).collect();
    format!("place|{}", written.join("|"))
}

fn meta(
    scene: &Scene,
    measurement: &Measurement,
    about: About,
    effective: &Effective,
    producer: &Producer,
    list: &List,
) -> fhir::Meta<'static> {
    let mut meta = list.meta();
    let (context, metric) = (list.context(), &measurement.metric);
    let said = value::absent(&measurement.value, measurement.status, scene.source.point_of_care);
    // A period meets the vital-signs profiles, but vs-1 as published asks a dateTime's length of it, and a server that
    // checks what is claimed refuses it: nothing is claimed then.
    let is_period = matches!(effective, Effective::Period(_));
    let is_vital = metric.domain == Domain::VitalSigns && !alarm::is_alarm(measurement);
    if is_vital && about == About::Patient && !is_period {
        // A panel keeps its members even when all of them are absent.
        let stands = said.is_none() || matches!(measurement.value, Value::Compound(_));
        meta.profile.push(vital_signs::profile(metric, stands.then_some(&measurement.value)));
    }
    if producer.meets_guide && about != About::Specimen {
        meta.profile.extend(guide_profile(measurement, said));
    }
    let parts: &[device::Component] = match &measurement.value {
        Value::Compound(parts) => parts,
        _ => &[],
    };
    let statuses = std::iter::once(measurement.status).chain(parts.iter().map(|part| part.status));
    meta.security = status::security(statuses, scene.source.point_of_care, context.simulated);
    meta.tag.extend(time::tags(&measurement.taken, context));
    if metric.class == MetricClass::QualityControl {
        meta.tag.push(Coding::fixed(
            TAGS,
            "quality-control",
            "Quality control of the device, not a patient's result",
        ));
    }
    meta
}

/// The PoCD profile a measurement of a DeviceMetric of that guide meets: values are UCUM quantities, codes or texts.
fn guide_profile(measurement: &Measurement, said: Option<AbsentReason>) -> Option<&'static str> {
    match &measurement.value {
        Value::Numeric { unit: Some(unit), .. } if nomenclature::is_ucum(&unit.ucum) => Some(NUMERIC_PROFILE),
        Value::Numeric { .. } | Value::Absent(_) => said.map(|_| NUMERIC_PROFILE),
        Value::Coded { .. } | Value::Text(_) => Some(ENUMERATION_PROFILE),
        Value::Compound(_) | Value::Bits(_) | Value::SampleArray { .. } | Value::Alarm(_) => None,
    }
}

/// PHD guide: a personal device's Observation names the gateway it came through.
fn gateway_extension(source: &Source) -> Option<Extension<'static>> {
    let gateway = Reference::to("Device", source.gateway.as_deref()?);
    let value = Some(ExtensionValue::Reference(gateway));
    Some(Extension { extension: Vec::new(), url: GATEWAY_DEVICE, value })
}

/// PHD guide: an Observation timed by the device's clock refers to what is known of that clock.
fn clock_extension(scene: &Scene, measurement: &Measurement) -> Option<Extension<'static>> {
    let id = scene.coincident.as_deref().filter(|_| measurement.taken.source == ClockSource::Device)?;
    Some(super::coincident::extension(id))
}

/// The request a laboratory result answers, by its number: the order itself is upstream.
fn order<'a>(report: &'a Report, measurement: &Measurement) -> Option<Reference<'a>> {
    let order =
        report.orders.iter().filter(|_| is_laboratory(measurement)).find(|o| !o.value.trim().is_empty())?;
    let identifier = fhir::Identifier {
        kind: None,
        system: clean::system(&order.system),
        value: clean::text(&order.value)?,
    };
    Some(Reference { reference: None, kind: Some("ServiceRequest"), identifier: Some(identifier) })
}

fn category(measurement: &Measurement) -> Option<CodeableConcept<'static>> {
    if measurement.metric.class == MetricClass::QualityControl {
        return None;
    }
    if alarm::is_alarm(measurement) {
        return Some(CodeableConcept::of(alarm::CATEGORY));
    }
    match measurement.metric.domain {
        Domain::VitalSigns => {
            Some(CodeableConcept::of(Coding::fixed(CATEGORY, "vital-signs", "Vital Signs")))
        }
        Domain::Laboratory => Some(CodeableConcept::of(Coding::fixed(CATEGORY, "laboratory", "Laboratory"))),
        // FHIR has no category for what a device says of itself.
        Domain::Device => None,
    }
}

/// What the device and its status say of the value; a monitor's reading off its scale is also said here (PoCD mappingv2).
fn interpretation(measurement: &Measurement, point_of_care: bool) -> Vec<CodeableConcept<'_>> {
    let mut said: Vec<_> = status::interpretations(measurement.status).collect();
    let off_scale = match &measurement.value {
        Value::Numeric { comparator: Some(Comparator::Less), .. } if point_of_care => Some("<"),
        Value::Numeric { comparator: Some(Comparator::Greater), .. } if point_of_care => Some(">"),
        _ => None,
    };
    for code in measurement.interpretation.iter().map(AsRef::as_ref).chain(off_scale) {
        let concept = status::interpretation(code).filter(|concept| !said.contains(concept));
        said.extend(concept);
    }
    said
}

/// A laboratory's range in its own words, and as numbers where they are nothing but that. A monitor's are its alarm
/// limits: they stand on the DeviceMetric, and here only when they are no numbers.
fn reference_range(measurement: &Measurement, point_of_care: bool) -> Option<ReferenceRange<'_>> {
    let text = clean::text(measurement.reference_range.as_deref()?)?;
    let parsed = range::parse(&text);
    if point_of_care {
        let is_on_metric = parsed.is_some() && matches!(measurement.value, Value::Numeric { .. });
        let kind = CodeableConcept::of(Coding::fixed(RANGE_TYPE, "alarm-limits", "Alarm limits"));
        let range = ReferenceRange { kind: Some(kind), text: Some(text), ..ReferenceRange::default() };
        return (!is_on_metric).then_some(range);
    }
    let unit = match &measurement.value {
        Value::Numeric { unit, .. } => unit.as_ref(),
        _ => None,
    };
    let loinc = vital_signs::base_code(&measurement.metric);
    // `<200` may be the limit or the last value inside it: only its words say which.
    let both = parsed.and_then(|range| range.low.zip(range.high)).filter(|_| unit.is_some());
    Some(ReferenceRange {
        low: both.map(|(low, _)| value::quantity(low, None, unit, loinc)),
        high: both.map(|(_, high)| value::quantity(high, None, unit, loinc)),
        kind: None,
        text: Some(text),
    })
}
