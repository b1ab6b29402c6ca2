//! Sparkplug B messages (Eclipse Sparkplug 3.0.0 §6): metrics by name, values by datatype, times in UTC.

use std::collections::HashMap;

use super::super::{flat, time};
use super::{Facts, Said, Silent, Spoken, Statement, absent};
use crate::device::{AbsentReason, Decimal, Finding, Identifier, Moment};
use crate::firmware_profile::{FirmwareProfile, LinkContext, finding};
use crate::wire::sparkplug::payload::{Metric, Payload, PropertyWord, Value};
use crate::wire::sparkplug::{Topic, parts};
use prost::Message;

/// More metrics than this in one message are not looked at.
const METRICS_MAX: usize = 10_000;
/// Quality codes (§6.4.13): 192 is good.
const QUALITY_BAD: u64 = 0;
const QUALITY_STALE: u64 = 500;

/// Reads a frame of `wire::sparkplug`; the topic says of whom it is.
pub(super) fn read(
    bytes: &[u8],
    topic: Option<&str>,
    profile: &FirmwareProfile,
    context: &LinkContext,
    findings: &mut Vec<Finding>,
) -> Result<Vec<Said>, Silent> {
    let held = |reason: &str| Silent::Held(reason.to_owned());
    if topic.is_some_and(|topic| topic.starts_with("spBv1.0/STATE/")) {
        return Err(Silent::Ignored("the state of a host".into()));
    }
    let topic = topic.and_then(Topic::parse).ok_or_else(|| held("its topic is none of Sparkplug B"))?;
    match topic.kind {
        "NBIRTH" | "DBIRTH" | "NDATA" | "DDATA" => {}
        "NDEATH" | "DDEATH" => return Err(Silent::Ignored("the edge node or device went away".into())),
        "NCMD" | "DCMD" => return Err(Silent::Ignored("a command to an edge node or device".into())),
        _ => return Err(held("its topic names no message of Sparkplug B")),
    }
    let (birth, message) = parts(bytes).ok_or_else(|| held("the birth in front of it is cut"))?;
    let no_payload = |_| held("not a Sparkplug B payload");
    let birth = birth.map(Payload::decode).transpose().map_err(no_payload)?;
    let payload = Payload::decode(message).map_err(no_payload)?;
    let born = birth.as_ref().unwrap_or(&payload);
    let aliases: HashMap<u64, &Metric> = born
        .metrics
        .iter()
        .filter(|metric| metric.named().is_some())
        .filter_map(|metric| metric.alias.map(|alias| (alias, metric)))
        .collect();
    let names: HashMap<&str, &Metric> =
        born.metrics.iter().filter_map(|metric| metric.named().map(|name| (name, metric))).collect();
    let mut statements = Vec::new();
    for metric in payload.metrics.iter().take(METRICS_MAX) {
        let described = match (metric.named(), metric.alias) {
            (Some(name), _) => names.get(name).copied(),
            (None, alias) => alias.and_then(|alias| aliases.get(&alias).copied()),
        };
        let Some(name) = metric.named().or_else(|| described.and_then(Metric::named)) else {
            return Err(held(
                "its metrics are numbers, and the birth certificate that names them was not received: let the edge \
                 node be born again, or send names",
            ));
        };
        if is_of_the_protocol(name) {
            continue;
        }
        let described = Described { name, metric, born: described, payload: &payload };
        statements.push(described.statement(profile, context, findings));
    }
    if statements.is_empty() {
        return Err(Silent::Ignored("a message without values".into()));
    }
    Ok(vec![Said { device: facts(born, &topic, profile), statements, ..Said::default() }])
}

/// §6.4.8 and §6.4.9: metrics by which nodes are counted and commanded; `Properties/` says what the node is.
fn is_of_the_protocol(name: &str) -> bool {
    name == "bdSeq" || ["Node Control/", "Device Control/", "Properties/"].iter().any(|p| name.starts_with(p))
}

fn facts(born: &Payload, topic: &Topic<'_>, profile: &FirmwareProfile) -> Facts {
    let property = |wanted: &str| {
        let metric = born.metrics.iter().find(|metric| metric.named() == Some(wanted))?;
        match &metric.value {
            Some(Value::Text(text)) if !text.trim().is_empty() => Some(text.trim().to_owned()),
            _ => None,
        }
    };
    let device = topic.device.map(|device| format!("/{device}")).unwrap_or_default();
    Facts {
        manufacturer: property("Properties/Hardware Make"),
        model: property("Properties/Hardware Model"),
        serial: property("Properties/Serial Number"),
        firmware: property("Properties/FW"),
        identifiers: vec![Identifier {
            system: format!("urn:bedside:device:{}", profile.id).into(),
            value: format!("{}/{}{device}", topic.group, topic.edge).into(),
            kind: None,
        }],
        ..Facts::default()
    }
}

/// A metric with what its birth said of it.
struct Described<'m> {
    name: &'m str,
    metric: &'m Metric,
    born: Option<&'m Metric>,
    payload: &'m Payload,
}

impl Described<'_> {
    fn statement(
        &self,
        profile: &FirmwareProfile,
        context: &LinkContext,
        findings: &mut Vec<Finding>,
    ) -> Statement {
        let datatype = self.metric.datatype.or_else(|| self.born.and_then(|born| born.datatype));
        let mut value = match (&self.metric.value, self.metric.is_null) {
            (None, _) | (_, Some(true)) => absent(AbsentReason::Unknown),
            (Some(value), _) => self.spoken(value, datatype, findings),
        };
        let quality = self.property("Quality").and_then(|word| match word {
            PropertyWord::Int(code) => Some(u64::from(*code)),
            PropertyWord::Long(code) => Some(*code),
            PropertyWord::Text(_) => None,
        });
        let mut status = crate::device::MeasurementStatus::default();
        match quality {
            Some(QUALITY_BAD) => {
                status.invalid = true;
                value = absent(AbsentReason::Error);
            }
            Some(QUALITY_STALE) => {
                status.not_available = true;
                value = absent(AbsentReason::TempUnknown);
            }
            _ => {}
        }
        let unit = self.property("engUnit").and_then(|word| match word {
            PropertyWord::Text(text) if !text.trim().is_empty() => Some(flat::unit_of_text(text)),
            _ => None,
        });
        let mut statement = Statement::new(self.name.to_owned(), "", value);
        statement.text = self.name.to_owned();
        statement.place = format!("metric {}", self.name);
        statement.unit = unit;
        statement.status = status;
        statement.taken = self.taken(profile, context, findings);
        if self.metric.is_historical == Some(true) {
            statement.note = Some("The edge node had stored this value and sent it later.".into());
        }
        statement
    }

    fn property(&self, key: &str) -> Option<&PropertyWord> {
        let own = self.metric.property(key);
        own.or_else(|| self.born.and_then(|born| born.property(key)))?.value.as_ref()
    }

    /// §6.4.15: the metric's own time, else that of the message.
    fn taken(
        &self,
        profile: &FirmwareProfile,
        context: &LinkContext,
        findings: &mut Vec<Finding>,
    ) -> Option<Moment> {
        let stamp = self.metric.timestamp.or(self.payload.timestamp)?;
        let place = || format!("time of {}", self.name);
        let rules = &profile.plan.time;
        Some(match time::at_milliseconds(stamp) {
            Some(time) => rules.believed(&time, &place, context, findings),
            None => {
                let text = "The time cannot be; the time of receipt is taken.";
                rules.receipt("impossible-time", &place(), text, context, findings)
            }
        })
    }

    /// The value by its datatype (§6.4.16). Whole numbers of any width travel as unsigned ones.
    fn spoken(&self, value: &Value, datatype: Option<u32>, findings: &mut Vec<Finding>) -> Spoken {
        let bits = match value {
            Value::Int(bits) => Some(u64::from(*bits)),
            Value::Long(bits) => Some(*bits),
            _ => None,
        };
        match (datatype, bits, value) {
            (Some(kind @ 1..=4), Some(bits), _) => number(signed(kind, bits)),
            (Some(5..=8) | None, Some(bits), _) => number(i128::from(bits)),
            (Some(13), Some(bits), _) => match time::at_milliseconds(bits) {
                Some(time) => Spoken::Text(format!("{}Z", time.civil)),
                None => absent(AbsentReason::Error),
            },
            (Some(9 | 10) | None, _, Value::Float(float)) => {
                real(f64::from(*float).is_nan(), f64::from(*float), &float.to_string())
            }
            (Some(9 | 10) | None, _, Value::Double(double)) => {
                real(double.is_nan(), *double, &double.to_string())
            }
            (Some(11) | None, _, Value::Boolean(truth)) => Spoken::Text(truth.to_string()),
            (Some(12 | 14 | 15) | None, _, Value::Text(text)) => Spoken::Text(text.clone()),
            _ => {
                let text = "A value of this datatype is not read.";
                findings.push(finding("unsupported-datatype", format!("metric {}", self.name), text));
                absent(AbsentReason::Unsupported)
            }
        }
    }
}

/// The low bits of a whole number with their sign: Int8 to Int64 are datatypes 1 to 4.
fn signed(datatype: u32, bits: u64) -> i128 {
    let [a, b, c, d, ..] = bits.to_le_bytes();
    match datatype {
        1 => i128::from(i8::from_le_bytes([a])),
        2 => i128::from(i16::from_le_bytes([a, b])),
        3 => i128::from(i32::from_le_bytes([a, b, c, d])),
        _ => i128::from(i64::from_le_bytes(bits.to_le_bytes())),
    }
}

fn number(whole: i128) -> Spoken {
    Spoken::Number(Decimal::new(whole, 0))
}

/// The shortest decimal that is the same float; what is no number never becomes one.
fn real(not_a_number: bool, value: f64, text: &str) -> Spoken {
    if not_a_number {
        return absent(AbsentReason::NotANumber);
    }
    if value.is_infinite() {
        let positive = value.is_sign_positive();
        return absent(if positive {
            AbsentReason::PositiveInfinity
        } else {
            AbsentReason::NegativeInfinity
        });
    }
    text.parse().map_or_else(|_| absent(AbsentReason::Error), Spoken::Number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firmware_profile::{Decoded, Library};
    use crate::wire::sparkplug::Births;
    use crate::wire::sparkplug::payload::{PropertySet, PropertyValue};

    fn metric(name: &str, datatype: u32, value: Value) -> Metric {
        Metric { name: Some(name.into()), datatype: Some(datatype), value: Some(value), ..Metric::default() }
    }

    fn with(mut metric: Metric, properties: &[(&str, PropertyWord)]) -> Metric {
        metric.properties = Some(PropertySet {
            keys: properties.iter().map(|(key, _)| (*key).to_owned()).collect(),
            values: properties.iter().map(|(_, word)| PropertyValue { value: Some(word.clone()) }).collect(),
        });
        metric
    }

    fn message(seq: u64, metrics: Vec<Metric>) -> Vec<u8> {
        Payload { timestamp: Some(1_773_476_700_000), metrics, seq: Some(seq) }.encode_to_vec()
    }

    fn decoded(topic: &str, bytes: &[u8]) -> Decoded {
        let library = Library::embedded().unwrap();
        library.find("sparkplug/edge-node").unwrap().decode(bytes, Some(topic), &LinkContext::golden())
    }

    fn values(decoded: &Decoded) -> Vec<String> {
        let all = decoded.reports.iter().flat_map(|report| &report.measurements);
        all.map(|m| format!("{} {}", m.metric.label, serde_json::to_value(&m.value).unwrap())).collect()
    }

    const DATA: &str = "spBv1.0/ward3/DDATA/gateway1/bed7";

    #[test]
    fn each_datatype_is_read_as_what_it_is() {
        let metrics = vec![
            metric("a", 1, Value::Int(0xFF)),
            metric("b", 2, Value::Int(0xFFFF_FFFE)),
            metric("c", 3, Value::Int(u32::MAX)),
            metric("d", 4, Value::Long(u64::MAX)),
            metric("e", 8, Value::Long(u64::MAX)),
            metric("f", 9, Value::Float(36.43)),
            metric("g", 10, Value::Double(f64::NAN)),
            metric("h", 11, Value::Boolean(true)),
            metric("i", 12, Value::Text("on".into())),
            metric("j", 17, Value::Bytes(vec![1])),
        ];
        let decoded = decoded(DATA, &message(1, metrics));
        let said = values(&decoded).join("\n");
        for (name, part) in [
            ("a", "\"value\":-1}"),
            ("b", "\"value\":-2}"),
            ("c", "\"value\":-1}"),
            ("d", "\"value\":-1}"),
            ("e", "\"value\":18446744073709551615}"),
            ("f", "\"value\":36.43}"),
            ("g", "not-a-number"),
            ("h", "true"),
            ("i", "on"),
            ("j", "unsupported"),
        ] {
            assert!(
                said.lines().any(|l| l.starts_with(name) && l.contains(part)),
                "{name} {part} in\n{said}"
            );
        }
    }

    #[test]
    fn null_bad_and_stale_values_are_absent_with_their_reason() {
        let null = Metric { is_null: Some(true), ..metric("Vitals/SpO2", 3, Value::Int(0)) };
        let bad = with(metric("Vitals/SpO2", 3, Value::Int(97)), &[("Quality", PropertyWord::Int(0))]);
        let stale = with(metric("Vitals/SpO2", 3, Value::Int(97)), &[("Quality", PropertyWord::Int(500))]);
        let good = with(metric("Vitals/SpO2", 3, Value::Int(97)), &[("Quality", PropertyWord::Int(192))]);
        let said = values(&decoded(DATA, &message(1, vec![null, bad, stale, good])));
        assert_eq!(
            said[..3],
            [
                "SpO2 {\"absent\":\"unknown\"}",
                "SpO2 {\"absent\":\"error\"}",
                "SpO2 {\"absent\":\"temp-unknown\"}"
            ]
        );
        assert!(said[3].contains("97"));
    }

    #[test]
    fn numbers_are_names_only_with_the_birth_that_gave_them() {
        let mut births = Births::default();
        births.join("spBv1.0/ward3/NBIRTH/gateway1", &message(0, vec![metric("bdSeq", 4, Value::Long(0))]));
        let born = Metric {
            alias: Some(7),
            ..with(
                metric("Vitals/Temperature", 9, Value::Float(37.0)),
                &[("engUnit", PropertyWord::Text("°C".into()))],
            )
        };
        births.join("spBv1.0/ward3/DBIRTH/gateway1/bed7", &message(1, vec![born]));
        let data =
            message(2, vec![Metric { alias: Some(7), value: Some(Value::Float(37.4)), ..Metric::default() }]);
        assert!(decoded(DATA, &data).held.unwrap().contains("birth certificate"));
        let frame = births.join(DATA, &data).bytes.unwrap();
        let said = decoded(DATA, &frame);
        assert!(values(&said)[0].contains("37.4") && values(&said)[0].contains("Cel"), "{:?}", values(&said));
    }

    #[test]
    fn deaths_commands_and_states_are_no_measurements() {
        for topic in ["spBv1.0/g/NDEATH/e", "spBv1.0/g/DDEATH/e/d", "spBv1.0/g/NCMD/e", "spBv1.0/STATE/host"]
        {
            assert!(decoded(topic, &message(0, vec![metric("bdSeq", 4, Value::Long(0))])).ignored.is_some());
        }
        assert!(decoded("a/b", &message(0, vec![])).held.is_some());
        assert!(decoded(DATA, b"\xff\xff").held.is_some());
        let counted = decoded("spBv1.0/g/NBIRTH/e", &message(0, vec![metric("bdSeq", 4, Value::Long(0))]));
        assert_eq!(counted.ignored.as_deref(), Some("a message without values"));
    }

    #[test]
    #[ignore = "writes the captures of the folder anew"]
    fn captures() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("firmware-profiles/sparkplug/edge-node/captures");
        std::fs::create_dir_all(&folder).unwrap();
        let hex = |name: &str, bytes: &[u8]| {
            let text: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let lines: Vec<String> = text.chunks(32).map(|line| line.join(" ")).collect();
            std::fs::write(folder.join(name), lines.join("\n") + "\n").unwrap();
        };
        let unit = |text: &str| ("engUnit", PropertyWord::Text(text.into()));
        let at = |ms: u64, metric: Metric| Metric { timestamp: Some(1_773_476_600_000 + ms), ..metric };
        let alias = |alias: u64, metric: Metric| Metric { alias: Some(alias), ..metric };
        let text = |name: &str, text: &str| metric(name, 12, Value::Text(text.into()));
        let birth = message(
            1,
            vec![
                text("Properties/Hardware Make", "Acme"),
                text("Properties/Hardware Model", "VS-1"),
                alias(1, at(0, with(metric("Vitals/SpO2", 3, Value::Int(97)), &[unit("%")]))),
                alias(2, at(0, with(metric("Vitals/Pulse", 3, Value::Int(71)), &[unit("bpm")]))),
                alias(3, at(0, with(metric("Vitals/Temperature", 9, Value::Float(36.8)), &[unit("°C")]))),
                alias(4, at(0, metric("NIBP/Systolic", 3, Value::Int(118)))),
                alias(5, at(0, metric("NIBP/Diastolic", 3, Value::Int(76)))),
                alias(
                    6,
                    at(
                        0,
                        Metric {
                            is_null: Some(true),
                            value: None,
                            ..metric("Vitals/Respiration", 3, Value::Int(0))
                        },
                    ),
                ),
            ],
        );
        hex("birth.hex", &birth);
        let mut births = Births::default();
        births.join("spBv1.0/ward3/NBIRTH/gateway1", &message(0, vec![metric("bdSeq", 4, Value::Long(3))]));
        births.join("spBv1.0/ward3/DBIRTH/gateway1/bed7", &birth);
        let number = |number: u64, value: Value| {
            at(60_000, Metric { alias: Some(number), value: Some(value), ..Metric::default() })
        };
        let by_number = message(
            2,
            vec![
                number(1, Value::Int(95)),
                number(4, Value::Int(121)),
                number(5, Value::Int(79)),
                number(3, Value::Float(37.25)),
            ],
        );
        hex("numbers-with-birth.hex", &births.join(DATA, &by_number).bytes.unwrap());
        hex("numbers-alone.hex", &by_number);
        let stale = with(metric("Vitals/Pulse", 3, Value::Int(71)), &[("Quality", PropertyWord::Int(500))]);
        let old = Metric { is_historical: Some(true), ..at(5_000, metric("Vitals/SpO2", 3, Value::Int(94))) };
        let named = vec![
            stale,
            old,
            metric("Vitals/Temperature", 9, Value::Float(f32::NAN)),
            metric("Battery", 5, Value::Int(88)),
        ];
        hex("names-and-quality.hex", &message(3, named));
        hex(
            "death.hex",
            &Payload { timestamp: Some(1_773_476_800_000), metrics: vec![], seq: Some(4) }.encode_to_vec(),
        );
        hex("no-payload.hex", b"\xff\xff\xff\xff\x01");
    }
}
