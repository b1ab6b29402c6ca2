//! MQTT 3.1.1 on the wire.

use bytes::{Bytes, BytesMut};
use mqtt3::mqttbytes::v4 as codec;

use super::{ConnAck, Connect, Limits, Malformed, Packet, Publish, Will, reason};

impl From<mqtt3::mqttbytes::Error> for Malformed {
    fn from(error: mqtt3::mqttbytes::Error) -> Self {
        Self(error.to_string())
    }
}

/// The caller has checked the size of the packet already.
const ANY_SIZE: usize = usize::MAX;

pub(super) fn read(bytes: &mut BytesMut) -> Result<Packet, Malformed> {
    Ok(match codec::Packet::read(bytes, ANY_SIZE)? {
        codec::Packet::Connect(connect) => Packet::Connect(Box::new(read_connect(connect))),
        codec::Packet::ConnAck(ack) => Packet::ConnAck(Box::new(ConnAck {
            session_present: ack.session_present,
            reason: to_reason(ack.code),
            limits: Limits::default(),
        })),
        codec::Packet::Publish(publish) => Packet::Publish(Publish {
            dup: publish.dup,
            qos: publish.qos,
            retain: publish.retain,
            topic: topic(&publish.topic)?,
            pkid: publish.pkid,
            bytes: publish.payload,
            aliased: false,
        }),
        codec::Packet::PubAck(ack) => Packet::PubAck { pkid: ack.pkid, reason: reason::SUCCESS },
        codec::Packet::PubRec(ack) => Packet::PubRec { pkid: ack.pkid, reason: reason::SUCCESS },
        codec::Packet::PubRel(ack) => Packet::PubRel { pkid: ack.pkid },
        codec::Packet::PubComp(ack) => Packet::PubComp { pkid: ack.pkid, known: true },
        codec::Packet::Subscribe(subscribe) => Packet::Subscribe {
            pkid: subscribe.pkid,
            filters: subscribe.filters.into_iter().map(|filter| (filter.path, filter.qos)).collect(),
        },
        codec::Packet::SubAck(ack) => {
            Packet::SubAck { pkid: ack.pkid, codes: ack.return_codes.into_iter().map(from_grant).collect() }
        }
        codec::Packet::Unsubscribe(unsubscribe) => {
            Packet::Unsubscribe { pkid: unsubscribe.pkid, filters: unsubscribe.topics }
        }
        codec::Packet::UnsubAck(ack) => Packet::UnsubAck { pkid: ack.pkid, existed: Vec::new() },
        codec::Packet::PingReq => Packet::PingReq,
        codec::Packet::PingResp => Packet::PingResp,
        codec::Packet::Disconnect => Packet::Disconnect { reason: reason::SUCCESS },
    })
}

pub(super) fn topic(bytes: &Bytes) -> Result<String, Malformed> {
    String::from_utf8(bytes.to_vec()).map_err(|_| Malformed("topic is not UTF-8".into()))
}

fn read_connect(connect: codec::Connect) -> Connect {
    let (user, password) = match connect.auth {
        codec::ConnectAuth::None => (None, None),
        codec::ConnectAuth::Username { username } => (Some(username), None),
        codec::ConnectAuth::UsernamePassword { username, password } => (Some(username), Some(password)),
    };
    Connect {
        client_id: connect.client_id,
        clean: connect.clean_session,
        keep_alive_s: connect.keep_alive,
        user,
        password,
        will: connect.last_will.map(|will| Will { topic: will.topic, bytes: will.message }),
        // 3.1.1 §3.1.2.4: a session that is not clean is kept without a limit.
        session_expiry_s: if connect.clean_session { 0 } else { u32::MAX },
        ..Connect::default()
    }
}

fn to_reason(code: codec::ConnectReturnCode) -> u8 {
    match code {
        codec::ConnectReturnCode::Success => reason::SUCCESS,
        codec::ConnectReturnCode::RefusedProtocolVersion => reason::UNSUPPORTED_VERSION,
        codec::ConnectReturnCode::BadClientId => reason::CLIENT_ID_NOT_VALID,
        codec::ConnectReturnCode::ServiceUnavailable => reason::SERVER_UNAVAILABLE,
        codec::ConnectReturnCode::BadUserNamePassword => reason::BAD_USER_OR_PASSWORD,
        codec::ConnectReturnCode::NotAuthorized => reason::NOT_AUTHORIZED,
    }
}

fn from_reason(code: u8) -> codec::ConnectReturnCode {
    match code {
        reason::SUCCESS => codec::ConnectReturnCode::Success,
        reason::UNSUPPORTED_VERSION => codec::ConnectReturnCode::RefusedProtocolVersion,
        reason::CLIENT_ID_NOT_VALID => codec::ConnectReturnCode::BadClientId,
        reason::BAD_USER_OR_PASSWORD => codec::ConnectReturnCode::BadUserNamePassword,
        reason::NOT_AUTHORIZED => codec::ConnectReturnCode::NotAuthorized,
        _ => codec::ConnectReturnCode::ServiceUnavailable,
    }
}

fn from_grant(code: codec::SubscribeReasonCode) -> u8 {
    match code {
        codec::SubscribeReasonCode::Success(qos) => qos as u8,
        codec::SubscribeReasonCode::Failure => 0x80,
    }
}

pub(super) fn write(packet: &Packet, bytes: &mut BytesMut) -> Result<(), Malformed> {
    let packet = match packet {
        Packet::Connect(connect) => codec::Packet::Connect(write_connect(connect)),
        Packet::ConnAck(ack) => {
            codec::Packet::ConnAck(codec::ConnAck::new(from_reason(ack.reason), ack.session_present))
        }
        Packet::Publish(publish) => {
            let mut written = codec::Publish::from_bytes(&*publish.topic, publish.qos, publish.bytes.clone());
            (written.dup, written.retain, written.pkid) = (publish.dup, publish.retain, publish.pkid);
            codec::Packet::Publish(written)
        }
        // 3.1.1 has no negative acknowledgement: whoever means one closes the connection instead.
        Packet::PubAck { pkid, .. } => codec::Packet::PubAck(codec::PubAck::new(*pkid)),
        Packet::PubRec { pkid, .. } => codec::Packet::PubRec(codec::PubRec::new(*pkid)),
        Packet::PubRel { pkid } => codec::Packet::PubRel(codec::PubRel::new(*pkid)),
        Packet::PubComp { pkid, .. } => codec::Packet::PubComp(codec::PubComp::new(*pkid)),
        Packet::Subscribe { pkid, filters } => {
            let filter = |(path, qos): &(String, _)| codec::SubscribeFilter::new(path.clone(), *qos);
            codec::Packet::Subscribe(codec::Subscribe {
                pkid: *pkid,
                filters: filters.iter().map(filter).collect(),
            })
        }
        Packet::SubAck { pkid, codes } => {
            let grant = |code: &u8| {
                codec::SubscribeReasonCode::try_from(*code).unwrap_or(codec::SubscribeReasonCode::Failure)
            };
            codec::Packet::SubAck(codec::SubAck::new(*pkid, codes.iter().map(grant).collect()))
        }
        Packet::Unsubscribe { pkid, filters } => {
            codec::Packet::Unsubscribe(codec::Unsubscribe { pkid: *pkid, topics: filters.clone() })
        }
        Packet::UnsubAck { pkid, .. } => codec::Packet::UnsubAck(codec::UnsubAck::new(*pkid)),
        Packet::PingReq => codec::Packet::PingReq,
        Packet::PingResp => codec::Packet::PingResp,
        Packet::Disconnect { .. } => codec::Packet::Disconnect,
        Packet::Auth => return Err(Malformed("MQTT 3.1.1 has no AUTH".into())),
    };
    packet.write(bytes, ANY_SIZE)?;
    Ok(())
}

fn write_connect(connect: &Connect) -> codec::Connect {
    let mut written = codec::Connect::new(connect.client_id.clone());
    written.clean_session = connect.clean;
    written.keep_alive = connect.keep_alive_s;
    match (&connect.user, &connect.password) {
        (Some(user), Some(password)) => {
            written.set_credentials(user.clone(), password.clone());
        }
        (Some(user), None) => {
            written.set_username(user.clone());
        }
        // 3.1.1 §3.1.2.9: a password needs a user name.
        (None, _) => {}
    }
    if let Some(will) = &connect.will {
        let qos = mqtt3::mqttbytes::QoS::AtLeastOnce;
        written.last_will = Some(codec::LastWill::new(will.topic.clone(), will.bytes.to_vec(), qos, false));
    }
    written
}
