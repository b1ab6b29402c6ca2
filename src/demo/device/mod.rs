//! A simulated device: says what its profile's `simulate.tpl` says, over the real protocol, and believes nothing
//! until it is acknowledged. What was not acknowledged is said again, as a real device would.

mod astm;
pub mod medibus;
mod mllp;
mod mqtt;
pub mod poct1a;

pub use mqtt::Broker;

use std::net::SocketAddr;
use std::time::Duration;

use crate::clock::SharedClock;
use crate::connector::Stop;
use crate::demo::pty::Pty;
use crate::demo::template::Template;

/// Where a simulated device speaks.
#[derive(Debug)]
pub enum Port {
    /// MLLP over TCP: HL7 v2 messages, each answered by an ACK.
    Mllp(SocketAddr),
    /// LIS01 over TCP.
    AstmTcp(SocketAddr),
    /// LIS01 over a serial line.
    AstmSerial(Pty),
    /// POCT1-A: the device dials and is asked.
    Poct1a(SocketAddr),
    /// Text on a serial line, never acknowledged.
    Lines(Pty),
    /// MQTT with QoS 1.
    Mqtt(Broker),
}

/// What became of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// The box said that it is kept.
    Acknowledged,
    /// Sent on a link that has no acknowledgements.
    Sent,
    /// Refused or not answered; it is said again. Why, in words.
    Again(String),
}

/// One simulated device.
#[derive(Debug)]
pub struct Device {
    pub port: Port,
    pub template: Template,
    pub every: Duration,
    /// Ends after so many messages; `None`: never.
    pub count: Option<u64>,
}

/// Pause before a message is said again.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

impl Device {
    /// Speaks until told to stop or done; `heard` is told what became of each message.
    pub async fn run(mut self, clock: SharedClock, mut stop: Stop, mut heard: impl FnMut(u64, &Told) + Send) {
        let mut line = Line::new(self.port);
        let mut sequence = 0;
        while self.count.is_none_or(|count| sequence < count) {
            sequence += 1;
            let text = self.template.fill(sequence, clock.now());
            loop {
                let told = tokio::select! {
                    () = stop.wait() => return,
                    told = line.say(&text) => told,
                };
                heard(sequence, &told);
                if !matches!(told, Told::Again(_)) {
                    break;
                }
                tokio::select! {
                    () = stop.wait() => return,
                    () = tokio::time::sleep(AGAIN_AFTER) => {}
                }
            }
            tokio::select! {
                () = stop.wait() => return,
                () = tokio::time::sleep(self.every) => {}
            }
        }
    }
}

/// A port with what its protocol remembers between messages.
enum Line {
    Mllp(mllp::Speaker),
    Astm(astm::Speaker),
    Poct1a(poct1a::Speaker),
    Lines(Pty),
    Mqtt(mqtt::Speaker),
}

impl Line {
    fn new(port: Port) -> Self {
        match port {
            Port::Mllp(address) => Self::Mllp(mllp::Speaker::new(address)),
            Port::AstmTcp(address) => Self::Astm(astm::Speaker::tcp(address)),
            Port::AstmSerial(pty) => Self::Astm(astm::Speaker::serial(pty)),
            Port::Poct1a(address) => Self::Poct1a(poct1a::Speaker::new(address, "SIM-POC-1")),
            Port::Lines(pty) => Self::Lines(pty),
            Port::Mqtt(broker) => Self::Mqtt(mqtt::Speaker::new(broker)),
        }
    }

    async fn say(&mut self, text: &str) -> Told {
        let said = match self {
            Self::Mllp(speaker) => speaker.say(text).await,
            Self::Astm(speaker) => speaker.say(text).await,
            Self::Poct1a(speaker) => speaker.say(text).await,
            Self::Mqtt(speaker) => speaker.say(text).await,
            Self::Lines(pty) => {
                let text = text.replace("\r\n", "\n").replace('\n', "\r\n");
                pty.write_all(text.as_bytes()).await.map(|()| Told::Sent)
            }
        };
        said.unwrap_or_else(|fault| Told::Again(fault.to_string()))
    }
}
