//! Sparkplug B (Eclipse Sparkplug 3.0.0): payloads, topics, and the birth certificate a message cannot be read
//! without.
//!
//! An edge node names its metrics in its birth certificate and may send numbers (aliases) from then on (§6.4.6).
//! A kept frame must be readable by itself, so such a message is kept with its birth in front of it. Where a
//! message between the two was missed, the node may have been born again with other numbers: then no birth is put
//! in front, and the message says that its names are not known.

use std::collections::HashMap;

/// The messages of the protocol's `sparkplug_b.proto`, as far as values need them.
pub(crate) mod payload {
    use prost::{Message, Oneof};

    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct Payload {
        /// Milliseconds since 1970-01-01T00:00:00Z, as every time here.
        #[prost(uint64, optional, tag = "1")]
        pub(crate) timestamp: Option<u64>,
        #[prost(message, repeated, tag = "2")]
        pub(crate) metrics: Vec<Metric>,
        #[prost(uint64, optional, tag = "3")]
        pub(crate) seq: Option<u64>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct Metric {
        #[prost(string, optional, tag = "1")]
        pub(crate) name: Option<String>,
        #[prost(uint64, optional, tag = "2")]
        pub(crate) alias: Option<u64>,
        #[prost(uint64, optional, tag = "3")]
        pub(crate) timestamp: Option<u64>,
        #[prost(uint32, optional, tag = "4")]
        pub(crate) datatype: Option<u32>,
        #[prost(bool, optional, tag = "5")]
        pub(crate) is_historical: Option<bool>,
        #[prost(bool, optional, tag = "7")]
        pub(crate) is_null: Option<bool>,
        #[prost(message, optional, tag = "9")]
        pub(crate) properties: Option<PropertySet>,
        #[prost(oneof = "Value", tags = "10, 11, 12, 13, 14, 15, 16")]
        pub(crate) value: Option<Value>,
    }

    impl Metric {
        /// A name that says something.
        pub(crate) fn named(&self) -> Option<&str> {
            self.name.as_deref().filter(|name| !name.is_empty())
        }

        /// The property `key` (§6.4.13).
        pub(crate) fn property(&self, key: &str) -> Option<&PropertyValue> {
            let set = self.properties.as_ref()?;
            let at = set.keys.iter().position(|known| known == key)?;
            set.values.get(at)
        }
    }

    #[derive(Clone, PartialEq, Oneof)]
    pub(crate) enum Value {
        #[prost(uint32, tag = "10")]
        Int(u32),
        #[prost(uint64, tag = "11")]
        Long(u64),
        #[prost(float, tag = "12")]
        Float(f32),
        #[prost(double, tag = "13")]
        Double(f64),
        #[prost(bool, tag = "14")]
        Boolean(bool),
        #[prost(string, tag = "15")]
        Text(String),
        #[prost(bytes, tag = "16")]
        Bytes(Vec<u8>),
    }

    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct PropertySet {
        #[prost(string, repeated, tag = "1")]
        pub(crate) keys: Vec<String>,
        #[prost(message, repeated, tag = "2")]
        pub(crate) values: Vec<PropertyValue>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct PropertyValue {
        #[prost(oneof = "PropertyWord", tags = "3, 4, 8")]
        pub(crate) value: Option<PropertyWord>,
    }

    #[derive(Clone, PartialEq, Oneof)]
    pub(crate) enum PropertyWord {
        #[prost(uint32, tag = "3")]
        Int(u32),
        #[prost(uint64, tag = "4")]
        Long(u64),
        #[prost(string, tag = "8")]
        Text(String),
    }
}

use payload::Payload;
use prost::Message;

/// Edge nodes remembered on one link.
const NODES_MAX: usize = 512;
/// Devices remembered of one edge node.
const DEVICES_MAX: usize = 512;
/// Bytes of birth certificates remembered on one link.
const BYTES_MAX: usize = 32 << 20;
/// What begins a frame with a birth in front: no protobuf message begins with field number 0.
const MARK: &[u8] = b"\0SPB";

/// What a topic says: `spBv1.0/group/TYPE/edge[/device]` (§4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Topic<'t> {
    pub(crate) group: &'t str,
    pub(crate) kind: &'t str,
    pub(crate) edge: &'t str,
    pub(crate) device: Option<&'t str>,
}

impl<'t> Topic<'t> {
    pub(crate) fn parse(topic: &'t str) -> Option<Self> {
        let rest = topic.strip_prefix("spBv1.0/")?;
        let mut levels = rest.split('/');
        let (group, kind, edge) = (levels.next()?, levels.next()?, levels.next()?);
        let device = levels.next();
        let whole = levels.next().is_none() && !group.is_empty() && !edge.is_empty();
        whole.then_some(Self { group, kind, edge, device })
    }
}

/// The birth certificate and the message of a frame.
pub(crate) fn parts(frame: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    let Some(rest) = frame.strip_prefix(MARK) else { return Some((None, frame)) };
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    rest.split_at_checked(length).map(|(birth, message)| (Some(birth), message))
}

#[derive(Debug, Default)]
struct Node {
    seq: Option<u64>,
    /// By device; `""` is the edge node itself.
    births: HashMap<String, Vec<u8>>,
}

/// The birth certificates in force on one link.
#[derive(Debug, Default)]
pub(crate) struct Births {
    nodes: HashMap<String, Node>,
    bytes: usize,
}

/// A frame to keep, and what was noticed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Joined {
    /// The message with its birth in front; `None`: the message as it is.
    pub(crate) bytes: Option<Vec<u8>>,
    pub(crate) warnings: Vec<(&'static str, String)>,
}

impl Births {
    /// Takes a message in the order of arrival.
    pub(crate) fn join(&mut self, topic: &str, message: &[u8]) -> Joined {
        let mut joined = Joined::default();
        let Some(topic) = Topic::parse(topic) else { return joined };
        let Ok(payload) = Payload::decode(message) else { return joined };
        let key = format!("{}/{}", topic.group, topic.edge);
        let device = topic.device.unwrap_or_default();
        match topic.kind {
            "NBIRTH" => {
                self.forget(&key);
                if self.nodes.len() < NODES_MAX {
                    self.nodes.insert(key.clone(), Node { seq: payload.seq, births: HashMap::new() });
                }
                self.remember(&key, device, message, &mut joined);
            }
            "NDEATH" => self.forget(&key),
            "DBIRTH" => {
                self.follow(&key, &payload, &mut joined);
                self.remember(&key, device, message, &mut joined);
            }
            "DDEATH" => {
                self.follow(&key, &payload, &mut joined);
                let gone = self.nodes.get_mut(&key).and_then(|node| node.births.remove(device));
                self.bytes -= gone.map_or(0, |birth| birth.len());
            }
            "NDATA" | "DDATA" => {
                self.follow(&key, &payload, &mut joined);
                if payload.metrics.iter().any(|metric| metric.named().is_none()) {
                    let birth = self.nodes.get(&key).and_then(|node| node.births.get(device));
                    joined.bytes = birth.map(|birth| with_birth(birth, message));
                }
            }
            _ => {}
        }
        joined
    }

    /// Counts the message (§6.4.4: 0 to 255 and round). After a gap no birth is in force.
    fn follow(&mut self, key: &str, payload: &Payload, joined: &mut Joined) {
        let Some(node) = self.nodes.get_mut(key) else { return };
        let (Some(last), Some(now)) = (node.seq, payload.seq) else { return };
        node.seq = Some(now);
        if now == (last + 1) % 256 || now == last {
            return;
        }
        let births = std::mem::take(&mut node.births);
        self.bytes -= births.values().map(Vec::len).sum::<usize>();
        let text = format!(
            "The message number went from {last} to {now}: messages of an edge node are missing, and its names count \
             again with its next birth."
        );
        joined.warnings.push(("sequence-gap", text));
    }

    fn remember(&mut self, key: &str, device: &str, message: &[u8], joined: &mut Joined) {
        let room = self.bytes + message.len() <= BYTES_MAX;
        let Some(node) = self.nodes.get_mut(key).filter(|node| room && node.births.len() < DEVICES_MAX)
        else {
            let text =
                "A birth certificate is not remembered: too many are in force, or its node is not known.";
            joined.warnings.push(("birth-not-kept", text.into()));
            return;
        };
        let before = node.births.insert(device.to_owned(), message.to_vec());
        self.bytes = self.bytes + message.len() - before.map_or(0, |birth| birth.len());
    }

    fn forget(&mut self, key: &str) {
        let gone = self.nodes.remove(key);
        self.bytes -= gone.map_or(0, |node| node.births.values().map(Vec::len).sum());
    }
}

fn with_birth(birth: &[u8], message: &[u8]) -> Vec<u8> {
    // BYTES_MAX is far below what the length holds.
    let length = u32::try_from(birth.len()).unwrap_or(0);
    let birth = birth.get(..usize::try_from(length).unwrap_or(0)).unwrap_or_default();
    [MARK, &length.to_be_bytes(), birth, message].concat()
}

/// Fuzz body: pieces of the bytes are messages of one edge node; what comes out can be taken apart again.
pub fn fuzz(bytes: &[u8]) {
    const KINDS: [&str; 6] = ["NBIRTH", "DBIRTH", "NDATA", "DDATA", "NDEATH", "DDEATH"];
    let mut births = Births::default();
    let size = usize::from(bytes.first().copied().unwrap_or(0)) + 1;
    for (at, piece) in bytes.chunks(size).enumerate() {
        let kind = KINDS.get(at % KINDS.len()).copied().unwrap_or("NDATA");
        let topic = format!("spBv1.0/g/{kind}/e{}", if kind.starts_with('D') { "/d" } else { "" });
        let joined = births.join(&topic, piece);
        if let Some(frame) = joined.bytes {
            assert!(parts(&frame).is_some_and(|(birth, message)| birth.is_some() && message == piece));
        }
        // A kept frame may be anything that was sent once.
        let _any_answer = parts(piece);
    }
    let held: usize = births.nodes.values().flat_map(|node| node.births.values()).map(Vec::len).sum();
    assert!(held == births.bytes && held <= bytes.len());
}

#[cfg(test)]
mod tests {
    use super::payload::{Metric, Value};
    use super::*;

    fn message(seq: u64, name: Option<&str>, alias: Option<u64>) -> Vec<u8> {
        let metric =
            Metric { name: name.map(Into::into), alias, value: Some(Value::Int(97)), ..Metric::default() };
        Payload { timestamp: Some(1), metrics: vec![metric], seq: Some(seq) }.encode_to_vec()
    }

    #[test]
    fn a_topic_is_taken_apart() {
        let topic = Topic::parse("spBv1.0/ward/DDATA/edge/bed7").unwrap();
        assert_eq!(topic, Topic { group: "ward", kind: "DDATA", edge: "edge", device: Some("bed7") });
        for wrong in ["spAv1.0/a/b/c", "spBv1.0/a/b", "spBv1.0/a/b/c/d/e", "spBv1.0//NDATA/e", "x"] {
            assert_eq!(Topic::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_message_of_numbers_is_kept_with_its_birth() {
        let mut births = Births::default();
        births.join("spBv1.0/g/NBIRTH/e", &message(0, Some("bdSeq"), None));
        let birth = message(1, Some("SpO2"), Some(5));
        births.join("spBv1.0/g/DBIRTH/e/d", &birth);
        let data = message(2, None, Some(5));
        let frame = births.join("spBv1.0/g/DDATA/e/d", &data).bytes.unwrap();
        assert_eq!(parts(&frame), Some((Some(birth.as_slice()), data.as_slice())));
        let named = births.join("spBv1.0/g/DDATA/e/d", &message(3, Some("SpO2"), None));
        assert_eq!(named, Joined::default());
        assert_eq!(births.join("spBv1.0/g/DDATA/e/other", &message(4, None, Some(5))).bytes, None);
    }

    #[test]
    fn after_a_gap_no_birth_is_in_force() {
        let mut births = Births::default();
        births.join("spBv1.0/g/NBIRTH/e", &message(255, Some("SpO2"), Some(5)));
        assert!(births.join("spBv1.0/g/NDATA/e", &message(0, None, Some(5))).bytes.is_some());
        let gap = births.join("spBv1.0/g/NDATA/e", &message(7, None, Some(5)));
        assert_eq!((gap.bytes, gap.warnings[0].0), (None, "sequence-gap"));
        births.join("spBv1.0/g/NBIRTH/e", &message(0, Some("Pulse"), Some(5)));
        assert!(births.join("spBv1.0/g/NDATA/e", &message(1, None, Some(5))).bytes.is_some());
        births.join("spBv1.0/g/NDEATH/e", &message(2, Some("bdSeq"), None));
        assert_eq!(births.join("spBv1.0/g/NDATA/e", &message(2, None, Some(5))).bytes, None);
        assert_eq!(births.bytes, 0);
    }

    #[test]
    fn births_without_end_are_bounded() {
        let mut births = Births::default();
        let birth = message(0, Some("SpO2"), Some(5));
        for node in 0..2 * NODES_MAX {
            births.join(&format!("spBv1.0/g/NBIRTH/e{node}"), &birth);
        }
        assert_eq!(births.nodes.len(), NODES_MAX);
        let last = births.join("spBv1.0/g/NBIRTH/more", &birth);
        assert_eq!(last.warnings[0].0, "birth-not-kept");
    }

    #[test]
    fn any_bytes_are_taken() {
        fuzz(&message(0, Some("SpO2"), Some(5)).repeat(9));
        fuzz(b"\0SPB\xff\xff\xff\xff");
        assert_eq!(parts(b"\0SPB\xff\xff\xff\xff"), None);
        assert_eq!(parts(b"\0SPB"), None);
    }
}
