//! MQTT control packets as this house needs them, the same for 3.1.1 and 5.
//!
//! The bytes are read and written by the codecs of the two `rumqttc` libraries ([`v3`], [`v5`]); properties of
//! MQTT 5 that nobody here acts on are left out.

mod v3;
mod v5;

use bytes::{Bytes, BytesMut};
pub(crate) use mqtt5::mqttbytes::QoS;
use serde::Deserialize;

/// Protocol version of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub enum Version {
    /// 3.1.1, protocol level 4.
    V3,
    /// 5, protocol level 5.
    V5,
}

/// `version = 5` and `version = "3.1.1"` both read well in a config file.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Number(u8),
    Text(String),
}

impl TryFrom<Written> for Version {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        match written {
            Written::Number(3) => Ok(Self::V3),
            Written::Number(5) => Ok(Self::V5),
            Written::Text(text) if text == "3.1.1" || text == "3" => Ok(Self::V3),
            Written::Text(text) if text == "5" || text == "5.0" => Ok(Self::V5),
            _ => Err(String::from("MQTT version must be 5 or 3 (which means 3.1.1)")),
        }
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::V3 => "MQTT 3.1.1",
            Self::V5 => "MQTT 5",
        })
    }
}

/// Reason codes of MQTT 5 §2.4 that are sent or acted on here. For 3.1.1 they are mapped where one exists.
pub(crate) mod reason {
    pub(crate) const SUCCESS: u8 = 0x00;
    pub(crate) const DISCONNECT_WITH_WILL: u8 = 0x04;
    pub(crate) const NO_MATCHING_SUBSCRIBERS: u8 = 0x10;
    pub(crate) const MALFORMED: u8 = 0x81;
    pub(crate) const PROTOCOL_ERROR: u8 = 0x82;
    pub(crate) const UNSUPPORTED_VERSION: u8 = 0x84;
    pub(crate) const CLIENT_ID_NOT_VALID: u8 = 0x85;
    pub(crate) const BAD_USER_OR_PASSWORD: u8 = 0x86;
    pub(crate) const NOT_AUTHORIZED: u8 = 0x87;
    pub(crate) const SERVER_UNAVAILABLE: u8 = 0x88;
    pub(crate) const SERVER_SHUTTING_DOWN: u8 = 0x8B;
    pub(crate) const BAD_AUTHENTICATION_METHOD: u8 = 0x8C;
    pub(crate) const KEEP_ALIVE_TIMEOUT: u8 = 0x8D;
    pub(crate) const SESSION_TAKEN_OVER: u8 = 0x8E;
    pub(crate) const TOPIC_FILTER_INVALID: u8 = 0x8F;
    pub(crate) const TOPIC_NAME_INVALID: u8 = 0x90;
    pub(crate) const PACKET_TOO_LARGE: u8 = 0x95;
    pub(crate) const QUOTA_EXCEEDED: u8 = 0x97;
}

/// One control packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Packet {
    Connect(Box<Connect>),
    ConnAck(Box<ConnAck>),
    Publish(Publish),
    PubAck {
        pkid: u16,
        reason: u8,
    },
    PubRec {
        pkid: u16,
        reason: u8,
    },
    PubRel {
        pkid: u16,
    },
    /// `known`: the PUBREL named an exchange that was open (MQTT 5 says so).
    PubComp {
        pkid: u16,
        known: bool,
    },
    Subscribe {
        pkid: u16,
        filters: Vec<(String, QoS)>,
    },
    /// One code per filter: granted QoS, or 0x80 and above.
    SubAck {
        pkid: u16,
        codes: Vec<u8>,
    },
    Unsubscribe {
        pkid: u16,
        filters: Vec<String>,
    },
    /// Per filter, whether there was a subscription.
    UnsubAck {
        pkid: u16,
        existed: Vec<bool>,
    },
    PingReq,
    PingResp,
    Disconnect {
        reason: u8,
    },
    /// AUTH: nobody here agrees to an extended authentication.
    Auth,
}

/// CONNECT.
#[derive(Clone, PartialEq, Eq, Default)]
pub(crate) struct Connect {
    pub(crate) client_id: String,
    /// Clean session (3.1.1), clean start (5).
    pub(crate) clean: bool,
    pub(crate) keep_alive_s: u16,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Bytes>,
    pub(crate) will: Option<Will>,
    /// Seconds a session outlives its connection; 3.1.1 says it with `clean` alone.
    pub(crate) session_expiry_s: u32,
    /// How many QoS 1 and 2 messages the sender of CONNECT takes unacknowledged (5 only).
    pub(crate) receive_maximum: Option<u16>,
    /// Largest packet the sender of CONNECT takes (5 only).
    pub(crate) max_packet_bytes: Option<u32>,
    /// It asks for an extended authentication (5 only).
    pub(crate) extended_authentication: bool,
}

impl std::fmt::Debug for Connect {
    /// No password, and no will: both are the client's own.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connect({}, clean {})", self.client_id, self.clean)
    }
}

/// The message a broker publishes when a client is lost.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Will {
    pub(crate) topic: String,
    pub(crate) bytes: Bytes,
}

/// CONNACK. What a broker of this house says of itself is in [`Limits`].
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct ConnAck {
    pub(crate) session_present: bool,
    pub(crate) reason: u8,
    pub(crate) limits: Limits,
}

/// Limits a broker states in CONNACK (5 only); `None` = not stated.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Limits {
    pub(crate) session_expiry_s: Option<u32>,
    pub(crate) receive_maximum: Option<u16>,
    pub(crate) max_packet_bytes: Option<u32>,
    pub(crate) assigned_client_id: Option<String>,
    pub(crate) keep_alive_s: Option<u16>,
    pub(crate) retain_available: Option<bool>,
    pub(crate) shared_subscriptions: Option<bool>,
    pub(crate) subscription_ids: Option<bool>,
    pub(crate) reason_text: Option<String>,
}

/// PUBLISH.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Publish {
    pub(crate) dup: bool,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) topic: String,
    /// 0 for QoS 0.
    pub(crate) pkid: u16,
    pub(crate) bytes: Bytes,
    /// A topic alias was used; nobody here offers one (5 only).
    pub(crate) aliased: bool,
}

impl std::fmt::Debug for Publish {
    /// Sizes only: messages hold patient data.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Publish({:?}, pkid {}, {} bytes)", self.qos, self.pkid, self.bytes.len())
    }
}

/// Why bytes are not a packet, or a packet cannot be written: the codec's own words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Malformed(pub(crate) String);

impl Packet {
    /// Reads one whole packet: `bytes` begins with it, and it is taken off.
    pub(crate) fn read(bytes: &mut BytesMut, version: Version) -> Result<Self, Malformed> {
        match version {
            Version::V3 => v3::read(bytes),
            Version::V5 => v5::read(bytes),
        }
    }

    /// Appends this packet to `bytes`.
    pub(crate) fn write(&self, bytes: &mut BytesMut, version: Version) -> Result<(), Malformed> {
        match version {
            Version::V3 => v3::write(self, bytes),
            Version::V5 => v5::write(self, bytes),
        }
    }
}

/// Whether `filter` matches `topic`. A shared subscription (`$share/group/filter`) matches by its filter, and
/// wildcards do not reach topics that begin with `$` (MQTT 5 §4.7.2).
pub(crate) fn matches(topic: &str, filter: &str) -> bool {
    let filter = match filter.strip_prefix("$share/") {
        Some(shared) => shared.split_once('/').map_or(filter, |(_, filter)| filter),
        None => filter,
    };
    if topic.starts_with('$') && !filter.starts_with('$') {
        return false;
    }
    let mut levels = topic.split('/');
    let mut pattern = filter.split('/');
    loop {
        match (pattern.next(), levels.next()) {
            // `a/#` matches `a` too: the parent level is included (MQTT 5 §4.7.1.2).
            (Some("#"), _) => return true,
            (Some("+"), Some(_)) => {}
            (Some(wanted), Some(level)) if wanted == level => {}
            (None, None) => return true,
            _ => return false,
        }
    }
}

/// Whether `filter` may be subscribed to or configured.
pub(crate) fn valid_filter(filter: &str) -> bool {
    mqtt5::mqttbytes::valid_filter(filter) && filter.len() <= usize::from(u16::MAX) && !filter.contains('\0')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes and reads back, in both versions; what 3.1.1 cannot say is given as the second value.
    fn there_and_back(packet: Packet, in_v3: Option<Packet>) {
        for version in [Version::V5, Version::V3] {
            let mut bytes = BytesMut::new();
            packet.write(&mut bytes, version).unwrap();
            let expected = match (version, &in_v3) {
                (Version::V3, Some(other)) => other,
                _ => &packet,
            };
            assert_eq!(&Packet::read(&mut bytes, version).unwrap(), expected, "{version}");
            assert!(bytes.is_empty());
        }
    }

    #[test]
    fn packets_survive_both_versions() {
        there_and_back(
            Packet::Publish(Publish {
                dup: true,
                qos: QoS::AtLeastOnce,
                retain: true,
                topic: "home/gw/BTtoMQTT/AABB".into(),
                pkid: 7,
                bytes: Bytes::from_static(b"{}"),
                aliased: false,
            }),
            None,
        );
        there_and_back(
            Packet::PubAck { pkid: 1, reason: reason::QUOTA_EXCEEDED },
            Some(Packet::PubAck { pkid: 1, reason: 0 }),
        );
        there_and_back(
            Packet::PubRec { pkid: 2, reason: reason::NO_MATCHING_SUBSCRIBERS },
            Some(Packet::PubRec { pkid: 2, reason: 0 }),
        );
        there_and_back(Packet::PubRel { pkid: 3 }, None);
        there_and_back(
            Packet::PubComp { pkid: 3, known: false },
            Some(Packet::PubComp { pkid: 3, known: true }),
        );
        let filters = vec![(String::from("a/+"), QoS::AtLeastOnce), (String::from("#"), QoS::AtMostOnce)];
        there_and_back(Packet::Subscribe { pkid: 4, filters }, None);
        there_and_back(
            Packet::SubAck { pkid: 4, codes: vec![1, 0, reason::NOT_AUTHORIZED] },
            Some(Packet::SubAck { pkid: 4, codes: vec![1, 0, 0x80] }),
        );
        there_and_back(Packet::Unsubscribe { pkid: 5, filters: vec!["a/+".into()] }, None);
        there_and_back(
            Packet::UnsubAck { pkid: 5, existed: vec![false] },
            Some(Packet::UnsubAck { pkid: 5, existed: vec![] }),
        );
        there_and_back(Packet::PingReq, None);
        there_and_back(Packet::PingResp, None);
        there_and_back(
            Packet::Disconnect { reason: reason::SESSION_TAKEN_OVER },
            Some(Packet::Disconnect { reason: 0 }),
        );
    }

    #[test]
    fn connecting_survives_both_versions() {
        let connect = Connect {
            client_id: "gateway".into(),
            keep_alive_s: 30,
            user: Some("ward".into()),
            password: Some(Bytes::from_static(b"s3cret")),
            will: Some(Will { topic: "lwt".into(), bytes: Bytes::from_static(b"off") }),
            session_expiry_s: 3600,
            receive_maximum: Some(32),
            max_packet_bytes: Some(1 << 20),
            ..Connect::default()
        };
        let plain = Connect {
            session_expiry_s: u32::MAX,
            receive_maximum: None,
            max_packet_bytes: None,
            ..connect.clone()
        };
        assert!(!format!("{connect:?}").contains("s3cret"));
        there_and_back(Packet::Connect(Box::new(connect)), Some(Packet::Connect(Box::new(plain))));
        let limits = Limits {
            session_expiry_s: Some(60),
            receive_maximum: Some(32),
            max_packet_bytes: Some(9),
            assigned_client_id: Some("x".into()),
            keep_alive_s: Some(60),
            retain_available: Some(false),
            shared_subscriptions: Some(false),
            subscription_ids: Some(false),
            reason_text: None,
        };
        let granted = ConnAck { session_present: true, reason: 0, limits };
        let plain = ConnAck { limits: Limits::default(), ..granted.clone() };
        there_and_back(Packet::ConnAck(Box::new(granted)), Some(Packet::ConnAck(Box::new(plain))));
        for refused in [reason::BAD_USER_OR_PASSWORD, reason::NOT_AUTHORIZED, reason::CLIENT_ID_NOT_VALID] {
            there_and_back(
                Packet::ConnAck(Box::new(ConnAck { reason: refused, ..ConnAck::default() })),
                None,
            );
        }
    }

    #[test]
    fn filters_match_as_the_standard_says() {
        for (topic, filter, expected) in [
            ("a/b/c", "a/b/c", true),
            ("a/b/c", "a/+/c", true),
            ("a/b/c", "a/#", true),
            ("a", "a/#", true),
            ("a/b/c", "#", true),
            ("a/b/c", "a/+", false),
            ("a/b", "a/b/c", false),
            ("/a", "+/a", true),
            ("a/", "a/+", true),
            ("a", "a/+", false),
            ("$SYS/load", "#", false),
            ("$SYS/load", "+/load", false),
            ("$SYS/load", "$SYS/#", true),
            ("a/b", "$share/group/a/+", true),
            ("A/b", "a/b", false),
        ] {
            assert_eq!(matches(topic, filter), expected, "{topic} {filter}");
        }
    }

    #[test]
    fn a_version_is_written_as_people_write_it() {
        #[derive(Deserialize)]
        struct Part {
            version: Version,
        }
        for (text, version) in [("5", Version::V5), ("3", Version::V3), ("\"3.1.1\"", Version::V3)] {
            assert_eq!(toml::from_str::<Part>(&format!("version = {text}")).unwrap().version, version);
        }
        let wrong = toml::from_str::<Part>("version = 4").err().unwrap().to_string();
        assert!(wrong.contains("5 or 3"), "{wrong}");
    }
}
