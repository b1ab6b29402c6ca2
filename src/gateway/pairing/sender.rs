//! Who sent a frame, on a link that takes many senders.

use std::sync::Arc;

use crate::gateway::understand::Said;
use crate::hl7v2::{self, Charset};

/// A sender's name is cut here.
const NAME_MAX: usize = 200;
/// MSH is looked for in this much of a message.
const HEAD_MAX: usize = 4096;

/// HL7: sending application and facility (MSH-3, MSH-4), or the peer's address when both are empty, because an
/// address may be another device's tomorrow. MQTT: the topic.
pub(in crate::gateway) fn sender_of(said: &Said<'_>) -> Arc<str> {
    let name = match said.topic {
        Some(topic) => topic.to_owned(),
        None => hl7_sender(said.bytes).unwrap_or_else(|| host(said.peer)),
    };
    name.chars().filter(|c| !c.is_control()).take(NAME_MAX).collect::<String>().into()
}

fn hl7_sender(bytes: &[u8]) -> Option<String> {
    let head = bytes.get(..bytes.len().min(HEAD_MAX)).unwrap_or_default();
    let end = head.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(head.len());
    let message = hl7v2::Message::parse(head.get(..end).unwrap_or_default(), Charset::default()).message?;
    let text = |path: &str| {
        let path = hl7v2::Path::parse(path).ok()?;
        let text = message.get(&path).raw().trim().to_owned();
        (!text.is_empty()).then_some(text)
    };
    match (text("MSH-3"), text("MSH-4")) {
        (None, None) => None,
        (application, facility) => {
            Some(format!("{}|{}", application.unwrap_or_default(), facility.unwrap_or_default()))
        }
    }
}

/// The address without its port, which changes with each connection.
fn host(peer: &str) -> String {
    let host = peer.rsplit_once(':').map_or(peer, |(host, _)| host);
    host.trim_matches(['[', ']']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    fn sender(bytes: &[u8], topic: Option<&str>, peer: &str) -> String {
        let said = Said {
            entry: None,
            link: "l",
            peer,
            received: Timestamp::from_micros(0, true),
            bytes,
            topic,
            sha256: [0; 32],
        };
        sender_of(&said).to_string()
    }

    #[test]
    fn a_sender_is_named_by_its_header_its_topic_or_its_address() {
        assert_eq!(
            sender(b"MSH|^~\\&|MON^0012^EUI-64|WARD|||x\rPID|", None, "10.0.0.9:4711"),
            "MON^0012^EUI-64|WARD"
        );
        assert_eq!(sender(b"MSH|^~\\&|||||", None, "10.0.0.9:4711"), "10.0.0.9");
        assert_eq!(sender(b"MSH|^~\\&|||||", None, "[fe80::1]:4711"), "fe80::1");
        assert_eq!(sender(b"{}", Some("kits/3"), "kits/3"), "kits/3");
    }
}
