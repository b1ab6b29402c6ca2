//! What is kept in order: messages of one patient, of one device, or none.

use serde::Deserialize;

use crate::hl7v2::Message;

use super::oru::About;

/// What a destination gets in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InOrder {
    /// All messages of a patient; of what names none, all of the link.
    #[default]
    Patient,
    /// All messages of a device (MSH-3).
    Device,
    /// None: whichever connection is free takes the next.
    None,
}

impl InOrder {
    /// The word of the configuration.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Patient => "patient",
            Self::Device => "device",
            Self::None => "none",
        }
    }
}

/// What stands for an order: a number that tells nothing of the patient. Messages of the same one are sent one after
/// another; two orders that meet in one number wait for each other needlessly, and that is all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lane(pub i64);

impl Lane {
    /// Of a message as it came.
    pub fn of_message(order: InOrder, message: &Message<'_>, link: &str, entry: i64) -> Self {
        let field = |segment: &str, number: u16| {
            message
                .segment(segment, 1)
                .map(|s| s.field(number).repetition(1).component(1).text().trim().to_owned())
        };
        let own = match order {
            InOrder::None => return Self(entry.max(0)),
            InOrder::Patient => field("PID", 3).filter(|id| !id.is_empty()).map(|id| ("patient", id)),
            InOrder::Device => field("MSH", 3).filter(|id| !id.is_empty()).map(|id| ("device", id)),
        };
        own.map_or_else(|| hashed("link", link), |(kind, id)| hashed(kind, &id))
    }

    /// Of a message that is built.
    pub fn of_report(order: InOrder, about: &About<'_>, link: &str, entry: i64) -> Self {
        let person =
            about.report.person.as_ref().and_then(|person| person.identifiers.first()).or(about.bound);
        match (order, person) {
            (InOrder::Patient, Some(id)) => hashed("patient", id.value.trim()),
            (InOrder::Device, _) => hashed("device", &about.report.device.key(link)),
            _ => Self::of_link(order, link, entry),
        }
    }

    /// Of what names nobody.
    pub fn of_link(order: InOrder, link: &str, entry: i64) -> Self {
        if order == InOrder::None { Self(entry.max(0)) } else { hashed("link", link) }
    }
}

/// FNV-1a: the same in every version of the program, as what it makes is kept on disk.
fn hashed(kind: &str, text: &str) -> Lane {
    let bytes = kind.bytes().chain([0]).chain(text.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    // The highest bits are the best mixed ones; a sign has no place in a lane.
    Lane(i64::try_from(hash >> 1).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Device, Identifier, Person, Report};
    use crate::hl7v2::Charset;

    fn lane(order: InOrder, text: &str) -> Lane {
        let parsed = Message::parse(text.as_bytes(), Charset::default());
        Lane::of_message(order, &parsed.message.unwrap(), "ward", 12)
    }

    #[test]
    fn messages_of_a_patient_share_a_lane() {
        let message =
            |device: &str, pid: &str| format!("MSH|^~\\&|{device}|W|||1||ORU^R01|1|P|2.6\rPID|1||{pid}\r");
        let (a, b) = (message("A", "7^^^H^MR"), message("B", "7^^^H^MR~9^^^X^SS"));
        assert_eq!(lane(InOrder::Patient, &a), lane(InOrder::Patient, &b));
        assert_ne!(lane(InOrder::Patient, &a), lane(InOrder::Patient, &message("A", "8^^^H^MR")));
        assert_ne!(lane(InOrder::Device, &a), lane(InOrder::Device, &b));
        assert_eq!(lane(InOrder::Device, &a), lane(InOrder::Device, &message("A", "8")));
        assert_eq!(lane(InOrder::None, &a), Lane(12));
        let nobody = message("A", "");
        assert_eq!(lane(InOrder::Patient, &nobody), lane(InOrder::Patient, &message("B", "^^^H^MR")));
    }

    #[test]
    fn a_lane_is_never_negative_and_never_changes() {
        for text in ["", "7", "patient", "\u{1F600}"] {
            assert!(hashed("patient", text).0 >= 0);
        }
        // The number is kept on disk: computed here in another way than the one under test.
        let mut hash = 14_695_981_039_346_656_037u64;
        for byte in *b"patient\x007" {
            hash ^= u64::from(byte);
            hash = hash.wrapping_mul(1_099_511_628_211);
        }
        assert_eq!(hashed("patient", "7"), Lane(i64::try_from(hash / 2).unwrap()));
    }

    #[test]
    fn a_built_message_follows_the_patient_of_its_report() {
        let report = |id: Option<&str>| Report {
            person: id.map(|value| Person {
                identifiers: vec![Identifier { system: "urn:x".into(), value: value.into(), kind: None }],
                ..Person::default()
            }),
            device: Device::default(),
            place: None,
            specimen: None,
            orders: Vec::new(),
            measurements: Vec::new(),
        };
        let bound = Identifier { system: "urn:x".into(), value: "7".into(), kind: None };
        let of = |id: Option<&str>, bound| {
            Lane::of_report(InOrder::Patient, &About { report: &report(id), bound }, "ward", 3)
        };
        let seven = lane(InOrder::Patient, "MSH|^~\\&|A\rPID|1||7\r");
        assert_eq!((of(Some("7"), None), of(None, Some(&bound))), (seven, seven));
        assert_eq!(of(None, None), lane(InOrder::Patient, "MSH|^~\\&|A\r"));
    }
}
