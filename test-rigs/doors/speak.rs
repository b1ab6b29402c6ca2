//! Devices that speak byte by byte, so that they can speak wrongly.
#![allow(dead_code, reason = "each rig uses its part of this module")]

use std::time::Duration;

use bedside::demo::pty::Pty;
use bedside::wire::{astm, mllp};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) const ENQ: u8 = 0x05;
pub(crate) const ACK: u8 = 0x06;
pub(crate) const NAK: u8 = 0x15;
pub(crate) const EOT: u8 = 0x04;

const PATIENCE: Duration = Duration::from_secs(15);

/// One TCP connection to the box.
pub(crate) struct Line {
    socket: TcpStream,
    inbox: Vec<u8>,
}

/// MSA of an ACK.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Acknowledged {
    pub(crate) code: String,
    pub(crate) control_id: String,
    pub(crate) text: String,
}

impl Line {
    pub(crate) async fn to(port: u16) -> Self {
        let socket = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        socket.set_nodelay(true).unwrap();
        Self { socket, inbox: Vec::new() }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).await.unwrap();
    }

    /// The next byte; `None` when the box closed the connection.
    pub(crate) async fn byte(&mut self) -> Option<u8> {
        let mut byte = [0];
        let read = tokio::time::timeout(PATIENCE, self.socket.read(&mut byte)).await.expect("no answer");
        read.ok().filter(|count| *count == 1).map(|_| byte[0])
    }

    /// Whether nothing comes for a moment.
    pub(crate) async fn silent(&mut self) -> bool {
        let mut byte = [0];
        tokio::time::timeout(Duration::from_millis(300), self.socket.read(&mut byte)).await.is_err()
    }

    /// The next message, with its block characters.
    pub(crate) async fn message(&mut self) -> String {
        let end = loop {
            if let Some(end) = self.inbox.windows(2).position(|pair| pair == [0x1c, 0x0d]) {
                break end;
            }
            let read = tokio::time::timeout(PATIENCE, self.socket.read_buf(&mut self.inbox)).await;
            assert_ne!(read.expect("no message").unwrap(), 0, "closed without a message");
        };
        let block: Vec<u8> = self.inbox.drain(..end + 2).collect();
        String::from_utf8_lossy(&block).into_owned()
    }

    /// The next acknowledgement of a message.
    pub(crate) async fn acknowledged(&mut self) -> Acknowledged {
        let text = self.message().await;
        let msa = text.split('\r').find(|line| line.starts_with("MSA")).expect("an ACK has an MSA");
        // The answer uses the delimiters of what it answers.
        let separator = msa.chars().nth(3).unwrap_or('|');
        let field = |at| msa.split(separator).nth(at).unwrap_or_default().to_owned();
        Acknowledged { code: field(1), control_id: field(2), text: field(3) }
    }

    /// Says a message and waits for its acknowledgement.
    pub(crate) async fn say(&mut self, message: &str) -> Acknowledged {
        self.send(&mllp::wrap(message.as_bytes())).await;
        self.acknowledged().await
    }
}

/// An ORU^R01 of a monitor: one heart rate of one patient, measured in a minute of its own, and whatever `more` says.
pub(crate) fn oru(control_id: &str, patient: &str, rate: &str, more: &str) -> String {
    let pid =
        if patient.is_empty() { "PID|||".into() } else { format!("PID|||{patient}^^^Rig^MR||Doe^Jane") };
    // Two rates of one minute would be one Observation upstream: the later value of the same fact.
    let minute = rate.parse::<u32>().unwrap_or(0) % 60;
    format!(
        "MSH|^~\\&|RIG^0123456789ABCDEF^EUI-64|W|||2026031408{minute:02}00+0000||ORU^R01^ORU_R01|{control_id}|P|2.6\r{pid}\r\
         OBR|1|||182777000^monitoring of patient^SCT|||2026031408{minute:02}00+0000\r\
         OBX|1|NM|147842^MDC_ECG_HEART_RATE^MDC|1.1.1.1|{rate}|264864^MDC_DIM_BEAT_PER_MIN^MDC|||||F\r{more}"
    )
}

/// ASTM records of one patient with one glucose; `id` tells it from every other.
pub(crate) fn records(id: &str, glucose: &str) -> Vec<u8> {
    format!(
        "H|\\^&|||CHEM^1.0^0007|||||host||P|1|20260314083000\rP|1||{id}||Doe^Jane\rO|1|S-{id}||^^^GLU|R\r\
         R|1|^^^GLU|{glucose}|mg/dL||N||F||||20260314083000\rL|1|N\r"
    )
    .into_bytes()
}

/// A way to an ASTM receiver: a socket or a pseudo-terminal.
pub(crate) enum Way {
    Tcp(Line),
    Serial(Pty),
}

impl Way {
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        match self {
            Self::Tcp(line) => line.send(bytes).await,
            Self::Serial(pty) => pty.write_all(bytes).await.unwrap(),
        }
    }

    pub(crate) async fn byte(&mut self) -> Option<u8> {
        match self {
            Self::Tcp(line) => line.byte().await,
            Self::Serial(pty) => {
                let mut byte = [0];
                let read = tokio::time::timeout(PATIENCE, pty.read(&mut byte)).await.expect("no answer");
                read.ok().filter(|count| *count == 1).map(|_| byte[0])
            }
        }
    }

    /// Asks for the line; tries again when the box is still busy with the last session.
    pub(crate) async fn enquire(&mut self) {
        self.send(&[ENQ]).await;
        assert_eq!(self.byte().await, Some(ACK), "the box answers an ENQ");
    }

    /// One whole session in one frame; what the frame was answered with.
    pub(crate) async fn session(&mut self, message: &[u8]) -> Option<u8> {
        self.enquire().await;
        self.send(&astm::frame(1, message, true)).await;
        let answer = self.byte().await;
        self.send(&[EOT]).await;
        answer
    }
}

/// An MQTT 3.1.1 device.
pub(crate) struct Mqtt(Line);

impl Mqtt {
    /// Connects; the return code of the CONNACK, and the device when it is 0.
    pub(crate) async fn connect(port: u16, client: &str, user: &str, password: &str) -> Result<Self, u8> {
        let mut line = Line::to(port).await;
        let mut body = field("MQTT");
        body.extend_from_slice(&[4, 0xc2, 0, 0]);
        body.extend([field(client), field(user), field(password)].concat());
        line.send(&packet(0x10, &body)).await;
        let mut connack = Vec::new();
        while connack.len() < 4 {
            connack.push(line.byte().await.expect("a CONNACK"));
        }
        assert_eq!(connack[..2], [0x20, 2]);
        if connack[3] == 0 { Ok(Self(line)) } else { Err(connack[3]) }
    }

    /// Publishes at QoS 1; whether it was acknowledged, `false`: the connection was closed instead.
    pub(crate) async fn publish(&mut self, topic: &str, payload: &[u8]) -> bool {
        let mut body = field(topic);
        body.extend_from_slice(&[0, 7]);
        body.extend_from_slice(payload);
        // The box may close while a packet over its limit is still on its way.
        if self.0.socket.write_all(&packet(0x32, &body)).await.is_err() {
            return false;
        }
        let mut puback = Vec::new();
        while puback.len() < 4 {
            match self.0.byte().await {
                Some(byte) => puback.push(byte),
                None => return false,
            }
        }
        assert_eq!(puback, [0x40, 2, 0, 7]);
        true
    }
}

fn field(text: &str) -> Vec<u8> {
    let mut field = u16::try_from(text.len()).unwrap().to_be_bytes().to_vec();
    field.extend_from_slice(text.as_bytes());
    field
}

fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![kind];
    let mut left = body.len();
    loop {
        let digit = u8::try_from(left % 128).unwrap();
        left /= 128;
        packet.push(if left > 0 { digit | 0x80 } else { digit });
        if left == 0 {
            break;
        }
    }
    packet.extend_from_slice(body);
    packet
}
