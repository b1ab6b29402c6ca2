//! The audit trail to a syslog receiver: RFC 5424 messages over TLS (RFC 5425), TCP (RFC 6587, counted octets) or UDP
//! (RFC 5426).
//!
//! Syslog acknowledges nothing: what was written to a connection that the receiver had just closed may be lost. So a closed
//! connection is looked for after each batch, and the batch is sent again on the next one; `meta sequenceId` and the hash
//! of the row tell a receiver what it has already.

use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::tls::{self, Words};

/// RFC 5424 §6.2.1: facility 13, log audit.
const LOG_AUDIT: u8 = 13;
/// MSGID has at most 32 printable characters (RFC 5424 §6).
const MSGID_MAX: usize = 32;
/// What every receiver must take, and nearly all take, in one datagram (RFC 5426 §3.2 asks for 2048).
const DATAGRAM_MAX: usize = 2_048;
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the receiver has to say that it closed the connection.
const LISTEN: Duration = Duration::from_millis(50);

/// `syslog` of `[audit]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Host and port; 6514 is the usual one with TLS, 514 without.
    pub address: String,
    #[serde(default)]
    pub over: Over,
    /// Whom to trust and what to show, with `over = "tls"`.
    #[serde(default)]
    pub tls: tls::Settings,
}

/// What carries the messages. Only TLS keeps others from reading them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Over {
    #[default]
    Tls,
    Tcp,
    Udp,
}

impl Config {
    /// The fault a person can repair in the file.
    pub fn check(&self) -> Result<(), String> {
        let port = self.address.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
        if port.and_then(|port| port.parse::<u16>().ok()).is_none_or(|port| port == 0) {
            return Err(format!(
                "syslog.address \"{}\" is host:port, such as \"siem.clinic:6514\"",
                self.address
            ));
        }
        if self.over != Over::Tls && self.tls != tls::Settings::default() {
            return Err("syslog.tls is for over = \"tls\"".into());
        }
        self.tls.check_call().map_err(ToOwned::to_owned)
    }

    fn host(&self) -> &str {
        let host = self.address.rsplit_once(':').map_or(self.address.as_str(), |(host, _)| host);
        host.trim_start_matches('[').trim_end_matches(']')
    }
}

/// One event, in the words of the audit trail.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    pub row: i64,
    /// RFC 3339, UTC.
    pub at: &'a str,
    pub who: &'a str,
    pub what: &'a str,
    pub outcome: &'a str,
    pub target: Option<&'a str>,
    pub origin: Option<&'a str>,
    pub note: Option<&'a str>,
    /// Hex.
    pub hash: &'a str,
}

/// One message (RFC 5424 §6), without a frame.
pub fn message(event: &Event<'_>, host: &str) -> String {
    // Informational; warning for what was refused; error for what failed.
    let severity = match event.outcome {
        "refused" => 4,
        "failed" => 3,
        _ => 6,
    };
    let word = |text: &str, max: usize| {
        let word: String = text.chars().filter(char::is_ascii_graphic).take(max).collect();
        if word.is_empty() { "-".to_owned() } else { word }
    };
    let quoted = |text: &str| {
        let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
        format!("\"{}\"", clean.replace('\\', "\\\\").replace('"', "\\\""))
    };
    // 32 bits without a sign, from 1 again after the last (RFC 5424 §7.3.1).
    let sequence = (event.row - 1).rem_euclid(2_147_483_647) + 1;
    let mut text = format!(
        "<{}>1 {} {} bedside {} {} [origin software=\"bedside\" swVersion=\"{}\"][meta sequenceId=\"{sequence}\"] \u{FEFF}",
        LOG_AUDIT * 8 + severity,
        event.at,
        word(host, 255),
        std::process::id(),
        word(event.what, MSGID_MAX),
        env!("CARGO_PKG_VERSION"),
    );
    text.push_str(&format!(
        "row={} who={} what={} outcome={}",
        event.row,
        quoted(event.who),
        quoted(event.what),
        event.outcome
    ));
    for (name, value) in [("target", event.target), ("note", event.note)] {
        if let Some(value) = value {
            text.push_str(&format!(" {name}={}", quoted(value)));
        }
    }
    if let Some(origin) = event.origin {
        text.push_str(&format!(" origin={origin}"));
    }
    text.push_str(&format!(" sha256={}", event.hash));
    text
}

trait Io: AsyncRead + AsyncWrite + Unpin + Send + Sync {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync> Io for T {}

/// Sends to one receiver; connects when there is something to send.
pub struct Sender {
    config: Config,
    stream: Option<Box<dyn Io>>,
}

impl Sender {
    /// Speaks to no one yet.
    pub fn new(config: Config) -> Self {
        Self { config, stream: None }
    }

    /// Where it sends to, for people.
    pub fn address(&self) -> &str {
        &self.config.address
    }

    /// Sends all messages, or says in a sentence why it is not known that all arrived.
    ///
    /// # Errors
    /// The sentence; some messages may have arrived.
    pub async fn send(&mut self, messages: &[String]) -> Result<(), String> {
        if self.config.over == Over::Udp {
            return self.datagrams(messages).await;
        }
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.connect().await?,
        };
        let mut octets = Vec::new();
        for message in messages {
            octets.extend_from_slice(format!("{} ", message.len()).as_bytes());
            octets.extend_from_slice(message.as_bytes());
        }
        let writing = async {
            stream.write_all(&octets).await?;
            stream.flush().await
        };
        let address = &self.config.address;
        match timeout(PATIENCE, writing).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(format!("the connection to {address} broke: {error}")),
            Err(_) => return Err(format!("{address} takes nothing")),
        }
        // A receiver says nothing; one that has closed the connection says that.
        let mut said = [0; 64];
        match timeout(LISTEN, stream.read(&mut said)).await {
            Ok(Ok(0) | Err(_)) => Err(format!("{address} closed the connection")),
            _ => {
                self.stream = Some(stream);
                Ok(())
            }
        }
    }

    async fn connect(&self) -> Result<Box<dyn Io>, String> {
        let address = &self.config.address;
        let stream = match timeout(PATIENCE, TcpStream::connect(address.as_str())).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(format!("no connection to {address}: {error}")),
            Err(_) => return Err(format!("{address} does not answer")),
        };
        if self.config.over == Over::Tcp {
            return Ok(Box::new(stream));
        }
        let words = Words { other: "the syslog receiver", plain: "over = \"tcp\"" };
        Ok(Box::new(tls::call(&self.config.tls, self.config.host(), stream, words).await?))
    }

    async fn datagrams(&self, messages: &[String]) -> Result<(), String> {
        let address = &self.config.address;
        let wrong = |error: std::io::Error| format!("{address}: {error}");
        let mut found = tokio::net::lookup_host(address.as_str()).await.map_err(wrong)?;
        let to = found.next().ok_or_else(|| format!("the name in {address} is not known"))?;
        let own = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(own).await.map_err(wrong)?;
        socket.connect(to).await.map_err(wrong)?;
        for message in messages {
            let mut end = message.len().min(DATAGRAM_MAX);
            while !message.is_char_boundary(end) {
                end -= 1;
            }
            socket.send(message.get(..end).unwrap_or_default().as_bytes()).await.map_err(wrong)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::tls::rig::Authority;

    fn event(row: i64) -> Event<'static> {
        Event {
            row,
            at: "2026-11-22T12:00:00.000Z",
            who: "ada",
            what: "entry.release",
            outcome: "done",
            target: Some("entry \"4\\2\"\n<34>1 forged"),
            origin: Some("10.0.0.7"),
            note: None,
            hash: "ab",
        }
    }

    fn config(text: &str) -> Config {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn a_message_is_one_line_of_rfc_5424() {
        let text = message(&event(7), "ward 3\n");
        let (header, said) = text.split_once(" \u{FEFF}").unwrap();
        assert!(header.starts_with("<110>1 2026-11-22T12:00:00.000Z ward3 bedside "), "{header}");
        assert!(header.contains(" entry.release [origin software=\"bedside\" "), "{header}");
        assert!(header.ends_with("[meta sequenceId=\"7\"]"), "{header}");
        assert_eq!(
            said,
            "row=7 who=\"ada\" what=\"entry.release\" outcome=done target=\"entry \\\"4\\\\2\\\" <34>1 forged\" \
             origin=10.0.0.7 sha256=ab"
        );
        assert!(!text.contains('\n'));
        let refused = Event { outcome: "refused", what: "ü".repeat(40).leak(), ..event(2_147_483_648) };
        let text = message(&refused, "");
        assert!(text.starts_with("<108>1 2026-11-22T12:00:00.000Z - bedside "), "{text}");
        assert!(text.contains(" - [origin") && text.contains("sequenceId=\"1\""), "{text}");
        assert!(message(&Event { outcome: "failed", ..event(1) }, "x").starts_with("<107>1 "));
    }

    #[test]
    fn an_address_needs_a_port_and_tls_settings_need_tls() {
        assert_eq!(config("address = \"[2001:db8::1]:6514\"").host(), "2001:db8::1");
        assert!(config("address = \"siem.clinic:6514\"").check().is_ok());
        for text in ["address = \"siem.clinic\"", "address = \":514\"", "address = \"siem:0\""] {
            assert!(config(text).check().unwrap_err().contains("host:port"), "{text}");
        }
        let mixed = "address = \"siem:514\"\nover = \"udp\"\ntls = { ca_file = \"x\" }";
        assert!(config(mixed).check().unwrap_err().contains("over = \"tls\""));
        assert!(toml::from_str::<Config>("address = \"x:1\"\nover = \"http\"").is_err());
    }

    #[tokio::test]
    async fn messages_are_framed_by_their_length_and_a_closed_connection_is_noticed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut sender = Sender::new(config(&format!("address = \"{address}\"\nover = \"tcp\"")));
        let messages = ["<110>1 one".to_owned(), "<110>1 zwölf".to_owned()];
        let receive = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut all = vec![0; 29];
            stream.read_exact(&mut all).await.unwrap();
            // Then it goes away.
            (String::from_utf8(all).unwrap(), stream)
        };
        let (sent, (received, stream)) = tokio::join!(sender.send(&messages), receive);
        sent.unwrap();
        assert_eq!(received, "10 <110>1 one13 <110>1 zwölf");
        drop(stream);
        assert!(sender.send(&messages).await.is_err(), "what nobody took is not sent");
        drop(listener);
        assert!(sender.send(&messages).await.unwrap_err().contains("no connection"));
    }

    #[tokio::test]
    async fn over_tls_only_the_right_receiver_hears_anything() {
        let (ours, other) = (Authority::new("Clinic"), Authority::new("Other"));
        for (issued, heard) in
            [(ours.issue("localhost", 2090), true), (other.issue("localhost", 2090), false)]
        {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let acceptor = tls::Acceptor::new(issued.settings()).unwrap();
            let receiving = tokio::spawn(async move {
                let (stream, _) = listener.accept().await.unwrap();
                let words = Words { other: "the box", plain: "" };
                let mut stream = acceptor.accept(stream, words).await.0.ok()?;
                let mut all = vec![0; 13];
                stream.read_exact(&mut all).await.ok()?;
                tokio::time::sleep(LISTEN * 2).await;
                String::from_utf8(all).ok()
            });
            let settings = tls::Settings { ca_file: ours.ca_file(), ..tls::Settings::default() };
            let config = Config { address: format!("localhost:{port}"), over: Over::Tls, tls: settings };
            let sent = Sender::new(config).send(&["<110>1 one".to_owned()]).await;
            assert_eq!(sent.is_ok(), heard, "{sent:?}");
            assert_eq!(receiving.await.unwrap().as_deref(), heard.then_some("10 <110>1 one"));
        }
    }

    #[tokio::test]
    async fn each_datagram_is_one_message() {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let mut sender = Sender::new(config(&format!("address = \"{address}\"\nover = \"udp\"")));
        sender.send(&["<110>1 one".to_owned(), "ü".repeat(2_000)]).await.unwrap();
        let mut buffer = [0; 4_096];
        let first = socket.recv(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..first], b"<110>1 one");
        let second = socket.recv(&mut buffer).await.unwrap();
        assert_eq!(second, DATAGRAM_MAX);
        assert!(std::str::from_utf8(&buffer[..second]).is_ok());
    }
}
