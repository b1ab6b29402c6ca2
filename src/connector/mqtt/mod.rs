//! Reads devices through an MQTT broker (3.1.1 or 5) and acknowledges a message when it is kept, not before.
//!
//! The broker's promise is used as the queue: a session that outlives the connection, QoS 1, and a PUBACK that
//! leaves after the [`Intake`] said *kept*. What is not kept is not acknowledged; the connection is then given
//! up and made again after a pause, because a broker sends again only after a reconnect (MQTT 5 §4.4).
//!
//! The bytes are read and written by the codecs of the maintained `rumqttc` fork; the session is our own. The
//! library's event loop does not fit here: it refuses to SUBSCRIBE in a session that only the broker remembers
//! (a gateway after a power cut), and it may acknowledge from a queue of its own.
//!
//! Invariants: no PUBACK or PUBREC before *kept*; they leave in the order of the PUBLISH packets (MQTT 5
//! §4.6); none crosses a reconnect; never more than [`Config::max_inflight`] messages or [`INFLIGHT_BYTES`]
//! bytes wait for the disk.

pub(crate) mod packet;
mod session;
pub(crate) mod tls;
pub(crate) mod wire;
mod words;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

pub use self::packet::Version;
use self::session::{Memory, Session, Trouble};
use super::backoff::Backoff;
use super::{Intake, LinkState, Stop};
use crate::clock::SharedClock;
use crate::secret::SecretStore;

/// Most bytes that wait for the disk on one link; then nothing more is read from the broker.
pub(super) const INFLIGHT_BYTES: usize = 32 << 20;

/// A link to a broker.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Host name or address of the broker.
    pub broker: String,
    /// 8883 with TLS and 1883 without, when not set.
    pub port: Option<u16>,
    /// On unless it is switched off here: passwords and patient data travel on this connection.
    #[serde(default = "defaults::tls")]
    pub tls: bool,
    /// PEM file of the authority that signed the broker's certificate; the system's authorities when not set.
    pub ca_file: Option<PathBuf>,
    /// The name in the broker's certificate, when it is not `broker`.
    pub server_name: Option<String>,
    pub username: Option<String>,
    /// Name of the secret that holds the password.
    pub password_secret: Option<String>,
    /// 5, or 3 for 3.1.1.
    #[serde(default = "defaults::version")]
    pub version: Version,
    /// Stable and unique on the broker; made from the box and the link when not set.
    pub client_id: Option<String>,
    /// Topic filters, e.g. `home/+/BTtoMQTT/#`.
    pub topics: Vec<String>,
    #[serde(default = "defaults::keep_alive_s")]
    pub keep_alive_s: u16,
    /// How long the broker keeps messages for us while we are away (5 only; 3.1.1 has no limit).
    #[serde(default = "defaults::session_expiry_s")]
    pub session_expiry_s: u32,
    #[serde(default = "defaults::max_packet_bytes")]
    pub max_packet_bytes: u32,
    /// Messages that wait for the disk at one time.
    #[serde(default = "defaults::max_inflight")]
    pub max_inflight: u16,
    /// After this time without a message the link shows as quiet.
    pub quiet_timeout_s: Option<u64>,
}

mod defaults {
    use super::Version;

    pub(super) const fn tls() -> bool {
        true
    }
    pub(super) const fn version() -> Version {
        Version::V5
    }
    pub(super) const fn keep_alive_s() -> u16 {
        30
    }
    /// Does not expire (MQTT 5 §3.1.2.11.2).
    pub(super) const fn session_expiry_s() -> u32 {
        u32::MAX
    }
    pub(super) const fn max_packet_bytes() -> u32 {
        16 << 20
    }
    pub(super) const fn max_inflight() -> u16 {
        32
    }
}

impl Config {
    /// What is wrong with this configuration, as a sentence; for `bedside config check` and before the start.
    pub fn check(&self) -> Result<(), String> {
        if self.broker.trim().is_empty() {
            return Err("broker is empty: write its host name or address".into());
        }
        if self.topics.is_empty() || self.topics.len() > 100 {
            return Err("topics: write 1 to 100 topic filters".into());
        }
        if let Some(wrong) = self.topics.iter().find(|topic| !packet::valid_filter(topic)) {
            return Err(format!(
                "topics: \"{wrong}\" is not a topic filter ('+' and '#' stand for whole levels, '#' last)"
            ));
        }
        if self.password_secret.is_some() && self.username.is_none() {
            return Err("password_secret without username".into());
        }
        if !self.tls && (self.ca_file.is_some() || self.server_name.is_some()) {
            return Err("ca_file and server_name are for TLS, and tls = false".into());
        }
        if !(5..=3600).contains(&self.keep_alive_s) {
            return Err("keep_alive_s must lie between 5 and 3600".into());
        }
        if !(1024..=64 << 20).contains(&self.max_packet_bytes) || self.max_inflight == 0 {
            return Err(
                "max_packet_bytes must lie between 1024 and 67108864, and max_inflight above 0".into()
            );
        }
        Ok(())
    }

    fn port(&self) -> u16 {
        // The ports IANA gave to secure-mqtt and mqtt.
        self.port.unwrap_or(if self.tls { 8883 } else { 1883 })
    }
}

/// Runs the link until `stop`. Faults are told through [`LinkState::Retrying`] and tried again.
pub async fn run(
    link: Arc<str>,
    config: Config,
    secrets: SecretStore,
    intake: Arc<dyn Intake>,
    clock: SharedClock,
    mut stop: Stop,
) {
    let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
    let mut memory = Memory::default();
    let client_id = config.client_id.clone().unwrap_or_else(|| own_client_id(&link));
    intake.state(&link, LinkState::Starting);
    loop {
        let session = Session::new(&link, &config, &client_id, &intake, &clock);
        let ended = match config.check() {
            Ok(()) => session.run(&secrets, &mut memory, &mut stop).await,
            Err(wrong) => Err(Trouble::Config(wrong)),
        };
        let Err(trouble) = ended else { break };
        if std::mem::take(&mut memory.kept_something) {
            backoff.reset();
        }
        tracing::warn!(link = %link, %trouble, "MQTT link lost; it is tried again.");
        intake.state(&link, LinkState::Retrying { detail: trouble.to_string() });
        tokio::select! {
            () = tokio::time::sleep(backoff.pause()) => {}
            () = stop.wait() => break,
        }
    }
    intake.state(&link, LinkState::Stopped);
}

/// Fuzz body: any bytes may come from a broker or a client, and only a bug panics.
pub fn fuzz(bytes: &[u8]) {
    wire::fuzz(bytes);
}

/// The same after every start and different on every box, without telling the machine's id to the broker.
fn own_client_id(link: &str) -> String {
    let machine = ["/etc/machine-id", "/proc/sys/kernel/hostname"];
    let machine = machine.iter().find_map(|file| std::fs::read(file).ok()).unwrap_or_default();
    let digest =
        aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &[b"bedside mqtt ", &machine[..]].concat());
    let hex: String = digest.as_ref().iter().take(5).map(|byte| format!("{byte:02x}")).collect();
    let link: String = link.chars().filter(char::is_ascii_alphanumeric).take(16).collect();
    // 3.1.1 §3.1.3.1: up to 23 letters and digits are understood everywhere; longer is fine with today's brokers.
    format!("bedside{hex}{link}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(more: &str) -> Result<Config, String> {
        let text = format!("broker = \"b\"\ntopics = [\"a/#\"]\n{more}");
        let config: Config = toml::from_str(&text).map_err(|error| error.to_string())?;
        config.check().map(|()| config)
    }

    #[test]
    fn a_short_configuration_is_safe() {
        let config = config("").unwrap();
        assert!(config.tls && config.port() == 8883 && config.version == Version::V5);
        assert_eq!(config.session_expiry_s, u32::MAX);
    }

    #[test]
    fn a_wrong_configuration_is_told_in_words() {
        for (more, word) in [
            ("tpoics = []", "unknown field"),
            ("version = 4", "5 or 3"),
            ("password_secret = \"p\"", "without username"),
            ("tls = false\nca_file = \"x\"", "tls = false"),
            ("keep_alive_s = 1", "keep_alive_s"),
            ("max_inflight = 0", "max_inflight"),
        ] {
            let error = config(more).unwrap_err();
            assert!(error.contains(word), "{more}: {error}");
        }
        let wrong: Config = toml::from_str("broker = \"b\"\ntopics = [\"a#\"]").unwrap();
        assert!(wrong.check().unwrap_err().contains("\"a#\""));
    }

    #[test]
    fn the_client_id_is_stable_and_tells_nothing() {
        let id = own_client_id("ward 7/bléu");
        assert_eq!(id, own_client_id("ward 7/bléu"));
        assert!(id.ends_with("ward7blu") && id.bytes().all(|b| b.is_ascii_alphanumeric()), "{id}");
    }
}
