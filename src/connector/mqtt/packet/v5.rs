//! MQTT 5 on the wire.

use bytes::BytesMut;
use mqtt5::mqttbytes::v5 as codec;

use super::{ConnAck, Connect, Limits, Malformed, Packet, Publish, QoS, Will, reason};

impl From<mqtt5::mqttbytes::Error> for Malformed {
    fn from(error: mqtt5::mqttbytes::Error) -> Self {
        Self(error.to_string())
    }
}

pub(super) fn read(bytes: &mut BytesMut) -> Result<Packet, Malformed> {
    Ok(match codec::Packet::read(bytes, None)? {
        codec::Packet::Connect(connect, will, auth) => {
            Packet::Connect(Box::new(read_connect(connect, will, auth)?))
        }
        codec::Packet::ConnAck(ack) => Packet::ConnAck(Box::new(read_connack(ack))),
        codec::Packet::Publish(publish) => Packet::Publish(Publish {
            dup: publish.dup,
            qos: publish.qos,
            retain: publish.retain,
            topic: super::v3::topic(&publish.topic)?,
            pkid: publish.pkid,
            aliased: publish.properties.is_some_and(|properties| properties.topic_alias.is_some()),
            bytes: publish.payload,
        }),
        codec::Packet::PubAck(ack) => Packet::PubAck { pkid: ack.pkid, reason: ack.reason as u8 },
        codec::Packet::PubRec(ack) => Packet::PubRec { pkid: ack.pkid, reason: ack.reason as u8 },
        codec::Packet::PubRel(ack) => Packet::PubRel { pkid: ack.pkid },
        codec::Packet::PubComp(ack) => {
            Packet::PubComp { pkid: ack.pkid, known: ack.reason == codec::PubCompReason::Success }
        }
        codec::Packet::Subscribe(subscribe) => Packet::Subscribe {
            pkid: subscribe.pkid,
            filters: subscribe.filters.into_iter().map(|filter| (filter.path, filter.qos)).collect(),
        },
        codec::Packet::SubAck(ack) => {
            Packet::SubAck { pkid: ack.pkid, codes: ack.return_codes.into_iter().map(from_grant).collect() }
        }
        codec::Packet::Unsubscribe(unsubscribe) => {
            Packet::Unsubscribe { pkid: unsubscribe.pkid, filters: unsubscribe.filters }
        }
        codec::Packet::UnsubAck(ack) => Packet::UnsubAck {
            pkid: ack.pkid,
            existed: ack.reasons.iter().map(|reason| *reason == codec::UnsubAckReason::Success).collect(),
        },
        codec::Packet::PingReq => Packet::PingReq,
        codec::Packet::PingResp => Packet::PingResp,
        codec::Packet::Disconnect(disconnect) => Packet::Disconnect { reason: disconnect.reason_code as u8 },
        codec::Packet::Auth(_) => Packet::Auth,
    })
}

fn read_connect(
    connect: codec::Connect,
    will: Option<codec::LastWill>,
    auth: codec::ConnectAuth,
) -> Result<Connect, Malformed> {
    let (user, password) = match auth {
        codec::ConnectAuth::None => (None, None),
        codec::ConnectAuth::Username { username } => (Some(username), None),
        codec::ConnectAuth::Password { password } => (None, Some(password)),
        codec::ConnectAuth::UsernamePassword { username, password } => (Some(username), Some(password)),
    };
    let will = match will {
        Some(will) => Some(Will { topic: super::v3::topic(&will.topic)?, bytes: will.message }),
        None => None,
    };
    let properties = connect.properties.unwrap_or_default();
    Ok(Connect {
        client_id: connect.client_id,
        clean: connect.clean_start,
        keep_alive_s: connect.keep_alive,
        user,
        password,
        will,
        session_expiry_s: properties.session_expiry_interval.unwrap_or(0),
        receive_maximum: properties.receive_maximum,
        max_packet_bytes: properties.max_packet_size,
        extended_authentication: properties.authentication_method.is_some(),
    })
}

fn read_connack(ack: codec::ConnAck) -> ConnAck {
    let mut limits = Limits::default();
    if let Some(said) = ack.properties {
        limits.session_expiry_s = said.session_expiry_interval;
        limits.receive_maximum = said.receive_max;
        limits.max_packet_bytes = said.max_packet_size;
        limits.assigned_client_id = said.assigned_client_identifier;
        limits.keep_alive_s = said.server_keep_alive;
        limits.retain_available = said.retain_available.map(|said| said != 0);
        limits.shared_subscriptions = said.shared_subscription_available.map(|said| said != 0);
        limits.subscription_ids = said.subscription_identifiers_available.map(|said| said != 0);
        limits.reason_text = said.reason_string;
    }
    ConnAck { session_present: ack.session_present, reason: to_reason(ack.code), limits }
}

/// Connect reasons of MQTT 5 §3.2.2.2 beside the codec's names.
const CONNECT_REASONS: [(u8, codec::ConnectReturnCode); 22] = [
    (0x00, codec::ConnectReturnCode::Success),
    (0x80, codec::ConnectReturnCode::UnspecifiedError),
    (0x81, codec::ConnectReturnCode::MalformedPacket),
    (0x82, codec::ConnectReturnCode::ProtocolError),
    (0x83, codec::ConnectReturnCode::ImplementationSpecificError),
    (0x84, codec::ConnectReturnCode::UnsupportedProtocolVersion),
    (0x85, codec::ConnectReturnCode::ClientIdentifierNotValid),
    (0x86, codec::ConnectReturnCode::BadUserNamePassword),
    (0x87, codec::ConnectReturnCode::NotAuthorized),
    (0x88, codec::ConnectReturnCode::ServerUnavailable),
    (0x89, codec::ConnectReturnCode::ServerBusy),
    (0x8A, codec::ConnectReturnCode::Banned),
    (0x8C, codec::ConnectReturnCode::BadAuthenticationMethod),
    (0x90, codec::ConnectReturnCode::TopicNameInvalid),
    (0x95, codec::ConnectReturnCode::PacketTooLarge),
    (0x97, codec::ConnectReturnCode::QuotaExceeded),
    (0x99, codec::ConnectReturnCode::PayloadFormatInvalid),
    (0x9A, codec::ConnectReturnCode::RetainNotSupported),
    (0x9B, codec::ConnectReturnCode::QoSNotSupported),
    (0x9C, codec::ConnectReturnCode::UseAnotherServer),
    (0x9D, codec::ConnectReturnCode::ServerMoved),
    (0x9F, codec::ConnectReturnCode::ConnectionRateExceeded),
];

fn to_reason(code: codec::ConnectReturnCode) -> u8 {
    CONNECT_REASONS.iter().find(|(_, known)| *known == code).map_or(0x80, |(number, _)| *number)
}

fn from_reason(code: u8) -> codec::ConnectReturnCode {
    let known = CONNECT_REASONS.iter().find(|(number, _)| *number == code);
    known.map_or(codec::ConnectReturnCode::UnspecifiedError, |(_, code)| *code)
}

/// Subscribe reasons of MQTT 5 §3.9.3 that are refusals.
const REFUSALS: [(u8, codec::SubscribeReasonCode); 9] = [
    (0x80, codec::SubscribeReasonCode::Unspecified),
    (0x83, codec::SubscribeReasonCode::ImplementationSpecific),
    (0x87, codec::SubscribeReasonCode::NotAuthorized),
    (0x8F, codec::SubscribeReasonCode::TopicFilterInvalid),
    (0x91, codec::SubscribeReasonCode::PkidInUse),
    (0x97, codec::SubscribeReasonCode::QuotaExceeded),
    (0x9E, codec::SubscribeReasonCode::SharedSubscriptionsNotSupported),
    (0xA1, codec::SubscribeReasonCode::SubscriptionIdNotSupported),
    (0xA2, codec::SubscribeReasonCode::WildcardSubscriptionsNotSupported),
];

fn from_grant(code: codec::SubscribeReasonCode) -> u8 {
    match code {
        codec::SubscribeReasonCode::Success(qos) => qos as u8,
        refused => REFUSALS.iter().find(|(_, known)| *known == refused).map_or(0x80, |(number, _)| *number),
    }
}

fn to_grant(code: u8) -> codec::SubscribeReasonCode {
    match code {
        0 => codec::SubscribeReasonCode::Success(QoS::AtMostOnce),
        1 => codec::SubscribeReasonCode::Success(QoS::AtLeastOnce),
        2 => codec::SubscribeReasonCode::Success(QoS::ExactlyOnce),
        _ => {
            let known = REFUSALS.iter().find(|(number, _)| *number == code);
            known.map_or(codec::SubscribeReasonCode::Unspecified, |(_, refused)| *refused)
        }
    }
}

fn puback_reason(code: u8) -> codec::PubAckReason {
    match code {
        reason::SUCCESS => codec::PubAckReason::Success,
        reason::NO_MATCHING_SUBSCRIBERS => codec::PubAckReason::NoMatchingSubscribers,
        reason::NOT_AUTHORIZED => codec::PubAckReason::NotAuthorized,
        reason::TOPIC_NAME_INVALID => codec::PubAckReason::TopicNameInvalid,
        reason::QUOTA_EXCEEDED => codec::PubAckReason::QuotaExceeded,
        _ => codec::PubAckReason::UnspecifiedError,
    }
}

fn pubrec_reason(code: u8) -> codec::PubRecReason {
    match code {
        reason::SUCCESS => codec::PubRecReason::Success,
        reason::NO_MATCHING_SUBSCRIBERS => codec::PubRecReason::NoMatchingSubscribers,
        reason::NOT_AUTHORIZED => codec::PubRecReason::NotAuthorized,
        reason::TOPIC_NAME_INVALID => codec::PubRecReason::TopicNameInvalid,
        reason::QUOTA_EXCEEDED => codec::PubRecReason::QuotaExceeded,
        _ => codec::PubRecReason::UnspecifiedError,
    }
}

pub(super) fn write(packet: &Packet, bytes: &mut BytesMut) -> Result<(), Malformed> {
    let packet = match packet {
        Packet::Connect(connect) => write_connect(connect),
        Packet::ConnAck(ack) => codec::Packet::ConnAck(write_connack(ack)),
        Packet::Publish(publish) => {
            let mut written = codec::Publish::new(&*publish.topic, publish.qos, publish.bytes.clone(), None);
            (written.dup, written.retain, written.pkid) = (publish.dup, publish.retain, publish.pkid);
            codec::Packet::Publish(written)
        }
        Packet::PubAck { pkid, reason } => {
            let mut ack = codec::PubAck::new(*pkid, None);
            ack.reason = puback_reason(*reason);
            codec::Packet::PubAck(ack)
        }
        Packet::PubRec { pkid, reason } => {
            let mut ack = codec::PubRec::new(*pkid, None);
            ack.reason = pubrec_reason(*reason);
            codec::Packet::PubRec(ack)
        }
        Packet::PubRel { pkid } => codec::Packet::PubRel(codec::PubRel::new(*pkid, None)),
        Packet::PubComp { pkid, known } => {
            let mut ack = codec::PubComp::new(*pkid, None);
            if !known {
                ack.reason = codec::PubCompReason::PacketIdentifierNotFound;
            }
            codec::Packet::PubComp(ack)
        }
        Packet::Subscribe { pkid, filters } => codec::Packet::Subscribe(write_subscribe(*pkid, filters)),
        Packet::SubAck { pkid, codes } => codec::Packet::SubAck(codec::SubAck {
            pkid: *pkid,
            return_codes: codes.iter().map(|code| to_grant(*code)).collect(),
            properties: None,
        }),
        Packet::Unsubscribe { pkid, filters } => codec::Packet::Unsubscribe(codec::Unsubscribe {
            pkid: *pkid,
            filters: filters.clone(),
            properties: None,
        }),
        Packet::UnsubAck { pkid, existed } => {
            let told = |existed: &bool| match existed {
                true => codec::UnsubAckReason::Success,
                false => codec::UnsubAckReason::NoSubscriptionExisted,
            };
            let reasons = existed.iter().map(told).collect();
            codec::Packet::UnsubAck(codec::UnsubAck { pkid: *pkid, reasons, properties: None })
        }
        Packet::PingReq => codec::Packet::PingReq,
        Packet::PingResp => codec::Packet::PingResp,
        Packet::Disconnect { reason } => {
            let code = codec::DisconnectReasonCode::try_from(*reason);
            let code = code.unwrap_or(codec::DisconnectReasonCode::UnspecifiedError);
            codec::Packet::Disconnect(codec::Disconnect::new(code))
        }
        Packet::Auth => return Err(Malformed("AUTH is never sent".into())),
    };
    packet.write(bytes, None)?;
    Ok(())
}

fn write_subscribe(pkid: u16, filters: &[(String, QoS)]) -> codec::Subscribe {
    let filter = |(path, qos): &(String, QoS)| {
        let mut filter = codec::SubscribeFilter::new(path.clone(), *qos);
        // A retained message is old; after a reconnect it would come again as if it were new.
        filter.retain_forward_rule = codec::RetainForwardRule::OnNewSubscribe;
        filter
    };
    codec::Subscribe { pkid, filters: filters.iter().map(filter).collect(), properties: None }
}

fn write_connect(connect: &Connect) -> codec::Packet {
    let properties = codec::ConnectProperties {
        session_expiry_interval: Some(connect.session_expiry_s),
        receive_maximum: connect.receive_maximum,
        max_packet_size: connect.max_packet_bytes,
        ..codec::ConnectProperties::default()
    };
    let auth = match (&connect.user, &connect.password) {
        (Some(username), Some(password)) => {
            codec::ConnectAuth::UsernamePassword { username: username.clone(), password: password.clone() }
        }
        (Some(username), None) => codec::ConnectAuth::Username { username: username.clone() },
        (None, Some(password)) => codec::ConnectAuth::Password { password: password.clone() },
        (None, None) => codec::ConnectAuth::None,
    };
    let will = connect.will.as_ref().map(|will| {
        codec::LastWill::new(will.topic.clone(), will.bytes.to_vec(), QoS::AtLeastOnce, false, None)
    });
    let written = codec::Connect {
        keep_alive: connect.keep_alive_s,
        client_id: connect.client_id.clone(),
        clean_start: connect.clean,
        properties: Some(properties),
    };
    codec::Packet::Connect(written, will, auth)
}

fn write_connack(ack: &ConnAck) -> codec::ConnAck {
    let limits = &ack.limits;
    let number = |yes: bool| u8::from(yes);
    let properties = codec::ConnAckProperties {
        session_expiry_interval: limits.session_expiry_s,
        receive_max: limits.receive_maximum,
        max_qos: None,
        retain_available: limits.retain_available.map(number),
        max_packet_size: limits.max_packet_bytes,
        assigned_client_identifier: limits.assigned_client_id.clone(),
        topic_alias_max: None,
        reason_string: limits.reason_text.clone(),
        user_properties: Vec::new(),
        wildcard_subscription_available: None,
        subscription_identifiers_available: limits.subscription_ids.map(number),
        shared_subscription_available: limits.shared_subscriptions.map(number),
        server_keep_alive: limits.keep_alive_s,
        response_information: None,
        server_reference: None,
        authentication_method: None,
        authentication_data: None,
    };
    codec::ConnAck {
        session_present: ack.session_present,
        code: from_reason(ack.reason),
        properties: Some(properties),
    }
}
