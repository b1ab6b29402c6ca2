//! A Bluetooth gateway that publishes over MQTT 3.1.1: QoS 1, a session the broker keeps, and DUP on what it says again.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Message, Said, Speaker, Told};
use crate::secret::Secret;

const PATIENCE: Duration = Duration::from_secs(5);
/// Brokers say little to a publisher.
const HEARD_MAX: usize = 64 << 10;

/// As whom to publish, and where to.
#[derive(Clone, Debug)]
pub struct Broker {
    pub client_id: String,
    /// Empty: neither user nor password is sent.
    pub user: String,
    pub password: Secret,
    /// `None`: the topic of each message.
    pub topic: Option<String>,
}

/// The device on a connection to its broker.
#[derive(Debug)]
pub struct Kit {
    broker: Broker,
    connected: bool,
    until: Option<Duration>,
    packet_id: u16,
    /// What was not acknowledged, and whether it was sent: it keeps its packet identifier.
    unanswered: Option<(Message, bool)>,
    heard: Vec<u8>,
    out: VecDeque<Said>,
}

impl Kit {
    /// Nothing is said before the line is open.
    pub const fn new(broker: Broker) -> Self {
        Self {
            broker,
            connected: false,
            until: None,
            packet_id: 0,
            unanswered: None,
            heard: Vec::new(),
            out: VecDeque::new(),
        }
    }

    fn finish(&mut self, told: Told) {
        if self.until.take().is_some() {
            self.out.push_back(Said::Told(told));
        }
    }

    /// MQTT 3.1.1 §3.1: protocol level 4, the session is kept, keep-alive off.
    fn connect(&self) -> Vec<u8> {
        let password = self.broker.password.expose_text().unwrap_or_default();
        let has_user = !self.broker.user.is_empty();
        let mut body = text_field("MQTT");
        body.extend_from_slice(&[4, if has_user { 0xc0 } else { 0 }, 0, 0]);
        body.extend(text_field(&self.broker.client_id));
        if has_user {
            body.extend(text_field(&self.broker.user));
            body.extend(text_field(password));
        }
        packet(0x10, &body)
    }

    fn publish(&mut self) {
        let Some((message, sent)) = &mut self.unanswered else { return };
        let topic = self.broker.topic.as_ref().or(message.topic.as_ref());
        let Some(topic) = topic.filter(|topic| !topic.is_empty()) else {
            return self.finish(Told::Again("it has no topic".into()));
        };
        let mut body = text_field(topic);
        body.extend_from_slice(&self.packet_id.to_be_bytes());
        body.extend_from_slice(message.bytes.trim_ascii());
        // §3.3.1: QoS 1 is 0x02, DUP is 0x08.
        let first = if std::mem::replace(sent, true) { 0x3a } else { 0x32 };
        self.out.push_back(Said::Send(packet(first, &body)));
    }

    fn answer(&mut self, kind: u8, body: &[u8]) {
        match (kind, body) {
            (0x20, [_, 0]) => {
                self.connected = true;
                if self.until.is_some() {
                    self.publish();
                }
            }
            (0x20, [_, code]) => {
                let why = match code {
                    2 => "the client id is refused",
                    4 | 5 => "wrong user or password",
                    _ => "the broker refuses the connection",
                };
                self.finish(Told::Again(format!("{why}, return code {code}")));
            }
            (0x40, [high, low]) if u16::from_be_bytes([*high, *low]) == self.packet_id => {
                self.unanswered = None;
                self.finish(Told::Acknowledged);
            }
            _ => {}
        }
    }
}

impl Speaker for Kit {
    fn open(&mut self, _now: Duration) {
        self.heard.clear();
        self.connected = false;
        self.finish(Told::Again("the line was lost".into()));
        let connect = self.connect();
        self.out.push_back(Said::Send(connect));
    }

    fn say(&mut self, message: &Message, now: Duration) {
        if self.unanswered.as_ref().is_none_or(|(unanswered, _)| unanswered != message) {
            // §2.3.1: a packet identifier is never 0.
            self.packet_id = self.packet_id.checked_add(1).unwrap_or(1);
            self.unanswered = Some((message.clone(), false));
        }
        self.until = Some(now + PATIENCE);
        if self.connected {
            self.publish();
        }
    }

    fn hear(&mut self, bytes: &[u8], _now: Duration) {
        self.heard.extend_from_slice(bytes);
        while let Some((kind, start, end)) = whole(&self.heard) {
            let rest = self.heard.split_off(end);
            let packet = std::mem::replace(&mut self.heard, rest);
            self.answer(kind, packet.get(start..).unwrap_or_default());
        }
        if self.heard.len() > HEARD_MAX {
            self.heard.clear();
        }
    }

    fn tick(&mut self, now: Duration) {
        if self.until.is_some_and(|until| now >= until) {
            self.finish(Told::Again("no answer".into()));
            if !self.connected {
                // §3.1: a broker that heard the first one closes the line, which is opened anew.
                let connect = self.connect();
                self.out.push_back(Said::Send(connect));
            }
        }
    }

    fn next(&mut self) -> Option<Said> {
        self.out.pop_front()
    }

    fn is_free(&self) -> bool {
        self.until.is_none()
    }
}

/// The first packet when it is whole: its kind, where its body starts and where it ends (§2.2.3).
fn whole(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let (kind, rest) = bytes.split_first()?;
    let mut length = 0;
    for (place, byte) in rest.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            let start = place + 2;
            return (bytes.len() >= start + length).then_some((kind & 0xf0, start, start + length));
        }
    }
    None
}

fn text_field(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    let mut field = length.to_be_bytes().to_vec();
    field.extend_from_slice(text.as_bytes().get(..usize::from(length)).unwrap_or_default());
    field
}

/// A control packet: fixed header with its remaining length (§2.2.3), then the body.
fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![kind];
    let mut left = body.len();
    loop {
        let digit = u8::try_from(left % 128).unwrap_or(0);
        left /= 128;
        packet.push(if left > 0 { digit | 0x80 } else { digit });
        if left == 0 {
            break;
        }
    }
    packet.extend_from_slice(body);
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    fn kit(user: &str) -> Kit {
        let password = Secret::new(b"pass".to_vec());
        Kit::new(Broker { client_id: "k".into(), user: user.into(), password, topic: None })
    }

    fn message(text: &str) -> Message {
        Message { topic: Some("a/b".into()), ..Message::of(text.as_bytes().to_vec()) }
    }

    fn sent(kit: &mut Kit) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| kit.next())
            .filter_map(|said| if let Said::Send(bytes) = said { Some(bytes) } else { None })
            .collect()
    }

    fn told(kit: &mut Kit) -> Vec<Told> {
        std::iter::from_fn(|| kit.next())
            .filter_map(|said| if let Said::Told(told) = said { Some(told) } else { None })
            .collect()
    }

    #[test]
    fn the_remaining_length_is_written_and_read_in_digits_of_128() {
        assert_eq!(packet(0x30, &[0; 5])[..2], [0x30, 5]);
        assert_eq!(packet(0x30, &[0; 321])[..3], [0x30, 0xc1, 2]);
        let long = packet(0x32, &[7; 321]);
        assert_eq!(whole(&long), Some((0x30, 3, 324)));
        assert_eq!(whole(&long[..323]), None);
        assert_eq!(whole(&[0x40, 0xff, 0xff, 0xff, 0xff, 0xff]), None);
    }

    #[test]
    fn it_publishes_when_the_broker_took_it_in_and_believes_only_its_own_acknowledgement() {
        let mut kit = kit("user");
        kit.open(NOW);
        kit.say(&message("one"), NOW);
        let connect = sent(&mut kit);
        assert_eq!(connect.len(), 1, "nothing is published before the CONNACK");
        assert!(connect[0].ends_with(b"\0\x04user\0\x04pass") && connect[0][9] == 0xc0);
        kit.hear(&[0x20, 2, 0], NOW);
        kit.hear(&[0], NOW);
        assert_eq!(sent(&mut kit), [b"\x32\x0a\0\x03a/b\0\x01one".to_vec()]);
        kit.hear(&[0x40, 2, 0, 9], NOW);
        assert!(told(&mut kit).is_empty() && !kit.is_free(), "another message's PUBACK");
        kit.hear(&[0x40, 2, 0, 1], NOW);
        assert_eq!(told(&mut kit), [Told::Acknowledged]);
    }

    #[test]
    fn what_was_not_acknowledged_is_published_again_with_dup_and_its_identifier() {
        let mut kit = kit("");
        kit.open(NOW);
        kit.hear(&[0x20, 2, 0, 0], NOW);
        kit.say(&message("one"), NOW);
        assert_eq!(sent(&mut kit).len(), 2);
        kit.open(NOW);
        assert!(matches!(kit.next(), Some(Said::Told(Told::Again(_)))));
        kit.say(&message("one"), NOW);
        kit.hear(&[0x20, 2, 1, 0], NOW);
        let said = sent(&mut kit);
        assert!(said[0].ends_with(b"\x04\0\0\0\0\x01k"), "no user, no password: {:?}", said[0]);
        assert_eq!(said[1], b"\x3a\x0a\0\x03a/b\0\x01one");
        kit.tick(PATIENCE);
        assert_eq!(told(&mut kit), [Told::Again("no answer".into())]);
    }

    #[test]
    fn a_wrong_password_and_a_missing_topic_are_said_in_words() {
        let mut kit = kit("user");
        kit.open(NOW);
        kit.say(&message("one"), NOW);
        kit.hear(&[0x20, 2, 0, 5], NOW);
        assert!(matches!(&told(&mut kit)[..], [Told::Again(why)] if why.contains("wrong user or password")));
        kit.hear(&[0x20, 2, 0, 0], NOW);
        kit.say(&Message::of(b"one".to_vec()), NOW);
        assert!(matches!(&told(&mut kit)[..], [Told::Again(why)] if why.contains("no topic")));
    }
}
