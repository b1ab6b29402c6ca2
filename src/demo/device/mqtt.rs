//! Publishes with QoS 1 as a BLE gateway does, and waits for the PUBACK: just enough MQTT 3.1.1 to be a device.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Told;
use crate::secret::Secret;

const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Where and as whom to publish.
#[derive(Clone, Debug)]
pub struct Broker {
    pub address: SocketAddr,
    pub client_id: String,
    pub user: String,
    pub password: Secret,
    pub topic: String,
}

pub(crate) struct Speaker {
    broker: Broker,
    line: Option<TcpStream>,
    packet_id: u16,
}

impl Speaker {
    pub(crate) const fn new(broker: Broker) -> Self {
        Self { broker, line: None, packet_id: 0 }
    }

    pub(super) async fn say(&mut self, text: &str) -> io::Result<Told> {
        let topic = self.broker.topic.clone();
        self.publish(&topic, text.trim().as_bytes()).await
    }

    pub(crate) async fn publish(&mut self, topic: &str, message: &[u8]) -> io::Result<Told> {
        let mut line = match self.line.take() {
            Some(line) => line,
            None => tokio::time::timeout(ANSWER_WITHIN, connect(&self.broker)).await??,
        };
        // MQTT 3.1.1 §2.3.1: a packet identifier is never 0.
        self.packet_id = self.packet_id.checked_add(1).unwrap_or(1);
        let mut body = text_field(topic);
        body.extend_from_slice(&self.packet_id.to_be_bytes());
        body.extend_from_slice(message);
        // 0x32: PUBLISH, QoS 1.
        line.write_all(&packet(0x32, &body)).await?;
        let mut puback = [0; 4];
        tokio::time::timeout(ANSWER_WITHIN, line.read_exact(&mut puback)).await??;
        let [high, low] = self.packet_id.to_be_bytes();
        if puback != [0x40, 2, high, low] {
            return Ok(Told::Again("the broker answered with something else than our PUBACK".into()));
        }
        self.line = Some(line);
        Ok(Told::Acknowledged)
    }
}

async fn connect(broker: &Broker) -> io::Result<TcpStream> {
    let mut line = TcpStream::connect(broker.address).await?;
    line.set_nodelay(true)?;
    // Protocol level 4; user name, password and clean session; keep-alive off: the device speaks often enough.
    let mut body = text_field("MQTT");
    body.extend_from_slice(&[4, 0xc2, 0, 0]);
    body.extend(text_field(&broker.client_id));
    body.extend(text_field(&broker.user));
    body.extend(text_field(broker.password.expose_text().map_err(io::Error::other)?));
    line.write_all(&packet(0x10, &body)).await?;
    let mut connack = [0; 4];
    line.read_exact(&mut connack).await?;
    match connack {
        [0x20, 2, _, 0] => Ok(line),
        [_, _, _, code] => {
            Err(io::Error::other(format!("the broker refused the connection with code {code}")))
        }
    }
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

    #[test]
    fn the_remaining_length_is_written_in_digits_of_128() {
        assert_eq!(packet(0x30, &[0; 5])[..2], [0x30, 5]);
        assert_eq!(packet(0x30, &[0; 321])[..3], [0x30, 0xc1, 2]);
    }
}
