//! Which device said it: Device and DeviceMetric resources, as the two device guides shape them.
//!
//! A personal or spot device is one Device (PHD guide); the Observation names this gateway beside it. A bedside monitor is
//! a tree of Devices, MDS → VMD → Channel, as deep as the frame says, and its Observations name a DeviceMetric in
//! that tree (PoCD guide).
//!
//! The PHD guide's profiles are followed and not claimed: PhdDevice demands the version of the device specialization,
//! which no device we know states, and its Observations must name a PhdDevice. So nothing carries the category `phd`.

use std::borrow::Cow;

use crate::device::{self, Containment, MDC, Measurement, MetricClass, Report, UCUM, Unit, Value};
use crate::fhir::{
    self, CodeableConcept, Coding, DeviceName, DeviceVersion, Extension, ExtensionValue, Quantity, Reference,
};
use crate::nomenclature::{self, PARTITION_INFRASTRUCTURE};

use super::list::{List, URI};
use super::value::{self, quantity};
use super::{Context, Held, clean, range, vital_signs};

const EUI_64: &str = "urn:oid:1.2.840.10004.1.1.1.0.0.1.0.0.1.2680";
const BLUETOOTH: &str = "http://hl7.org/fhir/sid/eui-48/bluetooth";
const ETHERNET: &str = "http://hl7.org/fhir/sid/eui-48/ethernet";
const IDENTIFIER_TYPE: &str = "http://terminology.hl7.org/CodeSystem/ContinuaDeviceIdentifiers";
/// Devices known by what they say of themselves, or by the link they are on.
const DEVICE: &str = "urn:bedside:device";
/// VMDs and channels: the device and the place in its containment tree.
const PART: &str = "urn:bedside:device-part";
const DEVICE_METRIC: &str = "urn:bedside:device-metric";

const MDS_PROFILE: &str = "http://hl7.org/fhir/uv/pocd/StructureDefinition/MdsDevice";
const VMD_PROFILE: &str = "http://hl7.org/fhir/uv/pocd/StructureDefinition/VmdDevice";
const CHANNEL_PROFILE: &str = "http://hl7.org/fhir/uv/pocd/StructureDefinition/ChannelDevice";
const NUMERIC_PROFILE: &str = "http://hl7.org/fhir/uv/pocd/StructureDefinition/NumericDeviceMetric";
const ENUMERATION_PROFILE: &str = "http://hl7.org/fhir/uv/pocd/StructureDefinition/EnumerationDeviceMetric";
const SAMPLE_ARRAY_PROFILE: &str = "http://hl7.org/fhir/uv/pocd/StructureDefinition/SampleArrayDeviceMetric";
const ALARM_RANGE: &str = "http://hl7.org/fhir/StructureDefinition/reference-range";
const RANGE_TYPE: &str = "http://hl7.org/fhir/uv/pocd/CodeSystem/reference-range-type";

/// MDC_MOC_VMS_MDS_SIMP: what a personal device is; its speciality stands beside it (PHD guide, PhdDevice).
const PERSONAL: Coding<'static> = Coding::fixed(MDC, "65573", "MDC_MOC_VMS_MDS_SIMP");
/// MDC_MOC_VMS_MDS_AHD: a gateway (PHD guide, PhgDevice).
const GATEWAY: Coding<'static> = Coding::fixed(MDC, "531981", "MDC_MOC_VMS_MDS_AHD");
const FIRMWARE: Coding<'static> = Coding::fixed(MDC, "531976", "MDC_ID_PROD_SPEC_FW");
const SOFTWARE: Coding<'static> = Coding::fixed(MDC, "531975", "MDC_ID_PROD_SPEC_SW");

/// The device of a report, as the Observations need it.
pub(super) struct Source<'a> {
    /// System and value of the identifier that stands for the device.
    pub(super) identifier: (Cow<'a, str>, Cow<'a, str>),
    pub(super) id: String,
    pub(super) point_of_care: bool,
    /// The id of this gateway's Device, beside a personal device.
    pub(super) gateway: Option<String>,
    /// Whether the Device meets the guide's MDS profile, so that what hangs on it may claim the guide too.
    is_mds: bool,
}

impl Source<'_> {
    /// Key text of the device in others' identifiers.
    pub(super) fn key(&self) -> String {
        format!("{}|{}", self.identifier.0, self.identifier.1)
    }
}

/// Who produced one measurement.
pub(super) struct Producer {
    pub(super) reference: Reference<'static>,
    /// Whether it meets the profile that the guide's Observation profiles ask for.
    pub(super) meets_guide: bool,
}

/// Adds the Device of `report` and, beside a personal one, this gateway.
pub(super) fn add_source<'a>(report: &'a Report, list: &mut List<'a>) -> Result<Source<'a>, Held> {
    let device = &report.device;
    let mut identifiers: Vec<fhir::Identifier> = device.identifiers.iter().filter_map(identifier).collect();
    let global = identifiers.iter().position(|i| i.system.as_deref().is_some_and(is_global));
    match global {
        Some(first) => identifiers.swap(0, first),
        None => identifiers.insert(0, own_identifier(device, list.context())),
    }
    let chosen = identifiers.first().map(|i| (i.system.clone().unwrap_or_default(), i.value.clone()));
    let identity = chosen.unwrap_or_default();
    let id = fhir::id("Device", &identity.0, &identity.1);
    let (kind, specialization) = kind(device);
    let is_mds = device.point_of_care && kind.as_ref().is_some_and(|k| k.coding.iter().any(is_mdc));
    let mut meta = list.meta();
    if is_mds {
        meta.profile.push(MDS_PROFILE);
    }
    let version = |text| DeviceVersion { kind: CodeableConcept::of(FIRMWARE), value: text };
    let resource = fhir::Device {
        id: &id,
        meta,
        identifier: identifiers,
        manufacturer: clean::text(&device.manufacturer),
        serial_number: device.serial.as_deref().and_then(clean::text),
        device_name: clean::text(&device.model)
            .map(|name| DeviceName { name, kind: "model-name" })
            .into_iter()
            .collect(),
        model_number: clean::text(&device.model),
        kind,
        specialization,
        version: device.firmware.as_deref().and_then(clean::text).map(version).into_iter().collect(),
        parent: None,
    };
    list.add("Device", id.clone(), (identity.0.to_string(), identity.1.to_string()), false, &resource)?;
    let gateway = if device.point_of_care { None } else { Some(add_gateway(list)?) };
    Ok(Source { identifier: identity, id, point_of_care: device.point_of_care, gateway, is_mds })
}

fn is_mdc(coding: &Coding) -> bool {
    coding.system.as_deref() == Some(MDC)
}

/// Systems whose values are unique in the world.
fn is_global(system: &str) -> bool {
    system.starts_with("urn:oid:") || [BLUETOOTH, ETHERNET, URI].contains(&system)
}

/// The identifier of a device that has no world-wide one. A device without a number is known by its link on this
/// gateway, so that two boxes never take two devices for one.
fn own_identifier<'a>(device: &device::Device, context: &Context) -> fhir::Identifier<'a> {
    let key = device.key(&format!("{}/{}", context.gateway.id.value, context.link));
    let value = clean::text(&key).map(Cow::into_owned).unwrap_or_default();
    fhir::Identifier { kind: None, system: Some(DEVICE.into()), value: value.into() }
}

/// An identifier as the guides write it: an EUI-64 as `01-23-…`, upper case.
fn identifier(raw: &device::Identifier) -> Option<fhir::Identifier<'_>> {
    let value = clean::text(&raw.value)?;
    let says_eui = &*raw.system == EUI_64
        || raw.system.ends_with("EUI-64")
        || matches!(raw.kind.as_deref(), Some("EUI-64" | "SYSID"));
    if let Some(canonical) = eui_64(&value).filter(|_| says_eui) {
        let kind = Some(identifier_type("SYSID"));
        return Some(fhir::Identifier { kind, system: Some(EUI_64.into()), value: canonical.into() });
    }
    let kind = match &*raw.system {
        BLUETOOTH => Some(identifier_type("BTMAC")),
        ETHERNET => Some(identifier_type("ETHMAC")),
        _ => None,
    };
    Some(fhir::Identifier { kind, system: clean::system(&raw.system), value })
}

fn identifier_type(code: &'static str) -> CodeableConcept<'static> {
    CodeableConcept::of(Coding {
        system: Some(IDENTIFIER_TYPE.into()),
        code: Some(code.into()),
        display: None,
    })
}

fn eui_64(text: &str) -> Option<String> {
    let digits: String = text.chars().filter(|c| !matches!(c, '-' | ':' | '.' | ' ')).collect();
    if digits.len() != 16 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mut value = String::with_capacity(23);
    for (at, digit) in digits.to_ascii_uppercase().chars().enumerate() {
        if at > 0 && at % 2 == 0 {
            value.push('-');
        }
        value.push(digit);
    }
    Some(value)
}

/// `Device.type` and, for a personal device that names its speciality (MDC partition 8), `Device.specialization`.
fn kind(device: &device::Device) -> (Option<CodeableConcept<'_>>, Vec<fhir::Specialization<'_>>) {
    let Some(kind) = device.kind.as_ref() else { return (None, Vec::new()) };
    let concept = clean::coding(kind).map(CodeableConcept::of);
    let partition = kind.code.parse::<u32>().ok().map(|code| code >> 16);
    if !device.point_of_care && &*kind.system == MDC && partition == Some(PARTITION_INFRASTRUCTURE) {
        let special = concept.map(|system_type| fhir::Specialization { system_type });
        return (Some(CodeableConcept::of(PERSONAL)), special.into_iter().collect());
    }
    (concept, Vec::new())
}

/// This box as a Device, for the gatewayDevice extension; its id.
fn add_gateway(list: &mut List) -> Result<String, Held> {
    let gateway = list.context().gateway;
    let identifier = identifier(&gateway.id).unwrap_or_default();
    let identity = (identifier.system.clone().unwrap_or_default(), identifier.value.clone());
    let id = fhir::id("Device", &identity.0, &identity.1);
    if list.has(&id) {
        return Ok(id);
    }
    let software = |value| DeviceVersion { kind: CodeableConcept::of(SOFTWARE), value };
    let resource = fhir::Device {
        id: &id,
        meta: list.meta(),
        identifier: vec![identifier],
        device_name: clean::text(&gateway.name)
            .map(|name| DeviceName { name, kind: "user-friendly-name" })
            .into_iter()
            .collect(),
        model_number: Some("Bedside".into()),
        kind: Some(CodeableConcept { coding: vec![GATEWAY], text: Some("Gateway".into()) }),
        version: clean::text(&gateway.version).map(software).into_iter().collect(),
        ..fhir::Device::default()
    };
    list.add("Device", id.clone(), (identity.0.to_string(), identity.1.to_string()), false, &resource)?;
    Ok(id)
}

/// What an Observation of `measurement` names as its device, added where it is not yet in the list.
pub(super) fn producer<'a>(
    source: &Source,
    measurement: &'a Measurement,
    list: &mut List<'a>,
) -> Result<Producer, Held> {
    if !source.point_of_care {
        return Ok(Producer { reference: Reference::to("Device", &source.id), meets_guide: false });
    }
    let parent = measurement.containment.map_or(Ok(None), |at| add_parts(source, at, list))?;
    if let Value::Alarm(_) = &measurement.value {
        // An alarm is no metric: the part of the device that raised it says it.
        let id = parent.map_or_else(|| source.id.clone(), |part| part.id);
        return Ok(Producer { reference: Reference::to("Device", &id), meets_guide: false });
    }
    add_metric(source, parent, measurement, list)
}

/// A VMD or channel.
struct Part {
    id: String,
    is_channel: bool,
}

/// Adds VMD and channel at `at`; the innermost of the two. Their types are not known, so a text says what they are.
fn add_parts(source: &Source, at: Containment, list: &mut List) -> Result<Option<Part>, Held> {
    let mut parent = source.id.clone();
    let mut innermost = None;
    let levels = [
        (
            at.vmd > 0,
            format!("{}.{}", at.mds, at.vmd),
            format!("Virtual medical device {}", at.vmd),
            VMD_PROFILE,
        ),
        (
            at.channel > 0,
            format!("{}.{}.{}", at.mds, at.vmd, at.channel),
            format!("Channel {}", at.channel),
            CHANNEL_PROFILE,
        ),
    ];
    let complete = source.is_mds && at.vmd > 0;
    for (_, place, text, profile) in levels.into_iter().filter(|(stated, ..)| *stated) {
        let identity = (PART.to_owned(), format!("{}/{place}", source.identifier.1));
        let id = fhir::id("Device", &identity.0, &identity.1);
        let is_channel = profile == CHANNEL_PROFILE;
        if !list.has(&id) {
            let mut meta = list.meta();
            if complete {
                meta.profile.push(profile);
            }
            let identifier =
                fhir::Identifier { kind: None, system: Some(PART.into()), value: identity.1.as_str().into() };
            let resource = fhir::Device {
                id: &id,
                meta,
                identifier: vec![identifier],
                kind: Some(CodeableConcept::text(text)),
                parent: Some(Reference::to("Device", &parent)),
                ..fhir::Device::default()
            };
            list.add("Device", id.clone(), identity.clone(), false, &resource)?;
        }
        parent.clone_from(&id);
        innermost = Some(Part { id, is_channel: is_channel && complete });
    }
    Ok(innermost)
}

fn add_metric<'a>(
    source: &Source,
    parent: Option<Part>,
    measurement: &'a Measurement,
    list: &mut List<'a>,
) -> Result<Producer, Held> {
    let metric = &measurement.metric;
    let at = measurement.containment.unwrap_or_default();
    let (code_system, code) = value::own_code(metric);
    let place = format!("{}.{}.{}.{}", at.mds, at.vmd, at.channel, at.metric);
    let identity =
        (DEVICE_METRIC.to_owned(), format!("{}/{place}/{code_system}/{code}", source.identifier.1));
    let id = fhir::id("DeviceMetric", &identity.0, &identity.1);
    let unit = unit_of(measurement);
    let dimension = unit.as_ref().map(|unit| dimension(unit, vital_signs::base_code(metric)));
    let has_mdc = metric.code_in(MDC).is_some();
    let profile = match &measurement.value {
        Value::SampleArray { .. } => {
            Some(SAMPLE_ARRAY_PROFILE).filter(|_| dimension.as_ref().is_none_or(|d| d.1))
        }
        Value::Numeric { .. } | Value::Compound(_) | Value::Absent(_) if unit.is_some() => {
            Some(NUMERIC_PROFILE).filter(|_| dimension.as_ref().is_some_and(|d| d.1))
        }
        Value::Numeric { .. } => Some(NUMERIC_PROFILE),
        Value::Coded { .. } | Value::Text(_) | Value::Bits(_) => Some(ENUMERATION_PROFILE),
        Value::Compound(_) | Value::Alarm(_) | Value::Absent(_) => None,
    };
    let meets_guide = has_mdc && profile.is_some() && parent.as_ref().is_some_and(|part| part.is_channel);
    let mut meta = list.meta();
    meta.profile.extend(profile.filter(|_| meets_guide));
    let resource = fhir::DeviceMetric {
        id: &id,
        meta,
        extension: alarm_range(measurement).into_iter().collect(),
        identifier: [fhir::Identifier {
            kind: None,
            system: Some(DEVICE_METRIC.into()),
            value: identity.1.as_str().into(),
        }],
        kind: value::code(metric),
        unit: dimension.map(|(concept, _)| concept),
        source: Reference::to("Device", &source.id),
        parent: Some(Reference::to("Device", parent.as_ref().map_or(source.id.as_str(), |part| &part.id))),
        operational_status: if measurement.status.off { "off" } else { "on" },
        category: match metric.class {
            MetricClass::Measurement | MetricClass::Waveform => "measurement",
            MetricClass::Setting => "setting",
            MetricClass::Calculation => "calculation",
            MetricClass::QualityControl | MetricClass::Alarm => "unspecified",
        },
    };
    list.add("DeviceMetric", id.clone(), identity.clone(), false, &resource)?;
    Ok(Producer { reference: Reference::to("DeviceMetric", &id), meets_guide })
}

/// The unit a metric is measured in, also when there is no value now and its profile leaves no doubt.
fn unit_of(measurement: &Measurement) -> Option<Cow<'_, Unit>> {
    let of = |value| match value {
        &Value::Numeric { ref unit, .. } | &Value::SampleArray { ref unit, .. } => unit.as_ref(),
        _ => None,
    };
    let only = || {
        let ucum = vital_signs::only_unit(&measurement.metric)?;
        Some(Cow::Owned(Unit { ucum: ucum.into(), display: ucum.into() }))
    };
    match &measurement.value {
        Value::Compound(parts) => parts.iter().find_map(|part| of(&part.value)).map(Cow::Borrowed),
        Value::Absent(_) => only(),
        value => of(value).map(Cow::Borrowed),
    }
}

/// `DeviceMetric.unit`: the MDC dimension the guide asks for, UCUM beside it; and whether there is such a dimension. What
/// a rate counts is in its MDC name and not in UCUM.
fn dimension(unit: &Unit, loinc: Option<&str>) -> (CodeableConcept<'static>, bool) {
    let ucum = vital_signs::ucum(unit, loinc);
    let refid = match (ucum, loinc) {
        ("/min", Some("8867-4")) => Some("MDC_DIM_BEAT_PER_MIN"),
        ("/min", Some("9279-1")) => Some("MDC_DIM_RESP_PER_MIN"),
        _ => None,
    };
    let fits =
        |known: &&nomenclature::MdcUnit| known.ucum == ucum && refid.is_none_or(|refid| known.refid == refid);
    let known = nomenclature::UNITS.iter().find(fits);
    let mut coding: Vec<Coding> = known
        .map(|known| Coding {
            system: Some(MDC.into()),
            code: Some(known.code.to_string().into()),
            display: Some(known.refid.into()),
        })
        .into_iter()
        .collect();
    if nomenclature::is_ucum(ucum) {
        coding.push(Coding { system: Some(UCUM.into()), code: Some(ucum.to_owned().into()), display: None });
    }
    let text = clean::text(&unit.display).unwrap_or(ucum.into()).into_owned();
    (CodeableConcept { coding, text: Some(text.into()) }, known.is_some())
}

/// PCD-01 OBX-7 holds the alarm limits set on the monitor: the DeviceMetric's (PoCD mappingv2).
fn alarm_range(measurement: &Measurement) -> Option<Extension<'_>> {
    let Value::Numeric { unit, .. } = &measurement.value else { return None };
    let limits = range::parse(measurement.reference_range.as_deref()?)?;
    let loinc = vital_signs::base_code(&measurement.metric);
    let part = |url, value| Extension { extension: Vec::new(), url, value: Some(value) };
    let limit = |url, at: Option<_>| {
        let value: Quantity = quantity(at?, None, unit.as_ref(), loinc);
        Some(part(url, ExtensionValue::Quantity(value)))
    };
    let kind = CodeableConcept::of(Coding::fixed(RANGE_TYPE, "alarm-limits", "Alarm limits"));
    let mut extension = vec![part("type", ExtensionValue::CodeableConcept(kind))];
    extension.extend(limit("low", limits.low));
    extension.extend(limit("high", limits.high));
    Some(Extension { extension, url: ALARM_RANGE, value: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_eui_64_is_written_as_the_guides_write_it() {
        for text in ["0123456789ABCDEF", "01-23-45-67-89-ab-cd-ef", "01:23:45:67:89:ab:cd:ef"] {
            assert_eq!(eui_64(text).as_deref(), Some("01-23-45-67-89-AB-CD-EF"));
        }
        assert_eq!(eui_64("0123456789ABCDEG"), None);
        assert_eq!(eui_64("0123"), None);
    }

    #[test]
    fn a_rate_of_beats_and_a_rate_of_breaths_have_different_dimensions() {
        let unit = Unit { ucum: "/min".into(), display: "bpm".into() };
        let code = |loinc| dimension(&unit, loinc).0.coding.first().and_then(|c| c.code.clone());
        assert_eq!(code(Some("8867-4")).as_deref(), Some("264864"));
        assert_eq!(code(Some("9279-1")).as_deref(), Some("264928"));
        let unknown = Unit { ucum: "furlongs".into(), display: "furlongs".into() };
        assert!(!dimension(&unknown, None).1);
        assert!(dimension(&unknown, None).0.coding.is_empty());
    }
}
